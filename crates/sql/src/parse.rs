//! From text to a [`Statement`]: the first words choose the command, each with its own small
//! parser; expressions and queries go to sqlparser.
//!
//! Nothing here knows the catalog. What is not served is refused by name with 0A000; what is no
//! SQL gets PostgreSQL's `syntax error at or near`.

mod access;
mod alter;
mod change;
mod copy;
mod cursor;
mod data;
mod object;
mod routine;
mod settings;
mod show;
mod table;
mod types;

use std::sync::Arc;

use base::{Error, Result, error};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use self::cursor::Cursor;
pub(crate) use self::data::object_name;
pub use self::data::parse_query;
pub(crate) use self::types::cast_type;
use crate::ast::{Explain, Expression, Statement};
use crate::guard;
use crate::text::{Source, check_characters, check_length, tokenize};

/// The words that start a command, for suggestions.
const COMMANDS: &[&str] = &[
    "abort",
    "alter",
    "analyze",
    "begin",
    "call",
    "cancel",
    "close",
    "comment",
    "commit",
    "copy",
    "create",
    "deallocate",
    "declare",
    "delete",
    "drop",
    "end",
    "execute",
    "explain",
    "fetch",
    "grant",
    "insert",
    "lock",
    "merge",
    "prepare",
    "release",
    "reset",
    "revoke",
    "rollback",
    "savepoint",
    "select",
    "set",
    "show",
    "start",
    "truncate",
    "undrop",
    "unload",
    "update",
    "vacuum",
    "values",
    "with",
];

/// Parses one statement; a semicolon at its end is allowed.
///
/// # Errors
/// 42601 with a position for what is no SQL, 0A000 for a command or clause that is not served,
/// 54000 and 54001 for statements beyond the limits of [`crate::guard`].
pub fn parse(text: &str) -> Result<Statement> {
    let (source, tokens, nesting) = prepared(text)?;
    if nesting > guard::NESTING_SHALLOW {
        return base::stack::deep(move || whole(source, tokens));
    }
    whole(source, tokens)
}

/// Parses an expression on its own: a column's DEFAULT.
///
/// # Errors
/// As [`parse`].
pub fn parse_expression(text: &str) -> Result<Expression> {
    let (source, tokens, _) = prepared(text)?;
    let mut cursor = Cursor::new(source, tokens);
    let expression = cursor.expression()?;
    cursor.end()?;
    Ok(expression)
}

fn prepared(text: &str) -> Result<(Arc<Source>, Vec<TokenWithSpan>, usize)> {
    check_length(text)?;
    check_characters(text)?;
    let source = Arc::new(Source::new(text));
    let mut tokens = tokenize(&source)?;
    let nesting = guard::check_tokens(&tokens)?;
    while tokens.last().is_some_and(|token| token.token == Token::SemiColon) {
        tokens.pop();
    }
    Ok((source, tokens, nesting))
}

fn whole(source: Arc<Source>, tokens: Vec<TokenWithSpan>) -> Result<Statement> {
    if tokens.is_empty() {
        return Ok(Statement::Empty);
    }
    if let Some(second) = tokens.iter().find(|token| token.token == Token::SemiColon) {
        let error =
            error!(SyntaxError, "cannot insert multiple commands into a prepared statement");
        return Err(match source.position(second.span.start) {
            Some(position) => error.at(position),
            None => error,
        });
    }
    let mut cursor = Cursor::new(source, tokens);
    let statement = statement(&mut cursor)?;
    cursor.end()?;
    Ok(statement)
}

/// 0A000 for a command or clause by its name.
fn unsupported(name: &str, position: u32) -> Error {
    Error::unsupported(format!("{name} is not supported")).at(position)
}

