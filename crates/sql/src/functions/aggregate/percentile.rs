//! MEDIAN, PERCENTILE_CONT and PERCENTILE_DISC, exact, over all values of a group.
//!
//! While a query is bound they become plain aggregates of the value, the fraction and whether the
//! order descends, so that they work with OVER too. An interpolated number is exact: its scale is
//! that of the value and that of the fraction together, as the product of the two would have it.
//! The state is a list of the values.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field, FieldRef, SortOptions, TimeUnit};
use base::{Error, Result, error};
use datafusion::arrow::compute::{cast, concat, sort};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{ScalarValue, internal_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::expressions::Literal;

use super::PRECISION;
use crate::bind::external;
use crate::functions::Planned;
use crate::functions::cast::numeric_overflow;
use crate::functions::number::limit;

/// `interpolated_percentile(value, fraction, descending)`: PERCENTILE_CONT and MEDIAN.
pub(crate) const INTERPOLATED: &str = "interpolated_percentile";
/// `discrete_percentile(value, fraction, descending)`: PERCENTILE_DISC.
pub(crate) const DISCRETE: &str = "discrete_percentile";
/// The most digits behind the point of a result.
const SCALE_MAX: i8 = 37;

/// One of the two functions.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    name: &'static str,
    discrete: bool,
    signature: Signature,
}

/// The functions.
pub(super) fn functions() -> Vec<Arc<AggregateUDF>> {
    let one = |name, discrete| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Percentile { name, discrete, signature }))
    };
    vec![one(INTERPOLATED, false), one(DISCRETE, true)]
}

/// A fraction from 0 to 1: a number of units in the last place.
#[derive(Clone, Copy, Debug)]
struct Fraction {
    units: i128,
    /// How many units are 1.
    whole: i128,
}

impl Fraction {
    fn read(value: &ScalarValue) -> Result<Self> {
        let (units, scale) = match value {
            ScalarValue::Decimal128(Some(units), _, scale) => (*units, *scale),
            _ => {
                return Err(error!(
                    InvalidParameterValue,
                    "the fraction of a percentile must be a number"
                ));
            }
        };
        let whole = 10i128.pow(u32::from(scale.unsigned_abs()));
        if !(0..=whole).contains(&units) {
            return Err(error!(
                NumericValueOutOfRange,
                "percentile value {value} is not between 0 and 1"
            ));
        }
        Ok(Self { units, whole })
    }

    fn complement(self) -> Self {
        Self { units: self.whole - self.units, ..self }
    }
}

impl Percentile {
    fn refused(&self, types: &[DataType]) -> Error {
        let shown = if self.discrete { "percentile_disc" } else { "percentile_cont" };
        let value = types
            .first()
            .map_or_else(String::new, |value| base::SqlType::of_arrow(value).to_string());
        error!(UndefinedFunction, "function {shown}() of {value} does not exist")
            .hint("Values are numbers, dates and timestamps, the fraction a number.")
    }

