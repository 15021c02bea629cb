//! A cluster at run time: its nodes, and what is known of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use config::ClusterId;
use route::view::{ClusterView, NodeId, NodeIndex, NodeView, Proximity};
use tokio::sync::{Notify, watch};

use crate::budget::Budget;
use crate::catalogs::Catalogs;
use crate::connect::ServerTarget;
use crate::fate::Fates;
use crate::listen::Listeners;
use crate::looks::Looks;
use crate::positions::Positions;
use crate::traffic::Traffic;

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
    /// How far its nodes are.
    pub positions: Arc<Positions>,
    /// Transactions of which somebody wants to know what became of them.
    pub fates: Fates,
    pub(crate) view: ArcSwap<ClusterView>,
    /// Nodes that return start slowly, since somebody looks after their way back.
    pub(crate) slow_start: AtomicBool,
    retired: AtomicBool,
    changes: watch::Sender<u64>,
    alarm: Alarm,
}

/// Wakes the cores when a node of any cluster isn't to be used any more: nothing is to be sent there from then on.
pub type Alarm = Arc<watch::Sender<u64>>;

/// The part of its share, in thousandths, with which a node that returns begins.
const FIRST_EASE: u16 = 20;

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
    /// What traffic sees there.
    pub traffic: Traffic,
    /// Its probes.
    pub(crate) looks: Looks,
    /// When all nodes were last asked whether it still is the primary.
    confirmed: Mutex<Option<Instant>>,
}

/// So long after it was confirmed a primary isn't doubted again: whoever makes connections die one after the other
/// must not keep everybody from writing.
const CONFIRMED_FOR: Duration = Duration::from_millis(500);

impl Cluster {
    /// A cluster of which nothing is known yet but its configuration.
    pub fn new(
        id: ClusterId,
        config: config::Cluster,
        whole: &config::Config,
        targets: Vec<ServerTarget>,
        alarm: Alarm,
    ) -> Self {
        let nodes = config.nodes.iter().zip(targets).enumerate().map(|(i, (node, target))| {
            Arc::new(Node {
                id: NodeId { cluster: id, node: NodeIndex(u16::try_from(i).unwrap_or(u16::MAX)) },
                name: node.name.clone(),
                target,
                budget: Budget::new(whole.node_budget(&config, node)),
                suspicion: Notify::new(),
                traffic: Traffic::default(),
                looks: Looks::default(),
                confirmed: Mutex::new(None),
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
        let positions = Arc::new(Positions::new(config.nodes.len()));
        let catalogs = Catalogs::new(config.nodes.len(), Arc::clone(&positions));
        let listeners = Listeners::new();
        let (view, changes) = (ArcSwap::from_pointee(view), watch::Sender::new(0));
        let (slow_start, retired) = (AtomicBool::new(false), AtomicBool::new(false));
        let fates = Fates::default();
        Self {
            id,
            config,
            nodes,
            catalogs,
            listeners,
            positions,
            fates,
            view,
            slow_start,
            retired,
            changes,
            alarm,
        }
    }

    /// What is known now.
    pub fn view(&self) -> arc_swap::Guard<Arc<ClusterView>> {
        self.view.load()
    }

    /// Publishes a change to one node's view; wakes who waits for one. A node that may be read from again begins with a
    /// small part of its share.
    pub fn update(&self, node: NodeIndex, change: impl Fn(&mut NodeView)) {
        if self.measure(node, change) {
            self.changes.send_modify(|n| *n += 1);
            if self.view().has_unusable() {
                self.alarm.send_modify(|n| *n += 1);
            }
        }
    }

    /// Publishes what was measured of a node, lag or the part of its share: nobody waits for that, and it changes all
    /// the time. Says whether it has changed.
    pub(crate) fn measure(&self, node: NodeIndex, change: impl Fn(&mut NodeView)) -> bool {
        let mut changed = false;
        self.view.rcu(|old| {
            let new = old.with(|nodes| {
                if let Some(view) = nodes.get_mut(usize::from(node.0)) {
                    let could = view.up && view.out.is_none();
                    change(view);
                    if !could && view.up && view.out.is_none() && self.slow_start.load(Ordering::Relaxed) {
                        view.ease = FIRST_EASE;
                    }
                }
            });
            changed = new != **old;
            new
        });
        changed
    }

    /// Traffic has seen that a node may not be what it was: a connection to it was lost, or it refused what it must not
    /// refuse. It is probed at once. If it is the primary it isn't written to before all nodes were asked: another one
    /// may have taken its place.
    #[cold]
    pub fn suspect(&self, index: NodeIndex) {
        let node = self.node(index);
        node.traffic.note_error();
        let replaceable = self.nodes.len() > 1 && self.view().primary() == Ok(index);
        if replaceable && node.confirmed_at().is_none_or(|at| at.elapsed() > CONFIRMED_FOR) {
            self.update(index, |view| view.doubted = true);
            self.nodes.iter().for_each(|node| node.suspicion.notify_one());
        } else {
            node.suspicion.notify_one();
        }
    }

    /// All nodes were asked: what this one says of itself holds.
    pub(crate) fn confirm(&self, index: NodeIndex) {
        *self.node(index).confirmed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.update(index, |view| view.doubted = false);
    }

    /// Who is the primary by another source than the nodes; they are asked at once if that is news.
    pub(crate) fn set_leader(&self, leader: Option<NodeIndex>) {
        if self.view().leader() == leader {
            return;
        }
        self.view.rcu(|old| old.with_leader(leader));
        self.changes.send_modify(|n| *n += 1);
        self.nodes.iter().for_each(|node| node.suspicion.notify_one());
    }

    /// Something was written of which this cluster knows no more.
    pub fn wrote_anything(&self) {
        self.catalogs.wrote_anything();
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

impl Node {
    fn confirmed_at(&self) -> Option<Instant> {
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
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
