//! The sessions that are open and what each is doing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use base::client::Termination;
use base::ids::{Oid, QueryId};
use base::{CancellationToken, Error, error};
use parking_lot::Mutex;

/// Process ids start here, as Redshift's do, and count up.
const FIRST_PROCESS_ID: i32 = 1_073_741_824;

/// A statement that runs.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) id: QueryId,
    pub(crate) text: Arc<str>,
    pub(crate) kind: &'static str,
    pub(crate) label: String,
    pub(crate) transaction: u64,
    pub(crate) started_us: i64,
    pub(crate) cancel: CancellationToken,
    pub(crate) load: Option<Arc<ingest::Progress>>,
}

/// The newest statements of a session, for `pg_last_query_id` and its kin.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Last {
    pub(crate) query: u64,
    pub(crate) copy: u64,
    pub(crate) copy_rows: u64,
}

/// What a session is doing now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activity {
    pub(crate) running: Option<Running>,
    pub(crate) last_text: Arc<str>,
    pub(crate) last_change_us: i64,
    /// Start of the open transaction block.
    pub(crate) block_since_us: Option<i64>,
    pub(crate) block_failed: bool,
    /// The id of the open transaction; 0 when there is none.
    pub(crate) transaction: u64,
    pub(crate) last: Last,
}

/// How long a session may do nothing, in milliseconds; 0 for ever.
#[derive(Debug, Default)]
pub(crate) struct IdleLimits {
    pub(crate) session_ms: AtomicU64,
    /// Within a transaction block.
    pub(crate) block_ms: AtomicU64,
}

impl Activity {
    /// `pg_stat_activity.state`.
    pub(crate) fn state(&self) -> &'static str {
        match (&self.running, self.block_since_us, self.block_failed) {
            (Some(_), ..) => "active",
            (None, Some(_), true) => "idle in transaction (aborted)",
            (None, Some(_), false) => "idle in transaction",
            (None, None, _) => "idle",
        }
    }
}

/// One open session, as others see it.
#[derive(Debug)]
pub(crate) struct SessionEntry {
    pub(crate) process_id: i32,
    pub(crate) cancel_key: [u8; 4],
    pub(crate) user: String,
    pub(crate) user_oid: Oid,
    pub(crate) superuser: bool,
    pub(crate) database: String,
    pub(crate) database_oid: Oid,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) tls: bool,
    pub(crate) protocol_version: u8,
    pub(crate) driver_version: String,
    pub(crate) os_version: String,
    pub(crate) started_us: i64,
    pub(crate) termination: Termination,
    pub(crate) application_name: Mutex<String>,
    pub(crate) activity: Mutex<Activity>,
    pub(crate) idle_limits: IdleLimits,
}

impl SessionEntry {
    pub(crate) fn activity(&self) -> Activity {
        self.activity.lock().clone()
    }

    /// Cancels the running statement; false when none runs.
    pub(crate) fn cancel(&self) -> bool {
        match &self.activity.lock().running {
            Some(running) => {
                running.cancel.cancel();
                true
            }
            None => false,
        }
    }

    /// Ends the session: the running statement first, then the connection.
    pub(crate) fn terminate(&self, reason: Error) {
        self.cancel();
        self.termination.end(reason);
    }

    /// Why the session ends when it has passed a limit of idleness at `now_us`, in PostgreSQL's
    /// words.
    pub(crate) fn idle_too_long(&self, now_us: i64) -> Option<Error> {
        let activity = self.activity.lock();
        if activity.running.is_some() {
            return None;
        }
        let block = activity.block_since_us.is_some();
        let limit = if block { &self.idle_limits.block_ms } else { &self.idle_limits.session_ms };
        let limit_ms = limit.load(Ordering::Relaxed);
        let idle_ms = u64::try_from(now_us - activity.last_change_us).unwrap_or(0) / 1_000;
        if limit_ms == 0 || idle_ms < limit_ms {
            return None;
        }
        Some(if block {
            error!(
                IdleInTransactionSessionTimeout,
                "terminating connection due to idle-in-transaction timeout"
            )
        } else {
            error!(IdleSessionTimeout, "terminating connection due to idle-session timeout")
        })
    }
}

/// The open sessions by process id.
#[derive(Debug)]
pub(crate) struct Registry {
    next: AtomicI32,
    sessions: Mutex<BTreeMap<i32, Arc<SessionEntry>>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self { next: AtomicI32::new(FIRST_PROCESS_ID), sessions: Mutex::default() }
    }
}

impl Registry {
    pub(crate) fn new_process_id(&self) -> i32 {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        if next > 0 { next } else { FIRST_PROCESS_ID.wrapping_add(next & 0xff_ffff) }
    }

    /// Adds a session unless a limit is reached: `all` for the cluster, `of_user` for its user.
    /// Gives back which limit it was.
    pub(crate) fn insert(
        &self,
        entry: Arc<SessionEntry>,
        all: usize,
        of_user: Option<usize>,
    ) -> Result<(), Limit> {
        let mut sessions = self.sessions.lock();
        if sessions.len() >= all {
            return Err(Limit::Cluster);
        }
        if let Some(limit) = of_user {
            let same = sessions.values().filter(|other| other.user_oid == entry.user_oid);
            if same.count() >= limit {
                return Err(Limit::User);
            }
        }
        sessions.insert(entry.process_id, entry);
        Ok(())
    }

    pub(crate) fn remove(&self, process_id: i32) {
        self.sessions.lock().remove(&process_id);
    }

    pub(crate) fn get(&self, process_id: i32) -> Option<Arc<SessionEntry>> {
        self.sessions.lock().get(&process_id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<SessionEntry>> {
        self.sessions.lock().values().cloned().collect()
    }
}

/// Which connection limit was met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    Cluster,
    User,
}
