//! Rows of system tables become Arrow batches.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Decimal128Builder, Float32Builder, Float64Builder, Int16Builder, Int32Builder,
    Int64Builder, ListBuilder, StringViewBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use base::ids::{ColumnId, Oid};
use base::{Error, Result, SqlType};

/// A value in a system table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// In the column's scale.
    Decimal(i128),
    Text(String),
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

macro_rules! cell_from {
    ($($from:ty => |$value:ident| $cell:expr;)*) => {
        $(impl From<$from> for Cell {
            fn from($value: $from) -> Cell { $cell }
        })*
    };
}

cell_from! {
    bool => |v| Cell::Bool(v);
    i16 => |v| Cell::Int(i64::from(v));
    i32 => |v| Cell::Int(i64::from(v));
    i64 => |v| Cell::Int(v);
    u16 => |v| Cell::Int(i64::from(v));
    u32 => |v| Cell::Int(i64::from(v));
    u64 => |v| Cell::Int(i64::try_from(v).unwrap_or(i64::MAX));
    usize => |v| Cell::Int(i64::try_from(v).unwrap_or(i64::MAX));
    Oid => |v| Cell::Int(i64::from(v.0));
    ColumnId => |v| Cell::Int(i64::from(v.0));
    f64 => |v| Cell::Float(v);
    &str => |v| Cell::Text(v.to_owned());
    &String => |v| Cell::Text(v.clone());
    String => |v| Cell::Text(v);
    Vec<i64> => |v| Cell::Ints(v);
    Vec<String> => |v| Cell::Texts(v);
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Null, Into::into)
    }
}

/// One row from values of mixed types.
macro_rules! row {
    ($($value:expr),* $(,)?) => { vec![$($crate::system::Cell::from($value)),*] };
}
pub(crate) use row;

/// A NULL of no particular type, for [`row!`].
pub(crate) const NULL: Option<bool> = None;

/// The Arrow schema of declared columns.
pub(crate) fn schema(columns: &[(&str, SqlType)]) -> SchemaRef {
    let fields: Vec<Field> =
        columns.iter().map(|(name, sql_type)| sql_type.field(*name, true)).collect();
    Arc::new(Schema::new(fields))
}

/// The batch of rows; a row that is too short is filled with NULL.
///
/// # Errors
/// XX000 when a cell does not fit its column's type: a fault of ours.
pub(crate) fn batch(columns: &[(&str, SqlType)], rows: &[Vec<Cell>]) -> Result<RecordBatch> {
    let schema = schema(columns);
    let arrays = columns
        .iter()
        .enumerate()
        .map(|(i, (name, sql_type))| {
            let cells = rows.iter().map(|row| row.get(i).unwrap_or(&Cell::Null));
            array(*sql_type, cells).map_err(|cell| misfit(name, *sql_type, &cell))
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema, arrays, &options)
        .map_err(|e| Error::internal(format!("system table: {e}")))
}

fn misfit(name: &str, sql_type: SqlType, cell: &Cell) -> Error {
    Error::internal(format!("system column {name} of type {sql_type} cannot hold {cell:?}"))
}

macro_rules! fill {
    ($builder:expr, $cells:expr, $pattern:pat => $value:expr) => {{
        let mut builder = $builder;
        for cell in $cells {
            match cell {
                Cell::Null => builder.append_null(),
                $pattern => builder.append_value($value),
                other => return Err(other.clone()),
            }
        }
        Ok(Arc::new(builder.finish()) as ArrayRef)
    }};
}

fn array<'a>(
    sql_type: SqlType,
    cells: impl Iterator<Item = &'a Cell>,
) -> std::result::Result<ArrayRef, Cell> {
    match sql_type.arrow() {
        DataType::Boolean => fill!(BooleanBuilder::new(), cells, Cell::Bool(v) => *v),
        DataType::Int16 => fill!(Int16Builder::new(), cells,
            Cell::Int(v) => i16::try_from(*v).unwrap_or(i16::MAX)),
        DataType::Int32 => fill!(Int32Builder::new(), cells,
            Cell::Int(v) => i32::try_from(*v).unwrap_or(i32::MAX)),
        DataType::Int64 => fill!(Int64Builder::new(), cells, Cell::Int(v) => *v),
        DataType::Float32 => fill!(Float32Builder::new(), cells, Cell::Float(v) => *v as f32),
        DataType::Float64 => fill!(Float64Builder::new(), cells, Cell::Float(v) => *v),
        DataType::Decimal128(precision, scale) => {
            let builder =
                Decimal128Builder::new().with_data_type(DataType::Decimal128(precision, scale));
            fill!(builder, cells, Cell::Decimal(v) => *v)
        }
        DataType::Timestamp(_, zone) => {
            let builder = TimestampMicrosecondBuilder::new().with_timezone_opt(zone);
            fill!(builder, cells, Cell::Int(v) => *v)
        }
        DataType::List(item) => list(&item, cells),
        _ => fill!(StringViewBuilder::new(), cells, Cell::Text(v) => v),
    }
}

macro_rules! fill_list {
    ($builder:expr, $item:expr, $cells:expr, $pattern:pat => $values:expr) => {{
        let mut builder = ListBuilder::new($builder).with_field(Arc::clone($item));
        for cell in $cells {
            match cell {
                Cell::Null => builder.append_null(),
                $pattern => builder.append_value($values),
                other => return Err(other.clone()),
            }
        }
        Ok(Arc::new(builder.finish()) as ArrayRef)
    }};
}

fn list<'a>(
    item: &Arc<Field>,
    cells: impl Iterator<Item = &'a Cell>,
) -> std::result::Result<ArrayRef, Cell> {
    match item.data_type() {
        DataType::Int16 => fill_list!(Int16Builder::new(), item, cells,
            Cell::Ints(v) => v.iter().map(|n| i16::try_from(*n).ok())),
        DataType::Int32 => fill_list!(Int32Builder::new(), item, cells,
            Cell::Ints(v) => v.iter().map(|n| i32::try_from(*n).ok())),
        DataType::Int64 => fill_list!(Int64Builder::new(), item, cells,
            Cell::Ints(v) => v.iter().map(|n| Some(*n))),
        _ => fill_list!(StringViewBuilder::new(), item, cells,
            Cell::Texts(v) => v.iter().map(Some)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_become_columns() {
        let columns: &[(&str, SqlType)] = &[
            ("a", SqlType::Integer),
            ("b", SqlType::Name),
            ("c", SqlType::Int2Vector),
            ("d", SqlType::TextArray),
            ("e", SqlType::Decimal { precision: 5, scale: 2 }),
            ("f", SqlType::Timestamp),
        ];
        let rows = vec![
            row![1i32, "x", vec![1i64, 2], vec!["t".to_owned()], Cell::Decimal(125), 7i64],
            row![NULL, NULL, NULL, NULL, NULL, NULL],
        ];
        let batch = batch(columns, &rows).unwrap();
        assert_eq!((batch.num_rows(), batch.num_columns()), (2, 6));
        assert!(batch.columns().iter().all(|column| column.null_count() == 1));
    }
}
