//! The rows of one column until they fill a block, and their encoding to its bytes and zone.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use base::segment::Datum;
use base::{Error, Result, SqlType};

use crate::Zone;
use crate::block::{UNPACKED_BYTES_MAX, boolean_tag, flag};
use crate::cardinality::Sketch;
use crate::integer::{self, Menu};
use crate::text::{self, Strings};
use crate::{float, wide};

/// An encoded block.
pub(super) struct EncodedBlock {
    pub(super) bytes: Vec<u8>,
    pub(super) zone: Zone,
}

/// Rows of one column that are not encoded yet.
pub(super) struct ColumnBuffer {
    sql_type: SqlType,
    rows: usize,
    nulls: usize,
    /// Kept from the first NULL of the block on.
    validity: Option<BooleanBufferBuilder>,
    values: Values,
}

enum Values {
    Boolean(BooleanBufferBuilder),
    /// Integers as they are, numbers as bit patterns.
    Integer(Vec<i64>),
    Wide(Vec<i128>),
    Text {
        data: Vec<u8>,
        ends: Vec<u32>,
    },
}

impl ColumnBuffer {
    pub(super) fn new(sql_type: SqlType) -> ColumnBuffer {
        let values = match sql_type {
            SqlType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            SqlType::Decimal { .. } => Values::Wide(Vec::new()),
            SqlType::Char(_) | SqlType::Varchar(_) | SqlType::Varbyte(_) => {
                Values::Text { data: Vec::new(), ends: Vec::new() }
            }
            _ => Values::Integer(Vec::new()),
        };
        ColumnBuffer { sql_type, rows: 0, nulls: 0, validity: None, values }
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.values, Values::Text { .. })
    }

    /// Bytes of text held.
    pub(super) fn text_bytes(&self) -> usize {
        match &self.values {
            Values::Text { data, .. } => data.len(),
            _ => 0,
        }
    }

    /// Adds the rows of `array`, whose type the writer checked.
    pub(super) fn push(&mut self, array: &ArrayRef) -> Result<()> {
        let rows = array.len();
        if let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) {
            let held = self.rows;
            let validity = self.validity.get_or_insert_with(|| {
                let mut builder = BooleanBufferBuilder::new(held + rows);
                builder.append_n(held, true);
                builder
            });
            validity.append_buffer(nulls.inner());
            self.nulls += nulls.null_count();
        } else if let Some(validity) = &mut self.validity {
            validity.append_n(rows, true);
        }
        self.rows += rows;
        match &mut self.values {
            Values::Boolean(bits) => bits.append_buffer(array.as_boolean().values()),
            Values::Wide(values) => {
                values.extend_from_slice(array.as_primitive::<Decimal128Type>().values());
            }
            Values::Text { data, ends } if matches!(self.sql_type, SqlType::Varbyte(_)) => {
                let array = array.as_binary_view();
                push_text(array.len(), |i| (array.is_valid(i), array.value(i)), data, ends)?;
            }
            Values::Text { data, ends } => {
                let array = array.as_string_view();
                let get = |i| (array.is_valid(i), array.value(i).as_bytes());
                push_text(array.len(), get, data, ends)?;
            }
            Values::Integer(values) => match self.sql_type {
                SqlType::SmallInt => widen::<Int16Type>(array, values, i64::from),
                SqlType::Integer => widen::<Int32Type>(array, values, i64::from),
                SqlType::Date => widen::<Date32Type>(array, values, i64::from),
                SqlType::Time => widen::<Time64MicrosecondType>(array, values, |v| v),
                SqlType::Timestamp | SqlType::TimestampTz => {
                    widen::<TimestampMicrosecondType>(array, values, |v| v);
                }
                SqlType::Real => {
                    // Sign-extended, as a plain stream of four bytes gives it back.
                    widen::<Float32Type>(array, values, |v| i64::from(v.to_bits() as i32));
                }
                SqlType::Double => widen::<Float64Type>(array, values, |v| v.to_bits() as i64),
                _ => widen::<Int64Type>(array, values, |v| v),
            },
        }
        Ok(())
    }

    /// Encodes and forgets the rows held (at least one); their distinct values go to `sketch`.
    pub(super) fn encode(
        &mut self,
        menu: Menu,
        zstd_level: Option<i32>,
        sketch: &mut Sketch,
    ) -> Result<EncodedBlock> {
        let mut zone = Zone { nulls: self.nulls as u32, ..Zone::default() };
        let validity = self.validity.take().map(|mut builder| builder.finish());
        let mut body = Vec::new();
        let mut flags = 0;
        if self.nulls == self.rows {
            flags |= flag::ALL_NULL;
        } else {
            if let Some(validity) = &validity {
                flags |= flag::VALIDITY;
                body.extend_from_slice(&bitmap_bytes(validity));
            }
            let mut seen = Sketch::new();
            self.encode_values(validity.as_ref(), menu, &mut zone, &mut seen, &mut body);
            zone.distinct = seen.estimate((self.rows - self.nulls) as u64) as u32;
            sketch.merge(&seen);
        }
        self.clear();
        let mut bytes = Vec::with_capacity(body.len() + 1);
        match zstd_level {
            Some(level) if flags & flag::ALL_NULL == 0 && body.len() <= UNPACKED_BYTES_MAX => {
                let frame = zstd::bulk::compress(&body, level)
                    .map_err(|error| Error::io("compress a block", error))?;
                bytes.push(flags | flag::ZSTD);
                bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
                bytes.extend_from_slice(&frame);
            }
            _ => {
                bytes.push(flags);
                bytes.append(&mut body);
            }
        }
        Ok(EncodedBlock { bytes, zone })
    }

    fn encode_values(
        &mut self,
        validity: Option<&BooleanBuffer>,
        menu: Menu,
        zone: &mut Zone,
        sketch: &mut Sketch,
        out: &mut Vec<u8>,
    ) {
        match &mut self.values {
            Values::Boolean(builder) => {
                encode_booleans(&builder.finish(), validity, zone, sketch, out);
            }
            Values::Wide(values) => {
                fill_nulls(values, validity);
                encode_wide(values, validity, menu, zone, sketch, out);
            }
            Values::Integer(values) => {
                fill_nulls(values, validity);
                match self.sql_type {
                    SqlType::Real => encode_floats(values, true, menu, zone, sketch, out),
                    SqlType::Double => encode_floats(values, false, menu, zone, sketch, out),
                    other => encode_integers(values, validity, other, menu, (zone, sketch), out),
                }
            }
            Values::Text { data, ends } => {
                let strings = Strings { data, ends };
                let utf8 = !matches!(self.sql_type, SqlType::Varbyte(_));
                bound_strings(&strings, validity, utf8, zone);
                text::write(&strings, menu, sketch, out);
            }
        }
    }

    fn clear(&mut self) {
        self.rows = 0;
        self.nulls = 0;
        self.validity = None;
        match &mut self.values {
            Values::Boolean(bits) => bits.truncate(0),
            Values::Integer(values) => values.clear(),
            Values::Wide(values) => values.clear(),
            Values::Text { data, ends } => {
                data.clear();
                ends.clear();
            }
        }
    }
}

