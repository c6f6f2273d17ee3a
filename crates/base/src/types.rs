//! The SQL types: names, protocol OIDs, modifiers and the Arrow type that carries each.
//!
//! OIDs and modifiers are those that Redshift's drivers read (PostgreSQL's, and Redshift's own
//! for SUPER, VARBYTE, GEOMETRY, intervals and HLLSKETCH).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::{Result, error};

/// The key in an Arrow field's metadata under which its SQL type travels.
pub const FIELD_KEY: &str = "redshift.type";
/// The longest CHAR, in bytes.
pub const CHAR_BYTES_MAX: u32 = 4_096;
/// The longest VARCHAR, in bytes.
pub const VARCHAR_BYTES_MAX: u32 = 65_535;
/// The longest VARBYTE, in bytes.
pub const VARBYTE_BYTES_MAX: u32 = 1_024_000;
/// The widest DECIMAL, in digits.
pub const DECIMAL_DIGITS_MAX: u8 = 38;

/// A SQL type with its modifiers.
///
/// The second group exists only in system tables and results, never in a user's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SqlType {
    Boolean,
    SmallInt,
    Integer,
    BigInt,
    Real,
    Double,
    /// Precision 1–38 and scale 0–37, at most the precision.
    Decimal {
        precision: u8,
        scale: u8,
    },
    /// Length in bytes, blank-padded towards clients, stored without trailing blanks.
    Char(u32),
    /// Length in bytes.
    Varchar(u32),
    Date,
    Time,
    /// Carried as `i64`: see [`timetz`].
    TimeTz,
    Timestamp,
    TimestampTz,
    /// Length in bytes.
    Varbyte(u32),

    /// A literal whose type is not known yet.
    Unknown,
    /// Text without a declared length.
    Text,
    Name,
    /// PostgreSQL's one-byte `"char"`.
    QuotedChar,
    Oid,
    Xid,
    RegProc,
    RegClass,
    RegType,
    Int2Vector,
    OidVector,
    TextArray,
    NameArray,
    Int2Array,
    Int4Array,
    OidArray,
    AclItemArray,
    IntervalYearMonth,
    IntervalDaySecond,
    /// PostgreSQL's mixed interval, the type of an expression on intervals.
    Interval,
    Void,
}

impl SqlType {
    /// The OID in `RowDescription` and `pg_type`.
    pub fn oid(self) -> u32 {
        match self {
            SqlType::Boolean => 16,
            SqlType::QuotedChar => 18,
            SqlType::Name => 19,
            SqlType::BigInt => 20,
            SqlType::SmallInt => 21,
            SqlType::Int2Vector => 22,
            SqlType::Integer => 23,
            SqlType::RegProc => 24,
            SqlType::Text => 25,
            SqlType::Oid => 26,
            SqlType::Xid => 28,
            SqlType::OidVector => 30,
            SqlType::Real => 700,
            SqlType::Double => 701,
            SqlType::Unknown => 705,
            SqlType::NameArray => 1003,
            SqlType::Int2Array => 1005,
            SqlType::Int4Array => 1007,
            SqlType::TextArray => 1009,
            SqlType::OidArray => 1028,
            SqlType::AclItemArray => 1034,
            SqlType::Char(_) => 1042,
            SqlType::Varchar(_) => 1043,
            SqlType::Date => 1082,
            SqlType::Time => 1083,
            SqlType::Timestamp => 1114,
            SqlType::TimestampTz => 1184,
            SqlType::Interval => 1186,
            SqlType::IntervalYearMonth => 1188,
            SqlType::IntervalDaySecond => 1190,
            SqlType::TimeTz => 1266,
            SqlType::Decimal { .. } => 1700,
            SqlType::RegClass => 2205,
            SqlType::RegType => 2206,
            SqlType::Void => 2278,
            SqlType::Varbyte(_) => 6551,
        }
    }

