//! Where rows leave their task: the network boundaries and the moves that they stand for.

use std::sync::Arc;

use base::{Error, Result};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode, SortMergeJoinExec};
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlanProperties, Partitioning};
use datafusion_distributed::{
    BroadcastExec, NetworkBoundary, NetworkBoundaryExt, NetworkBroadcastExec, NetworkCoalesceExec,
    NetworkShuffleExec, Stage,
};

use super::stage::StageOutputExec;
use super::{Cutter, Locus, Placed, Plan, rebuild, unary};
use crate::error::from_datafusion;

type Keys = Vec<Arc<dyn PhysicalExpr>>;

impl Cutter {
    fn tasks_of(&self, placed: &Placed) -> usize {
        if placed.locus == Locus::Sliced { self.layout.tasks() } else { 1 }
    }

    /// Rows move to the slice that the hash of `keys` names.
    pub(crate) fn shuffle(&self, placed: Placed, keys: Keys) -> Result<Placed> {
        let producers = self.tasks_of(&placed);
        let input: Plan = Arc::new(StageOutputExec::unordered(placed.plan));
        let local = Partitioning::Hash(keys.clone(), self.layout.per_task());
        let full = Partitioning::Hash(keys, self.layout.slices());
        let repartition = |partitioning| RepartitionExec::try_new(Arc::clone(&input), partitioning);
        let pending = Arc::new(repartition(local).map_err(from_datafusion)?);
        let network = NetworkShuffleExec::try_new(pending, producers).map_err(from_datafusion)?;
        let full = Arc::new(repartition(full).map_err(from_datafusion)?);
        let plan = with_input(&network, full)?;
        Ok(Placed { plan, locus: Locus::Sliced, reads: false, stable: false })
    }

    /// Rows of one task are spread over all slices, where they lie does not matter.
    pub(crate) fn scatter(&self, placed: Placed) -> Result<Placed> {
        let schema = placed.plan.schema();
        let key: Arc<dyn PhysicalExpr> = match schema.fields().first() {
            Some(field) => Arc::new(Column::new(field.name(), 0)),
            None => Arc::new(Literal::new(ScalarValue::Int64(Some(0)))),
        };
        self.shuffle(placed, vec![key])
    }

    /// Every task gets all of the rows.
    pub(crate) fn broadcast(&self, placed: Placed) -> Result<Placed> {
        let placed = self.ship(placed)?;
        if placed.locus == Locus::Replica {
            return Ok(placed);
        }
        let producers = self.tasks_of(&placed);
        let input: Plan = Arc::new(StageOutputExec::unordered(placed.plan));
        let pending = Arc::new(BroadcastExec::new(Arc::clone(&input), 1));
        let network = NetworkBroadcastExec::try_new(pending, producers).map_err(from_datafusion)?;
        let plan = with_input(&network, Arc::new(BroadcastExec::new(input, self.layout.tasks())))?;
        Ok(Placed { plan, locus: Locus::Replica, reads: false, stable: true })
    }

    /// All rows in one task, in the partitions that the planner gave them.
    pub(crate) fn gather(&self, placed: Placed) -> Result<Placed> {
        if placed.locus != Locus::Sliced {
            return Ok(placed);
        }
        let plan = self.collect(placed.plan, self.layout.tasks())?;
        Ok(Placed { plan, locus: Locus::Single, reads: false, stable: false })
    }

    /// All rows in the head of the plan, which reads no user data itself.
    pub(crate) fn to_leader(&self, placed: Placed) -> Result<Placed> {
        let producers = self.tasks_of(&placed);
        let plan = if producers > 1 || placed.plan.output_partitioning().partition_count() == 1 {
            placed.plan
        } else {
            // One stream from one task; merged there, in parallel with the leader.
            merged(placed.plan)
        };
        let plan = self.collect(plan, producers)?;
        Ok(Placed { plan, locus: Locus::Single, reads: false, stable: false })
    }

    fn collect(&self, plan: Plan, producers: usize) -> Result<Plan> {
        let input: Plan = Arc::new(StageOutputExec::new(plan));
        let network = NetworkCoalesceExec::try_new(input, producers, 1);
        Ok(Arc::new(network.map_err(from_datafusion)?))
    }

    pub(crate) fn place_merge(&self, plan: &Plan, child: Placed) -> Result<Placed> {
        if child.locus != Locus::Sliced {
            let fetch = plan.fetch().is_some();
            let mut placed = self.combine(plan, vec![child])?;
            if fetch {
                placed = unary::unstable(placed);
            }
            return Ok(placed);
        }
        let mut child = child;
        if let Some(fetch) = plan.fetch()
            && plan.is::<CoalescePartitionsExec>()
        {
            child.plan = Arc::new(LocalLimitExec::new(child.plan, fetch));
        }
        let gathered = self.gather(child)?;
        self.combine(plan, vec![gathered])
    }

