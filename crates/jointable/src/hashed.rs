//! Keys by hash, where a key is too large to be in every slot: slots of tag and entry number
//! with linear probing, entries in order of hash.

use crate::yielding::yield_now;
use crate::{BUILD_SLICE_ROWS, VECTOR_ROWS};

/// A normalised key with its hash.
pub(crate) trait Hashed: Copy {
    fn hash(&self) -> u64;
}

impl<W: crate::words::Word> Hashed for W {
    fn hash(&self) -> u64 {
        crate::words::Word::hash(*self)
    }
}

/// The key of a build row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Item<K> {
    pub(crate) key: K,
    pub(crate) row: u32,
}

/// A key with its rows: the row itself when there is one and no lists, else the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<K> {
    pub(crate) key: K,
    pub(crate) start: u32,
    pub(crate) count: u32,
}

/// Slots for each key. At this load a miss looks at 2.5 slots, nearly always of one cache line.
const SLOTS_PER_KEY: usize = 2;
/// Rows of a partition whose slots and entries stay in the cache while they are filled.
const PARTITION_ROWS: usize = 1 << 13;
const PARTITIONS_MAX: usize = 1_024;

/// A hash index over distinct keys.
#[derive(Debug)]
pub(crate) struct HashIndex<K> {
    /// The low half of a hash above the number of the entry plus one; 0 is empty.
    slots: Vec<u64>,
    pub(crate) entries: Vec<Entry<K>>,
}

pub(crate) fn home(hash: u64, slots: usize) -> usize {
    ((u128::from(hash) * slots as u128) >> 64) as usize
}

fn slot(hash: u64, entry: usize) -> u64 {
    (hash << 32) | (entry as u64 + 1)
}

fn same_tag(slot: u64, hash: u64) -> bool {
    (slot >> 32) == (hash & u64::from(u32::MAX))
}

/// Buffers for looking up a vector of keys.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) hashes: Vec<u64>,
    /// For each key the number of the entry found, plus one.
    found: Vec<u32>,
    positions: Vec<usize>,
    active: Vec<u32>,
}

impl Default for Probe {
    fn default() -> Probe {
        Probe {
            hashes: vec![0; VECTOR_ROWS],
            found: vec![0; VECTOR_ROWS],
            positions: vec![0; VECTOR_ROWS],
            active: vec![0; VECTOR_ROWS],
        }
    }
}

impl<K: Hashed + Default> HashIndex<K> {
    /// Bytes that building an index of `rows` keys takes at most, and those it keeps.
    pub(crate) fn build_bytes(rows: usize) -> usize {
        let item = size_of::<Item<K>>();
        let kept = SLOTS_PER_KEY * size_of::<u64>() + size_of::<Entry<K>>();
        rows * (item + kept + 2 * size_of::<u32>())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u64>() + self.entries.capacity() * size_of::<Entry<K>>()
    }

    /// An index of `items`, in order of their rows, with the lists of rows when a key has several.
    pub(crate) async fn build(
        items: Vec<Item<K>>,
        same: impl Fn(&K, &K) -> bool,
    ) -> (HashIndex<K>, Option<Vec<u32>>) {
        let rows = items.len();
        let items = scattered(items).await;
        let mut index = HashIndex {
            slots: vec![0; (rows * SLOTS_PER_KEY).max(1)],
            entries: Vec::with_capacity(rows),
        };
        let mut groups: Vec<u32> = Vec::with_capacity(rows);
        for slice in items.chunks(BUILD_SLICE_ROWS) {
            groups.extend(slice.iter().map(|item| index.insert(item, &same)));
            yield_now().await;
        }
        if index.entries.len() == rows {
            return (index, None);
        }
        index.entries.shrink_to_fit();
        let mut start = 0;
        for entry in &mut index.entries {
            entry.start = start;
            start += entry.count;
            entry.count = 0;
        }
        let mut lists = vec![0_u32; rows];
        for (items, groups) in items.chunks(BUILD_SLICE_ROWS).zip(groups.chunks(BUILD_SLICE_ROWS)) {
            for (item, group) in items.iter().zip(groups) {
                let entry = &mut index.entries[*group as usize];
                lists[(entry.start + entry.count) as usize] = item.row;
                entry.count += 1;
            }
            yield_now().await;
        }
        (index, Some(lists))
    }

