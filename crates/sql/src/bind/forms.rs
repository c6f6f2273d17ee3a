//! Forms of a query that the planner does not know, made into those that it does: TOP within a set
//! operation, comparisons with ANY and ALL, rows IN a subquery, `(+)`, PIVOT and UNPIVOT.

use base::{Error, Result, error};
use planner::{Editor, Reader, Tree, Walk};
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    BinaryOperator, CaseWhen, ExcludeSelectItem, Expr, ExprWithAlias, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator,
    NullInclusion, ObjectName, ObjectNamePart, PivotValueSource, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, TableAlias,
    TableAliasColumnDef, TableFactor, TableWithJoins, UnaryOperator, Value,
    WildcardAdditionalOptions,
};
use sqlparser::tokenizer::Span;

use super::rewrite::{MARK, call, number, text};
use crate::errors::walked;
use crate::functions::{Registry, assign};

/// A query of nothing but a body.
fn query_of(body: SetExpr) -> Query {
    Query {
        with: None,
        body: Box::new(body),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

fn select_of(projection: Vec<SelectItem>, from: TableFactor) -> Select {
    Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection,
        exclude: None,
        into: None,
        from: vec![TableWithJoins { relation: from, joins: Vec::new() }],
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: sqlparser::ast::SelectFlavor::Standard,
    }
}

fn derived(query: Query, alias: TableAlias) -> TableFactor {
    TableFactor::Derived {
        lateral: false,
        subquery: Box::new(query),
        alias: Some(alias),
        sample: None,
    }
}

fn alias_of(name: &str, columns: &[String]) -> TableAlias {
    TableAlias {
        explicit: true,
        name: Ident::with_quote('"', name),
        columns: columns
            .iter()
            .map(|name| TableAliasColumnDef { name: Ident::with_quote('"', name), data_type: None })
            .collect(),
        at: None,
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Value(Value::Null.into()))
}

/// MINUS is EXCEPT, and an operand of a set operation with TOP is a query of its own.
pub(super) fn set_operands(body: &mut SetExpr) {
    let mut rest = vec![body];
    while let Some(next) = rest.pop() {
        let SetExpr::SetOperation { op, left, right, .. } = next else { continue };
        if *op == SetOperator::Minus {
            *op = SetOperator::Except;
        }
        for operand in [left, right] {
            if matches!(operand.as_ref(), SetExpr::Select(select) if select.top.is_some()) {
                let own = std::mem::replace(operand.as_mut(), SetExpr::Values(no_values()));
                **operand = SetExpr::Query(Box::new(query_of(own)));
            } else {
                rest.push(operand);
            }
        }
    }
}

fn no_values() -> sqlparser::ast::Values {
    sqlparser::ast::Values { explicit_row: false, value_keyword: false, rows: Vec::new() }
}

/// Arguments of aggregates and window functions that contain casts, told apart by their text:
/// DataFusion leaves casts out of the names by which it tells expressions apart.
pub(super) fn tell_casts_apart(function: &mut Function) -> Result<()> {
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return Ok(()) };
    let aggregate = Registry::shared().aggregate(&name.value).is_some();
    if !aggregate && function.over.is_none() {
        return Ok(());
    }
    let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    for arg in &mut list.args {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) = arg else { continue };
        let mut casts = Casts { found: false };
        arg.read(&mut casts).map_err(walked)?;
        if casts.found {
            let written = text(&arg.to_string());
            *arg = call(assign::AS_WRITTEN, vec![take(arg), written], Span::empty());
        }
    }
    Ok(())
}

struct Casts {
    found: bool,
}

impl Reader for Casts {
    fn expr(&mut self, expr: &Expr) -> Walk {
        self.found |= matches!(expr, Expr::Cast { .. } | Expr::Convert { .. });
        Ok(())
    }
}

/// Comparisons with the rows of a subquery that the planner does not know.
pub(super) fn compared_with_query(expr: &mut Expr) {
    let made = match expr {
        Expr::InSubquery { .. } => row_in_query(expr),
        _ => quantified(expr),
    };
    if let Some(made) = made {
        *expr = made;
    }
}

