//! Key columns seen as integers or as bytes, whatever their Arrow type is.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    BinaryType, BinaryViewType, LargeBinaryType, LargeUtf8Type, StringViewType, Utf8Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType};

/// True for types that may be keys. Both sides of a join must have the same type.
pub fn is_supported(data_type: &DataType) -> bool {
    is_integer(data_type) || is_bytes(data_type)
}

/// True for types whose values are integers inside.
pub(crate) fn is_integer(data_type: &DataType) -> bool {
    use DataType::{
        Boolean, Date32, Date64, Decimal32, Decimal64, Decimal128, Duration, Int8, Int16, Int32,
        Int64, Time32, Time64, Timestamp, UInt8, UInt16, UInt32, UInt64,
    };
    matches!(
        data_type,
        Boolean
            | Int8
            | Int16
            | Int32
            | Int64
            | UInt8
            | UInt16
            | UInt32
            | UInt64
            | Date32
            | Date64
            | Time32(_)
            | Time64(_)
            | Timestamp(_, _)
            | Duration(_)
            | Decimal32(_, _)
            | Decimal64(_, _)
            | Decimal128(_, _)
    )
}

pub(crate) fn is_bytes(data_type: &DataType) -> bool {
    use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Utf8, Utf8View};
    matches!(data_type, Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView)
}

fn unsupported(data_type: &DataType) -> ArrowError {
    ArrowError::NotYetImplemented(format!("join keys of type {data_type}"))
}

/// The values of an integer column in their own width.
pub(crate) enum Integers {
    Boolean(BooleanBuffer),
    I8(ScalarBuffer<i8>),
    U8(ScalarBuffer<u8>),
    I16(ScalarBuffer<i16>),
    U16(ScalarBuffer<u16>),
    I32(ScalarBuffer<i32>),
    U32(ScalarBuffer<u32>),
    I64(ScalarBuffer<i64>),
    U64(ScalarBuffer<u64>),
    I128(ScalarBuffer<i128>),
}

impl Integers {
    pub(crate) fn of(array: &ArrayRef) -> Result<Integers, ArrowError> {
        use DataType as T;
        let data_type = array.data_type();
        if let T::Boolean = data_type {
            return Ok(Integers::Boolean(array.as_boolean().values().clone()));
        }
        if !is_integer(data_type) {
            return Err(unsupported(data_type));
        }
        let data = array.to_data();
        let buffer = data.buffers().first().cloned().ok_or_else(|| unsupported(data_type))?;
        let (offset, len) = (data.offset(), data.len());
        Ok(match data_type {
            T::Int8 => Integers::I8(ScalarBuffer::new(buffer, offset, len)),
            T::UInt8 => Integers::U8(ScalarBuffer::new(buffer, offset, len)),
            T::Int16 => Integers::I16(ScalarBuffer::new(buffer, offset, len)),
            T::UInt16 => Integers::U16(ScalarBuffer::new(buffer, offset, len)),
            T::Int32 | T::Date32 | T::Time32(_) | T::Decimal32(_, _) => {
                Integers::I32(ScalarBuffer::new(buffer, offset, len))
            }
            T::UInt32 => Integers::U32(ScalarBuffer::new(buffer, offset, len)),
            T::UInt64 => Integers::U64(ScalarBuffer::new(buffer, offset, len)),
            T::Decimal128(_, _) => Integers::I128(ScalarBuffer::new(buffer, offset, len)),
            _ => Integers::I64(ScalarBuffer::new(buffer, offset, len)),
        })
    }
}

/// Smallest and largest value of the rows that are not NULL.
pub(crate) fn span(array: &ArrayRef) -> Result<Option<(i128, i128)>, ArrowError> {
    fn of<T: Copy + Ord>(values: &[T], nulls: Option<&NullBuffer>) -> Option<(T, T)> {
        let Some(nulls) = nulls else {
            let (first, rest) = values.split_first()?;
            let fold = |(low, high): (T, T), value: &T| (low.min(*value), high.max(*value));
            return Some(rest.iter().fold((*first, *first), fold));
        };
        let mut valid = nulls.valid_indices().map(|at| values[at]);
        let first = valid.next()?;
        Some(valid.fold((first, first), |(low, high), value| (low.min(value), high.max(value))))
    }
    fn wide<T: Copy + Ord + Into<i128>>(
        values: &[T],
        nulls: Option<&NullBuffer>,
    ) -> Option<(i128, i128)> {
        of(values, nulls).map(|(low, high)| (low.into(), high.into()))
    }
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
    Ok(match Integers::of(array)? {
        Integers::Boolean(values) => {
            let values: Vec<u8> = values.iter().map(u8::from).collect();
            wide(&values, nulls)
        }
        Integers::I8(values) => wide(&values, nulls),
        Integers::U8(values) => wide(&values, nulls),
        Integers::I16(values) => wide(&values, nulls),
        Integers::U16(values) => wide(&values, nulls),
        Integers::I32(values) => wide(&values, nulls),
        Integers::U32(values) => wide(&values, nulls),
        Integers::I64(values) => wide(&values, nulls),
        Integers::U64(values) => wide(&values, nulls),
        Integers::I128(values) => wide(&values, nulls),
    })
}

/// Calls `each(row, bytes)` for the values of a byte column; NULL rows give any bytes.
pub(crate) fn each_bytes(
    array: &ArrayRef,
    mut each: impl FnMut(usize, &[u8]),
) -> Result<(), ArrowError> {
    macro_rules! walk {
        ($values:expr, $bytes:expr) => {{
            let values = $values;
            for row in 0..values.len() {
                each(row, $bytes(values.value(row)));
            }
        }};
    }
    let identity = |bytes| bytes;
    match array.data_type() {
        DataType::Utf8 => walk!(array.as_bytes::<Utf8Type>(), str::as_bytes),
        DataType::LargeUtf8 => walk!(array.as_bytes::<LargeUtf8Type>(), str::as_bytes),
        DataType::Utf8View => walk!(array.as_byte_view::<StringViewType>(), str::as_bytes),
        DataType::Binary => walk!(array.as_bytes::<BinaryType>(), identity),
        DataType::LargeBinary => walk!(array.as_bytes::<LargeBinaryType>(), identity),
        DataType::BinaryView => walk!(array.as_byte_view::<BinaryViewType>(), identity),
        other => return Err(unsupported(other)),
    }
    Ok(())
}
