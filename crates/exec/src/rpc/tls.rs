//! Certificates of a cluster: who may call a compute node, and how a caller knows it.
//!
//! A cluster has its own authority. Every process holds a certificate of that authority that
//! names its role; a compute node runs whatever plan it is sent, so it talks to nobody else.

use base::{Error, Result, Secret, error};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls_pki_types::{CertificateDer, ServerName};
use tonic::service::Interceptor;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};
use tonic::{Request, Status};

/// The name in a leader's certificate.
const LEADER: &str = "leader.blueshift.internal";
/// The name in a compute node's certificate.
const COMPUTE: &str = "compute.blueshift.internal";

/// What a process needs to take part in a cluster, as PEM.
#[derive(Clone, Debug)]
pub struct NodeTls {
    /// The certificate of the cluster's authority.
    pub authority: String,
    pub certificate: String,
    pub key: Secret,
}

/// Everything that is made when a cluster is created.
#[derive(Clone, Debug)]
pub struct ClusterCertificates {
    pub leader: NodeTls,
    pub compute: NodeTls,
}

/// Makes an authority, whose key is not kept, and a certificate for each role.
///
/// # Errors
/// Internal when the cryptography fails.
pub fn create(cluster: &str) -> Result<ClusterCertificates> {
    make(cluster).map_err(|error| {
        Error::internal(format!("could not make the certificates of the cluster: {error}"))
    })
}

fn make(cluster: &str) -> std::result::Result<ClusterCertificates, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, format!("blueshift cluster {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    let issue = |role: &str| -> std::result::Result<NodeTls, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![role.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, role);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = params.signed_by(&key, &issuer)?.pem();
        let key = Secret::new(key.serialize_pem());
        Ok(NodeTls { authority: authority.clone(), certificate, key })
    };
    Ok(ClusterCertificates { leader: issue(LEADER)?, compute: issue(COMPUTE)? })
}

impl NodeTls {
    /// For calls to compute nodes: they must have this cluster's certificate for that role.
    pub(crate) fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.authority))
            .identity(self.identity())
            .domain_name(COMPUTE)
    }

    /// For serving: callers without a certificate of this cluster end at the handshake.
    pub(crate) fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.identity())
            .client_ca_root(Certificate::from_pem(&self.authority))
            .client_auth_optional(false)
    }

    fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate, self.key.reveal())
    }
}

/// Lets only leaders and compute nodes of the cluster through.
#[derive(Clone, Debug)]
pub(crate) struct KnownRole;

impl Interceptor for KnownRole {
    fn call(&mut self, request: Request<()>) -> std::result::Result<Request<()>, Status> {
        let certificates = request.peer_certs();
        let first = certificates.as_ref().and_then(|certificates| certificates.first());
        let Some(certificate) = first else {
            return Err(Status::unauthenticated("the caller shows no certificate"));
        };
        match role(certificate) {
            Ok(()) => Ok(request),
            Err(error) => Err(Status::permission_denied(error.message().to_owned())),
        }
    }
}

fn role(certificate: &CertificateDer<'_>) -> Result<()> {
    let unknown = || error!(ConnectionException, "the caller's certificate names no known role");
    let parsed = ParsedCertificate::try_from(certificate).map_err(|_| unknown())?;
    let names = [LEADER, COMPUTE].into_iter().filter_map(|name| ServerName::try_from(name).ok());
    for name in names {
        if verify_server_name(&parsed, &name).is_ok() {
            return Ok(());
        }
    }
    Err(unknown())
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn only_the_clusters_roles_are_known() {
        let made = create("c1").unwrap();
        for tls in [&made.leader, &made.compute] {
            let der = CertificateDer::from_pem_slice(tls.certificate.as_bytes()).unwrap();
            role(&der).unwrap();
        }
        let stranger = rcgen::generate_simple_self_signed(vec!["example.com".to_owned()]).unwrap();
        assert!(role(stranger.cert.der()).is_err());
    }
}