fn widen<A: ArrowPrimitiveType>(
    array: &ArrayRef,
    values: &mut Vec<i64>,
    to: impl Fn(A::Native) -> i64,
) {
    values.extend(array.as_primitive::<A>().values().iter().map(|value| to(*value)));
}

fn push_text<'a>(
    rows: usize,
    get: impl Fn(usize) -> (bool, &'a [u8]),
    data: &mut Vec<u8>,
    ends: &mut Vec<u32>,
) -> Result<()> {
    for row in 0..rows {
        let (valid, text) = get(row);
        if valid {
            data.extend_from_slice(text);
        }
        let Ok(end) = u32::try_from(data.len()) else {
            return Err(base::error!(
                ProgramLimitExceeded,
                "the text of {rows} rows of a column exceeds 4 GiB"
            ));
        };
        ends.push(end);
    }
    Ok(())
}

/// Gives NULL rows the value before them, so that they cost the encodings nothing.
fn fill_nulls<T: Copy>(values: &mut [T], validity: Option<&BooleanBuffer>) {
    let Some(validity) = validity else { return };
    let Some(first) = validity.set_indices().next() else { return };
    let mut last = values[first];
    for (row, value) in values.iter_mut().enumerate() {
        if validity.value(row) {
            last = *value;
        } else {
            *value = last;
        }
    }
}

fn bitmap_bytes(bits: &BooleanBuffer) -> Vec<u8> {
    let mut bytes = bits.sliced().as_slice()[..bits.len().div_ceil(8)].to_vec();
    if !bits.len().is_multiple_of(8)
        && let Some(last) = bytes.last_mut()
    {
        *last &= 0xFF >> (8 - bits.len() % 8);
    }
    bytes
}

