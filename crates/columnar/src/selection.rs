//! A bitmap over a block's rows: which rows still qualify.
//!
//! Knows nothing of columns or predicates.

use std::ops::Range;

use arrow_buffer::{BooleanBuffer, Buffer};
use base::proven;

use crate::VECTOR_ROWS;

/// Words of one vector in the bitmap.
const VECTOR_WORDS: usize = VECTOR_ROWS / 64;
/// Of 64 rows fewer than so many are picked one by one.
const SPARSE_MAX: u32 = 16;
/// From so many selected rows of 64 on, the runs between the others are copied.
const DENSE_MIN: u32 = 50;
/// Values that are copied at once, and how far values lie behind where those kept of them go.
pub(crate) const LEAD: usize = 16;
const BEHIND: &str = "a whole chunk lies behind each row and what is kept";

/// Rows of one block, numbered from 0, that are still selected.
///
/// Bits past the last row are always clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    words: Vec<u64>,
    rows: usize,
}

impl Selection {
    /// Every one of `rows` rows.
    pub fn all(rows: usize) -> Selection {
        let mut selection = Selection { words: vec![u64::MAX; rows.div_ceil(64)], rows };
        selection.clear_past_end();
        selection
    }

    /// None of `rows` rows.
    pub fn none(rows: usize) -> Selection {
        Selection { words: vec![0; rows.div_ceil(64)], rows }
    }

    /// The rows whose bit is set.
    pub fn from_bits(bits: &BooleanBuffer) -> Selection {
        let mut selection = Selection::all(bits.len());
        selection.and_bits(bits);
        selection
    }

    /// The number of rows that the bitmap covers.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// The number of selected rows.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// True when no row is selected.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// True when every row is selected.
    pub fn is_full(&self) -> bool {
        self.count() == self.rows
    }

