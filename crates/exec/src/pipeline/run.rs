//! The stream of one partition: takes blocks or batches until the input ends, then gives groups.
//!
//! One step takes one block and then lets other tasks run, so that a cancel is seen at once.
//! When memory is short, partial states are given out early, final ones spill.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::metrics::{BaselineMetrics, SpillMetrics};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use super::PipelineExec;
use super::fuse;
use super::machine::Machine;
use super::output;
use super::spill::{self, Spill};
use crate::scan::{PartitionScan, Piece, SegmentScanExec};

/// A table over a range of keys may take so many bytes for each row of the input, and in all.
const RANGE_BYTES_A_ROW: u128 = 16;
const RANGE_BYTES_MAX: u128 = 256 << 20;
/// Partial aggregation is given up after so many rows when hardly fewer groups came of them.
const TRIAL_ROWS: usize = 100_000;
const USELESS_SHARE: f64 = 0.8;
/// Rows that are then given out at once.
const PASSED_ROWS: usize = 1 << 15;

/// Where the rows come from.
enum Feed {
    Blocks(Box<PartitionScan>),
    Batches(SendableRecordBatchStream),
}

/// Starts one partition.
pub(super) fn execute(
    pipeline: &PipelineExec,
    partition: usize,
    context: &Arc<TaskContext>,
) -> Result<SendableRecordBatchStream> {
    let (aggregate, fused) = (&pipeline.aggregate, &pipeline.fused);
    let Some(base) = fuse::base(aggregate, fused.depth) else {
        return datafusion::common::internal_err!("a pipeline without its input");
    };
    let scan = base.downcast_ref::<SegmentScanExec>();
    let blocks = match scan.filter(|_| fused.takes_blocks()) {
        Some(scan) => scan.execute_blocks(partition, context)?,
        None => None,
    };
    let feed = match blocks {
        Some(blocks) => Feed::Blocks(Box::new(blocks)),
        None => Feed::Batches(base.execute(partition, Arc::clone(context))?),
    };
    let range_bytes_max = scan.map_or(0, |scan| range_bytes_max(scan, partition));
    // Whoever can spill takes part in sharing the memory, however little it needs.
    let consumer = MemoryConsumer::new(format!("PipelineExec[{partition}]"))
        .with_can_spill(!fused.keys.is_empty());
    let schema = aggregate.schema();
    let run = Run {
        machine: Machine::new(fused, range_bytes_max)?,
        feed: Some(feed),
        giving: None,
        merged: None,
        spill: None,
        reservation: Some(consumer.register(context.memory_pool())),
        baseline: BaselineMetrics::new(&pipeline.metrics, partition),
        spill_metrics: SpillMetrics::new(&pipeline.metrics, partition),
        batch_rows: context.session_config().batch_size().max(1),
        schema: Arc::clone(&schema),
        aggregate: Arc::clone(aggregate),
        context: Arc::clone(context),
    };
    let stream = futures::stream::try_unfold(run, |mut run| async move {
        Ok(run.next().await?.map(|batch| (batch, run)))
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
}

/// The largest table over a range of keys that the rows of a partition are worth.
fn range_bytes_max(scan: &SegmentScanExec, partition: usize) -> u128 {
    let rows = scan.partition_rows(partition);
    // Filters leave few rows, as a rule.
    let rows = if scan.filters().is_empty() { rows } else { rows / 8 };
    (u128::from(rows) * RANGE_BYTES_A_ROW).min(RANGE_BYTES_MAX)
}

/// One running partition.
struct Run {
    machine: Machine,
    /// `None` at the end of the input.
    feed: Option<Feed>,
    /// The groups that are still to be given out.
    giving: Option<Range<usize>>,
    /// The results, once states were spilled.
    merged: Option<SendableRecordBatchStream>,
    spill: Option<Spill>,
    /// `None` once DataFusion's operators account for what is left to do.
    reservation: Option<MemoryReservation>,
    baseline: BaselineMetrics,
    spill_metrics: SpillMetrics,
    batch_rows: usize,
    schema: SchemaRef,
    aggregate: Arc<AggregateExec>,
    context: Arc<TaskContext>,
}

impl Run {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(merged) = &mut self.merged {
                let next = merged.next().await.transpose()?;
                if let Some(batch) = &next {
                    self.baseline.record_output(batch.num_rows());
                }
                return Ok(next);
            }
            if let Some(batch) = self.give()? {
                self.baseline.record_output(batch.num_rows());
                return Ok(Some(batch));
            }
            if self.feed.is_none() {
                return Ok(None);
            }
            if self.take().await? {
                self.settle()?;
                // A block is enough for one turn.
                tokio::task::yield_now().await;
            } else {
                self.finish()?;
            }
        }
    }

    /// Takes the next block or batch; false at the end of the input.
    async fn take(&mut self) -> Result<bool> {
        let piece = match &mut self.feed {
            None => None,
            Some(Feed::Blocks(scan)) => scan.next_piece().await?,
            Some(Feed::Batches(stream)) => stream.next().await.transpose()?.map(Piece::Batch),
        };
        let _timer = self.baseline.elapsed_compute().timer();
        match piece {
            None => return Ok(false),
            Some(Piece::Rows(block)) => self.machine.block(&block)?,
            Some(Piece::Batch(batch)) => self.machine.batch(&batch)?,
        }
        Ok(true)
    }

    /// Accounts for the memory held and lets go of groups when it is too much.
    fn settle(&mut self) -> Result<()> {
        let groups = self.machine.groups();
        let fits = match &self.reservation {
            Some(reservation) => reservation.try_resize(self.machine.memory_bytes()),
            None => Ok(()),
        };
        if let (Err(_), Some(grouper)) = (&fits, &mut self.machine.grouper) {
            grouper.end_ranges();
        }
        if self.machine.fused.is_partial {
            let rows = self.machine.rows_taken;
            let useless = rows >= TRIAL_ROWS && groups as f64 > rows as f64 * USELESS_SHARE;
            if useless && self.machine.grouper.is_some() {
                self.machine.pass_rows();
            }
            let full = fits.is_err() || self.machine.passes_rows() && groups >= PASSED_ROWS;
            if full && self.machine.grouper.is_some() && groups > 0 {
                self.giving = Some(0..groups);
            }
            return Ok(());
        }
        match fits {
            Err(_) if self.machine.grouper.is_some() && groups > 0 => self.spill(),
            Err(error) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// Writes all groups to disk and forgets them.
    fn spill(&mut self) -> Result<()> {
        let _timer = self.baseline.elapsed_compute().timer();
        if self.spill.is_none() {
            let schema = spill::state_schema(&self.aggregate)?;
            let metrics = self.spill_metrics.clone();
            self.spill = Some(Spill::new(schema, metrics, &self.context));
        }
        let groups = self.machine.groups();
        if let Some(spill) = &mut self.spill
            && groups > 0
        {
            let (machine, rows) = (&self.machine, self.batch_rows);
            let schema = spill.schema();
            let batches = (0..groups).step_by(rows).map(|first| {
                let range = first..(first + rows).min(groups);
                output::batch(machine, &schema, &machine.fused.states, range)
            });
            spill.write(batches)?;
        }
        self.machine.clear()?;
        self.free();
        Ok(())
    }

    fn free(&self) {
        if let Some(reservation) = &self.reservation {
            reservation.free();
        }
    }

    /// The input has ended.
    fn finish(&mut self) -> Result<()> {
        self.feed = None;
        if self.spill.is_some() {
            self.spill()?;
            // Whoever holds a reservation takes part in sharing the memory.
            self.reservation = None;
            if let Some(spill) = self.spill.take() {
                self.merged = Some(spill.merged(&self.aggregate, Arc::clone(&self.context))?);
            }
            return Ok(());
        }
        self.giving = Some(0..self.machine.groups());
        Ok(())
    }

    /// The next batch of the groups that are being given out.
    fn give(&mut self) -> Result<Option<RecordBatch>> {
        let Some(left) = &mut self.giving else {
            return Ok(None);
        };
        if left.start >= left.end {
            self.giving = None;
            self.machine.clear()?;
            self.free();
            return Ok(None);
        }
        let _timer = self.baseline.elapsed_compute().timer();
        let groups = left.start..(left.start + self.batch_rows).min(left.end);
        left.start = groups.end;
        let given = &self.machine.fused.given;
        output::batch(&self.machine, &self.schema, given, groups).map(Some)
    }
}