/// `x op ANY (query)` and `x op ALL (query)`, by the extremes of what the query gives. `None`
/// for other comparisons.
fn quantified(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::AnyOp { left, compare_op, right, .. } => {
            let Expr::Subquery(query) = right.as_mut() else { return None };
            any(left, compare_op, query)
        }
        // All are so unless one is not.
        Expr::AllOp { left, compare_op, right } => {
            let Expr::Subquery(query) = right.as_mut() else { return None };
            let other = any(left, &opposite(compare_op)?, query)?;
            Some(match other {
                Expr::InSubquery { expr, subquery, negated } => {
                    Expr::InSubquery { expr, subquery, negated: !negated }
                }
                other => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(other) },
            })
        }
        _ => None,
    }
}

fn opposite(op: &BinaryOperator) -> Option<BinaryOperator> {
    Some(match op {
        BinaryOperator::Eq => BinaryOperator::NotEq,
        BinaryOperator::NotEq => BinaryOperator::Eq,
        BinaryOperator::Lt => BinaryOperator::GtEq,
        BinaryOperator::LtEq => BinaryOperator::Gt,
        BinaryOperator::Gt => BinaryOperator::LtEq,
        BinaryOperator::GtEq => BinaryOperator::Lt,
        _ => return None,
    })
}

/// True when a value of the query compares so; else NULL when there is a NULL among them or the
/// left side is one, and false for a query without rows.
fn any(left: &mut Expr, op: &BinaryOperator, query: &Query) -> Option<Expr> {
    let over = |function: &str| aggregated(query, function);
    let extreme = match op {
        BinaryOperator::Eq => {
            return Some(Expr::InSubquery {
                expr: Box::new(take(left)),
                subquery: Box::new(query.clone()),
                negated: false,
            });
        }
        BinaryOperator::NotEq => {
            let differs = |bound| binary(left.clone(), BinaryOperator::NotEq, bound);
            binary(differs(over("min")?), BinaryOperator::Or, differs(over("max")?))
        }
        BinaryOperator::Gt | BinaryOperator::GtEq => binary(left.clone(), op.clone(), over("min")?),
        BinaryOperator::Lt | BinaryOperator::LtEq => binary(left.clone(), op.clone(), over("max")?),
        _ => return None,
    };
    let when = |condition, result| CaseWhen { condition, result };
    let truth = |value| Expr::Value(Value::Boolean(value).into());
    let rows = over("rows")?;
    let nulls = binary(rows.clone(), BinaryOperator::Gt, over("count")?);
    Some(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![
            when(Expr::Nested(Box::new(extreme.clone())), truth(true)),
            when(binary(rows, BinaryOperator::Eq, number("0")), truth(false)),
            when(nulls, Expr::Value(Value::Null.into())),
        ],
        else_result: Some(Box::new(Expr::Nested(Box::new(extreme)))),
    })
}

/// `(SELECT function(x) FROM …)` of a query that gives x; `rows` counts its rows.
fn aggregated(query: &Query, function: &str) -> Option<Expr> {
    let counted = |value: Expr| match function {
        "rows" => call("count", vec![number("1")], Span::empty()),
        name => call(name, vec![value], Span::empty()),
    };
    let item = |value: Expr| SelectItem::UnnamedExpr(counted(value));
    if let Some((select, value)) = plain(query) {
        let mut select = select.clone();
        select.projection = vec![item(value.clone())];
        let mut query = query_of(SetExpr::Select(Box::new(select)));
        query.with = None;
        return Some(Expr::Subquery(Box::new(query)));
    }
    let column = format!("value{MARK}");
    let from = derived(
        query.clone(),
        alias_of(&format!("quantified{MARK}"), std::slice::from_ref(&column)),
    );
    let value = Expr::Identifier(Ident::with_quote('"', column));
    let select = select_of(vec![item(value)], from);
    Some(Expr::Subquery(Box::new(query_of(SetExpr::Select(Box::new(select))))))
}

/// The SELECT and the value of a query that only filters rows.
fn plain(query: &Query) -> Option<(&Select, &Expr)> {
    let select = filter(query)?;
    match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] => {
            Some((select, value))
        }
        _ => None,
    }
}

