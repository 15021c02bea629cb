//! What is known of a cluster's nodes: written by `backend`'s control task, read by every core.

use config::{ClusterId, NodeRole};

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

/// One cluster as last seen. Immutable; a change is a new view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// Nodes in the order of the configuration.
    pub nodes: Vec<NodeView>,
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
