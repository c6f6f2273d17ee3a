//! What filters keep of a column, from the distribution that ANALYZE found.
//!
//! Comparisons with constants are looked up; any other condition on one column is tried on the
//! common values and on the bounds of the ranges, which are a sample of the others.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use base::SqlType;
use base::ids::ColumnId;
use base::segment::Datum;
use catalog::{SHARE_WHOLE, TableStatistics, ValueDistribution};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::physical_expr::create_physical_expr;

use super::selectivity::number;
use crate::scan::{datum_of, scalar_of};

/// What a condition is taken to keep of values that are seldom, before some are looked at; it
/// weighs as much as one of them.
const PRIOR: f64 = 0.05;

/// The values of a column of a table as ANALYZE found them.
#[derive(Clone, Debug)]
pub(super) struct Values {
    statistics: Arc<TableStatistics>,
    /// Its place among the statistics' columns.
    at: usize,
    sql_type: SqlType,
}

impl Values {
    pub(super) fn new(
        statistics: &Arc<TableStatistics>,
        column: ColumnId,
        sql_type: SqlType,
    ) -> Option<Values> {
        let at = statistics.columns.iter().position(|known| known.column == column)?;
        Some(Values { statistics: Arc::clone(statistics), at, sql_type })
    }

    pub(super) fn distribution(&self) -> &ValueDistribution {
        &self.statistics.columns[self.at]
    }

    /// The part of the rows that have one of the common values.
    fn common(&self) -> f64 {
        self.distribution().common.iter().map(|(_, share)| part(*share)).sum()
    }

    /// The part of the rows that have a value which is not common.
    fn others(&self) -> f64 {
        (1.0 - part(self.distribution().nulls) - self.common()).max(0.0)
    }

    /// The part of the rows that have a value; nothing for one of another type.
    pub(super) fn equal(&self, value: &ScalarValue) -> Option<f64> {
        let value = datum_of(value, self.sql_type)?;
        let known = self.distribution();
        let same = |common: &&(Datum, u32)| common.0 == value;
        if let Some((_, share)) = known.common.iter().find(same) {
            return Some(part(*share));
        }
        let others = known.distinct.saturating_sub(known.common.len() as u64);
        Some(if known.bounds.is_empty() { 0.0 } else { self.others() / others.max(1) as f64 })
    }

    /// The part of the rows with a value from `low` to `high`, as [`number`] makes them; nothing
    /// for values that are no numbers.
    pub(super) fn between(&self, low: f64, high: f64) -> Option<f64> {
        let known = self.distribution();
        let number = |value: &Datum| number(&scalar_of(Some(value), self.sql_type)?);
        let mut kept = 0.0;
        for (value, share) in &known.common {
            let value = number(value)?;
            kept += if (low..=high).contains(&value) { part(*share) } else { 0.0 };
        }
        let bounds = known.bounds.iter().map(number).collect::<Option<Vec<f64>>>()?;
        if bounds.len() > 1 {
            kept += self.others() * (below(&bounds, high) - below(&bounds, low)).max(0.0);
        }
        Some(kept)
    }

    /// The part of the pairs with a value of `other` in which this column has the smaller one, as
    /// if the two columns had nothing to do with each other; nothing for values that are no
    /// numbers.
    pub(super) fn smaller_than(&self, other: &Values) -> Option<f64> {
        let (own, others) = (self.points()?, other.points()?);
        let pairs = own.iter().flat_map(|a| others.iter().map(move |b| (a, b)));
        let smaller = pairs.filter(|(a, b)| a.0 < b.0);
        Some(smaller.map(|(a, b)| a.1 * b.1).sum())
    }

    /// Common values and bounds as [`number`] makes them, with the part of the rows that each
    /// stands for.
    fn points(&self) -> Option<Vec<(f64, f64)>> {
        let known = self.distribution();
        let each = self.others() / known.bounds.len().max(1) as f64;
        let common = known.common.iter().map(|(value, share)| (value, part(*share)));
        let points = common.chain(known.bounds.iter().map(|bound| (bound, each)));
        let number = |value| number(&scalar_of(Some(value), self.sql_type)?);
        points.map(|(value, share)| Some((number(value)?, share))).collect()
    }

