//! Pools: their bounds, who is served when, and what their settings do.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgweir_tests::Cases;
use pgweir_tests::world::{World, crowd, soon, until_waiting};
use testkit::{Client, Pgweir};
use tokio::sync::{Barrier, mpsc};
use tokio::task::JoinHandle;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_are_bounded_fair_and_kept_as_configured() {
    let world = World::start();
    let mut cases = Cases::new();
    cases.run("never more connections than pool.size", bounded_by_size(&world)).await;
    cases.run("never more connections than the node's budget", bounded_by_budget(&world)).await;
    cases.run("a small budget serves two users", small_budget(&world)).await;
    cases.run("a busy user doesn't starve another", no_starvation_by_another_pool(&world)).await;
    cases.run("more pools than connections take turns", more_pools_than_budget(&world)).await;
    cases.run("a pool of one is shared, first in, first out", pool_of_one(&world)).await;
    cases.run("a core borrows what another has idle", lending(&world)).await;
    cases.run("over cores too it is first come, first served", order_over_cores(&world)).await;
    cases.run("under load nobody starves", no_starvation(&world)).await;
    cases.run("min_pool_size", minimum(&world)).await;
    cases.run("server_idle_timeout", idle_timeout(&world)).await;
    cases.run("server_lifetime", lifetime(&world)).await;
    cases.run("server_round_robin", in_turn(&world)).await;
    cases.run("reserve_pool_size", reserve(&world)).await;
    cases.run("query_wait_timeout names pool and holders", full(&world)).await;
    cases.run("a client that leaves the queue leaves nothing", leaving_the_queue(&world)).await;
    cases.finish();
}

/// Reads and writes, in transactions and without.
async fn work(client: &mut Client, rounds: usize) {
    for round in 0..rounds {
        if round % 10 == 0 {
            for sql in ["begin", "insert into t values (1)", "rollback"] {
                client.rows(sql).await.unwrap();
            }
        }
        assert_eq!(client.value(&format!("select {round}")).await.unwrap(), round.to_string());
    }
}

/// Has all of them work, beginning at the same time.
fn at_once(clients: Vec<Client>, rounds: usize) -> Vec<JoinHandle<()>> {
    let barrier = Arc::new(Barrier::new(clients.len()));
    let begin = |mut client: Client| {
        let barrier = Arc::clone(&barrier);
        tokio::spawn(async move {
            barrier.wait().await;
            work(&mut client, rounds).await;
        })
    };
    clients.into_iter().map(begin).collect()
}

async fn bounded_by_size(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(5).set("instance.workers", "4")).await;
    let clients = crowd(&pgweir, "app", 50).await;
    let most = world.direct().await.most_while(at_once(clients, 60)).await;
    assert_eq!(most, 5);
}

async fn bounded_by_budget(world: &World) {
    let setup = world.setup().set("clusters.pg.server_connections", "4").set("instance.workers", "4");
    let pgweir = world.pgweir(setup).await;
    let mut clients = crowd(&pgweir, "app", 25).await;
    clients.extend(crowd(&pgweir, "other", 25).await);
    let most = world.direct().await.most_while(at_once(clients, 40)).await;
    assert_eq!(most, 4);
}

async fn small_budget(world: &World) {
    let pgweir = world.pgweir(world.setup().set("clusters.pg.server_connections", "2")).await;
    let mut clients = crowd(&pgweir, "app", 5).await;
    clients.extend(crowd(&pgweir, "other", 5).await);
    let most = world.direct().await.most_while(at_once(clients, 40)).await;
    assert!(most <= 2, "{most} connections");
    // One user's transactions hold all: the other is served when the first of them ends.
    let mut holders = crowd(&pgweir, "app", 2).await;
    for holder in &mut holders {
        holder.rows("begin").await.unwrap();
        holder.rows("select 1").await.unwrap();
    }
    let mut other = pgweir.client("other", "app").connect().await.unwrap();
    let mut console = pgweir.console().await.unwrap();
    let waiting = tokio::spawn(async move { other.value("select 2").await.unwrap() });
    until_waiting(&mut console, 1).await;
    holders[0].rows("commit").await.unwrap();
    assert_eq!(waiting.await.unwrap(), "2");
    assert_eq!(holders[1].value("select 3").await.unwrap(), "3");
}

