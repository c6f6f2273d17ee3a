//! The stream of one partition: takes blocks or batches until the input ends, then gives groups.
//!
//! One step takes one block and then lets other tasks run, so that a cancel is seen at once.
//! When memory is short, partial states are given out early, those of final results spill.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
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
use super::spill::States;
use crate::parts::{LEVELS_MAX, Part, Partitioner};
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
    let reservation = consumer.register(context.memory_pool());
    let shared = Shared {
        aggregate: Arc::clone(aggregate),
        states: OnceLock::new(),
        reservation,
        baseline: BaselineMetrics::new(&pipeline.metrics, partition),
        spill_metrics: SpillMetrics::new(&pipeline.metrics, partition),
        context: Arc::clone(context),
    };
    Ok(Run::stream(Machine::new(fused, range_bytes_max)?, feed, 0, Arc::new(shared)))
}

/// The largest table over a range of keys that the rows of a partition are worth.
fn range_bytes_max(scan: &SegmentScanExec, partition: usize) -> u128 {
    let rows = scan.partition_rows(partition);
    // Filters leave few rows, as a rule.
    let rows = if scan.filters().is_empty() { rows } else { rows / 8 };
    (u128::from(rows) * RANGE_BYTES_A_ROW).min(RANGE_BYTES_MAX)
}

/// What the parts of one partition share.
struct Shared {
    aggregate: Arc<AggregateExec>,
    /// Known from the first spill on.
    states: OnceLock<States>,
    /// Held by one run at a time.
    reservation: MemoryReservation,
    baseline: BaselineMetrics,
    spill_metrics: SpillMetrics,
    context: Arc<TaskContext>,
}

impl Shared {
    fn states(&self) -> Result<&States> {
        if let Some(states) = self.states.get() {
            return Ok(states);
        }
        let states = States::new(&self.aggregate)?;
        Ok(self.states.get_or_init(|| states))
    }
}

/// One running partition, or one part of its spilled states.
struct Run {
    machine: Machine,
    /// `None` at the end of the input.
    feed: Option<Feed>,
    /// The groups that are still to be given out.
    giving: Option<Range<usize>>,
    /// How often the states of this run were divided.
    level: usize,
    spill: Option<Partitioner>,
    /// The parts that are still to be merged, the last one first.
    parts: Vec<Part>,
    /// The results of one part.
    merged: Option<SendableRecordBatchStream>,
    batch_rows: usize,
    shared: Arc<Shared>,
}

impl Run {
    fn stream(
        machine: Machine,
        feed: Feed,
        level: usize,
        shared: Arc<Shared>,
    ) -> SendableRecordBatchStream {
        let schema = shared.aggregate.schema();
        let run = Run {
            machine,
            feed: Some(feed),
            giving: None,
            level,
            spill: None,
            parts: Vec::new(),
            merged: None,
            batch_rows: shared.context.session_config().batch_size().max(1),
            shared,
        };
        let stream = futures::stream::try_unfold(run, |mut run| async move {
            Ok(run.next().await?.map(|batch| (batch, run)))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, stream))
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(merged) = &mut self.merged {
                match merged.next().await.transpose()? {
                    Some(batch) => return Ok(Some(batch)),
                    None => self.merged = None,
                }
            }
            if let Some(part) = self.parts.pop() {
                self.merged = Some(self.merge(&part)?);
                continue;
            }
            if let Some(batch) = self.give()? {
                self.shared.baseline.record_output(batch.num_rows());
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
        let _timer = self.shared.baseline.elapsed_compute().timer();
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
        let (reservation, bytes) = (&self.shared.reservation, self.machine.memory_bytes());
        if self.level == LEVELS_MAX {
            reservation.resize(bytes);
            return Ok(());
        }
        let fits = reservation.try_resize(bytes);
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
        let shared = Arc::clone(&self.shared);
        let _timer = shared.baseline.elapsed_compute().timer();
        let states = shared.states()?;
        let partitioner = match &mut self.spill {
            Some(partitioner) => partitioner,
            none => {
                none.insert(states.partitioner(&shared.context, &shared.spill_metrics, self.level))
            }
        };
        let (groups, given) = (self.machine.groups(), &self.machine.fused.states);
        for first in (0..groups).step_by(self.batch_rows) {
            let range = first..(first + self.batch_rows).min(groups);
            partitioner.push(&output::batch(&self.machine, &states.schema, given, range)?)?;
        }
        self.forget()
    }

    /// Lets go of all groups.
    fn forget(&mut self) -> Result<()> {
        self.machine.clear()?;
        self.shared.reservation.free();
        Ok(())
    }

    /// The input has ended.
    fn finish(&mut self) -> Result<()> {
        self.feed = None;
        if self.spill.is_none() {
            self.giving = Some(0..self.machine.groups());
            return Ok(());
        }
        self.spill()?;
        if let Some(partitioner) = self.spill.take() {
            self.parts = partitioner.finish()?;
            self.parts.retain(|part| part.rows > 0);
        }
        Ok(())
    }

    /// The results of a part of the states on disk.
    fn merge(&self, part: &Part) -> Result<SendableRecordBatchStream> {
        let shared = &self.shared;
        let states = shared.states()?;
        let manager = states.manager(&shared.context, &shared.spill_metrics);
        let feed = Feed::Batches(part.read(&manager)?);
        let machine = Machine::new(&states.merge, 0)?;
        Ok(Run::stream(machine, feed, self.level + 1, Arc::clone(shared)))
    }

    /// The next batch of the groups that are being given out.
    fn give(&mut self) -> Result<Option<RecordBatch>> {
        let Some(left) = &mut self.giving else {
            return Ok(None);
        };
        if left.start >= left.end {
            self.giving = None;
            self.forget()?;
            return Ok(None);
        }
        let _timer = self.shared.baseline.elapsed_compute().timer();
        let groups = left.start..(left.start + self.batch_rows).min(left.end);
        left.start = groups.end;
        let given = &self.machine.fused.given;
        output::batch(&self.machine, &self.shared.aggregate.schema(), given, groups).map(Some)
    }
}
