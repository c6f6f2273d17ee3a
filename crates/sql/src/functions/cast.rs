//! Casts by Redshift's rules, where Arrow's kernels have others: text to and from everything,
//! rounding to whole numbers, lengths in bytes.

use std::sync::{Arc, LazyLock};

use arrow_array::builder::{BinaryViewBuilder, PrimitiveBuilder, StringViewBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BooleanArray, StringViewArray};
use arrow_schema::{DataType, Field, FieldRef, TimeUnit};
use base::types::UTC;
use base::{Error, Result, SqlType, error};
use chrono_tz::Tz;
use datafusion::arrow::compute::cast as arrow_cast;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::{Planned, datetime, interval, number};
use crate::bind::{BinderOptions, external};

/// How a value that does not fit is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// CAST: text is cut to its length, other misfits are errors.
    Explicit,
    /// TRY_CAST: misfits are NULL.
    Try,
    /// Assignment to a column: text that is too long is an error.
    Assign,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Explicit => "redshift_cast",
            Mode::Try => "redshift_try_cast",
            Mode::Assign => "redshift_assign",
        }
    }
}

static EXPLICIT: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(Mode::Explicit));
static TRY: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(Mode::Try));
static ASSIGN: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(Mode::Assign));

fn function(mode: Mode) -> Arc<ScalarUDF> {
    let signature = Signature::variadic_any(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(CastFunction { mode, signature }))
}

/// `redshift_cast(value, 'type', 'column' [, 'zone'])`: the type as JSON, the column for errors,
/// the session's time zone where it is not UTC.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CastFunction {
    mode: Mode,
    signature: Signature,
}

/// A cast as a call; `zone` is the session's where it is not UTC.
pub(crate) fn call(mode: Mode, value: Expr, to: SqlType, column: &str, zone: Option<&str>) -> Expr {
    let function = match mode {
        Mode::Explicit => &EXPLICIT,
        Mode::Try => &TRY,
        Mode::Assign => &ASSIGN,
    };
    let text = |text: String| Expr::Literal(ScalarValue::Utf8(Some(text)), None);
    let mut args = vec![value, text(type_text(to)), text(column.to_owned())];
    args.extend(zone.map(|zone| text(zone.to_owned())));
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), args))
}

fn type_text(to: SqlType) -> String {
    to.metadata().remove(base::types::FIELD_KEY).unwrap_or_default()
}

fn type_of(value: Option<&ScalarValue>) -> Planned<SqlType> {
    let text = value.and_then(|value| value.try_as_str().flatten());
    text.and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| external(Error::internal("a cast without its type")))
}

/// The SQL type that a call of these functions gives.
pub(crate) fn type_of_call(call: &ScalarFunction) -> Option<SqlType> {
    let ours = [Mode::Explicit, Mode::Try, Mode::Assign];
    if !ours.iter().any(|mode| mode.name() == call.func.name()) {
        return None;
    }
    match call.args.get(1) {
        Some(Expr::Literal(value, _)) => type_of(Some(value)).ok(),
        _ => None,
    }
}

/// One value cast: for parameters.
pub(crate) fn scalar(
    value: ScalarValue,
    to: SqlType,
    options: &BinderOptions,
) -> Result<ScalarValue> {
    let array = value.to_array().map_err(|e| crate::error_from_datafusion(e, ""))?;
    let rules = Rules { to, mode: Mode::Explicit, zone: options.moment.time_zone, column: "" };
    let array = rules.cast(&array)?;
    ScalarValue::try_from_array(&array, 0).map_err(|e| crate::error_from_datafusion(e, ""))
}

/// One value as an assignment makes it: text that is too long is an error.
pub(crate) fn assigned(
    value: ScalarValue,
    to: SqlType,
    options: &BinderOptions,
) -> Result<ScalarValue> {
    let array = value.to_array().map_err(|e| crate::error_from_datafusion(e, ""))?;
    let rules = Rules { to, mode: Mode::Assign, zone: options.moment.time_zone, column: "" };
    let array = rules.cast(&array)?;
    ScalarValue::try_from_array(&array, 0).map_err(|e| crate::error_from_datafusion(e, ""))
}

/// A whole array cast as by CAST, in UTC.
pub(crate) fn array(array: &ArrayRef, to: SqlType) -> Result<ArrayRef> {
    if *array.data_type() == to.arrow() {
        return Ok(Arc::clone(array));
    }
    Rules { to, mode: Mode::Explicit, zone: Tz::UTC, column: "" }.cast(array)
}

