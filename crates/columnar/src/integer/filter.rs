//! Predicates on integer streams, evaluated on codes, runs and dictionary entries.
//!
//! Never decodes to the target type: comparing happens in the lanes, with the constant moved
//! into the frame of reference.

use super::{IntEncoding, IntReader, IntStream, Native, Packed, run_ends};
use crate::layout::{Parsed, fault};
use crate::packing::{Lanes, Word, max_code, unpack};
use crate::stream::VectorReader;
use crate::{Selection, VECTOR_ROWS};

/// A test on 128-bit values, before it is narrowed to a stream's domain.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WideTest {
    /// From low to high, both included; empty when low exceeds high.
    Inside(i128, i128),
    Outside(i128, i128),
    /// Sorted, without duplicates.
    Among(Vec<i128>),
}

impl WideTest {
    pub(crate) fn passes(&self, value: i128) -> bool {
        match self {
            WideTest::Inside(low, high) => (*low..=*high).contains(&value),
            WideTest::Outside(low, high) => !(*low..=*high).contains(&value),
            WideTest::Among(values) => values.binary_search(&value).is_ok(),
        }
    }

    /// The same test on `value − base`, for a stream of 64-bit differences.
    pub(crate) fn narrow(&self, base: i128) -> IntTest {
        let bounds = |low: &i128, high: &i128| {
            let low = low.saturating_sub(base).max(i128::from(i64::MIN));
            let high = high.saturating_sub(base).min(i128::from(i64::MAX));
            match (i64::try_from(low), i64::try_from(high)) {
                (Ok(low), Ok(high)) if low <= high => Some((low, high)),
                _ => None,
            }
        };
        match self {
            WideTest::Inside(low, high) => match bounds(low, high) {
                Some((low, high)) => IntTest::Inside(low, high),
                None => IntTest::Never,
            },
            WideTest::Outside(low, high) => match bounds(low, high) {
                Some((low, high)) => IntTest::Outside(low, high),
                None => IntTest::Outside(1, 0),
            },
            WideTest::Among(values) => IntTest::Among(
                values.iter().filter_map(|v| i64::try_from(v.saturating_sub(base)).ok()).collect(),
            ),
        }
    }
}

/// A test on stream values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum IntTest {
    Never,
    /// From low to high, both included, low not above high.
    Inside(i64, i64),
    /// Not from low to high; everything passes when low exceeds high.
    Outside(i64, i64),
    /// Sorted, without duplicates.
    Among(Vec<i64>),
    /// The values are codes; a code passes where the table has 1.
    Table(Vec<u8>),
    /// The values are the bits of REAL (true) or DOUBLE numbers; the inner test is on the order
    /// keys of [`crate::float`].
    FloatKeys(bool, Box<IntTest>),
}

impl IntTest {
    pub(crate) fn passes(&self, value: i64) -> bool {
        match self {
            IntTest::Never => false,
            IntTest::Inside(low, high) => *low <= value && value <= *high,
            IntTest::Outside(low, high) => !(*low <= value && value <= *high),
            IntTest::Among(values) => values.binary_search(&value).is_ok(),
            IntTest::Table(table) => {
                usize::try_from(value).ok().and_then(|code| table.get(code)) == Some(&1)
            }
            IntTest::FloatKeys(real, inner) => {
                inner.passes(crate::float::key_of_bits(*real, value))
            }
        }
    }
}

impl IntStream {
    /// Unselects the rows whose value fails `test`; `selection` covers the stream's rows.
    pub(crate) fn filter(&self, test: &IntTest, selection: &mut Selection) -> Parsed<()> {
        match &self.encoding {
            _ if matches!(test, IntTest::Never) => selection.clear(),
            IntEncoding::Constant(value) => {
                if !test.passes(*value) {
                    selection.clear();
                }
            }
            IntEncoding::Packed(packed) => match (test, packed.translate(test)) {
                (_, Some(codes)) => packed.filter(self.rows, &codes, selection)?,
                (_, None) => self.filter_decoded(test, selection)?,
            },
            IntEncoding::Delta { .. } | IntEncoding::Plain { .. } => {
                self.filter_decoded(test, selection)?;
            }
            IntEncoding::Runs { values, lengths } => {
                let values: Vec<i64> = values.decode()?;
                let mut start = 0;
                for (value, end) in values.iter().zip(run_ends(lengths, self.rows)?) {
                    if !test.passes(*value) {
                        selection.clear_range(start..end as usize);
                    }
                    start = end as usize;
                }
            }
            IntEncoding::Dictionary { values, codes } => {
                let values: Vec<i64> = values.decode()?;
                codes.filter(&code_test(values.iter().map(|v| test.passes(*v))), selection)?;
            }
        }
        Ok(())
    }

    fn filter_decoded(&self, test: &IntTest, selection: &mut Selection) -> Parsed<()> {
        let mut reader: IntReader<'_, i64> = self.reader()?;
        let mut values: Vec<i64> = Vec::with_capacity(VECTOR_ROWS);
        for vector in 0..self.vectors() {
            if selection.vector_is_empty(vector) {
                continue;
            }
            values.clear();
            reader.append(vector, &mut values)?;
            selection.and_hits(vector, &hits(test, &values));
        }
        Ok(())
    }
}

