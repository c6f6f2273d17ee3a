//! Time, through one seam, so that a simulation can own it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970-01-01 00:00 UTC.
pub type UnixMicros = i64;

static OFFSET_US: AtomicI64 = AtomicI64::new(0);

/// The wall clock in microseconds since the Unix epoch.
pub fn now_us() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX) + OFFSET_US.load(Ordering::Relaxed)
}

/// Shifts the wall clock of this process; for tests of clock jumps.
pub fn jump(by: Duration, backwards: bool) {
    let us = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    OFFSET_US.fetch_add(if backwards { -us } else { us }, Ordering::Relaxed);
}

/// A time as SQL shows it, in UTC with microseconds: `2026-03-01 12:30:00.000001+00`.
pub fn shown_utc(us: UnixMicros) -> String {
    const DAY_US: i64 = 86_400_000_000;
    let (year, month, day) = civil(us.div_euclid(DAY_US));
    let of_day = us.rem_euclid(DAY_US);
    let (seconds, micros) = (of_day / 1_000_000, of_day % 1_000_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}+00")
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar; years are
/// counted from March, so that the leap day is their last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A monotonic instant, for durations and deadlines.
pub fn instant() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(shown_utc(0), "1970-01-01 00:00:00.000000+00");
        assert_eq!(shown_utc(951_782_400_000_001), "2000-02-29 00:00:00.000001+00");
        assert_eq!(shown_utc(1_790_684_705_250_000), "2026-09-29 12:25:05.250000+00");
        assert_eq!(shown_utc(-1), "1969-12-31 23:59:59.999999+00");
    }
}
