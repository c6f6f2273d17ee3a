//! `/` of decimals with Redshift's digits: the operator of DataFusion keeps fewer behind the point.
//!
//! For operands (p1, s1) and (p2, s2) the quotient has scale s = max(4, s1 + p2 - s2 + 1) and
//! precision p = p1 - s1 + s2 + s; where p > 38, it has precision 38 and scale max(38 + s - p, 4).
//! Digits behind the scale are cut off.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use arrow_array::{ArrayRef, Decimal128Array};
use arrow_schema::DataType;
use base::{Error, Result, error};
use datafusion::arrow::datatypes::i256;
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};

use super::Planned;
use super::kernel::{Kernel, coerced};
use crate::bind::external;

/// The function behind the operator.
pub(crate) const DIVIDE: &str = "decimal_divide";

/// The most digits of a decimal.
const DIGITS_MAX: i16 = 38;
/// The fewest digits behind the point of a quotient.
const QUOTIENT_SCALE_MIN: i16 = 4;
/// The digits of a BIGINT.
const BIGINT_DIGITS: u8 = 19;

/// The decimal that an operand counts as beside a decimal; `None` for what is no exact number.
pub(crate) fn exact(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Decimal128(..) => data_type.clone(),
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => DataType::Decimal128(5, 0),
        DataType::UInt16 | DataType::Int32 => DataType::Decimal128(10, 0),
        DataType::UInt32 | DataType::Int64 | DataType::UInt64 => {
            DataType::Decimal128(BIGINT_DIGITS, 0)
        }
        _ => return None,
    })
}

fn operands(types: &[DataType]) -> Planned<[(DataType, i16, i16); 2]> {
    let digits = |found: &DataType| match exact(found) {
        Some(DataType::Decimal128(precision, scale)) => {
            let typed = DataType::Decimal128(precision, scale);
            Ok((typed, i16::from(precision), i16::from(scale)))
        }
        _ => Err(external(error!(DatatypeMismatch, "{DIVIDE} takes two exact numbers"))),
    };
    match types {
        [left, right] => Ok([digits(left)?, digits(right)?]),
        _ => Err(external(error!(UndefinedFunction, "{DIVIDE} takes two numbers"))),
    }
}

fn quotient_type(types: &[DataType]) -> Planned<DataType> {
    let [(_, p1, s1), (_, p2, s2)] = operands(types)?;
    let mut scale = QUOTIENT_SCALE_MIN.max(s1 + p2 - s2 + 1);
    let mut precision = p1 - s1 + s2 + scale;
    if precision > DIGITS_MAX {
        scale = QUOTIENT_SCALE_MIN.max(DIGITS_MAX + scale - precision);
        precision = DIGITS_MAX;
    }
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision), Ok(scale)) => Ok(DataType::Decimal128(precision, scale)),
        _ => Err(external(overflow())),
    }
}

fn overflow() -> Error {
    error!(NumericValueOutOfRange, "numeric data overflow (result precision)")
}

/// `left * 10^shift / right`, cut off.
fn quotient(left: i128, right: i128, shift: i16) -> Result<i128> {
    if right == 0 {
        return Err(error!(DivisionByZero, "division by zero"));
    }
    let power = u32::from(shift.unsigned_abs());
    if shift >= 0
        && let Some(factor) = 10_i128.checked_pow(power)
        && let Some(left) = left.checked_mul(factor)
    {
        return left.checked_div(right).ok_or_else(overflow);
    }
    let wide = |value: i128, scaled: bool| {
        let value = i256::from_i128(value);
        if !scaled {
            return Some(value);
        }
        i256::from_i128(10).checked_pow(power).and_then(|factor| value.checked_mul(factor))
    };
    // A dividend that needs more than 256 bits has a quotient of more than 38 digits.
    wide(left, shift >= 0)
        .zip(wide(right, shift < 0))
        .and_then(|(left, right)| left.checked_div(right))
        .and_then(i256::to_i128)
        .ok_or_else(overflow)
}

