//! Session facts, definitions and descriptions.

use base::SqlType::{self, BigInt, Boolean, Integer, Name, Text, TextArray, TimestampTz};
use base::ids::Oid;
use base::{Result, error};

use super::super::context::AnyRelation;
use super::super::{Cell, SystemContext, keys, pg_relations, routines};
use super::Declaration;
use super::value::Argument;

const fn f(
    name: &'static str,
    result: SqlType,
    arity: (usize, usize),
    body: super::Body,
) -> Declaration {
    Declaration { name, result, arity, stable: true, takes_null: false, body }
}

const fn acts(
    name: &'static str,
    result: SqlType,
    arity: (usize, usize),
    body: super::Body,
) -> Declaration {
    Declaration { name, result, arity, stable: false, takes_null: false, body }
}

/// A function over objects that cannot exist here yet, so that its answer is NULL.
const fn nothing(name: &'static str, arity: (usize, usize)) -> Declaration {
    f(name, Text, arity, |_, _| Ok(Cell::Null))
}

pub(super) static TABLE: &[Declaration] = &[
    f("version", Text, (0, 0), |_, _| Ok(crate::version().into())),
    f("current_database", Name, (0, 0), |c, _| Ok(c.database.name.as_str().into())),
    f("current_catalog", Name, (0, 0), |c, _| Ok(c.database.name.as_str().into())),
    f("current_schema", Name, (0, 0), |c, _| Ok(c.current_schema().into())),
    f("current_schemas", TextArray, (1, 1), current_schemas),
    f("array_lower", Integer, (2, 2), |_, args| Ok(bound(args, |_| 1).into())),
    f("array_upper", Integer, (2, 2), |_, args| Ok(bound(args, |count| count).into())),
    f("current_user", Name, (0, 0), |c, _| Ok(c.user.name.as_str().into())),
    f("session_user", Name, (0, 0), |c, _| Ok(c.user.name.as_str().into())),
    f("user", Name, (0, 0), |c, _| Ok(c.user.name.as_str().into())),
    f("current_user_id", Integer, (0, 0), |c, _| Ok(c.user.oid.into())),
    f("pg_backend_pid", Integer, (0, 0), |c, _| Ok(c.process_id.into())),
    f("current_setting", Text, (1, 2), current_setting),
    f("pg_client_encoding", Name, (0, 0), |_, _| Ok("UTF8".into())),
    f("pg_is_in_recovery", Boolean, (0, 0), |_, _| Ok(false.into())),
    f("pg_postmaster_start_time", TimestampTz, (0, 0), |c, _| Ok(c.leader.started_us().into())),
    f("pg_my_temp_schema", SqlType::Oid, (0, 0), |c, _| Ok(my_temp_schema(c).into())),
    f("pg_last_query_id", BigInt, (0, 0), |c, _| Ok(last(c).map(|last| last.query).into())),
    f("last_query_id", BigInt, (0, 0), |c, _| Ok(last(c).map(|last| last.query).into())),
    f("pg_last_copy_id", BigInt, (0, 0), |c, _| Ok(last(c).map(|last| last.copy).into())),
    f("pg_last_copy_count", BigInt, (0, 0), |c, _| Ok(last(c).map(|l| l.copy_rows).into())),
    // Nothing is ever unloaded.
    f("pg_last_unload_id", BigInt, (0, 0), |_, _| Ok((-1i64).into())),
    f("pg_last_unload_count", BigInt, (0, 0), |_, _| Ok(0i64.into())),
    // The one collation that databases have.
    f("db_collation", Text, (0, 0), |_, _| Ok("case_sensitive".into())),
    f("slice_num", Integer, (0, 0), |_, _| Ok(12_811i32.into())),
    acts("pg_terminate_backend", Boolean, (1, 1), terminate_backend),
    acts("pg_cancel_backend", Boolean, (1, 1), cancel_backend),
    f("pg_get_expr", Text, (2, 3), |_, args| Ok(args[0].text().into())),
    f("pg_get_viewdef", Text, (1, 2), view_definition),
    f("pg_get_constraintdef", Text, (1, 2), |c, args| {
        Ok(args[0].int().and_then(|oid| keys::constraint_text(c, oid)).into())
    }),
    f("pg_get_indexdef", Text, (1, 3), index_definition),
    f("pg_get_userbyid", Name, (1, 1), |c, args| Ok(c.user_name(oid(&args[0])?).into())),
    f("obj_description", Text, (1, 2), object_description),
    f("shobj_description", Text, (2, 2), object_description),
    f("col_description", Text, (2, 2), column_description),
    f("format_encoding", Text, (1, 1), format_encoding),
    f("pg_encoding_to_char", Name, (1, 1), |_, args| Ok(encoding_name(&args[0]).into())),
    f("pg_size_pretty", Text, (1, 1), |_, args| Ok(args[0].int().map(pretty).into())),
    f("pg_relation_size", BigInt, (1, 2), relation_size),
    f("pg_table_size", BigInt, (1, 1), relation_size),
    f("pg_total_relation_size", BigInt, (1, 1), relation_size),
    f("pg_database_size", BigInt, (1, 1), database_size),
    f("pg_relation_is_publishable", Boolean, (1, 1), |_, _| Ok(false.into())),
    // The number that AT (SNAPSHOT => n) takes.
    f("current_snapshot", BigInt, (0, 0), |c, _| Ok(c.state.position().0.into())),
    f("txid_current", BigInt, (0, 0), |c, _| Ok(c.leader.transaction_of(c.process_id).into())),
    nothing("pg_get_serial_sequence", (2, 2)),
    f("pg_get_function_result", Text, (1, 1), |c, args| {
        Ok(routine(c, &args[0])?.and_then(|one| routines::result_text(&one)).into())
    }),
    f("pg_get_function_arguments", Text, (1, 1), |c, args| {
        Ok(routine(c, &args[0])?.map(|one| routines::arguments_text(&one, false)).into())
    }),
    f("pg_get_function_identity_arguments", Text, (1, 1), |c, args| {
        Ok(routine(c, &args[0])?.map(|one| routines::arguments_text(&one, false)).into())
    }),
    f("pg_get_functiondef", Text, (1, 1), |c, args| {
        Ok(routine(c, &args[0])?.map(|one| routines::definition(c, &one)).into())
    }),
    nothing("pg_get_partkeydef", (1, 1)),
    nothing("pg_get_ruledef", (1, 2)),
    nothing("pg_get_triggerdef", (1, 2)),
    nothing("pg_get_statisticsobjdef_columns", (1, 1)),
    nothing("pg_tablespace_location", (1, 1)),
];

