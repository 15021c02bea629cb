//! Clusters on real Postgres: streaming, promotion, crashes, pauses, cleaning up.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pgweir_localpg::{Auth, Cluster, Error, Lsn, Mode};

fn cluster(name: &str, replicas: usize) -> Cluster {
    let builder = Cluster::builder().name(name).replicas(replicas);
    builder.databases(["app"]).users([("app", "it's s3cret")]).start().unwrap()
}

/// Tries until it holds, at most a minute.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process runs; one that has ended and that nobody has reaped doesn't.
fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn replicas_stream_and_refuse_writes() {
    let cluster = cluster("us", 2);
    cluster.psql_as(0, "app", "app", "create table t (n int); insert into t values (1), (2)").unwrap();
    cluster.wait_all_caught_up().unwrap();
    for replica in [cluster.replica(0), cluster.replica(1)] {
        assert_eq!(cluster.psql(replica.index(), "app", "select n from t order by n").unwrap(), "1\n2");
        let refused = cluster.psql(replica.index(), "app", "insert into t values (3)").unwrap_err();
        assert!(refused.to_string().contains("read-only transaction"), "{refused}");
    }
    let streams = "select application_name, state from pg_stat_replication order by 1";
    assert_eq!(cluster.psql(0, "app", streams).unwrap(), "us-2|streaming\nus-3|streaming");
    let url = cluster.primary().url("app", "app");
    assert!(url.starts_with("postgres://app:it%27s%20s3cret@127.0.0.1:"), "{url}");
}

#[test]
fn a_promoted_replica_takes_writes_and_the_others_follow_it() {
    let cluster = cluster("pg", 2);
    cluster.psql(0, "app", "create table t (n int)").unwrap();
    cluster.stop(0, Mode::Fast).unwrap();
    assert!(matches!(cluster.stop(0, Mode::Fast), Err(Error::State { .. })));
    cluster.promote(1).unwrap();
    assert_eq!(cluster.primary().index(), 1);
    assert_eq!((cluster.replica(0).index(), cluster.replica(1).index()), (0, 2));
    cluster.follow(2, 1).unwrap();
    cluster.follow(0, 1).unwrap();
    cluster.psql(1, "app", "insert into t values (7)").unwrap();
    cluster.wait_all_caught_up().unwrap();
    for node in 0..3 {
        assert_eq!(cluster.psql(node, "app", "select n from t").unwrap(), "7");
    }
    // Back again: the first primary, now a replica, is promoted.
    cluster.stop(1, Mode::Immediate).unwrap();
    cluster.promote(0).unwrap();
    cluster.psql(0, "app", "insert into t values (8)").unwrap();
}

/// A replica that was cut off before the last write: that write's commit lies above the position of its promotion.
#[test]
fn what_a_promotion_loses_lies_above_its_position() {
    let cluster = cluster("pg", 1);
    let position = |sql: &str| cluster.psql(0, "app", sql).unwrap().parse::<Lsn>().unwrap();
    cluster.psql(0, "app", "create table t (n int)").unwrap();
    let from = position("select pg_current_wal_insert_lsn()");
    let write = "insert into t values (1) returning pg_current_xact_id()";
    let kept: u32 = cluster.psql(0, "app", write).unwrap().parse().unwrap();
    cluster.wait_caught_up(1).unwrap();
    assert_eq!(cluster.switch_point(0).unwrap(), None);
    cluster.configure(1, "primary_conninfo", "").unwrap();
    eventually("the replica is cut off", || {
        cluster.psql(0, "app", "select count(*) from pg_stat_replication").unwrap() == "0"
    });
    let lost: u32 = cluster.psql(0, "app", write).unwrap().parse().unwrap();
    cluster.kill(0).unwrap();
    cluster.promote(1).unwrap();
    assert_eq!(cluster.psql(1, "app", "select count(*) from t").unwrap(), "1");
    let switch = cluster.switch_point(1).unwrap().unwrap();
    let commits = cluster.commits(0, 1, from).unwrap();
    assert!(from < commits[&kept] && commits[&kept] < switch, "{commits:?}, promoted at {switch}");
    assert!(commits[&lost] >= switch, "{commits:?}, promoted at {switch}");
}

#[test]
fn a_killed_node_leaves_no_process_and_comes_back_with_its_data() {
    let cluster = cluster("pg", 1);
    cluster.psql(0, "app", "create table t (n int); insert into t values (1)").unwrap();
    let (port, pid) = (cluster.primary().port(), cluster.primary().pid().unwrap());
    let backend: u32 = cluster
        .psql(0, "app", "select pid from pg_stat_activity where backend_type = 'checkpointer'")
        .unwrap()
        .parse()
        .unwrap();
    cluster.kill(0).unwrap();
    assert!(!cluster.nodes()[0].is_running() && !alive(pid));
    eventually("the checkpointer's end", || !alive(backend));
    assert!(matches!(cluster.kill(0), Err(Error::State { .. })));
    assert!(cluster.psql(0, "app", "select 1").is_err());
    cluster.start(0).unwrap();
    assert_eq!(cluster.primary().port(), port);
    assert_eq!(cluster.psql(0, "app", "select n from t").unwrap(), "1");
    cluster.psql(0, "app", "insert into t values (2)").unwrap();
    cluster.wait_caught_up(1).unwrap();
}

