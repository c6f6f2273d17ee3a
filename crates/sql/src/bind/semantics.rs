//! Redshift's meaning put into a planned query, before DataFusion coerces types: whole numbers are
//! INTEGER when they fit, casts follow Redshift's rules, names of types are honoured.

use std::sync::Arc;

use arrow_schema::{DataType, TimeUnit};
use base::{Result, SqlType};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::functions_aggregate::expr_fn::{count, max};
use datafusion::logical_expr::expr::{Between, BinaryExpr, Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    AggregateUDF, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, Union,
    WindowFunctionDefinition, lit,
};

use crate::bind::context::written_type;
use crate::bind::{BinderOptions, outer, typing, zones};
use crate::functions::{aggregate, assign, cast, decimal, interval, timetz};

type Planned<T> = datafusion::common::Result<T>;

/// Rewrites the expressions of a whole plan.
pub(crate) fn apply(plan: LogicalPlan, options: &BinderOptions) -> Planned<LogicalPlan> {
    // The work table of a recursive query has its types already.
    let narrow = !has_recursion(&plan)?;
    let rewritten = plan.transform_up_with_subqueries(|node| {
        if matches!(node, LogicalPlan::TableScan(_)) {
            return Ok(Transformed::no(node));
        }
        let narrow = narrow && !matches!(node, LogicalPlan::Limit(_));
        let schema = match node.inputs().as_slice() {
            [input] => Arc::clone(input.schema()),
            inputs => Arc::new(merge_schema(inputs)),
        };
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let expr = expr.transform_up(|expr| one(expr, &schema, narrow, options))?;
            Ok(expr.update_data(|expr| name.restore(expr)))
        })?;
        node.map_data(refresh)
    })?;
    outer::refresh(rewritten.data)
}

/// Rewrites one expression that stands over `schema`.
pub(crate) fn apply_expr(expr: Expr, schema: &DFSchema, options: &BinderOptions) -> Planned<Expr> {
    Ok(expr.transform_up(|expr| one(expr, schema, true, options))?.data)
}

fn has_recursion(plan: &LogicalPlan) -> Planned<bool> {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::RecursiveQuery(_))))
}

/// A node's schema after its expressions changed. DataFusion keeps those of VALUES and UNION as
/// they were.
fn refresh(node: LogicalPlan) -> Planned<LogicalPlan> {
    match node {
        LogicalPlan::Union(union) => {
            Ok(LogicalPlan::Union(Union::try_new_with_loose_types(union.inputs)?))
        }
        // Cells of one column may differ in what they say of their SQL type: then the types that
        // the planner found hold.
        LogicalPlan::Values(values) => LogicalPlanBuilder::values(values.values.clone())
            .or_else(|_| LogicalPlanBuilder::values_with_schema(values.values, &values.schema))?
            .build(),
        other => other.recompute_schema(),
    }
}

