//! pg_class and what hangs on it: columns, defaults, comments, and the views over them.

use base::SqlType::{
    AclItemArray, Boolean, Char, Integer, Name, Oid as OidType, QuotedChar, Real, SmallInt, Text,
    TextArray, Timestamp,
};
use base::ids::Oid;
use catalog::{DistStyle, Relation, Table};

use super::builder::{NULL, row};
use super::context::{AnyColumn, AnyRelation, SystemContext};
use super::{Rows, SystemTable};

pub(crate) static TABLES: &[SystemTable] = &[
    SystemTable::table("pg_class", 1259, CLASS, class),
    SystemTable::table("pg_attribute", 1249, ATTRIBUTE, attribute),
    SystemTable::table("pg_attrdef", 2604, ATTRDEF, attrdef),
    SystemTable::table("pg_namespace", 2615, NAMESPACE, namespace),
    SystemTable::table("pg_description", 2609, DESCRIPTION, description),
    SystemTable::table("pg_class_info", 0, CLASS, class),
    SystemTable::table("pg_attribute_info", 0, ATTRIBUTE, attribute),
    SystemTable::view(super::Space::PgCatalog, "pg_tables", PG_TABLES, pg_tables),
    SystemTable::view(super::Space::PgCatalog, "pg_views", PG_VIEWS, pg_views),
    SystemTable::view(super::Space::PgCatalog, "pg_table_def", TABLE_DEF, table_def),
];

type Columns = &'static [(&'static str, base::SqlType)];

/// PostgreSQL 8.0's columns, Redshift's own, then those that later clients ask for.
const CLASS: Columns = &[
    ("oid", OidType),
    ("relname", Name),
    ("relnamespace", OidType),
    ("reltype", OidType),
    ("relowner", Integer),
    ("relam", OidType),
    ("relfilenode", OidType),
    ("reltablespace", OidType),
    ("relpages", Integer),
    ("reltuples", Real),
    ("reltoastrelid", OidType),
    ("reltoastidxid", OidType),
    ("relhasindex", Boolean),
    ("relisshared", Boolean),
    ("relkind", QuotedChar),
    ("relnatts", SmallInt),
    ("relexternid", OidType),
    ("relisreplicated", Boolean),
    ("relispinned", Boolean),
    ("reldiststyle", SmallInt),
    ("relprojbaseid", OidType),
    ("relchecks", SmallInt),
    ("reltriggers", SmallInt),
    ("relukeys", SmallInt),
    ("relfkeys", SmallInt),
    ("relrefs", SmallInt),
    ("relhasoids", Boolean),
    ("relhaspkey", Boolean),
    ("relhasrules", Boolean),
    ("relhassubclass", Boolean),
    ("relacl", AclItemArray),
    ("releffectivediststyle", SmallInt),
    ("relcreationtime", Timestamp),
    ("relhastriggers", Boolean),
    ("relpersistence", QuotedChar),
    ("relispartition", Boolean),
    ("reloftype", OidType),
    ("reloptions", TextArray),
    ("relrowsecurity", Boolean),
    ("relforcerowsecurity", Boolean),
    ("relreplident", QuotedChar),
];

fn class(context: &SystemContext) -> Rows {
    context.relations().iter().map(|relation| class_row(context, relation)).collect()
}

fn class_row(context: &SystemContext, relation: &AnyRelation) -> Vec<super::Cell> {
    let table = relation.table();
    let oid = relation.oid();
    let (rows, bytes) = match table {
        Some(_) => (context.state.table_rows(oid), context.state.table_bytes(oid)),
        None => (0, 0),
    };
    let count = |test: fn(&catalog::Constraint) -> bool| {
        table.map_or(0, |table| table.constraints.iter().filter(|c| test(c)).count())
    };
    let keys = count(|c| matches!(c, catalog::Constraint::PrimaryKey { .. }));
    let unique = count(|c| matches!(c, catalog::Constraint::Unique { .. }));
    let foreign = count(|c| matches!(c, catalog::Constraint::ForeignKey { .. }));
    let created = match relation {
        AnyRelation::User(Relation::Table(table)) => Some(table.created_us),
        AnyRelation::User(Relation::View(view)) => Some(view.created_us),
        _ => None,
    };
    let is_view = relation.kind() == "v";
    let temporary = table.is_some_and(|table| table.temporary.is_some());
    let no: Oid = Oid(0);
    row![
        oid,
        relation.name(),
        relation.namespace(),
        no,
        relation.owner(),
        no,
        oid,
        no,
        // 1 MB blocks, as Redshift counts them.
        bytes.div_ceil(1 << 20),
        rows as f64,
        no,
        no,
        keys + unique > 0,
        false,
        relation.kind(),
        relation.columns().len(),
        no,
        false,
        false,
        table.map_or(0, |table| style_code(table.distribution.declared)),
        no,
        0i32,
        0i32,
        unique,
        foreign,
        0i32,
        false,
        keys > 0,
        is_view,
        false,
        acl(context, oid, relation.owner()),
        table.map_or(0, |table| effective_code(table)),
        created,
        // Tools look for foreign keys only where this is set.
        foreign > 0 || !context.state.dependents(oid).is_empty(),
        if temporary { "t" } else { "p" },
        false,
        no,
        NULL,
        false,
        false,
        "d",
    ]
}

