//! Samples the positions of a cluster's nodes, in rounds: a task for each node that asks it when a round has begun, and
//! one that begins rounds while somebody waits for one.
//!
//! A round is counted before anybody is asked in it, so that what a primary says in it covers all that was acknowledged
//! before it began. A node that answers late, or not at all, holds up nobody else.

mod question;

use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{Health, NodeRole};
use route::consistency::{Position, Sample};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connection::Connector;
use super::probe::ProbeError;
use crate::cluster::{Cluster, Node};
use crate::connect::Login;
use crate::positions::Positions;
use question::{Answer, Connection, THERE};

/// Between two rounds that somebody waits for.
const GAP: Duration = Duration::from_millis(1);
/// … once so many of them have helped nobody.
const LONG_GAP: Duration = Duration::from_millis(20);
const FRUITLESS: u32 = 100;
/// Between two rounds that nobody waits for.
const LEISURE: Duration = Duration::from_millis(20);
/// A node that couldn't be reached is let alone for so long.
const RETRY: Duration = Duration::from_millis(100);
/// How long the first round may wait for the cluster's primary to be found, and then for its nodes.
const FIRST: Duration = Duration::from_secs(1);

/// Samples a cluster for as long as it is polled; calls `sampled` after the first round.
pub(super) async fn keep(
    cluster: Arc<Cluster>,
    mut login: Login,
    health: Health,
    sampled: impl FnOnce() + Send,
) {
    for (name, value) in &mut login.parameters {
        if name == "application_name" {
            "pgweir-positions".clone_into(value);
        }
    }
    cluster.positions.assume(health.assumed_lag);
    let (rounds, _) = watch::channel(0);
    let mut tasks = JoinSet::new();
    for node in &cluster.nodes {
        let sampler = Sampler {
            cluster: Arc::clone(&cluster),
            node: Arc::clone(node),
            connector: Connector {
                node: None, // the prober's connection tells that
                target: node.target.clone(),
                login: login.clone(),
            },
            limit: health.timeout,
            again: health.after_refusal(),
            connection: None,
            failed: None,
            refused: None,
        };
        tasks.spawn(sampler.run(rounds.subscribe()));
    }
    let mut changes = cluster.changes();
    let found = async { while cluster.view().primary().is_err() && changes.changed().await.is_ok() {} };
    let _: Result<(), _> = timeout(FIRST, found).await;
    let mut driver = Driver { cluster: &cluster, rounds: &rounds, best: 0, fruitless: 0 };
    driver.first().await;
    sampled();
    loop {
        cluster.positions.woken().await;
        driver.serve().await;
    }
}

/// Begins the rounds.
struct Driver<'a> {
    cluster: &'a Cluster,
    rounds: &'a watch::Sender<u64>,
    /// The most that a replica had covered when a round last helped.
    best: u64,
    fruitless: u32,
}

impl Driver<'_> {
    fn positions(&self) -> &Positions {
        &self.cluster.positions
    }

    /// The first round: every read needs it.
    async fn first(&mut self) {
        let mut changes = self.positions().changes();
        let deadline = Instant::now() + FIRST;
        while self.covered().0 == 0 && Instant::now() < deadline {
            self.begin();
            let _: Result<_, _> = timeout(LEISURE, changes.changed()).await;
        }
    }

    /// Rounds, until nobody wants one any more.
    async fn serve(&mut self) {
        let mut changes = self.positions().changes();
        loop {
            changes.mark_unchanged();
            let (wanted, until) = self.positions().wanted();
            let now = Instant::now();
            let waited_for = now < until && self.covered().1 < wanted;
            let due = self.positions().age().map_or(Duration::ZERO, |age| {
                let gap = match waited_for {
                    true if self.fruitless < FRUITLESS => GAP,
                    true => LONG_GAP,
                    false => LEISURE,
                };
                gap.saturating_sub(age)
            });
            if !waited_for && !self.positions().is_suggested() {
                return;
            }
            if due.is_zero() {
                self.begin();
                continue;
            }
            tokio::select! {
                () = sleep(due) => {}
                Ok(()) = changes.changed() => {}
                () = self.positions().woken() => {}
            }
        }
    }

    fn begin(&mut self) {
        let (_, best) = self.covered();
        if best > self.best {
            (self.best, self.fruitless) = (best, 0);
        } else {
            self.fruitless = self.fruitless.saturating_add(1);
        }
        let round = self.positions().begin();
        self.rounds.send_replace(round);
    }

    /// The least and the most that a replica that is up has covered. Without one there is nothing to wait for.
    fn covered(&self) -> (u64, u64) {
        let view = self.cluster.view();
        let nodes = self.cluster.nodes.iter().zip(view.nodes());
        let replicas = nodes.filter(|(_, view)| view.up && view.role != Some(NodeRole::Primary));
        let covered = replicas.map(|(node, _)| self.positions().covered(node.id.node));
        covered.fold((u64::MAX, 0), |(least, most), covered| (least.min(covered), most.max(covered)))
    }
}

