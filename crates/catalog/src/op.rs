//! The typed operations that make up transactions: the only way state changes.
//!
//! Owns what is written in a log record. New fields need a serde default, so that older records
//! stay readable; a variant is never renamed.

use std::sync::Arc;

use base::SqlType;
use base::ids::{ColumnId, Oid};
use base::segment::{Deletes, Segment};
use serde::{Deserialize, Serialize};

use crate::object::{
    Cluster, Column, Constraint, Database, DistStyle, Distribution, Isolation, LoadError,
    Privileges, Schema, SortKey, Table, User, Verifiers, View,
};
use crate::routine::Routine;
use crate::statistics::TableStatistics;

/// One change of the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Makes the cluster: its identity, the database `dev` and the schema `public`. Only the
    /// catalog itself writes it, as the first operation of the log.
    CreateCluster(Cluster),
    /// A leader's term begins: drops every temporary relation. Only the catalog itself writes it.
    StartEpoch {
        /// The new epoch, higher than any before.
        epoch: u32,
        /// When, in microseconds since the Unix epoch.
        started_us: i64,
    },
    /// CREATE DATABASE, with its schema `public`.
    CreateDatabase {
        /// The database.
        database: Database,
        /// The id of its schema `public`.
        public_schema: Oid,
    },
    /// ALTER DATABASE.
    AlterDatabase {
        /// The database.
        database: Oid,
        /// What changes.
        change: DatabaseChange,
    },
    /// DROP DATABASE, with all that is in it.
    DropDatabase {
        /// The database.
        database: Oid,
    },
    /// CREATE SCHEMA.
    CreateSchema(Schema),
    /// ALTER SCHEMA.
    AlterSchema {
        /// The schema.
        schema: Oid,
        /// What changes.
        change: SchemaChange,
    },
    /// DROP SCHEMA.
    DropSchema {
        /// The schema.
        schema: Oid,
        /// CASCADE: with its relations and what depends on them.
        cascade: bool,
    },
    /// CREATE TABLE.
    CreateTable(Table),
    /// ALTER TABLE; also renames and re-owns views.
    AlterTable {
        /// The table (or view).
        table: Oid,
        /// What changes.
        change: TableChange,
    },
    /// DROP TABLE or DROP VIEW.
    DropRelation {
        /// The relation.
        relation: Oid,
        /// CASCADE: with the views that depend on it.
        cascade: bool,
    },
    /// Drops all temporary relations of a session that has ended.
    DropTemporaries {
        /// The session's process id.
        session: i32,
    },
    /// CREATE VIEW.
    CreateView(View),
    /// CREATE OR REPLACE VIEW over an existing view: same id, schema and name.
    ReplaceView(View),
    /// CREATE PROCEDURE or FUNCTION.
    CreateRoutine(Box<Routine>),
    /// CREATE OR REPLACE over an existing one: same id, schema, kind, name and input types.
    ReplaceRoutine(Box<Routine>),
    /// ALTER PROCEDURE or FUNCTION.
    AlterRoutine {
        /// The procedure or function.
        routine: Oid,
        /// What changes.
        change: RoutineChange,
    },
    /// DROP PROCEDURE or FUNCTION.
    DropRoutine {
        /// The procedure or function.
        routine: Oid,
        /// CASCADE: with the views that depend on it.
        cascade: bool,
    },
    /// COMMENT ON.
    Comment {
        /// A database, schema, relation, routine or user.
        object: Oid,
        /// The column of a table.
        column: Option<ColumnId>,
        /// The text; `None` removes it.
        text: Option<String>,
    },
    /// Adds rows: COPY, INSERT. Appends of several transactions commute.
    AddSegments {
        /// The table.
        table: Oid,
        /// The new files, durable before the transaction commits.
        #[serde(with = "crate::stored::segments")]
        segments: Vec<Segment>,
        /// The next value of each identity column that gave values.
        #[serde(default)]
        identity_next: Vec<IdentityNext>,
    },
    /// TRUNCATE; with an `AddSegments` after it in the same transaction, a rewrite, which
    /// conflicts with rows added since the transaction's snapshot.
    RemoveAllSegments {
        /// The table.
        table: Oid,
    },
    /// DELETE, UPDATE, MERGE: all deleted rows of some segments, in the place of those recorded
    /// before. Conflicts with a transaction that deleted from, or replaced, the same segments.
    DeleteRows {
        /// The table.
        table: Oid,
        /// What is gone from which segment.
        deletes: Vec<SegmentDeletes>,
    },
    /// VACUUM and compaction: segments that hold the rows that those removed held and nothing
    /// else. Conflicts with a transaction that deleted from, or replaced, the same segments.
    ReplaceSegments {
        /// The table.
        table: Oid,
        /// What goes.
        removed: Vec<SegmentName>,
        /// Their rows.
        #[serde(with = "crate::stored::segments")]
        added: Vec<Segment>,
    },
    /// ANALYZE: in the place of what was known of the table before.
    SetStatistics(Arc<TableStatistics>),
    /// CREATE USER.
    CreateUser(User),
    /// ALTER USER.
    AlterUser {
        /// The user.
        user: Oid,
        /// What changes.
        change: UserChange,
    },
    /// DROP USER; refused while it owns something.
    DropUser {
        /// The user.
        user: Oid,
    },
    /// GRANT.
    Grant {
        /// A database, schema or relation.
        object: Oid,
        /// A user, or PUBLIC.
        grantee: Oid,
        /// The privileges to add.
        privileges: Privileges,
        /// WITH GRANT OPTION.
        with_grant_option: bool,
    },
    /// REVOKE.
    Revoke {
        /// A database, schema or relation.
        object: Oid,
        /// A user, or PUBLIC.
        grantee: Oid,
        /// The privileges to take away.
        privileges: Privileges,
        /// GRANT OPTION FOR: only the right to grant on.
        grant_option_only: bool,
    },
    /// Sets or, with `None`, resets a setting of the whole cluster.
    SetSetting {
        /// Its name.
        name: String,
        /// Its value.
        value: Option<String>,
    },
    /// Rows that COPY refused; the newest 10,000 are kept.
    LoadErrors(Vec<LoadError>),
    /// Files of segments that are gone. Only the catalog's collector writes it.
    CollectFiles {
        /// Files that will be removed from the store: no operation may name them again.
        doomed: Vec<String>,
        /// Doomed files that have been removed.
        removed: Vec<String>,
    },
}

