//! The part of the rows that filters keep, from distinct counts, bounds and NULL counts.
//!
//! Equality keeps 1 / distinct, ranges what lies between bounds, several ranges on one column
//! are put together first. Conditions on different columns are taken for independent.

use std::collections::BTreeMap;

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Like, Operator};

use super::estimate::{Condition, Estimate, position};

/// What a condition keeps of which nothing is known.
const UNKNOWN: f64 = 0.2;
/// An equality with something that is no plain column.
const UNKNOWN_EQUAL: f64 = 0.05;
/// A comparison whose bounds are not known.
const UNKNOWN_RANGE: f64 = 1.0 / 3.0;
/// LIKE with a fixed start, and without one.
const PREFIX: f64 = 0.02;
const PATTERN: f64 = 0.1;

/// A range of one column.
#[derive(Clone, Copy)]
struct Range {
    low: f64,
    high: f64,
}

impl Range {
    const ALL: Range = Range { low: f64::NEG_INFINITY, high: f64::INFINITY };

    fn and(self, other: Range) -> Range {
        Range { low: self.low.max(other.low), high: self.high.min(other.high) }
    }
}

/// Narrows an estimate to what filters leave.
pub(super) fn filter<'e>(
    estimate: &mut Estimate,
    filters: impl IntoIterator<Item = &'e Expr>,
    schema: &DFSchema,
) {
    let conjuncts: Vec<&Expr> = filters.into_iter().flat_map(split_conjunction).collect();
    if conjuncts.is_empty() {
        return;
    }
    let mut ranges: BTreeMap<usize, Range> = BTreeMap::new();
    let mut kept = 1.0;
    let mut fixed: Vec<(usize, f64)> = Vec::new();
    // Conditions on one column often follow from each other: the strongest counts.
    let mut alone: BTreeMap<usize, f64> = BTreeMap::new();
    let columns = conjuncts.iter().flat_map(|conjunct| conjunct.column_refs());
    let filtered: Vec<usize> = columns.filter_map(|c| schema.maybe_index_of_column(c)).collect();
    for conjunct in conjuncts {
        if let Some((column, range)) = range(conjunct, estimate, schema) {
            let known = ranges.entry(column).or_insert(Range::ALL);
            *known = known.and(range);
            continue;
        }
        let part = selectivity(conjunct, estimate, schema);
        fixed.extend(values(conjunct, schema));
        match single(conjunct, schema) {
            Some(column) => {
                let strongest = alone.entry(column).or_insert(1.0);
                *strongest = strongest.min(part);
            }
            None => kept *= part,
        }
    }
    kept *= alone.values().product::<f64>();
    let mut tested: Vec<(usize, f64)> = alone.into_iter().collect();
    let mut narrowed = Vec::new();
    for (column, range) in ranges {
        let part = covered(estimate, column, range);
        narrowed.push((column, range, part));
        tested.push((column, part));
        kept *= part;
    }
    let tested = tested.into_iter().filter_map(|(column, kept)| {
        Some(Condition { values: estimate.columns.get(column)?.distinct, kept })
    });
    let tested: Vec<Condition> = tested.collect();
    estimate.conditions.extend(tested);
    let rows = estimate.rows;
    estimate.thin(kept.max(1.0 / rows.max(1.0)));
    for (column, values) in fixed {
        let column = &mut estimate.columns[column];
        column.distinct = column.distinct.min(values);
        column.domain = column.domain.min(values).max(column.distinct);
    }
    for (at, range, part) in narrowed {
        let column = &mut estimate.columns[at];
        column.domain = (column.domain * part).max(1.0);
        column.distinct = column.distinct.min(column.domain);
        if let Some((low, high)) = &mut column.bounds {
            (*low, *high) = (low.max(range.low).min(*high), high.min(range.high).max(*low));
        }
    }
    for at in filtered {
        if let Some(column) = estimate.columns.get_mut(at) {
            column.values = None;
        }
    }
}

