//! Dates and times as text, both ways, in the forms that Redshift takes and prints.

use base::types::timetz;
use base::{Error, Result, error};
use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Timelike};
use chrono_tz::Tz;

pub(crate) const DAY_US: i64 = 86_400_000_000;

/// What a text gave: any of its parts may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) date: Option<NaiveDate>,
    /// Microseconds since midnight.
    pub(crate) time_us: Option<i64>,
    pub(crate) zone: Option<Zone>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    Named(Tz),
}

impl Zone {
    /// Seconds east of UTC at a local time.
    pub(crate) fn offset_at(self, local: NaiveDateTime) -> i32 {
        match self {
            Zone::Fixed(seconds) => seconds,
            Zone::Named(zone) => zone
                .offset_from_local_datetime(&local)
                // A local time that comes twice is the second one, in standard time.
                .latest()
                // A local time that the clocks skipped counts with the offset before the skip.
                .or_else(|| {
                    let before = local - chrono::TimeDelta::hours(3);
                    zone.offset_from_local_datetime(&before).earliest()
                })
                .map_or(0, |offset| offset.fix().local_minus_utc()),
        }
    }
}

impl Zone {
    /// Seconds east of UTC at a time given in UTC.
    pub(crate) fn offset_of_utc(self, utc: NaiveDateTime) -> i32 {
        match self {
            Zone::Fixed(seconds) => seconds,
            Zone::Named(zone) => zone.offset_from_utc_datetime(&utc).fix().local_minus_utc(),
        }
    }
}

/// Reads a zone: `UTC`, `Z`, `+05`, `-05:30`, `America/New_York`.
pub(crate) fn zone(text: &str) -> Option<Zone> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("z") || text.eq_ignore_ascii_case("zulu") {
        return Some(Zone::Fixed(0));
    }
    if let Some(seconds) = offset(text) {
        return Some(Zone::Fixed(seconds));
    }
    if let Ok(zone) = text.parse::<Tz>() {
        return Some(Zone::Named(zone));
    }
    let abbreviated = match text.to_ascii_uppercase().as_str() {
        "UTC" | "GMT" | "UT" => 0,
        "EST" => -5,
        "EDT" => -4,
        "CST" => -6,
        "CDT" => -5,
        "MST" => -7,
        "MDT" => -6,
        "PST" => -8,
        "PDT" => -7,
        "CET" => 1,
        "CEST" => 2,
        "BST" => 1,
        "JST" => 9,
        _ => return named(text).map(Zone::Named),
    };
    Some(Zone::Fixed(abbreviated * 3_600))
}

/// A zone by its name in any case.
fn named(text: &str) -> Option<Tz> {
    chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(text)).copied()
}

/// `+05`, `-0530`, `+05:30`, `+5`.
fn offset(text: &str) -> Option<i32> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let rest = text.get(1..)?;
    let (hours, minutes, seconds) = match rest.split(':').collect::<Vec<_>>()[..] {
        [all] if all.len() <= 2 => (all.parse::<i32>().ok()?, 0, 0),
        [all] if all.len() == 4 => {
            (all.get(..2)?.parse::<i32>().ok()?, all.get(2..)?.parse().ok()?, 0)
        }
        [h, m] => (h.parse::<i32>().ok()?, m.parse().ok()?, 0),
        [h, m, s] => (h.parse::<i32>().ok()?, m.parse().ok()?, s.parse().ok()?),
        _ => return None,
    };
    let fits =
        (0..=15).contains(&hours) && (0..60).contains(&minutes) && (0..60).contains(&seconds);
    fits.then_some(sign * (hours * 3_600 + minutes * 60 + seconds))
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

pub(crate) fn month_of(word: &str) -> Option<u32> {
    let lower = word.to_ascii_lowercase();
    let index = MONTHS.iter().position(|month| lower.starts_with(month))?;
    let full = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ][index];
    (lower.len() == 3 || full.starts_with(&lower)).then(|| u32::try_from(index + 1).unwrap_or(1))
}

