//! SQL's PREPARE, EXECUTE and DEALLOCATE on connections that are shared: answered as by Postgres itself.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::net::SocketAddr;

use pgweir_tests::Cases;
use pgweir_tests::talk::without_source;
use pgweir_tests::world::{World, names};
use testkit::{Client, Cluster, ConnectOptions, Frame, Pgweir, Script, first_error, normalize, rows, tags};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sql_prepares_is_the_sessions_own() {
    let world = World::start_with(Cluster::builder().replicas(1));
    world.cluster.psql_as(0, "app", "app", SCHEMA).unwrap();
    world.cluster.wait_all_caught_up().unwrap();
    let pgweir = world.pgweir(world.setup().pool_size(2).set("instance.workers", "1")).await;
    let ground = Ground { world: &world, pgweir };
    let mut cases = Cases::new();
    for (name, talk) in conversations() {
        cases.run(name, ground.same(talk)).await;
    }
    cases.run("a table that is changed under a session of its own", changed_when_tied(&ground)).await;
    cases.run("in session mode", in_session_mode(&ground)).await;
    cases.run("a table that is changed behind a plan", changed_table(&ground)).await;
    cases.run("an EXECUTE goes where what it executes may go", routed(&ground)).await;
    cases.run("a replica that refuses what is executed", refused_by_replica(&ground)).await;
    cases.run("too many names", too_many_names(&ground)).await;
    cases.run("nobody is pinned by that", unpinned(&ground)).await;
    cases.finish();
}

const SCHEMA: &str = "
    create table log (n int);
    create table wide (a int, b text);
    insert into wide values (1, 'one'), (2, 'two');
    create sequence tickets;
    create view ticket as select nextval('tickets') as n;
    create function runs(command text) returns int language plpgsql as
        $$ declare found int; begin execute command into found; return found; end $$;
";

/// One Postgres with pgweir in front, which has two connections to it.
struct Ground<'a> {
    world: &'a World,
    pgweir: Pgweir,
}

impl Ground<'_> {
    /// A conversation is answered as by Postgres: wherever its turns land, and when other clients go between them who
    /// have prepared other things under the same names.
    async fn same(&self, talk: Vec<Script>) {
        let direct = self.hold(self.direct().connect().await.unwrap(), &talk, &mut []).await;
        let mut others = Vec::new();
        for n in 0..3 {
            let mut other = of(&self.pgweir).connect().await.unwrap();
            other.rows(&format!("prepare a as select 'not yours {n}'")).await.unwrap();
            others.push(other);
        }
        let through = of(&self.pgweir).connect().await.unwrap();
        let through = self.hold(through, &talk, &mut others).await;
        for (turn, (direct, through)) in direct.iter().zip(&through).enumerate() {
            assert!(direct == through, "turn {turn}\ndirect:  {direct:?}\nthrough: {through:?}");
        }
    }

    /// A client of Postgres itself.
    fn direct(&self) -> ConnectOptions {
        let node = SocketAddr::from(([127, 0, 0, 1], self.world.cluster.primary().port()));
        Client::to(node).user("app", "app-secret").database("app")
    }

    async fn hold(&self, mut client: Client, talk: &[Script], others: &mut [Client]) -> Vec<Vec<Frame>> {
        self.world.cluster.psql_as(0, "app", "app", RESTORE).unwrap();
        let mut turns = Vec::new();
        let mut taken = None;
        for (turn, script) in talk.iter().enumerate() {
            // One of the two connections is another's now, in turn.
            if let Some((n, other)) = others.iter_mut().enumerate().nth(turn % 3) {
                other.rows("begin").await.unwrap();
                let yours = other.value("execute a").await.unwrap();
                assert_eq!(yours, format!("not yours {n}"));
                taken = Some(n);
            }
            let answer = normalize(client.run(script).await.unwrap());
            turns.push(answer.into_iter().map(comparable).collect());
            if let Some(other) = taken.take().map(|n: usize| &mut others[n]) {
                other.rows("commit").await.unwrap();
            }
        }
        client.close().await.unwrap();
        turns
    }
}

const RESTORE: &str = "truncate log; drop table if exists late; drop table if exists made";

/// A message without what differs from run to run: the place in Postgres' source, and the OID of a table.
fn comparable(mut frame: Frame) -> Frame {
    match frame.tag {
        b'E' | b'N' => return without_source(frame, b"EN"),
        b'T' => {
            let mut at = 2;
            while let Some(end) = frame.body[at..].iter().position(|byte| *byte == 0) {
                frame.body[at + end + 1..at + end + 5].fill(0);
                at += end + 19;
            }
        }
        _ => {}
    }
    frame
}