/// `reldiststyle`.
fn style_code(style: DistStyle) -> i16 {
    match style {
        DistStyle::Even => 0,
        DistStyle::Key(_) => 1,
        DistStyle::All => 8,
        DistStyle::Auto => 9,
    }
}

/// `releffectivediststyle`: 10, 11 and 12 for what AUTO chose.
fn effective_code(table: &Table) -> i16 {
    match (table.distribution.declared, table.distribution.effective) {
        (DistStyle::Auto, DistStyle::All) => 10,
        (DistStyle::Auto, DistStyle::Even | DistStyle::Auto) => 11,
        (DistStyle::Auto, DistStyle::Key(_)) => 12,
        (_, effective) => style_code(effective),
    }
}

/// The access list in PostgreSQL's form, `None` where nothing was granted.
pub(crate) fn acl(context: &SystemContext, object: Oid, owner: Oid) -> Option<Vec<String>> {
    let grants = context.state.grants(object);
    if grants.is_empty() {
        return None;
    }
    let owner_name = context.user_name(owner);
    let item = |grant: &catalog::Grant| {
        let grantee = if grant.grantee == catalog::PUBLIC_GRANTEE_OID {
            String::new()
        } else {
            context.user_name(grant.grantee)
        };
        let letters = crate::privileges::letters(grant.privileges, grant.grantable);
        format!("{grantee}={letters}/{owner_name}")
    };
    let mut items = vec![format!("{owner_name}=arwdRxtDA/{owner_name}")];
    items.extend(grants.iter().filter(|grant| !grant.privileges.is_empty()).map(item));
    Some(items)
}

const ATTRIBUTE: Columns = &[
    ("attrelid", OidType),
    ("attname", Name),
    ("atttypid", OidType),
    ("attstattarget", Integer),
    ("attlen", SmallInt),
    ("attnum", SmallInt),
    ("attndims", Integer),
    ("attcacheoff", Integer),
    ("atttypmod", Integer),
    ("attbyval", Boolean),
    ("attstorage", QuotedChar),
    ("attalign", QuotedChar),
    ("attnotnull", Boolean),
    ("atthasdef", Boolean),
    ("attisdropped", Boolean),
    ("attislocal", Boolean),
    ("attinhcount", Integer),
    ("attisdistkey", Boolean),
    ("attispreloaded", Boolean),
    ("attsortkeyord", Integer),
    ("attencodingtype", SmallInt),
    ("attencrypttype", SmallInt),
    ("attcollation", OidType),
    ("attidentity", QuotedChar),
    ("attgenerated", QuotedChar),
    ("attacl", AclItemArray),
    ("attoptions", TextArray),
    ("attfdwoptions", TextArray),
    ("attcompression", QuotedChar),
];

fn attribute(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for relation in context.relations() {
        for column in relation.columns() {
            rows.push(attribute_row(relation.oid(), &column));
        }
    }
    rows
}

fn attribute_row(oid: Oid, column: &AnyColumn) -> Vec<super::Cell> {
    let length = column.sql_type.typlen();
    let by_value = (1..=8).contains(&length);
    row![
        oid,
        &column.name,
        column.sql_type.oid(),
        -1i32,
        length,
        column.number,
        0i32,
        -1i32,
        column.sql_type.typmod(),
        by_value,
        if length < 0 { "x" } else { "p" },
        match length {
            1 => "c",
            2 => "s",
            8.. => "d",
            _ => "i",
        },
        column.not_null,
        column.default.is_some(),
        false,
        true,
        0i32,
        column.dist_key,
        false,
        column.sort_order,
        encoding_code(column.encoding),
        0i32,
        0i32,
        "",
        "",
        NULL,
        NULL,
        NULL,
        "",
    ]
}

/// Redshift's numbers of encodings, which `format_encoding` turns into names.
pub(crate) const ENCODINGS: &[(i16, &str)] = &[
    (0, "none"),
    (1, "bytedict"),
    (2, "delta"),
    (3, "lzo"),
    (4, "mostly8"),
    (5, "mostly16"),
    (6, "mostly32"),
    (7, "runlength"),
    (8, "delta32k"),
    (9, "text255"),
    (10, "text32k"),
    (21, "zstd"),
    (27, "az64"),
];

