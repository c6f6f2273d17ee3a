//! A running write of one slice.
//!
//! Rows are collected into runs as large as memory allows, sorted, encoded, and put while the
//! next run is collected; at most one put is under way.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Schema, SchemaRef};
use base::ids::SliceId;
use base::segment::Segment;
use base::{Error, error};
use columnar::{Encoded, SegmentWriter};
use datafusion::common::{DataFusionError, Result, internal_datafusion_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, MetricBuilder, Time};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use tokio_util::task::AbortOnDropHandle;

use super::run::Run;
use super::spec::{SortBy, WriteSpec};
use super::{SegmentWriteExec, output_schema, upload};
use crate::cache::NodeStorage;
use crate::error::into_datafusion;
use crate::placement;

/// Rows gathered and encoded between two chances for other tasks.
const STEP_ROWS: usize = 16_384;

/// The descriptors of one slice, as a stream of one batch.
pub(super) fn execute(
    write: &SegmentWriteExec,
    partition: usize,
    slice: Option<u16>,
    input: SendableRecordBatchStream,
    storage: Arc<NodeStorage>,
    context: &TaskContext,
) -> Result<SendableRecordBatchStream> {
    let consumer = MemoryConsumer::new(format!("SegmentWriteExec[{partition}]"));
    let counter = |name: &'static str| MetricBuilder::new(&write.metrics).counter(name, partition);
    let time = |name: &'static str| MetricBuilder::new(&write.metrics).subset_time(name, partition);
    let fields = write.spec.columns.iter().map(|c| c.sql_type.field(&c.name, true));
    let writer = SliceWriter {
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        spec: Arc::clone(&write.spec),
        slice: slice.map(SliceId),
        storage,
        reservation: consumer.register(context.memory_pool()),
        baseline: BaselineMetrics::new(&write.metrics, partition),
        bytes_written: counter("bytes_written"),
        sort_time: time("sort_time"),
        encode_time: time("encode_time"),
        put_time: time("put_time"),
        run: Run::default(),
        open: None,
        rows_seen: 0,
        put: None,
        segments: Vec::new(),
    };
    let stream = futures::stream::once(writer.run(input));
    Ok(Box::pin(RecordBatchStreamAdapter::new(output_schema(), stream)))
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

struct SliceWriter {
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
    async fn run(mut self, mut input: SendableRecordBatchStream) -> Result<RecordBatch> {
        while let Some(batch) = input.next().await {
            let batch = self.prepared(batch?)?;
            if batch.num_rows() == 0 {
                continue;
            }
            if self.spec.sort == SortBy::Arrival {
                self.encode(&batch).await?;
            } else {
                self.collect(batch).await?;
            }
        }
        self.write_run().await?;
        self.close_segment().await?;
        self.finish_put().await?;
        self.baseline.record_output(self.segments.len());
        self.described()
    }

    /// The batch as it is stored: identity values filled in, the spreading column gone, and
    /// what the planner promised about it checked.
    fn prepared(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let first = self.rows_seen;
        self.rows_seen += batch.num_rows() as u64;
        let wanted = self.spec.columns.len();
        let mut columns: Vec<ArrayRef> =
            batch.columns()[..wanted.min(batch.num_columns())].to_vec();
        let (slice, slices) = match self.slice {
            Some(slice) => (slice.0, self.spec.slices),
            None => (0, 1),
        };
        for fill in &self.spec.identity {
            let column = columns.get_mut(fill.column).ok_or_else(|| {
                internal_datafusion_err!("identity column {} is not written", fill.column)
            })?;
            *column = fill.filled(column, first, slice, slices).map_err(into_datafusion)?;
        }
        for (array, column) in columns.iter().zip(&self.spec.columns) {
            if !column.nullable && array.null_count() > 0 {
                return Err(into_datafusion(self.not_null(&column.name)));
            }
        }
        self.check_placement(&columns)?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn not_null(&self, column: &str) -> Error {
        error!(NotNullViolation, "null value in column \"{column}\" violates not-null constraint")
            .table(&self.spec.name)
            .column(column)
    }

    /// Refuses rows that are not on the slice that their DISTKEY names: they would be missed by
    /// every co-located join.
    fn check_placement(&self, columns: &[ArrayRef]) -> Result<()> {
        let (Some(key), Some(slice)) = (self.spec.key, self.slice) else {
            return Ok(());
        };
        let mut slices = Vec::new();
        placement::slices_of(&columns[key..=key], self.spec.slices, &mut slices)?;
        match slices.iter().find(|other| **other != slice.0) {
            None => Ok(()),
            Some(other) => Err(internal_datafusion_err!(
                "a row of {} for slice {other} was sent to slice {slice}",
                self.spec.name
            )),
        }
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
            self.reservation.try_grow(bytes)?;
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
        if writer.encoded_bytes() >= self.spec.segment_bytes {
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
        let segment = self.descriptor(&encoded);
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

    fn descriptor(&self, encoded: &Encoded) -> Segment {
        let seq = u32::try_from(self.segments.len()).unwrap_or(u32::MAX);
        let key = self.spec.key.and_then(|key| self.spec.columns.get(key));
        let placement = match (key, self.slice) {
            (Some(key), Some(_)) => placement::placement_mark(key.id, self.spec.slices),
            _ => placement::NOT_PLACED,
        };
        Segment {
            path: self.spec.path(self.slice, seq),
            slice: self.slice,
            rows: encoded.rows,
            bytes: encoded.bytes,
            footer_offset: encoded.footer_offset,
            footer_checksum: encoded.footer_checksum,
            placement,
            sorted: matches!(self.spec.sort, SortBy::Compound(_)),
            columns: encoded.columns.clone(),
            ..Segment::default()
        }
    }

    fn described(&self) -> Result<RecordBatch> {
        let texts = self.segments.iter().map(crate::scan::json).collect::<Result<Vec<_>>>()?;
        let rows = self.segments.iter().map(|segment| segment.rows);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(texts)), Arc::new(UInt64Array::from_iter_values(rows))];
        Ok(RecordBatch::try_new(output_schema(), columns)?)
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
