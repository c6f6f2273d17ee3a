//! Statement text: splitting, tokens and the place of each token.
//!
//! Positions are 1-based and count characters, as clients expect them.

use base::{Error, Result, error, fail};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Whitespace};

use crate::dialect::DIALECT;

/// The longest text of a simple query or a statement, in bytes (Redshift's limit of 16 MB).
pub const TEXT_BYTES_MAX: usize = 16 << 20;

/// A statement's text with an index of its lines.
#[derive(Debug)]
pub struct Source {
    text: String,
    /// Where each line starts: in characters and in bytes.
    lines: Vec<(u32, usize)>,
}

impl Source {
    pub fn new(text: &str) -> Self {
        let mut lines = vec![(0, 0)];
        for (chars, (byte, c)) in (1u32..).zip(text.char_indices()) {
            if c == '\n' {
                lines.push((chars, byte + 1));
            }
        }
        Self { text: text.to_owned(), lines }
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The position of a place in sqlparser's terms; `None` for a made-up one.
    pub fn position(&self, place: Location) -> Option<u32> {
        let line = usize::try_from(place.line.checked_sub(1)?).ok()?;
        let (chars, _) = self.lines.get(line)?;
        let column = u32::try_from(place.column).ok().filter(|column| *column > 0)?;
        Some(chars + column)
    }

    /// The byte at which a place stands.
    fn byte(&self, place: Location) -> Option<usize> {
        let line = usize::try_from(place.line.checked_sub(1)?).ok()?;
        let (_, start) = self.lines.get(line)?;
        let column = usize::try_from(place.column.checked_sub(1)?).ok()?;
        let rest = self.text.get(*start..)?;
        let within = rest.char_indices().nth(column).map_or(rest.len(), |(byte, _)| byte);
        Some(start + within)
    }

    /// The text between two places, without blanks around it.
    pub fn slice(&self, from: Location, to: Location) -> &str {
        match (self.byte(from), self.byte(to)) {
            (Some(from), Some(to)) if from <= to => self.text.get(from..to).unwrap_or("").trim(),
            _ => "",
        }
    }

    /// The text from a place to the end, without blanks around it.
    pub fn rest(&self, from: Location) -> &str {
        self.byte(from).and_then(|from| self.text.get(from..)).unwrap_or("").trim()
    }

    /// The text of a span as it is written.
    pub fn written(&self, span: Span) -> &str {
        self.slice(span.start, span.end)
    }

    /// Where `word` first stands as a whole word outside of quotes, folded.
    pub fn find_word(&self, word: &str) -> Option<u32> {
        let tokens = tokenize(self).ok()?;
        tokens.iter().find_map(|token| match &token.token {
            Token::Word(found) if found.value.eq_ignore_ascii_case(word) => {
                self.position(token.span.start)
            }
            _ => None,
        })
    }

    /// Where `word` first stands before a dot, folded.
    pub fn find_qualifier(&self, word: &str) -> Option<u32> {
        let tokens = tokenize(self).ok()?;
        tokens.windows(2).find_map(|pair| match pair {
            [first, second] => match (&first.token, &second.token) {
                (Token::Word(found), Token::Period) if found.value.eq_ignore_ascii_case(word) => {
                    self.position(first.span.start)
                }
                _ => None,
            },
            _ => None,
        })
    }
}

/// Splits the text of a simple query into its statements, each with the offset in characters at
/// which it starts. Pieces of nothing but blanks and comments are left out.
///
/// # Errors
/// 42601 for an unterminated literal or comment; 54000 when it is longer than 16 MB.
pub fn split(text: &str) -> Result<Vec<(String, u32)>> {
    check_length(text)?;
    let mut splitter = Splitter { text, chars: text.char_indices().peekable(), count: 0 };
    let mut statements = Vec::new();
    while let Some(piece) = splitter.piece()? {
        if let Piece::Statement(text, offset) = piece {
            statements.push((text, offset));
        }
    }
    Ok(statements)
}

/// Refuses a text beyond [`TEXT_BYTES_MAX`].
pub(crate) fn check_length(text: &str) -> Result<()> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(error!(
            ProgramLimitExceeded,
            "statement is too large: {} bytes, the maximum is {TEXT_BYTES_MAX}",
            text.len()
        ));
    }
    Ok(())
}

