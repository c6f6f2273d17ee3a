//! Decompressing FSST: codes stand for symbols of 1–8 bytes, 255 escapes one literal byte.
//!
//! Our own loop instead of the library's, which panics where a damaged file lies about lengths.

use crate::layout::{Parsed, Reader, fault};

/// The code before a literal byte.
const ESCAPE: u8 = 255;
/// Room past the end so that a symbol is always written as eight bytes.
const SLACK: usize = 8;

/// The symbols of one block.
pub(crate) struct SymbolTable {
    symbols: [u64; 256],
    lengths: [u8; 256],
    count: usize,
}

impl SymbolTable {
    /// Parses the count, then per symbol its length and its bytes.
    pub(crate) fn parse(reader: &mut Reader) -> Parsed<SymbolTable> {
        let count = usize::from(reader.u8()?);
        let mut table = SymbolTable { symbols: [0; 256], lengths: [0; 256], count };
        if count == usize::from(ESCAPE) + 1 {
            return fault("a symbol table is too long");
        }
        for code in 0..count {
            let len = reader.u8()?;
            if !(1..=8).contains(&len) {
                return fault("a symbol has an impossible length");
            }
            let mut symbol = [0; 8];
            symbol[..usize::from(len)].copy_from_slice(&reader.slice(usize::from(len))?);
            table.symbols[code] = u64::from_le_bytes(symbol);
            table.lengths[code] = len;
        }
        Ok(table)
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Appends exactly `total` decompressed bytes to `out`.
    pub(crate) fn decompress(&self, codes: &[u8], total: usize, out: &mut Vec<u8>) -> Parsed<()> {
        if total > codes.len() * 8 {
            return fault("compressed strings are shorter than their lengths say");
        }
        let start = out.len();
        out.resize(start + total + SLACK, 0);
        let written = self.fill(codes, total, &mut out[start..]);
        out.truncate(start + total);
        if written != Some(total) {
            return fault("string lengths do not add up to the text");
        }
        Ok(())
    }

    /// Fills `out` and returns the bytes written; `None` when they exceed `total`. `out` has
    /// [`SLACK`] bytes more.
    fn fill(&self, codes: &[u8], total: usize, out: &mut [u8]) -> Option<usize> {
        let mut at = 0;
        let mut next = 0;
        while next < codes.len() {
            let code = codes[next];
            if code == ESCAPE {
                *out.get_mut(at)? = *codes.get(next + 1)?;
                at += 1;
                next += 2;
            } else {
                let slot = out.get_mut(at..at + 8)?;
                slot.copy_from_slice(&self.symbols[usize::from(code)].to_le_bytes());
                at += usize::from(self.lengths[usize::from(code)]);
                next += 1;
            }
        }
        (at <= total).then_some(at)
    }
}
