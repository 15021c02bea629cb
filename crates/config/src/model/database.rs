//! Databases: where they live, and what is on which shard.

use std::collections::BTreeMap;

use super::{ClusterId, PoolOverrides, RouteOverrides, Secret};

/// A database as clients name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Its name; `*` for any other.
    pub name: String,
    /// Where it lives.
    pub placement: Placement,
    /// Who its clients are on the servers, whoever they are here; see `Config::server_login`.
    pub server: Option<ServerLogin>,
    /// Overrides of `pool`.
    pub pool: PoolOverrides,
    /// Overrides of `route`.
    pub route: RouteOverrides,
}

/// Who a client is on the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLogin {
    /// User.
    pub user: String,
    /// Its password; `None`: only what the client proved can be passed on.
    pub password: Option<Secret>,
}

/// Where a database lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// On one cluster, under this name; `None`: the name that the client gave.
    Single {
        /// The cluster.
        cluster: ClusterId,
        /// Its name there.
        dbname: Option<String>,
    },
    /// On shards.
    Sharded(Sharding),
}

/// A sharded database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharding {
    /// Shards in the order of the file.
    pub shards: Vec<Shard>,
    /// Schemes by name.
    pub schemes: BTreeMap<String, Scheme>,
    /// Tables with a key.
    pub tables: Vec<ShardedTable>,
    /// The same on every shard.
    pub reference_tables: Vec<TableName>,
    /// On one shard: index into `shards` and table.
    pub single: Vec<(u16, TableName)>,
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its name.
    pub name: String,
    /// Its cluster.
    pub cluster: ClusterId,
    /// The database's name there.
    pub dbname: Option<String>,
}

/// A relation's name in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// `None`: any schema of the search path.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
}

/// A table with a shard key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardedTable {
    /// Which.
    pub table: TableName,
    /// The key's column (composite keys are refused until they exist).
    pub column: String,
    /// A key of `Sharding::schemes`.
    pub scheme: String,
}

/// How a key's value says the shard. (Others of the contract are refused until they exist.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// Value to shard.
    List {
        /// The key's type.
        of: KeyType,
        /// Canonical text of the value to the index of its shard.
        values: BTreeMap<String, u16>,
        /// For any other value.
        default: Option<u16>,
    },
}

/// The type of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// text, varchar: compared byte by byte.
    Text,
    /// smallint, integer, bigint: canonical decimal.
    Bigint,
    /// uuid: canonical lower case.
    Uuid,
}
