//! One block of rows on its way out: residual filters, then late materialisation.
//!
//! Owns the choice between decoding a range and decoding selected rows. Columns that no filter
//! needs are decoded only where rows survive.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use arrow_select::filter::FilterBuilder;
use base::SqlType;
use columnar::{Block, Selection};
use datafusion::common::{Result, ScalarValue, internal_datafusion_err, internal_err};

use super::compiled::{Compiled, Residual};
use super::dynamic::Dynamic;
use super::fetch::Planned;
use super::metrics::ScanMetrics;
use crate::error::into_datafusion;

/// Below one selected row in so many, rows are picked out instead of decoded and filtered.
const SPARSE: usize = 8;

/// Text of more distinct values than this is decoded a block at a time: each decoding begins
/// with its dictionary.
const DISTINCT_TEXTS_MAX: u32 = 256;

/// One column of a block of rows that is not decoded.
pub(crate) enum BlockColumn {
    Block(Arc<Block>),
    /// The segment is older than the column, which has this value everywhere.
    Fill(ScalarValue),
}

/// A block of rows that passed every filter, not decoded.
pub(crate) struct BlockRows {
    pub(crate) rows: usize,
    /// The rows that passed, `None` when all did.
    pub(crate) selection: Option<Selection>,
    /// The columns that the scan gives out.
    pub(crate) columns: Vec<BlockColumn>,
}

impl BlockRows {
    /// How many rows passed.
    pub(crate) fn selected(&self) -> usize {
        self.selection.as_ref().map_or(self.rows, Selection::count)
    }
}

/// A block of rows that passed the predicates on encoded data.
pub(super) struct Active {
    rows: usize,
    /// The address of the first row.
    address: i64,
    columns: Vec<Option<Arc<Block>>>,
    /// By column, when it is decoded a block at a time: all of its selected rows.
    whole: Vec<Option<ArrayRef>>,
    /// The selected rows and their bits, `None` when every row is selected.
    bits: Option<(Selection, BooleanBuffer)>,
    survivors: usize,
    at: usize,
    /// Selected rows before `at`.
    before: usize,
}

/// Some rows of a block.
enum Part {
    /// Neighbouring rows.
    Range(Range<usize>),
    /// Of neighbouring rows those that a mask keeps. `before` counts the block's selected rows
    /// before them, as long as the mask is the block's own selection.
    Masked { range: Range<usize>, mask: BooleanBuffer, rows: usize, before: Option<usize> },
    /// Rows picked out of the whole block.
    Picked { selection: Selection, rows: usize },
}

impl Part {
    fn rows(&self) -> usize {
        match self {
            Part::Range(range) => range.len(),
            Part::Masked { rows, .. } | Part::Picked { rows, .. } => *rows,
        }
    }

    fn masked(
        range: Range<usize>,
        mask: BooleanBuffer,
        block_rows: usize,
        before: Option<usize>,
    ) -> Part {
        let rows = mask.count_set_bits();
        if rows == range.len() && before.is_none() {
            return Part::Range(range);
        }
        if rows * SPARSE <= range.len() {
            return Part::Picked { selection: selected(&range, &mask, block_rows), rows };
        }
        Part::Masked { range, mask, rows, before }
    }

    /// The rows of this part that `hits` keeps.
    fn refined(self, hits: &BooleanBuffer, block_rows: usize) -> Part {
        match self {
            Part::Range(range) => Part::masked(range, hits.clone(), block_rows, None),
            Part::Masked { range, mask, .. } => {
                Part::masked(range, scattered(&mask, hits), block_rows, None)
            }
            Part::Picked { selection, .. } => {
                let bits = scattered(&selection.to_boolean_buffer(), hits);
                Part::Picked { selection: Selection::from_bits(&bits), rows: hits.count_set_bits() }
            }
        }
    }
}

/// The rows of a block that `mask` keeps of `range`.
fn selected(range: &Range<usize>, mask: &BooleanBuffer, block_rows: usize) -> Selection {
    let mut bits = BooleanBufferBuilder::new(block_rows);
    bits.append_n(range.start, false);
    bits.append_buffer(mask);
    bits.append_n(block_rows.saturating_sub(range.end), false);
    Selection::from_bits(&bits.finish())
}

