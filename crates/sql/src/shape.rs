//! The shape of a text: its tokens without the literals that cannot change its facts, and where those literals are.
//!
//! Literals are left out of SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, TABLE, WITH and EXECUTE only, and there not after
//! ORDER BY or GROUP BY (positions) nor as an argument of a function whose facts depend on it. Two texts with the same
//! shape have the same facts.

use crate::facts::Literal;
use crate::functions;
use crate::hint;
use crate::lexer::{Lexer, Token, TokenKind};

/// No more literals of one text than this are noted; the text is not understood then.
pub(crate) const MAX_LITERALS: usize = 1 << 20;

/// Each byte in lower case, if it is an ASCII letter.
static FOLDED: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let byte = at as u8;
        table[at] = byte.to_ascii_lowercase();
        at += 1;
    }
    table
};

/// What stands in a shape for a literal that was left out.
const STRING_MARK: u8 = 1;
const NUMBER_MARK: u8 = 2;
const OTHER_MARK: u8 = 3;
/// What stands before a token that is none.
const INVALID_MARK: u8 = 4;

/// A byte of a shape as it can be lexed again.
pub(crate) fn readable(byte: &[u8]) -> &[u8] {
    match byte {
        [STRING_MARK | OTHER_MARK] => b"'' ",
        [NUMBER_MARK] => b"0 ",
        [INVALID_MARK] => b"",
        byte => byte,
    }
}

/// A text's shape and literals, in buffers that are used again.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    /// The normalised text; empty if the text was too long for one.
    pub(crate) text: Vec<u8>,
    /// The literals that were left out.
    pub(crate) literals: Vec<Literal>,
}

impl Shape {
    /// Reads a text. With `keep_text` false only the literals are collected.
    pub(crate) fn read(&mut self, sql: &[u8], conforming: bool, keep_text: bool) {
        self.text.clear();
        self.literals.clear();
        if keep_text {
            // At most a separator for each byte.
            self.text.reserve(2 * sql.len() + 1);
            self.text.push(if conforming { b'c' } else { b'n' });
            if let Some(hint) = hint::comment(sql) {
                self.text.extend_from_slice(hint);
            }
        }
        let mut lexer = Lexer::new(sql, conforming);
        let mut clause = Clause::default();
        while let Some(token) = lexer.next_token() {
            let bytes = &sql[token.start..token.end];
            let mark = match token.kind {
                TokenKind::String => STRING_MARK,
                TokenKind::Number => NUMBER_MARK,
                TokenKind::National | TokenKind::Bits => OTHER_MARK,
                kind => {
                    clause.see(kind, bytes);
                    if keep_text {
                        push(&mut self.text, kind, bytes);
                    }
                    continue;
                }
            };
            clause.at_start = false;
            clause.name = None;
            if clause.leaves_out(token.kind) && self.literals.len() < MAX_LITERALS {
                self.literals.push(literal(token, mark == STRING_MARK));
                if keep_text {
                    self.text.push(mark);
                }
            } else if keep_text {
                self.text.extend_from_slice(bytes);
                self.text.push(b' ');
            }
        }
    }
}

/// Appends a token; what follows it can't be taken for its continuation.
#[inline]
fn push(text: &mut Vec<u8>, kind: TokenKind, bytes: &[u8]) {
    if let [byte] = bytes
        && kind != TokenKind::Invalid
    {
        text.extend_from_slice(&[byte.to_ascii_lowercase(), b' ']);
        return;
    }
    if kind == TokenKind::Invalid {
        // It may hold any byte: none of them is a literal's mark.
        text.push(INVALID_MARK);
    }
    if kind == TokenKind::Word {
        // Words are short: a table beats what works on many bytes at once.
        text.extend(bytes.iter().map(|&byte| FOLDED[usize::from(byte)]));
    } else {
        text.extend_from_slice(bytes);
    }
    text.push(b' ');
}

fn literal(token: Token, string: bool) -> Literal {
    // The analyzer refuses texts that don't fit before it comes here.
    let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Literal { start: place(token.start), end: place(token.end), string }
}

