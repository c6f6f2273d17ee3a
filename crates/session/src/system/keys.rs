//! Constraints, the indexes that stand for keys, and dependencies of views.

use base::SqlType::{
    self, Boolean, Int2Array, Int2Vector, Integer, Name, Oid as OidType, OidVector, QuotedChar,
    SmallInt, Text,
};
use catalog::{Constraint, Relation, Table};

use super::builder::{NULL, row};
use super::context::{SystemContext, constraint_oid, keys_of, positions};
use super::{Rows, Space, SystemTable};

pub(crate) static TABLES: &[SystemTable] = &[
    SystemTable::table("pg_constraint", 2606, CONSTRAINT, constraints),
    SystemTable::table("pg_index", 2610, INDEX, indexes),
    SystemTable::view(Space::PgCatalog, "pg_indexes", INDEXES, index_texts),
    SystemTable::table("pg_depend", 2608, DEPEND, depend),
    SystemTable::table("pg_rewrite", 2618, REWRITE, rewrite),
];

type Columns = &'static [(&'static str, SqlType)];

const CONSTRAINT: Columns = &[
    ("oid", OidType),
    ("conname", Name),
    ("connamespace", OidType),
    ("contype", QuotedChar),
    ("condeferrable", Boolean),
    ("condeferred", Boolean),
    ("conrelid", OidType),
    ("contypid", OidType),
    ("confrelid", OidType),
    ("confupdtype", QuotedChar),
    ("confdeltype", QuotedChar),
    ("confmatchtype", QuotedChar),
    ("conkey", Int2Array),
    ("confkey", Int2Array),
    ("conbin", Text),
    ("consrc", Text),
    ("conindid", OidType),
    ("conparentid", OidType),
    ("convalidated", Boolean),
    ("conislocal", Boolean),
];

fn constraints(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for relation in context.user_relations() {
        let Relation::Table(table) = relation else { continue };
        for (i, constraint) in table.constraints.iter().enumerate() {
            rows.push(constraint_row(context, &table, i, constraint));
        }
    }
    rows
}

fn constraint_row(
    context: &SystemContext,
    table: &Table,
    position: usize,
    constraint: &Constraint,
) -> Vec<super::Cell> {
    let oid = constraint_oid(table.oid, position);
    let (kind, referenced, columns) = match constraint {
        Constraint::PrimaryKey { .. } => ("p", None, None),
        Constraint::Unique { .. } => ("u", None, None),
        Constraint::ForeignKey { table: other, references, .. } => {
            let other = context.state.relation_by_oid(*other);
            let other = other.as_ref().and_then(Relation::table).cloned();
            let columns = other.as_ref().map(|other| positions(other, references));
            ("f", other.map(|other| other.oid), columns)
        }
    };
    let foreign = referenced.is_some();
    row![
        oid,
        constraint.name(),
        table.schema,
        kind,
        false,
        false,
        table.oid,
        0u32,
        referenced.map_or(0, |oid| oid.0),
        if foreign { "a" } else { " " },
        if foreign { "a" } else { " " },
        if foreign { "s" } else { " " },
        positions(table, constraint.columns()),
        columns,
        NULL,
        NULL,
        if foreign { 0 } else { oid.0 + 32 },
        0u32,
        true,
        true,
    ]
}

/// `pg_get_constraintdef`.
pub(crate) fn constraint_text(context: &SystemContext, oid: i64) -> Option<String> {
    for relation in context.user_relations() {
        let Relation::Table(table) = relation else { continue };
        for (i, constraint) in table.constraints.iter().enumerate() {
            if i64::from(constraint_oid(table.oid, i).0) == oid {
                return Some(definition(context, &table, constraint));
            }
        }
    }
    None
}

fn names(table: &Table, columns: &[base::ids::ColumnId]) -> String {
    let names = columns.iter().filter_map(|id| table.column_by_id(*id));
    names.map(|column| base::ident::quote(&column.name)).collect::<Vec<_>>().join(", ")
}

