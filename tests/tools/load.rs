//! pgbench: its own three scripts in each of its modes, with more clients than the pool has connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgweir_tests::eventually;
use pgweir_tests::program::run;
use testkit::{Client, Cluster, SUPERUSER};
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::{LIMIT, POOL, To};

const CLIENTS: usize = 50;
/// Of each client in each run.
const TRANSACTIONS: usize = 40;
/// How often connections are counted meanwhile.
const GLANCE: Duration = Duration::from_millis(10);
const MODES: [&str; 3] = ["simple", "extended", "prepared"];
/// What a run of one script in one mode does.
const RUN: usize = CLIENTS * TRANSACTIONS;

/// No error; reads on both replicas and nowhere else, writes on the primary only; never more connections than the pool
/// has.
pub(crate) async fn pgbench(through: To, cluster: &Cluster) {
    let mut init = through.tool("pgbench");
    run(init.args(["--initialize", "--scale", "5", "--quiet"]), LIMIT).await.unwrap().well().unwrap();
    cluster.wait_all_caught_up().unwrap();
    let mut nodes = Vec::new();
    for node in cluster.nodes() {
        let watcher = Client::to(node).user(SUPERUSER, cluster.superuser_password()).database("app");
        nodes.push(watcher.connect().await.unwrap());
    }
    let watch = Watch::start(cluster).await;
    let before = scans(&mut nodes).await;

    for script in ["select-only", "tpcb-like", "simple-update"] {
        for mode in MODES {
            bench(through.tool("pgbench"), script, mode).await;
        }
    }
    let most = watch.end().await;
    assert!(most.iter().all(|most| (1..=POOL).contains(most)), "connections at most: {most:?}");

    // A server says what it counted at the latest when its session ends.
    for node in &mut nodes {
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'";
        node.rows(end).await.unwrap();
    }
    let reads = RUN * MODES.len();
    // Two scripts, and each of them updates an account and selects it.
    let writes = RUN * MODES.len() * 2 * 2;
    let counted = eventually(
        "all is counted",
        async || since(&before, &scans(&mut nodes).await),
        |scans| scans.iter().sum::<usize>() >= reads + writes,
    );
    let counted = counted.await.unwrap();
    assert_eq!((counted[0], counted[1] + counted[2]), (writes, reads), "{counted:?}");
    // How evenly they share is a matter of how fast each of them is just now.
    let shared = counted[1..].iter().all(|scans| *scans >= reads / 20);
    assert!(shared, "not spread over the replicas: {counted:?}");
}

async fn bench(mut command: Command, script: &str, mode: &str) {
    command.args(["--no-vacuum", "--builtin", script, "--protocol", mode, "--jobs", "2"]);
    command.args(["--client", &CLIENTS.to_string(), "--transactions", &TRANSACTIONS.to_string()]);
    let said = run(&mut command, LIMIT)
        .await
        .unwrap()
        .quietly()
        .unwrap_or_else(|why| panic!("{script}, {mode}: {why}"));
    assert!(said.contains(&format!("actually processed: {RUN}/{RUN}")), "{script}, {mode}: {said}");
    assert!(!said.contains("failed transactions") || said.contains("failed transactions: 0 "), "{said}");
}

/// How often each node has looked an account up by its index.
async fn scans(nodes: &mut [Client]) -> Vec<usize> {
    let sql = "select idx_scan from pg_stat_user_tables where relname = 'pgbench_accounts'";
    let mut scans = Vec::new();
    for node in nodes {
        scans.push(node.value(sql).await.unwrap().parse().unwrap_or(0));
    }
    scans
}

fn since(before: &[usize], now: &[usize]) -> Vec<usize> {
    now.iter().zip(before).map(|(now, before)| now - before).collect()
}

/// Looks all the while how many connections the pool has on each node.
struct Watch {
    over: Arc<AtomicBool>,
    watchers: Vec<JoinHandle<usize>>,
}

impl Watch {
    async fn start(cluster: &Cluster) -> Watch {
        let over = Arc::new(AtomicBool::new(false));
        let mut watchers = Vec::new();
        for node in cluster.nodes() {
            let client = Client::to(node).user(SUPERUSER, cluster.superuser_password()).connect();
            watchers.push(tokio::spawn(most_connections(client.await.unwrap(), Arc::clone(&over))));
        }
        Watch { over, watchers }
    }

    /// The most that were seen on each node.
    async fn end(self) -> Vec<usize> {
        self.over.store(true, Ordering::Relaxed);
        let mut most = Vec::new();
        for watcher in self.watchers {
            most.push(watcher.await.unwrap());
        }
        most
    }
}

async fn most_connections(mut client: Client, over: Arc<AtomicBool>) -> usize {
    let mut most = 0;
    while !over.load(Ordering::Relaxed) {
        let sql = "select count(*) from pg_stat_activity where usename = 'app'";
        most = most.max(client.value(sql).await.unwrap().parse().unwrap());
        tokio::time::sleep(GLANCE).await;
    }
    most
}
