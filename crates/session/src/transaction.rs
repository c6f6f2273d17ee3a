//! The session's transaction: implicit around what one Sync ends, or a block from BEGIN to
//! COMMIT, over one open transaction of the catalog.
//!
//! Owns when the snapshot is taken, savepoints, and what an abort has to take back. Nothing is
//! visible before the catalog's commit; what was written for an aborted transaction is removed
//! from the store, and by the next start where that fails.

use std::collections::HashSet;
use std::sync::Arc;

use base::client::TransactionStatus;
use base::ids::Oid;
use base::{Result, error};
use catalog::{Catalog, Isolation, State, Transaction};
use futures::future::BoxFuture;

use crate::past::Past;
use crate::settings::Settings;

/// Where the session stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Block {
    /// Between statements, outside of a block.
    #[default]
    None,
    /// Statements without BEGIN: ends with the next Sync.
    Implicit,
    /// After BEGIN.
    Explicit,
    /// After an error in a block: only ROLLBACK, ROLLBACK TO and COMMIT are taken.
    Failed,
}

/// The savepoints of one transaction.
const SAVEPOINTS_MAX: usize = 1_000;

/// The open work of a session.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// The session's database, whose isolation level holds.
    database: Oid,
    block: Block,
    open: Option<Transaction>,
    /// A statement has used the snapshot, which from then on stays.
    pinned: bool,
    /// The open transaction without operations of its own.
    start: Option<catalog::Savepoint>,
    /// Settings at BEGIN, for ROLLBACK.
    settings: Option<Settings>,
    read_only: bool,
    /// Files to remove when the transaction aborts.
    written: Vec<String>,
    savepoints: Vec<Mark>,
    /// States of the past that its statements read.
    past: Arc<Past>,
    /// Statements run since the block, or the implicit transaction, began.
    statements: usize,
}

/// A savepoint.
#[derive(Debug)]
struct Mark {
    name: String,
    /// `None` while the transaction had no snapshot.
    place: Option<catalog::Savepoint>,
    settings: Settings,
    read_only: bool,
    written: usize,
    cursors: HashSet<String>,
    locks: u64,
}

/// What the session has to take back after an abort or a return to a savepoint.
#[derive(Debug, Default)]
pub(crate) struct Undone {
    /// Files that nothing names any more.
    pub(crate) paths: Vec<String>,
    /// The settings to go back to.
    pub(crate) settings: Option<Settings>,
    /// Cursors that stay; `None` when all go.
    pub(crate) cursors: Option<HashSet<String>>,
    /// Locks taken after this number are given up.
    pub(crate) locks: u64,
}

impl Work {
    pub(crate) fn new(database: Oid) -> Work {
        Work { database, ..Work::default() }
    }

    pub(crate) fn block(&self) -> Block {
        self.block
    }

    pub(crate) fn status(&self) -> TransactionStatus {
        match self.block {
            Block::None | Block::Implicit => TransactionStatus::Idle,
            Block::Explicit => TransactionStatus::Open,
            Block::Failed => TransactionStatus::Failed,
        }
    }

    /// A statement begins.
    pub(crate) fn enter(&mut self, settings: &Settings) {
        if self.block == Block::None {
            self.block = Block::Implicit;
            self.settings = Some(settings.clone());
            self.read_only = settings.flag("default_transaction_read_only");
        }
    }

    /// BEGIN. Gives false when a block is open already.
    pub(crate) fn begin(&mut self, settings: &Settings, read_only: Option<bool>) -> bool {
        let fresh = matches!(self.block, Block::None | Block::Implicit);
        if fresh {
            self.block = Block::Explicit;
            self.settings.get_or_insert_with(|| settings.clone());
            self.read_only = settings.flag("default_transaction_read_only");
        }
        if let Some(read_only) = read_only {
            self.read_only = read_only;
        }
        fresh
    }

