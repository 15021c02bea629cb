//! A primary and two replicas, each behind a fault proxy, and pgweir in front.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use pgweir_tests::{Outcome, eventually, replicated, world};
use testkit::{Client, Cluster, FaultProxy, Pgweir, SUPERUSER, Setup, rows};
use tokio::time::sleep;

pub(crate) use pgweir_tests::ensure;

/// Databases of pgweir that are one on the servers, each with a `route` of its own.
const VARIANTS: [(&str, &str); 6] = [
    ("least", "{balance: least_connections}"),
    ("latency", "{balance: peak_ewma}"),
    ("in_turn", "{balance: round_robin}"),
    ("patient", "{max_lag: 1h, balance: round_robin}"),
    ("by_bytes", "{max_lag: 8kB, balance: round_robin}"),
    ("never", "{reads_on_primary: never}"),
];

/// A slow start that no test can wait for.
pub(crate) const HEALTH: &str = "{interval: 250ms, timeout: 5s, failures: 2, slow_start: 1h}";

/// A node that nobody asks for so long loses its turn.
const PAUSE: Duration = Duration::from_millis(2);

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    /// Of the replicas.
    pub(crate) proxies: Vec<FaultProxy>,
    pgweir: Pgweir,
    setup: Setup,
}

impl World {
    pub(crate) async fn start() -> Result<World, Box<dyn Error>> {
        let cluster = replicated::cluster().start()?;
        cluster.wait_all_caught_up()?;
        let setup = Setup::new(&cluster)
            .pool_size(8)
            .set("clusters.us.server_connections", "80")
            .set("route", "{max_lag: 1s, consistency: eventual}")
            .set("health", HEALTH);
        let control = format!("{{user: {SUPERUSER}, password: \"{}\"}}", cluster.superuser_password());
        let mut setup = replicated::variants(setup, VARIANTS);
        // The same servers once more, with weights, and once more in zones.
        for node in cluster.nodes() {
            setup = setup.node("weighted", node.name(), node.port());
            setup = setup.node("zoned", node.name(), node.port());
        }
        setup = setup
            .set("instance.zone", "a")
            .set("clusters.zoned.control", &control)
            .set("clusters.zoned.nodes.us-1.zone", "b")
            .set("clusters.zoned.nodes.us-2.zone", "a")
            .set("clusters.zoned.nodes.us-3.zone", "b")
            .set("databases.zoned", "{cluster: zoned, dbname: app, pool: {size: 1}}")
            .set("clusters.weighted.control", &control)
            .set("clusters.weighted.nodes.us-3.weight", "3")
            .set("databases.mixed", "{cluster: weighted, dbname: app, route: {balance: weighted}}");
        let mut proxies = Vec::new();
        for i in 0..2 {
            let replica = cluster.replica(i);
            let proxy = FaultProxy::of(replica).await?;
            setup = setup.node("us", replica.name(), proxy.port());
            proxies.push(proxy);
        }
        let pgweir = Pgweir::start(&setup).await?;
        Ok(World { cluster, proxies, pgweir, setup })
    }

    pub(crate) async fn client(&self, database: &str) -> testkit::Result<Client> {
        self.pgweir.client("app", database).connect().await
    }

    /// How many of so many reads each node has answered.
    pub(crate) async fn shares(
        &self,
        database: &str,
        reads: u32,
    ) -> Result<BTreeMap<String, u32>, Box<dyn Error>> {
        let mut client = self.client(database).await?;
        let mut shares = BTreeMap::new();
        for _ in 0..reads {
            sleep(PAUSE).await;
            let port = client.value("SELECT inet_server_port()").await?;
            let node = self.cluster.nodes().iter().find(|node| node.port().to_string() == port);
            let node = node.map_or(port, |node| node.name().to_owned());
            *shares.entry(node).or_default() += 1;
        }
        Ok(shares)
    }

    /// Reads until they are answered by exactly these nodes.
    pub(crate) async fn reads_come_from(&self, database: &str, nodes: &[&str]) -> Outcome {
        let wanted: BTreeSet<_> = nodes.iter().map(|node| (*node).to_owned()).collect();
        let ask = async || -> Result<BTreeSet<String>, String> {
            let shares = self.shares(database, 8).await.map_err(|error| error.to_string())?;
            Ok(shares.into_keys().collect())
        };
        let what = format!("reads of {database} come from {nodes:?}");
        eventually(&what, ask, |found| found.as_ref() == Ok(&wanted)).await.map(drop)
    }

    /// The rows of SHOW NODES for a cluster, by node and column; NULL is nothing.
    async fn nodes(
        &self,
        cluster: &str,
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, Box<dyn Error>> {
        let mut console = self.pgweir.console().await?;
        let frames = console.query("SHOW NODES").await?;
        let names = world::names(&frames);
        let named = |row: Vec<Option<String>>| -> BTreeMap<String, String> {
            names.iter().cloned().zip(row).filter_map(|(name, value)| Some((name, value?))).collect()
        };
        let rows = rows(&frames).into_iter().map(named).filter(|row| row["cluster"] == cluster);
        Ok(rows.map(|row| (row["node"].clone(), row)).collect())
    }

    /// The row of a node.
    pub(crate) async fn node(&self, name: &str) -> Result<BTreeMap<String, String>, Box<dyn Error>> {
        self.node_of("us", name).await
    }

    /// The row of a node of that cluster.
    pub(crate) async fn node_of(
        &self,
        cluster: &str,
        name: &str,
    ) -> Result<BTreeMap<String, String>, Box<dyn Error>> {
        Ok(self.nodes(cluster).await?.remove(name).ok_or("no such node")?)
    }

    /// Waits until so many clients wait for a connection.
    pub(crate) async fn until_waiting(&self, count: usize) -> Outcome {
        let mut console = self.pgweir.console().await?;
        world::until_waiting(&mut console, count).await;
        Ok(())
    }

    /// The column `reads` of SHOW NODES.
    pub(crate) async fn reads(&self, cluster: &str) -> Result<BTreeMap<String, u32>, Box<dyn Error>> {
        let nodes = self.nodes(cluster).await?.into_iter();
        nodes.map(|(name, row)| Ok((name, row["reads"].parse()?))).collect()
    }

    /// The same configuration with another `health`.
    pub(crate) async fn reload(&mut self, health: &str) -> Outcome {
        self.pgweir.rewrite(&self.setup.clone().set("health", health).to_yaml())?;
        self.pgweir.reload();
        Ok(())
    }
}
