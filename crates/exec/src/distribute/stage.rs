//! The nodes that frame a stage's work: its output, and rows that only the first task gives.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, EmptyRecordBatchStream, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties,
};
use datafusion_distributed::DistributedTaskContext;
use futures::{Stream, StreamExt};

use crate::error::to_wire;

/// The top of what a stage computes: passes rows on and gives errors the form in which they
/// survive the way to another node.
#[derive(Debug)]
pub(crate) struct StageOutputExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    ordered: bool,
    metrics: ExecutionPlanMetricsSet,
}

impl StageOutputExec {
    /// The order of each partition reaches the reader.
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>) -> StageOutputExec {
        let properties = Arc::clone(input.properties());
        StageOutputExec { input, properties, ordered: true, metrics: Default::default() }
    }

    /// Rows of several tasks mix on the way, so that no order reaches the reader.
    pub(crate) fn unordered(input: Arc<dyn ExecutionPlan>) -> StageOutputExec {
        // Columns that are equal stay equal; what holds within one partition is lost.
        let mut equal = input.equivalence_properties().clone();
        equal.clear_orderings();
        equal.clear_per_partition_constants();
        let partitioning = input.output_partitioning().clone();
        let (behavior, bounded) = (input.pipeline_behavior(), input.boundedness());
        let properties = Arc::new(PlanProperties::new(equal, partitioning, behavior, bounded));
        StageOutputExec { input, properties, ordered: false, metrics: Default::default() }
    }

    pub(crate) fn is_ordered(&self) -> bool {
        self.ordered
    }
}

impl DisplayAs for StageOutputExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StageOutputExec")
    }
}

impl ExecutionPlan for StageOutputExec {
    fn name(&self) -> &str {
        "StageOutputExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![self.ordered]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.swap_remove(0);
        Ok(Arc::new(if self.ordered {
            StageOutputExec::new(input)
        } else {
            StageOutputExec::unordered(input)
        }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context).map_err(to_wire)?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let schema = self.schema();
        Ok(Box::pin(StageOutput { input: Some(input), schema, metrics }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

struct StageOutput {
    /// Dropped at its end: what it holds is free while other partitions go on.
    input: Option<SendableRecordBatchStream>,
    schema: SchemaRef,
    metrics: BaselineMetrics,
}

impl Stream for StageOutput {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(input) = self.input.as_mut() else {
            return Poll::Ready(None);
        };
        let next = ready!(input.poll_next_unpin(cx));
        if !matches!(next, Some(Ok(_))) {
            self.input = None;
        }
        Poll::Ready(next.map(|result| match result {
            Ok(batch) => Ok(batch.record_output(&self.metrics)),
            Err(error) => Err(to_wire(error)),
        }))
    }
}

impl RecordBatchStream for StageOutput {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// Rows that every task could give and only the first one gives, so that they count once.
#[derive(Debug)]
pub(crate) struct FirstTaskExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl FirstTaskExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>) -> FirstTaskExec {
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(partitions),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        FirstTaskExec { input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for FirstTaskExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FirstTaskExec")
    }
}

impl ExecutionPlan for FirstTaskExec {
    fn name(&self) -> &str {
        "FirstTaskExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(FirstTaskExec::new(children.swap_remove(0))))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if DistributedTaskContext::from_ctx(&context).task_index == 0 {
            return self.input.execute(partition, context);
        }
        Ok(Box::pin(EmptyRecordBatchStream::new(self.schema())))
    }
}
