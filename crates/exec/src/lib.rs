//! Floor 2: execution. Physical plans, slices and placement, scans and writes of segments, and
//! the calls between leader and compute nodes.
//!
//! The leader plans a query as for one machine with one partition per slice, [`distribute`]
//! cuts the plan where rows must move, compute nodes run the parts over their own storage.
//! Knows nothing of SQL text, sessions or the client protocol.

mod admission;
pub mod cache;
mod change;
mod changing;
mod codec;
mod compacting;
mod deletes;
mod distinct;
mod distribute;
pub mod engine;
pub mod error;
pub mod explain;
mod hashjoin;
mod inlining;
pub mod layout;
pub mod leaf;
mod local;
mod lone_row;
mod memory;
mod names;
pub mod node;
mod order;
mod outer;
mod parts;
mod pipeline;
pub mod placement;
mod predicates;
pub mod provider;
pub mod query;
pub mod rpc;
mod rules;
mod sampling;
pub mod scan;
pub mod settings;
mod sharing;
mod single_row;
mod sweep;
#[cfg(test)]
mod testing;
pub mod write;
mod writing;

pub use cache::NodeStorage;
pub use changing::{ChangeKind, Modified, WRITE_COLUMN};
pub use engine::{Cluster, Engine, EngineConfig, Extensions};
pub use inlining::{INLINE_BYTES_MAX, INLINE_ROWS_MAX};
pub use layout::Layout;
pub use leaf::{DistributedSource, SourceExec};
pub use node::{NodeConfig, NodeServer};
pub use placement::placement_fingerprint;
pub use query::{Executable, QueryContext};
pub use rpc::{NodeAddress, NodeStatus, NodeTls};
pub use scan::value_text;
pub use settings::Settings;
pub use writing::{WriteInput, WriteTarget, Written};
