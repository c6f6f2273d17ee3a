//! The S3 operations over the [`Store`].

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::TryStreamExt;
use md5::{Digest, Md5};
use s3s::dto::*;
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};

use crate::list::list;
use crate::store::{Attributes, Conditions, Entry, Store};
use crate::upload::Uploads;

pub(crate) struct Operations {
    store: Arc<Store>,
    uploads: Uploads,
}

impl Operations {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, uploads: Uploads::default() }
    }
}

type Answer<T> = S3Result<S3Response<T>>;

fn answer<T>(output: T) -> Answer<T> {
    Ok(S3Response::new(output))
}

/// The conditions of a read, in the order of RFC 9110, section 13.2.2.
struct ReadConditions {
    if_match: Option<ETagCondition>,
    if_unmodified_since: Option<Timestamp>,
    if_none_match: Option<ETagCondition>,
    if_modified_since: Option<Timestamp>,
}

impl ReadConditions {
    fn check(&self, entry: &Entry) -> S3Result<()> {
        let is = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(etag) => etag.value() == entry.etag,
        };
        let modified = modified(entry);
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !is(condition) => return Err(s3_error!(PreconditionFailed)),
            (None, Some(since)) if modified > *since => return Err(s3_error!(PreconditionFailed)),
            _ => {}
        }
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) if is(condition) => Err(s3_error!(NotModified)),
            (None, Some(since)) if modified <= *since => Err(s3_error!(NotModified)),
            _ => Ok(()),
        }
    }
}

/// When an object was written, to the second as in HTTP's dates.
fn modified(entry: &Entry) -> Timestamp {
    let since = entry.modified().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()))
}

async fn collect(body: Option<StreamingBlob>) -> S3Result<Vec<u8>> {
    let Some(body) = body else { return Ok(Vec::new()) };
    let collected = body.try_fold(Vec::new(), |mut all, chunk| async move {
        all.extend_from_slice(&chunk);
        Ok(all)
    });
    collected.await.map_err(|error| s3_error!(IncompleteBody, "the body ended early: {error}"))
}

fn check_md5(bytes: &[u8], given: Option<&str>) -> S3Result<()> {
    match given {
        Some(given) if given != BASE64.encode(Md5::digest(bytes)) => Err(s3_error!(BadDigest)),
        _ => Ok(()),
    }
}

fn blob(bytes: Bytes) -> StreamingBlob {
    StreamingBlob::from(Body::from(bytes))
}

#[async_trait]
impl S3 for Operations {
    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> Answer<CreateBucketOutput> {
        let bucket = request.input.bucket;
        if !self.store.create_bucket(&bucket)? {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        answer(CreateBucketOutput { location: Some(format!("/{bucket}")) })
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        if !self.store.has_bucket(&request.input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        answer(HeadBucketOutput::default())
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        let input = request.input;
        let bytes = collect(input.body).await?;
        check_md5(&bytes, input.content_md5.as_deref())?;
        let conditions =
            Conditions { if_match: input.if_match, if_none_match: input.if_none_match };
        let attributes = Attributes {
            content_type: input.content_type,
            metadata: input.metadata.unwrap_or_default(),
        };
        let entry =
            self.store.put(&input.bucket, &input.key, &bytes, attributes, &conditions, None)?;
        answer(PutObjectOutput { e_tag: Some(entry.e_tag()), ..Default::default() })
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        let input = request.input;
        let conditions = ReadConditions {
            if_match: input.if_match,
            if_unmodified_since: input.if_unmodified_since,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
        };
        let (entry, range, bytes) = self.store.get(&input.bucket, &input.key, |entry| {
            conditions.check(entry)?;
            match &input.range {
                None => Ok(0..entry.size),
                Some(range) => Ok(range.check(entry.size)?),
            }
        })?;
        answer(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(bytes.len() as i64),
            content_range: input.range.map(|_| content_range(&range, entry.size)),
            body: Some(blob(bytes)),
            e_tag: Some(entry.e_tag()),
            last_modified: Some(modified(&entry)),
            content_type: entry.attributes.content_type,
            metadata: Some(entry.attributes.metadata),
            ..Default::default()
        })
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        let input = request.input;
        let entry = self.store.head(&input.bucket, &input.key)?;
        ReadConditions {
            if_match: input.if_match,
            if_unmodified_since: input.if_unmodified_since,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
        }
        .check(&entry)?;
        let range = input.range.as_ref().map(|range| range.check(entry.size)).transpose()?;
        let length = range.as_ref().map_or(entry.size, |range| range.end - range.start);
        answer(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(length as i64),
            content_range: range.map(|range| content_range(&range, entry.size)),
            e_tag: Some(entry.e_tag()),
            last_modified: Some(modified(&entry)),
            content_type: entry.attributes.content_type,
            metadata: Some(entry.attributes.metadata),
            ..Default::default()
        })
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> Answer<DeleteObjectOutput> {
        let input = request.input;
        self.store.delete(&input.bucket, &input.key, input.if_match)?;
        answer(DeleteObjectOutput::default())
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> Answer<DeleteObjectsOutput> {
        let input = request.input;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for ObjectIdentifier { key, e_tag, .. } in input.delete.objects {
            match self.store.delete(&input.bucket, &key, e_tag.map(ETagCondition::ETag)) {
                Ok(()) => deleted.push(DeletedObject { key: Some(key), ..Default::default() }),
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(key),
                    message: error.message().map(str::to_owned),
                    version_id: None,
                }),
            }
        }
        let is_quiet = input.delete.quiet.unwrap_or(false);
        answer(DeleteObjectsOutput {
            deleted: (!is_quiet).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            ..Default::default()
        })
    }

