//! DECIMAL: 128-bit values, stored as 64-bit differences from a base wherever they fit.

use bytes::Bytes;

use crate::integer::{IntReader, IntStream, Menu, WideTest, encode, encode_within};
use crate::layout::{Parsed, Reader, fault};
use crate::stream::{VectorReader, append_compressed};
use crate::{Selection, VECTOR_ROWS};

/// Tags of DECIMAL bodies in the file.
pub(crate) mod tag {
    pub(crate) const NARROW: u8 = 1;
    pub(crate) const WIDE: u8 = 2;
}

/// A parsed body.
pub(crate) enum WideBody {
    /// Value = base + stream value.
    Narrow { base: i128, stream: IntStream },
    /// Little-endian, 16 bytes a value.
    Wide(Bytes),
}

impl WideBody {
    pub(crate) fn parse(reader: &mut Reader, rows: usize) -> Parsed<WideBody> {
        match reader.u8()? {
            tag::NARROW => {
                let base = reader.i128()?;
                Ok(WideBody::Narrow { base, stream: IntStream::parse(reader)? })
            }
            tag::WIDE => Ok(WideBody::Wide(reader.slice(rows * 16)?)),
            _ => fault("decimals have an unknown encoding"),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        match self {
            WideBody::Narrow { stream, .. } => stream.rows,
            WideBody::Wide(data) => data.len() / 16,
        }
    }

    /// `whole`: most vectors are read with all of their rows.
    pub(crate) fn reader(&self, whole: bool) -> Parsed<WideReader<'_>> {
        Ok(match self {
            WideBody::Narrow { base: 0, stream } if whole => WideReader::Direct(stream.reader()?),
            WideBody::Narrow { base, stream } => WideReader::Based {
                base: *base,
                stream: stream.reader()?,
                scratch: Vec::with_capacity(VECTOR_ROWS),
            },
            WideBody::Wide(data) => WideReader::Plain(data),
        })
    }

    /// Unselects the rows whose value fails `test`.
    pub(crate) fn filter(&self, test: &WideTest, selection: &mut Selection) -> Parsed<()> {
        match self {
            WideBody::Narrow { base, stream } => stream.filter(&test.narrow(*base), selection),
            WideBody::Wide(data) => {
                for (vector, values) in data.chunks(VECTOR_ROWS * 16).enumerate() {
                    if selection.vector_is_empty(vector) {
                        continue;
                    }
                    let mut hits = [0; VECTOR_ROWS];
                    for (hit, value) in hits.iter_mut().zip(values.chunks_exact(16)) {
                        *hit = u8::from(test.passes(read(value)));
                    }
                    selection.and_hits(vector, &hits);
                }
                Ok(())
            }
        }
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            WideBody::Narrow { base: 0, stream } => stream.describe(),
            WideBody::Narrow { base, stream } => format!("{base} + {}", stream.describe()),
            WideBody::Wide(_) => "plain 16 bytes".to_owned(),
        }
    }
}

/// Decodes vectors of decimals.
pub(crate) enum WideReader<'a> {
    Direct(IntReader<'a, i128>),
    Based { base: i128, stream: IntReader<'a, i64>, scratch: Vec<i64> },
    Plain(&'a [u8]),
}

impl VectorReader for WideReader<'_> {
    type Value = i128;

    fn append(&mut self, vector: usize, out: &mut Vec<i128>) -> Parsed<()> {
        match self {
            WideReader::Direct(reader) => reader.append(vector, out),
            WideReader::Based { base, stream, scratch } => {
                scratch.clear();
                stream.append(vector, scratch)?;
                widen(scratch, *base, out);
                Ok(())
            }
            WideReader::Plain(data) => {
                let from = (vector * VECTOR_ROWS * 16).min(data.len());
                let to = (from + VECTOR_ROWS * 16).min(data.len());
                out.extend(data[from..to].chunks_exact(16).map(read));
                Ok(())
            }
        }
    }

    fn append_selected(
        &mut self,
        vector: usize,
        selection: &Selection,
        out: &mut Vec<i128>,
    ) -> Parsed<()> {
        match self {
            WideReader::Direct(reader) => reader.append_selected(vector, selection, out),
            WideReader::Based { base, stream, scratch } => {
                scratch.clear();
                stream.append_selected(vector, selection, scratch)?;
                widen(scratch, *base, out);
                Ok(())
            }
            WideReader::Plain(_) => append_compressed(self, vector, selection, out),
        }
    }
}

fn widen(narrow: &[i64], base: i128, out: &mut Vec<i128>) {
    if base == 0 {
        out.extend(narrow.iter().map(|value| i128::from(*value)));
    } else {
        out.extend(narrow.iter().map(|value| base.wrapping_add(i128::from(*value))));
    }
}

fn read(bytes: &[u8]) -> i128 {
    let mut field = [0; 16];
    field.copy_from_slice(bytes);
    i128::from_le_bytes(field)
}

/// The values as 64-bit integers when all of them fit.
pub(crate) fn narrow(values: &[i128]) -> Option<Vec<i64>> {
    let mut lost = 0;
    let narrow = values
        .iter()
        .map(|value| {
            let low = *value as i64;
            // No early exit: the loop stays free of branches.
            lost |= i128::from(low) ^ value;
            low
        })
        .collect();
    (lost == 0).then_some(narrow)
}

/// Writes a body of values that fit 64 bits.
pub(crate) fn write_narrow(values: &[i64], bounds: (i64, i64), menu: Menu, out: &mut Vec<u8>) {
    out.push(tag::NARROW);
    out.extend_from_slice(&0_i128.to_le_bytes());
    encode_within(values, bounds, 8, menu, out);
}

/// Writes a body of values of which some do not fit 64 bits; `min` and `max` are theirs.
pub(crate) fn write(values: &[i128], (min, max): (i128, i128), menu: Menu, out: &mut Vec<u8>) {
    if max.checked_sub(min).is_some_and(|range| i64::try_from(range).is_ok()) {
        let narrow: Vec<i64> = values.iter().map(|value| (value - min) as i64).collect();
        out.push(tag::NARROW);
        out.extend_from_slice(&min.to_le_bytes());
        encode(&narrow, 8, menu, out);
    } else {
        out.push(tag::WIDE);
        out.reserve(values.len() * 16);
        values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    }
}
