//! Bit-packing of vectors: 1,024 codes of `width` bits in the FastLanes order, and a shorter
//! last vector packed plainly from the lowest bit.
//!
//! The lane is the narrowest of 16, 32 and 64 bits that holds the width: narrow lanes unpack
//! more values per instruction.

use fastlanes::BitPacking;

use crate::VECTOR_ROWS;
use crate::layout::{Parsed, fault};

/// One vector's worth of lanes.
pub(crate) type Lanes<W> = [W; VECTOR_ROWS];

/// A lane type: the unsigned integer in which codes are packed and unpacked.
pub(crate) trait Word: BitPacking + Copy + Default + Ord + 'static {
    const BITS: usize;
    fn truncate(code: u64) -> Self;
    fn widen(self) -> u64;
    fn read(bytes: &[u8]) -> Self;
    fn write(self, out: &mut [u8]);
    fn wrapping_sub(self, other: Self) -> Self;
}

macro_rules! word {
    ($type:ty) => {
        impl Word for $type {
            const BITS: usize = <$type>::BITS as usize;
            #[inline(always)]
            fn truncate(code: u64) -> Self {
                code as $type
            }
            #[inline(always)]
            fn widen(self) -> u64 {
                u64::from(self)
            }
            #[inline(always)]
            fn read(bytes: &[u8]) -> Self {
                let mut field = [0; size_of::<$type>()];
                field.copy_from_slice(bytes);
                <$type>::from_le_bytes(field)
            }
            #[inline(always)]
            fn write(self, out: &mut [u8]) {
                out.copy_from_slice(&self.to_le_bytes());
            }
            #[inline(always)]
            fn wrapping_sub(self, other: Self) -> Self {
                <$type>::wrapping_sub(self, other)
            }
        }
    };
}

word!(u16);
word!(u32);
word!(u64);

/// Bits needed for codes `0..=max`.
pub(crate) fn bits_for(max: u64) -> u8 {
    (64 - max.leading_zeros()) as u8
}

/// The largest code of `width` bits.
pub(crate) fn max_code(width: u8) -> u64 {
    if width == 0 { 0 } else { u64::MAX >> (64 - u32::from(width)) }
}

/// Bytes of `rows` codes of `width` bits.
pub(crate) fn packed_bytes(rows: usize, width: u8) -> usize {
    let width = usize::from(width);
    rows / VECTOR_ROWS * vector_bytes(width) + (rows % VECTOR_ROWS * width).div_ceil(8)
}

fn vector_bytes(width: usize) -> usize {
    VECTOR_ROWS / 8 * width
}

/// Packs `rows` codes; `code(i)` must be at most `max_code(width)`.
pub(crate) fn pack(rows: usize, width: u8, out: &mut Vec<u8>, code: impl Fn(usize) -> u64) {
    match width {
        0 => {}
        1..=16 => pack_lanes::<u16>(rows, width, out, code),
        17..=32 => pack_lanes::<u32>(rows, width, out, code),
        _ => pack_lanes::<u64>(rows, width, out, code),
    }
}

fn pack_lanes<W: Word>(rows: usize, width: u8, out: &mut Vec<u8>, code: impl Fn(usize) -> u64) {
    out.reserve(packed_bytes(rows, width));
    let mut lanes = [W::default(); VECTOR_ROWS];
    let mut packed = [W::default(); VECTOR_ROWS];
    let words = VECTOR_ROWS * usize::from(width) / <W as Word>::BITS;
    for vector in 0..rows / VECTOR_ROWS {
        let first = vector * VECTOR_ROWS;
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = W::truncate(code(first + i));
        }
        pack_vector(usize::from(width), &lanes, &mut packed[..words]);
        let start = out.len();
        out.resize(start + words * size_of::<W>(), 0);
        for (bytes, word) in out[start..].chunks_exact_mut(size_of::<W>()).zip(&packed[..words]) {
            word.write(bytes);
        }
    }
    pack_tail(rows - rows % VECTOR_ROWS..rows, width, out, code);
}

fn pack_tail(
    rows: std::ops::Range<usize>,
    width: u8,
    out: &mut Vec<u8>,
    code: impl Fn(usize) -> u64,
) {
    let mut pending: u128 = 0;
    let mut bits = 0;
    for row in rows {
        pending |= u128::from(code(row)) << bits;
        bits += u32::from(width);
        while bits >= 8 {
            out.push((pending & 0xFF) as u8);
            pending >>= 8;
            bits -= 8;
        }
    }
    if bits > 0 {
        out.push((pending & 0xFF) as u8);
    }
}

