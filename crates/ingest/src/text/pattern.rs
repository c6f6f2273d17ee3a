//! DATEFORMAT and TIMEFORMAT strings, and the recognition of formats with `'auto'`.
//!
//! Format words are Redshift's and case-sensitive: YYYY YY MM MON MONTH DD DDD J HH HH24 HH12
//! MI SS AM PM OF TZ. Other letters are refused except `T` and `Z`, which stand for themselves.

use base::{Result, fail};

use super::moment::{DAY_US, days, fraction_us, time_us, zoned_time};

/// A compiled format.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pattern {
    pieces: Vec<Piece>,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Year,
    ShortYear,
    Month,
    MonthName,
    Day,
    DayOfYear,
    /// Days since 4714-11-24 BC, behind an optional letter J.
    JulianDay,
    Hour,
    Hour12,
    Minute,
    Second,
    Meridiem,
    Zone,
    Literal(u8),
}

/// What a value said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) days: i32,
    pub(crate) time_us: i64,
    pub(crate) zone_s: Option<i32>,
    pub(crate) has_date: bool,
}

impl Parts {
    pub(crate) fn local_us(&self) -> Option<i64> {
        i64::from(self.days).checked_mul(DAY_US)?.checked_add(self.time_us)
    }
}

const WORDS: &[(&str, Piece)] = &[
    ("YYYY", Piece::Year),
    ("YY", Piece::ShortYear),
    ("MONTH", Piece::MonthName),
    ("Month", Piece::MonthName),
    ("MON", Piece::MonthName),
    ("Mon", Piece::MonthName),
    ("MM", Piece::Month),
    ("MI", Piece::Minute),
    ("DDD", Piece::DayOfYear),
    ("DD", Piece::Day),
    ("HH24", Piece::Hour),
    ("HH12", Piece::Hour12),
    ("HH", Piece::Hour),
    ("SS", Piece::Second),
    ("AM", Piece::Meridiem),
    ("PM", Piece::Meridiem),
    ("OF", Piece::Zone),
    ("TZ", Piece::Zone),
    ("J", Piece::JulianDay),
];

const MONTHS: [&[u8]; 12] = [
    b"january",
    b"february",
    b"march",
    b"april",
    b"may",
    b"june",
    b"july",
    b"august",
    b"september",
    b"october",
    b"november",
    b"december",
];

/// Zone abbreviations and their offsets from UTC in minutes.
const ZONES: &[(&[u8], i32)] = &[
    (b"Z", 0),
    (b"UTC", 0),
    (b"GMT", 0),
    (b"WET", 0),
    (b"EST", -300),
    (b"EDT", -240),
    (b"CST", -360),
    (b"CDT", -300),
    (b"MST", -420),
    (b"MDT", -360),
    (b"PST", -480),
    (b"PDT", -420),
    (b"AKST", -540),
    (b"AKDT", -480),
    (b"HST", -600),
    (b"BST", 60),
    (b"CET", 60),
    (b"CEST", 120),
    (b"EET", 120),
    (b"EEST", 180),
    (b"MSK", 180),
    (b"JST", 540),
    (b"KST", 540),
    (b"AEST", 600),
    (b"AEDT", 660),
    (b"NZST", 720),
];

