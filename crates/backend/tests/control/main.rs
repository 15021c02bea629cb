//! Probes of real servers: roles, outages, promotions, and logins that don't work.

#![allow(clippy::unwrap_used, reason = "a test may fail so")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use config::NodeRole::{Primary, Replica};
use localpg::{Auth, Builder, Mode};
use pgweir_backend::control::{Watch, watch};
use pgweir_backend::{Cluster, Directory, Remote};
use rcgen::{CertificateParams, KeyPair};
use route::view::{ClusterView, Lag, NodeIndex, NodeView};
use route::{NoNode, Standing};

/// How long something may take that happens at once on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);
const CONTROL: &str = "control: {user: app, password: open sesame}";
const CONNECTIONS: &str =
    "select count(*) from pg_stat_activity where application_name = 'pgweir-control' and usename = 'app'";

/// Servers, pgweir's idea of them, and its probes.
struct Watched {
    servers: localpg::Cluster,
    directory: Arc<Directory>,
    watch: Watch,
}

fn servers(replicas: usize) -> Builder {
    localpg::Cluster::builder().replicas(replicas).databases(["app"]).users([("app", "open sesame")])
}

/// A configuration of these servers; `cluster` is put into the cluster, `nodes` into each node, `rest` behind it all.
fn directory_of(servers: &localpg::Cluster, cluster: &str, nodes: &[&str], rest: &str) -> Arc<Directory> {
    directory_with(servers, cluster, nodes, rest, "")
}

/// The same with another node behind them.
fn directory_with(
    servers: &localpg::Cluster,
    cluster: &str,
    nodes: &[&str],
    rest: &str,
    another: &str,
) -> Arc<Directory> {
    let node = |node: &localpg::Node| {
        let more = nodes.get(node.index()).map(|more| format!(", {more}")).unwrap_or_default();
        format!("n{}: {{host: {}, port: {}{more}}}", node.index(), node.host(), node.port())
    };
    let nodes: Vec<_> = servers.nodes().iter().map(node).chain([another.to_owned()]).collect();
    let cluster = format!("pg: {{dbname: app, {cluster}, nodes: {{{}}}}}", nodes.join(", "));
    let yaml = format!("clusters:\n  {cluster}\ndatabases: {{app: {{cluster: pg}}}}\n{rest}\n");
    let config = config::parse_yaml(&yaml, "test", &|_| None, Path::new("")).unwrap();
    Arc::new(Directory::new(Arc::new(config), 1, Remote::new(|_, _| ())).unwrap())
}

const HEALTH: &str = "health: {interval: 200ms, timeout: 5s, failures: 3}";

impl Watched {
    /// Begins to watch, and waits for the first round.
    async fn new(servers: localpg::Cluster, cluster: &str, nodes: &[&str], rest: &str) -> Watched {
        let directory = directory_of(&servers, cluster, nodes, rest);
        let watch = watch(Arc::clone(&directory));
        assert!(watch.first_round(LIMIT).await, "not every node was probed");
        Watched { servers, directory, watch }
    }

    fn cluster(&self) -> &Cluster {
        &self.directory.clusters()[0]
    }

    fn nodes(&self) -> Vec<NodeView> {
        self.cluster().view().nodes().to_vec()
    }

    /// Waits until the view is such.
    async fn until(&self, what: &str, is_so: impl Fn(&ClusterView) -> bool) {
        let mut changes = self.cluster().changes();
        let seen = tokio::time::timeout(LIMIT, async {
            while !is_so(&self.cluster().view()) {
                // What isn't a change of the view may be looked for too.
                let _ = tokio::time::timeout(Duration::from_millis(50), changes.changed()).await;
            }
        });
        assert!(seen.await.is_ok(), "never {what}: {:#?}", self.cluster().view());
    }

    async fn until_down(&self, node: usize) {
        self.until("down", |view| !view.nodes()[node].up && view.nodes()[node].why_down.is_some()).await;
    }

