//! Which field of the files goes into which column of the table.

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Schema;
use base::{Error, Result, error};
use catalog::{Column, Table};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use sql::ast::{CopyStatement, Ident};
use std::sync::Arc;

use super::{LoadColumn, LoadFill};
use crate::text::{Fill, Target};

/// The value of a column's DEFAULT.
pub(crate) type DefaultOf<'a> = &'a (dyn Fn(&Column) -> Result<ArrayRef> + Send + Sync);

/// The columns of a load and the number of fields in its files.
///
/// # Errors
/// 42703 and 42701 for the column list, 42601 where it and EXPLICIT_IDS do not go together,
/// 23502 for a column that is NOT NULL and gets no value.
pub(crate) fn columns(
    copy: &CopyStatement,
    table: &Table,
    default: DefaultOf<'_>,
) -> Result<(Vec<LoadColumn>, usize)> {
    let listed = listed(copy, table)?;
    let mut out = Vec::with_capacity(table.columns.len());
    for column in &table.columns {
        let field = listed.iter().position(|id| *id == column.id);
        let fill = match field {
            Some(field) => LoadFill::Field(field),
            None => omitted(column, default)?,
        };
        // An IDENTITY column that is not in the files is NULL until the write fills it.
        let nullable = column.nullable || !matches!(fill, LoadFill::Field(_));
        out.push(LoadColumn {
            name: column.name.clone(),
            sql_type: column.sql_type,
            nullable,
            fill,
        });
    }
    Ok((out, listed.len()))
}

/// The columns that the files hold, in the files' order.
fn listed(copy: &CopyStatement, table: &Table) -> Result<Vec<base::ids::ColumnId>> {
    let explicit = copy.options.explicit_ids;
    if copy.columns.is_empty() {
        let held = table.columns.iter().filter(|c| c.identity.is_none() || explicit);
        return Ok(held.map(|column| column.id).collect());
    }
    let mut ids = Vec::with_capacity(copy.columns.len());
    for name in &copy.columns {
        let column = table.column(&name.name).ok_or_else(|| unknown(name, table))?;
        if ids.contains(&column.id) {
            return Err(error!(
                DuplicateColumn,
                "column \"{}\" is in the column list more than once", name.name
            )
            .at(name.position));
        }
        let generated = column.identity.is_some_and(|identity| !identity.by_default);
        if generated && !explicit {
            return Err(error!(
                SyntaxError,
                "cannot load identity column \"{}\" without EXPLICIT_IDS", name.name
            )
            .at(name.position));
        }
        ids.push(column.id);
    }
    let missing = table.columns.iter().find(|column| {
        explicit
            && column.identity.is_some_and(|identity| !identity.by_default)
            && !ids.contains(&column.id)
    });
    if let Some(column) = missing {
        return Err(error!(
            SyntaxError,
            "EXPLICIT_IDS needs identity column \"{}\" in the column list", column.name
        ));
    }
    Ok(ids)
}

fn unknown(name: &Ident, table: &Table) -> Error {
    let names = table.columns.iter().map(|column| column.name.as_str());
    error!(
        UndefinedColumn,
        "column \"{}\" of relation \"{}\" does not exist", name.name, table.name
    )
    .maybe_hint(base::suggest::did_you_mean(&name.name, names))
    .at(name.position)
}

fn omitted(column: &Column, default: DefaultOf<'_>) -> Result<LoadFill> {
    if column.identity.is_some() {
        return Ok(LoadFill::Null);
    }
    let value = match column.default {
        Some(_) => Some(default(column)?).filter(|value| value.null_count() == 0),
        None => None,
    };
    match value {
        Some(value) => Ok(LoadFill::Default(to_bytes(column, value)?)),
        None if column.nullable => Ok(LoadFill::Null),
        None => Err(error!(
            NotNullViolation,
            "column \"{}\" is NOT NULL and the load gives it no value", column.name
        )
        .column(column.name.as_str())
        .hint("Name the column in COPY's column list, or give it a default.")),
    }
}

fn to_bytes(column: &Column, value: ArrayRef) -> Result<Vec<u8>> {
    let failed = |error: arrow_schema::ArrowError| {
        Error::internal(format!("default of column \"{}\": {error}", column.name))
    };
    if value.len() != 1 || *value.data_type() != column.sql_type.arrow() {
        return Err(Error::internal(format!(
            "default of column \"{}\" is not one value of its type",
            column.name
        )));
    }
    let field = column.sql_type.field(column.name.as_str(), true);
    let schema = Arc::new(Schema::new(vec![field]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![value]).map_err(failed)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).map_err(failed)?;
    writer.write(&batch).map_err(failed)?;
    writer.into_inner().map_err(failed)
}

fn from_bytes(bytes: &[u8]) -> Result<ArrayRef> {
    let damaged = || Error::internal("a column's default did not survive the way to a node");
    let mut reader = StreamReader::try_new(bytes, None).map_err(|_| damaged())?;
    let batch = reader.next().ok_or_else(damaged)?.map_err(|_| damaged())?;
    batch.columns().first().cloned().ok_or_else(damaged)
}

/// The columns as the parsers want them.
///
/// # Errors
/// Internal when a default cannot be read back.
pub(crate) fn targets(columns: &[LoadColumn]) -> Result<Vec<Target>> {
    let target = |column: &LoadColumn| {
        let fill = match &column.fill {
            LoadFill::Field(field) => Fill::Field(*field),
            LoadFill::Default(bytes) => Fill::Constant(from_bytes(bytes)?),
            LoadFill::Null => {
                Fill::Constant(arrow_array::new_null_array(&column.sql_type.arrow(), 1))
            }
        };
        Ok(Target {
            name: column.name.clone(),
            sql_type: column.sql_type,
            nullable: column.nullable,
            fill,
        })
    };
    columns.iter().map(target).collect()
}