/// A client of one user makes its way while the other user's clients keep the budget busy.
async fn no_starvation_by_another_pool(world: &World) {
    let pgweir = world.pgweir(world.setup().set("clusters.pg.server_connections", "2")).await;
    let over = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = crowd(&pgweir, "app", 10).await.into_iter().map(|c| until(c, &over)).collect();
    let mut other = pgweir.client("other", "app").connect().await.unwrap();
    work(&mut other, 50).await;
    over.store(true, Ordering::Relaxed);
    for client in busy {
        assert!(client.await.unwrap() > 0);
    }
}

/// Two connections for four pools, all of them busy: none of their clients is turned away.
async fn more_pools_than_budget(world: &World) {
    let setup = world.setup().set("clusters.pg.server_connections", "2");
    let pgweir = world.pgweir(setup.set("pool.query_wait_timeout", "5s")).await;
    let mut clients = Vec::new();
    for (user, database) in [("app", "app"), ("other", "app"), ("app", "second"), ("other", "second")] {
        for _ in 0..2 {
            clients.push(pgweir.client(user, database).connect().await.unwrap());
        }
    }
    let ask = async |mut client: Client| {
        for round in 0..200 {
            assert_eq!(client.value(&format!("select {round}")).await.unwrap(), round.to_string());
        }
    };
    let tasks = clients.into_iter().map(|client| tokio::spawn(ask(client))).collect();
    let mut watch = world.direct().await;
    assert!(watch.most_while(tasks).await <= 2);
}

/// Asks until told otherwise; says how often it was answered.
fn until(mut client: Client, over: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let over = Arc::clone(over);
    tokio::spawn(async move {
        let mut answered = 0;
        while !over.load(Ordering::Relaxed) {
            client.rows("select 1").await.unwrap();
            answered += 1;
        }
        answered
    })
}

async fn pool_of_one(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1).set("instance.workers", "4")).await;
    let clients = crowd(&pgweir, "app", 20).await;
    let most = world.direct().await.most_while(at_once(clients, 20)).await;
    assert_eq!(most, 1);
    in_order(&pgweir, 1).await;
}

async fn order_over_cores(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(8)).await;
    in_order(&pgweir, 8).await;
}

/// With all `size` connections held, clients queue one after the other, and are served in that order as one holder
/// after the other lets go.
async fn in_order(pgweir: &Pgweir, size: usize) {
    let mut console = pgweir.console().await.unwrap();
    let mut holders = crowd(pgweir, "app", size).await;
    for holder in &mut holders {
        holder.rows("begin").await.unwrap();
        holder.rows("select 1").await.unwrap();
    }
    let (served, mut order) = mpsc::unbounded_channel();
    for (number, mut waiter) in crowd(pgweir, "app", size.max(6)).await.into_iter().enumerate() {
        let served = served.clone();
        tokio::spawn(async move {
            waiter.rows("begin").await.unwrap();
            waiter.rows("select 1").await.unwrap();
            served.send((number, waiter)).unwrap();
        });
        until_waiting(&mut console, number + 1).await;
        // Over cores the order is kept to a few milliseconds only: these came clearly after each other.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut held = Vec::from_iter(holders.drain(..1));
    for expected in 0..size.max(6) {
        held.remove(0).rows("commit").await.unwrap();
        let (number, waiter) = order.recv().await.unwrap();
        assert_eq!(number, expected, "served out of order");
        held.push(waiter);
    }
}

/// A pool whose connections are all on one core, used from the other: lent, not opened again.
async fn lending(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(5)).await;
    let mut here = Vec::new();
    let mut there = Vec::new();
    // Placed on the two home cores in turn.
    for (number, client) in crowd(&pgweir, "app", 10).await.into_iter().enumerate() {
        if number % 2 == 0 { here.push(client) } else { there.push(client) }
    }
    let mut watch = world.direct().await;
    hold_all(&mut here).await;
    let before = watch.backends().await;
    assert_eq!(before.len(), 5);
    for round in 0..3 {
        hold_all(&mut there).await;
        hold_all(&mut here).await;
        assert_eq!(watch.backends().await, before, "round {round}: connections were opened again");
    }
}