/// One statement from its first word on.
fn statement(cursor: &mut Cursor) -> Result<Statement> {
    if *cursor.peek() == Token::LParen {
        return data::query(cursor);
    }
    let Token::Word(word) = cursor.peek() else { return Err(cursor.unexpected()) };
    let word = if word.quote_style.is_some() { String::new() } else { word.value.clone() };
    match word.as_str() {
        "select" | "values" => return data::query(cursor),
        "with" => return change::with(cursor),
        _ => {}
    }
    let position = cursor.position();
    let unexpected = cursor.unexpected();
    cursor.next();
    match word.as_str() {
        "insert" => change::insert(cursor, None),
        "delete" => change::delete(cursor, None),
        "update" => change::update(cursor, None),
        "merge" => change::merge(cursor, None),
        "create" => create(cursor, position),
        "alter" => alter(cursor, position),
        "drop" => drop_any(cursor, position),
        "truncate" => table::truncate(cursor),
        "copy" => copy::copy(cursor),
        "explain" => explain(cursor),
        "set" | "reset" | "show" | "begin" | "start" | "commit" | "end" | "rollback" | "abort"
        | "savepoint" | "release" => session(&word, cursor, position),
        "prepare" => settings::prepare(cursor),
        "execute" => settings::execute(cursor),
        "deallocate" => settings::deallocate(cursor),
        "declare" => settings::declare(cursor),
        "fetch" => settings::fetch(cursor).map(Statement::Fetch),
        "move" => settings::fetch(cursor).map(Statement::Move),
        "close" => settings::close(cursor),
        "grant" => access::grant(cursor),
        "revoke" => access::revoke(cursor),
        "comment" => object::comment(cursor),
        "analyze" | "analyse" => object::analyze(cursor),
        "vacuum" => object::vacuum(cursor),
        "lock" => object::lock(cursor),
        "undrop" => {
            cursor.expect("table")?;
            Ok(Statement::UndropTable(cursor.object_name()?))
        }
        "cancel" => {
            let pid = cursor.unsigned()?;
            Ok(Statement::Cancel { pid, message: cursor.optional_string() })
        }
        "use" => Ok(Statement::Use(cursor.ident()?)),
        "call" => routine::call(cursor),
        "unload" | "attach" | "detach" | "refresh" | "desc" | "listen" | "notify" | "unlisten"
        | "checkpoint" | "reindex" | "cluster" | "discard" | "do" | "load" | "import"
        | "security" | "table" => Err(refused(&word, cursor, position)),
        other => {
            let near = base::suggest::nearest(other, COMMANDS.iter().copied());
            Err(unexpected
                .maybe_hint(near.map(|near| format!("Did you mean {}?", near.to_uppercase()))))
        }
    }
}

/// Settings and transactions, after their first word.
fn session(word: &str, cursor: &mut Cursor, position: u32) -> Result<Statement> {
    match word {
        "set" => settings::set(cursor),
        "reset" if cursor.is("use") => Err(unsupported("RESET USE", position)),
        "reset" => settings::reset(cursor),
        "show" => show::show(cursor),
        "begin" => settings::begin(cursor),
        "start" => {
            cursor.expect("transaction")?;
            settings::start(cursor)
        }
        "commit" | "end" => settings::finish(cursor, Statement::Commit),
        "rollback" => settings::rollback(cursor),
        "abort" => settings::finish(cursor, Statement::Rollback),
        "savepoint" => Ok(Statement::Savepoint(cursor.ident()?)),
        "release" => {
            cursor.accept_before_name("savepoint");
            Ok(Statement::Release(cursor.ident()?))
        }
        _ => Err(cursor.unexpected()),
    }
}

/// The name of a refused command from its first words.
fn refused(word: &str, cursor: &Cursor, position: u32) -> Error {
    let second = match cursor.peek() {
        Token::Word(second) if second.quote_style.is_none() => second.value.to_uppercase(),
        _ => String::new(),
    };
    let name = match (word, second.as_str()) {
        ("attach" | "detach", "rls" | "RLS") => format!("{} RLS POLICY", word.to_uppercase()),
        ("attach" | "detach", "MASKING") => format!("{} MASKING POLICY", word.to_uppercase()),
        ("refresh", "MATERIALIZED") => "REFRESH MATERIALIZED VIEW".to_owned(),
        ("desc", "DATASHARE") => "DESC DATASHARE".to_owned(),
        _ => word.to_uppercase(),
    };
    unsupported(&name, position)
}

fn explain(cursor: &mut Cursor) -> Result<Statement> {
    let mut explain = (false, false);
    while let Some(word) = cursor.one_of(&["verbose", "analyze", "analyse"]) {
        match word {
            "verbose" => explain.0 = true,
            _ => explain.1 = true,
        }
    }
    let position = cursor.position();
    let inner = statement(cursor)?;
    let fits = matches!(
        inner,
        Statement::Query(_)
            | Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::Merge(_)
            | Statement::CreateTableAs(_)
    );
    if !fits {
        return Err(error!(SyntaxError, "{} cannot be explained", inner.command())
            .hint("EXPLAIN takes SELECT, INSERT, UPDATE, DELETE, MERGE and CREATE TABLE AS.")
            .at(position));
    }
    Ok(Statement::Explain(Explain {
        verbose: explain.0,
        analyze: explain.1,
        statement: Box::new(inner),
    }))
}

