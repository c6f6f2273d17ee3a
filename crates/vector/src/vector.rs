//! One register: values of one kind for about a thousand rows, with validity and bounds.
//!
//! Buffers of every form stay allocated, so that a register that changes its form from block to
//! block costs nothing.

use crate::Kind;

/// How the values of a vector are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Integers in 64 bits.
    #[default]
    Narrow,
    /// Integers in 128 bits.
    Wide,
    Float,
    Bool,
}

/// What all integers of a vector lie between, ends included; rows that are NULL may lie outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub low: i128,
    pub high: i128,
}

impl Bounds {
    /// Every 64-bit integer.
    pub const NARROW: Bounds = Bounds { low: i64::MIN as i128, high: i64::MAX as i128 };
    /// Every 128-bit integer.
    pub const WIDE: Bounds = Bounds { low: i128::MIN, high: i128::MAX };

    /// One value.
    pub fn of(value: i128) -> Bounds {
        Bounds { low: value, high: value }
    }

    /// The least bounds around both.
    pub fn union(self, other: Bounds) -> Bounds {
        Bounds { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// True when every value within fits 64 bits.
    pub fn is_narrow(self) -> bool {
        self.low >= Bounds::NARROW.low && self.high <= Bounds::NARROW.high
    }

    /// The greatest distance from zero.
    pub fn magnitude(self) -> u128 {
        self.low.unsigned_abs().max(self.high.unsigned_abs())
    }

    /// Bounds of 64-bit values within a power of two: one pass without branches.
    pub fn of_narrow(values: &[i64]) -> Bounds {
        let bits = values.iter().fold(0, |bits, value| bits | (value ^ (value >> 63)));
        let high = match bits.leading_zeros() {
            0 | 1 => i64::MAX,
            zeros => (1_i64 << (64 - zeros)) - 1,
        };
        Bounds { low: -i128::from(high) - 1, high: i128::from(high) }
    }
}

/// Values of one kind, one a row.
#[derive(Clone, Debug)]
pub struct Vector {
    form: Form,
    narrow: Vec<i64>,
    wide: Vec<i128>,
    float: Vec<f64>,
    bits: Vec<u8>,
    /// 1 where the row is not NULL; counts only with `nullable`.
    valid: Vec<u8>,
    nullable: bool,
    bounds: Bounds,
}

impl Default for Vector {
    fn default() -> Vector {
        Vector {
            form: Form::Narrow,
            narrow: Vec::new(),
            wide: Vec::new(),
            float: Vec::new(),
            bits: Vec::new(),
            valid: Vec::new(),
            nullable: false,
            bounds: Bounds::NARROW,
        }
    }
}

impl Vector {
    /// Empties the vector and makes it one of 64-bit integers within `bounds`; the caller fills
    /// the buffer that is returned.
    pub fn start_narrow(&mut self, bounds: Bounds) -> &mut Vec<i64> {
        (self.form, self.bounds, self.nullable) = (Form::Narrow, bounds, false);
        self.narrow.clear();
        &mut self.narrow
    }

    /// As [`Vector::start_narrow`] with 128-bit integers.
    pub fn start_wide(&mut self, bounds: Bounds) -> &mut Vec<i128> {
        (self.form, self.bounds, self.nullable) = (Form::Wide, bounds, false);
        self.wide.clear();
        &mut self.wide
    }

    /// As [`Vector::start_narrow`] with floating-point numbers.
    pub fn start_float(&mut self) -> &mut Vec<f64> {
        (self.form, self.nullable) = (Form::Float, false);
        self.float.clear();
        &mut self.float
    }

    /// As [`Vector::start_narrow`] with booleans, 0 or 1.
    pub fn start_bool(&mut self) -> &mut Vec<u8> {
        (self.form, self.nullable) = (Form::Bool, false);
        self.bits.clear();
        &mut self.bits
    }

    /// Makes the vector `rows` NULLs of a kind.
    pub fn fill_null(&mut self, kind: Kind, rows: usize) {
        match kind {
            Kind::Int => self.start_narrow(Bounds::of(0)).resize(rows, 0),
            Kind::Float => self.start_float().resize(rows, 0.0),
            Kind::Bool => self.start_bool().resize(rows, 0),
        }
        self.start_valid().resize(rows, 0);
    }

    /// Begins a validity: the buffer that is returned gets 1 a row that is not NULL and 0 for
    /// the others. Called after `start_…`.
    pub fn start_valid(&mut self) -> &mut Vec<u8> {
        self.nullable = true;
        self.valid.clear();
        &mut self.valid
    }

    /// States that no row is NULL.
    pub fn clear_valid(&mut self) {
        self.nullable = false;
    }

    /// How the values are held.
    pub fn form(&self) -> Form {
        self.form
    }

    /// 1 for each row that is not NULL, `None` when no row is NULL.
    pub fn valid(&self) -> Option<&[u8]> {
        self.nullable.then_some(&self.valid)
    }

    /// The integers, empty in another form.
    pub fn narrow(&self) -> &[i64] {
        if self.form == Form::Narrow { &self.narrow } else { &[] }
    }

    /// The 128-bit integers, empty in another form.
    pub fn wide(&self) -> &[i128] {
        if self.form == Form::Wide { &self.wide } else { &[] }
    }

    /// The floating-point numbers, empty in another form.
    pub fn float(&self) -> &[f64] {
        if self.form == Form::Float { &self.float } else { &[] }
    }

    /// The booleans, empty in another form.
    pub fn bits(&self) -> &[u8] {
        if self.form == Form::Bool { &self.bits } else { &[] }
    }

    /// The integers to append to, which `start_narrow` began.
    pub fn narrow_mut(&mut self) -> &mut Vec<i64> {
        &mut self.narrow
    }

    /// The validity to append to, which `start_valid` began.
    pub fn valid_mut(&mut self) -> &mut Vec<u8> {
        &mut self.valid
    }

    /// What the integers lie between.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Sets what the integers lie between, which the caller has proved.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        match self.form {
            Form::Narrow => self.narrow.len(),
            Form::Wide => self.wide.len(),
            Form::Float => self.float.len(),
            Form::Bool => self.bits.len(),
        }
    }

