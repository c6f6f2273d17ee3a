//! SERIALIZABLE: which commit would close a cycle of dependencies.
//!
//! Owns the dependency graph over committed transactions, at the granularity of tables. An edge
//! says who has to come first in a serial order: the writer before the reader that saw it (wr),
//! the earlier writer of a table before the later (ww), and the reader before the writer whose
//! change it did not see (rw). A transaction all of whose neighbours have committed closes a
//! cycle at its own commit or never, so that this is where one is refused.
//!
//! Only an rw edge leads from a transaction to one that committed before it, and only to one
//! that committed after its snapshot. Committed transactions are therefore kept while a
//! serializable transaction is open whose snapshot does not have them. What else such an entry
//! leads to, however old, is folded into the tables that can be reached from it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use base::ids::{LogPosition, Oid, TxnId};
use base::{Error, Result, Retry, error};
use parking_lot::Mutex;

use crate::op::Op;
use crate::state::State;

/// The most committed transactions kept. With more, an old snapshot is refused when anything
/// that it read has changed since.
const KEPT_MAX: usize = 4_096;

/// The snapshots of open transactions.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: BTreeMap<LogPosition, u64>,
    serializable: BTreeMap<LogPosition, u64>,
}

fn add(counts: &mut BTreeMap<LogPosition, u64>, position: LogPosition) {
    *counts.entry(position).or_default() += 1;
}

fn take(counts: &mut BTreeMap<LogPosition, u64>, position: LogPosition) {
    if let Some(count) = counts.get_mut(&position) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&position);
        }
    }
}

impl Snapshots {
    pub(crate) fn open(self: &Arc<Self>, position: LogPosition) -> Open {
        add(&mut self.0.lock().all, position);
        Open { snapshots: self.clone(), position, serializable: false }
    }

    /// The snapshots of open transactions, oldest first.
    pub(crate) fn positions(&self) -> Vec<LogPosition> {
        self.0.lock().all.keys().copied().collect()
    }

    fn oldest_serializable(&self) -> Option<LogPosition> {
        self.0.lock().serializable.keys().next().copied()
    }
}

/// An open transaction's snapshot; dropping it ends the transaction.
#[derive(Debug)]
pub(crate) struct Open {
    snapshots: Arc<Snapshots>,
    position: LogPosition,
    serializable: bool,
}

impl Open {
    pub(crate) fn set_serializable(&mut self, serializable: bool) {
        if serializable == self.serializable {
            return;
        }
        self.serializable = serializable;
        let mut counts = self.snapshots.0.lock();
        match serializable {
            true => add(&mut counts.serializable, self.position),
            false => take(&mut counts.serializable, self.position),
        }
    }

    pub(crate) fn is_serializable(&self) -> bool {
        self.serializable
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut counts = self.snapshots.0.lock();
        take(&mut counts.all, self.position);
        if self.serializable {
            take(&mut counts.serializable, self.position);
        }
    }
}

/// A transaction that is about to commit.
pub(crate) struct Candidate<'a> {
    pub(crate) id: TxnId,
    pub(crate) snapshot: &'a State,
    /// The tables that it read; `None` under SNAPSHOT, which constrains no reads.
    pub(crate) reads: Option<BTreeSet<Oid>>,
    pub(crate) writes: BTreeSet<Oid>,
}

impl<'a> Candidate<'a> {
    /// `reads` is what was recorded; what the operations themselves imply is added.
    pub(crate) fn new(
        id: TxnId,
        snapshot: &'a State,
        reads: Option<BTreeSet<Oid>>,
        ops: &[Op],
    ) -> Self {
        let mut candidate = Self { id, snapshot, reads, writes: BTreeSet::new() };
        for op in ops {
            candidate.follow(op);
        }
        candidate
    }

    fn follow(&mut self, op: &Op) {
        match op {
            Op::AddSegments { table, segments, .. } if !segments.is_empty() => {
                // After RemoveAllSegments it is a rewrite, which read what it replaces.
                if self.writes.contains(table)
                    && let Some(reads) = &mut self.reads
                {
                    reads.insert(*table);
                }
                self.writes.insert(*table);
            }
            Op::DeleteRows { table, deletes } if !deletes.is_empty() => {
                self.writes.insert(*table);
                if let Some(reads) = &mut self.reads {
                    reads.insert(*table);
                }
            }
            Op::RemoveAllSegments { table } | Op::AlterTable { table, .. } => {
                self.writes.insert(*table);
            }
            Op::DropRelation { relation, .. } => {
                self.writes.insert(*relation);
            }
            Op::DropSchema { schema, .. } => self.drop_schema(*schema),
            Op::DropDatabase { database } => {
                for schema in self.snapshot.schemas(*database) {
                    self.drop_schema(schema.oid);
                }
            }
            // The same rows in other segments are no change that anyone can see.
            _ => {}
        }
    }

    fn drop_schema(&mut self, schema: Oid) {
        let relations = self.snapshot.relations(schema);
        self.writes.extend(relations.iter().map(|relation| relation.oid()));
    }
}

/// What a transaction and all that have to come after it read and wrote.
#[derive(Debug, Default)]
struct Reach {
    /// A reader of each table.
    reads: BTreeMap<Oid, TxnId>,
    /// The first writer of each table.
    writes: BTreeMap<Oid, (LogPosition, TxnId)>,
}

