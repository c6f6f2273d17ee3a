//! One shape for functions that are a kernel over whole arrays.

use std::fmt;
use std::hash::{Hash, Hasher};

use arrow_array::ArrayRef;
use arrow_schema::DataType;
use base::{Result, error};
use datafusion::arrow::compute::cast;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::Planned;
use crate::bind::external;

type ReturnType = fn(&[DataType]) -> Planned<DataType>;
type Body = fn(&[ArrayRef]) -> Result<ArrayRef>;

/// A function by its name; two of the same name are the same function.
pub(crate) struct Kernel {
    name: &'static str,
    signature: Signature,
    result: ReturnType,
    body: Body,
}

impl Kernel {
    pub(crate) fn udf(
        name: &'static str,
        signature: Signature,
        result: ReturnType,
        body: Body,
    ) -> ScalarUDF {
        ScalarUDF::new_from_impl(Kernel { name, signature, result, body })
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

    fn return_type(&self, arg_types: &[DataType]) -> Planned<DataType> {
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
    cast(array, to).map_err(|e| crate::error_from_datafusion(e.into(), ""))
}
