//! Session, transaction and statement mode: what of a session is kept, for whom, and for how long.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::time::Duration;

use pgweir_tests::Cases;
use pgweir_tests::talk::{client, refusal, run, value};
use pgweir_tests::world::{World, soon};
use testkit::{Script, first_error, tags};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_keep_what_is_theirs() {
    let world = World::start();
    let mut cases = Cases::new();
    cases.run("session mode: kept for the session, gone for the next", session_mode(&world)).await;
    cases.run("statement mode: no transaction blocks", statement_mode(&world)).await;
    cases.run("SET is kept over shared connections", set_is_kept(&world)).await;
    cases.run("SET ROLE is kept over shared connections", role_is_kept(&world)).await;
    cases.run("a rolled-back SET is rolled back", rolled_back_set(&world)).await;
    cases.run("RESET gives back what the startup packet said", reset(&world)).await;
    cases.run("startup parameters and options", startup_parameters(&world)).await;
    cases.run("a startup value that no server takes", bad_startup_value(&world)).await;
    cases.run("a temporary table pins", temporary_table(&world)).await;
    cases.run("pool.pinned bounds the pins", pins_are_bounded(&world)).await;
    cases.run("an idle client is notified", listen(&world)).await;
    cases.run("a session advisory lock pins", advisory_lock(&world)).await;
    cases.run("prepared statements of the same name", prepared_names(&world)).await;
    cases.finish();
}

async fn session_mode(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_mode("session").pool_size(1)).await;
    let mut first = client(&pgweir).await;
    run(
        &mut first,
        &["set work_mem = '7MB'", "create temp table mine (n int)", "select pg_advisory_lock(11)"],
    )
    .await;
    run(&mut first, &["prepare p as select 1", "begin", "insert into mine values (1)", "commit"]).await;
    let pid = value(&mut first, "select pg_backend_pid()").await;
    assert_eq!(value(&mut first, "show work_mem").await, "7MB");
    assert_eq!(value(&mut first, "select n from mine").await, "1");
    assert_eq!(value(&mut first, "select pg_backend_pid()").await, pid);
    first.close().await.unwrap();

    let mut second = client(&pgweir).await;
    assert_eq!(value(&mut second, "select pg_backend_pid()").await, pid, "the connection was closed");
    assert_ne!(value(&mut second, "show work_mem").await, "7MB");
    assert_eq!(value(&mut second, "select to_regclass('pg_temp.mine') is null").await, "t");
    assert_eq!(value(&mut second, "select count(*) from pg_prepared_statements").await, "0");
    assert_eq!(value(&mut second, "select count(*) from pg_locks where locktype = 'advisory'").await, "0");
}

async fn statement_mode(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_mode("statement").pool_size(1)).await;
    let mut client = client(&pgweir).await;
    assert_eq!(value(&mut client, "select 1").await, "1");
    let error = refusal(&mut client, "begin").await;
    assert!(error.code == "0A000" && error.hint.is_some(), "{error:?}");
    let error = refusal(&mut client, "start transaction read only").await;
    assert_eq!(error.code, "0A000");
    // In the extended protocol, and hidden behind another statement, likewise.
    let frames = client.run(&Script::new().run("begin", &[]).sync()).await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "0A000", "{frames:?}");
    let error = refusal(&mut client, "select 1; begin").await;
    assert_eq!(error.code, "0A000");
    assert_eq!(value(&mut client, "select 2").await, "2");
    assert_eq!(world.direct().await.busy().await, Vec::<String>::new());
}

/// Two clients with settings of their own take turns on one connection.
async fn set_is_kept(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    run(&mut a, &["set timezone = 'Asia/Tokyo'", "set search_path = s1", "set application_name = 'a'"]).await;
    run(&mut b, &["set timezone to 'UTC'", "set search_path to s2, public", "set application_name to 'b'"])
        .await;
    let mut pids = Vec::new();
    for _ in 0..3 {
        assert_eq!(value(&mut a, "select who from here").await, "one");
        assert_eq!(value(&mut b, "select who from here").await, "two");
        assert_eq!(value(&mut a, "show timezone").await, "Asia/Tokyo");
        assert_eq!(value(&mut b, "show timezone").await, "UTC");
        let name = "select current_setting('application_name')";
        assert_eq!(value(&mut a, name).await, "a");
        assert_eq!(value(&mut b, name).await, "b");
        // In a transaction and in the extended protocol too.
        run(&mut b, &["begin"]).await;
        assert_eq!(value(&mut b, "select who from here").await, "two");
        run(&mut b, &["commit"]).await;
        let frames = a.run(&Script::new().run("select who from here", &[]).sync()).await.unwrap();
        assert_eq!(testkit::rows(&frames), vec![vec![Some("one".to_owned())]], "{frames:?}");
        pids.push(value(&mut a, "select pg_backend_pid()").await);
        pids.push(value(&mut b, "select pg_backend_pid()").await);
    }
    pids.dedup();
    assert_eq!(pids.len(), 1, "not one shared connection");
    // Who said nothing has the server's own.
    let mut fresh = client(&pgweir).await;
    assert_eq!(value(&mut fresh, "select count(*) from pg_settings where source = 'session'").await, "0");
    assert_eq!(refusal(&mut fresh, "select who from here").await.code, "42P01");
}

