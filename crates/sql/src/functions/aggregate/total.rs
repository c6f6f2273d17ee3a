//! Sums of whole numbers and decimals, kept in 128 bits, and averages over them.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal128Type, Int16Type, Int32Type, Int64Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, BooleanArray, Decimal128Array, Int64Array, UInt64Array};
use arrow_schema::DataType;
use datafusion::arrow::compute::kernels::nullif::nullif;
use datafusion::arrow::compute::{cast, not, prep_null_mask_filter};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{ScalarValue, internal_err};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::accumulate::NullState;

use super::PRECISION;
use crate::bind::external;
use crate::functions::Planned;
use crate::functions::cast::numeric_overflow;
use crate::functions::number::limit;

/// What is done with the values of an array in 128 bits: given its values and whether each counts.
macro_rules! for_values {
    ($array:expr, $body:ident $(, $more:expr)*) => {
        match $array.data_type() {
            DataType::Int16 => $body($array.as_primitive::<Int16Type>() $(, $more)*),
            DataType::Int32 => $body($array.as_primitive::<Int32Type>() $(, $more)*),
            DataType::Int64 => $body($array.as_primitive::<Int64Type>() $(, $more)*),
            DataType::Decimal128(..) => $body($array.as_primitive::<Decimal128Type>() $(, $more)*),
            other => return internal_err!("SUM and AVG cannot add up {other}"),
        }
    };
}

type Values<T> = arrow_array::PrimitiveArray<T>;

/// A sum that may have gone beyond 128 bits.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    value: i128,
    overflowed: bool,
}

impl Sum {
    fn add(&mut self, value: i128) {
        let (sum, overflowed) = self.value.overflowing_add(value);
        self.value = sum;
        self.overflowed |= overflowed;
    }
}

/// The sum of an array.
fn sum<T>(values: &Values<T>) -> Sum
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128>,
{
    let mut sum = Sum::default();
    match values.null_count() {
        0 => values.values().iter().for_each(|value| sum.add((*value).into())),
        _ => values.iter().flatten().for_each(|value| sum.add(value.into())),
    }
    sum
}

/// A sum, and an average as one with a count.
#[derive(Debug)]
pub(super) struct Total {
    average: bool,
    sum_type: DataType,
    sum: Sum,
    /// Values that are not NULL.
    count: u64,
}

impl Total {
    /// Of nothing yet. `result` is Int64 or, for a sum, a decimal.
    pub(super) fn new(average: bool, result: DataType) -> Total {
        let sum_type = if average { DataType::Decimal128(PRECISION, 0) } else { result };
        Total { average, sum_type, sum: Sum::default(), count: 0 }
    }

    /// The type of the sum in a state.
    pub(super) fn sum_type(&self) -> &DataType {
        &self.sum_type
    }

    fn add(&mut self, array: &ArrayRef) -> Planned<u64> {
        let added = for_values!(array, sum);
        self.sum.add(added.value);
        self.sum.overflowed |= added.overflowed;
        Ok((array.len() - array.null_count()) as u64)
    }

    fn sum_value(&self) -> Planned<ScalarValue> {
        let known = self.count > 0;
        Ok(match &self.sum_type {
            DataType::Int64 => ScalarValue::Int64(known.then(|| narrow(self.sum)).transpose()?),
            DataType::Decimal128(precision, scale) => {
                let sum = known.then(|| checked(self.sum)).transpose()?;
                ScalarValue::Decimal128(sum, *precision, *scale)
            }
            other => return internal_err!("{other} is no type of a sum"),
        })
    }
}

/// The sum, if it has no more digits than a NUMERIC can have.
fn checked(sum: Sum) -> Planned<i128> {
    if sum.overflowed || sum.value.unsigned_abs() >= limit(PRECISION).unsigned_abs() {
        return Err(external(numeric_overflow()));
    }
    Ok(sum.value)
}

