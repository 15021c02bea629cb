//! Code of the database's own that changes its session now and then, or where nobody would look for it: nobody else ever
//! sees anything of that, and the session itself keeps it.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

#[path = "hidden_code/kept.rs"]
mod kept;

use pgweir_tests::Cases;
use pgweir_tests::talk::{client, run, value};
use pgweir_tests::world::World;
use testkit::{Client, Pgweir, SUPERUSER, Script, Setup};

/// How often code that is to be trusted shows itself harmless first.
const TRUST: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_code_leaves_is_its_sessions_alone() {
    let world = World::start();
    world.cluster.psql_as(0, "app", "app", CODE).unwrap();
    world.cluster.psql_as(0, SUPERUSER, "app", CODE_OF_BOSS).unwrap();
    let setup = || world.setup().set("instance.workers", "1").pool_size(1).set("pool.pinned", "1");
    let pgweir = world.pgweir(setup()).await;
    let mut cases = Cases::new();
    for case in CASES {
        cases.run(case.name, keeps_to_itself(&pgweir, case)).await;
    }
    cases.run("code that any statement may be made of", anything(&world, &setup())).await;
    cases.run("what was learned is forgotten when code changes", long_ago(&world, &setup())).await;
    cases.run("code of the very transaction that makes it", just_made(&world, &setup())).await;
    cases.run("what code prepares or listens to is the session's own", made_by_code(&world, &setup())).await;
    cases.run("a connection that can't be asked is kept", unasked(&world, &setup())).await;
    kept::cases(&world, &mut cases).await;
    cases.finish();
}

/// One way to hide a change of the session.
struct Case {
    name: &'static str,
    /// Does nothing to the session, time after time.
    harmless: &'static str,
    /// The same text but for its literals, and it does.
    changes: &'static [&'static str],
    /// What the session says then; what everybody else says.
    look: &'static str,
    mine: &'static str,
    theirs: &'static str,
}

const TENANT: &str = "select coalesce(current_setting('app.tenant', true), '')";

const fn tenant(name: &'static str, harmless: &'static str, changes: &'static [&'static str]) -> Case {
    Case { name, harmless, changes, look: TENANT, mine: "7", theirs: "" }
}

const CASES: &[Case] = &[
    tenant("a setting, if there is a reason", "select maybe(null)", &["select maybe('7')"]),
    tenant("by a procedure", "call maybe_call(null)", &["call maybe_call('7')"]),
    tenant("in DO", "do $$begin perform maybe(null); end$$", &["do $$begin perform maybe('7'); end$$"]),
    tenant("by functions that call functions", "select outermost(null)", &["select outermost('7')"]),
    tenant("by a function in SQL", "select in_sql(null)", &["select in_sql('7')"]),
    tenant("by a function whose body is parsed", "select atomic(null)", &["select atomic('7')"]),
    tenant(
        "by SQL that is made of its argument",
        "select run('select 1')",
        &["select run('set app.tenant = 7')"],
    ),
    tenant("behind a comment", "select commented(null)", &["select commented('7')"]),
    tenant("by a trigger", "insert into watched values (1, null)", &["insert into watched values (1, '7')"]),
    tenant(
        "by a trigger of a partition",
        "insert into parent values (1, null)",
        &["insert into parent values (2, '7')"],
    ),
    tenant(
        "by a trigger of what a key cascades to",
        "delete from thing where id = 0",
        &["insert into thing values (7)", "insert into piece values (7)", "delete from thing where id = 7"],
    ),
    tenant(
        "by a column's default",
        "insert into defaults values (1, 'x')",
        &["insert into defaults values (1, default)"],
    ),
    tenant("by a check", "insert into checked values (null)", &["insert into checked values ('7')"]),
    tenant("by a rule", "insert into ruled values (null)", &["insert into ruled values ('7')"]),
    tenant("by a function that writes", "select writes(null)", &["select writes('7')"]),
    tenant(
        "by an operator",
        "select maybe(null), null::text @@@ 1",
        &["select maybe(null), '7'::text @@@ 1"],
    ),
    tenant(
        "by a cast of a domain",
        "select harmless(null::watched_text)",
        &["select harmless('7'::watched_text)"],
    ),
    tenant("by an aggregate", "select own_agg(null::text)", &["select own_agg('7'::text)"]),
    tenant(
        "and rolled back to",
        "select maybe(null)",
        &[
            "select maybe('7')",
            "begin",
            "savepoint s",
            "select maybe('8')",
            "rollback to s",
            "select maybe(null)",
            "commit",
        ],
    ),
    tenant("and an exception undoes it", "select undone(null)", &["select maybe('7')", "select undone('8')"]),
    tenant("by a function that has settings of its own", "select defined(null)", &["select defined('7')"]),
    Case {
        name: "a setting that the function has one of its own for",
        harmless: "select definer(null)",
        changes: &["select definer('9MB')"],
        look: "select current_setting('work_mem')",
        mine: "9MB",
        theirs: "4MB",
    },
    Case {
        name: "a setting of Postgres'",
        harmless: "select memory(null)",
        changes: &["select memory('7MB')"],
        look: "select current_setting('work_mem')",
        mine: "7MB",
        theirs: "4MB",
    },
    Case {
        name: "a search_path",
        harmless: "select run_if(false, 'x')",
        changes: &["select run_if(true, 'set search_path = s2')"],
        look: "select to_regclass('here') is not null",
        mine: "t",
        theirs: "f",
    },
    Case {
        name: "a role",
        harmless: "select become(null)",
        changes: &["select become('clerk')"],
        look: "select current_user",
        mine: "clerk",
        theirs: "app",
    },
    Case {
        name: "a lock",
        harmless: "select lock_if(null)",
        changes: &["select lock_if(77)"],
        look: "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
        mine: "1",
        theirs: "0",
    },
    Case {
        name: "a temporary table",
        harmless: "select scratch(false)",
        changes: &["select scratch(true)"],
        look: "select to_regclass('pg_temp.scratch') is not null",
        mine: "t",
        theirs: "f",
    },
];

