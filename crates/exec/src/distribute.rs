//! Dividing a plan over the compute nodes.
//!
//! The planner makes a plan as for one machine with one partition per slice. [`distribute`] cuts
//! it: partition `p` of sliced rows becomes local partition `p` modulo the slices of a task, and
//! a network boundary stands wherever rows leave their slice. A node whose rows cannot be proved
//! to stay right under that cut gets all of its input in one task, where the plan is the
//! planner's own. [`verify`] checks the result again by its own rules before it runs.

pub(crate) mod boundary;
pub(crate) mod fewer;
mod join;
pub(crate) mod rows;
pub(crate) mod rule;
pub(crate) mod stage;
pub(crate) mod unary;
pub(crate) mod unpolled;
pub(crate) mod verify;

use std::sync::Arc;

use base::{Error, Result};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::work_table::WorkTableExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions,
};
use datafusion_distributed::{DistributedLeafExec, NetworkBoundaryExt};

use crate::distribute::rows::LeaderRowsExec;
use crate::error::from_datafusion;
use crate::layout::Layout;
use crate::leaf::{self, LeafKind};

pub(crate) type Plan = Arc<dyn ExecutionPlan>;

/// A plan ready to run: its head runs on the leader, stages below network boundaries on nodes.
#[derive(Clone, Debug)]
pub(crate) struct Distributed {
    root: Plan,
}

impl Distributed {
    /// The head of the plan, with one partition.
    pub(crate) fn root(&self) -> &Plan {
        &self.root
    }

    /// True when the plan runs on the leader as it is, once the rows that it asks for are there.
    pub(crate) fn is_whole(&self) -> bool {
        !self.root.exists(|node| Ok(node.is_network_boundary())).unwrap_or(true)
    }

    /// True when no compute node takes part.
    pub(crate) fn is_leader_only(&self) -> bool {
        let asks = |node: &dyn ExecutionPlan| {
            node.downcast_ref::<LeaderRowsExec>().is_some_and(LeaderRowsExec::is_query)
        };
        self.is_whole() && !contains(&self.root, &asks)
    }

    #[cfg(test)]
    pub(crate) fn from_root(root: Plan) -> Distributed {
        Distributed { root }
    }
}

/// Where the rows of a subplan are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locus {
    /// Only on the leader so far; can be shipped to the nodes.
    Leader,
    /// Every task of a stage gets all of the rows.
    Replica,
    /// In one task, with the partitions that the planner gave them.
    Single,
    /// Divided over all tasks, each row in the partition of its slice.
    Sliced,
}

/// A subplan that has been cut.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) plan: Plan,
    pub(crate) locus: Locus,
    /// The part above the nearest boundaries reads user data, so it runs on a compute node.
    pub(crate) reads: bool,
    /// Two tasks that compute it get the same rows.
    pub(crate) stable: bool,
}

pub(crate) struct Cutter {
    pub(crate) layout: Layout,
}

/// Cuts `plan`, which was made with one partition per slice.
///
/// # Errors
/// XX000 for a plan that the cutter does not understand; it is never run instead.
pub(crate) fn distribute(plan: &Plan, layout: Layout) -> Result<Distributed> {
    let cutter = Cutter { layout };
    let placed = cutter.place(plan)?;
    let root = match placed.locus {
        Locus::Leader => placed.plan,
        Locus::Single if !placed.reads => placed.plan,
        Locus::Replica if !placed.reads => placed.plan,
        _ => cutter.to_leader(placed)?.plan,
    };
    let root = if root.output_partitioning().partition_count() == 1 {
        root
    } else {
        Arc::new(CoalescePartitionsExec::new(root))
    };
    Ok(Distributed { root })
}

