//! The tokens of a body. Comments and blanks are left out; the text between two tokens is taken
//! from the source.

use base::{Error, Result, error};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or keyword, folded to lower case.
    Word(String),
    /// A name in quotes, folded as Redshift folds it; never a keyword.
    Quoted(String),
    Number,
    /// A literal with its escapes resolved.
    Text(String),
    /// `$n`.
    Parameter(u32),
    Symbol(&'static str),
    /// Any other character: part of SQL.
    Other(char),
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// In bytes.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Longest first.
const SYMBOLS: &[&str] =
    &[":=", "..", "<<", ">>", "::", ";", ",", "(", ")", "[", "]", ".", "%", "=", ":", "#"];

/// # Errors
/// 42601 with the position of a literal or comment that does not end.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.blanks()?;
        let start = lexer.at;
        let kind = lexer.token()?;
        let end = kind == Kind::End;
        tokens.push(Token { kind, start, end: lexer.at });
        if end {
            return Ok(tokens);
        }
    }
}

/// The position of a byte: 1-based, in characters.
pub(crate) fn position(text: &str, byte: usize) -> u32 {
    let before = text.get(..byte).unwrap_or(text);
    u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX)
}

/// The line of a byte, 1-based. A line break right after the opening quote does not count, as
/// in PostgreSQL's messages.
pub(crate) fn line(text: &str, byte: usize) -> u32 {
    let before = text.get(..byte).unwrap_or(text);
    let breaks = before.bytes().filter(|b| *b == b'\n').count();
    u32::try_from(breaks + 1).unwrap_or(u32::MAX)
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn unterminated(&self, what: &str, start: usize) -> Error {
        error!(SyntaxError, "unterminated {what}").at(position(self.text, start))
    }

    fn skip_while(&mut self, fits: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.find(|c| !fits(c)).unwrap_or(rest.len());
    }

    fn blanks(&mut self) -> Result<()> {
        loop {
            self.skip_while(char::is_whitespace);
            if self.rest().starts_with("--") {
                self.skip_while(|c| c != '\n');
            } else if self.rest().starts_with("/*") {
                self.comment()?;
            } else {
                return Ok(());
            }
        }
    }

    /// Skips a comment, which may hold comments.
    fn comment(&mut self) -> Result<()> {
        let start = self.at;
        let mut depth = 0u32;
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") {
                depth += 1;
                self.at += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                self.at += 2;
            } else {
                match self.peek() {
                    Some(c) => self.at += c.len_utf8(),
                    None => return Err(self.unterminated("/* comment", start)),
                }
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn token(&mut self) -> Result<Kind> {
        let Some(c) = self.peek() else { return Ok(Kind::End) };
        let start = self.at;
        if c.is_alphabetic() || c == '_' {
            self.skip_while(|c| c.is_alphanumeric() || c == '_' || c == '$');
            let word = self.text[start..self.at].to_lowercase();
            if word == "e" && self.peek() == Some('\'') {
                return self.literal();
            }
            return Ok(Kind::Word(word));
        }
        if c.is_ascii_digit() {
            self.number();
            return Ok(Kind::Number);
        }
        match c {
            '\'' => return self.literal(),
            '"' => return self.quoted_name(),
            '$' => {
                if let Some(kind) = self.dollar()? {
                    return Ok(kind);
                }
            }
            _ => {}
        }
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol)) {
            self.at += symbol.len();
            return Ok(Kind::Symbol(symbol));
        }
        self.at += c.len_utf8();
        Ok(Kind::Other(c))
    }

    /// Digits with a point, unless that begins `..`.
    fn number(&mut self) {
        self.skip_while(|c| c.is_ascii_digit());
        if self.rest().starts_with('.') && !self.rest().starts_with("..") {
            self.at += 1;
            self.skip_while(|c| c.is_ascii_digit());
        }
        let mut exponent = self.rest().chars();
        if matches!(exponent.next(), Some('e' | 'E')) {
            let signed = matches!(exponent.clone().next(), Some('+' | '-'));
            let digit = if signed { exponent.nth(1) } else { exponent.next() };
            if digit.is_some_and(|c| c.is_ascii_digit()) {
                self.at += 1 + usize::from(signed);
                self.skip_while(|c| c.is_ascii_digit());
            }
        }
    }

    /// A literal with backslash escapes, as Redshift reads them.
    fn literal(&mut self) -> Result<Kind> {
        let start = self.at;
        let mut text = String::new();
        let source = self.text;
        let mut chars = source[start + 1..].char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => text.extend(chars.next().map(|(_, escaped)| match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    other => other,
                })),
                '\'' if chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                    chars.next();
                    text.push('\'');
                }
                '\'' => {
                    self.at = start + 1 + at + 1;
                    return Ok(Kind::Text(text));
                }
                other => text.push(other),
            }
        }
        Err(self.unterminated("quoted string", start))
    }

    fn quoted_name(&mut self) -> Result<Kind> {
        let start = self.at;
        let mut name = String::new();
        let source = self.text;
        let mut chars = source[start + 1..].char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c != '"' {
                name.extend(c.to_lowercase());
            } else if chars.peek().is_some_and(|(_, next)| *next == '"') {
                chars.next();
                name.push('"');
            } else {
                self.at = start + 1 + at + 1;
                return Ok(Kind::Quoted(name));
            }
        }
        Err(self.unterminated("quoted identifier", start))
    }

    /// `$n` or `$tag$ … $tag$`.
    fn dollar(&mut self) -> Result<Option<Kind>> {
        let start = self.at;
        let rest = &self.rest()[1..];
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if let Ok(number) = rest[..digits].parse() {
            self.at += 1 + digits;
            return Ok(Some(Kind::Parameter(number)));
        }
        let Some(tag) = rest.find('$').map(|end| &rest[..end]) else { return Ok(None) };
        if !tag.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Ok(None);
        }
        let closing = format!("${tag}$");
        let body = &rest[tag.len() + 1..];
        let Some(length) = body.find(&closing) else {
            return Err(self.unterminated("dollar-quoted string", start));
        };
        let text = body[..length].to_owned();
        self.at = start + closing.len() + length + closing.len();
        Ok(Some(Kind::Text(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        tokens(text).unwrap().into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn ranges_are_no_decimals() {
        use Kind::*;
        assert_eq!(kinds("1..10"), [Number, Symbol(".."), Number, End]);
        assert_eq!(kinds("1.5e-3 2."), [Number, Number, End]);
        assert_eq!(kinds("x:=$1"), [Word("x".into()), Symbol(":="), Parameter(1), End]);
    }

    #[test]
    fn literals_and_comments() {
        let text = |text: &str| Kind::Text(text.to_owned());
        assert_eq!(kinds(r"'it''s \'q\'' -- no"), [text("it's 'q'"), Kind::End]);
        assert_eq!(
            kinds("/* a /* b */ ; */ $$x;$$ $t$ $$ $t$"),
            [text("x;"), text(" $$ "), Kind::End]
        );
        assert_eq!(kinds("\"A b\""), [Kind::Quoted("a b".to_owned()), Kind::End]);
        for open in ["'a", "\"a", "$$a", "/* a"] {
            assert_eq!(tokens(open).unwrap_err().position(), Some(1), "{open}");
        }
    }

    #[test]
    fn places() {
        assert_eq!((position("ä\nb", 3), line("ä\nb", 3)), (3, 2));
    }
}
