//! Floor 1: typed programs and aggregation over vectors of about a thousand values.
//!
//! Owns the arithmetic of fused pipelines: [`Program`] evaluates expressions compiled to a list of
//! instructions over registers, [`Grouper`] turns keys into group numbers, [`Accumulator`] keeps
//! one state a group. Whole numbers, dates, timestamps and decimals are 64-bit integers while
//! bounds prove that they fit, and 128-bit ones otherwise; text is [`TextKeys`]' 64-bit keys.
//!
//! Must not know plans, segments or Arrow: vectors come in and vectors go out.

mod accumulate;
mod compile;
mod expr;
mod group;
mod hash;
mod kernel;
mod program;
#[cfg(test)]
mod tests;
mod text;
mod vector;

pub use accumulate::{Accumulator, AccumulatorKind, States};
pub use expr::{ArithOp, CompareOp, DatePart, Expr, Kind, Limits};
pub use group::{CodedGroups, GroupNumbers, Grouper, KeyKind};
pub use program::{Program, Registers};
pub use text::TextKeys;
pub use vector::{Bounds, Form, Vector};

/// Rows that a program works on at once, about: enough to hide the cost of an instruction, few
/// enough that registers stay in the first-level cache.
pub const VECTOR_ROWS: usize = 1_024;
