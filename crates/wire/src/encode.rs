//! Result rows as bytes.
//!
//! For each column of a batch one closure is chosen from its SQL type, its format and the
//! protocol level; rows are then written by calling the closures in turn. Batches whose Arrow
//! types are not those of their SQL types are cast first, once per batch.

mod array;
mod binary;
mod datetime;
mod interval;
mod numeric;
mod text;
pub(crate) mod zone;

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::NullBuffer;
use arrow_cast::display::FormatOptions;
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::DataType;
use base::client::Column;
use base::types::DECIMAL_DIGITS_MAX;
use base::{Result, SqlType, error, fail};

pub(crate) use datetime::{EPOCH_DAYS, EPOCH_US};
use zone::Zone;

/// PostgreSQL's limit on one message, which a row has to keep to.
const ROW_BYTES_MAX: usize = 0x3fff_ffff;

/// Text (0) or binary (1), as Bind names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Binary,
}

impl Format {
    pub(crate) fn of(code: i16) -> Format {
        if code == 1 { Format::Binary } else { Format::Text }
    }

    pub(crate) fn code(self) -> i16 {
        match self {
            Format::Text => 0,
            Format::Binary => 1,
        }
    }
}

/// What besides its type decides how a value looks.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    pub(crate) zone: Zone,
    /// `extra_float_digits`: above 0 the shortest text that reads back as the same number.
    pub(crate) float_digits: i32,
    /// Redshift's extension level.
    pub(crate) extension: u8,
}

impl Default for Style {
    fn default() -> Style {
        Style { zone: Zone::Utc, float_digits: 1, extension: 0 }
    }
}

/// Writes one value, without its length.
type Cell = Box<dyn Fn(usize, &mut Vec<u8>) + Send>;

struct Writer {
    nulls: Option<NullBuffer>,
    cell: Cell,
}

impl Writer {
    fn new(array: &ArrayRef, sql_type: SqlType, format: Format, style: &Style) -> Result<Writer> {
        if *array.data_type() == DataType::Null {
            let nulls = Some(NullBuffer::new_null(array.len()));
            return Ok(Writer { nulls, cell: Box::new(|_, _| ()) });
        }
        let array = canonical(array, sql_type)?;
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
        let cell = match format {
            Format::Text => text::cell(&array, sql_type, style)?,
            Format::Binary => binary::cell(&array, sql_type, style)?,
        };
        Ok(Writer { nulls, cell })
    }

    /// Writes the length and the value.
    fn put(&self, row: usize, out: &mut Vec<u8>) {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            return;
        }
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        (self.cell)(row, out);
        let len = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    }
}

/// A batch that is being written row by row.
pub(crate) struct Rows {
    writers: Vec<Writer>,
    rows: usize,
    next: usize,
}

impl Rows {
    /// Chooses the writers of a batch. `formats` has one entry per column.
    ///
    /// # Errors
    /// 22003 when a value does not fit the announced type, XX000 when the batch does not have
    /// the announced columns.
    pub(crate) fn new(
        batch: &RecordBatch,
        columns: &[Column],
        formats: &[Format],
        style: &Style,
    ) -> Result<Rows> {
        if batch.num_columns() != columns.len() || formats.len() != columns.len() {
            fail!(
                InternalError,
                "a result of {} columns came in batches of {}",
                columns.len(),
                batch.num_columns()
            );
        }
        let writers = batch
            .columns()
            .iter()
            .zip(columns.iter().zip(formats))
            .map(|(array, (column, format))| Writer::new(array, column.sql_type, *format, style))
            .collect::<Result<_>>()?;
        Ok(Rows { writers, rows: batch.num_rows(), next: 0 })
    }

    pub(crate) fn is_done(&self) -> bool {
        self.next >= self.rows
    }

    /// Writes rows until the batch ends, `rows_max` are written or `out` holds `bytes_max`.
    /// Returns how many were written.
    pub(crate) fn write(
        &mut self,
        out: &mut Vec<u8>,
        rows_max: u64,
        bytes_max: usize,
    ) -> Result<u64> {
        let columns = u16::try_from(self.writers.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut written = 0;
        while self.next < self.rows && written < rows_max && out.len() < bytes_max {
            out.push(b'D');
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&columns);
            for writer in &self.writers {
                writer.put(self.next, out);
            }
            let len = out.len() - start;
            if len > ROW_BYTES_MAX {
                out.truncate(start - 1);
                fail!(ProgramLimitExceeded, "a row of {len} bytes is too large to be sent");
            }
            let len = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
            out[start..start + 4].copy_from_slice(&len);
            self.next += 1;
            written += 1;
        }
        Ok(written)
    }
}

/// An interval in PostgreSQL's style, as text parameters carry it.
pub(crate) fn put_interval(months: i32, days: i32, us: i64) -> String {
    let mut out = Vec::new();
    interval::put_mixed(&mut out, months, days, us);
    String::from_utf8(out).unwrap_or_default()
}

/// The array in the Arrow type of its SQL type; text and bytes may have any width of offset.
fn canonical(array: &ArrayRef, sql_type: SqlType) -> Result<ArrayRef> {
    let have = array.data_type();
    let want = match (sql_type, have) {
        (SqlType::Decimal { scale, .. }, DataType::Decimal128(_, had))
            if i16::from(*had) == i16::from(scale) =>
        {
            return Ok(Arc::clone(array));
        }
        (SqlType::Decimal { scale, .. }, _) => {
            DataType::Decimal128(DECIMAL_DIGITS_MAX, i8::try_from(scale).unwrap_or(i8::MAX))
        }
        _ => sql_type.arrow(),
    };
    let text =
        |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let bytes = |t: &DataType| {
        matches!(
            t,
            DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
        )
    };
    let same_list = |a: &DataType, b: &DataType| match (a, b) {
        (DataType::List(a), DataType::List(b)) => a.data_type() == b.data_type(),
        _ => false,
    };
    if *have == want
        || (text(have) && text(&want))
        || (bytes(have) && bytes(&want))
        || same_list(have, &want)
    {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    cast_with_options(array, &want, &options).map_err(|fault| {
        error!(NumericValueOutOfRange, "a result value does not fit type {sql_type}: {fault}")
    })
}

/// The array as the Arrow type that [`canonical`] has given it.
fn downcast<T: Array + Clone + 'static>(array: &ArrayRef) -> Result<T> {
    match array.as_any().downcast_ref::<T>() {
        Some(array) => Ok(array.clone()),
        None => fail!(InternalError, "a result column has Arrow type {}", array.data_type()),
    }
}

#[cfg(test)]
mod tests;
