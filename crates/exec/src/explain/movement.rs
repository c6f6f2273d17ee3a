//! What a join moves: the DS_ labels, read off the divided plan.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode, SortMergeJoinExec};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};
use datafusion_distributed::{
    DistributedLeafExec, NetworkBroadcastExec, NetworkCoalesceExec, NetworkShuffleExec,
};

use crate::distribute::Plan;
use crate::distribute::unary::is_row_wise;
use crate::leaf::{self, LeafKind};

/// How one side of a join comes to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Where it was.
    Stays,
    /// Every node has it.
    Everywhere,
    /// Moved to the slices of the join key.
    Distributed,
    /// Copied to every node.
    Broadcast,
    /// All of it in one place.
    Gathered,
}

/// Redshift's label for a join.
pub(super) fn label(join: &Plan) -> &'static str {
    let children = join.children();
    let [left, right] = children[..] else {
        return "DS_DIST_NONE";
    };
    let collects =
        join.downcast_ref::<HashJoinExec>().map_or(!join.is::<SortMergeJoinExec>(), |join| {
            *join.partition_mode() == PartitionMode::CollectLeft
        });
    let inner_is_left = !join.is::<SortMergeJoinExec>();
    let (inner, outer) = if inner_is_left { (left, right) } else { (right, left) };
    match (side(inner, collects), side(outer, false)) {
        (Side::Broadcast, _) => "DS_BCAST_INNER",
        (Side::Distributed, Side::Distributed) => "DS_DIST_BOTH",
        (Side::Distributed, _) => "DS_DIST_INNER",
        (_, Side::Distributed) => "DS_DIST_OUTER",
        (_, Side::Broadcast) => "DS_BCAST_OUTER",
        (Side::Gathered, Side::Everywhere) => "DS_DIST_ALL_INNER",
        (Side::Everywhere, _) | (_, Side::Everywhere) => "DS_DIST_ALL_NONE",
        _ => "DS_DIST_NONE",
    }
}

fn side(plan: &Plan, collected: bool) -> Side {
    if plan.is::<NetworkBroadcastExec>() {
        return Side::Broadcast;
    }
    if plan.is::<NetworkShuffleExec>() {
        return Side::Distributed;
    }
    if plan.is::<NetworkCoalesceExec>() {
        return Side::Gathered;
    }
    if everywhere(plan) {
        return Side::Everywhere;
    }
    if let Some(repartition) = plan.downcast_ref::<RepartitionExec>() {
        // Between the slices of a node.
        return match repartition.partitioning() {
            Partitioning::Hash(..) => Side::Distributed,
            _ => side(repartition.input(), collected),
        };
    }
    if let Some(coalesce) = plan.downcast_ref::<CoalescePartitionsExec>() {
        let below = side(coalesce.input(), false);
        let several = coalesce.input().output_partitioning().partition_count() > 1;
        return if collected && below == Side::Stays && several { Side::Broadcast } else { below };
    }
    if is_row_wise(plan.as_ref()) || plan.is::<SortExec>() {
        return plan.children().first().map_or(Side::Stays, |child| side(child, collected));
    }
    Side::Stays
}

/// True for rows that come from tables which every node has.
fn everywhere(plan: &Plan) -> bool {
    let mut tables = 0;
    let mut only = true;
    let walked = plan.apply(|node| {
        if node.children().is_empty() {
            let kind = match node.downcast_ref::<DistributedLeafExec>() {
                Some(_) => LeafKind::Sliced,
                None => leaf::kind(node.as_ref()),
            };
            only &= matches!(kind, LeafKind::Replica | LeafKind::Literal);
            tables += usize::from(kind == LeafKind::Replica);
        }
        Ok(if only { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    walked.is_ok() && only && tables > 0
}

/// Rows that the inputs of a node bring over the network.
pub(super) fn moved_rows(plan: &Plan) -> f64 {
    let moved = |child: &&Plan| {
        let kind = side(child, false);
        let copies = matches!(kind, Side::Broadcast | Side::Distributed);
        if copies { super::rows(child) } else { 0.0 }
    };
    if plan.is::<NetworkCoalesceExec>() {
        return super::rows(plan);
    }
    plan.children().iter().map(moved).sum()
}

/// True for a boundary that rows cross between compute nodes or to the leader.
pub(super) fn is_boundary(plan: &dyn ExecutionPlan) -> bool {
    plan.is::<NetworkBroadcastExec>()
        || plan.is::<NetworkShuffleExec>()
        || plan.is::<NetworkCoalesceExec>()
}
