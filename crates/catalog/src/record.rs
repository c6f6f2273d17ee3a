//! The bytes of log records and checkpoints: header, checksums, compression.
//!
//! Owns the format (`docs/internals/commit-log.md` says it byte by byte) and the refusal of
//! damaged or newer objects. Knows nothing of when records are written.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};

use base::ids::{Epoch, LogPosition, TxnId};
use base::{Error, Result, SqlState, error, fail};
use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::op::Op;
use crate::state::{Item, Restore, State};

/// The format version that this binary writes, and the newest that it reads.
pub(crate) const VERSION: u16 = 1;
/// The size of a header.
pub(crate) const HEADER_BYTES: usize = 56;
const RECORD_MAGIC: [u8; 4] = *b"BSLG";
const CHECKPOINT_MAGIC: [u8; 4] = *b"BSCK";
/// The greatest record, before compression.
const PAYLOAD_BYTES_MAX: u64 = 1 << 30;
/// zstd's fastest level that still halves JSON: a commit waits for it.
const RECORD_LEVEL: i32 = 1;
const CHECKPOINT_LEVEL: i32 = 3;

/// A transaction inside a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Committed {
    /// Unique in the record's epoch.
    pub(crate) id: TxnId,
    /// When it was staged, in microseconds since the Unix epoch.
    pub(crate) at_us: i64,
    pub(crate) ops: Vec<Op>,
}

/// What a header says of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) epoch: Epoch,
    pub(crate) position: LogPosition,
    /// With the epoch, what makes a record one leader's own.
    pub(crate) nonce: u64,
    /// In a record, the checksum of the record before it; in a checkpoint, the checksum of the
    /// record at its position.
    pub(crate) previous: u32,
}

/// A record as read.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) header: Header,
    /// The checksum that the next record names.
    pub(crate) checksum: u32,
    pub(crate) transactions: Vec<Committed>,
    pub(crate) bytes: u64,
}

impl Record {
    /// When it was staged, in microseconds since the Unix epoch.
    pub(crate) fn time_us(&self) -> i64 {
        self.transactions.iter().map(|transaction| transaction.at_us).max().unwrap_or_default()
    }
}

/// `catalog/log/%020d`
pub(crate) fn log_path(position: LogPosition) -> Path {
    Path::from(format!("catalog/log/{:020}", position.0))
}

/// `catalog/ckpt/%020d`
pub(crate) fn checkpoint_path(position: LogPosition) -> Path {
    Path::from(format!("catalog/ckpt/{:020}", position.0))
}

/// A record's bytes and its checksum.
///
/// # Errors
/// 54000 when it is too large.
pub(crate) fn encode(header: Header, transactions: &[Committed]) -> Result<(Bytes, u32)> {
    let json = serde_json::to_vec(transactions)
        .map_err(|error| Error::internal(format!("could not encode a log record: {error}")))?;
    let raw_bytes = json.len() as u64;
    if raw_bytes > PAYLOAD_BYTES_MAX {
        return Err(error!(ProgramLimitExceeded, "the transaction is too large to be committed")
            .detail(format!("Its log record has {raw_bytes} bytes.")));
    }
    let payload = compress(&json).map_err(|error| Error::io("compress a log record", error))?;
    Ok(seal(RECORD_MAGIC, header, raw_bytes, &payload))
}

/// Reads a record back.
///
/// # Errors
/// XX001 naming the object when it is damaged or not the one at `position`; 0A000 when a newer
/// version wrote it.
pub(crate) fn decode(path: &Path, position: LogPosition, bytes: &Bytes) -> Result<Record> {
    let opened = open(RECORD_MAGIC, "log record", path, position, bytes)?;
    if opened.raw_bytes > PAYLOAD_BYTES_MAX {
        return Err(damaged("log record", path, "its length is out of bounds"));
    }
    let capacity = usize::try_from(opened.raw_bytes).unwrap_or(usize::MAX);
    let json = decompress(opened.payload, capacity)
        .map_err(|error| damaged("log record", path, &error.to_string()))?;
    let transactions = serde_json::from_slice(&json)
        .map_err(|error| damaged("log record", path, &error.to_string()))?;
    Ok(Record {
        header: opened.header,
        checksum: opened.checksum,
        transactions,
        bytes: bytes.len() as u64,
    })
}

