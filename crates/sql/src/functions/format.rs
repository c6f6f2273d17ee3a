//! Templates of TO_CHAR, TO_DATE, TO_TIMESTAMP and TO_NUMBER: `YYYY-MM-DD HH24:MI:SS`, `999D99`.

use base::{Result, error};
use chrono::{Datelike, NaiveDate, NaiveDateTime, Offset, Timelike};
use chrono_tz::Tz;

use super::datetime::{self, DAY_US};

type TzOffset = <Tz as chrono::TimeZone>::Offset;

/// The patterns of a template for dates, the longer first where one begins another.
const PATTERNS: &[&str] = &[
    "Y,YYY", "YYYY", "IYYY", "YYY", "IYY", "YY", "IY", "Y", "MONTH", "MON", "MM", "MI", "MS",
    "DAY", "DDD", "DD", "DY", "D", "IDDD", "ID", "HH24", "HH12", "HH", "SSSS", "SS", "US", "AM",
    "PM", "A.M.", "P.M.", "B.C.", "A.D.", "BC", "AD", "CC", "Q", "WW", "W", "IW", "J", "RM", "TZ",
    "OF", "I",
];

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// A pattern by its upper-case name, and the letters as written (their case is the output's).
    Field {
        name: &'static str,
        written: String,
        fill: bool,
        ordinal: bool,
    },
    Text(String),
}

fn pieces(template: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut fill = true;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let end = rest[1..].find('"').map_or(rest.len(), |end| end + 2);
            pieces.push(Piece::Text(rest[1..end].trim_end_matches('"').to_owned()));
            rest = &rest[end..];
            continue;
        }
        if rest.get(..2).is_some_and(|two| two.eq_ignore_ascii_case("FM")) {
            fill = false;
            rest = &rest[2..];
            continue;
        }
        let matches = |name: &&&str| {
            rest.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name))
        };
        match PATTERNS.iter().find(matches) {
            Some(name) => {
                let written = rest[..name.len()].to_owned();
                rest = &rest[name.len()..];
                let ordinal = rest.get(..2).is_some_and(|two| two.eq_ignore_ascii_case("TH"));
                if ordinal {
                    rest = &rest[2..];
                }
                pieces.push(Piece::Field { name, written, fill, ordinal });
                fill = true;
            }
            None => {
                pieces.push(Piece::Text(first.to_string()));
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    pieces
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const ROMAN: [&str; 12] =
    ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// A word in the case of its pattern.
fn cased(word: &str, written: &str, width: usize, fill: bool) -> String {
    let text = if written.chars().all(|c| !c.is_lowercase()) {
        word.to_uppercase()
    } else if written.chars().next().is_some_and(char::is_lowercase) {
        word.to_lowercase()
    } else {
        word.to_owned()
    };
    if fill { format!("{text:<width$}") } else { text }
}

/// A local date and time by a template; `zone` fills TZ and OF.
pub(crate) fn print(at: NaiveDateTime, template: &str, zone: &TzOffset) -> String {
    let mut out = String::new();
    for piece in pieces(template) {
        match piece {
            Piece::Text(text) => out.push_str(&text),
            Piece::Field { name, written, fill, ordinal } => {
                let text = print_field(at, name, &written, fill, zone);
                out.push_str(&text);
                if ordinal {
                    out.push_str(ordinal_of(&text));
                }
            }
        }
    }
    out
}

fn ordinal_of(digits: &str) -> &'static str {
    let number: u64 = digits.trim().parse().unwrap_or(0);
    match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    }
}

