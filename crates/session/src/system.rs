//! The system tables: virtual relations computed from the catalog snapshot and the leader's own
//! records, declared in one table of tables.
//!
//! They run on the leader only. Nothing here changes anything.

mod builder;
mod context;
pub(crate) mod functions;
mod information_schema;
mod keys;
mod pg_catalog;
mod pg_other;
mod pg_relations;
mod provider;
pub(crate) mod routines;
mod series;
mod stl;
mod stv;
mod svv;
mod upkeep;

use base::SqlType;
use base::ids::Oid;

pub(crate) use builder::{Cell, NULL, batch, row};
pub(crate) use context::{AnyRelation, SystemContext, dist_style_text};
pub(crate) use information_schema::{type_parts, yes_no};
pub(crate) use keys::definition;
pub(crate) use pg_relations::view_text;
pub(crate) use provider::SystemProvider;
pub(crate) use series::table_function;
pub(crate) use svv::shown_style;

/// The rows of a system table.
pub(crate) type Rows = Vec<Vec<Cell>>;

/// A schema of system tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    PgCatalog,
    InformationSchema,
}

impl Space {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Space::PgCatalog => "pg_catalog",
            Space::InformationSchema => "information_schema",
        }
    }

    pub(crate) fn oid(self) -> Oid {
        match self {
            Space::PgCatalog => catalog::PG_CATALOG_SCHEMA_OID,
            Space::InformationSchema => catalog::INFORMATION_SCHEMA_OID,
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Space> {
        [Space::PgCatalog, Space::InformationSchema].into_iter().find(|s| s.name() == name)
    }
}

/// One system table: its columns and the function that gives its rows.
pub(crate) struct SystemTable {
    pub(crate) space: Space,
    pub(crate) name: &'static str,
    /// PostgreSQL's id where clients know it, 0 for one made from the position.
    fixed_oid: u32,
    /// A view towards clients, as Redshift declares it.
    pub(crate) is_view: bool,
    pub(crate) columns: &'static [(&'static str, SqlType)],
    pub(crate) rows: fn(&SystemContext) -> Rows,
}

impl SystemTable {
    pub(crate) const fn table(
        name: &'static str,
        fixed_oid: u32,
        columns: &'static [(&'static str, SqlType)],
        rows: fn(&SystemContext) -> Rows,
    ) -> SystemTable {
        let space = Space::PgCatalog;
        SystemTable { space, name, fixed_oid, is_view: false, columns, rows }
    }

    pub(crate) const fn view(
        space: Space,
        name: &'static str,
        columns: &'static [(&'static str, SqlType)],
        rows: fn(&SystemContext) -> Rows,
    ) -> SystemTable {
        SystemTable { space, name, fixed_oid: 0, is_view: true, columns, rows }
    }
}

/// The ids of system tables without an id of PostgreSQL's: this plus their position.
const FIRST_SYSTEM_OID: u32 = 20_000;

/// A system table with its id.
#[derive(Clone, Copy)]
pub(crate) struct SystemRelation {
    pub(crate) oid: Oid,
    pub(crate) table: &'static SystemTable,
}

impl std::fmt::Debug for SystemRelation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.table.space.name(), self.table.name)
    }
}

/// Every system table.
pub(crate) fn all() -> impl Iterator<Item = SystemRelation> {
    let groups: [&'static [SystemTable]; 9] = [
        pg_relations::TABLES,
        pg_catalog::TABLES,
        keys::TABLES,
        pg_other::TABLES,
        information_schema::TABLES,
        svv::TABLES,
        stv::TABLES,
        stl::TABLES,
        upkeep::TABLES,
    ];
    groups.into_iter().flatten().zip(FIRST_SYSTEM_OID..).map(|(table, made)| {
        let oid = if table.fixed_oid == 0 { made } else { table.fixed_oid };
        SystemRelation { oid: Oid(oid), table }
    })
}

/// The system table of a name.
pub(crate) fn find(space: Space, name: &str) -> Option<SystemRelation> {
    all().find(|relation| relation.table.space == space && relation.table.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_oids_and_columns_are_unique() {
        let (mut names, mut oids) = (HashSet::new(), HashSet::new());
        for relation in all() {
            let name = (relation.table.space.name(), relation.table.name);
            assert!(names.insert(name), "{name:?} twice");
            assert!(oids.insert(relation.oid), "oid of {name:?} twice");
            let mut columns = HashSet::new();
            for (column, _) in relation.table.columns {
                assert!(columns.insert(column), "column {column} of {name:?} twice");
            }
        }
        assert!(names.len() > 80);
    }
}