/// All of them have a transaction open at the same time, then none.
async fn hold_all(clients: &mut [Client]) {
    for client in &mut *clients {
        client.rows("begin").await.unwrap();
        client.rows("select 1").await.unwrap();
    }
    for client in clients {
        client.rows("commit").await.unwrap();
    }
}

/// Clients that ask as fast as they can get about the same, on whichever core they are.
async fn no_starvation(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(5)).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = crowd(&pgweir, "app", 25).await;
    let mut pace = clients.pop().unwrap();
    let busy: Vec<_> = clients.into_iter().map(|client| until(client, &over)).collect();
    work(&mut pace, 200).await;
    over.store(true, Ordering::Relaxed);
    let mut answered = Vec::new();
    for client in busy {
        answered.push(client.await.unwrap());
    }
    let (least, most) = (answered.iter().min().unwrap(), answered.iter().max().unwrap());
    assert!(*least * 4 > *most, "one was answered {least} times, another {most} times: {answered:?}");
}

async fn minimum(world: &World) {
    let setup = world.setup().pool_size(5).set("pool.min_pool_size", "3");
    let setup = setup.set("pool.server_idle_timeout", "300ms");
    let pgweir = world.pgweir(setup).await;
    let mut watch = world.direct().await;
    let mut clients = crowd(&pgweir, "app", 5).await;
    soon("the minimum is there", async || watch.count().await == 3).await;
    hold_all(&mut clients).await;
    soon("no more than the minimum is kept", async || watch.count().await == 3).await;
    let before = watch.backends().await;
    watch.value(&format!("select pg_terminate_backend({})", before[0])).await;
    soon("the minimum is there again", async || {
        let now = watch.backends().await;
        now.len() == 3 && !now.contains(&before[0])
    })
    .await;
}

async fn idle_timeout(world: &World) {
    let setup = world.setup().pool_size(5).set("pool.server_idle_timeout", "300ms");
    let pgweir = world.pgweir(setup).await;
    let mut watch = world.direct().await;
    let mut clients = crowd(&pgweir, "app", 5).await;
    hold_all(&mut clients).await;
    assert_eq!(watch.count().await, 5);
    soon("idle connections are closed", async || watch.count().await == 0).await;
    work(&mut clients[0], 3).await;
}

async fn in_turn(world: &World) {
    let setup =
        world.setup().pool_size(3).set("pool.server_round_robin", "true").set("instance.workers", "1");
    let pgweir = world.pgweir(setup).await;
    let mut clients = crowd(&pgweir, "app", 3).await;
    for sql in ["begin", "select 1", "commit"] {
        for client in &mut clients {
            client.rows(sql).await.unwrap(); // so all three are open
        }
    }
    let mut ran_on = Vec::new();
    for _ in 0..6 {
        ran_on.push(clients[0].value("select pg_backend_pid()").await.unwrap());
    }
    assert_eq!(ran_on[..3], ran_on[3..]);
    assert!(ran_on[0] != ran_on[1] && ran_on[1] != ran_on[2] && ran_on[0] != ran_on[2], "{ran_on:?}");
}

async fn lifetime(world: &World) {
    let setup = world.setup().pool_size(2).set("pool.server_lifetime", "500ms");
    let pgweir = world.pgweir(setup).await;
    let mut watch = world.direct().await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    let first = client.value("select pg_backend_pid()").await.unwrap();
    // Never idle for long: it is replaced all the same, and nobody notices.
    soon("another connection serves", async || {
        client.value("select pg_backend_pid()").await.unwrap() != first
    })
    .await;
    soon("the old one is gone", async || !watch.backends().await.contains(&first)).await;
    // In a transaction it lives on.
    client.rows("begin").await.unwrap();
    let second = client.value("select pg_backend_pid()").await.unwrap();
    let aged = "select clock_timestamp() - backend_start > '1s' from pg_stat_activity where pid = ";
    soon("older than its lifetime", async || watch.value(&format!("{aged}{second}")).await == "t").await;
    assert_eq!(client.value("select pg_backend_pid()").await.unwrap(), second);
    client.rows("commit").await.unwrap();
    soon("closed once it is free", async || !watch.backends().await.contains(&second)).await;
}

