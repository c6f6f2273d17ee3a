//! Running one statement: what can interrupt it, and its rows on the way out.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use base::client::{Event, Prepared, Termination, Value, by_administrator};
use base::{CancellationToken, Error, Result};
use futures::{FutureExt, StreamExt};

use crate::connection::Connection;
use crate::encode::{Rows, zone::Zone};
use crate::frame::backend;
use crate::handshake::Stop;
use crate::portal::Cursor;

/// Kept from clients: the first must not be announced because backslashes escape in literals,
/// the second is for the encoder only.
const UNREPORTED: &[&str] = &["standard_conforming_strings", "extra_float_digits"];

/// What went wrong with a statement.
pub(crate) enum Fault {
    /// The statement failed; the connection goes on.
    Statement(Error),
    /// The connection ends.
    Connection(Stop),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Statement(error)
    }
}

impl From<Stop> for Fault {
    fn from(stop: Stop) -> Fault {
        Fault::Connection(stop)
    }
}

/// What ends a connection from outside.
pub(crate) struct Ends {
    pub(crate) gone: CancellationToken,
    pub(crate) termination: Termination,
    /// The server stops and waits no longer.
    pub(crate) killed: CancellationToken,
}

impl Ends {
    pub(crate) async fn ended(&self) -> Stop {
        tokio::select! {
            () = self.gone.cancelled() => Stop::Gone,
            reason = self.termination.ended() => Stop::Fatal(reason),
            () = self.killed.cancelled() => Stop::Fatal(by_administrator()),
        }
    }

    /// Runs `work` until it is done or the connection ends, which drops it. A panic becomes an
    /// error of the statement.
    pub(crate) async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T, Fault> {
        tokio::select! {
            biased;
            stop = self.ended() => Err(Fault::Connection(stop)),
            done = AssertUnwindSafe(work).catch_unwind() => match done {
                Ok(result) => result.map_err(Fault::Statement),
                Err(panic) => Err(Fault::Statement(panicked(&*panic))),
            },
        }
    }
}

/// Runs work that does not wait, with its panics caught.
pub(crate) fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    match std::panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => Err(panicked(&*panic)),
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let what = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(what, "a statement panicked");
    Error::internal("the statement failed on an internal fault")
        .detail(format!("{what}."))
        .hint("The connection can be used on. Please report the statement.")
}

/// How much of a cursor one call has sent.
pub(crate) struct Sent {
    pub(crate) rows: u64,
    pub(crate) finished: bool,
}

impl Connection {
    pub(crate) async fn prepare(&mut self, text: &str, oids: &[u32]) -> Result<Prepared, Fault> {
        let done = self.ends.guard(self.session.prepare(text, oids)).await;
        self.take_events();
        done
    }

    pub(crate) async fn execute(
        &mut self,
        prepared: &Prepared,
        values: Vec<Value>,
    ) -> Result<base::client::Outcome, Fault> {
        let done = self.ends.guard(self.session.execute(prepared, values)).await;
        self.take_events();
        done
    }

    /// Sends rows until the cursor ends or `rows_max` are sent (0: all), no faster than the
    /// client takes them.
    pub(crate) async fn send_rows(
        &mut self,
        cursor: &mut Cursor,
        rows_max: u64,
    ) -> Result<Sent, Fault> {
        let mut sent = 0;
        loop {
            if cursor.rows.as_ref().is_none_or(Rows::is_done) {
                cursor.rows = None;
                let Some(batch) = self.next_batch(cursor).await? else {
                    return Ok(Sent { rows: sent, finished: true });
                };
                cursor.rows = Some(batch);
            }
            let Some(rows) = cursor.rows.as_mut() else { continue };
            let room = if rows_max == 0 { u64::MAX } else { rows_max - sent };
            let bytes_max = self.out.bytes_max();
            let buffer = &mut self.out.buffer;
            let whole = buffer.len();
            sent += caught(|| rows.write(buffer, room, bytes_max)).inspect_err(|_| {
                // A row that was begun would break the protocol.
                self.out.buffer.truncate(whole);
            })?;
            if self.out.is_full() {
                self.flush().await?;
            }
            if rows_max > 0 && sent >= rows_max {
                return Ok(Sent { rows: sent, finished: false });
            }
        }
    }

    async fn next_batch(&mut self, cursor: &mut Cursor) -> Result<Option<Rows>, Fault> {
        // Rows that are there already need not wait for a slow next batch.
        let next = match cursor.batches.next().now_or_never_guarded() {
            Some(next) => next?,
            None => {
                self.flush().await?;
                let next = async { Ok(cursor.batches.next().await) };
                self.ends.guard(next).await?
            }
        };
        self.take_events();
        let style = &self.style;
        let Some(batch) = next.transpose()? else { return Ok(None) };
        let rows = caught(|| Rows::new(&batch, &cursor.columns, &cursor.formats, style))?;
        Ok(Some(rows))
    }

    /// Sends what is buffered, unless the connection ends before the client has taken it.
    pub(crate) async fn flush(&mut self) -> Result<(), Stop> {
        tokio::select! {
            biased;
            stop = self.ends.ended() => Err(stop),
            done = self.out.flush() => Ok(done?),
        }
    }

    /// Appends the notices and parameter changes since the last call.
    pub(crate) fn take_events(&mut self) {
        for event in self.session.take_events() {
            match event {
                Event::Notice(severity, notice) => {
                    backend::notice(&mut self.out.buffer, severity, &notice);
                }
                Event::Parameter(name, value) => self.parameter(&name, &value),
            }
        }
    }

    /// Takes over a parameter's value and reports it.
    pub(crate) fn parameter(&mut self, name: &str, value: &str) {
        if name.eq_ignore_ascii_case("TimeZone") {
            self.style.zone = Zone::parse(value).unwrap_or_else(|| {
                tracing::warn!(value, "time zone is not known, values are shown in UTC");
                Zone::Utc
            });
        } else if name.eq_ignore_ascii_case("extra_float_digits")
            && let Ok(digits) = value.parse()
        {
            self.style.float_digits = digits;
        }
        if !UNREPORTED.iter().any(|hidden| name.eq_ignore_ascii_case(hidden)) {
            backend::parameter_status(&mut self.out.buffer, name, value);
        }
    }
}

/// Polling a stream once, with its panics caught.
trait NowOrNever: Future + Sized {
    fn now_or_never_guarded(self) -> Option<Result<Self::Output>> {
        match AssertUnwindSafe(self).catch_unwind().now_or_never() {
            None => None,
            Some(Ok(output)) => Some(Ok(output)),
            Some(Err(panic)) => Some(Err(panicked(&*panic))),
        }
    }
}

impl<F: Future> NowOrNever for F {}

/// How long a client that does not read is waited for when the connection ends.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);