/// A checkpoint's bytes. `checksum` is that of the record at the state's position.
pub(crate) fn encode_checkpoint(state: &State, nonce: u64, checksum: u32) -> Result<Bytes> {
    let wrong = |error: std::io::Error| Error::io("encode a checkpoint", error);
    let mut out = zstd::stream::Encoder::new(Vec::new(), CHECKPOINT_LEVEL).map_err(wrong)?;
    let mut items = 0;
    let mut raw_bytes = 0;
    let mut line = Vec::new();
    let mut write = |item: &Item| -> Result<()> {
        line.clear();
        serde_json::to_writer(&mut line, item)
            .map_err(|error| Error::internal(format!("could not encode a checkpoint: {error}")))?;
        line.push(b'\n');
        raw_bytes += line.len() as u64;
        out.write_all(&line).map_err(wrong)
    };
    for item in state.items() {
        write(&item)?;
        items += 1;
    }
    write(&Item::End { items })?;
    let payload = out.finish().map_err(wrong)?;
    let header =
        Header { epoch: state.epoch(), position: state.position(), nonce, previous: checksum };
    Ok(seal(CHECKPOINT_MAGIC, header, raw_bytes, &payload).0)
}

/// The state in a checkpoint, and the checksum of the record at its position.
///
/// # Errors
/// As [`decode`].
pub(crate) fn decode_checkpoint(
    path: &Path,
    position: LogPosition,
    bytes: &Bytes,
) -> Result<(State, u32)> {
    let opened = open(CHECKPOINT_MAGIC, "checkpoint", path, position, bytes)?;
    let wrong = |why: &dyn std::fmt::Display| damaged("checkpoint", path, &why.to_string());
    let input = zstd::stream::Decoder::new(opened.payload).map_err(|error| wrong(&error))?;
    let mut input = BufReader::new(input.take(opened.raw_bytes));
    let mut restore = Restore::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line).map_err(|error| wrong(&error))? == 0 {
            break;
        }
        let item: Item = serde_json::from_slice(&line).map_err(|error| wrong(&error))?;
        restore.take(item).map_err(|error| wrong(&error))?;
    }
    let state = restore.finish().map_err(|error| wrong(&error))?;
    if state.position() != position || state.epoch() != opened.header.epoch {
        return Err(wrong(&"its content is of another position"));
    }
    Ok((state, opened.header.previous))
}

thread_local! {
    /// Made once for each thread: making one takes longer than compressing a small record.
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> =
        const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
        const { RefCell::new(None) };
}

fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let mut compressor = match kept.take() {
            Some(compressor) => compressor,
            None => zstd::bulk::Compressor::new(RECORD_LEVEL)?,
        };
        let payload = compressor.compress(bytes)?;
        *kept = Some(compressor);
        Ok(payload)
    })
}

fn decompress(bytes: &[u8], capacity: usize) -> std::io::Result<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let mut decompressor = match kept.take() {
            Some(decompressor) => decompressor,
            None => zstd::bulk::Decompressor::new()?,
        };
        let payload = decompressor.decompress(bytes, capacity)?;
        *kept = Some(decompressor);
        Ok(payload)
    })
}

fn seal(magic: [u8; 4], header: Header, raw_bytes: u64, payload: &[u8]) -> (Bytes, u32) {
    let mut out = Vec::with_capacity(HEADER_BYTES + payload.len());
    out.extend(magic);
    out.extend(VERSION.to_le_bytes());
    out.extend(0_u16.to_le_bytes());
    out.extend(header.epoch.0.to_le_bytes());
    out.extend(header.previous.to_le_bytes());
    out.extend(header.position.0.to_le_bytes());
    out.extend(header.nonce.to_le_bytes());
    out.extend(raw_bytes.to_le_bytes());
    out.extend((payload.len() as u64).to_le_bytes());
    out.extend(crc32c::crc32c(payload).to_le_bytes());
    let checksum = crc32c::crc32c(&out);
    out.extend(checksum.to_le_bytes());
    out.extend(payload);
    (out.into(), checksum)
}

