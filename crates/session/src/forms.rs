//! Forms of catalog queries that tools send and the planner does not take as they are.
//!
//! - `(SELECT d.x FROM pg_… d WHERE d.a = outer.b)` without an aggregate becomes a left join:
//!   over the system tables such a subquery gives one row at most.
//! - `ARRAY(SELECT x …)` becomes an aggregate, `EXISTS (…)` in a result a count.
//! - Casts to `regclass`, `regtype` and `regproc` become leader functions, which know the names.
//!
//! Only statements that name a system table are touched; [`plain`] works on any text.

mod joined;
mod spelling;

use planner::{Editor, Reader, Tree, Walk};
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, DataType, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, GroupByExpr,
    Ident, ObjectName, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor,
    TableWithJoins, Value,
};

pub(crate) use spelling::plain;

/// Rewrites a query in place: EXISTS in a result always, the rest when it reads system tables.
pub(crate) fn rewrite(query: &mut Query) {
    // The editors give no error.
    let _ = query.edit(&mut Existence);
    if names_system_table(query) {
        let mut forms = Forms { made: 0 };
        let _ = query.edit(&mut forms);
    }
}

/// True for `pg_…`, `svv_…` and their kin, or a name within `pg_catalog`.
fn is_system(name: &ObjectName) -> bool {
    let parts: Vec<String> = name
        .0
        .iter()
        .filter_map(|part| part.as_ident())
        .map(|ident| ident.value.to_lowercase())
        .collect();
    match parts.as_slice() {
        [name] => ["pg_", "svv_", "stv_", "stl_", "sys_"].iter().any(|p| name.starts_with(p)),
        [.., schema, _] => schema == "pg_catalog" || schema == "information_schema",
        [] => false,
    }
}

fn names_system_table(query: &Query) -> bool {
    struct Names(bool);
    impl Reader for Names {
        fn relation(&mut self, name: &ObjectName) -> Walk {
            self.0 |= is_system(name);
            Ok(())
        }
        fn expr(&mut self, expr: &Expr) -> Walk {
            self.0 |= matches!(expr, Expr::Cast { data_type, .. } if registry(data_type).is_some());
            Ok(())
        }
    }
    let mut names = Names(false);
    // The reader gives no error.
    let _ = query.read(&mut names);
    names.0
}

/// EXISTS as a value of a result becomes a count, which the planner can join.
struct Existence;

impl Editor for Existence {
    fn select(&mut self, select: &mut Select) -> Walk {
        for item in &mut select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    if let Some(count) = counted(expr) {
                        let alias = Ident::with_quote('"', "exists");
                        *item = SelectItem::ExprWithAlias { expr: count, alias };
                    }
                }
                SelectItem::ExprWithAlias { expr, .. } => {
                    if let Some(count) = counted(expr) {
                        *expr = count;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// `EXISTS (SELECT … FROM …)` as `((SELECT count(*) FROM …) > 0)`.
fn counted(expr: &Expr) -> Option<Expr> {
    let Expr::Exists { subquery, negated } = expr else { return None };
    let mut query = (**subquery).clone();
    if query.with.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
        return None;
    }
    query.order_by = None;
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    if !ungrouped || select.having.is_some() || select.top.is_some() {
        return None;
    }
    // An aggregate gives its one row from none.
    if select.projection.iter().any(has_call) {
        return None;
    }
    select.distinct = None;
    let mut count = function_of("count", Vec::new());
    if let FunctionArguments::List(list) = &mut count.args {
        list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Wildcard));
    }
    select.projection = vec![SelectItem::UnnamedExpr(Expr::Function(count))];
    let op = if *negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
    let zero = Expr::Value(Value::Number("0".to_owned(), false).into());
    let (left, right) = (Box::new(Expr::Subquery(Box::new(query))), Box::new(zero));
    Some(Expr::Nested(Box::new(Expr::BinaryOp { left, op, right })))
}

fn has_call(item: &SelectItem) -> bool {
    struct Calls(bool);
    impl Reader for Calls {
        fn expr(&mut self, expr: &Expr) -> Walk {
            self.0 |= matches!(expr, Expr::Function(_));
            Ok(())
        }
    }
    let mut calls = Calls(false);
    // The reader gives no error.
    let _ = item.read(&mut calls);
    calls.0
}

struct Forms {
    /// Joins made so far, for names that nothing else has.
    made: usize,
}

