//! DELETE, UPDATE and MERGE. Each becomes a query over its table whose rows say what happens to
//! which row; the query is bound like any other, and the values that it gives are assigned to the
//! table's columns as those of an INSERT are.

use std::collections::HashMap;
use std::sync::Arc;

use base::client::Value;
use base::ids::ColumnId;
use base::segment::ROW_ADDRESS;
use base::{Error, Result, SqlType, error};
use catalog::{Column, Table};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column as PlanColumn, DFSchema, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use sqlparser::ast as sqlast;
use sqlparser::ast::{SetExpr, TableFactor};

use super::assign::{self, numbered};
use super::{Binder, BinderOptions, Bound, finish_plan, versions};
use crate::ast::{Assignment, Change, ChangeWhat, Delete, Ident, Query, Update};
use crate::error_from_datafusion;
use crate::relations::{RelationUse, ResolvedTarget};
use planner::{Editor, Tree, Walk};

/// The last column of a plan that writes: whether the row's columns are to be written.
pub(super) const WRITE: &str = "$write";

/// What the rows of a change's plan are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeShape {
    /// One column, the address of a row that goes.
    Delete,
    /// The table's columns in their stored types, the address of the row that goes (NULL for one
    /// that only comes), and a BOOLEAN: whether the columns are a row that comes. Where they are
    /// not, they are NULL.
    Write,
}

/// What an address that comes more than once means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// Nothing: the row goes once.
    Ignore,
    /// One of the new rows is taken, any of them: see [`BoundChange::picking_one`].
    PickOne,
    /// Error 21000.
    Refuse,
}

/// A bound DELETE, UPDATE or MERGE.
#[derive(Clone, Debug)]
pub struct BoundChange {
    pub kind: ChangeShape,
    pub plan: LogicalPlan,
    /// One type per `$n`.
    pub parameters: Vec<SqlType>,
    /// The relations that it reads besides its table. The table is among them where the statement
    /// names it once more.
    pub relations: Vec<RelationUse>,
    /// The table that it changes.
    pub table: Arc<Table>,
    /// It reads columns of the table, for which it needs SELECT.
    pub reads_target: bool,
    /// It removes rows, and needs DELETE.
    pub deletes: bool,
    /// It gives rows other values, and needs UPDATE.
    pub updates: bool,
    /// It adds rows, and needs INSERT.
    pub inserts: bool,
    /// The indexes of the columns that UPDATE sets, ascending.
    pub updated_columns: Vec<usize>,
    pub repeats: Repeats,
    /// The identity columns that the plan fills; each needs its next value at execution.
    pub identities: Vec<ColumnId>,
}

impl BoundChange {
    /// The plan with parameters, moments and the next value of each identity column put in, as
    /// [`super::BoundInsert::with_values`] does. A statement that inserts `n` rows uses `n` values.
    ///
    /// # Errors
    /// As [`super::Bound::with_values`].
    pub fn with_values(
        &self,
        values: &[Value],
        identities: &HashMap<ColumnId, i64>,
        options: &BinderOptions,
    ) -> Result<LogicalPlan> {
        let plan = numbered(&self.plan, &self.identities, identities)?;
        finish_plan(plan, values, &self.parameters, options)
    }

    /// The same change with one row for each address, whichever comes first: for
    /// [`Repeats::PickOne`] once an address has come more than once.
    ///
    /// # Errors
    /// XX000 when the plan cannot be extended.
    pub fn picking_one(&self) -> Result<BoundChange> {
        let columns = self.plan.schema().iter().map(|(qualifier, field)| {
            Expr::Column(PlanColumn::new(qualifier.cloned(), field.name()))
        });
        let address = Expr::Column(PlanColumn::new_unqualified(ROW_ADDRESS));
        let plan = LogicalPlanBuilder::from(self.plan.clone())
            .distinct_on(vec![address], columns.collect(), None)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| error_from_datafusion(e, ""))?;
        Ok(BoundChange { plan, repeats: Repeats::Ignore, ..self.clone() })
    }
}

