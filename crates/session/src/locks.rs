//! Table locks of writers. Readers take none: they see their snapshot.
//!
//! Owns who holds and who waits for which table, in the order of asking, and finds deadlocks at
//! the moment when a request has to wait. A lock is held until its transaction ends. Knows
//! neither sessions nor the catalog: owners are process ids.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base::ids::Oid;
use base::{Error, Result, error};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What a writer does to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Mode {
    /// Adds rows: INSERT, COPY. Several may at once, also beside one that changes rows.
    Append,
    /// Changes or removes rows: UPDATE, DELETE, MERGE. One at a time.
    Modify,
    /// Changes the table itself, or keeps all other writers out: DDL, TRUNCATE, LOCK.
    Exclusive,
}

impl Mode {
    fn conflicts(self, other: Mode) -> bool {
        match (self, other) {
            (Mode::Exclusive, _) | (_, Mode::Exclusive) => true,
            (Mode::Modify, Mode::Modify) => true,
            (Mode::Append, _) | (_, Mode::Append) => false,
        }
    }

    /// True when who holds `self` may do what `other` is for.
    fn covers(self, other: Mode) -> bool {
        self >= other
    }

    /// The name in `pg_locks`, `svv_transactions` and messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Append => "RowExclusiveLock",
            Mode::Modify => "ShareRowExclusiveLock",
            Mode::Exclusive => "AccessExclusiveLock",
        }
    }
}

/// The owner of a lock: a session by its process id.
pub(crate) type Owner = i32;

/// A table to lock, with what messages and system tables show of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) table: Oid,
    pub(crate) name: Arc<str>,
    pub(crate) database: Oid,
}

/// A lock, held or waited for, as system tables show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) target: Target,
    pub(crate) owner: Owner,
    pub(crate) mode: Mode,
    pub(crate) granted: bool,
    /// Since when it is held or waited for, in microseconds since the epoch.
    pub(crate) since_us: i64,
}

/// All table locks of the cluster.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tables: HashMap<Oid, Queue>,
    /// The tables on which an owner holds something.
    held: HashMap<Owner, HashSet<Oid>>,
    /// The table for which an owner waits: one at most.
    waiting: HashMap<Owner, Oid>,
    /// The number of the newest grant or request.
    last: u64,
}

/// The locks of one table.
#[derive(Debug)]
struct Queue {
    target: Target,
    held: Vec<Held>,
    waiters: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Held {
    owner: Owner,
    mode: Mode,
    /// Grows with every grant, so that a savepoint can tell what came after it.
    number: u64,
    since_us: i64,
}

#[derive(Debug)]
struct Waiter {
    owner: Owner,
    mode: Mode,
    number: u64,
    since_us: i64,
    granted: oneshot::Sender<()>,
}

impl Queue {
    fn new(target: Target) -> Queue {
        Queue { target, held: Vec::new(), waiters: VecDeque::new() }
    }

    fn covers(&self, owner: Owner, mode: Mode) -> bool {
        self.held.iter().any(|held| held.owner == owner && held.mode.covers(mode))
    }

    fn holds(&self, owner: Owner) -> bool {
        self.held.iter().any(|held| held.owner == owner)
    }

    /// Who keeps `owner` from `mode` when it stands behind the first `ahead` waiters.
    fn blockers(&self, owner: Owner, mode: Mode, ahead: usize) -> Vec<Owner> {
        let held = self.held.iter().map(|held| (held.owner, held.mode));
        let before = self.waiters.iter().take(ahead).map(|waiter| (waiter.owner, waiter.mode));
        held.chain(before)
            .filter(|(other, theirs)| *other != owner && mode.conflicts(*theirs))
            .map(|(other, _)| other)
            .collect()
    }

    /// Where a request has to stand: behind all others, but who holds a lock already goes before
    /// those that wait for it, else both would wait for ever.
    fn place(&self, owner: Owner) -> usize {
        let own: Vec<Mode> =
            self.held.iter().filter(|held| held.owner == owner).map(|held| held.mode).collect();
        let waits_for_us = |waiter: &Waiter| own.iter().any(|mode| mode.conflicts(waiter.mode));
        self.waiters.iter().position(waits_for_us).unwrap_or(self.waiters.len())
    }

