//! Pools and routing: settings, and overrides of them.

use std::time::Duration;

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
    /// Idle connections are handed out in turn, not the warmest first.
    pub server_round_robin: bool,
    /// What becomes of sessions that listen when the listening connection is lost.
    pub listen_on_loss: OnLoss,
}

/// What becomes of a session that listens when notifications may have been missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLoss {
    /// It ends, as it would with its server, so that its client looks for what it has missed.
    Close,
    /// It goes on, and listens again as soon as that is possible.
    Keep,
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
    pub server_round_robin: Option<bool>,
    pub listen_on_loss: Option<OnLoss>,
}

/// `route`, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSettings {
    /// Split, or all to one role.
    pub role: RoleSetting,
    /// Where the reads of a transaction go that may write.
    pub transactions: Transactions,
    /// What a read must have seen.
    pub consistency: Consistency,
    /// How long a read may wait for a replica to catch up before it goes to the primary.
    pub replica_wait: Duration,
    /// How nodes are chosen.
    pub balance: Balance,
    /// Replicas further behind are out of the reads; `None`: none is.
    pub max_lag: Option<MaxLag>,
    /// Reads when no replica is left.
    pub reads_on_primary: ReadsOnPrimary,
}

/// Overrides of `RouteSettings`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the one of RouteSettings")]
pub struct RouteOverrides {
    pub role: Option<RoleSetting>,
    pub transactions: Option<Transactions>,
    pub consistency: Option<Consistency>,
    pub replica_wait: Option<Duration>,
    pub balance: Option<Balance>,
    pub max_lag: Option<Option<MaxLag>>,
    pub reads_on_primary: Option<ReadsOnPrimary>,
}

/// `route.consistency`, `SET pgweir.consistency`: what a read must have seen. Under all but the last the reads of a
/// session never go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// What this pgweir has acknowledged to anyone in the database, in the tables that it reads.
    Database,
    /// What was acknowledged to its session.
    Session,
    /// Every commit before it, whoever made it.
    Strong,
    /// Whatever there is.
    Eventual,
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

/// `route.transactions`, `SET pgweir.transactions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transactions {
    /// Where its writes go.
    #[default]
    Primary,
    /// To a replica, up to its first statement that isn't a plain read.
    ReplicaUntilWrite,
}

/// `route.balance`. A node's weight counts with each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// Fewest connections in use.
    LeastConnections,
    /// In turn.
    RoundRobin,
    /// Any.
    Random,
    /// In turn, evenly mixed by weight.
    Weighted,
    /// The least expected latency: what answers took of late, times the connections in use.
    PeakEwma,
}

/// `route.max_lag`: how far behind its primary a replica may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxLag {
    /// So long ago the primary was where the replica is.
    Time(Duration),
    /// So many bytes of WAL are not replayed.
    Bytes(u64),
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
