//! Networks that break between pgweir and its servers.

use std::time::Duration;

use pgweir_tests::Cases;
use pgweir_tests::world::{World, soon};
use testkit::{Client, Cut, Direction, Error, FaultProxy, Pgweir, Script, Setup, Trigger, first_error};

pub(crate) async fn run(world: &World, cases: &mut Cases) {
    for how in [Cut::Reset, Cut::Fin] {
        cases.run(&format!("cut in the middle of a row: {how:?}"), cut_in_a_row(world, how)).await;
        cases.run(&format!("cut before an answer: {how:?}"), cut_before_an_answer(world, how)).await;
        cases.run(&format!("a COMMIT whose reply is lost: {how:?}"), lost_commit(world, how)).await;
        cases.run(&format!("a COMMIT that never arrives: {how:?}"), commit_never_sent(world, how)).await;
        cases.run(&format!("all connections cut while idle: {how:?}"), cut_while_idle(world, how)).await;
    }
    cases.run("a server that falls silent: query_timeout", silent(world)).await;
    cases.run("a server that never answers a login", silent_login(world)).await;
    cases.run("byte by byte", byte_by_byte(world)).await;
}

/// pgweir whose server is behind a fault proxy.
async fn behind(world: &World, setup: Setup) -> (Pgweir, FaultProxy) {
    let proxy = FaultProxy::of(world.cluster.primary()).await.unwrap();
    let setup = setup.node("pg", world.cluster.primary().name(), proxy.port());
    (world.pgweir(setup).await, proxy)
}

async fn two(pgweir: &Pgweir) -> (Client, Client) {
    let one = pgweir.client("app", "app").connect().await.unwrap();
    (one, pgweir.client("app", "app").connect().await.unwrap())
}

/// In the middle of a row nothing can be said any more: that client's connection is closed. Nobody else's is, and the
/// server connection is never used again.
async fn cut_in_a_row(world: &World, how: Cut) {
    let (pgweir, proxy) = behind(world, world.setup().pool_size(1)).await;
    let (mut client, mut other) = two(&pgweir).await;
    let before = client.value("select pg_backend_pid()").await.unwrap();
    proxy.cut_when(Direction::ToClient, Trigger::After(b"marker".to_vec()), how);
    let sql = "select 'whole' union all select 'mar' || 'ker' || repeat('x', 1000000)";
    client.send(Script::new().query(sql).bytes()).await.unwrap();
    let frames = client.read_until_closed().await.unwrap();
    proxy.wait_fired(1).await.unwrap();
    assert!(frames.iter().all(|frame| frame.tag != b'Z' && frame.tag != b'C'), "{frames:?}");
    let after = other.value("select pg_backend_pid()").await.unwrap();
    assert_ne!(after, before);
    assert_eq!(other.value("select 'whole'").await.unwrap(), "whole");
}

async fn cut_before_an_answer(world: &World, how: Cut) {
    let (pgweir, proxy) = behind(world, world.setup().pool_size(1)).await;
    let (mut client, _other) = two(&pgweir).await;
    client.rows("select 1").await.unwrap();
    // Of a read nothing was passed on: it is run again.
    proxy.cut_when(Direction::ToServer, Trigger::Before(b"marker".to_vec()), how);
    assert_eq!(client.value("select 'marker'").await.unwrap(), "marker");
    proxy.wait_fired(1).await.unwrap();
    // A write may be there.
    proxy.cut_when(Direction::ToServer, Trigger::Before(b"marker".to_vec()), how);
    let frames = client.query("insert into t select 54 where 'marker' is null").await.unwrap();
    proxy.wait_fired(2).await.unwrap();
    let error = first_error(&frames).unwrap();
    assert_eq!(error.code, "08007", "{error:?}");
    assert_eq!(client.value("select 'alive'").await.unwrap(), "alive");
}

