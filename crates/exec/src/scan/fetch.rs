//! The blocks of one segment in reading order: zone maps first, then reads ahead of the decoder.
//!
//! Owns which column blocks are fetched and when; never more than two windows of blocks are in
//! flight or held. Must not decode.

use std::collections::VecDeque;
use std::sync::Arc;

use base::ids::ColumnId;
use base::segment::row_address;
use columnar::{Block, BlockIndex};
use datafusion::common::{DataFusionError, Result};
use tokio_util::task::AbortOnDropHandle;

use super::compiled::Compiled;
use super::dynamic::Dynamic;
use super::metrics::ScanMetrics;
use super::predicate::{ColumnPredicate, Prune, covers, holds};
use crate::cache::{Reads, SegmentReader};
use crate::deletes::DeletedRows;
use crate::error::into_datafusion;

/// A window ends when it holds this much.
const WINDOW_BYTES: u64 = 4 << 20;
const WINDOW_BLOCKS: usize = 8;

/// One block of rows: the column blocks that were fetched, and what is left to test.
pub(super) struct Planned {
    pub(super) number: usize,
    pub(super) rows: usize,
    /// The place of its first row in the segment.
    pub(super) first: u32,
    /// The address of its first row; those of the others follow one by one.
    pub(super) address: i64,
    /// The rows of the segment that are gone, when some of this block are.
    pub(super) deletes: Option<Arc<DeletedRows>>,
    /// The predicates, by their place in the scan's, that the zone map does not settle.
    pub(super) predicates: Vec<usize>,
    /// By column of the spec; `None` when the column is absent or was not fetched.
    pub(super) columns: Vec<Option<Arc<Block>>>,
}

type Fetched = Vec<(usize, usize, Arc<Block>)>;

/// A window of blocks, with the reads that complete it.
struct Window {
    blocks: VecDeque<Planned>,
    reads: Option<AbortOnDropHandle<base::Result<(Fetched, Reads)>>>,
}

/// The blocks of a segment that are still to come.
pub(super) struct Cursor {
    reader: Arc<SegmentReader>,
    /// By column of the spec: whether the segment has it.
    present: Vec<bool>,
    /// By block: the place of its first row.
    firsts: Vec<u32>,
    queue: VecDeque<usize>,
    window: VecDeque<Planned>,
    ahead: Option<Window>,
}

impl Cursor {
    pub(super) fn new(reader: SegmentReader, compiled: &Compiled) -> Cursor {
        let footer = reader.footer();
        let present = compiled.spec.columns.iter().map(|c| footer.column(c.id).is_some()).collect();
        let queue = (0..footer.blocks()).collect();
        let mut next = 0_u32;
        let first = |block: &BlockIndex| {
            let first = next;
            next = next.saturating_add(block.rows);
            first
        };
        // Blocks of a number have the same rows in every column.
        let blocks = footer.columns.first().map(|column| column.blocks.iter());
        let firsts = blocks.into_iter().flatten().map(first).collect();
        let reader = Arc::new(reader);
        Cursor { reader, present, firsts, queue, window: VecDeque::new(), ahead: None }
    }

    /// The next block of rows that zone maps do not rule out. With `lazy`, columns that only
    /// the output needs are left to [`Cursor::complete`].
    pub(super) async fn next(
        &mut self,
        compiled: &Compiled,
        dynamic: &Dynamic,
        lazy: bool,
        metrics: &ScanMetrics,
    ) -> Result<Option<Planned>> {
        loop {
            if let Some(planned) = self.window.pop_front() {
                // A filter may have been published since the window was planned.
                if dynamic.prune.is_empty() && dynamic.encoded.is_empty()
                    || self.can_match(compiled, dynamic, planned.number)
                {
                    return Ok(Some(planned));
                }
                metrics.blocks_pruned.add(1);
                continue;
            }
            let ahead = match self.ahead.take() {
                Some(ahead) => ahead,
                None => match self.plan(compiled, dynamic, lazy, metrics)? {
                    Some(window) => window,
                    None => return Ok(None),
                },
            };
            self.ahead = self.plan(compiled, dynamic, lazy, metrics)?;
            self.window = settle(ahead, metrics).await?;
        }
    }

