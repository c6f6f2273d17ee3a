//! Numbers as text, both ways, and rounding.

use base::{Error, Result, SqlType, error};
use datafusion::common::ScalarValue;

use super::cast::numeric_overflow;

fn invalid(kind: impl std::fmt::Display, text: &str) -> Error {
    error!(InvalidTextRepresentation, "invalid input syntax for type {kind}: \"{text}\"")
}

/// A whole number from text.
pub(crate) fn parse_whole<N: TryFrom<i128>>(text: &str, to: SqlType) -> Result<N> {
    let trimmed = text.trim();
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid(to, text));
    }
    let number = trimmed.parse::<i128>().ok().and_then(|n| N::try_from(n).ok());
    number.ok_or_else(|| {
        error!(NumericValueOutOfRange, "value \"{trimmed}\" is out of range for type {to}")
    })
}

/// A boolean from text, by any unambiguous beginning of its words.
pub(crate) fn parse_bool(text: &str) -> Result<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "t" | "tr" | "tru" | "true" | "y" | "ye" | "yes" | "1" | "on" => Ok(true),
        "f" | "fa" | "fal" | "fals" | "false" | "n" | "no" | "0" | "off" | "of" => Ok(false),
        _ => Err(invalid("boolean", text)),
    }
}

/// A double from text.
pub(crate) fn parse_double(text: &str) -> Result<f64> {
    let trimmed = text.trim();
    match trimmed.to_ascii_lowercase().as_str() {
        "nan" => return Ok(f64::NAN),
        "infinity" | "inf" | "+infinity" => return Ok(f64::INFINITY),
        "-infinity" | "-inf" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    let shaped = trimmed.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let number = if shaped { trimmed.parse::<f64>().ok() } else { None };
    match number {
        Some(number) if number == 0.0 && has_digits(trimmed) => Err(error!(
            NumericValueOutOfRange,
            "\"{trimmed}\" is out of range for type double precision"
        )),
        Some(number) if number.is_finite() => Ok(number),
        Some(_) => Err(error!(
            NumericValueOutOfRange,
            "\"{trimmed}\" is out of range for type double precision"
        )),
        None => Err(invalid("double precision", text)),
    }
}

/// True for a number that is not zero as it is written.
fn has_digits(text: &str) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    mantissa.bytes().any(|b| (b'1'..=b'9').contains(&b))
}

/// A real from text.
pub(crate) fn parse_real(text: &str) -> Result<f32> {
    let wide = parse_double(text)?;
    let narrow = wide as f32;
    if wide.is_finite() && !narrow.is_finite() {
        return Err(error!(NumericValueOutOfRange, "\"{text}\" is out of range for type real"));
    }
    Ok(narrow)
}

/// A decimal from text, rounded half away from zero to the scale.
pub(crate) fn parse_decimal(text: &str, precision: u8, scale: u8) -> Result<i128> {
    let trimmed = text.trim();
    let bad = || invalid("numeric", text);
    let (mantissa, exponent) = match trimmed.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| bad())?),
        None => (trimmed, 0),
    };
    let negative = mantissa.starts_with('-');
    let digits = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = || whole.bytes().chain(fraction.bytes());
    if all().next().is_none() || !all().all(|b| b.is_ascii_digit()) || exponent.abs() > 400 {
        return Err(bad());
    }
    let shift = i32::from(scale) + exponent - i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let mut value: i128 = 0;
    let kept =
        i64::try_from(whole.len() + fraction.len()).unwrap_or(i64::MAX) + i64::from(shift).min(0);
    let mut round_up = false;
    for (n, digit) in (0i64..).zip(all()) {
        if n < kept {
            value = value
                .checked_mul(10)
                .and_then(|value| value.checked_add(i128::from(digit - b'0')))
                .ok_or_else(numeric_overflow)?;
        } else {
            round_up = n == kept && digit >= b'5';
            break;
        }
    }
    if shift > 0 && value != 0 {
        let factor = u32::try_from(shift).ok().and_then(|shift| 10i128.checked_pow(shift));
        value = factor.and_then(|factor| value.checked_mul(factor)).ok_or_else(numeric_overflow)?;
    }
    value += i128::from(round_up);
    if value >= limit(precision) {
        return Err(numeric_overflow());
    }
    Ok(if negative { -value } else { value })
}

/// A decimal from text with as many digits as the text has.
pub(crate) fn exact_decimal(text: &str) -> Result<ScalarValue> {
    let mantissa = text.trim().split(['e', 'E']).next().unwrap_or_default();
    let fraction = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.trim().len());
    let scale = if mantissa.len() < text.trim().len() { 10 } else { fraction.min(37) };
    let scale = u8::try_from(scale).unwrap_or(37);
    let value = parse_decimal(text, 38, scale)?;
    Ok(ScalarValue::Decimal128(Some(value), 38, scale.cast_signed()))
}

/// The first number that a precision cannot hold.
pub(crate) fn limit(precision: u8) -> i128 {
    10i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX)
}

/// An unscaled decimal rounded half away from zero to a whole number.
pub(crate) fn round_unscaled(unscaled: i128, scale: i8) -> i128 {
    let Ok(scale) = u32::try_from(scale) else { return unscaled };
    let factor = 10i128.checked_pow(scale).unwrap_or(i128::MAX);
    let half = factor / 2;
    if scale == 0 {
        unscaled
    } else if unscaled >= 0 {
        unscaled / factor + i128::from(unscaled % factor >= half)
    } else {
        unscaled / factor - i128::from(-(unscaled % factor) >= half)
    }
}

/// A float as the shortest text that reads back as the same, with an exponent where PostgreSQL
/// has one.
pub(crate) fn print_float(x: f64) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() };
    }
    let size = x.abs();
    if size != 0.0 && !(1e-4..1e15).contains(&size) {
        let text = format!("{x:e}");
        if let Some((mantissa, exponent)) = text.split_once('e') {
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            return format!("{mantissa}e{sign}{digits:0>2}");
        }
    }
    format!("{x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_round_half_away_from_zero() {
        assert_eq!(parse_decimal("1.005", 10, 2).unwrap(), 101);
        assert_eq!(parse_decimal("-1.005", 10, 2).unwrap(), -101);
        assert_eq!(parse_decimal("12e2", 10, 2).unwrap(), 120_000);
        assert_eq!(parse_decimal("0.0049", 10, 2).unwrap(), 0);
        assert_eq!(parse_decimal("99.995", 4, 2).unwrap_err().sqlstate().code(), "22003");
        assert_eq!(parse_decimal("1.2.3", 4, 2).unwrap_err().sqlstate().code(), "22P02");
        assert_eq!(round_unscaled(250, 2), 3);
        assert_eq!(round_unscaled(-250, 2), -3);
        assert_eq!(round_unscaled(249, 2), 2);
    }

    #[test]
    fn whole_numbers_say_what_is_wrong() {
        assert_eq!(parse_whole::<i16>(" -5 ", SqlType::SmallInt).unwrap(), -5);
        let range = parse_whole::<i16>("70000", SqlType::SmallInt).unwrap_err();
        assert_eq!(range.sqlstate().code(), "22003");
        let text = parse_whole::<i16>("7x", SqlType::SmallInt).unwrap_err();
        assert_eq!(text.sqlstate().code(), "22P02");
    }
}
