//! Segments from the outside: round trips, damage, golden files.

mod damage;
mod golden;
mod round_trip;
mod rows;
