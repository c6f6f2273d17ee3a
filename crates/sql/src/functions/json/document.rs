//! One pass over a JSON document (RFC 8259) that checks all of it and finds one value.

/// The deepest nesting.
const DEPTH_MAX: usize = 512;

/// What a document is not JSON for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    pub(super) what: &'static str,
    /// The byte, from 0.
    pub(super) at: usize,
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    /// A place in an array, from 0.
    Element(usize),
}

/// A value that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'d> {
    Null,
    /// What stands between the quotes.
    String(&'d str),
    Other(&'d str),
}

/// The value at a path, if there is one; of a repeated key the first.
pub(super) fn find<'d>(document: &'d str, path: &[Step]) -> Result<Option<Found<'d>>, Invalid> {
    let mut reader = Reader { text: document, at: 0, depth: 0, found: None, length: 0 };
    reader.document(path)?;
    Ok(reader.found)
}

/// The number of elements of a document that is an array.
pub(super) fn array_length(document: &str) -> Result<usize, Invalid> {
    let mut reader = Reader { text: document, at: 0, depth: 0, found: None, length: 0 };
    reader.document(&[])?;
    if !document.trim_start().starts_with('[') {
        return Err(Invalid { what: "An array is expected", at: 0 });
    }
    Ok(reader.length)
}

/// True for a valid object or array.
pub(super) fn is_container(document: &str) -> bool {
    document.trim_start().starts_with(['{', '[']) && find(document, &[]).is_ok()
}

struct Reader<'d> {
    text: &'d str,
    at: usize,
    depth: usize,
    found: Option<Found<'d>>,
    /// The elements of the array read last, which in the end is the outermost.
    length: usize,
}

type Checked = Result<(), Invalid>;

impl<'d> Reader<'d> {
    fn fault<T>(&self, what: &'static str) -> Result<T, Invalid> {
        Err(Invalid { what, at: self.at })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes a character if it is next.
    fn take(&mut self, letter: u8) -> bool {
        let there = self.peek() == Some(letter);
        self.at += usize::from(there);
        there
    }

    fn document(&mut self, path: &[Step]) -> Checked {
        self.value(Some(path))?;
        self.blanks();
        if self.at < self.text.len() { self.fault("Text after the end") } else { Ok(()) }
    }

    /// Reads a value. `path` leads from it to the one wanted; `None` when that is not in it.
    fn value(&mut self, path: Option<&[Step]>) -> Checked {
        self.blanks();
        let start = self.at;
        let wanted = path.is_some_and(<[Step]>::is_empty) && self.found.is_none();
        match self.peek() {
            Some(b'{') => self.nested(path, Self::object)?,
            Some(b'[') => self.nested(path, Self::array)?,
            Some(b'"') => {
                let inner = self.string()?;
                if wanted {
                    self.found = Some(Found::String(inner));
                }
                return Ok(());
            }
            Some(b't') => self.word("true")?,
            Some(b'f') => self.word("false")?,
            Some(b'n') => {
                self.word("null")?;
                if wanted {
                    self.found = Some(Found::Null);
                }
                return Ok(());
            }
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => return self.fault("A value is expected"),
        }
        if wanted {
            self.found = Some(Found::Other(&self.text[start..self.at]));
        }
        Ok(())
    }

    fn nested(
        &mut self,
        path: Option<&[Step]>,
        read: fn(&mut Self, Option<&[Step]>) -> Checked,
    ) -> Checked {
        if self.depth == DEPTH_MAX {
            return self.fault("Nesting too deep");
        }
        self.depth += 1;
        self.at += 1;
        self.blanks();
        read(self, path)?;
        self.depth -= 1;
        Ok(())
    }

    fn object(&mut self, path: Option<&[Step]>) -> Checked {
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return self.fault("A key is expected");
            }
            let key = self.string()?;
            let within = match path {
                Some([Step::Key(wanted), rest @ ..]) if is_key(key, wanted) => Some(rest),
                _ => None,
            };
            self.blanks();
            if !self.take(b':') {
                return self.fault("A colon is expected");
            }
            self.value(within)?;
            self.blanks();
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return self.fault("A comma or the end of the object is expected");
            }
        }
    }

    fn array(&mut self, path: Option<&[Step]>) -> Checked {
        let mut length = 0;
        if !self.take(b']') {
            loop {
                let within = match path {
                    Some([Step::Element(wanted), rest @ ..]) if *wanted == length => Some(rest),
                    _ => None,
                };
                self.value(within)?;
                length += 1;
                self.blanks();
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return self.fault("A comma or the end of the array is expected");
                }
            }
        }
        self.length = length;
        Ok(())
    }

    /// Reads a string and gives what stands between its quotes.
    fn string(&mut self) -> Result<&'d str, Invalid> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.peek() {
                None => return self.fault("A string has no end"),
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                            self.at += 1;
                        }
                        Some(b'u') => {
                            let digits = self.text.as_bytes().get(self.at + 1..self.at + 5);
                            let hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
                            if !digits.is_some_and(hex) {
                                return self.fault("A \\u needs four hexadecimal digits");
                            }
                            self.at += 5;
                        }
                        _ => return self.fault("A backslash before a wrong character"),
                    }
                }
                Some(0..=0x1f) => return self.fault("A control character in a string"),
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        Ok(&self.text[start..self.at - 1])
    }

    fn word(&mut self, word: &'static str) -> Checked {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        self.fault("A value is expected")
    }

    fn digits(&mut self) -> Checked {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { self.fault("A digit is expected") } else { Ok(()) }
    }

    fn number(&mut self) -> Checked {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(())
    }
}

