//! Bytes on their way to a parser: from an asynchronous fetch to a blocking `Read`, and
//! through decompression.
//!
//! Must not know where bytes come from or what they mean.

use std::io::Read;

use base::{Error, Result, error};
use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// GZIP, BZIP2, ZSTD or none. Declared by the statement, never guessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Compression {
    #[default]
    None,
    Gzip,
    Bzip2,
    Zstd,
}

/// What the fetching side sends. The end is said explicitly: a fetch that was dropped must not
/// look like the end of the file.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    Failed(Error),
    End,
}

/// The reading end of a channel of bytes.
pub(crate) struct ChannelReader {
    receiver: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

impl ChannelReader {
    pub(crate) fn new(receiver: mpsc::Receiver<Piece>) -> Self {
        Self { receiver, current: Bytes::new(), ended: false }
    }
}

impl Read for ChannelReader {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.current = bytes,
                Some(Piece::Failed(error)) => return Err(std::io::Error::other(error)),
                Some(Piece::End) => self.ended = true,
                None => {
                    let error = error!(QueryCanceled, "reading the input was abandoned");
                    return Err(std::io::Error::other(error));
                }
            }
        }
        let len = out.len().min(self.current.len());
        self.current.copy_to_slice(&mut out[..len]);
        Ok(len)
    }
}

/// Bytes of an input before a decompressor reads more of it.
const DECOMPRESS_BUFFER_BYTES: usize = 256 << 10;

/// `input` without its compression. `file` names it in errors.
///
/// # Errors
/// When the decompressor cannot be made.
pub(crate) fn decompressed(
    compression: Compression,
    input: impl Read + Send + 'static,
    file: &str,
) -> Result<Box<dyn Read + Send>> {
    let buffered = std::io::BufReader::with_capacity(DECOMPRESS_BUFFER_BYTES, input);
    let inner: Box<dyn Read + Send> = match compression {
        Compression::None => return Ok(Box::new(Sniffed { inner: buffered, file: file.into() })),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(buffered)),
        Compression::Zstd => Box::new(
            zstd::stream::read::Decoder::with_buffer(buffered)
                .map_err(|error| Error::io(format!("decompress {file}"), error))?,
        ),
    };
    Ok(Box::new(Named { inner, compression, file: file.into() }))
}

/// Names the file in the errors of a decompressor.
struct Named {
    inner: Box<dyn Read + Send>,
    compression: Compression,
    file: Box<str>,
}

impl Read for Named {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.inner.read(out).map_err(|failed| {
            if failed.get_ref().is_some_and(|inner| inner.is::<Error>()) {
                return failed;
            }
            let name = match self.compression {
                Compression::Gzip => "GZIP",
                Compression::Bzip2 => "BZIP2",
                Compression::Zstd => "ZSTD",
                Compression::None => "uncompressed",
            };
            let error = error!(BadCopyFileFormat, "file {} is not valid {name} data", self.file)
                .detail(format!("The decompressor reports: {failed}."));
            std::io::Error::other(error)
        })
    }
}

/// Refuses a file that is plainly compressed, or Parquet, where text is expected: its rows
/// would all be bad, for a reason that their error texts do not give.
struct Sniffed<R> {
    inner: std::io::BufReader<R>,
    file: Box<str>,
}

impl<R: Read> Read for Sniffed<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(out)?;
        if !self.file.is_empty() {
            let file = std::mem::take(&mut self.file);
            if let Some(option) = magic(&out[..read]) {
                let error = error!(
                    BadCopyFileFormat,
                    "file {file} is {option} data, but COPY does not say {option}"
                )
                .hint(format!("Add {option} to the COPY statement."));
                return Err(std::io::Error::other(error));
            }
        }
        Ok(read)
    }
}

fn magic(head: &[u8]) -> Option<&'static str> {
    match head {
        [0x1f, 0x8b, 8, ..] => Some("GZIP"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("ZSTD"),
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..] => Some("BZIP2"),
        [b'P', b'A', b'R', b'1', 0..=31, ..] => Some("PARQUET"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    const TEXT: &[u8] = b"1|one\n2|two\n";

    fn compress(compression: Compression, data: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None => data.to_vec(),
            Compression::Gzip => {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                out.write_all(data).unwrap();
                out.finish().unwrap()
            }
            Compression::Bzip2 => {
                let mut out = bzip2::write::BzEncoder::new(Vec::new(), Default::default());
                out.write_all(data).unwrap();
                out.finish().unwrap()
            }
            Compression::Zstd => zstd::encode_all(data, 3).unwrap(),
        }
    }

    fn read(compression: Compression, data: Vec<u8>) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompressed(compression, Cursor::new(data), "f").unwrap().read_to_end(&mut out)?;
        Ok(out)
    }

    const KINDS: [Compression; 3] = [Compression::Gzip, Compression::Bzip2, Compression::Zstd];

    #[test]
    fn several_members_are_one_stream() {
        for kind in KINDS {
            let mut data = compress(kind, TEXT);
            data.extend(compress(kind, TEXT));
            assert_eq!(read(kind, data).unwrap(), TEXT.repeat(2), "{kind:?}");
        }
        assert_eq!(read(Compression::None, TEXT.to_vec()).unwrap(), TEXT);
    }

    #[test]
    fn damage_is_an_error_that_names_the_file() {
        for kind in KINDS {
            for data in [TEXT.to_vec(), compress(kind, TEXT)[..20].to_vec()] {
                let failed = read(kind, data).unwrap_err();
                let inner = failed.get_ref().unwrap().downcast_ref::<Error>().unwrap();
                assert_eq!(inner.sqlstate(), base::SqlState::BadCopyFileFormat);
                assert!(inner.message().contains("file f is not valid"), "{inner}");
            }
        }
    }

    #[test]
    fn undeclared_compression_is_named() {
        for kind in KINDS {
            let failed = read(Compression::None, compress(kind, TEXT)).unwrap_err();
            assert!(failed.to_string().contains("but COPY does not say"), "{failed}");
        }
    }

    #[test]
    fn an_abandoned_fetch_is_not_the_end() {
        let (sender, receiver) = mpsc::channel(2);
        sender.try_send(Piece::Bytes(Bytes::from_static(b"abc"))).unwrap();
        drop(sender);
        let mut out = Vec::new();
        assert!(ChannelReader::new(receiver).read_to_end(&mut out).is_err());
        let (sender, receiver) = mpsc::channel(2);
        sender.try_send(Piece::Bytes(Bytes::from_static(b"abc"))).unwrap();
        sender.try_send(Piece::End).unwrap();
        let mut out = Vec::new();
        ChannelReader::new(receiver).read_to_end(&mut out).unwrap();
        assert_eq!(out, b"abc");
    }
}
