//! INSERT, DELETE, UPDATE and MERGE, with the WITH that may stand in front of them. Names of
//! tables and columns are ours; sqlparser takes expressions and what stands in FROM.

use std::sync::Arc;

use base::{Result, error};
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{Expr, TableWithJoins, With};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, is_word};
use super::{data, unsupported};
use crate::ast::{
    Assignment, Change, ChangeWhat, Delete, Ident, Insert, InsertInput, Merge, MergeAction,
    MergeClause, MergeThen, ObjectName, Statement, Update,
};

/// WITH before a query or a change.
pub(super) fn with(cursor: &mut Cursor) -> Result<Statement> {
    if !before_change(cursor) {
        return data::query(cursor);
    }
    cursor.expect("with")?;
    let recursive = cursor.accept("recursive");
    let mut cte_tables = Vec::new();
    loop {
        cte_tables.push(cursor.parsed(Parser::parse_cte)?);
        if !cursor.symbol(&Token::Comma) {
            break;
        }
    }
    let with = With { with_token: AttachedToken::empty(), recursive, cte_tables };
    let with = Some(Box::new(with));
    match cursor.one_of(&["insert", "delete", "update", "merge"]) {
        Some("insert") => insert(cursor, with),
        Some("delete") => delete(cursor, with),
        Some("update") => update(cursor, with),
        Some(_) => merge(cursor, with),
        None => Err(cursor.unexpected()),
    }
}

/// The statement that WITH begins is a change: its verb follows a closing parenthesis.
fn before_change(cursor: &Cursor) -> bool {
    let mut depth = 0usize;
    let mut closed = false;
    for index in cursor.parser.get_current_index().. {
        let token = &cursor.parser.token_at(index).token;
        match token {
            Token::EOF => return false,
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::Word(_) if depth == 0 && closed => {
                return ["insert", "delete", "update", "merge"]
                    .iter()
                    .any(|verb| is_word(token, verb));
            }
            _ => {}
        }
        // A list of columns closes before AS.
        let as_follows = is_word(&cursor.parser.token_at(index + 1).token, "as");
        closed = depth == 0 && *token == Token::RParen && !as_follows;
    }
    false
}

/// After INSERT.
pub(super) fn insert(cursor: &mut Cursor, with: Option<Box<With>>) -> Result<Statement> {
    cursor.expect("into")?;
    let table = cursor.object_name()?;
    // `INSERT INTO t (SELECT …)` has a query in parentheses, not a column list.
    let listed = *cursor.peek() == Token::LParen
        && !["select", "with", "values"].iter().any(|word| cursor.is_nth(1, word))
        && *cursor.peek_nth(1) != Token::LParen;
    let columns = if listed { cursor.ident_list()? } else { Vec::new() };
    let input = if with.is_none() && cursor.accept_all(&["default", "values"]) {
        InsertInput::DefaultValues
    } else if cursor.is("overriding") {
        return Err(unsupported("INSERT … OVERRIDING", cursor.position()));
    } else {
        let mut query = cursor.query()?;
        if let Some(outer) = with {
            query.body.with = Some(joined(*outer, query.body.with.take()));
        }
        InsertInput::Query(query)
    };
    if cursor.is("on") {
        return Err(unsupported("INSERT … ON CONFLICT", cursor.position()));
    }
    refuse_returning(cursor, "INSERT")?;
    Ok(Statement::Insert(Insert { table, columns, input, source: Arc::clone(&cursor.source) }))
}

/// The queries of an outer WITH before those of an inner one.
fn joined(mut outer: With, inner: Option<With>) -> With {
    if let Some(inner) = inner {
        outer.recursive |= inner.recursive;
        outer.cte_tables.extend(inner.cte_tables);
    }
    outer
}

fn refuse_returning(cursor: &Cursor, command: &str) -> Result<()> {
    if cursor.is("returning") {
        return Err(unsupported(&format!("{command} … RETURNING"), cursor.position()));
    }
    Ok(())
}

/// A table with its alias; `next` are the words that may follow it.
fn target(cursor: &mut Cursor, next: &[&str]) -> Result<(ObjectName, Option<Ident>)> {
    let follows = |cursor: &Cursor| next.iter().any(|word| cursor.is(word));
    if follows(cursor) {
        return Err(cursor.unexpected());
    }
    let table = cursor.object_name()?;
    let named =
        cursor.accept("as") || (matches!(cursor.peek(), Token::Word(_)) && !follows(cursor));
    let alias = if named { Some(cursor.ident()?) } else { None };
    Ok((table, alias))
}

fn tables(cursor: &mut Cursor) -> Result<Vec<TableWithJoins>> {
    cursor.list(|cursor| cursor.parsed(Parser::parse_table_and_joins))
}

fn selection(cursor: &mut Cursor) -> Result<Option<Expr>> {
    if !cursor.accept("where") {
        return Ok(None);
    }
    if cursor.is("current") && cursor.is_nth(1, "of") {
        return Err(unsupported("WHERE CURRENT OF", cursor.position()));
    }
    cursor.value().map(Some)
}

