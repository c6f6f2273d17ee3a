//! Predicates of a scan: from DataFusion's expressions to what blocks evaluate and zone maps
//! answer.
//!
//! Every translation is exact, or says "may match". Must not read data.

use std::sync::Arc;

use arrow_schema::DataType;
use base::SqlType;
use base::segment::{ColumnStats, Datum};
use columnar::{CompareOp, Predicate, Zone};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::joins::HashExpr;
use datafusion::physical_plan::repartition::REPARTITION_RANDOM_STATE;

use super::spec::ScanColumn;

/// A predicate on one column, which a block evaluates without decoding.
#[derive(Clone, Debug)]
pub(crate) struct ColumnPredicate {
    pub(crate) column: usize,
    pub(crate) predicate: Predicate,
}

impl ColumnPredicate {
    /// What testing a row costs, relative to one comparison of integers.
    pub(crate) fn cost(&self) -> f64 {
        let of_value = |value: &Datum| match value {
            Datum::Int(_) | Datum::Float(_) => 1.0,
            Datum::Text(_) | Datum::Bytes(_) => 4.0,
        };
        match &self.predicate {
            Predicate::IsNull | Predicate::IsNotNull => 0.2,
            Predicate::Compare { value, .. } => of_value(value),
            Predicate::Between { low, .. } => of_value(low),
            Predicate::In(values) => values.first().map_or(0.1, |value| of_value(value) * 2.0),
            Predicate::Prefix(_) => 4.0,
        }
    }
}

/// Appends the conjuncts of `expr`.
pub(crate) fn conjuncts(expr: &Arc<dyn PhysicalExpr>, out: &mut Vec<Arc<dyn PhysicalExpr>>) {
    match expr.downcast_ref::<BinaryExpr>() {
        Some(binary) if *binary.op() == Operator::And => {
            conjuncts(binary.left(), out);
            conjuncts(binary.right(), out);
        }
        _ if is_true(expr) => {}
        _ => out.push(Arc::clone(expr)),
    }
}

/// Conjuncts split into those on encoded data and the rest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Split {
    pub(crate) encoded: Vec<ColumnPredicate>,
    pub(crate) residual: Vec<Arc<dyn PhysicalExpr>>,
    /// What zone maps can say of the conjuncts, the residual ones included.
    pub(crate) prune: Vec<Prune>,
}

impl Split {
    pub(crate) fn new(filters: &[Arc<dyn PhysicalExpr>], columns: &[ScanColumn]) -> Split {
        let mut parts = Vec::new();
        filters.iter().for_each(|filter| conjuncts(filter, &mut parts));
        let mut split = Split::default();
        for part in parts {
            match column_predicate(&part, columns) {
                Some(predicate) => split.encoded.push(predicate),
                None => {
                    split.prune.push(Prune::of(&part, columns));
                    split.residual.push(part);
                }
            }
        }
        split.encoded = merged(split.encoded);
        split.prune.retain(|prune| !matches!(prune, Prune::Unknown));
        split
    }
}

/// The conjunct as a predicate on one column, when it has that form.
pub(crate) fn column_predicate(
    expr: &Arc<dyn PhysicalExpr>,
    columns: &[ScanColumn],
) -> Option<ColumnPredicate> {
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let (column, value, op) = match (binary.left(), binary.right()) {
            (left, right) if left.is::<Column>() => (left, right, compare_op(*binary.op())?),
            (left, right) => (right, left, compare_op(binary.op().swap()?)?),
        };
        let (index, spec) = column_of(column, columns)?;
        let value = literal(value, spec)?;
        return Some(on(index, Predicate::Compare { op, value }));
    }
    if let Some(column) = expr.downcast_ref::<Column>() {
        return boolean(column, columns, 1);
    }
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return boolean(not.arg().downcast_ref::<Column>()?, columns, 0);
    }
    if let Some(test) = expr.downcast_ref::<IsNullExpr>() {
        return Some(on(column_of(test.arg(), columns)?.0, Predicate::IsNull));
    }
    if let Some(test) = expr.downcast_ref::<IsNotNullExpr>() {
        return Some(on(column_of(test.arg(), columns)?.0, Predicate::IsNotNull));
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        return in_list(list, columns);
    }
    like(expr.downcast_ref::<LikeExpr>()?, columns)
}

