//! Cursors: a result held open, read piece by piece. The rows stay on the compute nodes until
//! they are fetched: the leader keeps one batch at most.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;
use base::client::{BatchStream, Column, Outcome};
use base::{Result, error};
use futures::{StreamExt, stream};
use sql::ast::{DeclareCursor, Fetch, FetchCount, Ident, Query};
use tokio::sync::Mutex;

use super::done;
use crate::client::{ClientSession, NAMES_MAX, Run};
use crate::relations::at;
use crate::transaction::Block;

/// An open cursor.
pub(crate) struct Cursor {
    pub(crate) columns: Arc<[Column]>,
    /// Survives COMMIT.
    pub(crate) hold: bool,
    rows: Arc<Mutex<Remaining>>,
}

/// What has not been fetched.
struct Remaining {
    batches: Option<BatchStream>,
    /// The rest of a batch that a FETCH took a part of.
    rest: VecDeque<RecordBatch>,
}

impl Remaining {
    /// The next rows, at most `limit`.
    async fn next(&mut self, limit: usize) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.rest.pop_front() {
                if batch.num_rows() > limit {
                    self.rest.push_front(batch.slice(limit, batch.num_rows() - limit));
                    return Ok(Some(batch.slice(0, limit)));
                }
                return Ok(Some(batch));
            }
            let Some(batches) = self.batches.as_mut() else { return Ok(None) };
            match batches.next().await {
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                Some(Ok(batch)) => self.rest.push_back(batch),
                Some(Err(error)) => {
                    self.batches = None;
                    return Err(error);
                }
                None => self.batches = None,
            }
        }
    }
}

impl ClientSession {
    pub(crate) async fn declare(&mut self, declare: &DeclareCursor, run: &Run) -> Result<Outcome> {
        if self.work.block() != Block::Explicit && !declare.hold {
            return Err(error!(
                NoActiveSqlTransaction,
                "DECLARE CURSOR may only be used in transaction blocks"
            ));
        }
        self.open_cursor(&declare.name, &declare.query, declare.hold, run).await?;
        done("DECLARE CURSOR")
    }

    /// Starts a query and keeps its rows under a name.
    pub(crate) async fn open_cursor(
        &mut self,
        name: &Ident,
        query: &Query,
        hold: bool,
        run: &Run,
    ) -> Result<()> {
        let Ident { name, position } = name;
        if self.cursors.contains_key(name) {
            let error = error!(DuplicateCursor, "cursor \"{name}\" already exists");
            return Err(at(error, *position));
        }
        if self.cursors.len() >= NAMES_MAX {
            return Err(error!(
                ConfigurationLimitExceeded,
                "a session cannot have more than {NAMES_MAX} cursors"
            ));
        }
        let fresh = self.bind_query(query, &[]).await?;
        self.note_reads(&fresh.bound.relations);
        let columns = Arc::clone(&fresh.columns);
        // The cursor outlives the statement that declares it, and so does its token.
        let options = self.execution_options()?;
        let plan = fresh.bound.with_values(&[], &options)?;
        let batches = self.stream_detached(plan, run).await?;
        let rows = Remaining { batches: Some(batches), rest: VecDeque::new() };
        let rows = Arc::new(Mutex::new(rows));
        self.cursors.insert(name.clone(), Cursor { columns, hold, rows });
        Ok(())
    }

    /// Starts a query under a token of its own.
    async fn stream_detached(
        &mut self,
        plan: datafusion::logical_expr::LogicalPlan,
        run: &Run,
    ) -> Result<BatchStream> {
        let mut query = self.query_context(run);
        query.cancel = base::CancellationToken::new();
        let executable = self.leader.engine.plan(plan, &query).await?;
        Ok(self.with_past(executable.execute()?))
    }

    fn cursor(&self, name: &Ident) -> Result<&Cursor> {
        self.cursors.get(&name.name).ok_or_else(|| {
            let names = self.cursors.keys().map(String::as_str);
            error!(InvalidCursorName, "cursor \"{}\" does not exist", name.name)
                .maybe_hint(base::suggest::did_you_mean(&name.name, names))
                .at(name.position)
        })
    }

    pub(crate) fn cursor_columns(&self, fetch: &Fetch) -> Result<Arc<[Column]>> {
        Ok(Arc::clone(&self.cursor(&fetch.cursor)?.columns))
    }

    pub(crate) async fn fetch(&mut self, fetch: &Fetch, _run: &Run) -> Result<Outcome> {
        let cursor = self.cursor(&fetch.cursor)?;
        let columns = Arc::clone(&cursor.columns);
        let rows = Arc::clone(&cursor.rows);
        let left = match fetch.count {
            FetchCount::All => usize::MAX,
            FetchCount::Rows(count) => usize::try_from(count).unwrap_or(usize::MAX),
        };
        let batches = stream::try_unfold((rows, left), |(rows, left)| async move {
            if left == 0 {
                return Ok(None);
            }
            let batch = rows.lock().await.next(left).await?;
            Ok(batch.map(|batch| {
                let left = left.saturating_sub(batch.num_rows());
                (batch, (Arc::clone(&rows), left))
            }))
        });
        Ok(Outcome::Rows { columns, batches: Box::pin(batches), verb: "FETCH", counted: true })
    }

    /// The next row of a cursor, as a batch of one row.
    pub(crate) async fn fetch_row(
        &mut self,
        name: &Ident,
    ) -> Result<(Arc<[Column]>, Option<RecordBatch>)> {
        let cursor = self.cursor(name)?;
        let columns = Arc::clone(&cursor.columns);
        let rows = Arc::clone(&cursor.rows);
        let row = rows.lock().await.next(1).await?;
        Ok((columns, row))
    }

    /// MOVE: reads and drops.
    pub(crate) async fn skip(&mut self, fetch: &Fetch, _run: &Run) -> Result<Outcome> {
        let rows = Arc::clone(&self.cursor(&fetch.cursor)?.rows);
        let wanted = match fetch.count {
            FetchCount::All => usize::MAX,
            FetchCount::Rows(count) => usize::try_from(count).unwrap_or(usize::MAX),
        };
        let mut skipped = 0;
        let mut rows = rows.lock().await;
        while skipped < wanted {
            let Some(batch) = rows.next(wanted - skipped).await? else { break };
            skipped += batch.num_rows();
        }
        done(format!("MOVE {skipped}"))
    }

    pub(crate) fn close(&mut self, name: Option<&Ident>) -> Result<Outcome> {
        match name {
            None => self.cursors.clear(),
            Some(name) => {
                self.cursor(name)?;
                self.cursors.remove(&name.name);
            }
        }
        done("CLOSE CURSOR")
    }
}
