//! REAL and DOUBLE PRECISION: bit patterns or, where exact, scaled integers; and their order.
//!
//! The order is PostgreSQL's: −0 equals 0, NaN equals itself and is above everything.

use crate::integer::{IntReader, IntStream, IntTest, Menu, Native, encode, plain_bytes};
use crate::layout::{Parsed, Reader, fault};
use crate::stream::VectorReader;
use crate::{Selection, VECTOR_ROWS};

/// Tags of number bodies in the file.
pub(crate) mod tag {
    pub(crate) const BITS: u8 = 1;
    pub(crate) const SCALED: u8 = 2;
}

/// Powers of ten that numbers are tried to be whole multiples of.
const POWERS: [f64; 7] = [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0];
/// Whole numbers up to here are exact in a double.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// An integer that orders as the number does.
pub(crate) fn key(value: f64) -> i64 {
    if value.is_nan() {
        return i64::MAX;
    }
    // Adding zero turns −0 into 0.
    let bits = (value + 0.0).to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// The number of a bit pattern as a stream carries it.
pub(crate) fn of_bits(real: bool, bits: i64) -> f64 {
    if real { f64::from(f32::of(bits)) } else { f64::of(bits) }
}

pub(crate) fn key_of_bits(real: bool, bits: i64) -> i64 {
    key(of_bits(real, bits))
}

/// A parsed body.
pub(crate) enum FloatBody {
    Bits(IntStream),
    /// Value = integer ÷ power of ten, exactly.
    Scaled {
        power: f64,
        stream: IntStream,
    },
}

impl FloatBody {
    pub(crate) fn parse(reader: &mut Reader) -> Parsed<FloatBody> {
        match reader.u8()? {
            tag::BITS => Ok(FloatBody::Bits(IntStream::parse(reader)?)),
            tag::SCALED => {
                let Some(power) = POWERS.get(usize::from(reader.u8()?)) else {
                    return fault("scaled numbers have an impossible scale");
                };
                Ok(FloatBody::Scaled { power: *power, stream: IntStream::parse(reader)? })
            }
            _ => fault("numbers have an unknown encoding"),
        }
    }

    pub(crate) fn stream(&self) -> &IntStream {
        match self {
            FloatBody::Bits(stream) | FloatBody::Scaled { stream, .. } => stream,
        }
    }

    pub(crate) fn reader<T: Float>(&self) -> Parsed<FloatReader<'_, T>> {
        Ok(match self {
            FloatBody::Bits(stream) => FloatReader::Bits(stream.reader()?),
            FloatBody::Scaled { power, stream } => FloatReader::Scaled {
                power: *power,
                stream: stream.reader()?,
                scratch: Vec::with_capacity(VECTOR_ROWS),
            },
        })
    }

    /// Unselects rows whose order key fails `keys`.
    pub(crate) fn filter(
        &self,
        real: bool,
        keys: IntTest,
        selection: &mut Selection,
    ) -> Parsed<()> {
        match self {
            FloatBody::Bits(stream) => {
                stream.filter(&IntTest::FloatKeys(real, Box::new(keys)), selection)
            }
            FloatBody::Scaled { power, stream } => {
                let mut reader: IntReader<'_, i64> = stream.reader()?;
                let mut values = Vec::with_capacity(VECTOR_ROWS);
                for vector in 0..stream.vectors() {
                    if selection.vector_is_empty(vector) {
                        continue;
                    }
                    values.clear();
                    reader.append(vector, &mut values)?;
                    let mut hits = [0; VECTOR_ROWS];
                    for (hit, value) in hits.iter_mut().zip(&values) {
                        let value = *value as f64 / power;
                        let value = if real { f64::from(value as f32) } else { value };
                        *hit = u8::from(keys.passes(key(value)));
                    }
                    selection.and_hits(vector, &hits);
                }
                Ok(())
            }
        }
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            FloatBody::Bits(stream) => format!("bits, {}", stream.describe()),
            FloatBody::Scaled { power, stream } => {
                format!("integers ÷ {power}, {}", stream.describe())
            }
        }
    }
}

/// `f32` or `f64`.
pub(crate) trait Float: Native {
    fn from_double(value: f64) -> Self;
}

