//! Functions of floating-point numbers with PostgreSQL's errors outside of their domain, and SIGN.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{ArrayRef, Decimal128Array, Float64Array};
use arrow_schema::DataType;
use base::{Error, Result, error};
use datafusion::logical_expr::ScalarUDF;

use super::Planned;
use super::kernel::{Kernel, any, double};

fn out_of_range() -> Error {
    error!(NumericValueOutOfRange, "value out of range: overflow")
}

fn outside() -> Error {
    error!(NumericValueOutOfRange, "input is out of range")
}

fn one(args: &[ArrayRef], of: fn(f64) -> Result<f64>) -> Result<ArrayRef> {
    let values = double(args, 0)?;
    let results = values.iter().map(|x| x.map(of).transpose());
    Ok(Arc::new(results.collect::<Result<Float64Array>>()?))
}

fn two(args: &[ArrayRef], of: fn(f64, f64) -> Result<f64>) -> Result<ArrayRef> {
    let (left, right) = (double(args, 0)?, double(args, 1)?);
    let results = left.iter().zip(&right).map(|pair| match pair {
        (Some(x), Some(y)) => of(x, y).map(Some),
        _ => Ok(None),
    });
    Ok(Arc::new(results.collect::<Result<Float64Array>>()?))
}

/// A result that is infinite although what it comes from is not has overflowed.
fn finite(x: f64, result: f64) -> Result<f64> {
    if result.is_infinite() && x.is_finite() { Err(out_of_range()) } else { Ok(result) }
}

fn exponential(x: f64) -> Result<f64> {
    let result = finite(x, x.exp())?;
    if result == 0.0 && x.is_finite() {
        return Err(error!(NumericValueOutOfRange, "value out of range: underflow"));
    }
    Ok(result)
}

/// As values are compared: one zero, and one NaN, above all numbers.
fn canonical(x: f64) -> Result<f64> {
    Ok(if x.is_nan() { f64::NAN } else { x + 0.0 })
}

fn sqrt(x: f64) -> Result<f64> {
    if x < 0.0 {
        return Err(error!(
            InvalidArgumentForPowerFunction,
            "cannot take square root of a negative number"
        ));
    }
    Ok(x.sqrt())
}

/// The argument of a logarithm.
fn positive(x: f64) -> Result<f64> {
    if x == 0.0 {
        return Err(error!(InvalidArgumentForLogarithm, "cannot take logarithm of zero"));
    }
    if x < 0.0 {
        return Err(error!(
            InvalidArgumentForLogarithm,
            "cannot take logarithm of a negative number"
        ));
    }
    Ok(x)
}

/// The argument of an inverse sine or cosine.
fn within_one(x: f64) -> Result<f64> {
    if (-1.0..=1.0).contains(&x) || x.is_nan() { Ok(x) } else { Err(outside()) }
}

/// The argument of a sine or cosine.
fn angle(x: f64) -> Result<f64> {
    if x.is_infinite() { Err(outside()) } else { Ok(x) }
}

fn power(x: f64, y: f64) -> Result<f64> {
    let refused = |why: &str| Err(Error::new(base::SqlState::InvalidArgumentForPowerFunction, why));
    if x == 0.0 && y < 0.0 {
        return refused("zero raised to a negative power is undefined");
    }
    if x < 0.0 && y.is_finite() && y.fract() != 0.0 {
        return refused("a negative number raised to a non-integer power yields a complex result");
    }
    let result = x.powf(y);
    if result.is_infinite() && x.is_finite() && y.is_finite() {
        return Err(out_of_range());
    }
    Ok(result)
}

fn sign_type(types: &[DataType]) -> Planned<DataType> {
    Ok(match types {
        [whole @ (DataType::Int16 | DataType::Int32 | DataType::Int64)] => whole.clone(),
        [DataType::Decimal128(..)] => DataType::Decimal128(1, 0),
        [DataType::Float32] => DataType::Float32,
        _ => DataType::Float64,
    })
}

/// `sign(number)`: −1, 0 or 1 in the type of a whole or floating-point number, else NUMERIC(1).
fn sign(args: &[ArrayRef]) -> Result<ArrayRef> {
    let of = |x: f64| {
        if x > 0.0 {
            1.0
        } else if x < 0.0 {
            -1.0
        } else {
            0.0
        }
    };
    let Some(array) = args.first() else {
        return Err(error!(UndefinedFunction, "sign() takes one number"));
    };
    Ok(match array.data_type() {
        DataType::Int16 => {
            Arc::new(array.as_primitive::<Int16Type>().unary::<_, Int16Type>(i16::signum))
        }
        DataType::Int32 => {
            Arc::new(array.as_primitive::<Int32Type>().unary::<_, Int32Type>(i32::signum))
        }
        DataType::Int64 => {
            Arc::new(array.as_primitive::<Int64Type>().unary::<_, Int64Type>(i64::signum))
        }
        DataType::Decimal128(..) => {
            let signs: Decimal128Array = array.as_primitive::<Decimal128Type>().unary(i128::signum);
            Arc::new(signs.with_data_type(DataType::Decimal128(1, 0)))
        }
        DataType::Float32 => Arc::new(
            array
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(|x| of(f64::from(x)) as f32),
        ),
        _ => Arc::new(double(args, 0)?.unary::<_, Float64Type>(of)),
    })
}

