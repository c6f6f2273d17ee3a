//! OPEN, FETCH, MOVE and CLOSE.

use base::{Result, error};

use super::{Known, Parser, unsupported};
use crate::lexer::Kind;
use crate::tree::{Count, Fragment, RowSource, StatementKind, Target};

impl Parser<'_> {
    fn cursor_name(&mut self) -> Result<(Target, Known)> {
        let target = self.target()?;
        let known = self.known(&target.name).unwrap_or(Known::Variable);
        if matches!(known, Known::Cursor | Known::BoundCursor | Known::Variable) {
            return Ok((target, known));
        }
        Err(error!(
            DatatypeMismatch,
            "variable \"{}\" must be of type cursor or refcursor", target.name
        )
        .at(target.position))
    }

    /// `(a, b)` when a parenthesis is next.
    pub(super) fn call_arguments(&mut self) -> Result<Vec<Fragment>> {
        if !self.symbol("(") {
            return Ok(Vec::new());
        }
        if self.symbol(")") {
            return Ok(Vec::new());
        }
        let arguments = self.expressions(&[], &[")"])?;
        self.expect_symbol(")")?;
        Ok(arguments)
    }

    pub(super) fn open(&mut self) -> Result<StatementKind> {
        self.next();
        let position = self.position();
        let (cursor, known) = self.cursor_name()?;
        if self.is("scroll") {
            return Err(unsupported("a scrollable cursor", self.position()));
        }
        if self.accept("no") {
            self.expect("scroll")?;
        }
        if known == Known::BoundCursor {
            if self.is("for") {
                return Err(error!(
                    SyntaxError,
                    "cursor \"{}\" has its query already", cursor.name
                )
                .at(self.position()));
            }
            let arguments = self.call_arguments()?;
            return Ok(StatementKind::Open { cursor, arguments, query: None });
        }
        if !self.is("for") {
            return Err(error!(
                SyntaxError,
                "syntax error at or near \"{}\", expected FOR", cursor.name
            )
            .at(position));
        }
        self.next();
        let query = if self.accept("execute") {
            let query = self.dynamic()?;
            let using =
                if self.accept("using") { self.expressions(&[], &[";"])? } else { Vec::new() };
            RowSource::Execute { query, using }
        } else {
            RowSource::Query(self.until_symbols(&[";"])?)
        };
        Ok(StatementKind::Open { cursor, arguments: Vec::new(), query: Some(query) })
    }

    pub(super) fn fetch(&mut self) -> Result<StatementKind> {
        self.next();
        self.direction()?;
        let (cursor, _) = self.cursor_name()?;
        self.expect("into")?;
        Ok(StatementKind::Fetch { cursor, into: self.into()? })
    }

    /// One row ahead, in any of its spellings.
    fn direction(&mut self) -> Result<()> {
        let position = self.position();
        let named = if let Kind::Word(word) = self.kind() { word.clone() } else { String::new() };
        let is_name = self.known(&named).is_some();
        match named.as_str() {
            "next" | "forward" if !is_name => self.next(),
            "prior" | "first" | "last" | "absolute" | "relative" | "backward" if !is_name => {
                return Err(unsupported(&format!("FETCH {}", named.to_uppercase()), position)
                    .hint("Cursors go forward only."));
            }
            _ => {}
        }
        if !self.accept("from") {
            self.accept("in");
        }
        Ok(())
    }

    pub(super) fn move_cursor(&mut self) -> Result<StatementKind> {
        self.next();
        let mut count = Count::Rows(1);
        let forward = self.is("forward") && self.known("forward").is_none();
        if forward {
            self.next();
        }
        if self.is("all") {
            self.next();
            count = Count::All;
        } else if *self.kind() == Kind::Number {
            let token = self.token();
            let text = &self.text[token.start..token.end];
            let number = text.parse().map_err(|_| self.unexpected())?;
            self.next();
            count = Count::Rows(number);
        } else {
            self.direction()?;
        }
        if !self.accept("from") {
            self.accept("in");
        }
        let (cursor, _) = self.cursor_name()?;
        Ok(StatementKind::Move { cursor, count })
    }

    pub(super) fn close(&mut self) -> Result<StatementKind> {
        self.next();
        let (cursor, _) = self.cursor_name()?;
        Ok(StatementKind::Close { cursor })
    }
}
