//! Listening, and the way of a connection from its first byte to its session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::client::{Leader, Login, Session};
use base::{CancellationToken, Error, Result, error};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::auth::{self, Throttle};
use crate::connection::Connection;
use crate::encode::Style;
use crate::frame::backend;
use crate::handshake::{self, Channel, Purpose, Stop};
use crate::outbox::Outbox;
use crate::reader;
use crate::registry::Registry;
use crate::startup::Startup;
use crate::statement::Ends;
use crate::tls::Tls;

/// Sockets beyond the connection limit: cancel requests, and clients that are told that there
/// are too many.
const SPARE_SOCKETS: usize = 64;
/// How long accepting waits when the system is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How the server listens. All of it has defaults that fit.
#[derive(Clone)]
pub struct ServerOptions {
    pub tls: Tls,
    /// Refuses clients that do not encrypt.
    pub require_tls: bool,
    /// The most sessions at once; the next one is refused with 53300.
    pub connection_max: usize,
    /// From the first byte to the end of authentication.
    pub startup_timeout_ms: u64,
    /// Ends sessions that send nothing for this long.
    pub idle_timeout_ms: Option<u64>,
    /// Rows are sent when this much has been encoded.
    pub send_buffer_bytes: usize,
    /// The longest message, and the most bytes of messages in waiting, per connection.
    pub message_bytes_max: usize,
    /// The most messages in waiting per connection.
    pub pipeline_max: usize,
    /// What the first failed login waits; doubled with each further one.
    pub login_failure_delay_ms: u64,
    /// How long running statements may go on after shutdown.
    pub shutdown_grace_ms: u64,
    pub shutdown: CancellationToken,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            tls: Tls::disabled(),
            require_tls: false,
            connection_max: 500,
            startup_timeout_ms: 60_000,
            idle_timeout_ms: None,
            send_buffer_bytes: 65_536,
            message_bytes_max: 64 << 20,
            pipeline_max: 256,
            login_failure_delay_ms: 200,
            shutdown_grace_ms: 10_000,
            shutdown: CancellationToken::new(),
        }
    }
}

/// A listening server.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What all connections share.
struct Shared {
    leader: Arc<dyn Leader>,
    options: ServerOptions,
    registry: Registry,
    throttle: Throttle,
    sessions: Arc<Semaphore>,
    /// The grace time is over.
    killed: CancellationToken,
}

impl Server {
    /// Listens on `address`; connections are served from [`Server::serve`] on.
    ///
    /// # Errors
    /// 58030 when the address cannot be listened on.
    pub async fn bind(
        address: SocketAddr,
        leader: Arc<dyn Leader>,
        options: ServerOptions,
    ) -> Result<Server> {
        let fault = |error| Error::io(format_args!("listen on {address}"), error);
        let listener = TcpListener::bind(address).await.map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        let shared = Shared {
            leader,
            registry: Registry::default(),
            throttle: Throttle::new(Duration::from_millis(options.login_failure_delay_ms)),
            sessions: Arc::new(Semaphore::new(options.connection_max)),
            killed: CancellationToken::new(),
            options,
        };
        Ok(Server { listener, address, shared: Arc::new(shared) })
    }

    /// The address that is listened on, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown; then running statements may finish within the grace time, and
    /// every client is told 57P01.
    pub async fn serve(self) {
        let shared = self.shared;
        let sockets = Arc::new(Semaphore::new(shared.options.connection_max + SPARE_SOCKETS));
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shared.options.shutdown.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    let Ok(socket) = Arc::clone(&sockets).try_acquire_owned() else { continue };
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move {
                        shared.connection(tcp, peer).await;
                        drop(socket);
                    });
                }
                Err(fault) => {
                    tracing::warn!(%fault, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        connections.close();
        let grace = Duration::from_millis(shared.options.shutdown_grace_ms);
        if tokio::time::timeout(grace, connections.wait()).await.is_err() {
            shared.killed.cancel();
            connections.wait().await;
        }
    }
}

