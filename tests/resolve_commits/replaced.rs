//! The primary ends, and is started again or replaced.

use pgweir_tests::Cases;
use pgweir_tests::world::{names, soon};
use testkit::{Client, Cut, Direction, Pgweir};
use tokio::task::block_in_place;

use crate::world::{Told, World, commit, committed, error, goes_on, told};

pub(crate) async fn run(world: &World, cases: &mut Cases) {
    cases.run("a replica that has the commit is promoted", has_it(world)).await;
    cases.run("a replica that lacks the commit is promoted", lacks_it(world)).await;
    cases.run("and the id is another's there", given_anew(world)).await;
    cases.run("it crashes before the commit", crashes(world, false)).await;
    cases.run("it crashes behind the commit", crashes(world, true)).await;
}

/// A COMMIT of this number is under way: its client, and what it waits for.
async fn begin(world: &World, pgweir: &Pgweir, n: i32) -> (Client, Client) {
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    client.rows("begin").await.unwrap();
    client.rows(&format!("insert into slow values ({n})")).await.unwrap();
    let holder = world.hold_commits().await;
    client.send(commit(false).bytes()).await.unwrap();
    world.until_it_waits().await;
    (client, holder)
}

/// It is done on the primary, and no answer comes from there any more.
async fn lose_the_answer(world: &World, holder: Client, n: i32) {
    world.proxy().swallow(Direction::ToClient, true);
    drop(holder);
    soon("it is committed", async || world.count("slow", n) == "1").await;
}

/// The primary is killed, and known to be.
async fn kill(world: &World, pgweir: &Pgweir) -> usize {
    let old = world.primary();
    block_in_place(|| world.cluster.kill(old).unwrap());
    world.proxy().swallow(Direction::ToClient, false);
    world.proxy().cut_all(Cut::Reset);
    let name = world.cluster.node(old).unwrap().name();
    let mut console = pgweir.console().await.unwrap();
    let down = async || {
        let frames = console.query("SHOW NODES").await.unwrap();
        let columns = names(&frames);
        let at = |column: &str| columns.iter().position(|name| name == column).unwrap();
        let rows = testkit::rows(&frames);
        rows.iter().any(|row| {
            row[at("node")].as_deref() == Some(name) && row[at("state")].as_deref() == Some("down")
        })
    };
    soon("the primary is known to be down", down).await;
    old
}

fn another(world: &World) -> usize {
    world.cluster.replica(0).index()
}

async fn ends(mut client: Client, expected: Told) {
    let frames = client.read_until_ready().await.unwrap();
    assert_eq!(told(&frames), expected, "{frames:?}");
    goes_on(&mut client).await;
}

fn rejoin(world: &World, old: usize) {
    block_in_place(|| {
        world.cluster.rebuild(old, world.primary()).unwrap();
        world.cluster.wait_all_caught_up().unwrap();
    });
}

/// With synchronous replication a commit that is done is there: its client sees nothing of all that.
async fn has_it(world: &World) {
    let pgweir = world.pgweir(true).await;
    world.cluster.configure(world.primary(), "synchronous_standby_names", "ANY 1 (*)").unwrap();
    let (client, holder) = begin(world, &pgweir, 1).await;
    lose_the_answer(world, holder, 1).await;
    let new = another(world);
    let there = "select count(*) from slow where n = 1";
    soon("the replica has replayed it", async || world.psql(new, there) == "1").await;
    let old = kill(world, &pgweir).await;
    block_in_place(|| world.cluster.promote(new).unwrap());
    ends(client, committed(false)).await;
    assert_eq!(world.count("slow", 1), "1");
    world.cluster.configure(old, "synchronous_standby_names", "").unwrap();
    rejoin(world, old);
}

/// The primary's replica gets nothing any more.
async fn cut_off(world: &World) {
    world.cluster.configure(another(world), "primary_conninfo", "").unwrap();
    let left = "select count(*) from pg_stat_replication";
    soon("the replica is cut off", async || world.psql(world.primary(), left) == "0").await;
}

/// What is lost with the old primary was never committed for its successor.
async fn lacks_it(world: &World) {
    let pgweir = world.pgweir(true).await;
    let (client, holder) = begin(world, &pgweir, 2).await;
    cut_off(world).await;
    lose_the_answer(world, holder, 2).await;
    let new = another(world);
    let old = kill(world, &pgweir).await;
    block_in_place(|| world.cluster.promote(new).unwrap());
    // What it says of the id depends on whether it has seen the transaction begin.
    ends(client, error("40001")).await;
    assert_eq!(world.count("slow", 2), "0");
    rejoin(world, old);
}

/// The successor has never heard of the transaction, and has committed another one under its id before it is asked.
async fn given_anew(world: &World) {
    let pgweir = world.pgweir(true).await;
    cut_off(world).await;
    let (client, holder) = begin(world, &pgweir, 3).await;
    lose_the_answer(world, holder, 3).await;
    let id: u64 = world.psql(world.primary(), "select xmin from slow where n = 3").parse().unwrap();
    let (old, new) = (world.primary(), another(world));
    kill(world, &pgweir).await;
    // It was seen as a replica; from here on it isn't seen.
    world.proxies[new].refuse(true);
    world.proxies[new].cut_all(Cut::Reset);
    block_in_place(|| world.cluster.promote(new).unwrap());
    let mut other = world.direct(new).await;
    let mut given = 0;
    while given < id {
        given = other.value("select pg_current_xact_id()").await.unwrap().parse().unwrap();
    }
    let status = format!("select pg_xact_status('{id}')");
    assert_eq!(other.value(&status).await.unwrap(), "committed");
    world.proxies[new].refuse(false);
    ends(client, error("08007")).await;
    assert_eq!(world.count("slow", 3), "0");
    rejoin(world, old);
}

/// What was under way when a server crashed was rolled back. What it has committed before it crashed is there, but that
/// it is the same transaction can't be proved.
async fn crashes(world: &World, behind: bool) {
    let pgweir = world.pgweir(true).await;
    let n = 4 + i32::from(behind);
    let (client, holder) = begin(world, &pgweir, n).await;
    if behind {
        lose_the_answer(world, holder, n).await;
    }
    let old = kill(world, &pgweir).await;
    block_in_place(|| world.cluster.start(old).unwrap());
    ends(client, error(if behind { "08007" } else { "40001" })).await;
    assert_eq!(world.count("slow", n), if behind { "1" } else { "0" });
}
