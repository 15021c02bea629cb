//! A database's placement, prepared once per configuration so that deciding is a look-up.

use std::collections::HashMap;

use config::{Cluster, ClusterId, Config, Database, KeyType, Placement, Scheme, Sharding, TableName};

use crate::decision::ShardIndex;
use crate::reason::ShardReason;

/// A database's placement, prepared once per configuration. Immutable; share it between sessions.
#[derive(Debug)]
pub struct DatabaseMap {
    shards: Vec<ShardPlace>,
    tables: Option<Tables>,
    nearest: ShardIndex,
}

#[derive(Debug)]
struct ShardPlace {
    name: String,
    cluster: ClusterId,
    dbname: Option<String>,
}

/// What is known of the relations of a sharded database.
#[derive(Debug)]
pub(crate) struct Tables {
    by_name: HashMap<String, Vec<(Option<String>, TablePlace)>>,
    pub(crate) sharded: Vec<KeyedTable>,
    single: Vec<(ShardIndex, TableName)>,
    pub(crate) schemes: Vec<ListScheme>,
}

/// Where a listed relation lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TablePlace {
    /// By its key: index into `Tables::sharded`.
    Sharded(u16),
    /// Everywhere the same.
    Reference,
    /// On one shard: index into `Tables::single`.
    Single(u16, ShardIndex),
}

/// A table with a shard key.
#[derive(Debug)]
pub(crate) struct KeyedTable {
    pub(crate) table: TableName,
    pub(crate) column: String,
    /// Index into `Tables::schemes`.
    pub(crate) scheme: usize,
}

/// A `list` scheme: canonical value to shard.
#[derive(Debug)]
pub(crate) struct ListScheme {
    pub(crate) of: KeyType,
    index: HashMap<Vec<u8>, u32>,
    values: Vec<(String, ShardIndex)>,
    default: Option<ShardIndex>,
}

impl DatabaseMap {
    /// Prepares one database of a configuration.
    pub fn from_config(config: &Config, database: &Database) -> DatabaseMap {
        let map = DatabaseMap::new(&config.clusters, &database.placement);
        let Some(here) = config.instance.region.as_deref() else { return map };
        let region =
            |shard| config.cluster(map.cluster_of(shard)).and_then(|cluster| cluster.region.as_deref());
        let nearest = map.shard_indexes().find(|&shard| region(shard) == Some(here));
        DatabaseMap { nearest: nearest.unwrap_or(map.nearest), ..map }
    }

    pub(crate) fn new(clusters: &[Cluster], placement: &Placement) -> DatabaseMap {
        let cluster_of = |id: ClusterId| clusters.get(usize::from(id.0));
        match placement {
            Placement::Single { cluster, dbname } => DatabaseMap {
                shards: vec![ShardPlace {
                    name: cluster_of(*cluster).map_or_else(String::new, |cluster| cluster.name.clone()),
                    cluster: *cluster,
                    dbname: dbname_or(dbname, cluster_of(*cluster)),
                }],
                tables: None,
                nearest: ShardIndex(0),
            },
            Placement::Sharded(sharding) => DatabaseMap {
                shards: sharding
                    .shards
                    .iter()
                    .map(|shard| ShardPlace {
                        name: shard.name.clone(),
                        cluster: shard.cluster,
                        dbname: dbname_or(&shard.dbname, cluster_of(shard.cluster)),
                    })
                    .collect(),
                tables: Some(Tables::new(sharding)),
                nearest: ShardIndex(0),
            },
        }
    }

    /// Where goes what any shard can answer: the first shard in this pgweir's region, else the first.
    pub fn nearest(&self) -> ShardIndex {
        self.nearest
    }

