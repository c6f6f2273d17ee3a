//! Tests of the durable store over a directory.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};

use super::DirectoryStore;

fn open() -> (tempfile::TempDir, DirectoryStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(&directory.path().join("a/b")).unwrap();
    (directory, store)
}

fn create() -> PutOptions {
    PutOptions { mode: PutMode::Create, ..PutOptions::default() }
}

async fn paths(store: &DirectoryStore, prefix: Option<&str>) -> Vec<String> {
    let prefix = prefix.map(Path::from);
    let found: Vec<_> = store.list(prefix.as_ref()).try_collect().await.unwrap();
    let mut paths: Vec<String> = found.iter().map(|meta| meta.location.to_string()).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn objects_are_put_read_listed_and_deleted() {
    let (_directory, store) = open();
    for path in ["x", "data/1/a.seg", "data/1/b.seg", "data/2/c.seg", "database"] {
        store.put(&Path::from(path), path.into()).await.unwrap();
    }
    assert_eq!(paths(&store, None).await.len(), 5);
    assert_eq!(paths(&store, Some("data")).await.len(), 3, "prefixes are whole parts");
    assert_eq!(paths(&store, Some("data/1")).await, ["data/1/a.seg", "data/1/b.seg"]);
    assert!(paths(&store, Some("absent")).await.is_empty());
    let top = store.list_with_delimiter(None).await.unwrap();
    assert_eq!((top.objects.len(), top.common_prefixes), (2, vec![Path::from("data")]));
    let path = Path::from("data/1/a.seg");
    assert_eq!(store.get_range(&path, 5..7).await.unwrap(), "1/");
    let ranges = store.get_ranges(&path, &[0..4, 7..100]).await.unwrap();
    assert_eq!(ranges, [Bytes::from("data"), Bytes::from("a.seg")]);
    let last = GetOptions { range: Some(GetRange::Suffix(3)), ..GetOptions::default() };
    assert_eq!(store.get_opts(&path, last).await.unwrap().bytes().await.unwrap(), "seg");
    assert!(store.get_range(&path, 50..60).await.is_err());
    assert_eq!(store.head(&path).await.unwrap().size, 12);
    assert_eq!(store.files().read("data/1/a.seg", 0..4).unwrap(), "data");
    assert_eq!(store.files().read("absent", 0..4).unwrap_err().sqlstate().code(), "58P01");
    store.copy(&path, &Path::from("copy/here")).await.unwrap();
    assert!(store.copy_if_not_exists(&path, &Path::from("x")).await.is_err());
    store.delete(&path).await.unwrap();
    assert!(matches!(store.delete(&path).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.get(&path).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.get(&Path::from("data")).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.get(&Path::from("x/y")).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_large_object_streams() {
    let (_directory, store) = open();
    let bytes = Bytes::from(vec![7_u8; 20 << 20]);
    let path = Path::from("large");
    store.put(&path, bytes.clone().into()).await.unwrap();
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), bytes);
    let range = store.get_range(&path, 1..(10 << 20)).await.unwrap();
    assert_eq!(range.len(), (10 << 20) - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn put_if_absent_has_one_winner() {
    let (directory, store) = open();
    // A second handle stands for a second process: nothing is shared but the directory.
    let other = DirectoryStore::open(&directory.path().join("a/b")).unwrap();
    for round in 0..30 {
        let path = Path::from(format!("log/{round}"));
        let puts = (0..16).map(|n| {
            let store = if n % 2 == 0 { store.clone() } else { other.clone() };
            let path = path.clone();
            tokio::spawn(async move {
                let payload = PutPayload::from(format!("{n}"));
                (n, store.put_opts(&path, payload, create()).await)
            })
        });
        let mut winners = Vec::new();
        for put in futures::future::join_all(puts).await {
            match put.unwrap() {
                (n, Ok(_)) => winners.push(n),
                (_, Err(Error::AlreadyExists { .. })) => {}
                (_, Err(error)) => panic!("{error}"),
            }
        }
        assert_eq!(winners.len(), 1);
        let found = store.get(&path).await.unwrap().bytes().await.unwrap();
        assert_eq!(found, winners[0].to_string());
    }
}

#[tokio::test]
async fn what_a_crash_left_is_neither_listed_nor_kept() {
    let (directory, store) = open();
    let temporary = directory.path().join("a/b/.tmp");
    // No process has this id; this one's own files stay.
    let dead = temporary.join("4999999-0-00");
    let own = temporary.join(format!("{}-999-00", std::process::id()));
    std::fs::write(&dead, "half").unwrap();
    std::fs::write(&own, "half").unwrap();
    assert!(paths(&store, None).await.is_empty());
    assert!(store.list_with_delimiter(None).await.unwrap().common_prefixes.is_empty());
    DirectoryStore::open(&directory.path().join("a/b")).unwrap();
    assert!(!dead.exists() && own.exists());
    std::fs::remove_file(own).unwrap();
    for path in ["one", "two"] {
        store.put_opts(&Path::from(path), path.into(), create()).await.unwrap();
        drop(store.put_opts(&Path::from(path), path.into(), create()).await);
        store.put(&Path::from(path), "again".into()).await.unwrap();
    }
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "nothing is left behind");
}

#[tokio::test]
async fn an_upload_appears_whole_or_not_at_all() {
    let (directory, store) = open();
    let path = Path::from("data/up");
    let mut upload = store.put_multipart(&path).await.unwrap();
    let parts: Vec<_> =
        ["one ", "two ", "three"].into_iter().map(|part| upload.put_part(part.into())).collect();
    // In another order than they were begun.
    for part in parts.into_iter().rev() {
        part.await.unwrap();
    }
    assert!(store.head(&path).await.is_err());
    upload.complete().await.unwrap();
    let found = store.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!(found, "one two three");
    assert!(upload.complete().await.is_err());
    let mut aborted = store.put_multipart(&Path::from("data/no")).await.unwrap();
    aborted.put_part("x".into()).await.unwrap();
    aborted.abort().await.unwrap();
    let mut dropped = store.put_multipart(&Path::from("data/no")).await.unwrap();
    dropped.put_part("x".into()).await.unwrap();
    drop(dropped);
    let mut holed = store.put_multipart(&Path::from("data/no")).await.unwrap();
    drop(holed.put_part("x".into()));
    assert!(holed.complete().await.is_err(), "a part that was never written");
    assert_eq!(paths(&store, None).await, ["data/up"]);
    assert_eq!(std::fs::read_dir(directory.path().join("a/b/.tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn no_path_leads_out_of_the_store() {
    let (directory, store) = open();
    std::fs::write(directory.path().join("outside"), "x").unwrap();
    for text in ["../outside", "../../outside", "a/../../../outside", ".tmp/x", ".", ".."] {
        if let Ok(path) = Path::parse(text) {
            assert!(store.get(&path).await.is_err(), "{text}");
            assert!(store.put(&path, "y".into()).await.is_err(), "{text}");
        }
        assert!(store.files().path(text).is_err(), "{text}");
        // Percent-encoded by the path type: a file of that very name, inside.
        drop(store.put(&Path::from(text), "y".into()).await);
    }
    assert_eq!(std::fs::read(directory.path().join("outside")).unwrap(), b"x");
    std::os::unix::fs::symlink("/etc", directory.path().join("a/b/etc")).unwrap();
    assert!(!paths(&store, None).await.iter().any(|path| path.starts_with("etc")));
}

#[tokio::test]
async fn a_directory_that_disappears_is_made_again() {
    let (directory, store) = open();
    store.put(&Path::from("data/1/a"), "x".into()).await.unwrap();
    std::fs::remove_dir_all(directory.path().join("a/b/data")).unwrap();
    store.put(&Path::from("data/1/a"), "y".into()).await.unwrap();
    assert_eq!(paths(&store, None).await, ["data/1/a"]);
}

#[tokio::test]
async fn several_runtimes_may_share_it() {
    let (_directory, store) = open();
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    let other = store.clone();
    let thread = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(async { other.put(&Path::from("x"), "1".into()).await.map(drop) })
    });
    thread.join().unwrap().unwrap();
    assert!(store.head(&Path::from("x")).await.is_ok());
}