#[test]
fn a_paused_node_hangs_and_then_goes_on() {
    let cluster = cluster("pg", 0);
    cluster.pause(0).unwrap();
    // Every process of it is halted, so that nothing can answer.
    let states = states_of(cluster.primary().pid().unwrap());
    assert!(states.len() > 3 && states.iter().all(|state| *state == 'T'), "{states:?}");
    let (done, outcome) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let cluster = &cluster;
        scope.spawn(move || done.send(cluster.psql(0, "app", "select 1")).unwrap());
        assert!(outcome.try_recv().is_err());
        cluster.resume(0).unwrap();
        assert_eq!(outcome.recv().unwrap().unwrap(), "1");
    });
    cluster.pause(0).unwrap();
}

/// The states (proc(5)) of a postmaster and its children.
fn states_of(postmaster: u32) -> Vec<char> {
    let stats = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let fields = stats.filter_map(|stat| {
        let pid: u32 = stat.split(' ').next()?.parse().ok()?;
        let mut rest = stat.rsplit_once(") ")?.1.split(' ');
        Some((pid, rest.next()?.chars().next()?, rest.next()?.parse::<u32>().ok()?))
    });
    fields
        .filter(|(pid, _, parent)| *pid == postmaster || *parent == postmaster)
        .map(|(_, state, _)| state)
        .filter(|state| *state != 'Z')
        .collect()
}

#[test]
fn a_dropped_cluster_leaves_nothing() {
    let left: (PathBuf, Vec<u32>) = {
        let cluster = cluster("pg", 1);
        cluster.pause(1).unwrap();
        (cluster.folder().to_owned(), cluster.nodes().iter().map(|node| node.pid().unwrap()).collect())
    };
    assert!(!left.0.exists());
    assert!(left.1.into_iter().all(|pid| !alive(pid)));
}

#[test]
fn the_data_may_be_kept_on_disk() {
    let cluster = Cluster::builder().on_disk().start().unwrap();
    assert!(cluster.folder().starts_with(std::env::temp_dir()) || cluster.folder().starts_with("/tmp"));
}

#[test]
fn a_panic_cleans_up_too() {
    let seen = std::sync::Mutex::new(None);
    let outcome = std::panic::catch_unwind(|| {
        let cluster = cluster("pg", 0);
        *seen.lock().unwrap() = Some((cluster.folder().to_owned(), cluster.primary().pid().unwrap()));
        std::panic::resume_unwind(Box::new("a test that fails"));
    });
    assert!(outcome.is_err());
    let (folder, pid) = seen.into_inner().unwrap().unwrap();
    assert!(!folder.exists() && !alive(pid));
}

#[test]
fn the_servers_account_is_not_root_and_its_data_is_closed() {
    let cluster = cluster("pg", 0);
    let process = std::fs::metadata(format!("/proc/{}", cluster.primary().pid().unwrap())).unwrap();
    let data = std::fs::metadata(cluster.primary().data_dir()).unwrap();
    assert_ne!(process.uid(), 0);
    assert_eq!((data.uid(), data.mode() & 0o777), (process.uid(), 0o700));
    assert_eq!(std::fs::metadata(cluster.primary().socket_dir()).unwrap().mode() & 0o005, 0o005);
}

#[test]
fn a_server_that_cannot_start_shows_its_log() {
    let error = Cluster::builder().settings([("shared_buffers", "plenty")]).start().unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Start { .. }) && text.contains("shared_buffers"), "{text}");
}

#[test]
fn clusters_live_side_by_side_and_outlive_the_thread_that_started_them() {
    let [us, eu] = ["us", "eu"].map(|name| std::thread::spawn(move || cluster(name, 1)));
    let (us, eu) = (us.join().unwrap(), eu.join().unwrap());
    let system = "select system_identifier from pg_control_system()";
    assert_ne!(us.psql(0, "app", system).unwrap(), eu.psql(0, "app", system).unwrap());
    assert_eq!(eu.psql(0, "app", "show cluster_name").unwrap(), "eu-1");
}

#[test]
fn settings_and_methods_of_authentication() {
    let builder = Cluster::builder().auth(Auth::Md5).settings([("max_connections", "17")]);
    let cluster = builder.users([("app", "pw")]).start().unwrap();
    assert_eq!(cluster.psql_as(0, "app", "postgres", "show max_connections").unwrap(), "17");
    let stored =
        cluster.psql(0, "postgres", "select left(rolpassword, 3) from pg_authid where rolname = 'app'");
    assert_eq!(stored.unwrap(), "md5");
    cluster.configure(0, "work_mem", "77kB").unwrap();
    eventually("the reload", || cluster.psql(0, "postgres", "show work_mem").unwrap() == "77kB");
    assert!(matches!(cluster.stop(9, Mode::Fast), Err(Error::NoSuchNode { index: 9, nodes: 1 })));
}

/// Not a test: what the next one runs as a process of its own, and kills.
#[test]
#[ignore = "a part of another test"]
fn a_process_that_holds_a_cluster() {
    let cluster = cluster("pg", 0);
    println!("\nheld {} {}", cluster.folder().display(), cluster.primary().pid().unwrap());
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn what_a_killed_process_leaves_is_ended_and_removed() {
    use std::io::BufRead as _;
    let mut holder = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_that_holds_a_cluster", "--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(holder.stdout.take().unwrap()).lines();
    let held = lines.map(Result::unwrap).find_map(|line| line.strip_prefix("held ").map(str::to_owned));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let held = held.unwrap();
    let (folder, pid) = held.split_once(' ').unwrap();
    assert!(Path::new(folder).exists());
    let _next = cluster("pg", 0);
    assert!(!Path::new(folder).exists());
    eventually("the server's end", || !alive(pid.parse().unwrap()));
}