fn encoding_code(name: &str) -> i16 {
    ENCODINGS.iter().find(|(_, known)| *known == name).map_or(0, |(code, _)| *code)
}

const ATTRDEF: Columns = &[
    ("oid", OidType),
    ("adrelid", OidType),
    ("adnum", SmallInt),
    ("adbin", Text),
    ("adsrc", Text),
];

fn attrdef(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for relation in context.user_relations() {
        let relation = AnyRelation::User(relation);
        for column in relation.columns() {
            if let Some(default) = &column.default {
                let oid = 100_000_000 + i64::from(relation.oid().0) * 16 + i64::from(column.number);
                rows.push(row![oid, relation.oid(), column.number, default, default]);
            }
        }
    }
    rows
}

const NAMESPACE: Columns =
    &[("oid", OidType), ("nspname", Name), ("nspowner", Integer), ("nspacl", AclItemArray)];

fn namespace(context: &SystemContext) -> Rows {
    let spaces = context.namespaces().into_iter();
    spaces
        .map(|space| {
            let list = acl(context, space.oid, space.owner);
            row![space.oid, space.name, space.owner, list]
        })
        .collect()
}

const DESCRIPTION: Columns =
    &[("objoid", OidType), ("classoid", OidType), ("objsubid", Integer), ("description", Text)];

fn description(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for relation in context.user_relations() {
        let oid = relation.oid();
        if let Some(text) = context.state.comment(oid) {
            rows.push(row![oid, 1259u32, 0i32, text]);
        }
        for column in AnyRelation::User(relation).columns() {
            if let Some(text) = column.comment {
                rows.push(row![oid, 1259u32, column.number, text]);
            }
        }
    }
    for space in context.namespaces() {
        if let Some(text) = context.state.comment(space.oid) {
            rows.push(row![space.oid, 2615u32, 0i32, text]);
        }
    }
    rows
}

const PG_TABLES: Columns = &[
    ("schemaname", Name),
    ("tablename", Name),
    ("tableowner", Name),
    ("tablespace", Name),
    ("hasindexes", Boolean),
    ("hasrules", Boolean),
    ("hastriggers", Boolean),
];

fn pg_tables(context: &SystemContext) -> Rows {
    let relations = context.relations().into_iter().filter(|relation| relation.kind() == "r");
    relations
        .map(|relation| {
            row![
                context.namespace_name(relation.namespace()),
                relation.name(),
                context.user_name(relation.owner()),
                NULL,
                false,
                false,
                false,
            ]
        })
        .collect()
}

const PG_VIEWS: Columns =
    &[("schemaname", Name), ("viewname", Name), ("viewowner", Name), ("definition", Text)];

fn pg_views(context: &SystemContext) -> Rows {
    let views = context.relations().into_iter().filter(|relation| relation.kind() == "v");
    views
        .map(|relation| {
            let definition = match &relation {
                AnyRelation::User(Relation::View(view)) => Some(view_text(view)),
                _ => None,
            };
            row![
                context.namespace_name(relation.namespace()),
                relation.name(),
                context.user_name(relation.owner()),
                definition,
            ]
        })
        .collect()
}

/// A view's query as `pg_get_viewdef` gives it; late-binding views show their whole DDL, as
/// Redshift does.
pub(crate) fn view_text(view: &catalog::View) -> String {
    let query = view.sql.trim().trim_end_matches(';');
    if view.late_binding {
        let name = base::ident::quote(&view.name);
        format!("create view {name} as {query} with no schema binding;")
    } else {
        format!("{query};")
    }
}

const TABLE_DEF: Columns = &[
    ("schemaname", Name),
    ("tablename", Name),
    ("column", Name),
    ("type", Text),
    ("encoding", Char(32)),
    ("distkey", Boolean),
    ("sortkey", Integer),
    ("notnull", Boolean),
];

/// Only tables in schemas of the search path, as documented.
fn table_def(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for relation in context.relations() {
        let schema = context.namespace_name(relation.namespace());
        let temporary = relation.namespace() == catalog::PG_TEMP_SCHEMA_OID;
        let shown = temporary || schema == "pg_catalog" || context.search_path.contains(&schema);
        if relation.kind() != "r" || !shown {
            continue;
        }
        for column in relation.columns() {
            rows.push(row![
                &schema,
                relation.name(),
                column.name,
                column.sql_type.to_string(),
                column.encoding,
                column.dist_key,
                column.sort_order,
                column.not_null,
            ]);
        }
    }
    rows
}