    async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> Answer<CopyObjectOutput> {
        let input = request.input;
        let CopySource::Bucket { bucket, key, .. } = &input.copy_source else {
            return Err(s3_error!(NotImplemented, "only objects of a bucket can be copied"));
        };
        let conditions = ReadConditions {
            if_match: input.copy_source_if_match,
            if_unmodified_since: input.copy_source_if_unmodified_since,
            if_none_match: input.copy_source_if_none_match,
            if_modified_since: input.copy_source_if_modified_since,
        };
        let (from, _, bytes) = self.store.get(bucket, key, |entry| {
            // A source that does not meet the conditions is 412, never 304.
            conditions.check(entry).map_err(|_| s3_error!(PreconditionFailed))?;
            Ok(0..entry.size)
        })?;
        let replace = input.metadata_directive.as_ref().map(MetadataDirective::as_str);
        let attributes = if replace == Some(MetadataDirective::REPLACE) {
            Attributes {
                content_type: input.content_type,
                metadata: input.metadata.unwrap_or_default(),
            }
        } else {
            from.attributes
        };
        let to = self.store.put(
            &input.bucket,
            &input.key,
            &bytes,
            attributes,
            &Conditions::default(),
            None,
        )?;
        let result = CopyObjectResult {
            e_tag: Some(to.e_tag()),
            last_modified: Some(modified(&to)),
            ..Default::default()
        };
        answer(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() })
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> Answer<ListObjectsV2Output> {
        answer(list(&self.store, request.input)?)
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        let input = request.input;
        if !self.store.has_bucket(&input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        let attributes = Attributes {
            content_type: input.content_type,
            metadata: input.metadata.unwrap_or_default(),
        };
        let id = self.uploads.create(&input.bucket, &input.key, attributes);
        answer(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..Default::default()
        })
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        let input = request.input;
        let bytes = collect(input.body).await?;
        check_md5(&bytes, input.content_md5.as_deref())?;
        let place = (input.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
        let etag = self.uploads.add(place, input.part_number, bytes.into())?;
        answer(UploadPartOutput { e_tag: Some(ETag::Strong(etag)), ..Default::default() })
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        let input = request.input;
        let place = (input.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let whole = self.uploads.assemble(place, &parts)?;
        let conditions =
            Conditions { if_match: input.if_match, if_none_match: input.if_none_match };
        let entry = self.store.put(
            &input.bucket,
            &input.key,
            &whole.bytes,
            whole.attributes,
            &conditions,
            Some(whole.etag),
        )?;
        self.uploads.remove(place)?;
        answer(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(entry.e_tag()),
            ..Default::default()
        })
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        let input = request.input;
        self.uploads.remove((&input.bucket, &input.key, &input.upload_id))?;
        answer(AbortMultipartUploadOutput::default())
    }
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1))
}
