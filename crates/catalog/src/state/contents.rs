//! A table's contents: its segments with running totals.

use std::sync::{Arc, OnceLock};

use base::ids::{ColumnId, LogPosition};
use base::segment::{Deletes, Segment};
use base::{Result, error};
use rpds::RedBlackTreeMapSync;

use crate::op::SegmentName;
use crate::statistics::Changes;

/// The segments of one version of a table.
#[derive(Clone, Default)]
pub(crate) struct Contents {
    /// By number, which is the order in which they joined the table.
    segments: RedBlackTreeMapSync<u32, Entry>,
    /// The highest number that a segment of the table ever had.
    numbered: u32,
    /// Segments whose rows were rewritten, the newest of them, with the record that had last
    /// changed their rows.
    replaced: RedBlackTreeMapSync<u32, LogPosition>,
    /// How often segments were rewritten.
    rewrites: u64,
    /// The next values of identity columns that have given some.
    identities: RedBlackTreeMapSync<ColumnId, i64>,
    /// Rows that are not deleted.
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Rows that ever joined and left the table.
    pub(crate) changes: Changes,
    /// The contiguous form for planners, made at the first read of this version.
    slice: OnceLock<Arc<[Arc<Segment>]>>,
}

/// A segment of a table.
#[derive(Clone)]
struct Entry {
    segment: Arc<Segment>,
    /// The record that last brought rows of it or took some away; rewriting does neither. Older
    /// than any snapshot where it is not known.
    changed_at: LogPosition,
}

impl Contents {
    /// Adds segments under new numbers, with rows that were last changed at `changed_at`.
    ///
    /// # Errors
    /// 54000 when the table has had as many segments as there are numbers.
    pub(crate) fn add(&mut self, added: &[Segment], changed_at: LogPosition) -> Result<()> {
        for segment in added {
            let number = self.numbered.checked_add(1).filter(|number| *number <= NUMBER_MAX);
            let number = number.ok_or_else(|| {
                error!(ProgramLimitExceeded, "the table has had {NUMBER_MAX} segments")
                    .hint("CREATE TABLE AS makes a fresh table of its rows.")
            })?;
            self.put(Arc::new(Segment { number, ..segment.clone() }), changed_at);
        }
        Ok(())
    }

    /// Puts a segment in under the number that it has.
    pub(crate) fn put(&mut self, segment: Arc<Segment>, changed_at: LogPosition) {
        self.remove_number(segment.number);
        self.numbered = self.numbered.max(segment.number);
        self.rows = self.rows.saturating_add(segment.live_rows());
        self.bytes = self.bytes.saturating_add(segment.bytes);
        self.segments.insert_mut(segment.number, Entry { segment, changed_at });
        self.slice = OnceLock::new();
    }

    /// # Errors
    /// XX000 when there is no such segment.
    pub(crate) fn remove(&mut self, name: &SegmentName) -> Result<()> {
        let number = self.known(name)?.number;
        self.remove_number(number);
        self.slice = OnceLock::new();
        Ok(())
    }

    /// Records all deleted rows of a segment. One without rows left goes.
    ///
    /// # Errors
    /// XX000 when there is no such segment, it has fewer rows, or rows would come back.
    pub(crate) fn set_deletes(
        &mut self,
        name: &SegmentName,
        deletes: &Arc<Deletes>,
        changed_at: LogPosition,
    ) -> Result<()> {
        let segment = self.known(name)?;
        let before = segment.deletes.as_ref().map_or(0, |deletes| deletes.rows);
        // Whoever deletes merges with what was deleted before: fewer rows are a lost delete.
        if deletes.rows > segment.rows || deletes.rows < before.max(1) {
            return Err(error!(
                InternalError,
                "{} of {} rows of segment {} are deleted, after {before}",
                deletes.rows,
                segment.rows,
                segment.path
            ));
        }
        self.changes.delete(deletes.rows - before);
        if deletes.rows == segment.rows {
            return self.remove(name);
        }
        let mut segment = Segment::clone(&segment);
        segment.deletes = Some(deletes.clone());
        self.put(Arc::new(segment), changed_at);
        Ok(())
    }

    fn remove_number(&mut self, number: u32) {
        if let Some(Entry { segment: old, .. }) = self.segments.get(&number) {
            self.rows = self.rows.saturating_sub(old.live_rows());
            self.bytes = self.bytes.saturating_sub(old.bytes);
            self.segments.remove_mut(&number);
        }
    }

    /// Takes segments away whose rows come back otherwise written, and gives the record that last
    /// changed any of these rows.
    ///
    /// # Errors
    /// XX000 when there is no such segment.
    pub(crate) fn replace(&mut self, removed: &[SegmentName]) -> Result<LogPosition> {
        self.rewrites += 1;
        let mut last = LogPosition(0);
        for name in removed {
            let number = self.known(name)?.number;
            let changed_at = self.changed_at(number);
            last = last.max(changed_at);
            self.replaced.insert_mut(number, changed_at);
            self.remove_number(number);
        }
        while self.replaced.size() > REPLACED_MAX
            && let Some(oldest) = self.replaced.first().map(|(number, _)| *number)
        {
            self.replaced.remove_mut(&oldest);
        }
        self.slice = OnceLock::new();
        Ok(last)
    }

