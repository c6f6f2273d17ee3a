//! Branches and loops.

use base::client::Value;
use base::{Result, SqlType, error};

use super::frame::Slot;
use super::{Flow, Run};
use crate::host::{Sql, Typed, Variables};
use crate::tree::{Fragment, Statement, StatementKind};

/// What a loop does after its body.
enum Step {
    On,
    Leave(Flow),
}

impl Run<'_> {
    pub(super) async fn flow(&mut self, kind: &StatementKind) -> Result<Flow> {
        match kind {
            StatementKind::If { branches, otherwise } => {
                for (condition, statements) in branches {
                    if self.condition(condition).await? {
                        return self.statements(statements).await;
                    }
                }
                self.statements(otherwise).await
            }
            StatementKind::Case { operand, branches, otherwise } => {
                self.case(operand.as_ref(), branches, otherwise.as_deref()).await
            }
            StatementKind::Loop { label, body } => loop {
                if let Step::Leave(flow) = self.round(label.as_ref(), body).await? {
                    return Ok(flow);
                }
            },
            StatementKind::While { label, condition, body } => {
                while self.condition(condition).await? {
                    if let Step::Leave(flow) = self.round(label.as_ref(), body).await? {
                        return Ok(flow);
                    }
                }
                Ok(Flow::Next)
            }
            StatementKind::ForInteger { label, variable, reverse, from, to, by, body } => {
                let range = self.range(from, to, by.as_ref(), *reverse).await?;
                self.count(label.as_ref(), variable, range, body).await
            }
            StatementKind::ForRows { label, targets, rows, body } => {
                self.for_rows(label.as_ref(), targets, rows, body).await
            }
            StatementKind::Exit { label, condition } => {
                let leaves = match condition {
                    Some(condition) => self.condition(condition).await?,
                    None => true,
                };
                Ok(if leaves { Flow::Exit(label.clone()) } else { Flow::Next })
            }
            StatementKind::Continue { label, condition } => {
                let skips = match condition {
                    Some(condition) => self.condition(condition).await?,
                    None => true,
                };
                Ok(if skips { Flow::Continue(label.clone()) } else { Flow::Next })
            }
            _ => Ok(Flow::Next),
        }
    }

    /// One round of a loop.
    async fn round(&mut self, label: Option<&String>, body: &[Statement]) -> Result<Step> {
        // A loop without statements takes its turns too.
        self.turn += 1;
        if body.is_empty() && self.turn >= super::STATEMENTS_A_TURN {
            self.turn = 0;
            self.host.breathe().await;
        }
        let flow = self.statements(body).await?;
        Ok(after_round(flow, label))
    }

    async fn case(
        &mut self,
        operand: Option<&Fragment>,
        branches: &[(Vec<Fragment>, Vec<Statement>)],
        otherwise: Option<&[Statement]>,
    ) -> Result<Flow> {
        let operand = match operand {
            Some(operand) => Some(self.value(operand).await?),
            None => None,
        };
        for (values, statements) in branches {
            for value in values {
                let fits = match &operand {
                    None => self.condition(value).await?,
                    Some(operand) => self.equals(operand, value).await?,
                };
                if fits {
                    return self.statements(statements).await;
                }
            }
        }
        match otherwise {
            Some(statements) => self.statements(statements).await,
            None => {
                Err(error!(CaseNotFound, "case not found")
                    .hint("CASE statement is missing ELSE part."))
            }
        }
    }

    /// Compares as SQL does: the operand is a variable that no body can name.
    async fn equals(&mut self, operand: &Typed, value: &Fragment) -> Result<bool> {
        const OPERAND: &str = "__case_operand__";
        self.frames.push(None);
        self.frames.declare(OPERAND, Slot::scalar(operand.clone()));
        let text = format!("{OPERAND} = ({})", value.text);
        let sql = Sql { text: &text, variables: Variables(&self.frames), using: None };
        let equal = self.host.evaluate(sql).await.map_err(|error| error.within(&value.text));
        self.frames.pop();
        Ok(equal?.value == Value::Bool(true))
    }

    async fn integer(&mut self, fragment: &Fragment, what: &str) -> Result<i64> {
        let value = self.value(fragment).await?;
        match self.host.convert(&value, SqlType::Integer)? {
            Value::Int(number) => Ok(number),
            Value::Text(text) => text
                .trim()
                .parse()
                .map_err(|_| error!(InvalidTextRepresentation, "{what} of FOR loop is no number")),
            _ => Err(error!(NullValueNotAllowed, "{what} of FOR loop cannot be null")),
        }
    }

    async fn range(
        &mut self,
        from: &Fragment,
        to: &Fragment,
        by: Option<&Fragment>,
        reverse: bool,
    ) -> Result<Range> {
        let from = self.integer(from, "lower bound").await?;
        let to = self.integer(to, "upper bound").await?;
        let by = match by {
            Some(by) => self.integer(by, "BY value").await?,
            None => 1,
        };
        if by <= 0 {
            return Err(error!(
                InvalidParameterValue,
                "BY value of FOR loop must be greater than zero"
            ));
        }
        Ok(Range { from, to, by: if reverse { -by } else { by } })
    }

    async fn count(
        &mut self,
        label: Option<&String>,
        variable: &str,
        range: Range,
        body: &[Statement],
    ) -> Result<Flow> {
        let mut next = range.from;
        let mut found = false;
        let mut left = Flow::Next;
        self.frames.push(label.map(String::as_str));
        self.frames.declare(variable, Slot::scalar(Typed::null(SqlType::Integer)));
        // The bounds are 32 bits wide, so that a step beyond them is a number still.
        while range.holds(next) {
            found = true;
            self.frames.set(variable, Typed::new(SqlType::Integer, Value::Int(next)));
            if let Step::Leave(flow) = self.round(label, body).await? {
                left = flow;
                break;
            }
            next += range.by;
        }
        self.frames.pop();
        self.set_found(found);
        Ok(left)
    }
}

struct Range {
    from: i64,
    to: i64,
    /// Negative for REVERSE.
    by: i64,
}

impl Range {
    fn holds(&self, number: i64) -> bool {
        if self.by < 0 { number >= self.to } else { number <= self.to }
    }
}

fn after_round(flow: Flow, own: Option<&String>) -> Step {
    match flow {
        Flow::Next | Flow::Continue(None) => Step::On,
        Flow::Continue(Some(label)) if own == Some(&label) => Step::On,
        Flow::Exit(None) => Step::Leave(Flow::Next),
        Flow::Exit(Some(label)) if own == Some(&label) => Step::Leave(Flow::Next),
        other => Step::Leave(other),
    }
}

impl Run<'_> {
    /// True when a loop goes on; otherwise what comes after it.
    pub(super) async fn goes_on(
        &mut self,
        label: Option<&String>,
        body: &[Statement],
    ) -> Result<Option<Flow>> {
        Ok(match self.round(label, body).await? {
            Step::On => None,
            Step::Leave(flow) => Some(flow),
        })
    }
}
