//! Procedures and functions: CREATE, ALTER, DROP and CALL.

use base::{Result, error};
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::settings::{set_value, setting_name};
use super::unsupported;
use crate::ast::{
    AlterRoutine, AlterRoutineAction, ArgumentMode, Call, CreateRoutine, DropRoutines, Ident,
    RoutineArgument, RoutineKind, RoutineName, RoutineType, SetValue, Statement, Volatility,
};

/// `procedure` or `function` when it is next.
pub(super) fn kind(cursor: &mut Cursor) -> Option<RoutineKind> {
    Some(match cursor.one_of(&["procedure", "function"])? {
        "procedure" => RoutineKind::Procedure,
        _ => RoutineKind::Function,
    })
}

/// What stands behind the arguments.
#[derive(Default)]
struct Clauses {
    body: Option<(String, u32)>,
    language: Option<Ident>,
    security_definer: bool,
    nonatomic: bool,
    volatility: Option<Volatility>,
    settings: Vec<(Ident, SetValue)>,
}

/// After CREATE [OR REPLACE] PROCEDURE or FUNCTION.
pub(super) fn create(
    cursor: &mut Cursor,
    kind: RoutineKind,
    or_replace: bool,
) -> Result<Statement> {
    let name = cursor.object_name()?;
    let arguments = arguments(cursor)?;
    let mut returns = None;
    if kind == RoutineKind::Function {
        cursor.expect("returns")?;
        if cursor.is("table") || cursor.is("setof") {
            return Err(unsupported("a function that returns rows", cursor.position()));
        }
        returns = Some(cursor.sql_type()?);
    }
    let mut clauses = Clauses::default();
    while !cursor.at_end() {
        clause(cursor, kind, &mut clauses)?;
    }
    let position = cursor.position();
    let Some((body, body_position)) = clauses.body else {
        return Err(
            error!(InvalidFunctionDefinition, "no body specified: AS is missing").at(position)
        );
    };
    let Some(language) = clauses.language else {
        return Err(error!(InvalidFunctionDefinition, "no language specified").at(position));
    };
    Ok(Statement::CreateRoutine(Box::new(CreateRoutine {
        kind,
        name,
        or_replace,
        arguments,
        returns,
        body,
        body_position,
        language,
        security_definer: clauses.security_definer,
        nonatomic: clauses.nonatomic,
        volatility: clauses.volatility,
        settings: clauses.settings,
    })))
}

fn clause(cursor: &mut Cursor, kind: RoutineKind, clauses: &mut Clauses) -> Result<()> {
    let position = cursor.position();
    let procedure = kind == RoutineKind::Procedure;
    if cursor.accept("as") {
        clauses.body = Some(body(cursor)?);
    } else if cursor.accept("language") {
        let language = match cursor.optional_string() {
            Some(name) => Ident { name: name.to_ascii_lowercase(), position },
            None => cursor.ident()?,
        };
        clauses.language = Some(language);
    } else if procedure && cursor.accept("nonatomic") {
        clauses.nonatomic = true;
    } else if procedure && cursor.accept("security") {
        clauses.security_definer = match cursor.one_of(&["definer", "invoker"]) {
            Some(word) => word == "definer",
            None => return Err(cursor.unexpected()),
        };
    } else if procedure && cursor.accept("set") {
        let name = setting_name(cursor)?;
        if !cursor.accept("to") {
            cursor.expect_symbol(&Token::Eq)?;
        }
        clauses.settings.push((name, set_value(cursor)?));
    } else if let Some(word) =
        cursor.one_of(&["volatile", "stable", "immutable"]).filter(|_| !procedure)
    {
        clauses.volatility = Some(match word {
            "volatile" => Volatility::Volatile,
            "stable" => Volatility::Stable,
            _ => Volatility::Immutable,
        });
    } else {
        return Err(cursor.unexpected());
    }
    Ok(())
}

/// The body and where its text starts.
fn body(cursor: &mut Cursor) -> Result<(String, u32)> {
    let written = cursor.written();
    let position = cursor.position();
    let opening = match cursor.peek() {
        Token::DollarQuotedString(quoted) => {
            2 + quoted.tag.as_ref().map_or(0, |tag| tag.chars().count())
        }
        _ => written.find('\'').map_or(0, |at| at + 1),
    };
    let text = cursor.string()?;
    Ok((text, position + u32::try_from(opening).unwrap_or(0)))
}

