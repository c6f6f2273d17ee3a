//! The table itself.

use arrow_array::ArrayRef;
use arrow_schema::ArrowError;

use crate::build::Plan;
use crate::bytes::BytesIndex;
use crate::direct::RankSet;
use crate::keyed::WordIndex;
use crate::lookup::LIST_STEP;
use crate::words::Packing;

/// How words or bytes lead to rows. Without lists each key has one row.
#[derive(Debug)]
pub(crate) enum Index {
    Empty,
    /// For each word the row plus one.
    Direct {
        packing: Packing,
        first: Vec<u32>,
    },
    /// For each word the start of its list, which ends where the next begins.
    DirectLists {
        packing: Packing,
        starts: Vec<u32>,
    },
    Rank {
        packing: Packing,
        set: RankSet,
        rows: Vec<u32>,
    },
    RankLists {
        packing: Packing,
        set: RankSet,
        starts: Vec<u32>,
    },
    Hash64 {
        packing: Packing,
        index: WordIndex<u64>,
    },
    Hash128 {
        packing: Packing,
        index: WordIndex<u128>,
    },
    Bytes(BytesIndex),
}

/// The keys of the build side of a join. Never changes, and is shared by those who probe.
#[derive(Debug)]
pub struct JoinTable {
    pub(crate) index: Index,
    /// Build rows ordered by key, and some more; `None` when no key has two.
    pub(crate) lists: Option<Vec<u32>>,
    rows: usize,
}

/// Bytes that a table of `rows` rows takes while it is built, before its keys are known.
pub fn estimated_bytes(rows: usize) -> usize {
    WordIndex::<u64>::build_bytes(rows)
}

impl JoinTable {
    pub(crate) fn new(index: Index, mut lists: Option<Vec<u32>>, rows: usize) -> JoinTable {
        if let Some(lists) = &mut lists {
            lists.extend([0; LIST_STEP]);
        }
        JoinTable { index, lists, rows }
    }

    /// Measures the key columns of the build side, batch by batch, in order to build a table.
    /// All batches have the same types. With `nulls_equal` NULL is a key like any other.
    ///
    /// # Errors
    /// For types that are not supported and 2³² rows or more.
    pub async fn plan(batches: Vec<Vec<ArrayRef>>, nulls_equal: bool) -> Result<Plan, ArrowError> {
        Plan::new(batches, nulls_equal).await
    }

    /// [`JoinTable::plan`] and [`Plan::build`] in one.
    ///
    /// # Errors
    /// As both.
    pub async fn build(
        batches: Vec<Vec<ArrayRef>>,
        nulls_equal: bool,
    ) -> Result<JoinTable, ArrowError> {
        JoinTable::plan(batches, nulls_equal).await?.build().await
    }

    /// Rows of the build side, those with keys that match nothing included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// True when no key has two rows.
    pub fn is_unique(&self) -> bool {
        self.lists.is_none()
    }

    /// True when nothing can match.
    pub fn is_empty(&self) -> bool {
        self.keys() == 0
    }

    /// The number of distinct keys.
    pub fn keys(&self) -> usize {
        match &self.index {
            Index::Empty => 0,
            Index::Direct { first, .. } => first.iter().filter(|row| **row != 0).count(),
            Index::DirectLists { starts, .. } => {
                starts.windows(2).filter(|pair| pair[0] != pair[1]).count()
            }
            Index::Rank { set, .. } | Index::RankLists { set, .. } => set.keys,
            Index::Hash64 { index, .. } => index.keys(),
            Index::Hash128 { index, .. } => index.keys(),
            Index::Bytes(index) => index.keys(),
        }
    }

    /// A row of each key.
    pub fn key_rows(&self) -> Vec<u32> {
        let mut out = Vec::new();
        if let Some(rows) = &self.lists {
            self.each_list(|start, count| {
                if count > 0 {
                    out.push(rows[start as usize]);
                }
            });
            return out;
        }
        match &self.index {
            Index::Empty | Index::DirectLists { .. } | Index::RankLists { .. } => {}
            Index::Direct { first, .. } => {
                out.extend(first.iter().filter(|row| **row != 0).map(|row| row - 1));
            }
            Index::Rank { rows, .. } => out.extend(rows),
            Index::Hash64 { index, .. } => out.extend(index.used().map(|key| key.start)),
            Index::Hash128 { index, .. } => out.extend(index.used().map(|key| key.start)),
            Index::Bytes(index) => {
                out.extend(index.index.entries.iter().map(|key| key.start));
                if index.null.1 > 0 {
                    out.push(index.null.0);
                }
            }
        }
        out
    }

    /// What kind of index the table is, for people.
    pub fn kind(&self) -> &'static str {
        match &self.index {
            Index::Empty => "empty",
            Index::Direct { .. } | Index::DirectLists { .. } => "direct",
            Index::Rank { .. } | Index::RankLists { .. } => "rank",
            Index::Hash64 { .. } => "hash64",
            Index::Hash128 { .. } => "hash128",
            Index::Bytes(_) => "bytes",
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let rows = |rows: &Vec<u32>| rows.capacity() * size_of::<u32>();
        let set = |set: &RankSet| size_of_val(&set.blocks[..]);
        let index = match &self.index {
            Index::Empty => 0,
            Index::Direct { first: slots, .. } | Index::DirectLists { starts: slots, .. } => {
                rows(slots)
            }
            Index::Rank { set: keys, rows: slots, .. }
            | Index::RankLists { set: keys, starts: slots, .. } => set(keys) + rows(slots),
            Index::Hash64 { index, .. } => index.bytes(),
            Index::Hash128 { index, .. } => index.bytes(),
            Index::Bytes(index) => index.bytes(),
        };
        index + self.lists.as_ref().map_or(0, rows)
    }

    /// Calls `each(start, count)` for every list of rows.
    pub(crate) fn each_list(&self, mut each: impl FnMut(u32, u32)) {
        let mut by_starts = |starts: &[u32]| {
            starts.windows(2).for_each(|pair| each(pair[0], pair[1] - pair[0]));
        };
        match &self.index {
            Index::Empty | Index::Direct { .. } | Index::Rank { .. } => {}
            Index::DirectLists { starts, .. } | Index::RankLists { starts, .. } => {
                by_starts(starts);
            }
            Index::Hash64 { index, .. } => {
                index.used().for_each(|entry| each(entry.start, entry.count));
            }
            Index::Hash128 { index, .. } => {
                index.used().for_each(|entry| each(entry.start, entry.count));
            }
            Index::Bytes(index) => {
                index.index.entries.iter().for_each(|entry| each(entry.start, entry.count));
                each(index.null.0, index.null.1);
            }
        }
    }
}
