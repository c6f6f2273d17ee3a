//! Sets of deleted rows: their bytes, and where they are kept.
//!
//! Small sets lie in the descriptor of their segment, large ones in a file beside it. Knows
//! nothing of plans.

use std::sync::Arc;

use base::segment::{Bitmap, Deletes, Segment};
use base::{Error, Result, error};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use roaring::RoaringBitmap;

use crate::cache::{Key, NodeStorage, Reads, Value, store_error};
use crate::write::put_bytes;

/// Sets of more bytes get a file: each commit of their table would log them again.
const INLINE_BYTES_MAX: usize = 4 << 10;

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
) -> Result<(Option<Arc<RoaringBitmap>>, Reads)> {
    let Some(deletes) = &segment.deletes else {
        return Ok((None, Reads::default()));
    };
    let (path, size, checksum) = match &deletes.bitmap {
        Bitmap::Inline(bytes) => {
            let rows = from_bytes(bytes, &segment.path)?;
            check(&rows, deletes, segment, &segment.path)?;
            return Ok((Some(Arc::new(rows)), Reads::default()));
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
    let rows = Arc::new(rows);
    storage.cache.insert(key, Value::Deletes(Arc::clone(&rows)), bytes.len() * 2);
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
