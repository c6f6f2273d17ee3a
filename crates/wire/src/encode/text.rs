//! Values in text format, as PostgreSQL and Redshift print them.

use std::io::Write;

use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray,
    LargeBinaryArray, LargeStringArray, PrimitiveArray, StringArray, StringViewArray,
};
use arrow_schema::DataType;
use base::types::timetz;
use base::{Result, SqlType};

use super::zone::Shift;
use super::{Cell, Style, array, datetime, downcast, interval, numeric};

pub(super) fn cell(array: &ArrayRef, sql_type: SqlType, style: &Style) -> Result<Cell> {
    Ok(match sql_type {
        SqlType::Boolean => {
            let values: BooleanArray = downcast(array)?;
            Box::new(move |row, out| out.push(if values.value(row) { b't' } else { b'f' }))
        }
        SqlType::SmallInt => {
            let values: PrimitiveArray<Int16Type> = downcast(array)?;
            Box::new(move |row, out| put_int(out, i64::from(values.value(row))))
        }
        SqlType::Integer => {
            let values: PrimitiveArray<Int32Type> = downcast(array)?;
            Box::new(move |row, out| put_int(out, i64::from(values.value(row))))
        }
        SqlType::BigInt
        | SqlType::Oid
        | SqlType::Xid
        | SqlType::RegProc
        | SqlType::RegClass
        | SqlType::RegType => {
            let values: PrimitiveArray<Int64Type> = downcast(array)?;
            Box::new(move |row, out| put_int(out, values.value(row)))
        }
        SqlType::Real => {
            let values: PrimitiveArray<Float32Type> = downcast(array)?;
            let digits = style.float_digits;
            Box::new(move |row, out| put_f32(out, values.value(row), digits))
        }
        SqlType::Double => {
            let values: PrimitiveArray<Float64Type> = downcast(array)?;
            let digits = style.float_digits;
            Box::new(move |row, out| put_f64(out, values.value(row), digits))
        }
        SqlType::Decimal { scale, .. } => {
            let values: PrimitiveArray<Decimal128Type> = downcast(array)?;
            Box::new(move |row, out| numeric::put_text(out, values.value(row), scale))
        }
        SqlType::Char(width) => padded(array, width as usize)?,
        SqlType::Varchar(_)
        | SqlType::Unknown
        | SqlType::Text
        | SqlType::Name
        | SqlType::QuotedChar => string(array)?,
        SqlType::Varbyte(_) => bytes(array, put_hex)?,
        SqlType::Date
        | SqlType::Time
        | SqlType::TimeTz
        | SqlType::Timestamp
        | SqlType::TimestampTz => moment(array, sql_type, style)?,
        SqlType::Interval | SqlType::IntervalYearMonth | SqlType::IntervalDaySecond => {
            interval::text(array, sql_type)?
        }
        SqlType::Int2Vector | SqlType::OidVector => array::vector_text(array, sql_type, style)?,
        SqlType::TextArray
        | SqlType::NameArray
        | SqlType::Int2Array
        | SqlType::Int4Array
        | SqlType::OidArray
        | SqlType::AclItemArray => array::text(array, sql_type, style)?,
        SqlType::Void => Box::new(|_, _| ()),
    })
}

fn moment(array: &ArrayRef, sql_type: SqlType, style: &Style) -> Result<Cell> {
    Ok(match sql_type {
        SqlType::Date => {
            let values: PrimitiveArray<Date32Type> = downcast(array)?;
            Box::new(move |row, out| datetime::put_date(out, values.value(row)))
        }
        SqlType::Time => {
            let values: PrimitiveArray<Time64MicrosecondType> = downcast(array)?;
            Box::new(move |row, out| datetime::put_time(out, values.value(row)))
        }
        SqlType::TimeTz => {
            let values: PrimitiveArray<Int64Type> = downcast(array)?;
            Box::new(move |row, out| {
                let (time_us, zone_s) = timetz::unpack(values.value(row));
                datetime::put_time(out, time_us);
                datetime::put_offset(out, zone_s);
            })
        }
        SqlType::TimestampTz => {
            let values: PrimitiveArray<TimestampMicrosecondType> = downcast(array)?;
            let shift = Shift::new(style.zone.clone());
            Box::new(move |row, out| {
                let us = values.value(row);
                datetime::put_timestamp(out, us, Some(shift.offset_s(us)));
            })
        }
        _ => {
            let values: PrimitiveArray<TimestampMicrosecondType> = downcast(array)?;
            Box::new(move |row, out| datetime::put_timestamp(out, values.value(row), None))
        }
    })
}

