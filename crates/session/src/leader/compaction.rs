//! Rewriting segments: which ones are worth it, and the transaction that puts the new ones in
//! the place of the old.
//!
//! Owns the choice for VACUUM and for the background. A rewrite reads a snapshot and takes the
//! right to change rows only to commit, unless the caller has it already.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::ids::{LogPosition, Oid, SliceId};
use base::segment::{Datum, Segment};
use base::{CancellationToken, Result, error};
use catalog::{Op, Relation, SegmentName, SortKey, State, Table};
use futures::future::BoxFuture;

use super::LeaderNode;
use crate::locks::{Mode, Owner, Target};

/// A segment below this size is put together with its neighbours as soon as there are some.
pub(crate) const SMALL_BYTES: u64 = 1 << 20;
/// A segment below this size is put together with its neighbours when there are many.
const MIDDLE_BYTES: u64 = 32 << 20;
/// So many segments of middle size of a slice are put together.
const MIDDLE_MAX: usize = 8;
/// Encoded bytes that the background rewrites at once in a slice.
const JOB_BYTES: u64 = 64 << 20;
/// The background leaves deleted rows alone below this share of a segment, in percent, of a table
/// that is being written and of a calm one …
const DELETED_PERCENT: [u64; 2] = [20, 3];
/// … and the table unsorted below this share of its rows.
const UNSORTED_PERCENT: [u64; 2] = [20, 10];
/// Tables with fewer rows are not sorted in the background: a scan reads them whole anyway.
const SORTED_ROWS_MIN: u64 = 100_000;

type Segments = Vec<Arc<Segment>>;

fn by_slice(segments: &[Arc<Segment>]) -> BTreeMap<Option<SliceId>, Segments> {
    let mut slices: BTreeMap<Option<SliceId>, Segments> = BTreeMap::new();
    for segment in segments {
        slices.entry(segment.slice).or_default().push(Arc::clone(segment));
    }
    slices
}

/// The least and the greatest value of the leading column of the sort key.
fn bounds<'s>(table: &Table, segment: &'s Segment) -> Option<(&'s Datum, &'s Datum)> {
    let stats = segment.column(*table.sort_key.columns().first()?)?;
    Some((stats.min.as_ref()?, stats.max.as_ref()?))
}

/// The segments of one slice in the order of their leading key column; those whose range lies
/// over that of one before them, or whose rows are in no order, are marked.
fn ordered(table: &Table, mut segments: Segments) -> Vec<(Arc<Segment>, bool)> {
    segments.sort_by(|a, b| {
        let (a, b) = (bounds(table, a), bounds(table, b));
        a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal)
    });
    let mut reached: Option<Datum> = None;
    let mark = |segment: Arc<Segment>| {
        let Some((min, max)) = bounds(table, &segment) else {
            // Nothing but NULLs, or no statistics: sorted as far as the segment itself is.
            let loose = !segment.sorted;
            return (segment, loose);
        };
        let over = reached.as_ref().is_some_and(|reached| min < reached);
        if reached.as_ref().is_none_or(|reached| reached < max) {
            reached = Some(max.clone());
        }
        let loose = over || !segment.sorted;
        (segment, loose)
    };
    segments.into_iter().map(mark).collect()
}

/// Live rows outside of the sorted region; 0 for a table without a sort key.
pub(crate) fn unsorted_rows(table: &Table, segments: &[Arc<Segment>]) -> u64 {
    let slices = by_slice(segments).into_values();
    match &table.sort_key {
        SortKey::Compound(key) if !key.is_empty() => slices
            .flat_map(|segments| ordered(table, segments))
            .filter(|(_, loose)| *loose)
            .map(|(segment, _)| segment.live_rows())
            .sum(),
        // An interleaved order shows in no range of values: the largest segments are taken for
        // the sorted region, as a vacuum leaves them.
        SortKey::Interleaved(key) if !key.is_empty() => slices
            .map(|segments| {
                let total: u64 = segments.iter().map(|segment| segment.live_rows()).sum();
                let large = segments.iter().filter(|one| one.bytes >= MIDDLE_BYTES);
                let sorted: u64 = large.filter(|one| one.sorted).map(|one| one.live_rows()).sum();
                let most = segments.iter().filter(|one| one.sorted).map(|one| one.live_rows());
                total - sorted.max(most.max().unwrap_or(0))
            })
            .sum(),
        _ => 0,
    }
}

