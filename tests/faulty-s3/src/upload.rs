//! Multipart uploads. They are kept in memory: those in progress end with the process.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use md5::{Digest, Md5};
use parking_lot::Mutex;
use s3s::dto::CompletedPart;
use s3s::{S3Result, s3_error};

use crate::store::{Attributes, hex};

/// Every part but the last has at least this many bytes.
const PART_BYTES_MIN: usize = 5 << 20;
const PARTS_MAX: i32 = 10_000;

/// Bucket, key and upload id.
pub(crate) type Place<'a> = (&'a str, &'a str, &'a str);

#[derive(Default)]
pub(crate) struct Uploads {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    created: u64,
    by_id: HashMap<String, Upload>,
}

struct Upload {
    bucket: String,
    key: String,
    attributes: Attributes,
    parts: BTreeMap<i32, Part>,
}

#[derive(Clone)]
struct Part {
    digest: [u8; 16],
    bytes: Bytes,
}

/// The object that an upload's parts make.
pub(crate) struct Whole {
    pub(crate) bytes: Vec<u8>,
    pub(crate) etag: String,
    pub(crate) attributes: Attributes,
}

impl Open {
    fn find(&mut self, (bucket, key, id): Place<'_>) -> S3Result<&mut Upload> {
        let upload = self.by_id.get_mut(id).filter(|one| one.bucket == bucket && one.key == key);
        upload.ok_or_else(|| s3_error!(NoSuchUpload))
    }
}

impl Uploads {
    /// Begins an upload; gives its id.
    pub(crate) fn create(&self, bucket: &str, key: &str, attributes: Attributes) -> String {
        let mut open = self.open.lock();
        open.created += 1;
        let id = format!("upload-{}", open.created);
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        open.by_id.insert(id.clone(), Upload { bucket, key, attributes, parts: BTreeMap::new() });
        id
    }

    /// Adds a part, or replaces it; gives its tag.
    pub(crate) fn add(&self, place: Place<'_>, number: i32, bytes: Bytes) -> S3Result<String> {
        if !(1..=PARTS_MAX).contains(&number) {
            return Err(s3_error!(InvalidArgument, "part numbers are from 1 to {PARTS_MAX}"));
        }
        let digest = Md5::digest(&bytes).into();
        self.open.lock().find(place)?.parts.insert(number, Part { digest, bytes });
        Ok(hex(&digest))
    }

    /// Joins the parts that `wanted` lists.
    pub(crate) fn assemble(&self, place: Place<'_>, wanted: &[CompletedPart]) -> S3Result<Whole> {
        let mut open = self.open.lock();
        let upload = open.find(place)?;
        if wanted.is_empty() {
            return Err(s3_error!(MalformedXML));
        }
        let (mut bytes, mut digests, mut last) = (Vec::new(), Vec::new(), 0);
        for (at, one) in wanted.iter().enumerate() {
            let number = one.part_number.unwrap_or_default();
            let part = upload.parts.get(&number).ok_or_else(|| s3_error!(InvalidPart))?;
            let tag = hex(&part.digest);
            if one.e_tag.as_ref().is_some_and(|given| given.value() != tag) {
                return Err(s3_error!(InvalidPart));
            }
            if number <= last {
                return Err(s3_error!(InvalidPartOrder));
            }
            if at + 1 < wanted.len() && part.bytes.len() < PART_BYTES_MIN {
                return Err(s3_error!(EntityTooSmall));
            }
            last = number;
            bytes.extend_from_slice(&part.bytes);
            digests.extend_from_slice(&part.digest);
        }
        let etag = format!("{}-{}", hex(&Md5::digest(&digests)), wanted.len());
        Ok(Whole { bytes, etag, attributes: upload.attributes.clone() })
    }

    /// Ends an upload.
    pub(crate) fn remove(&self, place: Place<'_>) -> S3Result<()> {
        let mut open = self.open.lock();
        open.find(place)?;
        open.by_id.remove(place.2);
        Ok(())
    }
}
