//! Several integer columns packed into one word: offsets from the smallest build value, in as
//! many bits as the build side needs.

use arrow_array::{Array, ArrayRef};
use arrow_schema::ArrowError;

use crate::values::{Integers, is_integer, span};

/// A normalised key.
pub(crate) trait Word: Copy + Eq + Default + Send + Sync + 'static {
    fn from_code(code: u128, shift: u32) -> Self;
    fn with(self, other: Self) -> Self;
    fn hash(self) -> u64;
}

/// Odd, without a pattern: the fraction of the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND_MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;

fn folded(value: u64, multiplier: u64) -> u64 {
    let product = u128::from(value) * u128::from(multiplier);
    (product as u64) ^ ((product >> 64) as u64)
}

impl Word for u64 {
    fn from_code(code: u128, shift: u32) -> u64 {
        (code as u64) << shift
    }

    fn with(self, other: u64) -> u64 {
        self | other
    }

    fn hash(self) -> u64 {
        folded(folded(self, MULTIPLIER) ^ SECOND_MULTIPLIER, SECOND_MULTIPLIER)
    }
}

impl Word for u128 {
    fn from_code(code: u128, shift: u32) -> u128 {
        code << shift
    }

    fn with(self, other: u128) -> u128 {
        self | other
    }

    fn hash(self) -> u64 {
        let high = folded((self >> 64) as u64 ^ SECOND_MULTIPLIER, MULTIPLIER);
        (self as u64 ^ high).hash()
    }
}

/// Where a column is in the word.
#[derive(Clone, Debug)]
struct Place {
    /// The smallest build value and the distance of the largest; `None` when all are NULL.
    span: Option<(i128, u128)>,
    /// Code 0 stands for NULL, and values begin at 1.
    nulls: bool,
    shift: u32,
    bits: u32,
}

impl Place {
    fn max_code(&self) -> u128 {
        let codes = self.span.map(|(_, distance)| distance);
        match (codes, self.nulls) {
            (Some(distance), true) => distance.saturating_add(1),
            (Some(distance), false) => distance,
            (None, _) => 0,
        }
    }
}

/// How the columns of a key make a word.
#[derive(Clone, Debug)]
pub(crate) struct Packing {
    places: Vec<Place>,
    bits: u32,
}

/// What the columns of the build side hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent {
    span: Option<(i128, i128)>,
    nulls: bool,
}

impl Extent {
    pub(crate) fn add(&mut self, array: &ArrayRef) -> Result<(), ArrowError> {
        self.nulls |= array.null_count() > 0;
        if let Some((low, high)) = span(array)? {
            let (own_low, own_high) = self.span.unwrap_or((low, high));
            self.span = Some((own_low.min(low), own_high.max(high)));
        }
        Ok(())
    }
}

impl Packing {
    /// `None` when the values do not fit into 128 bits, or are no integers.
    pub(crate) fn new(extents: &[Extent], nulls_equal: bool) -> Option<Packing> {
        let mut places = Vec::with_capacity(extents.len());
        let mut shift = 0_u32;
        for extent in extents {
            let nulls = nulls_equal && extent.nulls;
            let distance = |(low, high): (i128, i128)| (low, high.wrapping_sub(low) as u128);
            let mut place = Place { span: extent.span.map(distance), nulls, shift, bits: 0 };
            if nulls && place.span.is_some_and(|(_, distance)| distance == u128::MAX) {
                return None;
            }
            place.bits = u128::BITS - place.max_code().leading_zeros();
            shift = shift.checked_add(place.bits).filter(|bits| *bits <= u128::BITS)?;
            places.push(place);
        }
        Some(Packing { places, bits: shift })
    }

    pub(crate) fn bits(&self) -> u32 {
        self.bits
    }

    /// The largest word that a build row has.
    pub(crate) fn max_word(&self) -> u128 {
        let of = |place: &Place| match place.bits {
            0 => 0,
            _ => place.max_code() << place.shift,
        };
        self.places.iter().map(of).fold(0, |word, part| word | part)
    }

    /// The key columns of a batch, ready to be packed.
    pub(crate) fn columns(&self, keys: &[ArrayRef]) -> Result<Vec<KeyColumn>, ArrowError> {
        if keys.len() != self.places.len() || keys.iter().any(|key| !is_integer(key.data_type())) {
            return Err(ArrowError::InvalidArgumentError("other join keys than built".into()));
        }
        let column = |key: &ArrayRef| {
            let validity = key.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
            Ok(KeyColumn { values: Integers::of(key)?, validity })
        };
        keys.iter().map(column).collect()
    }

