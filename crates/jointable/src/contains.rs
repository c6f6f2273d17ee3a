//! Whether probe rows have a match: what a filter asks for each row of a scan, without finding
//! the rows that match.

use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBuffer, Buffer};
use arrow_schema::ArrowError;

use crate::VECTOR_ROWS;
use crate::keyed::{WordIndex, WordProbe};
use crate::lookup::{Matches, NO_ROW};
use crate::table::{Index, JoinTable};
use crate::words::{Packing, Word};

impl JoinTable {
    /// Which rows of a batch of keys have a match.
    ///
    /// # Errors
    /// As [`JoinTable::lookup`].
    pub fn contains(&self, keys: &[ArrayRef]) -> Result<BooleanBuffer, ArrowError> {
        match &self.index {
            Index::Empty => {
                let rows = keys.first().map_or(0, |column| column.len());
                Ok(BooleanBuffer::new_unset(rows))
            }
            Index::Direct { packing, first } => tested(packing, keys, |word| first[word]),
            Index::DirectLists { packing, starts } => {
                tested(packing, keys, |word| starts[word + 1] - starts[word])
            }
            Index::Rank { packing, set, .. } | Index::RankLists { packing, set, .. } => {
                tested(packing, keys, |word| set.bit(word))
            }
            Index::Hash64 { packing, index } => hashed(packing, index, keys),
            Index::Hash128 { packing, index } => hashed(packing, index, keys),
            Index::Bytes(_) => {
                let mut matches = Matches::default();
                self.lookup(keys, &mut matches)?;
                Ok(matches.matched())
            }
        }
    }
}

/// By a test of each word, which gives 0 for one that is no key.
fn tested(
    packing: &Packing,
    keys: &[ArrayRef],
    hit: impl Fn(usize) -> u32,
) -> Result<BooleanBuffer, ArrowError> {
    let mut hits = [0_u32; VECTOR_ROWS];
    each_vector(packing, keys, |words: &[u64], valid, bits| {
        // Loads that wait for nothing, then bits.
        let hits = &mut hits[..words.len()];
        for ((word, valid), place) in words.iter().zip(valid).zip(hits.iter_mut()) {
            let valid = *valid != 0;
            let found = hit(if valid { *word as usize } else { 0 });
            *place = if valid { found } else { 0 };
        }
        pack(hits, |hit| *hit != 0, bits);
    })
}

fn hashed<W: Word>(
    packing: &Packing,
    index: &WordIndex<W>,
    keys: &[ArrayRef],
) -> Result<BooleanBuffer, ArrowError> {
    let mut probe = WordProbe::default();
    let mut starts = [NO_ROW; VECTOR_ROWS];
    each_vector(packing, keys, |words, valid, bits| {
        let starts = &mut starts[..words.len()];
        index.find(words, valid, &mut probe, starts, &mut []);
        pack(starts, |start| *start != NO_ROW, bits);
    })
}

/// One bit for each item.
fn pack<T>(items: &[T], is_set: impl Fn(&T) -> bool, bits: &mut [u64]) {
    for (items, bits) in items.chunks(64).zip(bits) {
        let set = items.iter().enumerate().map(|(at, item)| u64::from(is_set(item)) << at);
        *bits = set.fold(0, |bits, bit| bits | bit);
    }
}

/// Calls `test(words, valid, bits)` with vectors of words and of bits, which it sets.
fn each_vector<W: Word>(
    packing: &Packing,
    keys: &[ArrayRef],
    mut test: impl FnMut(&[W], &[u8], &mut [u64]),
) -> Result<BooleanBuffer, ArrowError> {
    let columns = packing.columns(keys)?;
    let rows = keys.first().map_or(0, |column| column.len());
    let mut bits = vec![0_u64; rows.div_ceil(64)];
    let mut words = vec![W::default(); VECTOR_ROWS.min(rows)];
    let mut valid = vec![0_u8; VECTOR_ROWS.min(rows)];
    for (vector, bits) in bits.chunks_mut(VECTOR_ROWS / 64).enumerate() {
        let first = vector * VECTOR_ROWS;
        let len = VECTOR_ROWS.min(rows - first);
        packing.pack(&columns, first, &mut words[..len], &mut valid[..len]);
        test(&words[..len], &valid[..len], bits);
    }
    Ok(BooleanBuffer::new(Buffer::from_vec(bits), 0, rows))
}
