//! Background work of the leader: sessions that are idle for too long end, rows that came in
//! drops are put together, deleted rows go, sort orders are restored, changed tables are analyzed.
//!
//! Owns one task and one bounded queue. It never makes a reader or writer wait: it works on
//! snapshots and gives way wherever somebody else is at a table.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base::CancellationToken;
use base::ids::Oid;
use catalog::{Relation, Table};
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::LeaderNode;
use super::analysis::Analysis;
use super::compaction::{self, Rewriter, Rewritten};
use crate::locks::Owner;

/// How often the task looks around.
const TICK: Duration = Duration::from_millis(250);
/// A table that was written is looked at after so long …
const AGE_US: i64 = 3_000_000;
/// … or as soon as it has so many inline segments.
const INLINE_MAX: usize = 64;
/// All tables are looked at every so many ticks.
const SWEEP_TICKS: u64 = 240;
/// A table that nobody wrote for so long is put in order down to what little is amiss.
const CALM_US: i64 = 6_000_000;
/// Work that takes more than a moment waits until no statement ran for so long, and is given up
/// when one begins …
const QUIET_US: i64 = 1_500_000;
/// … but not longer than this.
const QUIET_MAX_US: i64 = 60_000_000;
/// Segments of so many bytes are rewritten in a moment.
const MOMENT_BYTES: u64 = 4 << 20;
/// Files that nobody can read any more are removed every so many ticks.
const GARBAGE_TICKS: u64 = 120;
/// Tables that wait to be looked at; the sweep finds what does not fit.
const QUEUE_MAX: usize = 10_000;
/// After a job the task rests so many times as long as the job took, …
const REST_FACTOR: u32 = 3;
/// … but not longer than this.
const REST_MAX: Duration = Duration::from_secs(10);
/// Vacuums, and so many analyses, that are remembered.
const RECORDS_MAX: usize = 1_000;
/// Files of a write that failed are removed after so long: its last writers have ended by then.
const LEFT_BEHIND_US: i64 = 10_000_000;
/// Writes that failed, and whose files wait to be removed; those of more are left to the next
/// start.
const LEFT_BEHIND_MAX: usize = 10_000;
/// How often work that gives way looks whether a statement runs.
const WATCH: Duration = Duration::from_millis(5);
/// The owner of the background's locks: no session has this process id.
const OWNER: Owner = 0;

/// A finished or running rewrite, as `stl_vacuum` and its kin show it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) table: Oid,
    pub(crate) name: String,
    pub(crate) user: Oid,
    pub(crate) transaction: u64,
    /// `Full`, `Sort Only`, `Delete Only`, `Reindex`, `Recluster` or `Background`.
    pub(crate) kind: &'static str,
    pub(crate) started_us: i64,
    /// `None` while it runs.
    pub(crate) ended_us: Option<i64>,
    pub(crate) rows_before: u64,
    pub(crate) sorted_before: u64,
    pub(crate) done: Rewritten,
    pub(crate) sorted_after: u64,
    pub(crate) failed: bool,
}

/// A table to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    table: Oid,
    since_us: i64,
    /// Nobody has written it for a while.
    calm: bool,
}

impl Due {
    /// True when reading or writing so many bytes of the table takes more than a moment, and the
    /// table can still wait.
    fn gives_way(self, bytes: u64) -> bool {
        bytes > MOMENT_BYTES && base::clock::now_us() - self.since_us < QUIET_MAX_US
    }
}

/// What the task knows.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// Since when tables wait, by table.
    queue: Mutex<BTreeMap<Oid, i64>>,
    /// When tables were last written, by table, until they are looked at as calm ones.
    written: Mutex<BTreeMap<Oid, i64>>,
    records: Mutex<VecDeque<Record>>,
    analyses: Mutex<VecDeque<Analysis>>,
    /// When writes failed, and what the paths of their files begin with.
    left_behind: Mutex<VecDeque<(i64, String)>>,
}

impl Upkeep {
    /// A table was written in a way that may be worth a rewrite.
    pub(crate) fn touched(&self, table: Oid) {
        let now = base::clock::now_us();
        let mut queue = self.queue.lock();
        if queue.len() < QUEUE_MAX {
            queue.entry(table).or_insert(now);
        }
        drop(queue);
        let mut written = self.written.lock();
        if written.len() < QUEUE_MAX || written.contains_key(&table) {
            written.insert(table, now);
        }
    }

