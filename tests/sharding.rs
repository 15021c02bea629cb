//! A database on two shards: what names its key is sent there and answered as there, and nothing else reaches a server.

use std::error::Error;
use std::fs;

use pgweir_tests::{Cases, Outcome, program};
use testkit::{Client, Cluster, Frame, Pgweir, Script, Setup, first_error, rows, tags};
use tokio::process::Command;

const SCHEMA: &str = "
CREATE TABLE customers (id int, region text, name text, PRIMARY KEY (region, id));
CREATE TABLE orders (id int, region text, customer int, amount int, PRIMARY KEY (region, id));
CREATE TABLE tenants (id bigint PRIMARY KEY, name text);
CREATE TABLE documents (owner uuid, title text);
CREATE TABLE countries (code text PRIMARY KEY, name text);
CREATE TABLE flags (name text PRIMARY KEY, active bool);
CREATE TABLE unlisted (region text);
CREATE SEQUENCE numbers;
CREATE VIEW german_customers AS SELECT * FROM customers WHERE region = 'DE';
CREATE FUNCTION count_customers() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM customers';
INSERT INTO countries VALUES ('US', 'United States'), ('CA', 'Canada'), ('DE', 'Germany'), ('FR', 'France');
";
const US_ROWS: &str = "
INSERT INTO customers VALUES (1, 'US', 'Ann'), (2, 'US', 'Bob'), (3, 'CA', 'Cid');
INSERT INTO orders VALUES (1, 'US', 1, 10), (2, 'US', 2, 20), (3, 'CA', 3, 30);
INSERT INTO tenants VALUES (1, 'one'), (2, 'two');
INSERT INTO documents VALUES ('00000000-0000-0000-0000-000000000001', 'first');
";
const EU_ROWS: &str = "
INSERT INTO customers VALUES (1, 'DE', 'Dora'), (2, 'DE', 'Emil'), (3, 'FR', 'Fleur');
INSERT INTO orders VALUES (1, 'DE', 1, 100), (2, 'DE', 2, 200), (3, 'FR', 3, 300);
INSERT INTO tenants VALUES (3, 'three'), (-4, 'minus four');
INSERT INTO documents VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'second');
INSERT INTO flags VALUES ('dark', true);
";
const GRANTS: &str =
    "GRANT ALL ON ALL TABLES IN SCHEMA public TO app; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;";

const SHARDING: &str = "{
  shards: {us: {cluster: us}, eu: {cluster: eu}},
  sharding: {
    schemes: {
      by_region: {type: list, of: text, values: {us: [US, CA], eu: [DE, FR]}},
      by_tenant: {type: list, of: bigint, values: {us: [1, 2], eu: [3, -4]}},
      by_owner: {type: list, of: uuid, values: {us: [00000000-0000-0000-0000-000000000001], eu: [a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11]}}},
    tables: {
      customers: {key: region, scheme: by_region},
      orders: {key: region, scheme: by_region},
      tenants: {key: id, scheme: by_tenant},
      documents: {key: owner, scheme: by_owner}},
    reference_tables: [countries],
    single: {eu: [flags]}}}";
/// The same servers with one scheme, and a default.
const DEFAULTED: &str = "{
  shards: {us: {cluster: us, dbname: saas}, eu: {cluster: eu, dbname: saas}},
  sharding: {
    schemes: {by_region: {type: list, of: text, values: {us: [US, CA], eu: [DE]}, default: eu}},
    tables: {customers: {key: region, scheme: by_region}}}}";

/// Marks statements that must not reach a server.
const MARK: &str = " -- must reach nobody";

struct World {
    us: Cluster,
    eu: Cluster,
    pgweir: Pgweir,
}

impl World {
    async fn start() -> Result<World, Box<dyn Error>> {
        let cluster = |name: &str, databases: &[&str]| {
            let builder = Cluster::builder().name(name).replicas(1).databases(databases.iter().copied());
            builder.users([("app", "secret")]).settings([("log_statement", "all")]).start()
        };
        let (us, eu) = std::thread::scope(|scope| {
            let us = scope.spawn(|| cluster("us", &["saas", "whole"]));
            (us.join(), cluster("eu", &["saas"]))
        });
        let (us, eu) = (us.map_err(|_| "the first cluster")??, eu?);
        us.psql(0, "saas", &[SCHEMA, US_ROWS, GRANTS].concat())?;
        eu.psql(0, "saas", &[SCHEMA, EU_ROWS, GRANTS].concat())?;
        us.psql(0, "whole", &[SCHEMA, US_ROWS, EU_ROWS, GRANTS].concat())?;
        us.wait_all_caught_up()?;
        eu.wait_all_caught_up()?;
        let setup = Setup::new(&us)
            .cluster(&eu)
            .set("databases.saas", &flow(SHARDING))
            .set("databases.defaulted", &flow(DEFAULTED));
        let pgweir = Pgweir::start(&setup).await?;
        Ok(World { us, eu, pgweir })
    }

    async fn client(&self) -> testkit::Result<Client> {
        self.of("saas").await
    }

    async fn of(&self, database: &str) -> testkit::Result<Client> {
        self.pgweir.client("app", database).connect().await
    }

    /// A client of a node itself.
    async fn direct(&self, node: &testkit::Node, database: &str) -> testkit::Result<Client> {
        Client::to(node).user("app", "secret").database(database).connect().await
    }

    fn node(&self, port: &str) -> String {
        let mut nodes = self.us.nodes().iter().chain(self.eu.nodes());
        let node = nodes.find(|node| node.port().to_string() == port);
        node.map_or(format!("port {port}"), |node| node.name().to_owned())
    }

    /// How often any server has logged this text.
    fn logged(&self, text: &str) -> Result<usize, Box<dyn Error>> {
        let mut count = 0;
        for node in self.us.nodes().iter().chain(self.eu.nodes()) {
            count += String::from_utf8_lossy(&fs::read(node.log_path())?).matches(text).count();
        }
        Ok(count)
    }

    /// Rows of a statement on the two primaries.
    fn on_both(&self, sql: &str) -> Result<[String; 2], Box<dyn Error>> {
        Ok([self.us.psql(0, "saas", sql)?, self.eu.psql(0, "saas", sql)?])
    }
}

/// YAML in flow style on one line.
fn flow(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(what().into()) }
}

/// Shard, role and node of the last statement, by `SHOW pgweir.route`: `eu replica eu-2`.
async fn route(client: &mut Client) -> Result<String, Box<dyn Error>> {
    let row = client.rows("SHOW pgweir.route").await?.pop().unwrap_or_default();
    Ok(row.into_iter().skip(1).take(3).map(Option::unwrap_or_default).collect::<Vec<_>>().join(" "))
}

