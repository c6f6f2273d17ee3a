//! Memory and spill space of one node, shared by the queries on it.
//!
//! Owns the pool of each query, the node's limit over all of them, the spill directory and the
//! registry that denies every object store. What an operator does with its share is DataFusion's.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use base::{Error, Result};
use datafusion::common::DataFusionError;
use datafusion::execution::disk_manager::{DiskManager, DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use object_store::ObjectStore;
use parking_lot::Mutex;
use url::Url;

use crate::error::from_datafusion;

/// Bytes that all queries of a node hold together.
#[derive(Debug)]
pub(crate) struct NodeMemory {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
}

impl NodeMemory {
    fn reserve(&self, bytes: usize) -> bool {
        self.used_bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                used.checked_add(bytes).filter(|used| *used <= self.limit_bytes)
            })
            .is_ok()
    }

    fn release(&self, bytes: usize) {
        let saturating = |used: usize| Some(used.saturating_sub(bytes));
        // The closure always gives a value, so that the update always succeeds.
        let _ = self.used_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, saturating);
    }
}

/// Most that is kept back for an operator that can spill and holds less.
const KEPT_BACK_MAX_BYTES: usize = 16 << 20;

/// What one operator holds.
#[derive(Debug)]
struct Held {
    bytes: usize,
    can_spill: bool,
}

/// What the operators of a query hold, by the number of the consumer.
#[derive(Debug, Default)]
struct Holders {
    by_id: HashMap<usize, Held>,
    bytes: usize,
}

impl Holders {
    fn add(&mut self, id: usize, bytes: usize) {
        self.bytes += bytes;
        if let Some(held) = self.by_id.get_mut(&id) {
            held.bytes += bytes;
        }
    }

    fn remove(&mut self, id: usize, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(held) = self.by_id.get_mut(&id) {
            held.bytes = held.bytes.saturating_sub(bytes);
        }
    }

    /// Bytes that others than `id` may have: a quarter of the memory is kept back for operators
    /// that can spill, as long as they do not use their parts of it. An operator that gets nothing
    /// has nothing to spill.
    fn kept_back(&self, id: usize, limit_bytes: usize) -> usize {
        let spillers = self.by_id.values().filter(|held| held.can_spill).count();
        let part = (limit_bytes / 4 / spillers.max(1)).min(KEPT_BACK_MAX_BYTES);
        let others = self.by_id.iter().filter(|(other, held)| held.can_spill && **other != id);
        others.map(|(_, held)| part.saturating_sub(held.bytes)).sum()
    }
}

/// The memory of one query on one node, and part of the node's. Operators take what they need
/// while there is some; every one that can spill is left enough to begin with.
#[derive(Debug)]
struct QueryPool {
    holders: Mutex<Holders>,
    limit_bytes: usize,
    node: Arc<NodeMemory>,
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query memory of {} bytes", self.limit_bytes)
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        let held = Held { bytes: 0, can_spill: consumer.can_spill() };
        self.holders.lock().by_id.insert(consumer.id(), held);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.holders.lock().by_id.remove(&consumer.id());
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.holders.lock().add(reservation.consumer().id(), additional);
        self.node.used_bytes.fetch_add(additional, Ordering::AcqRel);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.holders.lock().remove(reservation.consumer().id(), shrink);
        self.node.release(shrink);
    }

    fn try_grow(
        &self,
        reservation: &MemoryReservation,
        additional: usize,
    ) -> datafusion::common::Result<()> {
        let consumer = reservation.consumer();
        {
            let mut holders = self.holders.lock();
            let kept_back = holders.kept_back(consumer.id(), self.limit_bytes);
            let free = self.limit_bytes.saturating_sub(holders.bytes + kept_back);
            if additional > free {
                return Err(DataFusionError::ResourcesExhausted(format!(
                    "{} bytes for {} with {} are {} more than are left of the {self}",
                    additional,
                    consumer.name(),
                    reservation.size(),
                    additional - free,
                )));
            }
            holders.add(consumer.id(), additional);
        }
        if self.node.reserve(additional) {
            return Ok(());
        }
        self.holders.lock().remove(consumer.id(), additional);
        Err(DataFusionError::ResourcesExhausted(format!(
            "{additional} more bytes for {} exceed the {} bytes of the compute node",
            consumer.name(),
            self.node.limit_bytes
        )))
    }

    fn reserved(&self) -> usize {
        self.holders.lock().bytes
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit_bytes)
    }
}

/// The runtime environments of a node's queries.
#[derive(Debug)]
pub(crate) struct Memory {
    node: Arc<NodeMemory>,
    query_bytes: usize,
    base: RuntimeEnv,
    queries: Mutex<HashMap<String, Weak<RuntimeEnv>>>,
}

