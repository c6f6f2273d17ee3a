//! Putting a finished segment into the store.

use std::sync::Arc;

use base::{Error, Result, Retry, error, fault};
use bytes::Bytes;
use columnar::Encoded;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

/// Makes a segment durable under `path`, which nothing has used before.
///
/// # Errors
/// 58030 when the store fails; XX000 when the path is taken by something else.
pub(super) async fn put(store: Arc<dyn ObjectStore>, path: String, encoded: Encoded) -> Result<()> {
    // The footer has the checksum of every block.
    let (at, proof) = (encoded.footer_offset, tail(&encoded));
    put_new(&store, &path, PutPayload::from_iter(encoded.chunks), at, &proof).await
}

/// Makes a small file durable under `path`, which nothing has used before.
///
/// # Errors
/// As [`put`].
pub(crate) async fn put_bytes(
    store: &Arc<dyn ObjectStore>,
    path: &str,
    bytes: Vec<u8>,
) -> Result<()> {
    let bytes = Bytes::from(bytes);
    put_new(store, path, PutPayload::from(bytes.clone()), 0, &bytes).await
}

/// `proof` is what the file has from `at` on.
async fn put_new(
    store: &Arc<dyn ObjectStore>,
    path: &str,
    payload: PutPayload,
    at: u64,
    proof: &[u8],
) -> Result<()> {
    fault::point("segment.before_put")?;
    let location = Path::from(path);
    let end = at + proof.len() as u64;
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match store.put_opts(&location, payload, options).await {
        Ok(_) => {}
        // A put that was sent again after its answer was lost finds itself.
        Err(object_store::Error::AlreadyExists { .. }) => {
            let there = store.get_range(&location, at..end).await;
            let same = there.is_ok_and(|there| there == proof);
            if !same {
                return Err(Error::internal(format!("segment name {path} is used twice")));
            }
        }
        Err(error) => return Err(store_error(path, error)),
    }
    fault::point("segment.after_put")
}

/// The bytes from the footer on.
fn tail(encoded: &Encoded) -> Vec<u8> {
    let mut skip = encoded.footer_offset as usize;
    let mut bytes = Vec::new();
    for chunk in &encoded.chunks {
        let from = skip.min(chunk.len());
        skip -= from;
        bytes.extend_from_slice(&chunk[from..]);
    }
    bytes
}

fn store_error(path: &str, error: object_store::Error) -> Error {
    // A full disk has a SQLSTATE of its own.
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            let io = std::io::Error::new(io.kind(), io.to_string());
            return Error::io(format!("write segment {path}"), io).with_source(error);
        }
        source = cause.source();
    }
    error!(IoError, "could not write segment {path}: {error}")
        .retry(Retry::SameStatement)
        .with_source(error)
}
