//! Numbers and booleans straight from bytes.
//!
//! Blanks around a number are allowed, as Redshift allows them; a value of blanks only is not
//! a number. No allocation, no intermediate text.

use crate::reject::Fault;

/// An integer within `min..=max`.
#[inline]
pub(crate) fn integer(bytes: &[u8], min: i64, max: i64) -> Result<i64, Fault> {
    let (negative, digits, at) = sign(bytes)?;
    if digits.len() > 18 {
        return long_integer(negative, digits, at, min, max);
    }
    let mut value = 0_i64;
    for (i, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Fault::Digit((at + i) as u32));
        }
        value = value * 10 + i64::from(digit);
    }
    let value = if negative { -value } else { value };
    if value < min || value > max { Err(Fault::Overflow) } else { Ok(value) }
}

#[cold]
fn long_integer(
    negative: bool,
    digits: &[u8],
    at: usize,
    min: i64,
    max: i64,
) -> Result<i64, Fault> {
    if let Some(i) = digits.iter().position(|b| !b.is_ascii_digit()) {
        return Err(Fault::Digit((at + i) as u32));
    }
    let value = digits.iter().try_fold(0_i128, |value, byte| {
        value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))
    });
    let value = value.map(|v| if negative { -v } else { v }).and_then(|v| i64::try_from(v).ok());
    value.filter(|v| (min..=max).contains(v)).ok_or(Fault::Overflow)
}

/// Strips blanks and the sign. What is left starts at the returned offset and is not empty.
#[inline]
fn sign(bytes: &[u8]) -> Result<(bool, &[u8], usize), Fault> {
    let mut rest = bytes;
    if let [b' ' | b'\t', ..] | [.., b' ' | b'\t'] = rest {
        rest = trim(bytes);
    }
    let (negative, digits) = match rest {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let at = offset(bytes, digits);
    if digits.is_empty() {
        return Err(Fault::Digit(if rest.is_empty() { 0 } else { at as u32 }));
    }
    Ok((negative, digits, at))
}

fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

/// Where `part`, a trimmed part of `bytes`, begins in it.
fn offset(bytes: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(bytes.as_ptr() as usize)
}

/// What a DECIMAL column takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DecimalShape {
    pub(crate) scale: u8,
    /// 10 to the power of the precision: the first magnitude that does not fit.
    pub(crate) limit: i128,
    /// ROUNDEC: round half away from zero instead of truncating.
    pub(crate) round: bool,
}

impl DecimalShape {
    pub(crate) fn new(precision: u8, scale: u8, round: bool) -> Self {
        Self { scale, limit: 10_i128.pow(u32::from(precision.min(38))), round }
    }
}

/// A DECIMAL as its unscaled value.
#[inline]
pub(crate) fn decimal(bytes: &[u8], shape: DecimalShape) -> Result<i128, Fault> {
    let (negative, digits, at) = sign(bytes)?;
    // Up to 18 digits after scaling fit 64-bit arithmetic, which is several times faster.
    let magnitude = if digits.len() + usize::from(shape.scale) <= 18 {
        i128::from(short_decimal(digits, at, shape)?)
    } else {
        long_decimal(digits, at, shape)?
    };
    if magnitude >= shape.limit {
        return Err(Fault::Overflow);
    }
    Ok(if negative { -magnitude } else { magnitude })
}

#[inline]
fn short_decimal(digits: &[u8], at: usize, shape: DecimalShape) -> Result<i64, Fault> {
    let mut value = 0_i64;
    let mut i = 0;
    while i < digits.len() {
        let digit = digits[i].wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value * 10 + i64::from(digit);
        i += 1;
    }
    let whole = i;
    let mut scale = shape.scale;
    let mut round = false;
    if i < digits.len() {
        if digits[i] != b'.' {
            return Err(Fault::Digit((at + i) as u32));
        }
        i += 1;
        while i < digits.len() {
            let digit = digits[i].wrapping_sub(b'0');
            if digit > 9 {
                return Err(bad_decimal(digits[i], at + i));
            }
            if scale > 0 {
                value = value * 10 + i64::from(digit);
                scale -= 1;
            } else if i == whole + 1 + usize::from(shape.scale) {
                round = shape.round && digit >= 5;
            }
            i += 1;
        }
        if digits.len() == 1 {
            return Err(Fault::Decimal(at as u32));
        }
    }
    for _ in 0..scale {
        value *= 10;
    }
    Ok(value + i64::from(round))
}

