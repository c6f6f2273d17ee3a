//! The query tree before planning: Redshift's forms made into those that the planner knows, and
//! a name for every output column.
//!
//! Names are made here because only the text tells `count(*)` from `sum(x) + 1`: Redshift calls
//! them `count` and `?column?`.

use base::{Error, Result, error};
use planner::{Editor, Tree, Walk};
use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, LimitClause, ObjectName,
    ObjectNamePart, Query, Select, SelectItem, SetExpr, TableFactor, TopQuantity, Value,
};
use sqlparser::tokenizer::Span;

use super::{comparisons, forms, using};
use crate::errors::walked;

/// Ends the part of an internal column name that a client sees.
pub(crate) const MARK: char = '\u{1}';

/// What Redshift shows for an expression that has no name of its own.
pub(crate) const UNNAMED: &str = "?column?";

/// The name of an output column as a client sees it.
pub(crate) fn shown(name: &str) -> &str {
    name.split(MARK).next().unwrap_or(name)
}

/// Rewrites a query in place.
///
/// # Errors
/// 0A000 for clauses that are not served.
pub(crate) fn rewrite(query: &mut Query) -> Result<()> {
    query.edit(&mut Rewriter).map_err(walked)
}

/// Puts the expression of an earlier alias of the same select list in the place of its name: for
/// `select 1 as x, x + 1`, once `x` has turned out to be no column. False when no select list has
/// such an alias and a use of it.
pub(crate) fn inline_alias(query: &mut Query, name: &str) -> bool {
    let mut inliner = Inliner { name, found: false };
    // The editor gives no error.
    let _ = query.edit(&mut inliner);
    inliner.found
}

struct Inliner<'a> {
    name: &'a str,
    found: bool,
}

impl Editor for Inliner<'_> {
    fn select(&mut self, select: &mut Select) -> Walk {
        let mut meaning: Option<Expr> = None;
        for item in &mut select.projection {
            let SelectItem::ExprWithAlias { expr, alias } = item else { continue };
            if let Some(meaning) = &meaning {
                let mut named = Named { name: self.name, meaning, found: false };
                expr.edit(&mut named)?;
                self.found |= named.found;
            } else if alias.value == self.name {
                meaning = Some(expr.clone());
            }
        }
        if let (Some(meaning), Some(selection)) = (&meaning, &mut select.selection) {
            let mut named = Named { name: self.name, meaning, found: false };
            selection.edit(&mut named)?;
            self.found |= named.found;
        }
        Ok(())
    }
}

/// Replaces one name by its meaning.
struct Named<'a> {
    name: &'a str,
    meaning: &'a Expr,
    found: bool,
}

impl Editor for Named<'_> {
    // After the children, so that the meaning itself is not visited.
    fn after_expr(&mut self, expr: &mut Expr) -> Walk {
        if matches!(expr, Expr::Identifier(ident) if ident.value == self.name) {
            *expr = Expr::Nested(Box::new(self.meaning.clone()));
            self.found = true;
        }
        Ok(())
    }
}

/// Rewrites a lone expression in place.
///
/// # Errors
/// As [`rewrite`].
pub(crate) fn rewrite_expr(expr: &mut Expr) -> Result<()> {
    expr.edit(&mut Rewriter).map_err(walked)
}

struct Rewriter;

impl Editor for Rewriter {
    fn query(&mut self, query: &mut Query) -> Walk {
        forms::set_operands(&mut query.body);
        using::qualify_order(query)?;
        Ok(limit(query)?)
    }

    fn select(&mut self, select: &mut Select) -> Walk {
        Ok(rewrite_select(select)?)
    }

    fn table_factor(&mut self, factor: &mut TableFactor) -> Walk {
        if let TableFactor::Function { name, .. } | TableFactor::Table { name, args: Some(_), .. } =
            factor
        {
            unqualify(name);
        }
        Ok(forms::pivot(factor)?)
    }

    fn expr(&mut self, expr: &mut Expr) -> Walk {
        Ok(rewrite_one(expr)?)
    }
}

