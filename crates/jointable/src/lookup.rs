//! Matches of probe rows, a vector of keys at a time.

use arrow_array::ArrayRef;
use arrow_buffer::BooleanBuffer;
use arrow_schema::ArrowError;

use crate::VECTOR_ROWS;
use crate::hashed::Probe;
use crate::keyed::{WordIndex, WordProbe};
use crate::table::{Index, JoinTable};
use crate::words::{KeyColumn, Packing, Word};

/// Instead of a build row: there is none.
pub const NO_ROW: u32 = u32::MAX;

/// The matches of a batch of probe rows, with the buffers to find them. Used again for the next.
#[derive(Debug, Default)]
pub struct Matches {
    /// Of each probe row the build row, or where its list starts.
    pub(crate) starts: Vec<u32>,
    /// The length of the list; empty when keys are unique.
    pub(crate) counts: Vec<u32>,
    words: Vec<u64>,
    wide_words: Vec<u128>,
    valid: Vec<u8>,
    word_probe: WordProbe<u64>,
    wide_word_probe: WordProbe<u128>,
    probe: Probe,
}

impl Matches {
    /// Probe rows looked up.
    pub fn rows(&self) -> usize {
        self.starts.len()
    }

    /// True when the probe row has a match.
    pub fn is_matched(&self, row: usize) -> bool {
        match self.counts.get(row) {
            Some(count) => *count > 0,
            None => self.starts[row] != NO_ROW,
        }
    }

    /// Which probe rows have a match.
    pub fn matched(&self) -> BooleanBuffer {
        match self.counts.is_empty() {
            true => BooleanBuffer::collect_bool(self.rows(), |row| self.starts[row] != NO_ROW),
            false => BooleanBuffer::collect_bool(self.rows(), |row| self.counts[row] != 0),
        }
    }

    /// The number of probe rows with a match.
    pub fn matched_rows(&self) -> usize {
        match self.counts.is_empty() {
            true => self.starts.iter().filter(|start| **start != NO_ROW).count(),
            false => self.counts.iter().filter(|count| **count != 0).count(),
        }
    }
}

/// How far the pairs of a batch were given out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    row: usize,
    /// Matches of the row that were given already.
    given: u32,
}

impl Cursor {
    /// The probe row whose pairs are not all given yet.
    pub fn row(&self) -> usize {
        self.row
    }

    /// True when some of the pairs of [`Cursor::row`] were given.
    pub fn is_inside_row(&self) -> bool {
        self.given > 0
    }
}

/// Pairs of a probe row and a build row, in order of the probe rows.
#[derive(Debug, Default)]
pub struct Pairs {
    pub probe: Vec<u32>,
    /// [`NO_ROW`] where the probe row stands alone.
    pub build: Vec<u32>,
}

impl Pairs {
    pub fn clear(&mut self) {
        self.probe.clear();
        self.build.clear();
    }

    pub fn len(&self) -> usize {
        self.probe.len()
    }

    pub fn is_empty(&self) -> bool {
        self.probe.is_empty()
    }

    fn push(&mut self, probe: usize, build: u32) {
        self.probe.push(probe as u32);
        self.build.push(build);
    }
}

impl JoinTable {
    /// Finds the matches of a batch of probe rows, given its key columns.
    ///
    /// # Errors
    /// When the types are not those of the build side.
    pub fn lookup(&self, keys: &[ArrayRef], matches: &mut Matches) -> Result<(), ArrowError> {
        let rows = keys.first().map_or(0, |column| column.len());
        matches.starts.clear();
        matches.starts.resize(rows, NO_ROW);
        matches.counts.clear();
        matches.counts.resize(if self.is_unique() { 0 } else { rows }, 0);
        match &self.index {
            Index::Empty => {}
            Index::Direct { packing, first } => {
                matches.each_vector(packing, keys, |words, valid, starts, _| {
                    unique(words, valid, starts, |word| first[word].wrapping_sub(1));
                })?;
            }
            Index::DirectLists { packing, starts } => {
                matches.each_vector(packing, keys, |words, valid, out, counts| {
                    listed(words, valid, out, counts, |word| {
                        (starts[word], starts[word + 1] - starts[word])
                    });
                })?;
            }
            Index::Rank { packing, set, rows } => {
                let mut blocks = [0_u64; VECTOR_ROWS];
                matches.each_vector(packing, keys, |words, valid, starts, _| {
                    set.ranks(words, valid, &mut blocks, starts);
                    for start in starts.iter_mut() {
                        *start = rows.get(*start as usize).copied().unwrap_or(NO_ROW);
                    }
                })?;
            }
            Index::RankLists { packing, set, starts } => {
                let mut blocks = [0_u64; VECTOR_ROWS];
                matches.each_vector(packing, keys, |words, valid, out, counts| {
                    set.ranks(words, valid, &mut blocks, out);
                    for (start, count) in out.iter_mut().zip(counts) {
                        let rank = *start as usize;
                        if rank < set.keys {
                            (*start, *count) = (starts[rank], starts[rank + 1] - starts[rank]);
                        }
                    }
                })?;
            }
            Index::Hash64 { packing, index } => matches.hashed64(packing, index, keys)?,
            Index::Hash128 { packing, index } => matches.hashed128(packing, index, keys)?,
            Index::Bytes(index) => {
                let Matches { starts, counts, probe, .. } = matches;
                index.lookup(keys, probe, starts, counts)?;
            }
        }
        Ok(())
    }