fn encode_booleans(
    bits: &BooleanBuffer,
    validity: Option<&BooleanBuffer>,
    zone: &mut Zone,
    sketch: &mut Sketch,
    out: &mut Vec<u8>,
) {
    let bits = match validity {
        Some(validity) => bits & validity,
        None => bits.clone(),
    };
    let values = validity.map_or(bits.len(), BooleanBuffer::count_set_bits);
    let set = bits.count_set_bits();
    let (some_false, some_true) = (set < values, set > 0);
    zone.min = Some(Datum::Int(i128::from(!some_false)));
    zone.max = Some(Datum::Int(i128::from(some_true)));
    (0..i64::from(some_false) + i64::from(some_true)).for_each(|value| sketch.add_integer(value));
    if some_false != some_true {
        out.extend_from_slice(&[boolean_tag::CONSTANT, u8::from(some_true)]);
    } else {
        out.push(boolean_tag::BITMAP);
        out.extend_from_slice(&bitmap_bytes(&bits));
    }
}

fn encode_integers(
    values: &[i64],
    validity: Option<&BooleanBuffer>,
    sql_type: SqlType,
    menu: Menu,
    (zone, sketch): (&mut Zone, &mut Sketch),
    out: &mut Vec<u8>,
) {
    let bounds = integer::bounds(values);
    zone.min = Some(Datum::Int(i128::from(bounds.0)));
    zone.max = Some(Datum::Int(i128::from(bounds.1)));
    let width = match sql_type {
        SqlType::SmallInt => 2,
        SqlType::Integer | SqlType::Date => 4,
        _ => 8,
    };
    if matches!(sql_type, SqlType::SmallInt | SqlType::Integer | SqlType::BigInt) {
        zone.sum = Some(sum_integers(values, validity));
    }
    values.iter().for_each(|value| sketch.add_integer(*value));
    integer::encode_within(values, bounds, width, menu, out);
}

fn sum_integers(values: &[i64], validity: Option<&BooleanBuffer>) -> i128 {
    match validity {
        None => {
            // Halves added apart in 64 bits: no block has rows enough to overflow them.
            let low: u64 = values.iter().map(|v| *v as u64 & 0xFFFF_FFFF).sum();
            let high: i64 = values.iter().map(|v| v >> 32).sum();
            (i128::from(high) << 32) + i128::from(low)
        }
        Some(validity) => validity.set_indices().map(|row| i128::from(values[row])).sum(),
    }
}

fn encode_wide(
    values: &[i128],
    validity: Option<&BooleanBuffer>,
    menu: Menu,
    zone: &mut Zone,
    sketch: &mut Sketch,
    out: &mut Vec<u8>,
) {
    if let Some(values) = wide::narrow(values) {
        let bounds = integer::bounds(&values);
        zone.min = Some(Datum::Int(i128::from(bounds.0)));
        zone.max = Some(Datum::Int(i128::from(bounds.1)));
        zone.sum = Some(sum_integers(&values, validity));
        values.iter().for_each(|value| sketch.add_integer(*value));
        return wide::write_narrow(&values, bounds, menu, out);
    }
    let (min, max) = integer::bounds(values);
    zone.min = Some(Datum::Int(min));
    zone.max = Some(Datum::Int(max));
    let add = |sum: Option<i128>, value: &i128| sum.and_then(|sum| sum.checked_add(*value));
    zone.sum = match validity {
        None => values.iter().fold(Some(0), add),
        Some(validity) => validity.set_indices().map(|row| &values[row]).fold(Some(0), add),
    };
    for value in values {
        // A value that fits 64 bits counts as itself, as in a narrow block.
        let (low, high) = (*value as i64, (value >> 64) as i64);
        let folded = (high ^ (low >> 63)).wrapping_mul(0x5851_F42D_4C95_7F2D);
        sketch.add_integer(low ^ folded);
    }
    wide::write(values, (min, max), menu, out);
}

fn encode_floats(
    bits: &[i64],
    real: bool,
    menu: Menu,
    zone: &mut Zone,
    sketch: &mut Sketch,
    out: &mut Vec<u8>,
) {
    let mut keys = (i64::MAX, i64::MIN);
    let (mut min, mut max) = (f64::NAN, f64::NAN);
    for value in bits {
        let number = float::of_bits(real, *value);
        let key = float::key(number);
        sketch.add_integer(key);
        if key <= keys.0 {
            (keys.0, min) = (key, number);
        }
        if key >= keys.1 {
            (keys.1, max) = (key, number);
        }
    }
    zone.bound_floats(min, max);
    float::write(bits, real, menu, out);
}

fn bound_strings(
    strings: &Strings<'_>,
    validity: Option<&BooleanBuffer>,
    utf8: bool,
    zone: &mut Zone,
) {
    let bounds = match validity {
        None => strings.bounds(0..strings.rows()),
        Some(validity) => strings.bounds(validity.set_indices()),
    };
    let Some((min, max)) = bounds else { return };
    match (std::str::from_utf8(min), std::str::from_utf8(max)) {
        (Ok(min), Ok(max)) if utf8 => zone.bound_text(min, max),
        _ => zone.bound_bytes(min, max),
    }
}