/// TOP n is LIMIT n; LIMIT ALL and FETCH FIRST are made plain.
fn limit(query: &mut Query) -> Result<()> {
    let SetExpr::Select(select) = query.body.as_mut() else { return Ok(()) };
    let Some(top) = select.top.take() else { return Ok(()) };
    if top.with_ties || top.percent {
        return Err(Error::unsupported("TOP … PERCENT or WITH TIES is not supported"));
    }
    let count = match top.quantity {
        Some(TopQuantity::Constant(n)) => number(&n.to_string()),
        Some(TopQuantity::Expr(expr)) => expr,
        None => return Ok(()),
    };
    match &mut query.limit_clause {
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(count),
                offset: None,
                limit_by: vec![],
            });
        }
        Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = Some(count),
        Some(_) => return Err(error!(SyntaxError, "TOP and LIMIT cannot be used together")),
    }
    Ok(())
}

/// True for a number with an exponent that no DECIMAL can have.
fn is_beyond_decimals(digits: &str) -> bool {
    let Some((_, exponent)) = digits.split_once(['e', 'E']) else { return false };
    exponent.parse::<i32>().map_or(true, |exponent| exponent.abs() > 30)
}

pub(super) fn number(text: &str) -> Expr {
    Expr::Value(Value::Number(text.to_owned(), false).into())
}

pub(super) fn text(text: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.to_owned()).into())
}

/// Drops `pg_catalog.` from a function's name.
fn unqualify(name: &mut ObjectName) {
    let first = name.0.first().and_then(|part| part.as_ident());
    if name.0.len() == 2 && first.is_some_and(|first| first.value == "pg_catalog") {
        name.0.remove(0);
    }
}

