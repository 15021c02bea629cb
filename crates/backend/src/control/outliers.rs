//! Takes replicas out of the reads that traffic finds sick, though their probes succeed.
//!
//! Once a second it is looked at what traffic saw of each. A second is bad for a node if connections to it failed or
//! were lost, and those are a tenth of its answers or more; three bad ones of the last ten, and it is out. So is one
//! whose answers took, on average over five seconds, five times as long as those of its like (the other replicas as near
//! as it is, their median) and 20 ms longer, twice in a row. A node that restarts or one killed backend are no reason,
//! and a full pool or a full server isn't one either: neither is an error of the server's.
//!
//! The first time it is out for ten seconds, then for twice as long each time, five minutes at most; who stays in for
//! that long and a minute more begins anew. Who comes back starts slowly. Never more than half of the replicas that are
//! up are out at once, and so always one is left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use config::NodeRole;
use route::view::{ClusterView, NodeIndex, NodeView};

use crate::cluster::Cluster;
use crate::traffic::Seen;

const SECOND: Duration = Duration::from_secs(1);
/// Seconds that are looked back for errors, and how many of them may not be bad.
const LOOK_BACK: u32 = 10;
const BAD_SECONDS: u32 = 3;
/// Answers for each error that excuse it.
const EXCUSE: u64 = 10;
/// Seconds over which averages are taken, with so many answers at least.
const WINDOW: u32 = 5;
const ENOUGH: u64 = 50;
/// Slower than its like so many times, and by so much.
const TIMES: u64 = 5;
const BY_MICROS: u64 = 20_000;
/// So many windows in a row.
const SLOW_WINDOWS: u32 = 2;
/// How long a node is out the first time, and at most.
const FIRST_OUT: Duration = Duration::from_secs(10);
const LONGEST_OUT: Duration = Duration::from_secs(300);
/// Longer than it was out last, and it begins anew.
const FORGIVEN: Duration = Duration::from_secs(60);

/// Judges for as long as it is polled.
pub(super) async fn keep(cluster: Arc<Cluster>) {
    if cluster.nodes.len() < 2 {
        return;
    }
    let mut judge = Judge::new(cluster.nodes.iter().map(|node| node.traffic.seen()).collect());
    let mut seconds = tokio::time::interval(SECOND);
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let seen: Vec<_> = cluster.nodes.iter().map(|node| node.traffic.seen()).collect();
        let view = Arc::clone(&cluster.view());
        for (node, verdict) in judge.judge(&view, &seen, Instant::now()) {
            let (cluster_name, name) = (cluster.config.name.as_str(), cluster.node(node).name.as_str());
            match &verdict {
                Some(why) => {
                    tracing::warn!(cluster = cluster_name, node = name, why, "takes no reads for now")
                }
                None => tracing::info!(cluster = cluster_name, node = name, "takes reads again"),
            }
            cluster.update(node, |view| view.out = verdict.clone());
        }
    }
}

/// What is remembered of each node.
struct Judge {
    nodes: Vec<Record>,
    seconds: u32,
}

#[derive(Debug, Default)]
struct Record {
    seen: Seen,
    /// The last seconds, a bit for each that was bad.
    bad: u32,
    window: Seen,
    slow: u32,
    /// How often it was out without having been forgiven.
    times: u32,
    state: State,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    /// It may read. When it came back, and how long it had been out.
    #[default]
    In,
    Back {
        since: Instant,
        after: Duration,
    },
    Out {
        until: Instant,
        of: Duration,
    },
}

/// A node, and why it is out now; `None`: it is in again.
type Verdict = (NodeIndex, Option<String>);

impl Judge {
    fn new(seen: Vec<Seen>) -> Self {
        let nodes = seen.into_iter().map(|seen| Record { seen, ..Record::default() });
        Self { nodes: nodes.collect(), seconds: 0 }
    }