impl Memory {
    /// Empties `spill_dir` of what a former process left and makes it ready.
    ///
    /// # Errors
    /// 58030 when the directory cannot be made or emptied.
    pub(crate) fn open(
        limit_bytes: usize,
        query_bytes: usize,
        spill_dir: &Path,
        spill_bytes: u64,
    ) -> Result<Memory> {
        empty(spill_dir)?;
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![PathBuf::from(spill_dir)]))
            .with_max_temp_directory_size(spill_bytes);
        let base = RuntimeEnvBuilder::new()
            .with_disk_manager_builder(disk)
            .with_object_store_registry(Arc::new(NoStores))
            .build()
            .map_err(from_datafusion)?;
        Ok(Memory {
            node: Arc::new(NodeMemory { limit_bytes, used_bytes: AtomicUsize::new(0) }),
            query_bytes: query_bytes.min(limit_bytes),
            base,
            queries: Mutex::new(HashMap::new()),
        })
    }

    /// The environment that all tasks of the query `id` share on this node; `bytes` is its
    /// limit where it differs from the node's default.
    pub(crate) fn query(&self, id: &str, bytes: Option<usize>) -> Arc<RuntimeEnv> {
        let mut queries = self.queries.lock();
        if let Some(known) = queries.get(id).and_then(Weak::upgrade) {
            return known;
        }
        queries.retain(|_, query| query.strong_count() > 0);
        let limit_bytes = bytes.unwrap_or(self.query_bytes).min(self.node.limit_bytes);
        let pool =
            QueryPool { holders: Mutex::default(), limit_bytes, node: Arc::clone(&self.node) };
        let environment = Arc::new(RuntimeEnv { memory_pool: Arc::new(pool), ..self.base.clone() });
        queries.insert(id.to_owned(), Arc::downgrade(&environment));
        environment
    }

    /// An environment outside of any query's limit, for what a node does on its own.
    pub(crate) fn unlimited(&self) -> Arc<RuntimeEnv> {
        Arc::new(self.base.clone())
    }

    /// Bytes that queries hold now.
    pub(crate) fn used_bytes(&self) -> usize {
        self.node.used_bytes.load(Ordering::Acquire)
    }

    /// Bytes of spilled intermediate results on disk now.
    pub(crate) fn spilled_bytes(&self) -> u64 {
        DiskManager::used_disk_space(&self.base.disk_manager)
    }
}

/// Spill files are of no use to a new process.
fn empty(dir: &Path) -> Result<()> {
    let failed = |error| Error::io(format!("prepare the spill directory {}", dir.display()), error);
    std::fs::create_dir_all(dir).map_err(failed)?;
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let ours = entry.file_name().to_string_lossy().starts_with("datafusion-");
        if ours && entry.file_type().map_err(failed)?.is_dir() {
            std::fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Denies every object store: user data is read through the node's storage alone.
#[derive(Debug)]
struct NoStores;

impl ObjectStoreRegistry for NoStores {
    fn register_store(&self, _: &Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> datafusion::common::Result<Arc<dyn ObjectStore>> {
        Err(crate::error::into_datafusion(base::error!(
            InsufficientPrivilege,
            "access to \"{}\" is denied",
            url.scheme()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_share_the_node_and_leftovers_go() {
        let dir = std::env::temp_dir().join(format!("blueshift-memory-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("datafusion-old")).unwrap();
        let memory = Memory::open(1_000, 800, &dir, 1 << 20).unwrap();
        assert!(!dir.join("datafusion-old").exists());
        let (a, b) = (memory.query("a", None), memory.query("b", None));
        assert!(Arc::ptr_eq(&a, &memory.query("a", None)));
        let first = MemoryConsumer::new("first").register(&a.memory_pool);
        let second = MemoryConsumer::new("second").register(&b.memory_pool);
        first.try_grow(700).unwrap();
        assert!(first.try_grow(200).is_err(), "above the query's limit");
        assert!(second.try_grow(400).is_err(), "above the node's limit");
        second.try_grow(300).unwrap();
        drop(first);
        second.try_grow(400).unwrap();
        drop(second);
        assert_eq!(memory.used_bytes(), 0);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn no_store_is_reachable() {
        let url = Url::parse("file:///etc/passwd").unwrap();
        let error = from_datafusion(NoStores.get_store(&url).unwrap_err());
        assert_eq!(error.sqlstate(), base::SqlState::InsufficientPrivilege);
    }

    #[test]
    fn operators_that_can_spill_are_left_their_part() {
        let dir = std::env::temp_dir().join(format!("blueshift-parts-{}", std::process::id()));
        let memory = Memory::open(1_000, 800, &dir, 1 << 20).unwrap();
        let query = memory.query("a", None);
        let spiller =
            |name| MemoryConsumer::new(name).with_can_spill(true).register(&query.memory_pool);
        let (one, two) = (spiller("one"), spiller("two"));
        let join = MemoryConsumer::new("join").register(&query.memory_pool);
        // 100 bytes are kept back for each spiller.
        join.try_grow(600).unwrap();
        let refused = join.try_grow(1).unwrap_err().to_string();
        assert!(refused.contains("join with 600"), "{refused}");
        one.try_grow(100).unwrap();
        assert!(one.try_grow(1).is_err());
        two.try_grow(100).unwrap();
        join.shrink(300);
        // What nobody else is to have goes to whoever asks.
        one.try_grow(300).unwrap();
        assert!(two.try_grow(1).is_err());
        drop(two);
        one.try_grow(100).unwrap();
        drop((one, join));
        assert_eq!((query.memory_pool.reserved(), memory.used_bytes()), (0, 0));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
