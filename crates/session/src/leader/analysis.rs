//! ANALYZE: which tables and columns are looked at, and what is remembered of it.
//!
//! Owns the choice for the statement and for the background. Looking happens at a snapshot and
//! takes no lock: what is found is an estimate at any rate.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::ids::{ColumnId, Oid};
use base::{CancellationToken, Result};
use catalog::{Op, Relation, State, Table, TableStatistics};
use futures::future::BoxFuture;

use super::LeaderNode;

/// Changed rows from which the background analyzes a table again, in percent.
const AUTOMATIC_PERCENT: f64 = 10.0;

/// The columns that are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    All,
    /// Those that queries tested, and the keys; all when no query tested one.
    Predicates,
    Listed(Vec<ColumnId>),
}

/// What became of an ANALYZE, as `stl_analyze` calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Full,
    Skipped,
    PredicateColumn,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Full => "Full",
            Status::Skipped => "Skipped",
            Status::PredicateColumn => "PredicateColumn",
        }
    }
}

/// One table's ANALYZE, as `stl_analyze` shows it.
#[derive(Clone, Debug)]
pub(crate) struct Analysis {
    pub(crate) user: Oid,
    pub(crate) transaction: u64,
    pub(crate) database: String,
    pub(crate) schema: Oid,
    pub(crate) table: Oid,
    pub(crate) name: String,
    pub(crate) status: Status,
    pub(crate) rows: u64,
    /// Rows that had changed since the one before.
    pub(crate) modified_rows: u64,
    pub(crate) threshold_percent: i64,
    pub(crate) automatic: bool,
    pub(crate) started_us: i64,
    pub(crate) ended_us: i64,
    pub(crate) previous_us: Option<i64>,
    pub(crate) predicate_columns: usize,
    pub(crate) new_predicate_columns: usize,
}

/// What is known of a table and wanted from it.
pub(crate) struct Examination<'a> {
    pub(crate) state: &'a State,
    pub(crate) table: &'a Arc<Table>,
    pub(crate) wanted: &'a Wanted,
}

impl Examination<'_> {
    fn previous(&self) -> Option<&Arc<TableStatistics>> {
        self.state.statistics(self.table.oid)
    }

    /// True when so much of the table changed, or a column was never looked at.
    pub(crate) fn is_due(&self, leader: &LeaderNode, threshold_percent: f64) -> bool {
        let Some(known) = self.previous() else { return true };
        let stale = known.stale_percent(self.state.changes(self.table.oid));
        let columns = self.columns(&self.predicates(leader));
        stale >= threshold_percent || columns.iter().any(|column| known.column(*column).is_none())
    }

    /// The columns that queries tested, those of former terms included.
    fn predicates(&self, leader: &LeaderNode) -> BTreeSet<ColumnId> {
        let kept = self.previous().map(|known| known.predicate_columns.clone());
        let seen = leader.engine.predicate_columns(self.table.oid);
        let all = kept.into_iter().flatten().chain(seen);
        all.filter(|column| self.table.column_by_id(*column).is_some()).collect()
    }

    fn columns(&self, predicates: &BTreeSet<ColumnId>) -> Vec<ColumnId> {
        let all = self.table.columns.iter().map(|column| column.id);
        match self.wanted {
            Wanted::Listed(columns) => columns.clone(),
            Wanted::Predicates if !predicates.is_empty() => {
                let keys = self.table.sort_key.columns();
                let tested = |column: &ColumnId| {
                    predicates.contains(column)
                        || keys.contains(column)
                        || self.table.distribution.effective == catalog::DistStyle::Key(*column)
                };
                all.filter(tested).collect()
            }
            Wanted::Predicates | Wanted::All => all.collect(),
        }
    }

    /// The record of an ANALYZE that begins now and, so far, is skipped.
    pub(crate) fn record(&self, leader: &LeaderNode) -> Analysis {
        let oid = self.table.oid;
        let now = base::clock::now_us();
        let schema = self.state.schema_by_oid(self.table.schema);
        let database = schema.and_then(|schema| self.state.database_by_oid(schema.database));
        let changes = self.state.changes(oid);
        let before = self.previous().map(|known| known.changes).unwrap_or_default();
        let predicates = self.predicates(leader);
        let old = |column: &&ColumnId| {
            self.previous().is_some_and(|known| known.predicate_columns.contains(column))
        };
        Analysis {
            user: catalog::SYSTEM_USER_OID,
            transaction: 0,
            database: database.map(|database| database.name.clone()).unwrap_or_default(),
            schema: self.table.schema,
            table: oid,
            name: self.table.name.clone(),
            status: Status::Skipped,
            rows: self.state.table_rows(oid),
            modified_rows: changes.since(before).rows(),
            threshold_percent: 0,
            automatic: false,
            started_us: now,
            ended_us: now,
            previous_us: self.previous().map(|known| known.analyzed_us),
            predicate_columns: predicates.len(),
            new_predicate_columns: predicates.len() - predicates.iter().filter(old).count(),
        }
    }
}

