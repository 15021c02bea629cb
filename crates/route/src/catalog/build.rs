//! From rows to what is looked up: volatility by name, and which relations are guarded, through views and parents.

use std::collections::HashMap;

use sql::facts::Name;
use sql::{Verdict, built_in, is_primary_relation};

use super::hidden::Hidden;
use super::rows::{CalledRow, CatalogRows, RelationKind, RelationRow};
use super::tables::Tables;
use super::{Guarded, Known};

/// Operators that the grammar writes for a keyword: IN, LIKE, BETWEEN, USING, DISTINCT, ORDER BY, SIMILAR TO …
pub(super) const BEHIND_KEYWORDS: [&str; 11] =
    ["=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*", "~"];

pub(super) fn known(rows: CatalogRows) -> Known {
    let mut known = Known { casts: rows.volatile_casts, ..Known::default() };
    let guarded = guarded(&rows);
    known.tables = Tables::of(&rows);
    known.hidden = Hidden::of(&rows);
    for row in &rows.relations {
        if let Some(why) = guarded.get(&row.oid) {
            let named = known.relations.entry(name(&row.name)).or_default();
            named.0.push((name(&row.schema), why.clone()));
        }
    }
    for row in rows.functions {
        let verdict = built_in(&row.name);
        if row.schema == "pg_catalog" && verdict != Verdict::Unknown {
            continue; // what is written of it in the list counts
        }
        if row.volatile && matches!(verdict, Verdict::Reads | Verdict::ReadsUnknownTables) {
            known.shadows.entry(name(&row.name)).or_default().0.push((name(&row.schema), ()));
        }
        let reads = !row.volatile && !is_of_statistics(&row.schema, &row.name);
        known.functions.entry(name(&row.name)).or_default().0.push((name(&row.schema), reads));
    }
    let volatile = rows.operators.iter().filter(|operator| operator.volatile);
    known.operators = volatile.map(|operator| name(&operator.name)).collect();
    known.anywhere = rows.volatile_implicit_casts
        || BEHIND_KEYWORDS.iter().any(|operator| known.operators.contains(*operator));
    known
}

fn name(text: &str) -> Name {
    text.into()
}

/// A built-in function that is newer than the list, and tells of a node's own statistics.
fn is_of_statistics(schema: &str, name: &str) -> bool {
    schema == "pg_catalog" && name.starts_with("pg_stat")
}

/// The relations that only the primary may read, by oid, each with the first reason found.
fn guarded(rows: &CatalogRows) -> HashMap<u32, Guarded> {
    let mut guarded = HashMap::new();
    for row in &rows.relations {
        let why = match row.kind {
            RelationKind::Sequence => Guarded::Sequence,
            RelationKind::Foreign => Guarded::Foreign,
            RelationKind::Unlogged => Guarded::Unlogged,
            RelationKind::System if is_primary_relation(None, &row.name) => Guarded::Reads(name(&row.name)),
            RelationKind::Plain | RelationKind::System => continue,
        };
        guarded.insert(row.oid, why);
    }
    for locking in &rows.locks {
        guarded.entry(*locking).or_insert(Guarded::LockingView);
    }
    for call in rows.calls.iter().filter(|call| has_the_primary(call)) {
        guarded.entry(call.relation).or_insert_with(|| Guarded::Calls(name(&call.name)));
    }
    spread(rows, &mut guarded);
    guarded
}

/// Whether a function that a view or policy calls makes it the primary's.
fn has_the_primary(call: &CalledRow) -> bool {
    if call.schema != "pg_catalog" {
        return call.volatile;
    }
    match built_in(&call.name) {
        Verdict::Primary => true,
        Verdict::Reads | Verdict::ReadsUnknownTables => false,
        Verdict::Unknown => call.volatile || is_of_statistics(&call.schema, &call.name),
    }
}

/// What reads a guarded relation is guarded too.
fn spread(rows: &CatalogRows, guarded: &mut HashMap<u32, Guarded>) {
    let by_oid: HashMap<u32, &RelationRow> = rows.relations.iter().map(|row| (row.oid, row)).collect();
    let mut readers: HashMap<u32, Vec<u32>> = HashMap::new();
    for (reader, read) in &rows.reads {
        readers.entry(*read).or_default().push(*reader);
    }
    let mut found: Vec<u32> = guarded.keys().copied().collect();
    while let Some(read) = found.pop() {
        let Some(of) = readers.get(&read) else { continue };
        let what: Name = by_oid.get(&read).map_or("?", |row| row.name.as_str()).into();
        for reader in of {
            if !guarded.contains_key(reader) {
                guarded.insert(*reader, Guarded::Reads(what.clone()));
                found.push(*reader);
            }
        }
    }
}
