//! SET, RESET, transactions, cursors and prepared statements.

use base::{Result, error};
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use crate::ast::{
    AlterSystem, Begin, DeclareCursor, Execute, Fetch, FetchCount, Ident, Isolation, Prepare,
    Reset, Set, SetValue, SetWhat, Statement, TransactionModes,
};

/// After SET.
pub(super) fn set(cursor: &mut Cursor) -> Result<Statement> {
    let mut local = false;
    if cursor.accept_all(&["session", "characteristics", "as", "transaction"]) {
        let modes = modes(cursor)?;
        return Ok(Statement::Set(Set { local, what: SetWhat::SessionCharacteristics(modes) }));
    }
    if cursor.is("transaction") && !matches!(cursor.peek_nth(1), Token::Eq) {
        cursor.next();
        let modes = modes(cursor)?;
        return Ok(Statement::Set(Set { local, what: SetWhat::Transaction(modes) }));
    }
    if !cursor.is_nth(1, "authorization") && !cursor.is_nth(1, "to") {
        local = cursor.one_of(&["local", "session"]) == Some("local");
    }
    if cursor.accept_all(&["session", "authorization"]) {
        let user = if cursor.accept("default") {
            None
        } else {
            Some(match cursor.optional_string() {
                Some(name) => name,
                None => cursor.ident()?.name,
            })
        };
        return Ok(Statement::Set(Set { local, what: SetWhat::SessionAuthorization(user) }));
    }
    if cursor.accept_all(&["time", "zone"]) {
        let value = if cursor.accept("local") { SetValue::Default } else { set_value(cursor)? };
        return Ok(Statement::Set(Set { local, what: SetWhat::TimeZone(value) }));
    }
    let name = setting_name(cursor)?;
    if !cursor.accept("to") {
        cursor.expect_symbol(&Token::Eq)?;
    }
    let value = set_value(cursor)?;
    Ok(Statement::Set(Set { local, what: SetWhat::Parameter { name, value } }))
}

/// After ALTER SYSTEM.
pub(super) fn alter_system(cursor: &mut Cursor) -> Result<Statement> {
    if cursor.accept("reset") {
        let name = setting_name(cursor)?;
        return Ok(Statement::AlterSystem(AlterSystem { name, value: SetValue::Default }));
    }
    cursor.expect("set")?;
    let name = setting_name(cursor)?;
    if !cursor.accept("to") {
        cursor.expect_symbol(&Token::Eq)?;
    }
    let value = set_value(cursor)?;
    Ok(Statement::AlterSystem(AlterSystem { name, value }))
}

/// `name` or `space.name`.
pub(super) fn setting_name(cursor: &mut Cursor) -> Result<Ident> {
    let mut name = cursor.ident()?;
    while cursor.symbol(&Token::Period) {
        name.name.push('.');
        name.name.push_str(&cursor.ident()?.name);
    }
    Ok(name)
}

/// `DEFAULT` or values with commas between. INTERVAL before a time zone's offset is dropped.
pub(super) fn set_value(cursor: &mut Cursor) -> Result<SetValue> {
    if cursor.accept("default") {
        return Ok(SetValue::Default);
    }
    Ok(SetValue::Values(cursor.list(one_value)?))
}

fn one_value(cursor: &mut Cursor) -> Result<String> {
    if cursor.accept("interval") {
        let text = cursor.string()?;
        cursor.accept_all(&["hour", "to", "minute"]);
        return Ok(text);
    }
    if let Some(text) = cursor.optional_string() {
        return Ok(text);
    }
    let sign = if cursor.symbol(&Token::Minus) { "-" } else { "" };
    match cursor.peek() {
        Token::Number(text, _) => {
            let text = format!("{sign}{text}");
            cursor.next();
            // `1000ms`, `5min`: a unit written against its number is a word of its own here.
            let unit = match cursor.peek() {
                Token::Word(word) if word.quote_style.is_none() && !text.contains('.') => {
                    word.value.clone()
                }
                _ => return Ok(text),
            };
            cursor.next();
            Ok(text + &unit)
        }
        Token::Word(_) if sign.is_empty() => {
            let mut text = cursor.ident()?.name;
            while *cursor.peek() == Token::Div || *cursor.peek() == Token::Period {
                text.push_str(&cursor.next().token.to_string());
                text.push_str(&cursor.ident()?.name);
            }
            Ok(text)
        }
        // `$user` in a search path.
        Token::Placeholder(text) => {
            let text = text.clone();
            cursor.next();
            Ok(text)
        }
        _ => Err(cursor.unexpected()),
    }
}

