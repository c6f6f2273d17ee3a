//! Reads blocks and footers of one segment file through the cache.
//!
//! Owns ranges and their coalescing, and turns store errors into errors with SQLSTATE. Must not
//! decide which blocks a scan needs.

use std::ops::Range;
use std::sync::Arc;

use base::ids::ColumnId;
use base::segment::Segment;
use base::{Error, Retry, error};
use bytes::Bytes;
use columnar::{Block, ColumnIndex, Footer};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{Key, NodeStorage, Value};

/// Ranges closer than this are read as one.
const GAP_BYTES: u64 = 128 << 10;
/// One request asks for no more than this.
const REQUEST_BYTES_MAX: u64 = 8 << 20;

/// What reading cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reads {
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
}

/// An open segment: its footer and the way to its blocks.
pub(crate) struct SegmentReader {
    storage: Arc<NodeStorage>,
    path: Arc<str>,
    footer: Arc<Footer>,
}

/// A block by its column and number.
pub(crate) type BlockId = (ColumnId, usize);

impl SegmentReader {
    /// Opens a segment: one ranged read, or none when the footer is cached.
    pub(crate) async fn open(
        storage: Arc<NodeStorage>,
        segment: &Segment,
    ) -> base::Result<(SegmentReader, Reads)> {
        let path: Arc<str> = segment.path.as_str().into();
        let key = Key { path: Arc::clone(&path), offset: segment.footer_offset };
        if let Some(Value::Footer(footer)) = storage.cache.get(&key) {
            return Ok((SegmentReader { storage, path, footer }, Reads::default()));
        }
        if segment.footer_offset >= segment.bytes {
            return Err(corrupted(&path, "its descriptor gives no room for a footer"));
        }
        let range = segment.footer_offset..segment.bytes;
        let bytes = storage
            .store
            .get_range(&Path::from(&*path), range)
            .await
            .map_err(|error| store_error(&path, error))?;
        let reads = Reads { bytes: bytes.len() as u64, requests: 1 };
        let footer = Footer::parse(&bytes, &path)?;
        if footer.rows != segment.rows {
            return Err(corrupted(&path, "its footer counts other rows than its descriptor"));
        }
        let footer = Arc::new(footer);
        // A parsed footer takes a few times its bytes.
        storage.cache.insert(key, Value::Footer(Arc::clone(&footer)), bytes.len() * 4);
        Ok((SegmentReader { storage, path, footer }, reads))
    }

    pub(crate) fn footer(&self) -> &Footer {
        &self.footer
    }

    fn column(&self, id: ColumnId) -> base::Result<&ColumnIndex> {
        self.footer
            .column(id)
            .ok_or_else(|| Error::internal(format!("segment {} has no column {id}", self.path)))
    }

    /// The block when the cache has it.
    pub(crate) fn cached(&self, (column, block): BlockId) -> Option<Arc<Block>> {
        let index = self.footer.column(column)?.blocks.get(block)?;
        let key = Key { path: Arc::clone(&self.path), offset: index.offset };
        match self.storage.cache.get(&key) {
            Some(Value::Block(block)) => Some(block),
            _ => None,
        }
    }

    /// Reads `blocks` from the store, in the order asked for, and leaves them in the cache.
    pub(crate) async fn read(&self, blocks: &[BlockId]) -> base::Result<(Vec<Arc<Block>>, Reads)> {
        let mut places = Vec::with_capacity(blocks.len());
        for (column, block) in blocks {
            let index = self.column(*column)?;
            let at = index.blocks.get(*block).ok_or_else(|| {
                Error::internal(format!("segment {} has no block {block}", self.path))
            })?;
            places.push((index, *block, at.offset..at.offset + u64::from(at.len)));
        }
        let ranges = coalesced(places.iter().map(|(_, _, range)| range.clone()).collect());
        let path = Path::from(&*self.path);
        let parts = self
            .storage
            .store
            .get_ranges(&path, &ranges)
            .await
            .map_err(|error| store_error(&self.path, error))?;
        let reads = Reads {
            bytes: parts.iter().map(|part| part.len() as u64).sum(),
            requests: ranges.len() as u64,
        };
        let mut opened = Vec::with_capacity(places.len());
        for (index, number, range) in places {
            let bytes = self.cut(&ranges, &parts, &range)?;
            let weight = bytes.len();
            let block = Arc::new(Block::open(bytes, index, number, &self.path)?);
            let key = Key { path: Arc::clone(&self.path), offset: range.start };
            self.storage.cache.insert(key, Value::Block(Arc::clone(&block)), weight);
            opened.push(block);
        }
        Ok((opened, reads))
    }

    /// The bytes of one block out of what was read.
    fn cut(
        &self,
        ranges: &[Range<u64>],
        parts: &[Bytes],
        wanted: &Range<u64>,
    ) -> base::Result<Bytes> {
        let at = ranges.partition_point(|range| range.end < wanted.end);
        let short = || corrupted(&self.path, "it is shorter than its footer says");
        let (range, part) = ranges.get(at).zip(parts.get(at)).ok_or_else(short)?;
        if range == wanted && part.len() as u64 == wanted.end - wanted.start {
            return Ok(part.clone());
        }
        let from = wanted.start.checked_sub(range.start).ok_or_else(short)? as usize;
        let to = from + (wanted.end - wanted.start) as usize;
        // A copy: a slice would keep all that was read along with it for as long as one block
        // of it stays in the cache.
        part.get(from..to).map(Bytes::copy_from_slice).ok_or_else(short)
    }
}

/// The ranges in order, close ones joined.
fn coalesced(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut out: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last)
                if range.start <= last.end + GAP_BYTES
                    && (range.end.max(last.end) - last.start <= REQUEST_BYTES_MAX
                        || range.end <= last.end) =>
            {
                last.end = last.end.max(range.end);
            }
            _ => out.push(range),
        }
    }
    out
}

fn corrupted(path: &str, what: &str) -> Error {
    error!(DataCorrupted, "segment {path} is damaged: {what}")
}

/// A store error while reading a segment, as a client sees it.
pub(crate) fn store_error(path: &str, error: object_store::Error) -> Error {
    match &error {
        object_store::Error::NotFound { .. } => {
            error!(DataCorrupted, "segment {path} is missing from the store").with_source(error)
        }
        _ => error!(IoError, "could not read segment {path}: {error}")
            .retry(Retry::SameStatement)
            .with_source(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_ranges_are_read_together() {
        let far = GAP_BYTES * 10;
        let ranges = vec![far..far + 5, 0..10, 12..20, 5..8];
        assert_eq!(coalesced(ranges), [0..20, far..far + 5]);
    }

    #[test]
    fn requests_stay_bounded() {
        let step = REQUEST_BYTES_MAX / 4;
        let ranges: Vec<_> = (0..16).map(|i| i * step..(i + 1) * step).collect();
        let joined = coalesced(ranges);
        assert_eq!(joined.len(), 4);
        assert!(joined.iter().all(|range| range.end - range.start <= REQUEST_BYTES_MAX));
    }
}
