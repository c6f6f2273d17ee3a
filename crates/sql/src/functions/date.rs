//! Functions of dates and times by Redshift's rules.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, Float64Array, Int32Array, Int64Array, PrimitiveArray, StringViewArray,
};
use arrow_schema::{DataType, TimeUnit};
use base::types::UTC;
use base::{Error, Result, error};
use chrono::{Datelike, Months, NaiveDate, NaiveDateTime, Timelike, Weekday};
use datafusion::arrow::compute::cast;
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};

use super::Planned;
use super::datetime::{self, DAY_US};
use super::interval;
use super::kernel::{Kernel, coerced};
use crate::bind::external;

/// A part of a date or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Millennium,
    Century,
    Decade,
    Year,
    IsoYear,
    Quarter,
    Month,
    Week,
    Day,
    DayOfWeek,
    DayOfYear,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
    Epoch,
    Zone,
}

fn part(text: &str) -> Result<Part> {
    Ok(match text.trim().to_ascii_lowercase().as_str() {
        "millennium" | "millennia" | "mil" | "mils" => Part::Millennium,
        "century" | "centuries" | "c" | "cent" | "cents" => Part::Century,
        "decade" | "decades" | "dec" | "decs" => Part::Decade,
        "year" | "years" | "y" | "yr" | "yrs" | "yyyy" | "yy" => Part::Year,
        "isoyear" => Part::IsoYear,
        "quarter" | "quarters" | "qtr" | "qtrs" => Part::Quarter,
        "month" | "months" | "mon" | "mons" => Part::Month,
        "week" | "weeks" | "w" | "isoweek" => Part::Week,
        "day" | "days" | "d" => Part::Day,
        "dayofweek" | "dow" | "dw" | "weekday" => Part::DayOfWeek,
        "dayofyear" | "doy" | "dy" | "yearday" => Part::DayOfYear,
        "hour" | "hours" | "h" | "hr" | "hrs" => Part::Hour,
        "minute" | "minutes" | "m" | "min" | "mins" => Part::Minute,
        "second" | "seconds" | "s" | "sec" | "secs" => Part::Second,
        "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" | "msecond" | "mseconds" => {
            Part::Millisecond
        }
        "microsecond" | "microseconds" | "us" | "usec" | "usecs" | "microsecs" => Part::Microsecond,
        "epoch" => Part::Epoch,
        "timezone" | "timezone_hour" | "timezone_minute" => Part::Zone,
        other => {
            return Err(error!(InvalidParameterValue, "date part \"{other}\" not recognized"));
        }
    })
}

/// True for parts of a day or more, which are counted on the calendar.
pub(crate) fn counts_days(name: &str) -> bool {
    let Ok(part) = part(name) else { return false };
    months(part).is_some() || micros(part).is_some_and(|each| each >= DAY_US)
}

/// Months that a part counts in; `None` for a part of fixed length.
fn months(part: Part) -> Option<i64> {
    Some(match part {
        Part::Millennium => 12_000,
        Part::Century => 1_200,
        Part::Decade => 120,
        Part::Year | Part::IsoYear => 12,
        Part::Quarter => 3,
        Part::Month => 1,
        _ => return None,
    })
}

/// Microseconds of a part of fixed length.
fn micros(part: Part) -> Option<i64> {
    Some(match part {
        Part::Week => 7 * DAY_US,
        Part::Day | Part::DayOfWeek | Part::DayOfYear => DAY_US,
        Part::Hour => 3_600_000_000,
        Part::Minute => 60_000_000,
        Part::Second | Part::Epoch => 1_000_000,
        Part::Millisecond => 1_000,
        Part::Microsecond => 1,
        _ => return None,
    })
}

fn range() -> Error {
    error!(DatetimeFieldOverflow, "timestamp out of range")
}

/// True for a part that is a number of years.
fn in_years(part: Part) -> bool {
    months(part).is_some_and(|each| each % 12 == 0)
}

/// A date and time moved by months; the day is cut to the month's length.
fn add_months(at: NaiveDateTime, count: i64) -> Result<NaiveDateTime> {
    let size = Months::new(u32::try_from(count.unsigned_abs()).map_err(|_| range())?);
    let moved = if count < 0 { at.checked_sub_months(size) } else { at.checked_add_months(size) };
    moved.ok_or_else(range)
}

