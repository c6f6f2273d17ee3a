//! SHOW in all its forms. Names may be parameters: drivers prepare `SHOW TABLES FROM SCHEMA $1.$2`.

use base::{Error, Result, SqlType, error};
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::settings::setting_name;
use super::unsupported;
use crate::ast::{GrantsOn, Ident, Operand, Show, ShowFilter, Statement};

/// After SHOW.
pub(super) fn show(cursor: &mut Cursor) -> Result<Statement> {
    Ok(Statement::Show(form(cursor)?))
}

fn form(cursor: &mut Cursor) -> Result<Show> {
    let position = cursor.position();
    let more = |cursor: &Cursor| *cursor.peek_nth(1) != Token::EOF;
    if cursor.accept("all") {
        return Ok(Show::All);
    }
    if cursor.accept("databases") {
        if cursor.is("from") {
            return Err(unsupported("SHOW DATABASES FROM DATA CATALOG", position));
        }
        return Ok(Show::Databases { filter: filter(cursor)? });
    }
    if cursor.accept("schemas") {
        cursor.expect_all(&["from", "database"])?;
        let database = operand(cursor)?;
        return Ok(Show::Schemas { database, filter: filter(cursor)? });
    }
    if cursor.accept("tables") {
        cursor.expect_all(&["from", "schema"])?;
        let schema = operands(cursor, 2)?;
        return Ok(Show::Tables { schema, filter: filter(cursor)? });
    }
    if cursor.accept_all(&["columns", "from"]) {
        cursor.expect("table")?;
        let table = operands(cursor, 3)?;
        return Ok(Show::Columns { table, filter: filter(cursor)? });
    }
    if cursor.accept("constraints") {
        return constraints(cursor);
    }
    if cursor.accept_all(&["column", "grants"]) {
        return grants(cursor, true);
    }
    if cursor.accept("grants") {
        return grants(cursor, false);
    }
    if let Some(word) = cursor.one_of(&["procedures", "functions"]) {
        cursor.expect_all(&["from", "schema"])?;
        let schema = operands(cursor, 2)?;
        let filter = filter(cursor)?;
        return Ok(match word {
            "procedures" => Show::Procedures { schema, filter },
            _ => Show::Functions { schema, filter },
        });
    }
    if cursor.accept_all(&["parameters", "of"]) {
        return parameters(cursor);
    }
    if cursor.is("table") && more(cursor) {
        cursor.next();
        return Ok(Show::Table(cursor.object_name()?));
    }
    if cursor.is("procedure") && more(cursor) {
        cursor.next();
        return Ok(Show::Procedure(super::routine::routine_name(cursor)?));
    }
    if cursor.is("view") && more(cursor) {
        cursor.next();
        return Ok(Show::View(cursor.object_name()?));
    }
    if let Some(error) = refused(cursor, position) {
        return Err(error);
    }
    setting(cursor, position)
}

/// Forms that are refused by name.
const REFUSED: &[&[&str]] = &[
    &["external", "table"],
    &["model"],
    &["datashares"],
    &["policies"],
    &["rls", "policies"],
    &["masking", "policies"],
    &["user", "lockout"],
    &["template"],
];

fn refused(cursor: &mut Cursor, position: u32) -> Option<Error> {
    let words = REFUSED.iter().find(|words| cursor.accept_all(words))?;
    Some(unsupported(&format!("SHOW {}", words.join(" ").to_uppercase()), position))
}

/// A setting by one name or by PostgreSQL's many-word forms.
fn setting(cursor: &mut Cursor, position: u32) -> Result<Show> {
    let made = |name: &str| Show::Parameter(Ident { name: name.to_owned(), position });
    if cursor.accept_all(&["time", "zone"]) {
        return Ok(made("timezone"));
    }
    if cursor.accept_all(&["transaction", "isolation", "level"]) {
        return Ok(made("transaction_isolation"));
    }
    if cursor.accept_all(&["session", "authorization"]) {
        return Ok(made("session_authorization"));
    }
    Ok(Show::Parameter(setting_name(cursor)?))
}

