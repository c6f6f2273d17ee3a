//! A scan made ready to run: which columns are read for what, and residual expressions bound to
//! just the columns that they need.
//!
//! Shared by the partitions of a scan; nothing here changes while it runs.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::filter::prep_null_mask_filter;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue, internal_datafusion_err};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::PhysicalExpr;

use super::predicate::{Split, scalar_of};
use super::spec::ScanSpec;

/// A conjunct that runs on decoded columns.
#[derive(Clone, Debug)]
pub(super) struct Residual {
    expr: Arc<dyn PhysicalExpr>,
    /// The columns that it needs, in the order in which the expression counts them.
    pub(super) columns: Vec<usize>,
    schema: SchemaRef,
}

impl Residual {
    pub(super) fn new(expr: &Arc<dyn PhysicalExpr>, spec: &ScanSpec) -> Result<Residual> {
        let mut columns: Vec<usize> = Vec::new();
        let bound = Arc::clone(expr).transform_down(|node| {
            let Some(column) = node.downcast_ref::<Column>() else {
                return Ok(Transformed::no(node));
            };
            let place = columns.iter().position(|at| *at == column.index()).unwrap_or_else(|| {
                columns.push(column.index());
                columns.len() - 1
            });
            let bound: Arc<dyn PhysicalExpr> = Arc::new(Column::new(column.name(), place));
            Ok(Transformed::yes(bound))
        })?;
        let mut fields = Vec::with_capacity(columns.len());
        for at in &columns {
            let column = spec.column(*at)?;
            fields.push(column.sql_type.field(&column.name, column.nullable));
        }
        Ok(Residual { expr: bound.data, columns, schema: Arc::new(Schema::new(fields)) })
    }

    /// Which of `rows` rows qualify, given its columns.
    pub(super) fn evaluate(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<BooleanArray> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        let array = self.expr.evaluate(&batch)?.into_array(rows)?;
        let array = array.as_boolean_opt().ok_or_else(|| {
            internal_datafusion_err!("a filter gave {} instead of booleans", array.data_type())
        })?;
        Ok(match array.null_count() {
            0 => array.clone(),
            _ => prep_null_mask_filter(array),
        })
    }
}

/// The fixed part of a running scan.
pub(super) struct Compiled {
    pub(super) spec: Arc<ScanSpec>,
    /// The schema given out.
    pub(super) schema: SchemaRef,
    pub(super) projection: Vec<usize>,
    pub(super) split: Split,
    pub(super) residual: Vec<Residual>,
    /// For each column of the spec: whether a residual filter needs it, or the output.
    pub(super) for_residual: Vec<bool>,
    pub(super) for_output: Vec<bool>,
    /// The column that gets the addresses of the rows.
    pub(super) address: Option<usize>,
    /// What a column holds in segments without it.
    pub(super) fills: Vec<ScalarValue>,
    /// Rows of a batch given out.
    pub(super) batch_rows: usize,
    pub(super) partition: usize,
    pub(super) partitions: usize,
}

impl Compiled {
    pub(super) fn new(
        spec: &Arc<ScanSpec>,
        schema: SchemaRef,
        projection: &[usize],
        filters: &[Arc<dyn PhysicalExpr>],
        batch_rows: usize,
    ) -> Result<Compiled> {
        let split = Split::new(filters, &spec.columns);
        let bind = |expr: &Arc<dyn PhysicalExpr>| Residual::new(expr, spec);
        let residual = split.residual.iter().map(bind).collect::<Result<Vec<_>>>()?;
        let mut for_residual = vec![false; spec.columns.len()];
        let mut for_output = vec![false; spec.columns.len()];
        for column in residual.iter().flat_map(|residual| &residual.columns) {
            for_residual[*column] = true;
        }
        for column in projection {
            for_output[*column] = true;
        }
        let fills = spec.columns.iter().map(|column| {
            scalar_of(column.fill.as_ref(), column.sql_type).ok_or_else(|| {
                internal_datafusion_err!("column {} has a fill of another type", column.name)
            })
        });
        Ok(Compiled {
            fills: fills.collect::<Result<_>>()?,
            address: spec.address(),
            spec: Arc::clone(spec),
            schema,
            projection: projection.to_vec(),
            split,
            residual,
            for_residual,
            for_output,
            batch_rows: batch_rows.max(1),
            partition: 0,
            partitions: 1,
        })
    }
}