    /// A second has passed.
    fn judge(&mut self, view: &ClusterView, seen: &[Seen], now: Instant) -> Vec<Verdict> {
        self.seconds += 1;
        let counts = counting(view);
        for ((record, seen), counts) in self.nodes.iter_mut().zip(seen).zip(&counts) {
            record.pass(*seen, *counts);
        }
        let slower = if self.seconds.is_multiple_of(WINDOW) { self.slower(view) } else { Vec::new() };
        let up = counts.iter().filter(|counts| **counts).count();
        let is_out = |(node, counts): &(&NodeView, &bool)| **counts && node.out.is_some();
        let mut out = view.nodes().iter().zip(&counts).filter(is_out).count();
        let mut verdicts = Vec::new();
        let nodes = self.nodes.iter_mut().zip(view.nodes()).zip(&counts);
        for (index, ((record, node), &counts)) in (0u16..).map(NodeIndex).zip(nodes) {
            if let Some(()) = record.end(node, counts, now) {
                out = out.saturating_sub(usize::from(counts));
                verdicts.push((index, None));
                continue;
            }
            let slow = slower.iter().find(|(slow, _)| *slow == index).map(|(_, words)| words.clone());
            let Some(why) = record.fault(slow) else { continue };
            if node.out.is_none() && counts && out < up / 2 {
                out += 1;
                verdicts.push((index, Some(record.put_out(&why, now))));
            }
        }
        verdicts
    }

    /// The nodes that are much slower than their like for the second window, and in which words.
    fn slower(&mut self, view: &ClusterView) -> Vec<(NodeIndex, String)> {
        let windows: Vec<Seen> =
            self.nodes.iter_mut().map(|record| std::mem::take(&mut record.window)).collect();
        let average = |at: usize| {
            windows[at].micros.checked_div(windows[at].answers).filter(|_| windows[at].answers >= ENOUGH)
        };
        let counts = counting(view);
        let mut slower = Vec::new();
        for (at, node) in view.nodes().iter().enumerate() {
            let like = view.nodes().iter().enumerate().filter(|(other, like)| {
                *other != at && counts[*other] && like.out.is_none() && like.proximity == node.proximity
            });
            let mut others: Vec<u64> = like.filter_map(|(other, _)| average(other)).collect();
            others.sort_unstable();
            let median = others.get(others.len().saturating_sub(1) / 2);
            let (Some(mine), Some(&median)) = (average(at), median) else {
                self.nodes[at].slow = 0;
                continue;
            };
            let slow = mine > median.saturating_mul(TIMES) && mine > median + BY_MICROS;
            self.nodes[at].slow = if slow { self.nodes[at].slow + 1 } else { 0 };
            if self.nodes[at].slow >= SLOW_WINDOWS
                && let Ok(index) = u16::try_from(at)
            {
                let words = format!(
                    "it answers in {:.1} ms on average, its like in {:.1} ms",
                    millis(mine),
                    millis(median)
                );
                slower.push((NodeIndex(index), words));
            }
        }
        slower
    }
}

impl Record {
    /// A second has passed.
    fn pass(&mut self, seen: Seen, counts: bool) {
        let new = seen - std::mem::replace(&mut self.seen, seen);
        if !counts {
            // What happened while it was down is no fault of what comes back.
            (self.bad, self.slow, self.window) = (0, 0, Seen::default());
            return;
        }
        let bad = new.errors > 0 && new.errors.saturating_mul(EXCUSE) >= new.answers;
        self.bad = ((self.bad << 1) | u32::from(bad)) & ((1 << LOOK_BACK) - 1);
        self.window += new;
    }

    /// Whether its time out has ended.
    fn end(&mut self, node: &NodeView, counts: bool, now: Instant) -> Option<()> {
        match self.state {
            State::Out { until, of } if now >= until || !counts => {
                self.state = State::Back { since: now, after: of };
                (self.bad, self.slow, self.window) = (0, 0, Seen::default());
                Some(())
            }
            State::Back { since, after } if now.saturating_duration_since(since) > after + FORGIVEN => {
                (self.state, self.times) = (State::In, 0);
                None
            }
            // Put out under another configuration; nobody else ends it.
            State::In | State::Back { .. } if node.out.is_some() => Some(()),
            State::In | State::Back { .. } | State::Out { .. } => None,
        }
    }