const CODE: &str = "
    create table watched (n int, v text);
    create function maybe(v text) returns text language plpgsql as $$begin
        if v is not null then perform set_config('app.tenant', v, false); end if; return 'x'; end$$;
    create procedure maybe_call(v text) language plpgsql as $$begin
        if v is not null then perform set_config('app.tenant', v, false); end if; end$$;
    create function inner_one(v text) returns text language plpgsql as 'begin return maybe(v); end';
    create function outermost(v text) returns text language sql as 'select inner_one(v)';
    create function in_sql(v text) returns text language sql as
        'select case when v is not null then set_config(''app.tenant'', v, false) end';
    create function atomic(v text) returns text language sql begin atomic
        select case when v is not null then set_config('app.tenant', v, false) end; end;
    create function run(q text) returns text language plpgsql as 'begin execute q; return 1; end';
    create function run_if(c bool, q text) returns int language plpgsql as
        'begin if c then execute q; end if; return 1; end';
    create function commented(v text) returns text language plpgsql as $$begin
        if v is not null then -- it's said
            set app.tenant = '7'; end if; return 'x'; end$$;
    create function writes(v text) returns int language sql as 'insert into watched values (1, v) returning 1';
    create function memory(v text) returns text language plpgsql as $$begin
        if v is not null then perform set_config('work_mem', v, false); end if; return v; end$$;
    create function become(v text) returns text language plpgsql as $$begin
        if v is not null then perform set_config('role', v, false); end if; return v; end$$;
    create function lock_if(v int) returns int language plpgsql as $$begin
        if v is not null then perform pg_advisory_lock(v); end if; return v; end$$;
    create function scratch(c bool) returns int language plpgsql as $$begin
        if c then create temp table scratch (n int); end if; return 1; end$$;
    create function undone(v text) returns text language plpgsql as $$begin
        begin perform maybe(v); perform 1 / 0; exception when division_by_zero then null; end; return v; end$$;
    create function defined(v text) returns text language plpgsql security definer set search_path = s1 as $$begin
        return public.maybe(v); end$$;
    create function definer(v text) returns text language plpgsql security definer set work_mem = '5MB' as $$begin
        if v is not null then perform set_config('work_mem', v, false); end if; return v; end$$;
    create function on_watched() returns trigger language plpgsql as
        $$begin perform public.maybe(new.v); return new; end$$;
    create trigger on_watched after insert on watched for each row execute function on_watched();
    create table parent (n int, v text) partition by range (n);
    create table child1 partition of parent for values from (0) to (2);
    create table child2 partition of parent for values from (2) to (4);
    create trigger on_child after insert on child2 for each row execute function on_watched();
    create table thing (id int primary key);
    create table piece (id int references thing on delete cascade);
    create function on_piece() returns trigger language plpgsql as
        $$begin perform public.maybe(old.id::text); return old; end$$;
    create trigger on_piece after delete on piece for each row execute function on_piece();
    create table defaults (n int, v text default maybe('7'));
    create table checked (v text check (maybe(v) = 'x'));
    create table ruled (v text);
    create rule also as on insert to ruled do also select maybe(new.v);
    create function at_op(a text, b int) returns text language sql as 'select maybe(a)';
    create operator @@@ (leftarg = text, rightarg = int, function = at_op);
    create function is_text(v text) returns bool language plpgsql as
        'begin perform maybe(v); return true; end';
    create domain watched_text as text check (is_text(value));
    create function harmless(v text) returns int language plpgsql as 'begin return 1; end';
    create function own_step(s text, v text) returns text language sql as 'select maybe(v)';
    create aggregate own_agg(text) (sfunc = own_step, stype = text);
    create table said (v text);
    create view seen as select v, maybe(v) as x from said;
    create function named(n text, v text) returns text language plpgsql as
        $$begin return set_config('app.' || n, v, false); end$$;
