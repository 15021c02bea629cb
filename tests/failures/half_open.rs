//! Connections whose other end vanishes without a word: nothing comes any more, and nothing is closed.

use pgweir_tests::Cases;
use pgweir_tests::world::{World, crowd, pools, soon};
use testkit::{Client, Cut, FaultProxy, Pgweir, Script, Setup, first_error};

pub(crate) async fn run(world: &World, cases: &mut Cases) {
    cases.run("a server, with all kinds of work under way", server(world)).await;
    let asleep = || Script::new().query("select pg_sleep(1000)");
    let copying = || Script::new().query("copy t from stdin");
    for (state, script) in [
        ("idle in a transaction", None),
        ("with a query under way", Some(asleep())),
        ("with a pipeline under way", Some(Script::new().run("select pg_sleep(1000)", &[]).flush())),
        ("in COPY", Some(copying())),
    ] {
        cases.run(&format!("a client, {state}"), client(world, script)).await;
    }
    cases.run("a client that was being sent much", being_sent_much(world)).await;
    cases.run("a client that doesn't read for a while", slow(world)).await;
}

/// `health` finds it; each client is told what is known, and who wasn't at work sees nothing.
async fn server(world: &World) {
    let proxy = FaultProxy::of(world.cluster.primary()).await.unwrap();
    let setup = world
        .setup()
        .pool_size(6)
        .set("health", "{interval: 200ms, timeout: 300ms, failures: 2}")
        .set("failover.wait", "30s")
        .node("pg", world.cluster.primary().name(), proxy.port());
    let pgweir = world.pgweir(setup).await;
    let mut watch = world.direct().await;
    watch.rows("truncate t").await;
    let mut clients = crowd(&pgweir, "app", 7).await;
    // All connections of the pool are there.
    for sql in ["begin", "select 1", "commit"] {
        for client in &mut clients[..6] {
            client.rows(sql).await.unwrap();
        }
    }
    let mut clients = clients.into_iter();
    let mut next = || clients.next().unwrap();
    let (mut idle, mut begun, mut open) = (next(), next(), next());
    let (mut reading, mut writing, mut committing, mut tied) = (next(), next(), next(), next());
    idle.rows("set work_mem = '7MB'").await.unwrap();
    begun.rows("begin").await.unwrap();
    for client in [&mut open, &mut committing] {
        client.rows("begin").await.unwrap();
        client.rows("insert into t values (1)").await.unwrap();
    }
    tied.rows("create temp table mine (n int)").await.unwrap();

    proxy.blackhole(true);
    let under_way = [
        (&mut reading, "select 'read'"),
        (&mut writing, "insert into t values (2)"),
        (&mut committing, "commit"),
    ];
    for (client, sql) in under_way {
        client.send(Script::new().query(sql).bytes()).await.unwrap();
    }
    for client in [&mut writing, &mut committing] {
        let frames = client.read_until_ready().await.unwrap();
        assert_eq!(first_error(&frames).unwrap().code, "08007", "{frames:?}");
        assert_eq!(frames.last().unwrap().status(), Some('I'), "{frames:?}");
    }
    let frames = open.query("commit").await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "40001", "{frames:?}");
    let frames = tied.read_until_closed().await.unwrap();
    assert!(first_error(&frames).is_some(), "{frames:?}");
    let mut console = pgweir.console().await.unwrap();
    assert_eq!(pools(&mut console, "sv_active").await, 0, "nothing leaks");

    // The way is there again; what was open on it has been forgotten by one side.
    begun.send(Script::new().query("insert into t values (3)").bytes()).await.unwrap();
    proxy.blackhole(false);
    proxy.cut_all(Cut::Reset);
    assert_eq!(testkit::rows(&reading.read_until_ready().await.unwrap()), [[Some("read".to_owned())]]);
    let frames = begun.read_until_ready().await.unwrap();
    assert!(first_error(&frames).is_none(), "{frames:?}");
    begun.rows("commit").await.unwrap();
    assert_eq!(idle.value("show work_mem").await.unwrap(), "7MB");
    for client in [&mut idle, &mut begun, &mut open, &mut reading, &mut writing, &mut committing] {
        assert_eq!(client.value("select count(*) from t where n = 3").await.unwrap(), "1");
    }
    assert_eq!(watch.value("select count(*) from t where n <> 3").await, "0", "nothing of it had arrived");
    assert!(watch.count().await <= 6);
}

