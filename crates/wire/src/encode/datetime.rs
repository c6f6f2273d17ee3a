//! Dates and times in ISO style, for every year that their integers reach.

use super::text::{put_pair, put_uint};

/// Days from 1970-01-01 to 2000-01-01, the protocol's epoch.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
pub(crate) const EPOCH_US: i64 = EPOCH_DAYS as i64 * DAY_US;
const DAY_US: i64 = 86_400_000_000;

/// Days since 1970 as days since 2000; the ends of the range are the infinities.
pub(super) fn date_since_2000(days: i32) -> i32 {
    match days {
        i32::MIN | i32::MAX => days,
        days => days.saturating_sub(EPOCH_DAYS),
    }
}

pub(super) fn us_since_2000(us: i64) -> i64 {
    match us {
        i64::MIN | i64::MAX => us,
        us => us.saturating_sub(EPOCH_US),
    }
}

pub(super) fn put_date(out: &mut Vec<u8>, days: i32) {
    match days {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        days => {
            let before_christ = put_day(out, i64::from(days));
            put_era(out, before_christ);
        }
    }
}

/// A timestamp; with the offset of its zone when it has one.
pub(super) fn put_timestamp(out: &mut Vec<u8>, us: i64, offset_s: Option<i32>) {
    match us {
        i64::MAX => return out.extend_from_slice(b"infinity"),
        i64::MIN => return out.extend_from_slice(b"-infinity"),
        _ => {}
    }
    let local = us.saturating_add(i64::from(offset_s.unwrap_or(0)) * 1_000_000);
    let before_christ = put_day(out, local.div_euclid(DAY_US));
    out.push(b' ');
    put_time(out, local.rem_euclid(DAY_US));
    if let Some(offset_s) = offset_s {
        put_offset(out, offset_s);
    }
    put_era(out, before_christ);
}

pub(super) fn put_time(out: &mut Vec<u8>, us: i64) {
    let us = us.unsigned_abs();
    let seconds = us / 1_000_000;
    put_pair(out, seconds / 3_600);
    out.push(b':');
    put_pair(out, seconds / 60 % 60);
    out.push(b':');
    put_pair(out, seconds % 60);
    put_fraction(out, us % 1_000_000);
}

/// Microseconds after a point, without trailing zeros; nothing for none.
pub(super) fn put_fraction(out: &mut Vec<u8>, us: u64) {
    if us == 0 {
        return;
    }
    out.push(b'.');
    let start = out.len();
    put_pair(out, us / 10_000);
    put_pair(out, us / 100 % 100);
    put_pair(out, us % 100);
    while out.len() > start && out.last() == Some(&b'0') {
        out.pop();
    }
}

/// `+05:30`: hours, and minutes and seconds where they are not zero.
pub(super) fn put_offset(out: &mut Vec<u8>, offset_s: i32) {
    out.push(if offset_s < 0 { b'-' } else { b'+' });
    let seconds = u64::from(offset_s.unsigned_abs());
    put_pair(out, seconds / 3_600);
    if seconds % 3_600 != 0 {
        out.push(b':');
        put_pair(out, seconds / 60 % 60);
    }
    if seconds % 60 != 0 {
        out.push(b':');
        put_pair(out, seconds % 60);
    }
}

fn put_era(out: &mut Vec<u8>, before_christ: bool) {
    if before_christ {
        out.extend_from_slice(b" BC");
    }
}

/// Writes year, month and day; true for a year before Christ.
fn put_day(out: &mut Vec<u8>, days: i64) -> bool {
    let (year, month, day) = civil(days);
    // There is no year 0: 1 BC is what astronomers call 0.
    let shown = if year > 0 { year } else { 1 - year }.unsigned_abs();
    if shown < 1_000 {
        out.push(b'0');
        out.push(b'0' + (shown / 100) as u8);
        put_pair(out, shown % 100);
    } else {
        put_uint(out, shown);
    }
    out.push(b'-');
    put_pair(out, month);
    out.push(b'-');
    put_pair(out, day);
    year <= 0
}

/// The proleptic Gregorian date of a day, by Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month.unsigned_abs(), day.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(put: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dates_of_all_years() {
        for (days, text) in [
            (0, "1970-01-01"),
            (EPOCH_DAYS, "2000-01-01"),
            (11_016, "2000-02-29"),
            (-1, "1969-12-31"),
            (2_932_896, "9999-12-31"),
            (2_932_897, "10000-01-01"),
            (-719_162, "0001-01-01"),
            (-719_163, "0001-12-31 BC"),
            (-2_440_588, "4714-11-24 BC"),
            (i32::MAX, "infinity"),
            (i32::MIN, "-infinity"),
        ] {
            assert_eq!(written(|out| put_date(out, days)), text);
        }
    }

    #[test]
    fn timestamps_with_zones_and_fractions() {
        let us = 1_700_000_000_123_400;
        assert_eq!(written(|out| put_timestamp(out, us, None)), "2023-11-14 22:13:20.1234");
        assert_eq!(
            written(|out| put_timestamp(out, us, Some(19_800))),
            "2023-11-15 03:43:20.1234+05:30"
        );
        assert_eq!(written(|out| put_timestamp(out, -1, Some(0))), "1969-12-31 23:59:59.999999+00");
        assert_eq!(written(|out| put_offset(out, -1_172)), "-00:19:32");
        assert_eq!(written(|out| put_time(out, DAY_US)), "24:00:00");
        assert_eq!(written(|out| put_time(out, 1_000_001)), "00:00:01.000001");
    }
}
