//! MERGE. Source and target are joined; each row of the join has an action, which is the number
//! of the clause that applies to it, and the values that the clause would give it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::DataType;
use base::segment::ROW_ADDRESS;
use base::{Error, Result, SqlType, error};
use catalog::Column;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast, lit};
use sqlparser::ast as sqlast;
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{CaseWhen, Join, JoinConstraint, JoinOperator, TableWithJoins, Value};

use super::change::{
    BoundChange, ChangeShape, Draft, Inner, Repeats, WRITE, alone, column_at, item,
};
use super::rewrite::MARK;
use super::{assign, semantics};
use crate::ast::{Ident, Merge, MergeAction, MergeClause, MergeThen};
use crate::error_from_datafusion;
use crate::functions::identity;

/// Which rows of the join the clauses are about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// Only those with a match.
    Matched,
    /// Only those without.
    Unmatched,
    Both,
}

/// Where the value of a column comes from under one clause.
#[derive(Clone)]
enum Given {
    /// The query's column of this index, as it is.
    Passed(usize),
    /// The query's column of this index, assigned. The position is that of the column's name.
    Value(usize, u32),
    /// The next value of the identity column.
    Identity,
}

/// A clause that writes or removes rows.
struct Branch {
    /// Its action.
    number: i32,
    /// One per column of the table; `None` for DELETE.
    columns: Option<Vec<Given>>,
}

/// The select list of a MERGE under construction.
struct Items {
    items: Vec<sqlast::SelectItem>,
    /// Which of them are the target's own columns.
    passed: Vec<bool>,
    /// Where the target's own columns are, by their index in the table.
    own: HashMap<usize, usize>,
}

impl Items {
    fn add(&mut self, expr: sqlast::Expr, passed: bool) -> usize {
        let index = self.items.len();
        self.items.push(item(expr, &format!("merge{MARK}{index}")));
        self.passed.push(passed);
        index
    }
}

