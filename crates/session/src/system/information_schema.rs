//! The views of `information_schema`.

use base::SqlType::{self, Integer, Name, Text, Varchar};
use catalog::{Constraint, Relation};

use super::builder::{NULL, row};
use super::context::{AnyRelation, SystemContext};
use super::{Cell, Rows, Space, SystemTable};

pub(crate) static TABLES: &[SystemTable] = &[
    view("tables", INFORMATION_TABLES, tables),
    view("columns", COLUMNS, columns),
    view("schemata", SCHEMATA, schemata),
    view("views", VIEWS, views),
    view("table_constraints", TABLE_CONSTRAINTS, table_constraints),
    view("key_column_usage", KEY_COLUMN_USAGE, key_column_usage),
    view("referential_constraints", REFERENTIAL, referential),
    view("table_privileges", TABLE_PRIVILEGES, table_privileges),
    view("routines", ROUTINES, super::routines::routines),
    view("parameters", PARAMETERS, super::routines::parameters),
    view("triggers", TRIGGERS, |_| Rows::new()),
    view("sequences", SEQUENCES, |_| Rows::new()),
    view("information_schema_catalog_name", CATALOG_NAME, |c| vec![row![&c.database.name]]),
];

const fn view(
    name: &'static str,
    columns: &'static [(&'static str, SqlType)],
    rows: fn(&SystemContext) -> Rows,
) -> SystemTable {
    SystemTable::view(Space::InformationSchema, name, columns, rows)
}

type Columns = &'static [(&'static str, SqlType)];

/// The cap of Redshift's character domains.
const CHARS: SqlType = Varchar(65_535);

const CATALOG_NAME: Columns = &[("catalog_name", Name)];

const INFORMATION_TABLES: Columns = &[
    ("table_catalog", Name),
    ("table_schema", Name),
    ("table_name", Name),
    ("table_type", CHARS),
    ("self_referencing_column_name", Name),
    ("reference_generation", CHARS),
    ("user_defined_type_catalog", Name),
    ("user_defined_type_schema", Name),
    ("user_defined_name", Name),
];

/// Every relation that has columns and that the asking user may see.
pub(crate) fn visible(context: &SystemContext) -> Vec<AnyRelation> {
    let relations = context.relations().into_iter();
    relations
        .filter(|relation| relation.kind() != "i" && crate::privileges::sees(context, relation))
        .collect()
}

pub(crate) fn table_type(relation: &AnyRelation) -> &'static str {
    match relation {
        AnyRelation::User(Relation::Table(table)) if table.temporary.is_some() => "LOCAL TEMPORARY",
        other if other.kind() == "v" => "VIEW",
        _ => "BASE TABLE",
    }
}

fn tables(context: &SystemContext) -> Rows {
    let relations = visible(context).into_iter();
    relations
        .map(|relation| {
            row![
                &context.database.name,
                context.namespace_name(relation.namespace()),
                relation.name(),
                table_type(&relation),
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
            ]
        })
        .collect()
}

const COLUMNS: Columns = &[
    ("table_catalog", Name),
    ("table_schema", Name),
    ("table_name", Name),
    ("column_name", Name),
    ("ordinal_position", Integer),
    ("column_default", CHARS),
    ("is_nullable", CHARS),
    ("data_type", CHARS),
    ("character_maximum_length", Integer),
    ("character_octet_length", Integer),
    ("numeric_precision", Integer),
    ("numeric_precision_radix", Integer),
    ("numeric_scale", Integer),
    ("datetime_precision", Integer),
    ("interval_type", CHARS),
    ("interval_precision", CHARS),
    ("character_set_catalog", Name),
    ("character_set_schema", Name),
    ("character_set_name", Name),
    ("collation_catalog", Name),
    ("collation_schema", Name),
    ("collation_name", Name),
    ("domain_catalog", Name),
    ("domain_schema", Name),
    ("domain_name", Name),
    ("udt_catalog", Name),
    ("udt_schema", Name),
    ("udt_name", Name),
    ("scope_catalog", Name),
    ("scope_schema", Name),
    ("scope_name", Name),
    ("maximum_cardinality", Integer),
    ("dtd_identifier", Name),
    ("is_self_referencing", CHARS),
    ("is_identity", CHARS),
];

/// The parts of a type as the information schema shows them: name without modifiers, length,
/// precision, radix, scale, fractional seconds.
pub(crate) struct TypeParts {
    pub(crate) name: String,
    pub(crate) length: Option<u32>,
    pub(crate) precision: Option<u8>,
    pub(crate) radix: Option<i32>,
    pub(crate) scale: Option<u8>,
    pub(crate) seconds: Option<i32>,
}

