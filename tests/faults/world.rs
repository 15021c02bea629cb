//! A primary with two replicas, pgweir in front, and what is done to them.

use std::time::{Duration, Instant};

use testkit::history::{History, Losses, Report, Token};
use testkit::{Client, Cluster, Lsn, Mode, Pgweir, Setup};
use tokio::task::block_in_place;

/// `failover.wait`.
pub(crate) const WAIT: Duration = Duration::from_secs(20);
/// `pool.size`: so many transactions are under way at most.
pub(crate) const POOL: usize = 20;

/// Whether a commit waits for a replica.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replication {
    Synchronous,
    Asynchronous,
}

/// A primary with two replicas, and pgweir in front.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) pgweir: Pgweir,
    pub(crate) setup: Setup,
}

/// How a primary ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// `stop -m fast`.
    Stopped,
    /// SIGKILL.
    Killed,
}

impl World {
    pub(crate) async fn start(replication: Replication) -> World {
        let standbys = if replication == Replication::Synchronous { "ANY 1 (*)" } else { "" };
        let cluster = Cluster::builder().name("pg").replicas(2).settings([
            ("synchronous_standby_names", standbys),
            ("max_prepared_transactions", "5"),
            // A replica asks again soon after it was cut off.
            ("wal_receiver_status_interval", "1s"),
        ]);
        let cluster = cluster.databases(["app"]).users([("app", "secret")]).start().unwrap();
        cluster.psql_as(0, "app", "app", "create table writes (token bigint, part int)").unwrap();
        cluster.wait_all_caught_up().unwrap();
        let setup = setup(&cluster);
        let pgweir = Pgweir::start(&setup).await.unwrap();
        World { cluster, pgweir, setup }
    }

    /// Loads another configuration, of the same port.
    pub(crate) async fn reload_with(&self, setup: &Setup) {
        self.pgweir.rewrite(&setup.to_yaml()).unwrap();
        self.pgweir.console().await.unwrap().rows("RELOAD").await.unwrap();
    }

    pub(crate) async fn clients(&self, count: usize) -> Vec<Client> {
        pgweir_tests::world::crowd(&self.pgweir, "app", count).await
    }

    /// A node's port, by which an answer tells where it comes from.
    pub(crate) fn port(&self, node: usize) -> u16 {
        self.cluster.node(node).unwrap().port()
    }

    /// Waits until the console says this of a node.
    pub(crate) async fn until_state(&self, node: usize, state: &str) {
        let mut console = self.pgweir.console().await.unwrap();
        let name = self.cluster.node(node).unwrap().name();
        let seen = async || {
            let frames = console.query("SHOW NODES").await.unwrap();
            let names = pgweir_tests::world::names(&frames);
            let at = |column: &str| names.iter().position(|name| name == column).unwrap();
            let rows = testkit::rows(&frames);
            rows.iter()
                .find(|row| row[at("node")].as_deref() == Some(name))
                .and_then(|row| row[at("state")].clone())
        };
        let is = |seen: &Option<String>| seen.as_deref() == Some(state);
        pgweir_tests::eventually(&format!("{name} is {state}"), seen, is).await.unwrap();
    }

    /// Shuts the primary down in order, or kills it: its number, and when it was gone.
    pub(crate) fn end_primary(&self, how: Ending) -> (usize, Instant) {
        let old = self.cluster.primary().index();
        block_in_place(|| match how {
            Ending::Stopped => self.cluster.stop(old, Mode::Fast).unwrap(),
            Ending::Killed => self.cluster.kill(old).unwrap(),
        });
        (old, Instant::now())
    }

    /// Promotes `to`, and lets the node that is neither the old primary nor it follow it.
    pub(crate) fn promote(&self, old: usize, to: usize) {
        block_in_place(|| {
            self.cluster.promote(to).unwrap();
            let others = self.cluster.nodes().iter().map(testkit::Node::index);
            others.filter(|node| ![old, to].contains(node)).for_each(|node| {
                self.cluster.follow(node, to).unwrap();
            });
        });
    }

    /// Makes a node that is down a replica of the primary again.
    pub(crate) fn rejoin(&self, node: usize) {
        block_in_place(|| self.cluster.follow(node, self.cluster.primary().index()).unwrap());
    }

    /// The replica that has the most of what the primary wrote. The other one could not follow one that has less, and
    /// what was confirmed is only sure to be here.
    pub(crate) fn most_advanced(&self) -> usize {
        let primary = self.cluster.primary().index();
        let others = self.cluster.nodes().iter().map(testkit::Node::index).filter(|node| *node != primary);
        let received = "select greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())";
        others.max_by_key(|node| self.position(*node, received)).unwrap()
    }

    pub(crate) fn position(&self, node: usize, sql: &str) -> Lsn {
        block_in_place(|| self.cluster.psql(node, "postgres", sql).unwrap()).parse().unwrap()
    }

    /// What the table says of a history. `losses`: what may be missing.
    pub(crate) fn verdict(&self, history: &History, losses: Option<&Losses>) -> Report {
        let primary = self.cluster.primary().index();
        let sql = "select token, part from writes";
        let rows = block_in_place(|| self.cluster.psql(primary, "app", sql).unwrap());
        let row = |line: &str| {
            let (token, part) = line.split_once('|')?;
            Some((Token(token.parse().ok()?), part.parse().ok()?))
        };
        let found: Vec<_> = rows.lines().map(|line| row(line).unwrap()).collect();
        history.check(&found, losses)
    }

    /// For the next case.
    pub(crate) fn empty(&self) {
        block_in_place(|| {
            self.cluster.psql(self.cluster.primary().index(), "app", "truncate writes").unwrap()
        });
    }
}

/// pgweir in front of a cluster, quick to see what is wrong with it.
pub(crate) fn setup(cluster: &Cluster) -> Setup {
    Setup::new(cluster)
        .pool_size(POOL)
        .set("instance.workers", "2")
        .set("clusters.pg.server_connections", "40")
        .set("pool.server_connect_timeout", "1s")
        .set("health", "{interval: 500ms, timeout: 500ms, failures: 2}")
        // Its reads go to a replica whatever was written.
        .set("databases.anything", "{cluster: pg, dbname: app, route: {consistency: eventual}}")
        .set("failover.wait", &format!("{}s", WAIT.as_secs()))
}
