//! The result columns of a plan: SQL types with their lengths, and the table column that each
//! comes from unchanged. Arrow types alone cannot tell CHAR(3) from VARCHAR(40), and field
//! metadata is not reliable across unions and aggregates, so the plan is walked.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::DataType;
use base::SqlType;
use base::client::{Column as ClientColumn, Origin};
use base::types::FIELD_KEY;
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, TableScan, TableSource, Values};

use crate::bind::rewrite::shown;
use crate::functions::assign::SINGLE_ROW_NAME;
use crate::functions::cast;
use crate::functions::window;
use crate::relations::ResolvedTable;

/// The tables of a statement by the address of their scan's source.
#[derive(Default)]
pub(crate) struct ColumnOrigins(HashMap<usize, Origin>);

impl ColumnOrigins {
    pub(crate) fn add(&mut self, table: &ResolvedTable) {
        let origin = Origin {
            database: table.database.clone(),
            schema: table.schema.clone(),
            table: table.name.clone(),
            column: String::new(),
            table_oid: table.oid,
            attribute: 0,
        };
        self.0.insert(address(&table.source), origin);
    }

    pub(crate) fn merge(&mut self, other: ColumnOrigins) {
        self.0.extend(other.0);
    }
}

fn address(source: &Arc<dyn TableSource>) -> usize {
    Arc::as_ptr(source).cast::<()>() as usize
}

/// What is known of one output column.
#[derive(Clone)]
struct Known {
    sql_type: SqlType,
    origin: Option<Origin>,
}

/// The columns of a plan's output as clients see them.
pub(crate) fn columns(plan: &LogicalPlan, origins: &ColumnOrigins) -> Vec<ClientColumn> {
    let known = known(plan, origins);
    let fields = plan.schema().fields().iter();
    let columns = fields.zip(known).map(|(field, known)| ClientColumn {
        name: shown(field.name()).to_owned(),
        sql_type: known.sql_type,
        origin: known.origin,
        nullable: field.is_nullable(),
    });
    columns.collect()
}

fn known(plan: &LogicalPlan, origins: &ColumnOrigins) -> Vec<Known> {
    let found = match plan {
        LogicalPlan::Projection(node) => {
            expressions(&node.expr, &node.input, &known(&node.input, origins), origins)
        }
        LogicalPlan::TableScan(scan) => table(scan, origins),
        LogicalPlan::SubqueryAlias(node) => known(&node.input, origins),
        LogicalPlan::Filter(node) => known(&node.input, origins),
        LogicalPlan::Sort(node) => known(&node.input, origins),
        LogicalPlan::Limit(node) => known(&node.input, origins),
        LogicalPlan::Repartition(node) => known(&node.input, origins),
        LogicalPlan::Subquery(node) => known(&node.subquery, origins),
        LogicalPlan::Distinct(node) => match node {
            datafusion::logical_expr::Distinct::All(input) => known(input, origins),
            datafusion::logical_expr::Distinct::On(on) => {
                expressions(&on.select_expr, &on.input, &known(&on.input, origins), origins)
            }
        },
        LogicalPlan::Aggregate(node) => {
            let input = known(&node.input, origins);
            let groups = group_expressions(&node.group_expr);
            let mut found = expressions(&groups, &node.input, &input, origins);
            let aggregates = expressions(&node.aggr_expr, &node.input, &input, origins);
            // Grouping sets add an internal column between the two.
            let width = plan.schema().fields().len();
            while found.len() + aggregates.len() < width {
                found.push(Known { sql_type: SqlType::Integer, origin: None });
            }
            found.extend(aggregates);
            found
        }
        LogicalPlan::Window(node) => {
            let mut found = known(&node.input, origins);
            found.extend(expressions(&node.window_expr, &node.input, &found.clone(), origins));
            found
        }
        LogicalPlan::Join(node) => join(node, origins),
        LogicalPlan::Union(node) => union(&node.inputs, origins),
        LogicalPlan::RecursiveQuery(node) => known(&node.static_term, origins),
        LogicalPlan::Values(node) => values(node),
        _ => Vec::new(),
    };
    let fields = plan.schema().fields();
    if found.len() == fields.len() { found } else { of_schema(plan.schema()) }
}