fn constraints(cursor: &mut Cursor) -> Result<Show> {
    let kind = cursor.one_of(&["primary", "foreign"]).ok_or_else(|| cursor.unexpected())?;
    cursor.expect("keys")?;
    let exported = kind == "foreign" && cursor.accept("exported");
    cursor.expect_all(&["from", "table"])?;
    let table = operands(cursor, 3)?;
    Ok(match kind {
        "primary" => Show::PrimaryKeys { table },
        _ => Show::ForeignKeys { table, exported },
    })
}

fn grants(cursor: &mut Cursor, columns: bool) -> Result<Show> {
    let mut on = None;
    if cursor.accept("on") {
        let kinds = ["table", "schema", "database", "function", "procedure", "datashare"];
        let kind = cursor.one_of(&kinds).ok_or_else(|| cursor.unexpected())?.to_uppercase();
        let name = operands(cursor, 3)?;
        let arguments = argument_types(cursor)?;
        on = Some(GrantsOn { kind, name, arguments });
    }
    let mut to = None;
    if cursor.accept("for") {
        cursor.one_of(&["role", "group"]);
        to = Some(operand(cursor)?);
    }
    if on.is_none() && to.is_none() {
        return Err(cursor.unexpected());
    }
    Ok(Show::Grants { on, to, filter: filter(cursor)?, columns })
}

fn parameters(cursor: &mut Cursor) -> Result<Show> {
    let kind = cursor.one_of(&["function", "procedure"]).ok_or_else(|| cursor.unexpected())?;
    let name = operands(cursor, 3)?;
    let arguments = argument_types(cursor)?;
    let function = kind == "function";
    Ok(Show::Parameters { function, name, arguments, filter: filter(cursor)? })
}

/// `(type, …)` after a routine's name, when a parenthesis is next.
fn argument_types(cursor: &mut Cursor) -> Result<Option<Vec<SqlType>>> {
    if !cursor.symbol(&Token::LParen) {
        return Ok(None);
    }
    if cursor.symbol(&Token::RParen) {
        return Ok(Some(Vec::new()));
    }
    let types = cursor.list(Cursor::sql_type)?;
    cursor.expect_symbol(&Token::RParen)?;
    Ok(Some(types))
}

fn filter(cursor: &mut Cursor) -> Result<ShowFilter> {
    let mut filter = ShowFilter::default();
    if cursor.accept("like") {
        filter.like = Some(operand(cursor)?);
    }
    if cursor.accept("limit") {
        filter.limit = Some(operand(cursor)?);
    }
    Ok(filter)
}

/// Up to `most` operands with dots between.
fn operands(cursor: &mut Cursor, most: usize) -> Result<Vec<Operand>> {
    let mut parts = vec![operand(cursor)?];
    while cursor.symbol(&Token::Period) {
        if parts.len() == most {
            return Err(error!(SyntaxError, "improper qualified name (too many dotted names)")
                .at(cursor.position()));
        }
        parts.push(operand(cursor)?);
    }
    Ok(parts)
}

/// A name, a literal, a number or `$n`.
fn operand(cursor: &mut Cursor) -> Result<Operand> {
    let position = cursor.position();
    if let Some(name) = cursor.optional_string() {
        return Ok(Operand::Text(Ident { name, position }));
    }
    match cursor.peek() {
        Token::Placeholder(text) => {
            let number = text.get(1..).and_then(|digits| digits.parse().ok());
            let Some(number) = number.filter(|number| *number > 0) else {
                return Err(cursor.unexpected());
            };
            cursor.next();
            Ok(Operand::Parameter(number))
        }
        Token::Number(text, _) => {
            let name = text.clone();
            cursor.next();
            Ok(Operand::Text(Ident { name, position }))
        }
        _ => Ok(Operand::Text(cursor.ident()?)),
    }
}
