//! A running statement: its record in the registry and, when it ends, in the history.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow_array::RecordBatch;
use base::client::{BatchStream, Outcome};
use base::ids::QueryId;
use base::{CancellationToken, Error, Result, error};
use futures::Stream;
use parking_lot::Mutex;

use super::{ClientSession, Parsed, is_canceled, timed_out};
use crate::leader::LeaderNode;
use crate::leader::history::{Ending, LoadRecord, QueryRecord, TEXT_CHARS_MAX, cut};
use crate::leader::registry::{Running, SessionEntry};

/// The error of a cancelled statement.
pub(crate) fn canceled() -> Error {
    error!(QueryCanceled, "canceling statement due to user request")
}

/// A statement between its start and its record in the history.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) id: QueryId,
    pub(crate) cancel: CancellationToken,
    inner: Arc<Inner>,
}

struct Inner {
    leader: Arc<LeaderNode>,
    entry: Arc<SessionEntry>,
    running: Running,
    progress: Mutex<Progress>,
}

/// What is learnt while it runs.
#[derive(Default)]
struct Progress {
    planned_us: Option<i64>,
    rows: u64,
    load: Option<LoadRecord>,
    recorded: bool,
}

impl ClientSession {
    /// Registers the statement as running.
    pub(crate) fn begin_run(&mut self, parsed: &Parsed) -> Run {
        let id = self.leader.new_query_id();
        let cancel = CancellationToken::new();
        let running = Running {
            id,
            text: Arc::from(cut(&shown_text(parsed), TEXT_CHARS_MAX)),
            kind: kind(&parsed.statement),
            label: self.settings.get("query_group"),
            transaction: self.work.id(),
            started_us: base::clock::now_us(),
            cancel: cancel.clone(),
            load: None,
        };
        let mut activity = self.entry.activity.lock();
        activity.running = Some(running.clone());
        activity.last_text = Arc::clone(&running.text);
        activity.last_change_us = running.started_us;
        drop(activity);
        let inner = Arc::new(Inner {
            leader: Arc::clone(&self.leader),
            entry: Arc::clone(&self.entry),
            running,
            progress: Mutex::default(),
        });
        Run { id, cancel, inner }
    }
}

/// The text as others may see it: passwords and keys are cut out.
fn shown_text(parsed: &Parsed) -> String {
    match &parsed.statement {
        sql::Statement::CreateUser(_) | sql::Statement::AlterUser(_) => {
            format!("{} ***", parsed.statement.command())
        }
        sql::Statement::Copy(copy) if !copy.authorization.is_empty() => {
            format!("COPY {} FROM '{}' ***", copy.table, copy.from.url)
        }
        _ => parsed.text.to_string(),
    }
}

/// SYS_QUERY_HISTORY's type of a statement.
fn kind(statement: &sql::Statement) -> &'static str {
    use sql::Statement as S;
    match statement {
        S::Query(_) | S::DeclareCursor(_) | S::Fetch(_) | S::Move(_) => "SELECT",
        S::Insert(_) => "INSERT",
        S::Update(_) => "UPDATE",
        S::Delete(_) => "DELETE",
        S::Copy(_) => "COPY",
        S::CreateTableAs(_) => "CTAS",
        S::CreateTable(_)
        | S::AlterTable(_)
        | S::DropTable(_)
        | S::Truncate(_)
        | S::CreateView(_)
        | S::DropView(_)
        | S::CreateSchema(_)
        | S::AlterSchema(_)
        | S::DropSchema(_)
        | S::CreateDatabase(_)
        | S::AlterDatabase(_)
        | S::DropDatabase(_)
        | S::CloneTable(_)
        | S::UndropTable(_)
        | S::AlterSystem(_)
        | S::Comment(_)
        | S::Grant(_)
        | S::Revoke(_)
        | S::CreateUser(_)
        | S::AlterUser(_)
        | S::CreateRoutine(_)
        | S::AlterRoutine(_)
        | S::DropRoutines(_)
        | S::DropUser(_) => "DDL",
        S::Begin(_) | S::Commit | S::Rollback | S::Set(_) | S::Reset(_) | S::Show(_) => "UTILITY",
        S::Call(_) => "CALL",
        S::Analyze(_) | S::Vacuum(_) | S::Cancel { .. } => "COMMAND",
        _ => "OTHER",
    }
}

impl Run {
    /// A statement of a procedure: it has an id of its own, and ends when the CALL does.
    pub(crate) fn child(&self) -> Run {
        Run { id: self.inner.leader.new_query_id(), ..self.clone() }
    }

