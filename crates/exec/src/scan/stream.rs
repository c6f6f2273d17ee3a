//! A running scan of one partition: segments, blocks, predicates on encoded data, batches.
//!
//! One step looks at one block of rows and then lets other tasks run; waiting for the store
//! never holds a thread. Must not know how plans are made.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_select::coalesce::BatchCoalescer;
use base::segment::Segment;
use columnar::Selection;
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::sorts::streaming_merge::StreamingMergeBuilder;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{EmptyRecordBatchStream, ExecutionPlan};

use super::block::{Active, BlockColumn, BlockRows};
use super::compiled::Compiled;
use super::dynamic::Dynamic;
use super::fetch::{Cursor, Planned};
use super::metrics::ScanMetrics;
use super::{SegmentScanExec, predicate};
use crate::cache::{NodeStorage, SegmentReader};
use crate::error::into_datafusion;

/// Blocks seen before the scan judges how many hold survivors.
const LAZY_TRIAL_BLOCKS: usize = 8;
/// Reorders predicates after so many blocks.
const REORDER_BLOCKS: usize = 16;

/// The stream of one partition.
pub(super) fn execute(
    scan: &SegmentScanExec,
    partition: usize,
    segments: Vec<Arc<Segment>>,
    ordered: bool,
    storage: Option<Arc<NodeStorage>>,
    context: &TaskContext,
) -> Result<SendableRecordBatchStream> {
    let schema = scan.schema();
    let Some(storage) = storage else {
        return Ok(Box::pin(EmptyRecordBatchStream::new(schema)));
    };
    let compiled = compile(scan, partition, context)?;
    let open = |segments: Vec<Arc<Segment>>| {
        let state = PartitionScan::new(scan, partition, segments, &compiled, &storage);
        let stream = futures::stream::try_unfold(state, |mut state| async move {
            Ok(state.next().await?.map(|batch| (batch, state)))
        });
        let stream = RecordBatchStreamAdapter::new(Arc::clone(&schema), stream);
        make_cooperative(Box::pin(stream))
    };
    let ordering = scan.properties.equivalence_properties().output_ordering();
    let Some(ordering) = ordering.filter(|_| !ordered) else {
        return Ok(open(segments));
    };
    // Several slices in one partition: each is in order, so merging keeps what is declared.
    let streams = segments.into_iter().map(|segment| open(vec![segment])).collect();
    let metrics = ScanMetrics::new(&scan.metrics, partition);
    let consumer = MemoryConsumer::new(format!("SegmentScanExec[{partition}]"));
    StreamingMergeBuilder::new()
        .with_streams(streams)
        .with_schema(schema)
        .with_expressions(&ordering)
        .with_metrics(metrics.baseline)
        .with_batch_size(compiled.batch_rows)
        .with_fetch(scan.fetch)
        .with_reservation(consumer.register(context.memory_pool()))
        .build()
}

fn compile(
    scan: &SegmentScanExec,
    partition: usize,
    context: &TaskContext,
) -> Result<Arc<Compiled>> {
    let batch_rows = context.session_config().batch_size();
    let (spec, projection) = (&scan.spec, &scan.projection);
    let mut compiled = Compiled::new(spec, scan.schema(), projection, &scan.filters, batch_rows)?;
    compiled.partition = partition;
    compiled.partitions = scan.slices.partitions();
    Ok(Arc::new(compiled))
}

/// The blocks of one partition, for an operator that decodes them itself.
pub(super) fn blocks(
    scan: &SegmentScanExec,
    partition: usize,
    segments: Vec<Arc<Segment>>,
    storage: &Arc<NodeStorage>,
    context: &TaskContext,
) -> Result<PartitionScan> {
    let compiled = compile(scan, partition, context)?;
    Ok(PartitionScan::new(scan, partition, segments, &compiled, storage))
}

/// What [`PartitionScan::next_piece`] gives.
pub(crate) enum Piece {
    /// Rows that pass every filter, not decoded.
    Rows(BlockRows),
    /// Rows that filters on decoded columns have gone through.
    Batch(RecordBatch),
}

/// A running scan of one partition.
pub(crate) struct PartitionScan {
    compiled: Arc<Compiled>,
    storage: Arc<NodeStorage>,
    metrics: ScanMetrics,
    dynamic: Dynamic,
    predicates: PredicateOrder,
    segments: VecDeque<Arc<Segment>>,
    cursor: Option<Cursor>,
    active: Option<Active>,
    coalescer: BatchCoalescer,
    /// Rows still wanted.
    remaining: Option<usize>,
    blocks_seen: usize,
    blocks_survived: usize,
    finished: bool,
}