";

const CODE_OF_BOSS: &str = "grant usage on schema s2 to clerk";

/// Another client with the only connection sees nothing, and the session itself what it made.
async fn keeps_to_itself(pgweir: &Pgweir, case: &Case) {
    let (mut a, mut b) = (client(pgweir).await, client(pgweir).await);
    for _ in 0..TRUST {
        run(&mut b, &[case.harmless]).await;
        run(&mut a, &[case.harmless]).await;
        prepared(&mut b, case.harmless).await;
    }
    assert_eq!(value(&mut b, case.look).await, case.theirs, "before anything");
    run(&mut a, case.changes).await;
    let tied = ["a lock", "a temporary table"].contains(&case.name);
    for _ in 0..2 {
        if !tied {
            assert_eq!(value(&mut b, case.look).await, case.theirs, "another session sees it");
        }
        // Where code may run anything nobody can say what it has set, unless it was seen to before.
        let lost = case.name.contains("made of its argument") || case.look.contains("regclass('here')");
        if !lost {
            assert_eq!(value(&mut a, case.look).await, case.mine, "the session has lost it");
        }
    }
    a.close().await.unwrap();
    assert_eq!(value(&mut b, case.look).await, case.theirs, "another session sees it once it is gone");
    let mut c = client(pgweir).await;
    assert_eq!(value(&mut c, case.look).await, case.theirs, "a new session sees it");
}

async fn prepared(client: &mut Client, sql: &str) {
    let frames = client.run(&Script::new().run(sql, &[]).sync()).await.unwrap();
    assert!(testkit::first_error(&frames).is_none(), "{sql}: {frames:?}");
}

/// A function that runs what it is told, and one that makes up the names of its settings.
async fn anything(world: &World, setup: &Setup) {
    let pgweir = world.pgweir(setup.clone()).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    let told = [
        "select run('set app.tenant = 7')",
        "select run('set role clerk')",
        "select run('reset role')",
        "select run('set work_mem = ''9MB''')",
        "select run('prepare left_behind as select 1')",
        "select run('listen left_behind')",
        "select named('tenant', '7')",
        "select named('t' || 'enant', '7')",
    ];
    for sql in told {
        for _ in 0..TRUST {
            run(&mut a, &["select run('select 1')", "select named('other', 'x')"]).await;
        }
        run(&mut a, &[sql]).await;
        for (look, expected) in [
            (TENANT, ""),
            ("select coalesce(current_setting('app.other', true), '')", ""),
            ("select current_user", "app"),
            ("select current_setting('work_mem')", "4MB"),
            ("select count(*) from pg_prepared_statements", "0"),
            ("select count(*) from pg_listening_channels()", "0"),
        ] {
            assert_eq!(value(&mut b, look).await, expected, "after {sql}: {look}");
        }
        a.close().await.unwrap();
        a = client(&pgweir).await;
    }
}

/// What was learned of code is forgotten when that changes.
async fn long_ago(world: &World, setup: &Setup) {
    let pgweir = world.pgweir(setup.clone()).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    run(&mut b, &["create or replace function later(v text) returns text language sql as 'select v'"]).await;
    for _ in 0..TRUST {
        run(&mut a, &["select later('7')", "insert into t values (1)"]).await;
    }
    run(&mut b, &["create or replace function later(v text) returns text language sql as 'select maybe(v)'"])
        .await;
    run(&mut a, &["select later('7')"]).await;
    assert_eq!(value(&mut b, TENANT).await, "");
    assert_eq!(value(&mut a, TENANT).await, "7");
    run(&mut b, &[
        "create trigger later after insert on t for each statement execute function on_watched()",
        "drop trigger later on t",
        "create function on_t() returns trigger language plpgsql as 'begin perform maybe(''7''); return null; end'",
        "create trigger later after insert on t for each statement execute function on_t()",
    ])
    .await;
    let mut c = client(&pgweir).await;
    run(&mut c, &["insert into t values (1)"]).await;
    assert_eq!(value(&mut b, TENANT).await, "");
    assert_eq!(value(&mut c, TENANT).await, "7");
    run(&mut b, &["drop trigger later on t"]).await;
}