/// Rows that DELETE and UPDATE took away and whose space is not reclaimed.
pub(crate) fn deleted_rows(segments: &[Arc<Segment>]) -> u64 {
    segments.iter().map(|segment| segment.rows - segment.live_rows()).sum()
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(0)
}

/// What VACUUM is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) sort: bool,
    pub(crate) purge: bool,
    /// Only rows outside of the sorted region are sorted.
    pub(crate) recluster: bool,
    /// A table that is sorted, or free of deleted rows, to this share is left alone; beyond 100
    /// none is.
    pub(crate) threshold_percent: u64,
}

/// The segments that a VACUUM rewrites.
pub(crate) fn wished(table: &Table, segments: &[Arc<Segment>], wish: Wish) -> Segments {
    let live: u64 = segments.iter().map(|segment| segment.live_rows()).sum();
    let rows: u64 = segments.iter().map(|segment| segment.rows).sum();
    let beyond = |part, whole| part > 0 && percent(whole - part, whole) < wish.threshold_percent;
    let sorts = wish.sort && beyond(unsorted_rows(table, segments), live);
    let purges = wish.purge && beyond(deleted_rows(segments), rows);
    let mut chosen = Segments::new();
    for (_, segments) in by_slice(segments) {
        let loose = unsorted_rows(table, &segments) > 0;
        let unsorted: Vec<Arc<Segment>> = if sorts && loose && wish.recluster {
            let marked = ordered(table, segments.clone()).into_iter();
            marked.filter(|(_, loose)| *loose).map(|(segment, _)| segment).collect()
        } else if sorts && loose {
            segments.clone()
        } else {
            Vec::new()
        };
        let small = segments.iter().filter(|one| is_small(one)).count();
        let takes = |segment: &&Arc<Segment>| {
            unsorted.iter().any(|one| one.number == segment.number)
                || (purges && segment.deletes.is_some())
                || (is_small(segment) && (small > 1 || segment.inline.is_some()))
        };
        chosen.extend(segments.iter().filter(takes).cloned());
    }
    chosen
}

fn is_small(segment: &Segment) -> bool {
    segment.inline.is_some() || segment.bytes < SMALL_BYTES
}

/// The segments that the background rewrites next, if it is worth it. A calm table, one that
/// nobody has written for a while, is worth more: what is rewritten of it stays. Rows that one of
/// the open snapshots has and others that it has not are never put together: who holds it could
/// otherwise no longer change the former. `changed_at` gives the record that last changed a
/// segment's rows.
pub(crate) fn due_beside(
    table: &Table,
    segments: &[Arc<Segment>],
    changed_at: impl Fn(u32) -> LogPosition,
    snapshots: &[LogPosition],
    calm: bool,
) -> Segments {
    let mut ages: BTreeMap<usize, Segments> = BTreeMap::new();
    for segment in segments {
        let at = changed_at(segment.number);
        let age = snapshots.partition_point(|snapshot| *snapshot < at);
        ages.entry(age).or_default().push(Arc::clone(segment));
    }
    let mut chosen = ages.values().map(|one| due(table, one, calm));
    chosen.find(|chosen| !chosen.is_empty()).unwrap_or_default()
}

fn due(table: &Table, segments: &[Arc<Segment>], calm: bool) -> Segments {
    let mut chosen = Segments::new();
    for (_, segments) in by_slice(segments) {
        chosen.extend(due_in_slice(segments, DELETED_PERCENT[usize::from(calm)]));
    }
    if chosen.is_empty() {
        chosen = unsorted_due(table, segments, UNSORTED_PERCENT[usize::from(calm)]);
    }
    chosen
}

fn due_in_slice(segments: Segments, deleted_percent: u64) -> Segments {
    let (inline, small): (Vec<_>, Vec<_>) =
        segments.iter().filter(|one| is_small(one)).partition(|one| one.inline.is_some());
    let middle: Vec<&Arc<Segment>> =
        segments.iter().filter(|one| !is_small(one) && one.bytes < MIDDLE_BYTES).collect();
    let mut wanted: Vec<&Arc<Segment>> = Vec::new();
    if !inline.is_empty() || small.len() > 1 {
        wanted.extend(inline);
        wanted.extend(small);
    }
    if middle.len() >= MIDDLE_MAX {
        wanted.extend(middle);
    }
    let hollow = |one: &&Arc<Segment>| {
        percent(one.rows - one.live_rows(), one.rows) >= deleted_percent && !is_small(one)
    };
    wanted.extend(segments.iter().filter(hollow));
    wanted.sort_by_key(|one| one.number);
    wanted.dedup_by_key(|one| one.number);
    within_job(wanted.into_iter().cloned())
}

