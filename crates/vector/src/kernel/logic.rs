//! Booleans with SQL's NULLs, lists, choices and the guards of branches.

use base::{Error, Result};

use super::{Values, bits, float, narrow, zip};
use crate::program::{Constant, Source, Taken};
use crate::{Bounds, Form, Kind, Vector};

/// Lists up to this long are compared value by value.
const LIST_SCAN_MAX: usize = 8;

/// For each row whether an operand is known to be true, and known to be false.
fn truths<'a>(source: &'a Source<'_>, rows: usize) -> impl Iterator<Item = (u8, u8)> + 'a {
    let (values, valid) = (bits(source), source.valid());
    let null = source.is_null();
    (0..rows).map(move |row| {
        let value = match values {
            Values::Each(values) => values[row],
            Values::Same(value) => value,
        };
        let known = u8::from(!null) & valid.map_or(1, |valid| valid[row]);
        (value & known, (value ^ 1) & known)
    })
}

pub(crate) fn and_or(
    left: &Source<'_>,
    right: &Source<'_>,
    and: bool,
    into: &mut Vector,
    rows: usize,
) {
    let nulls = left.is_null() || right.is_null();
    if !nulls && left.valid().is_none() && right.valid().is_none() {
        let (a, b) = (bits(left), bits(right));
        match and {
            true => zip(a, b, rows, into.start_bool(), |a, b| a & b),
            false => zip(a, b, rows, into.start_bool(), |a, b| a | b),
        }
        return;
    }
    let both = || truths(left, rows).zip(truths(right, rows));
    if and {
        into.start_bool().extend(both().map(|((a, _), (b, _))| a & b));
        into.start_valid().extend(both().map(|((a, not_a), (b, not_b))| a & b | not_a | not_b));
    } else {
        into.start_bool().extend(both().map(|((a, _), (b, _))| a | b));
        into.start_valid().extend(both().map(|((a, not_a), (b, not_b))| a | b | not_a & not_b));
    }
}

pub(crate) fn not(value: &Source<'_>, into: &mut Vector, rows: usize) {
    if value.is_null() {
        into.fill_null(Kind::Bool, rows);
        return;
    }
    zip(bits(value), Values::Same(1), rows, into.start_bool(), |value, one| value ^ one);
    into.valid_of(value.valid(), None);
}

pub(crate) fn is_null(value: &Source<'_>, into: &mut Vector, rows: usize) {
    let out = into.start_bool();
    match value.valid() {
        Some(valid) => out.extend(valid.iter().map(|valid| valid ^ 1)),
        None => out.resize(rows, u8::from(value.is_null())),
    }
}

/// Whether integers are in a sorted list.
pub(crate) fn among(
    value: &Source<'_>,
    list: &[i64],
    has_null: bool,
    into: &mut Vector,
    rows: usize,
) {
    if value.is_null() {
        into.fill_null(Kind::Bool, rows);
        return;
    }
    let out = into.start_bool();
    let is_in = |value: i64| match list.len() {
        0..=LIST_SCAN_MAX => list.iter().fold(0, |hit, other| hit | u8::from(value == *other)),
        _ => u8::from(list.binary_search(&value).is_ok()),
    };
    if value.is_narrow() {
        zip(narrow(value), Values::Same(0), rows, out, |value, _| is_in(value));
    } else {
        let wide = |row| i64::try_from(value.integer(row)).map_or(0, is_in);
        out.extend((0..rows).map(wide));
    }
    match has_null {
        false => into.valid_of(value.valid(), None),
        true => {
            let hits = into.bits().to_vec();
            into.valid_of(Some(&hits), value.valid());
        }
    }
}

/// Which rows of `within` a branch is evaluated on.
pub(crate) fn guard(
    within: Option<&[u8]>,
    condition: &Source<'_>,
    taken: Taken,
    into: &mut Vector,
    rows: usize,
) {
    let within = within.map_or(Values::Same(1), Values::Each);
    let mut active = Vec::with_capacity(rows);
    active.extend(truths(condition, rows).map(|(is_true, is_false)| match taken {
        Taken::True => is_true,
        Taken::NotTrue => is_true ^ 1,
        Taken::NotFalse => is_false ^ 1,
    }));
    zip(within, Values::Each(&active), rows, into.start_bool(), |a, b| a & b);
}

