//! Queries: what sqlparser parses, taken apart where our tree differs.

use base::{Result, error};
use sqlparser::ast;
use sqlparser::ast::{Expr, SetExpr};

use super::cursor::Cursor;
use super::unsupported;
use crate::ast::{CreateTableAs, Ident, ObjectName, Query, Statement, TableAttributes};
use crate::guard;
use crate::text::Source;
use planner::{Editor, Tree, Walk};

struct Balance;

impl Editor for Balance {
    // Before the children are visited, so that the visit never goes down the unbalanced chain.
    fn expr(&mut self, expr: &mut Expr) -> Walk {
        guard::balance(expr);
        Ok(())
    }
}

/// Makes the long chains of a tree shallow.
pub(super) fn balance(tree: &mut dyn Tree) {
    // The editor gives no error.
    let _ = tree.edit(&mut Balance);
}

/// SELECT, WITH, VALUES or a parenthesis: a query or SELECT … INTO.
pub(super) fn query(cursor: &mut Cursor) -> Result<Statement> {
    let position = cursor.position();
    let mut query = cursor.query()?;
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