impl Editor for Forms {
    fn select(&mut self, select: &mut Select) -> Walk {
        for item in &mut select.projection {
            shown_as_name(item);
        }
        joined::join_subqueries(select, &mut self.made);
        Ok(())
    }

    fn after_expr(&mut self, expr: &mut Expr) -> Walk {
        if let Some(plain) = expanded_key(expr) {
            *expr = plain;
        }
        if let Some(aggregate) = array_of_query(expr) {
            *expr = aggregate;
        }
        if let Some(call) = registry_cast(expr) {
            *expr = call;
        }
        Ok(())
    }
}

/// pgjdbc's way through the columns of a key, `information_schema._pg_expandarray(i.indkey)`, a
/// set of pairs of column (`x`) and place (`n`): its query joins them with `a.attnum`, so that the
/// pair for that column is enough.
fn expanded_key(expr: &Expr) -> Option<Expr> {
    let column = || Expr::CompoundIdentifier(vec![Ident::new("a"), Ident::new("attnum")]);
    if let Some(key) = expanded(expr) {
        let place = call("array_position", vec![key, column()]);
        let found = Expr::IsNotNull(Box::new(place));
        return Some(Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen { condition: found, result: column() }],
            else_result: None,
        });
    }
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return None };
    let [AccessExpr::Dot(Expr::Identifier(field))] = access_chain.as_slice() else { return None };
    let Expr::Nested(inner) = root.as_ref() else { return None };
    match (field.value.as_str(), inner.as_ref()) {
        ("n", Expr::Case { conditions, .. }) => match &conditions.first()?.condition {
            Expr::IsNotNull(place) => Some((**place).clone()),
            _ => None,
        },
        ("x", Expr::CompoundIdentifier(_)) => Some((**inner).clone()),
        _ => None,
    }
}

/// The argument of `_pg_expandarray`.
fn expanded(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else { return None };
    let name = function.name.0.last().and_then(|part| part.as_ident())?;
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(key))]
            if name.value.eq_ignore_ascii_case("_pg_expandarray") =>
        {
            Some(key.clone())
        }
        _ => None,
    }
}

/// The functions in and out of a registry type.
fn registry(data_type: &DataType) -> Option<(&'static str, &'static str)> {
    let name = match data_type {
        DataType::Regclass => "regclass".to_owned(),
        DataType::Custom(name, _) => {
            name.0.last().and_then(|part| part.as_ident())?.value.to_lowercase()
        }
        _ => return None,
    };
    match name.as_str() {
        "regclass" => Some(("regclassin", "regclassout")),
        "regtype" => Some(("regtypein", "regtypeout")),
        "regnamespace" => Some(("regnamespacein", "regnamespaceout")),
        "regproc" | "regprocedure" => Some(("regprocin", "regprocout")),
        _ => None,
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Text | DataType::Varchar(_) | DataType::CharacterVarying(_) => true,
        DataType::Custom(name, _) => name
            .0
            .last()
            .and_then(|part| part.as_ident())
            .is_some_and(|ident| matches!(ident.value.to_lowercase().as_str(), "text" | "name")),
        _ => false,
    }
}

/// A cast to a registry type, or of one to text, as calls.
fn registry_cast(expr: &Expr) -> Option<Expr> {
    let Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr: inner, data_type, .. } =
        expr
    else {
        return None;
    };
    if let Some((into, _)) = registry(data_type) {
        return Some(call(into, vec![(**inner).clone()]));
    }
    // The inner cast is a call already: casts are visited from the inside out.
    if is_text(data_type)
        && let Expr::Function(function) = inner.as_ref()
        && let Some(name) = function.name.0.last().and_then(|part| part.as_ident())
        && let Some(stem) = name.value.strip_suffix("in").filter(|stem| stem.starts_with("reg"))
    {
        return Some(call(&format!("{stem}out"), vec![(**inner).clone()]));
    }
    None
}

/// A registry type in a result is shown as the name that it stands for.
fn shown_as_name(item: &mut SelectItem) {
    let (expr, alias) = match item {
        SelectItem::UnnamedExpr(expr) => (expr, None),
        SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias.clone())),
        _ => return,
    };
    let Expr::Cast { expr: inner, data_type, .. } = &*expr else { return };
    let Some((into, out)) = registry(data_type) else { return };
    let column = match inner.as_ref() {
        Expr::CompoundIdentifier(parts) => parts.last().cloned(),
        Expr::Identifier(name) => Some(name.clone()),
        _ => None,
    };
    let shown = call(out, vec![call(into, vec![(**inner).clone()])]);
    let name = out.strip_suffix("out").unwrap_or(out);
    let alias = alias.or(column).unwrap_or_else(|| Ident::new(name));
    *item = SelectItem::ExprWithAlias { expr: shown, alias };
}

