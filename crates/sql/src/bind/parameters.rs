//! Parameters of prepared statements: their types where the client names none, and their values.

use std::collections::HashMap;

use arrow_schema::FieldRef;
use base::client::Value;
use base::{Result, SqlType, error};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::LogicalPlan;
use sqlparser::ast::{Expr as SqlExpr, Value as SqlValue, ValueWithSpan};

use crate::bind::BinderOptions;
use crate::errors::walked;
use crate::functions::cast;
use planner::{Reader, Tree, Walk};

/// The most parameters of a statement (the protocol counts them in 16 bits).
const PARAMETERS_MAX: usize = 32_767;

/// The parameters that a tree mentions, and the types of those that stand under a cast.
#[derive(Default)]
pub(crate) struct Mentions {
    pub(crate) count: usize,
    casts: HashMap<usize, SqlType>,
}

impl Reader for Mentions {
    fn value(&mut self, value: &ValueWithSpan) -> Walk {
        if let SqlValue::Placeholder(text) = &value.value {
            match number(text) {
                Some(n) => self.count = self.count.max(n),
                None => {
                    return Err(error!(UndefinedParameter, "there is no parameter {text}").into());
                }
            }
        }
        Ok(())
    }

    fn expr(&mut self, expr: &SqlExpr) -> Walk {
        if let SqlExpr::Cast { expr, data_type, .. } = expr
            && let SqlExpr::Value(value) = expr.as_ref()
            && let SqlValue::Placeholder(text) = &value.value
            && let (Some(n), Ok(sql_type)) = (number(text), crate::parse::cast_type(data_type))
        {
            self.casts.entry(n).or_insert(sql_type);
        }
        Ok(())
    }
}

fn number(text: &str) -> Option<usize> {
    text.strip_prefix('$')?.parse().ok().filter(|n| (1..=PARAMETERS_MAX).contains(n))
}

impl Mentions {
    pub(crate) fn of(tree: &dyn Tree) -> Result<Self> {
        let mut mentions = Self::default();
        tree.read(&mut mentions).map_err(walked)?;
        Ok(mentions)
    }

    /// What is known before planning: the client's wishes, then casts.
    pub(crate) fn wishes(&self, given: &[SqlType]) -> Vec<Option<SqlType>> {
        let known = |n: usize| match given.get(n) {
            Some(SqlType::Unknown) | None => self.casts.get(&(n + 1)).copied(),
            Some(sql_type) => Some(*sql_type),
        };
        (0..self.count.max(given.len())).map(known).collect()
    }
}

/// The types as the planner wants them.
pub(crate) fn fields(types: &[Option<SqlType>]) -> Vec<Option<FieldRef>> {
    let fields = types.iter().enumerate();
    fields
        .map(|(n, sql_type)| {
            sql_type.map(|sql_type| FieldRef::new(sql_type.field(format!("${}", n + 1), true)))
        })
        .collect()
}

/// Fills what the planner inferred; what nothing tells is text, as in PostgreSQL.
pub(crate) fn infer(wishes: &[Option<SqlType>], plan: &LogicalPlan) -> Vec<SqlType> {
    let inferred = plan.get_parameter_fields().unwrap_or_default();
    let of = |(n, wish): (usize, &Option<SqlType>)| {
        wish.or_else(|| {
            let field = inferred.get(&format!("${}", n + 1))?.as_ref()?;
            Some(match SqlType::of_field(field) {
                SqlType::Unknown => SqlType::Text,
                // A bare string type is nobody's declared length.
                SqlType::Varchar(_) | SqlType::Char(_) => SqlType::Text,
                known => known,
            })
        })
    };
    wishes.iter().enumerate().map(|wish| of(wish).unwrap_or(SqlType::Text)).collect()
}

/// The values as literals of the parameters' types.
///
/// # Errors
/// 08P01 for a wrong number of values, 22P02 and the like for text that does not fit.
pub(crate) fn scalars(
    values: &[Value],
    types: &[SqlType],
    options: &BinderOptions,
) -> Result<Vec<ScalarValue>> {
    if values.len() != types.len() {
        return Err(error!(
            ProtocolViolation,
            "bind message supplies {} parameters, but prepared statement requires {}",
            values.len(),
            types.len()
        ));
    }
    values.iter().zip(types).map(|(value, to)| scalar(value, *to, options)).collect()
}

/// One value as a literal of a type.
///
/// # Errors
/// As [`scalars`].
pub(crate) fn one(value: &Value, to: SqlType, options: &BinderOptions) -> Result<ScalarValue> {
    scalar(value, to, options)
}

fn scalar(value: &Value, to: SqlType, options: &BinderOptions) -> Result<ScalarValue> {
    let utc = || Some(base::types::UTC.into());
    let given = match value {
        Value::Null => return null(to),
        Value::Text(text) => ScalarValue::Utf8View(Some(text.clone())),
        Value::Bool(on) => ScalarValue::Boolean(Some(*on)),
        Value::Int(n) => ScalarValue::Int64(Some(*n)),
        Value::Float(x) => ScalarValue::Float64(Some(*x)),
        Value::Decimal { unscaled, scale } => {
            let scale = i8::try_from(*scale).unwrap_or(i8::MAX);
            ScalarValue::Decimal128(Some(*unscaled), base::types::DECIMAL_DIGITS_MAX, scale)
        }
        Value::Bytes(bytes) => ScalarValue::BinaryView(Some(bytes.clone())),
        Value::Date(days) => ScalarValue::Date32(Some(*days)),
        Value::Time(us) => ScalarValue::Time64Microsecond(Some(*us)),
        Value::TimeTz(packed) => ScalarValue::Int64(Some(*packed)),
        Value::Timestamp(us) => ScalarValue::TimestampMicrosecond(Some(*us), None),
        Value::TimestampTz(us) => ScalarValue::TimestampMicrosecond(Some(*us), utc()),
        Value::Array(items) => return array(items, to, options),
    };
    if given.data_type() == to.arrow() {
        return Ok(given);
    }
    cast::scalar(given, to, options)
}

fn null(to: SqlType) -> Result<ScalarValue> {
    ScalarValue::try_from(&to.arrow()).map_err(|e| crate::error_from_datafusion(e, ""))
}

fn array(items: &[Value], to: SqlType, options: &BinderOptions) -> Result<ScalarValue> {
    let item = match to {
        SqlType::Int2Array | SqlType::Int2Vector => SqlType::SmallInt,
        SqlType::Int4Array => SqlType::Integer,
        SqlType::OidArray | SqlType::OidVector => SqlType::BigInt,
        SqlType::TextArray | SqlType::NameArray | SqlType::AclItemArray => SqlType::Text,
        other => {
            return Err(error!(CannotCoerce, "cannot cast an array to type {other}"));
        }
    };
    let values = items.iter().map(|value| scalar(value, item, options));
    let values = values.collect::<Result<Vec<_>>>()?;
    Ok(ScalarValue::List(ScalarValue::new_list_nullable(&values, &item.arrow())))
}