impl Cutter {
    pub(crate) fn place(&self, plan: &Plan) -> Result<Placed> {
        if plan.children().is_empty() {
            return self.place_leaf(plan);
        }
        if plan.is::<RecursiveQueryExec>() {
            return self.place_recursive(plan);
        }
        if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            return self.place_hash_join(plan, join);
        }
        if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
            return self.place_collecting_join(plan, *join.join_type());
        }
        if plan.is::<CrossJoinExec>() {
            return self.place_collecting_join(plan, datafusion::common::JoinType::Inner);
        }
        let children = plan.children().into_iter().map(|child| self.place(child));
        let mut children = children.collect::<Result<Vec<_>>>()?;
        if plan.is::<SortMergeJoinExec>() {
            return self.place_partitioned(plan, children);
        }
        if plan.is::<UnionExec>() {
            return self.place_union(plan, children);
        }
        if plan.is::<InterleaveExec>() {
            return self.place_partitioned(plan, children);
        }
        if children.len() != 1 {
            return self.place_unknown(plan, children);
        }
        let child = children.swap_remove(0);
        if plan.is::<CoalescePartitionsExec>() || plan.is::<SortPreservingMergeExec>() {
            return self.place_merge(plan, child);
        }
        if let Some(repartition) = plan.downcast_ref::<RepartitionExec>() {
            return self.place_repartition(plan, repartition, child);
        }
        self.place_unary(plan, child)
    }

    fn place_leaf(&self, plan: &Plan) -> Result<Placed> {
        Ok(match leaf::kind(plan.as_ref()) {
            LeafKind::Sliced => return self.place_sliced_leaf(plan),
            LeafKind::Replica => {
                // With a limit, two nodes could read different rows.
                let stable = plan.fetch().is_none();
                let locus = if stable { Locus::Replica } else { Locus::Single };
                Placed { plan: Arc::clone(plan), locus, reads: true, stable }
            }
            LeafKind::Literal | LeafKind::Leader => {
                let plan = Arc::clone(plan);
                Placed { plan, locus: Locus::Leader, reads: false, stable: true }
            }
        })
    }

    fn place_sliced_leaf(&self, plan: &Plan) -> Result<Placed> {
        let partitions = plan.output_partitioning().partition_count();
        if partitions != self.layout.slices() {
            return Err(Error::internal(format!(
                "{} was planned with {partitions} partitions for {} slices",
                plan.name(),
                self.layout.slices()
            )));
        }
        let variants = (0..self.layout.tasks())
            .map(|task| leaf::for_task(plan, self.layout, task))
            .collect::<Result<Vec<_>>>()?;
        if self.layout.tasks() == 1 {
            let plan = base::proven(variants.into_iter().next(), "there is one task");
            return Ok(Placed { plan, locus: Locus::Single, reads: true, stable: true });
        }
        let divided = DistributedLeafExec::try_new(Arc::clone(plan), variants);
        let plan: Plan = Arc::new(divided.map_err(from_datafusion)?);
        Ok(Placed { plan, locus: Locus::Sliced, reads: true, stable: true })
    }

    /// Children in one task each become input of `plan` in one task; none of them is sliced.
    pub(crate) fn combine(&self, plan: &Plan, children: Vec<Placed>) -> Result<Placed> {
        let stable = children.iter().all(|child| child.stable);
        if children.iter().all(|child| child.locus == Locus::Leader) {
            let plan = with_children(plan, children)?;
            return Ok(Placed { plan, locus: Locus::Leader, reads: false, stable });
        }
        let children = children.into_iter().map(|child| self.ship(child));
        let children = children.collect::<Result<Vec<_>>>()?;
        let reads = children.iter().any(|child| child.reads);
        let single = !stable || children.iter().any(|child| child.locus == Locus::Single);
        let locus = if single { Locus::Single } else { Locus::Replica };
        let plan = with_children(plan, children)?;
        Ok(Placed { plan, locus, reads, stable })
    }

    /// Rows of the leader become rows inside the plan, which any task can read.
    pub(crate) fn ship(&self, placed: Placed) -> Result<Placed> {
        if placed.locus != Locus::Leader {
            return Ok(placed);
        }
        let plan = ship_plan(&placed.plan)?;
        let locus = if placed.stable { Locus::Replica } else { Locus::Single };
        Ok(Placed { plan, locus, reads: false, stable: placed.stable })
    }

    /// A node of unknown kind, or one that cannot be divided: all its input in one task.
    pub(crate) fn place_unknown(&self, plan: &Plan, children: Vec<Placed>) -> Result<Placed> {
        let children = children.into_iter().map(|child| self.gather(child));
        let children = children.collect::<Result<Vec<_>>>()?;
        let mut placed = self.combine(plan, children)?;
        placed.stable = false;
        if placed.locus == Locus::Replica {
            placed.locus = Locus::Single;
        }
        Ok(placed)
    }

    fn place_union(&self, plan: &Plan, children: Vec<Placed>) -> Result<Placed> {
        if children.iter().all(|child| child.locus != Locus::Sliced) {
            return self.combine(plan, children);
        }
        let children = children.into_iter().map(|child| match child.locus {
            Locus::Sliced => Ok(child),
            Locus::Single => self.scatter(child),
            Locus::Leader | Locus::Replica => {
                let child = self.ship(child)?;
                if child.locus == Locus::Single {
                    return self.scatter(child);
                }
                let plan: Plan = Arc::new(stage::FirstTaskExec::new(child.plan));
                Ok(Placed { plan, locus: Locus::Sliced, ..child })
            }
        });
        let children = children.collect::<Result<Vec<_>>>()?;
        let reads = children.iter().any(|child| child.reads);
        let plan = with_children(plan, children)?;
        Ok(Placed { plan, locus: Locus::Sliced, reads, stable: false })
    }

    /// Every side is divided by the same keys, or the node runs in one task.
    pub(crate) fn place_partitioned(&self, plan: &Plan, children: Vec<Placed>) -> Result<Placed> {
        if children.iter().all(|child| child.locus != Locus::Sliced) {
            return self.combine(plan, children);
        }
        let mut sliced = Vec::with_capacity(children.len());
        for child in &children {
            match self.to_sliced(child)? {
                Some(child) => sliced.push(child),
                None => return self.place_unknown(plan, children),
            }
        }
        let reads = sliced.iter().any(|child| child.reads);
        let plan = with_children(plan, sliced)?;
        Ok(Placed { plan, locus: Locus::Sliced, reads, stable: false })
    }

    fn place_recursive(&self, plan: &Plan) -> Result<Placed> {
        let plan = self.materialise(plan)?;
        Ok(Placed { plan, locus: Locus::Leader, reads: false, stable: true })
    }

    /// A recursive query runs on the leader, over rows that are fetched before: its recursive
    /// term runs many times, a network boundary once.
    fn materialise(&self, plan: &Plan) -> Result<Plan> {
        if !contains(plan, &|node| node.children().is_empty() && leaf::reads_user_data(node)) {
            return Ok(Arc::clone(plan));
        }
        let recursive = |node: &dyn ExecutionPlan| {
            node.is::<WorkTableExec>() || node.is::<RecursiveQueryExec>()
        };
        if contains(plan, &recursive) {
            let children = plan.children().into_iter().map(|child| self.materialise(child));
            return rebuild(plan, children.collect::<Result<Vec<_>>>()?);
        }
        let partitioning = plan.output_partitioning().clone();
        let ordered: Plan = match plan.output_ordering() {
            Some(ordering) if partitioning.partition_count() > 1 => {
                Arc::new(SortPreservingMergeExec::new(ordering.clone(), Arc::clone(plan)))
            }
            _ => Arc::clone(plan),
        };
        rows::query(distribute(&ordered, self.layout)?, partitioning)
    }
}

