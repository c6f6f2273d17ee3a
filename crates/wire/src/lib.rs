//! Floor 5: the PostgreSQL and Redshift wire protocol.
//!
//! Owns every protocol byte: start-up, TLS, authentication, the simple and the extended
//! protocol, the encoding of result rows and the decoding of bound values. Calls the leader
//! only through [`base::client`]; knows nothing of SQL, plans or storage.

mod auth;
mod connection;
mod describe;
mod encode;
mod extended;
mod frame;
mod handshake;
mod outbox;
mod parameters;
mod portal;
mod reader;
mod registry;
mod server;
mod simple;
mod startup;
mod statement;
mod tls;

pub use frame::{Frontend, decode as decode_message};
pub use server::{Server, ServerOptions};
pub use startup::{Packet, decode as decode_startup};
pub use tls::Tls;
