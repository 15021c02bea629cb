//! Which nodes belong to their cluster, and which of them is the primary: from what each says of itself.
//!
//! A promotion begins a new timeline. So of two nodes that are out of recovery the one on the higher timeline was
//! promoted later; the other, and whoever comes back out of recovery on a timeline that the cluster has left, would
//! take writes that nobody else gets. Where timelines don't decide nobody is the primary.

use config::NodeRole;

use crate::choose::NoNode;
use crate::identity::Identity;
use crate::view::{NodeIndex, NodeView};

/// Whether a node may be used, but for being up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It belongs to the cluster.
    Member,
    /// It is out of recovery on a timeline that the cluster has left.
    Forked {
        /// Its own.
        timeline: u32,
        /// The newest of the cluster.
        newest: u32,
    },
    /// It has the system identifier of another cluster.
    Foreign {
        /// Its own.
        system: u64,
        /// The cluster's.
        expected: u64,
    },
}

impl Standing {
    /// Why it isn't used, in words; `None`: it may be.
    pub fn why_refused(self) -> Option<String> {
        match self {
            Standing::Member => None,
            Standing::Forked { timeline, newest } => Some(format!(
                "it is out of recovery on timeline {timeline}, and the cluster is on timeline {newest}: it was replaced"
            )),
            Standing::Foreign { system, expected } => Some(format!(
                "it belongs to another cluster: its system identifier is {system}, not {expected}"
            )),
        }
    }
}

/// What the nodes of a cluster come to together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judged {
    /// The cluster's system identifier, once all nodes that are up have told theirs: it stays then.
    pub(crate) system: Option<u64>,
    /// In the order of the nodes.
    pub(crate) standings: Vec<Standing>,
    pub(crate) primary: Result<NodeIndex, NoNode>,
}

/// Judges the nodes. `system`: what was settled before. `leader`: who is the primary by another source.
pub(crate) fn judge(nodes: &[NodeView], system: Option<u64>, leader: Option<NodeIndex>) -> Judged {
    let kept = system.filter(|system| systems(nodes).any(|known| known == *system));
    let expected = kept.or_else(|| most_likely(nodes));
    let all_told = nodes.iter().all(|node| !node.up || node.apart || node.identity.is_some());
    let system = kept.or(if all_told { expected } else { None });
    let mut standings: Vec<_> = nodes
        .iter()
        .map(|node| match (node.identity, expected) {
            (Some(Identity { system, .. }), Some(expected)) if system != expected => {
                Standing::Foreign { system, expected }
            }
            _ => Standing::Member,
        })
        .collect();
    for (node, standing) in nodes.iter().zip(&mut standings) {
        if let (Standing::Member, true, Some(Identity { system, timeline, .. })) =
            (*standing, claims(node), node.identity)
            && let newest = newest_timeline(nodes, system)
            && timeline < newest
        {
            *standing = Standing::Forked { timeline, newest };
        }
    }
    let primary = primary(nodes, &standings, leader);
    Judged { system, standings, primary }
}

/// It says that it takes writes. What it said before it went down counts for its standing.
fn claims(node: &NodeView) -> bool {
    node.role == Some(NodeRole::Primary)
}

fn primary(
    nodes: &[NodeView],
    standings: &[Standing],
    leader: Option<NodeIndex>,
) -> Result<NodeIndex, NoNode> {
    let all = || (0u16..).map(NodeIndex).zip(nodes.iter().zip(standings));
    let claimants = || all().filter(|(_, (node, _))| node.up && claims(node));
    let mut members = claimants().filter(|(_, (_, standing))| **standing == Standing::Member);
    let chosen = match (members.next(), members.next(), leader) {
        (None, ..) if claimants().next().is_some() => return Err(NoNode::Refused),
        (None, ..) => return Err(NoNode::NoPrimary),
        (Some(_), _, Some(leader)) => claimants()
            .find(|(index, (_, standing))| *index == leader && **standing == Standing::Member)
            .ok_or(NoNode::NotLeader)?,
        (Some(one), None, None) => one,
        (Some(_), Some(_), None) => return Err(NoNode::Doubt),
    };
    let (index, (node, _)) = chosen;
    if node.doubted { Err(NoNode::Doubted) } else { Ok(index) }
}

/// Nodes that are down count: what they were seen with has been.
fn newest_timeline(nodes: &[NodeView], of: u64) -> u32 {
    let identities = nodes.iter().filter_map(|node| node.identity);
    identities.filter(|id| id.system == of).map(|id| id.timeline).max().unwrap_or(0)
}

fn systems(nodes: &[NodeView]) -> impl Iterator<Item = u64> {
    nodes.iter().filter_map(|node| Some(node.identity?.system))
}

