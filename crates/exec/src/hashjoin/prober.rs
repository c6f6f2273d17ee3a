//! Looks up probe rows in a build side, a few thousand pairs a step.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use datafusion::common::{JoinType, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use jointable::{Cursor, JoinTable, Matches, NO_ROW, Pairs, Visited};
use parking_lot::Mutex;

use super::gives_build_rows;
use super::output::{BuildRows, ProbeRows, Shape};
use crate::parts::keys;

/// A build side in memory, shared by those who probe it.
pub(super) struct BuildSide {
    pub(super) table: Arc<JoinTable>,
    /// The columns that are needed, by their place in the build input.
    pub(super) columns: Vec<Option<ArrayRef>>,
    visited: Mutex<Option<Visited>>,
    /// Probers that have not ended.
    probing: AtomicUsize,
    /// Held until the last prober is gone.
    reservation: MemoryReservation,
}

impl BuildSide {
    pub(super) fn new(
        table: Arc<JoinTable>,
        columns: Vec<Option<ArrayRef>>,
        probers: usize,
        reservation: MemoryReservation,
    ) -> BuildSide {
        BuildSide {
            table,
            columns,
            visited: Mutex::new(None),
            probing: AtomicUsize::new(probers),
            reservation,
        }
    }

    /// Bytes of table and columns.
    pub(super) fn bytes(&self) -> usize {
        self.reservation.size()
    }

    /// Takes what a prober has seen when it ends. The last one gets what all saw.
    fn ended(&self, own: Visited) -> Option<BooleanBuffer> {
        let mut visited = self.visited.lock();
        match visited.as_mut() {
            Some(all) => all.merge(&own),
            None => *visited = Some(own),
        }
        // The lock orders this with what the others merged.
        if self.probing.fetch_sub(1, Ordering::Relaxed) != 1 {
            return None;
        }
        visited.take().map(|visited| visited.finish(&self.table))
    }

    /// True when no probe row can change what the join gives.
    pub(super) fn needs_no_probe(&self, join_type: JoinType) -> bool {
        use JoinType::{Inner, Left, LeftAnti, LeftMark, LeftSemi, RightSemi};
        self.table.is_empty()
            && matches!(join_type, Inner | Left | LeftAnti | LeftMark | LeftSemi | RightSemi)
    }
}

/// What a step gave.
pub(super) enum Step {
    Batch(RecordBatch),
    /// Nothing, but the batch has not ended.
    Idle,
    /// The batch has ended: the next one can start.
    Ended,
}

/// Which rows of a whole probe input had a match, over several passes.
pub(super) struct Record {
    bits: BooleanBufferBuilder,
    position: usize,
}

impl Record {
    pub(super) fn new(rows: usize) -> Record {
        let mut bits = BooleanBufferBuilder::new(rows);
        bits.append_n(rows, false);
        Record { bits, position: 0 }
    }

    fn add(&mut self, matched: &BooleanBuffer) {
        let first = self.position;
        matched.set_indices().for_each(|at| self.bits.set_bit(first + at, true));
        self.position += matched.len();
    }

    /// Starts at the first probe row again.
    pub(super) fn rewind(&mut self) {
        self.position = 0;
    }

    /// The bits of the next `rows` rows.
    pub(super) fn read(&mut self, rows: usize) -> BooleanBuffer {
        let first = self.position;
        self.position += rows;
        BooleanBuffer::collect_bool(rows, |at| self.bits.get_bit(first + at))
    }
}

/// What is asked of a prober, by the type of its join.
#[derive(Clone, Copy, Debug)]
struct Wants {
    pairs: bool,
    /// Probe rows without a match stand alone among the pairs.
    outer: bool,
    /// Build rows that matched, for the end.
    visited: bool,
    /// Probe rows by whether they matched.
    by_match: bool,
}

impl Wants {
    fn of(join_type: JoinType, recording: bool) -> Wants {
        use JoinType::{Full, Inner, Left, Right, RightAnti, RightMark, RightSemi};
        Wants {
            pairs: matches!(join_type, Inner | Left | Right | Full),
            outer: matches!(join_type, Right | Full) && !recording,
            visited: gives_build_rows(join_type),
            by_match: matches!(join_type, RightSemi | RightAnti | RightMark) && !recording,
        }
    }
}

