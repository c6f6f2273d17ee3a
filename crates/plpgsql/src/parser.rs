//! From the text of a body to its tree.
//!
//! Names of variables are checked here, as in PostgreSQL: what an assignment or INTO names must be
//! declared. What is SQL is cut out by its ends and not looked into.

mod block;
mod cursor;
mod flow;
mod raise;
mod statement;

use std::collections::HashMap;

use base::{Error, Result, error};

use crate::lexer::{self, Kind, Token};
use crate::tree::{Block, Fragment, Target};

/// The longest body, in bytes (Redshift's limit of 2 MB).
const BODY_BYTES_MAX: usize = 2 << 20;
/// Blocks, loops and branches within one another.
const NESTING_MAX: u32 = 200;
/// The variables of a body (Redshift's limit).
const VARIABLES_MAX: usize = 1_024;

/// Parses a body. `arguments` are the names of the procedure's arguments, empty for one without
/// a name; `$n` names the n-th.
///
/// # Errors
/// 42601 with the position in the body for what is no PL/pgSQL or names no variable, 0A000 for
/// what Redshift does not serve, 54000 and 54001 beyond the limits.
pub fn parse(text: &str, arguments: &[String]) -> Result<Block> {
    if text.len() > BODY_BYTES_MAX {
        return Err(error!(
            ProgramLimitExceeded,
            "the body has {} bytes, the maximum is {BODY_BYTES_MAX}",
            text.len()
        ));
    }
    let tokens = lexer::tokens(text)?;
    let mut names = HashMap::new();
    for (n, name) in arguments.iter().enumerate() {
        names.insert(format!("${}", n + 1), Known::Variable);
        if !name.is_empty() {
            names.insert(name.clone(), Known::Variable);
        }
    }
    names.insert("found".to_owned(), Known::Variable);
    let variables = names.len();
    let scopes = vec![names];
    let mut parser =
        Parser { text, tokens, at: 0, scopes, enclosing: Vec::new(), depth: 0, variables };
    let block = parser.body()?;
    Ok(block)
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Variable,
    Record,
    Constant,
    /// A refcursor variable.
    Cursor,
    /// A cursor with its query.
    BoundCursor,
}

/// What EXIT and CONTINUE may name.
struct Enclosing {
    label: Option<String>,
    is_loop: bool,
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    at: usize,
    /// Names by block, the innermost last.
    scopes: Vec<HashMap<String, Known>>,
    /// The blocks and loops around a statement, the innermost last.
    enclosing: Vec<Enclosing>,
    depth: u32,
    variables: usize,
}

