//! Which replica serves a read: by load, latency and weight, and not one that is behind, just back, or sick.

#[path = "balancing/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use pgweir_tests::{Cases, Outcome, eventually};
use testkit::{Cut, Direction, Mode, Trigger, first_error};

use tokio::task::JoinHandle;

use crate::world::{HEALTH, World, ensure};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_where_they_are_served_best() {
    let mut world = World::start().await.expect("a cluster and pgweir");
    let mut cases = Cases::new();
    cases.add("weighted", by_weight(&world).await);
    cases.add("a full pool nearby", full_pool(&world).await);
    cases.add("a slow replica", slow_replica(&world).await);
    cases.add("a replica behind", replica_behind(&world).await);
    cases.add("a replica returns", replica_returns(&mut world).await);
    cases.add("errors in traffic", errors_in_traffic(&world).await);
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_answers_much_more_slowly_than_the_other_is_out_for_a_while() {
    let world = World::start().await.expect("a cluster and pgweir");
    let mut cases = Cases::new();
    cases.add("much slower", much_slower(&world).await);
    cases.finish();
}

/// Who asks in turn is spared a replica that takes 100 ms where the other takes one; nobody sees an error.
async fn much_slower(world: &World) -> Outcome {
    world.proxies[0].delay(Direction::ToServer, Duration::from_millis(100));
    let state = async || -> Result<BTreeMap<String, String>, String> {
        serve(world, "in_turn").await.map_err(|error| error.to_string())?;
        world.node("us-2").await.map_err(|error| error.to_string())
    };
    let out =
        |row: &Result<BTreeMap<String, String>, String>| row.as_ref().is_ok_and(|row| row["state"] == "out");
    let row = eventually("it is out of the reads", state, out).await??;
    ensure(row["why"].contains("its like in"), || format!("{row:?}"))?;
    let shares = world.shares("in_turn", 10).await?;
    ensure(shares.keys().eq(["us-3"]), || format!("{shares:?}"))
}

/// The configured shares, counted by the client and by the console alike.
async fn by_weight(world: &World) -> Outcome {
    let before = world.reads("weighted").await?;
    let shares = world.shares("mixed", 40).await?;
    let expected = BTreeMap::from([("us-2".to_owned(), 10), ("us-3".to_owned(), 30)]);
    ensure(shares == expected, || format!("{shares:?}"))?;
    let after = world.reads("weighted").await?;
    let counted: BTreeMap<_, _> = after
        .iter()
        .map(|(node, reads)| (node.clone(), reads - before[node]))
        .filter(|(_, n)| *n > 0)
        .collect();
    ensure(counted == shares, || format!("the console counted {counted:?}"))
}

/// A replica of this zone that has no connection to give doesn't keep a read waiting that one of another zone serves.
async fn full_pool(world: &World) -> Outcome {
    let mut holder = world.client("zoned").await?;
    let near = |shares: &BTreeMap<String, u32>| shares.keys().eq(["us-2"]);
    let shares = world.shares("zoned", 8).await?;
    ensure(near(&shares), || format!("the nearest alone: {shares:?}"))?;
    for sql in ["BEGIN READ ONLY", "SELECT 1"] {
        holder.rows(sql).await?;
    }
    let shares = world.shares("zoned", 8).await?;
    ensure(shares.keys().eq(["us-3"]), || format!("while it is full: {shares:?}"))?;
    let states =
        ["us-2", "us-3"].map(async |node| world.node_of("zoned", node).await.map(|row| row["state"].clone()));
    for state in states {
        ensure(state.await? == "up", || "a full pool is no sickness".into())?;
    }
    // When both are, a read waits for the nearer one.
    let mut other = world.client("zoned").await?;
    for sql in ["BEGIN READ ONLY", "SELECT 1"] {
        other.rows(sql).await?;
    }
    let mut third = world.client("zoned").await?;
    let waits = tokio::spawn(async move { third.value("SELECT inet_server_port()").await });
    world.until_waiting(1).await?;
    holder.rows("COMMIT").await?;
    let port = waits.await??;
    ensure(port == world.cluster.replica(0).port().to_string(), || format!("it was answered at {port}"))?;
    other.rows("COMMIT").await?;
    let shares = world.shares("zoned", 8).await?;
    ensure(near(&shares), || format!("when it isn't full any more: {shares:?}"))
}

/// Clients at once, and how long they go on in one round.
const CLIENTS: u32 = 4;
const ROUND: Duration = Duration::from_millis(300);

/// With one replica 10 ms slower, load and latency serve more than turns do, by counts of the same rounds.
async fn slow_replica(world: &World) -> Outcome {
    world.proxies[0].delay(Direction::ToServer, Duration::from_millis(10));
    let mut served = BTreeMap::<&str, u32>::new();
    let enough = |served: &BTreeMap<&str, u32>| {
        let turns = served["in_turn"] * 3 / 2;
        served["least"] >= turns && served["latency"] >= turns
    };
    // The more rounds, the less a disturbance of the machine in one of them matters.
    for round in 0..20 {
        for database in ["in_turn", "least", "latency"] {
            *served.entry(database).or_default() += serve(world, database).await?;
        }
        if round >= 2 && enough(&served) {
            break;
        }
    }
    world.proxies[0].delay(Direction::ToServer, Duration::ZERO);
    #[allow(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]
    {
        println!("reads served at the same concurrency, one replica 10 ms slower: {served:?}");
    }
    ensure(enough(&served), || format!("{served:?}"))
}

/// How many reads the clients of a database have answered in a round.
async fn serve(world: &World, database: &str) -> Result<u32, Box<dyn std::error::Error>> {
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut clients: Vec<JoinHandle<testkit::Result<()>>> = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = world.client(database).await?;
        // Connections to both are open before it counts.
        for _ in 0..2 {
            client.rows("SELECT 1").await?;
        }
        let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
        clients.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                client.rows("SELECT 1").await?;
                served.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }));
    }
    tokio::time::sleep(ROUND).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await??;
    }
    Ok(served.load(Ordering::Relaxed))
}

