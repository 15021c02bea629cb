//! State that ties a session to its connection, until it is gone; and state that code of the database's own hides.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use pgweir_tests::Cases;
use pgweir_tests::talk::{client, refusal, run, value};
use pgweir_tests::world::{World, soon};
use testkit::{Pgweir, Script, Setup, first_error, rows};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_keep_what_ties_them_until_it_is_gone() {
    let world = World::start_with(testkit::Cluster::builder().settings([("log_statement", "all")]));
    world.cluster.psql_as(0, "app", "app", CODE).unwrap();
    let mut cases = Cases::new();
    for (name, begin, end) in UNTIL_GONE {
        cases.run(&format!("until it is gone: {name}"), until_gone(&world, begin, end)).await;
    }
    for (name, begin, mine, theirs) in HIDDEN {
        cases.run(&format!("hidden: {name}"), hidden(&world, begin, mine, *theirs)).await;
    }
    cases.run("never there: a lock that isn't had, a rolled back table", never_there(&world)).await;
    cases.run("a value in other words is no other value", other_words(&world)).await;
    cases.run("a text is asked for a few times, then not any more", learned(&world)).await;
    cases.run("a trigger made later is noticed", trigger_made_later(&world)).await;
    cases.run("what only its own end ends closes the connection", spent(&world)).await;
    cases.run("a library of the database's own", library(&world)).await;
    cases.run("a place is free when its end was answered", free_at_once(&world)).await;
    cases.run("code that is known to tie is refused where no more may be tied", hidden_bound(&world)).await;
    cases.run("a session that was tied by code beyond the bound ends", hidden_beyond_bound(&world)).await;
    cases.run("prepared statements too", extended(&world)).await;
    cases.run("a client that leaves at once leaves nothing", leaves_at_once(&world)).await;
    cases.run("the console and the metrics say who is pinned and why", shown(&world)).await;
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_tied_to_a_replica() {
    let cluster = testkit::Cluster::builder().replicas(1).databases(["app"]).users([("app", "app-secret")]);
    let cluster = cluster.start().unwrap();
    let stable = "create table w (n int); create function peek() returns int stable language plpgsql as
        'begin perform pg_advisory_lock(81); return 1; end'";
    cluster.psql_as(0, "app", "app", stable).unwrap();
    cluster.wait_all_caught_up().unwrap();
    let setup = Setup::new(&cluster).pool_size(4).set("pool.pinned", "4").set("instance.workers", "1");
    let pgweir = Pgweir::start(&setup).await.unwrap();
    let write = "insert into w values (1)";
    let mut cases = Cases::new();
    for pinning in [
        "select pg_advisory_lock(71)",
        "/* pgweir: role=replica */ select pg_advisory_lock(72)",
        "/* pgweir: role=replica */ select setseed(0.1)",
        "declare c cursor with hold for select 1",
        "begin read only; select pg_advisory_lock(73); commit",
    ] {
        cases
            .run(pinning, async {
                let mut a = client(&pgweir).await;
                run(&mut a, &["select 1", pinning, write, "select 1", write]).await;
                assert_eq!(value(&mut a, "select pg_is_in_recovery()").await, "f");
            })
            .await;
    }
    cases
        .run("within a transaction that is on a replica already", async {
            let mut a = client(&pgweir).await;
            run(&mut a, &["begin read only", "select count(*) from w"]).await;
            assert_eq!(value(&mut a, "select pg_is_in_recovery()").await, "t");
            let error = refusal(&mut a, "select pg_advisory_lock(74)").await;
            assert!(error.code == "25006" && error.hint.is_some() && error.detail.is_some(), "{error:?}");
            run(&mut a, &["rollback", "select pg_advisory_lock(74)", write]).await;
        })
        .await;
    cases
        .run("by code that says of itself that it changes nothing", async {
            let mut a = client(&pgweir).await;
            run(&mut a, &["select peek()", write, "select 1", "select peek()", write]).await;
            assert_eq!(value(&mut a, "select pg_is_in_recovery()").await, "f");
            run(&mut a, &["select pg_advisory_unlock_all()", write]).await;
        })
        .await;
    cases.finish();
}

const CODE: &str = "
    create table plain (id serial, n int);
    create table tracked (n int);
    create function track() returns trigger language plpgsql as $$begin
        perform set_config('app.tracked', new.n::text, false); return new; end$$;
    create trigger track before insert on tracked for each row execute function track();
    create function scratch() returns int language plpgsql as $$begin
        create temp table if not exists scratch (n int); return 1; end$$;
    create function lock_it(k int) returns int language plpgsql as $$begin
        perform pg_advisory_lock(k); return 1; end$$;
    create function unlock_it(k int) returns int language plpgsql as $$begin
        perform pg_advisory_unlock(k); return 1; end$$;
    create function bigger() returns int language plpgsql as $$begin
        perform set_config('work_mem', '7MB', false); return 1; end$$;
    create procedure mark(v text) language plpgsql as $$begin
        perform set_config('app.mark', v, false); end$$;
    create function runs(q text) returns int language plpgsql as 'begin execute q; return 1; end';
    create function harmless() returns int language plpgsql as 'begin return 1; end';
";

/// What ties a session, and what ends that.
const UNTIL_GONE: &[(&str, &[&str], &[&str])] = &[
    ("DROP TABLE", &["create temp table mine (n int)"], &["drop table mine"]),
    ("DISCARD TEMP", &["create temp table mine (n int)", "create temp sequence s"], &["discard temp"]),
    (
        "the last of several",
        &["create temp table mine (n int)", "create temp view v as select 1", "drop view v"],
        &["begin", "drop table mine", "commit"],
    ),
    ("CLOSE", &["declare c cursor with hold for select 1"], &["fetch c", "close c"]),
    ("CLOSE ALL", &["begin", "declare c cursor with hold for select 1", "commit"], &["close all"]),
    ("pg_advisory_unlock", &["select pg_advisory_lock(31)"], &["select pg_advisory_unlock(31)"]),
    (
        "an unlock for each lock",
        &["select pg_advisory_lock(32)", "select pg_advisory_lock(32)", "select pg_advisory_unlock(32)"],
        &["select pg_advisory_unlock(32)"],
    ),
    ("pg_advisory_unlock_all", &["select pg_try_advisory_lock(33, 1)"], &["select pg_advisory_unlock_all()"]),
    ("a lock behind a function", &["select lock_it(34)"], &["select unlock_it(34)"]),
    ("DISCARD ALL", &["create temp table mine (n int)", "select pg_advisory_lock(35)"], &["discard all"]),
];

/// What hides state, how its session sees that, and what another session sees.
#[allow(clippy::type_complexity, reason = "a table")]
const HIDDEN: &[(&str, &[&str], &str, (&str, &str))] = &[
    (
        "a setting in DO",
        &["do $$begin perform set_config('app.x', '1', false); end$$"],
        "select current_setting('app.x', true) = '1'",
        ("select coalesce(current_setting('app.x', true), '') = ''", "t"),
    ),
    (
        "SET in DO",
        &["do $$begin set app.y = 'two'; set statement_timeout = '91s'; end$$"],
        "select current_setting('app.y', true) = 'two' and current_setting('statement_timeout') = '91s'",
        ("select current_setting('statement_timeout') = '91s'", "f"),
    ),
    (
        "a list of names",
        &["do $$begin set search_path = s2, \"Odd, name\", public; end$$"],
        "select who = 'two' from here",
        ("select current_setting('search_path') like '%Odd%'", "f"),
    ),
    (
        "a role",
        &["do $$begin set role clerk; end$$"],
        "select current_user = 'clerk'",
        ("select current_user", "app"),
    ),
    (
        "RESET in DO",
        &["set work_mem = '9MB'", "do $$begin reset work_mem; end$$"],
        "select current_setting('work_mem') <> '9MB'",
        ("select current_setting('work_mem') = '9MB'", "f"),
    ),
    (
        "a setting in a function",
        &["select bigger()"],
        "select current_setting('work_mem') = '7MB'",
        ("select current_setting('work_mem') = '7MB'", "f"),
    ),
    (
        "a setting in a trigger",
        &["insert into tracked values (5)"],
        "select current_setting('app.tracked', true) = '5'",
        ("select coalesce(current_setting('app.tracked', true), '') = ''", "t"),
    ),
    (
        "a setting in a procedure, in a transaction",
        &["begin", "call mark('m')", "select 1", "commit"],
        "select current_setting('app.mark', true) = 'm'",
        ("select coalesce(current_setting('app.mark', true), '') = ''", "t"),
    ),
    (
        "a setting that a larger query makes",
        &["select set_config('app.z', n::text, false) from generate_series(1, 3) n"],
        "select current_setting('app.z', true) = '3'",
        ("select coalesce(current_setting('app.z', true), '') = ''", "t"),
    ),
    (
        "a temporary table in DO",
        &["do $$begin create temp table t1 as select 8 as n; end$$"],
        "select n = 8 from t1",
        ("select to_regclass('t1') is null", "t"),
    ),
    (
        "a temporary table in a function",
        &["select scratch()", "insert into scratch values (4)"],
        "select n = 4 from scratch",
        ("select to_regclass('scratch') is null", "t"),
    ),
    (
        "a lock in a function",
        &["select lock_it(41)"],
        "select count(*) = 1 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
        ("select pg_try_advisory_xact_lock(41)", "f"),
    ),
    (
        "a cursor in DO",
        &["do $$begin execute 'declare h cursor with hold for select 1'; end$$"],
        "select count(*) = 1 from pg_cursors where name = 'h'",
        ("select count(*) from pg_cursors where name = 'h'", "0"),
    ),
];

/// Two connections, and both sessions of them may be pinned.
fn pair(world: &World) -> Setup {
    world.setup().pool_size(2).set("pool.pinned", "2")
}

/// How many sessions are pinned, by the console.
async fn pinned(pgweir: &Pgweir) -> usize {
    let mut console = pgweir.console().await.unwrap();
    let frames = console.query("show node_pools").await.unwrap();
    let at = pgweir_tests::world::names(&frames).iter().position(|name| name == "pinned").unwrap();
    rows(&frames).iter().map(|row| row[at].as_deref().unwrap().parse::<usize>().unwrap()).sum()
}

/// The client has its answer before its connection is asked what is on it.
async fn until_pinned(pgweir: &Pgweir, count: usize) {
    soon(&format!("{count} are pinned"), async || pinned(pgweir).await == count).await;
}

async fn until_gone(world: &World, begin: &[&str], end: &[&str]) {
    let pgweir = world.pgweir(pair(world)).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    run(&mut a, begin).await;
    let pid = value(&mut a, "select pg_backend_pid()").await;
    for _ in 0..3 {
        assert_ne!(value(&mut b, "select pg_backend_pid()").await, pid, "a pinned connection was shared");
        assert_eq!(value(&mut a, "select pg_backend_pid()").await, pid);
    }
    until_pinned(&pgweir, 1).await;
    run(&mut a, end).await;
    assert_eq!(value(&mut a, "select 1").await, "1");
    until_pinned(&pgweir, 0).await;
    // Two clients fill the pool: one of them has the connection that was pinned.
    let mut c = client(&pgweir).await;
    run(&mut b, &["begin"]).await;
    run(&mut c, &["begin"]).await;
    let pids =
        [value(&mut b, "select pg_backend_pid()").await, value(&mut c, "select pg_backend_pid()").await];
    assert!(pids.contains(&pid), "the connection was closed");
}

/// One session hides state; others take turns with it on both connections and see nothing of it.
async fn hidden(world: &World, begin: &[&str], mine: &str, (theirs, expected): (&str, &str)) {
    let pgweir = world.pgweir(pair(world)).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    run(&mut a, begin).await;
    for _ in 0..3 {
        assert_eq!(value(&mut b, theirs).await, expected, "another session sees it");
        assert_eq!(value(&mut a, mine).await, "t", "the session has lost it");
        // In another order of connections.
        run(&mut b, &["begin"]).await;
        assert_eq!(value(&mut b, theirs).await, expected, "another session sees it");
        assert_eq!(value(&mut a, mine).await, "t", "the session has lost it");
        run(&mut b, &["commit"]).await;
    }
    a.close().await.unwrap();
    let free = if theirs.contains("try_advisory") { "t" } else { expected };
    soon("nothing is left of it", async || value(&mut b, theirs).await == free).await;
    until_pinned(&pgweir, 0).await;
    run(&mut b, &["begin"]).await;
    let mut c = client(&pgweir).await;
    assert_eq!(value(&mut c, theirs).await, free);
    run(&mut b, &["select 1", "commit"]).await;
    assert_eq!(value(&mut b, theirs).await, free);
}

async fn never_there(world: &World) {
    let pgweir = world.pgweir(pair(world)).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    run(&mut a, &["select pg_advisory_lock(51)"]).await;
    assert_eq!(value(&mut b, "select pg_try_advisory_lock(51)").await, "f");
    until_pinned(&pgweir, 1).await;
    run(&mut b, &["begin", "create temp table mine (n int)", "rollback"]).await;
    run(&mut b, &["begin", "create temp table mine (n int) on commit drop", "commit"]).await;
    run(&mut b, &["begin", "savepoint s", "create temp table mine (n int)", "rollback to s", "commit"]).await;
    assert_eq!(refusal(&mut b, "create temp table mine (n nothing)").await.code, "42704");
    until_pinned(&pgweir, 1).await;
    run(&mut a, &["select pg_advisory_unlock(51)"]).await;
    until_pinned(&pgweir, 0).await;
}

/// The session says a value otherwise than the server: that is no change that somebody has hidden.
async fn other_words(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    let settings = [
        "set work_mem = 65536",
        "set client_encoding to 'utf8'",
        "set enable_sort to 0",
        "set app.own = 'X'",
    ];
    run(&mut a, &settings).await;
    run(&mut b, &["set search_path to 'S2',\"public\"", "set datestyle = iso, dmy"]).await;
    for _ in 0..3 {
        run(&mut a, &["insert into plain (n) values (1)", "do 'begin end'"]).await;
        run(&mut b, &["insert into plain (n) values (1)", "do 'begin end'"]).await;
        assert_eq!(value(&mut a, "show work_mem").await, "64MB");
        assert_eq!(value(&mut a, "show enable_sort").await, "off");
        assert_eq!(value(&mut a, "show app.own").await, "X");
        assert_eq!(value(&mut b, "show datestyle").await, "ISO, DMY");
        assert_eq!(value(&mut b, "show enable_sort").await, "on");
    }
    let asked = witnesses(world);
    for _ in 0..5 {
        run(&mut a, &["insert into plain (n) values (1)", "do 'begin end'"]).await;
        run(&mut b, &["insert into plain (n) values (1)", "do 'begin end'"]).await;
    }
    assert_eq!(witnesses(world), asked, "still asked");
}

fn log(world: &World) -> String {
    std::fs::read_to_string(world.cluster.primary().log_path()).unwrap()
}

/// How often any connection was asked what is on it.
fn witnesses(world: &World) -> usize {
    log(world).matches("pg_my_temp_schema()").count()
}

async fn learned(world: &World) {
    let pgweir = world.pgweir(world.setup().set("instance.workers", "1").pool_size(2)).await;
    let mut a = client(&pgweir).await;
    let all = [
        "insert into plain (n) values (1)",
        "update plain set n = 2 where id = 1",
        "delete from plain where n = 77",
        "select harmless()",
        "do $$begin perform harmless(); end$$",
    ];
    let before = witnesses(world);
    for _ in 0..6 {
        run(&mut a, &all).await;
        run(&mut a, &["begin", all[0], all[1], "commit"]).await;
    }
    // Once the sources of the functions are known, none of these can leave anything.
    let asked = witnesses(world) - before;
    assert_eq!(asked, 1, "asked {asked} times");
    // What makes its SQL as it goes is tried first.
    let before = witnesses(world);
    for _ in 0..6 {
        run(&mut a, &["select runs('select 1')", "begin; select runs('select 1'); rollback"]).await;
    }
    let asked = witnesses(world) - before;
    assert!((3..=12).contains(&asked), "asked {asked} times");
    run(&mut a, &["select runs('select 1')"]).await; // the last question is answered by then
    let before = witnesses(world);
    let discards = log(world).matches("DISCARD ALL").count();
    let mut b = client(&pgweir).await;
    for _ in 0..10 {
        run(&mut a, &all).await;
        run(&mut b, &all).await;
    }
    assert_eq!(witnesses(world) - before, 0, "still asked");
    // Nothing has to be discarded.
    assert_eq!(log(world).matches("DISCARD ALL").count(), discards);
}

async fn trigger_made_later(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    run(&mut a, &["create table later (n int)"]).await;
    for _ in 0..6 {
        run(&mut a, &["insert into later values (3)"]).await;
    }
    run(&mut b, &["create trigger track before insert on later for each row execute function track()"]).await;
    run(&mut a, &["insert into later values (3)"]).await;
    assert_eq!(value(&mut b, "select coalesce(current_setting('app.tracked', true), '')").await, "");
    assert_eq!(value(&mut a, "select current_setting('app.tracked', true)").await, "3");
    run(&mut a, &["drop table later"]).await;
}

async fn spent(world: &World) {
    // Only a superuser may load what isn't a plugin.
    let setup = pair(world).user(testkit::SUPERUSER, world.cluster.superuser_password());
    let pgweir = world.pgweir(setup).await;
    let client = async |pgweir: &Pgweir| pgweir.client(testkit::SUPERUSER, "app").connect().await.unwrap();
    for pinning in ["select setseed(0.5)", "load 'plpgsql'"] {
        let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
        run(&mut a, &[pinning]).await;
        let pid = value(&mut a, "select pg_backend_pid()").await;
        run(&mut a, &["create temp table mine (n int)", "drop table mine"]).await;
        assert_ne!(value(&mut b, "select pg_backend_pid()").await, pid);
        assert_eq!(value(&mut a, "select pg_backend_pid()").await, pid, "{pinning}");
        until_pinned(&pgweir, 1).await;
        if pinning.starts_with("select") {
            let mut direct = world.direct().await;
            direct.rows(pinning).await;
            assert_eq!(value(&mut a, "select random()").await, direct.value("select random()").await);
        }
        a.close().await.unwrap();
        let mut direct = world.direct().await;
        let alive = format!("select count(*) from pg_stat_activity where pid = {pid}");
        soon("the connection is closed", async || direct.value(&alive).await == "0").await;
        until_pinned(&pgweir, 0).await;
    }
    // DISCARD ALL ends the one, and unloads no library.
    let mut a = client(&pgweir).await;
    run(&mut a, &["select setseed(0.5)", "discard all"]).await;
    until_pinned(&pgweir, 0).await;
    run(&mut a, &["load 'plpgsql'", "discard all"]).await;
    until_pinned(&pgweir, 1).await;
}

/// A function of a library may keep what it likes in its process: that its call fails here leaves it loaded.
async fn library(world: &World) {
    let create = "create function kept(oid) returns void as '$libdir/plpgsql', 'plpgsql_validator'
        language c volatile";
    world
        .cluster
        .psql(
            0,
            "app",
            &format!("{create}; {}", create.replace("kept", "s1.steady").replace("volatile", "stable")),
        )
        .unwrap();
    let pgweir = world.pgweir(pair(world)).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    refusal(&mut b, "select s1.steady(0)").await;
    refusal(&mut a, "select kept(0)").await;
    let pid = value(&mut a, "select pg_backend_pid()").await;
    until_pinned(&pgweir, 1).await;
    for _ in 0..3 {
        assert_ne!(value(&mut b, "select pg_backend_pid()").await, pid, "its connection was shared");
        assert_eq!(value(&mut a, "select pg_backend_pid()").await, pid);
    }
    a.close().await.unwrap();
    let mut direct = world.direct().await;
    let alive = format!("select count(*) from pg_stat_activity where pid = {pid}");
    soon("the connection is closed", async || direct.value(&alive).await == "0").await;
}

/// Who hears that a table is gone finds the only place free that it had.
async fn free_at_once(world: &World) {
    let setup = world.setup().set("instance.workers", "1").pool_size(3).set("pool.pinned", "1");
    let pgweir = world.pgweir(setup).await;
    let mut clients = [client(&pgweir).await, client(&pgweir).await];
    for turn in 0..100 {
        run(&mut clients[turn % 2], &["create temp table mine (n int)", "drop table mine"]).await;
    }
    // One that stays keeps the place.
    run(&mut clients[0], &["create temp table mine (n int)", "create temp table other (n int)"]).await;
    run(&mut clients[0], &["drop table other"]).await;
    until_pinned(&pgweir, 1).await;
    value(&mut clients[0], "select 1").await;
    assert_eq!(refusal(&mut clients[1], "create temp table mine (n int)").await.code, "53300");
}

async fn hidden_bound(world: &World) {
    let pgweir =
        world.pgweir(world.setup().set("instance.workers", "1").pool_size(3).set("pool.pinned", "1")).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    run(&mut a, &["select scratch()", "drop table scratch", "select scratch()"]).await;
    let error = refusal(&mut b, "select scratch()").await;
    assert!(error.code == "53300" && error.hint.is_some() && error.detail.is_some(), "{error:?}");
    assert_eq!(value(&mut b, "select 1").await, "1");
    run(&mut a, &["drop table scratch"]).await;
    soon("a pin is free again", async || b.rows("select scratch()").await.is_ok()).await;
}

async fn hidden_beyond_bound(world: &World) {
    let pgweir =
        world.pgweir(world.setup().set("instance.workers", "1").pool_size(3).set("pool.pinned", "1")).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    run(&mut a, &["create temp table mine (n int)"]).await;
    run(&mut b, &["select scratch()"]).await;
    let frames = b.read_until_closed().await.unwrap();
    let error = first_error(&frames).unwrap();
    assert!(error.code == "53300" && error.hint.is_some() && error.detail.is_some(), "{error:?}");
    let mut c = client(&pgweir).await;
    assert_eq!(value(&mut c, "select to_regclass('scratch') is null").await, "t");
}

/// The same by Parse, Bind, Execute, with several Syncs in one write.
async fn extended(world: &World) {
    let pgweir = world.pgweir(pair(world)).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    let script = Script::new()
        .run("insert into tracked values ($1)", &[Some("6")])
        .sync()
        .run("select scratch()", &[])
        .sync()
        .run("insert into scratch values ($1)", &[Some("9")])
        .sync();
    let frames = a.run(&script).await.unwrap();
    assert!(first_error(&frames).is_none(), "{frames:?}");
    for _ in 0..3 {
        assert_eq!(value(&mut b, "select coalesce(current_setting('app.tracked', true), '')").await, "");
        assert_eq!(value(&mut b, "select to_regclass('scratch') is null").await, "t");
        let frames = a
            .run(&Script::new().run("select n, current_setting('app.tracked') from scratch", &[]).sync())
            .await
            .unwrap();
        assert_eq!(rows(&frames), vec![vec![Some("9".to_owned()), Some("6".to_owned())]], "{frames:?}");
    }
    let frames = a.run(&Script::new().run("drop table scratch", &[]).sync()).await.unwrap();
    assert!(first_error(&frames).is_none(), "{frames:?}");
    until_pinned(&pgweir, 0).await;
    assert_eq!(value(&mut a, "select current_setting('app.tracked')").await, "6");
}

async fn leaves_at_once(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    for _ in 0..3 {
        let mut a = client(&pgweir).await;
        let script = Script::new().query("select lock_it(61), scratch(), bigger()");
        a.send(script.bytes()).await.unwrap();
        a.close().await.unwrap();
        let mut b = client(&pgweir).await;
        let mine = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()";
        assert_eq!(value(&mut b, mine).await, "0");
        assert_eq!(value(&mut b, "select to_regclass('scratch') is null").await, "t");
        assert_ne!(value(&mut b, "show work_mem").await, "7MB");
    }
}

/// The value of a sample in a scrape.
async fn sample(port: u16, name: &str) -> Option<f64> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.map(|value| value.parse().unwrap())
}