    fn collected(&self, args: &AccumulatorArgs<'_>) -> Result<Collected> {
        let literal = |n: usize| {
            let found = args.exprs.get(n).and_then(|expr| expr.downcast_ref::<Literal>());
            found.map(Literal::value)
        };
        let (Some(fraction), Some(descending)) = (literal(1), literal(2)) else {
            return Err(error!(
                InvalidParameterValue,
                "the fraction of a percentile must be a constant"
            ));
        };
        let descending = *descending == ScalarValue::Boolean(Some(true));
        let fraction = Fraction::read(fraction)?;
        Ok(Collected {
            values: Vec::new(),
            value_type: args.expr_fields[0].data_type().clone(),
            result: args.return_type().clone(),
            fraction,
            descending,
            discrete: self.discrete,
        })
    }
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Planned<Vec<DataType>> {
        let [value, fraction, descending] = types else {
            return Err(external(self.refused(types)));
        };
        let value = match value {
            DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Decimal128(..) => {
                value.clone()
            }
            DataType::Float32 if self.discrete => value.clone(),
            DataType::Float32 | DataType::Float64 | DataType::Null => DataType::Float64,
            DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _) => value.clone(),
            DataType::Utf8View | DataType::Time64(_) | DataType::Boolean if self.discrete => {
                value.clone()
            }
            other if other.is_string() && self.discrete => DataType::Utf8View,
            _ => return Err(external(self.refused(types))),
        };
        let fraction = match fraction {
            DataType::Decimal128(..) => fraction.clone(),
            whole if whole.is_integer() => DataType::Decimal128(20, 0),
            DataType::Float32 | DataType::Float64 => DataType::Decimal128(20, 15),
            _ => return Err(external(self.refused(types))),
        };
        Ok(vec![value, fraction, descending.clone()])
    }

    fn return_type(&self, types: &[DataType]) -> Planned<DataType> {
        let types = self.coerce_types(types)?;
        let scale = match types[1] {
            DataType::Decimal128(_, scale) => scale,
            _ => 0,
        };
        let interpolated =
            |value: i8| DataType::Decimal128(PRECISION, value.saturating_add(scale).min(SCALE_MAX));
        Ok(match &types[0] {
            value if self.discrete => value.clone(),
            DataType::Int16 | DataType::Int32 | DataType::Int64 => interpolated(0),
            DataType::Decimal128(_, value) => interpolated(*value),
            other => other.clone(),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Planned<Box<dyn Accumulator>> {
        if args.is_distinct {
            let refused = Error::unsupported("DISTINCT is not supported by percentiles");
            return Err(external(refused));
        }
        Ok(Box::new(self.collected(&args).map_err(external)?))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Planned<Vec<FieldRef>> {
        let item = Field::new_list_field(args.input_fields[0].data_type().clone(), true);
        Ok(vec![Arc::new(Field::new_list(format_state_name(args.name, "values"), item, false))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The values of a group.
#[derive(Debug)]
struct Collected {
    values: Vec<ArrayRef>,
    value_type: DataType,
    result: DataType,
    fraction: Fraction,
    descending: bool,
    discrete: bool,
}

impl Collected {
    fn all(&self) -> Planned<ArrayRef> {
        let parts: Vec<&dyn Array> = self.values.iter().map(AsRef::as_ref).collect();
        if parts.is_empty() {
            return Ok(arrow_array::new_empty_array(&self.value_type));
        }
        Ok(concat(&parts)?)
    }

    /// The least value that as great a part of the values as the fraction do not exceed.
    fn discrete(&self, sorted: &ArrayRef, count: i128) -> Planned<ScalarValue> {
        let Fraction { units, whole } = self.fraction;
        let rank = (units * count + whole - 1) / whole;
        let place = usize::try_from((rank - 1).max(0)).unwrap_or(0);
        ScalarValue::try_from_array(sorted, place)
    }

    /// The value between the two whose ranks the fraction lies between.
    fn interpolated(&self, sorted: &ArrayRef, count: i128) -> Planned<ScalarValue> {
        // The order ascends here: the fraction counts from the other end where it descends.
        let fraction = if self.descending { self.fraction.complement() } else { self.fraction };
        let Fraction { units, whole } = fraction;
        let rank = units * (count - 1);
        let low = usize::try_from(rank / whole).unwrap_or(0);
        let between = Between { low, part: rank % whole, whole };
        Ok(match &self.result {
            DataType::Decimal128(precision, scale) => {
                let given = match &self.value_type {
                    DataType::Decimal128(_, scale) => *scale,
                    _ => 0,
                };
                let numbers = cast(sorted, &DataType::Decimal128(PRECISION, given))?;
                let exact = between.exact(numbers.as_primitive::<Decimal128Type>());
                // What exceeds the greatest scale is cut off.
                let digits = self.digits_of_fraction();
                let over = i16::from(given) + digits - i16::from(*scale);
                let cut = 10i128.checked_pow(u32::try_from(over).unwrap_or(0));
                let value = exact.zip(cut).map(|(exact, cut)| exact / cut);
                let value = value.filter(|value| value.abs() < limit(*precision));
                let value = value.ok_or_else(|| external(numeric_overflow()))?;
                ScalarValue::Decimal128(Some(value), *precision, *scale)
            }
            DataType::Float64 => {
                let (low, high) = between.pair(sorted.as_primitive::<Float64Type>());
                let part = between.part as f64 / between.whole as f64;
                ScalarValue::Float64(Some(low + (high - low) * part))
            }
            DataType::Date32 => {
                let days = between.nearest(sorted.as_primitive::<Date32Type>());
                ScalarValue::Date32(i32::try_from(days).ok())
            }
            DataType::Timestamp(_, zone) => {
                let us = between.nearest(sorted.as_primitive::<TimestampMicrosecondType>());
                ScalarValue::TimestampMicrosecond(i64::try_from(us).ok(), zone.clone())
            }
            other => return internal_err!("a percentile cannot be of {other}"),
        })
    }

    fn digits_of_fraction(&self) -> i16 {
        self.fraction.whole.checked_ilog10().and_then(|n| i16::try_from(n).ok()).unwrap_or(0)
    }
}

/// A point between the value at a place and the next.
struct Between {
    low: usize,
    /// How far it is from the lower, of `whole`.
    part: i128,
    whole: i128,
}

impl Between {
    fn pair<T: ArrowPrimitiveType>(
        &self,
        sorted: &arrow_array::PrimitiveArray<T>,
    ) -> (T::Native, T::Native) {
        let high = self.low + usize::from(self.part > 0);
        (sorted.value(self.low), sorted.value(high))
    }

    /// In units of the fraction's last place; `None` beyond 128 bits.
    fn exact<T>(&self, sorted: &arrow_array::PrimitiveArray<T>) -> Option<i128>
    where
        T: ArrowPrimitiveType,
        T::Native: Into<i128>,
    {
        let (low, high) = self.pair(sorted);
        let low = low.into().checked_mul(self.whole - self.part)?;
        low.checked_add(high.into().checked_mul(self.part)?)
    }

    /// The whole number at or before the point.
    fn nearest<T>(&self, sorted: &arrow_array::PrimitiveArray<T>) -> i128
    where
        T: ArrowPrimitiveType,
        T::Native: Into<i128>,
    {
        let (low, high) = self.pair(sorted);
        let (low, high) = (low.into(), high.into());
        low + ((high - low) * self.part).div_euclid(self.whole)
    }
}

impl Accumulator for Collected {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Planned<()> {
        if let Some(values) = values.first() {
            self.values.push(Arc::clone(values));
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Planned<()> {
        let Some(lists) = states.first() else { return Ok(()) };
        self.values.extend(lists.as_list::<i32>().iter().flatten());
        Ok(())
    }

    fn state(&mut self) -> Planned<Vec<ScalarValue>> {
        Ok(vec![SingleRowListArrayBuilder::new(self.all()?).build_list_scalar()])
    }

    fn evaluate(&mut self) -> Planned<ScalarValue> {
        let descending = self.descending && self.discrete;
        let options = SortOptions { descending, nulls_first: false };
        let sorted = sort(&self.all()?, Some(options))?;
        let count = sorted.len() - sorted.null_count();
        if count == 0 {
            return ScalarValue::try_from(&self.result);
        }
        let count = count as i128;
        if self.discrete {
            self.discrete(&sorted, count)
        } else {
            self.interpolated(&sorted, count)
        }
    }

    fn size(&self) -> usize {
        let values = self.values.iter().map(|values| values.get_array_memory_size());
        size_of_val(self) + values.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Date32Array, Float64Array, Int32Array};

    use super::*;

    fn percentile(values: ArrayRef, units: i128, descending: bool, discrete: bool) -> ScalarValue {
        let value_type = values.data_type().clone();
        let function = Percentile {
            name: "",
            discrete,
            signature: Signature::user_defined(Volatility::Immutable),
        };
        let types = [value_type.clone(), DataType::Decimal128(2, 2), DataType::Boolean];
        let mut collected = Collected {
            values: vec![values],
            value_type,
            result: function.return_type(&types).unwrap(),
            fraction: Fraction { units, whole: 100 },
            descending,
            discrete,
        };
        let state = collected.state().unwrap()[0].to_array().unwrap();
        collected.values.clear();
        collected.merge_batch(&[state]).unwrap();
        collected.evaluate().unwrap()
    }

    #[test]
    fn between_two_values() {
        let whole: ArrayRef = Arc::new(Int32Array::from(vec![Some(10), None, Some(1), Some(2)]));
        let decimal = |units| ScalarValue::Decimal128(Some(units), 38, 2);
        assert_eq!(percentile(whole.clone(), 50, false, false), decimal(200));
        assert_eq!(percentile(whole.clone(), 25, false, false), decimal(150));
        assert_eq!(percentile(whole.clone(), 25, true, false), decimal(600));
        assert_eq!(percentile(whole.clone(), 100, false, false), decimal(1_000));
        assert_eq!(percentile(whole.clone(), 50, false, true), ScalarValue::Int32(Some(2)));
        assert_eq!(percentile(whole.clone(), 33, true, true), ScalarValue::Int32(Some(10)));
        assert_eq!(percentile(whole, 0, false, true), ScalarValue::Int32(Some(1)));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0]));
        assert_eq!(percentile(floats, 50, false, false), ScalarValue::Float64(Some(1.5)));
        let days: ArrayRef = Arc::new(Date32Array::from(vec![10, 15]));
        assert_eq!(percentile(days, 50, false, false), ScalarValue::Date32(Some(12)));
        let none: ArrayRef = Arc::new(Int32Array::from(vec![None]));
        assert!(percentile(none, 50, false, false).is_null());
    }
}