fn divide(args: &[ArrayRef]) -> Result<ArrayRef> {
    let types: Vec<DataType> = args.iter().map(|arg| arg.data_type().clone()).collect();
    let planned = |e| crate::error_from_datafusion(e, "");
    let [(left, _, s1), (right, _, s2)] = operands(&types).map_err(planned)?;
    let to = quotient_type(&types).map_err(planned)?;
    let DataType::Decimal128(precision, scale) = to else { return Err(overflow()) };
    let shift = i16::from(scale) - s1 + s2;
    let limit = 10_i128.checked_pow(u32::from(precision)).ok_or_else(overflow)?;
    let (left, right) = (coerced(args, 0, &left)?, coerced(args, 1, &right)?);
    let (left, right) =
        (left.as_primitive::<Decimal128Type>(), right.as_primitive::<Decimal128Type>());
    let quotients = left.iter().zip(right.iter()).map(|(left, right)| {
        let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
        let found = quotient(left, right, shift)?;
        if found.unsigned_abs() < limit.unsigned_abs() { Ok(Some(found)) } else { Err(overflow()) }
    });
    let quotients = quotients.collect::<Result<Decimal128Array>>()?;
    Ok(Arc::new(quotients.with_data_type(to)))
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let two = Signature::any(2, Volatility::Immutable);
    vec![Kernel::udf(DIVIDE, two, quotient_type, divide)]
}

#[cfg(test)]
mod tests {
    use arrow_array::Int64Array;

    use super::*;

    fn decimals(values: &[Option<i128>], precision: u8, scale: i8) -> ArrayRef {
        let values = Decimal128Array::from(values.to_vec());
        Arc::new(values.with_data_type(DataType::Decimal128(precision, scale)))
    }

    #[test]
    fn quotients_have_the_digits_of_the_rule() {
        let decimal = DataType::Decimal128;
        for (left, right, expected) in [
            (decimal(15, 4), decimal(15, 4), decimal(31, 16)),
            (decimal(8, 2), decimal(3, 0), decimal(12, 6)),
            (decimal(8, 2), DataType::Int16, decimal(14, 8)),
            (decimal(8, 2), DataType::Int32, decimal(19, 13)),
            (decimal(8, 2), DataType::Int64, decimal(28, 22)),
            (DataType::Int32, decimal(2, 1), decimal(15, 4)),
            (decimal(38, 4), decimal(38, 4), decimal(38, 4)),
            (decimal(38, 2), decimal(2, 1), decimal(38, 4)),
            (decimal(38, 20), DataType::Int64, decimal(38, 20)),
        ] {
            assert_eq!(quotient_type(&[left.clone(), right.clone()]).unwrap(), expected);
        }
        assert!(quotient_type(&[DataType::Float64, decimal(5, 2)]).is_err());
    }

    #[test]
    fn quotients_are_cut_off() {
        let left = decimals(&[Some(200), Some(-200), None, Some(100)], 5, 2);
        let right = decimals(&[Some(30), Some(30), Some(30), None], 3, 1);
        let found = divide(&[left, right]).unwrap();
        // 2.00 / 3.0
        assert_eq!(found.data_type(), &DataType::Decimal128(9, 5));
        let found: Vec<_> = found.as_primitive::<Decimal128Type>().iter().collect();
        assert_eq!(found, [Some(66_666), Some(-66_666), None, None]);
    }

    #[test]
    fn dividends_of_more_than_128_bits_are_exact() {
        let most = 10_i128.pow(38) - 1;
        let found = divide(&[decimals(&[Some(most)], 38, 4), decimals(&[Some(most)], 38, 4)]);
        assert_eq!(found.unwrap().as_primitive::<Decimal128Type>().value(0), 10_000);
        // The scale of the quotient is smaller than that of the dividend.
        let fifth = decimals(&[Some(2 * 10_i128.pow(37))], 38, 38);
        let found = divide(&[decimals(&[Some(most)], 38, 37), fifth]).unwrap();
        assert_eq!(found.data_type(), &DataType::Decimal128(38, 4));
        assert_eq!(found.as_primitive::<Decimal128Type>().value(0), 499_999);
        let found = divide(&[decimals(&[Some(most)], 38, 0), decimals(&[Some(1)], 38, 37)]);
        assert_eq!(found.unwrap_err().message(), "numeric data overflow (result precision)");
    }

    #[test]
    fn division_by_zero_is_an_error_where_there_are_operands() {
        let zero: ArrayRef = Arc::new(Int64Array::from(vec![0]));
        let found = divide(&[decimals(&[Some(1)], 5, 2), Arc::clone(&zero)]);
        assert_eq!(found.unwrap_err().sqlstate().code(), "22012");
        assert!(divide(&[decimals(&[None], 5, 2), zero]).is_ok());
    }
}
