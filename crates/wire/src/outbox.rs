//! What waits to be sent to a client.
//!
//! Messages are appended to one buffer; a flush can be given up and taken on later without
//! losing its place.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, WriteHalf};

use crate::handshake::Socket;

pub(crate) struct Outbox {
    socket: WriteHalf<Socket>,
    pub(crate) buffer: Vec<u8>,
    /// How much of the buffer the socket has taken.
    sent: usize,
    bytes_max: usize,
}

impl Outbox {
    pub(crate) fn new(socket: WriteHalf<Socket>, bytes_max: usize) -> Outbox {
        Outbox { socket, buffer: Vec::new(), sent: 0, bytes_max: bytes_max.max(1_024) }
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() >= self.bytes_max
    }

    /// Sends everything. When the future is dropped, the rest is sent by the next call.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.buffer.len() {
            match self.socket.write(&self.buffer[self.sent..]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => self.sent += written,
            }
        }
        self.socket.flush().await?;
        self.buffer.clear();
        self.sent = 0;
        if self.buffer.capacity() > self.bytes_max * 4 {
            self.buffer.shrink_to(self.bytes_max);
        }
        Ok(())
    }

    /// Sends the rest within a time and closes the socket.
    pub(crate) async fn close(mut self, within: Duration) {
        let last = async {
            self.flush().await?;
            self.socket.shutdown().await
        };
        // The client may be gone or stuck: nobody is left to tell.
        let _ = tokio::time::timeout(within, last).await;
    }
}
