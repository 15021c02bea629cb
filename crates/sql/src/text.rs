//! A whole text to facts: its statements one by one, split at the semicolons that end one.

use crate::facts::{Access, Because, Effect, Facts, Kind, Literal, PinReason, Statement};
use crate::hidden::Hidden;
use crate::hint;
use crate::lexer::{Lexer, TokenKind};
use crate::prepared;
use crate::shape::MAX_LITERALS;
use crate::statement;
use crate::tokens::{self, Cursor, Tok, is_word};

/// Texts of more tokens are only looked at by their first word.
const MAX_TOKENS: usize = 1 << 20;
/// Texts of more statements are not understood.
const MAX_STATEMENTS: usize = 10_000;

/// The facts of a text.
pub(crate) fn facts(sql: &[u8], conforming: bool, literals: &[Literal]) -> Facts {
    let (statements, names_prepared) = statements(sql, conforming, literals);
    let access = statements.iter().map(|statement| statement.access).max().unwrap_or_default();
    let hidden = Hidden::of(&statements);
    Facts { statements, hint: hint::parse(sql), access, names_prepared, hidden, ..Facts::default() }
}

/// The facts of a text that cannot be looked at.
pub(crate) fn not_understood(why: &str) -> Facts {
    let statements = vec![Statement::unknown(why)];
    let hidden = Hidden::of(&statements);
    Facts { statements, access: Access::Unknown, hidden, ..Facts::default() }
}

/// The statements, and whether one of them names a prepared one.
fn statements(sql: &[u8], conforming: bool, literals: &[Literal]) -> (Vec<Statement>, bool) {
    let tokens = if literals.len() < MAX_LITERALS {
        tokens::list(sql, conforming, literals, MAX_TOKENS)
    } else {
        None
    };
    let Some(tokens) = tokens else { return (vec![too_long(sql, conforming)], false) };
    if let Some(last) = tokens.last().filter(|token| token.kind == TokenKind::Invalid) {
        return (vec![invalid(tokens::bytes(sql, last))], false);
    }
    let cursor = Cursor { sql, conforming, rest: &tokens };
    let parts = split(&cursor);
    if parts.len() > MAX_STATEMENTS {
        return (vec![Statement::unknown("too many statements")], false);
    }
    let statements: Vec<_> = parts.iter().map(|part| statement::facts(cursor.with(part))).collect();
    // A DEALLOCATE alone is told by its effect.
    let several = statements.len() > 1;
    let deallocates = several && statements.iter().any(|statement| statement.kind == Kind::Deallocate);
    let lists = tokens.iter().any(|token| prepared::is_list(sql, token));
    (statements, lists || deallocates || parts.iter().any(|part| prepared::names_one(cursor.with(part))))
}

/// A token that Postgres refuses. A number or parameter with letters at its end older servers take for two tokens;
/// anything else no server runs.
fn invalid(token: &[u8]) -> Statement {
    let mut statement = Statement::unknown("a token that never ends, or that is none");
    let first = token.first().copied().unwrap_or_default();
    let second = token.get(1).copied().unwrap_or_default();
    let older = first.is_ascii_digit() || (matches!(first, b'.' | b'$') && second.is_ascii_digit());
    if !older {
        statement.effects.clear();
    }
    statement
}

/// What the first word says of a text that is too long for more.
fn too_long(sql: &[u8], conforming: bool) -> Statement {
    let mut statement = Statement::unknown("the text is too long");
    let mut lexer = Lexer::new(sql, conforming);
    let first = lexer.next_token().map(|token| &sql[token.start..token.end]).unwrap_or_default();
    for (word, command) in [("insert", "INSERT"), ("update", "UPDATE"), ("delete", "DELETE")] {
        if first.eq_ignore_ascii_case(word.as_bytes()) {
            statement.worsen(Access::Write, Because::Command(command));
        }
    }
    debug_assert!(statement.effects.contains(&Effect::Pin(PinReason::Doubt)));
    debug_assert!(statement.kind == Kind::Unknown);
    statement
}

/// The tokens of each statement, without semicolons; empty statements are none.
///
/// A semicolon in parentheses (the actions of a rule) or between BEGIN and END of a CREATE FUNCTION or PROCEDURE with a
/// body in SQL ends no statement.
pub(crate) fn split<'a>(cursor: &Cursor<'a>) -> Vec<&'a [Tok]> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut depth = 0_usize;
    let mut blocks = 0_usize;
    let mut routine = false;
    for (at, token) in cursor.rest.iter().enumerate() {
        let word = |keyword| is_word(cursor.sql, token, keyword);
        match token.kind {
            TokenKind::Punctuation(b'(') => depth += 1,
            TokenKind::Punctuation(b')') => depth = depth.saturating_sub(1),
            TokenKind::Punctuation(b';') if depth == 0 && blocks == 0 => {
                parts.push(&cursor.rest[start..at]);
                start = at + 1;
                routine = false;
            }
            TokenKind::Word if at == start || routine => {
                if at == start {
                    routine = creates_routine(cursor.with(&cursor.rest[start..]));
                } else if word("begin") || (blocks > 0 && word("case")) {
                    blocks += 1;
                } else if blocks > 0 && word("end") {
                    blocks -= 1;
                }
            }
            _ => {}
        }
    }
    parts.push(&cursor.rest[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

fn creates_routine(mut cursor: Cursor<'_>) -> bool {
    cursor.eat("create") && {
        cursor.eat_all(&["or", "replace"]);
        cursor.is("function") || cursor.is("procedure")
    }
}
