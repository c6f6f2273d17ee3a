//! A client that speaks in single messages, so that tests can say exactly what is sent.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use base::password::{md5_hex, sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    pub(crate) process_id: i32,
    pub(crate) key: Vec<u8>,
    /// ParameterStatus messages since the last look.
    pub(crate) parameters: Vec<(String, String)>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// A field of ErrorResponse or NoticeResponse.
    pub(crate) fn field(&self, name: u8) -> String {
        self.body
            .split(|byte| *byte == 0)
            .find(|field| field.first() == Some(&name))
            .map_or(String::new(), |field| String::from_utf8_lossy(&field[1..]).into_owned())
    }

    /// The values of a DataRow.
    pub(crate) fn values(&self) -> Vec<Option<Vec<u8>>> {
        assert_eq!(self.tag, b'D', "{self:?}");
        let (mut rest, mut values) = (&self.body[2..], Vec::new());
        while !rest.is_empty() {
            let len = i32::from_be_bytes(rest[..4].try_into().unwrap());
            rest = &rest[4..];
            values.push(usize::try_from(len).ok().map(|len| {
                let (value, after) = rest.split_at(len);
                rest = after;
                value.to_vec()
            }));
        }
        values
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim_end_matches('\0').to_owned()
    }
}

pub(crate) fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend(name.bytes().chain([0]).chain(value.bytes()).chain([0]));
    }
    body.push(0);
    [u32::try_from(body.len() + 4).unwrap().to_be_bytes().as_slice(), &body].concat()
}

pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag], len.as_slice(), body].concat()
}

pub(crate) fn query(text: &str) -> Vec<u8> {
    message(b'Q', format!("{text}\0").as_bytes())
}

pub(crate) fn parse(name: &str, text: &str, oids: &[u32]) -> Vec<u8> {
    let mut body = format!("{name}\0{text}\0").into_bytes();
    body.extend((oids.len() as u16).to_be_bytes());
    oids.iter().for_each(|oid| body.extend(oid.to_be_bytes()));
    message(b'P', &body)
}

/// Binds binary values and asks for results in one format.
pub(crate) fn bind(portal: &str, statement: &str, values: &[&[u8]], result: u16) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0").into_bytes();
    body.extend([0, 1, 0, 1]);
    body.extend((values.len() as u16).to_be_bytes());
    for value in values {
        body.extend((value.len() as u32).to_be_bytes());
        body.extend(*value);
    }
    body.extend([0, 1]);
    body.extend(result.to_be_bytes());
    message(b'B', &body)
}

pub(crate) fn execute(portal: &str, max_rows: i32) -> Vec<u8> {
    message(b'E', &[portal.as_bytes(), &[0], &max_rows.to_be_bytes()].concat())
}

pub(crate) fn sync() -> Vec<u8> {
    message(b'S', &[])
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Client {
        let socket = TcpStream::connect(address).await.unwrap();
        Client { socket, process_id: 0, key: Vec::new(), parameters: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// The next message; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        let tag = self.socket.read_u8().await.ok()?;
        let len = self.socket.read_u32().await.ok()? as usize;
        let mut body = vec![0; len - 4];
        self.socket.read_exact(&mut body).await.ok()?;
        if tag == b'S' {
            let text = String::from_utf8(body.clone()).unwrap();
            let (name, value) = text.split_once('\0').unwrap();
            self.parameters.push((name.to_owned(), value.trim_end_matches('\0').to_owned()));
        }
        Some(Message { tag, body })
    }

    /// All messages up to ReadyForQuery or the end, without ParameterStatus.
    pub(crate) async fn until_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.next().await {
            let last = message.tag == b'Z';
            if message.tag == b'K' {
                self.process_id = i32::from_be_bytes(message.body[..4].try_into().unwrap());
                self.key = message.body[4..].to_vec();
            }
            if message.tag != b'S' {
                messages.push(message);
            }
            if last {
                break;
            }
        }
        messages
    }

    pub(crate) async fn ask(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.send(bytes).await;
        self.until_ready().await
    }

    /// Answers whichever exchange the server asks for; the messages after it.
    pub(crate) async fn authenticate(&mut self, user: &str, password: &str) -> Vec<Message> {
        let request = self.next().await.unwrap();
        assert_eq!(request.tag, b'R', "{}", request.field(b'M'));
        let (code, rest) = request.body.split_at(4);
        match code[3] {
            5 => {
                let inner = md5_hex(&[password.as_bytes(), user.as_bytes()]);
                let answer = format!("md5{}\0", md5_hex(&[inner.as_bytes(), rest]));
                self.send(&message(b'p', answer.as_bytes())).await;
            }
            13 => {
                let len = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().unwrap());
                let salt_end = 8 + len(4) as usize;
                let (salt, nonce) = (&rest[8..salt_end], &rest[salt_end + 4..]);
                let inner = sha256(&[password.as_bytes(), salt]);
                let digest = sha256(&[&inner, nonce, b"1700000000000"]);
                let mut answer = 32_u32.to_be_bytes().to_vec();
                answer.extend(digest);
                answer.extend(13_u32.to_be_bytes());
                answer.extend(b"1700000000000");
                self.send(&message(b'd', &answer)).await;
            }
            other => panic!("authentication code {other}"),
        }
        self.until_ready().await
    }

    /// A session of the md5 user.
    pub(crate) async fn open(address: SocketAddr, extra: &[(&str, &str)]) -> Client {
        Client::open_version(address, 3 << 16, extra).await
    }

    pub(crate) async fn open_version(
        address: SocketAddr,
        version: u32,
        extra: &[(&str, &str)],
    ) -> Client {
        let mut client = Client::connect(address).await;
        let parameters = [&[("user", "md5user"), ("database", "dev")], extra].concat();
        client.send(&startup(version, &parameters)).await;
        let messages = client.authenticate("md5user", super::fake::PASSWORD).await;
        assert_eq!(messages.last().map(|message| message.tag), Some(b'Z'), "{messages:?}");
        client
    }
}

pub(crate) fn tags(messages: &[Message]) -> String {
    messages.iter().map(|message| char::from(message.tag)).collect()
}
