//! The merged columns of `JOIN … USING`, in terms of the joined tables.
//!
//! SQL defines such a column as the left one of an inner and a left join, the right one of a
//! right join, and the first of both that is not NULL of a full join. DataFusion takes the left
//! one always, and in WHERE calls it ambiguous.

use base::Result;
use planner::{Editor, Tree, Walk};
use sqlparser::ast::{
    ExcludeSelectItem, Expr, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator, ObjectName,
    ObjectNamePart, OrderByKind, Query, Select, SelectItem, SelectItemQualifiedWildcardKind,
    SetExpr, TableWithJoins, WildcardAdditionalOptions,
};

use super::forms::factor_name;
use super::rewrite::call;
use crate::errors::walked;

/// Puts the merged columns of a SELECT in terms of its tables where DataFusion would not.
///
/// # Errors
/// None of its own.
pub(super) fn qualify(select: &mut Select) -> Result<()> {
    let mut merged = Merged::of(select);
    if merged.columns.is_empty() {
        return Ok(());
    }
    if let Some(selection) = &mut select.selection {
        selection.edit(&mut merged).map_err(walked)?;
    }
    if let Some(all) = all_columns(select, &merged) {
        let plain = WildcardAdditionalOptions::default();
        let whole =
            |item: &SelectItem| matches!(item, SelectItem::Wildcard(options) if *options == plain);
        let items = std::mem::take(&mut select.projection).into_iter();
        let items = items.flat_map(|item| if whole(&item) { all.clone() } else { vec![item] });
        select.projection = items.collect();
    }
    for item in &mut select.projection {
        merged.output(item)?;
    }
    if let GroupByExpr::Expressions(groups, _) = &mut select.group_by {
        groups.iter_mut().try_for_each(|group| group.edit(&mut merged)).map_err(walked)?;
    }
    for condition in [&mut select.having, &mut select.qualify].into_iter().flatten() {
        condition.edit(&mut merged).map_err(walked)?;
    }
    Ok(())
}

/// Puts the merged columns that a query is ordered by, and does not give out, in terms of its
/// tables.
///
/// # Errors
/// None of its own.
pub(super) fn qualify_order(query: &mut Query) -> Result<()> {
    let (SetExpr::Select(select), Some(order)) = (query.body.as_ref(), &mut query.order_by) else {
        return Ok(());
    };
    let OrderByKind::Expressions(keys) = &mut order.kind else { return Ok(()) };
    let mut merged = Merged::of(select);
    let is_given = |name: &str| {
        select.projection.iter().any(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.value == name,
            SelectItem::UnnamedExpr(Expr::Identifier(ident)) => ident.value == name,
            SelectItem::Wildcard(_) => true,
            _ => false,
        })
    };
    merged.columns.retain(|column| !is_given(&column.name));
    if merged.columns.is_empty() {
        return Ok(());
    }
    keys.iter_mut().try_for_each(|key| key.expr.edit(&mut merged)).map_err(walked)
}

struct Merged {
    columns: Vec<Column>,
    /// Queries around the expression within the condition; their names are their own.
    depth: usize,
}

struct Column {
    name: String,
    /// The tables whose column it is, the first one before the second where it has a value.
    /// Nothing when the text does not tell.
    tables: Vec<Ident>,
}

impl Merged {
    fn of(select: &Select) -> Merged {
        let mut merged = Merged { columns: Vec::new(), depth: 0 };
        select.from.iter().for_each(|item| merged.add(item));
        merged
    }

    /// The column in terms of its tables.
    fn unmerged(&self, ident: &Ident) -> Option<Expr> {
        let column = self.columns.iter().find(|column| column.name == ident.value)?;
        let of = |table: &Ident| Expr::CompoundIdentifier(vec![table.clone(), ident.clone()]);
        match &column.tables[..] {
            [] => None,
            [table] => Some(of(table)),
            tables => Some(call("coalesce", tables.iter().map(of).collect(), ident.span)),
        }
    }

