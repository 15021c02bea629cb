//! A script to its statements, as psql cuts it: at semicolons that stand outside of quotes, comments and brackets.

use memchr::memchr;

/// A statement of a script.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement<'a> {
    /// Its text, without the semicolon and what surrounds it.
    pub(super) text: &'a [u8],
    /// The line on which it begins, from 1.
    pub(super) line: usize,
}

/// Reads a script statement by statement.
#[derive(Debug)]
pub(super) struct Script<'a> {
    rest: &'a [u8],
    line: usize,
    commands: usize,
}

impl<'a> Script<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Script { rest: text, line: 1, commands: 0 }
    }

    /// The next statement, if there is one.
    pub(super) fn next(&mut self) -> Option<Statement<'a>> {
        loop {
            let blank = self.rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.pass(blank);
            match self.rest.first()? {
                b';' => self.pass(1),
                b'\\' => {
                    self.commands += 1;
                    self.pass(line_length(self.rest));
                }
                _ => {
                    let line = self.line;
                    let (end, empty) = statement_end(self.rest);
                    let text = self.rest.get(..end)?.trim_ascii();
                    self.pass(end);
                    if !empty {
                        return Some(Statement { text, line });
                    }
                }
            }
        }
    }

    /// Passes over the lines that follow `COPY … FROM STDIN;`, as in a dump, with the `\.` that ends them.
    pub(super) fn skip_copy_data(&mut self) {
        self.pass(line_length(self.rest));
        while !self.rest.is_empty() {
            let length = line_length(self.rest);
            let last = self.rest.get(..length).is_some_and(|line| line.trim_ascii() == b"\\.");
            self.pass(length);
            if last {
                return;
            }
        }
    }

    /// How many lines were psql's own commands (`\connect` and the like), which are passed over.
    pub(super) fn commands_of_psql(&self) -> usize {
        self.commands
    }

    fn pass(&mut self, length: usize) {
        let (passed, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.line += memchr::memchr_iter(b'\n', passed).count();
        self.rest = rest;
    }
}

/// Length of the first line with its line feed.
fn line_length(text: &[u8]) -> usize {
    memchr(b'\n', text).map_or(text.len(), |at| at + 1)
}

/// Where the first statement ends, and whether it holds nothing but comments.
fn statement_end(text: &[u8]) -> (usize, bool) {
    let (mut at, mut empty, mut depth) = (0, true, 0usize);
    while let Some(&byte) = text.get(at) {
        let rest = text.get(at..).unwrap_or_default();
        let length = if rest.starts_with(b"--") {
            line_length(rest)
        } else if rest.starts_with(b"/*") {
            comment_length(rest)
        } else {
            match byte {
                b';' if depth == 0 => return (at, empty),
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            empty &= byte.is_ascii_whitespace();
            token_length(rest)
        };
        at += length;
    }
    (text.len(), empty)
}

/// Length of what begins here, so far as a semicolon in it would not end the statement; at least 1.
fn token_length(rest: &[u8]) -> usize {
    match rest {
        [b'\'' | b'"', ..] => quoted_length(rest, false),
        [b'E' | b'e', b'\'', tail @ ..] => 1 + quoted_length(&rest[rest.len() - tail.len() - 1..], true),
        [b'$', ..] => dollar_length(rest),
        // A word is taken whole: its `$` begins no quote, its `e` no escape string.
        [b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.., ..] => rest.iter().take_while(|b| is_word(**b)).count(),
        _ => 1,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// A string or quoted identifier; a doubled quote in it is two quoted texts side by side, which is as good.
fn quoted_length(rest: &[u8], escapes: bool) -> usize {
    let Some((quote, body)) = rest.split_first() else { return 0 };
    let mut at = 0;
    while let Some(byte) = body.get(at) {
        if byte == quote {
            return at + 2;
        }
        at += if escapes && *byte == b'\\' { 2 } else { 1 };
    }
    rest.len()
}

/// `$tag$ … $tag$`, or the dollar alone.
fn dollar_length(rest: &[u8]) -> usize {
    let tag = rest.iter().skip(1).take_while(|&&byte| is_word(byte) && byte != b'$').count();
    let delimiter = match (rest.get(..tag + 2), rest.get(1)) {
        (Some(delimiter), Some(first)) if delimiter.ends_with(b"$") && !first.is_ascii_digit() => delimiter,
        _ => return 1,
    };
    let body = rest.get(delimiter.len()..).unwrap_or_default();
    match memchr::memmem::find(body, delimiter) {
        Some(end) => end + 2 * delimiter.len(),
        None => rest.len(),
    }
}

/// A comment with those inside of it.
fn comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(two) = rest.get(at..at + 2) {
        at += match two {
            b"/*" => {
                depth += 1;
                2
            }
            b"*/" => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(text: &str) -> Vec<(usize, String)> {
        let mut script = Script::new(text.as_bytes());
        std::iter::from_fn(|| script.next())
            .map(|found| (found.line, String::from_utf8(found.text.to_vec()).unwrap()))
            .collect()
    }

    fn texts(text: &str) -> Vec<String> {
        statements(text).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn statements_have_the_line_they_begin_on() {
        let found = statements("SELECT 1;\n\nSELECT\n2 ;SELECT 3");
        assert_eq!(found, [(1, "SELECT 1".into()), (3, "SELECT\n2".into()), (4, "SELECT 3".into())]);
    }

    #[test]
    fn a_semicolon_in_quotes_ends_nothing() {
        for quoted in ["';'", "'it''s;'", r"E'\';'", "\";\"", "$$;$$", "$a$;$b$;$a$", "r$x$y", "(a; b)"] {
            let text = format!("SELECT {quoted}; SELECT 2");
            assert_eq!(texts(&text), [format!("SELECT {quoted}"), "SELECT 2".into()], "{quoted}");
        }
    }

    #[test]
    fn a_backslash_in_a_plain_string_is_only_a_backslash() {
        assert_eq!(texts(r"SELECT '\'; SELECT 2"), [r"SELECT '\'", "SELECT 2"]);
    }

    #[test]
    fn comments_belong_to_the_statement_and_make_none() {
        assert_eq!(texts("-- a;b\nSELECT 1; /* x; /* y; */ z; */ ; -- end"), ["-- a;b\nSELECT 1"]);
    }

    #[test]
    fn parameters_are_no_dollar_quotes() {
        assert_eq!(texts("SELECT $1; SELECT $1"), ["SELECT $1", "SELECT $1"]);
    }

    #[test]
    fn what_never_ends_is_the_last_statement() {
        for text in ["SELECT ';", "SELECT $$;", "SELECT 1 /* ;", "SELECT E'\\", "SELECT (;"] {
            assert_eq!(texts(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn data_of_copy_and_commands_of_psql_are_passed_over() {
        let mut script = Script::new(b"\\connect app\nCOPY t FROM stdin;\n1\t;\n2\n\\.\nSELECT 1;");
        assert_eq!(script.next().unwrap().text, b"COPY t FROM stdin");
        script.skip_copy_data();
        assert_eq!(script.next().unwrap(), Statement { text: b"SELECT 1", line: 6 });
        assert_eq!(script.commands_of_psql(), 1);
    }
}
