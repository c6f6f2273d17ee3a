//! The last check of a plan before it runs: would every row be counted exactly once?
//!
//! Derives from the divided plan alone, by rules of its own, where each node's rows are, and
//! refuses what it cannot prove. Must not share judgement with the cutter.

use std::sync::Arc;

use base::{Error, Result};
use datafusion::common::JoinType;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode, SortMergeJoinExec,
};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::{
    Distribution, ExecutionPlan, ExecutionPlanProperties, Partitioning,
};
use datafusion_distributed::{
    BroadcastExec, DistributedLeafExec, NetworkBoundary, NetworkBoundaryExt, NetworkBroadcastExec,
    NetworkCoalesceExec, NetworkShuffleExec, Stage,
};

use super::stage::{FirstTaskExec, StageOutputExec};
use super::{Distributed, Plan, unary};
use crate::change::{ChangeExec, MergeDeletesExec};
use crate::layout::Layout;
use crate::leaf::{self, LeafKind};
use crate::write::{SegmentWriteExec, WriteSpec};

/// Whether the tasks of a stage have parts of the rows or all of them each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    Part,
    Whole,
}

/// Checks a divided plan.
///
/// # Errors
/// XX000 naming what is misplaced.
pub(crate) fn verify(plan: &Distributed, layout: Layout) -> Result<()> {
    let checker = Checker { layout };
    if plan.root().output_partitioning().partition_count() != 1 {
        return refuse("the head of the plan has more than one partition");
    }
    checker.head(plan.root())
}

fn refuse<T>(what: impl std::fmt::Display) -> Result<T> {
    Err(Error::internal(format!("refused to run a misplaced plan: {what}"))
        .hint("This is a fault of the planner; EXPLAIN VERBOSE shows the plan."))
}

struct Checker {
    layout: Layout,
}

impl Checker {
    /// The head runs on the leader, which opens no file of user data.
    fn head(&self, node: &Plan) -> Result<()> {
        if let Some(boundary) = node.as_network_boundary() {
            return self.stage(boundary, 1).map(|_| ());
        }
        if leaf::reads_user_data(node.as_ref()) || changes(node) {
            return refuse(format!("the leader node would read {}", describe(node)));
        }
        node.children().into_iter().try_for_each(|child| self.head(child))
    }

    /// A stage below a boundary that `consumers` tasks read.
    fn stage(&self, boundary: &dyn NetworkBoundary, consumers: usize) -> Result<Share> {
        let Stage::Local(stage) = boundary.input_stage() else {
            return refuse("a stage is already running");
        };
        let tasks = stage.tasks;
        if tasks != 1 && tasks != self.layout.tasks() {
            return refuse(format!("a stage has {tasks} tasks"));
        }
        let top = self.top(boundary, &stage.plan, consumers)?;
        let share = self.node(top, tasks)?;
        if tasks > 1 && share == Share::Whole {
            return refuse(format!("{tasks} tasks would each give all rows of {}", describe(top)));
        }
        Ok(share)
    }

