//! A transaction: a snapshot, the operations so far and the state with both.
//!
//! Owns ids given to transactions and objects. Nothing here is visible to others before
//! [`crate::Catalog::commit`].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use base::ids::{ColumnId, Epoch, Oid, SliceId, TxnId};
use base::{Result, error};
use parking_lot::Mutex;

use crate::object::Relation;
use crate::op::Op;
use crate::serializable::Open;
use crate::state::{Conflicts, State};

/// The ids that a leader has given in its epoch.
#[derive(Debug)]
pub(crate) struct Ids {
    epoch: Epoch,
    next_txn: AtomicU64,
    next_oid: AtomicU32,
    identities: Mutex<HashMap<(Oid, ColumnId), i64>>,
}

impl Ids {
    pub(crate) fn new(state: &State) -> Self {
        Self {
            epoch: state.epoch(),
            next_txn: AtomicU64::new(1),
            next_oid: AtomicU32::new(state.next_oid().0),
            identities: Mutex::new(HashMap::new()),
        }
    }

    /// Keeps the allocator ahead of ids that were not taken from it.
    pub(crate) fn follow(&self, state: &State) {
        self.next_oid.fetch_max(state.next_oid().0, Ordering::Relaxed);
    }
}

/// An open transaction. Dropping it aborts it.
#[derive(Debug)]
pub struct Transaction {
    id: TxnId,
    ids: Arc<Ids>,
    snapshot: Arc<State>,
    state: Arc<State>,
    ops: Vec<Op>,
    reads: BTreeSet<Oid>,
    /// Segments were taken over from the head.
    followed: bool,
    open: Open,
}

/// What is left of a transaction that is being committed.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) id: TxnId,
    pub(crate) snapshot: Arc<State>,
    pub(crate) ops: Vec<Op>,
    pub(crate) reads: BTreeSet<Oid>,
    /// Keeps the snapshot open until the outcome is known.
    pub(crate) open: Open,
}

/// A place in a transaction to which it can go back.
#[derive(Clone, Debug)]
pub struct Savepoint {
    state: Arc<State>,
    ops: usize,
}

impl Transaction {
    pub(crate) fn begin(ids: &Arc<Ids>, snapshot: Arc<State>, open: Open) -> Self {
        Self {
            id: TxnId(ids.next_txn.fetch_add(1, Ordering::Relaxed)),
            ids: ids.clone(),
            state: snapshot.clone(),
            snapshot,
            ops: Vec::new(),
            reads: BTreeSet::new(),
            followed: false,
            open,
        }
    }

    /// Takes over the segments that `head`, a later state, has for rows of the snapshot: that
    /// compaction wrote them anew is then no conflict. Does nothing for a table whose rows this
    /// transaction deletes: it has kept compaction away from then on.
    pub fn follow(&mut self, table: Oid, head: &State) {
        let deletes = |op: &Op| matches!(op, Op::DeleteRows { table: of, .. } if *of == table);
        if self.ops.iter().any(deletes) {
            return;
        }
        let Some(snapshot) = self.snapshot.rewritten(head, table) else { return };
        // What the transaction did holds as well over the same rows.
        if let Some(state) = replayed(&snapshot, &self.ops) {
            (self.snapshot, self.state, self.followed) = (Arc::new(snapshot), state, true);
        }
    }

    /// Whether the operations from the one numbered `from` on could still be committed after what
    /// is in `head`, a later state.
    ///
    /// # Errors
    /// 40001 naming what changed.
    pub fn check(&self, head: &State, from: usize) -> Result<()> {
        let ops = self.ops.get(from..).unwrap_or_default();
        (Conflicts { snapshot: &self.snapshot, head }).check(ops)
    }

    /// Asks for SERIALIZABLE or, from the start, SNAPSHOT: the level of the session's database,
    /// to be set before the first statement.
    pub fn set_serializable(&mut self, serializable: bool) {
        self.open.set_serializable(serializable);
    }

