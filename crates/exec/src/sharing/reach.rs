//! How much of a subplan its place in the statement needs.
//!
//! A join hands the values that one side has down to the scans of the other. What a subplan would
//! read where it stands is then far less than all that it reads when its rows are to serve several
//! places.

use datafusion::common::JoinType;
use datafusion::logical_expr::{Distinct, Expr, Join, LogicalPlan};

use crate::order;

/// The part of the rows of the node number `at` from the top down that joins above it ask for.
pub(super) fn part_of(plan: &LogicalPlan, at: usize) -> f64 {
    Walk { at, next: 0 }.visit(plan).map_or(1.0, |reached| reached.part)
}

/// What is known at a node above the one that is looked for.
struct Reached {
    part: f64,
    /// For each column of the node whether a condition on it goes down to the scans.
    open: Vec<bool>,
}

struct Walk {
    at: usize,
    next: usize,
}

impl Walk {
    /// Nothing for a plan without the node.
    fn visit(&mut self, plan: &LogicalPlan) -> Option<Reached> {
        let here = self.next;
        self.next += 1;
        if here == self.at {
            let columns = 0..plan.schema().fields().len();
            return Some(Reached {
                part: 1.0,
                open: columns.map(|at| is_open(plan, at)).collect(),
            });
        }
        let mut found = None;
        for (side, input) in plan.inputs().into_iter().enumerate() {
            if let Some(reached) = self.visit(input) {
                found = Some((side, reached));
            }
        }
        found.map(|(side, reached)| above(plan, side, reached))
    }
}

/// What is known at `plan`, whose input number `side` has the node.
fn above(plan: &LogicalPlan, side: usize, below: Reached) -> Reached {
    let Reached { part, open } = below;
    match plan {
        LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Distinct(Distinct::All(_)) => Reached { part, open },
        LogicalPlan::Projection(projection) => {
            let from = projection.input.schema();
            let open = projection.expr.iter().map(|expr| {
                let at = order::position(expr, from);
                at.and_then(|at| open.get(at).copied()).unwrap_or(false)
            });
            Reached { part, open: open.collect() }
        }
        LogicalPlan::Join(join) => across(join, side, Reached { part, open }),
        other => Reached { part, open: vec![false; other.schema().fields().len()] },
    }
}

/// What is known above a join of which one side has the node.
fn across(join: &Join, side: usize, below: Reached) -> Reached {
    let Reached { part, open } = below;
    let (own, other) = match side {
        0 => (&join.left, &join.right),
        _ => (&join.right, &join.left),
    };
    let columns = join.schema.fields().len();
    let first = |side| {
        if side == 0 { 0 } else { columns.saturating_sub(join.right.schema().fields().len()) }
    };
    let mut above = vec![false; columns];
    let places = above.iter_mut().skip(first(side));
    places.zip(&open).for_each(|(above, open)| *above = *open);
    let is_asked = match join.join_type {
        JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => true,
        JoinType::Left | JoinType::LeftAnti | JoinType::LeftMark => side == 1,
        JoinType::Right | JoinType::RightAnti | JoinType::RightMark => side == 0,
        JoinType::Full => false,
    };
    if !is_asked {
        return Reached { part, open: above };
    }
    let known = order::estimate(other);
    let mut kept: f64 = 1.0;
    for (left, right) in &join.on {
        let (key, with) = if side == 0 { (left, right) } else { (right, left) };
        let at = order::position(key, own.schema());
        if !at.and_then(|at| open.get(at).copied()).unwrap_or(false) {
            continue;
        }
        kept = kept.min(known.kept_values(with, other.schema()));
        // What further joins ask of the one is asked of the other.
        if join.join_type == JoinType::Inner
            && let Some(with) = order::position(with, other.schema())
            && let Some(above) = above.get_mut(first(1 - side) + with)
        {
            *above = true;
        }
    }
    Reached { part: part * kept, open: above }
}

/// True when a condition on the column goes down to scans.
fn is_open(plan: &LogicalPlan, at: usize) -> bool {
    let within = |input: &LogicalPlan, expr: &Expr| {
        order::position(expr, input.schema()).is_some_and(|at| is_open(input, at))
    };
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Filter(filter) => is_open(&filter.input, at),
        LogicalPlan::Sort(sort) => sort.fetch.is_none() && is_open(&sort.input, at),
        LogicalPlan::SubqueryAlias(alias) => is_open(&alias.input, at),
        LogicalPlan::Distinct(Distinct::All(input)) => is_open(input, at),
        LogicalPlan::Projection(projection) => {
            projection.expr.get(at).is_some_and(|expr| within(&projection.input, expr))
        }
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.group_expr.get(at).is_some_and(|expr| within(&aggregate.input, expr))
        }
        LogicalPlan::Union(union) => union.inputs.iter().all(|input| is_open(input, at)),
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            match join.join_type {
                JoinType::Inner => match at.checked_sub(left) {
                    Some(at) => is_open(&join.right, at),
                    None => is_open(&join.left, at),
                },
                JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => {
                    at < left && is_open(&join.left, at)
                }
                _ => false,
            }
        }
        _ => false,
    }
}
