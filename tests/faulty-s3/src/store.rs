//! Buckets and objects on disk: one file an object, and one lock a key.
//!
//! A file is a line of JSON (the [`Entry`]) and the object's bytes after it. It gets its name by
//! a rename under the key's lock, so that a killed process leaves an object whole or absent, and
//! of several conditional writers exactly one wins.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use md5::{Digest, Md5};
use parking_lot::RwLock;
use s3s::dto::{ETag, ETagCondition};
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

/// Keys share this many locks. Two keys on one lock wait for each other and nothing else.
const LOCKS: usize = 1_024;

/// Files that are not yet objects.
const UNFINISHED: &str = ".unfinished";

/// What is known of an object without reading it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) etag: String,
    pub(crate) size: u64,
    /// Milliseconds since 1970.
    pub(crate) modified_ms: u64,
    pub(crate) attributes: Attributes,
    /// Where the bytes begin in the file.
    #[serde(skip)]
    offset: u64,
}

/// What the client gives along with the bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Attributes {
    pub(crate) content_type: Option<String>,
    pub(crate) metadata: HashMap<String, String>,
}

impl Entry {
    pub(crate) fn e_tag(&self) -> ETag {
        ETag::Strong(self.etag.clone())
    }

    pub(crate) fn modified(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.modified_ms)
    }

    fn meets(&self, condition: &ETagCondition) -> bool {
        match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(etag) => etag.value() == self.etag,
        }
    }
}

/// The conditions of a write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
}

impl Conditions {
    fn check(&self, there: Option<&Entry>) -> S3Result<()> {
        if let Some(condition) = &self.if_match {
            let there = there.ok_or_else(|| s3_error!(NoSuchKey))?;
            if !there.meets(condition) {
                return Err(s3_error!(PreconditionFailed));
            }
        }
        match (&self.if_none_match, there) {
            (Some(condition), Some(there)) if there.meets(condition) => {
                Err(s3_error!(PreconditionFailed))
            }
            _ => Ok(()),
        }
    }
}

type Bucket = BTreeMap<String, Entry>;

pub(crate) struct Store {
    root: PathBuf,
    buckets: RwLock<HashMap<String, Bucket>>,
    locks: Vec<RwLock<()>>,
    files: AtomicU64,
}

impl Store {
    /// Opens what is in `root`, or makes it.
    pub(crate) fn open(root: &Path) -> std::io::Result<Arc<Store>> {
        let unfinished = root.join(UNFINISHED);
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished)?;
        }
        std::fs::create_dir_all(&unfinished)?;
        let mut buckets = HashMap::new();
        for directory in std::fs::read_dir(root)? {
            let directory = directory?;
            let name = directory.file_name().to_string_lossy().into_owned();
            if name != UNFINISHED {
                buckets.insert(name, read_bucket(&directory.path())?);
            }
        }
        Ok(Arc::new(Store {
            root: root.to_owned(),
            buckets: RwLock::new(buckets),
            locks: std::iter::repeat_with(RwLock::default).take(LOCKS).collect(),
            files: AtomicU64::new(0),
        }))
    }

    fn lock(&self, bucket: &str, key: &str) -> &RwLock<()> {
        let mut hasher = DefaultHasher::new();
        (bucket, key).hash(&mut hasher);
        &self.locks[hasher.finish() as usize % LOCKS]
    }

    fn path(&self, bucket: &str, key: &str) -> PathBuf {
        self.root.join(bucket).join(hex(&Md5::digest(key)))
    }

    /// Makes a bucket; false when it exists.
    pub(crate) fn create_bucket(&self, name: &str) -> S3Result<bool> {
        let mut buckets = self.buckets.write();
        if buckets.contains_key(name) {
            return Ok(false);
        }
        std::fs::create_dir_all(self.root.join(name)).map_err(failed)?;
        buckets.insert(name.to_owned(), Bucket::new());
        Ok(true)
    }

    pub(crate) fn has_bucket(&self, name: &str) -> bool {
        self.buckets.read().contains_key(name)
    }

    fn find(&self, bucket: &str, key: &str) -> S3Result<Option<Entry>> {
        let buckets = self.buckets.read();
        let bucket = buckets.get(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        Ok(bucket.get(key).cloned())
    }

    /// An object's entry.
    pub(crate) fn head(&self, bucket: &str, key: &str) -> S3Result<Entry> {
        self.find(bucket, key)?.ok_or_else(|| s3_error!(NoSuchKey))
    }

    /// An object's entry, and the bytes of it that `select` asks for.
    pub(crate) fn get(
        &self,
        bucket: &str,
        key: &str,
        select: impl FnOnce(&Entry) -> S3Result<Range<u64>>,
    ) -> S3Result<(Entry, Range<u64>, Bytes)> {
        let _lock = self.lock(bucket, key).read();
        let entry = self.head(bucket, key)?;
        let range = select(&entry)?;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let file = File::open(self.path(bucket, key)).map_err(failed)?;
        file.read_exact_at(&mut bytes, entry.offset + range.start).map_err(failed)?;
        Ok((entry, range, bytes.into()))
    }

    /// Writes an object when the conditions hold. `etag` is that of the bytes unless given.
    pub(crate) fn put(
        &self,
        bucket: &str,
        key: &str,
        bytes: &[u8],
        attributes: Attributes,
        conditions: &Conditions,
        etag: Option<String>,
    ) -> S3Result<Entry> {
        let modified_ms = now_ms();
        let etag = etag.unwrap_or_else(|| hex(&Md5::digest(bytes)));
        let size = bytes.len() as u64;
        let mut entry =
            Entry { key: key.to_owned(), etag, size, modified_ms, attributes, offset: 0 };
        let _lock = self.lock(bucket, key).write();
        conditions.check(self.find(bucket, key)?.as_ref())?;
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.root.join(UNFINISHED).join(number.to_string());
        entry.offset = write(&unfinished, &entry, bytes).map_err(failed)?;
        std::fs::rename(&unfinished, self.path(bucket, key)).map_err(failed)?;
        let mut buckets = self.buckets.write();
        let bucket = buckets.get_mut(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        bucket.insert(key.to_owned(), entry.clone());
        Ok(entry)
    }

    /// Removes an object; what is not there is removed already.
    pub(crate) fn delete(
        &self,
        bucket: &str,
        key: &str,
        if_match: Option<ETagCondition>,
    ) -> S3Result<()> {
        let _lock = self.lock(bucket, key).write();
        let there = self.find(bucket, key)?;
        Conditions { if_match, if_none_match: None }.check(there.as_ref())?;
        if there.is_none() {
            return Ok(());
        }
        std::fs::remove_file(self.path(bucket, key)).map_err(failed)?;
        if let Some(bucket) = self.buckets.write().get_mut(bucket) {
            bucket.remove(key);
        }
        Ok(())
    }

    /// Calls `each` for the objects whose keys begin with `prefix`, in order, until it says false.
    pub(crate) fn scan(
        &self,
        bucket: &str,
        prefix: &str,
        mut each: impl FnMut(&Entry) -> bool,
    ) -> S3Result<()> {
        let buckets = self.buckets.read();
        let bucket = buckets.get(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        for (_, entry) in
            bucket.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix))
        {
            if !each(entry) {
                break;
            }
        }
        Ok(())
    }
}

