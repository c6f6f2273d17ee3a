//! Intervals: PostgreSQL's mixed one, and Redshift's two.

use arrow_array::types::{Int32Type, Int64Type, IntervalMonthDayNanoType};
use arrow_array::{ArrayRef, PrimitiveArray};
use base::{Result, SqlType};

use super::datetime::{put_fraction, put_time};
use super::text::{put_int, put_uint};
use super::{Cell, downcast};

const DAY_US: i64 = 86_400_000_000;

pub(super) fn text(array: &ArrayRef, sql_type: SqlType) -> Result<Cell> {
    Ok(match sql_type {
        SqlType::IntervalYearMonth => {
            let values: PrimitiveArray<Int32Type> = downcast(array)?;
            Box::new(move |row, out| put_year_month(out, values.value(row)))
        }
        SqlType::IntervalDaySecond => {
            let values: PrimitiveArray<Int64Type> = downcast(array)?;
            Box::new(move |row, out| put_day_second(out, values.value(row)))
        }
        _ => {
            let values: PrimitiveArray<IntervalMonthDayNanoType> = downcast(array)?;
            Box::new(move |row, out| {
                let value = values.value(row);
                put_mixed(out, value.months, value.days, value.nanoseconds / 1_000);
            })
        }
    })
}

pub(super) fn binary(array: &ArrayRef) -> Result<Cell> {
    let values: PrimitiveArray<IntervalMonthDayNanoType> = downcast(array)?;
    Ok(Box::new(move |row, out| {
        let value = values.value(row);
        out.extend_from_slice(&(value.nanoseconds / 1_000).to_be_bytes());
        out.extend_from_slice(&value.days.to_be_bytes());
        out.extend_from_slice(&value.months.to_be_bytes());
    }))
}

/// `1 years 2 mons`
fn put_year_month(out: &mut Vec<u8>, months: i32) {
    put_unit(out, i64::from(months / 12), " years ");
    put_unit(out, i64::from(months % 12), " mons");
}

/// `1 days 2 hours 3 mins 4.5 secs`
fn put_day_second(out: &mut Vec<u8>, us: i64) {
    put_unit(out, us / DAY_US, " days ");
    put_unit(out, us / 3_600_000_000 % 24, " hours ");
    put_unit(out, us / 60_000_000 % 60, " mins ");
    let rest = us % 60_000_000;
    if rest < 0 {
        out.push(b'-');
    }
    put_uint(out, rest.unsigned_abs() / 1_000_000);
    match rest.unsigned_abs() % 1_000_000 {
        0 => out.extend_from_slice(b".0"),
        fraction => put_fraction(out, fraction),
    }
    out.extend_from_slice(b" secs");
}

fn put_unit(out: &mut Vec<u8>, value: i64, unit: &str) {
    put_int(out, value);
    out.extend_from_slice(unit.as_bytes());
}

/// PostgreSQL's style: `1 year 2 mons 3 days 04:05:06.7`. A part after a negative one shows
/// its sign also when it is positive.
pub(crate) fn put_mixed(out: &mut Vec<u8>, months: i32, days: i32, us: i64) {
    let start = out.len();
    let mut negative = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value == 0 {
            continue;
        }
        if out.len() > start {
            out.push(b' ');
        }
        if negative && value > 0 {
            out.push(b'+');
        }
        put_int(out, i64::from(value));
        out.push(b' ');
        out.extend_from_slice(unit.as_bytes());
        if value != 1 {
            out.push(b's');
        }
        negative = value < 0;
    }
    if us == 0 && out.len() > start {
        return;
    }
    if out.len() > start {
        out.push(b' ');
    }
    match (us < 0, negative) {
        (true, _) => out.push(b'-'),
        (false, true) => out.push(b'+'),
        (false, false) => {}
    }
    put_time(out, us);
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
    fn styles_are_those_of_the_two_servers() {
        let hms = (4 * 3_600 + 5 * 60 + 6) * 1_000_000;
        for ((months, days, us), text) in [
            ((14, 3, hms + 700_000), "1 year 2 mons 3 days 04:05:06.7"),
            ((0, 0, 0), "00:00:00"),
            ((0, 1, 0), "1 day"),
            ((0, -1, hms), "-1 days +04:05:06"),
            ((-13, 0, -hms), "-1 years -1 mons -04:05:06"),
            ((0, 0, 100 * 3_600_000_000), "100:00:00"),
        ] {
            assert_eq!(written(|out| put_mixed(out, months, days, us)), text);
        }
        assert_eq!(written(|out| put_year_month(out, 14)), "1 years 2 mons");
        assert_eq!(
            written(|out| put_day_second(out, -2 * DAY_US)),
            "-2 days 0 hours 0 mins 0.0 secs"
        );
        assert_eq!(
            written(|out| put_day_second(out, DAY_US + hms + 500_000)),
            "1 days 4 hours 5 mins 6.5 secs"
        );
    }
}
