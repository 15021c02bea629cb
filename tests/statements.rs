//! Prepared statements over shared connections: whose they are, how they are read, and what an error leaves of them.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::net::SocketAddr;

use pgweir_tests::Cases;
use pgweir_tests::talk::without_source;
use pgweir_tests::world::World;
use testkit::{Client, Cluster, ConnectOptions, Frame, Pgweir, Script, first_error, normalize, rows, tags};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_statements_are_the_sessions_own() {
    let world = World::start_with(Cluster::builder().replicas(1));
    world.cluster.psql_as(0, "app", "app", SCHEMA).unwrap();
    world.cluster.wait_all_caught_up().unwrap();
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let ground = Ground { world, pgweir };
    let mut cases = Cases::new();
    for (name, talk) in conversations() {
        cases.run(name, ground.same(talk)).await;
    }
    cases.run("a Parse that is skipped while the next segment is on its way", skipped_parse(&ground)).await;
    cases.run("a statement that a replica refuses has its name once", replayed_parse(&ground)).await;
    cases
        .run("the unnamed statement is the former one when a request is run again", replayed_unnamed(&ground))
        .await;
    cases.run("DEALLOCATE of what others share", deallocate_shared(&ground)).await;
    for (setting, values, sql) in READ_BY {
        cases.run(&format!("read by {setting}"), read_by_settings(&ground, setting, *values, sql)).await;
    }
    cases.run("one statement for whoever sets something of his own", shared_still(&ground)).await;
    cases.run("what was prepared is kept in session mode", kept_in_session_mode(&ground)).await;
    cases.finish();
}

const SCHEMA: &str = "
    create table once (n int primary key);
    create sequence tickets;
    create view ticket_a as select nextval('tickets') as a;
    create view ticket_b as select nextval('tickets') as b;
    create function there(what text) returns setof text language sql as
        $$ select name from pg_prepared_statements where statement like what $$;
    create function forget_all() returns int language plpgsql as $$ begin execute 'deallocate all'; return 1; end $$;
";

/// One Postgres with pgweir in front, which has one connection to it.
struct Ground {
    world: World,
    pgweir: Pgweir,
}

impl Ground {
    /// A conversation, whose turns each ask for as many ReadyForQuery as there are in them, is answered as by
    /// Postgres.
    async fn same(&self, talk: Vec<Script>) {
        let direct = self.hold(self.direct().connect().await.unwrap(), &talk).await;
        let through = of(&self.pgweir).connect().await.unwrap();
        let through = self.hold(through, &talk).await;
        assert!(direct == through, "\ndirect:  {direct:?}\nthrough: {through:?}");
    }

    /// A client of Postgres itself.
    fn direct(&self) -> ConnectOptions {
        let node = SocketAddr::from(([127, 0, 0, 1], self.world.cluster.primary().port()));
        Client::to(node).user("app", "app-secret").database("app")
    }

    async fn hold(&self, mut client: Client, talk: &[Script]) -> Vec<Frame> {
        self.world.cluster.psql_as(0, "app", "app", "truncate once; insert into once values (1)").unwrap();
        let mut frames = Vec::new();
        for turn in talk {
            frames.extend(client.run(turn).await.unwrap());
        }
        client.close().await.unwrap();
        normalize(frames).into_iter().map(|frame| without_source(frame, b"E")).collect()
    }
}

/// A client whose reads go to the primary too, and so needn't wait for what comes before them.
fn of(pgweir: &Pgweir) -> ConnectOptions {
    pgweir.client("app", "app").parameter("pgweir.role", "primary")
}

fn s() -> Script {
    Script::new()
}

/// Bind, Execute.
fn run(script: Script, statement: &str) -> Script {
    script.bind("", statement, &[]).execute("", 0)
}

const BAD: &str = "select from where";

