//! The messages that the server sends, written into a byte buffer.
//!
//! Rows are not here: see `encode`.

use base::client::{Severity, TransactionStatus};
use base::{Error, SqlState};

/// Writes one message: its type, its length and what `body` appends.
pub(crate) fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let start = out.len();
    out.extend([0; 4]);
    body(out);
    let len = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// Text up to its first NUL, and a NUL.
pub(crate) fn cstring(out: &mut Vec<u8>, text: &str) {
    let end = text.bytes().position(|byte| byte == 0).unwrap_or(text.len());
    out.extend_from_slice(&text.as_bytes()[..end]);
    out.push(0);
}

pub(crate) fn put_i16(out: &mut Vec<u8>, value: i16) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// `AuthenticationX` with what follows its code.
pub(crate) fn authentication(out: &mut Vec<u8>, code: i32, rest: &[u8]) {
    message(out, b'R', |out| {
        put_i32(out, code);
        out.extend_from_slice(rest);
    });
}

pub(crate) fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    message(out, b'S', |out| {
        cstring(out, name);
        cstring(out, value);
    });
}

pub(crate) fn backend_key(out: &mut Vec<u8>, process_id: i32, key: &[u8]) {
    message(out, b'K', |out| {
        put_i32(out, process_id);
        out.extend_from_slice(key);
    });
}

pub(crate) fn negotiate_version(out: &mut Vec<u8>, version: u32, refused: &[String]) {
    message(out, b'v', |out| {
        put_u32(out, version);
        put_i32(out, i32::try_from(refused.len()).unwrap_or(i32::MAX));
        refused.iter().for_each(|name| cstring(out, name));
    });
}

pub(crate) fn ready(out: &mut Vec<u8>, status: TransactionStatus) {
    let status = match status {
        TransactionStatus::Idle => b'I',
        TransactionStatus::Open => b'T',
        TransactionStatus::Failed => b'E',
    };
    message(out, b'Z', |out| out.push(status));
}

pub(crate) fn command_complete(out: &mut Vec<u8>, tag: &str) {
    message(out, b'C', |out| cstring(out, tag));
}

/// A message that is its type alone: ParseComplete, NoData, PortalSuspended and the like.
pub(crate) fn bare(out: &mut Vec<u8>, tag: u8) {
    message(out, tag, |_| ());
}

/// ErrorResponse. `fatal` says that the connection ends with it.
pub(crate) fn error(out: &mut Vec<u8>, fatal: bool, error: &Error) {
    fields(out, b'E', if fatal { "FATAL" } else { "ERROR" }, error.code(), error);
}

/// NoticeResponse.
pub(crate) fn notice(out: &mut Vec<u8>, severity: Severity, notice: &Error) {
    let name = match severity {
        Severity::Info => "INFO",
        Severity::Notice => "NOTICE",
        Severity::Warning => "WARNING",
    };
    // Only an error's code says more than its severity does.
    let code = match (severity, notice.sqlstate()) {
        (Severity::Warning, SqlState::SuccessfulCompletion) => SqlState::Warning.code(),
        _ => notice.code(),
    };
    fields(out, b'N', name, code, notice);
}

fn fields(out: &mut Vec<u8>, tag: u8, severity: &str, code: &str, error: &Error) {
    message(out, tag, |out| {
        let mut field = |name: u8, value: Option<&str>| {
            if let Some(value) = value {
                out.push(name);
                cstring(out, value);
            }
        };
        let object = error.object();
        field(b'S', Some(severity));
        field(b'V', Some(severity));
        field(b'C', Some(code));
        field(b'M', Some(error.message()));
        field(b'D', error.get_detail());
        field(b'H', error.get_hint());
        field(b'W', error.get_context());
        if let Some((text, position)) = error.internal_position() {
            field(b'p', Some(&position.to_string()));
            field(b'q', Some(text));
        }
        field(b'P', error.position().map(|position| position.to_string()).as_deref());
        field(b's', object.schema.as_deref());
        field(b't', object.table.as_deref());
        field(b'c', object.column.as_deref());
        field(b'd', object.data_type.as_deref());
        field(b'n', object.constraint.as_deref());
        out.push(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_carries_all_its_fields() {
        let mut out = Vec::new();
        let fault = base::error!(UndefinedTable, "relation \"t\" does not exist")
            .detail("D.")
            .hint("H.")
            .at(15)
            .table("t");
        error(&mut out, false, &fault);
        let text = String::from_utf8_lossy(&out[5..]).replace('\0', "|");
        assert_eq!(text, "SERROR|VERROR|C42P01|Mrelation \"t\" does not exist|DD.|HH.|P15|tt||");
        assert_eq!(out[0], b'E');
        assert_eq!(out[1..5], u32::try_from(out.len() - 1).unwrap().to_be_bytes());
    }

    #[test]
    fn a_nul_cannot_break_a_message() {
        let mut out = Vec::new();
        parameter_status(&mut out, "a\0b", "c");
        assert_eq!(out, b"S\0\0\0\x08a\0c\0");
    }
}
