//! The console, the metrics and the health checks of a running pgweir: that they answer, and that they tell the truth.

use std::collections::BTreeMap;
use std::error::Error;

use pgweir_tests::{Cases, Outcome, ensure, eventually, program};
use testkit::{ADMIN, Client, Cluster, Frame, Pgweir, Script, Setup, first_error, free_port, rows, tags};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio_postgres::NoTls;
use tokio_postgres::types::Type;

/// Connections that a pool may have.
const POOL: usize = 2;

struct World {
    cluster: Cluster,
    pgweir: Pgweir,
    setup: Setup,
    http: u16,
}

/// A row by its columns' names; NULL is nothing.
type Named = BTreeMap<String, String>;

impl World {
    async fn start() -> Result<World, Box<dyn Error>> {
        let users = [("app", "secret"), ("other", "secret"), ("watcher", "secret")];
        let cluster =
            Cluster::builder().name("us").replicas(1).databases(["app", "second"]).users(users).start()?;
        cluster.psql(0, "app", "CREATE TABLE t (n int); GRANT ALL ON t TO app")?;
        cluster.wait_all_caught_up()?;
        let http = free_port().ok_or("no free port")?;
        let setup = Setup::new(&cluster)
            .pool_size(POOL)
            .set("admin.stats_users", "[watcher]")
            .set("listen.http", &format!("\"127.0.0.1:{http}\""))
            .set("clusters.us.server_connections", "20");
        let pgweir = Pgweir::start(&setup).await?;
        Ok(World { cluster, pgweir, setup, http })
    }

    async fn client(&self) -> testkit::Result<Client> {
        self.pgweir.client("app", "app").connect().await
    }

    /// The answer to GET: the status and the body.
    async fn get(&self, path: &str) -> Result<(u16, String), Box<dyn Error>> {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.http)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        tokio::time::timeout(testkit::DEADLINE, stream.read_to_string(&mut answer)).await??;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no end of the headers")?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no status")?;
        Ok((status, body.to_owned()))
    }

    /// The samples of a scrape: `name{labels}` and its value.
    async fn metrics(&self) -> Result<BTreeMap<String, f64>, Box<dyn Error>> {
        let (status, text) = self.get("/metrics").await?;
        ensure(status == 200, || format!("{status}: {text}"))?;
        ensure(text.trim_end().ends_with("# EOF"), || "it doesn't end as OpenMetrics does".into())?;
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').ok_or_else(|| format!("not a sample: {line}"))?;
            let value = value.parse().map_err(|error| format!("{line}: {error}"))?;
            let twice = samples.insert(name.to_owned(), value).is_some();
            ensure(!twice && name.starts_with("pgweir_"), || format!("odd or twice: {line}"))?;
        }
        Ok(samples)
    }

    /// The sum of a metric over what has all of these labels.
    async fn metric(&self, name: &str, labels: &[&str]) -> Result<f64, Box<dyn Error>> {
        let samples = self.metrics().await?;
        let mut of_it = samples
            .iter()
            .filter(|(sample, _)| {
                sample.split('{').next() == Some(name) && labels.iter().all(|label| sample.contains(label))
            })
            .map(|(_, value)| *value)
            .peekable();
        of_it.peek().ok_or_else(|| format!("no {name} with {labels:?}"))?;
        Ok(of_it.sum())
    }
}

/// The names of the columns in a RowDescription, and the oids of their types.
fn columns(frames: &[Frame]) -> Vec<(String, u32)> {
    let Some(description) = frames.iter().find(|frame| frame.tag == b'T') else { return Vec::new() };
    let mut rest = &description.body[2..];
    let mut columns = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let name = String::from_utf8_lossy(&rest[..end]).into_owned();
        let Some((numbers, after)) = rest[end + 1..].split_first_chunk::<18>() else { break };
        let oid = [numbers[6], numbers[7], numbers[8], numbers[9]];
        columns.push((name, u32::from_be_bytes(oid)));
        rest = after;
    }
    columns
}

/// The rows of a command on the console.
async fn show(console: &mut Client, command: &str) -> Result<Vec<Named>, Box<dyn Error>> {
    let frames = console.query(command).await?;
    if let Some(error) = first_error(&frames) {
        return Err(format!("{command}: {error}").into());
    }
    let names: Vec<_> = columns(&frames).into_iter().map(|(name, _)| name).collect();
    let named = |row: Vec<Option<String>>| {
        names.iter().cloned().zip(row).filter_map(|(name, value)| Some((name, value?))).collect()
    };
    Ok(rows(&frames).into_iter().map(named).collect())
}

