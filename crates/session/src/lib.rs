//! Floor 4: a statement's life on the leader.
//!
//! Owns sessions: their settings, transactions, prepared statements and cursors; the dispatch of
//! statements to the catalog, the binder, the engine and ingest; privileges; the system tables;
//! the registry of who does what. Implements `base::client` for the protocol floor.
//! Holds no user data: results stream through.

mod client;
mod forms;
mod leader;
mod locks;
mod login;
mod past;
mod planning;
mod privileges;
mod relations;
mod settings;
mod statement;
mod system;
mod transaction;

#[cfg(test)]
mod tests;

pub use leader::{LeaderConfig, LeaderNode};

/// Blueshift's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The version that Redshift's drivers read: three numbers, of which the last counts up.
pub(crate) const PADB_VERSION: &str = "1.0.100";

/// What `version()` says: drivers look for the PostgreSQL and Redshift parts.
pub(crate) fn version() -> String {
    format!(
        "PostgreSQL 8.0.2 on {}-pc-linux-gnu, compiled by rustc, Redshift {PADB_VERSION} \
         (Blueshift {VERSION})",
        std::env::consts::ARCH
    )
}
