//! From sampled values to common values and ranges of equally many rows.
//!
//! Must not read tables. What is common is decided as in PostgreSQL (`compute_scalar_stats`);
//! distinct values come from the segments' sketches, else from the sample by the estimator of
//! Haas and Stokes ("Estimating the number of classes in a finite population", 1998).

use std::cmp::Ordering;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Int64Array};
use arrow_ord::ord::make_comparator;
use arrow_ord::sort::{SortOptions, sort_to_indices};
use arrow_schema::DataType;
use base::Result;
use base::segment::Datum;
use catalog::{Column, SHARE_WHOLE, ValueDistribution};
use datafusion::common::ScalarValue;

use super::CLUMP_BITS;
use crate::error::from_datafusion;
use crate::scan::datum_of;

/// The most values that are kept as common.
const COMMON_MAX: usize = 20;
/// A value is common when it is so many times as frequent as the average one.
const COMMON_FACTOR: f64 = 1.25;
/// Of a part of the rows a common value is seen in so many places, lest a cluster of rows
/// decides.
const COMMON_CLUMPS: usize = 3;
/// Longer values are not kept as common.
const COMMON_BYTES_MAX: usize = 256;
/// Ranges of a histogram.
const RANGES: usize = 100;
/// Bounds are cut to this size.
const BOUND_BYTES_MAX: usize = 64;

/// The column that values come from.
pub(super) struct Source<'a> {
    pub(super) column: &'a Column,
    /// Rows of the table.
    pub(super) live: u64,
    /// Distinct values of the table as its segments tell.
    pub(super) distinct: Option<u64>,
}

/// Equal values in their order.
struct Run {
    places: Range<usize>,
    clumps: usize,
}

/// How the values of a column are spread, from `values` at `addresses`; `whole` says that these
/// are all that there are.
pub(super) fn distribution(
    source: &Source<'_>,
    values: &ArrayRef,
    addresses: &Int64Array,
    whole: bool,
) -> Result<ValueDistribution> {
    let rows = values.len().max(1) as f64;
    let valued = values.len() - values.null_count();
    let share = |count: usize| (count as f64 / rows * f64::from(SHARE_WHOLE)).round() as u32;
    let mut found = ValueDistribution {
        column: source.column.id,
        nulls: share(values.null_count()),
        distinct: source.distinct.unwrap_or(0),
        width: width(values),
        ..ValueDistribution::default()
    };
    if valued == 0 || values.data_type().is_nested() {
        return Ok(found);
    }
    let arrow = |error| from_datafusion(datafusion::error::DataFusionError::from(error));
    let options = SortOptions { descending: false, nulls_first: false };
    let sorted = sort_to_indices(values, Some(options), None).map_err(arrow)?;
    let order: Vec<usize> = sorted.values().iter().take(valued).map(|at| *at as usize).collect();
    let compare = make_comparator(values, values, options).map_err(arrow)?;
    let runs = runs(&order, addresses, |a, b| compare(a, b) == Ordering::Equal);
    found.distinct = distinct(source, &runs, valued, values.len(), whole);
    let datum = |at: usize| {
        let scalar = ScalarValue::try_from_array(values, at).map_err(from_datafusion)?;
        Ok::<_, base::Error>(datum_of(&scalar, source.column.sql_type))
    };
    let common = common(&runs, found.distinct, valued, whole);
    for at in &common {
        let run = &runs[*at];
        let value = datum(order[run.places.start])?.filter(|value| size(value) <= COMMON_BYTES_MAX);
        found.common.extend(value.map(|value| (value, share(run.places.len()))));
    }
    let rest = runs.iter().enumerate().filter(|(at, _)| !common.contains(at));
    let rest: Vec<usize> = rest.flat_map(|(_, run)| run.places.clone()).collect();
    if rest.len() > 1 {
        let ranges = RANGES.min(rest.len() - 1);
        for bound in 0..=ranges {
            let place = rest[bound * (rest.len() - 1) / ranges];
            found.bounds.extend(datum(order[place])?.map(cut));
        }
    }
    Ok(found)
}

fn runs(order: &[usize], addresses: &Int64Array, equal: impl Fn(usize, usize) -> bool) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut clumps: Vec<i64> = Vec::new();
    for (place, at) in order.iter().enumerate() {
        let clump = addresses.value(*at) >> CLUMP_BITS;
        match runs.last_mut() {
            Some(run) if equal(order[run.places.start], *at) => {
                run.places.end = place + 1;
                if clumps.len() < COMMON_CLUMPS && !clumps.contains(&clump) {
                    clumps.push(clump);
                    run.clumps = clumps.len();
                }
            }
            _ => {
                clumps.clear();
                clumps.push(clump);
                runs.push(Run { places: place..place + 1, clumps: 1 });
            }
        }
    }
    runs
}

fn distinct(source: &Source<'_>, runs: &[Run], valued: usize, sampled: usize, whole: bool) -> u64 {
    let seen = runs.len() as u64;
    if whole {
        return seen;
    }
    if let Some(known) = source.distinct {
        return known.max(seen);
    }
    let once = runs.iter().filter(|run| run.places.len() == 1).count() as f64;
    let (n, part) = (valued as f64, sampled as f64 / source.live.max(1) as f64);
    let estimate = n * seen as f64 / (n - once + once * part).max(1.0);
    (estimate.round() as u64).clamp(seen, source.live)
}

