//! One connection of the shell: TLS, statements, notices.

use std::sync::Arc;

use base::{Error, Result, Retry, Secret, SqlState, error};
use futures::{StreamExt, TryStreamExt, pin_mut};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage};

use super::render::{Printer, Settings, error_line};

/// Where the shell connects to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) password: Option<Secret>,
}

impl Target {
    /// Reads `postgresql://USER[:PASSWORD]@HOST:PORT/DATABASE`.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let bad = || {
            error!(InvalidParameterValue, "\"{url}\" is not a connection URL")
                .hint("Its form is postgresql://USER@HOST:PORT/DATABASE.")
        };
        let config: tokio_postgres::Config = url.parse().map_err(|_| bad())?;
        let host = match config.get_hosts().first() {
            Some(tokio_postgres::config::Host::Tcp(host)) => host.clone(),
            _ => return Err(bad()),
        };
        Ok(Self {
            host,
            port: config.get_ports().first().copied().unwrap_or(5439),
            user: config.get_user().unwrap_or("awsuser").to_owned(),
            database: config.get_dbname().unwrap_or("dev").to_owned(),
            password: config
                .get_password()
                .map(|bytes| Secret::new(String::from_utf8_lossy(bytes).into_owned())),
        })
    }
}

/// An open connection.
pub(crate) struct Connection {
    client: Client,
    process_id: Option<i32>,
}

impl Connection {
    /// Connects with TLS when the server has it.
    ///
    /// The certificate is not verified: the server's is self-signed, and the shell is for the
    /// operator beside it. Passwords are safe all the same: SCRAM never sends one.
    pub(crate) async fn open(target: &Target) -> Result<Self> {
        let address = format!("{}:{}", target.host, target.port);
        let unreachable = |e: std::io::Error| {
            error!(ConnectionFailure, "could not connect to {address}: {e}")
                .hint("Is the server running? `blueshift start` starts one.")
        };
        let mut stream = TcpStream::connect(&address).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let mut config = tokio_postgres::Config::new();
        config
            .user(&target.user)
            .dbname(&target.database)
            .application_name("blueshift sql")
            .ssl_mode(tokio_postgres::config::SslMode::Disable);
        if let Some(password) = &target.password {
            config.password(password.reveal());
        }
        if request_tls(&mut stream).await.map_err(unreachable)? {
            let tls = tokio_rustls::TlsConnector::from(Arc::new(tls_config()?));
            let name = ServerName::try_from(target.host.clone())
                .map_err(|e| error!(InvalidParameterValue, "host \"{}\": {e}", target.host))?;
            let stream = tls.connect(name, stream).await.map_err(unreachable)?;
            let (client, connection) =
                config.connect_raw(stream, NoTls).await.map_err(|e| from_postgres(&e))?;
            Ok(Self::drive(client, connection))
        } else {
            let (client, connection) =
                config.connect_raw(stream, NoTls).await.map_err(|e| from_postgres(&e))?;
            Ok(Self::drive(client, connection))
        }
    }

    fn drive<S, T>(client: Client, mut connection: tokio_postgres::Connection<S, T>) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        base::task::spawn("shell connection", async move {
            let mut messages = futures::stream::poll_fn(|context| connection.poll_message(context));
            while let Some(message) = messages.next().await {
                match message {
                    Ok(AsyncMessage::Notice(notice)) => {
                        error_line(&format!("{}:  {}", notice.severity(), notice.message()));
                    }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        });
        Self { client, process_id: None }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The server's process id of this session, once asked for.
    pub(crate) fn process_id(&self) -> Option<i32> {
        self.process_id
    }

    /// Runs a text and prints its results. Ctrl-C cancels it.
    pub(crate) async fn run(&mut self, text: &str, settings: &mut Settings) -> Result<()> {
        if self.process_id.is_none() {
            self.process_id = self.scalar("SELECT pg_backend_pid()").await?;
        }
        let cancel = self.client.cancel_token();
        let printing = self.print(text, settings);
        pin_mut!(printing);
        loop {
            tokio::select! {
                done = &mut printing => return done,
                _ = tokio::signal::ctrl_c() => {
                    error_line("Cancel request sent");
                    drop(cancel.cancel_query(NoTls).await);
                }
            }
        }
    }

    async fn print(&self, text: &str, settings: &Settings) -> Result<()> {
        let messages = self.client.simple_query_raw(text).await.map_err(|e| from_postgres(&e))?;
        pin_mut!(messages);
        let mut printer = Printer::new(settings);
        while let Some(message) = messages.try_next().await.map_err(|e| from_postgres(&e))? {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    printer.columns(columns.iter().map(|c| c.name().to_owned()).collect())?;
                }
                SimpleQueryMessage::Row(row) => {
                    printer.row((0..row.len()).map(|i| row.get(i)))?;
                }
                SimpleQueryMessage::CommandComplete(rows) => printer.complete(rows)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The first column of the first row, read as `T`.
    pub(crate) async fn scalar<T: std::str::FromStr>(&self, text: &str) -> Result<Option<T>> {
        let messages = self.client.simple_query(text).await.map_err(|e| from_postgres(&e))?;
        Ok(messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
            _ => None,
        }))
    }

    /// All rows as text.
    pub(crate) async fn rows(&self, text: &str) -> Result<Vec<Vec<Option<String>>>> {
        let messages = self.client.simple_query(text).await.map_err(|e| from_postgres(&e))?;
        let row = |row: &tokio_postgres::SimpleQueryRow| {
            (0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()
        };
        Ok(messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(r) => Some(row(r)),
                _ => None,
            })
            .collect())
    }
}

/// Sends SSLRequest; true when the server goes on with TLS.
async fn request_tls(stream: &mut TcpStream) -> std::io::Result<bool> {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    stream.write_all(&SSL_REQUEST).await?;
    Ok(stream.read_u8().await? == b'S')
}

fn tls_config() -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::internal(format!("TLS versions: {e}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(unverified::AcceptAny(provider)))
        .with_no_client_auth();
    Ok(config)
}

/// Encryption without verification, libpq's `sslmode=require`.
mod unverified {
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub(super) struct AcceptAny(pub(super) Arc<CryptoProvider>);

    impl ServerCertVerifier for AcceptAny {
        fn verify_server_cert(
            &self,
            _end_entity: &CertificateDer<'_>,
            _intermediates: &[CertificateDer<'_>],
            _server_name: &ServerName<'_>,
            _ocsp_response: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}

/// The server's error with all its fields.
pub(crate) fn from_postgres(error: &tokio_postgres::Error) -> Error {
    let Some(server) = error.as_db_error() else {
        return error!(ConnectionFailure, "{error}").retry(Retry::SameStatement);
    };
    let state = SqlState::from_code(server.code().code()).unwrap_or(SqlState::InternalError);
    let mut out = Error::new(state, server.message());
    if let Some(detail) = server.detail() {
        out = out.detail(detail);
    }
    if let Some(hint) = server.hint() {
        out = out.hint(hint);
    }
    if let Some(tokio_postgres::error::ErrorPosition::Original(position)) = server.position() {
        out = out.at(*position);
    }
    out
}