impl Binder<'_> {
    /// Binds a DELETE, UPDATE or MERGE.
    ///
    /// # Errors
    /// As [`Binder::query`]; 42703 for an unknown column, 42601 for one that is set twice, 42804
    /// for a value that cannot be assigned and for an identity column that is given one.
    pub fn change(&self, change: &Change) -> Result<BoundChange> {
        let target =
            self.relations.target(&change.table).map_err(|error| match error.position() {
                None if change.table.position() > 0 => error.at(change.table.position()),
                _ => error,
            })?;
        let alias = change.alias.as_ref().unwrap_or_else(|| change.table.last());
        let draft = Draft {
            binder: self,
            change,
            alias: alias.name.clone(),
            target,
            given: self.options.parameters.clone(),
        };
        match &change.what {
            ChangeWhat::Delete(delete) => draft.delete(delete),
            ChangeWhat::Update(update) => draft.update(update),
            ChangeWhat::Merge(merge) => draft.merge(merge),
        }
    }
}

/// A change on its way to a plan.
pub(super) struct Draft<'c> {
    pub(super) binder: &'c Binder<'c>,
    pub(super) change: &'c Change,
    pub(super) target: ResolvedTarget,
    /// What the statement calls the table.
    pub(super) alias: String,
    /// The types of parameters known so far.
    pub(super) given: Vec<SqlType>,
}

/// A query bound for a change.
pub(super) struct Inner {
    pub(super) bound: Bound,
    /// It reads columns of the target, others than those that only pass through.
    pub(super) reads_target: bool,
}

