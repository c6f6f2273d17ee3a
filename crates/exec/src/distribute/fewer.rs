//! Rows that lie by fewer keys than an operator asks for.
//!
//! Rows that agree in all keys of a join agree in each of them, so tables placed by one of these
//! keys lie together already. DataFusion wants both sides of a join divided by all of its keys,
//! and moves them; here, after it, what need not move stays where it is.
//!
//! <https://docs.aws.amazon.com/redshift/latest/dg/c_data_redistribution.html>

use std::sync::Arc;

use base::{Error, Result};
use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::Aggregate;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Distribution, Partitioning, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::combine_partial_final_agg::CombinePartialFinalAggregate;
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode, SortMergeJoinExec,
};
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::UnionExec;

use super::Plan;
use crate::error::from_datafusion;

type Key = Arc<dyn PhysicalExpr>;

/// The plan without the moves that the rows' places make needless.
///
/// # Errors
/// When a plan cannot be put together again: a bug.
pub(crate) fn without_needless_moves(plan: Plan, config: &ConfigOptions) -> Result<Plan> {
    let settled = settle(&plan)?;
    if Arc::ptr_eq(&settled, &plan) {
        return Ok(plan);
    }
    // Where a move went between two stages of an aggregate, one stage is enough.
    CombinePartialFinalAggregate::new().optimize(settled, config).map_err(from_datafusion)
}

fn settle(plan: &Plan) -> Result<Plan> {
    // Sides of a merge join have an order that a move would lose; a recursive query runs whole.
    if plan.children().is_empty()
        || plan.is::<SortMergeJoinExec>()
        || plan.is::<RecursiveQueryExec>()
    {
        return Ok(Arc::clone(plan));
    }
    let old = plan.children();
    let mut children = old.iter().map(|child| settle(child)).collect::<Result<Vec<_>>>()?;
    if let Some(repartition) = plan.downcast_ref::<RepartitionExec>()
        && let [input] = &children[..]
        && is_needless(repartition, input)
    {
        return Ok(Arc::clone(input));
    }
    let partitioned = plan
        .downcast_ref::<HashJoinExec>()
        .filter(|join| join.mode == PartitionMode::Partitioned && !join.null_aware);
    if let Some(join) = partitioned {
        children = joined(join, children)?;
    } else if children.len() > 1 && !takes_any_places(plan) {
        for (child, old) in children.iter_mut().zip(&old) {
            restore(child, old.output_partitioning())?;
        }
    }
    if children.iter().zip(&old).all(|(child, old)| Arc::ptr_eq(child, old)) {
        return Ok(Arc::clone(plan));
    }
    super::rebuild(plan, children)
}

/// True for nodes with several inputs that ask nothing of how one is divided beside another.
fn takes_any_places(plan: &Plan) -> bool {
    plan.downcast_ref::<HashJoinExec>().is_some_and(|join| join.mode == PartitionMode::CollectLeft)
        || plan.is::<NestedLoopJoinExec>()
        || plan.is::<CrossJoinExec>()
        || plan.is::<UnionExec>()
}

fn restore(child: &mut Plan, old: &Partitioning) -> Result<()> {
    let (Some((before, partitions)), Some((now, _))) =
        (hash(old), hash(child.output_partitioning()))
    else {
        return Ok(());
    };
    if before != now {
        *child = moved(child, before.clone(), partitions)?;
    }
    Ok(())
}

/// True when rows that agree in the keys of the move are in one partition without it.
///
/// Whoever needs them together by these keys has them so. Who joins partitions with those of
/// another input divides them again.
fn is_needless(repartition: &RepartitionExec, input: &Plan) -> bool {
    let Some((wanted, partitions)) = hash(repartition.partitioning()) else {
        return false;
    };
    let Some((keys, found)) = hash(input.output_partitioning()) else {
        return false;
    };
    // The columns of a grouping set are NULL where it leaves them out, whatever they were.
    let grouping_set = wanted.iter().any(|key| {
        let column = key.downcast_ref::<Column>();
        column.is_some_and(|column| column.name() == Aggregate::INTERNAL_GROUPING_ID)
    });
    found == partitions
        && !repartition.preserve_order()
        && !grouping_set
        && keys.iter().all(|key| wanted.contains(key))
}