    /// Remembers a rewrite that begins or ends.
    pub(crate) fn record(&self, record: Record) {
        let mut records = self.records.lock();
        let same = |known: &&mut Record| {
            known.table == record.table
                && known.started_us == record.started_us
                && known.ended_us.is_none()
        };
        if let Some(known) = records.iter_mut().rev().find(same) {
            *known = record;
            return;
        }
        if records.len() >= RECORDS_MAX {
            records.pop_front();
        }
        records.push_back(record);
    }

    /// Remembers an ANALYZE.
    pub(crate) fn analyzed(&self, analysis: Analysis) {
        let mut analyses = self.analyses.lock();
        if analyses.len() >= RECORDS_MAX {
            analyses.pop_front();
        }
        analyses.push_back(analysis);
    }

    /// Oldest first.
    pub(crate) fn analyses(&self) -> Vec<Analysis> {
        self.analyses.lock().iter().cloned().collect()
    }

    /// Oldest first.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.records.lock().iter().cloned().collect()
    }

    /// The outcome of a write. Of one that failed, the files that some slice had finished are
    /// removed later.
    pub(crate) fn checked<T, E>(
        &self,
        outcome: Result<T, E>,
        target: &exec::WriteTarget,
    ) -> Result<T, E> {
        if outcome.is_err() {
            let mut left_behind = self.left_behind.lock();
            if left_behind.len() < LEFT_BEHIND_MAX {
                left_behind.push_back((base::clock::now_us(), target.prefix.clone()));
            }
        }
        outcome
    }

    /// Takes out the writes that failed long enough ago.
    fn take_left_behind(&self, now_us: i64) -> Vec<String> {
        let mut left_behind = self.left_behind.lock();
        let ready = left_behind.partition_point(|(at, _)| now_us - at >= LEFT_BEHIND_US);
        left_behind.drain(..ready).map(|(_, prefix)| prefix).collect()
    }

    /// A table has to wait on, counted from when it first waited.
    fn again(&self, table: Oid, since_us: i64) {
        let mut queue = self.queue.lock();
        let since = queue.entry(table).or_insert(since_us);
        *since = since_us.min(*since);
    }

    /// A calm table has to wait on, unless it is written meanwhile.
    fn calm_again(&self, table: Oid, since_us: i64) {
        self.written.lock().entry(table).or_insert(since_us);
    }

    /// Takes out the tables whose time has come.
    fn due(&self, now_us: i64, inline: impl Fn(Oid) -> usize) -> Vec<Due> {
        let mut queue = self.queue.lock();
        let mut due: Vec<Due> = queue
            .iter()
            .filter(|(table, since)| now_us - **since >= AGE_US || inline(**table) >= INLINE_MAX)
            .map(|(table, since)| Due { table: *table, since_us: *since, calm: false })
            .collect();
        for one in &due {
            queue.remove(&one.table);
        }
        drop(queue);
        self.written.lock().retain(|table, last| {
            let calm = now_us - *last >= CALM_US;
            if calm {
                due.push(Due { table: *table, since_us: *last, calm });
            }
            !calm
        });
        due
    }

    fn requeue(&self, due: Due) {
        if due.calm {
            self.calm_again(due.table, due.since_us);
        } else {
            self.again(due.table, due.since_us);
        }
    }
}

impl LeaderNode {
    /// Starts the task; it ends with the leader.
    pub(crate) fn start_upkeep(self: &Arc<Self>) {
        let (leader, closing) = (Arc::downgrade(self), self.closing.clone());
        base::task::spawn("upkeep", async move {
            for tick in 0u64.. {
                tokio::select! {
                    () = closing.cancelled() => return,
                    () = tokio::time::sleep(TICK) => {}
                }
                let Some(leader) = leader.upgrade() else { return };
                leader.end_idle_sessions();
                if tick % GARBAGE_TICKS == GARBAGE_TICKS - 1 {
                    leader.collect_garbage().await;
                }
                if leader.config.auto_vacuum {
                    let round: BoxFuture<'_, ()> = Box::pin(leader.tidy_up(tick, &closing));
                    round.await;
                }
            }
        });
    }

    /// Removes the files of dropped tables, replaced segments and writes that failed.
    async fn collect_garbage(&self) {
        for prefix in self.upkeep.take_left_behind(base::clock::now_us()) {
            let remove: BoxFuture<'_, base::Result<usize>> =
                Box::pin(self.catalog.remove_written(&prefix));
            if let Err(error) = remove.await {
                tracing::info!(%error, prefix, "files of a write that failed were left behind");
            }
        }
        let collect: BoxFuture<'_, base::Result<catalog::Collected>> =
            Box::pin(self.catalog.collect_garbage());
        match collect.await {
            Ok(collected) if collected.removed > 0 => {
                tracing::debug!(?collected, "files that nothing names were removed");
            }
            Ok(_) => {}
            Err(error) => tracing::info!(%error, "files that nothing names were left behind"),
        }
    }

