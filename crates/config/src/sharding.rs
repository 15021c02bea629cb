//! `databases.*.shards` and `sharding`, checked.

use std::collections::{BTreeMap, HashMap};

use crate::check::{Context, owned, text};
use crate::error::Place;
use crate::model::{Cluster, KeyType, Scheme, Shard, ShardedTable, Sharding, TableName};
use crate::raw;
use crate::said::{NamedEntry, Said};

/// `None` if it has no shards; what is wrong is noted.
pub(crate) fn sharding(
    place: Place,
    raw: &raw::Database,
    clusters: &[Cluster],
    context: &Context<'_>,
) -> Option<Sharding> {
    let shards = shards(place, raw, clusters, context);
    if shards.is_empty() {
        return None;
    }
    let sharding = raw.sharding.clone_or_default();
    let mut schemes = BTreeMap::new();
    let mut said: Vec<&str> = Vec::new();
    let raw_schemes = sharding.schemes.clone_or_default();
    for entry in &raw_schemes.0 {
        said.push(&entry.name);
        if let Some(scheme) = scheme(entry, &shards, context) {
            schemes.insert(entry.name.clone(), scheme);
        }
    }
    let mut names = Names { seen: HashMap::new(), context };
    let mut tables = Vec::new();
    for entry in &sharding.tables.clone_or_default().0 {
        tables.extend(table(entry, &said, &mut names, context));
    }
    let reference = sharding.reference_tables.clone_or_default();
    let reference_tables = reference
        .iter()
        .filter_map(Said::with_place)
        .filter_map(|(place, name)| names.add(&name.0, place))
        .collect();
    let mut single = Vec::new();
    for entry in &sharding.single.clone_or_default().0 {
        let shard = shard_index(&entry.name, entry.place, &shards, context);
        for (place, name) in entry.value.get().iter().flat_map(|many| &many.0).filter_map(Said::with_place) {
            if let (Some(shard), Some(name)) = (shard, names.add(&name.0, place)) {
                single.push((shard, name));
            }
        }
    }
    Some(Sharding { shards, schemes, tables, reference_tables, single })
}

fn shards(place: Place, raw: &raw::Database, clusters: &[Cluster], context: &Context<'_>) -> Vec<Shard> {
    let entries = raw.shards.clone_or_default().0;
    if entries.is_empty() && (raw.shards.get().is_some() || !raw.shards.is_said()) {
        context
            .sink
            .error(place, "has no `shards`; expected them, such as {us: {cluster: us}, eu: {cluster: eu}}");
    }
    if entries.len() > usize::from(u16::MAX) {
        context.sink.error(place, "too many shards; expected at most 65535");
    }
    let mut shards = Vec::new();
    for entry in &entries {
        let Some(raw) = entry.value.get() else { continue };
        if !raw.cluster.is_said() {
            context.sink.error(entry.place, "has no `cluster`; expected the name of one");
        }
        let Some(cluster) = context.cluster_id(&raw.cluster, clusters) else { continue };
        let default = clusters.get(usize::from(cluster.0)).and_then(|cluster| cluster.dbname.clone());
        shards.push(Shard { name: entry.name.clone(), cluster, dbname: owned(&raw.dbname).or(default) });
    }
    // A shard that could not be made would move the others' indices, and make names dangle that don't.
    if shards.len() == entries.len() { shards } else { Vec::new() }
}

fn scheme(entry: &NamedEntry<raw::Scheme>, shards: &[Shard], context: &Context<'_>) -> Option<Scheme> {
    let raw = entry.value.get()?;
    if !raw.r#type.is_said() {
        context.sink.error(entry.place, "has no `type`; expected list");
    }
    // Another type was refused when it was read; what belongs to it says no more.
    raw.r#type.get()?;
    let foreign =
        [raw.modulus.place(), raw.shards.place(), raw.ranges.place(), raw.cluster.place(), raw.sql.place()];
    for place in foreign.into_iter().flatten() {
        context.sink.error(place, "does not belong to a list; expected `of`, `values` and `default` alone");
    }
    if !raw.of.is_said() {
        context.sink.error(entry.place, "has no `of`; expected the key's type: text, bigint or uuid");
    }
    let of = raw.of.get()?.0;
    if !raw.values.is_said() {
        context.sink.error(entry.place, "has no `values`; expected them, such as {us: [US, CA], eu: [DE]}");
    }
    let mut values: BTreeMap<String, u16> = BTreeMap::new();
    for entry in &raw.values.clone_or_default().0 {
        let Some(shard) = shard_index(&entry.name, entry.place, shards, context) else { continue };
        for (place, value) in entry.value.get().iter().flat_map(|many| &many.0).filter_map(Said::with_place) {
            let Some(key) = canonical(&value.0, of) else {
                context.sink.error(place, format!("`{}` is no {}; expected one", value.0, type_name(of)));
                continue;
            };
            if values.insert(key, shard).is_some() {
                context
                    .sink
                    .error(place, format!("the value `{}` is listed twice; expected it once", value.0));
            }
        }
    }
    let default = text(&raw.default).zip(raw.default.place());
    let default = default.and_then(|(name, place)| shard_index(name, place, shards, context));
    Some(Scheme::List { of, values, default })
}

