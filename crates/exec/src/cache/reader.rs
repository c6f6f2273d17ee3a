//! Reads blocks, footers and deleted rows of one segment through the cache.
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
use crate::deletes::{self, DeletedRows};

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

/// Where the bytes of a segment are.
enum Source {
    Store,
    /// In its descriptor.
    Memory(Bytes),
}

/// An open segment: its footer and deleted rows, and the way to its blocks.
pub(crate) struct SegmentReader {
    storage: Arc<NodeStorage>,
    path: Arc<str>,
    number: u32,
    source: Source,
    footer: Arc<Footer>,
    deletes: Option<Arc<DeletedRows>>,
}

/// A block by its column and number.
pub(crate) type BlockId = (ColumnId, usize);

impl SegmentReader {
    /// Opens a segment: one ranged read, or none when the footer is cached or the segment lies
    /// in its descriptor; and one for deleted rows in a file of their own.
    pub(crate) async fn open(
        storage: Arc<NodeStorage>,
        segment: &Segment,
    ) -> base::Result<(SegmentReader, Reads)> {
        let path: Arc<str> = segment.path.as_str().into();
        let source = match &segment.inline {
            Some(bytes) => Source::Memory(Bytes::from_owner(Arc::clone(bytes))),
            None => Source::Store,
        };
        let (footer, more) = tokio::try_join!(
            footer(&storage, segment, &path, &source),
            deletes::load(&storage, segment)
        )?;
        let ((footer, mut reads), (deletes, also)) = (footer, more);
        reads.bytes += also.bytes;
        reads.requests += also.requests;
        let number = segment.number;
        Ok((SegmentReader { storage, path, number, source, footer, deletes }, reads))
    }

    /// The rows that are gone, counted from the segment's first.
    pub(crate) fn deletes(&self) -> Option<&Arc<DeletedRows>> {
        self.deletes.as_ref()
    }

    /// The segment's number in its table.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn footer(&self) -> &Footer {
        &self.footer
    }

    fn column(&self, id: ColumnId) -> base::Result<&ColumnIndex> {
        self.footer
            .column(id)
            .ok_or_else(|| Error::internal(format!("segment {} has no column {id}", self.path)))
    }

    /// The block when no read is needed for it.
    pub(crate) fn at_hand(&self, (column, block): BlockId) -> base::Result<Option<Arc<Block>>> {
        let Some(index) = self.footer.column(column) else {
            return Ok(None);
        };
        let Some(at) = index.blocks.get(block) else {
            return Ok(None);
        };
        let key = Key { path: Arc::clone(&self.path), offset: at.offset };
        if let Some(Value::Block(block)) = self.storage.cache.get(&key) {
            return Ok(Some(block));
        }
        let Source::Memory(bytes) = &self.source else {
            return Ok(None);
        };
        let (from, len) = (at.offset as usize, at.len as usize);
        if bytes.len().saturating_sub(from) < len {
            return Err(corrupted(&self.path, "it is shorter than its footer says"));
        }
        let block = Block::open(bytes.slice(from..from + len), index, block, &self.path)?;
        let block = Arc::new(block);
        self.storage.cache.insert(key, Value::Block(Arc::clone(&block)), len);
        Ok(Some(block))
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

/// The segment's footer, through the cache.
async fn footer(
    storage: &NodeStorage,
    segment: &Segment,
    path: &Arc<str>,
    source: &Source,
) -> base::Result<(Arc<Footer>, Reads)> {
    let key = Key { path: Arc::clone(path), offset: segment.footer_offset };
    if let Some(Value::Footer(footer)) = storage.cache.get(&key) {
        return Ok((footer, Reads::default()));
    }
    if segment.footer_offset >= segment.bytes {
        return Err(corrupted(path, "its descriptor gives no room for a footer"));
    }
    let range = segment.footer_offset..segment.bytes;
    let (bytes, reads) = match source {
        Source::Memory(bytes) if bytes.len() as u64 == segment.bytes => {
            (bytes.slice(range.start as usize..), Reads::default())
        }
        Source::Memory(_) => {
            return Err(corrupted(path, "its descriptor has other bytes than it says"));
        }
        Source::Store => {
            let got = storage.store.get_range(&Path::from(&**path), range).await;
            let bytes = got.map_err(|error| store_error(path, error))?;
            let reads = Reads { bytes: bytes.len() as u64, requests: 1 };
            (bytes, reads)
        }
    };
    let footer = Footer::parse(&bytes, path)?;
    if footer.checksum != segment.footer_checksum {
        return Err(corrupted(path, "it is not the segment that its descriptor describes"));
    }
    if footer.rows != segment.rows {
        return Err(corrupted(path, "its footer counts other rows than its descriptor"));
    }
    let footer = Arc::new(footer);
    // A parsed footer takes a few times its bytes.
    storage.cache.insert(key, Value::Footer(Arc::clone(&footer)), bytes.len() * 4);
    Ok((footer, reads))
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
