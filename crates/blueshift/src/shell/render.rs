//! What the shell prints: tables, CSV, JSON, and errors with a caret under the fault.

use std::io::Write;

use base::{Error, Result};
use clap::ValueEnum;

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Csv,
    Json,
}

impl Format {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Format::from_str(name, true).ok()
    }
}

/// What the user has switched.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) format: Format,
    pub(crate) expanded: bool,
    pub(crate) timing: bool,
}

impl Settings {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, expanded: false, timing: false }
    }
}

/// Rows that a table holds back to find its column widths; further rows keep those widths.
const TABLE_ROWS_MAX: usize = 1_000;

/// Prints the results of one text, result by result.
pub(crate) struct Printer {
    settings: Settings,
    columns: Vec<String>,
    held: Vec<Vec<Option<String>>>,
    widths: Vec<usize>,
    rows: u64,
    has_columns: bool,
}

impl Printer {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            columns: Vec::new(),
            held: Vec::new(),
            widths: Vec::new(),
            rows: 0,
            has_columns: false,
        }
    }

    pub(crate) fn columns(&mut self, columns: Vec<String>) -> Result<()> {
        self.widths.clear();
        self.held.clear();
        self.rows = 0;
        self.has_columns = true;
        self.columns = columns;
        if self.settings.format == Format::Csv {
            let names: Vec<Option<&str>> = self.columns.iter().map(|c| Some(c.as_str())).collect();
            put(&csv_line(&names))?;
        }
        Ok(())
    }

    pub(crate) fn row<'a>(&mut self, values: impl Iterator<Item = Option<&'a str>>) -> Result<()> {
        self.rows += 1;
        match self.settings.format {
            Format::Csv => put(&csv_line(&values.collect::<Vec<_>>())),
            Format::Json => put(&json_line(&self.columns, values)),
            Format::Table if self.settings.expanded => {
                let values: Vec<_> = values.collect();
                put(&expanded(self.rows, &self.columns, &values))
            }
            Format::Table if self.widths.is_empty() => {
                self.held.push(values.map(|v| v.map(str::to_owned)).collect());
                if self.held.len() >= TABLE_ROWS_MAX { self.flush() } else { Ok(()) }
            }
            Format::Table => {
                let row: Vec<_> = values.collect();
                put(&table_line(&row, &self.widths))
            }
        }
    }

    /// The end of one result: its row count, or the affected rows of a command.
    pub(crate) fn complete(&mut self, rows: u64) -> Result<()> {
        let table = self.settings.format == Format::Table;
        if self.has_columns {
            if table && !self.settings.expanded {
                self.flush()?;
            }
            if table {
                let noun = if self.rows == 1 { "row" } else { "rows" };
                put(&format!("({} {noun})\n", self.rows))?;
            }
        } else if table {
            put(&if rows > 0 { format!("OK, {rows} rows\n") } else { "OK\n".to_owned() })?;
        }
        self.has_columns = false;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.widths.is_empty() {
            self.widths = widths(&self.columns, &self.held);
            let names: Vec<_> = self.columns.iter().map(|c| Some(c.as_str())).collect();
            put(&table_line(&names, &self.widths))?;
            let rule: Vec<String> = self.widths.iter().map(|w| "-".repeat(w + 2)).collect();
            put(&format!("{}\n", rule.join("+")))?;
        }
        for row in std::mem::take(&mut self.held) {
            let row: Vec<_> = row.iter().map(Option::as_deref).collect();
            put(&table_line(&row, &self.widths))?;
        }
        Ok(())
    }
}

fn widths(columns: &[String], rows: &[Vec<Option<String>>]) -> Vec<usize> {
    let width = |text: &str| text.chars().count();
    columns
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let values = rows.iter().filter_map(|row| row.get(i)?.as_deref().map(width));
            values.max().unwrap_or(0).max(width(name))
        })
        .collect()
}

fn table_line(values: &[Option<&str>], widths: &[usize]) -> String {
    let cells: Vec<String> = values
        .iter()
        .zip(widths)
        .map(|(value, width)| format!(" {:<width$} ", value.unwrap_or_default()))
        .collect();
    format!("{}\n", cells.join("|").trim_end())
}

fn expanded(row: u64, columns: &[String], values: &[Option<&str>]) -> String {
    let width = columns.iter().map(|c| c.chars().count()).max().unwrap_or(0);
    let mut out = format!("-[ row {row} ]{}\n", "-".repeat(width));
    for (name, value) in columns.iter().zip(values) {
        out.push_str(&format!("{name:<width$} | {}\n", value.unwrap_or_default()));
    }
    out
}

fn csv_line(values: &[Option<&str>]) -> String {
    let field = |value: &Option<&str>| match value {
        None => String::new(),
        Some(text) if text.is_empty() || text.contains(['"', ',', '\n', '\r']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Some(text) => (*text).to_owned(),
    };
    let fields: Vec<String> = values.iter().map(field).collect();
    format!("{}\n", fields.join(","))
}

/// One object a line; values are strings as the server wrote them, NULL is null.
fn json_line<'a>(columns: &[String], values: impl Iterator<Item = Option<&'a str>>) -> String {
    let object: serde_json::Map<String, serde_json::Value> = columns
        .iter()
        .zip(values)
        .map(|(name, value)| (name.clone(), value.map_or(serde_json::Value::Null, Into::into)))
        .collect();
    format!("{}\n", serde_json::Value::Object(object))
}

/// Prints an error as psql does, with the line of the fault and a caret.
pub(crate) fn error(error: &Error, text: &str) {
    error_line(&format!("ERROR:  {} ({})", error.message(), error.sqlstate().code()));
    if let Some((line, column)) = error.position().and_then(|p| place(text, p)) {
        let label = format!("LINE {}: ", line.0);
        error_line(&format!("{label}{}", line.1));
        error_line(&format!("{}^", " ".repeat(label.len() + column)));
    }
    if let Some(detail) = error.get_detail() {
        error_line(&format!("DETAIL:  {detail}"));
    }
    if let Some(hint) = error.get_hint() {
        error_line(&format!("HINT:  {hint}"));
    }
}

/// The line (number, text) and the 0-based column of a 1-based character position.
fn place(text: &str, position: u32) -> Option<((usize, String), usize)> {
    let mut left = usize::try_from(position).ok()?.checked_sub(1)?;
    for (number, line) in text.lines().enumerate() {
        let length = line.chars().count();
        if left <= length {
            return Some(((number + 1, line.to_owned()), left));
        }
        left -= length + 1;
    }
    None
}

fn put(text: &str) -> Result<()> {
    std::io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|e| Error::io("write to standard output", e))
}

/// Prints a line to standard output; a closed pipe ends the printing, not the shell.
pub(crate) fn line(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Prints a line to standard error.
pub(crate) fn error_line(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_tells_null_from_empty() {
        assert_eq!(csv_line(&[Some("a,b"), None, Some(""), Some("x")]), "\"a,b\",,\"\",x\n");
    }

    #[test]
    fn a_position_finds_its_line() {
        let ((line, text), column) = place("select 1,\n  nope\nfrom t", 13).unwrap();
        assert_eq!((line, text.as_str(), column), (2, "  nope", 2));
    }

    #[test]
    fn json_keeps_nulls() {
        let columns = ["a".to_owned(), "b".to_owned()];
        assert_eq!(
            json_line(&columns, [Some("1"), None].into_iter()),
            "{\"a\":\"1\",\"b\":null}\n"
        );
    }
}
