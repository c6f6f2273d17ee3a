//! Checkpoints: when they are made, and removing the older ones.
//!
//! A checkpoint only shortens start. It is made from a committed state in the background, one
//! at a time; a failure is logged and the next attempt comes with the next records.

use std::sync::Arc;

use base::ids::LogPosition;
use base::{Result, fault};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::task::JoinHandle;

use crate::catalog::{Options, Source};
use crate::history;
use crate::record::{checkpoint_path, encode_checkpoint, store_error};
use crate::state::State;

/// The overwritable hint: the position of the newest checkpoint, in decimal.
pub(crate) const HINT: &str = "catalog/CKPT";
/// The prefix of all checkpoints.
pub(crate) const CHECKPOINTS: &str = "catalog/ckpt";
/// How many of the newest checkpoints stay.
const KEPT: usize = 2;

/// Counts what was written and makes checkpoints.
pub(crate) struct Checkpoints {
    store: Arc<dyn ObjectStore>,
    records_max: u64,
    bytes_max: u64,
    records: u64,
    bytes: u64,
    running: Option<JoinHandle<()>>,
    source: Source,
}

impl Checkpoints {
    /// `since` is what was replayed: records and bytes.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, options: &Options, since: (u64, u64)) -> Self {
        Self {
            store,
            records_max: options.checkpoint_records.max(1),
            bytes_max: options.checkpoint_bytes.max(1),
            records: since.0,
            bytes: since.1,
            running: None,
            source: options.source.clone(),
        }
    }

    /// Notes a committed record; starts a checkpoint when it is time and none is being made.
    pub(crate) fn wrote(&mut self, state: &Arc<State>, checksum: u32, bytes: u64) {
        self.records += 1;
        self.bytes += bytes;
        if self.records < self.records_max && self.bytes < self.bytes_max {
            return;
        }
        if self.running.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        self.records = 0;
        self.bytes = 0;
        let store = self.store.clone();
        let (state, source) = (state.clone(), self.source.clone());
        self.running = Some(base::task::spawn("catalog.checkpoint", async move {
            let position = state.position();
            if let Err(error) = write(&*store, state, checksum, &source).await {
                tracing::warn!(%error, %position, "checkpoint failed, the older one holds");
            }
        }));
    }

    /// Waits for the one being made.
    pub(crate) async fn finish(&mut self) {
        if let Some(task) = self.running.take() {
            drop(task.await);
        }
    }
}

/// Writes a checkpoint and the hint, then removes those that neither start nor time travel needs.
async fn write(
    store: &dyn ObjectStore,
    state: Arc<State>,
    checksum: u32,
    source: &Source,
) -> Result<()> {
    let position = state.position();
    let bytes = encode_checkpoint(&state, source.nonce(), checksum)?;
    fault::point("checkpoint.before_put")?;
    let path = checkpoint_path(position);
    let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match store.put_opts(&path, PutPayload::from_bytes(bytes), create).await {
        // A state is a function of its position: what another leader wrote there is as good.
        Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
        Err(error) => return Err(store_error(&format!("write checkpoint {path}"), error)),
    }
    fault::point("checkpoint.before_hint")?;
    store
        .put(&Path::from(HINT), PutPayload::from(position.0.to_string()))
        .await
        .map_err(|error| store_error(&format!("write {HINT}"), error))?;
    fault::point("checkpoint.before_delete")?;
    let horizon_us = history::horizon_us(&state, source.now_us());
    drop(state);
    for old in superseded(list_with_times(store).await?, horizon_us) {
        let path = checkpoint_path(old);
        match store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(store_error(&format!("delete checkpoint {path}"), error)),
        }
    }
    Ok(())
}

/// The checkpoints to remove: all older than the two newest and than the one from which the
/// state at the horizon is read.
fn superseded(checkpoints: Vec<(LogPosition, i64)>, horizon_us: i64) -> Vec<LogPosition> {
    // The last modification is not before the state's time.
    let first = checkpoints.iter().position(|(_, modified_us)| *modified_us <= horizon_us);
    let kept = first.map_or(checkpoints.len(), |first| (first + 1).max(KEPT));
    checkpoints.into_iter().skip(kept).map(|(position, _)| position).collect()
}

/// The positions of the checkpoints in the store, newest first.
pub(crate) async fn list(store: &dyn ObjectStore) -> Result<Vec<LogPosition>> {
    let listed = list_with_times(store).await?;
    Ok(listed.into_iter().map(|(position, _)| position).collect())
}

/// The same with the time of the last modification in microseconds since the Unix epoch.
async fn list_with_times(store: &dyn ObjectStore) -> Result<Vec<(LogPosition, i64)>> {
    let files: Vec<_> = store
        .list(Some(&Path::from(CHECKPOINTS)))
        .try_collect()
        .await
        .map_err(|error| store_error("list the checkpoints", error))?;
    let mut positions: Vec<(LogPosition, i64)> = files
        .iter()
        .filter_map(|file| {
            let position = file.location.filename()?.parse().ok()?;
            Some((LogPosition(position), file.last_modified.timestamp_micros()))
        })
        .collect();
    positions.sort_unstable_by(|a, b| b.cmp(a));
    Ok(positions)
}
