//! Two shards and a database that has all their rows, pgweir in front, and what a case asks of them.

use std::error::Error;
use std::fs;

use pgweir_tests::Outcome;
use testkit::{Client, Cluster, Frame, Pgweir, Setup, first_error};

pub(crate) use pgweir_tests::ensure;

pub(crate) const SCHEMA: &str = "
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

pub(crate) const SHARDING: &str = "{
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
pub(crate) const MARK: &str = " -- must reach nobody";

pub(crate) struct World {
    pub(crate) us: Cluster,
    pub(crate) eu: Cluster,
    pub(crate) pgweir: Pgweir,
}

impl World {
    pub(crate) async fn start() -> Result<World, Box<dyn Error>> {
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

    pub(crate) async fn client(&self) -> testkit::Result<Client> {
        self.of("saas").await
    }

    pub(crate) async fn of(&self, database: &str) -> testkit::Result<Client> {
        self.pgweir.client("app", database).connect().await
    }

    /// A client of a node itself.
    pub(crate) async fn direct(&self, node: &testkit::Node, database: &str) -> testkit::Result<Client> {
        Client::to(node).user("app", "secret").database(database).connect().await
    }

    pub(crate) fn node(&self, port: &str) -> String {
        let mut nodes = self.us.nodes().iter().chain(self.eu.nodes());
        let node = nodes.find(|node| node.port().to_string() == port);
        node.map_or(format!("port {port}"), |node| node.name().to_owned())
    }

    /// How often any server has logged this text.
    pub(crate) fn logged(&self, text: &str) -> Result<usize, Box<dyn Error>> {
        let mut count = 0;
        for node in self.us.nodes().iter().chain(self.eu.nodes()) {
            count += String::from_utf8_lossy(&fs::read(node.log_path())?).matches(text).count();
        }
        Ok(count)
    }

    /// Rows of a statement on the two primaries.
    pub(crate) fn on_both(&self, sql: &str) -> Result<[String; 2], Box<dyn Error>> {
        Ok([self.us.psql(0, "saas", sql)?, self.eu.psql(0, "saas", sql)?])
    }
}

/// YAML in flow style on one line.
pub(crate) fn flow(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Shard, role and node of the last statement, by `SHOW pgweir.route`: `eu replica eu-2`.
pub(crate) async fn route(client: &mut Client) -> Result<String, Box<dyn Error>> {
    let row = client.rows("SHOW pgweir.route").await?.pop().unwrap_or_default();
    Ok(row.into_iter().skip(1).take(3).map(Option::unwrap_or_default).collect::<Vec<_>>().join(" "))
}

/// The statement is refused as what this database can't do, with a DETAIL and a HINT.
pub(crate) async fn refused(client: &mut Client, sql: &str, detail: &str) -> Outcome {
    let frames = client.query(&format!("{sql}{MARK}")).await?;
    is_refused(&frames, "0A000", detail)
}

pub(crate) fn is_refused(frames: &[Frame], code: &str, detail: &str) -> Outcome {
    let error = first_error(frames).ok_or_else(|| format!("no error, but {frames:?}"))?;
    ensure(error.code == code, || format!("{error:?}"))?;
    ensure(error.hint.is_some(), || format!("no HINT: {error:?}"))?;
    ensure(error.detail.as_ref().is_some_and(|said| said.contains(detail)), || format!("{error:?}"))?;
    ensure(!frames.iter().any(|frame| matches!(frame.tag, b'D' | b'C')), || {
        format!("a part of an answer: {frames:?}")
    })
}
