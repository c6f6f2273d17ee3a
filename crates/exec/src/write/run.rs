//! Rows of one slice that are sorted together and become a segment, or a few.
//!
//! Only the columns of the key are compared; the rows themselves are gathered once, block by
//! block, straight into the encoder. Knows nothing of files.

use std::cmp::Ordering;

use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_ord::sort::{LexicographicalComparator, SortColumn, lexsort_to_indices, sort_to_indices};
use arrow_select::concat::concat;
use arrow_select::interleave::interleave_record_batch;
use datafusion::common::Result;

use super::spec::SortBy;
use crate::scan::SORT_OPTIONS;

/// Bits of each column's rank that an interleaved order uses.
const RANK_BITS: u32 = 16;

/// Rows that wait to be sorted.
#[derive(Default)]
pub(crate) struct Run {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

/// The order in which the rows of a run are written.
pub(crate) enum Order {
    /// As they came.
    Arrival,
    /// Batch and row of each.
    Sorted(Vec<(usize, usize)>),
}

impl Run {
    pub(crate) fn push(&mut self, batch: RecordBatch, bytes: usize) {
        self.rows += batch.num_rows();
        self.bytes += bytes;
        self.batches.push(batch);
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sorts the rows by `sort`.
    pub(crate) fn order(&self, sort: &SortBy) -> Result<Order> {
        let indices = match sort {
            SortBy::Arrival | SortBy::Sorted(_) => return Ok(Order::Arrival),
            SortBy::Compound(key) => {
                let columns = self.key(key)?;
                if is_sorted(&columns)? {
                    return Ok(Order::Arrival);
                }
                sorted(&columns)?
            }
            SortBy::Interleaved(key) => interleaved(&self.key(key)?)?,
        };
        let places: Vec<(usize, usize)> = self
            .batches
            .iter()
            .enumerate()
            .flat_map(|(batch, rows)| (0..rows.num_rows()).map(move |row| (batch, row)))
            .collect();
        let place = |row: &u32| places[*row as usize];
        Ok(Order::Sorted(indices.values().iter().map(place).collect()))
    }

    /// The columns of the key over all batches.
    fn key(&self, key: &[usize]) -> Result<Vec<ArrayRef>> {
        let whole = |column: &usize| {
            let parts: Vec<&dyn Array> =
                self.batches.iter().map(|batch| batch.column(*column).as_ref()).collect();
            Ok(concat(&parts)?)
        };
        key.iter().map(whole).collect()
    }

    /// The rows `from..from + count` of the order, at most.
    pub(crate) fn slice(&self, order: &Order, from: usize, count: usize) -> Result<RecordBatch> {
        match order {
            Order::Sorted(places) => {
                let batches: Vec<&RecordBatch> = self.batches.iter().collect();
                let to = (from + count).min(places.len());
                Ok(interleave_record_batch(&batches, &places[from..to])?)
            }
            Order::Arrival => {
                let mut before = 0;
                for batch in &self.batches {
                    if from < before + batch.num_rows() {
                        let at = from - before;
                        return Ok(batch.slice(at, count.min(batch.num_rows() - at)));
                    }
                    before += batch.num_rows();
                }
                Ok(RecordBatch::new_empty(self.batches[0].schema()))
            }
        }
    }
}

fn sort_columns(columns: &[ArrayRef]) -> Vec<SortColumn> {
    let column = |values: &ArrayRef| SortColumn {
        values: ArrayRef::clone(values),
        options: Some(SORT_OPTIONS),
    };
    columns.iter().map(column).collect()
}

fn is_sorted(columns: &[ArrayRef]) -> Result<bool> {
    let rows = columns.first().map_or(0, |column| column.len());
    let comparator = LexicographicalComparator::try_new(&sort_columns(columns))?;
    Ok((1..rows).all(|row| comparator.compare(row - 1, row) != Ordering::Greater))
}

fn sorted(columns: &[ArrayRef]) -> Result<UInt32Array> {
    Ok(match columns {
        [column] => sort_to_indices(column, Some(SORT_OPTIONS), None)?,
        columns => lexsort_to_indices(&sort_columns(columns), None)?,
    })
}

/// A Z-order over the ranks of the columns: each of them narrows blocks about equally.
fn interleaved(columns: &[ArrayRef]) -> Result<UInt32Array> {
    let rows = columns.first().map_or(0, |column| column.len());
    let mut codes = vec![0_u128; rows];
    let columns = &columns[..columns.len().min((u128::BITS / RANK_BITS) as usize)];
    for (place, column) in columns.iter().enumerate() {
        let order = sort_to_indices(column, Some(SORT_OPTIONS), None)?;
        let comparator =
            LexicographicalComparator::try_new(&sort_columns(std::slice::from_ref(column)))?;
        let mut rank = 0;
        for (at, row) in order.values().iter().enumerate() {
            // Equal values share a rank, else their order of arrival would scatter them.
            let before = at.checked_sub(1).and_then(|at| order.values().get(at));
            let equal = before.is_some_and(|before| {
                comparator.compare(*before as usize, *row as usize) == Ordering::Equal
            });
            if !equal {
                rank = ((at as u64) << RANK_BITS) / (rows.max(1) as u64);
            }
            for bit in 0..RANK_BITS {
                let set = u128::from((rank >> bit) & 1);
                codes[*row as usize] |= set << (bit as usize * columns.len() + place);
            }
        }
    }
    let mut indices: Vec<u32> = (0..rows as u32).collect();
    indices.sort_by_key(|row| codes[*row as usize]);
    Ok(UInt32Array::from(indices))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{Int64Array, StringViewArray};

    use super::*;

    fn run() -> Run {
        let batch = |numbers: Vec<Option<i64>>, texts: Vec<&str>| {
            let numbers: ArrayRef = Arc::new(Int64Array::from(numbers));
            let texts: ArrayRef = Arc::new(StringViewArray::from(texts));
            RecordBatch::try_from_iter_with_nullable([("n", numbers, true), ("t", texts, true)])
                .unwrap()
        };
        let mut run = Run::default();
        run.push(batch(vec![Some(3), None, Some(1)], vec!["c", "x", "a"]), 1);
        run.push(batch(vec![Some(2), Some(1)], vec!["b", "0"]), 1);
        run
    }

    fn numbers(run: &Run, sort: &SortBy) -> Vec<Option<i64>> {
        let order = run.order(sort).unwrap();
        let mut numbers = Vec::new();
        while numbers.len() < run.rows() {
            let batch = run.slice(&order, numbers.len(), 2).unwrap();
            numbers.extend(batch.column(0).as_primitive::<Int64Type>().iter());
        }
        numbers
    }

    #[test]
    fn rows_are_in_key_order_with_nulls_last() {
        let sorted = [Some(1), Some(1), Some(2), Some(3), None];
        assert_eq!(numbers(&run(), &SortBy::Compound(vec![0, 1])), sorted);
        assert_eq!(numbers(&run(), &SortBy::Compound(vec![0])), sorted);
        let arrival = [Some(3), None, Some(1), Some(2), Some(1)];
        assert_eq!(numbers(&run(), &SortBy::Arrival), arrival);
    }

    #[test]
    fn an_interleaved_order_narrows_both_columns() {
        let side = 64_i64;
        let values: Vec<(i64, i64)> =
            (0..side * side).map(|i| ((i * 7) % side, (i * 7) / side % side)).collect();
        let column = |of: fn(&(i64, i64)) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(values.iter().map(of)))
        };
        let columns = [column(|v| v.0), column(|v| v.1)];
        let order = interleaved(&columns).unwrap();
        for block in order.values().chunks(256) {
            for column in &columns {
                let of = |row: &u32| column.as_primitive::<Int64Type>().value(*row as usize);
                let (min, max) = (block.iter().map(of).min(), block.iter().map(of).max());
                assert!(max.unwrap() - min.unwrap() < side / 2);
            }
        }
    }
}