    /// Notes tables that the transaction reads, also those behind views and those read to
    /// change them. Counts under SERIALIZABLE, and beyond a savepoint that is rolled back.
    pub fn read(&mut self, tables: impl IntoIterator<Item = Oid>) {
        self.reads.extend(tables);
    }

    /// True when its commit matters to others although it writes nothing.
    pub(crate) fn constrains_others(&self) -> bool {
        self.open.is_serializable() && !self.reads.is_empty()
    }

    /// Its id, unique in the epoch.
    pub fn id(&self) -> TxnId {
        self.id
    }

    /// The state when it began, without its own operations.
    pub fn snapshot(&self) -> &Arc<State> {
        &self.snapshot
    }

    /// The state with its own operations: what its statements see.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// A new object id, never given to another object.
    pub fn new_oid(&self) -> Oid {
        Oid(self.ids.next_oid.fetch_add(1, Ordering::Relaxed))
    }

    /// Adds an operation.
    ///
    /// # Errors
    /// The SQLSTATE of the reason why it does not fit, for example 42P07; the transaction is
    /// then as before the call.
    pub fn apply(&mut self, op: Op) -> Result<()> {
        self.state = Arc::new(self.state.with(&op)?);
        self.ops.push(op);
        Ok(())
    }

    /// Where the transaction stands.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint { state: self.state.clone(), ops: self.ops.len() }
    }

    /// Takes back every operation since the savepoint: one of this transaction, and made before
    /// any that was rolled back to since.
    pub fn roll_back_to(&mut self, savepoint: &Savepoint) {
        self.ops.truncate(savepoint.ops);
        // The savepoint may be from before the snapshot has its segments of now.
        let now = self.followed.then(|| replayed(&self.snapshot, &self.ops)).flatten();
        self.state = now.unwrap_or_else(|| savepoint.state.clone());
    }

    /// True when committing it would write nothing.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The operations so far.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The path of a segment file of this transaction; `slice` is `None` for a DISTSTYLE ALL
    /// table. Unique as long as `seq` is unique in the transaction, table and slice.
    pub fn segment_path(&self, table: Oid, slice: Option<SliceId>, seq: u32) -> String {
        crate::garbage::segment_path(self.ids.epoch, self.id, table, slice, seq)
    }

    /// Takes `count` values of an identity column for this transaction and returns the first;
    /// the next is one step on. What an aborted transaction took is not given again, as on
    /// Redshift. Pass the value after the last in `AddSegments` with `reserved: true`.
    ///
    /// # Errors
    /// 42704 when the column is no identity column, 22003 when the values run out.
    pub fn reserve_identity(&self, table: Oid, column: ColumnId, count: u64) -> Result<i64> {
        let identity = match self.state.relation_by_oid(table) {
            Some(Relation::Table(table)) => table.column_by_id(column).and_then(|c| c.identity),
            _ => None,
        };
        let identity = identity
            .ok_or_else(|| error!(UndefinedObject, "column {column} is not an identity column"))?;
        let committed = self.state.identity_next(table, column).unwrap_or(identity.seed);
        let mut given = self.ids.identities.lock();
        let next = given.entry((table, column)).or_insert(committed);
        let first = if identity.step < 0 { committed.min(*next) } else { committed.max(*next) };
        let after = i64::try_from(count)
            .ok()
            .and_then(|count| identity.step.checked_mul(count))
            .and_then(|distance| first.checked_add(distance))
            .ok_or_else(|| {
                error!(NumericValueOutOfRange, "identity column {column} has run out")
            })?;
        *next = after;
        Ok(first)
    }

    pub(crate) fn into_parts(self) -> Parts {
        let Transaction { id, snapshot, ops, reads, open, .. } = self;
        Parts { id, snapshot, ops, reads, open }
    }
}

/// A snapshot with operations that were applied before.
fn replayed(snapshot: &State, ops: &[Op]) -> Option<Arc<State>> {
    let mut state = snapshot.clone();
    ops.iter().try_for_each(|op| state.apply(op)).ok()?;
    Some(Arc::new(state))
}
