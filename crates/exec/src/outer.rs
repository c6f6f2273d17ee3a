//! Outer joins whose added rows nobody wants.
//!
//! DataFusion turns an outer join into an inner one where a filter right above it drops rows
//! with NULLs in place of a partner. This rule knows more that drops them: keys of joins, groups
//! and projections above. And it turns a left join of which only rows without a partner are
//! wanted (`WHERE key IS NULL`) into an anti-join.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, NullEquality, Result, ScalarValue};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, Filter, Join, JoinType, LogicalPlan, Operator, Projection,
};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// Columns without a NULL in any row that matters.
type Valued = HashSet<Column>;

/// The rule.
#[derive(Debug)]
pub(crate) struct OuterJoins;

impl OptimizerRule for OuterJoins {
    fn name(&self) -> &'static str {
        "outer_joins"
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        base::stack::deep(|| rewrite(plan, &Valued::new()))
    }
}

/// The plan for a reader to whom only rows with values in some of its columns matter.
fn rewrite(plan: LogicalPlan, valued: &Valued) -> Result<Transformed<LogicalPlan>> {
    let (plan, is_new) = match plan {
        LogicalPlan::Join(join) => narrowed(join, valued),
        LogicalPlan::Filter(filter) => match without_partner(&filter)? {
            Some(plan) => (plan, true),
            None => (LogicalPlan::Filter(filter), false),
        },
        other => (other, false),
    };
    let mut below = below(&plan, valued).into_iter();
    let inside = plan.map_children(|child| {
        let valued = below.next().unwrap_or_default();
        base::stack::deep(|| rewrite(child, &valued))
    })?;
    Ok(Transformed { transformed: inside.transformed || is_new, ..inside })
}

/// The join without rows that have NULLs in place of a partner where these do not matter.
fn narrowed(mut join: Join, valued: &Valued) -> (LogicalPlan, bool) {
    let has = |side: &LogicalPlan| valued.iter().any(|column| is_in(column, side.schema()));
    let (left, right) = (has(&join.left), has(&join.right));
    let narrow = match (join.join_type, left, right) {
        (JoinType::Left, _, true) | (JoinType::Right, true, _) => JoinType::Inner,
        (JoinType::Full, true, true) => JoinType::Inner,
        (JoinType::Full, true, false) => JoinType::Left,
        (JoinType::Full, false, true) => JoinType::Right,
        (same, ..) => same,
    };
    let is_new = narrow != join.join_type;
    join.join_type = narrow;
    (LogicalPlan::Join(join), is_new)
}

/// The columns of each input without which its rows do not matter.
fn below(plan: &LogicalPlan, valued: &Valued) -> Vec<Valued> {
    // Columns of an input by the columns of the plan in their places.
    let renamed = |input: &LogicalPlan| -> Valued {
        let names = plan.schema().columns().into_iter().zip(input.schema().columns());
        names.filter(|(outer, _)| valued.contains(outer)).map(|(_, inner)| inner).collect()
    };
    let computed = |exprs: &[Expr]| -> Valued {
        let names = plan.schema().columns().into_iter().zip(exprs);
        names.filter(|(name, _)| valued.contains(name)).flat_map(|(_, expr)| strict(expr)).collect()
    };
    match plan {
        LogicalPlan::Filter(filter) => vec![valued | &rejecting(&filter.predicate)],
        LogicalPlan::Projection(projection) => vec![computed(&projection.expr)],
        LogicalPlan::SubqueryAlias(alias) => vec![renamed(&alias.input)],
        LogicalPlan::Union(union) => union.inputs.iter().map(|input| renamed(input)).collect(),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => vec![valued.clone()],
        LogicalPlan::Distinct(Distinct::All(_)) => vec![valued.clone()],
        LogicalPlan::Aggregate(aggregate) => {
            let sets = aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_)));
            vec![if sets { Valued::new() } else { computed(&aggregate.group_expr) }]
        }
        LogicalPlan::Join(join) => beside(join, valued),
        _ => Vec::new(),
    }
}

/// The columns of either side of a join without which its rows do not matter.
fn beside(join: &Join, valued: &Valued) -> Vec<Valued> {
    let (left, right) = compared(join);
    let of = |side: &LogicalPlan| -> Valued {
        valued.iter().filter(|column| is_in(column, side.schema())).cloned().collect()
    };
    let nothing = Valued::new;
    // Rows that are kept without a partner matter whatever they are compared with; those of the
    // other side are not seen without one.
    match join.join_type {
        JoinType::Inner => vec![&of(&join.left) | &left, &of(&join.right) | &right],
        JoinType::Left => vec![of(&join.left), right],
        JoinType::Right => vec![left, of(&join.right)],
        JoinType::LeftSemi => vec![valued | &left, right],
        JoinType::RightSemi => vec![left, valued | &right],
        JoinType::LeftAnti if !join.null_aware => vec![valued.clone(), right],
        JoinType::RightAnti if !join.null_aware => vec![left, valued.clone()],
        _ => vec![nothing(), nothing()],
    }
}

