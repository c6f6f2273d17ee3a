//! A cursor over the tokens of one statement: words, symbols, names, literals, and sqlparser for
//! expressions and queries.

use std::sync::Arc;

use base::{Error, Result, SqlType, error};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use crate::ast::{Expression, Ident, ObjectName, Query};
use crate::dialect::{DIALECT, VERSIONED};
use crate::guard::NESTING_MAX;
use crate::text::Source;
use planner::Tree;

/// The longest name, in bytes; a longer one is cut as Redshift cuts it.
const NAME_BYTES_MAX: usize = 127;

pub(super) struct Cursor {
    pub(super) parser: Parser<'static>,
    pub(super) source: Arc<Source>,
}

impl Cursor {
    pub(super) fn new(source: Arc<Source>, tokens: Vec<TokenWithSpan>) -> Self {
        let dialect = if has_versions(&tokens) { &VERSIONED } else { &DIALECT };
        // A level of nesting costs sqlparser at most four of its own steps.
        let parser = Parser::new(dialect)
            .with_recursion_limit(NESTING_MAX * 4)
            .with_tokens_with_locations(tokens);
        Self { parser, source }
    }

    pub(super) fn peek(&self) -> &Token {
        &self.parser.peek_token_ref().token
    }

    pub(super) fn peek_nth(&self, n: usize) -> &Token {
        &self.parser.peek_nth_token_ref(n).token
    }

    pub(super) fn next(&mut self) -> TokenWithSpan {
        self.parser.next_token()
    }

    /// The position of the next token; one past the text at its end.
    pub(super) fn position(&self) -> u32 {
        self.position_of(self.parser.peek_token_ref())
    }

    fn position_of(&self, token: &TokenWithSpan) -> u32 {
        self.source.position(token.span.start).unwrap_or_else(|| {
            u32::try_from(self.source.text().chars().count() + 1).unwrap_or(u32::MAX)
        })
    }

    fn place(&self) -> Location {
        match self.parser.peek_token_ref() {
            token if token.token == Token::EOF => Location::new(u64::from(u32::MAX), 1),
            token => token.span.start,
        }
    }

    /// The text from a place up to the next token.
    fn text_since(&self, start: Location) -> String {
        let end = match self.parser.peek_token_ref() {
            token if token.token == Token::EOF => None,
            token => Some(token.span.start),
        };
        match end {
            Some(end) => self.source.slice(start, end).to_owned(),
            None => self.source.rest(start).to_owned(),
        }
    }

    /// The next token is this unquoted word (given in lower case).
    pub(super) fn is(&self, word: &str) -> bool {
        self.is_nth(0, word)
    }

    pub(super) fn is_nth(&self, n: usize, word: &str) -> bool {
        is_word(self.peek_nth(n), word)
    }

    /// Takes the word when it is next.
    pub(super) fn accept(&mut self, word: &str) -> bool {
        let found = self.is(word);
        if found {
            self.next();
        }
        found
    }

