//! Collects the build side of a join: into memory, or to disk by partition of the keys' hash.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_select::concat::concat;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt};
use jointable::{JoinTable, Visited, yield_now};

use super::filter::{Bounds, Found, Reports};
use super::gives_build_rows;
use super::output::Shape;
use super::prober::BuildSide;
use super::spill::{SpilledBuild, build_partitioner};
use super::stream::JoinMetrics;
use crate::parts::keys;

/// A build side, as the partitions of a join see it.
#[derive(Clone)]
pub(super) enum Built {
    Memory(Arc<BuildSide>),
    Spilled(Arc<SpilledBuild>),
}

/// A build side that whoever waits for it makes.
pub(super) type SharedBuild =
    Shared<BoxFuture<'static, std::result::Result<Built, Arc<DataFusionError>>>>;

/// Makes a build side of an input.
pub(super) struct Collector {
    pub(super) shape: Arc<Shape>,
    pub(super) input: SendableRecordBatchStream,
    pub(super) metrics: JoinMetrics,
    pub(super) context: Arc<TaskContext>,
    /// Build sides of this join on this node.
    pub(super) shares: usize,
    /// Streams that probe this one.
    pub(super) probers: usize,
    pub(super) reports: Option<Arc<Reports>>,
    /// The partition that it reports as.
    pub(super) report_as: usize,
}

/// Memory of one build side, which keeps a part of the query's for others.
pub(super) struct Budget {
    pub(super) reservation: MemoryReservation,
    max_bytes: usize,
}

impl Budget {
    pub(super) fn new(context: &TaskContext, shares: usize) -> Budget {
        let pool = context.memory_pool();
        let max_bytes = match pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes / 4 * 3 / shares.max(1),
            _ => usize::MAX,
        };
        // Not one that the pool counts on to spill: those get an even share, however little the
        // others need.
        let reservation = MemoryConsumer::new("VectorJoinBuild").register(pool);
        Budget { reservation, max_bytes }
    }

    /// False when there is no room for `bytes` more.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        self.reservation.size().saturating_add(bytes) <= self.max_bytes
            && self.reservation.try_grow(bytes).is_ok()
    }
}

/// Batches of a build side with the values of their keys.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) keys: Vec<Vec<ArrayRef>>,
    pub(super) rows: usize,
}

impl Collected {
    pub(super) fn push(&mut self, batch: RecordBatch, keys: Vec<ArrayRef>) {
        self.rows += batch.num_rows();
        self.batches.push(batch);
        self.keys.push(keys);
    }
}

impl Collector {
    pub(super) fn shared(self) -> SharedBuild {
        async move { self.collect().await.map_err(Arc::new) }.boxed().shared()
    }

    async fn collect(mut self) -> Result<Built> {
        let mut budget = Budget::new(&self.context, self.shares);
        let mut counter = RecordBatchMemoryCounter::new();
        let mut bounds = match &self.reports {
            Some(_) => Some(Bounds::new(&self.shape)?),
            None => None,
        };
        let mut collected = Collected::default();
        let build_time = self.metrics.build_time.clone();
        while let Some(batch) = self.input.next().await.transpose()? {
            let timer = build_time.timer();
            if batch.num_rows() == 0 {
                continue;
            }
            let keys = keys(&self.shape.on_build, &batch)?;
            if let Some(bounds) = &mut bounds {
                bounds.add(&keys)?;
            }
            self.metrics.build_input_batches.add(1);
            self.metrics.build_input_rows.add(batch.num_rows());
            let fits = budget.grow(counter.count_batch(&batch));
            collected.push(batch, keys);
            drop(timer);
            if !fits {
                return self.spill(collected, budget, bounds).await;
            }
        }
        let timer = build_time.timer();
        let plan = JoinTable::plan(collected.keys.clone(), self.shape.nulls_equal).await?;
        let visited = if gives_build_rows(self.shape.join_type) { collected.rows / 4 } else { 0 };
        if !budget.grow(plan.bytes() + visited * self.probers) {
            drop((timer, plan));
            return self.spill(collected, budget, bounds).await;
        }
        let table = Arc::new(plan.build().await?);
        if let (Some(reports), Some(bounds)) = (&self.reports, bounds) {
            let found = Found::new(bounds, Some((&table, &collected.keys)))?;
            reports.report(self.report_as, found)?;
        }
        let side =
            assemble(&self.shape, collected, table, self.probers, budget.reservation).await?;
        self.metrics.build_mem_used.add(side.bytes());
        drop(timer);
        Ok(Built::Memory(Arc::new(side)))
    }

    /// Goes on on disk.
    async fn spill(
        mut self,
        collected: Collected,
        budget: Budget,
        mut bounds: Option<Bounds>,
    ) -> Result<Built> {
        let metrics = self.metrics.spill.clone();
        let mut partitioner = build_partitioner(&self.shape, &self.context, metrics, 0);
        let Collected { batches, keys: known, .. } = collected;
        drop(known);
        for batch in batches {
            partitioner.push(&batch)?;
            yield_now().await;
        }
        drop(budget);
        while let Some(batch) = self.input.next().await.transpose()? {
            let _timer = self.metrics.build_time.timer();
            if let Some(bounds) = &mut bounds {
                bounds.add(&keys(&self.shape.on_build, &batch)?)?;
            }
            self.metrics.build_input_batches.add(1);
            self.metrics.build_input_rows.add(batch.num_rows());
            partitioner.push(&batch)?;
            yield_now().await;
        }
        if let (Some(reports), Some(bounds)) = (&self.reports, bounds) {
            reports.report(self.report_as, Found::new(bounds, None)?)?;
        }
        let parts = partitioner.finish()?;
        Ok(Built::Spilled(Arc::new(SpilledBuild::new(parts, self.probers))))
    }
}

/// A build side of what was collected, with its columns in one piece each.
pub(super) async fn assemble(
    shape: &Shape,
    collected: Collected,
    table: Arc<JoinTable>,
    probers: usize,
    reservation: MemoryReservation,
) -> Result<BuildSide> {
    let Collected { batches, keys, .. } = collected;
    drop(keys);
    let mut inputs: Vec<Vec<ArrayRef>> =
        batches.into_iter().map(|batch| batch.columns().to_vec()).collect();
    let mut columns = Vec::with_capacity(shape.build_columns.len());
    for (at, needed) in shape.build_columns.iter().enumerate() {
        if !needed {
            columns.push(None);
            continue;
        }
        let column = match &inputs[..] {
            [] => arrow_array::new_empty_array(shape.build_schema.field(at).data_type()),
            [only] => Arc::clone(&only[at]),
            inputs => concat(&inputs.iter().map(|input| input[at].as_ref()).collect::<Vec<_>>())?,
        };
        // What was copied is not needed twice.
        inputs.iter_mut().for_each(|input| input[at] = Arc::new(arrow_array::NullArray::new(0)));
        columns.push(Some(column));
        yield_now().await;
    }
    let visited =
        if gives_build_rows(shape.join_type) { Visited::bytes(&table) * probers } else { 0 };
    let bytes: usize = columns.iter().flatten().map(Array::get_buffer_memory_size).sum();
    reservation.resize(bytes + table.bytes() + visited);
    Ok(BuildSide::new(table, columns, probers, reservation))
}