fn of<'a>(row: &'a Named, column: &str) -> &'a str {
    row.get(column).map_or("", String::as_str)
}

/// The row of SHOW POOLS of `app` in `app`, once these columns have these values.
async fn pool_becomes(console: &mut Client, what: &str, wanted: &[(&str, usize)]) -> Outcome {
    let pool = async || {
        let rows = show(console, "SHOW POOLS").await.map_err(|error| error.to_string())?;
        rows.into_iter()
            .find(|row| of(row, "database") == "app" && of(row, "user") == "app")
            .ok_or("no row".to_owned())
    };
    let holds = |pool: &Result<Named, String>| {
        pool.as_ref().is_ok_and(|pool| wanted.iter().all(|(name, value)| of(pool, name) == value.to_string()))
    };
    eventually(what, pool, holds).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_is_true() {
    let mut world = World::start().await.expect("a cluster and pgweir");
    let mut cases = Cases::new();
    for (command, expected) in COLUMNS {
        cases.add(format!("columns of {command}"), columns_are(&world, command, expected).await);
    }
    cases.add("who holds and who waits", who_holds_and_who_waits(&world).await);
    cases.add("transactions are counted", transactions_are_counted(&world).await);
    cases.add("clients and servers", clients_and_servers(&world).await);
    cases.add("databases and settings", databases_and_settings(&world).await);
    cases.add("by psql", by_psql(&world).await);
    cases.add("by a driver", by_a_driver(&world).await);
    cases.add("the extended protocol", by_the_extended_protocol(&world).await);
    cases.add("who may", who_may(&world).await);
    cases.add("RELOAD", reload(&world).await);
    cases.add("metrics", metrics(&world).await);
    cases.add("a node that is down", node_down(&world).await);
    cases.add("health", health(&mut world).await);
    cases.finish();
}

/// PgBouncer's columns, in its order: ours may only follow.
const COLUMNS: &[(&str, &str)] = &[
    (
        "SHOW POOLS",
        "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode",
    ),
    (
        "SHOW CLIENTS",
        "type user database replication state addr port local_addr local_port connect_time request_time wait wait_us close_needed ptr link remote_pid tls application_name prepared_statements id",
    ),
    (
        "SHOW SERVERS",
        "type user database replication state addr port local_addr local_port connect_time request_time wait wait_us close_needed ptr link remote_pid tls application_name prepared_statements id",
    ),
    (
        "SHOW STATS",
        "database total_xact_count total_query_count total_received total_sent total_xact_time total_query_time total_wait_time avg_xact_count avg_query_count avg_recv avg_sent avg_xact_time avg_query_time avg_wait_time",
    ),
    (
        "SHOW DATABASES",
        "name host port database force_user pool_size min_pool_size reserve_pool_size server_lifetime pool_mode load_balance_hosts max_connections current_connections max_client_connections current_client_connections paused disabled",
    ),
    ("SHOW CONFIG", "key value default changeable"),
    ("SHOW VERSION", "version"),
    ("SHOW LISTS", "list items"),
];

async fn columns_are(world: &World, command: &str, expected: &str) -> Outcome {
    let mut console = world.pgweir.console().await?;
    let found = columns(&console.query(command).await?);
    let expected: Vec<_> = expected.split(' ').collect();
    let names: Vec<_> = found.iter().take(expected.len()).map(|(name, _)| name.as_str()).collect();
    ensure(names == expected, || format!("{names:?}"))?;
    let known = [Type::TEXT, Type::INT4, Type::INT8, Type::NUMERIC].map(|known| known.oid());
    ensure(found.iter().all(|(_, oid)| known.contains(oid)), || format!("types: {found:?}"))?;
    let words = ["database", "user", "name", "state", "pool_mode", "version", "key", "list"];
    let typed = |(name, oid): &(String, u32)| !words.contains(&name.as_str()) || *oid == Type::TEXT.oid();
    ensure(found.iter().all(typed), || format!("words that aren't text: {found:?}"))
}

async fn who_holds_and_who_waits(world: &World) -> Outcome {
    let mut console = world.pgweir.console().await?;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(world.client().await?);
    }
    pool_becomes(&mut console, "all idle", &[("cl_active", 5), ("cl_waiting", 0), ("sv_active", 0)]).await?;
    for client in &mut clients[..POOL] {
        client.rows("BEGIN").await?;
        client.rows("INSERT INTO t VALUES (1)").await?;
    }
    pool_becomes(&mut console, "two hold", &[("cl_active", 5), ("cl_waiting", 0), ("sv_active", 2)]).await?;
    for client in &mut clients[POOL..POOL + 2] {
        client.send(Script::new().query("INSERT INTO t VALUES (2)").bytes()).await?;
    }
    pool_becomes(&mut console, "two wait", &[("cl_active", 3), ("cl_waiting", 2), ("sv_active", 2)]).await?;
    let waiting = world.metric("pgweir_clients", &["database=\"app\"", "state=\"waiting\""]).await?;
    let idle = world.metric("pgweir_clients", &["user=\"app\"", "state=\"idle\""]).await?;
    let held = world.metric("pgweir_clients", &["user=\"app\"", "state=\"idle_in_transaction\""]).await?;
    let numbers = [waiting, idle, held];
    ensure(numbers.map(f64::to_bits) == [2.0, 1.0, 2.0].map(f64::to_bits), || {
        format!("waiting, idle, in transaction: {numbers:?}")
    })?;
    let doing: Vec<_> = show(&mut console, "SHOW CLIENTS")
        .await?
        .into_iter()
        .filter(|row| of(row, "user") == "app")
        .map(|row| of(&row, "state").to_owned())
        .collect();
    let count = |state: &str| doing.iter().filter(|doing| *doing == state).count();
    ensure((count("active"), count("waiting"), count("idle")) == (2, 2, 1), || format!("{doing:?}"))?;
    for client in &mut clients[..POOL] {
        client.rows("COMMIT").await?;
    }
    for client in &mut clients[POOL..POOL + 2] {
        let frames = client.read_until_ready().await?;
        ensure(first_error(&frames).is_none(), || format!("{frames:?}"))?;
    }
    let at_rest = [("cl_active", 5), ("cl_waiting", 0), ("sv_active", 0), ("maxwait", 0)];
    pool_becomes(&mut console, "all at rest", &at_rest).await?;
    let idle: usize = show(&mut console, "SHOW POOLS")
        .await?
        .iter()
        .find(|row| of(row, "user") == "app")
        .map(|row| of(row, "sv_idle"))
        .unwrap_or_default()
        .parse()?;
    let there: usize = world
        .cluster
        .psql(0, "app", "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")?
        .parse()?;
    let replica: usize = world
        .cluster
        .psql(1, "app", "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")?
        .parse()?;
    ensure(idle == there + replica, || format!("sv_idle {idle}, on the servers {there} and {replica}"))?;
    drop(clients);
    pool_becomes(&mut console, "all gone", &[("cl_active", 0), ("cl_waiting", 0)]).await
}

