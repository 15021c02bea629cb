//! Servers that don't tell their position, as some managed services: time must do, writes go on, and it is said why.

use std::error::Error;
use std::time::{Duration, Instant};

use pgweir_tests::{Outcome, eventually};
use testkit::{Client, Cluster, Pgweir, Setup, first_error};

use crate::world::{World, ensure};

const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL); INSERT INTO t VALUES (1, 0); \
    GRANT ALL ON t TO app";
const READ: &str = "SELECT v, inet_server_port() FROM t WHERE id = 1";
/// What is asked of a primary, and of a replica.
const FUNCTIONS: [&str; 2] = ["pg_current_wal_flush_lsn()", "pg_last_wal_replay_lsn()"];
/// `health.assumed_lag` here.
const ASSUMED: Duration = Duration::from_secs(1);

/// As [`World::start`], with a control user that may be refused things, and is.
pub(crate) async fn start() -> Result<World, Box<dyn Error>> {
    let cluster = Cluster::builder()
        .name("us")
        .replicas(2)
        .databases(["app"])
        .users([("app", "secret"), ("watch", "secret")])
        .start()?;
    cluster.psql(0, "app", SCHEMA)?;
    for function in FUNCTIONS {
        may(&cluster, function, false)?;
    }
    let setup = Setup::new(&cluster)
        .set("clusters.us.control.user", "watch")
        .set("clusters.us.control.password", "secret")
        .set("route", "{replica_wait: 5ms, balance: round_robin}")
        .set("health", "{interval: 250ms, timeout: 2s, failures: 3, slow_start: 0s, assumed_lag: 1s}");
    let pgweir = Pgweir::start(&setup).await?;
    Ok(World { cluster, pgweir, setup })
}

/// Whether a function may be called, from now on and on all nodes that replay.
fn may(cluster: &Cluster, function: &str, may: bool) -> Outcome {
    let [does, whom] = if may { ["GRANT", "TO"] } else { ["REVOKE", "FROM"] };
    for database in ["postgres", "app"] {
        let sql = format!("{does} EXECUTE ON FUNCTION pg_catalog.{function} {whom} PUBLIC");
        cluster.psql(cluster.primary().index(), database, &sql)?;
    }
    Ok(())
}

impl World {
    /// Waits until just these nodes don't tell.
    async fn until_untold(&self, nodes: &str) -> Outcome {
        let (mut console, mut reader) = (self.pgweir.console().await?, self.client().await?);
        let untold = async || -> Result<String, String> {
            let mut untold = async || -> Result<String, Box<dyn Error>> {
                // Nobody is asked unless somebody reads.
                reader.query(&format!("/* pgweir: consistency=strong */ {READ}")).await?;
                let row = console.rows("SHOW POSITIONS").await?.pop().ok_or("no row of SHOW POSITIONS")?;
                Ok(row.get(6).cloned().flatten().unwrap_or_default())
            };
            untold().await.map_err(|error| error.to_string())
        };
        eventually(&format!("untold: {nodes}"), untold, |found| found.as_deref() == Ok(nodes)).await.map(drop)
    }

    /// Writes, and reads at once and until a replica has answered: one of `ports`, if any are named.
    async fn write_and_read(&self, value: i64, port: Option<u16>) -> Outcome {
        let (mut writer, mut reader) = (self.client().await?, self.client().await?);
        let error = first_error(&writer.query(&format!("UPDATE t SET v = {value} WHERE id = 1")).await?);
        ensure(error.is_none(), || format!("{error:?}"))?;
        let primary = self.cluster.primary().port();
        let at = async || self.read(&mut reader, value).await.map_err(|error| error.to_string());
        let answered = |at: &Result<u16, String>| *at != Ok(primary);
        let at = eventually("a replica answers", at, answered).await??;
        ensure(port.is_none_or(|port| at == port), || format!("it was answered at {at}, not {port:?}"))
    }

    /// Reads this value: at which port.
    async fn read(&self, reader: &mut Client, value: i64) -> Result<u16, Box<dyn Error>> {
        let row = reader.rows(READ).await?.pop().ok_or("no row")?;
        let found: i64 = row[0].as_deref().unwrap_or_default().parse()?;
        let port = row[1].as_deref().unwrap_or_default().parse()?;
        ensure(found == value, || format!("{found}, not {value}, at {port}"))?;
        Ok(port)
    }
}

/// Nobody tells anything.
pub(crate) async fn all_refuse(world: &World) -> Outcome {
    world.until_untold("us-1 us-2 us-3").await?;
    for value in 1..=3 {
        world.write_and_read(value, None).await?;
    }
    let mut console = world.pgweir.console().await?;
    for row in console.rows("SHOW NODES").await? {
        let why = row[10].as_deref().unwrap_or_default();
        ensure(why.contains("permission denied for function pg_"), || format!("{row:?}"))?;
    }
    let said = world.pgweir.log().matches("doesn't tell its position: what is read").count();
    ensure(said == 3, || format!("said {said} times, of three nodes"))?;
    // Each refusal is a line in the server's log.
    let rounds =
        console.rows("SHOW POSITIONS").await?.pop().and_then(|row| row[1].clone()).unwrap_or_default();
    let rounds: usize = rounds.parse()?;
    let refusals = world.cluster.node(1)?.log_path();
    let refusals = std::fs::read_to_string(refusals)?.matches("permission denied for function").count();
    ensure(refusals > 0 && refusals * 5 < rounds, || format!("{refusals} refusals in {rounds} rounds"))
}

/// What is told counts at once, and time doesn't any more.
pub(crate) async fn the_right_is_given(world: &World) -> Outcome {
    for function in FUNCTIONS {
        may(&world.cluster, function, true)?;
    }
    world.until_untold("").await?;
    world.write_and_read(10, None).await?;
    world.halt()?;
    let (mut writer, mut reader) = (world.client().await?, world.client().await?);
    writer.query("UPDATE t SET v = 11 WHERE id = 1").await?;
    let began = Instant::now();
    while began.elapsed() < ASSUMED + ASSUMED / 2 {
        world.read(&mut reader, 11).await?;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.go_on()
}

pub(crate) async fn the_primary_refuses(world: &World) -> Outcome {
    may(&world.cluster, FUNCTIONS[0], false)?;
    world.until_untold("us-1").await?;
    world.write_and_read(20, None).await?;
    may(&world.cluster, FUNCTIONS[0], true)?;
    world.until_untold("").await
}

/// The other is behind, and has not heard yet that it is to refuse: time doesn't count for it.
pub(crate) async fn one_refuses(world: &World) -> Outcome {
    let [refuses, tells] = world.replicas();
    world.halt_one(tells)?;
    may(&world.cluster, FUNCTIONS[1], false)?;
    let name = world.cluster.node(refuses)?.name().to_owned();
    world.until_untold(&name).await?;
    let port = world.cluster.node(refuses)?.port();
    for value in 30..33 {
        world.write_and_read(value, Some(port)).await?;
    }
    world.go_on()?;
    world.until_untold("us-2 us-3").await?;
    world.write_and_read(40, None).await
}