pub(crate) fn type_parts(sql_type: SqlType) -> TypeParts {
    let full = sql_type.to_string();
    let name = full.split('(').next().unwrap_or_default().to_owned();
    let (length, precision, radix, scale) = match sql_type {
        SqlType::Char(n) | Varchar(n) | SqlType::Varbyte(n) => (Some(n), None, None, None),
        SqlType::SmallInt => (None, Some(16), Some(2), Some(0)),
        Integer => (None, Some(32), Some(2), Some(0)),
        SqlType::BigInt => (None, Some(64), Some(2), Some(0)),
        SqlType::Real => (None, Some(24), Some(2), None),
        SqlType::Double => (None, Some(53), Some(2), None),
        SqlType::Decimal { precision, scale } => (None, Some(precision), Some(10), Some(scale)),
        _ => (None, None, None, None),
    };
    let seconds = match sql_type {
        SqlType::Time | SqlType::TimeTz | SqlType::Timestamp | SqlType::TimestampTz => Some(6),
        _ => None,
    };
    TypeParts { name, length, precision, radix, scale, seconds }
}

pub(crate) fn yes_no(value: bool) -> &'static str {
    if value { "YES" } else { "NO" }
}

fn columns(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for relation in visible(context) {
        let schema = context.namespace_name(relation.namespace());
        for column in relation.columns() {
            let parts = type_parts(column.sql_type);
            let identity =
                column.default.as_deref().is_some_and(|text| text.starts_with("\"identity\""));
            let mut row: Vec<Cell> = row![
                &context.database.name,
                &schema,
                relation.name(),
                column.name,
                column.number,
                column.default,
                yes_no(!column.not_null),
                parts.name,
                parts.length,
                parts.length,
                parts.precision.map(i32::from),
                parts.radix,
                parts.scale.map(i32::from),
                parts.seconds,
            ];
            row.extend(row![
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                NULL,
                &context.database.name,
                "pg_catalog",
                column.sql_type.pg_name(),
                NULL,
                NULL,
                NULL,
                NULL,
                column.number.to_string(),
                "NO",
                yes_no(identity),
            ]);
            rows.push(row);
        }
    }
    rows
}

const SCHEMATA: Columns = &[
    ("catalog_name", Name),
    ("schema_name", Name),
    ("schema_owner", Name),
    ("default_character_set_catalog", Name),
    ("default_character_set_schema", Name),
    ("default_character_set_name", Name),
    ("sql_path", CHARS),
];

fn schemata(context: &SystemContext) -> Rows {
    let spaces = context.namespaces().into_iter();
    spaces
        .map(|space| {
            let owner = context.user_name(space.owner);
            row![&context.database.name, space.name, owner, NULL, NULL, NULL, NULL]
        })
        .collect()
}

const VIEWS: Columns = &[
    ("table_catalog", Name),
    ("table_schema", Name),
    ("table_name", Name),
    ("view_definition", Text),
    ("check_option", CHARS),
    ("is_updatable", CHARS),
    ("is_insertable_into", CHARS),
];

fn views(context: &SystemContext) -> Rows {
    let views = visible(context).into_iter().filter(|relation| relation.kind() == "v");
    views
        .map(|relation| {
            let text = match &relation {
                AnyRelation::User(Relation::View(view)) => {
                    Some(super::pg_relations::view_text(view))
                }
                _ => None,
            };
            row![
                &context.database.name,
                context.namespace_name(relation.namespace()),
                relation.name(),
                text,
                "NONE",
                "NO",
                "NO",
            ]
        })
        .collect()
}

const TABLE_CONSTRAINTS: Columns = &[
    ("constraint_catalog", Name),
    ("constraint_schema", Name),
    ("constraint_name", Name),
    ("table_catalog", Name),
    ("table_schema", Name),
    ("table_name", Name),
    ("constraint_type", CHARS),
    ("is_deferrable", CHARS),
    ("initially_deferred", CHARS),
];

/// Each constraint with its table and schema name.
fn each_constraint(
    context: &SystemContext,
) -> Vec<(std::sync::Arc<catalog::Table>, String, Constraint)> {
    let mut all = Vec::new();
    for relation in visible(context) {
        let Some(table) = relation.table() else { continue };
        let schema = context.namespace_name(table.schema);
        for constraint in &table.constraints {
            all.push((std::sync::Arc::clone(table), schema.clone(), constraint.clone()));
        }
    }
    all
}