    /// SET TRANSACTION READ ONLY or READ WRITE.
    ///
    /// # Errors
    /// 25001 for READ WRITE after a query of a read-only transaction.
    pub(crate) fn set_read_only(&mut self, read_only: bool) -> Result<()> {
        if self.read_only && !read_only && self.pinned && self.block == Block::Explicit {
            return Err(error!(
                ActiveSqlTransaction,
                "transaction read-write mode must be set before any query"
            ));
        }
        self.read_only = read_only;
        Ok(())
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Requires that the transaction may write.
    ///
    /// # Errors
    /// 25006.
    pub(crate) fn may_write(&self, command: &str) -> Result<()> {
        if self.read_only {
            return Err(error!(
                ReadOnlySqlTransaction,
                "cannot execute {command} in a read-only transaction"
            ));
        }
        Ok(())
    }

    /// Requires that nothing was done in the transaction, which must not be a block.
    ///
    /// # Errors
    /// 25001.
    pub(crate) fn must_be_alone(&self, command: &str) -> Result<()> {
        if self.block == Block::Explicit || self.statements > 1 {
            return Err(error!(
                ActiveSqlTransaction,
                "{command} cannot run inside a transaction block"
            ));
        }
        Ok(())
    }

    /// Counts a statement that is about to run.
    pub(crate) fn count_statement(&mut self) {
        self.statements += 1;
    }

    /// The catalog's transaction. Its snapshot is the newest state until a statement has used
    /// it.
    pub(crate) fn transaction(&mut self, catalog: &Catalog) -> &mut Transaction {
        let stale =
            |open: &Transaction| open.is_empty() && !Arc::ptr_eq(open.snapshot(), &catalog.head());
        if !self.pinned && self.open.as_ref().is_some_and(stale) {
            self.open = None;
        }
        let (start, database) = (&mut self.start, self.database);
        self.open.get_or_insert_with(|| {
            let mut open = catalog.begin();
            // At once, so that nothing which it will have to answer for is forgotten meanwhile.
            let level = open.state().database_by_oid(database).map(|database| database.isolation);
            open.set_serializable(level == Some(Isolation::Serializable));
            *start = Some(open.savepoint());
            open
        })
    }

    /// From here on the snapshot stays as it is.
    pub(crate) fn pin(&mut self, catalog: &Catalog) {
        if !self.pinned {
            self.transaction(catalog);
            self.pinned = true;
        }
    }

    /// Takes over what compaction has made of a table since the snapshot. While the lock to
    /// change its rows is held nothing more of that comes.
    pub(crate) fn follow(&mut self, catalog: &Catalog, table: Oid) {
        if let Some(open) = self.open.as_mut().filter(|_| self.pinned) {
            open.follow(table, &catalog.head());
        }
    }

    /// True when a statement has used the snapshot.
    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// What the statement sees.
    pub(crate) fn state(&mut self, catalog: &Catalog) -> Arc<State> {
        Arc::clone(self.transaction(catalog).state())
    }

    /// A statement of a serializable transaction reads tables.
    pub(crate) fn read(&mut self, catalog: &Catalog, tables: impl IntoIterator<Item = Oid>) {
        self.transaction(catalog).read(tables);
    }

    /// What the transaction reads of the past.
    pub(crate) fn past(&self) -> &Arc<Past> {
        &self.past
    }

    /// The id of the open transaction; 0 when no statement needed one yet.
    pub(crate) fn id(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.id().0)
    }

    /// Remembers files to remove if the transaction aborts.
    pub(crate) fn wrote<'a>(&mut self, paths: impl IntoIterator<Item = &'a str>) {
        self.written.extend(paths.into_iter().map(str::to_owned));
    }

    /// True when it has changed something that only it sees.
    pub(crate) fn has_changes(&self) -> bool {
        self.open.as_ref().is_some_and(|open| !open.is_empty())
    }

    /// Sets a savepoint.
    ///
    /// # Errors
    /// 53400 when there are too many.
    pub(crate) fn save(
        &mut self,
        name: &str,
        settings: &Settings,
        cursors: HashSet<String>,
        locks: u64,
    ) -> Result<()> {
        if self.savepoints.len() >= SAVEPOINTS_MAX {
            return Err(error!(
                ConfigurationLimitExceeded,
                "a transaction cannot have more than {SAVEPOINTS_MAX} savepoints"
            )
            .hint("Give up those that are not needed with RELEASE SAVEPOINT."));
        }
        let place = self.open.as_ref().filter(|_| self.pinned).map(Transaction::savepoint);
        self.savepoints.push(Mark {
            name: name.to_owned(),
            place,
            settings: settings.clone(),
            read_only: self.read_only,
            written: self.written.len(),
            cursors,
            locks,
        });
        Ok(())
    }

    fn find(&self, name: &str) -> Result<usize> {
        self.savepoints.iter().rposition(|mark| mark.name == name).ok_or_else(|| {
            let names = self.savepoints.iter().map(|mark| mark.name.as_str());
            error!(InvalidSavepointSpecification, "savepoint \"{name}\" does not exist")
                .maybe_hint(base::suggest::did_you_mean(name, names))
        })
    }

    /// RELEASE SAVEPOINT: it and all after it are forgotten, their work stays.
    ///
    /// # Errors
    /// 3B001.
    pub(crate) fn release(&mut self, name: &str) -> Result<()> {
        let at = self.find(name)?;
        self.savepoints.truncate(at);
        Ok(())
    }

    /// ROLLBACK TO SAVEPOINT: the work since is gone, the savepoint stays, a failed block goes
    /// on.
    ///
    /// # Errors
    /// 3B001.
    pub(crate) fn roll_back_to(&mut self, name: &str) -> Result<Undone> {
        let at = self.find(name)?;
        self.savepoints.truncate(at + 1);
        let undone = self.undo_to_last();
        self.block = Block::Explicit;
        Ok(undone)
    }

    /// Takes back what was done since the last savepoint.
    fn undo_to_last(&mut self) -> Undone {
        let Some(mark) = self.savepoints.last() else { return Undone::default() };
        if let (Some(open), Some(place)) =
            (&mut self.open, mark.place.as_ref().or(self.start.as_ref()))
        {
            open.roll_back_to(place);
        }
        self.read_only = mark.read_only;
        Undone {
            paths: self.written.split_off(mark.written.min(self.written.len())),
            settings: Some(mark.settings.clone()),
            cursors: Some(mark.cursors.clone()),
            locks: mark.locks,
        }
    }

    /// Commits and leaves the block.
    ///
    /// # Errors
    /// Those of the catalog, for example 40001; the transaction is then aborted.
    pub(crate) async fn commit(&mut self, catalog: &Catalog) -> Result<()> {
        self.leave();
        let written = std::mem::take(&mut self.written);
        match self.open.take() {
            Some(open) => {
                let commit: BoxFuture<'_, Result<Arc<State>>> = Box::pin(catalog.commit(open));
                let done = commit.await.map(drop);
                if done.as_ref().is_err_and(is_aborted) {
                    self.written = written;
                }
                done
            }
            None => Ok(()),
        }
    }

    /// The files of a commit that failed for certain.
    pub(crate) fn take_written(&mut self) -> Vec<String> {
        std::mem::take(&mut self.written)
    }

    /// Aborts and leaves the block.
    pub(crate) fn abort(&mut self) -> Undone {
        let settings = self.settings.take();
        self.leave();
        self.open = None;
        Undone { paths: self.take_written(), settings, ..Undone::default() }
    }

    fn leave(&mut self) {
        self.block = Block::None;
        self.pinned = false;
        self.start = None;
        self.settings = None;
        self.statements = 0;
        self.savepoints.clear();
        self.past = Arc::default();
    }

    /// An error in a block: the work since the last savepoint is gone, the block stays until
    /// ROLLBACK. Settings go back only then.
    pub(crate) fn fail(&mut self) -> Undone {
        self.block = Block::Failed;
        if self.savepoints.is_empty() {
            self.open = None;
            return Undone { paths: self.take_written(), ..Undone::default() };
        }
        Undone { settings: None, ..self.undo_to_last() }
    }
}

