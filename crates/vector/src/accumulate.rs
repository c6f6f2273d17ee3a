//! The state of one aggregate for each group, in typed loops over rows.
//!
//! Sums of integers stay in 64 bits while the bounds of all rows seen prove that no group can
//! exceed them, and go on in 128 bits otherwise.

use base::{Error, Result};

use crate::expr::Limits;
use crate::{Form, GroupNumbers, Vector};

/// What is kept of the rows of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccumulatorKind {
    /// The number of rows whose argument is not NULL, of all rows without an argument.
    Count,
    /// The sum of integers.
    Sum,
    Min,
    Max,
    SumFloat,
}

/// The states of all groups, by group.
#[derive(Clone, Debug)]
pub enum States {
    Narrow(Vec<i64>),
    Wide(Vec<i128>),
    Float(Vec<f64>),
}

/// One aggregate.
#[derive(Clone, Debug)]
pub struct Accumulator {
    kind: AccumulatorKind,
    states: States,
    /// 1 for each group with a row that counts; `None` when every group has one.
    seen: Option<Vec<u8>>,
    grouped: bool,
    /// No state is farther from zero.
    magnitude: u128,
    active: Vec<u8>,
}

/// So few groups are summed up apart, in lanes that do not wait for each other.
const FEW_GROUPS: usize = 32;
const LANES: usize = 4;

impl Accumulator {
    /// Without groups there is one state from the start.
    pub fn new(kind: AccumulatorKind, grouped: bool) -> Accumulator {
        let states = match kind {
            AccumulatorKind::SumFloat => States::Float(Vec::new()),
            _ => States::Narrow(Vec::new()),
        };
        let (active, magnitude) = (Vec::new(), 0);
        let mut new = Accumulator { kind, states, seen: None, grouped, magnitude, active };
        new.clear();
        new
    }

    /// Forgets all groups and gives their memory back.
    pub fn clear(&mut self) {
        self.states = match self.kind {
            AccumulatorKind::SumFloat => States::Float(Vec::new()),
            _ => States::Narrow(Vec::new()),
        };
        (self.seen, self.magnitude) = (None, 0);
        if !self.grouped {
            self.seen = Some(Vec::new());
            self.extend(1);
        }
    }

    /// The states, one a group.
    pub fn states(&self) -> &States {
        &self.states
    }

    /// False for a group without a row that counts: its result is NULL, unless it is a count.
    pub fn is_seen(&self, group: usize) -> bool {
        self.kind == AccumulatorKind::Count
            || self.seen.as_ref().is_none_or(|seen| seen.get(group) == Some(&1))
    }

    /// The states when all are 64-bit integers and every group has a row that counts.
    pub fn narrow_states(&self) -> Option<&[i64]> {
        let seen = |seen: &Vec<u8>| !seen.contains(&0);
        match &self.states {
            States::Narrow(states)
                if self.kind == AccumulatorKind::Count || self.seen.as_ref().is_none_or(seen) =>
            {
                Some(states)
            }
            _ => None,
        }
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        let states = match &self.states {
            States::Narrow(states) => states.capacity() * 8,
            States::Wide(states) => states.capacity() * 16,
            States::Float(states) => states.capacity() * 8,
        };
        states + self.seen.as_ref().map_or(0, Vec::capacity)
    }

    /// Takes over `rows` rows. Rows whose argument is NULL do not count, nor those for which
    /// `filter` is not true.
    ///
    /// # Errors
    /// 22003 when a sum exceeds 128 bits, XX000 for an argument of another kind.
    pub fn update(
        &mut self,
        groups: GroupNumbers<'_>,
        argument: Option<&Vector>,
        filter: Option<&Vector>,
        rows: usize,
    ) -> Result<()> {
        let count = match groups {
            GroupNumbers::One => 1,
            GroupNumbers::Each { groups, .. } => groups,
        };
        let mut active = std::mem::take(&mut self.active);
        let masked = mask(argument, filter, &mut active);
        let mask = masked.then_some(active.as_slice());
        self.extend_seen(count, mask.is_some());
        if argument.is_some_and(|argument| argument.form() == Form::Wide) {
            self.widen_extremes();
        }
        self.extend(count);
        let done = self.add(groups, argument, mask, rows);
        if let Some(seen) = &mut self.seen
            && rows > 0
        {
            mark(seen, groups, mask);
        }
        self.active = active;
        done
    }