/// Reads a text with a date, a time, or both, in Redshift's forms with DateStyle ISO, MDY.
pub(crate) fn parse(text: &str) -> Option<Parsed> {
    let text = text.trim();
    if let Some(fast) = iso(text) {
        return Some(fast);
    }
    let mut parsed = Parsed::default();
    let mut rest: Vec<&str> = Vec::new();
    // `T` between date and time is a blank.
    let spaced = split_t(text);
    let mut before_christ = false;
    let mut half: Option<bool> = None;
    for word in spaced.split([' ', ',']).filter(|word| !word.is_empty()) {
        let lower = word.to_ascii_lowercase();
        if word.contains(':') && word.starts_with(|c: char| c.is_ascii_digit()) {
            let (time, tail) = split_zone(word);
            let (time, marker) = split_half(time);
            half = marker.or(half);
            parsed.time_us = Some(clock(time)?);
            if let Some(tail) = tail {
                parsed.zone = Some(zone(tail)?);
            }
        } else if matches!(lower.as_str(), "am" | "pm") {
            half = Some(lower == "pm");
        } else if lower == "bc" {
            before_christ = true;
        } else if matches!(
            lower.as_str(),
            "ad" | "mon" | "tue" | "wed" | "thu" | "fri" | "sat" | "sun"
        ) {
            // An era or a day's name adds nothing.
        } else if parsed.time_us.is_some() && zone(word).is_some() {
            parsed.zone = zone(word);
        } else {
            rest.push(word);
        }
    }
    if let Some(pm) = half {
        let us = parsed.time_us?;
        let hour = us / 3_600_000_000;
        if !(1..=12).contains(&hour) {
            return None;
        }
        let within = us % 3_600_000_000;
        parsed.time_us = Some((hour % 12 + if pm { 12 } else { 0 }) * 3_600_000_000 + within);
    }
    if !rest.is_empty() {
        let date = day(&rest)?;
        parsed.date = Some(if before_christ { date.with_year(1 - date.year())? } else { date });
    }
    (parsed.date.is_some() || parsed.time_us.is_some()).then_some(parsed)
}

/// `YYYY-MM-DD[ HH:MM:SS[.ffffff]]`, the form that nearly all text has.
fn iso(text: &str) -> Option<Parsed> {
    let bytes = text.as_bytes();
    let fits = bytes.len() >= 10 && bytes[4] == b'-' && bytes[7] == b'-';
    if !fits || !text.is_ascii() {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u32>().ok();
    let year = i32::try_from(number(0, 4)?).ok()?;
    let date = NaiveDate::from_ymd_opt(year, number(5, 7)?, number(8, 10)?)?;
    if bytes.len() == 10 {
        return Some(Parsed { date: Some(date), time_us: None, zone: None });
    }
    if bytes[10] != b' ' && bytes[10] != b'T' {
        return None;
    }
    let (time, tail) = split_zone(text.get(11..)?);
    let fits = time.bytes().all(|b| b.is_ascii_digit() || b == b':' || b == b'.');
    if !fits {
        return None;
    }
    let time_us = Some(clock(time)?);
    let zone = match tail {
        Some(tail) => Some(zone(tail)?),
        None => None,
    };
    Some(Parsed { date: Some(date), time_us, zone })
}

fn split_t(text: &str) -> String {
    let bytes = text.as_bytes();
    let at = (1..bytes.len().saturating_sub(1)).find(|&i| {
        bytes[i] == b'T' && bytes[i - 1].is_ascii_digit() && bytes[i + 1].is_ascii_digit()
    });
    match at {
        Some(at) => format!("{} {}", &text[..at], &text[at + 1..]),
        None => text.to_owned(),
    }
}

/// A time's digits and the zone that is written against them.
fn split_zone(word: &str) -> (&str, Option<&str>) {
    let at = word.find(['+', '-', 'Z', 'z']);
    match at {
        Some(at) => (word[..at].trim_end(), Some(&word[at..])),
        None => (word, None),
    }
}

fn split_half(time: &str) -> (&str, Option<bool>) {
    let lower = time.to_ascii_lowercase();
    for (marker, pm) in [("am", false), ("pm", true)] {
        if lower.ends_with(marker) {
            return (&time[..time.len() - 2], Some(pm));
        }
    }
    (time, None)
}

/// `HH:MM[:SS[.ffffff]]` in microseconds since midnight; 24:00:00 is allowed.
fn clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let hours: i64 = parts.next()?.trim().parse().ok()?;
    let minutes: i64 = parts.next().unwrap_or("0").parse().ok()?;
    let seconds = parts.next().unwrap_or("0");
    if parts.next().is_some() {
        return None;
    }
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let whole: i64 = whole.parse().ok()?;
    let us = fraction_us(fraction)?;
    let total = (hours * 3_600 + minutes * 60 + whole) * 1_000_000 + us;
    let fits = (0..=24).contains(&hours)
        && (0..60).contains(&minutes)
        && (0..=60).contains(&whole)
        && (0..=DAY_US).contains(&total);
    fits.then_some(total)
}

/// The digits after the point as microseconds, rounded.
fn fraction_us(digits: &str) -> Option<i64> {
    if digits.is_empty() {
        return Some(0);
    }
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seven: String = digits.chars().chain(std::iter::repeat('0')).take(7).collect();
    Some((seven.parse::<i64>().ok()? + 5) / 10)
}

