//! Cutting bytes into records and fields.
//!
//! Owns where a record and a field begin and end, for CSV and for delimited text. Values are
//! not interpreted here and nothing is copied except values that hold escapes.

use serde::{Deserialize, Serialize};

use super::scan::{Hits, Needles};
use crate::reject::Fault;

/// What the bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    pub delimiter: u8,
    pub quoting: Quoting,
    /// Expected fields in a record.
    pub fields: usize,
    /// FILLRECORD: trailing fields may be missing.
    pub fill: bool,
    /// IGNOREBLANKLINES.
    pub skip_blank: bool,
}

/// How a delimiter or a newline gets into a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quoting {
    /// CSV: values in quotes, a quote within doubled. Newlines may be inside.
    Csv { quote: u8 },
    /// Delimited text: a backslash protects the next byte (ESCAPE), quotes around a value are
    /// removed (REMOVEQUOTES), or neither.
    Text { escape: bool, remove_quotes: bool },
}

/// A value: a range of the chunk, or of the arena of unescaped values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    start: u32,
    end: u32,
}

const ARENA: u32 = 1 << 31;

impl Field {
    /// A field that FILLRECORD supplies.
    pub(crate) const MISSING: Field = Field { start: u32::MAX, end: u32::MAX };

    fn chunk(start: usize, end: usize) -> Field {
        Field { start: start as u32, end: end as u32 }
    }

    fn arena(start: usize, end: usize) -> Field {
        Field { start: start as u32, end: end as u32 | ARENA }
    }
}

/// Complete records of one chunk, `fields` per record.
#[derive(Debug, Default)]
pub(crate) struct Records {
    fields: Vec<Field>,
    /// The bytes of each record without its line end.
    spans: Vec<(u32, u32)>,
    /// Values that held escapes, unescaped.
    pub(crate) arena: Vec<u8>,
    /// Records of the wrong shape.
    pub(crate) faults: Vec<(u32, u32, Fault)>,
    width: usize,
}

impl Records {
    pub(crate) fn clear(&mut self, width: usize) {
        self.fields.clear();
        self.spans.clear();
        self.arena.clear();
        self.faults.clear();
        self.width = width;
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(crate) fn span(&self, row: usize) -> (usize, usize) {
        let (start, end) = self.spans[row];
        (start as usize, end as usize)
    }

    /// Where a value lies, or `None` when FILLRECORD supplies it.
    #[inline]
    pub(crate) fn place(&self, row: usize, column: usize) -> Place {
        let field = self.fields[row * self.width + column];
        if field == Field::MISSING {
            return Place::Missing;
        }
        let (start, end) = (field.start as usize, (field.end & !ARENA) as usize);
        if field.end & ARENA == 0 { Place::Chunk(start, end) } else { Place::Arena(start, end) }
    }
}

/// Where the bytes of a value are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Missing,
    Chunk(usize, usize),
    Arena(usize, usize),
}

/// The bounds of one call of [`Dialect::cut`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Where the first record begins.
    pub(crate) from: usize,
    /// No record is begun at or after this position.
    pub(crate) stop: usize,
    /// True when the data ends here, so that the last record needs no newline.
    pub(crate) last: bool,
    pub(crate) records_max: usize,
    /// Whether the first value of the first record is already inside quotes; only for trying
    /// out where a record begins.
    pub(crate) quoted: bool,
}

/// A record being cut.
struct Open {
    record: usize,
    field: usize,
    first_field: usize,
    fault: Option<Fault>,
    /// Escapes or doubled quotes seen in the current value.
    escaped: bool,
}

impl Open {
    fn at(position: usize, fields: usize) -> Open {
        Open { record: position, field: position, first_field: fields, fault: None, escaped: false }
    }
}

impl Dialect {
    fn needles(&self) -> Needles {
        match self.quoting {
            Quoting::Csv { quote } => Needles::new(&[self.delimiter, b'\n', quote]),
            Quoting::Text { escape: true, .. } => Needles::new(&[self.delimiter, b'\n', b'\\']),
            Quoting::Text { escape: false, .. } => Needles::new(&[self.delimiter, b'\n']),
        }
    }

    /// Appends complete records to `out` and returns where the next one begins.
    pub(crate) fn cut(&self, data: &[u8], window: Window, out: &mut Records) -> usize {
        out.width = self.fields;
        match self.quoting {
            Quoting::Csv { quote } => self.cut_csv(data, window, quote, out),
            Quoting::Text { escape, remove_quotes } => {
                self.cut_text(data, window, escape, remove_quotes, out)
            }
        }
    }