async fn reserve(world: &World) {
    let setup = world.setup().pool_size(1).set("pool.reserve_pool_size", "1");
    let setup = setup.set("pool.reserve_pool_timeout", "200ms").set("pool.query_wait_timeout", "1s");
    let pgweir = world.pgweir(setup).await;
    let mut watch = world.direct().await;
    let mut clients = crowd(&pgweir, "app", 3).await;
    for client in &mut clients[..2] {
        client.rows("begin").await.unwrap();
        client.rows("select 1").await.unwrap();
    }
    assert_eq!(watch.count().await, 2);
    let error = clients[2].rows("select 1").await.unwrap_err().to_string();
    assert!(error.contains("53300"), "{error}");
    assert_eq!(watch.count().await, 2);
}

async fn full(world: &World) {
    let setup = world.setup().pool_size(2).set("pool.query_wait_timeout", "300ms");
    let pgweir = world.pgweir(setup).await;
    let named = |name: &str| pgweir.client("app", "app").parameter("application_name", name).connect();
    let mut idle = named("sidekiq").await.unwrap();
    idle.rows("begin").await.unwrap();
    idle.rows("select 1").await.unwrap();
    let mut active = named("report").await.unwrap();
    let active =
        tokio::spawn(async move { active.rows("select pg_sleep(600)").await.unwrap_err().to_string() });
    let mut watch = world.direct().await;
    soon("the report runs", async || watch.busy().await.iter().any(|q| q.contains("pg_sleep"))).await;

    let mut client = named("web").await.unwrap();
    let frames = client.query("select 1").await.unwrap();
    let error = testkit::first_error(&frames).unwrap();
    assert_eq!((error.severity.as_str(), error.code.as_str()), ("ERROR", "53300"));
    assert!(error.message.contains("pool app/app on pg-1"), "{error:?}");
    assert!(error.message.contains("(2 of 2)"), "{error:?}");
    let detail = error.detail.unwrap();
    assert!(detail.contains("1 of 2 held idle in transaction by \"sidekiq\""), "{detail}");
    assert!(detail.contains("1 of 2 held active by \"report\""), "{detail}");
    assert!(error.hint.is_some());
    // In a transaction it has failed, as any statement of it would have.
    client.rows("begin").await.unwrap();
    assert!(client.rows("select 1").await.unwrap_err().to_string().contains("53300"));
    assert!(client.rows("select 1").await.unwrap_err().to_string().contains("25P02"));
    client.rows("rollback").await.unwrap();
    idle.rows("commit").await.unwrap();
    assert_eq!(client.value("select 2").await.unwrap(), "2");
    let cancel = "select pg_cancel_backend(pid) from pg_stat_activity where query like '%pg_sleep(600)' and usename = 'app'";
    assert_eq!(watch.value(cancel).await, "t");
    let ended = active.await.unwrap();
    assert!(ended.contains("57014"), "{ended}");
}

async fn leaving_the_queue(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let mut console = pgweir.console().await.unwrap();
    let mut holder = pgweir.client("app", "app").connect().await.unwrap();
    holder.rows("begin").await.unwrap();
    let pid = holder.value("select pg_backend_pid()").await.unwrap();
    let mut clients = crowd(&pgweir, "app", 3).await;
    let mut last = clients.pop().unwrap();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(testkit::Script::new().query("insert into t values (77)").bytes()).await.unwrap();
        until_waiting(&mut console, number + 1).await;
    }
    let [reset, closed] = clients.try_into().unwrap();
    reset.reset();
    until_waiting(&mut console, 1).await;
    drop(closed);
    until_waiting(&mut console, 0).await;
    holder.rows("commit").await.unwrap();
    assert_eq!(last.value("select pg_backend_pid()").await.unwrap(), pid);
    assert_eq!(last.value("select count(*) from t where n = 77").await.unwrap(), "0");
}