fn local(us: i64) -> Result<NaiveDateTime> {
    datetime::datetime_of(us).ok_or_else(range)
}

fn date_add(part: Part, count: i64, us: i64) -> Result<i64> {
    if let Some(each) = months(part) {
        let count = count.checked_mul(each).ok_or_else(range)?;
        let at = local(us)?;
        let moved = datetime::micros(add_months(at, count)?);
        // A year from 29 February is 1 March, twelve months from it 28 February.
        let leap_day = in_years(part) && (at.month(), at.day()) == (2, 29);
        let spills = leap_day && local(moved)?.day() == 28;
        return if spills { moved.checked_add(DAY_US).ok_or_else(range) } else { Ok(moved) };
    }
    let each =
        micros(part).ok_or_else(|| error!(InvalidParameterValue, "date part not supported"))?;
    each.checked_mul(count).and_then(|shift| us.checked_add(shift)).ok_or_else(range)
}

/// How many borders of the part lie between two moments.
fn date_diff(part: Part, from: i64, to: i64) -> Result<i64> {
    if let Some(each) = months(part) {
        let border = |us: i64| -> Result<i64> {
            let at = local(us)?;
            Ok((i64::from(at.year()) * 12 + i64::from(at.month0())).div_euclid(each))
        };
        return Ok(border(to)? - border(from)?);
    }
    let each =
        micros(part).ok_or_else(|| error!(InvalidParameterValue, "date part not supported"))?;
    // Weeks begin on Sunday; 1970-01-01 was a Thursday.
    let shift = if part == Part::Week { 4 * DAY_US } else { 0 };
    let border = |us: i64| (us + shift).div_euclid(each);
    Ok(border(to) - border(from))
}

fn field(part: Part, us: i64) -> Result<f64> {
    let at = local(us)?;
    let year = at.year();
    let second = || f64::from(at.second()) + f64::from(at.nanosecond() / 1_000) / 1e6;
    // PostgreSQL counts centuries from 1, so that 2000 is the 20th and 2001 the 21st.
    let counted =
        |size: i32| if year > 0 { (year - 1) / size + 1 } else { (year - size + 1) / size };
    Ok(match part {
        Part::Millennium => f64::from(counted(1_000)),
        Part::Century => f64::from(counted(100)),
        Part::Decade => f64::from(year.div_euclid(10)),
        Part::Year => f64::from(year),
        Part::IsoYear => f64::from(at.iso_week().year()),
        Part::Quarter => f64::from(at.month0() / 3 + 1),
        Part::Month => f64::from(at.month()),
        Part::Week => f64::from(at.iso_week().week()),
        Part::Day => f64::from(at.day()),
        Part::DayOfWeek => f64::from(at.weekday().num_days_from_sunday()),
        Part::DayOfYear => f64::from(at.ordinal()),
        Part::Hour => f64::from(at.hour()),
        Part::Minute => f64::from(at.minute()),
        Part::Second => second(),
        Part::Millisecond => second() * 1e3,
        Part::Microsecond => second() * 1e6,
        Part::Epoch => us as f64 / 1e6,
        Part::Zone => 0.0,
    })
}

const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const TIME: DataType = DataType::Time64(TimeUnit::Microsecond);

/// The functions that compare moments of two kinds.
const COMPARISONS: [&str; 9] = [
    "date_cmp",
    "date_cmp_timestamp",
    "date_cmp_timestamptz",
    "timestamp_cmp",
    "timestamp_cmp_date",
    "timestamp_cmp_timestamptz",
    "timestamptz_cmp",
    "timestamptz_cmp_date",
    "timestamptz_cmp_timestamp",
];

