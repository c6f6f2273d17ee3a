//! `+`, `-` and `*` of whole numbers: the type of the wider operand, and an error where
//! DataFusion's own operators wrap around.

use arrow_array::ArrayRef;
use arrow_schema::{ArrowError, DataType};
use base::{Error, Result, error};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};

use super::Planned;
use super::kernel::{Kernel, coerced};

/// The functions behind the operators.
pub(crate) const PLUS: &str = "int_plus";
pub(crate) const MINUS: &str = "int_minus";
pub(crate) const TIMES: &str = "int_times";

/// True for the types on which these operators work.
pub(crate) fn is_whole(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int16 | DataType::Int32 | DataType::Int64)
}

fn wider(types: &[DataType]) -> Planned<DataType> {
    let has = |data_type: DataType| types.contains(&data_type);
    Ok(match (has(DataType::Int64), has(DataType::Int32)) {
        (true, _) => DataType::Int64,
        (false, true) => DataType::Int32,
        (false, false) => DataType::Int16,
    })
}

type Operation = fn(
    &dyn arrow_array::Datum,
    &dyn arrow_array::Datum,
) -> std::result::Result<ArrayRef, ArrowError>;

fn apply(args: &[ArrayRef], operation: Operation) -> Result<ArrayRef> {
    let types: Vec<DataType> = args.iter().map(|arg| arg.data_type().clone()).collect();
    let to = wider(&types).map_err(|e| crate::error_from_datafusion(e, ""))?;
    let (left, right) = (coerced(args, 0, &to)?, coerced(args, 1, &to)?);
    operation(&left, &right).map_err(|_| out_of_range(&to))
}

fn out_of_range(data_type: &DataType) -> Error {
    let name = match data_type {
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        _ => "bigint",
    };
    error!(NumericValueOutOfRange, "{name} out of range")
        .hint("Cast an operand to a wider type, for example BIGINT or DECIMAL.")
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let two = || Signature::any(2, Volatility::Immutable);
    vec![
        Kernel::udf(PLUS, two(), wider, |args| apply(args, numeric::add)),
        Kernel::udf(MINUS, two(), wider, |args| apply(args, numeric::sub)),
        Kernel::udf(TIMES, two(), wider, |args| apply(args, numeric::mul)),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int32Type;
    use arrow_array::{Int16Array, Int32Array};

    use super::*;

    #[test]
    fn the_wider_type_wins_and_overflow_is_an_error() {
        let small: ArrayRef = Arc::new(Int16Array::from(vec![Some(1), None]));
        let whole: ArrayRef = Arc::new(Int32Array::from(vec![i32::MAX - 1, i32::MAX]));
        let sum = apply(&[small.clone(), whole.clone()], numeric::add).unwrap();
        assert_eq!(
            sum.as_primitive::<Int32Type>().iter().collect::<Vec<_>>(),
            [Some(i32::MAX), None]
        );
        let error = apply(&[whole.clone(), whole], numeric::add).unwrap_err();
        assert_eq!(error.sqlstate().code(), "22003");
        assert_eq!(error.message(), "integer out of range");
    }
}