fn routine(
    context: &SystemContext,
    argument: &Argument,
) -> Result<Option<std::sync::Arc<catalog::Routine>>> {
    Ok(context.state.routine_by_oid(oid(argument)?))
}

/// An id argument.
pub(super) fn oid(argument: &Argument) -> Result<Oid> {
    let number = argument.int().and_then(|number| u32::try_from(number).ok());
    number.map(Oid).ok_or_else(|| {
        error!(InvalidTextRepresentation, "invalid input syntax for type oid: {argument:?}")
    })
}

fn current_schemas(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let mut path = context.existing_path();
    if args[0].is_true() {
        if !path.iter().any(|schema| schema == "pg_catalog") {
            path.insert(0, "pg_catalog".to_owned());
        }
        if !context.state.temporaries(context.process_id).is_empty() {
            path.insert(0, context.temp_schema());
        }
    }
    Ok(path.into())
}

/// A bound of an array with items, which have one dimension.
fn bound(args: &[Argument], of: fn(usize) -> usize) -> Option<i32> {
    match args {
        [Argument::List(items), dimension] if !items.is_empty() && dimension.int() == Some(1) => {
            i32::try_from(of(items.len())).ok()
        }
        _ => None,
    }
}

fn current_setting(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let name = args[0].text().unwrap_or_default();
    match context.settings.show(&name) {
        Ok(value) => Ok(value.into()),
        Err(_) if args.get(1).is_some_and(Argument::is_true) => Ok(Cell::Null),
        Err(error) => Err(error),
    }
}

fn my_temp_schema(context: &SystemContext) -> u32 {
    let any = !context.state.temporaries(context.process_id).is_empty();
    if any { catalog::PG_TEMP_SCHEMA_OID.0 } else { 0 }
}