    /// The plan is made; execution begins.
    pub(crate) fn planned(&self) {
        self.inner.progress.lock().planned_us = Some(base::clock::now_us());
    }

    /// Rows returned or written.
    pub(crate) fn count(&self, rows: u64) {
        self.inner.progress.lock().rows += rows;
    }

    /// Shows a COPY's progress while it runs.
    pub(crate) fn show_load(&self, progress: &Arc<ingest::Progress>) {
        let mut activity = self.inner.entry.activity.lock();
        if let Some(running) = activity.running.as_mut().filter(|running| running.id == self.id) {
            running.load = Some(Arc::clone(progress));
        }
    }

    /// Keeps what a COPY did for sys_load_history.
    pub(crate) fn loaded(&self, load: LoadRecord) {
        self.inner.progress.lock().load = Some(load);
    }

    /// Ends it with a result.
    pub(crate) fn finish(&self, result: &Result<Outcome>) {
        self.end(match result {
            Ok(_) => Ending::Success,
            Err(error) => ending(error),
        });
    }

    fn end(&self, ending: Ending) {
        let inner = &self.inner;
        let mut progress = inner.progress.lock();
        if std::mem::replace(&mut progress.recorded, true) {
            return;
        }
        let now = base::clock::now_us();
        let running = &inner.running;
        inner.leader.history().push(QueryRecord {
            id: self.id,
            transaction: running.transaction,
            process_id: inner.entry.process_id,
            user_oid: inner.entry.user_oid,
            user: inner.entry.user.clone(),
            database: inner.entry.database.clone(),
            label: running.label.clone(),
            kind: running.kind,
            text: Arc::clone(&running.text),
            started_us: running.started_us,
            planned_us: progress.planned_us,
            ended_us: now,
            rows: progress.rows,
            ending,
            load: progress.load.clone(),
        });
        let mut activity = inner.entry.activity.lock();
        if activity.running.as_ref().is_some_and(|current| current.id == self.id) {
            activity.running = None;
            activity.last_change_us = now;
        }
        // The functions that ask for the newest statement do not count themselves.
        activity.last.query = self.id.0;
        if let Some(load) = &progress.load {
            activity.last.copy = self.id.0;
            activity.last.copy_rows = load.rows;
        }
    }

    /// Rows that end the record when they end, stop at the deadline and on cancel.
    pub(crate) fn track(&self, batches: BatchStream, timeout: Option<Duration>) -> BatchStream {
        let elapsed = base::clock::now_us() - self.inner.running.started_us;
        let elapsed = Duration::from_micros(u64::try_from(elapsed).unwrap_or(0));
        let left = timeout.map(|timeout| timeout.saturating_sub(elapsed));
        Box::pin(Tracked {
            batches: Some(batches),
            canceled: Box::pin(self.cancel.clone().cancelled_owned()),
            deadline: left.map(|left| Box::pin(tokio::time::sleep(left))),
            run: self.clone(),
        })
    }
}

fn ending(error: &Error) -> Ending {
    if is_canceled(error) {
        Ending::Canceled(error.message().to_owned())
    } else {
        Ending::Failed(error.message().to_owned())
    }
}

/// A result on its way to the client.
struct Tracked {
    /// `None` after the end, so that what the plan holds is freed at once.
    batches: Option<BatchStream>,
    canceled: Pin<Box<tokio_util::sync::WaitForCancellationFutureOwned>>,
    deadline: Option<Pin<Box<tokio::time::Sleep>>>,
    run: Run,
}

impl Tracked {
    fn stop(&mut self, error: Error) -> Poll<Option<Result<RecordBatch>>> {
        self.batches = None;
        self.run.cancel.cancel();
        self.run.end(ending(&error));
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Tracked {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(batches) = this.batches.as_mut() else { return Poll::Ready(None) };
        if this.canceled.as_mut().poll(task).is_ready() {
            return this.stop(canceled());
        }
        if let Some(deadline) = this.deadline.as_mut()
            && deadline.as_mut().poll(task).is_ready()
        {
            return this.stop(timed_out());
        }
        match batches.as_mut().poll_next(task) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(batch))) => {
                this.run.count(batch.num_rows() as u64);
                Poll::Ready(Some(Ok(batch)))
            }
            Poll::Ready(Some(Err(error))) => this.stop(error),
            Poll::Ready(None) => {
                this.batches = None;
                this.run.end(Ending::Success);
                Poll::Ready(None)
            }
        }
    }
}

impl Drop for Tracked {
    /// A client that stops reading early has had all it wanted.
    fn drop(&mut self) {
        self.batches = None;
        self.run.cancel.cancel();
        self.run.end(Ending::Success);
    }
}
