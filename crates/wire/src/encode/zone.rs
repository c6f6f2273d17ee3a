//! The session's time zone: offsets of instants.

use std::cell::Cell;
use std::str::FromStr;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

/// Offsets change at quarter hours of UTC only since this instant (1973-01-01), so that one
/// look-up serves a whole quarter hour.
const REGULAR_SINCE_US: i64 = 94_694_400_000_000;
const QUARTER_US: i64 = 900_000_000;

/// A time zone as `SET TimeZone` names it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Zone {
    Utc,
    Named(Tz),
    /// Seconds east of UTC.
    Fixed(i32),
}

impl Zone {
    /// Reads a zone's name, or a fixed offset: `+05:30` and `-8` count east of UTC as ISO 8601
    /// does, `<+05>-05` is what `SHOW TimeZone` gives for one.
    pub(crate) fn parse(name: &str) -> Option<Zone> {
        if ["utc", "gmt", "z", "zulu", "etc/utc"].contains(&name.to_ascii_lowercase().as_str()) {
            return Some(Zone::Utc);
        }
        if let Ok(zone) = Tz::from_str(name) {
            return Some(Zone::Named(zone));
        }
        let lower = name.to_ascii_lowercase();
        if let Some(zone) =
            chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(&lower))
        {
            return Some(Zone::Named(*zone));
        }
        let offset = match name.strip_prefix('<') {
            Some(rest) => rest.split_once('>')?.0,
            None => name,
        };
        fixed(offset).map(Zone::Fixed)
    }
}

fn fixed(text: &str) -> Option<i32> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let mut seconds = 0;
    for (part, unit) in rest.splitn(3, ':').zip([3_600, 60, 1]) {
        let value = part.parse::<i32>().ok().filter(|value| (0..60).contains(value))?;
        seconds += value * unit;
    }
    (seconds < 16 * 3_600).then_some(sign * seconds)
}

/// Offsets of the instants of one column, which mostly lie close together.
pub(super) struct Shift {
    zone: Zone,
    last: Cell<Option<(i64, i32)>>,
}

impl Shift {
    pub(super) fn new(zone: Zone) -> Shift {
        Shift { zone, last: Cell::new(None) }
    }

    /// Seconds east of UTC at an instant in microseconds since 1970.
    pub(super) fn offset_s(&self, us: i64) -> i32 {
        let zone = match &self.zone {
            Zone::Utc => return 0,
            Zone::Fixed(offset_s) => return *offset_s,
            Zone::Named(zone) => zone,
        };
        let quarter = us.div_euclid(QUARTER_US);
        if let Some((cached, offset_s)) = self.last.get()
            && cached == quarter
        {
            return offset_s;
        }
        let offset_s = match DateTime::from_timestamp(us.div_euclid(1_000_000), 0) {
            Some(instant) => zone.offset_from_utc_datetime(&instant.naive_utc()).fix(),
            // Beyond chrono's years, which no zone's rules reach.
            None => return 0,
        }
        .local_minus_utc();
        if us >= REGULAR_SINCE_US {
            self.last.set(Some((quarter, offset_s)));
        }
        offset_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_read() {
        assert_eq!(Zone::parse("UTC"), Some(Zone::Utc));
        assert_eq!(Zone::parse("America/New_York"), Some(Zone::Named(Tz::America__New_York)));
        assert_eq!(Zone::parse("america/new_york"), Some(Zone::Named(Tz::America__New_York)));
        assert_eq!(Zone::parse("+05:30"), Some(Zone::Fixed(19_800)));
        assert_eq!(Zone::parse("<-08>+08"), Some(Zone::Fixed(-28_800)));
        assert_eq!(Zone::parse("nowhere"), None);
    }

    #[test]
    fn offsets_follow_the_calendar() {
        let shift = Shift::new(Zone::Named(Tz::America__New_York));
        assert_eq!(shift.offset_s(1_700_000_000_000_000), -5 * 3_600);
        assert_eq!(shift.offset_s(1_690_000_000_000_000), -4 * 3_600);
        // The last second before and the first after the change of 2023-11-05 06:00 UTC.
        assert_eq!(shift.offset_s(1_699_163_999_000_000), -4 * 3_600);
        assert_eq!(shift.offset_s(1_699_164_000_000_000), -5 * 3_600);
        assert_eq!(shift.offset_s(i64::MAX - 1), 0);
    }
}