struct Opened<'a> {
    header: Header,
    raw_bytes: u64,
    payload: &'a [u8],
    checksum: u32,
}

fn open<'a>(
    magic: [u8; 4],
    kind: &str,
    path: &Path,
    position: LogPosition,
    bytes: &'a Bytes,
) -> Result<Opened<'a>> {
    let wrong = |why: &str| damaged(kind, path, why);
    if bytes.len() < 6 || bytes[..4] != magic {
        return Err(wrong("it does not begin as one"));
    }
    let version = u16::from_le_bytes([bytes[4], bytes[5]]);
    if version > VERSION {
        return Err(error!(
            FeatureNotSupported,
            "{kind} {path} has format version {version}, this binary reads up to {VERSION}"
        )
        .hint("A newer Blueshift wrote it; start that version or a newer one."));
    }
    if bytes.len() < HEADER_BYTES {
        return Err(wrong("its header is cut off"));
    }
    let (head, payload) = bytes.split_at(HEADER_BYTES);
    let checksum = u32_at(head, 52);
    if crc32c::crc32c(&head[..52]) != checksum {
        return Err(wrong("the checksum of its header does not match"));
    }
    if u64_at(head, 40) != payload.len() as u64 {
        return Err(wrong("its payload is cut off"));
    }
    if crc32c::crc32c(payload) != u32_at(head, 48) {
        return Err(wrong("the checksum of its payload does not match"));
    }
    let header = Header {
        epoch: Epoch(u32_at(head, 8)),
        previous: u32_at(head, 12),
        position: LogPosition(u64_at(head, 16)),
        nonce: u64_at(head, 24),
    };
    if header.position != position {
        return Err(wrong(&format!("it is the one of position {}", header.position)));
    }
    Ok(Opened { header, raw_bytes: u64_at(head, 32), payload, checksum })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

pub(crate) fn damaged(kind: &str, path: &Path, why: &str) -> Error {
    error!(DataCorrupted, "{kind} {path} is damaged").detail(format!("What was read: {why}."))
}

/// Applies a record, which must be the next after `state`.
///
/// # Errors
/// XX001 when it does not follow or does not fit: the log is damaged then.
pub(crate) fn replay(state: &mut State, previous: u32, record: &Record) -> Result<()> {
    let path = log_path(record.header.position);
    if record.header.previous != previous {
        return Err(damaged("log record", &path, "it does not follow the record before it"));
    }
    state.advance(record.header.position);
    state.set_time(record.time_us());
    for transaction in &record.transactions {
        for op in &transaction.ops {
            state.apply(op).map_err(|error| {
                damaged("log record", &path, &format!("transaction {}: {error}", transaction.id))
            })?;
        }
    }
    if state.epoch() != record.header.epoch {
        fail!(DataCorrupted, "log record {path} is of epoch {}", record.header.epoch);
    }
    Ok(())
}

/// An error of the store while doing `what`.
pub(crate) fn store_error(what: &str, error: object_store::Error) -> Error {
    use object_store::Error as Store;
    let state = match &error {
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => {
            SqlState::InsufficientPrivilege
        }
        _ if is_disk_full(&error) => SqlState::DiskFull,
        _ => SqlState::IoError,
    };
    Error::new(state, format!("could not {what}")).detail(format!("{error}.")).with_source(error)
}

/// True when the operating system said that the disk is full: only a local store says so, and
/// before the object has its name.
fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    // A chain of causes is short; the bound is against one that loops.
    for _ in 0..16 {
        let Some(error) = cause else { return false };
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{QuotaExceeded, StorageFull};
            return matches!(io.kind(), StorageFull | QuotaExceeded);
        }
        cause = error.source();
    }
    false
}
