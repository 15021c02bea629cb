//! What the cores share of a pool: its bound, who waits where, and who has something to lend.
//!
//! Everything here is for the cold path but `SharedPool::is_wanted_elsewhere`, one relaxed load for each release.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use config::{PoolSettings, RouteSettings};
use route::Catalog;
use route::{DatabaseMap, ShardIndex};

use crate::budget::take_below;
use crate::catalogs::{DatabaseCatalog, ShardCatalogs};
use crate::cluster::{Cluster, Node};
use crate::connect::{ConnectError, Login};
use crate::core::Remote;
use crate::sequences::SequenceUse;

/// The pools of one user and database, over all shards and nodes. They share their home cores.
#[derive(Debug)]
pub struct Group {
    /// Unique in this process.
    pub id: u64,
    /// The database as its clients name it.
    pub database: Arc<str>,
    /// The user as its clients name it.
    pub user: Arc<str>,
    /// Shards and keys.
    pub map: Arc<DatabaseMap>,
    /// Resolved settings.
    pub pool: PoolSettings,
    /// Resolved settings.
    pub route: RouteSettings,
    /// The cores that its clients are placed on.
    pub homes: Vec<usize>,
    /// The cluster of each shard.
    pub clusters: Vec<Arc<Cluster>>,
    /// The catalog of each shard's database.
    catalogs: ShardCatalogs,
    /// `pools[shard][node]`.
    pub pools: Vec<Vec<Arc<SharedPool>>>,
    clients: Vec<AtomicU32>,
    retired: AtomicBool,
}

/// Connections of one user and database to one node, over all cores.
#[derive(Debug)]
pub struct SharedPool {
    /// Unique in this process.
    pub id: u64,
    /// The database as its clients name it.
    pub database: Arc<str>,
    /// The user as its clients name it.
    pub user: Arc<str>,
    /// Where to.
    pub node: Arc<Node>,
    /// The cluster of that node.
    pub cluster: Arc<Cluster>,
    /// The catalog of its database.
    pub catalog: Arc<DatabaseCatalog>,
    /// As whom.
    pub login: Login,
    /// Resolved settings.
    pub settings: PoolSettings,
    /// Connections at most, without the reserve.
    pub size: usize,
    /// The cores that use it.
    pub homes: Vec<usize>,
    remote: Remote,
    open: AtomicUsize,
    pinned: AtomicUsize,
    /// Of those, how many are being asked whether they still have to be.
    leaving: AtomicUsize,
    diverted: AtomicUsize,
    wanting: AtomicU64,
    lines: Vec<CoreLine>,
    retired: AtomicBool,
    /// Whether its sessions ask for what their sequences have given last.
    pub sequences: SequenceUse,
    failure: Mutex<Option<(Instant, Arc<ConnectError>)>>,
    /// When the other pools were last asked for idle connections, in milliseconds of `uptime`.
    asked_others: AtomicU64,
}

/// What one core tells the others; on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct CoreLine {
    idle: AtomicUsize,
    /// When its first waiter came, in milliseconds of `uptime`; 0: none waits.
    oldest: AtomicU64,
}

/// The right to have one connection: of the pool and of the node. Given back when dropped.
#[derive(Debug)]
pub struct Right {
    pool: Arc<SharedPool>,
    /// Its connection is closed for another pool.
    yields: bool,
}

/// Why there was no right to open a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRight {
    /// The pool is full.
    Pool,
    /// The node's budget is used up, by other pools too.
    Budget,
    /// The last attempt failed a moment ago.
    NotNow,
}

/// A connection that has been idle this long isn't needed where it is as much as where somebody waits.
const UNUSED: Duration = Duration::from_millis(200);
/// The other pools are asked for idle connections this often, however many clients come to wait.
const ASK_AGAIN_MS: u64 = 10;

/// A read's place among those that the primary serves because no replica had caught up; given back when dropped.
#[derive(Debug)]
pub struct Diverted(Arc<SharedPool>);

