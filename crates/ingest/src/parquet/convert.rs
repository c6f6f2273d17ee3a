//! One Parquet column's values as the table's type.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use arrow_array::{Array, ArrayRef, StringViewArray, make_array};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, TimeUnit};
use base::{Error, Result, SqlType};

use crate::reject::Fault;
use crate::text::Target;

/// A value that does not fit.
#[derive(Debug)]
pub(super) struct Misfit {
    pub(super) row: usize,
    pub(super) code: i32,
    pub(super) position: u32,
    pub(super) reason: String,
}

impl Misfit {
    fn new(row: usize, fault: Fault, value: &[u8], sql_type: SqlType) -> Misfit {
        let reason = fault.reason(value, Some(sql_type), "");
        Misfit { row, code: fault.code(), position: fault.position(), reason }
    }
}

/// Whether values of a Parquet type can be loaded into a column; some of them may still not fit.
pub(super) fn compatible(from: &DataType, to: SqlType) -> bool {
    let scaled = |from: i8| match to {
        SqlType::Decimal { scale, .. } => i16::from(from) <= i16::from(scale),
        _ => false,
    };
    match from {
        DataType::Dictionary(_, values) => compatible(values, to),
        DataType::Null => true,
        DataType::Boolean => to == SqlType::Boolean,
        DataType::Decimal32(_, s)
        | DataType::Decimal64(_, s)
        | DataType::Decimal128(_, s)
        | DataType::Decimal256(_, s) => scaled(*s),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            matches!(to, SqlType::Real | SqlType::Double)
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            matches!(to, SqlType::Char(_) | SqlType::Varchar(_))
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            matches!(to, SqlType::Char(_) | SqlType::Varchar(_) | SqlType::Varbyte(_))
        }
        DataType::FixedSizeBinary(_) => matches!(to, SqlType::Varbyte(_)),
        DataType::Date32 | DataType::Date64 => to == SqlType::Date,
        DataType::Timestamp(..) => matches!(to, SqlType::Timestamp | SqlType::TimestampTz),
        DataType::Time32(_) | DataType::Time64(_) => to == SqlType::Time,
        from if from.is_integer() => matches!(
            to,
            SqlType::SmallInt | SqlType::Integer | SqlType::BigInt | SqlType::Decimal { .. }
        ),
        _ => false,
    }
}

/// `source` as the target's type. The outer error is ours, the inner one the file's.
pub(super) fn column(
    source: &ArrayRef,
    target: &Target,
    replace_invalid: Option<u8>,
) -> Result<Result<ArrayRef, Misfit>> {
    let converted = match target.sql_type {
        SqlType::Char(max) => match text(source, target, replace_invalid)? {
            Ok(text) => char(&text, max as usize, target.sql_type),
            Err(misfit) => Err(misfit),
        },
        SqlType::Varchar(max) => match text(source, target, replace_invalid)? {
            Ok(text) => varchar(text, max as usize, target.sql_type),
            Err(misfit) => Err(misfit),
        },
        SqlType::Varbyte(max) => varbyte(&cast(source, &DataType::BinaryView)?, max as usize),
        SqlType::Timestamp | SqlType::TimestampTz => timestamp(source, target.sql_type)?,
        SqlType::Decimal { precision, .. } => decimal(source, target.sql_type, precision)?,
        other => checked_cast(source, &other.arrow(), other)?,
    };
    let array = match converted {
        Ok(array) => array,
        Err(misfit) => return Ok(Err(misfit)),
    };
    if !target.nullable && array.null_count() > 0 {
        let row = (0..array.len()).find(|row| array.is_null(*row)).unwrap_or(0);
        return Ok(Err(Misfit::new(row, Fault::NotNull, &[], target.sql_type)));
    }
    Ok(Ok(array))
}