    /// Packs `words.len()` rows from `first` on. `valid` tells of each whether it can have an
    /// equal row on the build side, 1 or 0; the words of others mean nothing.
    pub(crate) fn pack<W: Word>(
        &self,
        columns: &[KeyColumn],
        first: usize,
        words: &mut [W],
        valid: &mut [u8],
    ) {
        words.fill(W::default());
        valid.fill(1);
        for (place, column) in self.places.iter().zip(columns) {
            column.add(place, first, words, valid);
        }
    }
}

/// A key column of a batch.
pub(crate) struct KeyColumn {
    values: Integers,
    validity: Option<arrow_buffer::NullBuffer>,
}

impl KeyColumn {
    fn add<W: Word>(&self, place: &Place, first: usize, words: &mut [W], valid: &mut [u8]) {
        let rows = first..first + words.len();
        if let Some(validity) = &self.validity {
            return self.add_nullable(place, validity, first, words, valid);
        }
        match &self.values {
            Integers::Boolean(values) => {
                let values: Vec<u8> =
                    values.slice(first, words.len()).iter().map(u8::from).collect();
                narrow(&values, place, words, valid);
            }
            Integers::I8(values) => narrow(&values[rows], place, words, valid),
            Integers::U8(values) => narrow(&values[rows], place, words, valid),
            Integers::I16(values) => narrow(&values[rows], place, words, valid),
            Integers::U16(values) => narrow(&values[rows], place, words, valid),
            Integers::I32(values) => narrow(&values[rows], place, words, valid),
            Integers::U32(values) => narrow(&values[rows], place, words, valid),
            Integers::I64(values) => narrow(&values[rows], place, words, valid),
            Integers::U64(values) => wide(&values[rows], place, words, valid),
            Integers::I128(values) => wide(&values[rows], place, words, valid),
        }
    }

    fn add_nullable<W: Word>(
        &self,
        place: &Place,
        validity: &arrow_buffer::NullBuffer,
        first: usize,
        words: &mut [W],
        valid: &mut [u8],
    ) {
        for (at, (word, valid)) in words.iter_mut().zip(valid.iter_mut()).enumerate() {
            if validity.is_null(first + at) {
                // Code 0 is what the word has already.
                *valid &= u8::from(place.nulls);
                continue;
            }
            match code(self.value(first + at), place) {
                Some(code) if place.bits > 0 => *word = word.with(W::from_code(code, place.shift)),
                Some(_) => {}
                None => *valid = 0,
            }
        }
    }

    fn value(&self, row: usize) -> i128 {
        match &self.values {
            Integers::Boolean(values) => i128::from(values.value(row)),
            Integers::I8(values) => i128::from(values[row]),
            Integers::U8(values) => i128::from(values[row]),
            Integers::I16(values) => i128::from(values[row]),
            Integers::U16(values) => i128::from(values[row]),
            Integers::I32(values) => i128::from(values[row]),
            Integers::U32(values) => i128::from(values[row]),
            Integers::I64(values) => i128::from(values[row]),
            Integers::U64(values) => i128::from(values[row]),
            Integers::I128(values) => values[row],
        }
    }
}

fn code(value: i128, place: &Place) -> Option<u128> {
    let (low, distance) = place.span?;
    // A value below the smallest wraps to one above every distance.
    let offset = value.wrapping_sub(low) as u128;
    (offset <= distance).then(|| offset.wrapping_add(u128::from(place.nulls)))
}

/// Packs values that fit into 64 bits with sign.
fn narrow<T, W>(values: &[T], place: &Place, words: &mut [W], valid: &mut [u8])
where
    T: Copy + Into<i64>,
    W: Word,
{
    let Some((low, distance)) = place.span else {
        return valid.fill(0);
    };
    let (low, distance) = (low as i64, distance as u64);
    let base = u64::from(place.nulls);
    for ((value, word), valid) in values.iter().zip(words).zip(valid) {
        let offset = (*value).into().wrapping_sub(low) as u64;
        *valid &= u8::from(offset <= distance);
        if place.bits > 0 {
            let code = u128::from(offset) + u128::from(base);
            *word = word.with(W::from_code(code, place.shift));
        }
    }
}

fn wide<T, W>(values: &[T], place: &Place, words: &mut [W], valid: &mut [u8])
where
    T: Copy + Into<i128>,
    W: Word,
{
    for ((value, word), valid) in values.iter().zip(words).zip(valid) {
        match code((*value).into(), place) {
            Some(code) if place.bits > 0 => *word = word.with(W::from_code(code, place.shift)),
            Some(_) => {}
            None => *valid = 0,
        }
    }
}