/// A call of a function by its plain name.
pub(super) fn call(name: &str, args: Vec<Expr>, span: Span) -> Expr {
    let ident = Ident::with_span(span, name);
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(ident)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Words that are functions without parentheses.
const BARE_FUNCTIONS: &[&str] =
    &["sysdate", "current_user", "session_user", "user", "current_user_id", "current_schema"];

/// Functions whose first argument is a bare word that names a part of a date.
const DATE_PART_FIRST: &[&str] =
    &["dateadd", "datediff", "date_add", "date_diff", "date_part", "pgdate_part", "date_trunc"];

fn rewrite_select(select: &mut Select) -> Result<()> {
    if !select.connect_by.is_empty() {
        return Err(Error::unsupported("CONNECT BY is not supported")
            .hint("WITH RECURSIVE walks a hierarchy."));
    }
    if select.into.is_some() {
        return Err(error!(SyntaxError, "SELECT ... INTO is not allowed here"));
    }
    if let GroupByExpr::Expressions(_, modifiers) = &select.group_by
        && !modifiers.is_empty()
    {
        return Err(Error::unsupported("GROUP BY … WITH is not supported"));
    }
    forms::outer_marks(select)?;
    using::qualify(select)?;
    name_items(&mut select.projection);
    forms::exists_within(&mut select.projection)
}

/// Rewrites one expression, not those within it.
fn rewrite_one(expr: &mut Expr) -> Result<()> {
    comparisons::rewrite(expr)?;
    match expr {
        Expr::Identifier(ident) => {
            let bare =
                ident.quote_style.is_none() && BARE_FUNCTIONS.contains(&ident.value.as_str());
            if bare {
                *expr = call(&ident.value, Vec::new(), ident.span);
            }
        }
        Expr::Function(function) => {
            unqualify(&mut function.name);
            date_part_argument(function);
            if let Some(made) = super::calls::rewrite(function)? {
                *expr = made;
            }
            if let Expr::Function(function) = expr {
                forms::tell_casts_apart(function)?;
            }
        }
        Expr::AnyOp { .. } | Expr::AllOp { .. } | Expr::InSubquery { .. } => {
            forms::compared_with_query(expr);
        }
        Expr::Convert { data_type: Some(data_type), expr: inner, target_before_value, .. }
            if *target_before_value =>
        {
            let inner = std::mem::replace(inner.as_mut(), number("0"));
            *expr = cast(inner, data_type.clone());
        }
        Expr::SimilarTo { negated, expr: inner, pattern, escape_char } => {
            let escape = escape_char.as_ref().and_then(|escape| match &escape.value {
                Value::SingleQuotedString(text) => text.chars().next(),
                _ => None,
            });
            let Some(regex) = super::calls::similar_pattern(pattern, escape) else {
                return Err(Error::unsupported(
                    "SIMILAR TO with a pattern that is no literal is not supported",
                ));
            };
            let op = if *negated {
                BinaryOperator::PGRegexNotMatch
            } else {
                BinaryOperator::PGRegexMatch
            };
            let left = Box::new(std::mem::replace(inner.as_mut(), number("0")));
            *expr = Expr::BinaryOp { left, op, right: Box::new(text(&regex)) };
        }
        Expr::Extract { .. } => extracted(expr),
        Expr::AtTimeZone { .. } | Expr::Substring { .. } | Expr::Position { .. } => spelt_out(expr),
        Expr::Value(value) => {
            if let Value::Number(digits, _) = &value.value
                && is_beyond_decimals(digits)
            {
                *expr = cast(text(digits), DataType::DoublePrecision);
            }
        }
        Expr::Interval(_) => whole_interval(expr),
        Expr::OuterJoin(_) => {
            return Err(Error::unsupported("the (+) form of an outer join is not supported")
                .hint("Write LEFT JOIN or RIGHT JOIN."));
        }
        Expr::Prior(_) => return Err(Error::unsupported("PRIOR is not supported")),
        _ => {}
    }
    Ok(())
}

/// A literal without a unit behind it as the text that it is.
fn whole_interval(expr: &mut Expr) {
    let Expr::Interval(interval) = expr else { return };
    if interval.leading_field.is_some() {
        return;
    }
    let literal = std::mem::replace(interval.value.as_mut(), number("0"));
    let precision = interval.leading_precision;
    *expr = cast(literal, DataType::Interval { fields: None, precision });
}

/// EXTRACT as our date_part, wherever the plan runs; it is a whole number.
fn extracted(expr: &mut Expr) {
    let Expr::Extract { field, expr: inner, .. } = expr else { return };
    let part = field.to_string().to_lowercase();
    let inner = std::mem::replace(inner.as_mut(), number("0"));
    let value = call("date_part", vec![text(&part), inner], Span::empty());
    let exact = matches!(part.as_str(), "year" | "quarter" | "month" | "day" | "hour");
    // A cast would round a fraction of a second.
    let value = if exact { value } else { call("trunc", vec![value], Span::empty()) };
    let whole = if part == "epoch" { DataType::BigInt(None) } else { DataType::Integer(None) };
    *expr = cast(value, whole);
}

/// A form with words between its arguments as the call that it stands for.
fn spelt_out(expr: &mut Expr) {
    let take = |arg: &mut Box<Expr>| std::mem::replace(arg.as_mut(), number("0"));
    let (name, args) = match expr {
        Expr::AtTimeZone { timestamp, time_zone } => {
            ("timezone", vec![take(time_zone), take(timestamp)])
        }
        Expr::Position { expr: part, r#in } => ("strpos", vec![take(r#in), take(part)]),
        Expr::Substring { expr: inner, substring_from, substring_for, .. } => {
            let first = substring_from.as_mut().map_or_else(|| number("1"), take);
            let mut args = vec![take(inner), first];
            args.extend(substring_for.as_mut().map(take));
            ("substr", args)
        }
        _ => return,
    };
    *expr = call(name, args, Span::empty());
}

pub(super) fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// `dateadd(month, …)`: the bare word becomes a literal.
fn date_part_argument(function: &mut Function) {
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return };
    if !DATE_PART_FIRST.contains(&name.value.to_lowercase().as_str()) {
        return;
    }
    if let FunctionArguments::List(list) = &mut function.args
        && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first_mut()
        && let Expr::Identifier(word) = first
    {
        *first = text(&word.value.to_lowercase());
    }
}

/// Gives every item without a name the name that Redshift would show, and tells equal names
/// apart by a suffix after [`MARK`].
fn name_items(items: &mut [SelectItem]) {
    let wildcard = items
        .iter()
        .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    let mut seen: Vec<String> = Vec::new();
    for (n, item) in items.iter_mut().enumerate() {
        let (name, alias) = match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = column_name(expr);
                let plain = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                // After a wildcard the same column may have been there already.
                let repeated = seen.contains(&name) || (plain && wildcard);
                if plain && !repeated && !bare_function(expr) {
                    seen.push(name);
                    continue;
                }
                let alias = if repeated { marked(&name, n) } else { name.clone() };
                (name, alias)
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                let name = alias.value.clone();
                let unique = if seen.contains(&name) { marked(&name, n) } else { name.clone() };
                (name, unique)
            }
            SelectItem::Wildcard(_)
            | SelectItem::QualifiedWildcard(..)
            | SelectItem::ExprWithAliases { .. } => continue,
        };
        seen.push(name);
        let expr = match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                std::mem::replace(expr, number("0"))
            }
            _ => continue,
        };
        *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', alias) };
    }
}

