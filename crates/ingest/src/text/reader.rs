//! Drives the tokeniser and the column parsers over a stream of bytes.
//!
//! Owns the chunk buffer, line numbers, the share of a file that one work unit reads and the
//! list of rejected rows. Blocking: it runs on a thread of its own, fed by a `Read`.

use std::io::Read;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use base::{Error, Result, error};

use super::columns::{self, CellFault, Cells, ColumnParser};
use super::records::{Records, Window};
use super::scan::count;
use super::{Fill, TextSpec};
use crate::reject::{Fault, Rejection, raw_text};

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;
/// What is looked at to find where a unit's first record begins.
const ALIGN_BYTES: usize = 1 << 17;
/// What is looked at before a unit: enough for any sane run of backslashes before a newline.
/// A longer run is seen when the units are found not to fit together.
const LOOK_BACK_BYTES: u64 = 256;
/// The longest record: Redshift's limit of 64 MB.
const RECORD_BYTES_MAX: usize = 64 << 20;
/// Rejected rows of one unit that are kept in full; all are counted.
const REJECTIONS_KEPT_MAX: usize = 1_000;

/// The part of an uncompressed file that a unit owns: the records that begin in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitRange {
    pub start: u64,
    /// `u64::MAX` reads to the end of the file.
    pub end: u64,
}

impl UnitRange {
    pub const WHOLE: UnitRange = UnitRange { start: 0, end: u64::MAX };

    /// The first byte that the reader must be given: a little before the unit, so that a
    /// record that begins exactly at its start is recognised, and whether its newline is
    /// escaped.
    pub fn read_from(self) -> u64 {
        self.start.saturating_sub(LOOK_BACK_BYTES)
    }
}

/// What a unit gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Where its first record begins in the file.
    pub first_record: u64,
    /// Where the first record of the next unit must begin.
    pub next_record: u64,
    /// Lines read, headers and rejected rows included.
    pub lines: u64,
    pub rows: u64,
    /// Values in which ACCEPTINVCHARS had to replace bytes are not counted here; rows dropped.
    pub rejected: u64,
    /// The first [`REJECTIONS_KEPT_MAX`] of them.
    pub rejections: Vec<Rejection>,
    /// True when reading stopped because too many rows were rejected.
    pub stopped: bool,
}

/// Reads the units of one partition, one after the other.
pub struct TextReader {
    spec: Arc<TextSpec>,
    schema: SchemaRef,
    records: Records,
    chunk: Vec<u8>,
    /// Rows rejected in this partition's units before.
    rejected_before: u64,
}

/// Where the reader stands in a unit.
struct Stand {
    unit: u32,
    range: UnitRange,
    /// File offset of `chunk[0]`.
    base: u64,
    /// Next byte of the chunk to be cut.
    at: usize,
    /// The input has ended.
    ended: bool,
    skip_lines: u64,
    outcome: Outcome,
}

impl Stand {
    /// The position in the chunk at which no further record begins.
    fn stop(&self) -> usize {
        usize::try_from(self.range.end.saturating_sub(self.base)).unwrap_or(usize::MAX)
    }
}

impl TextReader {
    pub fn new(spec: Arc<TextSpec>, schema: SchemaRef) -> Self {
        let records = Records::default();
        Self { spec, schema, records, chunk: Vec::new(), rejected_before: 0 }
    }