/// A segment of a table, as an operation names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentName {
    /// Its number in the transaction's own state: where to look first.
    #[serde(rename = "n")]
    pub number: u32,
    /// Its path.
    #[serde(rename = "p")]
    pub path: String,
}

impl From<&Segment> for SegmentName {
    fn from(segment: &Segment) -> Self {
        Self { number: segment.number, path: segment.path.clone() }
    }
}

/// The deleted rows of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentDeletes {
    /// The segment.
    pub segment: SegmentName,
    /// All its deleted rows.
    #[serde(with = "crate::stored::deletes")]
    pub deletes: Arc<Deletes>,
}

/// The next value of an identity column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityNext {
    /// The column.
    pub column: ColumnId,
    /// The next value to give.
    pub next: i64,
    /// True when the values came from [`crate::Transaction::reserve_identity`] and so are
    /// nobody else's; false when they were counted on from the snapshot, which conflicts with
    /// another transaction that gave values since.
    #[serde(default)]
    pub reserved: bool,
}

/// What ALTER DATABASE changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DatabaseChange {
    /// RENAME TO.
    Rename(String),
    /// OWNER TO.
    SetOwner(Oid),
    /// ISOLATION LEVEL.
    SetIsolation(Isolation),
    /// CONNECTION LIMIT; `None` is unlimited.
    SetConnectionLimit(Option<u32>),
}

/// What ALTER SCHEMA changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchemaChange {
    /// RENAME TO.
    Rename(String),
    /// OWNER TO.
    SetOwner(Oid),
}

/// What ALTER PROCEDURE and ALTER FUNCTION change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoutineChange {
    /// RENAME TO.
    Rename(String),
    /// OWNER TO.
    SetOwner(Oid),
}

/// What ALTER TABLE changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TableChange {
    /// RENAME TO; also for a view.
    RenameTable(String),
    /// SET SCHEMA; also for a view.
    SetSchema(Oid),
    /// OWNER TO; also for a view.
    SetOwner(Oid),
    /// RENAME COLUMN.
    RenameColumn {
        /// The column.
        column: ColumnId,
        /// Its new name.
        name: String,
    },
    /// ADD COLUMN. The column's id must be the table's `next_column`.
    AddColumn(Column),
    /// DROP COLUMN.
    DropColumn {
        /// The column.
        column: ColumnId,
        /// CASCADE: with the views that depend on the table.
        cascade: bool,
    },
    /// ALTER COLUMN … SET/DROP DEFAULT.
    SetColumnDefault {
        /// The column.
        column: ColumnId,
        /// The SQL text; `None` removes it.
        default: Option<String>,
    },
    /// ALTER COLUMN … TYPE: only a VARCHAR that does not become shorter.
    AlterType {
        /// The column.
        column: ColumnId,
        /// The new type.
        sql_type: SqlType,
    },
    /// ALTER COLUMN … ENCODE: holds for segments written from now on.
    SetColumnEncode {
        /// The column.
        column: ColumnId,
        /// The name that ENCODE declared.
        encode: Option<String>,
    },
    /// ALTER DISTSTYLE / DISTKEY, or AUTO choosing another style. The rows are rewritten in the
    /// same transaction unless the table is empty.
    SetDistribution(Distribution),
    /// ALTER SORTKEY.
    SetSortKey(SortKey),
    /// ADD CONSTRAINT.
    AddConstraint(Constraint),
    /// DROP CONSTRAINT.
    DropConstraint {
        /// Its name.
        name: String,
    },
    /// BACKUP.
    SetBackup(bool),
}

impl TableChange {
    /// True when rows written under the old definition do not fit the new one.
    pub(crate) fn is_structural(&self) -> bool {
        matches!(
            self,
            TableChange::AddColumn(_)
                | TableChange::DropColumn { .. }
                | TableChange::AlterType { .. }
                | TableChange::SetDistribution(_)
                | TableChange::SetSortKey(_)
        )
    }

    /// The effective style when the change moves rows.
    pub(crate) fn new_style(&self) -> Option<DistStyle> {
        match self {
            TableChange::SetDistribution(distribution) => Some(distribution.effective),
            _ => None,
        }
    }
}

/// What ALTER USER changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserChange {
    /// RENAME TO.
    Rename(String),
    /// PASSWORD; all `None` disables it.
    SetVerifiers(Verifiers),
    /// CREATEUSER / NOCREATEUSER.
    SetSuperuser(bool),
    /// CREATEDB / NOCREATEDB.
    SetCreateDb(bool),
    /// VALID UNTIL, in microseconds since the Unix epoch.
    SetValidUntil(Option<i64>),
    /// CONNECTION LIMIT; `None` is unlimited.
    SetConnectionLimit(Option<u32>),
    /// SET or, with `None`, RESET of a setting.
    SetSetting {
        /// Its name.
        name: String,
        /// Its value.
        value: Option<String>,
    },
}
