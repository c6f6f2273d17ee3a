//! The life of a cluster: its directory, its certificates, its compute processes.
//!
//! Owns what exists before a leader can serve and after it stops. Knows nothing of SQL.

mod certificates;
mod directory;
mod processes;

pub use certificates::{Role, create_certificates, read_certificates};
pub use directory::{ClusterDirectory, ClusterShape};
pub use processes::{NodeProcess, NodeProcesses, READY_PREFIX};
