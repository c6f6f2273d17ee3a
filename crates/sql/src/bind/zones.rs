//! The session's time zone put into a planned query: what a TIMESTAMPTZ is divided into, compared
//! with and cast to is in that zone. Moments are stored in UTC, and where the zone is UTC nothing
//! changes.

use std::sync::Arc;

use arrow_schema::{DataType, TimeUnit};
use base::SqlType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{BinaryExpr, Cast, ScalarFunction};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, ScalarUDF, lit};

use crate::bind::BinderOptions;
use crate::functions::{cast, date};

type Planned<T> = datafusion::common::Result<T>;

const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// The zone's name, unless it is UTC.
pub(crate) fn name(options: &BinderOptions) -> Option<&'static str> {
    let zone = options.moment.time_zone;
    (zone != chrono_tz::Tz::UTC).then(|| zone.name())
}

fn is_zoned(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, Some(_)))
}

fn is_local(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, None) | DataType::Date32)
}

/// The session's zone and the function that moves values into it and back.
struct Mover {
    zone: &'static str,
    timezone: Arc<ScalarUDF>,
}

impl Mover {
    fn of(options: &BinderOptions) -> Option<Self> {
        let zone = name(options)?;
        options.registry.scalar("timezone").map(|timezone| Self { zone, timezone })
    }

    /// A TIMESTAMPTZ as the zone's TIMESTAMP, or the other way round.
    fn moved(&self, expr: Expr) -> Expr {
        let args = vec![lit(self.zone), expr];
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&self.timezone), args))
    }

    /// A local DATE or TIMESTAMP as a TIMESTAMPTZ.
    fn zoned(&self, expr: Expr, from: &DataType) -> Expr {
        match *from == TIMESTAMP {
            true => self.moved(expr),
            false => self.moved(Expr::Cast(Cast::new(Box::new(expr), TIMESTAMP))),
        }
    }
}

/// What is cast to `to` instead of a value of type `from`, with its type.
pub(crate) fn before_cast(
    expr: Expr,
    from: DataType,
    to: SqlType,
    options: &BinderOptions,
) -> (Expr, DataType) {
    let Some(mover) = Mover::of(options) else { return (expr, from) };
    match to {
        SqlType::Timestamp | SqlType::Date | SqlType::Time if is_zoned(&from) => {
            (mover.moved(expr), TIMESTAMP)
        }
        SqlType::TimestampTz if is_local(&from) => {
            (mover.zoned(expr, &from), SqlType::TimestampTz.arrow())
        }
        _ => (expr, from),
    }
}

/// A comparison of moments, or a difference: a TIMESTAMP beside a TIMESTAMPTZ is in the session's
/// zone, and a literal beside either is read as a moment.
pub(crate) fn compared(
    binary: BinaryExpr,
    schema: &DFSchema,
    options: &BinderOptions,
) -> Planned<Transformed<Expr>> {
    let applies = matches!(
        binary.op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
            | Operator::Minus
    );
    if !applies {
        return Ok(Transformed::no(Expr::BinaryExpr(binary)));
    }
    let of = |expr: &Expr| expr.get_type(schema).unwrap_or(DataType::Null);
    let (left, right) = (of(&binary.left), of(&binary.right));
    if !is_timestamp(&left) && !is_timestamp(&right) {
        return Ok(Transformed::no(Expr::BinaryExpr(binary)));
    }
    let BinaryExpr { left: first, op, right: second } = binary;
    let is_text = |found: &DataType| found.is_string();
    if op == Operator::Minus && (is_text(&left) || is_text(&right)) {
        let binary = BinaryExpr { left: first, op, right: second };
        return Ok(Transformed::no(Expr::BinaryExpr(binary)));
    }
    let first = beside(*first, &left, &right, options)?;
    let second = beside(*second, &right, &left, options)?;
    let transformed = first.transformed || second.transformed;
    let (left, right) = (Box::new(first.data), Box::new(second.data));
    let binary = Expr::BinaryExpr(BinaryExpr { left, op, right });
    Ok(if transformed { Transformed::yes(binary) } else { Transformed::no(binary) })
}

fn is_timestamp(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..))
}