enum Piece {
    Statement(String, u32),
    Blank,
}

struct Splitter<'a> {
    text: &'a str,
    chars: std::iter::Peekable<std::str::CharIndices<'a>>,
    /// Characters taken so far.
    count: u32,
}

impl Splitter<'_> {
    fn next(&mut self) -> Option<(usize, char)> {
        self.count += u32::from(self.chars.peek().is_some());
        self.chars.next()
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    /// The next piece up to a semicolon, or `None` at the end of the text.
    fn piece(&mut self) -> Result<Option<Piece>> {
        while self.peek().is_some_and(char::is_whitespace) {
            self.next();
        }
        let Some(&(start, _)) = self.chars.peek() else { return Ok(None) };
        let offset = self.count;
        let mut blank = true;
        let mut in_word = false;
        let mut end = self.text.len();
        while let Some((byte, c)) = self.next() {
            let word = c.is_alphanumeric() || c == '_' || (in_word && c == '$');
            match c {
                ';' => {
                    end = byte;
                    break;
                }
                '\'' | '"' => self.quoted(byte, c)?,
                '-' if self.peek() == Some('-') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.next();
                    }
                    continue;
                }
                '/' if self.peek() == Some('*') => {
                    self.comment()?;
                    continue;
                }
                '$' if !in_word => self.dollar(byte)?,
                _ => {}
            }
            blank &= c.is_whitespace();
            in_word = word;
        }
        let text = self.text.get(start..end).unwrap_or("").trim_end();
        Ok(Some(if blank { Piece::Blank } else { Piece::Statement(text.to_owned(), offset) }))
    }

    /// Skips a literal or a quoted name; the opening quote is taken. Backslash escapes in
    /// literals always, as in Redshift.
    fn quoted(&mut self, start: usize, quote: char) -> Result<()> {
        let position = self.count;
        while let Some((_, c)) = self.next() {
            if c == '\\' && quote == '\'' {
                self.next();
            } else if c == quote {
                if self.peek() != Some(quote) {
                    return Ok(());
                }
                self.next();
            }
        }
        let kind = if quote == '\'' { "string" } else { "identifier" };
        Err(unterminated(&format!("quoted {kind}"), &self.text[start..], position))
    }

    /// Skips a comment, which may hold comments.
    fn comment(&mut self) -> Result<()> {
        let position = self.count;
        self.next();
        let mut depth = 1u32;
        while let Some((_, c)) = self.next() {
            match (c, self.peek()) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => continue,
            }
            self.next();
            if depth == 0 {
                return Ok(());
            }
        }
        Err(unterminated("/* comment", "/*", position))
    }

    /// Skips `$tag$ … $tag$` when the dollar opens one; `$1` is a parameter.
    fn dollar(&mut self, start: usize) -> Result<()> {
        let rest = &self.text[start + 1..];
        let Some(tag) = rest.find('$').map(|end| &rest[..end]) else { return Ok(()) };
        let mut letters = tag.chars();
        let fits = letters.next().is_none_or(|c| c.is_alphabetic() || c == '_')
            && letters.all(|c| c.is_alphanumeric() || c == '_');
        if !fits {
            return Ok(());
        }
        let position = self.count;
        let closing = format!("${tag}$");
        let body = start + closing.len();
        let Some(length) = self.text.get(body..).and_then(|rest| rest.find(&closing)) else {
            return Err(unterminated("dollar-quoted string", &self.text[start..], position));
        };
        let end = body + length + closing.len();
        while self.chars.peek().is_some_and(|(byte, _)| *byte < end) {
            self.next();
        }
        Ok(())
    }
}

fn unterminated(what: &str, rest: &str, position: u32) -> Error {
    let near: String = rest.chars().take(40).collect();
    error!(SyntaxError, "unterminated {what} at or near \"{near}\"").at(position)
}