impl Drop for Diverted {
    fn drop(&mut self) {
        self.0.diverted.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Group {
    /// A group with the pools of `pools[shard][node]`.
    #[allow(clippy::too_many_arguments, reason = "a record made in one place")]
    pub(crate) fn new(
        id: u64,
        database: Arc<str>,
        user: Arc<str>,
        map: Arc<DatabaseMap>,
        pool: PoolSettings,
        route: RouteSettings,
        homes: Vec<usize>,
        clusters: Vec<Arc<Cluster>>,
        catalogs: Vec<Arc<DatabaseCatalog>>,
        pools: Vec<Vec<Arc<SharedPool>>>,
    ) -> Self {
        let clients = homes.iter().map(|_| AtomicU32::new(0)).collect();
        let catalogs = ShardCatalogs::new(catalogs);
        let retired = AtomicBool::new(false);
        Self { id, database, user, map, pool, route, homes, clusters, catalogs, pools, clients, retired }
    }

    /// Takes a place for a client on its least loaded home core.
    pub fn place(self: &Arc<Self>) -> Placement {
        loop {
            let loads = self.clients.iter().map(|n| n.load(Ordering::Acquire)).enumerate();
            let Some((home, load)) = loads.min_by_key(|(_, n)| *n) else {
                return Placement::new(self, 0);
            };
            let taken = self.clients[home]
                .compare_exchange(load, load + 1, Ordering::AcqRel, Ordering::Acquire)
                .is_ok();
            if taken {
                return Placement::new(self, home);
            }
        }
    }

    /// A place for a client that is on this core already.
    pub fn place_on(self: &Arc<Self>, core: usize) -> Placement {
        let home = self.homes.iter().position(|home| *home == core).unwrap_or(0);
        if let Some(count) = self.clients.get(home) {
            count.fetch_add(1, Ordering::AcqRel);
        }
        Placement::new(self, home)
    }

    /// Clients on each home core.
    pub fn clients(&self) -> Vec<u32> {
        self.clients.iter().map(|n| n.load(Ordering::Relaxed)).collect()
    }

    /// Another number for each change of its catalogs.
    #[inline]
    pub fn catalogs_version(&self) -> u64 {
        self.catalogs.version()
    }

    /// The catalog of a shard's database.
    #[inline]
    pub fn catalog(&self, shard: ShardIndex) -> Option<&Arc<DatabaseCatalog>> {
        self.catalogs.all().get(usize::from(shard.0))
    }

    /// The catalog of each shard's database, as last published.
    pub fn catalogs(&self) -> Arc<[Arc<Catalog>]> {
        self.catalogs.current()
    }

    /// A client has changed what its databases have: their catalogs are read again.
    pub fn mark_catalogs_changed(&self) {
        self.catalogs.all().iter().for_each(|catalog| catalog.mark_changed());
    }

    /// Its configuration was replaced: sessions look theirs up again before their next transaction.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        for pool in self.pools.iter().flatten() {
            pool.retired.store(true, Ordering::Release);
        }
    }
}

/// A client's place on a home core; given back when dropped.
#[derive(Debug)]
pub struct Placement {
    group: Arc<Group>,
    home: usize,
}

impl Placement {
    /// A place that was counted.
    fn new(group: &Arc<Group>, home: usize) -> Self {
        group.catalogs.all().iter().for_each(|catalog| catalog.enter());
        Self { group: Arc::clone(group), home }
    }

    /// The core.
    pub fn core(&self) -> usize {
        self.group.homes.get(self.home).copied().unwrap_or(0)
    }

    /// Whose place it is.
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }
}

