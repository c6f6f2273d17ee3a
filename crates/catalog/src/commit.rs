//! The commit queue: the one place that appends to the log.
//!
//! Owns the protocol of storage-and-transactions: validate against the head, one record for
//! several waiting transactions, put-if-absent as the commit point, and the rule for an unknown
//! outcome (read the slot; mine, another's or absent; never the next slot, never a guess).

use std::sync::{Arc, Weak};

use base::ids::{LogPosition, TxnId};
use base::{Error, Result, error, fault};
use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::sync::{mpsc, oneshot};

use crate::catalog::{Inner, Options, unknown_outcome};
use crate::checkpoint::Checkpoints;
use crate::record::{Committed, Header, decode, encode, log_path, store_error};
use crate::serializable::{Candidate, Graph, Open};
use crate::state::{Conflicts, State};
use crate::transaction::Parts;

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
    /// The first committer wins.
    pub(crate) check_conflicts: bool,
    /// A file stays while a reader may hold a descriptor that names it.
    pub(crate) wait_for_readers: bool,
    /// A file stays while another table names it.
    pub(crate) look_for_names: bool,
    /// A file is removed only after the log says so.
    pub(crate) log_intent: bool,
    /// Files that time travel needs are no orphans.
    pub(crate) keep_history: bool,
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
            check_conflicts: true,
            wait_for_readers: true,
            look_for_names: true,
            log_intent: true,
            keep_history: true,
        }
    }
}

/// What the queue is sent.
pub(crate) enum Message {
    Commit(Box<Request>),
    /// Commit what was sent before, then end.
    End,
}

/// A transaction waiting to be committed.
pub(crate) struct Request {
    pub(crate) transaction: Parts,
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
            self.options.pause().await;
            if !rules.keep_nonce {
                self.header.nonce = self.options.source.nonce();
                (bytes, checksum) = encode(self.header, self.transactions)?;
            }
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
    graph: Graph,
}

/// A transaction that passed validation.
struct Staged {
    id: TxnId,
    answer: oneshot::Sender<Result<Arc<State>>>,
    /// Dropped once the outcome is known.
    _open: Open,
}

/// A record in the making.
struct Group {
    next: State,
    transactions: Vec<Committed>,
    staged: Vec<Staged>,
}

impl Queue {
    pub(crate) fn new(inner: &Arc<Inner>, checksum: u32, since: (u64, u64)) -> Self {
        let checkpoints = Checkpoints::new(inner.store.clone(), &inner.options, since);
        let graph = Graph::new(inner.snapshots.clone());
        Self { inner: Arc::downgrade(inner), checksum, checkpoints, graph }
    }

    /// Ends with the catalog, or when it is told to.
    pub(crate) async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        while let Some(first) = messages.recv().await {
            let Some(inner) = self.inner.upgrade() else { break };
            let mut received = vec![first];
            while received.len() < inner.options.group_commit_max.max(1) {
                match messages.try_recv() {
                    Ok(message) => received.push(message),
                    Err(_) => break,
                }
            }
            let before = received.len();
            let requests: Vec<Request> = received.into_iter().filter_map(request).collect();
            let end = requests.len() < before;
            self.commit(&inner, requests).await;
            if end {
                messages.close();
                self.drain(&inner, &mut messages).await;
                break;
            }
        }
        self.checkpoints.finish().await;
    }

    /// What was sent while the end was on its way.
    async fn drain(&mut self, inner: &Arc<Inner>, messages: &mut mpsc::Receiver<Message>) {
        while let Some(message) = messages.recv().await {
            self.commit(inner, request(message).into_iter().collect()).await;
        }
    }

    /// Validates the requests one after the other, each against the ones before it.
    fn stage(&mut self, inner: &Inner, head: &State, requests: Vec<Request>) -> Group {
        let mut next = head.clone();
        next.advance(LogPosition(head.position().0 + 1));
        // Time does not go back, whatever the clock does.
        let at_us = inner.options.source.now_us().max(head.time_us());
        next.set_time(at_us);
        let mut group = Group { next, transactions: Vec::new(), staged: Vec::new() };
        for Request { transaction, answer } in requests {
            let outcome = match inner.fenced() {
                Some(error) => Err(error),
                None => stage(&group.next, &transaction, &mut self.graph, inner),
            };
            let Parts { id, ops, open, .. } = transaction;
            match outcome {
                Ok(_) if ops.is_empty() => drop(answer.send(Ok(inner.head.read().clone()))),
                Ok(with) => {
                    group.next = with;
                    group.transactions.push(Committed { id, at_us, ops });
                    group.staged.push(Staged { id, answer, _open: open });
                }
                Err(error) => drop(answer.send(Err(error))),
            }
        }
        group
    }

    async fn commit(&mut self, inner: &Arc<Inner>, requests: Vec<Request>) {
        let head = inner.head.read().clone();
        let Group { next, transactions, mut staged } = self.stage(inner, &head, requests);
        if staged.is_empty() {
            return;
        }
        let position = next.position();
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
            nonce: inner.options.source.nonce(),
            previous: self.checksum,
        };
        let slot = Slot {
            store: &*inner.store,
            options: &inner.options,
            header,
            transactions: &transactions,
        };
        let outcome = slot.fill().await;
        if matches!(outcome, Ok(Outcome::Mine { .. })) {
            let ops = transactions.iter().flat_map(|transaction| &transaction.ops);
            inner.departed.note(&head, &next, ops, next.time_us());
        }
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
                if let Err(error) = fault::point("commit.before_publish") {
                    // The record stands, and the head cannot go on without it.
                    inner.stop(stopped(&error));
                    return answer(&|id| Err(unknown_outcome(id)));
                }
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

fn request(message: Message) -> Option<Request> {
    match message {
        Message::Commit(request) => Some(*request),
        Message::End => None,
    }
}

/// The state with a transaction more.
fn stage(head: &State, transaction: &Parts, graph: &mut Graph, inner: &Inner) -> Result<State> {
    fault::point("commit.before_stage")?;
    let Parts { id, snapshot, ops, reads, open } = transaction;
    if inner.options.rules.check_conflicts {
        Conflicts { snapshot, head }.check(ops)?;
    }
    let mut next = head.clone();
    ops.iter().try_for_each(|op| next.apply(op))?;
    let reads = open.is_serializable().then(|| reads.clone());
    graph.admit(&Candidate::new(*id, snapshot, reads, ops), head, next.position())?;
    inner.departed.enter(ops)?;
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
