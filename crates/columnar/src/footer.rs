//! The footer: what a segment holds and where. Knows no encoding of values.

use std::borrow::Cow;

use base::ids::ColumnId;
use base::segment::Datum;
use base::{Error, Result, SqlType, error};
use bytes::Bytes;

use crate::layout::{Fault, Parsed, Reader, fault, put_len};
use crate::{Encode, Zone};

/// The newest format that this code reads, and the one that it writes.
pub const FORMAT_VERSION: u16 = 1;
/// Which writer made the bytes; raised when the same rows may encode differently.
pub(crate) const WRITER_VERSION: u32 = 1;
/// At the start of the file and at its end.
pub(crate) const MAGIC: [u8; 8] = *b"BLUESEG\n";
/// Version, reserved and magic at the start of the file.
pub(crate) const HEADER_BYTES: usize = 16;
/// Body length, version, reserved, checksum and magic at the end of the file.
pub(crate) const TRAILER_BYTES: usize = 20;
/// The most rows a block may have.
pub(crate) const BLOCK_ROWS_MAX: usize = 1 << 20;

/// What a segment holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Footer {
    /// Rows of the segment.
    pub rows: u64,
    /// Rows of every block but the last of a column; a block may have fewer where its text
    /// would exceed the block's byte limit, so take row numbers from [`BlockIndex::rows`].
    pub block_rows: usize,
    /// In the order in which they were written.
    pub columns: Vec<ColumnIndex>,
    /// The format of the file, at most [`FORMAT_VERSION`].
    pub format_version: u16,
    /// The version of the writer that made it.
    pub writer_version: u32,
    /// CRC-32C of the footer, the one that the catalog keeps.
    pub checksum: u32,
}

/// Where one column's blocks are.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnIndex {
    /// The column's id in its table.
    pub id: ColumnId,
    /// The type that it had when the segment was written.
    pub sql_type: SqlType,
    /// The ENCODE that was asked for.
    pub encode: Encode,
    /// In row order. Block `n` of every column has the same rows.
    pub blocks: Vec<BlockIndex>,
}

/// Where a block is and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockIndex {
    /// From the start of the file, in bytes.
    pub offset: u64,
    /// In bytes.
    pub len: u32,
    /// At least 1.
    pub rows: u32,
    /// CRC-32C of the block's bytes.
    pub checksum: u32,
    /// What is known of its values.
    pub zone: Zone,
}

impl Footer {
    /// Parses the bytes of a file from the footer's offset (or any earlier offset) to its end.
    /// `path` names the segment in errors.
    ///
    /// # Errors
    /// XX001 when the bytes are damaged, 0A000 when a newer version wrote them.
    pub fn parse(bytes: &Bytes, path: &str) -> Result<Footer> {
        let damaged = |Fault(what): Fault| corrupted(path, "footer", &what);
        let mut trailer = Reader::new(bytes.slice(bytes.len().saturating_sub(TRAILER_BYTES)..));
        let body_len = trailer.u32().map_err(damaged)? as usize;
        let version = trailer.u16().map_err(damaged)?;
        let reserved = trailer.u16().map_err(damaged)?;
        let checksum = trailer.u32().map_err(damaged)?;
        let magic = trailer.slice(MAGIC.len()).map_err(damaged)?;
        if magic.as_ref() != MAGIC {
            return Err(damaged(Fault(Cow::Borrowed("it does not end as a segment does"))));
        }
        let end = bytes.len() - TRAILER_BYTES;
        if body_len > end {
            return Err(damaged(Fault(Cow::Borrowed("its trailer is impossible"))));
        }
        let body = bytes.slice(end - body_len..end);
        if crc32c::crc32c(&bytes[end - body_len..end + 8]) != checksum {
            return Err(damaged(Fault(Cow::Borrowed("its checksum does not match"))));
        }
        // The trailer is the same in every version, so that a damaged one is not taken for a
        // newer one.
        if version > FORMAT_VERSION {
            return Err(newer(path, version));
        }
        if version == 0 || reserved != 0 {
            return Err(damaged(Fault(Cow::Borrowed("its trailer is impossible"))));
        }
        parse_body(body, version, checksum).map_err(damaged)
    }

    /// The column with this id; `None` when the segment was written before it was added.
    pub fn column(&self, id: ColumnId) -> Option<&ColumnIndex> {
        self.columns.iter().find(|column| column.id == id)
    }

    /// The number of blocks of every column.
    pub fn blocks(&self) -> usize {
        self.columns.first().map_or(0, |column| column.blocks.len())
    }

    /// The rows of block `block`; 0 when there is no such block.
    pub fn rows_of_block(&self, block: usize) -> usize {
        let first = self.columns.first().and_then(|column| column.blocks.get(block));
        first.map_or(0, |index| index.rows as usize)
    }
}

