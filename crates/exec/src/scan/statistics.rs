//! Statistics of a scan from the catalog's statistics of its segments.
//!
//! Row counts are exact as long as nothing filters, bounds and NULLs as long as nothing is
//! deleted either; estimates follow the usual
//! assumptions (uniform within bounds, independent columns). Must not read segments.

use std::sync::Arc;

use arrow_schema::DataType;
use base::segment::{ColumnStats, Datum, Segment};
use columnar::{CompareOp, Predicate};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};

use super::predicate::{ColumnPredicate, Split, scalar_of};
use super::spec::ScanColumn;

/// What a conjunct keeps when nothing is known of it.
const DEFAULT_SELECTIVITY: f64 = 0.2;
/// What LIKE with a prefix keeps.
const PREFIX_SELECTIVITY: f64 = 0.05;
/// Encoded text takes about this part of its decoded bytes.
const TEXT_EXPANSION: f64 = 2.5;

/// Statistics of all rows of `segments`, a column each of `columns`.
///
/// `key` is the DISTKEY: its values in different slices are different values.
pub(crate) fn of_segments(
    columns: &[ScanColumn],
    segments: &[Arc<Segment>],
    key: Option<usize>,
) -> Statistics {
    let rows: u64 = segments.iter().map(|segment| segment.live_rows()).sum();
    let column_statistics = columns
        .iter()
        .enumerate()
        .map(|(at, column)| column_statistics(column, segments, rows, key == Some(at)))
        .collect();
    with_byte_size(Statistics {
        num_rows: Precision::Exact(rows as usize),
        total_byte_size: Precision::Absent,
        column_statistics,
    })
}

fn column_statistics(
    column: &ScanColumn,
    segments: &[Arc<Segment>],
    rows: u64,
    is_key: bool,
) -> ColumnStatistics {
    if column.is_address() {
        return addresses(rows);
    }
    let mut merged = Merged::default();
    for segment in segments {
        match segment.column(column.id) {
            Some(stats) => merged.add(stats, segment.rows),
            None => merged.add_fill(column, segment.rows),
        }
    }
    // What was deleted may have been the least, the greatest, or NULL.
    let whole = segments.iter().all(|segment| segment.deletes.is_none());
    let stored = merged.nulls + merged.values;
    let width = width(column, &merged, stored);
    let scalar = |bound: &Option<Datum>, unbounded: bool| {
        let bound = bound.as_ref().filter(|_| !unbounded);
        bound.and_then(|datum| scalar_of(Some(datum), column.sql_type))
    };
    let is_float = matches!(column.sql_type.arrow(), DataType::Float32 | DataType::Float64);
    // NaN and the two zeros leave room between a bound and what MIN and MAX answer.
    let precise = |value: Option<ScalarValue>, exact: bool| match value {
        Some(value) if exact && whole && !is_float => Precision::Exact(value),
        Some(value) => Precision::Inexact(value),
        None => Precision::Absent,
    };
    let distinct = merged.distinct(segments, column, is_key);
    ColumnStatistics {
        null_count: match whole {
            true => Precision::Exact(merged.nulls as usize),
            false => Precision::Inexact(merged.nulls.min(rows) as usize),
        },
        min_value: precise(scalar(&merged.min, merged.min_unbounded), !merged.min_truncated),
        max_value: precise(scalar(&merged.max, merged.max_unbounded), !merged.max_truncated),
        sum_value: Precision::Absent,
        distinct_count: distinct.map_or(Precision::Absent, Precision::Inexact),
        byte_size: Precision::Inexact((width * rows as f64) as usize),
    }
}

/// Every row has an address of its own.
fn addresses(rows: u64) -> ColumnStatistics {
    ColumnStatistics {
        null_count: Precision::Exact(0),
        distinct_count: Precision::Inexact(rows as usize),
        byte_size: Precision::Inexact(rows as usize * size_of::<i64>()),
        ..ColumnStatistics::new_unknown()
    }
}

/// One column's statistics over several segments.
#[derive(Default)]
struct Merged {
    nulls: u64,
    values: u64,
    bytes: u64,
    min: Option<Datum>,
    max: Option<Datum>,
    min_truncated: bool,
    max_truncated: bool,
    min_unbounded: bool,
    max_unbounded: bool,
}

impl Merged {
    fn add(&mut self, stats: &ColumnStats, rows: u64) {
        self.nulls += stats.nulls;
        self.values += rows.saturating_sub(stats.nulls);
        self.bytes += stats.bytes;
        if rows > stats.nulls {
            // Values without a bound (infinities, NaN) leave the whole without one.
            self.min_unbounded |= stats.min.is_none();
            self.max_unbounded |= stats.max.is_none();
        }
        self.lower(stats.min.as_ref(), stats.min_truncated);
        self.raise(stats.max.as_ref(), stats.max_truncated);
    }

    fn add_fill(&mut self, column: &ScanColumn, rows: u64) {
        match &column.fill {
            Some(value) => {
                self.values += rows;
                self.lower(Some(value), false);
                self.raise(Some(value), false);
            }
            None => self.nulls += rows,
        }
    }

