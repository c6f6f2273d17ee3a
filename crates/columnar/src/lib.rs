//! Floor 1: the native segment file — encoded blocks, zone maps, footer — and scans on it.
//!
//! Owns every byte of a segment: [`SegmentWriter`] makes them from Arrow batches, [`Footer`] and
//! [`Block`] read them, [`Predicate`] and [`Selection`] evaluate filters on encoded data, and
//! [`inspect`] describes a file to a person. `docs/internals/segment-format.md` specifies the
//! format to the byte.
//!
//! Must not do I/O, know the catalog, or name DataFusion: bytes come in and bytes go out.
//! Whatever the bytes are, reading them gives rows or an error with SQLSTATE XX001, never a panic.

mod block;
mod cardinality;
mod encode;
mod float;
mod footer;
mod integer;
mod layout;
mod packing;
mod predicate;
mod selection;
mod stream;
mod text;
mod wide;
mod writer;
mod zone;

pub mod fuzz;
pub mod inspect;

pub use block::{Block, Codes, Integers};
pub use encode::Encode;
pub use footer::{BlockIndex, ColumnIndex, FORMAT_VERSION, Footer};
pub use fuzz::fuzz_segment;
pub use predicate::{CompareOp, Predicate};
pub use selection::Selection;
pub use writer::{ColumnSpec, Encoded, SegmentWriter, WriteOptions};
pub use zone::Zone;

/// Values in a vector: the unit that is packed together and decoded at once.
pub const VECTOR_ROWS: usize = 1_024;
