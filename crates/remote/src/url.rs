//! Where stores and COPY's sources are, as URLs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use base::{Result, error, fail};
use object_store::ObjectStore;
use object_store::prefix::PrefixStore;

use crate::egress::EgressPolicy;
use crate::local::{DirectoryStore, LocalFiles};
use crate::s3::{S3Options, s3_bucket};

/// Where a cluster keeps its durable bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// A directory of this machine.
    Local(PathBuf),
    /// A prefix in a bucket of an S3-compatible store; the prefix may be empty.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix, without slashes at its ends.
        prefix: String,
    },
}

impl StoreUrl {
    /// Reads `file:///path`, `/path` or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// 22023 for anything else.
    pub fn parse(text: &str) -> Result<StoreUrl> {
        match SourceUrl::parse(text)? {
            SourceUrl::Local(path) => Ok(StoreUrl::Local(path)),
            SourceUrl::S3 { bucket, key } => {
                Ok(StoreUrl::S3 { bucket, prefix: key.trim_matches('/').to_owned() })
            }
        }
    }

    /// Plain file access to a local store, for readers that want no detour.
    pub fn local_files(&self) -> Option<LocalFiles> {
        match self {
            StoreUrl::Local(root) => Some(LocalFiles::new(root.clone())),
            StoreUrl::S3 { .. } => None,
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Local(path) => write!(f, "file://{}", path.display()),
            StoreUrl::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl std::str::FromStr for StoreUrl {
    type Err = base::Error;

    fn from_str(text: &str) -> Result<StoreUrl> {
        StoreUrl::parse(text)
    }
}

/// Where COPY reads: a file, or all files whose name begins so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceUrl {
    /// A path of this machine.
    Local(PathBuf),
    /// A key, or the beginning of keys, in a bucket.
    S3 {
        /// The bucket.
        bucket: String,
        /// The key or its beginning, as written.
        key: String,
    },
}

impl SourceUrl {
    /// Reads `file:///path`, `/path` or `s3://bucket/key`.
    ///
    /// # Errors
    /// 22023 for anything else.
    pub fn parse(text: &str) -> Result<SourceUrl> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            check_bucket(text, bucket)?;
            return Ok(SourceUrl::S3 { bucket: bucket.to_owned(), key: key.to_owned() });
        }
        let path = match text.strip_prefix("file://") {
            Some(path) => path,
            None if text.contains("://") => {
                let scheme = text.split("://").next().unwrap_or_default();
                return Err(bad(text).detail(format!("The scheme \"{scheme}\" is not known.")));
            }
            None => text,
        };
        if !path.starts_with('/') {
            return Err(bad(text).detail("A local path begins with a slash."));
        }
        Ok(SourceUrl::Local(PathBuf::from(path)))
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceUrl::Local(path) => write!(f, "{}", path.display()),
            SourceUrl::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
        }
    }
}

fn bad(text: &str) -> base::Error {
    error!(InvalidParameterValue, "\"{text}\" is not a location")
        .hint("Locations are s3://bucket/prefix, file:///path and /path.")
}

/// A bucket's name becomes part of a host name: nothing but S3's own characters may be in it.
fn check_bucket(text: &str, bucket: &str) -> Result<()> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if bucket.is_empty() || bucket.len() > 255 || !bucket.bytes().all(fine) || bucket.contains("..")
    {
        return Err(bad(text).detail(format!("\"{bucket}\" is not a bucket's name.")));
    }
    Ok(())
}

/// How a cluster's store is reached.
#[derive(Clone, Debug, Default)]
pub struct StoreOptions {
    /// For a store in S3.
    pub s3: S3Options,
    /// The hosts that may be reached. The operator names the store's own host here; see
    /// [`EgressPolicy::allow_endpoint`].
    pub egress: EgressPolicy,
}

/// Opens a cluster's store, rooted at the URL's prefix.
///
/// # Errors
/// 42501 when the policy forbids the host; 58030 when the directory cannot be made.
pub async fn open_store(url: &StoreUrl, options: &StoreOptions) -> Result<Arc<dyn ObjectStore>> {
    match url {
        StoreUrl::Local(root) => {
            let root = root.clone();
            let store =
                base::task::blocking("open the store", move || DirectoryStore::open(&root)).await?;
            Ok(Arc::new(store))
        }
        StoreUrl::S3 { bucket, prefix } => {
            let store = s3_bucket(bucket, &options.s3, &options.egress)?;
            if prefix.is_empty() {
                return Ok(store);
            }
            let Ok(prefix) = object_store::path::Path::parse(prefix) else {
                fail!(InvalidParameterValue, "\"{prefix}\" is not a prefix of keys");
            };
            Ok(Arc::new(PrefixStore::new(store, prefix)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        let s3 = |bucket: &str, prefix: &str| StoreUrl::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        };
        assert_eq!(StoreUrl::parse("/a/b").unwrap(), StoreUrl::Local("/a/b".into()));
        assert_eq!(StoreUrl::parse("file:///a").unwrap(), StoreUrl::Local("/a".into()));
        assert_eq!(StoreUrl::parse("s3://b").unwrap(), s3("b", ""));
        assert_eq!(StoreUrl::parse("s3://b/x/y/").unwrap(), s3("b", "x/y"));
        for bad in
            ["", "a/b", "file://a", "http://h/x", "s3://", "s3:///k", "s3://a@b/k", "s3://a..b"]
        {
            let error = StoreUrl::parse(bad).unwrap_err();
            assert_eq!(error.sqlstate().code(), "22023", "{bad}");
        }
        let text = "s3://b/part-";
        assert_eq!(SourceUrl::parse(text).unwrap().to_string(), text);
    }
}