fn shard_index(name: &str, place: Place, shards: &[Shard], context: &Context<'_>) -> Option<u16> {
    let index = shards.iter().position(|shard| shard.name == name);
    if index.is_none() {
        let known: Vec<&str> = shards.iter().map(|shard| shard.name.as_str()).collect();
        context.dangling(place, "shard", name, &known, "shards");
    }
    index.and_then(|index| u16::try_from(index).ok())
}

fn table(
    entry: &NamedEntry<raw::ShardedTable>,
    schemes: &[&str],
    names: &mut Names<'_>,
    context: &Context<'_>,
) -> Option<ShardedTable> {
    let name = names.add(&entry.name, entry.place);
    let raw = entry.value.get()?;
    if !raw.key.is_said() {
        context.sink.error(entry.place, "has no `key`; expected the column that says the shard");
    }
    if !raw.scheme.is_said() {
        context.sink.error(entry.place, "has no `scheme`; expected the name of one under schemes");
    }
    if let Some((place, scheme)) = raw.scheme.with_place()
        && !schemes.contains(&scheme.0.as_str())
    {
        context.dangling(place, "scheme", &scheme.0, schemes, "schemes");
    }
    let (place, key) = raw.key.with_place()?;
    match key.0.len() {
        1 => {}
        0 => context.sink.error(place, "an empty list; expected a column"),
        _ => context
            .sink
            .error(place, "a key of several columns is not supported by this version; expected one"),
    }
    let column = identifiers(&key.values().next()?.0)
        .filter(|parts| parts.len() == 1)
        .and_then(|mut parts| parts.pop());
    if column.is_none() {
        context
            .sink
            .error(place, "not a column's name; expected one name, quoted as in SQL where it needs to be");
    }
    Some(ShardedTable { table: name?, column: column?, scheme: raw.scheme.get()?.0.clone() })
}

/// The tables that were named so far: each may be named once.
struct Names<'a> {
    seen: HashMap<TableName, Place>,
    context: &'a Context<'a>,
}

impl Names<'_> {
    fn add(&mut self, text: &str, place: Place) -> Option<TableName> {
        let sink = self.context.sink;
        let mut parts = identifiers(text).unwrap_or_default();
        let (schema, name) = match (parts.pop(), parts.pop(), parts.pop()) {
            (Some(name), schema, None) => (schema, name),
            _ => {
                sink.error(
                    place,
                    format!("`{text}` is no table's name; expected table or schema.table, as in SQL"),
                );
                return None;
            }
        };
        let table = TableName { schema, name };
        if let Some(first) = self.seen.insert(table.clone(), place) {
            sink.error(place, format!("the table is listed twice (first in {})", sink.describe(first)));
        }
        Some(table)
    }
}

/// Parts of a name as Postgres reads it: `a.b`, folded to lower case unless in double quotes.
fn identifiers(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let mut part = String::new();
                let mut rest = quoted;
                loop {
                    let end = rest.find('"')?;
                    part.push_str(&rest[..end]);
                    rest = &rest[end + 1..];
                    match rest.strip_prefix('"') {
                        Some(after) => {
                            part.push('"');
                            rest = after;
                        }
                        None => break,
                    }
                }
                (part, rest)
            }
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                let plain = &rest[..end];
                let good = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii();
                if !plain.chars().all(good) || plain.starts_with(|c: char| c.is_ascii_digit() || c == '$') {
                    return None;
                }
                (plain.to_ascii_lowercase(), &rest[end..])
            }
        };
        if part.is_empty() {
            return None;
        }
        parts.push(part);
        match after.strip_prefix('.') {
            Some(more) => rest = more,
            None if after.is_empty() => return Some(parts),
            None => return None,
        }
    }
}

/// The text that stands for all spellings of a value.
pub(crate) fn canonical(value: &str, of: KeyType) -> Option<String> {
    match of {
        KeyType::Text => Some(value.to_owned()),
        KeyType::Bigint => value.parse::<i64>().ok().map(|number| number.to_string()),
        KeyType::Uuid => {
            let inner = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(value);
            let hex: String = inner.chars().filter(|c| *c != '-').flat_map(char::to_lowercase).collect();
            if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            Some(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
        }
    }
}

fn type_name(of: KeyType) -> &'static str {
    crate::scalar::word(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_postgres_reads_them() {
        assert_eq!(identifiers("Billing.Invoices"), Some(vec!["billing".into(), "invoices".into()]));
        assert_eq!(identifiers(r#"a."We.i""rd""#), Some(vec!["a".into(), "We.i\"rd".into()]));
        for text in ["", ".", "a.", ".a", "a b", "\"a", "\"\"", "1a", "\"a\"b"] {
            assert_eq!(identifiers(text), None, "{text}");
        }
    }

    #[test]
    fn values_have_one_spelling() {
        assert_eq!(canonical("007", KeyType::Bigint).as_deref(), Some("7"));
        assert_eq!(canonical("7.5", KeyType::Bigint), None);
        let uuid = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11";
        assert_eq!(canonical(uuid, KeyType::Uuid), Some(uuid.to_lowercase()));
        assert_eq!(canonical("{a0eebc999c0b4ef8bb6d6bb9bd380a11}", KeyType::Uuid), Some(uuid.to_lowercase()));
        assert_eq!(canonical("a0eebc99", KeyType::Uuid), None);
        assert_eq!(canonical("ééééééééééé", KeyType::Uuid), None);
    }
}
