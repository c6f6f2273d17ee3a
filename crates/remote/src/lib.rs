//! Floor 1: every outgoing connection, and every durable byte.
//!
//! Owns store URLs, the durable store over a local directory, S3-compatible stores with their
//! credentials, the policy that says which hosts may be reached at all, and the directory that
//! COPY may read local files from. Knows nothing of what the bytes mean.

mod egress;
mod failure;
mod load;
mod local;
mod s3;
mod source;
mod url;

#[cfg(test)]
mod tests;

pub use egress::EgressPolicy;
pub use failure::store_error;
pub use load::LoadDirectory;
pub use local::{DirectoryStore, LocalFiles};
pub use s3::{S3Options, s3_bucket};
pub use source::{
    Access, ManifestEntry, Source, SourceObject, list, list_manifest, open_source, read_manifest,
};
pub use url::{SourceUrl, StoreOptions, StoreUrl, open_store};