/// Text as it is, from any of Arrow's string arrays.
pub(super) fn string(array: &ArrayRef) -> Result<Cell> {
    Ok(match array.data_type() {
        DataType::Utf8 => {
            let values: StringArray = downcast(array)?;
            Box::new(move |row, out| out.extend_from_slice(values.value(row).as_bytes()))
        }
        DataType::LargeUtf8 => {
            let values: LargeStringArray = downcast(array)?;
            Box::new(move |row, out| out.extend_from_slice(values.value(row).as_bytes()))
        }
        _ => {
            let values: StringViewArray = downcast(array)?;
            Box::new(move |row, out| out.extend_from_slice(values.value(row).as_bytes()))
        }
    })
}

/// CHAR(n) is kept without trailing blanks and sent with them.
pub(super) fn padded(array: &ArrayRef, width: usize) -> Result<Cell> {
    let plain = string(array)?;
    Ok(Box::new(move |row, out| {
        let start = out.len();
        plain(row, out);
        let len = out.len().max(start + width);
        out.resize(len, b' ');
    }))
}

/// Bytes written by `put`, from any of Arrow's binary arrays.
pub(super) fn bytes(array: &ArrayRef, put: fn(&mut Vec<u8>, &[u8])) -> Result<Cell> {
    Ok(match array.data_type() {
        DataType::Binary => {
            let values: BinaryArray = downcast(array)?;
            Box::new(move |row, out| put(out, values.value(row)))
        }
        DataType::LargeBinary => {
            let values: LargeBinaryArray = downcast(array)?;
            Box::new(move |row, out| put(out, values.value(row)))
        }
        DataType::FixedSizeBinary(_) => {
            let values: FixedSizeBinaryArray = downcast(array)?;
            Box::new(move |row, out| put(out, values.value(row)))
        }
        _ => {
            let values: BinaryViewArray = downcast(array)?;
            Box::new(move |row, out| put(out, values.value(row)))
        }
    })
}

/// VARBYTE prints as hexadecimal digits without a prefix.
fn put_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

pub(super) fn put_raw(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

const PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut at = 0;
    while at < 100 {
        pairs[at * 2] = b'0' + (at / 10) as u8;
        pairs[at * 2 + 1] = b'0' + (at % 10) as u8;
        at += 1;
    }
    pairs
};

