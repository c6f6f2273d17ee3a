//! What a scan reads: columns, segments and which partition holds which of them.
//!
//! Plain values without behaviour of their own beyond answering for themselves; they travel to
//! the compute nodes inside the plan.

use std::ops::Range;
use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use base::SqlType;
use base::ids::{ColumnId, Oid};
use base::segment::{Datum, ROW_ADDRESS, Segment};
use datafusion::common::{Result, internal_datafusion_err, internal_err};

/// Stands for [`ROW_ADDRESS`] among the columns of a scan; no table has a column of this id.
pub(crate) const ADDRESS: ColumnId = ColumnId(u32::MAX);

/// A column that a scan reads for its output or for a predicate.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanColumn {
    pub id: ColumnId,
    pub sql_type: SqlType,
    pub name: String,
    pub nullable: bool,
    /// The value in segments that are older than the column; `None` is NULL.
    pub fill: Option<Datum>,
}

impl ScanColumn {
    /// The address of each row, which the scan makes itself.
    pub(crate) fn address() -> ScanColumn {
        let (sql_type, name) = (SqlType::BigInt, ROW_ADDRESS.to_owned());
        ScanColumn { id: ADDRESS, sql_type, name, nullable: false, fill: None }
    }

    pub(crate) fn is_address(&self) -> bool {
        self.id == ADDRESS
    }
}

/// Which slices a leaf holds and how they become partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slices {
    /// The planning view: all of `slices`, slice `s` in partition `s % partitions`.
    Folded { slices: u16, partitions: u16 },
    /// A task's variant: slice `start + p` is partition `p`.
    Range { start: u16, partitions: u16 },
    /// DISTSTYLE ALL: partition 0 has every segment.
    Replica { partitions: u16 },
}

impl Slices {
    /// The number of partitions.
    pub fn partitions(self) -> usize {
        match self {
            Slices::Folded { partitions, .. }
            | Slices::Range { partitions, .. }
            | Slices::Replica { partitions } => usize::from(partitions),
        }
    }

    /// The partition of a segment, `None` when this leaf does not hold it.
    pub fn partition_of(self, segment: &Segment) -> Option<usize> {
        let slice = segment.slice.map(|slice| slice.0);
        match self {
            Slices::Folded { slices, partitions } => slice
                .filter(|slice| *slice < slices)
                .map(|slice| usize::from(slice % partitions.max(1))),
            Slices::Range { start, partitions } => slice
                .and_then(|slice| slice.checked_sub(start))
                .filter(|offset| *offset < partitions)
                .map(usize::from),
            Slices::Replica { .. } => Some(0),
        }
    }

    /// The slices of a task, cut out of the planning view.
    ///
    /// # Errors
    /// When the range does not line up with the partitions of the planning view: the hash of a
    /// row modulo the width of the range would no longer give its partition.
    pub fn narrowed(self, range: &Range<u16>) -> Result<Slices> {
        let Slices::Folded { slices, partitions } = self else {
            return internal_err!("only the planning view of a sliced table has task variants");
        };
        let width = range.end.saturating_sub(range.start);
        if width == 0
            || range.end > slices
            || !range.start.is_multiple_of(width)
            || !slices.is_multiple_of(width)
            || !partitions.is_multiple_of(width)
        {
            return internal_err!(
                "slices {range:?} of {slices} do not line up with {partitions} partitions"
            );
        }
        Ok(Slices::Range { start: range.start, partitions: width })
    }
}

/// The part of a scan that its variants share.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanSpec {
    pub table: Oid,
    /// The table's name, for EXPLAIN and messages.
    pub name: String,
    /// What is read; expressions of the scan count columns in this order.
    pub columns: Vec<ScanColumn>,
    /// The DISTKEY, an index into `columns`, when every segment was placed by the running hash.
    pub key: Option<usize>,
    /// Columns by which each slice's rows are in order, ascending with NULLs last.
    pub order: Vec<usize>,
}

impl ScanSpec {
    /// The schema of all columns, which predicates see.
    pub fn schema(&self) -> SchemaRef {
        let fields =
            self.columns.iter().map(|column| column.sql_type.field(&column.name, column.nullable));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The place of [`ROW_ADDRESS`] among the columns, when the scan makes it.
    pub(crate) fn address(&self) -> Option<usize> {
        self.columns.iter().position(ScanColumn::is_address)
    }

    /// The column at `index`.
    ///
    /// # Errors
    /// When a plan names a column that its scan does not read.
    pub fn column(&self, index: usize) -> Result<&ScanColumn> {
        self.columns
            .get(index)
            .ok_or_else(|| internal_datafusion_err!("scan of {} has no column {index}", self.name))
    }
}

/// Puts segments in the order of their lowest sort key and says whether no two overlap, so that
/// reading one after another gives rows in order.
///
/// Bounds that touch count as overlapping unless the key is one column: with more, equal
/// leading values say nothing of the rest.
pub(crate) fn order_by_key(segments: &mut [Arc<Segment>], key: &[ColumnId]) -> bool {
    if segments.len() < 2 {
        return segments.iter().all(|segment| segment.sorted);
    }
    let Some(first) = key.first().copied() else {
        return false;
    };
    let all = segments.to_vec();
    let mut bounds: Vec<(&Datum, &Datum, &Arc<Segment>)> = Vec::with_capacity(all.len());
    for segment in &all {
        let stats = segment.column(first).filter(|stats| segment.sorted && stats.nulls == 0);
        match stats.map(|stats| (&stats.min, &stats.max)) {
            Some((Some(low), Some(high))) => bounds.push((low, high, segment)),
            _ => return false,
        }
    }
    bounds.sort_by(|a, b| a.0.partial_cmp(b.0).unwrap_or(std::cmp::Ordering::Equal));
    for (place, (_, _, segment)) in segments.iter_mut().zip(&bounds) {
        *place = Arc::clone(segment);
    }
    bounds.windows(2).all(|pair| match key.len() {
        1 => pair[0].1 <= pair[1].0,
        _ => pair[0].1 < pair[1].0,
    })
}
