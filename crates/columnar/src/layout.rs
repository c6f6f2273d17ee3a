//! Little-endian fields with every bound checked: the only way bytes of a segment are read.
//!
//! Knows no encoding. A [`Fault`] says what is wrong; the caller adds the segment and the block.

use std::borrow::Cow;

use bytes::Bytes;

/// What is wrong with the bytes, in lower case without a full stop.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) Cow<'static, str>);

/// The result of reading encoded bytes.
pub(crate) type Parsed<T> = Result<T, Fault>;

/// A fault with a fixed text.
pub(crate) fn fault<T>(what: &'static str) -> Parsed<T> {
    Err(Fault(Cow::Borrowed(what)))
}

/// Reads fields one after another; slices share the underlying buffer.
pub(crate) struct Reader {
    bytes: Bytes,
    at: usize,
}

macro_rules! read_fields {
    ($($name:ident: $type:ty,)*) => {
        $(pub(crate) fn $name(&mut self) -> Parsed<$type> {
            let field = self.take(size_of::<$type>())?;
            field.try_into().map(<$type>::from_le_bytes).or_else(|_| fault("a field is short"))
        })*
    };
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Reader {
        Reader { bytes, at: 0 }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, len: usize) -> Parsed<&[u8]> {
        if len > self.remaining() {
            return fault("the bytes end inside a field");
        }
        let from = self.at;
        self.at += len;
        Ok(&self.bytes[from..from + len])
    }

    read_fields! {
        u8: u8,
        u16: u16,
        u32: u32,
        u64: u64,
        i64: i64,
        i128: i128,
    }

    /// The next `len` bytes, without copying.
    pub(crate) fn slice(&mut self, len: usize) -> Parsed<Bytes> {
        if len > self.remaining() {
            return fault("a section is longer than the bytes that follow");
        }
        let from = self.at;
        self.at += len;
        Ok(self.bytes.slice(from..from + len))
    }

    /// Fails unless every byte was read.
    pub(crate) fn end(&self) -> Parsed<()> {
        if self.remaining() != 0 { fault("bytes follow the last section") } else { Ok(()) }
    }
}

/// Appends a length that fits 32 bits because blocks are bounded.
pub(crate) fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = base::proven(u32::try_from(len).ok(), "sections of a block are below 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
}

/// Element `at` of an array of little-endian `u32`; `None` outside.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let from = at.checked_mul(4)?;
    let field = bytes.get(from..from.checked_add(4)?)?;
    field.try_into().ok().map(u32::from_le_bytes)
}

/// Element `at` of an array of little-endian `i64`; `None` outside.
pub(crate) fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    let from = at.checked_mul(8)?;
    let field = bytes.get(from..from.checked_add(8)?)?;
    field.try_into().ok().map(i64::from_le_bytes)
}
