//! The errors of a sharded database: each says why in its DETAIL and what to change in its HINT.

use config::KeyType;
use sql::facts::{Because, Relation, Statement};

use super::value::Problem;
use crate::decision::{Refusal, ShardIndex};
use crate::map::{DatabaseMap, KeyedTable, in_words};

const FEATURE_NOT_SUPPORTED: &str = "0A000";
const INVALID_PARAMETER_VALUE: &str = "22023";

const UNDECIDED: &str = "cannot tell which shard this statement belongs to";
const SAY_SHARD: &str = "Name the shard: begin the statement with /* pgweir: shard=NAME */.";

/// A statement whose shard can't be proved.
fn undecided(detail: String, hint: impl Into<String>) -> Box<Refusal> {
    refusal(FEATURE_NOT_SUPPORTED, UNDECIDED.into(), detail, hint)
}

fn refusal(sqlstate: &'static str, message: String, detail: String, hint: impl Into<String>) -> Box<Refusal> {
    Box::new(Refusal { sqlstate, message, detail: Some(detail), hint: Some(hint.into()) })
}

pub(crate) fn invalid_hint(invalid: &str) -> Box<Refusal> {
    refusal(
        INVALID_PARAMETER_VALUE,
        "invalid pgweir hint".into(),
        format!("\"{invalid}\" is not understood."),
        "A hint is /* pgweir: KEY=VALUE … */ with the keys role (primary or replica), shard (a shard's name) and key (a key's value).",
    )
}

pub(super) fn unknown_shard(map: &DatabaseMap, name: &str) -> Box<Refusal> {
    refusal(
        INVALID_PARAMETER_VALUE,
        format!("unknown shard \"{name}\""),
        "The hint names a shard that the database doesn't have.".into(),
        format!("Its shards are: {}.", map.shard_names()),
    )
}

pub(super) fn hint_key(key: &str) -> Box<Refusal> {
    refusal(
        INVALID_PARAMETER_VALUE,
        "the hint's key belongs to no shard".into(),
        format!("\"{key}\" is not a value of the sharding scheme, and the scheme has no default."),
        "List the value in the scheme, or use shard=NAME instead.",
    )
}

pub(super) fn hint_key_ambiguous() -> Box<Refusal> {
    refusal(
        INVALID_PARAMETER_VALUE,
        "the hint's key is ambiguous".into(),
        "The database does not have exactly one sharding scheme, so a bare key says no shard.".into(),
        "Use shard=NAME instead.",
    )
}

pub(super) fn hint_contradicts(map: &DatabaseMap, name: ShardIndex, key: ShardIndex) -> Box<Refusal> {
    refusal(
        INVALID_PARAMETER_VALUE,
        "the hint contradicts itself".into(),
        format!("shard is \"{}\", but key belongs to \"{}\".", map.shard_name(name), map.shard_name(key)),
        "Give one of them.",
    )
}

pub(super) fn transaction_elsewhere(map: &DatabaseMap, open: ShardIndex, wanted: ShardIndex) -> Box<Refusal> {
    refusal(
        FEATURE_NOT_SUPPORTED,
        "a transaction cannot span shards".into(),
        format!(
            "The transaction is open on shard \"{}\"; this statement belongs to shard \"{}\".",
            map.shard_name(open),
            map.shard_name(wanted)
        ),
        "Use a transaction of its own for each shard.",
    )
}

pub(super) fn two_shards(map: &DatabaseMap, first: ShardIndex, next: ShardIndex) -> Box<Refusal> {
    refusal(
        FEATURE_NOT_SUPPORTED,
        "a request cannot span shards".into(),
        format!(
            "One part of it belongs to shard \"{}\", another to shard \"{}\".",
            map.shard_name(first),
            map.shard_name(next)
        ),
        "Send a statement for each shard, each in a request of its own.",
    )
}

pub(super) fn unlisted(relation: &Relation) -> Box<Refusal> {
    let name = match &relation.schema {
        Some(schema) => format!("{schema}.{}", relation.name),
        None => relation.name.to_string(),
    };
    undecided(
        format!(
            "\"{name}\" is not listed under the database's sharding: it may have other rows on each shard."
        ),
        "List it under tables, reference_tables or single (views can't be listed: use their tables), or begin the statement with /* pgweir: shard=NAME */.",
    )
}

pub(super) fn reference_written(relation: &Relation) -> Box<Refusal> {
    undecided(
        format!("\"{}\" is a reference table: a write to it has to be made on every shard.", relation.name),
        "Write it on each shard, one after the other, with /* pgweir: shard=NAME */.",
    )
}

pub(super) fn not_understood(statement: &Statement) -> Box<Refusal> {
    let detail = match &statement.because {
        Some(Because::UnknownFunction(name)) => {
            format!("It calls {name}(), which may read or write any table.")
        }
        Some(Because::NotUnderstood(what)) => format!("It is not understood: {what}."),
        _ => "Not all the tables that it uses are known.".into(),
    };
    undecided(detail, SAY_SHARD)
}

