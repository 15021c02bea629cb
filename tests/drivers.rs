//! Real client drivers through pgweir in transaction mode, with TLS, SCRAM and the split on: for each one a program of
//! `tests/drivers` does what its users do. `scripts/drivers` installs them.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgweir_tests::Cases;
use pgweir_tests::program::{peak_memory, run};

use testkit::{Certificates, Cluster, Pgweir, Setup};
use tokio::process::Command;

/// One program takes no longer: less than a case may, so that what it had said is told.
const LIMIT: Duration = Duration::from_secs(50);
/// psycopg's program passes 200 MB through pgweir in one message.
const MEMORY: u64 = 64 << 20;

/// A driver, as `scripts/drivers` names it, and what its program must show, in this order.
const DRIVERS: [(&str, &[&str]); 5] = [
    (
        "psycopg",
        &[
            "tls",
            "wrong_password",
            "inserts",
            "reads_go_to_the_replica",
            "transactions",
            "savepoints",
            "prepared_at_once",
            "prepared_by_and_by",
            "errors_leave_the_connection_usable",
            "cancel",
            "copy_in_and_out",
            "copy_that_fails",
            "server_side_cursor",
            "streamed_rows",
            "pipelines",
            "idle_clients_hold_nothing",
            "values",
            "huge_value",
            "composed_sql_and_row_factories",
            "notifications",
            "concurrency",
        ],
    ),
    (
        "asyncpg",
        &[
            "tls",
            "inserts",
            "reads_go_to_the_replica",
            "transactions",
            "savepoints",
            "statement_cache",
            "types",
            "errors_leave_the_connection_usable",
            "cancel",
            "copy_in_and_out",
            "server_side_cursor",
            "values",
            "notifications",
            "concurrency",
        ],
    ),
    (
        "sqlalchemy",
        &[
            "schema",
            "inserts",
            "transactions",
            "reads_go_to_the_replica",
            "savepoints",
            "errors_leave_the_connection_usable",
            "prepared",
            "server_side_cursor",
            "values",
            "cancel",
            "concurrency",
        ],
    ),
    (
        "node-postgres",
        &[
            "tls",
            "inserts",
            "reads_go_to_the_replica",
            "transactions",
            "savepoints",
            "named_statements",
            "errors_leave_the_connection_usable",
            "cancel",
            "cursor",
            "values",
            "notifications",
            "concurrency",
        ],
    ),
    (
        "pgjdbc",
        &[
            "tls",
            "inserts",
            "reads_go_to_the_replica",
            "transactions",
            "savepoints",
            "prepared",
            "errors_leave_the_connection_usable",
            "cancel",
            "copy_in_and_out",
            "server_side_cursor",
            "values",
            "metadata",
            "concurrency",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drivers_work_as_with_postgres() {
    let available = available();
    let (present, missing): (Vec<_>, Vec<_>) =
        DRIVERS.iter().partition(|(driver, _)| available.iter().any(|name| name == driver));
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|(driver, _)| *driver).collect();
        let words = format!("not tested, for want of the driver: {}. Run scripts/drivers.", names.join(", "));
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{words}");
        // The harness would keep what `eprintln!` says to itself.
        writeln!(std::io::stderr(), "{words}").unwrap();
    }

    let certificates = Certificates::generate().unwrap();
    let cluster = cluster(&certificates);
    let pgweir = Pgweir::start(&setup(&cluster, &certificates)).await.unwrap();
    let mut cases = Cases::new();
    for (driver, names) in present {
        let mut command = program(driver);
        let environment = [
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", pgweir.addr().port().to_string()),
            ("PGUSER", "app".to_owned()),
            ("PGPASSWORD", "app-secret".to_owned()),
            ("PGDATABASE", "app".to_owned()),
            ("PGSSLMODE", "verify-full".to_owned()),
            ("PGSSLROOTCERT", certificates.authority().to_string_lossy().into_owned()),
        ];
        let expected: Vec<String> = names.iter().map(|name| format!("ok {name}")).collect();
        let case = async {
            let ended = run(command.envs(environment), LIMIT).await.unwrap_or_else(|words| panic!("{words}"));
            assert!(ended.stdout.lines().eq(expected), "{}", ended.in_words());
            ended.quietly().unwrap_or_else(|words| panic!("{words}"));
        };
        cases.run(driver, case).await;
    }
    let peak = peak_memory(pgweir.pid());
    cases.add("memory", if peak < MEMORY { Ok(()) } else { Err(format!("{peak} bytes at most").into()) });
    cases.finish();
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn installed(name: &str) -> PathBuf {
    folder("../target/drivers").join(name)
}

/// The drivers that `scripts/drivers` could install.
fn available() -> Vec<String> {
    let names = std::fs::read_to_string(installed("available")).unwrap_or_default();
    names.lines().map(str::to_owned).collect()
}

/// How to run a driver's program.
fn program(driver: &str) -> Command {
    let python = |program: &str| {
        let mut command = Command::new(installed("venv/bin/python"));
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg(folder("drivers").join(program));
        command
    };
    match driver {
        "psycopg" => python("with_psycopg.py"),
        "asyncpg" => python("with_asyncpg.py"),
        "sqlalchemy" => python("with_sqlalchemy.py"),
        "node-postgres" => {
            let mut command = Command::new("node");
            // It deprecates a property that it uses itself.
            command.env("NODE_PATH", installed("node/node_modules")).env("NODE_NO_WARNINGS", "1");
            command.arg(folder("drivers/node_postgres.js"));
            command
        }
        "pgjdbc" => {
            let mut command = Command::new("java");
            // With these it says on stderr that it heeds them.
            command.env_remove("JAVA_TOOL_OPTIONS").env_remove("_JAVA_OPTIONS");
            command.arg("-cp").arg(installed("java/postgresql.jar")).arg(folder("drivers/Pgjdbc.java"));
            command
        }
        other => panic!("no program for {other}"),
    }
}

/// A primary and a replica that take TLS only, and the tables that the programs work with.
fn cluster(certificates: &Certificates) -> Cluster {
    let builder = Cluster::builder().replicas(1).databases(["app"]).users([("app", "app-secret")]);
    let builder = builder.tls(certificates.server_certificate(), certificates.server_key());
    let cluster = builder.hba("hostnossl all app 127.0.0.1/32 reject").start().unwrap();
    let mut sql = "create table fixed (n int); insert into fixed values (1), (2), (3);".to_owned();
    for driver in ["psycopg", "asyncpg", "node", "pgjdbc"] {
        sql += &format!("create table {driver}_items (id int primary key, name text, data bytea);");
    }
    sql += "create type asyncpg_mood as enum ('fine', 'not fine'); create type asyncpg_pair as (n int, name text);";
    cluster.psql_as(0, "app", "app", &sql).unwrap();
    cluster.wait_all_caught_up().unwrap();
    cluster
}

/// A pool of 4, TLS required of clients and verified of servers. No session may be tied to a connection: what these
/// programs do by default leaves nothing on it that would need that.
fn setup(cluster: &Cluster, certificates: &Certificates) -> Setup {
    let authority = certificates.authority();
    Setup::new(cluster)
        .pool_size(4)
        .set("pool.pinned", "0")
        .tls(certificates, "require")
        .set("instance.workers", "2")
        .set("clusters.pg.server_connections", "8")
        .set("clusters.pg.tls.mode", "verify-full")
        .set("clusters.pg.tls.ca", &format!("\"{}\"", authority.display()))
}
