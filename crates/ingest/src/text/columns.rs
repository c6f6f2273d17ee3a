//! Values column by column: the fields of a batch of records to one Arrow array.
//!
//! A row whose value is refused keeps its place until all columns are done, with NULL or zero
//! in it; the reader then drops it. The first refused column of a row is the one reported.

use arrow_array::builder::{BinaryViewBuilder, StringViewBuilder};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{ArrayRef, BooleanArray, PrimitiveArray};
use arrow_buffer::{BooleanBufferBuilder, NullBufferBuilder};
use base::{Result, SqlType};
use std::sync::Arc;

use super::moment::{self, Format};
use super::number::{self, DecimalShape};
use super::records::{Place, Records};
use super::{Conversion, Target};
use crate::reject::Fault;

/// A refused value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellFault {
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) fault: Fault,
}

/// The records of one batch with the bytes that they point into.
pub(crate) struct Cells<'a> {
    pub(crate) records: &'a Records,
    pub(crate) chunk: &'a [u8],
    /// The chunk from this offset on as text, when all of it in use is UTF-8 without zero
    /// bytes, so that strings need no check of their own.
    text_from: usize,
    text: Option<&'a str>,
    arena_text: Option<&'a str>,
}

impl<'a> Cells<'a> {
    /// `from..to` is the part of the chunk that the records lie in.
    pub(crate) fn new(records: &'a Records, chunk: &'a [u8], from: usize, to: usize) -> Self {
        let clean = |bytes: &'a [u8]| {
            if bytes.contains(&0) { None } else { std::str::from_utf8(bytes).ok() }
        };
        let arena_text = clean(&records.arena);
        Self { records, chunk, text_from: from, text: clean(&chunk[from..to]), arena_text }
    }

    #[inline]
    pub(crate) fn bytes(&self, row: usize, field: usize) -> Option<&'a [u8]> {
        match self.records.place(row, field) {
            Place::Missing => None,
            Place::Chunk(start, end) => Some(&self.chunk[start..end]),
            Place::Arena(start, end) => Some(&self.records.arena[start..end]),
        }
    }

    /// The value as text when its bytes are known to be clean.
    #[inline]
    fn str(&self, row: usize, field: usize) -> Option<&'a str> {
        match self.records.place(row, field) {
            Place::Missing => None,
            Place::Chunk(start, end) => {
                self.text?.get(start - self.text_from..end - self.text_from)
            }
            Place::Arena(start, end) => self.arena_text?.get(start..end),
        }
    }
}

/// Parses one column of a batch.
pub(crate) struct ColumnParser<'a> {
    pub(crate) cells: &'a Cells<'a>,
    pub(crate) conversion: &'a Conversion,
    pub(crate) target: &'a Target,
    pub(crate) column: usize,
    pub(crate) field: usize,
    pub(crate) faults: &'a mut Vec<CellFault>,
}

