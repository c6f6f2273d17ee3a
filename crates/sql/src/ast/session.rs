//! Session statements: settings, transactions, cursors.

use base::SqlType;

use super::{Ident, ObjectName, Query, RoutineName};

/// SET.
#[derive(Clone, Debug)]
pub struct Set {
    /// SET LOCAL: until the end of the transaction.
    pub local: bool,
    pub what: SetWhat,
}

#[derive(Clone, Debug)]
pub enum SetWhat {
    /// SET name {TO|=} value[, value …]; the name may have a dot. Several words of a value list
    /// stay apart: `search_path TO a, b`.
    Parameter { name: Ident, value: SetValue },
    /// SET TIME ZONE value.
    TimeZone(SetValue),
    /// SET SESSION AUTHORIZATION name; `None` is DEFAULT.
    SessionAuthorization(Option<String>),
    /// SET SESSION CHARACTERISTICS AS TRANSACTION modes.
    SessionCharacteristics(TransactionModes),
    /// SET TRANSACTION modes.
    Transaction(TransactionModes),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetValue {
    Default,
    /// Literals without their quotes, identifiers folded, numbers as written.
    Values(Vec<String>),
}

/// ALTER SYSTEM SET: a setting of the whole cluster.
#[derive(Clone, Debug)]
pub struct AlterSystem {
    pub name: Ident,
    pub value: SetValue,
}

/// RESET.
#[derive(Clone, Debug)]
pub enum Reset {
    All,
    Parameter(Ident),
    SessionAuthorization,
}

/// A name or string that a prepared statement may leave to a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A folded name or a literal, with its position.
    Text(Ident),
    /// `$n`, 1-based.
    Parameter(u16),
}

/// SHOW.
#[derive(Clone, Debug)]
pub enum Show {
    All,
    /// A setting; words of one name are joined: `transaction_isolation` for
    /// `TRANSACTION ISOLATION LEVEL`, `timezone` for `TIME ZONE`.
    Parameter(Ident),
    Databases {
        filter: ShowFilter,
    },
    Schemas {
        database: Operand,
        filter: ShowFilter,
    },
    Tables {
        /// `[database, schema]` or `[schema]`.
        schema: Vec<Operand>,
        filter: ShowFilter,
    },
    Columns {
        /// One to three parts, the table last.
        table: Vec<Operand>,
        filter: ShowFilter,
    },
    PrimaryKeys {
        table: Vec<Operand>,
    },
    ForeignKeys {
        table: Vec<Operand>,
        exported: bool,
    },
    Grants {
        on: Option<GrantsOn>,
        /// FOR user, ROLE r, GROUP g.
        to: Option<Operand>,
        filter: ShowFilter,
        /// SHOW COLUMN GRANTS.
        columns: bool,
    },
    Procedures {
        schema: Vec<Operand>,
        filter: ShowFilter,
    },
    Functions {
        schema: Vec<Operand>,
        filter: ShowFilter,
    },
    Parameters {
        /// True for FUNCTION, false for PROCEDURE.
        function: bool,
        name: Vec<Operand>,
        /// The types of its input arguments.
        arguments: Option<Vec<SqlType>>,
        filter: ShowFilter,
    },
    /// SHOW PROCEDURE name: its DDL.
    Procedure(RoutineName),
    /// SHOW TABLE name: its DDL.
    Table(ObjectName),
    /// SHOW VIEW name: its DDL.
    View(ObjectName),
}

#[derive(Clone, Debug)]
pub struct GrantsOn {
    /// `TABLE`, `SCHEMA`, `DATABASE`, `FUNCTION`, `PROCEDURE`.
    pub kind: String,
    pub name: Vec<Operand>,
    /// The types of a routine's input arguments.
    pub arguments: Option<Vec<SqlType>>,
}

/// LIKE pattern and LIMIT of a SHOW.
#[derive(Clone, Debug, Default)]
pub struct ShowFilter {
    pub like: Option<Operand>,
    pub limit: Option<Operand>,
}

/// BEGIN or START TRANSACTION.
#[derive(Clone, Debug)]
pub struct Begin {
    /// BEGIN or START TRANSACTION, which is also the tag.
    pub command: &'static str,
    pub modes: TransactionModes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionModes {
    pub isolation: Option<Isolation>,
    pub read_only: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
    Snapshot,
}

/// DECLARE name CURSOR … FOR query.
#[derive(Clone, Debug)]
pub struct DeclareCursor {
    pub name: Ident,
    pub query: Query,
    /// WITH HOLD.
    pub hold: bool,
}

/// FETCH or MOVE.
#[derive(Clone, Debug)]
pub struct Fetch {
    pub cursor: Ident,
    pub count: FetchCount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchCount {
    All,
    Rows(u64),
}
