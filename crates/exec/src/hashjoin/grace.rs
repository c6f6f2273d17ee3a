//! Joins on disk: both sides are divided by the hash of their keys and joined part by part. A
//! part whose build rows do not fit is divided again; rows of one key that do not fit are joined
//! in passes over the probe rows, some build rows a pass.

use std::sync::Arc;

use arrow_array::RecordBatch;
use datafusion::common::{JoinType, Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::SpillManager;
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::sorts::streaming_merge::{SortedSpillFile, StreamingMergeBuilder};
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use futures::StreamExt;
use jointable::{JoinTable, yield_now};

use super::build::{Budget, Collected, assemble};
use super::gives_build_rows;
use super::output::Shape;
use super::prober::{Prober, Record, Step, by_match};
use super::spill::{SpilledBuild, build_partitioner, probe_partitioner};
use super::stream::{JoinMetrics, Out, drive};
use crate::parts::{LEVELS_MAX, Part, Partitioner, Writer, keys, manager, writer};

/// Two parts with the same hash.
struct Pair {
    build: Part,
    probe: Part,
    /// How often they were divided.
    level: usize,
}

/// A part of this much of what was divided is taken to be one key.
const SKEWED: f64 = 0.9;

/// A join on disk.
pub(super) struct Grace {
    pub(super) shape: Arc<Shape>,
    pub(super) context: Arc<TaskContext>,
    pub(super) metrics: JoinMetrics,
    pub(super) limit: usize,
    /// Partitions of the join on this node.
    pub(super) shares: usize,
    pub(super) ordering: Option<LexOrdering>,
    pub(super) build: SpillManager,
    pub(super) probe: SpillManager,
}

/// Where the rows of a join on disk go.
enum Sink<'a> {
    Out(&'a mut Out),
    /// Sorted runs, when somebody counts on the order.
    Runs(Runs),
}

struct Runs {
    manager: SpillManager,
    current: Option<Writer>,
    /// Bytes of the largest batch of the current run.
    largest: usize,
    files: Vec<SortedSpillFile>,
}

impl Runs {
    fn give(&mut self, batch: &RecordBatch) -> Result<()> {
        let current = match &mut self.current {
            Some(current) => current,
            place => place.insert(writer(&self.manager)?),
        };
        current(Some(batch))?;
        self.largest = self.largest.max(get_record_batch_memory_size(batch));
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if let Some(mut current) = self.current.take() {
            let max_record_batch_memory = std::mem::take(&mut self.largest);
            let sorted = |file| SortedSpillFile { file, max_record_batch_memory };
            self.files.extend(current(None)?.map(sorted));
        }
        Ok(())
    }
}

impl Sink<'_> {
    /// False when no more rows are wanted.
    pub(super) async fn give(&mut self, batch: RecordBatch) -> Result<bool> {
        match self {
            Sink::Out(out) => out.give(batch).await,
            Sink::Runs(_) if batch.num_rows() == 0 => Ok(true),
            Sink::Runs(runs) => {
                runs.give(&batch)?;
                yield_now().await;
                Ok(true)
            }
        }
    }

    /// What comes next is not ordered after what came.
    fn end_run(&mut self) -> Result<()> {
        match self {
            Sink::Out(_) => Ok(()),
            Sink::Runs(runs) => runs.end(),
        }
    }
}

