//! The commit queue: the one place that appends to the log.
//!
//! Owns the protocol of storage-and-transactions: validate against the head, one record for
//! several waiting transactions, put-if-absent as the commit point, and the rule for an unknown
//! outcome (read the slot; mine, another's or absent; never the next slot, never a guess).

use std::sync::{Arc, Weak};

use base::ids::{LogPosition, TxnId};
use base::{Error, Result, clock, error, fault};
use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::sync::{mpsc, oneshot};

use crate::catalog::{Inner, Options, unknown_outcome};
use crate::checkpoint::Checkpoints;
use crate::op::Op;
use crate::record::{Committed, Header, decode, encode, log_path, store_error};
use crate::state::{Conflicts, State};

/// The rules of the protocol, each of which holds in production. The simulation turns one off
/// at a time and must then see a committed transaction lost or an aborted one alive.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// An error of the put is not an answer: the slot is read back.
    pub(crate) read_back: bool,
    /// A record that was seen in the slot after a failed put is put again, so that the store
    /// says that it is durable and not merely visible.
    pub(crate) confirm: bool,
    /// A record in the slot is mine only when its epoch and nonce are.
    pub(crate) compare_identity: bool,
    /// When the slot is another's, this leader is fenced; it does not try the next slot.
    pub(crate) step_down: bool,
    /// The client is answered after the put, not before.
    pub(crate) put_before_answer: bool,
    /// Readers see a transaction after its put, not before.
    pub(crate) put_before_publish: bool,
    /// A repeated put has the same nonce.
    pub(crate) keep_nonce: bool,
    /// Nothing is put again after the outcome stayed unknown; the client is told so.
    pub(crate) admit_unknown: bool,
    /// Start appends an epoch record before anything else.
    pub(crate) epoch_record: bool,
    /// The put fails when the slot is taken.
    pub(crate) put_if_absent: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            read_back: true,
            confirm: true,
            compare_identity: true,
            step_down: true,
            put_before_answer: true,
            put_before_publish: true,
            keep_nonce: true,
            admit_unknown: true,
            epoch_record: true,
            put_if_absent: true,
        }
    }
}

/// A transaction waiting to be committed; one without operations ends the queue.
pub(crate) struct Request {
    pub(crate) id: TxnId,
    pub(crate) snapshot: Arc<State>,
    pub(crate) ops: Vec<Op>,
    pub(crate) answer: oneshot::Sender<Result<Arc<State>>>,
}

/// What became of a put.
pub(crate) enum Outcome {
    /// My record is in the slot.
    Mine { checksum: u32, bytes: u64 },
    /// Another leader's record is in the slot.
    Another,
    /// The store refused before the slot could have been taken.
    Refused(Error),
    /// The time to find out ran out.
    Unknown(Error),
}

/// The answer to one put.
enum Put {
    Done,
    /// The store says that the slot is taken, durably; perhaps by this very record, when the
    /// store or its client repeated the request.
    Taken(Error),
    /// Nobody knows whether the record is in its slot.
    Failed(Error),
}

/// A record on its way into its slot.
pub(crate) struct Slot<'a> {
    pub(crate) store: &'a dyn ObjectStore,
    pub(crate) options: &'a Options,
    pub(crate) header: Header,
    pub(crate) transactions: &'a [Committed],
}

