//! Choices over small clusters.

use super::*;
use crate::balance::{RUN, WARM};
use crate::view::{Lag, NodeView, Proximity};
use config::{Balance, MaxLag, NodeRole};
use std::collections::BTreeMap;
use std::time::Duration;

const P: Option<NodeRole> = Some(NodeRole::Primary);
const R: Option<NodeRole> = Some(NodeRole::Replica);
use Proximity::{Far, Region, Zone};

fn view(nodes: &[(Option<NodeRole>, bool, Proximity, u32)]) -> ClusterView {
    let nodes = nodes
        .iter()
        .map(|&(role, up, proximity, weight)| NodeView { up, ..NodeView::new("", role, proximity, weight) });
    ClusterView::new(nodes.collect())
}

fn settings(balance: Balance, reads_on_primary: ReadsOnPrimary) -> RouteSettings {
    RouteSettings {
        role: config::RoleSetting::Auto,
        consistency: config::Consistency::Eventual,
        replica_wait: Duration::ZERO,
        balance,
        max_lag: Some(MaxLag::Time(Duration::from_secs(10))),
        reads_on_primary,
        transactions: config::Transactions::Primary,
    }
}

/// How often each node is chosen in so many turns, under these loads.
fn shares(
    view: &ClusterView,
    settings: &RouteSettings,
    loads: &[u64],
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
    for balance in [Balance::LeastConnections, Balance::RoundRobin, Balance::Weighted, Balance::PeakEwma] {
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
    let mixed = settings(Balance::Weighted, ReadsOnPrimary::Never);
    let (mut turn, mut order) = (Turn::default(), String::new());
    for _ in 0..10 {
        let node = choose(&weighted, TargetRole::Replica, &mixed, |_| true, |_| 0, &mut turn, Instant::now());
        order.push_str(&node.unwrap().0.to_string());
    }
    assert_eq!(order, "0111011101", "evenly mixed");
    let mut last = Turn { number: u32::MAX, ..Turn::default() };
    assert!(
        choose(&weighted, TargetRole::Replica, &turns, |_| true, |_| 0, &mut last, Instant::now()).is_ok()
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
            let (settings, mut turn) = (settings(balance, reads), Turn { number: 3, ..Turn::default() });
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
    let load = |_| -> u64 { unreachable!("there is nothing to compare") };
    let mut turn = Turn::default();
    let node = choose(&view, TargetRole::Replica, &settings, may, load, &mut turn, Instant::now());
    assert_eq!((node, asked.get()), (Ok(NodeIndex(1)), 1));
}

#[test]
fn of_equals_the_warm_one_is_chosen_for_a_while() {
    let least = settings(Balance::LeastConnections, ReadsOnPrimary::Never);
    let two = view(&[(R, true, Zone, 1), (R, true, Zone, 1)]);
    let mut turn = Turn::default();
    let mut choose = |now, loads: [u64; 2]| {
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

#[test]
fn weighted_mixes_evenly() {
    let view = view(&[(R, true, Zone, 3), (R, true, Zone, 5)]);
    let settings = settings(Balance::Weighted, ReadsOnPrimary::Never);
    let (mut turn, mut run, mut first, mut longest) = (Turn::default(), 0, 0, 0);
    for _ in 0..800 {
        let node = choose(&view, TargetRole::Replica, &settings, |_| true, |_| 0, &mut turn, Instant::now());
        run = if node == Ok(NodeIndex(1)) { run + 1 } else { 0 };
        first += u32::from(run == 0);
        longest = longest.max(run);
    }
    assert!((295..=305).contains(&first), "{first}");
    assert!(longest <= 4, "{longest}");
}

/// A view whose nodes were changed like this.
fn changed(view: &ClusterView, change: impl Fn(usize, &mut NodeView)) -> ClusterView {
    view.with(|nodes| nodes.iter_mut().enumerate().for_each(|(i, node)| change(i, node)))
}

#[test]
fn a_replica_too_far_behind_is_out_and_then_the_next_nearest_and_the_primary_read() {
    let all = view(&[(P, true, Zone, 1), (R, true, Zone, 1), (R, true, Zone, 1), (R, true, Far, 1)]);
    let behind = |late: &[usize]| {
        changed(&all, |i, node| {
            let (bytes, time) = if late.contains(&i) { (2 << 20, 11) } else { (1 << 20, 9) };
            node.lag = (i > 0).then_some(Lag { bytes, time: Duration::from_secs(time) });
        })
    };
    let bytes = Some(MaxLag::Bytes(1 << 20));
    let time = Some(MaxLag::Time(Duration::from_secs(10)));
    use ReadsOnPrimary::{Always, IfNoReplica, Never};
    for (reads, limit, late, expected) in [
        (IfNoReplica, time, vec![], Ok(vec![1, 2])),
        (IfNoReplica, time, vec![1], Ok(vec![2])),
        (IfNoReplica, bytes, vec![2], Ok(vec![1])),
        (IfNoReplica, None, vec![1, 2], Ok(vec![1, 2])),
        (IfNoReplica, time, vec![1, 2], Ok(vec![3])),
        (IfNoReplica, time, vec![1, 2, 3], Ok(vec![0])),
        (Always, bytes, vec![1, 2, 3], Ok(vec![0])),
        (Never, bytes, vec![1, 2, 3], Err(NoNode::Lagging)),
    ] {
        for balance in [Balance::LeastConnections, Balance::RoundRobin, Balance::PeakEwma] {
            let settings = RouteSettings { max_lag: limit, ..settings(balance, reads) };
            let nodes = shares(&behind(&late), &settings, &[], 8);
            assert_eq!(nodes.map(|shares| shares.into_keys().collect()), expected, "{reads:?} {late:?}");
        }
    }
    let nowhere = changed(&behind(&[1, 2, 3]), |i, node| node.up = i > 0);
    let settings = settings(Balance::LeastConnections, IfNoReplica);
    assert_eq!(shares(&nowhere, &settings, &[], 1), Err(NoNode::NoPrimary));
    let unknown = changed(&all, |_, node| node.lag = None);
    assert_eq!(
        shares(&unknown, &settings, &[], 8).unwrap().len(),
        2,
        "what isn't known counts against nobody"
    );
}

#[test]
fn who_starts_slowly_takes_a_part_of_its_share_with_every_balance() {
    let two = view(&[(P, true, Zone, 1), (R, true, Zone, 1), (R, true, Zone, 1)]);
    for balance in [
        Balance::LeastConnections,
        Balance::RoundRobin,
        Balance::Random,
        Balance::Weighted,
        Balance::PeakEwma,
    ] {
        let settings = settings(balance, ReadsOnPrimary::IfNoReplica);
        for (ease, least, most) in [(0, 0, 0), (20, 0, 40), (500, 200, 300), (FULL_EASE, 450, 550)] {
            let easing = changed(&two, |i, node| node.ease = if i == 2 { ease } else { FULL_EASE });
            let share = shares(&easing, &settings, &[], 1000).unwrap().get(&2).copied().unwrap_or(0);
            assert!((least..=most).contains(&share), "{balance:?} at {ease}: {share}");
        }
        // Nobody is there to take what it leaves, or all start slowly.
        let alone = changed(&two, |i, node| (node.up, node.ease) = (i != 1, 20));
        assert_eq!(shares(&alone, &settings, &[], 9), Ok(BTreeMap::from([(2, 9)])), "{balance:?}");
        let both = changed(&two, |_, node| node.ease = 20);
        let shares = shares(&both, &settings, &[], 100).unwrap();
        assert!(shares.len() == 2 && shares.values().all(|&share| share > 30), "{balance:?}: {shares:?}");
    }
}

#[test]
fn under_load_who_starts_slowly_has_less_of_it() {
    let two = view(&[(R, true, Zone, 1), (R, true, Zone, 1)]);
    let easing = changed(&two, |i, node| node.ease = if i == 1 { 500 } else { FULL_EASE });
    let settings = settings(Balance::LeastConnections, ReadsOnPrimary::Never);
    let share = |loads| shares(&easing, &settings, loads, 1000).unwrap().get(&1).copied().unwrap_or(0);
    assert!((400..=600).contains(&share(&[10, 4])), "it is below its part, and drawn every other time");
    assert_eq!(share(&[10, 6]), 0, "it has more than its part already");
}

#[test]
fn traffic_never_has_more_than_half_of_the_replicas_out() {
    let settings = settings(Balance::RoundRobin, ReadsOnPrimary::IfNoReplica);
    let all: [(Option<NodeRole>, bool, Proximity, u32); 5] =
        [(P, true, Zone, 1), (R, true, Zone, 1), (R, true, Zone, 1), (R, true, Zone, 1), (R, true, Zone, 1)];
    for (up, out, expected) in [
        (4, vec![1], vec![2, 3, 4]),
        (4, vec![1, 2], vec![3, 4]),
        (4, vec![1, 2, 3], vec![1, 2, 3, 4]),
        (3, vec![1], vec![2, 3]),
        (3, vec![1, 2], vec![1, 2, 3]),
        (2, vec![1], vec![2]),
        (1, vec![1], vec![1]),
    ] {
        let view = changed(&view(&all), |i, node| {
            node.up = i <= up;
            node.out = out.contains(&i).then(|| "errors".to_owned());
        });
        let chosen = shares(&view, &settings, &[], 24).unwrap();
        assert_eq!(chosen.into_keys().collect::<Vec<_>>(), expected, "{up} up, {out:?} out");
    }
}

#[test]
fn with_two_nodes_down_the_rest_by_distance() {
    let all = view(&[
        (P, true, Region, 1),
        (R, true, Zone, 1),
        (R, true, Zone, 1),
        (R, true, Region, 1),
        (R, true, Far, 1),
    ]);
    for (down, expected) in [
        (vec![], vec![1, 2]),
        (vec![1], vec![2]),
        (vec![1, 2], vec![3]),
        (vec![1, 2, 3], vec![4]),
        (vec![1, 2, 3, 4], vec![0]),
        (vec![0, 1, 2], vec![3]),
    ] {
        let view = changed(&all, |i, node| node.up = !down.contains(&i));
        for balance in [Balance::LeastConnections, Balance::RoundRobin, Balance::Weighted] {
            let settings = settings(balance, ReadsOnPrimary::IfNoReplica);
            let chosen = shares(&view, &settings, &[90, 90, 90, 1, 1], 8).unwrap();
            assert_eq!(chosen.into_keys().collect::<Vec<_>>(), expected, "{down:?} down, {balance:?}");
        }
    }
}