    /// Goes over to 128 bits. What groups without a row that counts have instead of an extreme lies
    /// beyond all values, which are now more.
    fn widen_extremes(&mut self) {
        let none = match self.kind {
            AccumulatorKind::Min => i128::MAX,
            AccumulatorKind::Max => i128::MIN,
            AccumulatorKind::Count | AccumulatorKind::Sum | AccumulatorKind::SumFloat => return,
        };
        if let States::Narrow(states) = &self.states {
            let wide = |(group, state): (usize, &i64)| match self.is_seen(group) {
                true => i128::from(*state),
                false => none,
            };
            self.states = States::Wide(states.iter().enumerate().map(wide).collect());
        }
    }

    /// Tells apart the groups with rows that count, from the first row on that may not.
    fn extend_seen(&mut self, count: usize, masked: bool) {
        if masked && self.seen.is_none() && self.kind != AccumulatorKind::Count {
            self.seen = Some(vec![1; self.len()]);
        }
        if let Some(seen) = &mut self.seen {
            seen.resize(count.max(seen.len()), 0);
        }
    }

    fn len(&self) -> usize {
        match &self.states {
            States::Narrow(states) => states.len(),
            States::Wide(states) => states.len(),
            States::Float(states) => states.len(),
        }
    }

    fn extend(&mut self, count: usize) {
        let (narrow, wide) = match self.kind {
            AccumulatorKind::Min => (i64::MAX, i128::MAX),
            AccumulatorKind::Max => (i64::MIN, i128::MIN),
            _ => (0, 0),
        };
        match &mut self.states {
            States::Narrow(states) => states.resize(count.max(states.len()), narrow),
            States::Wide(states) => states.resize(count.max(states.len()), wide),
            States::Float(states) => states.resize(count.max(states.len()), 0.0),
        }
        if let Some(seen) = &mut self.seen {
            seen.resize(count.max(seen.len()), 0);
        }
    }

    fn add(
        &mut self,
        groups: GroupNumbers<'_>,
        argument: Option<&Vector>,
        mask: Option<&[u8]>,
        rows: usize,
    ) -> Result<()> {
        match (self.kind, argument) {
            (AccumulatorKind::Count, _) => {
                if let States::Narrow(states) = &mut self.states {
                    count_rows(states, groups, mask, rows);
                }
                Ok(())
            }
            (AccumulatorKind::Sum, Some(argument)) if argument.form() != Form::Float => {
                self.sum(groups, argument, mask, rows)
            }
            (AccumulatorKind::Min | AccumulatorKind::Max, Some(argument))
                if matches!(argument.form(), Form::Narrow | Form::Wide) =>
            {
                self.extreme(groups, argument, mask);
                Ok(())
            }
            (AccumulatorKind::SumFloat, Some(argument)) if argument.form() == Form::Float => {
                if let States::Float(states) = &mut self.states {
                    let add = |state: &mut f64, value: f64| *state += value;
                    each(states, groups, argument.float(), mask, add);
                }
                Ok(())
            }
            (kind, _) => Err(Error::internal(format!("{kind:?} has an argument of another kind"))),
        }
    }

    fn sum(
        &mut self,
        groups: GroupNumbers<'_>,
        argument: &Vector,
        mask: Option<&[u8]>,
        rows: usize,
    ) -> Result<()> {
        let bounds = argument.bounds();
        let more = bounds.magnitude().saturating_mul(rows as u128);
        self.magnitude = self.magnitude.saturating_add(more);
        let safe = self.magnitude <= i64::MAX as u128 && argument.form() == Form::Narrow;
        if safe && let States::Narrow(states) = &mut self.states {
            sum_narrow(states, groups, argument.narrow(), mask);
            return Ok(());
        }
        let states = widen(&mut self.states);
        // Beyond 128 bits each addition is checked.
        let mut lost = false;
        let add = |state: &mut i128, value: i128| match state.checked_add(value) {
            Some(sum) => *state = sum,
            None => lost = true,
        };
        match argument.form() {
            Form::Narrow => each(states, groups, argument.narrow(), mask, {
                let mut add = add;
                move |state: &mut i128, value: i64| add(state, i128::from(value))
            }),
            _ => each(states, groups, argument.wide(), mask, add),
        }
        if lost { Err(Limits::DECIMAL.error()) } else { Ok(()) }
    }