pub(super) fn every_shard(statement: &Statement) -> Box<Refusal> {
    let command = match &statement.because {
        Some(Because::Command(command)) => command,
        _ => "The command",
    };
    undecided(
        format!("{command} would have to be run on every shard."),
        "Run it on each shard, one after the other, with /* pgweir: shard=NAME */.",
    )
}

/// A command of which nothing more can be known.
pub(super) fn command(why: &str) -> Box<Refusal> {
    undecided(format!("The statement has no provable shard: {why}."), SAY_SHARD)
}

pub(super) fn copy(table: &KeyedTable) -> Box<Refusal> {
    undecided(
        format!("COPY of \"{}\" concerns the rows of every shard.", in_words(&table.table)),
        "Copy each shard's rows on their own, with /* pgweir: shard=NAME */.",
    )
}

pub(super) fn merge(table: &KeyedTable) -> Box<Refusal> {
    undecided(format!("MERGE may touch rows of \"{}\" on every shard.", in_words(&table.table)), SAY_SHARD)
}

pub(super) fn rows_of_a_query(table: &KeyedTable) -> Box<Refusal> {
    undecided(
        format!("The rows for \"{}\" come from a query.", in_words(&table.table)),
        format!(
            "Use INSERT … VALUES with {}, or begin the statement with /* pgweir: shard=NAME */.",
            column(table)
        ),
    )
}

pub(super) fn key_unnamed(table: &KeyedTable) -> Box<Refusal> {
    undecided(
        format!(
            "Rows of \"{}\" live on the shard that {} says, and the statement doesn't say its value.",
            in_words(&table.table),
            column(table)
        ),
        format!(
            "Add {} = VALUE to the WHERE clause, AND-ed with the rest, for each use of the table; or begin the statement with /* pgweir: shard=NAME */.",
            column(table)
        ),
    )
}

pub(super) fn columns_unnamed(table: &KeyedTable) -> Box<Refusal> {
    undecided(
        format!("The INSERT doesn't name its columns, so which value is {} isn't known.", column(table)),
        "Name the columns: INSERT INTO table (columns) VALUES ….",
    )
}

pub(super) fn key_left_out(table: &KeyedTable) -> Box<Refusal> {
    undecided(
        format!("The INSERT gives no value for {}.", column(table)),
        format!("Give each row a value for {}.", column(table)),
    )
}

pub(super) fn key_expression(table: &KeyedTable) -> Box<Refusal> {
    undecided(
        format!("The value of {} is an expression or DEFAULT.", column(table)),
        format!("Give {} as a literal or a parameter.", column(table)),
    )
}

pub(super) fn key_assigned(table: &KeyedTable) -> Box<Refusal> {
    undecided(
        format!("It assigns {}, so a row might have to move to another shard.", column(table)),
        "Insert the row anew with its new key and delete the old one.",
    )
}

pub(super) fn rows_of_two_shards(
    map: &DatabaseMap,
    table: &KeyedTable,
    first: ShardIndex,
    next: ShardIndex,
) -> Box<Refusal> {
    refusal(
        FEATURE_NOT_SUPPORTED,
        "an INSERT cannot span shards".into(),
        format!(
            "By {} one row belongs to shard \"{}\", another to shard \"{}\".",
            column(table),
            map.shard_name(first),
            map.shard_name(next)
        ),
        "Send an INSERT for each shard: a statement isn't split over shards yet.",
    )
}

pub(super) fn value_unlisted(table: &KeyedTable, value: &[u8]) -> Box<Refusal> {
    undecided(
        format!(
            "{} = '{}' belongs to no shard, and the scheme has no default.",
            column(table),
            value.escape_ascii()
        ),
        "List the value in the sharding scheme, or give the scheme a default.",
    )
}

/// `what` is the column, and the parameter if it was one.
pub(super) fn value(what: &str, problem: Problem) -> Box<Refusal> {
    match problem {
        Problem::Null => {
            undecided(format!("{what} is NULL, which belongs to no shard."), "Give the key a value.")
        }
        Problem::Unbound => undecided(
            format!("The value of {what} is not known before it is bound."),
            "Bind a value, or begin the statement with /* pgweir: shard=NAME */.",
        ),
        Problem::NotOfType(of) => undecided(
            format!("The value of {what} is not surely {}.", type_in_words(of)),
            "Give it as a plain literal or parameter of the key's own type.",
        ),
    }
}

fn type_in_words(of: KeyType) -> &'static str {
    match of {
        KeyType::Text => "a text",
        KeyType::Bigint => "an integer",
        KeyType::Uuid => "a uuid",
    }
}

fn column(table: &KeyedTable) -> String {
    format!("{}.{}", in_words(&table.table), table.column)
}
