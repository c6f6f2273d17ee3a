//! Data files: how they are named, and which of them belong to nobody.
//!
//! A file is removed only when its name says that a leader of an earlier epoch wrote it and the
//! state after this leader's epoch record does not name it: that leader can no longer commit.

use std::collections::HashSet;

use base::ids::{Epoch, Oid, SliceId, TxnId};
use base::{Result, fault};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::record::store_error;
use crate::state::State;

/// The prefix of all data files.
pub(crate) const DATA: &str = "data";
/// How many deletes run at once.
const DELETES_AT_ONCE: usize = 16;

/// `data/<table>/<epoch>-<txn>-<slice or all>-<seq>.seg`
pub(crate) fn segment_path(
    epoch: Epoch,
    txn: TxnId,
    table: Oid,
    slice: Option<SliceId>,
    seq: u32,
) -> String {
    match slice {
        Some(slice) => format!("{DATA}/{table}/{epoch}-{txn}-{:04}-{seq}.seg", slice.0),
        None => format!("{DATA}/{table}/{epoch}-{txn}-all-{seq}.seg"),
    }
}

/// The epoch that a data file's name gives; `None` for a name that is not ours.
pub(crate) fn epoch_of(path: &str) -> Option<Epoch> {
    let (table, file) = path.strip_prefix(DATA)?.strip_prefix('/')?.split_once('/')?;
    table.parse::<u32>().ok()?;
    let mut parts = file.split_once('.')?.0.split('-');
    let epoch = parts.next()?.parse().ok()?;
    parts.next()?.parse::<u64>().ok()?;
    Some(Epoch(epoch))
}

/// The data files of epochs before `epoch` that `state` does not name.
pub(crate) async fn orphans(
    store: &dyn ObjectStore,
    state: &State,
    epoch: Epoch,
) -> Result<Vec<String>> {
    fault::point("garbage.before_list")?;
    let named: HashSet<&str> = state.segment_paths().collect();
    let prefix = Path::from(DATA);
    let mut orphans = Vec::new();
    let mut files = store.list(Some(&prefix));
    while let Some(file) = files.next().await {
        let path = file.map_err(|error| store_error("list the data files", error))?.location;
        let path: &str = path.as_ref();
        if epoch_of(path).is_some_and(|of| of < epoch) && !named.contains(path) {
            orphans.push(path.to_owned());
        }
    }
    Ok(orphans)
}

/// The data files whose paths are `prefix`, a dash and more.
pub(crate) async fn written_under(store: &dyn ObjectStore, prefix: &str) -> Result<Vec<String>> {
    let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    let files = store.list(Some(&Path::from(folder)));
    let paths = files.map_ok(|file| file.location.to_string());
    let ours = paths.try_filter(|path| {
        let rest = path.strip_prefix(prefix);
        std::future::ready(rest.is_some_and(|rest| rest.starts_with('-')))
    });
    ours.try_collect().await.map_err(|error| store_error("list the data files", error))
}

/// Removes files; one that is gone already is no error.
pub(crate) async fn remove(store: &dyn ObjectStore, paths: &[String]) -> Result<()> {
    fault::point("garbage.before_delete")?;
    futures::stream::iter(paths.iter().map(|path| Path::from(path.as_str())))
        .map(Ok)
        .try_for_each_concurrent(DELETES_AT_ONCE, |path| async move {
            match store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(store_error(&format!("delete {path}"), error)),
            }
        })
        .await
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_prefix_ends_at_a_dash() {
        let store = InMemory::new();
        let ours = ["data/5/7-42-9-0001-0.seg", "data/5/7-42-9-compact-all-0.seg"];
        let others = ["data/5/7-42-91-0001-0.seg", "data/6/7-42-9-0001-0.seg"];
        for path in ours.iter().chain(&others) {
            store.put(&Path::from(*path), "rows".into()).await.unwrap();
        }
        let mut found = written_under(&store, "data/5/7-42-9").await.unwrap();
        found.sort();
        assert_eq!(found, ours);
        assert!(written_under(&store, "data/77/7-42-9").await.unwrap().is_empty());
    }

    #[test]
    fn names_carry_their_epoch() {
        let path = segment_path(Epoch(7), TxnId(42), Oid(100_001), Some(SliceId(3)), 0);
        assert_eq!(path, "data/100001/7-42-0003-0.seg");
        assert_eq!(epoch_of(&path), Some(Epoch(7)));
        let path = segment_path(Epoch(8), TxnId(1), Oid(5), None, 2);
        assert_eq!(path, "data/5/8-1-all-2.seg");
        assert_eq!(epoch_of(&path), Some(Epoch(8)));
        for other in ["data/x/1-2-3.seg", "data/1/README", "other/1/1-2-0-0.seg", "data/1/x-1.seg"]
        {
            assert_eq!(epoch_of(other), None, "{other}");
        }
    }
}
