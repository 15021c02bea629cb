//! EXPLAIN and COPY: commands around a query.

use crate::facts::{Access, Because, Calls, Kind, Relation, Statement};
use crate::lexer::TokenKind;
use crate::statement::{self, judge_relation, relation_parts};
use crate::tokens::{Cursor, bytes};
use crate::{query, scan};

/// What follows EXPLAIN. Without ANALYZE nothing is run, and so anything reads.
pub(crate) fn explain(mut rest: Cursor<'_>) -> Statement {
    let mut analyze = false;
    let mut ahead = rest;
    match ahead.parenthesised() {
        Some(options) if !is_query(options) => {
            analyze = analyzes(options);
            rest = ahead;
        }
        Some(_) => {}
        None => {
            analyze = rest.eat_any(&["analyze", "analyse"]);
            rest.eat("verbose");
        }
    }
    if rest.is_empty() || rest.is("explain") {
        return Statement::unknown("EXPLAIN of nothing that can be explained");
    }
    let explained = statement::facts(rest);
    let mut facts = Statement { kind: Kind::Explain, alone: false, ..explained };
    if !analyze {
        facts.effects.clear();
        facts.calls = Calls::default();
        facts.runs_code = false;
        // A statement prepared in SQL is known to one connection only.
        let prepared = rest.is("execute");
        if !prepared {
            facts.access = Access::Read;
            facts.because = None;
        }
        for relation in &mut facts.relations {
            relation.written = false;
        }
    }
    facts
}

fn is_query(options: Cursor<'_>) -> bool {
    options.peek().is_some_and(|token| token.kind == TokenKind::Punctuation(b'('))
        || ["select", "with", "values", "table"].iter().any(|word| options.is(word))
}

/// Whether the options say ANALYZE; the last one counts, and a value that isn't surely false is true.
pub(crate) fn analyzes(mut options: Cursor<'_>) -> bool {
    let mut analyze = false;
    while !options.is_empty() {
        if options.eat_any(&["analyze", "analyse"]) {
            let value = options.peek().map(|token| bytes(options.sql, token)).unwrap_or_default();
            let value = value.strip_prefix(b"'").and_then(|v| v.strip_suffix(b"'")).unwrap_or(value);
            analyze = !["false", "off", "0", "no"].iter().any(|no| value.eq_ignore_ascii_case(no.as_bytes()));
        }
        while !options.is_empty() && !options.eat_char(b',') {
            options.next();
        }
    }
    analyze
}

/// What follows COPY.
pub(crate) fn copy(mut rest: Cursor<'_>) -> Statement {
    if let Some(query) = rest.parenthesised() {
        if query.is_empty() || !rest.eat("to") {
            return Statement::unknown("COPY of a query to nowhere");
        }
        return at_server(query::facts(query), rest, Kind::CopyOut);
    }
    if rest.rest.len() > 2 && rest.is("binary") {
        let mut ahead = rest;
        ahead.next();
        if !(ahead.is("from") || ahead.is("to")) {
            rest = ahead;
        }
    }
    let Some((schema, name)) = rest.dotted().and_then(relation_parts) else {
        return Statement::unknown("COPY of no table");
    };
    rest.parenthesised();
    let written = rest.is("from");
    if !rest.eat_any(&["from", "to"]) {
        return Statement::unknown("COPY without a direction");
    }
    let mut statement = Statement::read(if written { Kind::CopyIn } else { Kind::CopyOut });
    if written {
        statement.worsen(Access::Write, Because::Command("COPY FROM"));
        statement.runs_code = true;
        statement.effects = scan::scan(rest).effects;
    }
    judge_relation(&mut statement, schema.as_deref(), &name);
    statement.relations.push(Relation { schema, name, written });
    let kind = statement.kind;
    at_server(statement, rest, kind)
}

/// What follows TO or FROM: the client, or a file or program of the server.
fn at_server(mut statement: Statement, mut rest: Cursor<'_>, kind: Kind) -> Statement {
    statement.kind = kind;
    if rest.eat_any(&["stdin", "stdout"]) {
        return statement;
    }
    statement.kind = Kind::CopyServer;
    statement.worsen(Access::Write, Because::Command("COPY at the server"));
    statement
}