    /// An output column keeps its name.
    fn output(&mut self, item: &mut SelectItem) -> Result<()> {
        match item {
            SelectItem::UnnamedExpr(Expr::Identifier(ident)) => {
                if let Some(expr) = self.unmerged(ident) {
                    *item = SelectItem::ExprWithAlias { expr, alias: ident.clone() };
                }
                Ok(())
            }
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                expr.edit(self).map_err(walked)
            }
            _ => Ok(()),
        }
    }

    fn add(&mut self, item: &TableWithJoins) {
        for (at, join) in item.joins.iter().enumerate() {
            let Some((kind, names)) = using(join) else { continue };
            let left = if at == 0 { factor_name(&item.relation) } else { None };
            let right = factor_name(&join.relation);
            for name in names {
                let known = self.columns.iter_mut().find(|column| column.name == name);
                let is_left = matches!(kind, Kind::Inner | Kind::Left);
                let tables = match (kind, &left, &right) {
                    (Kind::Inner | Kind::Left, Some(left), _) => vec![left.clone()],
                    (Kind::Inner | Kind::Right, _, Some(right)) => vec![right.clone()],
                    (Kind::Full, Some(left), Some(right)) if known.is_none() => {
                        vec![left.clone(), right.clone()]
                    }
                    _ => Vec::new(),
                };
                match known {
                    // What is on the left of a second such join is merged already.
                    Some(_) if is_left => {}
                    Some(known) => known.tables = tables,
                    None => self.columns.push(Column { name, tables }),
                }
            }
        }
    }
}

impl Editor for Merged {
    fn query(&mut self, _: &mut Query) -> Walk {
        self.depth += 1;
        Ok(())
    }

    fn after_query(&mut self, _: &mut Query) -> Walk {
        self.depth -= 1;
        Ok(())
    }

    // After the children, so that what is put in is not visited.
    fn after_expr(&mut self, expr: &mut Expr) -> Walk {
        let Expr::Identifier(ident) = expr else { return Ok(()) };
        if self.depth > 0 {
            return Ok(());
        }
        if let Some(made) = self.unmerged(ident) {
            *expr = made;
        }
        Ok(())
    }
}

/// `*` as SQL defines it: the merged columns of each FROM item first, then what else its tables
/// have. Nothing when the text does not tell which tables have the merged columns.
fn all_columns(select: &Select, merged: &Merged) -> Option<Vec<SelectItem>> {
    let mut items = Vec::new();
    for from in &select.from {
        let mut names: Vec<String> = Vec::new();
        let mut tables = vec![(factor_name(&from.relation)?, Vec::new())];
        for (at, join) in from.joins.iter().enumerate() {
            let (_, own) = match (using(join), &join.join_operator) {
                (Some(using), _) => using,
                (None, operator) if is_natural(operator) => return None,
                (None, _) => (Kind::Inner, Vec::new()),
            };
            for name in &own {
                if !names.contains(name) {
                    if at > 0 {
                        return None;
                    }
                    names.push(name.clone());
                    tables.iter_mut().for_each(|(_, merged)| merged.push(name.clone()));
                }
            }
            tables.push((factor_name(&join.relation)?, own));
        }
        for name in names {
            let alias = Ident::with_quote('"', name);
            items.push(SelectItem::ExprWithAlias { expr: merged.unmerged(&alias)?, alias });
        }
        items.extend(tables.into_iter().map(|(table, merged)| others(table, merged)));
    }
    Some(items)
}

/// The columns of a table but for those that are merged.
fn others(table: Ident, merged: Vec<String>) -> SelectItem {
    let name = ObjectName(vec![ObjectNamePart::Identifier(table)]);
    let merged: Vec<_> = merged
        .into_iter()
        .map(|name| ObjectName::from(vec![Ident::with_quote('"', name)]))
        .collect();
    let opt_exclude = (!merged.is_empty()).then_some(ExcludeSelectItem::Multiple(merged));
    let options = WildcardAdditionalOptions { opt_exclude, ..Default::default() };
    SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
}

fn is_natural(operator: &JoinOperator) -> bool {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => *constraint == JoinConstraint::Natural,
        JoinOperator::CrossJoin(_) => false,
        _ => true,
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Inner,
    Left,
    Right,
    Full,
}

/// The kind of a join by USING, and its columns.
fn using(join: &Join) -> Option<(Kind, Vec<String>)> {
    let (kind, constraint) = match &join.join_operator {
        JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => {
            (Kind::Inner, constraint)
        }
        JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
            (Kind::Left, constraint)
        }
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
            (Kind::Right, constraint)
        }
        JoinOperator::FullOuter(constraint) => (Kind::Full, constraint),
        _ => return None,
    };
    let JoinConstraint::Using(names) = constraint else { return None };
    let names = names.iter().filter_map(|name| Some(name.0.last()?.as_ident()?.value.clone()));
    Some((kind, names.collect()))
}
