//! Postgres' own client tools through pgweir: psql, pg_dump and pgbench, with the split on.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

#[path = "tools/dump.rs"]
mod dump;
#[path = "tools/load.rs"]
mod load;
#[path = "tools/terminal.rs"]
mod terminal;

use std::fs;
use std::path::Path;
use std::time::Duration;

use pgweir_tests::Cases;
use pgweir_tests::program::{peak_memory, run};
use testkit::{Binaries, Cluster, Pgweir, Setup};
use tokio::process::Command;

/// Connections that a pool may have.
const POOL: usize = 10;
/// One program takes no longer.
const LIMIT: Duration = Duration::from_secs(50);
/// Rows that are copied in and out.
const ROWS: u32 = 1_000_000;
/// A row that is larger than pgweir may be.
const LONG: usize = 200_000_000;
/// What pgweir may take for all of it.
const MEMORY: u64 = 64 << 20;

/// Where a tool connects to: the port.
#[derive(Debug, Clone, Copy)]
struct To(u16);

impl To {
    /// A tool of Postgres, told where to connect.
    fn tool(self, name: &str) -> Command {
        let binaries = Binaries::find().unwrap();
        let mut command =
            if name == "psql" { Command::new(binaries.psql()) } else { Command::new(binaries.program(name)) };
        command.envs([
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", &self.0.to_string()),
            ("PGUSER", "app"),
            ("PGPASSWORD", "app-secret"),
            ("PGDATABASE", "app"),
            ("PGSSLMODE", "disable"),
        ]);
        command
    }

    /// Has psql run a script; its output, which must not have an error in it.
    async fn psql(self, script: &str) -> String {
        let mut command = self.tool("psql");
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]);
        for line in script.lines() {
            command.args(["-c", line.trim()]);
        }
        run(&mut command, LIMIT)
            .await
            .and_then(|ended| ended.quietly())
            .unwrap_or_else(|why| panic!("{script}: {why}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_work_as_with_postgres() {
    let cluster = Cluster::builder().replicas(2).databases(["app"]).users([("app", "app-secret")]);
    let cluster = cluster.settings([("max_wal_size", "4GB")]).start().unwrap();
    let pgweir = Pgweir::start(&setup(&cluster)).await.unwrap();
    let direct = To(cluster.primary().port());
    let through = To(pgweir.addr().port());
    let folder = tempfile::tempdir().unwrap();

    let mut cases = Cases::new();
    cases.run("describe", describe(direct, through, &cluster)).await;
    cases.run("copy a million rows", copy(through, &cluster, folder.path())).await;
    cases.run("dump", dump::same_as_direct(direct, &cluster)).await;
    cases.run("a long row, read", read_long_row(through, folder.path())).await;
    cases.run("a long row, written", write_long_row(through, folder.path())).await;
    cases.run("Ctrl-C", terminal::interrupt(through, &cluster)).await;
    cases.run("pgbench", load::pgbench(through, &cluster)).await;
    let peak = peak_memory(pgweir.pid());
    cases.add("memory", if peak < MEMORY { Ok(()) } else { Err(format!("{peak} bytes at most").into()) });
    cases.finish();
}

/// No session may be tied to a connection: these programs leave nothing on it that would need that.
fn setup(cluster: &Cluster) -> Setup {
    Setup::new(cluster)
        .pool_size(POOL)
        .set("pool.pinned", "0")
        .set("instance.workers", "2")
        .set("clusters.pg.server_connections", "20")
}

async fn describe(direct: To, through: To, cluster: &Cluster) {
    direct
        .psql(
            "create type mood as enum ('fine', 'not fine')
             create table items (id bigint generated always as identity primary key, mood mood not null default 'fine')
             create table parts (item bigint references items, name text check (name <> ''), unique (item, name))
             create index on parts (lower(name)) where name like 'a%'
             create view moods as select mood, count(*) from items group by mood
             create function twice(n int) returns int language sql immutable return n * 2",
        )
        .await;
    cluster.wait_all_caught_up().unwrap();
    for command in
        ["\\d", "\\d items", "\\d+ parts", "\\d+ moods", "\\dT+ mood", "\\df+ twice", "\\du", "\\dn+", "\\l"]
    {
        assert_eq!(through.psql(command).await, direct.psql(command).await, "{command}");
    }
}

/// In, and out again from the primary and from a replica.
async fn copy(through: To, cluster: &Cluster, folder: &Path) {
    let [input, output] = ["in.tsv", "out.tsv"].map(|name| folder.join(name));
    let rows: String =
        (1..=ROWS).map(|n| format!("{n}\tname {}\t\\N\n", n.wrapping_mul(2_654_435_761))).collect();
    fs::write(&input, &rows).unwrap();
    through.psql("create table numbers (id int primary key, name text, nothing text)").await;
    through.psql(&format!("\\copy numbers from '{}'", input.display())).await;
    let out = format!("\\copy (select * from numbers order by id) to '{}'", output.display());
    through.psql(&format!("begin\n{out}\ncommit")).await;
    assert!(fs::read_to_string(&output).unwrap() == rows, "not the same from the primary");
    fs::remove_file(&output).unwrap();
    cluster.wait_all_caught_up().unwrap();
    let route = through.psql(&format!("{out}\nshow pgweir.route")).await;
    assert!(fs::read_to_string(&output).unwrap() == rows, "not the same from a replica");
    assert!(route.contains("| replica |"), "{route}");
}

async fn read_long_row(through: To, folder: &Path) {
    let output = folder.join("long.txt");
    let mut command = through.tool("psql");
    command.args(["-X", "-q", "-A", "-t", "-o"]).arg(&output);
    command.arg("-c").arg(format!("select repeat('0123456789', {})", LONG / 10));
    run(&mut command, LIMIT).await.unwrap().quietly().unwrap();
    let row = fs::read(&output).unwrap();
    assert_eq!(row.len(), LONG + 1);
    assert!(row[..LONG].chunks(10).all(|chunk| chunk == b"0123456789"));
    fs::remove_file(&output).unwrap();
}

async fn write_long_row(through: To, folder: &Path) {
    let script = folder.join("long.sql");
    let text = "0123456789".repeat(LONG / 10);
    fs::write(&script, format!("insert into long_rows values ('{text}');\n")).unwrap();
    drop(text);
    through.psql("create table long_rows (text text)").await;
    let mut command = through.tool("psql");
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]).arg(&script);
    run(&mut command, LIMIT).await.unwrap().quietly().unwrap();
    let sql = format!(
        "/* pgweir: role=primary */ select length(text), text = repeat('0123456789', {}) as same from long_rows",
        LONG / 10
    );
    let found = through.psql(&sql).await;
    assert!(found.contains(&format!("{LONG} | t")), "{found}");
    through.psql("drop table long_rows").await;
}
