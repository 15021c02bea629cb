//! Watches every server: is it up, and is it a primary or a replica? Publishes what it finds to the clusters' views.
//!
//! Each node has a task of its own and at most one control connection, which counts towards no pool and no node's
//! budget: a node whose budget is used up must still be probed. So a server's `max_connections` needs one more for
//! each pgweir than `server_connections` says (two for a moment, while a broken one is replaced). A primary with
//! replicas needs another one for each database that clients are connected to, eight at most: its catalog is read
//! there (`catalog`).
//!
//! A cluster with replicas has one more to each of its nodes: positions are sampled there (`positions`).
//!
//! All of it belongs on the slow runtime, never on a core that relays.

mod catalog;
mod connection;
mod credentials;
mod fates;
mod greeted;
mod herald;
mod lag;
mod node;
mod outliers;
mod patroni;
mod positions;
mod probe;
mod slow_start;

use std::sync::Arc;
use std::time::Duration;

use config::Health;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::connect::Login;
use crate::directory::Directory;
use connection::Connector;
use node::Watcher;
use probe::Prober;
pub use probe::{ROLE_AND_IDENTITY, identity};

/// The tasks that probe one directory's nodes. They stop when it is dropped; what they have found stays.
#[derive(Debug)]
pub struct Watch {
    _tasks: JoinSet<()>,
    /// How many nodes wait for the end of their first probe, and catalogs for that of the first look at them.
    unprobed: watch::Receiver<usize>,
}

/// Begins to probe all nodes of all clusters, each at once and from then on every `health.interval`; sooner when
/// traffic has seen an error there, while the node fails, and while its cluster hasn't exactly one primary that is up.
///
/// After a reload the new directory gets a watch of its own, in place of the old one: clusters that were carried over
/// keep what is known of them.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn watch(directory: Arc<Directory>) -> Watch {
    let catalogs: Vec<_> =
        directory.clusters().iter().map(|cluster| catalog::register(&directory.config, cluster)).collect();
    let nodes: usize = directory.clusters().iter().map(|cluster| cluster.nodes.len()).sum();
    let sampled = directory.clusters().iter().filter(|cluster| cluster.nodes.len() > 1).count();
    let count = nodes + sampled + catalogs.iter().sum::<usize>();
    let (first_probes, unprobed) = watch::channel(count);
    let first_probes = Arc::new(first_probes);
    let health = &directory.config.health;
    let mut tasks = JoinSet::new();
    for (cluster, at_start) in directory.clusters().iter().zip(catalogs) {
        let login = credentials::control_login(&directory.config, cluster);
        warn_without_password(cluster, &login);
        let mut connections = Vec::new();
        tasks.spawn(herald::run(Arc::clone(cluster)));
        if !cluster.config.patroni.is_empty() {
            tasks.spawn(patroni::run(Arc::clone(cluster), health.interval, health.timeout));
        }
        for node in &cluster.nodes {
            let connector = Connector {
                target: node.target.clone(),
                login: login.clone(),
                node: Some((Arc::clone(cluster), node.id.node)),
            };
            let prober = Prober::new(connector, health.timeout);
            connections.push(prober.connections());
            let watcher = Watcher::new(Arc::clone(cluster), Arc::clone(node), Health::clone(health), prober);
            let first_probes = Arc::clone(&first_probes);
            tasks.spawn(watcher.run(move || first_probes.send_modify(|left| *left -= 1)));
        }
        tasks.spawn(fates::keep(Arc::clone(cluster), connections.clone(), health.timeout));
        tasks.spawn(lag::keep(Arc::clone(cluster), connections, Arc::clone(&directory.config)));
        tasks.spawn(slow_start::keep(Arc::clone(cluster), health.slow_start));
        tasks.spawn(outliers::keep(Arc::clone(cluster)));
        if cluster.nodes.len() > 1 {
            let (cluster, login) = (Arc::clone(cluster), login.clone());
            let first_rounds = Arc::clone(&first_probes);
            let sampled = move || first_rounds.send_modify(|left| *left -= 1);
            tasks.spawn(positions::keep(cluster, login, Health::clone(health), sampled));
        }
        let (cluster, health) = (Arc::clone(cluster), Health::clone(health));
        let first_looks = Arc::clone(&first_probes);
        let looked = move || first_looks.send_modify(|left| *left -= 1);
        tasks.spawn(catalog::keep(cluster, login, health, at_start, looked));
    }
    Watch { _tasks: tasks, unprobed }
}

impl Watch {
    /// Waits until every node has been probed once, and the catalog of every database that the configuration names
    /// was looked at, whatever came of it, but no longer than `deadline`. False: some
    /// hasn't.
    pub async fn first_round(&self, deadline: Duration) -> bool {
        let mut unprobed = self.unprobed.clone();
        let all = unprobed.wait_for(|left| *left == 0);
        tokio::time::timeout(deadline, all).await.is_ok_and(|done| done.is_ok())
    }
}

fn warn_without_password(cluster: &Cluster, login: &Login) {
    if cluster.config.control.is_none() && !login.has_secret() {
        tracing::warn!(
            cluster = cluster.config.name,
            user = &*login.user,
            "no password is known for probes: where the server asks for one, roles can't be found; set control: \
             {{user, password}} of the cluster, or role of each of its nodes"
        );
    }
}
