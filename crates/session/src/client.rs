//! One client's session: `base::client::Session` over the leader.
//!
//! Owns the life of a statement around its execution: refusal in a failed block, the record in
//! the registry, timeout, cancel, panics, the transaction's end. What statements do is in
//! `statement`.

mod running;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use base::client::{
    Event, Login, Outcome, Prepared, Session, Severity, Termination, TransactionStatus, Value,
};
use base::ids::Oid;
use base::{Error, Result, SqlState, SqlType, error};
use futures::FutureExt;

use crate::leader::LeaderNode;
use crate::leader::registry::SessionEntry;
use crate::planning::Fresh;
use crate::settings::Settings;
use crate::statement::cursor::Cursor;
use crate::statement::insert::KnownInsert;
use crate::system::SystemContext;
use crate::transaction::{Block, Undone, Work};

pub(crate) use running::{Run, canceled};

/// Prepared statements (PREPARE) and cursors of one session.
pub(crate) const NAMES_MAX: usize = 1_000;

/// A statement after the parser, as `Prepared::plan` carries it.
pub(crate) struct Parsed {
    pub(crate) text: Arc<str>,
    pub(crate) statement: sql::Statement,
    /// The types that the client asked for; `Unknown` leaves one to be inferred.
    pub(crate) wanted: Vec<SqlType>,
    /// The plan made while describing, for an execution that follows at once.
    pub(crate) fresh: parking_lot::Mutex<Option<Fresh>>,
    /// The bound form of an INSERT of values, for every execution while the table is the same.
    pub(crate) insert: parking_lot::Mutex<Option<KnownInsert>>,
}

/// A session.
pub(crate) struct ClientSession {
    pub(crate) leader: Arc<LeaderNode>,
    pub(crate) entry: Arc<SessionEntry>,
    pub(crate) settings: Settings,
    pub(crate) work: Work,
    pub(crate) events: Vec<Event>,
    /// PREPARE name AS …
    pub(crate) statements: HashMap<String, Arc<Parsed>>,
    pub(crate) cursors: HashMap<String, Cursor>,
    /// Rows that the current COPY refused.
    pub(crate) load_errors: Vec<catalog::LoadError>,
    /// Who the session acts as: SET SESSION AUTHORIZATION changes it.
    pub(crate) user: Oid,
    /// The procedures that are running.
    pub(crate) calls: crate::statement::call::Calls,
    /// Held while a transaction commits.
    commits: Arc<tokio::sync::Mutex<()>>,
}

impl ClientSession {
    /// Opens a session for an admitted login.
    ///
    /// # Errors
    /// 22023 for a start-up parameter with a bad value.
    pub(crate) fn open(
        leader: Arc<LeaderNode>,
        entry: Arc<SessionEntry>,
        login: &Login,
    ) -> Result<ClientSession> {
        let mut settings = Settings::default();
        let timeout = leader.config.statement_timeout_ms.to_string();
        settings.start_with("statement_timeout", &timeout)?;
        let state = leader.catalog.head();
        for (name, value) in state.settings() {
            settings.start_with(&name, &value)?;
        }
        if let Some(user) = state.user_by_oid(entry.user_oid) {
            for (name, value) in &user.settings {
                settings.start_with(name, value)?;
            }
        }
        for (name, value) in &login.parameters {
            settings.start_with(name, value)?;
        }
        let background = if leader.config.auto_vacuum { "on" } else { "off" };
        settings.decide("auto_vacuum", background);
        settings.decide("auto_analyze", background);
        let superuser = if entry.superuser { "on" } else { "off" };
        settings.decide("is_superuser", superuser);
        settings.decide("session_authorization", &entry.user);
        let (user, database) = (entry.user_oid, entry.database_oid);
        Ok(ClientSession {
            leader,
            entry,
            settings,
            work: Work::new(database),
            events: Vec::new(),
            statements: HashMap::new(),
            cursors: HashMap::new(),
            load_errors: Vec::new(),
            user,
            calls: Default::default(),
            commits: Arc::default(),
        })
    }

    /// What the current statement sees: the transaction's state, who asks, and the settings.
    ///
    /// # Errors
    /// 28000 or 3D000 when user or database are gone.
    pub(crate) fn context(&mut self) -> Result<Arc<SystemContext>> {
        let state = self.work.state(&self.leader.catalog);
        let user = state.user_by_oid(self.user).ok_or_else(|| {
            error!(InvalidAuthorizationSpecification, "the session's user was dropped")
        })?;
        let database = state.database_by_oid(self.entry.database_oid).ok_or_else(|| {
            error!(InvalidCatalogName, "database \"{}\" was dropped", self.entry.database)
        })?;
        self.follow_cluster(&state);
        let search_path = self.settings.search_path(&user.name);
        Ok(Arc::new(SystemContext {
            state,
            leader: Arc::clone(&self.leader),
            database,
            user,
            search_path,
            process_id: self.entry.process_id,
            settings: Arc::new(self.settings.clone()),
        }))
    }