    fn lower(&mut self, bound: Option<&Datum>, truncated: bool) {
        if let Some(bound) = bound
            && self.min.as_ref().is_none_or(|min| bound < min)
        {
            self.min = Some(bound.clone());
        }
        self.min_truncated |= truncated;
    }

    fn raise(&mut self, bound: Option<&Datum>, truncated: bool) {
        if let Some(bound) = bound
            && self.max.as_ref().is_none_or(|max| bound > max)
        {
            self.max = Some(bound.clone());
        }
        self.max_truncated |= truncated;
    }

    /// The number of distinct values over all segments.
    fn distinct(&self, segments: &[Arc<Segment>], column: &ScanColumn, key: bool) -> Option<usize> {
        let mut groups: Vec<(Option<u16>, f64, f64)> = Vec::new();
        for segment in segments {
            let stats = segment.column(column.id)?;
            let distinct = stats.distinct? as f64;
            let values = segment.rows.saturating_sub(stats.nulls) as f64;
            let slice = segment.slice.map(|slice| slice.0).filter(|_| key);
            match groups.iter_mut().find(|(group, ..)| *group == slice && !key) {
                Some(group) if group.1 < distinct => *group = (slice, distinct, values),
                Some(_) => {}
                None => groups.push((slice, distinct, values)),
            }
        }
        let estimate = if key || disjoint(segments, column) {
            let all = segments.iter().filter_map(|segment| segment.column(column.id)?.distinct);
            all.sum::<u64>() as f64
        } else {
            let (_, distinct, values) = groups.first().copied()?;
            extrapolated(distinct, values, self.values as f64)
        };
        let mut estimate = estimate.min(self.values as f64);
        if let (Some(Datum::Int(min)), Some(Datum::Int(max))) = (&self.min, &self.max) {
            estimate = estimate.min((max - min + 1) as f64);
        }
        Some(estimate.max(1.0).round() as usize)
    }
}

/// True when no two segments share values of the column, as their bounds prove.
fn disjoint(segments: &[Arc<Segment>], column: &ScanColumn) -> bool {
    let bounds = |segment: &Arc<Segment>| {
        let stats = segment.column(column.id)?;
        Some((stats.min.clone()?, stats.max.clone()?))
    };
    let Some(mut bounds) = segments.iter().map(bounds).collect::<Option<Vec<_>>>() else {
        return false;
    };
    bounds.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
    bounds.windows(2).all(|pair| pair[0].1 < pair[1].0)
}

/// Distinct values of `total` draws when `values` draws had `distinct` of them, all values
/// being equally likely.
fn extrapolated(distinct: f64, values: f64, total: f64) -> f64 {
    if distinct <= 0.0 || values <= 0.0 || total <= values {
        return distinct;
    }
    let seen = |domain: f64, draws: f64| domain * (1.0 - (-draws / domain).exp());
    let (mut low, mut high) = (distinct, distinct * 1e6);
    if seen(high, values) < distinct {
        return total * (distinct / values);
    }
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if seen(middle, values) < distinct {
            low = middle;
        } else {
            high = middle;
        }
    }
    seen(high, total)
}

/// Decoded bytes of a row.
fn width(column: &ScanColumn, merged: &Merged, rows: u64) -> f64 {
    let arrow = column.sql_type.arrow();
    match arrow.primitive_width() {
        Some(width) => width as f64,
        None if arrow == DataType::Boolean => 0.125,
        None => {
            let encoded = merged.bytes as f64 / (rows.max(1)) as f64;
            16.0 + if encoded > 4.0 { encoded * TEXT_EXPANSION } else { 0.0 }
        }
    }
}

/// The statistics with the total size that their columns make.
pub(crate) fn with_byte_size(mut statistics: Statistics) -> Statistics {
    let bytes: usize =
        statistics.column_statistics.iter().filter_map(|column| column.byte_size.get_value()).sum();
    statistics.total_byte_size = Precision::Inexact(bytes);
    statistics
}

/// The statistics after the conjuncts of `split`, which leave `analyzed` rows if that is known.
pub(crate) fn filtered(statistics: Statistics, split: &Split, analyzed: Option<f64>) -> Statistics {
    let mut statistics = statistics;
    let rows = statistics.num_rows.get_value().copied().unwrap_or(0) as f64;
    let mut kept = split.residual.iter().fold(1.0, |kept, _| kept * DEFAULT_SELECTIVITY);
    for predicate in &split.encoded {
        if let Some(column) = statistics.column_statistics.get_mut(predicate.column) {
            kept *= selectivity(predicate, column, rows);
            bound(predicate, column);
        }
    }
    let analyzed = analyzed.map(|left| (left / rows.max(1.0)).min(1.0));
    scaled(statistics, analyzed.unwrap_or(kept))
}