fn on(column: usize, predicate: Predicate) -> ColumnPredicate {
    ColumnPredicate { column, predicate }
}

fn boolean(column: &Column, columns: &[ScanColumn], value: i128) -> Option<ColumnPredicate> {
    let spec = columns.get(column.index())?;
    let value = Datum::Int(value);
    (spec.sql_type == SqlType::Boolean)
        .then(|| on(column.index(), Predicate::Compare { op: CompareOp::Eq, value }))
}

fn in_list(list: &InListExpr, columns: &[ScanColumn]) -> Option<ColumnPredicate> {
    if list.negated() {
        return None;
    }
    let (index, spec) = column_of(list.expr(), columns)?;
    let mut values = Vec::with_capacity(list.len());
    for item in list.list() {
        // A NULL in the list never makes a row qualify.
        if scalar(item).is_some_and(ScalarValue::is_null) {
            continue;
        }
        values.push(literal(item, spec)?);
    }
    Some(on(index, Predicate::In(values)))
}

fn like(like: &LikeExpr, columns: &[ScanColumn]) -> Option<ColumnPredicate> {
    if like.negated() || like.case_insensitive() {
        return None;
    }
    let (index, spec) = column_of(like.expr(), columns)?;
    let Datum::Text(pattern) = literal(like.pattern(), spec)? else {
        return None;
    };
    let special = |c: char| matches!(c, '%' | '_' | '\\');
    match pattern.strip_suffix('%') {
        Some(prefix) if !prefix.contains(special) => {
            Some(on(index, Predicate::Prefix(prefix.to_owned())))
        }
        None if !pattern.contains(special) => {
            let value = Datum::Text(pattern);
            Some(on(index, Predicate::Compare { op: CompareOp::Eq, value }))
        }
        _ => None,
    }
}

fn column_of<'a>(
    expr: &Arc<dyn PhysicalExpr>,
    columns: &'a [ScanColumn],
) -> Option<(usize, &'a ScanColumn)> {
    let index = expr.downcast_ref::<Column>()?.index();
    // Addresses are in no block: only what is decoded can be tested.
    columns.get(index).filter(|column| !column.is_address()).map(|column| (index, column))
}

fn scalar(expr: &Arc<dyn PhysicalExpr>) -> Option<&ScalarValue> {
    expr.downcast_ref::<Literal>().map(Literal::value)
}

fn is_true(expr: &Arc<dyn PhysicalExpr>) -> bool {
    matches!(scalar(expr), Some(ScalarValue::Boolean(Some(true))))
}

fn is_never(expr: &Arc<dyn PhysicalExpr>) -> bool {
    matches!(scalar(expr), Some(ScalarValue::Boolean(Some(false) | None)))
}

/// The literal as a value of the column; `None` for NULL and for another type.
fn literal(expr: &Arc<dyn PhysicalExpr>, column: &ScanColumn) -> Option<Datum> {
    datum_of(scalar(expr)?, column.sql_type)
}

/// A scalar as the datum of a column of `sql_type`; `None` for NULL or when types differ.
pub(crate) fn datum_of(value: &ScalarValue, sql_type: SqlType) -> Option<Datum> {
    let same = match (value, sql_type.arrow()) {
        (ScalarValue::Utf8(_) | ScalarValue::LargeUtf8(_), DataType::Utf8View) => true,
        (ScalarValue::Binary(_) | ScalarValue::LargeBinary(_), DataType::BinaryView) => true,
        // Precision bounds what may be stored; the scale is what gives digits their meaning.
        (ScalarValue::Decimal128(_, _, scale), DataType::Decimal128(_, wanted)) => *scale == wanted,
        (value, wanted) => value.data_type() == wanted,
    };
    if !same {
        return None;
    }
    let int = |value: i128| Some(Datum::Int(value));
    match value {
        ScalarValue::Boolean(Some(value)) => int(i128::from(*value)),
        ScalarValue::Int16(Some(value)) => int(i128::from(*value)),
        ScalarValue::Int32(Some(value)) | ScalarValue::Date32(Some(value)) => {
            int(i128::from(*value))
        }
        ScalarValue::Int64(Some(value))
        | ScalarValue::Time64Microsecond(Some(value))
        | ScalarValue::TimestampMicrosecond(Some(value), _) => int(i128::from(*value)),
        ScalarValue::Decimal128(Some(value), _, _) => int(*value),
        ScalarValue::Float32(Some(value)) => Some(Datum::Float(f64::from(*value))),
        ScalarValue::Float64(Some(value)) => Some(Datum::Float(*value)),
        ScalarValue::Utf8(Some(value))
        | ScalarValue::LargeUtf8(Some(value))
        | ScalarValue::Utf8View(Some(value)) => Some(Datum::Text(value.clone())),
        ScalarValue::Binary(Some(value))
        | ScalarValue::LargeBinary(Some(value))
        | ScalarValue::BinaryView(Some(value)) => Some(Datum::Bytes(value.clone())),
        _ => None,
    }
}

