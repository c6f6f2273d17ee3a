//! Estimating the number of distinct values: a HyperLogLog of 4,096 registers.
//!
//! The standard error is 1.6 %; small sets are counted nearly exactly.

const PRECISION: u32 = 12;
const REGISTERS: usize = 1 << PRECISION;

/// Spreads the bits of a value over 64 bits (the finaliser of SplitMix64).
#[inline(always)]
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// A sketch of the set of values seen.
pub(crate) struct Sketch {
    registers: Box<[u8; REGISTERS]>,
}

impl Sketch {
    pub(crate) fn new() -> Sketch {
        Sketch { registers: Box::new([0; REGISTERS]) }
    }

    /// Adds a value by its 64-bit hash.
    #[inline(always)]
    pub(crate) fn add_hash(&mut self, hash: u64) {
        let index = (hash >> (64 - PRECISION)) as usize;
        // Trailing zeros: counting them is one fast instruction on every x86-64.
        let rank = (hash | 1 << (64 - PRECISION)).trailing_zeros() as u8 + 1;
        let register = &mut self.registers[index];
        *register = (*register).max(rank);
    }

    pub(crate) fn add_integer(&mut self, value: i64) {
        self.add_hash(mix(value as u64));
    }

    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        self.add_hash(xxhash_rust::xxh3::xxh3_64(bytes));
    }

    /// Adds everything that `other` saw.
    pub(crate) fn merge(&mut self, other: &Sketch) {
        for (mine, theirs) in self.registers.iter_mut().zip(other.registers.iter()) {
            *mine = (*mine).max(*theirs);
        }
    }

    /// The estimate, at most `limit`.
    pub(crate) fn estimate(&self, limit: u64) -> u64 {
        let mut counts = [0_u32; 64];
        for register in self.registers.iter() {
            counts[usize::from(*register & 63)] += 1;
        }
        let size = REGISTERS as f64;
        let sum: f64 = counts
            .iter()
            .enumerate()
            .map(|(rank, count)| f64::from(*count) / (1_u64 << rank) as f64)
            .sum();
        let raw = 0.7213 / (1.0 + 1.079 / size) * size * size / sum;
        let zeros = f64::from(counts[0]);
        let estimate =
            if raw <= 2.5 * size && zeros > 0.0 { size * (size / zeros).ln() } else { raw };
        (estimate.round() as u64).min(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_close() {
        for n in [1_u64, 10, 1_000, 30_000, 1_000_000] {
            let mut sketch = Sketch::new();
            (0..n).for_each(|i| sketch.add_integer(i as i64 * 7));
            let error = (sketch.estimate(u64::MAX) as f64 - n as f64).abs() / n as f64;
            assert!(error < 0.06, "{n}: {error}");
        }
    }
}
