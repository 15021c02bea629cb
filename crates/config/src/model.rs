//! The checked configuration: what the runtime sees. Immutable; made only by `load`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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
}

/// `listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// TCP addresses.
    pub tcp: Vec<SocketAddr>,
    /// Folder of the Unix socket `.s.PGSQL.<port of the first tcp address>`.
    pub unix_dir: Option<PathBuf>,
    /// Metrics and health.
    pub http: Option<SocketAddr>,
    /// TLS towards clients.
    pub tls: ListenTls,
    /// Further listeners.
    pub extra: Vec<ExtraListener>,
}

/// `listen.tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenTls {
    /// `Disable` without certificate; never `Prefer`… without one.
    pub mode: TlsMode,
    /// PEM chain.
    pub certificate: Option<PathBuf>,
    /// PEM key.
    pub key: Option<PathBuf>,
    /// PEM authorities for client certificates.
    pub client_ca: Option<PathBuf>,
}

/// A libpq-like TLS mode. For listeners `Allow` and `Prefer` mean the same: offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    /// Never.
    Disable,
    /// If the other side insists.
    Allow,
    /// If the other side can.
    Prefer,
    /// Always, unverified.
    Require,
    /// Always, the chain verified.
    VerifyCa,
    /// Always, chain and host name verified.
    VerifyFull,
}

/// `listen.extra[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraListener {
    /// Address.
    pub tcp: SocketAddr,
    /// The role of every session that arrives here.
    pub role: Option<RoleSetting>,
}

/// `admin`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admin {
    /// May do everything on the console.
    pub users: Vec<String>,
    /// May SHOW.
    pub stats_users: Vec<String>,
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

/// `auth`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// When no rule matches.
    pub method: AuthMethod,
    /// First match wins.
    pub rules: Vec<AuthRule>,
}

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// Not at all.
    Trust,
    /// MD5 (SCRAM where the stored secret is SCRAM's).
    Md5,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// Refused.
    Reject,
}

/// `auth.rules[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthRule {
    /// Networks (address, prefix length); `unix`; empty: any.
    pub from: Vec<Source>,
    /// User names; empty: all.
    pub users: Vec<String>,
    /// Database names; empty: all.
    pub databases: Vec<String>,
    /// What then.
    pub method: AuthMethod,
}

/// Where a client comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The Unix socket.
    Unix,
    /// A network: address and prefix length in bits.
    Network(std::net::IpAddr, u8),
}

/// What proves a user's password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredPassword {
    /// The password itself.
    Plain(Secret),
    /// `md5` and 32 hex digits.
    Md5(Secret),
    /// `SCRAM-SHA-256$…`.
    Scram(Secret),
}

/// A user, from `users` or `users_file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Any of them is valid (rotation); empty: cannot log in but by trust.
    pub passwords: Vec<StoredPassword>,
    /// Overrides of `pool`, by field.
    pub pool: PoolOverrides,
    /// Overrides of `route`, by field.
    pub route: RouteOverrides,
    /// Who it is on the servers; `None`: itself.
    pub server_user: Option<String>,
    /// Its password there; `None`: the first plain one of `passwords`.
    pub server_password: Option<Secret>,
}

/// `limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Clients in all.
    pub max_client_conn: usize,
    /// For each user.
    pub max_client_conn_per_user: Option<usize>,
    /// Not yet authenticated.
    pub unauthenticated_connections: usize,
    /// From accept to authenticated.
    pub client_login_timeout: Duration,
    /// Idle outside a transaction.
    pub client_idle_timeout: Option<Duration>,
    /// Bytes of one message.
    pub max_message: u32,
}

/// Pooling mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// A server connection for the client's life.
    Session,
    /// … for a transaction.
    Transaction,
    /// … for a statement; transaction blocks are refused.
    Statement,
}

/// Settings of a pool, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    /// Mode.
    pub mode: PoolMode,
    /// Connections for each user, database and node; `None`: auto, as much of the node's budget as is free.
    pub size: Option<usize>,
    /// Kept open.
    pub min_pool_size: usize,
    /// More, once a client has waited for `reserve_pool_timeout`.
    pub reserve_pool_size: usize,
    /// See there.
    pub reserve_pool_timeout: Duration,
    /// Pinned sessions at most, in connections of a pool of `size` (already computed from a percentage by
    /// `pinned_limit`).
    pub pinned: Share,
    /// A client waits at most this long for a connection.
    pub query_wait_timeout: Option<Duration>,
    /// TCP connect, TLS and login of a server connection.
    pub server_connect_timeout: Duration,
    /// Pause after a failed one.
    pub server_login_retry: Duration,
    /// Idle ones are closed after this.
    pub server_idle_timeout: Option<Duration>,
    /// Any are closed after this, with jitter.
    pub server_lifetime: Option<Duration>,
    /// A statement runs at most this long.
    pub query_timeout: Option<Duration>,
    /// A transaction lasts at most this long.
    pub transaction_timeout: Option<Duration>,
    /// A client may sit idle in a transaction at most this long.
    pub idle_transaction_timeout: Option<Duration>,
    /// Kept on each server connection.
    pub max_prepared_statements: usize,
}

