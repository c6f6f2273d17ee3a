//! Start: the store's self-test, the newest checkpoint, the records after it, the epoch record.

use std::sync::Arc;

use base::ids::LogPosition;
use base::{Result, error, fail, fault};
use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::catalog::Options;
use crate::checkpoint;
use crate::commit::{Outcome, Slot};
use crate::object::Cluster;
use crate::op::Op;
use crate::record::{
    Committed, Header, Record, checkpoint_path, damaged, decode, decode_checkpoint, log_path,
    replay, store_error,
};
use crate::state::State;

/// How often the store's self-test is made when requests of it fail.
const SELF_TESTS_MAX: u32 = 4;
/// How many slots may be lost to other leaders that start at the same time.
const SLOTS_MAX: usize = 1_000;

/// A catalog that has been read and claimed.
pub(crate) struct Started {
    pub(crate) state: State,
    /// The checksum of the last record.
    pub(crate) checksum: u32,
    /// The records and bytes after the checkpoint.
    pub(crate) since_checkpoint: (u64, u64),
}

/// Reads the catalog and appends this leader's epoch record.
pub(crate) async fn start(store: &Arc<dyn ObjectStore>, options: &Options) -> Result<Started> {
    fault::point("start.before_test")?;
    test_put_if_absent(&**store, options).await?;
    let mut started = read(&**store, options).await?;
    if !options.rules.epoch_record && started.state.cluster().is_some() {
        return Ok(started);
    }
    for _ in 0..SLOTS_MAX {
        if claim(&**store, options, &mut started).await? {
            return Ok(started);
        }
        // Another leader was faster: its record is part of the log like any other.
        catch_up(&**store, options, &mut started).await?;
    }
    fail!(CannotConnectNow, "other leaders keep taking over this cluster")
}

/// The store's self-test. A request that fails says nothing about the store, nor does a first put
/// that finds its object: its answer was lost and it was sent again, or the store saw a conflict.
async fn test_put_if_absent(store: &dyn ObjectStore, options: &Options) -> Result<()> {
    for _ in 1..SELF_TESTS_MAX {
        match create_twice(store, options).await {
            Err(error) if error.sqlstate() == base::SqlState::IoError => {
                tracing::warn!(%error, "the store's self-test failed and is made again");
                options.pause().await;
            }
            answer => return answer,
        }
    }
    create_twice(store, options).await
}

/// Creates the same object twice: the second time must fail.
async fn create_twice(store: &dyn ObjectStore, options: &Options) -> Result<()> {
    let path = Path::from(format!("catalog/selftest-{:016x}", options.source.nonce()));
    let what = |error| store_error("write to the store", error);
    let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let payload = PutPayload::from_static(b"put-if-absent");
    store.put_opts(&path, payload.clone(), create()).await.map_err(what)?;
    let second = store.put_opts(&path, payload, create()).await;
    if let Err(error) = store.delete(&path).await {
        tracing::warn!(%error, %path, "the self-test's object stays behind");
    }
    match second {
        Err(
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. },
        ) => Ok(()),
        Ok(_) => Err(error!(SystemError, "the store does not support put-if-absent")
            .detail("The same object could be created twice; commits would not be safe.")
            .hint("Use a store with conditional writes (If-None-Match: *).")),
        Err(error) => Err(store_error("test the store's put-if-absent", error)),
    }
}

async fn read(store: &dyn ObjectStore, options: &Options) -> Result<Started> {
    fault::point("start.before_read")?;
    let mut started = newest_checkpoint(store).await?;
    fault::point("start.before_replay")?;
    catch_up(store, options, &mut started).await?;
    Ok(started)
}