/// After DELETE.
pub(super) fn delete(cursor: &mut Cursor, with: Option<Box<With>>) -> Result<Statement> {
    cursor.accept("from");
    let (table, alias) = target(cursor, &["using", "where", "returning"])?;
    let using = if cursor.accept("using") { tables(cursor)? } else { Vec::new() };
    let selection = selection(cursor)?;
    refuse_returning(cursor, "DELETE")?;
    let what = ChangeWhat::Delete(Delete { using, selection });
    let source = Arc::clone(&cursor.source);
    Ok(Statement::Delete(Change { with, table, alias, what, source }))
}

/// After UPDATE.
pub(super) fn update(cursor: &mut Cursor, with: Option<Box<With>>) -> Result<Statement> {
    let (table, alias) = target(cursor, &["set"])?;
    cursor.expect("set")?;
    let assignments = assignments(cursor, &table)?;
    let from = if cursor.accept("from") { tables(cursor)? } else { Vec::new() };
    let selection = selection(cursor)?;
    refuse_returning(cursor, "UPDATE")?;
    let what = ChangeWhat::Update(Update { assignments, from, selection });
    let source = Arc::clone(&cursor.source);
    Ok(Statement::Update(Change { with, table, alias, what, source }))
}

/// After SET of UPDATE.
fn assignments(cursor: &mut Cursor, table: &ObjectName) -> Result<Vec<Assignment>> {
    let lists = cursor.list(|cursor| {
        if *cursor.peek() == Token::LParen {
            return row_assignment(cursor);
        }
        let column = cursor.ident()?;
        if *cursor.peek() == Token::Period {
            return Err(error!(
                UndefinedColumn,
                "column \"{}\" of relation \"{}\" does not exist",
                column.name,
                table.last().name
            )
            .hint("SET target columns cannot be qualified with the relation name.")
            .at(column.position));
        }
        cursor.expect_symbol(&Token::Eq)?;
        Ok(vec![Assignment { column, value: cursor.value()? }])
    })?;
    Ok(lists.into_iter().flatten().collect())
}

/// `(a, b) = (1, 2)`.
fn row_assignment(cursor: &mut Cursor) -> Result<Vec<Assignment>> {
    let columns = cursor.ident_list()?;
    cursor.expect_symbol(&Token::Eq)?;
    cursor.accept("row");
    let position = cursor.position();
    cursor.expect_symbol(&Token::LParen)?;
    if cursor.is("select") || cursor.is("with") {
        return Err(unsupported("SET (columns) = (query)", position)
            .hint("Give each column a query of its own, or join the query in FROM."));
    }
    let values = cursor.list(Cursor::value)?;
    cursor.expect_symbol(&Token::RParen)?;
    if values.len() != columns.len() {
        return Err(
            error!(SyntaxError, "number of columns does not match number of values").at(position)
        );
    }
    let pairs = columns.into_iter().zip(values);
    Ok(pairs.map(|(column, value)| Assignment { column, value }).collect())
}

/// After MERGE.
pub(super) fn merge(cursor: &mut Cursor, with: Option<Box<With>>) -> Result<Statement> {
    cursor.expect("into")?;
    let (table, alias) = target(cursor, &["using"])?;
    cursor.expect("using")?;
    let using = cursor.parsed(Parser::parse_table_factor)?;
    cursor.expect("on")?;
    let on = cursor.value()?;
    let action = if cursor.accept_all(&["remove", "duplicates"]) {
        MergeAction::RemoveDuplicates
    } else {
        let mut clauses = vec![clause(cursor, &table)?];
        while cursor.is("when") {
            clauses.push(clause(cursor, &table)?);
        }
        MergeAction::Clauses(clauses)
    };
    refuse_returning(cursor, "MERGE")?;
    let what = ChangeWhat::Merge(Box::new(Merge { using, on, action }));
    let source = Arc::clone(&cursor.source);
    Ok(Statement::Merge(Change { with, table, alias, what, source }))
}

/// WHEN [NOT] MATCHED [AND condition] THEN action.
fn clause(cursor: &mut Cursor, table: &ObjectName) -> Result<MergeClause> {
    let position = cursor.position();
    cursor.expect("when")?;
    let matched = !cursor.accept("not");
    cursor.expect("matched")?;
    if !matched && cursor.accept("by") {
        match cursor.one_of(&["target", "source"]) {
            Some("target") => {}
            Some(_) => return Err(unsupported("WHEN NOT MATCHED BY SOURCE", position)),
            None => return Err(cursor.unexpected()),
        }
    }
    let condition = if cursor.accept("and") { Some(cursor.value()?) } else { None };
    cursor.expect("then")?;
    let then = if cursor.accept_all(&["do", "nothing"]) {
        MergeThen::Nothing { matched }
    } else if matched && cursor.accept("delete") {
        MergeThen::Delete
    } else if matched {
        cursor.expect_all(&["update", "set"])?;
        MergeThen::Update(assignments(cursor, table)?)
    } else {
        merge_insert(cursor)?
    };
    Ok(MergeClause { position, condition, then })
}

fn merge_insert(cursor: &mut Cursor) -> Result<MergeThen> {
    cursor.expect("insert")?;
    let columns = cursor.optional_ident_list()?;
    cursor.expect("values")?;
    cursor.expect_symbol(&Token::LParen)?;
    let values = cursor.list(Cursor::value)?;
    cursor.expect_symbol(&Token::RParen)?;
    Ok(MergeThen::Insert { columns, values })
}
