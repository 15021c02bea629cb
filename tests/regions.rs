//! Two regions with 40 ms between them: what a client reads and writes at home never crosses the ocean.

use std::error::Error;
use std::time::{Duration, Instant};

use pgweir_tests::{Cases, Outcome, ensure};
use testkit::{Client, Cluster, Direction, FaultProxy, Node, Pgweir, Script, Setup, first_error, rows};

/// The way there, and the way back.
const OCEAN: Duration = Duration::from_millis(20);
/// How often each statement is run.
const TIMES: usize = 30;

const SCHEMA: &str = "
CREATE TABLE customers (id int, region text, name text, PRIMARY KEY (region, id));
CREATE TABLE countries (code text PRIMARY KEY, name text);
INSERT INTO countries VALUES ('US', 'United States'), ('DE', 'Germany');
INSERT INTO customers SELECT n, r, 'customer ' || n FROM generate_series(1, 100) n, unnest(ARRAY['US', 'DE']) r;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
";

const SHARDING: &str = "{shards: {us: {cluster: us}, eu: {cluster: eu}}, sharding: {\
    schemes: {by_region: {type: list, of: text, values: {us: [US], eu: [DE]}}}, \
    tables: {customers: {key: region, scheme: by_region}}, reference_tables: [countries]}}";

struct World {
    us: Cluster,
    eu: Cluster,
    /// In front of all nodes of us.
    _ocean: Vec<FaultProxy>,
    pgweir: Pgweir,
}

impl World {
    /// Two regions, and a pgweir in eu.
    async fn start() -> Result<World, Box<dyn Error>> {
        let cluster = |name: &str| {
            Cluster::builder().name(name).replicas(1).databases(["saas"]).users([("app", "secret")]).start()
        };
        let (us, eu) = std::thread::scope(|scope| {
            let us = scope.spawn(|| cluster("us"));
            (us.join(), cluster("eu"))
        });
        let (us, eu) = (us.map_err(|_| "the first cluster")??, eu?);
        let mut setup = Setup::new(&us)
            .cluster(&eu)
            .set("instance.region", "eu")
            .set("clusters.us.region", "us")
            .set("clusters.eu.region", "eu")
            .set("route.consistency", "eventual")
            .set("databases.saas", SHARDING);
        let mut ocean = Vec::new();
        for node in us.nodes() {
            let proxy = FaultProxy::of(node).await?;
            setup = setup.node("us", node.name(), proxy.port());
            ocean.push(proxy);
        }
        for cluster in [&us, &eu] {
            cluster.psql(0, "saas", SCHEMA)?;
            cluster.wait_all_caught_up()?;
        }
        let pgweir = Pgweir::start(&setup).await?;
        for proxy in &ocean {
            proxy.delay(Direction::ToServer, OCEAN);
            proxy.delay(Direction::ToClient, OCEAN);
        }
        Ok(World { us, eu, _ocean: ocean, pgweir })
    }

    /// Connections of clients' user that a server has.
    fn connections(&self, cluster: &Cluster, node: &Node) -> Result<u32, Box<dyn Error>> {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
        Ok(cluster.psql(node.index(), "postgres", sql)?.parse()?)
    }

    /// Of all nodes of us.
    fn over_there(&self) -> Result<u32, Box<dyn Error>> {
        self.us.nodes().iter().map(|node| self.connections(&self.us, node)).sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_at_home_stays_at_home() {
    let world = World::start().await.expect("two clusters and pgweir");
    let mut cases = Cases::new();
    cases.add("a client in Europe", at_home(&world).await);
    cases.add("the other region is far away", abroad(&world).await);
    cases.finish();
}

async fn at_home(world: &World) -> Outcome {
    let mut client = world.pgweir.client("app", "saas").connect().await?;
    let mut figures = Vec::new();
    for (what, sql) in [
        ("read by key", "SELECT name FROM customers WHERE region = 'DE' AND id = 7"),
        ("read a reference table", "SELECT name FROM countries WHERE code = 'DE'"),
        ("read no table", "SELECT now()"),
        ("update by key", "UPDATE customers SET name = 'x' WHERE region = 'DE' AND id = 7"),
        ("insert", "INSERT INTO customers (id, region) VALUES ($, 'DE')"),
    ] {
        figures.push((what, median(&mut client, sql).await?));
    }
    figures.push(("a transaction", transaction(&mut client).await?));
    figures.push(("prepare, describe, execute, close", prepared(&mut client).await?));
    #[allow(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]
    {
        println!("medians of {TIMES}, with {:?} there and back to the other region: {figures:?}", 2 * OCEAN);
    }
    // The claim is that nothing went there; what is quicker than light there and back proves it by itself.
    let over_there = world.over_there()?;
    ensure(over_there == 0, || format!("{over_there} connections to the other region"))?;
    let crossed = figures.iter().find(|(_, median)| *median >= 2 * OCEAN);
    ensure(crossed.is_none(), || format!("{crossed:?} of {figures:?}"))?;
    let here = world.eu.nodes().iter().map(|node| world.connections(&world.eu, node));
    let here = here.collect::<Result<Vec<_>, _>>()?;
    ensure(here.iter().all(|&count| count > 0), || format!("connections at home: {here:?}"))
}

/// What belongs to the other shard is there, and takes its time.
async fn abroad(world: &World) -> Outcome {
    let mut client = world.pgweir.client("app", "saas").connect().await?;
    let read = median(&mut client, "SELECT name FROM customers WHERE region = 'US' AND id = 7").await?;
    ensure(read >= 2 * OCEAN, || format!("a read over the ocean took {read:?}"))?;
    ensure(world.over_there()? > 0, || "nobody went there".into())
}

/// The median of what a statement takes; `$` in it is another number each time.
async fn median(client: &mut Client, sql: &str) -> Result<Duration, Box<dyn Error>> {
    let mut times = Vec::new();
    for n in 0..TIMES {
        let sql = sql.replace('$', &(1000 + n).to_string());
        let began = Instant::now();
        let frames = client.query(&sql).await?;
        times.push(began.elapsed());
        ensure(first_error(&frames).is_none(), || format!("{sql}: {frames:?}"))?;
    }
    Ok(middle(times))
}

async fn transaction(client: &mut Client) -> Result<Duration, Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let began = Instant::now();
        for sql in
            ["BEGIN", "UPDATE customers SET name = name || '.' WHERE region = 'DE' AND id = 8", "COMMIT"]
        {
            let frames = client.query(sql).await?;
            ensure(first_error(&frames).is_none(), || format!("{sql}: {frames:?}"))?;
        }
        times.push(began.elapsed());
    }
    Ok(middle(times))
}

/// As drivers do it: a round trip to prepare and to describe, one to execute, one to close.
async fn prepared(client: &mut Client) -> Result<Duration, Box<dyn Error>> {
    let sql = "SELECT name FROM customers WHERE region = $1 AND id = 9";
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let began = Instant::now();
        let prepare = Script::new().parse("s", sql, &[]).describe_statement("s").sync();
        let execute = Script::new().bind("", "s", &[Some("DE")]).execute("", 0).sync();
        let close = Script::new().close_statement("s").sync();
        for (script, count) in [(prepare, 0), (execute, 1), (close, 0)] {
            let frames = client.run(&script).await?;
            let fine = first_error(&frames).is_none() && rows(&frames).len() == count;
            ensure(fine, || format!("{script:?}: {frames:?}"))?;
        }
        times.push(began.elapsed());
    }
    Ok(middle(times))
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
