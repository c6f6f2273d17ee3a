//! One block of one column: opening, decoding to Arrow, filtering on encoded data.
//!
//! Owns validity and the choice of body by SQL type; the bodies decode themselves.

mod decode;
mod vectors;

use std::ops::Range;

use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBuffer, Buffer};
use base::{Result, SqlType, error};
use bytes::Bytes;

use crate::float::FloatBody;
use crate::footer::{BLOCK_ROWS_MAX, ColumnIndex, corrupted};
use crate::integer::IntStream;
use crate::layout::{Fault, Parsed, Reader, fault};
use crate::text::TextBody;
use crate::wide::WideBody;
use crate::{Predicate, Selection, Zone};
use decode::Wanted;
pub use vectors::{Codes, Integers};

/// Bits of a block's first byte.
pub(crate) mod flag {
    /// A validity bitmap precedes the body: bit set where the row is not NULL.
    pub(crate) const VALIDITY: u8 = 1;
    /// Every row is NULL; there is no body.
    pub(crate) const ALL_NULL: u8 = 2;
    /// All that follows is a 32-bit length and a ZSTD frame that unpacks to it.
    pub(crate) const ZSTD: u8 = 4;
}

/// Tags of BOOLEAN bodies in the file.
pub(crate) mod boolean_tag {
    pub(crate) const CONSTANT: u8 = 1;
    pub(crate) const BITMAP: u8 = 2;
}

/// A body that ZSTD unpacks may be this long at most.
pub(crate) const UNPACKED_BYTES_MAX: usize = 1 << 31;

/// One block of one column, opened and checked, nothing decoded.
pub struct Block {
    path: String,
    place: String,
    sql_type: SqlType,
    rows: usize,
    zone: Zone,
    zstd: bool,
    /// Set bits are rows that are not NULL; `None` when no row is, or every row is NULL.
    validity: Option<BooleanBuffer>,
    body: Body,
}

/// What follows the validity.
pub(crate) enum Body {
    AllNull,
    BooleanConstant(bool),
    Boolean(BooleanBuffer),
    Integer(IntStream),
    Float(FloatBody),
    Wide(WideBody),
    Text(TextBody),
}

