//! DECIMAL as text, as PostgreSQL's binary NUMERIC and as Redshift's binary NUMERIC.

use super::text::digits;

const TEN_19: u128 = 10_u128.pow(19);
/// An i128 has at most 39 digits; one place more for rounding to pairs.
const DIGITS: usize = 40;

/// The digits of a magnitude at the end of `buffer`; returns where they start.
fn magnitude(buffer: &mut [u8; DIGITS], value: u128) -> usize {
    if let Ok(small) = u64::try_from(value) {
        return digits(buffer, small);
    }
    // Three parts at most: 2^128 is below 10^39, so each quotient fits into 64 bits.
    let (mut rest, mut end) = (value, DIGITS);
    while rest >= TEN_19 {
        let part = (rest % TEN_19) as u64;
        rest /= TEN_19;
        let start = digits(&mut buffer[..end], part);
        buffer[end - 19..start].fill(b'0');
        end -= 19;
    }
    if rest == 0 { end } else { digits(&mut buffer[..end], rest as u64) }
}

pub(super) fn put_text(out: &mut Vec<u8>, value: i128, scale: u8) {
    let mut buffer = [0; DIGITS];
    let start = magnitude(&mut buffer, value.unsigned_abs());
    let digits = &buffer[start..];
    if value < 0 {
        out.push(b'-');
    }
    let scale = usize::from(scale);
    if scale == 0 {
        out.extend_from_slice(digits);
    } else if digits.len() <= scale {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', scale - digits.len()));
        out.extend_from_slice(digits);
    } else {
        let point = digits.len() - scale;
        out.extend_from_slice(&digits[..point]);
        out.push(b'.');
        out.extend_from_slice(&digits[point..]);
    }
}

/// PostgreSQL: digits in base 10,000, their count, weight, sign and display scale.
pub(super) fn put_postgres(out: &mut Vec<u8>, value: i128, scale: u8) {
    let mut buffer = [0; DIGITS];
    let start = magnitude(&mut buffer, value.unsigned_abs());
    let digits = &buffer[start..];
    let scale = usize::from(scale);
    // Groups of four to either side of the decimal point: `lead` zeros complete the first.
    let whole = digits.len().saturating_sub(scale);
    let zeros = scale.saturating_sub(digits.len());
    let mut groups = [0_i16; 24];
    let mut count = 0;
    let lead = (4 - whole % 4) % 4;
    let places = lead + zeros + digits.len();
    for group in 0..places.div_ceil(4) {
        let mut sum = 0;
        for place in group * 4..group * 4 + 4 {
            let digit = place.checked_sub(lead + zeros).and_then(|at| digits.get(at));
            sum = sum * 10 + i16::from(digit.map_or(0, |digit| digit - b'0'));
        }
        groups[count] = sum;
        count += 1;
    }
    let mut weight = (whole.div_ceil(4)) as i16 - 1;
    let mut first = 0;
    while first < count && groups[first] == 0 {
        first += 1;
        weight -= 1;
    }
    while count > first && groups[count - 1] == 0 {
        count -= 1;
    }
    let groups = &groups[first..count];
    if groups.is_empty() {
        weight = 0;
    }
    let sign: u16 = if value < 0 { 0x4000 } else { 0 };
    out.extend_from_slice(&(groups.len() as i16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&(scale as i16).to_be_bytes());
    groups.iter().for_each(|group| out.extend_from_slice(&group.to_be_bytes()));
}

/// Redshift: the unscaled value in 8 bytes up to 18 digits, else in 16; the scale is in the
/// type modifier.
pub(super) fn put_redshift(out: &mut Vec<u8>, value: i128, precision: u8) {
    match i64::try_from(value) {
        Ok(small) if precision <= 18 => out.extend_from_slice(&small.to_be_bytes()),
        _ => out.extend_from_slice(&value.to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::postgres_numeric;
    use proptest::prelude::*;

    fn text(value: i128, scale: u8) -> String {
        let mut out = Vec::new();
        put_text(&mut out, value, scale);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_has_all_places() {
        assert_eq!(text(0, 0), "0");
        assert_eq!(text(0, 2), "0.00");
        assert_eq!(text(-5, 3), "-0.005");
        assert_eq!(text(123_456, 4), "12.3456");
        assert_eq!(text(10_i128.pow(19), 0), "10000000000000000000");
        let nines = 10_i128.pow(38) - 1;
        assert_eq!(text(-nines, 37), format!("-9.{}", "9".repeat(37)));
        assert_eq!(text(10_i128.pow(37), 0), format!("1{}", "0".repeat(37)));
    }

    #[test]
    fn binary_is_postgresqls() {
        let mut out = Vec::new();
        put_postgres(&mut out, 123_456_789, 4);
        assert_eq!(out, [0, 3, 0, 1, 0, 0, 0, 4, 0, 1, 9, 41, 26, 133]);
        out.clear();
        put_postgres(&mut out, 0, 2);
        assert_eq!(out, [0, 0, 0, 0, 0, 0, 0, 2]);
    }

    proptest! {
        #[test]
        fn both_forms_read_back(
            value in -(10_i128.pow(38) - 1)..10_i128.pow(38),
            scale in 0_u8..38,
        ) {
            let printed = text(value, scale);
            let unscaled: i128 = printed.replace('.', "").parse().unwrap();
            prop_assert_eq!(unscaled, value);
            let mut out = Vec::new();
            put_postgres(&mut out, value, scale);
            prop_assert_eq!(postgres_numeric(&out).unwrap(), (value, scale));
        }
    }
}