/// Values as local microseconds; text is read as a timestamp.
fn moments(array: &ArrayRef) -> Result<PrimitiveArray<TimestampMicrosecondType>> {
    let convert = |e: arrow_schema::ArrowError| crate::error_from_datafusion(e.into(), "");
    let array = match array.data_type() {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
            let text = cast(array, &DataType::Utf8View).map_err(convert)?;
            let read = text
                .as_string_view()
                .iter()
                .map(|value| value.map(datetime::parse_timestamp).transpose());
            let read = read.collect::<Result<Vec<Option<i64>>>>()?;
            return Ok(PrimitiveArray::from_iter(read));
        }
        DataType::Time64(_) => {
            let micros = cast(array, &DataType::Int64).map_err(convert)?;
            cast(&micros, &TIMESTAMP).map_err(convert)?
        }
        DataType::Date32 | DataType::Timestamp(..) | DataType::Null => {
            cast(array, &TIMESTAMP).map_err(convert)?
        }
        other => {
            let named = base::SqlType::of_arrow(other);
            return Err(error!(UndefinedFunction, "a value of type {named} is no date or time")
                .hint("Cast it to DATE or TIMESTAMP."));
        }
    };
    Ok(array.as_primitive::<TimestampMicrosecondType>().clone())
}

/// The part named by the first argument: one for all rows.
fn first_part(args: &[ArrayRef]) -> Result<Option<Part>> {
    let text = coerced(args, 0, &DataType::Utf8View)?;
    let text = text.as_string_view();
    let first = text.iter().flatten().next();
    first.map(part).transpose()
}

fn with_zone(array: PrimitiveArray<TimestampMicrosecondType>, like: &DataType) -> ArrayRef {
    match like {
        DataType::Timestamp(_, Some(_)) => Arc::new(array.with_timezone(UTC)),
        _ => Arc::new(array),
    }
}

fn dateadd(args: &[ArrayRef]) -> Result<ArrayRef> {
    let like = args[2].data_type().clone();
    if let DataType::Time64(_) = like {
        return timeadd(args);
    }
    let at = moments(&args[2])?;
    let count = coerced(args, 1, &DataType::Int64)?;
    let Some(part) = first_part(args)? else {
        return Ok(with_zone(PrimitiveArray::new_null(at.len()), &like));
    };
    let rows = at.iter().zip(count.as_primitive::<Int64Type>());
    let moved = rows.map(|(at, count)| match (at, count) {
        (Some(at), Some(count)) => date_add(part, count, at).map(Some),
        _ => Ok(None),
    });
    let moved = PrimitiveArray::from_iter(moved.collect::<Result<Vec<Option<i64>>>>()?);
    Ok(with_zone(moved, &like))
}

/// `dateadd(part, n, time)` goes round the clock.
fn timeadd(args: &[ArrayRef]) -> Result<ArrayRef> {
    let at = coerced(args, 2, &TIME)?;
    let count = coerced(args, 1, &DataType::Int64)?;
    let Some(part) = first_part(args)? else {
        return Ok(arrow_array::new_null_array(&TIME, at.len()));
    };
    let each = micros(part).filter(|each| *each < DAY_US).ok_or_else(|| {
        error!(InvalidParameterValue, "\"time\" has no date part of this kind to add to")
    })?;
    let rows = at.as_primitive::<Time64MicrosecondType>().iter();
    let moved = rows.zip(count.as_primitive::<Int64Type>()).map(|pair| {
        let (Some(at), Some(count)) = pair else { return Ok(None) };
        let shift = each.checked_mul(count).ok_or_else(range)?;
        Ok(Some((at + shift % DAY_US).rem_euclid(DAY_US)))
    });
    let moved = moved.collect::<Result<PrimitiveArray<Time64MicrosecondType>>>()?;
    Ok(Arc::new(moved))
}

/// The beginning of the part that a moment is in; weeks begin on Monday.
fn date_trunc_one(part: Part, us: i64) -> Result<i64> {
    if let Some(each) = months(part) {
        let at = local(us)?;
        let year = i64::from(at.year());
        let first = match part {
            // The century and the millennium begin with their year 1, the decade with its year 0.
            Part::Millennium | Part::Century => {
                let years = each / 12;
                ((year - 1).div_euclid(years) * years + 1) * 12
            }
            _ => (year * 12 + i64::from(at.month0())).div_euclid(each) * each,
        };
        let year = i32::try_from(first.div_euclid(12)).map_err(|_| range())?;
        let month = u32::try_from(first.rem_euclid(12) + 1).map_err(|_| range())?;
        let date = NaiveDate::from_ymd_opt(year, month, 1).ok_or_else(range)?;
        return Ok(i64::from(datetime::days(date)) * DAY_US);
    }
    let each = micros(part).filter(|_| part != Part::Epoch).ok_or_else(|| {
        error!(InvalidParameterValue, "date_trunc() does not know this date part")
    })?;
    // 1970-01-01 was a Thursday.
    let shift = if part == Part::Week { 3 * DAY_US } else { 0 };
    Ok((us + shift).div_euclid(each) * each - shift)
}

