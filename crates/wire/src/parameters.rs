//! Bound parameter values: bytes of the client to [`Value`].

use base::client::Value;
use base::types::timetz;
use base::{Error, Result, error, fail};
use bytes::Bytes;

use crate::encode::{EPOCH_DAYS, EPOCH_US, Format, put_interval};
use crate::frame::{Fields, utf8};

/// How deep the arrays of a client may be nested: PostgreSQL's limit.
const DIMENSIONS_MAX: i32 = 6;

/// Decodes one value of the type with this OID.
///
/// # Errors
/// 22P03 for binary data that is not of the type, 22021 for text that is not UTF-8, 0A000 for
/// a type without a binary form here.
pub(crate) fn decode(oid: u32, format: Format, bytes: Option<Bytes>) -> Result<Value> {
    let Some(bytes) = bytes else { return Ok(Value::Null) };
    match format {
        Format::Text => text(&bytes),
        Format::Binary => binary(oid, bytes),
    }
}

fn text(bytes: &[u8]) -> Result<Value> {
    if bytes.contains(&0) {
        fail!(CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\": 0x00");
    }
    utf8(bytes).map(Value::Text)
}

fn binary(oid: u32, bytes: Bytes) -> Result<Value> {
    let len = bytes.len();
    let mut body = Fields(bytes);
    let value = scalar(oid, &mut body, len).map_err(|fault| match fault.sqlstate() {
        // The cursor speaks of messages; here it is the value that is too short.
        base::SqlState::ProtocolViolation => incorrect(oid),
        _ => fault,
    })?;
    if body.0.is_empty() { Ok(value) } else { Err(incorrect(oid)) }
}

fn scalar(oid: u32, body: &mut Fields, len: usize) -> Result<Value> {
    Ok(match oid {
        16 => Value::Bool(body.u8()? != 0),
        20 => Value::Int(body.i64()?),
        21 => Value::Int(i64::from(body.i16()?)),
        23 => Value::Int(i64::from(body.i32()?)),
        24 | 26 | 28 | 2205 | 2206 => Value::Int(i64::from(body.u32()?)),
        700 => Value::Float(f64::from(f32::from_bits(body.u32()?))),
        701 => Value::Float(f64::from_bits(body.i64()? as u64)),
        0 | 18 | 19 | 25 | 705 | 1042 | 1043 => text(&body.take(len)?)?,
        17 | 6551 => Value::Bytes(body.take(len)?.to_vec()),
        1082 => Value::Date(match body.i32()? {
            days @ (i32::MIN | i32::MAX) => days,
            days => days.checked_add(EPOCH_DAYS).ok_or_else(|| incorrect(oid))?,
        }),
        1083 => Value::Time(body.i64()?),
        1266 => {
            let (us, west_s) = (body.i64()?, body.i32()?);
            if !(0..=86_400_000_000).contains(&us) || west_s.unsigned_abs() >= 16 * 3_600 {
                return Err(incorrect(oid));
            }
            Value::TimeTz(timetz::pack(us, -west_s))
        }
        1114 => Value::Timestamp(instant(oid, body.i64()?)?),
        1184 => Value::TimestampTz(instant(oid, body.i64()?)?),
        1186 => {
            let (us, days, months) = (body.i64()?, body.i32()?, body.i32()?);
            Value::Text(put_interval(months, days, us))
        }
        1700 => {
            let (unscaled, scale) = postgres_numeric(&body.take(len)?)?;
            Value::Decimal { unscaled, scale }
        }
        22 | 30 | 1000..=1034 | 1115 | 1182 | 1185 | 1231 => array(oid, body)?,
        _ => fail!(
            FeatureNotSupported,
            "binary format is not supported for a parameter of the type with OID {oid}"
        ),
    })
}

fn instant(oid: u32, us: i64) -> Result<i64> {
    match us {
        i64::MIN | i64::MAX => Ok(us),
        us => us.checked_add(EPOCH_US).ok_or_else(|| incorrect(oid)),
    }
}

fn array(oid: u32, body: &mut Fields) -> Result<Value> {
    let (dimensions, _flags, item) = (body.i32()?, body.i32()?, body.u32()?);
    match dimensions {
        0 => return Ok(Value::Array(Vec::new())),
        1 => {}
        2..=DIMENSIONS_MAX => {
            fail!(FeatureNotSupported, "arrays of more than one dimension are not supported")
        }
        _ => return Err(incorrect(oid)),
    }
    let (count, _lower) = (body.i32()?, body.i32()?);
    let count = usize::try_from(count).map_err(|_| incorrect(oid))?;
    // Each element takes at least its length: a count beyond that is made up.
    if count > body.0.len() / 4 || matches!(item, 22 | 30 | 1000..=1034 | 1115 | 1182 | 1185 | 1231)
    {
        return Err(incorrect(oid));
    }
    let items = (0..count).map(|_| match body.value()? {
        None => Ok(Value::Null),
        Some(bytes) => binary(item, bytes),
    });
    items.collect::<Result<_>>().map(Value::Array)
}

