//! Set-returning functions in FROM: generate_series and the session functions.

use std::sync::Arc;

use arrow_array::RecordBatch;
use base::{Result, SqlType, error};
use datafusion::common::ScalarValue;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{Expr, TableSource};

use super::{Cell, SystemContext, builder};

/// A series is made on the leader, so that its length is bounded.
const SERIES_ROWS_MAX: i128 = 10_000_000;

/// The source of a function in FROM; `None` when it is not one of these.
///
/// # Errors
/// 42883 for wrong arguments, 54000 for a series that is too long.
pub(crate) fn table_function(
    context: &Arc<SystemContext>,
    name: &str,
    args: &[Expr],
) -> Result<Option<Arc<dyn TableSource>>> {
    let single = |sql_type: SqlType, cell: Cell| table(name, sql_type, vec![vec![cell]]).map(Some);
    match (name, args) {
        ("generate_series", _) => series(args).map(Some),
        ("current_database", []) => single(SqlType::Name, context.database.name.as_str().into()),
        ("current_schema", []) => single(SqlType::Name, context.current_schema().into()),
        ("version", []) => single(SqlType::Text, crate::version().into()),
        ("pg_backend_pid", []) => single(SqlType::Integer, context.process_id.into()),
        _ => Ok(None),
    }
}

fn table(name: &str, sql_type: SqlType, rows: Vec<Vec<Cell>>) -> Result<Arc<dyn TableSource>> {
    let batch = builder::batch(&[(name, sql_type)], &rows)?;
    source(batch)
}

fn source(batch: RecordBatch) -> Result<Arc<dyn TableSource>> {
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]])
        .map_err(|e| sql::error_from_datafusion(e, ""))?;
    Ok(provider_as_source(Arc::new(table)))
}

fn integer(expr: &Expr) -> Option<(i64, SqlType)> {
    match expr {
        Expr::Literal(ScalarValue::Int16(Some(v)), _) => Some((i64::from(*v), SqlType::Integer)),
        Expr::Literal(ScalarValue::Int32(Some(v)), _) => Some((i64::from(*v), SqlType::Integer)),
        Expr::Literal(ScalarValue::Int64(Some(v)), _) => Some((*v, SqlType::BigInt)),
        Expr::Cast(cast) => integer(&cast.expr),
        Expr::Alias(alias) => integer(&alias.expr),
        Expr::Negative(inner) => integer(inner).map(|(v, sql_type)| (-v, sql_type)),
        _ => None,
    }
}

fn series(args: &[Expr]) -> Result<Arc<dyn TableSource>> {
    let wrong = || {
        error!(UndefinedFunction, "generate_series takes two or three integer constants")
            .hint("It runs on the leader only: use a table of numbers for anything else.")
    };
    if !(2..=3).contains(&args.len()) {
        return Err(wrong());
    }
    let mut numbers = Vec::with_capacity(3);
    let mut widest = SqlType::Integer;
    for arg in args {
        let (number, sql_type) = integer(arg).ok_or_else(wrong)?;
        if sql_type == SqlType::BigInt {
            widest = sql_type;
        }
        numbers.push(number);
    }
    let (start, stop) = (numbers[0], numbers[1]);
    let step = numbers.get(2).copied().unwrap_or(1);
    if step == 0 {
        return Err(error!(InvalidParameterValue, "step size cannot equal zero"));
    }
    let span = (i128::from(stop) - i128::from(start)) / i128::from(step);
    if span >= SERIES_ROWS_MAX {
        return Err(error!(
            ProgramLimitExceeded,
            "generate_series cannot give more than {SERIES_ROWS_MAX} rows"
        ));
    }
    let forward = if step > 0 { start <= stop } else { start >= stop };
    let count = if forward { i64::try_from(span).unwrap_or(0) + 1 } else { 0 };
    let values = (0..count).map(|i| start + i * step);
    let array: arrow_array::ArrayRef = match widest {
        SqlType::BigInt => Arc::new(arrow_array::Int64Array::from_iter_values(values)),
        _ => Arc::new(arrow_array::Int32Array::from_iter_values(
            values.map(|v| i32::try_from(v).unwrap_or(i32::MAX)),
        )),
    };
    let schema = builder::schema(&[("generate_series", widest)]);
    let batch = RecordBatch::try_new(schema, vec![array])
        .map_err(|e| base::Error::internal(format!("generate_series: {e}")))?;
    source(batch)
}