/// `date_trunc(part, moment)`.
fn date_trunc(args: &[ArrayRef]) -> Result<ArrayRef> {
    let like = args[1].data_type().clone();
    let at = moments(&args[1])?;
    let Some(part) = first_part(args)? else {
        return Ok(with_zone(PrimitiveArray::new_null(at.len()), &like));
    };
    let moved = at.iter().map(|at| at.map(|at| date_trunc_one(part, at)).transpose());
    let moved = PrimitiveArray::from_iter(moved.collect::<Result<Vec<Option<i64>>>>()?);
    Ok(with_zone(moved, &like))
}

/// `timezone(zone, moment)`, which AT TIME ZONE is: a TIMESTAMP in the zone as a TIMESTAMPTZ, and
/// a TIMESTAMPTZ as the zone's TIMESTAMP.
fn timezone(args: &[ArrayRef]) -> Result<ArrayRef> {
    let zoned = matches!(args[1].data_type(), DataType::Timestamp(_, Some(_)));
    let at = moments(&args[1])?;
    let names = coerced(args, 0, &DataType::Utf8View)?;
    let moved = at.iter().zip(names.as_string_view()).map(|pair| {
        let (Some(at), Some(name)) = pair else { return Ok(None) };
        let zone = known_zone(name)?;
        let here = local(at)?;
        let us = |seconds: i32| i64::from(seconds) * 1_000_000;
        let offset = if zoned { us(zone.offset_of_utc(here)) } else { -us(zone.offset_at(here)) };
        Ok(Some(at + offset))
    });
    let moved = PrimitiveArray::<TimestampMicrosecondType>::from_iter(
        moved.collect::<Result<Vec<Option<i64>>>>()?,
    );
    Ok(if zoned { Arc::new(moved) } else { Arc::new(moved.with_timezone(UTC)) })
}

fn timezone_type(types: &[DataType]) -> Planned<DataType> {
    Ok(match types.get(1) {
        Some(DataType::Timestamp(_, Some(_))) => TIMESTAMP,
        _ => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
    })
}

fn known_zone(name: &str) -> Result<datetime::Zone> {
    datetime::zone(name)
        .ok_or_else(|| error!(InvalidParameterValue, "time zone \"{name}\" not recognized"))
}

/// -1, 0 or 1 as a moment is before, at or after another.
fn compare(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (a, b) = (moments(&args[0])?, moments(&args[1])?);
    let signs = a.iter().zip(&b).map(|(a, b)| {
        Some(match a?.cmp(&b?) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        })
    });
    Ok(Arc::new(signs.collect::<Int32Array>()))
}

/// DATE + TIME is the moment of both.
fn date_plus_time(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (at, time) = (moments(&args[0])?, coerced(args, 1, &TIME)?);
    let rows = at.iter().zip(time.as_primitive::<Time64MicrosecondType>());
    let moved = rows.map(|(at, time)| at?.checked_add(time?));
    Ok(Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from_iter(moved)))
}

fn datediff(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (from, to) = (moments(&args[1])?, moments(&args[2])?);
    let Some(part) = first_part(args)? else {
        return Ok(Arc::new(Int64Array::new_null(from.len())));
    };
    let counted = from.iter().zip(&to).map(|pair| match pair {
        (Some(from), Some(to)) => date_diff(part, from, to).map(Some),
        _ => Ok(None),
    });
    Ok(Arc::new(counted.collect::<Result<Int64Array>>()?))
}

fn date_part(args: &[ArrayRef]) -> Result<ArrayRef> {
    if interval::is_interval(args[1].data_type()) {
        let name = coerced(args, 0, &DataType::Utf8View)?;
        let name = name.as_string_view().iter().flatten().next().unwrap_or_default();
        return interval::parts(name, args, 1);
    }
    let at = moments(&args[1])?;
    let Some(part) = first_part(args)? else {
        return Ok(Arc::new(Float64Array::new_null(at.len())));
    };
    let fields = at.iter().map(|at| at.map(|at| field(part, at)).transpose());
    Ok(Arc::new(fields.collect::<Result<Float64Array>>()?))
}

