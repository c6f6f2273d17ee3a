//! From DataFusion's physical expressions to those of the `vector` floor: the closed list of
//! types and functions that pipelines compute themselves.
//!
//! Text is carried as 64-bit keys, which tell equality and nothing else.

use std::sync::Arc;

use arrow_schema::{DataType, Schema, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal,
    NegativeExpr, NotExpr,
};
use datafusion::physical_plan::PhysicalExpr;
use vector::{ArithOp, CompareOp, DatePart, Expr, KeyKind, Kind, Limits, TextKeys};

/// An expression with its type.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub(super) expr: Expr,
    pub(super) data_type: DataType,
}

/// Why an expression is not on the list.
pub(super) type Outcome<T> = std::result::Result<T, String>;

/// How values of a type are held; `None` for a type that is not on the list.
pub(super) fn kind_of(data_type: &DataType) -> Option<Kind> {
    Some(match data_type {
        DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::UInt64 => Kind::Int,
        DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _) => Kind::Int,
        DataType::Time64(TimeUnit::Microsecond) | DataType::Decimal128(_, 0..) => Kind::Int,
        DataType::Utf8View | DataType::Utf8 => Kind::Int,
        DataType::Float64 => Kind::Float,
        DataType::Boolean => Kind::Bool,
        _ => return None,
    })
}

/// How values of a type are grouped by.
pub(super) fn key_kind_of(data_type: &DataType) -> Option<KeyKind> {
    Some(match data_type {
        DataType::Int64 | DataType::Timestamp(..) | DataType::Time64(_) => KeyKind::Full,
        DataType::Decimal128(19.., _) => KeyKind::Wide,
        // 2^63 and above do not fit a word with a sign.
        DataType::UInt64 | DataType::Float64 => return None,
        other => {
            kind_of(other)?;
            KeyKind::Small
        }
    })
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::Utf8View)
}

fn is_integer(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int16 | DataType::Int32 | DataType::Int64)
}

fn limits_of(data_type: &DataType) -> Option<Limits> {
    Some(match data_type {
        DataType::Int16 => Limits::SMALLINT,
        DataType::Int32 => Limits::INTEGER,
        DataType::Int64 => Limits::BIGINT,
        _ => return None,
    })
}

/// Digits of the greatest value of an integer type.
fn digits_of(data_type: &DataType) -> u8 {
    match data_type {
        DataType::Int16 => 5,
        DataType::Int32 => 10,
        _ => 19,
    }
}

/// What turns columns of one node into expressions over a pipeline's input.
pub(super) trait Columns {
    /// The expression of a column.
    fn column(&mut self, index: usize) -> Outcome<Typed>;
    /// The key of a text that a query names.
    fn text(&mut self, text: &str) -> Outcome<i64>;
}

/// Translates `expr` over the columns of `schema`.
pub(super) fn translate(
    expr: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
    columns: &mut dyn Columns,
) -> Outcome<Typed> {
    let mut translator = Translator { schema, columns };
    translator.expr(expr)
}

struct Translator<'a> {
    schema: &'a Schema,
    columns: &'a mut dyn Columns,
}

fn refused<T>(what: impl std::fmt::Display) -> Outcome<T> {
    Err(what.to_string())
}

