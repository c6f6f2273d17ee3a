//! From groups and states to the batches that DataFusion's aggregation would give.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, StringBuilder, StringViewBuilder};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType, UInt64Type,
};
use arrow_array::{
    ArrayRef, Decimal128Array, Int64Array, PrimitiveArray, RecordBatch, RecordBatchOptions,
};
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use base::error;
use datafusion::common::{Result, internal_err};
use vector::{Accumulator, Grouper, States, TextKeys};

use super::fuse::Given;
use super::machine::Machine;
use crate::error::into_datafusion;

/// The first whole number with more digits than a NUMERIC can have.
const DIGITS_END: u128 = 10_u128.pow(38);

/// The rows of some groups: keys, then what `given` names.
pub(super) fn batch(
    machine: &Machine,
    schema: &SchemaRef,
    given: &[Given],
    groups: Range<usize>,
) -> Result<RecordBatch> {
    let keys = machine.fused.keys.len();
    let mut columns = Vec::with_capacity(keys + given.len());
    if let Some(grouper) = &machine.grouper {
        for column in 0..keys {
            let data_type = schema.field(column).data_type();
            columns.push(key(grouper, column, groups.clone(), data_type, &machine.texts)?);
        }
    }
    for (place, given) in given.iter().enumerate() {
        let data_type = schema.field(keys + place).data_type();
        columns.push(match given {
            Given::State { accumulator, zero } => {
                state(&machine.accumulators[*accumulator], *zero, groups.clone(), data_type)?
            }
            Given::Averaged { count } => {
                let counts = integer_states(&machine.accumulators[*count], groups.clone());
                integers(counts.map(|count| count.filter(|count| *count != 0)), data_type)?
            }
            Given::Average { count, sum, sum_scale } => {
                let (count, sum) = (&machine.accumulators[*count], &machine.accumulators[*sum]);
                average(count, sum, *sum_scale, groups.clone(), data_type)?
            }
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(groups.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

fn out_of_range(data_type: &DataType) -> datafusion::common::DataFusionError {
    let name = match data_type {
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        _ => "value",
    };
    into_datafusion(error!(NumericValueOutOfRange, "{name} out of range"))
}

fn primitive<T: ArrowPrimitiveType>(
    values: impl Iterator<Item = Option<i128>>,
    data_type: &DataType,
) -> Result<ArrayRef>
where
    T::Native: TryFrom<i128>,
{
    let mut lost = false;
    let narrowed = values.map(|value| {
        let value = value?;
        let narrow = T::Native::try_from(value).ok();
        lost |= narrow.is_none();
        narrow
    });
    let array: PrimitiveArray<T> = narrowed.collect();
    match lost {
        true => Err(out_of_range(data_type)),
        false => Ok(Arc::new(array.with_data_type(data_type.clone()))),
    }
}

/// 64-bit integers as an array of a type; `None` for a type that may not hold them all.
fn narrow(values: impl Iterator<Item = i64>, data_type: &DataType) -> Option<ArrayRef> {
    Some(match data_type {
        DataType::Int64 => Arc::new(Int64Array::from_iter_values(values)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let array = PrimitiveArray::<TimestampMicrosecondType>::from_iter_values(values);
            Arc::new(array.with_data_type(data_type.clone()))
        }
        DataType::Decimal128(..) => {
            let array = Decimal128Array::from_iter_values(values.map(i128::from));
            Arc::new(array.with_data_type(data_type.clone()))
        }
        _ => return None,
    })
}

/// Decimals, which have no more digits than a NUMERIC can have.
fn decimals(values: impl Iterator<Item = Option<i128>>, data_type: &DataType) -> Result<ArrayRef> {
    let mut lost = false;
    let array: Decimal128Array = values
        .inspect(|value| lost |= value.is_some_and(|value| value.unsigned_abs() >= DIGITS_END))
        .collect();
    match lost {
        true => Err(into_datafusion(error!(
            NumericValueOutOfRange,
            "numeric data overflow (result precision)"
        ))),
        false => Ok(Arc::new(array.with_data_type(data_type.clone()))),
    }
}

/// Integers as an array of a type.
fn integers(values: impl Iterator<Item = Option<i128>>, data_type: &DataType) -> Result<ArrayRef> {
    match data_type {
        DataType::Int16 => primitive::<Int16Type>(values, data_type),
        DataType::Int32 => primitive::<Int32Type>(values, data_type),
        DataType::Int64 => primitive::<Int64Type>(values, data_type),
        DataType::UInt64 => primitive::<UInt64Type>(values, data_type),
        DataType::Date32 => primitive::<Date32Type>(values, data_type),
        DataType::Decimal128(..) => decimals(values, data_type),
        DataType::Time64(TimeUnit::Microsecond) => {
            primitive::<Time64MicrosecondType>(values, data_type)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            primitive::<TimestampMicrosecondType>(values, data_type)
        }
        other => internal_err!("a pipeline gives no {other}"),
    }
}

fn key(
    grouper: &Grouper,
    column: usize,
    groups: Range<usize>,
    data_type: &DataType,
    texts: &TextKeys,
) -> Result<ArrayRef> {
    let narrow_keys = grouper.narrow_keys(groups.clone(), column);
    if let Some(array) = narrow_keys.and_then(|keys| narrow(keys, data_type)) {
        return Ok(array);
    }
    let keys = groups.clone().map(|group| grouper.key(group, column));
    Ok(match data_type {
        DataType::Boolean => {
            let mut builder = BooleanBuilder::with_capacity(groups.len());
            keys.for_each(|key| builder.append_option(key.map(|key| key != 0)));
            Arc::new(builder.finish())
        }
        DataType::Utf8View => {
            let mut builder = StringViewBuilder::with_capacity(groups.len());
            each_text(keys, texts, |text| builder.append_option(text))?;
            Arc::new(builder.finish())
        }
        DataType::Utf8 => {
            let mut builder = StringBuilder::new();
            each_text(keys, texts, |text| builder.append_option(text))?;
            Arc::new(builder.finish())
        }
        _ => return integers(keys, data_type),
    })
}

fn each_text(
    keys: impl Iterator<Item = Option<i128>>,
    texts: &TextKeys,
    mut each: impl FnMut(Option<&str>),
) -> Result<()> {
    let mut scratch = [0; 8];
    for key in keys {
        let Some(key) = key else {
            each(None);
            continue;
        };
        match std::str::from_utf8(texts.text(key as i64, &mut scratch)) {
            Ok(text) => each(Some(text)),
            Err(_) => return internal_err!("a key is no text"),
        }
    }
    Ok(())
}

/// The integer of each group, `None` without a row that counts.
fn integer_states(
    accumulator: &Accumulator,
    groups: Range<usize>,
) -> impl Iterator<Item = Option<i128>> + '_ {
    groups.map(|group| {
        let value = match accumulator.states() {
            States::Narrow(states) => i128::from(states[group]),
            States::Wide(states) => states[group],
            States::Float(_) => 0,
        };
        accumulator.is_seen(group).then_some(value)
    })
}

fn state(
    accumulator: &Accumulator,
    zero: bool,
    groups: Range<usize>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    if let States::Float(states) = accumulator.states() {
        let values = groups.map(|group| accumulator.is_seen(group).then_some(states[group]));
        return Ok(Arc::new(values.collect::<PrimitiveArray<Float64Type>>()));
    }
    let states = accumulator.narrow_states();
    let states = states.map(|states| states[groups.clone()].iter().copied());
    if let Some(array) = states.and_then(|states| narrow(states, data_type)) {
        return Ok(array);
    }
    let values = integer_states(accumulator, groups);
    match zero {
        true => integers(values.map(|value| value.or(Some(0))), data_type),
        false => integers(values, data_type),
    }
}

/// Whole numbers and decimals are divided towards zero, as `sql` and DataFusion do.
fn average(
    count: &Accumulator,
    sum: &Accumulator,
    sum_scale: Option<i8>,
    groups: Range<usize>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let counts = integer_states(count, groups.clone());
    let counts = counts.map(|count| count.filter(|count| *count != 0));
    if let States::Float(sums) = sum.states() {
        let values = groups.zip(counts).map(|(group, count)| {
            let sum = sum.is_seen(group).then_some(sums[group])?;
            Some(sum / count? as f64)
        });
        return Ok(Arc::new(values.collect::<PrimitiveArray<Float64Type>>()));
    }
    let (sum_scale, precision, scale) = match (sum_scale, data_type) {
        (Some(sum_scale), DataType::Decimal128(precision, scale)) => (sum_scale, precision, scale),
        // An average of whole numbers is never beyond them.
        (Some(0), DataType::Int64) => {
            let sums = integer_states(sum, groups).zip(counts);
            return integers(sums.map(|(sum, count)| Some(sum? / count?)), data_type);
        }
        _ => return internal_err!("an average of type {data_type}"),
    };
    let factor = u32::try_from(*scale - sum_scale).ok().and_then(|n| 10_i128.checked_pow(n));
    let Some(factor) = factor else {
        return Err(out_of_range(data_type));
    };
    let limit = 10_i128.pow(u32::from(*precision).min(38));
    let mut lost = false;
    let values: Vec<Option<i128>> = integer_states(sum, groups)
        .zip(counts)
        .map(|(sum, count)| {
            let (sum, count) = (sum?, count?);
            let value = sum.checked_mul(factor).map(|sum| sum / count);
            let value = value.filter(|value| -limit < *value && *value < limit);
            lost |= value.is_none();
            value
        })
        .collect();
    match lost {
        true => Err(out_of_range(data_type)),
        false => integers(values.into_iter(), data_type),
    }
}