/// `(arguments)`.
fn arguments(cursor: &mut Cursor) -> Result<Vec<RoutineArgument>> {
    cursor.expect_symbol(&Token::LParen)?;
    if cursor.symbol(&Token::RParen) {
        return Ok(Vec::new());
    }
    let arguments = cursor.list(argument)?;
    cursor.expect_symbol(&Token::RParen)?;
    Ok(arguments)
}

fn argument(cursor: &mut Cursor) -> Result<RoutineArgument> {
    let mut given = mode(cursor);
    let name = if has_name(cursor) { Some(cursor.ident()?) } else { None };
    if given.is_none() {
        given = mode(cursor);
    }
    let sql_type = argument_type(cursor)?;
    if cursor.is("default") || *cursor.peek() == Token::Eq {
        return Err(unsupported("a default value of an argument", cursor.position()));
    }
    Ok(RoutineArgument { name, mode: given.unwrap_or(ArgumentMode::In), sql_type })
}

/// `IN`, `OUT`, `INOUT` or `IN OUT` when it is next.
fn mode(cursor: &mut Cursor) -> Option<ArgumentMode> {
    Some(match cursor.one_of(&["in", "out", "inout"])? {
        "in" if cursor.accept("out") => ArgumentMode::InOut,
        "in" => ArgumentMode::In,
        "out" => ArgumentMode::Out,
        _ => ArgumentMode::InOut,
    })
}

/// True when two words follow one another that are not those of one type.
fn has_name(cursor: &Cursor) -> bool {
    let parts = ["precision", "varying", "with", "without", "default"];
    let one_type = parts.iter().any(|word| cursor.is_nth(1, word))
        || (cursor.is("national") && cursor.is_nth(1, "character"));
    matches!(cursor.peek_nth(1), Token::Word(_)) && !one_type
}

fn argument_type(cursor: &mut Cursor) -> Result<RoutineType> {
    if cursor.accept("refcursor") {
        return Ok(RoutineType::RefCursor);
    }
    Ok(RoutineType::Sql(cursor.sql_type()?))
}

/// A name, with the arguments when a parenthesis follows.
pub(super) fn routine_name(cursor: &mut Cursor) -> Result<RoutineName> {
    let name = cursor.object_name()?;
    if *cursor.peek() != Token::LParen {
        return Ok(RoutineName { name, arguments: None });
    }
    let arguments = arguments(cursor)?;
    let inputs = arguments.iter().filter(|argument| argument.mode != ArgumentMode::Out);
    Ok(RoutineName { name, arguments: Some(inputs.map(|argument| argument.sql_type).collect()) })
}

/// After ALTER PROCEDURE or FUNCTION.
pub(super) fn alter(cursor: &mut Cursor, kind: RoutineKind) -> Result<Statement> {
    let routine = routine_name(cursor)?;
    let action = if cursor.accept_all(&["rename", "to"]) {
        AlterRoutineAction::RenameTo(cursor.ident()?)
    } else if cursor.accept_all(&["owner", "to"]) {
        AlterRoutineAction::OwnerTo(cursor.ident()?)
    } else {
        return Err(cursor.unexpected());
    };
    Ok(Statement::AlterRoutine(AlterRoutine { kind, routine, action }))
}

/// After DROP PROCEDURE or FUNCTION.
pub(super) fn drop_routines(cursor: &mut Cursor, kind: RoutineKind) -> Result<Statement> {
    let if_exists = cursor.if_exists();
    let routines = cursor.list(routine_name)?;
    Ok(Statement::DropRoutines(DropRoutines {
        kind,
        routines,
        if_exists,
        cascade: cursor.cascade(),
    }))
}

/// After CALL.
pub(super) fn call(cursor: &mut Cursor) -> Result<Statement> {
    let name = cursor.object_name()?;
    cursor.expect_symbol(&Token::LParen)?;
    let arguments = if cursor.symbol(&Token::RParen) {
        Vec::new()
    } else {
        let arguments = cursor.list(Cursor::expression)?;
        cursor.expect_symbol(&Token::RParen)?;
        arguments
    };
    Ok(Statement::Call(Call { name, arguments }))
}