fn create(cursor: &mut Cursor, position: u32) -> Result<Statement> {
    let or_replace = cursor.accept_all(&["or", "replace"]);
    let local = cursor.accept("local");
    let temporary = cursor.one_of(&["temporary", "temp"]).is_some();
    if cursor.accept("table") && !or_replace {
        return table::create_table(cursor, temporary);
    }
    if local || temporary {
        return Err(cursor.unexpected());
    }
    if cursor.accept("view") {
        return table::create_view(cursor, or_replace);
    }
    if let Some(kind) = routine::kind(cursor) {
        return routine::create(cursor, kind, or_replace);
    }
    if !or_replace {
        match cursor.one_of(&["schema", "database", "user", "group"]) {
            Some("schema") => return object::create_schema(cursor),
            Some("database") => return object::create_database(cursor),
            Some("user") => return access::create_user(cursor),
            Some(_) => return access::create_group(cursor),
            None => {}
        }
    }
    Err(refused_object("CREATE", cursor, position))
}

fn alter(cursor: &mut Cursor, position: u32) -> Result<Statement> {
    if let Some(kind) = routine::kind(cursor) {
        return routine::alter(cursor, kind);
    }
    match cursor.one_of(&["table", "schema", "database", "user", "group", "system"]) {
        Some("table") => alter::alter_table(cursor),
        Some("system") => settings::alter_system(cursor),
        Some("schema") => object::alter_schema(cursor),
        Some("database") => object::alter_database(cursor),
        Some("user") => access::alter_user(cursor),
        Some(_) => access::alter_group(cursor),
        None => Err(refused_object("ALTER", cursor, position)),
    }
}

fn drop_any(cursor: &mut Cursor, position: u32) -> Result<Statement> {
    if let Some(kind) = routine::kind(cursor) {
        return routine::drop_routines(cursor, kind);
    }
    match cursor.one_of(&["table", "view", "schema", "database", "user", "group"]) {
        Some("table") => table::drop_objects(cursor).map(Statement::DropTable),
        Some("view") => table::drop_objects(cursor).map(Statement::DropView),
        Some("schema") => table::drop_objects(cursor).map(Statement::DropSchema),
        Some("database") => object::drop_database(cursor),
        Some("user") => access::drop_users(cursor).map(Statement::DropUser),
        Some(_) => access::drop_users(cursor).map(Statement::DropGroup),
        None => Err(refused_object("DROP", cursor, position)),
    }
}

/// Objects that commands exist for in Redshift or PostgreSQL and that are refused by name. The
/// longer name comes first where one begins another.
const REFUSED_OBJECTS: &[&[&str]] = &[
    &["materialized", "view"],
    &["external", "schema"],
    &["external", "table"],
    &["external", "function"],
    &["external", "model"],
    &["external", "view"],
    &["default", "privileges"],
    &["rls", "policy"],
    &["masking", "policy"],
    &["identity", "provider"],
    &["unique", "index"],
    &["library"],
    &["model"],
    &["role"],
    &["datashare"],
    &["template"],
    &["index"],
    &["sequence"],
    &["trigger"],
    &["domain"],
    &["type"],
    &["extension"],
    &["aggregate"],
    &["operator"],
    &["cast"],
    &["rule"],
    &["language"],
    &["tablespace"],
    &["policy"],
    &["publication"],
    &["subscription"],
    &["server"],
    &["collation"],
    &["conversion"],
    &["view"],
    &["table"],
    &["system"],
];

fn refused_object(verb: &str, cursor: &Cursor, position: u32) -> Error {
    let found = REFUSED_OBJECTS
        .iter()
        .find(|words| words.iter().enumerate().all(|(n, word)| cursor.is_nth(n, word)));
    match found {
        Some(words) => unsupported(&format!("{verb} {}", words.join(" ").to_uppercase()), position),
        None => cursor.unexpected(),
    }
}

#[cfg(test)]
mod tests;
