//! A running write of one slice.
//!
//! Rows are collected into runs as large as memory allows, sorted, encoded, and put while the
//! next run is collected; at most one put is under way.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, SchemaRef};
use base::ids::SliceId;
use base::segment::Segment;
use columnar::SegmentWriter;
use datafusion::common::{DataFusionError, Result, internal_datafusion_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, Time,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use tokio_util::task::AbortOnDropHandle;

use super::run::Run;
use super::spec::{SortBy, WriteSpec};
use super::{output_schema, upload};
use crate::cache::NodeStorage;
use crate::error::into_datafusion;

/// Rows gathered and encoded between two chances for other tasks.
const STEP_ROWS: usize = 16_384;

/// A segment is closed at so many rows, whatever its size: the place of a row in its segment has
/// 32 bits.
const SEGMENT_ROWS_MAX: u64 = 1 << 30;

/// The descriptors of one slice, as a stream of one batch.
pub(super) fn execute(
    writer: SliceWriter,
    mut input: SendableRecordBatchStream,
) -> SendableRecordBatchStream {
    let written = async move {
        let mut writer = writer;
        while let Some(batch) = input.next().await {
            writer.add(batch?).await?;
        }
        described(&writer.finish().await?)
    };
    let stream = futures::stream::once(written);
    Box::pin(RecordBatchStreamAdapter::new(output_schema(), stream))
}

fn described(segments: &[Segment]) -> Result<RecordBatch> {
    let texts = segments.iter().map(crate::scan::json).collect::<Result<Vec<_>>>()?;
    let rows = segments.iter().map(|segment| segment.rows);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from(texts)), Arc::new(UInt64Array::from_iter_values(rows))];
    Ok(RecordBatch::try_new(output_schema(), columns)?)
}

/// Reads the descriptors out of what the operator gives.
///
/// # Errors
/// When the batch is not the operator's.
pub fn segments_of(batch: &RecordBatch) -> Result<Vec<Segment>> {
    let texts = batch
        .column_by_name(super::SEGMENT_COLUMN)
        .and_then(|column| column.as_string_opt::<i32>())
        .ok_or_else(|| internal_datafusion_err!("a write gave something else than segments"))?;
    texts.iter().flatten().map(crate::scan::from_json).collect()
}

/// The rows of one slice on their way into segments.
pub(crate) struct SliceWriter {
    /// Of the rows as they are stored.
    schema: SchemaRef,
    spec: Arc<WriteSpec>,
    slice: Option<SliceId>,
    storage: Arc<NodeStorage>,
    reservation: MemoryReservation,
    baseline: BaselineMetrics,
    bytes_written: Count,
    sort_time: Time,
    encode_time: Time,
    put_time: Time,
    run: Run,
    /// The segment being encoded, when rows need no sorting or a run fills several.
    open: Option<SegmentWriter>,
    rows_seen: u64,
    put: Option<AbortOnDropHandle<base::Result<()>>>,
    segments: Vec<Segment>,
}

impl SliceWriter {
    /// A writer of what comes to `partition`, whose slice is `slice`.
    pub(crate) fn new(
        spec: &Arc<WriteSpec>,
        slice: Option<u16>,
        storage: Arc<NodeStorage>,
        metrics: &ExecutionPlanMetricsSet,
        partition: usize,
        context: &TaskContext,
    ) -> SliceWriter {
        let consumer = MemoryConsumer::new(format!("SegmentWriteExec[{partition}]"));
        let time = |name: &'static str| MetricBuilder::new(metrics).subset_time(name, partition);
        SliceWriter {
            schema: spec.schema(),
            spec: Arc::clone(spec),
            slice: slice.map(SliceId),
            storage,
            reservation: consumer.register(context.memory_pool()),
            baseline: BaselineMetrics::new(metrics, partition),
            bytes_written: MetricBuilder::new(metrics).counter("bytes_written", partition),
            sort_time: time("sort_time"),
            encode_time: time("encode_time"),
            put_time: time("put_time"),
            run: Run::default(),
            open: None,
            rows_seen: 0,
            put: None,
            segments: Vec::new(),
        }
    }

    /// Adds rows, whose first columns are those of the spec.
    pub(crate) async fn add(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let first = self.rows_seen;
        self.rows_seen += batch.num_rows() as u64;
        let batch = self.spec.stored(&self.schema, batch, self.slice, first)?;
        match self.spec.sort {
            SortBy::Arrival | SortBy::Sorted(_) => self.encode(&batch).await,
            SortBy::Compound(_) | SortBy::Interleaved(_) => self.collect(batch).await,
        }
    }