/// After RESET.
pub(super) fn reset(cursor: &mut Cursor) -> Result<Statement> {
    Ok(Statement::Reset(if cursor.accept("all") {
        Reset::All
    } else if cursor.accept_all(&["session", "authorization"]) {
        Reset::SessionAuthorization
    } else if cursor.is("time") && cursor.is_nth(1, "zone") {
        let position = cursor.position();
        cursor.accept_all(&["time", "zone"]);
        Reset::Parameter(Ident { name: "timezone".to_owned(), position })
    } else {
        Reset::Parameter(setting_name(cursor)?)
    }))
}

/// After BEGIN.
pub(super) fn begin(cursor: &mut Cursor) -> Result<Statement> {
    cursor.one_of(&["work", "transaction"]);
    Ok(Statement::Begin(Begin { command: "BEGIN", modes: modes(cursor)? }))
}

/// After START TRANSACTION.
pub(super) fn start(cursor: &mut Cursor) -> Result<Statement> {
    Ok(Statement::Begin(Begin { command: "START TRANSACTION", modes: modes(cursor)? }))
}

/// After ROLLBACK.
pub(super) fn rollback(cursor: &mut Cursor) -> Result<Statement> {
    cursor.one_of(&["work", "transaction"]);
    if cursor.accept("to") {
        cursor.accept_before_name("savepoint");
        return Ok(Statement::RollbackTo(cursor.ident()?));
    }
    finish(cursor, Statement::Rollback)
}

/// After COMMIT, END, ROLLBACK or ABORT.
pub(super) fn finish(cursor: &mut Cursor, statement: Statement) -> Result<Statement> {
    cursor.one_of(&["work", "transaction"]);
    if cursor.is("prepared") {
        return Err(super::unsupported("two-phase commit", cursor.position()));
    }
    if cursor.accept_all(&["and", "no", "chain"]) {
        return Ok(statement);
    }
    if cursor.is("and") {
        return Err(super::unsupported("AND CHAIN", cursor.position()));
    }
    Ok(statement)
}

fn modes(cursor: &mut Cursor) -> Result<TransactionModes> {
    let mut modes = TransactionModes::default();
    loop {
        if cursor.accept_all(&["isolation", "level"]) {
            modes.isolation = Some(isolation(cursor)?);
        } else if cursor.accept_all(&["read", "write"]) {
            modes.read_only = Some(false);
        } else if cursor.accept_all(&["read", "only"]) {
            modes.read_only = Some(true);
        } else if cursor.accept_all(&["not", "deferrable"]) || cursor.accept("deferrable") {
            // A wish about waiting that has no effect with snapshots.
        } else if !cursor.symbol(&Token::Comma) {
            return Ok(modes);
        }
    }
}

fn isolation(cursor: &mut Cursor) -> Result<Isolation> {
    let known: &[(&[&str], Isolation)] = &[
        (&["read", "uncommitted"], Isolation::ReadUncommitted),
        (&["read", "committed"], Isolation::ReadCommitted),
        (&["repeatable", "read"], Isolation::RepeatableRead),
        (&["serializable"], Isolation::Serializable),
        (&["snapshot"], Isolation::Snapshot),
    ];
    let found = known.iter().find(|(words, _)| cursor.accept_all(words));
    found.map(|(_, level)| *level).ok_or_else(|| cursor.unexpected())
}