fn print_field(
    at: NaiveDateTime,
    name: &str,
    written: &str,
    fill: bool,
    zone: &TzOffset,
) -> String {
    let number = |n: i64, width: usize| {
        if fill { format!("{n:0width$}") } else { n.to_string() }
    };
    let year = i64::from(if at.year() < 1 { 1 - at.year() } else { at.year() });
    let iso_year = i64::from(at.iso_week().year());
    let hour12 = i64::from(if at.hour().is_multiple_of(12) { 12 } else { at.hour() % 12 });
    let month = at.month0() as usize;
    let weekday = at.weekday().num_days_from_sunday() as usize;
    let half = if at.hour() < 12 { "AM" } else { "PM" };
    let micros = i64::from(at.nanosecond() / 1_000);
    match name {
        "YYYY" => number(year, 4),
        "Y,YYY" => format!("{},{:03}", year / 1_000, year % 1_000),
        "YYY" => number(year % 1_000, 3),
        "YY" => number(year % 100, 2),
        "Y" => (year % 10).to_string(),
        "IYYY" => number(iso_year, 4),
        "IYY" => number(iso_year % 1_000, 3),
        "IY" => number(iso_year % 100, 2),
        "I" => (iso_year % 10).to_string(),
        "MONTH" => cased(MONTHS[month], written, 9, fill),
        "MON" => cased(&MONTHS[month][..3], written, 3, fill),
        "MM" => number(i64::from(at.month()), 2),
        "RM" => cased(ROMAN[month], written, 4, fill),
        "DAY" => cased(DAYS[weekday], written, 9, fill),
        "DY" => cased(&DAYS[weekday][..3], written, 3, fill),
        "DDD" => number(i64::from(at.ordinal()), 3),
        "DD" => number(i64::from(at.day()), 2),
        "IDDD" => {
            let week = at.iso_week().week0();
            number(i64::from(week * 7 + at.weekday().number_from_monday()), 3)
        }
        "D" => (weekday + 1).to_string(),
        "ID" => at.weekday().number_from_monday().to_string(),
        "HH24" => number(i64::from(at.hour()), 2),
        "HH12" | "HH" => number(hour12, 2),
        "MI" => number(i64::from(at.minute()), 2),
        "SS" => number(i64::from(at.second()), 2),
        "SSSS" => at.num_seconds_from_midnight().to_string(),
        "MS" => number(micros / 1_000, 3),
        "US" => number(micros, 6),
        "AM" | "PM" => cased(half, written, 2, false),
        "A.M." | "P.M." => {
            let dotted = if half == "AM" { "A.M." } else { "P.M." };
            cased(dotted, written, 4, false)
        }
        "BC" | "AD" => cased(if at.year() < 1 { "BC" } else { "AD" }, written, 2, false),
        "B.C." | "A.D." => cased(if at.year() < 1 { "B.C." } else { "A.D." }, written, 4, false),
        "CC" => number((year + 99) / 100, 2),
        "Q" => (month / 3 + 1).to_string(),
        "WW" => number(i64::from(at.ordinal0() / 7 + 1), 2),
        "W" => (at.day0() / 7 + 1).to_string(),
        "IW" => number(i64::from(at.iso_week().week()), 2),
        "J" => (i64::from(datetime::days(at.date())) + 2_440_588).to_string(),
        "TZ" => {
            let zone = zone.to_string();
            if written.starts_with('t') { zone.to_lowercase() } else { zone }
        }
        _ => datetime::print_offset(zone.fix().local_minus_utc()),
    }
}

/// What a template read from a text.
#[derive(Default)]
struct Read {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    ordinal: Option<u32>,
    julian: Option<i32>,
    hour: u32,
    twelve: bool,
    pm: Option<bool>,
    minute: u32,
    second: u32,
    micros: i64,
    day_seconds: Option<i64>,
    before_christ: bool,
    offset: i32,
}

/// Reads a text by a template: local microseconds since 1970-01-01, and seconds east of UTC.
///
/// A day or a time beyond its end counts on into the next, unless `strict`.
///
/// # Errors
/// 22007 for a text that the template does not fit, 22008 for a month that there is not and, when
/// strict, for a day or time that there is not.
pub(crate) fn read(text: &str, template: &str, strict: bool) -> Result<(i64, i32)> {
    let mut found = Read::default();
    let mut rest = text.trim_start();
    let bad = || error!(InvalidDatetimeFormat, "\"{text}\" does not fit the format \"{template}\"");
    let pieces = pieces(template);
    for (n, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Text(_) => {
                // Any separator stands for any other, as in PostgreSQL.
                let next = rest.chars().next();
                if next.is_some_and(|c| !c.is_alphanumeric() && c != '+' && c != '-')
                    || next == Some('-')
                    || next == Some('T')
                {
                    rest = &rest[next.map_or(0, char::len_utf8)..];
                }
            }
            Piece::Field { name, .. } => {
                let adjacent = matches!(pieces.get(n + 1), Some(Piece::Field { .. }));
                rest = rest.trim_start();
                rest = read_field(&mut found, name, rest, adjacent).ok_or_else(bad)?;
            }
        }
    }
    finish(&found, text, strict).map(|us| (us, found.offset))
}