impl Draft<'_> {
    pub(super) fn merge(self, merge: &Merge) -> Result<BoundChange> {
        match &merge.action {
            MergeAction::RemoveDuplicates => self.remove_duplicates(merge),
            MergeAction::Clauses(clauses) => self.merge_clauses(merge, clauses),
        }
    }

    fn merge_clauses(mut self, merge: &Merge, clauses: &[MergeClause]) -> Result<BoundChange> {
        check_reachable(clauses)?;
        let rows = rows(clauses);
        let clauses: Vec<&MergeClause> = clauses
            .iter()
            .filter(|clause| match rows {
                Rows::Both => true,
                Rows::Matched => clause.then.matched(),
                Rows::Unmatched => !clause.then.matched(),
            })
            .collect();
        let mut items = Items { items: Vec::new(), passed: Vec::new(), own: HashMap::new() };
        items.add(if rows == Rows::Unmatched { null() } else { self.address() }, true);
        let action = match clauses.as_slice() {
            [only] if only.condition.is_none() && !is_nothing(only) => None,
            _ => Some(self.action(&clauses, rows)),
        };
        if let Some(action) = &action {
            items.add(action.clone(), false);
        }
        let mut branches = Vec::new();
        let mut updated = Vec::new();
        for (number, clause) in (1..).zip(&clauses) {
            let columns = match &clause.then {
                MergeThen::Nothing { .. } => continue,
                MergeThen::Delete => None,
                then => {
                    let when = action.as_ref().map(|action| (action, number));
                    Some(self.branch(then, when, &mut items, &mut updated)?)
                }
            };
            branches.push(Branch { number, columns });
        }
        let selection = action
            .filter(|_| !covers(&clauses, rows))
            .map(|action| binary(action, sqlast::BinaryOperator::Gt, number(0)));
        let from = vec![self.join(merge, rows)];
        let query = self.query(items.items, from, selection)?;
        let inner = self.bind(&query, &items.passed)?;
        updated.sort_unstable();
        updated.dedup();
        self.finish_merge(inner, &branches, rows, updated)
    }

    /// The number of the first clause that applies to a row; 0 for DO NOTHING.
    fn action(&self, clauses: &[&MergeClause], rows: Rows) -> sqlast::Expr {
        let conditions = (1..).zip(clauses).map(|(n, clause)| {
            let address = Box::new(self.address());
            let matched = match (rows, clause.then.matched()) {
                (Rows::Both, true) => Some(sqlast::Expr::IsNotNull(address)),
                (Rows::Both, false) => Some(sqlast::Expr::IsNull(address)),
                _ => None,
            };
            let own = clause.condition.clone().map(|own| sqlast::Expr::Nested(Box::new(own)));
            let condition = match (matched, own) {
                (Some(matched), Some(own)) => binary(matched, sqlast::BinaryOperator::And, own),
                (Some(condition), None) | (None, Some(condition)) => condition,
                (None, None) => sqlast::Expr::Value(Value::Boolean(true).into()),
            };
            let result = number(if is_nothing(clause) { 0 } else { n });
            CaseWhen { condition, result }
        });
        case(conditions.collect())
    }

    /// The values that a clause gives to the columns; `when` is the action's tree and number.
    fn branch(
        &mut self,
        then: &MergeThen,
        when: Option<(&sqlast::Expr, i32)>,
        items: &mut Items,
        updated: &mut Vec<usize>,
    ) -> Result<Vec<Given>> {
        let table = Arc::clone(&self.target.table);
        // A value is computed only for rows to which its clause applies.
        let guarded = |value: sqlast::Expr| match when {
            None => value,
            Some((action, n)) => {
                let condition = binary(action.clone(), sqlast::BinaryOperator::Eq, number(n));
                case(vec![CaseWhen { condition, result: value }])
            }
        };
        let mut given = Vec::with_capacity(table.columns.len());
        match then {
            MergeThen::Update(assignments) => {
                let mut set = self.assignments(assignments)?;
                updated.extend(set.keys());
                for (index, column) in table.columns.iter().enumerate() {
                    given.push(match set.remove(&index) {
                        Some((value, at)) => Given::Value(items.add(guarded(value), false), at),
                        None => Given::Passed(match items.own.get(&index) {
                            Some(own) => *own,
                            None => {
                                let own = items.add(self.column(&column.name), true);
                                items.own.insert(index, own);
                                own
                            }
                        }),
                    });
                }
            }
            MergeThen::Insert { columns, values } => {
                let mut set = self.inserted(columns, values)?;
                for (index, column) in table.columns.iter().enumerate() {
                    given.push(match (set.remove(&index), column.identity) {
                        (Some((value, at)), _) => {
                            Given::Value(items.add(guarded(value), false), at)
                        }
                        (None, Some(_)) => Given::Identity,
                        (None, None) => {
                            let value = assign::default_tree(column)?;
                            Given::Value(items.add(guarded(value), false), 0)
                        }
                    });
                }
            }
            MergeThen::Delete | MergeThen::Nothing { .. } => {}
        }
        Ok(given)
    }

    /// The values of INSERT by column; a column that is not listed or has DEFAULT is not among
    /// them.
    fn inserted(
        &mut self,
        names: &[Ident],
        values: &[sqlast::Expr],
    ) -> Result<HashMap<usize, (sqlast::Expr, u32)>> {
        let table = Arc::clone(&self.target.table);
        let listed = assign::columns(names, &table)?;
        let most = if names.is_empty() { table.columns.len() } else { listed.len() };
        let at = names.first().map_or(self.change.table.position(), |name| name.position);
        if values.len() > most {
            return Err(
                error!(SyntaxError, "INSERT has more expressions than target columns").at(at)
            );
        }
        if values.len() < listed.len() {
            return Err(
                error!(SyntaxError, "INSERT has more target columns than expressions").at(at)
            );
        }
        let mut set = HashMap::with_capacity(values.len());
        for (n, value) in values.iter().enumerate() {
            let index = listed.get(n).copied().unwrap_or(n);
            if assign::is_default(value) {
                continue;
            }
            let column = &table.columns[index];
            let at = names.get(n).map_or(at, |name| name.position);
            assign::check_identity(column).map_err(|error| error.at(at))?;
            assign::type_parameter(value, column, &mut self.given);
            set.insert(index, (value.clone(), at));
        }
        Ok(set)
    }

    /// Source and target joined for the rows that the clauses are about.
    fn join(&self, merge: &Merge, rows: Rows) -> TableWithJoins {
        let on = JoinConstraint::On(merge.on.clone());
        let join_operator = match rows {
            Rows::Matched => JoinOperator::Inner(on),
            Rows::Unmatched => JoinOperator::LeftAnti(on),
            Rows::Both => JoinOperator::LeftOuter(on),
        };
        let target = Join { relation: self.target_factor(), global: false, join_operator };
        TableWithJoins { relation: merge.using.clone(), joins: vec![target] }
    }

    fn finish_merge(
        self,
        inner: Inner,
        branches: &[Branch],
        rows: Rows,
        updated_columns: Vec<usize>,
    ) -> Result<BoundChange> {
        let convert = |e| error_from_datafusion(e, self.change.source.text());
        let table = Arc::clone(&self.target.table);
        let mut plan = LogicalPlanBuilder::from(inner.bound.plan.clone());
        let fills = |branch: &Branch| {
            let columns = branch.columns.iter().flatten();
            columns.into_iter().any(|given| matches!(given, Given::Identity))
        };
        let mut next = None;
        if branches.iter().any(fills) {
            // The inserted rows are numbered apart from the others, so that their values follow
            // one another.
            let address = column_at(plan.schema(), 0);
            let kind = (rows == Rows::Both).then(|| Expr::IsNull(Box::new(address)));
            let (numbered, column) = identity::numbered(plan, kind).map_err(convert)?;
            plan = numbered;
            next = Some(column);
        }
        let schema = Arc::clone(plan.schema());
        let mut identities = Vec::new();
        let mut exprs = Vec::with_capacity(table.columns.len() + 2);
        for (index, column) in table.columns.iter().enumerate() {
            let mut values = Vec::with_capacity(branches.len());
            for branch in branches {
                let Some(given) = branch.columns.as_ref().and_then(|given| given.get(index)) else {
                    continue;
                };
                if let Given::Identity = given {
                    identities.push(column.id);
                }
                let value = self.given_value(given, column, &inner, (&schema, next.as_ref()))?;
                values.push((branch.number, value));
            }
            let value = chosen(values, branches, column.sql_type, &schema).map_err(convert)?;
            exprs.push(value.alias(&column.name));
        }
        identities.dedup();
        exprs.push(column_at(&schema, 0).alias(ROW_ADDRESS));
        exprs.push(writes(branches, &schema).alias(WRITE));
        let plan = plan.build().map_err(convert)?;
        let plan = self.project(plan, exprs)?;
        let deletes = branches.iter().any(|branch| branch.columns.is_none());
        Ok(BoundChange {
            kind: ChangeShape::Write,
            plan,
            parameters: inner.bound.parameters,
            relations: inner.bound.relations,
            table,
            reads_target: inner.reads_target,
            deletes,
            updates: !updated_columns.is_empty(),
            inserts: rows != Rows::Matched,
            updated_columns,
            repeats: Repeats::Refuse,
            identities,
        })
    }

    /// The value of a column under one clause; `next` is the number of an inserted row.
    fn given_value(
        &self,
        given: &Given,
        column: &Column,
        inner: &Inner,
        (schema, next): (&DFSchema, Option<&Expr>),
    ) -> Result<Expr> {
        match given {
            Given::Passed(n) => Ok(column_at(schema, *n)),
            Given::Value(n, at) => {
                let from = inner.bound.columns[*n].sql_type;
                assign::check_pair(from, column).map_err(|error| error.at(*at))?;
                self.assigned(column_at(schema, *n), column, schema)
            }
            Given::Identity => {
                let (Some(own), Some(next)) = (column.identity, next) else {
                    return Err(Error::internal("no identity to fill"));
                };
                let value = identity::value(column.id, own.step, next.clone());
                let options = &self.binder.options;
                semantics::assign(value, column.sql_type, &column.name, schema, options)
                    .map_err(|e| error_from_datafusion(e, self.change.source.text()))
            }
        }
    }

    /// Rows of the target with a match go; all rows of the source come.
    fn remove_duplicates(mut self, merge: &Merge) -> Result<BoundChange> {
        let table = Arc::clone(&self.target.table);
        let on = JoinConstraint::On(merge.on.clone());
        let join_operator = JoinOperator::LeftSemi(on);
        let source = Join { relation: merge.using.clone(), global: false, join_operator };
        let from = TableWithJoins { relation: self.target_factor(), joins: vec![source] };
        let query = self.query(vec![item(self.address(), ROW_ADDRESS)], vec![from], None)?;
        let gone = self.bind(&query, &[true])?;
        self.given.clone_from(&gone.bound.parameters);
        let wildcard = sqlast::SelectItem::Wildcard(sqlast::WildcardAdditionalOptions::default());
        let query = self.query(vec![wildcard], vec![alone(merge.using.clone())], None)?;
        let come = self.bind(&query, &[])?;
        if come.bound.columns.len() != table.columns.len() {
            return Err(error!(
                SyntaxError,
                "MERGE … REMOVE DUPLICATES needs a source with the {} columns of the target, not \
                 {}",
                table.columns.len(),
                come.bound.columns.len()
            )
            .at(self.change.table.position()));
        }
        let schema = Arc::clone(come.bound.plan.schema());
        let mut exprs = Vec::with_capacity(table.columns.len() + 2);
        let mut nulls = Vec::with_capacity(table.columns.len() + 2);
        for (index, column) in table.columns.iter().enumerate() {
            assign::check_identity(column)?;
            assign::check_pair(come.bound.columns[index].sql_type, column)?;
            let value = self.assigned(column_at(&schema, index), column, &schema)?;
            exprs.push(value.alias(&column.name));
            nulls.push(null_of(column.sql_type)?.alias(&column.name));
        }
        exprs.push(null_of(SqlType::BigInt)?.alias(ROW_ADDRESS));
        exprs.push(lit(true).alias(WRITE));
        nulls.push(column_at(gone.bound.plan.schema(), 0).alias(ROW_ADDRESS));
        nulls.push(lit(false).alias(WRITE));
        let come_plan = self.project(come.bound.plan, exprs)?;
        let gone_plan = self.project(gone.bound.plan, nulls)?;
        let plan = LogicalPlanBuilder::from(come_plan)
            .union(gone_plan)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| error_from_datafusion(e, self.change.source.text()))?;
        let mut relations = gone.bound.relations;
        relations.extend(come.bound.relations);
        relations.dedup();
        Ok(BoundChange {
            kind: ChangeShape::Write,
            plan,
            parameters: gone.bound.parameters,
            relations,
            table,
            reads_target: gone.reads_target,
            deletes: true,
            updates: false,
            inserts: true,
            updated_columns: Vec::new(),
            repeats: Repeats::Ignore,
            identities: Vec::new(),
        })
    }
}