    /// The contents of a snapshot with the segments of `head` for those of its segments that were
    /// rewritten since with the rows that the snapshot shows. `None` where there are none.
    pub(crate) fn rewritten(&self, head: &Contents, snapshot: LogPosition) -> Option<Contents> {
        if self.rewrites == head.rewrites {
            return None;
        }
        let gone: Vec<&Arc<Segment>> = self
            .segments()
            .filter(|one| head.at(one.number).is_none_or(|other| other.path != one.path))
            .filter(|one| head.replaced.get(&one.number).is_some_and(|at| *at <= snapshot))
            .collect();
        let come: Vec<&Entry> = head
            .segments
            .values()
            .filter(|entry| entry.changed_at <= snapshot)
            .filter(|entry| {
                self.at(entry.segment.number).is_none_or(|o| o.path != entry.segment.path)
            })
            .collect();
        let rows_gone: u64 = gone.iter().map(|one| one.live_rows()).sum();
        let rows_come: u64 = come.iter().map(|entry| entry.segment.live_rows()).sum();
        // Rows of the snapshot were put together with others, or the head forgot what was
        // rewritten.
        if gone.is_empty() || rows_gone != rows_come {
            return None;
        }
        let mut followed = self.clone();
        gone.iter().for_each(|one| followed.remove_number(one.number));
        come.iter().for_each(|entry| followed.put(Arc::clone(&entry.segment), entry.changed_at));
        followed.rewrites = head.rewrites;
        followed.slice = OnceLock::new();
        Some(followed)
    }

    fn known(&self, name: &SegmentName) -> Result<Arc<Segment>> {
        self.find(name)
            .cloned()
            .ok_or_else(|| error!(InternalError, "there is no segment {}", name.path))
    }

    /// The segment of a path. Its number is only a hint: a transaction numbers the segments
    /// that it adds itself on from its snapshot, the log on from the head.
    pub(crate) fn find(&self, name: &SegmentName) -> Option<&Arc<Segment>> {
        let of_path = |segment: &&Arc<Segment>| segment.path == name.path;
        // Upwards first: the number is too low by what others added since the snapshot.
        let above = self.segments.range(name.number..).map(|(_, e)| &e.segment).find(of_path);
        above.or_else(|| self.segments.range(..name.number).map(|(_, e)| &e.segment).find(of_path))
    }

    /// Identities, numbers and changes go on counting after TRUNCATE.
    pub(crate) fn emptied(&self) -> Contents {
        let mut changes = self.changes;
        changes.delete(self.rows);
        Contents {
            identities: self.identities.clone(),
            numbered: self.numbered,
            changes,
            ..Contents::default()
        }
    }

    /// Moves an identity column on.
    pub(crate) fn set_identity(&mut self, column: ColumnId, next_value: i64) {
        self.identities.insert_mut(column, next_value);
    }

    /// Keeps numbers from being given again.
    pub(crate) fn set_numbered(&mut self, numbered: u32) {
        self.numbered = self.numbered.max(numbered);
    }

    pub(crate) fn numbered(&self) -> u32 {
        self.numbered
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments.values().map(|entry| &entry.segment)
    }

    /// The segment of a number.
    pub(crate) fn at(&self, number: u32) -> Option<&Arc<Segment>> {
        self.segments.get(&number).map(|entry| &entry.segment)
    }

    /// The record that last changed rows of a segment.
    pub(crate) fn changed_at(&self, number: u32) -> LogPosition {
        self.segments.get(&number).map_or(LogPosition(0), |entry| entry.changed_at)
    }

    /// The segments with a higher number.
    pub(crate) fn after(&self, number: u32) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments.range(number.saturating_add(1)..).map(|(_, entry)| &entry.segment)
    }

    pub(crate) fn len(&self) -> usize {
        self.segments.size()
    }

    pub(crate) fn identity_next(&self, column: ColumnId) -> Option<i64> {
        self.identities.get(&column).copied()
    }

    pub(crate) fn identities(&self) -> impl Iterator<Item = (ColumnId, i64)> {
        self.identities.iter().map(|(column, next)| (*column, *next))
    }

    pub(crate) fn slice(&self) -> Arc<[Arc<Segment>]> {
        self.slice.get_or_init(|| self.segments().cloned().collect()).clone()
    }
}

/// Row addresses hold a segment's number in 31 bits.
const NUMBER_MAX: u32 = i32::MAX as u32;
/// The most rewritten segments that a table remembers.
const REPLACED_MAX: usize = 4_096;
