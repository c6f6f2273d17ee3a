//! Floor 3: COPY. Formats and sources in, batches out.
//!
//! Owns COPY's options, the division of files into work units, the parsers of delimited text,
//! CSV and Parquet, rejected rows with Redshift's error codes, and the decision whether a load
//! succeeded. Rows become segments in `exec`; segments become visible in the catalog, which the
//! session changes. Opens no connection itself: `remote` does.

mod copy;
mod failure;
mod fetch;
mod files;
mod input;
mod options;
mod parquet;
mod progress;
mod reject;
mod report;
mod scan;
pub mod text;
mod unit;

use std::sync::Arc;

use arrow_array::ArrayRef;
use base::ids::Oid;
use base::{Error, Result};
use catalog::{Column, LoadError, Table};
use datafusion_proto::physical_plan::PhysicalExtensionCodec;
use exec::Written;
use object_store::ObjectStore;

pub use copy::copy;
pub use progress::Progress;
pub use remote::Access as Sources;
pub use report::remove_stale;

/// What a COPY is run with, besides its statement.
pub struct CopyContext<'a> {
    /// The target.
    pub table: Arc<Table>,
    pub query: &'a exec::QueryContext,
    /// What may be read, and the credentials of the server itself.
    pub sources: &'a Sources,
    /// The cluster's own store, through which compute nodes report.
    pub store: Arc<dyn ObjectStore>,
    pub progress: Arc<Progress>,
    /// The value of a column's DEFAULT: an array of one element of the column's Arrow type.
    pub default: &'a (dyn Fn(&Column) -> Result<ArrayRef> + Send + Sync),
    /// The user and the session, for the rows of `stl_load_errors`.
    pub user: Oid,
    pub session: i32,
}

/// A load that succeeded and is not visible yet: the caller commits it.
#[derive(Debug)]
pub struct Copied {
    /// Empty with NOLOAD.
    pub written: Written,
    /// Rows loaded; with NOLOAD the rows that would have been.
    pub rows: u64,
    /// Rows that MAXERROR let pass, all of them counted.
    pub rejected: u64,
    /// The first of them, in file order, for `stl_load_errors`.
    pub errors: Vec<LoadError>,
    /// Notices for the client, in Redshift's words.
    pub notices: Vec<String>,
}

/// A load that failed and left nothing behind.
#[derive(Debug)]
pub struct CopyFailed {
    /// What the client is told.
    pub error: Error,
    /// The rows that were rejected, for `stl_load_errors`; empty when rows were not the reason.
    pub errors: Vec<LoadError>,
}

impl From<Error> for CopyFailed {
    fn from(error: Error) -> Self {
        Self { error, errors: Vec::new() }
    }
}

impl From<CopyFailed> for Error {
    fn from(failed: CopyFailed) -> Self {
        failed.error
    }
}

/// The codec of this crate's plan nodes. `sources` is what the process that decodes may read:
/// a compute node checks its own egress policy and load directory, whatever the leader sent.
pub fn codec(sources: Sources) -> Arc<dyn PhysicalExtensionCodec> {
    Arc::new(scan::CopyCodec::new(sources))
}