/// The system identifier of most nodes; of as many, that of the only primary. `None`: it can't be told.
fn most_likely(nodes: &[NodeView]) -> Option<u64> {
    let votes = |system: u64| systems(nodes).filter(|other| *other == system).count();
    let most = systems(nodes).map(votes).max()?;
    let mut candidates: Vec<_> = systems(nodes).filter(|system| votes(*system) == most).collect();
    candidates.sort_unstable();
    candidates.dedup();
    if candidates.len() > 1 {
        let has_primary = |system: &u64| {
            nodes.iter().any(|node| claims(node) && node.identity.is_some_and(|id| id.system == *system))
        };
        candidates.retain(has_primary);
    }
    match candidates[..] {
        [only] => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{ClusterView, Proximity};

    const P: Option<NodeRole> = Some(NodeRole::Primary);
    const R: Option<NodeRole> = Some(NodeRole::Replica);

    fn node(role: Option<NodeRole>, identity: Option<(u64, u32)>) -> NodeView {
        let identity = identity.map(|(system, timeline)| Identity { system, timeline, started: 0 });
        NodeView { identity, ..NodeView::new("n".to_owned(), role, Proximity::Zone, 1) }
    }

    fn down(node: NodeView) -> NodeView {
        NodeView { up: false, ..node }
    }

    fn judged(nodes: &[NodeView]) -> (Result<NodeIndex, NoNode>, Vec<Standing>) {
        let judged = judge(nodes, None, None);
        (judged.primary, judged.standings)
    }

    #[test]
    fn of_two_the_one_on_the_higher_timeline_is_the_primary() {
        let (primary, standings) = judged(&[node(P, Some((7, 1))), node(P, Some((7, 2)))]);
        let forked = Standing::Forked { timeline: 1, newest: 2 };
        assert_eq!((primary, standings), (Ok(NodeIndex(1)), vec![forked, Standing::Member]));
        // The same, or not known: nobody.
        for second in [Some((7, 1)), None] {
            let (primary, standings) = judged(&[node(P, Some((7, 1))), node(P, second)]);
            assert_eq!((primary, standings), (Err(NoNode::Doubt), vec![Standing::Member; 2]));
        }
    }

    #[test]
    fn a_timeline_that_was_left_stays_left_while_its_successor_is_down() {
        let old = node(P, Some((7, 1)));
        for newer in [down(node(P, Some((7, 2)))), down(node(R, Some((7, 2)))), node(R, Some((7, 2)))] {
            let (primary, standings) = judged(&[old.clone(), newer]);
            assert_eq!(primary, Err(NoNode::Refused));
            assert_eq!(standings, [Standing::Forked { timeline: 1, newest: 2 }, Standing::Member]);
        }
        // A replica that lags behind in the timeline is a replica.
        let (primary, standings) = judged(&[node(P, Some((7, 2))), node(R, Some((7, 1)))]);
        assert_eq!((primary, standings), (Ok(NodeIndex(0)), vec![Standing::Member; 2]));
    }

    #[test]
    fn a_node_of_another_cluster_is_never_used() {
        let foreign = Standing::Foreign { system: 8, expected: 7 };
        let (us, copy, them) = (node(P, Some((7, 1))), node(R, Some((7, 1))), node(P, Some((8, 5))));
        let (primary, standings) = judged(&[us.clone(), copy.clone(), them.clone()]);
        assert_eq!((primary, standings[2]), (Ok(NodeIndex(0)), foreign));
        // One against one, and only one of them is a primary.
        let (primary, standings) = judged(&[us.clone(), node(R, Some((8, 1)))]);
        assert_eq!((primary, standings[1]), (Ok(NodeIndex(0)), foreign));
        // Two of different clusters that both are: nobody knows.
        assert_eq!(judged(&[us.clone(), them.clone()]).0, Err(NoNode::Doubt));
        // What was settled stays, also while all the others are down.
        let settled = ClusterView::new(vec![us, copy, down(node(None, None))]);
        let later = settled.with(|nodes| {
            (nodes[0].up, nodes[1].up) = (false, false);
            nodes[2] = them.clone();
        });
        assert_eq!((later.primary(), later.standing(NodeIndex(2))), (Err(NoNode::Refused), foreign));
        // Until none of its nodes is known any more.
        let moved = later.with(|nodes| {
            (nodes[0].identity, nodes[1].identity) = (None, them.identity);
        });
        assert_eq!(moved.primary(), Ok(NodeIndex(2)));
    }

    #[test]
    fn the_first_to_answer_does_not_settle_which_cluster_it_is() {
        let unknown = node(None, None);
        let first = ClusterView::new(vec![unknown.clone(), unknown, node(P, Some((8, 1)))]);
        assert_eq!(first.primary(), Ok(NodeIndex(2)));
        let later = first.with(|nodes| {
            nodes[0] = node(P, Some((7, 1)));
            nodes[1] = node(R, Some((7, 1)));
        });
        assert_eq!(later.primary(), Ok(NodeIndex(0)));
    }

    #[test]
    fn who_is_doubted_is_not_the_primary_before_it_is_confirmed() {
        let doubted = NodeView { doubted: true, ..node(P, Some((7, 1))) };
        assert_eq!(judged(&[doubted.clone(), node(R, Some((7, 1)))]).0, Err(NoNode::Doubted));
        assert_eq!(judged(&[doubted, node(P, Some((7, 2)))]).0, Ok(NodeIndex(1)));
    }

    #[test]
    fn a_leader_decides_between_claimants_and_makes_none() {
        let (one, two) = (node(P, Some((7, 1))), node(P, Some((7, 1))));
        let with = |nodes: &[NodeView], leader| judge(nodes, None, Some(NodeIndex(leader))).primary;
        assert_eq!(with(&[one.clone(), two.clone()], 1), Ok(NodeIndex(1)));
        assert_eq!(with(&[one.clone(), node(R, Some((7, 1)))], 1), Err(NoNode::NotLeader));
        assert_eq!(with(&[node(R, Some((7, 1))), node(R, Some((7, 1)))], 1), Err(NoNode::NoPrimary));
        // A timeline that was left stays so.
        assert_eq!(with(&[one, node(P, Some((7, 2)))], 0), Err(NoNode::NotLeader));
    }
}
