//! SIGHUP: all of a valid file, or none of it, while clients work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pgweir_tests::Cases;
use pgweir_tests::world::{World, crowd, soon};
use testkit::{Client, Pgweir, Setup, first_error};

/// In the log once a reload is done.
const DONE: &str = "configuration reloaded";
/// In the log once it was refused.
const REFUSED: &str = "was not reloaded";

pub(crate) async fn run(world: &World, cases: &mut Cases) {
    cases.run("a pool grows and shrinks under load", pool_size(world)).await;
    cases.run("a broken file changes nothing", broken_files(world)).await;
    cases.run("what only a restart can change", needs_restart(world)).await;
    cases.run("a database that is removed", removed_database(world)).await;
    cases.run("a password that is changed", changed_password(world)).await;
    cases.run("a node that moves", moved_node(world)).await;
    cases.run("a setting that clients hold across it", kept_sessions(world)).await;
}

/// Replaces the file and waits until this is in the log once more.
async fn reload(pgweir: &mut Pgweir, setup: &Setup, expected: &str) {
    reload_text(pgweir, &setup.to_yaml(), expected).await;
}

async fn reload_text(pgweir: &mut Pgweir, yaml: &str, expected: &str) {
    let before = pgweir.log().matches(expected).count();
    pgweir.rewrite(yaml).unwrap();
    pgweir.reload();
    soon(expected, async || pgweir.log().matches(expected).count() > before).await;
}

/// All of them have a transaction open at the same time.
async fn hold(clients: &mut [Client]) {
    for client in clients {
        client.rows("begin").await.unwrap();
        client.rows("select 1").await.unwrap();
    }
}

async fn pool_size(world: &World) {
    let setup = world.setup();
    let mut pgweir = world.pgweir(setup.clone().pool_size(2)).await;
    let over = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = crowd(&pgweir, "app", 10).await;
    let busy = busy.into_iter().map(|mut client| {
        let over = Arc::clone(&over);
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                for sql in ["begin", "insert into t values (61)", "rollback", "select 1"] {
                    client.rows(sql).await.unwrap();
                }
            }
            client
        })
    });
    let busy: Vec<_> = busy.collect();
    let mut watch = world.direct().await;
    for size in [6, 1, 4, 2, 5] {
        reload(&mut pgweir, &setup.clone().pool_size(size), DONE).await;
        // Those of the old pool end with their transactions, new ones take their place: it settles.
        let mut steady = 0;
        soon(&format!("{size} connections"), async || {
            steady = if watch.count().await == size { steady + 1 } else { 0 };
            steady == 20
        })
        .await;
    }
    over.store(true, Ordering::Relaxed);
    let mut clients = Vec::new();
    for client in busy {
        clients.push(client.await.unwrap());
    }
    // Transactions that were open stay where they are; the rest is closed.
    hold(&mut clients[..5]).await;
    reload(&mut pgweir, &setup.clone().pool_size(1), DONE).await;
    for client in &mut clients[..5] {
        assert_eq!(client.value("select 2").await.unwrap(), "2");
        client.rows("commit").await.unwrap();
    }
    assert_eq!(clients[7].value("select 3").await.unwrap(), "3");
    soon("one connection is left", async || watch.count().await == 1).await;
}

async fn broken_files(world: &World) {
    let setup = world.setup().pool_size(2);
    let yaml = setup.to_yaml();
    let mut pgweir = world.pgweir(setup.clone()).await;
    let mut clients = crowd(&pgweir, "app", 3).await;
    hold(&mut clients[..2]).await;
    let pid = clients[0].value("select pg_backend_pid()").await.unwrap();
    for (broken, expected) in [
        (setup.clone().set("pool.sise", "3").to_yaml(), "sise"),
        (setup.clone().set("pool.size", "many").to_yaml(), "size"),
        (setup.clone().set("databases.app.cluster", "nowhere").to_yaml(), "nowhere"),
        (format!("{yaml}\npool: {{size: 3}}\n"), "pool"),
        ("a: [".to_owned(), ""),
        (String::new(), ""),
    ] {
        reload_text(&mut pgweir, &broken, REFUSED).await;
        let log = pgweir.log();
        let said = log.rsplit(REFUSED).next().unwrap_or_default();
        assert!(said.contains("pgweir.yaml:") && said.contains(expected), "{said}");
        for client in &mut clients[..2] {
            assert_eq!(client.value("select 2").await.unwrap(), "2");
        }
    }
    clients[0].rows("commit").await.unwrap();
    assert_eq!(clients[2].value("select pg_backend_pid()").await.unwrap(), pid, "the pool was replaced");
    reload(&mut pgweir, &setup, DONE).await;
    assert_eq!(clients[2].value("select pg_backend_pid()").await.unwrap(), pid, "the same file replaced it");
}

