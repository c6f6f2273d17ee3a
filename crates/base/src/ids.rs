//! Ids that cross floors. Each is a newtype, so that none is passed for another.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// The id of a catalog object (database, schema, relation, user): stable for its life,
    /// shown to clients as a PostgreSQL OID. Ids below 100,000 belong to the system.
    Oid(u32)
}
id! {
    /// A column's id within its table: never reused, so that ADD, DROP and RENAME COLUMN
    /// rewrite no segment.
    ColumnId(u32)
}
id! {
    /// A data slice: `0..S` where S is fixed when the cluster is created.
    SliceId(u16)
}
id! {
    /// A compute node.
    NodeId(u16)
}
id! {
    /// A leader's term. Each start appends a record with the next epoch, which fences the last.
    Epoch(u32)
}
id! {
    /// A transaction, unique in its epoch.
    TxnId(u64)
}
id! {
    /// A position in the commit log.
    LogPosition(u64)
}
id! {
    /// A statement, unique in the cluster's life; Redshift's `query` id.
    QueryId(u64)
}

/// The first id given to a user's object.
pub const FIRST_USER_OID: Oid = Oid(100_000);
