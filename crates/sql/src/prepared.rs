//! Where a text names statements that SQL's PREPARE made: PREPARE, EXECUTE (by itself, explained, or as the query of a
//! new table) and DEALLOCATE, with the bytes of each name.

use std::ops::Range;

use crate::LexSettings;
use crate::facts::Name;
use crate::lexer::TokenKind;
use crate::text;
use crate::tokens::{self, Cursor, Tok};

/// No text with more tokens than this is looked at.
const MAX_TOKENS: usize = 1 << 20;

/// What a statement does with the prepared statement that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// PREPARE name AS …
    Prepare,
    /// EXECUTE name, within EXPLAIN or CREATE TABLE AS too.
    Execute,
    /// DEALLOCATE name.
    Deallocate,
    /// DEALLOCATE ALL.
    DeallocateAll,
}

/// A statement of a text that names a prepared one. All places are in bytes of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which statement of the text it is, from 0.
    pub index: usize,
    /// What it does.
    pub verb: Verb,
    /// The name that it means; empty for ALL.
    pub name: Name,
    /// Where the name is written.
    pub at: Range<usize>,
    /// Where the statement is, without a semicolon.
    pub statement: Range<usize>,
    /// Of PREPARE: where the statement begins that it prepares.
    pub query: usize,
    /// Of EXECUTE: it stands by itself, and its arguments call no function.
    pub plain: bool,
    /// Of EXECUTE: it is explained only, and not run.
    pub only_explained: bool,
}

/// The places of a text, in order. What can't be read (`U&"…"`, a syntax error) is left out.
#[must_use]
pub fn places(sql: &[u8], settings: LexSettings) -> Vec<Place> {
    let conforming = settings.standard_conforming_strings;
    if !settings.safe_encoding {
        return Vec::new();
    }
    let Some(tokens) = tokens::list(sql, conforming, &[], MAX_TOKENS) else { return Vec::new() };
    let cursor = Cursor { sql, conforming, rest: &tokens };
    let parts = text::split(&cursor);
    parts.into_iter().enumerate().filter_map(|(index, part)| place(cursor.with(part), index)).collect()
}

/// Whether a statement is one of these, but for a DEALLOCATE: those are told apart by their kind.
pub(crate) fn names_one(statement: Cursor<'_>) -> bool {
    place(statement, 0).is_some_and(|place| matches!(place.verb, Verb::Prepare | Verb::Execute))
}

/// Whether a token is the view that lists a session's prepared statements.
pub(crate) fn is_list(sql: &[u8], token: &Tok) -> bool {
    tokens::is_word(sql, token, "pg_prepared_statements")
        || tokens::is_word(sql, token, "pg_prepared_statement")
}

fn place(statement: Cursor<'_>, index: usize) -> Option<Place> {
    let (first, last) = (statement.peek()?, statement.rest.last()?);
    let mut found = Place {
        index,
        verb: Verb::Execute,
        name: Name::default(),
        at: 0..0,
        statement: start(first)..end(last),
        query: start(first),
        plain: false,
        only_explained: false,
    };
    let mut rest = statement;
    if rest.eat("prepare") {
        found.verb = Verb::Prepare;
        take_name(&mut rest, &mut found)?;
        rest.parenthesised();
        found.query = if rest.eat("as") { start(rest.peek()?) } else { return None };
        return Some(found);
    }
    if rest.eat("deallocate") {
        // PREPARE is noise here, unless it is the name.
        if rest.rest.len() > 1 {
            rest.eat("prepare");
        }
        found.verb = if rest.is("all") { Verb::DeallocateAll } else { Verb::Deallocate };
        if found.verb == Verb::Deallocate {
            take_name(&mut rest, &mut found)?;
        }
        return Some(found);
    }
    if rest.eat("execute") {
        found.plain = !rest.rest.windows(2).skip(1).any(calls) && !rest.has("select");
    } else if rest.eat("explain") {
        found.only_explained = !explained(&mut rest);
        if !rest.eat("execute") {
            into_table(&mut rest)?;
        }
    } else {
        into_table(&mut rest)?;
    }
    take_name(&mut rest, &mut found)?;
    Some(found)
}

/// Takes what follows EXPLAIN up to what is explained; whether that is run.
fn explained(rest: &mut Cursor<'_>) -> bool {
    if let Some(options) = rest.parenthesised() {
        return crate::nested::analyzes(options);
    }
    let analyze = rest.eat_any(&["analyze", "analyse"]);
    rest.eat("verbose");
    analyze
}

