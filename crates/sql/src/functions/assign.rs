//! Checks that run where the rows are: NOT NULL of an assignment, and that a subquery for one
//! value gives one row.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, StringArray};
use arrow_schema::{DataType, Field, FieldRef};
use base::error;
use datafusion::arrow::compute::max;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use std::sync::{Arc, LazyLock};

use super::Planned;
use crate::bind::external;

static NOT_NULL: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let signature = Signature::any(3, Volatility::Volatile);
    Arc::new(ScalarUDF::new_from_impl(NotNull { signature }))
});

/// `assign_not_null(value, 'column', 'table')`: the value, or 23502. Volatile, so that no rule
/// computes it away or moves it above a filter.
#[derive(Debug, PartialEq, Eq, Hash)]
struct NotNull {
    signature: Signature,
}

/// The value checked.
pub(crate) fn not_null(value: Expr, column: &str, table: &str) -> Expr {
    let text = |text: &str| Expr::Literal(ScalarValue::Utf8(Some(text.to_owned())), None);
    let args = vec![value, text(column), text(table)];
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&NOT_NULL), args))
}

fn text_of(value: Option<&ColumnarValue>) -> String {
    match value {
        Some(ColumnarValue::Scalar(scalar)) => {
            scalar.try_as_str().flatten().unwrap_or_default().to_owned()
        }
        Some(ColumnarValue::Array(array)) => array
            .as_any()
            .downcast_ref::<StringArray>()
            .filter(|array| !array.is_empty())
            .map(|array| array.value(0).to_owned())
            .unwrap_or_default(),
        None => String::new(),
    }
}

impl ScalarUDFImpl for NotNull {
    fn name(&self) -> &'static str {
        "assign_not_null"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Planned<DataType> {
        Ok(arg_types.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Planned<FieldRef> {
        let field = match args.arg_fields.first() {
            Some(field) => Field::new("", field.data_type().clone(), true)
                .with_metadata(field.metadata().clone()),
            None => Field::new("", DataType::Null, true),
        };
        Ok(Arc::new(field))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Planned<ColumnarValue> {
        let missing = match args.args.first() {
            Some(ColumnarValue::Array(array)) => array.logical_null_count() > 0,
            Some(ColumnarValue::Scalar(scalar)) => args.number_rows > 0 && scalar.is_null(),
            None => false,
        };
        if missing {
            let column = text_of(args.args.get(1));
            let table = text_of(args.args.get(2));
            return Err(external(
                error!(
                    NotNullViolation,
                    "cannot insert a NULL value into column {column} of table \"{table}\""
                )
                .table(table)
                .column(column),
            ));
        }
        Ok(args.args.into_iter().next().unwrap_or(ColumnarValue::Scalar(ScalarValue::Null)))
    }
}

static SINGLE_ROW: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let signature = Signature::any(2, Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(SingleRow { signature }))
});

/// The name of [`single_row`].
pub(crate) const SINGLE_ROW_NAME: &str = "single_row";

/// `single_row(value, rows)`: the value of a subquery that gave so many rows, or 21000.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SingleRow {
    signature: Signature,
}

/// The only value of a subquery: `args` are a value of it and the number of its rows.
pub(crate) fn single_row(args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&SINGLE_ROW), args))
}

impl ScalarUDFImpl for SingleRow {
    fn name(&self) -> &'static str {
        SINGLE_ROW_NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Planned<DataType> {
        Ok(arg_types.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Planned<ColumnarValue> {
        let several = match args.args.get(1) {
            Some(ColumnarValue::Scalar(ScalarValue::Int64(Some(rows)))) => *rows > 1,
            Some(ColumnarValue::Array(rows)) => {
                rows.as_primitive_opt::<Int64Type>().is_some_and(|rows| max(rows) > Some(1))
            }
            _ => false,
        };
        if several {
            return Err(external(error!(
                CardinalityViolation,
                "single-row subquery returns more than one row"
            )));
        }
        Ok(args.args.into_iter().next().unwrap_or(ColumnarValue::Scalar(ScalarValue::Null)))
    }
}

/// The name of a function around a value, by which its text tells it from others.
pub(crate) const AS_WRITTEN: &str = "as_written";

/// `as_written(value, 'text')`: the value. Stands around the arguments of aggregates with casts
/// while a query is planned, because DataFusion leaves casts out of names.
#[derive(Debug, PartialEq, Eq, Hash)]
struct AsWritten {
    signature: Signature,
}

impl ScalarUDFImpl for AsWritten {
    fn name(&self) -> &'static str {
        AS_WRITTEN
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Planned<DataType> {
        Ok(arg_types.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Planned<FieldRef> {
        match args.arg_fields.first() {
            Some(field) => Ok(Arc::clone(field)),
            None => Ok(Arc::new(Field::new("", DataType::Null, true))),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Planned<ColumnarValue> {
        Ok(args.args.into_iter().next().unwrap_or(ColumnarValue::Scalar(ScalarValue::Null)))
    }
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let as_written = AsWritten { signature: Signature::any(2, Volatility::Immutable) };
    vec![
        NOT_NULL.as_ref().clone(),
        SINGLE_ROW.as_ref().clone(),
        ScalarUDF::new_from_impl(as_written),
    ]
}
