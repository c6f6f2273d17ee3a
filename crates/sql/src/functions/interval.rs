//! Intervals: months, days and a time of day beside each other, as PostgreSQL has them. Text as an
//! interval, arithmetic with numbers, their order, and their parts.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    DurationMicrosecondType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
};
use arrow_array::{Array, ArrayRef, Int64Array, PrimitiveArray};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use base::{Error, Result, error};
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};

use super::datetime::DAY_US;
use super::kernel::{Kernel, coerced, double};

/// The functions behind the operators.
pub(crate) const OF_DURATION: &str = "interval_of_duration";
pub(crate) const TIMES: &str = "interval_times";
pub(crate) const DIVIDE: &str = "interval_divide";
pub(crate) const ORDER: &str = "interval_order";

pub(crate) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const DAYS_PER_MONTH: f64 = 30.0;
const DAY_NS: f64 = 86_400e9;

/// True for both forms in which an interval is held.
pub(crate) fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_) | DataType::Duration(_))
}

fn out_of_range() -> Error {
    error!(DatetimeFieldOverflow, "interval out of range")
}

fn invalid(text: &str) -> Error {
    error!(InvalidDatetimeFormat, "invalid input syntax for type interval: \"{text}\"")
        .hint("Write numbers and units, for example '1 day 2 hours' or '3 months'.")
}

/// What a unit is in months, days and nanoseconds: one of them is not zero.
fn unit(word: &str) -> Option<(i32, i32, i64)> {
    Some(match word {
        "millennium" | "millennia" | "mil" | "mils" => (12_000, 0, 0),
        "century" | "centuries" | "c" | "cent" => (1_200, 0, 0),
        "decade" | "decades" | "dec" | "decs" => (120, 0, 0),
        "year" | "years" | "y" | "yr" | "yrs" => (12, 0, 0),
        "quarter" | "quarters" | "qtr" | "qtrs" => (3, 0, 0),
        "month" | "months" | "mon" | "mons" => (1, 0, 0),
        "week" | "weeks" | "w" => (0, 7, 0),
        "day" | "days" | "d" => (0, 1, 0),
        "hour" | "hours" | "h" | "hr" | "hrs" => (0, 0, 3_600_000_000_000),
        "minute" | "minutes" | "m" | "min" | "mins" => (0, 0, 60_000_000_000),
        "second" | "seconds" | "s" | "sec" | "secs" => (0, 0, 1_000_000_000),
        "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" => (0, 0, 1_000_000),
        "microsecond" | "microseconds" | "us" | "usec" | "usecs" => (0, 0, 1_000),
        _ => return None,
    })
}

/// Months, days and nanoseconds that add up as a text is read.
#[derive(Default)]
struct Sum {
    months: f64,
    days: f64,
    nanos: f64,
}

impl Sum {
    /// Adds so many of a unit. What is less than a month counts in days, what is less than a day
    /// in hours.
    fn add(&mut self, count: f64, (months, days, nanos): (i32, i32, i64)) {
        let whole_months = (count * f64::from(months)).trunc();
        let more_days = (count * f64::from(months) - whole_months) * DAYS_PER_MONTH;
        let all_days = more_days + count * f64::from(days);
        self.months += whole_months;
        self.days += all_days.trunc();
        let rest = (all_days - all_days.trunc()) * DAY_NS;
        self.nanos += (rest / 1e3).round() * 1e3 + (count * nanos as f64 / 1e3).round() * 1e3;
    }

    fn value(&self) -> Result<IntervalMonthDayNano> {
        let part = |value: f64| {
            let fits = value.abs() < f64::from(i32::MAX);
            if fits { Ok(value as i32) } else { Err(out_of_range()) }
        };
        if self.nanos.abs() >= i64::MAX as f64 {
            return Err(out_of_range());
        }
        Ok(IntervalMonthDayNano::new(part(self.months)?, part(self.days)?, self.nanos as i64))
    }
}