/// A constraint as it stands in DDL.
pub(crate) fn definition(
    context: &SystemContext,
    table: &Table,
    constraint: &Constraint,
) -> String {
    let columns = names(table, constraint.columns());
    match constraint {
        Constraint::PrimaryKey { .. } => format!("PRIMARY KEY ({columns})"),
        Constraint::Unique { .. } => format!("UNIQUE ({columns})"),
        Constraint::ForeignKey { table: other, references, .. } => {
            match context.state.relation_by_oid(*other) {
                Some(Relation::Table(other)) => {
                    let schema = context.namespace_name(other.schema);
                    let visible = context.search_path.contains(&schema);
                    let prefix = if visible {
                        String::new()
                    } else {
                        format!("{}.", base::ident::quote(&schema))
                    };
                    format!(
                        "FOREIGN KEY ({columns}) REFERENCES {prefix}{}({})",
                        base::ident::quote(&other.name),
                        names(&other, references)
                    )
                }
                _ => format!("FOREIGN KEY ({columns})"),
            }
        }
    }
}

const INDEX: Columns = &[
    ("indexrelid", OidType),
    ("indrelid", OidType),
    ("indkey", Int2Vector),
    ("indclass", OidVector),
    ("indnatts", SmallInt),
    ("indisunique", Boolean),
    ("indisprimary", Boolean),
    ("indisclustered", Boolean),
    ("indexprs", Text),
    ("indpred", Text),
    ("indisvalid", Boolean),
    ("indisreplident", Boolean),
    ("indisexclusion", Boolean),
    ("indimmediate", Boolean),
    ("indoption", Int2Vector),
    ("indnkeyatts", SmallInt),
];

/// Keys are informational; tools find primary keys through pg_index all the same.
fn indexes(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for relation in context.user_relations() {
        let Relation::Table(table) = relation else { continue };
        for key in keys_of(&table) {
            let columns = positions(&table, &key.columns);
            let count = columns.len();
            rows.push(row![
                key.oid,
                table.oid,
                columns,
                vec![0i64; count],
                count,
                true,
                key.primary,
                false,
                NULL,
                NULL,
                true,
                false,
                false,
                true,
                vec![0i64; count],
                count,
            ]);
        }
    }
    rows
}

const INDEXES: Columns = &[
    ("schemaname", Name),
    ("tablename", Name),
    ("indexname", Name),
    ("tablespace", Name),
    ("indexdef", Text),
];

fn index_texts(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for relation in context.user_relations() {
        let Relation::Table(table) = relation else { continue };
        for key in keys_of(&table) {
            let text = index_text(context, &key);
            let schema = context.namespace_name(table.schema);
            rows.push(row![schema, &table.name, key.name, NULL, text]);
        }
    }
    rows
}

/// `pg_get_indexdef` of the index that stands for a key.
pub(crate) fn index_text(context: &SystemContext, key: &super::context::Key) -> String {
    format!(
        "CREATE UNIQUE INDEX {} ON {}.{} USING btree ({})",
        base::ident::quote(&key.name),
        base::ident::quote(&context.namespace_name(key.table.schema)),
        base::ident::quote(&key.table.name),
        names(&key.table, &key.columns)
    )
}

const DEPEND: Columns = &[
    ("classid", OidType),
    ("objid", OidType),
    ("objsubid", Integer),
    ("refclassid", OidType),
    ("refobjid", OidType),
    ("refobjsubid", Integer),
    ("deptype", QuotedChar),
];

/// A view hangs on its relations through its rewrite rule, as in PostgreSQL: dbt and
/// SQLAlchemy walk pg_depend → pg_rewrite → pg_class.
fn depend(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for relation in context.user_relations() {
        let Relation::View(view) = relation else { continue };
        let rule = rule_oid(view.oid);
        rows.push(row![2618u32, rule, 0i32, 1259u32, view.oid, 0i32, "i"]);
        for used in &view.depends_on {
            rows.push(row![2618u32, rule, 0i32, 1259u32, *used, 0i32, "n"]);
        }
    }
    rows
}

fn rule_oid(view: base::ids::Oid) -> u32 {
    view.0.wrapping_add(2_000_000_000)
}

const REWRITE: Columns = &[
    ("oid", OidType),
    ("rulename", Name),
    ("ev_class", OidType),
    ("ev_attr", SmallInt),
    ("ev_type", QuotedChar),
    ("is_instead", Boolean),
    ("ev_qual", Text),
    ("ev_action", Text),
    ("ev_enabled", QuotedChar),
];

fn rewrite(context: &SystemContext) -> Rows {
    let relations = context.user_relations().into_iter();
    relations
        .filter_map(|relation| relation.view().cloned())
        .map(|view| {
            row![rule_oid(view.oid), "_RETURN", view.oid, -1i32, "1", true, NULL, NULL, "O"]
        })
        .collect()
}