/// The inputs of a partitioned join with as few moves as it takes.
fn joined(join: &HashJoinExec, children: Vec<Plan>) -> Result<Vec<Plan>> {
    let [left, right] = &children[..] else {
        return Err(Error::internal("a join has two inputs"));
    };
    let (left_base, right_base) = (unmoved(left), unmoved(right));
    if is_colocated(join, left_base, right_base) {
        return Ok(vec![Arc::clone(left_base), Arc::clone(right_base)]);
    }
    let partitions = right.output_partitioning().partition_count();
    if partitions < 2 || left.output_partitioning().partition_count() != partitions {
        return Ok(children);
    }
    let (left_keys, right_keys): (Vec<Key>, Vec<Key>) = join.on().iter().cloned().unzip();
    // The right side, which is looked up in the left one, is mostly the larger.
    if let Some(keys) = partners(right_base, left_base, &right_keys, &left_keys, partitions) {
        return Ok(vec![again(left, keys, partitions)?, Arc::clone(right_base)]);
    }
    if let Some(keys) = partners(left_base, right_base, &left_keys, &right_keys, partitions) {
        return Ok(vec![Arc::clone(left_base), again(right, keys, partitions)?]);
    }
    Ok(vec![divided(left, left_keys, partitions)?, divided(right, right_keys, partitions)?])
}

/// True when both sides are divided by hashes of the same pairs of join keys, of the same types.
pub(crate) fn is_colocated(join: &HashJoinExec, left_side: &Plan, right_side: &Plan) -> bool {
    let Some((keys, slices)) = hash(right_side.output_partitioning()) else {
        return false;
    };
    let Some((others, partitions)) = hash(left_side.output_partitioning()) else {
        return false;
    };
    let (left_schema, right_schema) = (left_side.schema(), right_side.schema());
    slices == partitions
        && slices > 1
        && keys.len() == others.len()
        && others.iter().zip(keys).all(|(left, right)| {
            let types = (left.data_type(&left_schema), right.data_type(&right_schema));
            join.on().iter().any(|(l, r)| same(left_side, l, left) && same(right_side, r, right))
                && matches!(types, (Ok(l), Ok(r)) if l == r)
        })
}

/// True for expressions over `plan` that are equal in every row.
fn same(plan: &Plan, a: &Key, b: &Key) -> bool {
    let equal = plan.equivalence_properties().eq_group();
    a == b || equal.normalize_expr(Arc::clone(a)) == equal.normalize_expr(Arc::clone(b))
}

/// What the rows of `other` have to be divided by to lie beside those of `side`, when these lie
/// in so many partitions by some of the keys.
fn partners(
    side: &Plan,
    other: &Plan,
    side_keys: &[Key],
    other_keys: &[Key],
    partitions: usize,
) -> Option<Vec<Key>> {
    let (keys, found) = hash(side.output_partitioning())?;
    let (schema, other_schema) = (side.schema(), other.schema());
    let partner = |key: &Key| {
        let data_type = key.data_type(&schema).ok()?;
        let same_type = |other: &Key| {
            other.data_type(&other_schema).is_ok_and(|other_type| other_type == data_type)
        };
        let mut pairs = side_keys.iter().zip(other_keys);
        pairs
            .find(|(own, other)| same(side, own, key) && same_type(other))
            .map(|(_, other)| other.clone())
    };
    (found == partitions).then(|| keys.iter().map(partner).collect())?
}

/// What a move gets, when that is divided by a hash too.
fn unmoved(plan: &Plan) -> &Plan {
    let Some(repartition) = plan.downcast_ref::<RepartitionExec>() else {
        return plan;
    };
    if repartition.preserve_order() || hash(repartition.partitioning()).is_none() {
        return plan;
    }
    repartition.input()
}

fn moved(plan: &Plan, keys: Vec<Key>, partitions: usize) -> Result<Plan> {
    let partitioning = Partitioning::Hash(keys, partitions);
    let repartition = RepartitionExec::try_new(Arc::clone(plan), partitioning);
    Ok(Arc::new(repartition.map_err(from_datafusion)?))
}

/// The side of a join moved by other keys than it was, if it was.
fn again(plan: &Plan, keys: Vec<Key>, partitions: usize) -> Result<Plan> {
    match hash(plan.output_partitioning()) {
        Some((found, _)) if *found == keys => Ok(Arc::clone(plan)),
        _ => moved(unmoved(plan), keys, partitions),
    }
}

/// The side of a join divided by all of its keys.
fn divided(plan: &Plan, keys: Vec<Key>, partitions: usize) -> Result<Plan> {
    let required = Distribution::KeyPartitioned(keys.clone());
    let equal = plan.equivalence_properties();
    if plan.output_partitioning().satisfaction(&required, equal, false).is_satisfied() {
        return Ok(Arc::clone(plan));
    }
    moved(unmoved(plan), keys, partitions)
}

fn hash(partitioning: &Partitioning) -> Option<(&Vec<Key>, usize)> {
    match partitioning {
        Partitioning::Hash(keys, partitions) if !keys.is_empty() => Some((keys, *partitions)),
        _ => None,
    }
}
