//! A node's budget: how many connections it may have over all pools, and which pool gets the next one.
//!
//! While there are enough, whoever comes takes one. Once they are used up, a pool that has less than its share stands
//! in line; a connection that is closed for it becomes its own before anybody else can take it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A login costs milliseconds: a connection of a pool that has no more than its share is left to it for so long after
/// the login, whoever waits.
pub(crate) const TURN: Duration = Duration::from_millis(50);

/// How many connections a node may have over all pools, and which pools wait for one.
#[derive(Debug)]
pub struct Budget {
    /// The bound.
    pub limit: usize,
    open: AtomicUsize,
    /// Pools with a connection.
    sharers: AtomicUsize,
    /// Connections that are being closed for pools in line.
    yielding: AtomicUsize,
    /// The length of `line`.
    hungry: AtomicUsize,
    line: Mutex<VecDeque<Hungry>>,
}

/// A pool in line: what to call once there is a connection for it. Says whether it took it.
struct Hungry {
    pool: u64,
    grant: Box<dyn Fn() -> bool + Send>,
}

impl std::fmt::Debug for Hungry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hungry({})", self.pool)
    }
}

impl Budget {
    /// A budget of `limit` connections.
    pub fn new(limit: usize) -> Self {
        let zero = || AtomicUsize::new(0);
        let line = Mutex::default();
        Self { limit, open: zero(), sharers: zero(), yielding: zero(), hungry: zero(), line }
    }

