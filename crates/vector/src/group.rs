//! From keys to group numbers: every new key gets the next number.
//!
//! Keys are rows of 64-bit words: one for most columns, two for 128-bit integers, one more for
//! NULLs where a column's values leave no word for NULL. A single key in a known range is looked
//! up directly, all others by hash.

use std::ops::Range;

use base::{Error, Result, error};

use crate::{Form, Vector, hash};

/// How a key column becomes words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// One word that is never `i64::MAX`, which then stands for NULL: types narrower than 64
    /// bits, keys of text.
    Small,
    /// One word of any value.
    Full,
    /// A 128-bit integer: two words.
    Wide,
}

/// The word of NULL in a [`KeyKind::Small`] column.
const NULL_WORD: u64 = i64::MAX as u64;

/// Rows by group, as accumulators take them.
#[derive(Clone, Copy, Debug)]
pub enum GroupNumbers<'a> {
    /// All rows are of the one group.
    One,
    /// The group of each row, below the number of groups.
    Each { numbers: &'a [u32], groups: usize },
}

#[derive(Clone, Copy, Debug)]
struct KeyColumn {
    kind: KeyKind,
    nullable: bool,
    /// Its first word.
    word: usize,
}

/// A slot of the table for keys of one word; group 0 is an empty slot, others count from 1.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    key: u64,
    group: u32,
}

#[derive(Clone, Debug)]
enum Index {
    /// By `key - low`; groups count from 1.
    Direct {
        low: i64,
        groups: Vec<u32>,
    },
    One(Vec<Slot>),
    /// High half of the hash, group counted from 1.
    Many(Vec<u64>),
    Packed(Box<Packed>),
}

/// Numbers groups by their keys.
#[derive(Clone, Debug)]
pub struct Grouper {
    columns: Vec<KeyColumn>,
    /// The word with a bit for each column that is NULL, when there is one.
    null_word: Option<usize>,
    words: usize,
    /// The words of each group.
    keys: Vec<u64>,
    groups: usize,
    index: Index,
    /// Ranges take too much memory.
    hashed: bool,
    seed: u64,
    /// The words of the rows at hand, unless the only column serves as it is.
    rows: Vec<u64>,
    numbers: Vec<u32>,
}

/// Fewer groups than this fit the first-level cache by hash too.
const DENSE_GROUPS_MIN: usize = 1_024;
/// A table over a range may have so many places for each group.
const DENSE_SPAN: u64 = 8;

/// Groups by the combination of places in small dictionaries, for as long as these stay the same.
#[derive(Clone, Debug)]
pub struct CodedGroups {
    /// The key of each place.
    dictionaries: Vec<Vec<i64>>,
    /// By combination: the group, once it is known.
    groups: Vec<u32>,
}

const UNKNOWN: u32 = u32::MAX;

impl CodedGroups {
    /// More combinations than this are not looked up.
    const COMBINATIONS_MAX: usize = 4_096;

    /// For these dictionaries, `None` when their combinations are too many.
    pub fn new(dictionaries: Vec<Vec<i64>>) -> Option<CodedGroups> {
        let size = |total: usize, keys: &Vec<i64>| total.checked_mul(keys.len());
        let combinations = dictionaries.iter().try_fold(1, size)?;
        (1..=Self::COMBINATIONS_MAX)
            .contains(&combinations)
            .then(|| CodedGroups { dictionaries, groups: vec![UNKNOWN; combinations] })
    }

    /// The group of each row, as far as it is known.
    fn numbers(&self, codes: &[&Vector], numbers: &mut Vec<u32>) {
        let group = |place: usize| self.groups.get(place).copied().unwrap_or(UNKNOWN);
        match codes {
            [only] => numbers.extend(only.narrow().iter().map(|code| group(*code as usize))),
            [first, second] => {
                let size = self.dictionaries[1].len();
                let rows = first.narrow().iter().zip(second.narrow());
                numbers.extend(rows.map(|(first, second)| {
                    group((*first as usize).wrapping_mul(size).wrapping_add(*second as usize))
                }));
            }
            _ => {
                let rows = codes.first().map_or(0, |codes| codes.rows());
                let place = |row| self.place(codes, row).map_or(UNKNOWN, group);
                numbers.extend((0..rows).map(place));
            }
        }
    }

    /// The combination of a row, `None` when a code is outside of its dictionary.
    fn place(&self, codes: &[&Vector], row: usize) -> Option<usize> {
        let mut place = 0;
        for (codes, dictionary) in codes.iter().zip(&self.dictionaries) {
            let code = usize::try_from(*codes.narrow().get(row)?).ok()?;
            place =
                place * dictionary.len() + Some(code).filter(|code| *code < dictionary.len())?;
        }
        Some(place)
    }
}