/// True when an error of a commit says that nothing of it was written.
fn is_aborted(error: &base::Error) -> bool {
    error.sqlstate() != base::SqlState::StatementCompletionUnknown
}

#[cfg(test)]
mod tests {
    use catalog::Op;

    use super::*;

    async fn catalog() -> Catalog {
        let store = Arc::new(object_store::memory::InMemory::new());
        Catalog::open(store, catalog::Options::default()).await.unwrap()
    }

    fn set(work: &mut Work, catalog: &Catalog, name: &str) {
        let op = Op::SetSetting { name: name.to_owned(), value: Some("on".to_owned()) };
        work.pin(catalog);
        work.transaction(catalog).apply(op).unwrap();
        work.wrote([name]);
    }

    #[tokio::test]
    async fn savepoints_take_back_what_came_after_them() {
        let catalog = catalog().await;
        let settings = Settings::default();
        let mut work = Work::default();
        work.begin(&settings, None);
        work.save("first", &settings, HashSet::new(), 7).unwrap();
        set(&mut work, &catalog, "a");
        work.save("second", &settings, HashSet::from(["c".to_owned()]), 8).unwrap();
        set(&mut work, &catalog, "b");
        // An error after the last savepoint costs only what came after it.
        let undone = work.fail();
        assert_eq!((undone.paths, undone.locks), (vec!["b".to_owned()], 8));
        assert!(undone.settings.is_none());
        let undone = work.roll_back_to("second").unwrap();
        assert_eq!(work.block(), Block::Explicit);
        assert_eq!(undone.cursors, Some(HashSet::from(["c".to_owned()])));
        assert_eq!(work.state(&catalog).setting("a"), Some("on"));
        let undone = work.roll_back_to("first").unwrap();
        assert_eq!(undone.paths, ["a"]);
        assert!(work.transaction(&catalog).is_empty());
        let unknown = work.release("second").unwrap_err();
        assert_eq!(unknown.sqlstate(), base::SqlState::InvalidSavepointSpecification);
        work.release("first").unwrap();
        assert!(work.roll_back_to("first").is_err());
    }

    #[tokio::test]
    async fn the_snapshot_is_the_newest_until_it_is_used() {
        let catalog = catalog().await;
        let (mut early, mut late) = (Work::default(), Work::default());
        let settings = Settings::default();
        early.begin(&settings, None);
        assert_eq!(early.state(&catalog).setting("x"), None);
        late.begin(&settings, None);
        late.pin(&catalog);
        let mut other = Work::default();
        other.enter(&settings);
        set(&mut other, &catalog, "x");
        other.commit(&catalog).await.unwrap();
        assert_eq!(early.state(&catalog).setting("x"), Some("on"));
        assert_eq!(late.state(&catalog).setting("x"), None);
    }
}
