//! A cluster at run time: its nodes, what is known of them, and each node's budget of connections.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use config::ClusterId;
use route::view::{ClusterView, NodeId, NodeIndex, NodeView, Proximity};
use tokio::sync::{Notify, watch};

use crate::connect::ServerTarget;

/// A cluster at run time.
#[derive(Debug)]
pub struct Cluster {
    /// Its place in the configuration.
    pub id: ClusterId,
    /// What the configuration says of it.
    pub config: config::Cluster,
    /// Its nodes, in the order of the configuration.
    pub nodes: Vec<Arc<Node>>,
    view: ArcSwap<ClusterView>,
    changes: watch::Sender<u64>,
}

/// A server.
#[derive(Debug)]
pub struct Node {
    /// Which one.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// How to reach it.
    pub target: ServerTarget,
    /// Its connections over all pools.
    pub budget: Budget,
    /// Traffic saw an error there: probe it now.
    pub suspicion: Notify,
}

/// How many connections a node may have over all pools, and which pools have none of it though their clients wait.
#[derive(Debug)]
pub struct Budget {
    /// The bound.
    pub limit: usize,
    open: AtomicUsize,
    /// Pools with a connection.
    sharers: AtomicUsize,
    hungry_count: AtomicUsize,
    hungry: Mutex<VecDeque<Hungry>>,
}

/// A pool that waits for budget: what to call when there is some.
struct Hungry {
    pool: u64,
    wake: Box<dyn Fn() + Send>,
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
        Self { limit, open: zero(), sharers: zero(), hungry_count: zero(), hungry: Mutex::default() }
    }

    /// Open or being opened, over all pools.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether a pool that has `open` connections should give one up, because another has less than its share.
    #[inline]
    pub(crate) fn should_yield(&self, open: usize) -> bool {
        self.hungry_count.load(Ordering::Relaxed) > 0 && (open > self.fair_share() || self.crowded())
    }

    /// What each pool may have while all want some.
    pub(crate) fn fair_share(&self) -> usize {
        let hungry = self.hungry_count.load(Ordering::Relaxed);
        (self.limit / (self.sharers.load(Ordering::Relaxed) + hungry).max(1)).max(1)
    }

    fn crowded(&self) -> bool {
        self.sharers.load(Ordering::Relaxed) + self.hungry_count.load(Ordering::Relaxed) > self.limit
    }

    /// Puts a pool in the queue for budget, once.
    pub(crate) fn hunger(&self, pool: u64, wake: impl Fn() + Send + 'static) {
        let mut hungry = self.hungry.lock().unwrap_or_else(PoisonError::into_inner);
        if !hungry.iter().any(|h| h.pool == pool) {
            hungry.push_back(Hungry { pool, wake: Box::new(wake) });
            self.hungry_count.store(hungry.len(), Ordering::Release);
        }
    }

    pub(crate) fn take(&self, first_of_its_pool: bool) -> bool {
        let taken = take_below(&self.open, self.limit).is_some();
        if taken && first_of_its_pool {
            self.sharers.fetch_add(1, Ordering::AcqRel);
        }
        taken
    }

    /// Gives one back and wakes the first hungry pool.
    pub(crate) fn give_back(&self, last_of_its_pool: bool) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        if last_of_its_pool {
            self.sharers.fetch_sub(1, Ordering::AcqRel);
        }
        if self.hungry_count.load(Ordering::Acquire) > 0 {
            let mut hungry = self.hungry.lock().unwrap_or_else(PoisonError::into_inner);
            let first = hungry.pop_front();
            self.hungry_count.store(hungry.len(), Ordering::Release);
            drop(hungry);
            if let Some(first) = first {
                (first.wake)();
            }
        }
    }
}

/// Adds one if that stays within `limit`; gives the count before.
pub(crate) fn take_below(count: &AtomicUsize, limit: usize) -> Option<usize> {
    count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < limit).then_some(n + 1)).ok()
}

impl Cluster {
    /// A cluster of which nothing is known yet but its configuration.
    pub fn new(
        id: ClusterId,
        config: config::Cluster,
        whole: &config::Config,
        targets: Vec<ServerTarget>,
    ) -> Self {
        let nodes = config.nodes.iter().zip(targets).enumerate().map(|(i, (node, target))| {
            Arc::new(Node {
                id: NodeId { cluster: id, node: NodeIndex(u16::try_from(i).unwrap_or(u16::MAX)) },
                name: node.name.clone(),
                target,
                budget: Budget::new(whole.node_budget(&config, node)),
                suspicion: Notify::new(),
            })
        });
        let nodes = nodes.collect();
        let view = ClusterView {
            nodes: config
                .nodes
                .iter()
                .map(|node| NodeView {
                    name: node.name.clone(),
                    role: node.role,
                    up: true,
                    why_down: None,
                    proximity: proximity(&whole.instance, config.region.as_deref(), node),
                    weight: node.weight,
                })
                .collect(),
        };
        Self { id, config, nodes, view: ArcSwap::from_pointee(view), changes: watch::Sender::new(0) }
    }

    /// What is known now.
    pub fn view(&self) -> arc_swap::Guard<Arc<ClusterView>> {
        self.view.load()
    }

    /// Publishes a change to one node's view; wakes who waits for one.
    pub fn update(&self, node: NodeIndex, change: impl Fn(&mut NodeView)) {
        let mut changed = false;
        self.view.rcu(|old| {
            let mut new = ClusterView::clone(old);
            if let Some(view) = new.nodes.get_mut(usize::from(node.0)) {
                change(view);
            }
            changed = new != **old;
            new
        });
        if changed {
            self.changes.send_modify(|n| *n += 1);
        }
    }

    /// Tells of each change of the view.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The node of an index that `route::choose` gave.
    pub fn node(&self, index: NodeIndex) -> &Arc<Node> {
        &self.nodes[usize::from(index.0)]
    }
}

fn proximity(instance: &config::Instance, region: Option<&str>, node: &config::Node) -> Proximity {
    let here =
        |mine: Option<&str>, theirs: Option<&str>| mine.is_none() || theirs.is_none() || mine == theirs;
    if !here(instance.region.as_deref(), region) {
        Proximity::Far
    } else if here(instance.zone.as_deref(), node.zone.as_deref()) {
        Proximity::Zone
    } else {
        Proximity::Region
    }
}