/// The function that ROUND of one floating-point number is.
pub(crate) const ROUND_EVEN: &str = "round_even";

/// The function that computed floating-point numbers go through before they are compared.
pub(crate) const CANONICAL: &str = "float_canonical";

/// The type of ABS.
fn magnitude_type(types: &[DataType]) -> Planned<DataType> {
    Ok(match types {
        [one] if one.is_numeric() => one.clone(),
        _ => DataType::Float64,
    })
}

/// `abs(number)`.
fn magnitude(args: &[ArrayRef]) -> Result<ArrayRef> {
    let Some(array) = args.first() else {
        return Err(error!(UndefinedFunction, "abs() takes one number"));
    };
    macro_rules! whole {
        ($kind:ty, $name:literal) => {{
            let values = array.as_primitive::<$kind>();
            let of = |x: <$kind as ArrowPrimitiveType>::Native| {
                x.checked_abs()
                    .ok_or_else(|| error!(NumericValueOutOfRange, "{} out of range", $name))
            };
            Arc::new(values.try_unary::<_, $kind, Error>(of)?)
        }};
    }
    Ok(match array.data_type() {
        DataType::Int16 => whole!(Int16Type, "smallint"),
        DataType::Int32 => whole!(Int32Type, "integer"),
        DataType::Int64 => whole!(Int64Type, "bigint"),
        DataType::Decimal128(..) => {
            let values: Decimal128Array =
                array.as_primitive::<Decimal128Type>().unary(i128::wrapping_abs);
            Arc::new(values.with_data_type(array.data_type().clone()))
        }
        DataType::Float32 => {
            Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::abs))
        }
        _ => Arc::new(double(args, 0)?.unary::<_, Float64Type>(f64::abs)),
    })
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let float = |_: &[DataType]| Ok(DataType::Float64);
    let of = |name, body| Kernel::udf(name, any(1..=1), float, body);
    let log10 = |args: &[ArrayRef]| one(args, |x| Ok(positive(x)?.log10()));
    vec![
        of("acos", |args| one(args, |x| Ok(within_one(x)?.acos()))),
        of("asin", |args| one(args, |x| Ok(within_one(x)?.asin()))),
        of("atan", |args| one(args, |x| Ok(x.atan()))),
        of("cbrt", |args| one(args, |x| Ok(x.cbrt()))),
        of("cos", |args| one(args, |x| Ok(angle(x)?.cos()))),
        of("cot", |args| one(args, |x| Ok(1.0 / angle(x)?.tan()))),
        of("degrees", |args| one(args, |x| finite(x, x.to_degrees()))),
        of("exp", |args| one(args, exponential)),
        of("ln", |args| one(args, |x| Ok(positive(x)?.ln()))),
        of("log", log10),
        of("log10", log10),
        of("radians", |args| one(args, |x| Ok(x.to_radians()))),
        of("sin", |args| one(args, |x| Ok(angle(x)?.sin()))),
        of("sqrt", |args| one(args, sqrt)),
        of("tan", |args| one(args, |x| Ok(angle(x)?.tan()))),
        Kernel::udf("atan2", any(2..=2), float, |args| two(args, |y, x| Ok(y.atan2(x)))),
        Kernel::udf("power", any(2..=2), float, |args| two(args, power)).with_aliases(["pow"]),
        Kernel::udf("sign", any(1..=1), sign_type, sign),
        Kernel::strict_udf("abs", any(1..=1), magnitude_type, magnitude),
        of(CANONICAL, |args| one(args, canonical)),
        of(ROUND_EVEN, |args| one(args, |x| Ok(x.round_ties_even()))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_of_the_domain_is_an_error() {
        for (result, state) in [
            (sqrt(-1.0), "2201F"),
            (positive(0.0), "2201E"),
            (positive(-2.0), "2201E"),
            (within_one(1.5), "22003"),
            (finite(800.0, 800f64.exp()), "22003"),
            (power(0.0, -1.0), "2201F"),
            (power(-8.0, 0.5), "2201F"),
            (power(10.0, 400.0), "22003"),
        ] {
            assert_eq!(result.unwrap_err().sqlstate().code(), state);
        }
        assert_eq!(power(-2.0, 3.0).unwrap(), -8.0);
        assert_eq!(power(0.0, 0.0).unwrap(), 1.0);
    }
}
