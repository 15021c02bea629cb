//! The shapes of the file as they are written: what serde reads, what the JSON schema is made of, and nothing that
//! the runtime sees. The doc comments become the descriptions in the schema.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::choices::{LogFormat, LogLevel, SaidRole, SchemeType};
use crate::model::{
    AuthMethod, Balance, Consistency, KeyType, OnLoss, PoolMode, ReadsOnPrimary, RoleSetting, TlsMode,
    Transactions,
};
use crate::said::{Many, Named, Said, Short};
use crate::scalar::{
    Address, AutoCount, Choice, Count, Flag, KeyValue, LagLimit, Number, Password, Port, ShareOf, Size, Span,
    Text, Url, Wait,
};

/// Structs whose every field may be left out.
macro_rules! shapes {
    ($($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* })*) => { $(
        #[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        $(#[$meta])*
        pub(crate) struct $name { $($(#[$doc])* pub(crate) $field: Said<$type>,)* }
    )* };
}

shapes! {
    /// Configuration of pgweir.
    #[schemars(title = "pgweir")]
    File {
        /// This pgweir.
        instance: Instance,
        /// Where it listens.
        listen: Listen,
        /// Who may use the console, the databases `pgweir` and `pgbouncer`.
        admin: Admin,
        /// Logging.
        log: Log,
        /// How clients prove who they are.
        auth: Auth,
        /// Known users, by name.
        users: Named<User>,
        /// Bounds on clients.
        limits: Limits,
        /// Defaults of pools; a database or a user may override any of them.
        pool: Pool,
        /// Defaults of routing; a database or a user may override any of them.
        route: Route,
        /// Probing of servers.
        health: Health,
        /// When a primary is lost.
        failover: Failover,
        /// Clusters by name: each a primary and its replicas.
        clusters: Named<Cluster>,
        /// Databases by the name that a client gives; `*` is any other.
        databases: Named<Short<Url, Database>>,
    }

    Instance {
        /// Its name in logs and metrics; default: HOSTNAME, or pgweir.
        name: Text,
        /// Nodes of this region are preferred.
        region: Option<Text>,
        /// Nodes of this zone are preferred.
        zone: Option<Text>,
        /// How many pgweirs share the same servers: budgets are divided by it. Default 1.
        fleet: Count,
        /// Threads that relay; auto (default): one for each core.
        workers: AutoCount,
        /// How many shapes of statements each thread keeps the facts of, about a kilobyte each; default 10000.
        shapes: Count,
    }

    Listen {
        /// Addresses; default 127.0.0.1:6432.
        tcp: Many<Address>,
        /// Folder of the Unix socket; default /tmp; null: none.
        unix_dir: Option<Text>,
        /// Address of /metrics and /healthz; default 127.0.0.1:9632; null: none.
        http: Option<Address>,
        /// TLS towards clients.
        tls: ListenTls,
        /// How soon a client is noticed that vanished without a word; default: idle 60s, interval 10s, count 3,
        /// user_timeout 0s.
        tcp_keepalive: Keepalive,
        /// Further listeners with a meaning of their own.
        extra: Vec<Said<ExtraListener>>,
    }

    ListenTls {
        /// Default: prefer with a certificate, disable without one.
        mode: Choice<TlsMode>,
        /// PEM file with the certificate chain.
        certificate: Option<Text>,
        /// PEM file with the key.
        key: Option<Text>,
        /// PEM file with the authorities of client certificates.
        client_ca: Option<Text>,
    }

    ExtraListener {
        /// Its address.
        tcp: Address,
        /// The role of every session that arrives here.
        role: Choice<RoleSetting>,
        /// Not supported by this version.
        proxy_protocol_from: Many<Text>,
    }

    Admin {
        /// May do everything on the console.
        users: Many<Text>,
        /// May SHOW.
        stats_users: Many<Text>,
    }

    Log {
        /// Default text.
        format: Choice<LogFormat>,
        /// Default info.
        level: Choice<LogLevel>,
        /// Statements that take longer are logged, without literals.
        slow_statement: Option<Span>,
    }

    Auth {
        /// When no rule matches; default scram-sha-256.
        method: Choice<AuthMethod>,
        /// The first that matches wins.
        rules: Vec<Said<AuthRule>>,
        /// Users and passwords in the format of PgBouncer's auth_file.
        users_file: Option<Text>,
        /// Not supported by this version.
        hba_file: Option<Text>,
        /// Not supported by this version.
        query: Option<AuthQuery>,
    }

    AuthRule {
        /// Networks (10.0.0.0/8), addresses, `unix` or `all`; default all.
        from: Many<Text>,
        /// User names, or `all` (default).
        users: Many<Text>,
        /// Database names, or `all` (default).
        databases: Many<Text>,
        /// What then.
        method: Choice<AuthMethod>,
    }

    AuthQuery {
        /// Cluster.
        cluster: Text,
        /// User who asks.
        user: Text,
        /// Query.
        sql: Text,
        /// How long an answer is kept.
        ttl: Span,
    }

    User {
        /// Its password, or its md5… or SCRAM-SHA-256$… secret.
        password: Option<Password>,
        /// Several that are valid at once; empty ones are left out.
        passwords: Vec<Said<Option<Password>>>,
        /// File that holds the password; a line break at its end is left out.
        password_file: Option<Text>,
        /// Overrides of `pool`.
        pool: Pool,
        /// Overrides of `route`.
        route: Route,
        /// Who it is on the servers.
        server: ServerLogin,
    }

    ServerLogin {
        /// User on the servers.
        user: Text,
        /// Its password there.
        password: Option<Password>,
        /// File that holds it.
        password_file: Option<Text>,
        /// Not supported by this version.
        password_command: Option<Text>,
    }

    Limits {
        /// Clients in all; default 10000.
        max_client_conn: Count,
        /// For each user; default null: no bound of its own.
        max_client_conn_per_user: Option<Count>,
        /// Not yet authenticated; default 1000.
        unauthenticated_connections: Count,
        /// From accept to authenticated; default 15s.
        client_login_timeout: Span,
        /// Idle outside a transaction; default null: for ever.
        client_idle_timeout: Option<Span>,
        /// Of one message; default 1GiB.
        max_message: Size,
    }

    Pool {
        /// When a server connection goes back to the pool; default transaction.
        mode: Choice<PoolMode>,
        /// Connections for each user, database and node; auto (default): as much of the node's budget as is free.
        size: AutoCount,
        /// Kept open; default 0.
        min_pool_size: Number,
        /// More, once a client has waited for reserve_pool_timeout; default 0.
        reserve_pool_size: Number,
        /// Default 3s.
        reserve_pool_timeout: Wait,
        /// How much of the pool may be pinned to sessions; default 25%.
        pinned: ShareOf,
        /// A client waits at most this long for a connection; default 30s; null: for ever.
        query_wait_timeout: Option<Span>,
        /// TCP connect, TLS and login of a server connection; default 5s.
        server_connect_timeout: Span,
        /// Pause after a failed one; default 1s.
        server_login_retry: Wait,
        /// Idle ones are closed after this; default 10m; null: never.
        server_idle_timeout: Option<Span>,
        /// Any are closed after this, with jitter; default 1h; null: never.
        server_lifetime: Option<Span>,
        /// A statement runs at most this long; default null: no bound.
        query_timeout: Option<Span>,
        /// A transaction lasts at most this long; default null: no bound.
        transaction_timeout: Option<Span>,
        /// A client may sit idle in a transaction at most this long; default null: no bound.
        idle_transaction_timeout: Option<Span>,
        /// Prepared statements kept on each server connection; default 500.
        max_prepared_statements: Number,
        /// Idle server connections are handed out in turn, not the warmest first; default false.
        server_round_robin: Flag,
        /// What becomes of sessions that LISTEN when notifications may have been missed: `close` (57P01, as with a
        /// server that is lost) or `keep`; default close.
        listen_on_loss: Choice<OnLoss>,
    }

    Route {
        /// auto (default): split; observe: all to the primary, decisions only recorded.
        role: Choice<RoleSetting>,
        /// What a read must have seen: what was acknowledged to anyone in the database (default), to its session, all
        /// that was committed (strong), or whatever there is (eventual).
        consistency: Choice<Consistency>,
        /// Where the reads of a transaction that may write go: primary (default); replica_until_write: to a replica, up to
        /// its first statement that isn't a plain read (READ COMMITTED only).
        transactions: Choice<Transactions>,
        /// How a node is chosen; default least_connections.
        balance: Choice<Balance>,
        /// Replicas further behind, in time or bytes of WAL, are out of the reads; default 10s; null: none is.
        max_lag: Option<LagLimit>,
        /// How long a read may wait for a replica to catch up before it goes to the primary; default 5ms.
        replica_wait: Wait,
        /// When the primary takes reads; default if_no_replica.
        reads_on_primary: Choice<ReadsOnPrimary>,
    }

    Health {
        /// Between probes; default 5s.
        interval: Span,
        /// Of one probe; default 2s.
        timeout: Span,
        /// In a row, and the node is out; default 3.
        failures: Count,
        /// How long a replica that returns takes to come to its share of reads; default 30s; 0s: at once.
        slow_start: Wait,
        /// Where positions can't be read, a replica is taken to have replayed what is older than this; default 10s.
        assumed_lag: Span,
    }

    Failover {
        /// How long new transactions wait for a primary; default 60s.
        wait: Wait,
        /// Find out what became of a COMMIT whose answer was lost; costs a query for each transaction that writes;
        /// default false.
        resolve_commits: Flag,
    }

    Cluster {
        /// Its region.
        region: Option<Text>,
        /// The database's name there, for databases that don't say.
        dbname: Option<Text>,
        /// Who probes; default: the first user with a password.
        control: Control,
        /// TLS towards its servers.
        tls: ServerTls,
        /// Keep-alive of connections to its servers.
        tcp_keepalive: Keepalive,
        /// Server connections to each node over all pools; auto (default): 2 for each of its cores.
        server_connections: AutoCount,
        /// Other sources of roles than probes: {patroni: [http://host:8008, …]}.
        discover: Option<Named<Many<Text>>>,
        /// Its servers by name.
        nodes: Named<Node>,
    }

    Control {
        /// User.
        user: Text,
        /// Its password.
        password: Option<Password>,
        /// File that holds it.
        password_file: Option<Text>,
    }

    ServerTls {
        /// Default prefer.
        mode: Choice<TlsMode>,
        /// PEM file with the authorities, for verify-ca and verify-full.
        ca: Option<Text>,
    }

    Keepalive {
        /// Idle time before the first probe; default 30s to servers, 60s to clients.
        idle: Span,
        /// Between probes; default 10s.
        interval: Span,
        /// Probes; default 3.
        count: Count,
        /// How long sent bytes may stay unacknowledged; default 30s to servers. 0s leaves it to the system, the default
        /// to clients: one that takes its time to read is not to be cut off.
        user_timeout: Wait,
    }

    Node {
        /// Host name, address, or an absolute path: the folder of a Unix socket.
        host: Text,
        /// Default 5432.
        port: Port,
        /// Default auto: found.
        role: Choice<SaidRole>,
        /// Its cores; default: as many as this machine has.
        cores: Count,
        /// Its zone.
        zone: Option<Text>,
        /// Share of reads; no effect in this version.
        weight: Number,
    }

    Database {
        /// The cluster it lives on.
        cluster: Text,
        /// Its name there; default: the cluster's dbname, then the name that the client gave.
        dbname: Option<Text>,
        /// Who its clients are on the servers, whoever they are here.
        server: ServerLogin,
        /// Overrides of `pool`.
        pool: Pool,
        /// Overrides of `route`.
        route: Route,
        /// No effect in this version.
        max_pools: Count,
        /// Shards by name.
        shards: Named<Shard>,
        /// Not supported by this version.
        coordinator: Option<Text>,
        /// No effect in this version.
        two_phase: Flag,
        /// What is on which shard.
        sharding: Sharding,
    }

    Shard {
        /// The cluster it lives on.
        cluster: Text,
        /// The database's name there.
        dbname: Option<Text>,
    }

    Sharding {
        /// How a key's value says the shard.
        schemes: Named<Scheme>,
        /// Tables with a key.
        tables: Named<ShardedTable>,
        /// Tables that are the same on every shard.
        reference_tables: Vec<Said<Text>>,
        /// Tables that live on one shard.
        single: Named<Many<Text>>,
    }

    Scheme {
        /// This version knows list alone.
        r#type: Choice<SchemeType>,
        /// Type of the key.
        of: Choice<KeyType>,
        /// Values of each shard.
        values: Named<Many<KeyValue>>,
        /// Shard of any other value.
        default: Option<Text>,
        /// Not supported by this version.
        modulus: Count,
        /// Not supported by this version.
        shards: Many<Text>,
        /// Not supported by this version.
        ranges: Named<Range>,
        /// Not supported by this version.
        cluster: Text,
        /// Not supported by this version.
        sql: Text,
    }

    Range {
        /// The least value.
        from: KeyValue,
        /// The value past the greatest.
        to: KeyValue,
    }

    ShardedTable {
        /// The key's column.
        key: Many<Text>,
        /// How its value says the shard.
        scheme: Text,
    }
}
