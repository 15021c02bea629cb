//! A text's tokens in a list, for those who need to look ahead: only texts whose shape is new come here.

use std::borrow::Cow;

use crate::facts::{Literal, Name};
use crate::lexer::{Lexer, TokenKind};

/// A token, and the index of the literal that it is, if it was left out of the shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tok {
    pub(crate) kind: TokenKind,
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) literal: Option<u32>,
}

/// All tokens of a text; `None` if they are more than `limit`.
pub(crate) fn list(sql: &[u8], conforming: bool, literals: &[Literal], limit: usize) -> Option<Vec<Tok>> {
    let mut lexer = Lexer::new(sql, conforming);
    let mut tokens = Vec::new();
    let mut next = 0_usize;
    while let Some(token) = lexer.next_token() {
        if tokens.len() == limit {
            return None;
        }
        let start = u32::try_from(token.start).ok()?;
        let is_literal = literals.get(next).is_some_and(|literal| literal.start == start);
        let literal = if is_literal { u32::try_from(next).ok() } else { None };
        next += usize::from(is_literal);
        tokens.push(Tok { kind: token.kind, start, end: u32::try_from(token.end).ok()?, literal });
    }
    Some(tokens)
}

/// Some of a text's tokens, read one after the other. Cheap to copy: a copy looks ahead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    pub(crate) sql: &'a [u8],
    pub(crate) conforming: bool,
    /// What is still to be read.
    pub(crate) rest: &'a [Tok],
}

impl<'a> Cursor<'a> {
    /// The bytes of a token.
    pub(crate) fn bytes(&self, token: &Tok) -> &'a [u8] {
        bytes(self.sql, token)
    }

    /// The same text, other tokens of it.
    pub(crate) fn with(&self, rest: &'a [Tok]) -> Self {
        Self { rest, ..*self }
    }

    pub(crate) fn peek(&self) -> Option<&'a Tok> {
        self.rest.first()
    }

    pub(crate) fn next(&mut self) -> Option<&'a Tok> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Whether the next token is this keyword (given in lower case).
    pub(crate) fn is(&self, keyword: &str) -> bool {
        self.peek().is_some_and(|token| is_word(self.sql, token, keyword))
    }

    /// Takes the next token if it is this keyword.
    pub(crate) fn eat(&mut self, keyword: &str) -> bool {
        let is = self.is(keyword);
        if is {
            self.next();
        }
        is
    }

    /// Takes the next tokens if they are these keywords, all of them.
    pub(crate) fn eat_all(&mut self, keywords: &[&str]) -> bool {
        let mut ahead = *self;
        let all = keywords.iter().all(|keyword| ahead.eat(keyword));
        if all {
            *self = ahead;
        }
        all
    }

    /// Takes the next token if it is one of these keywords.
    pub(crate) fn eat_any(&mut self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.eat(keyword))
    }

    /// Takes the next token if it is this character.
    pub(crate) fn eat_char(&mut self, character: u8) -> bool {
        let is = self.peek().is_some_and(|token| token.kind == TokenKind::Punctuation(character));
        if is {
            self.next();
        }
        is
    }

    /// The next token, folded, if it is a word without quotes.
    pub(crate) fn word(&self) -> Option<Cow<'a, str>> {
        let token = self.peek().filter(|token| token.kind == TokenKind::Word)?;
        fold(self.bytes(token))
    }

    /// Takes an identifier, quoted or not.
    pub(crate) fn name(&mut self) -> Option<Name> {
        let token = self.peek()?;
        let name = identifier(self.sql, token)?;
        self.next();
        Some(name)
    }

    /// Takes `name` or `schema.name` (or more parts): all parts in order.
    pub(crate) fn dotted(&mut self) -> Option<Vec<Name>> {
        let mut parts = vec![self.name()?];
        while self.eat_char(b'.') {
            parts.push(self.name()?);
        }
        Some(parts)
    }

    /// Whether a keyword stands anywhere in what is still to be read.
    pub(crate) fn has(&self, keyword: &str) -> bool {
        self.rest.iter().any(|token| is_word(self.sql, token, keyword))
    }

    /// Takes what is between parentheses that begin here, at any depth; `None` if they don't, or never end.
    pub(crate) fn parenthesised(&mut self) -> Option<Cursor<'a>> {
        let mut ahead = *self;
        if !ahead.eat_char(b'(') {
            return None;
        }
        let inside = ahead.rest;
        let mut depth = 1_usize;
        while let Some(token) = ahead.next() {
            match token.kind {
                TokenKind::Punctuation(b'(') => depth += 1,
                TokenKind::Punctuation(b')') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let length = inside.len() - ahead.rest.len() - 1;
                *self = ahead;
                return Some(self.with(&inside[..length]));
            }
        }
        None
    }
}

/// The bytes of a token.
pub(crate) fn bytes<'a>(sql: &'a [u8], token: &Tok) -> &'a [u8] {
    let place = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
    sql.get(place(token.start)..place(token.end)).unwrap_or_default()
}

/// Whether a token is this keyword (given in lower case), without quotes.
pub(crate) fn is_word(sql: &[u8], token: &Tok, keyword: &str) -> bool {
    token.kind == TokenKind::Word && bytes(sql, token).eq_ignore_ascii_case(keyword.as_bytes())
}

/// The name that a token means, folded or unquoted; `None` if it is no identifier or can't be surely read.
pub(crate) fn identifier(sql: &[u8], token: &Tok) -> Option<Name> {
    let bytes = bytes(sql, token);
    let name = match token.kind {
        TokenKind::Word => fold(bytes)?.into_owned(),
        TokenKind::Quoted => std::str::from_utf8(bytes.get(1..bytes.len() - 1)?).ok()?.replace("\"\"", "\""),
        _ => return None,
    };
    Some(truncated(&name).into())
}

/// Postgres cuts identifiers to 63 bytes, at a character's border.
fn truncated(name: &str) -> &str {
    let mut length = name.len().min(63);
    while !name.is_char_boundary(length) {
        length -= 1;
    }
    &name[..length]
}

/// A word as Postgres folds it: ASCII letters to lower case. Others are left alone, as they are in UTF-8.
fn fold(word: &[u8]) -> Option<Cow<'_, str>> {
    let word = std::str::from_utf8(word).ok()?;
    if word.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Some(Cow::Owned(word.to_ascii_lowercase()))
    } else {
        Some(Cow::Borrowed(word))
    }
}
