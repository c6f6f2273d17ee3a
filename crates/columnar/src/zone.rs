//! Zone maps: what is known of a block without reading it, and the order of [`Datum`]s.
//!
//! Knows no encoding. Bounds are always safe: `min` is at most, `max` at least every value.

use std::cmp::Ordering;

use base::segment::{ColumnStats, Datum};

use crate::float;

/// Longest string kept in a bound, in bytes.
pub(crate) const BOUND_BYTES: usize = 64;

/// What is known of one column in one block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Zone {
    /// A lower bound of the values that are not NULL, exact unless `min_truncated`; `None` when
    /// there is none (only NULLs, or a value that has no bound such as −∞).
    pub min: Option<Datum>,
    /// An upper bound of the values that are not NULL, exact unless `max_truncated`; `None` when
    /// there is none (only NULLs, NaN, +∞).
    pub max: Option<Datum>,
    /// `min` is a prefix of the least value.
    pub min_truncated: bool,
    /// `max` is a rounded-up prefix of the greatest value.
    pub max_truncated: bool,
    /// The number of NULLs.
    pub nulls: u32,
    /// An estimate of the number of distinct values, NULL not counted.
    pub distinct: u32,
    /// The exact sum of the values that are not NULL in the carried unit, for SMALLINT,
    /// INTEGER, BIGINT and DECIMAL; `None` for other types and when it exceeds 128 bits.
    pub sum: Option<i128>,
}

/// The order of two values of one column: numbers by value with −0 = 0 and NaN the greatest and
/// equal to itself, as PostgreSQL has it; strings by bytes. `None` for values of two kinds.
pub(crate) fn compare(a: &Datum, b: &Datum) -> Option<Ordering> {
    Some(match (a, b) {
        (Datum::Int(a), Datum::Int(b)) => a.cmp(b),
        (Datum::Float(a), Datum::Float(b)) => float::key(*a).cmp(&float::key(*b)),
        (Datum::Int(a), Datum::Float(b)) => float::key(*a as f64).cmp(&float::key(*b)),
        (Datum::Float(a), Datum::Int(b)) => float::key(*a).cmp(&float::key(*b as f64)),
        (Datum::Text(a), Datum::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Datum::Bytes(a), Datum::Bytes(b)) => a.cmp(b),
        _ => return None,
    })
}

impl Zone {
    /// Sets the bounds from the least and greatest text.
    pub(crate) fn bound_text(&mut self, min: &str, max: &str) {
        let lower = &min[..min.floor_char_boundary(BOUND_BYTES)];
        self.min_truncated = lower.len() < min.len();
        self.min = Some(Datum::Text(lower.to_owned()));
        self.max_truncated = max.len() > BOUND_BYTES;
        self.max = match self.max_truncated {
            true => text_above(&max[..max.floor_char_boundary(BOUND_BYTES)]).map(Datum::Text),
            false => Some(Datum::Text(max.to_owned())),
        };
    }

    /// Sets the bounds from the least and greatest byte string.
    pub(crate) fn bound_bytes(&mut self, min: &[u8], max: &[u8]) {
        self.min_truncated = min.len() > BOUND_BYTES;
        self.min = Some(Datum::Bytes(min[..min.len().min(BOUND_BYTES)].to_vec()));
        self.max_truncated = max.len() > BOUND_BYTES;
        self.max = match self.max_truncated {
            true => bytes_above(&max[..BOUND_BYTES]).map(Datum::Bytes),
            false => Some(Datum::Bytes(max.to_vec())),
        };
    }

    /// Sets the bounds of numbers that are not integers; a bound that JSON cannot carry is left
    /// open.
    pub(crate) fn bound_floats(&mut self, min: f64, max: f64) {
        self.min = min.is_finite().then_some(Datum::Float(min));
        self.max = max.is_finite().then_some(Datum::Float(max));
    }
}

/// The least string above every string that starts with `prefix`; `None` when there is none.
pub(crate) fn text_above(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The code point after the last; surrogates are no characters.
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            last => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// The least byte string above every one that starts with `prefix`; `None` when there is none.
pub(crate) fn bytes_above(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = prefix.to_vec();
    while let Some(last) = bytes.pop() {
        if last < u8::MAX {
            bytes.push(last + 1);
            return Some(bytes);
        }
    }
    None
}

/// Widens a segment's statistics by a block's zone of `rows` rows.
pub(crate) fn widen(stats: &mut ColumnStats, zone: &Zone, rows: u32, first: bool) {
    stats.nulls += u64::from(zone.nulls);
    if zone.nulls == rows {
        return;
    }
    if first {
        stats.min.clone_from(&zone.min);
        stats.max.clone_from(&zone.max);
        (stats.min_truncated, stats.max_truncated) = (zone.min_truncated, zone.max_truncated);
        return;
    }
    // An open bound stays open.
    stats.min = match (stats.min.take(), &zone.min) {
        (Some(a), Some(b)) if compare(&a, b) == Some(Ordering::Greater) => {
            stats.min_truncated = zone.min_truncated;
            Some(b.clone())
        }
        (Some(a), Some(_)) => Some(a),
        _ => None,
    };
    stats.max = match (stats.max.take(), &zone.max) {
        (Some(a), Some(b)) if compare(&a, b) == Some(Ordering::Less) => {
            stats.max_truncated = zone.max_truncated;
            Some(b.clone())
        }
        (Some(a), Some(_)) => Some(a),
        _ => None,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_enclose_long_strings() {
        let long = "é".repeat(50);
        let mut zone = Zone::default();
        zone.bound_text(&long, &long);
        let (Some(Datum::Text(min)), Some(Datum::Text(max))) = (&zone.min, &zone.max) else {
            panic!("text bounds");
        };
        assert!(min.as_str() < long.as_str() && long.as_str() < max.as_str());
        assert!(zone.min_truncated && zone.max_truncated && max.len() <= BOUND_BYTES);
        zone.bound_text("a", &"\u{10FFFF}".repeat(20));
        assert_eq!((zone.max, zone.max_truncated), (None, true));
        assert_eq!(text_above("a\u{D7FF}"), Some("a\u{E000}".to_owned()));
        assert_eq!(text_above("a\u{10FFFF}"), Some("b".to_owned()));
        assert_eq!(bytes_above(&[1, 255]), Some(vec![2]));
        assert_eq!(bytes_above(&[255]), None);
    }
}
