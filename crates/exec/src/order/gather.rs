//! What a tree of joins is made of: inputs, equalities, other conditions.
//!
//! Looks through inner and cross joins, semi- and anti-joins, filters between them and
//! projections that only drop columns; below an inner join also through left joins, whose right
//! side then is an input that adds columns wherever its partners are. Everything else is an input
//! as a whole.

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
    /// Whether left joins are looked through.
    opened: bool,
}

/// An input of the tree.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) plan: LogicalPlan,
    /// The semi-, anti- or outer join that the input is the right side of.
    pub(super) test: Option<Join>,
}

impl Leaf {
    /// True for the inner side of an outer join, which adds columns.
    pub(super) fn extends(&self) -> bool {
        self.test.as_ref().is_some_and(|join| join.join_type == JoinType::Left)
    }
}

impl Gathered {
    /// Takes apart a plan for which [`is_tree`] holds, left joins too if they are to be
    /// `opened`.
    pub(super) fn new(plan: &LogicalPlan, opened: bool) -> Gathered {
        let mut gathered = Gathered { opened, ..Gathered::default() };
        gathered.add(plan);
        gathered
    }

    /// True for what is taken apart below the top of a tree.
    fn opens(&self, plan: &LogicalPlan) -> bool {
        is_made_of(plan, &|join| is_transparent(join) || self.opened && is_extension(join))
    }

    fn add(&mut self, plan: &LogicalPlan) {
        match plan {
            LogicalPlan::Join(join) if self.opens(plan) => {
                self.add(&join.left);
                if is_test(join.join_type) || is_extension(join) {
                    let plan = join.right.as_ref().clone();
                    self.leaves.push(Leaf { plan, test: Some(join.clone()) });
                    return;
                }
                self.pairs.extend(join.on.iter().cloned());
                let filter = join.filter.iter().cloned();
                self.conditions.extend(filter.flat_map(split_conjunction_owned));
                self.add(&join.right);
            }
            LogicalPlan::Filter(filter) if self.opens(plan) => {
                self.conditions.extend(split_conjunction_owned(filter.predicate.clone()));
                self.add(&filter.input);
            }
            LogicalPlan::Projection(projection) if self.opens(plan) => self.add(&projection.input),
            other => self.leaves.push(Leaf { plan: other.clone(), test: None }),
        }
    }
}

/// True for a join that can be ordered, also under filters and projections.
pub(super) fn is_tree(plan: &LogicalPlan) -> bool {
    is_made_of(plan, &is_transparent)
}

/// True for a join of a kind, also under filters and projections.
fn is_made_of(plan: &LogicalPlan, kind: &dyn Fn(&Join) -> bool) -> bool {
    match plan {
        LogicalPlan::Join(join) => kind(join),
        LogicalPlan::Filter(filter) => {
            is_movable(&filter.predicate) && is_made_of(&filter.input, kind)
        }
        LogicalPlan::Projection(projection) => {
            let columns = projection.expr.iter().all(|expr| matches!(expr, Expr::Column(_)));
            columns && is_made_of(&projection.input, kind)
        }
        _ => false,
    }
}

fn is_transparent(join: &Join) -> bool {
    let inner = join.join_type == JoinType::Inner;
    (inner || is_test(join.join_type)) && has_movable_conditions(join)
}

/// True for a left join whose right side may be joined before or after other inputs.
fn is_extension(join: &Join) -> bool {
    join.join_type == JoinType::Left && !join.on.is_empty() && has_movable_conditions(join)
}

fn has_movable_conditions(join: &Join) -> bool {
    !join.null_aware
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