    /// The node below the head that the boundary needs its stage to have.
    fn top<'a>(
        &self,
        boundary: &dyn NetworkBoundary,
        plan: &'a Plan,
        consumers: usize,
    ) -> Result<&'a Plan> {
        let boundary = boundary as &dyn ExecutionPlan;
        let local = boundary.output_partitioning().partition_count();
        if boundary.is::<NetworkShuffleExec>() {
            let Some(head) = plan.downcast_ref::<RepartitionExec>() else {
                return refuse("a shuffled stage does not end in a repartition");
            };
            let Partitioning::Hash(_, total) = head.partitioning() else {
                return refuse("a shuffled stage is not divided by a hash");
            };
            if consumers != self.layout.tasks()
                || *total != self.layout.slices()
                || local != self.layout.per_task()
            {
                return refuse(format!("a shuffle sends {total} partitions to {consumers} tasks"));
            }
            return output(head.input());
        }
        if boundary.is::<NetworkBroadcastExec>() {
            let Some(head) = plan.downcast_ref::<BroadcastExec>() else {
                return refuse("a broadcast stage does not end in a broadcast");
            };
            let children = head.children();
            let input = base::proven(children.first().copied(), "a broadcast has one input");
            let each = input.output_partitioning().partition_count();
            let total = plan.output_partitioning().partition_count();
            if consumers != self.layout.tasks() || local != each || total != each * consumers {
                return refuse(format!("a broadcast of {each} partitions gives {total}"));
            }
            return output(input);
        }
        if !boundary.is::<NetworkCoalesceExec>() {
            return refuse(format!("{} is not a known boundary", boundary.name()));
        }
        if consumers != 1 {
            return refuse(format!("{consumers} tasks would gather the same rows"));
        }
        output(plan)
    }

    /// Where the rows of `node` are, in a stage of `tasks` tasks.
    fn node(&self, node: &Plan, tasks: usize) -> Result<Share> {
        if let Some(boundary) = node.as_network_boundary() {
            return self.boundary(node, boundary, tasks);
        }
        if node.children().is_empty() {
            return self.leaf(node, tasks);
        }
        let children = node.children();
        let shares =
            children.iter().map(|child| self.node(child, tasks)).collect::<Result<Vec<_>>>()?;
        if tasks == 1 {
            return Ok(Share::Part);
        }
        self.combined(node, &shares)
    }

    fn boundary(&self, node: &Plan, boundary: &dyn NetworkBoundary, tasks: usize) -> Result<Share> {
        self.stage(boundary, tasks)?;
        if tasks == 1 {
            return Ok(Share::Part);
        }
        if node.is::<NetworkBroadcastExec>() { Ok(Share::Whole) } else { Ok(Share::Part) }
    }

    fn leaf(&self, node: &Plan, tasks: usize) -> Result<Share> {
        if let Some(divided) = node.downcast_ref::<DistributedLeafExec>() {
            if tasks != self.layout.tasks() || divided.variants().len() != tasks {
                return refuse(format!("{} is divided for other tasks", describe(node)));
            }
            for variant in divided.variants() {
                if variant.output_partitioning().partition_count() != self.layout.per_task() {
                    return refuse(format!("{} has other slices", describe(variant)));
                }
            }
            return Ok(Share::Part);
        }
        if leaf::kind(node.as_ref()) == LeafKind::Sliced && self.layout.tasks() > 1 {
            return refuse(format!("{} is read outside of its slices", describe(node)));
        }
        if tasks > 1 && node.fetch().is_some() {
            return refuse(format!("every task would read other rows of {}", describe(node)));
        }
        Ok(if tasks == 1 { Share::Part } else { Share::Whole })
    }

    fn combined(&self, node: &Plan, shares: &[Share]) -> Result<Share> {
        if node.is::<FirstTaskExec>() {
            return Ok(Share::Part);
        }
        if shares.iter().all(|share| *share == Share::Whole) {
            return self.copied(node);
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            return self.hash_join(node, join, shares);
        }
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            return collecting(node, *join.join_type(), shares);
        }
        if node.is::<CrossJoinExec>() {
            return collecting(node, JoinType::Inner, shares);
        }
        if node.is::<SortMergeJoinExec>() || node.is::<InterleaveExec>() {
            return self.aligned(node, shares);
        }
        if node.is::<UnionExec>() {
            if shares.contains(&Share::Whole) {
                return refuse("a union would repeat rows that every task has");
            }
            return Ok(Share::Part);
        }
        self.unary(node)
    }

    /// Every task has all rows and computes the same thing.
    fn copied(&self, node: &Plan) -> Result<Share> {
        let once = node.is::<AggregateExec>() || changes(node);
        if node.fetch().is_some() || once {
            return refuse(format!("every task would compute its own {}", describe(node)));
        }
        Ok(Share::Whole)
    }

    fn unary(&self, node: &Plan) -> Result<Share> {
        if node.is::<CoalescePartitionsExec>() {
            // Gathers what the task has; whoever needs all rows is refused where it asks.
            return Ok(Share::Part);
        }
        if let Some(repartition) = node.downcast_ref::<RepartitionExec>() {
            return match repartition.partitioning() {
                Partitioning::RoundRobinBatch(_) => Ok(Share::Part),
                _ => refuse("rows would be divided by a hash within one task only"),
            };
        }
        if let Some(write) = node.downcast_ref::<SegmentWriteExec>() {
            return self.write(node, write.spec());
        }
        if let Some(change) = node.downcast_ref::<ChangeExec>() {
            return match change.spec() {
                Some(spec) => self.write(node, spec),
                None => Ok(Share::Part),
            };
        }
        if let Some(merge) = node.downcast_ref::<MergeDeletesExec>() {
            if merge.is_in_place() || node.children().into_iter().all(is_hashed) {
                return Ok(Share::Part);
            }
            return refuse("the deletes of one segment would be written in several tasks");
        }
        if !unary::is_partition_wise(node.as_ref()) {
            return refuse(format!("{} over rows of several tasks", describe(node)));
        }
        if let Some(aggregate) = node.downcast_ref::<AggregateExec>()
            && matches!(aggregate.mode(), AggregateMode::Final | AggregateMode::Single)
        {
            return refuse("an aggregate would see the rows of one task only");
        }
        let required = node.input_distribution_requirements().into_per_child();
        for (required, child) in required.iter().zip(node.children()) {
            match required {
                Distribution::SinglePartition => {
                    return refuse(format!("{} needs all rows in one place", describe(node)));
                }
                Distribution::KeyPartitioned(_) if !is_hashed(child) => {
                    return refuse(format!("{} needs rows divided by its keys", describe(node)));
                }
                _ => {}
            }
        }
        Ok(Share::Part)
    }

    /// Each slice writes what its hash names.
    fn write(&self, node: &Plan, spec: &WriteSpec) -> Result<Share> {
        let children = node.children();
        let input = base::proven(children.first().copied(), "a write has one input");
        if spec.replica {
            return refuse("several tasks would write rows that every node reads");
        }
        if spec.key.is_none()
            && input.output_partitioning().partition_count() == self.layout.per_task()
        {
            // Without a key any slice is right.
            return Ok(Share::Part);
        }
        match input.output_partitioning() {
            Partitioning::Hash(keys, partitions)
                if keys.len() == 1 && *partitions == self.layout.per_task() =>
            {
                Ok(Share::Part)
            }
            _ => refuse("rows would be written to slices that they do not belong to"),
        }
    }

    fn hash_join(&self, node: &Plan, join: &HashJoinExec, shares: &[Share]) -> Result<Share> {
        match join.partition_mode() {
            PartitionMode::Partitioned if join.null_aware => {
                refuse("NOT IN would not see all rows of its subquery")
            }
            PartitionMode::Partitioned => {
                let share = self.aligned(node, shares)?;
                if lies_by_keys(join) {
                    return Ok(share);
                }
                refuse(format!("{} joins rows that lie by other columns", describe(node)))
            }
            PartitionMode::CollectLeft => collecting(node, *join.join_type(), shares),
            PartitionMode::Auto => refuse("a hash join has no mode"),
        }
    }

    /// All sides are divided alike, by the hash of the node's keys.
    fn aligned(&self, node: &Plan, shares: &[Share]) -> Result<Share> {
        if shares.contains(&Share::Whole) {
            return refuse(format!("{} mixes divided and copied rows", describe(node)));
        }
        let mut types: Option<Vec<_>> = None;
        for child in node.children() {
            let Partitioning::Hash(keys, partitions) = child.output_partitioning() else {
                return refuse(format!("an input of {} is not divided by a hash", describe(node)));
            };
            if *partitions != self.layout.per_task() {
                return refuse(format!("an input of {} has {partitions} parts", describe(node)));
            }
            let schema = child.schema();
            let found = keys.iter().map(|key| key.data_type(&schema));
            let found = found.collect::<Result<Vec<_>, _>>();
            let found = found.map_err(crate::error::from_datafusion)?;
            if types.as_ref().is_some_and(|types| *types != found) {
                return refuse(format!("{} joins hashes of other types", describe(node)));
            }
            types = Some(found);
        }
        Ok(Share::Part)
    }
}

