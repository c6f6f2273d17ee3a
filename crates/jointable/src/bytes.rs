//! Keys as bytes: strings as they are, several columns in Arrow's row format.

use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_row::{RowConverter, SortField};
use arrow_schema::{ArrowError, DataType};
use xxhash_rust::xxh3::xxh3_64;

use crate::hashed::{HashIndex, Hashed, Item, Probe};
use crate::values::{each_bytes, is_bytes};
use crate::yielding::yield_now;
use crate::{NO_ROW, VECTOR_ROWS};

/// The bytes of a build row, by its number in the arena.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BytesKey {
    hash: u64,
    number: u32,
}

impl Hashed for BytesKey {
    fn hash(&self) -> u64 {
        self.hash
    }
}

/// Byte strings behind one another.
#[derive(Debug)]
struct Arena {
    bytes: Vec<u8>,
    ends: Vec<u64>,
}

impl Arena {
    fn get(&self, number: u32) -> &[u8] {
        let at = number as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[start as usize..self.ends[at] as usize]
    }

    fn push(&mut self, bytes: &[u8]) -> u32 {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len() as u64);
        (self.ends.len() - 1) as u32
    }
}

/// How key columns become bytes.
#[derive(Debug)]
enum Form {
    /// One column of bytes.
    Plain,
    Rows(RowConverter),
}

/// A hash index over byte strings.
#[derive(Debug)]
pub(crate) struct BytesIndex {
    form: Form,
    nulls_equal: bool,
    arena: Arena,
    pub(crate) index: HashIndex<BytesKey>,
    /// Rows of a single NULL key, when NULLs are equal: first row or start of list, and rows.
    pub(crate) null: (u32, u32),
}

impl BytesIndex {
    pub(crate) fn bytes(&self) -> usize {
        self.arena.bytes.capacity()
            + self.arena.ends.capacity() * size_of::<u64>()
            + self.index.bytes()
    }

    pub(crate) fn keys(&self) -> usize {
        self.index.entries.len() + usize::from(self.null.1 > 0)
    }

    /// An index of all rows, with the lists of rows when a key has several.
    pub(crate) async fn build(
        batches: &[Vec<ArrayRef>],
        types: &[DataType],
        nulls_equal: bool,
    ) -> Result<(BytesIndex, Option<Vec<u32>>), ArrowError> {
        let form = match types {
            [only] if is_bytes(only) => Form::Plain,
            _ => {
                Form::Rows(RowConverter::new(types.iter().cloned().map(SortField::new).collect())?)
            }
        };
        let mut arena = Arena { bytes: Vec::new(), ends: Vec::new() };
        let mut items: Vec<Item<BytesKey>> = Vec::new();
        let mut null_rows: Vec<u32> = Vec::new();
        let mut row = 0_u32;
        for batch in batches {
            let validity = validity(batch, &form, nulls_equal);
            form.each(batch, |at, bytes| {
                let row = row + at as u32;
                if validity.as_ref().is_some_and(|validity| validity.is_null(at)) {
                    null_rows.push(row);
                } else {
                    let key = BytesKey { hash: xxh3_64(bytes), number: arena.push(bytes) };
                    items.push(Item { key, row });
                }
            })?;
            row += batch.first().map_or(0, |column| column.len()) as u32;
            yield_now().await;
        }
        let same = |a: &BytesKey, b: &BytesKey| arena.get(a.number) == arena.get(b.number);
        let (mut index, mut lists) = HashIndex::build(items, same).await;
        let mut null = (NO_ROW, 0);
        if nulls_equal && !null_rows.is_empty() {
            null = match (&mut lists, &null_rows[..]) {
                (None, [only]) => (*only, 1),
                (lists, _) => {
                    let lists = lists.get_or_insert_with(|| listed(&mut index));
                    let start = lists.len() as u32;
                    lists.extend_from_slice(&null_rows);
                    (start, null_rows.len() as u32)
                }
            };
        }
        Ok((BytesIndex { form, nulls_equal, arena, index, null }, lists))
    }

    /// As [`crate::JoinTable::lookup`].
    pub(crate) fn lookup(
        &self,
        keys: &[ArrayRef],
        probe: &mut Probe,
        starts: &mut [u32],
        counts: &mut [u32],
    ) -> Result<(), ArrowError> {
        let validity = validity(keys, &self.form, self.nulls_equal);
        let mut vector = Arena { bytes: Vec::new(), ends: Vec::new() };
        let rows = starts.len();
        let mut ended = 0;
        self.form.each(keys, |row, bytes| {
            probe.hashes[row - ended] = xxh3_64(bytes);
            vector.push(bytes);
            if row + 1 - ended < VECTOR_ROWS && row + 1 < rows {
                return;
            }
            let valid: Vec<u8> = (ended..=row)
                .map(|row| {
                    u8::from(validity.as_ref().is_none_or(|validity| validity.is_valid(row)))
                })
                .collect();
            let counts = match counts.len() {
                0 => &mut [][..],
                _ => &mut counts[ended..=row],
            };
            let same =
                |at: usize, key: &BytesKey| self.arena.get(key.number) == vector.get(at as u32);
            self.index.find(probe, &valid, same, NO_ROW, &mut starts[ended..=row], counts);
            vector.bytes.clear();
            vector.ends.clear();
            ended = row + 1;
        })?;
        if let (true, Some(validity)) = (self.null.1 > 0, validity) {
            for row in (0..rows).filter(|row| validity.is_null(*row)) {
                starts[row] = self.null.0;
                if let Some(count) = counts.get_mut(row) {
                    *count = self.null.1;
                }
            }
        }
        Ok(())
    }
}

/// Gives every entry a list of its one row.
fn listed(index: &mut HashIndex<BytesKey>) -> Vec<u32> {
    let mut lists = Vec::with_capacity(index.entries.len());
    for entry in &mut index.entries {
        lists.push(entry.start);
        entry.start = lists.len() as u32 - 1;
    }
    lists
}

/// Which rows have a key that is compared as bytes; `None` for all of them.
fn validity(keys: &[ArrayRef], form: &Form, nulls_equal: bool) -> Option<NullBuffer> {
    if nulls_equal && matches!(form, Form::Rows(_)) {
        return None;
    }
    keys.iter().fold(None, |all, key| NullBuffer::union(all.as_ref(), key.nulls()))
}

impl Form {
    fn each(
        &self,
        keys: &[ArrayRef],
        mut each: impl FnMut(usize, &[u8]),
    ) -> Result<(), ArrowError> {
        match (self, keys) {
            (Form::Plain, [only]) => each_bytes(only, each),
            (Form::Plain, _) => {
                Err(ArrowError::InvalidArgumentError("other join keys than built".into()))
            }
            (Form::Rows(converter), keys) => {
                let rows = converter.convert_columns(keys)?;
                rows.iter().enumerate().for_each(|(at, row)| each(at, row.as_ref()));
                Ok(())
            }
        }
    }
}
