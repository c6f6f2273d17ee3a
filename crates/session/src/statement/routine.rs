//! CREATE, ALTER and DROP of procedures and functions, and finding one by its name.

use std::sync::Arc;

use base::client::{Outcome, Severity};
use base::{Error, Result, SqlType, error, suggest};
use catalog::{ArgumentMode, Op, Privileges, Routine, RoutineArgument, RoutineChange, RoutineKind};
use sql::InlineFunction;
use sql::ast;
use sql::ast::{
    AlterRoutine, AlterRoutineAction, CreateRoutine, DropRoutines, ObjectName, RoutineName,
    RoutineType, SetValue,
};

use super::done;
use crate::client::ClientSession;
use crate::privileges;
use crate::relations::{at, check_database};
use crate::system::SystemContext;

/// Arguments of each direction, as on Redshift.
const ARGUMENTS_MAX: usize = 32;

pub(crate) fn kind_of(kind: ast::RoutineKind) -> RoutineKind {
    match kind {
        ast::RoutineKind::Procedure => RoutineKind::Procedure,
        ast::RoutineKind::Function => RoutineKind::Function,
    }
}

/// A declared type as the catalog keeps it: a refcursor is text with a mark.
fn stored_type(sql_type: RoutineType) -> (SqlType, bool) {
    match sql_type {
        RoutineType::Sql(sql_type) => (sql_type, false),
        RoutineType::RefCursor => (SqlType::Text, true),
    }
}

impl ClientSession {
    pub(crate) async fn create_routine(&mut self, create: &CreateRoutine) -> Result<Outcome> {
        let kind = kind_of(create.kind);
        let context = self.context()?;
        let target = self.target(&context, &create.name, false)?;
        let arguments = arguments(create)?;
        check_body(create, &arguments)?;
        if kind == RoutineKind::Function {
            self.check_function(create, &arguments).await?;
        }
        let mut routine = Routine {
            oid: base::ids::Oid(0),
            schema: target.schema,
            name: target.name.clone(),
            owner: context.user.oid,
            kind,
            arguments,
            returns: create.returns,
            body: create.body.clone(),
            security_definer: create.security_definer,
            nonatomic: create.nonatomic,
            volatility: volatility(create.volatility),
            settings: settings(create)?,
            created_us: base::clock::now_us(),
        };
        let types: Vec<(SqlType, bool)> =
            routine.inputs().map(|one| (one.sql_type, one.refcursor)).collect();
        match context.state.routine(target.schema, &target.name, &types) {
            Some(old) if create.or_replace => {
                privileges::owner(&context.user, old.owner, old.kind.name(), &old.name)?;
                may_replace(&old, &routine, create.name.position())?;
                (routine.oid, routine.owner) = (old.oid, old.owner);
                self.apply(Op::ReplaceRoutine(Box::new(routine)))?;
            }
            _ => {
                routine.oid = self.work.transaction(&self.leader.catalog).new_oid();
                let position = create.name.position();
                let object = routine.oid;
                self.apply(Op::CreateRoutine(Box::new(routine))).map_err(|e| at(e, position))?;
                if kind == RoutineKind::Function {
                    // Functions are open to all until that is revoked; procedures are not.
                    self.apply(Op::Grant {
                        object,
                        grantee: catalog::PUBLIC_GRANTEE_OID,
                        privileges: Privileges::EXECUTE,
                        with_grant_option: false,
                    })?;
                }
            }
        }
        done(create.command())
    }

    /// Binds the body of a function in SQL with NULLs for its arguments.
    async fn check_function(
        &mut self,
        create: &CreateRoutine,
        arguments: &[RoutineArgument],
    ) -> Result<()> {
        if let Some(argument) =
            create.arguments.iter().find(|one| one.mode != ast::ArgumentMode::In)
        {
            let position = argument.name.as_ref().map_or(0, |name| name.position);
            return Err(at(
                Error::unsupported("OUT and INOUT arguments of a function are not supported"),
                position,
            ));
        }
        let types: Vec<SqlType> = arguments.iter().map(|one| one.sql_type).collect();
        let returns = create.returns.unwrap_or(SqlType::Unknown);
        let mut query = sql::parse_query("select null")?;
        let null = sql::parse_expression("null")?;
        let nulls = types.iter().map(|_| null.expr.as_ref().clone()).collect();
        let body = create.body.as_str();
        let expr = base::stack::deep(|| sql::inlined(body, &types, returns, nulls));
        let expr = expr.map_err(|error| match error.position() {
            Some(position) => error.at(create.body_position + position - 1),
            None => error,
        })?;
        super::call::select_only(&mut query, expr);
        self.bind_query(&query, &[]).await.map(drop).map_err(|error| error.within(body))
    }