    /// Appends pairs to `pairs` from `cursor` on, until there are `limit` of them or the batch
    /// ends; true when it has ended. With `outer` a probe row without a match stands alone.
    pub fn pairs(
        &self,
        matches: &Matches,
        cursor: &mut Cursor,
        outer: bool,
        limit: usize,
        pairs: &mut Pairs,
    ) -> bool {
        match &self.lists {
            None => unique_pairs(matches, cursor, outer, limit, pairs),
            Some(lists) => {
                while cursor.row < matches.rows() && pairs.len() < limit {
                    list_pairs(lists, matches, cursor, outer, limit, pairs);
                    if cursor.row < matches.rows() && pairs.len() < limit {
                        long_list_pairs(lists, matches, cursor, outer, limit, pairs);
                    }
                }
            }
        }
        cursor.row == matches.rows()
    }
}

fn unique_pairs(
    matches: &Matches,
    cursor: &mut Cursor,
    outer: bool,
    limit: usize,
    pairs: &mut Pairs,
) {
    let room = limit.saturating_sub(pairs.len());
    let rows = cursor.row..(cursor.row + room).min(matches.rows());
    if outer {
        pairs.probe.extend(rows.start as u32..rows.end as u32);
        pairs.build.extend_from_slice(&matches.starts[rows.clone()]);
    } else {
        // Written always, kept when there is a match: no branch to guess.
        let mut len = pairs.len();
        pairs.probe.resize(len + rows.len(), 0);
        pairs.build.resize(len + rows.len(), 0);
        for row in rows.clone() {
            let start = matches.starts[row];
            pairs.probe[len] = row as u32;
            pairs.build[len] = start;
            len += usize::from(start != NO_ROW);
        }
        pairs.probe.truncate(len);
        pairs.build.truncate(len);
    }
    cursor.row = rows.end;
}

/// Rows that are copied from a list at once, needed or not: most lists are short.
pub(crate) const LIST_STEP: usize = 4;

fn list_pairs(
    lists: &[u32],
    matches: &Matches,
    cursor: &mut Cursor,
    outer: bool,
    limit: usize,
    pairs: &mut Pairs,
) {
    let mut len = pairs.len();
    let full = limit.min(len + matches.rows().saturating_mul(LIST_STEP));
    pairs.probe.resize(full + LIST_STEP, 0);
    pairs.build.resize(full + LIST_STEP, 0);
    while cursor.row < matches.rows() && len + LIST_STEP <= full && cursor.given == 0 {
        let (row, start) = (cursor.row, matches.starts[cursor.row] as usize);
        let count = matches.counts[row] as usize;
        if count > LIST_STEP {
            break;
        }
        // Behind the last list there are as many more.
        let list = if count > 0 { &lists[start..start + LIST_STEP] } else { &[NO_ROW; LIST_STEP] };
        pairs.build[len..len + LIST_STEP].copy_from_slice(list);
        pairs.probe[len..len + LIST_STEP].fill(row as u32);
        len += count.max(usize::from(outer));
        cursor.row += 1;
    }
    pairs.probe.truncate(len);
    pairs.build.truncate(len);
}

