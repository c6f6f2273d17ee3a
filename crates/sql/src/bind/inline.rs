//! SQL functions of users: a call becomes the expression of the function's body, with the
//! arguments in the place of `$1`, `$2`, …

use base::{Result, SqlType, error};
use planner::{Editor, Tree, Walk};
use sqlparser::ast::{
    CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Query,
    Select, SelectItem, SetExpr, Value,
};

use super::Context;
use crate::errors::walked;
use crate::relations::{InlineFunction, RelationUse};
use crate::variables::data_type;

/// Calls that a statement may hold after those within functions are counted too.
const CALLS_MAX: usize = 1_000;
/// The expressions that bodies may add to a statement: an argument counts as often as it is named.
const EXPRESSIONS_MAX: usize = 100_000;

/// The expression of a function's body, whose arguments have these types.
///
/// # Errors
/// 42P13 for a body that is no SELECT of one expression, 42P02 for `$n` beyond the arguments.
pub fn function_body(text: &str, arguments: &[SqlType]) -> Result<Expr> {
    let query = crate::parse_query(text)?;
    let mut expr = only_expression(*query.body).ok_or_else(|| {
        error!(
            InvalidFunctionDefinition,
            "the body of an SQL function is SELECT and one expression"
        )
        .hint("It has no FROM, WHERE, GROUP BY, ORDER BY or LIMIT.")
    })?;
    let mut check = Parameters { count: arguments.len() };
    expr.edit(&mut check).map_err(walked)?;
    Ok(expr)
}

/// A body with values in the place of its arguments.
///
/// # Errors
/// As [`function_body`], and 54001 for one that would be too large.
pub fn inlined(
    body: &str,
    types: &[SqlType],
    returns: SqlType,
    arguments: Vec<Expr>,
) -> Result<Expr> {
    put_in(body, types, returns, arguments, &mut EXPRESSIONS_MAX.clone())
}

/// As [`inlined`]; takes what it adds off `left`.
fn put_in(
    body: &str,
    types: &[SqlType],
    returns: SqlType,
    mut arguments: Vec<Expr>,
    left: &mut usize,
) -> Result<Expr> {
    let mut expr = function_body(body, types)?;
    let mut sizes = Vec::with_capacity(arguments.len());
    for argument in &mut arguments {
        let mut size = Size::default();
        argument.edit(&mut size).map_err(walked)?;
        sizes.push(size.expressions);
    }
    let mut size = Size { sizes, ..Size::default() };
    expr.edit(&mut size).map_err(walked)?;
    *left = left.checked_sub(size.expressions).ok_or_else(|| {
        error!(StatementTooComplex, "functions in SQL make the statement too large").detail(
            format!("Their bodies cannot add more than {EXPRESSIONS_MAX} expressions to it."),
        )
    })?;
    let values = arguments.into_iter().zip(types).map(|(value, to)| cast(value, *to)).collect();
    expr.edit(&mut Arguments { values }).map_err(walked)?;
    Ok(cast(expr, returns))
}

/// Counts expressions, placeholders as what comes into their place.
#[derive(Default)]
struct Size {
    sizes: Vec<usize>,
    expressions: usize,
}

impl Editor for Size {
    fn expr(&mut self, expr: &mut Expr) -> Walk {
        let argument = placeholder(expr).and_then(number).and_then(|n| self.sizes.get(n));
        self.expressions = self.expressions.saturating_add(1 + argument.copied().unwrap_or(0));
        Ok(())
    }
}

fn cast(expr: Expr, to: SqlType) -> Expr {
    let expr = Box::new(Expr::Nested(Box::new(expr)));
    let Some(data_type) = data_type(to) else { return *expr };
    let cast = Expr::Cast { kind: CastKind::Cast, expr, data_type, array: false, format: None };
    Expr::Nested(Box::new(cast))
}

fn only_expression(query: Query) -> Option<Expr> {
    let Query { with: None, order_by: None, limit_clause: None, fetch: None, .. } = &query else {
        return None;
    };
    let SetExpr::Select(select) = *query.body else { return None };
    let plain = select.from.is_empty()
        && select.selection.is_none()
        && select.having.is_none()
        && select.distinct.is_none()
        && select.top.is_none()
        && select.into.is_none()
        && select.qualify.is_none()
        && matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    let mut items = select.projection;
    match (plain, items.pop(), items.is_empty()) {
        (true, Some(SelectItem::UnnamedExpr(expr)), true) => Some(expr),
        (true, Some(SelectItem::ExprWithAlias { expr, .. }), true) => Some(expr),
        _ => None,
    }
}

