//! Read or write, and which node: each statement is followed to the server that answered it.

use std::collections::BTreeMap;
use std::error::Error;

use pgweir_tests::{Cases, Outcome, eventually};
use testkit::{
    Client, Cluster, ConnectOptions, Frame, Mode, Pgweir, Script, Setup, first_error, free_port, rows, tags,
};

const SCHEMA: &str = "
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, 10) n;
CREATE TABLE log (n serial, what text);
CREATE UNLOGGED TABLE scratch (n int);
CREATE SEQUENCE tickets;
CREATE FUNCTION note(text) RETURNS text LANGUAGE sql AS 'INSERT INTO log (what) VALUES ($1) RETURNING what';
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
CREATE PROCEDURE enter(text) LANGUAGE sql AS 'INSERT INTO log (what) VALUES ($1)';
CREATE VIEW next_ticket AS SELECT nextval('tickets') AS n;
CREATE VIEW next_ticket_extended AS SELECT nextval('tickets') AS n;
CREATE VIEW next_ticket_pipelined AS SELECT nextval('tickets') AS n;
CREATE VIEW next_ticket_prepared AS SELECT nextval('tickets') AS n;
CREATE VIEW next_ticket_hinted AS SELECT nextval('tickets') AS n;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;
";

/// Databases of pgweir that are one on the servers, each with a `route` of its own.
const VARIANTS: [(&str, &str); 6] = [
    ("observing", "{role: observe}"),
    ("primary_only", "{role: primary}"),
    ("replica_only", "{role: replica}"),
    ("primary_too", "{reads_on_primary: always}"),
    ("never_primary", "{reads_on_primary: never}"),
    ("in_turn", "{balance: round_robin}"),
];

/// A primary with two replicas, and pgweir in front.
struct World {
    cluster: Cluster,
    pgweir: Pgweir,
    setup: Setup,
    /// Where a listener with the role replica listens.
    replicas_port: u16,
}

/// The row of `SHOW pgweir.route`.
#[derive(Debug)]
struct Route {
    role: String,
    node: String,
    reason: String,
    statement: String,
}

impl World {
    async fn start() -> Result<World, Box<dyn Error>> {
        let cluster = Cluster::builder()
            .name("us")
            .replicas(2)
            .databases(["app"])
            .users([("app", "secret")])
            .start()?;
        cluster.psql(0, "app", SCHEMA)?;
        cluster.wait_all_caught_up()?;
        let replicas_port = free_port().ok_or("no free port")?;
        let listener = format!("[{{tcp: \"127.0.0.1:{replicas_port}\", role: replica}}]");
        let health = "{interval: 250ms, timeout: 2s, failures: 2}";
        let mut setup =
            Setup::new(&cluster).pool_size(4).set("listen.extra", &listener).set("health", health);
        for (name, route) in VARIANTS {
            setup = setup
                .set(&format!("databases.{name}"), &format!("{{cluster: us, dbname: app, route: {route}}}"));
        }
        let pgweir = Pgweir::start(&setup).await?;
        Ok(World { cluster, pgweir, setup, replicas_port })
    }

    async fn client(&self) -> testkit::Result<Client> {
        self.of("app").await
    }

    async fn of(&self, database: &str) -> testkit::Result<Client> {
        self.options(database).connect().await
    }

    fn options(&self, database: &str) -> ConnectOptions {
        self.pgweir.client("app", database)
    }

    /// The node of this port: `us-1`.
    fn node(&self, port: &str) -> String {
        let node = self.cluster.nodes().iter().find(|node| node.port().to_string() == port);
        node.map_or(format!("port {port}"), |node| node.name().to_owned())
    }

    /// Whether this node is the primary, by what the test did with it.
    fn role_of(&self, node: &str) -> &'static str {
        if self.cluster.primary().name() == node { "primary" } else { "replica" }
    }

    /// Runs a statement whose first value is inet_server_port(): the node that answered.
    async fn answered(&self, client: &mut Client, sql: &str) -> Result<String, Box<dyn Error>> {
        Ok(self.node(&client.value(sql).await?))
    }
}

async fn route(client: &mut Client) -> Result<Route, Box<dyn Error>> {
    let row = client.rows("SHOW pgweir.route").await?.pop().ok_or("no row of SHOW pgweir.route")?;
    let [_, _, role, node, reason, statement] = <[_; 6]>::try_from(row).map_err(|row| format!("{row:?}"))?;
    let or_nothing = |value: Option<String>| value.unwrap_or_default();
    let (role, node) = (or_nothing(role), or_nothing(node));
    Ok(Route { role, node, reason: or_nothing(reason), statement: or_nothing(statement) })
}