/// The positions of the runs of common values, the most common first.
fn common(runs: &[Run], distinct: u64, valued: usize, whole: bool) -> Vec<usize> {
    let mut common: Vec<usize> = (0..runs.len()).collect();
    common.sort_by_key(|at| std::cmp::Reverse(runs[*at].places.len()));
    // Few values, all of which were seen: they say all there is.
    let all = runs.len() <= COMMON_MAX
        && runs.len() as u64 >= distinct
        && (whole || runs.iter().all(|run| run.places.len() > 1));
    if all {
        return common;
    }
    let average = valued as f64 / distinct.max(1) as f64;
    let least = (average * COMMON_FACTOR).max(2.0);
    common.retain(|at| {
        let run = &runs[*at];
        run.places.len() as f64 >= least && (whole || run.clumps >= COMMON_CLUMPS)
    });
    common.truncate(COMMON_MAX);
    common
}

/// The average size of a value that is not NULL.
fn width(values: &ArrayRef) -> u32 {
    let valued = values.len() - values.null_count();
    let bytes = match values.data_type() {
        DataType::Utf8View => values.as_string_view().iter().flatten().map(str::len).sum(),
        DataType::BinaryView => values.as_binary_view().iter().flatten().map(<[u8]>::len).sum(),
        DataType::Boolean => valued,
        other => other.primitive_width().unwrap_or(0) * valued,
    };
    u32::try_from(bytes.div_ceil(valued.max(1))).unwrap_or(u32::MAX)
}

fn size(value: &Datum) -> usize {
    match value {
        Datum::Int(_) | Datum::Float(_) => 0,
        Datum::Text(text) => text.len(),
        Datum::Bytes(bytes) => bytes.len(),
    }
}

fn cut(value: Datum) -> Datum {
    match value {
        Datum::Text(text) => {
            Datum::Text(text[..text.floor_char_boundary(BOUND_BYTES_MAX)].to_owned())
        }
        Datum::Bytes(mut bytes) => {
            bytes.truncate(BOUND_BYTES_MAX);
            Datum::Bytes(bytes)
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int32Array, StringViewArray};
    use base::SqlType;
    use base::ids::ColumnId;

    use super::*;

    fn column(sql_type: SqlType) -> Column {
        Column {
            id: ColumnId(3),
            name: "v".to_owned(),
            sql_type,
            nullable: true,
            default: None,
            identity: None,
            encode: None,
            case_insensitive: false,
            comment: None,
            fill: None,
        }
    }

    fn of(sql_type: SqlType, values: ArrayRef, live: u64, known: Option<u64>) -> ValueDistribution {
        let column = column(sql_type);
        let whole = live == values.len() as u64;
        let addresses = Int64Array::from_iter_values(0..values.len() as i64);
        let source = Source { column: &column, live, distinct: known };
        distribution(&source, &values, &addresses, whole).unwrap()
    }

    #[test]
    fn few_values_are_all_common() {
        let values = (0..1_000).map(|n| (n % 10 > 0).then_some(if n % 10 < 8 { 1 } else { 2 }));
        let found = of(SqlType::Integer, Arc::new(Int32Array::from_iter(values)), 1_000, None);
        assert_eq!((found.nulls, found.distinct, found.width), (100_000, 2, 4));
        assert_eq!(found.common, [(Datum::Int(1), 700_000), (Datum::Int(2), 200_000)]);
        assert_eq!(found.bounds, []);
    }

    #[test]
    fn ranges_hold_equally_many_of_the_others() {
        let values = (0..40_000).map(|n| if n % 4 == 0 { 7 } else { n });
        let values: ArrayRef = Arc::new(Int32Array::from_iter_values(values));
        let found = of(SqlType::Integer, values, 4_000_000, Some(3_000_000));
        assert_eq!(found.common, [(Datum::Int(7), 250_000 + 25)]);
        assert_eq!((found.distinct, found.bounds.len()), (3_000_000, RANGES + 1));
        let bounds: Vec<i128> = found
            .bounds
            .iter()
            .map(|bound| match bound {
                Datum::Int(value) => *value,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(bounds.windows(2).all(|pair| (390..=410).contains(&(pair[1] - pair[0]))));
    }

    #[test]
    fn a_cluster_of_rows_makes_no_common_value() {
        let values: ArrayRef = Arc::new(Int32Array::from_iter_values((0..10_000).map(|n| n / 50)));
        let found = of(SqlType::Integer, values, 1_000_000, Some(20_000));
        assert_eq!(found.common, []);
        assert_eq!(found.bounds.len(), RANGES + 1);
    }

    #[test]
    fn texts_are_cut_and_long_ones_never_common() {
        let long = "é".repeat(300);
        let texts = (0..100).map(|n| if n % 2 == 0 { long.clone() } else { format!("t{n:03}") });
        let values: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
        let found = of(SqlType::Varchar(1_000), values, 100, None);
        assert_eq!((found.distinct, found.width), (51, 302));
        assert_eq!(found.common, []);
        assert!(found.bounds.contains(&Datum::Text("t001".to_owned())));
        assert!(found.bounds.iter().all(|bound| size(bound) <= BOUND_BYTES_MAX));
    }

    #[test]
    fn without_sketches_the_sample_tells_distinct_values() {
        // Each of 5,000 values about four times among 20,000 rows of 200,000.
        let values = (0..20_000_i64).map(|n| ((n * 7_919) % 5_000) as i32);
        let values: ArrayRef = Arc::new(Int32Array::from_iter_values(values));
        assert_eq!(of(SqlType::Integer, values, 200_000, None).distinct, 5_000);
        let values: ArrayRef = Arc::new(Int32Array::from_iter_values(0..20_000));
        assert_eq!(of(SqlType::Integer, values, 200_000, None).distinct, 200_000);
    }
}