    /// Takes over the settings of the whole cluster.
    fn follow_cluster(&mut self, state: &catalog::State) {
        let name = catalog::RETENTION_SETTING;
        let value = state.setting(name).unwrap_or("0");
        if self.settings.get(name) != value {
            self.settings.decide(name, value);
        }
    }

    /// Applies operations to the open transaction.
    ///
    /// # Errors
    /// Those of the catalog.
    pub(crate) fn apply(&mut self, op: catalog::Op) -> Result<()> {
        self.work.transaction(&self.leader.catalog).apply(op)
    }

    /// Tells the client something, unless `client_min_messages` holds it back. INFO is always
    /// sent, as in PostgreSQL.
    pub(crate) fn notice(&mut self, severity: Severity, notice: Error) {
        let least = self.settings.get("client_min_messages");
        let held_back = match severity {
            Severity::Info => false,
            Severity::Notice => matches!(least.as_str(), "warning" | "error"),
            Severity::Warning => least == "error",
        };
        if held_back {
            return;
        }
        self.events.push(Event::Notice(severity, notice));
    }

    pub(crate) fn report(&mut self, changes: Vec<(String, String)>) {
        for (name, value) in changes {
            if name == "application_name" {
                self.entry.application_name.lock().clone_from(&value);
            }
            self.events.push(Event::Parameter(name, value));
        }
    }

    /// Refuses everything but the end of a block after an error in it.
    pub(crate) fn check_block(&self, statement: &sql::Statement) -> Result<()> {
        let ends = matches!(
            statement,
            sql::Statement::Commit
                | sql::Statement::Rollback
                | sql::Statement::RollbackTo(_)
                | sql::Statement::Empty
        );
        if self.work.block() == Block::Failed && !ends {
            return Err(error!(
                InFailedSqlTransaction,
                "current transaction is aborted, commands ignored until end of transaction block"
            ));
        }
        Ok(())
    }

    async fn run(&mut self, parsed: &Arc<Parsed>, values: Vec<Value>) -> Result<Outcome> {
        self.check_block(&parsed.statement)?;
        let ends = matches!(parsed.statement, sql::Statement::Commit | sql::Statement::Rollback);
        self.work.enter(&self.settings);
        self.work.count_statement();
        let run = self.begin_run(parsed);
        if ends {
            // A commit on its way is never dropped half-way.
            let result = self.end_block(&parsed.statement).await;
            run.finish(&result);
            return result;
        }
        let deadline = self.settings.statement_timeout();
        let interrupted = {
            let (cancel, commits) = (run.cancel.clone(), Arc::clone(&self.commits));
            async move {
                let error = tokio::select! {
                    () = cancel.cancelled() => canceled(),
                    () = sleep(deadline) => timed_out(),
                };
                // A procedure's commit on its way is not dropped half-way either.
                drop(commits.lock().await);
                error
            }
        };
        let result = {
            let work = AssertUnwindSafe(self.dispatch(parsed, values, &run)).catch_unwind();
            tokio::select! {
                biased;
                done = work => done.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))),
                error = interrupted => Err(error),
            }
        };
        self.leave_calls();
        if result.is_err() {
            run.cancel.cancel();
        }
        match result {
            Ok(Outcome::Rows { columns, batches, verb, counted }) => {
                let batches = run.track(batches, deadline);
                Ok(Outcome::Rows { columns, batches, verb, counted })
            }
            other => {
                run.finish(&other);
                self.after_load(other).await
            }
        }
    }

    /// Marks the block in the registry, for pg_stat_activity and for who waits for its end.
    fn show_block(&self) {
        let mut activity = self.entry.activity.lock();
        let block = self.work.block();
        activity.block_failed = block == Block::Failed;
        activity.transaction = self.work.id();
        let open = matches!(block, Block::Explicit | Block::Failed);
        if !open {
            activity.block_since_us = None;
        } else if activity.block_since_us.is_none() {
            activity.block_since_us = Some(base::clock::now_us());
        }
        let limits = &self.entry.idle_limits;
        limits.session_ms.store(self.settings.idle_session_ms(), Ordering::Relaxed);
        limits.block_ms.store(self.settings.idle_block_ms(), Ordering::Relaxed);
    }

    /// The snapshot stays from here on.
    pub(crate) fn pin(&mut self) {
        self.work.pin(&self.leader.catalog);
    }

    /// The statement reads these relations: serializable transactions answer for that.
    pub(crate) fn note_reads(&mut self, relations: &[sql::RelationUse]) {
        let state = self.work.state(&self.leader.catalog);
        let is_table = |oid: &Oid| {
            state.relation_by_oid(*oid).is_some_and(|relation| relation.table().is_some())
        };
        let tables: Vec<Oid> = relations.iter().map(|used| used.oid).filter(is_table).collect();
        self.work.read(&self.leader.catalog, tables);
    }

    /// As [`ClientSession::note_reads`] for the table that a statement changes.
    pub(crate) fn note_read(&mut self, table: Oid) {
        self.work.read(&self.leader.catalog, [table]);
    }

    /// Takes back what an abort, or a return to a savepoint, leaves behind.
    pub(crate) fn undo(&mut self, undone: Undone) {
        match undone.cursors {
            None => self.cursors.clear(),
            Some(kept) => self.cursors.retain(|name, _| kept.contains(name)),
        }
        if let Some(settings) = undone.settings {
            let before = std::mem::replace(&mut self.settings, settings);
            let changes = self.settings.changes(&before);
            self.report(changes);
        }
        self.leader.locks.release_since(self.entry.process_id, undone.locks);
        self.discard(undone.paths);
    }

    fn fail_block(&mut self) {
        let undone = self.work.fail();
        self.undo(undone);
    }

    /// Removes files of an aborted transaction; what cannot be removed is an orphan that the
    /// next start removes.
    pub(crate) fn discard(&self, paths: Vec<String>) {
        if paths.is_empty() {
            return;
        }
        let catalog = self.leader.catalog.clone();
        base::task::spawn("discard", async move {
            if let Err(error) = catalog.remove_orphans(&paths).await {
                tracing::info!(%error, "files of an aborted transaction were left behind");
            }
        });
    }
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

