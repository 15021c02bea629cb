//! Samples the positions of a cluster's nodes, in rounds: a task for each node that asks it when a round has begun, and
//! one that begins rounds while somebody waits for one.
//!
//! A round is counted before anybody is asked in it, so that what a primary says in it covers all that was acknowledged
//! before it began. A node that answers late, or not at all, holds up nobody else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{Health, NodeRole};
use deadpool::managed::Manager;
use route::Identity;
use route::consistency::{Position, Sample};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, Row, Statement};

use super::connection::Connector;
use super::probe::ProbeError;
use crate::cluster::{Cluster, Node};
use crate::connect::Login;
use crate::positions::Positions;

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

/// Where it is. A primary's timeline is the one that it writes now.
const WHERE: &str = "\
    SELECT recovery,
           (CASE WHEN recovery THEN pg_catalog.pg_last_wal_replay_lsn()
                 ELSE pg_catalog.pg_current_wal_flush_lsn() END - '0/0'::pg_catalog.pg_lsn)::pg_catalog.int8,
           (CASE WHEN NOT recovery THEN pg_catalog.pg_current_wal_insert_lsn() END
            - '0/0'::pg_catalog.pg_lsn)::pg_catalog.int8,
           CASE WHEN NOT recovery
                THEN \"left\"(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()), 8) END,
           pg_catalog.current_setting('synchronous_commit') = 'off'
    FROM (SELECT pg_catalog.pg_is_in_recovery() AS recovery) AS now";

/// Who it is, as a probe asks it; and whether anybody commits early by a setting of a role or database.
const WHO: &str = "\
    SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.to_hex(coalesce(
               (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver),
               (SELECT greatest(timeline_id, min_recovery_end_timeline)
                FROM pg_catalog.pg_control_checkpoint(), pg_catalog.pg_control_recovery())))
           ELSE \"left\"(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()), 8) END,
           (SELECT system_identifier FROM pg_catalog.pg_control_system()),
           (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8,
           EXISTS (SELECT FROM pg_catalog.pg_db_role_setting, pg_catalog.unnest(setconfig) AS said
                   WHERE said LIKE 'synchronous_commit=off%')";

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
            connection: None,
            failed: None,
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
    connection: Option<Connection>,
    /// When it last couldn't be reached.
    failed: Option<Instant>,
}

/// A connection to the node, and who answers there.
struct Connection {
    client: Client,
    statement: Option<Statement>,
    identity: Option<Identity>,
}

/// What the node said of where it is.
struct Answer {
    position: Position,
    /// A primary's.
    timeline: Option<u32>,
    commits_early: bool,
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
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(&self.connector, positions).await?),
        };
        let (round, asked) = (positions.begun(), Instant::now());
        let answer = connection.locate(positions.commit_early()).await?;
        if answer.commits_early {
            positions.note_early_commits();
        }
        let timeline = connection.identity.map(|identity| identity.timeline);
        let moved = match answer.position {
            Position::Primary(_) => answer.timeline != timeline,
            Position::Replica(_) => timeline != positions.timeline(),
            Position::Untold => false,
        };
        if moved {
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

impl Connection {
    async fn open(connector: &Connector, positions: &Positions) -> Result<Connection, ProbeError> {
        let client = connector.create().await?;
        let statement = match client.prepare(WHERE).await {
            Ok(statement) => Some(statement),
            Err(error) if is_refused(&error) => None,
            Err(error) => return Err(error.into()),
        };
        let mut connection = Connection { client, statement, identity: None };
        connection.identify(positions).await?;
        Ok(connection)
    }

    async fn identify(&mut self, positions: &Positions) -> Result<(), ProbeError> {
        let row = match self.client.query_one(WHO, &[]).await {
            Ok(row) => row,
            Err(error) if is_refused(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.identity = identity(&row)?;
        if row.try_get(3)? {
            positions.note_early_commits();
        }
        Ok(())
    }

    async fn locate(&self, early: bool) -> Result<Answer, ProbeError> {
        let untold = Answer { position: Position::Untold, timeline: None, commits_early: false };
        let Some(statement) = &self.statement else { return Ok(untold) };
        match self.client.query_one(statement, &[]).await {
            Ok(row) => Ok(answer(&row, early)?),
            Err(error) if is_refused(&error) => Ok(untold),
            Err(error) => Err(error.into()),
        }
    }
}

/// The server doesn't know what it was asked, or doesn't say it to this login.
fn is_refused(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("42") || code.code().starts_with("0A"))
}

fn identity(row: &Row) -> Result<Option<Identity>, tokio_postgres::Error> {
    let (timeline, system, started): (Option<&str>, Option<i64>, Option<i64>) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let timeline = timeline.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    Ok(match (timeline, system, started) {
        // It is unsigned, and shown as a signed number.
        (Some(timeline), Some(system), Some(started)) => {
            Some(Identity { system: system.cast_unsigned(), timeline, started })
        }
        _ => None,
    })
}

fn answer(row: &Row, early: bool) -> Result<Answer, tokio_postgres::Error> {
    let recovery: bool = row.try_get(0)?;
    let (kept, inserted): (Option<i64>, Option<i64>) = (row.try_get(1)?, row.try_get(2)?);
    let timeline: Option<&str> = row.try_get(3)?;
    let commits_early: bool = row.try_get(4)?;
    let position = match (recovery, kept, inserted) {
        (true, replayed, _) => Position::Replica(replayed.unwrap_or(0).cast_unsigned()),
        (false, _, Some(inserted)) if early || commits_early => {
            Position::Primary(end_of(inserted.cast_unsigned()))
        }
        (false, Some(kept), _) => Position::Primary(kept.cast_unsigned()),
        _ => Position::Untold,
    };
    let timeline = timeline.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    Ok(Answer { position, timeline, commits_early: commits_early && !recovery })
}

/// Where the last record ends, from where the next one will begin: at the start of a page, behind its header.
fn end_of(inserted: u64) -> u64 {
    const PAGE: u64 = 8192;
    /// Of the first page of a segment, and of any other.
    const HEADERS: [u64; 2] = [40, 24];
    let into = inserted % PAGE;
    if HEADERS.contains(&into) { inserted - into } else { inserted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_fills_its_page_ends_with_it() {
        assert_eq!([0x1000, 0x2018, 0x4028, 0x2020].map(end_of), [0x1000, 0x2000, 0x4000, 0x2020]);
    }
}