impl Draft<'_> {
    pub(super) fn table(&self) -> &Table {
        &self.target.table
    }

    fn delete(self, delete: &Delete) -> Result<BoundChange> {
        let mut from = vec![alone(self.target_factor())];
        from.extend(delete.using.iter().cloned());
        let address = vec![item(self.address(), ROW_ADDRESS)];
        let query = self.query(address, from, delete.selection.clone())?;
        let inner = self.bind(&query, &[true])?;
        let schema = Arc::clone(inner.bound.plan.schema());
        let exprs = vec![column_at(&schema, 0).alias(ROW_ADDRESS)];
        let plan = self.project(inner.bound.plan, exprs)?;
        Ok(BoundChange {
            kind: ChangeShape::Delete,
            plan,
            parameters: inner.bound.parameters,
            relations: inner.bound.relations,
            table: self.target.table,
            reads_target: inner.reads_target,
            deletes: true,
            updates: false,
            inserts: false,
            updated_columns: Vec::new(),
            repeats: Repeats::Ignore,
            identities: Vec::new(),
        })
    }

    fn update(mut self, update: &Update) -> Result<BoundChange> {
        let set = self.assignments(&update.assignments)?;
        let table = Arc::clone(&self.target.table);
        let mut items = Vec::with_capacity(table.columns.len() + 1);
        let mut passed = Vec::with_capacity(table.columns.len() + 1);
        for (index, column) in table.columns.iter().enumerate() {
            let value = set.get(&index).map(|(value, _)| value.clone());
            passed.push(value.is_none());
            items.push(item(value.unwrap_or_else(|| self.column(&column.name)), &column.name));
        }
        items.push(item(self.address(), ROW_ADDRESS));
        passed.push(true);
        let mut from = vec![alone(self.target_factor())];
        from.extend(update.from.iter().cloned());
        let query = self.query(items, from, update.selection.clone())?;
        let inner = self.bind(&query, &passed)?;
        let schema = Arc::clone(inner.bound.plan.schema());
        let mut exprs = Vec::with_capacity(table.columns.len() + 2);
        for (index, column) in table.columns.iter().enumerate() {
            let value = column_at(&schema, index);
            let value = match set.get(&index) {
                None => value,
                Some((_, position)) => {
                    let from = inner.bound.columns[index].sql_type;
                    assign::check_pair(from, column).map_err(|error| error.at(*position))?;
                    self.assigned(value, column, &schema)?
                }
            };
            exprs.push(value.alias(&column.name));
        }
        exprs.push(column_at(&schema, table.columns.len()).alias(ROW_ADDRESS));
        exprs.push(lit(true).alias(WRITE));
        let plan = self.project(inner.bound.plan, exprs)?;
        let mut updated_columns: Vec<usize> = set.into_keys().collect();
        updated_columns.sort_unstable();
        let repeats = if update.from.is_empty() { Repeats::Ignore } else { Repeats::PickOne };
        Ok(BoundChange {
            kind: ChangeShape::Write,
            plan,
            parameters: inner.bound.parameters,
            relations: inner.bound.relations,
            table,
            reads_target: inner.reads_target,
            deletes: false,
            updates: true,
            inserts: false,
            updated_columns,
            repeats,
            identities: Vec::new(),
        })
    }

    /// The columns that are set, by index, with the tree of each value and the column's position.
    pub(super) fn assignments(
        &mut self,
        assignments: &[Assignment],
    ) -> Result<HashMap<usize, (sqlast::Expr, u32)>> {
        let table = Arc::clone(&self.target.table);
        let mut set = HashMap::with_capacity(assignments.len());
        for Assignment { column: name, value } in assignments {
            let index = assign::find(name, &table)?;
            let column = &table.columns[index];
            if !assign::is_default(value) {
                assign::check_identity(column).map_err(|error| error.at(name.position))?;
            }
            let value = self.value(value, column, name)?;
            if set.insert(index, (value, name.position)).is_some() {
                return Err(error!(
                    SyntaxError,
                    "multiple assignments to same column \"{}\"", name.name
                )
                .at(name.position));
            }
        }
        Ok(set)
    }

    /// The tree of a value for a column: DEFAULT made what it stands for, a bare parameter typed.
    pub(super) fn value(
        &mut self,
        value: &sqlast::Expr,
        column: &Column,
        name: &Ident,
    ) -> Result<sqlast::Expr> {
        if !assign::is_default(value) {
            assign::type_parameter(value, column, &mut self.given);
            return Ok(value.clone());
        }
        if column.identity.is_some() {
            return Err(Error::unsupported(format!(
                "setting identity column \"{}\" to DEFAULT is not supported",
                column.name
            ))
            .at(name.position));
        }
        assign::default_tree(column)
    }

    /// A value assigned to a column.
    pub(super) fn assigned(&self, value: Expr, column: &Column, schema: &DFSchema) -> Result<Expr> {
        self.binder
            .assigned(value, column, self.table(), schema)
            .map_err(|e| error_from_datafusion(e, self.change.source.text()))
    }

    /// A column of the target as the statement would name it.
    pub(super) fn column(&self, name: &str) -> sqlast::Expr {
        let quoted = |name: &str| sqlast::Ident::with_quote('"', name);
        sqlast::Expr::CompoundIdentifier(vec![quoted(&self.alias), quoted(name)])
    }

    /// The address of the target's row.
    pub(super) fn address(&self) -> sqlast::Expr {
        self.column(ROW_ADDRESS)
    }

    /// The target in FROM, under its made-up name.
    pub(super) fn target_factor(&self) -> TableFactor {
        let name = sqlast::Ident::with_quote('"', versions::target_name(&self.target.name));
        let alias = sqlast::Ident::with_quote('"', &self.alias);
        TableFactor::Table {
            name: sqlast::ObjectName(vec![sqlast::ObjectNamePart::Identifier(name)]),
            alias: Some(versions::table_alias(alias)),
            args: None,
            with_hints: Vec::new(),
            version: None,
            with_ordinality: false,
            partitions: Vec::new(),
            json_path: None,
            sample: None,
            index_hints: Vec::new(),
        }
    }

    /// A SELECT with the statement's WITH.
    pub(super) fn query(
        &self,
        projection: Vec<sqlast::SelectItem>,
        from: Vec<sqlast::TableWithJoins>,
        selection: Option<sqlast::Expr>,
    ) -> Result<Query> {
        let mut query = crate::parse_query("select 1")?;
        let SetExpr::Select(select) = query.body.body.as_mut() else {
            return Err(Error::internal("SELECT is no SELECT"));
        };
        select.projection = projection;
        select.from = from;
        select.selection = selection;
        query.body.with = self.change.with.as_deref().cloned();
        query.source = Arc::clone(&self.change.source);
        if self.change.alias.is_none() {
            let target = &self.target;
            let name = [&target.database, &target.schema, &target.name].map(String::as_str);
            // The editor gives no error.
            let _ = query.body.edit(&mut Unqualify { name });
        }
        Ok(query)
    }

    /// Binds a query over the target. `passed` tells which of its columns are the target's own,
    /// passed through.
    pub(super) fn bind(&self, query: &Query, passed: &[bool]) -> Result<Inner> {
        let planned = self.binder.planned(query, &self.given, Some(&self.target))?;
        let reads_target = reads(&planned.plan, &self.alias, passed);
        let bound = self.binder.bound(planned, self.change.source.text())?;
        Ok(Inner { bound, reads_target })
    }

    /// A plan's last projection.
    pub(super) fn project(&self, plan: LogicalPlan, exprs: Vec<Expr>) -> Result<LogicalPlan> {
        LogicalPlanBuilder::from(plan)
            .project(exprs)
            .and_then(LogicalPlanBuilder::build)
            .and_then(|plan| self.binder.analyse(plan))
            .map_err(|e| error_from_datafusion(e, self.change.source.text()))
    }
}