async fn role_is_kept(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    run(&mut a, &["set role clerk"]).await;
    for _ in 0..3 {
        assert_eq!(value(&mut a, "select current_user").await, "clerk");
        assert_eq!(value(&mut b, "select current_user").await, "app");
        assert_eq!(refusal(&mut a, "select who from s1.here").await.code, "42501");
        assert_eq!(value(&mut b, "select who from s1.here").await, "one");
    }
    run(&mut a, &["reset role"]).await;
    assert_eq!(value(&mut a, "select current_user").await, "app");
}

async fn rolled_back_set(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(2)).await;
    let mut client = client(&pgweir).await;
    run(&mut client, &["set work_mem = '5MB'", "begin", "set work_mem = '6MB'"]).await;
    assert_eq!(value(&mut client, "show work_mem").await, "6MB");
    run(&mut client, &["rollback"]).await;
    assert_eq!(value(&mut client, "show work_mem").await, "5MB");
    run(&mut client, &["begin", "set work_mem = '6MB'", "commit"]).await;
    assert_eq!(value(&mut client, "show work_mem").await, "6MB");
    run(&mut client, &["begin", "set local work_mem = '9MB'", "commit"]).await;
    assert_eq!(value(&mut client, "show work_mem").await, "6MB");
    assert_eq!(refusal(&mut client, "set work_mem = 'nonsense'").await.code, "22023");
    assert_eq!(value(&mut client, "show work_mem").await, "6MB");
}

async fn reset(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let options = pgweir.client("app", "app").parameter("options", "-c work_mem=3MB");
    let (mut a, mut b) = (options.connect().await.unwrap(), client(&pgweir).await);
    run(&mut a, &["set work_mem = '8MB'"]).await;
    assert_ne!(value(&mut b, "show work_mem").await, "8MB");
    run(&mut a, &["reset work_mem"]).await;
    assert_eq!(value(&mut a, "show work_mem").await, "3MB");
    run(&mut a, &["set work_mem = '8MB'", "discard all"]).await;
    assert_ne!(value(&mut b, "show work_mem").await, "3MB");
    assert_eq!(value(&mut a, "show work_mem").await, "3MB");
}

async fn startup_parameters(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let to = || pgweir.client("app", "app");
    let tokyo = to().parameter("TimeZone", "Asia/Tokyo").parameter("application_name", "tokyo");
    let mut tokyo = tokyo.connect().await.unwrap();
    let options = "-c search_path=s1,public --work_mem=3MB -c DateStyle=German\\,\\ DMY";
    let mut german = to().parameter("options", options).connect().await.unwrap();
    let mut plain = client(&pgweir).await;
    assert_eq!(tokyo.parameter("TimeZone").as_deref(), Some("Asia/Tokyo"));
    assert_eq!(tokyo.parameter("application_name").as_deref(), Some("tokyo"));
    assert_eq!(german.parameter("DateStyle").as_deref(), Some("German, DMY"));
    for _ in 0..2 {
        assert_eq!(value(&mut tokyo, "show timezone").await, "Asia/Tokyo");
        assert_eq!(value(&mut tokyo, "select current_setting('application_name')").await, "tokyo");
        assert_eq!(value(&mut german, "select who from here").await, "one");
        assert_eq!(value(&mut german, "show work_mem").await, "3MB");
        assert_eq!(value(&mut german, "select date '2026-02-01'").await, "01.02.2026");
        assert_eq!(value(&mut plain, "select date '2026-02-01'").await, "2026-02-01");
        assert_eq!(refusal(&mut plain, "select who from here").await.code, "42P01");
    }
}

/// Refused at login, as Postgres does; the connection that was asked serves others.
async fn bad_startup_value(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let mut other = client(&pgweir).await;
    let pid = value(&mut other, "select pg_backend_pid()").await;
    for (name, wrong, code) in [("DateStyle", "nonsense", "22023"), ("no_such_setting", "1", "42704")] {
        let refused = pgweir.client("app", "app").parameter(name, wrong).connect().await.unwrap_err();
        let testkit::Error::Server(error) = refused else { panic!("{refused}") };
        assert_eq!((error.severity.as_str(), error.code.as_str()), ("FATAL", code), "{error:?}");
    }
    assert_eq!(value(&mut other, "select pg_backend_pid()").await, pid);
}

