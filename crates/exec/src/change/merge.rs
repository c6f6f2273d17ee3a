//! Sets of one segment meet here, and become its deleted rows.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use base::segment::Segment;
use base::{Error, Result};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PhysicalExpr, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use roaring::RoaringBitmap;

use super::item::{self, Item, Merged};
use crate::cache::NodeStorage;
use crate::deletes;
use crate::error::into_datafusion;

/// Sets that are written at once.
const WRITES_AT_ONCE: usize = 8;

/// Merges the sets of each segment with what was deleted before, and makes them durable. What
/// concerns one segment comes in one partition.
#[derive(Clone, Debug)]
pub(crate) struct MergeDeletesExec {
    input: Arc<dyn ExecutionPlan>,
    pub(super) spec: Arc<MergeSpec>,
    properties: Arc<PlanProperties>,
}

/// What a merge needs to know of its table.
#[derive(Clone, Debug)]
pub(crate) struct MergeSpec {
    /// The table's name, for messages.
    pub(crate) name: String,
    /// The start of each path: directory of the table, epoch and transaction.
    pub(crate) prefix: String,
    /// The segments whose rows can be named, with what was deleted before.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// The input's partitions never share a segment, as they come from their scan. The leader
    /// refuses a change in which they did.
    pub(crate) in_place: bool,
}

/// The rows of one segment that go.
#[derive(Default)]
struct Going {
    named: u64,
    rows: RoaringBitmap,
}

impl MergeDeletesExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, spec: Arc<MergeSpec>) -> MergeDeletesExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(item::schema()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        MergeDeletesExec { input, spec, properties: Arc::new(properties) }
    }

    /// True when partitions of the input share no segment, whatever divides them.
    pub(crate) fn is_in_place(&self) -> bool {
        self.spec.in_place
    }
}

impl MergeSpec {
    async fn merged(
        &self,
        segment: &Segment,
        going: Going,
        storage: &NodeStorage,
    ) -> Result<Merged> {
        let Going { named, mut rows } = going;
        let deleted = rows.len();
        if rows.max().is_some_and(|last| u64::from(last) >= segment.rows) {
            return Err(self.misled("has no such row", segment.number));
        }
        let (before, _) = deletes::load(storage, segment).await?;
        if let Some(before) = before {
            if !rows.is_disjoint(before.set()) {
                return Err(self.misled("has lost the row before", segment.number));
            }
            rows |= before.set();
        }
        let path = format!("{}-{}.del", self.prefix, segment.number);
        let all = deletes::keep(storage, &path, rows).await?;
        Ok(Merged::new(segment.number, named, deleted, &all))
    }

    fn misled(&self, what: &str, number: u32) -> Error {
        Error::internal(format!(
            "a change of {} names a row by a wrong address: segment {number} {what}",
            self.name
        ))
    }
}

async fn merge(
    spec: Arc<MergeSpec>,
    mut input: SendableRecordBatchStream,
    storage: Arc<NodeStorage>,
    consumer: MemoryConsumer,
    context: Arc<TaskContext>,
) -> datafusion::common::Result<Vec<RecordBatch>> {
    let reservation = consumer.register(context.memory_pool());
    let mut written = Vec::new();
    let mut segments: BTreeMap<u32, Going> = BTreeMap::new();
    while let Some(batch) = input.next().await {
        for item in item::of_batch(&batch?)? {
            match item {
                Item::Partial(partial) => {
                    reservation.try_grow(partial.rows.len())?;
                    let rows = deletes::from_bytes(&partial.rows, "a change");
                    let going = segments.entry(partial.number).or_default();
                    going.named += partial.named;
                    going.rows |= rows.map_err(into_datafusion)?;
                }
                other => written.push(other),
            }
        }
    }
    let known: HashMap<u32, &Arc<Segment>> =
        spec.segments.iter().map(|segment| (segment.number, segment)).collect();
    let mut work = Vec::with_capacity(segments.len());
    for (number, going) in segments {
        let Some(segment) = known.get(&number).copied() else {
            return Err(into_datafusion(spec.misled("is not read", number)));
        };
        let (spec, segment, storage) =
            (Arc::clone(&spec), Arc::clone(segment), Arc::clone(&storage));
        work.push(async move { spec.merged(&segment, going, &storage).await });
    }
    let merged: Vec<Merged> = futures::stream::iter(work)
        .buffer_unordered(WRITES_AT_ONCE)
        .try_collect()
        .await
        .map_err(into_datafusion)?;
    item::to_batches(written.into_iter().chain(merged.into_iter().map(Item::Merged)))
}

impl DisplayAs for MergeDeletesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, segments) = (&self.spec.name, self.spec.segments.len());
        write!(f, "MergeDeletesExec: table={name}, segments={segments}")
    }
}

impl ExecutionPlan for MergeDeletesExec {
    fn name(&self) -> &'static str {
        "MergeDeletesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> datafusion::common::Result<TreeNodeRecursion>,
    ) -> datafusion::common::Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[_; 1]>::try_from(children) else {
            return internal_err!("sets of rows come from one input");
        };
        Ok(Arc::new(MergeDeletesExec::new(input, Arc::clone(&self.spec))))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::common::Result<SendableRecordBatchStream> {
        let storage = NodeStorage::of(&context, &format!("a change of {}", self.spec.name))?;
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let consumer = MemoryConsumer::new(format!("MergeDeletesExec[{partition}]"));
        let merged = merge(Arc::clone(&self.spec), input, storage, consumer, context);
        let batches = futures::stream::once(merged)
            .map_ok(|batches| {
                futures::stream::iter(batches.into_iter().map(Ok::<_, DataFusionError>))
            })
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(item::schema(), batches)))
    }
}
