//! INSERT: the rows of a source made into rows of a table, with defaults, identities, assignment
//! casts and NOT NULL checks. The checks are functions in the plan, so they run where the rows
//! are.

use std::collections::HashMap;
use std::sync::Arc;

use base::client::{Column as ClientColumn, Value};
use base::ids::ColumnId;
use base::{Error, Result, SqlType, error};
use catalog::{Column, Table};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column as PlanColumn, DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Values, lit};
use sqlparser::ast as sqlast;
use sqlparser::ast::SetExpr;

use super::parameters::{self, Mentions};
use super::{Binder, BinderOptions, finish_plan, rewrite, semantics};
use crate::ast::{Ident, Insert, InsertInput, Query};
use crate::functions::{assign, identity};
use crate::relations::RelationUse;
use crate::{error_from_datafusion, parse_expression};

/// The table of an INSERT.
#[derive(Clone)]
pub struct InsertTarget {
    pub table: Arc<Table>,
}

/// A bound INSERT.
#[derive(Clone, Debug)]
pub struct BoundInsert {
    /// Gives rows of the table: its columns in order, in their stored Arrow types.
    pub plan: LogicalPlan,
    /// One type per `$n`.
    pub parameters: Vec<SqlType>,
    /// The relations that the source reads.
    pub relations: Vec<RelationUse>,
    /// The identity columns that the plan fills; each needs its next value at execution.
    pub identities: Vec<ColumnId>,
}

impl BoundInsert {
    /// The plan with parameters, moments and the next value of each identity column put in. A
    /// statement that writes `n` rows uses the values `next, next + step, … next + (n-1)·step`.
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
}

/// A plan with the next value of each of its identity columns put in.
///
/// # Errors
/// XX000 when one is not given.
pub(super) fn numbered(
    plan: &LogicalPlan,
    columns: &[ColumnId],
    next: &HashMap<ColumnId, i64>,
) -> Result<LogicalPlan> {
    if columns.is_empty() {
        return Ok(plan.clone());
    }
    set_identities(plan.clone(), next).map_err(|e| error_from_datafusion(e, ""))
}

fn set_identities(
    plan: LogicalPlan,
    next: &HashMap<ColumnId, i64>,
) -> datafusion::common::Result<LogicalPlan> {
    let plan = plan.transform_up(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|expr| match identity::column_of(&expr) {
                Some(column) => match next.get(&column) {
                    Some(value) => Ok(Transformed::yes(lit(*value))),
                    None => Err(super::context::external(Error::internal(format!(
                        "the next value of identity column {column} is missing"
                    )))),
                },
                None => Ok(Transformed::no(expr)),
            })
        })
    })?;
    Ok(plan.data)
}

