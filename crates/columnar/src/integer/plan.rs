//! Choosing and writing the encoding of an integer stream.
//!
//! The smallest wins; within 3 % the one that decodes faster. Samples decide whether a costly
//! candidate (runs, steps, dictionary) is worth a full pass.

use super::tag;
use crate::VECTOR_ROWS;
use crate::layout::put_len;
use crate::packing::{bits_for, pack, packed_bytes};

/// Which encodings may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Menu {
    /// All of them, by size.
    Any,
    /// No nesting: for the inner streams of runs and dictionaries.
    Flat,
    /// Packed or runs: for dictionary codes.
    Codes,
    /// Uncompressed.
    Plain,
    /// This one unless plain is smaller.
    Delta,
    Runs,
    Dictionary,
    Packed,
}

/// The largest dictionary of integers: its values stay in the L1 cache while decoding.
const DICTIONARY_MAX: usize = 4_096;
/// Rows looked at by samples.
const SAMPLE_ROWS: usize = 1_024;
const SAMPLE_WINDOWS: usize = 8;

/// The encodings considered, fastest to decode first.
#[derive(Clone, Debug)]
enum Plan {
    Packed { factor: u64, width: u8 },
    Dictionary(Dictionary),
    Runs { runs: usize },
    Delta { step_min: i64, factor: u64, width: u8 },
    Plain,
}

/// Distinct values in ascending order and a code for each row.
#[derive(Clone, Debug)]
struct Dictionary {
    values: Vec<i64>,
    codes: Vec<i64>,
}

/// The least and the greatest of at least one value.
pub(crate) fn bounds<T: Copy + Ord>(values: &[T]) -> (T, T) {
    let first = (values[0], values[0]);
    values[1..].iter().fold(first, |(min, max), value| (min.min(*value), max.max(*value)))
}

/// Writes `values` (at least one) as a stream; `width` is the plain width of the type in bytes.
pub(crate) fn encode(values: &[i64], width: u8, menu: Menu, out: &mut Vec<u8>) {
    encode_within(values, bounds(values), width, menu, out);
}

/// [`encode`] where the bounds of the values are known.
pub(crate) fn encode_within(
    values: &[i64],
    (min, max): (i64, i64),
    width: u8,
    menu: Menu,
    out: &mut Vec<u8>,
) {
    if menu == Menu::Plain {
        return write(values, min, width, &Plan::Plain, out);
    }
    if min == max {
        out.push(tag::CONSTANT);
        put_len(out, values.len());
        out.extend_from_slice(&min.to_le_bytes());
        return;
    }
    let plan = choose(values, min, max, width, menu);
    write(values, min, width, &plan, out);
}

/// The size in bytes of `rows` values of `width` bytes as a plain stream.
pub(crate) fn plain_bytes(rows: usize, width: u8) -> usize {
    rows * usize::from(width) + 6
}

fn choose(values: &[i64], min: i64, max: i64, width: u8, menu: Menu) -> Plan {
    let range = max.wrapping_sub(min) as u64;
    let factor = if menu == Menu::Codes { 1 } else { common_factor(values, min) };
    let packed = Plan::Packed { factor, width: bits_for(range / factor) };
    let mut best = (bytes_of(values, min, max, &packed, width), packed);
    let mut consider = |plan: Option<Plan>, wanted: bool| {
        let Some(plan) = plan else { return };
        let bytes = bytes_of(values, min, max, &plan, width);
        let wins = bytes + bytes / 32 < best.0;
        if wins || (wanted && bytes < plain_bytes(values.len(), width)) {
            best = (bytes, plan);
        }
    };
    if matches!(menu, Menu::Any | Menu::Dictionary) {
        consider(dictionary(values, bits_for(range / factor)), menu == Menu::Dictionary);
    }
    if matches!(menu, Menu::Any | Menu::Codes | Menu::Runs) {
        consider(runs(values, menu == Menu::Runs), menu == Menu::Runs);
    }
    if matches!(menu, Menu::Any | Menu::Flat | Menu::Delta) {
        let limit = if menu == Menu::Delta { 64 } else { bits_for(range / factor) };
        consider(delta(values, range, factor, limit), menu == Menu::Delta);
    }
    consider(Some(Plan::Plain), false);
    best.1
}