impl ColumnParser<'_> {
    pub(crate) fn parse(mut self) -> Result<ArrayRef> {
        let conversion = self.conversion;
        let dates = &conversion.date_format;
        let times = &conversion.time_format;
        Ok(match self.target.sql_type {
            SqlType::SmallInt => Arc::new(self.primitive::<Int16Type>(|b| {
                number::integer(b, i16::MIN.into(), i16::MAX.into()).map(|v| v as i16)
            })),
            SqlType::Integer => Arc::new(self.primitive::<Int32Type>(|b| {
                number::integer(b, i32::MIN.into(), i32::MAX.into()).map(|v| v as i32)
            })),
            SqlType::BigInt => {
                Arc::new(self.primitive::<Int64Type>(|b| number::integer(b, i64::MIN, i64::MAX)))
            }
            SqlType::Real => Arc::new(self.primitive::<Float32Type>(number::real)),
            SqlType::Double => Arc::new(self.primitive::<Float64Type>(number::double)),
            SqlType::Decimal { precision, scale } => {
                let shape = DecimalShape::new(precision, scale, conversion.round_decimals);
                let array = self.primitive::<Decimal128Type>(|b| number::decimal(b, shape));
                Arc::new(array.with_data_type(self.target.sql_type.arrow()))
            }
            SqlType::Date => Arc::new(self.moments::<Date32Type>(dates, moment::date)),
            SqlType::Timestamp => {
                Arc::new(self.moments::<TimestampMicrosecondType>(times, moment::timestamp))
            }
            SqlType::TimestampTz => Arc::new(
                self.moments::<TimestampMicrosecondType>(times, moment::timestamp_tz)
                    .with_timezone(base::types::UTC),
            ),
            SqlType::Time => Arc::new(self.primitive::<Time64MicrosecondType>(moment::time)),
            SqlType::TimeTz => Arc::new(self.primitive::<Int64Type>(moment::time_tz)),
            SqlType::Boolean => Arc::new(self.booleans()),
            SqlType::Char(max) => self.strings(max as usize, true),
            SqlType::Varchar(max) => self.strings(max as usize, false),
            SqlType::Varbyte(max) => self.varbytes(max as usize),
            other => {
                return Err(base::Error::internal(format!("type {other} in a stored table")));
            }
        })
    }

    /// The bytes of a value that is not NULL. Without bytes a column of any type but CHAR and
    /// VARCHAR is NULL.
    #[inline]
    fn value(&self, row: usize) -> Option<&[u8]> {
        let bytes = self.cells.bytes(row, self.field)?;
        (!bytes.is_empty() && bytes != self.conversion.null).then_some(bytes)
    }

    fn refuse(&mut self, row: usize, fault: Fault) {
        self.faults.push(CellFault { row, column: self.column, fault });
    }

    /// Notes a NULL: a fault where the column does not take one.
    fn null(&mut self, row: usize) {
        if !self.target.nullable {
            self.refuse(row, Fault::NotNull);
        }
    }

    #[inline]
    fn primitive<T: ArrowPrimitiveType>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<T::Native, Fault>,
    ) -> PrimitiveArray<T> {
        let rows = self.cells.records.len();
        let mut values = Vec::with_capacity(rows);
        let mut nulls = NullBufferBuilder::new(rows);
        for row in 0..rows {
            match self.value(row).map(&parse) {
                Some(Ok(value)) => {
                    values.push(value);
                    nulls.append_non_null();
                }
                refused => {
                    values.push(T::Native::default());
                    nulls.append_null();
                    match refused {
                        Some(Err(fault)) => self.refuse(row, fault),
                        _ => self.null(row),
                    }
                }
            }
        }
        PrimitiveArray::new(values.into(), nulls.finish())
    }

    /// Dates and timestamps: with ACCEPTANYDATE what cannot be read is NULL.
    fn moments<T: ArrowPrimitiveType>(
        &mut self,
        format: &Format,
        parse: impl Fn(&[u8], &Format) -> Result<T::Native, Fault>,
    ) -> PrimitiveArray<T> {
        let before = self.faults.len();
        let array = self.primitive::<T>(|bytes| parse(bytes, format));
        if self.conversion.accept_any_date {
            // The value is NULL already; only a NOT NULL column still refuses the row.
            if self.target.nullable {
                self.faults.truncate(before);
            } else {
                for fault in &mut self.faults[before..] {
                    fault.fault = Fault::NotNull;
                }
            }
        }
        array
    }

    fn booleans(&mut self) -> BooleanArray {
        let rows = self.cells.records.len();
        let mut values = BooleanBufferBuilder::new(rows);
        let mut nulls = NullBufferBuilder::new(rows);
        for row in 0..rows {
            match self.value(row).map(number::boolean) {
                Some(Ok(value)) => {
                    values.append(value);
                    nulls.append_non_null();
                }
                refused => {
                    values.append(false);
                    nulls.append_null();
                    match refused {
                        Some(Err(fault)) => self.refuse(row, fault),
                        _ => self.null(row),
                    }
                }
            }
        }
        BooleanArray::new(values.finish(), nulls.finish())
    }

    fn strings(&mut self, max: usize, char: bool) -> ArrayRef {
        let rows = self.cells.records.len();
        let mut out = StringViewBuilder::with_capacity(rows);
        let mut scratch = String::new();
        for row in 0..rows {
            match self.string(row, max, char, &mut scratch) {
                Ok(Some(text)) => out.append_value(text),
                Ok(None) => {
                    out.append_null();
                    self.null(row);
                }
                Err(fault) => {
                    out.append_null();
                    self.refuse(row, fault);
                }
            }
        }
        Arc::new(out.finish())
    }

    /// One string value after NULL AS, EMPTYASNULL, BLANKSASNULL, TRIMBLANKS and
    /// TRUNCATECOLUMNS.
    #[inline]
    fn string<'b>(
        &'b self,
        row: usize,
        max: usize,
        char: bool,
        scratch: &'b mut String,
    ) -> Result<Option<&'b str>, Fault> {
        let conversion = self.conversion;
        let Some(bytes) = self.cells.bytes(row, self.field) else {
            // FILLRECORD: an empty string for VARCHAR, NULL for all else.
            return Ok(if char || conversion.empty_as_null { None } else { Some("") });
        };
        if bytes == conversion.null || (conversion.empty_as_null && bytes.is_empty()) {
            return Ok(None);
        }
        let mut text = match self.cells.str(row, self.field) {
            Some(text) => text,
            None => checked_text(bytes, conversion, scratch)?,
        };
        let blanks = conversion.blanks_as_null && !text.is_empty();
        if blanks && text.trim_ascii().is_empty() {
            return Ok(None);
        }
        // Trailing blanks of CHAR mean nothing and are not stored.
        if char || conversion.trim_blanks {
            text = text.trim_end_matches(' ');
        }
        if char && !text.is_ascii() {
            let at = text.bytes().position(|b| !b.is_ascii()).unwrap_or(0);
            return Err(Fault::Multibyte(at as u32));
        }
        if text.len() > max {
            if !conversion.truncate_columns {
                return Err(Fault::TooLong);
            }
            text = &text[..text.floor_char_boundary(max)];
        }
        Ok(Some(text))
    }

    fn varbytes(&mut self, max: usize) -> ArrayRef {
        let rows = self.cells.records.len();
        let mut out = BinaryViewBuilder::with_capacity(rows);
        let mut value = Vec::new();
        for row in 0..rows {
            value.clear();
            let parsed = self.value(row).map(|bytes| {
                number::hex(bytes, &mut value)?;
                if value.len() > max && self.conversion.truncate_columns {
                    value.truncate(max);
                }
                if value.len() > max { Err(Fault::TooLong) } else { Ok(()) }
            });
            match parsed {
                Some(Ok(())) => out.append_value(&value),
                Some(Err(fault)) => {
                    out.append_null();
                    self.refuse(row, fault);
                }
                None => {
                    out.append_null();
                    self.null(row);
                }
            }
        }
        Arc::new(out.finish())
    }
}