impl Pattern {
    /// Compiles the string of DATEFORMAT or TIMEFORMAT; `option` names which.
    pub(crate) fn compile(text: &str, option: &str) -> Result<Pattern> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some((word, piece)) = WORDS.iter().find(|(word, _)| rest.starts_with(word)) {
                pieces.push(*piece);
                rest = &rest[word.len()..];
                continue;
            }
            if !first.is_ascii() || (first.is_ascii_alphabetic() && !matches!(first, 'T' | 'Z')) {
                return Err(base::error!(
                    InvalidParameterValue,
                    "invalid {option} '{text}': unknown format word at '{rest}'"
                )
                .hint(
                    "The format words are YYYY, YY, MM, MON, DD, HH, HH24, HH12, MI, SS, AM, PM \
                     and OF, in upper case; 'auto' recognises many formats by itself.",
                ));
            }
            pieces.push(Piece::Literal(first as u8));
            rest = &rest[1..];
        }
        if !pieces.iter().any(|piece| !matches!(piece, Piece::Literal(_))) {
            fail!(InvalidParameterValue, "invalid {option} '{text}': it holds no format word");
        }
        Ok(Pattern { pieces, text: text.to_owned() })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Reads a whole value.
    pub(crate) fn parse(&self, bytes: &[u8]) -> Option<Parts> {
        let mut cursor = Cursor { rest: bytes.trim_ascii() };
        let fields = self.read(&mut cursor)?;
        cursor.rest.is_empty().then(|| fields.parts())?
    }

    fn read(&self, cursor: &mut Cursor<'_>) -> Option<Fields> {
        let mut fields = Fields::default();
        for (i, piece) in self.pieces.iter().enumerate() {
            // Digits run on into the next piece only when that is a number too.
            let packed = matches!(
                self.pieces.get(i + 1),
                Some(p) if !matches!(p, Piece::Literal(_) | Piece::MonthName | Piece::Meridiem
                    | Piece::Zone)
            );
            fields.take(*piece, packed, cursor)?;
        }
        Some(fields)
    }
}

#[derive(Default)]
struct Fields {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    day_of_year: Option<u32>,
    julian: Option<u32>,
    hour: u32,
    half_day: bool,
    afternoon: Option<bool>,
    minute: u32,
    second: u32,
    fraction_us: i64,
    zone_s: Option<i32>,
}

impl Fields {
    fn take(&mut self, piece: Piece, packed: bool, cursor: &mut Cursor<'_>) -> Option<()> {
        let pair = |cursor: &mut Cursor<'_>| cursor.number(if packed { 2 } else { 1 }, 2);
        match piece {
            Piece::Year => self.year = Some(cursor.number(4, 4)? as i32),
            Piece::ShortYear => {
                let year = cursor.number(2, 2)? as i32;
                self.year = Some(if year < 70 { 2_000 + year } else { 1_900 + year });
            }
            Piece::Month => self.month = Some(pair(cursor)?),
            Piece::MonthName => self.month = Some(cursor.month_name()?),
            Piece::Day => self.day = Some(pair(cursor)?),
            Piece::DayOfYear => self.day_of_year = Some(cursor.number(3, 3)?),
            Piece::JulianDay => {
                cursor.literal(b'J');
                self.julian = Some(cursor.number(1, 7)?);
            }
            Piece::Hour => self.hour = pair(cursor)?,
            Piece::Hour12 => {
                self.hour = pair(cursor)?;
                self.half_day = true;
            }
            Piece::Minute => self.minute = pair(cursor)?,
            Piece::Second => {
                self.second = pair(cursor)?;
                if cursor.rest.first() == Some(&b'.') {
                    cursor.rest = &cursor.rest[1..];
                    self.fraction_us = fraction_us(cursor.digits(usize::MAX))?;
                }
            }
            Piece::Meridiem => self.afternoon = Some(cursor.meridiem()?),
            Piece::Zone => {
                let zone_text = cursor.rest.trim_ascii();
                self.zone_s = if zone_text.is_empty() { None } else { Some(zone(zone_text)?) };
                cursor.rest = &[];
            }
            Piece::Literal(byte) => {
                if !cursor.literal(byte) {
                    return None;
                }
            }
        }
        Some(())
    }

