//! NATURAL joins as joins by USING: on the columns that both sides have.

use std::collections::HashMap;

use base::Result;
use planner::{Editor, Tree, Walk};
use sqlparser::ast::{
    Expr, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, SetExpr, TableAlias, TableFactor, Value,
};

use super::Context;
use super::rewrite::column_name;
use crate::errors::walked;

/// Gives every NATURAL join the columns that it stands for. Where the text does not tell what a
/// side has it stays as it is.
///
/// # Errors
/// Those of tables that are not there.
pub(super) fn as_using(body: &mut Query, context: &Context<'_>) -> Result<()> {
    let mut naming = Naming { context, common: HashMap::new() };
    body.edit(&mut naming).map_err(walked)
}

struct Naming<'a> {
    context: &'a Context<'a>,
    /// The queries of WITH by their names.
    common: HashMap<String, (TableAlias, Query)>,
}

impl Editor for Naming<'_> {
    fn query(&mut self, query: &mut Query) -> Walk {
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            let named = (table.alias.clone(), table.query.as_ref().clone());
            self.common.insert(table.alias.name.value.clone(), named);
        }
        Ok(())
    }

    fn select(&mut self, select: &mut Select) -> Walk {
        for from in &mut select.from {
            if !from.joins.iter().any(|join| constraint(join) == Some(&JoinConstraint::Natural)) {
                continue;
            }
            let mut left = self.factor(&from.relation);
            for join in &mut from.joins {
                let right = self.factor(&join.relation);
                let (Some(known), Some(more)) = (&mut left, right) else {
                    left = None;
                    continue;
                };
                if let Some(natural @ JoinConstraint::Natural) = constraint_mut(join) {
                    *natural = using(known, &more);
                }
                let merges = matches!(constraint(join), Some(JoinConstraint::Using(_)));
                let added = more.into_iter().filter(|name| !merges || !known.contains(name));
                let added: Vec<String> = added.collect();
                known.extend(added);
            }
        }
        Ok(())
    }
}

/// Joined on the columns of both, in the order of the left side; on nothing when there are none.
fn using(left: &[String], right: &[String]) -> JoinConstraint {
    let common = left.iter().filter(|name| right.contains(name));
    let names: Vec<ObjectName> = common.map(|name| named(name)).collect();
    match names.is_empty() {
        true => JoinConstraint::On(Expr::Value(Value::Boolean(true).into())),
        false => JoinConstraint::Using(names),
    }
}

fn named(name: &str) -> ObjectName {
    let ident = sqlparser::ast::Ident::with_quote('"', name);
    ObjectName(vec![ObjectNamePart::Identifier(ident)])
}

fn constraint(join: &Join) -> Option<&JoinConstraint> {
    match &join.join_operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => Some(constraint),
        _ => None,
    }
}

fn constraint_mut(join: &mut Join) -> Option<&mut JoinConstraint> {
    match &mut join.join_operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => Some(constraint),
        _ => None,
    }
}

impl Naming<'_> {
    /// The columns of a FROM item, where they can be told.
    fn factor(&self, factor: &TableFactor) -> Option<Vec<String>> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let columns = match self.common_table(name) {
                    Some(columns) => columns?,
                    None => self.table(name)?,
                };
                Some(renamed(columns, alias.as_ref()))
            }
            TableFactor::Derived { subquery, alias, .. } => {
                Some(renamed(self.query_columns(subquery)?, alias.as_ref()))
            }
            _ => None,
        }
    }

    fn common_table(&self, name: &ObjectName) -> Option<Option<Vec<String>>> {
        let [ObjectNamePart::Identifier(name)] = &name.0[..] else { return None };
        let (alias, query) = self.common.get(&name.value)?;
        Some(self.query_columns(query).map(|columns| renamed(columns, Some(alias))))
    }

    fn table(&self, name: &ObjectName) -> Option<Vec<String>> {
        let parts = name.0.iter().map(|part| part.as_ident().map(|ident| ident.value.as_str()));
        let reference = match &parts.collect::<Option<Vec<_>>>()?[..] {
            [table] => datafusion::common::TableReference::bare(*table),
            [schema, table] => datafusion::common::TableReference::partial(*schema, *table),
            [database, schema, table] => {
                datafusion::common::TableReference::full(*database, *schema, *table)
            }
            _ => return None,
        };
        // A table that is not there is an error where the query is planned.
        let source = self.context.resolve(&reference).ok()?;
        Some(source.schema().fields().iter().map(|field| field.name().clone()).collect())
    }

    fn query_columns(&self, query: &Query) -> Option<Vec<String>> {
        let mut body = query.body.as_ref();
        let select = loop {
            match body {
                SetExpr::Select(select) => break select,
                SetExpr::SetOperation { left, .. } => body = left,
                SetExpr::Query(inner) => body = &inner.body,
                _ => return None,
            }
        };
        let mut columns = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) => columns.push(column_name(expr)),
                SelectItem::ExprWithAlias { alias, .. } => columns.push(alias.value.clone()),
                SelectItem::Wildcard(_) => match &select.from[..] {
                    [from] if from.joins.is_empty() => columns.extend(self.factor(&from.relation)?),
                    _ => return None,
                },
                _ => return None,
            }
        }
        Some(columns)
    }
}

fn renamed(mut columns: Vec<String>, alias: Option<&TableAlias>) -> Vec<String> {
    let names = alias.iter().flat_map(|alias| &alias.columns);
    for (column, given) in columns.iter_mut().zip(names) {
        column.clone_from(&given.name.value);
    }
    columns
}