/// Unpacks vector `vector` of `rows` codes into `lanes` and returns how many it holds.
///
/// The caller picks `W` by the width, as [`pack`] does.
pub(crate) fn unpack<W: Word>(
    data: &[u8],
    rows: usize,
    width: u8,
    vector: usize,
    lanes: &mut Lanes<W>,
) -> Parsed<usize> {
    let size = vector_bytes(usize::from(width));
    let from = vector * size;
    if vector < rows / VECTOR_ROWS {
        let Some(packed) = data.get(from..from + size) else {
            return fault("packed codes are short");
        };
        unpack_vector(width, packed, lanes);
        return Ok(VECTOR_ROWS);
    }
    let tail = rows % VECTOR_ROWS;
    let Some(packed) = data.get(from..from + (tail * usize::from(width)).div_ceil(8)) else {
        return fault("packed codes of the last vector are short");
    };
    let mask = u128::from(max_code(width));
    let mut pending: u128 = 0;
    let mut bits = 0;
    let mut bytes = packed.iter();
    for lane in &mut lanes[..tail] {
        while bits < u32::from(width) {
            pending |= u128::from(bytes.next().copied().unwrap_or(0)) << bits;
            bits += 8;
        }
        *lane = W::truncate((pending & mask) as u64);
        pending >>= width;
        bits -= u32::from(width);
    }
    Ok(tail)
}

fn unpack_vector<W: Word>(width: u8, packed: &[u8], lanes: &mut Lanes<W>) {
    let mut words = [W::default(); VECTOR_ROWS];
    let count = packed.len() / size_of::<W>();
    for (word, bytes) in words[..count].iter_mut().zip(packed.chunks_exact(size_of::<W>())) {
        *word = W::read(bytes);
    }
    unpack_words(usize::from(width), &words[..count], lanes);
}

#[expect(unsafe_code, reason = "the only run-time-width entry that fastlanes has is unchecked")]
fn unpack_words<W: Word>(width: usize, words: &[W], lanes: &mut Lanes<W>) {
    assert!(width <= <W as Word>::BITS && words.len() == VECTOR_ROWS * width / <W as Word>::BITS);
    // SAFETY: `words` holds exactly 1,024 × width / lane bits lanes and `lanes` exactly 1,024,
    // both checked just above or by the type.
    unsafe { W::unchecked_unpack(width, words, lanes) }
}

#[expect(unsafe_code, reason = "the only run-time-width entry that fastlanes has is unchecked")]
fn pack_vector<W: Word>(width: usize, lanes: &Lanes<W>, words: &mut [W]) {
    assert!(width <= <W as Word>::BITS && words.len() == VECTOR_ROWS * width / <W as Word>::BITS);
    // SAFETY: as in `unpack_words`, with the roles of input and output exchanged.
    unsafe { W::unchecked_pack(width, lanes, words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<W: Word>(rows: usize, width: u8) {
        let code = |i: usize| (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) & max_code(width);
        let mut data = Vec::new();
        pack(rows, width, &mut data, code);
        assert_eq!(data.len(), packed_bytes(rows, width));
        let mut lanes = [W::default(); VECTOR_ROWS];
        for vector in 0..rows.div_ceil(VECTOR_ROWS) {
            let n = unpack::<W>(&data, rows, width, vector, &mut lanes).unwrap();
            for (i, lane) in lanes[..n].iter().enumerate() {
                assert_eq!(lane.widen(), code(vector * VECTOR_ROWS + i), "width {width}");
            }
        }
    }

    #[test]
    fn every_width_round_trips() {
        for rows in [1, 7, 1_023, 1_024, 1_025, 3_000] {
            (1..=16).for_each(|width| round_trip::<u16>(rows, width));
            (17..=32).for_each(|width| round_trip::<u32>(rows, width));
            (33..=64).for_each(|width| round_trip::<u64>(rows, width));
        }
    }

    #[test]
    fn short_data_is_a_fault() {
        let mut lanes = [0_u16; VECTOR_ROWS];
        assert!(unpack::<u16>(&[0; 10], 1_024, 3, 0, &mut lanes).is_err());
        assert!(unpack::<u16>(&[0; 1], 10, 3, 0, &mut lanes).is_err());
    }
}
