//! The SQL corpus over the wire: sqllogictest files, errors asserted by SQLSTATE.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base::{Error, Result, error};
use futures::TryStreamExt;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::server::Server;

/// All `.slt` files below a directory, in order.
///
/// # Errors
/// 58P01 when there is none.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        let entries = std::fs::read_dir(&directory)
            .map_err(|e| Error::io(format!("read {}", directory.display()), e))?;
        for entry in entries {
            let path = entry.map_err(|e| Error::io("read a directory", e))?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|e| e == "slt") {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(error!(UndefinedFile, "there is no .slt file below {}", root.display()));
    }
    Ok(found)
}

/// Runs one file in a schema of its own, each connection with the session settings `settings`,
/// `NAME=VALUE`; returns the number of its records.
///
/// # Errors
/// The first record that does not hold, with its place and difference.
pub async fn run(
    server: &Server,
    file: &Path,
    load_dir: &Path,
    settings: &[String],
) -> Result<usize> {
    let schema = file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .map(|stem| format!("slt_{}", stem.replace('-', "_")))
        .unwrap_or_else(|| "slt".to_owned());
    let text = std::fs::read_to_string(file)
        .map_err(|e| Error::io(format!("read {}", file.display()), e))?
        .replace("$LOAD_DIR", &load_dir.display().to_string());
    let records = sqllogictest::parse_with_name::<DefaultColumnType>(&text, file.to_string_lossy())
        .map_err(|e| error!(SyntaxError, "{e}"))?;
    let setup = server.connect().await?;
    let make = format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}");
    setup.batch_execute(&make).await.map_err(|e| error!(SystemError, "{make}: {e:?}"))?;
    let connect = || async {
        let client = server.connect().await.map_err(Failure::from)?;
        client.batch_execute(&format!("SET search_path TO {schema}")).await?;
        for setting in settings {
            client.batch_execute(&format!("SET {setting}")).await?;
        }
        Ok(Session { client })
    };
    let mut runner = Runner::new(connect);
    let mut count = 0;
    for record in records {
        let counted = matches!(
            record,
            sqllogictest::Record::Statement { .. } | sqllogictest::Record::Query { .. }
        );
        runner
            .run_async(record)
            .await
            .map_err(|e| error!(DataException, "{}", e.display(false)))?;
        count += usize::from(counted);
    }
    setup
        .batch_execute(&format!("DROP SCHEMA {schema} CASCADE"))
        .await
        .map_err(|e| error!(SystemError, "drop of {schema}: {e:?}"))?;
    Ok(count)
}

struct Session {
    client: Client,
}

/// A server's or a connection's error, as sqllogictest wants it.
#[derive(Debug)]
struct Failure {
    text: String,
    state: Option<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { text: format!("{error:?}"), state: Some(error.sqlstate().code().to_owned()) }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(server) => Failure {
                text: format!(
                    "{}{}{}",
                    server.message(),
                    server.detail().map(|d| format!(" DETAIL: {d}")).unwrap_or_default(),
                    server.hint().map(|h| format!(" HINT: {h}")).unwrap_or_default()
                ),
                state: Some(server.code().code().to_owned()),
            },
            None => Failure { text: error.to_string(), state: None },
        }
    }
}

#[async_trait]
impl AsyncDB for Session {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        let messages: Vec<_> = self.client.simple_query_raw(sql).await?.try_collect().await?;
        let mut columns = None;
        let mut rows = Vec::new();
        let mut affected = 0;
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(described) => columns = Some(described.len()),
                SimpleQueryMessage::Row(row) => {
                    rows.push((0..row.len()).map(|i| value(row.get(i))).collect());
                }
                SimpleQueryMessage::CommandComplete(count) => affected = count,
                _ => {}
            }
        }
        Ok(match columns {
            Some(count) => DBOutput::Rows { types: vec![DefaultColumnType::Any; count], rows },
            None => DBOutput::StatementComplete(affected),
        })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "blueshift"
    }

    fn error_sql_state(error: &Failure) -> Option<String> {
        error.state.clone()
    }
}

/// NULL and the empty string have marks of their own, so that a line shows them.
fn value(value: Option<&str>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some("") => "(empty)".to_owned(),
        Some(text) => text.to_owned(),
    }
}