    /// The type of an OID, with the widest modifier; `None` for an OID that is not served.
    pub fn from_oid(oid: u32) -> Option<SqlType> {
        Some(match oid {
            16 => SqlType::Boolean,
            18 => SqlType::QuotedChar,
            19 => SqlType::Name,
            20 => SqlType::BigInt,
            21 => SqlType::SmallInt,
            22 => SqlType::Int2Vector,
            23 => SqlType::Integer,
            24 => SqlType::RegProc,
            25 => SqlType::Text,
            26 => SqlType::Oid,
            28 => SqlType::Xid,
            30 => SqlType::OidVector,
            700 => SqlType::Real,
            701 => SqlType::Double,
            0 | 705 => SqlType::Unknown,
            1003 => SqlType::NameArray,
            1005 => SqlType::Int2Array,
            1007 => SqlType::Int4Array,
            1009 | 1015 => SqlType::TextArray,
            1028 => SqlType::OidArray,
            1034 => SqlType::AclItemArray,
            1042 => SqlType::Char(CHAR_BYTES_MAX),
            1043 => SqlType::Varchar(VARCHAR_BYTES_MAX),
            1082 => SqlType::Date,
            1083 => SqlType::Time,
            1114 => SqlType::Timestamp,
            1184 => SqlType::TimestampTz,
            1186 => SqlType::Interval,
            1188 => SqlType::IntervalYearMonth,
            1190 => SqlType::IntervalDaySecond,
            1266 => SqlType::TimeTz,
            1700 => SqlType::Decimal { precision: DECIMAL_DIGITS_MAX, scale: 0 },
            2205 => SqlType::RegClass,
            2206 => SqlType::RegType,
            2278 => SqlType::Void,
            6551 => SqlType::Varbyte(VARBYTE_BYTES_MAX),
            _ => return None,
        })
    }

    /// The type modifier as PostgreSQL encodes it, −1 for none.
    pub fn typmod(self) -> i32 {
        match self {
            SqlType::Char(n) | SqlType::Varchar(n) | SqlType::Varbyte(n) => n as i32 + 4,
            SqlType::Decimal { precision, scale } => {
                ((i32::from(precision) << 16) | i32::from(scale)) + 4
            }
            _ => -1,
        }
    }

    /// The width in bytes as `RowDescription` and `pg_type.typlen` give it, −1 when it varies.
    pub fn typlen(self) -> i16 {
        match self {
            SqlType::Boolean | SqlType::QuotedChar => 1,
            SqlType::SmallInt => 2,
            SqlType::Integer
            | SqlType::Real
            | SqlType::Date
            | SqlType::Oid
            | SqlType::Xid
            | SqlType::RegProc
            | SqlType::RegClass
            | SqlType::RegType
            | SqlType::IntervalYearMonth
            | SqlType::Void => 4,
            SqlType::BigInt
            | SqlType::Double
            | SqlType::Time
            | SqlType::Timestamp
            | SqlType::TimestampTz
            | SqlType::IntervalDaySecond => 8,
            SqlType::TimeTz => 12,
            SqlType::Interval => 16,
            SqlType::Name => 64,
            SqlType::Unknown => -2,
            _ => -1,
        }
    }

    /// The Arrow type of its values.
    pub fn arrow(self) -> DataType {
        match self {
            SqlType::Boolean => DataType::Boolean,
            SqlType::SmallInt => DataType::Int16,
            SqlType::Integer | SqlType::IntervalYearMonth => DataType::Int32,
            SqlType::BigInt
            | SqlType::Oid
            | SqlType::Xid
            | SqlType::RegProc
            | SqlType::RegClass
            | SqlType::RegType
            | SqlType::IntervalDaySecond
            | SqlType::TimeTz => DataType::Int64,
            SqlType::Real => DataType::Float32,
            SqlType::Double => DataType::Float64,
            SqlType::Decimal { precision, scale } => {
                DataType::Decimal128(precision, i8::try_from(scale).unwrap_or(i8::MAX))
            }
            SqlType::Date => DataType::Date32,
            SqlType::Time => DataType::Time64(TimeUnit::Microsecond),
            SqlType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            SqlType::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            SqlType::Varbyte(_) => DataType::BinaryView,
            SqlType::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            SqlType::Void => DataType::Null,
            SqlType::TextArray | SqlType::NameArray | SqlType::AclItemArray => {
                list(DataType::Utf8View)
            }
            SqlType::Int2Array | SqlType::Int2Vector => list(DataType::Int16),
            SqlType::Int4Array => list(DataType::Int32),
            SqlType::OidArray | SqlType::OidVector => list(DataType::Int64),
            SqlType::Char(_)
            | SqlType::Varchar(_)
            | SqlType::Unknown
            | SqlType::Text
            | SqlType::Name
            | SqlType::QuotedChar => DataType::Utf8View,
        }
    }