/// The digits at the start of a text, at most `most`.
fn digits(text: &str, most: usize) -> Option<(u32, &str)> {
    let end = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let number = text.get(..end)?.parse().ok()?;
    Some((number, &text[end..]))
}

fn read_field<'t>(found: &mut Read, name: &str, text: &'t str, adjacent: bool) -> Option<&'t str> {
    let year_digits = if adjacent { 4 } else { 9 };
    let (number, rest) = match name {
        "YYYY" | "IYYY" => digits(text, year_digits)?,
        "YYY" | "IYY" | "DDD" | "IDDD" | "MS" => digits(text, 3)?,
        "US" => digits(text, 6)?,
        "Y" | "I" | "D" | "Q" | "W" | "ID" => digits(text, 1)?,
        "SSSS" => digits(text, 5)?,
        "J" => digits(text, 7)?,
        "MONTH" | "MON" | "DAY" | "DY" | "RM" | "AM" | "PM" | "A.M." | "P.M." | "BC" | "AD"
        | "B.C." | "A.D." | "TZ" | "OF" => return read_word(found, name, text),
        _ => digits(text, 2)?,
    };
    let width = text.len() - rest.len();
    match name {
        "YYYY" | "IYYY" => found.year = i32::try_from(number).ok(),
        "YY" | "IY" | "YYY" | "IYY" | "Y" | "I" => {
            let short = i32::try_from(number).ok()?;
            found.year = Some(if short < 70 {
                short + 2_000
            } else if short < 100 {
                short + 1_900
            } else {
                short + 1_000
            });
        }
        "MM" => found.month = Some(number),
        "DD" => found.day = Some(number),
        "DDD" => found.ordinal = Some(number),
        "J" => found.julian = i32::try_from(number).ok().map(|j| j - 2_440_588),
        "HH24" => found.hour = number,
        "HH12" | "HH" => {
            found.hour = number;
            found.twelve = true;
        }
        "MI" => found.minute = number,
        "SS" => found.second = number,
        "MS" => {
            found.micros = i64::from(number) * 10i64.pow(3 - u32::try_from(width).ok()?) * 1_000
        }
        "US" => found.micros = i64::from(number) * 10i64.pow(6 - u32::try_from(width).ok()?),
        "SSSS" => found.day_seconds = Some(i64::from(number)),
        _ => {}
    }
    Some(rest)
}

fn read_word<'t>(found: &mut Read, name: &str, text: &'t str) -> Option<&'t str> {
    let end = text.find(|c: char| !(c.is_ascii_alphabetic() || "+-:._/0123456789".contains(c)));
    let letters = text.find(|c: char| !(c.is_ascii_alphabetic() || c == '.')).unwrap_or(text.len());
    let word = &text[..letters];
    match name {
        "MONTH" | "MON" => {
            found.month = Some(datetime::month_of(word)?);
            Some(&text[letters..])
        }
        "RM" => {
            let index = ROMAN.iter().position(|roman| roman.eq_ignore_ascii_case(word))?;
            found.month = u32::try_from(index + 1).ok();
            Some(&text[letters..])
        }
        "AM" | "PM" | "A.M." | "P.M." => {
            found.pm = Some(word.to_ascii_lowercase().starts_with('p'));
            found.twelve = true;
            Some(&text[letters..])
        }
        "BC" | "AD" | "B.C." | "A.D." => {
            found.before_christ = word.to_ascii_lowercase().starts_with('b');
            Some(&text[letters..])
        }
        "TZ" | "OF" => {
            let end = end.unwrap_or(text.len());
            match datetime::zone(&text[..end])? {
                datetime::Zone::Fixed(seconds) => found.offset = seconds,
                named @ datetime::Zone::Named(_) => {
                    found.offset = named.offset_of_utc(NaiveDateTime::default());
                }
            }
            Some(&text[end..])
        }
        // The day's name adds nothing.
        _ => Some(&text[letters..]),
    }
}