impl LeaderNode {
    /// Looks at a table's rows: what the catalog is to know of them, and how that is recorded.
    ///
    /// # Errors
    /// Those of a query.
    pub(crate) async fn examine(
        &self,
        examination: &Examination<'_>,
        query: &exec::QueryContext,
    ) -> Result<TableStatistics> {
        let Examination { state, table, .. } = examination;
        let predicates = examination.predicates(self);
        let columns = examination.columns(&predicates);
        let segments = state.segments(table.oid);
        let look: BoxFuture<'_, Result<Vec<catalog::ValueDistribution>>> =
            Box::pin(self.engine.distributions(table, &segments, &columns, query));
        let mut found = look.await?;
        let others = examination.previous().into_iter().flat_map(|known| &known.columns);
        let kept = others.filter(|other| {
            !columns.contains(&other.column) && table.column_by_id(other.column).is_some()
        });
        found.extend(kept.cloned());
        found.sort_by_key(|column| column.column);
        Ok(TableStatistics {
            table: table.oid,
            analyzed_us: base::clock::now_us(),
            rows: state.table_rows(table.oid),
            changes: state.changes(table.oid),
            columns: found,
            predicate_columns: predicates.into_iter().collect(),
        })
    }

    /// Analyzes a table in the background when enough of it has changed.
    pub(crate) async fn analyze_when_due(&self, oid: Oid, closing: &CancellationToken) {
        let mut transaction = self.catalog.begin();
        let state = Arc::clone(transaction.state());
        let Some(Relation::Table(table)) = state.relation_by_oid(oid) else { return };
        let examination = Examination { state: &state, table: &table, wanted: &Wanted::All };
        if state.table_rows(oid) == 0 || !examination.is_due(self, AUTOMATIC_PERCENT) {
            return;
        }
        let mut record = examination.record(self);
        let query = exec::QueryContext {
            id: self.new_query_id(),
            cancel: closing.child_token(),
            memory_bytes: self.config.query_memory_bytes,
            settings: Vec::new(),
            retry_reads: true,
        };
        record.transaction = transaction.id().0;
        let commit: BoxFuture<'_, Result<()>> = Box::pin(async {
            let statistics = self.examine(&examination, &query).await?;
            transaction.apply(Op::SetStatistics(Arc::new(statistics)))?;
            self.catalog.commit(transaction).await.map(drop)
        });
        match commit.await {
            Ok(()) => {
                tracing::debug!(table = table.name, "a table was analyzed");
                let threshold_percent = AUTOMATIC_PERCENT as i64;
                let ended_us = base::clock::now_us();
                let (status, automatic) = (Status::Full, true);
                self.upkeep.analyzed(Analysis {
                    status,
                    automatic,
                    threshold_percent,
                    ended_us,
                    ..record
                });
            }
            // The table was dropped, or the leader ends: there is nothing to know any more.
            Err(error) => tracing::debug!(%error, table = table.name, "a table was not analyzed"),
        }
    }
}