/// A value of type `from` where it meets one of type `other`.
pub(crate) fn beside(
    expr: Expr,
    from: &DataType,
    other: &DataType,
    options: &BinderOptions,
) -> Planned<Transformed<Expr>> {
    if is_zoned(other)
        && is_local(from)
        && let Some(mover) = Mover::of(options)
    {
        return Ok(Transformed::yes(mover.zoned(expr, from)));
    }
    let is_text =
        matches!(expr, Expr::Literal(ref value, _) if value.try_as_str().flatten().is_some());
    if !is_text || !is_timestamp(other) {
        return Ok(Transformed::no(expr));
    }
    let to = if is_zoned(other) { SqlType::TimestampTz } else { SqlType::Timestamp };
    let call = cast::call(cast::Mode::Explicit, expr, to, "", name(options));
    let value = crate::bind::fold(call, options).map_err(crate::bind::context::external)?;
    Ok(Transformed::yes(value))
}

/// A call of a function that divides moments into parts.
pub(crate) fn call(
    call: ScalarFunction,
    schema: &DFSchema,
    options: &BinderOptions,
) -> Planned<Transformed<Expr>> {
    let zoned = |arg: &Expr| arg.get_type(schema).is_ok_and(|found| is_zoned(&found));
    let unchanged = |call| Ok(Transformed::no(Expr::ScalarFunction(call)));
    if !call.args.iter().any(zoned) {
        return unchanged(call);
    }
    let Some(mover) = Mover::of(options) else { return unchanged(call) };
    let whole_days = |call: &ScalarFunction| date::counts_days(part(call).unwrap_or_default());
    match call.func.name() {
        "to_char" if call.args.len() == 2 => {
            let ScalarFunction { func, mut args } = call;
            args.push(lit(mover.zone));
            Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(func, args))))
        }
        "date_part" => match part(&call).unwrap_or_default() {
            "epoch" => unchanged(call),
            name if name.starts_with("timezone") => Ok(Transformed::yes(offset(call, &mover))),
            _ => Ok(Transformed::yes(moved(call, zoned, &mover))),
        },
        "date_trunc" => Ok(Transformed::yes(mover.moved(moved(call, zoned, &mover)))),
        "dateadd" if whole_days(&call) => {
            Ok(Transformed::yes(mover.moved(moved(call, zoned, &mover))))
        }
        "datediff" if whole_days(&call) || !call.args[1..].iter().all(zoned) => {
            Ok(Transformed::yes(moved(call, zoned, &mover)))
        }
        "last_day"
        | "next_day"
        | "add_months"
        | "months_between"
        | "trunc"
        | "date_cmp_timestamptz"
        | "timestamp_cmp_timestamptz"
        | "timestamptz_cmp_date"
        | "timestamptz_cmp_timestamp" => Ok(Transformed::yes(moved(call, zoned, &mover))),
        _ => unchanged(call),
    }
}

/// The part that a call names first.
fn part(call: &ScalarFunction) -> Option<&str> {
    match call.args.first() {
        Some(Expr::Literal(value, _)) => value.try_as_str().flatten(),
        _ => None,
    }
}

/// The call over local moments.
fn moved(call: ScalarFunction, zoned: impl Fn(&Expr) -> bool, mover: &Mover) -> Expr {
    let args = call.args.into_iter();
    let args = args.map(|arg| if zoned(&arg) { mover.moved(arg) } else { arg }).collect();
    Expr::ScalarFunction(ScalarFunction::new_udf(call.func, args))
}

/// `date_part('timezone', moment)`: the zone's offset in seconds; its hours; the minutes beside
/// them.
fn offset(call: ScalarFunction, mover: &Mover) -> Expr {
    let unit = part(&call).unwrap_or_default().to_owned();
    let ScalarFunction { func, args } = call;
    let moment = args.into_iter().nth(1).unwrap_or(Expr::Literal(ScalarValue::Null, None));
    let epoch = |moment| {
        let args = vec![lit("epoch"), moment];
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&func), args))
    };
    let seconds = epoch(mover.moved(moment.clone())) - epoch(moment);
    let rest = seconds.clone() % lit(3_600.0);
    match unit.as_str() {
        "timezone_hour" => (seconds - rest) / lit(3_600.0),
        "timezone_minute" => rest / lit(60.0),
        _ => seconds,
    }
}