/// Refuses a clause after one of its kind without a condition.
fn check_reachable(clauses: &[MergeClause]) -> Result<()> {
    for (n, clause) in clauses.iter().enumerate() {
        let ends = |earlier: &MergeClause| {
            earlier.condition.is_none() && earlier.then.matched() == clause.then.matched()
        };
        if clauses[..n].iter().any(ends) {
            return Err(error!(
                SyntaxError,
                "unreachable WHEN clause specified after unconditional WHEN clause"
            )
            .at(clause.position));
        }
    }
    Ok(())
}

fn rows(clauses: &[MergeClause]) -> Rows {
    let acts = |matched: bool| {
        clauses.iter().any(|clause| clause.then.matched() == matched && !is_nothing(clause))
    };
    match (acts(true), acts(false)) {
        (true, true) => Rows::Both,
        (false, true) => Rows::Unmatched,
        _ => Rows::Matched,
    }
}

fn is_nothing(clause: &MergeClause) -> bool {
    matches!(clause.then, MergeThen::Nothing { .. })
}

/// Every row of the join has an action that is not DO NOTHING.
fn covers(clauses: &[&MergeClause], rows: Rows) -> bool {
    let always = |matched: bool| {
        clauses.iter().any(|clause| clause.then.matched() == matched && clause.condition.is_none())
    };
    let all = match rows {
        Rows::Both => always(true) && always(false),
        Rows::Matched => always(true),
        Rows::Unmatched => always(false),
    };
    all && !clauses.iter().any(|clause| is_nothing(clause))
}