/// Probes one build side.
pub(super) struct Prober {
    shape: Arc<Shape>,
    pub(super) side: Arc<BuildSide>,
    wants: Wants,
    limit: usize,
    matches: Matches,
    pairs: Pairs,
    cursor: Cursor,
    visited: Option<Visited>,
    record: Option<Record>,
    batch: Option<RecordBatch>,
    /// Rows of the batch that matched, where the filter decides.
    matched: Option<BooleanBufferBuilder>,
    /// The first probe row that a filter has not decided, and whether it has a pair already.
    undecided: (usize, bool),
}

impl Prober {
    /// A prober that gives up to `limit` rows a step. With `record` it leaves probe rows without
    /// a match, and those given by whether they have one, to a last pass.
    pub(super) fn new(
        shape: &Arc<Shape>,
        side: Arc<BuildSide>,
        limit: usize,
        record: Option<Record>,
    ) -> Prober {
        let wants = Wants::of(shape.join_type, record.is_some());
        Prober {
            visited: wants.visited.then(|| Visited::new(&side.table)),
            shape: Arc::clone(shape),
            side,
            wants,
            limit,
            matches: Matches::default(),
            pairs: Pairs::default(),
            cursor: Cursor::default(),
            record,
            batch: None,
            matched: None,
            undecided: (0, false),
        }
    }

    /// Takes the next batch of probe rows.
    pub(super) fn start(&mut self, batch: RecordBatch) -> Result<()> {
        self.side.table.lookup(&keys(&self.shape.on_probe, &batch)?, &mut self.matches)?;
        self.cursor = Cursor::default();
        self.undecided = (0, false);
        if self.shape.filter.is_none() {
            if let Some(visited) = &mut self.visited {
                visited.add(&self.matches);
            }
            if let Some(record) = &mut self.record {
                record.add(&self.matches.matched());
            }
        } else if self.wants.by_match || self.record.is_some() {
            let mut matched = BooleanBufferBuilder::new(batch.num_rows());
            matched.append_n(batch.num_rows(), false);
            self.matched = Some(matched);
        }
        self.batch = Some(batch);
        Ok(())
    }

    /// Probe rows of the last batch that have an equal key, and their number.
    pub(super) fn hits(&self) -> (usize, usize) {
        (self.matches.matched_rows(), self.matches.rows())
    }

    pub(super) fn step(&mut self) -> Result<Step> {
        let Some(batch) = self.batch.take() else {
            return Ok(Step::Ended);
        };
        if self.shape.filter.is_none() && !self.wants.pairs {
            let matched = self.matches.matched();
            return if self.wants.by_match {
                by_match(&self.shape, &batch, &matched)
            } else {
                Ok(Step::Ended)
            };
        }
        self.pairs.clear();
        let outer = self.wants.outer && self.shape.filter.is_none();
        let table = &self.side.table;
        let ended =
            table.pairs(&self.matches, &mut self.cursor, outer, self.limit, &mut self.pairs);
        if self.shape.filter.is_some() {
            self.filter(&batch)?;
        }
        let step = if self.wants.pairs { self.paired(&batch)? } else { Step::Idle };
        if !ended {
            self.batch = Some(batch);
            return Ok(step);
        }
        let Some(mut matched) = self.matched.take() else {
            return Ok(step);
        };
        let matched = matched.finish();
        if let Some(record) = &mut self.record {
            record.add(&matched);
        }
        if self.wants.by_match { by_match(&self.shape, &batch, &matched) } else { Ok(step) }
    }

    /// Drops pairs that the filter does not accept, and keeps what is learned from the others.
    fn filter(&mut self, batch: &RecordBatch) -> Result<()> {
        if let (Some(filter), false) = (&self.shape.filter, self.pairs.is_empty()) {
            self.shape.filtered(filter, &self.side.columns, batch, &mut self.pairs)?;
        }
        if let Some(visited) = &mut self.visited {
            visited.add_rows(self.pairs.build.iter().copied());
        }
        if let Some(matched) = &mut self.matched {
            self.pairs.probe.iter().for_each(|row| matched.set_bit(*row as usize, true));
        }
        if self.wants.outer {
            self.add_unmatched();
        }
        Ok(())
    }