fn one(
    expr: Expr,
    schema: &DFSchema,
    narrow: bool,
    options: &BinderOptions,
) -> Planned<Transformed<Expr>> {
    Ok(match expr {
        Expr::Literal(ScalarValue::Int64(Some(n)), metadata) if narrow => match i32::try_from(n) {
            Ok(n) => Transformed::yes(Expr::Literal(ScalarValue::Int32(Some(n)), metadata)),
            Err(_) => Transformed::no(Expr::Literal(ScalarValue::Int64(Some(n)), metadata)),
        },
        Expr::Literal(ScalarValue::UInt64(Some(n)), metadata) => {
            let value = ScalarValue::Decimal128(Some(i128::from(n)), 20, 0);
            Transformed::yes(Expr::Literal(value, metadata))
        }
        Expr::Cast(Cast { expr, field }) => match written_type(&field) {
            Some(to) => Transformed::yes(convert(*expr, to, schema, false, options)?),
            None => Transformed::no(Expr::Cast(Cast { expr, field })),
        },
        Expr::TryCast(TryCast { expr, field }) => match written_type(&field) {
            Some(to) => Transformed::yes(convert(*expr, to, schema, true, options)?),
            None => Transformed::no(Expr::TryCast(TryCast { expr, field })),
        },
        Expr::BinaryExpr(operation) => binary(operation, schema, options)?,
        Expr::Negative(inner) => typing::negated(*inner, schema, options),
        Expr::InList(list) => typing::in_list(list, schema, options)?,
        Expr::Between(between) => {
            let between = typing::between(between, schema, options);
            Transformed::yes(moments_between(between, schema, options)?.data)
        }
        Expr::ScalarFunction(call) if call.func.name() == assign::AS_WRITTEN => {
            match call.args.into_iter().next() {
                Some(arg) => Transformed::yes(arg),
                None => return datafusion::common::internal_err!("a value is missing"),
            }
        }
        Expr::ScalarFunction(call) => function(call, schema, options)?,
        Expr::AggregateFunction(mut call) if takes_fraction(call.func.name()) => {
            for arg in &mut call.params.args {
                float_literal(arg);
            }
            Transformed::yes(Expr::AggregateFunction(call))
        }
        Expr::AggregateFunction(mut call) => {
            sums_of_durations(&mut call.params.args);
            match sum_of(&call.params.args, call.func.name(), schema, options)? {
                Some(function) => {
                    call.func = function;
                    Transformed::yes(Expr::AggregateFunction(call))
                }
                None => Transformed::no(Expr::AggregateFunction(call)),
            }
        }
        Expr::WindowFunction(mut call) => {
            match sum_of(&call.params.args, call.fun.name(), schema, options)? {
                Some(function) => {
                    call.fun = WindowFunctionDefinition::AggregateUDF(function);
                    Transformed::yes(Expr::WindowFunction(call))
                }
                None => Transformed::no(Expr::WindowFunction(call)),
            }
        }
        Expr::ScalarSubquery(subquery) if may_give_rows(&subquery) => {
            Transformed::yes(Expr::ScalarSubquery(one_row(subquery)?))
        }
        other => Transformed::no(other),
    })
}

fn binary(
    operation: BinaryExpr,
    schema: &DFSchema,
    options: &BinderOptions,
) -> Planned<Transformed<Expr>> {
    let made = arithmetic(operation, schema, options).transform_data(|expr| match expr {
        Expr::BinaryExpr(operation) => zones::compared(operation, schema, options),
        other => Ok(Transformed::no(other)),
    })?;
    made.transform_data(|expr| match &expr {
        Expr::BinaryExpr(operation) => Ok(match typing::operator(operation, schema, options)? {
            Some(made) => Transformed::yes(made),
            None => Transformed::no(expr),
        }),
        _ => Ok(Transformed::no(expr)),
    })
}

fn function(
    call: ScalarFunction,
    schema: &DFSchema,
    options: &BinderOptions,
) -> Planned<Transformed<Expr>> {
    zones::call(call, schema, options)?.transform_data(|expr| match expr {
        Expr::ScalarFunction(call) => typing::call(call, schema, options),
        other => Ok(Transformed::no(other)),
    })
}

/// Differences of moments are added up as they are.
fn sums_of_durations(args: &mut [Expr]) {
    if let [arg] = args
        && let Expr::ScalarFunction(call) = arg
        && call.func.name() == interval::OF_DURATION
        && let Some(inner) = call.args.first().cloned()
    {
        *arg = inner;
    }
}

/// BETWEEN of moments; see [`zones::compared`].
fn moments_between(
    between: Between,
    schema: &DFSchema,
    options: &BinderOptions,
) -> Planned<Transformed<Expr>> {
    let of = |expr: &Expr| expr.get_type(schema).unwrap_or(DataType::Null);
    let value = of(&between.expr);
    let (from_low, from_high) = (of(&between.low), of(&between.high));
    let low = zones::beside(*between.low, &from_low, &value, options)?;
    let high = zones::beside(*between.high, &from_high, &value, options)?;
    let transformed = low.transformed || high.transformed;
    let (low, high) = (Box::new(low.data), Box::new(high.data));
    let between = Expr::Between(Between { low, high, ..between });
    Ok(if transformed { Transformed::yes(between) } else { Transformed::no(between) })
}

