//! What a write needs to know of its table, and how rows and descriptors follow from it; it
//! travels to the compute nodes inside the plan.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{Schema, SchemaRef};
use base::ids::{ColumnId, Oid, SliceId};
use base::segment::Segment;
use base::{Error, Result, SqlType, error};
use catalog::{DistStyle, SortKey, Table};
use columnar::{ColumnSpec, Encode, Encoded, WriteOptions};
use datafusion::common::internal_datafusion_err;
use serde::{Deserialize, Serialize};

use super::identity::IdentityFill;
use crate::error::into_datafusion;
use crate::placement;

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
    /// As rows come, which is the order of these columns.
    Sorted(Vec<usize>),
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
    fn path(&self, slice: Option<SliceId>, seq: u32) -> String {
        match slice {
            Some(slice) => format!("{}-{:04}-{seq}.seg", self.prefix, slice.0),
            None => format!("{}-all-{seq}.seg", self.prefix),
        }
    }

    /// The schema of rows as they are stored.
    pub(crate) fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|c| c.sql_type.field(&c.name, true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The rows `first..` of a slice as they are stored: identity values filled in, columns
    /// after the table's gone, and what the planner promised about them checked.
    ///
    /// # Errors
    /// 23502 for a NULL that the table refuses, 22003 for an identity column out of values;
    /// internal for a row that belongs to another slice.
    pub(crate) fn stored(
        &self,
        schema: &SchemaRef,
        batch: RecordBatch,
        slice: Option<SliceId>,
        first: u64,
    ) -> datafusion::common::Result<RecordBatch> {
        let wanted = self.columns.len().min(batch.num_columns());
        let mut columns: Vec<ArrayRef> = batch.columns()[..wanted].to_vec();
        let (number, slices) = slice.map_or((0, 1), |slice| (slice.0, self.slices));
        for fill in &self.identity {
            let column = columns.get_mut(fill.column).ok_or_else(|| {
                internal_datafusion_err!("identity column {} is not written", fill.column)
            })?;
            *column = fill.filled(column, first, number, slices).map_err(into_datafusion)?;
        }
        for (array, column) in columns.iter().zip(&self.columns) {
            if !column.nullable && array.null_count() > 0 {
                return Err(into_datafusion(self.not_null(&column.name)));
            }
        }
        self.check_placement(&columns, slice)?;
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }

    fn not_null(&self, column: &str) -> Error {
        error!(NotNullViolation, "null value in column \"{column}\" violates not-null constraint")
            .table(&self.name)
            .column(column)
    }

    /// Refuses rows that are not on the slice that their DISTKEY names: they would be missed by
    /// every co-located join.
    fn check_placement(
        &self,
        columns: &[ArrayRef],
        slice: Option<SliceId>,
    ) -> datafusion::common::Result<()> {
        let (Some(key), Some(slice)) = (self.key, slice) else {
            return Ok(());
        };
        let mut slices = Vec::new();
        placement::slices_of(&columns[key..=key], self.slices, &mut slices)?;
        match slices.iter().find(|other| **other != slice.0) {
            None => Ok(()),
            Some(other) => Err(internal_datafusion_err!(
                "a row of {} for slice {other} was sent to slice {slice}",
                self.name
            )),
        }
    }

    /// What the catalog has to know of the segment `seq` of a slice.
    pub(crate) fn descriptor(
        &self,
        encoded: &Encoded,
        slice: Option<SliceId>,
        seq: u32,
    ) -> Segment {
        let key = self.key.and_then(|key| self.columns.get(key));
        let placement = match (key, slice) {
            (Some(key), Some(_)) => placement::placement_mark(key.id, self.slices),
            _ => placement::NOT_PLACED,
        };
        Segment {
            path: self.path(slice, seq),
            slice,
            rows: encoded.rows,
            bytes: encoded.bytes,
            footer_offset: encoded.footer_offset,
            footer_checksum: encoded.footer_checksum,
            placement,
            sorted: matches!(self.sort, SortBy::Compound(_) | SortBy::Sorted(_)),
            columns: encoded.columns.clone(),
            ..Segment::default()
        }
    }

    pub(crate) fn column_specs(&self) -> Result<Vec<ColumnSpec>> {
        let spec = |column: &WriteColumn| {
            let encode = column.encode.as_deref().map(str::parse::<Encode>).transpose()?;
            Ok(ColumnSpec { id: column.id, sql_type: column.sql_type, encode })
        };
        self.columns.iter().map(spec).collect()
    }

    pub(crate) fn options(&self) -> WriteOptions {
        WriteOptions { block_rows: self.block_rows, ..WriteOptions::default() }
    }
}