async fn stats(console: &mut Client, database: &str) -> Result<BTreeMap<String, u64>, Box<dyn Error>> {
    let rows = show(console, "SHOW STATS").await?;
    let row = rows.into_iter().find(|row| of(row, "database") == database).unwrap_or_default();
    Ok(row.into_iter().filter_map(|(name, value)| Some((name, value.parse().ok()?))).collect())
}

async fn transactions_are_counted(world: &World) -> Outcome {
    let mut console = world.pgweir.console().await?;
    let mut client = world.client().await?;
    client.rows("SELECT 1").await?;
    let before = stats(&mut console, "app").await?;
    let counted = world.metric("pgweir_transactions_total", &["database=\"app\""]).await?;
    for _ in 0..7 {
        client.rows("SELECT 1").await?;
    }
    for _ in 0..3 {
        client.rows("BEGIN").await?;
        client.rows("SELECT 1").await?;
        client.rows("SELECT 2").await?;
        client.rows("COMMIT").await?;
    }
    client.run(&Script::new().run("SELECT 1", &[]).sync()).await?;
    client.query("SELECT 1/0").await?;
    let after = stats(&mut console, "app").await?;
    let more = |name: &str| {
        after.get(name).copied().unwrap_or_default() - before.get(name).copied().unwrap_or_default()
    };
    ensure(more("total_xact_count") == 12, || format!("{} transactions, not 12", more("total_xact_count")))?;
    let queries = more("total_query_count");
    ensure((15..=21).contains(&queries), || format!("{queries} queries"))?;
    for name in ["total_received", "total_sent", "total_xact_time", "total_query_time"] {
        ensure(more(name) > 0, || format!("{name} stands still"))?;
    }
    let counted = world.metric("pgweir_transactions_total", &["database=\"app\""]).await? - counted;
    ensure(counted.to_bits() == 12.0_f64.to_bits(), || format!("the metric counts {counted}"))
}

