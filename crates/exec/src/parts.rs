//! Rows on disk, divided by the hash of their keys into parts that are taken up one at a time.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::SchemaRef;
use arrow_select::take::take_record_batch;
use datafusion::common::Result;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::execution::{SendableRecordBatchStream, SpillFile, TaskContext};
use datafusion::physical_plan::metrics::SpillMetrics;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{PhysicalExpr, SpillManager};
use futures::StreamExt;

/// Parts that rows are divided into at once.
pub(crate) const PARTS: usize = 16;
/// Times that a part is divided again before it is taken as it is: 16⁴ parts.
pub(crate) const LEVELS_MAX: usize = 4;

/// Rows with the same part of their hash, on disk.
#[derive(Clone, Default)]
pub(crate) struct Part {
    files: Vec<Arc<dyn SpillFile>>,
    pub(crate) rows: usize,
}

impl Part {
    /// Takes over the rows of another.
    pub(crate) fn merge(&mut self, other: Part) {
        self.files.extend(other.files);
        self.rows += other.rows;
    }

    /// The batches, in the order in which they were written.
    pub(crate) fn read(&self, manager: &SpillManager) -> Result<SendableRecordBatchStream> {
        let mut streams = Vec::with_capacity(self.files.len());
        for file in &self.files {
            streams.push(manager.read_spill_as_stream_unbuffered(Arc::clone(file), None)?);
        }
        let schema = Arc::clone(manager.schema());
        let batches = futures::stream::iter(streams).flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

/// Reads and writes files of rows.
pub(crate) fn manager(
    context: &TaskContext,
    metrics: SpillMetrics,
    schema: &SchemaRef,
) -> SpillManager {
    let compression = context.session_config().spill_compression();
    SpillManager::new(context.runtime_env(), metrics, Arc::clone(schema))
        .with_compression_type(compression)
}

/// Writes a batch to a file; without one, ends the file and gives it unless it is empty.
pub(crate) type Writer =
    Box<dyn FnMut(Option<&RecordBatch>) -> Result<Option<Arc<dyn SpillFile>>> + Send>;

/// Begins a file.
pub(crate) fn writer(manager: &SpillManager) -> Result<Writer> {
    let mut file = manager.create_in_progress_file("parts")?;
    Ok(Box::new(move |batch| match batch {
        Some(batch) => file.append_batch(batch).map(|_| None),
        None => file.finish(),
    }))
}

/// Divides rows among files.
pub(crate) struct Partitioner {
    manager: SpillManager,
    on: Vec<Arc<dyn PhysicalExpr>>,
    random: RandomState,
    files: Vec<Option<Writer>>,
    rows: Vec<usize>,
    hashes: Vec<u64>,
}

impl Partitioner {
    /// Divides by the values of `on`; by another hash on each level.
    pub(crate) fn new(
        manager: SpillManager,
        on: &[Arc<dyn PhysicalExpr>],
        level: usize,
    ) -> Partitioner {
        Partitioner {
            manager,
            on: on.to_vec(),
            // None that already divided the rows elsewhere.
            random: RandomState::with_seed(0x626c_7565_7368_6966 + level as u64),
            files: (0..PARTS).map(|_| None).collect(),
            rows: vec![0; PARTS],
            hashes: Vec::new(),
        }
    }

    /// Writes the rows of a batch, each to its part.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
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

    /// The parts, of which some may have no rows.
    pub(crate) fn finish(self) -> Result<Vec<Part>> {
        let part = |(file, rows): (Option<Writer>, usize)| {
            let finished = file.map(|mut file| file(None)).transpose()?;
            Ok(Part { files: finished.flatten().into_iter().collect(), rows })
        };
        self.files.into_iter().zip(self.rows).map(part).collect()
    }
}

/// The values of `on` for the rows of a batch.
pub(crate) fn keys(on: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    on.iter().map(|key| key.evaluate(batch)?.into_array(batch.num_rows())).collect()
}