/// The value of a column: that of the row's clause, NULL where the row only goes.
fn chosen(
    mut values: Vec<(i32, Expr)>,
    branches: &[Branch],
    sql_type: SqlType,
    schema: &DFSchema,
) -> datafusion::common::Result<Expr> {
    if branches.len() == 1 && values.len() == 1 {
        return Ok(values.remove(0).1);
    }
    if values.is_empty() {
        return Ok(Expr::Literal(ScalarValue::try_from(&sql_type.arrow())?, None));
    }
    // DataFusion makes AND and OR out of a CASE of booleans, which compute every clause's value
    // for every row: a check would then fail for rows of another clause.
    let boolean = sql_type == SqlType::Boolean;
    if boolean {
        for (_, value) in &mut values {
            *value = cast(value.clone(), DataType::Int8);
        }
    }
    let when = |(number, value)| (Box::new(is_action(number, schema)), Box::new(value));
    let otherwise = if values.len() == branches.len() {
        // The last clause needs no test.
        values.pop().map(|(_, value)| Box::new(value))
    } else {
        None
    };
    let chosen = Expr::Case(Case::new(None, values.into_iter().map(when).collect(), otherwise));
    Ok(if boolean { cast(chosen, DataType::Boolean) } else { chosen })
}

/// The row's action is this one.
fn is_action(number: i32, schema: &DFSchema) -> Expr {
    column_at(schema, 1).eq(lit(number))
}

