//! Redshift's views of the catalog: `svv_…`.

use base::SqlType::{
    self, Boolean, Char, Decimal, Integer, Oid as OidType, Text, Timestamp, Varchar,
};
use catalog::{Relation, Table};

use super::builder::{Cell, NULL, row};
use super::context::{SystemContext, dist_style_text, encoding_name};
use super::information_schema::{table_type, type_parts, visible, yes_no};
use super::{Rows, Space, SystemTable};
use crate::leader::compaction;

pub(crate) static TABLES: &[SystemTable] = &[
    view("svv_tables", SVV_TABLES, svv_tables),
    view("svv_columns", SVV_COLUMNS, svv_columns),
    view("svv_table_info", TABLE_INFO, table_info),
    view("svv_all_schemas", ALL_SCHEMAS, all_schemas),
    view("svv_all_tables", ALL_TABLES, all_tables),
    view("svv_all_columns", ALL_COLUMNS, all_columns),
    view("svv_redshift_databases", REDSHIFT_DATABASES, redshift_databases),
    view("svv_redshift_schemas", REDSHIFT_SCHEMAS, redshift_schemas),
    view("svv_redshift_tables", REDSHIFT_TABLES, redshift_tables),
    view("svv_redshift_columns", REDSHIFT_COLUMNS, redshift_columns),
    view("svv_relation_privileges", RELATION_PRIVILEGES, relation_privileges),
    view("svv_schema_privileges", SCHEMA_PRIVILEGES, schema_privileges),
    view("svv_user_info", USER_INFO, user_info),
];

type Columns = &'static [(&'static str, SqlType)];

const fn view(
    name: &'static str,
    columns: Columns,
    rows: fn(&SystemContext) -> Rows,
) -> SystemTable {
    SystemTable::view(Space::PgCatalog, name, columns, rows)
}

const V128: SqlType = Varchar(128);

const SVV_TABLES: Columns = &[
    ("table_catalog", Text),
    ("table_schema", Text),
    ("table_name", Text),
    ("table_type", Text),
    ("remarks", Text),
];

fn svv_tables(context: &SystemContext) -> Rows {
    let relations = visible(context).into_iter();
    relations
        .map(|relation| {
            row![
                &context.database.name,
                context.namespace_name(relation.namespace()),
                relation.name(),
                table_type(&relation),
                context.state.comment(relation.oid()),
            ]
        })
        .collect()
}

const SVV_COLUMNS: Columns = &[
    ("table_catalog", Text),
    ("table_schema", Text),
    ("table_name", Text),
    ("column_name", Text),
    ("ordinal_position", Integer),
    ("column_default", Text),
    ("is_nullable", Text),
    ("data_type", Text),
    ("character_maximum_length", Integer),
    ("numeric_precision", Integer),
    ("numeric_precision_radix", Integer),
    ("numeric_scale", Integer),
    ("datetime_precision", Integer),
    ("interval_type", Text),
    ("interval_precision", Text),
    ("character_set_catalog", Text),
    ("character_set_schema", Text),
    ("character_set_name", Text),
    ("collation_catalog", Text),
    ("collation_schema", Text),
    ("collation_name", Text),
    ("domain_name", Text),
    ("remarks", Text),
];

fn svv_columns(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for relation in visible(context) {
        let schema = context.namespace_name(relation.namespace());
        for column in relation.columns() {
            let parts = type_parts(column.sql_type);
            rows.push(row![
                &context.database.name,
                &schema,
                relation.name(),
                column.name,
                column.number,
                column.default,
                yes_no(!column.not_null),
                parts.name,
                parts.length,
                parts.precision.map(i32::from),
                parts.radix,
                parts.scale.map(i32::from),
                parts.seconds,
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                column.comment,
            ]);
        }
    }
    rows
}