/// `[-]H:MM[:SS[.fff]]` in nanoseconds.
fn clock(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let parts: Vec<&str> = digits.split(':').collect();
    let [hours, minutes, rest @ ..] = &parts[..] else { return None };
    let seconds: f64 = match rest {
        [] => 0.0,
        [seconds] => seconds.parse().ok()?,
        _ => return None,
    };
    let (hours, minutes) = (f64::from(hours.parse::<u32>().ok()?), minutes.parse::<u8>().ok()?);
    let all = hours * 3_600.0 + f64::from(minutes) * 60.0 + seconds;
    (minutes < 60 && seconds < 60.0).then_some(sign * (all * 1e6).round() * 1e3)
}

/// An interval from text: numbers with units, a time of day, and a bare number of seconds.
///
/// # Errors
/// 22007 for what is none, 22008 for what is too long.
pub(crate) fn parse(text: &str) -> Result<IntervalMonthDayNano> {
    let lower = text.to_ascii_lowercase().replace(',', " ");
    let mut words = lower.split_whitespace().filter(|word| *word != "@").peekable();
    let mut sum = Sum::default();
    let mut is_empty = true;
    while let Some(word) = words.next() {
        if word == "ago" && !is_empty && words.peek().is_none() {
            sum = Sum { months: -sum.months, days: -sum.days, nanos: -sum.nanos };
            break;
        }
        is_empty = false;
        if word.contains(':') {
            sum.nanos += clock(word).ok_or_else(|| invalid(text))?;
            continue;
        }
        let end = word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len());
        let (number, attached) = word.split_at(end);
        let count: f64 = number.parse().map_err(|_| invalid(text))?;
        let name = if attached.is_empty() {
            words.next_if(|next| unit(next).is_some()).unwrap_or("second")
        } else {
            attached
        };
        sum.add(count, unit(name).ok_or_else(|| invalid(text))?);
    }
    if is_empty { Err(invalid(text)) } else { sum.value() }
}

/// An array of either form as months, days and nanoseconds. A difference of two moments has days
/// of 24 hours and the rest of one.
fn intervals(args: &[ArrayRef], n: usize) -> Result<PrimitiveArray<IntervalMonthDayNanoType>> {
    let of = |us: i64| {
        let days = i32::try_from(us / DAY_US).unwrap_or(i32::MAX);
        IntervalMonthDayNano::new(0, days, us % DAY_US * 1_000)
    };
    match args.get(n).map(|array| array.data_type()) {
        Some(DataType::Duration(_)) => {
            let array = coerced(args, n, &DataType::Duration(TimeUnit::Microsecond))?;
            Ok(array.as_primitive::<DurationMicrosecondType>().unary(of))
        }
        _ => {
            let array = coerced(args, n, &INTERVAL)?;
            Ok(array.as_primitive::<IntervalMonthDayNanoType>().clone())
        }
    }
}

fn scaled(args: &[ArrayRef], inverse: bool) -> Result<ArrayRef> {
    let is_first = args.first().is_some_and(|arg| is_interval(arg.data_type()));
    let (of, by) = if is_first { (0, 1) } else { (1, 0) };
    let (values, factors) = (intervals(args, of)?, double(args, by)?);
    let rows = values.iter().zip(factors.iter()).map(|pair| {
        let (Some(value), Some(factor)) = pair else { return Ok(None) };
        if inverse && factor == 0.0 {
            return Err(error!(DivisionByZero, "division by zero"));
        }
        let part = |amount: f64| if inverse { amount / factor } else { amount * factor };
        let mut sum = Sum::default();
        sum.add(part(f64::from(value.months)), (1, 0, 0));
        sum.add(part(f64::from(value.days)), (0, 1, 0));
        sum.nanos += (part(value.nanoseconds as f64) / 1e3).round() * 1e3;
        sum.value().map(Some)
    });
    Ok(Arc::new(rows.collect::<Result<PrimitiveArray<IntervalMonthDayNanoType>>>()?))
}

/// The length by which intervals are compared, in microseconds: months of 30 days, days of 24
/// hours.
fn length_us(value: IntervalMonthDayNano) -> i64 {
    let days = i64::from(value.months) * 30 + i64::from(value.days);
    days.saturating_mul(DAY_US).saturating_add(value.nanoseconds / 1_000)
}

