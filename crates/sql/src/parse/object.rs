//! Schemas, databases, comments, ANALYZE and VACUUM.

use base::{Result, error};
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::table::collation;
use super::unsupported;
use crate::ast::{
    AlterDatabase, AlterDatabaseAction, AlterSchema, AlterSchemaAction, Analyze,
    AnalyzeCompression, Collation, Comment, CommentOn, ConnectionLimit, CreateDatabase,
    CreateSchema, DropDatabase, Ident, ObjectName, Quota, Statement, Vacuum, VacuumKind,
};

/// After CREATE SCHEMA.
pub(super) fn create_schema(cursor: &mut Cursor) -> Result<Statement> {
    let if_not_exists = cursor.if_not_exists();
    let mut database = None;
    let mut name = None;
    if !cursor.is("authorization") {
        let mut given = cursor.ident()?;
        if cursor.symbol(&Token::Period) {
            database = Some(std::mem::replace(&mut given, cursor.ident()?));
        }
        name = Some(given);
    }
    let authorization = if cursor.accept("authorization") { Some(cursor.ident()?) } else { None };
    let quota = if cursor.accept("quota") { Some(quota(cursor)?) } else { None };
    if cursor.is("create") || cursor.is("grant") {
        return Err(unsupported("CREATE SCHEMA with elements", cursor.position())
            .hint("Create the schema first and its objects after it."));
    }
    // CREATE SCHEMA AUTHORIZATION u makes a schema named after the user.
    let name = match name.or_else(|| authorization.clone()) {
        Some(name) => name,
        None => return Err(cursor.unexpected()),
    };
    Ok(Statement::CreateSchema(CreateSchema {
        name,
        database,
        if_not_exists,
        authorization,
        quota,
    }))
}

fn quota(cursor: &mut Cursor) -> Result<Quota> {
    if cursor.accept("unlimited") {
        return Ok(Quota::Unlimited);
    }
    let position = cursor.position();
    let count: u64 = cursor.unsigned()?;
    let megabytes = match cursor.one_of(&["mb", "gb", "tb"]) {
        Some("mb") => Some(count),
        Some("tb") => count.checked_mul(1 << 20),
        _ => count.checked_mul(1 << 10),
    };
    megabytes
        .map(Quota::Megabytes)
        .ok_or_else(|| error!(NumericValueOutOfRange, "QUOTA is out of range").at(position))
}

/// After ALTER SCHEMA.
pub(super) fn alter_schema(cursor: &mut Cursor) -> Result<Statement> {
    let name = cursor.ident()?;
    let action = if cursor.accept_all(&["rename", "to"]) {
        AlterSchemaAction::RenameTo(cursor.ident()?)
    } else if cursor.accept_all(&["owner", "to"]) {
        AlterSchemaAction::OwnerTo(cursor.ident()?)
    } else if cursor.accept("quota") {
        AlterSchemaAction::Quota(quota(cursor)?)
    } else {
        return Err(cursor.unexpected());
    };
    Ok(Statement::AlterSchema(AlterSchema { name, action }))
}

/// After CONNECTION LIMIT.
pub(super) fn connection_limit(cursor: &mut Cursor) -> Result<ConnectionLimit> {
    if cursor.accept("unlimited") {
        return Ok(ConnectionLimit::Unlimited);
    }
    Ok(ConnectionLimit::Count(cursor.unsigned()?))
}

fn isolation_is_snapshot(cursor: &mut Cursor) -> Result<bool> {
    match cursor.one_of(&["snapshot", "serializable"]) {
        Some(word) => Ok(word == "snapshot"),
        None => Err(cursor.unexpected()),
    }
}

