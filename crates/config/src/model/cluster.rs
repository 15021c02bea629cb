//! Clusters: their servers, and how those are reached and probed.

use std::path::PathBuf;
use std::time::Duration;

use super::{Secret, TlsMode};
use crate::patroni::PatroniAddress;

/// `health`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Between probes.
    pub interval: Duration,
    /// Of one probe.
    pub timeout: Duration,
    /// In a row, and the node is out.
    pub failures: u32,
    /// How long a replica that returns takes to come to its share of reads; zero: it has it at once.
    pub slow_start: Duration,
    /// A replica that doesn't tell its position, or whose primary doesn't, is taken to have replayed what is older.
    pub assumed_lag: Duration,
}

/// What a server has refused to tell is asked for again with every so manieth probe: each refusal is a line in its log.
pub const PROBES_BETWEEN_REFUSALS: u32 = 12;

/// Between two probes of a node that fails there is no more than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Health {
    /// How long until what a server has refused to tell is asked for again.
    pub fn after_refusal(&self) -> Duration {
        self.interval.saturating_mul(PROBES_BETWEEN_REFUSALS)
    }

    /// After this long a node that answers no more is surely down: it hung right after a probe, and each of those that
    /// fail takes all of its time.
    pub fn slowest_detection(&self) -> Duration {
        let pauses = self.interval.min(LONGEST_PAUSE).saturating_mul(self.failures.saturating_sub(1));
        let probes = self.timeout.saturating_mul(self.failures);
        self.interval.saturating_add(probes).saturating_add(pauses)
    }
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
    /// `discover.patroni`: who is asked, in turn, which node leads.
    pub patroni: Vec<PatroniAddress>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
