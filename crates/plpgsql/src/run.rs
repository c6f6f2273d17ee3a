//! The interpreter: a body's statements in their order.

mod assign;
mod block;
mod cursor;
mod flow;
mod frame;
mod raise;

use base::client::Value;
use base::{Error, Result, SqlType};
use futures::future::BoxFuture;

pub(crate) use self::frame::Frames;
use self::frame::Slot;
use crate::host::{Host, Shape, Sql, Typed, Variables};
use crate::tree::{Block, Fragment, Statement, StatementKind};

/// Statements between two turns of others.
const STATEMENTS_A_TURN: u32 = 64;

/// An argument of a call.
#[derive(Clone, Debug)]
pub struct Argument {
    /// Empty for one that only `$n` names.
    pub name: String,
    /// NULL for an OUT argument.
    pub value: Typed,
}

/// A call of a procedure.
#[derive(Clone, Debug)]
pub struct Call<'c> {
    /// Its name without schema, which labels its arguments.
    pub name: &'c str,
    /// Name and argument types as CONTEXT shows them: `p(integer)`.
    pub signature: &'c str,
    pub body: &'c Block,
    pub arguments: Vec<Argument>,
}

/// Runs a body; gives the values that the arguments have at its end.
///
/// # Errors
/// Those of its statements, with the procedure and the line in their context.
pub async fn call(host: &mut dyn Host, call: Call<'_>) -> Result<Vec<Typed>> {
    let mut frames = Frames::default();
    frames.push(Some(call.name));
    for (n, argument) in call.arguments.iter().enumerate() {
        let slot = Slot::scalar(argument.value.clone());
        let at = frames.declare(&format!("${}", n + 1), slot);
        if !argument.name.is_empty() {
            frames.alias(&argument.name, at);
        }
    }
    frames.declare("found", Slot::scalar(Typed::new(SqlType::Boolean, Value::Bool(false))));
    let mut run = Run { host, frames, rows: 0, at: Place::default(), handled: Vec::new(), turn: 0 };
    let done = run.block(call.body).await;
    let place = run.at;
    match done {
        // The end of the procedure takes any loop with it.
        Ok(_) => Ok(call
            .arguments
            .iter()
            .enumerate()
            .map(|(n, given)| {
                let name = format!("${}", n + 1);
                run.frames.scalar(&name).cloned().unwrap_or_else(|| given.value.clone())
            })
            .collect()),
        Err(error) => {
            Err(error.context(format!("PL/pgSQL procedure \"{}\" {place}", call.signature)))
        }
    }
}

/// Where execution stands, as CONTEXT tells it.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    line: u32,
    what: &'static str,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} {}", self.line, self.what)
    }
}

/// What comes after a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Flow {
    Next,
    Exit(Option<String>),
    Continue(Option<String>),
    Return,
}

struct Run<'r> {
    host: &'r mut dyn Host,
    frames: Frames,
    /// ROW_COUNT.
    rows: u64,
    at: Place,
    /// The errors that handlers run for, the innermost last.
    handled: Vec<Error>,
    turn: u32,
}