/// It is there, but the client can't be told: it must be told just that.
async fn lost_commit(world: &World, how: Cut) {
    let (pgweir, proxy) = behind(world, world.setup().pool_size(1)).await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    let mut watch = world.direct().await;
    watch.rows("truncate t").await;
    client.rows("begin").await.unwrap();
    client.rows("insert into t values (51)").await.unwrap();
    proxy.cut_when(Direction::ToClient, Trigger::Before(b"COMMIT".to_vec()), how);
    let frames = client.query("commit").await.unwrap();
    proxy.wait_fired(1).await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "08007", "{frames:?}");
    assert_eq!(frames.last().unwrap().status(), Some('I'));
    assert_eq!(client.value("select count(*) from t where n = 51").await.unwrap(), "1");
    // A write outside of a transaction likewise.
    proxy.cut_when(Direction::ToClient, Trigger::Before(b"INSERT 0 1".to_vec()), how);
    let frames = client.query("insert into t values (51)").await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "08007", "{frames:?}");
    assert_eq!(client.value("select count(*) from t where n = 51").await.unwrap(), "2");
}

/// Whether it got there can't be known here either; it is there not at all.
async fn commit_never_sent(world: &World, how: Cut) {
    let (pgweir, proxy) = behind(world, world.setup().pool_size(1)).await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    client.rows("begin").await.unwrap();
    client.rows("insert into t values (52)").await.unwrap();
    proxy.cut_when(Direction::ToServer, Trigger::Before(b"commit".to_vec()), how);
    let frames = client.query("commit").await.unwrap();
    proxy.wait_fired(1).await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "08007", "{frames:?}");
    assert_eq!(client.value("select count(*) from t where n = 52").await.unwrap(), "0");
}

async fn cut_while_idle(world: &World, how: Cut) {
    let (pgweir, proxy) = behind(world, world.setup().pool_size(4)).await;
    let (mut client, mut other) = two(&pgweir).await;
    let mut watch = world.direct().await;
    for round in 0..3 {
        for client in [&mut client, &mut other] {
            client.rows("begin").await.unwrap();
            client.rows("select 1").await.unwrap();
        }
        for client in [&mut client, &mut other] {
            client.rows("commit").await.unwrap();
        }
        let before = watch.backends().await;
        assert!(proxy.cut_all(how) >= 2);
        let gone = async || watch.backends().await.iter().all(|pid| !before.contains(pid));
        soon("the servers have seen it", gone).await;
        assert_eq!(client.value(&format!("select {round}")).await.unwrap(), round.to_string());
        assert_eq!(other.value(&format!("select {round}")).await.unwrap(), round.to_string());
    }
}

/// Packets are dropped, nothing is closed: a time limit ends the wait, and nothing leaks from the pool.
async fn silent(world: &World) {
    let setup = world.setup().pool_size(1).set("pool.query_timeout", "500ms");
    let (pgweir, proxy) = behind(world, setup).await;
    let (mut client, mut other) = two(&pgweir).await;
    client.rows("select 1").await.unwrap();
    proxy.blackhole(true);
    client.send(Script::new().query("select 2").bytes()).await.unwrap();
    let frames = client.read_until_closed().await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "57014", "{frames:?}");
    proxy.blackhole(false);
    proxy.cut_all(Cut::Reset);
    assert_eq!(other.value("select 3").await.unwrap(), "3");
}

async fn silent_login(world: &World) {
    let setup =
        world.setup().set("pool.server_connect_timeout", "300ms").set("pool.query_wait_timeout", "1s");
    let setup =
        setup.set("failover.wait", "1s").set("health.interval", "100ms").set("health.timeout", "100ms");
    let (pgweir, proxy) = behind(world, setup).await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    client.rows("select 1").await.unwrap();
    proxy.cut_all(Cut::Reset);
    proxy.blackhole(true);
    let Err(Error::Server(error)) = client.rows("select 2").await else { panic!("it was answered") };
    assert!(["08001", "08006", "53300", "57P03"].contains(&error.code.as_str()), "{error:?}");
    proxy.blackhole(false);
    proxy.cut_all(Cut::Reset);
    soon("it is served again", async || client.rows("select 3").await.is_ok()).await;
}

async fn byte_by_byte(world: &World) {
    let (pgweir, proxy) = behind(world, world.setup().pool_size(1)).await;
    proxy.split(true);
    proxy.delay(Direction::ToClient, Duration::from_micros(100));
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    client.rows("begin").await.unwrap();
    let script = Script::new().run("select 'a', repeat('b', 100)", &[]).run("select 2", &[]).sync();
    let frames = client.run(&script).await.unwrap();
    assert_eq!(testkit::tags(&frames), "12TDC12TDCZ", "{frames:?}");
    client.rows("rollback").await.unwrap();
    assert_eq!(client.value("select 'c'").await.unwrap(), "c");
}
