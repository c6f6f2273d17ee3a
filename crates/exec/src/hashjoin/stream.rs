//! One partition of a join, from its build side to its last row.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_select::coalesce::BatchCoalescer;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext, TryEmitter};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, Gauge, MetricBuilder, MetricCategory,
    MetricType, RatioMetrics, RecordOutput, SpillMetrics, Time,
};
use futures::StreamExt;
use jointable::yield_now;

use super::build::{Built, SharedBuild};
use super::filter::ReportGuard;
use super::grace::Grace;
use super::output::Shape;
use super::prober::{BuildSide, Prober, Step};
use super::spill::SpilledBuild;
use crate::parts::manager;

/// Steps without a row to give after which other tasks have a turn.
const SILENT_STEPS_MAX: usize = 4;

/// What a partition counts, under the names that `HashJoinExec` has for it.
#[derive(Clone)]
pub(super) struct JoinMetrics {
    pub(super) baseline: BaselineMetrics,
    pub(super) build_time: Time,
    pub(super) build_input_batches: Count,
    pub(super) build_input_rows: Count,
    pub(super) build_mem_used: Gauge,
    pub(super) join_time: Time,
    pub(super) input_batches: Count,
    pub(super) input_rows: Count,
    pub(super) hit_rate: RatioMetrics,
    pub(super) spill: SpillMetrics,
}

impl JoinMetrics {
    pub(super) fn new(partition: usize, metrics: &ExecutionPlanMetricsSet) -> JoinMetrics {
        let rows = |name: &'static str| {
            MetricBuilder::new(metrics).with_category(MetricCategory::Rows).counter(name, partition)
        };
        JoinMetrics {
            baseline: BaselineMetrics::new(metrics, partition),
            build_time: MetricBuilder::new(metrics).subset_time("build_time", partition),
            build_input_batches: rows("build_input_batches"),
            build_input_rows: rows("build_input_rows"),
            build_mem_used: MetricBuilder::new(metrics)
                .peak_memory_usage("build_mem_used", partition),
            join_time: MetricBuilder::new(metrics).subset_time("join_time", partition),
            input_batches: rows("input_batches"),
            input_rows: rows("input_rows"),
            hit_rate: MetricBuilder::new(metrics)
                .with_type(MetricType::Summary)
                .ratio_metrics("probe_hit_rate", partition),
            spill: SpillMetrics::new(metrics, partition),
        }
    }
}

/// The rows of a partition on their way out, small batches put together.
pub(super) struct Out {
    emitter: TryEmitter<RecordBatch, DataFusionError>,
    coalescer: Option<BatchCoalescer>,
    target: usize,
    left: usize,
    baseline: BaselineMetrics,
}

impl Out {
    fn new(
        shape: &Shape,
        target: usize,
        baseline: BaselineMetrics,
        emitter: TryEmitter<RecordBatch, DataFusionError>,
    ) -> Out {
        let has_columns = !shape.schema.fields().is_empty();
        let coalescer = has_columns.then(|| {
            BatchCoalescer::new(Arc::clone(&shape.schema), target)
                .with_biggest_coalesce_batch_size(Some(target / 2))
        });
        let left = shape.fetch.unwrap_or(usize::MAX);
        Out { emitter, coalescer, target, left, baseline }
    }

    /// False when no more rows are wanted.
    pub(super) async fn give(&mut self, batch: RecordBatch) -> Result<bool> {
        if batch.num_rows() == 0 {
            return Ok(self.left > 0);
        }
        let large = batch.num_rows() > self.target / 2;
        match &mut self.coalescer {
            Some(coalescer) if !large || !coalescer.is_empty() => coalescer.push_batch(batch)?,
            _ => return Ok(self.emit(batch).await),
        }
        self.emit_completed().await
    }

    async fn emit_completed(&mut self) -> Result<bool> {
        while let Some(batch) =
            self.coalescer.as_mut().and_then(BatchCoalescer::next_completed_batch)
        {
            if !self.emit(batch).await {
                return Ok(false);
            }
        }
        Ok(self.left > 0)
    }

    async fn emit(&mut self, mut batch: RecordBatch) -> bool {
        if batch.num_rows() > self.left {
            batch = batch.slice(0, self.left);
        }
        self.left -= batch.num_rows();
        if batch.num_rows() > 0 {
            self.emitter.emit(batch.record_output(&self.baseline)).await;
        }
        self.left > 0
    }

    async fn finish(mut self) -> Result<()> {
        if let Some(coalescer) = &mut self.coalescer {
            coalescer.finish_buffered_batch()?;
        }
        self.emit_completed().await?;
        Ok(())
    }
}