    async fn until_up(&self, node: usize) {
        self.until("up", |view| view.nodes()[node].up && view.nodes()[node].why_down.is_none()).await;
    }

    /// Asks node 0 until it gives this answer.
    fn until_server_says(&self, sql: &str, expected: &str) {
        let end = std::time::Instant::now() + LIMIT;
        loop {
            let answer = self.servers.psql(0, "postgres", sql).unwrap();
            if answer == expected {
                return;
            }
            assert!(std::time::Instant::now() < end, "{sql}: {answer}, never {expected}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_are_found_and_an_outage_and_a_promotion_are_seen() {
    let watched = Watched::new(servers(1).start().unwrap(), CONTROL, &[], HEALTH).await;
    let roles = |nodes: &[NodeView]| nodes.iter().map(|node| node.role).collect::<Vec<_>>();
    assert_eq!(roles(&watched.nodes()), [Some(Primary), Some(Replica)]);
    assert!(watched.nodes().iter().all(|node| node.up));
    let identity = |node: usize| watched.nodes()[node].identity.expect("who it is");
    let (first, copy) = (identity(0), identity(1));
    assert_eq!((first.system, first.timeline, copy.timeline), (copy.system, 1, 1));
    assert_ne!(first.started, copy.started);

    watched.servers.kill(1).unwrap();
    watched.until_down(1).await;
    let why = watched.nodes()[1].why_down.clone().unwrap();
    assert!(why.contains("onnection refused"), "{why}");
    assert_eq!(roles(&watched.nodes()), [Some(Primary), Some(Replica)]);
    watched.servers.start(1).unwrap();
    watched.until_up(1).await;

    watched.servers.stop(0, Mode::Fast).unwrap();
    watched.until_down(0).await;
    watched.servers.promote(1).unwrap();
    watched.until("promoted", |view| view.nodes()[1].role == Some(Primary)).await;
    let promoted = identity(1);
    assert_eq!((promoted.system, promoted.timeline), (first.system, 2), "without waiting for a checkpoint");
    assert_ne!(promoted.started, copy.started, "it was started again before");
    watched.servers.follow(0, 1).unwrap();
    watched.until("a replica", |view| view.nodes()[0].role == Some(Replica) && view.nodes()[0].up).await;
    watched
        .until("on the new timeline", |view| view.nodes()[0].identity.is_some_and(|id| id.timeline == 2))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_replaced_is_refused_also_when_its_successor_is_gone() {
    let watched = Watched::new(servers(1).start().unwrap(), CONTROL, &[], HEALTH).await;
    let (old, new) = (NodeIndex(0), NodeIndex(1));
    assert_eq!(watched.cluster().view().primary(), Ok(old));
    watched.servers.promote(1).unwrap();
    watched.until("replaced", |view| view.primary() == Ok(new)).await;
    let view = watched.cluster().view().clone();
    assert_eq!(view.standing(old), Standing::Forked { timeline: 1, newest: 2 });
    assert!(view.nodes()[0].up && !view.is_usable(old));
    watched.servers.kill(1).unwrap();
    watched.until_down(1).await;
    assert_eq!(watched.cluster().view().primary(), Err(NoNode::Refused));
    watched.servers.start(1).unwrap();
    watched.until("back", |view| view.primary() == Ok(new)).await;
    watched.servers.follow(0, 1).unwrap();
    watched.until("taken back", |view| view.is_usable(old) && view.nodes()[0].role == Some(Replica)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_started_again_is_confirmed_by_the_others_even_if_one_hangs() {
    let watched = Watched::new(servers(2).start().unwrap(), CONTROL, &[], HEALTH).await;
    let primary = NodeIndex(0);
    let before = watched.nodes()[0].identity.unwrap();
    watched.servers.pause(2).unwrap();
    watched.servers.kill(0).unwrap();
    watched.servers.start(0).unwrap();
    let restarted = |node: &NodeView| node.identity.is_some_and(|now| now.started != before.started);
    watched.until("seen again", |view| restarted(&view.nodes()[0])).await;
    watched.until("confirmed", |view| view.primary() == Ok(primary)).await;
    // A lost connection has all nodes asked again.
    watched
        .until("doubted", |_| {
            watched.cluster().suspect(primary);
            watched.cluster().view().primary() == Err(NoNode::Doubted)
        })
        .await;
    watched.until("confirmed again", |view| view.primary() == Ok(primary)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_never_used() {
    let (servers, others) = (servers(1).start().unwrap(), servers(0).start().unwrap());
    let stranger =
        format!("stranger: {{host: {}, port: {}}}", others.nodes()[0].host(), others.nodes()[0].port());
    let directory = directory_with(&servers, CONTROL, &[], HEALTH, &stranger);
    let watch = watch(Arc::clone(&directory));
    assert!(watch.first_round(LIMIT).await);
    let view = directory.clusters()[0].view().clone();
    let stranger = NodeIndex(2);
    assert!(matches!(view.standing(stranger), Standing::Foreign { .. }), "{view:#?}");
    assert_eq!((view.primary(), view.is_usable(stranger)), (Ok(NodeIndex(0)), false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspicion_is_looked_into_at_once_and_a_hanging_server_is_down() {
    let rarely = "health: {interval: 1h, timeout: 2s, failures: 1}";
    let watched = Watched::new(servers(0).start().unwrap(), CONTROL, &[], rarely).await;
    watched.until("found", |view| view.nodes()[0].up && view.nodes()[0].role == Some(Primary)).await;
    watched.servers.pause(0).unwrap();
    // Without it nobody would look for an hour.
    watched.cluster().nodes[0].suspicion.notify_one();
    watched.until_down(0).await;
    watched.servers.resume(0).unwrap();
    watched.until_up(0).await;
    assert_eq!(watched.nodes()[0].role, Some(Primary));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_is_kept_replaced_when_lost_and_closed_at_the_end() {
    let watched = Watched::new(servers(0).start().unwrap(), CONTROL, &[], HEALTH).await;
    watched.until_server_says(CONNECTIONS, "1");
    let pid = "select min(pid) from pg_stat_activity where application_name = 'pgweir-control'";
    let pid = watched.servers.psql(0, "postgres", pid).unwrap();
    let changes = watched.cluster().changes();
    watched.servers.psql(0, "postgres", &format!("select pg_terminate_backend({pid})")).unwrap();
    watched.until_server_says(&format!("{CONNECTIONS} and pid <> {pid}"), "1");
    assert!(!changes.has_changed().unwrap(), "a lost connection is no outage");

    let Watched { servers, directory, watch } = watched;
    drop(watch);
    let again = pgweir_backend::control::watch(Arc::clone(&directory));
    let watched = Watched { servers, directory, watch: again };
    assert!(watched.watch.first_round(LIMIT).await);
    watched.until_server_says(CONNECTIONS, "1");
    let Watched { servers, directory, watch } = watched;
    drop(watch);
    let end = std::time::Instant::now() + LIMIT;
    while servers.psql(0, "postgres", CONNECTIONS).unwrap() != "0" {
        assert!(std::time::Instant::now() < end, "a control connection was left open");
    }
    assert_eq!(directory.clusters()[0].view().nodes()[0].role, Some(Primary), "what was found stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_login_that_works_a_server_is_up_and_its_role_unknown() {
    let wrong = "control: {user: app, password: wrong}";
    let nobody = "region: us";
    for cluster in [wrong, nobody] {
        let watched = Watched::new(servers(0).start().unwrap(), cluster, &[], HEALTH).await;
        let node = &watched.nodes()[0];
        assert!(node.up && node.role.is_none(), "{cluster}: {node:?}");
        watched.servers.kill(0).unwrap();
        watched.until_down(0).await;
    }
    let trusting = servers(0).auth(Auth::Trust).start().unwrap();
    let watched = Watched::new(trusting, nobody, &[], HEALTH).await;
    assert_eq!(watched.nodes()[0].role, Some(Primary), "a server that trusts tells its role");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_may_be_a_users() {
    let users = format!("users: {{app: {{password: open sesame}}}}\n{HEALTH}");
    let watched = Watched::new(servers(0).start().unwrap(), "region: us", &[], &users).await;
    assert_eq!(watched.nodes()[0].role, Some(Primary));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_no_primary_and_a_configured_replica_becomes_none() {
    let swapped = ["role: replica", "role: primary"];
    let directory = {
        let servers = servers(1).start().unwrap();
        let watched = Watched::new(servers, CONTROL, &swapped, HEALTH).await;
        Arc::clone(&watched.directory)
    };
    let roles: Vec<_> = directory.clusters()[0].view().nodes().iter().map(|node| node.role).collect();
    assert_eq!(roles, [Some(Replica), Some(Replica)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_demands_tls_is_probed_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("server.crt"), folder.path().join("server.key"));
    let pair = KeyPair::generate().unwrap();
    let signed = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&pair).unwrap();
    std::fs::write(&certificate, signed.pem()).unwrap();
    std::fs::write(&key, pair.serialize_pem()).unwrap();
    let servers = servers(0).tls(certificate, key).hba("hostnossl all app all reject").start().unwrap();
    let watched = Watched::new(servers, CONTROL, &[], HEALTH).await;
    assert_eq!(watched.nodes()[0].role, Some(Primary));
    let encrypted = "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid)
                     where application_name = 'pgweir-control'";
    watched.until_server_says(encrypted, "t");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_doesnt_answer_holds_up_the_start_no_longer_than_said() {
    let servers = servers(0).start().unwrap();
    servers.pause(0).unwrap();
    let slowly = "health: {interval: 1h, timeout: 1h, failures: 3}";
    let directory = directory_of(&servers, CONTROL, &[], slowly);
    let watch = watch(directory);
    assert!(!watch.first_round(Duration::from_millis(100)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replicas_lag_is_measured_in_bytes_and_time_and_ends() {
    let rest = format!("{HEALTH}\nroute: {{max_lag: 1s}}");
    let watched = Watched::new(servers(1).start().unwrap(), CONTROL, &[], &rest).await;
    watched.until("abreast", |view| view.nodes()[1].lag == Some(Lag::default())).await;
    watched.servers.psql(1, "postgres", "select pg_wal_replay_pause()").unwrap();
    watched.servers.psql(0, "app", "create table t as select * from generate_series(1, 1000)").unwrap();
    let behind = |lag: Lag| lag.bytes > 10_000 && lag.time > Duration::from_secs(1);
    watched.until("behind", |view| view.nodes()[1].lag.is_some_and(behind)).await;
    assert_eq!(watched.nodes()[0].lag, None, "the primary isn't behind itself");
    // Who doesn't know the primary's position any more keeps what it knew.
    watched.servers.stop(0, Mode::Immediate).unwrap();
    watched.until_down(0).await;
    assert!(watched.nodes()[1].lag.is_some_and(behind));
    watched.servers.start(0).unwrap();
    watched.until_up(0).await;
    watched.servers.psql(1, "postgres", "select pg_wal_replay_resume()").unwrap();
    watched.until("abreast again", |view| view.nodes()[1].lag == Some(Lag::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_behind_before_anybody_looked_is_known_to_be() {
    let servers = servers(1).start().unwrap();
    servers.psql(1, "postgres", "select pg_wal_replay_pause()").unwrap();
    servers.psql(0, "app", "create table t as select * from generate_series(1, 1000)").unwrap();
    let until = "select pg_sleep_until(pg_last_xact_replay_timestamp() + interval '3 s')";
    servers.psql(1, "postgres", until).unwrap();
    let watched = Watched::new(servers, CONTROL, &[], "health: {interval: 10s}").await;
    watched.until("measured", |view| view.nodes()[1].lag.is_some()).await;
    let lag = watched.nodes()[1].lag.unwrap();
    assert!(lag.bytes > 10_000 && lag.time >= Duration::from_secs(3), "{lag:?}");
}
