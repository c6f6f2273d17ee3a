//! The newest statements of the cluster, in memory and bounded: what stl_query,
//! sys_query_history and stv_recents show.

use std::collections::VecDeque;
use std::sync::Arc;

use base::ids::{Oid, QueryId};
use parking_lot::Mutex;

/// Statements kept; the oldest goes when another comes.
const RECORDS_MAX: usize = 2_000;
/// Characters kept of a statement's text.
pub(crate) const TEXT_CHARS_MAX: usize = 4_000;

/// How a statement ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ending {
    Success,
    Failed(String),
    Canceled(String),
}

/// A finished statement.
#[derive(Clone, Debug)]
pub(crate) struct QueryRecord {
    pub(crate) id: QueryId,
    pub(crate) transaction: u64,
    pub(crate) process_id: i32,
    pub(crate) user_oid: Oid,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) label: String,
    /// SELECT, INSERT, COPY, DDL, UTILITY, CTAS, COMMAND or OTHER.
    pub(crate) kind: &'static str,
    pub(crate) text: Arc<str>,
    pub(crate) started_us: i64,
    pub(crate) planned_us: Option<i64>,
    pub(crate) ended_us: i64,
    pub(crate) rows: u64,
    pub(crate) ending: Ending,
    pub(crate) load: Option<LoadRecord>,
}

/// What a COPY did.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoadRecord {
    pub(crate) table: String,
    pub(crate) source: String,
    pub(crate) format: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
    pub(crate) errors: u64,
}

/// The bounded store.
#[derive(Debug, Default)]
pub(crate) struct History {
    records: Mutex<VecDeque<Arc<QueryRecord>>>,
}

impl History {
    pub(crate) fn push(&self, record: QueryRecord) {
        let mut records = self.records.lock();
        if records.len() >= RECORDS_MAX {
            records.pop_front();
        }
        records.push_back(Arc::new(record));
    }

    /// Oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<QueryRecord>> {
        self.records.lock().iter().cloned().collect()
    }
}

/// The first characters of a text, for records and tables.
pub(crate) fn cut(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).map_or(text, |(end, _)| &text[..end])
}