    /// Takes all words when they are next, or none.
    pub(super) fn accept_all(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(n, word)| self.is_nth(n, word));
        if found {
            words.iter().for_each(|_| drop(self.next()));
        }
        found
    }

    /// Takes a word that may be left out before a name, and may be the name itself.
    pub(super) fn accept_before_name(&mut self, word: &str) -> bool {
        matches!(self.peek_nth(1), Token::Word(_)) && self.accept(word)
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<()> {
        if self.accept(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(super) fn expect_all(&mut self, words: &[&str]) -> Result<()> {
        words.iter().try_for_each(|word| self.expect(word))
    }

    /// Takes the first of the words that is next.
    pub(super) fn one_of<'w>(&mut self, words: &[&'w str]) -> Option<&'w str> {
        let found = words.iter().find(|word| self.is(word)).copied();
        if found.is_some() {
            self.next();
        }
        found
    }

    pub(super) fn symbol(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub(super) fn expect_symbol(&mut self, token: &Token) -> Result<()> {
        if self.symbol(token) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(super) fn at_end(&self) -> bool {
        *self.peek() == Token::EOF
    }

    /// The statement must end here.
    pub(super) fn end(&self) -> Result<()> {
        if self.at_end() {
            return Ok(());
        }
        Err(self.refused_navigation().unwrap_or_else(|| self.unexpected()))
    }

    /// PostgreSQL's error for the next token.
    pub(super) fn unexpected(&self) -> Error {
        unexpected(&self.source, self.parser.peek_token_ref())
    }

    /// The next token as it is written.
    pub(super) fn written(&self) -> String {
        self.source.written(self.parser.peek_token_ref().span).to_owned()
    }

    /// A name. Any unquoted word will do: what is reserved is decided where it matters.
    pub(super) fn ident(&mut self) -> Result<Ident> {
        let position = self.position();
        match self.peek() {
            Token::Word(word) => {
                let name = cut(&word.value);
                self.next();
                Ok(Ident { name, position })
            }
            _ => Err(self.unexpected()),
        }
    }

    /// `name`, `schema.name` or `database.schema.name`.
    pub(super) fn object_name(&mut self) -> Result<ObjectName> {
        let mut parts = vec![self.ident()?];
        while self.symbol(&Token::Period) {
            if parts.len() == 3 {
                return Err(error!(SyntaxError, "improper qualified name (too many dotted names)")
                    .at(parts[0].position));
            }
            parts.push(self.ident()?);
        }
        Ok(ObjectName(parts))
    }

    /// One or more of something, with commas between.
    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.symbol(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `(a, b, …)`.
    pub(super) fn ident_list(&mut self) -> Result<Vec<Ident>> {
        self.expect_symbol(&Token::LParen)?;
        let names = self.list(Self::ident)?;
        self.expect_symbol(&Token::RParen)?;
        Ok(names)
    }

    /// `(a, b, …)` when a parenthesis is next, else nothing.
    pub(super) fn optional_ident_list(&mut self) -> Result<Vec<Ident>> {
        if *self.peek() == Token::LParen { self.ident_list() } else { Ok(Vec::new()) }
    }

    /// A string literal.
    pub(super) fn string(&mut self) -> Result<String> {
        self.optional_string().ok_or_else(|| self.unexpected())
    }

    pub(super) fn optional_string(&mut self) -> Option<String> {
        let text = match self.peek() {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => text.clone(),
            Token::DollarQuotedString(quoted) => quoted.value.clone(),
            _ => return None,
        };
        self.next();
        Some(text)
    }

    /// An unsigned whole number.
    pub(super) fn unsigned<N: TryFrom<u64>>(&mut self) -> Result<N> {
        let position = self.position();
        let Token::Number(text, _) = self.peek() else { return Err(self.unexpected()) };
        let number = text.parse::<u64>().ok().and_then(|number| N::try_from(number).ok());
        let text = text.clone();
        self.next();
        number.ok_or_else(|| {
            error!(NumericValueOutOfRange, "value {text} is out of range here").at(position)
        })
    }

    /// A whole number with an optional sign.
    pub(super) fn signed(&mut self) -> Result<i64> {
        let position = self.position();
        let negative = self.symbol(&Token::Minus);
        if !negative {
            self.symbol(&Token::Plus);
        }
        let Token::Number(text, _) = self.peek() else { return Err(self.unexpected()) };
        let text = if negative { format!("-{text}") } else { text.clone() };
        self.next();
        text.parse().map_err(|_| {
            error!(NumericValueOutOfRange, "value {text} is out of range for type bigint")
                .at(position)
        })
    }

    /// `IF NOT EXISTS`.
    pub(super) fn if_not_exists(&mut self) -> bool {
        self.accept_all(&["if", "not", "exists"])
    }

    /// `IF EXISTS`.
    pub(super) fn if_exists(&mut self) -> bool {
        self.accept_all(&["if", "exists"])
    }

    /// `CASCADE` (true) or `RESTRICT` or nothing.
    pub(super) fn cascade(&mut self) -> bool {
        self.one_of(&["cascade", "restrict"]) == Some("cascade")
    }

    /// A type name with its modifiers.
    pub(super) fn sql_type(&mut self) -> Result<SqlType> {
        super::types::sql_type(self)
    }

    /// An expression by sqlparser's grammar.
    pub(super) fn expression(&mut self) -> Result<Expression> {
        let start = self.place();
        let mut expr = self.parser.parse_expr().map_err(|e| self.parser_error(e))?;
        super::data::balance(&mut expr);
        let text = self.text_since(start);
        Ok(Expression { text, expr: Box::new(expr), source: Arc::clone(&self.source) })
    }

    /// An expression whose text nobody asks for.
    pub(super) fn value(&mut self) -> Result<sqlparser::ast::Expr> {
        self.parsed(Parser::parse_expr)
    }

    /// What one of sqlparser's functions takes.
    pub(super) fn parsed<T: Tree>(
        &mut self,
        parse: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Result<T> {
        let mut tree = parse(&mut self.parser).map_err(|e| self.parser_error(e))?;
        super::data::balance(&mut tree);
        Ok(tree)
    }

    /// A query by sqlparser's grammar.
    pub(super) fn query(&mut self) -> Result<Query> {
        let start = self.place();
        let mut body = match self.parser.parse_query() {
            Ok(body) => body,
            Err(e) => {
                return Err(self.refused_navigation().unwrap_or_else(|| self.parser_error(e)));
            }
        };
        super::data::balance(body.as_mut());
        let text = self.text_since(start);
        Ok(Query { text, body, source: Arc::clone(&self.source) })
    }

    /// The error of a query that navigates SUPER values in FROM, which the grammar has not.
    fn refused_navigation(&self) -> Option<Error> {
        let stop = self.parser.get_current_index();
        let window = (stop.saturating_sub(4)..=stop + 1).map(|n| self.parser.token_at(n));
        let found = window
            .into_iter()
            .find(|token| is_word(&token.token, "unpivot") || is_word(&token.token, "at"))?;
        let error = Error::unsupported("navigation of SUPER values in FROM is not supported");
        Some(match self.source.position(found.span.start) {
            Some(position) => error.at(position),
            None => error,
        })
    }

    /// sqlparser's error as PostgreSQL's.
    pub(super) fn parser_error(&self, error: ParserError) -> Error {
        convert(&self.source, error, &self.parser)
    }
}

/// The statement reads a table as it was: `AT (word => …` or `AT (TIMESTAMP '…'`.
fn has_versions(tokens: &[TokenWithSpan]) -> bool {
    let opens = |word: &Token, next: &Token| match next {
        Token::RArrow => matches!(word, Token::Word(_)),
        Token::SingleQuotedString(_) => is_word(word, "timestamp"),
        _ => false,
    };
    tokens.windows(4).any(|window| {
        matches!(window, [at, open, word, next]
            if is_word(&at.token, "at")
                && open.token == Token::LParen
                && opens(&word.token, &next.token))
    })
}

/// True for this unquoted word.
pub(super) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(found) if found.quote_style.is_none() && found.value == word)
}

/// Cuts a name to Redshift's 127 bytes at a character's border.
fn cut(name: &str) -> String {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

fn unexpected(source: &Source, token: &TokenWithSpan) -> Error {
    if token.token == Token::EOF {
        let end = u32::try_from(source.text().trim_end().chars().count() + 1).unwrap_or(u32::MAX);
        return error!(SyntaxError, "syntax error at end of input").at(end);
    }
    let near = source.written(token.span);
    let error = error!(SyntaxError, "syntax error at or near \"{near}\"");
    match source.position(token.span.start) {
        Some(position) => error.at(position),
        None => error,
    }
}

/// sqlparser says where it stopped only within its text: `… at Line: 1, Column: 8`.
fn convert(source: &Source, error: ParserError, parser: &Parser<'_>) -> Error {
    let message = match error {
        ParserError::RecursionLimitExceeded => {
            return error!(StatementTooComplex, "statement too complex")
                .detail(format!("It is nested deeper than {NESTING_MAX} levels."));
        }
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
    };
    let stopped = place_in(&message);
    let token = stopped.and_then(|place| {
        let last = parser.get_current_index() + 2;
        (0..=last)
            .rev()
            .map(|index| parser.token_at(index))
            .find(|token| token.span.start == place)
            .cloned()
    });
    match token {
        Some(token) => unexpected(source, &token),
        None if message.contains("found: EOF") => unexpected(source, &TokenWithSpan::new_eof()),
        None => {
            let said = message.split(" at Line:").next().unwrap_or(&message);
            unexpected(source, parser.peek_token_ref()).detail(format!("{said}."))
        }
    }
}

fn place_in(message: &str) -> Option<Location> {
    let (_, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    let digits: String = column.chars().take_while(char::is_ascii_digit).collect();
    let place = Location::new(line.parse().ok()?, digits.parse().ok()?);
    (place.line > 0).then_some(place)
}