    pub(crate) fn alter_routine(&mut self, alter: &AlterRoutine) -> Result<Outcome> {
        let context = self.context()?;
        let routine = find(&context, &alter.routine, kind_of(alter.kind))?;
        privileges::owner(&context.user, routine.owner, routine.kind.name(), &routine.name)?;
        let change = match &alter.action {
            AlterRoutineAction::RenameTo(name) => RoutineChange::Rename(name.name.clone()),
            AlterRoutineAction::OwnerTo(name) => {
                let owner = match name.name.as_str() {
                    "current_user" => context.user.oid,
                    "session_user" => self.entry.user_oid,
                    _ => self.user_named(name)?.oid,
                };
                // Who runs what another owns may run it with that one's rights.
                if owner != context.user.oid {
                    privileges::superuser(&context.user, "give a routine to another user")?;
                }
                RoutineChange::SetOwner(owner)
            }
        };
        self.apply(Op::AlterRoutine { routine: routine.oid, change })?;
        done(alter.command())
    }

    pub(crate) fn drop_routines(&mut self, drop: &DropRoutines) -> Result<Outcome> {
        for name in &drop.routines {
            let context = self.context()?;
            let routine = match find(&context, name, kind_of(drop.kind)) {
                Ok(routine) => routine,
                Err(error)
                    if drop.if_exists
                        && matches!(
                            error.sqlstate(),
                            base::SqlState::UndefinedFunction | base::SqlState::InvalidSchemaName
                        ) =>
                {
                    let notice = error!(SuccessfulCompletion, "{}, skipping", error.message());
                    self.notice(Severity::Notice, notice);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let schema = context.state.schema_by_oid(routine.schema);
            let owns_schema = schema.is_some_and(|schema| schema.owner == context.user.oid);
            if !owns_schema {
                let kind = routine.kind.name();
                privileges::owner(&context.user, routine.owner, kind, &routine.name)?;
            }
            self.apply(Op::DropRoutine { routine: routine.oid, cascade: drop.cascade })?;
        }
        done(drop.command())
    }
}

fn volatility(given: Option<ast::Volatility>) -> catalog::Volatility {
    match given {
        Some(ast::Volatility::Stable) => catalog::Volatility::Stable,
        Some(ast::Volatility::Immutable) => catalog::Volatility::Immutable,
        Some(ast::Volatility::Volatile) | None => catalog::Volatility::Volatile,
    }
}

/// The settings that hold while it runs.
fn settings(create: &CreateRoutine) -> Result<Vec<(String, String)>> {
    if create.nonatomic && !create.settings.is_empty() {
        return Err(at(
            Error::unsupported("SET of a NONATOMIC procedure is not supported")
                .detail("Its settings would end with its first transaction."),
            create.name.position(),
        ));
    }
    let one = |(name, value): &(ast::Ident, SetValue)| {
        let value = match value {
            SetValue::Values(values) => values.join(", "),
            SetValue::Default => {
                return Err(at(
                    Error::unsupported("SET … TO DEFAULT of a procedure is not supported"),
                    name.position,
                ));
            }
        };
        let checked = crate::settings::Settings::checked(&name.name, &value);
        Ok((name.name.clone(), checked.map_err(|e| at(e, name.position))?))
    };
    create.settings.iter().map(one).collect()
}

fn arguments(create: &CreateRoutine) -> Result<Vec<RoutineArgument>> {
    let mut arguments: Vec<RoutineArgument> = Vec::with_capacity(create.arguments.len());
    for given in &create.arguments {
        let name = given.name.as_ref().map_or_else(String::new, |name| name.name.clone());
        if !name.is_empty() && arguments.iter().any(|other| other.name == name) {
            return Err(at(
                error!(InvalidFunctionDefinition, "parameter name \"{name}\" used more than once"),
                given.name.as_ref().map_or(0, |name| name.position),
            ));
        }
        let mode = match given.mode {
            ast::ArgumentMode::In => ArgumentMode::In,
            ast::ArgumentMode::Out => ArgumentMode::Out,
            ast::ArgumentMode::InOut => ArgumentMode::InOut,
        };
        let (sql_type, refcursor) = stored_type(given.sql_type);
        super::call::check_type(sql_type)
            .map_err(|e| at(e, given.name.as_ref().map_or(0, |name| name.position)))?;
        arguments.push(RoutineArgument { name, mode, sql_type, refcursor });
    }
    let inputs = arguments.iter().filter(|one| one.mode.is_input()).count();
    let outputs = arguments.iter().filter(|one| one.mode.is_output()).count();
    if inputs.max(outputs) > ARGUMENTS_MAX {
        return Err(at(
            error!(
                TooManyArguments,
                "a procedure cannot have more than {ARGUMENTS_MAX} arguments of one direction"
            ),
            create.name.position(),
        ));
    }
    Ok(arguments)
}

/// Refuses a body that its language cannot be.
fn check_body(create: &CreateRoutine, arguments: &[RoutineArgument]) -> Result<()> {
    let language = create.language.name.as_str();
    match (create.kind, language) {
        (ast::RoutineKind::Procedure, "plpgsql") => {
            let names: Vec<String> = arguments.iter().map(|one| one.name.clone()).collect();
            let parsed = base::stack::deep(|| plpgsql::parse(&create.body, &names));
            parsed.map(drop).map_err(|error| match error.position() {
                Some(position) => error.at(create.body_position + position - 1),
                None => error,
            })
        }
        (_, "plpythonu") => Err(at(
            Error::unsupported("language \"plpythonu\" is not supported")
                .hint("Write the function in LANGUAGE sql."),
            create.language.position,
        )),
        (ast::RoutineKind::Function, "sql") => Ok(()),
        (_, other) => Err(at(
            error!(UndefinedObject, "language \"{other}\" cannot be used for this")
                .hint("Procedures are written in plpgsql, functions in sql."),
            create.language.position,
        )),
    }
}

/// CREATE OR REPLACE changes neither the kind nor what callers get.
fn may_replace(old: &Routine, new: &Routine, position: u32) -> Result<()> {
    if old.kind != new.kind {
        return Err(at(
            error!(WrongObjectType, "\"{}\" is a {}", old.name, old.kind.name()),
            position,
        ));
    }
    let outputs = |routine: &Routine| -> Vec<(SqlType, bool)> {
        routine.outputs().map(|one| (one.sql_type, one.refcursor)).collect()
    };
    if old.returns != new.returns || outputs(old) != outputs(new) {
        let kind = old.kind.name();
        return Err(at(
            error!(InvalidFunctionDefinition, "cannot change return type of existing {kind}")
                .hint(format!("Use DROP {} {} first.", kind.to_uppercase(), old.signature())),
            position,
        ));
    }
    Ok(())
}

/// The schemas in which a name is looked for.
fn schemas(context: &SystemContext, name: &ObjectName) -> Result<Vec<Arc<catalog::Schema>>> {
    check_database(context, name.database())?;
    let database = context.database.oid;
    if let Some(schema) = name.schema() {
        let found = context.state.schema(database, &schema.name).ok_or_else(|| {
            at(
                error!(InvalidSchemaName, "schema \"{}\" does not exist", schema.name),
                schema.position,
            )
        })?;
        return Ok(vec![found]);
    }
    let path = context.search_path.iter();
    Ok(path.filter_map(|schema| context.state.schema(database, schema)).collect())
}

/// All routines that a name may mean, those of schemas early in the search path first; a later
/// one with the same input types is hidden.
pub(crate) fn candidates(context: &SystemContext, name: &ObjectName) -> Result<Vec<Arc<Routine>>> {
    let mut found: Vec<Arc<Routine>> = Vec::new();
    for schema in schemas(context, name)? {
        let usable = privileges::held(&context.state, &context.user, schema.oid, schema.owner)
            .contains(Privileges::USAGE);
        let named = context.state.routines_named(schema.oid, &name.last().name);
        if !named.is_empty() && !usable && name.schema().is_some() {
            privileges::on_schema(&context.state, &context.user, &schema, Privileges::USAGE)?;
        }
        for routine in named.into_iter().filter(|_| usable) {
            if found.iter().all(|other| other.signature() != routine.signature()) {
                found.push(routine);
            }
        }
    }
    Ok(found)
}

/// The routine of a name, and of input types where it has several.
///
/// # Errors
/// 3F000, 42883 when there is none, 42725 when there are several.
pub(crate) fn find(
    context: &SystemContext,
    wanted: &RoutineName,
    kind: RoutineKind,
) -> Result<Arc<Routine>> {
    let named = candidates(context, &wanted.name)?;
    let of_kind: Vec<Arc<Routine>> = named.into_iter().filter(|one| one.kind == kind).collect();
    let position = wanted.name.position();
    let Some(types) = &wanted.arguments else {
        return match of_kind.as_slice() {
            [only] => Ok(Arc::clone(only)),
            [] => Err(missing(context, &wanted.name, kind.name(), "")),
            _ => Err(at(
                error!(
                    AmbiguousFunction,
                    "{} name \"{}\" is not unique",
                    kind.name(),
                    wanted.name.last().name
                )
                .hint("Specify the argument list to select it unambiguously."),
                position,
            )),
        };
    };
    let types: Vec<(u32, bool)> = types
        .iter()
        .map(|one| {
            let (sql_type, refcursor) = stored_type(*one);
            (sql_type.oid(), refcursor)
        })
        .collect();
    let fits = |routine: &&Arc<Routine>| {
        routine.inputs().map(|one| (one.sql_type.oid(), one.refcursor)).eq(types.iter().copied())
    };
    of_kind.iter().find(fits).cloned().ok_or_else(|| {
        let shown: Vec<String> = wanted
            .arguments
            .iter()
            .flatten()
            .map(|one| {
                let (sql_type, refcursor) = stored_type(*one);
                RoutineArgument { name: String::new(), mode: ArgumentMode::In, sql_type, refcursor }
                    .type_name()
            })
            .collect();
        missing(context, &wanted.name, kind.name(), &format!("({})", shown.join(", ")))
    })
}

/// 42883 for a name, with those that are near.
pub(crate) fn missing(
    context: &SystemContext,
    name: &ObjectName,
    kind: &str,
    arguments: &str,
) -> Error {
    let last = &name.last().name;
    let all: Vec<Arc<Routine>> = context.state.all_routines().cloned().collect();
    let others: Vec<String> = all
        .iter()
        .filter(|routine| routine.name == *last)
        .map(|routine| routine.signature())
        .collect();
    let error = error!(UndefinedFunction, "{kind} {name}{arguments} does not exist");
    let error = if others.is_empty() {
        error.maybe_hint(suggest::did_you_mean(last, all.iter().map(|one| one.name.as_str())))
    } else {
        error.hint(format!("There is {}.", others.join(", ")))
    };
    at(error, name.position())
}

/// The functions in SQL that a call may mean, those of the first schema that has the name with
/// as many arguments.
///
/// # Errors
/// 42501 for one that the user may not execute.
pub(crate) fn functions(
    context: &SystemContext,
    name: &[&str],
    count: usize,
    search_path: Option<&[String]>,
) -> Result<Vec<InlineFunction>> {
    let (schemas, name): (&[String], &str) = match name {
        [name] => (search_path.unwrap_or(&context.search_path), name),
        [schema, name] => (&[(*schema).to_owned()], name),
        _ => return Ok(Vec::new()),
    };
    for schema in schemas {
        let Some(schema) = context.state.schema(context.database.oid, schema) else { continue };
        let named = context.state.routines_named(schema.oid, name);
        let fits =
            |one: &Arc<Routine>| one.kind == RoutineKind::Function && one.arguments.len() == count;
        let functions: Vec<Arc<Routine>> = named.into_iter().filter(fits).collect();
        if functions.is_empty() {
            continue;
        }
        if let Err(error) =
            privileges::on_schema(&context.state, &context.user, &schema, Privileges::USAGE)
        {
            // Schemas of the path that are not for the user are passed over.
            if schemas.len() == 1 {
                return Err(error);
            }
            continue;
        }
        return functions
            .iter()
            .map(|function| {
                super::call::may_execute(context, function)?;
                Ok(InlineFunction {
                    oid: function.oid,
                    arguments: function.arguments.iter().map(|one| one.sql_type).collect(),
                    returns: function.returns.unwrap_or(SqlType::Unknown),
                    body: function.body.clone(),
                })
            })
            .collect();
    }
    Ok(Vec::new())
}
