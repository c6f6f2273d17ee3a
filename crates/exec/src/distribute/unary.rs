//! Nodes with one input: which of them work partition by partition.

use base::{Error, Result};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::partial_sort::PartialSortExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{Distribution, ExecutionPlan};

use super::stage::StageOutputExec;
use super::{Cutter, Locus, Placed, Plan, with_children};
use crate::change::{ChangeExec, MergeDeletesExec};
use crate::write::{EvenSliceExec, SegmentWriteExec};

/// True for a node whose output partition depends on the same input partition alone.
pub(crate) fn is_partition_wise(plan: &dyn ExecutionPlan) -> bool {
    is_row_wise(plan)
        || plan.is::<AggregateExec>()
        || plan.is::<SortExec>()
        || plan.is::<PartialSortExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<WindowAggExec>()
        || plan.is::<BoundedWindowAggExec>()
        || plan.is::<EvenSliceExec>()
        || ["PartitionedTopKExec", "AsyncFuncExec", "BufferExec"].contains(&plan.name())
}

/// True for a node that treats each row by itself.
pub(crate) fn is_row_wise(plan: &dyn ExecutionPlan) -> bool {
    plan.is::<FilterExec>()
        || plan.is::<ProjectionExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<UnnestExec>()
        || plan.is::<StageOutputExec>()
        || plan.name() == "CoalesceBatchesExec"
}

/// True when two runs over the same rows could differ.
fn is_volatile(plan: &dyn ExecutionPlan) -> bool {
    let mut volatile = false;
    let walked = plan.apply_expressions(&mut |expr| {
        volatile |= datafusion::physical_expr_common::physical_expr::is_volatile(expr);
        Ok(TreeNodeRecursion::Continue)
    });
    volatile || walked.is_err() || plan.fetch().is_some()
}

/// Rows that are computed once and then copied, never computed by several tasks.
pub(crate) fn unstable(placed: Placed) -> Placed {
    let locus = if placed.locus == Locus::Replica { Locus::Single } else { placed.locus };
    Placed { locus, stable: false, ..placed }
}

impl Cutter {
    /// A write runs where its slices are; it is never copied and never runs on the leader.
    fn place_write(&self, plan: &Plan, write: &SegmentWriteExec, child: Placed) -> Result<Placed> {
        if write.spec().replica || self.layout.tasks() == 1 {
            let child = self.ship(self.gather(child)?)?;
            let plan = with_children(plan, vec![child])?;
            return Ok(Placed { plan, locus: Locus::Single, reads: true, stable: false });
        }
        let Some(child) = self.to_sliced(&child)? else {
            return Err(Error::internal("rows to write cannot be divided over slices"));
        };
        let plan = with_children(plan, vec![child])?;
        Ok(Placed { plan, locus: Locus::Sliced, reads: true, stable: false })
    }

    /// A change is made where its rows are; it is never copied and never runs on the leader.
    fn place_change(&self, plan: &Plan, writes: bool, child: Placed) -> Result<Placed> {
        let child = match child.locus {
            Locus::Sliced => child,
            // Rows of several slices in one task belong to other nodes.
            _ if writes && self.layout.tasks() > 1 => {
                let Some(child) = self.to_sliced(&child)? else {
                    return Err(Error::internal("changed rows cannot be divided over slices"));
                };
                child
            }
            _ => self.ship(child)?,
        };
        let locus = if child.locus == Locus::Sliced { Locus::Sliced } else { Locus::Single };
        let plan = with_children(plan, vec![child])?;
        Ok(Placed { plan, locus, reads: true, stable: false })
    }

    pub(crate) fn place_unary(&self, plan: &Plan, child: Placed) -> Result<Placed> {
        if let Some(write) = plan.downcast_ref::<SegmentWriteExec>() {
            return self.place_write(plan, write, child);
        }
        if let Some(change) = plan.downcast_ref::<ChangeExec>() {
            return match change.spec() {
                Some(spec) if spec.replica => self.place_change(plan, false, self.gather(child)?),
                spec => self.place_change(plan, spec.is_some(), child),
            };
        }
        if plan.is::<MergeDeletesExec>() {
            return self.place_change(plan, false, child);
        }
        if !is_partition_wise(plan.as_ref()) {
            return self.place_unknown(plan, vec![child]);
        }
        if child.locus != Locus::Sliced {
            let stable = is_row_wise(plan.as_ref()) && !is_volatile(plan.as_ref());
            let placed = self.combine(plan, vec![child])?;
            return Ok(if stable { placed } else { unstable(placed) });
        }
        let single = plan
            .input_distribution_requirements()
            .into_per_child()
            .first()
            .is_some_and(|required| matches!(required, Distribution::SinglePartition));
        if single {
            return Err(Error::internal(format!(
                "{} needs all rows in one partition and got them divided over slices",
                plan.name()
            )));
        }
        let reads = child.reads;
        let plan = with_children(plan, vec![child])?;
        Ok(Placed { plan, locus: Locus::Sliced, reads, stable: false })
    }
}