/// More groups than this do not fit their numbers.
const GROUPS_MAX: usize = u32::MAX as usize - 1;

impl Grouper {
    /// For key columns of these kinds; `true` where a column may hold NULL.
    pub fn new(kinds: &[(KeyKind, bool)]) -> Grouper {
        let mut columns = Vec::with_capacity(kinds.len());
        let mut words = 0;
        for (kind, nullable) in kinds {
            columns.push(KeyColumn { kind: *kind, nullable: *nullable, word: words });
            words += if *kind == KeyKind::Wide { 2 } else { 1 };
        }
        let full = |column: &KeyColumn| column.nullable && column.kind != KeyKind::Small;
        let null_word = columns.iter().any(full).then_some(words);
        words += usize::from(null_word.is_some());
        let mut grouper = Grouper {
            columns,
            null_word,
            words,
            keys: Vec::new(),
            groups: 0,
            index: Index::Many(Vec::new()),
            hashed: false,
            seed: hash::seed(),
            rows: Vec::new(),
            numbers: Vec::new(),
        };
        grouper.clear();
        grouper
    }

    /// Says that keys lie in `low..=high` as far as is known: they are looked up directly, when a
    /// table over them and all keys before takes at most `bytes_max`. A hint for a single column
    /// of one word; keys outside are found all the same.
    pub fn expect_range(&mut self, low: i64, high: i64, bytes_max: u128) {
        let covered = |first: i64, places: usize| {
            let last = i128::from(first) + places as i128 - 1;
            first <= low && i128::from(high) <= last
        };
        match &self.index {
            Index::Direct { low, groups } if covered(*low, groups.len()) => return,
            Index::Direct { .. } | Index::One(_) if !self.hashed && low <= high => {}
            _ => return,
        }
        let known = self.keys.iter().map(|key| *key as i64);
        let (first, last) =
            known.fold((low, high), |(low, high), key| (low.min(key), high.max(key)));
        let bytes = |first: i64, last: i64| (i128::from(last) - i128::from(first) + 1) as u128 * 4;
        if bytes(first, last) > bytes_max {
            return;
        }
        // Room on both sides, where there is: ranges that ascend would end it again and again.
        let slack = (last.abs_diff(first) / 2 + 1) as i64;
        let wide = (first.saturating_sub(slack), last.saturating_add(slack));
        let grows = matches!(self.index, Index::Direct { .. });
        let (first, last) =
            if grows && bytes(wide.0, wide.1) <= bytes_max { wide } else { (first, last) };
        self.look_up_directly(first, last);
    }

    /// A table over `low..=high`, which holds all keys so far.
    fn look_up_directly(&mut self, low: i64, high: i64) {
        let mut groups = vec![0; (high.abs_diff(low) + 1) as usize];
        for (group, key) in self.keys.iter().enumerate() {
            groups[(*key as i64).abs_diff(low) as usize] = group as u32 + 1;
        }
        self.index = Index::Direct { low, groups };
    }

    /// Gives every row a group of its own, for keys that hardly ever come again.
    ///
    /// # Errors
    /// As [`Grouper::assign`].
    pub fn append(&mut self, keys: &[&Vector], rows: usize) -> Result<()> {
        self.numbers.clear();
        if self.groups + rows > GROUPS_MAX {
            return Err(error!(ProgramLimitExceeded, "too many groups"));
        }
        let mut words = std::mem::take(&mut self.rows);
        self.gather(keys, rows, &mut words)?;
        self.keys.extend_from_slice(&words);
        self.rows = words;
        self.numbers.extend(self.groups as u32..(self.groups + rows) as u32);
        self.groups += rows;
        Ok(())
    }

    /// The number of groups so far.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Forgets all groups and gives their memory back.
    pub fn clear(&mut self) {
        self.groups = 0;
        self.keys = Vec::new();
        self.index = match self.words {
            1 => Index::One(Vec::new()),
            _ => Index::Many(Vec::new()),
        };
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        let index = match &self.index {
            Index::Direct { groups, .. } => groups.capacity() * 4,
            Index::One(slots) => slots.capacity() * size_of::<Slot>(),
            Index::Many(slots) => slots.capacity() * 8,
            Index::Packed(packed) => packed.inner.memory_bytes(),
        };
        index + self.keys.capacity() * 8
    }

