//! The messages that clients send after start-up, as bytes and as values.
//!
//! Every read is checked against the end of its message, so that no bytes a client can send
//! make the server panic. Knows nothing of what the messages lead to.

pub(crate) mod backend;

use base::{Error, Result, error, fail};
use bytes::Bytes;

/// A message of a client. Password answers are told apart by the authentication exchange.
#[derive(Clone, Debug, PartialEq)]
pub enum Frontend {
    Query(String),
    Parse {
        name: String,
        text: String,
        oids: Vec<u32>,
    },
    Bind(Bind),
    Describe {
        target: Target,
        name: String,
    },
    Execute {
        portal: String,
        max_rows: i32,
    },
    Close {
        target: Target,
        name: String,
    },
    Flush,
    Sync,
    Terminate,
    /// `F`: function call, which is refused.
    Function,
    /// `p`, `d`, `c`, `f`, `i` outside the exchange they belong to.
    Stray,
    /// A message over the size limit, whose bytes were skipped.
    TooLong {
        tag: u8,
        len: usize,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Bind {
    pub portal: String,
    pub statement: String,
    pub formats: Vec<i16>,
    pub values: Vec<Option<Bytes>>,
    pub result_formats: Vec<i16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Statement,
    Portal,
}

/// Decodes the body of one message.
///
/// # Errors
/// 08P01 for an unknown type or a body that does not have its form, 22021 for text that is not
/// UTF-8.
pub fn decode(tag: u8, body: Bytes) -> Result<Frontend> {
    let mut body = Fields(body);
    let message = match tag {
        b'Q' => Frontend::Query(body.string()?),
        b'P' => {
            let (name, text) = (body.string()?, body.string()?);
            let count = body.count(4)?;
            let oids = (0..count).map(|_| body.u32()).collect::<Result<_>>()?;
            Frontend::Parse { name, text, oids }
        }
        b'B' => Frontend::Bind(bind(&mut body)?),
        b'D' => Frontend::Describe { target: body.target()?, name: body.string()? },
        b'E' => Frontend::Execute { portal: body.string()?, max_rows: body.i32()? },
        b'C' => Frontend::Close { target: body.target()?, name: body.string()? },
        b'H' => Frontend::Flush,
        b'S' => Frontend::Sync,
        b'X' => Frontend::Terminate,
        b'F' => return Ok(Frontend::Function),
        b'p' | b'd' | b'c' | b'f' | b'i' => return Ok(Frontend::Stray),
        _ => fail!(ProtocolViolation, "invalid frontend message type {tag}"),
    };
    if !body.0.is_empty() {
        fail!(ProtocolViolation, "invalid message format");
    }
    Ok(message)
}

fn bind(body: &mut Fields) -> Result<Bind> {
    let (portal, statement) = (body.string()?, body.string()?);
    let formats = body.formats()?;
    let count = body.count(4)?;
    let values = (0..count).map(|_| body.value()).collect::<Result<_>>()?;
    Ok(Bind { portal, statement, formats, values, result_formats: body.formats()? })
}

/// A cursor over a message body that never reads past its end.
pub(crate) struct Fields(pub(crate) Bytes);

impl Fields {
    pub(crate) fn take(&mut self, len: usize) -> Result<Bytes> {
        if len > self.0.len() {
            return Err(short());
        }
        Ok(self.0.split_to(len))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        let mut out = [0; N];
        out.copy_from_slice(&bytes);
        Ok(out)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn i16(&mut self) -> Result<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Bytes up to the next NUL, which is consumed.
    pub(crate) fn cstring(&mut self) -> Result<Bytes> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or_else(short)?;
        let text = self.0.split_to(end);
        self.take(1)?;
        Ok(text)
    }

    pub(crate) fn string(&mut self) -> Result<String> {
        utf8(&self.cstring()?)
    }

    /// A count of items that take at least `item_bytes` each: refused before anything is
    /// allocated when the message cannot hold them.
    fn count(&mut self, item_bytes: usize) -> Result<usize> {
        let count = usize::from(u16::from_be_bytes(self.array()?));
        if count * item_bytes > self.0.len() {
            return Err(short());
        }
        Ok(count)
    }

    fn formats(&mut self) -> Result<Vec<i16>> {
        let count = self.count(2)?;
        let formats: Vec<i16> = (0..count).map(|_| self.i16()).collect::<Result<_>>()?;
        match formats.iter().find(|format| !matches!(format, 0 | 1)) {
            Some(format) => fail!(ProtocolViolation, "unsupported format code: {format}"),
            None => Ok(formats),
        }
    }

    fn target(&mut self) -> Result<Target> {
        match self.u8()? {
            b'S' => Ok(Target::Statement),
            b'P' => Ok(Target::Portal),
            other => fail!(ProtocolViolation, "invalid target of a message: {other}"),
        }
    }

    /// A length and that many bytes; −1 is NULL.
    pub(crate) fn value(&mut self) -> Result<Option<Bytes>> {
        match self.i32()? {
            -1 => Ok(None),
            len => Ok(Some(self.take(usize::try_from(len).map_err(|_| short())?)?)),
        }
    }
}

pub(crate) fn utf8(bytes: &[u8]) -> Result<String> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(fault) => {
            let at = fault.valid_up_to();
            let byte = bytes.get(at).copied().unwrap_or_default();
            fail!(
                CharacterNotInRepertoire,
                "invalid byte sequence for encoding \"UTF8\": 0x{byte:02x}"
            )
        }
    }
}

fn short() -> Error {
    error!(ProtocolViolation, "insufficient data left in message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bind_is_read_as_sent() {
        let mut body = b"p\0s\0\x00\x01\x00\x01\x00\x02\x00\x00\x00\x02ab".to_vec();
        body.extend(b"\xff\xff\xff\xff\x00\x01\x00\x00");
        let Ok(Frontend::Bind(bind)) = decode(b'B', body.into()) else { panic!("no bind") };
        assert_eq!((bind.portal.as_str(), bind.statement.as_str()), ("p", "s"));
        assert_eq!(bind.values, vec![Some(Bytes::from_static(b"ab")), None]);
        assert_eq!((bind.formats, bind.result_formats), (vec![1], vec![0]));
    }

    #[test]
    fn faults_are_protocol_violations() {
        for (tag, body) in [(b'Q', &b"no end"[..]), (b'P', b"a\0b\0\xff\xff"), (b'z', b"")] {
            let error = decode(tag, Bytes::from_static(body)).unwrap_err();
            assert_eq!(error.sqlstate().code(), "08P01");
        }
        assert!(decode(b'S', Bytes::from_static(b"x")).is_err());
        assert_eq!(
            decode(b'Q', Bytes::from_static(b"\xff\0")).unwrap_err().sqlstate().code(),
            "22021"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(tag: u8, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(tag, body.clone().into());
            for tag in *b"QPBDECF" {
                let _ = decode(tag, body.clone().into());
            }
        }
    }
}
