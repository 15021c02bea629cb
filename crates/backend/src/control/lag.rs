//! How far a cluster's replicas are behind its primary: measured here, published to the view.
//!
//! Bytes are a difference of positions. The time is how long ago the primary was where the replica is, told by a history
//! of the primary's positions under pgweir's own clock: no server's clock counts, and a primary that is idle makes no lag,
//! as `now() - pg_last_xact_replay_timestamp()` would. That difference is asked for only where a replica is behind the
//! history's beginning, just after pgweir has started or the primary has changed.
//!
//! While the primary doesn't answer, what was known last stays: who was far behind still is, and who wasn't may read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{Config, MaxLag, NodeRole};
use deadpool::managed::Object;
use route::Identity;
use route::view::{ClusterView, Lag, NodeIndex};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::connection::ControlPool;
use crate::cluster::Cluster;

/// Whether it is in recovery, the position that counts then, and by its own clock for how many microseconds it hasn't
/// replayed a transaction.
const POSITION: &str = "\
    SELECT recovery,
           pg_catalog.pg_wal_lsn_diff(CASE WHEN recovery THEN pg_catalog.pg_last_wal_replay_lsn()
               ELSE pg_catalog.pg_current_wal_flush_lsn() END, '0/0')::pg_catalog.int8,
           CASE WHEN recovery THEN (extract(epoch FROM
               pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp()) * 1000000)::pg_catalog.int8 END
    FROM (SELECT pg_catalog.pg_is_in_recovery() AS recovery) AS now";

/// Between questions at least.
const OFTEN: Duration = Duration::from_millis(250);
/// A question takes no longer, so that a server which hangs doesn't keep its probe waiting for the connection.
const PATIENCE: Duration = Duration::from_millis(500);
/// Positions of the primary that are kept.
const KEPT: usize = 4096;

/// Measures for as long as it is polled. `nodes`: the control connections of each.
pub(super) async fn keep(cluster: Arc<Cluster>, nodes: Vec<ControlPool>, config: Arc<Config>) {
    let again = config.health.after_refusal();
    let mut nodes: Vec<_> = nodes.into_iter().map(|pool| Asked { pool, refused: None, again }).collect();
    if nodes.len() < 2 {
        return;
    }
    let (mut history, mut of) = (History::default(), None);
    let interval = interval(&config);
    let mut changes = cluster.changes();
    loop {
        changes.mark_unchanged();
        let view = Arc::clone(&cluster.view());
        if let Ok(primary) = view.primary() {
            let now = Some((primary, timeline(&view, primary)));
            if of != now {
                (history, of) = (History::default(), now);
            }
            if let Some(at) = ask(&mut nodes, &[primary]).await.pop().filter(|at| !at.recovery) {
                history.note(at.position, at.heard);
                let replicas = replicas(&view);
                let places = ask(&mut nodes, &replicas).await;
                for node in replicas {
                    // What was known of it before counts no more.
                    if nodes.get(usize::from(node.0)).is_some_and(|asked| asked.refused.is_some()) {
                        publish(&cluster, node, None, config.route.max_lag);
                    }
                }
                for at in places {
                    // A replica by configuration that isn't in recovery has a WAL of its own.
                    let lag = history.lag(&at).filter(|_| at.recovery);
                    publish(&cluster, at.node, lag, config.route.max_lag);
                }
            }
            publish(&cluster, primary, None, None);
        }
        let rest = rest(&cluster, &mut changes, (view.primary().ok(), replicas(&view)));
        let _ = tokio::time::timeout(interval, rest).await;
    }
}