    /// True when `row` is selected; false outside the block.
    pub fn contains(&self, row: usize) -> bool {
        self.words.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Selects nothing.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Unselects `row`; nothing happens outside of the block.
    #[inline]
    pub fn clear_row(&mut self, row: usize) {
        if let Some(word) = self.words.get_mut(row / 64) {
            *word &= !(1 << (row % 64));
        }
    }

    /// Unselects the rows of `rows`, as far as they lie in the block.
    pub fn clear_range(&mut self, rows: Range<usize>) {
        let end = rows.end.min(self.rows);
        let mut row = rows.start;
        while row < end {
            let upto = (row / 64 * 64 + 64).min(end);
            let ones = u64::MAX >> (64 - (upto - row));
            self.words[row / 64] &= !(ones << (row % 64));
            row = upto;
        }
    }

    /// Keeps the rows that are also set in `bits`, which has one bit a row; missing bits count
    /// as clear.
    pub fn and_bits(&mut self, bits: &BooleanBuffer) {
        let chunks = bits.bit_chunks();
        let mut other = chunks.iter().chain(std::iter::once(chunks.remainder_bits()));
        for word in &mut self.words {
            *word &= other.next().unwrap_or(0);
        }
    }

    /// Keeps the rows that are also in `other`, a selection of the same block.
    pub fn and(&mut self, other: &Selection) {
        for (i, word) in self.words.iter_mut().enumerate() {
            *word &= other.words.get(i).copied().unwrap_or(0);
        }
    }

    /// Adds the rows of `other`, a selection of the same block.
    pub fn or(&mut self, other: &Selection) {
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
        self.clear_past_end();
    }

    /// Keeps the rows that are not set in `bits`.
    pub(crate) fn and_not_bits(&mut self, bits: &BooleanBuffer) {
        let chunks = bits.bit_chunks();
        let mut other = chunks.iter().chain(std::iter::once(chunks.remainder_bits()));
        for word in &mut self.words {
            *word &= !other.next().unwrap_or(0);
        }
    }

    /// Clears the rows whose bit is set in `words`, where the bit of the first row is number
    /// `first`; missing bits count as clear.
    pub fn clear_bits(&mut self, words: &[u64], first: usize) {
        let word = |at: usize| words.get(at).copied().unwrap_or(0);
        let (start, shift) = (first / 64, first % 64);
        for (i, kept) in self.words.iter_mut().enumerate() {
            let mut gone = word(start + i) >> shift;
            if shift > 0 {
                gone |= word(start + i + 1) << (64 - shift);
            }
            *kept &= !gone;
        }
    }

    /// The bitmap as Arrow has it.
    pub fn to_boolean_buffer(&self) -> BooleanBuffer {
        BooleanBuffer::new(Buffer::from_vec(self.words.clone()), 0, self.rows)
    }

    /// The selected rows as maximal ranges, in order.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = self.next_bit(at, true)?;
            let end = self.next_bit(start, false).unwrap_or(self.rows);
            at = end;
            Some(start..end)
        })
    }

    /// The first row from `from` on whose bit is `set`.
    fn next_bit(&self, from: usize, set: bool) -> Option<usize> {
        let flip = if set { 0 } else { u64::MAX };
        let mut index = from / 64;
        let mut word = (self.words.get(index)? ^ flip) & (u64::MAX << (from % 64));
        while word == 0 {
            index += 1;
            word = self.words.get(index)? ^ flip;
        }
        let row = index * 64 + word.trailing_zeros() as usize;
        (row < self.rows).then_some(row)
    }

    /// The number of selected rows in vector `vector`.
    pub fn count_vector(&self, vector: usize) -> usize {
        self.vector_words(vector).iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(crate) fn vector_is_empty(&self, vector: usize) -> bool {
        self.vector_words(vector).iter().all(|word| *word == 0)
    }

    fn vector_words(&self, vector: usize) -> &[u64] {
        let from = (vector * VECTOR_WORDS).min(self.words.len());
        &self.words[from..(from + VECTOR_WORDS).min(self.words.len())]
    }

    /// Moves those of the values of `vector` whose rows are selected to the front of `values`,
    /// where they begin at [`LEAD`]; gives how many. Behind the last one is room for another
    /// `LEAD`.
    #[inline]
    pub(crate) fn compress_vector<T: Copy>(&self, vector: usize, values: &mut [T]) -> usize {
        let mut n = 0;
        for (i, word) in self.vector_words(vector).iter().enumerate() {
            let at = LEAD + i * 64;
            let count = word.count_ones();
            match values.get(at..).and_then(|rest| rest.first_chunk::<64>()) {
                _ if count == 0 => {}
                Some(_) if count == 64 => {
                    values.copy_within(at..at + 64, n);
                    n += 64;
                }
                Some(_) if count >= DENSE_MIN && at + 64 + LEAD <= values.len() => {
                    n = move_runs(!*word, values, at, n);
                }
                Some(some) if count >= SPARSE_MAX => {
                    // Each value is stored and the next one lies over it unless it is kept: which
                    // rows are selected is not to be predicted. Read before others are written.
                    let some = *some;
                    let kept = &mut values[n..at + 64];
                    let mut len = 0;
                    for (row, value) in some.iter().enumerate() {
                        kept[len] = *value;
                        len += (word >> row & 1) as usize;
                    }
                    n += len;
                }
                _ => {
                    let mut word = *word;
                    while word != 0 {
                        values[n] = values[at + word.trailing_zeros() as usize];
                        n += 1;
                        word &= word - 1;
                    }
                }
            }
        }
        n
    }

    /// Calls `row` with each selected row of `vector`, counted from the vector's first row.
    #[inline]
    pub fn each_in_vector(&self, vector: usize, mut row: impl FnMut(usize)) {
        for (i, word) in self.vector_words(vector).iter().enumerate() {
            let mut word = *word;
            while word != 0 {
                row(i * 64 + word.trailing_zeros() as usize);
                word &= word - 1;
            }
        }
    }

    /// Keeps row `i` of `vector` only where `hits[i]` is 1; every hit is 0 or 1.
    pub(crate) fn and_hits(&mut self, vector: usize, hits: &[u8; VECTOR_ROWS]) {
        let from = (vector * VECTOR_WORDS).min(self.words.len());
        let to = (from + VECTOR_WORDS).min(self.words.len());
        for (word, hits) in self.words[from..to].iter_mut().zip(hits.chunks_exact(64)) {
            let mut bits = 0;
            for (i, eight) in hits.chunks_exact(8).enumerate() {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(eight);
                // The multiplication gathers the lowest bit of each byte into the top byte.
                let gathered = u64::from_le_bytes(bytes).wrapping_mul(0x0102_0408_1020_4080) >> 56;
                bits |= gathered << (i * 8);
            }
            *word &= bits;
        }
    }

    fn clear_past_end(&mut self) {
        if !self.rows.is_multiple_of(64)
            && let Some(last) = self.words.last_mut()
        {
            *last &= u64::MAX >> (64 - self.rows % 64);
        }
    }
}

