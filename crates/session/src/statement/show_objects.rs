//! SHOW DATABASES, SCHEMAS, TABLES, COLUMNS, CONSTRAINTS, GRANTS, PROCEDURES, FUNCTIONS,
//! PARAMETERS, TABLE and VIEW: columns as documented, rows from the catalog.

use std::sync::Arc;

use base::SqlType::{self, Integer, Timestamp, Varchar};
use base::ids::Oid;
use base::{Result, error, suggest};
use catalog::{Constraint, DistStyle, Relation, Routine, RoutineKind, SortKey, Table};
use sql::ast::{GrantsOn, Ident, ObjectName, Operand, RoutineName, RoutineType, Show, ShowFilter};

use super::routine;
use super::show::{Filter, Operands, refused};
use crate::privileges;
use crate::system::{
    AnyRelation, NULL, Rows, Space, SystemContext, definition, dist_style_text, routines, row,
    shown_style, type_parts, view_text, yes_no,
};

type Columns = &'static [(&'static str, SqlType)];

const V: SqlType = Varchar(128);

const DATABASES: Columns = &[
    ("database_name", V),
    ("database_owner", Integer),
    ("database_type", V),
    ("database_acl", V),
    ("parameters", V),
    ("database_isolation_level", V),
];
const SCHEMAS: Columns = &[
    ("database_name", V),
    ("schema_name", V),
    ("schema_owner", Integer),
    ("schema_type", V),
    ("schema_acl", V),
    ("source_database", V),
    ("schema_option", V),
];
const TABLES: Columns = &[
    ("database_name", V),
    ("schema_name", V),
    ("table_name", V),
    ("table_type", V),
    ("table_acl", V),
    ("remarks", Varchar(256)),
    ("owner", V),
    ("last_altered_time", Timestamp),
    ("last_modified_time", Timestamp),
    ("dist_style", V),
    ("table_subtype", V),
];
const COLUMNS: Columns = &[
    ("database_name", V),
    ("schema_name", V),
    ("table_name", V),
    ("column_name", V),
    ("ordinal_position", Integer),
    ("column_default", Varchar(4_000)),
    ("is_nullable", Varchar(3)),
    ("data_type", V),
    ("character_maximum_length", Integer),
    ("numeric_precision", Integer),
    ("numeric_scale", Integer),
    ("remarks", Varchar(256)),
    ("sort_key_type", V),
    ("sort_key", Integer),
    ("dist_key", Integer),
    ("encoding", V),
    ("collation", V),
];
const PRIMARY_KEYS: Columns = &[
    ("database_name", V),
    ("schema_name", V),
    ("table_name", V),
    ("column_name", V),
    ("key_seq", Integer),
    ("pk_name", V),
];
const FOREIGN_KEYS: Columns = &[
    ("pk_database_name", V),
    ("pk_schema_name", V),
    ("pk_table_name", V),
    ("pk_column_name", V),
    ("fk_database_name", V),
    ("fk_schema_name", V),
    ("fk_table_name", V),
    ("fk_column_name", V),
    ("key_seq", Integer),
    ("fk_name", V),
    ("pk_name", V),
    ("update_rule", Integer),
    ("delete_rule", Integer),
    ("deferrability", Integer),
];
const GRANTS: Columns = &[
    ("database_name", V),
    ("schema_name", V),
    ("object_name", V),
    ("object_type", V),
    ("privilege_type", V),
    ("identity_id", Integer),
    ("identity_name", V),
    ("identity_type", V),
    ("admin_option", SqlType::Boolean),
    ("privilege_scope", V),
    ("grantor_name", V),
];
const COLUMN_GRANTS: Columns = &[
    ("database_name", V),
    ("schema_name", V),
    ("table_name", V),
    ("column_name", V),
    ("object_type", V),
    ("privilege_type", V),
    ("identity_id", Integer),
    ("identity_name", V),
    ("identity_type", V),
    ("admin_option", SqlType::Boolean),
    ("grantor_name", V),
];
const PROCEDURES: Columns = &[
    ("database_name", V),
    ("schema_name", V),
    ("procedure_name", V),
    ("number_of_arguments", Integer),
    ("argument_list", Varchar(4_000)),
    ("return_type", V),
    ("remarks", Varchar(256)),
];
const FUNCTIONS: Columns = &[
    ("database_name", V),
    ("schema_name", V),
    ("function_name", V),
    ("number_of_arguments", Integer),
    ("argument_list", Varchar(4_000)),
    ("return_type", V),
    ("remarks", Varchar(256)),
];
const PARAMETERS: Columns = &[
    ("database_name", V),
    ("schema_name", V),
    ("routine_name", V),
    ("parameter_name", V),
    ("ordinal_position", Integer),
    ("parameter_type", V),
    ("data_type", V),
    ("character_maximum_length", Integer),
    ("numeric_precision", Integer),
    ("numeric_scale", Integer),
];
const DDL: Columns = &[("Show Table DDL statement", Varchar(65_535))];
const PROCEDURE_DDL: Columns = &[("Stored Procedure Definition", Varchar(65_535))];
const VIEW_DDL: Columns = &[("Show View DDL statement", Varchar(65_535))];

