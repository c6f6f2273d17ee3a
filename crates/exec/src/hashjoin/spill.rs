//! Both sides of a join on disk, divided by the hash of their keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::SchemaRef;
use arrow_select::take::take_record_batch;
use datafusion::common::Result;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::execution::{SendableRecordBatchStream, SpillFile, TaskContext};
use datafusion::physical_plan::metrics::SpillMetrics;
use datafusion::physical_plan::{PhysicalExpr, SpillManager};
use futures::StreamExt;
use parking_lot::Mutex;

use super::output::{Shape, keys};

/// Parts that a side is divided into at once.
const PARTS: usize = 16;
/// Times that a part is divided again before it is joined in passes: 16⁴ parts.
pub(super) const LEVELS_MAX: usize = 4;

/// Rows of one side with the same hash, on disk.
#[derive(Clone, Default)]
pub(super) struct Part {
    files: Vec<Arc<dyn SpillFile>>,
    pub(super) rows: usize,
}

impl Part {
    fn merge(&mut self, other: Part) {
        self.files.extend(other.files);
        self.rows += other.rows;
    }

    /// The batches, in the order in which they were written.
    pub(super) fn read(&self, manager: &SpillManager) -> Result<SendableRecordBatchStream> {
        let mut streams = Vec::with_capacity(self.files.len());
        for file in &self.files {
            streams.push(manager.read_spill_as_stream_unbuffered(Arc::clone(file), None)?);
        }
        let schema = Arc::clone(manager.schema());
        let batches = futures::stream::iter(streams).flatten();
        Ok(Box::pin(datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(
            schema, batches,
        )))
    }
}

/// A build side on disk, with the probe sides where they are joined together.
pub(super) struct SpilledBuild {
    pub(super) parts: Vec<Part>,
    probe: Mutex<Vec<Part>>,
    probing: AtomicUsize,
}

impl SpilledBuild {
    pub(super) fn new(parts: Vec<Part>, probers: usize) -> SpilledBuild {
        SpilledBuild {
            parts,
            probe: Mutex::new(vec![Part::default(); PARTS]),
            probing: AtomicUsize::new(probers),
        }
    }

    /// Takes the probe side of one partition. The last one gets those of all.
    pub(super) fn ended(&self, parts: Vec<Part>) -> Option<Vec<Part>> {
        let mut probe = self.probe.lock();
        for (all, part) in probe.iter_mut().zip(parts) {
            all.merge(part);
        }
        // The lock orders this with what the others merged.
        (self.probing.fetch_sub(1, Ordering::Relaxed) == 1).then(|| std::mem::take(&mut *probe))
    }
}

/// Reads and writes the files of one side.
pub(super) fn manager(
    context: &TaskContext,
    metrics: SpillMetrics,
    schema: &SchemaRef,
) -> SpillManager {
    let compression = context.session_config().spill_compression();
    SpillManager::new(context.runtime_env(), metrics, Arc::clone(schema))
        .with_compression_type(compression)
}

/// Writes a batch to a file; without one, ends the file.
pub(super) type Writer =
    Box<dyn FnMut(Option<&RecordBatch>) -> Result<Option<Arc<dyn SpillFile>>> + Send>;

pub(super) fn writer(manager: &SpillManager) -> Result<Writer> {
    let mut file = manager.create_in_progress_file("hash join")?;
    Ok(Box::new(move |batch| match batch {
        Some(batch) => file.append_batch(batch).map(|_| None),
        None => file.finish(),
    }))
}

/// Divides one side.
pub(super) struct Partitioner {
    manager: SpillManager,
    on: Vec<Arc<dyn PhysicalExpr>>,
    random: RandomState,
    files: Vec<Option<Writer>>,
    rows: Vec<usize>,
    hashes: Vec<u64>,
}

impl Partitioner {
    pub(super) fn build(
        shape: &Shape,
        context: &TaskContext,
        metrics: SpillMetrics,
        level: usize,
    ) -> Partitioner {
        let manager = manager(context, metrics, &shape.build_schema);
        Partitioner::new(manager, &shape.on_build, level)
    }

    pub(super) fn probe(
        shape: &Shape,
        context: &TaskContext,
        metrics: SpillMetrics,
        level: usize,
    ) -> Partitioner {
        let manager = manager(context, metrics, &shape.probe_schema);
        Partitioner::new(manager, &shape.on_probe, level)
    }

    fn new(manager: SpillManager, on: &[Arc<dyn PhysicalExpr>], level: usize) -> Partitioner {
        Partitioner {
            manager,
            on: on.to_vec(),
            // Another hash on each level, and none that already divided the rows elsewhere.
            random: RandomState::with_seed(0x626c_7565_7368_6966 + level as u64),
            files: (0..PARTS).map(|_| None).collect(),
            rows: vec![0; PARTS],
            hashes: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        self.hashes.clear();
        self.hashes.resize(batch.num_rows(), 0);
        create_hashes(keys(&self.on, batch)?, &self.random, &mut self.hashes)?;
        let mut picked: Vec<Vec<u32>> = vec![Vec::new(); PARTS];
        for (row, hash) in self.hashes.iter().enumerate() {
            picked[(hash >> 32) as usize % PARTS].push(row as u32);
        }
        for (part, rows) in picked.into_iter().enumerate() {
            if rows.is_empty() {
                continue;
            }
            self.rows[part] += rows.len();
            let file = match &mut self.files[part] {
                Some(file) => file,
                place => place.insert(writer(&self.manager)?),
            };
            file(Some(&take_record_batch(batch, &UInt32Array::from(rows))?))?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Vec<Part>> {
        let part = |(file, rows): (Option<Writer>, usize)| {
            let finished = file.map(|mut file| file(None)).transpose()?;
            Ok(Part { files: finished.flatten().into_iter().collect(), rows })
        };
        self.files.into_iter().zip(self.rows).map(part).collect()
    }
}
