//! Rows that a load refuses: why, with Redshift's error codes and texts, and where.
//!
//! Owns the closed list of row faults. Must not decide whether a load fails (the scan and the
//! leader count) and must not read files.

use base::SqlType;
use serde::{Deserialize, Serialize};

/// The longest raw line or raw value that is kept of a rejected row, in bytes.
pub(crate) const RAW_BYTES_MAX: usize = 1_024;

/// Why a value or a row is refused. Small and `Copy`: the text is made only when it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A character that is no digit, at this byte of the value.
    Digit(u32),
    /// The number does not fit the column's type.
    Overflow,
    Float(u32),
    /// A second point, or no digit at all, in a DECIMAL.
    Decimal(u32),
    Boolean,
    Date,
    Timestamp,
    Time,
    /// The string has more bytes than the column's declared length.
    TooLong,
    /// NULL, or nothing, for a column that is NOT NULL.
    NotNull,
    /// A multibyte character for a CHAR column, at this byte.
    Multibyte(u32),
    /// Bytes that are not UTF-8: where, and Redshift's number for the kind of violation.
    Utf8 {
        position: u32,
        kind: u8,
    },
    /// A zero byte within a longer value while NULL AS is the zero byte.
    NullByte(u32),
    ExtraColumns,
    MissingDelimiter,
    EmptyLine,
    /// A quote inside an unquoted value, or text after a closing quote.
    CsvQuote,
    /// A quoted value without its closing quote.
    OpenQuote,
}

impl Fault {
    /// Redshift's load error code.
    pub(crate) fn code(self) -> i32 {
        match self {
            Fault::ExtraColumns => 1202,
            Fault::TooLong => 1204,
            Fault::Date => 1205,
            Fault::Timestamp | Fault::Time => 1206,
            Fault::Digit(_) => 1207,
            Fault::Float(_) => 1208,
            Fault::Decimal(_) => 1209,
            Fault::Boolean => 1210,
            Fault::EmptyLine => 1211,
            Fault::NotNull => 1213,
            Fault::MissingDelimiter => 1214,
            Fault::Multibyte(_) => 1215,
            Fault::CsvQuote | Fault::OpenQuote => 1216,
            Fault::NullByte(_) => 1218,
            Fault::Utf8 { .. } => 1220,
            Fault::Overflow => 1222,
        }
    }

    /// The byte within the value at which the fault was seen.
    pub(crate) fn position(self) -> u32 {
        match self {
            Fault::Digit(at)
            | Fault::Float(at)
            | Fault::Decimal(at)
            | Fault::Multibyte(at)
            | Fault::NullByte(at)
            | Fault::Utf8 { position: at, .. } => at,
            _ => 0,
        }
    }

    /// The reason as `stl_load_errors.err_reason` gives it. `format` is the DATEFORMAT or
    /// TIMEFORMAT in force for the column.
    pub(crate) fn reason(self, value: &[u8], sql_type: Option<SqlType>, format: &str) -> String {
        let kind = sql_type.map_or("", type_word);
        let digit = |at: u32| {
            let shown = value.get(at as usize..).map(first_character).unwrap_or_default();
            format!("Invalid digit, Value '{shown}', Pos {at}, Type: {kind}")
        };
        match self {
            Fault::Digit(at) | Fault::Float(at) | Fault::Decimal(at) => digit(at),
            Fault::Overflow => format!("Overflow, Value '{}', Type: {kind}", short(value)),
            Fault::Boolean => "Unknown boolean format".to_owned(),
            Fault::Date => format!("Invalid Date Format or value [{format}]"),
            Fault::Timestamp => format!("Invalid timestamp format or value [{format}]"),
            Fault::Time => format!("Invalid time format or value [{format}]"),
            Fault::TooLong => match sql_type {
                Some(SqlType::Char(_)) => "Char length exceeds DDL length".to_owned(),
                _ => "String length exceeds DDL length".to_owned(),
            },
            Fault::NotNull => "Missing data for not-null field".to_owned(),
            Fault::Multibyte(at) => format!(
                "Multibyte character not supported for CHAR (Hint: try using VARCHAR). \
                 Invalid char: {}",
                hex(value, at, 4)
            ),
            Fault::Utf8 { position, kind } => format!(
                "String contains invalid or unsupported UTF8 codepoints. \
                 Bad UTF8 hex sequence: {} (error {kind})",
                hex(value, position, if kind == 3 { 1 } else { 4 })
            ),
            Fault::NullByte(_) => "Invalid null byte - field longer than 1 byte".to_owned(),
            Fault::ExtraColumns => "Extra column(s) found".to_owned(),
            Fault::MissingDelimiter => "Delimiter not found".to_owned(),
            Fault::EmptyLine => "Empty line".to_owned(),
            Fault::CsvQuote => "Invalid quote formatting for CSV".to_owned(),
            Fault::OpenQuote => "Missing closing quote".to_owned(),
        }
    }
}