/// As far as [`list_pairs`] does not go: long lists, and the end of the room.
fn long_list_pairs(
    lists: &[u32],
    matches: &Matches,
    cursor: &mut Cursor,
    outer: bool,
    limit: usize,
    pairs: &mut Pairs,
) {
    let (row, count) = (cursor.row, matches.counts[cursor.row]);
    if count == 0 {
        if outer {
            pairs.push(row, NO_ROW);
        }
        cursor.row += 1;
        return;
    }
    let room = (limit - pairs.len()).min(u32::MAX as usize) as u32;
    let take = room.min(count - cursor.given);
    let start = (matches.starts[row] + cursor.given) as usize;
    pairs.build.extend_from_slice(&lists[start..start + take as usize]);
    pairs.probe.resize(pairs.build.len(), row as u32);
    cursor.given += take;
    if cursor.given == count {
        *cursor = Cursor { row: row + 1, given: 0 };
    }
}

/// One row per word. A word that is not valid is looked up as 0 and its answer dropped.
fn unique(words: &[u64], valid: &[u8], starts: &mut [u32], row: impl Fn(usize) -> u32) {
    for ((word, valid), start) in words.iter().zip(valid).zip(starts) {
        let valid = *valid != 0;
        let found = row(if valid { *word as usize } else { 0 });
        *start = if valid { found } else { NO_ROW };
    }
}

fn listed(
    words: &[u64],
    valid: &[u8],
    starts: &mut [u32],
    counts: &mut [u32],
    list: impl Fn(usize) -> (u32, u32),
) {
    for (((word, valid), start), count) in words.iter().zip(valid).zip(starts).zip(counts) {
        let valid = *valid != 0;
        let (found, rows) = list(if valid { *word as usize } else { 0 });
        (*start, *count) = if valid { (found, rows) } else { (NO_ROW, 0) };
    }
}

impl Matches {
    fn each_vector(
        &mut self,
        packing: &Packing,
        keys: &[ArrayRef],
        mut find: impl FnMut(&[u64], &[u8], &mut [u32], &mut [u32]),
    ) -> Result<(), ArrowError> {
        let columns = packing.columns(keys)?;
        let Matches { starts, counts, words, valid, .. } = self;
        vectors(packing, &columns, words, valid, starts, counts, |words, valid, starts, counts| {
            find(words, valid, starts, counts);
        });
        Ok(())
    }

    fn hashed64(
        &mut self,
        packing: &Packing,
        index: &WordIndex<u64>,
        keys: &[ArrayRef],
    ) -> Result<(), ArrowError> {
        let columns = packing.columns(keys)?;
        let Matches { starts, counts, words, valid, word_probe, .. } = self;
        vectors(packing, &columns, words, valid, starts, counts, by_hash(index, word_probe));
        Ok(())
    }

    fn hashed128(
        &mut self,
        packing: &Packing,
        index: &WordIndex<u128>,
        keys: &[ArrayRef],
    ) -> Result<(), ArrowError> {
        let columns = packing.columns(keys)?;
        let Matches { starts, counts, wide_words, valid, wide_word_probe, .. } = self;
        vectors(
            packing,
            &columns,
            wide_words,
            valid,
            starts,
            counts,
            by_hash(index, wide_word_probe),
        );
        Ok(())
    }
}

fn by_hash<W: Word>(
    index: &WordIndex<W>,
    probe: &mut WordProbe<W>,
) -> impl FnMut(&[W], &[u8], &mut [u32], &mut [u32]) {
    |words, valid, starts, counts| index.find(words, valid, probe, starts, counts)
}

fn vectors<W: Word>(
    packing: &Packing,
    columns: &[KeyColumn],
    words: &mut Vec<W>,
    valid: &mut Vec<u8>,
    starts: &mut [u32],
    counts: &mut [u32],
    mut find: impl FnMut(&[W], &[u8], &mut [u32], &mut [u32]),
) {
    words.resize(VECTOR_ROWS, W::default());
    valid.resize(VECTOR_ROWS, 0);
    let with_counts = !counts.is_empty();
    for first in (0..starts.len()).step_by(VECTOR_ROWS) {
        let len = VECTOR_ROWS.min(starts.len() - first);
        packing.pack(columns, first, &mut words[..len], &mut valid[..len]);
        let counts = if with_counts { &mut counts[first..first + len] } else { &mut [][..] };
        find(&words[..len], &valid[..len], &mut starts[first..first + len], counts);
    }
}