/// The tokens of a statement without blanks and comments. Names are folded to lower case,
/// quoted ones too, and literals that only a line break separates are joined.
///
/// # Errors
/// 42601 with the position of the text that is no token.
pub(crate) fn tokenize(source: &Source) -> Result<Vec<TokenWithSpan>> {
    let tokens = Tokenizer::new(&DIALECT, source.text()).tokenize_with_location();
    let tokens = tokens.map_err(|e| token_error(source, &e.message, e.location))?;
    let mut kept: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut line_break = false;
    for mut token in tokens {
        match &mut token.token {
            Token::Whitespace(blank) => {
                line_break |= matches!(blank, Whitespace::Newline);
                continue;
            }
            Token::Word(word) => word.value.make_ascii_lowercase(),
            Token::SingleQuotedString(text) if line_break => {
                if let Some(last) = kept.last_mut()
                    && let Token::SingleQuotedString(before) = &mut last.token
                {
                    before.push_str(text);
                    last.span.end = token.span.end;
                    continue;
                }
            }
            _ => {}
        }
        line_break = false;
        kept.push(token);
    }
    Ok(kept)
}

fn token_error(source: &Source, message: &str, place: Location) -> Error {
    let position = source.position(place).unwrap_or(1);
    let near: String = source.slice(place, Location::new(u64::from(u32::MAX), 1)).to_owned();
    let near = if near.is_empty() { tail(source, position) } else { near };
    let lower = message.to_lowercase();
    if lower.contains("unterminated") || lower.contains("unexpected eof") {
        let what = if lower.contains("comment") {
            "/* comment"
        } else if lower.contains("dollar") {
            "dollar-quoted string"
        } else if lower.contains("identifier") || lower.contains("'\"'") {
            "quoted identifier"
        } else {
            "quoted string"
        };
        return error!(SyntaxError, "unterminated {what} at or near \"{near}\"").at(position);
    }
    error!(SyntaxError, "syntax error at or near \"{near}\"").at(position)
}

/// Up to twenty characters from a position on.
fn tail(source: &Source, position: u32) -> String {
    source.text().chars().skip(position.saturating_sub(1) as usize).take(20).collect()
}

/// Refuses what has no place in a statement's text at all.
pub(crate) fn check_characters(text: &str) -> Result<()> {
    if let Some(at) = text.chars().position(|c| c == '\0') {
        fail!(SyntaxError, "invalid byte sequence: null character at position {}", at + 1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<(String, u32)> {
        split(text).unwrap()
    }

    #[test]
    fn splits_at_semicolons_only_outside_of_quotes() {
        assert_eq!(
            pieces("select 1; select 2 ;"),
            [("select 1".to_owned(), 0), ("select 2".to_owned(), 10)]
        );
        assert_eq!(pieces("select 'a;b'';', \"x;\"").len(), 1);
        assert_eq!(pieces(r"select 'a\';b'; select 2").len(), 2);
        assert_eq!(pieces("/* a /* ; */ ; */ select 1; -- x;\n").len(), 1);
        assert_eq!(pieces("select $$;$$, $x$ ; $$ $x$, $1; select a$b$c; select 3").len(), 3);
        assert_eq!(pieces(" ; ;; -- nothing").len(), 0);
        assert_eq!(pieces("select 'ä'; select 2")[1].1, 12);
    }

    #[test]
    fn names_what_is_not_terminated() {
        for (text, what) in [
            ("select 'abc", "quoted string"),
            ("select \"abc", "quoted identifier"),
            ("select /* abc", "/* comment"),
            ("select $$ abc", "dollar-quoted"),
        ] {
            let error = split(text).unwrap_err();
            assert_eq!(error.sqlstate(), base::SqlState::SyntaxError);
            assert!(error.message().contains(what), "{}", error.message());
            assert_eq!(error.position(), Some(8));
        }
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert_eq!(split(&long).unwrap_err().sqlstate(), base::SqlState::ProgramLimitExceeded);
    }

    #[test]
    fn folds_names_and_joins_literals() {
        let source = Source::new("SELECT \"Ab\", 'x'\n'y'");
        let tokens = tokenize(&source).unwrap();
        let text: Vec<String> = tokens.iter().map(|t| t.token.to_string()).collect();
        assert_eq!(text, ["select", "\"ab\"", ",", "'xy'"]);
        assert_eq!(source.position(tokens[3].span.start), Some(14));
    }
}
