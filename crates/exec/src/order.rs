//! Join order: a logical rule that DataFusion lacks.
//!
//! Finds maximal trees of inner joins (with the semi-, anti- and left joins among them), estimates
//! their inputs from the catalog's statistics, lets [`joinorder`] choose the order and rebuilds
//! the tree with the built side on the left. Other joins stay where they are and get their
//! smaller side on the left. Runs once, after DataFusion's logical rules, which would undo it;
//! DataFusion's own swapping of inputs, which knows less, is turned off with it.

mod estimate;
mod gather;
mod graph;
mod rebuild;
mod reduce;
mod selectivity;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::datasource::source_as_provider;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan, Projection};
use datafusion::physical_plan::ExecutionPlan;
use joinorder::{Limits, Machine};

use crate::names;
use crate::provider::SegmentTable;
use crate::settings::Settings;

use estimate::Estimator;
pub(crate) use estimate::{Estimate, position};
use gather::Gathered;
use rebuild::Rebuild;

/// The session's setting that turns ordering off.
pub(crate) const SETTING: &str = "enable_join_reordering";
/// The session's setting that asks for some order, another one for each number but 0.
pub(crate) const SEED: &str = "join_order_seed";

/// The physical plan of an optimised statement, its joins ordered unless the session turned that
/// off, and the logical plan that it was made from.
pub(crate) async fn physical(
    mut state: SessionState,
    plan: LogicalPlan,
    machine: &Machine,
) -> Result<(Arc<dyn ExecutionPlan>, LogicalPlan)> {
    let settings = state.config().get_extension::<Settings>();
    let setting = |name| settings.as_ref().and_then(|settings| settings.get(name));
    if setting(SETTING) == Some("off") {
        let named = names::disjoint(plan.clone())?;
        let physical = state.query_planner().create_physical_plan(&named, &state).await?;
        return Ok((physical, plan));
    }
    let seed = setting(SEED).and_then(|seed| seed.parse().ok()).filter(|seed| *seed != 0);
    let plan = reorder(plan, machine, &Limits { seed, ..Limits::default() })?;
    state.config_mut().options_mut().optimizer.join_reordering = false;
    let named = names::disjoint(plan.clone())?;
    let physical = state.query_planner().create_physical_plan(&named, &state).await?;
    Ok((physical, plan))
}

/// What is known of the rows that a plan gives.
pub(crate) fn estimate(plan: &LogicalPlan) -> Estimate {
    Estimator::default().of_plan(plan)
}

/// The estimated rows of a plan's joins, inputs before what joins them, each by the names of the
/// tables that are joined.
pub(crate) fn join_rows(plan: &LogicalPlan) -> Vec<(Vec<String>, f64)> {
    let mut joins = Vec::new();
    add_joins(plan, &Estimator::default(), &mut joins);
    joins
}

fn add_joins(
    plan: &LogicalPlan,
    estimator: &Estimator,
    joins: &mut Vec<(Vec<String>, f64)>,
) -> Vec<String> {
    if let LogicalPlan::TableScan(scan) = plan {
        let provider = source_as_provider(&scan.source).ok();
        let table = provider.as_ref().and_then(|known| known.downcast_ref::<SegmentTable>());
        return table.map(|table| table.table().name.clone()).into_iter().collect();
    }
    let inputs = plan.inputs();
    let mut tables: Vec<String> =
        inputs.into_iter().flat_map(|input| add_joins(input, estimator, joins)).collect();
    if matches!(plan, LogicalPlan::Join(_)) {
        tables.sort();
        joins.push((tables.clone(), estimator.of_plan(plan).rows));
    }
    tables
}

/// The plan with its joins in the cheapest order. Names and columns of the output stay.
///
/// # Errors
/// When a plan cannot be put together again: a bug.
pub(crate) fn reorder(
    plan: LogicalPlan,
    machine: &Machine,
    limits: &Limits,
) -> Result<LogicalPlan> {
    Planner { machine, limits, estimator: Estimator::default() }.plan(plan)
}

/// The rows of an analyzed table that a scan's filters leave, and nothing for other tables.
pub(crate) fn filtered_rows(table: &SegmentTable, filters: &[Expr]) -> Option<f64> {
    table.analyzed()?;
    let arrow = table.schema();
    let schema = DFSchema::try_from(Arc::clone(&arrow)).ok()?;
    let mut rows = estimate::of_provider(Some(table), &arrow);
    selectivity::filter(&mut rows, filters, &schema);
    Some(rows.rows)
}

struct Planner<'a> {
    machine: &'a Machine,
    limits: &'a Limits,
    estimator: Estimator,
}

impl Planner<'_> {
    fn plan(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        if gather::is_tree(&plan)
            && let Some(ordered) = self.ordered(&plan)?
        {
            return Ok(ordered);
        }
        let inside = plan.map_children(|child| self.plan(child).map(Transformed::yes))?.data;
        match inside {
            LogicalPlan::Join(join) => self.oriented(join),
            other => Ok(other),
        }
    }

    /// The tree of joins at the top of the plan in the cheapest order; nothing when its parts are
    /// not told apart by their columns.
    fn ordered(&self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        let problem = |opened| graph::Problem::new(Gathered::new(plan, opened));
        let Some(mut problem) = problem(true).or_else(|| problem(false)) else {
            return Ok(None);
        };
        reduce::aggregates(&mut problem, &self.estimator);
        for leaf in &mut problem.leaves {
            leaf.plan = self.plan(std::mem::take(&mut leaf.plan))?;
        }
        let graph = problem.graph(&self.estimator);
        let order = match joinorder::order(&graph, self.machine, self.limits) {
            Ok(order) => order,
            Err(error) => {
                tracing::debug!(%error, "joins stay in the order of the statement");
                return Ok(None);
            }
        };
        tracing::debug!(cost = order.cost, rows = order.rows, exact = order.exact, "joins ordered");
        match Rebuild::new(&problem, &order).plan(Arc::clone(plan.schema())) {
            Ok(plan) => Ok(Some(plan)),
            Err(error) => {
                tracing::warn!(%error, "joins in a chosen order could not be put together");
                Ok(None)
            }
        }
    }

    /// The join with the side that is estimated smaller on the left, where hash tables are built.
    fn oriented(&self, join: Join) -> Result<LogicalPlan> {
        let swappable = join.join_type.supports_swap() && !join.null_aware;
        let larger = |join: &Join| {
            self.estimator.of_plan(&join.left).bytes() > self.estimator.of_plan(&join.right).bytes()
        };
        if !swappable || !larger(&join) {
            return Ok(LogicalPlan::Join(join));
        }
        let schema = Arc::clone(&join.schema);
        let swapped = Join::try_new(
            join.right,
            join.left,
            join.on.into_iter().map(|(left, right)| (right, left)).collect(),
            join.filter,
            join.join_type.swap(),
            join.join_constraint,
            join.null_equality,
            false,
        )?;
        let same_columns = swapped.schema.columns() == schema.columns();
        let swapped = LogicalPlan::Join(swapped);
        if same_columns {
            return Ok(swapped);
        }
        Ok(LogicalPlan::Projection(Projection::new_from_schema(Arc::new(swapped), schema)))
    }
}

/// True for the joins whose left rows are only kept or dropped.
fn is_test(join_type: JoinType) -> bool {
    matches!(join_type, JoinType::LeftSemi | JoinType::LeftAnti)
}
