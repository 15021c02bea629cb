//! What all cores say at one moment, added up; the only place where admin reads what others count.

mod core;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use backend::PoolName;
use backend::{Directory, SharedPool, StatsSum};
use net::{Peer, TlsInfo};
use route::{TargetRole, Why};
use session::cell::Doing;
use session::routes::Routed;
use session::{Context, Stop};
use tokio::task::JoinSet;

use crate::admin::PATIENCE;
use crate::averages::{ByDatabase, Sample};
use crate::clock::Now;

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// The counters only.
    Counters,
    /// And what pools and clients do, in numbers.
    Pools,
    /// And every client and server connection by itself.
    Everything,
    /// The counters, and where shapes of statements went.
    Routes,
}

/// What all cores say at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// When.
    pub at: Instant,
    /// The configuration at work then.
    pub directory: Arc<Directory>,
    /// One for each core, in order; `None`: it didn't answer within a second.
    pub cores: Vec<Option<CoreState>>,
    /// Pools that a core knows, by name; those of a configuration that was replaced too, until they are empty.
    pub pools: Vec<PoolState>,
    /// Clients by database and user.
    pub clients: BTreeMap<(Arc<str>, Arc<str>), ClientCounts>,
    /// Pinned sessions by database, user and the name of the reason.
    pub pinned: BTreeMap<(Arc<str>, Arc<str>, &'static str), usize>,
    /// How often sessions were pinned, and how many transactions of pinned sessions ended, by the name of the reason.
    pub pins: BTreeMap<&'static str, (u64, u64)>,
    /// Counters by name; those of pools that are gone too, so that they never fall.
    pub counters: BTreeMap<PoolName, StatsSum>,
    /// How many statements went to a primary or a replica, by the reason.
    pub routed: BTreeMap<(TargetRole, Why), u64>,
    /// How often shapes of statements went where; of [`Detail::Routes`] only.
    pub routes: HashMap<Routed, u64>,
    /// Each client; of [`Detail::Everything`] only.
    pub each_client: Vec<ClientState>,
    /// Each server connection; of [`Detail::Everything`] only.
    pub each_server: Vec<ServerState>,
    /// Clients with a seat, those at the console too.
    pub seated: usize,
    /// Clients that log in.
    pub logging_in: usize,
    /// How far the end is.
    pub stop: Stop,
    /// How long this process has served.
    pub uptime: Duration,
    /// What averages reach back to.
    pub before: Option<Arc<Sample>>,
    pub(crate) now: Now,
}

/// One core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CoreState {
    /// Clients on it.
    pub clients: usize,
    /// Shapes that its cache holds.
    pub shapes: usize,
    /// Texts whose shape was known.
    pub shape_hits: u64,
    /// Texts whose shape was new.
    pub shape_misses: u64,
    /// Bytes that its thread has allocated since it began.
    pub allocated: u64,
}

/// One pool: a database, a user and a node.
#[derive(Debug, Clone)]
pub struct PoolState {
    /// Whose.
    pub shared: Arc<SharedPool>,
    /// Connections that wait for work.
    pub idle: usize,
    /// Connections that are lent out.
    pub leased: usize,
    /// Those of them that a client holds; the others are being cleaned up.
    pub held: usize,
    /// Cancels under way to them.
    pub cancels: usize,
    /// Connections being opened.
    pub opening: usize,
    /// Clients in its queues.
    pub waiting: usize,
    /// How long the first of them has waited.
    pub longest_wait: Duration,
}

/// Clients of one database and user, by what they do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientCounts {
    /// Nothing.
    pub idle: usize,
    /// They are served.
    pub active: usize,
    /// Nothing, in a transaction.
    pub idle_in_transaction: usize,
    /// They wait for a connection, or for a node.
    pub waiting: usize,
    /// How long the first of the waiting has waited.
    pub longest_wait: Duration,
}

/// One client.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "as in session::cell::ClientCell")]
pub struct ClientState {
    pub pid: u32,
    pub user: Arc<str>,
    pub database: Arc<str>,
    pub peer: Peer,
    pub tls: Option<TlsInfo>,
    pub connected: Instant,
    pub doing: Doing,
    pub since: Instant,
    pub transaction_since: Option<Instant>,
    pub application: String,
    /// Its core; `None`: it is at the console.
    pub core: Option<usize>,
    /// Pool and backend's process id of the server connection that it holds.
    pub holds: Option<(Arc<SharedPool>, u32)>,
    /// Why it is pinned to that.
    pub pinned: Option<&'static str>,
}

/// One server connection.
#[derive(Debug, Clone)]
pub struct ServerState {
    /// Its pool.
    pub pool: Arc<SharedPool>,
    /// Process id of its backend.
    pub pid: u32,
    /// When it was opened.
    pub opened: Instant,
    /// Since when it is idle, or held.
    pub since: Instant,
    /// The client that holds it: its process id and application.
    pub client: Option<(u32, String)>,
    /// Its core.
    pub core: usize,
    /// What only whoever holds the connection can tell: `None` while a client does.
    pub socket: Option<SocketState>,
}

/// The socket of a server connection.
#[derive(Debug, Clone, Default)]
pub struct SocketState {
    /// Our end.
    pub local: Option<SocketAddr>,
    /// Its TLS.
    pub tls: Option<TlsInfo>,
    /// Statements that are prepared on it.
    pub prepared: usize,
}