/// Arithmetic of a decimal and another exact number: what whole numbers count as, and the digits
/// of a quotient.
fn arithmetic(binary: BinaryExpr, schema: &DFSchema, options: &BinderOptions) -> Transformed<Expr> {
    let op = binary.op;
    let is_arithmetic = matches!(
        op,
        Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo
    );
    // A type that is not known yet is no decimal.
    let of = |expr: &Expr| expr.get_type(schema).unwrap_or(DataType::Null);
    if !is_arithmetic {
        return Transformed::no(Expr::BinaryExpr(binary));
    }
    let (left, right) = (of(&binary.left), of(&binary.right));
    let decimal = |found: &DataType| matches!(found, DataType::Decimal128(..));
    let (Some(left_exact), Some(right_exact)) = (decimal::exact(&left), decimal::exact(&right))
    else {
        return Transformed::no(Expr::BinaryExpr(binary));
    };
    if !decimal(&left) && !decimal(&right) {
        return Transformed::no(Expr::BinaryExpr(binary));
    }
    if op == Operator::Divide
        && let Some(divide) = options.registry.scalar(decimal::DIVIDE)
    {
        let args = vec![*binary.left, *binary.right];
        return Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(divide, args)));
    }
    let counted = |expr: Box<Expr>, from: &DataType, to: DataType| {
        if *from == to { expr } else { Box::new(Expr::Cast(Cast::new(expr, to))) }
    };
    Transformed::yes(Expr::BinaryExpr(BinaryExpr {
        left: counted(binary.left, &left, left_exact),
        op,
        right: counted(binary.right, &right, right_exact),
    }))
}

/// The function that sums up arguments of their types, where it is another than the one named.
fn sum_of(
    args: &[Expr],
    name: &str,
    schema: &DFSchema,
    options: &BinderOptions,
) -> Planned<Option<Arc<AggregateUDF>>> {
    let [arg] = args else { return Ok(None) };
    let special = aggregate::special(name, &arg.get_type(schema)?);
    Ok(special.and_then(|name| options.registry.aggregate(name)))
}

/// A correlated subquery that stands for one value may give more rows. DataFusion checks that of
/// others by itself.
fn may_give_rows(subquery: &Subquery) -> bool {
    if subquery.outer_ref_columns.is_empty() || subquery.subquery.schema().fields().len() != 1 {
        return false;
    }
    let mut plan = subquery.subquery.as_ref();
    loop {
        plan = match plan {
            LogicalPlan::Projection(node) => &node.input,
            LogicalPlan::SubqueryAlias(node) => &node.input,
            LogicalPlan::Aggregate(node) if !node.aggr_expr.is_empty() => return false,
            other => return other.max_rows().is_none_or(|rows| rows > 1),
        };
    }
}

/// The subquery as an aggregate, which DataFusion wants of a correlated one: its only value, or an
/// error.
fn one_row(subquery: Subquery) -> Planned<Subquery> {
    let plan = subquery.subquery.as_ref().clone();
    let (qualifier, field) = plan.schema().qualified_field(0);
    let value = Expr::Column(Column::new(qualifier.cloned(), field.name()));
    let plan = LogicalPlanBuilder::from(plan)
        .aggregate(Vec::<Expr>::new(), vec![max(value), count(lit(1))])?
        .build()?;
    let columns = plan.schema().columns().into_iter().map(Expr::Column).collect();
    // A name of its own: DataFusion adds the columns that the outer query is compared with.
    let only = assign::single_row(columns).alias(assign::SINGLE_ROW_NAME);
    let plan = LogicalPlanBuilder::from(plan).project(vec![only])?.build()?;
    Ok(subquery.with_plan(Arc::new(plan)))
}

/// Aggregates whose fraction DataFusion wants as a float literal.
fn takes_fraction(name: &str) -> bool {
    matches!(name, "approx_percentile_cont" | "quantile_cont")
}

fn float_literal(expr: &mut Expr) {
    if let Expr::Literal(value @ ScalarValue::Decimal128(Some(_), ..), _) = expr
        && let Ok(float) = value.cast_to(&DataType::Float64)
    {
        *value = float;
    }
}