/// The test on codes that stands for a test per dictionary entry; a contiguous range of passing
/// codes becomes a comparison.
pub(crate) fn code_test(entries: impl Iterator<Item = bool>) -> IntTest {
    let table: Vec<u8> = entries.map(u8::from).collect();
    let Some(first) = table.iter().position(|hit| *hit == 1) else { return IntTest::Never };
    let last = table.iter().rposition(|hit| *hit == 1).unwrap_or(first);
    if table[first..=last].iter().all(|hit| *hit == 1) {
        return IntTest::Inside(i64::of(first as i64), i64::of(last as i64));
    }
    IntTest::Table(table)
}

/// 1 where the value passes, one comparison kind a loop.
fn hits(test: &IntTest, values: &[i64]) -> [u8; VECTOR_ROWS] {
    let mut hits = [0; VECTOR_ROWS];
    let pairs = hits.iter_mut().zip(values);
    match test {
        IntTest::Inside(low, high) => {
            pairs.for_each(|(hit, v)| *hit = u8::from(low <= v) & u8::from(v <= high));
        }
        IntTest::Outside(low, high) => {
            pairs.for_each(|(hit, v)| *hit = u8::from(v < low) | u8::from(v > high));
        }
        other => pairs.for_each(|(hit, v)| *hit = u8::from(other.passes(*v))),
    }
    hits
}

/// A test in the domain of packed codes.
enum CodeTest {
    All,
    None,
    Inside(u64, u64),
    Outside(u64, u64),
    Table(Vec<u8>),
}

impl Packed {
    /// Moves the test's constants into the frame of reference; `None` when the test is not a
    /// range or a table.
    fn translate(&self, test: &IntTest) -> Option<CodeTest> {
        let (low, high, inside) = match test {
            IntTest::Inside(low, high) => (low, high, true),
            IntTest::Outside(low, high) if low > high => return Some(CodeTest::All),
            IntTest::Outside(low, high) => (low, high, false),
            IntTest::Table(table) if self.reference >= 0 && self.factor == 1 => {
                let from = usize::try_from(self.reference).ok()?.min(table.len());
                return Some(CodeTest::Table(table[from..].to_vec()));
            }
            _ => return None,
        };
        let factor = i128::from(self.factor.max(1));
        let max = i128::from(max_code(self.width));
        let reference = i128::from(self.reference);
        // Rounded so that only codes whose value lies inside qualify.
        let low = (i128::from(*low) - reference + factor - 1).div_euclid(factor).max(0);
        let high = (i128::from(*high) - reference).div_euclid(factor).min(max);
        if low > high {
            return Some(if inside { CodeTest::None } else { CodeTest::All });
        }
        if low == 0 && high == max {
            return Some(if inside { CodeTest::All } else { CodeTest::None });
        }
        let (low, high) = (low as u64, high as u64);
        Some(if inside { CodeTest::Inside(low, high) } else { CodeTest::Outside(low, high) })
    }

    fn filter(&self, rows: usize, test: &CodeTest, selection: &mut Selection) -> Parsed<()> {
        match test {
            CodeTest::All => Ok(()),
            CodeTest::None => {
                selection.clear();
                Ok(())
            }
            _ => match self.width {
                0..=16 => self.filter_lanes::<u16>(rows, test, selection),
                17..=32 => self.filter_lanes::<u32>(rows, test, selection),
                _ => self.filter_lanes::<u64>(rows, test, selection),
            },
        }
    }

    fn filter_lanes<W: Word>(
        &self,
        rows: usize,
        test: &CodeTest,
        selection: &mut Selection,
    ) -> Parsed<()> {
        let mut lanes: Lanes<W> = [W::default(); VECTOR_ROWS];
        let mut hits = [0; VECTOR_ROWS];
        for vector in 0..rows.div_ceil(VECTOR_ROWS) {
            if selection.vector_is_empty(vector) {
                continue;
            }
            unpack(&self.data, rows, self.width, vector, &mut lanes)?;
            match test {
                CodeTest::Inside(low, high) => compare(&lanes, *low, *high, 1, &mut hits),
                CodeTest::Outside(low, high) => compare(&lanes, *low, *high, 0, &mut hits),
                CodeTest::Table(table) => {
                    for (hit, code) in hits.iter_mut().zip(&lanes) {
                        *hit = table.get(code.widen() as usize).copied().unwrap_or(0);
                    }
                }
                CodeTest::All | CodeTest::None => return fault("a decided test was evaluated"),
            }
            selection.and_hits(vector, &hits);
        }
        Ok(())
    }
}

/// One unsigned comparison a lane: `code − low ≤ high − low`.
fn compare<W: Word>(
    lanes: &Lanes<W>,
    low: u64,
    high: u64,
    inside: u8,
    hits: &mut [u8; VECTOR_ROWS],
) {
    let span = W::truncate(high - low);
    let low = W::truncate(low);
    let flip = 1 - inside;
    for (hit, code) in hits.iter_mut().zip(lanes) {
        *hit = u8::from(code.wrapping_sub(low) <= span) ^ flip;
    }
}
