//! Finding structural bytes (delimiters, newlines, quotes, escapes) eight at a time.
//!
//! Owns the scan only: what a hit means is decided by the tokenisers.

const LOW_SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
const ONES: u64 = 0x0101_0101_0101_0101;
/// Gathers the lowest bit of each byte of a word into one byte, first byte lowest.
const GATHER: u64 = 0x0102_0408_1020_4080;
const BLOCK: usize = 64;

/// Up to four bytes to look for, each spread over a word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needles {
    words: [u64; 4],
    count: usize,
}

impl Needles {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut words = [0; 4];
        let count = bytes.len().min(words.len());
        for (word, byte) in words.iter_mut().zip(bytes) {
            *word = u64::from(*byte) * ONES;
        }
        Self { words, count }
    }

    /// One bit per byte of the block, set where it is one of the needles.
    fn mask<const N: usize>(words: &[u64; 4], block: &[u8; BLOCK]) -> u64 {
        let mut mask = 0;
        for (i, chunk) in block.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*chunk);
            let mut hits = 0;
            for needle in &words[..N] {
                let x = word ^ needle;
                // The high bit of a byte is set exactly where `x` is zero in that byte.
                hits |= !(((x & LOW_SEVEN) + LOW_SEVEN) | x | LOW_SEVEN);
            }
            mask |= ((hits >> 7).wrapping_mul(GATHER) >> 56) << (8 * i);
        }
        mask
    }

    fn block(&self, block: &[u8; BLOCK]) -> u64 {
        match self.count {
            0 | 1 => Self::mask::<1>(&self.words, block),
            2 => Self::mask::<2>(&self.words, block),
            3 => Self::mask::<3>(&self.words, block),
            _ => Self::mask::<4>(&self.words, block),
        }
    }
}

/// The positions of needles in `data`, ascending, from a first position on.
pub(crate) struct Hits<'a> {
    data: &'a [u8],
    needles: Needles,
    base: usize,
    mask: u64,
}

impl<'a> Hits<'a> {
    pub(crate) fn new(data: &'a [u8], from: usize, needles: Needles) -> Self {
        let mut hits = Self { data, needles, base: from, mask: 0 };
        hits.mask = hits.load(from);
        hits
    }

    fn load(&self, base: usize) -> u64 {
        let Some(rest) = self.data.get(base..) else { return 0 };
        if let Some(block) = rest.first_chunk::<BLOCK>() {
            return self.needles.block(block);
        }
        let mut block = [0; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        // The padding must not count when a needle is the zero byte.
        self.needles.block(&block) & ((1_u64 << rest.len()) - 1)
    }
}

impl Iterator for Hits<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.mask == 0 {
            self.base += BLOCK;
            if self.base >= self.data.len() {
                self.base = self.data.len();
                return None;
            }
            self.mask = self.load(self.base);
        }
        let at = self.base + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(at)
    }
}

/// The number of times `byte` occurs.
pub(crate) fn count(data: &[u8], byte: u8) -> u64 {
    // Sums of at most 255 comparisons fit a byte, which keeps the loop vectorised.
    data.chunks(255)
        .map(|chunk| u64::from(chunk.iter().map(|b| u8::from(*b == byte)).sum::<u8>()))
        .sum()
}

/// The first position of `byte` at or after `from`.
pub(crate) fn find(data: &[u8], from: usize, byte: u8) -> Option<usize> {
    Hits::new(data, from, Needles::new(&[byte])).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hits_are_the_positions_of_the_needles(
            data in proptest::collection::vec(prop_oneof![Just(b'|'), Just(b'\n'), Just(0),
                Just(0x7f), Just(0x80), Just(0xff), any::<u8>()], 0..300),
            from in 0_usize..310,
            needles in proptest::collection::vec(any::<u8>(), 1..5),
        ) {
            let naive: Vec<usize> = (from..data.len())
                .filter(|i| needles.contains(&data[*i])).collect();
            let hits: Vec<usize> = Hits::new(&data, from, Needles::new(&needles)).collect();
            prop_assert_eq!(hits, naive);
            let byte = needles[0];
            let counted = data.iter().filter(|b| **b == byte).count() as u64;
            prop_assert_eq!(count(&data, byte), counted);
        }
    }
}