impl Binder<'_> {
    /// Binds an INSERT into a table.
    ///
    /// # Errors
    /// As [`Binder::query`]; 42703 for an unknown column, 42701 for one named twice, 42601 for
    /// more or fewer values than columns, 42804 for an identity column given a value.
    pub fn insert(&self, insert: &Insert, target: &InsertTarget) -> Result<BoundInsert> {
        let table = &target.table;
        let listed = columns(&insert.columns, table)?;
        let query = match &insert.input {
            InsertInput::DefaultValues => {
                let plan = LogicalPlanBuilder::empty(true).build();
                let plan = plan.map_err(|e| error_from_datafusion(e, ""))?;
                return self.finish_insert(plan, table, &[], Vec::new(), Vec::new());
            }
            InsertInput::Query(query) => query,
        };
        match query.body.body.as_ref() {
            SetExpr::Values(_) => self.insert_values(query, table, listed),
            _ => self.insert_query(query, table, &listed),
        }
    }

    /// Casts and checks the columns of a plan as an assignment to a table's columns. `listed`
    /// names the table's column for each column of the plan.
    ///
    /// # Errors
    /// 42601 for more or fewer columns, 42804 for types that cannot be assigned.
    pub fn assign(
        &self,
        plan: LogicalPlan,
        table: &Table,
        listed: &[usize],
    ) -> Result<BoundInsert> {
        self.finish_insert(plan, table, listed, Vec::new(), Vec::new())
    }

    fn insert_query(&self, query: &Query, table: &Table, listed: &[usize]) -> Result<BoundInsert> {
        let bound = self.query(query)?;
        let listed = check_count(bound.columns.len(), listed, table, query)?;
        check_assignable(&bound.columns, &listed, table)?;
        self.finish_insert(bound.plan, table, &listed, bound.parameters, bound.relations)
    }

    /// VALUES: DEFAULT stands for the column's default, and a bare parameter has the column's
    /// type.
    fn insert_values(
        &self,
        query: &Query,
        table: &Table,
        listed: Vec<usize>,
    ) -> Result<BoundInsert> {
        let mut query = query.clone();
        let SetExpr::Values(values) = query.body.body.as_mut() else {
            return Err(Error::internal("INSERT VALUES without VALUES"));
        };
        let width = values.rows.first().map_or(0, |row| row.content.len());
        let mut given = self.options.parameters.clone();
        let listed = check_count(width, &listed, table, &query)?;
        let SetExpr::Values(values) = query.body.body.as_mut() else {
            return Err(Error::internal("INSERT VALUES without VALUES"));
        };
        let mut defaulted = vec![false; listed.len()];
        let rows = values.rows.len();
        let mut count = vec![0usize; listed.len()];
        for row in &mut values.rows {
            let cells = &mut row.content;
            if cells.len() != width {
                return Err(error!(SyntaxError, "VALUES lists must all be the same length"));
            }
            for (n, cell) in cells.iter_mut().enumerate() {
                let Some(column) = listed.get(n).and_then(|index| table.columns.get(*index)) else {
                    continue;
                };
                if is_default(cell) {
                    defaulted[n] = true;
                    count[n] += 1;
                    *cell = default_tree(column)?;
                }
                type_parameter(cell, column, &mut given);
            }
        }
        // An identity column must be DEFAULT in all rows or in none.
        for (n, index) in listed.iter().enumerate() {
            let identity = table.columns.get(*index).and_then(|column| column.identity);
            if identity.is_some() && defaulted[n] && count[n] != rows {
                return Err(Error::unsupported(
                    "DEFAULT for an identity column in some rows of VALUES only is not supported",
                )
                .hint("Insert the rows with DEFAULT in a statement of their own."));
            }
        }
        let keep: Vec<usize> = (0..listed.len())
            .filter(|n| {
                let identity = table.columns.get(listed[*n]).and_then(|column| column.identity);
                !(identity.is_some() && defaulted[*n])
            })
            .collect();
        if keep.len() != listed.len() {
            for row in &mut values.rows {
                let mut n = 0;
                row.content.retain(|_| {
                    n += 1;
                    keep.contains(&(n - 1))
                });
            }
        }
        let listed: Vec<usize> = keep.iter().map(|n| listed[*n]).collect();
        self.plan_values(query, table, &listed, given, rows)
    }

    fn plan_values(
        &self,
        query: Query,
        table: &Table,
        listed: &[usize],
        given: Vec<SqlType>,
        rows: usize,
    ) -> Result<BoundInsert> {
        let mentions = Mentions::of(query.body.as_ref())?;
        let wishes = mentions.wishes(&given);
        let types: Vec<SqlType> = wishes.iter().map(|wish| wish.unwrap_or(SqlType::Text)).collect();
        let known: Vec<Option<SqlType>> = types.iter().copied().map(Some).collect();
        if listed.is_empty() {
            // VALUES (DEFAULT): rows without a value of their own.
            let plan = LogicalPlanBuilder::values(vec![vec![lit(0)]; rows]);
            let plan = plan.and_then(LogicalPlanBuilder::build);
            let plan = plan.map_err(|e| error_from_datafusion(e, ""))?;
            return self.finish_insert(plan, table, listed, types, Vec::new());
        }
        let text = query.source.text();
        let context = self.context(query.body.as_ref(), &query.source);
        let mut body = query.body.as_ref().clone();
        super::inline::inline_functions(&mut body, &context)?;
        rewrite::rewrite(&mut body)?;
        let plan = self.plan_rows(body, text, &context, &known, (table, listed))?;
        let plan = self.analyse(plan).map_err(|e| error_from_datafusion(e, text))?;
        let uses = context.found.into_inner().uses;
        self.finish_insert(plan, table, listed, types, uses)
    }

    /// Plans VALUES cell by cell, each cell assigned to its column before the rows are brought
    /// together: `(1), ('2')` into an INTEGER column is two good rows, although the two cells
    /// have no common type.
    fn plan_rows(
        &self,
        body: sqlast::Query,
        text: &str,
        context: &super::Context<'_>,
        types: &[Option<SqlType>],
        (table, listed): (&Table, &[usize]),
    ) -> Result<LogicalPlan> {
        use datafusion::sql::planner::PlannerContext;

        let SetExpr::Values(values) = *body.body else {
            return Err(Error::internal("INSERT VALUES without VALUES"));
        };
        if body.with.is_some() || body.order_by.is_some() || body.limit_clause.is_some() {
            return Err(Error::unsupported(
                "WITH, ORDER BY and LIMIT with VALUES in INSERT are not supported",
            ));
        }
        let convert = |e| error_from_datafusion(e, text);
        let mut scope =
            PlannerContext::new().with_prepare_param_data_types(parameters::fields(types));
        let schema = DFSchema::empty();
        let mut rows = Vec::with_capacity(values.rows.len());
        for row in values.rows {
            let mut cells = Vec::with_capacity(row.content.len());
            for (cell, index) in row.content.into_iter().zip(listed) {
                let column = &table.columns[*index];
                let cell = planner::expression(
                    context,
                    super::parser_options(),
                    cell,
                    &schema,
                    &mut scope,
                )
                .map_err(convert)?;
                let cell = semantics::apply_expr(cell, &schema, &self.options).map_err(convert)?;
                check_cell(&cell, column)?;
                let to = column.sql_type;
                cells.push(
                    semantics::assign(cell, to, &column.name, &schema, &self.options)
                        .map_err(convert)?,
                );
            }
            rows.push(cells);
        }
        // The columns' own types: DataFusion would want each cell of a column to carry the same
        // metadata, which a NULL and a computed cell do not.
        let fields = listed.iter().enumerate().map(|(n, index)| {
            let sql_type = table.columns[*index].sql_type;
            Arc::new(sql_type.field(format!("column{}", n + 1), true))
        });
        let schema = DFSchema::from_unqualified_fields(fields.collect(), HashMap::new());
        let schema = Arc::new(schema.map_err(convert)?);
        Ok(LogicalPlan::Values(Values { schema, values: rows }))
    }

    fn finish_insert(
        &self,
        plan: LogicalPlan,
        table: &Table,
        listed: &[usize],
        parameters: Vec<SqlType>,
        relations: Vec<RelationUse>,
    ) -> Result<BoundInsert> {
        let convert = |e| error_from_datafusion(e, "");
        let mut plan = LogicalPlanBuilder::from(plan);
        let mut number = None;
        let fills = |(index, column): (usize, &Column)| {
            column.identity.is_some() && !listed.contains(&index)
        };
        if table.columns.iter().enumerate().any(fills) {
            let (numbered, column) = identity::numbered(plan, None).map_err(convert)?;
            plan = numbered;
            number = Some(column);
        }
        let schema = Arc::clone(plan.schema());
        let mut identities = Vec::new();
        let mut exprs = Vec::with_capacity(table.columns.len());
        for (index, column) in table.columns.iter().enumerate() {
            let given = listed.iter().position(|listed| *listed == index);
            let expr = match given {
                Some(n) => {
                    let (qualifier, field) = schema.qualified_field(n);
                    Expr::Column(PlanColumn::new(qualifier.cloned(), field.name()))
                }
                None => match (column.identity, &number) {
                    (Some(identity), Some(number)) => {
                        identities.push(column.id);
                        identity::value(column.id, identity.step, number.clone())
                    }
                    _ => self.default_expr(column)?,
                },
            };
            let filled = column.identity.is_some() && given.is_none();
            let expr = if filled {
                semantics::assign(expr, column.sql_type, &column.name, &schema, &self.options)
            } else {
                self.assigned(expr, column, table, &schema)
            };
            exprs.push(expr.map_err(convert)?.alias(column.name.clone()));
        }
        let plan = plan.project(exprs).and_then(LogicalPlanBuilder::build);
        let plan = plan.and_then(|plan| self.analyse(plan)).map_err(convert)?;
        Ok(BoundInsert { plan, parameters, relations, identities })
    }

    /// A value assigned to a column: cast as an assignment, and checked for NOT NULL.
    pub(super) fn assigned(
        &self,
        value: Expr,
        column: &Column,
        table: &Table,
        schema: &DFSchema,
    ) -> datafusion::common::Result<Expr> {
        let value = semantics::assign(value, column.sql_type, &column.name, schema, &self.options)?;
        if column.nullable {
            return Ok(value);
        }
        Ok(assign::not_null(value, &column.name, &table.name))
    }

    /// A column's DEFAULT, NULL where it has none.
    fn default_expr(&self, column: &Column) -> Result<Expr> {
        match &column.default {
            None => Ok(Expr::Literal(ScalarValue::Null, None)),
            Some(text) => self.scalar(&parse_expression(text)?),
        }
    }

    /// Checks that an expression can be a column's DEFAULT: it names no column, and its value can
    /// be assigned.
    ///
    /// # Errors
    /// As [`Binder::scalar`]; 42804 for a type that cannot be assigned, 22001 for a literal that is
    /// too long.
    pub fn check_default(
        &self,
        expression: &crate::ast::Expression,
        sql_type: SqlType,
        column: &str,
    ) -> Result<()> {
        let expr = self.scalar(expression)?;
        let schema = DFSchema::empty();
        semantics::assign(expr, sql_type, column, &schema, &self.options)
            .map(drop)
            .map_err(|e| error_from_datafusion(e, expression.source.text()))
    }
}