/// The newest checkpoint that verifies; the empty state when there is none.
async fn newest_checkpoint(store: &dyn ObjectStore) -> Result<Started> {
    for position in candidates(store).await? {
        let path = checkpoint_path(position);
        let Some(bytes) = fetch(store, &path, "checkpoint").await? else { continue };
        match decode_checkpoint(&path, position, &bytes) {
            Ok((state, checksum)) => {
                return Ok(Started { state, checksum, since_checkpoint: (0, 0) });
            }
            Err(error) if error.sqlstate() == base::SqlState::DataCorrupted => {
                tracing::error!(?error, "checkpoint is damaged, trying the one before it");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Started { state: State::default(), checksum: 0, since_checkpoint: (0, 0) })
}

/// The positions of checkpoints, newest first: those listed and the one that the hint names,
/// in case the list lags behind.
async fn candidates(store: &dyn ObjectStore) -> Result<Vec<LogPosition>> {
    let mut positions = checkpoint::list(store).await?;
    let hint = fetch(store, &Path::from(checkpoint::HINT), "hint").await?;
    let hinted = hint.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.trim().parse().ok());
    positions.extend(hinted.map(LogPosition));
    positions.sort_unstable_by(|a, b| b.cmp(a));
    positions.dedup();
    Ok(positions)
}

/// Applies the records after the state, up to the first slot that is absent.
async fn catch_up(store: &dyn ObjectStore, options: &Options, started: &mut Started) -> Result<()> {
    let first = started.state.position().0 + 1;
    let reads = options.replay_reads.max(1);
    let mut slots = futures::stream::iter(first..)
        .map(|position| async move {
            let position = LogPosition(position);
            (position, fetch(store, &log_path(position), "log record").await)
        })
        .buffered(reads);
    let mut absent = None;
    let mut beyond = 0;
    while let Some((position, bytes)) = slots.next().await {
        match (bytes?, absent) {
            (Some(bytes), None) => {
                apply(started, decode(&log_path(position), position, &bytes)?)?;
            }
            (None, None) => absent = Some(position),
            // Another leader may have written both since the first was read.
            (Some(_), Some(gap)) => return reread(store, options, started, gap).await,
            (None, Some(_)) => {}
        }
        if absent.is_some() {
            beyond += 1;
            if beyond >= reads {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A slot was absent and a later one was not: now it must be there, or the log has a hole.
async fn reread(
    store: &dyn ObjectStore,
    options: &Options,
    started: &mut Started,
    gap: LogPosition,
) -> Result<()> {
    let path = log_path(gap);
    let Some(bytes) = fetch(store, &path, "log record").await? else {
        return Err(error!(DataCorrupted, "log record {path} is missing")
            .detail("Later records exist, so that it was written and has been lost."));
    };
    apply(started, decode(&path, gap, &bytes)?)?;
    Box::pin(catch_up(store, options, started)).await
}

fn apply(started: &mut Started, record: Record) -> Result<()> {
    replay(&mut started.state, started.checksum, &record)?;
    started.checksum = record.checksum;
    started.since_checkpoint.0 += 1;
    started.since_checkpoint.1 += record.bytes;
    Ok(())
}

/// Appends the epoch record; false when another leader took the slot.
async fn claim(store: &dyn ObjectStore, options: &Options, started: &mut Started) -> Result<bool> {
    let position = LogPosition(started.state.position().0 + 1);
    let epoch = started.state.epoch().0 + 1;
    let source = &options.source;
    let at_us = source.now_us().max(started.state.time_us());
    let mut ops = Vec::new();
    if started.state.cluster().is_none() {
        if position != LogPosition(1) {
            return Err(damaged("log record", &log_path(LogPosition(1)), "it makes no cluster"));
        }
        ops.push(Op::CreateCluster(Cluster {
            id: format!("{:016x}{:016x}", source.nonce(), source.nonce()),
            slices: options.slices,
            created_us: at_us,
        }));
    }
    ops.push(Op::StartEpoch { epoch, started_us: at_us });
    let transactions = vec![Committed { id: base::ids::TxnId(0), at_us, ops }];
    let header = Header {
        epoch: base::ids::Epoch(epoch),
        position,
        nonce: source.nonce(),
        previous: started.checksum,
    };
    fault::point("start.before_epoch")?;
    match (Slot { store, options, header, transactions: &transactions }).fill().await? {
        Outcome::Mine { checksum, bytes } => {
            fault::point("start.after_epoch")?;
            apply(started, Record { header, checksum, transactions, bytes })?;
            Ok(true)
        }
        Outcome::Another => Ok(false),
        Outcome::Refused(error) | Outcome::Unknown(error) => Err(error),
    }
}

/// An object's bytes; `None` when it is absent.
pub(crate) async fn fetch(
    store: &dyn ObjectStore,
    path: &Path,
    kind: &str,
) -> Result<Option<Bytes>> {
    let what = || format!("read {kind} {path}");
    match store.get(path).await {
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(store_error(&what(), error)),
        Ok(found) => found.bytes().await.map(Some).map_err(|error| store_error(&what(), error)),
    }
}