fn last(context: &SystemContext) -> Option<crate::leader::registry::Last> {
    context.leader.session(context.process_id).map(|session| session.activity().last)
}

/// The session that a superuser, or its own user, may signal.
fn signalled(
    context: &SystemContext,
    argument: &Argument,
) -> Result<Option<std::sync::Arc<crate::leader::registry::SessionEntry>>> {
    let process = argument.int().and_then(|pid| i32::try_from(pid).ok());
    let Some(session) = process.and_then(|pid| context.leader.session(pid)) else {
        return Ok(None);
    };
    if !context.may_see(session.user_oid) {
        return Err(error!(
            InsufficientPrivilege,
            "must be superuser to signal the sessions of other users"
        ));
    }
    Ok(Some(session))
}

fn terminate_backend(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let session = signalled(context, &args[0])?;
    Ok(session.map(|session| session.terminate(base::client::by_administrator())).is_some().into())
}

fn cancel_backend(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let session = signalled(context, &args[0])?;
    Ok(session.is_some_and(|session| session.cancel()).into())
}

fn view_definition(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let relation = match &args[0] {
        Argument::Text(name) if name.parse::<u32>().is_err() => {
            super::names::find_relation(context, name)?
        }
        other => context.relation(oid(other)?),
    };
    let text = match relation {
        Some(AnyRelation::User(catalog::Relation::View(view))) => {
            Some(pg_relations::view_text(&view))
        }
        _ => None,
    };
    Ok(text.into())
}

fn index_definition(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let Some(AnyRelation::Key(key)) = context.relation(oid(&args[0])?) else {
        return Ok(Cell::Null);
    };
    // With a column number, that column alone.
    match args.get(1).and_then(Argument::int).filter(|number| *number > 0) {
        Some(number) => {
            let place = usize::try_from(number - 1).unwrap_or(usize::MAX);
            let column = key.columns.get(place).and_then(|id| key.table.column_by_id(*id));
            Ok(column.map(|column| base::ident::quote(&column.name)).into())
        }
        None => Ok(keys::index_text(context, &key).into()),
    }
}

fn object_description(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    Ok(context.state.comment(oid(&args[0])?).into())
}

fn column_description(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let number = args[1].int().unwrap_or(0);
    let relation = context.relation(oid(&args[0])?);
    let columns = relation.map(|relation| relation.columns()).unwrap_or_default();
    let column = columns.into_iter().find(|column| i64::from(column.number) == number);
    Ok(column.and_then(|column| column.comment).into())
}

fn format_encoding(_: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let code = args[0].int().unwrap_or(0);
    let known = pg_relations::ENCODINGS.iter().find(|(number, _)| i64::from(*number) == code);
    Ok(known.map(|(_, name)| *name).into())
}

fn encoding_name(argument: &Argument) -> &'static str {
    match argument.int() {
        Some(0) => "SQL_ASCII",
        Some(6 | 7) => "UTF8",
        _ => "",
    }
}

fn pretty(bytes: i64) -> String {
    const UNITS: &[&str] = &["bytes", "kB", "MB", "GB", "TB", "PB"];
    let (mut amount, mut unit) = (bytes, 0);
    while amount.abs() >= 10_240 && unit + 1 < UNITS.len() {
        amount = (amount + 512) / 1_024;
        unit += 1;
    }
    format!("{amount} {}", UNITS[unit])
}

fn relation_size(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let oid = match &args[0] {
        Argument::Text(name) if name.parse::<u32>().is_err() => {
            super::names::relation_oid(context, name)?
        }
        other => oid(other)?,
    };
    Ok(context.state.table_bytes(oid).into())
}

fn database_size(context: &SystemContext, args: &[Argument]) -> Result<Cell> {
    let database = match &args[0] {
        Argument::Text(name) => context.state.database(name),
        other => context.state.database_by_oid(oid(other)?),
    };
    let Some(database) = database else {
        return Err(error!(InvalidCatalogName, "database does not exist"));
    };
    let mut bytes = 0;
    for schema in context.state.schemas(database.oid) {
        let relations = context.state.relations(schema.oid).into_iter();
        bytes += relations.map(|r| context.state.table_bytes(r.oid())).sum::<u64>();
    }
    Ok(bytes.into())
}