    fn extreme(&mut self, groups: GroupNumbers<'_>, argument: &Vector, mask: Option<&[u8]>) {
        let least = self.kind == AccumulatorKind::Min;
        if argument.form() == Form::Narrow
            && let States::Narrow(states) = &mut self.states
        {
            match least {
                true => each(states, groups, argument.narrow(), mask, |s, v| *s = v.min(*s)),
                false => each(states, groups, argument.narrow(), mask, |s, v| *s = v.max(*s)),
            }
            return;
        }
        let states = widen(&mut self.states);
        let values: Vec<i128> = (0..argument.rows()).map(|row| argument.integer(row)).collect();
        match least {
            true => each(states, groups, &values, mask, |s, v| *s = v.min(*s)),
            false => each(states, groups, &values, mask, |s, v| *s = v.max(*s)),
        }
    }
}

/// The states in 128 bits.
fn widen(states: &mut States) -> &mut Vec<i128> {
    if let States::Narrow(narrow) = states {
        *states = States::Wide(narrow.iter().map(|state| i128::from(*state)).collect());
    }
    match states {
        States::Wide(states) => states,
        // Sums of numbers are never widened.
        States::Narrow(_) | States::Float(_) => {
            *states = States::Wide(Vec::new());
            widen(states)
        }
    }
}

/// Collects which rows count; false when all do.
fn mask(argument: Option<&Vector>, filter: Option<&Vector>, active: &mut Vec<u8>) -> bool {
    let valid = argument.and_then(Vector::valid);
    active.clear();
    match (valid, filter) {
        (None, None) => return false,
        (Some(valid), None) => active.extend_from_slice(valid),
        (None, Some(filter)) => active.extend_from_slice(filter.bits()),
        (Some(valid), Some(filter)) => {
            active.extend(valid.iter().zip(filter.bits()).map(|(a, b)| a & b));
        }
    }
    if let Some(valid) = filter.and_then(Vector::valid) {
        active.iter_mut().zip(valid).for_each(|(active, valid)| *active &= valid);
    }
    true
}

fn mark(seen: &mut [u8], groups: GroupNumbers<'_>, mask: Option<&[u8]>) {
    match (groups, mask) {
        (GroupNumbers::One, None) => seen[0] = 1,
        (GroupNumbers::One, Some(mask)) => seen[0] |= u8::from(mask.contains(&1)),
        (GroupNumbers::Each { numbers, .. }, None) => {
            numbers.iter().for_each(|group| seen[*group as usize] = 1);
        }
        (GroupNumbers::Each { numbers, .. }, Some(mask)) => {
            for (group, active) in numbers.iter().zip(mask) {
                seen[*group as usize] |= active;
            }
        }
    }
}

/// Calls `f` with the state of its group and the value of each row that counts.
#[inline(always)]
fn each<S, V: Copy>(
    states: &mut [S],
    groups: GroupNumbers<'_>,
    values: &[V],
    mask: Option<&[u8]>,
    mut f: impl FnMut(&mut S, V),
) {
    match (groups, mask) {
        (GroupNumbers::One, None) => values.iter().for_each(|value| f(&mut states[0], *value)),
        (GroupNumbers::One, Some(mask)) => {
            let rows = values.iter().zip(mask).filter(|(_, active)| **active == 1);
            rows.for_each(|(value, _)| f(&mut states[0], *value));
        }
        (GroupNumbers::Each { numbers, .. }, None) => {
            for (value, group) in values.iter().zip(numbers) {
                f(&mut states[*group as usize], *value);
            }
        }
        (GroupNumbers::Each { numbers, .. }, Some(mask)) => {
            for ((value, group), active) in values.iter().zip(numbers).zip(mask) {
                if *active == 1 {
                    f(&mut states[*group as usize], *value);
                }
            }
        }
    }
}