/// A datum as a scalar of the Arrow type of `sql_type`; NULL for `None`.
pub(crate) fn scalar_of(value: Option<&Datum>, sql_type: SqlType) -> Option<ScalarValue> {
    let arrow = sql_type.arrow();
    let Some(value) = value else {
        return ScalarValue::try_from(&arrow).ok();
    };
    Some(match (value, arrow) {
        (Datum::Int(value), DataType::Boolean) => ScalarValue::Boolean(Some(*value != 0)),
        (Datum::Int(value), DataType::Int16) => ScalarValue::Int16(Some((*value).try_into().ok()?)),
        (Datum::Int(value), DataType::Int32) => ScalarValue::Int32(Some((*value).try_into().ok()?)),
        (Datum::Int(value), DataType::Date32) => {
            ScalarValue::Date32(Some((*value).try_into().ok()?))
        }
        (Datum::Int(value), DataType::Int64) => ScalarValue::Int64(Some((*value).try_into().ok()?)),
        (Datum::Int(value), DataType::Time64(_)) => {
            ScalarValue::Time64Microsecond(Some((*value).try_into().ok()?))
        }
        (Datum::Int(value), DataType::Timestamp(_, zone)) => {
            ScalarValue::TimestampMicrosecond(Some((*value).try_into().ok()?), zone)
        }
        (Datum::Int(value), DataType::Decimal128(precision, scale)) => {
            ScalarValue::Decimal128(Some(*value), precision, scale)
        }
        (Datum::Float(value), DataType::Float32) => ScalarValue::Float32(Some(*value as f32)),
        (Datum::Float(value), DataType::Float64) => ScalarValue::Float64(Some(*value)),
        (Datum::Text(value), DataType::Utf8View) => ScalarValue::Utf8View(Some(value.clone())),
        (Datum::Bytes(value), DataType::BinaryView) => ScalarValue::BinaryView(Some(value.clone())),
        _ => return None,
    })
}

/// A value in statistics as text.
pub fn value_text(value: &Datum, sql_type: SqlType) -> String {
    scalar_of(Some(value), sql_type).map(|scalar| scalar.to_string()).unwrap_or_default()
}

fn compare_op(op: Operator) -> Option<CompareOp> {
    Some(match op {
        Operator::Eq => CompareOp::Eq,
        Operator::NotEq => CompareOp::NotEq,
        Operator::Lt => CompareOp::Lt,
        Operator::LtEq => CompareOp::LtEq,
        Operator::Gt => CompareOp::Gt,
        Operator::GtEq => CompareOp::GtEq,
        _ => return None,
    })
}

/// Joins the bounds of one column into one range, so that its values are looked at once.
fn merged(predicates: Vec<ColumnPredicate>) -> Vec<ColumnPredicate> {
    let mut out: Vec<ColumnPredicate> = Vec::with_capacity(predicates.len());
    for next in predicates {
        let range = inclusive(&next.predicate);
        let partner = out.iter_mut().find(|other| {
            other.column == next.column && range.is_some() && inclusive(&other.predicate).is_some()
        });
        match (partner, range) {
            (Some(other), Some((low, high))) => {
                let (other_low, other_high) = inclusive(&other.predicate).unwrap_or_default();
                let low = tighter(low, other_low, true);
                let high = tighter(high, other_high, false);
                other.predicate = ranged(low, high);
            }
            _ => out.push(next),
        }
    }
    out
}

