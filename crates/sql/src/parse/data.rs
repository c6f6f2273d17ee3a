//! Queries and data changes: what sqlparser parses, taken apart where our tree differs.

use std::ops::ControlFlow;
use std::sync::Arc;

use base::{Result, error};
use sqlparser::ast;
use sqlparser::ast::{Expr, SetExpr, TableFactor, VisitMut, VisitorMut};
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::unsupported;
use crate::ast::{
    Change, CreateTableAs, Ident, Insert, InsertInput, ObjectName, Query, Statement,
    TableAttributes,
};
use crate::guard;
use crate::text::Source;

struct Balance;

impl VisitorMut for Balance {
    type Break = ();

    // Before the children are visited, so that the visit never goes down the unbalanced chain.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        guard::balance(expr);
        ControlFlow::Continue(())
    }
}

pub(super) fn balance_expr(expr: &mut Expr) {
    let _ = expr.visit(&mut Balance);
}

pub(super) fn balance_query(query: &mut ast::Query) {
    let _ = query.visit(&mut Balance);
}

/// SELECT, WITH, VALUES or a parenthesis: a query, SELECT … INTO, or WITH before a change.
pub(super) fn query(cursor: &mut Cursor) -> Result<Statement> {
    let position = cursor.position();
    let mut query = cursor.query()?;
    if let SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) =
        &*query.body.body
    {
        return Err(unsupported("WITH before INSERT, UPDATE, DELETE or MERGE", position));
    }
    if !query.body.locks.is_empty() {
        return Err(unsupported("SELECT … FOR UPDATE", position));
    }
    match take_into(&mut query.body.body) {
        None => Ok(Statement::Query(query)),
        Some(into) => {
            let name = object_name(&cursor.source, &into.name);
            let temporary = into.temporary || name.is_temporary_form();
            Ok(Statement::CreateTableAs(CreateTableAs {
                name,
                temporary,
                if_not_exists: false,
                columns: Vec::new(),
                attributes: TableAttributes::default(),
                query,
                with_data: true,
            }))
        }
    }
}

/// Takes INTO out of the first SELECT of a query.
fn take_into(body: &mut SetExpr) -> Option<ast::SelectInto> {
    match body {
        SetExpr::Select(select) => select.into.take(),
        SetExpr::Query(query) => take_into(&mut query.body),
        SetExpr::SetOperation { left, .. } => take_into(left),
        _ => None,
    }
}

/// A name of sqlparser's tree.
pub(crate) fn object_name(source: &Source, name: &ast::ObjectName) -> ObjectName {
    let parts = name.0.iter().filter_map(|part| part.as_ident());
    ObjectName(parts.map(|part| ident(source, part)).collect())
}

/// An identifier of sqlparser's tree.
pub(crate) fn ident(source: &Source, ident: &ast::Ident) -> Ident {
    Ident { name: ident.value.clone(), position: source.position(ident.span.start).unwrap_or(0) }
}

/// After INSERT.
pub(super) fn insert(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect("into")?;
    let table = cursor.object_name()?;
    // `INSERT INTO t (SELECT …)` has a query in parentheses, not a column list.
    let listed = *cursor.peek() == Token::LParen
        && !["select", "with", "values"].iter().any(|word| cursor.is_nth(1, word))
        && *cursor.peek_nth(1) != Token::LParen;
    let columns = if listed { cursor.ident_list()? } else { Vec::new() };
    let input = if cursor.accept_all(&["default", "values"]) {
        InsertInput::DefaultValues
    } else if cursor.is("overriding") {
        return Err(unsupported("INSERT … OVERRIDING", cursor.position()));
    } else {
        InsertInput::Query(cursor.query()?)
    };
    for (clause, name) in [("on", "INSERT … ON CONFLICT"), ("returning", "INSERT … RETURNING")]
    {
        if cursor.is(clause) {
            return Err(unsupported(name, cursor.position()));
        }
    }
    Ok(Statement::Insert(Insert { table, columns, input, source: Arc::clone(&cursor.source) }))
}

/// DELETE, UPDATE and MERGE from their first word on.
pub(super) fn change(cursor: &mut Cursor) -> Result<Statement> {
    let position = cursor.position();
    let parsed = cursor.parser.parse_statement();
    let mut statement = parsed.map_err(|e| cursor.parser_error(e))?;
    if cursor.accept_all(&["remove", "duplicates"]) {
        return Err(unsupported("MERGE … REMOVE DUPLICATES", position));
    }
    let _ = statement.visit(&mut Balance);
    let source = Arc::clone(&cursor.source);
    let target = |factor: &TableFactor| match factor {
        TableFactor::Table { name, .. } => Ok(object_name(&source, name)),
        _ => Err(error!(SyntaxError, "the target of a change must be a table").at(position)),
    };
    let table = match &statement {
        ast::Statement::Delete(delete) => {
            let (ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from)) =
                &delete.from;
            match from.first() {
                Some(table) => target(&table.relation)?,
                None => return Err(cursor.unexpected()),
            }
        }
        ast::Statement::Update(update) => target(&update.table.relation)?,
        ast::Statement::Merge(merge) => target(&merge.table)?,
        _ => return Err(cursor.unexpected()),
    };
    let statement = Box::new(statement);
    let kind = match &*statement {
        ast::Statement::Delete(_) => Statement::Delete,
        ast::Statement::Update(_) => Statement::Update,
        _ => Statement::Merge,
    };
    Ok(kind(Change { table, statement, source: Arc::clone(&cursor.source) }))
}

/// A query's text as a tree: for views and cursors kept as text.
///
/// # Errors
/// Those of [`crate::parse`], and 42601 when the text is not one query.
pub fn parse_query(text: &str) -> Result<Query> {
    match super::parse(text)? {
        Statement::Query(query) => Ok(query),
        other => Err(error!(SyntaxError, "a query is expected, not {}", other.command())),
    }
}
