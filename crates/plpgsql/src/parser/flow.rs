//! Branches and loops.

use std::collections::HashMap;

use base::{Result, error};

use super::{Enclosing, Known, Parser};
use crate::lexer::Kind;
use crate::tree::{RowSource, Statement, StatementKind, Target};

impl Parser<'_> {
    pub(super) fn flow(&mut self, word: &str, label: Option<String>) -> Result<StatementKind> {
        self.next();
        match word {
            "if" => self.if_statement(),
            "case" => self.case_statement(),
            "loop" => {
                let body = self.loop_body(label.as_ref())?;
                Ok(StatementKind::Loop { label, body })
            }
            "while" => {
                let condition = self.until_word("loop")?;
                let body = self.loop_body(label.as_ref())?;
                Ok(StatementKind::While { label, condition, body })
            }
            "for" => self.for_statement(label),
            exit => self.leave(exit == "exit"),
        }
    }

    /// Behind LOOP, up to END LOOP and its label.
    fn loop_body(&mut self, label: Option<&String>) -> Result<Vec<Statement>> {
        self.enclosing.push(Enclosing { label: label.cloned(), is_loop: true });
        let body = self.statements(&["end"])?;
        self.enclosing.pop();
        self.expect("end")?;
        self.expect("loop")?;
        self.end_label(label)?;
        Ok(body)
    }

    fn if_statement(&mut self) -> Result<StatementKind> {
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        let ends = ["elsif", "elseif", "else", "end"];
        loop {
            let condition = self.until_word("then")?;
            branches.push((condition, self.statements(&ends)?));
            if self.accept("elsif") || self.accept("elseif") {
                continue;
            }
            if self.accept("else") {
                otherwise = self.statements(&["end"])?;
            }
            self.expect("end")?;
            self.expect("if")?;
            return Ok(StatementKind::If { branches, otherwise });
        }
    }

    fn case_statement(&mut self) -> Result<StatementKind> {
        let is_when = |kind: &Kind| matches!(kind, Kind::Word(word) if word == "when");
        let operand = if self.is("when") { None } else { Some(self.fragment(is_when)?) };
        let mut branches = Vec::new();
        while self.accept("when") {
            let values = if operand.is_some() {
                self.expressions(&["then"], &[])?
            } else {
                vec![self.fragment(|k| matches!(k, Kind::Word(word) if word == "then"))?]
            };
            self.expect("then")?;
            branches.push((values, self.statements(&["when", "else", "end"])?));
        }
        if branches.is_empty() {
            return Err(self.unexpected());
        }
        let otherwise = if self.accept("else") { Some(self.statements(&["end"])?) } else { None };
        self.expect("end")?;
        self.expect("case")?;
        Ok(StatementKind::Case { operand, branches, otherwise })
    }

    /// After EXIT or CONTINUE.
    fn leave(&mut self, exit: bool) -> Result<StatementKind> {
        let labelled = !self.is("when") && !self.is_symbol(0, ";");
        let position = self.position();
        let label = if labelled { Some(self.name()?) } else { None };
        self.check_leave(exit, label.as_deref()).map_err(|error| error.at(position))?;
        let condition = if self.accept("when") { Some(self.until_symbols(&[";"])?) } else { None };
        Ok(if exit {
            StatementKind::Exit { label, condition }
        } else {
            StatementKind::Continue { label, condition }
        })
    }

    /// Refuses EXIT and CONTINUE of what is not around them.
    fn check_leave(&self, exit: bool, label: Option<&str>) -> Result<()> {
        let Some(label) = label else {
            return match self.enclosing.iter().any(|around| around.is_loop) {
                true => Ok(()),
                false if exit => Err(error!(
                    SyntaxError,
                    "EXIT cannot be used outside a loop, unless it has a label"
                )),
                false => Err(error!(SyntaxError, "CONTINUE cannot be used outside a loop")),
            };
        };
        let named = |around: &&Enclosing| around.label.as_deref() == Some(label);
        match self.enclosing.iter().rev().find(named) {
            Some(around) if exit || around.is_loop => Ok(()),
            Some(_) => {
                Err(error!(SyntaxError, "block label \"{label}\" cannot be used in CONTINUE"))
            }
            None => Err(error!(
                SyntaxError,
                "there is no label \"{label}\" attached to any block or loop enclosing this \
                 statement"
            )),
        }
    }

    fn for_statement(&mut self, label: Option<String>) -> Result<StatementKind> {
        if self.is_nth(1, "in") && self.has_range() {
            return self.for_integer(label);
        }
        if self.is_nth(1, "in") && self.is_cursor(2) {
            return self.for_cursor(label);
        }
        let mut targets = vec![self.target()?];
        while self.symbol(",") {
            targets.push(self.target()?);
        }
        self.check_row_targets(&targets)?;
        self.expect("in")?;
        let rows = self.loop_rows()?;
        self.expect("loop")?;
        let body = self.loop_body(label.as_ref())?;
        Ok(StatementKind::ForRows { label, targets, rows, body })
    }

    /// True for `FOR name IN [REVERSE] a .. b`.
    fn has_range(&self) -> bool {
        let mut depth = 0;
        for token in &self.tokens[self.at..] {
            match &token.kind {
                Kind::Symbol("..") if depth == 0 => return true,
                Kind::Symbol("(") => depth += 1,
                Kind::Symbol(")") => depth -= 1,
                Kind::Word(word) if word == "loop" => return false,
                Kind::Symbol(";") | Kind::End => return false,
                _ => {}
            }
        }
        false
    }

    fn for_integer(&mut self, label: Option<String>) -> Result<StatementKind> {
        let position = self.position();
        let variable = self.name()?;
        self.expect("in")?;
        let reverse = self.accept("reverse");
        let from = self.until_symbols(&[".."])?;
        self.expect_symbol("..")?;
        let to = self
            .fragment(|kind| matches!(kind, Kind::Word(word) if word == "loop" || word == "by"))?;
        let by = if self.accept("by") {
            Some(self.until_word("loop")?)
        } else {
            self.expect("loop")?;
            None
        };
        self.scopes.push(HashMap::new());
        self.declare(&variable, Known::Variable, position)?;
        let body = self.loop_body(label.as_ref())?;
        self.scopes.pop();
        Ok(StatementKind::ForInteger { label, variable, reverse, from, to, by, body })
    }

    /// True when the n-th token is a cursor that a loop goes over.
    fn is_cursor(&self, n: usize) -> bool {
        match &self.nth(n).kind {
            Kind::Word(name) | Kind::Quoted(name) => {
                self.known(name) == Some(Known::BoundCursor)
                    && (self.is_nth(n + 1, "loop") || self.is_symbol(n + 1, "("))
            }
            _ => false,
        }
    }

    /// A loop over a bound cursor, which declares its own record.
    fn for_cursor(&mut self, label: Option<String>) -> Result<StatementKind> {
        let position = self.position();
        let record = self.name()?;
        self.expect("in")?;
        let name = self.name()?;
        let arguments = self.call_arguments()?;
        self.expect("loop")?;
        self.scopes.push(HashMap::new());
        self.declare(&record, Known::Record, position)?;
        let body = self.loop_body(label.as_ref())?;
        self.scopes.pop();
        let targets = vec![Target { name: record, field: None, position }];
        Ok(StatementKind::ForRows {
            label,
            targets,
            rows: RowSource::Cursor { name, arguments },
            body,
        })
    }

    fn check_row_targets(&self, targets: &[Target]) -> Result<()> {
        let record = |t: &Target| t.field.is_none() && self.known(&t.name) == Some(Known::Record);
        match targets.iter().find(|target| record(target)) {
            Some(record) if targets.len() > 1 => Err(error!(
                SyntaxError,
                "\"{}\" is a record: it cannot be part of a list", record.name
            )
            .at(record.position)),
            _ => Ok(()),
        }
    }

    /// What a loop over rows reads; LOOP stays.
    fn loop_rows(&mut self) -> Result<RowSource> {
        if self.accept("execute") {
            let query = self.dynamic()?;
            let using =
                if self.accept("using") { self.expressions(&["loop"], &[])? } else { Vec::new() };
            return Ok(RowSource::Execute { query, using });
        }
        let query = self.fragment(|kind| matches!(kind, Kind::Word(word) if word == "loop"))?;
        Ok(RowSource::Query(query))
    }
}