    /// Grants what nothing stands against any more, in order.
    fn wake(&mut self, last: &mut u64) -> Vec<Owner> {
        let mut woken = Vec::new();
        let mut at = 0;
        while let Some(waiter) = self.waiters.get(at) {
            if !self.blockers(waiter.owner, waiter.mode, at).is_empty() {
                at += 1;
                continue;
            }
            let Some(waiter) = self.waiters.remove(at) else { break };
            // A waiter that gave up takes itself out; one that is gone by now needs no lock.
            if waiter.granted.send(()).is_err() {
                continue;
            }
            *last += 1;
            woken.push(waiter.owner);
            self.held.push(Held {
                owner: waiter.owner,
                mode: waiter.mode,
                number: *last,
                since_us: base::clock::now_us(),
            });
        }
        woken
    }

    fn is_unused(&self) -> bool {
        self.held.is_empty() && self.waiters.is_empty()
    }
}

impl Inner {
    fn wake(&mut self, table: Oid) {
        let Some(queue) = self.tables.get_mut(&table) else { return };
        for owner in queue.wake(&mut self.last) {
            self.waiting.remove(&owner);
            self.held.entry(owner).or_default().insert(table);
        }
        if queue.is_unused() {
            self.tables.remove(&table);
        }
    }

    fn grant(&mut self, owner: Owner, mode: Mode, target: &Target) {
        self.last += 1;
        let number = self.last;
        let queue = self.tables.entry(target.table).or_insert_with(|| Queue::new(target.clone()));
        queue.held.push(Held { owner, mode, number, since_us: base::clock::now_us() });
        self.held.entry(owner).or_default().insert(target.table);
    }

    /// True when `owner` may have `mode` at once.
    fn is_free(&self, owner: Owner, mode: Mode, target: &Target) -> bool {
        let Some(queue) = self.tables.get(&target.table) else { return true };
        let ahead = if queue.holds(owner) { 0 } else { queue.waiters.len() };
        queue.blockers(owner, mode, ahead).is_empty()
    }

    /// Whom a waiting owner waits for.
    fn blockers_of(&self, owner: Owner) -> Vec<Owner> {
        let queue = self.waiting.get(&owner).and_then(|table| self.tables.get(table));
        let Some(queue) = queue else { return Vec::new() };
        let Some(at) = queue.waiters.iter().position(|waiter| waiter.owner == owner) else {
            return Vec::new();
        };
        queue.blockers(owner, queue.waiters[at].mode, at)
    }

    /// A cycle of waiting owners through `start`, each waiting for the next.
    fn cycle(&self, start: Owner) -> Option<Vec<Owner>> {
        let mut path = vec![(start, self.blockers_of(start))];
        let mut seen = HashSet::from([start]);
        while let Some((_, blockers)) = path.last_mut() {
            match blockers.pop() {
                None => {
                    path.pop();
                }
                Some(next) if next == start => {
                    return Some(path.into_iter().map(|(owner, _)| owner).collect());
                }
                Some(next) if seen.insert(next) => {
                    let blockers = self.blockers_of(next);
                    path.push((next, blockers));
                }
                Some(_) => {}
            }
        }
        None
    }

    fn deadlock(&self, cycle: &[Owner]) -> Error {
        let waits = |(n, owner): (usize, &Owner)| {
            let queue = self.waiting.get(owner).and_then(|table| self.tables.get(table))?;
            let waiter = queue.waiters.iter().find(|waiter| waiter.owner == *owner)?;
            let next = cycle[(n + 1) % cycle.len()];
            let Target { table, name, database } = &queue.target;
            Some(format!(
                "Process {owner} waits for {} on relation {table} (\"{name}\") of database \
                 {database}; blocked by process {next}.",
                waiter.mode.name()
            ))
        };
        let detail: Vec<String> = cycle.iter().enumerate().filter_map(waits).collect();
        error!(DeadlockDetected, "deadlock detected")
            .detail(detail.join("\n"))
            .hint(
                "Run the transaction again; transactions that lock tables in one order cannot \
                   deadlock.",
            )
            .retry(base::Retry::NewTransaction)
    }

    fn give_up(&mut self, owner: Owner, number: u64) {
        // Gone already when the lock was granted.
        let Some(table) = self.waiting.remove(&owner) else { return };
        if let Some(queue) = self.tables.get_mut(&table) {
            queue.waiters.retain(|waiter| waiter.number != number);
        }
        self.wake(table);
    }
}

impl Locks {
    /// Takes a lock, waiting for it at most `timeout`. Gives true when it had to wait. Dropping
    /// the future takes the request back.
    ///
    /// # Errors
    /// 40P01 when waiting would never end, 55P03 at the timeout.
    pub(crate) async fn lock(
        &self,
        owner: Owner,
        mode: Mode,
        target: &Target,
        timeout: Option<Duration>,
    ) -> Result<bool> {
        let Some((mut waiting, granted)) = self.request(owner, mode, target)? else {
            return Ok(false);
        };
        match timeout {
            None => drop(granted.await),
            Some(timeout) => {
                if tokio::time::timeout(timeout, granted).await.is_err() {
                    return Err(timed_out(mode, target));
                }
            }
        }
        waiting.number = None;
        Ok(true)
    }