/// Whether a row's columns are written.
fn writes(branches: &[Branch], schema: &DFSchema) -> Expr {
    let going = branches.iter().filter(|branch| branch.columns.is_none());
    let going: Vec<&Branch> = going.collect();
    if going.is_empty() {
        return lit(true);
    }
    if going.len() == branches.len() {
        return lit(false);
    }
    let mut tests = going.into_iter().map(|branch| column_at(schema, 1).not_eq(lit(branch.number)));
    let first = tests.next().unwrap_or_else(|| lit(true));
    tests.fold(first, Expr::and)
}

fn null_of(sql_type: SqlType) -> Result<Expr> {
    let null = ScalarValue::try_from(&sql_type.arrow());
    Ok(Expr::Literal(null.map_err(|e| error_from_datafusion(e, ""))?, None))
}

fn number(n: i32) -> sqlast::Expr {
    sqlast::Expr::Value(Value::Number(n.to_string(), false).into())
}

/// The address of a row that has none.
fn null() -> sqlast::Expr {
    let null = sqlast::Expr::Value(Value::Null.into());
    super::rewrite::cast(null, sqlast::DataType::BigInt(None))
}

fn binary(left: sqlast::Expr, op: sqlast::BinaryOperator, right: sqlast::Expr) -> sqlast::Expr {
    sqlast::Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn case(conditions: Vec<CaseWhen>) -> sqlast::Expr {
    sqlast::Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions,
        else_result: None,
    }
}
