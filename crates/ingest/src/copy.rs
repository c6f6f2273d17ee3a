//! A COPY on the leader: from the statement to written segments, or to nothing.
//!
//! Owns the order of things and the decision whether the load succeeded. Rows do not pass
//! through here.

mod verdict;

use std::sync::Arc;

use base::ids::QueryId;
use base::{Error, Result, error};
use catalog::LoadError;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use exec::{Engine, SourceExec, WriteInput, WriteTarget, Written};
use futures::{StreamExt, TryStreamExt};
use sql::ast::{CopyCompUpdate, CopyStatement};

use crate::failure::Rejected;
use crate::files::{self, FileRef, Opener};
use crate::options::columns::columns;
use crate::options::{self, LoadFill, LoadFormat, LoadSpec};
use crate::report::{self, Run};
use crate::scan::CopySource;
use crate::unit::{Divisible, Grain, PART_BYTES_MIN, Unit, divide};
use crate::{Copied, CopyContext, CopyFailed, Sources, parquet, progress};
use verdict::Verdict;

/// Parquet footers read at once.
const FOOTERS_AT_ONCE: usize = 8;
/// Headers longer than this are not looked for in parts of a file: it is read as a whole.
const SKIP_LINES_SPLIT_MAX: u64 = 1_000;

/// Runs a COPY up to, and without, making its rows visible.
///
/// # Errors
/// What the statement asks and is not served (0A000), where it cannot be read (58P01, 42501,
/// 08006, 28000), and 22P04 naming the first row that could not be loaded.
pub async fn copy(
    engine: &Arc<Engine>,
    statement: &CopyStatement,
    target: &WriteTarget,
    context: &CopyContext<'_>,
) -> Result<Copied, CopyFailed> {
    let started_us = base::clock::now_us();
    let load = Load::prepare(engine, statement, target, context).await?;
    let _published = progress::publish(context.query.id, &context.progress);
    let mut result = match load.attempt(0, true).await? {
        Attempt::Done(done) => done,
        Attempt::WrongSplit => match load.attempt(1, false).await? {
            Attempt::Done(done) => done,
            Attempt::WrongSplit => {
                return Err(Error::internal("a load of whole files was split wrongly").into());
            }
        },
    };
    let stamp = |errors: &mut Vec<LoadError>| {
        for error in errors {
            error.query = context.query.id;
            error.started_us = started_us;
            error.user = context.user;
            error.session = context.session;
        }
    };
    match &mut result {
        Ok(copied) => stamp(&mut copied.errors),
        Err(failed) => stamp(&mut failed.errors),
    }
    result
}

/// What one run over the files came to.
enum Attempt {
    Done(Result<Copied, CopyFailed>),
    /// A file was cut inside a record: the load has to run again over whole files.
    WrongSplit,
}

/// A load that is checked and knows its files.
struct Load<'a> {
    engine: &'a Arc<Engine>,
    context: &'a CopyContext<'a>,
    target: WriteTarget,
    spec: Arc<LoadSpec>,
    sources: Sources,
    opener: Opener,
    files: Vec<FileRef>,
    notices: Vec<String>,
}