fn count_rows(states: &mut [i64], groups: GroupNumbers<'_>, mask: Option<&[u8]>, rows: usize) {
    match (groups, mask) {
        (GroupNumbers::One, None) => states[0] += rows as i64,
        (GroupNumbers::One, Some(mask)) => {
            states[0] += mask.iter().map(|active| i64::from(*active)).sum::<i64>();
        }
        (GroupNumbers::Each { numbers, groups }, None) if groups <= FEW_GROUPS => {
            few(states, numbers, |_| 1);
        }
        (GroupNumbers::Each { numbers, .. }, None) => {
            numbers.iter().for_each(|group| states[*group as usize] += 1);
        }
        (GroupNumbers::Each { numbers, .. }, Some(mask)) => {
            for (group, active) in numbers.iter().zip(mask) {
                states[*group as usize] += i64::from(*active);
            }
        }
    }
}

fn sum_narrow(states: &mut [i64], groups: GroupNumbers<'_>, values: &[i64], mask: Option<&[u8]>) {
    match (groups, mask) {
        (GroupNumbers::One, None) => states[0] += values.iter().sum::<i64>(),
        (GroupNumbers::One, Some(mask)) => {
            let active = values.iter().zip(mask);
            states[0] += active.map(|(value, mask)| value & -i64::from(*mask)).sum::<i64>();
        }
        (GroupNumbers::Each { numbers, groups }, None)
            if groups <= FEW_GROUPS && numbers.len() <= values.len() =>
        {
            few(states, numbers, |row| values[row]);
        }
        _ => each(states, groups, values, mask, |state, value| *state += value),
    }
}

