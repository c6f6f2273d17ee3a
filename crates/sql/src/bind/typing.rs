//! What operators and a few functions do by the types of their operands, where DataFusion would do
//! another thing: intervals, floating-point numbers, texts beside decimals.

use std::sync::Arc;

use arrow_schema::{DataType, TimeUnit};
use base::{Result, SqlType};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{Between, BinaryExpr, Cast, InList, ScalarFunction};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, lit};

use crate::bind::{BinderOptions, external};
use crate::functions::interval::{self, is_interval};
use crate::functions::{arithmetic, cast, mathematics, number, timetz};

type Planned<T> = datafusion::common::Result<T>;

const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float32 | DataType::Float64)
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

fn called(name: &str, args: Vec<Expr>, options: &BinderOptions) -> Option<Expr> {
    let function = options.registry.scalar(name)?;
    Some(Expr::ScalarFunction(ScalarFunction::new_udf(function, args)))
}

fn cast_to(expr: Expr, to: DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), to))
}

/// True for a TIMETZ, which is held as a whole number.
pub(crate) fn is_timetz(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::Alias(alias) => return is_timetz(&alias.expr, schema),
        Expr::Case(case) => {
            let mut given = case.when_then_expr.iter().map(|(_, then)| then);
            return given.any(|one| is_timetz(one, schema))
                || case.else_expr.as_ref().is_some_and(|one| is_timetz(one, schema));
        }
        Expr::ScalarFunction(call) => match (cast::type_of_call(call), call.func.name()) {
            (Some(found), _) => return found == SqlType::TimeTz,
            (None, timetz::OF_MOMENT) => return true,
            (None, "coalesce" | "nullif" | "greatest" | "least") => {
                return call.args.iter().any(|one| is_timetz(one, schema));
            }
            _ => {}
        },
        _ => {}
    }
    expr.get_type(schema).is_ok_and(|found| found == DataType::Int64)
        && expr
            .to_field(schema)
            .is_ok_and(|(_, field)| SqlType::of_field(&field) == SqlType::TimeTz)
}

/// An operator on values of these types; `None` leaves it to DataFusion.
pub(crate) fn operator(
    binary: &BinaryExpr,
    schema: &DFSchema,
    options: &BinderOptions,
) -> Planned<Option<Expr>> {
    let of = |expr: &Expr| expr.get_type(schema).unwrap_or(DataType::Null);
    let (left, right) = (of(&binary.left), of(&binary.right));
    let BinaryExpr { left: first, op, right: second } = binary;
    let both = || vec![first.as_ref().clone(), second.as_ref().clone()];
    if op.supports_propagation()
        || matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom)
    {
        return compared(binary, &left, &right, options);
    }
    Ok(match op {
        Operator::Plus if left == DataType::Date32 && is_timetz(second, schema) => {
            called(timetz::DATE_PLUS, both(), options)
        }
        Operator::Plus | Operator::Minus if is_interval(&right) && left == DataType::Date32 => {
            let left = Box::new(cast_to(first.as_ref().clone(), TIMESTAMP));
            Some(Expr::BinaryExpr(BinaryExpr { left, op: *op, right: second.clone() }))
        }
        Operator::Plus if is_interval(&left) && right == DataType::Date32 => {
            let right = Box::new(cast_to(second.as_ref().clone(), TIMESTAMP));
            Some(Expr::BinaryExpr(BinaryExpr { left: first.clone(), op: *op, right }))
        }
        Operator::Minus if is_moment(&left) && is_moment(&right) => {
            called(interval::OF_DURATION, vec![Expr::BinaryExpr(binary.clone())], options)
        }
        Operator::Multiply
            if is_interval(&left) && is_number(&right)
                || is_number(&left) && is_interval(&right) =>
        {
            called(interval::TIMES, both(), options)
        }
        Operator::Divide if is_interval(&left) && is_number(&right) => {
            called(interval::DIVIDE, both(), options)
        }
        Operator::Divide
            if is_float(&left) && is_number(&right) || is_number(&left) && is_float(&right) =>
        {
            called(arithmetic::FLOAT_DIVIDE, both(), options)
        }
        Operator::Plus | Operator::Minus | Operator::Multiply => widened(binary, &left, &right),
        Operator::StringConcat => Some(concatenated(binary, &left, &right, schema, options)?),
        _ => None,
    })
}

fn is_moment(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Date32)
}

/// REAL with a number of another type is DOUBLE PRECISION.
fn widened(binary: &BinaryExpr, left: &DataType, right: &DataType) -> Option<Expr> {
    let real = |found: &DataType| *found == DataType::Float32;
    let other = |found: &DataType| is_number(found) && !real(found);
    if !(real(left) && other(right) || other(left) && real(right)) {
        return None;
    }
    let wide = |expr: &Expr| Box::new(cast_to(expr.clone(), DataType::Float64));
    let (left, right) = (wide(&binary.left), wide(&binary.right));
    Some(Expr::BinaryExpr(BinaryExpr { left, op: binary.op, right }))
}

