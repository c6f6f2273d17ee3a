//! The loops behind instructions, one per operator and form.

mod arith;
mod logic;

use base::{Error, Result};

use crate::expr::CompareOp;
use crate::program::{Constant, Op, Operand, Registers, Source};
use crate::{Kind, Vector};

/// Runs one instruction over `rows` rows.
pub(crate) fn execute(
    op: &Op,
    registers: &Registers,
    into: &mut Vector,
    rows: usize,
) -> Result<()> {
    let source = |operand: &Operand| operand.source(registers);
    match op {
        Op::Fill(constant) => fill(*constant, into, rows),
        Op::Arith { op, left, right, limits, guard } => {
            let guard = guard.map(|at| registers.get(at).bits());
            arith::integers(*op, &source(left), &source(right), (limits, guard), into, rows)?;
        }
        Op::FloatArith { op, left, right } => {
            arith::floats(*op, &source(left), &source(right), into, rows);
        }
        Op::Compare { op, left, right } => {
            compare(*op, &source(left), &source(right), into, rows);
        }
        Op::CompareFloat { op, left, right } => {
            compare_floats(*op, &source(left), &source(right), into, rows);
        }
        Op::And(left, right) => logic::and_or(&source(left), &source(right), true, into, rows),
        Op::Or(left, right) => logic::and_or(&source(left), &source(right), false, into, rows),
        Op::Not(value) => logic::not(&source(value), into, rows),
        Op::IsNull(value) => logic::is_null(&source(value), into, rows),
        Op::Among { value, list, has_null } => {
            logic::among(&source(value), list, *has_null, into, rows);
        }
        Op::Select { condition, then, otherwise } => {
            logic::select(&source(condition), &source(then), &source(otherwise), into, rows)?;
        }
        Op::ToFloat { value, divisor } => {
            arith::to_float(&source(value), f64::from_bits(*divisor), into, rows);
        }
        Op::Part { part, value } => arith::date_part(*part, &source(value), into, rows),
        Op::Guard { within, condition, taken } => {
            let within = within.map(|at| registers.get(at).bits());
            logic::guard(within, &source(condition), *taken, into, rows);
        }
    }
    match into.rows() == rows {
        true => Ok(()),
        false => Err(Error::internal(format!("{op:?} gave {} of {rows} rows", into.rows()))),
    }
}

/// Values of one operand: one a row, or the same for all.
#[derive(Clone, Copy)]
enum Values<'a, T> {
    Each(&'a [T]),
    Same(T),
}

/// Appends what `f` makes of each row's two values.
#[inline(always)]
fn zip<T: Copy, U: Copy>(
    left: Values<'_, T>,
    right: Values<'_, T>,
    rows: usize,
    out: &mut Vec<U>,
    f: impl Fn(T, T) -> U,
) {
    match (left, right) {
        (Values::Each(left), Values::Each(right)) => {
            out.extend(left.iter().zip(right).map(|(left, right)| f(*left, *right)));
        }
        (Values::Each(left), Values::Same(right)) => {
            out.extend(left.iter().map(|left| f(*left, right)));
        }
        (Values::Same(left), Values::Each(right)) => {
            out.extend(right.iter().map(|right| f(left, *right)));
        }
        (Values::Same(left), Values::Same(right)) => out.resize(rows, f(left, right)),
    }
}

/// The 64-bit integers of a narrow operand.
fn narrow<'a>(source: &Source<'a>) -> Values<'a, i64> {
    match source {
        Source::Vector(vector) => Values::Each(vector.narrow()),
        Source::Constant(Constant::Int(value)) => Values::Same(*value as i64),
        Source::Constant(_) => Values::Same(0),
    }
}

fn float<'a>(source: &Source<'a>) -> Values<'a, f64> {
    match source {
        Source::Vector(vector) => Values::Each(vector.float()),
        Source::Constant(Constant::Float(bits)) => Values::Same(f64::from_bits(*bits)),
        Source::Constant(_) => Values::Same(0.0),
    }
}

fn bits<'a>(source: &Source<'a>) -> Values<'a, u8> {
    match source {
        Source::Vector(vector) => Values::Each(vector.bits()),
        Source::Constant(Constant::Bool(value)) => Values::Same(u8::from(*value)),
        Source::Constant(_) => Values::Same(0),
    }
}

fn fill(constant: Constant, into: &mut Vector, rows: usize) {
    match constant {
        Constant::Int(value) => {
            let bounds = crate::Bounds::of(value);
            match i64::try_from(value) {
                Ok(value) => into.start_narrow(bounds).resize(rows, value),
                Err(_) => into.start_wide(bounds).resize(rows, value),
            }
        }
        Constant::Float(bits) => into.start_float().resize(rows, f64::from_bits(bits)),
        Constant::Bool(value) => into.start_bool().resize(rows, u8::from(value)),
        Constant::Null(kind) => into.fill_null(kind, rows),
    }
}

/// Fills `into` with NULLs and says so when one side is the constant NULL.
fn null_side(
    left: &Source<'_>,
    right: &Source<'_>,
    kind: Kind,
    into: &mut Vector,
    rows: usize,
) -> bool {
    let null = left.is_null() || right.is_null();
    if null {
        into.fill_null(kind, rows);
    }
    null
}

/// Appends the outcome of a comparison; every operator has a loop of its own.
#[inline(always)]
fn compare_values<T: Copy + PartialOrd>(
    op: CompareOp,
    left: Values<'_, T>,
    right: Values<'_, T>,
    rows: usize,
    out: &mut Vec<u8>,
) {
    match op {
        CompareOp::Eq => zip(left, right, rows, out, |a, b| u8::from(a == b)),
        CompareOp::NotEq => zip(left, right, rows, out, |a, b| u8::from(a != b)),
        CompareOp::Lt => zip(left, right, rows, out, |a, b| u8::from(a < b)),
        CompareOp::LtEq => zip(left, right, rows, out, |a, b| u8::from(a <= b)),
        CompareOp::Gt => zip(left, right, rows, out, |a, b| u8::from(a > b)),
        CompareOp::GtEq => zip(left, right, rows, out, |a, b| u8::from(a >= b)),
    }
}

fn is_bool(source: &Source<'_>) -> bool {
    match source {
        Source::Vector(vector) => vector.form() == crate::Form::Bool,
        Source::Constant(constant) => matches!(constant, Constant::Bool(_)),
    }
}

fn compare(op: CompareOp, left: &Source<'_>, right: &Source<'_>, into: &mut Vector, rows: usize) {
    if null_side(left, right, Kind::Bool, into, rows) {
        return;
    }
    let out = into.start_bool();
    if is_bool(left) && is_bool(right) {
        compare_values(op, bits(left), bits(right), rows, out);
    } else if left.is_narrow() && right.is_narrow() {
        compare_values(op, narrow(left), narrow(right), rows, out);
    } else {
        out.extend((0..rows).map(|row| u8::from(op.holds(left.integer(row), right.integer(row)))));
    }
    into.valid_of(left.valid(), right.valid());
}

/// An integer that orders as IEEE 754's total order does.
fn order_key(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

fn compare_floats(
    op: CompareOp,
    left: &Source<'_>,
    right: &Source<'_>,
    into: &mut Vector,
    rows: usize,
) {
    if null_side(left, right, Kind::Bool, into, rows) {
        return;
    }
    zip(float(left), float(right), rows, into.start_bool(), |a, b| {
        u8::from(op.holds(order_key(a), order_key(b)))
    });
    into.valid_of(left.valid(), right.valid());
}