fn bad_decimal(byte: u8, at: usize) -> Fault {
    if byte == b'.' { Fault::Decimal(at as u32) } else { Fault::Digit(at as u32) }
}

#[cold]
fn long_decimal(digits: &[u8], at: usize, shape: DecimalShape) -> Result<i128, Fault> {
    let point = digits.iter().position(|b| *b == b'.').unwrap_or(digits.len());
    let (whole, fraction) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
    if let Some(i) = whole.iter().position(|b| !b.is_ascii_digit()) {
        return Err(Fault::Digit((at + i) as u32));
    }
    if let Some(i) = fraction.iter().position(|b| !b.is_ascii_digit()) {
        return Err(bad_decimal(fraction[i], at + point + 1 + i));
    }
    if whole.is_empty() && fraction.is_empty() {
        return Err(Fault::Decimal(at as u32));
    }
    let scale = usize::from(shape.scale);
    let kept = &fraction[..fraction.len().min(scale)];
    let round = shape.round && fraction.get(scale).is_some_and(|digit| *digit >= b'5');
    let padding = std::iter::repeat_n(&b'0', scale - kept.len());
    whole
        .iter()
        .chain(kept)
        .chain(padding)
        .try_fold(0_i128, |value, byte| value.checked_mul(10)?.checked_add(i128::from(byte - b'0')))
        .and_then(|value| value.checked_add(i128::from(round)))
        .ok_or(Fault::Overflow)
}

/// A DOUBLE PRECISION.
pub(crate) fn double(bytes: &[u8]) -> Result<f64, Fault> {
    let text = float_text(bytes)?;
    let value: f64 = text.parse().map_err(|_| float_fault(bytes))?;
    if value.is_infinite() && text.bytes().any(|b| b.is_ascii_digit()) {
        return Err(Fault::Overflow);
    }
    Ok(value)
}

/// A REAL.
pub(crate) fn real(bytes: &[u8]) -> Result<f32, Fault> {
    let text = float_text(bytes)?;
    let value: f32 = text.parse().map_err(|_| float_fault(bytes))?;
    if value.is_infinite() && text.bytes().any(|b| b.is_ascii_digit()) {
        return Err(Fault::Overflow);
    }
    Ok(value)
}

fn float_text(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(trim(bytes)).map_err(|_| float_fault(bytes))
}

#[cold]
fn float_fault(bytes: &[u8]) -> Fault {
    let fine = |b: &u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E' | b' ');
    let at = bytes.iter().position(|b| !fine(b)).unwrap_or(bytes.len().saturating_sub(1));
    Fault::Float(at as u32)
}

/// A BOOLEAN in the spellings that Redshift takes.
pub(crate) fn boolean(bytes: &[u8]) -> Result<bool, Fault> {
    match bytes {
        b"t" | b"T" | b"1" | b"y" | b"Y" => Ok(true),
        b"f" | b"F" | b"0" | b"n" | b"N" => Ok(false),
        _ => {
            let word = trim(bytes).to_ascii_lowercase();
            match &word[..] {
                b"true" | b"t" | b"yes" | b"y" | b"1" => Ok(true),
                b"false" | b"f" | b"no" | b"n" | b"0" => Ok(false),
                _ => Err(Fault::Boolean),
            }
        }
    }
}

