//! The home of the console's language: words, names and values, split into commands at each `;`.

use thiserror::Error;

/// One command: its words. A command without any is no command.
pub(super) type Command = Vec<Token>;

/// A part of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A word in capitals, as keywords are compared.
    Word(String),
    /// A quoted name, a string or a number: never a keyword.
    Value(String),
    /// `=` or `,` or the like.
    Sign(char),
}

/// A text that can't be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum TextError {
    /// A quote without its end.
    #[error("unterminated quoted string")]
    Quote,
    /// A comment without its end.
    #[error("unterminated /* comment")]
    Comment,
}

/// Splits a text into commands; empty ones are left out.
pub(super) fn commands(text: &str) -> Result<Vec<Command>, TextError> {
    let mut commands = Vec::new();
    let mut command = Command::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            ';' => {
                commands.push(std::mem::take(&mut command));
                1
            }
            _ if first.is_whitespace() => first.len_utf8(),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest)?,
            '\'' | '"' => {
                let (value, length) = quoted(rest, first)?;
                command.push(Token::Value(value));
                length
            }
            _ if is_word(first) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let word = &rest[..length];
                let number = first.is_ascii_digit();
                let token =
                    if number { Token::Value(word.to_owned()) } else { Token::Word(word.to_uppercase()) };
                command.push(token);
                length
            }
            _ => {
                command.push(Token::Sign(first));
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    commands.push(command);
    commands.retain(|command| !command.is_empty());
    Ok(commands)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '.')
}

/// The length of the comment at the front; comments nest.
fn comment(text: &str) -> Result<usize, TextError> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return Ok(at);
            }
        } else {
            at += rest.chars().next().ok_or(TextError::Comment)?.len_utf8();
        }
    }
}

/// The quoted text at the front and its length with the quotes; a doubled quote stands for one.
fn quoted(text: &str, quote: char) -> Result<(String, usize), TextError> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c != quote {
            value.push(c);
        } else if characters.next_if(|(_, next)| *next == quote).is_some() {
            value.push(quote);
        } else {
            return Ok((value, at + 1));
        }
    }
    Err(TextError::Quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Token {
        Token::Word(text.to_owned())
    }

    #[test]
    fn commands_are_split_and_their_words_capital() {
        let text = " show  Pools;; -- a comment; with a semicolon\n/* and /* nested */ ; */ Show\tVERSION ; ";
        let expected = vec![vec![word("SHOW"), word("POOLS")], vec![word("SHOW"), word("VERSION")]];
        assert_eq!(commands(text), Ok(expected));
        assert_eq!(commands(" ; -- nothing"), Ok(Vec::new()));
        assert_eq!(commands("show stats_totals").unwrap()[0][1], word("STATS_TOTALS"));
    }

    #[test]
    fn quotes_hold_anything_and_are_no_keywords() {
        let parsed = commands("PAUSE \"a;\"\"b\" x = 'it''s; é', 5").unwrap();
        let value = |text: &str| Token::Value(text.to_owned());
        let expected = [
            word("PAUSE"),
            value("a;\"b"),
            word("X"),
            Token::Sign('='),
            value("it's; é"),
            Token::Sign(','),
            value("5"),
        ];
        assert_eq!(parsed, [expected]);
    }

    #[test]
    fn what_never_ends_is_refused() {
        for (text, error) in [
            ("'", TextError::Quote),
            ("show \"pools", TextError::Quote),
            ("'''", TextError::Quote),
            ("/* /* */", TextError::Comment),
            ("/*", TextError::Comment),
        ] {
            assert_eq!(commands(text), Err(error), "{text}");
        }
        for odd in ["\u{0}", "é🦀", "--", "-", "/", "*/", "$$", "\\", "ß;ß"] {
            assert!(commands(odd).is_ok(), "{odd}");
        }
    }
}
