//! The simulated store: durable and merely visible objects, faults by the dice, crashes of the
//! processes that use it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

type StoreResult<T> = object_store::Result<T>;

/// A small deterministic generator (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    pub(crate) fn percent(&mut self, n: u64) -> bool {
        self.below(100) < n
    }
}

/// The machine's disk, or the bucket: what all processes share.
pub(crate) struct Shared {
    dice: Dice,
    /// Survives a power loss.
    durable: BTreeMap<String, Bytes>,
    /// Visible to every process, gone after a power loss.
    volatile: BTreeMap<String, Bytes>,
    /// Requests still on their way after their sender gave up.
    delayed: Vec<(String, Bytes, bool)>,
    /// False for the mutant store whose success means nothing.
    pub(super) syncs: bool,
    /// False for a store that overwrites although it was told to create.
    pub(crate) creates: bool,
    /// Percent of requests that go wrong.
    pub(super) trouble: u64,
    /// How many requests there were.
    pub(super) requests: u64,
}

impl Shared {
    pub(crate) fn new(seed: u64, syncs: bool) -> Arc<Mutex<Shared>> {
        Arc::new(Mutex::new(Shared {
            dice: Dice::new(seed ^ 0xabcd),
            durable: BTreeMap::new(),
            volatile: BTreeMap::new(),
            delayed: Vec::new(),
            syncs,
            creates: true,
            trouble: 0,
            requests: 0,
        }))
    }

    fn visible(&self, path: &str) -> Option<&Bytes> {
        self.volatile.get(path).or_else(|| self.durable.get(path))
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.visible(path).is_some()
    }

    /// Everything that would survive.
    pub(super) fn image(&self) -> BTreeMap<String, Bytes> {
        self.durable.clone()
    }

    pub(super) fn count(&self, prefix: &str) -> u64 {
        self.durable.keys().filter(|path| path.starts_with(prefix)).count() as u64
    }

    /// A durable write syncs its directory, and with it the names that others gave there: what
    /// they named was synced before it got its name.
    fn write(&mut self, path: &str, bytes: Bytes, durable: bool) {
        self.volatile.insert(path.to_owned(), bytes);
        if durable {
            self.sync(path);
        }
    }

    /// Lets requests arrive whose senders gave up long ago.
    pub(super) fn deliver(&mut self) {
        for (path, bytes, create) in std::mem::take(&mut self.delayed) {
            if !(create && self.exists(&path)) {
                self.write(&path, bytes, true);
            }
        }
    }

    /// Requests on their way arrive before it or never: a disk takes none afterwards.
    pub(super) fn power_loss(&mut self) {
        if self.dice.percent(50) {
            self.deliver();
        }
        self.volatile.clear();
        self.delayed.clear();
    }

    fn sync(&mut self, path: &str) {
        if !self.syncs {
            return;
        }
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let inside = |other: &str| other.rsplit_once('/').map_or("", |(of, _)| of) == directory;
        let (now, later) = std::mem::take(&mut self.volatile)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(path, _)| inside(path));
        self.durable.extend(now);
        self.volatile = later;
    }
}

/// One process's view of the store. After a number of requests the process is dead: its requests
/// are never answered again.
pub(crate) struct Client {
    pub(crate) shared: Arc<Mutex<Shared>>,
    fuse: Mutex<u64>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

fn timeout() -> object_store::Error {
    object_store::Error::Generic { store: "simulated", source: "timed out".into() }
}

/// Whether the process lives on after the request.
enum Life {
    Alive,
    /// Dies; the request may have been carried out.
    Dies,
}

impl Client {
    pub(crate) fn new(shared: &Arc<Mutex<Shared>>, fuse: u64) -> Arc<Client> {
        Arc::new(Client { shared: shared.clone(), fuse: Mutex::new(fuse) })
    }

    /// Ends the process.
    pub(super) fn die(&self) {
        *lock(&self.fuse) = 0;
    }

    pub(super) fn is_dead(&self) -> bool {
        *lock(&self.fuse) == 0
    }

    async fn step(&self) -> Life {
        tokio::task::yield_now().await;
        let left = {
            let mut fuse = lock(&self.fuse);
            let left = *fuse;
            *fuse = left.saturating_sub(1);
            left
        };
        if left > 0 {
            lock(&self.shared).requests += 1;
        }
        match left {
            0 => std::future::pending().await,
            1 => Life::Dies,
            _ => Life::Alive,
        }
    }

