//! Which node of a cluster: from its last view, the settings and the load.

use std::time::{Duration, Instant};

use config::{Balance, ReadsOnPrimary, RouteSettings};

use crate::decision::{Refusal, TargetRole};
use crate::view::{ClusterView, NodeIndex, Reader};

/// Why there is no node to choose. All may pass, so a caller may wait for the next view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoNode {
    /// None is known to be the primary and up.
    #[error("no primary is known")]
    NoPrimary,
    /// No replica is up, and reads may not go to the primary.
    #[error("no replica is up")]
    NoReplica,
    /// Several claim to be the primary.
    #[error("more than one node claims to be the primary")]
    Doubt,
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
            NoNode::Doubt => (
                "Several of its nodes are up and out of recovery; writing to the wrong one would lose data.",
                "Stop the node that was replaced.",
            ),
        };
        Refusal {
            sqlstate: NoNode::SQLSTATE,
            message: format!("{self} in \"{place}\""),
            detail: Some(detail.into()),
            hint: Some(hint.into()),
        }
    }
}

/// Whose turn it is, as the caller keeps it: one for each core and pool.
///
/// Of nodes that have the same load one is chosen again and again while it is warm: what a server has used a moment ago
/// is still in its processor's caches. A pause, or the end of its run, makes it another's turn.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turn {
    number: u32,
    /// Until when the node of this turn is warm, and its run lasts.
    lasts: Option<(Instant, Instant)>,
}

/// A node that nobody chose for so long is not warm any more.
const WARM: Duration = Duration::from_millis(1);
/// The longest run of one node.
const RUN: Duration = Duration::from_millis(100);

impl Turn {
    /// Another number each time.
    fn next(&mut self) -> u32 {
        let number = self.number;
        self.number = number.wrapping_add(1);
        number
    }

    /// The same number while its node is warm.
    fn warm(&mut self, now: Instant) -> u32 {
        let run_ends = match self.lasts {
            Some((warm, run)) if now < warm && now < run => run,
            _ => {
                self.number = self.number.wrapping_add(1);
                now + RUN
            }
        };
        self.lasts = Some((now + WARM, run_ends));
        self.number
    }
}

/// Chooses a node of this role. `load` is the number of connections in use at a node; `turn` breaks ties, and is
/// advanced. Allocates nothing.
pub fn choose(
    view: &ClusterView,
    role: TargetRole,
    settings: &RouteSettings,
    load: &dyn Fn(NodeIndex) -> u32,
    turn: &mut Turn,
    now: Instant,
) -> Result<NodeIndex, NoNode> {
    if role == TargetRole::Primary {
        return view.primary();
    }
    let readers = view.readers(settings.reads_on_primary == ReadsOnPrimary::Always);
    let chosen = match (settings.balance, readers) {
        (_, [only]) => Some(only.node),
        (Balance::LeastConnections, _) => least_loaded(readers, load, turn.warm(now)),
        (Balance::RoundRobin, _) => by_weight(readers, turn.next()),
        (Balance::Random, _) => by_weight(readers, scatter(turn.next())),
    };
    match (chosen, settings.reads_on_primary) {
        (Some(node), _) => Ok(node),
        (None, ReadsOnPrimary::Never) => Err(NoNode::NoReplica),
        (None, ReadsOnPrimary::IfNoReplica | ReadsOnPrimary::Always) => view.primary(),
    }
}

/// The fewest connections for its weight; of equals, the first at or after the one whose turn it is.
fn least_loaded(readers: &[Reader], load: &dyn Fn(NodeIndex) -> u32, turn: u32) -> Option<NodeIndex> {
    let first = usize::try_from(turn).unwrap_or(0).checked_rem(readers.len())?;
    let (before, from_first) = readers.split_at(first);
    let mut best: Option<(NodeIndex, u64, u64)> = None;
    for reader in from_first.iter().chain(before) {
        let (load, weight) = (u64::from(load(reader.node)), u64::from(reader.weight));
        if best.is_none_or(|(_, best_load, best_weight)| load * best_weight < best_load * weight) {
            best = Some((reader.node, load, weight));
        }
    }
    best.map(|(node, ..)| node)
}