/// Waits until there is another primary, or a replica comes or goes.
async fn rest(
    cluster: &Cluster,
    changes: &mut watch::Receiver<u64>,
    of: (Option<NodeIndex>, Vec<NodeIndex>),
) {
    loop {
        let view = Arc::clone(&cluster.view());
        if (view.primary().ok(), replicas(&view)) != of {
            return;
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// A quarter of the least that anybody allows: nobody is read from for much longer than that when it falls behind.
fn interval(config: &Config) -> Duration {
    let overrides = || {
        let databases = config.databases.iter().filter_map(|database| database.route.max_lag);
        databases.chain(config.users.values().filter_map(|user| user.route.max_lag))
    };
    let limits = overrides().chain([config.route.max_lag]).flatten();
    let intervals = limits.map(|limit| match limit {
        MaxLag::Time(time) => time / 4,
        MaxLag::Bytes(_) => Duration::from_secs(1),
    });
    let interval = intervals.min().unwrap_or(Duration::MAX);
    interval.clamp(OFTEN.min(config.health.interval), config.health.interval)
}

fn timeline(view: &ClusterView, node: NodeIndex) -> Option<Identity> {
    view.nodes().get(usize::from(node.0)).and_then(|node| node.identity)
}

fn replicas(view: &ClusterView) -> Vec<NodeIndex> {
    let nodes = (0u16..).map(NodeIndex).zip(view.nodes());
    nodes.filter(|(_, node)| node.up && node.role == Some(NodeRole::Replica)).map(|(node, _)| node).collect()
}

fn publish(cluster: &Cluster, node: NodeIndex, lag: Option<Lag>, limit: Option<MaxLag>) {
    let was = cluster.view().nodes().get(usize::from(node.0)).and_then(|node| node.lag);
    if was == lag {
        return;
    }
    cluster.measure(node, |view| view.lag = lag);
    let (before, after) = (was.unwrap_or_default().is_within(limit), lag.unwrap_or_default());
    let (cluster, node) = (cluster.config.name.as_str(), cluster.node(node).name.as_str());
    match (before, after.is_within(limit)) {
        (true, false) => {
            tracing::warn!(cluster, node, bytes = after.bytes, time = ?after.time, "is too far behind: no reads")
        }
        (false, true) => tracing::info!(cluster, node, "has caught up"),
        _ => {}
    }
}

/// Where a node was.
struct Place {
    node: NodeIndex,
    recovery: bool,
    position: u64,
    /// By its own clock, since it replayed a transaction.
    silent: Duration,
    asked: Instant,
    heard: Instant,
}

/// A node that is asked.
struct Asked {
    pool: ControlPool,
    /// When it last refused to tell.
    refused: Option<Instant>,
    /// How long until it is asked again then.
    again: Duration,
}

/// Asks these nodes, all at once. One that doesn't tell is left alone for a while.
async fn ask(nodes: &mut [Asked], which: &[NodeIndex]) -> Vec<Place> {
    let mut questions = JoinSet::new();
    for &node in which {
        if let Some(asked) = nodes.get(usize::from(node.0))
            && asked.refused.is_none_or(|at| at.elapsed() >= asked.again)
        {
            let pool = asked.pool.clone();
            questions.spawn(async move { (node, place(node, &pool).await) });
        }
    }
    let mut places = Vec::new();
    while let Some(answer) = questions.join_next().await {
        match answer {
            Ok((node, Answer::Here(place))) => {
                if let Some(asked) = nodes.get_mut(usize::from(node.0)) {
                    asked.refused = None;
                }
                places.push(place);
            }
            Ok((node, Answer::Mute(error))) => {
                if let Some(asked) = nodes.get_mut(usize::from(node.0))
                    && asked.refused.replace(Instant::now()).is_none()
                {
                    tracing::warn!(%error, "a server doesn't tell its position: its lag isn't known, max_lag doesn't count for it");
                }
            }
            Ok((_, Answer::Nothing)) | Err(_) => {}
        }
    }
    places
}

enum Answer {
    Here(Place),
    /// Not now.
    Nothing,
    /// It doesn't know what is asked, or doesn't tell it.
    Mute(tokio_postgres::Error),
}

async fn place(node: NodeIndex, pool: &ControlPool) -> Answer {
    let end = tokio::time::Instant::now() + PATIENCE;
    let Ok(Ok(client)) = timeout_at(end, pool.get()).await else { return Answer::Nothing };
    let asked = Instant::now();
    match timeout_at(end, position(&client)).await {
        Ok(Ok(Some((recovery, position, silent)))) => {
            Answer::Here(Place { node, recovery, position, silent, asked, heard: Instant::now() })
        }
        Ok(Ok(None)) => Answer::Nothing,
        Ok(Err(error)) if error.code().is_some_and(|code| is_final(code.code())) => Answer::Mute(error),
        // It may have been promoted at this moment.
        Ok(Err(error)) if error.code().is_some() => Answer::Nothing,
        Ok(Err(_)) | Err(_) => {
            // Its state is in doubt: an answer may still be on its way.
            drop(Object::take(client));
            Answer::Nothing
        }
    }
}

fn is_final(code: &str) -> bool {
    code.starts_with("42") || code.starts_with("0A")
}

/// Recovery, position, microseconds; `None`: it has no position (a standby that has replayed nothing yet).
async fn position(client: &Client) -> Result<Option<(bool, u64, Duration)>, tokio_postgres::Error> {
    let messages = client.simple_query(POSITION).await?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let value = |column: usize| row.and_then(|row| row.try_get(column).ok().flatten());
    let position = value(1).and_then(|text| text.parse().ok());
    let silent = value(2).and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(position.map(|position| (value(0) == Some("t"), position, Duration::from_micros(silent))))
}

/// Where the primary was, and when it was first heard that it was there. Both rise.
#[derive(Debug, Default)]
struct History(VecDeque<(u64, Instant)>);

impl History {
    fn note(&mut self, position: u64, heard: Instant) {
        match self.0.back() {
            Some((last, _)) if *last == position => return,
            Some((last, _)) if *last > position => self.0.clear(), // another server, in truth
            Some(_) | None => {}
        }
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((position, heard));
    }

    /// The lag of a replica; `None`: nothing is known of the primary. The time is what is certain: it may be longer by
    /// the time between two questions.
    fn lag(&self, replica: &Place) -> Option<Lag> {
        let (newest, _) = *self.0.back()?;
        let missing = self.0.partition_point(|(position, _)| *position <= replica.position);
        let Some((_, since)) = self.0.get(missing) else { return Some(Lag::default()) };
        let seen = replica.asked.saturating_duration_since(*since);
        let time = if missing == 0 { seen.max(replica.silent) } else { seen };
        Some(Lag { bytes: newest.saturating_sub(replica.position), time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn replica(position: u64, asked: Instant) -> Place {
        Place { node: NodeIndex(1), recovery: true, position, silent: 3600 * S, asked, heard: asked }
    }

    #[test]
    fn lag_is_since_the_primary_was_where_the_replica_is() {
        let (mut history, began) = (History::default(), Instant::now());
        assert_eq!(history.lag(&replica(7, began)), None);
        for (position, second) in [(100, 0), (100, 1), (200, 2), (300, 4)] {
            history.note(position, began + second * S);
        }
        let lag = |position, second| history.lag(&replica(position, began + second * S)).unwrap();
        assert_eq!(lag(300, 60), Lag::default(), "an idle primary makes no lag");
        assert_eq!(lag(400, 60), Lag::default(), "it has heard of more than we have");
        assert_eq!(lag(250, 5), Lag { bytes: 50, time: S });
        assert_eq!(lag(100, 5), Lag { bytes: 200, time: 3 * S });
        assert_eq!(lag(100, 1), Lag { bytes: 200, time: Duration::ZERO }, "asked before the primary");
        assert_eq!(lag(99, 5), Lag { bytes: 201, time: 3600 * S }, "the history doesn't reach so far back");
        history.note(50, began + 9 * S);
        assert_eq!(
            history.lag(&replica(50, began + 10 * S)),
            Some(Lag::default()),
            "another server's positions"
        );
    }

    #[test]
    fn a_history_has_an_end() {
        let (mut history, now) = (History::default(), Instant::now());
        for position in 0..10_000 {
            history.note(position, now);
        }
        assert_eq!((history.0.len(), history.0.front().map(|first| first.0)), (KEPT, Some(10_000 - 4096)));
    }

    #[test]
    fn who_allows_little_is_asked_about_more_often() {
        let asked = |route: &str, user: &str| {
            let text = format!(
                "users: {{u: {{password: x, route: {{{user}}}}}}}\nclusters: {{c: {{nodes: {{a: {{host: a}}}}}}}}\n\
                 databases: {{d: {{cluster: c}}}}\nroute: {{{route}}}\n"
            );
            interval(&config::parse_yaml(&text, "f.yaml", &|_| None, std::path::Path::new("")).unwrap())
        };
        assert_eq!(asked("", ""), 5 * S / 2);
        assert_eq!(asked("", "max_lag: 2s"), S / 2);
        assert_eq!(asked("max_lag: 100ms", ""), OFTEN);
        assert_eq!(asked("max_lag: 1h", "max_lag: null"), 5 * S);
        assert_eq!(asked("max_lag: null", ""), 5 * S);
        assert_eq!(asked("max_lag: 16MB", ""), S);
    }
}
