//! A cluster's directory: who uses it, its shape, and where its parts are.
//!
//! ```text
//! LOCK             held while a server runs on the directory
//! cluster.json     the shape, fixed at creation
//! admin-password   the generated password of the first start, mode 0600
//! tls/             the certificate that clients see
//! nodes/           the certificate authority and one certificate a node
//! store/           durable bytes, unless --store names another place
//! spill/           temporary files of running queries; emptied at start
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base::{Error, Result, Secret, error};
use serde::{Deserialize, Serialize};

/// What is fixed when a cluster is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterShape {
    /// The number of data slices, for the cluster's life.
    pub slices: u16,
    /// Compute nodes that own equal contiguous ranges of the slices.
    pub nodes: u16,
    /// The store's URL; `None` for the directory's own `store/`.
    pub store: Option<String>,
}

/// An exclusively held cluster directory.
#[derive(Debug)]
pub struct ClusterDirectory {
    root: PathBuf,
    // Dropping the file releases the lock.
    _lock: File,
}

impl ClusterDirectory {
    /// Creates the directory when it does not exist and takes its lock.
    ///
    /// # Errors
    /// 55006 when another server runs on it; 58030 and its kin when it cannot be written.
    pub fn open(root: &Path) -> Result<Self> {
        let what = || format!("create the data directory {}", root.display());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(|e| Error::io(what(), e))?;
        let root = root.canonicalize().map_err(|e| Error::io(what(), e))?;
        let path = root.join("LOCK");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| Error::io(format!("open {}", path.display()), e))?;
        if lock.try_lock().is_err() {
            return Err(error!(
                ObjectInUse,
                "data directory \"{}\" is in use by another server",
                root.display()
            )
            .hint("Stop that server first, or give this one its own directory with --data."));
        }
        Ok(Self { root, _lock: lock })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    pub fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }

    pub fn nodes(&self) -> PathBuf {
        self.root.join("nodes")
    }

    pub fn spill(&self) -> PathBuf {
        self.root.join("spill")
    }

    pub fn admin_password(&self) -> PathBuf {
        self.root.join("admin-password")
    }

    /// The recorded shape, or `None` before the first start.
    pub fn shape(&self) -> Result<Option<ClusterShape>> {
        let path = self.root.join("cluster.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(format!("read {}", path.display()), e)),
        };
        serde_json::from_str(&text).map(Some).map_err(|e| {
            error!(DataCorrupted, "{} is not a cluster description: {e}", path.display())
        })
    }

    /// Records the shape durably.
    pub fn set_shape(&self, shape: &ClusterShape) -> Result<()> {
        let text = serde_json::to_string_pretty(shape)
            .map_err(|e| Error::internal(format!("cluster shape: {e}")))?;
        write_private(&self.root.join("cluster.json"), text.as_bytes())
    }

    /// Keeps a generated administrator password where only the owner can read it.
    pub fn set_admin_password(&self, password: &Secret) -> Result<PathBuf> {
        let path = self.admin_password();
        write_private(&path, format!("{}\n", password.reveal()).as_bytes())?;
        Ok(path)
    }

    /// Empties the spill directory: what a killed server left there serves nobody.
    pub fn clear_spill(&self) -> Result<PathBuf> {
        let path = self.spill();
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("empty {}", path.display()), e));
            }
            _ => {}
        }
        fs::create_dir_all(&path)
            .map_err(|e| Error::io(format!("create {}", path.display()), e))?;
        Ok(path)
    }
}

/// Writes a file of mode 0600 by way of a temporary one, so that no reader sees a part.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let attempt = || -> std::io::Result<()> {
        let temporary = path.with_extension("tmp");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    attempt().map_err(|e| Error::io(format!("write {}", path.display()), e))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use base::SqlState;

    use super::*;

    #[test]
    fn a_directory_serves_one_server_at_a_time_and_keeps_its_shape() {
        let root = std::env::temp_dir().join(format!("blueshift-dir-{}", base::rng::u64()));
        let shape = ClusterShape { slices: 4, nodes: 2, store: None };
        {
            let directory = ClusterDirectory::open(&root).unwrap();
            assert_eq!(directory.shape().unwrap(), None);
            directory.set_shape(&shape).unwrap();
            let second = ClusterDirectory::open(&root).unwrap_err();
            assert_eq!(second.sqlstate(), SqlState::ObjectInUse);
            let file = directory.set_admin_password(&Secret::new("x")).unwrap();
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let directory = ClusterDirectory::open(&root).unwrap();
        assert_eq!(directory.shape().unwrap(), Some(shape));
        fs::write(root.join("cluster.json"), "{").unwrap();
        assert_eq!(directory.shape().unwrap_err().sqlstate(), SqlState::DataCorrupted);
        fs::remove_dir_all(root).unwrap();
    }
}
