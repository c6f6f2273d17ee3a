//! Which of several procedures of one name a CALL means.

use std::sync::Arc;

use base::{Result, SqlType, error};
use catalog::{Routine, RoutineArgument};
use sql::ast::ObjectName;

use crate::relations::at;
use crate::statement::routine::{candidates, missing};
use crate::system::SystemContext;

/// A procedure and how the arguments of a call stand to its own.
pub(super) struct Choice {
    pub(super) routine: Arc<Routine>,
    /// The call gives OUT arguments too, as PostgreSQL wants it.
    all: bool,
}

impl Choice {
    /// The argument for the n-th value of the call.
    pub(super) fn argument(&self, n: usize) -> Option<&RoutineArgument> {
        if self.all { self.routine.arguments.get(n) } else { self.routine.inputs().nth(n) }
    }

    /// Which value of the call is for the n-th argument.
    pub(super) fn given(&self, n: usize) -> Option<usize> {
        if self.all {
            return Some(n);
        }
        let argument = self.routine.arguments.get(n)?;
        let before = self.routine.arguments[..n].iter().filter(|one| one.mode.is_input());
        argument.mode.is_input().then(|| before.count())
    }

    /// How well types fit: `None` when one does not, otherwise the number that are the same.
    fn score(&self, types: &[SqlType]) -> Option<usize> {
        let mut same = 0;
        for (n, given) in types.iter().enumerate() {
            let argument = self.argument(n)?;
            if !argument.mode.is_input() || argument.sql_type.oid() == given.oid() {
                same += 1;
            } else if !casts(*given, argument.sql_type) {
                return None;
            }
        }
        Some(same)
    }
}

/// What a type's values are like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Boolean,
    /// By width: one fits into all that are wider.
    Number(u8),
    Text,
    /// By what they hold: a date is a timestamp.
    Moment(u8),
    Other,
}

fn family(sql_type: SqlType) -> Family {
    match sql_type {
        SqlType::Boolean => Family::Boolean,
        SqlType::SmallInt => Family::Number(1),
        SqlType::Integer | SqlType::Oid => Family::Number(2),
        SqlType::BigInt => Family::Number(3),
        SqlType::Decimal { .. } => Family::Number(4),
        SqlType::Real => Family::Number(5),
        SqlType::Double => Family::Number(6),
        SqlType::Char(_)
        | SqlType::Varchar(_)
        | SqlType::Text
        | SqlType::Name
        | SqlType::QuotedChar => Family::Text,
        SqlType::Date => Family::Moment(1),
        SqlType::Timestamp => Family::Moment(2),
        SqlType::TimestampTz => Family::Moment(3),
        _ => Family::Other,
    }
}

/// True when a value goes to an argument of a type without a cast in the call.
fn casts(from: SqlType, to: SqlType) -> bool {
    if from == SqlType::Unknown || from.oid() == to.oid() {
        return true;
    }
    match (family(from), family(to)) {
        // Whole constants are as wide as they happen to be written.
        (Family::Number(from), Family::Number(to)) => from <= to || from <= 3,
        (Family::Moment(from), Family::Moment(to)) => from <= to,
        (a, b) => a == b && a != Family::Other,
    }
}

/// # Errors
/// 42883 when no procedure fits, 42725 when several fit as well.
pub(super) fn choose(
    context: &SystemContext,
    name: &ObjectName,
    types: &[SqlType],
) -> Result<Choice> {
    let named = candidates(context, name)?;
    let mut fitting: Vec<(usize, Choice)> = Vec::new();
    for routine in &named {
        let inputs = routine.inputs().count();
        let all = routine.arguments.len();
        let counts = [(inputs, false), (all, true)];
        let found = counts.into_iter().find(|(count, _)| *count == types.len());
        let Some((_, all)) = found else { continue };
        let choice = Choice { routine: Arc::clone(routine), all };
        if let Some(score) = choice.score(types) {
            fitting.push((score, choice));
        }
    }
    let best = fitting.iter().map(|(score, _)| *score).max();
    fitting.retain(|(score, _)| Some(*score) == best);
    if fitting.len() > 1 {
        let error = error!(AmbiguousFunction, "procedure {name} is not unique")
            .hint("Could not choose a best candidate. Add explicit type casts.");
        return Err(at(error, name.position()));
    }
    fitting.pop().map(|(_, choice)| choice).ok_or_else(|| {
        let shown: Vec<String> = types.iter().map(ToString::to_string).collect();
        missing(context, name, "procedure", &format!("({})", shown.join(", ")))
    })
}