    fn put_now(&self, path: &str, bytes: Bytes, create: bool) -> StoreResult<PutResult> {
        let mut shared = lock(&self.shared);
        let done = Ok(PutResult { e_tag: None, version: None });
        let taken = || {
            Err(object_store::Error::AlreadyExists {
                path: path.to_owned(),
                source: "taken".into(),
            })
        };
        let trouble = shared.trouble;
        let goes_wrong = shared.dice.percent(trouble);
        let kind = shared.dice.below(if goes_wrong { 7 } else { 1 });
        let create = create && shared.creates;
        if create && shared.exists(path) {
            if goes_wrong && kind < 3 {
                return Err(timeout());
            }
            shared.sync(path);
            return taken();
        }
        if !goes_wrong {
            shared.write(path, bytes, true);
            return done;
        }
        match kind {
            // Timed out before anything happened.
            0 | 1 => Err(timeout()),
            // Timed out after all had happened.
            2 => {
                shared.write(path, bytes, true);
                Err(timeout())
            }
            // The name was given, syncing the directory failed.
            3 => {
                shared.write(path, bytes, false);
                Err(timeout())
            }
            // Arrives later.
            4 => {
                shared.delayed.push((path.to_owned(), bytes, create));
                Err(timeout())
            }
            // Carried out, then repeated by a client that had missed the answer.
            5 if create => {
                shared.write(path, bytes, true);
                taken()
            }
            _ => Err(object_store::Error::Generic {
                store: "simulated",
                source: Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull)),
            }),
        }
    }
}

fn describe(path: &str, bytes: &Bytes) -> ObjectMeta {
    ObjectMeta {
        location: Path::from(path),
        last_modified: std::time::UNIX_EPOCH.into(),
        size: bytes.len() as u64,
        e_tag: None,
        version: None,
    }
}

#[async_trait]
impl ObjectStore for Client {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        let life = self.step().await;
        let result = match life {
            Life::Dies if lock(&self.shared).dice.percent(50) => Err(timeout()),
            _ => {
                let create = matches!(options.mode, PutMode::Create);
                self.put_now(location.as_ref(), payload.into(), create)
            }
        };
        match life {
            Life::Dies => std::future::pending().await,
            Life::Alive => result,
        }
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        Err(timeout())
    }

    async fn get_opts(&self, location: &Path, _options: GetOptions) -> StoreResult<GetResult> {
        if matches!(self.step().await, Life::Dies) {
            std::future::pending::<()>().await;
        }
        let mut shared = lock(&self.shared);
        let trouble = shared.trouble;
        if shared.dice.percent(trouble / 2) {
            return Err(timeout());
        }
        let Some(bytes) = shared.visible(location.as_ref()).cloned() else {
            return Err(object_store::Error::NotFound {
                path: location.to_string(),
                source: "absent".into(),
            });
        };
        let bytes = if trouble > 0 && !bytes.is_empty() && shared.dice.below(200) == 0 {
            let mut damaged = bytes.to_vec();
            let at = shared.dice.below(damaged.len() as u64);
            damaged[usize::try_from(at).unwrap()] ^= 1;
            damaged.into()
        } else {
            bytes
        };
        let meta = describe(location.as_ref(), &bytes);
        let range = 0..meta.size;
        let payload = GetResultPayload::Stream(futures::stream::once(async { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes: object_store::Attributes::default() })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        let shared = self.shared.clone();
        locations
            .and_then(move |location| {
                let shared = shared.clone();
                async move {
                    let mut shared = lock(&shared);
                    shared.volatile.remove(location.as_ref());
                    shared.durable.remove(location.as_ref());
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let prefix = format!("{}/", prefix.map(Path::to_string).unwrap_or_default());
        let shared = lock(&self.shared);
        let mut found: BTreeMap<&String, &Bytes> = shared.durable.iter().collect();
        found.extend(shared.volatile.iter());
        let found: Vec<_> = found
            .into_iter()
            .filter(|(path, _)| path.starts_with(&prefix))
            .map(|(path, bytes)| Ok(describe(path, bytes)))
            .collect();
        futures::stream::iter(found).boxed()
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> StoreResult<ListResult> {
        Err(timeout())
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> StoreResult<()> {
        Err(timeout())
    }
}
