//! The task that reads a client's messages, also while a statement runs.
//!
//! It sees at once that a client has gone. What it has read and the session has not taken yet
//! is bounded in messages and in bytes; beyond that the client's own sends block.

use std::sync::Arc;

use base::{CancellationToken, Error, Result, SqlState, error};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, ReadHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::frame::{self, Frontend};
use crate::handshake::Socket;

const READ_BYTES: usize = 32_768;
/// A buffer that grew beyond this for one message is given back after it.
const KEEP_BYTES: usize = 1 << 20;

/// What the reader hands over: a message, or the fault to answer it with.
pub(crate) enum Received {
    Message(Frontend),
    /// The message could not be read; the connection goes on.
    Fault {
        tag: u8,
        fault: Error,
    },
    /// The protocol is broken; the connection ends.
    Broken(Error),
}

/// The session's end of the reader.
pub(crate) struct Inbox {
    messages: mpsc::Receiver<(Received, OwnedSemaphorePermit)>,
    /// The last message's share of the byte bound; freed when the next one is taken.
    held: Option<OwnedSemaphorePermit>,
    pub(crate) gone: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

impl Inbox {
    /// The next message; `None` when the client has gone.
    pub(crate) async fn next(&mut self) -> Option<Received> {
        self.held = None;
        let (received, permit) = self.messages.recv().await?;
        self.held = Some(permit);
        Some(received)
    }
}

pub(crate) fn start(
    socket: ReadHalf<Socket>,
    input: BytesMut,
    message_bytes_max: usize,
    messages_max: usize,
) -> Inbox {
    let (sender, messages) = mpsc::channel(messages_max.max(1));
    let gone = CancellationToken::new();
    let bytes_max = message_bytes_max.clamp(1_024, u32::MAX as usize >> 1);
    let reader = Reader {
        socket,
        input,
        message_bytes_max: bytes_max,
        budget: Arc::new(Semaphore::new(bytes_max)),
        sender,
    };
    let ended = gone.clone();
    let task = base::task::spawn("client reader", async move {
        reader.run().await;
        ended.cancel();
    });
    Inbox { messages, held: None, gone, _task: AbortOnDropHandle::new(task) }
}

struct Reader {
    socket: ReadHalf<Socket>,
    input: BytesMut,
    message_bytes_max: usize,
    /// The bytes of messages that were read and not finished.
    budget: Arc<Semaphore>,
    sender: mpsc::Sender<(Received, OwnedSemaphorePermit)>,
}

impl Reader {
    async fn run(mut self) {
        loop {
            let Some((received, permit)) = self.message().await else { return };
            let last =
                matches!(received, Received::Broken(_) | Received::Message(Frontend::Terminate));
            if self.sender.send((received, permit)).await.is_err() {
                return;
            }
            if last {
                // The session ends by itself when it has worked off what came before.
                self.sender.closed().await;
                return;
            }
        }
    }

    async fn message(&mut self) -> Option<(Received, OwnedSemaphorePermit)> {
        self.fill(5).await?;
        let tag = self.input[0];
        let len = i32::from_be_bytes([self.input[1], self.input[2], self.input[3], self.input[4]]);
        let Some(len) = usize::try_from(len).ok().and_then(|len| len.checked_sub(4)) else {
            let fault = error!(ProtocolViolation, "invalid message length");
            return Some((Received::Broken(fault), self.permit(0).await?));
        };
        self.input.advance(5);
        if len > self.message_bytes_max {
            self.skip(len).await?;
            let received = Received::Message(Frontend::TooLong { tag, len });
            return Some((received, self.permit(0).await?));
        }
        let permit = self.permit(len).await?;
        self.fill(len).await?;
        let body = self.input.split_to(len).freeze();
        let received = received(tag, frame::decode(tag, body));
        if self.input.is_empty() && self.input.capacity() > KEEP_BYTES {
            self.input = BytesMut::new();
        }
        Some((received, permit))
    }

    async fn permit(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).ok()?;
        Arc::clone(&self.budget).acquire_many_owned(bytes).await.ok()
    }

    /// Reads until `len` bytes are there; `None` when the client has gone.
    async fn fill(&mut self, len: usize) -> Option<()> {
        while self.input.len() < len {
            self.input.reserve((len - self.input.len()).max(READ_BYTES));
            if self.socket.read_buf(&mut self.input).await.ok()? == 0 {
                return None;
            }
        }
        Some(())
    }

    /// Passes over bytes without keeping them.
    async fn skip(&mut self, mut len: usize) -> Option<()> {
        loop {
            let have = len.min(self.input.len());
            self.input.advance(have);
            len -= have;
            if len == 0 {
                return Some(());
            }
            self.fill(1).await?;
        }
    }
}

fn received(tag: u8, decoded: Result<Frontend>) -> Received {
    match decoded {
        Ok(message) => Received::Message(message),
        Err(fault) if fault.sqlstate() == SqlState::ProtocolViolation => Received::Broken(fault),
        Err(fault) => Received::Fault { tag, fault },
    }
}
