//! The files behind a local store: naming, temporary files, linking, syncing, listing.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use base::{Error, Result};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectMeta, PutPayload, PutResult};
use parking_lot::Mutex;

use super::StoreResult;

/// The directory of temporary files below the root; never listed.
const TEMPORARY: &str = ".tmp";
/// How many directories are remembered as durable.
const DURABLE_MAX: usize = 100_000;
/// How often an object's directory is made again when it disappears.
const ATTEMPTS: usize = 3;

static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// A directory as a store.
pub(super) struct Directory {
    pub(super) root: PathBuf,
    writable: bool,
    /// Directories whose entry in their parent is known to be on disk.
    durable: Mutex<HashSet<PathBuf>>,
}

/// An object that was opened.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) meta: ObjectMeta,
}

/// What a directory holds.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) directories: Vec<Path>,
    pub(super) objects: Vec<ObjectMeta>,
}

impl Directory {
    pub(super) fn open(root: &FilePath) -> Result<Directory> {
        let what = |error| Error::io(format!("open the store directory {}", root.display()), error);
        let root = std::path::absolute(root).map_err(what)?;
        make_durable(&root).map_err(what)?;
        let directory = Directory { root, writable: true, durable: Mutex::new(HashSet::new()) };
        let temporary = directory.root.join(TEMPORARY);
        match std::fs::create_dir(&temporary) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(what(error)),
            _ => {}
        }
        remove_stale(&temporary).map_err(what)?;
        Ok(directory)
    }

    pub(super) fn read_only(root: &FilePath) -> Directory {
        Directory { root: root.to_owned(), writable: false, durable: Mutex::new(HashSet::new()) }
    }

    /// The file that an object is to have.
    pub(super) fn target(&self, location: &Path) -> StoreResult<PathBuf> {
        if !self.writable {
            return Err(object_store::Error::NotSupported {
                source: "the directory is open for reading only".into(),
            });
        }
        object_file(&self.root, location)
    }

    /// A new temporary file, named after this process.
    pub(super) fn temporary(&self) -> StoreResult<Temporary> {
        let number = NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}-{:016x}", std::process::id(), base::rng::u64());
        let path = self.root.join(TEMPORARY).join(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
        Ok(Temporary { path, file })
    }

    /// Gives a temporary file its name, replacing what has it.
    pub(super) fn publish(
        &self,
        temporary: Temporary,
        target: &FilePath,
    ) -> StoreResult<PutResult> {
        temporary.file.sync_all().map_err(failed)?;
        self.in_directory(target, || std::fs::rename(&temporary.path, target)).map_err(failed)?;
        sync_parent(target).map_err(failed)?;
        put_result(&temporary.file)
    }

    /// Gives a temporary file its name if nothing has it.
    pub(super) fn publish_new(
        &self,
        temporary: Temporary,
        target: &FilePath,
        location: &Path,
    ) -> StoreResult<PutResult> {
        temporary.file.sync_all().map_err(failed)?;
        let linked = self.in_directory(target, || std::fs::hard_link(&temporary.path, target));
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // Who is told that the object exists may rely on it: it has to be on disk, and
                // whoever made it may not have come that far.
                sync_parent(target).map_err(failed)?;
                return Err(object_store::Error::AlreadyExists {
                    path: location.to_string(),
                    source: error.into(),
                });
            }
            Err(error) => return Err(failed(error)),
        }
        sync_parent(target).map_err(unsure)?;
        put_result(&temporary.file)
    }

    /// Runs `action`, which needs the directory of `target`, and makes that when it is absent.
    fn in_directory(
        &self,
        target: &FilePath,
        action: impl Fn() -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let Some(parent) = target.parent() else { return action() };
        for _ in 0..ATTEMPTS {
            self.ensure(parent)?;
            match action() {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.durable.lock().clear();
                }
                done => return done,
            }
        }
        action()
    }

    /// Makes sure that a directory exists and that a power loss does not take it.
    fn ensure(&self, directory: &FilePath) -> std::io::Result<()> {
        if directory == self.root || self.durable.lock().contains(directory) {
            return Ok(());
        }
        let Some(parent) = directory.parent() else { return Ok(()) };
        self.ensure(parent)?;
        match std::fs::create_dir(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // Another process may have made it and not yet synced it.
        sync_directory(parent)?;
        let mut durable = self.durable.lock();
        if durable.len() >= DURABLE_MAX {
            durable.clear();
        }
        durable.insert(directory.to_owned());
        Ok(())
    }

    pub(super) fn open_object(&self, location: &Path) -> StoreResult<Opened> {
        let path = object_file(&self.root, location)?;
        let absent = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                object_store::Error::NotFound { path: location.to_string(), source: error.into() }
            }
            _ => failed(error),
        };
        let file = File::open(&path).map_err(absent)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(absent(ErrorKind::NotFound.into()));
        }
        let meta = describe(location.clone(), &metadata)?;
        Ok(Opened { file, path, meta })
    }

    pub(super) fn delete(&self, location: &Path) -> StoreResult<()> {
        let path = self.target(location)?;
        std::fs::remove_file(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                object_store::Error::NotFound { path: location.to_string(), source: error.into() }
            }
            _ => failed(error),
        })
    }

    /// The objects and directories directly below a prefix. Links are not followed.
    pub(super) fn list(&self, prefix: &Path) -> StoreResult<Listed> {
        let at = if prefix.as_ref().is_empty() {
            self.root.clone()
        } else {
            object_file(&self.root, prefix)?
        };
        let mut listed = Listed::default();
        let entries = match std::fs::read_dir(&at) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => return Ok(listed),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if prefix.as_ref().is_empty() && name == TEMPORARY {
                continue;
            }
            let Ok(location) = Path::parse(format!("{prefix}/{name}").trim_start_matches('/'))
            else {
                continue;
            };
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                listed.directories.push(location);
            } else if kind.is_file() {
                match entry.metadata() {
                    Ok(metadata) => listed.objects.push(describe(location, &metadata)?),
                    // Deleted since the directory was read.
                    Err(error) if is_gone(&error) => {}
                    Err(error) => return Err(failed(error)),
                }
            }
        }
        Ok(listed)
    }
}

