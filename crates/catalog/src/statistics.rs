//! What the planner knows of a table's values beyond its segments' own statistics.
//!
//! Owns the form in which ANALYZE's findings are kept. They describe a sample at one moment:
//! nothing may rely on them to be true.

use base::ids::{ColumnId, Oid};
use base::segment::Datum;
use serde::{Deserialize, Serialize};

/// Rows that ever joined and left a table; rewriting segments changes neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// By COPY, INSERT, and the new rows of UPDATE and MERGE.
    pub inserted: u64,
    /// By DELETE, TRUNCATE, and the old rows of UPDATE and MERGE.
    pub deleted: u64,
}

impl Changes {
    /// The rows inserted and deleted after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Changes) -> Changes {
        Changes {
            inserted: self.inserted.saturating_sub(earlier.inserted),
            deleted: self.deleted.saturating_sub(earlier.deleted),
        }
    }

    /// Rows that changed in either way.
    pub fn rows(self) -> u64 {
        self.inserted.saturating_add(self.deleted)
    }

    pub(crate) fn insert(&mut self, rows: u64) {
        self.inserted = self.inserted.saturating_add(rows);
    }

    pub(crate) fn delete(&mut self, rows: u64) {
        self.deleted = self.deleted.saturating_add(rows);
    }
}

/// What ANALYZE found out about a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableStatistics {
    /// The table.
    pub table: Oid,
    /// When, in microseconds since the Unix epoch.
    pub analyzed_us: i64,
    /// Rows of the table then.
    pub rows: u64,
    /// What had changed of the table by then.
    #[serde(default)]
    pub changes: Changes,
    /// The columns that were looked at, by id.
    pub columns: Vec<ValueDistribution>,
    /// Columns that queries filtered, joined or grouped by before.
    #[serde(default)]
    pub predicate_columns: Vec<ColumnId>,
}

impl TableStatistics {
    /// How much of the rows then has changed by `now`, in percent; 100 is the most.
    pub fn stale_percent(&self, now: Changes) -> f64 {
        let changed = now.since(self.changes).rows();
        if changed == 0 { 0.0 } else { (changed as f64 * 100.0 / self.rows as f64).min(100.0) }
    }

    /// The values of a column, when it was looked at.
    pub fn column(&self, id: ColumnId) -> Option<&ValueDistribution> {
        self.columns.iter().find(|column| column.column == id)
    }
}

/// Millionths: shares of rows are kept as whole numbers, which every reader of the log reads
/// alike.
pub const SHARE_WHOLE: u32 = 1_000_000;

/// How the values of a column are spread, from a sample of its rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValueDistribution {
    /// The column.
    pub column: ColumnId,
    /// Rows without a value, in millionths.
    pub nulls: u32,
    /// Distinct values of the whole table.
    pub distinct: u64,
    /// The average size of a value that is not NULL, in bytes.
    pub width: u32,
    /// The most common values and the share of all rows that each has, in millionths, the most
    /// common first.
    pub common: Vec<(Datum, u32)>,
    /// Bounds of ranges that hold equally many of the rows with other values, in order, the least
    /// and the greatest value included. Texts may be cut. Empty without such rows.
    pub bounds: Vec<Datum>,
}