/// The SELECT of a query that only filters rows.
fn filter(query: &Query) -> Option<&Select> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    let simple = query.with.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && select.distinct.is_none()
        && select.top.is_none()
        && select.having.is_none()
        && select.qualify.is_none()
        && !grouped;
    let mut aggregates = Aggregates { found: false };
    for item in &select.projection {
        item.read(&mut aggregates).ok()?;
    }
    (simple && !aggregates.found).then_some(select)
}

/// EXISTS within a larger expression of a select list as a comparison of the number of rows: the
/// planner knows EXISTS on its own there.
pub(super) fn exists_within(items: &mut [SelectItem]) -> Result<()> {
    for item in items {
        let expr = match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr,
            _ => continue,
        };
        if !matches!(expr, Expr::Exists { .. }) {
            expr.edit(&mut Counted { depth: 0 }).map_err(walked)?;
        }
    }
    Ok(())
}

struct Counted {
    /// Subqueries that are open.
    depth: usize,
}

impl Editor for Counted {
    fn query(&mut self, _: &mut Query) -> Walk {
        self.depth += 1;
        Ok(())
    }

    fn after_query(&mut self, _: &mut Query) -> Walk {
        self.depth -= 1;
        Ok(())
    }

    fn after_expr(&mut self, expr: &mut Expr) -> Walk {
        let Expr::Exists { subquery, negated } = expr else { return Ok(()) };
        if self.depth > 0 {
            return Ok(());
        }
        let Some(select) = filter(subquery) else { return Ok(()) };
        let mut select = select.clone();
        let rows = call("count", vec![number("1")], Span::empty());
        select.projection = vec![SelectItem::UnnamedExpr(rows)];
        let rows = Expr::Subquery(Box::new(query_of(SetExpr::Select(Box::new(select)))));
        let op = if *negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
        *expr = Expr::Nested(Box::new(binary(rows, op, number("0"))));
        Ok(())
    }
}

struct Aggregates {
    found: bool,
}

impl Reader for Aggregates {
    fn expr(&mut self, expr: &Expr) -> Walk {
        if let Expr::Function(function) = expr {
            let name = function.name.0.last().and_then(|part| part.as_ident());
            let aggregate = |name: &Ident| {
                let name = name.value.to_lowercase();
                matches!(name.as_str(), "listagg" | "percentile_cont" | "percentile_disc")
                    || Registry::shared().aggregate(&name).is_some()
            };
            self.found |= function.over.is_some() || name.is_some_and(aggregate);
        }
        Ok(())
    }
}

/// `(a, b) IN (query)` as EXISTS over what the query gives.
fn row_in_query(expr: &mut Expr) -> Option<Expr> {
    let Expr::InSubquery { expr: row, subquery, negated } = expr else { return None };
    let Expr::Tuple(values) = row.as_mut() else { return None };
    let columns: Vec<String> = (0..values.len()).map(|n| format!("value{n}{MARK}")).collect();
    let equal = values.iter_mut().zip(&columns).map(|(value, column)| {
        let column = Expr::Identifier(Ident::with_quote('"', column));
        binary(column, BinaryOperator::Eq, Expr::Nested(Box::new(take(value))))
    });
    let same = equal.reduce(|all, one| binary(all, BinaryOperator::And, one))?;
    // NOT IN holds only where every comparison is known to be false.
    let condition =
        if *negated { Expr::IsNotFalse(Box::new(Expr::Nested(Box::new(same)))) } else { same };
    let rows = std::mem::replace(subquery.as_mut(), query_of(SetExpr::Values(no_values())));
    let from = derived(rows, alias_of(&format!("rows{MARK}"), &columns));
    let mut select = select_of(vec![SelectItem::UnnamedExpr(number("1"))], from);
    select.selection = Some(condition);
    Some(Expr::Exists {
        subquery: Box::new(query_of(SetExpr::Select(Box::new(select)))),
        negated: *negated,
    })
}

/// The conditions that AND joins.
fn conjuncts(expr: Expr, found: &mut Vec<Expr>) {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            conjuncts(*left, found);
            conjuncts(*right, found);
        }
        Expr::Nested(inner)
            if matches!(inner.as_ref(), Expr::BinaryOp { op: BinaryOperator::And, .. }) =>
        {
            conjuncts(*inner, found);
        }
        other => found.push(other),
    }
}

/// The tables of a condition, and those of them that `(+)` marks.
#[derive(Default)]
struct Sides {
    named: Vec<String>,
    marked: Vec<String>,
    has_mark: bool,
    unqualified: bool,
}

