//! DataFusion's functions of text under Redshift's rules for their arguments: numbers, dates and
//! the like become text as by a cast, and a value that an argument may not have is 22023.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{DataType, Field, FieldRef};
use base::{Error, SqlState, SqlType, error};
use datafusion::arrow::compute::cast;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::Planned;
use super::kernel::{Arity, any};
use crate::bind::external;

/// The functions: the least number of arguments, and what each is: `t` for text, `n` for a whole
/// number.
const SHAPES: &[(&str, usize, &str)] = &[
    ("ascii", 1, "t"),
    ("btrim", 1, "tt"),
    ("initcap", 1, "t"),
    ("left", 2, "tn"),
    ("lower", 1, "t"),
    ("lpad", 2, "tnt"),
    ("ltrim", 1, "tt"),
    ("md5", 1, "t"),
    ("repeat", 2, "tn"),
    ("replace", 3, "ttt"),
    ("reverse", 1, "t"),
    ("right", 2, "tn"),
    ("rpad", 2, "tnt"),
    ("rtrim", 1, "tt"),
    ("split_part", 3, "ttn"),
    ("strpos", 2, "tt"),
    ("substr", 2, "tnn"),
    ("translate", 3, "ttt"),
    ("upper", 1, "t"),
];

/// One of the functions.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Textual {
    plain: Arc<ScalarUDF>,
    shape: &'static str,
    signature: Signature,
    arity: Option<Arity>,
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let known = SessionStateDefaults::default_scalar_functions();
    let functions = SHAPES.iter().filter_map(|(name, least, shape)| {
        let plain = known.iter().find(|function| function.name() == *name)?;
        Some(ScalarUDF::new_from_impl(Textual {
            plain: Arc::clone(plain),
            shape,
            signature: Signature::variadic_any(Volatility::Immutable),
            arity: Arity::of(&any(*least..=shape.len())),
        }))
    });
    functions.collect()
}

impl Textual {
    /// The types that an argument is cast to by Redshift's rules.
    fn meant(&self) -> impl Iterator<Item = SqlType> + '_ {
        self.shape.bytes().map(|what| if what == b't' { SqlType::Text } else { SqlType::BigInt })
    }

    /// The types that the function works on, for this many arguments.
    fn wanted(&self, count: usize) -> Planned<Vec<DataType>> {
        let field = |to: SqlType| Arc::new(Field::new("", to.arrow(), true));
        let fields: Vec<FieldRef> = self.meant().take(count).map(field).collect();
        let wanted = fields_with_udf(&fields, self.plain.as_ref())?;
        Ok(wanted.iter().map(|field| field.data_type().clone()).collect())
    }

    fn converted(value: ColumnarValue, to: SqlType, wanted: &DataType) -> Planned<ColumnarValue> {
        let convert = |array: &ArrayRef| -> Planned<ArrayRef> {
            let array = super::cast::array(array, to).map_err(external)?;
            Ok(if array.data_type() == wanted { array } else { cast(&array, wanted)? })
        };
        if value.data_type() == *wanted {
            return Ok(value);
        }
        Ok(match value {
            ColumnarValue::Array(array) => ColumnarValue::Array(convert(&array)?),
            ColumnarValue::Scalar(scalar) => {
                let array = convert(&scalar.to_array()?)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
            }
        })
    }
}

impl ScalarUDFImpl for Textual {
    fn name(&self) -> &str {
        self.plain.name()
    }

    fn aliases(&self) -> &[String] {
        self.plain.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Planned<DataType> {
        let fields = arg_types.iter().map(|one| Arc::new(Field::new("", one.clone(), true)));
        let fields: Vec<FieldRef> = fields.collect();
        let scalar_arguments = &vec![None; fields.len()];
        let args = ReturnFieldArgs { arg_fields: &fields, scalar_arguments };
        Ok(self.return_field_from_args(args)?.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Planned<FieldRef> {
        let count = args.arg_fields.len();
        if let Some(arity) = self.arity {
            arity.check(self.name(), count)?;
        }
        if let Some(field) = args.arg_fields.iter().find(|field| is_binary(field.data_type())) {
            if self.name() == "substr" && is_binary(args.arg_fields[0].data_type()) {
                return Ok(Arc::new(Field::new(self.name(), DataType::BinaryView, true)));
            }
            let named = SqlType::of_arrow(field.data_type());
            return Err(external(error!(
                UndefinedFunction,
                "function {}() does not take a value of type {named}",
                self.name()
            )));
        }
        let fields: Vec<FieldRef> = self
            .wanted(count)?
            .into_iter()
            .zip(args.arg_fields)
            .map(|(wanted, field)| Arc::new(Field::new(field.name(), wanted, field.is_nullable())))
            .collect();
        // The constants are not of the types that the function would find them in.
        let scalar_arguments = &vec![None; count];
        self.plain.return_field_from_args(ReturnFieldArgs { arg_fields: &fields, scalar_arguments })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Planned<ColumnarValue> {
        if args.args.first().is_some_and(|value| is_binary(&value.data_type())) {
            let arrays = ColumnarValue::values_to_arrays(&args.args)?;
            return super::binary::substring(&arrays).map(ColumnarValue::Array).map_err(external);
        }
        let wanted = self.wanted(args.args.len())?;
        let values = args.args.into_iter().zip(self.meant()).zip(&wanted);
        let values = values.map(|((value, to), wanted)| Self::converted(value, to, wanted));
        let fields = args.arg_fields.iter().zip(&wanted).map(|(field, wanted)| {
            Arc::new(Field::new(field.name(), wanted.clone(), field.is_nullable()))
        });
        let fields = fields.collect();
        let args = ScalarFunctionArgs {
            args: values.collect::<Planned<Vec<_>>>()?,
            arg_fields: fields,
            ..args
        };
        self.plain.invoke_with_args(args).map_err(misused)
    }
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// What DataFusion says of an argument's value, with its SQLSTATE.
fn misused(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::Execution(message) => {
            let line = message.lines().next().unwrap_or_default().trim_end_matches('.');
            let state = if line.contains("negative count") {
                SqlState::SubstringError
            } else {
                SqlState::InvalidParameterValue
            };
            external(Error::new(state, line))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_has_a_type() {
        let functions = functions();
        assert_eq!(functions.len(), SHAPES.len());
        for (function, (name, least, shape)) in functions.iter().zip(SHAPES) {
            for count in *least..=shape.len() {
                let types = vec![DataType::Date32; count];
                let result = function.return_type(&types);
                assert!(result.is_ok(), "{name} of {count}: {result:?}");
            }
        }
    }
}