/// The part of the rows that one condition keeps.
pub(super) fn selectivity(expr: &Expr, estimate: &Estimate, schema: &DFSchema) -> f64 {
    let of = |expr: &Expr| selectivity(expr, estimate, schema);
    let nulls = |expr: &Expr| estimate.of(expr, schema).nulls;
    let kept = match expr {
        Expr::Alias(alias) => of(&alias.expr),
        Expr::Literal(ScalarValue::Boolean(value), _) => f64::from(u8::from(*value == Some(true))),
        Expr::Not(inner) => 1.0 - of(inner),
        Expr::IsNull(inner) => nulls(inner),
        Expr::IsNotNull(inner) => 1.0 - nulls(inner),
        Expr::IsTrue(inner) | Expr::IsNotFalse(inner) => of(inner),
        Expr::IsFalse(inner) | Expr::IsNotTrue(inner) => 1.0 - of(inner),
        Expr::Column(_) => 0.5,
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => of(left) * of(right),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (left, right) = (of(left), of(right));
            left + right - left * right
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match range(expr, estimate, schema) {
            Some((column, range)) => covered(estimate, column, range),
            None => tried(expr, estimate, schema)
                .unwrap_or_else(|| comparison(left, *op, right, estimate, schema)),
        },
        Expr::Between(between) => {
            let inside = match range(&positive(between), estimate, schema) {
                Some((column, range)) => covered(estimate, column, range),
                None => UNKNOWN_RANGE * UNKNOWN_RANGE,
            };
            if between.negated { 1.0 - inside } else { inside }
        }
        Expr::InList(list) => {
            let one = |value: &Expr| equal(&list.expr, value, estimate, schema);
            let inside = list.list.iter().map(one).sum::<f64>().min(1.0);
            if list.negated { 1.0 - inside } else { inside }
        }
        Expr::Like(like) | Expr::SimilarTo(like) => {
            tried(expr, estimate, schema).unwrap_or_else(|| pattern(like, estimate, schema))
        }
        _ => tried(expr, estimate, schema).unwrap_or(UNKNOWN),
    };
    kept.clamp(0.0, 1.0)
}

fn positive(between: &datafusion::logical_expr::Between) -> Expr {
    let mut positive = between.clone();
    positive.negated = false;
    Expr::Between(positive)
}

fn comparison(
    left: &Expr,
    op: Operator,
    right: &Expr,
    estimate: &Estimate,
    schema: &DFSchema,
) -> f64 {
    let (l, r) = (position(left, schema).is_some(), position(right, schema).is_some());
    let distinct = || {
        let (left, right) = (estimate.of(left, schema), estimate.of(right, schema));
        1.0 / left.distinct.max(right.distinct).max(1.0)
    };
    let same = match (l, r) {
        (true, true) => distinct(),
        (true, false) => equal(left, right, estimate, schema),
        (false, true) => equal(right, left, estimate, schema),
        (false, false) => UNKNOWN_EQUAL,
    };
    match op {
        Operator::Eq | Operator::IsNotDistinctFrom => same,
        Operator::NotEq | Operator::IsDistinctFrom => 1.0 - same,
        Operator::Lt | Operator::LtEq => smaller(left, right, estimate, schema),
        Operator::Gt | Operator::GtEq => smaller(right, left, estimate, schema),
        Operator::LikeMatch | Operator::ILikeMatch | Operator::RegexMatch => PATTERN,
        Operator::NotLikeMatch | Operator::NotILikeMatch => 1.0 - PATTERN,
        _ => UNKNOWN,
    }
}

/// The part of the rows in which one expression is smaller than another.
fn smaller(left: &Expr, right: &Expr, estimate: &Estimate, schema: &DFSchema) -> f64 {
    let values = |expr| estimate.columns.get(position(expr, schema)?)?.values.as_ref();
    let known = values(left).zip(values(right)).and_then(|(left, right)| left.smaller_than(right));
    known.unwrap_or(UNKNOWN_RANGE)
}

/// The part of the rows in which an expression has a given value.
fn equal(expr: &Expr, value: &Expr, estimate: &Estimate, schema: &DFSchema) -> f64 {
    let Some(column) = position(expr, schema).and_then(|at| estimate.columns.get(at)) else {
        return UNKNOWN_EQUAL;
    };
    let known = match (value, &column.values) {
        (Expr::Literal(value, _), Some(values)) => values.equal(value),
        _ => None,
    };
    known.unwrap_or((1.0 - column.nulls) / column.distinct.max(1.0))
}

/// What a condition on one column keeps, by trying it on values of the column. Equalities are
/// better looked up.
fn tried(expr: &Expr, estimate: &Estimate, schema: &DFSchema) -> Option<f64> {
    if let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr
        && matches!(op, Operator::Eq | Operator::NotEq)
        && (position(left, schema).is_some() || position(right, schema).is_some())
    {
        return None;
    }
    let used = expr.column_refs();
    let mut places = used.iter().map(|column| schema.maybe_index_of_column(column));
    let (Some(at), None) = (places.next()?, places.next()) else {
        return None;
    };
    estimate.columns.get(at)?.values.as_ref()?.kept(expr, schema, at)
}