impl<'a> Load<'a> {
    async fn prepare(
        engine: &'a Arc<Engine>,
        statement: &CopyStatement,
        target: &WriteTarget,
        context: &'a CopyContext<'a>,
    ) -> Result<Load<'a>> {
        options::check(statement)?;
        let table = &context.table;
        let (columns, fields) = columns(statement, table, context.default)?;
        let spec = LoadSpec {
            table: table.name.clone(),
            columns,
            fields,
            format: options::format(statement)?,
            compression: options::compression(&statement.options),
            fill: statement.options.fill_record,
            replace_invalid: options::replacement(&statement.options)?,
            rejections_max: options::rejections_max(&statement.options),
            no_load: statement.options.no_load,
        };
        let mut target = target.clone();
        for fill in &mut target.identity {
            // A column that the files hold keeps their values.
            if matches!(
                spec.columns.get(fill.column).map(|column| &column.fill),
                Some(LoadFill::Field(_))
            ) {
                fill.only_nulls = true;
            }
        }
        let sources = files::access(statement, context.sources)?;
        let cancel = &context.query.cancel;
        let found = tokio::select! {
            () = cancel.cancelled() => return Err(canceled()),
            found = files::list(statement, &sources) => found?,
        };
        let file = |o: remote::SourceObject| FileRef { url: o.url.to_string(), size: o.size };
        Ok(Load {
            engine,
            context,
            target,
            spec: Arc::new(spec),
            opener: Opener::new(sources.clone()),
            sources,
            files: found.into_iter().map(file).collect(),
            notices: notices(statement),
        })
    }

    /// Runs the load once.
    async fn attempt(&self, attempt: u32, split: bool) -> Result<Attempt> {
        let run = Run { query: self.run_id(), attempt };
        let cancel = &self.context.query.cancel;
        let partitions = tokio::select! {
            () = cancel.cancelled() => return Err(canceled()),
            partitions = self.divide(split) => partitions?,
        };
        let units = || partitions.iter().flatten();
        let bytes = units().map(|unit| unit.bytes).sum();
        self.context.progress.start(bytes, units().count() as u64);
        let mut all: Vec<Unit> = units().cloned().collect();
        all.sort_by_key(|unit| unit.id);
        let source = Arc::new(CopySource {
            spec: Arc::clone(&self.spec),
            files: self.files.clone(),
            partitions,
            run,
            sources: self.sources.clone(),
        });
        let written = self.write(source, attempt).await;
        base::fault::point("copy.after_write")?;
        let reports = report::take(&self.context.store, run).await;
        let (written, reports) = match (written, reports) {
            (Ok(written), reports) => (Ok(written), reports?),
            // The load's own error says more than a store that fails now.
            (Err(error), reports) => {
                report::remove_late(&self.context.store, run);
                (Err(error), reports.unwrap_or_default())
            }
        };
        let verdict = Verdict { load: self, units: &all, reports };
        verdict.reach(written).await
    }

    /// Ids of statements are unique in the cluster's life, also those of its reports.
    fn run_id(&self) -> QueryId {
        self.context.query.id
    }

    async fn write(&self, source: Arc<CopySource>, attempt: u32) -> Result<Written> {
        let query = self.context.query;
        if !self.spec.no_load {
            let mut target = self.target.clone();
            if attempt > 0 {
                // The first run may have left files of the same names.
                target.prefix = format!("{}-r{attempt}", target.prefix);
            }
            return self.engine.write(WriteInput::Source(source), &target, query).await;
        }
        let slices = self.engine.layout().slices();
        let leaf: Arc<dyn ExecutionPlan> = Arc::new(SourceExec::new(source, slices));
        let plan = Arc::new(CoalescePartitionsExec::new(leaf));
        let state = self.engine.state(query)?;
        let executable = self.engine.executable(state, None, plan, query)?;
        let mut rows = executable.execute()?;
        // Partitions give no rows; the stream ends when all files are read.
        while rows.next().await.transpose()?.is_some() {}
        Ok(Written::default())
    }

    /// The units of each partition of the cluster.
    async fn divide(&self, split: bool) -> Result<Vec<Vec<Unit>>> {
        let partitions = self.engine.layout().slices();
        let files: Vec<Divisible> = match &self.spec.format {
            LoadFormat::Text(text) => {
                let safe = split
                    && self.spec.compression == crate::input::Compression::None
                    && text.skip_lines <= SKIP_LINES_SPLIT_MAX
                    && partitions > 1;
                let grain = |file: &FileRef| match safe && file.size >= PART_BYTES_MIN {
                    true => Grain::Bytes,
                    false => Grain::Whole,
                };
                let divisible = |f: &FileRef| Divisible { bytes: f.size, grain: grain(f) };
                self.files.iter().map(divisible).collect()
            }
            LoadFormat::Parquet => {
                // Collected first: a stream that maps references is not `Send` for its callers.
                let reads: Vec<_> =
                    self.files.iter().map(|file| self.parquet_file(file, partitions)).collect();
                futures::stream::iter(reads).buffered(FOOTERS_AT_ONCE).try_collect().await?
            }
        };
        Ok(divide(&files, partitions))
    }

    async fn parquet_file(&self, file: &FileRef, partitions: usize) -> Result<Divisible> {
        if partitions == 1 || file.size < PART_BYTES_MIN {
            return Ok(Divisible { bytes: file.size, grain: Grain::Whole });
        }
        let groups = parquet::row_groups(&self.opener.open(file)?).await?;
        Ok(Divisible { bytes: groups.iter().sum(), grain: Grain::RowGroups(groups) })
    }

    /// The end of a load in which all went well.
    fn copied(&self, written: Written, rows: u64, rejected: u64, errors: &[Rejected]) -> Copied {
        self.context.progress.finish(rows);
        let name = &self.context.table.name;
        let mut notices = self.notices.clone();
        if self.spec.no_load {
            notices.push(format!(
                "Load into table '{name}' completed, {rows} record(s) checked, none loaded."
            ));
        } else {
            notices.push(format!(
                "Load into table '{name}' completed, {rows} record(s) loaded successfully."
            ));
        }
        if rejected > 0 {
            notices.push(format!(
                "Load into table '{name}' completed, {rejected} record(s) could not be loaded. \
                 Check 'stl_load_errors' system table for details."
            ));
        }
        let errors = errors.iter().map(|error| error.load_error(&self.context.table)).collect();
        Copied { written, rows, rejected, errors, notices }
    }
}

fn canceled() -> Error {
    error!(QueryCanceled, "canceling statement due to user request")
}

/// What is said of parameters whose work is done in another way here.
fn notices(statement: &CopyStatement) -> Vec<String> {
    let mut notices = Vec::new();
    if statement.options.comp_update == Some(CopyCompUpdate::Off) {
        notices.push(
            "COMPUPDATE OFF changes nothing: columns without ENCODE are encoded block by block \
             as their values suggest."
                .to_owned(),
        );
    }
    if statement.options.stat_update == Some(false) {
        notices.push(
            "STATUPDATE OFF changes nothing: statistics are a by-product of the load.".to_owned(),
        );
    }
    notices
}

#[cfg(test)]
mod tests;