/// The word that load errors use for a type.
fn type_word(sql_type: SqlType) -> &'static str {
    match sql_type {
        SqlType::SmallInt => "Short",
        SqlType::Integer => "Integer",
        SqlType::BigInt => "Long",
        SqlType::Decimal { .. } => "Decimal",
        SqlType::Real => "Float",
        SqlType::Double => "Double",
        SqlType::Varbyte(_) => "Varbyte",
        SqlType::Timestamp | SqlType::TimestampTz => "Timestamp",
        _ => "Value",
    }
}

fn first_character(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(4)];
    String::from_utf8_lossy(head).chars().next().map(String::from).unwrap_or_default()
}

fn short(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(48)]).into_owned()
}

fn hex(bytes: &[u8], at: u32, len: usize) -> String {
    let tail = bytes.get(at as usize..).unwrap_or_default();
    let shown: Vec<String> = tail.iter().take(len).map(|b| format!("{b:02x}")).collect();
    shown.join(" ")
}

/// At most [`RAW_BYTES_MAX`] bytes as text that a client can be sent: what is not UTF-8 and
/// what is a zero byte is replaced.
pub(crate) fn raw_text(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(RAW_BYTES_MAX)];
    let mut text = String::from_utf8_lossy(head).replace('\0', "\u{fffd}");
    while text.len() > RAW_BYTES_MAX {
        text.pop();
    }
    text
}

/// A rejected row as the scan reports it to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The work unit; its file and its first line are known to the leader.
    pub unit: u32,
    /// Lines before the row within the unit: the leader adds those before the unit.
    pub line: u64,
    /// Byte offset of the row in the uncompressed file.
    pub offset: u64,
    /// Position of the column in the table, when one value is at fault.
    pub column: Option<u32>,
    pub position: u32,
    pub raw_line: String,
    pub raw_field: String,
    pub code: i32,
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_as_redshifts() {
        let reason = Fault::Digit(1).reason(b"1x", Some(SqlType::Integer), "");
        assert_eq!(reason, "Invalid digit, Value 'x', Pos 1, Type: Integer");
        assert_eq!(Fault::Digit(1).code(), 1207);
        let reason = Fault::TooLong.reason(b"abc", Some(SqlType::Varchar(2)), "");
        assert_eq!(reason, "String length exceeds DDL length");
        let reason = Fault::Utf8 { position: 1, kind: 4 }.reason(b"a\xe9b", None, "");
        assert!(reason.ends_with("Bad UTF8 hex sequence: e9 62 (error 4)"), "{reason}");
    }

    #[test]
    fn raw_text_is_bounded_and_clean() {
        assert_eq!(raw_text(b"a\0b"), "a\u{fffd}b");
        assert!(raw_text(&[0xff; 5_000]).len() <= RAW_BYTES_MAX);
    }
}
