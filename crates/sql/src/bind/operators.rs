//! Operators on dates and whole numbers with Redshift's meaning, planned before DataFusion looks
//! for its own.

use std::sync::Arc;

use arrow_schema::{DataType, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF, cast, lit};
use sqlparser::ast::BinaryOperator;

use super::typing;
use crate::functions::arithmetic::is_whole;
use crate::functions::interval::is_interval;

/// DATE ± whole number is a DATE; DATE + TIME is a TIMESTAMP; DATE − DATE is a number of days; `^`
/// is a power.
#[derive(Debug)]
pub(crate) struct DateOperators {
    pub(crate) plus_days: Arc<ScalarUDF>,
    pub(crate) plus_time: Arc<ScalarUDF>,
    pub(crate) datediff: Arc<ScalarUDF>,
    pub(crate) power: Option<Arc<ScalarUDF>>,
    pub(crate) intervals: IntervalOperators,
}

/// Products and quotients of intervals, for whose types DataFusion has no name, and what is added
/// to times of day and dates.
#[derive(Debug)]
pub(crate) struct IntervalOperators {
    pub(crate) times: Arc<ScalarUDF>,
    pub(crate) divide: Arc<ScalarUDF>,
    pub(crate) of_duration: Arc<ScalarUDF>,
    pub(crate) plus_timetz: Arc<ScalarUDF>,
}

impl IntervalOperators {
    fn plan(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> datafusion::common::Result<PlannerResult<RawBinaryExpr>> {
        let of = |expr: &Expr| expr.get_type(schema).unwrap_or(DataType::Null);
        let (left, right) = (of(&expr.left), of(&expr.right));
        let duration = |found: &DataType| matches!(found, DataType::Duration(_));
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        let RawBinaryExpr { op, left: first, right: second } = expr;
        Ok(match op {
            BinaryOperator::Multiply
                if is_interval(&left) && right.is_numeric()
                    || left.is_numeric() && is_interval(&right) =>
            {
                call(&self.times, vec![first, second])
            }
            BinaryOperator::Divide if is_interval(&left) && right.is_numeric() => {
                call(&self.divide, vec![first, second])
            }
            BinaryOperator::Plus
                if left == DataType::Date32 && typing::is_timetz(&second, schema) =>
            {
                call(&self.plus_timetz, vec![first, second])
            }
            BinaryOperator::Plus | BinaryOperator::Minus
                if left == DataType::Date32 && duration(&right) =>
            {
                let left = cast(first, timestamp);
                PlannerResult::Original(RawBinaryExpr { op, left, right: second })
            }
            BinaryOperator::Plus | BinaryOperator::Minus
                if matches!(left, DataType::Time64(_)) && duration(&right) =>
            {
                let args = vec![second];
                let right = ScalarFunction::new_udf(Arc::clone(&self.of_duration), args);
                let right = Expr::ScalarFunction(right);
                PlannerResult::Original(RawBinaryExpr { op, left: first, right })
            }
            op => PlannerResult::Original(RawBinaryExpr { op, left: first, right: second }),
        })
    }
}

impl ExprPlanner for DateOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> datafusion::common::Result<PlannerResult<RawBinaryExpr>> {
        let plus = matches!(expr.op, BinaryOperator::Plus);
        let minus = matches!(expr.op, BinaryOperator::Minus);
        if matches!(expr.op, BinaryOperator::PGExp | BinaryOperator::BitwiseXor)
            && let Some(power) = &self.power
        {
            return Ok(call(power, vec![expr.left, expr.right]));
        }
        let expr = match self.intervals.plan(expr, schema)? {
            PlannerResult::Original(expr) => expr,
            planned => return Ok(planned),
        };
        if !plus && !minus {
            return Ok(PlannerResult::Original(expr));
        }
        // A type that is not known yet is no date.
        let of = |expr: &Expr| expr.get_type(schema).unwrap_or(DataType::Null);
        let (left, right) = (of(&expr.left), of(&expr.right));
        let date = |t: &DataType| *t == DataType::Date32;
        if date(&left) && date(&right) && minus {
            let days = ScalarFunction::new_udf(
                Arc::clone(&self.datediff),
                vec![lit("day"), expr.right, expr.left],
            );
            let days = cast(Expr::ScalarFunction(days), DataType::Int32);
            return Ok(PlannerResult::Planned(days));
        }
        if date(&left) && right.is_integer() {
            let days = if minus { Expr::Negative(Box::new(expr.right)) } else { expr.right };
            return Ok(call(&self.plus_days, vec![expr.left, days]));
        }
        if plus && left.is_integer() && date(&right) {
            return Ok(call(&self.plus_days, vec![expr.right, expr.left]));
        }
        let time = |t: &DataType| matches!(t, DataType::Time64(_));
        if plus && date(&left) && time(&right) {
            return Ok(call(&self.plus_time, vec![expr.left, expr.right]));
        }
        if plus && time(&left) && date(&right) {
            return Ok(call(&self.plus_time, vec![expr.right, expr.left]));
        }
        Ok(PlannerResult::Original(expr))
    }
}

/// `+`, `-` and `*` of two whole numbers, which must not wrap around, and `#`, of which DataFusion
/// takes `x # x` for zero also where x is NULL.
#[derive(Debug)]
pub(crate) struct WholeOperators {
    pub(crate) plus: Arc<ScalarUDF>,
    pub(crate) minus: Arc<ScalarUDF>,
    pub(crate) times: Arc<ScalarUDF>,
    pub(crate) xor: Arc<ScalarUDF>,
}

impl ExprPlanner for WholeOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> datafusion::common::Result<PlannerResult<RawBinaryExpr>> {
        let function = match expr.op {
            BinaryOperator::Plus => &self.plus,
            BinaryOperator::Minus => &self.minus,
            BinaryOperator::Multiply => &self.times,
            BinaryOperator::PGBitwiseXor => &self.xor,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let whole = |expr: &Expr| expr.get_type(schema).is_ok_and(|found| is_whole(&found));
        if whole(&expr.left) && whole(&expr.right) {
            return Ok(call(function, vec![expr.left, expr.right]));
        }
        Ok(PlannerResult::Original(expr))
    }
}

fn call(function: &Arc<ScalarUDF>, args: Vec<Expr>) -> PlannerResult<RawBinaryExpr> {
    PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction::new_udf(
        Arc::clone(function),
        args,
    )))
}