/// What is no text becomes it as by a cast.
fn concatenated(
    binary: &BinaryExpr,
    left: &DataType,
    right: &DataType,
    schema: &DFSchema,
    options: &BinderOptions,
) -> Planned<Expr> {
    let as_text = |expr: &Expr, from: &DataType| -> Planned<Box<Expr>> {
        let kept = from.is_string() || from.is_binary() || from.is_null() || from.is_nested();
        Ok(Box::new(match kept {
            true => expr.clone(),
            false => {
                super::semantics::convert(expr.clone(), SqlType::Text, schema, false, options)?
            }
        }))
    };
    let (left, right) = (as_text(&binary.left, left)?, as_text(&binary.right, right)?);
    Ok(Expr::BinaryExpr(BinaryExpr { left, op: binary.op, right }))
}

/// Intervals are compared by their length, and a literal beside a decimal is a decimal with all
/// of its digits.
fn compared(
    binary: &BinaryExpr,
    left: &DataType,
    right: &DataType,
    options: &BinderOptions,
) -> Planned<Option<Expr>> {
    let BinaryExpr { left: first, op, right: second } = binary;
    let made = |left: Expr, right: Expr| {
        let (left, right) = (Box::new(left), Box::new(right));
        Ok(Some(Expr::BinaryExpr(BinaryExpr { left, op: *op, right })))
    };
    if is_interval(left) || is_interval(right) {
        let length = |expr: &Expr, found: &DataType| -> Planned<Option<Expr>> {
            let value = match found {
                found if is_interval(found) => expr.clone(),
                found if found.is_string() => {
                    cast::call(cast::Mode::Explicit, expr.clone(), SqlType::Interval, "", None)
                }
                _ => return Ok(None),
            };
            Ok(called(interval::ORDER, vec![value], options))
        };
        return match (length(first, left)?, length(second, right)?) {
            (Some(left), Some(right)) => made(left, right),
            _ => Ok(None),
        };
    }
    let decimal = |found: &DataType| matches!(found, DataType::Decimal128(..));
    if decimal(left) && is_float(right) || is_float(left) && decimal(right) {
        let whole = |expr: &Expr, found| {
            canonical(expr, found, options).unwrap_or_else(|| as_double(expr, found))
        };
        return made(whole(first, left), whole(second, right));
    }
    if is_float(left) && is_number(right) || is_number(left) && is_float(right) {
        let (a, b) = (canonical(first, left, options), canonical(second, right, options));
        if a.is_none() && b.is_none() {
            return Ok(None);
        }
        let plain = |expr: &Expr| expr.clone();
        return made(a.unwrap_or_else(|| plain(first)), b.unwrap_or_else(|| plain(second)));
    }
    if decimal(left)
        && let Some(exact) = decimal_literal(second)?
    {
        return made(first.as_ref().clone(), exact);
    }
    if decimal(right)
        && let Some(exact) = decimal_literal(first)?
    {
        return made(exact, second.as_ref().clone());
    }
    Ok(None)
}

/// A decimal or a float as DOUBLE PRECISION; a literal now, so that it can be compared with what
/// is stored.
fn as_double(expr: &Expr, found: &DataType) -> Expr {
    if let Expr::Literal(value, metadata) = expr
        && let Ok(double) = value.cast_to(&DataType::Float64)
    {
        return Expr::Literal(double, metadata.clone());
    }
    match found {
        DataType::Float64 => expr.clone(),
        _ => cast_to(expr.clone(), DataType::Float64),
    }
}

/// True for what is neither stored nor written: it may be the negative zero or a negative NaN,
/// which Arrow tells from others.
fn is_computed(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(cast) => is_computed(&cast.expr),
        Expr::Alias(alias) => is_computed(&alias.expr),
        Expr::Column(_) | Expr::Literal(..) | Expr::OuterReferenceColumn(..) => false,
        _ => true,
    }
}

/// A computed floating-point number in the form in which equal ones are one.
fn canonical(expr: &Expr, found: &DataType, options: &BinderOptions) -> Option<Expr> {
    match is_float(found) && is_computed(expr) {
        true => called(mathematics::CANONICAL, vec![expr.clone()], options),
        false => None,
    }
}

/// The three values of BETWEEN, of which computed floating-point numbers are made canonical.
pub(crate) fn between(mut between: Between, schema: &DFSchema, options: &BinderOptions) -> Between {
    for value in [&mut between.expr, &mut between.low, &mut between.high] {
        let found = value.get_type(schema).unwrap_or(DataType::Null);
        if let Some(made) = canonical(value, &found, options) {
            **value = made;
        }
    }
    between
}