    /// The SQL type of a field: what its metadata says, else what its Arrow type suggests.
    pub fn of_field(field: &Field) -> SqlType {
        field
            .metadata()
            .get(FIELD_KEY)
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_else(|| SqlType::of_arrow(field.data_type()))
    }

    /// The SQL type that an Arrow type suggests when nothing better is known.
    pub fn of_arrow(data_type: &DataType) -> SqlType {
        match data_type {
            DataType::Boolean => SqlType::Boolean,
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => SqlType::SmallInt,
            DataType::Int32 | DataType::UInt16 => SqlType::Integer,
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => SqlType::BigInt,
            DataType::Float16 | DataType::Float32 => SqlType::Real,
            DataType::Float64 => SqlType::Double,
            DataType::Decimal32(p, s)
            | DataType::Decimal64(p, s)
            | DataType::Decimal128(p, s)
            | DataType::Decimal256(p, s) => SqlType::Decimal {
                precision: (*p).min(DECIMAL_DIGITS_MAX),
                scale: u8::try_from(*s).unwrap_or(0),
            },
            DataType::Date32 | DataType::Date64 => SqlType::Date,
            DataType::Time32(_) | DataType::Time64(_) => SqlType::Time,
            DataType::Timestamp(_, None) => SqlType::Timestamp,
            DataType::Timestamp(_, Some(_)) => SqlType::TimestampTz,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => SqlType::Varbyte(VARBYTE_BYTES_MAX),
            DataType::Interval(_) | DataType::Duration(_) => SqlType::Interval,
            DataType::List(item) | DataType::LargeList(item) => match item.data_type() {
                DataType::Int16 => SqlType::Int2Array,
                DataType::Int32 => SqlType::Int4Array,
                DataType::Int64 => SqlType::OidArray,
                _ => SqlType::TextArray,
            },
            DataType::Dictionary(_, values) => SqlType::of_arrow(values),
            DataType::Null => SqlType::Unknown,
            _ => SqlType::Varchar(VARCHAR_BYTES_MAX),
        }
    }

    /// An Arrow field of this type that carries the SQL type in its metadata.
    pub fn field(self, name: impl Into<String>, nullable: bool) -> Field {
        Field::new(name, self.arrow(), nullable).with_metadata(self.metadata())
    }

    /// The metadata that [`SqlType::of_field`] reads.
    pub fn metadata(self) -> HashMap<String, String> {
        let text = serde_json::to_string(&self).unwrap_or_default();
        HashMap::from([(FIELD_KEY.to_owned(), text)])
    }

    /// True for the types that a user's table can have.
    pub fn is_storable(self) -> bool {
        matches!(
            self,
            SqlType::Boolean
                | SqlType::SmallInt
                | SqlType::Integer
                | SqlType::BigInt
                | SqlType::Real
                | SqlType::Double
                | SqlType::Decimal { .. }
                | SqlType::Char(_)
                | SqlType::Varchar(_)
                | SqlType::Date
                | SqlType::Time
                | SqlType::TimeTz
                | SqlType::Timestamp
                | SqlType::TimestampTz
                | SqlType::Varbyte(_)
        )
    }

