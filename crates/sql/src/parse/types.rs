//! Type names: of column definitions (read from the tokens) and of casts (sqlparser's tree).

use base::types::{CHAR_BYTES_MAX, VARCHAR_BYTES_MAX};
use base::{Error, Result, SqlType, error};
use sqlparser::ast::{
    BinaryLength, CharacterLength, DataType, ExactNumberInfo, IntervalFields, ObjectName,
    TimezoneInfo,
};
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;

/// VARBYTE without a length.
const VARBYTE_DEFAULT: u32 = 64_000;
/// VARCHAR, TEXT and BPCHAR without a length.
const TEXT_DEFAULT: u32 = 256;
/// DECIMAL without a precision.
const DECIMAL_DEFAULT: u8 = 18;

/// Every name that a type goes by, for suggestions.
const NAMES: &[&str] = &[
    "smallint",
    "int2",
    "integer",
    "int",
    "int4",
    "bigint",
    "int8",
    "decimal",
    "numeric",
    "real",
    "float4",
    "double",
    "float8",
    "float",
    "boolean",
    "bool",
    "char",
    "character",
    "nchar",
    "bpchar",
    "varchar",
    "nvarchar",
    "text",
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "varbyte",
    "varbinary",
];

/// Types of Redshift's that are not served yet.
const REFUSED: &[&str] = &["super", "geometry", "geography", "hllsketch", "interval"];

/// Types of PostgreSQL's that Redshift does not have.
const FOREIGN: &[&str] = &[
    "serial",
    "bigserial",
    "serial4",
    "serial8",
    "smallserial",
    "uuid",
    "json",
    "jsonb",
    "xml",
    "bytea",
    "bit",
    "money",
    "inet",
    "cidr",
    "macaddr",
    "hstore",
    "tsvector",
    "tsquery",
    "array",
];