/// A VARBYTE in hexadecimal, appended to `out`.
pub(crate) fn hex(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    for (i, [high, low]) in pairs.iter().enumerate() {
        let digit =
            |byte: u8, at: usize| char::from(byte).to_digit(16).ok_or(Fault::Digit(at as u32));
        out.push((digit(*high, 2 * i)? << 4 | digit(*low, 2 * i + 1)?) as u8);
    }
    if rest.is_empty() { Ok(()) } else { Err(Fault::Digit(bytes.len() as u32 - 1)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dec(text: &str, precision: u8, scale: u8, round: bool) -> Result<i128, Fault> {
        decimal(text.as_bytes(), DecimalShape::new(precision, scale, round))
    }

    #[test]
    fn integers() {
        let int = |text: &str| integer(text.as_bytes(), i32::MIN.into(), i32::MAX.into());
        assert_eq!(int("-2147483648"), Ok(-2_147_483_648));
        assert_eq!(int(" +7 "), Ok(7));
        assert_eq!(int("2147483648"), Err(Fault::Overflow));
        assert_eq!(int("1.0"), Err(Fault::Digit(1)));
        assert_eq!(int(" 4x"), Err(Fault::Digit(2)));
        assert_eq!(int(""), Err(Fault::Digit(0)));
        assert_eq!(int("   "), Err(Fault::Digit(0)));
        assert_eq!(int("-"), Err(Fault::Digit(1)));
        let big = |text: &str| integer(text.as_bytes(), i64::MIN, i64::MAX);
        assert_eq!(big("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(big("9223372036854775808"), Err(Fault::Overflow));
        assert_eq!(big("00000000000000000000000000000000000000000000000000001"), Ok(1));
        assert_eq!(big("1234567890123456789x"), Err(Fault::Digit(19)));
    }

    #[test]
    fn decimals_truncate_or_round() {
        assert_eq!(dec("12.345", 8, 2, false), Ok(1_234));
        assert_eq!(dec("12.345", 8, 2, true), Ok(1_235));
        assert_eq!(dec("-12.345", 8, 2, true), Ok(-1_235));
        assert_eq!(dec("12.3449", 8, 2, true), Ok(1_234));
        assert_eq!(dec("7", 8, 2, false), Ok(700));
        assert_eq!(dec(".5", 8, 2, false), Ok(50));
        assert_eq!(dec("5.", 8, 2, false), Ok(500));
        assert_eq!(dec("99.99", 4, 2, false), Ok(9_999));
        assert_eq!(dec("99.995", 4, 2, true), Err(Fault::Overflow));
        assert_eq!(dec("100", 4, 2, false), Err(Fault::Overflow));
        assert_eq!(dec(".", 8, 2, false), Err(Fault::Decimal(0)));
        assert_eq!(dec("1.2.3", 8, 2, false), Err(Fault::Decimal(3)));
        assert_eq!(dec("1e3", 8, 2, false), Err(Fault::Digit(1)));
        let nines = "9".repeat(38);
        assert_eq!(dec(&nines, 38, 0, false), Ok(10_i128.pow(38) - 1));
        assert_eq!(dec(&format!("{nines}9"), 38, 0, false), Err(Fault::Overflow));
        assert_eq!(dec(&format!("0.{nines}"), 38, 2, true), Ok(100));
    }

    #[test]
    fn floats_booleans_and_hex() {
        assert_eq!(double(b"-1.5e3"), Ok(-1_500.0));
        assert_eq!(double(b"1e400"), Err(Fault::Overflow));
        assert_eq!(real(b"1e39"), Err(Fault::Overflow));
        assert!(double(b"NaN").unwrap().is_nan());
        assert_eq!(double(b"1x"), Err(Fault::Float(1)));
        assert_eq!(boolean(b"TRUE"), Ok(true));
        assert_eq!(boolean(b"no"), Ok(false));
        assert_eq!(boolean(b"maybe"), Err(Fault::Boolean));
        let mut out = Vec::new();
        assert_eq!(hex(b"00fF", &mut out), Ok(()));
        assert_eq!(out, [0, 255]);
        assert_eq!(hex(b"0g", &mut out), Err(Fault::Digit(1)));
        assert_eq!(hex(b"012", &mut out), Err(Fault::Digit(2)));
    }

    proptest! {
        #[test]
        fn integers_agree_with_std(value in any::<i64>(), text in "[-+0-9 x.]{0,22}") {
            prop_assert_eq!(integer(value.to_string().as_bytes(), i64::MIN, i64::MAX), Ok(value));
            let ours = integer(text.as_bytes(), i64::MIN, i64::MAX).ok();
            prop_assert_eq!(ours, text.trim().parse::<i64>().ok());
        }

        #[test]
        fn decimals_agree_with_scaled_integers(
            unscaled in -999_999_999_999_999_999_999_i128..=999_999_999_999_999_999_999,
            scale in 0_u8..10, extra in "[0-9]{0,3}",
        ) {
            let power = 10_i128.pow(scale.into());
            let (whole, fraction) = (unscaled.abs() / power, unscaled.abs() % power);
            let sign = if unscaled < 0 { "-" } else { "" };
            let width = usize::from(scale);
            let fraction =
                if scale == 0 { String::new() } else { format!("{fraction:0width$}") };
            let text = format!("{sign}{whole}.{fraction}{extra}");
            prop_assert_eq!(dec(&text, 38, scale, false), Ok(unscaled));
            let up = i128::from(extra.as_bytes().first().is_some_and(|b| *b >= b'5'));
            let rounded = if unscaled < 0 { unscaled - up } else { unscaled + up };
            prop_assert!(dec(&text, 38, scale, true) == Ok(rounded)
                || (unscaled == 0 && sign.is_empty() && dec(&text, 38, scale, true) == Ok(up)));
        }
    }
}
