//! Correlated subqueries of one value over system tables as left joins.

use std::collections::HashMap;

use planner::{Editor, Reader, Tree, Walk};
use sqlparser::ast::{
    Expr, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator, Query, Select, SelectItem,
    SetExpr, TableAlias, TableFactor, TableWithJoins,
};

use super::{alias_of, is_system};

/// Moves the simple subqueries of a SELECT into its FROM.
pub(super) fn join_subqueries(select: &mut Select, made: &mut usize) {
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    if grouped || select.distinct.is_some() || select.from.is_empty() {
        return;
    }
    let mut finder = Finder { depth: 0, made, joins: Vec::new() };
    // The editor gives no error.
    for item in &mut select.projection {
        let _ = item.edit(&mut finder);
    }
    if let Some(selection) = &mut select.selection {
        let _ = selection.edit(&mut finder);
    }
    let joins = finder.joins;
    if joins.is_empty() {
        return;
    }
    // The condition may name any table of FROM, so that FROM has to be one chain.
    let mut tables = std::mem::take(&mut select.from).into_iter();
    let Some(mut chain) = tables.next() else { return };
    for table in tables {
        chain.joins.push(cross(table));
    }
    chain.joins.extend(joins);
    select.from = vec![chain];
}

fn cross(table: TableWithJoins) -> Join {
    let relation = if table.joins.is_empty() { table.relation } else { nested(table) };
    let join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
    Join { relation, global: false, join_operator }
}

fn nested(table: TableWithJoins) -> TableFactor {
    TableFactor::NestedJoin { table_with_joins: Box::new(table), alias: None }
}

struct Finder<'a> {
    /// Queries entered: only the SELECT's own expressions are looked at.
    depth: usize,
    made: &'a mut usize,
    joins: Vec<Join>,
}

impl Editor for Finder<'_> {
    fn query(&mut self, _: &mut Query) -> Walk {
        self.depth += 1;
        Ok(())
    }

    fn after_query(&mut self, _: &mut Query) -> Walk {
        self.depth -= 1;
        Ok(())
    }

    fn expr(&mut self, expr: &mut Expr) -> Walk {
        if self.depth == 0
            && let Expr::Subquery(query) = expr
            && let Some((value, join)) = simple(query, *self.made + 1)
        {
            *self.made += 1;
            self.joins.push(join);
            *expr = value;
        }
        Ok(())
    }
}

/// The value and the join of a subquery that can be joined.
fn simple(query: &Query, number: usize) -> Option<(Expr, Join)> {
    let plain = query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none();
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    if !plain || !ungrouped || select.distinct.is_some() || select.having.is_some() {
        return None;
    }
    let [item] = select.projection.as_slice() else { return None };
    let (SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }) = item
    else {
        return None;
    };
    let condition = select.selection.as_ref()?;
    let mut names = HashMap::new();
    for table in &select.from {
        for factor in
            std::iter::once(&table.relation).chain(table.joins.iter().map(|j| &j.relation))
        {
            let TableFactor::Table { name, args: None, .. } = factor else { return None };
            if !is_system(name) {
                return None;
            }
            let alias = alias_of(factor)?;
            let new = format!("_joined_{number}_{}", alias.value);
            names.insert(alias.value.to_lowercase(), Ident::new(new));
        }
    }
    if names.is_empty() || !correlated(value, condition, &names) {
        return None;
    }
    let mut tables = select.from.clone();
    let mut renamer = Renamer { names };
    let (mut value, mut condition) = (value.clone(), condition.clone());
    let _ = value.edit(&mut renamer);
    let _ = condition.edit(&mut renamer);
    for table in &mut tables {
        let _ = table.edit(&mut renamer);
    }
    let mut tables = tables.into_iter();
    let mut chain = tables.next()?;
    chain.joins.extend(tables.map(cross));
    let relation = if chain.joins.is_empty() { chain.relation } else { nested(chain) };
    let join_operator = JoinOperator::LeftOuter(JoinConstraint::On(condition));
    Some((value, Join { relation, global: false, join_operator }))
}

/// True when all names are qualified, some of them by the outer query's tables, and nothing is
/// aggregated.
fn correlated(value: &Expr, condition: &Expr, names: &HashMap<String, Ident>) -> bool {
    struct Names<'a> {
        own: &'a HashMap<String, Ident>,
        outer: bool,
        unfit: bool,
    }
    impl Reader for Names<'_> {
        fn expr(&mut self, expr: &Expr) -> Walk {
            match expr {
                Expr::Identifier(name) => {
                    let word = matches!(name.value.to_lowercase().as_str(), "true" | "false");
                    self.unfit |= !word;
                }
                Expr::CompoundIdentifier(parts) => {
                    let first = parts.first().map(|part| part.value.to_lowercase());
                    self.outer |= first.is_none_or(|first| !self.own.contains_key(&first));
                }
                Expr::Function(function) => {
                    let name = function.name.0.last().and_then(|part| part.as_ident());
                    let name = name.map(|name| name.value.to_lowercase()).unwrap_or_default();
                    self.unfit |= matches!(
                        name.as_str(),
                        "count"
                            | "max"
                            | "min"
                            | "sum"
                            | "avg"
                            | "array_agg"
                            | "string_agg"
                            | "listagg"
                            | "bool_and"
                            | "bool_or"
                    );
                }
                Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                    self.unfit = true;
                }
                _ => {}
            }
            Ok(())
        }
    }
    let mut found = Names { own: names, outer: false, unfit: false };
    // The reader gives no error.
    let _ = value.read(&mut found);
    let _ = condition.read(&mut found);
    found.outer && !found.unfit
}

/// Gives the subquery's tables names that the outer query does not have.
struct Renamer {
    names: HashMap<String, Ident>,
}

impl Editor for Renamer {
    fn table_factor(&mut self, factor: &mut TableFactor) -> Walk {
        let Some(old) = alias_of(factor) else { return Ok(()) };
        let Some(new) = self.names.get(&old.value.to_lowercase()) else {
            return Ok(());
        };
        if let TableFactor::Table { alias, .. } = factor {
            let columns = alias.take().map(|alias| alias.columns).unwrap_or_default();
            *alias = Some(TableAlias { explicit: true, name: new.clone(), columns, at: None });
        }
        Ok(())
    }

    fn expr(&mut self, expr: &mut Expr) -> Walk {
        if let Expr::CompoundIdentifier(parts) = expr
            && let Some(first) = parts.first_mut()
            && let Some(new) = self.names.get(&first.value.to_lowercase())
        {
            *first = new.clone();
        }
        Ok(())
    }
}
