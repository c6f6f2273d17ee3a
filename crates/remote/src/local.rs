//! The durable store over a local directory.
//!
//! `object_store`'s own never syncs. Here an object is written to a temporary file, synced, and
//! then gets its name by a link (put-if-absent, exact also between processes) or a rename, after
//! which the directory is synced, and every directory that was made for it. Whatever a call has
//! answered with success survives a power loss, and no reader sees half an object.

mod files;
mod upload;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use base::Result;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyMode, CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult,
};

use files::{Directory, Listed};
use upload::Upload;

/// Reads up to this size come in one piece, from one trip to a blocking thread.
const ONE_READ_BYTES: u64 = 8 << 20;
/// How many deletes run at once.
const DELETES_AT_ONCE: usize = 8;

type StoreResult<T> = object_store::Result<T>;

/// A durable object store over a directory. Cheap to clone.
#[derive(Clone)]
pub struct DirectoryStore {
    directory: Arc<Directory>,
}

impl fmt::Debug for DirectoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for DirectoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirectoryStore({})", self.directory.root.display())
    }
}

impl DirectoryStore {
    /// Opens the store at `root`, makes the directory when it is absent, and removes temporary
    /// files of processes that are gone. Several processes may have it open.
    ///
    /// # Errors
    /// 58030 naming the directory, 53100 on a full disk.
    pub fn open(root: &FilePath) -> Result<DirectoryStore> {
        Ok(Self { directory: Arc::new(Directory::open(root)?) })
    }

    /// Opens a directory for reading only: nothing is made in it, every write is refused.
    pub(crate) fn read_only(root: &FilePath) -> DirectoryStore {
        Self { directory: Arc::new(Directory::read_only(root)) }
    }

    /// Plain file access to the same objects.
    pub fn files(&self) -> LocalFiles {
        LocalFiles::new(self.directory.root.clone())
    }
}

/// Plain file access to the objects of a local store: what a scan uses to read without a detour
/// over the object-store interface. Calls block; they belong on threads that may.
#[derive(Clone, Debug)]
pub struct LocalFiles {
    root: PathBuf,
}

impl LocalFiles {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The file of an object. It need not exist; an object's file never changes once it does.
    ///
    /// # Errors
    /// 22023 when the path is not one of an object.
    pub fn path(&self, object: &str) -> Result<PathBuf> {
        let path = Path::parse(object)
            .map_err(|error| crate::store_error(format!("find \"{object}\""), error.into()))?;
        files::object_file(&self.root, &path)
            .map_err(|error| crate::store_error(format!("find \"{object}\""), error))
    }

    /// Reads a range of an object.
    ///
    /// # Errors
    /// 58P01 when it is absent, 58030 when the range is not all there.
    pub fn read(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        let path = self.path(object)?;
        let what = |error| base::Error::io(format!("read {object}"), error);
        let file = std::fs::File::open(path).map_err(what)?;
        files::read_at(&file, range).map_err(what)
    }
}

/// Runs file work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> StoreResult<T> + Send + 'static,
) -> StoreResult<T> {
    tokio::task::spawn_blocking(work).await?
}

#[async_trait]
impl ObjectStore for DirectoryStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        if matches!(options.mode, PutMode::Update(_)) {
            return Err(object_store::Error::NotSupported {
                source: "a local store has no conditional overwrite".into(),
            });
        }
        let directory = self.directory.clone();
        let location = location.clone();
        blocking(move || {
            let target = directory.target(&location)?;
            let mut temporary = directory.temporary()?;
            temporary.write(&payload)?;
            match options.mode {
                PutMode::Create => directory.publish_new(temporary, &target, &location),
                _ => directory.publish(temporary, &target),
            }
        })
        .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        let directory = self.directory.clone();
        let location = location.clone();
        let upload = blocking(move || Upload::start(directory, &location)).await?;
        Ok(Box::new(upload))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let directory = self.directory.clone();
        let location = location.clone();
        blocking(move || {
            let opened = directory.open_object(&location)?;
            options.check_preconditions(&opened.meta)?;
            let range = match &options.range {
                Some(range) => range
                    .as_range(opened.meta.size)
                    .map_err(|error| files::generic(error.into()))?,
                None => 0..opened.meta.size,
            };
            let payload = if options.head {
                GetResultPayload::Stream(futures::stream::empty().boxed())
            } else if range.end - range.start <= ONE_READ_BYTES {
                let bytes = files::read_at(&opened.file, range.clone()).map_err(files::failed)?;
                GetResultPayload::Stream(futures::stream::once(async { Ok(bytes) }).boxed())
            } else {
                GetResultPayload::File(opened.file, opened.path)
            };
            Ok(GetResult { payload, meta: opened.meta, range, attributes: Attributes::default() })
        })
        .await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        let directory = self.directory.clone();
        let location = location.clone();
        let ranges = ranges.to_vec();
        blocking(move || {
            let opened = directory.open_object(&location)?;
            ranges
                .into_iter()
                .map(|range| {
                    let end = range.end.min(opened.meta.size);
                    if range.start >= end {
                        let wrong = format!("range {range:?} of {} bytes", opened.meta.size);
                        return Err(files::generic(wrong.into()));
                    }
                    files::read_at(&opened.file, range.start..end).map_err(files::failed)
                })
                .collect()
        })
        .await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        let directory = self.directory.clone();
        locations
            .map(move |location| {
                let directory = directory.clone();
                async move {
                    let location = location?;
                    blocking(move || {
                        directory.delete(&location)?;
                        Ok(location)
                    })
                    .await
                }
            })
            .buffered(DELETES_AT_ONCE)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let directory = self.directory.clone();
        let first = prefix.cloned().unwrap_or_default();
        // One directory at a time: memory does not grow with the store.
        futures::stream::try_unfold(vec![first], move |mut waiting| {
            let directory = directory.clone();
            async move {
                let Some(next) = waiting.pop() else { return StoreResult::Ok(None) };
                let listed = blocking(move || directory.list(&next)).await?;
                waiting.extend(listed.directories);
                let objects = listed.objects.into_iter().map(Ok);
                Ok(Some((futures::stream::iter(objects), waiting)))
            }
        })
        .try_flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        let directory = self.directory.clone();
        let prefix = prefix.cloned().unwrap_or_default();
        let Listed { directories, objects } = blocking(move || directory.list(&prefix)).await?;
        Ok(ListResult { common_prefixes: directories, objects })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        let directory = self.directory.clone();
        let (from, to) = (from.clone(), to.clone());
        blocking(move || {
            let source = directory.open_object(&from)?;
            let target = directory.target(&to)?;
            let mut temporary = directory.temporary()?;
            temporary.copy_from(source.file)?;
            match options.mode {
                CopyMode::Create => directory.publish_new(temporary, &target, &to)?,
                CopyMode::Overwrite => directory.publish(temporary, &target)?,
            };
            Ok(())
        })
        .await
    }
}