fn pattern(like: &Like, estimate: &Estimate, schema: &DFSchema) -> f64 {
    let kept = match like.pattern.as_ref() {
        Expr::Literal(text, _) => match text.try_as_str() {
            Some(Some(text)) if !text.contains(['%', '_']) => {
                equal(&like.expr, &like.pattern, estimate, schema)
            }
            Some(Some(text)) if !text.starts_with(['%', '_']) => PREFIX,
            _ => PATTERN,
        },
        _ => PATTERN,
    };
    if like.negated { 1.0 - kept } else { kept }
}

/// The one column that a condition is about.
fn single(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    let used = expr.column_refs();
    let mut places = used.into_iter().map(|column| schema.maybe_index_of_column(column));
    places.next()?.filter(|_| places.next().is_none())
}

/// The columns that a condition holds to few values, and to how many.
fn values(expr: &Expr, schema: &DFSchema) -> Option<(usize, f64)> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let literal = |expr: &Expr| matches!(expr, Expr::Literal(..));
            let column = if literal(right) { left } else { right };
            let constant = literal(left) || literal(right);
            constant.then(|| position(column, schema)).flatten().map(|at| (at, 1.0))
        }
        Expr::InList(list) if !list.negated => {
            position(&list.expr, schema).map(|at| (at, list.list.len() as f64))
        }
        _ => None,
    }
}

/// The range that a condition leaves of a column whose bounds are known.
fn range(expr: &Expr, estimate: &Estimate, schema: &DFSchema) -> Option<(usize, Range)> {
    let bounded = |expr: &Expr| {
        let at = position(expr, schema)?;
        estimate.columns.get(at)?.bounds.map(|_| at)
    };
    let constant = |expr: &Expr| match expr {
        Expr::Literal(value, _) => number(value),
        _ => None,
    };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (at, op, value) = match (bounded(left), constant(right)) {
                (Some(at), Some(value)) => (at, *op, value),
                _ => (bounded(right)?, op.swap()?, constant(left)?),
            };
            match op {
                Operator::Lt | Operator::LtEq => Some((at, Range { high: value, ..Range::ALL })),
                Operator::Gt | Operator::GtEq => Some((at, Range { low: value, ..Range::ALL })),
                _ => None,
            }
        }
        Expr::Between(between) if !between.negated => {
            let (low, high) = (constant(&between.low)?, constant(&between.high)?);
            Some((bounded(&between.expr)?, Range { low, high }))
        }
        _ => None,
    }
}

/// The part of the rows whose value is in a range, values being spread evenly between bounds.
fn covered(estimate: &Estimate, column: usize, range: Range) -> f64 {
    let column = &estimate.columns[column];
    let Some((min, max)) = column.bounds else {
        return UNKNOWN_RANGE;
    };
    if let Some(kept) = column.values.as_ref().and_then(|all| all.between(range.low, range.high)) {
        return kept.clamp(0.0, 1.0);
    }
    let valued = 1.0 - column.nulls;
    let (low, high) = (range.low.max(min), range.high.min(max));
    if high < low {
        return 0.0;
    }
    if max <= min {
        return valued;
    }
    // A range of one value out of few is no empty range.
    let part = ((high - low) / (max - min)).max(1.0 / column.domain.max(1.0));
    (part * valued).clamp(0.0, 1.0)
}

/// A value as a number that keeps order: dates and times as seconds, decimals with their scale.
pub(super) fn number(value: &ScalarValue) -> Option<f64> {
    const DAY: f64 = 86_400.0;
    Some(match value {
        ScalarValue::Int8(Some(value)) => f64::from(*value),
        ScalarValue::Int16(Some(value)) => f64::from(*value),
        ScalarValue::Int32(Some(value)) => f64::from(*value),
        ScalarValue::Int64(Some(value)) => *value as f64,
        ScalarValue::UInt64(Some(value)) => *value as f64,
        ScalarValue::Float32(Some(value)) => f64::from(*value),
        ScalarValue::Float64(Some(value)) => *value,
        ScalarValue::Decimal128(Some(value), _, scale) => {
            *value as f64 / 10_f64.powi(i32::from(*scale))
        }
        ScalarValue::Date32(Some(days)) => f64::from(*days) * DAY,
        ScalarValue::TimestampSecond(Some(value), _) => *value as f64,
        ScalarValue::TimestampMillisecond(Some(value), _) => *value as f64 / 1e3,
        ScalarValue::TimestampMicrosecond(Some(value), _)
        | ScalarValue::Time64Microsecond(Some(value)) => *value as f64 / 1e6,
        ScalarValue::TimestampNanosecond(Some(value), _) => *value as f64 / 1e9,
        _ => return None,
    })
    .filter(|value| value.is_finite())
}
