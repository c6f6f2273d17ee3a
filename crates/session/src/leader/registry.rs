//! The sessions that are open and what each is doing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use base::CancellationToken;
use base::ids::{Oid, QueryId};
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
    pub(crate) last: Last,
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
    pub(crate) terminated: CancellationToken,
    pub(crate) application_name: Mutex<String>,
    pub(crate) activity: Mutex<Activity>,
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
    pub(crate) fn terminate(&self) {
        self.cancel();
        self.terminated.cancel();
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
