//! Rows that a statement spells out, computed on the leader without planning a query.

use std::sync::{Arc, LazyLock};

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow_schema::{Schema, SchemaRef};
use catalog::Table;
use datafusion::arrow::compute::concat;
use datafusion::common::{DFSchema, Result};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, Values, Window, WindowFunctionDefinition};
use datafusion::physical_expr::create_physical_expr;

static PROPS: LazyLock<ExecutionProps> = LazyLock::new(ExecutionProps::new);

/// The rows of a bound INSERT of constants, as the table's columns. `None` for a plan that reads
/// something, and for one that fails: the engine then finds the same fault and reports it.
pub(super) fn rows(plan: &LogicalPlan, table: &Table) -> Option<RecordBatch> {
    checked_rows(plan, table).ok().flatten()
}

/// As [`rows`], with the fault of a plan that fails.
///
/// # Errors
/// Those of computing a value.
pub(super) fn checked_rows(plan: &LogicalPlan, table: &Table) -> base::Result<Option<RecordBatch>> {
    let batch = evaluate(plan).map_err(|e| sql::error_from_datafusion(e, ""))?;
    Ok(batch.filter(|batch| fits(batch, table)))
}

fn fits(batch: &RecordBatch, table: &Table) -> bool {
    batch.num_columns() == table.columns.len()
        && batch
            .columns()
            .iter()
            .zip(&table.columns)
            .all(|(array, column)| *array.data_type() == column.sql_type.arrow())
}

/// The rows of a plan that reads nothing; `None` for one that does.
pub(super) fn evaluate(plan: &LogicalPlan) -> Result<Option<RecordBatch>> {
    match plan {
        LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => one_row().map(Some),
        LogicalPlan::Values(values) => of_values(values).map(Some),
        LogicalPlan::SubqueryAlias(alias) => evaluate(&alias.input),
        LogicalPlan::Projection(projection) => {
            let Some(input) = evaluate(&projection.input)? else { return Ok(None) };
            let schema = projection.input.schema();
            let columns = projection
                .expr
                .iter()
                .map(|expr| value(expr, schema, &input))
                .collect::<Result<Vec<_>>>()?;
            batch(Arc::clone(projection.schema.inner()), columns, input.num_rows()).map(Some)
        }
        LogicalPlan::Window(window) if window.window_expr.iter().all(is_row_number) => {
            numbered(window)
        }
        _ => Ok(None),
    }
}

/// A row without columns.
fn one_row() -> Result<RecordBatch> {
    batch(Arc::new(Schema::empty()), Vec::new(), 1)
}

fn batch(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    // The values are what they are: a plan's own word on nullability is of no use here.
    let fields = schema.fields().iter().zip(&columns).map(|(field, column)| {
        field.as_ref().clone().with_data_type(column.data_type().clone()).with_nullable(true)
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)?)
}

fn value(expr: &Expr, schema: &DFSchema, input: &RecordBatch) -> Result<ArrayRef> {
    let planning = PhysicalPlanningContext::default();
    let expr = create_physical_expr(expr, schema, &PROPS, &planning)?;
    expr.evaluate(input)?.into_array(input.num_rows())
}

fn of_values(values: &Values) -> Result<RecordBatch> {
    let (nothing, schema) = (one_row()?, DFSchema::empty());
    let mut columns = Vec::with_capacity(values.schema.fields().len());
    for (n, field) in values.schema.fields().iter().enumerate() {
        let cells = values
            .values
            .iter()
            .map(|row| {
                let cell = value(&row[n], &schema, &nothing)?;
                if cell.data_type() == field.data_type() {
                    return Ok(cell);
                }
                Ok(datafusion::arrow::compute::cast(&cell, field.data_type())?)
            })
            .collect::<Result<Vec<ArrayRef>>>()?;
        let parts: Vec<&dyn Array> = cells.iter().map(AsRef::as_ref).collect();
        columns.push(concat(&parts)?);
    }
    batch(Arc::clone(values.schema.inner()), columns, values.values.len())
}

/// True for the number that the binder gives each row for its identity columns.
fn is_row_number(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_row_number(&alias.expr),
        Expr::WindowFunction(call) => {
            let params = &call.params;
            let fun = &call.fun;
            matches!(fun, WindowFunctionDefinition::WindowUDF(of) if of.name() == "row_number")
                && params.partition_by.is_empty()
                && params.order_by.is_empty()
        }
        _ => false,
    }
}

fn numbered(window: &Window) -> Result<Option<RecordBatch>> {
    let Some(input) = evaluate(&window.input)? else { return Ok(None) };
    let rows = input.num_rows();
    let mut columns = input.columns().to_vec();
    for _ in &window.window_expr {
        columns.push(Arc::new(UInt64Array::from_iter_values(1..=rows as u64)));
    }
    batch(Arc::clone(window.schema.inner()), columns, rows).map(Some)
}

#[cfg(test)]
mod tests {
    use base::SqlType;
    use base::ids::ColumnId;
    use catalog::Column;
    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::{LogicalPlanBuilder, col, lit};

    use super::*;

    fn table(types: &[SqlType]) -> Table {
        let column = |sql_type: &SqlType| Column {
            id: ColumnId(1),
            name: "c".to_owned(),
            sql_type: *sql_type,
            nullable: true,
            default: None,
            identity: None,
            encode: None,
            case_insensitive: false,
            comment: None,
            fill: None,
        };
        Table { columns: types.iter().map(column).collect(), ..Table::default() }
    }

    #[test]
    fn values_and_projections_are_computed() {
        let rows_of = |values| LogicalPlanBuilder::values(values).unwrap();
        let plan = rows_of(vec![vec![lit(1i32), lit(true)], vec![lit(2i32), lit(false)]])
            .project(vec![col("column1") + lit(1i32), lit(ScalarValue::Int64(None))])
            .unwrap()
            .build()
            .unwrap();
        let made = rows(&plan, &table(&[SqlType::Integer, SqlType::BigInt])).unwrap();
        assert_eq!(made.num_rows(), 2);
        let sums = arrow_array::Int32Array::from(vec![2, 3]);
        assert_eq!(made.column(0).as_ref(), &sums as &dyn Array);
        assert_eq!(made.column(1).null_count(), 2);
        // Another type than the table's is not for here.
        assert!(rows(&plan, &table(&[SqlType::BigInt, SqlType::BigInt])).is_none());
    }

    #[test]
    fn what_fails_or_reads_is_left_to_the_engine() {
        let divided = LogicalPlanBuilder::values(vec![vec![lit(1i32) / lit(0i32)]]).unwrap();
        assert!(rows(&divided.build().unwrap(), &table(&[SqlType::Integer])).is_none());
        let limited = LogicalPlanBuilder::values(vec![vec![lit(1i32)]]).unwrap().limit(0, Some(1));
        assert!(rows(&limited.unwrap().build().unwrap(), &table(&[SqlType::Integer])).is_none());
    }
}