    /// Takes a lock only if that is possible at once.
    pub(crate) fn try_lock(&self, owner: Owner, mode: Mode, target: &Target) -> bool {
        let mut inner = self.inner.lock();
        if inner.tables.get(&target.table).is_some_and(|queue| queue.covers(owner, mode)) {
            return true;
        }
        let free = inner.is_free(owner, mode, target);
        if free {
            inner.grant(owner, mode, target);
        }
        free
    }

    /// Grants a lock, or stands in line for it.
    fn request<'a>(
        &'a self,
        owner: Owner,
        mode: Mode,
        target: &Target,
    ) -> Result<Option<(Waiting<'a>, oneshot::Receiver<()>)>> {
        if self.try_lock(owner, mode, target) {
            return Ok(None);
        }
        let mut inner = self.inner.lock();
        inner.last += 1;
        let number = inner.last;
        let (granted, receiver) = oneshot::channel();
        let since_us = base::clock::now_us();
        let waiter = Waiter { owner, mode, number, since_us, granted };
        let queue = inner.tables.entry(target.table).or_insert_with(|| Queue::new(target.clone()));
        let at = queue.place(owner);
        queue.waiters.insert(at, waiter);
        inner.waiting.insert(owner, target.table);
        if let Some(cycle) = inner.cycle(owner) {
            let error = inner.deadlock(&cycle);
            inner.give_up(owner, number);
            return Err(error);
        }
        // What stood in the way may have gone since the first look.
        inner.wake(target.table);
        Ok(Some((Waiting { locks: self, owner, number: Some(number) }, receiver)))
    }

    /// A place in an owner's transaction to which [`Locks::release_since`] goes back.
    pub(crate) fn mark(&self) -> u64 {
        self.inner.lock().last
    }

    /// Gives up what an owner took after `mark`.
    pub(crate) fn release_since(&self, owner: Owner, mark: u64) {
        let mut inner = self.inner.lock();
        let Some(tables) = inner.held.remove(&owner) else { return };
        let mut kept = HashSet::new();
        for table in tables {
            if let Some(queue) = inner.tables.get_mut(&table) {
                queue.held.retain(|held| held.owner != owner || held.number <= mark);
                if queue.holds(owner) {
                    kept.insert(table);
                }
            }
            inner.wake(table);
        }
        if !kept.is_empty() {
            inner.held.insert(owner, kept);
        }
    }

    /// Gives up all that an owner holds: its transaction has ended.
    pub(crate) fn release(&self, owner: Owner) {
        self.release_since(owner, 0);
    }

    /// True while somebody waits for, or holds, more than the right to add rows to a table.
    pub(crate) fn is_contended(&self, table: Oid) -> bool {
        let inner = self.inner.lock();
        inner.tables.get(&table).is_some_and(|queue| {
            let held = queue.held.iter().any(|held| held.mode > Mode::Append);
            held || !queue.waiters.is_empty()
        })
    }

    /// Everything held or waited for, by table.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        let inner = self.inner.lock();
        let mut all = Vec::new();
        for queue in inner.tables.values() {
            let held = queue.held.iter().map(|held| (held.owner, held.mode, true, held.since_us));
            let waiters = queue.waiters.iter();
            let waiters = waiters.map(|one| (one.owner, one.mode, false, one.since_us));
            all.extend(held.chain(waiters).map(|(owner, mode, granted, since_us)| Shown {
                target: queue.target.clone(),
                owner,
                mode,
                granted,
                since_us,
            }));
        }
        all.sort_by_key(|one| (one.target.table, one.since_us, one.owner));
        all
    }
}

fn timed_out(mode: Mode, target: &Target) -> Error {
    error!(LockNotAvailable, "canceling statement due to lock timeout")
        .detail(format!("It waited for {} on relation \"{}\".", mode.name(), target.name))
        .hint("stv_locks shows who holds the lock.")
        .table(target.name.as_ref())
}

/// A place in line, given up when it is dropped.
struct Waiting<'a> {
    locks: &'a Locks,
    owner: Owner,
    /// `None` once the lock is granted.
    number: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.locks.inner.lock().give_up(self.owner, number);
        }
    }
}

#[cfg(test)]
mod tests;