    /// Makes the rows durable.
    pub(crate) async fn finish(mut self) -> Result<Vec<Segment>> {
        self.write_run().await?;
        self.close_segment().await?;
        self.finish_put().await?;
        self.baseline.record_output(self.segments.len());
        Ok(self.segments)
    }

    /// Adds a batch to the run, or begins a new one when memory or the run's size demands it.
    async fn collect(&mut self, batch: RecordBatch) -> Result<()> {
        let bytes = decoded_bytes(&batch);
        if self.run.bytes() + bytes > self.spec.run_bytes && self.run.rows() > 0 {
            self.write_run().await?;
        }
        if self.reservation.try_grow(bytes).is_err() {
            self.write_run().await?;
            self.close_segment().await?;
            self.finish_put().await?;
            // Everything else is written: a batch that is there already is not refused.
            self.reservation.grow(bytes);
        }
        self.run.push(batch, bytes);
        Ok(())
    }

    /// Sorts and encodes the run; each run ends its segment, so that a segment is in order.
    async fn write_run(&mut self) -> Result<()> {
        let run = std::mem::take(&mut self.run);
        if run.rows() == 0 {
            return Ok(());
        }
        let timer = self.sort_time.timer();
        let order = run.order(&self.spec.sort)?;
        timer.done();
        let mut at = 0;
        while at < run.rows() {
            let timer = self.sort_time.timer();
            let batch = run.slice(&order, at, STEP_ROWS)?;
            timer.done();
            at += batch.num_rows();
            self.encode(&batch).await?;
            tokio::task::consume_budget().await;
        }
        let bytes = run.bytes();
        drop((order, run));
        self.close_segment().await?;
        self.reservation.shrink(bytes.min(self.reservation.size()));
        Ok(())
    }

    /// Encodes rows into the open segment and closes it when it is large enough.
    async fn encode(&mut self, batch: &RecordBatch) -> Result<()> {
        let timer = self.encode_time.timer();
        let writer = match &mut self.open {
            Some(writer) => writer,
            None => {
                let columns = self.spec.column_specs().map_err(into_datafusion)?;
                self.open.insert(SegmentWriter::new(columns, self.spec.options()))
            }
        };
        writer.push(batch).map_err(into_datafusion)?;
        timer.done();
        if writer.encoded_bytes() >= self.spec.segment_bytes || writer.rows() >= SEGMENT_ROWS_MAX {
            self.close_segment().await?;
        }
        Ok(())
    }

    /// Finishes the open segment and starts to put it.
    async fn close_segment(&mut self) -> Result<()> {
        let Some(writer) = self.open.take() else {
            return Ok(());
        };
        let timer = self.encode_time.timer();
        let encoded = writer.finish().map_err(into_datafusion)?;
        timer.done();
        if encoded.rows == 0 {
            return Ok(());
        }
        self.finish_put().await?;
        self.bytes_written.add(encoded.bytes as usize);
        let seq = u32::try_from(self.segments.len()).unwrap_or(u32::MAX);
        let segment = self.spec.descriptor(&encoded, self.slice, seq);
        let store = Arc::clone(&self.storage.store);
        let put = upload::put(store, segment.path.clone(), encoded);
        self.put = Some(AbortOnDropHandle::new(base::task::spawn("segment put", put)));
        self.segments.push(segment);
        Ok(())
    }

    async fn finish_put(&mut self) -> Result<()> {
        let Some(put) = self.put.take() else {
            return Ok(());
        };
        let timer = self.put_time.timer();
        let done = put.await.map_err(|error| DataFusionError::External(Box::new(error)))?;
        timer.done();
        done.map_err(into_datafusion)
    }
}

/// What the rows of a batch take in memory, without what slices of it share.
fn decoded_bytes(batch: &RecordBatch) -> usize {
    let of_column = |array: &ArrayRef| {
        let views = |long: usize| array.len() * 16 + long;
        match array.data_type() {
            DataType::Utf8View => views(array.as_string_view().total_buffer_bytes_used()),
            DataType::BinaryView => views(array.as_binary_view().total_buffer_bytes_used()),
            other => other.primitive_width().unwrap_or(1) * array.len(),
        }
    };
    batch.columns().iter().map(of_column).sum()
}