fn of_schema(schema: &DFSchema) -> Vec<Known> {
    schema.fields().iter().map(|field| plain(of_field(field))).collect()
}

fn plain(sql_type: SqlType) -> Known {
    Known { sql_type, origin: None }
}

/// A field's SQL type; metadata that contradicts the Arrow type came from before a cast.
fn of_field(field: &arrow_schema::Field) -> SqlType {
    let told = SqlType::of_field(field);
    let fits = field.metadata().contains_key(FIELD_KEY) && carries(field.data_type(), told);
    if fits { told } else { SqlType::of_arrow(field.data_type()) }
}

/// True where values of the SQL type can stand in the Arrow type. Text has several forms, which
/// the final projection makes one.
fn carries(data_type: &DataType, sql_type: SqlType) -> bool {
    let text =
        |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let carrier = sql_type.arrow();
    carrier == *data_type || (text(&carrier) && text(data_type))
}

fn table(scan: &TableScan, origins: &ColumnOrigins) -> Vec<Known> {
    let origin = origins.0.get(&address(&scan.source));
    let all = scan.source.schema();
    let wanted: Vec<usize> = match &scan.projection {
        Some(projection) => projection.clone(),
        None => (0..all.fields().len()).collect(),
    };
    let known = wanted.iter().filter_map(|n| all.fields().get(*n).map(|field| (n, field)));
    known
        .map(|(n, field)| Known {
            sql_type: of_field(field),
            origin: origin.map(|origin| Origin {
                column: field.name().clone(),
                attribute: i16::try_from(n + 1).unwrap_or(0),
                ..origin.clone()
            }),
        })
        .collect()
}

fn join(node: &datafusion::logical_expr::Join, origins: &ColumnOrigins) -> Vec<Known> {
    match node.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti => known(&node.left, origins),
        JoinType::RightSemi | JoinType::RightAnti => known(&node.right, origins),
        JoinType::LeftMark | JoinType::RightMark => Vec::new(),
        _ => {
            let mut found = known(&node.left, origins);
            found.extend(known(&node.right, origins));
            found
        }
    }
}

fn union(inputs: &[Arc<LogicalPlan>], origins: &ColumnOrigins) -> Vec<Known> {
    let mut inputs = inputs.iter();
    let Some(first) = inputs.next() else { return Vec::new() };
    let mut found = known(first, origins);
    for input in inputs {
        for (own, other) in found.iter_mut().zip(known(input, origins)) {
            own.sql_type = common(own.sql_type, other.sql_type);
            own.origin = None;
        }
    }
    found.iter_mut().for_each(|known| known.origin = None);
    found
}

fn values(node: &Values) -> Vec<Known> {
    let fields = node.schema.fields().iter();
    fields.map(|field| plain(of_field(field))).collect()
}

/// The type that holds values of both.
pub(crate) fn common(a: SqlType, b: SqlType) -> SqlType {
    match (a, b) {
        (a, b) if a == b => a,
        (SqlType::Varchar(a), SqlType::Varchar(b)) => SqlType::Varchar(a.max(b)),
        (SqlType::Char(a), SqlType::Char(b)) => SqlType::Char(a.max(b)),
        (SqlType::Char(a), SqlType::Varchar(b)) | (SqlType::Varchar(a), SqlType::Char(b)) => {
            SqlType::Varchar(a.max(b))
        }
        (SqlType::Varbyte(a), SqlType::Varbyte(b)) => SqlType::Varbyte(a.max(b)),
        // The analysed plan has cast both sides to one Arrow type already.
        (SqlType::Unknown, other) | (other, SqlType::Unknown) => other,
        (a, b) if a.arrow() == b.arrow() => SqlType::of_arrow(&a.arrow()),
        (a, _) => a,
    }
}

