//! The catalog as the rest of the system sees it: open, read the head, begin, commit.

use std::sync::Arc;
use std::time::Duration;

use base::ids::{Epoch, LogPosition, TxnId};
use base::{Result, error};
use object_store::ObjectStore;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::collect::Departed;
use crate::commit::{CLOSED, Message, Queue, Request, Rules};
use crate::garbage;
use crate::history::{self, Pins};
use crate::serializable::Snapshots;
use crate::state::State;
use crate::transaction::{Ids, Transaction};

/// How the catalog works; the default suits production.
#[derive(Clone, Debug)]
pub struct Options {
    /// The number of data slices of a fresh cluster; an existing one keeps its own.
    pub slices: u16,
    /// A checkpoint is made after so many records …
    pub checkpoint_records: u64,
    /// … or so many bytes of records.
    pub checkpoint_bytes: u64,
    /// The most transactions in one record.
    pub group_commit_max: usize,
    /// The most transactions waiting to be committed.
    pub queue_max: usize,
    /// How long the outcome of a commit may stay unknown before its client is told so and the
    /// catalog stops.
    pub in_doubt: Duration,
    /// How often a put is repeated at most within that time.
    pub in_doubt_attempts: u32,
    /// How long to wait before the self-test, or a slot of unknown content, is tried again.
    pub retry_delay: Duration,
    /// How many log records are read at once at start.
    pub replay_reads: usize,
    /// The rules of the protocol; only the simulation breaks one.
    #[doc(hidden)]
    pub rules: Rules,
    /// Where nonces and times come from; only the simulation has its own.
    #[doc(hidden)]
    pub source: Source,
}

/// Nonces and times.
#[derive(Clone)]
pub struct Source {
    pub(crate) nonce: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub(crate) now_us: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl Default for Source {
    fn default() -> Self {
        Self { nonce: Arc::new(base::rng::u64), now_us: Arc::new(base::clock::now_us) }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}

impl Source {
    pub(crate) fn nonce(&self) -> u64 {
        (self.nonce)()
    }

    /// The wall clock in microseconds since the Unix epoch.
    pub(crate) fn now_us(&self) -> i64 {
        (self.now_us)()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            slices: 4,
            checkpoint_records: 1_000,
            checkpoint_bytes: 64 << 20,
            group_commit_max: 256,
            queue_max: 4_096,
            in_doubt: Duration::from_secs(60),
            in_doubt_attempts: 300,
            retry_delay: Duration::from_millis(200),
            replay_reads: 16,
            rules: Rules::default(),
            source: Source::default(),
        }
    }
}

impl Options {
    /// Lets `retry_delay` pass, and other tasks run.
    pub(crate) async fn pause(&self) {
        if self.retry_delay.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(self.retry_delay).await;
        }
    }
}

/// The catalog of a running leader. Cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

/// What the catalog and its commit queue share.
pub(crate) struct Inner {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) options: Options,
    pub(crate) ids: Arc<Ids>,
    pub(crate) epoch: Epoch,
    pub(crate) head: RwLock<Arc<State>>,
    /// Why no more is committed, once that is so.
    pub(crate) stopped: Mutex<Option<base::Error>>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) departed: Departed,
    pub(crate) pins: Pins,
    /// Held by the running round of the collector.
    pub(crate) collecting: tokio::sync::Mutex<()>,
    queue: mpsc::Sender<Message>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("epoch", &self.inner.epoch).finish_non_exhaustive()
    }
}

impl Catalog {
    /// Opens the catalog in `store` as its new leader, or makes a fresh one: tests that the
    /// store's put-if-absent holds, reads the newest checkpoint and the records after it, and
    /// appends an epoch record, which stops every older leader.
    ///
    /// # Errors
    /// 58000 when the store is unfit, XX001 when the log is damaged, 0A000 when a newer version
    /// wrote it, 58030 when the store does not answer.
    pub async fn open(store: Arc<dyn ObjectStore>, options: Options) -> Result<Catalog> {
        let started = crate::start::start(&store, &options).await?;
        let (queue, requests) = mpsc::channel(options.queue_max.max(1));
        let head = Arc::new(started.state);
        let inner = Arc::new(Inner {
            store,
            options,
            ids: Arc::new(Ids::new(&head)),
            epoch: head.epoch(),
            head: RwLock::new(head),
            stopped: Mutex::new(None),
            snapshots: Arc::default(),
            departed: Departed::default(),
            pins: Pins::default(),
            collecting: tokio::sync::Mutex::new(()),
            queue,
            task: Mutex::new(None),
        });
        let task = Queue::new(&inner, started.checksum, started.since_checkpoint);
        *inner.task.lock() = Some(base::task::spawn("catalog.commit", task.run(requests)));
        Ok(Catalog { inner })
    }