fn read_bucket(directory: &Path) -> std::io::Result<Bucket> {
    let mut bucket = Bucket::new();
    for file in std::fs::read_dir(directory)? {
        let mut line = Vec::new();
        BufReader::new(File::open(file?.path())?).read_until(b'\n', &mut line)?;
        let mut entry: Entry = serde_json::from_slice(&line)?;
        entry.offset = line.len() as u64;
        bucket.insert(entry.key.clone(), entry);
    }
    Ok(bucket)
}

/// Writes an object's file; gives where its bytes begin.
fn write(path: &Path, entry: &Entry, bytes: &[u8]) -> std::io::Result<u64> {
    let mut head = serde_json::to_vec(entry)?;
    head.push(b'\n');
    let mut file = File::create(path)?;
    file.write_all(&head)?;
    file.write_all(bytes)?;
    Ok(head.len() as u64)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

fn failed(error: std::io::Error) -> s3s::S3Error {
    s3_error!(error, InternalError, "the test server's own disk failed")
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    const RACERS: usize = 64;

    fn put(store: &Store, key: &str, bytes: &[u8], conditions: &Conditions) -> S3Result<Entry> {
        store.put("b", key, bytes, Attributes::default(), conditions, None)
    }

    fn read(store: &Store, key: &str) -> Bytes {
        store.get("b", key, |entry| Ok(0..entry.size)).unwrap().2
    }

    fn fresh() -> (tempfile::TempDir, Arc<Store>) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert!(store.create_bucket("b").unwrap());
        (directory, store)
    }

    /// All racers put at once under the same conditions; gives the bytes of those that won.
    fn race(store: &Store, key: &str, what: &str, conditions: &Conditions) -> Vec<String> {
        let barrier = Barrier::new(RACERS);
        std::thread::scope(|scope| {
            let racers: Vec<_> = (0..RACERS)
                .map(|number| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        let bytes = format!("{what} {number}");
                        barrier.wait();
                        put(store, key, bytes.as_bytes(), conditions).is_ok().then_some(bytes)
                    })
                })
                .collect();
            racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect()
        })
    }

    #[test]
    fn one_of_many_conditional_writers_wins() {
        let (directory, store) = fresh();
        let create = Conditions { if_none_match: Some(ETagCondition::Any), ..Default::default() };
        for round in 0..50 {
            let key = format!("round/{round}");
            let winners = race(&store, &key, "create", &create);
            assert_eq!(winners.len(), 1, "{winners:?}");
            assert_eq!(read(&store, &key), winners[0].as_bytes());
            let etag = ETagCondition::ETag(store.head("b", &key).unwrap().e_tag());
            let replace = Conditions { if_match: Some(etag), ..Default::default() };
            let winners = race(&store, &key, "replace", &replace);
            assert_eq!(winners.len(), 1, "{winners:?}");
            assert_eq!(read(&store, &key), winners[0].as_bytes());
        }
        drop(store);
        let again = Store::open(directory.path()).unwrap();
        let mut keys = 0;
        again
            .scan("b", "round/", |_| {
                keys += 1;
                true
            })
            .unwrap();
        assert_eq!(keys, 50);
    }

    #[test]
    fn objects_outlive_the_process() {
        let (directory, store) = fresh();
        put(&store, "a/b", b"one\ntwo", &Conditions::default()).unwrap();
        put(&store, "a", b"", &Conditions::default()).unwrap();
        put(&store, "gone", b"x", &Conditions::default()).unwrap();
        store.delete("b", "gone", None).unwrap();
        std::fs::write(directory.path().join(UNFINISHED).join("9"), b"half").unwrap();
        drop(store);
        let again = Store::open(directory.path()).unwrap();
        assert_eq!(read(&again, "a/b"), "one\ntwo".as_bytes());
        assert_eq!(again.get("b", "a/b", |_| Ok(4..6)).unwrap().2, "tw".as_bytes());
        assert_eq!(read(&again, "a"), "".as_bytes());
        assert!(again.head("b", "gone").is_err());
        assert!(again.head("none", "a").is_err());
    }
}