/// A statement that must fail, with this SQLSTATE.
async fn refused(client: &mut Client, sql: &str, code: &str) -> Outcome {
    let frames = client.query(sql).await?;
    match first_error(&frames) {
        Some(error) if error.code == code => Ok(()),
        Some(error) => Err(format!("{sql}: {error:?}, not {code}").into()),
        None => Err(format!("{sql}: no error, but {frames:?}").into()),
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(what().into()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_statement_goes_where_it_should() {
    let world = World::start().await.expect("a cluster and pgweir");
    let world = &world;
    let mut cases = Cases::new();
    for (sql, role, reason) in STATEMENTS {
        cases.add(sql, statement(world, sql, role, reason).await);
    }
    cases.add("reads are spread over the replicas", reads_are_spread(world).await);
    cases.add("a hidden write", hidden_write(world).await);
    cases.add("a hidden write, extended", hidden_write_extended(world).await);
    cases.add("a hidden write, in a pipeline", hidden_write_in_a_pipeline(world).await);
    cases.add("a hidden write, prepared", hidden_write_prepared(world).await);
    cases.add("an unlogged table", unlogged_table(world).await);
    cases.add("pipelines", pipelines(world).await);
    cases.add("transactions stay where they began", transactions_stay(world).await);
    cases.add("READ ONLY transactions", read_only_transactions(world).await);
    cases.add("BEGIN holds no server", begin_holds_no_server(world).await);
    cases.add("BEGIN keeps its options", begin_keeps_its_options(world).await);
    cases.add("an error in the first statement after BEGIN", error_after_begin(world).await);
    cases.add("what ties a session to the primary", tied_to_the_primary(world).await);
    cases.add("a session's settings hold on each node", settings_hold_on_each_node(world).await);
    cases.add("hints", hints(world).await);
    cases.add("SET pgweir.role", set_role(world).await);
    cases.add("SET pgweir.role, extended", set_role_extended(world).await);
    cases.add("what is set wrongly", set_wrongly(world).await);
    cases.add("the startup packet's role", startup_role(world).await);
    cases.add("a listener's role", listener_role(world).await);
    cases.add("route.role of a database", database_roles(world).await);
    cases.add("observing", observing(world).await);
    cases.add("reads_on_primary: always", reads_on_primary(world).await);
    cases.add("round robin", round_robin(world).await);
    cases.finish();
}

/// Statements, the role that they need, and a part of the reason. Where the first value is a port, it is that of
/// the node that answered.
const STATEMENTS: &[(&str, &str, &str)] = &[
    ("SELECT inet_server_port()", "replica", "reads only"),
    ("SELECT inet_server_port(), v FROM t WHERE id = 1", "replica", "reads only"),
    ("select INET_SERVER_PORT() from T as x join t y using (id) limit 1", "replica", "reads only"),
    ("/* a comment */ SELECT inet_server_port() -- and another", "replica", "reads only"),
    ("WITH a AS (SELECT id FROM t) SELECT inet_server_port(), count(*) FROM a", "replica", "reads only"),
    ("VALUES (inet_server_port())", "replica", "reads only"),
    ("TABLE t", "replica", "reads only"),
    ("(SELECT inet_server_port()) UNION ALL (SELECT 1 WHERE false)", "replica", "reads only"),
    (
        "SELECT inet_server_port(), now(), random(), gen_random_uuid(), clock_timestamp()",
        "replica",
        "reads only",
    ),
    ("SELECT inet_server_port() FROM pg_class LIMIT 1", "replica", "reads only"),
    ("EXPLAIN SELECT * FROM t", "replica", "reads only"),
    ("EXPLAIN ANALYZE SELECT * FROM t", "replica", "reads only"),
    ("EXPLAIN INSERT INTO t VALUES (0)", "replica", "reads only"),
    ("COPY t TO STDOUT", "replica", "reads only"),
    ("COPY (SELECT inet_server_port()) TO STDOUT", "replica", "reads only"),
    ("SELECT inet_server_port(); SELECT 2", "replica", "reads only"),
    ("SELECT inet_server_port() FROM t FOR UPDATE", "primary", "locks"),
    ("SELECT inet_server_port() FROM t WHERE id = 3 FOR SHARE", "primary", "locks"),
    ("SELECT inet_server_port() FROM (SELECT id FROM t FOR NO KEY UPDATE) x", "primary", "locks"),
    ("SELECT inet_server_port(), nextval('tickets')", "primary", "nextval()"),
    ("SELECT inet_server_port(), setval('tickets', 100)", "primary", "setval()"),
    ("SELECT inet_server_port(), pg_try_advisory_xact_lock(1)", "primary", "pg_try_advisory_xact_lock()"),
    ("SELECT inet_server_port(), pg_notify('c', 'x')", "primary", "pg_notify()"),
    ("SELECT inet_server_port(), txid_current()", "primary", "txid_current()"),
    ("SELECT inet_server_port(), note('by a function')", "primary", "note(), which may write"),
    ("SELECT inet_server_port(), twice(2)", "primary", "twice(), which may write"),
    ("SELECT inet_server_port(), * FROM note('in FROM')", "primary", "note(), which may write"),
    ("SELECT inet_server_port(), pg_is_in_recovery()", "primary", "pg_is_in_recovery()"),
    ("SELECT inet_server_port() FROM pg_stat_activity LIMIT 1", "primary", "pg_stat_activity"),
    ("SELECT inet_server_port() FROM pg_locks LIMIT 1", "primary", "pg_locks"),
    ("SELECT inet_server_port() FROM pg_settings LIMIT 1", "primary", "pg_settings"),
    ("INSERT INTO t VALUES (100, 'new') RETURNING inet_server_port()", "primary", "INSERT writes"),
    ("UPDATE t SET v = 'x' WHERE id = 100 RETURNING inet_server_port()", "primary", "UPDATE writes"),
    (
        "INSERT INTO t VALUES (100, 'y') ON CONFLICT (id) DO UPDATE SET v = 'y' RETURNING inet_server_port()",
        "primary",
        "INSERT writes",
    ),
    ("DELETE FROM t WHERE id = 100 RETURNING inet_server_port()", "primary", "DELETE writes"),
    (
        "MERGE INTO t USING (VALUES (101)) s (n) ON id = n WHEN NOT MATCHED THEN INSERT VALUES (n, 'merged')",
        "primary",
        "MERGE writes",
    ),
    (
        "WITH d AS (DELETE FROM t WHERE id = 101 RETURNING id) SELECT inet_server_port(), id FROM d",
        "primary",
        "its WITH writes",
    ),
    (
        "WITH a AS (SELECT 1) INSERT INTO log (what) SELECT 'with' FROM a RETURNING inet_server_port()",
        "primary",
        "INSERT writes",
    ),
    ("SELECT * INTO copied FROM t", "primary", "SELECT INTO writes"),
    ("CREATE TABLE made AS SELECT * FROM t", "primary", "writes"),
    ("ALTER TABLE made ADD COLUMN more int", "primary", "writes"),
    ("TRUNCATE made", "primary", "writes"),
    ("DROP TABLE made, copied", "primary", "writes"),
    ("EXPLAIN ANALYZE INSERT INTO log (what) VALUES ('explained')", "primary", "writes"),
    ("EXPLAIN (ANALYZE, COSTS off) DELETE FROM log WHERE false", "primary", "writes"),
    ("CALL enter('by a procedure')", "primary", "CALL"),
    ("DO $$ BEGIN INSERT INTO log (what) VALUES ('by DO'); END $$", "primary", "DO"),
    (
        "SELECT inet_server_port(); INSERT INTO log (what) VALUES ('second')",
        "primary",
        "statement 2 of 2: INSERT writes",
    ),
    ("SHOW server_version", "primary", "SHOW is the primary's"),
    ("ANALYZE t", "primary", "writes"),
    ("VACUUM t", "primary", "writes"),
    ("NOTIFY c", "primary", "NOTIFY"),
    ("LOCK TABLE t IN ACCESS SHARE MODE; SELECT inet_server_port()", "primary", ""),
];

async fn statement(world: &World, sql: &str, role: &str, reason: &str) -> Outcome {
    let mut client = world.client().await?;
    let frames = client.query(sql).await?;
    if let Some(error) = first_error(&frames) {
        return Err(format!("{error:?}").into());
    }
    let route = route(&mut client).await?;
    let found = (route.role.as_str(), world.role_of(&route.node));
    ensure(found == (role, role), || format!("went to the {} {}: {}", route.role, route.node, route.reason))?;
    ensure(route.reason.contains(reason), || format!("because: {}", route.reason))?;
    ensure(sql.starts_with(&route.statement), || format!("its text is {:?}", route.statement))?;
    if sql.contains("inet_server_port()") {
        let copied = frames
            .iter()
            .find(|frame| frame.tag == b'd')
            .map(|frame| String::from_utf8_lossy(&frame.body).trim_end().to_owned());
        let ports = rows(&frames).into_iter().filter_map(|row| row.into_iter().next().flatten());
        let port = copied.or_else(|| ports.into_iter().next()).ok_or("no row")?;
        let node = world.node(&port);
        ensure(node == route.node, || format!("answered by {node}, but said to be by {}", route.node))?;
    }
    Ok(())
}

async fn reads_are_spread(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let mut shares = BTreeMap::<String, u32>::new();
    for _ in 0..40 {
        *shares.entry(world.answered(&mut client, "SELECT inet_server_port()").await?).or_default() += 1;
    }
    let replicas = [world.cluster.replica(0).name(), world.cluster.replica(1).name()];
    let fair = replicas.iter().all(|name| shares.get(*name).is_some_and(|share| (10..=30).contains(share)));
    ensure(shares.len() == 2 && fair, || format!("{shares:?}"))
}

async fn hidden_write(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let sql = "SELECT inet_server_port(), n FROM next_ticket";
    let before = ticket(world)?;
    let frames = client.query(sql).await?;
    ensure(tags(&frames) == "TDCZ", || format!("more than the result is seen: {frames:?}"))?;
    let first = rows(&frames).pop().and_then(|row| row.into_iter().next().flatten()).unwrap_or_default();
    ensure(world.node(&first) == "us-1", || format!("answered by {}", world.node(&first)))?;
    let seen = route(&mut client).await?;
    ensure(seen.reason.contains("a replica has refused it"), || seen.reason.clone())?;
    // From now on it is known, to other clients too.
    let mut other = world.client().await?;
    let answered = world.answered(&mut other, sql).await?;
    ensure(answered == "us-1", || format!("then answered by {answered}"))?;
    ensure(ticket(world)? == before + 2, || "it was not run exactly once each time".into())
}

/// The last number that the sequence has given.
fn ticket(world: &World) -> Result<i64, Box<dyn Error>> {
    let primary = world.cluster.primary().index();
    Ok(world.cluster.psql(primary, "app", "SELECT last_value FROM tickets")?.parse()?)
}

async fn hidden_write_extended(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let before = ticket(world)?;
    let script = Script::new().run("SELECT $1::text, n FROM next_ticket_extended", &[Some("x")]).sync();
    for _ in 0..2 {
        let frames = client.run(&script).await?;
        ensure(tags(&frames) == "12TDCZ", || format!("{frames:?}"))?;
    }
    let route = route(&mut client).await?;
    ensure(route.reason.contains("a replica has refused it"), || route.reason.clone())?;
    ensure(ticket(world)? == before + 2, || "it was not run exactly once each time".into())
}

async fn hidden_write_in_a_pipeline(world: &World) -> Outcome {
    const BESIDE: &str = "SELECT inet_server_port(), 'beside a hidden write'";
    let mut client = world.client().await?;
    let before = ticket(world)?;
    let script = Script::new()
        .run("SELECT n FROM next_ticket_pipelined", &[])
        .run(BESIDE, &[])
        .run("SELECT 3", &[])
        .sync();
    let frames = client.run(&script).await?;
    ensure(tags(&frames) == "12TDC12TDC12TDCZ", || format!("{frames:?}"))?;
    let port = rows(&frames)[1][0].clone().unwrap_or_default();
    ensure(world.node(&port) == "us-1", || format!("the second was answered by {}", world.node(&port)))?;
    ensure(ticket(world)? == before + 1, || "it was not run exactly once".into())?;
    let after = world.answered(&mut client, BESIDE).await?;
    ensure(after != "us-1", || "what was beside it in the pipeline was learned as a write".into())
}

async fn hidden_write_prepared(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let before = ticket(world)?;
    let prepare = Script::new()
        .parse("hidden", "SELECT n FROM next_ticket_prepared", &[])
        .describe_statement("hidden")
        .sync();
    let frames = client.run(&prepare).await?;
    ensure(tags(&frames) == "1tTZ", || format!("{frames:?}"))?;
    let execute = Script::new().bind("", "hidden", &[]).execute("", 0).sync();
    for _ in 0..2 {
        let frames = client.run(&execute).await?;
        ensure(tags(&frames) == "2DCZ", || format!("{frames:?}"))?;
    }
    ensure(ticket(world)? == before + 2, || "it was not run exactly once each time".into())
}

/// A replica has no rows of it: it says so, and the primary is asked.
async fn unlogged_table(world: &World) -> Outcome {
    let mut client = world.client().await?;
    client.rows("INSERT INTO scratch VALUES (7)").await?;
    let value = client.value("SELECT n FROM scratch").await?;
    ensure(value == "7", || value.clone())?;
    let answered = world.answered(&mut client, "SELECT inet_server_port() FROM scratch").await?;
    ensure(answered == "us-1", || answered.clone())
}

async fn pipelines(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let port = "SELECT inet_server_port()";
    let node = |frames: &[Frame], row: usize| {
        let port = rows(frames).get(row).and_then(|row| row.first().cloned().flatten());
        world.node(&port.unwrap_or_default())
    };
    let reads = client.run(&Script::new().run(port, &[]).run(port, &[]).sync()).await?;
    ensure(tags(&reads) == "12TDC12TDCZ", || format!("{reads:?}"))?;
    ensure(node(&reads, 0) != "us-1" && node(&reads, 0) == node(&reads, 1), || format!("reads: {reads:?}"))?;
    let route_of_reads = route(&mut client).await?;
    ensure(route_of_reads.role == "replica", || format!("{route_of_reads:?}"))?;
    let insert = "INSERT INTO log (what) VALUES ('pipeline') RETURNING inet_server_port()";
    for script in [
        Script::new().run(port, &[]).run(insert, &[]).sync(),
        Script::new().run(insert, &[]).run(port, &[]).sync(),
        Script::new().run(port, &[]).run("SELECT inet_server_port() FROM t FOR UPDATE", &[]).sync(),
    ] {
        let frames = client.run(&script).await?;
        ensure(first_error(&frames).is_none(), || format!("{frames:?}"))?;
        ensure(node(&frames, 0) == "us-1" && node(&frames, 1) == "us-1", || format!("mixed: {frames:?}"))?;
    }
    // Each Sync ends what is judged together.
    let apart = Script::new().run(port, &[]).sync().run(insert, &[]).sync().run(port, &[]).sync();
    let frames = client.run(&apart).await?;
    let nodes = [0, 1, 2].map(|row| node(&frames, row));
    ensure(nodes[0] != "us-1" && nodes[1] == "us-1" && nodes[2] != "us-1", || format!("apart: {nodes:?}"))?;
    // So do several Querys.
    let queries = client.run(&Script::new().query(port).query(insert).query(port)).await?;
    let nodes = [0, 1, 2].map(|row| node(&queries, row));
    ensure(nodes[0] != "us-1" && nodes[1] == "us-1" && nodes[2] != "us-1", || format!("queries: {nodes:?}"))?;
    // What isn't whole can't be judged: the primary.
    client.send(Script::new().run(port, &[]).flush().bytes()).await?;
    let first = client.read_until("CommandComplete", |frame| frame.tag == b'C').await?;
    client.send(Script::new().run(insert, &[]).sync().bytes()).await?;
    let rest = client.read_until_ready().await?;
    ensure(first_error(&rest).is_none(), || format!("after Flush: {rest:?}"))?;
    ensure(node(&first, 0) == "us-1" && node(&rest, 0) == "us-1", || format!("Flush: {first:?} {rest:?}"))
}

async fn transactions_stay(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let script = [
        "BEGIN",
        "SELECT inet_server_port()",
        "INSERT INTO log (what) VALUES ('in') RETURNING inet_server_port()",
        "SELECT inet_server_port(), v FROM t",
        "SAVEPOINT a",
        "SELECT inet_server_port(), 1",
        "ROLLBACK TO a",
        "SELECT inet_server_port(), 2",
        "RELEASE a",
    ];
    let mut nodes = Vec::new();
    for sql in script {
        let frames = client.query(sql).await?;
        ensure(frames.last().and_then(Frame::status) == Some('T'), || format!("{sql}: {frames:?}"))?;
        nodes.extend(
            rows(&frames).into_iter().take(1).map(|row| world.node(&row[0].clone().unwrap_or_default())),
        );
    }
    let inside = route(&mut client).await?;
    ensure(inside.reason.contains("in a transaction on the primary"), || inside.reason.clone())?;
    client.rows("COMMIT").await?;
    ensure(nodes.len() == 5 && nodes.iter().all(|node| node == "us-1"), || format!("{nodes:?}"))?;
    let after = world.answered(&mut client, "SELECT inet_server_port()").await?;
    ensure(after != "us-1", || "afterwards it stays on the primary".into())?;
    // AND CHAIN goes on where it was.
    client.rows("BEGIN").await?;
    client.rows("SELECT 1").await?;
    client.rows("COMMIT AND CHAIN").await?;
    let chained = world.answered(&mut client, "SELECT inet_server_port()").await?;
    client.rows("ROLLBACK").await?;
    ensure(chained == "us-1", || format!("AND CHAIN: {chained}"))?;
    // The same by the extended protocol, and BEGIN in the pipeline.
    let begin = Script::new().run("BEGIN", &[]).run("SELECT inet_server_port()", &[]).sync();
    let frames = client.run(&begin).await?;
    let node = world.node(&rows(&frames)[0][0].clone().unwrap_or_default());
    ensure(node == "us-1" && frames.last().and_then(Frame::status) == Some('T'), || format!("{frames:?}"))?;
    let rest = Script::new().run("INSERT INTO log (what) VALUES ('ext')", &[]).run("COMMIT", &[]).sync();
    let frames = client.run(&rest).await?;
    ensure(tags(&frames) == "12nC12nCZ", || format!("{frames:?}"))?;
    ensure(frames.last().and_then(Frame::status) == Some('I'), || format!("{frames:?}"))
}

async fn read_only_transactions(world: &World) -> Outcome {
    let mut client = world.client().await?;
    for begin in [
        "BEGIN READ ONLY",
        "START TRANSACTION READ ONLY",
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    ] {
        client.rows(begin).await?;
        let first = world.answered(&mut client, "SELECT inet_server_port()").await?;
        let second = world.answered(&mut client, "SELECT inet_server_port(), v FROM t").await?;
        ensure(first != "us-1" && first == second, || format!("{begin}: {first}, then {second}"))?;
        refused(&mut client, "INSERT INTO log (what) VALUES ('never')", "25006").await?;
        refused(&mut client, "SELECT 1", "25P02").await?;
        client.rows("ROLLBACK").await?;
    }
    client.rows("BEGIN READ WRITE").await?;
    let node = world.answered(&mut client, "SELECT inet_server_port()").await?;
    client.rows("COMMIT").await?;
    ensure(node == "us-1", || format!("READ WRITE: {node}"))?;
    // A standby can't be SERIALIZABLE.
    client.rows("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY").await?;
    let node = world.answered(&mut client, "SELECT inet_server_port()").await?;
    client.rows("COMMIT").await?;
    ensure(node == "us-1", || format!("SERIALIZABLE READ ONLY: {node}"))?;
    let once = "BEGIN READ ONLY; SELECT inet_server_port(); COMMIT";
    let node = world.answered(&mut client, once).await?;
    ensure(node != "us-1", || format!("{once}: {node}"))?;
    let never = world.cluster.psql(0, "app", "SELECT count(*) FROM log WHERE what = 'never'")?;
    ensure(never == "0", || "a write in a READ ONLY transaction took place".into())
}

async fn begin_holds_no_server(world: &World) -> Outcome {
    let mut waiting = Vec::new();
    // More than the pool has connections.
    for _ in 0..10 {
        let mut client = world.client().await?;
        let frames = client.query("BEGIN").await?;
        ensure(tags(&frames) == "CZ" && frames[1].status() == Some('T'), || format!("{frames:?}"))?;
        waiting.push(client);
    }
    let idle =
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state = 'idle in transaction'";
    let held = || world.cluster.psql(0, "app", idle);
    ensure(held()? == "0", || "BEGIN alone holds a server connection".into())?;
    // BEGIN alone, ended.
    for (end, tag) in [("COMMIT", "COMMIT"), ("ROLLBACK", "ROLLBACK"), ("END", "COMMIT")] {
        let mut client = waiting.pop().ok_or("no client")?;
        let frames = client.query(end).await?;
        let found = frames.first().and_then(Frame::command_tag).unwrap_or_default();
        ensure(found == tag && frames.last().and_then(Frame::status) == Some('I'), || format!("{frames:?}"))?;
    }
    ensure(held()? == "0", || "an empty transaction reached a server".into())?;
    let client = waiting.last_mut().ok_or("no client")?;
    client.rows("INSERT INTO log (what) VALUES ('late')").await?;
    ensure(held()? == "1", || "its first statement begins it".into())?;
    let visible = || world.cluster.psql(0, "app", "SELECT count(*) FROM log WHERE what = 'late'");
    ensure(visible()? == "0", || "the BEGIN was lost: the INSERT is committed already".into())?;
    client.rows("COMMIT").await?;
    ensure(visible()? == "1" && held()? == "0", || "COMMIT".into())?;
    // BEGIN twice is a warning, as with a server.
    let frames = client.query("BEGIN").await?;
    ensure(tags(&frames) == "CZ", || format!("{frames:?}"))?;
    let frames = client.query("BEGIN").await?;
    let warned = frames.iter().find(|frame| frame.tag == b'N').and_then(Frame::server_error);
    ensure(warned.is_some_and(|warning| warning.code == "25001"), || format!("{frames:?}"))?;
    let frames = client.query("ROLLBACK").await?;
    ensure(frames.last().and_then(Frame::status) == Some('I'), || format!("{frames:?}"))
}

async fn begin_keeps_its_options(world: &World) -> Outcome {
    let mut client = world.client().await?;
    for (begin, isolation, read_only, deferrable) in [
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", "serializable", "off", "off"),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ", "repeatable read", "off", "off"),
        ("START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE", "serializable", "on", "on"),
        ("BEGIN WORK READ ONLY", "read committed", "on", "off"),
        ("/* with a comment */ BEGIN", "read committed", "off", "off"),
    ] {
        client.rows(begin).await?;
        let sql = "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'), current_setting('transaction_deferrable')";
        let found = client.rows(sql).await?.pop().unwrap_or_default();
        let found: Vec<_> = found.into_iter().flatten().collect();
        client.rows("ROLLBACK").await?;
        ensure(found == [isolation, read_only, deferrable], || format!("{begin}: {found:?}"))?;
    }
    client.rows("BEGIN").await?;
    client.rows("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await?;
    let found = client.value("SHOW transaction_isolation").await?;
    client.rows("COMMIT").await?;
    ensure(found == "serializable", || format!("SET TRANSACTION: {found}"))
}

async fn error_after_begin(world: &World) -> Outcome {
    let mut client = world.client().await?;
    for ending in ["ROLLBACK", "COMMIT"] {
        client.rows("BEGIN").await?;
        let frames = client.query("SELECT 1/0").await?;
        ensure(first_error(&frames).is_some_and(|error| error.code == "22012"), || format!("{frames:?}"))?;
        ensure(frames.last().and_then(Frame::status) == Some('E'), || format!("{frames:?}"))?;
        refused(&mut client, "SELECT 1", "25P02").await?;
        let frames = client.query(ending).await?;
        let tag = frames.first().and_then(Frame::command_tag);
        ensure(
            tag.as_deref() == Some("ROLLBACK") && frames.last().and_then(Frame::status) == Some('I'),
            || format!("{frames:?}"),
        )?;
    }
    let value = client.value("SELECT 1").await?;
    ensure(value == "1", || value.clone())
}

/// A session that has something on its connection finds it there, though its next statement only reads.
async fn tied_to_the_primary(world: &World) -> Outcome {
    let ask = "SELECT inet_server_port()";
    for (what, tie, sql, expected, free) in [
        (
            "a temporary table",
            "CREATE TEMP TABLE mine AS SELECT 5 AS n",
            "SELECT n FROM mine",
            "5",
            "DISCARD ALL",
        ),
        ("PREPARE", "PREPARE p AS SELECT 6", "EXECUTE p", "6", "DEALLOCATE ALL"),
        (
            "PREPARE of a write",
            "PREPARE w AS INSERT INTO log (what) VALUES ($1) RETURNING what",
            "EXECUTE w('prepared')",
            "prepared",
            "DEALLOCATE ALL",
        ),
        ("a cursor", "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 7; COMMIT", "FETCH c", "7", "CLOSE ALL"),
        ("an advisory lock", "SELECT pg_advisory_lock(8)", "SELECT pg_advisory_unlock(8)", "t", "SELECT 1"),
    ] {
        let mut client = world.client().await?;
        let tied = client.query(tie).await?;
        ensure(first_error(&tied).is_none(), || format!("{what}: {tied:?}"))?;
        let node = world.answered(&mut client, ask).await?;
        ensure(node == "us-1", || format!("{what}: then on {node}"))?;
        let found = client.value(sql).await.map_err(|error| format!("{what}: {error}"))?;
        ensure(found == expected, || format!("{what}: {found}"))?;
        client.rows(free).await?;
    }
    let mut listener = world.client().await?;
    listener.rows("LISTEN news").await?;
    listener.rows(ask).await?;
    world.client().await?.rows("NOTIFY news, 'fresh'").await?;
    let heard = listener.read_until("NotificationResponse", |frame| frame.tag == b'A').await?;
    let heard = heard.last().map(|frame| String::from_utf8_lossy(&frame.body[4..]).into_owned());
    ensure(heard.as_deref() == Some("news\0fresh\0"), || format!("{heard:?}"))
}

async fn settings_hold_on_each_node(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let mut other = world.client().await?;
    let ask = "SELECT inet_server_port(), current_setting('work_mem'), current_setting('application_name')";
    client.rows("SET work_mem = '5MB'").await?;
    client.rows("SET application_name = 'first'").await?;
    other.rows("SET application_name = 'second'").await?;
    let mut nodes = BTreeMap::<String, u32>::new();
    for _ in 0..20 {
        for (client, memory, name) in [(&mut client, "5MB", "first"), (&mut other, "4MB", "second")] {
            for sql in [ask.to_owned(), format!("/* pgweir: role=primary */ {ask}")] {
                let row: Vec<_> = client.rows(&sql).await?.remove(0).into_iter().flatten().collect();
                *nodes.entry(world.node(&row[0])).or_default() += 1;
                ensure(row[1..] == [memory, name], || format!("{name}: {row:?}"))?;
            }
        }
    }
    ensure(nodes.len() == 3, || format!("{nodes:?}"))
}

async fn hints(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let ask = "SELECT inet_server_port()";
    let node = world.answered(&mut client, &format!("/* pgweir: role=primary */ {ask}")).await?;
    ensure(node == "us-1", || format!("role=primary: {node}"))?;
    let said = route(&mut client).await?;
    ensure(said.reason.contains("hint role=primary"), || said.reason.clone())?;
    let node = world.answered(&mut client, &format!("/* pgweir: role=replica */ {ask}, twice(1)")).await?;
    ensure(node != "us-1", || format!("role=replica: {node}"))?;
    let node = world.answered(&mut client, &format!("{ask} /* pgweir: role=primary */")).await?;
    ensure(node != "us-1", || "a comment at the end counts as a hint".into())?;
    // Who says replica gets the replica's answer.
    refused(&mut client, "/* pgweir: role=replica */ INSERT INTO log (what) VALUES ('never')", "25006")
        .await?;
    refused(&mut client, "/* pgweir: role=replica */ SELECT n FROM next_ticket_hinted", "25006").await?;
    // On BEGIN it counts for the transaction.
    client.rows("/* pgweir: role=replica */ BEGIN").await?;
    let first = world.answered(&mut client, ask).await?;
    client.rows("COMMIT").await?;
    ensure(first != "us-1", || format!("hint on BEGIN: {first}"))?;
    for wrong in ["role=standby", "rule=primary", "role=", "primary"] {
        refused(&mut client, &format!("/* pgweir: {wrong} */ SELECT 1"), "22023").await?;
    }
    // A shard's name means nothing here, and does no harm.
    client.rows("/* pgweir: shard=eu */ SELECT 1").await?;
    let hinted = Script::new().run(&format!("/* pgweir: role=primary */ {ask}"), &[]).sync();
    let frames = client.run(&hinted).await?;
    let node = world.node(&rows(&frames)[0][0].clone().unwrap_or_default());
    ensure(node == "us-1", || format!("extended: {node}"))
}

async fn set_role(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let ask = "SELECT inet_server_port()";
    let shown = client.value("SHOW pgweir.role").await?;
    ensure(shown == "auto", || shown.clone())?;
    let set = client.query("SET pgweir.role = primary").await?;
    ensure(tags(&set) == "CZ" && set[0].command_tag().as_deref() == Some("SET"), || format!("{set:?}"))?;
    let (shown, node) = (client.value("SHOW pgweir.role").await?, world.answered(&mut client, ask).await?);
    ensure(shown == "primary" && node == "us-1", || format!("primary: {shown}, {node}"))?;
    let said = route(&mut client).await?;
    ensure(said.reason.contains("pgweir.role is primary"), || said.reason.clone())?;
    client.rows("SET SESSION pgweir.role TO 'replica'").await?;
    let node = world.answered(&mut client, &format!("{ask}, twice(1)")).await?;
    ensure(node != "us-1", || format!("replica: {node}"))?;
    refused(&mut client, "INSERT INTO log (what) VALUES ('never')", "25006").await?;
    let node = world.answered(&mut client, &format!("/* pgweir: role=primary */ {ask}")).await?;
    ensure(node == "us-1", || "a hint is stronger than SET".into())?;
    for (reset, set) in [
        ("RESET pgweir.role", "replica"),
        ("SET pgweir.role TO DEFAULT", "primary"),
        ("SET pgweir.role = auto", "primary"),
        ("DISCARD ALL", "primary"),
        ("RESET ALL", "primary"),
    ] {
        client.rows(&format!("SET pgweir.role = {set}")).await?;
        client.rows(reset).await?;
        let shown = client.value("SHOW pgweir.role").await?;
        ensure(shown == "auto", || format!("{reset}: {shown}"))?;
    }
    let (read, write) = (world.answered(&mut client, ask).await?, format!("{ask} FROM t FOR UPDATE"));
    let write = world.answered(&mut client, &write).await?;
    ensure(read != "us-1" && write == "us-1", || format!("auto again: {read}, {write}"))?;
    // It is the session's alone.
    client.rows("SET pgweir.role = primary").await?;
    let other = world.client().await?.value("SHOW pgweir.role").await?;
    ensure(other == "auto", || format!("another session has {other}"))
}

async fn set_role_extended(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let set = Script::new().run("SET pgweir.role = primary", &[]).sync();
    let frames = client.run(&set).await?;
    ensure(tags(&frames) == "12nCZ", || format!("{frames:?}"))?;
    let show = Script::new()
        .parse("s", "SHOW pgweir.role", &[])
        .describe_statement("s")
        .bind("", "s", &[])
        .execute("", 0)
        .sync();
    let frames = client.run(&show).await?;
    ensure(tags(&frames) == "1tT2DCZ", || format!("{frames:?}"))?;
    ensure(rows(&frames) == [[Some("primary".to_owned())]], || format!("{frames:?}"))?;
    let wrong = Script::new().run("SET pgweir.role = moon", &[]).run("SELECT 1", &[]).sync();
    let frames = client.run(&wrong).await?;
    ensure(
        tags(&frames).ends_with("EZ") && first_error(&frames).is_some_and(|error| error.code == "22023"),
        || format!("{frames:?}"),
    )?;
    let value = client.value("SHOW pgweir.role").await?;
    ensure(value == "primary", || value.clone())
}

async fn set_wrongly(world: &World) -> Outcome {
    let mut client = world.client().await?;
    refused(&mut client, "SET pgweir.role = moon", "22023").await?;
    refused(&mut client, "SET pgweir.shard = eu", "22023").await?;
    refused(&mut client, "SET pgweir.colour = red", "42704").await?;
    refused(&mut client, "SHOW pgweir.colour", "42704").await?;
    let shown = client.value("SHOW pgweir.role").await?;
    ensure(shown == "auto", || shown.clone())?;
    // In a transaction it fails the transaction.
    for first in ["", "SELECT 1", "SELECT 1 FROM t FOR UPDATE"] {
        client.rows("BEGIN").await?;
        client.rows(first).await?;
        refused(&mut client, "SET pgweir.role = moon", "22023").await?;
        refused(&mut client, "SELECT 1", "25P02").await?;
        client.rows("ROLLBACK").await?;
    }
    client.rows("SELECT 1").await.map(drop).map_err(Into::into)
}

async fn startup_role(world: &World) -> Outcome {
    let ask = "SELECT inet_server_port(), twice(1)";
    for (name, value) in [
        ("options", "-c pgweir.role=replica"),
        ("options", "-c work_mem=1MB --pgweir.role=replica"),
        ("pgweir.role", "replica"),
    ] {
        let mut client = world.options("app").parameter(name, value).connect().await?;
        let node = world.answered(&mut client, ask).await?;
        ensure(node != "us-1", || format!("{value}: {node}"))?;
        let said = route(&mut client).await?;
        ensure(said.reason.contains("by the startup packet"), || said.reason.clone())?;
        client.rows("SET pgweir.role = primary").await?;
        client.rows("RESET pgweir.role").await?;
        let shown = client.value("SHOW pgweir.role").await?;
        ensure(shown == "replica", || format!("after RESET: {shown}"))?;
    }
    let refused = world.options("app").parameter("options", "-c pgweir.role=moon").connect().await;
    match refused {
        Err(testkit::Error::Server(error)) if error.code == "22023" && error.severity == "FATAL" => Ok(()),
        other => Err(format!("pgweir.role=moon: {other:?}").into()),
    }
}

async fn listener_role(world: &World) -> Outcome {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], world.replicas_port));
    let mut client = Client::to(address).user("app", "secret").database("app").connect().await?;
    let node = world.answered(&mut client, "SELECT inet_server_port(), twice(1)").await?;
    ensure(node != "us-1", || node.clone())?;
    let said = route(&mut client).await?;
    ensure(said.reason.contains("listener with role replica"), || said.reason.clone())?;
    refused(&mut client, "INSERT INTO log (what) VALUES ('never')", "25006").await?;
    client.rows("SET pgweir.role = auto").await?;
    let node = world
        .answered(&mut client, "INSERT INTO log (what) VALUES ('x') RETURNING inet_server_port()")
        .await?;
    ensure(node == "us-1", || format!("SET is stronger than the listener: {node}"))?;
    client.rows("RESET pgweir.role").await?;
    let shown = client.value("SHOW pgweir.role").await?;
    ensure(shown == "replica", || format!("RESET goes back to the listener's: {shown}"))
}