/// After CREATE DATABASE.
pub(super) fn create_database(cursor: &mut Cursor) -> Result<Statement> {
    let name = cursor.ident()?;
    let mut database = CreateDatabase {
        name,
        owner: None,
        connection_limit: None,
        case_insensitive: None,
        snapshot_isolation: None,
    };
    let position = cursor.position();
    if cursor.accept("from") || cursor.is_nth(1, "permissions") {
        let what = match cursor.one_of(&["integration", "arn", "datashare"]) {
            Some(word) => word.to_uppercase(),
            None => "DATASHARE".to_owned(),
        };
        return Err(unsupported(&format!("CREATE DATABASE FROM {what}"), position));
    }
    cursor.accept("with");
    while !cursor.at_end() {
        if cursor.accept("owner") {
            cursor.symbol(&Token::Eq);
            database.owner = Some(cursor.ident()?);
        } else if cursor.accept_all(&["connection", "limit"]) {
            cursor.symbol(&Token::Eq);
            database.connection_limit = Some(connection_limit(cursor)?);
        } else if cursor.accept("collate") {
            let insensitive = collation(cursor)? == Collation::CaseInsensitive;
            database.case_insensitive = Some(insensitive);
        } else if cursor.accept_all(&["isolation", "level"]) {
            database.snapshot_isolation = Some(isolation_is_snapshot(cursor)?);
        } else {
            return Err(cursor.unexpected());
        }
    }
    Ok(Statement::CreateDatabase(database))
}

/// After ALTER DATABASE.
pub(super) fn alter_database(cursor: &mut Cursor) -> Result<Statement> {
    let name = cursor.ident()?;
    let action = if cursor.accept_all(&["rename", "to"]) {
        AlterDatabaseAction::RenameTo(cursor.ident()?)
    } else if cursor.accept_all(&["owner", "to"]) {
        AlterDatabaseAction::OwnerTo(cursor.ident()?)
    } else if cursor.accept_all(&["connection", "limit"]) {
        AlterDatabaseAction::ConnectionLimit(connection_limit(cursor)?)
    } else if cursor.accept("collate") {
        let insensitive = collation(cursor)? == Collation::CaseInsensitive;
        AlterDatabaseAction::CaseInsensitive(insensitive)
    } else if cursor.accept_all(&["isolation", "level"]) {
        AlterDatabaseAction::SnapshotIsolation(isolation_is_snapshot(cursor)?)
    } else {
        return Err(cursor.unexpected());
    };
    Ok(Statement::AlterDatabase(AlterDatabase { name, action }))
}

/// After DROP DATABASE.
pub(super) fn drop_database(cursor: &mut Cursor) -> Result<Statement> {
    let name = cursor.ident()?;
    Ok(Statement::DropDatabase(DropDatabase { name, force: cursor.accept("force") }))
}

/// After COMMENT.
pub(super) fn comment(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect("on")?;
    let position = cursor.position();
    let kinds = ["table", "view", "column", "constraint", "schema", "database"];
    let on = match cursor.one_of(&kinds) {
        Some("table") => CommentOn::Table(cursor.object_name()?),
        Some("view") => CommentOn::View(cursor.object_name()?),
        Some("column") => column(cursor)?,
        Some("constraint") => {
            let name = cursor.ident()?;
            cursor.expect("on")?;
            CommentOn::Constraint { name, table: cursor.object_name()? }
        }
        Some("schema") => CommentOn::Schema(cursor.ident()?),
        Some(_) => CommentOn::Database(cursor.ident()?),
        None => match cursor.peek() {
            Token::Word(word) => {
                let name = format!("COMMENT ON {}", word.value.to_uppercase());
                return Err(unsupported(&name, position));
            }
            _ => return Err(cursor.unexpected()),
        },
    };
    cursor.expect("is")?;
    let text = if cursor.accept("null") { None } else { Some(cursor.string()?) };
    Ok(Statement::Comment(Comment { on, text }))
}

/// `[database.][schema.]table.column`.
fn column(cursor: &mut Cursor) -> Result<CommentOn> {
    let mut parts: Vec<Ident> = vec![cursor.ident()?];
    while parts.len() < 4 && cursor.symbol(&Token::Period) {
        parts.push(cursor.ident()?);
    }
    match parts.pop() {
        Some(column) if !parts.is_empty() => {
            Ok(CommentOn::Column { table: ObjectName(parts), column })
        }
        _ => Err(cursor.unexpected()),
    }
}