/// The indexes of the listed columns; all of them where none is listed.
pub(super) fn columns(names: &[Ident], table: &Table) -> Result<Vec<usize>> {
    let mut listed: Vec<usize> = Vec::with_capacity(names.len());
    for name in names {
        let index = find(name, table)?;
        if listed.contains(&index) {
            return Err(error!(
                DuplicateColumn,
                "column \"{}\" specified more than once", name.name
            )
            .at(name.position));
        }
        listed.push(index);
    }
    Ok(listed)
}

pub(super) fn find(name: &Ident, table: &Table) -> Result<usize> {
    table.columns.iter().position(|column| column.name == name.name).ok_or_else(|| {
        let names = table.columns.iter().map(|column| column.name.as_str());
        error!(
            UndefinedColumn,
            "column \"{}\" of relation \"{}\" does not exist", name.name, table.name
        )
        .maybe_hint(base::suggest::did_you_mean(&name.name, names))
        .at(name.position)
    })
}

/// The columns that a source of this width fills. Without a list, fewer values than columns fill
/// the first columns, as in PostgreSQL.
fn check_count(width: usize, listed: &[usize], table: &Table, query: &Query) -> Result<Vec<usize>> {
    let position = query.source.find_word("values").or_else(|| query.source.find_word("select"));
    let wrong = |what: &str| {
        let error = error!(SyntaxError, "INSERT has more {what}");
        match position {
            Some(position) => error.at(position),
            None => error,
        }
    };
    if listed.is_empty() {
        // Identity columns that cannot be given are left out of the implied list only when the
        // source does not fill them.
        let settable: Vec<usize> = (0..table.columns.len()).collect();
        if width > settable.len() {
            return Err(wrong("expressions than target columns"));
        }
        return Ok(settable.into_iter().take(width).collect());
    }
    if width > listed.len() {
        return Err(wrong("expressions than target columns"));
    }
    if width < listed.len() {
        return Err(wrong("target columns than expressions"));
    }
    Ok(listed.to_vec())
}

