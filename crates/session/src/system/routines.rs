//! Procedures and functions as system tables and SHOW tell of them.

use std::sync::Arc;

use base::SqlType;
use catalog::{ArgumentMode, Routine, RoutineArgument, RoutineKind, Volatility};

use super::{NULL, Rows, SystemContext, row, type_parts};

/// PostgreSQL's pseudo-type of several values.
const RECORD_OID: u32 = 2_249;
/// The type of a procedure's cursor.
const REFCURSOR_OID: u32 = 1_790;
pub(super) const PLPGSQL_OID: u32 = 100_150;
const SQL_OID: u32 = 14;

/// The routines of the current database.
pub(crate) fn all(context: &SystemContext) -> Vec<Arc<Routine>> {
    let schemas = context.state.schemas(context.database.oid);
    schemas.iter().flat_map(|schema| context.state.routines(schema.oid)).collect()
}

pub(crate) fn type_oid(argument: &RoutineArgument) -> u32 {
    if argument.refcursor { REFCURSOR_OID } else { argument.sql_type.oid() }
}

fn result_oid(routine: &Routine) -> u32 {
    if let Some(sql_type) = routine.returns {
        return sql_type.oid();
    }
    let mut outputs = routine.outputs();
    match (outputs.next(), outputs.next()) {
        (None, _) => SqlType::Void.oid(),
        (Some(only), None) => type_oid(only),
        _ => RECORD_OID,
    }
}

/// The result as psql shows it.
pub(crate) fn result_text(routine: &Routine) -> Option<String> {
    match (routine.kind, routine.returns) {
        (RoutineKind::Function, Some(sql_type)) => Some(sql_type.to_string()),
        _ => {
            let mut outputs = routine.outputs();
            let first = outputs.next()?;
            let only = outputs.next().is_none();
            Some(if only { first.type_name() } else { "record".to_owned() })
        }
    }
}

fn mode(argument: &RoutineArgument) -> &'static str {
    match argument.mode {
        ArgumentMode::In => "IN",
        ArgumentMode::Out => "OUT",
        ArgumentMode::InOut => "INOUT",
    }
}

