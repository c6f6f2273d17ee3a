//! Rows that only the leader has, on their way into a distributed plan.
//!
//! [`LeaderRowsExec`] stands in a plan for rows that the leader computes first: a system table
//! joined with user tables, or what a recursive query reads. Before the plan runs,
//! [`resolve`] computes them and puts the rows themselves into the plan.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use base::{CancellationToken, Error, Result, error};
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::StreamExt;
use futures::future::BoxFuture;

use crate::distribute::{Distributed, Plan};
use crate::error::{from_datafusion, into_datafusion};

/// A leaf whose rows the leader computes before the plan runs.
#[derive(Debug)]
pub(crate) struct LeaderRowsExec {
    inner: LeaderRows,
    properties: Arc<PlanProperties>,
}

#[derive(Debug)]
enum LeaderRows {
    /// A plan that runs on the leader as it is.
    Local(Arc<dyn ExecutionPlan>),
    /// A query of its own over the compute nodes.
    Query(Box<Distributed>),
}

impl LeaderRowsExec {
    fn new(inner: LeaderRows, schema: arrow_schema::SchemaRef) -> LeaderRowsExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        LeaderRowsExec { inner, properties: Arc::new(properties) }
    }

    /// The plan whose rows these are, for EXPLAIN.
    pub(crate) fn plan(&self) -> &Arc<dyn ExecutionPlan> {
        match &self.inner {
            LeaderRows::Local(plan) => plan,
            LeaderRows::Query(query) => query.root(),
        }
    }
}

/// Stands for the rows of `plan`, which runs on the leader; keeps its number of partitions.
pub(crate) fn local(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let partitioning = plan.output_partitioning().clone();
    let schema = plan.schema();
    reshape(LeaderRowsExec::new(LeaderRows::Local(plan), schema), partitioning)
}

/// Stands for the rows of a distributed query; keeps the partitioning that its parents rely on.
pub(crate) fn query(
    query: Distributed,
    partitioning: Partitioning,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = query.root().schema();
    reshape(LeaderRowsExec::new(LeaderRows::Query(Box::new(query)), schema), partitioning)
}

fn reshape(rows: LeaderRowsExec, partitioning: Partitioning) -> Result<Arc<dyn ExecutionPlan>> {
    let rows: Arc<dyn ExecutionPlan> = Arc::new(rows);
    let partitioning = match partitioning {
        one if one.partition_count() <= 1 => return Ok(rows),
        hash @ Partitioning::Hash(..) => hash,
        other => Partitioning::RoundRobinBatch(other.partition_count()),
    };
    Ok(Arc::new(RepartitionExec::try_new(rows, partitioning).map_err(from_datafusion)?))
}

/// True for a leaf whose rows are inside the plan and may travel with it.
pub(crate) fn is_literal(leaf: &dyn ExecutionPlan) -> bool {
    if leaf.is::<EmptyExec>() || leaf.is::<PlaceholderRowExec>() || leaf.is::<LeaderRowsExec>() {
        return true;
    }
    // Only rows that the planner itself put there (VALUES, COUNT over statistics) are few.
    literal_bytes(leaf).is_some_and(|bytes| bytes <= LITERAL_BYTES_MAX)
}

/// Rows up to this size travel inside the plan; more are treated as the leader's.
const LITERAL_BYTES_MAX: usize = 64 * 1024 * 1024;

fn literal_bytes(leaf: &dyn ExecutionPlan) -> Option<usize> {
    let source = leaf.downcast_ref::<DataSourceExec>()?;
    let memory = source.data_source().downcast_ref::<MemorySourceConfig>()?;
    let batches = memory.partitions().iter().flatten();
    Some(batches.map(RecordBatch::get_array_memory_size).sum())
}

/// Starts a query over the compute nodes.
pub(crate) type Run =
    Arc<dyn Fn(Distributed) -> BoxFuture<'static, Result<SendableRecordBatchStream>> + Send + Sync>;

/// Computes the rows that stand in plans as [`LeaderRowsExec`].
pub(crate) struct Resolution {
    pub(crate) run: Run,
    pub(crate) context: Arc<TaskContext>,
    pub(crate) cancel: CancellationToken,
    /// What the leader may hold of such rows.
    pub(crate) budget_bytes: usize,
}