impl PartitionScan {
    fn new(
        scan: &SegmentScanExec,
        partition: usize,
        segments: Vec<Arc<Segment>>,
        compiled: &Arc<Compiled>,
        storage: &Arc<NodeStorage>,
    ) -> PartitionScan {
        PartitionScan {
            metrics: ScanMetrics::new(&scan.metrics, partition),
            dynamic: Dynamic::new(&scan.dynamic),
            predicates: PredicateOrder::new(compiled),
            segments: segments.into(),
            cursor: None,
            active: None,
            coalescer: BatchCoalescer::new(Arc::clone(&compiled.schema), compiled.batch_rows),
            remaining: scan.fetch,
            blocks_seen: 0,
            blocks_survived: 0,
            finished: false,
            compiled: Arc::clone(compiled),
            storage: Arc::clone(storage),
        }
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if self.remaining == Some(0) {
                return Ok(None);
            }
            if let Some(batch) = self.coalescer.next_completed_batch() {
                return Ok(Some(self.given_out(batch)));
            }
            if self.finished {
                return Ok(None);
            }
            if let Some(active) = &mut self.active {
                let compute = self.metrics.baseline.elapsed_compute().clone();
                let timer = compute.timer();
                let batch = active.next(&self.compiled, &mut self.dynamic, &self.metrics)?;
                match batch {
                    Some(batch) if self.passes_whole(&batch) => {
                        return Ok(Some(self.given_out(batch)));
                    }
                    Some(batch) => self.coalescer.push_batch(batch)?,
                    None => self.active = None,
                }
                timer.done();
                continue;
            }
            let enough = |wanted| self.coalescer.get_buffered_rows() >= wanted;
            let next = match self.remaining.is_some_and(enough) {
                true => None,
                false => self.advance().await?,
            };
            match next {
                Some((planned, selection)) => self.active = Some(Active::new(planned, selection)),
                None => {
                    self.finished = true;
                    self.coalescer.finish_buffered_batch()?;
                }
            }
        }
    }

    /// The next rows for an operator that decodes blocks itself: a block at a time, or batches
    /// of one where filters need decoded columns.
    pub(crate) async fn next_piece(&mut self) -> Result<Option<Piece>> {
        loop {
            if let Some(active) = &mut self.active {
                let compute = self.metrics.baseline.elapsed_compute().clone();
                let _timer = compute.timer();
                match active.next(&self.compiled, &mut self.dynamic, &self.metrics)? {
                    Some(batch) => {
                        self.metrics.baseline.record_output(batch.num_rows());
                        return Ok(Some(Piece::Batch(batch)));
                    }
                    None => self.active = None,
                }
                continue;
            }
            let Some((planned, selection)) = self.advance().await? else {
                return Ok(None);
            };
            if !self.compiled.residual.is_empty()
                || self.dynamic.residual.iter().any(|hint| hint.pays())
            {
                self.active = Some(Active::new(planned, selection));
                continue;
            }
            let rows = self.block_rows(planned, selection)?;
            self.metrics.baseline.record_output(rows.selected());
            return Ok(Some(Piece::Rows(rows)));
        }
    }

    fn block_rows(&self, planned: Planned, selection: Option<Selection>) -> Result<BlockRows> {
        let mut columns = Vec::with_capacity(self.compiled.projection.len());
        for at in &self.compiled.projection {
            columns.push(match &planned.columns[*at] {
                Some(block) if block.rows() == planned.rows => {
                    BlockColumn::Block(Arc::clone(block))
                }
                Some(_) => {
                    let name = &self.compiled.spec.name;
                    return internal_err!("blocks of {name} differ in their rows");
                }
                None => BlockColumn::Fill(self.compiled.fills[*at].clone()),
            });
        }
        Ok(BlockRows { rows: planned.rows, selection, columns })
    }

    /// True for a batch that is given out as it is; small ones are collected first.
    fn passes_whole(&self, batch: &RecordBatch) -> bool {
        batch.num_columns() == 0
            || (self.coalescer.get_buffered_rows() == 0
                && batch.num_rows() * 2 >= self.compiled.batch_rows)
    }

    fn given_out(&mut self, batch: RecordBatch) -> RecordBatch {
        let batch = match self.remaining {
            Some(wanted) if batch.num_rows() > wanted => batch.slice(0, wanted),
            _ => batch,
        };
        if let Some(wanted) = &mut self.remaining {
            *wanted -= batch.num_rows();
        }
        self.metrics.baseline.record_output(batch.num_rows());
        batch
    }

    /// Goes on to the next block with rows that pass the predicates on encoded data, and which
    /// these are, unless all; `None` when there is none left.
    async fn advance(&mut self) -> Result<Option<(Planned, Option<Selection>)>> {
        loop {
            // Between blocks other tasks of the thread get their turn, and a cancel is seen.
            tokio::task::consume_budget().await;
            self.dynamic.refresh(&self.compiled)?;
            let lazy = self.is_lazy();
            let Some(cursor) = &mut self.cursor else {
                let Some(segment) = self.segments.pop_front() else {
                    return Ok(None);
                };
                self.cursor = Some(self.open(&segment).await?);
                continue;
            };
            let (compiled, metrics) = (&self.compiled, &self.metrics);
            let Some(mut planned) = cursor.next(compiled, &self.dynamic, lazy, metrics).await?
            else {
                self.cursor = None;
                continue;
            };
            metrics.blocks_read.add(1);
            metrics.rows_scanned.add(planned.rows);
            self.blocks_seen += 1;
            let Some(selection) = self.select(&planned)? else {
                self.metrics.blocks_empty.add(1);
                continue;
            };
            self.blocks_survived += 1;
            if let Some(cursor) = &self.cursor {
                cursor.complete(&mut planned, &self.compiled, &self.metrics).await?;
            }
            let selection = Some(selection).filter(|selection| !selection.is_full());
            return Ok(Some((planned, selection)));
        }
    }

    async fn open(&self, segment: &Segment) -> Result<Cursor> {
        let timer = self.metrics.wait_time.timer();
        let (reader, reads) = SegmentReader::open(Arc::clone(&self.storage), segment)
            .await
            .map_err(into_datafusion)?;
        timer.done();
        self.metrics.add_reads(reads);
        self.metrics.segments_read.add(1);
        Ok(Cursor::new(reader, &self.compiled))
    }

    /// True when so few blocks hold survivors that reading output columns ahead is a waste.
    fn is_lazy(&self) -> bool {
        self.blocks_seen >= LAZY_TRIAL_BLOCKS && self.blocks_survived * 4 < self.blocks_seen
    }

    /// The rows of a block that pass the predicates on encoded data, `None` when none does.
    fn select(&mut self, planned: &Planned) -> Result<Option<Selection>> {
        let _compute = self.metrics.baseline.elapsed_compute().timer();
        let _timer = self.metrics.filter_time.timer();
        let mut selection = planned.live();
        let encoded = &self.compiled.split.encoded;
        self.predicates.before_block();
        for place in 0..self.predicates.order.len() {
            let at = self.predicates.order[place];
            if !planned.is_open(at) {
                continue;
            }
            let predicate = &encoded[at];
            let Some(block) = &planned.columns[predicate.column] else {
                return internal_err!("a block that a predicate needs was not read");
            };
            let before = selection.count();
            block.filter(&predicate.predicate, &mut selection).map_err(into_datafusion)?;
            let after = selection.count();
            self.predicates.count(at, before, after);
            if after == 0 {
                return Ok(None);
            }
        }
        for hint in &mut self.dynamic.encoded {
            let Some(block) = planned.columns[hint.filter.column].as_ref() else {
                continue;
            };
            if hint.pays() {
                let before = selection.count();
                block.filter(&hint.filter.predicate, &mut selection).map_err(into_datafusion)?;
                let after = selection.count();
                hint.count(before, after);
                if after == 0 {
                    return Ok(None);
                }
            }
        }
        Ok(Some(selection))
    }
}