    /// Reads one unit. `input` starts at [`UnitRange::read_from`]; it is read past the unit's
    /// end only as far as the unit's last record goes. `emit` takes the batches and returns
    /// false when nobody wants more.
    ///
    /// # Errors
    /// What `input` and `emit` fail with, and 54000 for a record over 64 MB. A bad row is no
    /// error: it is in the outcome.
    pub fn read_unit(
        &mut self,
        unit: u32,
        range: UnitRange,
        input: &mut dyn Read,
        emit: &mut dyn FnMut(RecordBatch) -> Result<bool>,
    ) -> Result<Outcome> {
        self.chunk.clear();
        let mut stand = Stand {
            unit,
            range,
            base: range.read_from(),
            at: 0,
            ended: false,
            skip_lines: if range.start == 0 { self.spec.skip_lines } else { 0 },
            outcome: Outcome::default(),
        };
        self.find_start(&mut stand, input)?;
        stand.outcome.first_record = stand.base + stand.at as u64;
        while stand.at < stand.stop() {
            let window = Window {
                from: stand.at,
                stop: stand.stop(),
                last: stand.ended,
                records_max: self.spec.batch_rows.max(1),
                quoted: false,
            };
            self.records.clear(self.spec.dialect.fields);
            let skipped = self.skip_line(&mut stand, window);
            let next = match skipped {
                Some(next) => next,
                None => self.spec.dialect.cut(&self.chunk, window, &mut self.records),
            };
            if next == stand.at {
                if stand.ended {
                    break;
                }
                self.fill(&mut stand, input)?;
                continue;
            }
            let go_on = skipped.is_some() || self.emit_batch(&mut stand, next, emit)?;
            stand.outcome.lines += self.lines_between(&stand, next);
            stand.at = next;
            if !go_on {
                break;
            }
        }
        stand.outcome.next_record = stand.base + stand.at as u64;
        self.rejected_before += stand.outcome.rejected;
        Ok(stand.outcome)
    }

    /// Newlines in the part just cut; a last line without one counts too.
    fn lines_between(&self, stand: &Stand, next: usize) -> u64 {
        let part = &self.chunk[stand.at..next];
        count(part, b'\n') + u64::from(part.last().is_some_and(|byte| *byte != b'\n'))
    }

    /// Moves to the first record of the unit; at the start of a file past a byte order mark.
    fn find_start(&mut self, stand: &mut Stand, input: &mut dyn Read) -> Result<()> {
        while self.chunk.len() < ALIGN_BYTES && !stand.ended {
            self.fill(stand, input)?;
        }
        if stand.range.start == 0 {
            stand.at = if self.chunk.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            return Ok(());
        }
        loop {
            if let Some(at) = self.align(stand) {
                stand.at = at;
                return Ok(());
            }
            if self.chunk.len() > RECORD_BYTES_MAX {
                return Err(record_too_long());
            }
            self.fill(stand, input)?;
        }
    }

    fn align(&self, stand: &Stand) -> Option<usize> {
        let start = usize::try_from(stand.range.start - stand.base).ok()?;
        self.spec.dialect.align(&self.chunk, start, stand.ended)
    }

    /// Reads more, after moving what is left of the chunk to its front.
    fn fill(&mut self, stand: &mut Stand, input: &mut dyn Read) -> Result<()> {
        if stand.at > 0 {
            self.chunk.drain(..stand.at);
            stand.base += stand.at as u64;
            stand.at = 0;
        }
        if self.chunk.len() > RECORD_BYTES_MAX {
            return Err(record_too_long());
        }
        let old = self.chunk.len();
        // A record longer than the chunk doubles it, so that cutting again stays linear.
        let more = READ_BYTES.max(old);
        let read = input.take(more as u64).read_to_end(&mut self.chunk).map_err(read_error)?;
        stand.ended = read < more;
        Ok(())
    }

    /// Skips one header line, if some are left to skip.
    fn skip_line(&self, stand: &mut Stand, window: Window) -> Option<usize> {
        if stand.skip_lines == 0 {
            return None;
        }
        let newline = super::scan::find(&self.chunk, window.from, b'\n');
        let next = match newline {
            Some(at) => at + 1,
            None if window.last => self.chunk.len(),
            None => return Some(window.from),
        };
        stand.skip_lines -= 1;
        Some(next)
    }

    /// Turns the records just cut into a batch. Returns false when reading must stop.
    fn emit_batch(
        &self,
        stand: &mut Stand,
        next: usize,
        emit: &mut dyn FnMut(RecordBatch) -> Result<bool>,
    ) -> Result<bool> {
        let spec = Arc::clone(&self.spec);
        let cells = Cells::new(&self.records, &self.chunk, stand.at, next);
        let mut faults = Vec::new();
        let mut arrays = Vec::with_capacity(spec.targets.len());
        for (column, target) in spec.targets.iter().enumerate() {
            let Fill::Field(field) = target.fill else {
                arrays.push(None);
                continue;
            };
            let conversion = &spec.conversion;
            let faults = &mut faults;
            let parser = ColumnParser { cells: &cells, conversion, target, column, field, faults };
            arrays.push(Some(parser.parse()?));
        }
        if !faults.is_empty() || !self.records.faults.is_empty() {
            columns::first_per_row(&mut faults);
            self.reject(stand, &cells, &faults);
        }
        let rows = self.records.len();
        let kept = rows - faults.len();
        let batch = self.batch(&spec, arrays, rows, &faults)?;
        stand.outcome.rows += kept as u64;
        let rejected = self.rejected_before + stand.outcome.rejected;
        stand.outcome.stopped = rejected >= spec.rejections_max;
        if stand.outcome.stopped {
            return Ok(false);
        }
        if kept == 0 { Ok(true) } else { emit(batch) }
    }