pub(super) fn is_default(cell: &sqlast::Expr) -> bool {
    matches!(cell, sqlast::Expr::Identifier(ident)
        if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// The tree of a column's default.
pub(super) fn default_tree(column: &Column) -> Result<sqlast::Expr> {
    match &column.default {
        Some(text) => Ok(*parse_expression(text)?.expr),
        None => Ok(sqlast::Expr::Value(sqlast::Value::Null.into())),
    }
}

/// A bare `$n` in VALUES has the type of its column where the client gave none.
pub(super) fn type_parameter(cell: &sqlast::Expr, column: &Column, given: &mut Vec<SqlType>) {
    let sqlast::Expr::Value(value) = cell else { return };
    let sqlast::Value::Placeholder(text) = &value.value else { return };
    let number = text.get(1..).and_then(|digits| digits.parse::<usize>().ok());
    let Some(n) = number.filter(|n| *n > 0 && *n <= 32_767) else { return };
    if given.len() < n {
        given.resize(n, SqlType::Unknown);
    }
    if given[n - 1] == SqlType::Unknown {
        given[n - 1] = column.sql_type;
    }
}

pub(super) fn check_identity(column: &Column) -> Result<()> {
    match column.identity {
        Some(identity) if !identity.by_default => {
            Err(error!(DatatypeMismatch, "cannot set an identity column to a value")
                .column(column.name.clone())
                .hint(format!("Column \"{}\" is filled by the system; leave it out.", column.name)))
        }
        _ => Ok(()),
    }
}

fn check_cell(cell: &Expr, column: &Column) -> Result<()> {
    use datafusion::logical_expr::ExprSchemable;
    check_identity(column)?;
    let schema = DFSchema::empty();
    match cell.get_type(&schema) {
        Ok(from) if !matches!(cell, Expr::Placeholder(_) | Expr::Literal(..)) => {
            check_pair(SqlType::of_arrow(&from), column)
        }
        Ok(from) if !matches!(SqlType::of_arrow(&from), SqlType::Varchar(_)) => {
            check_pair(SqlType::of_arrow(&from), column)
        }
        _ => Ok(()),
    }
}

fn check_assignable(given: &[ClientColumn], listed: &[usize], table: &Table) -> Result<()> {
    for (source, index) in given.iter().zip(listed.iter()) {
        let Some(column) = table.columns.get(*index) else { continue };
        check_identity(column)?;
        check_pair(source.sql_type, column)?;
    }
    Ok(())
}

/// The pairs that Redshift assigns without a cast.
pub(super) fn check_pair(from: SqlType, column: &Column) -> Result<()> {
    use SqlType as T;
    let to = column.sql_type;
    let number = |t: T| {
        matches!(t, T::SmallInt | T::Integer | T::BigInt | T::Real | T::Double | T::Decimal { .. })
    };
    let text = |t: T| matches!(t, T::Char(_) | T::Varchar(_) | T::Text | T::Name | T::Unknown);
    let moment = |t: T| matches!(t, T::Date | T::Timestamp | T::TimestampTz);
    let fits = from.arrow() == to.arrow()
        || text(from)
        || (text(to) && !matches!(from, T::Varbyte(_)))
        || (number(from) && number(to))
        || (number(from) && to == T::Boolean)
        || (moment(from) && moment(to))
        || matches!((from, to), (T::Timestamp, T::Time) | (T::Time, T::TimeTz))
        || matches!((from, to), (T::Varbyte(_), T::Varbyte(_)));
    if fits {
        return Ok(());
    }
    Err(error!(
        DatatypeMismatch,
        "column \"{}\" is of type {to} but expression is of type {from}", column.name
    )
    .column(column.name.clone())
    .hint("You will need to rewrite or cast the expression."))
}