/// Where in a statement we are, as far as it decides whether a literal may be left out.
#[derive(Debug)]
struct Clause<'a> {
    /// At the beginning of a statement, but for opening parentheses.
    at_start: bool,
    /// In a statement of which literals may be left out.
    leaves: bool,
    /// In a statement that may hold other statements: nothing is left out any more.
    sticky: bool,
    /// After EXPLAIN: the statement that is explained begins behind its options.
    explains: bool,
    depth: u32,
    /// The depth at which an ORDER BY or GROUP BY was seen.
    by: Option<u32>,
    /// The depth outside a call whose arguments decide.
    deciding: Option<u32>,
    /// The token before, if it was a name, which `(` would make a function call.
    name: Option<&'a [u8]>,
}

impl Default for Clause<'_> {
    fn default() -> Self {
        Self {
            at_start: true,
            leaves: false,
            sticky: false,
            explains: false,
            depth: 0,
            by: None,
            deciding: None,
            name: None,
        }
    }
}

impl<'a> Clause<'a> {
    #[inline]
    fn leaves_out(&self, kind: TokenKind) -> bool {
        let position = self.by.is_some() && kind == TokenKind::Number;
        self.leaves && !self.sticky && !position && self.deciding.is_none()
    }

    #[inline]
    fn see(&mut self, kind: TokenKind, bytes: &'a [u8]) {
        match kind {
            TokenKind::Word if self.at_start => self.first_word(bytes),
            TokenKind::Word => self.word(bytes),
            TokenKind::Quoted => self.name = bytes.get(1..bytes.len() - 1),
            // Its spelling hides its name: any may be meant.
            TokenKind::UnicodeQuoted => self.name = Some(HIDDEN),
            TokenKind::Punctuation(byte) => self.punctuation(byte),
            TokenKind::Invalid => self.leaves = false,
            _ => self.name = None,
        }
    }

    fn first_word(&mut self, word: &[u8]) {
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword.as_bytes());
        if self.depth == 0 && (is("explain") || self.explains && (is("analyze") || is("verbose"))) {
            self.explains = true;
            return;
        }
        self.at_start = false;
        self.leaves = is_query(word);
        self.sticky |= is("create");
    }

    #[inline]
    fn word(&mut self, word: &'a [u8]) {
        if self.by.is_some() && ends_by(word) {
            self.by = None;
        } else if word.len() == 2 && word.eq_ignore_ascii_case(b"by") {
            self.by = Some(self.depth);
        }
        self.name = Some(word);
    }

    #[inline]
    fn punctuation(&mut self, byte: u8) {
        match byte {
            b'(' => {
                if self.deciding.is_none() && self.name.is_some_and(decides) {
                    self.deciding = Some(self.depth);
                }
                self.depth += 1;
            }
            b')' => {
                self.depth = self.depth.saturating_sub(1);
                if self.explains && self.depth == 0 && !self.leaves {
                    self.at_start = true;
                }
                if self.deciding.is_some_and(|depth| depth >= self.depth) {
                    self.deciding = None;
                }
                if self.by.is_some_and(|depth| depth > self.depth) {
                    self.by = None;
                }
            }
            b';' => *self = Self { sticky: self.sticky, ..Self::default() },
            _ => {}
        }
        self.name = None;
    }
}

/// Stands for a function whose name can't be read.
const HIDDEN: &[u8] = b"";

fn decides(name: &[u8]) -> bool {
    name.is_empty() || functions::argument_decides(name)
}

fn is_query(word: &[u8]) -> bool {
    ["select", "insert", "update", "delete", "values", "with", "merge", "table", "execute"]
        .iter()
        .any(|keyword| word.eq_ignore_ascii_case(keyword.as_bytes()))
}

/// A keyword after which an ORDER BY or GROUP BY list is surely over.
fn ends_by(word: &[u8]) -> bool {
    ["limit", "offset", "fetch", "having", "for", "window", "union", "intersect", "except"]
        .iter()
        .any(|keyword| word.eq_ignore_ascii_case(keyword.as_bytes()))
}