/// `a integer, INOUT b integer`: types with their modifiers where `exact`.
pub(crate) fn arguments_text(routine: &Routine, exact: bool) -> String {
    let one = |argument: &RoutineArgument| {
        let sql_type = match exact && !argument.refcursor {
            true => argument.sql_type.to_string(),
            false => argument.type_name(),
        };
        let mut words = Vec::new();
        if !argument.name.is_empty() {
            words.push(base::ident::quote(&argument.name));
        }
        if argument.mode != ArgumentMode::In {
            words.insert(0, mode(argument).to_owned());
        }
        words.push(sql_type);
        words.join(" ")
    };
    routine.arguments.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The rows of pg_proc. Built-in functions have none: Redshift's clients read it only for what
/// users made.
pub(super) fn procedures(context: &SystemContext) -> Rows {
    all(context)
        .iter()
        .map(|routine| {
            let types: Vec<i64> = routine.inputs().map(|one| i64::from(type_oid(one))).collect();
            let outputs = routine.outputs().next().is_some();
            let every: Vec<i64> =
                routine.arguments.iter().map(|one| i64::from(type_oid(one))).collect();
            let modes = routine.arguments.iter().map(|one| match one.mode {
                ArgumentMode::In => "i".to_owned(),
                ArgumentMode::Out => "o".to_owned(),
                ArgumentMode::InOut => "b".to_owned(),
            });
            let names: Vec<String> = routine.arguments.iter().map(|one| one.name.clone()).collect();
            let named = names.iter().any(|name| !name.is_empty());
            let procedure = routine.kind == RoutineKind::Procedure;
            row![
                routine.oid,
                &routine.name,
                routine.schema,
                routine.owner,
                if procedure { PLPGSQL_OID } else { SQL_OID },
                false,
                routine.security_definer,
                false,
                false,
                match routine.volatility {
                    Volatility::Volatile => "v",
                    Volatility::Stable => "s",
                    Volatility::Immutable => "i",
                },
                types.len(),
                result_oid(routine),
                types,
                named.then_some(names),
                &routine.body,
                NULL,
                super::pg_relations::acl(context, routine.oid, routine.owner),
                outputs.then_some(every),
                outputs.then(|| modes.collect::<Vec<String>>()),
                if procedure { "p" } else { "f" },
                false,
            ]
        })
        .collect()
}

/// information_schema.routines.
pub(super) fn routines(context: &SystemContext) -> Rows {
    let database = &context.database.name;
    all(context)
        .iter()
        .map(|routine| {
            let schema = context.namespace_name(routine.schema);
            let specific = format!("{}_{}", routine.name, routine.oid);
            row![
                database,
                &schema,
                specific,
                database,
                &schema,
                &routine.name,
                routine.kind.name().to_uppercase(),
                routine.returns.map(|sql_type| sql_type.to_string()),
                &routine.body,
            ]
        })
        .collect()
}

/// information_schema.parameters.
pub(super) fn parameters(context: &SystemContext) -> Rows {
    let mut rows = Rows::new();
    for routine in all(context) {
        let schema = context.namespace_name(routine.schema);
        let specific = format!("{}_{}", routine.name, routine.oid);
        for (n, argument) in routine.arguments.iter().enumerate() {
            rows.push(row![
                &context.database.name,
                &schema,
                &specific,
                n + 1,
                mode(argument),
                &argument.name,
                argument.type_name(),
            ]);
        }
    }
    rows
}

/// The rows of SHOW PROCEDURES and SHOW FUNCTIONS.
pub(crate) fn shown(
    context: &SystemContext,
    schema: &str,
    kind: RoutineKind,
    takes: impl Fn(&str) -> bool,
) -> Rows {
    all(context)
        .iter()
        .filter(|routine| routine.kind == kind && takes(&routine.name))
        .filter(|routine| context.namespace_name(routine.schema) == schema)
        .map(|routine| {
            row![
                &context.database.name,
                schema,
                &routine.name,
                routine.arguments.len(),
                arguments_text(routine, false),
                result_text(routine),
                NULL,
            ]
        })
        .collect()
}

/// The rows of SHOW PARAMETERS.
pub(crate) fn shown_parameters(context: &SystemContext, routine: &Routine) -> Rows {
    let schema = context.namespace_name(routine.schema);
    let line = |name: &str, n: usize, way: &str, type_name: String, sql_type: SqlType| {
        let parts = type_parts(sql_type);
        row![
            &context.database.name,
            &schema,
            &routine.name,
            name,
            n,
            way,
            type_name,
            parts.length,
            parts.precision.map(i32::from),
            parts.scale.map(i32::from),
        ]
    };
    let mut rows: Rows = routine
        .arguments
        .iter()
        .enumerate()
        .map(|(n, one)| line(&one.name, n + 1, mode(one), one.type_name(), one.sql_type))
        .collect();
    if let Some(sql_type) = routine.returns {
        rows.push(line("", 0, "RETURN", sql_type.to_string(), sql_type));
    }
    rows
}

/// The statement that makes a routine: SHOW PROCEDURE, pg_get_functiondef.
pub(crate) fn definition(context: &SystemContext, routine: &Routine) -> String {
    let kind = routine.kind.name().to_uppercase();
    let schema = base::ident::quote(&context.namespace_name(routine.schema));
    let name = base::ident::quote(&routine.name);
    let arguments = arguments_text(routine, true);
    let mut text = format!("CREATE OR REPLACE {kind} {schema}.{name}({arguments})\n");
    if let Some(sql_type) = routine.returns {
        text.push_str(&format!(" RETURNS {sql_type}\n"));
    }
    if routine.nonatomic {
        text.push_str(" NONATOMIC\n");
    }
    let language = match routine.kind {
        RoutineKind::Procedure => "plpgsql",
        RoutineKind::Function => "sql",
    };
    text.push_str(&format!(" LANGUAGE {language}\n"));
    if routine.kind == RoutineKind::Function {
        text.push_str(match routine.volatility {
            Volatility::Volatile => " VOLATILE\n",
            Volatility::Stable => " STABLE\n",
            Volatility::Immutable => " IMMUTABLE\n",
        });
    }
    if routine.security_definer {
        text.push_str(" SECURITY DEFINER\n");
    }
    for (name, value) in &routine.settings {
        text.push_str(&format!(" SET {name} TO {}\n", base::ident::literal(value)));
    }
    let mut tag = "_".to_owned();
    // With the sign that closes the body, as its end may begin a tag.
    while format!("{}$", routine.body).contains(&format!("${tag}$")) {
        tag.push('_');
    }
    text.push_str(&format!("AS ${tag}${}${tag}$\n", routine.body));
    text
}
