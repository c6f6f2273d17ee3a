//! The columns of an outer query within its subqueries, with the types that they have now.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Subquery};

/// Gives references to outer columns the types of those columns: a rewritten outer query may have
/// others than the one that was planned.
pub(super) fn refresh(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        if node.expressions().iter().all(|expr| !has_subquery(expr)) {
            return Ok(Transformed::no(node));
        }
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let expr = expr.transform_up(|expr| {
                Ok(match expr {
                    Expr::ScalarSubquery(subquery) => {
                        Transformed::yes(Expr::ScalarSubquery(typed(subquery, &schema)?))
                    }
                    Expr::Exists(Exists { subquery, negated }) => {
                        let subquery = typed(subquery, &schema)?;
                        Transformed::yes(Expr::Exists(Exists { subquery, negated }))
                    }
                    Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                        let subquery = typed(subquery, &schema)?;
                        Transformed::yes(Expr::InSubquery(InSubquery { expr, subquery, negated }))
                    }
                    other => Transformed::no(other),
                })
            })?;
            Ok(expr.update_data(|expr| name.restore(expr)))
        })?
        .map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(plan.data)
}

fn has_subquery(expr: &Expr) -> bool {
    let is_one = |expr: &Expr| {
        matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_))
    };
    expr.exists(|expr| Ok(is_one(expr))).unwrap_or(false)
}

fn typed(subquery: Subquery, schema: &DFSchema) -> Result<Subquery> {
    if subquery.outer_ref_columns.is_empty() {
        return Ok(subquery);
    }
    let plan = subquery.subquery.as_ref().clone().transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let expr = expr.transform_up(|expr| reference(expr, schema))?;
            Ok(expr.update_data(|expr| name.restore(expr)))
        })?;
        if node.transformed { node.map_data(LogicalPlan::recompute_schema) } else { Ok(node) }
    })?;
    let outer = subquery.outer_ref_columns.iter().cloned();
    let outer = outer.map(|expr| Ok(reference(expr, schema)?.data)).collect::<Result<_>>()?;
    Ok(Subquery { outer_ref_columns: outer, ..subquery.with_plan(Arc::new(plan.data)) })
}

fn reference(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::OuterReferenceColumn(field, column) = expr else { return Ok(Transformed::no(expr)) };
    if !schema.has_column(&column) {
        return Ok(Transformed::no(Expr::OuterReferenceColumn(field, column)));
    }
    let (_, now) = Expr::Column(column.clone()).to_field(schema)?;
    let changed = now.data_type() != field.data_type();
    let expr = Expr::OuterReferenceColumn(if changed { now } else { field }, column);
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}