/// The last day of the month.
fn month_end(date: NaiveDate) -> NaiveDate {
    let first = date.with_day(1).and_then(|first| first.checked_add_months(Months::new(1)));
    first.and_then(|next| next.pred_opt()).unwrap_or(date)
}

fn last_day(args: &[ArrayRef]) -> Result<ArrayRef> {
    let at = moments(&args[0])?;
    let days = at
        .iter()
        .map(|at| at.map(|at| Ok(datetime::days(month_end(local(at)?.date())))).transpose());
    Ok(Arc::new(days.collect::<Result<PrimitiveArray<Date32Type>>>()?))
}

fn next_day(args: &[ArrayRef]) -> Result<ArrayRef> {
    let names = coerced(args, 1, &DataType::Utf8View)?;
    let at = moments(&args[0])?;
    let days = at.iter().zip(names.as_string_view()).map(|pair| {
        let (Some(at), Some(name)) = pair else { return Ok(None) };
        let lower = name.trim().to_ascii_lowercase();
        let wanted: Weekday = match lower.get(..2) {
            Some("su") => Weekday::Sun,
            Some("mo") => Weekday::Mon,
            Some("tu") => Weekday::Tue,
            Some("we") => Weekday::Wed,
            Some("th") => Weekday::Thu,
            Some("fr") => Weekday::Fri,
            Some("sa") => Weekday::Sat,
            _ => return Err(error!(InvalidParameterValue, "\"{name}\" is not a day of the week")),
        };
        let date = local(at)?.date();
        let ahead = (7 + wanted.num_days_from_sunday() - date.weekday().num_days_from_sunday()) % 7;
        let ahead = if ahead == 0 { 7 } else { ahead };
        Ok(Some(datetime::days(date) + i32::try_from(ahead).unwrap_or(7)))
    });
    Ok(Arc::new(days.collect::<Result<PrimitiveArray<Date32Type>>>()?))
}

/// Unlike DATEADD, the last day of a month stays one.
fn add_months_rows(args: &[ArrayRef]) -> Result<ArrayRef> {
    let count = coerced(args, 1, &DataType::Int64)?;
    let at = moments(&args[0])?;
    let moved = at.iter().zip(count.as_primitive::<Int64Type>()).map(|pair| {
        let (Some(at), Some(count)) = pair else { return Ok(None) };
        let at = local(at)?;
        let moved = add_months(at, count)?;
        let moved = if at.date() == month_end(at.date()) {
            month_end(moved.date()).and_time(at.time())
        } else {
            moved
        };
        Ok(Some(datetime::micros(moved)))
    });
    let moved = moved.collect::<Result<Vec<Option<i64>>>>()?;
    Ok(Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from_iter(moved)))
}

/// Whole months between equal days or month ends, else parts of months of 31 days.
fn months_between(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (a, b) = (moments(&args[0])?, moments(&args[1])?);
    let counted = a.iter().zip(&b).map(|pair| {
        let (Some(a), Some(b)) = pair else { return Ok(None) };
        let (a, b) = (local(a)?, local(b)?);
        let whole =
            f64::from((a.year() - b.year()) * 12) + f64::from(a.month()) - f64::from(b.month());
        let ends = a.date() == month_end(a.date()) && b.date() == month_end(b.date());
        if a.day() == b.day() || ends {
            return Ok(Some(whole));
        }
        let within =
            |at: NaiveDateTime| f64::from(at.day()) + datetime::time_us(at) as f64 / DAY_US as f64;
        Ok(Some(whole + (within(a) - within(b)) / 31.0))
    });
    Ok(Arc::new(counted.collect::<Result<Float64Array>>()?))
}