async fn needs_restart(world: &World) {
    let setup = world.setup();
    let mut pgweir = world.pgweir(setup.clone()).await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    reload(&mut pgweir, &setup.set("instance.workers", "3"), REFUSED).await;
    assert!(pgweir.log().contains("instance.workers"), "{}", pgweir.log());
    assert_eq!(client.value("select 1").await.unwrap(), "1");
}

async fn removed_database(world: &World) {
    let setup = world.setup();
    let with = setup.clone().set("databases.extra", "{cluster: pg, dbname: second}");
    let mut pgweir = world.pgweir(with).await;
    let mut idle = pgweir.client("app", "extra").connect().await.unwrap();
    let mut open = pgweir.client("app", "extra").connect().await.unwrap();
    let mut other = pgweir.client("app", "app").connect().await.unwrap();
    open.rows("begin").await.unwrap();
    open.rows("select 1").await.unwrap();
    reload(&mut pgweir, &setup, DONE).await;
    // A transaction may end; after that, and to who begins a new one, it is said.
    assert_eq!(open.value("select 2").await.unwrap(), "2");
    open.rows("commit").await.unwrap();
    for client in [&mut idle, &mut open] {
        let _ = client.send(testkit::Script::new().query("select 3").bytes()).await;
        let frames = client.read_until_closed().await.unwrap();
        let error = first_error(&frames).unwrap();
        assert!(error.severity == "FATAL" && error.message.contains("extra"), "{error:?}");
    }
    let refused = pgweir.client("app", "extra").connect().await.unwrap_err();
    assert!(refused.to_string().contains("3D000"), "{refused}");
    assert_eq!(other.value("select 4").await.unwrap(), "4");
    let mut watch = world.direct().await;
    soon("its connections are closed", async || {
        watch.value("select count(*) from pg_stat_activity where datname = 'second'").await == "0"
    })
    .await;
}

async fn changed_password(world: &World) {
    let setup = world.setup();
    let mut pgweir = world.pgweir(setup.clone()).await;
    let mut there = pgweir.client("app", "app").connect().await.unwrap();
    // Both are valid for a while, then only the new one. On the server it is still the old one.
    let server = setup
        .clone()
        .set("users.app", "{passwords: [new-secret, app-secret], server: {password: app-secret}}");
    reload(&mut pgweir, &server, DONE).await;
    let with =
        |password: &str| testkit::Client::to(pgweir.addr()).user("app", password).database("app").connect();
    assert!(with("app-secret").await.is_ok());
    assert!(with("new-secret").await.is_ok());
    let only = setup.clone().set("users.app", "{password: new-secret, server: {password: app-secret}}");
    reload(&mut pgweir, &only, DONE).await;
    let with =
        |password: &str| testkit::Client::to(pgweir.addr()).user("app", password).database("app").connect();
    assert!(with("app-secret").await.unwrap_err().to_string().contains("28P01"));
    assert_eq!(with("new-secret").await.unwrap().value("select 1").await.unwrap(), "1");
    assert_eq!(there.value("select 2").await.unwrap(), "2");
}

/// The same server under another port: new transactions go there, open ones end where they are.
async fn moved_node(world: &World) {
    let setup = world.setup().pool_size(2);
    let proxy = testkit::FaultProxy::of(world.cluster.primary()).await.unwrap();
    let moved = setup.clone().node("pg", world.cluster.primary().name(), proxy.port());
    let mut pgweir = world.pgweir(setup).await;
    let mut clients = crowd(&pgweir, "app", 2).await;
    hold(&mut clients[..1]).await;
    clients[1].rows("select 1").await.unwrap();
    reload(&mut pgweir, &moved, DONE).await;
    assert_eq!(clients[0].value("select 2").await.unwrap(), "2");
    clients[0].rows("commit").await.unwrap();
    for client in &mut clients {
        let before = proxy.bytes(testkit::Direction::ToServer);
        assert_eq!(client.value("select 3").await.unwrap(), "3");
        assert!(proxy.bytes(testkit::Direction::ToServer) > before, "it went to the old address");
    }
}

/// Settings, prepared statements and pins outlive a reload.
async fn kept_sessions(world: &World) {
    let setup = world.setup();
    let mut pgweir = world.pgweir(setup.clone().pool_size(4).set("pool.pinned", "1")).await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    let mut pinned = pgweir.client("app", "app").connect().await.unwrap();
    client.rows("set work_mem = '7MB'").await.unwrap();
    client.run(&testkit::Script::new().parse("s", "select 'kept'", &[]).sync()).await.unwrap();
    pinned.rows("create temp table mine as select 5 as n").await.unwrap();
    reload(&mut pgweir, &setup.pool_size(3).set("pool.pinned", "1"), DONE).await;
    assert_eq!(client.value("show work_mem").await.unwrap(), "7MB");
    let frames = client.run(&testkit::Script::new().bind("", "s", &[]).execute("", 0).sync()).await.unwrap();
    assert_eq!(testkit::rows(&frames), vec![vec![Some("kept".to_owned())]], "{frames:?}");
    assert_eq!(pinned.value("select n from mine").await.unwrap(), "5");
}