fn conversations() -> Vec<(&'static str, Vec<Script>)> {
    vec![
        (
            "Close and Parse that are skipped leave the former statement",
            vec![
                s().parse("s1", "select 'old 1'", &[]).sync(),
                s().parse("", BAD, &[]).close_statement("s1").parse("s1", "select 'new 1'", &[]).sync(),
                run(s(), "s1").sync(),
            ],
        ),
        (
            "Close, Parse and Close again, all skipped",
            vec![
                s().parse("s1", "select 'old 2'", &[]).sync(),
                s().parse("", BAD, &[])
                    .close_statement("s1")
                    .parse("s1", "select 'new 2'", &[])
                    .close_statement("s1")
                    .sync(),
                run(s(), "s1").sync(),
            ],
        ),
        (
            "a skipped Close of the unnamed statement",
            vec![
                s().parse("", "select 'kept 3'", &[]).sync(),
                s().parse("s1", BAD, &[]).close_statement("").sync(),
                run(s(), "").sync(),
                s().describe_statement("").sync(),
            ],
        ),
        (
            "a skipped Parse of the unnamed statement",
            vec![
                s().parse("", "select 'kept 4'", &[]).sync(),
                s().parse("s1", BAD, &[]).parse("", "select 'skipped 4'", &[]).sync(),
                run(s(), "").sync(),
            ],
        ),
        (
            "a failed Parse of the unnamed statement",
            vec![
                s().parse("", "select 'gone 5'", &[]).sync(),
                s().parse("", BAD, &[]).parse("", "select 'skipped 5'", &[]).sync(),
                run(s(), "").sync(),
            ],
        ),
        (
            "a Parse after an error of pgweir's own",
            vec![
                s().parse("", "select 'kept 6'", &[]).sync(),
                s().bind("", "unknown", &[]).parse("", "select 'skipped 6'", &[]).sync(),
                run(s(), "").sync(),
            ],
        ),
        (
            "DEALLOCATE in a transaction",
            vec![
                s().parse("a1", "select 'kept 8'", &[]).sync(),
                s().query("begin").query("deallocate a1").query("select 1").query("commit"),
                run(s(), "a1").sync(),
                s().query("begin").query("deallocate a1").query("select 1").query("commit"),
            ],
        ),
        (
            "DEALLOCATE in a failed transaction",
            vec![
                s().parse("a1", "select 'kept 9'", &[]).sync(),
                s().query("begin"),
                s().query("select 1/0"),
                s().query("deallocate a1"),
                s().query("rollback"),
                run(s(), "a1").sync(),
            ],
        ),
        (
            "DEALLOCATE in the extended protocol",
            vec![
                s().parse("a1", "select 'kept 10'", &[]).parse("a2", "select 'kept 10 too'", &[]).sync(),
                s().query("begin"),
                s().run("deallocate a1", &[]).sync(),
                s().query("select 1"),
                s().query("commit"),
                run(s(), "a1").sync(),
                run(s(), "a2").run("deallocate a2", &[]).run("deallocate a2", &[]).sync(),
                run(s(), "a2").sync(),
            ],
        ),
        (
            "DEALLOCATE that is skipped, and in a failed transaction",
            vec![
                s().parse("a1", "select 'kept 11'", &[]).parse("d", "deallocate a1", &[]).sync(),
                run(s().parse("", BAD, &[]), "d").sync(),
                run(s(), "a1").sync(),
                s().query("begin"),
                s().query("select 1/0"),
                run(s(), "d").sync(),
                s().query("rollback"),
                run(s(), "a1").sync(),
                run(run(s(), "d"), "d").sync(),
            ],
        ),
        (
            "DEALLOCATE ALL before an error of the same Query",
            vec![
                s().parse("a1", "select 'gone 12'", &[]).sync(),
                s().query("deallocate all; select 1/0"),
                s().parse("a2", "select 'gone 12'", &[]).sync(),
                run(s(), "a2").sync(),
            ],
        ),
    ]
}

/// The statement of this name gives this row.
async fn gives(client: &mut Client, statement: &str, value: &str) {
    let frames = client.run(&run(s(), statement).sync()).await.unwrap();
    assert_eq!(values(&frames), [value], "{frames:?}");
}

/// The first values of rows.
fn values(frames: &[Frame]) -> Vec<String> {
    rows(frames).into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
}

