//! Garbage at run time: the files of segments that left the head, until nobody can read them.
//!
//! Owns which files those are and who may still read them. Every plan and every snapshot of this
//! leader holds the `Arc` of the descriptors that it reads, so that a file is free once all
//! descriptors that ever named it are gone. Removing one takes two records of the log: the first
//! says that the file is doomed, from when no operation can name it again; the second proves
//! that this leader still leads. Files left over by a crash in between are orphans of the next
//! start, or doomed files that its collector finds in the state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Weak};

use base::ids::Oid;
use base::segment::Segment;
use base::{Result, error, fault};
use parking_lot::Mutex;

use crate::catalog::Catalog;
use crate::commit::Rules;
use crate::op::{Op, SegmentName};
use crate::state::State;
use crate::{garbage, history};

/// The most files that one round dooms.
const FILES_PER_ROUND: usize = 10_000;
/// Up to how many segments a round looks through on its own thread.
const INLINE_SEGMENTS_MAX: usize = 50_000;

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Files removed from the store.
    pub removed: usize,
    /// Files that a later round removes: doomed, held by readers or kept for time travel.
    pub waiting: usize,
}

/// The files that left the head.
#[derive(Debug, Default)]
pub(crate) struct Departed(Mutex<Files>);

#[derive(Debug, Default)]
struct Files {
    /// Who may still read a file: descriptors that left the head, dead ones included until the
    /// next round. Kept for files that the head still names by a newer descriptor, too.
    holders: BTreeMap<String, Vec<Weak<Segment>>>,
    /// Files that left a table, with the last time when one did so, in microseconds since the
    /// Unix epoch: a file may leave one table for another.
    left: BTreeMap<String, i64>,
    /// The same in the order in which they left; names that are not in `left` any more are
    /// passed over.
    queue: VecDeque<String>,
    /// Files that the running round is about to doom.
    chosen: BTreeSet<String>,
    /// Doomed files that are gone from the store, which the log does not say yet.
    removed: BTreeSet<String>,
}

impl Files {
    fn leave(&mut self, path: &str, at_us: i64) {
        match self.left.get_mut(path) {
            Some(last_us) => *last_us = at_us.max(*last_us),
            None => {
                self.left.insert(path.to_owned(), at_us);
                self.queue.push_back(path.to_owned());
            }
        }
    }

    /// A descriptor left the head; `newer` took its place.
    fn replaced(&mut self, old: &Arc<Segment>, newer: Option<&Arc<Segment>>, at_us: i64) {
        for path in old.paths() {
            let still = newer.is_some_and(|newer| newer.paths().any(|other| other == path));
            if !still {
                self.leave(path, at_us);
            }
            self.holders.entry(path.to_owned()).or_default().push(Arc::downgrade(old));
        }
    }
}

impl Departed {
    /// A transaction names files that it adds: none of them may be on its way out.
    ///
    /// # Errors
    /// 40001 for a file that is being removed.
    pub(crate) fn enter(&self, ops: &[Op]) -> Result<()> {
        let mut files = self.0.lock();
        if files.left.is_empty() && files.chosen.is_empty() {
            return Ok(());
        }
        for path in ops.iter().flat_map(added_paths) {
            if files.chosen.contains(path) {
                return Err(error!(SerializationFailure, "file {path} is being removed")
                    .retry(base::Retry::NewTransaction));
            }
            files.left.remove(path);
        }
        Ok(())
    }

