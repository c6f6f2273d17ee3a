//! Floor 1: the catalog and its commit log.
//!
//! Owns what the warehouse knows (databases, schemas, relations, segments, users, grants), the
//! one log in the object store that makes it durable, transactions over it, and which data
//! files belong to nobody. Knows nothing of SQL text, of what is in a segment file, or of where
//! the store is.

mod catalog;
mod checkpoint;
mod collect;
mod commit;
mod garbage;
mod history;
pub mod object;
pub mod op;
mod record;
mod routine;
mod serializable;
mod start;
mod state;
mod statistics;
mod stored;
mod transaction;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use catalog::{Catalog, Options};
pub use collect::Collected;
pub use history::{Dropped, RETENTION_SETTING};
pub use object::{
    ADMIN_USER_OID, Cluster, Column, Constraint, DEV_DATABASE_OID, Database, DistStyle,
    Distribution, Grant, INFORMATION_SCHEMA_OID, Identity, Isolation, LOAD_ERRORS_MAX, LoadError,
    PG_CATALOG_SCHEMA_OID, PG_TEMP_SCHEMA_OID, PUBLIC_GRANTEE_OID, PUBLIC_SCHEMA_OID, Privileges,
    Relation, SYSTEM_USER_OID, Schema, SortKey, Table, User, Verifiers, View, ViewColumn,
};
pub use op::{
    DatabaseChange, IdentityNext, Op, RoutineChange, SchemaChange, SegmentDeletes, SegmentName,
    TableChange, UserChange,
};
pub use routine::{ArgumentMode, Routine, RoutineArgument, RoutineKind, Volatility};
pub use state::State;
pub use statistics::{Changes, SHARE_WHOLE, TableStatistics, ValueDistribution};
pub use transaction::{Savepoint, Transaction};