/// An integer range with both ends part of it; `None` for any other predicate.
fn inclusive(predicate: &Predicate) -> Option<(Option<i128>, Option<i128>)> {
    let (op, value) = match predicate {
        Predicate::Between { low: Datum::Int(low), high: Datum::Int(high) } => {
            return Some((Some(*low), Some(*high)));
        }
        Predicate::Compare { op, value: Datum::Int(value) } => (op, *value),
        _ => return None,
    };
    Some(match op {
        CompareOp::Lt => (None, Some(value.checked_sub(1)?)),
        CompareOp::LtEq => (None, Some(value)),
        CompareOp::Gt => (Some(value.checked_add(1)?), None),
        CompareOp::GtEq => (Some(value), None),
        _ => return None,
    })
}

fn tighter(a: Option<i128>, b: Option<i128>, low: bool) -> Option<i128> {
    match (a, b) {
        (Some(a), Some(b)) if low => Some(a.max(b)),
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn ranged(low: Option<i128>, high: Option<i128>) -> Predicate {
    let compare = |op, value| Predicate::Compare { op, value: Datum::Int(value) };
    match (low, high) {
        (Some(low), Some(high)) => {
            Predicate::Between { low: Datum::Int(low), high: Datum::Int(high) }
        }
        (Some(low), None) => compare(CompareOp::GtEq, low),
        (None, Some(high)) => compare(CompareOp::LtEq, high),
        (None, None) => Predicate::IsNotNull,
    }
}

/// True when every row of a block qualifies, as its zone map proves: the block need not be
/// looked at, and not even read when the column is wanted for nothing else.
pub(crate) fn covers(predicate: &Predicate, zone: &Zone, rows: u32) -> bool {
    if matches!(predicate, Predicate::IsNull) {
        return zone.nulls == rows;
    }
    if zone.nulls > 0 {
        return false;
    }
    if matches!(predicate, Predicate::IsNotNull) {
        return true;
    }
    let (Some(Datum::Int(min)), Some(Datum::Int(max))) = (&zone.min, &zone.max) else {
        return false;
    };
    match predicate {
        Predicate::Compare { op: CompareOp::Eq, value: Datum::Int(value) } => {
            min == value && max == value
        }
        Predicate::Compare { op: CompareOp::NotEq, value: Datum::Int(value) } => {
            value < min || value > max
        }
        _ => inclusive(predicate).is_some_and(|(low, high)| {
            low.is_none_or(|low| low <= *min) && high.is_none_or(|high| high >= *max)
        }),
    }
}

/// True when `value`, the same in every row, qualifies.
pub(crate) fn holds(predicate: &Predicate, value: Option<&Datum>) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let Some(value) = value else {
        return matches!(predicate, Predicate::IsNull);
    };
    let order = |other: &Datum| value.partial_cmp(other);
    match predicate {
        Predicate::IsNull => false,
        Predicate::IsNotNull => true,
        Predicate::Prefix(prefix) => {
            matches!(value, Datum::Text(text) if text.starts_with(prefix))
        }
        Predicate::In(values) => values.iter().any(|other| order(other) == Some(Equal)),
        Predicate::Between { low, high } => {
            matches!(order(low), Some(Greater | Equal)) && matches!(order(high), Some(Less | Equal))
        }
        Predicate::Compare { op, value: other } => match (op, order(other)) {
            (_, None) => false,
            (CompareOp::Eq, Some(order)) => order == Equal,
            (CompareOp::NotEq, Some(order)) => order != Equal,
            (CompareOp::Lt, Some(order)) => order == Less,
            (CompareOp::LtEq, Some(order)) => order != Greater,
            (CompareOp::Gt, Some(order)) => order == Greater,
            (CompareOp::GtEq, Some(order)) => order != Less,
        },
    }
}

/// What zone maps can say of an expression.
#[derive(Clone, Debug)]
pub(crate) enum Prune {
    /// Nothing: it may match.
    Unknown,
    /// It never matches.
    Never,
    Column(ColumnPredicate),
    All(Vec<Prune>),
    Any(Vec<Prune>),
}

impl Prune {
    pub(crate) fn of(expr: &Arc<dyn PhysicalExpr>, columns: &[ScanColumn]) -> Prune {
        if is_never(expr) {
            return Prune::Never;
        }
        if let Some(predicate) = column_predicate(expr, columns) {
            return Prune::Column(predicate);
        }
        if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            let sides =
                || vec![Prune::of(binary.left(), columns), Prune::of(binary.right(), columns)];
            return match binary.op() {
                Operator::And => Prune::All(sides()).simplified(),
                Operator::Or => Prune::Any(sides()).simplified(),
                _ => Prune::Unknown,
            };
        }
        if let Some(case) = expr.downcast_ref::<CaseExpr>() {
            // Whichever branch is taken, one of the results has to match.
            let mut results: Vec<_> =
                case.when_then_expr().iter().map(|(_, then)| Prune::of(then, columns)).collect();
            if let Some(otherwise) = case.else_expr() {
                results.push(Prune::of(otherwise, columns));
            }
            return Prune::Any(results).simplified();
        }
        Prune::Unknown
    }

    fn simplified(self) -> Prune {
        match self {
            Prune::All(mut parts) => {
                if parts.iter().any(|part| matches!(part, Prune::Never)) {
                    return Prune::Never;
                }
                parts.retain(|part| !matches!(part, Prune::Unknown));
                if parts.is_empty() { Prune::Unknown } else { Prune::All(parts) }
            }
            Prune::Any(mut parts) => {
                if parts.iter().any(|part| matches!(part, Prune::Unknown)) {
                    return Prune::Unknown;
                }
                parts.retain(|part| !matches!(part, Prune::Never));
                if parts.is_empty() { Prune::Never } else { Prune::Any(parts) }
            }
            other => other,
        }
    }

    /// False when the rows that `answer` speaks for cannot hold a match.
    pub(crate) fn can_match(&self, answer: &dyn Fn(&ColumnPredicate) -> bool) -> bool {
        match self {
            Prune::Unknown => true,
            Prune::Never => false,
            Prune::Column(predicate) => answer(predicate),
            Prune::All(parts) => parts.iter().all(|part| part.can_match(answer)),
            Prune::Any(parts) => parts.iter().any(|part| part.can_match(answer)),
        }
    }
}

