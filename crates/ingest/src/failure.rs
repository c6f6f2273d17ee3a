//! Rejected rows as the user sees them: rows of `stl_load_errors` and the error of a failed load.

use base::ids::SliceId;
use base::{Error, SqlType, error};
use catalog::{LoadError, Table};

use crate::reject::Rejection;

/// How much of a rejected row the client's error shows.
const SHOWN_CHARACTERS: usize = 200;

/// A rejected row with its place in the load.
#[derive(Clone, Debug)]
pub(crate) struct Rejected {
    /// The file's number in the load, for the order.
    pub(crate) file: u32,
    pub(crate) file_name: String,
    /// 1-based in the file; for Parquet the row's number.
    pub(crate) line: u64,
    pub(crate) slice: u32,
    pub(crate) rejection: Rejection,
}

impl Rejected {
    fn column<'a>(&self, table: &'a Table) -> Option<&'a catalog::Column> {
        table.columns.get(self.rejection.column? as usize)
    }

    /// The row of `stl_load_errors`; what the statement knows is filled in by the caller.
    pub(crate) fn load_error(&self, table: &Table) -> LoadError {
        let column = self.column(table);
        let (column_type, column_length) =
            column.map_or_else(Default::default, |column| type_and_length(column.sql_type));
        LoadError {
            table: table.oid,
            table_name: table.name.clone(),
            slice: SliceId(u16::try_from(self.slice).unwrap_or(u16::MAX)),
            file: self.file_name.clone(),
            line: self.line,
            column: column.map(|column| column.name.clone()).unwrap_or_default(),
            column_type,
            column_length,
            position: self.rejection.position,
            raw_line: self.rejection.raw_line.clone(),
            raw_field: self.rejection.raw_field.clone(),
            code: self.rejection.code,
            reason: self.rejection.reason.clone(),
            ..LoadError::default()
        }
    }

    /// What the client is told when this is the first of `count` rejected rows.
    pub(crate) fn error(&self, table: &Table, count: u64, parquet: bool) -> Error {
        let reason = &self.rejection.reason;
        let (name, line, file) = (&table.name, self.line, &self.file_name);
        let place = if parquet { "row" } else { "line" };
        let mut detail = match count {
            0 | 1 => String::new(),
            _ => format!("{count} rows were rejected before the load was ended. "),
        };
        let failed = match self.column(table) {
            Some(column) => {
                detail.push_str(&format!(
                    "Column \"{}\" of type {} got the value \"{}\". ",
                    column.name,
                    column.sql_type,
                    shown(&self.rejection.raw_field)
                ));
                error!(
                    BadCopyFileFormat,
                    "load into table \"{name}\" failed at {place} {line}, column \"{}\" of \
                     {file}: {reason}",
                    column.name
                )
                .column(column.name.as_str())
            }
            None => error!(
                BadCopyFileFormat,
                "load into table \"{name}\" failed at {place} {line} of {file}: {reason}"
            ),
        };
        if !self.rejection.raw_line.is_empty() {
            detail.push_str(&format!("The line is: {}", shown(&self.rejection.raw_line)));
        }
        failed
            .table(name.as_str())
            .detail(detail.trim_end())
            .hint("Check the system table stl_load_errors for details.")
    }
}

fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(SHOWN_CHARACTERS).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

/// Type and length as `stl_load_errors` names them.
fn type_and_length(sql_type: SqlType) -> (String, String) {
    let length = match sql_type {
        SqlType::Char(n) | SqlType::Varchar(n) | SqlType::Varbyte(n) => n.to_string(),
        SqlType::Decimal { precision, scale } => format!("{precision}, {scale}"),
        _ => "0".to_owned(),
    };
    (sql_type.pg_name().to_owned(), length)
}

#[cfg(test)]
mod tests {
    use catalog::Column;

    use super::*;

    fn table() -> Table {
        let column = Column {
            id: base::ids::ColumnId(1),
            name: "price".to_owned(),
            sql_type: SqlType::Decimal { precision: 12, scale: 2 },
            nullable: true,
            default: None,
            identity: None,
            encode: None,
            case_insensitive: false,
            comment: None,
            fill: None,
        };
        Table { name: "sales".to_owned(), columns: vec![column], ..Table::default() }
    }

    fn rejected(column: Option<u32>) -> Rejected {
        Rejected {
            file: 0,
            file_name: "s3://b/f.csv".to_owned(),
            line: 7,
            slice: 3,
            rejection: Rejection {
                unit: 0,
                line: 6,
                offset: 99,
                column,
                position: 1,
                raw_line: "1x,b".to_owned(),
                raw_field: "1x".to_owned(),
                code: 1207,
                reason: "Invalid digit, Value 'x', Pos 1, Type: Decimal".to_owned(),
            },
        }
    }

    #[test]
    fn the_error_names_file_line_column_value_and_reason() {
        let error = rejected(Some(0)).error(&table(), 1, false);
        assert_eq!(error.sqlstate().code(), "22P04");
        assert_eq!(
            error.message(),
            "load into table \"sales\" failed at line 7, column \"price\" of s3://b/f.csv: \
             Invalid digit, Value 'x', Pos 1, Type: Decimal"
        );
        assert_eq!(
            error.get_detail(),
            Some("Column \"price\" of type numeric(12,2) got the value \"1x\". The line is: 1x,b")
        );
        assert_eq!(error.object().column.as_deref(), Some("price"));
        let error = rejected(None).error(&table(), 3, false);
        assert!(error.message().starts_with("load into table \"sales\" failed at line 7 of"));
        assert_eq!(
            error.get_detail(),
            Some("3 rows were rejected before the load was ended. The line is: 1x,b")
        );
    }

    #[test]
    fn the_row_of_the_system_table() {
        let row = rejected(Some(0)).load_error(&table());
        assert_eq!((row.line, row.slice, row.code), (7, SliceId(3), 1207));
        assert_eq!((row.column_type.as_str(), row.column_length.as_str()), ("numeric", "12, 2"));
    }
}