/// A client whose reads go to the primary too.
fn of(pgweir: &Pgweir) -> ConnectOptions {
    pgweir.client("app", "app").parameter("pgweir.role", "primary")
}

fn s() -> Script {
    Script::new()
}

const LIST: &str =
    "select name, statement, parameter_types, from_sql from pg_prepared_statements order by name";

const PLANS: &str = "select name, generic_plans, custom_plans from pg_prepared_statements order by 1";

/// A turn for each text.
fn turns(texts: &[&str]) -> Vec<Script> {
    texts.iter().map(|text| s().query(text)).collect()
}

fn conversations() -> Vec<(&'static str, Vec<Script>)> {
    vec![
        (
            "prepared, executed, deallocated",
            turns(&[
                "prepare a as select 1 as one",
                "execute a",
                "execute a",
                "EXECUTE \"a\" ;",
                "deallocate a",
                "execute a",
                "prepare a(int, text) as select $1 + 1, $2 || '!'",
                "execute a(41, 'x')",
                "execute a(1)",
                "execute a(1 + 1, upper('x'))",
                "execute a('x', 'y')",
                "execute a(nothing, 'y')",
                "deallocate prepare a",
                "deallocate a",
            ]),
        ),
        (
            "names that exist, and errors of the text",
            turns(&[
                "prepare a as select 1",
                "prepare a as select 2",
                "prepare a as select nothing",
                "prepare b as select nothing from wide",
                "prepare a_very_long_name_indeed as select nothing from wide",
                "prepare b as selec",
                "prepare b(nosuchtype) as select $1",
                "prepare b as insert into nowhere values (1)",
                "execute b",
                "execute a",
                "prepare \"with space\" as select 'spaced'",
                "execute \"with space\"",
                "execute \"with space\"(1)",
                "prepare \"ä\" as select 'umlaut', nothing",
                "prepare \"ä\" as select 'umlaut'",
                "execute \"ä\"(1)",
                "execute ä",
                "prepare pgweir_0 as select 'mine'",
                "execute pgweir_0",
                "deallocate pgweir_0",
                "execute pgweir_0",
                "execute pgweir_1",
                "deallocate pgweir_1",
            ]),
        ),
        (
            "in transactions",
            turns(&[
                "begin",
                "prepare a as select 1",
                "execute a",
                "rollback",
                "execute a",
                "begin",
                "prepare a as select 2",
                "execute a",
                "rollback",
                "execute a",
                "begin",
                "execute nowhere",
                "prepare b as select 3",
                "execute a",
                "rollback",
                "execute b",
                "begin",
                "savepoint s",
                "prepare b as select nothing",
                "rollback to s",
                "prepare b as select 'after'",
                "execute b",
                "deallocate b",
                "commit",
                "execute b",
                "begin",
                "create table late (n int)",
                "prepare l as select * from late",
                "execute l",
                "rollback",
                "execute l",
                "execute a",
            ]),
        ),
        (
            "writes",
            turns(&[
                "prepare ins(int) as insert into log values ($1) returning n",
                "execute ins(1)",
                "begin",
                "execute ins(2)",
                "rollback",
                "execute ins(3)",
                "select n from log order by n",
                "prepare upd as update log set n = n + 10",
                "execute upd",
                "prepare del as delete from log where n = 11 returning n",
                "execute del",
                "select n from log order by n",
            ]),
        ),
        (
            "explained, and into a table",
            turns(&[
                "prepare q(int) as select a from wide where a = $1",
                "explain (costs off) execute q(1)",
                "explain (costs off) execute nowhere",
                "create table made as execute q(2)",
                "select * from made",
                "create table made as execute q(2)",
                "create table if not exists made(x) as execute q(1) with no data",
                "create temp table m2 on commit drop as execute q(1)",
                "create table m3 as execute nowhere",
            ]),
        ),
        (
            "several statements in one text",
            turns(&[
                "prepare a as select 1; execute a; deallocate a; execute a",
                "prepare a as select 1; prepare b as select 1; execute a; execute b",
                "execute a; execute b; execute c; execute a",
                "execute b",
                "prepare c as select 3; select 1/0; prepare d as select 4",
                "execute c",
                "execute d",
                "deallocate a; select 1/0; deallocate b",
                "execute a",
                "execute b",
                "deallocate all; prepare a as select 'new'; select 1/0",
                "execute a",
                "execute c",
                "begin; prepare t as select 5; execute t; rollback",
                "execute t",
                "prepare x as select 1; prepare x as select 2; prepare y as select 3",
                "execute x",
                "execute y",
                "select 'no such thing' from wide where a = 7; execute nowhere",
            ]),
        ),
        (
            "settings by which it is read",
            turns(&[
                "set search_path to s1",
                "prepare a as select who from here",
                "execute a",
                "set search_path to s2",
                "execute a",
                "reset search_path",
                "begin",
                "set local search_path to s1",
                "prepare b as select who from here",
                "execute b",
                "execute a",
                "commit",
                "set search_path to s2; prepare c as select who from here; execute c; reset search_path",
                "set search_path to s2",
                "execute c",
            ]),
        ),
        (
            "DEALLOCATE ALL, DISCARD",
            turns(&[
                "prepare a as select 1",
                "prepare b as select 2",
                "discard plans",
                "execute a",
                "deallocate all",
                "execute a",
                "prepare a as select 'again'",
                "execute a",
                "begin",
                "deallocate all",
                "rollback",
                "execute a",
                "prepare a as select 'once more'",
                "discard all",
                "execute a",
                "prepare a as select 'last'",
                "execute a",
            ]),
        ),
        (
            "one namespace with the protocol's",
            vec![
                s().parse("p", "select 'by parse'", &[]).sync(),
                s().query("execute p"),
                s().query("begin"),
                s().query("execute p"),
                s().query("commit"),
                s().query("prepare p as select 2"),
                s().query("prepare a(int) as select $1 * 2 as twice"),
                s().bind("", "a", &[Some("21")]).describe_portal("").execute("", 0).sync(),
                s().describe_statement("a").sync(),
                s().parse("a", "select 3", &[]).sync(),
                s().query("deallocate p"),
                s().bind("", "p", &[]).execute("", 0).sync(),
                s().close_statement("a").sync(),
                s().query("execute a"),
                s().parse("", "select 'unnamed'", &[]).bind("", "", &[]).bind("x", "nowhere", &[]).sync(),
                s().query("prepare n as select 'n'"),
                s().parse("", "select 'unnamed'", &[])
                    .bind("", "", &[])
                    .bind("x", "n", &[])
                    .execute("", 0)
                    .execute("x", 0)
                    .bind("", "", &[])
                    .execute("", 0)
                    .sync(),
            ],
        ),
        (
            "by the extended protocol",
            vec![
                s().run("prepare a(int) as select $1 + 1 as more", &[]).sync(),
                s().run("execute a(1)", &[]).sync(),
                s().run("execute a(nothing)", &[]).sync(),
                s().run("execute a", &[]).sync(),
                s().run("prepare a as select 1", &[]).sync(),
                s().run("prepare b as select nothing", &[]).sync(),
                s().run("prepare b as selec", &[]).sync(),
                s().run("execute b", &[]).run("execute a(1)", &[]).sync(),
                s().run("execute pgweir_0", &[]).sync(),
                s().run("deallocate pgweir_0", &[]).sync(),
                s().query("execute a(2)"),
                s().parse("e", "execute a(3)", &[]).describe_statement("e").sync(),
                s().bind("", "e", &[]).describe_portal("").execute("", 0).sync(),
                s().query("deallocate a"),
                s().bind("", "e", &[]).execute("", 0).sync(),
                s().query("prepare a(int) as select $1 * 100 as more"),
                s().bind("", "e", &[]).describe_portal("").execute("", 0).sync(),
                s().run("deallocate a", &[]).sync(),
                s().parse("l", "execute later", &[]).sync(),
                s().query("prepare later as select 'late'"),
                s().bind("", "l", &[]).describe_portal("").execute("", 0).sync(),
                s().run("explain (costs off) execute later", &[]).sync(),
                s().run("create temp table m on commit drop as execute later", &[]).sync(),
                s().run("select 1/0", &[]).run("prepare skipped as select 1", &[]).sync(),
                s().run("execute skipped", &[]).sync(),
                s().run("prepare x as select 'x'", &[]).run("execute x", &[]).run("select 1/0", &[]).sync(),
                s().run("execute x", &[]).sync(),
                s().query("begin"),
                s().run("prepare y as select 'y'", &[]).sync(),
                s().query("rollback"),
                s().run("execute y", &[]).run("deallocate y", &[]).run("execute y", &[]).sync(),
                s().parse("p", "prepare z as select 'z'", &[]).sync(),
                s().bind("one", "p", &[]).execute("one", 0).bind("two", "p", &[]).execute("two", 0).sync(),
                s().query("execute z"),
                s().query("deallocate z"),
                s().bind("one", "p", &[]).execute("one", 0).sync(),
                s().query("execute z"),
                s().run("deallocate all", &[]).sync(),
                s().query("execute z"),
            ],
        ),
        (
            "the list of what is prepared",
            vec![
                s().query("prepare a as select 1;"),
                s().query("prepare \"b C\"(int, text) as select $1, $2"),
                s().parse("p", "select $1::int + 1", &[]).parse("p2", "select $1", &[25]).sync(),
                s().query(LIST),
                s().query("begin"),
                s().query("prepare c as\n select 3 ;"),
                s().query(LIST),
                s().query("execute c"),
                s().bind("", "p", &[Some("1")]).execute("", 0).sync(),
                s().query(LIST),
                s().query("rollback"),
                s().run(LIST, &[]).sync(),
                s().parse("list", LIST, &[]).sync(),
                s().bind("", "list", &[]).execute("", 0).sync(),
                s().query("deallocate list"),
                s().query("deallocate all"),
                s().query(LIST),
                s().query("execute a"),
                s().query("select 1/0"),
                s().query("begin").query("select 1/0").query(LIST).query("rollback"),
                s().query("prepare d as select 1; prepare e as select 2"),
                s().query("select name, parameter_types from pg_catalog.pg_prepared_statements order by 1"),
                s().query("create table late (n int)"),
                s().query("prepare l as select * from late"),
                s().query("drop table late"),
                s().query("select name from pg_prepared_statements where name < 'l' order by 1"),
                s().query("begin"),
                s().query("select name from pg_prepared_statements where name < 'l' order by 1"),
                s().query("commit"),
            ],
        ),
        (
            "how often it was planned",
            turns(&[
                "prepare a(int) as select a from wide where a = $1",
                PLANS,
                "execute a(1)",
                PLANS,
                "set plan_cache_mode to force_generic_plan",
                "explain (costs off) execute a(1)",
                PLANS,
                "prepare b as select 2; execute b",
                "execute b",
                "prepare b as select 3",
                "deallocate a",
                "execute a(1)",
                PLANS,
                "select runs('execute b')",
                "deallocate all",
                PLANS,
                "prepare b as select 4",
                "execute b",
            ]),
        ),
        (
            "names that are no text",
            vec![
                s().parse("a", "select 1", &[]).sync(),
                s().message(b'P', b"\xff\0select 1\0\0\0").sync(),
                s().message(b'B', b"\0\xffa\0\0\0\0\0\0\0").sync(),
                s().message(b'D', b"S\xc3\0").sync(),
                s().message(b'C', b"S\xc3(\0").sync(),
                s().query("begin"),
                s().message(b'C', b"S\xc3(\0").sync(),
                s().query("rollback"),
                s().message(b'Q', b"prepare \"\xff\" as select 1\0"),
                s().message(b'Q', b"execute \xff\0"),
                s().bind("", "a", &[]).execute("", 0).sync(),
            ],
        ),
        (
            "names inside functions and blocks",
            turns(&[
                "prepare a(int) as select $1 * 2",
                "select runs('execute a(21)')",
                "select runs('execute a(22)')",
                "execute a(23)",
                "begin",
                "select runs('execute a(24)')",
                "commit",
                "select runs('execute nowhere')",
                "deallocate a",
                "select runs('execute a(25)')",
                "prepare ins(int) as insert into log values ($1)",
                "do $$ begin execute 'execute ins(1)'; end $$",
                "do $$ begin execute 'execute ins(2)'; commit; execute 'execute ins(3)'; rollback; end $$",
                "begin",
                "do $$ begin execute 'execute ins(4)'; end $$",
                "commit",
                "select n from log order by n",
                "execute ins(5)",
                "select count(*) from log",
            ]),
        ),
        (
            "several Querys at once",
            vec![
                s().query("prepare a as select 1")
                    .query("execute a")
                    .query("deallocate a")
                    .query("execute a"),
                s().query("begin")
                    .query("prepare a as select 1")
                    .query("execute a")
                    .query("prepare a as select 2")
                    .query("execute a")
                    .query("rollback")
                    .query("execute a"),
                s().query("begin").query("prepare b as select nothing").query("execute b").query("rollback"),
                s().query("execute b"),
            ],
        ),
    ]
}