/// A value of which it is not known yet whether it is text.
#[cold]
fn checked_text<'b>(
    bytes: &'b [u8],
    conversion: &Conversion,
    scratch: &'b mut String,
) -> Result<&'b str, Fault> {
    if let Some(replacement) = conversion.replace_invalid {
        scratch.clear();
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                scratch.push(if character == '\0' { replacement.into() } else { character });
            }
            scratch.extend(std::iter::repeat_n(char::from(replacement), chunk.invalid().len()));
        }
        return Ok(scratch);
    }
    let text = std::str::from_utf8(bytes).map_err(|error| utf8_fault(bytes, error))?;
    match bytes.iter().position(|b| *b == 0) {
        None => Ok(text),
        Some(at) if conversion.null == [0] => Err(Fault::NullByte(at as u32)),
        Some(at) => Err(Fault::Utf8 { position: at as u32, kind: 3 }),
    }
}

/// Redshift numbers the kinds of violation: 1 longer than four bytes, 2 incomplete, 3 no first
/// byte, 4 no continuation byte, 5 a surrogate.
fn utf8_fault(bytes: &[u8], error: std::str::Utf8Error) -> Fault {
    let at = error.valid_up_to();
    let kind = match (bytes[at], bytes.get(at + 1)) {
        (0x80..=0xbf | 0xfe | 0xff, _) => 3,
        (0xf5..=0xfd, _) => 1,
        (0xed, Some(0xa0..=0xbf)) => 5,
        _ if error.error_len().is_none() => 2,
        _ => 4,
    };
    Fault::Utf8 { position: at as u32, kind }
}

/// Keeps the rows that no column refused. `faults` come back one per row, in row order.
pub(crate) fn first_per_row(faults: &mut Vec<CellFault>) {
    faults.sort_by_key(|fault| (fault.row, fault.column));
    faults.dedup_by_key(|fault| fault.row);
}

/// A mask with false at the refused rows.
pub(crate) fn keep_mask(rows: usize, faults: &[CellFault]) -> BooleanArray {
    let mut keep = vec![true; rows];
    for fault in faults {
        keep[fault.row] = false;
    }
    BooleanArray::from(keep)
}

/// `value`, an array of one element, `rows` times.
pub(crate) fn repeat(value: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    let indices = arrow_array::UInt32Array::from(vec![0; rows]);
    arrow_select::take::take(value, &indices, None)
        .map_err(|error| base::Error::internal(format!("could not repeat a default: {error}")))
}
