//! A description of a segment for a person: what `blueshift admin segment FILE` prints.

use std::fmt::Write as _;

use base::Result;
use base::segment::Datum;
use bytes::Bytes;

use crate::footer::corrupted;
use crate::{Block, ColumnIndex, Footer, Zone};

/// Describes a whole segment file: header, columns, and per block its encoding, size and zone.
/// Every block is opened, so every checksum is verified; a damaged block is described as such.
///
/// # Errors
/// XX001 or 0A000 when the footer cannot be read: see [`Footer::parse`].
pub fn describe(file: &Bytes, path: &str) -> Result<String> {
    let footer = Footer::parse(file, path)?;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = describe_to(&mut text, file, path, &footer);
    Ok(text)
}

/// The bytes of block `block` of `column` within the file's bytes.
///
/// # Errors
/// XX001 when the footer names no such block or places it outside the file.
pub fn block_bytes(file: &Bytes, column: &ColumnIndex, block: usize, path: &str) -> Result<Bytes> {
    let place = format!("block {block} of column {}", column.id);
    let index = column.blocks.get(block);
    let index = index.ok_or_else(|| corrupted(path, &place, "the footer names no such block"))?;
    let start = usize::try_from(index.offset).unwrap_or(usize::MAX);
    match start.checked_add(index.len as usize) {
        Some(end) if end <= file.len() => Ok(file.slice(start..end)),
        _ => Err(corrupted(path, &place, "it lies outside the file")),
    }
}

fn describe_to(text: &mut String, file: &Bytes, path: &str, footer: &Footer) -> std::fmt::Result {
    let Footer { rows, block_rows, format_version, writer_version, checksum, columns } = footer;
    writeln!(text, "segment {path}")?;
    writeln!(text, "format version {format_version}, writer version {writer_version}")?;
    let per_row = if *rows == 0 { 0.0 } else { file.len() as f64 / *rows as f64 };
    writeln!(text, "{rows} rows, {} bytes, {per_row:.2} bytes a row", file.len())?;
    writeln!(text, "{} blocks of {block_rows} rows, footer crc {checksum:08x}", footer.blocks())?;
    for column in columns {
        let bytes: u64 = column.blocks.iter().map(|block| u64::from(block.len)).sum();
        let per_row = if *rows == 0 { 0.0 } else { bytes as f64 / *rows as f64 };
        writeln!(text)?;
        writeln!(
            text,
            "column {} {} encode {}: {bytes} bytes, {per_row:.2} a row",
            column.id, column.sql_type, column.encode
        )?;
        for (number, index) in column.blocks.iter().enumerate() {
            let opened = block_bytes(file, column, number, path)
                .and_then(|bytes| Block::open(bytes, column, number, path));
            let encoding = match opened {
                Ok(block) => block.describe(),
                Err(error) => format!("DAMAGED: {}", error.message()),
            };
            writeln!(
                text,
                "  block {number}: rows {} at {} len {}: {encoding}; {}",
                index.rows,
                index.offset,
                index.len,
                zone(&index.zone)
            )?;
        }
    }
    Ok(())
}

fn zone(zone: &Zone) -> String {
    let bound = |datum: &Option<Datum>, truncated: bool| {
        let more = if truncated { "…" } else { "" };
        match datum {
            None => "none".to_owned(),
            Some(Datum::Int(value)) => value.to_string(),
            Some(Datum::Float(value)) => value.to_string(),
            Some(Datum::Text(value)) => format!("{value:?}{more}"),
            Some(Datum::Bytes(value)) => format!("{value:02x?}{more}"),
        }
    };
    let (min, max) = (bound(&zone.min, zone.min_truncated), bound(&zone.max, zone.max_truncated));
    let mut text =
        format!("min {min}, max {max}, nulls {}, distinct ~{}", zone.nulls, zone.distinct);
    if let Some(sum) = zone.sum {
        let _ = write!(text, ", sum {sum}");
    }
    text
}