/// The columns of a SHOW of objects.
pub(super) fn columns(show: &Show) -> Result<Columns> {
    Ok(match show {
        Show::Databases { .. } => DATABASES,
        Show::Schemas { .. } => SCHEMAS,
        Show::Tables { .. } => TABLES,
        Show::Columns { .. } => COLUMNS,
        Show::PrimaryKeys { .. } => PRIMARY_KEYS,
        Show::ForeignKeys { .. } => FOREIGN_KEYS,
        Show::Grants { columns: true, .. } => COLUMN_GRANTS,
        Show::Grants { .. } => GRANTS,
        Show::Procedures { .. } => PROCEDURES,
        Show::Functions { .. } => FUNCTIONS,
        Show::Procedure(_) => PROCEDURE_DDL,
        Show::Parameters { .. } => PARAMETERS,
        Show::Table(_) => DDL,
        Show::View(_) => VIEW_DDL,
        Show::All | Show::Parameter(_) => return Err(refused("this")),
    })
}

/// The highest `$n`.
pub(super) fn parameter_count(show: &Show) -> usize {
    let mut all: Vec<&Operand> = Vec::new();
    match show {
        Show::Databases { filter: f } => all.extend(operands(f)),
        Show::Schemas { database, filter: f } => {
            all.push(database);
            all.extend(operands(f));
        }
        Show::Tables { schema: name, filter: f }
        | Show::Columns { table: name, filter: f }
        | Show::Procedures { schema: name, filter: f }
        | Show::Functions { schema: name, filter: f }
        | Show::Parameters { name, filter: f, .. } => {
            all.extend(name);
            all.extend(operands(f));
        }
        Show::PrimaryKeys { table } | Show::ForeignKeys { table, .. } => all.extend(table),
        Show::Grants { on, to, filter: f, .. } => {
            all.extend(on.iter().flat_map(|on| &on.name));
            all.extend(to);
            all.extend(operands(f));
        }
        Show::All | Show::Parameter(_) | Show::Table(_) | Show::View(_) | Show::Procedure(_) => {}
    }
    let number = |operand: &&Operand| match operand {
        Operand::Parameter(n) => usize::from(*n),
        Operand::Text(_) => 0,
    };
    all.iter().map(number).max().unwrap_or(0)
}

fn operands(filter: &ShowFilter) -> impl Iterator<Item = &Operand> {
    filter.like.iter().chain(&filter.limit)
}