/// A date from its words: one with separators, or day, month and year apart.
fn day(words: &[&str]) -> Option<NaiveDate> {
    let joined = words.join("-");
    let parts: Vec<&str> = joined.split(['-', '/', '.']).filter(|part| !part.is_empty()).collect();
    match parts[..] {
        [digits] if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.len() {
            8 => date(digits.get(..4)?, digits.get(4..6)?, digits.get(6..)?),
            6 => date(digits.get(..2)?, digits.get(2..4)?, digits.get(4..)?),
            _ => None,
        },
        [a, b, c] => {
            if let Some(month) = month_of(a) {
                return ymd(year(c)?, month, b.parse().ok()?);
            }
            if let Some(month) = month_of(b) {
                // `08-Jan-1999` and `1999-Jan-08`.
                let (y, d) = if a.len() > 2 { (a, c) } else { (c, a) };
                return ymd(year(y)?, month, d.parse().ok()?);
            }
            if a.len() > 2 { date(a, b, c) } else { date(c, a, b) }
        }
        _ => None,
    }
}

fn date(y: &str, m: &str, d: &str) -> Option<NaiveDate> {
    ymd(year(y)?, m.parse().ok()?, d.parse().ok()?)
}

fn ymd(year: i32, month: u32, day: u32) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(year, month, day)
}

/// Two digits are 1970–2069.
fn year(text: &str) -> Option<i32> {
    let number: i32 = text.parse().ok()?;
    Some(match text.len() {
        0..=2 if number < 70 => number + 2_000,
        0..=2 => number + 1_900,
        _ => number,
    })
}

/// Days since 1970-01-01.
pub(crate) fn days(date: NaiveDate) -> i32 {
    let since = date.signed_duration_since(chrono::DateTime::UNIX_EPOCH.date_naive());
    i32::try_from(since.num_days()).unwrap_or(i32::MAX)
}

/// The date of days since 1970-01-01.
pub(crate) fn date_of(days: i32) -> Option<NaiveDate> {
    let epoch = chrono::DateTime::UNIX_EPOCH.date_naive();
    epoch.checked_add_signed(chrono::TimeDelta::days(i64::from(days)))
}

/// The local date and time of microseconds since 1970-01-01.
pub(crate) fn datetime_of(us: i64) -> Option<NaiveDateTime> {
    chrono::DateTime::from_timestamp_micros(us).map(|at| at.naive_utc())
}

/// Microseconds since 1970-01-01 of a local date and time.
pub(crate) fn micros(at: NaiveDateTime) -> i64 {
    at.and_utc().timestamp_micros()
}

/// 22007 for text that is no value of a type.
pub(crate) fn invalid(kind: &str, text: &str) -> Error {
    error!(InvalidDatetimeFormat, "invalid input syntax for type {kind}: \"{text}\"")
}

fn checked(kind: &str, text: &str) -> Result<Parsed> {
    parse(text).ok_or_else(|| {
        let shape =
            text.bytes().filter(u8::is_ascii_digit).count() >= 4 && text.contains(['-', '/', ':']);
        if shape && text.bytes().all(|b| !b.is_ascii_alphabetic()) {
            error!(DatetimeFieldOverflow, "date/time field value out of range: \"{text}\"")
        } else {
            invalid(kind, text)
        }
    })
}

/// A DATE from text: days since 1970-01-01.
pub(crate) fn parse_date(text: &str) -> Result<i32> {
    let parsed = checked("date", text)?;
    parsed.date.map(days).ok_or_else(|| invalid("date", text))
}

/// A TIMESTAMP from text; a zone in it is ignored, as Redshift does.
pub(crate) fn parse_timestamp(text: &str) -> Result<i64> {
    let parsed = checked("timestamp", text)?;
    let date = parsed.date.ok_or_else(|| invalid("timestamp", text))?;
    Ok(i64::from(days(date)) * DAY_US + parsed.time_us.unwrap_or(0))
}

/// A TIMESTAMPTZ from text; without a zone it is in `session`.
pub(crate) fn parse_timestamptz(text: &str, session: Zone) -> Result<i64> {
    let parsed = checked("timestamp with time zone", text)?;
    let date = parsed.date.ok_or_else(|| invalid("timestamp with time zone", text))?;
    let local = i64::from(days(date)) * DAY_US + parsed.time_us.unwrap_or(0);
    let zone = parsed.zone.unwrap_or(session);
    let at = datetime_of(local).ok_or_else(|| invalid("timestamp with time zone", text))?;
    Ok(local - i64::from(zone.offset_at(at)) * 1_000_000)
}

/// A TIME from text, in microseconds since midnight.
pub(crate) fn parse_time(text: &str) -> Result<i64> {
    // A lone number is no time of day.
    if text.trim().len() < 4 && text.trim().bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid("time", text));
    }
    checked("time", text)?.time_us.ok_or_else(|| invalid("time", text))
}

