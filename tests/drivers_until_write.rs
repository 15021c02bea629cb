//! SQLAlchemy and Django with a transaction around each request and `replica_until_write`: they see what they see on the
//! server itself, and most of their reads are answered by replicas.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgweir_tests::Cases;
use pgweir_tests::program::run;
use testkit::{Cluster, Pgweir, Setup, rows};
use tokio::process::Command;

/// One program takes no longer.
const LIMIT: Duration = Duration::from_secs(50);
/// Of ten requests so many read alone, and the others read first: of their reads at least so many percent needn't have
/// the primary.
const SHARE: u64 = 70;
/// What each program finds.
const AT_FIRST: &str =
    "truncate items; insert into items select n, 'v' || n, n * 10 from generate_series(1, 5) n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn most_reads_of_frameworks_go_to_replicas() {
    let available = std::fs::read_to_string(installed("available")).unwrap_or_default();
    let cluster = cluster();
    let mut cases = Cases::new();
    for driver in ["sqlalchemy", "django"] {
        if available.lines().any(|name| name == driver) {
            cases.run(driver, same_and_on_replicas(&cluster, driver)).await;
            continue;
        }
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{driver} isn't installed: run scripts/drivers"
        );
        // The harness would keep what `eprintln!` says to itself.
        writeln!(std::io::stderr(), "not tested, for want of the driver: {driver}. Run scripts/drivers.")
            .unwrap();
        cases.add(driver, Ok(()));
    }
    cases.finish();
}

async fn same_and_on_replicas(cluster: &Cluster, driver: &str) {
    let setup = Setup::new(cluster).pool_size(4).set("route.transactions", "replica_until_write");
    let pgweir = Pgweir::start(&setup).await.unwrap();
    let mut said = Vec::new();
    for port in [cluster.primary().port(), pgweir.addr().port()] {
        cluster.psql_as(0, "app", "app", AT_FIRST).unwrap();
        let url = format!("postgresql://app:app-secret@127.0.0.1:{port}/app");
        let mut command = Command::new(installed("venv/bin/python"));
        let program = folder("drivers/until_write").join(format!("with_{driver}.py"));
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg(program).arg(url);
        let ended = run(&mut command, LIMIT).await.unwrap_or_else(|words| panic!("{words}"));
        said.push(ended.stdout.clone());
        ended.quietly().unwrap_or_else(|words| panic!("{words}"));
    }
    assert!(
        said[0].lines().count() == 40 && said[0] == said[1],
        "direct:\n{}\nthrough:\n{}",
        said[0],
        said[1]
    );

    let mut console = pgweir.console().await.unwrap();
    let (mut reads, mut on_replicas) = (0, 0);
    for row in rows(&console.query("SHOW ROUTES").await.unwrap()) {
        let [_, shape, count, _, role, ..] = row.as_slice() else { panic!("{row:?}") };
        let of_items =
            shape.as_deref().unwrap().starts_with("select") && shape.as_deref().unwrap().contains("items");
        let count: u64 = count.as_deref().unwrap().parse().unwrap();
        if of_items {
            reads += count;
            on_replicas += if role.as_deref() == Some("replica") { count } else { 0 };
        }
    }
    let percent = on_replicas * 100 / reads.max(1);
    let share = format!("{driver}: {on_replicas} of {reads} reads on replicas, {percent} %\n");
    std::io::stderr().write_all(share.as_bytes()).unwrap();
    assert!(reads >= 120 && percent >= SHARE, "{driver}: {on_replicas} of {reads} reads on replicas");
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn installed(name: &str) -> PathBuf {
    folder("../target/drivers").join(name)
}

/// A primary and a replica that has replayed what is committed.
fn cluster() -> Cluster {
    let builder = Cluster::builder().replicas(1).databases(["app"]).users([("app", "app-secret")]);
    let cluster = builder.start().unwrap();
    cluster.psql_as(0, "app", "app", "create table items (id int primary key, v text, n int)").unwrap();
    cluster.configure(0, "synchronous_standby_names", "*").unwrap();
    cluster.configure(0, "synchronous_commit", "remote_apply").unwrap();
    cluster.wait_all_caught_up().unwrap();
    cluster
}
