//! RAISE.

use base::{Result, error};

use super::Parser;
use crate::Level;
use crate::lexer::Kind;
use crate::tree::{Fragment, Raise, RaiseOption, Raised, StatementKind};

impl Parser<'_> {
    pub(super) fn raise(&mut self) -> Result<StatementKind> {
        self.next();
        if self.is_symbol(0, ";") {
            let raise = Raise { level: Level::Exception, what: Raised::Again, using: Vec::new() };
            return Ok(StatementKind::Raise(raise));
        }
        let level = self.level();
        let what = match self.kind().clone() {
            Kind::Text(format) => self.format(format)?,
            Kind::Word(word) if word == "sqlstate" => {
                self.next();
                let Kind::Text(code) = self.kind().clone() else { return Err(self.unexpected()) };
                self.next();
                Raised::State(code)
            }
            Kind::Word(word) if word == "using" => Raised::Options,
            Kind::Word(word) => {
                return Err(error!(UndefinedObject, "unrecognized exception condition \"{word}\"")
                    .hint("Write RAISE SQLSTATE '…', or RAISE EXCEPTION '…' USING ERRCODE = '…'.")
                    .at(self.position()));
            }
            _ => return Err(self.unexpected()),
        };
        let mut using = Vec::new();
        if self.accept("using") {
            loop {
                using.push(self.raise_option()?);
                if !self.symbol(",") {
                    break;
                }
            }
        }
        Ok(StatementKind::Raise(Raise { level, what, using }))
    }

    fn level(&mut self) -> Level {
        let level = match self.kind() {
            Kind::Word(word) => match word.as_str() {
                "debug" => Level::Debug,
                "log" => Level::Log,
                "info" => Level::Info,
                "notice" => Level::Notice,
                "warning" => Level::Warning,
                "exception" => Level::Exception,
                _ => return Level::Exception,
            },
            _ => return Level::Exception,
        };
        self.next();
        level
    }

    fn format(&mut self, format: String) -> Result<Raised> {
        let position = self.position();
        self.next();
        let mut values: Vec<Fragment> = Vec::new();
        if self.symbol(",") {
            values = self.expressions(&["using"], &[";"])?;
        }
        let wanted = places(&format);
        if values.len() != wanted {
            let many = if values.len() > wanted { "many" } else { "few" };
            return Err(
                error!(SyntaxError, "too {many} parameters specified for RAISE").at(position)
            );
        }
        Ok(Raised::Format { format, values })
    }

    fn raise_option(&mut self) -> Result<(RaiseOption, Fragment)> {
        let position = self.position();
        let name = self.name()?;
        let option = match name.as_str() {
            "message" => RaiseOption::Message,
            "detail" => RaiseOption::Detail,
            "hint" => RaiseOption::Hint,
            "errcode" => RaiseOption::ErrCode,
            _ => {
                return Err(error!(SyntaxError, "unrecognized RAISE statement option \"{name}\"")
                    .hint("The options are MESSAGE, DETAIL, HINT and ERRCODE.")
                    .at(position));
            }
        };
        if !self.symbol(":=") {
            self.expect_symbol("=")?;
        }
        Ok((option, self.until_symbols(&[",", ";"])?))
    }
}

/// The percent signs that stand for a value; `%%` is a percent sign.
fn places(format: &str) -> usize {
    let mut chars = format.chars().peekable();
    let mut count = 0;
    while let Some(c) = chars.next() {
        if c == '%' && chars.next_if_eq(&'%').is_none() {
            count += 1;
        }
    }
    count
}