/// The set bits of `base` that are also set in `hits`, which has a bit for each of them.
fn scattered(base: &BooleanBuffer, hits: &BooleanBuffer) -> BooleanBuffer {
    let mut words = vec![0_u64; base.len().div_ceil(64)];
    for (rank, row) in base.set_indices().enumerate() {
        // Branch-free: whether a row passes is not to be predicted.
        words[row / 64] |= u64::from(hits.value(rank)) << (row % 64);
    }
    BooleanBuffer::new(words.into(), 0, base.len())
}

impl Active {
    pub(super) fn new(planned: Planned, selection: Option<Selection>) -> Active {
        let survivors = selection.as_ref().map_or(planned.rows, Selection::count);
        let bits = selection.filter(|_| survivors < planned.rows).map(|selection| {
            let bits = selection.to_boolean_buffer();
            (selection, bits)
        });
        let whole = vec![None; planned.columns.len()];
        let Planned { rows, address, columns, .. } = planned;
        Active { rows, address, columns, whole, bits, survivors, at: 0, before: 0 }
    }

    /// The next rows that satisfy every filter, `None` at the block's end.
    pub(super) fn next(
        &mut self,
        compiled: &Compiled,
        dynamic: &mut Dynamic,
        metrics: &ScanMetrics,
    ) -> Result<Option<RecordBatch>> {
        while let Some(part) = self.next_part(compiled.batch_rows) {
            let mut decoded: Vec<Option<ArrayRef>> = vec![None; compiled.spec.columns.len()];
            let Some(part) = self.filtered(part, &mut decoded, compiled, dynamic, metrics)? else {
                continue;
            };
            let _timer = metrics.decode_time.timer();
            let mut columns = Vec::with_capacity(compiled.projection.len());
            for at in &compiled.projection {
                columns.push(match decoded[*at].take() {
                    Some(array) => array,
                    None => self.decode(*at, &part, compiled)?,
                });
            }
            let options = RecordBatchOptions::new().with_row_count(Some(part.rows()));
            let schema = Arc::clone(&compiled.schema);
            return Ok(Some(RecordBatch::try_new_with_options(schema, columns, &options)?));
        }
        Ok(None)
    }

    fn next_part(&mut self, batch_rows: usize) -> Option<Part> {
        while self.at < self.rows {
            let Some((selection, bits)) = &self.bits else {
                let range = self.at..(self.at + batch_rows).min(self.rows);
                self.at = range.end;
                return Some(Part::Range(range));
            };
            if self.at == 0 && self.survivors <= batch_rows && self.survivors * SPARSE <= self.rows
            {
                self.at = self.rows;
                let selection = selection.clone();
                return Some(Part::Picked { selection, rows: self.survivors });
            }
            let range = self.at..(self.at + batch_rows).min(self.rows);
            self.at = range.end;
            let mask = bits.slice(range.start, range.len());
            let rows = mask.count_set_bits();
            if rows > 0 {
                let before = Some(self.before);
                self.before += rows;
                return Some(Part::masked(range, mask, self.rows, before));
            }
        }
        None
    }

    /// The rows of `part` that pass the residual filters, with the columns decoded for them.
    fn filtered(
        &mut self,
        mut part: Part,
        decoded: &mut [Option<ArrayRef>],
        compiled: &Compiled,
        dynamic: &mut Dynamic,
        metrics: &ScanMetrics,
    ) -> Result<Option<Part>> {
        if compiled.residual.is_empty() && dynamic.residual.is_empty() {
            return Ok(Some(part));
        }
        let _timer = metrics.filter_time.timer();
        for residual in &compiled.residual {
            part = self.passed(part, residual, decoded, compiled)?;
            if part.rows() == 0 {
                return Ok(None);
            }
        }
        for hint in &mut dynamic.residual {
            let fetched = |at: &usize| self.columns[*at].is_some();
            if !hint.pays() || !hint.filter.columns.iter().all(fetched) {
                continue;
            }
            let tested = part.rows();
            part = self.passed(part, &hint.filter, decoded, compiled)?;
            hint.count(tested, part.rows());
            if part.rows() == 0 {
                return Ok(None);
            }
        }
        Ok(Some(part))
    }

