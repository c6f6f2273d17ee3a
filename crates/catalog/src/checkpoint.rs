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

use crate::catalog::Options;
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
        let state = state.clone();
        self.running = Some(base::task::spawn("catalog.checkpoint", async move {
            let position = state.position();
            if let Err(error) = write(&*store, state, checksum).await {
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

/// Writes a checkpoint and the hint, then removes all but the newest.
async fn write(store: &dyn ObjectStore, state: Arc<State>, checksum: u32) -> Result<()> {
    let position = state.position();
    let bytes = encode_checkpoint(&state, base::rng::u64(), checksum)?;
    drop(state);
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
    for old in list(store).await?.into_iter().skip(KEPT) {
        let path = checkpoint_path(old);
        match store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(store_error(&format!("delete checkpoint {path}"), error)),
        }
    }
    Ok(())
}

/// The positions of the checkpoints in the store, newest first.
pub(crate) async fn list(store: &dyn ObjectStore) -> Result<Vec<LogPosition>> {
    let files: Vec<_> = store
        .list(Some(&Path::from(CHECKPOINTS)))
        .try_collect()
        .await
        .map_err(|error| store_error("list the checkpoints", error))?;
    let mut positions: Vec<LogPosition> = files
        .iter()
        .filter_map(|file| file.location.filename()?.parse().ok())
        .map(LogPosition)
        .collect();
    positions.sort_unstable_by(|a, b| b.cmp(a));
    Ok(positions)
}
