//! A table's contents: its segments with running totals.

use std::sync::{Arc, OnceLock};

use base::ids::ColumnId;
use base::segment::{Deletes, Segment};
use base::{Result, error};
use rpds::RedBlackTreeMapSync;

use crate::op::SegmentName;

/// The segments of one version of a table.
#[derive(Clone, Default)]
pub(crate) struct Contents {
    /// By number, which is the order in which they joined the table.
    segments: RedBlackTreeMapSync<u32, Arc<Segment>>,
    /// The highest number that a segment of the table ever had.
    numbered: u32,
    /// The next values of identity columns that have given some.
    identities: RedBlackTreeMapSync<ColumnId, i64>,
    /// Rows that are not deleted.
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// The contiguous form for planners, made at the first read of this version.
    slice: OnceLock<Arc<[Arc<Segment>]>>,
}

impl Contents {
    /// Adds segments under new numbers.
    ///
    /// # Errors
    /// 54000 when the table has had as many segments as there are numbers.
    pub(crate) fn add(&mut self, added: &[Segment]) -> Result<()> {
        for segment in added {
            let number = self.numbered.checked_add(1).filter(|number| *number <= NUMBER_MAX);
            let number = number.ok_or_else(|| {
                error!(ProgramLimitExceeded, "the table has had {NUMBER_MAX} segments")
                    .hint("CREATE TABLE AS makes a fresh table of its rows.")
            })?;
            self.put(Arc::new(Segment { number, ..segment.clone() }));
        }
        Ok(())
    }

    /// Puts a segment in under the number that it has.
    pub(crate) fn put(&mut self, segment: Arc<Segment>) {
        self.remove_number(segment.number);
        self.numbered = self.numbered.max(segment.number);
        self.rows = self.rows.saturating_add(segment.live_rows());
        self.bytes = self.bytes.saturating_add(segment.bytes);
        self.segments.insert_mut(segment.number, segment);
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
    pub(crate) fn set_deletes(&mut self, name: &SegmentName, deletes: &Arc<Deletes>) -> Result<()> {
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
        if deletes.rows == segment.rows {
            return self.remove(name);
        }
        let mut segment = Segment::clone(&segment);
        segment.deletes = Some(deletes.clone());
        self.put(Arc::new(segment));
        Ok(())
    }

    fn remove_number(&mut self, number: u32) {
        if let Some(old) = self.segments.get(&number) {
            self.rows = self.rows.saturating_sub(old.live_rows());
            self.bytes = self.bytes.saturating_sub(old.bytes);
            self.segments.remove_mut(&number);
        }
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
        let above = self.segments.range(name.number..).map(|(_, segment)| segment).find(of_path);
        above.or_else(|| {
            self.segments.range(..name.number).map(|(_, segment)| segment).find(of_path)
        })
    }

    /// Identities and numbers go on counting after TRUNCATE.
    pub(crate) fn emptied(&self) -> Contents {
        Contents {
            identities: self.identities.clone(),
            numbered: self.numbered,
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
        self.segments.values()
    }

    /// The segment of a number.
    pub(crate) fn at(&self, number: u32) -> Option<&Arc<Segment>> {
        self.segments.get(&number)
    }

    /// The segments with a higher number.
    pub(crate) fn after(&self, number: u32) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments.range(number.saturating_add(1)..).map(|(_, segment)| segment)
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
        self.slice.get_or_init(|| self.segments.values().cloned().collect()).clone()
    }
}

/// Row addresses hold a segment's number in 31 bits.
const NUMBER_MAX: u32 = i32::MAX as u32;
