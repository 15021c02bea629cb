//! What tokens alone say of a query: a guard beside the parser, and what is left where it fails.

use crate::facts::{Effect, Name, PinReason};
use crate::functions::{self, Verdict};
use crate::lexer::TokenKind;
use crate::tokens::{Cursor, Tok, bytes, identifier, is_word};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// FOR UPDATE and its kind.
    pub(crate) locking: bool,
    /// INTO, which in a statement that only reads makes a table.
    pub(crate) into: bool,
    /// INSERT, UPDATE, DELETE or MERGE at the beginning of a WITH's query.
    pub(crate) writing_with: bool,
    /// A function that must have the primary.
    pub(crate) function: Option<Name>,
    /// What the functions that are called do to the session.
    pub(crate) effects: Vec<Effect>,
    /// A name that is not decoded (`U&"…"`) or not UTF-8.
    pub(crate) unreadable: bool,
}

/// Scans all of these tokens.
pub(crate) fn scan(text: Cursor<'_>) -> Scan {
    let mut found = Scan::default();
    let tokens = text.rest;
    for (at, token) in tokens.iter().enumerate() {
        let next = tokens.get(at + 1);
        match token.kind {
            TokenKind::UnicodeQuoted | TokenKind::Invalid => {
                found.unreadable = true;
                // It may be the name of a function that touches the session.
                found.add(Effect::Pin(PinReason::Doubt));
            }
            TokenKind::Word => found.word(text, at, token, next),
            _ => {}
        }
        let calls = next.is_some_and(|next| next.kind == TokenKind::Punctuation(b'('));
        if calls && matches!(token.kind, TokenKind::Word | TokenKind::Quoted) {
            found.call(text.with(&tokens[at + 1..]), identifier(text.sql, token));
        }
    }
    found
}

impl Scan {
    fn word(&mut self, text: Cursor<'_>, at: usize, token: &Tok, next: Option<&Tok>) {
        let next_is =
            |words: &[&str]| next.is_some_and(|next| words.iter().any(|word| is_word(text.sql, next, word)));
        let is = |word| is_word(text.sql, token, word);
        if is("for") && next_is(&["update", "share", "no", "key"]) {
            self.locking = true;
        } else if is("into") {
            self.into = true;
            // INSERT INTO temp: the name of a table.
            let target = at.checked_sub(1).is_some_and(|before| {
                ["insert", "merge"].iter().any(|word| is_word(text.sql, &text.rest[before], word))
            });
            if !target && next_is(&["temp", "temporary", "local", "global"]) {
                self.add(Effect::Pin(PinReason::TemporaryTable));
            }
        } else if is("as") || is("materialized") {
            let mut ahead = text.with(text.rest.get(at + 1..).unwrap_or_default());
            self.writing_with |= ahead.eat_char(b'(')
                && ["insert", "update", "delete", "merge"].iter().any(|word| ahead.is(word));
        }
    }

    fn call(&mut self, mut arguments: Cursor<'_>, name: Option<Name>) {
        let Some(name) = name else {
            self.unreadable = true;
            return;
        };
        let arguments = arguments.parenthesised().unwrap_or(arguments);
        if &*name == "set_config" {
            let last = arguments.rest.last();
            let local = last.is_some_and(|last| is_word(arguments.sql, last, "true"));
            let effect =
                || Effect::SetLocal(first_literal(arguments).map(|name| name.to_ascii_lowercase().into()));
            self.add(if local { effect() } else { Effect::Pin(PinReason::Setting) });
        }
        if let Some(effect) = functions::effect(&name) {
            self.add(effect);
        }
        let primary = match &*name {
            "current_setting" => reads_primary_setting(arguments),
            name => functions::verdict(None, name, true) == Verdict::Primary,
        };
        if primary && self.function.is_none() {
            self.function = Some(name);
        }
    }

    fn add(&mut self, effect: Effect) {
        if !self.effects.contains(&effect) {
            self.effects.push(effect);
        }
    }
}

/// Whether current_setting is asked for what a replica answers otherwise, or for what can't be seen from here.
fn reads_primary_setting(arguments: Cursor<'_>) -> bool {
    arguments.peek().is_some() && first_literal(arguments).is_none_or(functions::is_primary_setting)
}

/// The first argument, if it is nothing but a plain string.
fn first_literal(arguments: Cursor<'_>) -> Option<&str> {
    let text = bytes(arguments.sql, arguments.peek()?);
    let text = text.strip_prefix(b"'")?.strip_suffix(b"'")?;
    let ends = arguments.rest.get(1).is_none_or(|next| next.kind == TokenKind::Punctuation(b','));
    std::str::from_utf8(text).ok().filter(|text| ends && !text.contains(['\'', '\\']))
}
