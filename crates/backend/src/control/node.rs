//! The task of one node: when it is probed next, and what a probe's outcome makes of its place in the view.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use config::{Health, NodeRole};
use route::view::{ClusterView, NodeView};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::probe::{Found, ProbeError, Prober};
use crate::cluster::{Cluster, Node};

/// Between probes while something is about to change.
const QUICK: Duration = Duration::from_millis(250);
/// Between probes while something has been about to change for long.
const PATIENT: Duration = Duration::from_secs(1);
/// This many quick probes for want of a primary (a minute of them), then patient ones: a cluster may have none for good.
const QUICK_PROBES: u32 = 240;
/// Traffic's suspicions lead to no more than ten probes a second.
const SUSPICION_GAP: Duration = Duration::from_millis(100);

/// Probes a node for as long as it is polled.
pub(super) struct Watcher {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    health: Health,
    prober: Prober,
    state: State,
    /// Warned of last, so that it is said once.
    complaint: Option<String>,
}

/// What the last probes came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A role was found; so many probes since the cluster was last seen with one primary.
    Found { unsettled: u32 },
    /// The server lives and doesn't let us in.
    Shut,
    /// So many failures in a row.
    Failing(u32),
}

impl Watcher {
    pub(super) fn new(cluster: Arc<Cluster>, node: Arc<Node>, health: Health, prober: Prober) -> Self {
        let state = State::Found { unsettled: 0 };
        Watcher { cluster, node, health, prober, state, complaint: None }
    }

    /// Probes at once, calls `probed` after that, and goes on.
    pub(super) async fn run(mut self, probed: impl FnOnce() + Send) {
        let mut changes = self.cluster.changes();
        let outcome = self.prober.probe().await;
        self.judge(outcome);
        probed();
        loop {
            self.rest(&mut changes).await;
            let outcome = self.prober.probe().await;
            self.judge(outcome);
        }
    }

    /// Waits until the next probe is due. A change of the cluster's view may bring it forward.
    async fn rest(&self, changes: &mut watch::Receiver<u64>) {
        let since = Instant::now();
        loop {
            let settled = is_settled(&self.cluster.view());
            tokio::select! {
                () = sleep_until(since + self.state.pause(settled, self.health.interval)) => return,
                () = self.node.suspicion.notified() => return sleep_until(since + SUSPICION_GAP).await,
                Ok(()) = changes.changed() => {}
            }
        }
    }

    fn judge(&mut self, outcome: Result<Found, ProbeError>) {
        match outcome {
            Ok(found) => self.found(found),
            Err(error) if error.shows_life() => self.shut_out(&error),
            Err(error) => self.failed(&error),
        }
    }

    fn found(&mut self, found: Found) {
        let index = usize::from(self.node.id.node.0);
        let configured = self.cluster.config.nodes.get(index).and_then(|node| node.role);
        let role = self.role_shown(configured, found.role);
        self.up(|view| {
            view.role = Some(role);
            view.identity = found.identity;
        });
        let before = match self.state {
            State::Found { unsettled } => unsettled,
            State::Shut | State::Failing(_) => 0,
        };
        let settled = is_settled(&self.cluster.view());
        self.state = State::Found { unsettled: if settled { 0 } else { before.saturating_add(1) } };
    }

    /// The role found. But a standby is never a primary, whatever the configuration says, and what it calls a replica
    /// never becomes a primary by itself: it may be a logical replica, which is not in recovery.
    fn role_shown(&mut self, configured: Option<NodeRole>, found: NodeRole) -> NodeRole {
        match (configured, found) {
            (Some(NodeRole::Primary), NodeRole::Replica) => self.warn_once(
                "it is configured as the primary and is in recovery: it is taken for a replica. Without `role` in \
                 the configuration a node's role is found",
            ),
            (Some(NodeRole::Replica), NodeRole::Primary) => self.warn_once(
                "it is configured as a replica and is not in recovery: it stays a replica, which is right if it \
                 replicates logically. Without `role` in the configuration a node's role is found",
            ),
            _ => self.complaint = None,
        }
        if configured == Some(NodeRole::Replica) { NodeRole::Replica } else { found }
    }

