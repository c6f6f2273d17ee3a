//! Fetching a file's bytes from its store, a bounded number of ranges ahead.

use std::ops::Range;
use std::sync::Arc;

use base::{Error, Result};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::mpsc;

use crate::input::Piece;
use crate::progress::Progress;

/// One request of the unit's own bytes.
const REQUEST_BYTES: u64 = 4 << 20;
/// One request beyond the unit's end, for the rest of its last record.
const BEYOND_BYTES: u64 = 256 << 10;
/// Requests under way at once.
const REQUESTS_MAX: usize = 2;

/// A file of the load in its store.
#[derive(Clone, Debug)]
pub(crate) struct StoredFile {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    pub(crate) size: u64,
    /// As errors name it.
    pub(crate) name: Arc<str>,
}

impl StoredFile {
    pub(crate) async fn range(&self, range: Range<u64>) -> Result<Bytes> {
        let expected = range.end - range.start;
        let bytes = self
            .store
            .get_range(&self.path, range)
            .await
            .map_err(|error| remote::store_error(format!("read {}", self.name), error))?;
        if bytes.len() as u64 == expected { Ok(bytes) } else { Err(self.changed()) }
    }

    pub(crate) async fn ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let found = self.store.get_ranges(&self.path, ranges).await;
        found.map_err(|error| remote::store_error(format!("read {}", self.name), error))
    }

    fn changed(&self) -> Error {
        base::error!(ObjectNotInPrerequisiteState, "file {} changed while it was read", self.name)
            .hint("Load from files that nothing writes to.")
    }

    /// The bytes of `range` in order.
    fn pieces(&self, range: Range<u64>) -> impl Stream<Item = Result<Bytes>> + '_ {
        let starts = (range.start..range.end).step_by(REQUEST_BYTES as usize);
        futures::stream::iter(starts)
            .map(move |start| self.range(start..(start + REQUEST_BYTES).min(range.end)))
            .buffered(REQUESTS_MAX)
    }

    /// Sends the bytes from `range.start` on: those of the range, then more in small requests
    /// for as long as the reader takes them, to the end of the file.
    pub(crate) async fn feed(
        self,
        range: Range<u64>,
        sender: mpsc::Sender<Piece>,
        progress: Option<Arc<Progress>>,
    ) {
        let end = range.end.min(self.size);
        let mut pieces = std::pin::pin!(self.pieces(range.start..end));
        while let Some(piece) = pieces.next().await {
            let len = piece.as_ref().map_or(0, Bytes::len) as u64;
            if !send(&sender, piece).await {
                return;
            }
            if let Some(progress) = &progress {
                progress.add_bytes(len);
            }
        }
        let mut at = end;
        while at < self.size {
            let next = (at + BEYOND_BYTES).min(self.size);
            // What lies beyond belongs to another unit's progress.
            if !send(&sender, self.range(at..next).await).await {
                return;
            }
            at = next;
        }
        // Nobody may be listening any more, which is as well.
        let _ = sender.send(Piece::End).await;
    }
}

/// Returns false when there is no point in sending more.
async fn send(sender: &mpsc::Sender<Piece>, piece: Result<Bytes>) -> bool {
    match piece {
        Ok(bytes) => sender.send(Piece::Bytes(bytes)).await.is_ok(),
        Err(error) => {
            let _ = sender.send(Piece::Failed(error)).await;
            false
        }
    }
}
