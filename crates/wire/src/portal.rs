//! Prepared statements and portals of one connection.

use std::sync::Arc;

use base::client::{BatchStream, Column, Prepared, Value};
use base::{Result, fail};

use crate::encode::{Format, Rows};

/// A prepared statement.
pub(crate) struct Parsed {
    pub(crate) prepared: Prepared,
    /// The parameter types that the client declared.
    pub(crate) oids: Vec<u32>,
}

/// A statement with its values, and how far it has run.
pub(crate) struct Portal {
    pub(crate) parsed: Arc<Parsed>,
    pub(crate) formats: Vec<i16>,
    pub(crate) state: State,
}

pub(crate) enum State {
    Bound(Vec<Value>),
    /// Some rows were sent and more were not asked for yet.
    Open(Cursor),
    /// All rows were sent; the verb of the tag.
    Finished {
        verb: &'static str,
        counted: bool,
    },
    /// A command without rows has run, or the statement failed.
    Spent,
}

/// Rows on their way to the client. Dropping it cancels the statement.
pub(crate) struct Cursor {
    pub(crate) columns: Arc<[Column]>,
    pub(crate) formats: Vec<Format>,
    pub(crate) batches: BatchStream,
    /// The batch that is being sent: the only one that is held.
    pub(crate) rows: Option<Rows>,
    pub(crate) verb: &'static str,
    pub(crate) counted: bool,
}

/// One format per column from the codes of Bind: none is text, one is for all.
///
/// # Errors
/// 08P01 when there are several and not one per column.
pub(crate) fn formats(codes: &[i16], columns: usize) -> Result<Vec<Format>> {
    match codes {
        [] => Ok(vec![Format::Text; columns]),
        [one] => Ok(vec![Format::of(*one); columns]),
        many if many.len() == columns => Ok(many.iter().map(|code| Format::of(*code)).collect()),
        many => fail!(
            ProtocolViolation,
            "bind message has {} result formats but query has {columns} columns",
            many.len()
        ),
    }
}

/// The command tag: the verb, and the count where it has one.
pub(crate) fn tag(verb: &str, counted: bool, rows: u64) -> String {
    if counted { format!("{verb} {rows}") } else { verb.to_owned() }
}
