//! A primary with replicas, and what is done to them.

use pgweir_tests::eventually;
use testkit::{Client, Cluster, Mode, Pgweir, Setup, first_error};
use tokio::task::block_in_place;

pub(crate) struct World {
    pub(crate) cluster: Cluster,
}

impl World {
    pub(crate) fn start(replicas: usize) -> World {
        let cluster = Cluster::builder()
            .name("pg")
            .replicas(replicas)
            .databases(["app"])
            .users([("app", "secret")])
            .start()
            .unwrap();
        cluster
            .psql_as(0, "app", "app", "create table t (n int, port int default inet_server_port())")
            .unwrap();
        cluster.wait_all_caught_up().unwrap();
        World { cluster }
    }

    /// Nodes are probed this often, and are down after a second without an answer.
    pub(crate) fn setup(&self, interval: &str) -> Setup {
        Setup::new(&self.cluster)
            .pool_size(6)
            .set("clusters.pg.server_connections", "30")
            .set("instance.workers", "2")
            .set("health", &format!("{{interval: {interval}, timeout: 500ms, failures: 2}}"))
            .set("failover.wait", "20s")
    }

    pub(crate) async fn pgweir(&self, interval: &str) -> Pgweir {
        let pgweir = Pgweir::start(&self.setup(interval)).await.unwrap();
        // What a write may leave on its connection is known on each core from here on: nobody has to ask behind it.
        for mut client in pgweir_tests::world::crowd(&pgweir, "app", 2).await {
            write(&mut client, 0).await;
            client.rows("select 1").await.unwrap();
        }
        pgweir
    }

    pub(crate) fn primary(&self) -> usize {
        self.cluster.primary().index()
    }

    /// A replica's number.
    pub(crate) fn another(&self) -> usize {
        self.cluster.replica(0).index()
    }

    pub(crate) fn stop(&self, node: usize) {
        block_in_place(|| self.cluster.stop(node, Mode::Fast).unwrap());
    }

    pub(crate) fn promote(&self, node: usize) {
        block_in_place(|| self.cluster.promote(node).unwrap());
    }

    /// All that aren't the primary are copied from it anew: they may have followed another one for too long.
    pub(crate) fn rejoin(&self) {
        let primary = self.primary();
        block_in_place(|| {
            for node in self.cluster.nodes().iter().filter(|node| node.index() != primary) {
                self.cluster.rebuild(node.index(), primary).unwrap();
            }
            self.cluster.wait_all_caught_up().unwrap();
        });
    }

    pub(crate) fn port(&self, node: usize) -> String {
        self.cluster.node(node).unwrap().port().to_string()
    }

    pub(crate) fn psql(&self, node: usize, sql: &str) -> String {
        block_in_place(|| self.cluster.psql(node, "app", sql).unwrap())
    }
}

pub(crate) async fn client(pgweir: &Pgweir) -> Client {
    pgweir.client("app", "app").connect().await.unwrap()
}

/// Writes a row: the port of the server that has it.
pub(crate) async fn write(client: &mut Client, n: u32) -> String {
    client.value(&format!("insert into t values ({n}) returning port")).await.unwrap()
}

/// The code of the error that a statement must end with.
pub(crate) async fn refusal(client: &mut Client, sql: &str) -> String {
    let frames = client.query(sql).await.unwrap();
    first_error(&frames).unwrap_or_else(|| panic!("{sql}: {frames:?}")).code
}

/// A value of a node's row in `SHOW NODES`.
pub(crate) async fn shown(pgweir: &Pgweir, node: &str, column: &str) -> String {
    let frames = pgweir.console().await.unwrap().query("SHOW NODES").await.unwrap();
    let names = pgweir_tests::world::names(&frames);
    let at = |name: &str| names.iter().position(|column| column == name).unwrap();
    let rows = testkit::rows(&frames);
    let row = rows.into_iter().find(|row| row[at("node")].as_deref() == Some(node)).unwrap();
    row[at(column)].clone().unwrap_or_default()
}

/// Waits until `SHOW NODES` says so.
pub(crate) async fn until_shown(pgweir: &Pgweir, node: &str, column: &str, expected: &str) {
    let ask = async || shown(pgweir, node, column).await;
    eventually(column, ask, |value| value == expected).await.unwrap();
}
