//! The variables of a procedure within a statement: names become constants before names become
//! columns, so that a variable wins over a column of its name, as in Redshift.

use std::collections::HashSet;

use base::{Result, SqlType};
use planner::{Editor, Tree, Walk};
use sqlparser::ast::{
    CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, Value,
};
use sqlparser::tokenizer::{Location, Span};

use crate::ast::{Change, ChangeWhat, InsertInput, MergeAction, MergeThen, Statement};
use crate::errors::walked;

/// A value that stands in the place of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant {
    pub sql_type: SqlType,
    /// The value as text; `None` is NULL.
    pub text: Option<String>,
}

/// The names that are variables.
pub trait Variables {
    /// The value of `name`, of `record.field`, of `label.name`, of `label.record.field` or of
    /// `$n`; `None` when it is none of these.
    ///
    /// # Errors
    /// 42703 for a field that a record does not have, 55000 for a record without value.
    fn variable(&self, name: &[&str]) -> Result<Option<Constant>>;
}

/// Puts the values of variables into a statement.
///
/// # Errors
/// Those of [`Variables::variable`].
pub fn put_variables(statement: &mut Statement, variables: &dyn Variables) -> Result<()> {
    let mut put = Put { variables, kept: HashSet::new() };
    match statement {
        Statement::Query(query) => put.tree(query.body.as_mut()),
        Statement::Insert(insert) => match &mut insert.input {
            InsertInput::Query(query) => put.tree(query.body.as_mut()),
            InsertInput::DefaultValues => Ok(()),
        },
        Statement::Delete(change) | Statement::Update(change) | Statement::Merge(change) => {
            put.change(change)
        }
        Statement::CreateTableAs(create) => put.tree(create.query.body.as_mut()),
        Statement::DeclareCursor(declare) => put.tree(declare.query.body.as_mut()),
        Statement::Explain(explain) => put_variables(&mut explain.statement, variables),
        Statement::Call(call) => {
            call.arguments.iter_mut().try_for_each(|argument| put.tree(argument.expr.as_mut()))
        }
        _ => Ok(()),
    }
}

struct Put<'v> {
    variables: &'v dyn Variables,
    /// Words that are no names: the part of a date that a function is asked for.
    kept: HashSet<Location>,
}

impl Put<'_> {
    fn tree(&mut self, tree: &mut dyn Tree) -> Result<()> {
        tree.edit(self).map_err(walked)
    }

    fn change(&mut self, change: &mut Change) -> Result<()> {
        if let Some(with) = &mut change.with {
            with.cte_tables.iter_mut().try_for_each(|cte| self.tree(cte))?;
        }
        match &mut change.what {
            ChangeWhat::Delete(delete) => {
                delete.using.iter_mut().try_for_each(|from| self.tree(from))?;
                delete.selection.iter_mut().try_for_each(|expr| self.tree(expr))
            }
            ChangeWhat::Update(update) => {
                update.assignments.iter_mut().try_for_each(|one| self.tree(&mut one.value))?;
                update.from.iter_mut().try_for_each(|from| self.tree(from))?;
                update.selection.iter_mut().try_for_each(|expr| self.tree(expr))
            }
            ChangeWhat::Merge(merge) => {
                self.tree(&mut merge.using)?;
                self.tree(&mut merge.on)?;
                let MergeAction::Clauses(clauses) = &mut merge.action else { return Ok(()) };
                for clause in clauses {
                    clause.condition.iter_mut().try_for_each(|expr| self.tree(expr))?;
                    match &mut clause.then {
                        MergeThen::Update(assignments) => {
                            assignments.iter_mut().try_for_each(|one| self.tree(&mut one.value))?;
                        }
                        MergeThen::Insert { values, .. } => {
                            values.iter_mut().try_for_each(|value| self.tree(value))?;
                        }
                        MergeThen::Delete | MergeThen::Nothing { .. } => {}
                    }
                }
                Ok(())
            }
        }
    }

    fn of(&self, expr: &Expr) -> Result<Option<Constant>> {
        match expr {
            Expr::Identifier(ident) if !self.kept.contains(&ident.span.start) => {
                self.variables.variable(&[&ident.value])
            }
            Expr::CompoundIdentifier(parts) if parts.len() <= 3 => {
                let parts: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
                self.variables.variable(&parts)
            }
            Expr::Value(value) => match &value.value {
                Value::Placeholder(text) => self.variables.variable(&[text]),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }
}

impl Editor for Put<'_> {
    fn expr(&mut self, expr: &mut Expr) -> Walk {
        if let Expr::Function(function) = expr
            && let Some(part) = date_part(function)
        {
            self.kept.insert(part.span.start);
        }
        if let Some(constant) = self.of(expr)? {
            *expr = literal(&constant);
        }
        Ok(())
    }
}

/// The first argument of functions that take a part of a date there.
fn date_part(function: &Function) -> Option<&Ident> {
    const NAMES: &[&str] =
        &["datediff", "date_diff", "dateadd", "date_add", "date_part", "datepart", "pgdate_part"];
    let name = function.name.0.last()?.as_ident()?;
    if !NAMES.contains(&name.value.as_str()) {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.first()? {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(part))) => Some(part),
        _ => None,
    }
}

/// `CAST('text' AS type)`.
fn literal(constant: &Constant) -> Expr {
    let value = match &constant.text {
        None => Value::Null,
        Some(text) => Value::SingleQuotedString(text.clone()),
    };
    let mut value = Expr::Value(value.with_span(Span::empty()));
    if matches!(constant.sql_type, SqlType::Varbyte(_)) {
        value = from_hex(value);
    }
    let Some(data_type) = data_type(constant.sql_type) else { return value };
    Expr::Nested(Box::new(Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(value),
        data_type,
        array: false,
        format: None,
    }))
}

/// The bytes that digits stand for: a cast would take the digits themselves.
fn from_hex(digits: Expr) -> Expr {
    let argument = FunctionArg::Unnamed(FunctionArgExpr::Expr(digits));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new("from_hex")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![argument],
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// A type in sqlparser's terms; `None` leaves a literal untyped.
pub(crate) fn data_type(sql_type: SqlType) -> Option<DataType> {
    let text = match sql_type {
        SqlType::Unknown => return None,
        // A cast to TEXT would cut at its length in a column.
        SqlType::Text | SqlType::Name => {
            format!("cast(null as varchar({}))", base::types::VARCHAR_BYTES_MAX)
        }
        other => format!("cast(null as {other})"),
    };
    match crate::parse_expression(&text).map(|expression| *expression.expr) {
        Ok(Expr::Cast { data_type, .. }) => Some(data_type),
        _ => None,
    }
}
