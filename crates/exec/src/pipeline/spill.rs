//! What a pipeline does with groups that do not fit into memory but may be given out only once:
//! partial states go to disk and DataFusion's final aggregation, which spills itself, merges them.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode, AggregateMode};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::SpillMetrics;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
    SpillManager,
};
use futures::TryStreamExt;
use parking_lot::Mutex;

use crate::distribute::Plan;

/// The schema of the partial states of an aggregation that gives final results.
pub(super) fn state_schema(aggregate: &AggregateExec) -> Result<SchemaRef> {
    if aggregate.mode().input_mode() == AggregateInputMode::Partial {
        return Ok(aggregate.input().schema());
    }
    let partial = AggregateExec::try_new(
        AggregateMode::Partial,
        aggregate.group_expr().clone(),
        aggregate.aggr_expr().to_vec(),
        aggregate.filter_expr().to_vec(),
        Arc::clone(aggregate.input()),
        aggregate.input_schema(),
    )?;
    Ok(partial.schema())
}

/// Batches of states on disk.
pub(super) struct Spill {
    manager: Arc<SpillManager>,
    schema: SchemaRef,
    files: Vec<Arc<dyn datafusion::execution::SpillFile>>,
}

impl Spill {
    pub(super) fn new(schema: SchemaRef, metrics: SpillMetrics, context: &TaskContext) -> Spill {
        let manager = SpillManager::new(context.runtime_env(), metrics, Arc::clone(&schema));
        Spill { manager: Arc::new(manager), schema, files: Vec::new() }
    }

    /// The schema of the states.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Writes batches to a file of their own.
    pub(super) fn write(
        &mut self,
        batches: impl Iterator<Item = Result<RecordBatch>>,
    ) -> Result<()> {
        let mut file = self.manager.create_in_progress_file("aggregation states")?;
        for batch in batches {
            file.append_batch(&batch?)?;
        }
        self.files.extend(file.finish()?);
        Ok(())
    }

    /// The results of `aggregate` from all states that were written.
    pub(super) fn merged(
        self,
        aggregate: &AggregateExec,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let group_by = match aggregate.mode().input_mode() {
            AggregateInputMode::Partial => aggregate.group_expr().clone(),
            AggregateInputMode::Raw => aggregate.group_expr().as_final(),
        };
        let filters = vec![None; aggregate.aggr_expr().len()];
        let schema = aggregate.schema();
        let merged = AggregateExec::try_new(
            AggregateMode::Final,
            group_by,
            aggregate.aggr_expr().to_vec(),
            filters,
            Arc::new(SpilledExec::new(self)),
            aggregate.input_schema(),
        )?;
        let stream = merged.execute(0, context)?;
        // Names of columns and their nullability are those of the aggregation it stands for.
        let renamed = Arc::clone(&schema);
        let stream = stream.and_then(move |batch| {
            let batch = RecordBatch::try_new(Arc::clone(&renamed), batch.columns().to_vec());
            std::future::ready(batch.map_err(Into::into))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// Reads spilled states once.
struct SpilledExec {
    spill: Mutex<Option<Spill>>,
    properties: Arc<PlanProperties>,
}

impl SpilledExec {
    fn new(spill: Spill) -> SpilledExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&spill.schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        SpilledExec { spill: Mutex::new(Some(spill)), properties: Arc::new(properties) }
    }
}

impl fmt::Debug for SpilledExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpilledExec")
    }
}

impl DisplayAs for SpilledExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpilledExec")
    }
}

impl ExecutionPlan for SpilledExec {
    fn name(&self) -> &'static str {
        "SpilledExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Plan> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Plan>) -> Result<Plan> {
        Ok(self)
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(Spill { manager, schema, files }) = self.spill.lock().take() else {
            return internal_err!("spilled states are read once");
        };
        let read = move |file| manager.read_spill_as_stream(file, None);
        let streams = futures::stream::iter(files.into_iter().map(read));
        let stream = streams.try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}
