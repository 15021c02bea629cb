//! A text's beginning without its literals, for people to know it by.

use crate::lexer::{Lexer, TokenKind};
use crate::shape;

/// Bytes of an outline at most, about.
const LENGTH: usize = 120;

/// The beginning of a text, with a question mark for each literal, one space between tokens where there was any, and
/// no comments.
#[must_use]
pub fn outline(sql: &[u8], conforming: bool) -> String {
    let mut lexer = Lexer::new(sql, conforming);
    let mut out = String::new();
    let mut end = 0;
    while let Some(token) = lexer.next_token() {
        if out.len() > LENGTH {
            out.push('…');
            break;
        }
        if token.start > end && !out.is_empty() {
            out.push(' ');
        }
        end = token.end;
        match token.kind {
            TokenKind::String | TokenKind::Number | TokenKind::Invalid => out.push('?'),
            _ => {
                let text = String::from_utf8_lossy(&sql[token.start..token.end]);
                out.extend(text.chars().take(LENGTH));
            }
        }
    }
    out
}

/// The same of a shape, as the analyzer keeps it: its words are in lower case.
#[must_use]
pub fn outline_of_shape(shape: &[u8]) -> String {
    let [settings, text @ ..] = shape else { return String::new() };
    // Its marks stand for literals: any literal does for them.
    let text: Vec<u8> =
        text.iter().flat_map(|byte| shape::readable(std::slice::from_ref(byte))).copied().collect();
    let mut out = outline(&text, *settings == b'c');
    // Every token was followed by a space.
    for (apart, together) in [(" . ", "."), (" ,", ","), ("( ", "("), (" )", ")"), (" (", "("), (" ;", ";")] {
        out = out.replace(apart, together);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_can_be_read_again() {
        let mut analyzer = crate::Analyzer::new(10);
        for sql in [
            "SELECT v, count(*) FROM s.t WHERE id = 42 AND v = 'secret'",
            "ALTER ROLE app PASSWORD 'secret'",
            "/* a comment */ INSERT INTO t VALUES (1, $1)",
        ] {
            analyzer.analyze(sql.as_bytes(), crate::LexSettings::default());
        }
        let mut shapes: Vec<_> = analyzer.all_shapes().map(|(shape, _)| outline_of_shape(shape)).collect();
        shapes.sort();
        let expected = [
            "alter role app password ?",
            "insert into t values(?, $1)",
            "select v, count(*) from s.t where id = ? and v = ?",
        ];
        assert_eq!(shapes, expected);
    }

    #[test]
    fn literals_and_comments_are_left_out() {
        let sql = b"select /* who */ pg_advisory_lock(42), 'it''s',  $$secret$$ from t -- end";
        assert_eq!(outline(sql, true), "select pg_advisory_lock(?), ?, ? from t");
        assert_eq!(outline(b"do $x$ begin null; end $x$", true), "do ?");
        assert!(outline(&b"select a, ".repeat(100), true).len() < 200);
    }
}