/// The node on which `number` falls when each takes as many numbers as its weight.
fn by_weight(readers: &[Reader], number: u32) -> Option<NodeIndex> {
    let total: u64 = readers.iter().map(|reader| u64::from(reader.weight)).sum();
    let mut left = u64::from(number).checked_rem(total)?;
    for reader in readers {
        match left.checked_sub(u64::from(reader.weight)) {
            Some(rest) => left = rest,
            None => return Some(reader.node),
        }
    }
    None
}

/// Neighbouring numbers to far ones: the finalizer of MurmurHash3.
fn scatter(mut number: u32) -> u32 {
    number ^= number >> 16;
    number = number.wrapping_mul(0x85eb_ca6b);
    number ^= number >> 13;
    number = number.wrapping_mul(0xc2b2_ae35);
    number ^ (number >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{NodeView, Proximity};
    use config::NodeRole;
    use std::collections::BTreeMap;
    use std::time::Duration;

    const P: Option<NodeRole> = Some(NodeRole::Primary);
    const R: Option<NodeRole> = Some(NodeRole::Replica);
    use Proximity::{Far, Region, Zone};

    fn view(nodes: &[(Option<NodeRole>, bool, Proximity, u32)]) -> ClusterView {
        let nodes = nodes.iter().map(|&(role, up, proximity, weight)| NodeView {
            name: String::new(),
            role,
            up,
            why_down: None,
            proximity,
            weight,
        });
        ClusterView::new(nodes.collect())
    }

    fn settings(balance: Balance, reads_on_primary: ReadsOnPrimary) -> RouteSettings {
        RouteSettings {
            role: config::RoleSetting::Auto,
            balance,
            max_lag: Duration::from_secs(10),
            reads_on_primary,
        }
    }

    /// How often each node is chosen in so many turns, under these loads.
    fn shares(
        view: &ClusterView,
        settings: &RouteSettings,
        loads: &[u32],
        turns: u32,
    ) -> Result<BTreeMap<u16, u32>, NoNode> {
        let mut shares = BTreeMap::new();
        let mut turn = Turn::default();
        let mut now = Instant::now();
        for _ in 0..turns {
            now += WARM;
            let load = |node: NodeIndex| loads.get(usize::from(node.0)).copied().unwrap_or(0);
            let node = choose(view, TargetRole::Replica, settings, &load, &mut turn, now)?;
            *shares.entry(node.0).or_default() += 1;
        }
        Ok(shares)
    }

    #[test]
    fn the_primary_is_the_one_that_is_up_and_sure() {
        let settings = settings(Balance::LeastConnections, ReadsOnPrimary::IfNoReplica);
        let cases = [
            (vec![(R, true, Zone, 1), (P, true, Far, 1)], Ok(NodeIndex(1))),
            (vec![(P, false, Zone, 1), (P, true, Far, 1)], Ok(NodeIndex(1))),
            (vec![(P, true, Zone, 1), (P, true, Far, 1)], Err(NoNode::Doubt)),
            (vec![(P, false, Zone, 1), (R, true, Far, 1)], Err(NoNode::NoPrimary)),
            (vec![(None, true, Zone, 1)], Err(NoNode::NoPrimary)),
            (vec![], Err(NoNode::NoPrimary)),
        ];
        for (nodes, expected) in cases {
            let found = choose(
                &view(&nodes),
                TargetRole::Primary,
                &settings,
                &|_| 0,
                &mut Turn::default(),
                Instant::now(),
            );
            assert_eq!(found, expected, "{nodes:?}");
        }
    }

    #[test]
    fn reads_without_a_replica_go_to_the_primary_only_if_they_may() {
        let alone = view(&[(P, true, Zone, 1), (R, false, Zone, 1), (None, true, Zone, 1)]);
        let nobody = view(&[(P, false, Zone, 1)]);
        let two = view(&[(P, true, Zone, 1), (P, true, Zone, 1)]);
        let cases = [
            (ReadsOnPrimary::IfNoReplica, Ok(NodeIndex(0)), NoNode::NoPrimary, NoNode::Doubt),
            (ReadsOnPrimary::Always, Ok(NodeIndex(0)), NoNode::NoPrimary, NoNode::Doubt),
            (ReadsOnPrimary::Never, Err(NoNode::NoReplica), NoNode::NoReplica, NoNode::NoReplica),
        ];
        for (reads, on_alone, on_nobody, on_two) in cases {
            let settings = settings(Balance::LeastConnections, reads);
            let chosen = |view| {
                choose(view, TargetRole::Replica, &settings, &|_| 0, &mut Turn::default(), Instant::now())
            };
            assert_eq!(chosen(&alone), on_alone);
            assert_eq!(chosen(&nobody), Err(on_nobody));
            assert_eq!(chosen(&two), Err(on_two));
        }
    }

    #[test]
    fn the_nearest_that_are_up_share_the_reads() {
        let view = view(&[
            (P, true, Zone, 1),
            (R, false, Zone, 1),
            (R, true, Region, 1),
            (R, true, Far, 1),
            (R, true, Region, 1),
        ]);
        for balance in [Balance::LeastConnections, Balance::RoundRobin] {
            let shares = shares(&view, &settings(balance, ReadsOnPrimary::IfNoReplica), &[], 100);
            assert_eq!(shares, Ok(BTreeMap::from([(2, 50), (4, 50)])), "{balance:?}");
        }
        let random = shares(&view, &settings(Balance::Random, ReadsOnPrimary::Never), &[], 1000).unwrap();
        assert_eq!(random.keys().copied().collect::<Vec<_>>(), [2, 4]);
        assert!(random.values().all(|&share| share > 400), "{random:?}");
        let near = shares(&view, &settings(Balance::RoundRobin, ReadsOnPrimary::Always), &[], 10);
        assert_eq!(near, Ok(BTreeMap::from([(0, 10)])), "the primary is a node like any other, and nearer");
    }

    #[test]
    fn the_least_loaded_for_its_weight() {
        let least = settings(Balance::LeastConnections, ReadsOnPrimary::Never);
        let three = view(&[(R, true, Zone, 1), (R, true, Zone, 1), (R, true, Zone, 1)]);
        assert_eq!(shares(&three, &least, &[3, 1, 2], 9), Ok(BTreeMap::from([(1, 9)])));
        assert_eq!(shares(&three, &least, &[1, 1, 1], 9), Ok(BTreeMap::from([(0, 3), (1, 3), (2, 3)])));
        let weighted = view(&[(R, true, Zone, 1), (R, true, Zone, 4), (R, true, Zone, 0)]);
        assert_eq!(shares(&weighted, &least, &[2, 7, 0], 5), Ok(BTreeMap::from([(1, 5)])));
        assert_eq!(shares(&weighted, &least, &[2, 9, 0], 5), Ok(BTreeMap::from([(0, 5)])));
        let turns = settings(Balance::RoundRobin, ReadsOnPrimary::Never);
        assert_eq!(shares(&weighted, &turns, &[], 10), Ok(BTreeMap::from([(0, 2), (1, 8)])));
        let mut last = Turn { number: u32::MAX, lasts: None };
        assert!(choose(&weighted, TargetRole::Replica, &turns, &|_| 0, &mut last, Instant::now()).is_ok());
        assert_eq!(last.number, 0, "turns begin anew");
    }

    #[test]
    fn of_equals_the_warm_one_is_chosen_for_a_while() {
        let least = settings(Balance::LeastConnections, ReadsOnPrimary::Never);
        let two = view(&[(R, true, Zone, 1), (R, true, Zone, 1)]);
        let mut turn = Turn::default();
        let mut choose = |now, loads: [u32; 2]| {
            let load = |node: NodeIndex| loads[usize::from(node.0)];
            super::choose(&two, TargetRole::Replica, &least, &load, &mut turn, now).unwrap()
        };
        let began = Instant::now();
        let first = choose(began, [0, 0]);
        let mut now = began + WARM / 2;
        while now < began + RUN {
            assert_eq!(choose(now, [0, 0]), first);
            now += WARM / 2;
        }
        let second = choose(began + RUN, [0, 0]);
        assert_ne!(second, first, "its run is over");
        assert_eq!(choose(began + RUN, [1, 1]), second);
        let other_is_idle = if second == NodeIndex(0) { [1, 0] } else { [0, 1] };
        assert_eq!(choose(began + RUN, other_is_idle), first, "the load comes first");
        assert_eq!(choose(began + RUN + WARM, [0, 0]), first, "nothing is warm after a pause");
    }
}
