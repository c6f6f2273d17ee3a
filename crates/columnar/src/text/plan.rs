//! Choosing and writing the encoding of strings.

use super::tag;
use crate::VECTOR_ROWS;
use crate::cardinality::Sketch;
use crate::integer::{Menu, encode};
use crate::layout::put_len;
use crate::packing::{bits_for, packed_bytes};

/// Strings of one block in row order: `ends[i]` is where row `i` ends in `data`.
pub(crate) struct Strings<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) ends: &'a [u32],
}

impl<'a> Strings<'a> {
    pub(crate) fn rows(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, row: usize) -> &'a [u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.data[start..self.ends[row] as usize]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        (0..self.rows()).map(|row| self.get(row))
    }

    /// The first bytes of a row and its length: decides most comparisons without a call.
    #[inline]
    fn head(&self, row: usize) -> Head {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        let len = self.ends[row] as usize - start;
        let mut eight = [0; 8];
        match self.data.get(start..start + 8) {
            Some(bytes) => eight.copy_from_slice(bytes),
            None => eight[..len].copy_from_slice(&self.data[start..start + len]),
        }
        let word = u64::from_be_bytes(eight);
        let word = if len < 8 { word & !(u64::MAX >> (8 * len)) } else { word };
        Head { word, len: len as u32 }
    }

    /// The least and the greatest of the strings of `rows`; `None` when there are no rows.
    pub(crate) fn bounds(&self, rows: impl Iterator<Item = usize>) -> Option<(&'a [u8], &'a [u8])> {
        let mut bounds: Option<((Head, usize), (Head, usize))> = None;
        for row in rows {
            let head = self.head(row);
            let against = |(other, at): (Head, usize)| {
                head.order(other).unwrap_or_else(|| self.get(row).cmp(self.get(at)))
            };
            match &mut bounds {
                None => bounds = Some(((head, row), (head, row))),
                Some((low, _)) if against(*low).is_lt() => *low = (head, row),
                Some((_, high)) if against(*high).is_gt() => *high = (head, row),
                Some(_) => {}
            }
        }
        bounds.map(|((_, low), (_, high))| (self.get(low), self.get(high)))
    }
}

/// The first eight bytes of a string, big-endian with zeros for missing ones, and its length.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Head {
    word: u64,
    len: u32,
}

impl Head {
    /// The order of two strings; `None` when their heads do not decide it.
    #[inline]
    fn order(self, other: Head) -> Option<std::cmp::Ordering> {
        let order = self.word.cmp(&other.word);
        if order.is_ne() {
            return Some(order);
        }
        (self.len <= 8 && other.len <= 8).then(|| self.len.cmp(&other.len))
    }

    fn hash(self, text: &[u8]) -> usize {
        let hash = match self.len {
            0..=8 => crate::cardinality::mix(self.word ^ u64::from(self.len)),
            _ => xxhash_rust::xxh3::xxh3_64(text),
        };
        hash as usize
    }
}

/// Symbols are not worth their table below this much text.
const FSST_BYTES_MIN: usize = 512;
/// Rows sampled before a dictionary is built.
const SAMPLE_ROWS: usize = 1_024;
/// Compressing is abandoned when it saves less than one part in this many.
const GAIN: usize = 12;

/// Writes the strings (at least one) and adds every distinct one to `sketch`.
pub(crate) fn write(strings: &Strings<'_>, menu: Menu, sketch: &mut Sketch, out: &mut Vec<u8>) {
    if menu == Menu::Plain {
        strings.iter().for_each(|text| sketch.add_bytes(text));
        return write_plain(strings, Menu::Any, out);
    }
    let first = strings.get(0);
    if strings.iter().all(|text| text == first) {
        sketch.add_bytes(first);
        out.push(tag::CONSTANT);
        put_len(out, strings.rows());
        put_len(out, first.len());
        out.extend_from_slice(first);
        return;
    }
    let forced = matches!(menu, Menu::Dictionary | Menu::Runs);
    let Some(dictionary) = dictionary(strings, forced) else {
        strings.iter().for_each(|text| sketch.add_bytes(text));
        return write_stored(strings, out);
    };
    (0..dictionary.entries()).for_each(|code| sketch.add_bytes(dictionary.strings().get(code)));
    if forced || dictionary.bytes() * 4 < strings.data.len() {
        return dictionary.write(menu, out);
    }
    // Neither is clearly better: write both and keep the smaller.
    let start = out.len();
    write_stored(strings, out);
    let mut other = Vec::new();
    dictionary.write(menu, &mut other);
    if other.len() < out.len() - start {
        out.truncate(start);
        out.append(&mut other);
    }
}

/// FSST where it gains, else plain.
fn write_stored(strings: &Strings<'_>, out: &mut Vec<u8>) {
    if strings.data.len() < FSST_BYTES_MIN || !write_fsst(strings, out) {
        write_plain(strings, Menu::Any, out);
    }
}

fn write_lengths(strings: &Strings<'_>, menu: Menu, out: &mut Vec<u8>) {
    let lengths: Vec<i64> = strings.iter().map(|text| text.len() as i64).collect();
    encode(&lengths, 4, menu, out);
}