impl ScalarUDFImpl for CastFunction {
    fn name(&self) -> &str {
        self.mode.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Planned<DataType> {
        Err(external(Error::internal("the type of a cast depends on its argument")))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Planned<FieldRef> {
        let to = type_of(args.scalar_arguments.get(1).copied().flatten())?;
        let nullable = self.mode == Mode::Try
            || args.arg_fields.first().is_none_or(|field| field.is_nullable());
        // No metadata: fields that differ only in it are unequal to DataFusion's checks. Where the
        // SQL type matters it is read from the call: see `type_of_call`.
        Ok(Arc::new(Field::new("", to.arrow(), nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Planned<ColumnarValue> {
        let to = match args.args.get(1) {
            Some(ColumnarValue::Scalar(value)) => type_of(Some(value))?,
            Some(ColumnarValue::Array(array)) if !array.is_empty() => {
                type_of(Some(&ScalarValue::try_from_array(array, 0)?))?
            }
            _ => SqlType::of_arrow(args.return_field.data_type()),
        };
        let text = |n: usize| match args.args.get(n) {
            Some(ColumnarValue::Scalar(value)) => value.try_as_str().flatten().unwrap_or_default(),
            _ => "",
        };
        let zone = match text(3) {
            "" => Tz::UTC,
            name => name.parse().map_err(|_| {
                external(Error::internal(format!("time zone \"{name}\" is not known")))
            })?,
        };
        let column = text(2).to_owned();
        let rules = Rules { to, mode: self.mode, zone, column: &column };
        match args.args.first() {
            Some(ColumnarValue::Array(array)) => {
                rules.cast(array).map(ColumnarValue::Array).map_err(external)
            }
            Some(ColumnarValue::Scalar(value)) => {
                let array = rules.cast(&value.to_array()?).map_err(external)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
            None => Err(external(Error::internal("a cast without its value"))),
        }
    }
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    [&EXPLICIT, &TRY, &ASSIGN].map(|function| function.as_ref().clone()).to_vec()
}

struct Rules<'a> {
    to: SqlType,
    mode: Mode,
    zone: Tz,
    column: &'a str,
}

impl Rules<'_> {
    /// Casts an array to the Arrow type of [`Rules::to`].
    fn cast(&self, array: &ArrayRef) -> Result<ArrayRef> {
        let to = self.to;
        if *array.data_type() == DataType::Null {
            return Ok(arrow_array::new_null_array(&to.arrow(), array.len()));
        }
        let from_text =
            matches!(array.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
        match to {
            SqlType::Char(_) | SqlType::Varchar(_) => self.limit(&self.text(array)?),
            SqlType::Text | SqlType::Name | SqlType::QuotedChar | SqlType::Unknown => {
                Ok(Arc::new(self.text(array)?))
            }
            SqlType::Varbyte(n) => self.bytes(array, n),
            _ if from_text => self.parsed(&self.text(array)?),
            SqlType::SmallInt => self.whole::<Int16Type>(array, to),
            SqlType::Integer => self.whole::<Int32Type>(array, to),
            SqlType::BigInt | SqlType::Oid | SqlType::Xid | SqlType::RegProc => {
                self.whole::<Int64Type>(array, to)
            }
            SqlType::RegClass | SqlType::RegType => self.whole::<Int64Type>(array, to),
            SqlType::Boolean => self.boolean(array),
            _ => self.arrow(array),
        }
    }

    /// The misfit of one value: NULL or an error.
    fn misfit<T>(&self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(_) if self.mode == Mode::Try => Ok(None),
            Err(error) if self.column.is_empty() => Err(error),
            Err(error) => Err(error.column(self.column)),
        }
    }

    /// Arrow's own cast.
    fn arrow(&self, array: &ArrayRef) -> Result<ArrayRef> {
        let to = self.to;
        let supported = datafusion::arrow::compute::can_cast_types(array.data_type(), &to.arrow());
        if !supported {
            let from = SqlType::of_arrow(array.data_type());
            return Err(error!(CannotCoerce, "cannot cast type {from} to {to}"));
        }
        let safe = datafusion::arrow::compute::CastOptions {
            safe: self.mode == Mode::Try,
            ..Default::default()
        };
        datafusion::arrow::compute::cast_with_options(array, &to.arrow(), &safe).map_err(|e| {
            let error = crate::error_from_datafusion(e.into(), "");
            if matches!(to, SqlType::Decimal { .. }) {
                return numeric_overflow().detail(format!("{}.", error.message()));
            }
            error
        })
    }

    /// Anything as text.
    fn text(&self, array: &ArrayRef) -> Result<StringViewArray> {
        let plain = |array: &ArrayRef| -> Result<StringViewArray> {
            let text = arrow_cast(array, &DataType::Utf8View);
            let text = text.map_err(|e| crate::error_from_datafusion(e.into(), ""))?;
            Ok(text.as_string_view().clone())
        };
        Ok(match array.data_type() {
            DataType::Date32 => printed::<Date32Type>(array, datetime::print_date),
            DataType::Timestamp(TimeUnit::Microsecond, None) => {
                printed::<TimestampMicrosecondType>(array, datetime::print_timestamp)
            }
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
                printed::<TimestampMicrosecondType>(array, |us| {
                    datetime::print_timestamptz_in(us, self.zone)
                })
            }
            DataType::Timestamp(_, zone) => {
                let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
                let array = arrow_cast(array, &micros);
                return self.text(&array.map_err(|e| crate::error_from_datafusion(e.into(), ""))?);
            }
            DataType::Time64(TimeUnit::Microsecond) => {
                printed::<Time64MicrosecondType>(array, datetime::print_time)
            }
            DataType::Float64 => printed::<Float64Type>(array, number::print_float),
            DataType::Float32 => {
                printed::<Float32Type>(array, |x| number::print_float(f64::from(x)))
            }
            DataType::Binary | DataType::BinaryView | DataType::LargeBinary => {
                let bytes = arrow_cast(array, &DataType::BinaryView);
                let bytes = bytes.map_err(|e| crate::error_from_datafusion(e.into(), ""))?;
                bytes.as_binary_view().iter().map(|value| value.map(hex)).collect()
            }
            _ => plain(array)?,
        })
    }

    /// Text within the length of CHAR or VARCHAR.
    fn limit(&self, text: &StringViewArray) -> Result<ArrayRef> {
        let (limit, blank_padded) = match self.to {
            SqlType::Char(n) => (n as usize, true),
            SqlType::Varchar(n) => (n as usize, false),
            _ => (usize::MAX, false),
        };
        let fits = |value: &str| {
            value.len() <= limit && !(blank_padded && (value.ends_with(' ') || !value.is_ascii()))
        };
        if text.iter().flatten().all(fits) {
            return Ok(Arc::new(text.clone()));
        }
        let mut builder = StringViewBuilder::with_capacity(text.len());
        for value in text {
            match value {
                None => builder.append_null(),
                Some(value) => {
                    let kept = self.misfit(self.cut(value, limit, blank_padded))?;
                    builder.append_option(kept);
                }
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    fn cut<'v>(&self, value: &'v str, limit: usize, blank_padded: bool) -> Result<&'v str> {
        let mut kept = if blank_padded { value.trim_end_matches(' ') } else { value };
        if blank_padded && self.mode == Mode::Assign && !kept.is_ascii() {
            return Err(error!(
                CharacterNotInRepertoire,
                "multibyte character not supported for CHAR (hint: try using VARCHAR)"
            ));
        }
        if kept.len() <= limit {
            return Ok(kept);
        }
        let mut end = limit;
        while !kept.is_char_boundary(end) {
            end -= 1;
        }
        let over = &kept[end..];
        if self.mode == Mode::Assign && over.bytes().any(|b| b != b' ') {
            return Err(error!(StringDataRightTruncation, "value too long for type {}", self.to)
                .detail(format!("The value has {} bytes.", value.len())));
        }
        kept = &kept[..end];
        Ok(if blank_padded { kept.trim_end_matches(' ') } else { kept })
    }

    fn bytes(&self, array: &ArrayRef, limit: u32) -> Result<ArrayRef> {
        let array = match array.data_type() {
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                arrow_cast(array, &DataType::BinaryView)
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                arrow_cast(array, &DataType::Utf8View)
                    .and_then(|text| arrow_cast(&text, &DataType::BinaryView))
            }
            other => {
                let from = SqlType::of_arrow(other);
                return Err(error!(CannotCoerce, "cannot cast type {from} to {}", self.to));
            }
        };
        let array = array.map_err(|e| crate::error_from_datafusion(e.into(), ""))?;
        let limit = limit as usize;
        let mut builder = BinaryViewBuilder::with_capacity(array.len());
        for value in array.as_binary_view() {
            let kept = match value {
                Some(value) if value.len() > limit && self.mode == Mode::Assign => {
                    let error =
                        error!(StringDataRightTruncation, "value too long for type {}", self.to);
                    self.misfit::<&[u8]>(Err(error))?
                }
                Some(value) => Some(&value[..value.len().min(limit)]),
                None => None,
            };
            builder.append_option(kept);
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Text read as a value of the type.
    fn parsed(&self, text: &StringViewArray) -> Result<ArrayRef> {
        let session = datetime::Zone::Named(self.zone);
        match self.to {
            SqlType::Boolean => {
                let values = text.iter().map(|value| match value {
                    Some(value) => self.misfit(number::parse_bool(value)),
                    None => Ok(None),
                });
                Ok(Arc::new(values.collect::<Result<BooleanArray>>()?))
            }
            SqlType::SmallInt => self.read::<Int16Type>(text, |t| number::parse_whole(t, self.to)),
            SqlType::Integer => self.read::<Int32Type>(text, |t| number::parse_whole(t, self.to)),
            SqlType::BigInt | SqlType::Oid | SqlType::Xid | SqlType::RegProc => {
                self.read::<Int64Type>(text, |t| number::parse_whole(t, self.to))
            }
            SqlType::Real => self.read::<Float32Type>(text, number::parse_real),
            SqlType::Double => self.read::<Float64Type>(text, number::parse_double),
            SqlType::Decimal { precision, scale } => {
                let array = self
                    .read::<Decimal128Type>(text, |t| number::parse_decimal(t, precision, scale))?;
                let typed = array.as_primitive::<Decimal128Type>().clone();
                let scale = i8::try_from(scale).unwrap_or(0);
                let typed = typed.with_precision_and_scale(precision, scale);
                Ok(Arc::new(typed.map_err(|e| crate::error_from_datafusion(e.into(), ""))?))
            }
            SqlType::Date => self.read::<Date32Type>(text, datetime::parse_date),
            SqlType::Time => self.read::<Time64MicrosecondType>(text, datetime::parse_time),
            SqlType::TimeTz => self.read::<Int64Type>(text, |t| datetime::parse_timetz(t, session)),
            SqlType::Timestamp => {
                self.read::<TimestampMicrosecondType>(text, datetime::parse_timestamp)
            }
            SqlType::TimestampTz => {
                let array = self.read::<TimestampMicrosecondType>(text, |t| {
                    datetime::parse_timestamptz(t, session)
                })?;
                let typed = array.as_primitive::<TimestampMicrosecondType>().clone();
                Ok(Arc::new(typed.with_timezone(UTC)))
            }
            SqlType::RegClass | SqlType::RegType => {
                self.read::<Int64Type>(text, |t| number::parse_whole(t, SqlType::Oid))
            }
            SqlType::Interval => self.read::<IntervalMonthDayNanoType>(text, interval::parse),
            other => Err(error!(CannotCoerce, "cannot cast type character varying to {other}")),
        }
    }

    fn read<T: ArrowPrimitiveType>(
        &self,
        text: &StringViewArray,
        parse: impl Fn(&str) -> Result<T::Native>,
    ) -> Result<ArrayRef> {
        let mut builder = PrimitiveBuilder::<T>::with_capacity(text.len());
        for value in text {
            let value = match value {
                Some(value) => self.misfit(parse(value))?,
                None => None,
            };
            builder.append_option(value);
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Numbers rounded half away from zero to whole ones.
    fn whole<T>(&self, array: &ArrayRef, to: SqlType) -> Result<ArrayRef>
    where
        T: ArrowPrimitiveType,
        T::Native: TryFrom<i128>,
    {
        let fit = |n: i128| {
            T::Native::try_from(n).map_err(|_| {
                error!(NumericValueOutOfRange, "value \"{n}\" is out of range for type {to}")
            })
        };
        let mut builder = PrimitiveBuilder::<T>::with_capacity(array.len());
        match array.data_type() {
            DataType::Decimal128(_, scale) => {
                for value in array.as_primitive::<Decimal128Type>() {
                    let value = match value {
                        Some(n) => self.misfit(fit(number::round_unscaled(n, *scale)))?,
                        None => None,
                    };
                    builder.append_option(value);
                }
            }
            DataType::Float32 | DataType::Float64 => {
                let floats = arrow_cast(array, &DataType::Float64)
                    .map_err(|e| crate::error_from_datafusion(e.into(), ""))?;
                for value in floats.as_primitive::<Float64Type>() {
                    let value = match value {
                        // The cast saturates, and what is beyond does not fit either.
                        Some(x) if x.is_finite() => {
                            self.misfit(fit(x.round_ties_even() as i128))?
                        }
                        Some(x) => self.misfit(Err(error!(
                            NumericValueOutOfRange,
                            "value \"{x}\" is out of range for type {to}"
                        )))?,
                        None => None,
                    };
                    builder.append_option(value);
                }
            }
            _ => return self.arrow(array),
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Zero is false, any other number true.
    fn boolean(&self, array: &ArrayRef) -> Result<ArrayRef> {
        if !array.data_type().is_numeric() {
            return self.arrow(array);
        }
        let array = arrow_cast(array, &DataType::Float64)
            .map_err(|e| crate::error_from_datafusion(e.into(), ""))?;
        let values = array.as_primitive::<Float64Type>().iter();
        Ok(Arc::new(values.map(|value| value.map(|x| x != 0.0)).collect::<BooleanArray>()))
    }
}

fn printed<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    print: impl Fn(T::Native) -> String,
) -> StringViewArray {
    array.as_primitive::<T>().iter().map(|value| value.map(&print)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 22003 in Redshift's words.
pub(crate) fn numeric_overflow() -> Error {
    error!(NumericValueOutOfRange, "numeric data overflow (result precision)")
}
