//! Real client drivers in their default settings, 20 clients of a pool of 4 in transaction mode, with the split off and
//! on: for each one a program of `tests/drivers/state` makes and checks what a session keeps. `scripts/drivers` installs
//! them.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgweir_tests::Cases;
use pgweir_tests::program::run;
use pgweir_tests::world::{names, soon};
use testkit::{Client, Cluster, Pgweir, Setup, rows};
use tokio::process::Command;

/// One program takes no longer.
const LIMIT: Duration = Duration::from_secs(55);
/// Clients of each program at once.
const CLIENTS: &str = "20";
/// `pool.size`.
const SIZE: usize = 4;

/// What every program shows, in this order.
const PHASES: [&str; 7] = [
    "transactions",
    "savepoints",
    "prepared",
    "settings",
    "advisory_locks",
    "temp_tables",
    "server_side_cursors",
];

/// A driver, as `scripts/drivers` names it, and what its program shows besides [`PHASES`].
const DRIVERS: [(&str, &[&str]); 10] = [
    ("psycopg", &["listen"]),
    ("asyncpg", &["listen"]),
    ("sqlalchemy", &[]),
    ("django", &["tests"]),
    ("node-postgres", &["listen"]),
    ("drizzle", &[]),
    ("pgjdbc", &["listen"]),
    ("sqlx", &["listen"]),
    ("pgx", &["listen"]),
    ("activerecord", &["listen"]),
];

/// Each needs a whole language for one program: CI does without where that can't be had.
const OPTIONAL: [&str; 2] = ["pgx", "activerecord"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_keep_their_state_with_every_driver() {
    let available = std::fs::read_to_string(installed("available")).unwrap_or_default();
    let (present, missing): (Vec<_>, Vec<_>) =
        DRIVERS.iter().partition(|(driver, _)| available.lines().any(|name| name == *driver));
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|(driver, _)| *driver).collect();
        let words = format!("not tested, for want of the driver: {}. Run scripts/drivers.", names.join(", "));
        let must_be_there = names.iter().any(|name| !OPTIONAL.contains(name));
        assert!(!must_be_there || std::env::var("CI").as_deref() != Ok("true"), "{words}");
        // The harness would keep what `eprintln!` says to itself.
        writeln!(std::io::stderr(), "{words}").unwrap();
    }

    let cluster = cluster();
    let mut cases = Cases::new();
    for (split, role) in [("off", "primary"), ("on", "auto")] {
        let pgweir = Pgweir::start(&setup(&cluster, role)).await.unwrap();
        for (driver, more) in &present {
            cases.run(&format!("{driver}, split {split}"), program_succeeds(&pgweir, driver, more)).await;
        }
        cases.run(&format!("nothing is left, split {split}"), nothing_is_left(&cluster, &pgweir, role)).await;
    }
    cases.finish();
}

/// All that it shows is shown, and nothing else is said.
async fn program_succeeds(pgweir: &Pgweir, driver: &str, more: &[&str]) {
    let url = format!("postgresql://app:app-secret@127.0.0.1:{}/app", pgweir.addr().port());
    let ended =
        run(program(driver).arg(url).arg(CLIENTS), LIMIT).await.unwrap_or_else(|words| panic!("{words}"));
    let mut found: Vec<&str> = ended.stdout.lines().collect();
    let mut expected: Vec<String> = PHASES.iter().chain(more).map(|name| format!("ok {name}")).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert!(found == expected, "{}", ended.in_words());
    ended.quietly().unwrap_or_else(|words| panic!("{words}"));
}

/// Nobody is tied to a connection, and there are no more connections than the pool may have.
async fn nothing_is_left(cluster: &Cluster, pgweir: &Pgweir, role: &str) {
    let mut console = pgweir.console().await.unwrap();
    soon("nobody is tied to a connection", async || {
        pinned(&mut console).await.iter().all(|count| count == "0")
    })
    .await;
    let left = "select count(*) from pg_class where relpersistence = 't'
        union all select count(*) from pg_locks where locktype = 'advisory'";
    soon("no temporary table, no lock", async || cluster.psql(0, "app", left).unwrap().trim() == "0\n0")
        .await;
    for node in cluster.nodes() {
        let sql = "select count(*) from pg_stat_activity where usename = 'app' and query !~* '^(un)?listen'";
        let count: usize = cluster.psql(node.index(), "app", sql).unwrap().trim().parse().unwrap();
        let used = node.index() == 0 || role == "auto";
        let expected = if used { 1..=SIZE } else { 0..=0 };
        assert!(expected.contains(&count), "{}: {count} connections", node.name());
    }
}

/// How many sessions are tied to connections, of each pool.
async fn pinned(console: &mut Client) -> Vec<String> {
    let frames = console.query("SHOW NODE_POOLS").await.unwrap();
    let at = names(&frames).iter().position(|column| column == "pinned").unwrap();
    rows(&frames).into_iter().map(|row| row[at].clone().unwrap()).collect()
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn installed(name: &str) -> PathBuf {
    folder("../target/drivers").join(name)
}

/// How to run a driver's program, but for its arguments.
fn program(driver: &str) -> Command {
    let python = |program: &str| {
        let mut command = Command::new(installed("venv/bin/python"));
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg(folder("drivers/state").join(program));
        command
    };
    let node = |program: &str| {
        let mut command = Command::new("node");
        // node-postgres deprecates a property that it uses itself.
        command.env("NODE_PATH", installed("node/node_modules")).env("NODE_NO_WARNINGS", "1");
        command.arg(folder("drivers/state").join(program));
        command
    };
    match driver {
        "psycopg" => python("with_psycopg.py"),
        "asyncpg" => python("with_asyncpg.py"),
        "sqlalchemy" => python("with_sqlalchemy.py"),
        "django" => python("with_django.py"),
        "node-postgres" => node("node_postgres.js"),
        "drizzle" => node("with_drizzle.js"),
        "pgjdbc" => {
            let mut command = Command::new("java");
            // With these it says on stderr that it heeds them.
            command.env_remove("JAVA_TOOL_OPTIONS").env_remove("_JAVA_OPTIONS");
            command.arg("-cp").arg(installed("java/postgresql.jar"));
            command.arg(folder("drivers/state/PgjdbcState.java"));
            command
        }
        "sqlx" => Command::new(installed("sqlx/debug/sqlx-state")),
        "pgx" => Command::new(installed("go/state")),
        "activerecord" => {
            let mut command = Command::new("ruby");
            command.arg(folder("drivers/state/active_record.rb"));
            command
        }
        other => panic!("no program for {other}"),
    }
}

/// A primary and a replica, and the tables that the programs work with.
fn cluster() -> Cluster {
    let builder = Cluster::builder().replicas(1).databases(["app"]).users([("app", "app-secret")]);
    let cluster = builder.start().unwrap();
    let sql = "create table fixed (n int); insert into fixed values (1), (2), (3);
        create table items (driver text, client int, n int, note text, primary key (driver, client, n));";
    cluster.psql_as(0, "app", "app", sql).unwrap();
    cluster.wait_all_caught_up().unwrap();
    cluster
}

/// A pool of 4, half of which may be tied to sessions.
fn setup(cluster: &Cluster, role: &str) -> Setup {
    Setup::new(cluster)
        .pool_size(SIZE)
        .set("pool.pinned", "50%")
        .set("route.role", role)
        .set("instance.workers", "2")
        .set("clusters.pg.server_connections", "8")
}