/// The statistics after `conjuncts` filters of which nothing is known.
pub(crate) fn thinned(statistics: &Statistics, conjuncts: usize) -> Statistics {
    let kept = DEFAULT_SELECTIVITY.powi(i32::try_from(conjuncts).unwrap_or(i32::MAX));
    scaled(statistics.clone(), kept)
}

fn scaled(statistics: Statistics, kept: f64) -> Statistics {
    let mut statistics = statistics.to_inexact();
    let rows = statistics.num_rows.get_value().copied().unwrap_or(0);
    let left = ((rows as f64 * kept).ceil() as usize).min(rows);
    statistics.num_rows = Precision::Inexact(left);
    for column in &mut statistics.column_statistics {
        let part = |value: &usize| (*value as f64 * kept).ceil() as usize;
        column.null_count = column.null_count.map(|nulls| part(&nulls));
        column.byte_size = column.byte_size.map(|bytes| part(&bytes));
        column.distinct_count = column.distinct_count.map(|distinct| distinct.min(left.max(1)));
    }
    with_byte_size(statistics)
}

/// The part of the rows that a predicate keeps.
fn selectivity(predicate: &ColumnPredicate, column: &ColumnStatistics, rows: f64) -> f64 {
    let nulls = column.null_count.get_value().copied().unwrap_or(0) as f64 / rows.max(1.0);
    let valued = (1.0 - nulls).clamp(0.0, 1.0);
    let distinct = column.distinct_count.get_value().copied().unwrap_or(10).max(1) as f64;
    let span = |low: Option<f64>, high: Option<f64>| {
        let (Some(min), Some(max)) =
            (number(column.min_value.get_value()), number(column.max_value.get_value()))
        else {
            return DEFAULT_SELECTIVITY;
        };
        // One more, so that a range of one value out of few is no empty range.
        let width = (max - min).max(0.0) + 1.0;
        let part = high.unwrap_or(max).min(max) - low.unwrap_or(min).max(min) + 1.0;
        (part / width).clamp(0.0, 1.0)
    };
    let kept = match &predicate.predicate {
        Predicate::IsNull => return nulls.clamp(0.0, 1.0),
        Predicate::IsNotNull => 1.0,
        Predicate::Prefix(_) => PREFIX_SELECTIVITY,
        Predicate::In(values) => (values.len() as f64 / distinct).min(1.0),
        Predicate::Between { low, high } => span(float(low), float(high)),
        Predicate::Compare { op, value } => match op {
            CompareOp::Eq => 1.0 / distinct,
            CompareOp::NotEq => 1.0 - 1.0 / distinct,
            CompareOp::Lt | CompareOp::LtEq => span(None, float(value)),
            CompareOp::Gt | CompareOp::GtEq => span(float(value), None),
        },
    };
    (kept * valued).max(1.0 / rows.max(1.0))
}

/// Narrows a column's bounds and distinct count to what a predicate leaves.
fn bound(predicate: &ColumnPredicate, column: &mut ColumnStatistics) {
    match &predicate.predicate {
        Predicate::Compare { op: CompareOp::Eq, .. } => {
            column.distinct_count = Precision::Inexact(1);
        }
        Predicate::In(values) => {
            let most = values.len().max(1);
            column.distinct_count = column.distinct_count.map(|distinct| distinct.min(most));
        }
        Predicate::Between { .. } | Predicate::Compare { .. } => {
            let kept = selectivity(predicate, column, f64::MAX);
            column.distinct_count = column
                .distinct_count
                .map(|distinct| ((distinct as f64 * kept).ceil() as usize).max(1));
        }
        _ => {}
    }
}

fn float(value: &Datum) -> Option<f64> {
    match value {
        Datum::Int(value) => Some(*value as f64),
        Datum::Float(value) => Some(*value),
        Datum::Text(_) | Datum::Bytes(_) => None,
    }
}

fn number(value: Option<&ScalarValue>) -> Option<f64> {
    Some(match value? {
        ScalarValue::Int16(Some(value)) => f64::from(*value),
        ScalarValue::Int32(Some(value)) | ScalarValue::Date32(Some(value)) => f64::from(*value),
        ScalarValue::Int64(Some(value))
        | ScalarValue::Time64Microsecond(Some(value))
        | ScalarValue::TimestampMicrosecond(Some(value), _) => *value as f64,
        ScalarValue::Decimal128(Some(value), ..) => *value as f64,
        ScalarValue::Float32(Some(value)) => f64::from(*value),
        ScalarValue::Float64(Some(value)) => *value,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_counts_grow_with_draws_only_as_far_as_values_go() {
        // 100,000 values seen by 375,000 draws hardly grow over 1,500,000 draws.
        let seen = 100_000.0 * (1.0 - (-3.75_f64).exp());
        let all = extrapolated(seen, 375_000.0, 1_500_000.0);
        assert!((all - 100_000.0).abs() < 1_500.0, "{all}");
        // Values that never repeat stay distinct.
        let all = extrapolated(375_000.0, 375_000.0, 1_500_000.0);
        assert!(all > 1_400_000.0, "{all}");
    }
}