fn finish(found: &Read, text: &str, strict: bool) -> Result<i64> {
    let range = || error!(DatetimeFieldOverflow, "date/time field value out of range: \"{text}\"");
    let year = found.year.unwrap_or(1);
    let year = if found.before_christ { 1 - year } else { year };
    let day = found.day.unwrap_or(1);
    let date = match (found.julian, found.ordinal) {
        (Some(days), _) => datetime::date_of(days),
        (None, Some(ordinal)) => NaiveDate::from_yo_opt(year, ordinal),
        _ if strict => NaiveDate::from_ymd_opt(year, found.month.unwrap_or(1), day),
        _ => NaiveDate::from_ymd_opt(year, found.month.unwrap_or(1), 1)
            .filter(|_| (1..=31).contains(&day))
            .and_then(|first| first.checked_add_days(chrono::Days::new(u64::from(day) - 1))),
    };
    let date = date.ok_or_else(range)?;
    let hour = match (found.twelve, found.pm) {
        (true, Some(pm)) if found.hour <= 12 => found.hour % 12 + if pm { 12 } else { 0 },
        _ => found.hour,
    };
    if strict && (hour > 23 || found.minute > 59 || found.second > 59) {
        return Err(range());
    }
    let seconds = found.day_seconds.unwrap_or_else(|| {
        i64::from(hour) * 3_600 + i64::from(found.minute) * 60 + i64::from(found.second)
    });
    Ok(i64::from(datetime::days(date)) * DAY_US + seconds * 1_000_000 + found.micros)
}

/// The precision and scale of the numbers that a template reads.
pub(crate) fn number_size(template: &str) -> (u8, u8) {
    let parsed = number_template(template);
    let scale = parsed.fraction.len().min(37);
    let precision = (parsed.whole.len() + scale).clamp(1, 38);
    (u8::try_from(precision).unwrap_or(38), u8::try_from(scale).unwrap_or(0))
}