/// An absolute number or a percentage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many.
    Count(usize),
    /// Percent of the pool, 0 to 100.
    Percent(u8),
}

/// Overrides of `PoolSettings`: each field `None` where the default holds. Timeouts that may be null are
/// `Some(None)` then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the one of PoolSettings")]
pub struct PoolOverrides {
    pub mode: Option<PoolMode>,
    pub size: Option<Option<usize>>,
    pub min_pool_size: Option<usize>,
    pub reserve_pool_size: Option<usize>,
    pub reserve_pool_timeout: Option<Duration>,
    pub pinned: Option<Share>,
    pub query_wait_timeout: Option<Option<Duration>>,
    pub server_connect_timeout: Option<Duration>,
    pub server_login_retry: Option<Duration>,
    pub server_idle_timeout: Option<Option<Duration>>,
    pub server_lifetime: Option<Option<Duration>>,
    pub query_timeout: Option<Option<Duration>>,
    pub transaction_timeout: Option<Option<Duration>>,
    pub idle_transaction_timeout: Option<Option<Duration>>,
    pub max_prepared_statements: Option<usize>,
}

/// `route`, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSettings {
    /// Split, or all to one role.
    pub role: RoleSetting,
    /// How nodes are chosen.
    pub balance: Balance,
    /// Replicas further behind are out; used from the day that lag is measured.
    pub max_lag: Duration,
    /// Reads when no replica is left.
    pub reads_on_primary: ReadsOnPrimary,
}

/// Overrides of `RouteSettings`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the one of RouteSettings")]
pub struct RouteOverrides {
    pub role: Option<RoleSetting>,
    pub balance: Option<Balance>,
    pub max_lag: Option<Duration>,
    pub reads_on_primary: Option<ReadsOnPrimary>,
}

/// `route.role`, `SET pgweir.role`, a listener's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleSetting {
    /// Split.
    Auto,
    /// All to the primary.
    Primary,
    /// All to replicas.
    Replica,
    /// All to the primary; what would have been decided is recorded.
    Observe,
}

/// `route.balance`. (Others of the contract are refused until they exist.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// Fewest connections in use.
    LeastConnections,
    /// In turn.
    RoundRobin,
    /// Any.
    Random,
}

/// `route.reads_on_primary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadsOnPrimary {
    /// Only when no replica is left.
    IfNoReplica,
    /// The primary is one of the nodes that read.
    Always,
    /// An error then.
    Never,
}

/// `health`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Between probes.
    pub interval: Duration,
    /// Of one probe.
    pub timeout: Duration,
    /// In a row, and the node is out.
    pub failures: u32,
}

/// A primary and its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: Option<String>,
    /// Default for databases that don't say.
    pub dbname: Option<String>,
    /// Who probes; `None`: the first user with a plain password.
    pub control: Option<Control>,
    /// TLS towards its servers.
    pub tls: ServerTls,
    /// Socket options towards its servers.
    pub keepalive: Keepalive,
    /// Server connections to each node over all pools, already divided by `fleet`; `None`: auto, 2 × the node's cores.
    pub server_connections: Option<usize>,
    /// At least one.
    pub nodes: Vec<Node>,
}

/// `clusters.*.control`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// User.
    pub user: String,
    /// Password.
    pub password: Option<Secret>,
}

/// `clusters.*.tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// Mode; default `Prefer`.
    pub mode: TlsMode,
    /// PEM authorities, for the verifying modes.
    pub ca: Option<PathBuf>,
}

/// `clusters.*.tcp_keepalive`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle time before the first probe.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
    /// Probes.
    pub count: u32,
    /// TCP_USER_TIMEOUT.
    pub user_timeout: Duration,
}

/// `clusters.*.nodes.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Host name, address, or an absolute path: the folder of a Unix socket.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `None`: found.
    pub role: Option<NodeRole>,
    /// Its cores; this machine's unless said.
    pub cores: usize,
    /// Its zone.
    pub zone: Option<String>,
    /// Share of reads.
    pub weight: u32,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeRole {
    /// Takes writes.
    Primary,
    /// Streams from one that does.
    Replica,
}

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

impl Secret {
    /// The secret itself; never put it in a message.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