    fn cut_text(
        &self,
        data: &[u8],
        window: Window,
        escape: bool,
        remove_quotes: bool,
        out: &mut Records,
    ) -> usize {
        let mut open = Open::at(window.from, out.fields.len());
        // The byte after the last escape: it means itself whatever it is.
        let mut literal = usize::MAX;
        for hit in Hits::new(data, window.from, self.needles()) {
            if hit == literal {
                continue;
            }
            let byte = data[hit];
            if byte == b'\n' {
                let end = without_return(data, open.field, hit, literal);
                self.end_text_field(data, &mut open, end, remove_quotes, literal, true, out);
                let full = self.end_record(data, &open, hit, out);
                open = Open::at(hit + 1, out.fields.len());
                if full >= window.records_max || open.record >= window.stop {
                    return open.record;
                }
            } else if byte == self.delimiter {
                self.end_text_field(data, &mut open, hit, remove_quotes, literal, false, out);
            } else if escape {
                open.escaped = true;
                literal = hit + 1;
            }
        }
        if !window.last || open.record >= data.len() {
            return open.record;
        }
        let end = without_return(data, open.field, data.len(), literal);
        self.end_text_field(data, &mut open, end, remove_quotes, literal, true, out);
        self.end_record(data, &open, data.len(), out);
        data.len()
    }

    /// Ends a value of delimited text at `end`, unless a removable quote is still open there.
    #[expect(clippy::too_many_arguments, reason = "the state of one tokeniser, in registers")]
    #[inline]
    fn end_text_field(
        &self,
        data: &[u8],
        open: &mut Open,
        end: usize,
        remove_quotes: bool,
        literal: usize,
        line_end: bool,
        out: &mut Records,
    ) {
        let start = open.field;
        let (mut from, mut to) = (start, end);
        if remove_quotes && start < end && matches!(data[start], b'"' | b'\'') {
            let closed = end - start >= 2 && data[end - 1] == data[start] && literal != end - 1;
            if !closed && !line_end {
                // A delimiter between quotes belongs to the value.
                return;
            }
            if !closed {
                open.fault = Some(Fault::OpenQuote);
            }
            (from, to) = (start + 1, if closed { end - 1 } else { end });
        }
        if open.escaped && data[from..to] != *br"\N" {
            let at = out.arena.len();
            unescape(&data[from..to], b'\\', &mut out.arena);
            out.fields.push(Field::arena(at, out.arena.len()));
        } else {
            out.fields.push(Field::chunk(from, to));
        }
        open.escaped = false;
        open.field = end + 1;
    }

    fn cut_csv(&self, data: &[u8], window: Window, quote: u8, out: &mut Records) -> usize {
        let mut open = Open::at(window.from, out.fields.len());
        let mut state = if window.quoted { Csv::Quoted } else { Csv::Plain };
        for hit in Hits::new(data, window.from, self.needles()) {
            let byte = data[hit];
            if byte == quote {
                state = match state {
                    Csv::Plain if hit == open.field => Csv::Quoted,
                    Csv::Plain => {
                        open.fault.get_or_insert(Fault::CsvQuote);
                        Csv::Plain
                    }
                    Csv::Quoted => Csv::Closed(hit),
                    Csv::Closed(at) if hit == at + 1 => {
                        open.escaped = true;
                        Csv::Quoted
                    }
                    Csv::Closed(_) => {
                        open.fault.get_or_insert(Fault::CsvQuote);
                        state
                    }
                };
                continue;
            }
            if matches!(state, Csv::Quoted) {
                continue;
            }
            let line_end = byte == b'\n';
            end_csv_field(data, &mut open, hit, state, line_end, quote, out);
            state = Csv::Plain;
            if line_end {
                let full = self.end_record(data, &open, hit, out);
                open = Open::at(hit + 1, out.fields.len());
                if full >= window.records_max || open.record >= window.stop {
                    return open.record;
                }
            }
        }
        if !window.last || open.record >= data.len() {
            return open.record;
        }
        if matches!(state, Csv::Quoted) {
            open.fault.get_or_insert(Fault::OpenQuote);
        }
        end_csv_field(data, &mut open, data.len(), state, true, quote, out);
        self.end_record(data, &open, data.len(), out);
        data.len()
    }

    /// Checks the shape of a finished record. Returns the number of records so far, good
    /// and bad.
    #[inline]
    fn end_record(&self, data: &[u8], open: &Open, end: usize, out: &mut Records) -> usize {
        let found = out.fields.len() - open.first_field;
        let end_of_text = without_return(data, open.record, end, usize::MAX);
        let span = (open.record as u32, end_of_text as u32);
        let fault = match open.fault {
            Some(fault) => Some(fault),
            None if found == self.fields && (found > 1 || span.0 < span.1) => None,
            None => self.reshape(found, span, out),
        };
        match fault {
            None if out.fields.len() == open.first_field + self.fields => out.spans.push(span),
            None => out.fields.truncate(open.first_field),
            Some(fault) => {
                out.fields.truncate(open.first_field);
                out.faults.push((span.0, span.1, fault));
            }
        }
        out.spans.len() + out.faults.len()
    }