    /// Numbers the groups of `rows` rows with these keys.
    ///
    /// # Errors
    /// 54000 beyond 2³² groups, XX000 for keys of another kind than declared.
    pub fn assign(&mut self, keys: &[&Vector], rows: usize) -> Result<()> {
        self.numbers.clear();
        if rows == 0 {
            return Ok(());
        }
        if self.groups + rows > GROUPS_MAX {
            return Err(error!(ProgramLimitExceeded, "too many groups"));
        }
        if let [only] = keys
            && self.words == 1
            && only.form() == Form::Narrow
            && only.valid().is_none()
        {
            return self.assign_words(only.narrow(), rows);
        }
        let mut words = std::mem::take(&mut self.rows);
        self.gather(keys, rows, &mut words)?;
        let done = if self.words == 1 {
            let signed: Vec<i64> = words.iter().map(|word| *word as i64).collect();
            self.assign_words(&signed, rows)
        } else {
            self.assign_many(&words, rows)
        };
        self.rows = words;
        done
    }

    /// As [`Grouper::assign`] for keys that are places in small dictionaries, so that their
    /// combinations are few: `lookup` has a place for each of them. The caller has checked that
    /// the codes are places of their dictionaries.
    ///
    /// # Errors
    /// As [`Grouper::assign`]; XX000 where a code is seen to be none.
    pub fn assign_coded(
        &mut self,
        codes: &[&Vector],
        lookup: &mut CodedGroups,
        rows: usize,
    ) -> Result<()> {
        let mut numbers = std::mem::take(&mut self.numbers);
        numbers.clear();
        lookup.numbers(codes, &mut numbers);
        let mut done = Ok(());
        if numbers.len() != rows {
            done = Err(Error::internal("a column of codes has other rows".to_owned()));
        } else if numbers.contains(&UNKNOWN) {
            done = self.number_unknown(codes, lookup, &mut numbers);
        }
        self.numbers = numbers;
        done
    }

    fn number_unknown(
        &mut self,
        codes: &[&Vector],
        lookup: &mut CodedGroups,
        numbers: &mut [u32],
    ) -> Result<()> {
        for (row, number) in numbers.iter_mut().enumerate() {
            if *number != UNKNOWN {
                continue;
            }
            let Some(place) = lookup.place(codes, row) else {
                return Err(Error::internal("a code is outside of its dictionary".to_owned()));
            };
            if lookup.groups[place] == UNKNOWN {
                lookup.groups[place] = self.group_of(codes, lookup, row)?;
            }
            *number = lookup.groups[place];
        }
        Ok(())
    }

    /// The group of one row of codes.
    fn group_of(&mut self, codes: &[&Vector], lookup: &CodedGroups, row: usize) -> Result<u32> {
        let mut keys = Vec::with_capacity(codes.len());
        for (codes, dictionary) in codes.iter().zip(&lookup.dictionaries) {
            let mut key = Vector::default();
            key.start_narrow(crate::Bounds::NARROW).push(dictionary[codes.narrow()[row] as usize]);
            keys.push(key);
        }
        self.assign(&keys.iter().collect::<Vec<_>>(), 1)?;
        Ok(self.numbers[0])
    }

