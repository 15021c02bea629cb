//! A cluster at run time: its nodes, and what is known of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use config::ClusterId;
use route::view::{ClusterView, NodeId, NodeIndex, NodeView, Proximity};
use tokio::sync::{Notify, watch};

use crate::budget::Budget;
use crate::catalogs::Catalogs;
use crate::connect::ServerTarget;
use crate::listen::Listeners;

/// A cluster at run time.
#[derive(Debug)]
pub struct Cluster {
    /// Its place in the configuration.
    pub id: ClusterId,
    /// What the configuration says of it.
    pub config: config::Cluster,
    /// Its nodes, in the order of the configuration.
    pub nodes: Vec<Arc<Node>>,
    /// What is known of its databases' catalogs.
    pub(crate) catalogs: Catalogs,
    /// Its listening connections.
    pub listeners: Listeners,
    view: ArcSwap<ClusterView>,
    retired: AtomicBool,
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
        let view = ClusterView::new(
            config
                .nodes
                .iter()
                .map(|node| {
                    let proximity = proximity(&whole.instance, config.region.as_deref(), node);
                    NodeView::new(node.name.clone(), node.role, proximity, node.weight)
                })
                .collect(),
        );
        let catalogs = Catalogs::new(config.nodes.len());
        let listeners = Listeners::new();
        let (view, changes) = (ArcSwap::from_pointee(view), watch::Sender::new(0));
        Self { id, config, nodes, catalogs, listeners, view, retired: AtomicBool::new(false), changes }
    }

    /// What is known now.
    pub fn view(&self) -> arc_swap::Guard<Arc<ClusterView>> {
        self.view.load()
    }

    /// Publishes a change to one node's view; wakes who waits for one.
    pub fn update(&self, node: NodeIndex, change: impl Fn(&mut NodeView)) {
        let mut changed = false;
        self.view.rcu(|old| {
            let new = old.with(|nodes| {
                if let Some(view) = nodes.get_mut(usize::from(node.0)) {
                    change(view);
                }
            });
            changed = new != **old;
            new
        });
        if changed {
            self.changes.send_modify(|n| *n += 1);
        }
    }

    /// A reload has put another cluster in its place: nobody looks after its view any more.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.changes.send_modify(|n| *n += 1);
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