/// Moves the values of 64 rows from `at` on that lie between those of `gaps` to `n`, at least
/// [`LEAD`] before them: what is moved beyond a run's end lies over nothing still to be read.
/// Gives where they end.
#[inline]
fn move_runs<T: Copy>(mut gaps: u64, values: &mut [T], at: usize, mut n: usize) -> usize {
    let mut from = 0;
    loop {
        let to = gaps.trailing_zeros() as usize;
        while from < to {
            // More than the run has, which costs less than to look. Read out of the option, not
            // with it: the copy then stays in registers.
            let some = *proven(values[at + from..].first_chunk::<LEAD>(), BEHIND);
            *proven(values[n..].first_chunk_mut::<LEAD>(), BEHIND) = some;
            let len = (to - from).min(LEAD);
            n += len;
            from += len;
        }
        if to == 64 {
            return n;
        }
        from = to + 1;
        gaps &= gaps - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_maximal_and_in_order() {
        let mut selection = Selection::all(200);
        selection.clear_range(0..3);
        selection.clear_range(60..130);
        selection.clear_range(199..500);
        assert_eq!(selection.runs().collect::<Vec<_>>(), [3..60, 130..199]);
        assert_eq!(selection.count(), 57 + 69);
        assert_eq!(Selection::from_bits(&selection.to_boolean_buffer()), selection);
        assert!(Selection::none(65).runs().next().is_none());
        assert_eq!(Selection::all(65).runs().collect::<Vec<_>>(), vec![0..65; 1]);
        assert_eq!(Selection::all(0).count(), 0);
    }

    #[test]
    fn compressing_keeps_the_selected_values() {
        let values: Vec<i32> = (0..VECTOR_ROWS as i32).collect();
        for rows in [VECTOR_ROWS, VECTOR_ROWS - 1, 70, 64, 3] {
            for keep in [1, 2, 3, 7, 10, 63, 64, 65, 1_000] {
                for skip in [0, 1] {
                    let bits = (0..rows + VECTOR_ROWS).map(|row| (row % keep == 0) == (skip == 0));
                    let selection = Selection::from_bits(&bits.collect());
                    let expected = values[..rows].iter().copied();
                    let expected: Vec<i32> = expected
                        .filter(|row| selection.contains(*row as usize + VECTOR_ROWS))
                        .collect();
                    let room = [-1; LEAD];
                    let mut kept = [&room, &values[..rows], &room].concat();
                    let n = selection.compress_vector(1, &mut kept);
                    assert_eq!(kept[..n], expected, "{rows} rows, {keep}, {skip}");
                }
            }
        }
    }

    #[test]
    fn hits_become_bits() {
        let mut hits = [0; VECTOR_ROWS];
        (0..VECTOR_ROWS).step_by(3).for_each(|i| hits[i] = 1);
        let mut selection = Selection::all(1_500);
        selection.and_hits(0, &hits);
        selection.and_hits(1, &hits);
        for row in 0..1_500 {
            assert_eq!(selection.contains(row), (row % VECTOR_ROWS).is_multiple_of(3), "{row}");
        }
    }
}