impl Resolution {
    /// The plan with every [`LeaderRowsExec`] replaced by the rows it stands for.
    pub(crate) fn resolve(&self, plan: Plan) -> BoxFuture<'_, Result<Plan>> {
        Box::pin(async move {
            let mut left = self.budget_bytes;
            let mut resolved: Vec<(usize, Plan)> = Vec::new();
            for node in unresolved(&plan)? {
                let address = address(&node);
                let Some(rows) = node.downcast_ref::<LeaderRowsExec>() else {
                    continue;
                };
                if resolved.iter().any(|(known, _)| *known == address) {
                    continue;
                }
                let stream = self.start(rows).await?;
                let batches = collect(stream, &self.cancel, &mut left).await?;
                resolved.push((address, literal(batches, rows.schema())?));
            }
            if resolved.is_empty() { Ok(plan) } else { replace(plan, &resolved) }
        })
    }

    async fn start(&self, rows: &LeaderRowsExec) -> Result<SendableRecordBatchStream> {
        let inner = match &rows.inner {
            LeaderRows::Local(inner) => Arc::clone(inner),
            LeaderRows::Query(query) => return (self.run)(query.as_ref().clone()).await,
        };
        let inner = self.resolve(inner).await?;
        let inner: Plan = Arc::new(CoalescePartitionsExec::new(inner));
        inner.execute(0, Arc::clone(&self.context)).map_err(from_datafusion)
    }
}

fn unresolved(plan: &Plan) -> Result<Vec<Plan>> {
    let mut found = Vec::new();
    plan.apply(|node| {
        if node.is::<LeaderRowsExec>() {
            found.push(Arc::clone(node));
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(from_datafusion)?;
    Ok(found)
}

fn replace(plan: Plan, resolved: &[(usize, Plan)]) -> Result<Plan> {
    plan.transform_up(|node| {
        let address = address(&node);
        Ok(match resolved.iter().find(|(known, _)| *known == address) {
            Some((_, rows)) => Transformed::yes(Arc::clone(rows)),
            None => Transformed::no(node),
        })
    })
    .map(|transformed| transformed.data)
    .map_err(from_datafusion)
}

fn address(node: &Arc<dyn ExecutionPlan>) -> usize {
    Arc::as_ptr(node).cast::<()>() as usize
}

async fn collect(
    mut stream: SendableRecordBatchStream,
    cancel: &CancellationToken,
    left: &mut usize,
) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    loop {
        let next = tokio::select! {
            () = cancel.cancelled() => return Err(crate::query::canceled()),
            next = stream.next() => next,
        };
        let Some(batch) = next else {
            return Ok(batches);
        };
        let batch = batch.map_err(from_datafusion)?;
        let bytes = batch.get_array_memory_size();
        *left = left.checked_sub(bytes).ok_or_else(too_much)?;
        batches.push(batch);
    }
}

fn too_much() -> Error {
    error!(OutOfMemory, "rows that the leader node must hold exceed its memory limit").hint(
        "Reduce the rows of the system tables or of the recursive query, for example with WHERE.",
    )
}

/// A leaf that holds `batches`.
pub(crate) fn literal(
    batches: Vec<RecordBatch>,
    schema: arrow_schema::SchemaRef,
) -> Result<Arc<dyn ExecutionPlan>> {
    let rows = MemorySourceConfig::try_new_exec(&[batches], schema, None);
    rows.map(|rows| rows as _).map_err(from_datafusion)
}

impl DisplayAs for LeaderRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaderRowsExec: {}", self.plan().name())
    }
}

impl ExecutionPlan for LeaderRowsExec {
    fn name(&self) -> &str {
        "LeaderRowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> datafusion::common::Result<TreeNodeRecursion>,
    ) -> datafusion::common::Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        _: usize,
        _: Arc<TaskContext>,
    ) -> datafusion::common::Result<SendableRecordBatchStream> {
        Err(into_datafusion(Error::internal(
            "rows of the leader were not computed before the plan",
        )))
    }
}