impl Parser<'_> {
    fn token(&self) -> &Token {
        self.nth(0)
    }

    fn nth(&self, n: usize) -> &Token {
        let last = self.tokens.len() - 1;
        &self.tokens[(self.at + n).min(last)]
    }

    fn kind(&self) -> &Kind {
        &self.token().kind
    }

    fn next(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    fn position(&self) -> u32 {
        lexer::position(self.text, self.token().start)
    }

    fn line(&self) -> u32 {
        lexer::line(self.text, self.token().start)
    }

    /// PostgreSQL's error for the next token.
    fn unexpected(&self) -> Error {
        let token = self.token();
        if token.kind == Kind::End {
            return error!(SyntaxError, "syntax error at end of input").at(self.position());
        }
        let near = &self.text[token.start..token.end];
        error!(SyntaxError, "syntax error at or near \"{near}\"").at(self.position())
    }

    fn is(&self, word: &str) -> bool {
        self.is_nth(0, word)
    }

    fn is_nth(&self, n: usize, word: &str) -> bool {
        matches!(&self.nth(n).kind, Kind::Word(found) if found == word)
    }

    fn is_symbol(&self, n: usize, symbol: &str) -> bool {
        matches!(&self.nth(n).kind, Kind::Symbol(found) if *found == symbol)
    }

    fn accept(&mut self, word: &str) -> bool {
        let found = self.is(word);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if self.accept(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(0, symbol);
        if found {
            self.next();
        }
        found
    }

    fn expect_symbol(&mut self, symbol: &str) -> Result<()> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// A name, in quotes or not.
    fn name(&mut self) -> Result<String> {
        let name = match self.kind() {
            Kind::Word(name) | Kind::Quoted(name) => name.clone(),
            _ => return Err(self.unexpected()),
        };
        self.next();
        Ok(name)
    }

    fn known(&self, name: &str) -> Option<Known> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name)).copied()
    }

    /// Adds a name to the innermost scope.
    fn declare(&mut self, name: &str, known: Known, position: u32) -> Result<()> {
        self.variables += 1;
        if self.variables > VARIABLES_MAX {
            return Err(error!(
                ProgramLimitExceeded,
                "a procedure cannot have more than {VARIABLES_MAX} variables"
            )
            .at(position));
        }
        let Some(scope) = self.scopes.last_mut() else { return Ok(()) };
        if scope.insert(name.to_owned(), known).is_some() {
            return Err(error!(SyntaxError, "duplicate declaration of \"{name}\"").at(position));
        }
        Ok(())
    }

    /// The variable, or the field of a record, that comes next.
    fn target(&mut self) -> Result<Target> {
        let position = self.position();
        let name = match self.kind() {
            Kind::Parameter(n) => {
                let name = format!("${n}");
                self.next();
                name
            }
            _ => self.name()?,
        };
        let known = self.known(&name).ok_or_else(|| {
            let names = self.scopes.iter().flat_map(|scope| scope.keys().map(String::as_str));
            error!(SyntaxError, "\"{name}\" is not a known variable")
                .at(position)
                .maybe_hint(base::suggest::did_you_mean(&name, names))
        })?;
        if known == Known::Constant {
            return Err(error!(InvalidParameterValue, "variable \"{name}\" is declared CONSTANT")
                .at(position));
        }
        let field = if self.symbol(".") { Some(self.name()?) } else { None };
        Ok(Target { name, field, position })
    }

    /// The text up to a token at which `ends` holds outside of parentheses and of CASE … END.
    fn fragment(&mut self, ends: impl Fn(&Kind) -> bool) -> Result<Fragment> {
        let first = self.at;
        let (mut depth, mut cases) = (0i32, 0u32);
        loop {
            let kind = &self.tokens[self.at].kind;
            match kind {
                Kind::End => break,
                _ if depth == 0 && cases == 0 && ends(kind) => break,
                // A statement never goes on behind its semicolon.
                Kind::Symbol(";") => break,
                Kind::Symbol("(" | "[") => depth += 1,
                Kind::Symbol(")" | "]") => depth -= 1,
                Kind::Word(word) if word == "case" => cases += 1,
                Kind::Word(word) if word == "end" => cases = cases.saturating_sub(1),
                _ => {}
            }
            if depth < 0 {
                return Err(self.unexpected());
            }
            self.at += 1;
        }
        if depth > 0 {
            return Err(error!(SyntaxError, "mismatched parentheses").at(self.position()));
        }
        if first == self.at {
            return Err(self.unexpected());
        }
        Ok(self.between(first, self.at))
    }

    /// The text of some tokens.
    fn between(&self, first: usize, end: usize) -> Fragment {
        let (start, last) = (self.tokens[first].start, &self.tokens[end - 1]);
        Fragment {
            text: self.text[start..last.end].to_owned(),
            position: lexer::position(self.text, start),
            line: lexer::line(self.text, start),
        }
    }

    fn until_symbols(&mut self, symbols: &[&str]) -> Result<Fragment> {
        self.fragment(|kind| matches!(kind, Kind::Symbol(found) if symbols.contains(found)))
    }

    /// An expression and the keyword behind it.
    fn until_word(&mut self, word: &str) -> Result<Fragment> {
        let fragment = self.fragment(|kind| matches!(kind, Kind::Word(found) if found == word))?;
        self.expect(word)?;
        Ok(fragment)
    }

    /// Expressions with commas between, up to one of the words or symbols, which stays.
    fn expressions(&mut self, words: &[&str], symbols: &[&str]) -> Result<Vec<Fragment>> {
        let mut found = Vec::new();
        loop {
            found.push(self.fragment(|kind| match kind {
                Kind::Word(word) => words.contains(&word.as_str()),
                Kind::Symbol(symbol) => *symbol == "," || symbols.contains(symbol),
                _ => false,
            })?);
            if !self.symbol(",") {
                return Ok(found);
            }
        }
    }

    /// Runs a part of the grammar that may hold itself.
    fn nested<T>(&mut self, part: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(error!(StatementTooComplex, "statement too complex")
                .detail(format!("It is nested deeper than {NESTING_MAX} levels."))
                .at(self.position()));
        }
        let done = base::stack::deep(|| part(self));
        self.depth -= 1;
        done
    }
}

/// What is not served, by name.
fn unsupported(what: &str, position: u32) -> Error {
    Error::unsupported(format!("{what} is not supported in a procedure")).at(position)
}

#[cfg(test)]
mod tests;