    /// Notes what a record took out of the head.
    pub(crate) fn note<'a>(
        &self,
        before: &State,
        after: &State,
        ops: impl Iterator<Item = &'a Op> + Clone,
        at_us: i64,
    ) {
        let mut files = self.0.lock();
        let mut shrunk = BTreeSet::new();
        for op in ops.clone() {
            match op {
                Op::DeleteRows { table, deletes } => {
                    let names = deletes.iter().map(|one| &one.segment);
                    changed(&mut files, before, after, *table, names, at_us);
                    shrunk.insert(*table);
                }
                Op::ReplaceSegments { table, removed, .. } => {
                    changed(&mut files, before, after, *table, removed.iter(), at_us);
                    shrunk.insert(*table);
                }
                Op::RemoveAllSegments { table } => {
                    emptied(&mut files, before, after, *table, at_us);
                    shrunk.insert(*table);
                }
                Op::DropRelation { relation, .. } => {
                    emptied(&mut files, before, after, *relation, at_us);
                    shrunk.insert(*relation);
                }
                Op::DropSchema { .. } | Op::DropDatabase { .. } | Op::DropTemporaries { .. } => {
                    for table in before.tables_with_contents() {
                        if !after.has_contents(table) {
                            emptied(&mut files, before, after, table, at_us);
                        }
                    }
                }
                _ => {}
            }
        }
        // Files that came and went within the record.
        for op in ops {
            let table = match op {
                Op::AddSegments { table, .. }
                | Op::DeleteRows { table, .. }
                | Op::ReplaceSegments { table, .. } => *table,
                _ => continue,
            };
            if shrunk.contains(&table) || !after.has_contents(table) {
                for path in came_and_went(before, after, table, op) {
                    files.leave(&path, at_us);
                }
            }
        }
    }

    /// The next files to doom: those that nobody can read any more.
    fn choose(&self, until_us: i64, rules: Rules) -> Vec<String> {
        let mut files = self.0.lock();
        files.holders.retain(|_, holders| {
            holders.retain(|holder| holder.strong_count() > 0);
            !holders.is_empty()
        });
        let mut batch = Vec::new();
        for _ in 0..files.queue.len() {
            if batch.len() >= FILES_PER_ROUND {
                break;
            }
            let Some(path) = files.queue.pop_front() else { break };
            let Some(at_us) = files.left.get(&path).copied() else { continue };
            let held = files.holders.contains_key(&path) && rules.wait_for_readers;
            if at_us > until_us || held {
                files.queue.push_back(path);
                continue;
            }
            files.left.remove(&path);
            files.chosen.insert(path.clone());
            batch.push(path);
        }
        batch
    }

    /// Ends what `choose` began; `again` for files that stay.
    fn release(&self, batch: &[String], again: Option<i64>) {
        let mut files = self.0.lock();
        for path in batch {
            files.chosen.remove(path);
            if let Some(at_us) = again {
                files.leave(path, at_us);
            }
        }
    }

    fn removed(&self) -> Vec<String> {
        self.0.lock().removed.iter().cloned().collect()
    }

    fn waiting(&self) -> usize {
        self.0.lock().left.len()
    }
}

fn changed<'a>(
    files: &mut Files,
    before: &State,
    after: &State,
    table: Oid,
    names: impl Iterator<Item = &'a SegmentName>,
    at_us: i64,
) {
    // Segments of the snapshot keep their numbers; what the transaction added itself was never
    // in the head.
    for name in names {
        let Some(old) = before.known_segment(table, name) else { continue };
        let newer = after.segment_at(table, old.number, &old.path);
        if newer.is_none_or(|newer| !Arc::ptr_eq(newer, old)) {
            files.replaced(old, newer, at_us);
        }
    }
}

fn emptied(files: &mut Files, before: &State, after: &State, table: Oid, at_us: i64) {
    for old in before.segments_of(table) {
        let newer = after.segment_at(table, old.number, &old.path);
        if newer.is_none_or(|newer| !Arc::ptr_eq(newer, old)) {
            files.replaced(old, newer, at_us);
        }
    }
}

/// The files that an operation brought and that the state after its record does not name.
fn came_and_went(before: &State, after: &State, table: Oid, op: &Op) -> Vec<String> {
    let changed = match op {
        Op::DeleteRows { deletes, .. } => deletes.as_slice(),
        _ => &[],
    };
    let named: BTreeSet<&str> = changed
        .iter()
        .filter_map(|one| before.known_segment(table, &one.segment))
        .filter_map(|old| after.segment_at(table, old.number, &old.path))
        .chain(after.segments_after(table, before.last_number(table)))
        .flat_map(|segment| segment.paths())
        .collect();
    added_paths(op).filter(|path| !named.contains(path)).map(str::to_owned).collect()
}

/// The files that an operation names for the first time.
pub(crate) fn added_paths(op: &Op) -> impl Iterator<Item = &str> {
    let (segments, deletes): (&[Segment], _) = match op {
        Op::AddSegments { segments, .. } => (segments, None),
        Op::ReplaceSegments { added, .. } => (added, None),
        Op::DeleteRows { deletes, .. } => (&[], Some(deletes)),
        _ => (&[], None),
    };
    let bitmaps = deletes.into_iter().flatten().filter_map(|one| one.deletes.path());
    segments.iter().flat_map(Segment::paths).chain(bitmaps)
}