    fn fault(&self, slow: Option<String>) -> Option<String> {
        let bad = self.bad.count_ones();
        let errors = (bad >= BAD_SECONDS).then(|| {
            format!("connections to it failed or were lost in {bad} of the last {LOOK_BACK} seconds")
        });
        errors.or(slow)
    }

    /// Puts it out, and says so in words.
    fn put_out(&mut self, why: &str, now: Instant) -> String {
        let of = FIRST_OUT.saturating_mul(1 << self.times.min(16)).min(LONGEST_OUT);
        self.times += 1;
        (self.bad, self.slow) = (0, 0);
        self.state = State::Out { until: now + of, of };
        format!("{why}: no reads for {} s", of.as_secs())
    }
}

/// Which nodes are replicas that could read.
fn counting(view: &ClusterView) -> Vec<bool> {
    let counts = |(index, node): (NodeIndex, &NodeView)| {
        view.is_usable(index) && node.role == Some(NodeRole::Replica) && node.weight > 0
    };
    (0u16..).map(NodeIndex).zip(view.nodes()).map(counts).collect()
}

fn millis(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use route::view::Proximity;

    /// A primary and replicas, and what is counted of each in a second.
    struct Cluster {
        view: ClusterView,
        judge: Judge,
        seen: Vec<Seen>,
        now: Instant,
    }

    impl Cluster {
        fn of(replicas: usize) -> Self {
            let node = |i| {
                let role = if i == 0 { NodeRole::Primary } else { NodeRole::Replica };
                NodeView::new("", Some(role), Proximity::Zone, 1)
            };
            let seen = vec![Seen::default(); replicas + 1];
            Self {
                view: ClusterView::new((0..=replicas).map(node).collect()),
                judge: Judge::new(seen.clone()),
                seen,
                now: Instant::now(),
            }
        }

        /// So many seconds pass; in each a node answers so often, in so many microseconds each, with so many errors.
        fn pass(&mut self, seconds: u32, each: impl Fn(usize) -> (u64, u64, u64)) -> Vec<usize> {
            for _ in 0..seconds {
                for (i, seen) in self.seen.iter_mut().enumerate() {
                    let (answers, took, errors) = each(i);
                    *seen += Seen { answers, micros: answers * took, errors };
                }
                self.now += SECOND;
                let verdicts = self.judge.judge(&self.view, &self.seen, self.now);
                self.view = self.view.with(|nodes| {
                    for (node, verdict) in verdicts {
                        nodes[usize::from(node.0)].out = verdict;
                    }
                });
            }
            self.out()
        }

        fn out(&self) -> Vec<usize> {
            let nodes = self.view.nodes().iter().enumerate();
            nodes.filter(|(_, node)| node.out.is_some()).map(|(i, _)| i).collect()
        }

        fn why(&self, node: usize) -> &str {
            self.view.nodes()[node].out.as_deref().unwrap()
        }
    }

    const NOTHING: [usize; 0] = [];

    #[test]
    fn errors_second_after_second_take_a_replica_out_for_a_growing_time() {
        let mut cluster = Cluster::of(2);
        let failing = |i| if i == 2 { (5, 1000, 1) } else { (100, 1000, 0) };
        assert_eq!(cluster.pass(2, failing), NOTHING);
        assert_eq!(cluster.pass(1, failing), [2]);
        assert_eq!(
            cluster.why(2),
            "connections to it failed or were lost in 3 of the last 10 seconds: no reads for 10 s"
        );
        let quiet = |_| (100, 1000, 0);
        assert_eq!(cluster.pass(9, quiet), [2]);
        assert_eq!(cluster.pass(1, quiet), NOTHING);
        assert_eq!(cluster.pass(3, failing), [2], "again");
        assert_eq!(cluster.pass(19, quiet), [2], "for twice as long");
        assert_eq!(cluster.pass(1, quiet), NOTHING);
        cluster.pass(90, quiet);
        assert_eq!(cluster.pass(3, failing), [2]);
        assert!(cluster.why(2).ends_with("for 10 s"), "it was forgiven: {}", cluster.why(2));
        // 10 + 20 + 40 + 80 + 160 + 300 s out, and 3 s in between.
        assert_eq!(cluster.pass(10 + 20 + 40 + 80 + 160 + 5 * 3 + 100, failing), [2]);
        assert!(cluster.why(2).ends_with("for 300 s"), "{}", cluster.why(2));
    }

    #[test]
    fn few_errors_among_many_answers_or_in_one_second_are_no_reason() {
        let mut cluster = Cluster::of(2);
        assert_eq!(cluster.pass(100, |i| (100, 1000, u64::from(i == 2))), NOTHING);
        assert_eq!(
            cluster.pass(1, |i| (0, 0, 500 * u64::from(i == 1))),
            NOTHING,
            "all of its connections at once"
        );
        cluster.pass(20, |_| (100, 1000, 0));
        assert_eq!(cluster.pass(20, |i| (0, 0, u64::from(i == 0))), NOTHING, "the primary isn't judged here");
    }

    #[test]
    fn at_most_half_of_the_replicas_are_out() {
        let all_fail = |_| (0, 0, 1);
        for (replicas, out) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
            assert_eq!(Cluster::of(replicas).pass(5, all_fail).len(), out, "of {replicas}");
        }
    }

    #[test]
    fn the_slowest_by_far_is_out_and_a_slow_query_or_slow_day_is_not() {
        let slow = |node, took| move |i| (100, if i == node { took } else { 2_000 }, 0);
        let mut cluster = Cluster::of(3);
        assert_eq!(cluster.pass(5, slow(1, 30_000)), NOTHING, "one window");
        assert_eq!(cluster.pass(5, slow(1, 30_000)), [1]);
        assert!(
            cluster.why(1).starts_with("it answers in 30.0 ms on average, its like in 2.0 ms"),
            "{}",
            cluster.why(1)
        );
        assert_eq!(Cluster::of(3).pass(20, slow(1, 9_000)), NOTHING, "not by five times");
        assert_eq!(
            Cluster::of(3).pass(20, |i| (100, if i == 1 { 900 } else { 100 }, 0)),
            NOTHING,
            "by a trifle"
        );
        assert_eq!(Cluster::of(3).pass(20, |_| (100, 500_000, 0)), NOTHING, "all are");
        assert_eq!(
            Cluster::of(3).pass(20, |i| (9, if i == 1 { 900_000 } else { 100 }, 0)),
            NOTHING,
            "too few"
        );
        let mut cluster = Cluster::of(2);
        cluster.pass(5, slow(2, 90_000));
        assert_eq!(cluster.pass(5, slow(2, 2_000)), NOTHING);
        assert_eq!(cluster.pass(5, slow(2, 90_000)), NOTHING, "not twice in a row");
        assert_eq!(cluster.pass(5, slow(2, 90_000)), [2]);
    }

    #[test]
    fn who_goes_down_is_not_out_and_comes_back_without_a_record_of_that_time() {
        let mut cluster = Cluster::of(2);
        let failing = |i| (0, 0, u64::from(i == 1));
        assert_eq!(cluster.pass(3, failing), [1]);
        cluster.view = cluster.view.with(|nodes| nodes[1].up = false);
        assert_eq!(cluster.pass(1, failing), NOTHING);
        cluster.pass(5, failing);
        cluster.view = cluster.view.with(|nodes| nodes[1].up = true);
        assert_eq!(cluster.pass(2, failing), NOTHING);
    }

    #[test]
    fn a_reload_doesnt_keep_a_node_out_for_good() {
        let mut cluster = Cluster::of(2);
        cluster.view = cluster.view.with(|nodes| nodes[1].out = Some("before".to_owned()));
        assert_eq!(cluster.pass(1, |_| (0, 0, 0)), NOTHING);
    }
}