/// A replica that doesn't replay is out of the reads; when all don't, the primary reads, if it may.
async fn replica_behind(world: &World) -> Outcome {
    let replay = |node: usize, what: &str| {
        world.cluster.psql(node, "postgres", &format!("SELECT pg_wal_replay_{what}()")).map(drop)
    };
    replay(1, "pause")?;
    world.cluster.psql(0, "app", "CREATE TABLE late AS SELECT * FROM generate_series(1, 1000)")?;
    world.reads_come_from("least", &["us-3"]).await?;
    let row = world.node("us-2").await?;
    let (bytes, millis): (u64, u64) = (row["lag_bytes"].parse()?, row["lag_ms"].parse()?);
    ensure(bytes > 10_000 && millis > 500 && row["state"] == "up", || format!("{row:?}"))?;
    let row = world.node("us-1").await?;
    ensure(!row.contains_key("lag_bytes") && row["timeline"] == "1", || format!("{row:?}"))?;
    // Who allows more reads there still.
    world.reads_come_from("patient", &["us-2", "us-3"]).await?;
    world.reads_come_from("by_bytes", &["us-3"]).await?;

    replay(2, "pause")?;
    world.cluster.psql(0, "app", "INSERT INTO late SELECT * FROM generate_series(1, 1000)")?;
    world.reads_come_from("least", &["us-1"]).await?;
    let mut never = world.client("never").await?;
    let refusal = first_error(&never.query("SELECT 1").await?).ok_or("it was answered")?;
    let words = refusal.code == "57P03" && refusal.message.contains("near enough");
    ensure(words, || format!("{refusal:?}"))?;

    replay(1, "resume")?;
    replay(2, "resume")?;
    world.reads_come_from("least", &["us-2", "us-3"]).await
}

/// Connections that break second after second take a replica out of the reads, though its probes succeed.
async fn errors_in_traffic(world: &World) -> Outcome {
    let mut client = world.client("in_turn").await?;
    let broken = async || -> Result<BTreeMap<String, String>, String> {
        world.proxies[0].cut_when(Direction::ToServer, Trigger::Before(b"poison".to_vec()), Cut::Reset);
        // It is the error of whoever is sent there; others aren't concerned.
        for _ in 0..2 {
            let _ = client.query("SELECT 'poison'").await.map_err(|error| error.to_string())?;
        }
        world.node("us-2").await.map_err(|error| error.to_string())
    };
    let out =
        |row: &Result<BTreeMap<String, String>, String>| row.as_ref().is_ok_and(|row| row["state"] == "out");
    let row = eventually("it is out of the reads", broken, out).await??;
    world.proxies[0].disarm();
    ensure(row["why"].contains("failed or were lost") && row["share"] == "0", || format!("{row:?}"))?;
    let shares = world.shares("in_turn", 10).await?;
    ensure(shares.keys().eq(["us-3"]), || format!("{shares:?}"))
}

/// A replica that was down begins with a small part of its share; a reload that wants no slow start ends that.
async fn replica_returns(world: &mut World) -> Outcome {
    world.cluster.stop(2, Mode::Fast)?;
    world.reads_come_from("least", &["us-2"]).await?;
    let row = async || world.node("us-3").await.map_err(|error| error.to_string());
    let down = |row: &Result<BTreeMap<String, String>, String>| {
        row.as_ref().is_ok_and(|row| row["state"] == "down" && row["share"] == "0" && row.contains_key("why"))
    };
    eventually("it is down", row, down).await?.map(drop)?;
    world.cluster.start(2)?;
    let share = async || world.node("us-3").await.map(|row| row["share"].clone()).unwrap_or_default();
    let begun = |share: &String| share.parse().is_ok_and(|share: u32| share > 0);
    let share = eventually("it is up again", share, begun).await?;
    ensure(share == "2", || format!("it takes {share}% of its share at once"))?;
    world.reload(&HEALTH.replace("slow_start: 1h", "slow_start: 0s")).await?;
    for node in ["us-2", "us-3"] {
        let share = async || world.node(node).await.map(|row| row["share"].clone()).unwrap_or_default();
        eventually("it takes all of its share", share, |share| share == "100").await?;
    }
    world.reads_come_from("least", &["us-2", "us-3"]).await
}