/// Bytes that `plan` takes, exact but for the nested streams of runs and dictionaries.
fn bytes_of(values: &[i64], min: i64, max: i64, plan: &Plan, width: u8) -> usize {
    let rows = values.len();
    let value_bits = usize::from(bits_for(max.wrapping_sub(min) as u64));
    match plan {
        Plan::Packed { width, .. } => 22 + packed_bytes(rows, *width),
        Plan::Delta { width, .. } => {
            22 + rows.div_ceil(VECTOR_ROWS) * 8 + packed_bytes(rows, *width)
        }
        Plan::Runs { runs } => {
            let length_bits = usize::from(bits_for((rows / runs * 4) as u64));
            50 + (runs * (value_bits + length_bits)).div_ceil(8)
        }
        Plan::Dictionary(Dictionary { values, .. }) => {
            let code_bits = bits_for(values.len() as u64 - 1);
            50 + (values.len() * value_bits).div_ceil(8) + packed_bytes(rows, code_bits)
        }
        Plan::Plain => plain_bytes(rows, width),
    }
}

fn write(values: &[i64], min: i64, width: u8, plan: &Plan, out: &mut Vec<u8>) {
    let rows = values.len();
    let kind = match plan {
        Plan::Packed { .. } => tag::PACKED,
        Plan::Dictionary(_) => tag::DICTIONARY,
        Plan::Runs { .. } => tag::RUNS,
        Plan::Delta { .. } => tag::DELTA,
        Plan::Plain => tag::PLAIN,
    };
    out.push(kind);
    put_len(out, rows);
    match plan {
        Plan::Packed { factor, width } => {
            put_frame(min, *factor, *width, out);
            let factor = *factor;
            match factor {
                1 => pack(rows, *width, out, |i| values[i].wrapping_sub(min) as u64),
                _ => pack(rows, *width, out, |i| values[i].wrapping_sub(min) as u64 / factor),
            }
        }
        Plan::Delta { step_min, factor, width } => {
            for first in (0..rows).step_by(VECTOR_ROWS) {
                out.extend_from_slice(&values[first].to_le_bytes());
            }
            put_frame(*step_min, *factor, *width, out);
            pack(rows, *width, out, |i| match i % VECTOR_ROWS {
                0 => 0,
                _ => {
                    let step = values[i].wrapping_sub(values[i - 1]);
                    step.wrapping_sub(*step_min) as u64 / *factor
                }
            });
        }
        Plan::Runs { runs } => {
            let mut run_values = Vec::with_capacity(*runs);
            let mut lengths = Vec::with_capacity(*runs);
            for run in values.chunk_by(|a, b| a == b) {
                run_values.push(run[0]);
                lengths.push(run.len() as i64);
            }
            encode(&run_values, width, Menu::Flat, out);
            encode(&lengths, 4, Menu::Flat, out);
        }
        Plan::Dictionary(Dictionary { values, codes }) => {
            encode(values, width, Menu::Flat, out);
            encode(codes, 4, Menu::Codes, out);
        }
        Plan::Plain => {
            let size = usize::from(width);
            out.push(width);
            out.reserve(rows * size);
            for value in values {
                out.extend_from_slice(&value.to_le_bytes()[..size]);
            }
        }
    }
}

fn put_frame(reference: i64, factor: u64, width: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&reference.to_le_bytes());
    out.extend_from_slice(&factor.to_le_bytes());
    out.push(width);
}