/// The decimal digits of `value`, at the end of `buffer`; returns where they start.
pub(super) fn digits(buffer: &mut [u8], mut value: u64) -> usize {
    let mut at = buffer.len();
    while value >= 100 {
        let pair = (value % 100) as usize * 2;
        value /= 100;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if value >= 10 {
        at -= 2;
        let pair = value as usize * 2;
        buffer[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        buffer[at] = b'0' + value as u8;
    }
    at
}

pub(super) fn put_uint(out: &mut Vec<u8>, value: u64) {
    let mut buffer = [0; 20];
    let start = digits(&mut buffer, value);
    out.extend_from_slice(&buffer[start..]);
}

pub(super) fn put_int(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    put_uint(out, value.unsigned_abs());
}

/// At least two digits.
pub(super) fn put_pair(out: &mut Vec<u8>, value: u64) {
    if value < 100 {
        let pair = value as usize * 2;
        out.extend_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        put_uint(out, value);
    }
}

pub(super) fn put_f64(out: &mut Vec<u8>, value: f64, extra_digits: i32) {
    if !value.is_finite() {
        return put_special(out, value.is_nan(), value < 0.0);
    }
    let mut text = Short::default();
    if extra_digits > 0 {
        // A Short holds every shortest form of a float.
        let _ = write!(text, "{value:e}");
        put_number(out, text.bytes(), 15);
    } else {
        let precision = (15 + extra_digits).clamp(1, 17);
        let _ = write!(text, "{value:.*e}", precision as usize - 1);
        put_number(out, text.bytes(), precision);
    }
}

pub(super) fn put_f32(out: &mut Vec<u8>, value: f32, extra_digits: i32) {
    if !value.is_finite() {
        return put_special(out, value.is_nan(), value < 0.0);
    }
    let mut text = Short::default();
    if extra_digits > 0 {
        let _ = write!(text, "{value:e}");
        put_number(out, text.bytes(), 6);
    } else {
        let precision = (6 + extra_digits).clamp(1, 9);
        let _ = write!(text, "{value:.*e}", precision as usize - 1);
        put_number(out, text.bytes(), precision);
    }
}

fn put_special(out: &mut Vec<u8>, nan: bool, negative: bool) {
    out.extend_from_slice(match (nan, negative) {
        (true, _) => b"NaN",
        (false, true) => b"-Infinity",
        (false, false) => b"Infinity",
    });
}

/// Lays out `d.ddde±x` as C's `%g` does: exponents below −4 or from `plain_max` on stay.
fn put_number(out: &mut Vec<u8>, text: &[u8], plain_max: i32) {
    let text = match text.split_first() {
        Some((b'-', rest)) => {
            out.push(b'-');
            rest
        }
        _ => text,
    };
    let split = text.iter().position(|byte| *byte == b'e').unwrap_or(text.len());
    let exponent = std::str::from_utf8(text.get(split + 1..).unwrap_or_default())
        .ok()
        .and_then(|text| text.parse::<i32>().ok())
        .unwrap_or(0);
    let mut digits = [0_u8; 24];
    let mut count = 0;
    for byte in text[..split].iter().filter(|byte| **byte != b'.') {
        digits[count] = *byte;
        count += 1;
    }
    while count > 1 && digits[count - 1] == b'0' {
        count -= 1;
    }
    let digits = &digits[..count];
    if exponent < -4 || exponent >= plain_max {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        put_pair(out, u64::from(exponent.unsigned_abs()));
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', exponent.unsigned_abs() as usize - 1));
        out.extend_from_slice(digits);
    } else {
        let whole = exponent as usize + 1;
        out.extend_from_slice(&digits[..count.min(whole)]);
        out.extend(std::iter::repeat_n(b'0', whole.saturating_sub(count)));
        if count > whole {
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
    }
}

/// A few bytes on the stack to format a number into.
#[derive(Default)]
struct Short {
    bytes: [u8; 32],
    len: usize,
}

impl Short {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Write for Short {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        let len = text.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..self.len + len].copy_from_slice(&text[..len]);
        self.len += len;
        Ok(len)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f64_text(value: f64, extra: i32) -> String {
        let mut out = Vec::new();
        put_f64(&mut out, value, extra);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_print_as_in_postgresql() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e20, "1e+20"),
            (1e15, "1e+15"),
            (1e14, "100000000000000"),
            (123_456_789.123_456_79, "123456789.12345679"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(f64_text(value, 1), text);
        }
        assert_eq!(f64_text(0.1 + 0.2, 0), "0.3");
        assert_eq!(f64_text(1e15, 0), "1e+15");
        assert_eq!(f64_text(2.0 / 3.0, 0), "0.666666666666667");
        assert_eq!(f64_text(2.0 / 3.0, -12), "0.667");
    }

    #[test]
    fn reals_print_as_in_postgresql() {
        for (value, text) in [
            (0.1_f32, "0.1"),
            (1e6, "1e+06"),
            (123_456.0, "123456"),
            (1_234_567.0, "1.234567e+06"),
            (3.402_823_5e38, "3.4028235e+38"),
        ] {
            let mut out = Vec::new();
            put_f32(&mut out, value, 1);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn integers_print_exactly() {
        for value in [0, 7, 10, 99, 100, 101, 12_345, -1, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_int(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