fn write_plain(strings: &Strings<'_>, lengths: Menu, out: &mut Vec<u8>) {
    out.push(tag::PLAIN);
    put_len(out, strings.rows());
    write_lengths(strings, lengths, out);
    for first in (0..strings.rows()).step_by(VECTOR_ROWS) {
        put_len(out, if first == 0 { 0 } else { strings.ends[first - 1] as usize });
    }
    put_len(out, strings.data.len());
    out.extend_from_slice(strings.data);
}

/// False, with nothing written, when compressing gains too little.
fn write_fsst(strings: &Strings<'_>, out: &mut Vec<u8>) -> bool {
    const LANES: usize = fsst::Compressor::DEFAULT_BULK_LANES;
    let rows: Vec<&[u8]> = strings.iter().collect();
    let compressor = fsst::Compressor::train(&rows);
    let mut packed = Vec::new();
    let mut ends = Vec::with_capacity(rows.len());
    compressor.compress_bulk_into::<LANES>(&rows, &mut packed, &mut ends);
    let symbols = compressor.symbol_table();
    if packed.len() + symbols.len() * 5 + strings.data.len() / GAIN > strings.data.len() {
        return false;
    }
    out.push(tag::FSST);
    put_len(out, rows.len());
    out.push(symbols.len() as u8);
    for symbol in symbols {
        out.push(symbol.len() as u8);
        out.extend_from_slice(&symbol.to_u64().to_le_bytes()[..symbol.len()]);
    }
    write_lengths(strings, Menu::Any, out);
    for first in (0..rows.len()).step_by(VECTOR_ROWS) {
        put_len(out, if first == 0 { 0 } else { ends[first - 1] as usize });
    }
    put_len(out, packed.len());
    out.extend_from_slice(&packed);
    true
}

/// Distinct strings in order of appearance and a code for each row.
struct Dictionary {
    data: Vec<u8>,
    ends: Vec<u32>,
    codes: Vec<i64>,
}

/// A dictionary when a sample shows that strings repeat.
fn dictionary(strings: &Strings<'_>, always: bool) -> Option<Dictionary> {
    let rows = strings.rows();
    if !always {
        let step = (rows / SAMPLE_ROWS).max(1);
        let mut sample: Vec<&[u8]> = (0..rows).step_by(step).map(|row| strings.get(row)).collect();
        let sampled = sample.len();
        sample.sort_unstable();
        sample.dedup();
        if sample.len() * 4 > sampled * 3 {
            return None;
        }
    }
    let limit = (rows / 2).max(1);
    let mut dictionary =
        Dictionary { data: Vec::new(), ends: Vec::new(), codes: Vec::with_capacity(rows) };
    let mut slots = Slots::new(1_024);
    for row in 0..rows {
        let head = strings.head(row);
        let text = strings.get(row);
        let at = slots.find(head, text, &dictionary);
        if slots.table[at].1 == Slots::FREE {
            if dictionary.entries() == limit {
                return None;
            }
            let code = dictionary.entries() as u32;
            slots.table[at].1 = code;
            slots.table[at].0 = head;
            dictionary.codes.push(i64::from(code));
            dictionary.data.extend_from_slice(text);
            dictionary.ends.push(dictionary.data.len() as u32);
            if dictionary.entries() * 2 > slots.table.len() {
                slots = slots.doubled(&dictionary);
            }
        } else {
            dictionary.codes.push(i64::from(slots.table[at].1));
        }
    }
    Some(dictionary)
}

/// An open-addressing table from strings to codes, at most half full.
struct Slots {
    table: Vec<(Head, u32)>,
}

impl Slots {
    const FREE: u32 = u32::MAX;

    /// `size` is a power of two.
    fn new(size: usize) -> Slots {
        Slots { table: vec![(Head { word: 0, len: 0 }, Self::FREE); size] }
    }

    /// The slot that holds the string, or the free one where it belongs.
    fn find(&self, head: Head, text: &[u8], dictionary: &Dictionary) -> usize {
        let mask = self.table.len() - 1;
        let mut at = head.hash(text) & mask;
        loop {
            let (held, code) = self.table[at];
            let same = || head.len <= 8 || dictionary.strings().get(code as usize) == text;
            if code == Self::FREE || (held == head && same()) {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    fn doubled(self, dictionary: &Dictionary) -> Slots {
        let mut larger = Slots::new(self.table.len() * 2);
        for (head, code) in self.table.into_iter().filter(|(_, code)| *code != Self::FREE) {
            let at = larger.find(head, dictionary.strings().get(code as usize), dictionary);
            larger.table[at] = (head, code);
        }
        larger
    }
}

impl Dictionary {
    fn strings(&self) -> Strings<'_> {
        Strings { data: &self.data, ends: &self.ends }
    }

    fn entries(&self) -> usize {
        self.ends.len()
    }

    /// About the bytes that it takes, its entries not compressed.
    fn bytes(&self) -> usize {
        let code_bits = bits_for(self.entries().max(2) as u64 - 1);
        self.data.len() + self.entries() + packed_bytes(self.codes.len(), code_bits)
    }

    fn write(&self, menu: Menu, out: &mut Vec<u8>) {
        out.push(tag::DICTIONARY);
        put_len(out, self.codes.len());
        let strings = self.strings();
        match self.data.len() {
            // Small dictionaries stay plain: they are decoded for every scan.
            0..4_096 => write_plain(&strings, Menu::Flat, out),
            _ => write_stored(&strings, out),
        }
        let codes = if menu == Menu::Runs { Menu::Runs } else { Menu::Codes };
        encode(&self.codes, 4, codes, out);
    }
}