/// The statement is refused as what this database can't do, with a DETAIL and a HINT.
async fn refused(client: &mut Client, sql: &str, detail: &str) -> Outcome {
    let frames = client.query(&format!("{sql}{MARK}")).await?;
    is_refused(&frames, "0A000", detail)
}

fn is_refused(frames: &[Frame], code: &str, detail: &str) -> Outcome {
    let error = first_error(frames).ok_or_else(|| format!("no error, but {frames:?}"))?;
    ensure(error.code == code, || format!("{error:?}"))?;
    ensure(error.hint.is_some(), || format!("no HINT: {error:?}"))?;
    ensure(error.detail.as_ref().is_some_and(|said| said.contains(detail)), || format!("{error:?}"))?;
    ensure(!frames.iter().any(|frame| matches!(frame.tag, b'D' | b'C')), || {
        format!("a part of an answer: {frames:?}")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_database() {
    let world = World::start().await.expect("two clusters and pgweir");
    let world = &world;
    let mut cases = Cases::new();
    for (sql, place) in PLACED {
        cases.add(sql, placed(world, sql, place).await);
    }
    for (sql, detail) in REFUSED {
        cases.add(sql, refused_and_alive(world, sql, detail).await);
    }
    for sql in WHOLE_OR_NOT_AT_ALL {
        cases.add(sql, whole_or_not_at_all(world, sql).await);
    }
    cases.add("the key is a parameter", key_is_a_parameter(world).await);
    cases.add("a parameter that says no shard", parameter_says_no_shard(world).await);
    cases.add("a prepared statement is sent where its value says", prepared(world).await);
    cases.add("hints", hints(world).await);
    cases.add("SET pgweir.shard", set_shard(world).await);
    cases.add("one scheme, with a default", defaulted(world).await);
    cases.add("a transaction on one shard", transaction(world).await);
    cases.add("a transaction and a second shard", second_shard(world).await);
    cases.add("a transaction whose first statement is refused", refused_first(world).await);
    cases.add("pipelines", pipelines(world).await);
    cases.add("several statements in one text", several_statements(world).await);
    cases.add("COPY", copy(world).await);
    cases.add("psql's commands", psql(world).await);
    cases.add("the same bytes as from the shard itself", same_bytes(world).await);
    cases.add(
        "what was refused reached nobody",
        (|| {
            // What wasn't refused is in the logs: they would show it.
            ensure(world.logged("-- this reaches one")? == 1, || "the logs don't show statements".into())?;
            ensure(world.logged(MARK.trim())? == 0, || "a refused statement is in a server's log".into())
        })(),
    );
    cases.finish();
}

/// Statements, and the shard, the role and the node that they go to. Those that read tell the node themselves.
const PLACED: &[(&str, &str)] = &[
    ("SELECT inet_server_port() FROM customers WHERE region = 'DE'", "eu replica eu-2"),
    ("SELECT inet_server_port() FROM customers WHERE region = 'US' -- this reaches one", "us replica us-2"),
    ("SELECT inet_server_port() FROM customers WHERE 'FR' = region AND id > 0", "eu replica eu-2"),
    (
        "SELECT inet_server_port() FROM public.customers AS c WHERE c.region = 'CA' ORDER BY id LIMIT 1",
        "us replica us-2",
    ),
    ("SELECT inet_server_port() FROM Customers WHERE REGION = E'D\\x45'", "eu replica eu-2"),
    (
        "SELECT inet_server_port() FROM customers WHERE region = 'DE' AND (id = 1 OR id = 2)",
        "eu replica eu-2",
    ),
    (
        "SELECT inet_server_port() FROM customers c JOIN orders o ON o.customer = c.id WHERE c.region = 'DE' AND o.region = 'DE'",
        "eu replica eu-2",
    ),
    (
        "SELECT inet_server_port() FROM customers c JOIN countries k ON k.code = c.region WHERE c.region = 'US'",
        "us replica us-2",
    ),
    ("SELECT inet_server_port() FROM tenants WHERE id = 3", "eu replica eu-2"),
    ("SELECT inet_server_port() FROM tenants WHERE id = '-4'", "eu replica eu-2"),
    ("SELECT inet_server_port() FROM tenants WHERE id = '2'", "us replica us-2"),
    (
        "SELECT inet_server_port() FROM documents WHERE owner = 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
        "eu replica eu-2",
    ),
    ("SELECT inet_server_port() FROM flags", "eu replica eu-2"),
    ("SELECT inet_server_port() FROM flags, customers AS c WHERE c.region = 'DE'", "eu replica eu-2"),
    ("SELECT inet_server_port() FROM customers WHERE region = 'DE' FOR UPDATE", "eu primary eu-1"),
    ("SELECT inet_server_port() FROM pg_class LIMIT 1", "us replica us-2"),
    (
        "INSERT INTO customers (id, region, name) VALUES (10, 'US', 'New') RETURNING inet_server_port()",
        "us primary us-1",
    ),
    (
        "INSERT INTO customers (region, id) VALUES ('DE', 10), ('FR', 11), ('DE', 12) RETURNING inet_server_port()",
        "eu primary eu-1",
    ),
    (
        "INSERT INTO customers AS c (region, id) VALUES ('DE', 10) ON CONFLICT (region, id) DO UPDATE SET name = 'Again' RETURNING inet_server_port()",
        "eu primary eu-1",
    ),
    (
        "UPDATE customers SET name = 'Other' WHERE region = 'DE' AND id = 10 RETURNING inet_server_port()",
        "eu primary eu-1",
    ),
    ("DELETE FROM customers WHERE region = 'US' AND id = 10 RETURNING inet_server_port()", "us primary us-1"),
    (
        "DELETE FROM customers WHERE id >= 10 AND region = 'DE' RETURNING inet_server_port()",
        "eu primary eu-1",
    ),
    (
        "DELETE FROM customers WHERE id >= 10 AND region = 'FR' RETURNING inet_server_port()",
        "eu primary eu-1",
    ),
    ("UPDATE flags SET active = active RETURNING inet_server_port()", "eu primary eu-1"),
    (
        "SELECT inet_server_port() FROM customers WHERE region = 'DE'; SELECT 1; SELECT 2 FROM orders WHERE region = 'FR'",
        "eu replica eu-2",
    ),
    ("EXPLAIN SELECT * FROM customers WHERE region = 'DE'", "eu replica eu-2"),
    ("/* pgweir: shard=eu */ COPY (SELECT inet_server_port() FROM customers) TO STDOUT", "eu replica eu-2"),
];

async fn placed(world: &World, sql: &str, place: &str) -> Outcome {
    let mut client = world.client().await?;
    let frames = client.query(sql).await?;
    if let Some(error) = first_error(&frames) {
        return Err(format!("{error:?}").into());
    }
    let went = route(&mut client).await?;
    ensure(went == place, || format!("went to {went}, not {place}"))?;
    let copied = frames
        .iter()
        .find(|frame| frame.tag == b'd')
        .map(|frame| String::from_utf8_lossy(&frame.body).trim_end().to_owned());
    if sql.contains("inet_server_port()") {
        let answered = rows(&frames).into_iter().find_map(|row| row.into_iter().next().flatten());
        let node = world.node(&copied.or(answered).ok_or("no row")?);
        ensure(place.ends_with(&node), || format!("answered by {node}, not {place}"))?;
    }
    Ok(())
}

/// Statements that are refused, and a part of the DETAIL.
const REFUSED: &[(&str, &str)] = &[
    ("SELECT * FROM customers", "doesn't say its value"),
    ("SELECT count(*) FROM customers", "doesn't say its value"),
    ("SELECT * FROM customers WHERE id = 1", "doesn't say its value"),
    ("SELECT * FROM customers WHERE region = 'DE' OR id = 1", "doesn't say its value"),
    ("SELECT * FROM customers WHERE region IN ('DE', 'US')", "doesn't say its value"),
    ("SELECT * FROM customers WHERE region = ANY ('{DE,US}')", "doesn't say its value"),
    ("SELECT * FROM customers WHERE region <> 'DE'", "doesn't say its value"),
    ("SELECT * FROM customers WHERE NOT region = 'DE'", "doesn't say its value"),
    ("SELECT * FROM customers WHERE NOT (region = 'DE' AND true)", "doesn't say its value"),
    ("SELECT * FROM customers WHERE (region = 'DE') IS FALSE", ""),
    ("SELECT * FROM customers WHERE (region = 'DE') = (id = 5)", ""),
    ("SELECT * FROM customers WHERE lower(region) = 'DE'", "doesn't say its value"),
    ("SELECT * FROM customers WHERE region >= 'DE'", "doesn't say its value"),
    ("SELECT * FROM customers WHERE CASE WHEN region = 'DE' THEN id = 1 ELSE true END", ""),
    ("SELECT region = 'DE' FROM customers", "doesn't say its value"),
    ("SELECT region FROM customers GROUP BY region HAVING region = 'DE'", ""),
    ("SELECT * FROM customers c LEFT JOIN countries k ON c.region = 'DE'", ""),
    ("SELECT * FROM countries k RIGHT JOIN customers c ON c.region = 'DE'", ""),
    ("SELECT * FROM customers c FULL JOIN countries k ON c.region = 'DE'", ""),
    ("SELECT * FROM customers c JOIN orders o ON o.customer = c.id WHERE c.region = 'DE'", "\"orders\""),
    ("SELECT * FROM customers a, customers b WHERE a.region = 'DE'", "doesn't say its value"),
    ("SELECT * FROM customers a, customers b WHERE a.region = 'DE' AND b.region = 'US'", "shard"),
    (
        "SELECT * FROM customers WHERE region = 'DE' AND id IN (SELECT customer FROM orders)",
        "doesn't say its value",
    ),
    (
        "SELECT id FROM customers WHERE region = 'DE' UNION ALL SELECT id FROM customers",
        "doesn't say its value",
    ),
    (
        "SELECT id FROM customers WHERE region = 'DE' UNION SELECT id FROM customers WHERE region = 'US'",
        "shard",
    ),
    (
        "SELECT * FROM customers WHERE region = 'DE'; SELECT * FROM customers WHERE region = 'US'",
        "shard \"eu\", another to shard \"us\"",
    ),
    ("SELECT * FROM customers, flags WHERE region = 'US'", "shard"),
    ("SELECT * FROM customers WHERE region = 'XX'", "'XX' belongs to no shard"),
    ("SELECT * FROM customers WHERE region = 'de'", "'de' belongs to no shard"),
    ("SELECT * FROM customers WHERE region = 'DE '", "'DE ' belongs to no shard"),
    ("SELECT * FROM customers WHERE region = NULL", ""),
    ("SELECT * FROM customers WHERE region IS NULL", ""),
    ("SELECT * FROM customers WHERE region = 'D' || 'E'", ""),
    ("SELECT * FROM customers WHERE region = upper('de')", ""),
    ("SELECT * FROM tenants WHERE id = 3.0", ""),
    ("SELECT * FROM tenants WHERE id = 99", "99"),
    ("SELECT * FROM tenants WHERE id BETWEEN 3 AND 3", ""),
    ("SELECT * FROM unlisted WHERE region = 'DE'", "\"unlisted\" is not listed"),
    ("SELECT * FROM german_customers", "\"german_customers\" is not listed"),
    ("SELECT * FROM german_customers WHERE region = 'DE'", "\"german_customers\" is not listed"),
    ("SELECT count_customers()", "count_customers()"),
    ("SELECT count_customers() FROM customers WHERE region = 'DE'", "count_customers()"),
    ("INSERT INTO customers VALUES (20, 'DE')", "doesn't name its columns"),
    ("INSERT INTO customers (id) VALUES (20)", "gives no value for customers.region"),
    (
        "INSERT INTO customers (id, region) VALUES (20, 'DE'), (21, 'US')",
        "shard \"eu\", another to shard \"us\"",
    ),
    ("INSERT INTO customers (id, region) VALUES (20, NULL)", ""),
    ("INSERT INTO customers (id, region) VALUES (20, DEFAULT)", "expression or DEFAULT"),
    ("INSERT INTO customers (id, region) VALUES (20, upper('de'))", ""),
    ("INSERT INTO customers (id, region) VALUES (20, 'XX')", "'XX' belongs to no shard"),
    ("INSERT INTO customers (id, region) SELECT 20, 'DE'", "come from a query"),
    (
        "INSERT INTO customers (id, region) SELECT id + 20, 'DE' FROM orders WHERE region = 'DE'",
        "come from a query",
    ),
    ("INSERT INTO customers DEFAULT VALUES", ""),
    (
        "INSERT INTO customers (id, region) VALUES (1, 'DE') ON CONFLICT (region, id) DO UPDATE SET region = 'US'",
        "assigns customers.region",
    ),
    ("UPDATE customers SET region = 'US' WHERE region = 'DE'", "assigns customers.region"),
    ("UPDATE customers SET (name, region) = ('x', 'US') WHERE region = 'DE'", "assigns customers.region"),
    ("UPDATE customers SET name = 'x'", "doesn't say its value"),
    (
        "UPDATE customers SET name = 'x' FROM orders WHERE customers.region = 'DE' AND orders.customer = customers.id",
        "\"orders\"",
    ),
    ("DELETE FROM customers", "doesn't say its value"),
    ("DELETE FROM customers USING orders WHERE customers.region = 'DE' AND orders.id = 1", "\"orders\""),
    (
        "WITH d AS (DELETE FROM customers RETURNING *) SELECT * FROM orders WHERE region = 'DE'",
        "doesn't say its value",
    ),
    ("MERGE INTO customers c USING (VALUES (1)) s (n) ON c.id = n WHEN MATCHED THEN DELETE", "MERGE"),
    ("INSERT INTO countries VALUES ('ES', 'Spain')", "reference table"),
    ("UPDATE countries SET name = 'x'", "reference table"),
    ("CREATE TABLE made (n int)", "every shard"),
    ("ALTER TABLE customers ADD COLUMN more int", "every shard"),
    ("DROP TABLE customers", "every shard"),
    ("TRUNCATE customers", "every shard"),
    ("CREATE INDEX ON customers (name)", "every shard"),
    ("COPY customers FROM STDIN", "COPY of \"customers\""),
    ("COPY customers TO STDOUT", "COPY of \"customers\""),
    ("DO $$ BEGIN DELETE FROM customers; END $$", "DO block"),
    ("CALL anything()", "DO block or procedure"),
    ("PREPARE p AS SELECT 1 FROM customers WHERE region = $1", "PREPARE"),
    ("this is no SQL", "not understood"),
    ("VACUUM customers", "every shard"),
    ("LOCK TABLE customers", ""),
    ("SELECT * INTO copied FROM customers WHERE region = 'DE'", ""),
    ("CREATE TABLE copied AS SELECT * FROM customers WHERE region = 'DE'", ""),
    ("EXPLAIN ANALYZE DELETE FROM customers", "doesn't say its value"),
    ("DECLARE c CURSOR FOR SELECT * FROM customers", ""),
    ("INSERT INTO customers (id, region) VALUES ((SELECT max(id) FROM customers), 'DE')", ""),
    ("INSERT INTO customers (id, region) VALUES (90, 'DE') RETURNING (SELECT count(*) FROM orders)", ""),
    (
        "INSERT INTO customers (id, region) VALUES (1, 'DE') ON CONFLICT (region, id) DO UPDATE SET name = (SELECT max(name) FROM customers)",
        "",
    ),
    ("WITH o AS (SELECT * FROM orders) INSERT INTO customers (id, region) VALUES (91, 'DE')", "\"orders\""),
    (
        "BEGIN; INSERT INTO customers (id, region) VALUES (92, 'DE'); INSERT INTO customers (id, region) VALUES (92, 'US'); COMMIT",
        "shard",
    ),
    ("SELECT * FROM other.customers WHERE region = 'DE'", ""),
];

async fn refused_and_alive(world: &World, sql: &str, detail: &str) -> Outcome {
    let mut client = world.client().await?;
    let frames = client.query(&format!("{sql}{MARK}")).await?;
    ensure(tags(&frames) == "EZ" && frames[1].status() == Some('I'), || format!("{frames:?}"))?;
    is_refused(&frames, "0A000", detail)?;
    // The extended protocol says the same, and the session goes on.
    let frames = client.run(&Script::new().run(&format!("{sql}{MARK}"), &[]).sync()).await?;
    ensure(frames.last().is_some_and(|last| last.tag == b'Z'), || format!("{frames:?}"))?;
    is_refused(&frames, "0A000", detail)?;
    let after = client.value("SELECT name FROM customers WHERE region = 'DE' AND id = 1").await?;
    ensure(after == "Dora", || format!("afterwards {after}"))
}

/// Statements that may be refused; if they are answered, then as one database with all the rows would.
const WHOLE_OR_NOT_AT_ALL: &[&str] = &[
    "SELECT id, name FROM customers WHERE region = 'DE'",
    "SELECT id, name FROM customers WHERE region = 'DE'::text",
    "SELECT id, name FROM customers WHERE region = text 'DE'",
    "SELECT id, name FROM customers WHERE region = $$DE$$",
    "SELECT id, name FROM customers WHERE region = $x$DE$x$ AND true",
    "SELECT id, name FROM customers WHERE region = 'D'\n'E'",
    "SELECT id, name FROM customers WHERE region = U&'D\\0045'",
    "SELECT id, name FROM customers WHERE region = 'DE' COLLATE \"C\"",
    "SELECT id, name FROM customers WHERE region = 'DE' AND true OR false",
    "SELECT id, name FROM customers WHERE region = 'DE' AND false OR true",
    "SELECT id, name FROM customers WHERE (region, id) = ('DE', 1)",
    "SELECT id, name FROM customers WHERE region = 'DE' = true",
    "SELECT id, name FROM customers WHERE region IN ('DE')",
    "SELECT id, name FROM customers WHERE region LIKE 'DE'",
    "SELECT id, name FROM customers WHERE region IS NOT DISTINCT FROM 'DE'",
    "SELECT id, name FROM customers WHERE region = 'DE' AND region = 'US'",
    "SELECT id, name FROM customers WHERE region = 'DE' AND region = 'FR'",
    "SELECT id, name FROM ONLY customers WHERE region = 'DE'",
    "SELECT id, name FROM customers * WHERE region = 'DE'",
    "SELECT count(*) FROM customers c LEFT JOIN orders o ON o.region = 'DE' WHERE c.region = 'DE'",
    "SELECT k.code, c.name FROM countries k LEFT JOIN customers c ON c.region = 'DE'",
    "SELECT k.code, c.name FROM countries k LEFT JOIN customers c ON c.region = k.code AND c.region = 'DE'",
    "SELECT c.name FROM customers c RIGHT JOIN countries k ON c.region = 'DE'",
    "SELECT c.name, o.amount FROM customers c JOIN orders o USING (region, id) WHERE region = 'DE'",
    "SELECT c.name, o.amount FROM customers c NATURAL JOIN orders o WHERE c.region = 'DE'",
    "SELECT c.name, o.amount FROM customers c JOIN orders o ON o.region = c.region AND o.id = c.id WHERE c.region = 'DE'",
    "SELECT name, (SELECT max(amount) FROM orders) FROM customers WHERE region = 'DE'",
    "SELECT name, (SELECT max(amount) FROM orders o WHERE o.region = 'DE') FROM customers WHERE region = 'DE'",
    "SELECT name FROM customers c WHERE region = 'DE' AND EXISTS (SELECT FROM orders o WHERE o.region = c.region)",
    "SELECT name FROM customers c WHERE EXISTS (SELECT FROM orders o WHERE c.region = 'DE' AND o.region = 'DE')",
    "SELECT name FROM customers c WHERE NOT EXISTS (SELECT FROM orders o WHERE c.region = 'DE' AND o.region = 'DE')",
    "SELECT count(*) FROM orders WHERE region = 'DE' AND customer > (SELECT min(id) FROM customers WHERE region = 'US')",
    "WITH c AS (SELECT * FROM customers WHERE region = 'DE') SELECT name FROM c",
    "WITH c AS (SELECT * FROM customers) SELECT name FROM c WHERE region = 'DE'",
    "WITH customers AS (SELECT 'US' AS region, 'Nobody' AS name) SELECT name FROM customers WHERE region = 'DE'",
    "WITH customers AS (SELECT 'US' AS region) SELECT * FROM customers",
    "WITH c AS (SELECT * FROM customers WHERE region = 'DE'), o AS (SELECT * FROM orders WHERE region = 'DE') SELECT c.name, o.amount FROM c, o",
    "SELECT name FROM (SELECT * FROM customers WHERE region = 'DE') x",
    "SELECT name FROM (SELECT * FROM customers) x WHERE region = 'DE'",
    "SELECT name FROM (SELECT name, 'DE' AS region FROM customers) x WHERE x.region = 'DE'",
    "SELECT name FROM customers AS orders WHERE orders.region = 'DE'",
    "SELECT name FROM customers AS c (a, b, c) WHERE b = 'DE'",
    "SELECT c.a FROM customers AS c (region, a, b) WHERE c.region = 1",
    "SELECT c.id FROM customers AS c (region, id, x), LATERAL (SELECT c.id AS key) l WHERE l.key = 'DE'",
    "SELECT name FROM customers, LATERAL (SELECT region = 'DE' AS german) l WHERE german",
    "SELECT region FROM customers ORDER BY region = 'DE', id",
    "SELECT count(*) FILTER (WHERE region = 'DE') FROM customers",
    "SELECT max(name) OVER (PARTITION BY region = 'DE') FROM customers",
    "SELECT code FROM countries",
    "SELECT code, (SELECT count(*) FROM countries) FROM countries WHERE code = 'DE'",
    "SELECT code FROM countries EXCEPT SELECT region FROM customers",
    "SELECT code FROM countries EXCEPT SELECT region FROM customers WHERE region = 'DE'",
    "SELECT name FROM customers WHERE region = 'DE' INTERSECT SELECT name FROM customers WHERE region = 'FR'",
    "SELECT name FROM tenants WHERE id = 3",
    "SELECT name FROM tenants WHERE id = +3",
    "SELECT name FROM tenants WHERE id = - 4",
    "SELECT name FROM tenants WHERE id = 0x3",
    "SELECT name FROM tenants WHERE id = 1 + 2",
    "SELECT name FROM tenants WHERE id = 3::int",
    "SELECT name FROM tenants WHERE id = 3e0",
    "SELECT name FROM tenants WHERE id = ' 3 '",
    "SELECT name FROM tenants WHERE -id = 4",
    "SELECT title FROM documents WHERE owner = '{a0eebc999c0b4ef8bb6d6bb9bd380a11}'",
    "SELECT name, active FROM flags",
    "SELECT f.name, k.code FROM flags f, countries k",
    "SELECT name FROM customers WHERE region = 'DE' AND id IN (SELECT customer FROM orders WHERE region = 'DE')",
    "SELECT ts_stat('SELECT to_tsvector(name) FROM customers')::text",
    "SELECT name FROM tenants WHERE id = -4",
    "TABLE customers",
    "VALUES (1), (2)",
    "SELECT generate_series(1, 3)",
    "SELECT sum(n) FROM generate_series(1, 10) n",
    "SELECT query_to_xml('SELECT count(*) FROM customers', false, false, '')::text",
    "SELECT (xpath('/table/row/count/text()', table_to_xml('customers', false, false, '')))::text",
];

async fn whole_or_not_at_all(world: &World, sql: &str) -> Outcome {
    let mut client = world.client().await?;
    let mut whole = world.direct(world.us.primary(), "whole").await?;
    let (found, expected) = (client.query(sql).await?, whole.query(sql).await?);
    match (first_error(&found), first_error(&expected)) {
        (Some(error), _) if error.code == "0A000" && error.hint.is_some() => return Ok(()),
        (Some(error), Some(same)) if error.code == same.code => return Ok(()),
        (Some(error), _) => return Err(format!("{error:?}").into()),
        (None, Some(error)) => return Err(format!("answered {found:?}, not {error:?}").into()),
        (None, None) => {}
    }
    let sorted = |frames: &[Frame]| {
        let mut rows = rows(frames);
        rows.sort();
        rows
    };
    let (found, expected) = (sorted(&found), sorted(&expected));
    ensure(found == expected, || format!("{found:?}, not {expected:?}"))
}

/// Text, key type's oid, format and bytes, and the shard.
type Parameter = (&'static str, u32, u16, &'static [u8], &'static str);

async fn key_is_a_parameter(world: &World) -> Outcome {
    const UUID: [u8; 16] =
        [0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0x0a, 0x11];
    let customers = "SELECT inet_server_port(), $1 FROM customers WHERE region = $1 LIMIT 1";
    let tenants = "SELECT inet_server_port() FROM tenants WHERE id = $1";
    let documents = "SELECT inet_server_port() FROM documents WHERE owner = $1";
    let parameters: &[Parameter] = &[
        (customers, 0, 0, b"DE", "eu-2"),
        (customers, 25, 0, b"US", "us-2"),
        (customers, 25, 1, b"FR", "eu-2"),
        (customers, 1043, 0, b"CA", "us-2"),
        (tenants, 0, 0, b"3", "eu-2"),
        (tenants, 20, 0, b"-4", "eu-2"),
        (tenants, 20, 1, &[0, 0, 0, 0, 0, 0, 0, 2], "us-2"),
        (tenants, 20, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc], "eu-2"),
        (tenants, 0, 1, &[0, 0, 0, 0, 0, 0, 0, 3], "eu-2"),
        (tenants, 23, 1, &[0, 0, 0, 3], "eu-2"),
        (tenants, 23, 0, b"1", "us-2"),
        (tenants, 21, 1, &[0, 1], "us-2"),
        (documents, 0, 0, b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "eu-2"),
        (documents, 2950, 1, &UUID, "eu-2"),
        (documents, 2950, 0, b"00000000000000000000000000000001", "us-2"),
    ];
    let mut client = world.client().await?;
    for (sql, oid, format, bytes, expected) in parameters {
        let types: Vec<u32> = Some(*oid).filter(|oid| *oid != 0).into_iter().collect();
        let script = Script::new()
            .parse("", sql, &types)
            .bind_as("", "", &[*format], &[Some(bytes)], &[])
            .execute("", 0)
            .sync();
        let what = format!("{sql} with {bytes:?} of type {oid}");
        let frames = client.run(&script).await?;
        ensure(tags(&frames) == "12DCZ", || format!("{what}: {frames:?}"))?;
        let node = world.node(rows(&frames)[0][0].as_deref().unwrap_or_default());
        ensure(node == *expected, || format!("{what}: {node}"))?;
    }
    // The second of two, and in an INSERT.
    let insert = "INSERT INTO customers (name, region, id) VALUES ($1, $2, 30), ('Hans', 'DE', 31) RETURNING inet_server_port()";
    let frames = client.run(&Script::new().run(insert, &[Some("US"), Some("FR")]).sync()).await?;
    ensure(tags(&frames) == "12TDDCZ", || format!("{frames:?}"))?;
    let kept = world.on_both("DELETE FROM customers WHERE id IN (30, 31) RETURNING region")?;
    ensure(kept[0].is_empty() && kept[1].lines().count() == 2, || format!("{kept:?}"))
}

async fn parameter_says_no_shard(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let customers = format!("SELECT * FROM customers WHERE region = $1{MARK}");
    let insert = format!("INSERT INTO customers (id, region) VALUES (40, $1), (41, $2){MARK}");
    let tenants = format!("SELECT * FROM tenants WHERE id = $1{MARK}");
    for (sql, values, detail) in [
        (&customers, &[None][..], "($1) is NULL"),
        (&customers, &[Some("XX")], "'XX' belongs to no shard"),
        (&tenants, &[Some("three")], "($1) is not surely an integer"),
        (&insert, &[Some("DE"), Some("US")], "shard"),
        (&insert, &[Some("DE"), None], "($2) is NULL"),
    ] {
        let frames = client.run(&Script::new().run(sql, values).run("SELECT 1", &[]).sync()).await?;
        ensure(tags(&frames).ends_with("EZ"), || format!("{sql}: {frames:?}"))?;
        is_refused(&frames, "0A000", detail).map_err(|wrong| format!("{sql}: {wrong}"))?;
    }
    // Text of a type that compares otherwise.
    let bpchar =
        Script::new().parse("", &customers, &[1042]).bind("", "", &[Some("DE")]).execute("", 0).sync();
    is_refused(&client.run(&bpchar).await?, "0A000", "not surely a text")
}

async fn prepared(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let sql = "SELECT inet_server_port(), name FROM customers WHERE region = $1 AND id = $2::int";
    let prepare = Script::new().parse("by_key", sql, &[]).describe_statement("by_key").sync();
    let frames = client.run(&prepare).await?;
    ensure(tags(&frames) == "1tTZ", || format!("{frames:?}"))?;
    for (region, id, node, name) in [
        ("US", "1", "us-2", "Ann"),
        ("DE", "1", "eu-2", "Dora"),
        ("FR", "3", "eu-2", "Fleur"),
        ("CA", "3", "us-2", "Cid"),
    ] {
        let frames = client
            .run(&Script::new().bind("", "by_key", &[Some(region), Some(id)]).execute("", 0).sync())
            .await?;
        ensure(tags(&frames) == "2DCZ", || format!("{region}: {frames:?}"))?;
        let row: Vec<_> = rows(&frames).remove(0).into_iter().flatten().collect();
        ensure(world.node(&row[0]) == node && row[1] == name, || format!("{region}: {row:?}"))?;
    }
    // And by a driver.
    let (client, connection) =
        tokio_postgres::connect(&world.pgweir.url("app", "saas"), tokio_postgres::NoTls).await?;
    let task = tokio::spawn(connection);
    let statement = client.prepare("SELECT name FROM tenants WHERE id = $1").await?;
    for (id, name) in [(1_i64, "one"), (3, "three"), (-4, "minus four"), (2, "two")] {
        let found: String = client.query_one(&statement, &[&id]).await?.get(0);
        ensure(found == name, || format!("{id}: {found}"))?;
    }
    drop(client);
    Ok(task.await??)
}

async fn hints(world: &World) -> Outcome {
    let mut client = world.client().await?;
    for (sql, place) in [
        ("/* pgweir: shard=eu */ SELECT count(*) FROM customers", "eu replica eu-2"),
        ("/* pgweir: shard=us role=primary */ SELECT count(*) FROM customers", "us primary us-1"),
        ("/* pgweir: shard=eu */ SELECT * FROM german_customers", "eu replica eu-2"),
        ("/* pgweir: shard=eu role=replica */ SELECT count_customers()", "eu replica eu-2"),
        ("/* pgweir: shard=us */ CREATE TABLE by_hint (n int)", "us primary us-1"),
        ("/* pgweir: shard=us */ DROP TABLE by_hint", "us primary us-1"),
        ("/* pgweir: shard=eu */ UPDATE countries SET name = name", "eu primary eu-1"),
    ] {
        client.rows(sql).await.map_err(|error| format!("{sql}: {error}"))?;
        let went = route(&mut client).await?;
        ensure(went == place, || format!("{sql}: {went}"))?;
    }
    for (hint, detail) in [
        ("shard=moon", "doesn't have"),
        ("key=DE", "exactly one sharding scheme"),
        ("colour=red", "colour=red"),
    ] {
        let frames = client.query(&format!("/* pgweir: {hint} */ SELECT 1{MARK}")).await?;
        is_refused(&frames, "22023", detail).map_err(|wrong| format!("{hint}: {wrong}"))?;
    }
    let frames = client
        .run(&Script::new().run("/* pgweir: shard=eu */ SELECT count(*) FROM orders", &[]).sync())
        .await?;
    ensure(rows(&frames) == [[Some("3".to_owned())]], || format!("{frames:?}"))
}

async fn set_shard(world: &World) -> Outcome {
    let mut client = world.client().await?;
    client.rows("SET pgweir.shard = 'eu'").await?;
    let shown = client.value("SHOW pgweir.shard").await?;
    ensure(shown == "eu", || shown.clone())?;
    let names = client
        .rows("SELECT name FROM customers ORDER BY id")
        .await?
        .into_iter()
        .flatten()
        .flatten()
        .collect::<Vec<_>>();
    ensure(names == ["Dora", "Emil", "Fleur"], || format!("{names:?}"))?;
    client.rows("SET pgweir.shard TO us").await?;
    let count = client.value("/* pgweir: shard=eu */ SELECT sum(amount) FROM orders").await?;
    ensure(count == "600", || format!("the hint is stronger: {count}"))?;
    let count = client.value("SELECT sum(amount) FROM orders").await?;
    ensure(count == "60", || count.clone())?;
    let frames = client.query("SET pgweir.shard = moon").await?;
    ensure(first_error(&frames).is_some_and(|error| error.code == "22023"), || format!("{frames:?}"))?;
    client.rows("RESET pgweir.shard").await?;
    refused(&mut client, "SELECT sum(amount) FROM orders", "doesn't say its value").await?;
    let mut by_options =
        world.pgweir.client("app", "saas").parameter("options", "-c pgweir.shard=eu").connect().await?;
    let count = by_options.value("SELECT sum(amount) FROM orders").await?;
    ensure(count == "600", || format!("by the startup packet: {count}"))
}

async fn defaulted(world: &World) -> Outcome {
    let mut client = world.of("defaulted").await?;
    for (sql, node) in [
        ("SELECT inet_server_port() FROM customers WHERE region = 'FR'", "eu-2"),
        ("SELECT inet_server_port() FROM customers WHERE region = 'CA'", "us-2"),
        ("/* pgweir: key=US */ SELECT inet_server_port() FROM customers", "us-2"),
        ("/* pgweir: key=anything */ SELECT inet_server_port() FROM customers", "eu-2"),
    ] {
        let answered = world.node(&client.value(sql).await?);
        ensure(answered == node, || format!("{sql}: {answered}"))?;
    }
    let contradiction = client.query("/* pgweir: key=US shard=eu */ SELECT 1").await?;
    is_refused(&contradiction, "22023", "shard is \"eu\"")
}

/// How many transactions are open on the primaries.
fn open_transactions(world: &World) -> Result<[String; 2], Box<dyn Error>> {
    world.on_both(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state LIKE 'idle in transaction%'",
    )
}

async fn transaction(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let frames = client.query("BEGIN").await?;
    ensure(tags(&frames) == "CZ" && frames[1].status() == Some('T'), || format!("{frames:?}"))?;
    let open = open_transactions(world)?;
    ensure(open == ["0", "0"], || format!("before its first statement: {open:?}"))?;
    client.rows("INSERT INTO customers (id, region, name) VALUES (50, 'DE', 'Inside')").await?;
    let open = open_transactions(world)?;
    ensure(open == ["0", "1"], || format!("{open:?}"))?;
    for (sql, expected) in [
        ("SELECT name FROM customers WHERE region = 'DE' AND id = 50", "Inside"),
        ("SELECT name FROM countries WHERE code = 'US'", "United States"),
        ("SELECT active FROM flags", "t"),
        ("SELECT 7", "7"),
        ("SELECT relname FROM pg_class WHERE relname = 'customers'", "customers"),
    ] {
        let found = client.value(sql).await?;
        ensure(found == expected, || format!("{sql}: {found}"))?;
        let went = route(&mut client).await?;
        ensure(went == "eu primary eu-1", || format!("{sql}: {went}"))?;
    }
    client.rows("ROLLBACK").await?;
    let kept = world.eu.psql(0, "saas", "SELECT count(*) FROM customers WHERE id = 50")?;
    ensure(kept == "0", || "ROLLBACK didn't reach the shard".into())?;
    client.rows("BEGIN READ ONLY").await?;
    let node = world.node(&client.value("SELECT inet_server_port() FROM orders WHERE region = 'CA'").await?);
    client.rows("COMMIT").await?;
    ensure(node == "us-2", || format!("READ ONLY: {node}"))?;
    client.rows("/* pgweir: shard=us */ BEGIN").await?;
    let count = client.value("SELECT count(*) FROM countries").await?;
    let went = route(&mut client).await?;
    client.rows("COMMIT").await?;
    ensure(count == "4" && went == "us primary us-1", || format!("hint on BEGIN: {count}, {went}"))
}

async fn second_shard(world: &World) -> Outcome {
    let mut client = world.client().await?;
    for extended in [false, true] {
        client.rows("BEGIN").await?;
        client.rows("INSERT INTO customers (id, region, name) VALUES (60, 'DE', 'Half')").await?;
        let sql = format!("UPDATE customers SET name = 'Half' WHERE region = 'US'{MARK}");
        let frames = match extended {
            false => client.query(&sql).await?,
            true => client.run(&Script::new().run(&sql, &[]).sync()).await?,
        };
        is_refused(&frames, "0A000", "open on shard \"eu\"; this statement belongs to shard \"us\"")?;
        ensure(frames.last().and_then(Frame::status) == Some('E'), || format!("{frames:?}"))?;
        for sql in ["SELECT name FROM customers WHERE region = 'DE'", "SELECT 1"] {
            let frames = client.query(sql).await?;
            ensure(first_error(&frames).is_some_and(|error| error.code == "25P02"), || {
                format!("{frames:?}")
            })?;
        }
        // COMMIT of what has failed is a ROLLBACK.
        let end = if extended { "COMMIT" } else { "ROLLBACK" };
        let frames = client.query(end).await?;
        let tag = frames.first().and_then(Frame::command_tag);
        ensure(tag.as_deref() == Some("ROLLBACK"), || format!("{frames:?}"))?;
        ensure(frames.last().and_then(Frame::status) == Some('I'), || format!("{frames:?}"))?;
    }
    // A savepoint saves it.
    client.rows("BEGIN").await?;
    client.rows("INSERT INTO customers (id, region, name) VALUES (61, 'DE', 'Saved')").await?;
    client.rows("SAVEPOINT a").await?;
    refused(&mut client, "SELECT * FROM customers WHERE region = 'US'", "open on shard").await?;
    client.rows("ROLLBACK TO a").await?;
    client.rows("COMMIT").await?;
    let kept = world.on_both("DELETE FROM customers WHERE id >= 60 RETURNING name")?;
    ensure(kept == ["", "Saved"], || format!("{kept:?}"))?;
    let open = open_transactions(world)?;
    ensure(open == ["0", "0"], || format!("{open:?}"))
}

async fn refused_first(world: &World) -> Outcome {
    let mut client = world.client().await?;
    client.rows("BEGIN").await?;
    let frames = client.query(&format!("SELECT * FROM customers{MARK}")).await?;
    is_refused(&frames, "0A000", "doesn't say its value")?;
    ensure(frames.last().and_then(Frame::status) == Some('E'), || format!("{frames:?}"))?;
    let frames = client.query("SELECT 1").await?;
    ensure(first_error(&frames).is_some_and(|error| error.code == "25P02"), || format!("{frames:?}"))?;
    let frames = client.query("COMMIT").await?;
    let tag = frames.first().and_then(Frame::command_tag);
    ensure(tag.as_deref() == Some("ROLLBACK") && frames.last().and_then(Frame::status) == Some('I'), || {
        format!("{frames:?}")
    })?;
    let found = client.value("SELECT name FROM customers WHERE region = 'DE' AND id = 1").await?;
    ensure(found == "Dora", || found.clone())
}

async fn pipelines(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let one = Script::new()
        .run("SELECT name FROM customers WHERE region = $1 AND id = 1", &[Some("DE")])
        .run("SELECT sum(amount) FROM orders WHERE region = 'FR'", &[])
        .run("SELECT 1", &[])
        .sync();
    let frames = client.run(&one).await?;
    let found: Vec<_> = rows(&frames).into_iter().flatten().flatten().collect();
    ensure(found == ["Dora", "300", "1"], || format!("{frames:?}"))?;
    let went = route(&mut client).await?;
    ensure(went.starts_with("eu replica"), || went.clone())?;
    let two = Script::new()
        .run(&format!("INSERT INTO customers (id, region) VALUES (70, 'DE'){MARK}"), &[])
        .run(&format!("INSERT INTO customers (id, region) VALUES (70, 'US'){MARK}"), &[])
        .sync();
    is_refused(&client.run(&two).await?, "0A000", "shard \"eu\", another to shard \"us\"")?;
    // Each Sync is a transaction of its own, and may go elsewhere.
    let apart = Script::new()
        .run("SELECT name FROM customers WHERE region = 'DE' AND id = 1", &[])
        .sync()
        .run("SELECT name FROM customers WHERE region = 'US' AND id = 1", &[])
        .sync()
        .run(&format!("SELECT name FROM customers{MARK}"), &[])
        .sync()
        .run("SELECT name FROM customers WHERE region = 'FR'", &[])
        .sync();
    let frames = client.run(&apart).await?;
    let found: Vec<_> = rows(&frames).into_iter().flatten().flatten().collect();
    ensure(found == ["Dora", "Ann", "Fleur"] && tags(&frames).matches('Z').count() == 4, || {
        format!("{frames:?}")
    })?;
    let kept = world.on_both("SELECT count(*) FROM customers WHERE id = 70")?;
    ensure(kept == ["0", "0"], || format!("{kept:?}"))
}

async fn several_statements(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let text = "BEGIN; INSERT INTO customers (id, region) VALUES (95, 'DE'); UPDATE orders SET amount = amount WHERE region = 'FR'; COMMIT";
    let frames = client.query(text).await?;
    ensure(tags(&frames) == "CCCCZ", || format!("{frames:?}"))?;
    let kept = world.on_both("DELETE FROM customers WHERE id = 95 RETURNING region")?;
    ensure(kept == ["", "DE"], || format!("{kept:?}"))?;
    // A function by its oid says nothing of its tables.
    let frames = client.run(&Script::new().function_call(1299, &[])).await?;
    is_refused(&frames, "0A000", "")
}

async fn copy(world: &World) -> Outcome {
    let mut client = world.client().await?;
    client
        .send(
            Script::new()
                .query("/* pgweir: shard=us */ COPY customers (id, region, name) FROM STDIN")
                .bytes(),
        )
        .await?;
    client.read_until("CopyInResponse", |frame| frame.tag == b'G').await?;
    client.send(Script::new().copy_data(b"80\tUS\tCopied\n81\tCA\tToo\n").copy_done().bytes()).await?;
    let frames = client.read_until_ready().await?;
    ensure(tags(&frames) == "CZ", || format!("{frames:?}"))?;
    let frames = client.query("/* pgweir: shard=us role=primary */ COPY (SELECT name FROM customers WHERE id >= 80 ORDER BY id) TO STDOUT").await?;
    ensure(tags(&frames) == "HddcCZ", || format!("{frames:?}"))?;
    let kept = world.on_both("DELETE FROM customers WHERE id >= 80 RETURNING id")?;
    ensure(kept == ["80\n81", ""], || format!("{kept:?}"))
}

async fn psql(world: &World) -> Outcome {
    let mut command = Command::new(testkit::Binaries::find()?.psql());
    command.args(["-X", "-w", "-v", "ON_ERROR_STOP=1", "-d", &world.pgweir.url("app", "saas")]);
    for meta in ["\\d", "\\d customers", "\\dt+", "\\di", "\\df", "\\l", "\\du", "\\conninfo"] {
        command.args(["-c", meta]);
    }
    let said = program::run(&mut command, testkit::DEADLINE).await?.quietly()?;
    let expected =
        ["\"customers_pkey\" PRIMARY KEY, btree (region, id)", "german_customers", "count_customers"];
    let missing = expected.iter().find(|text| !said.contains(**text));
    ensure(missing.is_none(), || format!("no {missing:?} in:\n{said}"))
}

async fn same_bytes(world: &World) -> Outcome {
    for (sql, node) in [
        ("SELECT * FROM customers WHERE region = 'DE' ORDER BY id", world.eu.replica(0)),
        (
            "SELECT region, sum(amount), avg(amount) FROM orders WHERE region = 'US' GROUP BY region",
            world.us.replica(0),
        ),
        ("SELECT * FROM countries ORDER BY code", world.us.replica(0)),
        ("SELECT nothing FROM customers WHERE region = 'DE'", world.eu.replica(0)),
        ("UPDATE customers SET name = 'Dora' WHERE region = 'DE' AND id = 1 RETURNING *", world.eu.primary()),
        ("INSERT INTO customers (id, region) VALUES (1, 'US')", world.us.primary()),
    ] {
        let (mut client, mut direct) = (world.client().await?, world.direct(node, "saas").await?);
        let (found, expected) = (client.query(sql).await?, direct.query(sql).await?);
        ensure(found == expected, || format!("{sql}: {found:?}, not {expected:?}"))?;
        let script = Script::new().run(sql, &[]).sync();
        let (found, expected) = (client.run(&script).await?, direct.run(&script).await?);
        ensure(found == expected, || format!("{sql}, extended: {found:?}, not {expected:?}"))?;
    }
    Ok(())
}