impl Grace {
    pub(super) async fn join(
        self,
        spilled: &SpilledBuild,
        mut probe: SendableRecordBatchStream,
        out: &mut Out,
    ) -> Result<()> {
        let spill = self.metrics.spill.clone();
        let mut partitioner = probe_partitioner(&self.shape, &self.context, spill, 0);
        while let Some(batch) = probe.next().await.transpose()? {
            let _timer = self.metrics.join_time.timer();
            self.metrics.input_batches.add(1);
            self.metrics.input_rows.add(batch.num_rows());
            partitioner.push(&batch)?;
            yield_now().await;
        }
        drop(probe);
        let mut parts = partitioner.finish()?;
        if gives_build_rows(self.shape.join_type) {
            match spilled.ended(parts) {
                Some(all) => parts = all,
                None => return Ok(()),
            }
        }
        let pair = |(build, probe): (&Part, Part)| Pair { build: build.clone(), probe, level: 0 };
        let mut pairs: Vec<Pair> = spilled.parts.iter().zip(parts).map(pair).collect();
        let Some(ordering) = self.ordering.clone() else {
            let mut sink = Sink::Out(out);
            while let Some(pair) = pairs.pop() {
                if !self.join_pair(pair, &mut pairs, &mut sink).await? {
                    break;
                }
            }
            return Ok(());
        };
        let spill = self.metrics.spill.clone();
        let manager = manager(&self.context, spill, &self.shape.schema);
        let mut sink = Sink::Runs(Runs { manager, current: None, largest: 0, files: Vec::new() });
        while let Some(pair) = pairs.pop() {
            self.join_pair(pair, &mut pairs, &mut sink).await?;
            sink.end_run()?;
        }
        match sink {
            Sink::Runs(runs) => self.merge(runs, &ordering, out).await,
            Sink::Out(_) => internal_err!("runs of a join are gone"),
        }
    }

    /// Gives what the runs hold in order, merging as many at once as memory is there for.
    async fn merge(&self, runs: Runs, ordering: &LexOrdering, out: &mut Out) -> Result<()> {
        if runs.files.is_empty() {
            return Ok(());
        }
        let unseen = datafusion::physical_plan::metrics::ExecutionPlanMetricsSet::new();
        let mut merged = StreamingMergeBuilder::new()
            .with_sorted_spill_files(runs.files)
            .with_spill_manager(runs.manager)
            .with_schema(Arc::clone(&self.shape.schema))
            .with_expressions(ordering)
            .with_metrics(BaselineMetrics::new(&unseen, 0))
            .with_batch_size(self.limit)
            .with_reservation(Budget::new(&self.context, self.shares).reservation)
            .build()?;
        while let Some(batch) = merged.next().await.transpose()? {
            if !out.give(batch).await? {
                break;
            }
        }
        Ok(())
    }

    /// Joins two parts, or divides them onto `pairs`. False when no more rows are wanted.
    async fn join_pair(
        &self,
        pair: Pair,
        pairs: &mut Vec<Pair>,
        sink: &mut Sink<'_>,
    ) -> Result<bool> {
        use JoinType::{Inner, LeftSemi, Right, RightAnti, RightMark, RightSemi};
        let join_type = self.shape.join_type;
        let idle = pair.build.rows == 0
            && !matches!(join_type, Right | RightAnti | RightMark | JoinType::Full);
        let unasked = pair.probe.rows == 0
            && (matches!(join_type, Inner | LeftSemi | RightSemi) || !gives_build_rows(join_type));
        if idle || unasked {
            return Ok(true);
        }
        let mut build = pair.build.read(&self.build)?;
        let (mut collected, mut budget, mut next) = self.load(&mut build, None).await?;
        if next.is_some() && pair.level < LEVELS_MAX {
            drop((collected, budget, build));
            pairs.extend(self.divide(pair).await?);
            return Ok(true);
        }
        let by_probe = !matches!(join_type, Inner)
            && (!gives_build_rows(join_type) || join_type == JoinType::Full);
        let mut record = (next.is_some() && by_probe).then(|| Record::new(pair.probe.rows));
        loop {
            let keys = std::mem::take(&mut collected.keys);
            let table = Arc::new(JoinTable::build(keys, self.shape.nulls_equal).await?);
            let side = assemble(&self.shape, collected, table, 1, budget.reservation).await?;
            let mut prober = Prober::new(&self.shape, Arc::new(side), self.limit, record.take());
            if !self.pass(&mut prober, &pair.probe, sink).await? {
                return Ok(false);
            }
            sink.end_run()?;
            let (tail, seen) = prober.finish();
            if let Some(mut tail) = tail {
                while let Some(batch) = tail.next()? {
                    if !sink.give(batch).await? {
                        return Ok(false);
                    }
                }
            }
            record = seen;
            if let Some(record) = &mut record {
                record.rewind();
            }
            if next.is_none() {
                break;
            }
            (collected, budget, next) = self.load(&mut build, next).await?;
        }
        sink.end_run()?;
        match record {
            Some(record) => self.last_pass(record, &pair.probe, sink).await,
            None => Ok(true),
        }
    }