impl Drop for Placement {
    fn drop(&mut self) {
        self.group.catalogs.all().iter().for_each(|catalog| catalog.leave());
        if let Some(count) = self.group.clients.get(self.home) {
            count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl SharedPool {
    /// An empty pool.
    #[allow(clippy::too_many_arguments, reason = "a record made in one place")]
    pub(crate) fn new(
        id: u64,
        database: Arc<str>,
        user: Arc<str>,
        node: Arc<Node>,
        cluster: Arc<Cluster>,
        catalog: Arc<DatabaseCatalog>,
        login: Login,
        settings: PoolSettings,
        homes: Vec<usize>,
        cores: usize,
        remote: Remote,
    ) -> Self {
        let size = settings.size.unwrap_or(node.budget.limit).min(node.budget.limit).max(1);
        Self {
            id,
            database,
            user,
            node,
            cluster,
            catalog,
            login,
            settings,
            size,
            homes,
            remote,
            open: AtomicUsize::new(0),
            pinned: AtomicUsize::new(0),
            leaving: AtomicUsize::new(0),
            diverted: AtomicUsize::new(0),
            wanting: AtomicU64::new(0),
            lines: (0..cores).map(|_| CoreLine::default()).collect(),
            retired: AtomicBool::new(false),
            sequences: SequenceUse::default(),
            failure: Mutex::new(None),
            asked_others: AtomicU64::new(0),
        }
    }

    /// Connections open or being opened.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether another core has an idle connection, or this pool may have one more: if not by what is free of the node's
    /// budget, by what other pools don't use.
    pub(crate) fn has_room(&self) -> bool {
        let idle = || self.homes.iter().any(|core| self.lines[*core].idle.load(Ordering::Relaxed) > 0);
        (self.open() < self.size && !self.failed_lately()) || idle()
    }

    /// Replaced by a reload: who waits is served still, nothing else is kept.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// The right to open one more, from the reserve too if `reserve`.
    pub(crate) fn take_right(self: &Arc<Self>, reserve: bool) -> Result<Right, NoRight> {
        let limit = self.size + if reserve { self.settings.reserve_pool_size } else { 0 };
        // The common case first: who queues for a full pool takes no lock.
        if self.open() >= limit {
            return Err(NoRight::Pool);
        }
        if self.failed_lately() {
            return Err(NoRight::NotNow);
        }
        if !self.node.budget.take() {
            return Err(NoRight::Budget);
        }
        self.claim(limit).ok_or_else(|| {
            self.node.budget.give_back();
            NoRight::Pool
        })
    }

    /// Makes a right of what was taken from the budget, unless the pool is full.
    fn claim(self: &Arc<Self>, limit: usize) -> Option<Right> {
        let before = take_below(&self.open, limit)?;
        // Told before the right is anybody's: it can't be the last one that is given back until then.
        if before == 0 {
            self.node.budget.join();
        }
        Some(Right { pool: Arc::clone(self), yields: false })
    }

    /// One more session pinned to a connection of this pool: false if that is more than `limit`. While another is about
    /// to let go, one beyond that, if it leaves a connection to the others.
    pub fn take_pin(&self, limit: usize) -> bool {
        let soon = self.leaving.load(Ordering::Relaxed).min(1);
        let limit = limit.max((limit + soon).min(self.size - 1));
        take_below(&self.pinned, limit).is_some()
    }

    /// A pinned session's connection is being asked whether it is still needed; or that was answered.
    pub fn note_leaving(&self, more: bool) {
        if more {
            self.leaving.fetch_add(1, Ordering::Relaxed);
        } else {
            self.leaving.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A pinned session let go.
    pub fn give_pin_back(&self) {
        self.pinned.fetch_sub(1, Ordering::AcqRel);
    }

    /// A place among the reads that are here because no replica had caught up; `None`: they have half of the pool
    /// already.
    pub fn divert(self: &Arc<Self>) -> Option<Diverted> {
        take_below(&self.diverted, self.size.div_ceil(2))?;
        Some(Diverted(Arc::clone(self)))
    }

    /// Sessions pinned now.
    pub fn pinned(&self) -> usize {
        self.pinned.load(Ordering::Relaxed)
    }

    /// Notes how an attempt to connect ended.
    pub(crate) fn note_attempt(&self, failure: Option<Arc<ConnectError>>) {
        let entry = failure.map(|error| (Instant::now(), error));
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = entry;
    }

    /// The error of the last attempt to connect, if that failed.
    pub fn last_failure(&self) -> Option<Arc<ConnectError>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, e)| Arc::clone(e))
    }

    fn failed_lately(&self) -> bool {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().is_some_and(|(when, _)| when.elapsed() < self.settings.server_login_retry)
    }

    pub(crate) fn say_idle(&self, core: usize, idle: usize) {
        self.lines[core].idle.store(idle, Ordering::Relaxed);
    }

    /// Another core that has an idle connection.
    pub(crate) fn lender(&self, me: usize) -> Option<usize> {
        let others = self.homes.iter().copied().filter(|core| *core != me);
        others.max_by_key(|core| self.lines[*core].idle.load(Ordering::Relaxed)).filter(|core| {
            let idle = &self.lines[*core].idle;
            idle.load(Ordering::Relaxed) > 0
        })
    }

    /// Says when this core's first waiter came (`None`: nobody waits here).
    pub(crate) fn say_waiting(&self, core: usize, oldest: Option<Instant>) {
        let bit = bit(core);
        match oldest {
            Some(since) => {
                self.lines[core].oldest.store(uptime_ms(since), Ordering::Relaxed);
                // Nobody else touches this bit.
                if self.wanting.load(Ordering::Relaxed) & bit == 0 {
                    self.wanting.fetch_or(bit, Ordering::AcqRel);
                }
            }
            None => {
                let before = self.wanting.fetch_and(!bit, Ordering::AcqRel);
                self.lines[core].oldest.store(0, Ordering::Relaxed);
                if before == bit && self.node.budget.is_short() {
                    self.node.budget.leave_line(self.id, || self.wanting.load(Ordering::Acquire) == 0);
                }
            }
        }
    }

    /// Whether somebody waits on another core.
    #[inline]
    pub(crate) fn is_wanted_elsewhere(&self, me: usize) -> bool {
        self.wanting.load(Ordering::Relaxed) & !bit(me) != 0
    }

    /// The core whose first waiter came earlier than ours, by more than `lead`; `None` of ours: whichever came first.
    pub(crate) fn wanted_elsewhere(&self, me: usize, mine: Option<Instant>, lead: Duration) -> Option<usize> {
        let wanting = self.wanting.load(Ordering::Relaxed) & !bit(me);
        let others = self.homes.iter().copied().filter(|core| wanting & bit(*core) != 0);
        let with_age = others.map(|core| (self.lines[core].oldest.load(Ordering::Relaxed), core));
        let (oldest, core) = with_age.filter(|(since, _)| *since > 0).min()?;
        let lead = u64::try_from(lead.as_millis()).unwrap_or(u64::MAX);
        let earlier = mine.is_none_or(|mine| oldest.saturating_add(lead) < uptime_ms(mine));
        earlier.then_some(core)
    }

    /// Clients wait here, the node's budget is used up: have idle connections of others closed, if this pool has its
    /// share already only those that have been idle for a while; below it, wait in line for some.
    pub(crate) fn hunger(self: &Arc<Self>) {
        let below = self.open() < self.node.budget.fair_share();
        let pool = Arc::downgrade(self);
        let grant = move || pool.upgrade().is_some_and(|pool| pool.accept());
        let new_in_line = below && self.node.budget.stand_in_line(self.id, grant);
        let now = uptime_ms(Instant::now());
        if now < self.asked_others.load(Ordering::Relaxed) + ASK_AGAIN_MS && !new_in_line {
            return;
        }
        self.asked_others.store(now, Ordering::Relaxed);
        for core in 0..self.lines.len() {
            let pool = Arc::clone(self);
            self.remote.run(core, move |pools| match below {
                true => pools.close_idle_for_hungry(&pool),
                false => pools.close_unused_of_others(&pool, UNUSED),
            });
        }
    }

    /// Takes over what another pool gave back to the budget, for the longest waiting client. Says whether one waits.
    fn accept(self: &Arc<Self>) -> bool {
        let wanting = self.wanting.load(Ordering::Acquire);
        let cores = (0..self.lines.len()).filter(|core| wanting & bit(*core) != 0);
        let Some(core) = cores.min_by_key(|core| self.lines[*core].oldest.load(Ordering::Relaxed)) else {
            return false;
        };
        if self.failed_lately() {
            return false;
        }
        let Some(right) = self.claim(self.size) else { return false };
        self.remote.run(core, move |pools| pools.pool(right.pool()).use_right(right));
        true
    }

    /// Wakes the cores where clients wait for this pool: there is a right to open again.
    pub(crate) fn wake_waiting(self: &Arc<Self>) {
        let wanting = self.wanting.load(Ordering::Acquire);
        for core in self.homes.iter().copied().filter(|core| wanting & bit(*core) != 0) {
            let pool = Arc::clone(self);
            self.remote.run(core, move |pools| pools.pool(&pool).pump());
        }
    }
}

impl Right {
    /// Of which pool.
    pub fn pool(&self) -> &Arc<SharedPool> {
        &self.pool
    }

    /// Its connection is about to be closed, for another pool.
    pub(crate) fn yields(&mut self) {
        if !std::mem::replace(&mut self.yields, true) {
            self.pool.node.budget.note_yielding(true);
        }
    }
}

impl Drop for Right {
    fn drop(&mut self) {
        let budget = &self.pool.node.budget;
        if self.pool.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            budget.leave();
        }
        if self.yields {
            budget.note_yielding(false);
        }
        budget.give_back();
        if self.pool.wanting.load(Ordering::Acquire) != 0 {
            self.pool.wake_waiting();
        }
    }
}

fn bit(core: usize) -> u64 {
    1 << (core % 64)
}

/// Milliseconds since the first call, from 1 on.
fn uptime_ms(at: Instant) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(|| Instant::now() - Duration::from_millis(1));
    let up = at.saturating_duration_since(start);
    (up.as_secs() * 1000 + u64::from(up.subsec_millis())).max(1)
}
