//! PgBouncer's users file: `"name" "password or secret"` on each line, `""` for a quote, `;` for a comment.

use std::path::Path;

use crate::check::Context;
use crate::error::Place;
use crate::model::{Secret, StoredPassword};
use crate::users::classify;

/// Users and their secrets, if they have one. Errors are noted at the file's own lines.
pub(crate) fn read(
    path: &Path,
    named_at: Place,
    context: &Context<'_>,
) -> Vec<(String, Option<StoredPassword>)> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("{} cannot be read: {error}; expected a users file", path.display());
            context.sink.error(named_at, message);
            return Vec::new();
        }
    };
    let source = path.display().to_string();
    let mut users: Vec<(String, Option<StoredPassword>)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let refuse = |column: usize, message: &str| {
            context.sink.foreign_error(&source, index + 1, column, "", message);
        };
        match parse_line(line) {
            Ok(None) => {}
            Ok(Some((name, _))) if users.iter().any(|(known, _)| *known == name) => {
                refuse(1, &format!("the user `{name}` is here twice"));
            }
            Ok(Some((name, secret))) if secret.is_empty() => users.push((name, None)),
            Ok(Some((name, secret))) => match classify(Secret(secret)) {
                Ok(stored) => users.push((name, Some(stored))),
                Err(message) => refuse(1, message),
            },
            Err(column) => refuse(column, "expected \"name\" \"password\", with \"\" for a quote within"),
        }
    }
    users
}

/// Names alone, of what can be read.
pub(crate) fn names(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| parse_line(line).ok().flatten()).map(|(name, _)| name).collect()
}

/// `None` for an empty line or a comment; an error is the column where it went wrong.
fn parse_line(line: &str) -> Result<Option<(String, String)>, usize> {
    let trimmed = line.trim_start();
    if trimmed.is_empty() || trimmed.starts_with([';', '#']) {
        return Ok(None);
    }
    let column = |rest: &str| line[..line.len() - rest.len()].chars().count() + 1;
    let (name, rest) = quoted(trimmed).ok_or_else(|| column(trimmed))?;
    let rest = rest.trim_start();
    let (secret, _ignored) = quoted(rest).ok_or_else(|| column(rest))?;
    if name.is_empty() { Err(column(trimmed)) } else { Ok(Some((name, secret))) }
}

/// A quoted text and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut rest = text.strip_prefix('"')?;
    loop {
        let end = rest.find('"')?;
        out.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                out.push('"');
                rest = after;
            }
            None => return Some((out, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(parse_line(r#""a""b" "p w" ignored"#), Ok(Some(("a\"b".into(), "p w".into()))));
        assert_eq!(parse_line("; comment"), Ok(None));
        assert_eq!(parse_line("   "), Ok(None));
        assert_eq!(parse_line(r#"a "b""#), Err(1));
        assert_eq!(parse_line(r#""a" b"#), Err(5));
        assert_eq!(parse_line(r#""a" "b"#), Err(5));
        assert_eq!(parse_line(r#""" "b""#), Err(1));
    }
}