async fn shown(world: &World) {
    let port = testkit::free_port().unwrap();
    let setup = pair(world).set("listen.http", &format!("\"127.0.0.1:{port}\""));
    let pgweir = world.pgweir(setup).await;
    let mut a = client(&pgweir).await;
    run(&mut a, &["select pg_advisory_lock(91)", "select 1", "select 2", "select pg_advisory_lock(91)"])
        .await;
    run(&mut a, &["select 'a secret', scratch() from plain where 'another' = 'x'"]).await;
    let mut console = pgweir.console().await.unwrap();
    let frames = console.query("show clients").await.unwrap();
    let at = pgweir_tests::world::names(&frames).iter().position(|name| name == "pinned").unwrap();
    let reasons: Vec<_> = rows(&frames).into_iter().filter_map(|row| row[at].clone()).collect();
    assert_eq!(reasons, ["advisory_lock"]);
    let gauge = "pgweir_pinned{database=\"app\",user=\"app\",reason=\"advisory_lock\"}";
    assert_eq!(sample(port, gauge).await, Some(1.0));
    assert_eq!(sample(port, "pgweir_pins_total{reason=\"advisory_lock\"}").await, Some(1.0));
    assert_eq!(sample(port, "pgweir_pins_total{reason=\"load\"}").await, Some(0.0));
    assert!(sample(port, "pgweir_pinned_transactions_total{reason=\"advisory_lock\"}").await >= Some(4.0));
    run(&mut a, &["select pg_advisory_unlock_all()"]).await;
    until_pinned(&pgweir, 0).await;
    assert!(sample(port, gauge).await.is_none_or(|now| now == 0.0));
    // Told once, and without literals.
    let log = pgweir.log();
    assert_eq!(log.matches("select pg_advisory_lock(?)").count(), 1, "{log}");
    assert!(!log.contains("91") || !log.contains("lock(91"), "{log}");
}
