//! The one row of an aggregate without groups stays one row.
//!
//! DataFusion moves a filter below an aggregate when all columns of the filter are groups, which
//! is true of a filter without columns: `SELECT … FROM (SELECT 'x' AS kind, sum(k) FROM t) WHERE
//! kind = 'y'` would then give the sum of no rows instead of no row. [`LoneRow`] puts a limit of
//! one row, which filters are not moved through, between such an aggregate and a node that could
//! make a filter lose its columns.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::AnalyzerRule;

/// The rule.
#[derive(Debug)]
pub(crate) struct LoneRow;

impl AnalyzerRule for LoneRow {
    fn name(&self) -> &str {
        "lone_row"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let guarded = plan.transform_up_with_subqueries(|node| {
            let constant = |expr: &&Expr| !expr.any_column_refs() && !expr.contains_outer();
            let drops_columns = match &node {
                LogicalPlan::Projection(projection) => projection.expr.iter().any(|e| constant(&e)),
                LogicalPlan::Filter(filter) => {
                    split_conjunction(&filter.predicate).iter().any(constant)
                }
                _ => false,
            };
            if !drops_columns || !node.inputs().into_iter().any(is_lone) {
                return Ok(Transformed::no(node));
            }
            node.map_children(|input| {
                if !is_lone(&input) {
                    return Ok(Transformed::no(input));
                }
                let input = Arc::new(input);
                LogicalPlanBuilder::from(input).limit(0, Some(1))?.build().map(Transformed::yes)
            })
        });
        guarded.map(|guarded| guarded.data)
    }
}

/// True for an aggregate without groups, also under filters of its results, that does not hang on
/// rows of an outer query.
fn is_lone(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.group_expr.is_empty() && plan.all_out_ref_exprs().is_empty()
        }
        LogicalPlan::Filter(filter) => is_lone(&filter.input),
        _ => false,
    }
}
