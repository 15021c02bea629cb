//! Clients write and read for a while, each on connections of its own, while replicas are halted, held back and
//! started again. `CONSISTENCY_CLIENTS` and `CONSISTENCY_SECONDS` make it bigger.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgweir_tests::Outcome;
use testkit::{Client, Mode};
use tokio::task::JoinSet;

use crate::world::{World, ensure};

/// What all clients have found.
#[derive(Debug, Default)]
struct Found {
    over: AtomicBool,
    /// Writes that were acknowledged.
    writes: AtomicU64,
    /// Reads that missed one, or were older than one before, in words.
    wrong: Mutex<Vec<String>>,
    /// Stale reads of who may have them.
    eventual: AtomicU64,
    /// Reads by table: of replicas, and all.
    reads: Mutex<BTreeMap<&'static str, (u64, u64)>>,
    longest: Mutex<BTreeMap<&'static str, Duration>>,
}

impl Found {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn wrong(&self, what: String) {
        locked(&self.wrong).push(what);
    }

    fn read(&self, table: &'static str, on_replica: bool, took: Duration) {
        let mut reads = locked(&self.reads);
        let (replica, all) = reads.entry(table).or_default();
        *replica += u64::from(on_replica);
        *all += 1;
        drop(reads);
        let mut longest = locked(&self.longest);
        let longest = longest.entry(table).or_default();
        *longest = (*longest).max(took);
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

pub(crate) async fn storm(world: &World) -> Outcome {
    let clients = number("CONSISTENCY_CLIENTS", 10);
    let seconds = number("CONSISTENCY_SECONDS", 9);
    let found = Arc::new(Found::default());
    let primary = world.cluster.primary().port().to_string();
    let mut tasks = JoinSet::new();
    // A transaction that somebody has left open must not hold up anybody.
    let mut idle = world.client().await?;
    idle.query("BEGIN; UPDATE t SET v = -1 WHERE id = 200; SELECT txid_current()").await?;
    for client in 1..=clients {
        let (found, primary) = (Arc::clone(&found), primary.clone());
        let connections = Connections {
            writer: world.client().await?,
            reader: world.client().await?,
            own: world.of("session").await?,
            watcher: world.of("session").await?,
            eventual: world.of("eventual").await?,
            fixed: world.client().await?,
        };
        tasks.spawn(async move {
            if let Err(error) = one(client, clients, &primary, connections, &found).await {
                found.wrong(format!("client {client}: {error}"));
            }
        });
    }
    let faults = faults(world, Duration::from_secs(seconds)).await;
    found.over.store(true, Ordering::Relaxed);
    while tasks.join_next().await.is_some() {}
    faults?;
    idle.query("ROLLBACK").await?;
    report(&found, clients, seconds)
}

/// A client's connections: what is written on one is read on another.
struct Connections {
    writer: Client,
    reader: Client,
    own: Client,
    watcher: Client,
    eventual: Client,
    fixed: Client,
}

async fn one(client: u64, clients: u64, primary: &str, mut on: Connections, found: &Found) -> Outcome {
    let row = client % 100;
    let own = 100 + row;
    let (mut seen, mut watched) = (0, BTreeMap::<u64, i64>::new());
    let mut turn = 0;
    while !found.is_over() {
        turn += 1;
        let written: i64 = on
            .writer
            .value(&format!("UPDATE t SET v = v + 1 WHERE id = {row} RETURNING v"))
            .await?
            .parse()?;
        found.writes.fetch_add(1, Ordering::Relaxed);
        let read = format!("SELECT v, inet_server_port() FROM t WHERE id = {row}");
        let value = read_one(&mut on.reader, &read, "written", primary, found).await?;
        if value < written || value < seen {
            found.wrong(format!("client {client} read {value} behind {written}, after {seen}"));
        }
        seen = value;
        if read_one(&mut on.eventual, &read, "written, eventual", primary, found).await? < written {
            found.eventual.fetch_add(1, Ordering::Relaxed);
        }
        let written: i64 =
            on.own.value(&format!("UPDATE t SET v = v + 1 WHERE id = {own} RETURNING v")).await?.parse()?;
        let read = format!("SELECT v, inet_server_port() FROM t WHERE id = {own}");
        let value = read_one(&mut on.own, &read, "own, session", primary, found).await?;
        if value < written {
            found.wrong(format!("client {client} read {value} of its own behind {written}"));
        }
        // What others write, it sees in order.
        let other = 100 + (client + turn) % clients + 1;
        let read = format!("SELECT v, inet_server_port() FROM t WHERE id = {other}");
        let value = read_one(&mut on.watcher, &read, "others', session", primary, found).await?;
        let before = watched.insert(other, value).unwrap_or(0);
        if value < before {
            found.wrong(format!("client {client} saw {value} after {before}"));
        }
        let read = "SELECT count(*), inet_server_port() FROM fixed";
        read_one(&mut on.fixed, read, "never written", primary, found).await?;
    }
    Ok(())
}

async fn read_one(
    client: &mut Client,
    sql: &str,
    table: &'static str,
    primary: &str,
    found: &Found,
) -> Result<i64, Box<dyn Error>> {
    // A replica that goes down takes what it is at with it: that is told, and read again.
    for _ in 0..20 {
        let began = Instant::now();
        let frames = client.query(sql).await?;
        match testkit::first_error(&frames) {
            None => {
                let row = testkit::rows(&frames).pop().ok_or("no row")?;
                let at = |column: usize| row.get(column).cloned().flatten().unwrap_or_default();
                found.read(table, at(1) != primary, began.elapsed());
                return Ok(at(0).parse()?);
            }
            Some(error) if error.code.starts_with("57P") || error.code.starts_with("08") => {}
            Some(error) => return Err(format!("{sql}: {error:?}").into()),
        }
    }
    Err(format!("{sql}: no answer").into())
}

/// Each fault once in the time that there is.
async fn faults(world: &World, time: Duration) -> Outcome {
    let [a, b] = world.replicas();
    let step = time / 9;
    let replay =
        |node, what: &str| world.cluster.psql(node, "app", &format!("SELECT pg_wal_replay_{what}()"));
    let pause = || tokio::time::sleep(step);
    pause().await;
    replay(a, "pause")?;
    pause().await;
    replay(b, "pause")?;
    pause().await;
    replay(a, "resume")?;
    replay(b, "resume")?;
    pause().await;
    world.cluster.configure(a, "recovery_min_apply_delay", "300ms")?;
    pause().await;
    world.cluster.configure(a, "recovery_min_apply_delay", "0")?;
    replay(b, "pause")?;
    pause().await;
    world.cluster.stop(a, Mode::Fast)?;
    pause().await;
    world.cluster.start(a)?;
    pause().await;
    replay(b, "resume")?;
    pause().await;
    Ok(())
}

#[allow(clippy::print_stdout, reason = "figures for who looks at them")]
fn report(found: &Found, clients: u64, seconds: u64) -> Outcome {
    let writes = found.writes.load(Ordering::Relaxed);
    println!("{clients} clients in {seconds} s: {writes} writes by one connection and read on another");
    let reads = locked(&found.reads);
    let longest = locked(&found.longest);
    for (table, (replica, all)) in &*reads {
        let (share, longest) = (100 * replica / all, longest.get(table).copied().unwrap_or_default());
        println!("  {table}: {all} reads, {share}% of them by replicas, the longest took {longest:?}");
    }
    let eventual = found.eventual.load(Ordering::Relaxed);
    println!("  stale reads of who may have them: {eventual}");
    let wrong = locked(&found.wrong);
    ensure(wrong.is_empty(), || format!("{} wrong: {:?}", wrong.len(), &wrong[..wrong.len().min(10)]))?;
    ensure(eventual > 0, || "nothing was stale for anyone: the faults had no effect".into())?;
    let (replica, all) = reads.get("never written").copied().unwrap_or_default();
    // Who has seen more than the one replica that is left, while the other is down, reads from the primary.
    ensure(replica * 10 >= all * 7, || format!("only {replica} of {all} reads of what was never written"))
}
