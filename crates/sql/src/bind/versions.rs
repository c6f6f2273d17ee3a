//! Relations that are not simply what their name says: a table as it was (`AT (…)`), and the table
//! of a change. DataFusion's planner knows neither, so that they travel through it under made-up
//! names.

use std::borrow::Cow;

use base::{Error, Result, SqlType, error};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ScalarValue, TableReference};
use datafusion::logical_expr::Expr as Plan;
use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart,
    Query, TableAlias, TableFactor, TableVersion, Value,
};

use super::Binder;
use super::rewrite::MARK;
use crate::ast::{AtClause, Expression};
use crate::errors::walked;
use crate::functions::cast;
use crate::relations::At;
use crate::text::Source;
use planner::{Editor, Tree, Walk};

/// What follows [`MARK`] in the made-up name of a change's table.
const TARGET: &str = "target";
/// What follows [`MARK`] in the made-up name of a table as it was; its number follows.
const VERSION: &str = "at";

/// The made-up name of the table of a change.
pub(super) fn target_name(table: &str) -> String {
    format!("{table}{MARK}{TARGET}")
}

/// True for a name of [`target_name`].
pub(super) fn is_target(reference: &TableReference) -> bool {
    matches!(reference, TableReference::Bare { table }
        if table.split_once(MARK).is_some_and(|(_, rest)| rest == TARGET))
}

/// The relation's own name, and which of the statement's moments is meant.
pub(super) fn version_of(reference: &TableReference) -> (Cow<'_, TableReference>, Option<usize>) {
    let Some((name, rest)) = reference.table().split_once(MARK) else {
        return (Cow::Borrowed(reference), None);
    };
    let number = rest.strip_prefix(VERSION).and_then(|digits| digits.parse().ok());
    let own = match (reference.catalog(), reference.schema()) {
        (Some(catalog), Some(schema)) => TableReference::full(catalog, schema, name),
        (None, Some(schema)) => TableReference::partial(schema, name),
        _ => TableReference::bare(name),
    };
    (Cow::Owned(own), number)
}

/// Takes the moments out of a query and makes up the names for them.
///
/// # Errors
/// 0A000 for other forms than AT (TIMESTAMP|SNAPSHOT => constant); those of the constant.
pub(super) fn take(binder: &Binder<'_>, query: &mut Query, source: &Source) -> Result<Vec<At>> {
    let mut taker = Taker { binder, source, moments: Vec::new() };
    query.edit(&mut taker).map_err(walked)?;
    Ok(taker.moments)
}

struct Taker<'a> {
    binder: &'a Binder<'a>,
    source: &'a Source,
    moments: Vec<At>,
}

impl Editor for Taker<'_> {
    fn table_factor(&mut self, factor: &mut TableFactor) -> Walk {
        let TableFactor::Table { name, alias, version, .. } = factor else { return Ok(()) };
        let Some(version) = version.take() else { return Ok(()) };
        let moment = self.moment(&version).map_err(|error| {
            match (error.position(), self.position(&version)) {
                (None, Some(position)) => error.at(position),
                _ => error,
            }
        })?;
        self.moments.push(moment);
        let number = self.moments.len() - 1;
        let Some(ObjectNamePart::Identifier(last)) = name.0.last_mut() else { return Ok(()) };
        if alias.is_none() {
            *alias = Some(table_alias(last.clone()));
        }
        last.value = format!("{}{MARK}{VERSION}{number}", last.value);
        last.quote_style = Some('"');
        Ok(())
    }
}

impl Taker<'_> {
    /// Where AT stands.
    fn position(&self, version: &TableVersion) -> Option<u32> {
        let TableVersion::Function(Expr::Function(function)) = version else { return None };
        let name = function.name.0.first()?.as_ident()?;
        self.source.position(name.span.start)
    }

    fn moment(&self, version: &TableVersion) -> Result<At> {
        let (word, value) = match version {
            TableVersion::Function(Expr::Function(function)) if is_at(&function.name) => {
                argument(&function.args)?
            }
            _ => return Err(refused()),
        };
        let clause = match word.as_str() {
            "timestamp" => AtClause::Timestamp(Expression {
                text: String::new(),
                expr: Box::new(value.clone()),
                source: std::sync::Arc::new(Source::new(self.source.text())),
            }),
            "snapshot" => AtClause::Snapshot(number(value)?),
            _ => return Err(refused()),
        };
        self.binder.moment(&clause)
    }
}

fn is_at(name: &ObjectName) -> bool {
    matches!(name.0.as_slice(), [ObjectNamePart::Identifier(ident)] if ident.value == "at")
}

fn argument(arguments: &FunctionArguments) -> Result<(String, &Expr)> {
    let FunctionArguments::List(list) = arguments else { return Err(refused()) };
    match list.args.as_slice() {
        [FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. }] => {
            Ok((name.value.to_lowercase(), value))
        }
        // AT (TIMESTAMP '…')
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(value @ Expr::TypedString(_)))] => {
            Ok(("timestamp".to_owned(), value))
        }
        _ => Err(refused()),
    }
}

fn number(value: &Expr) -> Result<u64> {
    if let Expr::Value(value) = value
        && let Value::Number(text, _) = &value.value
        && let Ok(number) = text.parse()
    {
        return Ok(number);
    }
    Err(error!(InvalidParameterValue, "AT (SNAPSHOT => …) takes the number of a commit"))
}

fn refused() -> Error {
    Error::unsupported("reading a table as it was in this form is not supported")
        .hint("Write AT (TIMESTAMP => '…') or AT (SNAPSHOT => n) after its name.")
}

/// An alias as the parser makes it.
pub(super) fn table_alias(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: Vec::new(), at: None }
}

impl Binder<'_> {
    /// The moment that an AT clause means. A timestamp without a zone is in the session's.
    ///
    /// # Errors
    /// As [`Binder::constant`]; 22007 for what is no timestamp.
    pub fn moment(&self, at: &AtClause) -> Result<At> {
        let expression = match at {
            AtClause::Snapshot(number) => return Ok(At::Snapshot(*number)),
            AtClause::Timestamp(expression) => expression,
        };
        let expr = self.scalar(expression)?;
        let expr = expr.transform_up(|expr| {
            Ok(match self.options.moment.value_of(&expr) {
                Some(value) => Transformed::yes(literal(value)),
                None => Transformed::no(expr),
            })
        });
        let expr = expr.map_err(|e| crate::error_from_datafusion(e, ""))?.data;
        let Plan::Literal(value, _) = super::fold(expr, &self.options)? else {
            return Err(error!(InvalidColumnReference, "AT (TIMESTAMP => …) takes a constant"));
        };
        match cast::scalar(value, SqlType::TimestampTz, &self.options)? {
            ScalarValue::TimestampMicrosecond(Some(us), _) => Ok(At::Timestamp(us)),
            _ => Err(error!(InvalidParameterValue, "AT (TIMESTAMP => …) takes no NULL")),
        }
    }
}

fn literal(value: ScalarValue) -> Plan {
    Plan::Literal(value, None)
}
