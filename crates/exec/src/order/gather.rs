//! What a tree of joins is made of: inputs, equalities, other conditions.
//!
//! Looks through inner and cross joins, semi- and anti-joins, filters between them and
//! projections that only drop columns. Everything else is an input as a whole.

use datafusion::common::NullEquality;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan};

use super::is_test;

/// The parts of a tree.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) leaves: Vec<Leaf>,
    /// Expressions that have to be equal.
    pub(super) pairs: Vec<(Expr, Expr)>,
    /// Conditions on rows of the whole.
    pub(super) conditions: Vec<Expr>,
}

/// An input of the tree.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) plan: LogicalPlan,
    /// The semi- or anti-join that the input is the right side of.
    pub(super) test: Option<Join>,
}

impl Gathered {
    /// Takes apart a plan for which [`is_tree`] holds.
    pub(super) fn new(plan: &LogicalPlan) -> Gathered {
        let mut gathered = Gathered::default();
        gathered.add(plan);
        gathered
    }

    fn add(&mut self, plan: &LogicalPlan) {
        match plan {
            LogicalPlan::Join(join) if is_transparent(join) => {
                self.add(&join.left);
                if is_test(join.join_type) {
                    let plan = join.right.as_ref().clone();
                    self.leaves.push(Leaf { plan, test: Some(join.clone()) });
                    return;
                }
                self.pairs.extend(join.on.iter().cloned());
                let filter = join.filter.iter().cloned();
                self.conditions.extend(filter.flat_map(split_conjunction_owned));
                self.add(&join.right);
            }
            LogicalPlan::Filter(filter) if is_tree(plan) => {
                self.conditions.extend(split_conjunction_owned(filter.predicate.clone()));
                self.add(&filter.input);
            }
            LogicalPlan::Projection(projection) if is_tree(plan) => self.add(&projection.input),
            other => self.leaves.push(Leaf { plan: other.clone(), test: None }),
        }
    }
}

/// True for a join that can be ordered, also under filters and projections.
pub(super) fn is_tree(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Join(join) => is_transparent(join),
        LogicalPlan::Filter(filter) => is_movable(&filter.predicate) && is_tree(&filter.input),
        LogicalPlan::Projection(projection) => {
            let columns = projection.expr.iter().all(|expr| matches!(expr, Expr::Column(_)));
            columns && is_tree(&projection.input)
        }
        _ => false,
    }
}

fn is_transparent(join: &Join) -> bool {
    let inner = join.join_type == JoinType::Inner;
    (inner || is_test(join.join_type))
        && !join.null_aware
        && (join.on.is_empty() || join.null_equality == NullEquality::NullEqualsNothing)
        && join.filter.as_ref().is_none_or(is_movable)
        && join.on.iter().all(|(left, right)| is_movable(left) && is_movable(right))
}

/// True for an expression that gives the same wherever it is computed.
fn is_movable(expr: &Expr) -> bool {
    let mut movable = !expr.is_volatile();
    let visited = expr.apply(|node| {
        let fixed = matches!(
            node,
            Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        );
        movable &= !fixed;
        Ok(if fixed { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    movable && visited.is_ok()
}
