//! The lexer: Postgres' own token rules (`scan.l`), over bytes, without allocation.
//!
//! Bytes of 0x80 and above are identifier characters, as they are there, so no encoding has to be known. What
//! Postgres would refuse is `Invalid`; the text as a whole is then not understood.

mod strings;

#[cfg(test)]
mod tests;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// An identifier or keyword without quotes.
    Word,
    /// `"identifier"`.
    Quoted,
    /// `U&"identifier"`, with its UESCAPE clause.
    UnicodeQuoted,
    /// `'…'`, `E'…'`, `U&'…'`, `$$…$$`: a string, with what continues it on later lines.
    String,
    /// `N'…'`: a bpchar, and so not quite a string.
    National,
    /// `B'…'` or `X'…'`.
    Bits,
    /// A number, decimal or not.
    Number,
    /// `$1`.
    Param,
    /// An operator of one character or more.
    Operator,
    /// `::`.
    Cast,
    /// `:=` or `..`, which belong to PL/pgSQL.
    Foreign,
    /// One of `( ) [ ] , ; : .`: the character itself.
    Punctuation(u8),
    /// What no token begins with, or a token that never ends.
    Invalid,
}

/// A token and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Walks a text token by token.
#[derive(Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    conforming: bool,
}

const IDENTIFIER_START: u8 = 1;
const IDENTIFIER: u8 = 2;
const SPACE: u8 = 4;
const OPERATOR: u8 = 8;
const DIGIT: u8 = 16;
const PUNCTUATION: u8 = 32;

/// The classes of each byte.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0_u8; 256];
    let mut byte = 0_usize;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let b = byte as u8;
        table[byte] = match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => IDENTIFIER_START | IDENTIFIER,
            b'0'..=b'9' => IDENTIFIER | DIGIT,
            b'$' => IDENTIFIER,
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => SPACE,
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'+' | b'-' | b'*' | b'/'
            | b'%' | b'<' | b'>' | b'=' => OPERATOR,
            b'(' | b')' | b'[' | b']' | b',' | b';' => PUNCTUATION,
            _ => 0,
        };
        byte += 1;
    }
    table
}

fn is(byte: u8, class: u8) -> bool {
    CLASS[usize::from(byte)] & class != 0
}

impl<'a> Lexer<'a> {
    /// A lexer at the start of this text; `conforming` is the setting `standard_conforming_strings`.
    pub(crate) fn new(text: &'a [u8], conforming: bool) -> Self {
        Self { text, at: 0, conforming }
    }

    /// The byte so far from here, or NUL past the end (which is no token's byte).
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn token(&self, kind: TokenKind, start: usize) -> Token {
        Token { kind, start, end: self.at }
    }

    /// The next token, or `None` at the end of the text. After `Invalid` the rest of the text is skipped.
    #[inline]
    pub(crate) fn next_token(&mut self) -> Option<Token> {
        let start = match self.skip_blanks() {
            Ok(true) => self.at,
            Ok(false) => return None,
            Err(start) => return Some(self.invalid(start)),
        };
        let first = self.text[start];
        let class = CLASS[usize::from(first)];
        if class & IDENTIFIER_START != 0 {
            return Some(self.word_or_prefixed(start, first));
        }
        if class & PUNCTUATION != 0 {
            self.at += 1;
            return Some(self.token(TokenKind::Punctuation(first), start));
        }
        if class & DIGIT != 0 {
            return Some(self.number(start));
        }
        if class & OPERATOR != 0 {
            return Some(self.operator(start));
        }
        Some(match first {
            b'\'' => self.string(start, start, !self.conforming, TokenKind::String),
            b'"' => self.quoted(start, start, TokenKind::Quoted),
            b'$' => self.dollar(start),
            b':' => self.colon(start),
            b'.' => self.dot(start),
            _ => self.invalid(start),
        })
    }

    fn invalid(&mut self, start: usize) -> Token {
        self.at = self.text.len();
        self.token(TokenKind::Invalid, start)
    }

    /// Skips white space and comments; whether something follows, or where a comment that never ends began.
    #[inline]
    fn skip_blanks(&mut self) -> Result<bool, usize> {
        loop {
            let Some(&byte) = self.text.get(self.at) else { return Ok(false) };
            if is(byte, IDENTIFIER) {
                return Ok(true);
            } else if is(byte, SPACE) {
                self.at += 1;
            } else if byte == b'-' && self.peek(1) == b'-' {
                self.skip_line();
            } else if byte == b'/' && self.peek(1) == b'*' {
                let start = self.at;
                if !self.skip_block_comment() {
                    return Err(start);
                }
            } else {
                return Ok(true);
            }
        }
    }

    fn skip_line(&mut self) {
        let rest = &self.text[self.at..];
        self.at += memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
    }

