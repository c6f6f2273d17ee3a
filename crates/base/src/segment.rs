//! Descriptors of immutable segment files: what `columnar` makes, `catalog` keeps and `exec`
//! prunes by.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{ColumnId, SliceId};

/// A value in statistics, zone maps and pushed predicates.
///
/// Integers, dates, times, timestamps, TIMETZ and booleans are `Int` in their carried unit;
/// DECIMAL is `Int` with the column's scale; CHAR and VARCHAR are `Text`; VARBYTE is `Bytes`.
#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Datum {
    Int(i128),
    /// Serialised as its bits: JSON holds neither infinities nor every last digit.
    Float(#[serde(with = "float_bits")] f64),
    Text(String),
    Bytes(Vec<u8>),
}

mod float_bits {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.to_bits().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
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

/// The name of the column that a scan for DELETE, UPDATE or MERGE adds after the table's own: a
/// BIGINT that finds a row again, made by [`row_address`].
pub const ROW_ADDRESS: &str = "$row_address";

/// The address of a row: its segment's number and its position there.
pub fn row_address(segment: u32, row: u32) -> i64 {
    // A segment number stays below 2^31, so that addresses are not negative.
    (i64::from(segment) << 32) | i64::from(row)
}

/// The segment's number and the row's position of an address.
pub fn row_place(address: i64) -> (u32, u32) {
    let row = u32::try_from(address & i64::from(u32::MAX)).unwrap_or(u32::MAX);
    (u32::try_from(address >> 32).unwrap_or(u32::MAX), row)
}

/// The rows of a segment that DELETE, UPDATE or MERGE took away, all of them so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletes {
    /// How many rows; at least one.
    pub rows: u64,
    /// Which rows.
    pub bitmap: Bitmap,
}

impl Deletes {
    /// The file of a large set.
    pub fn path(&self) -> Option<&str> {
        match &self.bitmap {
            Bitmap::File { path, .. } => Some(path),
            Bitmap::Inline(_) => None,
        }
    }
}

/// A set of row positions in the portable roaring format, little sets beside their descriptor
/// and large ones in a file of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bitmap {
    Inline(Arc<[u8]>),
    File {
        /// The path in the store, ending in `.del`; used once.
        path: String,
        bytes: u64,
        /// CRC-32C of the file.
        checksum: u32,
    },
}

/// One immutable segment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// Its number among all segments that its table ever had, from 1; the catalog gives it when
    /// the segment joins its table.
    #[serde(default)]
    pub number: u32,
    /// Rows that are gone.
    #[serde(default)]
    pub deletes: Option<Arc<Deletes>>,
    /// The bytes of a segment so small that it has no file: they are in the commit log.
    #[serde(default)]
    pub inline: Option<Arc<[u8]>>,
}

impl Segment {
    /// Rows that are not deleted.
    pub fn live_rows(&self) -> u64 {
        self.rows - self.deletes.as_ref().map_or(0, |deletes| deletes.rows.min(self.rows))
    }

    /// The files that hold it.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let deletes = self.deletes.as_ref().and_then(|deletes| deletes.path());
        self.inline.is_none().then_some(self.path.as_str()).into_iter().chain(deletes)
    }

    pub fn column(&self, id: ColumnId) -> Option<&ColumnStats> {
        self.columns.iter().find(|stats| stats.column == id)
    }
}
