//! Chooses the form of a table by what the build side holds, and fills it.

use arrow_array::ArrayRef;
use arrow_schema::ArrowError;

use crate::VECTOR_ROWS;
use crate::bytes::{BytesIndex, BytesKey};
use crate::direct::{BuildKeys, RankSet};
use crate::hashed::{HashIndex, Item};
use crate::keyed::WordIndex;
use crate::table::{Index, JoinTable};
use crate::values::is_integer;
use crate::words::{Extent, Packing, Word};
use crate::yielding::yield_now;

/// Range of words per row up to which an array of rows is smaller than a hash table.
const DIRECT_RANGE_PER_ROW: usize = 4;
/// The same for a bitset.
const RANK_RANGE_PER_ROW: usize = 128;
/// The same while the bitset stays in the cache: a bit is found faster than a key.
const CACHED_RANK_RANGE_PER_ROW: usize = 1_024;
const CACHED_RANK_RANGE_MAX: usize = 1 << 24;
/// Ranges that stay in the cache whatever the number of rows.
const DIRECT_RANGE_MIN: usize = 1 << 12;
const RANK_RANGE_MIN: usize = 1 << 18;

enum Form {
    Direct { packing: Packing, range: usize },
    Rank { packing: Packing, range: usize },
    Hash64(Packing),
    Hash128(Packing),
    Bytes,
}