    fn passed(
        &mut self,
        part: Part,
        residual: &Residual,
        decoded: &mut [Option<ArrayRef>],
        compiled: &Compiled,
    ) -> Result<Part> {
        let mut columns = Vec::with_capacity(residual.columns.len());
        for at in &residual.columns {
            let array = match &decoded[*at] {
                Some(array) => Arc::clone(array),
                None => self.decode(*at, &part, compiled)?,
            };
            decoded[*at] = Some(Arc::clone(&array));
            columns.push(array);
        }
        let hits = residual.evaluate(columns, part.rows())?;
        if hits.true_count() == part.rows() {
            return Ok(part);
        }
        let filter = FilterBuilder::new(&hits).optimize().build();
        for array in decoded.iter_mut().flatten() {
            *array = filter.filter(array)?;
        }
        Ok(part.refined(hits.values(), self.rows))
    }

    /// The addresses of the rows of `part`.
    fn addresses(&self, part: &Part) -> ArrayRef {
        let address = |row: usize| self.address + row as i64;
        Arc::new(match part {
            Part::Range(range) => Int64Array::from_iter_values(range.clone().map(address)),
            Part::Masked { range, mask, .. } => {
                let rows = mask.set_indices().map(|row| address(range.start + row));
                Int64Array::from_iter_values(rows)
            }
            Part::Picked { selection, .. } => {
                Int64Array::from_iter_values(selection.runs().flatten().map(address))
            }
        })
    }

    fn decode(&mut self, at: usize, part: &Part, compiled: &Compiled) -> Result<ArrayRef> {
        if compiled.address == Some(at) {
            return Ok(self.addresses(part));
        }
        let Some(block) = &self.columns[at] else {
            return compiled.fills[at].to_array_of_size(part.rows());
        };
        if block.rows() != self.rows {
            return Err(internal_datafusion_err!(
                "blocks of {} differ in their rows",
                compiled.spec.name
            ));
        }
        let whole = decodes_whole(block);
        let decoded = match part {
            Part::Picked { selection, .. } => block.decode_selected(selection),
            Part::Range(range) if range.len() == self.rows || !whole => {
                block.decode_range(range.clone())
            }
            Part::Range(range) => return self.slice(at, range.start, range.len()),
            Part::Masked { before: Some(before), rows, .. } if whole => {
                return self.slice(at, *before, *rows);
            }
            Part::Masked { range, mask, .. } => {
                block.decode_selected(&selected(range, mask, self.rows))
            }
        };
        decoded.map_err(into_datafusion)
    }

    /// Neighbours among the selected rows of a column that is decoded a block at a time.
    fn slice(&mut self, at: usize, from: usize, rows: usize) -> Result<ArrayRef> {
        if self.whole[at].is_none()
            && let Some(block) = &self.columns[at]
        {
            let decoded = match &self.bits {
                Some((selection, _)) => block.decode_selected(selection),
                None => block.decode(),
            };
            self.whole[at] = Some(decoded.map_err(into_datafusion)?);
        }
        match &self.whole[at] {
            Some(whole) if from + rows <= whole.len() => Ok(whole.slice(from, rows)),
            _ => internal_err!("rows {from} to {} of a column are not there", from + rows),
        }
    }
}

/// True for a block that is cheaper to decode at once than in pieces: its runs or its dictionary
/// are unpacked for each piece again. DECIMAL is left in pieces, which stay in the CPU's cache.
fn decodes_whole(block: &Block) -> bool {
    match block.sql_type() {
        SqlType::Decimal { .. } | SqlType::Boolean => false,
        SqlType::Char(_) | SqlType::Varchar(_) | SqlType::Varbyte(_) => {
            block.zone().distinct > DISTINCT_TEXTS_MAX
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattering_keeps_the_hits_in_their_places() {
        let base = BooleanBuffer::from_iter((0..200).map(|row| row % 3 == 0));
        let hits = BooleanBuffer::from_iter((0..67).map(|rank| rank % 2 == 0));
        let bits = scattered(&base, &hits);
        for row in 0..200 {
            assert_eq!(bits.value(row), row % 6 == 0, "{row}");
        }
    }

    #[test]
    fn refining_goes_from_range_to_mask_to_picked_rows() {
        let part = Part::Range(100..200);
        let half = BooleanBuffer::from_iter((0..100).map(|row| row % 2 == 0));
        let part = part.refined(&half, 1_000);
        assert!(matches!(part, Part::Masked { rows: 50, .. }));
        let few = BooleanBuffer::from_iter((0..50).map(|rank| rank == 7));
        let part = part.refined(&few, 1_000);
        let Part::Picked { selection, rows: 1 } = &part else {
            panic!("one row of a hundred is picked");
        };
        assert!(selection.runs().eq(std::iter::once(114..115)));
    }
}
