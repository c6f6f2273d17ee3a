//! Multipart uploads to a local store: parts are written to their place in a temporary file.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{MultipartUpload, PutPayload, PutResult, UploadPart};

use super::files::{Directory, Temporary, failed, generic};
use super::{StoreResult, blocking};

/// An upload that has not been completed.
pub(super) struct Upload {
    directory: Arc<Directory>,
    target: PathBuf,
    temporary: Option<Arc<Temporary>>,
    offset: u64,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Upload {
    pub(super) fn start(directory: Arc<Directory>, location: &Path) -> StoreResult<Upload> {
        let target = directory.target(location)?;
        let temporary = Some(Arc::new(directory.temporary()?));
        Ok(Upload { directory, target, temporary, offset: 0 })
    }

    fn ended() -> object_store::Error {
        generic("the upload was completed or aborted already".into())
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let offset = self.offset;
        self.offset += data.content_length() as u64;
        let temporary = self.temporary.clone();
        Box::pin(blocking(move || {
            let temporary = temporary.ok_or_else(Upload::ended)?;
            let mut at = offset;
            for chunk in &data {
                temporary.file.write_all_at(chunk, at).map_err(failed)?;
                at += chunk.len() as u64;
            }
            Ok(())
        }))
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        let temporary = self.temporary.take().ok_or_else(Upload::ended)?;
        let temporary = Arc::into_inner(temporary)
            .ok_or_else(|| generic("a part is still being written".into()))?;
        let directory = self.directory.clone();
        let target = self.target.clone();
        let length = self.offset;
        blocking(move || {
            if temporary.file.metadata().map_err(failed)?.len() != length {
                return Err(generic("a part was never written".into()));
            }
            directory.publish(temporary, &target)
        })
        .await
    }

    async fn abort(&mut self) -> StoreResult<()> {
        drop(self.temporary.take());
        Ok(())
    }
}