    /// Puts the probe rows that are decided and have no pair between the pairs.
    fn add_unmatched(&mut self) {
        let pairs = std::mem::take(&mut self.pairs);
        let decided = self.cursor.row();
        let (first, mut has_pair) = self.undecided;
        let mut at = 0;
        for row in first..=decided {
            let begin = at;
            while at < pairs.len() && pairs.probe[at] as usize == row {
                at += 1;
            }
            has_pair |= at > begin;
            self.pairs.probe.extend_from_slice(&pairs.probe[begin..at]);
            self.pairs.build.extend_from_slice(&pairs.build[begin..at]);
            if row < decided {
                if !has_pair {
                    self.pairs.probe.push(row as u32);
                    self.pairs.build.push(NO_ROW);
                }
                has_pair = false;
            }
        }
        self.undecided = (decided, has_pair);
    }

    fn paired(&mut self, batch: &RecordBatch) -> Result<Step> {
        let rows = self.pairs.len();
        if rows == 0 {
            return Ok(Step::Idle);
        }
        let pairs = std::mem::take(&mut self.pairs);
        let build = BuildRows::of_pairs(&self.side.columns, pairs.build, self.wants.outer);
        let probe = ProbeRows::of_pairs(batch, pairs.probe);
        Ok(Step::Batch(self.shape.batch(rows, &build, &probe, None)?))
    }

    /// Ends the probe input. Gives what the join still has to give of the build side, to the
    /// last prober of it.
    pub(super) fn finish(self) -> (Option<Tail>, Option<Record>) {
        let Some(visited) = self.visited else {
            return (None, self.record);
        };
        let tail = self.side.ended(visited).map(|bits| Tail {
            shape: Arc::clone(&self.shape),
            side: Arc::clone(&self.side),
            bits,
            position: 0,
            limit: self.limit,
        });
        (tail, self.record)
    }
}

/// Gives probe rows by whether they matched, as the type of the join asks.
pub(super) fn by_match(
    shape: &Shape,
    batch: &RecordBatch,
    matched: &BooleanBuffer,
) -> Result<Step> {
    if shape.join_type == JoinType::RightMark {
        let rows = ProbeRows::Slice(batch, 0);
        let batch = shape.batch(batch.num_rows(), &BuildRows::Null, &rows, Some(matched))?;
        return Ok(Step::Batch(batch));
    }
    let wanted = shape.join_type == JoinType::RightSemi;
    let rows = match wanted {
        true => matched.set_indices().map(|row| row as u32).collect::<Vec<_>>(),
        false => (!matched).set_indices().map(|row| row as u32).collect(),
    };
    if rows.is_empty() {
        return Ok(Step::Idle);
    }
    let (len, rows) = (rows.len(), ProbeRows::of_pairs(batch, rows));
    Ok(Step::Batch(shape.batch(len, &BuildRows::Null, &rows, None)?))
}

/// The build rows that a join gives when all probe rows are through.
pub(super) struct Tail {
    shape: Arc<Shape>,
    side: Arc<BuildSide>,
    bits: BooleanBuffer,
    position: usize,
    limit: usize,
}

impl Tail {
    /// The next rows; `None` at the end. A batch may be empty.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>> {
        let first = self.position;
        let rows = self.limit.min(self.bits.len() - first);
        if rows == 0 {
            return Ok(None);
        }
        self.position += rows;
        let bits = self.bits.slice(first, rows);
        let columns = &self.side.columns[..];
        if self.shape.join_type == JoinType::LeftMark {
            let build = BuildRows::Slice(columns, first);
            return Ok(Some(self.shape.batch(rows, &build, &ProbeRows::Null, Some(&bits))?));
        }
        let wanted = if self.shape.join_type == JoinType::LeftSemi { bits } else { !&bits };
        let picked: Vec<u32> = wanted.set_indices().map(|at| (first + at) as u32).collect();
        let len = picked.len();
        let build = BuildRows::Picked(columns, UInt32Array::from(picked));
        Ok(Some(self.shape.batch(len, &build, &ProbeRows::Null, None)?))
    }
}
