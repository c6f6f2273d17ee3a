//! Keys of a small range: an array indexed by the word, or a bitset whose ranks number the keys.

use arrow_array::ArrayRef;
use arrow_schema::ArrowError;

use crate::words::Packing;
use crate::yielding::yield_now;
use crate::{NO_ROW, VECTOR_ROWS};

/// Words of a block.
const BLOCK_WORDS: u64 = 32;

/// A bitset over the range of the words. A block tells in its low half which of 32 words are
/// keys, and in its high half how many keys are before them: one load answers for a word.
#[derive(Debug)]
pub(crate) struct RankSet {
    pub(crate) blocks: Vec<u64>,
    pub(crate) keys: usize,
}

fn bit_of(word: u64) -> u32 {
    1 << (word % BLOCK_WORDS)
}

fn rank_in(block: u64, word: u64) -> u32 {
    let (bits, bit) = (block as u32, bit_of(word));
    let rank = (block >> 32) as u32 + (bits & (bit - 1)).count_ones();
    if bits & bit == 0 { NO_ROW } else { rank }
}

impl RankSet {
    /// Bytes of one for a range of words.
    pub(crate) fn bytes_for(range: usize) -> usize {
        range.div_ceil(BLOCK_WORDS as usize) * size_of::<u64>()
    }

    /// 0 unless `word` is a key.
    pub(crate) fn bit(&self, word: usize) -> u32 {
        self.blocks[word / BLOCK_WORDS as usize] as u32 & bit_of(word as u64)
    }

    /// The number of the key `word`; [`NO_ROW`] when it is none.
    pub(crate) fn rank(&self, word: u64) -> u32 {
        rank_in(self.blocks[(word / BLOCK_WORDS) as usize], word)
    }

    /// The numbers of a vector of words; [`NO_ROW`] for those that are not `valid`. The loads
    /// come first and wait for nothing.
    pub(crate) fn ranks(&self, words: &[u64], valid: &[u8], blocks: &mut [u64], ranks: &mut [u32]) {
        for ((word, valid), block) in words.iter().zip(valid).zip(blocks.iter_mut()) {
            let at = if *valid != 0 { (word / BLOCK_WORDS) as usize } else { 0 };
            *block = self.blocks[at];
        }
        for (((word, valid), block), rank) in words.iter().zip(valid).zip(blocks).zip(ranks) {
            let found = rank_in(*block, *word);
            *rank = if *valid != 0 { found } else { NO_ROW };
        }
    }
}

/// The batches of key columns of the build side, numbered through.
pub(crate) struct BuildKeys<'a> {
    pub(crate) batches: &'a [Vec<ArrayRef>],
    pub(crate) packing: &'a Packing,
}

impl BuildKeys<'_> {
    /// Calls `each(first row, words, valid)` for vectors of rows.
    async fn each_vector(
        &self,
        mut each: impl FnMut(u32, &[u64], &[u8]),
    ) -> Result<(), ArrowError> {
        let mut words = vec![0_u64; VECTOR_ROWS];
        let mut valid = vec![0_u8; VECTOR_ROWS];
        let mut row = 0_u32;
        for batch in self.batches {
            let columns = self.packing.columns(batch)?;
            let rows = batch.first().map_or(0, |column| column.len());
            for first in (0..rows).step_by(VECTOR_ROWS) {
                let len = VECTOR_ROWS.min(rows - first);
                self.packing.pack(&columns, first, &mut words[..len], &mut valid[..len]);
                each(row, &words[..len], &valid[..len]);
                row += len as u32;
            }
            yield_now().await;
        }
        Ok(())
    }

    /// Calls `each(row, word)` for every row that can have a match.
    async fn each(&self, mut each: impl FnMut(u32, u64)) -> Result<(), ArrowError> {
        self.each_vector(|first, words, valid| {
            for ((word, valid), row) in words.iter().zip(valid).zip(first..) {
                if *valid != 0 {
                    each(row, *word);
                }
            }
        })
        .await
    }

    /// The row of each word plus one, 0 for none; `None` when a key has several rows.
    pub(crate) async fn rows_by_word(&self, range: usize) -> Result<Option<Vec<u32>>, ArrowError> {
        let mut first = vec![0_u32; range];
        let mut twice = false;
        self.each(|row, word| {
            twice |= std::mem::replace(&mut first[word as usize], row + 1) != 0;
        })
        .await?;
        Ok((!twice).then_some(first))
    }

    /// The words that are keys, and whether each has one row only.
    pub(crate) async fn ranked(&self, range: usize) -> Result<(RankSet, bool), ArrowError> {
        let mut blocks = vec![0_u64; range.div_ceil(BLOCK_WORDS as usize)];
        let mut rows = 0_usize;
        self.each(|_, word| {
            blocks[(word / BLOCK_WORDS) as usize] |= u64::from(bit_of(word));
            rows += 1;
        })
        .await?;
        let mut keys = 0;
        for block in &mut blocks {
            let bits = *block;
            *block |= (keys as u64) << 32;
            keys += bits.count_ones() as usize;
        }
        Ok((RankSet { blocks, keys }, keys == rows))
    }

    /// The row of each key of `set`, which has no key twice.
    pub(crate) async fn rows_by_rank(&self, set: &RankSet) -> Result<Vec<u32>, ArrowError> {
        let mut rows = vec![0_u32; set.keys];
        let mut blocks = vec![0_u64; VECTOR_ROWS];
        let mut ranks = vec![0_u32; VECTOR_ROWS];
        self.each_vector(|first, words, valid| {
            let ranks = &mut ranks[..words.len()];
            set.ranks(words, valid, &mut blocks, ranks);
            for (rank, row) in ranks.iter().zip(first..) {
                // Every word is a key, but that of a NULL.
                if let Some(place) = rows.get_mut(*rank as usize) {
                    *place = row;
                }
            }
        })
        .await?;
        Ok(rows)
    }

    /// The rows ordered by `group(word)`, with the start of each of `groups` lists and the end.
    pub(crate) async fn lists(
        &self,
        groups: usize,
        group: impl Fn(u64) -> usize,
    ) -> Result<(Vec<u32>, Vec<u32>), ArrowError> {
        // Shifted by one, so that the ends of the counts become the starts while rows are placed.
        let mut starts = vec![0_u32; groups + 1];
        self.each(|_, word| starts[group(word) + 1] += 1).await?;
        let mut total = 0;
        for start in &mut starts[1..] {
            total += std::mem::replace(start, total);
        }
        let mut rows = vec![0_u32; total as usize];
        self.each(|row, word| {
            let place = &mut starts[group(word) + 1];
            rows[*place as usize] = row;
            *place += 1;
        })
        .await?;
        Ok((starts, rows))
    }
}