/// The rows of a SHOW of objects.
pub(super) fn rows(context: &SystemContext, show: &Show, given: &Operands<'_>) -> Result<Rows> {
    match show {
        Show::Databases { filter } => Ok(databases(context, &given.filter(filter)?)),
        Show::Schemas { database, filter } => {
            check_database(context, &given.name(database)?)?;
            Ok(schemas(context, &given.filter(filter)?))
        }
        Show::Tables { schema, filter } => {
            let schema = schema_of(context, &given.names(schema)?)?;
            Ok(tables(context, &schema, &given.filter(filter)?))
        }
        Show::Columns { table, filter } => {
            let relation = relation_of(context, &given.names(table)?)?;
            Ok(table_columns(context, &relation, &given.filter(filter)?))
        }
        Show::PrimaryKeys { table } => {
            let relation = relation_of(context, &given.names(table)?)?;
            Ok(primary_keys(context, &relation))
        }
        Show::ForeignKeys { table, exported } => {
            let relation = relation_of(context, &given.names(table)?)?;
            Ok(foreign_keys(context, &relation, *exported))
        }
        Show::Grants { on, to, filter, columns } => {
            if *columns {
                // Privileges are granted on whole relations only.
                return Ok(Rows::new());
            }
            let to = to.as_ref().map(|to| given.name(to)).transpose()?;
            grants(context, on.as_ref(), to.as_deref(), given, &given.filter(filter)?)
        }
        Show::Procedures { schema, filter } => {
            shown_routines(context, schema, RoutineKind::Procedure, given, filter)
        }
        Show::Functions { schema, filter } => {
            shown_routines(context, schema, RoutineKind::Function, given, filter)
        }
        Show::Parameters { function, name, arguments, filter } => {
            let kind = if *function { RoutineKind::Function } else { RoutineKind::Procedure };
            let routine = routine_of(context, &given.names(name)?, arguments.as_deref(), kind)?;
            let filter = given.filter(filter)?;
            let mut rows = routines::shown_parameters(context, &routine);
            rows.truncate(filter.limit);
            Ok(rows)
        }
        Show::Procedure(name) => {
            let routine = routine::find(context, name, RoutineKind::Procedure)?;
            Ok(vec![row![routines::definition(context, &routine)]])
        }
        Show::Table(name) => table_ddl(context, name),
        Show::View(name) => view_ddl(context, name),
        Show::All | Show::Parameter(_) => Err(refused("this")),
    }
}

fn shown_routines(
    context: &SystemContext,
    schema: &[Operand],
    kind: RoutineKind,
    given: &Operands<'_>,
    filter: &ShowFilter,
) -> Result<Rows> {
    let schema = schema_of(context, &given.names(schema)?)?;
    let filter = given.filter(filter)?;
    let mut rows = routines::shown(context, &schema, kind, |name| filter.takes(name));
    rows.truncate(filter.limit);
    Ok(rows)
}

/// The routine of `[[database.]schema.]name` and its input types.
fn routine_of(
    context: &SystemContext,
    names: &[String],
    types: Option<&[SqlType]>,
    kind: RoutineKind,
) -> Result<Arc<Routine>> {
    let wanted = RoutineName {
        name: ObjectName(names.iter().cloned().map(Ident::made).collect()),
        arguments: types.map(|types| types.iter().copied().map(RoutineType::Sql).collect()),
    };
    routine::find(context, &wanted, kind)
}

fn check_database(context: &SystemContext, name: &str) -> Result<()> {
    if name == context.database.name {
        return Ok(());
    }
    if context.state.database(name).is_some() {
        return Err(base::Error::unsupported("cross-database references are not supported")
            .hint(format!("Connect to database \"{name}\".")));
    }
    let names = context.state.databases().map(|database| database.name.as_str());
    Err(error!(InvalidCatalogName, "database \"{name}\" does not exist")
        .maybe_hint(suggest::did_you_mean(name, names)))
}

/// The schema of `[database.]schema`.
fn schema_of(context: &SystemContext, names: &[String]) -> Result<String> {
    let schema = match names {
        [schema] => schema,
        [database, schema] => {
            check_database(context, database)?;
            schema
        }
        _ => return Err(error!(SyntaxError, "a schema has at most two names")),
    };
    let spaces = context.namespaces();
    if spaces.iter().any(|space| space.name == *schema) {
        return Ok(schema.clone());
    }
    let known = spaces.iter().map(|space| space.name.as_str());
    Err(error!(InvalidSchemaName, "schema \"{schema}\" does not exist")
        .maybe_hint(suggest::did_you_mean(schema, known)))
}

/// The relation of `[[database.]schema.]table`.
fn relation_of(context: &SystemContext, names: &[String]) -> Result<AnyRelation> {
    let (schema, table) = match names {
        [table] => (None, table),
        [schema, table] => (Some(schema_of(context, std::slice::from_ref(schema))?), table),
        [database, schema, table] => {
            (Some(schema_of(context, &[database.clone(), schema.clone()])?), table)
        }
        _ => return Err(error!(SyntaxError, "a table has at most three names")),
    };
    context.find_relation(schema.as_deref(), table).ok_or_else(|| {
        let relations = context.relations();
        let known: Vec<String> = relations.iter().map(AnyRelation::name).collect();
        error!(UndefinedTable, "relation \"{table}\" does not exist")
            .maybe_hint(suggest::did_you_mean(table, known.iter().map(String::as_str)))
    })
}

