//! Vectors of a block for kernels that work on 64-bit integers instead of Arrow arrays.
//!
//! Integers, dates, times and DECIMAL come as the integers that the file carries, text of a
//! dictionary as codes. Everything else is decoded to Arrow.

use arrow_array::ArrayRef;
use arrow_buffer::BooleanBuffer;
use base::segment::Datum;
use base::{Result, SqlType};

use super::{Block, Body};
use crate::VECTOR_ROWS;
use crate::integer::IntReader;
use crate::stream::VectorReader;
use crate::text::{self, TextCodes};
use crate::wide::WideBody;

/// Decodes vectors of one block to 64-bit integers.
pub struct Integers<'a> {
    block: &'a Block,
    reader: IntReader<'a, i64>,
    /// Added to what the stream carries.
    base: i64,
}

/// Decodes vectors of one block of text to places in a dictionary.
pub struct Codes<'a> {
    block: &'a Block,
    entries: ArrayRef,
    reader: Option<IntReader<'a, u32>>,
}

impl Block {
    /// Set bits are rows that are not NULL; `None` when no row is NULL, or every row.
    pub fn validity(&self) -> Option<&BooleanBuffer> {
        self.validity.as_ref()
    }

    /// True when every row is NULL.
    pub fn is_all_null(&self) -> bool {
        matches!(self.body, Body::AllNull)
    }

    /// The values as 64-bit integers in the unit that [`Zone`](crate::Zone) bounds: whole
    /// numbers, days, microseconds, decimals without their point. `None` when the block holds
    /// anything else, or decimals beyond 64 bits. Rows that are NULL have some value.
    ///
    /// # Errors
    /// XX001 when the encoded values contradict each other.
    pub fn integers(&self) -> Result<Option<Integers<'_>>> {
        let (stream, base) = match &self.body {
            Body::Integer(stream) => (stream, 0),
            Body::Wide(WideBody::Narrow { base, stream }) => {
                let fits = |bound: &Option<Datum>| match bound {
                    Some(Datum::Int(value)) => i64::try_from(*value).is_ok(),
                    _ => false,
                };
                match i64::try_from(*base) {
                    Ok(base) if fits(&self.zone.min) && fits(&self.zone.max) => (stream, base),
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        let reader = stream.reader().map_err(|fault| self.corrupted(fault))?;
        Ok(Some(Integers { block: self, reader, base }))
    }

    /// The values as codes when the block is text of a dictionary, or one text.
    ///
    /// # Errors
    /// XX001 when the encoded values contradict each other.
    pub fn codes(&self) -> Result<Option<Codes<'_>>> {
        let Body::Text(body) = &self.body else {
            return Ok(None);
        };
        let utf8 = !matches!(self.sql_type, SqlType::Varbyte(_));
        let codes = body.codes(utf8).map_err(|fault| self.corrupted(fault))?;
        Ok(codes.map(|TextCodes { entries, views, reader }| {
            let entries = text::array(entries.into(), views, None);
            Codes { block: self, entries, reader }
        }))
    }
}

impl Integers<'_> {
    /// Appends the values of vector `vector`, which exists.
    ///
    /// # Errors
    /// XX001 when the encoded values contradict each other.
    pub fn append(&mut self, vector: usize, out: &mut Vec<i64>) -> Result<()> {
        let start = out.len();
        self.reader.append(vector, out).map_err(|fault| self.block.corrupted(fault))?;
        if self.base != 0 {
            out[start..].iter_mut().for_each(|value| *value = value.wrapping_add(self.base));
        }
        Ok(())
    }
}

impl Codes<'_> {
    /// The dictionary.
    pub fn entries(&self) -> &ArrayRef {
        &self.entries
    }

    /// Appends the codes of vector `vector`, which exists; all are places in the dictionary.
    ///
    /// # Errors
    /// XX001 when the encoded values contradict each other.
    pub fn append(&mut self, vector: usize, out: &mut Vec<u32>) -> Result<()> {
        let start = out.len();
        match &mut self.reader {
            None => {
                let rows = (self.block.rows - vector * VECTOR_ROWS).min(VECTOR_ROWS);
                out.resize(start + rows, 0);
            }
            Some(reader) => {
                reader.append(vector, out).map_err(|fault| self.block.corrupted(fault))?;
            }
        }
        let highest = out[start..].iter().copied().max().unwrap_or(0);
        if highest as usize >= self.entries.len() {
            let fault = crate::layout::Fault("a dictionary code is out of range".into());
            return Err(self.block.corrupted(fault));
        }
        Ok(())
    }
}