/// `convert_timezone(['source',] 'target', timestamp)`; the source is UTC without it.
fn convert_timezone(args: &[ArrayRef]) -> Result<ArrayRef> {
    let last = args.len() - 1;
    let like = args[last].data_type().clone();
    let at = moments(&args[last])?;
    let zones: Vec<ArrayRef> =
        (0..last).map(|n| coerced(args, n, &DataType::Utf8View)).collect::<Result<_>>()?;
    let zone = |n: usize, row: usize| -> Result<Option<datetime::Zone>> {
        let names = zones[n].as_string_view();
        if names.is_null(row) {
            return Ok(None);
        }
        let name = names.value(row);
        known_zone(name).map(Some)
    };
    let mut moved = Vec::with_capacity(at.len());
    for (row, at) in at.iter().enumerate() {
        let source = match (last, &like) {
            // A TIMESTAMPTZ is in UTC here whatever the source says.
            (2, DataType::Timestamp(_, None) | DataType::Utf8 | DataType::Utf8View) => {
                zone(0, row)?
            }
            _ => Some(datetime::Zone::Fixed(0)),
        };
        let (Some(at), Some(source), Some(target)) = (at, source, zone(last - 1, row)?) else {
            moved.push(None);
            continue;
        };
        let utc = at - i64::from(source.offset_at(local(at)?)) * 1_000_000;
        moved.push(Some(utc + i64::from(target.offset_of_utc(local(utc)?)) * 1_000_000));
    }
    Ok(Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from_iter(moved)))
}

/// A date moved by whole days.
fn date_plus_days(args: &[ArrayRef]) -> Result<ArrayRef> {
    let days = coerced(args, 1, &DataType::Int32)?;
    let date = coerced(args, 0, &DataType::Date32)?;
    let moved = date.as_primitive::<Date32Type>().iter().zip(days.as_primitive::<Int32Type>());
    let moved = moved.map(|pair| match pair {
        (Some(date), Some(days)) => date.checked_add(days).map(Some).ok_or_else(range),
        _ => Ok(None),
    });
    Ok(Arc::new(moved.collect::<Result<PrimitiveArray<Date32Type>>>()?))
}

fn keep_zone(types: &[DataType]) -> Planned<DataType> {
    Ok(match types.get(2) {
        Some(zoned @ DataType::Timestamp(_, Some(_))) => match zoned {
            DataType::Timestamp(_, zone) => {
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
            }
            _ => TIMESTAMP,
        },
        Some(DataType::Time64(_)) => TIME,
        Some(_) => TIMESTAMP,
        None => return Err(external(error!(UndefinedFunction, "dateadd() takes 3 arguments"))),
    })
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let any = |n: usize| Signature::any(n, Volatility::Immutable);
    let zones = Signature::one_of(
        vec![
            datafusion::logical_expr::TypeSignature::Any(2),
            datafusion::logical_expr::TypeSignature::Any(3),
        ],
        Volatility::Immutable,
    );
    let float = |_: &[DataType]| Ok(DataType::Float64);
    let date = |_: &[DataType]| Ok(DataType::Date32);
    let stamp = |_: &[DataType]| Ok(TIMESTAMP);
    let long = |_: &[DataType]| Ok(DataType::Int64);
    let trunc = |types: &[DataType]| keep_zone(&[DataType::Null, DataType::Null, types[1].clone()]);
    let comparisons = COMPARISONS
        .map(|name| Kernel::udf(name, any(2), |_: &[DataType]| Ok(DataType::Int32), compare));
    let mut functions = vec![
        Kernel::udf("date_trunc", any(2), trunc, date_trunc),
        Kernel::udf("timezone", any(2), timezone_type, timezone),
        Kernel::udf("date_plus_time", any(2), stamp, date_plus_time),
        Kernel::udf("dateadd", any(3), keep_zone, dateadd),
        Kernel::udf("datediff", any(3), long, datediff),
        Kernel::udf("date_part", any(2), float, date_part),
        Kernel::udf("last_day", any(1), date, last_day),
        Kernel::udf("next_day", any(2), date, next_day),
        Kernel::udf("add_months", any(2), stamp, add_months_rows),
        Kernel::udf("months_between", any(2), float, months_between),
        Kernel::udf("convert_timezone", zones, stamp, convert_timezone),
        Kernel::udf("date_plus_days", any(2), date, date_plus_days),
    ];
    functions.extend(comparisons);
    let nullary = Signature::nullary(Volatility::Immutable);
    let text = |_: &[DataType]| Ok(DataType::Utf8View);
    functions.push(Kernel::udf("tzdb_version", nullary, text, |_| {
        Ok(Arc::new(StringViewArray::from(vec![chrono_tz::IANA_TZDB_VERSION])))
    }));
    functions
}
