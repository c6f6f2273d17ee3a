//! The objects that the catalog holds: plain values, changed only by replacing them.
//!
//! Owns their shape and what is stored of them. Which changes are allowed is `state::apply`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::SqlType;
use base::client::{DigestVerifier, ScramVerifier};
use base::ids::{ColumnId, Oid, QueryId, SliceId};
use base::segment::Datum;
use serde::{Deserialize, Serialize};

/// The user that owns what the system makes (Redshift's `rdsdb`); it cannot log in and is not
/// stored.
pub const SYSTEM_USER_OID: Oid = Oid(1);
/// The id that the caller gives the admin user of a fresh cluster, as on Redshift.
pub const ADMIN_USER_OID: Oid = Oid(100);
/// The database `dev` of a fresh cluster.
pub const DEV_DATABASE_OID: Oid = Oid(50_000);
/// The schema `public` of the database `dev`.
pub const PUBLIC_SCHEMA_OID: Oid = Oid(2_200);
/// The schema `pg_catalog`: virtual, the same in every database, not stored.
pub const PG_CATALOG_SCHEMA_OID: Oid = Oid(11);
/// The schema `information_schema`: virtual, not stored.
pub const INFORMATION_SCHEMA_OID: Oid = Oid(12);
/// The schema of temporary relations: virtual; their names are looked up per session with
/// [`crate::State::temporary`], so that two sessions can use one name.
pub const PG_TEMP_SCHEMA_OID: Oid = Oid(13);
/// The pseudo-user PUBLIC in grants.
pub const PUBLIC_GRANTEE_OID: Oid = Oid(0);

/// What is fixed when a cluster is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// A random id, so that two clusters never take one another's files for their own.
    pub id: String,
    /// The number of data slices S.
    pub slices: u16,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_us: i64,
}

/// The isolation level of a database's transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// Snapshot isolation, Redshift's default.
    #[default]
    Snapshot,
    /// Serializable.
    Serializable,
}

/// A database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its id.
    pub oid: Oid,
    /// Its name, folded.
    pub name: String,
    /// The user that owns it.
    pub owner: Oid,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_us: i64,
    /// The isolation level of its transactions.
    #[serde(default)]
    pub isolation: Isolation,
    /// The most sessions at once; `None` is unlimited.
    #[serde(default)]
    pub connection_limit: Option<u32>,
}

/// A schema.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Its id.
    pub oid: Oid,
    /// The database it belongs to.
    pub database: Oid,
    /// Its name, folded.
    pub name: String,
    /// The user that owns it.
    pub owner: Oid,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_us: i64,
}

/// A table or a view.
#[derive(Clone, Debug, PartialEq)]
pub enum Relation {
    /// A table with segments.
    Table(Arc<Table>),
    /// A view: a query by name.
    View(Arc<View>),
}

impl Relation {
    /// Its id.
    pub fn oid(&self) -> Oid {
        match self {
            Relation::Table(table) => table.oid,
            Relation::View(view) => view.oid,
        }
    }

    /// Its name, folded.
    pub fn name(&self) -> &str {
        match self {
            Relation::Table(table) => &table.name,
            Relation::View(view) => &view.name,
        }
    }

    /// The schema it belongs to.
    pub fn schema(&self) -> Oid {
        match self {
            Relation::Table(table) => table.schema,
            Relation::View(view) => view.schema,
        }
    }

    /// The user that owns it.
    pub fn owner(&self) -> Oid {
        match self {
            Relation::Table(table) => table.owner,
            Relation::View(view) => view.owner,
        }
    }

    /// `table` or `view`, as messages name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Relation::Table(_) => "table",
            Relation::View(_) => "view",
        }
    }

    /// The table, unless it is a view.
    pub fn table(&self) -> Option<&Arc<Table>> {
        match self {
            Relation::Table(table) => Some(table),
            Relation::View(_) => None,
        }
    }

    /// The view, unless it is a table.
    pub fn view(&self) -> Option<&Arc<View>> {
        match self {
            Relation::Table(_) => None,
            Relation::View(view) => Some(view),
        }
    }
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Its id.
    pub oid: Oid,
    /// The schema it belongs to; [`PG_TEMP_SCHEMA_OID`] for a temporary table.
    pub schema: Oid,
    /// Its name, folded.
    pub name: String,
    /// The user that owns it.
    pub owner: Oid,
    /// The columns in order.
    pub columns: Vec<Column>,
    /// The id that the next column added will have; ids are never reused.
    pub next_column: ColumnId,
    /// Where rows live.
    pub distribution: Distribution,
    /// The order of rows within a segment.
    pub sort_key: SortKey,
    /// Constraints, recorded for planners and tools and not enforced.
    pub constraints: Vec<Constraint>,
    /// `BACKUP YES`.
    pub backup: bool,
    /// The process id of the session that a temporary table belongs to.
    pub temporary: Option<i32>,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_us: i64,
    /// What COMMENT ON TABLE set.
    #[serde(default)]
    pub comment: Option<String>,
}