impl Float for f32 {
    fn from_double(value: f64) -> f32 {
        value as f32
    }
}

impl Float for f64 {
    fn from_double(value: f64) -> f64 {
        value
    }
}

/// Decodes vectors of numbers.
pub(crate) enum FloatReader<'a, T> {
    Bits(IntReader<'a, T>),
    Scaled { power: f64, stream: IntReader<'a, i64>, scratch: Vec<i64> },
}

impl<T: Float> VectorReader for FloatReader<'_, T> {
    type Value = T;

    fn append(&mut self, vector: usize, out: &mut Vec<T>) -> Parsed<()> {
        match self {
            FloatReader::Bits(reader) => reader.append(vector, out),
            FloatReader::Scaled { power, stream, scratch } => {
                scratch.clear();
                stream.append(vector, scratch)?;
                scale(scratch, *power, out);
                Ok(())
            }
        }
    }

    fn append_selected(
        &mut self,
        vector: usize,
        selection: &Selection,
        out: &mut Vec<T>,
    ) -> Parsed<()> {
        match self {
            FloatReader::Bits(reader) => reader.append_selected(vector, selection, out),
            FloatReader::Scaled { power, stream, scratch } => {
                scratch.clear();
                stream.append_selected(vector, selection, scratch)?;
                scale(scratch, *power, out);
                Ok(())
            }
        }
    }
}

fn scale<T: Float>(whole: &[i64], power: f64, out: &mut Vec<T>) {
    out.extend(whole.iter().map(|value| T::from_double(*value as f64 / power)));
}

/// Writes a body from bit patterns as streams carry them.
pub(crate) fn write(bits: &[i64], real: bool, menu: Menu, out: &mut Vec<u8>) {
    let width = if real { 4 } else { 8 };
    if menu != Menu::Plain
        && let Some((scale, whole)) = scaled(bits, real)
    {
        let start = out.len();
        out.extend_from_slice(&[tag::SCALED, scale]);
        encode(&whole, 8, menu, out);
        if out.len() - start < plain_bytes(bits.len(), width) {
            return;
        }
        out.truncate(start);
    }
    out.push(tag::BITS);
    encode(bits, width, menu, out);
}

/// The least power of ten of which every number is exactly a whole multiple.
fn scaled(bits: &[i64], real: bool) -> Option<(u8, Vec<i64>)> {
    let whole = |bits: i64, power: f64| -> Option<i64> {
        let value = of_bits(real, bits);
        let scaled = (value * power).round();
        if scaled.is_nan() || scaled.abs() > WHOLE_MAX {
            return None;
        }
        let back = scaled as i64 as f64 / power;
        let same = match real {
            true => (back as f32).to_bits() == f32::of(bits).to_bits(),
            false => back.to_bits() == bits as u64,
        };
        same.then_some(scaled as i64)
    };
    let step = (bits.len() / 64).max(1);
    let scale = (0..POWERS.len()).find(|scale| {
        bits.iter().step_by(step).all(|bits| whole(*bits, POWERS[*scale]).is_some())
    })?;
    for (scale, power) in POWERS.iter().enumerate().skip(scale) {
        if let Some(values) = bits.iter().map(|bits| whole(*bits, *power)).collect() {
            return Some((u8::try_from(scale).ok()?, values));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_numbers_do() {
        let ordered =
            [f64::NEG_INFINITY, -1e300, -1.5, -f64::MIN_POSITIVE, 0.0, 5e-324, 1.0, f64::INFINITY];
        assert!(ordered.windows(2).all(|pair| key(pair[0]) < key(pair[1])));
        assert_eq!(key(-0.0), key(0.0));
        assert_eq!(key(f64::NAN), key(-f64::NAN));
        assert!(key(f64::INFINITY) < key(f64::NAN));
    }

    #[test]
    fn prices_become_integers() {
        let bits: Vec<i64> = [1.25, 99.99, 0.01].map(|v: f64| v.to_bits() as i64).to_vec();
        assert_eq!(scaled(&bits, false), Some((2, vec![125, 9_999, 1])));
        let minus_zero = [(-0.0_f64).to_bits() as i64];
        assert_eq!(scaled(&minus_zero, false), None);
    }
}
