//! VACUUM: segments written again, without deleted rows and in the order of the sort key.
//!
//! Each table is a transaction of its own. Readers and INSERTs go on; UPDATE, DELETE and MERGE
//! of the table wait.

use std::sync::Arc;

use base::client::{Outcome, Severity};
use base::{Result, error};
use catalog::{DistStyle, Relation, SortKey, Table};
use sql::ast::{Vacuum, VacuumKind};

use super::done;
use crate::client::{ClientSession, Run};
use crate::leader::compaction::{self, Rewriter, Wish};
use crate::locks::Mode;
use crate::privileges;
use crate::relations::at;

/// Redshift's default: what is sorted to this share stays as it is.
const THRESHOLD_PERCENT: u8 = 95;

impl ClientSession {
    pub(crate) async fn vacuum(&mut self, vacuum: &Vacuum, run: &Run) -> Result<Outcome> {
        self.work.must_be_alone("VACUUM")?;
        self.work.may_write("VACUUM")?;
        check_options(vacuum)?;
        if vacuum.boost {
            let notice = error!(Warning, "BOOST changes nothing: VACUUM has no reduced priority");
            self.notice(Severity::Notice, notice);
        }
        let tables = match &vacuum.table {
            Some(name) => vec![self.vacuumed(vacuum, name)?],
            None => self.own_tables()?,
        };
        for table in tables {
            let relation = Relation::Table(table);
            self.lock_relation(&relation, Mode::Modify).await?;
            let done = self.vacuum_one(vacuum, &relation, run).await;
            self.leader.locks.release(self.entry.process_id);
            done?;
        }
        done("VACUUM")
    }

    /// The table of a VACUUM, if the user may vacuum it.
    fn vacuumed(&mut self, vacuum: &Vacuum, name: &sql::ast::ObjectName) -> Result<Arc<Table>> {
        let relation = self.relation(name)?;
        let context = self.context()?;
        privileges::owner(&context.user, relation.owner(), "relation", relation.name())?;
        let Relation::Table(table) = relation else {
            return Err(at(
                error!(WrongObjectType, "\"{}\" is not a table", relation.name())
                    .hint("Only tables hold rows."),
                name.position(),
            ));
        };
        if vacuum.kind == VacuumKind::Recluster {
            let interleaved = matches!(table.sort_key, SortKey::Interleaved(_));
            if interleaved || table.distribution.effective == DistStyle::All {
                return Err(at(
                    base::Error::unsupported(
                        "VACUUM RECLUSTER takes no interleaved sort key and no DISTSTYLE ALL",
                    )
                    .hint("Use VACUUM FULL."),
                    name.position(),
                ));
            }
        }
        Ok(table)
    }

    /// The tables of the database that the user may vacuum.
    fn own_tables(&mut self) -> Result<Vec<Arc<Table>>> {
        let context = self.context()?;
        let relations = context.user_relations().into_iter();
        let tables = relations.filter_map(|relation| relation.table().cloned());
        let own = |table: &Arc<Table>| context.user.superuser || table.owner == context.user.oid;
        Ok(tables.filter(own).collect())
    }

    async fn vacuum_one(&mut self, vacuum: &Vacuum, relation: &Relation, run: &Run) -> Result<()> {
        // Altered while the lock was waited for.
        let Ok(table) = self.leader.current_table(relation.oid()) else { return Ok(()) };
        let segments = self.leader.catalog.head().segments(table.oid);
        let percent = vacuum.threshold_percent.unwrap_or(THRESHOLD_PERCENT);
        let wish = Wish {
            sort: vacuum.kind != VacuumKind::DeleteOnly,
            purge: matches!(
                vacuum.kind,
                VacuumKind::Full | VacuumKind::DeleteOnly | VacuumKind::Reindex
            ),
            recluster: vacuum.kind == VacuumKind::Recluster,
            // REINDEX weighs the values anew, however well the rows are sorted.
            threshold_percent: match vacuum.kind {
                VacuumKind::Reindex => 101,
                _ => u64::from(percent),
            },
        };
        let chosen = match vacuum.kind {
            VacuumKind::Reindex => segments.to_vec(),
            _ => compaction::wished(&table, &segments, wish),
        };
        if chosen.is_empty() {
            return Ok(());
        }
        let leader = Arc::clone(&self.leader);
        let mut record = leader.new_record(&table, kind_name(vacuum.kind));
        record.user = self.user;
        record.transaction = run.id.0;
        leader.upkeep.record(record.clone());
        let done = leader.rewrite_segments(&table, chosen, Rewriter::Session, &run.cancel).await;
        record.failed = done.is_err();
        let rewritten = done.as_ref().ok().copied().flatten().unwrap_or_default();
        leader.finish_record(&mut record, rewritten);
        run.count(rewritten.rows);
        done.map(drop)
    }
}

fn check_options(vacuum: &Vacuum) -> Result<()> {
    let refused = match vacuum.kind {
        VacuumKind::Reindex if vacuum.table.is_none() => "VACUUM REINDEX needs a table",
        VacuumKind::Reindex if vacuum.threshold_percent.is_some() => {
            "VACUUM REINDEX takes no TO ... PERCENT"
        }
        VacuumKind::Reindex if vacuum.boost => "VACUUM REINDEX takes no BOOST",
        VacuumKind::Recluster if vacuum.table.is_none() => "VACUUM RECLUSTER needs a table",
        VacuumKind::Recluster if vacuum.threshold_percent.is_some() => {
            "VACUUM RECLUSTER takes no TO ... PERCENT"
        }
        _ if vacuum.threshold_percent.is_some() && vacuum.table.is_none() => {
            "VACUUM TO ... PERCENT needs a table"
        }
        _ => return Ok(()),
    };
    Err(error!(SyntaxError, "{refused}"))
}

fn kind_name(kind: VacuumKind) -> &'static str {
    match kind {
        VacuumKind::Full => "Full",
        VacuumKind::SortOnly => "Sort Only",
        VacuumKind::DeleteOnly => "Delete Only",
        VacuumKind::Reindex => "Reindex",
        VacuumKind::Recluster => "Recluster",
    }
}
