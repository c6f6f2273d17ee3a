//! The node-wide cache of encoded blocks, footers and sets of deleted rows.
//!
//! Owns what a node keeps of segment files in memory: encoded, never decoded, bounded by bytes,
//! shared by all queries. Segments are immutable and a path is used once, so nothing is ever
//! stale. Must not decode or know of plans.

mod clock;
mod reader;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use columnar::{Block, Footer};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::TaskContext;
use object_store::ObjectStore;
use parking_lot::Mutex;

use self::clock::Clock;
pub(crate) use self::reader::{Reads, SegmentReader, store_error};
use crate::deletes::DeletedRows;

/// Shards below this size would keep too few blocks to be of use.
const SHARD_BYTES_MIN: usize = 16 << 20;
const SHARDS_MAX: usize = 16;

/// The storage of a compute node, which scans and writes find in the session configuration.
///
/// A plan carries no store: the node that runs it brings its own, and a leader that holds no
/// user data has none.
pub struct NodeStorage {
    pub store: Arc<dyn ObjectStore>,
    pub cache: Arc<BlockCache>,
}

impl NodeStorage {
    /// Storage over `store` with a block cache of `cache_bytes`.
    pub fn new(store: Arc<dyn ObjectStore>, cache_bytes: usize) -> Arc<NodeStorage> {
        Arc::new(NodeStorage { store, cache: Arc::new(BlockCache::new(cache_bytes)) })
    }

    /// The storage of the node that runs `context`; `what` names the operator that asks.
    ///
    /// # Errors
    /// Internal when the process is no compute node: the plan was routed wrongly.
    pub fn of(context: &TaskContext, what: &str) -> Result<Arc<NodeStorage>> {
        context.session_config().get_extension::<NodeStorage>().ok_or_else(|| {
            internal_datafusion_err!(
                "{what} was sent to a process that has no storage: only compute nodes read and \
                 write segments"
            )
        })
    }
}

impl fmt::Debug for NodeStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeStorage({})", self.store)
    }
}

/// Names a block, or the footer, of a segment; or a set of deleted rows by its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) path: Arc<str>,
    pub(crate) offset: u64,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.path.hash(state);
        self.offset.hash(state);
    }
}

/// What the cache holds.
#[derive(Clone)]
pub(crate) enum Value {
    Footer(Arc<Footer>),
    Block(Arc<Block>),
    Deletes(Arc<DeletedRows>),
}

/// A bounded cache, sharded so that slices do not wait for one another.
pub struct BlockCache {
    shards: Vec<Mutex<Clock<Key, Value>>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What the cache did since it was made, and holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounters {
    pub hits: u64,
    pub misses: u64,
    pub bytes: usize,
    pub entries: usize,
}

impl BlockCache {
    /// An empty cache that holds at most `bytes`; 0 keeps nothing.
    pub fn new(bytes: usize) -> BlockCache {
        let shards = (bytes / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX);
        BlockCache {
            shards: (0..shards).map(|_| Mutex::new(Clock::new(bytes / shards))).collect(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    fn shard(&self, key: &Key) -> &Mutex<Clock<Key, Value>> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        &self.shards[hasher.finish() as usize % self.shards.len()]
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Value> {
        let value = self.shard(key).lock().get(key);
        let counter = if value.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        value
    }

    pub(crate) fn insert(&self, key: Key, value: Value, bytes: usize) {
        // What is evicted is dropped after the lock is released.
        let evicted = self.shard(&key).lock().insert(key, value, bytes);
        drop(evicted);
    }

    /// Drops every entry.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let capacity = shard.capacity();
            *shard = Clock::new(capacity);
        }
    }

    /// Hits, misses and size.
    pub fn counters(&self) -> CacheCounters {
        let mut counters = CacheCounters {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            ..CacheCounters::default()
        };
        for shard in &self.shards {
            let shard = shard.lock();
            counters.bytes += shard.bytes();
            counters.entries += shard.len();
        }
        counters
    }
}

impl fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counters().fmt(f)
    }
}