/// Both connections have a plan for rows of another shape: an EXECUTE by Query, which says what its rows are, sees
/// nothing of it; a Bind is told once, as by Postgres, and finds it prepared anew then.
async fn changed_table(ground: &Ground<'_>) {
    let sql = |sql: &str| ground.world.cluster.psql_as(0, "app", "app", sql).unwrap();
    sql("create table late (n int); insert into late values (1)");
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = of(&ground.pgweir).connect().await.unwrap();
        client.rows("prepare a as select * from late").await.unwrap();
        client.run(&s().parse("b", "select * from late", &[]).sync()).await.unwrap();
        clients.push(client);
    }
    for client in &mut clients {
        client.rows("begin").await.unwrap();
        assert_eq!(client.value("execute a").await.unwrap(), "1");
        client.rows("execute b").await.unwrap();
    }
    for client in &mut clients {
        client.rows("commit").await.unwrap();
    }
    sql("alter table late alter n type text using 'text'");
    for client in &mut clients {
        client.rows("begin").await.unwrap();
    }
    // In a transaction there is no going back.
    let frames = clients[0].query("execute a").await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "0A000", "{frames:?}");
    clients[0].rows("rollback").await.unwrap();
    assert_eq!(clients[0].value("execute a").await.unwrap(), "text");
    clients[0].rows("begin").await.unwrap();
    assert_eq!(clients[0].value("execute a").await.unwrap(), "text");
    // The other connection is the only one that is free.
    clients[1].rows("rollback").await.unwrap();
    assert_eq!(clients[1].value("execute a").await.unwrap(), "text");
    clients[0].rows("rollback").await.unwrap();
    clients[1].run(&s().bind("", "b", &[]).execute("", 0).sync()).await.unwrap();
    sql("alter table late alter n type int using 3");
    let run = s().bind("", "b", &[]).execute("", 0).sync();
    let frames = clients[1].run(&run).await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "0A000", "{frames:?}");
    assert_eq!(rows(&clients[1].run(&run).await.unwrap()), [[Some("3".to_owned())]]);
    sql("drop table late");
}