    /// Open or being opened, over all pools.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&self) -> bool {
        take_below(&self.open, self.limit).is_some()
    }

    /// Gives one back: to the first in line who still wants it.
    pub(crate) fn give_back(&self) {
        loop {
            while let Some(first) = self.first_in_line() {
                if (first.grant)() {
                    return;
                }
            }
            self.open.fetch_sub(1, Ordering::SeqCst);
            // Who came into the line meanwhile may have looked too early; it looks again after that, and so do we.
            if !self.is_short() || !self.take() {
                return;
            }
        }
    }

    /// A pool has its first connection.
    pub(crate) fn join(&self) {
        self.sharers.fetch_add(1, Ordering::AcqRel);
    }

    /// A pool has lost its last connection.
    pub(crate) fn leave(&self) {
        self.sharers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Puts a pool in line, once. Says whether it wasn't there.
    pub(crate) fn stand_in_line(&self, pool: u64, grant: impl Fn() -> bool + Send + 'static) -> bool {
        let mut line = self.lock_line();
        if line.iter().any(|hungry| hungry.pool == pool) {
            return false;
        }
        line.push_back(Hungry { pool, grant: Box::new(grant) });
        self.hungry.store(line.len(), Ordering::SeqCst);
        drop(line);
        if self.take() {
            self.give_back();
        }
        true
    }

    /// Takes a pool out of the line if it is `sated`, as is asked once nobody can be coming into it.
    pub(crate) fn leave_line(&self, pool: u64, sated: impl Fn() -> bool) {
        let mut line = self.lock_line();
        if sated() {
            line.retain(|hungry| hungry.pool != pool);
            self.hungry.store(line.len(), Ordering::SeqCst);
        }
    }

    /// Whether pools stand in line.
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        self.hungry.load(Ordering::SeqCst) > 0
    }

    /// Whether a pool that has `open` connections should give up the one that was used just now, and was opened then,
    /// though its own clients may wait: it has more than its share, or its turn is over and not all can have one.
    #[inline]
    pub(crate) fn should_yield(&self, open: usize, opened: Instant) -> bool {
        self.hungry.load(Ordering::Relaxed) > 0
            && self.is_unmet()
            && (open > self.fair_share() || (self.is_crowded() && opened.elapsed() >= TURN))
    }

    /// The same of a connection that nobody uses.
    pub(crate) fn should_yield_idle(&self, open: usize, opened: Instant) -> bool {
        self.is_unmet() && (open > self.fair_share() || opened.elapsed() >= TURN)
    }

    /// What each pool may have while all want some.
    pub(crate) fn fair_share(&self) -> usize {
        let all = self.sharers.load(Ordering::Relaxed) + self.hungry.load(Ordering::Relaxed);
        (self.limit / all.max(1)).max(1)
    }

    /// A connection begins (or ceases) to be one that is closed for others.
    pub(crate) fn note_yielding(&self, begins: bool) {
        if begins {
            self.yielding.fetch_add(1, Ordering::AcqRel);
        } else {
            self.yielding.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Pools stand in line for which nothing is being closed yet.
    fn is_unmet(&self) -> bool {
        self.hungry.load(Ordering::Relaxed) > self.yielding.load(Ordering::Relaxed)
    }

    fn is_crowded(&self) -> bool {
        self.sharers.load(Ordering::Relaxed) + self.hungry.load(Ordering::Relaxed) > self.limit
    }

    fn first_in_line(&self) -> Option<Hungry> {
        if !self.is_short() {
            return None;
        }
        let mut line = self.lock_line();
        let first = line.pop_front();
        self.hungry.store(line.len(), Ordering::SeqCst);
        first
    }

    fn lock_line(&self) -> MutexGuard<'_, VecDeque<Hungry>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds one if that stays within `limit`; gives the count before.
pub(crate) fn take_below(count: &AtomicUsize, limit: usize) -> Option<usize> {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < limit).then_some(n + 1)).ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::{Directory, Remote};

    #[test]
    fn the_books_balance_whoever_comes_between() {
        let yaml = "clusters:\n  pg: {server_connections: 3, nodes: {n: {host: h, role: primary}}}\n\
                    databases: {'*': {cluster: pg}}\n";
        let config = config::parse_yaml(yaml, "test", &|_| None, Path::new("")).unwrap();
        // Nobody is there to take what a pool in line is granted: it goes to the next.
        let directory = Directory::new(Arc::new(config), 1, Remote::new(|_, _| ())).unwrap();
        let pools = ["a", "b"].map(|user| Arc::clone(&directory.group("app", user).unwrap().pools[0][0]));
        std::thread::scope(|scope| {
            for number in 0..4 {
                let pool = &pools[number % 2];
                scope.spawn(move || {
                    for round in 0..20_000 {
                        match pool.take_right(false) {
                            Ok(mut right) if round % 3 == 0 => right.yields(),
                            Ok(right) => drop((right, pool.take_right(false))),
                            Err(_) => pool.hunger(),
                        }
                    }
                });
            }
        });
        let budget = &pools[0].node.budget;
        let count = |n: &AtomicUsize| n.load(Ordering::SeqCst);
        assert_eq!([count(&budget.open), count(&budget.sharers), count(&budget.yielding)], [0; 3]);
        assert_eq!(pools.map(|pool| pool.open()), [0; 2]);
    }

    #[test]
    fn what_is_given_back_is_the_first_in_lines() {
        let budget = Budget::new(1);
        let granted = Arc::new(Mutex::new(Vec::new()));
        let grant = |name: &'static str, takes: bool| {
            let granted = Arc::clone(&granted);
            move || {
                granted.lock().unwrap().push(name);
                takes
            }
        };
        assert!(budget.take());
        assert!(budget.stand_in_line(1, grant("went away", false)));
        assert!(budget.stand_in_line(2, grant("first", true)));
        assert!(!budget.stand_in_line(2, grant("twice", true)));
        assert!(budget.stand_in_line(3, grant("sated", true)));
        assert!(budget.stand_in_line(4, grant("last", true)));
        budget.leave_line(3, || true);
        budget.leave_line(4, || false);
        budget.give_back();
        assert_eq!(*granted.lock().unwrap(), ["went away", "first"]);
        assert!(!budget.take());
        budget.give_back();
        assert!(!budget.take());
        budget.give_back();
        assert!(budget.take());
        assert_eq!(*granted.lock().unwrap(), ["went away", "first", "last"]);
    }
}