/// On a server connection that has neither of two statements, one fails, and the other is prepared behind it.
async fn skipped_parse(ground: &Ground) {
    let pgweir = ground.world.pgweir(ground.world.setup().pool_size(2).set("instance.workers", "1")).await;
    ground.world.cluster.psql_as(0, "app", "app", "truncate once; insert into once values (1)").unwrap();
    let mut client = of(&pgweir).connect().await.unwrap();
    let prepared = s().parse("ins", "insert into once values (1)", &[]).parse("sel", "select 'there 7'", &[]);
    client.run(&prepared.sync()).await.unwrap();
    // Somebody else has the connection where they were prepared.
    let mut other = of(&pgweir).connect().await.unwrap();
    other.query("begin").await.unwrap();
    let pid = other.value("select pg_backend_pid()").await.unwrap();
    let burst = run(run(run(s(), "ins"), "sel").sync(), "sel").sync();
    let burst = run(run(burst, "ins"), "sel").sync();
    let frames = client.run(&run(burst, "sel").sync()).await.unwrap();
    let seen: String = tags(&frames);
    assert_eq!(seen, "2EZ2DCZ2EZ2DCZ", "{frames:?}");
    assert_eq!(values(&frames), ["there 7", "there 7"]);
    gives(&mut client, "sel", "there 7").await;
    assert_ne!(client.value("select pg_backend_pid()").await.unwrap(), pid);
    other.query("commit").await.unwrap();
    gives(&mut client, "sel", "there 7").await;
}

/// A view that writes looks like a read: the replica refuses it, and the request is run again on the primary.
async fn replayed_parse(ground: &Ground) {
    let mut client = ground.pgweir.client("app", "app").connect().await.unwrap();
    let parse = s().parse("s1", "select a from ticket_a", &[]);
    let frames = client.run(&run(parse.describe_statement("s1"), "s1").sync()).await.unwrap();
    assert_eq!(tags(&frames), "1tT2DCZ", "{frames:?}");
    let frames = client.run(&run(s(), "s1").sync()).await.unwrap();
    assert_eq!(tags(&frames), "2DCZ", "{frames:?}");
    let frames = client.run(&s().parse("s1", "select 1", &[]).sync()).await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "42P05");
}

async fn replayed_unnamed(ground: &Ground) {
    let mut client = ground.pgweir.client("app", "app").connect().await.unwrap();
    client.run(&s().parse("", "select 1 as former", &[]).sync()).await.unwrap();
    let script = s().describe_statement("").parse("", "select b from ticket_b", &[]);
    let frames = client.run(&run(script, "").sync()).await.unwrap();
    assert_eq!(tags(&frames), "tT12DCZ", "{frames:?}");
    assert_eq!(pgweir_tests::world::names(&frames), ["former"]);
}

async fn deallocate_shared(ground: &Ground) {
    let mut owner = of(&ground.pgweir).connect().await.unwrap();
    let mut other = of(&ground.pgweir).connect().await.unwrap();
    owner.run(&s().parse("s1", "select 'shared'", &[]).sync()).await.unwrap();
    let shared = "select there($$select 'shared'$$)";
    let name = other.value(shared).await.unwrap();
    let frames = other.query(&format!("deallocate {name}")).await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "26000");
    let frames = other.run(&s().run(&format!("deallocate {name}"), &[]).sync()).await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "26000");
    gives(&mut owner, "s1", "shared").await;
    let frames = other.query("deallocate all; select 1/0").await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "22012");
    gives(&mut owner, "s1", "shared").await;
    // The connection was asked what it has left.
    other.value("select forget_all()").await.unwrap();
    gives(&mut owner, "s1", "shared").await;
}

/// A setting, two values, and a text that is read by it.
const READ_BY: &[(&str, [&str; 2], &str)] = &[
    ("TimeZone", ["UTC", "America/New_York"], "select extract(epoch from '2024-01-01 00:00'::timestamptz)"),
    ("DateStyle", ["ISO, DMY", "ISO, MDY"], "select '01/02/2024'::date - '2024-01-01'::date"),
    ("IntervalStyle", ["postgres", "sql_standard"], "select extract(epoch from '-1 2:03:04'::interval)"),
    ("standard_conforming_strings", ["on", "off"], r"select length('a\tb')"),
    ("client_encoding", ["UTF8", "LATIN1"], "select length('é')"),
    ("search_path", ["s1", "s2"], "select who from here"),
    ("extra_float_digits", ["1", "-6"], "select (1 / 3.0::float8)::text"),
];