/// The columns of either side whose NULLs keep rows from having a partner.
fn compared(join: &Join) -> (Valued, Valued) {
    let (mut left, mut right) = (Valued::new(), Valued::new());
    if join.null_equality == NullEquality::NullEqualsNothing {
        left.extend(join.on.iter().flat_map(|(key, _)| strict(key)));
        right.extend(join.on.iter().flat_map(|(_, key)| strict(key)));
    }
    for column in join.filter.as_ref().map(rejecting).unwrap_or_default() {
        match (is_in(&column, join.left.schema()), is_in(&column, join.right.schema())) {
            (true, false) => _ = left.insert(column),
            (false, true) => _ = right.insert(column),
            // The sides of a test may have columns of one name.
            _ => {}
        }
    }
    (left, right)
}

/// A left or right join under a filter that only lets rows without a partner pass, as an
/// anti-join.
fn without_partner(filter: &Filter) -> Result<Option<LogicalPlan>> {
    let join = match filter.input.as_ref() {
        LogicalPlan::Join(join) => join,
        // Drops columns that nobody needs; the filter may as well come first.
        LogicalPlan::Projection(projection)
            if projection.expr.iter().all(|expr| matches!(expr, Expr::Column(_))) =>
        {
            let inside = Filter::try_new(filter.predicate.clone(), Arc::clone(&projection.input))?;
            let Some(inside) = without_partner(&inside)? else { return Ok(None) };
            let columns = projection.expr.clone();
            let projection = Projection::try_new(columns, Arc::new(inside))?;
            return Ok(Some(LogicalPlan::Projection(projection)));
        }
        _ => return Ok(None),
    };
    let (left, right) = compared(join);
    let (inner, compared, anti) = match join.join_type {
        JoinType::Left => (&join.right, right, JoinType::LeftAnti),
        JoinType::Right => (&join.left, left, JoinType::RightAnti),
        _ => return Ok(None),
    };
    let is_valued = |column: &Column| {
        is_in(column, inner.schema())
            && (compared.contains(column)
                || inner
                    .schema()
                    .maybe_index_of_column(column)
                    .is_some_and(|at| !inner.schema().field(at).is_nullable()))
    };
    let missing = |condition: &&Expr| match condition {
        Expr::IsNull(expr) => matches!(expr.as_ref(), Expr::Column(column) if is_valued(column)),
        _ => false,
    };
    let (missing, others): (Vec<&Expr>, Vec<&Expr>) =
        split_conjunction(&filter.predicate).into_iter().partition(missing);
    if missing.is_empty() {
        return Ok(None);
    }
    let (left, right) = (Arc::clone(&join.left), Arc::clone(&join.right));
    let (on, condition) = (join.on.clone(), join.filter.clone());
    let (constraint, equality) = (join.join_constraint, join.null_equality);
    let tested = Join::try_new(left, right, on, condition, anti, constraint, equality, false)?;
    let columns =
        join.schema.iter().zip(join.schema.columns()).map(|((qualifier, field), column)| {
            if is_in(&column, inner.schema()) {
                let null = ScalarValue::try_new_null(field.data_type())?;
                let null = Expr::Literal(null, Some(FieldMetadata::from(field.as_ref())));
                return Ok(null.alias_qualified(qualifier.cloned(), field.name()));
            }
            Ok(Expr::Column(column))
        });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let tested = Projection::try_new(columns, Arc::new(LogicalPlan::Join(tested)))?;
    let tested = LogicalPlan::Projection(tested);
    Ok(Some(match conjunction(others.into_iter().cloned()) {
        Some(others) => LogicalPlan::Filter(Filter::try_new(others, Arc::new(tested))?),
        None => tested,
    }))
}

/// True for a column that a schema has under exactly this name.
fn is_in(column: &Column, schema: &DFSchema) -> bool {
    schema.iter().any(|(qualifier, field)| {
        qualifier == column.relation.as_ref() && field.name() == &column.name
    })
}

/// The columns a NULL in any of which keeps a condition from being true.
fn rejecting(condition: &Expr) -> Valued {
    match condition {
        Expr::Alias(alias) => rejecting(&alias.expr),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            &rejecting(left) | &rejecting(right)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            &rejecting(left) & &rejecting(right)
        }
        Expr::IsNotNull(inner)
        | Expr::IsTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotUnknown(inner) => strict(inner),
        other => strict(other),
    }
}

/// The columns a NULL in any of which makes an expression NULL.
fn strict(expr: &Expr) -> Valued {
    let union = |exprs: &mut dyn Iterator<Item = &Expr>| exprs.flat_map(strict).collect();
    match expr {
        Expr::Column(column) => [column.clone()].into(),
        Expr::Alias(alias) => strict(&alias.expr),
        Expr::Not(inner) | Expr::Negative(inner) => strict(inner),
        Expr::Cast(cast) => strict(&cast.expr),
        Expr::TryCast(cast) => strict(&cast.expr),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.returns_null_on_null() => {
            union(&mut [left.as_ref(), right.as_ref()].into_iter())
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
            &strict(left) & &strict(right)
        }
        Expr::InList(list) if !list.list.is_empty() => strict(&list.expr),
        Expr::Between(between) => {
            let (low, high) = (strict(&between.low), strict(&between.high));
            // One bound alone may decide.
            &strict(&between.expr) | &(&low & &high)
        }
        Expr::Like(like) | Expr::SimilarTo(like) => {
            union(&mut [like.expr.as_ref(), like.pattern.as_ref()].into_iter())
        }
        Expr::ScalarFunction(call) if call.func.is_strict() => union(&mut call.args.iter()),
        _ => Valued::new(),
    }
}