/// A part of an interval, by the name that DATE_PART has for it; `None` for a part that intervals
/// have not.
fn part(name: &str, value: IntervalMonthDayNano) -> Option<f64> {
    let (months, us) = (value.months, value.nanoseconds / 1_000);
    let seconds = || (us % 60_000_000) as f64 / 1e6;
    let (_, days, nanos) = unit(name).unwrap_or_default();
    Some(match (name, nanos, days) {
        ("epoch", ..) => {
            let years = f64::from(months / 12) * 365.25;
            let days = years + f64::from(months % 12) * DAYS_PER_MONTH + f64::from(value.days);
            days * 86_400.0 + us as f64 / 1e6
        }
        (_, 3_600_000_000_000, _) => (us / 3_600_000_000) as f64,
        (_, 60_000_000_000, _) => (us % 3_600_000_000 / 60_000_000) as f64,
        (_, 1_000_000_000, _) => seconds(),
        (_, 1_000_000, _) => seconds() * 1e3,
        (_, 1_000, _) => seconds() * 1e6,
        (_, _, 1) => f64::from(value.days),
        _ => match unit(name)?.0 {
            1 => f64::from(months % 12),
            3 => f64::from(months % 12 / 3 + 1),
            12 => f64::from(months / 12),
            120 => f64::from(months / 120),
            1_200 => f64::from(months / 1_200),
            12_000 => f64::from(months / 12_000),
            _ => return None,
        },
    })
}

/// `date_part(name, interval)`.
///
/// # Errors
/// 22023 for a part that intervals have not.
pub(crate) fn parts(name: &str, args: &[ArrayRef], n: usize) -> Result<ArrayRef> {
    let name = name.trim().to_ascii_lowercase();
    let values = intervals(args, n)?;
    let rows = values.iter().map(|value| match value {
        Some(value) => part(&name, value).map(Some).ok_or_else(|| {
            error!(InvalidParameterValue, "interval units \"{name}\" not recognized")
        }),
        None => Ok(None),
    });
    Ok(Arc::new(rows.collect::<Result<PrimitiveArray<Float64Type>>>()?))
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let any = |count| Signature::any(count, Volatility::Immutable);
    let interval = |_: &[DataType]| Ok(INTERVAL);
    vec![
        Kernel::strict_udf(OF_DURATION, any(1), interval, |args| Ok(Arc::new(intervals(args, 0)?))),
        Kernel::strict_udf(TIMES, any(2), interval, |args| scaled(args, false)),
        Kernel::strict_udf(DIVIDE, any(2), interval, |args| scaled(args, true)),
        Kernel::strict_udf(
            ORDER,
            any(1),
            |_| Ok(DataType::Int64),
            |args| {
                let lengths: Int64Array = intervals(args, 0)?.unary(length_us);
                Ok(Arc::new(lengths))
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_postgresql_reads_it() {
        const HOUR: i64 = 3_600_000_000_000;
        for (text, expected) in [
            ("1 day", (0, 1, 0)),
            ("1w, 1h", (0, 7, HOUR)),
            ("0.5 days", (0, 0, 12 * HOUR)),
            ("1.5 months", (1, 15, 0)),
            ("-1 day 2 hours", (0, -1, 2 * HOUR)),
            ("10 days 00:00:01", (0, 10, 1_000_000_000)),
            ("-01:30", (0, 0, -HOUR * 3 / 2)),
            ("90", (0, 0, 90_000_000_000)),
            ("1 year 2 months ago", (-14, 0, 0)),
        ] {
            let (months, days, nanos) = expected;
            let expected = IntervalMonthDayNano::new(months, days, nanos);
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
        for text in ["", "x", "1 parsec", "1:2:3:4", "ago", "1:99"] {
            assert_eq!(parse(text).unwrap_err().sqlstate().code(), "22007", "{text}");
        }
    }

    #[test]
    fn a_month_is_as_long_as_thirty_days() {
        let month = length_us(parse("1 month").unwrap());
        assert_eq!(month, length_us(parse("30 days").unwrap()));
        assert!(length_us(parse("36 hours").unwrap()) > length_us(parse("1 day").unwrap()));
    }
}
