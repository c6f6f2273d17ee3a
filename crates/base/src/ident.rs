//! SQL identifiers: folding and quoting.

/// Folds an unquoted identifier as Redshift does: ASCII letters to lower case.
pub fn fold(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// Writes a name as SQL, quoted only where it has to be.
pub fn quote(name: &str) -> String {
    let plain = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'$')
        && !name.as_bytes()[0].is_ascii_digit()
        && name.as_bytes()[0] != b'$';
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Writes a string as an SQL literal, with Redshift's backslash rule.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_only_what_needs_it() {
        assert_eq!(quote("plain_1"), "plain_1");
        assert_eq!(quote("Upper"), "\"Upper\"");
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote("1a"), "\"1a\"");
        assert_eq!(literal("it's \\"), "'it''s \\\\'");
    }
}