const TABLE_INFO: Columns = &[
    ("database", Text),
    ("schema", Text),
    ("table_id", OidType),
    ("table", Text),
    ("encoded", Text),
    ("diststyle", Text),
    ("sortkey1", Text),
    ("max_varchar", Integer),
    ("sortkey1_enc", Char(32)),
    ("sortkey_num", Integer),
    ("size", SqlType::BigInt),
    ("pct_used", Decimal { precision: 10, scale: 4 }),
    ("empty", SqlType::BigInt),
    ("unsorted", Decimal { precision: 5, scale: 2 }),
    ("stats_off", Decimal { precision: 5, scale: 2 }),
    ("tbl_rows", Decimal { precision: 38, scale: 0 }),
    ("skew_sortkey1", Decimal { precision: 19, scale: 2 }),
    ("skew_rows", Decimal { precision: 19, scale: 2 }),
    ("estimated_visible_rows", Decimal { precision: 38, scale: 0 }),
    ("risk_event", Text),
    ("vacuum_sort_benefit", Decimal { precision: 12, scale: 2 }),
    ("create_time", Timestamp),
];

/// Only tables with rows, and only for superusers, as documented.
fn table_info(context: &SystemContext) -> Rows {
    if !context.is_superuser() {
        return Rows::new();
    }
    let tables = context.user_relations().into_iter();
    tables
        .filter_map(|relation| relation.table().cloned())
        .filter(|table| context.state.table_rows(table.oid) > 0)
        .map(|table| table_info_row(context, &table))
        .collect()
}

fn table_info_row(context: &SystemContext, table: &Table) -> Vec<Cell> {
    let segments = context.state.segments(table.oid);
    let live = context.state.table_rows(table.oid);
    let gone = compaction::deleted_rows(&segments);
    let bytes = context.state.table_bytes(table.oid);
    let first = table.sort_key.columns().first().and_then(|id| table.column_by_id(*id));
    let encoded = table.columns.iter().any(|column| encoding_name(column, false) != "none");
    let widest = table.columns.iter().filter_map(|column| match column.sql_type {
        Varchar(n) => Some(n),
        _ => None,
    });
    // Only a table with a sort key can be unsorted.
    let unsorted = first.map(|_| hundredths(compaction::unsorted_rows(table, &segments), live));
    row![
        &context.database.name,
        context.namespace_name(table.schema),
        table.oid,
        &table.name,
        if encoded { "Y" } else { "N" },
        dist_style_text(table),
        first.map_or("", |column| column.name.as_str()),
        widest.max().unwrap_or(0),
        first.map_or("", |column| encoding_name(column, true)),
        table.sort_key.columns().len(),
        bytes.div_ceil(1 << 20),
        NULL,
        0i32,
        unsorted,
        Cell::Decimal((context.state.stale_percent(table.oid) * 100.0).round() as i128),
        Cell::Decimal(i128::from(live + gone)),
        NULL,
        skew(&segments).map(Cell::Decimal).unwrap_or(Cell::Null),
        Cell::Decimal(i128::from(live)),
        NULL,
        NULL,
        table.created_us,
    ]
}

/// A share in percent, with two digits.
fn hundredths(part: u64, whole: u64) -> Cell {
    if whole == 0 {
        return Cell::Decimal(0);
    }
    Cell::Decimal(i128::from(part) * 10_000 / i128::from(whole))
}

/// Rows of the fullest slice over those of the emptiest, times 100.
fn skew(segments: &[std::sync::Arc<base::segment::Segment>]) -> Option<i128> {
    let mut by_slice = std::collections::BTreeMap::new();
    for segment in segments {
        *by_slice.entry(segment.slice?).or_insert(0u64) += segment.live_rows();
    }
    let most = by_slice.values().max()?;
    let least = by_slice.values().min().filter(|rows| **rows > 0)?;
    Some(i128::from(*most) * 100 / i128::from(*least))
}

const ALL_SCHEMAS: Columns = &[
    ("database_name", V128),
    ("schema_name", V128),
    ("schema_owner", Integer),
    ("schema_type", V128),
    ("schema_acl", V128),
    ("source_database", V128),
    ("schema_option", Varchar(256)),
];

fn acl_text(
    context: &SystemContext,
    object: base::ids::Oid,
    owner: base::ids::Oid,
) -> Option<String> {
    super::pg_relations::acl(context, object, owner).map(|items| items.join("~"))
}

