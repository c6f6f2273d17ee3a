//! Schemas, databases, comments and upkeep.

use super::{Ident, ObjectName};

/// CREATE SCHEMA.
#[derive(Clone, Debug)]
pub struct CreateSchema {
    pub name: Ident,
    /// `database.schema` when a database is given.
    pub database: Option<Ident>,
    pub if_not_exists: bool,
    pub authorization: Option<Ident>,
    pub quota: Option<Quota>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    Unlimited,
    Megabytes(u64),
}

/// ALTER SCHEMA.
#[derive(Clone, Debug)]
pub struct AlterSchema {
    pub name: Ident,
    pub action: AlterSchemaAction,
}

#[derive(Clone, Debug)]
pub enum AlterSchemaAction {
    RenameTo(Ident),
    OwnerTo(Ident),
    Quota(Quota),
}

/// CREATE DATABASE.
#[derive(Clone, Debug)]
pub struct CreateDatabase {
    pub name: Ident,
    pub owner: Option<Ident>,
    pub connection_limit: Option<ConnectionLimit>,
    pub case_insensitive: Option<bool>,
    /// ISOLATION LEVEL SNAPSHOT (true) or SERIALIZABLE (false).
    pub snapshot_isolation: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLimit {
    Unlimited,
    Count(u32),
}

/// ALTER DATABASE.
#[derive(Clone, Debug)]
pub struct AlterDatabase {
    pub name: Ident,
    pub action: AlterDatabaseAction,
}

#[derive(Clone, Debug)]
pub enum AlterDatabaseAction {
    RenameTo(Ident),
    OwnerTo(Ident),
    ConnectionLimit(ConnectionLimit),
    CaseInsensitive(bool),
    SnapshotIsolation(bool),
}

/// DROP DATABASE.
#[derive(Clone, Debug)]
pub struct DropDatabase {
    pub name: Ident,
    pub force: bool,
}

/// COMMENT ON … IS.
#[derive(Clone, Debug)]
pub struct Comment {
    pub on: CommentOn,
    /// `None` removes it.
    pub text: Option<String>,
}

#[derive(Clone, Debug)]
pub enum CommentOn {
    Table(ObjectName),
    View(ObjectName),
    /// The table's name and the column.
    Column {
        table: ObjectName,
        column: Ident,
    },
    Constraint {
        name: Ident,
        table: ObjectName,
    },
    Schema(Ident),
    Database(Ident),
}

/// ANALYZE.
#[derive(Clone, Debug)]
pub struct Analyze {
    pub verbose: bool,
    /// `None`: all tables of the database.
    pub table: Option<ObjectName>,
    pub columns: Vec<Ident>,
    pub predicate_columns: bool,
}

/// ANALYZE COMPRESSION.
#[derive(Clone, Debug)]
pub struct AnalyzeCompression {
    pub table: Option<ObjectName>,
    pub columns: Vec<Ident>,
    pub comp_rows: Option<u64>,
}

/// VACUUM.
#[derive(Clone, Debug)]
pub struct Vacuum {
    pub kind: VacuumKind,
    /// `None`: all tables of the database.
    pub table: Option<ObjectName>,
    pub threshold_percent: Option<u8>,
    pub boost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VacuumKind {
    Full,
    SortOnly,
    DeleteOnly,
    Reindex,
    Recluster,
}