async fn clients_and_servers(world: &World) -> Outcome {
    let mut console = world.pgweir.console().await?;
    let mut client =
        world.pgweir.client("app", "app").parameter("application_name", "billing").connect().await?;
    client.rows("BEGIN").await?;
    let pid = client.value("SELECT pg_backend_pid() FROM t FOR UPDATE LIMIT 1").await?;
    let clients = show(&mut console, "SHOW CLIENTS").await?;
    let mine =
        clients.iter().find(|row| of(row, "application_name") == "billing").ok_or("not in SHOW CLIENTS")?;
    ensure(of(mine, "type") == "C" && of(mine, "addr") == "127.0.0.1", || format!("{mine:?}"))?;
    let servers = show(&mut console, "SHOW SERVERS").await?;
    let held = servers.iter().find(|row| of(row, "remote_pid") == pid).ok_or("not in SHOW SERVERS")?;
    ensure(of(held, "type") == "S" && of(held, "state") == "active", || format!("{held:?}"))?;
    ensure(of(held, "link") == of(mine, "ptr") && of(mine, "link") == of(held, "ptr"), || {
        format!("{mine:?} {held:?}")
    })?;
    let port = world.cluster.primary().port().to_string();
    ensure(of(held, "port") == port, || format!("{held:?}"))?;
    client.rows("COMMIT").await?;
    let servers = show(&mut console, "SHOW SERVERS").await?;
    let idle = servers.iter().find(|row| of(row, "remote_pid") == pid).ok_or("gone from SHOW SERVERS")?;
    ensure(of(idle, "state") == "idle" && of(idle, "link").is_empty(), || format!("{idle:?}"))
}

async fn databases_and_settings(world: &World) -> Outcome {
    let mut console = world.pgweir.console().await?;
    let databases = show(&mut console, "SHOW DATABASES").await?;
    let app = databases.iter().find(|row| of(row, "name") == "app").ok_or("no app")?;
    ensure(
        of(app, "pool_size") == "2" && of(app, "pool_mode") == "transaction" && of(app, "database") == "app",
        || format!("{app:?}"),
    )?;
    let config = show(&mut console, "SHOW CONFIG").await?;
    let size = config.iter().find(|row| of(row, "key") == "pool.size").ok_or("no pool.size")?;
    ensure(of(size, "value") == "2" && of(size, "changeable") == "yes", || format!("{size:?}"))?;
    let secrets = ["secret", testkit::ADMIN_PASSWORD, world.cluster.superuser_password()];
    let told = config
        .iter()
        .flat_map(|row| row.values())
        .find(|value| secrets.iter().any(|secret| value.contains(secret)));
    ensure(told.is_none(), || format!("SHOW CONFIG tells a secret: {told:?}"))?;
    let version = show(&mut console, "SHOW VERSION").await?;
    ensure(version.len() == 1 && of(&version[0], "version").starts_with("pgweir "), || format!("{version:?}"))
}

async fn by_psql(world: &World) -> Outcome {
    for database in ["pgweir", "pgbouncer"] {
        let mut command = Command::new(testkit::Binaries::find()?.psql());
        command.args(["-X", "-w", "-A", "-v", "ON_ERROR_STOP=1", "-d", &world.pgweir.url(ADMIN, database)]);
        for sql in [
            "SHOW POOLS",
            "show clients;",
            "Show Servers",
            "SHOW STATS",
            "SHOW DATABASES",
            "SHOW CONFIG",
            "SHOW VERSION",
            "SHOW HELP",
            "RELOAD",
        ] {
            command.args(["-c", sql]);
        }
        let said = program::run(&mut command, testkit::DEADLINE).await?.well()?;
        for text in ["database|user|cl_active", "pgweir ", "pool.size", "RELOAD"] {
            ensure(said.contains(text), || format!("{database}: no {text:?} in:\n{said}"))?;
        }
    }
    Ok(())
}