/// A cast that cannot fail for a value.
fn cast(source: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if source.data_type() == to {
        return Ok(Arc::clone(source));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    cast_with_options(source, to, &options)
        .map_err(|error| Error::internal(format!("could not convert a Parquet column: {error}")))
}

/// A cast in which a value that does not fit becomes NULL and is then found.
fn checked_cast(
    source: &ArrayRef,
    to: &DataType,
    sql_type: SqlType,
) -> Result<Result<ArrayRef, Misfit>> {
    let array = cast(source, to)?;
    Ok(no_new_nulls(source, array, sql_type))
}

fn no_new_nulls(source: &ArrayRef, array: ArrayRef, sql_type: SqlType) -> Result<ArrayRef, Misfit> {
    let before = source.logical_null_count();
    if array.null_count() > before {
        let nulls = source.logical_nulls();
        let was_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        let row = (0..array.len()).find(|row| array.is_null(*row) && !was_null(*row));
        let row = row.unwrap_or(0);
        let value = text_of(source, row);
        return Err(Misfit::new(row, Fault::Overflow, value.as_bytes(), sql_type));
    }
    Ok(array)
}

fn decimal(
    source: &ArrayRef,
    sql_type: SqlType,
    precision: u8,
) -> Result<Result<ArrayRef, Misfit>> {
    let to = sql_type.arrow();
    if let (DataType::Decimal128(p, s), DataType::Decimal128(_, scale)) = (source.data_type(), &to)
        && s == scale
        && *p <= precision
    {
        // Only the label changes.
        let array = source.as_primitive::<Decimal128Type>().clone();
        return Ok(Ok(Arc::new(array.with_data_type(to))));
    }
    checked_cast(source, &to, sql_type)
}

/// Timestamps of any unit, with or without zone, in microseconds. Without a zone in the file a
/// value is UTC; with one it is UTC already.
fn timestamp(source: &ArrayRef, sql_type: SqlType) -> Result<Result<ArrayRef, Misfit>> {
    let source = match source.data_type() {
        DataType::Dictionary(_, values) => cast(source, values)?,
        _ => Arc::clone(source),
    };
    let plain = match source.data_type() {
        DataType::Timestamp(unit, Some(_)) => relabel(&source, DataType::Timestamp(*unit, None))?,
        _ => source,
    };
    let array =
        match checked_cast(&plain, &DataType::Timestamp(TimeUnit::Microsecond, None), sql_type)? {
            Ok(array) => array,
            Err(misfit) => return Ok(Err(misfit)),
        };
    Ok(Ok(relabel(&array, sql_type.arrow())?))
}

/// The same values under another type of the same layout.
fn relabel(array: &ArrayRef, to: DataType) -> Result<ArrayRef> {
    if *array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    array
        .to_data()
        .into_builder()
        .data_type(to)
        .build()
        .map(make_array)
        .map_err(|error| Error::internal(format!("could not relabel a Parquet column: {error}")))
}

/// Strings; bytes that Parquet does not call text are checked.
fn text(
    source: &ArrayRef,
    target: &Target,
    replace_invalid: Option<u8>,
) -> Result<Result<StringViewArray, Misfit>> {
    let source = match source.data_type() {
        DataType::Dictionary(_, values) => cast(source, values)?,
        _ => Arc::clone(source),
    };
    let is_text = matches!(
        source.data_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null
    );
    if is_text {
        let views = cast(&source, &DataType::Utf8View)?.as_string_view().clone();
        return Ok(no_zero_bytes(views, target.sql_type));
    }
    let bytes = cast(&source, &DataType::BinaryView)?;
    let mut out = StringViewBuilder::with_capacity(bytes.len());
    for (row, value) in bytes.as_binary_view().iter().enumerate() {
        match value.map(|value| (value, std::str::from_utf8(value))) {
            None => out.append_null(),
            Some((_, Ok(text))) => out.append_value(text),
            Some((value, Err(error))) => {
                let Some(replacement) = replace_invalid else {
                    let position = u32::try_from(error.valid_up_to()).unwrap_or(u32::MAX);
                    let fault = Fault::Utf8 { position, kind: 4 };
                    return Ok(Err(Misfit::new(row, fault, value, target.sql_type)));
                };
                out.append_value(replaced(value, replacement));
            }
        }
    }
    Ok(no_zero_bytes(out.finish(), target.sql_type))
}

fn replaced(value: &[u8], replacement: u8) -> String {
    let mut out = String::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(std::iter::repeat_n(char::from(replacement), chunk.invalid().len()));
    }
    out
}

/// A zero byte cannot be sent to clients.
fn no_zero_bytes(array: StringViewArray, sql_type: SqlType) -> Result<StringViewArray, Misfit> {
    let clean = array.iter().position(|value| value.is_some_and(|v| v.as_bytes().contains(&0)));
    match clean {
        None => Ok(array),
        Some(row) => {
            let value = array.value(row);
            let position = value.find('\0').and_then(|at| u32::try_from(at).ok()).unwrap_or(0);
            let fault = Fault::Utf8 { position, kind: 3 };
            Err(Misfit::new(row, fault, value.as_bytes(), sql_type))
        }
    }
}

fn varchar(array: StringViewArray, max: usize, sql_type: SqlType) -> Result<ArrayRef, Misfit> {
    // The length is the low half of a view; a NULL's view may hold anything.
    let long = |view: &u128| (*view as u32) as usize > max;
    if array.views().iter().any(long)
        && let Some(row) =
            (0..array.len()).find(|row| array.is_valid(*row) && array.value(*row).len() > max)
    {
        return Err(Misfit::new(row, Fault::TooLong, array.value(row).as_bytes(), sql_type));
    }
    Ok(Arc::new(array))
}

fn char(array: &StringViewArray, max: usize, sql_type: SqlType) -> Result<ArrayRef, Misfit> {
    let mut out = StringViewBuilder::with_capacity(array.len());
    for (row, value) in array.iter().enumerate() {
        let Some(value) = value else {
            out.append_null();
            continue;
        };
        let value = value.trim_end_matches(' ');
        let fault = match value.bytes().position(|byte| !byte.is_ascii()) {
            Some(at) => Some(Fault::Multibyte(u32::try_from(at).unwrap_or(u32::MAX))),
            None => (value.len() > max).then_some(Fault::TooLong),
        };
        if let Some(fault) = fault {
            return Err(Misfit::new(row, fault, value.as_bytes(), sql_type));
        }
        out.append_value(value);
    }
    Ok(Arc::new(out.finish()))
}

fn varbyte(array: &ArrayRef, max: usize) -> Result<ArrayRef, Misfit> {
    let long = |value: Option<&[u8]>| value.is_some_and(|value| value.len() > max);
    match array.as_binary_view().iter().position(long) {
        None => Ok(Arc::clone(array)),
        Some(row) => Err(Misfit::new(row, Fault::TooLong, &[], SqlType::Varbyte(max as u32))),
    }
}

/// A value as text, for messages.
pub(super) fn text_of(array: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::default().with_display_error(true);
    match ArrayFormatter::try_new(array.as_ref(), &options) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(_) => String::new(),
    }
}