async fn database_roles(world: &World) -> Outcome {
    let mut primary = world.of("primary_only").await?;
    let node = world.answered(&mut primary, "SELECT inet_server_port()").await?;
    let said = route(&mut primary).await?;
    ensure(node == "us-1" && said.reason.contains("the database's route.role is primary"), || {
        format!("{node}: {said:?}")
    })?;
    let mut replica = world.of("replica_only").await?;
    let node = world.answered(&mut replica, "SELECT inet_server_port(), twice(2)").await?;
    ensure(node != "us-1", || format!("role: replica: {node}"))?;
    refused(&mut replica, "INSERT INTO log (what) VALUES ('never')", "25006").await
}

async fn observing(world: &World) -> Outcome {
    let mut client = world.of("observing").await?;
    let node = world.answered(&mut client, "SELECT inet_server_port()").await?;
    let said = route(&mut client).await?;
    ensure(node == "us-1" && said.reason.contains("would go to the replica"), || {
        format!("{node}: {said:?}")
    })?;
    client.rows("INSERT INTO log (what) VALUES ('observed')").await?;
    let said = route(&mut client).await?;
    ensure(said.role == "primary" && said.reason.contains("would go to the primary"), || {
        format!("{said:?}")
    })?;
    client.rows("BEGIN READ ONLY").await?;
    let node = world.answered(&mut client, "SELECT inet_server_port()").await?;
    client.rows("COMMIT").await?;
    ensure(node == "us-1", || format!("READ ONLY: {node}"))
}