impl Sides {
    fn of(expr: &Expr) -> Result<Self> {
        let mut sides = Sides::default();
        expr.read(&mut sides).map_err(walked)?;
        Ok(sides)
    }
}

fn qualifier(expr: &Expr) -> Option<String> {
    let Expr::CompoundIdentifier(parts) = expr else { return None };
    let table = parts.len().checked_sub(2).and_then(|n| parts.get(n))?;
    Some(table.value.clone())
}

impl Reader for Sides {
    fn expr(&mut self, expr: &Expr) -> Walk {
        match expr {
            Expr::OuterJoin(column) => {
                self.has_mark = true;
                self.unqualified |= qualifier(column).is_none();
                self.marked.extend(qualifier(column));
            }
            other => self.named.extend(qualifier(other)),
        }
        Ok(())
    }
}

/// The name by which a FROM item is called.
pub(super) fn factor_name(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. } => Some(alias.name.clone()),
        TableFactor::Table { name, .. } => name.0.last()?.as_ident().cloned(),
        _ => None,
    }
}

/// Conditions with `(+)` as outer joins: the marked table gives NULLs where nothing matches.
///
/// # Errors
/// 0A000 for marks whose table cannot be told, for two marked tables in one condition and for
/// tables marked in a circle.
pub(super) fn outer_marks(select: &mut Select) -> Result<()> {
    let Some(selection) = &select.selection else { return Ok(()) };
    if !Sides::of(selection)?.has_mark {
        return Ok(());
    }
    let mut all = Vec::new();
    conjuncts(select.selection.take().unwrap_or_else(|| number("1")), &mut all);
    let mut joins: Vec<(String, Vec<Expr>, Vec<String>)> = Vec::new();
    let mut rest = Vec::new();
    for mut condition in all {
        let sides = Sides::of(&condition)?;
        if !sides.has_mark {
            rest.push(condition);
            continue;
        }
        let [first, others @ ..] = sides.marked.as_slice() else { return Err(unclear_mark()) };
        if sides.unqualified || others.iter().any(|other| other != first) {
            return Err(unclear_mark());
        }
        condition.edit(&mut Unmark).map_err(walked)?;
        let needs = sides.named.iter().filter(|name| *name != first).cloned();
        match joins.iter_mut().find(|(table, ..)| table == first) {
            Some((_, conditions, needed)) => {
                conditions.push(condition);
                needed.extend(needs);
            }
            None => joins.push((first.clone(), vec![condition], needs.collect())),
        }
    }
    select.selection = rest.into_iter().reduce(|all, one| binary(all, BinaryOperator::And, one));
    columns_in_order(select);
    joined(&mut select.from, joins)
}

/// `*` as `a.*, b.*`, because the order of the tables changes.
fn columns_in_order(select: &mut Select) {
    let plain = |item: &TableWithJoins| {
        let name = if item.joins.is_empty() { factor_name(&item.relation) } else { None };
        let quoted = |name: Ident| Ident::with_quote('"', name.value);
        name.map(|name| ObjectName(vec![ObjectNamePart::Identifier(quoted(name))]))
    };
    let Some(tables) = select.from.iter().map(plain).collect::<Option<Vec<_>>>() else { return };
    let wildcard = |item: &SelectItem| {
        matches!(item, SelectItem::Wildcard(options)
            if options.opt_exclude.is_none() && options.opt_except.is_none())
    };
    let items = std::mem::take(&mut select.projection).into_iter();
    select.projection = items
        .flat_map(|item| {
            if !wildcard(&item) {
                return vec![item];
            }
            let of = |table: &ObjectName| {
                let kind = SelectItemQualifiedWildcardKind::ObjectName(table.clone());
                SelectItem::QualifiedWildcard(kind, WildcardAdditionalOptions::default())
            };
            tables.iter().map(of).collect()
        })
        .collect();
}

fn unclear_mark() -> Error {
    Error::unsupported("this form of an outer join by (+) is not supported").hint(
        "Mark columns of one table in each condition, the table's name before them, or write LEFT \
         JOIN.",
    )
}

struct Unmark;