/// A session that keeps its connection is told as by Postgres, each time, until it prepares anew or the change is undone.
async fn changed_when_tied(ground: &Ground<'_>) {
    let talk = turns(&[
        "create temp table mine (a int); insert into mine values (1)",
        "prepare a as select * from mine",
        "prepare b(int) as select * from mine where a = $1",
        "execute a",
        "execute b(1)",
        "alter table mine add column b text default 'new'",
        "execute a",
        "execute b(1)",
        "execute a",
        "alter table mine drop column b",
        "execute a",
        "execute b(1)",
        "alter table mine add column c int",
        "execute a",
        "deallocate a",
        "prepare a as select * from mine",
        "execute a",
        "execute a",
        "drop table mine",
        "execute a",
    ]);
    ground.same(talk).await;
    let talk = vec![
        s().query("create temp table mine (a int); insert into mine values (1)"),
        s().parse("p", "select * from mine", &[]).bind("", "p", &[]).execute("", 0).sync(),
        s().query("alter table mine add column b int"),
        s().bind("", "p", &[]).execute("", 0).sync(),
        s().close_statement("p").sync(),
        s().parse("p", "select * from mine", &[]).bind("", "p", &[]).execute("", 0).sync(),
        s().query("drop table mine"),
    ];
    ground.same(talk).await;
}