async fn by_a_driver(world: &World) -> Outcome {
    let (client, connection) = tokio_postgres::connect(&world.pgweir.url(ADMIN, "pgbouncer"), NoTls).await?;
    let task = tokio::spawn(connection);
    let statement = client.prepare("SHOW POOLS").await?;
    ensure(statement.columns()[2].type_() == &Type::INT4, || format!("{:?}", statement.columns()[2]))?;
    let pools = client.query(&statement, &[]).await?;
    let app = pools.iter().find(|row| row.get::<_, &str>("user") == "app").ok_or("no pool of app")?;
    let active: i32 = app.try_get("sv_active")?;
    ensure(active == 0 && app.try_get::<_, &str>("pool_mode")? == "transaction", || format!("{app:?}"))?;
    let version: String = client.query_one("SHOW VERSION", &[]).await?.try_get(0)?;
    ensure(version.starts_with("pgweir "), || version.clone())?;
    let wrong = client.query("SELECT 1", &[]).await.err().and_then(|error| error.code().cloned());
    ensure(wrong.is_some(), || "the console runs SQL".into())?;
    drop(client);
    Ok(task.await??)
}

async fn by_the_extended_protocol(world: &World) -> Outcome {
    let mut console = world.pgweir.console().await?;
    let frames = console.run(&Script::new().run("SHOW VERSION", &[]).sync()).await?;
    ensure(tags(&frames) == "12TDCZ", || format!("{frames:?}"))?;
    let script = Script::new()
        .run("SHOW NONSENSE", &[])
        .run("SHOW VERSION", &[])
        .sync()
        .run("SHOW VERSION", &[])
        .sync();
    let frames = console.run(&script).await?;
    ensure(tags(&frames) == "EZ12TDCZ", || format!("{frames:?}"))
}

async fn who_may(world: &World) -> Outcome {
    let mut watcher = world.pgweir.client("watcher", "pgweir").connect().await?;
    ensure(!show(&mut watcher, "SHOW DATABASES").await?.is_empty(), || "a stats user sees nothing".into())?;
    for command in ["RELOAD", "SHUTDOWN", "PAUSE", "KILL app", "RESUME"] {
        let error = first_error(&watcher.query(command).await?)
            .ok_or_else(|| format!("a stats user may {command}"))?;
        ensure(error.code == "42501", || format!("{command}: {error:?}"))?;
    }
    for database in ["pgweir", "pgbouncer"] {
        match world.pgweir.client("other", database).connect().await {
            Err(testkit::Error::Server(error)) => ensure(error.code == "42501", || format!("{error:?}"))?,
            Err(error) => return Err(error.into()),
            Ok(mut client) => {
                for command in ["SHOW POOLS", "SHOW CONFIG", "SHOW CLIENTS", "RELOAD", "SHUTDOWN"] {
                    let error = first_error(&client.query(command).await?)
                        .ok_or_else(|| format!("anybody may {command}"))?;
                    ensure(error.code == "42501", || format!("{command}: {error:?}"))?;
                }
            }
        }
    }
    ensure(world.get("/readyz").await?.0 == 200, || "somebody has stopped it".into())
}

async fn reload(world: &World) -> Outcome {
    let mut console = world.pgweir.console().await?;
    let mut client = world.client().await?;
    client.rows("SELECT 1").await?;
    let size = async |console: &mut Client| -> Result<String, Box<dyn Error>> {
        let config = show(console, "SHOW CONFIG").await?;
        Ok(config
            .iter()
            .find(|row| of(row, "key") == "pool.size")
            .map(|row| of(row, "value").to_owned())
            .unwrap_or_default())
    };
    let good = world.setup.clone().pool_size(3);
    world.pgweir.rewrite(&good.to_yaml())?;
    let frames = console.query("RELOAD").await?;
    let tag = frames.first().and_then(Frame::command_tag);
    ensure(tag.as_deref() == Some("RELOAD"), || format!("{frames:?}"))?;
    ensure(size(&mut console).await? == "3", || "RELOAD changes nothing".into())?;
    // A bad file: all stays as it is, and the error says what is wrong.
    world.pgweir.rewrite(&good.set("pool.size", "many").set("log.level", "debug").to_yaml())?;
    let error = first_error(&console.query("RELOAD").await?).ok_or("a bad file is taken")?;
    let said = format!("{} {}", error.message, error.detail.clone().unwrap_or_default());
    ensure(said.contains("pool.size") && said.contains("many"), || format!("{error:?}"))?;
    ensure(size(&mut console).await? == "3", || "a bad file changes something".into())?;
    let value = client.value("SELECT 42").await?;
    ensure(value == "42", || value.clone())?;
    world.pgweir.rewrite(&world.setup.to_yaml())?;
    console.rows("RELOAD").await?;
    ensure(size(&mut console).await? == POOL.to_string(), || "the old file isn't taken back".into())
}