/// PostgreSQL's binary NUMERIC: the unscaled value and the scale.
pub(crate) fn postgres_numeric(bytes: &[u8]) -> Result<(i128, u8)> {
    let mut body = Fields(Bytes::copy_from_slice(bytes));
    let (count, weight) = (i32::from(body.i16()?), i32::from(body.i16()?));
    let (sign, scale) = (body.i16()? as u16, i32::from(body.i16()?));
    if !matches!(sign, 0 | 0x4000) {
        fail!(NumericValueOutOfRange, "numeric value NaN or infinity is not supported");
    }
    let scale_u8 = u8::try_from(scale).ok().filter(|scale| *scale <= 38).ok_or_else(too_wide)?;
    // Value = Σ group × 10000^(weight − i), taken to an integer by 10^scale.
    let mut unscaled: i128 = 0;
    let mut power = (weight + 1) * 4 + scale;
    for _ in 0..count {
        let group = i128::from(body.i16()?);
        if !(0..10_000).contains(&group) {
            return Err(incorrect(1700));
        }
        power -= 4;
        unscaled = match u32::try_from(power) {
            Ok(power) if group != 0 => 10_i128
                .checked_pow(power)
                .and_then(|unit| unit.checked_mul(group))
                .and_then(|part| unscaled.checked_add(part))
                .ok_or_else(too_wide)?,
            Ok(_) => unscaled,
            // Places beyond the scale are zeros of the last group.
            Err(_) if power > -4 => {
                let rest = group / 10_i128.pow(power.unsigned_abs());
                unscaled.checked_add(rest).ok_or_else(too_wide)?
            }
            Err(_) => unscaled,
        };
    }
    if !body.0.is_empty() {
        return Err(incorrect(1700));
    }
    Ok((if sign == 0 { unscaled } else { -unscaled }, scale_u8))
}

fn too_wide() -> Error {
    error!(NumericValueOutOfRange, "numeric value has more than 38 digits")
}

fn incorrect(oid: u32) -> Error {
    error!(InvalidBinaryRepresentation, "incorrect binary data format in bind parameter")
        .detail(format!("The parameter's type has OID {oid}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(oid: u32, bytes: &[u8]) -> Value {
        binary(oid, Bytes::copy_from_slice(bytes)).unwrap()
    }

    #[test]
    fn values_are_read() {
        assert_eq!(value(23, &(-7_i32).to_be_bytes()), Value::Int(-7));
        assert_eq!(value(701, &1.5_f64.to_be_bytes()), Value::Float(1.5));
        assert_eq!(value(1082, &0_i32.to_be_bytes()), Value::Date(10_957));
        assert_eq!(value(1114, &i64::MAX.to_be_bytes()), Value::Timestamp(i64::MAX));
        assert_eq!(value(1184, &0_i64.to_be_bytes()), Value::TimestampTz(946_684_800_000_000));
        let numeric = [0, 3, 0, 1, 0, 0, 0, 4, 0, 1, 9, 41, 26, 133];
        assert_eq!(value(1700, &numeric), Value::Decimal { unscaled: 123_456_789, scale: 4 });
        let mut interval = 1_000_000_i64.to_be_bytes().to_vec();
        interval.extend([0, 0, 0, 2, 0, 0, 0, 1]);
        assert_eq!(value(1186, &interval), Value::Text("1 mon 2 days 00:00:01".to_owned()));
        let mut list = Vec::new();
        for word in [1, 1, 23, 2, 1, 4, 5, -1] {
            list.extend(i32::to_be_bytes(word));
        }
        assert_eq!(value(1007, &list), Value::Array(vec![Value::Int(5), Value::Null]));
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for (oid, bytes) in [(23, &[0_u8; 3][..]), (23, &[0; 5]), (1700, &[0; 7]), (1007, &[0; 8])]
        {
            let fault = binary(oid, Bytes::copy_from_slice(bytes)).unwrap_err();
            assert_eq!(fault.sqlstate().code(), "22P03");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            for oid in [16, 18, 20, 21, 23, 25, 26, 700, 701, 1007, 1009, 1043, 1082, 1083, 1114,
                1184, 1186, 1266, 1700, 6551]
            {
                let _ = binary(oid, Bytes::copy_from_slice(&bytes));
            }
        }
    }
}