/// Asks one node.
struct Sampler {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    connector: Connector,
    limit: Duration,
    /// How long until it is asked again for what it has refused to tell.
    again: Duration,
    connection: Option<Connection>,
    /// When it last couldn't be reached.
    failed: Option<Instant>,
    /// When it last refused to tell where it is.
    refused: Option<Instant>,
}

impl Sampler {
    async fn run(mut self, mut rounds: watch::Receiver<u64>) {
        while rounds.changed().await.is_ok() {
            rounds.mark_unchanged();
            if self.failed.is_some_and(|at| at.elapsed() < RETRY) {
                continue;
            }
            // A connection that was lost while nobody needed it says nothing of the node.
            let again = self.connection.is_some();
            let mut outcome = self.sample().await;
            if outcome.is_err() && again {
                outcome = self.sample().await;
            }
            self.failed = None;
            if let Err(error) = outcome {
                tracing::debug!(cluster = self.cluster.config.name, node = self.node.name, %error, "no position");
                self.failed = Some(Instant::now());
            }
        }
    }

    async fn sample(&mut self) -> Result<(), ProbeError> {
        let limit = self.limit;
        let outcome = timeout(limit, self.ask()).await.unwrap_or(Err(ProbeError::Timeout(limit)));
        if outcome.is_err() {
            self.connection = None;
            self.cluster.positions.lose(self.node.id.node);
        }
        outcome
    }

    async fn ask(&mut self) -> Result<(), ProbeError> {
        let positions = &self.cluster.positions;
        let view = self.cluster.view();
        let role = view.nodes().get(usize::from(self.node.id.node.0)).and_then(|node| node.role);
        let standby = role != Some(NodeRole::Primary);
        drop(view);
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(&self.connector, positions, standby).await?),
        };
        let (round, asked) = (positions.begun(), Instant::now());
        let asks = self.refused.is_none_or(|at| at.elapsed() >= self.again);
        let located = if asks { Some(connection.locate(positions.commit_early()).await?) } else { None };
        let node = &self.node;
        let answer = match located {
            Some(Ok(answer)) => {
                // So it may say who it is.
                connection.nameless &= self.refused.take().is_none();
                if positions.note_untold(node.id.node, None) {
                    tracing::info!(
                        cluster = self.cluster.config.name,
                        node = node.name,
                        "tells its position again"
                    );
                }
                answer
            }
            Some(Err(why)) => {
                self.refused = Some(Instant::now());
                if positions
                    .note_untold(node.id.node, Some(format!("doesn't tell its position: {why}").into()))
                {
                    tracing::warn!(
                        cluster = self.cluster.config.name,
                        node = node.name,
                        why,
                        "doesn't tell its position: what is read from replicas is taken by time alone, health.assumed_lag"
                    );
                }
                Answer::UNTOLD
            }
            None => {
                connection.client.simple_query(THERE).await?;
                Answer::UNTOLD
            }
        };
        if answer.commits_early {
            positions.note_early_commits();
        }
        let timeline = connection.identity.map(|identity| identity.timeline);
        let moved = match answer.position {
            Position::Primary(_) => answer.timeline != timeline,
            Position::Replica(_) => positions.timeline().is_some_and(|of| timeline != Some(of)),
            Position::Untold => false,
        };
        if moved && !connection.nameless {
            connection.identify(positions).await?;
        }
        let sample = Sample { round, position: answer.position, identity: connection.identity };
        let is_primary = match self.cluster.view().primary() {
            Ok(primary) => primary == self.node.id.node,
            // Who is the primary isn't known: whoever says that it is may be the wrong one.
            Err(_) if matches!(answer.position, Position::Primary(_)) => return Ok(()),
            Err(_) => false,
        };
        positions.publish(self.node.id.node, asked, &sample, is_primary);
        Ok(())
    }
}
