//! What COPY reads: which objects a location names, and a store to read them from.
//!
//! Owns prefixes, patterns and manifests. The formats inside the objects are `ingest`'s.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use base::{Error, Result, error, fail};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::Deserialize;

use crate::egress::EgressPolicy;
use crate::failure::store_error;
use crate::load::LoadDirectory;
use crate::local::DirectoryStore;
use crate::s3::{S3Options, amazon_s3};
use crate::url::SourceUrl;

/// The most objects that one COPY may name.
const OBJECTS_MAX: usize = 1_000_000;
/// The largest manifest.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// What a statement may read, and how.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// How buckets are reached.
    pub s3: S3Options,
    /// Which hosts may be reached.
    pub egress: EgressPolicy,
    /// The directory for local files; without one they are refused.
    pub load: Option<LoadDirectory>,
}

/// A place to read from.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where the object is.
    pub store: Arc<dyn ObjectStore>,
    /// Its path in the store.
    pub path: Path,
}

/// An object that COPY is to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceObject {
    /// Its full location, as errors name it and [`open_source`] opens it.
    pub url: SourceUrl,
    /// Its size in bytes.
    pub size: u64,
}

/// An entry of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ManifestEntry {
    /// The full location of one object.
    pub url: String,
    /// When false, which is the default, an absent object is passed over.
    #[serde(default)]
    pub mandatory: bool,
    /// What UNLOAD wrote about it.
    #[serde(default)]
    pub meta: Option<ManifestMeta>,
}

/// What a manifest says of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ManifestMeta {
    /// The size that the object must have.
    #[serde(default)]
    pub content_length: Option<u64>,
}

#[derive(Deserialize)]
struct Manifest {
    entries: Vec<ManifestEntry>,
}

/// Opens one object's store; the object itself is not touched.
///
/// # Errors
/// 42501 for a host or a file that may not be read; 0A000 when local files are not allowed.
pub fn open_source(url: &SourceUrl, access: &Access) -> Result<Source> {
    match url {
        SourceUrl::S3 { bucket, key } => {
            let store = Arc::new(amazon_s3(bucket, &access.s3, &access.egress)?);
            Ok(Source { store, path: key_path(key)? })
        }
        SourceUrl::Local(path) => {
            let load = load_directory(access)?;
            let real = load.resolve(path)?;
            let inside = real.strip_prefix(load.root()).unwrap_or(&real);
            Ok(Source {
                store: Arc::new(DirectoryStore::read_only(load.root())),
                path: file_path(inside)?,
            })
        }
    }
}

/// The objects that a location names, in the order of their names: for S3 every key that begins
/// so, for local files the file, the files of the directory, those whose name begins so, or
/// those that fit a pattern with `*` and `?` in the last part.
///
/// # Errors
/// 58P01 when there is none; 54000 when there are more than a million.
pub async fn list(url: &SourceUrl, access: &Access) -> Result<Vec<SourceObject>> {
    let mut objects = match url {
        SourceUrl::S3 { bucket, key } => list_s3(bucket, key, access).await?,
        SourceUrl::Local(path) => {
            let load = load_directory(access)?.clone();
            let path = path.clone();
            base::task::blocking("list files", move || list_local(&load, &path)).await?
        }
    };
    objects.sort_by_key(|object| object.url.to_string());
    if objects.is_empty() {
        fail!(UndefinedFile, "there is no file at {url}");
    }
    Ok(objects)
}

/// Reads a manifest.
///
/// # Errors
/// 22P04 when it is no manifest; as [`open_source`].
pub async fn read_manifest(url: &SourceUrl, access: &Access) -> Result<Vec<ManifestEntry>> {
    let source = open_source(url, access)?;
    let what = || format!("read manifest {url}");
    let found = source.store.get(&source.path).await.map_err(|e| store_error(what(), e))?;
    if found.meta.size > MANIFEST_BYTES_MAX {
        fail!(ProgramLimitExceeded, "manifest {url} is larger than {MANIFEST_BYTES_MAX} bytes");
    }
    let bytes = found.bytes().await.map_err(|error| store_error(what(), error))?;
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| {
        error!(BadCopyFileFormat, "manifest {url} is not valid").detail(format!("{error}."))
    })?;
    if manifest.entries.len() > OBJECTS_MAX {
        fail!(ProgramLimitExceeded, "manifest {url} names more than {OBJECTS_MAX} files");
    }
    Ok(manifest.entries)
}

/// The objects that a manifest names, in its order.
///
/// # Errors
/// 58P01 when a mandatory one is absent or none is there, 22P04 when one has another size than
/// the manifest says.
pub async fn list_manifest(url: &SourceUrl, access: &Access) -> Result<Vec<SourceObject>> {
    use futures::{StreamExt, TryStreamExt};
    const AT_ONCE: usize = 16;
    let entries = read_manifest(url, access).await?;
    let objects: Vec<Option<SourceObject>> = futures::stream::iter(entries)
        .map(|entry| async move { manifest_object(url, &entry, access).await })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let objects: Vec<SourceObject> = objects.into_iter().flatten().collect();
    if objects.is_empty() {
        fail!(UndefinedFile, "none of the files that manifest {url} names exists");
    }
    Ok(objects)
}

