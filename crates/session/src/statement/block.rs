//! BEGIN, COMMIT, ROLLBACK and savepoints.

use base::client::{Outcome, Severity};
use base::{Result, error};
use sql::Statement;
use sql::ast::{Begin, Ident, Isolation, TransactionModes};

use super::done;
use crate::client::ClientSession;
use crate::relations::at;
use crate::transaction::Block;

impl ClientSession {
    pub(crate) fn begin(&mut self, begin: &Begin) -> Result<Outcome> {
        if !self.work.begin(&self.settings, begin.modes.read_only) {
            let warning =
                error!(ActiveSqlTransaction, "there is already a transaction in progress");
            self.notice(Severity::Warning, warning);
        }
        self.note_isolation(begin.modes.isolation);
        done(begin.command)
    }

    /// COMMIT or ROLLBACK.
    pub(crate) async fn end_block(&mut self, statement: &Statement) -> Result<Outcome> {
        let block = self.work.block();
        if matches!(block, Block::None | Block::Implicit) {
            let warning = error!(NoActiveSqlTransaction, "there is no transaction in progress");
            self.notice(Severity::Warning, warning);
        }
        let commits = matches!(statement, Statement::Commit);
        if commits && block != Block::Failed {
            self.commit().await?;
            return done("COMMIT");
        }
        self.roll_back();
        done("ROLLBACK")
    }

    /// SET TRANSACTION.
    pub(crate) fn set_transaction(&mut self, modes: &TransactionModes) -> Result<()> {
        if self.work.block() != Block::Explicit {
            let warning = error!(
                NoActiveSqlTransaction,
                "SET TRANSACTION can only be used in transaction blocks"
            );
            self.notice(Severity::Warning, warning);
            return Ok(());
        }
        if modes.isolation.is_some() && self.work.is_pinned() {
            return Err(error!(
                ActiveSqlTransaction,
                "SET TRANSACTION ISOLATION LEVEL must be called before any query"
            ));
        }
        if let Some(read_only) = modes.read_only {
            self.work.set_read_only(read_only)?;
        }
        self.note_isolation(modes.isolation);
        Ok(())
    }

    /// The database decides on the level, as documented; who asks for more is told.
    fn note_isolation(&mut self, isolation: Option<Isolation>) {
        if isolation == Some(Isolation::Serializable) && !self.is_serializable() {
            let notice =
                error!(Warning, "the database uses snapshot isolation, which allows write skew")
                    .hint("ALTER DATABASE ... ISOLATION LEVEL SERIALIZABLE changes that.");
            self.notice(Severity::Notice, notice);
        }
    }

    /// True when the session's database is one of ISOLATION LEVEL SERIALIZABLE.
    pub(crate) fn is_serializable(&self) -> bool {
        let database = self.leader.catalog.head().database_by_oid(self.entry.database_oid);
        database.is_some_and(|one| one.isolation == catalog::Isolation::Serializable)
    }

    fn needs_block(&self, command: &str) -> Result<()> {
        if matches!(self.work.block(), Block::Explicit | Block::Failed) {
            return Ok(());
        }
        Err(error!(NoActiveSqlTransaction, "{command} can only be used in transaction blocks"))
    }

    pub(crate) fn savepoint(&mut self, name: &Ident) -> Result<Outcome> {
        self.needs_block("SAVEPOINT")?;
        let cursors = self.cursors.keys().cloned().collect();
        let locks = self.leader.locks.mark();
        self.work.save(&name.name, &self.settings, cursors, locks)?;
        done("SAVEPOINT")
    }

    pub(crate) fn release_savepoint(&mut self, name: &Ident) -> Result<Outcome> {
        self.needs_block("RELEASE SAVEPOINT")?;
        self.work.release(&name.name).map_err(|error| at(error, name.position))?;
        done("RELEASE")
    }

    pub(crate) fn roll_back_to(&mut self, name: &Ident) -> Result<Outcome> {
        self.needs_block("ROLLBACK TO SAVEPOINT")?;
        let undone = self.work.roll_back_to(&name.name);
        let undone = undone.map_err(|error| at(error, name.position))?;
        self.undo(undone);
        done("ROLLBACK")
    }
}