    /// The integer of a row, NULL or not; 0 in a form without integers.
    #[inline]
    pub fn integer(&self, row: usize) -> i128 {
        match self.form {
            Form::Narrow => i128::from(self.narrow[row]),
            Form::Wide => self.wide[row],
            Form::Bool => i128::from(self.bits[row]),
            Form::Float => 0,
        }
    }

    /// True when the row is NULL.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.nullable && self.valid[row] == 0
    }

    /// Keeps the rows `rows`, which are in order.
    pub fn keep(&mut self, rows: &[u16]) {
        match self.form {
            Form::Narrow => keep(&mut self.narrow, rows),
            Form::Wide => keep(&mut self.wide, rows),
            Form::Float => keep(&mut self.float, rows),
            Form::Bool => keep(&mut self.bits, rows),
        }
        if self.nullable {
            keep(&mut self.valid, rows);
        }
    }

    /// Holds 128-bit integers in 64 bits when `bounds` allow it.
    pub(crate) fn shrink(&mut self) {
        if self.form == Form::Wide && self.bounds.is_narrow() {
            self.narrow.clear();
            self.narrow.extend(self.wide.iter().map(|value| *value as i64));
            self.form = Form::Narrow;
        }
    }

    /// The validity is that of both, where a vector is given.
    pub(crate) fn valid_of(&mut self, left: Option<&[u8]>, right: Option<&[u8]>) {
        match (left, right) {
            (None, None) => self.nullable = false,
            (Some(only), None) | (None, Some(only)) => self.start_valid().extend_from_slice(only),
            (Some(left), Some(right)) => {
                let both = left.iter().zip(right).map(|(left, right)| left & right);
                self.start_valid().extend(both);
            }
        }
    }
}

fn keep<T: Copy>(values: &mut Vec<T>, rows: &[u16]) {
    for (to, from) in rows.iter().enumerate() {
        values[to] = values[usize::from(*from)];
    }
    values.truncate(rows.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_enclose() {
        for values in [&[0_i64][..], &[-1], &[5, -8], &[i64::MIN], &[i64::MAX], &[1 << 62], &[127]]
        {
            let bounds = Bounds::of_narrow(values);
            for value in values {
                assert!(bounds.low <= i128::from(*value) && i128::from(*value) <= bounds.high);
            }
            assert!(bounds.is_narrow());
        }
        assert_eq!(Bounds::of_narrow(&[100, -3]), Bounds { low: -128, high: 127 });
    }

    #[test]
    fn keeping_compacts_values_and_validity() {
        let mut vector = Vector::default();
        vector.start_narrow(Bounds::NARROW).extend([1, 2, 3, 4]);
        vector.start_valid().extend([1, 0, 1, 1]);
        vector.keep(&[1, 3]);
        assert_eq!((vector.narrow(), vector.valid()), (&[2, 4][..], Some(&[0, 1][..])));
    }
}
