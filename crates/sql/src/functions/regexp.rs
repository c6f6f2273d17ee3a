//! REGEXP_COUNT, REGEXP_INSTR, REGEXP_REPLACE and REGEXP_SUBSTR.
//!
//! Positions count characters from 1. Parameters are letters: `c` and `i` for the case, `e` for
//! the first subexpression, `p` for PCRE, of which look-around and back-references are refused.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, StringViewArray};
use arrow_schema::DataType;
use base::{Error, Result, error};
use datafusion::logical_expr::ScalarUDF;
use regex::{Regex, RegexBuilder};

use super::kernel::{Kernel, any, nulls, text, whole_or};

/// The parameters of a search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parameters {
    insensitive: bool,
    subexpression: bool,
}

impl Parameters {
    fn read(letters: &str) -> Result<Self> {
        let mut read = Self::default();
        for letter in letters.chars() {
            match letter {
                'c' => read.insensitive = false,
                'i' => read.insensitive = true,
                'e' => read.subexpression = true,
                // Both dialects are read by the same rules.
                'p' => {}
                other => {
                    return Err(error!(
                        InvalidParameterValue,
                        "invalid regular expression parameter \"{other}\""
                    )
                    .hint("Parameters are c, i, e and p."));
                }
            }
        }
        Ok(read)
    }
}

fn compile(pattern: &str, parameters: Parameters) -> Result<Regex> {
    let built = RegexBuilder::new(&translated(pattern))
        .case_insensitive(parameters.insensitive)
        .dot_matches_new_line(true)
        .build();
    built.map_err(|e| refused(pattern, &e.to_string()))
}

fn refused(pattern: &str, why: &str) -> Error {
    let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let error = error!(InvalidRegularExpression, "invalid regular expression \"{pattern}\"")
        .detail(format!("{why}."));
    if why.contains("look-around") || why.contains("backreferences") {
        return error.hint("Look-around and back-references are not supported.");
    }
    error
}

/// A POSIX pattern for the engine: within brackets it takes `[`, `&`, `~` and a leading `]` for
/// more than themselves.
fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut letters = pattern.char_indices().peekable();
    // The start of the bracket expression that is open: after `[` or `[^`.
    let mut open: Option<usize> = None;
    while let Some((at, letter)) = letters.next() {
        let rest = &pattern[at + letter.len_utf8()..];
        match (letter, open) {
            ('\\', _) => {
                out.push('\\');
                if let Some((_, next)) = letters.next() {
                    out.push(next);
                }
            }
            ('[', None) => {
                out.push('[');
                if rest.starts_with('^') {
                    letters.next();
                    out.push('^');
                }
                open = Some(letters.peek().map_or(pattern.len(), |(at, _)| *at));
            }
            ('[', Some(_)) if rest.starts_with(':') && rest.contains(":]") => {
                let end = rest.find(":]").map_or(rest.len(), |end| end + 2);
                out.push('[');
                out.push_str(&rest[..end]);
                let next = at + 1 + end;
                while letters.next_if(|(at, _)| *at < next).is_some() {}
            }
            (']', Some(start)) if at == start => out.push_str("\\]"),
            (']', Some(_)) => {
                out.push(']');
                open = None;
            }
            ('[' | '&' | '~', Some(_)) => {
                out.push('\\');
                out.push(letter);
            }
            _ => out.push(letter),
        }
    }
    out
}

/// One row of a call: where to search, and by what.
struct Search<'a> {
    text: &'a str,
    regex: &'a Regex,
    /// The byte where the search begins; `None` beyond the end of the text.
    from: Option<usize>,
    parameters: Parameters,
    row: usize,
}