fn placeholder(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn number(text: &str) -> Option<usize> {
    text.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
}

/// Refuses `$n` that are no arguments.
struct Parameters {
    count: usize,
}

impl Editor for Parameters {
    fn expr(&mut self, expr: &mut Expr) -> Walk {
        match placeholder(expr) {
            Some(text) if number(text).is_none_or(|n| n >= self.count) => {
                Err(error!(UndefinedParameter, "there is no parameter {text}").into())
            }
            _ => Ok(()),
        }
    }
}

struct Arguments {
    values: Vec<Expr>,
}

impl Editor for Arguments {
    // After what is within: the arguments have parameters of their own.
    fn after_expr(&mut self, expr: &mut Expr) -> Walk {
        if let Some(value) = placeholder(expr).and_then(number).and_then(|n| self.values.get(n)) {
            *expr = value.clone();
        }
        Ok(())
    }
}

/// Puts the bodies of functions in the place of their calls.
///
/// # Errors
/// 42725 for a call that several functions fit, 42501, 54001 when there are too many.
pub(super) fn inline_functions(query: &mut Query, context: &Context<'_>) -> Result<()> {
    if !context.binder.relations.has_functions() {
        return Ok(());
    }
    query.edit(&mut Inline { context, calls: 0, left: EXPRESSIONS_MAX }).map_err(walked)
}

struct Inline<'c> {
    context: &'c Context<'c>,
    calls: usize,
    /// Expressions that bodies may still add.
    left: usize,
}

impl Inline<'_> {
    fn function(&self, call: &Function, count: usize) -> Result<Option<InlineFunction>> {
        let parts: Option<Vec<&str>> =
            call.name.0.iter().map(|part| part.as_ident().map(|i| i.value.as_str())).collect();
        let Some(parts) = parts else { return Ok(None) };
        let registry = &self.context.binder.options.registry;
        if let [name] = parts.as_slice()
            && (registry.scalar(name).is_some() || registry.aggregate(name).is_some())
        {
            return Ok(None);
        }
        let path = self.context.search_path.as_deref();
        let mut found = self.context.binder.relations.functions(&parts, count, path)?;
        match found.len() {
            0 => Ok(None),
            1 => Ok(found.pop()),
            _ => Err(error!(AmbiguousFunction, "function {} is not unique", call.name)
                .detail("Several functions of this name have as many arguments.")
                .hint("Functions in SQL are told apart by the number of their arguments.")),
        }
    }

    fn inlined(&mut self, call: &Function) -> Result<Option<Expr>> {
        let Some(arguments) = plain_arguments(call) else { return Ok(None) };
        let Some(function) = self.function(call, arguments.len())? else { return Ok(None) };
        self.calls += 1;
        if self.calls > CALLS_MAX {
            return Err(error!(StatementTooComplex, "too many calls of functions in SQL")
                .detail(format!("A statement cannot have more than {CALLS_MAX}.")));
        }
        let through = self.context.views.first().map(|view| view.oid);
        let used = RelationUse { oid: function.oid, through };
        let mut found = self.context.found.borrow_mut();
        if !found.uses.contains(&used) {
            found.uses.push(used);
        }
        drop(found);
        let InlineFunction { body, arguments: types, returns, .. } = function;
        put_in(&body, &types, returns, arguments, &mut self.left).map(Some)
    }
}

impl Editor for Inline<'_> {
    /// The column of a call is named after the function.
    fn select(&mut self, select: &mut Select) -> Walk {
        for item in &mut select.projection {
            let SelectItem::UnnamedExpr(Expr::Function(call)) = item else { continue };
            if let Some(expr) = self.inlined(call)?
                && let Some(alias) = call.name.0.last().and_then(|part| part.as_ident()).cloned()
            {
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
        }
        Ok(())
    }

    fn expr(&mut self, expr: &mut Expr) -> Walk {
        // A body may itself begin with a call.
        while let Expr::Function(call) = expr {
            match self.inlined(call)? {
                Some(inlined) => *expr = inlined,
                None => break,
            }
        }
        Ok(())
    }
}

/// The arguments of a call without anything but values in it.
fn plain_arguments(call: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &call.args else { return None };
    let plain = call.over.is_none()
        && call.filter.is_none()
        && call.within_group.is_empty()
        && call.null_treatment.is_none()
        && list.duplicate_treatment.is_none()
        && list.clauses.is_empty();
    if !plain {
        return None;
    }
    let values = list.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    values.collect()
}