/// XX001 for a segment; `place` is `footer` or names the block.
pub(crate) fn corrupted(path: &str, place: &str, what: &str) -> Error {
    error!(DataCorrupted, "segment \"{path}\" is damaged: {place}: {what}")
        .detail("The bytes read are not the bytes that were written.")
        .hint("Restore the table from a snapshot or load it again.")
}

fn newer(path: &str, version: u16) -> Error {
    error!(
        FeatureNotSupported,
        "segment \"{path}\" has format version {version}, this server reads up to {FORMAT_VERSION}"
    )
    .hint("Start the version of Blueshift that wrote it, or a newer one.")
}

/// Writes the footer with its trailer and returns its checksum.
pub(crate) fn write(rows: u64, block_rows: usize, columns: &[ColumnIndex]) -> (Vec<u8>, u32) {
    let mut out = Vec::new();
    out.extend_from_slice(&WRITER_VERSION.to_le_bytes());
    out.extend_from_slice(&rows.to_le_bytes());
    put_len(&mut out, block_rows);
    put_len(&mut out, columns.len());
    for column in columns {
        out.extend_from_slice(&column.id.0.to_le_bytes());
        let (tag, modifier) = type_tag(column.sql_type);
        out.push(tag);
        out.extend_from_slice(&modifier.to_le_bytes());
        let encode = Encode::ALL.iter().position(|(_, encode)| *encode == column.encode);
        out.push(encode.unwrap_or(0) as u8);
        put_len(&mut out, column.blocks.len());
        for block in &column.blocks {
            out.extend_from_slice(&block.offset.to_le_bytes());
            out.extend_from_slice(&block.len.to_le_bytes());
            out.extend_from_slice(&block.rows.to_le_bytes());
            out.extend_from_slice(&block.checksum.to_le_bytes());
            put_zone(&block.zone, &mut out);
        }
    }
    let body_len = out.len();
    put_len(&mut out, body_len);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&0_u16.to_le_bytes());
    let checksum = crc32c::crc32c(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&MAGIC);
    (out, checksum)
}

fn parse_body(body: Bytes, format_version: u16, checksum: u32) -> Parsed<Footer> {
    let mut reader = Reader::new(body);
    let writer_version = reader.u32()?;
    let rows = reader.u64()?;
    let block_rows = reader.u32()? as usize;
    let count = reader.u32()? as usize;
    let mut columns = Vec::with_capacity(count.min(reader.remaining() / 14));
    for _ in 0..count {
        columns.push(parse_column(&mut reader)?);
    }
    reader.end()?;
    if block_rows == 0 || block_rows > BLOCK_ROWS_MAX {
        return fault("its block size is impossible");
    }
    let rows_of = |column: &ColumnIndex| column.blocks.iter().map(|b| u64::from(b.rows)).sum();
    let same = |column: &ColumnIndex| {
        let sum: u64 = rows_of(column);
        let first = &columns[0].blocks;
        sum == rows
            && column.blocks.len() == first.len()
            && column.blocks.iter().zip(first).all(|(a, b)| a.rows == b.rows)
            && column.blocks.iter().all(|b| b.rows > 0 && b.rows as usize <= block_rows)
    };
    if !columns.iter().all(same) {
        return fault("its columns differ in rows");
    }
    Ok(Footer { rows, block_rows, columns, format_version, writer_version, checksum })
}

fn parse_column(reader: &mut Reader) -> Parsed<ColumnIndex> {
    let id = ColumnId(reader.u32()?);
    let tag = reader.u8()?;
    let Some(sql_type) = type_of_tag(tag, reader.u32()?) else {
        return fault("a column has an unknown type");
    };
    let Some((_, encode)) = Encode::ALL.get(usize::from(reader.u8()?)) else {
        return fault("a column has an unknown ENCODE");
    };
    let count = reader.u32()? as usize;
    let mut blocks = Vec::with_capacity(count.min(reader.remaining() / 29));
    for _ in 0..count {
        blocks.push(BlockIndex {
            offset: reader.u64()?,
            len: reader.u32()?,
            rows: reader.u32()?,
            checksum: reader.u32()?,
            zone: parse_zone(reader)?,
        });
    }
    Ok(ColumnIndex { id, sql_type, encode: *encode, blocks })
}

const ZONE_MIN: u8 = 1;
const ZONE_MAX: u8 = 2;
const ZONE_MIN_TRUNCATED: u8 = 4;
const ZONE_MAX_TRUNCATED: u8 = 8;
const ZONE_SUM: u8 = 16;

fn put_zone(zone: &Zone, out: &mut Vec<u8>) {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.push(
        flag(zone.min.is_some(), ZONE_MIN)
            | flag(zone.max.is_some(), ZONE_MAX)
            | flag(zone.min_truncated, ZONE_MIN_TRUNCATED)
            | flag(zone.max_truncated, ZONE_MAX_TRUNCATED)
            | flag(zone.sum.is_some(), ZONE_SUM),
    );
    out.extend_from_slice(&zone.nulls.to_le_bytes());
    out.extend_from_slice(&zone.distinct.to_le_bytes());
    for bound in [&zone.min, &zone.max].into_iter().flatten() {
        put_datum(bound, out);
    }
    if let Some(sum) = zone.sum {
        put_int(sum, out);
    }
}