/// An item of a select list.
pub(super) fn item(expr: sqlast::Expr, name: &str) -> sqlast::SelectItem {
    sqlast::SelectItem::ExprWithAlias { expr, alias: sqlast::Ident::with_quote('"', name) }
}

/// A table in FROM without joins.
pub(super) fn alone(relation: TableFactor) -> sqlast::TableWithJoins {
    sqlast::TableWithJoins { relation, joins: Vec::new() }
}

/// The column of a plan's output at an index.
pub(super) fn column_at(schema: &DFSchema, index: usize) -> Expr {
    let (qualifier, field) = schema.qualified_field(index);
    Expr::Column(PlanColumn::new(qualifier.cloned(), field.name()))
}

/// Makes `schema.table.column` into `table.column` for the target, which the query knows by its
/// last name.
struct Unqualify<'n> {
    /// Database, schema and table.
    name: [&'n str; 3],
}

impl Editor for Unqualify<'_> {
    fn expr(&mut self, expr: &mut sqlast::Expr) -> Walk {
        let sqlast::Expr::CompoundIdentifier(parts) = expr else { return Ok(()) };
        let qualifiers = parts.len().saturating_sub(1);
        if (2..=self.name.len()).contains(&qualifiers) {
            let wanted = &self.name[self.name.len() - qualifiers..];
            if parts.iter().zip(wanted).all(|(part, name)| part.value == *name) {
                parts.drain(..qualifiers - 1);
            }
        }
        Ok(())
    }
}

/// True when a plan reads columns of the relation with this alias, others than the address and
/// those that its last projection passes through. A relation of the same alias in a subquery is
/// taken for it.
fn reads(plan: &LogicalPlan, alias: &str, passed: &[bool]) -> bool {
    let relation = TableReference::bare(alias);
    let own = |column: &PlanColumn| {
        column.relation.as_ref() == Some(&relation) && column.name != ROW_ADDRESS
    };
    let uses = |expr: &Expr| {
        let found = expr.exists(|expr| {
            Ok(match expr {
                Expr::Column(column) | Expr::OuterReferenceColumn(_, column) => own(column),
                _ => false,
            })
        });
        found.unwrap_or(true)
    };
    let LogicalPlan::Projection(top) = plan else { return true };
    let values = top.expr.iter().zip(passed).filter(|(_, passed)| !**passed);
    let mut found = values.into_iter().any(|(expr, _)| uses(expr));
    let mut first = true;
    let walked = plan.apply_with_subqueries(|node| {
        if std::mem::take(&mut first) {
            return Ok(TreeNodeRecursion::Continue);
        }
        node.apply_expressions(|expr| {
            found |= uses(expr);
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    });
    found || walked.is_err()
}