impl Slot<'_> {
    /// Puts the record and finds out what became of it.
    ///
    /// # Errors
    /// Only before the first put; what happens later is an [`Outcome`].
    pub(crate) async fn fill(mut self) -> Result<Outcome> {
        let (mut bytes, mut checksum) = encode(self.header, self.transactions)?;
        fault::point("commit.before_put")?;
        let deadline = tokio::time::Instant::now() + self.options.in_doubt;
        let rules = self.options.rules;
        let mut attempts = 0;
        loop {
            let mine = Outcome::Mine { checksum, bytes: bytes.len() as u64 };
            let (mut why, taken) = match self.put(&bytes).await {
                Put::Done => return Ok(mine),
                Put::Failed(error) => (error, false),
                Put::Taken(error) => (error, true),
            };
            if !rules.read_back {
                return Ok(Outcome::Refused(why));
            }
            match self.look(&bytes).await {
                Ok(Some(true)) if taken || !rules.confirm => return Ok(mine),
                Ok(Some(true)) => {}
                Ok(Some(false)) => return Ok(Outcome::Another),
                // A full disk is an answer only to the first put: an earlier one whose outcome is
                // unknown may still arrive.
                Ok(None) if attempts == 0 && why.sqlstate() == base::SqlState::DiskFull => {
                    return Ok(Outcome::Refused(why));
                }
                Ok(None) => {}
                Err(error) => why = error,
            }
            attempts += 1;
            if attempts >= self.options.in_doubt_attempts
                || tokio::time::Instant::now() + self.options.retry_delay >= deadline
            {
                return Ok(Outcome::Unknown(why));
            }
            let position = self.header.position;
            tracing::warn!(error = %why, %position, attempts, "outcome of a commit is in doubt");
            self.pause().await;
            if !rules.keep_nonce {
                self.header.nonce = base::rng::u64();
                (bytes, checksum) = encode(self.header, self.transactions)?;
            }
        }
    }

    async fn pause(&self) {
        if self.options.retry_delay.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(self.options.retry_delay).await;
        }
    }

    async fn put(&self, bytes: &Bytes) -> Put {
        use object_store::Error as Store;
        let path = log_path(self.header.position);
        let what = || format!("write log record {path}");
        let mode =
            if self.options.rules.put_if_absent { PutMode::Create } else { PutMode::Overwrite };
        let options = PutOptions { mode, ..PutOptions::default() };
        let payload = PutPayload::from_bytes(bytes.clone());
        match self.store.put_opts(&path, payload, options).await {
            Ok(_) => match fault::point("commit.after_put") {
                Ok(()) => Put::Done,
                Err(error) => Put::Failed(error),
            },
            Err(error @ (Store::AlreadyExists { .. } | Store::Precondition { .. })) => {
                Put::Taken(store_error(&what(), error))
            }
            Err(error) => Put::Failed(store_error(&what(), error)),
        }
    }

    /// `Some(true)` when the slot holds this very record, `Some(false)` for another.
    async fn look(&self, bytes: &Bytes) -> Result<Option<bool>> {
        fault::point("commit.in_doubt")?;
        let path = log_path(self.header.position);
        let what = || format!("read log record {path} back");
        let found = match self.store.get(&path).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(store_error(&what(), error)),
            Ok(found) => found.bytes().await.map_err(|error| store_error(&what(), error))?,
        };
        if !self.options.rules.compare_identity || found == *bytes {
            return Ok(Some(true));
        }
        // Bytes that differ are another's; a damaged read must not be taken for that.
        let record = decode(&path, self.header.position, &found)?;
        Ok(Some(
            record.header.epoch == self.header.epoch && record.header.nonce == self.header.nonce,
        ))
    }
}

/// The task that commits.
pub(crate) struct Queue {
    inner: Weak<Inner>,
    /// The checksum of the last record.
    checksum: u32,
    checkpoints: Checkpoints,
}

/// A transaction that passed validation.
struct Staged {
    id: TxnId,
    answer: oneshot::Sender<Result<Arc<State>>>,
}

impl Queue {
    pub(crate) fn new(inner: &Arc<Inner>, checksum: u32, since: (u64, u64)) -> Self {
        let checkpoints = Checkpoints::new(inner.store.clone(), &inner.options, since);
        Self { inner: Arc::downgrade(inner), checksum, checkpoints }
    }

