//! Segments from the outside: round trips, damage, golden files.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first fault")]

mod damage;
mod golden;
mod round_trip;
mod rows;
