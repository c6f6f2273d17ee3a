//! How far a load is, for whoever watches it.
//!
//! A partition finds the progress of its load by the query's id when it runs in the leader's
//! process. On a compute node that is another process there is none to find: the leader then
//! shows the total, and the rest only when the load is done.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use base::ids::QueryId;
use parking_lot::Mutex;

/// The progress of one load.
#[derive(Debug, Default)]
pub struct Progress {
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    rows: AtomicU64,
    files_done: AtomicU64,
    files_total: AtomicU64,
}

impl Progress {
    pub fn new() -> Arc<Progress> {
        Arc::default()
    }

    /// Bytes fetched so far, as they are in the files (compressed ones too).
    pub fn bytes_done(&self) -> u64 {
        self.bytes_done.load(Ordering::Relaxed).min(self.bytes_total())
    }

    /// Bytes of all files; 0 until they are listed.
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total.load(Ordering::Relaxed)
    }

    /// Rows parsed so far, the rejected ones not counted.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Files, or parts of split files, read to their end.
    pub fn files_done(&self) -> u64 {
        self.files_done.load(Ordering::Relaxed)
    }

    /// Files and parts of split files in all.
    pub fn files_total(&self) -> u64 {
        self.files_total.load(Ordering::Relaxed)
    }

    pub(crate) fn start(&self, bytes: u64, files: u64) {
        self.bytes_done.store(0, Ordering::Relaxed);
        self.rows.store(0, Ordering::Relaxed);
        self.files_done.store(0, Ordering::Relaxed);
        self.bytes_total.store(bytes, Ordering::Relaxed);
        self.files_total.store(files, Ordering::Relaxed);
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub(crate) fn add_file(&self) {
        self.files_done.fetch_add(1, Ordering::Relaxed);
    }

    /// All is done, also what other processes did.
    pub(crate) fn finish(&self, rows: u64) {
        self.bytes_done.store(self.bytes_total(), Ordering::Relaxed);
        self.files_done.store(self.files_total(), Ordering::Relaxed);
        self.rows.store(rows, Ordering::Relaxed);
    }
}

static LOADS: LazyLock<Mutex<HashMap<QueryId, Weak<Progress>>>> = LazyLock::new(Mutex::default);

/// Makes a load's progress findable for as long as the guard lives.
pub(crate) struct Published(QueryId);

pub(crate) fn publish(query: QueryId, progress: &Arc<Progress>) -> Published {
    LOADS.lock().insert(query, Arc::downgrade(progress));
    Published(query)
}

impl Drop for Published {
    fn drop(&mut self) {
        LOADS.lock().remove(&self.0);
    }
}

pub(crate) fn find(query: QueryId) -> Option<Arc<Progress>> {
    LOADS.lock().get(&query).and_then(Weak::upgrade)
}