/// Takes CREATE TABLE … AS EXECUTE.
fn into_table(rest: &mut Cursor<'_>) -> Option<()> {
    if !rest.eat("create") {
        return None;
    }
    rest.eat_any(&["local", "global"]);
    rest.eat_any(&["temp", "temporary", "unlogged"]);
    if !rest.eat("table") {
        return None;
    }
    while !rest.is_empty() {
        if rest.eat_all(&["as", "execute"]) {
            return Some(());
        }
        if rest.parenthesised().is_none() {
            rest.next();
        }
    }
    None
}

/// Takes a name, which isn't empty.
fn take_name(rest: &mut Cursor<'_>, found: &mut Place) -> Option<()> {
    let token = rest.peek()?;
    found.name = rest.name().filter(|name| !name.is_empty())?;
    found.at = start(token)..end(token);
    Some(())
}

fn calls(pair: &[Tok]) -> bool {
    matches!(pair[0].kind, TokenKind::Word | TokenKind::Quoted | TokenKind::UnicodeQuoted)
        && pair[1].kind == TokenKind::Punctuation(b'(')
        && pair[0].literal.is_none()
}

fn start(token: &Tok) -> usize {
    usize::try_from(token.start).unwrap_or(usize::MAX)
}

fn end(token: &Tok) -> usize {
    usize::try_from(token.end).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verb, name as written, whether plain or only explained, and for PREPARE its query.
    fn found(sql: &str) -> Vec<String> {
        let of = |place: Place| {
            let written = &sql[place.at.clone()];
            let query = if place.verb == Verb::Prepare { &sql[place.query..place.statement.end] } else { "" };
            let how = match (place.plain, place.only_explained) {
                (true, _) => "plain",
                (_, true) => "explained",
                _ => "",
            };
            format!("{:?} {} {written} {how} {query}", place.verb, place.name).trim_end().to_owned()
        };
        places(sql.as_bytes(), LexSettings::default()).into_iter().map(of).collect()
    }

    #[test]
    fn names_are_where_they_are_written() {
        assert_eq!(found("PREPARE Foo AS select 1;"), ["Prepare foo Foo  select 1"]);
        assert_eq!(
            found("prepare \"a b\"(int, numeric(3,2)[]) as values ($1)")[0],
            "Prepare a b \"a b\"  values ($1)"
        );
        assert_eq!(found("/* x */ execute /* y */ a;"), ["Execute a a plain"]);
        assert_eq!(found("execute a(1, 'x', null::int)"), ["Execute a a plain"]);
        assert_eq!(found("execute a(f(1))"), ["Execute a a"]);
        assert_eq!(found("explain execute a(1)"), ["Execute a a explained"]);
        assert_eq!(found("explain (costs off) execute a"), ["Execute a a explained"]);
        assert_eq!(found("explain (costs off, analyze) execute a"), ["Execute a a"]);
        assert_eq!(found("explain analyze verbose execute a"), ["Execute a a"]);
        assert_eq!(
            found("create temp table t (x) on commit drop as execute q(1) with no data"),
            ["Execute q q"]
        );
        assert_eq!(found("explain create table t as execute q"), ["Execute q q explained"]);
        assert_eq!(
            found("deallocate prepare a; deallocate prepare; deallocate all"),
            ["Deallocate a a", "Deallocate prepare prepare", "DeallocateAll"]
        );
    }

    #[test]
    fn what_names_none_has_no_place() {
        for sql in [
            "select 1",
            "prepare transaction 'x'",
            "prepare a",
            "create trigger a after insert on t execute function f()",
            "create table execute as select 1",
            "grant execute on function f() to a",
            "prepare U&\"a\" as select 1",
            "execute ''",
            "prepare \"\" as select 1",
        ] {
            assert_eq!(found(sql), Vec::<String>::new(), "{sql}");
        }
    }

    #[test]
    fn each_statement_of_a_text_has_its_place() {
        let sql = "prepare a as select 1; select 2; execute a;";
        assert_eq!(found(sql), ["Prepare a a  select 1", "Execute a a plain"]);
        let indexes: Vec<_> =
            places(sql.as_bytes(), LexSettings::default()).iter().map(|place| place.index).collect();
        assert_eq!(indexes, [0, 2]);
    }
}
