//! Descriptors of immutable segment files: what `columnar` makes, `catalog` keeps and `exec`
//! prunes by.

use serde::{Deserialize, Serialize};

use crate::ids::{ColumnId, SliceId};

/// A value in statistics, zone maps and pushed predicates.
///
/// Integers, dates, times, timestamps, TIMETZ and booleans are `Int` in their carried unit;
/// DECIMAL is `Int` with the column's scale; CHAR and VARCHAR are `Text`; VARBYTE is `Bytes`.
#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Datum {
    Int(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Statistics of one column in one segment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColumnStats {
    pub column: ColumnId,
    pub nulls: u64,
    /// A lower bound of the values that are not NULL; exact unless `min_truncated`.
    pub min: Option<Datum>,
    /// An upper bound of the values that are not NULL; exact unless `max_truncated`.
    pub max: Option<Datum>,
    #[serde(default)]
    pub min_truncated: bool,
    #[serde(default)]
    pub max_truncated: bool,
    /// An estimate of the number of distinct values.
    pub distinct: Option<u64>,
    /// Encoded bytes of the column in the file.
    pub bytes: u64,
}

/// One immutable segment file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// The path in the store, for example `data/100001/1-42-0003-0.seg`.
    pub path: String,
    /// The slice that owns it; `None` for a DISTSTYLE ALL table, which every node reads.
    pub slice: Option<SliceId>,
    pub rows: u64,
    /// The size of the file.
    pub bytes: u64,
    /// The offset of the footer in the file: one ranged read opens a segment.
    pub footer_offset: u64,
    /// CRC-32C of the footer, so that a swapped file is seen.
    pub footer_checksum: u32,
    /// The placement fingerprint under which rows were assigned to `slice`.
    pub placement: u64,
    /// True when rows are in SORTKEY order.
    pub sorted: bool,
    pub columns: Vec<ColumnStats>,
}

impl Segment {
    pub fn column(&self, id: ColumnId) -> Option<&ColumnStats> {
        self.columns.iter().find(|stats| stats.column == id)
    }
}
