//! Floor 1: hash tables for joins over Arrow arrays.
//!
//! [`JoinTable::build`] makes a table of the keys of the build side; [`JoinTable::lookup`] finds
//! the matches of a batch of probe rows, and [`JoinTable::pairs`] gives them as pairs of row
//! numbers in vectors of bounded length. [`Visited`] collects which build rows had a match.
//! Build rows are numbered through all batches, in order.
//!
//! Keys are normalised first: integers, dates, times, booleans and decimals to one word of 64 or
//! 128 bits that holds all columns as offsets from the smallest build value, anything else to
//! bytes. Small ranges are indexed directly or by bitset and rank, the rest by hash.
//!
//! Must not do I/O, name DataFusion or hold more than the keys: payload columns are the caller's.

mod build;
mod bytes;
mod contains;
mod direct;
mod hashed;
mod keyed;
mod lookup;
mod table;
mod values;
mod visited;
mod words;
mod yielding;

pub use build::Plan;
pub use lookup::{Cursor, Matches, NO_ROW, Pairs};
pub use table::{JoinTable, estimated_bytes};
pub use values::is_supported;
pub use visited::Visited;
pub use yielding::{block_on, yield_now};

/// Keys that are looked up together: each step is a loop over the whole vector.
pub const VECTOR_ROWS: usize = 1_024;

/// Rows that a build handles before it gives other tasks a chance.
const BUILD_SLICE_ROWS: usize = 1 << 16;