    fn skip_block_comment(&mut self) -> bool {
        let mut depth = 1_usize;
        self.at += 2;
        while depth > 0 {
            let Some(found) = memchr::memchr2(b'*', b'/', &self.text[self.at..]) else { return false };
            self.at += found;
            match (self.peek(0), self.peek(1)) {
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                }
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        true
    }

    #[inline]
    fn word_or_prefixed(&mut self, start: usize, first: u8) -> Token {
        // A letter followed at once by a quote makes another kind of string of it.
        let second = self.peek(1);
        if matches!(second, b'\'' | b'&')
            && let Some(token) = self.prefixed(start, first, second)
        {
            return token;
        }
        let rest = &self.text[start..];
        let length = rest.iter().position(|&byte| !is(byte, IDENTIFIER)).unwrap_or(rest.len());
        self.at = start + length;
        self.token(TokenKind::Word, start)
    }

    /// The string or identifier that begins with this prefix, if it is one.
    fn prefixed(&mut self, start: usize, first: u8, second: u8) -> Option<Token> {
        Some(match (first, second) {
            (b'e' | b'E', b'\'') => self.string(start, start + 1, true, TokenKind::String),
            (b'b' | b'B' | b'x' | b'X', b'\'') => self.string(start, start + 1, false, TokenKind::Bits),
            (b'n' | b'N', b'\'') => self.string(start, start + 1, !self.conforming, TokenKind::National),
            (b'u' | b'U', b'&') => match self.peek(2) {
                b'\'' => self.unicode_string(start),
                b'"' => {
                    let token = self.quoted(start, start + 2, TokenKind::UnicodeQuoted);
                    self.with_uescape(token)
                }
                _ => return None,
            },
            _ => return None,
        })
    }

    fn colon(&mut self, start: usize) -> Token {
        let kind = match self.peek(1) {
            b':' => TokenKind::Cast,
            b'=' => TokenKind::Foreign,
            _ => TokenKind::Punctuation(b':'),
        };
        self.at += if kind == TokenKind::Punctuation(b':') { 1 } else { 2 };
        self.token(kind, start)
    }

    fn dot(&mut self, start: usize) -> Token {
        match self.peek(1) {
            b'0'..=b'9' => self.number(start),
            b'.' => {
                self.at += 2;
                self.token(TokenKind::Foreign, start)
            }
            _ => {
                self.at += 1;
                self.token(TokenKind::Punctuation(b'.'), start)
            }
        }
    }

    /// A number at `start`, by the rules of Postgres 16 (which reads all that older ones do).
    fn number(&mut self, start: usize) -> Token {
        let radix_digits: Option<fn(&u8) -> bool> = match (self.peek(0), self.peek(1)) {
            (b'0', b'x' | b'X') => Some(u8::is_ascii_hexdigit),
            (b'0', b'o' | b'O') => Some(|byte| matches!(byte, b'0'..=b'7')),
            (b'0', b'b' | b'B') => Some(|byte| matches!(byte, b'0' | b'1')),
            _ => None,
        };
        if let Some(digit) = radix_digits {
            self.at += 2;
            self.digits(digit);
        } else {
            self.digits(u8::is_ascii_digit);
            // `1..2` is 1 and `..`.
            if self.peek(0) == b'.' && self.peek(1) != b'.' {
                self.at += 1;
                self.digits(u8::is_ascii_digit);
            }
            self.exponent();
        }
        let bare_prefix = radix_digits.is_some() && self.at == start + 2;
        if bare_prefix || is(self.peek(0), IDENTIFIER_START) {
            return self.invalid(start);
        }
        self.token(TokenKind::Number, start)
    }

    fn exponent(&mut self) {
        if !matches!(self.peek(0), b'e' | b'E') {
            return;
        }
        let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
        if is(self.peek(1 + sign), DIGIT) {
            self.at += 1 + sign;
            self.digits(u8::is_ascii_digit);
        }
    }

    /// Digits, with single underscores between them (and, after a radix prefix, before them).
    fn digits(&mut self, digit: fn(&u8) -> bool) {
        loop {
            if digit(&self.peek(0)) {
                self.at += 1;
            } else if self.peek(0) == b'_' && digit(&self.peek(1)) {
                self.at += 2;
            } else {
                return;
            }
        }
    }

    /// The longest operator, cut before a comment, without a trailing sign that is not its own.
    fn operator(&mut self, start: usize) -> Token {
        let rest = &self.text[start..];
        let mut length = rest.iter().position(|&byte| !is(byte, OPERATOR)).unwrap_or(rest.len());
        if length > 1 {
            let run = &rest[..length];
            if let Some(cut) = run.windows(2).position(|pair| pair == b"--" || pair == b"/*") {
                length = cut.max(1);
            }
            let may_end_in_sign = rest[..length].iter().any(|byte| b"~!@#^&|`?%".contains(byte));
            while !may_end_in_sign && length > 1 && matches!(rest[length - 1], b'+' | b'-') {
                length -= 1;
            }
        }
        self.at = start + length;
        self.token(TokenKind::Operator, start)
    }
}