    /// Ends with the catalog, or at an empty request.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.recv().await {
            let Some(inner) = self.inner.upgrade() else { break };
            let mut group = vec![first];
            while group.len() < inner.options.group_commit_max.max(1) {
                match requests.try_recv() {
                    Ok(request) => group.push(request),
                    Err(_) => break,
                }
            }
            let end = group.iter().any(|request| request.ops.is_empty());
            self.commit(&inner, group).await;
            if end {
                requests.close();
                self.drain(&inner, &mut requests).await;
                break;
            }
        }
        self.checkpoints.finish().await;
    }

    /// What was sent while the end was on its way.
    async fn drain(&mut self, inner: &Arc<Inner>, requests: &mut mpsc::Receiver<Request>) {
        while let Some(request) = requests.recv().await {
            self.commit(inner, vec![request]).await;
        }
    }

    async fn commit(&mut self, inner: &Arc<Inner>, group: Vec<Request>) {
        let head = inner.head.read().clone();
        let position = LogPosition(head.position().0 + 1);
        let mut next = State::clone(&head);
        next.advance(position);
        let mut staged = Vec::new();
        let mut transactions = Vec::new();
        for request in group.into_iter().filter(|request| !request.ops.is_empty()) {
            match inner.fenced().map_or_else(|| stage(&next, &request), Err) {
                Ok(with) => {
                    next = with;
                    transactions.push(Committed {
                        id: request.id,
                        at_us: clock::now_us(),
                        ops: request.ops,
                    });
                    staged.push(Staged { id: request.id, answer: request.answer });
                }
                Err(error) => drop(request.answer.send(Err(error))),
            }
        }
        if staged.is_empty() {
            return;
        }
        let next = Arc::new(next);
        if !inner.options.rules.put_before_answer {
            let answers = staged
                .iter_mut()
                .map(|one| std::mem::replace(&mut one.answer, oneshot::channel().0));
            answers.for_each(|answer| drop(answer.send(Ok(next.clone()))));
        }
        if !inner.options.rules.put_before_publish {
            *inner.head.write() = next.clone();
        }
        let header = Header {
            epoch: inner.epoch,
            position,
            nonce: base::rng::u64(),
            previous: self.checksum,
        };
        let slot = Slot {
            store: &*inner.store,
            options: &inner.options,
            header,
            transactions: &transactions,
        };
        let outcome = slot.fill().await;
        self.conclude(inner, next, staged, outcome);
    }

    fn conclude(
        &mut self,
        inner: &Arc<Inner>,
        next: Arc<State>,
        staged: Vec<Staged>,
        outcome: Result<Outcome>,
    ) {
        let answer = |result: &dyn Fn(TxnId) -> Result<Arc<State>>| {
            for one in staged {
                drop(one.answer.send(result(one.id)));
            }
        };
        match outcome {
            Ok(Outcome::Mine { checksum, bytes }) => {
                self.checksum = checksum;
                inner.ids.follow(&next);
                *inner.head.write() = next.clone();
                self.checkpoints.wrote(&next, checksum, bytes);
                match fault::point("commit.before_answer") {
                    Ok(()) => answer(&|_| Ok(next.clone())),
                    Err(_) => answer(&|id| Err(unknown_outcome(id))),
                }
            }
            Ok(Outcome::Another) => {
                let error = fenced(inner, next.position());
                tracing::error!(%error, "another leader has taken over");
                if inner.options.rules.step_down {
                    inner.stop(error.clone());
                } else {
                    // Skips the slot as if it were its own.
                    let mut skipped = State::clone(&inner.head.read());
                    skipped.advance(next.position());
                    *inner.head.write() = Arc::new(skipped);
                }
                answer(&|_| Err(error.clone()));
            }
            Ok(Outcome::Refused(error)) | Err(error) => answer(&|_| Err(error.clone())),
            Ok(Outcome::Unknown(error)) if inner.options.rules.admit_unknown => {
                tracing::error!(%error, position = %next.position(), "commit outcome unknown");
                inner.stop(stopped(&error));
                answer(&|id| Err(unknown_outcome(id)));
            }
            Ok(Outcome::Unknown(error)) => answer(&|_| Err(error.clone())),
        }
    }
}

/// The state with a transaction more.
fn stage(head: &State, request: &Request) -> Result<State> {
    fault::point("commit.before_stage")?;
    Conflicts { snapshot: &request.snapshot, head }.check(&request.ops)?;
    let mut next = head.clone();
    request.ops.iter().try_for_each(|op| next.apply(op))?;
    Ok(next)
}

impl Inner {
    /// Why nothing may be put any more; a catalog that only was closed still commits its queue.
    fn fenced(&self) -> Option<Error> {
        let stopped = self.stopped.lock();
        stopped.as_ref().filter(|error| error.message() != CLOSED).cloned()
    }
}

/// The message of the only reason that lets the queue go on.
pub(crate) const CLOSED: &str = "the catalog is closed";

fn fenced(inner: &Inner, position: LogPosition) -> Error {
    error!(CannotConnectNow, "another leader has taken over this cluster")
        .detail(format!(
            "Log record {position} is of another leader; this one has epoch {}.",
            inner.epoch
        ))
        .hint("Connect to the new leader and run the transaction again.")
        .retry(base::Retry::NewTransaction)
}

fn stopped(why: &Error) -> Error {
    error!(CannotConnectNow, "the catalog has stopped: the outcome of a commit is unknown")
        .detail(format!("The store did not answer: {why}."))
        .hint("Restart the leader once the store is available: it reads the log again.")
}