/// The form that holds both values of a choice.
fn form_of(source: &Source<'_>) -> Option<Form> {
    match source {
        Source::Vector(vector) => Some(vector.form()),
        Source::Constant(Constant::Int(_)) if source.is_narrow() => Some(Form::Narrow),
        Source::Constant(Constant::Int(_)) => Some(Form::Wide),
        Source::Constant(Constant::Float(_)) => Some(Form::Float),
        Source::Constant(Constant::Bool(_)) => Some(Form::Bool),
        Source::Constant(Constant::Null(_)) => None,
    }
}

fn kind_of(source: &Source<'_>) -> Kind {
    match source {
        Source::Constant(Constant::Null(kind)) => *kind,
        _ => match form_of(source) {
            Some(Form::Float) => Kind::Float,
            Some(Form::Bool) => Kind::Bool,
            _ => Kind::Int,
        },
    }
}

#[inline(always)]
fn choose<T: Copy>(choice: &[u8], then: Values<'_, T>, otherwise: Values<'_, T>, out: &mut Vec<T>) {
    let pick = |choice: &u8, then: T, otherwise: T| if *choice == 1 { then } else { otherwise };
    match (then, otherwise) {
        (Values::Each(a), Values::Each(b)) => {
            out.extend(choice.iter().zip(a.iter().zip(b)).map(|(c, (a, b))| pick(c, *a, *b)));
        }
        (Values::Each(a), Values::Same(b)) => {
            out.extend(choice.iter().zip(a).map(|(c, a)| pick(c, *a, b)));
        }
        (Values::Same(a), Values::Each(b)) => {
            out.extend(choice.iter().zip(b).map(|(c, b)| pick(c, a, *b)));
        }
        (Values::Same(a), Values::Same(b)) => out.extend(choice.iter().map(|c| pick(c, a, b))),
    }
}

pub(crate) fn select(
    condition: &Source<'_>,
    then: &Source<'_>,
    otherwise: &Source<'_>,
    into: &mut Vector,
    rows: usize,
) -> Result<()> {
    let choice: Vec<u8> = truths(condition, rows).map(|(is_true, _)| is_true).collect();
    let bounds = match (then.is_null(), otherwise.is_null()) {
        (true, true) => {
            into.fill_null(kind_of(otherwise), rows);
            return Ok(());
        }
        (true, false) => otherwise.bounds().union(Bounds::of(0)),
        (false, true) => then.bounds().union(Bounds::of(0)),
        (false, false) => then.bounds().union(otherwise.bounds()),
    };
    match (form_of(then), form_of(otherwise)) {
        (Some(Form::Float) | None, Some(Form::Float)) | (Some(Form::Float), None) => {
            choose(&choice, float(then), float(otherwise), into.start_float());
        }
        (Some(Form::Bool) | None, Some(Form::Bool)) | (Some(Form::Bool), None) => {
            choose(&choice, bits(then), bits(otherwise), into.start_bool());
        }
        (Some(Form::Narrow) | None, Some(Form::Narrow)) | (Some(Form::Narrow), None) => {
            choose(&choice, narrow(then), narrow(otherwise), into.start_narrow(bounds));
        }
        (Some(Form::Wide | Form::Narrow) | None, Some(Form::Wide | Form::Narrow) | None) => {
            let value = |row: usize| match choice[row] {
                1 => then.integer(row),
                _ => otherwise.integer(row),
            };
            into.start_wide(bounds).extend((0..rows).map(value));
        }
        _ => return Err(Error::internal("the branches of a CASE differ in kind".to_owned())),
    }
    if then.is_null()
        || otherwise.is_null()
        || then.valid().is_some()
        || otherwise.valid().is_some()
    {
        let valid = |source: &Source<'_>, row: usize| u8::from(!source.row_is_null(row));
        let of_row = |row: usize| match choice[row] {
            1 => valid(then, row),
            _ => valid(otherwise, row),
        };
        into.start_valid().extend((0..rows).map(of_row));
    }
    Ok(())
}
