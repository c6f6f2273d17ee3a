//! Which build rows had a match.

use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};

use crate::lookup::{Matches, NO_ROW};
use crate::table::JoinTable;

/// Build rows that had a match, as one prober saw them.
#[derive(Debug)]
pub struct Visited {
    /// By build row.
    rows: BooleanBufferBuilder,
    /// By the start of a list, whose rows all had one; empty for unique keys.
    lists: BooleanBufferBuilder,
}

fn cleared(len: usize) -> BooleanBufferBuilder {
    let mut bits = BooleanBufferBuilder::new(len);
    bits.append_n(len, false);
    bits
}

impl Visited {
    /// No row so far.
    pub fn new(table: &JoinTable) -> Visited {
        let lists = table.lists.as_ref().map_or(0, Vec::len);
        Visited { rows: cleared(table.rows()), lists: cleared(lists) }
    }

    /// Bytes of one for `table`.
    pub fn bytes(table: &JoinTable) -> usize {
        (table.rows() + table.lists.as_ref().map_or(0, Vec::len)) / 8 + 2
    }

    /// Adds all build rows that match.
    pub fn add(&mut self, matches: &Matches) {
        if matches.counts.is_empty() {
            let found = matches.starts.iter().filter(|start| **start != NO_ROW);
            found.for_each(|row| self.rows.set_bit(*row as usize, true));
            return;
        }
        for (start, count) in matches.starts.iter().zip(&matches.counts) {
            if *count > 0 {
                self.lists.set_bit(*start as usize, true);
            }
        }
    }

    /// Adds build rows of pairs.
    pub fn add_rows(&mut self, rows: impl Iterator<Item = u32>) {
        rows.for_each(|row| self.rows.set_bit(row as usize, true));
    }

    /// Adds what another prober of the same table saw.
    pub fn merge(&mut self, other: &Visited) {
        let merge = |own: &mut BooleanBufferBuilder, other: &BooleanBufferBuilder| {
            own.as_slice_mut().iter_mut().zip(other.as_slice()).for_each(|(own, other)| {
                *own |= other;
            });
        };
        merge(&mut self.rows, &other.rows);
        merge(&mut self.lists, &other.lists);
    }

    /// For each build row whether it had a match.
    pub fn finish(mut self, table: &JoinTable) -> BooleanBuffer {
        if let Some(rows) = &table.lists {
            table.each_list(|start, count| {
                if count > 0 && self.lists.get_bit(start as usize) {
                    let list = start as usize..(start + count) as usize;
                    rows[list].iter().for_each(|row| self.rows.set_bit(*row as usize, true));
                }
            });
        }
        self.rows.finish()
    }
}