/// The connection is the session's, and what was shown on it stays: functions find what is prepared, and no more.
async fn in_session_mode(ground: &Ground<'_>) {
    let setup = ground.world.setup().pool_mode("session").pool_size(4).set("instance.workers", "1");
    let ground = Ground { world: ground.world, pgweir: ground.world.pgweir(setup).await };
    for (name, talk) in conversations() {
        if ["names inside functions and blocks", "the list of what is prepared"].contains(&name) {
            ground.same(talk).await;
        }
    }
    let mut talk = turns(&["prepare a as select 1", "select runs('execute a')", "select runs('execute a')"]);
    talk.push(s().parse("p", "select 2", &[]).sync());
    talk.extend(turns(&[
        LIST,
        "select runs('execute a')",
        "deallocate p",
        "prepare p as select 3",
        "execute p",
        "select runs('execute p')",
        LIST,
        "discard all",
        "execute a",
        "prepare a as select 5",
        "select runs('execute a')",
        LIST,
    ]));
    ground.same(talk).await;
}

async fn routed(ground: &Ground<'_>) {
    let mut client = ground.pgweir.client("app", "app").connect().await.unwrap();
    client.rows("prepare r(int) as select b from wide where a = $1").await.unwrap();
    client.rows("prepare w(int) as insert into log values ($1)").await.unwrap();
    for (sql, reason) in [
        ("execute r(1)", "reads only"),
        ("execute w(1)", "INSERT writes"),
        ("execute r(1); execute w(2)", "statement 2 of 2: INSERT writes"),
        ("explain execute w(3)", "reads only"),
        ("create table made as execute r(2)", "CREATE writes"),
        ("execute r(runs('select 1'))", "EXECUTE writes"),
    ] {
        client.rows(sql).await.unwrap();
        let route = client.rows("show pgweir.route").await.unwrap();
        assert_eq!(route[0][4].as_deref(), Some(reason), "{sql}");
    }
    assert_eq!(client.value("execute r(2)").await.unwrap(), "two");
}

