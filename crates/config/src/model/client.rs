//! Clients: where they arrive, who they are, and how many there may be.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Keepalive, PoolOverrides, RoleSetting, RouteOverrides, Secret};

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
    /// How soon a client that has vanished is noticed.
    pub keepalive: Keepalive,
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