/// The greatest common divisor of all distances from `min`: whole seconds in microseconds, whole
/// units in hundredths.
fn common_factor(values: &[i64], min: i64) -> u64 {
    let distance = |v: &i64| v.wrapping_sub(min) as u64;
    let step = (values.len() / 64).max(1);
    let sampled = values.iter().step_by(step).fold(0, |g, v| gcd(g, distance(v)));
    if sampled == 1 {
        return 1;
    }
    let mut factor = sampled;
    for value in values {
        if factor == 0 || distance(value) % factor != 0 {
            factor = gcd(factor, distance(value));
        }
        if factor == 1 {
            return 1;
        }
    }
    factor.max(1)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Windows of neighbouring rows spread over the block.
fn windows(values: &[i64]) -> impl Iterator<Item = &[i64]> {
    let size = SAMPLE_ROWS / SAMPLE_WINDOWS;
    let step = (values.len() / SAMPLE_WINDOWS).max(size);
    (0..values.len()).step_by(step).map(move |at| &values[at..(at + size).min(values.len())])
}

fn count_runs(values: &[i64]) -> usize {
    1 + values.windows(2).map(|pair| usize::from(pair[0] != pair[1])).sum::<usize>()
}

fn runs(values: &[i64], always: bool) -> Option<Plan> {
    let (seen, changes) = windows(values).fold((0, 0), |(seen, changes), window| {
        (seen + window.len(), changes + count_runs(window))
    });
    if !always && changes * 2 > seen {
        return None;
    }
    Some(Plan::Runs { runs: count_runs(values) })
}

fn delta(values: &[i64], range: u64, factor: u64, limit: u8) -> Option<Plan> {
    // Steps could overflow when the values span more than 63 bits.
    if range > i64::MAX as u64 || values.len() < 3 {
        return None;
    }
    let steps = |values: &[i64]| {
        values.windows(2).fold((i64::MAX, i64::MIN), |(min, max), pair| {
            let step = pair[1] - pair[0];
            (min.min(step), max.max(step))
        })
    };
    let bits = |(min, max): (i64, i64)| {
        if min > max { 0 } else { bits_for(max.wrapping_sub(min) as u64 / factor) }
    };
    let sampled = windows(values).map(|window| bits(steps(window))).max().unwrap_or(64);
    if sampled >= limit {
        return None;
    }
    let (step_min, step_max) = steps(values);
    Some(Plan::Delta { step_min, factor, width: bits((step_min, step_max)) })
}

/// A dictionary when a sample shows few distinct values and codes would be much narrower.
fn dictionary(values: &[i64], packed_width: u8) -> Option<Plan> {
    let step = (values.len() / SAMPLE_ROWS).max(1);
    let mut sample: Vec<i64> = values.iter().copied().step_by(step).collect();
    let sampled = sample.len();
    sample.sort_unstable();
    sample.dedup();
    if sample.len() * 4 > sampled * 3 || bits_for(sample.len() as u64 - 1) + 1 > packed_width {
        return None;
    }
    let mut table = CodeTable::new();
    let mut codes = Vec::with_capacity(values.len());
    for value in values {
        codes.push(table.code(*value)?);
    }
    Some(Plan::Dictionary(table.sorted(codes)))
}

/// An open-addressing table from values to codes in order of appearance.
struct CodeTable {
    slots: Vec<(i64, u32)>,
    values: Vec<i64>,
}

impl CodeTable {
    const EMPTY: u32 = u32::MAX;

    fn new() -> CodeTable {
        CodeTable { slots: vec![(0, Self::EMPTY); DICTIONARY_MAX * 2], values: Vec::new() }
    }

    fn code(&mut self, value: i64) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = (crate::cardinality::mix(value as u64) >> 32) as usize & mask;
        loop {
            let (held, code) = self.slots[at];
            if code == Self::EMPTY {
                break;
            }
            if held == value {
                return Some(code);
            }
            at = (at + 1) & mask;
        }
        if self.values.len() == DICTIONARY_MAX {
            return None;
        }
        let code = self.values.len() as u32;
        self.slots[at] = (value, code);
        self.values.push(value);
        Some(code)
    }

    fn sorted(self, codes: Vec<u32>) -> Dictionary {
        let mut order: Vec<usize> = (0..self.values.len()).collect();
        order.sort_unstable_by_key(|code| self.values[*code]);
        let mut rank = vec![0; order.len()];
        for (to, from) in order.iter().enumerate() {
            rank[*from] = to as i64;
        }
        let values = order.iter().map(|code| self.values[*code]).collect();
        Dictionary { values, codes: codes.iter().map(|code| rank[*code as usize]).collect() }
    }
}