fn databases(context: &SystemContext, filter: &Filter) -> Rows {
    let all = context.state.databases().filter(|database| filter.takes(&database.name));
    all.take(filter.limit)
        .map(|database| {
            let level = match database.isolation {
                catalog::Isolation::Snapshot => "Snapshot Isolation",
                catalog::Isolation::Serializable => "Serializable",
            };
            row![&database.name, database.owner, "local", NULL, NULL, level]
        })
        .collect()
}

fn schemas(context: &SystemContext, filter: &Filter) -> Rows {
    let spaces = context.namespaces().into_iter().filter(|space| filter.takes(&space.name));
    spaces
        .take(filter.limit)
        .map(|space| {
            row![&context.database.name, space.name, space.owner, "local", NULL, NULL, NULL]
        })
        .collect()
}

fn tables(context: &SystemContext, schema: &str, filter: &Filter) -> Rows {
    let mut relations: Vec<AnyRelation> = context
        .relations()
        .into_iter()
        .filter(|relation| relation.kind() != "i")
        .filter(|relation| context.namespace_name(relation.namespace()) == schema)
        .filter(|relation| privileges::sees(context, relation) && filter.takes(&relation.name()))
        .collect();
    relations.sort_by_key(AnyRelation::name);
    relations.truncate(filter.limit);
    let system = Space::from_name(schema).is_some();
    relations
        .iter()
        .map(|relation| {
            let view = relation.kind() == "v";
            let kind = match (system, view) {
                (true, false) => "SYSTEM TABLE",
                (true, true) => "SYSTEM VIEW",
                (false, false) => "TABLE",
                (false, true) => "VIEW",
            };
            let (created, style) = match relation {
                AnyRelation::User(Relation::Table(table)) => {
                    let user = Relation::Table(Arc::clone(table));
                    (Some(table.created_us), shown_style(&user))
                }
                AnyRelation::User(Relation::View(view)) => (Some(view.created_us), None),
                _ => (None, None),
            };
            row![
                &context.database.name,
                schema,
                relation.name(),
                kind,
                NULL,
                context.state.comment(relation.oid()),
                context.user_name(relation.owner()),
                created,
                created,
                style,
                if view { "REGULAR VIEW" } else { "REGULAR TABLE" },
            ]
        })
        .collect()
}

fn table_columns(context: &SystemContext, relation: &AnyRelation, filter: &Filter) -> Rows {
    let schema = context.namespace_name(relation.namespace());
    let sort_type = match relation.table().map(|table| &table.sort_key) {
        Some(SortKey::Compound(_)) => Some("COMPOUND"),
        Some(SortKey::Interleaved(_)) => Some("INTERLEAVED"),
        Some(SortKey::Auto) => Some("AUTO"),
        _ => None,
    };
    let columns = relation.columns().into_iter().filter(|column| filter.takes(&column.name));
    columns
        .take(filter.limit)
        .map(|column| {
            let parts = type_parts(column.sql_type);
            row![
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
                sort_type.filter(|_| column.sort_order != 0),
                column.sort_order,
                i32::from(column.dist_key),
                column.encoding,
                "default",
            ]
        })
        .collect()
}

fn primary_keys(context: &SystemContext, relation: &AnyRelation) -> Rows {
    let mut rows = Rows::new();
    let Some(table) = relation.table() else { return rows };
    for constraint in &table.constraints {
        let Constraint::PrimaryKey { name, columns } = constraint else { continue };
        for (i, id) in columns.iter().enumerate() {
            rows.push(row![
                &context.database.name,
                context.namespace_name(table.schema),
                &table.name,
                table.column_by_id(*id).map(|column| &column.name),
                i + 1,
                name,
            ]);
        }
    }
    rows
}

