//! A text's beginning without its literals, for people to know it by.

use crate::lexer::{Lexer, TokenKind};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_left_out() {
        let sql = b"select /* who */ pg_advisory_lock(42), 'it''s',  $$secret$$ from t -- end";
        assert_eq!(outline(sql, true), "select pg_advisory_lock(?), ?, ? from t");
        assert_eq!(outline(b"do $x$ begin null; end $x$", true), "do ?");
        assert!(outline(&b"select a, ".repeat(100), true).len() < 200);
    }
}
