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
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
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

/// The memory of one query on one node: shared fairly by the operators that can spill, and part
/// of the node's.
#[derive(Debug)]
struct QueryPool {
    own: FairSpillPool,
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
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.node.used_bytes.fetch_add(additional, Ordering::AcqRel);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.node.release(shrink);
    }

    fn try_grow(
        &self,
        reservation: &MemoryReservation,
        additional: usize,
    ) -> datafusion::common::Result<()> {
        self.own.try_grow(reservation, additional)?;
        if self.node.reserve(additional) {
            return Ok(());
        }
        self.own.shrink(reservation, additional);
        Err(DataFusionError::ResourcesExhausted(format!(
            "{additional} more bytes for {} exceed the {} bytes of the compute node",
            reservation.consumer().name(),
            self.node.limit_bytes
        )))
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
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
        let pool = QueryPool {
            own: FairSpillPool::new(limit_bytes),
            limit_bytes,
            node: Arc::clone(&self.node),
        };
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
}
