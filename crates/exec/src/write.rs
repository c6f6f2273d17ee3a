//! The write operator: rows of a slice become sorted, encoded, durable segments.
//!
//! Owns what one slice does with its rows; how rows come to their slice is the planner's, and
//! making segments visible the catalog's. Its output is descriptors, never rows.

mod even;
mod identity;
mod proto;
mod run;
mod spec;
mod stream;
mod upload;

use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PhysicalExpr, PlanProperties,
};
use datafusion_distributed::DistributedTaskContext;

use crate::cache::NodeStorage;

pub use even::{EVEN_COLUMN, EvenSliceExec};
pub use identity::{IdentityFill, next_identity_bases};
pub use proto::{decode, decode_even, encode, encode_even};
pub(crate) use run::Run;
pub use spec::{SortBy, WriteColumn, WriteSpec};
pub(crate) use stream::SliceWriter;
pub use stream::segments_of;
pub(crate) use upload::put_bytes;

/// The column of the output that holds a serialised [`base::segment::Segment`].
pub const SEGMENT_COLUMN: &str = "segment";
/// The column of the output that holds the segment's rows.
pub const ROWS_COLUMN: &str = "rows";

/// Writes each input partition as the segments of one slice.
#[derive(Clone, Debug)]
pub struct SegmentWriteExec {
    input: Arc<dyn ExecutionPlan>,
    spec: Arc<WriteSpec>,
    /// The slice of partition 0; without it the task's number gives it.
    first_slice: Option<u16>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SegmentWriteExec {
    /// Writes `input`, whose columns are those of the spec in order, with [`EVEN_COLUMN`] after
    /// them when rows were spread evenly.
    ///
    /// # Errors
    /// When the columns of the input are not those of the spec.
    pub fn try_new(
        input: Arc<dyn ExecutionPlan>,
        spec: Arc<WriteSpec>,
    ) -> Result<SegmentWriteExec> {
        check_columns(&input.schema(), &spec, 0)?;
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(output_schema()),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        let properties = Arc::new(properties);
        Ok(SegmentWriteExec { input, spec, first_slice: None, properties, metrics })
    }

    /// The variant of a task whose partition 0 is slice `first`.
    pub fn for_slices_from(&self, first: u16) -> SegmentWriteExec {
        let metrics = ExecutionPlanMetricsSet::new();
        SegmentWriteExec { first_slice: Some(first), metrics, ..self.clone() }
    }

    pub fn spec(&self) -> &Arc<WriteSpec> {
        &self.spec
    }

    /// The rows to write.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }
}

impl WriteSpec {
    /// The writer of `partition` of a task with `partitions` of them, whose first slice is
    /// `first` or else follows from the task's number.
    pub(crate) fn writer(
        self: &Arc<WriteSpec>,
        (partition, partitions): (usize, usize),
        first: Option<u16>,
        metrics: &ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<SliceWriter> {
        let what = format!("a write to {}", self.name);
        let storage = NodeStorage::of(context, &what)?;
        let first = match first {
            Some(first) => usize::from(first),
            None => DistributedTaskContext::from_ctx(context).task_index * partitions,
        };
        let slice = match u16::try_from(first + partition) {
            _ if self.replica && partition > 0 => {
                return internal_err!("{what} that every node reads came in several partitions");
            }
            _ if self.replica => None,
            Ok(slice) if slice < self.slices => Some(slice),
            _ => {
                return internal_err!(
                    "partition {partition} of {what} has no slice among {}",
                    self.slices
                );
            }
        };
        Ok(SliceWriter::new(self, slice, storage, metrics, partition, context))
    }
}

/// Checks that `input` has the columns of the spec, then `extra` others, then [`EVEN_COLUMN`]
/// when rows were spread evenly.
pub(crate) fn check_columns(input: &Schema, spec: &WriteSpec, extra: usize) -> Result<()> {
    let spread = input.fields().last().is_some_and(|last| last.name() == EVEN_COLUMN);
    let extra = extra + usize::from(spread);
    if input.fields().len() != spec.columns.len() + extra {
        return internal_err!(
            "a write to {} got {} columns instead of {}",
            spec.name,
            input.fields().len().saturating_sub(extra),
            spec.columns.len()
        );
    }
    for (field, column) in input.fields().iter().zip(&spec.columns) {
        if *field.data_type() != column.sql_type.arrow() {
            return internal_err!(
                "a write to {} got {} for column {} of type {}",
                spec.name,
                field.data_type(),
                column.name,
                column.sql_type
            );
        }
    }
    Ok(())
}

/// One row a segment.
fn output_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(SEGMENT_COLUMN, DataType::Utf8, false),
        Field::new(ROWS_COLUMN, DataType::UInt64, false),
    ]))
}

impl DisplayAs for SegmentWriteExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentWriteExec: table={}", self.spec.name)
    }
}

impl ExecutionPlan for SegmentWriteExec {
    fn name(&self) -> &'static str {
        "SegmentWriteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // Partitions are slices: only the planner of the write may change them.
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[_; 1]>::try_from(children) else {
            return internal_err!("a write has one input");
        };
        let first_slice = self.first_slice;
        let write = SegmentWriteExec::try_new(input, Arc::clone(&self.spec))?;
        Ok(Arc::new(SegmentWriteExec { first_slice, ..write }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let place = (partition, self.input.output_partitioning().partition_count());
        let writer = self.spec.writer(place, self.first_slice, &self.metrics, &context)?;
        Ok(stream::execute(writer, self.input.execute(partition, context)?))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
