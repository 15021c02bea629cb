//! A primary with two replicas, pgweir in front, and what a case asks of them.

use std::error::Error;

use pgweir_tests::{Outcome, replicated};
use testkit::{Client, Cluster, ConnectOptions, Pgweir, Setup, first_error, free_port};

pub(crate) use pgweir_tests::ensure;
pub(crate) use pgweir_tests::replicated::route;

pub(crate) const SCHEMA: &str = "
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, 10) n;
CREATE TABLE log (n serial, what text);
CREATE UNLOGGED TABLE scratch (n int);
CREATE SEQUENCE tickets;
CREATE FUNCTION note(text) RETURNS text LANGUAGE sql AS 'INSERT INTO log (what) VALUES ($1) RETURNING what';
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
CREATE FUNCTION sly() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT nextval(''tickets'')';
CREATE PROCEDURE enter(text) LANGUAGE sql AS 'INSERT INTO log (what) VALUES ($1)';
CREATE VIEW known_ticket AS SELECT nextval('tickets') AS n;
CREATE VIEW next_ticket AS SELECT sly() AS n;
CREATE VIEW next_ticket_extended AS SELECT sly() AS n;
CREATE VIEW next_ticket_pipelined AS SELECT sly() AS n;
CREATE VIEW next_ticket_prepared AS SELECT sly() AS n;
CREATE VIEW next_ticket_hinted AS SELECT sly() AS n;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;
";

/// Databases of pgweir that are one on the servers, each with a `route` of its own.
pub(crate) const VARIANTS: [(&str, &str); 6] = [
    ("observing", "{role: observe}"),
    ("primary_only", "{role: primary}"),
    ("replica_only", "{role: replica}"),
    ("primary_too", "{reads_on_primary: always}"),
    ("never_primary", "{reads_on_primary: never}"),
    ("in_turn", "{balance: round_robin}"),
];

/// A primary with two replicas, and pgweir in front.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) pgweir: Pgweir,
    pub(crate) setup: Setup,
    /// Where a listener with the role replica listens.
    pub(crate) replicas_port: u16,
}

impl World {
    pub(crate) async fn start() -> Result<World, Box<dyn Error>> {
        let cluster = replicated::cluster().start()?;
        cluster.psql(0, "app", SCHEMA)?;
        cluster.wait_all_caught_up()?;
        let replicas_port = free_port().ok_or("no free port")?;
        let listener = format!("[{{tcp: \"127.0.0.1:{replicas_port}\", role: replica}}]");
        let health = "{interval: 250ms, timeout: 2s, failures: 2}";
        let setup = Setup::new(&cluster).pool_size(4).set("listen.extra", &listener).set("health", health);
        // What a read must have seen keeps it where it is; here it goes where its turn is.
        let setup = replicated::variants(setup.set("route.consistency", "eventual"), VARIANTS);
        let pgweir = Pgweir::start(&setup).await?;
        Ok(World { cluster, pgweir, setup, replicas_port })
    }

    pub(crate) async fn client(&self) -> testkit::Result<Client> {
        self.of("app").await
    }

    pub(crate) async fn of(&self, database: &str) -> testkit::Result<Client> {
        self.options(database).connect().await
    }

    pub(crate) fn options(&self, database: &str) -> ConnectOptions {
        self.pgweir.client("app", database)
    }

    /// The node of this port: `us-1`.
    pub(crate) fn node(&self, port: &str) -> String {
        let node = self.cluster.nodes().iter().find(|node| node.port().to_string() == port);
        node.map_or(format!("port {port}"), |node| node.name().to_owned())
    }

    /// Whether this node is the primary, by what the test did with it.
    pub(crate) fn role_of(&self, node: &str) -> &'static str {
        if self.cluster.primary().name() == node { "primary" } else { "replica" }
    }

    /// Runs a statement whose first value is inet_server_port(): the node that answered.
    pub(crate) async fn answered(&self, client: &mut Client, sql: &str) -> Result<String, Box<dyn Error>> {
        Ok(self.node(&client.value(sql).await?))
    }
}

/// A statement that must fail, with this SQLSTATE.
pub(crate) async fn refused(client: &mut Client, sql: &str, code: &str) -> Outcome {
    let frames = client.query(sql).await?;
    match first_error(&frames) {
        Some(error) if error.code == code => Ok(()),
        Some(error) => Err(format!("{sql}: {error:?}, not {code}").into()),
        None => Err(format!("{sql}: no error, but {frames:?}").into()),
    }
}
