//! What a write needs to know of its table; it travels to the compute nodes inside the plan.

use base::ids::{ColumnId, Oid, SliceId};
use base::{Result, SqlType};
use catalog::{DistStyle, SortKey, Table};
use columnar::{ColumnSpec, Encode, WriteOptions};
use serde::{Deserialize, Serialize};

use super::identity::IdentityFill;

/// Decoded bytes of rows that a slice sorts at once, as far as its memory allows.
const RUN_BYTES: usize = 512 << 20;
/// Encoded bytes after which a segment is closed.
const SEGMENT_BYTES: usize = 128 << 20;

/// A column as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriteColumn {
    pub id: ColumnId,
    pub name: String,
    pub sql_type: SqlType,
    pub nullable: bool,
    /// The name that ENCODE declared.
    pub encode: Option<String>,
}

/// The order of rows within a segment, by columns of the spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortBy {
    /// As rows come.
    Arrival,
    Compound(Vec<usize>),
    Interleaved(Vec<usize>),
}

/// Where and how the rows of a table are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriteSpec {
    pub table: Oid,
    /// The table's name, for messages.
    pub name: String,
    pub columns: Vec<WriteColumn>,
    pub sort: SortBy,
    /// The DISTKEY, an index into `columns`.
    pub key: Option<usize>,
    /// DISTSTYLE ALL: one copy that belongs to no slice.
    pub replica: bool,
    /// All data slices of the cluster.
    pub slices: u16,
    /// The start of each path: directory of the table, epoch and transaction.
    pub prefix: String,
    pub identity: Vec<IdentityFill>,
    pub run_bytes: usize,
    pub segment_bytes: usize,
    pub block_rows: usize,
}

impl WriteSpec {
    /// How rows of `table` are written under paths that start with `prefix`, for example
    /// `data/100001/1-42`.
    pub fn new(table: &Table, slices: u16, prefix: impl Into<String>) -> WriteSpec {
        let place = |id: &ColumnId| table.columns.iter().position(|column| column.id == *id);
        let columns = table.columns.iter().map(|column| WriteColumn {
            id: column.id,
            name: column.name.clone(),
            sql_type: column.sql_type,
            nullable: column.nullable,
            encode: column.encode.clone(),
        });
        let key = match &table.distribution.effective {
            DistStyle::Key(column) => place(column),
            _ => None,
        };
        let sort = match &table.sort_key {
            SortKey::Compound(key) if !key.is_empty() => {
                SortBy::Compound(key.iter().filter_map(place).collect())
            }
            SortKey::Interleaved(key) if !key.is_empty() => {
                SortBy::Interleaved(key.iter().filter_map(place).collect())
            }
            _ => SortBy::Arrival,
        };
        WriteSpec {
            table: table.oid,
            name: table.name.clone(),
            columns: columns.collect(),
            sort,
            key,
            replica: table.distribution.effective == DistStyle::All,
            slices,
            prefix: prefix.into(),
            identity: Vec::new(),
            run_bytes: RUN_BYTES,
            segment_bytes: SEGMENT_BYTES,
            block_rows: WriteOptions::default().block_rows,
        }
    }

    /// The spec with identity columns to fill.
    pub fn with_identity(mut self, identity: Vec<IdentityFill>) -> WriteSpec {
        self.identity = identity;
        self
    }

    /// The name of segment `seq` of a slice; a path is used once.
    pub(super) fn path(&self, slice: Option<SliceId>, seq: u32) -> String {
        match slice {
            Some(slice) => format!("{}-{:04}-{seq}.seg", self.prefix, slice.0),
            None => format!("{}-all-{seq}.seg", self.prefix),
        }
    }

    pub(super) fn column_specs(&self) -> Result<Vec<ColumnSpec>> {
        let spec = |column: &WriteColumn| {
            let encode = column.encode.as_deref().map(str::parse::<Encode>).transpose()?;
            Ok(ColumnSpec { id: column.id, sql_type: column.sql_type, encode })
        };
        self.columns.iter().map(spec).collect()
    }

    pub(super) fn options(&self) -> WriteOptions {
        WriteOptions { block_rows: self.block_rows, ..WriteOptions::default() }
    }
}