    /// The groups of the rows of the last [`Grouper::assign`].
    pub fn numbers(&self) -> GroupNumbers<'_> {
        GroupNumbers::Each { numbers: &self.numbers, groups: self.groups }
    }

    /// The value of a key column in a group, `None` for NULL.
    pub fn key(&self, group: usize, column: usize) -> Option<i128> {
        let words = &self.keys[group * self.words..(group + 1) * self.words];
        let KeyColumn { kind, nullable, word } = self.columns[column];
        let null = match (kind, self.null_word) {
            (KeyKind::Small, _) => nullable && words[word] == NULL_WORD,
            (_, Some(nulls)) => words[nulls] >> column & 1 == 1,
            (_, None) => false,
        };
        (!null).then(|| match kind {
            KeyKind::Wide => {
                let (low, high) = (u128::from(words[word]), u128::from(words[word + 1]));
                (low | high << 64) as i128
            }
            KeyKind::Small | KeyKind::Full => i128::from(words[word] as i64),
        })
    }

    /// The values of a key column in some groups, `None` when one is NULL or does not fit 64 bits.
    pub fn narrow_keys(
        &self,
        groups: Range<usize>,
        column: usize,
    ) -> Option<impl Iterator<Item = i64> + '_> {
        let KeyColumn { kind, nullable, word } = self.columns[column];
        let rows = || {
            self.keys[groups.start * self.words..groups.end * self.words].chunks_exact(self.words)
        };
        let null = match (kind, self.null_word) {
            (KeyKind::Wide, _) => true,
            (KeyKind::Small, _) => nullable && rows().any(|row| row[word] == NULL_WORD),
            (KeyKind::Full, Some(nulls)) => rows().any(|row| row[nulls] >> column & 1 == 1),
            (KeyKind::Full, None) => false,
        };
        (!null).then(|| rows().map(move |row| row[word] as i64))
    }

    /// Looks keys up by hash alone from the next [`Grouper::clear`] on, which takes less memory.
    pub fn end_ranges(&mut self) {
        self.hashed = true;
    }

    /// Writes the words of `rows` rows, row by row.
    fn gather(&self, keys: &[&Vector], rows: usize, words: &mut Vec<u64>) -> Result<()> {
        words.clear();
        words.resize(rows * self.words, 0);
        for (place, (column, vector)) in self.columns.iter().zip(keys).enumerate() {
            if vector.rows() != rows {
                return Err(Error::internal("a key column has other rows".to_owned()));
            }
            let of_row = words.chunks_exact_mut(self.words);
            match (column.kind, vector.form()) {
                (KeyKind::Wide, Form::Narrow | Form::Wide) => {
                    for (row, words) in of_row.enumerate() {
                        let value = vector.integer(row);
                        words[column.word] = value as u64;
                        words[column.word + 1] = (value >> 64) as u64;
                    }
                }
                (KeyKind::Small | KeyKind::Full, Form::Narrow) => {
                    for (words, value) in of_row.zip(vector.narrow()) {
                        words[column.word] = *value as u64;
                    }
                }
                (KeyKind::Small, Form::Bool) => {
                    for (words, value) in of_row.zip(vector.bits()) {
                        words[column.word] = u64::from(*value);
                    }
                }
                (kind, form) => {
                    return Err(Error::internal(format!("a {kind:?} key comes as {form:?}")));
                }
            }
            if let Some(valid) = vector.valid() {
                self.gather_nulls(place, valid, words)?;
            }
        }
        Ok(())
    }

    fn gather_nulls(&self, place: usize, valid: &[u8], words: &mut [u64]) -> Result<()> {
        let column = self.columns[place];
        if !column.nullable {
            if valid.contains(&0) {
                return Err(Error::internal("a key that is never NULL is NULL".to_owned()));
            }
            return Ok(());
        }
        for (words, valid) in words.chunks_exact_mut(self.words).zip(valid) {
            if *valid == 1 {
                continue;
            }
            match (column.kind, self.null_word) {
                (KeyKind::Small, _) => words[column.word] = NULL_WORD,
                (kind, Some(nulls)) => {
                    words[nulls] |= 1 << place;
                    words[column.word] = 0;
                    if kind == KeyKind::Wide {
                        words[column.word + 1] = 0;
                    }
                }
                (_, None) => {}
            }
        }
        Ok(())
    }

    fn assign_words(&mut self, keys: &[i64], rows: usize) -> Result<()> {
        if keys.len() != rows {
            return Err(Error::internal("a key column has other rows".to_owned()));
        }
        loop {
            let left = &keys[self.numbers.len()..];
            match &mut self.index {
                Index::Direct { low, groups } => {
                    direct(*low, groups, left, &mut self.keys, &mut self.numbers);
                }
                Index::One(slots) if slots.len() >= (self.groups + rows) * 2 => {
                    probe_one(self.seed, slots, left, &mut self.keys, &mut self.numbers);
                }
                Index::One(_) | Index::Many(_) | Index::Packed(_) => {}
            }
            self.groups = self.keys.len();
            if self.numbers.len() == rows {
                return Ok(());
            }
            if !self.spread_out(&keys[self.numbers.len()..]) {
                self.reserve_one(rows);
            }
        }
    }

    /// Goes over to a table over the range of all keys, these included, when it would be dense
    /// enough; to hashing otherwise.
    fn spread_out(&mut self, keys: &[i64]) -> bool {
        let known = self.keys.iter().map(|key| *key as i64).chain(keys.iter().copied());
        let (low, high) =
            known.fold((i64::MAX, i64::MIN), |(low, high), key| (low.min(key), high.max(key)));
        let span = high.wrapping_sub(low) as u64;
        let dense = self.groups >= DENSE_GROUPS_MIN
            && span / DENSE_SPAN <= self.groups as u64
            && !self.hashed;
        if !dense {
            if !matches!(self.index, Index::One(_)) {
                // Expectations were wrong.
                (self.index, self.hashed) = (Index::One(Vec::new()), true);
            }
            return false;
        }
        // Room on both sides: keys that ascend would end the range with every vector.
        let slack = (span / 2 + 1) as i64;
        self.look_up_directly(low.saturating_sub(slack), high.saturating_add(slack));
        true
    }

    /// Makes room for `rows` new groups.
    fn reserve_one(&mut self, rows: usize) {
        let Index::One(slots) = &mut self.index else {
            return;
        };
        let wanted = ((self.groups + rows) * 2).next_power_of_two();
        if wanted <= slots.len() {
            return;
        }
        *slots = vec![Slot::default(); wanted];
        let mask = wanted - 1;
        for (group, key) in self.keys.iter().enumerate() {
            let mut at = hash::word(self.seed, *key) as usize & mask;
            while slots[at].group != 0 {
                at = (at + 1) & mask;
            }
            slots[at] = Slot { key: *key, group: group as u32 + 1 };
        }
    }

    fn reserve_many(&mut self, rows: usize) {
        let Index::Many(slots) = &mut self.index else {
            return;
        };
        let wanted = ((self.groups + rows) * 2).next_power_of_two();
        if wanted <= slots.len() {
            return;
        }
        *slots = vec![0; wanted];
        let mask = wanted - 1;
        for (group, key) in self.keys.chunks_exact(self.words).enumerate() {
            let hash = hash::words(self.seed, key);
            let mut at = hash as usize & mask;
            while slots[at] != 0 {
                at = (at + 1) & mask;
            }
            slots[at] = entry(hash, group);
        }
    }

    fn assign_many(&mut self, words: &[u64], rows: usize) -> Result<()> {
        let full = match &mut self.index {
            Index::Packed(packed) => !packed.pack(words),
            Index::Many(slots) => slots.len() < (self.groups + rows) * 2,
            Index::Direct { .. } | Index::One(_) => false,
        };
        if full {
            self.index = match Packed::new(&self.keys, words, self.words, self.hashed)? {
                Some(packed) if self.groups >= DENSE_GROUPS_MIN => Index::Packed(Box::new(packed)),
                _ => match std::mem::replace(&mut self.index, Index::Many(Vec::new())) {
                    Index::Many(slots) => Index::Many(slots),
                    _ => Index::Many(Vec::new()),
                },
            };
        }
        if let Index::Packed(packed) = &mut self.index {
            packed.inner.numbers.clear();
            packed.inner.assign_words(&packed.codes, rows)?;
            self.numbers.extend_from_slice(&packed.inner.numbers);
            if packed.inner.groups > self.groups {
                for (number, row) in self.numbers.iter().zip(words.chunks_exact(self.words)) {
                    if *number as usize == self.groups {
                        self.keys.extend_from_slice(row);
                        self.groups += 1;
                    }
                }
            }
            return Ok(());
        }
        self.reserve_many(rows);
        let Index::Many(slots) = &mut self.index else {
            return Err(Error::internal("keys of several words without their table".to_owned()));
        };
        match self.words {
            2 => probe_many::<2>(self.seed, slots, words, &mut self.keys, &mut self.numbers),
            3 => probe_many::<3>(self.seed, slots, words, &mut self.keys, &mut self.numbers),
            4 => probe_many::<4>(self.seed, slots, words, &mut self.keys, &mut self.numbers),
            n => probe_any(n, self.seed, slots, words, &mut self.keys, &mut self.numbers),
        }
        self.groups = self.keys.len() / self.words;
        Ok(())
    }
}

