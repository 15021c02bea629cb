//! Strings and quoted identifiers, in all the ways that Postgres has to write them.

use super::{DIGIT, IDENTIFIER, IDENTIFIER_START, Lexer, SPACE, Token, TokenKind, is};

impl Lexer<'_> {
    /// A quoted identifier whose opening quote is at `open`; an empty one is refused by Postgres.
    pub(super) fn quoted(&mut self, start: usize, open: usize, kind: TokenKind) -> Token {
        self.at = open + 1;
        loop {
            let Some(found) = memchr::memchr(b'"', &self.text[self.at..]) else {
                return self.invalid(start);
            };
            self.at += found + 1;
            if self.peek(0) != b'"' {
                break;
            }
            self.at += 1;
        }
        if self.at == open + 2 { self.invalid(start) } else { self.token(kind, start) }
    }

    /// A string whose opening quote is at `open`, and the strings that continue it after a line end.
    pub(super) fn string(&mut self, start: usize, open: usize, escapes: bool, kind: TokenKind) -> Token {
        self.at = open;
        loop {
            self.at += 1;
            if !self.skip_to_closing_quote(escapes) {
                return self.invalid(start);
            }
            let end = self.at;
            if !self.skip_to_continuation() {
                self.at = end;
                return self.token(kind, start);
            }
        }
    }

    /// Past the quote that closes a string; false if there is none.
    fn skip_to_closing_quote(&mut self, escapes: bool) -> bool {
        loop {
            let rest = &self.text[self.at..];
            let found =
                if escapes { memchr::memchr2(b'\'', b'\\', rest) } else { memchr::memchr(b'\'', rest) };
            let Some(found) = found else { return false };
            self.at += found;
            if self.peek(0) == b'\\' {
                if self.at + 1 >= self.text.len() {
                    return false;
                }
                self.at += 2;
            } else if self.peek(1) == b'\'' {
                self.at += 2;
            } else {
                self.at += 1;
                return true;
            }
        }
    }

    /// Whether white space with a line end, and comments of the `--` kind, lead to another quote; then at it.
    fn skip_to_continuation(&mut self) -> bool {
        if self.at >= self.text.len() {
            return false;
        }
        let mut line_ended = false;
        loop {
            match self.peek(0) {
                b'\n' | b'\r' => {
                    line_ended = true;
                    self.at += 1;
                }
                byte if is(byte, SPACE) => self.at += 1,
                b'-' if self.peek(1) == b'-' => self.skip_line(),
                byte => return line_ended && byte == b'\'',
            }
        }
    }

    pub(super) fn unicode_string(&mut self, start: usize) -> Token {
        if !self.conforming {
            return self.invalid(start);
        }
        let token = self.string(start, start + 2, false, TokenKind::String);
        self.with_uescape(token)
    }

    /// Takes `UESCAPE '!'` into the token, if it follows.
    pub(super) fn with_uescape(&mut self, token: Token) -> Token {
        if token.kind == TokenKind::Invalid {
            return token;
        }
        let back = self.at;
        if self.skip_blanks() == Ok(true) {
            let at = self.at;
            let word = self.text.get(at..at + 7).unwrap_or_default();
            if word.eq_ignore_ascii_case(b"uescape") && !is(self.peek(7), IDENTIFIER) {
                self.at += 7;
                if self.skip_blanks() == Ok(true) && self.peek(0) == b'\'' {
                    let open = self.at;
                    let escape = self.string(open, open, false, TokenKind::String);
                    return Token { kind: token.kind, start: token.start, end: escape.end };
                }
                return self.invalid(token.start);
            }
        }
        self.at = back;
        token
    }

    pub(super) fn dollar(&mut self, start: usize) -> Token {
        if is(self.peek(1), DIGIT) {
            self.at += 1;
            while is(self.peek(0), DIGIT) {
                self.at += 1;
            }
            // `$1abc` is refused by newer servers and two tokens for older ones.
            let junk = is(self.peek(0), IDENTIFIER_START);
            return if junk { self.invalid(start) } else { self.token(TokenKind::Param, start) };
        }
        let mut length = 1;
        if is(self.peek(1), IDENTIFIER_START) {
            while self.peek(length) != b'$' && is(self.peek(length), IDENTIFIER) {
                length += 1;
            }
        }
        if self.peek(length) != b'$' {
            return self.invalid(start);
        }
        let tag = &self.text[start..=start + length];
        let body = start + tag.len();
        match memchr::memmem::find(&self.text[body..], tag) {
            Some(found) => {
                self.at = body + found + tag.len();
                self.token(TokenKind::String, start)
            }
            None => self.invalid(start),
        }
    }
}