impl Translator<'_> {
    fn expr(&mut self, expr: &Arc<dyn PhysicalExpr>) -> Outcome<Typed> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return self.columns.column(column.index());
        }
        let data_type = self.type_of(expr)?;
        if kind_of(&data_type).is_none() {
            return refused(format_args!("type {data_type} of {expr}"));
        }
        let of = |expr| Ok(Typed { expr, data_type: data_type.clone() });
        if let Some(literal) = expr.downcast_ref::<Literal>() {
            return of(self.literal(literal.value())?);
        }
        if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            return of(self.binary(binary, &data_type)?);
        }
        if let Some(cast) = expr.downcast_ref::<CastExpr>() {
            return of(self.cast(cast)?);
        }
        if let Some(case) = expr.downcast_ref::<CaseExpr>() {
            return of(self.case(case, &data_type)?);
        }
        if let Some(list) = expr.downcast_ref::<InListExpr>() {
            return of(self.in_list(list)?);
        }
        if let Some(not) = expr.downcast_ref::<NotExpr>() {
            return of(Expr::Not(Box::new(self.expr(not.arg())?.expr)));
        }
        if let Some(test) = expr.downcast_ref::<IsNullExpr>() {
            return of(Expr::IsNull(Box::new(self.expr(test.arg())?.expr)));
        }
        if let Some(test) = expr.downcast_ref::<IsNotNullExpr>() {
            let is_null = Expr::IsNull(Box::new(self.expr(test.arg())?.expr));
            return of(Expr::Not(Box::new(is_null)));
        }
        if let Some(negative) = expr.downcast_ref::<NegativeExpr>()
            && matches!(data_type, DataType::Decimal128(..))
        {
            let value = self.expr(negative.arg())?.expr;
            return of(arith(ArithOp::Sub, Expr::Int(0), value, Limits::DECIMAL));
        }
        if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
            return of(self.call(call, &data_type)?);
        }
        refused(expr)
    }

    fn type_of(&self, expr: &Arc<dyn PhysicalExpr>) -> Outcome<DataType> {
        expr.data_type(self.schema).map_err(|error| error.to_string())
    }

    fn literal(&mut self, value: &ScalarValue) -> Outcome<Expr> {
        let data_type = value.data_type();
        let Some(kind) = kind_of(&data_type) else {
            return refused(format_args!("a literal of type {data_type}"));
        };
        if value.is_null() {
            return Ok(Expr::Null(kind));
        }
        Ok(match value {
            ScalarValue::Boolean(Some(value)) => Expr::Bool(*value),
            ScalarValue::Int16(Some(value)) => Expr::Int(i128::from(*value)),
            ScalarValue::Int32(Some(value)) | ScalarValue::Date32(Some(value)) => {
                Expr::Int(i128::from(*value))
            }
            ScalarValue::Int64(Some(value))
            | ScalarValue::Time64Microsecond(Some(value))
            | ScalarValue::TimestampMicrosecond(Some(value), _) => Expr::Int(i128::from(*value)),
            ScalarValue::UInt64(Some(value)) => Expr::Int(i128::from(*value)),
            ScalarValue::Decimal128(Some(value), ..) => Expr::Int(*value),
            ScalarValue::Float64(Some(value)) => Expr::Float(*value),
            ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
                Expr::Int(i128::from(self.columns.text(text)?))
            }
            other => return refused(format_args!("literal {other}")),
        })
    }

    fn binary(&mut self, binary: &BinaryExpr, result: &DataType) -> Outcome<Expr> {
        let op = *binary.op();
        if let Operator::And | Operator::Or = op {
            let parts = vec![self.expr(binary.left())?.expr, self.expr(binary.right())?.expr];
            return Ok(if op == Operator::And { Expr::And(parts) } else { Expr::Or(parts) });
        }
        let compare = match op {
            Operator::Eq => Some(CompareOp::Eq),
            Operator::NotEq => Some(CompareOp::NotEq),
            Operator::Lt => Some(CompareOp::Lt),
            Operator::LtEq => Some(CompareOp::LtEq),
            Operator::Gt => Some(CompareOp::Gt),
            Operator::GtEq => Some(CompareOp::GtEq),
            _ => None,
        };
        if let Some(op) = compare {
            return self.comparison(op, binary);
        }
        let op = match op {
            Operator::Plus => ArithOp::Add,
            Operator::Minus => ArithOp::Sub,
            Operator::Multiply => ArithOp::Mul,
            _ => return refused(binary),
        };
        let (left, right) = (self.expr(binary.left())?, self.expr(binary.right())?);
        match (&left.data_type, &right.data_type, result) {
            (DataType::Float64, DataType::Float64, DataType::Float64) => {
                Ok(Expr::FloatArith { op, left: Box::new(left.expr), right: Box::new(right.expr) })
            }
            (
                DataType::Decimal128(_, left_scale),
                DataType::Decimal128(_, right_scale),
                DataType::Decimal128(_, scale),
            ) => {
                let (left_scale, right_scale, scale) = (*left_scale, *right_scale, *scale);
                if op == ArithOp::Mul {
                    if left_scale + right_scale != scale {
                        return refused(binary);
                    }
                    return Ok(arith(op, left.expr, right.expr, Limits::DECIMAL));
                }
                let left = scaled(left.expr, left_scale, scale, Limits::DECIMAL)?;
                let right = scaled(right.expr, right_scale, scale, Limits::DECIMAL)?;
                Ok(arith(op, left, right, Limits::DECIMAL))
            }
            // DataFusion's own arithmetic of integers wraps around.
            _ => refused(binary),
        }
    }

    fn comparison(&mut self, op: CompareOp, binary: &BinaryExpr) -> Outcome<Expr> {
        let (left, right) = (self.expr(binary.left())?, self.expr(binary.right())?);
        let alike = match (&left.data_type, &right.data_type) {
            (a, b) if is_text(a) && is_text(b) => {
                matches!(op, CompareOp::Eq | CompareOp::NotEq)
            }
            (DataType::Boolean, DataType::Boolean) => true,
            (DataType::Decimal128(_, a), DataType::Decimal128(_, b)) => a == b,
            (DataType::Timestamp(a, _), DataType::Timestamp(b, _)) => a == b,
            (a, b) => a == b,
        };
        if !alike {
            return refused(binary);
        }
        Ok(Expr::Compare { op, left: Box::new(left.expr), right: Box::new(right.expr) })
    }

    fn cast(&mut self, cast: &CastExpr) -> Outcome<Expr> {
        let value = self.expr(cast.expr())?;
        if cast.cast_options().safe {
            return refused(cast);
        }
        converted(value, cast.cast_type()).or_else(|_| refused(cast))
    }

    fn case(&mut self, case: &CaseExpr, result: &DataType) -> Outcome<Expr> {
        let subject = match case.expr() {
            Some(subject) => Some(self.expr(subject)?),
            None => None,
        };
        let mut branches = Vec::with_capacity(case.when_then_expr().len());
        for (when, then) in case.when_then_expr() {
            let when = self.expr(when)?;
            let condition = match &subject {
                None => when.expr,
                Some(subject) => {
                    let same = subject.data_type == when.data_type
                        || is_text(&subject.data_type) && is_text(&when.data_type);
                    if !same || subject.data_type == DataType::Float64 {
                        return refused(case);
                    }
                    let (left, right) = (Box::new(subject.expr.clone()), Box::new(when.expr));
                    Expr::Compare { op: CompareOp::Eq, left, right }
                }
            };
            branches.push((condition, self.branch(then, result)?));
        }
        let otherwise = match case.else_expr() {
            Some(otherwise) => self.branch(otherwise, result)?,
            None => match kind_of(result) {
                Some(kind) => Expr::Null(kind),
                None => return refused(case),
            },
        };
        Ok(Expr::Case { branches, otherwise: Box::new(otherwise) })
    }

    /// A branch of a CASE, whose branches are of one type, as a rule.
    fn branch(&mut self, branch: &Arc<dyn PhysicalExpr>, result: &DataType) -> Outcome<Expr> {
        let branch_value = self.expr(branch)?;
        let alike = branch_value.data_type == *result
            || is_text(&branch_value.data_type) && is_text(result)
            || matches!(
                (&branch_value.data_type, result),
                (DataType::Decimal128(_, a), DataType::Decimal128(_, b)) if a == b
            );
        if alike { Ok(branch_value.expr) } else { refused(branch) }
    }

    fn in_list(&mut self, list: &InListExpr) -> Outcome<Expr> {
        let value = self.expr(list.expr())?;
        if kind_of(&value.data_type) != Some(Kind::Int) {
            return refused(list);
        }
        let (mut values, mut has_null) = (Vec::with_capacity(list.len()), false);
        for item in list.list() {
            let item = self.expr(item)?;
            let same = item.data_type == value.data_type
                || is_text(&item.data_type) && is_text(&value.data_type);
            match item.expr {
                Expr::Int(item) if same => match i64::try_from(item) {
                    Ok(item) => values.push(item),
                    Err(_) => return refused(list),
                },
                Expr::Null(_) => has_null = true,
                _ => return refused(list),
            }
        }
        let among = Expr::Among { value: Box::new(value.expr), list: values, has_null };
        Ok(if list.negated() { Expr::Not(Box::new(among)) } else { among })
    }

    fn call(&mut self, call: &ScalarFunctionExpr, result: &DataType) -> Outcome<Expr> {
        let op = match call.name() {
            "int_plus" => ArithOp::Add,
            "int_minus" => ArithOp::Sub,
            "int_times" => ArithOp::Mul,
            "date_part" => return self.date_part(call),
            _ => return refused(call),
        };
        let (Some(limits), [left, right]) = (limits_of(result), call.args()) else {
            return refused(call);
        };
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        if !is_integer(&left.data_type) || !is_integer(&right.data_type) {
            return refused(call);
        }
        Ok(arith(op, left.expr, right.expr, limits))
    }

    fn date_part(&mut self, call: &ScalarFunctionExpr) -> Outcome<Expr> {
        let [part, value] = call.args() else {
            return refused(call);
        };
        let value = self.expr(value)?;
        let name = part.downcast_ref::<Literal>().and_then(|part| part.value().try_as_str());
        let part = match name.flatten().map(str::to_ascii_lowercase).as_deref() {
            Some("year") => DatePart::Year,
            Some("quarter") => DatePart::Quarter,
            Some("month") => DatePart::Month,
            Some("day") => DatePart::Day,
            _ => return refused(call),
        };
        if value.data_type != DataType::Date32 || *call.return_type() != DataType::Int32 {
            return refused(call);
        }
        Ok(Expr::Part { part, value: Box::new(value.expr) })
    }
}

