//! The checked configuration: what the runtime sees. Immutable; made only by `load`.

mod client;
mod cluster;
mod database;
mod pool;

use std::collections::BTreeMap;
use std::time::Duration;

pub use client::{
    Admin, Auth, AuthMethod, AuthRule, ExtraListener, Limits, Listen, ListenTls, Source, StoredPassword,
    TlsMode, User,
};
pub use cluster::{Cluster, Control, Health, Keepalive, Node, NodeRole, PROBES_BETWEEN_REFUSALS, ServerTls};
pub use database::{
    Database, KeyType, Placement, Scheme, ServerLogin, Shard, ShardedTable, Sharding, TableName,
};
pub use pool::{
    Balance, Consistency, MaxLag, OnLoss, PoolMode, PoolOverrides, PoolSettings, ReadsOnPrimary, RoleSetting,
    RouteOverrides, RouteSettings, Share, Transactions,
};

/// A password or key. `Debug` and `Display` print `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(crate) String);

/// A whole, checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This pgweir.
    pub instance: Instance,
    /// Where it listens.
    pub listen: Listen,
    /// Who may use the console.
    pub admin: Admin,
    /// Logging.
    pub log: Log,
    /// Who may log in, and how.
    pub auth: Auth,
    /// Known users, by name.
    pub users: BTreeMap<String, User>,
    /// Bounds on clients.
    pub limits: Limits,
    /// Defaults of pools.
    pub pool: PoolSettings,
    /// Defaults of routing.
    pub route: RouteSettings,
    /// Probing.
    pub health: Health,
    /// How long new transactions wait for a primary.
    pub failover_wait: Duration,
    /// It is found out what became of a COMMIT whose answer was lost.
    pub resolve_commits: bool,
    /// Clusters in the order of the file; `ClusterId` indexes them.
    pub clusters: Vec<Cluster>,
    /// Databases in the order of the file.
    pub databases: Vec<Database>,
    /// What the file says that has no effect in this version, or is unwise.
    pub warnings: Vec<String>,
}

/// Index into `Config::clusters`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub u16);

/// `instance`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its name, in logs and metrics.
    pub name: String,
    /// Its region.
    pub region: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// How many pgweirs share the same servers (≥ 1).
    pub fleet: u32,
    /// Relaying threads (≥ 1; `auto` is resolved to the number of cores).
    pub workers: usize,
    /// How many shapes of statements each of them remembers (≥ 1).
    pub shapes: usize,
}

/// `log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// JSON instead of text.
    pub json: bool,
    /// `error`, `warn`, `info`, `debug`, `trace`.
    pub level: String,
    /// Statements that take longer are logged (without literals).
    pub slow_statement: Option<Duration>,
}

impl Secret {
    /// Keeps a text secret.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The secret itself; never put it in a message.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