    fn end_idle_sessions(&self) {
        let now = base::clock::now_us();
        for session in self.sessions() {
            if let Some(reason) = session.idle_too_long(now) {
                let process_id = session.process_id;
                tracing::info!(process_id, %reason, "session ends at its idle limit");
                session.terminate(reason);
            }
        }
    }

    /// The tables that are due.
    fn due(&self, tick: u64) -> Vec<Due> {
        let state = self.catalog.head();
        if tick % SWEEP_TICKS == SWEEP_TICKS - 1 {
            state.all_relations().filter_map(Relation::table).for_each(|table| {
                if state.segment_count(table.oid) > 0 {
                    self.upkeep.touched(table.oid);
                }
            });
        }
        self.upkeep.due(base::clock::now_us(), |table| {
            let segments = state.segments(table);
            segments.iter().filter(|segment| segment.inline.is_some()).count()
        })
    }

    /// One round: the tables that are due, one after the other.
    async fn tidy_up(&self, tick: u64, closing: &CancellationToken) {
        for due in self.due(tick) {
            if closing.is_cancelled() {
                return;
            }
            // Queries that wait for their turn, and whoever changes rows, come first.
            if self.engine.queued() > 0 || self.locks.is_contended(due.table) {
                self.upkeep.requeue(due);
                continue;
            }
            let started = tokio::time::Instant::now();
            self.analyze_undisturbed(due, closing).await;
            if self.tidy_table(due, closing).await && !self.is_quiet() {
                let rest = (started.elapsed() * REST_FACTOR).min(REST_MAX);
                tokio::select! {
                    () = closing.cancelled() => return,
                    () = tokio::time::sleep(rest) => {}
                }
            }
        }
    }

    /// Analyzes a table when enough of it has changed, a large one when nobody is disturbed.
    async fn analyze_undisturbed(&self, due: Due, closing: &CancellationToken) {
        let segments = self.catalog.head().segments(due.table);
        let gives_way = due.gives_way(segments.iter().map(|segment| segment.bytes).sum());
        let cancel = closing.child_token();
        if !gives_way || self.is_quiet() {
            let analyze: BoxFuture<'_, ()> = Box::pin(self.analyze_when_due(due.table, &cancel));
            self.undisturbed(gives_way, &cancel, analyze).await;
        } else {
            cancel.cancel();
        }
        if cancel.is_cancelled() && !closing.is_cancelled() {
            self.upkeep.requeue(due);
        }
    }

    /// Rewrites what is due of a table; true when there was something.
    async fn tidy_table(&self, due: Due, closing: &CancellationToken) -> bool {
        let oid = due.table;
        let state = self.catalog.head();
        let Some(Relation::Table(table)) = state.relation_by_oid(oid) else { return false };
        let changed_at = |number| state.segment_changed_at(oid, number);
        // Taken after the head: a newer snapshot has all that is in it.
        let snapshots = self.catalog.open_snapshots();
        let segments = state.segments(oid);
        let chosen = compaction::due_beside(&table, &segments, changed_at, &snapshots, due.calm);
        if chosen.is_empty() {
            return false;
        }
        let gives_way = due.gives_way(chosen.iter().map(|segment| segment.bytes).sum());
        if gives_way && !self.is_quiet() {
            self.upkeep.requeue(due);
            return false;
        }
        let mut record = self.new_record(&table, "Background");
        let rewriter = Rewriter::Background { owner: OWNER };
        let cancel = closing.child_token();
        let rewrite: BoxFuture<'_, base::Result<Option<Rewritten>>> =
            Box::pin(self.rewrite_segments(&table, chosen, rewriter, &cancel));
        match self.undisturbed(gives_way, &cancel, rewrite).await {
            Ok(Some(done)) => {
                tracing::debug!(table = table.name, ?done, "a table was tidied up");
                self.finish_record(&mut record, done);
                // There may be more of it.
                self.upkeep.again(oid, base::clock::now_us());
                self.upkeep.calm_again(oid, due.since_us);
            }
            Ok(None) => self.upkeep.requeue(due),
            Err(error) if error.sqlstate() == base::SqlState::SerializationFailure => {
                self.upkeep.requeue(due);
            }
            Err(error) if closing.is_cancelled() => {
                tracing::debug!(%error, "a rewrite ended with the leader");
            }
            Err(_) if cancel.is_cancelled() => self.upkeep.requeue(due),
            Err(error) => {
                tracing::info!(%error, table = table.name, "a table could not be tidied up");
            }
        }
        true
    }