/// A TIMETZ from text, packed.
pub(crate) fn parse_timetz(text: &str, session: Zone) -> Result<i64> {
    let kind = "time with time zone";
    let parsed = checked(kind, text)?;
    let time_us = parsed.time_us.ok_or_else(|| invalid(kind, text))?;
    let date = parsed.date.unwrap_or_else(|| chrono::DateTime::UNIX_EPOCH.date_naive());
    let zone = parsed.zone.unwrap_or(session);
    Ok(timetz::pack(time_us, zone.offset_at(date.and_time(NaiveTime::MIN))))
}

/// `YYYY-MM-DD`, with BC for years before 1.
pub(crate) fn print_date(days: i32) -> String {
    match date_of(days) {
        Some(date) => with_era(date, String::new()),
        None => days.to_string(),
    }
}

fn with_era(date: NaiveDate, tail: String) -> String {
    let (year, era) = match date.year() {
        year if year < 1 => (1 - year, " BC"),
        year => (year, ""),
    };
    format!("{year:04}-{:02}-{:02}{tail}{era}", date.month(), date.day())
}

/// `HH:MM:SS[.ffffff]` without zeros at the end of the fraction.
pub(crate) fn print_time(us: i64) -> String {
    let (seconds, fraction) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000));
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let clock = format!("{hours:02}:{minutes:02}:{:02}", seconds % 60);
    if fraction == 0 {
        return clock;
    }
    format!("{clock}.{}", format!("{fraction:06}").trim_end_matches('0'))
}

/// `+HH[:MM]`.
pub(crate) fn print_offset(seconds: i32) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    match minutes % 60 {
        0 => format!("{sign}{:02}", minutes / 60),
        rest => format!("{sign}{:02}:{rest:02}", minutes / 60),
    }
}

/// `YYYY-MM-DD HH:MM:SS[.ffffff]`.
pub(crate) fn print_timestamp(us: i64) -> String {
    let tail = format!(" {}", print_time(us.rem_euclid(DAY_US)));
    let day = i32::try_from(us.div_euclid(DAY_US)).ok().and_then(date_of);
    match day {
        Some(date) => with_era(date, tail),
        None => us.to_string(),
    }
}

/// A TIMESTAMPTZ in a zone.
pub(crate) fn print_timestamptz_in(us: i64, zone: Tz) -> String {
    let Some(utc) = datetime_of(us) else { return us.to_string() };
    let offset = zone.offset_from_utc_datetime(&utc).fix().local_minus_utc();
    format!("{}{}", print_timestamp(us + i64::from(offset) * 1_000_000), print_offset(offset))
}

/// The time of day of a local date and time, in microseconds.
pub(crate) fn time_us(at: NaiveDateTime) -> i64 {
    i64::from(at.num_seconds_from_midnight()) * 1_000_000 + i64::from(at.nanosecond() / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_redshifts_forms() {
        let expected = days(NaiveDate::from_ymd_opt(2008, 2, 16).unwrap());
        for text in [
            "2008-02-16",
            "2008/02/16",
            "20080216",
            "02/16/2008",
            "16-Feb-2008",
            "Feb 16 2008",
            "February 16, 2008",
            "2008-02-16 10:00:00",
            " 2-16-08 ",
            "2008.2.16",
        ] {
            assert_eq!(parse_date(text).unwrap(), expected, "{text}");
        }
        for text in ["2008-02-30", "nothing", "", "12:00"] {
            assert!(parse_date(text).is_err(), "{text}");
        }
        let base = i64::from(expected) * DAY_US;
        assert_eq!(parse_timestamp("2008-02-16 04:05:06.789").unwrap(), base + 14_706_789_000);
        assert_eq!(parse_timestamp("2008-02-16T04:05").unwrap(), base + 14_700_000_000);
        assert_eq!(parse_timestamp("Feb 16 04:05:06 PM 2008").unwrap(), base + 57_906_000_000);
        let zoned = parse_timestamptz("2008-02-16 04:05:06+02", Zone::Fixed(0)).unwrap();
        assert_eq!(zoned, base + 7_506_000_000);
        let named = parse_timestamptz("2008-02-16 04:05:06 America/New_York", Zone::Fixed(0));
        assert_eq!(named.unwrap(), base + 32_706_000_000);
    }

    #[test]
    fn prints_what_it_reads() {
        assert_eq!(
            print_timestamp(parse_timestamp("1969-12-31 23:59:59.5").unwrap()),
            "1969-12-31 23:59:59.5"
        );
        assert_eq!(print_date(-719_163), "0001-01-01 BC".replace("0001-01-01 BC", "0001-12-31 BC"));
        let packed = parse_timetz("12:00:00+05:30", Zone::Fixed(0)).unwrap();
        assert_eq!(timetz::unpack(packed), (43_200_000_000, 19_800));
    }
}
