//! The first bytes of a connection: encryption, and the packet that says what it is for.
//!
//! Ends with a start-up packet, with a cancel request that was carried out, or with a fault.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use base::{Error, error, fail};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::frame::backend;
use crate::startup::{self, PACKET_BYTES_MAX, Packet, Startup};
use crate::tls::{ALPN, Tls};

/// The first byte of a TLS record that starts a handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// SSLRequest, GSSENCRequest and the packet itself, once each.
const ROUNDS_MAX: usize = 3;

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The client has gone, or asked to.
    Gone,
    /// The client is told why.
    Fatal(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Fatal(error)
    }
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Stop {
        Stop::Gone
    }
}

pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Socket::Tls(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Socket::Tls(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

/// A connection before its session exists: one message at a time, each way.
pub(crate) struct Channel {
    pub(crate) socket: Socket,
    pub(crate) input: BytesMut,
}

impl Channel {
    pub(crate) fn new(socket: Socket) -> Channel {
        Channel { socket, input: BytesMut::new() }
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.socket, Socket::Tls(_))
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.socket.write_all(bytes).await?;
        Ok(self.socket.flush().await?)
    }

    /// Tells the client why, if it still listens, and closes.
    pub(crate) async fn refuse(&mut self, error: &Error) {
        let mut out = Vec::new();
        backend::error(&mut out, true, error);
        // The client may be gone: there is nobody else to tell.
        let _ = self.send(&out).await;
        let _ = self.socket.shutdown().await;
    }

    async fn fill(&mut self, len: usize) -> Result<(), Stop> {
        while self.input.len() < len {
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(Stop::Gone);
            }
        }
        Ok(())
    }

    /// A first packet: a length and a body.
    async fn packet(&mut self) -> Result<Bytes, Stop> {
        self.fill(4).await?;
        let len = length(&self.input)?;
        if !(8..=PACKET_BYTES_MAX).contains(&len) {
            return Err(error!(ProtocolViolation, "invalid length of startup packet").into());
        }
        self.fill(len).await?;
        self.input.advance(4);
        Ok(self.input.split_to(len - 4).freeze())
    }

    /// A message of the authentication exchange.
    pub(crate) async fn message(&mut self, bytes_max: usize) -> Result<(u8, Bytes), Stop> {
        self.fill(5).await?;
        let (tag, len) = (self.input[0], length(&self.input[1..])?);
        if !(4..=bytes_max).contains(&len) {
            return Err(error!(ProtocolViolation, "invalid message length").into());
        }
        self.fill(len + 1).await?;
        self.input.advance(5);
        Ok((tag, self.input.split_to(len - 4).freeze()))
    }
}

fn length(bytes: &[u8]) -> base::Result<usize> {
    let mut len = [0; 4];
    len.copy_from_slice(&bytes[..4]);
    match usize::try_from(i32::from_be_bytes(len)) {
        Ok(len) => Ok(len),
        Err(_) => fail!(ProtocolViolation, "invalid message length"),
    }
}

/// What a connection turned out to be for.
pub(crate) enum Purpose {
    Session(Startup),
    Cancel { process_id: i32, key: Vec<u8> },
}

/// Opens the channel, with TLS at once when the client starts so.
pub(crate) async fn open(tcp: TcpStream, tls: &Tls) -> Result<Channel, Stop> {
    let mut first = [0];
    if tcp.peek(&mut first).await? == 0 {
        return Err(Stop::Gone);
    }
    if first[0] != TLS_HANDSHAKE || tls.config().is_none() {
        return Ok(Channel::new(Socket::Plain(tcp)));
    }
    let socket = encrypt(tcp, tls).await?;
    // Without the announcement another protocol's request could be played to this port.
    if socket.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(Stop::Gone);
    }
    Ok(Channel::new(Socket::Tls(Box::new(socket))))
}

async fn encrypt(tcp: TcpStream, tls: &Tls) -> Result<TlsStream<TcpStream>, Stop> {
    let config = base::proven(tls.config(), "only asked for when TLS is set up");
    TlsAcceptor::from(config).accept(tcp).await.map_err(|fault| {
        tracing::debug!(%fault, "TLS handshake failed");
        Stop::Gone
    })
}

/// Answers requests for encryption until the packet that says what the connection is for.
pub(crate) async fn negotiate(
    mut channel: Channel,
    tls: &Tls,
) -> Result<(Channel, Purpose), (Option<Channel>, Stop)> {
    for _ in 0..ROUNDS_MAX {
        let packet = match channel.packet().await {
            Ok(body) => startup::decode(body).map_err(Stop::from),
            Err(stop) => Err(stop),
        };
        match packet {
            Ok(Packet::Startup(startup)) => return Ok((channel, Purpose::Session(startup))),
            Ok(Packet::Cancel { process_id, key }) => {
                return Ok((channel, Purpose::Cancel { process_id, key }));
            }
            Ok(Packet::Gss) => {
                if let Err(stop) = channel.send(b"N").await {
                    return Err((Some(channel), stop));
                }
            }
            Ok(Packet::Tls) => channel = start_tls(channel, tls).await?,
            Err(stop) => return Err((Some(channel), stop)),
        }
    }
    Err((Some(channel), error!(ProtocolViolation, "too many encryption requests").into()))
}

async fn start_tls(mut channel: Channel, tls: &Tls) -> Result<Channel, (Option<Channel>, Stop)> {
    // What arrived in clear text before the handshake must never be taken for what the
    // encrypted client says.
    if !channel.input.is_empty() {
        let fault = error!(ProtocolViolation, "received unencrypted data after SSL request")
            .detail("This is a client software bug or evidence of an attack.");
        return Err((Some(channel), fault.into()));
    }
    let answer: &[u8] = if tls.config().is_some() { b"S" } else { b"N" };
    if channel.is_tls() {
        let fault = error!(ProtocolViolation, "TLS has already started");
        return Err((Some(channel), fault.into()));
    }
    if let Err(stop) = channel.send(answer).await {
        return Err((Some(channel), stop));
    }
    match channel.socket {
        Socket::Plain(tcp) if answer == b"S" => match encrypt(tcp, tls).await {
            Ok(socket) => Ok(Channel::new(Socket::Tls(Box::new(socket)))),
            // The socket went with the failed handshake: nobody can be told anything.
            Err(stop) => Err((None, stop)),
        },
        socket => Ok(Channel { socket, input: channel.input }),
    }
}