    /// Work to its end; where it gives way, it is cancelled as soon as a statement runs.
    async fn undisturbed<T>(
        &self,
        gives_way: bool,
        cancel: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = std::pin::pin!(work);
        let disturbed = async {
            while !self.sessions().iter().any(|one| one.activity.lock().running.is_some()) {
                tokio::time::sleep(WATCH).await;
            }
        };
        if gives_way {
            tokio::select! {
                done = &mut work => return done,
                () = disturbed => cancel.cancel(),
            }
        }
        work.await
    }

    /// True when no statement runs and none did a moment ago.
    fn is_quiet(&self) -> bool {
        let now = base::clock::now_us();
        self.sessions().iter().all(|session| {
            let activity = session.activity.lock();
            activity.running.is_none() && now - activity.last_change_us >= QUIET_US
        })
    }

    /// A record of a rewrite of a table as it is now.
    pub(crate) fn new_record(&self, table: &Table, kind: &'static str) -> Record {
        let segments = self.catalog.head().segments(table.oid);
        let live: u64 = segments.iter().map(|segment| segment.live_rows()).sum();
        Record {
            table: table.oid,
            name: table.name.clone(),
            user: catalog::SYSTEM_USER_OID,
            transaction: 0,
            kind,
            started_us: base::clock::now_us(),
            ended_us: None,
            rows_before: live + compaction::deleted_rows(&segments),
            sorted_before: live.saturating_sub(compaction::unsorted_rows(table, &segments)),
            done: Rewritten::default(),
            sorted_after: 0,
            failed: false,
        }
    }

    /// The end of a rewrite.
    pub(crate) fn finish_record(&self, record: &mut Record, done: Rewritten) {
        record.done = done;
        record.ended_us = Some(base::clock::now_us());
        if let Ok(table) = self.current_table(record.table) {
            let segments = self.catalog.head().segments(table.oid);
            let live: u64 = segments.iter().map(|segment| segment.live_rows()).sum();
            record.sorted_after = live.saturating_sub(compaction::unsorted_rows(&table, &segments));
        }
        self.upkeep.record(record.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_waits_for_its_age_or_its_count() {
        let upkeep = Upkeep::default();
        upkeep.touched(Oid(1));
        let now = base::clock::now_us();
        assert!(upkeep.due(now, |_| 0).is_empty());
        assert_eq!(upkeep.due(now, |_| INLINE_MAX)[0].table, Oid(1));
        upkeep.touched(Oid(2));
        assert_eq!(upkeep.due(base::clock::now_us() + AGE_US, |_| 0)[0].table, Oid(2));
        assert!(upkeep.due(base::clock::now_us() + AGE_US, |_| INLINE_MAX).is_empty());
    }

    #[test]
    fn a_table_is_calm_when_its_last_write_is_old() {
        let upkeep = Upkeep::default();
        upkeep.touched(Oid(1));
        let first = upkeep.written.lock()[&Oid(1)];
        assert!(upkeep.due(first + AGE_US, |_| 0).iter().all(|due| !due.calm));
        upkeep.written.lock().insert(Oid(1), first + AGE_US);
        assert!(upkeep.due(first + CALM_US, |_| 0).is_empty());
        let due = upkeep.due(first + AGE_US + CALM_US, |_| 0);
        assert_eq!(due, [Due { table: Oid(1), since_us: first + AGE_US, calm: true }]);
        upkeep.requeue(due[0]);
        assert_eq!(upkeep.due(i64::MAX, |_| 0), due);
        assert!(upkeep.due(i64::MAX, |_| 0).is_empty());
    }

    #[test]
    fn large_work_gives_way_until_it_has_waited_long() {
        let now = base::clock::now_us();
        let due = |since_us| Due { table: Oid(1), since_us, calm: false };
        assert!(due(now).gives_way(MOMENT_BYTES + 1));
        assert!(!due(now).gives_way(MOMENT_BYTES));
        assert!(!due(now - QUIET_MAX_US).gives_way(MOMENT_BYTES + 1));
    }

    #[test]
    fn the_queue_is_bounded() {
        let upkeep = Upkeep::default();
        (0..QUEUE_MAX as u32 + 10).for_each(|n| upkeep.touched(Oid(n)));
        assert_eq!(upkeep.queue.lock().len(), QUEUE_MAX);
        assert_eq!(upkeep.written.lock().len(), QUEUE_MAX);
    }
}