    pub(crate) fn place_repartition(
        &self,
        plan: &Plan,
        repartition: &RepartitionExec,
        child: Placed,
    ) -> Result<Placed> {
        if child.locus != Locus::Sliced {
            return self.combine(plan, vec![child]);
        }
        match repartition.partitioning() {
            Partitioning::Hash(keys, partitions) if *partitions == self.layout.slices() => {
                let mut placed = self.shuffle(child, keys.clone())?;
                if let Some(ordering) = plan.output_ordering() {
                    placed.plan = sorted(placed.plan, ordering.clone());
                }
                Ok(placed)
            }
            Partitioning::RoundRobinBatch(_) => {
                // Rows need not leave their node to be spread over its partitions.
                let partitions = self.layout.per_task();
                if child.plan.output_partitioning().partition_count() >= partitions {
                    return Ok(child);
                }
                let ordered = plan.output_ordering().cloned();
                let local = Partitioning::RoundRobinBatch(partitions);
                let local = RepartitionExec::try_new(child.plan, local).map_err(from_datafusion)?;
                let plan: Plan = Arc::new(local);
                let plan = match ordered {
                    Some(ordering) => sorted(plan, ordering),
                    None => plan,
                };
                Ok(Placed { plan, locus: Locus::Sliced, reads: child.reads, stable: false })
            }
            _ => self.place_unknown(plan, vec![child]),
        }
    }

    /// Divides rows that are in one task by the keys that the planner divided them by; `None`
    /// when the plan gives no place to do so.
    pub(crate) fn to_sliced(&self, placed: &Placed) -> Result<Option<Placed>> {
        if placed.locus == Locus::Sliced {
            return Ok(Some(placed.clone()));
        }
        let shipped = self.ship(placed.clone())?;
        let plan = self.slice_plan(&shipped.plan)?;
        Ok(plan.map(|plan| Placed { plan, locus: Locus::Sliced, reads: false, stable: false }))
    }

    fn slice_plan(&self, plan: &Plan) -> Result<Option<Plan>> {
        let source = |plan: &Plan| Placed {
            plan: Arc::clone(plan),
            locus: Locus::Single,
            reads: true,
            stable: false,
        };
        if let Some(repartition) = plan.downcast_ref::<RepartitionExec>() {
            return Ok(match repartition.partitioning() {
                Partitioning::Hash(keys, partitions) if *partitions == self.layout.slices() => {
                    let shuffled = self.shuffle(source(repartition.input()), keys.clone())?.plan;
                    Some(match plan.output_ordering() {
                        Some(ordering) => sorted(shuffled, ordering.clone()),
                        None => shuffled,
                    })
                }
                _ => None,
            });
        }
        let partitioned_join = plan
            .downcast_ref::<HashJoinExec>()
            .is_some_and(|join| join.mode == PartitionMode::Partitioned && !join.null_aware)
            || plan.is::<SortMergeJoinExec>();
        if partitioned_join || unary::is_partition_wise(plan.as_ref()) {
            let mut children = Vec::with_capacity(2);
            for child in plan.children() {
                match self.slice_plan(child)? {
                    Some(child) => children.push(child),
                    None => return Ok(None),
                }
            }
            return rebuild(plan, children).map(Some);
        }
        Ok(match plan.output_partitioning() {
            Partitioning::Hash(keys, partitions)
                if *partitions == self.layout.slices() && plan.output_ordering().is_none() =>
            {
                Some(self.shuffle(source(plan), keys.clone())?.plan)
            }
            _ => None,
        })
    }
}

fn merged(plan: Plan) -> Plan {
    match plan.output_ordering().cloned() {
        Some(ordering) => Arc::new(SortPreservingMergeExec::new(ordering, plan)),
        None => Arc::new(CoalescePartitionsExec::new(plan)),
    }
}

/// Restores an order that parents rely on and that the network does not keep.
fn sorted(plan: Plan, ordering: LexOrdering) -> Plan {
    Arc::new(SortExec::new(ordering, plan).with_preserve_partitioning(true))
}

/// The boundary over `plan` as the top of its producing stage.
fn with_input(network: &dyn NetworkBoundary, plan: Plan) -> Result<Plan> {
    let Stage::Local(mut stage) = network.input_stage().clone() else {
        return Err(Error::internal("a network boundary is already running"));
    };
    stage.plan = plan;
    Ok(network.with_input_stage(Stage::Local(stage)).map_err(from_datafusion)?)
}

/// Gives every stage its number and the plan an identity of its own, so that a second run of a
/// query is never taken for the first.
pub(crate) fn number(root: &Plan) -> Result<Plan> {
    let identity = hex(&base::rng::bytes::<16>());
    let mut next = 1;
    let numbered = Arc::clone(root).transform_up(|node| {
        let Some(boundary) = node.as_network_boundary() else {
            return Ok(Transformed::no(node));
        };
        let Stage::Local(mut stage) = boundary.input_stage().clone() else {
            return datafusion::common::internal_err!("a network boundary is already running");
        };
        stage.query_id = identity.parse().map_err(|error| {
            datafusion::common::internal_datafusion_err!("no identity for the query: {error}")
        })?;
        stage.num = next;
        next += 1;
        let node: Plan = boundary.with_input_stage(Stage::Local(stage))?;
        Ok(Transformed::yes(node))
    });
    Ok(numbered.map_err(from_datafusion)?.data)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