impl Table {
    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The column with this id.
    pub fn column_by_id(&self, id: ColumnId) -> Option<&Column> {
        self.columns.iter().find(|column| column.id == id)
    }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its id within the table.
    pub id: ColumnId,
    /// Its name, folded.
    pub name: String,
    /// Its type.
    pub sql_type: SqlType,
    /// False for NOT NULL.
    pub nullable: bool,
    /// The SQL text of DEFAULT.
    #[serde(default)]
    pub default: Option<String>,
    /// IDENTITY or GENERATED BY DEFAULT AS IDENTITY.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// The name that ENCODE declared, as written in lower case.
    #[serde(default)]
    pub encode: Option<String>,
    /// COLLATE CASE_INSENSITIVE.
    #[serde(default)]
    pub case_insensitive: bool,
    /// What COMMENT ON COLUMN set.
    #[serde(default)]
    pub comment: Option<String>,
    /// The value of rows older than the column; `None` is NULL. Given when the column is added,
    /// and never changed: a later DEFAULT is not for older rows.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::stored::datum")]
    pub fill: Option<Datum>,
}

/// How an identity column counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The first value.
    pub seed: i64,
    /// The distance between values.
    pub step: i64,
    /// GENERATED BY DEFAULT: an explicit value is taken.
    pub by_default: bool,
}

/// The distribution that was declared and the one in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// As in the DDL.
    pub declared: DistStyle,
    /// As rows are placed now; never [`DistStyle::Auto`].
    pub effective: DistStyle,
}

/// DISTSTYLE with its DISTKEY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DistStyle {
    /// Left to the system.
    Auto,
    /// Round robin over the slices.
    #[default]
    Even,
    /// By the hash of the DISTKEY.
    Key(ColumnId),
    /// One copy that every node reads.
    All,
}

/// SORTKEY.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortKey {
    /// Rows stay as they came.
    #[default]
    None,
    /// Left to the system.
    Auto,
    /// Lexicographic order of the columns.
    Compound(Vec<ColumnId>),
    /// Equal weight for each column.
    Interleaved(Vec<ColumnId>),
}

impl SortKey {
    /// The columns of the key.
    pub fn columns(&self) -> &[ColumnId] {
        match self {
            SortKey::None | SortKey::Auto => &[],
            SortKey::Compound(columns) | SortKey::Interleaved(columns) => columns,
        }
    }
}

/// An informational constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Constraint {
    /// PRIMARY KEY.
    PrimaryKey {
        /// The constraint's name.
        name: String,
        /// Its columns in order.
        columns: Vec<ColumnId>,
    },
    /// UNIQUE.
    Unique {
        /// The constraint's name.
        name: String,
        /// Its columns in order.
        columns: Vec<ColumnId>,
    },
    /// FOREIGN KEY.
    ForeignKey {
        /// The constraint's name.
        name: String,
        /// The referencing columns in order.
        columns: Vec<ColumnId>,
        /// The referenced table.
        table: Oid,
        /// The referenced columns in order.
        references: Vec<ColumnId>,
    },
}

impl Constraint {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Constraint::PrimaryKey { name, .. }
            | Constraint::Unique { name, .. }
            | Constraint::ForeignKey { name, .. } => name,
        }
    }

    /// The columns of the table that it constrains.
    pub fn columns(&self) -> &[ColumnId] {
        match self {
            Constraint::PrimaryKey { columns, .. }
            | Constraint::Unique { columns, .. }
            | Constraint::ForeignKey { columns, .. } => columns,
        }
    }

    /// The table that a foreign key references.
    pub fn referenced(&self) -> Option<Oid> {
        match self {
            Constraint::ForeignKey { table, .. } => Some(*table),
            _ => None,
        }
    }
}

/// A view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Its id.
    pub oid: Oid,
    /// The schema it belongs to.
    pub schema: Oid,
    /// Its name, folded.
    pub name: String,
    /// The user that owns it.
    pub owner: Oid,
    /// The SQL text of its query.
    pub sql: String,
    /// Its columns in order.
    pub columns: Vec<ViewColumn>,
    /// WITH NO SCHEMA BINDING: bound when it is used, depends on nothing.
    pub late_binding: bool,
    /// The search path under which `sql` was written.
    pub search_path: Vec<String>,
    /// The relations that `sql` names, which cannot be dropped without CASCADE.
    pub depends_on: Vec<Oid>,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_us: i64,
}