/// Adds the value of each row to its group, of which there are few: neighbouring rows of one
/// group, which are the rule, do not wait for each other.
#[inline(always)]
fn few(states: &mut [i64], numbers: &[u32], value: impl Fn(usize) -> i64) {
    let mut lanes = [[0_i64; FEW_GROUPS]; LANES];
    let (chunks, rest) = numbers.as_chunks::<LANES>();
    for (at, chunk) in chunks.iter().enumerate() {
        for (lane, group) in chunk.iter().enumerate() {
            lanes[lane][*group as usize % FEW_GROUPS] += value(at * LANES + lane);
        }
    }
    for (at, group) in rest.iter().enumerate() {
        lanes[0][*group as usize % FEW_GROUPS] += value(chunks.len() * LANES + at);
    }
    for (group, state) in states.iter_mut().take(FEW_GROUPS).enumerate() {
        *state += lanes.iter().map(|lane| lane[group]).sum::<i64>();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Bounds;

    type Row = (Option<i64>, u32, Option<bool>);

    fn oracle(kind: AccumulatorKind, rows: &[Row], group: u32, filtered: bool) -> Option<i128> {
        let kept = rows.iter().filter(|row| row.1 == group && (!filtered || row.2 == Some(true)));
        let values: Vec<i128> = kept.filter_map(|row| row.0.map(i128::from)).collect();
        match kind {
            AccumulatorKind::Count => Some(values.len() as i128),
            _ if values.is_empty() => None,
            AccumulatorKind::Sum => Some(values.iter().sum()),
            AccumulatorKind::Min => values.iter().min().copied(),
            _ => values.iter().max().copied(),
        }
    }

    fn result(accumulator: &Accumulator, group: usize) -> Option<i128> {
        accumulator.is_seen(group).then(|| match accumulator.states() {
            States::Narrow(states) => i128::from(states[group]),
            States::Wide(states) => states[group],
            States::Float(_) => unreachable!(),
        })
    }

    fn check(rows: &[Row], grouped: bool, wide: bool) {
        for kind in [
            AccumulatorKind::Count,
            AccumulatorKind::Sum,
            AccumulatorKind::Min,
            AccumulatorKind::Max,
        ] {
            for filtered in [false, true] {
                let mut accumulator = Accumulator::new(kind, grouped);
                let mut groups = 0;
                for part in rows.chunks(50) {
                    let mut argument = Vector::default();
                    let values = part.iter().map(|row| row.0.unwrap_or(9));
                    match wide {
                        true => {
                            argument.start_wide(Bounds::NARROW).extend(values.map(i128::from));
                        }
                        false => argument.start_narrow(Bounds::NARROW).extend(values),
                    }
                    if part.iter().any(|row| row.0.is_none()) {
                        let valid = part.iter().map(|row| u8::from(row.0.is_some()));
                        argument.start_valid().extend(valid);
                    }
                    let mut filter = Vector::default();
                    filter
                        .start_bool()
                        .extend(part.iter().map(|row| u8::from(row.2 != Some(false))));
                    filter.start_valid().extend(part.iter().map(|row| u8::from(row.2.is_some())));
                    let numbers: Vec<u32> = part.iter().map(|row| row.1).collect();
                    groups = groups.max(*numbers.iter().max().unwrap() as usize + 1);
                    let numbers = match grouped {
                        true => GroupNumbers::Each { numbers: &numbers, groups },
                        false => GroupNumbers::One,
                    };
                    let filter = filtered.then_some(&filter);
                    accumulator.update(numbers, Some(&argument), filter, part.len()).unwrap();
                }
                for group in 0..groups as u32 {
                    let expected = oracle(kind, rows, group, filtered);
                    assert_eq!(result(&accumulator, group as usize), expected, "{kind:?}");
                }
            }
        }
    }

    fn value() -> impl Strategy<Value = Option<i64>> {
        prop_oneof![
            5 => (-100_i64..100).prop_map(Some),
            1 => any::<i64>().prop_map(Some),
            1 => Just(Some(i64::MAX)),
            1 => Just(Some(i64::MIN)),
            1 => Just(None),
        ]
    }

    proptest! {
        #[test]
        fn states_are_those_of_single_rows(
            values in proptest::collection::vec(value(), 1..300),
            spread in 1_u32..80,
        ) {
            // A group gets its number with its first row, as a grouper does it.
            let mut known = Vec::new();
            let mut rows: Vec<Row> = Vec::new();
            for (at, value) in values.iter().enumerate() {
                let key = (at as u32).wrapping_mul(2_654_435_761) % spread;
                let group = known.iter().position(|other| *other == key).unwrap_or(known.len());
                if group == known.len() {
                    known.push(key);
                }
                rows.push((*value, group as u32, [None, Some(true), Some(false)][at % 3]));
            }
            check(&rows, true, false);
            check(&rows, true, true);
            let one: Vec<Row> = rows.iter().map(|row| (row.0, 0, row.2)).collect();
            check(&one, false, false);
        }
    }

    #[test]
    fn extremes_beyond_64_bits_come_after_others() {
        for (kind, end, beyond) in [
            (AccumulatorKind::Min, i64::MAX, 1_i128 << 100),
            (AccumulatorKind::Max, i64::MIN, -(1_i128 << 100)),
        ] {
            let mut accumulator = Accumulator::new(kind, true);
            let (mut narrow, mut wide) = (Vector::default(), Vector::default());
            narrow.start_narrow(Bounds::NARROW).extend([end, 5]);
            narrow.start_valid().extend([1, 0]);
            let groups = GroupNumbers::Each { numbers: &[0, 1], groups: 2 };
            accumulator.update(groups, Some(&narrow), None, 2).unwrap();
            wide.start_wide(Bounds::WIDE).extend([beyond, beyond]);
            let groups = GroupNumbers::Each { numbers: &[1, 2], groups: 3 };
            accumulator.update(groups, Some(&wide), None, 2).unwrap();
            let results = [0, 1, 2].map(|group| result(&accumulator, group));
            assert_eq!(results, [Some(i128::from(end)), Some(beyond), Some(beyond)], "{kind:?}");
        }
    }

    #[test]
    fn no_rows_give_no_sum_and_beyond_128_bits_is_an_error() {
        let mut sum = Accumulator::new(AccumulatorKind::Sum, false);
        assert_eq!(result(&sum, 0), None);
        let mut huge = Vector::default();
        huge.start_wide(Bounds::WIDE).extend([i128::MAX, 1]);
        let error = sum.update(GroupNumbers::One, Some(&huge), None, 2).unwrap_err();
        assert_eq!(error.sqlstate().code(), "22003");
    }
}
