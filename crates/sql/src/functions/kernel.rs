//! One shape for functions that are a kernel over whole arrays.

use std::fmt;
use std::hash::{Hash, Hasher};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, StringViewArray};
use arrow_schema::DataType;
use base::{Result, SqlType, error};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use super::Planned;
use crate::bind::external;

type ReturnType = fn(&[DataType]) -> Planned<DataType>;
type Body = fn(&[ArrayRef]) -> Result<ArrayRef>;

/// A function by its name; two of the same name are the same function.
pub(crate) struct Kernel {
    name: &'static str,
    signature: Signature,
    arity: Option<Arity>,
    result: ReturnType,
    body: Body,
    is_strict: bool,
}

impl Kernel {
    pub(crate) fn udf(
        name: &'static str,
        signature: Signature,
        result: ReturnType,
        body: Body,
    ) -> ScalarUDF {
        ScalarUDF::new_from_impl(Kernel::new(name, signature, result, body))
    }

    /// As [`Kernel::udf`], for a function that gives NULL wherever an argument is NULL.
    pub(crate) fn strict_udf(
        name: &'static str,
        signature: Signature,
        result: ReturnType,
        body: Body,
    ) -> ScalarUDF {
        let kernel = Kernel::new(name, signature, result, body);
        ScalarUDF::new_from_impl(Kernel { is_strict: true, ..kernel })
    }

    fn new(name: &'static str, signature: Signature, result: ReturnType, body: Body) -> Kernel {
        let arity = Arity::of(&signature);
        let signature = match arity {
            Some(_) => Signature::variadic_any(signature.volatility),
            None => signature,
        };
        Kernel { name, signature, arity, result, body, is_strict: false }
    }
}

/// The least and the most arguments, of any types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Arity {
    least: usize,
    most: usize,
}

impl Arity {
    /// That of a signature that says no more.
    pub(crate) fn of(signature: &Signature) -> Option<Self> {
        let count = |one: &TypeSignature| match one {
            TypeSignature::Any(count) => Some(*count),
            _ => None,
        };
        match &signature.type_signature {
            TypeSignature::OneOf(some) => {
                let counts = some.iter().map(count).collect::<Option<Vec<_>>>()?;
                Some(Self { least: *counts.iter().min()?, most: *counts.iter().max()? })
            }
            one => count(one).map(|count| Self { least: count, most: count }),
        }
    }

    /// Refuses another number of arguments.
    pub(crate) fn check(self, name: &str, given: usize) -> Planned<()> {
        let Self { least, most } = self;
        if (least..=most).contains(&given) {
            return Ok(());
        }
        let wanted = if least == most { format!("{least}") } else { format!("{least} to {most}") };
        Err(external(
            error!(UndefinedFunction, "function {name}() does not take {given} arguments")
                .hint(format!("It takes {wanted}.")),
        ))
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Kernel {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn is_strict(&self) -> bool {
        self.is_strict
    }

    fn return_type(&self, arg_types: &[DataType]) -> Planned<DataType> {
        if let Some(arity) = self.arity {
            arity.check(self.name, arg_types.len())?;
        }
        (self.result)(arg_types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Planned<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let result = (self.body)(&arrays).map_err(external)?;
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// An argument cast to the type that a kernel wants.
pub(crate) fn coerced(args: &[ArrayRef], n: usize, to: &DataType) -> Result<ArrayRef> {
    let Some(array) = args.get(n) else {
        return Err(error!(UndefinedFunction, "argument {} is missing", n + 1));
    };
    if array.data_type() == to {
        return Ok(array.clone());
    }
    // A value that does not fit is an error, not NULL.
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &strict).map_err(|e| crate::error_from_datafusion(e.into(), ""))
}

/// An argument in the form that a cast to a SQL type gives it.
fn argument(args: &[ArrayRef], n: usize, to: SqlType) -> Result<ArrayRef> {
    let Some(array) = args.get(n) else {
        return Err(error!(UndefinedFunction, "argument {} is missing", n + 1));
    };
    super::cast::array(array, to)
}

/// An argument as text: numbers, dates and the like become it as by a cast.
pub(crate) fn text(args: &[ArrayRef], n: usize) -> Result<StringViewArray> {
    Ok(argument(args, n, SqlType::Text)?.as_string_view().clone())
}

/// An argument as whole numbers.
pub(crate) fn whole(args: &[ArrayRef], n: usize) -> Result<Int64Array> {
    Ok(argument(args, n, SqlType::BigInt)?.as_primitive::<Int64Type>().clone())
}

/// An argument as floating-point numbers.
pub(crate) fn double(args: &[ArrayRef], n: usize) -> Result<Float64Array> {
    Ok(argument(args, n, SqlType::Double)?.as_primitive::<Float64Type>().clone())
}

/// Whole numbers of an argument that may be left out.
pub(crate) fn whole_or(args: &[ArrayRef], n: usize, default: i64) -> Result<Int64Array> {
    match args.first() {
        Some(first) if n >= args.len() => Ok(Int64Array::from_value(default, first.len())),
        _ => whole(args, n),
    }
}

/// The rows in which an argument is NULL.
pub(crate) fn nulls(args: &[ArrayRef]) -> Option<NullBuffer> {
    args.iter()
        .fold(None, |nulls, arg| NullBuffer::union(nulls.as_ref(), arg.logical_nulls().as_ref()))
}

/// Any values, this many of them.
pub(crate) fn any(arguments: std::ops::RangeInclusive<usize>) -> Signature {
    Signature::one_of(arguments.map(TypeSignature::Any).collect(), Volatility::Immutable)
}