fn group_expressions(exprs: &[Expr]) -> Vec<Expr> {
    match exprs {
        [Expr::GroupingSet(set)] => set.distinct_expr().into_iter().cloned().collect(),
        exprs => exprs.to_vec(),
    }
}

fn expressions(
    exprs: &[Expr],
    input: &LogicalPlan,
    known: &[Known],
    origins: &ColumnOrigins,
) -> Vec<Known> {
    let scope = Scope { input, known, origins };
    exprs.iter().map(|expr| scope.of(expr)).collect()
}

struct Scope<'a> {
    input: &'a LogicalPlan,
    known: &'a [Known],
    origins: &'a ColumnOrigins,
}

impl Scope<'_> {
    fn column(&self, column: &Column) -> Option<Known> {
        let index = self.input.schema().maybe_index_of_column(column)?;
        self.known.get(index).cloned()
    }

    fn of(&self, expr: &Expr) -> Known {
        let found = match expr {
            Expr::Column(column) => self.column(column),
            Expr::Alias(alias) => Some(self.of(&alias.expr)),
            Expr::ScalarSubquery(subquery) => {
                known(&subquery.subquery, self.origins).into_iter().next().map(computed)
            }
            Expr::AggregateFunction(call) if keeps_type(call.func.name()) => {
                call.params.args.first().map(|arg| computed(self.of(arg)))
            }
            Expr::WindowFunction(call) if keeps_type(call.fun.name()) => {
                call.params.args.first().map(|arg| computed(self.of(arg)))
            }
            Expr::Case(case) => {
                let branches = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
                let branches = branches.chain(case.else_expr.as_deref());
                branches.filter(|e| !is_null(e)).map(|e| computed(self.of(e))).reduce(both)
            }
            Expr::ScalarFunction(call) if cast::type_of_call(call).is_some() => {
                cast::type_of_call(call).map(plain)
            }
            Expr::ScalarFunction(call) if call.func.name() == SINGLE_ROW_NAME => {
                call.args.first().map(|arg| computed(self.of(arg)))
            }
            Expr::ScalarFunction(call) if first_argument_type(call.func.name()) => {
                let args = call.args.iter().filter(|arg| !is_null(arg));
                args.map(|arg| computed(self.of(arg))).reduce(both)
            }
            Expr::Literal(value, _) => literal(value).map(plain),
            _ => None,
        };
        let field = expr.to_field_of(self.input.schema());
        match (found, field) {
            (Some(found), Some(field)) if carries(field.data_type(), found.sql_type) => found,
            (_, Some(field)) => plain(of_field(&field)),
            (Some(found), None) => found,
            (None, None) => plain(SqlType::Unknown),
        }
    }
}

/// A value that is computed has no origin.
fn computed(known: Known) -> Known {
    Known { origin: None, ..known }
}

fn both(a: Known, b: Known) -> Known {
    plain(common(a.sql_type, b.sql_type))
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        _ => false,
    }
}

/// A string literal is as long as it is.
fn literal(value: &datafusion::common::ScalarValue) -> Option<SqlType> {
    let text = value.try_as_str()??;
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    Some(SqlType::Varchar(length.clamp(1, base::types::VARCHAR_BYTES_MAX)))
}

/// Aggregates and window functions whose result has the type of their argument.
fn keeps_type(name: &str) -> bool {
    matches!(
        window::plain_name(name),
        "min" | "max" | "first_value" | "last_value" | "nth_value" | "lag" | "lead" | "any_value"
    )
}

/// Functions whose result has the common type of their arguments.
fn first_argument_type(name: &str) -> bool {
    matches!(name, "coalesce" | "nvl" | "ifnull" | "nullif" | "greatest" | "least")
}

trait FieldOf {
    fn to_field_of(&self, schema: &DFSchema) -> Option<arrow_schema::FieldRef>;
}

impl FieldOf for Expr {
    fn to_field_of(&self, schema: &DFSchema) -> Option<arrow_schema::FieldRef> {
        use datafusion::logical_expr::ExprSchemable;
        self.to_field(schema).ok().map(|(_, field)| field)
    }
}
