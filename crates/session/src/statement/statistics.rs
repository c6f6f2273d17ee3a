//! ANALYZE, and USE.
//!
//! Statistics are made with each segment and committed with it. What wears off are those of
//! segments that have lost rows since: ANALYZE has such segments written again.

use std::sync::Arc;

use base::client::{Outcome, Severity};
use base::{Error, Result, error};
use catalog::{Privileges, Relation, Table};
use sql::ast::{Analyze, Ident};

use super::definition::find_column;
use super::done;
use crate::client::{ClientSession, Run};
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
        let segments = self.leader.catalog.head().segments(table.oid);
        let rows: u64 = segments.iter().map(|segment| segment.rows).sum();
        let gone = compaction::deleted_rows(&segments);
        let threshold = u64::try_from(self.settings.number("analyze_threshold_percent"));
        let threshold = threshold.unwrap_or(0).min(100);
        let stale = gone > 0 && gone.saturating_mul(100) >= rows.saturating_mul(threshold);
        if analyze.verbose {
            let what = if stale { "analyzing" } else { "ANALYZE SKIP: statistics are current for" };
            let notice = error!(
                SuccessfulCompletion,
                "{what} \"{}\": {} rows, {gone} deleted since",
                table.name,
                rows - gone
            );
            self.notice(Severity::Info, notice);
        }
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