pub(crate) fn timed_out() -> Error {
    error!(QueryCanceled, "canceling statement due to statement timeout")
}

/// A panic becomes an internal error of the statement; the session lives on.
fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let what = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(what, "a statement panicked");
    Error::internal(format!("internal fault: {what}"))
}

fn parsed_of(prepared: &Prepared) -> Result<Arc<Parsed>> {
    Arc::clone(&prepared.plan)
        .downcast::<Parsed>()
        .map_err(|_| Error::internal("a prepared statement of another session"))
}

#[async_trait]
impl Session for ClientSession {
    fn process_id(&self) -> i32 {
        self.entry.process_id
    }

    fn cancel_key(&self) -> &[u8] {
        &self.entry.cancel_key
    }

    fn reported_parameters(&self) -> Vec<(String, String)> {
        self.settings.reported()
    }

    fn transaction_status(&self) -> TransactionStatus {
        self.work.status()
    }

    fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn split(&self, text: &str) -> Result<Vec<(String, u32)>> {
        sql::split(text)
    }

    async fn prepare(&mut self, text: &str, parameter_oids: &[u32]) -> Result<Prepared> {
        AssertUnwindSafe(self.prepare_statement(text, parameter_oids))
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
    }

    async fn execute(&mut self, prepared: &Prepared, values: Vec<Value>) -> Result<Outcome> {
        let parsed = parsed_of(prepared)?;
        let result = self.run(&parsed, values).await;
        if result.is_err() && self.work.block() == Block::Explicit {
            self.fail_block();
        }
        self.show_block();
        result
    }

    async fn sync(&mut self, failed: bool) -> Result<()> {
        let result = match self.work.block() {
            Block::None | Block::Failed => Ok(()),
            Block::Explicit if failed => {
                self.fail_block();
                Ok(())
            }
            Block::Explicit => Ok(()),
            Block::Implicit if failed => {
                self.roll_back();
                Ok(())
            }
            Block::Implicit => self.commit().await,
        };
        self.show_block();
        result
    }

    fn termination(&self) -> Termination {
        self.entry.termination.clone()
    }
}

impl ClientSession {
    /// Commits the open transaction and ends what lives as long as it.
    pub(crate) async fn commit(&mut self) -> Result<()> {
        self.cursors.retain(|_, cursor| cursor.hold);
        let changes = self.settings.end_local();
        self.report(changes);
        let catalog = self.leader.catalog.clone();
        let commits = Arc::clone(&self.commits);
        let _whole = commits.lock().await;
        let done = self.work.commit(&catalog).await;
        self.leader.locks.release(self.entry.process_id);
        let written = self.work.take_written();
        self.discard(written);
        done
    }

    /// Aborts the open transaction; settings go back to what they were at its start.
    pub(crate) fn roll_back(&mut self) {
        let undone = self.work.abort();
        self.undo(undone);
    }
}

impl Drop for ClientSession {
    fn drop(&mut self) {
        self.entry.cancel();
        self.leader.close_session(self.entry.process_id);
        let undone = self.work.abort();
        let process_id = self.entry.process_id;
        self.leader.locks.release(process_id);
        let catalog = self.leader.catalog.clone();
        let temporary = !catalog.head().temporaries(process_id).is_empty();
        // Without a runtime the process is ending: the next start drops temporary relations.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        self.discard(undone.paths);
        if temporary {
            base::task::spawn("drop temporary tables", async move {
                let mut transaction = catalog.begin();
                let drop = catalog::Op::DropTemporaries { session: process_id };
                let done = match transaction.apply(drop) {
                    Ok(()) => catalog.commit(transaction).await.map(|_| ()),
                    Err(error) => Err(error),
                };
                if let Err(error) = done {
                    tracing::warn!(%error, process_id, "temporary tables were not dropped");
                }
            });
        }
    }
}

/// True for errors that end with a cancelled statement.
pub(crate) fn is_canceled(error: &Error) -> bool {
    error.sqlstate() == SqlState::QueryCanceled
}
