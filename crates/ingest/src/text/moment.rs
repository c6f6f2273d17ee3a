//! Dates, times and timestamps straight from bytes.
//!
//! Owns calendar arithmetic and Redshift's default formats, which have fast paths. Formats that
//! the user gives are in [`super::pattern`].

use super::pattern::{Parts, Pattern};
use crate::reject::Fault;

pub(crate) const DAY_US: i64 = 86_400_000_000;

/// How a DATE or TIMESTAMP column is read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Format {
    /// `YYYY-MM-DD`, `YYYY-MM-DD HH:MI:SS`, and with `OF` for TIMESTAMPTZ.
    Default,
    Auto,
    Pattern(Pattern),
    EpochSeconds,
    EpochMilliseconds,
}

/// Days since 1970-01-01 of a proleptic Gregorian date, or `None` when there is no such day.
#[inline]
pub(crate) fn days(year: i32, month: u32, day: u32) -> Option<i32> {
    if !(1..=12).contains(&month) || day == 0 || day > month_days(year, month) {
        return None;
    }
    // Years start in March here, so that the leap day is the last of its year.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = ((153 * m + 2) / 5 + day - 1) as i32;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

#[inline]
fn month_days(year: i32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[inline]
fn two(bytes: &[u8], at: usize) -> Option<u32> {
    let (a, b) = (bytes[at].wrapping_sub(b'0'), bytes[at + 1].wrapping_sub(b'0'));
    if a > 9 || b > 9 { None } else { Some(u32::from(a) * 10 + u32::from(b)) }
}

/// `YYYY-MM-DD` in exactly ten bytes.
#[inline]
fn iso_date(bytes: &[u8]) -> Option<i32> {
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let year = two(bytes, 0)? * 100 + two(bytes, 2)?;
    days(year as i32, two(bytes, 5)?, two(bytes, 8)?)
}

/// `HH:MI:SS` with up to six decimals of a second; further decimals are rounded off.
#[inline]
fn iso_time(bytes: &[u8]) -> Option<i64> {
    if bytes.len() < 8 || bytes[2] != b':' || bytes[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (two(bytes, 0)?, two(bytes, 3)?, two(bytes, 6)?);
    let fraction = match &bytes[8..] {
        [] => 0,
        [b'.', digits @ ..] => fraction_us(digits)?,
        _ => return None,
    };
    time_us(hour, minute, second, fraction)
}

/// Microseconds since midnight, or `None` for a time that no day has; 24:00:00 is one.
pub(crate) fn time_us(hour: u32, minute: u32, second: u32, fraction_us: i64) -> Option<i64> {
    let whole = i64::from(hour * 3_600 + minute * 60 + second) * 1_000_000 + fraction_us;
    (hour <= 24 && minute < 60 && second < 60 && whole <= DAY_US).then_some(whole)
}

/// Decimals of a second as microseconds.
pub(crate) fn fraction_us(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0;
    let mut unit = 100_000;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value += i64::from(digit) * unit;
        if unit == 0 {
            continue;
        }
        unit /= 10;
    }
    let round = digits.get(6).is_some_and(|digit| *digit >= b'5');
    Some(value + i64::from(round))
}

/// A DATE.
#[inline]
pub(crate) fn date(bytes: &[u8], format: &Format) -> Result<i32, Fault> {
    match format {
        Format::Default => iso_date(bytes).or_else(|| loose_date(bytes)),
        Format::Auto => super::pattern::auto(bytes).map(|parts| parts.days),
        Format::Pattern(pattern) => pattern.parse(bytes).and_then(|p| p.has_date.then_some(p.days)),
        Format::EpochSeconds | Format::EpochMilliseconds => None,
    }
    .ok_or(Fault::Date)
}

/// The default format with blanks around it, one-digit months and days, or a time after it.
#[cold]
fn loose_date(bytes: &[u8]) -> Option<i32> {
    let text = bytes.trim_ascii();
    let text = match text.iter().position(|b| *b == b' ') {
        Some(blank) => {
            iso_time(text[blank..].trim_ascii())?;
            &text[..blank]
        }
        None => text,
    };
    let mut parts = text.split(|b| *b == b'-');
    let mut number = |digits_min: usize, digits_max: usize| {
        let part = parts.next()?;
        let fits = (digits_min..=digits_max).contains(&part.len());
        (fits && part.iter().all(u8::is_ascii_digit))
            .then(|| part.iter().fold(0_u32, |n, b| n * 10 + u32::from(b - b'0')))
    };
    let (year, month, day) = (number(4, 6)?, number(1, 2)?, number(1, 2)?);
    if parts.next().is_some() { None } else { days(i32::try_from(year).ok()?, month, day) }
}

/// A TIMESTAMP in microseconds, local.
#[inline]
pub(crate) fn timestamp(bytes: &[u8], format: &Format) -> Result<i64, Fault> {
    if let Format::Default = format
        && let Some(value) = iso_timestamp(bytes)
    {
        return Ok(value);
    }
    moment(bytes, format).and_then(|parts| parts.local_us()).ok_or(Fault::Timestamp)
}

/// A TIMESTAMPTZ in microseconds UTC. Without a zone in the value it is UTC.
#[inline]
pub(crate) fn timestamp_tz(bytes: &[u8], format: &Format) -> Result<i64, Fault> {
    if let Format::Default = format
        && let Some(value) = iso_timestamp(bytes)
    {
        return Ok(value);
    }
    let parts = moment(bytes, format).ok_or(Fault::Timestamp)?;
    let local = parts.local_us().ok_or(Fault::Timestamp)?;
    Ok(local - i64::from(parts.zone_s.unwrap_or(0)) * 1_000_000)
}

#[inline]
fn iso_timestamp(bytes: &[u8]) -> Option<i64> {
    if bytes.len() < 19 || bytes[10] != b' ' {
        return None;
    }
    Some(i64::from(iso_date(&bytes[..10])?) * DAY_US + iso_time(&bytes[11..])?)
}

#[cold]
fn moment(bytes: &[u8], format: &Format) -> Option<Parts> {
    match format {
        Format::Default => {
            let text = bytes.trim_ascii();
            let (date, rest) = match text.iter().position(|b| *b == b' ') {
                Some(blank) => (&text[..blank], text[blank..].trim_ascii_start()),
                None => (text, &[][..]),
            };
            let (time_us, zone_s) = if rest.is_empty() { (0, None) } else { zoned_time(rest)? };
            Some(Parts { days: loose_date(date)?, time_us, zone_s, has_date: true })
        }
        Format::Auto => super::pattern::auto(bytes),
        Format::Pattern(pattern) => pattern.parse(bytes).filter(|parts| parts.has_date),
        Format::EpochSeconds => epoch(bytes, 1_000_000),
        Format::EpochMilliseconds => epoch(bytes, 1_000),
    }
}

/// Seconds or milliseconds since 1970, with decimals allowed.
fn epoch(bytes: &[u8], unit_us: i64) -> Option<Parts> {
    let shape = super::number::DecimalShape::new(38, 6, false);
    let scaled = super::number::decimal(bytes, shape).ok()?;
    let us = i64::try_from(scaled.checked_mul(unit_us.into())?.div_euclid(1_000_000)).ok()?;
    let days = i32::try_from(us.div_euclid(DAY_US)).ok()?;
    Some(Parts { days, time_us: us.rem_euclid(DAY_US), zone_s: None, has_date: true })
}

/// A time of day and the zone behind it, if there is one.
pub(crate) fn zoned_time(text: &[u8]) -> Option<(i64, Option<i32>)> {
    let end = text
        .iter()
        .position(|b| !(b.is_ascii_digit() || matches!(b, b':' | b'.')))
        .unwrap_or(text.len());
    let zone = text[end..].trim_ascii();
    let zone_s = if zone.is_empty() { None } else { Some(super::pattern::zone(zone)?) };
    Some((iso_time(&text[..end]).or_else(|| short_time(&text[..end]))?, zone_s))
}

/// `HH:MI`.
fn short_time(text: &[u8]) -> Option<i64> {
    if text.len() != 5 || text[2] != b':' {
        return None;
    }
    time_us(two(text, 0)?, two(text, 3)?, 0, 0)
}

/// A TIME in microseconds since midnight.
pub(crate) fn time(bytes: &[u8]) -> Result<i64, Fault> {
    if let Some(value) = iso_time(bytes).filter(|us| *us < DAY_US) {
        return Ok(value);
    }
    let (value, _) = zoned_time(bytes.trim_ascii()).ok_or(Fault::Time)?;
    if value < DAY_US { Ok(value) } else { Err(Fault::Time) }
}

/// A TIMETZ, packed as `base::types::timetz` does. Without a zone it is UTC.
pub(crate) fn time_tz(bytes: &[u8]) -> Result<i64, Fault> {
    let (value, zone_s) = zoned_time(bytes.trim_ascii()).ok_or(Fault::Time)?;
    if value >= DAY_US {
        return Err(Fault::Time);
    }
    Ok(base::types::timetz::pack(value, zone_s.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Datelike, NaiveDate};
    use proptest::prelude::*;

    #[test]
    fn default_formats() {
        assert_eq!(date(b"1970-01-02", &Format::Default), Ok(1));
        assert_eq!(date(b"1996-2-9", &Format::Default), date(b"1996-02-09", &Format::Default));
        assert_eq!(date(b"1996-02-09 10:00:00", &Format::Default), Ok(9_535));
        for bad in ["1997-02-29", "1997-13-01", "97-01-01", "1997/01/01", "", "1997-01-01x"] {
            assert_eq!(date(bad.as_bytes(), &Format::Default), Err(Fault::Date), "{bad}");
        }
        assert_eq!(timestamp(b"1970-01-01 00:00:01.5", &Format::Default), Ok(1_500_000));
        assert_eq!(timestamp(b"1970-01-02", &Format::Default), Ok(DAY_US));
        assert_eq!(timestamp(b"1970-01-01T00:00:01", &Format::Default), Err(Fault::Timestamp));
        assert_eq!(
            timestamp_tz(b"1970-01-01 01:00:00+01", &Format::Default),
            timestamp_tz(b"1970-01-01 00:00:00", &Format::Default)
        );
        assert_eq!(
            timestamp_tz(b"1970-01-01 00:00:00-08:30", &Format::Default),
            Ok(30_600_000_000)
        );
        assert_eq!(time(b"23:59:59.999999"), Ok(DAY_US - 1));
        assert_eq!(time(b"24:00:00"), Err(Fault::Time));
        assert_eq!(time(b"12:30"), Ok(45_000_000_000));
        let (us, zone_s) = base::types::timetz::unpack(time_tz(b"12:30:00+02").unwrap());
        assert_eq!((us, zone_s), (45_000_000_000, 7_200));
    }

    #[test]
    fn epochs() {
        assert_eq!(timestamp(b"1000", &Format::EpochSeconds), Ok(1_000_000_000));
        assert_eq!(timestamp(b"1000.5", &Format::EpochMilliseconds), Ok(1_000_500));
        assert_eq!(timestamp(b"-1", &Format::EpochSeconds), Ok(-1_000_000));
        assert_eq!(timestamp(b"soon", &Format::EpochSeconds), Err(Fault::Timestamp));
    }

    proptest! {
        #[test]
        fn days_agree_with_chrono(n in -1_000_000_i32..3_000_000) {
            let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
            let day = epoch + chrono::Duration::days(n.into());
            prop_assert_eq!(days(day.year(), day.month(), day.day()), Some(n));
            if (0..=9_999).contains(&day.year()) {
                let text = day.format("%Y-%m-%d").to_string();
                prop_assert_eq!(date(text.as_bytes(), &Format::Default), Ok(n));
            }
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(prop_oneof![Just(b'-'), Just(b':'),
            Just(b' '), Just(b'.'), Just(b'1'), Just(b'9'), any::<u8>()], 0..30)) {
            for format in [Format::Default, Format::Auto, Format::EpochSeconds] {
                let _ = date(&bytes, &format);
                let _ = timestamp(&bytes, &format);
                let _ = timestamp_tz(&bytes, &format);
            }
            let _ = time(&bytes);
            let _ = time_tz(&bytes);
        }
    }
}
