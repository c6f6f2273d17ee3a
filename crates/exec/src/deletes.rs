//! Sets of deleted rows: their bytes, and where they are kept.
//!
//! Small sets lie in the descriptor of their segment, large ones in a file beside it. Knows
//! nothing of plans.

use std::ops::Bound;
use std::sync::Arc;

use base::segment::{Bitmap, Deletes, Segment};
use base::{Error, Result, error};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use roaring::RoaringBitmap;

use columnar::Selection;

use crate::cache::{Key, NodeStorage, Reads, Value, store_error};
use crate::write::put_bytes;

/// Sets of more bytes get a file: each commit of their table would log them again.
const INLINE_BYTES_MAX: usize = 4 << 10;
/// From one deleted row in so many on, a set that is kept in memory has a bit for each row.
const WORDS_SHARE: u64 = 256;

/// The deleted rows of a segment, counted from its first, as scans ask for them.
#[derive(Debug)]
pub(crate) struct DeletedRows {
    rows: RoaringBitmap,
    /// A bit for each row of the segment: walking a large set block by block costs more than
    /// what is done with the rows that are left.
    words: Option<Box<[u64]>>,
}

impl DeletedRows {
    fn sparse(rows: RoaringBitmap) -> DeletedRows {
        DeletedRows { rows, words: None }
    }

    /// A set that stays in memory for many scans.
    fn kept(rows: RoaringBitmap, segment_rows: u64) -> DeletedRows {
        let words = (rows.len() * WORDS_SHARE >= segment_rows).then(|| {
            let mut words = vec![0; segment_rows.div_ceil(64) as usize];
            for row in &rows {
                words[row as usize / 64] |= 1 << (row % 64);
            }
            words.into_boxed_slice()
        });
        DeletedRows { rows, words }
    }

    /// The bytes of memory that the bits take.
    fn words_bytes(&self) -> usize {
        self.words.as_ref().map_or(0, |words| words.len() * size_of::<u64>())
    }

    pub(crate) fn set(&self) -> &RoaringBitmap {
        &self.rows
    }

    /// How many of the `rows` rows from `first` on are gone.
    pub(crate) fn count(&self, first: u32, rows: u64) -> usize {
        // Positions end below 2^32, which a range of them need not.
        let end = u32::try_from(u64::from(first) + rows).map_or(Bound::Unbounded, Bound::Excluded);
        self.rows.range_cardinality((Bound::Included(first), end)) as usize
    }

    /// Takes the deleted rows out of a selection whose first row is number `first`.
    pub(crate) fn clear_from(&self, first: u32, selection: &mut Selection) {
        if let Some(words) = &self.words {
            selection.clear_bits(words, first as usize);
            return;
        }
        let mut rows = self.rows.iter();
        rows.advance_to(first);
        while let Some(range) = rows.next_range() {
            let start = (range.start() - first) as usize;
            if start >= selection.len() {
                break;
            }
            selection.clear_range(start..(range.end() - first) as usize + 1);
        }
    }
}

/// The set in its portable form, which its runs make short.
pub(crate) fn to_bytes(rows: &mut RoaringBitmap) -> Result<Vec<u8>> {
    rows.optimize();
    let mut bytes = Vec::with_capacity(rows.serialized_size());
    rows.serialize_into(&mut bytes)
        .map_err(|error| Error::internal(format!("deleted rows have no bytes: {error}")))?;
    Ok(bytes)
}

/// The set that `bytes` hold.
///
/// # Errors
/// XX001 naming what holds them.
pub(crate) fn from_bytes(bytes: &[u8], of: &str) -> Result<RoaringBitmap> {
    RoaringBitmap::deserialize_from(bytes).map_err(|error| {
        error!(DataCorrupted, "the deleted rows in {of} are damaged").detail(format!("{error}."))
    })
}

