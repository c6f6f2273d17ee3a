//! Arrays and vectors.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, ListArray};
use base::{Result, SqlType};

use super::{Cell, Format, Style, Writer, downcast, text as scalar};

/// `aclitem`, which has no SQL type of its own: its text is all that is ever served.
const ACL_ITEM: u32 = 1033;

/// The element type, and the OID that arrays of it name.
fn element(sql_type: SqlType) -> (SqlType, u32) {
    let element = match sql_type {
        SqlType::NameArray => SqlType::Name,
        SqlType::Int2Array | SqlType::Int2Vector => SqlType::SmallInt,
        SqlType::Int4Array => SqlType::Integer,
        SqlType::OidArray | SqlType::OidVector => SqlType::Oid,
        SqlType::AclItemArray => return (SqlType::Text, ACL_ITEM),
        _ => SqlType::Text,
    };
    (element, element.oid())
}

/// `{a,NULL,"b c"}`
pub(super) fn text(array: &ArrayRef, sql_type: SqlType, style: &Style) -> Result<Cell> {
    let list: ListArray = downcast(array)?;
    let items = Arc::clone(list.values());
    let cell = scalar::cell(&items, element(sql_type).0, style)?;
    // Numbers never need quotes.
    let numbers = matches!(sql_type, SqlType::Int2Array | SqlType::Int4Array | SqlType::OidArray);
    Ok(Box::new(move |row, out| {
        out.push(b'{');
        let (start, end) = bounds(&list, row);
        for item in start..end {
            if item > start {
                out.push(b',');
            }
            if items.is_null(item) {
                out.extend_from_slice(b"NULL");
                continue;
            }
            let at = out.len();
            cell(item, out);
            if !numbers && needs_quotes(&out[at..]) {
                quote(out, at);
            }
        }
        out.push(b'}');
    }))
}

/// `1 2 3`
pub(super) fn vector_text(array: &ArrayRef, sql_type: SqlType, style: &Style) -> Result<Cell> {
    let list: ListArray = downcast(array)?;
    let cell = scalar::cell(list.values(), element(sql_type).0, style)?;
    Ok(Box::new(move |row, out| {
        let (start, end) = bounds(&list, row);
        for item in start..end {
            if item > start {
                out.push(b' ');
            }
            cell(item, out);
        }
    }))
}

pub(super) fn binary(array: &ArrayRef, sql_type: SqlType, style: &Style) -> Result<Cell> {
    let list: ListArray = downcast(array)?;
    let (item_type, oid) = element(sql_type);
    let items = Arc::clone(list.values());
    let writer = Writer::new(&items, item_type, Format::Binary, style)?;
    // Vectors count from 0, arrays from 1.
    let vector = matches!(sql_type, SqlType::Int2Vector | SqlType::OidVector);
    let lower = i32::from(!vector).to_be_bytes();
    Ok(Box::new(move |row, out| {
        let (start, end) = bounds(&list, row);
        let has_nulls = (start..end).any(|item| items.is_null(item));
        let dimensions = i32::from(start < end || vector);
        out.extend_from_slice(&dimensions.to_be_bytes());
        out.extend_from_slice(&i32::from(has_nulls).to_be_bytes());
        out.extend_from_slice(&oid.to_be_bytes());
        if dimensions == 1 {
            out.extend_from_slice(&i32::try_from(end - start).unwrap_or(i32::MAX).to_be_bytes());
            out.extend_from_slice(&lower);
        }
        for item in start..end {
            writer.put(item, out);
        }
    }))
}

fn bounds(list: &ListArray, row: usize) -> (usize, usize) {
    let offsets = list.value_offsets();
    (offsets[row].unsigned_abs() as usize, offsets[row + 1].unsigned_abs() as usize)
}

/// Puts what begins at `start` into double quotes.
fn quote(out: &mut Vec<u8>, start: usize) {
    let plain = out.split_off(start);
    out.push(b'"');
    for byte in plain {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn needs_quotes(text: &[u8]) -> bool {
    text.is_empty()
        || text.eq_ignore_ascii_case(b"null")
        || text.iter().any(|byte| {
            matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\') || byte.is_ascii_whitespace()
        })
}