/// A file that has no name in the store yet; removed when it is dropped.
pub(super) struct Temporary {
    path: PathBuf,
    pub(super) file: File,
}

impl Temporary {
    pub(super) fn write(&mut self, payload: &PutPayload) -> StoreResult<()> {
        for chunk in payload {
            self.file.write_all(chunk).map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn copy_from(&mut self, mut source: File) -> StoreResult<()> {
        std::io::copy(&mut source, &mut self.file).map(drop).map_err(failed)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove, and that is no fault.
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "temporary file stays behind");
        }
    }
}

/// The file of an object below `root`.
pub(super) fn object_file(root: &FilePath, location: &Path) -> StoreResult<PathBuf> {
    let mut path = root.to_owned();
    for (depth, part) in location.parts().enumerate() {
        let part = part.as_ref();
        let reserved = depth == 0 && part == TEMPORARY;
        if reserved || part.is_empty() || part == "." || part == ".." || part.contains(['/', '\0'])
        {
            return Err(generic(format!("\"{location}\" is not a path in this store").into()));
        }
        path.push(part);
    }
    if path == root {
        return Err(generic("an object needs a name".into()));
    }
    Ok(path)
}

/// Reads exactly this range.
pub(super) fn read_at(file: &File, range: Range<u64>) -> std::io::Result<Bytes> {
    let length = usize::try_from(range.end.saturating_sub(range.start))
        .map_err(|_| std::io::Error::from(ErrorKind::InvalidInput))?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes.into())
}

fn describe(location: Path, metadata: &std::fs::Metadata) -> StoreResult<ObjectMeta> {
    Ok(ObjectMeta {
        location,
        last_modified: metadata.modified().map_err(failed)?.into(),
        size: metadata.len(),
        e_tag: Some(e_tag(metadata)),
        version: None,
    })
}

fn e_tag(metadata: &std::fs::Metadata) -> String {
    format!(
        "{:x}-{:x}.{:x}-{:x}",
        metadata.ino(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.len()
    )
}

fn put_result(file: &File) -> StoreResult<PutResult> {
    let metadata = file.metadata().map_err(failed)?;
    Ok(PutResult { e_tag: Some(e_tag(&metadata)), version: None })
}

fn sync_parent(path: &FilePath) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), sync_directory)
}

fn sync_directory(directory: &FilePath) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes a directory and its missing parents, and syncs each into its own parent.
fn make_durable(directory: &FilePath) -> std::io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let Some(parent) = directory.parent() else { return Ok(()) };
    make_durable(parent)?;
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_directory(parent)
}

/// Removes the temporary files of processes that no longer run.
fn remove_stale(directory: &FilePath) -> std::io::Result<()> {
    // Without process files nobody can tell whose they are; then they stay.
    if !FilePath::new("/proc/self").exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.split('-').next()?.parse::<u32>().ok());
        let Some(process) = process else { continue };
        if FilePath::new("/proc").join(process.to_string()).exists() {
            continue;
        }
        match std::fs::remove_file(entry.path()) {
            Err(error) if !is_gone(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

pub(super) fn generic(
    source: Box<dyn std::error::Error + Send + Sync + 'static>,
) -> object_store::Error {
    object_store::Error::Generic { store: "DirectoryStore", source }
}

pub(super) fn failed(error: std::io::Error) -> object_store::Error {
    generic(error.into())
}

/// A failure after the object got its name: it may or may not survive a power loss. Never
/// reported as a full disk, which means that nothing was written.
fn unsure(error: std::io::Error) -> object_store::Error {
    generic(format!("could not sync the directory: {error}").into())
}