impl Search<'_> {
    /// The bytes of a match, the first being 1: of all of it, or of its first subexpression.
    fn occurrence(&self, number: i64) -> Option<(usize, usize)> {
        let mut from = self.from?;
        let mut left = number;
        loop {
            let captures = self.regex.captures_at(self.text, from)?;
            let whole = captures.get(0)?;
            left -= 1;
            if left == 0 {
                let part = match self.parameters.subexpression && captures.len() > 1 {
                    true => captures.get(1)?,
                    false => whole,
                };
                return Some((part.start(), part.end()));
            }
            from = self.after(whole.start(), whole.end())?;
        }
    }

    /// Where the search goes on after a match, which may be empty.
    fn after(&self, start: usize, end: usize) -> Option<usize> {
        if end > start {
            return Some(end);
        }
        self.text[end..].chars().next().map(|letter| end + letter.len_utf8())
    }
}

/// Runs a search in each row; a row with a NULL gives NULL.
fn rows<T>(
    args: &[ArrayRef],
    position: usize,
    parameters: usize,
    mut body: impl FnMut(&Search<'_>) -> Result<Option<T>>,
) -> Result<Vec<Option<T>>> {
    let (texts, patterns) = (text(args, 0)?, text(args, 1)?);
    let positions = whole_or(args, position, 1)?;
    let letters = if args.len() > parameters { Some(text(args, parameters)?) } else { None };
    let nulls = nulls(args);
    let mut known: Option<(&str, &str, Parameters, Regex)> = None;
    let mut found = Vec::with_capacity(texts.len());
    for row in 0..texts.len() {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            found.push(None);
            continue;
        }
        let pattern = patterns.value(row);
        let letter = letters.as_ref().map_or("", |letters| letters.value(row));
        let (parameters, regex) = match known.take() {
            Some((p, l, parameters, regex)) if p == pattern && l == letter => (parameters, regex),
            _ => {
                let parameters = Parameters::read(letter)?;
                (parameters, compile(pattern, parameters)?)
            }
        };
        let text = texts.value(row);
        let from = byte_of(text, positions.value(row));
        found.push(body(&Search { text, regex: &regex, from, parameters, row })?);
        known = Some((pattern, letter, parameters, regex));
    }
    Ok(found)
}

/// The byte of a character by its position from 1; one below 1 is the first.
fn byte_of(text: &str, position: i64) -> Option<usize> {
    let before = usize::try_from(position - 1).unwrap_or(0);
    if before == 0 {
        return Some(0);
    }
    text.char_indices().nth(before).map(|(at, _)| at)
}

fn characters(text: &str) -> i32 {
    i32::try_from(text.chars().count()).unwrap_or(i32::MAX)
}

/// `regexp_count(text, pattern [, position [, parameters]])`.
fn count(args: &[ArrayRef]) -> Result<ArrayRef> {
    let counted = rows(args, 2, 3, |search| {
        let mut from = search.from;
        let mut count = 0;
        while let Some(found) = from.and_then(|from| search.regex.find_at(search.text, from)) {
            count += 1;
            from = search.after(found.start(), found.end());
        }
        Ok(Some(count))
    })?;
    Ok(Arc::new(Int32Array::from(counted)))
}

/// `regexp_instr(text, pattern [, position [, occurrence [, option [, parameters]]]])`.
fn instr(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (occurrences, options) = (whole_or(args, 3, 1)?, whole_or(args, 4, 0)?);
    let places = rows(args, 2, 5, |search| {
        let option = options.value(search.row);
        if !(0..=1).contains(&option) {
            return Err(error!(InvalidParameterValue, "the option of regexp_instr() is 0 or 1"));
        }
        let occurrence = occurrences.value(search.row);
        let found = if occurrence < 1 { None } else { search.occurrence(occurrence) };
        Ok(Some(found.map_or(0, |(start, end)| {
            let at = if option == 0 { start } else { end };
            characters(&search.text[..at]).saturating_add(1)
        })))
    })?;
    Ok(Arc::new(Int32Array::from(places)))
}

