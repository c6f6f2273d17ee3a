//! Predicates that scans push down: pruning by zone maps, and the tests that blocks evaluate on
//! encoded data.
//!
//! NULL never qualifies, except for IS NULL. Strings compare by bytes, numbers as PostgreSQL
//! compares them (−0 = 0, NaN above everything and equal to itself).

use std::cmp::Ordering;

use base::segment::{ColumnStats, Datum};
use base::{Error, Result};

use crate::Zone;
use crate::float;
use crate::integer::WideTest;
use crate::text::TextTest;
use crate::zone::compare;

/// A comparison operator, the column on its left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
}

impl CompareOp {
    /// True when a value that orders `ordering` against the constant qualifies.
    pub(crate) fn accepts(self, ordering: Ordering) -> bool {
        match self {
            CompareOp::Eq => ordering.is_eq(),
            CompareOp::NotEq => ordering.is_ne(),
            CompareOp::Lt => ordering.is_lt(),
            CompareOp::LtEq => ordering.is_le(),
            CompareOp::Gt => ordering.is_gt(),
            CompareOp::GtEq => ordering.is_ge(),
        }
    }
}

/// A condition on one column. Constants have the column's kind of [`Datum`] and, for DECIMAL,
/// the column's scale.
#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    Compare {
        op: CompareOp,
        value: Datum,
    },
    /// Both bounds included; nothing qualifies when `low` exceeds `high`.
    Between {
        low: Datum,
        high: Datum,
    },
    In(Vec<Datum>),
    IsNull,
    IsNotNull,
    /// Text that starts with the string.
    Prefix(String),
}

/// Bounds of a block or a segment.
struct Bounds<'a> {
    min: Option<&'a Datum>,
    max: Option<&'a Datum>,
    exact: bool,
}

impl Predicate {
    /// False when no row of a block with this zone and `rows` rows can qualify.
    pub fn can_match(&self, zone: &Zone, rows: u32) -> bool {
        let bounds = Bounds::of_zone(zone);
        self.can_match_bounds(&bounds, u64::from(zone.nulls), u64::from(rows))
    }

    /// False when no row of a segment with these statistics and `rows` rows can qualify.
    pub fn can_match_stats(&self, stats: &ColumnStats, rows: u64) -> bool {
        let bounds = Bounds {
            min: stats.min.as_ref(),
            max: stats.max.as_ref(),
            exact: !stats.min_truncated && !stats.max_truncated,
        };
        self.can_match_bounds(&bounds, stats.nulls, rows)
    }

    fn can_match_bounds(&self, bounds: &Bounds<'_>, nulls: u64, rows: u64) -> bool {
        match self {
            Predicate::IsNull => nulls > 0,
            Predicate::IsNotNull => nulls < rows,
            _ if nulls >= rows => false,
            Predicate::Compare { op, value } => bounds.can_match(*op, value),
            Predicate::Between { low, high } => {
                compare(low, high) != Some(Ordering::Greater)
                    && bounds.can_match(CompareOp::GtEq, low)
                    && bounds.can_match(CompareOp::LtEq, high)
            }
            Predicate::In(values) => values.iter().any(|v| bounds.can_match(CompareOp::Eq, v)),
            Predicate::Prefix(prefix) => bounds.can_start_with(prefix),
        }
    }

    /// True when every value that is not NULL qualifies, by the zone alone.
    pub(crate) fn matches_all(&self, zone: &Zone) -> bool {
        let bounds = Bounds::of_zone(zone);
        match self {
            Predicate::Compare { op, value } => bounds.matches_all(*op, value),
            Predicate::Between { low, high } => {
                bounds.matches_all(CompareOp::GtEq, low)
                    && bounds.matches_all(CompareOp::LtEq, high)
            }
            _ => false,
        }
    }

    /// The test for columns carried as integers.
    pub(crate) fn integer_test(&self) -> Result<WideTest> {
        self.wide_test(|datum| match datum {
            Datum::Int(value) => Some(*value),
            _ => None,
        })
    }

    /// The test on order keys of REAL and DOUBLE PRECISION.
    pub(crate) fn float_test(&self) -> Result<WideTest> {
        self.wide_test(|datum| match datum {
            Datum::Float(value) => Some(i128::from(float::key(*value))),
            Datum::Int(value) => Some(i128::from(float::key(*value as f64))),
            _ => None,
        })
    }

    fn wide_test(&self, read: impl Fn(&Datum) -> Option<i128>) -> Result<WideTest> {
        let read = |datum: &Datum| read(datum).ok_or_else(wrong_kind);
        let (least, most) = (i128::MIN, i128::MAX);
        let nothing = WideTest::Inside(1, 0);
        Ok(match self {
            Predicate::Compare { op, value } => {
                let value = read(value)?;
                match op {
                    CompareOp::Eq => WideTest::Inside(value, value),
                    CompareOp::NotEq => WideTest::Outside(value, value),
                    CompareOp::Lt => {
                        value.checked_sub(1).map_or(nothing, |v| WideTest::Inside(least, v))
                    }
                    CompareOp::LtEq => WideTest::Inside(least, value),
                    CompareOp::Gt => {
                        value.checked_add(1).map_or(nothing, |v| WideTest::Inside(v, most))
                    }
                    CompareOp::GtEq => WideTest::Inside(value, most),
                }
            }
            Predicate::Between { low, high } => WideTest::Inside(read(low)?, read(high)?),
            Predicate::In(values) => {
                let mut values = values.iter().map(read).collect::<Result<Vec<_>>>()?;
                values.sort_unstable();
                values.dedup();
                WideTest::Among(values)
            }
            Predicate::IsNull | Predicate::IsNotNull | Predicate::Prefix(_) => {
                return Err(wrong_kind());
            }
        })
    }

