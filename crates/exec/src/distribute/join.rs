//! Joins: which side moves, and when a side that every task has may be joined in place.

use std::sync::Arc;

use base::Result;
use datafusion::common::JoinType;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};

use super::{Cutter, Locus, Placed, Plan, with_children};
use crate::error::from_datafusion;

/// True when every row that the join gives comes from a right row alone or a pair: then each
/// task may join its share of the right side with all of the left side.
pub(crate) fn left_may_be_copied(join_type: JoinType) -> bool {
    matches!(
        join_type,
        JoinType::Inner
            | JoinType::Right
            | JoinType::RightSemi
            | JoinType::RightAnti
            | JoinType::RightMark
    )
}

/// The mirror image: each task may join its share of the left side with all of the right side.
pub(crate) fn right_may_be_copied(join_type: JoinType) -> bool {
    matches!(
        join_type,
        JoinType::Inner
            | JoinType::Left
            | JoinType::LeftSemi
            | JoinType::LeftAnti
            | JoinType::LeftMark
    )
}

impl Cutter {
    pub(crate) fn place_hash_join(&self, plan: &Plan, join: &HashJoinExec) -> Result<Placed> {
        if join.mode == PartitionMode::CollectLeft {
            return self.place_collecting_join(plan, *join.join_type());
        }
        let children = vec![self.place(join.left())?, self.place(join.right())?];
        if join.null_aware || join.mode != PartitionMode::Partitioned {
            return self.place_unknown(plan, children);
        }
        self.place_partitioned(plan, children)
    }

    /// A join that collects its left side first: hash join in that mode, nested loop, cross.
    pub(crate) fn place_collecting_join(&self, plan: &Plan, join_type: JoinType) -> Result<Placed> {
        let (left, right) = match plan.children()[..] {
            [left, right] => (left, right),
            _ => return Err(base::Error::internal("a join has two inputs")),
        };
        // What gathers the left side stays in the task: only its input crosses the network.
        let collected =
            left.downcast_ref::<CoalescePartitionsExec>().filter(|c| c.fetch().is_none());
        let left_input = collected.map_or(left, CoalescePartitionsExec::input);
        let left = self.place(left_input)?;
        let right = self.place(right)?;
        let sides = Sides { left, right, collected: collected.is_some() };
        if sides.left.locus != Locus::Sliced && sides.right.locus != Locus::Sliced {
            let children = vec![self.collected(sides.left, sides.collected)?, sides.right];
            return self.combine(plan, children);
        }
        let null_aware = plan.downcast_ref::<HashJoinExec>().is_some_and(|join| join.null_aware);
        let small_right = sides.right.locus != Locus::Sliced;
        if sides.right.locus == Locus::Sliced && left_may_be_copied(join_type) && !null_aware {
            return self.join_copied_left(plan, sides);
        }
        if let Some(join) = plan.downcast_ref::<HashJoinExec>()
            && !null_aware
            && !(small_right && right_may_be_copied(join_type))
        {
            return self.join_repartitioned(plan, join, sides);
        }
        if sides.left.locus == Locus::Sliced && right_may_be_copied(join_type) {
            return self.join_copied_right(plan, sides);
        }
        self.join_gathered(plan, sides)
    }

    fn join_copied_left(&self, plan: &Plan, sides: Sides) -> Result<Placed> {
        let left = self.broadcast(sides.left)?;
        let left = self.collected(left, sides.collected)?;
        let reads = left.reads || sides.right.reads;
        let plan = with_children(plan, vec![left, sides.right])?;
        Ok(Placed { plan, locus: Locus::Sliced, reads, stable: false })
    }

    /// Each task joins its share of the left side with all of the right side. The planner took
    /// the output for partitioned like the right side, which it no longer is.
    fn join_copied_right(&self, plan: &Plan, sides: Sides) -> Result<Placed> {
        let claimed = plan.output_partitioning().clone();
        let relied_on = matches!(claimed, Partitioning::Hash(..) | Partitioning::Range(_));
        if relied_on || plan.output_ordering().is_some() {
            return self.join_gathered(plan, sides);
        }
        let right = self.broadcast(sides.right)?;
        let left = self.collected(sides.left, sides.collected)?;
        let reads = left.reads || right.reads;
        let plan = with_children(plan, vec![left, right])?;
        let placed = Placed { plan, locus: Locus::Sliced, reads, stable: false };
        if claimed.partition_count() > 1 {
            return Ok(placed);
        }
        // Parents take one partition for all rows.
        let gathered = self.gather(placed)?;
        let plan: Plan = Arc::new(CoalescePartitionsExec::new(gathered.plan));
        Ok(Placed { plan, ..gathered })
    }

    /// Both sides move to the slices of the join keys.
    fn join_repartitioned(&self, plan: &Plan, join: &HashJoinExec, sides: Sides) -> Result<Placed> {
        let claimed = plan.output_partitioning().clone();
        let (left_keys, right_keys) = join.on().iter().cloned().unzip();
        let left = self.ship(sides.left)?;
        let right = self.ship(sides.right)?;
        let left = self.shuffle(left, left_keys)?;
        let right = self.shuffle(right, right_keys)?;
        let built = join
            .builder()
            .with_partition_mode(PartitionMode::Partitioned)
            .with_new_children(vec![left.plan, right.plan])
            .and_then(|builder| builder.build())
            .map_err(from_datafusion)?;
        let placed =
            Placed { plan: Arc::new(built), locus: Locus::Sliced, reads: false, stable: false };
        let relied_on = matches!(claimed, Partitioning::Hash(..) | Partitioning::Range(_));
        if claimed.partition_count() > 1 && !relied_on && plan.output_ordering().is_none() {
            return Ok(placed);
        }
        self.as_claimed(placed, claimed, plan)
    }

    /// One task, with the partitioning and order that parents rely on.
    fn as_claimed(&self, placed: Placed, claimed: Partitioning, original: &Plan) -> Result<Placed> {
        use datafusion::physical_plan::repartition::RepartitionExec;
        use datafusion::physical_plan::sorts::sort::SortExec;
        if let (Partitioning::Hash(keys, partitions), None) = (&claimed, original.output_ordering())
            && *partitions == self.layout.slices()
        {
            return self.shuffle(placed, keys.clone());
        }
        let gathered = self.gather(placed)?;
        let mut plan: Plan = Arc::new(CoalescePartitionsExec::new(gathered.plan));
        if claimed.partition_count() > 1 {
            let repartition = RepartitionExec::try_new(plan, claimed).map_err(from_datafusion)?;
            plan = Arc::new(repartition);
        }
        if let Some(ordering) = original.output_ordering() {
            plan = Arc::new(SortExec::new(ordering.clone(), plan).with_preserve_partitioning(true));
        }
        Ok(Placed { plan, locus: Locus::Single, reads: false, stable: false })
    }

    fn join_gathered(&self, plan: &Plan, sides: Sides) -> Result<Placed> {
        let left = self.gather(sides.left)?;
        let left = self.collected(left, sides.collected)?;
        let right = self.gather(sides.right)?;
        let mut placed = self.combine(plan, vec![left, right])?;
        placed.stable = false;
        Ok(placed)
    }

    fn collected(&self, side: Placed, collected: bool) -> Result<Placed> {
        if !collected && side.plan.output_partitioning().partition_count() == 1 {
            return Ok(side);
        }
        let plan: Plan = Arc::new(CoalescePartitionsExec::new(side.plan));
        Ok(Placed { plan, ..side })
    }
}

struct Sides {
    left: Placed,
    right: Placed,
    /// The planner put a node over the left side that gathers its partitions.
    collected: bool,
}