/// True when each column that the sides are divided by is a key of the join, beside its partner:
/// then rows that agree in all keys are in one partition. All keys need not be among them.
fn lies_by_keys(join: &HashJoinExec) -> bool {
    let (left, right) = (join.left(), join.right());
    let (Partitioning::Hash(left_keys, _), Partitioning::Hash(right_keys, _)) =
        (left.output_partitioning(), right.output_partitioning())
    else {
        return false;
    };
    let equal = |side: &Plan, a: &Arc<dyn PhysicalExpr>, b: &Arc<dyn PhysicalExpr>| {
        let groups = side.equivalence_properties().eq_group();
        a == b || groups.normalize_expr(Arc::clone(a)) == groups.normalize_expr(Arc::clone(b))
    };
    left_keys.len() == right_keys.len()
        && !left_keys.is_empty()
        && left_keys.iter().zip(right_keys).all(|(l, r)| {
            join.on()
                .iter()
                .any(|(left_on, right_on)| equal(left, l, left_on) && equal(right, r, right_on))
        })
}

/// A join that collects its left side in each task.
fn collecting(node: &Plan, join_type: JoinType, shares: &[Share]) -> Result<Share> {
    use JoinType::{
        Inner, Left, LeftAnti, LeftMark, LeftSemi, Right, RightAnti, RightMark, RightSemi,
    };
    let safe = match shares {
        [Share::Whole, Share::Part] => {
            matches!(join_type, Inner | Right | RightSemi | RightAnti | RightMark)
        }
        [Share::Part, Share::Whole] => {
            matches!(join_type, Inner | Left | LeftSemi | LeftAnti | LeftMark)
        }
        _ => false,
    };
    if safe {
        return Ok(Share::Part);
    }
    refuse(format!("{join_type} join {} over {shares:?}", describe(node)))
}

/// True for an operator that makes files.
fn changes(node: &Plan) -> bool {
    node.is::<SegmentWriteExec>() || node.is::<ChangeExec>() || node.is::<MergeDeletesExec>()
}

/// True for rows that hash partitioning divides, or that an operator keeps so divided.
fn is_hashed(plan: &Plan) -> bool {
    matches!(plan.output_partitioning(), Partitioning::Hash(..))
}

fn output(plan: &Plan) -> Result<&Plan> {
    if plan.is::<StageOutputExec>() {
        return Ok(plan);
    }
    refuse(format!("a stage ends in {}", describe(plan)))
}

fn describe(plan: &Plan) -> String {
    use datafusion::physical_plan::displayable;
    displayable(plan.as_ref()).one_line().to_string().trim().to_owned()
}
