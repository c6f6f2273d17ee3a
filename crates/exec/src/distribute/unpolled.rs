//! Dynamic filters that could wait for ever.
//!
//! DataFusion's hash join that collects its build side publishes its dynamic filter when every
//! partition has reported, and each partition waits for that. Above it, a partitioned join whose
//! build side is empty in one partition ends that partition without polling what is below: the
//! report never comes, and the other partitions wait for ever. Such joins lose their filter; ours,
//! which publish as soon as the build side is there, keep it.

use std::sync::Arc;

use base::Result;
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode, SortMergeJoinExec};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;

use super::Plan;
use crate::error::from_datafusion;

/// The plan without the filters that could block it; `publishes_at_once` tells the joins that
/// wait for nobody where they run.
pub(crate) fn without_blocking_filters(
    plan: &Plan,
    publishes_at_once: &dyn Fn(&Plan) -> bool,
) -> Result<Plan> {
    strip(plan, false, publishes_at_once)
}

/// `may_stop`: some partitions of `plan` may end without being polled while others go on.
fn strip(plan: &Plan, may_stop: bool, publishes_at_once: &dyn Fn(&Plan) -> bool) -> Result<Plan> {
    let children = plan.children();
    let polled: Vec<bool> = match plan.downcast_ref::<HashJoinExec>() {
        Some(join) if join.mode == PartitionMode::Partitioned => vec![may_stop, true],
        Some(_) => vec![false, may_stop],
        None if polls_all(plan) => vec![false; children.len()],
        None if plan.is::<SortMergeJoinExec>() => vec![true; children.len()],
        None => vec![may_stop; children.len()],
    };
    let mut changed = false;
    let mut fresh = Vec::with_capacity(children.len());
    for (child, may_stop) in children.into_iter().zip(polled) {
        let stripped = strip(child, may_stop, publishes_at_once)?;
        changed |= !Arc::ptr_eq(child, &stripped);
        fresh.push(stripped);
    }
    let plan = if changed { super::rebuild(plan, fresh)? } else { Arc::clone(plan) };
    let blocking = may_stop
        && plan.output_partitioning().partition_count() > 1
        && plan
            .downcast_ref::<HashJoinExec>()
            .is_some_and(|join| join.mode == PartitionMode::CollectLeft)
        && !publishes_at_once(&plan);
    if blocking { plan.reset_state().map_err(from_datafusion) } else { Ok(plan) }
}

/// True for operators that read every partition below whatever happens above.
fn polls_all(plan: &Plan) -> bool {
    plan.is::<CoalescePartitionsExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<RepartitionExec>()
}