/// The sum as a BIGINT.
fn narrow(sum: Sum) -> Planned<i64> {
    i64::try_from(sum.value).map_err(|_| {
        external(
            base::error!(NumericValueOutOfRange, "bigint out of range")
                .hint("Cast the argument of SUM to BIGINT or NUMERIC."),
        )
    })
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Planned<()> {
        self.count += self.add(&values[0])?;
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Planned<()> {
        let array = &values[0];
        let taken = for_values!(array, sum);
        let (sum, overflowed) = self.sum.value.overflowing_sub(taken.value);
        self.sum.value = sum;
        self.sum.overflowed |= overflowed || taken.overflowed;
        self.count -= (array.len() - array.null_count()) as u64;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Planned<()> {
        match states {
            [counts, sums] if self.average => {
                self.add(sums)?;
                self.count += counts.as_primitive::<UInt64Type>().iter().flatten().sum::<u64>();
            }
            [sums] if !self.average => self.count += self.add(sums)?,
            _ => return internal_err!("SUM and AVG got another state"),
        }
        Ok(())
    }

    fn state(&mut self) -> Planned<Vec<ScalarValue>> {
        let sum = self.sum_value()?;
        Ok(match self.average {
            true => vec![ScalarValue::UInt64(Some(self.count)), sum],
            false => vec![sum],
        })
    }

    fn evaluate(&mut self) -> Planned<ScalarValue> {
        if !self.average {
            return self.sum_value();
        }
        // An average is never beyond the values that it is of.
        let average = (self.count > 0).then(|| checked(self.sum)).transpose()?;
        Ok(ScalarValue::Int64(average.map(|sum| quotient(sum, self.count))))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The average of whole numbers, cut off towards zero.
fn quotient(sum: i128, count: u64) -> i64 {
    i64::try_from(sum / i128::from(count)).unwrap_or(i64::MAX)
}

/// SUM(DISTINCT) and AVG(DISTINCT): every value once.
#[derive(Debug)]
pub(super) struct Distinct {
    values: HashSet<i128>,
    total: Total,
}

impl Distinct {
    pub(super) fn new(total: Total) -> Distinct {
        Distinct { values: HashSet::new(), total }
    }
}

fn collect<T>(array: &Values<T>, values: &mut HashSet<i128>)
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128>,
{
    values.extend(array.iter().flatten().map(Into::into));
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Planned<()> {
        let (array, known) = (&values[0], &mut self.values);
        for_values!(array, collect, known);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Planned<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.update_batch(&[values])?;
        }
        Ok(())
    }

    fn state(&mut self) -> Planned<Vec<ScalarValue>> {
        let values = std::mem::take(&mut self.values);
        let values: ArrayRef = match self.total.sum_type() {
            DataType::Int64 => {
                let narrow = |value| narrow(Sum { value, overflowed: false });
                let values = values.into_iter().map(narrow).collect::<Planned<Vec<i64>>>()?;
                Arc::new(Int64Array::from(values))
            }
            to => {
                let values = Decimal128Array::from(values.into_iter().collect::<Vec<i128>>());
                Arc::new(values.with_data_type(to.clone()))
            }
        };
        Ok(vec![SingleRowListArrayBuilder::new(values).build_list_scalar()])
    }

    fn evaluate(&mut self) -> Planned<ScalarValue> {
        self.total.sum = Sum::default();
        self.values.iter().for_each(|value| self.total.sum.add(*value));
        self.total.count = self.values.len() as u64;
        self.total.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<i128>()
    }
}

/// The same by groups.
#[derive(Debug)]
pub(super) struct GroupTotals {
    /// Says what is wanted.
    kind: Total,
    sums: Vec<i128>,
    /// Of an average only.
    counts: Vec<u64>,
    overflowed: bool,
    seen: NullState,
}

/// Which rows of a batch go to which group.
struct Rows<'a> {
    groups: &'a [usize],
    filter: Option<&'a BooleanArray>,
    total: usize,
}

impl GroupTotals {
    pub(super) fn new(kind: Total) -> GroupTotals {
        let (sums, counts) = (Vec::new(), Vec::new());
        GroupTotals { kind, sums, counts, overflowed: false, seen: NullState::new() }
    }

    fn add_sums(&mut self, array: &ArrayRef, rows: &Rows<'_>) -> Planned<()> {
        self.sums.resize(rows.total, 0);
        for_values!(array, add_to_groups, self, rows);
        Ok(())
    }

    fn sums(&mut self, emit: EmitTo) -> Planned<ArrayRef> {
        let sums = emit.take_needed(&mut self.sums);
        let seen = self.seen.build(emit);
        let overflowed = self.overflowed;
        let whole = |value| Sum { value, overflowed };
        Ok(match self.kind.sum_type() {
            DataType::Int64 => {
                let narrow = |value| narrow(whole(value));
                let sums = sums.into_iter().map(narrow).collect::<Planned<Vec<i64>>>()?;
                Arc::new(Int64Array::new(sums.into(), seen))
            }
            to => {
                sums.iter().try_for_each(|value| checked(whole(*value)).map(drop))?;
                Arc::new(Decimal128Array::new(sums.into(), seen).with_data_type(to.clone()))
            }
        })
    }
}

fn add_to_groups<T>(values: &Values<T>, totals: &mut GroupTotals, rows: &Rows<'_>)
where
    T: ArrowPrimitiveType + Send,
    T::Native: Into<i128>,
{
    let (sums, overflowed) = (&mut totals.sums, &mut totals.overflowed);
    totals.seen.accumulate(rows.groups, values, rows.filter, rows.total, |group, value| {
        let (sum, beyond) = sums[group].overflowing_add(value.into());
        sums[group] = sum;
        *overflowed |= beyond;
    });
}

fn count_in_groups<T>(values: &Values<T>, totals: &mut GroupTotals, rows: &Rows<'_>)
where
    T: ArrowPrimitiveType + Send,
    T::Native: Into<i128>,
{
    let (sums, counts) = (&mut totals.sums, &mut totals.counts);
    let overflowed = &mut totals.overflowed;
    totals.seen.accumulate(rows.groups, values, rows.filter, rows.total, |group, value| {
        let (sum, beyond) = sums[group].overflowing_add(value.into());
        sums[group] = sum;
        *overflowed |= beyond;
        counts[group] += 1;
    });
}

impl GroupsAccumulator for GroupTotals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Planned<()> {
        let rows = Rows { groups: group_indices, filter: opt_filter, total: total_num_groups };
        let array = &values[0];
        if !self.kind.average {
            return self.add_sums(array, &rows);
        }
        self.sums.resize(rows.total, 0);
        self.counts.resize(rows.total, 0);
        for_values!(array, count_in_groups, self, &rows);
        Ok(())
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Planned<()> {
        let rows = Rows { groups: group_indices, filter: None, total: total_num_groups };
        match states {
            [sums] if !self.kind.average => self.add_sums(sums, &rows),
            [counts, sums] if self.kind.average => {
                self.counts.resize(rows.total, 0);
                for (group, count) in group_indices.iter().zip(counts.as_primitive::<UInt64Type>())
                {
                    self.counts[*group] += count.unwrap_or(0);
                }
                self.add_sums(sums, &rows)
            }
            _ => internal_err!("SUM and AVG got another state"),
        }
    }

    fn state(&mut self, emit_to: EmitTo) -> Planned<Vec<ArrayRef>> {
        if !self.kind.average {
            return Ok(vec![self.sums(emit_to)?]);
        }
        let counts = emit_to.take_needed(&mut self.counts);
        Ok(vec![Arc::new(UInt64Array::from(counts)), self.sums(emit_to)?])
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Planned<ArrayRef> {
        if !self.kind.average {
            return self.sums(emit_to);
        }
        let counts = emit_to.take_needed(&mut self.counts);
        let sums = self.sums(emit_to)?;
        let sums = sums.as_primitive::<Decimal128Type>();
        let averages = sums.iter().zip(counts).map(|(sum, count)| sum.map(|s| quotient(s, count)));
        Ok(Arc::new(averages.collect::<Int64Array>()))
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Planned<Vec<ArrayRef>> {
        let values = match opt_filter {
            Some(filter) => {
                // What does not pass, or passes unknown, adds nothing.
                let kept = match filter.null_count() {
                    0 => filter.clone(),
                    _ => prep_null_mask_filter(filter),
                };
                nullif(&values[0], &not(&kept)?)?
            }
            None => Arc::clone(&values[0]),
        };
        // The sum has the scale of what is added up, and at least as many digits.
        let sums = match (values.data_type(), self.kind.sum_type()) {
            (DataType::Decimal128(..), to) => {
                let decimals = values.as_primitive::<Decimal128Type>().clone();
                Arc::new(decimals.with_data_type(to.clone())) as ArrayRef
            }
            (_, to) => cast(&values, to)?,
        };
        if !self.kind.average {
            return Ok(vec![sums]);
        }
        let counts = (0..sums.len()).map(|row| u64::from(sums.is_valid(row)));
        Ok(vec![Arc::new(counts.collect::<UInt64Array>()), sums])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>()
            + self.counts.capacity() * size_of::<u64>()
            + self.seen.size()
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Int32Array;

    use super::*;

    fn decimal(scale: i8) -> DataType {
        DataType::Decimal128(PRECISION, scale)
    }

    fn ints(values: &[Option<i32>]) -> ArrayRef {
        Arc::new(Int32Array::from(values.to_vec()))
    }

    fn decimals(values: &[i128], scale: i8) -> ArrayRef {
        let values = Decimal128Array::from(values.to_vec());
        Arc::new(values.with_data_type(DataType::Decimal128(PRECISION, scale)))
    }

    fn code(error: datafusion::common::DataFusionError) -> String {
        crate::error_from_datafusion(error, "").sqlstate().code().to_owned()
    }

    #[test]
    fn sums_and_averages_in_parts_are_those_of_the_whole() {
        for average in [false, true] {
            let new = || Total::new(average, DataType::Int64);
            let (mut whole, mut merged) = (new(), new());
            for part in [ints(&[Some(7), None, Some(-2)]), ints(&[]), ints(&[Some(4)])] {
                let mut partial = new();
                partial.update_batch(std::slice::from_ref(&part)).unwrap();
                whole.update_batch(&[part]).unwrap();
                let state = partial.state().unwrap();
                let arrays: Vec<ArrayRef> =
                    state.iter().map(|one| one.to_array().unwrap()).collect();
                merged.merge_batch(&arrays).unwrap();
            }
            let expected = ScalarValue::Int64(Some(if average { 3 } else { 9 }));
            assert_eq!(whole.evaluate().unwrap(), expected);
            assert_eq!(merged.evaluate().unwrap(), expected);
            whole.retract_batch(&[ints(&[Some(7), None, Some(-2), Some(4)])]).unwrap();
            assert_eq!(whole.evaluate().unwrap(), ScalarValue::Int64(None));
        }
    }

    #[test]
    fn groups_are_those_of_single_totals() {
        for average in [false, true] {
            let new = || GroupTotals::new(Total::new(average, DataType::Int64));
            let (mut direct, mut merged) = (new(), new());
            let values = ints(&[Some(1), Some(5), None, Some(-4), Some(8)]);
            let filter = BooleanArray::from(vec![true, true, true, true, false]);
            let groups = [0, 1, 2, 1, 0];
            direct.update_batch(std::slice::from_ref(&values), &groups, Some(&filter), 3).unwrap();
            let state =
                new().convert_to_state(std::slice::from_ref(&values), Some(&filter)).unwrap();
            merged.merge_batch(&state, &groups, 3).unwrap();
            let expected =
                if average { [Some(1), Some(0), None] } else { [Some(1), Some(1), None] };
            let expected: ArrayRef = Arc::new(Int64Array::from(expected.to_vec()));
            assert_eq!(&direct.evaluate(EmitTo::All).unwrap(), &expected);
            assert_eq!(&merged.evaluate(EmitTo::All).unwrap(), &expected);
            // States in pieces.
            let mut first = new();
            first.update_batch(&[values], &groups, Some(&filter), 3).unwrap();
            let mut again = new();
            let piece = first.state(EmitTo::First(1)).unwrap();
            again.merge_batch(&piece, &[0], 1).unwrap();
            let rest = first.state(EmitTo::All).unwrap();
            again.merge_batch(&rest, &[1, 2], 3).unwrap();
            assert_eq!(&again.evaluate(EmitTo::All).unwrap(), &expected);
        }
    }

    #[test]
    fn a_sum_beyond_its_digits_is_an_error() {
        let most = limit(PRECISION) - 1;
        let mut total = Total::new(false, decimal(2));
        total.update_batch(&[decimals(&[most], 2)]).unwrap();
        assert_eq!(total.evaluate().unwrap(), ScalarValue::Decimal128(Some(most), 38, 2));
        total.update_batch(&[decimals(&[1], 2)]).unwrap();
        assert_eq!(code(total.evaluate().unwrap_err()), "22003");
        assert_eq!(code(total.state().unwrap_err()), "22003");
        // Far beyond, where 128 bits come round again.
        let mut groups = GroupTotals::new(Total::new(false, decimal(0)));
        groups.update_batch(&[decimals(&[most; 4], 0)], &[0, 0, 0, 0], None, 1).unwrap();
        assert_eq!(code(groups.evaluate(EmitTo::All).unwrap_err()), "22003");
        let mut total = Total::new(false, DataType::Int64);
        let large: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, 1]));
        total.merge_batch(&[large]).unwrap();
        assert_eq!(code(total.evaluate().unwrap_err()), "22003");
    }

    #[test]
    fn distinct_values_count_once() {
        let mut distinct = Distinct::new(Total::new(false, decimal(0)));
        let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(i64::MAX), Some(2), None]));
        distinct.update_batch(std::slice::from_ref(&values)).unwrap();
        let state = distinct.state().unwrap();
        let mut merged = Distinct::new(Total::new(false, decimal(0)));
        merged.update_batch(&[values]).unwrap();
        merged.merge_batch(&[state[0].to_array().unwrap()]).unwrap();
        let expected = i128::from(i64::MAX) + 2;
        assert_eq!(merged.evaluate().unwrap(), ScalarValue::Decimal128(Some(expected), 38, 0));
    }
}