async fn nodes_of(
    world: &World,
    database: &str,
    times: u32,
) -> Result<BTreeMap<String, u32>, Box<dyn Error>> {
    let mut client = world.of(database).await?;
    let mut shares = BTreeMap::new();
    for _ in 0..times {
        *shares.entry(world.answered(&mut client, "SELECT inet_server_port()").await?).or_default() += 1;
    }
    Ok(shares)
}

async fn reads_on_primary(world: &World) -> Outcome {
    let shares = nodes_of(world, "primary_too", 30).await?;
    ensure(shares.len() == 3, || format!("{shares:?}"))?;
    let shares = nodes_of(world, "never_primary", 30).await?;
    ensure(shares.len() == 2 && !shares.contains_key("us-1"), || format!("never: {shares:?}"))
}

async fn round_robin(world: &World) -> Outcome {
    let shares = nodes_of(world, "in_turn", 20).await?;
    let expected = BTreeMap::from([("us-2".to_owned(), 10), ("us-3".to_owned(), 10)]);
    ensure(shares == expected, || format!("{shares:?}"))
}

/// Asks where a read is answered until it is content.
async fn reads_come_from(world: &World, what: &str, wanted: &[&str]) -> Outcome {
    let ask = async || -> Result<Vec<String>, String> {
        let shares = nodes_of(world, "app", 6).await.map_err(|error| error.to_string())?;
        Ok(shares.into_keys().collect())
    };
    eventually(what, ask, |nodes| nodes.as_ref().is_ok_and(|nodes| nodes == wanted)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_come_and_go() {
    let mut world = World::start().await.expect("a cluster and pgweir");
    let mut cases = Cases::new();
    let mut idle = world.client().await.expect("a client");
    cases.same("an idle client", idle.value("SELECT count(*) FROM t").await.ok(), Some("10".to_owned()));
    cases.add(
        "a replica is killed",
        async {
            world.cluster.kill(1)?;
            reads_come_from(&world, "the other replica", &["us-3"]).await
        }
        .await,
    );
    cases.add(
        "the other one too",
        async {
            world.cluster.stop(2, Mode::Fast)?;
            reads_come_from(&world, "the primary", &["us-1"]).await?;
            let mut never = world.of("never_primary").await?;
            refused(&mut never, "SELECT 1", "57P03").await
        }
        .await,
    );
    cases.add(
        "replicas come back",
        async {
            world.cluster.start(1)?;
            reads_come_from(&world, "the first", &["us-2"]).await?;
            world.cluster.start(2)?;
            reads_come_from(&world, "both", &["us-2", "us-3"]).await
        }
        .await,
    );
    cases.add(
        "the primary is killed, a replica promoted",
        async {
            world.cluster.wait_all_caught_up()?;
            world.cluster.kill(0)?;
            world.cluster.promote(1)?;
            let insert = "INSERT INTO log (what) VALUES ('after') RETURNING inet_server_port()";
            let mut client = world.client().await?;
            let mut frames = client.query(insert).await?;
            // While its end isn't known yet, what was sent to the old primary fails.
            if first_error(&frames).is_some() {
                frames = eventually(
                    "a write",
                    async || match world.client().await {
                        Ok(mut client) => client.query(insert).await.unwrap_or_default(),
                        Err(_) => Vec::new(),
                    },
                    |frames| tags(frames) == "TDCZ",
                )
                .await?;
            }
            let node = world.node(&rows(&frames)[0][0].clone().unwrap_or_default());
            ensure(node == "us-2", || format!("written on {node}"))
        }
        .await,
    );
    cases.add(
        "who was idle sees no error",
        async {
            let node = world
                .answered(&mut idle, "INSERT INTO log (what) VALUES ('idle') RETURNING inet_server_port()")
                .await?;
            ensure(node == "us-2", || format!("written on {node}"))
        }
        .await,
    );
    cases.add(
        "the last replica follows the new primary",
        async {
            world.cluster.follow(2, 1)?;
            reads_come_from(&world, "the replica", &["us-3"]).await
        }
        .await,
    );
    cases.add(
        "a node is down at the start",
        async {
            world.pgweir.kill();
            world.pgweir = Pgweir::start(&world.setup).await?;
            let mut client = world.client().await?;
            let node = world
                .answered(&mut client, "INSERT INTO log (what) VALUES ('anew') RETURNING inet_server_port()")
                .await?;
            ensure(node == "us-2", || format!("written on {node}"))?;
            reads_come_from(&world, "the replica", &["us-3"]).await
        }
        .await,
    );
    cases.add(
        "the old primary comes back as a replica",
        async {
            world.cluster.follow(0, 1)?;
            reads_come_from(&world, "both replicas", &["us-1", "us-3"]).await?;
            let mut client = world.client().await?;
            let node = world.answered(&mut client, "DELETE FROM log RETURNING inet_server_port()").await?;
            ensure(node == "us-2", || format!("written on {node}"))
        }
        .await,
    );
    cases.add(
        "a switchover is a pause",
        async {
            let mut clients = vec![world.client().await?, world.client().await?];
            for client in &mut clients {
                client.rows("SELECT 1 FROM t FOR UPDATE").await?;
            }
            world.cluster.wait_all_caught_up()?;
            world.cluster.stop(1, Mode::Fast)?;
            // There is no primary now: what writes waits, one in a transaction and one alone.
            clients[0]
                .send(
                    Script::new()
                        .query("INSERT INTO log (what) VALUES ('waited') RETURNING inet_server_port()")
                        .bytes(),
                )
                .await?;
            clients[1].rows("BEGIN").await?;
            clients[1]
                .send(
                    Script::new()
                        .run("INSERT INTO log (what) VALUES ('waited') RETURNING inet_server_port()", &[])
                        .sync()
                        .bytes(),
                )
                .await?;
            let mut reader = world.client().await?;
            let node = world.answered(&mut reader, "SELECT inet_server_port()").await?;
            ensure(node != "us-2", || format!("read from {node}, which is down"))?;
            world.cluster.promote(0)?;
            for client in &mut clients {
                let frames = client.read_until_ready().await?;
                ensure(first_error(&frames).is_none(), || format!("{frames:?}"))?;
                let node = world.node(&rows(&frames)[0][0].clone().unwrap_or_default());
                ensure(node == "us-1", || format!("written on {node}"))?;
            }
            clients[1].rows("COMMIT").await?;
            let kept = world.cluster.psql(0, "app", "SELECT count(*) FROM log WHERE what = 'waited'")?;
            ensure(kept == "2", || format!("{kept} of 2 writes are there"))
        }
        .await,
    );
    cases.finish();
}
