//! ANALYZE, and USE.
//!
//! Some statistics are made with each segment and committed with it; they wear off where the
//! segment has lost rows since: ANALYZE has such segments written again. How values are spread
//! comes from a sample of the table's rows.

use std::sync::Arc;

use base::client::{Outcome, Severity};
use base::{Error, Result, error};
use catalog::{Op, Privileges, Relation, Table, TableStatistics};
use futures::future::BoxFuture;
use sql::ast::{Analyze, Ident};

use super::definition::find_column;
use super::done;
use crate::client::{ClientSession, Run};
use crate::leader::analysis::{Examination, Status, Wanted};
use crate::leader::compaction::{self, Rewriter, Wish};
use crate::locks::Mode;
use crate::privileges;
use crate::relations::at;
use crate::transaction::Block;

impl ClientSession {
    pub(crate) async fn analyze(&mut self, analyze: &Analyze, run: &Run) -> Result<Outcome> {
        let tables = match &analyze.table {
            Some(name) => {
                let relation = self.relation(name)?;
                let Relation::Table(table) = &relation else {
                    return Err(at(
                        error!(WrongObjectType, "\"{}\" is not a table", relation.name()),
                        name.position(),
                    ));
                };
                for column in &analyze.columns {
                    find_column(table, column)?;
                }
                self.may_analyze(&relation)?;
                vec![Arc::clone(table)]
            }
            None => {
                let context = self.context()?;
                let relations = context.user_relations();
                let own = relations.iter().filter(|relation| self.may_analyze(relation).is_ok());
                own.filter_map(|relation| relation.table().cloned()).collect::<Vec<_>>()
            }
        };
        for table in tables {
            self.analyze_one(analyze, &table, run).await?;
        }
        done("ANALYZE")
    }

    fn may_analyze(&self, relation: &Relation) -> Result<()> {
        let state = self.leader.catalog.head();
        let user = state.user_by_oid(self.user);
        let user = user.ok_or_else(|| {
            error!(InvalidAuthorizationSpecification, "the session's user was dropped")
        })?;
        let held = privileges::held(&state, &user, relation.oid(), relation.owner());
        if held.contains(Privileges::ALTER) {
            return Ok(());
        }
        privileges::owner(&user, relation.owner(), "relation", relation.name())
    }

    async fn analyze_one(
        &mut self,
        analyze: &Analyze,
        table: &Arc<Table>,
        run: &Run,
    ) -> Result<()> {
        self.renew_segments(table, run).await?;
        let listed = analyze.columns.iter().map(|name| find_column(table, name).map(|c| c.id));
        let wanted = match (analyze.columns.is_empty(), analyze.predicate_columns) {
            (false, _) => Wanted::Listed(listed.collect::<Result<_>>()?),
            (true, true) => Wanted::Predicates,
            (true, false) => Wanted::All,
        };
        let state = self.work.state(&self.leader.catalog);
        let leader = Arc::clone(&self.leader);
        let examination = Examination { state: &state, table, wanted: &wanted };
        let threshold = self.settings.number("analyze_threshold_percent");
        let mut record = examination.record(&leader);
        (record.user, record.threshold_percent) = (self.user, threshold);
        record.transaction = self.work.id();
        if examination.is_due(&leader, threshold as f64) {
            let query = self.query_context(run);
            let look: BoxFuture<'_, Result<TableStatistics>> =
                Box::pin(leader.examine(&examination, &query));
            let statistics = look.await?;
            self.apply(Op::SetStatistics(Arc::new(statistics)))?;
            record.status = match wanted {
                Wanted::Predicates => Status::PredicateColumn,
                Wanted::All | Wanted::Listed(_) => Status::Full,
            };
        }
        if analyze.verbose {
            let what = match record.status {
                Status::Skipped => "ANALYZE SKIP: statistics are current for",
                Status::Full | Status::PredicateColumn => "analyzed",
            };
            let notice = error!(
                SuccessfulCompletion,
                "{what} \"{}\": {} rows, {} changed since",
                table.name,
                record.rows,
                record.modified_rows
            );
            self.notice(Severity::Info, notice);
        }
        record.ended_us = base::clock::now_us();
        leader.upkeep.analyzed(record);
        Ok(())
    }

    /// Has segments written again that have lost rows, so that their own statistics are true
    /// again.
    async fn renew_segments(&mut self, table: &Arc<Table>, run: &Run) -> Result<()> {
        let segments = self.leader.catalog.head().segments(table.oid);
        let rows: u64 = segments.iter().map(|segment| segment.rows).sum();
        let gone = compaction::deleted_rows(&segments);
        let threshold = u64::try_from(self.settings.number("analyze_threshold_percent"));
        let threshold = threshold.unwrap_or(0).min(100);
        let stale = gone > 0 && gone.saturating_mul(100) >= rows.saturating_mul(threshold);
        // Within a block the session's own snapshot has to hold, so that the background does it.
        if !stale || self.work.block() == Block::Explicit || table.temporary.is_some() {
            if stale {
                self.leader.upkeep.touched(table.oid);
            }
            return Ok(());
        }
        self.lock_relation(&Relation::Table(Arc::clone(table)), Mode::Modify).await?;
        let table = self.leader.current_table(table.oid)?;
        let segments = self.leader.catalog.head().segments(table.oid);
        let wish = Wish { sort: false, purge: true, recluster: false, threshold_percent: 101 };
        let chosen = compaction::wished(&table, &segments, wish);
        if chosen.is_empty() {
            return Ok(());
        }
        let leader = Arc::clone(&self.leader);
        let mut record = leader.new_record(&table, "Analyze");
        record.user = self.user;
        let done = leader.rewrite_segments(&table, chosen, Rewriter::Session, &run.cancel).await?;
        leader.finish_record(&mut record, done.unwrap_or_default());
        Ok(())
    }

    pub(crate) fn use_database(&mut self, name: &Ident) -> Result<Outcome> {
        if name.name == self.entry.database {
            return done("USE");
        }
        Err(Error::unsupported("USE of another database is not supported")
            .hint(format!("Connect to database \"{}\".", name.name))
            .at(name.position.max(1)))
    }
}