impl Editor for Unmark {
    fn after_expr(&mut self, expr: &mut Expr) -> Walk {
        if let Expr::OuterJoin(column) = expr {
            *expr = take(column);
        }
        Ok(())
    }
}

/// FROM as one chain: the tables without a mark, then the marked ones, each after those that its
/// conditions name.
fn joined(
    from: &mut Vec<TableWithJoins>,
    mut joins: Vec<(String, Vec<Expr>, Vec<String>)>,
) -> Result<()> {
    let mut marked = Vec::new();
    let mut chain: Option<TableWithJoins> = None;
    for item in std::mem::take(from) {
        let name = factor_name(&item.relation).map(|name| name.value);
        let is_marked = name.as_ref().is_some_and(|name| joins.iter().any(|join| join.0 == *name));
        if let (true, true, Some(name)) = (is_marked, item.joins.is_empty(), name) {
            marked.push((name, item.relation));
            continue;
        }
        match &mut chain {
            None => chain = Some(item),
            Some(chain) => {
                let operator = JoinOperator::CrossJoin(JoinConstraint::None);
                chain.joins.push(join(item.relation, operator));
                chain.joins.extend(item.joins);
            }
        }
    }
    let Some(mut chain) = chain else { return Err(unclear_mark()) };
    while !joins.is_empty() {
        let waiting: Vec<String> = joins.iter().map(|join| join.0.clone()).collect();
        let ready = joins
            .iter()
            .position(|(_, _, needs)| !needs.iter().any(|needed| waiting.contains(needed)));
        let (table, conditions, _) = joins.swap_remove(ready.ok_or_else(unclear_mark)?);
        let place = marked.iter().position(|(name, _)| *name == table);
        let (_, relation) = marked.swap_remove(place.ok_or_else(unclear_mark)?);
        let on = conditions.into_iter().reduce(|all, one| binary(all, BinaryOperator::And, one));
        let on = on.ok_or_else(unclear_mark)?;
        chain.joins.push(join(relation, JoinOperator::LeftOuter(JoinConstraint::On(on))));
    }
    from.push(chain);
    Ok(())
}

fn join(relation: TableFactor, join_operator: JoinOperator) -> Join {
    Join { relation, global: false, join_operator }
}

/// `SELECT * EXCLUDE (names)` beside other items.
fn all_but(names: Vec<Ident>) -> SelectItem {
    let names = names.into_iter().map(|name| ObjectName(vec![ObjectNamePart::Identifier(name)]));
    SelectItem::Wildcard(WildcardAdditionalOptions {
        opt_exclude: Some(ExcludeSelectItem::Multiple(names.collect())),
        ..WildcardAdditionalOptions::default()
    })
}

/// PIVOT and UNPIVOT as subqueries.
///
/// # Errors
/// 0A000 for forms that Redshift does not have, 42601 for an aggregate that is none.
pub(super) fn pivot(factor: &mut TableFactor) -> Result<()> {
    let made = match factor {
        TableFactor::Pivot {
            table,
            aggregate_functions,
            value_column,
            value_source,
            default_on_null: None,
            alias,
        } => {
            let ([column], PivotValueSource::List(values)) =
                (value_column.as_slice(), &*value_source)
            else {
                return Err(Error::unsupported(
                    "PIVOT by other than a list of values of one column is not supported",
                ));
            };
            let query = pivoted(table, aggregate_functions, column, values)?;
            derived(query, alias.take().unwrap_or_else(|| alias_of("pivot", &[])))
        }
        TableFactor::Pivot { .. } => {
            return Err(Error::unsupported("PIVOT with DEFAULT ON NULL is not supported"));
        }
        TableFactor::Unpivot { table, value, name, columns, null_inclusion, alias } => {
            let Expr::Identifier(value) = value else {
                return Err(Error::unsupported(
                    "UNPIVOT of several columns at once is not supported",
                ));
            };
            let keep_nulls = matches!(null_inclusion, Some(NullInclusion::IncludeNulls));
            let query = unpivoted(table, value, name, columns, keep_nulls)?;
            derived(query, alias.take().unwrap_or_else(|| alias_of("unpivot", &[])))
        }
        _ => return Ok(()),
    };
    *factor = made;
    Ok(())
}

/// The columns that an expression names.
#[derive(Default)]
struct Names(Vec<Ident>);