    /// Fetches what the output needs of a block and is not there yet.
    pub(super) async fn complete(
        &self,
        planned: &mut Planned,
        compiled: &Compiled,
        metrics: &ScanMetrics,
    ) -> Result<()> {
        let mut missing: Vec<(usize, (ColumnId, usize))> = Vec::new();
        for (at, column) in compiled.spec.columns.iter().enumerate() {
            if compiled.for_output[at] && self.present[at] && planned.columns[at].is_none() {
                let id = (column.id, planned.number);
                match self.reader.at_hand(id).map_err(into_datafusion)? {
                    Some(block) => {
                        metrics.cache_hits.add(1);
                        planned.columns[at] = Some(block);
                    }
                    None => missing.push((at, id)),
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let timer = metrics.wait_time.timer();
        let ids: Vec<_> = missing.iter().map(|(_, id)| *id).collect();
        let (blocks, reads) = self.reader.read(&ids).await.map_err(into_datafusion)?;
        timer.done();
        metrics.add_reads(reads);
        metrics.cache_misses.add(blocks.len());
        for ((at, _), block) in missing.iter().zip(blocks) {
            planned.columns[*at] = Some(block);
        }
        Ok(())
    }

    /// Plans the next window and starts its reads.
    fn plan(
        &mut self,
        compiled: &Compiled,
        dynamic: &Dynamic,
        lazy: bool,
        metrics: &ScanMetrics,
    ) -> Result<Option<Window>> {
        let mut blocks = VecDeque::new();
        let mut missing: Vec<(usize, usize)> = Vec::new();
        let mut bytes = 0;
        while blocks.len() < WINDOW_BLOCKS && bytes < WINDOW_BYTES {
            let Some(number) = self.queue.pop_front() else {
                break;
            };
            if !self.can_match(compiled, dynamic, number) {
                metrics.blocks_pruned.add(1);
                continue;
            }
            let mut planned = self.planned(compiled, number);
            for at in self.wanted(&planned, compiled, dynamic, lazy) {
                let column = &compiled.spec.columns[at];
                bytes += self.block_bytes(column.id, number);
                match self.reader.at_hand((column.id, number)).map_err(into_datafusion)? {
                    Some(block) => {
                        metrics.cache_hits.add(1);
                        planned.columns[at] = Some(block);
                    }
                    None => missing.push((blocks.len(), at)),
                }
            }
            blocks.push_back(planned);
        }
        if blocks.is_empty() {
            return Ok(None);
        }
        metrics.cache_misses.add(missing.len());
        let reads = (!missing.is_empty()).then(|| self.start(compiled, &blocks, missing));
        Ok(Some(Window { blocks, reads }))
    }

    /// Reads in the background, so that they run while the last window is decoded.
    fn start(
        &self,
        compiled: &Compiled,
        blocks: &VecDeque<Planned>,
        missing: Vec<(usize, usize)>,
    ) -> AbortOnDropHandle<base::Result<(Fetched, Reads)>> {
        let reader = Arc::clone(&self.reader);
        let id =
            |(place, at): &(usize, usize)| (compiled.spec.columns[*at].id, blocks[*place].number);
        let ids: Vec<_> = missing.iter().map(id).collect();
        AbortOnDropHandle::new(base::task::spawn("scan read-ahead", async move {
            let (read, reads) = reader.read(&ids).await?;
            let fetched =
                missing.into_iter().zip(read).map(|((place, at), block)| (place, at, block));
            Ok((fetched.collect(), reads))
        }))
    }

    fn planned(&self, compiled: &Compiled, number: usize) -> Planned {
        let footer = self.reader.footer();
        let rows = self.rows(number);
        let first = self.firsts.get(number).copied().unwrap_or(0);
        let deletes = self.reader.deletes().filter(|_| self.deleted(number) > 0);
        let open = |predicate: &ColumnPredicate| {
            let column = &compiled.spec.columns[predicate.column];
            match footer.column(column.id).and_then(|index| index.blocks.get(number)) {
                Some(block) => !covers(&predicate.predicate, &block.zone, block.rows),
                // Every row is the fill, and the fill matches: else the block were pruned.
                None => false,
            }
        };
        let predicates = compiled.split.encoded.iter().enumerate();
        Planned {
            number,
            rows,
            first,
            address: row_address(self.reader.number(), first),
            deletes: deletes.cloned(),
            predicates: predicates.filter(|(_, p)| open(p)).map(|(at, _)| at).collect(),
            columns: vec![None; compiled.spec.columns.len()],
        }
    }

    fn rows(&self, number: usize) -> usize {
        let column = self.reader.footer().columns.first();
        column.and_then(|column| column.blocks.get(number)).map_or(0, |block| block.rows as usize)
    }

    /// How many rows of the block are gone.
    fn deleted(&self, number: usize) -> usize {
        let (Some(deletes), Some(first)) = (self.reader.deletes(), self.firsts.get(number)) else {
            return 0;
        };
        deletes.count(*first, self.rows(number) as u64)
    }

    /// The columns to fetch for a block.
    fn wanted(
        &self,
        planned: &Planned,
        compiled: &Compiled,
        dynamic: &Dynamic,
        lazy: bool,
    ) -> Vec<usize> {
        let encoded = |at: usize| {
            planned.predicates.iter().any(|place| compiled.split.encoded[*place].column == at)
        };
        (0..compiled.spec.columns.len())
            .filter(|at| self.present[*at])
            .filter(|at| {
                encoded(*at)
                    || compiled.for_residual[*at]
                    || dynamic.needs(*at)
                    || (compiled.for_output[*at] && !lazy)
            })
            .collect()
    }

    fn block_bytes(&self, column: ColumnId, number: usize) -> u64 {
        let index = self.reader.footer().column(column);
        index.and_then(|index| index.blocks.get(number)).map_or(0, |block| u64::from(block.len))
    }

    /// False when no row of the block is left, or zone maps prove that none matches.
    fn can_match(&self, compiled: &Compiled, dynamic: &Dynamic, number: usize) -> bool {
        let answer = |predicate: &ColumnPredicate| {
            let column = &compiled.spec.columns[predicate.column];
            match self.reader.footer().column(column.id).map(|index| index.blocks.get(number)) {
                Some(Some(block)) => predicate.predicate.can_match(&block.zone, block.rows),
                Some(None) => true,
                None => holds(&predicate.predicate, column.fill.as_ref()),
            }
        };
        let all_gone = self.reader.deletes().is_some() && self.deleted(number) == self.rows(number);
        !all_gone
            && compiled.split.encoded.iter().all(answer)
            && dynamic.encoded.iter().all(|hint| answer(&hint.filter))
            && [&compiled.split.prune, &dynamic.prune]
                .into_iter()
                .flatten()
                .all(|prune: &Prune| prune.can_match(&answer))
    }
}

/// Waits for a window's reads and puts the blocks in their places.
async fn settle(window: Window, metrics: &ScanMetrics) -> Result<VecDeque<Planned>> {
    let Window { mut blocks, reads } = window;
    if let Some(task) = reads {
        let timer = metrics.wait_time.timer();
        let (fetched, reads) = task
            .await
            .map_err(|error| DataFusionError::External(Box::new(error)))?
            .map_err(into_datafusion)?;
        timer.done();
        metrics.add_reads(reads);
        for (place, at, block) in fetched {
            if let Some(slot) = blocks.get_mut(place).and_then(|p| p.columns.get_mut(at)) {
                *slot = Some(block);
            }
        }
    }
    Ok(blocks)
}
