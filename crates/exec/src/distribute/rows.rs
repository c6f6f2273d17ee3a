//! Rows that only the leader has, on their way into a distributed plan.
//!
//! [`LeaderRowsExec`] stands in a plan for rows that the leader computes first: a system table
//! joined with user tables, what a recursive query reads, or a subplan that the statement has
//! several times. Before the plan runs, [`Resolution`] computes them and puts the rows
//! themselves into the plan.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use base::{CancellationToken, Error, Result, error};
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::StreamExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::distribute::{Distributed, Plan};
use crate::error::{from_datafusion, into_datafusion};
use crate::query::Started;
use crate::sharing::SharedTable;

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
    /// A query whose rows several places of the statement read.
    Shared { query: Box<Distributed>, table: Arc<SharedTable> },
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
            LeaderRows::Query(query) | LeaderRows::Shared { query, .. } => query.root(),
        }
    }

    /// The shared subplan that these are the rows of.
    pub(crate) fn shared(&self) -> Option<&Arc<SharedTable>> {
        match &self.inner {
            LeaderRows::Shared { table, .. } => Some(table),
            _ => None,
        }
    }

    /// True for rows that compute nodes give.
    pub(crate) fn is_query(&self) -> bool {
        !matches!(self.inner, LeaderRows::Local(_))
    }
}

/// Stands for the rows of a subplan that the statement reads in several places.
pub(crate) fn shared(query: Distributed, table: Arc<SharedTable>) -> Plan {
    let schema = Arc::clone(table.columns());
    Arc::new(LeaderRowsExec::new(LeaderRows::Shared { query: Box::new(query), table }, schema))
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
pub(crate) type Run = Arc<dyn Fn(Distributed) -> BoxFuture<'static, Result<Started>> + Send + Sync>;

/// Computes the rows that stand in plans as [`LeaderRowsExec`].
pub(crate) struct Resolution {
    pub(crate) run: Run,
    pub(crate) context: Arc<TaskContext>,
    pub(crate) cancel: CancellationToken,
    /// What the leader may hold of such rows.
    pub(crate) budget_bytes: usize,
    pub(crate) shared: Arc<SharedRows>,
}

/// The shared subplans of a statement that have run, by their number.
#[derive(Default)]
pub(crate) struct SharedRows(Mutex<BTreeMap<usize, SharedRun>>);

#[derive(Clone)]
pub(crate) struct SharedRun {
    /// The leaf that holds the rows.
    rows: Plan,
    /// What gave them, with its metrics.
    pub(crate) plan: Plan,
}

impl SharedRows {
    /// Those that have run, in the order of their numbers.
    pub(crate) fn runs(&self) -> Vec<(usize, SharedRun)> {
        self.0.lock().iter().map(|(number, run)| (*number, run.clone())).collect()
    }
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
                let literal = match rows.shared() {
                    Some(table) => self.shared_rows(rows, table).await?,
                    None => {
                        let (stream, _) = self.start(rows).await?;
                        let batches = collect(stream, &self.cancel, &mut left, too_much).await?;
                        literal(batches, rows.schema())?
                    }
                };
                resolved.push((address, literal));
            }
            if resolved.is_empty() { Ok(plan) } else { replace(plan, &resolved) }
        })
    }

    /// The rows of a shared subplan, which runs when they are first asked for.
    async fn shared_rows(&self, rows: &LeaderRowsExec, table: &SharedTable) -> Result<Plan> {
        if let Some(run) = self.shared.0.lock().get(&table.number) {
            return Ok(Arc::clone(&run.rows));
        }
        let (stream, plan) = self.start(rows).await?;
        let mut left = LITERAL_BYTES_MAX;
        let batches = collect(stream, &self.cancel, &mut left, too_much_shared).await?;
        let schema = rows.schema();
        let named = batches.into_iter().map(|batch| {
            let (_, columns, rows) = batch.into_parts();
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)
                .map_err(|error| from_datafusion(error.into()))
        });
        let literal = literal(named.collect::<Result<_>>()?, Arc::clone(&schema))?;
        let run = SharedRun { rows: Arc::clone(&literal), plan };
        self.shared.0.lock().insert(table.number, run);
        Ok(literal)
    }

    /// The rows, and the plan that gives them.
    async fn start(&self, rows: &LeaderRowsExec) -> Result<(SendableRecordBatchStream, Plan)> {
        let inner = match &rows.inner {
            LeaderRows::Local(inner) => Arc::clone(inner),
            LeaderRows::Query(query) | LeaderRows::Shared { query, .. } => {
                let started = (self.run)(query.as_ref().clone()).await?;
                return Ok((started.stream, started.plan));
            }
        };
        let inner = self.resolve(inner).await?;
        let inner: Plan = Arc::new(CoalescePartitionsExec::new(inner));
        let stream = inner.execute(0, Arc::clone(&self.context)).map_err(from_datafusion)?;
        Ok((stream, inner))
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
    too_much: fn() -> Error,
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

fn too_much_shared() -> Error {
    error!(OutOfMemory, "the rows of a shared subplan exceed what the leader node keeps")
        .detail(TOO_MUCH_SHARED)
        .hint("SET enable_shared_subplans TO off computes them for each use.")
}

const TOO_MUCH_SHARED: &str = "A subplan that the statement uses several times gives many rows.";

/// True when a statement can succeed without sharing its subplans.
pub(crate) fn is_too_much_shared(error: &Error) -> bool {
    error.get_detail().is_some_and(|detail| detail == TOO_MUCH_SHARED)
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
        match self.shared() {
            Some(table) => write!(f, "LeaderRowsExec: shared={}", table.number),
            None => write!(f, "LeaderRowsExec: {}", self.plan().name()),
        }
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

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> datafusion::common::Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        if let Some(table) = self.shared() {
            statistics.num_rows = Precision::Inexact(table.estimate().rows as usize);
        }
        Ok(Arc::new(statistics))
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
