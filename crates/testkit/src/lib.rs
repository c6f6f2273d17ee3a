//! What the tests stand on: a built server in each of the cluster shapes, and the runner of
//! the SQL corpus. Nothing here ships.

pub mod corpus;
pub mod server;

pub use server::{Mode, Server};