/// Lets other work of the process run between the batches of a join: one input batch can give
/// thousands, for which a join never waits by itself.
pub(crate) fn yielding(plan: Plan) -> Result<Plan> {
    plan.transform_up(|node| {
        let join = node.is::<HashJoinExec>()
            || node.is::<NestedLoopJoinExec>()
            || node.is::<CrossJoinExec>()
            || node.is::<SortMergeJoinExec>();
        if !join {
            return Ok(Transformed::no(node));
        }
        let node: Plan = Arc::new(CooperativeExec::new(node));
        Ok(Transformed::yes(node))
    })
    .map(|transformed| transformed.data)
    .map_err(from_datafusion)
}

fn ship_plan(plan: &Plan) -> Result<Plan> {
    if plan.is::<RecursiveQueryExec>() {
        return rows::local(Arc::clone(plan));
    }
    if plan.children().is_empty() {
        return match leaf::kind(plan.as_ref()) {
            LeafKind::Literal => Ok(Arc::clone(plan)),
            _ => rows::local(Arc::clone(plan)),
        };
    }
    let children = plan.children().into_iter().map(ship_plan).collect::<Result<Vec<_>>>()?;
    rebuild(plan, children)
}

/// True when a node of the tree is what `is` looks for.
pub(crate) fn contains(plan: &Plan, is: &dyn Fn(&dyn ExecutionPlan) -> bool) -> bool {
    let mut found = false;
    let walked = plan.apply(|node| {
        found = is(node.as_ref());
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    // A walk that fails proves nothing, so the answer is the careful one.
    found || walked.is_err()
}

fn with_children(plan: &Plan, children: Vec<Placed>) -> Result<Plan> {
    rebuild(plan, children.into_iter().map(|child| child.plan).collect())
}

/// The node over new children, with its properties made anew.
pub(crate) fn rebuild(plan: &Plan, children: Vec<Plan>) -> Result<Plan> {
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(plan).replace_children(children, options).map_err(from_datafusion)
}