fn all_schemas(context: &SystemContext) -> Rows {
    let spaces = context.namespaces().into_iter();
    spaces
        .map(|space| {
            let acl = acl_text(context, space.oid, space.owner);
            row![&context.database.name, space.name, space.owner, "local", acl, NULL, NULL]
        })
        .collect()
}

const ALL_TABLES: Columns = &[
    ("database_name", V128),
    ("schema_name", V128),
    ("table_name", V128),
    ("table_acl", V128),
    ("table_type", V128),
    ("remarks", V128),
];

/// SVV_ALL_TABLES and SVV_REDSHIFT_TABLES say TABLE where the others say BASE TABLE.
fn short_type(relation: &super::AnyRelation) -> &'static str {
    if relation.kind() == "v" { "VIEW" } else { "TABLE" }
}

fn all_tables(context: &SystemContext) -> Rows {
    let relations = visible(context).into_iter();
    relations
        .map(|relation| {
            row![
                &context.database.name,
                context.namespace_name(relation.namespace()),
                relation.name(),
                acl_text(context, relation.oid(), relation.owner()),
                short_type(&relation),
                context.state.comment(relation.oid()),
            ]
        })
        .collect()
}

const ALL_COLUMNS: Columns = &[
    ("database_name", V128),
    ("schema_name", V128),
    ("table_name", V128),
    ("column_name", V128),
    ("ordinal_position", Integer),
    ("column_default", Varchar(4_000)),
    ("is_nullable", Varchar(3)),
    ("data_type", V128),
    ("character_maximum_length", Integer),
    ("numeric_precision", Integer),
    ("numeric_scale", Integer),
    ("remarks", Varchar(256)),
];

fn all_columns(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for relation in visible(context) {
        let schema = context.namespace_name(relation.namespace());
        for column in relation.columns() {
            let parts = type_parts(column.sql_type);
            rows.push(row![
                &context.database.name,
                &schema,
                relation.name(),
                column.name,
                column.number,
                column.default,
                yes_no(!column.not_null),
                parts.name,
                parts.length,
                parts.precision.map(i32::from),
                parts.scale.map(i32::from),
                column.comment,
            ]);
        }
    }
    rows
}

const REDSHIFT_DATABASES: Columns = &[
    ("database_name", V128),
    ("database_owner", Integer),
    ("database_type", Varchar(32)),
    ("database_acl", V128),
    ("database_options", V128),
    ("database_isolation_level", V128),
];

fn redshift_databases(context: &SystemContext) -> Rows {
    let all = context.state.databases();
    all.map(|database| {
        let acl = acl_text(context, database.oid, database.owner);
        let level = match database.isolation {
            catalog::Isolation::Snapshot => "Snapshot Isolation",
            catalog::Isolation::Serializable => "Serializable",
        };
        row![&database.name, database.owner, "local", acl, NULL, level]
    })
    .collect()
}

const REDSHIFT_SCHEMAS: Columns = &[
    ("database_name", V128),
    ("schema_name", V128),
    ("schema_owner", Integer),
    ("schema_type", V128),
    ("schema_acl", V128),
    ("schema_option", V128),
];

fn redshift_schemas(context: &SystemContext) -> Rows {
    let spaces = context.namespaces().into_iter();
    spaces
        .map(|space| {
            let acl = acl_text(context, space.oid, space.owner);
            row![&context.database.name, space.name, space.owner, "local", acl, NULL]
        })
        .collect()
}

const REDSHIFT_TABLES: Columns = &[
    ("database_name", V128),
    ("schema_name", V128),
    ("table_name", V128),
    ("table_type", V128),
    ("table_acl", V128),
    ("remarks", V128),
    ("table_owner", V128),
];

fn redshift_tables(context: &SystemContext) -> Rows {
    let relations = visible(context).into_iter();
    relations
        .map(|relation| {
            row![
                &context.database.name,
                context.namespace_name(relation.namespace()),
                relation.name(),
                short_type(&relation),
                acl_text(context, relation.oid(), relation.owner()),
                context.state.comment(relation.oid()),
                context.user_name(relation.owner()),
            ]
        })
        .collect()
}