/// The places of a template for numbers.
#[derive(Default)]
struct NumberTemplate {
    /// Digits before and after the point: true where a zero is shown.
    whole: Vec<bool>,
    fraction: Vec<bool>,
    groups: Vec<usize>,
    blank: bool,
    sign: Sign,
    prefix: String,
    suffix: String,
    /// By how many digits V moves the point to the right.
    shift: Option<u32>,
    /// RN, and whether it is in capitals.
    roman: Option<bool>,
    /// TH, and whether it is in capitals.
    ordinal: Option<bool>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Sign {
    /// Before the first digit, a blank for what is not negative.
    #[default]
    Blank,
    /// Before the first digit, plus or minus.
    Leading,
    /// At the front of all, a blank for what is not negative.
    Front,
    /// At the end, minus or a blank.
    Trailing,
    /// At the end, plus or minus.
    Closing,
    Angle,
    /// Where [`EITHER_SIGN`] stands in what is before or after the digits.
    Placed,
}

/// SG and PL in the texts beside the digits: the sign, and a plus or a blank.
const EITHER_SIGN: char = '\u{1}';
const PLUS_SIGN: char = '\u{2}';

fn number_template(template: &str) -> NumberTemplate {
    let mut parsed = NumberTemplate { blank: true, ..NumberTemplate::default() };
    let mut point = false;
    let mut rest = template;
    while let Some(c) = rest.chars().next() {
        let digits = !parsed.whole.is_empty() || point;
        let two = rest.get(..2).unwrap_or("");
        let mut length = 2;
        match two.to_ascii_uppercase().as_str() {
            "FM" => parsed.blank = false,
            "MI" => parsed.sign = if digits { Sign::Trailing } else { Sign::Front },
            "PR" => parsed.sign = Sign::Angle,
            "SG" | "PL" => {
                if two.eq_ignore_ascii_case("SG") {
                    parsed.sign = Sign::Placed;
                }
                let mark = if two.eq_ignore_ascii_case("SG") { EITHER_SIGN } else { PLUS_SIGN };
                if digits { parsed.suffix.push(mark) } else { parsed.prefix.push(mark) }
            }
            "RN" => parsed.roman = Some(two == "RN"),
            "TH" => parsed.ordinal = Some(two == "TH"),
            _ => {
                length = c.len_utf8();
                let quoted = if c == '"' { rest[1..].find('"') } else { None };
                let place = if digits { &mut parsed.suffix } else { &mut parsed.prefix };
                match (c.to_ascii_uppercase(), quoted) {
                    (_, Some(end)) => {
                        place.push_str(&rest[1..=end]);
                        length = end + 2;
                    }
                    ('S', _) if digits => parsed.sign = Sign::Closing,
                    ('S', _) => parsed.sign = Sign::Leading,
                    ('9' | '0', _) if point => parsed.fraction.push(c == '0'),
                    ('9' | '0', _) => {
                        parsed.whole.push(c == '0');
                        parsed.shift = parsed.shift.map(|shift| shift + 1);
                    }
                    ('.' | 'D', _) => point = true,
                    (',' | 'G', _) => parsed.groups.push(parsed.whole.len()),
                    ('V', _) => parsed.shift = Some(0),
                    ('L', _) => place.push('$'),
                    (_, None) => place.push(c),
                }
            }
        }
        rest = &rest[length..];
    }
    parsed
}

/// A number by a template: exact as an unscaled number and its scale, else a float.
pub(crate) fn print_number(value: f64, exact: Option<(i128, u32)>, template: &str) -> String {
    let parsed = number_template(template);
    let places = parsed.fraction.len();
    let negative = exact.map_or(value < 0.0, |(unscaled, _)| unscaled < 0);
    let shift = parsed.shift.unwrap_or(0);
    let text = match exact {
        Some((unscaled, scale)) => {
            let moved = unscaled.unsigned_abs().saturating_mul(10u128.saturating_pow(shift));
            print_unscaled(moved, scale, places)
        }
        None => format!("{:.places$}", value.abs() * 10f64.powi(shift.cast_signed())),
    };
    // An exact number that is rounded to zero has no sign.
    let is_zero = exact.is_some() && text.bytes().all(|b| matches!(b, b'0' | b'.'));
    let negative = negative && !is_zero;
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    if let Some(capitals) = parsed.roman {
        return roman(if negative { "" } else { whole }, capitals, parsed.blank);
    }
    let mut out = whole_digits(&parsed, if whole == "0" { "" } else { whole });
    if places > 0 {
        out.push('.');
        let overflow = whole != "0" && whole.len() > parsed.whole.len();
        let shown = fraction_digits(&parsed, fraction, overflow);
        if out == "." && shown.is_empty() {
            out.insert(0, '0');
        }
        out.push_str(&shown);
    } else if let Some(capitals) =
        parsed.ordinal.filter(|_| !negative && whole.len() <= parsed.whole.len())
    {
        let ordinal = ordinal_of(whole);
        out.push_str(&if capitals { ordinal.to_uppercase() } else { ordinal.to_owned() });
    }
    signed(&parsed, out, negative)
}

/// The digits before the point, `#` where they are more than the places.
fn whole_digits(parsed: &NumberTemplate, whole: &str) -> String {
    let width = parsed.whole.len();
    let overflow = whole.len() > width;
    // From the first zero of the template on, zeros are shown.
    let first_zero = parsed.whole.iter().position(|zero| *zero).unwrap_or(width);
    let mut out = String::new();
    for place in 0..width {
        if parsed.groups.contains(&place) && place > 0 {
            let shown = width - place < whole.len() || place > first_zero;
            if shown {
                out.push(',');
            } else if parsed.blank {
                out.push(' ');
            }
        }
        let from_right = width - place;
        let only = from_right == 1 && parsed.fraction.is_empty() && whole.is_empty();
        if overflow {
            out.push('#');
        } else if from_right <= whole.len() {
            out.push_str(&whole[whole.len() - from_right..=whole.len() - from_right]);
        } else if place >= first_zero || only {
            out.push('0');
        } else if parsed.blank {
            out.push(' ');
        }
    }
    out
}

/// The digits after the point. Without blanks, zeros at the end are left out down to the last
/// place that is a zero.
fn fraction_digits(parsed: &NumberTemplate, fraction: &str, overflow: bool) -> String {
    if overflow {
        return "#".repeat(fraction.len());
    }
    if parsed.blank {
        return fraction.to_owned();
    }
    let kept = parsed.fraction.iter().rposition(|zero| *zero).map_or(0, |last| last + 1);
    let shown = fraction.trim_end_matches('0').len().max(kept);
    fraction[..shown].to_owned()
}

/// A number from 1 to 3999 in Roman digits, else `#`, 15 wide.
fn roman(whole: &str, capitals: bool, blank: bool) -> String {
    const WIDTH: usize = 15;
    const VALUES: [(u32, &str); 13] = [
        (1_000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let number = whole.parse::<u32>().ok();
    let Some(mut left) = number.filter(|n| (1..=3_999).contains(n)) else {
        return "#".repeat(WIDTH);
    };
    let mut out = String::new();
    for (value, digits) in VALUES {
        while left >= value {
            out.push_str(digits);
            left -= value;
        }
    }
    let out = if capitals { out } else { out.to_lowercase() };
    if blank { format!("{out:>WIDTH$}") } else { out }
}

/// The digits with what stands before and after them, and their sign.
fn signed(parsed: &NumberTemplate, digits: String, negative: bool) -> String {
    let blanks = digits.len() - digits.trim_start().len();
    let (lead, digits) = digits.split_at(blanks);
    let blank = if parsed.blank { " " } else { "" };
    let minus = if negative { "-" } else { blank };
    let either = if negative { "-" } else { "+" };
    let plus = if negative { blank } else { "+" };
    let signs = |text: &str| text.replace(EITHER_SIGN, either).replace(PLUS_SIGN, plus);
    let (prefix, suffix) = (signs(&parsed.prefix), signs(&parsed.suffix));
    match parsed.sign {
        Sign::Blank => format!("{prefix}{lead}{minus}{digits}{suffix}"),
        Sign::Placed => format!("{prefix}{lead}{digits}{suffix}"),
        Sign::Leading => format!("{prefix}{lead}{either}{digits}{suffix}"),
        Sign::Front => format!("{prefix}{minus}{lead}{digits}{suffix}"),
        Sign::Trailing => format!("{prefix}{lead}{digits}{suffix}{minus}"),
        Sign::Closing => format!("{prefix}{lead}{digits}{suffix}{either}"),
        Sign::Angle if negative => format!("{prefix}{lead}<{digits}>{suffix}"),
        Sign::Angle => format!("{prefix}{lead}{blank}{digits}{blank}{suffix}"),
    }
}

fn print_unscaled(unscaled: u128, scale: u32, places: usize) -> String {
    let places = u32::try_from(places).unwrap_or(0);
    let shifted = if places >= scale {
        unscaled.saturating_mul(10u128.saturating_pow(places - scale))
    } else {
        let factor = 10u128.saturating_pow(scale - places);
        unscaled / factor + u128::from(unscaled % factor >= factor / 2)
    };
    let factor = 10u128.saturating_pow(places);
    if places == 0 {
        return shifted.to_string();
    }
    format!("{}.{:0width$}", shifted / factor, shifted % factor, width = places as usize)
}

/// A number read by a template: its digits, point and sign are taken, the rest is skipped.
///
/// # Errors
/// 22P02 when there is no digit.
pub(crate) fn read_number(text: &str, template: &str) -> Result<(i128, u32)> {
    let scale = number_template(template).fraction.len();
    let negative = text.contains('-') || text.trim_start().starts_with('<');
    let kept: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    let (whole, fraction) = kept.split_once('.').unwrap_or((&kept, ""));
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(scale).collect();
    let digits = format!("{whole}{fraction}");
    let unscaled: i128 = digits.parse().map_err(|_| {
        error!(InvalidTextRepresentation, "\"{text}\" is not a number of the format \"{template}\"")
    })?;
    Ok((if negative { -unscaled } else { unscaled }, u32::try_from(scale).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> NaiveDateTime {
        datetime::datetime_of(datetime::parse_timestamp(text).unwrap()).unwrap()
    }

    #[test]
    fn dates_by_templates() {
        let at = at("2009-12-31 23:15:59.123456");
        for (template, expected) in [
            ("YYYY-MM-DD HH24:MI:SS", "2009-12-31 23:15:59"),
            ("Mon DD, YYYY HH12:MI pm", "Dec 31, 2009 11:15 pm"),
            ("FMMonth FMDDth", "December 31st"),
            ("DAY", "THURSDAY "),
            ("Q WW IW D J US", "4 53 53 5 2455197 123456"),
            ("\"at\" HH24", "at 23"),
            ("YYYY-MM-DD HH24:MI:SS.MS TZ", "2009-12-31 23:15:59.123 UTC"),
        ] {
            let zone = chrono::TimeZone::offset_from_utc_datetime(&Tz::UTC, &at);
            assert_eq!(print(at, template, &zone), expected, "{template}");
        }
        let (us, _) = read("31 Dec 2009 11:15 pm", "DD Mon YYYY HH12:MI am", true).unwrap();
        assert_eq!(datetime::print_timestamp(us), "2009-12-31 23:15:00");
        let (us, _) = read("20091231", "YYYYMMDD", true).unwrap();
        assert_eq!(datetime::print_timestamp(us), "2009-12-31 00:00:00");
        let (us, _) = read("2009-06-31 24:38:15", "YYYY-MM-DD HH24:MI:SS", false).unwrap();
        assert_eq!(datetime::print_timestamp(us), "2009-07-02 00:38:15");
        for text in ["2009-13-31", "x"] {
            assert!(read(text, "YYYY-MM-DD", false).is_err());
        }
        for text in ["2009-06-31", "2009-02-29"] {
            assert!(read(text, "YYYY-MM-DD", true).is_err());
        }
    }

    #[test]
    fn numbers_by_templates() {
        for (unscaled, scale, template, expected) in [
            (1_258, 1, "999D99", " 125.80"),
            (-1_258, 1, "999D99", "-125.80"),
            (12_345_678, 2, "999,999.99", " 123,456.78"),
            (5, 0, "000", " 005"),
            (485, 0, "FM999MI", "485"),
            (-485, 0, "999PR", "<485>"),
            (125, 0, "FM999", "125"),
            (12_345, 0, "999", " ###"),
            (0, 0, "9", " 0"),
            (61_880, 2, "l99999D99", "$   618.80"),
            (61_880, 2, "rn", "          dcxix"),
            (52, 1, "FMRN", "V"),
            (0, 0, "RN", "###############"),
            (482, 0, "999th", " 482nd"),
            (12, 0, "99V999", " 12000"),
            (124, 1, "99V999", " 12400"),
            (1_245, 2, "99V9", " 125"),
            (-1, 1, "99.99", "  -.10"),
            (-1, 1, "FM9.99", "-.1"),
            (1, 1, "0.9", " 0.1"),
            (12, 0, "9990999.9", "    0012.0"),
            (12, 0, "FM9990999.9", "0012."),
            (1_485, 1, "FM999.999", "148.5"),
            (1_485, 1, "FM999.990", "148.500"),
            (-12, 0, "S9999", "  -12"),
            (-12, 0, "MI9999", "-  12"),
            (485, 0, "SG999", "+485"),
            (485, 0, "\"Good number:\"999", "Good number: 485"),
            (-1_258, 1, "999D99S", "125.80-"),
        ] {
            assert_eq!(
                print_number(0.0, Some((unscaled, scale)), template),
                expected,
                "{template}"
            );
        }
        assert_eq!(read_number("12,454.8-", "99G999D9S").unwrap(), (-124_548, 1));
    }
}