impl Planned {
    /// The rows that are not deleted.
    fn live(&self) -> Selection {
        let mut selection = Selection::all(self.rows);
        if let Some(deletes) = &self.deletes {
            deletes.clear_from(self.first, &mut selection);
        }
        selection
    }

    fn is_open(&self, predicate: usize) -> bool {
        self.predicates.contains(&predicate)
    }
}

/// The order in which predicates run: cheap and selective ones first, as seen so far.
struct PredicateOrder {
    order: Vec<usize>,
    costs: Vec<f64>,
    tested: Vec<u64>,
    kept: Vec<u64>,
    blocks: usize,
}

impl PredicateOrder {
    fn new(compiled: &Compiled) -> PredicateOrder {
        let costs: Vec<f64> =
            compiled.split.encoded.iter().map(predicate::ColumnPredicate::cost).collect();
        let mut order: Vec<usize> = (0..costs.len()).collect();
        order.sort_by(|a, b| costs[*a].total_cmp(&costs[*b]));
        let counts = vec![0; costs.len()];
        PredicateOrder { order, costs, tested: counts.clone(), kept: counts, blocks: 0 }
    }

    fn count(&mut self, at: usize, tested: usize, kept: usize) {
        self.tested[at] += tested as u64;
        self.kept[at] += kept as u64;
    }

    fn before_block(&mut self) {
        self.blocks += 1;
        if self.order.len() < 2 || !self.blocks.is_multiple_of(REORDER_BLOCKS) {
            return;
        }
        let rank = |at: usize| {
            let dropped = match self.tested[at] {
                0 => 0.5,
                tested => 1.0 - self.kept[at] as f64 / tested as f64,
            };
            self.costs[at] / dropped.max(0.001)
        };
        let ranks: Vec<f64> = (0..self.costs.len()).map(rank).collect();
        self.order.sort_by(|a, b| ranks[*a].total_cmp(&ranks[*b]));
    }
}
