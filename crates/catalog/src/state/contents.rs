//! A table's contents: its segments with running totals.

use std::sync::{Arc, OnceLock};

use base::ids::ColumnId;
use base::segment::Segment;
use rpds::{RedBlackTreeMapSync, VectorSync};

/// The segments of one version of a table.
#[derive(Default)]
pub(crate) struct Contents {
    segments: VectorSync<Arc<Segment>>,
    /// The next values of identity columns that have given some.
    identities: RedBlackTreeMapSync<ColumnId, i64>,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// The contiguous form for planners, made at the first read of this version.
    slice: OnceLock<Arc<[Arc<Segment>]>>,
}

impl Contents {
    /// These contents with more segments.
    pub(crate) fn with(&self, added: impl IntoIterator<Item = Arc<Segment>>) -> Contents {
        let mut next = self.version();
        for segment in added {
            next.rows = next.rows.saturating_add(segment.rows);
            next.bytes = next.bytes.saturating_add(segment.bytes);
            next.segments.push_back_mut(segment);
        }
        next
    }

    /// Identities go on counting after TRUNCATE, as on Redshift.
    pub(crate) fn emptied(&self) -> Contents {
        Contents { identities: self.identities.clone(), ..Contents::default() }
    }

    /// The same contents with an identity column moved on.
    pub(crate) fn with_identity(&self, column: ColumnId, next_value: i64) -> Contents {
        let mut next = self.version();
        next.identities.insert_mut(column, next_value);
        next
    }

    pub(crate) fn segments(&self) -> &VectorSync<Arc<Segment>> {
        &self.segments
    }

    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }

    pub(crate) fn identity_next(&self, column: ColumnId) -> Option<i64> {
        self.identities.get(&column).copied()
    }

    pub(crate) fn identities(&self) -> impl Iterator<Item = (ColumnId, i64)> {
        self.identities.iter().map(|(column, next)| (*column, *next))
    }

    pub(crate) fn slice(&self) -> Arc<[Arc<Segment>]> {
        self.slice.get_or_init(|| self.segments.iter().cloned().collect()).clone()
    }

    fn version(&self) -> Contents {
        Contents {
            segments: self.segments.clone(),
            identities: self.identities.clone(),
            rows: self.rows,
            bytes: self.bytes,
            slice: OnceLock::new(),
        }
    }
}
