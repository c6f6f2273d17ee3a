//! CALL: which procedure is meant, with whose rights it runs, and what it gives back.

mod choice;
mod host;
mod values;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::client::{Column, Outcome, Value};
use base::ids::Oid;
use base::{Result, SqlType, error};
use catalog::{Privileges, Routine, RoutineKind};
use futures::{FutureExt, stream};
use plpgsql::Typed;
use sql::ast::{Call, Expression};
use sqlparser::ast::{Expr, Value as SqlValue};

use self::host::ProcedureHost;
pub(super) use self::host::select_only;
pub(super) use self::values::check_type;
use super::cursor::Cursor;
use super::{column, done};
use crate::client::{ClientSession, Run};
use crate::relations::at;
use crate::transaction::Block;

/// Procedures that call one another, as on Redshift.
const DEPTH_MAX: usize = 16;

/// The procedures of a session that are running.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    frame: Frame,
    /// Who the session was before the first of them.
    user: Option<Oid>,
    /// START TRANSACTION of a NONATOMIC procedure: nothing commits before COMMIT.
    in_block: bool,
    /// Set when the open transaction is rolled back: what it wrote cannot be read any more.
    undone: Arc<AtomicBool>,
    /// The cursors that the commits of single statements leave open, up to the end of the CALL.
    held: Vec<String>,
    /// The bytes of messages that wait for the end of the statement.
    message_bytes: usize,
}

/// The innermost procedure.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    depth: usize,
    /// It or one of its callers has settings of its own, so that no transaction may end before
    /// it does.
    bound: bool,
    /// Each statement commits.
    autocommit: bool,
}

/// What a nested CALL gives the variables that stood as its arguments.
pub(crate) struct Called {
    pub(crate) routine: Arc<Routine>,
    /// The values of all arguments at its end.
    pub(crate) values: Vec<Typed>,
    /// Which value of the call was for which argument.
    given: Vec<Option<usize>>,
}

impl Called {
    /// The values of OUT and INOUT arguments by their place in the call.
    fn outputs(&self) -> Vec<(usize, Typed)> {
        let arguments = self.routine.arguments.iter().zip(&self.values).zip(&self.given);
        arguments
            .filter(|((argument, _), _)| argument.mode.is_output())
            .filter_map(|((_, value), given)| Some(((*given)?, value.clone())))
            .collect()
    }
}

impl ClientSession {
    /// After a statement: one that was cut short has left its procedures behind.
    pub(crate) fn leave_calls(&mut self) {
        if let Some(user) = self.calls.user.take() {
            self.user = user;
        }
        self.take_held_cursors();
        self.calls = Calls::default();
    }

    /// Takes away the cursors that commits of single statements leave open.
    fn take_held_cursors(&mut self) -> HashMap<String, Cursor> {
        let names = std::mem::take(&mut self.calls.held);
        names.into_iter().filter_map(|name| self.cursors.remove_entry(&name)).collect()
    }

    /// Ends the transaction and begins the next, a block where this one is.
    ///
    /// # Errors
    /// Those of the commit.
    pub(crate) async fn chain(&mut self, commits: bool) -> Result<()> {
        let explicit = self.work.block() == Block::Explicit;
        let read_only = self.work.is_read_only();
        if commits {
            self.commit().await?;
        } else {
            self.calls.undone.store(true, Ordering::Relaxed);
            self.roll_back();
        }
        self.calls.in_block = false;
        self.calls.undone = Arc::default();
        let settings = self.settings.clone();
        if explicit {
            self.work.begin(&settings, Some(read_only));
        } else {
            self.work.enter(&settings);
        }
        Ok(())
    }

    /// Requires that a transaction may end here: outside of procedures it always may.
    ///
    /// # Errors
    /// 2D000 in a procedure that was called in a block, or that has settings of its own.
    pub(crate) fn may_end_transaction(&self) -> Result<()> {
        let why = if self.calls.frame.depth == 0 {
            return Ok(());
        } else if self.work.block() == Block::Explicit {
            "The procedure was called in a transaction block."
        } else if self.calls.frame.bound {
            "A procedure with a SET clause cannot end transactions."
        } else {
            return Ok(());
        };
        Err(error!(InvalidTransactionTermination, "invalid transaction termination").detail(why))
    }