    fn batch(
        &self,
        spec: &TextSpec,
        arrays: Vec<Option<ArrayRef>>,
        rows: usize,
        faults: &[CellFault],
    ) -> Result<RecordBatch> {
        let kept = rows - faults.len();
        let mask = (kept < rows).then(|| columns::keep_mask(rows, faults));
        let finish =
            |(array, target): (Option<ArrayRef>, &super::Target)| match (array, &target.fill) {
                (Some(array), _) => match &mask {
                    Some(mask) => arrow_select::filter::filter(&array, mask).map_err(arrow_error),
                    None => Ok(array),
                },
                (None, Fill::Constant(value)) => columns::repeat(value, kept),
                (None, Fill::Field(_)) => Err(Error::internal("a column was not parsed")),
            };
        let arrays: Result<Vec<ArrayRef>> =
            arrays.into_iter().zip(&spec.targets).map(finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(kept));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays?, &options)
            .map_err(arrow_error)
    }

    /// Counts rejected rows and keeps the first of them, in file order.
    fn reject(&self, stand: &mut Stand, cells: &Cells<'_>, faults: &[CellFault]) {
        let mut all: Vec<(usize, usize, Option<CellFault>, Fault)> = faults
            .iter()
            .map(|cell| {
                let (start, end) = self.records.span(cell.row);
                (start, end, Some(*cell), cell.fault)
            })
            .collect();
        all.extend(
            self.records.faults.iter().map(|(s, e, f)| (*s as usize, *e as usize, None, *f)),
        );
        all.sort_by_key(|(start, ..)| *start);
        stand.outcome.rejected += all.len() as u64;
        let room = REJECTIONS_KEPT_MAX.saturating_sub(stand.outcome.rejections.len());
        for (start, end, cell, fault) in all.into_iter().take(room) {
            let line = stand.outcome.lines + count(&self.chunk[stand.at..start], b'\n');
            let rejection = self.describe(stand, cells, (start, end), line, cell, fault);
            stand.outcome.rejections.push(rejection);
        }
    }

    fn describe(
        &self,
        stand: &Stand,
        cells: &Cells<'_>,
        (start, end): (usize, usize),
        line: u64,
        cell: Option<CellFault>,
        fault: Fault,
    ) -> Rejection {
        let target = cell.map(|cell| &self.spec.targets[cell.column]);
        let value = match (cell, target.map(|target| &target.fill)) {
            (Some(cell), Some(Fill::Field(field))) => {
                cells.bytes(cell.row, *field).unwrap_or_default()
            }
            _ => &[],
        };
        let sql_type = target.map(|target| target.sql_type);
        let format = sql_type.map_or("", |t| self.spec.conversion.format_text(t));
        Rejection {
            unit: stand.unit,
            line,
            offset: stand.base + start as u64,
            column: cell.and_then(|cell| u32::try_from(cell.column).ok()),
            position: fault.position(),
            raw_line: raw_text(&self.chunk[start..end]),
            raw_field: raw_text(value),
            code: fault.code(),
            reason: fault.reason(value, sql_type, format),
        }
    }
}

fn arrow_error(error: arrow_schema::ArrowError) -> Error {
    Error::internal(format!("could not build a batch: {error}"))
}

fn record_too_long() -> Error {
    error!(ProgramLimitExceeded, "input row is longer than {} MB", RECORD_BYTES_MAX >> 20)
        .hint("A missing closing quote can make many lines one row.")
}

/// An input made by `unit_input` carries the real error inside.
fn read_error(failed: std::io::Error) -> Error {
    match failed.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => error.clone(),
        None => error!(BadCopyFileFormat, "could not read the input: {failed}"),
    }
}

#[cfg(test)]
mod tests;