/// pgweir with one server connection, which looks after its clients.
async fn watchful(world: &World, keepalive: &str) -> Pgweir {
    let setup: Setup = world.setup().pool_size(1).set("pool.query_wait_timeout", "25s");
    world.pgweir(setup.set("listen.tcp_keepalive", keepalive)).await
}

async fn served(next: &mut Client) {
    assert_eq!(next.value("select count(*) from t where n = 99").await.unwrap(), "0");
}

/// What it has begun is rolled back, and its connection is the next client's.
async fn client(world: &World, script: Option<Script>) {
    let pgweir = watchful(world, "{idle: 1s, interval: 1s, count: 2}").await;
    let mut watch = world.direct().await;
    watch.rows("truncate t").await;
    let mut clients = crowd(&pgweir, "app", 2).await.into_iter();
    let (mut leaving, mut next) = (clients.next().unwrap(), clients.next().unwrap());
    leaving.rows("begin").await.unwrap();
    leaving.rows("insert into t values (99)").await.unwrap();
    if let Some(script) = script {
        leaving.send(script.bytes()).await.unwrap();
        let begun =
            async || watch.busy().await.iter().any(|sql| sql.contains("pg_sleep") || sql.contains("copy"));
        soon("it is under way", begun).await;
    }
    leaving.vanish().unwrap();
    served(&mut next).await;
    let busy = async || watch.busy().await.is_empty();
    soon("nothing is left of it", busy).await;
    drop(leaving);
}

/// Keepalive doesn't look while bytes are under way: `user_timeout` does.
async fn being_sent_much(world: &World) {
    let pgweir = watchful(world, "{user_timeout: 1s}").await;
    let mut clients = crowd(&pgweir, "app", 2).await.into_iter();
    let (mut leaving, mut next) = (clients.next().unwrap(), clients.next().unwrap());
    leaving.rows("begin").await.unwrap();
    leaving.rows("insert into t values (99)").await.unwrap();
    let much = "select repeat('x', 1000) from generate_series(1, 10000000)";
    leaving.send(Script::new().query(much).bytes()).await.unwrap();
    leaving.read_until("a row", |frame| frame.tag == b'D').await.unwrap();
    leaving.vanish().unwrap();
    served(&mut next).await;
    drop(leaving);
}

/// It is alive, and is left alone.
async fn slow(world: &World) {
    let pgweir = watchful(world, "{idle: 1s, interval: 1s, count: 1}").await;
    let mut clients = crowd(&pgweir, "app", 2).await.into_iter();
    let (mut slow, mut next) = (clients.next().unwrap(), clients.next().unwrap());
    let much = "select repeat('x', 1000) from generate_series(1, 100000)";
    slow.send(Script::new().query(much).bytes()).await.unwrap();
    slow.read_until("a row", |frame| frame.tag == b'D').await.unwrap();
    // Longer than keepalive would bear with somebody who doesn't answer.
    let waits = tokio::time::timeout(std::time::Duration::from_secs(3), next.value("select 1")).await;
    assert!(waits.is_err(), "its connection was given to another: {waits:?}");
    let frames = slow.read_until_ready().await.unwrap();
    assert!(frames.iter().any(|frame| frame.tag == b'C'), "it was cut off");
    assert_eq!(next.read_until_ready().await.unwrap().last().unwrap().status(), Some('I'));
}