async fn metrics(world: &World) -> Outcome {
    let mut client = world.client().await?;
    client.rows("SELECT 1").await?;
    client.rows("INSERT INTO t VALUES (3)").await?;
    let samples = world.metrics().await?;
    let secrets = ["secret", testkit::ADMIN_PASSWORD];
    ensure(!samples.keys().any(|name| secrets.iter().any(|secret| name.contains(secret))), || {
        "a secret".into()
    })?;
    for (name, labels, expected) in [
        ("pgweir_node_up", &["node=\"us-1\""][..], 1.0),
        ("pgweir_node_role", &["node=\"us-1\"", "role=\"primary\""], 1.0),
        ("pgweir_node_role", &["node=\"us-2\"", "role=\"replica\""], 1.0),
        ("pgweir_stopping", &[], 0.0),
    ] {
        let found = world.metric(name, labels).await?;
        ensure(found.to_bits() == f64::to_bits(expected), || format!("{name} {labels:?} is {found}"))?;
    }
    for node in ["us-1", "us-2"] {
        let label = format!("node=\"{node}\"");
        let found = world.metric("pgweir_transactions_total", &["database=\"app\"", &label]).await?;
        ensure(found > 0.0, || format!("no transaction on {node}"))?;
    }
    Ok(())
}

async fn node_down(world: &World) -> Outcome {
    world.cluster.stop(1, testkit::Mode::Fast)?;
    let mut console = world.pgweir.console().await?;
    let mut client = world.client().await?;
    let state = async || -> Result<String, String> {
        // Traffic that meets it brings the probe forward.
        client.rows("SELECT 1").await.map_err(|error| error.to_string())?;
        let nodes = show(&mut console, "SHOW NODES").await.map_err(|error| error.to_string())?;
        let node = nodes.iter().find(|row| of(row, "node") == "us-2").ok_or("no us-2")?;
        Ok(of(node, "state").to_owned())
    };
    let down = |state: &Result<String, String>| state.as_ref().is_ok_and(|state| state == "down");
    drop(eventually("us-2 is down", state, down).await?);
    let up = world.metric("pgweir_node_up", &["node=\"us-2\""]).await?;
    ensure(up.to_bits() == 0.0_f64.to_bits(), || format!("pgweir_node_up is {up}"))?;
    // It is pgweir's health, not the databases'.
    ensure(world.get("/healthz").await?.0 == 200 && world.get("/readyz").await?.0 == 200, || {
        "unhealthy".into()
    })
}

async fn health(world: &mut World) -> Outcome {
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/nowhere", 404), ("/", 404)] {
        let (found, _) = world.get(path).await?;
        ensure(found == status, || format!("{path}: {found}"))?;
    }
    // While it lets a transaction end it is alive, and not ready.
    let mut client = world.client().await?;
    client.rows("BEGIN").await?;
    client.rows("INSERT INTO t VALUES (4)").await?;
    world.pgweir.terminate();
    let ready =
        async || world.get("/readyz").await.map(|(status, _)| status).map_err(|error| error.to_string());
    drop(eventually("not ready", ready, |status| *status == Ok(503)).await?);
    let alive = world.get("/healthz").await?.0;
    ensure(alive == 200, || format!("/healthz: {alive}"))?;
    client.rows("COMMIT").await?;
    let status = world.pgweir.wait().await?;
    ensure(status.success(), || format!("it ends with {status}"))?;
    let kept = world.cluster.psql(0, "app", "SELECT count(*) FROM t WHERE n = 4")?;
    ensure(kept == "1", || "its transaction is lost".into())
}