    fn parts(&self) -> Option<Parts> {
        let mut hour = self.hour;
        if self.half_day || self.afternoon.is_some() {
            if !(1..=12).contains(&hour) {
                return None;
            }
            hour = hour % 12 + if self.afternoon == Some(true) { 12 } else { 0 };
        }
        let time_us = time_us(hour, self.minute, self.second, self.fraction_us)?;
        let date = match (self.julian, self.year, self.day_of_year) {
            // Julian day 2,440,588 is 1970-01-01.
            (Some(julian), _, _) => Some(julian as i32 - 2_440_588),
            (None, Some(year), Some(n)) => {
                let first = days(year, 1, 1)?;
                let length = days(year + 1, 1, 1)? - first;
                let n = i32::try_from(n).ok()?;
                if !(1..=length).contains(&n) {
                    return None;
                }
                Some(first + n - 1)
            }
            (None, Some(year), None) => {
                Some(days(year, self.month.unwrap_or(1), self.day.unwrap_or(1))?)
            }
            (None, None, _) => None,
        };
        let has_date = date.is_some();
        Some(Parts { days: date.unwrap_or(0), time_us, zone_s: self.zone_s, has_date })
    }
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn digits(&mut self, max: usize) -> &'a [u8] {
        let len = self.rest.iter().take(max).take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(len);
        self.rest = rest;
        digits
    }

    fn number(&mut self, min: usize, max: usize) -> Option<u32> {
        let digits = self.digits(max);
        if digits.len() < min {
            return None;
        }
        Some(digits.iter().fold(0, |n, b| n * 10 + u32::from(b - b'0')))
    }

    /// Takes a literal byte; one blank stands for any number of them.
    fn literal(&mut self, byte: u8) -> bool {
        if self.rest.first() != Some(&byte) {
            return false;
        }
        self.rest = &self.rest[1..];
        if byte == b' ' {
            self.rest = self.rest.trim_ascii_start();
        }
        true
    }

    fn letters(&mut self) -> &'a [u8] {
        let len = self.rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
        let (letters, rest) = self.rest.split_at(len);
        self.rest = rest;
        letters
    }

    /// A month's full name or its first three letters.
    fn month_name(&mut self) -> Option<u32> {
        let word = self.letters().to_ascii_lowercase();
        let found = MONTHS.iter().position(|name| {
            word == **name || word == name[..3] || (word == b"sept" && name[..3] == *b"sep")
        })?;
        u32::try_from(found + 1).ok()
    }

    fn meridiem(&mut self) -> Option<bool> {
        self.rest = self.rest.trim_ascii_start();
        match &self.letters().to_ascii_lowercase()[..] {
            b"am" => Some(false),
            b"pm" => Some(true),
            _ => None,
        }
    }
}