/// The first segments that together are not too much for one job.
fn within_job(segments: impl Iterator<Item = Arc<Segment>>) -> Segments {
    let mut bytes = 0;
    let mut chosen = Segments::new();
    for segment in segments {
        bytes += segment.bytes;
        if bytes > JOB_BYTES && chosen.len() > 1 {
            break;
        }
        chosen.push(segment);
    }
    chosen
}

/// Segments whose ranges lie over each other, when there are many such rows.
fn unsorted_due(table: &Table, segments: &[Arc<Segment>], unsorted_percent: u64) -> Segments {
    let live: u64 = segments.iter().map(|segment| segment.live_rows()).sum();
    let compound = matches!(&table.sort_key, SortKey::Compound(key) if !key.is_empty());
    let loose = unsorted_rows(table, segments);
    if !compound || live < SORTED_ROWS_MIN || percent(loose, live) < unsorted_percent {
        return Segments::new();
    }
    let mut chosen = Segments::new();
    for (_, segments) in by_slice(segments) {
        let marked = ordered(table, segments);
        // From the segment before the first that lies over it: after the rewrite these no longer
        // do, so that each job brings the order on.
        let Some(first) = marked.iter().position(|(_, loose)| *loose) else { continue };
        let from = marked.into_iter().skip(first.saturating_sub(1));
        chosen.extend(within_job(from.map(|(segment, _)| segment)));
    }
    chosen
}

/// What a rewrite did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rewritten {
    pub(crate) segments_before: usize,
    pub(crate) segments_after: usize,
    /// Deleted rows whose space was given back.
    pub(crate) rows_purged: u64,
    pub(crate) rows: u64,
    pub(crate) bytes_before: u64,
    pub(crate) bytes_after: u64,
}

/// Who rewrites: a session that holds the right to change rows, or the background, which takes
/// it for the moment of the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rewriter {
    Session,
    Background { owner: Owner },
}

impl LeaderNode {
    /// Rewrites segments of a table as one transaction. `None` when the table is in use and the
    /// background gave way.
    ///
    /// # Errors
    /// 40001 when the segments changed meanwhile; those of the write.
    pub(crate) async fn rewrite_segments(
        &self,
        table: &Arc<Table>,
        segments: Segments,
        rewriter: Rewriter,
        cancel: &CancellationToken,
    ) -> Result<Option<Rewritten>> {
        let mut transaction = self.catalog.begin();
        check_current(&transaction, table, &segments)?;
        let id = self.new_query_id();
        let target = exec::WriteTarget {
            table: Arc::clone(table),
            prefix: format!(
                "data/{}/{}-{}-{id}-compact",
                table.oid,
                self.catalog.epoch(),
                transaction.id()
            ),
            identity: Vec::new(),
        };
        let query = exec::QueryContext {
            id,
            cancel: cancel.clone(),
            memory_bytes: self.config.query_memory_bytes,
            settings: Vec::new(),
            retry_reads: false,
        };
        let mut done = Rewritten {
            segments_before: segments.len(),
            rows_purged: deleted_rows(&segments),
            bytes_before: segments.iter().map(|segment| segment.bytes).sum(),
            ..Rewritten::default()
        };
        let removed: Vec<SegmentName> = segments.iter().map(|one| one.as_ref().into()).collect();
        let sort = !table.sort_key.columns().is_empty();
        let compact: BoxFuture<'_, Result<exec::Written>> =
            Box::pin(self.engine.compact(segments.into(), sort, &target, &query));
        let written = self.upkeep.checked(compact.await, &target)?;
        done.segments_after = written.segments.len();
        done.rows = written.rows;
        done.bytes_after = written.segments.iter().map(|segment| segment.bytes).sum();
        let paths: Vec<String> =
            written.segments.iter().flat_map(Segment::paths).map(str::to_owned).collect();
        transaction.apply(Op::ReplaceSegments {
            table: table.oid,
            removed,
            added: written.segments,
        })?;
        let committed = self.commit_rewrite(table, transaction, rewriter).await;
        if !matches!(committed, Ok(true)) && !is_unknown(&committed) {
            // Nothing names the new files.
            let remove: BoxFuture<'_, Result<()>> = Box::pin(self.catalog.remove_orphans(&paths));
            remove.await?;
        }
        Ok(committed?.then_some(done))
    }

