//! The operators of DELETE, UPDATE and MERGE: rows named by their address go, new ones are
//! written, in one pass.
//!
//! [`ChangeExec`] gathers addresses where rows are and writes what is new;
//! [`MergeDeletesExec`] joins what was gathered of each segment with its earlier deletes. The
//! leader gets descriptors and counts, never rows; making them visible is the catalog's.

mod collect;
pub(crate) mod item;
mod merge;
mod proto;

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, BooleanArray, Int64Array, RecordBatch};
use arrow_schema::DataType;
use arrow_select::filter::filter_record_batch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PhysicalExpr, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};

use self::collect::Collector;
use self::item::Item;
pub(crate) use self::merge::{MergeDeletesExec, MergeSpec};
pub(crate) use self::proto::{decode, decode_merge, encode, encode_merge};
use crate::write::{SliceWriter, WriteSpec, check_columns};

/// Columns after the table's: the address, and whether there is a row to write.
const EXTRA_COLUMNS: usize = 2;
/// Batches between two looks at the memory that the sets take.
const ACCOUNT_BATCHES: usize = 64;

/// Gathers the addresses of its input as sets of rows by segment, and writes each partition's
/// new rows as the segments of one slice. Gives items.
#[derive(Clone, Debug)]
pub(crate) struct ChangeExec {
    input: Arc<dyn ExecutionPlan>,
    /// `None`: the input is addresses alone.
    spec: Option<Arc<WriteSpec>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ChangeExec {
    /// A change by the rows of `input`: addresses, or with `spec` the table's columns, the
    /// address and whether to write.
    ///
    /// # Errors
    /// When the columns are others.
    pub(crate) fn try_new(
        input: Arc<dyn ExecutionPlan>,
        spec: Option<Arc<WriteSpec>>,
    ) -> Result<ChangeExec> {
        let schema = input.schema();
        let at = spec.as_ref().map_or(0, |spec| spec.columns.len());
        if let Some(spec) = &spec {
            check_columns(&schema, spec, EXTRA_COLUMNS)?;
        }
        let types: Vec<&DataType> =
            schema.fields()[at..].iter().map(|field| field.data_type()).collect();
        let known = match spec {
            Some(_) => matches!(types[..], [DataType::Int64, DataType::Boolean, ..]),
            None => matches!(types[..], [DataType::Int64]),
        };
        if !known {
            return internal_err!("the rows of a change have other columns: {types:?}");
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new(item::schema()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(ChangeExec { input, spec, properties: Arc::new(properties), metrics })
    }

    /// How new rows are written, when there are any.
    pub(crate) fn spec(&self) -> Option<&Arc<WriteSpec>> {
        self.spec.as_ref()
    }
}

/// The change of one partition.
struct Change {
    collector: Collector,
    writer: Option<SliceWriter>,
    /// The place of the addresses.
    address: usize,
    reservation: MemoryReservation,
    batches: usize,
    /// Rows that changed something.
    changed: u64,
}

impl Change {
    async fn run(mut self, mut input: SendableRecordBatchStream) -> Result<Vec<RecordBatch>> {
        while let Some(batch) = input.next().await {
            let batch = batch?;
            let addresses = batch.column(self.address).as_primitive::<Int64Type>();
            let write = self.writer.as_ref().map(|_| batch.column(self.address + 1).as_boolean());
            self.changed += changed_rows(addresses, write);
            self.collector.add(addresses);
            self.batches += 1;
            if self.batches.is_multiple_of(ACCOUNT_BATCHES) {
                self.reservation.try_resize(self.collector.bytes())?;
            }
            if let Some(writer) = &mut self.writer
                && let Some(rows) = to_write(&batch, self.address)?
            {
                writer.add(rows).await?;
            }
        }
        let written = match self.writer {
            Some(writer) => writer.finish().await?,
            None => Vec::new(),
        };
        let written = written.into_iter().map(|segment| Ok(Item::Written(Box::new(segment))));
        let changed = std::iter::once(Ok(Item::Changed(self.changed)));
        let items =
            written.chain(changed).chain(self.collector.items()).collect::<Result<Vec<_>>>()?;
        item::to_batches(items)
    }
}

/// The rows of a batch that name a row to go, are to be written, or both.
fn changed_rows(addresses: &Int64Array, write: Option<&BooleanArray>) -> u64 {
    let named = addresses.len() - addresses.null_count();
    let new = match (write, addresses.nulls()) {
        (Some(write), Some(addressed)) if named < addresses.len() => {
            let unnamed = write.iter().zip(addressed.iter()).filter(|(_, named)| !named);
            unnamed.filter(|(write, _)| *write == Some(true)).count()
        }
        _ => 0,
    };
    (named + new) as u64
}

/// The rows of the table in a batch that are to be written.
fn to_write(batch: &RecordBatch, columns: usize) -> Result<Option<RecordBatch>> {
    let write = batch.column(columns + 1).as_boolean();
    let table: Vec<usize> = (0..columns).collect();
    Ok(match write.true_count() {
        0 => None,
        all if all == batch.num_rows() => Some(batch.project(&table)?),
        _ => Some(filter_record_batch(&batch.project(&table)?, write)?),
    })
}

impl DisplayAs for ChangeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.spec {
            Some(spec) => write!(f, "ChangeExec: table={}", spec.name),
            None => f.write_str("ChangeExec"),
        }
    }
}

impl ExecutionPlan for ChangeExec {
    fn name(&self) -> &'static str {
        "ChangeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // Partitions are slices: only the planner of the change may move rows.
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
            return internal_err!("a change has one input");
        };
        Ok(Arc::new(ChangeExec::try_new(input, self.spec.clone())?))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let place = (partition, self.input.output_partitioning().partition_count());
        let writer = match &self.spec {
            Some(spec) => Some(spec.writer(place, None, &self.metrics, &context)?),
            None => None,
        };
        let consumer = MemoryConsumer::new(format!("ChangeExec[{partition}]"));
        let change = Change {
            collector: Collector::default(),
            writer,
            address: self.spec.as_ref().map_or(0, |spec| spec.columns.len()),
            reservation: consumer.register(context.memory_pool()),
            batches: 0,
            changed: 0,
        };
        let items = change.run(self.input.execute(partition, context)?);
        let batches = futures::stream::once(items)
            .map_ok(|batches| {
                futures::stream::iter(batches.into_iter().map(Ok::<_, DataFusionError>))
            })
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(item::schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