async fn manifest_object(
    manifest: &SourceUrl,
    entry: &ManifestEntry,
    access: &Access,
) -> Result<Option<SourceObject>> {
    let absent = |error: Error| {
        if !entry.mandatory && error.sqlstate() == base::SqlState::UndefinedFile {
            return Ok(None);
        }
        Err(error.detail(format!("Manifest {manifest} names it.")))
    };
    let url = SourceUrl::parse(&entry.url)?;
    let source = match open_source(&url, access) {
        Ok(source) => source,
        Err(error) => return absent(error),
    };
    let size = match source.store.head(&source.path).await {
        Ok(meta) => meta.size,
        Err(error) => return absent(store_error(format!("read {url}"), error)),
    };
    let declared = entry.meta.and_then(|meta| meta.content_length);
    if declared.is_some_and(|declared| declared != size) {
        return Err(error!(BadCopyFileFormat, "{url} has another size than its manifest says")
            .detail(format!("The file has {size} bytes, the manifest says {declared:?}.")));
    }
    Ok(Some(SourceObject { url, size }))
}

async fn list_s3(bucket: &str, key: &str, access: &Access) -> Result<Vec<SourceObject>> {
    let store = amazon_s3(bucket, &access.s3, &access.egress)?;
    let mut objects = Vec::new();
    let mut page_token = None;
    // Every page but the last brings at least one key, so that the limit bounds the loop.
    loop {
        let options = PaginatedListOptions { page_token, ..PaginatedListOptions::default() };
        let page = store
            .list_paginated(Some(key), options)
            .await
            .map_err(|error| store_error(format!("list s3://{bucket}/{key}"), error))?;
        for meta in page.result.objects {
            let found = meta.location.to_string();
            // Some consoles make empty objects to show a directory.
            if meta.size == 0 && (found.ends_with('/') || key == format!("{found}/")) {
                continue;
            }
            let url = SourceUrl::S3 { bucket: bucket.to_owned(), key: found };
            objects.push(SourceObject { url, size: meta.size });
        }
        if objects.len() > OBJECTS_MAX {
            return Err(too_many(&format!("s3://{bucket}/{key}")));
        }
        page_token = page.page_token;
        if page_token.is_none() {
            return Ok(objects);
        }
    }
}

fn list_local(load: &LoadDirectory, path: &FilePath) -> Result<Vec<SourceObject>> {
    let text = path.to_string_lossy();
    if text.ends_with('/') || path.is_dir() {
        let real = load.resolve(path)?;
        return files_in(load, &real, |_| true);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let (Some(parent), Some(name)) = (path.parent(), name) else {
        return Ok(Vec::new());
    };
    if parent.to_string_lossy().contains(['*', '?']) {
        fail!(FeatureNotSupported, "a pattern may only be in the last part of a path");
    }
    let parent = match load.resolve(parent) {
        Err(error) if error.sqlstate() == base::SqlState::UndefinedFile => return Ok(Vec::new()),
        resolved => resolved?,
    };
    if name.contains(['*', '?']) {
        return files_in(load, &parent, |file| fits(&name, file));
    }
    files_in(load, &parent, |file| file.starts_with(&name))
}

fn files_in(
    load: &LoadDirectory,
    directory: &FilePath,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<SourceObject>> {
    let what = |error| Error::io(format!("list {}", directory.display()), error);
    let mut objects = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(what)? {
        let entry = entry.map_err(what)?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| wanted(name)) else { continue };
        // A link may lead out of the directory: then the statement fails, it is not ignored.
        let real: PathBuf = load.resolve(&directory.join(name))?;
        let metadata = std::fs::metadata(&real).map_err(what)?;
        if metadata.is_file() {
            objects.push(SourceObject { url: SourceUrl::Local(real), size: metadata.len() });
        }
        if objects.len() > OBJECTS_MAX {
            return Err(too_many(&directory.display().to_string()));
        }
    }
    Ok(objects)
}

/// True when a name fits a pattern in which `*` is any characters and `?` is one.
fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, n));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, from)) = star {
            // The last star takes one character more.
            star = Some((at, from + 1));
            p = at + 1;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

fn load_directory(access: &Access) -> Result<&LoadDirectory> {
    access.load.as_ref().ok_or_else(|| {
        error!(InsufficientPrivilege, "COPY from files of the server is not allowed")
            .hint("Start the server with --load-dir to name a directory to load from.")
    })
}

fn key_path(key: &str) -> Result<Path> {
    Path::parse(key).map_err(|error| {
        error!(InvalidParameterValue, "\"{key}\" is not the key of an object")
            .detail(format!("{error}."))
    })
}

fn file_path(inside: &FilePath) -> Result<Path> {
    match inside.to_str() {
        Some(text) => key_path(text),
        None => fail!(InvalidParameterValue, "the name of {} is not UTF-8", inside.display()),
    }
}

fn too_many(what: &str) -> Error {
    error!(ProgramLimitExceeded, "{what} names more than {OBJECTS_MAX} files")
}