impl Reader for Names {
    fn expr(&mut self, expr: &Expr) -> Walk {
        let found = match expr {
            Expr::Identifier(name) => Some(name),
            Expr::CompoundIdentifier(parts) => parts.last(),
            _ => None,
        };
        if let Some(name) = found
            && !self.0.iter().any(|other| other.value == name.value)
        {
            self.0.push(name.clone());
        }
        Ok(())
    }
}

fn pivoted(
    table: &TableFactor,
    aggregates: &[ExprWithAlias],
    column: &Expr,
    values: &[ExprWithAlias],
) -> Result<Query> {
    let mut used = Names::default();
    column.read(&mut used).map_err(walked)?;
    for aggregate in aggregates {
        aggregate.expr.read(&mut used).map_err(walked)?;
    }
    let mut items = vec![all_but(used.0)];
    for value in values {
        let label = match (&value.alias, &value.expr) {
            (Some(alias), _) => alias.value.clone(),
            (None, Expr::Value(literal)) => match &literal.value {
                Value::SingleQuotedString(text) => text.to_lowercase(),
                other => other.to_string().to_lowercase(),
            },
            (None, other) => other.to_string().to_lowercase(),
        };
        for aggregate in aggregates {
            let name = match &aggregate.alias {
                Some(alias) => format!("{label}_{}", alias.value),
                None => label.clone(),
            };
            let expr = only_where(&aggregate.expr, column, &value.expr)?;
            items.push(SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) });
        }
    }
    let mut select = select_of(items, table.clone());
    select.group_by = GroupByExpr::All(Vec::new());
    Ok(query_of(SetExpr::Select(Box::new(select))))
}

/// An aggregate over the rows in which a column has a value.
fn only_where(aggregate: &Expr, column: &Expr, value: &Expr) -> Result<Expr> {
    let is_null = matches!(value, Expr::Value(literal) if literal.value == Value::Null);
    let condition = if is_null {
        Expr::IsNull(Box::new(column.clone()))
    } else {
        binary(column.clone(), BinaryOperator::Eq, value.clone())
    };
    let not_aggregate = || {
        error!(SyntaxError, "PIVOT needs an aggregate function")
            .hint("Write PIVOT (sum(x) FOR column IN (…)).")
    };
    let Expr::Function(function) = aggregate else { return Err(not_aggregate()) };
    let mut function = function.clone();
    let FunctionArguments::List(list) = &mut function.args else { return Err(not_aggregate()) };
    let Some(FunctionArg::Unnamed(first)) = list.args.first_mut() else {
        return Err(not_aggregate());
    };
    let result = match first {
        FunctionArgExpr::Expr(expr) => take(expr),
        _ => number("1"),
    };
    *first = FunctionArgExpr::Expr(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result }],
        else_result: None,
    });
    Ok(Expr::Function(function))
}

fn unpivoted(
    table: &TableFactor,
    value: &Ident,
    name: &Ident,
    columns: &[ExprWithAlias],
    keep_nulls: bool,
) -> Result<Query> {
    let mut used = Names::default();
    for column in columns {
        column.expr.read(&mut used).map_err(walked)?;
    }
    let mut branches = columns.iter().map(|column| {
        let label = match (&column.alias, &column.expr) {
            (Some(alias), _) => alias.value.clone(),
            (None, Expr::Identifier(name)) => name.value.clone(),
            (None, other) => other.to_string(),
        };
        let named = |expr, alias: &Ident| SelectItem::ExprWithAlias { expr, alias: alias.clone() };
        let items = vec![
            all_but(used.0.clone()),
            named(text(&label), name),
            named(column.expr.clone(), value),
        ];
        let mut select = select_of(items, table.clone());
        if !keep_nulls {
            select.selection = Some(Expr::IsNotNull(Box::new(column.expr.clone())));
        }
        SetExpr::Select(Box::new(select))
    });
    let Some(first) = branches.next() else {
        return Err(error!(SyntaxError, "UNPIVOT needs a list of columns"));
    };
    let body = branches.fold(first, |left, right| SetExpr::SetOperation {
        op: SetOperator::Union,
        set_quantifier: SetQuantifier::All,
        left: Box::new(left),
        right: Box::new(right),
    });
    Ok(query_of(body))
}
