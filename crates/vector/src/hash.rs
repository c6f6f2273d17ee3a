//! The hash of keys: a multiplication folded to 64 bits, seeded for each process so that nobody
//! can choose keys that collide.

use std::sync::OnceLock;

const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
const OTHER: u64 = 0xD6E8_FEB8_6659_FD93;

/// The seed of this process.
pub(crate) fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(base::rng::u64)
}

/// Both halves of the product, mixed.
#[inline(always)]
pub(crate) fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product as u64) ^ (product >> 64) as u64
}

#[inline(always)]
pub(crate) fn word(seed: u64, word: u64) -> u64 {
    fold(word ^ seed, FACTOR)
}

#[inline(always)]
pub(crate) fn words(seed: u64, words: &[u64]) -> u64 {
    let mixed = words.iter().fold(seed, |hash, word| fold(hash ^ word, FACTOR));
    fold(mixed, OTHER)
}

pub(crate) fn bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = fold(seed ^ bytes.len() as u64, FACTOR);
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        hash = fold(hash ^ u64::from_le_bytes(*chunk), FACTOR);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    fold(hash ^ u64::from_le_bytes(last), OTHER)
}
