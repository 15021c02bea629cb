//! What is known of a cluster's nodes: written by `backend`'s control task, read by every core.

use std::time::Duration;

use config::{ClusterId, MaxLag, NodeRole};

use crate::choose::NoNode;
use crate::identity::Identity;
use crate::readers::Readers;
use crate::standing::{Judged, Standing, judge};

/// Index of a node in its cluster's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeIndex(pub u16);

/// A node, anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its place there.
    pub node: NodeIndex,
}

/// One cluster as last seen. Immutable; a change is a new view. What a choice asks for is found out once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    nodes: Vec<NodeView>,
    /// Who is the primary by another source than the nodes themselves.
    leader: Option<NodeIndex>,
    system: Option<u64>,
    standings: Vec<Standing>,
    primary: Result<NodeIndex, NoNode>,
    readers: Readers,
    readers_and_primary: Readers,
}

impl ClusterView {
    /// A view of these nodes, in the order of the configuration.
    pub fn new(nodes: Vec<NodeView>) -> Self {
        Self::judged(nodes, None, None)
    }

    fn judged(nodes: Vec<NodeView>, system: Option<u64>, leader: Option<NodeIndex>) -> Self {
        let Judged { system, standings, primary } = judge(&nodes, system, leader);
        let readers = Readers::new(&nodes, &standings, None);
        let readers_and_primary = Readers::new(&nodes, &standings, primary.ok());
        Self { nodes, leader, system, standings, primary, readers, readers_and_primary }
    }

    /// The same with other nodes.
    #[must_use]
    pub fn with(&self, change: impl FnOnce(&mut [NodeView])) -> Self {
        let mut nodes = self.nodes.clone();
        change(&mut nodes);
        Self::judged(nodes, self.system, self.leader)
    }

    /// The same with what another source says of who is the primary.
    #[must_use]
    pub fn with_leader(&self, leader: Option<NodeIndex>) -> Self {
        Self::judged(self.nodes.clone(), self.system, leader)
    }

    /// Nodes in the order of the configuration.
    pub fn nodes(&self) -> &[NodeView] {
        &self.nodes
    }

    /// Whether a node belongs to the cluster.
    pub fn standing(&self, node: NodeIndex) -> Standing {
        self.standings.get(usize::from(node.0)).copied().unwrap_or(Standing::Member)
    }

    /// Whether a node is up and may be used: its connections are worth keeping.
    pub fn is_usable(&self, node: NodeIndex) -> bool {
        let up = self.nodes.get(usize::from(node.0)).is_some_and(|node| node.up);
        up && self.standing(node) == Standing::Member
    }

    /// Whether a node isn't to be used at all.
    pub fn has_unusable(&self) -> bool {
        numbered(&self.nodes).any(|(node, _)| !self.is_usable(node))
    }

    /// Who is the primary by another source than the nodes themselves, if there is one that says so.
    pub fn leader(&self) -> Option<NodeIndex> {
        self.leader
    }

    /// The one node that is up and the primary.
    ///
    /// # Errors
    /// There is none, or it isn't certain which one it is.
    pub fn primary(&self) -> Result<NodeIndex, NoNode> {
        self.primary
    }

    /// The nodes that are up, may read and have a weight.
    #[inline]
    pub(crate) fn readers(&self, and_primary: bool) -> &Readers {
        if and_primary { &self.readers_and_primary } else { &self.readers }
    }
}

pub(crate) fn numbered(nodes: &[NodeView]) -> impl Iterator<Item = (NodeIndex, &NodeView)> {
    (0u16..).map(NodeIndex).zip(nodes)
}

/// One node as last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// What it is: configured, or found by `pg_is_in_recovery()`; `None`: not yet known.
    pub role: Option<NodeRole>,
    /// False after `health.failures` failures in a row, until a probe succeeds.
    pub up: bool,
    /// Why, in words, when it isn't.
    pub why_down: Option<String>,
    /// Which server answered there last, and on which timeline; `None`: it hasn't said. Kept while it is down.
    pub identity: Option<Identity>,
    /// Its connections were lost, or it was started again, since the other nodes were last asked: one of them may have
    /// taken its place.
    pub doubted: bool,
    /// It is a replica by configuration and out of recovery, so that its log and its timelines are its own: it
    /// replicates logically. It has no identity then.
    pub apart: bool,
    /// In this pgweir's region and zone, in its region, or elsewhere.
    pub proximity: Proximity,
    /// Share of reads (`weight`).
    pub weight: u32,
    /// How far behind the primary it was when both were last asked; `None`: that isn't known.
    pub lag: Option<Lag>,
    /// How much of its share of reads it takes, in thousandths: less than all while it starts slowly.
    pub ease: u16,
    /// Why, in words, traffic has it out of the reads for now, though it is up.
    pub out: Option<String>,
}

/// All of a node's share of reads.
pub const FULL_EASE: u16 = 1000;

impl NodeView {
    /// A node of which nothing is known yet but its configuration. It counts as up.
    pub fn new(name: impl Into<String>, role: Option<NodeRole>, proximity: Proximity, weight: u32) -> Self {
        Self {
            name: name.into(),
            role,
            up: true,
            why_down: None,
            identity: None,
            doubted: false,
            apart: false,
            proximity,
            weight,
            lag: None,
            ease: FULL_EASE,
            out: None,
        }
    }
}

/// How far a replica is behind its primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// WAL that the primary has flushed and the replica has not replayed.
    pub bytes: u64,
    /// How long ago the primary was where the replica is; zero where it lacks nothing.
    pub time: Duration,
}

impl Lag {
    /// Whether that is no more than a limit allows.
    #[inline]
    pub fn is_within(self, limit: Option<MaxLag>) -> bool {
        match limit {
            Some(MaxLag::Time(time)) => self.time <= time,
            Some(MaxLag::Bytes(bytes)) => self.bytes <= bytes,
            None => true,
        }
    }
}

/// How near a node is. Ordered: nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proximity {
    /// Same region and zone.
    Zone,
    /// Same region.
    Region,
    /// Elsewhere.
    Far,
}