/// Rows of several words as single integers, where the ranges of the words leave room for that.
#[derive(Clone, Debug)]
struct Packed {
    lows: Vec<i64>,
    /// How many values each word may have.
    spans: Vec<u64>,
    /// Numbers the integers; its groups are those of the rows.
    inner: Grouper,
    codes: Vec<i64>,
}

impl Packed {
    /// For rows in the ranges of `known` and `more`, with room around them; all of `known` are
    /// numbered, `more` is packed.
    fn new(known: &[u64], more: &[u64], width: usize, hashed: bool) -> Result<Option<Packed>> {
        let (mut lows, mut highs) = (vec![i64::MAX; width], vec![i64::MIN; width]);
        for row in known.chunks_exact(width).chain(more.chunks_exact(width)) {
            for (column, word) in row.iter().enumerate() {
                lows[column] = lows[column].min(*word as i64);
                highs[column] = highs[column].max(*word as i64);
            }
        }
        let mut spans = Vec::with_capacity(width);
        let mut total = 1_i64;
        for (low, high) in lows.iter_mut().zip(&highs) {
            let slack = (high.abs_diff(*low) / 2).min(i64::MAX as u64) as i64;
            *low = low.saturating_sub(slack);
            let span = high.saturating_add(slack).abs_diff(*low).saturating_add(1);
            let product = i64::try_from(span).ok().and_then(|span| total.checked_mul(span));
            let Some(product) = product else {
                return Ok(None);
            };
            total = product;
            spans.push(span);
        }
        let mut inner = Grouper::new(&[(KeyKind::Full, false)]);
        inner.hashed = hashed;
        let mut packed = Packed { lows, spans, inner, codes: Vec::new() };
        for rows in known.chunks(width * crate::VECTOR_ROWS) {
            packed.pack(rows);
            packed.inner.numbers.clear();
            packed.inner.assign_words(&packed.codes, rows.len() / width)?;
        }
        packed.pack(more);
        Ok(Some(packed))
    }