/// A step of a prober, timed and counted.
pub(super) fn drive(prober: &mut Prober, metrics: &JoinMetrics) -> Result<Step> {
    let _timer = metrics.join_time.timer();
    prober.step()
}

/// One partition of a join.
pub(super) struct JoinStream {
    pub(super) shape: Arc<Shape>,
    pub(super) build: SharedBuild,
    pub(super) probe: SendableRecordBatchStream,
    /// To wait for the filter of all partitions, and to tell when this one ends early.
    pub(super) guard: Option<ReportGuard>,
    pub(super) metrics: JoinMetrics,
    pub(super) context: Arc<TaskContext>,
    pub(super) shares: usize,
    pub(super) ordering: Option<LexOrdering>,
}

impl Drop for JoinStream {
    fn drop(&mut self) {
        let elapsed = self.metrics.baseline.elapsed_compute();
        elapsed.add(&self.metrics.build_time);
        elapsed.add(&self.metrics.join_time);
    }
}

impl JoinStream {
    pub(super) async fn run(
        mut self,
        emitter: TryEmitter<RecordBatch, DataFusionError>,
    ) -> Result<()> {
        let limit = self.context.session_config().batch_size().max(1);
        let mut out = Out::new(&self.shape, limit, self.metrics.baseline.clone(), emitter);
        let built = (&mut self.build).await.map_err(DataFusionError::Shared)?;
        match built {
            Built::Memory(side) => self.probe(side, limit, &mut out).await?,
            Built::Spilled(spilled) => self.grace(&spilled, limit, &mut out).await?,
        }
        out.finish().await
    }

    async fn published(&mut self) {
        if let Some(guard) = &mut self.guard {
            Arc::clone(&guard.reports).wait().await;
        }
    }

    async fn probe(mut self, side: Arc<BuildSide>, limit: usize, out: &mut Out) -> Result<()> {
        let mut prober = Prober::new(&self.shape, side, limit, None);
        if !prober.side.needs_no_probe(self.shape.join_type) {
            self.published().await;
            let mut silent = 0;
            while let Some(batch) = self.probe.next().await.transpose()? {
                for first in (0..batch.num_rows()).step_by(limit) {
                    let rows = limit.min(batch.num_rows() - first);
                    let slice = if rows == batch.num_rows() {
                        batch.clone()
                    } else {
                        batch.slice(first, rows)
                    };
                    self.lookup(&mut prober, slice)?;
                    silent += 1;
                    loop {
                        match drive(&mut prober, &self.metrics)? {
                            Step::Batch(batch) => {
                                silent = 0;
                                if !out.give(batch).await? {
                                    return Ok(());
                                }
                            }
                            Step::Idle => silent += 1,
                            Step::Ended => break,
                        }
                        if silent > SILENT_STEPS_MAX {
                            silent = 0;
                            yield_now().await;
                        }
                    }
                }
            }
        }
        // The rest needs nothing of the probe side, which may go on to other work.
        let (tail, _) = prober.finish();
        drop(self);
        let Some(mut tail) = tail else {
            return Ok(());
        };
        while let Some(batch) = tail.next()? {
            if !out.give(batch).await? {
                break;
            }
            yield_now().await;
        }
        Ok(())
    }

    fn lookup(&self, prober: &mut Prober, batch: RecordBatch) -> Result<()> {
        let _timer = self.metrics.join_time.timer();
        self.metrics.input_batches.add(1);
        self.metrics.input_rows.add(batch.num_rows());
        prober.start(batch)?;
        let (hits, rows) = prober.hits();
        self.metrics.hit_rate.add_part(hits);
        self.metrics.hit_rate.add_total(rows);
        Ok(())
    }

    async fn grace(mut self, spilled: &SpilledBuild, limit: usize, out: &mut Out) -> Result<()> {
        self.published().await;
        let spill = || self.metrics.spill.clone();
        let grace = Grace {
            build: manager(&self.context, spill(), &self.shape.build_schema),
            probe: manager(&self.context, spill(), &self.shape.probe_schema),
            shape: Arc::clone(&self.shape),
            context: Arc::clone(&self.context),
            metrics: self.metrics.clone(),
            limit,
            shares: self.shares,
            ordering: self.ordering.clone(),
        };
        let empty = datafusion::physical_plan::EmptyRecordBatchStream::new(Arc::clone(
            &self.shape.probe_schema,
        ));
        let probe = std::mem::replace(&mut self.probe, Box::pin(empty));
        grace.join(spilled, probe, out).await
    }
}