    /// Reads build rows as far as there is room for them and their table, at least one batch.
    /// Gives the batch that had no room.
    async fn load(
        &self,
        build: &mut SendableRecordBatchStream,
        mut first: Option<RecordBatch>,
    ) -> Result<(Collected, Budget, Option<RecordBatch>)> {
        let mut budget = Budget::new(&self.context, self.shares);
        let mut collected = Collected::default();
        loop {
            let next = match first.take() {
                Some(batch) => Some(batch),
                None => build.next().await.transpose()?,
            };
            let Some(batch) = next else {
                return Ok((collected, budget, None));
            };
            let keys = keys(&self.shape.on_build, &batch)?;
            let key_bytes: usize = keys.iter().map(|key| key.get_buffer_memory_size()).sum();
            let bytes = get_record_batch_memory_size(&batch)
                + key_bytes
                + jointable::estimated_bytes(batch.num_rows());
            if collected.rows == 0 {
                budget.reservation.grow(bytes);
            } else if !budget.grow(bytes) {
                return Ok((collected, budget, Some(batch)));
            }
            collected.push(batch, keys);
        }
    }

    async fn divide(&self, pair: Pair) -> Result<Vec<Pair>> {
        let level = pair.level + 1;
        let spill = || self.metrics.spill.clone();
        let build = build_partitioner(&self.shape, &self.context, spill(), level);
        let build = divided(build, pair.build.read(&self.build)?).await?;
        let probe = probe_partitioner(&self.shape, &self.context, spill(), level);
        let probe = divided(probe, pair.probe.read(&self.probe)?).await?;
        let skewed = pair.build.rows as f64 * SKEWED;
        let pairs = build.into_iter().zip(probe).map(|(build, probe)| {
            let level = if build.rows as f64 > skewed { LEVELS_MAX } else { level };
            Pair { build, probe, level }
        });
        Ok(pairs.collect())
    }

    async fn pass(&self, prober: &mut Prober, probe: &Part, sink: &mut Sink<'_>) -> Result<bool> {
        if prober.side.needs_no_probe(self.shape.join_type) {
            return Ok(true);
        }
        let mut probe = probe.read(&self.probe)?;
        while let Some(batch) = probe.next().await.transpose()? {
            prober.start(batch)?;
            loop {
                match drive(prober, &self.metrics)? {
                    Step::Batch(batch) => {
                        if !sink.give(batch).await? {
                            return Ok(false);
                        }
                    }
                    Step::Idle => yield_now().await,
                    Step::Ended => break,
                }
            }
        }
        Ok(true)
    }

    /// Gives probe rows by whether any pass found a match.
    async fn last_pass(
        &self,
        mut record: Record,
        probe: &Part,
        sink: &mut Sink<'_>,
    ) -> Result<bool> {
        let mut probe = probe.read(&self.probe)?;
        while let Some(batch) = probe.next().await.transpose()? {
            let matched = record.read(batch.num_rows());
            if let Step::Batch(batch) = by_match(&self.shape, &batch, &matched)?
                && !sink.give(batch).await?
            {
                return Ok(false);
            }
            yield_now().await;
        }
        Ok(true)
    }
}

async fn divided(
    mut partitioner: Partitioner,
    mut rows: SendableRecordBatchStream,
) -> Result<Vec<Part>> {
    while let Some(batch) = rows.next().await.transpose()? {
        partitioner.push(&batch)?;
        yield_now().await;
    }
    partitioner.finish()
}