impl Snapshot {
    /// Reads that the nodes of a cluster have answered, by the nodes' names.
    pub(crate) fn reads_by_node(&self, cluster: &str) -> HashMap<&str, u64> {
        let mut reads = HashMap::new();
        for (pool, sum) in self.counters.iter().filter(|(pool, _)| pool.cluster == cluster) {
            *reads.entry(pool.node.as_str()).or_default() += sum.reads;
        }
        reads
    }

    /// Asks all cores at once. One that doesn't answer within a second is left out, and named by
    /// [`Snapshot::silent`].
    pub async fn take(context: &Context, detail: Detail) -> Self {
        let handles = context.cores.get().cloned().unwrap_or_default();
        let mut asked = JoinSet::new();
        for handle in &*handles {
            let handle = handle.clone();
            asked.spawn(async move {
                let answer = tokio::time::timeout(PATIENCE, handle.ask(move |core| core::read(core, detail)));
                (handle.index().0, answer.await.ok().and_then(Result::ok))
            });
        }
        let mut parts: Vec<Option<core::Part>> = handles.iter().map(|_| None).collect();
        for (index, part) in asked.join_all().await {
            parts[index] = part;
        }
        let mut snapshot = Self::empty(context.directory.load_full());
        snapshot.seated = context.seats.clients();
        snapshot.logging_in = context.seats.unauthenticated();
        snapshot.stop = *context.stop.borrow();
        snapshot.uptime = context.started.elapsed();
        snapshot.add_up(parts);
        snapshot
    }

    /// Cores that didn't answer.
    pub fn silent(&self) -> Vec<usize> {
        self.cores.iter().enumerate().filter(|(_, core)| core.is_none()).map(|(index, _)| index).collect()
    }

    /// Counters by database.
    pub fn by_database(&self) -> ByDatabase {
        let mut sums = ByDatabase::new();
        for (name, sum) in &self.counters {
            *sums.entry(Arc::clone(&name.database)).or_default() += *sum;
        }
        sums
    }

    pub(crate) fn empty(directory: Arc<Directory>) -> Self {
        let now = Now::read();
        Self {
            at: now.steady,
            directory,
            cores: Vec::new(),
            pools: Vec::new(),
            clients: BTreeMap::new(),
            pinned: BTreeMap::new(),
            pins: BTreeMap::new(),
            counters: BTreeMap::new(),
            routed: BTreeMap::new(),
            routes: HashMap::new(),
            each_client: Vec::new(),
            each_server: Vec::new(),
            seated: 0,
            logging_in: 0,
            stop: Stop::No,
            uptime: Duration::ZERO,
            before: None,
            now,
        }
    }

    fn add_up(&mut self, parts: Vec<Option<core::Part>>) {
        let mut pools: HashMap<u64, PoolState> = HashMap::new();
        for part in parts {
            self.cores.push(part.as_ref().map(|part| part.core));
            let Some(part) = part else { continue };
            for (name, stats) in part.past {
                *self.counters.entry(name).or_default() += stats;
            }
            for (pool, stats) in part.pools {
                *self.counters.entry(PoolName::of(&pool.shared)).or_default() += stats;
                match pools.entry(pool.shared.id) {
                    std::collections::hash_map::Entry::Occupied(mut known) => known.get_mut().add(&pool),
                    std::collections::hash_map::Entry::Vacant(place) => drop(place.insert(pool)),
                }
            }
            for (key, counts) in part.clients {
                self.clients.entry(key).or_default().add(counts);
            }
            for (key, count) in part.pinned {
                *self.pinned.entry(key).or_default() += count;
            }
            for (reason, (began, transactions)) in part.pins {
                let sum = self.pins.entry(reason).or_default();
                *sum = (sum.0 + began, sum.1 + transactions);
            }
            for (role, why, count) in part.routed.into_iter().filter(|(_, _, count)| *count > 0) {
                *self.routed.entry((role, why)).or_default() += count;
            }
            for (routed, count) in part.routes {
                *self.routes.entry(routed).or_default() += count;
            }
            self.each_client.extend(part.each_client);
            self.each_server.extend(part.each_server);
        }
        self.pools = pools.into_values().collect();
        self.pools.sort_by_cached_key(|pool| (PoolName::of(&pool.shared), pool.shared.id));
    }
}

impl PoolState {
    fn add(&mut self, other: &Self) {
        self.idle += other.idle;
        self.leased += other.leased;
        self.held += other.held;
        self.cancels += other.cancels;
        self.opening += other.opening;
        self.waiting += other.waiting;
        self.longest_wait = self.longest_wait.max(other.longest_wait);
    }

    /// Connections that are lent out and that no client holds: they are being cleaned up.
    pub fn cleaned(&self) -> usize {
        self.leased.saturating_sub(self.held)
    }
}

impl ClientCounts {
    fn add(&mut self, other: Self) {
        self.idle += other.idle;
        self.active += other.active;
        self.idle_in_transaction += other.idle_in_transaction;
        self.waiting += other.waiting;
        self.longest_wait = self.longest_wait.max(other.longest_wait);
    }

    /// All of them.
    pub fn all(&self) -> usize {
        self.idle + self.active + self.idle_in_transaction + self.waiting
    }
}