/// Arithmetic of integers.
fn arith(op: ArithOp, left: Expr, right: Expr, limits: Limits) -> Expr {
    Expr::Arith { op, left: Box::new(left), right: Box::new(right), limits }
}

/// A decimal with more digits behind its point.
fn scaled(value: Expr, from: i8, to: i8, limits: Limits) -> Outcome<Expr> {
    match u32::try_from(i16::from(to) - i16::from(from)) {
        Ok(0) => Ok(value),
        Ok(digits @ 1..=38) => {
            let factor = Expr::Int(10_i128.pow(digits));
            Ok(arith(ArithOp::Mul, value, factor, limits))
        }
        _ => refused("a decimal loses digits"),
    }
}

/// A value cast to another type, with the errors that Arrow's cast has.
fn converted(value: Typed, to: &DataType) -> Outcome<Expr> {
    let Typed { expr, data_type: from } = value;
    let checked = |expr, limits| arith(ArithOp::Add, expr, Expr::Int(0), limits);
    Ok(match (&from, to) {
        (from, to) if from == to || is_text(from) && is_text(to) => expr,
        (DataType::Int16, DataType::Int32 | DataType::Int64)
        | (DataType::Int32, DataType::Int64) => expr,
        (DataType::Int64, DataType::Int32 | DataType::Int16)
        | (DataType::Int32, DataType::Int16) => match limits_of(to) {
            Some(limits) => checked(expr, limits),
            None => return refused(to),
        },
        (from, DataType::Decimal128(precision, scale)) if is_integer(from) && *scale >= 0 => {
            let value = scaled(expr, 0, *scale, Limits::digits(*precision))?;
            match i16::from(digits_of(from)) + i16::from(*scale) <= i16::from(*precision) {
                true => value,
                false => checked(value, Limits::digits(*precision)),
            }
        }
        (DataType::Decimal128(p, s), DataType::Decimal128(precision, scale)) if scale >= s => {
            let value = scaled(expr, *s, *scale, Limits::digits(*precision))?;
            match i16::from(*precision) - i16::from(*p) >= i16::from(*scale) - i16::from(*s) {
                true => value,
                false => checked(value, Limits::digits(*precision)),
            }
        }
        (from, DataType::Float64) if is_integer(from) => {
            Expr::ToFloat { value: Box::new(expr), divisor: 1.0 }
        }
        (DataType::Decimal128(_, scale), DataType::Float64) => {
            let divisor = 10_f64.powi(i32::from(*scale));
            Expr::ToFloat { value: Box::new(expr), divisor }
        }
        (DataType::Date32, DataType::Timestamp(TimeUnit::Microsecond, None)) => {
            const DAY_US: i128 = 86_400_000_000;
            arith(ArithOp::Mul, expr, Expr::Int(DAY_US), Limits::BIGINT)
        }
        _ => return refused(to),
    })
}

/// Interns the texts that a pipeline's expressions name, in order: the numbers of their keys are
/// then the same in every partition.
pub(super) fn text_keys(texts: &[String]) -> Result<TextKeys> {
    let mut keys = TextKeys::default();
    for text in texts {
        keys.key(text.as_bytes()).map_err(crate::error::into_datafusion)?;
    }
    Ok(keys)
}
