//! Which node of a cluster: from its last view, the settings and the load.

use std::time::Instant;

use config::{ReadsOnPrimary, RouteSettings};

use crate::balance::{Turn, pick};
use crate::decision::{Refusal, TargetRole};
use crate::readers::{Reader, Readers};
use crate::view::{ClusterView, FULL_EASE, NodeIndex};

/// Why there is no node to choose. All may pass, so a caller may wait for the next view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoNode {
    /// None is known to be the primary and up.
    #[error("no primary is known")]
    NoPrimary,
    /// No replica is up, and reads may not go to the primary.
    #[error("no replica is up")]
    NoReplica,
    /// Replicas are up, all of them further behind than `route.max_lag`, and reads may not go to the primary.
    #[error("no replica is near enough to the primary")]
    Lagging,
    /// Several claim to be the primary.
    #[error("more than one node claims to be the primary")]
    Doubt,
    /// The only ones that claim to be the primary were replaced, or belong to another cluster.
    #[error("no primary is known")]
    Refused,
    /// The primary's connections were lost: before it is written to again the other nodes are asked who they are.
    #[error("it is not certain which node is the primary")]
    Doubted,
    /// Another node is the primary by what the cluster's manager says, and doesn't say so itself.
    #[error("the primary that was named is not out of recovery")]
    NotLeader,
    /// Replicas are up, and none of them may be used for this read: it must see more than they have. Never said of
    /// the primary.
    #[error("no replica has what this read must see")]
    Behind,
}

impl NoNode {
    /// SQLSTATE `cannot_connect_now`.
    pub const SQLSTATE: &'static str = "57P03";

    /// The error for a client that is not to wait (any longer); `place` names the cluster or shard.
    pub fn refusal(self, place: &str) -> Refusal {
        let (detail, hint) = match self {
            NoNode::NoPrimary => (
                "No node of it is up and out of recovery.",
                "Try again: the statement runs as soon as a primary is found.",
            ),
            NoNode::NoReplica => (
                "route.reads_on_primary is \"never\", and no replica of it is up.",
                "Try again, or set route.reads_on_primary to if_no_replica.",
            ),
            NoNode::Lagging => (
                "Each that is up is further behind than route.max_lag, and route.reads_on_primary is \"never\".",
                "Try again, or set route.reads_on_primary to if_no_replica.",
            ),
            NoNode::Doubt => (
                "Several of its nodes are up and out of recovery; writing to the wrong one would lose data.",
                "Stop the node that was replaced.",
            ),
            NoNode::Refused => (
                "What is up and out of recovery was replaced, or belongs to another cluster (SHOW NODES says which).",
                "Start the primary, or promote a replica.",
            ),
            NoNode::Doubted => (
                "Its connections were lost, and it isn't known yet whether it has come back as the primary.",
                "Try again: the statement runs as soon as a primary is found.",
            ),
            NoNode::NotLeader => (
                "The cluster's manager names another node than the one that is out of recovery.",
                "Try again: the statement runs as soon as a primary is found.",
            ),
            NoNode::Behind => {
                ("Replicas are up, and none has replayed enough yet.", "Try again: replicas catch up.")
            }
        };
        Refusal {
            sqlstate: NoNode::SQLSTATE,
            message: format!("{self} in \"{place}\""),
            detail: Some(detail.into()),
            hint: Some(hint.into()),
        }
    }
}

/// Chooses a node of this role. `may` says of a replica whether this read may use it; it is asked as rarely as can be,
/// and never of the primary unless that is one of the nodes that read. `cost` is what is balanced: the number of
/// connections in use at a node, or with peak_ewma [`Latency::cost`](crate::Latency::cost). `turn` breaks ties, and is
/// advanced. Allocates nothing.
///
/// The nearest nodes that are up and keep up share the reads. Nodes further away come in where none of the nearer ones
/// may be used, as long as the primary isn't nearer than they are and allowed to read.
///
/// # Errors
/// [`NoNode::Behind`] if there are replicas and none of them may be used: the caller may wait, or ask for the primary.
#[inline]
pub fn choose(
    view: &ClusterView,
    role: TargetRole,
    settings: &RouteSettings,
    may: impl Fn(NodeIndex) -> bool,
    cost: impl Fn(NodeIndex) -> u64,
    turn: &mut Turn,
    now: Instant,
) -> Result<NodeIndex, NoNode> {
    if role == TargetRole::Primary {
        return view.primary();
    }
    let readers = view.readers(settings.reads_on_primary == ReadsOnPrimary::Always);
    let nearest = readers.nearest();
    if readers.nearest_are_sound(settings.max_lag) {
        if let [only] = nearest
            && may(only.node)
        {
            return Ok(only.node);
        }
        let usable = |reader: &Reader| may(reader.node);
        if let Some(node) = pick(nearest, settings.balance, usable, &cost, turn, now) {
            return Ok(node);
        }
    }
    choose_with_care(view, readers, settings, may, cost, turn, now)
}

/// Some of the nearest are too far behind, start slowly or may not be used, or there is none at all.
#[cold]
fn choose_with_care(
    view: &ClusterView,
    readers: &Readers,
    settings: &RouteSettings,
    may: impl Fn(NodeIndex) -> bool,
    cost: impl Fn(NodeIndex) -> u64,
    turn: &mut Turn,
    now: Instant,
) -> Result<NodeIndex, NoNode> {
    let bound = match settings.reads_on_primary {
        ReadsOnPrimary::Never => None,
        ReadsOnPrimary::IfNoReplica | ReadsOnPrimary::Always => {
            let primary = view.primary().ok().and_then(|node| view.nodes().get(usize::from(node.0)));
            primary.map(|primary| primary.proximity)
        }
    };
    let keeps_up = |reader: &Reader| reader.keeps_up(settings.max_lag);
    let usable = |reader: &Reader| keeps_up(reader) && may(reader.node);
    // So many reads in a thousand are for those that start slowly, too.
    let draw = turn.draw(FULL_EASE);
    let at_ease = |reader: &Reader| reader.ease > draw && usable(reader);
    let mut behind = false;
    for alike in readers.by_distance().filter(|alike| alike.iter().any(keeps_up)) {
        if behind && alike.iter().any(|reader| reader.is_beyond(bound)) {
            break;
        }
        let picked = pick(alike, settings.balance, at_ease, &cost, turn, now)
            .or_else(|| pick(alike, settings.balance, usable, &cost, turn, now));
        if let Some(node) = picked {
            return Ok(node);
        }
        behind = true;
    }
    match settings.reads_on_primary {
        _ if behind => Err(NoNode::Behind),
        ReadsOnPrimary::Never if readers.nearest().is_empty() => Err(NoNode::NoReplica),
        ReadsOnPrimary::Never => Err(NoNode::Lagging),
        ReadsOnPrimary::IfNoReplica | ReadsOnPrimary::Always => view.primary(),
    }
}

#[cfg(test)]
mod tests;