/// What stands in the parentheses after a type's name.
#[derive(Clone, Copy, Debug, Default)]
struct Modifiers {
    first: Option<Modifier>,
    second: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Modifier {
    Max,
    Number(u32),
}

/// A type name from the tokens.
pub(super) fn sql_type(cursor: &mut Cursor) -> Result<SqlType> {
    let position = cursor.position();
    let name = match cursor.peek() {
        // PostgreSQL's one-byte type is written in quotes.
        Token::Word(word) if word.quote_style.is_some() && word.value == "char" => {
            cursor.next();
            return Ok(SqlType::QuotedChar);
        }
        _ => cursor.ident()?.name,
    };
    let name = match name.as_str() {
        "double" => {
            cursor.accept("precision");
            name
        }
        "character" | "char" | "nchar" | "binary" if cursor.accept("varying") => {
            if name == "binary" { "varbyte".into() } else { "varchar".to_owned() }
        }
        "national" => {
            cursor.accept("character");
            cursor.accept("char");
            let varying = cursor.accept("varying");
            if varying { "varchar".into() } else { "char".into() }
        }
        "pg_catalog" if cursor.symbol(&Token::Period) => cursor.ident()?.name,
        _ => name,
    };
    let modifiers = modifiers(cursor)?;
    let zone = if cursor.accept_all(&["with", "time", "zone"]) {
        Some(true)
    } else {
        cursor.accept_all(&["without", "time", "zone"]).then_some(false)
    };
    let name = match (name.as_str(), zone) {
        ("timestamp", Some(true)) => "timestamptz",
        ("time", Some(true)) => "timetz",
        (name, _) => name,
    };
    build(name, modifiers).map_err(|e| e.at(position))
}

fn modifiers(cursor: &mut Cursor) -> Result<Modifiers> {
    let mut modifiers = Modifiers::default();
    if !cursor.symbol(&Token::LParen) {
        return Ok(modifiers);
    }
    modifiers.first = Some(if cursor.accept("max") {
        Modifier::Max
    } else {
        Modifier::Number(cursor.unsigned()?)
    });
    if cursor.symbol(&Token::Comma) {
        modifiers.second = Some(cursor.unsigned()?);
    }
    cursor.expect_symbol(&Token::RParen)?;
    Ok(modifiers)
}

/// A type from its folded name and modifiers.
fn build(name: &str, modifiers: Modifiers) -> Result<SqlType> {
    let length = |default: u32, max: u32| match modifiers.first {
        None => default,
        Some(Modifier::Max) => max,
        Some(Modifier::Number(n)) => n,
    };
    let plain = |sql_type: SqlType| match modifiers.first {
        None => Ok(sql_type),
        Some(_) => Err(error!(SyntaxError, "type modifier is not allowed for type \"{name}\"")),
    };
    let built = match name {
        "smallint" | "int2" => plain(SqlType::SmallInt)?,
        "integer" | "int" | "int4" => plain(SqlType::Integer)?,
        "bigint" | "int8" => plain(SqlType::BigInt)?,
        "real" | "float4" => plain(SqlType::Real)?,
        "double" | "float8" => plain(SqlType::Double)?,
        "float" => match modifiers.first {
            Some(Modifier::Number(1..=24)) => SqlType::Real,
            Some(Modifier::Number(0 | 54..)) => {
                return Err(error!(InvalidParameterValue, "precision for type float is 1 to 53"));
            }
            _ => SqlType::Double,
        },
        "decimal" | "numeric" | "dec" => decimal(modifiers)?,
        "boolean" | "bool" => plain(SqlType::Boolean)?,
        "char" | "character" | "nchar" => SqlType::Char(length(1, CHAR_BYTES_MAX)),
        "bpchar" => SqlType::Char(length(TEXT_DEFAULT, CHAR_BYTES_MAX)),
        "varchar" | "nvarchar" | "character varying" => {
            SqlType::Varchar(length(TEXT_DEFAULT, VARCHAR_BYTES_MAX))
        }
        "text" => SqlType::Varchar(TEXT_DEFAULT),
        "string" => SqlType::Varchar(VARCHAR_BYTES_MAX),
        "date" => plain(SqlType::Date)?,
        // A precision is taken and means nothing: microseconds always, as in Redshift.
        "time" => SqlType::Time,
        "timetz" => SqlType::TimeTz,
        "timestamp" => SqlType::Timestamp,
        "timestamptz" => SqlType::TimestampTz,
        "varbyte" | "varbinary" => {
            SqlType::Varbyte(length(VARBYTE_DEFAULT, base::types::VARBYTE_BYTES_MAX))
        }
        other => return system(other).ok_or_else(|| unknown(other)),
    };
    built.checked()
}

fn decimal(modifiers: Modifiers) -> Result<SqlType> {
    let precision = match modifiers.first {
        None => u32::from(DECIMAL_DEFAULT),
        Some(Modifier::Number(n)) => n,
        Some(Modifier::Max) => {
            return Err(error!(SyntaxError, "a DECIMAL has no length MAX"));
        }
    };
    let scale = modifiers.second.unwrap_or(0);
    let narrow = |n: u32| u8::try_from(n).unwrap_or(u8::MAX);
    SqlType::Decimal { precision: narrow(precision), scale: narrow(scale) }.checked()
}

/// Types that exist in system tables and casts only.
fn system(name: &str) -> Option<SqlType> {
    Some(match name {
        "name" => SqlType::Name,
        "oid" => SqlType::Oid,
        "xid" => SqlType::Xid,
        "regproc" => SqlType::RegProc,
        "regclass" => SqlType::RegClass,
        "regtype" => SqlType::RegType,
        "int2vector" => SqlType::Int2Vector,
        "oidvector" => SqlType::OidVector,
        "_text" | "text[]" | "varchar[]" | "_varchar" => SqlType::TextArray,
        "_name" | "name[]" => SqlType::NameArray,
        "_int2" | "smallint[]" | "int2[]" => SqlType::Int2Array,
        "_int4" | "integer[]" | "int[]" | "int4[]" => SqlType::Int4Array,
        "_oid" | "oid[]" | "bigint[]" => SqlType::OidArray,
        "unknown" => SqlType::Unknown,
        _ => return None,
    })
}

fn unknown(name: &str) -> Error {
    if REFUSED.contains(&name) {
        return Error::unsupported(format!("type {name} is not supported"));
    }
    if FOREIGN.contains(&name) {
        return Error::unsupported(format!("unsupported type \"{name}\""));
    }
    error!(UndefinedObject, "type \"{name}\" does not exist")
        .maybe_hint(base::suggest::did_you_mean(name, NAMES.iter().copied()))
}

/// The SQL type of a type name in sqlparser's tree (casts, typed literals).
///
/// # Errors
/// 42704 for an unknown type, 22023 for modifiers out of range, 0A000 for one not served.
pub(crate) fn cast_type(data_type: &DataType) -> Result<SqlType> {
    let one = |n: Option<u32>| Modifiers { first: n.map(Modifier::Number), second: None };
    let (name, modifiers) = match data_type {
        DataType::Char(n) | DataType::Character(n) => ("char", characters(n)),
        DataType::Varchar(n)
        | DataType::CharVarying(n)
        | DataType::CharacterVarying(n)
        | DataType::Nvarchar(n) => ("varchar", characters(n)),
        DataType::Text => ("text", Modifiers::default()),
        DataType::String(_) => ("string", Modifiers::default()),
        DataType::Numeric(n) | DataType::Decimal(n) | DataType::Dec(n) => ("decimal", exact(*n)),
        DataType::SmallInt(_) | DataType::Int2(_) => ("int2", Modifiers::default()),
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => {
            ("int4", Modifiers::default())
        }
        DataType::BigInt(_) | DataType::Int8(_) => ("int8", Modifiers::default()),
        DataType::Float(ExactNumberInfo::Precision(n)) => ("float", one(u32::try_from(*n).ok())),
        DataType::Float(_) | DataType::Float8 | DataType::Double(_) => {
            ("float8", Modifiers::default())
        }
        DataType::DoublePrecision => ("float8", Modifiers::default()),
        DataType::Real | DataType::Float4 => ("real", Modifiers::default()),
        DataType::Bool | DataType::Boolean => ("bool", Modifiers::default()),
        DataType::Date => ("date", Modifiers::default()),
        DataType::Time(_, zone) => (zoned("time", "timetz", zone), Modifiers::default()),
        DataType::Timestamp(_, zone) => {
            (zoned("timestamp", "timestamptz", zone), Modifiers::default())
        }
        DataType::Varbinary(n) => ("varbyte", binary(n)),
        DataType::Bytea => ("varbyte", Modifiers::default()),
        DataType::Interval { fields, .. } => return Ok(interval(fields)),
        DataType::Regclass => return Ok(SqlType::RegClass),
        DataType::Custom(name, modifiers) => return custom(name, modifiers),
        DataType::Array(_) => {
            let text = data_type.to_string().to_lowercase();
            return system(&text).ok_or_else(|| unknown(&text));
        }
        other => {
            let text = other.to_string().to_lowercase();
            let name = text.split('(').next().unwrap_or(&text).trim();
            return Err(unknown(name));
        }
    };
    build(name, modifiers)
}

fn zoned<'a>(plain: &'a str, with: &'a str, zone: &TimezoneInfo) -> &'a str {
    match zone {
        TimezoneInfo::Tz | TimezoneInfo::WithTimeZone => with,
        TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => plain,
    }
}

fn characters(length: &Option<CharacterLength>) -> Modifiers {
    let first = length.map(|length| match length {
        CharacterLength::IntegerLength { length, .. } => {
            Modifier::Number(u32::try_from(length).unwrap_or(u32::MAX))
        }
        CharacterLength::Max => Modifier::Max,
    });
    Modifiers { first, second: None }
}

fn binary(length: &Option<BinaryLength>) -> Modifiers {
    let first = length.as_ref().map(|length| match length {
        BinaryLength::IntegerLength { length } => {
            Modifier::Number(u32::try_from(*length).unwrap_or(u32::MAX))
        }
        BinaryLength::Max => Modifier::Max,
    });
    Modifiers { first, second: None }
}

fn exact(info: ExactNumberInfo) -> Modifiers {
    let number = |n: u64| Modifier::Number(u32::try_from(n).unwrap_or(u32::MAX));
    match info {
        ExactNumberInfo::None => Modifiers::default(),
        ExactNumberInfo::Precision(p) => Modifiers { first: Some(number(p)), second: None },
        ExactNumberInfo::PrecisionAndScale(p, s) => {
            Modifiers { first: Some(number(p)), second: Some(u32::try_from(s).unwrap_or(u32::MAX)) }
        }
    }
}

fn interval(fields: &Option<IntervalFields>) -> SqlType {
    match fields {
        // Casts to either form keep PostgreSQL's mixed value; only the label differs.
        Some(_) | None => SqlType::Interval,
    }
}

/// A type that sqlparser keeps by name: `int2vector`, `timetz(6)`, `pg_catalog.name`, `varbyte(9)`.
fn custom(name: &ObjectName, modifiers: &[String]) -> Result<SqlType> {
    let last = name.0.last().and_then(|part| part.as_ident());
    let last = last.map(|ident| ident.value.to_lowercase()).unwrap_or_default();
    let number = |n: usize| modifiers.get(n).and_then(|text| text.parse::<u32>().ok());
    let max = modifiers.first().is_some_and(|text| text.eq_ignore_ascii_case("max"));
    let first = if max { Some(Modifier::Max) } else { number(0).map(Modifier::Number) };
    build(&last, Modifiers { first, second: number(1) })
}
