//! One statement to facts: its first keyword decides who looks at it.

use crate::facts::{Because, Effect, Kind, Name, Statement};
use crate::lexer::TokenKind;
use crate::tokens::Cursor;
use crate::{cursor, nested, query, setting, transaction, utility};

/// The facts of one statement, which is not empty.
pub(crate) fn facts(text: Cursor<'_>) -> Statement {
    if text.peek().is_some_and(|token| token.kind == TokenKind::Punctuation(b'(')) {
        return query::facts(text);
    }
    let Some(word) = text.word() else { return Statement::unknown("it begins with no keyword") };
    let mut rest = text;
    rest.next();
    match &*word {
        "select" | "with" | "values" | "table" | "insert" | "update" | "delete" | "merge" => {
            query::facts(text)
        }
        "begin" => transaction::begin(rest),
        "start" if rest.eat("transaction") => transaction::begin(rest),
        "commit" | "end" => transaction::end(rest, Kind::Commit),
        "rollback" | "abort" => transaction::end(rest, Kind::Rollback),
        "savepoint" => transaction::savepoint(rest, Kind::Savepoint, Effect::Savepoint),
        "release" => transaction::savepoint(rest, Kind::Release, Effect::ReleaseSavepoint),
        "prepare" if rest.eat("transaction") => transaction::two_phase("PREPARE TRANSACTION", false),
        "set" => setting::set(rest),
        "reset" => setting::reset(rest),
        "show" => setting::show(rest),
        "discard" => setting::discard(rest),
        "prepare" | "execute" | "deallocate" => cursor::prepared(&word, rest),
        "declare" => cursor::declare(rest),
        "close" => cursor::close(),
        "fetch" | "move" => transaction::within(Kind::Cursor),
        "listen" | "unlisten" | "notify" => cursor::notify(&word, rest),
        "do" | "call" => utility::procedure(&word),
        "explain" => nested::explain(rest),
        "copy" => nested::copy(rest),
        _ => utility::facts(&word, rest),
    }
}

/// A command that must have the primary but names no relations.
pub(crate) fn command(kind: Kind, name: &'static str) -> Statement {
    let mut statement = Statement::command(kind, name);
    statement.relations_complete = true;
    statement
}

/// The schema and name of a relation by its parts; a database's name before them is left out.
pub(crate) fn relation_parts(mut parts: Vec<Name>) -> Option<(Option<Name>, Name)> {
    if parts.len() > 3 {
        return None;
    }
    let name = parts.pop()?;
    Some((parts.pop(), name))
}

/// Notes that only the primary has this relation right, if so.
pub(crate) fn judge_relation(statement: &mut Statement, schema: Option<&str>, name: &str) {
    if crate::functions::is_primary_relation(schema, name) {
        statement.worsen(crate::facts::Access::Write, Because::PrimaryRelation(name.into()));
    }
}