    /// The newest committed state.
    pub fn head(&self) -> Arc<State> {
        self.inner.head.read().clone()
    }

    /// This leader's epoch.
    pub fn epoch(&self) -> Epoch {
        self.inner.epoch
    }

    /// Begins a transaction whose snapshot is the head now.
    pub fn begin(&self) -> Transaction {
        // The snapshot is known to be open before the head can move on from it.
        let head = self.inner.head.read();
        let open = self.inner.snapshots.open(head.position());
        Transaction::begin(&self.inner.ids, head.clone(), open)
    }

    /// The positions of the snapshots of open transactions, oldest first, each once.
    pub fn open_snapshots(&self) -> Vec<LogPosition> {
        self.inner.snapshots.positions()
    }

    /// Commits a transaction and returns the state with it. Going on from here, every
    /// [`Catalog::head`] has it; a transaction without operations writes nothing. A serializable
    /// one has to be committed even if it only read: what it read counts from then on, and may
    /// turn out not to fit any serial order.
    ///
    /// # Errors
    /// 40001 when a transaction that committed since the snapshot changed what this one relies
    /// on, or, with a detail that begins with 1023, when no serial order is left; 40003 when the
    /// outcome is unknown (the only error after which the transaction may be found committed);
    /// 57P03 when another leader has taken over; 53100 on a full disk.
    pub async fn commit(&self, transaction: Transaction) -> Result<Arc<State>> {
        if transaction.is_empty() && !transaction.constrains_others() {
            return Ok(self.head());
        }
        self.check_open()?;
        let id = transaction.id();
        let (answer, outcome) = oneshot::channel();
        let request = Request { transaction: transaction.into_parts(), answer };
        if self.inner.queue.send(Message::Commit(Box::new(request))).await.is_err() {
            self.check_open()?;
            return Err(closed());
        }
        outcome.await.unwrap_or_else(|_| Err(unknown_outcome(id)))
    }

    /// The data files of earlier epochs that the head does not name: left behind by loads that
    /// never committed, or by tables that are gone longer than time travel reaches. Only this
    /// leader's own start may remove them, before it serves, since nothing then still reads them.
    pub async fn orphans(&self) -> Result<Vec<String>> {
        let head = self.head();
        let mut orphans = garbage::orphans(&*self.inner.store, &head, self.inner.epoch).await?;
        let now_us = self.inner.options.source.now_us();
        let horizon_us = history::horizon_us(&head, now_us);
        let keep = self.inner.options.rules.keep_history;
        if keep && horizon_us < now_us && !orphans.is_empty() {
            let kept = history::named_since(&*self.inner.store, &head, horizon_us).await?;
            orphans.retain(|path| !kept.contains(path));
        }
        Ok(orphans)
    }

    /// Removes data files; those that [`Catalog::orphans`] named.
    pub async fn remove_orphans(&self, paths: &[String]) -> Result<()> {
        self.check_open()?;
        garbage::remove(&*self.inner.store, paths).await
    }

    /// Removes the data files of a write that failed and so is never committed: all whose paths
    /// are `prefix`, a dash and more. Gives how many there were.
    ///
    /// # Errors
    /// 58030 when the store fails.
    pub async fn remove_written(&self, prefix: &str) -> Result<usize> {
        self.check_open()?;
        let paths = garbage::written_under(&*self.inner.store, prefix).await?;
        garbage::remove(&*self.inner.store, &paths).await?;
        Ok(paths.len())
    }

    /// Commits what is queued and stops. Later commits are refused with 57P03.
    ///
    /// # Errors
    /// When the commit queue had panicked.
    pub async fn close(&self) -> Result<()> {
        self.inner.stop(closed());
        // Whatever was sent before it is committed first.
        drop(self.inner.queue.send(Message::End).await);
        let task = self.inner.task.lock().take();
        match task {
            Some(task) => task.await.map_err(|error| {
                error!(InternalError, "the commit queue did not end well: {error}")
            }),
            None => Ok(()),
        }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        match &*self.inner.stopped.lock() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

impl Inner {
    /// Refuses commits from now on; the first reason stays.
    pub(crate) fn stop(&self, why: base::Error) {
        self.stopped.lock().get_or_insert(why);
    }
}

pub(crate) fn closed() -> base::Error {
    error!(CannotConnectNow, "{CLOSED}")
        .hint("The leader is shutting down; connect again when it is back.")
}

pub(crate) fn unknown_outcome(id: TxnId) -> base::Error {
    error!(StatementCompletionUnknown, "the outcome of transaction {id} is unknown")
        .detail("The store did not say whether the commit record was written.")
        .hint("Look for its effects once the cluster is available again before repeating it.")
}