/// `regexp_substr(text, pattern [, position [, occurrence [, parameters]]])`.
fn substr(args: &[ArrayRef]) -> Result<ArrayRef> {
    let occurrences: Int64Array = whole_or(args, 3, 1)?;
    let found = rows(args, 2, 4, |search| {
        let occurrence = occurrences.value(search.row);
        if occurrence < 1 {
            return Ok(None);
        }
        let found = search.occurrence(occurrence);
        Ok(Some(found.map_or_else(String::new, |(start, end)| search.text[start..end].to_owned())))
    })?;
    Ok(Arc::new(StringViewArray::from_iter(found)))
}

/// A piece of a replacement: itself, or what a subexpression matched.
enum Piece<'r> {
    Text(&'r str),
    Group(usize),
}

/// The pieces of a replacement, in which `$1` and `\1` stand for the first subexpression.
fn pieces(replacement: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = replacement;
    while let Some(at) = rest.find(['$', '\\']) {
        let mut next = rest[at + 1..].chars();
        let group = next.next().and_then(|letter| letter.to_digit(10));
        let escaped = rest[at..].starts_with("\\\\");
        pieces.push(Piece::Text(&rest[..at]));
        match group {
            Some(group) => {
                pieces.push(Piece::Group(group as usize));
                rest = &rest[at + 2..];
            }
            None => {
                pieces.push(Piece::Text(&rest[at..=at]));
                rest = &rest[at + if escaped { 2 } else { 1 }..];
            }
        }
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// `regexp_replace(text, pattern [, replacement [, position [, parameters]]])`: every match.
fn replace(args: &[ArrayRef]) -> Result<ArrayRef> {
    let replacements = if args.len() > 2 { Some(text(args, 2)?) } else { None };
    let replaced = rows(args, 3, 4, |search| {
        let replacement = replacements.as_ref().map_or("", |r| r.value(search.row));
        let pieces = pieces(replacement);
        let mut out = String::with_capacity(search.text.len());
        let (mut copied, mut from) = (0, search.from);
        while let Some(captures) = from.and_then(|from| search.regex.captures_at(search.text, from))
        {
            let Some(whole) = captures.get(0) else { break };
            out.push_str(&search.text[copied..whole.start()]);
            for piece in &pieces {
                out.push_str(match piece {
                    Piece::Text(text) => text,
                    Piece::Group(n) => captures.get(*n).map_or("", |group| group.as_str()),
                });
            }
            copied = whole.end();
            from = search.after(whole.start(), whole.end());
        }
        out.push_str(&search.text[copied..]);
        Ok(Some(out))
    })?;
    Ok(Arc::new(StringViewArray::from_iter(replaced)))
}

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let number = |_: &[DataType]| Ok(DataType::Int32);
    let text = |_: &[DataType]| Ok(DataType::Utf8View);
    vec![
        Kernel::udf("regexp_count", any(2..=4), number, count),
        Kernel::udf("regexp_instr", any(2..=6), number, instr),
        Kernel::udf("regexp_replace", any(2..=5), text, replace),
        Kernel::udf("regexp_substr", any(2..=5), text, substr),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_read_as_posix_has_them() {
        for (pattern, text, found) in [
            ("[[:alpha:]]+", "12ab", "ab"),
            ("[[:digit:][:upper:]]+", "xA1y", "A1"),
            ("[]a]+", "x]a", "]a"),
            ("[^]a]+", "]x", "x"),
            ("[a[]+", "x[a", "[a"),
            ("[&&~]+", "a&~", "&~"),
            ("\\[x\\]", "a[x]", "[x]"),
        ] {
            let regex = compile(pattern, Parameters::default()).unwrap();
            assert_eq!(regex.find(text).unwrap().as_str(), found, "{pattern}");
        }
        let refused = compile("(?=a)", Parameters::default()).unwrap_err();
        assert_eq!(refused.sqlstate().code(), "2201B");
        assert!(refused.get_hint().is_some());
    }
}
