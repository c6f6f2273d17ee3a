//! Certificates between nodes: one authority a cluster, made when the cluster is created.
//! A node proves its role with a certificate that this authority signed; nothing else is
//! admitted to the node RPC.

use std::fs;
use std::path::{Path, PathBuf};

use base::{Error, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::directory::write_private;

/// Who a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    Leader,
    Compute(u16),
}

impl Identity {
    /// The certificate's name and the stem of its files.
    pub fn name(self) -> String {
        match self {
            Identity::Leader => "leader".to_owned(),
            Identity::Compute(node) => format!("compute-{node}"),
        }
    }
}

/// PEM texts with which a node joins its cluster.
#[derive(Clone, Debug)]
pub struct NodeCertificates {
    pub authority_pem: String,
    pub certificate_pem: String,
    pub key_pem: base::Secret,
}

impl NodeCertificates {
    /// Makes the authority and one certificate for the leader and each of `nodes` compute
    /// nodes, valid for `hosts` besides loopback. What exists is kept, so that a cluster that
    /// grows signs with the same authority.
    pub fn create(directory: &Path, nodes: u16, hosts: &[String]) -> Result<()> {
        fs::create_dir_all(directory)
            .map_err(|e| Error::io(format!("create {}", directory.display()), e))?;
        let (authority_file, authority_key_file) = files(directory, "authority");
        if !authority_file.exists() {
            let (certificate, key) = make_authority()?;
            write_private(&authority_key_file, key.as_bytes())?;
            write_private(&authority_file, certificate.as_bytes())?;
        }
        let key = KeyPair::from_pem(&read(&authority_key_file)?).map_err(broken)?;
        let issuer = Issuer::new(authority_params(), key);
        let identities = std::iter::once(Identity::Leader).chain((0..nodes).map(Identity::Compute));
        for identity in identities {
            let (certificate_file, key_file) = files(directory, &identity.name());
            if !certificate_file.exists() {
                let (certificate, key) = sign(identity, hosts, &issuer)?;
                write_private(&key_file, key.as_bytes())?;
                write_private(&certificate_file, certificate.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Reads the texts of one identity.
    pub fn read(directory: &Path, identity: Identity) -> Result<Self> {
        let (certificate_file, key_file) = files(directory, &identity.name());
        Ok(Self {
            authority_pem: read(&files(directory, "authority").0)?,
            certificate_pem: read(&certificate_file)?,
            key_pem: base::Secret::new(read(&key_file)?),
        })
    }
}

fn files(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| {
        Error::io(format!("read {}", path.display()), e)
            .hint("Certificates are made by `blueshift admin certificates`.")
    })
}

fn broken(error: rcgen::Error) -> Error {
    Error::internal(format!("node certificate: {error}"))
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "blueshift cluster authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn make_authority() -> Result<(String, String)> {
    let key = KeyPair::generate().map_err(broken)?;
    let certificate = authority_params().self_signed(&key).map_err(broken)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn sign(
    identity: Identity,
    hosts: &[String],
    issuer: &Issuer<'_, KeyPair>,
) -> Result<(String, String)> {
    let mut names = vec![identity.name(), "localhost".to_owned(), "127.0.0.1".to_owned()];
    names.extend(hosts.iter().cloned());
    let mut params = CertificateParams::new(names).map_err(broken)?;
    params.distinguished_name.push(DnType::CommonName, identity.name());
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().map_err(broken)?;
    let certificate = params.signed_by(&key, issuer).map_err(broken)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_cluster_keeps_its_authority() {
        let root = std::env::temp_dir().join(format!("blueshift-ca-{}", base::rng::u64()));
        NodeCertificates::create(&root, 1, &[]).unwrap();
        let first = NodeCertificates::read(&root, Identity::Compute(0)).unwrap();
        NodeCertificates::create(&root, 2, &["node2.example".to_owned()]).unwrap();
        let again = NodeCertificates::read(&root, Identity::Compute(0)).unwrap();
        let second = NodeCertificates::read(&root, Identity::Compute(1)).unwrap();
        assert_eq!(first.certificate_pem, again.certificate_pem);
        assert_eq!(first.authority_pem, second.authority_pem);
        assert!(NodeCertificates::read(&root, Identity::Compute(2)).is_err());
        fs::remove_dir_all(root).unwrap();
    }
}
