//! COPY: the session's side of a load.
//!
//! Load errors are kept in a transaction of their own, so that they outlive a load that failed
//! or was rolled back.

use std::sync::Arc;

use arrow_array::ArrayRef;
use base::client::{Outcome, Severity};
use base::{Result, error};
use catalog::{Column, DistStyle, IdentityNext, Op, Privileges, Relation, Table};
use exec::write::{IdentityFill, next_identity_bases};
use futures::future::BoxFuture;
use ingest::{CopyContext, Progress};
use sql::ast::{CopyFormat, CopyStatement};

use super::create::found_table;
use super::done;
use crate::client::{ClientSession, Run};
use crate::leader::history::LoadRecord;
use crate::planning::Scope;
use crate::privileges;

/// A load's progress at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) bytes_done: u64,
    pub(crate) bytes_total: u64,
    pub(crate) rows: u64,
    pub(crate) files_done: u64,
    pub(crate) files_total: u64,
}

impl Reading {
    pub(crate) fn of(progress: &Progress) -> Reading {
        Reading {
            bytes_done: progress.bytes_done(),
            bytes_total: progress.bytes_total(),
            rows: progress.rows(),
            files_done: progress.files_done(),
            files_total: progress.files_total(),
        }
    }

    /// 0 to 100.
    pub(crate) fn percent(self) -> u64 {
        match self.bytes_total {
            0 => 0,
            total => self.bytes_done.saturating_mul(100) / total,
        }
    }
}

impl ClientSession {
    pub(crate) async fn copy(&mut self, copy: &CopyStatement, run: &Run) -> Result<Outcome> {
        let scope = self.scope(&[])?;
        let table = found_table(&scope.relations, &copy.table)?;
        let context = Arc::clone(scope.context());
        let relation = Relation::Table(Arc::clone(&table));
        privileges::on_relation(&context.state, &context.user, &relation, Privileges::INSERT)?;
        // A load into an empty AUTO table is taken for a large one.
        let table = self.start_style(table, DistStyle::Even)?;
        let progress = Progress::new();
        run.show_load(&progress);
        let mut query = self.query_context(run);
        query.retry_reads = false;
        let mut target = self.write_target(&table, run);
        let fills = identity_fills(&table, &context.state, &copy.columns, copy)?;
        target.identity = fills.iter().map(|(_, fill)| *fill).collect();
        let default = |column: &Column| default_value(&scope, column);
        let leader = Arc::clone(&self.leader);
        let load = CopyContext {
            table: Arc::clone(&table),
            query: &query,
            sources: &leader.config.copy,
            store: Arc::clone(&leader.config.store),
            progress: Arc::clone(&progress),
            default: &default,
            user: context.user.oid,
            session: context.process_id,
        };
        run.planned();
        let loaded = ingest::copy(&leader.engine, copy, &target, &load).await;
        let loaded = leader.upkeep.checked(loaded, &target);
        let reading = Reading::of(&progress);
        let mut record = LoadRecord {
            table: table.name.clone(),
            source: copy.from.url.clone(),
            format: format_name(&copy.format).to_owned(),
            rows: 0,
            bytes: reading.bytes_done,
            files: reading.files_done,
            errors: 0,
        };
        match loaded {
            Ok(copied) => {
                record.rows = copied.rows;
                record.errors = copied.rejected;
                run.loaded(record);
                self.loaded(&table, copied, &fills, run)
            }
            Err(failed) => {
                record.errors = failed.errors.len() as u64;
                run.loaded(record);
                self.load_errors = failed.errors;
                Err(failed.error)
            }
        }
    }

    /// Stages what was loaded and tells the client.
    fn loaded(
        &mut self,
        table: &Arc<Table>,
        copied: ingest::Copied,
        fills: &[(base::ids::ColumnId, IdentityFill)],
        run: &Run,
    ) -> Result<Outcome> {
        self.wrote(&copied.written.segments);
        self.load_errors = copied.errors;
        run.count(copied.rows);
        for notice in copied.notices {
            self.notice(Severity::Info, error!(SuccessfulCompletion, "{notice}"));
        }
        if !copied.written.segments.is_empty() {
            let slices = self.work.state(&self.leader.catalog).slice_count();
            let next = fills.iter().map(|(column, fill)| {
                let base = next_identity_bases(fill.base, &copied.written.segments, slices);
                let distance = i64::try_from(base).ok().and_then(|n| n.checked_mul(fill.step));
                let next = distance.and_then(|distance| fill.seed.checked_add(distance));
                let next = next.ok_or_else(|| {
                    error!(NumericValueOutOfRange, "the identity column has run out")
                })?;
                Ok(IdentityNext { column: *column, next, reserved: false })
            });
            let identity_next = next.collect::<Result<Vec<_>>>()?;
            let segments = copied.written.segments;
            self.leader.upkeep.touched(table.oid);
            self.apply(Op::AddSegments { table: table.oid, segments, identity_next })?;
        }
        done("COPY")
    }

    /// Keeps the load errors of the statement that just ended, well or badly.
    pub(crate) async fn after_load(&mut self, result: Result<Outcome>) -> Result<Outcome> {
        let errors = std::mem::take(&mut self.load_errors);
        if errors.is_empty() {
            return result;
        }
        let mut transaction = self.leader.catalog.begin();
        let kept = match transaction.apply(Op::LoadErrors(errors)) {
            Ok(()) => {
                let catalog = self.leader.catalog.clone();
                let commit: BoxFuture<'static, Result<()>> =
                    Box::pin(async move { catalog.commit(transaction).await.map(drop) });
                commit.await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "load errors were not kept");
        }
        result
    }
}

/// How identity columns are filled that the files do not give.
fn identity_fills(
    table: &Table,
    state: &catalog::State,
    listed: &[sql::ast::Ident],
    copy: &CopyStatement,
) -> Result<Vec<(base::ids::ColumnId, IdentityFill)>> {
    let mut fills = Vec::new();
    for (place, column) in table.columns.iter().enumerate() {
        let Some(identity) = column.identity else { continue };
        let given = listed.iter().any(|name| name.name == column.name);
        if copy.options.explicit_ids || (given && identity.by_default) {
            continue;
        }
        let next = state.identity_next(table.oid, column.id).unwrap_or(identity.seed);
        let number = (i128::from(next) - i128::from(identity.seed)) / i128::from(identity.step);
        let base = u64::try_from(number).unwrap_or(0);
        let (seed, step) = (identity.seed, identity.step);
        fills.push((
            column.id,
            IdentityFill { column: place, seed, step, base, only_nulls: identity.by_default },
        ));
    }
    Ok(fills)
}

/// A column's DEFAULT as one value of its type.
fn default_value(scope: &Scope, column: &Column) -> Result<ArrayRef> {
    let wanted = column.sql_type.arrow();
    let value = match &column.default {
        None => datafusion::common::ScalarValue::Null,
        Some(text) => scope.binder().constant(&sql::parse_expression(text)?)?.0,
    };
    value
        .cast_to(&wanted)
        .and_then(|value| value.to_array_of_size(1))
        .map_err(|e| sql::error_from_datafusion(e, ""))
}

/// sys_load_history's name of a format.
fn format_name(format: &CopyFormat) -> &'static str {
    match format {
        CopyFormat::Delimited => "delimited",
        CopyFormat::Csv { .. } => "csv",
        CopyFormat::FixedWidth(_) => "fixedwidth",
        CopyFormat::Json(_) => "json",
        CopyFormat::Avro(_) => "avro",
        CopyFormat::Parquet => "parquet",
        CopyFormat::Orc => "orc",
        CopyFormat::Shapefile => "shapefile",
    }
}