    async fn commit_rewrite(
        &self,
        table: &Table,
        transaction: catalog::Transaction,
        rewriter: Rewriter,
    ) -> Result<bool> {
        let Rewriter::Background { owner } = rewriter else {
            let commit: BoxFuture<'_, Result<Arc<State>>> =
                Box::pin(self.catalog.commit(transaction));
            return commit.await.map(|_| true);
        };
        let target =
            Target { table: table.oid, name: Arc::from(table.name.as_str()), database: Oid(0) };
        // Somebody who changes rows goes first; who may yet takes over the new segments then.
        if self.locks.is_contended(table.oid) || !self.locks.try_lock(owner, Mode::Modify, &target)
        {
            return Ok(false);
        }
        let commit: BoxFuture<'_, Result<Arc<State>>> = Box::pin(self.catalog.commit(transaction));
        let done = commit.await.map(|_| true);
        self.locks.release(owner);
        done
    }

    /// The table of an id, as it is now.
    pub(crate) fn current_table(&self, oid: Oid) -> Result<Arc<Table>> {
        match self.catalog.head().relation_by_oid(oid) {
            Some(Relation::Table(table)) => Ok(table),
            _ => Err(error!(UndefinedTable, "the table is gone")),
        }
    }
}

/// Requires that the choice was made from the transaction's snapshot.
fn check_current(
    transaction: &catalog::Transaction,
    table: &Arc<Table>,
    segments: &[Arc<Segment>],
) -> Result<()> {
    let state = transaction.state();
    let found = state.relation_by_oid(table.oid);
    let same = found.as_ref().and_then(Relation::table).is_some_and(|now| Arc::ptr_eq(now, table));
    let now = state.segments(table.oid);
    let there = |one: &Arc<Segment>| {
        let at = now.binary_search_by_key(&one.number, |segment| segment.number);
        at.is_ok_and(|at| Arc::ptr_eq(&now[at], one))
    };
    if same && segments.iter().all(there) {
        return Ok(());
    }
    Err(error!(SerializationFailure, "table \"{}\" was changed meanwhile", table.name)
        .table(&table.name)
        .hint("Run the statement again.")
        .retry(base::Retry::SameStatement))
}

fn is_unknown(result: &Result<bool>) -> bool {
    let unknown = base::SqlState::StatementCompletionUnknown;
    result.as_ref().is_err_and(|error| error.sqlstate() == unknown)
}

#[cfg(test)]
mod tests {
    use base::ids::ColumnId;
    use base::segment::{Bitmap, ColumnStats, Deletes};

    use super::*;

    fn table(sort_key: SortKey) -> Table {
        Table { sort_key, ..Table::default() }
    }

    fn keyed() -> Table {
        table(SortKey::Compound(vec![ColumnId(1)]))
    }

    /// A segment of 100 rows with keys in a range.
    fn segment(number: u32, slice: u16, bytes: u64, range: (i128, i128)) -> Arc<Segment> {
        Arc::new(Segment {
            number,
            slice: Some(SliceId(slice)),
            rows: 100_000,
            bytes,
            sorted: true,
            columns: vec![ColumnStats {
                column: ColumnId(1),
                min: Some(Datum::Int(range.0)),
                max: Some(Datum::Int(range.1)),
                ..ColumnStats::default()
            }],
            ..Segment::default()
        })
    }

    fn hollow(segment: &Arc<Segment>, rows: u64) -> Arc<Segment> {
        let bitmap = Bitmap::Inline(Arc::from([]));
        let deletes = Some(Arc::new(Deletes { rows, bitmap }));
        Arc::new(Segment { deletes, ..Segment::clone(segment) })
    }

    fn numbers(segments: &[Arc<Segment>]) -> Vec<u32> {
        segments.iter().map(|segment| segment.number).collect()
    }

    const LARGE: u64 = 100 << 20;

