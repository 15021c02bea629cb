//! Every other command: DDL, maintenance, procedures. They have the primary; few of them touch the session.

use crate::facts::{Access, Because, Effect, Kind, PinReason, Statement};
use crate::lexer::TokenKind;
use crate::scan;
use crate::tokens::{Cursor, identifier};

/// The commands by their first word.
const COMMANDS: [(&str, &str); 19] = [
    ("alter", "ALTER"),
    ("analyse", "ANALYZE"),
    ("analyze", "ANALYZE"),
    ("checkpoint", "CHECKPOINT"),
    ("cluster", "CLUSTER"),
    ("comment", "COMMENT"),
    ("create", "CREATE"),
    ("drop", "DROP"),
    ("grant", "GRANT"),
    ("import", "IMPORT FOREIGN SCHEMA"),
    ("load", "LOAD"),
    ("lock", "LOCK"),
    ("reassign", "REASSIGN OWNED"),
    ("refresh", "REFRESH MATERIALIZED VIEW"),
    ("reindex", "REINDEX"),
    ("revoke", "REVOKE"),
    ("security", "SECURITY LABEL"),
    ("truncate", "TRUNCATE"),
    ("vacuum", "VACUUM"),
];

/// A command that begins with this word, of which the rest follows.
pub(crate) fn facts(word: &str, rest: Cursor<'_>) -> Statement {
    let Some((_, name)) = COMMANDS.iter().find(|(first, _)| *first == word) else {
        return Statement::unknown("an unknown command");
    };
    if word == "lock" {
        let mut statement = Statement::read(Kind::Utility);
        statement.worsen(Access::Write, Because::Locking);
        statement.relations_complete = false;
        return statement;
    }
    let mut statement = Statement::command(Kind::Utility, name);
    statement.alone = is_alone(word, rest);
    if redefines(word, rest) || mentions_currval(word, rest) {
        statement.effects.push(Effect::Redefines);
    }
    match word {
        "create" => create(&mut statement, rest),
        "drop" => statement.effects.push(Effect::MayUnpin(PinReason::TemporaryTable)),
        "refresh" | "import" => statement.runs_code = true,
        "load" => statement.effects.push(Effect::Pin(PinReason::Load)),
        _ => {}
    }
    statement
}

/// DO and CALL run code that may do anything.
pub(crate) fn procedure(word: &str) -> Statement {
    let name = if word == "do" { "DO" } else { "CALL" };
    let mut statement = Statement::command(Kind::Procedure, name);
    statement.effects.push(Effect::Pin(PinReason::Doubt));
    statement.runs_code = true;
    statement
}

/// Whether other statements run other code from then on. Tables and indexes by themselves run none.
fn redefines(word: &str, mut rest: Cursor<'_>) -> bool {
    if !["create", "alter", "drop"].contains(&word) {
        return false;
    }
    rest.eat_all(&["or", "replace"]);
    rest.eat_any(&["local", "global"]);
    let plain = [
        "table",
        "index",
        "unique",
        "sequence",
        "view",
        "unlogged",
        "materialized",
        "temp",
        "temporary",
        "user",
    ];
    let other = ["database", "role", "tablespace", "subscription", "publication", "statistics", "system"];
    // ALTER TABLE enables triggers, attaches partitions that have some, and changes defaults.
    word == "alter" && rest.is("table") || !plain.iter().chain(&other).any(|object| rest.is(object))
}

/// Whether a default, a check or a view is made that calls currval or lastval, so that other statements do.
fn mentions_currval(word: &str, rest: Cursor<'_>) -> bool {
    let called =
        |token| identifier(rest.sql, token).is_some_and(|name| matches!(&*name, "currval" | "lastval"));
    ["create", "alter"].contains(&word) && rest.rest.iter().any(called)
}

fn create(statement: &mut Statement, mut rest: Cursor<'_>) {
    rest.eat_all(&["or", "replace"]);
    rest.eat_any(&["local", "global"]);
    let all = rest;
    let said = rest.eat_any(&["temp", "temporary"]);
    let temporary = said || in_temporary_schema(rest);
    let mut ends = all;
    let mut on_commit_drop = false;
    while !ends.is_empty() {
        on_commit_drop |= ends.eat_all(&["on", "commit", "drop"]);
        ends.next();
    }
    if temporary && !on_commit_drop {
        statement.effects.push(Effect::Pin(PinReason::TemporaryTable));
    }
    // CREATE TABLE AS and CREATE MATERIALIZED VIEW run their query now.
    // What search_path begins with decides whether it is temporary.
    let objects = ["extension", "table", "unlogged", "view", "materialized", "sequence", "type", "domain"];
    statement.runs_code |= objects.iter().any(|object| rest.is(object));
    if (rest.is("table") || rest.is("unlogged") || rest.is("materialized")) && rest.has("as") {
        statement.runs_code = true;
        for effect in scan::scan(rest).effects {
            statement.effects.push(effect);
        }
    }
}

/// A name of the schema `pg_temp` is written.
fn in_temporary_schema(rest: Cursor<'_>) -> bool {
    rest.rest.windows(2).any(|pair| {
        pair[1].kind == TokenKind::Punctuation(b'.')
            && identifier(rest.sql, &pair[0]).is_some_and(|name| name.starts_with("pg_temp"))
    })
}

/// Whether the server refuses this command in a transaction block.
fn is_alone(word: &str, mut rest: Cursor<'_>) -> bool {
    match word {
        "vacuum" => true,
        "create" | "drop" => {
            rest.eat_any(&["unique"]);
            ["database", "tablespace", "subscription"].iter().any(|object| rest.is(object))
                || (rest.is("index") && rest.has("concurrently"))
        }
        "alter" => {
            rest.is("system")
                || (rest.is("database") && rest.has("tablespace"))
                || (rest.is("subscription") && (rest.has("refresh") || rest.has("publication")))
                || (rest.has("detach") && rest.has("concurrently"))
        }
        "cluster" => {
            rest.parenthesised();
            rest.eat("verbose");
            rest.is_empty()
        }
        "reindex" => {
            let concurrently = rest.has("concurrently");
            rest.parenthesised();
            concurrently || ["database", "system", "schema"].iter().any(|object| rest.is(object))
        }
        _ => false,
    }
}