    /// The number of the entry with the key of `item`, which is made when there is none.
    fn insert(&mut self, item: &Item<K>, same: &impl Fn(&K, &K) -> bool) -> u32 {
        let hash = item.key.hash();
        let mut position = home(hash, self.slots.len());
        loop {
            let found = self.slots[position];
            if found == 0 {
                let entry = self.entries.len();
                self.slots[position] = slot(hash, entry);
                self.entries.push(Entry { key: item.key, start: item.row, count: 1 });
                return entry as u32;
            }
            if same_tag(found, hash) {
                let entry = found as u32 - 1;
                let known = &mut self.entries[entry as usize];
                if same(&known.key, &item.key) {
                    known.count += 1;
                    return entry;
                }
            }
            position += 1;
            if position == self.slots.len() {
                position = 0;
            }
        }
    }

    /// Finds the entries for the first `starts.len()` hashes of `probe`. `same` compares the key
    /// of a row of the vector; rows that are not `valid` match nothing. Gives the first row or
    /// start of the list (`none` without a match) and the rows of the list.
    pub(crate) fn find(
        &self,
        probe: &mut Probe,
        valid: &[u8],
        same: impl Fn(usize, &K) -> bool,
        none: u32,
        starts: &mut [u32],
        counts: &mut [u32],
    ) {
        self.candidates(probe, valid);
        let wants_counts = !counts.is_empty();
        for at in 0..starts.len() {
            let mut found = probe.found[at];
            let (mut start, mut count) = (none, 0);
            while found != 0 {
                let entry = &self.entries[found as usize - 1];
                if same(at, &entry.key) {
                    (start, count) = (entry.start, entry.count);
                    break;
                }
                found = self.next(probe.hashes[at], &mut probe.positions[at]);
            }
            starts[at] = start;
            if wants_counts {
                counts[at] = count;
            }
        }
    }

    /// The first entry with the tag of each hash. Each round reads one slot of every row that
    /// still looks for its own: loads that do not wait for one another.
    fn candidates(&self, probe: &mut Probe, valid: &[u8]) {
        let Probe { hashes, found, positions, active } = probe;
        let rows = valid.len();
        let mut left = 0;
        for at in 0..rows {
            let hash = hashes[at];
            let position = home(hash, self.slots.len());
            let slot = self.slots[position];
            let (same, valid) = (same_tag(slot, hash), valid[at] != 0);
            positions[at] = position;
            found[at] = if same & valid { slot as u32 } else { 0 };
            active[left] = at as u32;
            left += usize::from(!same & (slot != 0) & valid);
        }
        while left > 0 {
            let mut next = 0;
            for from in 0..left {
                let at = active[from] as usize;
                let mut position = positions[at] + 1;
                if position == self.slots.len() {
                    position = 0;
                }
                positions[at] = position;
                let slot = self.slots[position];
                let same = same_tag(slot, hashes[at]);
                found[at] = if same { slot as u32 } else { 0 };
                active[next] = at as u32;
                next += usize::from(!same & (slot != 0));
            }
            left = next;
        }
    }

    /// The next entry with the tag of `hash` behind `position`, plus one; 0 for none.
    fn next(&self, hash: u64, position: &mut usize) -> u32 {
        loop {
            *position += 1;
            if *position == self.slots.len() {
                *position = 0;
            }
            let slot = self.slots[*position];
            if slot == 0 {
                return 0;
            }
            if same_tag(slot, hash) {
                return slot as u32;
            }
        }
    }
}

/// The items ordered by the first bits of their hashes, so that filling the slots walks through
/// memory; rows with the same bits keep their order.
pub(crate) async fn scattered<K: Hashed + Default>(items: Vec<Item<K>>) -> Vec<Item<K>> {
    let partitions = (items.len() / PARTITION_ROWS).next_power_of_two().min(PARTITIONS_MAX);
    if partitions < 4 {
        return items;
    }
    let shift = u64::BITS - partitions.trailing_zeros();
    let partition = |item: &Item<K>| (item.key.hash() >> shift) as usize;
    let mut places = vec![0_usize; partitions];
    for slice in items.chunks(BUILD_SLICE_ROWS) {
        slice.iter().for_each(|item| places[partition(item)] += 1);
        yield_now().await;
    }
    let mut start = 0;
    for place in &mut places {
        start += std::mem::replace(place, start);
    }
    let mut out = vec![Item::default(); items.len()];
    for slice in items.chunks(BUILD_SLICE_ROWS) {
        for item in slice {
            let place = &mut places[partition(item)];
            out[*place] = *item;
            *place += 1;
        }
        yield_now().await;
    }
    out
}
