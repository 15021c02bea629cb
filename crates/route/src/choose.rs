//! Which node of a cluster: from its last view, the settings and the load.

use std::time::{Duration, Instant};

use config::{Balance, ReadsOnPrimary, RouteSettings};

use crate::decision::{Refusal, TargetRole};
use crate::view::{ClusterView, NodeIndex, Reader, Readers};

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
            NoNode::Doubt => (
                "Several of its nodes are up and out of recovery; writing to the wrong one would lose data.",
                "Stop the node that was replaced.",
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

/// Chooses a node of this role. `may` says of a replica whether this read may use it; it is asked as rarely as can be,
/// and never of the primary unless that is one of the nodes that read. `load` is the number of connections in use at a
/// node; `turn` breaks ties, and is advanced. Allocates nothing.
///
/// Nodes further away come in where none of the nearer ones may be used, as long as the primary isn't nearer than they
/// are and allowed to read.
///
/// # Errors
/// [`NoNode::Behind`] if there are replicas and none of them may be used: the caller may wait, or ask for the primary.
#[inline]
pub fn choose(
    view: &ClusterView,
    role: TargetRole,
    settings: &RouteSettings,
    may: impl Fn(NodeIndex) -> bool,
    load: impl Fn(NodeIndex) -> u32,
    turn: &mut Turn,
    now: Instant,
) -> Result<NodeIndex, NoNode> {
    if role == TargetRole::Primary {
        return view.primary();
    }
    let readers = view.readers(settings.reads_on_primary == ReadsOnPrimary::Always);
    if let [only] = readers.nearest()
        && may(only.node)
    {
        return Ok(only.node);
    }
    let mut choose_of = |readers: &[Reader]| match settings.balance {
        Balance::LeastConnections => least_loaded(readers, &may, &load, turn.warm(now)),
        Balance::RoundRobin => by_weight(readers, &may, turn.next()),
        Balance::Random => by_weight(readers, &may, scatter(turn.next())),
    };
    match choose_of(readers.nearest()) {
        Some(node) => Ok(node),
        None => further(view, readers, settings.reads_on_primary, choose_of),
    }
}

/// None of the nearest will do, or there is none at all.
#[cold]
fn further(
    view: &ClusterView,
    readers: &Readers,
    reads_on_primary: ReadsOnPrimary,
    mut choose_of: impl FnMut(&[Reader]) -> Option<NodeIndex>,
) -> Result<NodeIndex, NoNode> {
    match (readers.nearest(), reads_on_primary) {
        ([], ReadsOnPrimary::Never) => Err(NoNode::NoReplica),
        ([], ReadsOnPrimary::IfNoReplica | ReadsOnPrimary::Always) => view.primary(),
        (_, ReadsOnPrimary::Never) => readers.further(None).find_map(choose_of).ok_or(NoNode::Behind),
        (_, ReadsOnPrimary::IfNoReplica | ReadsOnPrimary::Always) => {
            let primary = view.primary().ok().and_then(|node| view.nodes().get(usize::from(node.0)));
            let bound = primary.map(|node| node.proximity);
            readers.further(bound).find_map(&mut choose_of).ok_or(NoNode::Behind)
        }
    }
}

/// The fewest connections for its weight; of equals, the first at or after the one whose turn it is.
fn least_loaded(
    readers: &[Reader],
    may: impl Fn(NodeIndex) -> bool,
    load: impl Fn(NodeIndex) -> u32,
    turn: u32,
) -> Option<NodeIndex> {
    let first = usize::try_from(turn).unwrap_or(0).checked_rem(readers.len())?;
    let (before, from_first) = readers.split_at(first);
    let mut best: Option<(NodeIndex, u64, u64)> = None;
    for reader in from_first.iter().chain(before) {
        let (load, weight) = (u64::from(load(reader.node)), u64::from(reader.weight));
        let better = best.is_none_or(|(_, best_load, best_weight)| load * best_weight < best_load * weight);
        if better && may(reader.node) {
            best = Some((reader.node, load, weight));
        }
    }
    best.map(|(node, ..)| node)
}

/// The node on which `number` falls when each that may be used takes as many numbers as its weight.
fn by_weight(readers: &[Reader], may: impl Fn(NodeIndex) -> bool, number: u32) -> Option<NodeIndex> {
    let usable = || readers.iter().filter(|reader| may(reader.node));
    let total: u64 = usable().map(|reader| u64::from(reader.weight)).sum();
    let mut left = u64::from(number).checked_rem(total)?;
    for reader in usable() {
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
            identity: None,
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
            let node = choose(view, TargetRole::Replica, settings, |_| true, load, &mut turn, now)?;
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
                |_| true,
                |_| 0,
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
                choose(
                    view,
                    TargetRole::Replica,
                    &settings,
                    |_| true,
                    |_| 0,
                    &mut Turn::default(),
                    Instant::now(),
                )
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
        assert!(
            choose(&weighted, TargetRole::Replica, &turns, |_| true, |_| 0, &mut last, Instant::now())
                .is_ok()
        );
        assert_eq!(last.number, 0, "turns begin anew");
    }

    #[test]
    fn nodes_that_may_not_be_used_are_passed_over_and_none_is_its_own_answer() {
        let far = |reads, primary, allowed: &[u16]| {
            let view = view(&[
                (P, true, primary, 1),
                (R, true, Zone, 1),
                (R, true, Zone, 3),
                (R, true, Region, 1),
                (R, true, Far, 1),
            ]);
            let balances = [Balance::LeastConnections, Balance::RoundRobin, Balance::Random];
            let chosen = balances.map(|balance| {
                let (settings, mut turn) = (settings(balance, reads), Turn { number: 3, lasts: None });
                let may = |node: NodeIndex| allowed.contains(&node.0);
                choose(&view, TargetRole::Replica, &settings, may, |_| 0, &mut turn, Instant::now())
            });
            assert!(chosen.iter().all(|one| *one == chosen[0]), "{chosen:?}");
            chosen[0].map(|node| node.0)
        };
        use ReadsOnPrimary::{Always, IfNoReplica, Never};
        assert_eq!(far(IfNoReplica, Zone, &[1]), Ok(1));
        assert_eq!(far(IfNoReplica, Zone, &[2, 3, 4]), Ok(2));
        assert_eq!(far(IfNoReplica, Region, &[3, 4]), Ok(3), "no further than the primary");
        assert_eq!(far(IfNoReplica, Zone, &[3, 4]), Err(NoNode::Behind), "the primary is nearer");
        assert_eq!(far(IfNoReplica, Region, &[4]), Err(NoNode::Behind));
        assert_eq!(far(IfNoReplica, Far, &[4]), Ok(4));
        assert_eq!(far(Never, Zone, &[4]), Ok(4), "it may not go to the primary");
        assert_eq!(far(Never, Zone, &[]), Err(NoNode::Behind));
        assert_eq!(far(Always, Zone, &[0, 4]), Ok(0), "the primary is one of those that read");
    }

    #[test]
    fn a_single_reader_is_asked_for_once() {
        let view = view(&[(P, true, Zone, 1), (R, true, Zone, 1)]);
        let settings = settings(Balance::LeastConnections, ReadsOnPrimary::IfNoReplica);
        let asked = std::cell::Cell::new(0);
        let may = |_| {
            asked.set(asked.get() + 1);
            true
        };
        let load = |_| -> u32 { unreachable!("there is nothing to compare") };
        let mut turn = Turn::default();
        let node = choose(&view, TargetRole::Replica, &settings, may, load, &mut turn, Instant::now());
        assert_eq!((node, asked.get()), (Ok(NodeIndex(1)), 1));
    }

    #[test]
    fn of_equals_the_warm_one_is_chosen_for_a_while() {
        let least = settings(Balance::LeastConnections, ReadsOnPrimary::Never);
        let two = view(&[(R, true, Zone, 1), (R, true, Zone, 1)]);
        let mut turn = Turn::default();
        let mut choose = |now, loads: [u32; 2]| {
            let load = |node: NodeIndex| loads[usize::from(node.0)];
            super::choose(&two, TargetRole::Replica, &least, |_| true, load, &mut turn, now).unwrap()
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