/// After PREPARE.
pub(super) fn prepare(cursor: &mut Cursor) -> Result<Statement> {
    let name = cursor.ident()?;
    let mut types = Vec::new();
    if cursor.symbol(&Token::LParen) {
        types = cursor.list(Cursor::sql_type)?;
        cursor.expect_symbol(&Token::RParen)?;
    }
    cursor.expect("as")?;
    let position = cursor.position();
    let start = cursor.parser.peek_token_ref().span.start;
    let text = cursor.source.rest(start).to_owned();
    let statement = super::statement(cursor)?;
    let fits = matches!(
        statement,
        Statement::Query(_)
            | Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::Merge(_)
    );
    if !fits {
        return Err(error!(SyntaxError, "{} cannot be prepared", statement.command())
            .hint("PREPARE takes SELECT, INSERT, UPDATE, DELETE and MERGE.")
            .at(position));
    }
    Ok(Statement::Prepare(Prepare { name, types, statement: Box::new(statement), text }))
}

/// After EXECUTE.
pub(super) fn execute(cursor: &mut Cursor) -> Result<Statement> {
    let name = cursor.ident()?;
    let mut arguments = Vec::new();
    if cursor.symbol(&Token::LParen) && !cursor.symbol(&Token::RParen) {
        arguments = cursor.list(Cursor::expression)?;
        cursor.expect_symbol(&Token::RParen)?;
    }
    Ok(Statement::Execute(Execute { name, arguments }))
}

/// After DEALLOCATE.
pub(super) fn deallocate(cursor: &mut Cursor) -> Result<Statement> {
    cursor.accept("prepare");
    if cursor.accept("all") {
        return Ok(Statement::Deallocate(None));
    }
    Ok(Statement::Deallocate(Some(cursor.ident()?)))
}

/// After DECLARE.
pub(super) fn declare(cursor: &mut Cursor) -> Result<Statement> {
    let name = cursor.ident()?;
    while let Some(word) = cursor.one_of(&["binary", "insensitive", "no", "scroll"]) {
        match word {
            "no" => cursor.expect("scroll")?,
            "scroll" => {
                return Err(super::unsupported("SCROLL cursor", cursor.position())
                    .hint("Cursors go forward only."));
            }
            _ => {}
        }
    }
    cursor.expect("cursor")?;
    let mut hold = false;
    if let Some(word) = cursor.one_of(&["with", "without"]) {
        cursor.expect("hold")?;
        hold = word == "with";
    }
    cursor.expect("for")?;
    Ok(Statement::DeclareCursor(DeclareCursor { name, query: cursor.query()?, hold }))
}

/// After FETCH or MOVE.
pub(super) fn fetch(cursor: &mut Cursor) -> Result<Fetch> {
    let position = cursor.position();
    let count = match cursor.one_of(&[
        "next", "all", "forward", "prior", "first", "last", "absolute", "relative", "backward",
    ]) {
        Some("next") => FetchCount::Rows(1),
        Some("all") => FetchCount::All,
        Some("forward") => {
            if cursor.accept("all") {
                FetchCount::All
            } else {
                FetchCount::Rows(optional_count(cursor)?)
            }
        }
        Some(direction) => {
            let name = format!("FETCH {}", direction.to_uppercase());
            return Err(super::unsupported(&name, position).hint("Cursors go forward only."));
        }
        None => FetchCount::Rows(optional_count(cursor)?),
    };
    cursor.one_of(&["from", "in"]);
    Ok(Fetch { cursor: cursor.ident()?, count })
}

fn optional_count(cursor: &mut Cursor) -> Result<u64> {
    match cursor.peek() {
        Token::Number(..) => cursor.unsigned(),
        _ => Ok(1),
    }
}

/// After CLOSE.
pub(super) fn close(cursor: &mut Cursor) -> Result<Statement> {
    if cursor.accept("all") {
        return Ok(Statement::Close(None));
    }
    Ok(Statement::Close(Some(cursor.ident()?)))
}