    /// The part of the rows that a condition on this column alone keeps; nothing when it cannot
    /// be computed. `at` is the column's place in `schema`.
    pub(super) fn kept(&self, condition: &Expr, schema: &DFSchema, at: usize) -> Option<f64> {
        let known = self.distribution();
        let values = known.common.iter().map(|(value, _)| value).chain(&known.bounds);
        let values = values.map(|value| scalar_of(Some(value), self.sql_type));
        let values = values.collect::<Option<Vec<_>>>()?;
        if values.is_empty() {
            return None;
        }
        let (qualifier, field) = schema.qualified_field(at);
        let field = (qualifier.cloned(), Arc::clone(field));
        let schema = DFSchema::new_with_metadata(vec![field], Default::default()).ok()?;
        let condition =
            create_physical_expr(condition, &schema, &ExecutionProps::new(), &Default::default());
        let values = ScalarValue::iter_to_array(values).ok()?;
        let rows = RecordBatch::try_new(Arc::clone(schema.inner()), vec![values]).ok()?;
        let kept = condition.ok()?.evaluate(&rows).ok()?.into_array(rows.num_rows()).ok()?;
        let kept = kept.as_boolean_opt()?;
        let is_kept = |at: usize| kept.is_valid(at) && kept.value(at);
        let common = known.common.iter().enumerate().filter(|(at, _)| is_kept(*at));
        let common: f64 = common.map(|(_, (_, share))| part(*share)).sum();
        let others = (known.common.len()..rows.num_rows()).filter(|at| is_kept(*at)).count() as f64;
        let tried = known.bounds.len() as f64;
        Some(common + self.others() * (others + PRIOR) / (tried + 1.0))
    }
}

fn part(share: u32) -> f64 {
    f64::from(share) / f64::from(SHARE_WHOLE)
}

/// The part of the values that lie below one, between bounds of equally many values.
fn below(bounds: &[f64], value: f64) -> f64 {
    let ranges = (bounds.len() - 1) as f64;
    let after = bounds.partition_point(|bound| *bound <= value);
    if after == 0 {
        return 0.0;
    }
    let (Some(low), Some(high)) = (bounds.get(after - 1), bounds.get(after)) else {
        return 1.0;
    };
    let inside = if high > low { (value - low) / (high - low) } else { 0.0 };
    ((after - 1) as f64 + inside.clamp(0.0, 1.0)) / ranges
}

#[cfg(test)]
mod tests {
    use arrow_schema::Field;
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn of(sql_type: SqlType, distribution: ValueDistribution) -> Values {
        let statistics = TableStatistics { columns: vec![distribution], ..Default::default() };
        Values { statistics: Arc::new(statistics), at: 0, sql_type }
    }

    fn numbers() -> Values {
        let common = vec![(Datum::Int(7), 300_000), (Datum::Int(50), 100_000)];
        let bounds = [0, 10, 20, 40, 1_000].map(Datum::Int).to_vec();
        let distinct = 62;
        let nulls = 100_000;
        of(
            SqlType::Integer,
            ValueDistribution { nulls, distinct, common, bounds, ..Default::default() },
        )
    }

    #[test]
    fn common_values_have_their_share_and_others_the_rest() {
        let values = numbers();
        let equal = |value: i32| values.equal(&ScalarValue::Int32(Some(value))).unwrap();
        assert!((equal(7) - 0.3).abs() < 1e-9);
        assert!((equal(8) - 0.5 / 60.0).abs() < 1e-9);
        assert_eq!(values.equal(&ScalarValue::from("x")), None);
    }

    #[test]
    fn ranges_are_found_between_bounds() {
        let values = numbers();
        let between = |low: f64, high: f64| values.between(low, high).unwrap();
        assert!((between(f64::NEG_INFINITY, f64::INFINITY) - 0.9).abs() < 1e-9);
        // A quarter of the others from 20 to 40, half of that from 30 on; 50 is common.
        assert!((between(30.0, 40.0) - 0.5 * 0.125).abs() < 1e-9);
        assert!((between(30.0, 50.0) - (0.5 * (0.125 + 0.25 * 10.0 / 960.0) + 0.1)).abs() < 1e-9);
        assert_eq!(between(2_000.0, 3_000.0), 0.0);
    }

    #[test]
    fn columns_are_held_against_each_other() {
        let bounds = |from: i128| (0..=100).map(|n| Datum::Int(from + n)).collect();
        let spread = |from| {
            of(SqlType::Integer, ValueDistribution { bounds: bounds(from), ..Default::default() })
        };
        let smaller = |a, b| spread(a).smaller_than(&spread(b)).unwrap();
        assert!((smaller(0, 200) - 1.0).abs() < 1e-9 && smaller(200, 0) == 0.0);
        assert!((smaller(0, 0) - 0.5).abs() < 0.01);
        assert!((smaller(0, 50) - 0.875).abs() < 0.02);
    }

    #[test]
    fn other_conditions_are_tried() {
        let common = vec![(Datum::Text("green apple".to_owned()), 400_000)];
        let bounds = ["a", "b green", "c", "d"].map(|text| Datum::Text(text.to_owned())).to_vec();
        let distinct = 1_000;
        let distribution = ValueDistribution { distinct, common, bounds, ..Default::default() };
        let values = of(SqlType::Varchar(20), distribution);
        let field = Field::new("t", SqlType::Varchar(20).arrow(), true);
        let schema = DFSchema::from_unqualified_fields(vec![field].into(), Default::default());
        let pattern = lit(ScalarValue::Utf8View(Some("%green%".to_owned())));
        let kept = values.kept(&col("t").like(pattern), &schema.unwrap(), 0).unwrap();
        assert!((kept - (0.4 + 0.6 * 1.05 / 5.0)).abs() < 1e-9, "{kept}");
    }
}