/// The deleted rows of a segment, through the cache when they are in a file.
///
/// # Errors
/// XX001 when they are damaged, 58030 when the store fails.
pub(crate) async fn load(
    storage: &NodeStorage,
    segment: &Segment,
) -> Result<(Option<Arc<DeletedRows>>, Reads)> {
    let Some(deletes) = &segment.deletes else {
        return Ok((None, Reads::default()));
    };
    let (path, size, checksum) = match &deletes.bitmap {
        Bitmap::Inline(bytes) => {
            let rows = from_bytes(bytes, &segment.path)?;
            check(&rows, deletes, segment, &segment.path)?;
            return Ok((Some(Arc::new(DeletedRows::sparse(rows))), Reads::default()));
        }
        Bitmap::File { path, bytes, checksum } => (path, *bytes, *checksum),
    };
    let key = Key { path: path.as_str().into(), offset: 0 };
    if let Some(Value::Deletes(rows)) = storage.cache.get(&key) {
        return Ok((Some(rows), Reads::default()));
    }
    let got = storage.store.get_range(&Path::from(path.as_str()), 0..size).await;
    let bytes = got.map_err(|error| store_error(path, error))?;
    if bytes.len() as u64 != size || crc32c::crc32c(&bytes) != checksum {
        return Err(damaged(path, "its bytes are not those that were written"));
    }
    let rows = from_bytes(&bytes, path)?;
    check(&rows, deletes, segment, path)?;
    let rows = Arc::new(DeletedRows::kept(rows, segment.rows));
    let memory_bytes = bytes.len() * 2 + rows.words_bytes();
    storage.cache.insert(key, Value::Deletes(Arc::clone(&rows)), memory_bytes);
    Ok((Some(rows), Reads { bytes: size, requests: 1 }))
}

fn check(rows: &RoaringBitmap, deletes: &Deletes, segment: &Segment, of: &str) -> Result<()> {
    if rows.len() != deletes.rows {
        return Err(damaged(of, "it has other deleted rows than its descriptor says"));
    }
    if rows.max().is_some_and(|last| u64::from(last) >= segment.rows) {
        return Err(damaged(of, "it names deleted rows that its segment does not have"));
    }
    Ok(())
}

fn damaged(path: &str, what: &str) -> Error {
    error!(DataCorrupted, "segment {path} is damaged: {what}")
}

/// Keeps a set where its size demands; `path` is used once, and only for a file.
///
/// # Errors
/// 58030 when the store fails.
pub(crate) async fn keep(
    storage: &NodeStorage,
    path: &str,
    mut rows: RoaringBitmap,
) -> Result<Deletes> {
    let count = rows.len();
    let bytes = to_bytes(&mut rows)?;
    if bytes.len() <= INLINE_BYTES_MAX {
        return Ok(Deletes { rows: count, bitmap: Bitmap::Inline(bytes.into()) });
    }
    let (size, checksum) = (bytes.len() as u64, crc32c::crc32c(&bytes));
    put_bytes(&storage.store, path, bytes).await?;
    let bitmap = Bitmap::File { path: path.to_owned(), bytes: size, checksum };
    Ok(Deletes { rows: count, bitmap })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_ranges_clear_the_same_rows() {
        const ROWS: u64 = 10_000;
        let scattered: RoaringBitmap = (0..ROWS as u32).filter(|row| row % 7 == 3).collect();
        let ranges: RoaringBitmap = (0..130).chain(700..701).chain(8_000..10_000).collect();
        for rows in [scattered, ranges, RoaringBitmap::new(), (0..ROWS as u32).collect()] {
            let (sparse, kept) =
                (DeletedRows::sparse(rows.clone()), DeletedRows::kept(rows.clone(), ROWS));
            assert_eq!(kept.words.is_some(), !rows.is_empty());
            for (first, len) in [(0, 1_024), (64, 100), (100, 1_000), (7_999, 2_001), (9_999, 1)] {
                let live = |one: &DeletedRows| {
                    let mut selection = Selection::all(len);
                    one.clear_from(first, &mut selection);
                    selection
                };
                let gone = (first..first + len as u32).filter(|row| rows.contains(*row)).count();
                assert_eq!(live(&sparse), live(&kept), "{first} {len}");
                assert_eq!(live(&kept).count() + gone, len, "{first} {len}");
                assert_eq!(kept.count(first, len as u64), gone, "{first} {len}");
            }
        }
    }
}
