//! Statements: assignments, SQL, and the way to each other kind by its first word.

use base::{Result, error};

use super::{Known, Parser, unsupported};
use crate::lexer::Kind;
use crate::tree::{Diagnostic, Fragment, Into, Statement, StatementKind};

impl Parser<'_> {
    /// Statements up to one of the words, which stays.
    pub(super) fn statements(&mut self, ends: &[&str]) -> Result<Vec<Statement>> {
        self.nested(|parser| {
            let mut statements = Vec::new();
            loop {
                if *parser.kind() == Kind::End {
                    return Err(parser.unexpected());
                }
                if ends.iter().any(|word| parser.is(word)) && !parser.is_assignment() {
                    return Ok(statements);
                }
                statements.push(parser.statement()?);
            }
        })
    }

    fn statement(&mut self) -> Result<Statement> {
        let label = self.label()?;
        let line = self.line();
        let kind = match self.kind() {
            Kind::Word(_) | Kind::Quoted(_) | Kind::Parameter(_) if self.is_assignment() => {
                if label.is_some() {
                    return Err(self.unexpected());
                }
                self.assignment()?
            }
            Kind::Word(word) => {
                let word = word.clone();
                self.by_word(&word, label)?
            }
            // A query in parentheses.
            Kind::Symbol("(") => self.sql()?,
            _ => return Err(self.unexpected()),
        };
        self.expect_symbol(";")?;
        Ok(Statement { line, kind })
    }

    /// `name :=`, `name.field :=`, `$n :=`, and with `=` where the name is a variable.
    fn is_assignment(&self) -> bool {
        let name = match &self.nth(0).kind {
            Kind::Word(name) | Kind::Quoted(name) => name.clone(),
            Kind::Parameter(n) => format!("${n}"),
            _ => return false,
        };
        let after = if self.is_symbol(1, ".") { 3 } else { 1 };
        self.is_symbol(after, ":=") || (self.is_symbol(after, "=") && self.known(&name).is_some())
    }

    fn assignment(&mut self) -> Result<StatementKind> {
        let target = self.target()?;
        if !self.symbol(":=") {
            self.expect_symbol("=")?;
        }
        Ok(StatementKind::Assign { target, value: self.until_symbols(&[";"])? })
    }

    fn by_word(&mut self, word: &str, label: Option<String>) -> Result<StatementKind> {
        let position = self.position();
        let labelled = matches!(word, "declare" | "begin" | "loop" | "while" | "for");
        if label.is_some() && !labelled {
            return Err(self.unexpected());
        }
        match word {
            "declare" | "begin" => Ok(StatementKind::Block(self.block(label)?)),
            "if" | "case" | "loop" | "while" | "for" | "exit" | "continue" => {
                self.flow(word, label)
            }
            "return" => self.returning(),
            "perform" => {
                self.next();
                Ok(StatementKind::Perform(self.until_symbols(&[";"])?))
            }
            "execute" => self.execute(),
            "call" => self.call(),
            "open" => self.open(),
            "fetch" => self.fetch(),
            "move" => self.move_cursor(),
            "close" => self.close(),
            "raise" => self.raise(),
            "get" => self.diagnostics(),
            "commit" | "rollback" => self.transaction_end(word),
            "null" => {
                self.next();
                Ok(StatementKind::Null)
            }
            "prepare" | "vacuum" => Err(unsupported(&word.to_uppercase(), position)),
            "end" | "else" | "elsif" | "elseif" | "when" | "then" | "exception" => {
                Err(self.unexpected())
            }
            _ => self.sql(),
        }
    }

    fn returning(&mut self) -> Result<StatementKind> {
        self.next();
        if self.is_symbol(0, ";") {
            return Ok(StatementKind::Return);
        }
        Err(error!(SyntaxError, "RETURN cannot have a parameter in a procedure")
            .hint("Use OUT and INOUT arguments to give values back.")
            .at(self.position()))
    }

    fn transaction_end(&mut self, word: &str) -> Result<StatementKind> {
        self.next();
        if !self.accept("work") {
            self.accept("transaction");
        }
        if self.is("to") || self.is("and") {
            let what = format!("{} {}", word.to_uppercase(), self.text_of_word().to_uppercase());
            return Err(unsupported(&what, self.position()));
        }
        Ok(if word == "commit" { StatementKind::Commit } else { StatementKind::Rollback })
    }

    fn text_of_word(&self) -> String {
        match self.kind() {
            Kind::Word(word) => word.clone(),
            _ => String::new(),
        }
    }

    /// An SQL statement. INTO with variables is taken out, blanks stay in its place.
    fn sql(&mut self) -> Result<StatementKind> {
        let first = self.at;
        let takes_rows =
            ["select", "with", "values"].iter().any(|word| self.is(word)) || self.is_symbol(0, "(");
        let mut into: Option<(Into, usize, usize)> = None;
        let mut depth = 0i32;
        loop {
            match self.kind() {
                Kind::End | Kind::Symbol(";") => break,
                Kind::Symbol("(" | "[") => depth += 1,
                Kind::Symbol(")" | "]") => depth -= 1,
                Kind::Word(word)
                    if word == "into" && takes_rows && depth == 0 && !self.is_insertion(first) =>
                {
                    if into.is_some() {
                        return Err(error!(SyntaxError, "INTO specified more than once")
                            .at(self.position()));
                    }
                    let start = self.at;
                    self.next();
                    let found = self.into()?;
                    into = Some((found, start, self.at));
                    continue;
                }
                _ => {}
            }
            self.next();
        }
        if depth != 0 {
            return Err(error!(SyntaxError, "mismatched parentheses").at(self.position()));
        }
        if *self.kind() == Kind::End {
            return Err(self.unexpected());
        }
        let mut sql = self.between(first, self.at);
        let into = into.map(|(into, start, end)| {
            self.blank_out(&mut sql, first, start, end);
            into
        });
        Ok(StatementKind::Sql { sql, into })
    }

    /// INTO belongs to INSERT or MERGE.
    fn is_insertion(&self, first: usize) -> bool {
        self.at > first
            && matches!(&self.tokens[self.at - 1].kind,
                Kind::Word(word) if word == "insert" || word == "merge")
    }

    /// Replaces tokens of a fragment by blanks, so that all positions stay.
    fn blank_out(&self, sql: &mut Fragment, first: usize, start: usize, end: usize) {
        let origin = self.tokens[first].start;
        let (from, to) = (self.tokens[start].start - origin, self.tokens[end - 1].end - origin);
        let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
        let blanks: String = sql.text[from..to].chars().map(blank).collect();
        sql.text.replace_range(from..to, &blanks);
    }

    /// The targets after INTO.
    pub(super) fn into(&mut self) -> Result<Into> {
        let strict = self.accept("strict");
        let mut targets = vec![self.target()?];
        while self.symbol(",") {
            targets.push(self.target()?);
        }
        let is_record = |name: &str| self.known(name) == Some(Known::Record);
        if let Some(record) =
            targets.iter().find(|target| target.field.is_none() && is_record(&target.name))
            && targets.len() > 1
        {
            return Err(error!(
                SyntaxError,
                "\"{}\" is a record: it cannot be part of an INTO list", record.name
            )
            .at(record.position));
        }
        Ok(Into { strict, targets })
    }

    fn call(&mut self) -> Result<StatementKind> {
        let first = self.at;
        self.next();
        self.name()?;
        while self.symbol(".") {
            self.name()?;
        }
        if !self.is_symbol(0, "(") {
            return Err(self.unexpected());
        }
        let arguments = self.call_arguments()?;
        Ok(StatementKind::Call { sql: self.between(first, self.at), arguments })
    }

    fn execute(&mut self) -> Result<StatementKind> {
        self.next();
        let (query, mut into, mut using) = (self.dynamic()?, None, Vec::new());
        loop {
            if self.is("into") && into.is_none() {
                self.next();
                into = Some(self.into()?);
            } else if self.is("using") && using.is_empty() {
                self.next();
                using = self.expressions(&["into"], &[";"])?;
            } else {
                return Ok(StatementKind::Execute { query, into, using });
            }
        }
    }

    /// The expression after EXECUTE.
    pub(super) fn dynamic(&mut self) -> Result<Fragment> {
        self.fragment(|kind| match kind {
            Kind::Word(word) => matches!(word.as_str(), "into" | "using" | "loop"),
            Kind::Symbol(symbol) => *symbol == ";",
            _ => false,
        })
    }

    fn diagnostics(&mut self) -> Result<StatementKind> {
        self.next();
        if self.is("stacked") {
            return Err(unsupported("GET STACKED DIAGNOSTICS", self.position())
                .hint("SQLSTATE and SQLERRM tell what a handler is for."));
        }
        self.accept("current");
        self.expect("diagnostics")?;
        let mut items = Vec::new();
        loop {
            let target = self.target()?;
            if !self.symbol(":=") {
                self.expect_symbol("=")?;
            }
            if !self.accept("row_count") {
                return Err(error!(SyntaxError, "unrecognized GET DIAGNOSTICS item")
                    .hint("ROW_COUNT is the one that there is.")
                    .at(self.position()));
            }
            items.push((target, Diagnostic::RowCount));
            if !self.symbol(",") {
                return Ok(StatementKind::GetDiagnostics(items));
            }
        }
    }
}