const REDSHIFT_COLUMNS: Columns = &[
    ("database_name", V128),
    ("schema_name", V128),
    ("table_name", V128),
    ("column_name", V128),
    ("ordinal_position", Integer),
    ("data_type", Varchar(32)),
    ("column_default", Varchar(4_000)),
    ("is_nullable", Varchar(3)),
    ("encoding", V128),
    ("distkey", Boolean),
    ("sortkey", Integer),
    ("column_acl", V128),
    ("remarks", Varchar(256)),
];

fn redshift_columns(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for relation in visible(context) {
        let schema = context.namespace_name(relation.namespace());
        for column in relation.columns() {
            rows.push(row![
                &context.database.name,
                &schema,
                relation.name(),
                column.name,
                column.number,
                column.sql_type.to_string(),
                column.default,
                yes_no(!column.not_null),
                column.encoding,
                column.dist_key,
                column.sort_order,
                NULL,
                column.comment,
            ]);
        }
    }
    rows
}

const RELATION_PRIVILEGES: Columns = &[
    ("namespace_name", Text),
    ("relation_name", Text),
    ("privilege_type", Text),
    ("identity_id", Integer),
    ("identity_name", Text),
    ("identity_type", Text),
    ("admin_option", Boolean),
];

fn relation_privileges(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for relation in context.user_relations() {
        let schema = context.namespace_name(relation.schema());
        for grant in context.state.grants(relation.oid()) {
            for (privilege, name) in held(&grant) {
                let (id, who, kind) = identity(context, &grant);
                let admin = grant.grantable.contains(privilege);
                rows.push(row![&schema, relation.name(), name, id, who, kind, admin]);
            }
        }
    }
    rows
}

const SCHEMA_PRIVILEGES: Columns = &[
    ("namespace_name", Text),
    ("privilege_type", Text),
    ("identity_id", Integer),
    ("identity_name", Text),
    ("identity_type", Text),
    ("admin_option", Boolean),
];

fn schema_privileges(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for schema in context.state.schemas(context.database.oid) {
        for grant in context.state.grants(schema.oid) {
            for (privilege, name) in held(&grant) {
                let (id, who, kind) = identity(context, &grant);
                let admin = grant.grantable.contains(privilege);
                rows.push(row![&schema.name, name, id, who, kind, admin]);
            }
        }
    }
    rows
}

fn held(grant: &catalog::Grant) -> Vec<(catalog::Privileges, &'static str)> {
    let names = crate::privileges::NAMES.iter();
    names.filter(|(privilege, _)| grant.privileges.contains(*privilege)).copied().collect()
}

fn identity(context: &SystemContext, grant: &catalog::Grant) -> (u32, String, &'static str) {
    if grant.grantee == catalog::PUBLIC_GRANTEE_OID {
        (0, "public".to_owned(), "public")
    } else {
        (grant.grantee.0, context.user_name(grant.grantee), "user")
    }
}

const USER_INFO: Columns = &[
    ("user_name", Text),
    ("user_id", Integer),
    ("createdb", Boolean),
    ("superuser", Boolean),
    ("catalog_update", Boolean),
    ("connection_limit", Text),
    ("syslog_access", Text),
    ("last_ddl_timestamp", Timestamp),
    ("session_timeout", Integer),
    ("external_user_id", Text),
];

fn user_info(context: &SystemContext) -> Rows {
    let users = context.state.users().filter(|user| context.may_see(user.oid));
    users
        .map(|user| {
            let limit = user.connection_limit;
            row![
                &user.name,
                user.oid,
                user.create_db,
                user.superuser,
                false,
                limit.map_or_else(|| "UNLIMITED".to_owned(), |n| n.to_string()),
                if user.superuser { "UNRESTRICTED" } else { "RESTRICTED" },
                NULL,
                0i32,
                NULL,
            ]
        })
        .collect()
}

/// The style of a table for SHOW TABLES.
pub(crate) fn shown_style(relation: &Relation) -> Option<String> {
    relation.table().map(|table| dist_style_text(table))
}
