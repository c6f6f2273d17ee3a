//! Arithmetic: 64 bits where bounds prove it safe, else 128 bits with every result checked.

use base::Result;

use super::{Values, float, narrow, null_side, zip};
use crate::expr::{ArithOp, DatePart, Limits};
use crate::program::Source;
use crate::{Bounds, Kind, Vector};

/// Integer arithmetic; `checks` holds the limits and, when only some rows count, which.
pub(crate) fn integers(
    op: ArithOp,
    left: &Source<'_>,
    right: &Source<'_>,
    checks: (&Limits, Option<&[u8]>),
    into: &mut Vector,
    rows: usize,
) -> Result<()> {
    if null_side(left, right, Kind::Int, into, rows) {
        return Ok(());
    }
    let proved = op
        .bounds(left.bounds(), right.bounds())
        .filter(|bounds| bounds.is_narrow() && checks.0.contain(*bounds))
        .filter(|_| left.is_narrow() && right.is_narrow());
    let Some(bounds) = proved else {
        checked(op, left, right, checks, into, rows)?;
        into.valid_of(left.valid(), right.valid());
        into.shrink();
        return Ok(());
    };
    let (a, b) = (narrow(left), narrow(right));
    let out = into.start_narrow(bounds);
    match op {
        ArithOp::Add => zip(a, b, rows, out, i64::wrapping_add),
        ArithOp::Sub => zip(a, b, rows, out, i64::wrapping_sub),
        ArithOp::Mul if fits_half(left) && fits_half(right) => {
            // Both below 2^32: every vector unit multiplies that in one instruction.
            zip(a, b, rows, out, |a, b| {
                (u64::from(a as u32)).wrapping_mul(u64::from(b as u32)) as i64
            });
        }
        ArithOp::Mul => zip(a, b, rows, out, i64::wrapping_mul),
    }
    into.valid_of(left.valid(), right.valid());
    Ok(())
}

fn fits_half(source: &Source<'_>) -> bool {
    let bounds = source.bounds();
    bounds.low >= 0 && bounds.high <= i128::from(u32::MAX)
}

/// Row by row in 128 bits; rows that do not count give 0.
fn checked(
    op: ArithOp,
    left: &Source<'_>,
    right: &Source<'_>,
    (limits, guard): (&Limits, Option<&[u8]>),
    into: &mut Vector,
    rows: usize,
) -> Result<()> {
    let out = into.start_wide(Bounds::WIDE);
    out.reserve(rows);
    let (mut low, mut high) = (i128::MAX, i128::MIN);
    for row in 0..rows {
        let counts = guard.is_none_or(|guard| guard[row] == 1);
        if !counts || left.row_is_null(row) || right.row_is_null(row) {
            out.push(0);
            (low, high) = (low.min(0), high.max(0));
            continue;
        }
        let value = op.checked(left.integer(row), right.integer(row));
        let Some(value) = value.filter(|value| limits.admit(*value)) else {
            return Err(limits.error());
        };
        (low, high) = (low.min(value), high.max(value));
        out.push(value);
    }
    into.set_bounds(Bounds { low: low.min(high), high: high.max(low) });
    Ok(())
}

pub(crate) fn floats(
    op: ArithOp,
    left: &Source<'_>,
    right: &Source<'_>,
    into: &mut Vector,
    rows: usize,
) {
    if null_side(left, right, Kind::Float, into, rows) {
        return;
    }
    let (a, b) = (float(left), float(right));
    let out = into.start_float();
    match op {
        ArithOp::Add => zip(a, b, rows, out, |a, b| a + b),
        ArithOp::Sub => zip(a, b, rows, out, |a, b| a - b),
        ArithOp::Mul => zip(a, b, rows, out, |a, b| a * b),
    }
    into.valid_of(left.valid(), right.valid());
}

/// Integers divided by a power of ten.
pub(crate) fn to_float(value: &Source<'_>, divisor: f64, into: &mut Vector, rows: usize) {
    if value.is_null() {
        into.fill_null(Kind::Float, rows);
        return;
    }
    let out = into.start_float();
    match narrow(value) {
        Values::Each(values) if value.is_narrow() => {
            out.extend(values.iter().map(|value| *value as f64 / divisor));
        }
        _ => out.extend((0..rows).map(|row| value.integer(row) as f64 / divisor)),
    }
    into.valid_of(value.valid(), None);
}

/// Parts of days since 1970-01-01 in the proleptic Gregorian calendar.
pub(crate) fn date_part(part: DatePart, value: &Source<'_>, into: &mut Vector, rows: usize) {
    if value.is_null() {
        into.fill_null(Kind::Int, rows);
        return;
    }
    let bounds = match part {
        DatePart::Year => Bounds { low: -6_000_000, high: 6_000_000 },
        DatePart::Quarter => Bounds { low: 1, high: 4 },
        DatePart::Month => Bounds { low: 1, high: 12 },
        DatePart::Day => Bounds { low: 1, high: 31 },
    };
    let of = |days: i64| {
        let (year, month, day) = civil(days);
        match part {
            DatePart::Year => year,
            DatePart::Quarter => (month + 2) / 3,
            DatePart::Month => month,
            DatePart::Day => day,
        }
    };
    let out = into.start_narrow(bounds);
    match narrow(value) {
        Values::Each(values) if value.is_narrow() => out.extend(values.iter().map(|day| of(*day))),
        _ => out.extend((0..rows).map(|row| of(value.integer(row) as i64))),
    }
    into.valid_of(value.valid(), None);
}

/// Year, month and day of a day since 1970-01-01, by eras of 400 years.
fn civil(days: i64) -> (i64, i64, i64) {
    // Dates have 32 bits; what a NULL leaves behind may have more.
    let days = i64::from(days as i32) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(-1), (1969, 12, 31));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(-719_468), (0, 3, 1));
        assert_eq!(civil(19_722), (2023, 12, 31));
    }
}
