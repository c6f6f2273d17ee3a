//! The byte log: one line of JSON for each request, in the order in which requests were done.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use parking_lot::Mutex;
use serde::Serialize;

use crate::faults::Fault;
use crate::request::Operation;

/// What one request was, and what became of it.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    /// Milliseconds since 1970 at which the request was done.
    pub(crate) at_ms: u64,
    /// From the request's head to this line.
    pub(crate) took_ms: u64,
    pub(crate) operation: Operation,
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    /// The headers `Range`, `If-Match` and `If-None-Match` as they were sent.
    pub(crate) range: Option<&'a str>,
    pub(crate) if_match: Option<&'a str>,
    pub(crate) if_none_match: Option<&'a str>,
    /// The bytes of the request's body.
    pub(crate) received_bytes: u64,
    /// The bytes of the answer's body, a body that is cut or truncated as far as it goes.
    pub(crate) sent_bytes: u64,
    /// The status that the operation had; none when it did not take place.
    pub(crate) effect: Option<u16>,
    /// The status that the client was told; none when the connection was reset instead.
    pub(crate) status: Option<u16>,
    pub(crate) fault: Option<Fault>,
    pub(crate) delay_ms: u64,
}

pub(crate) struct Log {
    file: Option<Mutex<File>>,
}

impl Log {
    /// Appends to the file; without one nothing is logged.
    pub(crate) fn open(path: Option<&Path>) -> std::io::Result<Log> {
        let open = |path| File::options().append(true).create(true).open(path);
        Ok(Log { file: path.map(open).transpose()?.map(Mutex::new) })
    }

    /// Writes a line at once, so that a killed process loses none.
    pub(crate) fn write(&self, line: &Line<'_>) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        file.lock().write_all(&text)
    }
}