    #[test]
    fn ranges_over_each_other_are_unsorted() {
        let apart = [segment(1, 0, LARGE, (0, 9)), segment(2, 0, LARGE, (9, 20))];
        assert_eq!(unsorted_rows(&keyed(), &apart), 0);
        let over = [segment(1, 0, LARGE, (0, 9)), segment(2, 0, LARGE, (5, 20))];
        assert_eq!(unsorted_rows(&keyed(), &over), 100_000);
        // Slices have an order of their own.
        let slices = [segment(1, 0, LARGE, (0, 9)), segment(2, 1, LARGE, (5, 20))];
        assert_eq!(unsorted_rows(&keyed(), &slices), 0);
        assert_eq!(unsorted_rows(&table(SortKey::None), &over), 0);
        assert_eq!(numbers(&due(&keyed(), &over, false)), [1, 2]);
        assert!(due(&keyed(), &apart, false).is_empty());
    }

    #[test]
    fn small_segments_come_together_and_large_ones_stay() {
        let few = [segment(1, 0, LARGE, (0, 1)), segment(2, 0, 10, (2, 3))];
        assert!(due(&keyed(), &few, false).is_empty());
        let more = [few[0].clone(), few[1].clone(), segment(3, 0, 10, (4, 5))];
        assert_eq!(numbers(&due(&keyed(), &more, false)), [2, 3]);
        let inline = Arc::new(Segment {
            inline: Some(Arc::from([1u8])),
            ..Segment::clone(&segment(4, 0, 10, (6, 7)))
        });
        assert_eq!(numbers(&due(&keyed(), &[few[0].clone(), inline], false)), [4]);
    }

    #[test]
    fn rows_of_an_open_snapshot_stay_apart_from_newer_ones() {
        let small: Vec<_> = (1..=6).map(|n| segment(n, 0, 10, (0, 9))).collect();
        let changed_at = |number: u32| LogPosition(u64::from(number) * 10);
        let due = |snapshots: &[u64]| {
            let snapshots: Vec<_> = snapshots.iter().map(|at| LogPosition(*at)).collect();
            numbers(&due_beside(&keyed(), &small, changed_at, &snapshots, false))
        };
        assert_eq!(due(&[]), [1, 2, 3, 4, 5, 6]);
        assert_eq!(due(&[60, 70]), [1, 2, 3, 4, 5, 6]);
        assert_eq!(due(&[20]), [1, 2]);
        assert_eq!(due(&[10]), [2, 3, 4, 5, 6]);
        assert_eq!(due(&[10, 25, 35]), [4, 5, 6]);
        assert!(due(&[10, 20, 30, 40, 50]).is_empty());
    }

    #[test]
    fn segments_with_many_deleted_rows_are_rewritten() {
        let whole = segment(1, 0, LARGE, (0, 1));
        assert!(due(&keyed(), &[hollow(&whole, 1_000)], true).is_empty());
        assert_eq!(numbers(&due(&keyed(), &[hollow(&whole, 30_000)], false)), [1]);
        let some = [hollow(&whole, 5_000)];
        assert!(due(&keyed(), &some, false).is_empty());
        assert_eq!(numbers(&due(&keyed(), &some, true)), [1]);
    }

    #[test]
    fn vacuum_leaves_what_is_good_enough() {
        let whole = segment(1, 0, LARGE, (0, 1));
        let wish = Wish { sort: true, purge: true, recluster: false, threshold_percent: 95 };
        let segments = [hollow(&whole, 4_000)];
        assert!(wished(&keyed(), &segments, wish).is_empty());
        let all = Wish { threshold_percent: 100, ..wish };
        assert_eq!(numbers(&wished(&keyed(), &segments, all)), [1]);
        let over = [
            segment(1, 0, LARGE, (0, 9)),
            segment(2, 0, LARGE, (5, 20)),
            segment(3, 1, LARGE, (0, 1)),
        ];
        assert_eq!(numbers(&wished(&keyed(), &over, wish)), [1, 2]);
        let recluster = Wish { recluster: true, ..wish };
        assert_eq!(numbers(&wished(&keyed(), &over, recluster)), [2]);
        let purge = Wish { sort: false, ..wish };
        assert!(wished(&keyed(), &over, purge).is_empty());
    }

    #[test]
    fn a_job_is_bounded() {
        let many: Vec<_> = (0..100).map(|n| segment(n + 1, 0, 3 << 20, (0, 9))).collect();
        let job = due(&keyed(), &many, false);
        let bytes: u64 = job.iter().map(|one| one.bytes).sum();
        assert!(job.len() > 1 && bytes <= JOB_BYTES, "{} segments", job.len());
    }
}
