//! The task of one node: when it is probed next, and what a probe's outcome makes of its place in the view.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use config::{Health, NodeRole};
use route::Identity;
use route::view::{ClusterView, NodeView};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::probe::{Found, ProbeError, Prober};
use crate::cluster::{Cluster, Node};

/// Between probes while something is about to change.
const QUICK: Duration = Duration::from_millis(250);
/// Between probes while something has been about to change for long.
const PATIENT: Duration = Duration::from_secs(1);
/// This many quick probes for want of a primary (a minute of them), then patient ones: a cluster may have none for good.
const QUICK_PROBES: u32 = 240;
/// How long a doubted primary waits for the others' answers: who takes longer serves nobody now.
const OTHERS_PATIENCE: Duration = Duration::from_secs(1);
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
        let outcome = self.node.looks.count(self.prober.probe()).await;
        self.judge(outcome);
        probed();
        loop {
            self.rest(&mut changes).await;
            // Who was doubted before this probe is asked together with the others.
            let others = self.is_doubted().then(|| self.ask_others());
            let outcome = self.node.looks.count(self.prober.probe()).await;
            self.judge(outcome);
            if self.is_doubted() && !matches!(self.state, State::Failing(_)) {
                let others = others.unwrap_or_else(|| self.ask_others());
                let _answered = timeout(OTHERS_PATIENCE, others).await;
                self.cluster.confirm(self.node.id.node);
            }
        }
    }

    fn is_doubted(&self) -> bool {
        self.seen().is_some_and(|view| view.doubted)
    }

    /// Has all other nodes probed; ends when they were.
    fn ask_others(&self) -> impl Future<Output = ()> + Send + use<> {
        let others = self.cluster.nodes.iter().filter(|node| node.id != self.node.id);
        let looks: Vec<_> = others
            .map(|node| {
                let look = node.looks.next();
                node.suspicion.notify_one();
                look
            })
            .collect();
        async move {
            for look in looks {
                look.await;
            }
        }
    }

    fn seen(&self) -> Option<NodeView> {
        self.cluster.view().nodes().get(usize::from(self.node.id.node.0)).cloned()
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
        let apart = role != found.role;
        let identity = found.identity.filter(|_| !apart);
        let doubted = role == NodeRole::Primary && self.came_back(identity);
        self.up(|view| {
            view.role = Some(role);
            view.apart = apart;
            view.identity = identity;
            view.doubted |= doubted;
        });
        let before = match self.state {
            State::Found { unsettled } => unsettled,
            State::Shut | State::Failing(_) => 0,
        };
        let settled = is_settled(&self.cluster.view());
        self.state = State::Found { unsettled: if settled { 0 } else { before.saturating_add(1) } };
    }

    /// Whether it was gone since it was last seen, so that another node may have taken its place.
    fn came_back(&self, identity: Option<Identity>) -> bool {
        let Some(before) = self.seen().filter(|_| self.cluster.nodes.len() > 1) else { return false };
        let started = |identity: Option<Identity>| identity.map(|identity| identity.started);
        !before.up || (before.identity.is_some() && started(before.identity) != started(identity))
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
        let doubted = error.shows_absence()
            && self.cluster.nodes.len() > 1
            && self.seen().is_some_and(|view| view.role == Some(NodeRole::Primary));
        if doubted {
            self.publish(|view| view.doubted = true);
        }
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
        let before = self.seen();
        self.cluster.update(index, change);
        let (Some(before), Some(after)) = (before, self.seen()) else { return };
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

/// Whether it is certain which node is the primary.
fn is_settled(view: &ClusterView) -> bool {
    view.primary().is_ok()
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
