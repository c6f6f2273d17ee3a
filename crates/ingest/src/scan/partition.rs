//! One partition of a load: its units, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use base::{Error, Result, error};
use datafusion::common::DataFusionError;
use datafusion::common::runtime::SpawnedTask;
use futures::StreamExt;
use object_store::ObjectStore;
use tokio::sync::mpsc;

use crate::fetch::StoredFile;
use crate::files::{FileRef, Opener};
use crate::input::{ChannelReader, decompressed};
use crate::options::columns::targets;
use crate::options::{BATCH_ROWS, LoadFormat, LoadSpec, TextOptions};
use crate::parquet::{self, ParquetSpec};
use crate::progress::{self, Progress};
use crate::report::{self, PartitionReport, Run, UnitReport};
use crate::text::{Outcome, TextReader, TextSpec, UnitRange};
use crate::unit::{Part, Unit};

/// Pieces of a file that wait for the parser.
const PIECES: usize = 1;

type Output = mpsc::Sender<Result<RecordBatch, DataFusionError>>;

pub(super) struct Partition {
    pub(super) spec: Arc<LoadSpec>,
    pub(super) files: BTreeMap<u32, FileRef>,
    pub(super) units: Vec<Unit>,
    /// Counted over all tasks.
    pub(super) number: u32,
    pub(super) run: Run,
    pub(super) opener: Arc<Opener>,
    /// The cluster's store, for the report.
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) schema: SchemaRef,
    pub(super) output: Output,
}

/// The spec of text files as the parser wants it.
pub(crate) fn text_spec(spec: &LoadSpec, options: &TextOptions) -> Result<TextSpec> {
    Ok(TextSpec {
        dialect: options.dialect(spec.fields, spec.fill),
        conversion: options.conversion(spec.replace_invalid)?,
        targets: targets(&spec.columns)?,
        skip_lines: options.skip_lines,
        batch_rows: BATCH_ROWS,
        rejections_max: spec.rejections_max,
    })
}

impl Partition {
    /// Reads all units and writes the report, also when the load fails here, so that the leader
    /// learns which rows were at fault.
    pub(super) async fn run(mut self) -> Result<()> {
        if self.units.is_empty() {
            return Ok(());
        }
        let mut report = PartitionReport { partition: self.number, ..PartitionReport::default() };
        let progress = progress::find(self.run.query);
        let spec = Arc::clone(&self.spec);
        let read = match &spec.format {
            LoadFormat::Text(options) => {
                let text = Arc::new(text_spec(&spec, options)?);
                self.text(text, progress, &mut report).await
            }
            LoadFormat::Parquet => self.parquet(progress, &mut report).await,
        };
        base::fault::point("copy.before_report")?;
        let written = report::write(&self.store, self.run, &report).await;
        read.and(written)
    }

    fn open(&self, unit: &Unit) -> Result<StoredFile> {
        let file = self
            .files
            .get(&unit.file)
            .ok_or_else(|| Error::internal(format!("a load's share lacks file {}", unit.file)))?;
        self.opener.open(file)
    }

    async fn text(
        &mut self,
        spec: Arc<TextSpec>,
        progress: Option<Arc<Progress>>,
        report: &mut PartitionReport,
    ) -> Result<()> {
        let mut reader = TextReader::new(spec, Arc::clone(&self.schema));
        let mut units = std::mem::take(&mut self.units).into_iter();
        let mut next = units.next().map(|unit| self.start(unit, &progress)).transpose()?;
        while let Some(fetch) = next {
            // The next unit's first bytes are fetched while this one is parsed.
            next = units.next().map(|unit| self.start(unit, &progress)).transpose()?;
            let unit = fetch.unit.id;
            let (returned, outcome) = self.parse(reader, fetch, &progress).await?;
            reader = returned;
            let stopped = outcome.stopped;
            report.rows += outcome.rows;
            report.units.push(unit_report(unit, outcome));
            if stopped {
                return Err(too_many());
            }
            if let Some(progress) = &progress {
                progress.add_file();
            }
        }
        Ok(())
    }