fn marked(name: &str, n: usize) -> String {
    format!("{name}{MARK}{n}")
}

fn bare_function(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(ident)
        if ident.quote_style.is_none() && BARE_FUNCTIONS.contains(&ident.value.as_str()))
}

/// The name of an expression as PostgreSQL makes it: of a column, a function, the column or type
/// of a cast, `case`, else `?column?`.
pub(crate) fn column_name(expr: &Expr) -> String {
    strong_name(expr).unwrap_or_else(|| match expr {
        Expr::Cast { data_type, .. } => type_label(data_type),
        Expr::Convert { data_type: Some(data_type), .. } => type_label(data_type),
        Expr::TypedString(typed) => type_label(&typed.data_type),
        Expr::Case { else_result, .. } => {
            let last = else_result.as_deref().and_then(strong_name);
            last.unwrap_or_else(|| "case".to_owned())
        }
        Expr::Interval(_) => "interval".to_owned(),
        Expr::Nested(inner) => column_name(inner),
        _ => UNNAMED.to_owned(),
    })
}

fn strong_name(expr: &Expr) -> Option<String> {
    Some(match expr {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(parts) => parts.last()?.value.clone(),
        Expr::CompoundFieldAccess { root, .. } => return strong_name(root),
        Expr::Function(function) => {
            let name = function.name.0.last()?.as_ident()?.value.to_lowercase();
            function_label(&name).to_owned()
        }
        Expr::Cast { expr, .. } | Expr::Nested(expr) | Expr::Collate { expr, .. } => {
            return strong_name(expr);
        }
        Expr::Convert { expr, .. } => return strong_name(expr),
        Expr::Extract { .. } => "date_part".to_owned(),
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Trim { trim_where, .. } => match trim_where {
            Some(sqlparser::ast::TrimWhereField::Leading) => "ltrim".to_owned(),
            Some(sqlparser::ast::TrimWhereField::Trailing) => "rtrim".to_owned(),
            _ => "btrim".to_owned(),
        },
        Expr::Position { .. } => "position".to_owned(),
        Expr::Ceil { .. } => "ceil".to_owned(),
        Expr::Floor { .. } => "floor".to_owned(),
        Expr::Overlay { .. } => "overlay".to_owned(),
        Expr::AtTimeZone { .. } => "timezone".to_owned(),
        Expr::Exists { .. } => UNNAMED.to_owned(),
        Expr::Array(_) => "array".to_owned(),
        Expr::Subquery(query) => return subquery_name(query),
        _ => return None,
    })
}

fn subquery_name(query: &Query) -> Option<String> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    match select.projection.first()? {
        SelectItem::UnnamedExpr(expr) => strong_name(expr),
        SelectItem::ExprWithAlias { alias, .. } => Some(shown(&alias.value).to_owned()),
        _ => None,
    }
}

/// Redshift shows some functions under the name of what they become.
fn function_label(name: &str) -> &str {
    match name {
        "dateadd" => "date_add",
        "datediff" => "date_diff",
        "approx_distinct" => "count",
        "isnull" | "ifnull" => "coalesce",
        "nvl" => "coalesce",
        "decode" | "nvl2" => "case",
        "pgdate_part" => "date_part",
        other => other,
    }
}

/// The name of a cast literal: the type's name.
fn type_label(data_type: &DataType) -> String {
    match crate::parse::cast_type(data_type) {
        Ok(sql_type) => sql_type.pg_name().to_owned(),
        Err(_) => UNNAMED.to_owned(),
    }
}