    /// Fills, drops or refuses a record that has not the expected number of fields. A blank
    /// line that is skipped leaves the record without fields.
    fn reshape(&self, found: usize, span: (u32, u32), out: &mut Records) -> Option<Fault> {
        let blank = span.0 == span.1;
        if blank && self.skip_blank {
            out.fields.truncate(out.fields.len() - found);
            return None;
        }
        if found == self.fields {
            return None;
        }
        if found == self.fields + 1 && self.trailing_delimiter(out) {
            out.fields.pop();
            return None;
        }
        if found > self.fields {
            return Some(Fault::ExtraColumns);
        }
        if self.fill {
            let missing = self.fields - found;
            out.fields.extend(std::iter::repeat_n(Field::MISSING, missing));
            return None;
        }
        Some(if blank { Fault::EmptyLine } else { Fault::MissingDelimiter })
    }

    /// Delimited text may end each line with a delimiter, as dbgen's files do.
    fn trailing_delimiter(&self, out: &Records) -> bool {
        let text = matches!(self.quoting, Quoting::Text { .. });
        text && out.fields.last().is_some_and(|f| f.start == f.end && f.end & ARENA == 0)
    }

    /// Where a record may begin at or after `from`, judged without what lies before `from`
    /// except the byte before it. `None` when `data` is too short to tell.
    ///
    /// Exact for delimited text. For CSV it is a judgement between "inside quotes" and "not
    /// inside quotes", which the leader verifies: the unit before must end exactly here.
    pub(crate) fn align(&self, data: &[u8], from: usize, last: bool) -> Option<usize> {
        match self.quoting {
            Quoting::Text { escape, .. } => {
                let mut at = from.saturating_sub(1);
                loop {
                    match super::scan::find(data, at, b'\n') {
                        Some(newline) if escape && escaped(data, newline) => at = newline + 1,
                        Some(newline) => return Some(newline + 1),
                        None => return last.then_some(data.len()),
                    }
                }
            }
            Quoting::Csv { .. } => self.align_csv(data, from, last),
        }
    }

    fn align_csv(&self, data: &[u8], from: usize, last: bool) -> Option<usize> {
        let from = from.saturating_sub(1);
        let judge = |quoted: bool| {
            let first = Dialect { fields: usize::MAX, ..*self };
            let window = Window { from, stop: data.len(), last: false, records_max: 1, quoted };
            let mut records = Records::default();
            let start = first.cut(data, window, &mut records);
            if start == from {
                return None;
            }
            records.clear(self.fields);
            let window =
                Window { from: start, stop: data.len(), last, records_max: 64, quoted: false };
            self.cut(data, window, &mut records);
            Some((start, records.len() as i64 - 4 * records.faults.len() as i64))
        };
        match (judge(false), judge(true)) {
            (Some(outside), Some(inside)) => {
                Some(if inside.1 > outside.1 { inside.0 } else { outside.0 })
            }
            (Some(one), None) | (None, Some(one)) => Some(one.0),
            (None, None) => last.then_some(data.len()),
        }
    }
}

/// Whether the byte at `at` is protected: an odd number of backslashes stands before it.
fn escaped(data: &[u8], at: usize) -> bool {
    data[..at].iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1
}

#[derive(Clone, Copy, Debug)]
enum Csv {
    /// In an unquoted value, or before one.
    Plain,
    Quoted,
    /// After a quote within a quoted value: its end, or the first of two.
    Closed(usize),
}

fn end_csv_field(
    data: &[u8],
    open: &mut Open,
    end: usize,
    state: Csv,
    line_end: bool,
    quote: u8,
    out: &mut Records,
) {
    let text_end = if line_end { without_return(data, open.field, end, usize::MAX) } else { end };
    let (from, to) = match state {
        Csv::Closed(at) => {
            if at + 1 != text_end {
                open.fault.get_or_insert(Fault::CsvQuote);
            }
            (open.field + 1, at.max(open.field + 1))
        }
        Csv::Plain | Csv::Quoted => (open.field, text_end),
    };
    if open.escaped {
        let at = out.arena.len();
        unescape(&data[from..to], quote, &mut out.arena);
        out.fields.push(Field::arena(at, out.arena.len()));
    } else {
        out.fields.push(Field::chunk(from, to));
    }
    open.escaped = false;
    open.field = end + 1;
}

/// The end of a line's text: a carriage return before the newline belongs to the line end.
#[inline]
fn without_return(data: &[u8], start: usize, end: usize, literal: usize) -> usize {
    let carriage = end > start && data[end - 1] == b'\r' && literal != end - 1;
    if carriage { end - 1 } else { end }
}

/// Drops each `mark` and keeps the byte after it; a mark at the very end stays.
fn unescape(value: &[u8], mark: u8, out: &mut Vec<u8>) {
    let mut i = 0;
    while i < value.len() {
        if value[i] == mark && i + 1 < value.len() {
            i += 1;
        }
        out.push(value[i]);
        i += 1;
    }
}

#[cfg(test)]
mod tests;