    /// Makes integers of rows; false when one has a word outside of its range.
    fn pack(&mut self, words: &[u64]) -> bool {
        let width = self.lows.len();
        let rows = words.len() / width;
        self.codes.clear();
        self.codes.resize(rows, 0);
        let mut outside = false;
        for (column, (low, span)) in self.lows.iter().zip(&self.spans).enumerate() {
            let values = words.iter().skip(column).step_by(width);
            for (code, word) in self.codes.iter_mut().zip(values) {
                let place = (*word as i64).wrapping_sub(*low) as u64;
                outside |= place >= *span;
                *code = code.wrapping_mul(*span as i64).wrapping_add(place as i64);
            }
        }
        !outside
    }
}

fn entry(hash: u64, group: usize) -> u64 {
    hash & !u64::from(u32::MAX) | (group as u64 + 1)
}

/// Numbers keys until one lies outside the range.
fn direct(
    low: i64,
    groups: &mut [u32],
    keys: &[i64],
    known: &mut Vec<u64>,
    numbers: &mut Vec<u32>,
) {
    numbers.reserve(keys.len());
    for key in keys {
        let place = key.wrapping_sub(low) as u64;
        let Some(group) = usize::try_from(place).ok().and_then(|place| groups.get_mut(place))
        else {
            return;
        };
        if *group == 0 {
            known.push(*key as u64);
            *group = known.len() as u32;
        }
        numbers.push(*group - 1);
    }
}

fn probe_one(
    seed: u64,
    slots: &mut [Slot],
    keys: &[i64],
    known: &mut Vec<u64>,
    numbers: &mut Vec<u32>,
) {
    let mask = slots.len() - 1;
    numbers.reserve(keys.len());
    for key in keys {
        let key = *key as u64;
        let mut at = hash::word(seed, key) as usize & mask;
        loop {
            let slot = &mut slots[at & mask];
            if slot.group == 0 {
                known.push(key);
                *slot = Slot { key, group: known.len() as u32 };
            }
            if slot.key == key {
                numbers.push(slot.group - 1);
                break;
            }
            at += 1;
        }
    }
}

fn probe_many<const N: usize>(
    seed: u64,
    slots: &mut [u64],
    words: &[u64],
    known: &mut Vec<u64>,
    numbers: &mut Vec<u32>,
) {
    let mask = slots.len() - 1;
    let (rows, _) = words.as_chunks::<N>();
    numbers.reserve(rows.len());
    for row in rows {
        let hash = hash::words(seed, row);
        let tag = hash >> 32;
        let mut at = hash as usize & mask;
        loop {
            let slot = slots[at & mask];
            if slot == 0 {
                let group = known.len() / N;
                known.extend_from_slice(row);
                slots[at & mask] = entry(hash, group);
                numbers.push(group as u32);
                break;
            }
            let group = (slot as u32 - 1) as usize;
            if slot >> 32 == tag && known[group * N..(group + 1) * N] == row[..] {
                numbers.push(group as u32);
                break;
            }
            at += 1;
        }
    }
}

