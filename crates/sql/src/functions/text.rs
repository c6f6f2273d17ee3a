//! Formatting functions over columns, and TRUNC.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, PrimitiveArray, StringViewArray};
use arrow_schema::{DataType, TimeUnit};
use base::types::UTC;
use base::{Result, error};
use chrono::{Offset, TimeZone};
use chrono_tz::Tz;
use datafusion::arrow::compute::cast;
use datafusion::logical_expr::{ScalarUDF, Signature, TypeSignature, Volatility};

use super::Planned;
use super::datetime::{self, DAY_US};
use super::format;
use super::kernel::{Kernel, coerced, double};

const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn failed(e: arrow_schema::ArrowError) -> base::Error {
    crate::error_from_datafusion(e.into(), "")
}

/// The zone named by an argument, the same for all rows; UTC without one.
fn zone_of(args: &[ArrayRef], n: usize) -> Result<Tz> {
    if args.len() <= n {
        return Ok(Tz::UTC);
    }
    let names = coerced(args, n, &DataType::Utf8View)?;
    let name = names.as_string_view().iter().flatten().next().unwrap_or(UTC).to_owned();
    name.parse().map_err(|_| error!(InvalidParameterValue, "time zone \"{name}\" not recognized"))
}

/// `to_char(moment or number, template [, zone])`.
fn to_char(args: &[ArrayRef]) -> Result<ArrayRef> {
    let templates = coerced(args, 1, &DataType::Utf8View)?;
    let templates = templates.as_string_view();
    let array = &args[0];
    let shown: StringViewArray = match array.data_type() {
        DataType::Date32 | DataType::Timestamp(..) => {
            let at = cast(array, &TIMESTAMP).map_err(failed)?;
            let zone = zone_of(args, 2)?;
            let rows = at.as_primitive::<TimestampMicrosecondType>().iter().zip(templates);
            rows.map(|pair| match pair {
                (Some(us), Some(template)) => datetime::datetime_of(us).map(|at| {
                    let offset = zone.offset_from_utc_datetime(&at);
                    let local = at + offset.fix();
                    format::print(local, template, &offset)
                }),
                _ => None,
            })
            .collect()
        }
        DataType::Decimal128(_, scale) => {
            let scale = u32::try_from(*scale).unwrap_or(0);
            let rows = array.as_primitive::<Decimal128Type>().iter().zip(templates);
            rows.map(|pair| match pair {
                (Some(n), Some(template)) => {
                    Some(format::print_number(0.0, Some((n, scale)), template))
                }
                _ => None,
            })
            .collect()
        }
        other if other.is_integer() => {
            let whole = cast(array, &DataType::Int64).map_err(failed)?;
            let rows = whole.as_primitive::<Int64Type>().iter().zip(templates);
            rows.map(|pair| match pair {
                (Some(n), Some(template)) => {
                    Some(format::print_number(0.0, Some((i128::from(n), 0)), template))
                }
                _ => None,
            })
            .collect()
        }
        other if other.is_floating() => {
            let floats = cast(array, &DataType::Float64).map_err(failed)?;
            let rows = floats.as_primitive::<Float64Type>().iter().zip(templates);
            rows.map(|pair| match pair {
                (Some(x), Some(template)) => Some(format::print_number(x, None, template)),
                _ => None,
            })
            .collect()
        }
        DataType::Null => StringViewArray::new_null(array.len()),
        other => {
            let from = base::SqlType::of_arrow(other);
            return Err(error!(UndefinedFunction, "function to_char({from}, text) does not exist"));
        }
    };
    Ok(Arc::new(shown))
}

/// The text and template of each row read as local microseconds and an offset; the third argument
/// says whether a day or time beyond its end is refused.
fn read(args: &[ArrayRef]) -> Result<Vec<Option<(i64, i32)>>> {
    let text = coerced(args, 0, &DataType::Utf8View)?;
    let templates = coerced(args, 1, &DataType::Utf8View)?;
    let strict = match args.get(2) {
        Some(_) => coerced(args, 2, &DataType::Boolean)?.as_boolean().clone(),
        None => BooleanArray::from(vec![false; text.len()]),
    };
    let rows = text.as_string_view().iter().zip(templates.as_string_view()).zip(&strict);
    rows.map(|row| match row {
        ((Some(text), Some(template)), Some(strict)) => {
            format::read(text, template, strict).map(Some)
        }
        _ => Ok(None),
    })
    .collect()
}

fn to_date(args: &[ArrayRef]) -> Result<ArrayRef> {
    let days = read(args)?
        .into_iter()
        .map(|row| row.and_then(|(us, _)| i32::try_from(us.div_euclid(DAY_US)).ok()));
    Ok(Arc::new(PrimitiveArray::<Date32Type>::from_iter(days)))
}