    /// The test for columns carried as byte strings.
    pub(crate) fn text_test(&self) -> Result<TextTest> {
        fn read(datum: &Datum) -> Result<Vec<u8>> {
            match datum {
                Datum::Text(text) => Ok(text.clone().into_bytes()),
                Datum::Bytes(bytes) => Ok(bytes.clone()),
                _ => Err(wrong_kind()),
            }
        }
        Ok(match self {
            Predicate::Compare { op, value } => TextTest::Compare(*op, read(value)?),
            Predicate::Between { low, high } => TextTest::Between(read(low)?, read(high)?),
            Predicate::In(values) => {
                let mut values = values.iter().map(read).collect::<Result<Vec<_>>>()?;
                values.sort_unstable();
                TextTest::Among(values)
            }
            Predicate::Prefix(prefix) => TextTest::Prefix(prefix.clone().into_bytes()),
            Predicate::IsNull | Predicate::IsNotNull => return Err(wrong_kind()),
        })
    }
}

fn wrong_kind() -> Error {
    Error::internal("a pushed predicate does not fit the type of its column")
}

impl<'a> Bounds<'a> {
    fn of_zone(zone: &'a Zone) -> Bounds<'a> {
        Bounds {
            min: zone.min.as_ref(),
            max: zone.max.as_ref(),
            exact: !zone.min_truncated && !zone.max_truncated,
        }
    }

    /// How the lower and the upper bound order against `value`; `None` where nothing is known.
    fn order(&self, value: &Datum) -> (Option<Ordering>, Option<Ordering>) {
        let against = |bound: &Datum| compare(bound, value);
        (self.min.and_then(against), self.max.and_then(against))
    }

    fn can_match(&self, op: CompareOp, value: &Datum) -> bool {
        let (min, max) = self.order(value);
        match op {
            CompareOp::Eq => min != Some(Ordering::Greater) && max != Some(Ordering::Less),
            CompareOp::NotEq => {
                !(self.exact && min == Some(Ordering::Equal) && max == Some(Ordering::Equal))
            }
            CompareOp::Lt => min.is_none_or(Ordering::is_lt),
            CompareOp::LtEq => min.is_none_or(Ordering::is_le),
            CompareOp::Gt => max.is_none_or(Ordering::is_gt),
            CompareOp::GtEq => max.is_none_or(Ordering::is_ge),
        }
    }

    fn matches_all(&self, op: CompareOp, value: &Datum) -> bool {
        let (min, max) = self.order(value);
        match op {
            CompareOp::Eq => min == Some(Ordering::Equal) && max == Some(Ordering::Equal),
            CompareOp::NotEq => min == Some(Ordering::Greater) || max == Some(Ordering::Less),
            CompareOp::Lt | CompareOp::LtEq => max.is_some_and(|max| op.accepts(max)),
            CompareOp::Gt | CompareOp::GtEq => min.is_some_and(|min| op.accepts(min)),
        }
    }

    fn can_start_with(&self, prefix: &str) -> bool {
        let bytes = |datum: &'a Datum| match datum {
            Datum::Text(text) => Some(text.as_bytes()),
            Datum::Bytes(bytes) => Some(bytes.as_slice()),
            _ => None,
        };
        let prefix = prefix.as_bytes();
        let low_enough = self.min.and_then(bytes).is_none_or(|min| {
            let start = &min[..min.len().min(prefix.len())];
            start <= prefix
        });
        low_enough && self.max.and_then(bytes).is_none_or(|max| max >= prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(min: i128, max: i128, nulls: u32) -> Zone {
        let (min, max) = (Some(Datum::Int(min)), Some(Datum::Int(max)));
        Zone { min, max, nulls, ..Zone::default() }
    }

    fn is(op: CompareOp, value: i128) -> Predicate {
        Predicate::Compare { op, value: Datum::Int(value) }
    }

    #[test]
    fn zones_prune() {
        let zone = zone(10, 20, 0);
        for (op, value, can, all) in [
            (CompareOp::Eq, 9, false, false),
            (CompareOp::Eq, 10, true, false),
            (CompareOp::NotEq, 9, true, true),
            (CompareOp::Lt, 10, false, false),
            (CompareOp::LtEq, 10, true, false),
            (CompareOp::LtEq, 20, true, true),
            (CompareOp::Gt, 20, false, false),
            (CompareOp::GtEq, 20, true, false),
            (CompareOp::Gt, 9, true, true),
        ] {
            assert_eq!(is(op, value).can_match(&zone, 5), can, "{op:?} {value}");
            assert_eq!(is(op, value).matches_all(&zone), all, "{op:?} {value}");
        }
        assert!(!Predicate::IsNull.can_match(&zone, 5));
        assert!(!is(CompareOp::NotEq, 7).can_match(&Zone { nulls: 5, ..Zone::default() }, 5));
        let (low, high) = (Datum::Int(21), Datum::Int(30));
        assert!(!Predicate::Between { low, high }.can_match(&zone, 5));
        assert!(!Predicate::In(vec![Datum::Int(9), Datum::Int(21)]).can_match(&zone, 5));
    }

    #[test]
    fn prefixes_prune_by_truncated_bounds() {
        let (min, max) = (Datum::Text("apple".into()), Datum::Text("cherry".into()));
        let zone = Zone { min: Some(min), max: Some(max), ..Zone::default() };
        for (prefix, can) in
            [("a", true), ("ap", true), ("aa", false), ("c", true), ("ci", false), ("", true)]
        {
            assert_eq!(Predicate::Prefix(prefix.into()).can_match(&zone, 5), can, "{prefix}");
        }
    }
}
