//! TLS for clients: the server's certificate and the rustls set-up.
//!
//! rustls with ring only; TLS 1.2 and newer. A certificate is made at the first start, so that
//! encryption works with nothing prepared; the owner replaces the two files with real ones.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use base::{Error, Result, error};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";
/// What clients that start with TLS at once (no SSLRequest) have to announce.
pub(crate) const ALPN: &[u8] = b"postgresql";

/// The server's TLS identity, or none.
#[derive(Clone, Default)]
pub struct Tls(Option<Arc<ServerConfig>>);

impl Tls {
    /// No TLS: an SSLRequest is answered with `N`.
    pub fn disabled() -> Tls {
        Tls(None)
    }

    /// Loads `server.crt` and `server.key` from a directory; makes them first when neither
    /// exists.
    ///
    /// # Errors
    /// 58030 when the files cannot be read or written, 58000 when they do not make a valid
    /// identity or one of the two is missing.
    pub fn load_or_create(dir: &Path) -> Result<Tls> {
        let (certificate, key) = (dir.join(CERTIFICATE), dir.join(KEY));
        match (certificate.exists(), key.exists()) {
            (true, true) => {}
            (false, false) => create(&certificate, &key)?,
            (has, _) => {
                let (one, other) = if has { (CERTIFICATE, KEY) } else { (KEY, CERTIFICATE) };
                let fault =
                    error!(SystemError, "{one} exists in {} but {other} does not", dir.display());
                return Err(
                    fault.hint("Restore the missing file, or remove both to make new ones.")
                );
            }
        }
        load(&certificate, &key)
    }

    pub(crate) fn config(&self) -> Option<Arc<ServerConfig>> {
        self.0.clone()
    }
}

fn create(certificate: &Path, key: &Path) -> Result<()> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|fault| unusable("make a certificate", &fault))?;
    write(key, &made.signing_key.serialize_pem(), 0o600)?;
    write(certificate, &made.cert.pem(), 0o644)
}

/// Writes through a temporary name, so that a crash leaves no half of a file.
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let fault = |error| Error::io(format_args!("write {}", path.display()), error);
    let part = path.with_extension("part");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options.open(&part).map_err(fault)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fault)?;
    std::fs::rename(&part, path).map_err(fault)
}

fn load(certificate: &Path, key: &Path) -> Result<Tls> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|error| Error::io(format_args!("read {}", path.display()), error))
    };
    let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|fault| unusable(CERTIFICATE, &fault))?;
    let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|fault| unusable(KEY, &fault))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|fault| unusable("TLS versions", &fault))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|fault| unusable("certificate and key", &fault))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Tls(Some(Arc::new(config))))
}

fn unusable(what: &str, fault: &dyn std::error::Error) -> Error {
    error!(SystemError, "could not set up TLS: {what}: {fault}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_kept_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        assert!(Tls::load_or_create(dir.path()).unwrap().config().is_some());
        let first = std::fs::read(dir.path().join(CERTIFICATE)).unwrap();
        let mode = std::fs::metadata(dir.path().join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        Tls::load_or_create(dir.path()).unwrap();
        assert_eq!(std::fs::read(dir.path().join(CERTIFICATE)).unwrap(), first);
        std::fs::remove_file(dir.path().join(KEY)).unwrap();
        assert!(Tls::load_or_create(dir.path()).is_err());
    }
}
