//! The directory below which COPY may read files of the server's machine.

use std::path::{Path, PathBuf};

use base::{Error, Result, error};

/// A directory that the operator opened to COPY. Links and `..` are resolved before the check,
/// so that no path leads out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadDirectory {
    root: PathBuf,
}

impl LoadDirectory {
    /// # Errors
    /// 58P01 when the directory does not exist, 42809 when it is not one.
    pub fn open(root: &Path) -> Result<LoadDirectory> {
        let what = || format!("open the load directory {}", root.display());
        let real = std::fs::canonicalize(root).map_err(|error| Error::io(what(), error))?;
        if !real.is_dir() {
            return Err(error!(
                WrongObjectType,
                "the load directory {} is not a directory",
                root.display()
            ));
        }
        Ok(LoadDirectory { root: real })
    }

    /// The directory itself, without links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file or directory at `path`, without links.
    ///
    /// # Errors
    /// 42501 when it lies outside, whether it exists or not; 58P01 when it does not exist.
    pub fn resolve(&self, path: &Path) -> Result<PathBuf> {
        match std::fs::canonicalize(path) {
            Ok(real) if real.starts_with(&self.root) => Ok(real),
            Ok(_) => Err(self.outside(path)),
            Err(error) => {
                // What exists outside must not be told from what does not.
                self.resolve_missing(path)?;
                Err(Error::io(format!("read {}", path.display()), error))
            }
        }
    }

    /// The place of a path that does not exist: its nearest existing parent must be inside.
    pub(crate) fn resolve_missing(&self, path: &Path) -> Result<PathBuf> {
        let mut rest = Vec::new();
        for parent in path.ancestors() {
            if let Ok(real) = std::fs::canonicalize(parent) {
                let plain = |part: &&std::ffi::OsStr| *part != ".." && *part != ".";
                if real.starts_with(&self.root) && rest.iter().all(plain) {
                    return Ok(rest.iter().rev().fold(real, |at, part| at.join(part)));
                }
                break;
            }
            match parent.file_name() {
                Some(name) => rest.push(name),
                None => break,
            }
        }
        Err(self.outside(path))
    }

    fn outside(&self, path: &Path) -> Error {
        error!(
            InsufficientPrivilege,
            "COPY may not read {}: it is outside the load directory",
            path.display()
        )
        .hint("Put the file below the directory that the server was started with (--load-dir).")
    }
}