/// As `probe_many` for rows of any number of words, also none.
fn probe_any(
    width: usize,
    seed: u64,
    slots: &mut [u64],
    words: &[u64],
    known: &mut Vec<u64>,
    numbers: &mut Vec<u32>,
) {
    let mask = slots.len() - 1;
    for row in words.chunks_exact(width) {
        let hash = hash::words(seed, row);
        let mut at = hash as usize & mask;
        loop {
            let slot = slots[at];
            let group = if slot == 0 { known.len() / width } else { (slot as u32 - 1) as usize };
            if slot == 0 {
                known.extend_from_slice(row);
                slots[at] = entry(hash, group);
            }
            if (slot == 0 || slot >> 32 == hash >> 32)
                && known[group * width..(group + 1) * width] == *row
            {
                numbers.push(group as u32);
                break;
            }
            at = (at + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::Bounds;

    fn check(kinds: &[(KeyKind, bool)], columns: &[Vec<Option<i64>>], range: Option<(i64, i64)>) {
        let mut grouper = Grouper::new(kinds);
        if let Some((low, high)) = range {
            grouper.expect_range(low, high, 1 << 20);
        }
        let rows = columns[0].len();
        let mut expected: HashMap<Vec<Option<i64>>, u32> = HashMap::new();
        for first in (0..rows).step_by(100) {
            let part = first..(first + 100).min(rows);
            let vectors: Vec<Vector> = columns
                .iter()
                .map(|values| {
                    let values = &values[part.clone()];
                    let mut vector = Vector::default();
                    let plain = values.iter().map(|value| value.unwrap_or(77));
                    vector.start_narrow(Bounds::NARROW).extend(plain);
                    if values.contains(&None) {
                        vector.start_valid().extend(values.iter().map(|v| u8::from(v.is_some())));
                    }
                    vector
                })
                .collect();
            grouper.assign(&vectors.iter().collect::<Vec<_>>(), part.len()).unwrap();
            let GroupNumbers::Each { numbers, .. } = grouper.numbers() else { unreachable!() };
            for (row, number) in part.zip(numbers) {
                let key: Vec<_> = columns.iter().map(|values| values[row]).collect();
                let next = expected.len() as u32;
                assert_eq!(*expected.entry(key).or_insert(next), *number);
            }
        }
        assert_eq!(grouper.groups(), expected.len());
        for (key, group) in expected {
            for (column, value) in key.iter().enumerate() {
                let group = group as usize;
                assert_eq!(grouper.key(group, column), value.map(i128::from));
                if let Some(keys) = grouper.narrow_keys(group..group + 1, column) {
                    assert_eq!(keys.map(Some).collect::<Vec<_>>(), [*value]);
                } else {
                    assert!(value.is_none() || kinds[column].0 == KeyKind::Wide);
                }
            }
        }
    }

    fn column(nullable: bool) -> impl Strategy<Value = Vec<Option<i64>>> {
        let value = prop_oneof![
            4 => (-3_i64..40).prop_map(Some),
            1 => Just(Some(i64::MIN)),
            1 => Just(Some(i64::MAX - 1)),
            1 => Just(if nullable { None } else { Some(0) }),
        ];
        proptest::collection::vec(value, 350)
    }

    #[test]
    fn dense_keys_are_found_out_and_given_up() {
        let mut grouper = Grouper::new(&[(KeyKind::Full, false)]);
        let mut seen = HashMap::new();
        let mut add = |grouper: &mut Grouper, keys: &mut dyn Iterator<Item = i64>| {
            let mut vector = Vector::default();
            vector.start_narrow(Bounds::NARROW).extend(keys);
            grouper.assign(&[&vector], vector.rows()).unwrap();
            for (key, number) in vector.narrow().iter().zip(&grouper.numbers) {
                let next = seen.len() as u32;
                assert_eq!(*seen.entry(*key).or_insert(next), *number);
            }
        };
        for part in 0..40_i64 {
            add(&mut grouper, &mut (0..500).map(|n| 1_000 + part * 1_100 + n * 3));
        }
        assert!(matches!(grouper.index, Index::Direct { .. }));
        for part in (0..40_i64).rev() {
            add(&mut grouper, &mut (0..500).map(|n| -3_000 + part * 1_100 + n * 2));
        }
        assert!(matches!(grouper.index, Index::Direct { .. }));
        add(&mut grouper, &mut [5, i64::MIN, i64::MAX, 1_000, i64::MAX].into_iter());
        assert!(matches!(grouper.index, Index::One(_)));
        grouper.expect_range(0, 10, 1 << 40);
        assert!(matches!(grouper.index, Index::One(_)), "it was wrong before");
        add(&mut grouper, &mut (0..5_000).map(|n| n * 7));
        assert_eq!(grouper.groups(), seen.len());
        assert!(
            (0..seen.len())
                .all(|group| seen[&(grouper.key(group, 0).unwrap() as i64)] == group as u32)
        );
    }

    #[test]
    fn expected_ranges_grow_and_every_row_may_be_a_group() {
        let mut grouper = Grouper::new(&[(KeyKind::Full, false)]);
        let keys = |first: i64| {
            let mut vector = Vector::default();
            vector.start_narrow(Bounds::NARROW).extend(first..first + 100);
            vector
        };
        for part in 0..50 {
            grouper.expect_range(part * 50, part * 50 + 99, 1 << 16);
            assert!(matches!(grouper.index, Index::Direct { .. }));
            grouper.assign(&[&keys(part * 50)], 100).unwrap();
        }
        assert_eq!(grouper.groups(), 2_550);
        grouper.expect_range(i64::MIN, i64::MAX, 1 << 16);
        grouper.clear();
        for _ in 0..2 {
            grouper.append(&[&keys(7)], 100).unwrap();
        }
        assert_eq!((grouper.groups(), grouper.key(150, 0)), (200, Some(57)));
        assert_eq!(grouper.numbers[0], 100);
    }

    #[test]
    fn rows_of_small_ranges_are_packed_and_unpacked() {
        let kinds = [(KeyKind::Full, true), (KeyKind::Small, true), (KeyKind::Full, false)];
        let mut grouper = Grouper::new(&kinds);
        let mut seen: HashMap<Vec<Option<i64>>, u32> = HashMap::new();
        let mut add = |grouper: &mut Grouper, rows: &mut dyn Iterator<Item = [Option<i64>; 3]>| {
            let rows: Vec<_> = rows.collect();
            let column = |at: usize| {
                let mut vector = Vector::default();
                let values = rows.iter().map(|row| row[at].unwrap_or(3));
                vector.start_narrow(Bounds::NARROW).extend(values);
                let valid = rows.iter().map(|row| u8::from(row[at].is_some()));
                vector.start_valid().extend(valid);
                vector
            };
            let vectors: Vec<Vector> = (0..3).map(column).collect();
            grouper.assign(&vectors.iter().collect::<Vec<_>>(), rows.len()).unwrap();
            for (row, number) in rows.iter().zip(&grouper.numbers) {
                let next = seen.len() as u32;
                assert_eq!(*seen.entry(row.to_vec()).or_insert(next), *number);
            }
        };
        let row = |n: i64| [Some(n % 91).filter(|v| *v != 7), Some(n / 40), Some(n % 7 - 3)];
        for part in 0..30 {
            add(&mut grouper, &mut (part * 400..part * 400 + 700).map(row));
        }
        assert!(matches!(grouper.index, Index::Packed(_)));
        add(&mut grouper, &mut (0..900).map(|n| [Some(n * 1_000), Some(-n), Some(n)]));
        assert!(matches!(grouper.index, Index::Packed(_)));
        add(&mut grouper, &mut [[Some(i64::MIN), None, Some(i64::MAX)], row(5)].into_iter());
        assert!(matches!(grouper.index, Index::Many(_)));
        add(&mut grouper, &mut (0..9_000).map(|n| row(n * 13)));
        assert_eq!(grouper.groups(), seen.len());
        for (key, group) in &seen {
            for (column, value) in key.iter().enumerate() {
                assert_eq!(grouper.key(*group as usize, column), value.map(i128::from));
            }
        }
    }

    #[test]
    fn codes_give_the_groups_of_their_keys() {
        let dictionaries = vec![vec![7, 8, 9], vec![-1, 8]];
        let kinds = [(KeyKind::Small, true), (KeyKind::Full, false)];
        let (mut coded, mut plain) = (Grouper::new(&kinds), Grouper::new(&kinds));
        let narrow = |values: &mut dyn Iterator<Item = i64>| {
            let mut vector = Vector::default();
            vector.start_narrow(Bounds::NARROW).extend(values);
            vector
        };
        for turn in 0..3 {
            let mut lookup = CodedGroups::new(dictionaries.clone()).unwrap();
            let a = narrow(&mut (0..100).map(|row| row * 7 % 3));
            let b = narrow(&mut (0..100).map(|row| row / 9 % (turn + 1) % 2));
            coded.assign_coded(&[&a, &b], &mut lookup, 100).unwrap();
            let keys = [(&a, 0), (&b, 1)].map(|(codes, column): (&Vector, usize)| {
                narrow(&mut codes.narrow().iter().map(|code| dictionaries[column][*code as usize]))
            });
            plain.assign(&keys.iter().collect::<Vec<_>>(), 100).unwrap();
            assert_eq!(coded.numbers, plain.numbers);
            let outside = narrow(&mut std::iter::once(2));
            assert!(coded.assign_coded(&[&outside, &outside], &mut lookup, 1).is_err());
        }
        assert_eq!(coded.groups(), plain.groups());
        assert!(CodedGroups::new(vec![vec![0; 70], vec![0; 70]]).is_none());
    }

    proptest! {
        #[test]
        fn groups_are_those_of_a_map(
            a in column(true), b in column(false), c in column(true), low in -5_i64..5
        ) {
            use KeyKind::{Full, Small, Wide};
            check(&[(Small, true)], std::slice::from_ref(&a), None);
            check(&[(Full, true)], std::slice::from_ref(&a), None);
            check(&[(Full, false)], std::slice::from_ref(&b), None);
            check(&[(Full, false)], std::slice::from_ref(&b), Some((low, 20)));
            check(&[(Small, true), (Full, false)], &[a.clone(), b.clone()], None);
            check(&[(Wide, true), (Full, true)], &[a.clone(), c.clone()], None);
            let all = [a.clone(), b.clone(), c.clone(), a, b];
            let kinds = [(Full, true), (Wide, false), (Small, true), (Wide, true), (Small, false)];
            check(&kinds, &all, None);
        }
    }
}