/// True for a raw key that means `wanted`.
fn is_key(raw: &str, wanted: &str) -> bool {
    if raw.contains('\\') { unescaped(raw) == wanted } else { raw == wanted }
}

/// A checked string without its escapes. Half of a surrogate pair becomes U+FFFD.
pub(super) fn unescaped(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let letter = rest[at + 1..].chars().next().unwrap_or('\\');
        rest = &rest[at + 1 + letter.len_utf8()..];
        match letter {
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'u' => {
                let mut units = [unit(rest), 0];
                rest = rest.get(4..).unwrap_or_default();
                let pair = rest.strip_prefix("\\u").filter(|_| is_high(units[0]));
                let low = pair.map(unit).filter(|low| (0xdc00..0xe000).contains(low));
                let count = match (low, pair) {
                    (Some(low), Some(pair)) => {
                        units[1] = low;
                        rest = pair.get(4..).unwrap_or_default();
                        2
                    }
                    _ => 1,
                };
                out.push_str(&String::from_utf16_lossy(&units[..count]));
            }
            other => out.push(other),
        }
    }
    out.push_str(rest);
    out
}

fn unit(digits: &str) -> u16 {
    digits.get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok()).unwrap_or(0xfffd)
}

fn is_high(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str) -> Step {
        Step::Key(key.to_owned())
    }

    #[test]
    fn finds_what_a_path_leads_to() {
        let document = r#" {"f2":{"f3":1},"f4":{"f5":99,"f6":"st\u0061r","f7":[1, {"a":null}]}} "#;
        let at = |path: &[Step]| find(document, path).unwrap();
        assert_eq!(at(&[key("f4"), key("f6")]), Some(Found::String("st\\u0061r")));
        assert_eq!(at(&[key("f4"), key("f5")]), Some(Found::Other("99")));
        assert_eq!(at(&[key("f4"), key("f7")]), Some(Found::Other(r#"[1, {"a":null}]"#)));
        let null = [key("f4"), key("f7"), Step::Element(1), key("a")];
        assert_eq!(at(&null), Some(Found::Null));
        assert_eq!(at(&[key("f9")]), None);
        assert_eq!(find(r#"{"a":1,"a":2}"#, &[key("a")]).unwrap(), Some(Found::Other("1")));
        assert_eq!(array_length("[1, [2, 3], 4]").unwrap(), 3);
        assert_eq!(array_length("[]").unwrap(), 0);
    }

    #[test]
    fn refuses_what_is_no_json() {
        for document in [
            "",
            "{",
            "[1,]",
            "{\"a\":}",
            "{a:1}",
            "[1 2]",
            "01",
            "1.",
            "nul",
            "\"a",
            "\"\\x\"",
            "[1]x",
            "{\"a\" 1}",
            "\"\\u12\"",
            "-",
        ] {
            assert!(find(document, &[]).is_err(), "{document}");
        }
        assert!(find(&"[".repeat(100_000), &[]).is_err());
        assert!(!is_container("1") && is_container(" [1]") && is_container("{}"));
        assert!(array_length("{}").is_err());
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescaped(r#"a\"\n\\\/"#), "a\"\n\\/");
        assert_eq!(unescaped(r"\ud83d\ude00 \u00e4"), "😀 ä");
        assert_eq!(unescaped(r"\ud83dx"), "\u{fffd}x");
    }
}
