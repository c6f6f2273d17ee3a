//! What the partitions of a load tell the leader besides rows: where each unit began and ended,
//! how many lines it had, and which rows were rejected.
//!
//! The rows of a load go from the scan straight into segments, so that this needs a way of its
//! own. It goes through the cluster's store, which leader and compute nodes share however they
//! are run: each partition writes one small object when it ends, well or badly, and the leader
//! reads and removes them all. A partition keeps a bounded number of rejected rows.

use std::sync::Arc;
use std::time::Duration;

use base::ids::QueryId;
use base::{Error, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use crate::reject::Rejection;

/// Where reports lie in the store.
const PREFIX: &str = "load-reports";
/// Reports read or removed at once.
const AT_ONCE: usize = 8;

/// One run of a load: a load is run twice when a split turns out to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) query: QueryId,
    pub(crate) attempt: u32,
}

impl Run {
    fn name(self) -> String {
        format!("{}-{}-", self.query, self.attempt)
    }

    fn path(self, partition: u32) -> Path {
        Path::from(format!("{PREFIX}/{}{partition}.json", self.name()))
    }

    /// The reports that are there now. All loads share one directory, because a local store
    /// keeps directories that have become empty.
    async fn found(self, store: &Arc<dyn ObjectStore>) -> Result<Vec<Path>> {
        let mut found = all(store).await?;
        let name = self.name();
        found.retain(|path| path.filename().is_some_and(|file| file.starts_with(&name)));
        Ok(found)
    }
}

/// The reports of all loads.
async fn all(store: &Arc<dyn ObjectStore>) -> Result<Vec<Path>> {
    let prefix = Path::from(PREFIX);
    let found = store.list(Some(&prefix)).map_ok(|meta| meta.location).try_collect().await;
    found.map_err(|error| remote::store_error(format!("list {prefix}"), error))
}

/// What one partition did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartitionReport {
    /// Counted over all tasks; it is also the slice.
    pub(crate) partition: u32,
    pub(crate) rows: u64,
    pub(crate) units: Vec<UnitReport>,
}

/// What became of one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnitReport {
    pub(crate) unit: u32,
    /// False when reading it was given up.
    pub(crate) finished: bool,
    pub(crate) first_record: u64,
    pub(crate) next_record: u64,
    pub(crate) lines: u64,
    pub(crate) rows: u64,
    pub(crate) rejected: u64,
    pub(crate) rejections: Vec<Rejection>,
}

/// Writes a partition's report.
///
/// # Errors
/// 58030 when the store fails.
pub(crate) async fn write(
    store: &Arc<dyn ObjectStore>,
    run: Run,
    report: &PartitionReport,
) -> Result<()> {
    let json = serde_json::to_vec(report)
        .map_err(|error| Error::internal(format!("could not write a load report: {error}")))?;
    let path = run.path(report.partition);
    store
        .put(&path, PutPayload::from(json))
        .await
        .map_err(|error| remote::store_error(format!("write {path}"), error))?;
    Ok(())
}

/// Reads the reports of a run, in partition order, and removes them.
///
/// # Errors
/// 58030 when the store fails, XX001 when a report cannot be read.
pub(crate) async fn take(store: &Arc<dyn ObjectStore>, run: Run) -> Result<Vec<PartitionReport>> {
    let failed = |error| remote::store_error("read a load report", error);
    let found = run.found(store).await?;
    let mut reports: Vec<PartitionReport> = futures::stream::iter(found.clone())
        .map(|path| async move {
            let bytes = store.get(&path).await.map_err(failed)?.bytes().await.map_err(failed)?;
            serde_json::from_slice(&bytes).map_err(|error| {
                base::error!(DataCorrupted, "load report {path} is damaged: {error}")
            })
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    remove(store, found).await;
    reports.sort_by_key(|report| report.partition);
    Ok(reports)
}

/// Removes objects; what cannot be removed now is left for [`remove_stale`].
async fn remove(store: &Arc<dyn ObjectStore>, paths: Vec<Path>) {
    futures::stream::iter(paths)
        .for_each_concurrent(AT_ONCE, |path| async move {
            if let Err(error) = store.delete(&path).await {
                tracing::debug!(%path, %error, "a load report was left behind");
            }
        })
        .await;
}

/// How long after the end of a failed load a partition may still write its report.
const LATE: Duration = Duration::from_secs(10);

/// Removes, a little later, the reports of partitions that were just ending when a load failed.
pub(crate) fn remove_late(store: &Arc<dyn ObjectStore>, run: Run) {
    let store = Arc::clone(store);
    base::task::spawn("removing load reports", async move {
        tokio::time::sleep(LATE).await;
        // What cannot be listed now is left for the next start.
        let found = run.found(&store).await.unwrap_or_default();
        remove(&store, found).await;
    });
}

/// Removes what loads of former leaders left: call it when a leader has started and before it
/// serves.
///
/// # Errors
/// 58030 when the store cannot be listed.
pub async fn remove_stale(store: &Arc<dyn ObjectStore>) -> Result<()> {
    let found = all(store).await?;
    remove(store, found).await;
    Ok(())
}