/// A zone as seconds east of UTC: `+02`, `-0830`, `+05:30`, `Z` or a common abbreviation.
pub(crate) fn zone(text: &[u8]) -> Option<i32> {
    let (sign, digits) = match text {
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        name => {
            let upper = name.to_ascii_uppercase();
            let known = ZONES.iter().find(|(zone, _)| **zone == upper[..]);
            return known.map(|(_, minutes)| minutes * 60);
        }
    };
    let two = |at: usize| {
        let pair = digits.get(at..at + 2)?;
        pair.iter()
            .all(u8::is_ascii_digit)
            .then(|| i32::from(pair[0] - b'0') * 10 + i32::from(pair[1] - b'0'))
    };
    let (hours, minutes) = match (digits.len(), digits.get(2)) {
        (1, _) if digits[0].is_ascii_digit() => (i32::from(digits[0] - b'0'), 0),
        (2, _) => (two(0)?, 0),
        (4, _) => (two(0)?, two(2)?),
        (5, Some(b':')) => (two(0)?, two(3)?),
        _ => return None,
    };
    (hours < 16 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// The date formats that `'auto'` tries, most usual first. The first that reads a prefix of
/// the value wins when what follows is a time.
const AUTO_DATES: &[&[Piece]] = {
    use Piece::{Day, DayOfYear, JulianDay, Literal, Month, MonthName, ShortYear, Year};
    const DASH: Piece = Literal(b'-');
    const DOT: Piece = Literal(b'.');
    const SLASH: Piece = Literal(b'/');
    const BLANK: Piece = Literal(b' ');
    const COMMA: Piece = Literal(b',');
    &[
        &[Year, DASH, Month, DASH, Day],
        &[Year, SLASH, Month, SLASH, Day],
        &[Year, DOT, Month, DOT, Day],
        &[Year, DOT, DayOfYear],
        &[Year, DASH, MonthName, DASH, Day],
        &[Year, Month, Day],
        &[ShortYear, Month, Day],
        &[Month, SLASH, Day, SLASH, Year],
        &[Month, SLASH, Day, SLASH, ShortYear],
        &[Day, DOT, Month, DOT, Year],
        &[Month, DOT, Day, DOT, Year],
        &[Month, DASH, Day, DASH, Year],
        &[Day, DASH, MonthName, DASH, Year],
        &[Day, BLANK, MonthName, BLANK, Year],
        &[MonthName, DASH, Day, DASH, Year],
        &[MonthName, BLANK, Day, COMMA, BLANK, Year],
        &[MonthName, BLANK, Day, BLANK, Year],
        &[Literal(b'J'), JulianDay],
    ]
};

/// Recognises a value with `'auto'`.
pub(crate) fn auto(bytes: &[u8]) -> Option<Parts> {
    let text = bytes.trim_ascii();
    AUTO_DATES.iter().find_map(|pieces| auto_one(pieces, text)).or_else(|| unix_date(text))
}

fn auto_one(pieces: &[Piece], text: &[u8]) -> Option<Parts> {
    let mut cursor = Cursor { rest: text };
    let mut fields = Fields::default();
    for (i, piece) in pieces.iter().enumerate() {
        let packed = pieces.get(i + 1).is_some_and(|p| !matches!(p, Piece::Literal(_)))
            || (i > 0 && !matches!(pieces[i - 1], Piece::Literal(_)));
        fields.take(*piece, packed, &mut cursor)?;
    }
    let mut parts = fields.parts().filter(|parts| parts.has_date)?;
    let rest = match cursor.rest {
        [] => return Some(parts),
        [b'T' | b't', rest @ ..] => rest,
        [b' ', rest @ ..] => rest.trim_ascii_start(),
        _ => return None,
    };
    (parts.time_us, parts.zone_s) = auto_time(rest)?;
    Some(parts)
}

/// `HH:MI:SS.SSS zone`, `HH:MI:SS AM`, or `HHMISS`.
fn auto_time(text: &[u8]) -> Option<(i64, Option<i32>)> {
    if text.len() == 6 && text.iter().all(u8::is_ascii_digit) {
        let two = |at: usize| u32::from(text[at] - b'0') * 10 + u32::from(text[at + 1] - b'0');
        return Some((time_us(two(0), two(2), two(4), 0)?, None));
    }
    let upper = text.to_ascii_uppercase();
    if upper.ends_with(b"AM") || upper.ends_with(b"PM") {
        let (clock, _) = upper.split_at(upper.len() - 2);
        let mut cursor = Cursor { rest: clock.trim_ascii() };
        let mut fields = Fields { afternoon: Some(upper.ends_with(b"PM")), ..Fields::default() };
        fields.take(Piece::Hour, false, &mut cursor)?;
        for piece in [Piece::Minute, Piece::Second] {
            if cursor.literal(b':') {
                fields.take(piece, false, &mut cursor)?;
            }
        }
        return cursor.rest.is_empty().then(|| fields.parts().map(|p| (p.time_us, None)))?;
    }
    zoned_time(text)
}

/// `Dec 17 07:37:16 1997 PST` and `17 Dec 07:37:16 1997 PST`, a weekday before allowed.
fn unix_date(text: &[u8]) -> Option<Parts> {
    let words: Vec<&[u8]> = text.split(|b| *b == b' ').filter(|w| !w.is_empty()).collect();
    let words = match words.len() {
        5 | 6
            if words[0].len() == 3
                && words[0].is_ascii()
                && !words[0][0].is_ascii_digit()
                && words[1].len() == 3 =>
        {
            &words[1..]
        }
        4 | 5 => &words[..],
        _ => return None,
    };
    let month = |word: &[u8]| Cursor { rest: word }.month_name();
    let day = |word: &[u8]| {
        let mut cursor = Cursor { rest: word };
        cursor.number(1, 2).filter(|_| cursor.rest.is_empty())
    };
    let (month, day) = match (month(words[0]), month(words[1])) {
        (Some(month), None) => (month, day(words[1])?),
        (None, Some(month)) => (month, day(words[0])?),
        _ => return None,
    };
    let (time_us, _) = zoned_time(words[2])?;
    let mut cursor = Cursor { rest: words[3] };
    let year = cursor.number(4, 4).filter(|_| cursor.rest.is_empty())?;
    let zone_s = match words.get(4) {
        Some(name) => Some(zone(name)?),
        None => None,
    };
    Some(Parts { days: days(year as i32, month, day)?, time_us, zone_s, has_date: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: &str, text: &str) -> Option<Parts> {
        Pattern::compile(format, "DATEFORMAT").unwrap().parse(text.as_bytes())
    }

    fn day(year: i32, month: u32, day: u32) -> i32 {
        days(year, month, day).unwrap()
    }

    #[test]
    fn patterns() {
        assert_eq!(read("MM/DD/YYYY", "1/8/1996").unwrap().days, day(1996, 1, 8));
        assert_eq!(read("YYYYMMDD", "19960108").unwrap().days, day(1996, 1, 8));
        assert_eq!(read("YYYYMMDD", "199618"), None);
        assert_eq!(read("DD-MON-YY", "08-Jan-96").unwrap().days, day(1996, 1, 8));
        assert_eq!(read("DD-MON-YY", "08-Jam-96"), None);
        assert_eq!(read("YYYY.DDD", "1996.366").unwrap().days, day(1996, 12, 31));
        assert_eq!(read("YYYY.DDD", "1997.366"), None);
        let parts = read("YYYY-MM-DDTHH:MI:SSOF", "1996-01-08T04:05:06.789-08").unwrap();
        assert_eq!(parts.days, day(1996, 1, 8));
        assert_eq!(parts.time_us, 14_706_789_000);
        assert_eq!(parts.zone_s, Some(-28_800));
        let parts = read("MM.DD.YYYY HH12:MI:SS AM", "01.08.1996 12:05:06 pm").unwrap();
        assert_eq!(parts.time_us, (12 * 3_600 + 5 * 60 + 6) * 1_000_000);
        assert_eq!(read("YYYY-MM-DD", "1996-01-08x"), None);
    }

    #[test]
    fn unknown_words_are_refused() {
        let error = Pattern::compile("yyyy-mm-dd", "DATEFORMAT").unwrap_err();
        assert_eq!(error.sqlstate(), base::SqlState::InvalidParameterValue);
        assert!(error.message().contains("DATEFORMAT 'yyyy-mm-dd'"), "{error}");
        assert!(Pattern::compile("--", "DATEFORMAT").is_err());
    }

    #[test]
    fn auto_recognises_the_listed_formats() {
        let jan8 = day(1996, 1, 8);
        let at = |text: &str| auto(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
        for text in [
            "1996-01-08",
            "1996/01/08",
            "1996.01.08",
            "19960108",
            "960108",
            "01/08/1996",
            "1/8/96",
            "08.01.1996",
            "08-Jan-1996",
            "8 January 1996",
            "January 8, 1996",
            "Jan-08-1996",
            "1996-Jan-08",
            "1996.008",
            "J2450091",
            "01-08-1996",
        ] {
            assert_eq!(at(text).days, jan8, "{text}");
        }
        let clock = 14_706_000_000;
        for text in [
            "1996-01-08 04:05:06",
            "1996-01-08T04:05:06",
            "19960108 040506",
            "01/08/1996 04:05:06 AM",
            "960108 040506",
            "Jan 08 04:05:06 1996",
            "08 Jan 04:05:06 1996",
            "Mon Jan 08 04:05:06 1996",
        ] {
            assert_eq!((at(text).days, at(text).time_us), (jan8, clock), "{text}");
        }
        let parts = at("1997-12-17 07:37:16-08");
        assert_eq!((parts.days, parts.zone_s), (day(1997, 12, 17), Some(-28_800)));
        assert_eq!(at("12/17/1997 07:37:16.00 PST").zone_s, Some(-28_800));
        assert_eq!(at("12.17.1997 07:37:16.00 PST").days, day(1997, 12, 17));
        assert_eq!(at("17 Dec 07:37:16 1997 PST").zone_s, Some(-28_800));
        assert_eq!(at("2020-01-02T03:04:05.123Z").zone_s, Some(0));
        for bad in ["", "x", "1996-13-01", "1996-01-08 25:00:00", "tomorrow", "1996-01-08 x"] {
            assert_eq!(auto(bad.as_bytes()), None, "{bad}");
        }
    }
}
