//! Prepared statements over shared connections: whose they are, how they are read, and what an error leaves of them.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::net::SocketAddr;

use pgweir_tests::Cases;
use pgweir_tests::world::World;
use testkit::{Client, ConnectOptions, Frame, Pgweir, Script, normalize, rows, tags};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_statements_are_the_sessions_own() {
    let world = World::start();
    world.cluster.psql_as(0, "app", "app", "create table once (n int primary key)").unwrap();
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let ground = Ground { world, pgweir };
    let mut cases = Cases::new();
    for (name, talk) in conversations() {
        cases.run(name, ground.same(talk)).await;
    }
    cases.run("a Parse that is skipped while the next segment is on its way", skipped_parse(&ground)).await;
    cases.finish();
}

/// One Postgres with pgweir in front, which has one connection to it.
struct Ground {
    world: World,
    pgweir: Pgweir,
}

impl Ground {
    /// A conversation, whose turns each ask for as many ReadyForQuery as there are in them, is answered as by
    /// Postgres.
    async fn same(&self, talk: Vec<Script>) {
        let node = SocketAddr::from(([127, 0, 0, 1], self.world.cluster.primary().port()));
        let direct = Client::to(node).user("app", "app-secret").database("app").connect().await.unwrap();
        let direct = self.hold(direct, &talk).await;
        let through = of(&self.pgweir).connect().await.unwrap();
        let through = self.hold(through, &talk).await;
        assert!(direct == through, "\ndirect:  {direct:?}\nthrough: {through:?}");
    }

    async fn hold(&self, mut client: Client, talk: &[Script]) -> Vec<Frame> {
        self.world.cluster.psql_as(0, "app", "app", "truncate once; insert into once values (1)").unwrap();
        let mut frames = Vec::new();
        for turn in talk {
            frames.extend(client.run(turn).await.unwrap());
        }
        client.close().await.unwrap();
        normalize(frames).into_iter().map(without_source).collect()
    }
}

/// An error without the place in Postgres' source.
fn without_source(frame: Frame) -> Frame {
    if frame.tag != b'E' {
        return frame;
    }
    let fields = frame.body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
    let fields = fields.filter(|field| !matches!(field[0], b'F' | b'L' | b'R'));
    Frame { body: fields.flat_map(|field| [field, b"\0"].concat()).collect(), ..frame }
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