impl Catalog {
    /// One round of removing files that the head no longer names and nobody can read: those of
    /// dropped and truncated tables, of replaced segments and of replaced delete vectors. At most
    /// 10,000 files go in a round; a file goes at the earliest in the round after the one that
    /// doomed it. Rounds run one at a time.
    ///
    /// # Errors
    /// Those of [`Catalog::commit`] and of the store; the next round goes on.
    pub async fn collect_garbage(&self) -> Result<Collected> {
        let inner = self.inner();
        let _one_round = inner.collecting.lock().await;
        self.check_open()?;
        let head = self.head();
        let ready: Vec<String> = head.doomed().map(str::to_owned).collect();
        let now_us = inner.options.source.now_us();
        let horizon_us = history::horizon_us(&head, now_us);
        // What left at a time was still there for whoever reads at any time before.
        let until_us = inner.pins.oldest_us().map_or(horizon_us, |pin| pin.min(horizon_us));
        let rules = inner.options.rules;
        let mut chosen = inner.departed.choose(until_us, rules);
        if history::horizon_us(&self.head(), now_us) < horizon_us {
            // The retention was raised meanwhile: what was chosen may have left since.
            inner.departed.release(&chosen, Some(now_us));
            chosen.clear();
        }
        let batch = self.without_named(chosen, now_us).await?;
        let waiting = || inner.departed.waiting() + self.head().doomed().count();
        if ready.is_empty() && batch.is_empty() {
            return Ok(Collected { removed: 0, waiting: waiting() });
        }
        if !rules.log_intent {
            garbage::remove(&*inner.store, &batch).await?;
            inner.departed.release(&batch, None);
            return Ok(Collected { removed: batch.len(), waiting: waiting() });
        }
        if let Err(error) = self.doom(&batch).await {
            inner.departed.release(&batch, Some(now_us));
            return Err(error);
        }
        inner.departed.release(&batch, None);
        fault::point("garbage.after_intent")?;
        let removed = self.remove_doomed(ready).await?;
        Ok(Collected { removed, waiting: waiting() })
    }

    /// The files of a batch that no other table of the head names.
    async fn without_named(&self, batch: Vec<String>, now_us: i64) -> Result<Vec<String>> {
        if batch.is_empty() || !self.inner().options.rules.look_for_names {
            return Ok(batch);
        }
        // Whatever named them before they left is in this head; `enter` refuses it from now on.
        let head = self.head();
        let looked_for: BTreeSet<String> = batch.iter().cloned().collect();
        let look = move || {
            let named: Vec<(String, Weak<Segment>)> = head
                .all_segments()
                .flat_map(|segment| segment.paths().map(move |path| (path, segment)))
                .filter(|(path, _)| looked_for.contains(*path))
                .map(|(path, segment)| (path.to_owned(), Arc::downgrade(segment)))
                .collect();
            Ok(named)
        };
        let few = self.head().all_segments().take(INLINE_SEGMENTS_MAX + 1).count();
        let found = match few <= INLINE_SEGMENTS_MAX {
            true => look(),
            false => base::task::blocking("look for named files", look).await,
        };
        let departed = &self.inner().departed;
        let named = match found {
            Ok(named) => named,
            Err(error) => {
                departed.release(&batch, Some(now_us));
                return Err(error);
            }
        };
        let kept: Vec<String> = named.iter().map(|(path, _)| path.clone()).collect();
        departed.release(&kept, None);
        Ok(batch.into_iter().filter(|path| !kept.contains(path)).collect())
    }

    /// Logs the intent, and what an earlier round removed.
    async fn doom(&self, batch: &[String]) -> Result<()> {
        fault::point("garbage.before_intent")?;
        let removed = self.inner().departed.removed();
        let mut transaction = self.begin();
        transaction.apply(Op::CollectFiles { doomed: batch.to_vec(), removed: removed.clone() })?;
        self.commit(transaction).await?;
        let mut files = self.inner().departed.0.lock();
        for path in removed {
            files.removed.remove(&path);
        }
        Ok(())
    }

    /// Removes files that an earlier record doomed, after one of this round that this leader
    /// wrote: nothing names them and nothing can.
    async fn remove_doomed(&self, ready: Vec<String>) -> Result<usize> {
        let inner = self.inner();
        let head = self.head();
        let ready: Vec<String> = ready.into_iter().filter(|path| head.is_doomed(path)).collect();
        if ready.is_empty() {
            return Ok(0);
        }
        self.check_open()?;
        garbage::remove(&*inner.store, &ready).await?;
        fault::point("garbage.after_delete")?;
        let count = ready.len();
        inner.departed.0.lock().removed.extend(ready);
        Ok(count)
    }
}