/// Two sessions that want different things prepare the same text on one connection.
async fn read_by_settings(ground: &Ground, setting: &str, settings: [&str; 2], sql: &str) {
    let mut expected = Vec::new();
    for value in settings {
        let mut client = ground.direct().parameter(setting, value).connect().await.unwrap();
        expected.push(client.value(sql).await.unwrap());
    }
    assert_ne!(expected[0], expected[1], "{sql} isn't read by {setting}");
    let mut clients = Vec::new();
    for value in settings {
        clients.push(of(&ground.pgweir).parameter(setting, value).connect().await.unwrap());
    }
    for client in &mut clients {
        client.run(&s().parse("s1", sql, &[]).parse("", sql, &[]).sync()).await.unwrap();
    }
    for _ in 0..2 {
        for (client, expected) in clients.iter_mut().zip(&expected) {
            gives(client, "s1", expected).await;
            gives(client, "", expected).await;
        }
    }
    // The same by SET, in a transaction and after it.
    let [first, second] = &mut clients[..] else { unreachable!() };
    first.rows(&format!("set {setting} to {}", literal(setting, settings[1]))).await.unwrap();
    gives(first, "s1", &expected[1]).await;
    gives(second, "s1", &expected[1]).await;
    first.rows("begin").await.unwrap();
    first.rows(&format!("set {setting} to {}", literal(setting, settings[0]))).await.unwrap();
    gives(first, "s1", &expected[0]).await;
    first.rows("rollback").await.unwrap();
    gives(first, "s1", &expected[1]).await;
    gives(second, "s1", &expected[1]).await;
    // And for a transaction alone, in one segment with what is read by it.
    let local = format!("set local {setting} to {}", literal(setting, settings[0]));
    first.rows("begin").await.unwrap();
    let frames = first.run(&run(s().run(&local, &[]).parse("s2", sql, &[]), "s2").sync()).await.unwrap();
    assert_eq!(values(&frames), [&*expected[0]], "{frames:?}");
    gives(first, "s2", &expected[0]).await;
    first.run(&s().parse("s3", sql, &[]).sync()).await.unwrap();
    gives(first, "s3", &expected[0]).await;
    first.rows("commit").await.unwrap();
    for client in &mut clients {
        let frames = client.run(&s().parse("s4", sql, &[]).sync()).await.unwrap();
        assert_eq!(tags(&frames), "1Z");
        gives(client, "s4", &expected[1]).await;
    }
    gives(&mut clients[0], "s2", &expected[1]).await;
    gives(&mut clients[0], "s3", &expected[1]).await;
}

/// A value of a setting as SET has it: a list is no literal.
fn literal(setting: &str, value: &str) -> String {
    if setting == "DateStyle" { value.to_owned() } else { format!("'{value}'") }
}

/// What an application sets for a transaction and no text is read by doesn't keep sessions from sharing.
async fn shared_still(ground: &Ground) {
    let sql = "select 'shared still', current_setting('app.tenant')";
    for tenant in ["1", "2", "3"] {
        let mut client = of(&ground.pgweir).connect().await.unwrap();
        client.rows("begin").await.unwrap();
        client.rows(&format!("set local app.tenant = {tenant}")).await.unwrap();
        client.rows("select set_config('statement_timeout', '9s', true)").await.unwrap();
        let frames = client.run(&run(s().parse("s1", sql, &[]), "s1").sync()).await.unwrap();
        assert_eq!(rows(&frames), [[Some("shared still".to_owned()), Some(tenant.to_owned())]]);
        client.rows("commit").await.unwrap();
    }
    let mut client = of(&ground.pgweir).connect().await.unwrap();
    let count = "select count(*) from there('%shared still%')";
    assert_eq!(client.value(count).await.unwrap(), "1");
}

/// A session that keeps its connection has there what it prepared, as on one of its own.
async fn kept_in_session_mode(ground: &Ground) {
    let pgweir = ground.world.pgweir(ground.world.setup().pool_mode("session")).await;
    let script = s().parse("s1", READ_BY[0].2, &[]).sync();
    let mut seen = Vec::new();
    for options in [ground.direct(), of(&pgweir)] {
        let mut client = options.parameter("TimeZone", "UTC").connect().await.unwrap();
        client.run(&script).await.unwrap();
        client.rows("set timezone to 'America/New_York'").await.unwrap();
        seen.push(values(&client.run(&run(s(), "s1").sync()).await.unwrap()));
    }
    assert_eq!(seen[0], seen[1]);
}