/// A client that has proved who it is, before its session's loop.
struct Opened {
    channel: Channel,
    session: Box<dyn Session>,
    style: Style,
    greeting: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl Shared {
    async fn connection(&self, tcp: TcpStream, peer: SocketAddr) {
        // Answers are written whole: waiting to fill packets would only delay them.
        if let Err(fault) = tcp.set_nodelay(true) {
            tracing::debug!(%fault, "could not set TCP_NODELAY");
        }
        let limit = Duration::from_millis(self.options.startup_timeout_ms);
        let opened = tokio::select! {
            opened = tokio::time::timeout(limit, self.open(tcp, peer)) => opened,
            () = self.killed.cancelled() => return,
        };
        match opened {
            Ok(Some(opened)) => self.serve(opened).await,
            Ok(None) => {}
            Err(_) => tracing::info!(%peer, "a client did not complete its start-up in time"),
        }
    }

    /// The session of a new connection; `None` when it was for something else or was refused.
    async fn open(&self, tcp: TcpStream, peer: SocketAddr) -> Option<Opened> {
        let tls = &self.options.tls;
        let channel = handshake::open(tcp, tls).await.ok()?;
        let (mut channel, startup) = match handshake::negotiate(channel, tls).await {
            Ok((channel, Purpose::Session(startup))) => (channel, startup),
            Ok((_, Purpose::Cancel { process_id, key })) => {
                self.registry.cancel(&*self.leader, process_id, &key);
                return None;
            }
            Err((Some(mut channel), Stop::Fatal(fault))) => {
                channel.refuse(&fault).await;
                return None;
            }
            Err(_) => return None,
        };
        match self.admit(&mut channel, startup, peer).await {
            Ok((session, style, greeting, permit)) => {
                Some(Opened { channel, session, style, greeting, _permit: permit })
            }
            Err(Stop::Fatal(fault)) => {
                channel.refuse(&fault).await;
                None
            }
            Err(Stop::Gone) => None,
        }
    }

    async fn admit(
        &self,
        channel: &mut Channel,
        startup: Startup,
        peer: SocketAddr,
    ) -> Result<(Box<dyn Session>, Style, Vec<u8>, OwnedSemaphorePermit), Stop> {
        if self.options.shutdown.is_cancelled() {
            return Err(error!(CannotConnectNow, "the database system is shutting down").into());
        }
        if self.options.require_tls && !channel.is_tls() {
            let fault = error!(
                InvalidAuthorizationSpecification,
                "connections without TLS are not allowed"
            );
            return Err(fault.hint("Connect with sslmode=require.").into());
        }
        let permit = Arc::clone(&self.sessions)
            .try_acquire_owned()
            .map_err(|_| error!(TooManyConnections, "sorry, too many clients already"))?;
        let extension = startup.extension()?;
        if let Some(version) = startup.negotiated() {
            let mut out = Vec::new();
            backend::negotiate_version(&mut out, version, &startup.protocol_options);
            channel.send(&out).await?;
        }
        self.authenticate(channel, &startup, peer).await?;
        let mut greeting = Vec::new();
        backend::authentication(&mut greeting, 0, &[]);
        let long_keys = startup.long_keys();
        let mut style = Style { extension: extension.unwrap_or(0), ..Style::default() };
        if let Some(digits) = startup.parameter("extra_float_digits") {
            style.float_digits = digits.parse().unwrap_or(style.float_digits);
        }
        let login = Login {
            user: startup.user,
            database: startup.database,
            peer: Some(peer),
            tls: channel.is_tls(),
            protocol_version: style.extension,
            parameters: startup.parameters,
        };
        let session = match self.leader.open(login).await {
            Ok(session) => session,
            Err(fault) => {
                channel.send(&greeting).await?;
                return Err(fault.into());
            }
        };
        if let Some(level) = extension {
            backend::parameter_status(&mut greeting, "server_protocol_version", &level.to_string());
        }
        let sent = self.registry.add(session.process_id(), session.cancel_key(), long_keys);
        backend::backend_key(&mut greeting, session.process_id(), &sent);
        Ok((session, style, greeting, permit))
    }

    async fn authenticate(
        &self,
        channel: &mut Channel,
        startup: &Startup,
        peer: SocketAddr,
    ) -> Result<(), Stop> {
        let user = &startup.user;
        let verifier = self.leader.verifier(user).await?;
        let redshift = startup.is_redshift_driver();
        match auth::authenticate(channel, user, &verifier, redshift).await {
            Ok(()) => {
                self.throttle.succeeded(user, peer.ip());
                Ok(())
            }
            Err(Stop::Fatal(fault)) => {
                self.leader.login_failed(user, Some(peer));
                tokio::time::sleep(self.throttle.failed(user, peer.ip())).await;
                Err(Stop::Fatal(fault))
            }
            Err(stop) => Err(stop),
        }
    }

    async fn serve(&self, opened: Opened) {
        let Opened { channel, session, style, greeting, _permit } = opened;
        let (options, process_id) = (&self.options, session.process_id());
        let (read, write) = tokio::io::split(channel.socket);
        let inbox =
            reader::start(read, channel.input, options.message_bytes_max, options.pipeline_max);
        let ends = Ends {
            gone: inbox.gone.clone(),
            termination: session.termination(),
            killed: self.killed.clone(),
        };
        let reported = session.reported_parameters();
        let mut connection = Connection {
            session,
            out: Outbox::new(write, options.send_buffer_bytes),
            inbox,
            ends,
            draining: options.shutdown.clone(),
            idle_timeout: options.idle_timeout_ms.map(Duration::from_millis),
            style,
            statements: Default::default(),
            portals: Default::default(),
            skipping: false,
        };
        connection.out.buffer = greeting;
        for (name, value) in reported {
            connection.parameter(&name, &value);
        }
        match connection.ready().await {
            Ok(()) => connection.run().await,
            Err(stop) => tracing::debug!(?stop, "a client left before its session began"),
        }
        self.registry.remove(process_id);
    }
}