/// `x IN (…)` of decimals with texts, and of computed floating-point numbers.
pub(crate) fn in_list(
    mut list: InList,
    schema: &DFSchema,
    options: &BinderOptions,
) -> Planned<Transformed<Expr>> {
    let of = |expr: &Expr| expr.get_type(schema).unwrap_or(DataType::Null);
    let found = of(&list.expr);
    let is_decimal = matches!(found, DataType::Decimal128(..));
    if !is_decimal && !is_float(&found) {
        return Ok(apart(list));
    }
    for one in &mut list.list {
        let made = match is_decimal {
            true => decimal_literal(one)?,
            false => canonical(one, &of(one), options),
        };
        if let Some(made) = made {
            *one = made;
        }
    }
    if let Some(made) = canonical(&list.expr, &found, options) {
        *list.expr = made;
    }
    Ok(Transformed::yes(apart(list).data))
}

/// `x IN (…)` with members that are computed from columns as comparisons: DataFusion 55.2 takes a
/// list for constant whose members are scalars for a batch without rows, which CASE gives.
fn apart(list: InList) -> Transformed<Expr> {
    let is_computed = |one: &Expr| {
        !matches!(one, Expr::Column(_) | Expr::Literal(..))
            && (one.any_column_refs() || one.contains_outer())
    };
    if list.expr.is_volatile() || !list.list.iter().any(is_computed) {
        return Transformed::no(Expr::InList(list));
    }
    let (computed, plain): (Vec<Expr>, Vec<Expr>) = list.list.into_iter().partition(is_computed);
    let x = *list.expr;
    let plain = (!plain.is_empty()).then(|| x.clone().in_list(plain, false));
    let members = plain.into_iter().chain(computed.into_iter().map(|one| x.clone().eq(one)));
    let whole = members.reduce(Expr::or).unwrap_or_else(|| lit(false));
    Transformed::yes(if list.negated { Expr::Not(Box::new(whole)) } else { whole })
}

/// A text literal as the decimal that it spells.
fn decimal_literal(expr: &Expr) -> Planned<Option<Expr>> {
    let Expr::Literal(value, metadata) = expr else { return Ok(None) };
    let Some(Some(text)) = value.try_as_str() else { return Ok(None) };
    let exact: Result<ScalarValue> = number::exact_decimal(text);
    Ok(Some(Expr::Literal(exact.map_err(external)?, metadata.clone())))
}

/// `-x`: of whole numbers with the check for overflow, of intervals each part.
pub(crate) fn negated(
    inner: Expr,
    schema: &DFSchema,
    options: &BinderOptions,
) -> Transformed<Expr> {
    let zero = |value: ScalarValue| vec![Expr::Literal(value, None), inner.clone()];
    let made = match inner.get_type(schema) {
        _ if matches!(inner, Expr::Literal(..)) => None,
        Ok(DataType::Int16) => {
            called(arithmetic::MINUS, zero(ScalarValue::Int16(Some(0))), options)
        }
        Ok(DataType::Int32) => {
            called(arithmetic::MINUS, zero(ScalarValue::Int32(Some(0))), options)
        }
        Ok(DataType::Int64) => {
            called(arithmetic::MINUS, zero(ScalarValue::Int64(Some(0))), options)
        }
        Ok(found) if is_interval(&found) => {
            called(interval::TIMES, vec![inner.clone(), lit(-1.0)], options)
        }
        _ => None,
    };
    match made {
        Some(made) => Transformed::yes(made),
        None => Transformed::no(Expr::Negative(Box::new(inner))),
    }
}

/// A call whose meaning hangs on the types of its arguments.
pub(crate) fn call(
    call: ScalarFunction,
    schema: &DFSchema,
    options: &BinderOptions,
) -> Planned<Transformed<Expr>> {
    let of = |expr: &Expr| expr.get_type(schema).unwrap_or(DataType::Null);
    match (call.func.name(), &call.args[..]) {
        // NULLIF has the type of its first argument.
        ("nullif", [first, second]) => {
            // Of other expressions the type is not final yet.
            let is_final = match first {
                Expr::Column(_) | Expr::Cast(_) => true,
                Expr::ScalarFunction(call) => cast::type_of_call(call).is_some(),
                _ => false,
            };
            let (first, second) = (of(first), of(second));
            let plain = !is_final || first == second || first.is_null() || first.is_string();
            let call = Expr::ScalarFunction(call);
            Ok(if plain { Transformed::no(call) } else { Transformed::yes(cast_to(call, first)) })
        }
        // To the nearest even number, as the machine rounds.
        ("round", [only]) if is_float(&of(only)) => {
            match called(mathematics::ROUND_EVEN, vec![only.clone()], options) {
                Some(made) => Ok(Transformed::yes(made)),
                None => Ok(Transformed::no(Expr::ScalarFunction(call))),
            }
        }
        ("date_part", [part, moment]) if is_timetz(moment, schema) => {
            let Some(time) = called(timetz::TIME, vec![moment.clone()], options) else {
                return Ok(Transformed::no(Expr::ScalarFunction(call)));
            };
            let args = vec![part.clone(), time];
            let func = Arc::clone(&call.func);
            Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(func, args))))
        }
        _ => Ok(Transformed::no(Expr::ScalarFunction(call))),
    }
}