/// The keys of a table, or with `exported` those of others to it.
fn foreign_keys(context: &SystemContext, relation: &AnyRelation, exported: bool) -> Rows {
    let Some(table) = relation.table() else { return Rows::new() };
    let mut rows = Rows::new();
    if exported {
        for other in context.state.dependents(table.oid) {
            if let Relation::Table(other) = other {
                rows.extend(keys_between(context, &other, Some(table)));
            }
        }
    } else {
        rows.extend(keys_between(context, table, None));
    }
    rows
}

/// The foreign keys of `from`, only those to `to` where one is given.
fn keys_between(context: &SystemContext, from: &Table, to: Option<&Table>) -> Rows {
    let database = &context.database.name;
    let mut rows = Rows::new();
    for constraint in &from.constraints {
        let Constraint::ForeignKey { name, columns, table, references } = constraint else {
            continue;
        };
        if to.is_some_and(|to| to.oid != *table) {
            continue;
        }
        let Some(Relation::Table(key)) = context.state.relation_by_oid(*table) else { continue };
        let primary = key.constraints.iter().find(|c| c.columns() == references.as_slice());
        for (i, (own, other)) in columns.iter().zip(references).enumerate() {
            rows.push(row![
                database,
                context.namespace_name(key.schema),
                &key.name,
                key.column_by_id(*other).map(|column| &column.name),
                database,
                context.namespace_name(from.schema),
                &from.name,
                from.column_by_id(*own).map(|column| &column.name),
                i + 1,
                name,
                primary.map(Constraint::name),
                // JDBC's importedKeyNoAction and importedKeyNotDeferrable.
                3i32,
                3i32,
                7i32,
            ]);
        }
    }
    rows
}

fn grants(
    context: &SystemContext,
    on: Option<&GrantsOn>,
    to: Option<&str>,
    given: &Operands<'_>,
    filter: &Filter,
) -> Result<Rows> {
    let mut rows = Rows::new();
    let mut add = |oid, owner, schema: Option<String>, name: String, kind: &str| {
        if filter.takes(&name) {
            rows.extend(granted(context, (oid, owner), schema.as_deref(), &name, kind, to));
        }
    };
    match on {
        Some(on) => {
            let names = given.names(&on.name)?;
            match on.kind.to_ascii_uppercase().as_str() {
                "TABLE" => {
                    let relation = relation_of(context, &names)?;
                    let schema = context.namespace_name(relation.namespace());
                    add(relation.oid(), relation.owner(), Some(schema), relation.name(), "TABLE");
                }
                "SCHEMA" => {
                    let name = schema_of(context, &names)?;
                    let spaces = context.namespaces();
                    if let Some(space) = spaces.into_iter().find(|space| space.name == name) {
                        add(space.oid, space.owner, Some(name.clone()), name, "SCHEMA");
                    }
                }
                "DATABASE" => {
                    check_database(context, &names.join("."))?;
                    let database = &context.database;
                    add(database.oid, database.owner, None, database.name.clone(), "DATABASE");
                }
                "PROCEDURE" | "FUNCTION" => {
                    let function = on.kind.eq_ignore_ascii_case("function");
                    let kind =
                        if function { RoutineKind::Function } else { RoutineKind::Procedure };
                    let routine = routine_of(context, &names, on.arguments.as_deref(), kind)?;
                    let schema = context.namespace_name(routine.schema);
                    let kind = kind.name().to_uppercase();
                    add(routine.oid, routine.owner, Some(schema), routine.name.clone(), &kind);
                }
                other => return Err(refused(&format!("GRANTS ON {other}"))),
            }
        }
        None => {
            for relation in context.user_relations() {
                let schema = context.namespace_name(relation.schema());
                let name = relation.name().to_owned();
                add(relation.oid(), relation.owner(), Some(schema), name, "TABLE");
            }
            for space in context.namespaces() {
                add(space.oid, space.owner, Some(space.name.clone()), space.name, "SCHEMA");
            }
        }
    }
    rows.truncate(filter.limit);
    Ok(rows)
}

