//! Text as 64-bit keys: equal keys are equal text. Short text is its own key, longer text is
//! kept once and numbered.

use base::{Result, error};

use crate::hash;

/// Text up to this many bytes lies in its key.
const INLINE_BYTES: usize = 7;
/// Marks a key that is a number.
const NUMBERED: u64 = 1 << 63;
const EMPTY: u32 = u32::MAX;

/// The text that keys stand for.
#[derive(Clone, Debug)]
pub struct TextKeys {
    bytes: Vec<u8>,
    /// Where each numbered text ends.
    ends: Vec<usize>,
    hashes: Vec<u64>,
    /// Open addressing over numbers.
    slots: Vec<u32>,
    seed: u64,
}

impl Default for TextKeys {
    fn default() -> TextKeys {
        TextKeys {
            bytes: Vec::new(),
            ends: Vec::new(),
            hashes: Vec::new(),
            slots: vec![EMPTY; 64],
            seed: hash::seed(),
        }
    }
}

impl TextKeys {
    /// The key of `text`.
    ///
    /// # Errors
    /// 54000 beyond 2³¹ different long texts.
    #[inline]
    pub fn key(&mut self, text: &[u8]) -> Result<i64> {
        match Self::inline_key(text) {
            Some(key) => Ok(key),
            None => self.numbered(text),
        }
    }

    /// The key of `text` when it is short.
    #[inline]
    pub fn inline_key(text: &[u8]) -> Option<i64> {
        if text.len() > INLINE_BYTES {
            return None;
        }
        let mut bytes = [0; 8];
        bytes[..text.len()].copy_from_slice(text);
        bytes[INLINE_BYTES] = text.len() as u8;
        Some(i64::from_le_bytes(bytes))
    }

    /// The key of text in Arrow's 16-byte view form, when it is short.
    #[inline]
    pub fn inline_view(view: u128) -> Option<i64> {
        let length = view as u32;
        let key = (view >> 32) as u64 | u64::from(length) << 56;
        (length as usize <= INLINE_BYTES).then_some(key as i64)
    }

    fn numbered(&mut self, text: &[u8]) -> Result<i64> {
        if (self.ends.len() + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let hash = hash::bytes(self.seed, text);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                EMPTY => break,
                number
                    if self.hashes[number as usize] == hash
                        && self.numbered_text(number) == text =>
                {
                    return Ok((NUMBERED | u64::from(number)) as i64);
                }
                _ => at = (at + 1) & mask,
            }
        }
        let number = u32::try_from(self.ends.len()).ok().filter(|n| *n < EMPTY >> 1);
        let Some(number) = number else {
            return Err(error!(ProgramLimitExceeded, "too many different strings"));
        };
        self.slots[at] = number;
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
        self.hashes.push(hash);
        Ok((NUMBERED | u64::from(number)) as i64)
    }

    fn grow(&mut self) {
        let mask = self.slots.len() * 2 - 1;
        self.slots = vec![EMPTY; mask + 1];
        for (number, hash) in self.hashes.iter().enumerate() {
            let mut at = *hash as usize & mask;
            while self.slots[at] != EMPTY {
                at = (at + 1) & mask;
            }
            self.slots[at] = number as u32;
        }
    }

    fn numbered_text(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[number]]
    }

    /// The text of a key; short text is written to `scratch`.
    pub fn text<'a>(&'a self, key: i64, scratch: &'a mut [u8; 8]) -> &'a [u8] {
        let key = key as u64;
        if key & NUMBERED != 0 {
            return self.numbered_text(key as u32);
        }
        *scratch = key.to_le_bytes();
        &scratch[..usize::from(scratch[INLINE_BYTES]).min(INLINE_BYTES)]
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
            + (self.ends.capacity() + self.hashes.capacity()) * 8
            + self.slots.capacity() * 4
    }

    /// Forgets all text; keys made before mean nothing any more.
    pub fn clear(&mut self) {
        *self = TextKeys::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_equal_when_text_is() {
        let mut keys = TextKeys::default();
        let texts: Vec<String> =
            (0..3_000).map(|n| "x".repeat(n % 23) + &(n % 700).to_string()).collect();
        let made: Vec<i64> = texts.iter().map(|text| keys.key(text.as_bytes()).unwrap()).collect();
        for (text, key) in texts.iter().zip(&made) {
            assert_eq!(keys.text(*key, &mut [0; 8]), text.as_bytes());
            assert_eq!(keys.key(text.as_bytes()).unwrap(), *key);
        }
        let distinct: std::collections::HashSet<_> = texts.iter().collect();
        let numbers: std::collections::HashSet<_> = made.iter().collect();
        assert_eq!(distinct.len(), numbers.len());
        assert_ne!(keys.key(b"").unwrap(), keys.key(b"\0").unwrap());
        let view = 3 | u128::from(u32::from_le_bytes(*b"abc\0")) << 32;
        assert_eq!(TextKeys::inline_view(view), TextKeys::inline_key(b"abc"));
    }
}