/// `ARRAY(SELECT x FROM …)` as `(SELECT array_agg(x) FROM …)`.
fn array_of_query(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else { return None };
    let name = function.name.0.last().and_then(|part| part.as_ident())?;
    let FunctionArguments::Subquery(query) = &function.args else { return None };
    if !name.value.eq_ignore_ascii_case("array") {
        return None;
    }
    let mut query = (**query).clone();
    let sorted = match query.order_by.take().map(|order| order.kind) {
        Some(OrderByKind::Expressions(by)) => by,
        _ => Vec::new(),
    };
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    // psql prefixes the options of TOAST tables, of which there are none: the list as it is.
    if let Some(list) = unnested(&select.from) {
        return Some(list);
    }
    let [item] = select.projection.as_mut_slice() else { return None };
    let value = match item {
        SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. } => value,
        _ => return None,
    };
    let mut aggregate = function_of("array_agg", vec![value.clone()]);
    if !sorted.is_empty()
        && let FunctionArguments::List(list) = &mut aggregate.args
    {
        let by = OrderByExpr { expr: value.clone(), ..sorted[0].clone() };
        list.clauses.push(FunctionArgumentClause::OrderBy(vec![by]));
    }
    *item = SelectItem::UnnamedExpr(Expr::Function(aggregate));
    Some(Expr::Subquery(Box::new(query)))
}

/// The list of `FROM unnest(list)`.
fn unnested(from: &[TableWithJoins]) -> Option<Expr> {
    let [table] = from else { return None };
    let (name, args) = match &table.relation {
        TableFactor::Table { name, args: Some(args), .. } => (name, args.args.as_slice()),
        TableFactor::Function { name, args, .. } => (name, args.as_slice()),
        _ => return None,
    };
    let name = name.0.last().and_then(|part| part.as_ident())?;
    match args {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(list))]
            if name.value.eq_ignore_ascii_case("unnest") =>
        {
            Some(list.clone())
        }
        _ => None,
    }
}

fn function_of(name: &str, args: Vec<Expr>) -> Function {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Function {
        name: ObjectName::from(vec![Ident::new(name)]),
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
    }
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(function_of(name, args))
}

/// The name by which a table of FROM is called.
fn alias_of(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } => Some(alias.name.clone()),
        TableFactor::Table { name, alias: None, args: None, .. } => {
            name.0.last().and_then(|part| part.as_ident()).cloned()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> String {
        let mut query = *sql::parse_query(text).unwrap().body;
        rewrite(&mut query);
        query.to_string()
    }

    #[test]
    fn forms_of_tools_become_plain() {
        assert_eq!(
            rewritten(
                "select c.oid::regclass from pg_class c where c.oid = 't'::pg_catalog.regclass"
            ),
            "SELECT regclassout(regclassin(c.oid)) AS oid FROM pg_class c \
             WHERE c.oid = regclassin('t')"
        );
        assert_eq!(
            rewritten(
                "select a.attname, (select d.adsrc from pg_attrdef d where d.adnum = a.attnum and \
                 a.atthasdef) from pg_attribute a"
            ),
            "SELECT a.attname, _joined_1_d.adsrc FROM pg_attribute a LEFT OUTER JOIN \
             pg_attrdef AS _joined_1_d ON _joined_1_d.adnum = a.attnum AND a.atthasdef"
        );
        assert_eq!(
            rewritten("select array(select b.x from pg_roles b where b.y = r.z) from pg_roles r"),
            "SELECT (SELECT array_agg(b.x) FROM pg_roles b WHERE b.y = r.z) FROM pg_roles r"
        );
        assert_eq!(
            rewritten("select exists(select 1 from t x where x.a = y.a) from u y"),
            "SELECT ((SELECT count(*) FROM t x WHERE x.a = y.a) > 0) AS \"exists\" FROM u y"
        );
        let user = "SELECT (SELECT x.a FROM t x WHERE x.b = y.b) FROM u y";
        assert_eq!(rewritten(user), user);
    }
}
