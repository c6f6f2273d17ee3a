//! PostgreSQL's spellings that Redshift's grammar does not have, made plain in the text itself:
//! `E'…'` and `OPERATOR(pg_catalog.~)`. Each is replaced by as many characters, so that positions
//! of errors stay right.

use std::borrow::Cow;

/// The text with plain spellings.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let suspect = text.contains("E'")
        || text.contains("e'")
        || text.as_bytes().windows(8).any(|w| w.eq_ignore_ascii_case(b"operator"));
    if !suspect {
        return Cow::Borrowed(text);
    }
    let mut chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        at = match chars[at] {
            '\'' => after_quoted(&chars, at, true),
            '"' => after_quoted(&chars, at, false),
            '-' if chars.get(at + 1) == Some(&'-') => after_line(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => after_comment(&chars, at),
            'e' | 'E' if chars.get(at + 1) == Some(&'\'') => {
                // Every literal takes backslashes as escapes, so that the letter says nothing.
                chars[at] = ' ';
                at + 1
            }
            c if is_word(c) => {
                let end = after_word(&chars, at);
                operator(&mut chars, at, end);
                end
            }
            _ => at + 1,
        };
    }
    Cow::Owned(chars.into_iter().collect())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

fn after_word(chars: &[char], mut at: usize) -> usize {
    while chars.get(at).is_some_and(|c| is_word(*c)) {
        at += 1;
    }
    at
}

fn after_quoted(chars: &[char], start: usize, escapes: bool) -> usize {
    let quote = chars[start];
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' if escapes => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

fn after_line(chars: &[char], start: usize) -> usize {
    let rest = chars[start..].iter().position(|c| *c == '\n');
    rest.map_or(chars.len(), |length| start + length)
}

fn after_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => {
                depth += 1;
                at += 2;
            }
            ('*', '/') => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

/// Blanks all but the operator of `OPERATOR(schema.op)`.
fn operator(chars: &mut [char], start: usize, end: usize) {
    let word: String = chars[start..end].iter().collect();
    if !word.eq_ignore_ascii_case("operator") || chars.get(end) != Some(&'(') {
        return;
    }
    let Some(length) = chars[end..].iter().take(40).position(|c| *c == ')') else { return };
    let close = end + length;
    let inside: String = chars[end + 1..close].iter().collect();
    let Some(symbol) = inside.trim().strip_prefix("pg_catalog.") else { return };
    if symbol.is_empty() || !symbol.chars().all(|c| "~!*=<>|+-/%^&#@?".contains(c)) {
        return;
    }
    let symbol: Vec<char> = symbol.chars().collect();
    chars[start..=close].fill(' ');
    chars[start..start + symbol.len()].copy_from_slice(&symbol);
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn spellings_become_plain_and_keep_their_place() {
        assert_eq!(plain("select E'a'"), "select  'a'");
        assert_eq!(plain("select nameE'"), "select nameE'");
        assert_eq!(
            plain("'E''x' \"E'\" -- E'\n/* E' */ e'y'"),
            "'E''x' \"E'\" -- E'\n/* E' */  'y'"
        );
        let blanks = " ".repeat("OPERATOR(pg_catalog.)".len());
        assert_eq!(plain("a OPERATOR(pg_catalog.!~) 'x'"), format!("a !~{blanks} 'x'"));
        assert_eq!(plain("a operator b"), "a operator b");
    }
}
