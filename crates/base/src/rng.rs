//! Randomness, through one seam.

use rand::RngCore;

/// `N` bytes fit for keys, salts and nonces.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    rand::rng().fill_bytes(&mut out);
    out
}

/// A random 64-bit number.
pub fn u64() -> u64 {
    rand::rng().next_u64()
}

/// A password of 24 letters and digits (about 140 bits) without look-alike characters.
pub fn password() -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
    (0..24).map(|_| char::from(ALPHABET[(u64() % ALPHABET.len() as u64) as usize])).collect()
}
