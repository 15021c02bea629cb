//! What is known of a cluster's nodes: written by `backend`'s control task, read by every core.

use config::{ClusterId, NodeRole};

use crate::choose::NoNode;
use crate::identity::Identity;

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
    primary: Result<NodeIndex, NoNode>,
    readers: Readers,
    readers_and_primary: Readers,
}

/// The nodes that reads may go to, nearest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Readers {
    all: Vec<Reader>,
    /// So many of them are the nearest.
    nearest: usize,
}

/// A node that reads may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reader {
    pub(crate) node: NodeIndex,
    pub(crate) weight: u32,
    proximity: Proximity,
}

impl Readers {
    /// The replicas that are up and have a weight; `primary` counts as one of them.
    fn new(nodes: &[NodeView], primary: Option<NodeIndex>) -> Self {
        let reads = |(index, node): &(NodeIndex, &NodeView)| {
            let reads = node.role == Some(NodeRole::Replica) || Some(*index) == primary;
            node.up && reads && node.weight > 0
        };
        let reader =
            |(node, view): (_, &NodeView)| Reader { node, weight: view.weight, proximity: view.proximity };
        let mut all: Vec<_> = numbered(nodes).filter(reads).map(reader).collect();
        all.sort_by_key(|reader| reader.proximity);
        let nearest = all
            .first()
            .map_or(0, |first| all.iter().take_while(|reader| reader.proximity == first.proximity).count());
        Self { all, nearest }
    }

    /// Those that reads go to as long as one of them may be used.
    #[inline]
    pub(crate) fn nearest(&self) -> &[Reader] {
        &self.all[..self.nearest]
    }

    /// Those behind them, and no further than `bound`: each distance for itself.
    pub(crate) fn further(&self, bound: Option<Proximity>) -> impl Iterator<Item = &[Reader]> {
        self.all[self.nearest..].chunk_by(|a, b| a.proximity == b.proximity).take_while(move |same| {
            bound.is_none_or(|bound| same.iter().all(|reader| reader.proximity <= bound))
        })
    }
}

impl ClusterView {
    /// A view of these nodes, in the order of the configuration.
    pub fn new(nodes: Vec<NodeView>) -> Self {
        let primary = primary(&nodes);
        let readers = Readers::new(&nodes, None);
        let readers_and_primary = Readers::new(&nodes, primary.ok());
        Self { nodes, primary, readers, readers_and_primary }
    }

    /// The same with other nodes.
    #[must_use]
    pub fn with(&self, change: impl FnOnce(&mut [NodeView])) -> Self {
        let mut nodes = self.nodes.clone();
        change(&mut nodes);
        Self::new(nodes)
    }

    /// Nodes in the order of the configuration.
    pub fn nodes(&self) -> &[NodeView] {
        &self.nodes
    }

    /// The one node that is up and the primary.
    ///
    /// # Errors
    /// There is none, or several claim to be it.
    pub fn primary(&self) -> Result<NodeIndex, NoNode> {
        self.primary
    }

    /// The nodes that are up, may read and have a weight.
    #[inline]
    pub(crate) fn readers(&self, and_primary: bool) -> &Readers {
        if and_primary { &self.readers_and_primary } else { &self.readers }
    }
}

fn numbered(nodes: &[NodeView]) -> impl Iterator<Item = (NodeIndex, &NodeView)> {
    (0u16..).map(NodeIndex).zip(nodes)
}

fn primary(nodes: &[NodeView]) -> Result<NodeIndex, NoNode> {
    let mut primaries = numbered(nodes)
        .filter(|(_, node)| node.up && node.role == Some(NodeRole::Primary))
        .map(|(index, _)| index);
    match (primaries.next(), primaries.next()) {
        (Some(primary), None) => Ok(primary),
        (Some(_), Some(_)) => Err(NoNode::Doubt),
        (None, _) => Err(NoNode::NoPrimary),
    }
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
    /// In this pgweir's region and zone, in its region, or elsewhere.
    pub proximity: Proximity,
    /// Share of reads (`weight`).
    pub weight: u32,
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