    /// The parameters of a CALL and the columns of its row.
    pub(crate) async fn called_columns(
        &mut self,
        call: &Call,
        wanted: &[SqlType],
    ) -> Result<(Vec<SqlType>, Option<Arc<[Column]>>)> {
        let mut types = Vec::with_capacity(call.arguments.len());
        for argument in &call.arguments {
            types.push(match parameter(argument) {
                Some(n) => wanted.get(n - 1).copied().unwrap_or(SqlType::Unknown),
                None if is_untyped(argument) => SqlType::Unknown,
                None => self.type_of(argument, wanted).await?,
            });
        }
        let context = self.context()?;
        let choice = choice::choose(&context, &call.name, &types)?;
        let mut parameters = wanted.to_vec();
        for (n, argument) in call.arguments.iter().enumerate() {
            let Some(number) = parameter(argument) else { continue };
            if parameters.len() < number {
                parameters.resize(number, SqlType::Unknown);
            }
            if parameters[number - 1] == SqlType::Unknown
                && let Some(argument) = choice.argument(n)
            {
                parameters[number - 1] = argument.sql_type;
            }
        }
        parameters.iter_mut().filter(|one| **one == SqlType::Unknown).for_each(|one| {
            *one = SqlType::Text;
        });
        Ok((parameters, columns_of(&choice.routine)))
    }

    pub(crate) async fn call(
        &mut self,
        call: &Call,
        wanted: &[SqlType],
        values: Vec<Value>,
        run: &Run,
    ) -> Result<Outcome> {
        let parameters = match values.is_empty() {
            true => Vec::new(),
            false => self.called_columns(call, wanted).await?.0,
        };
        let mut given = Vec::with_capacity(values.len());
        for (value, sql_type) in values.into_iter().zip(parameters) {
            given.push(Typed::new(sql_type, value));
        }
        let called = self.called(call, &given, run).await?;
        outcome(&called)
    }

    /// Runs the procedure of a CALL, whose parameters have these values.
    pub(crate) async fn called(
        &mut self,
        call: &Call,
        parameters: &[Typed],
        run: &Run,
    ) -> Result<Called> {
        self.pin();
        let mut given = Vec::with_capacity(call.arguments.len());
        for argument in &call.arguments {
            given.push(match parameter(argument) {
                Some(n) => parameters
                    .get(n - 1)
                    .cloned()
                    .ok_or_else(|| error!(UndefinedParameter, "there is no parameter ${n}"))?,
                None => self.evaluate_argument(argument, parameters, run).await?,
            });
            if let Some(value) = given.last_mut().filter(|_| is_untyped(argument)) {
                value.sql_type = SqlType::Unknown;
            }
        }
        let context = self.context()?;
        let types: Vec<SqlType> = given.iter().map(|value| value.sql_type).collect();
        let choice = choice::choose(&context, &call.name, &types)?;
        let routine = Arc::clone(&choice.routine);
        let position = call.name.position();
        may_execute(&context, &routine).map_err(|error| at(error, position))?;
        if routine.kind != RoutineKind::Procedure {
            return Err(at(
                error!(WrongObjectType, "{} is not a procedure", routine.signature())
                    .hint("To call a function, use SELECT."),
                position,
            ));
        }
        let mut arguments = Vec::with_capacity(routine.arguments.len());
        for (n, argument) in routine.arguments.iter().enumerate() {
            let value = match choice.given(n) {
                Some(at) if argument.mode.is_input() => {
                    self.convert_value(&given[at], argument.sql_type)?
                }
                _ => Value::Null,
            };
            let value = Typed::new(argument.sql_type, value);
            arguments.push(plpgsql::Argument { name: argument.name.clone(), value });
        }
        let given = (0..routine.arguments.len()).map(|n| choice.given(n)).collect();
        let values = self.enter_call(&routine, arguments, run).await?;
        Ok(Called { routine, values, given })
    }