impl Run<'_> {
    fn statements<'a>(&'a mut self, statements: &'a [Statement]) -> BoxFuture<'a, Result<Flow>> {
        Box::pin(async move {
            for statement in statements {
                match self.statement(statement).await? {
                    Flow::Next => {}
                    other => return Ok(other),
                }
            }
            Ok(Flow::Next)
        })
    }

    async fn statement(&mut self, statement: &Statement) -> Result<Flow> {
        self.turn += 1;
        if self.turn >= STATEMENTS_A_TURN {
            self.turn = 0;
            self.host.breathe().await;
        }
        let before = self.at;
        self.at = Place { line: statement.line, what: what(&statement.kind) };
        let flow = self.one(&statement.kind).await?;
        self.at = before;
        Ok(flow)
    }

    async fn one(&mut self, kind: &StatementKind) -> Result<Flow> {
        match kind {
            StatementKind::Block(block) => return self.block(block).await,
            StatementKind::If { .. }
            | StatementKind::Case { .. }
            | StatementKind::Loop { .. }
            | StatementKind::While { .. }
            | StatementKind::ForInteger { .. }
            | StatementKind::ForRows { .. }
            | StatementKind::Exit { .. }
            | StatementKind::Continue { .. } => return self.flow(kind).await,
            StatementKind::Return => return Ok(Flow::Return),
            StatementKind::Assign { target, value } => self.assign(target, value).await?,
            StatementKind::Perform(query) => self.perform(query).await?,
            StatementKind::Sql { sql, into } => self.sql(sql, into.as_ref()).await?,
            StatementKind::Call { sql, arguments } => self.nested_call(sql, arguments).await?,
            StatementKind::Execute { query, into, using } => {
                self.execute(query, into.as_ref(), using).await?;
            }
            StatementKind::Open { cursor, arguments, query } => {
                self.open(cursor, arguments, query.as_ref()).await?;
            }
            StatementKind::Fetch { cursor, into } => self.fetch(cursor, into).await?,
            StatementKind::Move { cursor, count } => self.skip(cursor, *count).await?,
            StatementKind::Close { cursor } => {
                let name = self.cursor_name(cursor)?;
                self.host.close(&name)?;
            }
            StatementKind::Raise(raise) => self.raise(raise).await?,
            StatementKind::GetDiagnostics(items) => {
                let count = i64::try_from(self.rows).unwrap_or(i64::MAX);
                let count = Typed::new(SqlType::BigInt, Value::Int(count));
                for (target, _) in items {
                    self.store(target, &count)?;
                }
            }
            StatementKind::Commit => self.host.commit().await?,
            StatementKind::Rollback => self.host.roll_back().await?,
            StatementKind::Null => {}
        }
        Ok(Flow::Next)
    }

    /// The value of an expression.
    async fn value(&mut self, fragment: &Fragment) -> Result<Typed> {
        // A name alone needs no planner.
        if let Some(value) = self.frames.scalar(&fragment.text) {
            return Ok(value.clone());
        }
        let sql = Sql { text: &fragment.text, variables: Variables(&self.frames), using: None };
        self.host.evaluate(sql).await.map_err(|error| error.within(&fragment.text))
    }

    /// True only for true: NULL is not.
    async fn condition(&mut self, fragment: &Fragment) -> Result<bool> {
        let value = self.value(fragment).await?;
        if value.is_null() {
            return Ok(false);
        }
        let value = self.host.convert(&value, SqlType::Boolean)?;
        Ok(value == Value::Bool(true))
    }

    fn set_found(&mut self, found: bool) {
        self.frames.set("found", Typed::new(SqlType::Boolean, Value::Bool(found)));
    }

    /// The shape of a declared type.
    async fn shape(&mut self, type_name: &crate::tree::TypeName) -> Result<Option<Shape>> {
        use crate::tree::TypeName;
        match type_name {
            TypeName::Record => Ok(None),
            TypeName::RefCursor => Ok(Some(Shape::Scalar(SqlType::Text))),
            TypeName::Like(parts, _) if parts.len() == 1 => match self.frames.find(&parts[0]) {
                Some(slot) => Ok(slot.shape()),
                None => self.host.shape(type_name).await.map(Some),
            },
            _ => self.host.shape(type_name).await.map(Some),
        }
    }
}

/// A statement's kind as CONTEXT names it.
fn what(kind: &StatementKind) -> &'static str {
    match kind {
        StatementKind::Block(_) => "at statement block",
        StatementKind::Assign { .. } => "at assignment",
        StatementKind::If { .. } => "at IF",
        StatementKind::Case { .. } => "at CASE",
        StatementKind::Loop { .. } => "at LOOP",
        StatementKind::While { .. } => "at WHILE",
        StatementKind::ForInteger { .. } => "at FOR with integer loop variable",
        StatementKind::ForRows { .. } => "at FOR over rows",
        StatementKind::Exit { .. } => "at EXIT",
        StatementKind::Continue { .. } => "at CONTINUE",
        StatementKind::Return => "at RETURN",
        StatementKind::Perform(_) => "at PERFORM",
        StatementKind::Sql { .. } => "at SQL statement",
        StatementKind::Call { .. } => "at CALL",
        StatementKind::Execute { .. } => "at EXECUTE",
        StatementKind::Open { .. } => "at OPEN",
        StatementKind::Fetch { .. } => "at FETCH",
        StatementKind::Move { .. } => "at MOVE",
        StatementKind::Close { .. } => "at CLOSE",
        StatementKind::Raise(_) => "at RAISE",
        StatementKind::GetDiagnostics(_) => "at GET DIAGNOSTICS",
        StatementKind::Commit => "at COMMIT",
        StatementKind::Rollback => "at ROLLBACK",
        StatementKind::Null => "at NULL",
    }
}

#[cfg(test)]
mod tests;
