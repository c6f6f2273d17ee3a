//! `+`, `-` and `*` of whole numbers: the type of the wider operand, and an error where
//! DataFusion's own operators wrap around. CEIL and FLOOR: whole numbers stay what they are, and
//! decimals lose their scale.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{Array, ArrayRef, Decimal128Array, Float64Array};
use arrow_schema::{ArrowError, DataType};
use base::{Error, Result, error};
use datafusion::arrow::compute::kernels::{bitwise, numeric};
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};

use super::Planned;
use super::kernel::{Kernel, coerced, double};

/// The functions behind the operators.
pub(crate) const PLUS: &str = "int_plus";
pub(crate) const MINUS: &str = "int_minus";
pub(crate) const TIMES: &str = "int_times";
pub(crate) const XOR: &str = "int_xor";
pub(crate) const FLOAT_DIVIDE: &str = "float_divide";

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

/// The type of CEIL and FLOOR: rounding up may need one digit more.
fn whole_type(types: &[DataType]) -> Planned<DataType> {
    Ok(match types {
        [one] if is_whole(one) => one.clone(),
        [DataType::Decimal128(precision, scale)] if *scale > 0 => {
            let digits = i16::from(*precision) - i16::from(*scale) + 1;
            DataType::Decimal128(u8::try_from(digits.clamp(1, 38)).unwrap_or(38), 0)
        }
        [one @ (DataType::Decimal128(..) | DataType::Float32)] => one.clone(),
        _ => DataType::Float64,
    })
}

/// Rounds an argument up, or down.
fn to_whole(args: &[ArrayRef], up: bool) -> Result<ArrayRef> {
    let types: Vec<DataType> = args.iter().map(|arg| arg.data_type().clone()).collect();
    let to = whole_type(&types).map_err(|e| crate::error_from_datafusion(e, ""))?;
    let [array] = args else { return Err(error!(UndefinedFunction, "CEIL takes one number")) };
    Ok(match (array.data_type(), &to) {
        (from, to) if from == to && !to.is_floating() => Arc::clone(array),
        (DataType::Decimal128(_, scale), _) => {
            let unit = 10i128.pow(scale.unsigned_abs().into());
            let decimals = array.as_primitive::<Decimal128Type>();
            let whole: Decimal128Array = decimals.unary(|value| {
                let down = value.div_euclid(unit);
                if up && value.rem_euclid(unit) != 0 { down + 1 } else { down }
            });
            Arc::new(whole.with_data_type(to))
        }
        (DataType::Float32, _) => {
            let floats = array.as_primitive::<Float32Type>();
            Arc::new(floats.unary::<_, Float32Type>(|x| if up { x.ceil() } else { x.floor() }))
        }
        _ => {
            let floats = double(args, 0)?;
            Arc::new(floats.unary::<_, Float64Type>(|x| if up { x.ceil() } else { x.floor() }))
        }
    })
}

fn bitwise_xor(args: &[ArrayRef]) -> Result<ArrayRef> {
    let types: Vec<DataType> = args.iter().map(|arg| arg.data_type().clone()).collect();
    let to = wider(&types).map_err(|e| crate::error_from_datafusion(e, ""))?;
    let (left, right) = (coerced(args, 0, &to)?, coerced(args, 1, &to)?);
    let failed = |e: ArrowError| crate::error_from_datafusion(e.into(), "");
    macro_rules! xor {
        ($($arm:pat => $kind:ty),*) => {
            match &to {
                $($arm => {
                    let (a, b) = (left.as_primitive::<$kind>(), right.as_primitive::<$kind>());
                    Ok(Arc::new(bitwise::bitwise_xor(a, b).map_err(failed)?))
                })*
                _ => Err(out_of_range(&to)),
            }
        };
    }
    xor!(DataType::Int16 => Int16Type, DataType::Int32 => Int32Type, DataType::Int64 => Int64Type)
}

/// REAL of two REALs, else DOUBLE PRECISION.
fn quotient_type(types: &[DataType]) -> Planned<DataType> {
    let real = types.iter().all(|one| *one == DataType::Float32);
    Ok(if real { DataType::Float32 } else { DataType::Float64 })
}

/// `x / y` of floating-point numbers: an error where y is zero or the quotient leaves the range.
fn quotient(args: &[ArrayRef]) -> Result<ArrayRef> {
    let types: Vec<DataType> = args.iter().map(|arg| arg.data_type().clone()).collect();
    let is_real = types.iter().all(|one| *one == DataType::Float32);
    let (left, right) = (double(args, 0)?, double(args, 1)?);
    let rows = left.iter().zip(&right).map(|pair| {
        let (Some(x), Some(y)) = pair else { return Ok(None) };
        if y == 0.0 && !x.is_nan() {
            return Err(error!(DivisionByZero, "division by zero"));
        }
        let wide = x / y;
        let result = if is_real { f64::from(wide as f32) } else { wide };
        if result.is_infinite() && x.is_finite() {
            return Err(error!(NumericValueOutOfRange, "value out of range: overflow"));
        }
        if result == 0.0 && x != 0.0 && y.is_finite() {
            return Err(error!(NumericValueOutOfRange, "value out of range: underflow"));
        }
        Ok(Some(result))
    });
    let wide = rows.collect::<Result<Float64Array>>()?;
    if is_real {
        return Ok(Arc::new(wide.unary::<_, Float32Type>(|x| x as f32)));
    }
    Ok(Arc::new(wide))
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let two = || Signature::any(2, Volatility::Immutable);
    let one = || Signature::any(1, Volatility::Immutable);
    vec![
        Kernel::udf("ceil", one(), whole_type, |args| to_whole(args, true)),
        Kernel::udf("floor", one(), whole_type, |args| to_whole(args, false)),
        Kernel::strict_udf(PLUS, two(), wider, |args| apply(args, numeric::add)),
        Kernel::strict_udf(MINUS, two(), wider, |args| apply(args, numeric::sub)),
        Kernel::strict_udf(TIMES, two(), wider, |args| apply(args, numeric::mul)),
        Kernel::strict_udf(XOR, two(), wider, bitwise_xor),
        Kernel::strict_udf(FLOAT_DIVIDE, two(), quotient_type, quotient),
    ]
}

#[cfg(test)]
mod tests {
    use arrow_array::{Int16Array, Int32Array};

    use super::*;

    #[test]
    fn decimals_become_whole() {
        let values = Decimal128Array::from(vec![Some(1_201), Some(-1_201), Some(1_200), None]);
        let typed = |precision| -> ArrayRef {
            Arc::new(values.clone().with_data_type(DataType::Decimal128(precision, 2)))
        };
        for (precision, up, expected) in
            [(8, true, [13, -12, 12]), (8, false, [12, -13, 12]), (38, true, [13, -12, 12])]
        {
            let whole = to_whole(&[typed(precision)], up).unwrap();
            assert_eq!(whole.data_type(), &DataType::Decimal128(precision - 1, 0));
            let whole: Vec<_> = whole.as_primitive::<Decimal128Type>().iter().collect();
            assert_eq!(whole, expected.map(Some).into_iter().chain([None]).collect::<Vec<_>>());
        }
        let small: ArrayRef = Arc::new(Int16Array::from(vec![7]));
        assert_eq!(
            to_whole(std::slice::from_ref(&small), true).unwrap().data_type(),
            small.data_type()
        );
    }

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