fn table_constraints(context: &SystemContext) -> Rows {
    let database = &context.database.name;
    let all = each_constraint(context).into_iter();
    all.map(|(table, schema, constraint)| {
        let kind = match constraint {
            Constraint::PrimaryKey { .. } => "PRIMARY KEY",
            Constraint::Unique { .. } => "UNIQUE",
            Constraint::ForeignKey { .. } => "FOREIGN KEY",
        };
        row![
            database,
            &schema,
            constraint.name(),
            database,
            &schema,
            &table.name,
            kind,
            "NO",
            "NO",
        ]
    })
    .collect()
}

const KEY_COLUMN_USAGE: Columns = &[
    ("constraint_catalog", Name),
    ("constraint_schema", Name),
    ("constraint_name", Name),
    ("table_catalog", Name),
    ("table_schema", Name),
    ("table_name", Name),
    ("column_name", Name),
    ("ordinal_position", Integer),
    ("position_in_unique_constraint", Integer),
];

fn key_column_usage(context: &SystemContext) -> Rows {
    let database = &context.database.name;
    let mut rows = Rows::new();
    for (table, schema, constraint) in each_constraint(context) {
        let foreign = constraint.referenced().is_some();
        for (i, id) in constraint.columns().iter().enumerate() {
            let Some(column) = table.column_by_id(*id) else { continue };
            rows.push(row![
                database,
                &schema,
                constraint.name(),
                database,
                &schema,
                &table.name,
                &column.name,
                i + 1,
                foreign.then_some(i + 1),
            ]);
        }
    }
    rows
}

const REFERENTIAL: Columns = &[
    ("constraint_catalog", Name),
    ("constraint_schema", Name),
    ("constraint_name", Name),
    ("unique_constraint_catalog", Name),
    ("unique_constraint_schema", Name),
    ("unique_constraint_name", Name),
    ("match_option", CHARS),
    ("update_rule", CHARS),
    ("delete_rule", CHARS),
];

fn referential(context: &SystemContext) -> Rows {
    let database = &context.database.name;
    let mut rows = Rows::new();
    for (_, schema, constraint) in each_constraint(context) {
        let Constraint::ForeignKey { name, table: other, references, .. } = &constraint else {
            continue;
        };
        let Some(Relation::Table(other)) = context.state.relation_by_oid(*other) else { continue };
        let key = other
            .constraints
            .iter()
            .find(|key| key.referenced().is_none() && key.columns() == references.as_slice());
        rows.push(row![
            database,
            &schema,
            name,
            database,
            context.namespace_name(other.schema),
            key.map(Constraint::name),
            "NONE",
            "NO ACTION",
            "NO ACTION",
        ]);
    }
    rows
}

const TABLE_PRIVILEGES: Columns = &[
    ("grantor", Name),
    ("grantee", Name),
    ("table_catalog", Name),
    ("table_schema", Name),
    ("table_name", Name),
    ("privilege_type", CHARS),
    ("is_grantable", CHARS),
    ("with_hierarchy", CHARS),
];

fn table_privileges(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for relation in visible(context) {
        let schema = context.namespace_name(relation.namespace());
        let owner = context.user_name(relation.owner());
        for grant in context.state.grants(relation.oid()) {
            let public = grant.grantee == catalog::PUBLIC_GRANTEE_OID;
            let grantee =
                if public { "PUBLIC".to_owned() } else { context.user_name(grant.grantee) };
            for (privilege, name) in crate::privileges::NAMES {
                if grant.privileges.contains(*privilege) {
                    rows.push(row![
                        &owner,
                        &grantee,
                        &context.database.name,
                        &schema,
                        relation.name(),
                        *name,
                        yes_no(grant.grantable.contains(*privilege)),
                        "NO",
                    ]);
                }
            }
        }
    }
    rows
}

const ROUTINES: Columns = &[
    ("specific_catalog", Name),
    ("specific_schema", Name),
    ("specific_name", Name),
    ("routine_catalog", Name),
    ("routine_schema", Name),
    ("routine_name", Name),
    ("routine_type", CHARS),
    ("data_type", CHARS),
    ("routine_definition", CHARS),
];
const PARAMETERS: Columns = &[
    ("specific_catalog", Name),
    ("specific_schema", Name),
    ("specific_name", Name),
    ("ordinal_position", Integer),
    ("parameter_mode", CHARS),
    ("parameter_name", Name),
    ("data_type", CHARS),
];
const TRIGGERS: Columns =
    &[("trigger_catalog", Name), ("trigger_schema", Name), ("trigger_name", Name)];
const SEQUENCES: Columns =
    &[("sequence_catalog", Name), ("sequence_schema", Name), ("sequence_name", Name)];