    /// Runs a body with its own rights and settings.
    async fn enter_call(
        &mut self,
        routine: &Arc<Routine>,
        arguments: Vec<plpgsql::Argument>,
        run: &Run,
    ) -> Result<Vec<Typed>> {
        let outer = self.calls.frame;
        if outer.depth >= DEPTH_MAX {
            return Err(error!(StatementTooComplex, "stack depth limit exceeded")
                .detail(format!("Procedures call one another at most {DEPTH_MAX} levels deep.")));
        }
        let names: Vec<String> = routine.arguments.iter().map(|one| one.name.clone()).collect();
        let body = base::stack::deep(|| plpgsql::parse(&routine.body, &names))?;
        let (user, settings) = (self.user, self.settings.clone());
        self.calls.user.get_or_insert(user);
        self.calls.frame = Frame {
            depth: outer.depth + 1,
            bound: outer.bound || !routine.settings.is_empty(),
            autocommit: routine.nonatomic
                && self.work.block() == Block::Implicit
                && (outer.depth == 0 || outer.autocommit),
        };
        let done = self.run_body(routine, &body, arguments, run).await;
        // After an error settings go back with the transaction.
        if !routine.settings.is_empty() && done.is_ok() {
            let before = std::mem::replace(&mut self.settings, settings);
            let changes = self.settings.changes(&before);
            self.report(changes);
        }
        self.user = user;
        self.calls.frame = outer;
        done
    }

    async fn run_body(
        &mut self,
        routine: &Routine,
        body: &plpgsql::tree::Block,
        arguments: Vec<plpgsql::Argument>,
        run: &Run,
    ) -> Result<Vec<Typed>> {
        if routine.security_definer {
            self.user = routine.owner;
        }
        for (name, value) in &routine.settings {
            let report = self.settings.set(name, Some(value), false)?;
            self.report(report.into_iter().collect());
        }
        let signature = routine.signature();
        let mut host = ProcedureHost::new(self, run);
        let call = plpgsql::Call { name: &routine.name, signature: &signature, body, arguments };
        let done = base::stack::Deep::new(plpgsql::call(&mut host, call)).boxed().await;
        // Errors of a body have no place in the text of the CALL.
        done.map_err(|error| error.within(&routine.body))
    }
}

/// EXECUTE belongs to the owner; of functions to all, unless it was revoked.
pub(super) fn may_execute(context: &crate::system::SystemContext, routine: &Routine) -> Result<()> {
    let held = crate::privileges::held(&context.state, &context.user, routine.oid, routine.owner);
    if held.contains(Privileges::EXECUTE) {
        return Ok(());
    }
    Err(error!(
        InsufficientPrivilege,
        "permission denied for {} {}",
        routine.kind.name(),
        routine.name
    ))
}

/// `$n` alone.
fn parameter(argument: &Expression) -> Option<usize> {
    match argument.expr.as_ref() {
        Expr::Value(value) => match &value.value {
            SqlValue::Placeholder(text) => text.strip_prefix('$')?.parse().ok().filter(|n| *n > 0),
            _ => None,
        },
        _ => None,
    }
}

/// A string literal or NULL: the argument's type is that of the procedure.
fn is_untyped(argument: &Expression) -> bool {
    let Expr::Value(value) = argument.expr.as_ref() else { return false };
    matches!(
        value.value,
        SqlValue::SingleQuotedString(_)
            | SqlValue::EscapedStringLiteral(_)
            | SqlValue::DollarQuotedString(_)
            | SqlValue::Null
    )
}

fn columns_of(routine: &Routine) -> Option<Arc<[Column]>> {
    let columns: Vec<Column> = routine
        .outputs()
        .enumerate()
        .map(|(n, argument)| match argument.name.as_str() {
            "" => column(&format!("column{}", n + 1), argument.sql_type),
            name => column(name, argument.sql_type),
        })
        .collect();
    (!columns.is_empty()).then(|| Arc::from(columns))
}

/// The row of the OUT and INOUT arguments.
fn outcome(called: &Called) -> Result<Outcome> {
    let Some(columns) = columns_of(&called.routine) else { return done("CALL") };
    let outputs = called.routine.arguments.iter().zip(&called.values);
    let row: Vec<&Typed> =
        outputs.filter(|(argument, _)| argument.mode.is_output()).map(|(_, value)| value).collect();
    let batch = values::row_batch(&columns, &row)?;
    let batches = Box::pin(stream::iter([Ok(batch)]));
    Ok(Outcome::Rows { columns, batches, verb: "CALL", counted: false })
}
