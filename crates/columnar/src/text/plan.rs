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
}

/// Symbols are not worth their table below this much text.
const FSST_BYTES_MIN: usize = 512;
/// Rows sampled before a dictionary is built.
const SAMPLE_ROWS: usize = 1_024;
/// Compressing is abandoned when it saves less than one part in this many.
const GAIN: usize = 12;

/// Writes the strings (at least one) and returns the tag; adds every distinct one to `sketch`.
pub(crate) fn write(
    strings: &Strings<'_>,
    menu: Menu,
    sketch: &mut Sketch,
    out: &mut Vec<u8>,
) -> u8 {
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
        return tag::CONSTANT;
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
    let tag = write_stored(strings, out);
    let mut other = Vec::new();
    let other_tag = dictionary.write(menu, &mut other);
    if other.len() >= out.len() - start {
        return tag;
    }
    out.truncate(start);
    out.extend_from_slice(&other);
    other_tag
}

/// FSST where it gains, else plain.
fn write_stored(strings: &Strings<'_>, out: &mut Vec<u8>) -> u8 {
    if strings.data.len() >= FSST_BYTES_MIN
        && let Some(tag) = write_fsst(strings, out)
    {
        return tag;
    }
    write_plain(strings, Menu::Any, out)
}

fn write_lengths(strings: &Strings<'_>, menu: Menu, out: &mut Vec<u8>) {
    let lengths: Vec<i64> = strings.iter().map(|text| text.len() as i64).collect();
    encode(&lengths, 4, menu, out);
}

fn write_plain(strings: &Strings<'_>, lengths: Menu, out: &mut Vec<u8>) -> u8 {
    out.push(tag::PLAIN);
    put_len(out, strings.rows());
    write_lengths(strings, lengths, out);
    for first in (0..strings.rows()).step_by(VECTOR_ROWS) {
        put_len(out, if first == 0 { 0 } else { strings.ends[first - 1] as usize });
    }
    put_len(out, strings.data.len());
    out.extend_from_slice(strings.data);
    tag::PLAIN
}

fn write_fsst(strings: &Strings<'_>, out: &mut Vec<u8>) -> Option<u8> {
    const LANES: usize = fsst::Compressor::DEFAULT_BULK_LANES;
    let rows: Vec<&[u8]> = strings.iter().collect();
    let compressor = fsst::Compressor::train(&rows);
    let mut packed = Vec::new();
    let mut ends = Vec::with_capacity(rows.len());
    compressor.compress_bulk_into::<LANES>(&rows, &mut packed, &mut ends);
    let symbols = compressor.symbol_table();
    if packed.len() + symbols.len() * 5 + strings.data.len() / GAIN > strings.data.len() {
        return None;
    }
    out.push(tag::FSST);
    put_len(out, rows.len());
    out.push(u8::try_from(symbols.len()).ok()?);
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
    Some(tag::FSST)
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
    let mut slots = vec![u32::MAX; (rows * 2).next_power_of_two()];
    let mask = slots.len() - 1;
    let mut dictionary =
        Dictionary { data: Vec::new(), ends: Vec::new(), codes: Vec::with_capacity(rows) };
    let mut last: (&[u8], i64) = (&[], -1);
    for text in strings.iter() {
        if last.1 >= 0 && last.0 == text {
            dictionary.codes.push(last.1);
            continue;
        }
        let mut at = xxhash_rust::xxh3::xxh3_64(text) as usize & mask;
        while slots[at] != u32::MAX && dictionary.strings().get(slots[at] as usize) != text {
            at = (at + 1) & mask;
        }
        if slots[at] == u32::MAX {
            if dictionary.entries() == limit {
                return None;
            }
            slots[at] = dictionary.entries() as u32;
            dictionary.data.extend_from_slice(text);
            dictionary.ends.push(dictionary.data.len() as u32);
        }
        last = (text, i64::from(slots[at]));
        dictionary.codes.push(last.1);
    }
    Some(dictionary)
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

    fn write(&self, menu: Menu, out: &mut Vec<u8>) -> u8 {
        out.push(tag::DICTIONARY);
        put_len(out, self.codes.len());
        let strings = self.strings();
        match self.data.len() {
            // Small dictionaries stay plain: they are decoded for every scan.
            0..4_096 => write_plain(&strings, Menu::Flat, out),
            _ => write_stored(&strings, out),
        };
        let codes = if menu == Menu::Runs { Menu::Runs } else { Menu::Codes };
        encode(&self.codes, 4, codes, out);
        tag::DICTIONARY
    }
}
