//! Certificates between nodes, as files: one authority a cluster, one certificate a role. The
//! authority's key is not kept, so nothing else is ever admitted to the node RPC.

use std::fs;
use std::path::{Path, PathBuf};

use base::{Error, Result, Secret};
use exec::NodeTls;

use crate::directory::write_private;

/// What a process of a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leader,
    Compute,
}

impl Role {
    /// The stem of its files.
    fn name(self) -> &'static str {
        match self {
            Role::Leader => "leader",
            Role::Compute => "compute",
        }
    }
}

/// Makes the certificates of a cluster in `directory`, unless it has them.
///
/// # Errors
/// 58030 when the files cannot be written.
pub fn create_certificates(directory: &Path, cluster: &str) -> Result<()> {
    if authority(directory).exists() {
        return Ok(());
    }
    fs::create_dir_all(directory)
        .map_err(|e| Error::io(format!("create {}", directory.display()), e))?;
    let made = exec::rpc::tls::create(cluster)?;
    for (role, tls) in [(Role::Leader, &made.leader), (Role::Compute, &made.compute)] {
        let (certificate, key) = files(directory, role);
        write_private(&key, tls.key.reveal().as_bytes())?;
        write_private(&certificate, tls.certificate.as_bytes())?;
    }
    // Written last: its presence says that the others are there.
    write_private(&authority(directory), made.leader.authority.as_bytes())
}

/// Reads what a process of this role needs.
///
/// # Errors
/// 58P01 with a hint when there are none.
pub fn read_certificates(directory: &Path, role: Role) -> Result<NodeTls> {
    let (certificate, key) = files(directory, role);
    Ok(NodeTls {
        authority: read(&authority(directory))?,
        certificate: read(&certificate)?,
        key: Secret::new(read(&key)?),
    })
}

fn authority(directory: &Path) -> PathBuf {
    directory.join("authority.crt")
}

fn files(directory: &Path, role: Role) -> (PathBuf, PathBuf) {
    let name = role.name();
    (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| {
        Error::io(format!("read {}", path.display()), e)
            .hint("Certificates are made by `blueshift admin certificates`.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_made_once() {
        let root = std::env::temp_dir().join(format!("blueshift-ca-{}", base::rng::u64()));
        assert!(read_certificates(&root, Role::Leader).is_err());
        create_certificates(&root, "test").unwrap();
        let first = read_certificates(&root, Role::Compute).unwrap();
        create_certificates(&root, "test").unwrap();
        let again = read_certificates(&root, Role::Compute).unwrap();
        assert_eq!(first.certificate, again.certificate);
        let leader = read_certificates(&root, Role::Leader).unwrap();
        assert_eq!(first.authority, leader.authority);
        assert_ne!(first.certificate, leader.certificate);
        fs::remove_dir_all(root).unwrap();
    }
}
