//! RowDescription and ParameterDescription.

use base::SqlType;
use base::client::Column;

use crate::encode::Format;
use crate::frame::backend::{cstring, message, put_i16, put_i32, put_u32};

/// From this level on Redshift's drivers read where each column comes from.
const EXTENDED: u8 = 1;
const NOT_NULL: i16 = 1;
const READ_ONLY: i16 = 1 << 8;
const SEARCHABLE: i16 = 1 << 12;

pub(crate) fn rows(out: &mut Vec<u8>, columns: &[Column], formats: &[Format], extension: u8) {
    message(out, b'T', |out| {
        put_count(out, columns.len());
        for (index, column) in columns.iter().enumerate() {
            let format = formats.get(index).copied().unwrap_or(Format::Text);
            field(out, column, format);
            if extension >= EXTENDED {
                origin(out, column);
            }
        }
    });
}

fn field(out: &mut Vec<u8>, column: &Column, format: Format) {
    let (table, attribute) =
        column.origin.as_ref().map_or((0, 0), |origin| (origin.table_oid.0, origin.attribute));
    cstring(out, &column.name);
    put_u32(out, table);
    put_i16(out, attribute);
    put_u32(out, column.sql_type.oid());
    put_i16(out, column.sql_type.typlen());
    put_i32(out, column.sql_type.typmod());
    put_i16(out, format.code());
}

fn origin(out: &mut Vec<u8>, column: &Column) {
    let mut flags = SEARCHABLE;
    if !column.nullable {
        flags |= NOT_NULL;
    }
    match &column.origin {
        Some(origin) => {
            for name in [&origin.schema, &origin.table, &origin.column, &origin.database] {
                cstring(out, name);
            }
        }
        None => {
            flags |= READ_ONLY;
            out.extend_from_slice(&[0; 4]);
        }
    }
    put_i16(out, flags);
}

/// `oids`: what the client declared, where it declared anything.
pub(crate) fn parameters(out: &mut Vec<u8>, types: &[SqlType], oids: &[u32]) {
    message(out, b't', |out| {
        put_count(out, types.len());
        for index in 0..types.len() {
            put_u32(out, parameter_oid(types, oids, index));
        }
    });
}

/// The OID under which a parameter's bytes are read: the declared one, else the inferred one.
pub(crate) fn parameter_oid(types: &[SqlType], oids: &[u32], index: usize) -> u32 {
    match oids.get(index) {
        Some(0 | 705) | None => types.get(index).map_or(0, |sql_type| sql_type.oid()),
        Some(oid) => *oid,
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}