    /// Number of shards; 1 for an unsharded database.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Every shard's index, in the order of the configuration.
    pub fn shard_indexes(&self) -> impl Iterator<Item = ShardIndex> + '_ {
        (0..self.shards.len()).filter_map(|index| u16::try_from(index).ok().map(ShardIndex))
    }

    /// Whether the database is sharded; one with a single shard may be.
    pub fn is_sharded(&self) -> bool {
        self.tables.is_some()
    }

    /// A shard's name; an unsharded database's is its cluster's name.
    ///
    /// # Panics
    /// If the index comes from another map, as do the two below.
    pub fn shard_name(&self, shard: ShardIndex) -> &str {
        &self.shards[usize::from(shard.0)].name
    }

    /// The cluster that a shard lives on.
    pub fn cluster_of(&self, shard: ShardIndex) -> ClusterId {
        self.shards[usize::from(shard.0)].cluster
    }

    /// The database's name on a shard's servers; `None`: the name that the client gave.
    pub fn dbname_of(&self, shard: ShardIndex) -> Option<&str> {
        self.shards[usize::from(shard.0)].dbname.as_deref()
    }

    /// The shard of this name; `None` if there is none, or if the database isn't sharded.
    pub fn shard_named(&self, name: &str) -> Option<ShardIndex> {
        self.tables.as_ref()?;
        self.shard_indexes().find(|&shard| self.shard_name(shard) == name)
    }

    /// The names of all shards, for a message.
    pub(crate) fn shard_names(&self) -> String {
        self.shards.iter().map(|shard| shard.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// What is known of the relations; `None` if the database isn't sharded.
    pub(crate) fn tables(&self) -> Option<&Tables> {
        self.tables.as_ref()
    }

    /// Why this shard, in words; empty where there was no choice.
    pub(crate) fn shard_reason_in_words(&self, reason: ShardReason) -> String {
        match reason {
            ShardReason::Unsharded => String::new(),
            ShardReason::NoRelation => "names no table, any shard would do".into(),
            ShardReason::Reference => "reads reference tables, any shard would do".into(),
            ShardReason::Catalog => "reads system catalogs".into(),
            ShardReason::First => "works on what each shard has of its own, always the first shard".into(),
            ShardReason::Described => "only described, any shard would do".into(),
            ShardReason::InTransaction => "in a transaction there".into(),
            ShardReason::Hint => "hint shard".into(),
            ShardReason::HintKey => "hint key".into(),
            ShardReason::Setting => "pgweir.shard".into(),
            ShardReason::Key { table, value } => self.key_in_words(table, value),
            ShardReason::Single { table } => match self
                .tables
                .as_ref()
                .and_then(|tables| tables.single.get(usize::from(table)).map(|(_, name)| name))
            {
                Some(name) => format!("{} lives there alone", in_words(name)),
                None => "a table lives there alone".into(),
            },
        }
    }

    fn key_in_words(&self, table: u16, value: Option<u32>) -> String {
        let Some((tables, table)) =
            self.tables.as_ref().and_then(|tables| Some((tables, tables.sharded.get(usize::from(table))?)))
        else {
            return "by key".into();
        };
        let column = format!("{}.{}", in_words(&table.table), table.column);
        let scheme = tables.schemes.get(table.scheme);
        match value {
            None => format!("{column} has another value, the default"),
            Some(value) => match scheme.and_then(|scheme| scheme.value_text(value)) {
                Some((text, KeyType::Bigint)) => format!("{column} = {text}"),
                Some((text, _)) => format!("{column} = '{}'", text.replace('\'', "''")),
                None => format!("by {column}"),
            },
        }
    }
}

impl Tables {
    fn new(sharding: &Sharding) -> Tables {
        let names: Vec<&String> = sharding.schemes.keys().collect();
        let mut tables = Tables {
            by_name: HashMap::new(),
            sharded: Vec::new(),
            single: Vec::new(),
            schemes: sharding.schemes.values().map(ListScheme::new).collect(),
        };
        for table in &sharding.tables {
            // A scheme's name that dangles was refused by the configuration's own checks.
            let Some(scheme) = names.iter().position(|name| **name == table.scheme) else { continue };
            let Ok(index) = u16::try_from(tables.sharded.len()) else { continue };
            tables.list(&table.table, TablePlace::Sharded(index));
            tables.sharded.push(KeyedTable {
                table: table.table.clone(),
                column: table.column.clone(),
                scheme,
            });
        }
        for table in &sharding.reference_tables {
            tables.list(table, TablePlace::Reference);
        }
        for (shard, table) in &sharding.single {
            let Ok(index) = u16::try_from(tables.single.len()) else { continue };
            tables.list(table, TablePlace::Single(index, ShardIndex(*shard)));
            tables.single.push((ShardIndex(*shard), table.clone()));
        }
        tables
    }

    fn list(&mut self, table: &TableName, place: TablePlace) {
        self.by_name.entry(table.name.clone()).or_default().push((table.schema.clone(), place));
    }

    /// Where a relation lives, as a statement names it. A table that is listed without a schema is the one that
    /// statements name without a schema or as `public.table`; one that is listed with a schema has to be named
    /// with it.
    pub(crate) fn find(&self, schema: Option<&str>, name: &str) -> Option<TablePlace> {
        let places = self.by_name.get(name)?;
        let listed_as = |wanted: Option<&str>| {
            places.iter().find(|(listed, _)| listed.as_deref() == wanted).map(|found| found.1)
        };
        match schema {
            None => listed_as(None),
            Some("public") => listed_as(Some("public")).or_else(|| listed_as(None)),
            Some(schema) => listed_as(Some(schema)),
        }
    }
}

impl ListScheme {
    fn new(scheme: &Scheme) -> ListScheme {
        let Scheme::List { of, values, default } = scheme;
        let mut list = ListScheme {
            of: *of,
            index: HashMap::with_capacity(values.len()),
            values: Vec::with_capacity(values.len()),
            default: default.map(ShardIndex),
        };
        for (text, shard) in values {
            let Ok(index) = u32::try_from(list.values.len()) else { break };
            list.index.insert(text.as_bytes().to_vec(), index);
            list.values.push((text.clone(), ShardIndex(*shard)));
        }
        list
    }

    /// The shard of a canonical value, and its index in the list; `None`: neither listed nor a default.
    pub(crate) fn shard_of(&self, canonical: &[u8]) -> Option<(ShardIndex, Option<u32>)> {
        match self.index.get(canonical) {
            Some(&index) => {
                let (_, shard) = self.values.get(usize::try_from(index).ok()?)?;
                Some((*shard, Some(index)))
            }
            None => Some((self.default?, None)),
        }
    }

    fn value_text(&self, index: u32) -> Option<(&str, KeyType)> {
        let (text, _) = self.values.get(usize::try_from(index).ok()?)?;
        Some((text, self.of))
    }
}

/// A table's name as a statement would write it, quotes left out.
pub(crate) fn in_words(table: &TableName) -> String {
    match &table.schema {
        Some(schema) => format!("{schema}.{}", table.name),
        None => table.name.clone(),
    }
}

fn dbname_or(own: &Option<String>, cluster: Option<&Cluster>) -> Option<String> {
    own.clone().or_else(|| cluster.and_then(|cluster| cluster.dbname.clone()))
}