/// A column of a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub sql_type: SqlType,
}

/// What is kept of a user's password; all `None` for a disabled one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifiers {
    /// Redshift's digest.
    #[serde(default)]
    pub digest: Option<DigestVerifier>,
    /// SCRAM-SHA-256.
    #[serde(default)]
    pub scram: Option<ScramVerifier>,
    /// Hex MD5(password ‖ user), for users made with an md5 hash.
    #[serde(default)]
    pub md5: Option<String>,
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub oid: Oid,
    /// Its name, folded.
    pub name: String,
    /// CREATEUSER.
    pub superuser: bool,
    /// CREATEDB.
    pub create_db: bool,
    /// What is kept of the password.
    pub verifiers: Verifiers,
    /// VALID UNTIL, in microseconds since the Unix epoch.
    #[serde(default)]
    pub valid_until_us: Option<i64>,
    /// CONNECTION LIMIT; `None` is unlimited.
    #[serde(default)]
    pub connection_limit: Option<u32>,
    /// What ALTER USER … SET set.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// Privileges as a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Privileges(pub u32);

impl Privileges {
    /// SELECT.
    pub const SELECT: Privileges = Privileges(1);
    /// INSERT.
    pub const INSERT: Privileges = Privileges(1 << 1);
    /// UPDATE.
    pub const UPDATE: Privileges = Privileges(1 << 2);
    /// DELETE.
    pub const DELETE: Privileges = Privileges(1 << 3);
    /// REFERENCES.
    pub const REFERENCES: Privileges = Privileges(1 << 4);
    /// DROP.
    pub const DROP: Privileges = Privileges(1 << 5);
    /// TRUNCATE.
    pub const TRUNCATE: Privileges = Privileges(1 << 6);
    /// ALTER.
    pub const ALTER: Privileges = Privileges(1 << 7);
    /// USAGE.
    pub const USAGE: Privileges = Privileges(1 << 8);
    /// CREATE.
    pub const CREATE: Privileges = Privileges(1 << 9);
    /// TEMPORARY.
    pub const TEMPORARY: Privileges = Privileges(1 << 10);
    /// EXECUTE.
    pub const EXECUTE: Privileges = Privileges(1 << 11);

    /// Both sets together.
    pub fn union(self, other: Privileges) -> Privileges {
        Privileges(self.0 | other.0)
    }

    /// This set without `other`.
    pub fn without(self, other: Privileges) -> Privileges {
        Privileges(self.0 & !other.0)
    }

    /// True when all of `other` is in this set.
    pub fn contains(self, other: Privileges) -> bool {
        self.0 & other.0 == other.0
    }

    /// True when no privilege is in this set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What a user holds on an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// A database, schema or relation.
    pub object: Oid,
    /// A user, or [`PUBLIC_GRANTEE_OID`].
    pub grantee: Oid,
    /// What may be done.
    pub privileges: Privileges,
    /// What may be granted on (WITH GRANT OPTION).
    #[serde(default)]
    pub grantable: Privileges,
}

/// A row that COPY refused: a row of `stl_load_errors`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadError {
    /// The COPY's query id.
    pub query: QueryId,
    /// The target table.
    pub table: Oid,
    /// The target table's name, kept because the table may be dropped.
    pub table_name: String,
    /// The slice that parsed the row.
    pub slice: SliceId,
    /// When the load started, in microseconds since the Unix epoch.
    pub started_us: i64,
    /// The file.
    pub file: String,
    /// The line in the file, 1-based.
    pub line: u64,
    /// The column's name, empty when the row as a whole is at fault.
    pub column: String,
    /// The column's type, as `svv_table_info` names it.
    pub column_type: String,
    /// The column's declared length, as text.
    pub column_length: String,
    /// The position of the field in the line, in characters from 0.
    pub position: u32,
    /// The line, at most 1,024 characters.
    pub raw_line: String,
    /// The field, at most 1,024 characters.
    pub raw_field: String,
    /// Redshift's error code.
    pub code: i32,
    /// Why the row was refused.
    pub reason: String,
    /// The user who ran the COPY.
    pub user: Oid,
    /// The process id of the session.
    pub session: i32,
}

/// How many of the newest load errors are kept.
pub const LOAD_ERRORS_MAX: usize = 10_000;
