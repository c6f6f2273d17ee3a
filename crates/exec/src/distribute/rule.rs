//! The planner rule that keeps joins where their rows already are.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};

use super::fewer::is_colocated;
use super::join::{left_may_be_copied, right_may_be_copied};
use super::unary;
use crate::leaf::{self, LeafKind};

/// Runs after `join_selection`, which knows sizes but not slices: it would broadcast a small
/// table that already lies beside its partner, or move a table that every node has.
#[derive(Debug)]
pub(crate) struct ColocatedJoins;

impl PhysicalOptimizerRule for ColocatedJoins {
    fn name(&self) -> &str {
        "ColocatedJoins"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else {
                return Ok(Transformed::no(node));
            };
            if join.null_aware {
                return Ok(Transformed::no(node));
            }
            if is_colocated(join, join.left(), join.right()) {
                if join.mode == PartitionMode::Partitioned {
                    return Ok(Transformed::no(node));
                }
                let built = join.builder().with_partition_mode(PartitionMode::Partitioned);
                return Ok(Transformed::yes(built.build_exec()?));
            }
            match prefer_replica(join)? {
                Some(join) => Ok(Transformed::yes(join)),
                None => Ok(Transformed::no(node)),
            }
        })
        .map(|transformed| transformed.data)
    }
}

/// The join with a side that every node has as the collected one, where that is right.
fn prefer_replica(join: &HashJoinExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let (left, right) = (is_replica(join.left()), is_replica(join.right()));
    if left && !right && left_may_be_copied(*join.join_type()) {
        if join.mode == PartitionMode::CollectLeft {
            return Ok(None);
        }
        let built = join.builder().with_partition_mode(PartitionMode::CollectLeft);
        return built.build_exec().map(Some);
    }
    let may_swap = right_may_be_copied(*join.join_type()) && join.join_type().supports_swap();
    if right && !left && may_swap {
        return join.swap_inputs(PartitionMode::CollectLeft).map(Some);
    }
    Ok(None)
}

/// True when every task can compute the subplan by itself from tables that every node has.
fn is_replica(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut tables = 0;
    let mut only = true;
    let walked = plan.apply(|node| {
        if node.children().is_empty() {
            let kind = leaf::kind(node.as_ref());
            only &= matches!(kind, LeafKind::Replica | LeafKind::Literal);
            tables += usize::from(kind == LeafKind::Replica);
        } else {
            only &= unary::is_row_wise(node.as_ref()) && node.fetch().is_none()
                || node.is::<HashJoinExec>();
        }
        Ok(if only { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    walked.is_ok() && only && tables > 0
}