    /// Checks the modifiers against Redshift's limits.
    ///
    /// # Errors
    /// 22023 when a length, precision or scale is out of range.
    pub fn checked(self) -> Result<SqlType> {
        let over = |what: &str, n: u32, max: u32| {
            Err(error!(InvalidParameterValue, "length for type {what} cannot exceed {max}")
                .detail(format!("The length given is {n}.")))
        };
        match self {
            SqlType::Char(n) if n > CHAR_BYTES_MAX => over("character", n, CHAR_BYTES_MAX),
            SqlType::Varchar(n) if n > VARCHAR_BYTES_MAX => {
                over("character varying", n, VARCHAR_BYTES_MAX)
            }
            SqlType::Varbyte(n) if n > VARBYTE_BYTES_MAX => over("varbyte", n, VARBYTE_BYTES_MAX),
            SqlType::Char(0) | SqlType::Varchar(0) | SqlType::Varbyte(0) => {
                Err(error!(InvalidParameterValue, "length for type {self} must be at least 1"))
            }
            SqlType::Decimal { precision, .. } if precision == 0 || precision > 38 => Err(error!(
                InvalidParameterValue,
                "DECIMAL precision {precision} must be between 1 and {DECIMAL_DIGITS_MAX}"
            )),
            SqlType::Decimal { precision, scale } if scale > precision || scale > 37 => {
                Err(error!(
                    InvalidParameterValue,
                    "DECIMAL scale {scale} must be between 0 and precision {precision}"
                ))
            }
            fine => Ok(fine),
        }
    }

    /// The name without modifiers as `pg_type.typname` gives it.
    pub fn pg_name(self) -> &'static str {
        match self {
            SqlType::Boolean => "bool",
            SqlType::SmallInt => "int2",
            SqlType::Integer => "int4",
            SqlType::BigInt => "int8",
            SqlType::Real => "float4",
            SqlType::Double => "float8",
            SqlType::Decimal { .. } => "numeric",
            SqlType::Char(_) => "bpchar",
            SqlType::Varchar(_) => "varchar",
            SqlType::Date => "date",
            SqlType::Time => "time",
            SqlType::TimeTz => "timetz",
            SqlType::Timestamp => "timestamp",
            SqlType::TimestampTz => "timestamptz",
            SqlType::Varbyte(_) => "varbyte",
            SqlType::Unknown => "unknown",
            SqlType::Text => "text",
            SqlType::Name => "name",
            SqlType::QuotedChar => "char",
            SqlType::Oid => "oid",
            SqlType::Xid => "xid",
            SqlType::RegProc => "regproc",
            SqlType::RegClass => "regclass",
            SqlType::RegType => "regtype",
            SqlType::Int2Vector => "int2vector",
            SqlType::OidVector => "oidvector",
            SqlType::TextArray => "_text",
            SqlType::NameArray => "_name",
            SqlType::Int2Array => "_int2",
            SqlType::Int4Array => "_int4",
            SqlType::OidArray => "_oid",
            SqlType::AclItemArray => "_aclitem",
            SqlType::IntervalYearMonth => "intervaly2m",
            SqlType::IntervalDaySecond => "intervald2s",
            SqlType::Interval => "interval",
            SqlType::Void => "void",
        }
    }

    /// One of each type, with the widest modifiers: the rows of `pg_type`.
    pub fn all() -> Vec<SqlType> {
        const OIDS: &[u32] = &[
            16, 18, 19, 20, 21, 22, 23, 24, 25, 26, 28, 30, 700, 701, 705, 1003, 1005, 1007, 1009,
            1028, 1034, 1042, 1043, 1082, 1083, 1114, 1184, 1186, 1188, 1190, 1266, 1700, 2205,
            2206, 2278, 6551,
        ];
        OIDS.iter().filter_map(|oid| SqlType::from_oid(*oid)).collect()
    }
}

/// The name of the UTC zone in Arrow's timestamp types.
pub const UTC: &str = "UTC";

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

