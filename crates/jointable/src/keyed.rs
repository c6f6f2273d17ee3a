//! Words by hash: entries with the key inside, by linear probing, so that a match costs one
//! cache line.

use crate::hashed::{Item, home, scattered};
use crate::words::Word;
use crate::yielding::yield_now;
use crate::{BUILD_SLICE_ROWS, NO_ROW, VECTOR_ROWS};

/// A key with its rows: the row itself when there is one and no lists, else the list. Empty
/// without rows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyEntry<W> {
    key: W,
    pub(crate) start: u32,
    pub(crate) count: u32,
}

/// Entries for each key. At this load a miss looks at 2.5 of them.
const ENTRIES_PER_KEY: usize = 2;

/// A hash index over distinct words.
#[derive(Debug)]
pub(crate) struct WordIndex<W> {
    entries: Vec<KeyEntry<W>>,
    keys: usize,
}

/// Buffers for looking up a vector of words.
#[derive(Debug)]
pub(crate) struct WordProbe<W> {
    positions: Vec<usize>,
    /// Words that are still looked for.
    active: Vec<u32>,
    entries: Vec<KeyEntry<W>>,
}

impl<W: Word> Default for WordProbe<W> {
    fn default() -> WordProbe<W> {
        WordProbe {
            positions: vec![0; VECTOR_ROWS],
            active: vec![0; VECTOR_ROWS],
            entries: vec![KeyEntry::default(); VECTOR_ROWS],
        }
    }
}

impl<W: Word> WordIndex<W> {
    /// Bytes that building an index of `rows` keys takes at most.
    pub(crate) fn build_bytes(rows: usize) -> usize {
        let entries = ENTRIES_PER_KEY * size_of::<KeyEntry<W>>();
        rows * (entries + size_of::<Item<W>>() + size_of::<u32>())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<KeyEntry<W>>()
    }

    pub(crate) fn keys(&self) -> usize {
        self.keys
    }

    /// The entries in use.
    pub(crate) fn used(&self) -> impl Iterator<Item = &KeyEntry<W>> {
        self.entries.iter().filter(|entry| entry.count > 0)
    }

    /// An index of `items`, in order of their rows, with the lists of rows when a key has several.
    pub(crate) async fn build(items: Vec<Item<W>>) -> (WordIndex<W>, Option<Vec<u32>>) {
        let rows = items.len();
        let items = scattered(items).await;
        let entries = vec![KeyEntry::default(); (rows * ENTRIES_PER_KEY).max(1)];
        let mut index = WordIndex { entries, keys: 0 };
        for slice in items.chunks(BUILD_SLICE_ROWS) {
            for item in slice {
                let place = index.place(item.key);
                let entry = &mut index.entries[place];
                index.keys += usize::from(entry.count == 0);
                *entry = KeyEntry { key: item.key, start: item.row, count: entry.count + 1 };
            }
            yield_now().await;
        }
        if index.keys == rows {
            return (index, None);
        }
        let mut start = 0;
        for entries in index.entries.chunks_mut(BUILD_SLICE_ROWS) {
            for entry in entries.iter_mut().filter(|entry| entry.count > 0) {
                start += entry.count;
                // The end of its list, from which rows are put in, the last one first.
                entry.start = start;
            }
            yield_now().await;
        }
        let lists = index.listed(&items).await;
        (index, Some(lists))
    }

    /// Puts the rows into their lists, whose ends become starts.
    async fn listed(&mut self, items: &[Item<W>]) -> Vec<u32> {
        let mut lists = vec![0_u32; items.len()];
        for slice in items.rchunks(BUILD_SLICE_ROWS) {
            for item in slice.iter().rev() {
                let place = self.place(item.key);
                let entry = &mut self.entries[place];
                entry.start -= 1;
                lists[entry.start as usize] = item.row;
            }
            yield_now().await;
        }
        lists
    }

    /// The entry of `key`, or the one that it would take.
    fn place(&self, key: W) -> usize {
        let mut place = home(key.hash(), self.entries.len());
        loop {
            let entry = &self.entries[place];
            if entry.count == 0 || entry.key == key {
                return place;
            }
            place = following(place, self.entries.len());
        }
    }

    /// Finds the first row, or the start of the list and its length, of each word; [`NO_ROW`]
    /// without a match and for words that are not `valid`. Each round first reads one entry of
    /// every word that is still looked for: loads that wait for nothing.
    pub(crate) fn find(
        &self,
        words: &[W],
        valid: &[u8],
        probe: &mut WordProbe<W>,
        starts: &mut [u32],
        counts: &mut [u32],
    ) {
        match counts.is_empty() {
            true => self.rounds(words, valid, probe, starts, |_, _| {}),
            false => self.rounds(words, valid, probe, starts, |at, count| counts[at] = count),
        }
    }

    fn rounds(
        &self,
        words: &[W],
        valid: &[u8],
        probe: &mut WordProbe<W>,
        starts: &mut [u32],
        mut count: impl FnMut(usize, u32),
    ) {
        let WordProbe { positions, active, entries } = probe;
        let len = self.entries.len();
        for (position, word) in positions.iter_mut().zip(words) {
            *position = home(word.hash(), len);
        }
        for (entry, position) in entries.iter_mut().zip(&positions[..words.len()]) {
            *entry = self.entries[*position];
        }
        let mut left = 0;
        for (at, (word, valid)) in words.iter().zip(valid).enumerate() {
            let entry = entries[at];
            let (used, same) = ((entry.count != 0) & (*valid != 0), entry.key == *word);
            let found = used & same;
            starts[at] = if found { entry.start } else { NO_ROW };
            count(at, if found { entry.count } else { 0 });
            active[left] = at as u32;
            left += usize::from(used & !same);
        }
        while left > 0 {
            for (entry, at) in entries.iter_mut().zip(&active[..left]) {
                let position = &mut positions[*at as usize];
                *position = following(*position, len);
                *entry = self.entries[*position];
            }
            let mut next = 0;
            for from in 0..left {
                let (at, entry) = (active[from] as usize, entries[from]);
                let (used, same) = (entry.count != 0, entry.key == words[at]);
                let found = used & same;
                starts[at] = if found { entry.start } else { NO_ROW };
                count(at, if found { entry.count } else { 0 });
                active[next] = at as u32;
                next += usize::from(used & !same);
            }
            left = next;
        }
    }
}

fn following(place: usize, len: usize) -> usize {
    if place + 1 == len { 0 } else { place + 1 }
}