/// After ANALYZE.
pub(super) fn analyze(cursor: &mut Cursor) -> Result<Statement> {
    if cursor.accept("compression") {
        let (table, columns) = target(cursor, &["comprows"])?;
        let comp_rows = if cursor.accept("comprows") { Some(cursor.unsigned()?) } else { None };
        return Ok(Statement::AnalyzeCompression(AnalyzeCompression { table, columns, comp_rows }));
    }
    let verbose = cursor.accept("verbose");
    let (table, columns) = target(cursor, &["predicate", "all"])?;
    let scope = cursor.one_of(&["predicate", "all"]);
    if scope.is_some() {
        cursor.expect("columns")?;
    }
    let predicate_columns = scope == Some("predicate");
    Ok(Statement::Analyze(Analyze { verbose, table, columns, predicate_columns }))
}

/// An optional table with an optional column list; `next` are the words that may follow instead.
fn target(cursor: &mut Cursor, next: &[&str]) -> Result<(Option<ObjectName>, Vec<Ident>)> {
    if cursor.at_end() || next.iter().any(|word| cursor.is(word)) {
        return Ok((None, Vec::new()));
    }
    Ok((Some(cursor.object_name()?), cursor.optional_ident_list()?))
}

/// After LOCK.
pub(super) fn lock(cursor: &mut Cursor) -> Result<Statement> {
    cursor.accept("table");
    let tables = cursor.list(Cursor::object_name)?;
    let position = cursor.position();
    if cursor.accept("in") && !cursor.accept_all(&["access", "exclusive", "mode"]) {
        return Err(unsupported("LOCK in a mode other than ACCESS EXCLUSIVE", position));
    }
    if cursor.is("nowait") {
        return Err(unsupported("LOCK … NOWAIT", cursor.position())
            .hint("SET lock_timeout bounds the wait."));
    }
    Ok(Statement::Lock(tables))
}

/// After VACUUM.
pub(super) fn vacuum(cursor: &mut Cursor) -> Result<Statement> {
    let kind = if cursor.accept_all(&["sort", "only"]) {
        VacuumKind::SortOnly
    } else if cursor.accept_all(&["delete", "only"]) {
        VacuumKind::DeleteOnly
    } else {
        match cursor.one_of(&["full", "reindex", "recluster"]) {
            Some("reindex") => VacuumKind::Reindex,
            Some("recluster") => VacuumKind::Recluster,
            _ => VacuumKind::Full,
        }
    };
    let position = cursor.position();
    let table = match target(cursor, &["to", "boost"])? {
        (table, columns) if columns.is_empty() => table,
        _ => return Err(error!(SyntaxError, "VACUUM takes no columns").at(position)),
    };
    let threshold_percent = threshold(cursor)?;
    let boost = cursor.accept("boost");
    let wrong = match kind {
        VacuumKind::Reindex if table.is_none() => "VACUUM REINDEX needs the name of a table",
        VacuumKind::Reindex if threshold_percent.is_some() || boost => {
            "VACUUM REINDEX takes neither TO nor BOOST"
        }
        VacuumKind::Recluster if threshold_percent.is_some() => "VACUUM RECLUSTER takes no TO",
        _ if threshold_percent.is_some() && table.is_none() => {
            "VACUUM … TO needs the name of a table"
        }
        _ => return Ok(Statement::Vacuum(Vacuum { kind, table, threshold_percent, boost })),
    };
    Err(error!(SyntaxError, "{wrong}").at(position))
}

/// `TO n PERCENT` when it is next.
fn threshold(cursor: &mut Cursor) -> Result<Option<u8>> {
    if !cursor.accept("to") {
        return Ok(None);
    }
    let position = cursor.position();
    let percent: u8 = cursor.unsigned()?;
    cursor.expect("percent")?;
    if percent > 100 {
        return Err(
            error!(InvalidParameterValue, "VACUUM threshold {percent} is beyond 100").at(position)
        );
    }
    Ok(Some(percent))
}