    /// Starts to fetch a unit's bytes.
    fn start(&self, unit: Unit, progress: &Option<Arc<Progress>>) -> Result<Fetch> {
        let file = self.open(&unit)?;
        let name = Arc::clone(&file.name);
        let range = match unit.part {
            Part::Bytes { start, end } => UnitRange { start, end },
            Part::RowGroups { .. } => UnitRange::WHOLE,
        };
        let (sender, receiver) = mpsc::channel(PIECES);
        let bytes = range.read_from()..range.end;
        let task = SpawnedTask::spawn(file.feed(bytes, sender, progress.clone()));
        Ok(Fetch { unit, range, name, receiver, _task: task })
    }

    /// Parses a unit on a thread of its own, because parsing blocks.
    async fn parse(
        &self,
        mut reader: TextReader,
        fetch: Fetch,
        progress: &Option<Arc<Progress>>,
    ) -> Result<(TextReader, Outcome)> {
        let Fetch { unit, range, name, receiver, _task } = fetch;
        let compression = self.spec.compression;
        let no_load = self.spec.no_load;
        let output = self.output.clone();
        let progress = progress.clone();
        base::task::blocking("parsing a file of a load", move || {
            let mut input = decompressed(compression, ChannelReader::new(receiver), &name)?;
            let mut emit = |batch: RecordBatch| {
                if let Some(progress) = &progress {
                    progress.add_rows(batch.num_rows() as u64);
                }
                Ok(no_load || output.blocking_send(Ok(batch)).is_ok())
            };
            let outcome = reader.read_unit(unit.id, range, &mut input, &mut emit)?;
            Ok((reader, outcome))
        })
        .await
    }

    async fn parquet(
        &mut self,
        progress: Option<Arc<Progress>>,
        report: &mut PartitionReport,
    ) -> Result<()> {
        let spec = Arc::new(ParquetSpec {
            targets: targets(&self.spec.columns)?,
            fields: self.spec.fields,
            fill: self.spec.fill,
            replace_invalid: self.spec.replace_invalid,
            schema: Arc::clone(&self.schema),
        });
        for unit in std::mem::take(&mut self.units) {
            let mut done = UnitReport { unit: unit.id, ..UnitReport::default() };
            let read = self.row_groups(&spec, &unit, &progress, &mut done).await;
            report.rows += done.rows;
            report.units.push(done);
            read?;
            if let Some(progress) = &progress {
                progress.add_bytes(unit.bytes);
                progress.add_file();
            }
        }
        Ok(())
    }

    async fn row_groups(
        &self,
        spec: &Arc<ParquetSpec>,
        unit: &Unit,
        progress: &Option<Arc<Progress>>,
        done: &mut UnitReport,
    ) -> Result<()> {
        let groups = match unit.part {
            Part::RowGroups { first, count } => Some(first as usize..(first + count) as usize),
            Part::Bytes { .. } => None,
        };
        let file = self.open(unit)?;
        let stream = parquet::read(Arc::clone(spec), file, unit.id, groups).await?;
        let mut stream = std::pin::pin!(stream);
        while let Some(read) = stream.next().await {
            let batch = match read? {
                parquet::Read::Batch(batch) => batch,
                parquet::Read::Misfit(rejection) => {
                    done.rejected = 1;
                    done.rejections.push(*rejection);
                    return Err(too_many());
                }
            };
            done.rows += batch.num_rows() as u64;
            if let Some(progress) = progress {
                progress.add_rows(batch.num_rows() as u64);
            }
            if !self.spec.no_load && self.output.send(Ok(batch)).await.is_err() {
                return Ok(());
            }
        }
        done.finished = true;
        Ok(())
    }
}

/// A unit whose bytes are on their way.
struct Fetch {
    unit: Unit,
    range: UnitRange,
    name: Arc<str>,
    receiver: mpsc::Receiver<crate::input::Piece>,
    /// Ends with this value.
    _task: SpawnedTask<()>,
}

fn unit_report(unit: u32, outcome: Outcome) -> UnitReport {
    UnitReport {
        unit,
        finished: !outcome.stopped,
        first_record: outcome.first_record,
        next_record: outcome.next_record,
        lines: outcome.lines,
        rows: outcome.rows,
        rejected: outcome.rejected,
        rejections: outcome.rejections,
    }
}

/// Ends the load; the leader replaces it by an error that names the first rejected row.
fn too_many() -> Error {
    error!(BadCopyFileFormat, "too many rows of the load were rejected")
}