/// The grants on one object, a row for each privilege.
fn granted(
    context: &SystemContext,
    (oid, owner): (Oid, Oid),
    schema: Option<&str>,
    name: &str,
    kind: &str,
    to: Option<&str>,
) -> Rows {
    let mut rows = Rows::new();
    for grant in context.state.grants(oid) {
        let public = grant.grantee == catalog::PUBLIC_GRANTEE_OID;
        let who = if public { "public".to_owned() } else { context.user_name(grant.grantee) };
        if to.is_some_and(|to| to != who) {
            continue;
        }
        for (privilege, label) in privileges::NAMES {
            if grant.privileges.contains(*privilege) {
                rows.push(row![
                    &context.database.name,
                    schema,
                    name,
                    kind,
                    *label,
                    grant.grantee,
                    &who,
                    if public { "public" } else { "user" },
                    grant.grantable.contains(*privilege),
                    kind,
                    context.user_name(owner),
                ]);
            }
        }
    }
    rows
}

fn named(context: &SystemContext, name: &ObjectName) -> Result<AnyRelation> {
    let names: Vec<String> = name.0.iter().map(|part| part.name.clone()).collect();
    relation_of(context, &names).map_err(|error| crate::relations::at(error, name.position()))
}

fn table_ddl(context: &SystemContext, name: &ObjectName) -> Result<Rows> {
    match named(context, name)? {
        AnyRelation::User(Relation::Table(table)) => Ok(vec![row![ddl(context, &table)]]),
        other => Err(error!(WrongObjectType, "\"{}\" is not a table", other.name())),
    }
}

fn view_ddl(context: &SystemContext, name: &ObjectName) -> Result<Rows> {
    match named(context, name)? {
        AnyRelation::User(Relation::View(view)) => {
            let text = view_text(&view);
            let name = base::ident::quote(&view.name);
            let schema = base::ident::quote(&context.namespace_name(view.schema));
            let ddl = if view.late_binding {
                text
            } else {
                format!("CREATE OR REPLACE VIEW {schema}.{name} AS\n{text}")
            };
            Ok(vec![row![ddl]])
        }
        other => Err(error!(WrongObjectType, "\"{}\" is not a view", other.name())),
    }
}

/// CREATE TABLE that makes the table again.
fn ddl(context: &SystemContext, table: &Table) -> String {
    let quote = base::ident::quote;
    let temporary = if table.temporary.is_some() { "TEMPORARY " } else { "" };
    let schema = quote(&context.namespace_name(table.schema));
    let mut lines: Vec<String> = table.columns.iter().map(column_ddl).collect();
    for constraint in &table.constraints {
        let text = definition(context, table, constraint);
        lines.push(format!("    CONSTRAINT {} {text}", quote(constraint.name())));
    }
    let mut text = format!(
        "CREATE {temporary}TABLE {schema}.{} (\n{}\n)",
        quote(&table.name),
        lines.join(",\n")
    );
    let name = |id| table.column_by_id(id).map_or_else(String::new, |c| quote(&c.name));
    match table.distribution.declared {
        DistStyle::Key(id) => text.push_str(&format!("\nDISTSTYLE KEY\nDISTKEY ({})", name(id))),
        DistStyle::Auto => text.push_str("\nDISTSTYLE AUTO"),
        _ => text.push_str(&format!("\nDISTSTYLE {}", dist_style_text(table))),
    }
    let keys =
        |ids: &[base::ids::ColumnId]| ids.iter().map(|id| name(*id)).collect::<Vec<_>>().join(", ");
    match &table.sort_key {
        SortKey::Compound(ids) => text.push_str(&format!("\nSORTKEY ({})", keys(ids))),
        SortKey::Interleaved(ids) => {
            text.push_str(&format!("\nINTERLEAVED SORTKEY ({})", keys(ids)));
        }
        SortKey::None | SortKey::Auto => {}
    }
    if !table.backup {
        text.push_str("\nBACKUP NO");
    }
    text.push(';');
    text
}

fn column_ddl(column: &catalog::Column) -> String {
    let mut text = format!("    {} {}", base::ident::quote(&column.name), column.sql_type);
    if let Some(identity) = column.identity {
        let how = if identity.by_default { "GENERATED BY DEFAULT AS IDENTITY" } else { "IDENTITY" };
        text.push_str(&format!(" {how}({},{})", identity.seed, identity.step));
    }
    if let Some(default) = &column.default {
        text.push_str(&format!(" DEFAULT {default}"));
    }
    if let Some(encode) = &column.encode {
        text.push_str(&format!(" ENCODE {encode}"));
    }
    if !column.nullable {
        text.push_str(" NOT NULL");
    }
    text
}