/// False when the catalog's statistics prove that no row of a segment matches.
pub(crate) fn segment_can_match(
    predicate: &ColumnPredicate,
    columns: &[ScanColumn],
    stats: Option<&ColumnStats>,
    rows: u64,
) -> bool {
    let Some(column) = columns.get(predicate.column) else {
        return true;
    };
    match stats {
        Some(stats) => predicate.predicate.can_match_stats(stats, rows),
        None => holds(&predicate.predicate, column.fill.as_ref()),
    }
}

/// The branch that the rows of `partition` take in the filter of a partitioned hash join.
///
/// Such a join publishes `CASE hash(key) % n WHEN p THEN filter of p … END`. A partition of a
/// table placed by that key has only rows of one branch, which spares the hash.
pub(crate) fn routed(
    expr: &Arc<dyn PhysicalExpr>,
    key: Option<usize>,
    partitions: usize,
    partition: usize,
) -> Arc<dyn PhysicalExpr> {
    let branch = || {
        let case = expr.downcast_ref::<CaseExpr>()?;
        let modulo = case.expr()?.downcast_ref::<BinaryExpr>()?;
        let hash = modulo.left().downcast_ref::<HashExpr>()?;
        let [on] = hash.on_columns() else {
            return None;
        };
        let by_key = *modulo.op() == Operator::Modulo
            && hash.seed() == REPARTITION_RANDOM_STATE.seed()
            && Some(on.downcast_ref::<Column>()?.index()) == key;
        let ScalarValue::UInt64(Some(count)) = scalar(modulo.right())? else {
            return None;
        };
        if !by_key || *count != partitions as u64 {
            return None;
        }
        let number = ScalarValue::UInt64(Some(partition as u64));
        let then = case
            .when_then_expr()
            .iter()
            .find(|(when, _)| scalar(when) == Some(&number))
            .map(|(_, then)| then);
        then.or(case.else_expr()).map(Arc::clone)
    };
    branch().unwrap_or_else(|| Arc::clone(expr))
}