/// A cast by Redshift's rules. Where Arrow's kernel has the same meaning it is left to DataFusion,
/// which can see through it; a literal is computed now.
pub(crate) fn convert(
    expr: Expr,
    to: SqlType,
    schema: &DFSchema,
    lenient: bool,
    options: &BinderOptions,
) -> Planned<Expr> {
    let from = expr.get_type(schema)?;
    let (expr, from) = zones::before_cast(expr, from, to, options);
    let (expr, from) = before_timetz(expr, from, to, schema, options);
    let zone = zones::name(options);
    if lenient {
        return Ok(cast::call(cast::Mode::Try, expr, to, "", zone));
    }
    if plain(&from, to) {
        return Ok(if from == to.arrow() && SqlType::of_arrow(&from) == to {
            // Kept so that the name of the expression stays.
            expr
        } else {
            Expr::Cast(Cast::new(Box::new(expr), to.arrow()))
        });
    }
    let call = cast::call(cast::Mode::Explicit, expr, to, "", zone);
    // A literal has no length; the call keeps it until the result columns are described.
    if SqlType::of_arrow(&to.arrow()) == to { folded(call, options) } else { Ok(call) }
}

/// A TIMETZ that is cast to TIME or text, in the form from which that can be made.
fn before_timetz(
    expr: Expr,
    from: DataType,
    to: SqlType,
    schema: &DFSchema,
    options: &BinderOptions,
) -> (Expr, DataType) {
    if to == SqlType::TimeTz
        && matches!(from, DataType::Timestamp(_, Some(_)))
        && let Some(function) = options.registry.scalar(timetz::OF_MOMENT)
    {
        let zone = lit(zones::name(options).unwrap_or("UTC"));
        let call = ScalarFunction::new_udf(function, vec![expr, zone]);
        return (Expr::ScalarFunction(call), DataType::Int64);
    }
    let (name, made) = match to {
        SqlType::Time => (timetz::TIME, DataType::Time64(TimeUnit::Microsecond)),
        SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_) => {
            (timetz::TEXT, DataType::Utf8View)
        }
        _ => return (expr, from),
    };
    match options.registry.scalar(name) {
        Some(function) if typing::is_timetz(&expr, schema) => {
            let call = ScalarFunction::new_udf(function, vec![expr]);
            (Expr::ScalarFunction(call), made)
        }
        _ => (expr, from),
    }
}

fn folded(expr: Expr, options: &BinderOptions) -> Planned<Expr> {
    let constant = match &expr {
        Expr::ScalarFunction(call) => call.args.iter().all(|arg| matches!(arg, Expr::Literal(..))),
        _ => false,
    };
    if !constant {
        return Ok(expr);
    }
    crate::bind::fold(expr, options).map_err(crate::bind::context::external)
}

/// True where Arrow's cast does what Redshift does.
fn plain(from: &DataType, to: SqlType) -> bool {
    let integer = from.is_integer();
    let float = from.is_floating();
    let decimal = matches!(from, DataType::Decimal128(..));
    if matches!(from, DataType::Null) {
        return SqlType::of_arrow(&to.arrow()) == to;
    }
    match to {
        SqlType::SmallInt | SqlType::Integer | SqlType::BigInt => {
            integer || matches!(from, DataType::Boolean)
        }
        SqlType::Real | SqlType::Double => integer || float || decimal,
        SqlType::Decimal { .. } => integer || decimal,
        SqlType::Boolean => matches!(from, DataType::Boolean),
        SqlType::Date | SqlType::Timestamp | SqlType::TimestampTz => {
            matches!(from, DataType::Date32 | DataType::Timestamp(..))
        }
        SqlType::Time => matches!(from, DataType::Time64(_) | DataType::Timestamp(_, None)),
        SqlType::Interval => matches!(from, DataType::Interval(_) | DataType::Duration(_)),
        _ => false,
    }
}

/// An assignment of a value to a column's type: like [`convert`], but a value that does not fit
/// is an error.
pub(crate) fn assign(
    expr: Expr,
    to: SqlType,
    column: &str,
    schema: &DFSchema,
    options: &BinderOptions,
) -> Result<Expr, datafusion::common::DataFusionError> {
    let from = expr.get_type(schema)?;
    if from == DataType::Null {
        return Ok(Expr::Literal(ScalarValue::try_from(&to.arrow())?, None));
    }
    let (expr, from) = zones::before_cast(expr, from, to, options);
    if from == to.arrow() && SqlType::of_arrow(&from) == to && !to.arrow().is_string() {
        return Ok(expr);
    }
    if plain(&from, to) {
        return Ok(Expr::Cast(Cast::new(Box::new(expr), to.arrow())));
    }
    folded(cast::call(cast::Mode::Assign, expr, to, column, zones::name(options)), options)
}
