//! Floor 0: what every other floor stands on.
//!
//! Owns the one error type with its SQLSTATE, the SQL types and their mapping to Arrow and to
//! protocol OIDs, ids, time, randomness, tasks, fault points, secrets and tracing set-up, and
//! the contract between the protocol floor and the session floor ([`client`]).
//! Knows nothing of storage, protocol bytes or DataFusion.

pub mod client;
pub mod clock;
pub mod error;
pub mod fault;
pub mod ident;
pub mod ids;
pub mod password;
pub mod rng;
pub mod secret;
pub mod segment;
pub mod sqlstate;
pub mod stack;
pub mod suggest;
pub mod task;
pub mod telemetry;
pub mod types;

pub use error::{Error, Result, Retry, proven};
pub use secret::Secret;
pub use sqlstate::SqlState;
pub use tokio_util::sync::CancellationToken;
pub use types::SqlType;