    /// It is up as far as can be seen, and what it was before.
    fn shut_out(&mut self, error: &ProbeError) {
        let hint = if error.is_about_the_login() {
            ": set control: {user, password} of the cluster to a login that the server takes"
        } else {
            ""
        };
        self.warn_once(format_args!("the server is up, but its role can't be found: {error}{hint}"));
        self.up(|_| ());
        self.state = State::Shut;
    }

    fn failed(&mut self, error: &ProbeError) {
        let failures = match self.state {
            State::Failing(failures) => failures.saturating_add(1),
            State::Found { .. } | State::Shut => 1,
        };
        self.state = State::Failing(failures);
        tracing::debug!(cluster = self.cluster.config.name, node = self.node.name, failures, %error, "a probe failed");
        if failures >= self.health.failures {
            let why = error.to_string();
            self.publish(|view| {
                view.up = false;
                view.why_down = Some(why.clone());
            });
        }
    }

    fn up(&self, change: impl Fn(&mut NodeView)) {
        self.publish(|view| {
            view.up = true;
            view.why_down = None;
            change(view);
        });
    }

    /// Changes the node's place in the view, and logs what is new of it.
    fn publish(&self, change: impl Fn(&mut NodeView)) {
        let index = self.node.id.node;
        let at = |view: &ClusterView| view.nodes().get(usize::from(index.0)).cloned();
        let before = at(&self.cluster.view());
        self.cluster.update(index, change);
        let after = at(&self.cluster.view());
        let (Some(before), Some(after)) = (before, after) else { return };
        let (cluster, node) = (self.cluster.config.name.as_str(), self.node.name.as_str());
        if before.role != after.role {
            match (before.role, after.role) {
                (Some(was), Some(is)) => {
                    tracing::warn!(cluster, node, "was {}, is {} now", word(was), word(is))
                }
                (_, Some(is)) => tracing::info!(cluster, node, "is {}", word(is)),
                (_, None) => {}
            }
        }
        match (before.up, after.up) {
            (true, false) => {
                let (failures, why) = (self.health.failures, after.why_down.as_deref().unwrap_or_default());
                tracing::warn!(cluster, node, why, "is down: {failures} probes in a row have failed");
            }
            (false, true) => tracing::info!(cluster, node, "is up again"),
            _ => {}
        }
    }

    fn warn_once(&mut self, what: impl Display) {
        let what = what.to_string();
        if self.complaint.as_ref() != Some(&what) {
            tracing::warn!(cluster = self.cluster.config.name, node = self.node.name, "{what}");
            self.complaint = Some(what);
        }
    }
}

impl State {
    /// Between the last probe and the next. `settled`: the cluster has one primary.
    fn pause(self, settled: bool, interval: Duration) -> Duration {
        let pause = match self {
            State::Failing(failures) => {
                (QUICK * 2u32.saturating_pow(failures.saturating_sub(1).min(2))).min(PATIENT)
            }
            // Each attempt leaves a line in the server's log.
            State::Shut => interval,
            State::Found { .. } if settled => interval,
            State::Found { unsettled } if unsettled < QUICK_PROBES => QUICK,
            State::Found { .. } => PATIENT,
        };
        pause.min(interval)
    }
}

/// Whether exactly one node is the primary and up.
fn is_settled(view: &ClusterView) -> bool {
    let primaries = view.nodes().iter().filter(|node| node.up && node.role == Some(NodeRole::Primary));
    primaries.count() == 1
}

fn word(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Primary => "the primary",
        NodeRole::Replica => "a replica",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    #[test]
    fn probes_are_quick_while_something_is_about_to_change() {
        let found = |unsettled| State::Found { unsettled };
        assert_eq!(found(0).pause(true, INTERVAL), INTERVAL);
        assert_eq!(found(1).pause(false, INTERVAL), QUICK);
        assert_eq!(found(QUICK_PROBES).pause(false, INTERVAL), PATIENT);
        assert_eq!(State::Shut.pause(false, INTERVAL), INTERVAL);
        let failing: Vec<_> =
            [1, 2, 3, u32::MAX].map(|n| State::Failing(n).pause(true, INTERVAL).as_millis()).into();
        assert_eq!(failing, [250, 500, 1000, 1000]);
        let short = Duration::from_millis(50);
        assert!(
            [found(0), found(1), State::Failing(9)].iter().all(|state| state.pause(false, short) == short)
        );
    }
}