/// A trigger, and a table that has a default, are used before anybody else could see them.
async fn just_made(world: &World, setup: &Setup) {
    let pgweir = world.pgweir(setup.clone()).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    for _ in 0..TRUST {
        run(&mut a, &["insert into t values (1)", "select maybe(null)"]).await;
    }
    let made = [
        "create table fresh (n int, v text default maybe('7'))",
        "create function on_fresh() returns trigger language plpgsql as 'begin perform maybe(''7''); return null; end'; \
         create trigger fresh after insert on t for each statement execute function on_fresh()",
    ];
    let used = ["insert into fresh values (1)", "insert into t values (1)"];
    for (make, used) in made.into_iter().zip(used) {
        let mut c = client(&pgweir).await;
        run(&mut c, &["begin", make, used, "commit"]).await;
        assert_eq!(value(&mut b, TENANT).await, "", "after {make}");
        assert_eq!(value(&mut c, TENANT).await, "7", "after {make}");
        c.close().await.unwrap();
        let mut d = client(&pgweir).await;
        run(&mut d, &[used]).await;
        assert_eq!(value(&mut b, TENANT).await, "", "after {used}");
        assert_eq!(value(&mut d, TENANT).await, "7", "after {used}");
    }
    run(&mut b, &["drop table fresh", "drop trigger fresh on t"]).await;
}

/// What code has left isn't lost where the question for it fails: here nobody may read what it reads, for longer than the
/// session's own time for a statement.
async fn unasked(world: &World, setup: &Setup) {
    let pgweir = world.pgweir(setup.clone().pool_size(2)).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    run(&mut a, &["set statement_timeout = 1500"]).await;
    let mut lock = world.direct().await;
    for (leaves, look, mine, theirs) in [
        ("select maybe('7')", TENANT, "7", ""),
        ("select lock_if(77)", "select count(*) from pg_locks where locktype = 'advisory'", "1", "1"),
    ] {
        // On one connection, where the function has been run: it reads nothing more.
        run(
            &mut a,
            &["begin", "savepoint s", "select maybe('x'), lock_if(78)", "select pg_advisory_unlock(78)"],
        )
        .await;
        lock.rows("begin").await;
        lock.rows("lock pg_catalog.pg_depend").await;
        run(&mut a, &["rollback to s", leaves, "commit"]).await;
        assert_eq!(value(&mut a, "select 1").await, "1");
        lock.rows("rollback").await;
        assert_eq!(value(&mut b, look).await, theirs, "another session sees it");
        assert_eq!(value(&mut a, look).await, mine, "the session has lost it");
    }
    a.close().await.unwrap();
    let mut direct = world.direct().await;
    let locks = "select count(*) from pg_locks where locktype = 'advisory'";
    pgweir_tests::world::soon("its lock is gone", async || direct.value(locks).await == "0").await;
    // The connection is lost before it has answered: so is what is on it, and the client is told.
    let mut c = client(&pgweir).await;
    run(&mut c, &["begin", "select maybe('x')"]).await;
    let pid = value(&mut c, "select pg_backend_pid()").await;
    lock.rows("begin").await;
    lock.rows("lock pg_catalog.pg_depend").await;
    run(&mut c, &["select maybe('7')", "commit"]).await;
    let asking =
        format!("select count(*) from pg_stat_activity where pid = {pid} and wait_event_type = 'Lock'");
    pgweir_tests::world::soon("it is asked", async || direct.value(&asking).await == "1").await;
    direct.value(&format!("select pg_terminate_backend({pid})")).await;
    lock.rows("rollback").await;
    let told = c.query(TENANT).await;
    let lost = |frames: &[testkit::Frame]| testkit::first_error(frames).is_some_and(|e| e.code == "57P01");
    assert!(told.as_ref().map_or(true, |frames| lost(frames)), "{told:?}");
}

/// On one connection that others use: nobody is tied to it.
async fn made_by_code(world: &World, setup: &Setup) {
    let pgweir = world.pgweir(setup.clone()).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    run(&mut a, &["select run('prepare mine (int) as select $1 + 1')", "select run('listen news')"]).await;
    run(&mut b, &["select run('prepare mine (int) as select $1 + 2')", "notify news, 'from b'"]).await;
    for _ in 0..2 {
        assert_eq!(value(&mut a, "execute mine (1)").await, "2");
        assert_eq!(value(&mut b, "execute mine (1)").await, "3");
        assert_eq!(value(&mut a, "select run('execute mine (1)')").await, "1");
    }
    let heard = a.query("notify news, 'own'").await.unwrap();
    let heard: Vec<_> = heard.iter().filter(|frame| frame.tag == b'A').collect();
    assert_eq!(heard.len(), 1, "{heard:?}");
    run(&mut a, &["select run('deallocate mine')", "select run('unlisten *')"]).await;
    assert_eq!(pgweir_tests::talk::refusal(&mut a, "execute mine (1)").await.code, "26000");
    assert_eq!(value(&mut b, "execute mine (1)").await, "3");
    let heard = a.query("notify news, 'nobody'").await.unwrap();
    assert!(heard.iter().all(|frame| frame.tag != b'A'), "{heard:?}");
}