/// A table that is measured, but not made.
pub struct Plan {
    batches: Vec<Vec<ArrayRef>>,
    nulls_equal: bool,
    rows: usize,
    form: Form,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Plan {
    pub(crate) async fn new(
        batches: Vec<Vec<ArrayRef>>,
        nulls_equal: bool,
    ) -> Result<Plan, ArrowError> {
        let rows = rows_of(&batches);
        if rows >= u32::MAX as usize {
            let message = format!("{rows} rows on the build side of a join");
            return Err(ArrowError::InvalidArgumentError(message));
        }
        let integers = batches.iter().flatten().all(|key| is_integer(key.data_type()));
        let packing = if integers { measured(&batches, nulls_equal).await? } else { None };
        let form = match packing {
            None => Form::Bytes,
            Some(packing) => {
                let range = packing.max_word().saturating_add(1);
                let range = usize::try_from(range).unwrap_or(usize::MAX);
                if range <= (rows * DIRECT_RANGE_PER_ROW).max(DIRECT_RANGE_MIN) {
                    Form::Direct { packing, range }
                } else if range <= rank_range_max(rows) {
                    Form::Rank { packing, range }
                } else if packing.bits() <= u64::BITS {
                    Form::Hash64(packing)
                } else {
                    Form::Hash128(packing)
                }
            }
        };
        Ok(Plan { batches, nulls_equal, rows, form })
    }

    /// Bytes that building takes at most, besides the key columns.
    pub fn bytes(&self) -> usize {
        const ROW: usize = size_of::<u32>();
        match &self.form {
            Form::Direct { range, .. } => range * ROW + self.rows * ROW,
            Form::Rank { range, .. } => RankSet::bytes_for(*range) + 2 * self.rows * ROW,
            Form::Hash64(_) => WordIndex::<u64>::build_bytes(self.rows),
            Form::Hash128(_) => WordIndex::<u128>::build_bytes(self.rows),
            Form::Bytes => {
                let keys = self.batches.iter().flatten();
                let bytes: usize = keys.map(|key| key.get_buffer_memory_size()).sum();
                bytes + HashIndex::<BytesKey>::build_bytes(self.rows)
            }
        }
    }

    /// Makes the table. Yields now and then.
    ///
    /// # Errors
    /// What Arrow finds.
    pub async fn build(self) -> Result<JoinTable, ArrowError> {
        let Plan { batches, nulls_equal, rows, form } = self;
        let (index, lists) = match form {
            _ if rows == 0 => (Index::Empty, None),
            Form::Direct { packing, range } => direct(&batches, packing, range).await?,
            Form::Rank { packing, range } => ranked(&batches, packing, range).await?,
            Form::Hash64(packing) => {
                let (index, lists) = WordIndex::build(items(&batches, &packing).await?).await;
                (Index::Hash64 { packing, index }, lists)
            }
            Form::Hash128(packing) => {
                let (index, lists) = WordIndex::build(items(&batches, &packing).await?).await;
                (Index::Hash128 { packing, index }, lists)
            }
            Form::Bytes => {
                let types: Vec<_> = batches[0].iter().map(|key| key.data_type().clone()).collect();
                let (index, lists) = BytesIndex::build(&batches, &types, nulls_equal).await?;
                (Index::Bytes(index), lists)
            }
        };
        Ok(JoinTable::new(index, lists, rows))
    }
}

/// The largest range for which a bitset of `rows` keys is better than a hash table.
fn rank_range_max(rows: usize) -> usize {
    let cached = (rows * CACHED_RANK_RANGE_PER_ROW).min(CACHED_RANK_RANGE_MAX);
    (rows * RANK_RANGE_PER_ROW).max(cached).max(RANK_RANGE_MIN)
}

fn rows_of(batches: &[Vec<ArrayRef>]) -> usize {
    batches.iter().map(|batch| batch.first().map_or(0, |column| column.len())).sum()
}

async fn measured(
    batches: &[Vec<ArrayRef>],
    nulls_equal: bool,
) -> Result<Option<Packing>, ArrowError> {
    let mut extents = vec![Extent::default(); batches.first().map_or(0, Vec::len)];
    for batch in batches {
        for (extent, column) in extents.iter_mut().zip(batch) {
            extent.add(column)?;
        }
        yield_now().await;
    }
    Ok(Packing::new(&extents, nulls_equal))
}

type Built = (Index, Option<Vec<u32>>);

async fn direct(
    batches: &[Vec<ArrayRef>],
    packing: Packing,
    range: usize,
) -> Result<Built, ArrowError> {
    let keys = BuildKeys { batches, packing: &packing };
    if let Some(first) = keys.rows_by_word(range).await? {
        return Ok((Index::Direct { packing, first }, None));
    }
    let (starts, lists) = keys.lists(range, |word| word as usize).await?;
    Ok((Index::DirectLists { packing, starts }, Some(lists)))
}

async fn ranked(
    batches: &[Vec<ArrayRef>],
    packing: Packing,
    range: usize,
) -> Result<Built, ArrowError> {
    let keys = BuildKeys { batches, packing: &packing };
    let (set, unique) = keys.ranked(range).await?;
    if unique {
        let rows = keys.rows_by_rank(&set).await?;
        return Ok((Index::Rank { packing, set, rows }, None));
    }
    let group = |word| set.rank(word) as usize;
    let (starts, lists) = keys.lists(set.keys, group).await?;
    Ok((Index::RankLists { packing, set, starts }, Some(lists)))
}

/// The words of all rows that can have a match.
async fn items<W: Word>(
    batches: &[Vec<ArrayRef>],
    packing: &Packing,
) -> Result<Vec<Item<W>>, ArrowError> {
    let rows = rows_of(batches);
    let mut items = Vec::with_capacity(rows);
    let mut words = [W::default(); VECTOR_ROWS];
    let mut valid = [0_u8; VECTOR_ROWS];
    let mut row = 0_u32;
    for batch in batches {
        let columns = packing.columns(batch)?;
        let rows = batch.first().map_or(0, |column| column.len());
        for first in (0..rows).step_by(VECTOR_ROWS) {
            let len = VECTOR_ROWS.min(rows - first);
            packing.pack(&columns, first, &mut words[..len], &mut valid[..len]);
            for (word, valid) in words[..len].iter().zip(&valid[..len]) {
                if *valid != 0 {
                    items.push(Item { key: *word, row });
                }
                row += 1;
            }
        }
        yield_now().await;
    }
    Ok(items)
}