impl Reach {
    fn merge(&mut self, other: &Reach) {
        for (table, by) in &other.reads {
            self.reads.entry(*table).or_insert(*by);
        }
        for (table, by) in &other.writes {
            let first = self.writes.entry(*table).or_insert(*by);
            *first = (*first).min(*by);
        }
    }

    /// The table and the transaction by which the candidate has to come after this one.
    fn precedes(&self, candidate: &Candidate<'_>) -> Option<(Oid, TxnId)> {
        for table in &candidate.writes {
            let wrote = self.writes.get(table).map(|(_, by)| by);
            if let Some(by) = wrote.or_else(|| self.reads.get(table)) {
                return Some((*table, *by));
            }
        }
        let seen = candidate.snapshot.position();
        candidate.reads.iter().flatten().find_map(|table| {
            let (_, by) = self.writes.get(table).filter(|(at, _)| *at <= seen)?;
            Some((*table, *by))
        })
    }
}

/// A committed transaction that wrote.
#[derive(Debug)]
struct Writer {
    id: TxnId,
    at: LogPosition,
    writes: BTreeSet<Oid>,
    reach: Reach,
}

/// The dependency graph.
#[derive(Debug)]
pub(crate) struct Graph {
    snapshots: Arc<Snapshots>,
    /// In commit order.
    writers: VecDeque<Writer>,
    /// The position up to which writers may be missing.
    forgotten: LogPosition,
}

impl Graph {
    pub(crate) fn new(snapshots: Arc<Snapshots>) -> Self {
        Self { snapshots, writers: VecDeque::new(), forgotten: LogPosition(0) }
    }

    /// Adds a transaction that commits at `at`, after everything in `head`. One that does not
    /// get there after all may stay: that only ever refuses more.
    ///
    /// # Errors
    /// 40001 when it would close a cycle.
    pub(crate) fn admit(
        &mut self,
        candidate: &Candidate<'_>,
        head: &State,
        at: LogPosition,
    ) -> Result<()> {
        let mut reach = Reach {
            reads: candidate.reads.iter().flatten().map(|table| (*table, candidate.id)).collect(),
            writes: candidate.writes.iter().map(|table| (*table, (at, candidate.id))).collect(),
        };
        if let Some(reads) = &candidate.reads {
            self.check_forgotten(candidate, reads, head)?;
            let since = candidate.snapshot.position();
            for after in self.writers.iter().filter(|writer| writer.at > since) {
                let Some(table) = after.writes.intersection(reads).next() else { continue };
                if let Some((back, last)) = after.reach.precedes(candidate) {
                    let ids = [candidate.id, after.id, last];
                    return Err(violation(candidate, head, &[*table, back], &ids));
                }
                reach.merge(&after.reach);
            }
        }
        for before in &mut self.writers {
            if before.reach.precedes(candidate).is_some() {
                before.reach.merge(&reach);
            }
        }
        let Candidate { id, writes, .. } = candidate;
        if !writes.is_empty() {
            self.writers.push_back(Writer { id: *id, at, writes: writes.clone(), reach });
        }
        self.prune(at);
        Ok(())
    }

    /// A snapshot older than what is kept: nothing that it read may have changed.
    fn check_forgotten(
        &self,
        candidate: &Candidate<'_>,
        reads: &BTreeSet<Oid>,
        head: &State,
    ) -> Result<()> {
        if candidate.snapshot.position() >= self.forgotten {
            return Ok(());
        }
        let changed = reads.iter().find(|table| head.changed_since(**table, candidate.snapshot));
        match changed {
            Some(table) => Err(violation(candidate, head, &[*table], &[candidate.id])),
            None => Ok(()),
        }
    }

    /// Until the record at `at` is durable, snapshots without it are still taken.
    fn prune(&mut self, at: LogPosition) {
        let oldest = self.snapshots.oldest_serializable();
        while let Some(first) = self.writers.front() {
            let needed = first.at >= at || oldest.is_some_and(|oldest| oldest < first.at);
            if needed && self.writers.len() <= KEPT_MAX {
                break;
            }
            self.forgotten = self.forgotten.max(first.at);
            self.writers.pop_front();
        }
    }
}

fn violation(candidate: &Candidate<'_>, head: &State, tables: &[Oid], ids: &[TxnId]) -> Error {
    let name = |table: &Oid| {
        let name = head.plain_name(*table).or_else(|| candidate.snapshot.plain_name(*table));
        name.unwrap_or_else(|| table.to_string())
    };
    let names: BTreeSet<String> =
        tables.iter().map(|table| format!("\"{}\"", name(table))).collect();
    let names: Vec<String> = names.into_iter().collect();
    let ids: BTreeSet<TxnId> = ids.iter().copied().collect();
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let first = tables.first().map(name).unwrap_or_default();
    error!(
        SerializationFailure,
        "could not serialize access: Serializable isolation violation on table \"{first}\""
    )
    .detail(format!(
        "1023: Transactions forming the cycle are {}; tables in it are {}.",
        ids.join(", "),
        names.join(", ")
    ))
    .hint("Run the transaction again.")
    .retry(Retry::NewTransaction)
}
