//! Putting a finished segment into the store.

use std::sync::Arc;
use std::time::Duration;

use base::{Error, Result, Retry, error, fault};
use bytes::Bytes;
use columnar::Encoded;
use object_store::client::{HttpError, HttpErrorKind};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

/// How often a file is put whose outcome is unknown.
const PUTS_MAX: u32 = 4;
/// How long it is waited for before the second put; longer before each one after it.
const PAUSE: Duration = Duration::from_millis(100);

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
    let mut puts = 0;
    loop {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let error = match store.put_opts(&location, payload.clone(), options).await {
            Ok(_) => break,
            Err(error) => error,
        };
        let is_taken = matches!(error, object_store::Error::AlreadyExists { .. });
        // A put that was sent again after its answer was lost finds itself.
        if is_taken && is_there(store, path, at, proof).await? {
            break;
        }
        puts += 1;
        if puts >= PUTS_MAX || !(is_taken || is_lost(&error)) {
            return Err(store_error(path, error));
        }
        tracing::warn!(%error, path, puts, "a segment is put again");
        tokio::time::sleep(PAUSE * puts).await;
    }
    fault::point("segment.after_put")
}

/// True when the file has `proof` from `at` on; false when there is none, which S3 tells a put as
/// a conflict (409) while another put of the name is on its way.
async fn is_there(store: &Arc<dyn ObjectStore>, path: &str, at: u64, proof: &[u8]) -> Result<bool> {
    let end = at + proof.len() as u64;
    match store.get_range(&Path::from(path), at..end).await {
        Ok(there) if there == proof => Ok(true),
        Ok(_) => Err(Error::internal(format!("segment name {path} is used twice"))),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(store_error(path, error)),
    }
}

/// True when the connection broke before the answer: nobody knows whether the put took place, and
/// the store's client does not send it again.
fn is_lost(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return http.kind() == HttpErrorKind::Interrupted;
        }
        cause = error.source();
    }
    false
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
        PutMultipartOptions, PutResult, Result as StoreResult,
    };
    use parking_lot::Mutex;

    use super::*;

    /// What becomes of one put.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Put {
        /// The connection breaks before the effect, or after it.
        LostBefore,
        LostAfter,
        /// 409: another put is on its way.
        Conflict,
        Refused,
    }

    /// A store whose first puts go as told.
    #[derive(Debug)]
    struct Flaky {
        inner: InMemory,
        puts: Mutex<VecDeque<Put>>,
    }

    impl std::fmt::Display for Flaky {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a flaky store")
        }
    }

    fn broken() -> object_store::Error {
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let source = Box::new(HttpError::new(HttpErrorKind::Interrupted, reset));
        object_store::Error::Generic { store: "flaky", source }
    }

    #[async_trait::async_trait]
    impl ObjectStore for Flaky {
        async fn put_opts(
            &self,
            location: &Path,
            payload: PutPayload,
            options: PutOptions,
        ) -> StoreResult<PutResult> {
            let put = self.puts.lock().pop_front();
            match put {
                None => self.inner.put_opts(location, payload, options).await,
                Some(Put::LostBefore) => Err(broken()),
                Some(Put::LostAfter) => {
                    self.inner.put_opts(location, payload, options).await?;
                    Err(broken())
                }
                Some(Put::Conflict) => Err(object_store::Error::AlreadyExists {
                    path: location.to_string(),
                    source: "409".into(),
                }),
                Some(Put::Refused) => Err(object_store::Error::PermissionDenied {
                    path: location.to_string(),
                    source: "403".into(),
                }),
            }
        }

        async fn put_multipart_opts(
            &self,
            location: &Path,
            options: PutMultipartOptions,
        ) -> StoreResult<Box<dyn MultipartUpload>> {
            self.inner.put_multipart_opts(location, options).await
        }

        async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
            self.inner.get_opts(location, options).await
        }

        fn delete_stream(
            &self,
            locations: BoxStream<'static, StoreResult<Path>>,
        ) -> BoxStream<'static, StoreResult<Path>> {
            self.inner.delete_stream(locations)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
            self.inner.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
            self.inner.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
            self.inner.copy_opts(from, to, options).await
        }
    }

    const PATH: &str = "data/1/1-1-0000-0.seg";

    /// What putting `bytes` gives, how many faults were left over, and what is there then.
    async fn put_into(
        there: Option<&'static str>,
        puts: &[Put],
        bytes: &str,
    ) -> (Result<()>, usize, Option<Bytes>) {
        let inner = InMemory::new();
        if let Some(there) = there {
            inner.put(&Path::from(PATH), there.into()).await.unwrap();
        }
        let flaky = Arc::new(Flaky { inner, puts: Mutex::new(puts.iter().copied().collect()) });
        let store: Arc<dyn ObjectStore> = flaky.clone();
        let outcome = put_bytes(&store, PATH, bytes.as_bytes().to_vec()).await;
        let left = flaky.puts.lock().len();
        let found = flaky.inner.get(&Path::from(PATH)).await.ok();
        let found = match found {
            Some(found) => Some(found.bytes().await.unwrap()),
            None => None,
        };
        (outcome, left, found)
    }

    #[tokio::test]
    async fn a_put_whose_answer_is_lost_is_made_again() {
        use Put::{Conflict, LostAfter, LostBefore};
        let cases: [&[Put]; 6] = [
            &[],
            &[LostBefore],
            &[LostAfter],
            &[Conflict],
            &[Conflict, LostAfter],
            &[LostBefore, Conflict, LostBefore],
        ];
        for puts in cases {
            let (outcome, left, found) = put_into(None, puts, "rows").await;
            outcome.unwrap_or_else(|error| panic!("{puts:?}: {error:?}"));
            assert_eq!((left, found.as_deref()), (0, Some(&b"rows"[..])), "{puts:?}");
        }
    }

    #[tokio::test]
    async fn putting_again_has_an_end() {
        let (outcome, left, _) = put_into(None, &[Put::LostBefore; 9], "rows").await;
        assert_eq!(outcome.unwrap_err().sqlstate(), base::SqlState::IoError);
        assert_eq!(left, 9 - PUTS_MAX as usize);
        let (outcome, left, _) = put_into(None, &[Put::Refused; 9], "rows").await;
        assert_eq!((outcome.unwrap_err().sqlstate(), left), (base::SqlState::IoError, 8));
    }

    #[tokio::test]
    async fn a_name_is_never_used_twice() {
        let (outcome, _, found) = put_into(Some("other"), &[], "rows").await;
        let error = outcome.unwrap_err();
        assert_eq!(error.sqlstate(), base::SqlState::InternalError);
        assert!(error.message().contains("used twice"), "{error:?}");
        assert_eq!(found.as_deref(), Some(&b"other"[..]));
    }
}