impl fmt::Display for SqlType {
    /// The SQL name as `format_type` gives it, for example `character varying(25)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SqlType::Boolean => f.write_str("boolean"),
            SqlType::SmallInt => f.write_str("smallint"),
            SqlType::Integer => f.write_str("integer"),
            SqlType::BigInt => f.write_str("bigint"),
            SqlType::Real => f.write_str("real"),
            SqlType::Double => f.write_str("double precision"),
            SqlType::Decimal { precision, scale } => write!(f, "numeric({precision},{scale})"),
            SqlType::Char(n) => write!(f, "character({n})"),
            SqlType::Varchar(n) => write!(f, "character varying({n})"),
            SqlType::Time => f.write_str("time without time zone"),
            SqlType::TimeTz => f.write_str("time with time zone"),
            SqlType::Timestamp => f.write_str("timestamp without time zone"),
            SqlType::TimestampTz => f.write_str("timestamp with time zone"),
            SqlType::Varbyte(n) => write!(f, "binary varying({n})"),
            SqlType::QuotedChar => f.write_str("\"char\""),
            SqlType::TextArray => f.write_str("text[]"),
            SqlType::NameArray => f.write_str("name[]"),
            SqlType::Int2Array => f.write_str("smallint[]"),
            SqlType::Int4Array => f.write_str("integer[]"),
            SqlType::OidArray => f.write_str("oid[]"),
            SqlType::AclItemArray => f.write_str("aclitem[]"),
            SqlType::IntervalYearMonth => f.write_str("interval year to month"),
            SqlType::IntervalDaySecond => f.write_str("interval day to second"),
            other => f.write_str(other.pg_name()),
        }
    }
}

/// TIMETZ as one `i64`: the UTC time of day in microseconds and the zone, so that integer order
/// is PostgreSQL's order (by instant, then by zone).
pub mod timetz {
    /// Zone offsets reach ±15:59:59; the bias makes them positive.
    const ZONE_BIAS: i64 = 1 << 17;
    const ZONE_BITS: u32 = 18;

    /// `time_us`: local time of day in microseconds; `zone_s`: seconds east of UTC.
    pub fn pack(time_us: i64, zone_s: i32) -> i64 {
        let utc_us = time_us - i64::from(zone_s) * 1_000_000;
        // West of UTC sorts later for the same instant, as PostgreSQL's timetz comparison does.
        (utc_us << ZONE_BITS) | (ZONE_BIAS - i64::from(zone_s))
    }

    /// The local time of day in microseconds and the seconds east of UTC.
    pub fn unpack(packed: i64) -> (i64, i32) {
        let zone_s = ZONE_BIAS - (packed & ((1 << ZONE_BITS) - 1));
        let utc_us = packed >> ZONE_BITS;
        (utc_us + zone_s * 1_000_000, i32::try_from(zone_s).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_a_field_and_its_oid() {
        for sql_type in SqlType::all() {
            assert_eq!(SqlType::of_field(&sql_type.field("c", true)), sql_type);
            assert_eq!(SqlType::from_oid(sql_type.oid()), Some(sql_type));
        }
    }

    #[test]
    fn modifiers_are_postgresqls() {
        assert_eq!(SqlType::Varchar(25).typmod(), 29);
        assert_eq!(SqlType::Decimal { precision: 18, scale: 4 }.typmod(), (18 << 16 | 4) + 4);
        assert_eq!(SqlType::Integer.typmod(), -1);
        assert!(SqlType::Varchar(70_000).checked().is_err());
        assert!(SqlType::Decimal { precision: 5, scale: 6 }.checked().is_err());
    }

    #[test]
    fn timetz_orders_by_instant() {
        let noon_utc = timetz::pack(12 * 3_600_000_000, 0);
        let noon_east = timetz::pack(12 * 3_600_000_000, 3_600);
        assert!(noon_east < noon_utc);
        for (us, zone) in [(0, 0), (86_399_999_999, -57_599), (0, 57_599), (5, 19_800)] {
            assert_eq!(timetz::unpack(timetz::pack(us, zone)), (us, zone));
        }
    }
}
