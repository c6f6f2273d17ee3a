//! Arrow's 16-byte views of strings, and the proof that what they show is UTF-8.
//!
//! The only place that makes a string array without Arrow's own check of each value: the bytes
//! were checked here, a vector at a time, which for ASCII is one fast pass.

use std::sync::Arc;

use arrow_array::builder::make_view;
use arrow_array::{ArrayRef, BinaryViewArray, StringViewArray};
use arrow_buffer::{Buffer, NullBuffer, ScalarBuffer};

use crate::layout::{Parsed, fault};
use crate::{Selection, VECTOR_ROWS};

/// Text decoded into one buffer before the next one is begun; view offsets have 32 bits.
const BUFFER_BYTES_MAX: usize = 1 << 30;

/// The buffers that views point into.
pub(crate) struct Views {
    utf8: bool,
    buffers: Vec<Buffer>,
    owned: Vec<u8>,
}

impl Views {
    /// `utf8`: every string is checked to be UTF-8.
    pub(crate) fn new(utf8: bool) -> Views {
        Views { utf8, buffers: Vec::new(), owned: Vec::new() }
    }

    /// Makes `buffer` the buffer of [`Views::push_shared`].
    pub(crate) fn share(&mut self, buffer: Buffer) {
        self.buffers.push(buffer);
    }

    /// The view of a single text.
    pub(crate) fn constant(&mut self, text: &[u8]) -> Parsed<u128> {
        self.check(text, &[])?;
        self.buffers.push(Buffer::from(text));
        Ok(make_view(text, 0, 0))
    }

    /// The buffer to decode `more` bytes into; [`Views::push_owned`] then makes views of them.
    pub(crate) fn owned(&mut self, more: usize) -> &mut Vec<u8> {
        if !self.owned.is_empty() && self.owned.len() + more > BUFFER_BYTES_MAX {
            self.buffers.push(Buffer::from_vec(std::mem::take(&mut self.owned)));
        }
        &mut self.owned
    }

    /// Appends views of consecutive texts of `lengths` that start at `start` of the owned buffer
    /// and end at its end, of all or of those whose rows in the given vector are selected.
    pub(crate) fn push_owned(
        &mut self,
        start: usize,
        lengths: &[u32],
        kept: Option<(&Selection, usize)>,
        out: &mut Vec<u128>,
    ) -> Parsed<()> {
        self.check(&self.owned[start..], lengths)?;
        push(&self.owned, self.buffers.len(), start, lengths, kept, out);
        Ok(())
    }

    /// Appends views, as [`Views::push_owned`] does, of texts that start at `start` of the shared
    /// buffer, whose bytes are `data`; the caller checked that they lie inside.
    pub(crate) fn push_shared(
        &mut self,
        data: &[u8],
        start: usize,
        lengths: &[u32],
        kept: Option<(&Selection, usize)>,
        out: &mut Vec<u128>,
    ) -> Parsed<()> {
        let total: usize = lengths.iter().map(|len| *len as usize).sum();
        self.check(&data[start..start + total], lengths)?;
        push(data, 0, start, lengths, kept, out);
        Ok(())
    }

    /// Checks that `text`, cut into `lengths`, is UTF-8 in every piece.
    fn check(&self, text: &[u8], lengths: &[u32]) -> Parsed<()> {
        if !self.utf8 || text.is_ascii() {
            return Ok(());
        }
        let Ok(text) = std::str::from_utf8(text) else {
            return fault("a string is not UTF-8");
        };
        let mut at = 0;
        for len in lengths {
            at += *len as usize;
            if !text.is_char_boundary(at) {
                return fault("a string ends inside a character");
            }
        }
        Ok(())
    }

    fn into_buffers(mut self) -> Vec<Buffer> {
        if !self.owned.is_empty() {
            self.buffers.push(Buffer::from_vec(self.owned));
        }
        self.buffers
    }
}

fn push(
    data: &[u8],
    buffer: usize,
    start: usize,
    lengths: &[u32],
    kept: Option<(&Selection, usize)>,
    out: &mut Vec<u128>,
) {
    let view =
        |at: usize, len: u32| make_view(&data[at..at + len as usize], buffer as u32, at as u32);
    let mut at = start;
    let Some((selection, vector)) = kept else {
        out.extend(lengths.iter().map(|len| {
            let from = at;
            at += *len as usize;
            view(from, *len)
        }));
        return;
    };
    let mut starts = [0; VECTOR_ROWS];
    for (start, len) in starts.iter_mut().zip(lengths) {
        *start = at;
        at += *len as usize;
    }
    selection.each_in_vector(vector, |row| out.push(view(starts[row], lengths[row])));
}

/// The array of views made by one reader, whose buffers are `views`.
#[expect(unsafe_code, reason = "Arrow would check every value again, one at a time")]
pub(crate) fn array(
    values: ScalarBuffer<u128>,
    views: Views,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let utf8 = views.utf8;
    let buffers = views.into_buffers();
    if utf8 {
        // SAFETY: `values` came from the `push_*` and `constant` calls on `views`, which make
        // views only of bytes inside the buffer that they name and, with `utf8`, only of pieces
        // that `check` found to be UTF-8; `nulls` has as many rows, as its maker ensures.
        Arc::new(unsafe { StringViewArray::new_unchecked(values, buffers, nulls) })
    } else {
        // SAFETY: as above; binary views need no UTF-8.
        Arc::new(unsafe { BinaryViewArray::new_unchecked(values, buffers, nulls) })
    }
}
