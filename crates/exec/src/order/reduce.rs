//! Groups that no other input asks for are not computed.
//!
//! An aggregate that is joined by one of its groups' columns gives rows in vain wherever the
//! other inputs have no such value. When one of them is a filtered table with few of the values,
//! a semi-join with that table goes below the aggregate ("magic sets", Mumick et al. 1990): a
//! group stays or goes as a whole, so that those which stay are the same. Where the aggregate is
//! the inner side of a semi- or anti-join, rows whose group is missing are dropped by the other
//! join at any rate.

use std::sync::Arc;

use datafusion::common::{Column, NullEquality, Result};
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, Filter, Join, JoinConstraint, JoinType, LogicalPlan,
    Projection, SubqueryAlias,
};

use super::estimate::Estimator;
use super::graph::Problem;

/// What the copy of a table that tells values is called.
const NAME: &str = "asked_for";
/// Groups are kept when the other input asks for more than this part of them.
const KEPT_MOST: f64 = 0.2;
/// The other input is read once more, so that it has to be so many times smaller.
const SMALLER: f64 = 2.0;

/// Puts semi-joins below the aggregates among a tree's inputs.
pub(super) fn aggregates(problem: &mut Problem, estimator: &Estimator) {
    for at in 0..problem.leaves.len() {
        let Some((column, asking)) = best(problem, at, estimator) else { continue };
        match below(&problem.leaves[at].plan, &column, &asking) {
            Ok(Some(plan)) => problem.leaves[at].plan = plan,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "groups could not be reduced"),
        }
    }
}

/// An input that tells which values of a column are asked for.
struct Asking {
    plan: LogicalPlan,
    column: Column,
}

/// The column of a grouped input and the input that asks for the least part of its values.
fn best(problem: &Problem, at: usize, estimator: &Estimator) -> Option<(Column, Asking)> {
    let leaf = &problem.leaves[at];
    let aggregate = grouped(&leaf.plan)?;
    let grouped_rows = estimator.of_plan(&aggregate.input).rows;
    let mut found: Option<(f64, Column, Asking)> = None;
    for (own, other) in problem.equal_columns(at) {
        let (Expr::Column(column), (asking, Expr::Column(key))) = (own, other) else { continue };
        let plan = &problem.leaves[asking].plan;
        let types = (own.get_type(leaf.plan.schema()), key_type(key, plan));
        if !is_one_table(plan) || !matches!(types, (Ok(l), Some(r)) if l == r) {
            continue;
        }
        let (own_values, values) = (estimator.of_plan(&leaf.plan), estimator.of_plan(plan));
        let all = own_values.of(own, leaf.plan.schema()).domain.max(1.0);
        let kept = values.of(&Expr::Column(key.clone()), plan.schema()).distinct / all;
        let small = values.unfiltered * SMALLER <= grouped_rows;
        if small && kept <= KEPT_MOST && found.as_ref().is_none_or(|(least, ..)| kept < *least) {
            let asking = Asking { plan: plan.clone(), column: key.clone() };
            found = Some((kept, column.clone(), asking));
        }
    }
    found.map(|(_, column, asking)| (column, asking))
}

/// The type of a column by which rows may be told apart: zeros of either sign are equal and yet
/// make two groups.
fn key_type(key: &Column, plan: &LogicalPlan) -> Option<arrow_schema::DataType> {
    let at = plan.schema().maybe_index_of_column(key)?;
    let data_type = plan.schema().field(at).data_type();
    (!data_type.is_floating()).then(|| data_type.clone())
}

/// The aggregate that gives a plan's rows.
fn grouped(plan: &LogicalPlan) -> Option<&Aggregate> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => Some(aggregate),
        LogicalPlan::SubqueryAlias(alias) => grouped(&alias.input),
        LogicalPlan::Projection(projection) => grouped(&projection.input),
        LogicalPlan::Filter(filter) => grouped(&filter.input),
        _ => None,
    }
}

/// True for the rows of one table, which cost little to read again and are the same then.
fn is_one_table(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => scan.fetch.is_none(),
        LogicalPlan::SubqueryAlias(alias) => is_one_table(&alias.input),
        LogicalPlan::Projection(projection) => {
            !projection.expr.iter().any(Expr::is_volatile) && is_one_table(&projection.input)
        }
        LogicalPlan::Filter(filter) => {
            !filter.predicate.is_volatile() && is_one_table(&filter.input)
        }
        _ => false,
    }
}

/// The plan with only those groups whose `column` is asked for; nothing when the column is not
/// one of the aggregate's groups.
fn below(plan: &LogicalPlan, column: &Column, asking: &Asking) -> Result<Option<LogicalPlan>> {
    let Some(at) = plan.schema().maybe_index_of_column(column) else { return Ok(None) };
    let inside = |input: &LogicalPlan| {
        below(input, &Column::from(input.schema().qualified_field(at)), asking)
    };
    Ok(match plan {
        LogicalPlan::Filter(filter) => match inside(&filter.input)? {
            Some(input) => {
                let filter = Filter::try_new(filter.predicate.clone(), Arc::new(input))?;
                Some(LogicalPlan::Filter(filter))
            }
            None => None,
        },
        LogicalPlan::SubqueryAlias(alias) => match inside(&alias.input)? {
            Some(input) => {
                let alias = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
                Some(LogicalPlan::SubqueryAlias(alias))
            }
            None => None,
        },
        LogicalPlan::Projection(projection) => {
            let Some(column) = plain(&projection.expr[at]) else { return Ok(None) };
            match below(&projection.input, column, asking)? {
                Some(input) => Some(LogicalPlan::Projection(Projection::try_new_with_schema(
                    projection.expr.clone(),
                    Arc::new(input),
                    Arc::clone(&projection.schema),
                )?)),
                None => None,
            }
        }
        LogicalPlan::Aggregate(aggregate) => reduced(aggregate, at, asking)?,
        _ => None,
    })
}

fn plain(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => plain(&alias.expr),
        _ => None,
    }
}

fn reduced(aggregate: &Aggregate, at: usize, asking: &Asking) -> Result<Option<LogicalPlan>> {
    let sets = aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_)));
    let Some(group) = aggregate.group_expr.get(at).filter(|_| !sets) else { return Ok(None) };
    if group.is_volatile() {
        return Ok(None);
    }
    let values = Expr::Column(asking.column.clone());
    let values = Projection::try_new(vec![values], Arc::new(asking.plan.clone()))?;
    let values = SubqueryAlias::try_new(Arc::new(LogicalPlan::Projection(values)), NAME)?;
    let key = Column::new(Some(NAME), asking.column.name.clone());
    let join = Join::try_new(
        Arc::clone(&aggregate.input),
        Arc::new(LogicalPlan::SubqueryAlias(values)),
        vec![(group.clone(), Expr::Column(key))],
        None,
        JoinType::LeftSemi,
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    )?;
    let aggregate = Aggregate::try_new_with_schema(
        Arc::new(LogicalPlan::Join(join)),
        aggregate.group_expr.clone(),
        aggregate.aggr_expr.clone(),
        Arc::clone(&aggregate.schema),
    )?;
    Ok(Some(LogicalPlan::Aggregate(aggregate)))
}
