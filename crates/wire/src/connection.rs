//! One authenticated connection: the loop over its messages.
//!
//! Holds control flow only; what a message does is in `simple`, `extended` and `statement`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::client::{Session, TransactionStatus, by_administrator};
use base::{CancellationToken, Error, error};

use crate::encode::Style;
use crate::frame::{Frontend, backend};
use crate::handshake::Stop;
use crate::outbox::Outbox;
use crate::portal::{Parsed, Portal};
use crate::reader::{Inbox, Received};
use crate::statement::{Ends, FAREWELL, Fault};

pub(crate) struct Connection {
    pub(crate) session: Box<dyn Session>,
    pub(crate) out: Outbox,
    pub(crate) inbox: Inbox,
    pub(crate) ends: Ends,
    /// The server takes no new work; statements that run may finish.
    pub(crate) draining: CancellationToken,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) style: Style,
    pub(crate) statements: HashMap<String, Arc<Parsed>>,
    pub(crate) portals: HashMap<String, Portal>,
    /// A message failed: everything up to Sync is passed over.
    pub(crate) skipping: bool,
}

impl Connection {
    /// Serves the client until it leaves or the connection has to end.
    pub(crate) async fn run(mut self) {
        let stop = loop {
            let done = match self.next().await {
                Ok(Received::Message(message)) => self.message(message).await,
                Ok(Received::Fault { tag, fault }) => self.unreadable(tag, &fault).await,
                Ok(Received::Broken(fault)) => Err(Stop::Fatal(fault)),
                Err(stop) => Err(stop),
            };
            if let Err(stop) = done {
                break stop;
            }
        };
        // What runs is cancelled before the farewell, which may have to wait for the client.
        self.portals.clear();
        drop(self.session);
        if let Stop::Fatal(fault) = stop {
            backend::error(&mut self.out.buffer, true, &fault);
            self.out.close(FAREWELL).await;
        }
    }

    async fn next(&mut self) -> Result<Received, Stop> {
        let idle = async {
            match self.idle_timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            reason = self.ends.termination.ended() => Err(Stop::Fatal(reason)),
            () = self.draining.cancelled() => Err(Stop::Fatal(by_administrator())),
            received = self.inbox.next() => received.ok_or(Stop::Gone),
            () = idle => Err(Stop::Fatal(error!(
                IdleSessionTimeout,
                "terminating connection due to idle-session timeout"
            ))),
        }
    }

    async fn message(&mut self, message: Frontend) -> Result<(), Stop> {
        match message {
            Frontend::Terminate => Err(Stop::Gone),
            Frontend::Sync => {
                let failed = std::mem::take(&mut self.skipping);
                self.end_cycle(failed).await
            }
            _ if self.skipping => Ok(()),
            Frontend::Query(text) => self.query(&text).await,
            Frontend::Flush => self.flush().await,
            Frontend::Stray => Ok(()),
            Frontend::Function => {
                self.fail(&Error::unsupported("function calls are not supported"));
                self.end_cycle(true).await
            }
            Frontend::TooLong { tag, len } => {
                let fault = error!(ProgramLimitExceeded, "message of {len} bytes is too long")
                    .hint("Load large data with COPY instead of sending it in a statement.");
                self.unreadable(tag, &fault).await
            }
            message => self.extended(message).await,
        }
    }

    /// Answers a message that could be framed but not read.
    async fn unreadable(&mut self, tag: u8, fault: &Error) -> Result<(), Stop> {
        match tag {
            _ if self.skipping => Ok(()),
            b'Q' => {
                self.fail(fault);
                self.end_cycle(true).await
            }
            b'P' | b'B' | b'D' | b'E' | b'C' => {
                self.fail_until_sync(fault);
                Ok(())
            }
            // Copy data without a COPY is passed over, however long it is.
            b'p' | b'd' | b'c' | b'f' => Ok(()),
            _ => Err(Stop::Fatal(fault.clone())),
        }
    }

    pub(crate) fn fail(&mut self, fault: &Error) {
        self.take_events();
        backend::error(&mut self.out.buffer, false, fault);
    }

    pub(crate) fn fail_until_sync(&mut self, fault: &Error) {
        self.fail(fault);
        self.skipping = true;
    }

    /// The end of a simple query or a Sync: the implicit transaction ends, the client may go on.
    pub(crate) async fn end_cycle(&mut self, failed: bool) -> Result<(), Stop> {
        match self.ends.guard(self.session.sync(failed)).await {
            Ok(()) => {}
            Err(Fault::Statement(fault)) => self.fail(&fault),
            Err(Fault::Connection(stop)) => return Err(stop),
        }
        self.ready().await
    }

    pub(crate) async fn ready(&mut self) -> Result<(), Stop> {
        self.take_events();
        let status = self.session.transaction_status();
        if status != TransactionStatus::Open {
            // Portals live no longer than their transaction.
            self.portals.clear();
        }
        backend::ready(&mut self.out.buffer, status);
        self.flush().await
    }
}