impl Block {
    /// Opens block `block_no` of `column` from its bytes, `BlockIndex::len` of them from
    /// `BlockIndex::offset`: verifies the checksum and parses the headers. `path` names the
    /// segment in errors. A block under ZSTD is unpacked here; nothing else is decoded.
    ///
    /// # Errors
    /// XX001 when the bytes are damaged or do not fit the index.
    pub fn open(bytes: Bytes, column: &ColumnIndex, block_no: usize, path: &str) -> Result<Block> {
        let place = format!("block {block_no} of column {}", column.id);
        let Some(index) = column.blocks.get(block_no) else {
            return Err(corrupted(path, &place, "the footer names no such block"));
        };
        if bytes.len() != index.len as usize {
            let what = format!("{} bytes instead of {}", bytes.len(), index.len);
            return Err(corrupted(path, &place, &what));
        }
        if crc32c::crc32c(&bytes) != index.checksum {
            return Err(corrupted(path, &place, "its checksum does not match"));
        }
        let rows = index.rows as usize;
        let (zstd, validity, body) = parse(bytes, column.sql_type, rows)
            .map_err(|Fault(what)| corrupted(path, &place, &what))?;
        Ok(Block {
            path: path.to_owned(),
            place,
            sql_type: column.sql_type,
            rows,
            zone: index.zone.clone(),
            zstd,
            validity,
            body,
        })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The type of its values.
    pub fn sql_type(&self) -> SqlType {
        self.sql_type
    }

    /// What is known of its values without decoding them.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Every row, as an array of `SqlType::arrow()`.
    ///
    /// # Errors
    /// XX001 when the encoded values contradict each other.
    pub fn decode(&self) -> Result<ArrayRef> {
        self.decode_range(0..self.rows)
    }

    /// The rows of `rows`, counted from the block's first row; touches only the vectors of
    /// 1,024 rows that it needs.
    ///
    /// # Errors
    /// XX001 when the encoded values contradict each other, XX000 when `rows` exceeds the block.
    pub fn decode_range(&self, rows: Range<usize>) -> Result<ArrayRef> {
        if rows.start > rows.end || rows.end > self.rows {
            return Err(error!(InternalError, "rows {rows:?} exceed a block of {}", self.rows));
        }
        self.decode_wanted(&Wanted::Range(rows))
    }

    /// The selected rows, in order; vectors without a selected row are not touched.
    ///
    /// # Errors
    /// XX001 when the encoded values contradict each other, XX000 when `selection` is of another
    /// number of rows.
    pub fn decode_selected(&self, selection: &Selection) -> Result<ArrayRef> {
        self.check_selection(selection)?;
        if selection.is_full() {
            return self.decode();
        }
        self.decode_wanted(&Wanted::Selected(selection))
    }

    /// Unselects the rows for which `predicate` is not true, working on encoded values.
    ///
    /// # Errors
    /// XX001 when the encoded values contradict each other, XX000 when `selection` is of another
    /// number of rows or a constant does not fit the column's type.
    pub fn filter(&self, predicate: &Predicate, selection: &mut Selection) -> Result<()> {
        self.check_selection(selection)?;
        let all_null = matches!(self.body, Body::AllNull);
        match (predicate, &self.validity) {
            (Predicate::IsNull, Some(validity)) => selection.and_not_bits(validity),
            (Predicate::IsNull, None) if !all_null => selection.clear(),
            (Predicate::IsNotNull, Some(validity)) => selection.and_bits(validity),
            (Predicate::IsNull | Predicate::IsNotNull, _) => {
                if all_null && *predicate == Predicate::IsNotNull {
                    selection.clear();
                }
            }
            _ if all_null || !predicate.can_match(&self.zone, self.rows as u32) => {
                selection.clear();
            }
            (_, validity) => {
                if let Some(validity) = validity {
                    selection.and_bits(validity);
                }
                if !predicate.matches_all(&self.zone) && !selection.is_empty() {
                    self.filter_values(predicate, selection)?;
                }
            }
        }
        Ok(())
    }

    fn filter_values(&self, predicate: &Predicate, selection: &mut Selection) -> Result<()> {
        let done = match &self.body {
            Body::AllNull => {
                selection.clear();
                Ok(())
            }
            Body::BooleanConstant(value) => {
                if !predicate.integer_test()?.passes(i128::from(*value)) {
                    selection.clear();
                }
                Ok(())
            }
            Body::Boolean(bits) => {
                let test = predicate.integer_test()?;
                match (test.passes(0), test.passes(1)) {
                    (false, false) => selection.clear(),
                    (false, true) => selection.and_bits(bits),
                    (true, false) => selection.and_not_bits(bits),
                    (true, true) => {}
                }
                Ok(())
            }
            Body::Integer(stream) => stream.filter(&predicate.integer_test()?.narrow(0), selection),
            Body::Float(body) => {
                let real = self.sql_type == SqlType::Real;
                body.filter(real, predicate.float_test()?.narrow(0), selection)
            }
            Body::Wide(body) => body.filter(&predicate.integer_test()?, selection),
            Body::Text(body) => body.filter(&predicate.text_test()?, selection),
        };
        done.map_err(|fault| self.corrupted(fault))
    }

    /// The encoding in words, for a person.
    pub(crate) fn describe(&self) -> String {
        let body = match &self.body {
            Body::AllNull => "all NULL".to_owned(),
            Body::BooleanConstant(value) => format!("constant {value}"),
            Body::Boolean(_) => "bitmap".to_owned(),
            Body::Integer(stream) => stream.describe(),
            Body::Float(body) => body.describe(),
            Body::Wide(body) => body.describe(),
            Body::Text(body) => body.describe(),
        };
        let validity = if self.validity.is_some() { " + validity" } else { "" };
        let zstd = if self.zstd { " under zstd" } else { "" };
        format!("{body}{validity}{zstd}")
    }

    fn check_selection(&self, selection: &Selection) -> Result<()> {
        match selection.len() == self.rows {
            true => Ok(()),
            false => Err(error!(
                InternalError,
                "a selection of {} rows meets a block of {}",
                selection.len(),
                self.rows
            )),
        }
    }

    fn corrupted(&self, Fault(what): Fault) -> base::Error {
        corrupted(&self.path, &self.place, &what)
    }
}

type Contents = (bool, Option<BooleanBuffer>, Body);

fn parse(bytes: Bytes, sql_type: SqlType, rows: usize) -> Parsed<Contents> {
    if rows == 0 || rows > BLOCK_ROWS_MAX {
        return fault("its number of rows is impossible");
    }
    let mut reader = Reader::new(bytes);
    let flags = reader.u8()?;
    if flags & !(flag::VALIDITY | flag::ALL_NULL | flag::ZSTD) != 0 {
        return fault("it has unknown flags");
    }
    let zstd = flags & flag::ZSTD != 0;
    if zstd {
        reader = Reader::new(unpack(&mut reader)?);
    }
    if flags & flag::ALL_NULL != 0 {
        reader.end()?;
        return Ok((zstd, None, Body::AllNull));
    }
    let validity = match flags & flag::VALIDITY {
        0 => None,
        _ => Some(bitmap(reader.slice(rows.div_ceil(8))?, rows)),
    };
    let (body, found) = parse_body(&mut reader, sql_type, rows)?;
    reader.end()?;
    if found != rows {
        return fault("its values differ from its rows in number");
    }
    Ok((zstd, validity, body))
}

fn parse_body(reader: &mut Reader, sql_type: SqlType, rows: usize) -> Parsed<(Body, usize)> {
    Ok(match sql_type {
        SqlType::Boolean => match reader.u8()? {
            boolean_tag::CONSTANT => (Body::BooleanConstant(reader.u8()? != 0), rows),
            boolean_tag::BITMAP => {
                (Body::Boolean(bitmap(reader.slice(rows.div_ceil(8))?, rows)), rows)
            }
            _ => return fault("booleans have an unknown encoding"),
        },
        SqlType::Real | SqlType::Double => {
            let body = FloatBody::parse(reader)?;
            let found = body.stream().rows;
            (Body::Float(body), found)
        }
        SqlType::Decimal { .. } => {
            let body = WideBody::parse(reader, rows)?;
            let found = body.rows();
            (Body::Wide(body), found)
        }
        SqlType::Char(_) | SqlType::Varchar(_) | SqlType::Varbyte(_) => {
            let body = TextBody::parse(reader)?;
            let found = body.rows;
            (Body::Text(body), found)
        }
        _ => {
            let stream = IntStream::parse(reader)?;
            let found = stream.rows;
            (Body::Integer(stream), found)
        }
    })
}

fn bitmap(bytes: Bytes, rows: usize) -> BooleanBuffer {
    BooleanBuffer::new(Buffer::from(bytes), 0, rows)
}

fn unpack(reader: &mut Reader) -> Parsed<Bytes> {
    let len = reader.u32()? as usize;
    let frame = reader.slice(reader.remaining())?;
    if len > UNPACKED_BYTES_MAX {
        return fault("its unpacked size is impossible");
    }
    // The frame knows its size too: believe neither before they agree.
    match zstd::zstd_safe::get_frame_content_size(&frame) {
        Ok(Some(size)) if size == len as u64 => {}
        _ => return fault("its ZSTD frame has another size"),
    }
    match zstd::bulk::decompress(&frame, len) {
        Ok(bytes) if bytes.len() == len => Ok(Bytes::from(bytes)),
        _ => fault("its ZSTD frame is damaged"),
    }
}
