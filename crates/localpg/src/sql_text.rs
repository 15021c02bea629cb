//! Quoting for the few texts that are put together here: SQL, postgresql.conf, connection strings, URLs.

use std::fmt::Write as _;

/// A quoted SQL identifier.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A quoted SQL literal, also right with backslashes (`standard_conforming_strings` is on).
pub(crate) fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// A quoted value in postgresql.conf, where a backslash escapes.
pub(crate) fn setting(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// A quoted value in a libpq connection string, where a backslash escapes.
pub(crate) fn conninfo(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A part of a URL, percent-encoded but for RFC 3986's unreserved characters.
pub fn url_part(value: &str) -> String {
    value.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte))
            }
            _ => {
                // Writing to a String doesn't fail.
                let _ = write!(text, "%{byte:02X}");
            }
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_its_own_quoting() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's \\"), "'it''s \\'");
        assert_eq!(setting("it's \\"), "'it''s \\\\'");
        assert_eq!(conninfo("it's \\"), "'it\\'s \\\\'");
        assert_eq!(url_part("a:b@ü/~"), "a%3Ab%40%C3%BC%2F~");
    }
}