async fn temporary_table(world: &World) {
    let setup = world.setup().pool_size(2).set("pool.pinned", "1");
    let pgweir = world.pgweir(setup).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    run(&mut a, &["create temp table mine (n int)", "insert into mine values (7)"]).await;
    let pid = value(&mut a, "select pg_backend_pid()").await;
    for _ in 0..3 {
        assert_ne!(value(&mut b, "select pg_backend_pid()").await, pid, "a pinned connection was shared");
        assert_eq!(value(&mut a, "select n from mine").await, "7");
        assert_eq!(value(&mut a, "select pg_backend_pid()").await, pid);
    }
    // DISCARD ALL lets go.
    run(&mut a, &["discard all"]).await;
    run(&mut b, &["create temp table mine (n int)"]).await;
    b.close().await.unwrap();
    let mut next = client(&pgweir).await;
    assert_eq!(value(&mut next, "select to_regclass('pg_temp.mine') is null").await, "t");
    run(&mut next, &["create temp table mine (n int)"]).await;
}

async fn pins_are_bounded(world: &World) {
    let setup = world.setup().pool_size(4).set("pool.pinned", "2");
    let pgweir = world.pgweir(setup).await;
    let (mut a, mut b, mut c) = (client(&pgweir).await, client(&pgweir).await, client(&pgweir).await);
    run(&mut a, &["create temp table mine (n int)"]).await;
    run(&mut b, &["create temp table mine (n int)"]).await;
    let error = refusal(&mut c, "create temp table mine (n int)").await;
    assert!(error.code == "53300" && error.hint.is_some(), "{error:?}");
    // In a transaction the refusal fails it, on the server too.
    run(&mut c, &["begin", "insert into t values (55)"]).await;
    assert_eq!(refusal(&mut c, "create temp table mine (n int)").await.code, "53300");
    assert_eq!(refusal(&mut c, "select 1").await.code, "25P02");
    run(&mut c, &["commit"]).await;
    assert_eq!(value(&mut c, "select count(*) from t where n = 55").await, "0");
    // Somebody lets go, by DISCARD ALL or by leaving.
    run(&mut a, &["discard all"]).await;
    run(&mut c, &["create temp table mine (n int)"]).await;
    assert_eq!(refusal(&mut a, "create temp table mine (n int)").await.code, "53300");
    b.close().await.unwrap();
    soon("a pin is free again", async || a.rows("create temp table mine (n int)").await.is_ok()).await;
}

async fn listen(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(4).set("pool.pinned", "2")).await;
    let (mut listener, mut sender) = (client(&pgweir).await, client(&pgweir).await);
    run(&mut listener, &["listen news"]).await;
    run(&mut sender, &["notify news, 'first'"]).await;
    let frames = listener.read_until("NotificationResponse", |frame| frame.tag == b'A').await.unwrap();
    assert_eq!(tags(&frames), "A");
    assert!(frames[0].body.ends_with(b"news\0first\0"), "{frames:?}");
    // While it works, and more than one.
    run(&mut sender, &["begin", "notify news, 'second'", "notify news, 'third'", "commit"]).await;
    let two = listener.read_until("third", |frame| frame.body.ends_with(b"third\0")).await.unwrap();
    assert_eq!(tags(&two), "AA");
    // After UNLISTEN nothing comes.
    run(&mut listener, &["unlisten news"]).await;
    run(&mut sender, &["notify news, 'fourth'"]).await;
    let (rest, closed) = listener.read_while_available(Duration::from_millis(100)).await;
    assert!(rest.is_empty() && !closed, "{rest:?}");
    assert_eq!(value(&mut listener, "select 1").await, "1");
}

async fn advisory_lock(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(3).set("pool.pinned", "1")).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    run(&mut a, &["select pg_advisory_lock(21)"]).await;
    assert_eq!(value(&mut b, "select pg_try_advisory_xact_lock(21)").await, "f");
    assert_eq!(value(&mut a, "select pg_advisory_unlock(21)").await, "t");
    assert_eq!(value(&mut b, "select pg_try_advisory_xact_lock(21)").await, "t");
    run(&mut a, &["select pg_advisory_lock(22)"]).await;
    a.close().await.unwrap();
    soon("the lock is gone with its session", async || {
        value(&mut b, "select pg_try_advisory_xact_lock(22)").await == "t"
    })
    .await;
}

/// Two clients give the same name to different statements, on one connection.
async fn prepared_names(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    a.run(&Script::new().parse("s", "select 'a' || $1", &[25]).sync()).await.unwrap();
    b.run(&Script::new().parse("s", "select 'b' || $1", &[25]).sync()).await.unwrap();
    for _ in 0..3 {
        for (client, expected) in [(&mut a, "ax"), (&mut b, "bx")] {
            let script = Script::new().bind("", "s", &[Some("x")]).execute("", 0).sync();
            let frames = client.run(&script).await.unwrap();
            assert_eq!(testkit::rows(&frames), vec![vec![Some(expected.to_owned())]], "{frames:?}");
        }
    }
    // A name that is taken is refused by name; closed, it is free.
    let again = Script::new().parse("s", "select 1", &[]).sync();
    let frames = a.run(&again).await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "42P05", "{frames:?}");
    let frames = a.run(&Script::new().close_statement("s").sync()).await.unwrap();
    assert_eq!(tags(&frames), "3Z");
    let frames = a.run(&again).await.unwrap();
    assert_eq!(tags(&frames), "1Z");
}