fn parse_zone(reader: &mut Reader) -> Parsed<Zone> {
    let flags = reader.u8()?;
    let mut zone = Zone {
        nulls: reader.u32()?,
        distinct: reader.u32()?,
        min_truncated: flags & ZONE_MIN_TRUNCATED != 0,
        max_truncated: flags & ZONE_MAX_TRUNCATED != 0,
        ..Zone::default()
    };
    if flags & ZONE_MIN != 0 {
        zone.min = Some(parse_datum(reader)?);
    }
    if flags & ZONE_MAX != 0 {
        zone.max = Some(parse_datum(reader)?);
    }
    if flags & ZONE_SUM != 0 {
        let Datum::Int(sum) = parse_datum(reader)? else { return fault("a sum is no integer") };
        zone.sum = Some(sum);
    }
    Ok(zone)
}

const DATUM_INT: u8 = 1;
const DATUM_WIDE: u8 = 2;
const DATUM_FLOAT: u8 = 3;
const DATUM_TEXT: u8 = 4;
const DATUM_BYTES: u8 = 5;

fn put_int(value: i128, out: &mut Vec<u8>) {
    match i64::try_from(value) {
        Ok(value) => {
            out.push(DATUM_INT);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Err(_) => {
            out.push(DATUM_WIDE);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

fn put_datum(datum: &Datum, out: &mut Vec<u8>) {
    match datum {
        Datum::Int(value) => put_int(*value, out),
        Datum::Float(value) => {
            out.push(DATUM_FLOAT);
            out.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        Datum::Text(text) => {
            out.push(DATUM_TEXT);
            put_len(out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        Datum::Bytes(bytes) => {
            out.push(DATUM_BYTES);
            put_len(out, bytes.len());
            out.extend_from_slice(bytes);
        }
    }
}

fn parse_datum(reader: &mut Reader) -> Parsed<Datum> {
    Ok(match reader.u8()? {
        DATUM_INT => Datum::Int(i128::from(reader.i64()?)),
        DATUM_WIDE => Datum::Int(reader.i128()?),
        DATUM_FLOAT => Datum::Float(f64::from_bits(reader.u64()?)),
        DATUM_TEXT => {
            let len = reader.u32()? as usize;
            match String::from_utf8(reader.slice(len)?.to_vec()) {
                Ok(text) => Datum::Text(text),
                Err(_) => return fault("a bound is not UTF-8"),
            }
        }
        DATUM_BYTES => {
            let len = reader.u32()? as usize;
            Datum::Bytes(reader.slice(len)?.to_vec())
        }
        _ => return fault("a bound is of unknown kind"),
    })
}

/// The type's tag in the file and its modifier: a length, or precision × 256 + scale.
pub(crate) fn type_tag(sql_type: SqlType) -> (u8, u32) {
    match sql_type {
        SqlType::Boolean => (1, 0),
        SqlType::SmallInt => (2, 0),
        SqlType::Integer => (3, 0),
        SqlType::BigInt => (4, 0),
        SqlType::Real => (5, 0),
        SqlType::Double => (6, 0),
        SqlType::Decimal { precision, scale } => (7, u32::from(precision) << 8 | u32::from(scale)),
        SqlType::Char(len) => (8, len),
        SqlType::Varchar(len) => (9, len),
        SqlType::Date => (10, 0),
        SqlType::Time => (11, 0),
        SqlType::TimeTz => (12, 0),
        SqlType::Timestamp => (13, 0),
        SqlType::TimestampTz => (14, 0),
        SqlType::Varbyte(len) => (15, len),
        // The writer refuses every other type before it gets here.
        _ => (0, 0),
    }
}

fn type_of_tag(tag: u8, modifier: u32) -> Option<SqlType> {
    let plain = |sql_type| (modifier == 0).then_some(sql_type);
    match tag {
        1 => plain(SqlType::Boolean),
        2 => plain(SqlType::SmallInt),
        3 => plain(SqlType::Integer),
        4 => plain(SqlType::BigInt),
        5 => plain(SqlType::Real),
        6 => plain(SqlType::Double),
        7 => {
            let precision = u8::try_from(modifier >> 8).ok()?;
            SqlType::Decimal { precision, scale: (modifier & 0xFF) as u8 }.checked().ok()
        }
        8 => SqlType::Char(modifier).checked().ok(),
        9 => SqlType::Varchar(modifier).checked().ok(),
        10 => plain(SqlType::Date),
        11 => plain(SqlType::Time),
        12 => plain(SqlType::TimeTz),
        13 => plain(SqlType::Timestamp),
        14 => plain(SqlType::TimestampTz),
        15 => SqlType::Varbyte(modifier).checked().ok(),
        _ => None,
    }
}
