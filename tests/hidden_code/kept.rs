//! Code that leaves in its server process what nobody can ask for, a seed or a library: its session is tied to the
//! connection, which nobody else gets afterwards.

use pgweir_tests::talk::{client, refusal, run, value};
use pgweir_tests::world::{World, soon};
use testkit::{Client, Pgweir, SUPERUSER, Script};

/// What comes first, and the statements that seed with 0.5.
struct Case {
    name: &'static str,
    before: &'static [&'static str],
    seeds: &'static [&'static str],
}

const fn case(name: &'static str, seeds: &'static [&'static str]) -> Case {
    Case { name, before: &[], seeds }
}

const UNREADABLE: &str = "in DO, written with escapes";

const CASES: &[Case] = &[
    case("a function", &["select seeds(0.5)"]),
    case("a function that fails behind it", &["select seeds_and_fails(0.5)"]),
    case("and rolled back", &["begin", "select seeds(0.5)", "rollback"]),
    case("by a procedure", &["call seeds_called(0.5)"]),
    case("by functions that call functions", &["select outermost(0.5)"]),
    case("by a function in SQL", &["select in_sql(0.5)"]),
    case("by a function whose body is parsed", &["select atomic(0.5)"]),
    case("by a function that writes its name with escapes", &["select escaped(0.5)"]),
    case("by SQL that a function puts together", &["select put_together(0.5)"]),
    case("in DO", &["do $$begin perform setseed(0.5); end$$"]),
    Case {
        name: "in DO, where another did nothing",
        before: &["do $$begin perform 1; end$$"; 8],
        seeds: &["do $$begin perform setseed(0.5); end$$"],
    },
    case(UNREADABLE, &[r"do e'begin perform \x73etseed(0.5); end'"]),
    case("in DO, a name written with escapes", &[r#"do $$begin perform U&"s\0065tseed"(0.5); end$$"#]),
    case("a name written with escapes", &[r#"select U&"s\0065tseed"(0.5)"#]),
    case("such a name of a function", &[r#"select U&"s\0065eds"(0.5)"#]),
    case("by a trigger", &["insert into seeded values (0.5)"]),
    case("by a default", &["insert into defaults (n) values (1)"]),
    case("by a view", &["select * from seed_view"]),
    Case {
        name: "by a trigger, in a session that is tied already",
        before: &["create temp table mine (n int)"],
        seeds: &["insert into seeded values (0.5)", "drop table mine"],
    },
];

const CODE: &str = r#"
    create function seeds(v float) returns text language plpgsql as 'begin perform setseed(v); return 1; end';
    create function seeds_and_fails(v float) returns text language plpgsql as 'begin perform setseed(v); return 1 / 0; end';
    create procedure seeds_called(v float) language plpgsql as 'begin perform setseed(v); end';
    create function inner_seed(v float) returns text language plpgsql as 'begin return seeds(v); end';
    create function outermost(v float) returns text language sql as 'select inner_seed(v)';
    create function in_sql(v float) returns text language sql as 'select setseed(v); select ''x''';
    create function atomic(v float) returns text language sql begin atomic select setseed(v); select 'x'; end;
    create function escaped(v float) returns text language plpgsql as
        $$begin perform U&"set\+000073eed"(v); return 1; end$$;
    create function put_together(v float) returns text language plpgsql as
        $$begin execute format('select setseed(%s)', v); return 1; end$$;
    create table seeded (v float);
    create function on_seeded() returns trigger language plpgsql as 'begin perform seeds(new.v); return new; end';
    create trigger on_seeded before insert on seeded for each row execute function on_seeded();
    create table defaults (n int, v text default seeds(0.5));
    create view seed_view as select 1 as one, setseed(0.5) is null as seeded;
    create function seed_op(a numeric, b int) returns text language sql as 'select seeds(a)';
    create operator ||| (leftarg = numeric, rightarg = int, function = seed_op);
"#;

const CODE_OF_BOSS: &str = "
    create function loads() returns int language plpgsql security definer as
        $$begin load 'auto_explain'; return 1; end$$;
    create function loads_sometimes(n int) returns int language plpgsql security definer as
        $$begin if n > 0 then execute 'LOAD ' || quote_literal('auto_explain'); end if; return 1; end$$;
    create table loading (n int); grant all on loading to app;
    create function on_loading() returns trigger language plpgsql security definer as
        'begin perform public.loads(); return new; end';
    create trigger on_loading before insert on loading for each row execute function on_loading()";

/// In its own database, so that what is everywhere in it is known to nobody else.
pub(crate) async fn cases(world: &World, cases: &mut pgweir_tests::Cases) {
    world.cluster.psql_as(0, "app", "second", CODE).unwrap();
    world.cluster.psql_as(0, SUPERUSER, "second", CODE_OF_BOSS).unwrap();
    let setup = world.setup().set("instance.workers", "1").pool_size(2).set("pool.pinned", "1");
    let pgweir = world.pgweir(setup).await;
    for case in CASES {
        cases.run(&format!("a seed: {}", case.name), keeps_its_seed(world, &pgweir, case)).await;
    }
    for sql in ["select loads()", "select loads_sometimes(1)", "insert into loading values (1)"] {
        cases.run(&format!("a library: {sql}"), keeps_its_library(world, &pgweir, sql)).await;
    }
    cases.run("no more than may be", no_more_than_may_be(world, &pgweir)).await;
}

async fn of_second(pgweir: &Pgweir) -> Client {
    pgweir.client("app", "app").database("second").connect().await.unwrap()
}

/// The session's random numbers are those that its seed gives, whatever others do; and others have none of them.
async fn keeps_its_seed(world: &World, pgweir: &Pgweir, case: &Case) {
    let mut direct = world.direct().await;
    direct.value("select setseed(0.5)").await;
    let expected = [direct.value("select random()").await, direct.value("select random()").await];
    let (mut a, mut b) = (of_second(pgweir).await, of_second(pgweir).await);
    run(&mut a, case.before).await;
    for sql in case.seeds {
        a.query(sql).await.unwrap();
    }
    let pid = value(&mut a, "select pg_backend_pid()").await;
    for expected in expected {
        for _ in 0..3 {
            assert_ne!(value(&mut b, "select random()").await, expected, "another session has its numbers");
        }
        assert_eq!(value(&mut a, "select random()").await, expected, "the session has lost its seed");
    }
    // What can't be read may be a LOAD too.
    let why = if case.name == UNREADABLE { "load" } else { "setseed" };
    assert_eq!(pinned(pgweir).await, [why]);
    is_gone_with(world, a, &pid).await;
}

async fn keeps_its_library(world: &World, pgweir: &Pgweir, sql: &str) {
    const LOADED: &str = "select current_setting('auto_explain.log_min_duration', true) is not null";
    let (mut a, mut b) = (of_second(pgweir).await, of_second(pgweir).await);
    assert_eq!(value(&mut a, LOADED).await, "f");
    run(&mut a, &[sql]).await;
    let pid = value(&mut a, "select pg_backend_pid()").await;
    for _ in 0..2 {
        assert_eq!(value(&mut b, LOADED).await, "f", "another session has it");
        assert_eq!(value(&mut a, LOADED).await, "t", "the session has lost it");
    }
    assert_eq!(pinned(pgweir).await, ["load"]);
    run(&mut a, &["discard all"]).await;
    assert_eq!(value(&mut a, LOADED).await, "t", "DISCARD ALL unloads nothing");
    is_gone_with(world, a, &pid).await;
}

/// The one that is too many is refused before it has done anything, once that is known of its text.
async fn no_more_than_may_be(world: &World, pgweir: &Pgweir) {
    let (mut a, mut b) = (of_second(pgweir).await, of_second(pgweir).await);
    run(&mut a, &["select seeds(0.25)"]).await;
    let pid = value(&mut a, "select pg_backend_pid()").await;
    assert_eq!(refusal(&mut b, "select seeds(0.75)").await.code, "53300");
    let frames = b.run(&Script::new().run("select seeds(0.75)", &[]).sync()).await.unwrap();
    assert_eq!(testkit::first_error(&frames).unwrap().code, "53300");
    assert_eq!(value(&mut b, "select 1").await, "1");
    is_gone_with(world, a, &pid).await;
    let mut c = client(pgweir).await;
    run(&mut c, &["select 1"]).await;
}

/// The connection ends with its session.
async fn is_gone_with(world: &World, session: Client, pid: &str) {
    session.close().await.unwrap();
    let mut direct = world.direct().await;
    let there = format!("select count(*) from pg_stat_activity where pid = {pid}");
    soon("its connection is closed", async || direct.value(&there).await == "0").await;
}

/// What ties the sessions that are tied.
async fn pinned(pgweir: &Pgweir) -> Vec<String> {
    let frames = pgweir.console().await.unwrap().query("SHOW CLIENTS").await.unwrap();
    let at = pgweir_tests::world::names(&frames).iter().position(|name| name == "pinned").unwrap();
    testkit::rows(&frames)
        .into_iter()
        .filter_map(|row| row[at].clone())
        .filter(|why| !why.is_empty())
        .collect()
}