fn to_timestamp(args: &[ArrayRef]) -> Result<ArrayRef> {
    let at = read(args)?
        .into_iter()
        .map(|row| row.map(|(us, offset)| us - i64::from(offset) * 1_000_000));
    let at = PrimitiveArray::<TimestampMicrosecondType>::from_iter(at);
    Ok(Arc::new(at.with_timezone(UTC)))
}

/// The number that a template reads, as plain text; TO_NUMBER is a cast of it.
fn number_text(args: &[ArrayRef]) -> Result<ArrayRef> {
    let text = coerced(args, 0, &DataType::Utf8View)?;
    let templates = coerced(args, 1, &DataType::Utf8View)?;
    let rows = text.as_string_view().iter().zip(templates.as_string_view());
    let plain = rows.map(|pair| match pair {
        (Some(text), Some(template)) => {
            let (unscaled, scale) = format::read_number(text, template)?;
            Ok(Some(format!("{unscaled}e-{scale}")))
        }
        _ => Ok(None),
    });
    Ok(Arc::new(plain.collect::<Result<StringViewArray>>()?))
}

/// The type of TRUNC: a DATE of a moment, else that of the number.
fn trunc_type(types: &[DataType]) -> Planned<DataType> {
    Ok(match types.first() {
        Some(DataType::Date32 | DataType::Timestamp(..)) => DataType::Date32,
        Some(decimal @ DataType::Decimal128(..)) => decimal.clone(),
        Some(whole) if whole.is_integer() => whole.clone(),
        _ => DataType::Float64,
    })
}

/// `trunc(moment)` or `trunc(number [, places])`.
fn trunc(args: &[ArrayRef]) -> Result<ArrayRef> {
    let array = &args[0];
    if matches!(array.data_type(), DataType::Date32 | DataType::Timestamp(..)) {
        return cast(array, &DataType::Date32).map_err(failed);
    }
    let places: Vec<Option<i64>> = match args.get(1) {
        Some(_) => coerced(args, 1, &DataType::Int64)?.as_primitive::<Int64Type>().iter().collect(),
        None => vec![Some(0); array.len()],
    };
    match array.data_type() {
        whole if whole.is_integer() && places.iter().flatten().all(|n| *n >= 0) => {
            Ok(array.clone())
        }
        DataType::Decimal128(precision, scale) => {
            let rows = array.as_primitive::<Decimal128Type>().iter().zip(places);
            let cut = rows.map(|pair| match pair {
                (Some(n), Some(places)) => {
                    let drop = u32::try_from(i64::from(*scale) - places).unwrap_or(0);
                    let factor = 10i128.checked_pow(drop);
                    Some(factor.map_or(0, |factor| n / factor * factor))
                }
                _ => None,
            });
            let cut = PrimitiveArray::<Decimal128Type>::from_iter(cut);
            Ok(Arc::new(cut.with_precision_and_scale(*precision, *scale).map_err(failed)?))
        }
        _ => {
            let floats = double(args, 0)?;
            let rows = floats.iter().zip(places);
            let cut: Float64Array = rows
                .map(|pair| match pair {
                    (Some(x), Some(places)) => {
                        let factor = 10f64.powi(i32::try_from(places).unwrap_or(0));
                        Some((x * factor).trunc() / factor)
                    }
                    _ => None,
                })
                .collect();
            let like = trunc_type(&[array.data_type().clone()]);
            let like = like.unwrap_or(DataType::Float64);
            let cut: ArrayRef = Arc::new(cut);
            cast(&cut, &like).map_err(failed)
        }
    }
}

fn quoted(args: &[ArrayRef], quote: fn(&str) -> String) -> Result<ArrayRef> {
    let text = coerced(args, 0, &DataType::Utf8View)?;
    let quoted = text.as_string_view().iter().map(|text| text.map(quote));
    Ok(Arc::new(quoted.collect::<StringViewArray>()))
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let any = |n: usize| Signature::any(n, Volatility::Immutable);
    let up_to = |n: usize| {
        let some = (1..=n).map(TypeSignature::Any).collect();
        Signature::one_of(some, Volatility::Immutable)
    };
    let templated = || {
        Signature::one_of(vec![TypeSignature::Any(2), TypeSignature::Any(3)], Volatility::Immutable)
    };
    let text = |_: &[DataType]| Ok(DataType::Utf8View);
    let date = |_: &[DataType]| Ok(DataType::Date32);
    let stamp = |_: &[DataType]| Ok(DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())));
    vec![
        Kernel::udf("to_char", templated(), text, to_char),
        Kernel::udf("to_date", templated(), date, to_date),
        Kernel::udf("to_timestamp", templated(), stamp, to_timestamp),
        Kernel::udf("to_number_text", any(2), text, number_text),
        Kernel::udf("trunc", up_to(2), trunc_type, trunc),
        Kernel::udf("quote_ident", any(1), text, |args| quoted(args, base::ident::quote)),
        Kernel::udf("quote_literal", any(1), text, |args| quoted(args, base::ident::literal)),
    ]
}