/// A view that writes looks like a read.
async fn refused_by_replica(ground: &Ground<'_>) {
    let mut client = ground.pgweir.client("app", "app").connect().await.unwrap();
    client.rows("prepare t as select n from ticket").await.unwrap();
    assert_eq!(client.value("execute t").await.unwrap(), "1");
    assert_eq!(client.value("execute t").await.unwrap(), "2");
    client.run(&s().parse("p", "select n from ticket", &[]).sync()).await.unwrap();
    assert_eq!(client.value("execute p").await.unwrap(), "3");
}

/// What one client may have is bounded, and the client stays.
async fn too_many_names(ground: &Ground<'_>) {
    let mut client = of(&ground.pgweir).connect().await.unwrap();
    let many: String = (0..10_000).map(|n| format!("prepare n{n} as select {n};")).collect();
    for part in many.split_inclusive(';').collect::<Vec<_>>().chunks(1000) {
        client.rows(&part.concat()).await.unwrap();
    }
    for sql in ["prepare more as select 1", "prepare more as select 1; select 2"] {
        assert_eq!(first_error(&client.query(sql).await.unwrap()).unwrap().code, "54000");
    }
    let frames = client.run(&s().run("prepare more as select 1", &[]).sync()).await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "54000", "{frames:?}");
    assert_eq!(client.value("execute n9999").await.unwrap(), "9999");
    // Portals: closed ones don't count.
    client.rows("deallocate all").await.unwrap();
    client.run(&s().parse("p", "select 1", &[]).sync()).await.unwrap();
    client.rows("begin").await.unwrap();
    let binds =
        |from: usize, to: usize| (from..to).fold(s(), |script, n| script.bind(&format!("c{n}"), "p", &[]));
    let frames = client.run(&binds(0, 9_999).close_portal("c7").bind("c7", "p", &[]).sync()).await.unwrap();
    assert!(first_error(&frames).is_none());
    let frames = client.run(&binds(9_999, 10_001).sync()).await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "54000");
    assert_eq!(tags(&frames), "2EZ");
    assert_eq!(first_error(&client.query("select 1").await.unwrap()).unwrap().code, "25P02");
    client.rows("rollback").await.unwrap();
    assert_eq!(client.value("select 1").await.unwrap(), "1");
}

async fn unpinned(ground: &Ground<'_>) {
    let mut client = of(&ground.pgweir).connect().await.unwrap();
    client.rows("prepare a as select 1").await.unwrap();
    client.rows("prepare b as select 2; execute b; execute a").await.unwrap();
    client.run(&s().run("prepare c as select 3", &[]).run("execute c", &[]).sync()).await.unwrap();
    assert_eq!(pinned(&ground.pgweir).await, 0);
    assert_eq!(client.value("execute a").await.unwrap(), "1");
}

/// How many sessions are pinned.
async fn pinned(pgweir: &Pgweir) -> usize {
    let frames = pgweir.console().await.unwrap().query("SHOW NODE_POOLS").await.unwrap();
    let at = names(&frames).iter().position(|column| column == "pinned").unwrap();
    rows(&frames).iter().map(|row| row[at].as_ref().unwrap().parse::<usize>().unwrap()).sum()
}
