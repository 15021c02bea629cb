//! Counters of one pool on one core: plain cells, added up by whoever reads them.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use crate::shared::SharedPool;

/// Counters of one pool on one core. Times are in microseconds, as PgBouncer's SHOW STATS.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each is the column of SHOW STATS of the same name")]
pub struct PoolStats {
    pub transactions: Cell<u64>,
    pub queries: Cell<u64>,
    /// Queries that were sent as reads.
    pub reads: Cell<u64>,
    pub received: Cell<u64>,
    pub sent: Cell<u64>,
    pub transaction_time: Cell<u64>,
    pub query_time: Cell<u64>,
    pub wait_time: Cell<u64>,
    /// Connections that were opened.
    pub opened: Cell<u64>,
    /// Connections that were found dead, or were closed because they couldn't be proved clean.
    pub lost: Cell<u64>,
    /// Connections lent to another core.
    pub lent: Cell<u64>,
}

/// The same counters as plain numbers, for adding up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in PoolStats")]
pub struct StatsSum {
    pub transactions: u64,
    pub queries: u64,
    pub reads: u64,
    pub received: u64,
    pub sent: u64,
    pub transaction_time: u64,
    pub query_time: u64,
    pub wait_time: u64,
    pub opened: u64,
    pub lost: u64,
    pub lent: u64,
}

/// Whose counters: database, user, cluster and node, by name. Pools of one configuration after the other share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "said above")]
pub struct PoolName {
    pub database: Arc<str>,
    pub user: Arc<str>,
    pub cluster: String,
    pub node: String,
}

impl PoolName {
    /// The name of a pool.
    pub fn of(pool: &SharedPool) -> Self {
        Self {
            database: Arc::clone(&pool.database),
            user: Arc::clone(&pool.user),
            cluster: pool.cluster.config.name.clone(),
            node: pool.node.name.clone(),
        }
    }
}

impl PoolStats {
    /// Adds to a counter.
    #[inline]
    pub fn add(counter: &Cell<u64>, n: u64) {
        counter.set(counter.get().wrapping_add(n));
    }

    /// Adds a time to a counter of microseconds.
    #[inline]
    pub fn add_time(counter: &Cell<u64>, time: Duration) {
        Self::add(counter, u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// The numbers now.
    pub fn sum(&self) -> StatsSum {
        StatsSum {
            transactions: self.transactions.get(),
            queries: self.queries.get(),
            reads: self.reads.get(),
            received: self.received.get(),
            sent: self.sent.get(),
            transaction_time: self.transaction_time.get(),
            query_time: self.query_time.get(),
            wait_time: self.wait_time.get(),
            opened: self.opened.get(),
            lost: self.lost.get(),
            lent: self.lent.get(),
        }
    }
}

impl std::ops::AddAssign for StatsSum {
    fn add_assign(&mut self, other: Self) {
        self.transactions += other.transactions;
        self.queries += other.queries;
        self.reads += other.reads;
        self.received += other.received;
        self.sent += other.sent;
        self.transaction_time += other.transaction_time;
        self.query_time += other.query_time;
        self.wait_time += other.wait_time;
        self.opened += other.opened;
        self.lost += other.lost;
        self.lent += other.lent;
    }
}
