//! A primary with two replicas of which the replay is halted and let go, and pgweir in front.

use std::error::Error;

use pgweir_tests::{Outcome, eventually, replicated};
use testkit::{Client, Cluster, Pgweir, Setup};

pub(crate) use pgweir_tests::ensure;

const SCHEMA: &str = "
CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL);
INSERT INTO t SELECT n, 0 FROM generate_series(1, 200) n;
CREATE TABLE fixed AS SELECT n FROM generate_series(1, 10) n;
CREATE TABLE log (what text);
CREATE TABLE orders (id int PRIMARY KEY);
CREATE TABLE lines (id int REFERENCES orders ON DELETE CASCADE);
INSERT INTO orders SELECT n FROM generate_series(1, 100) n;
INSERT INTO lines SELECT n FROM generate_series(1, 100) n;
CREATE TABLE parts (n int) PARTITION BY RANGE (n);
CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (100) TO (200);
CREATE TABLE parent (n int);
CREATE TABLE child () INHERITS (parent);
CREATE TABLE audited (n int);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO log VALUES (''audited''); RETURN NEW; END';
CREATE TRIGGER audit BEFORE INSERT ON audited FOR EACH ROW EXECUTE FUNCTION audit();
CREATE VIEW sums AS SELECT sum(v) FROM t;
CREATE VIEW logs AS SELECT count(*) FROM log;
CREATE VIEW plain AS SELECT * FROM parent;
CREATE FUNCTION note(text) RETURNS text LANGUAGE sql AS 'INSERT INTO log VALUES ($1) RETURNING what';
CREATE FUNCTION noted() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM log';
CREATE PROCEDURE enter(text) LANGUAGE sql AS 'INSERT INTO log VALUES ($1)';
GRANT ALL ON ALL TABLES IN SCHEMA public TO app, other;
GRANT CREATE ON SCHEMA public TO app;
";

/// Databases of pgweir that are one on the servers, each with a `route` of its own.
const VARIANTS: [(&str, &str); 10] = [
    ("session", "{consistency: session}"),
    ("strong", "{consistency: strong}"),
    ("eventual", "{consistency: eventual}"),
    ("never", "{reads_on_primary: never}"),
    ("in_turn", "{balance: round_robin}"),
    ("patient", "{replica_wait: 20s}"),
    ("until", "{transactions: replica_until_write}"),
    ("until_session", "{transactions: replica_until_write, consistency: session}"),
    ("until_strong", "{transactions: replica_until_write, consistency: strong}"),
    ("until_patient", "{transactions: replica_until_write, replica_wait: 20s}"),
];

/// A primary with two replicas, and pgweir in front.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) pgweir: Pgweir,
    pub(crate) setup: Setup,
}

impl World {
    pub(crate) async fn start() -> Result<World, Box<dyn Error>> {
        let cluster = replicated::cluster()
            .users([("other", "secret")])
            .settings([("max_prepared_transactions", "5"), ("max_connections", "150")])
            .start()?;
        cluster.psql(0, "app", SCHEMA)?;
        cluster.wait_all_caught_up()?;
        let setup = Setup::new(&cluster)
            .set("route.replica_wait", "5ms")
            .set("health", "{interval: 500ms, timeout: 2s, failures: 3, slow_start: 0s}")
            .set("users.other.route", "{consistency: eventual}")
            .set("pool", "{size: 4, query_wait_timeout: 20s}");
        let setup = replicated::variants(setup, VARIANTS);
        let setup = setup.set("databases.never.pool", "{query_wait_timeout: 300ms}");
        let pgweir = Pgweir::start(&setup).await?;
        Ok(World { cluster, pgweir, setup })
    }

    pub(crate) async fn client(&self) -> testkit::Result<Client> {
        self.of("app").await
    }

    pub(crate) async fn of(&self, database: &str) -> testkit::Result<Client> {
        self.pgweir.client("app", database).connect().await
    }

    /// No replica replays from here on.
    pub(crate) fn halt(&self) -> Outcome {
        self.replicas().into_iter().try_for_each(|node| self.halt_one(node))
    }

    /// This one doesn't.
    pub(crate) fn halt_one(&self, node: usize) -> Outcome {
        self.cluster.psql(node, "app", "SELECT pg_wal_replay_pause()")?;
        let paused = "SELECT pg_get_wal_replay_pause_state() = 'paused'";
        // It is asked for, and comes true with the next look at it.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while self.cluster.psql(node, "app", paused)?.trim() != "t" {
            if std::time::Instant::now() > deadline {
                return Err("replay is not paused".into());
            }
        }
        Ok(())
    }

    /// All of them do again, and have.
    pub(crate) fn go_on(&self) -> Outcome {
        for node in self.replicas() {
            self.cluster.psql(node, "app", "SELECT pg_wal_replay_resume()")?;
        }
        self.cluster.wait_all_caught_up()?;
        Ok(())
    }

    pub(crate) fn replicas(&self) -> [usize; 2] {
        [self.cluster.replica(0).index(), self.cluster.replica(1).index()]
    }

    /// Whether the last statement was answered by a replica.
    pub(crate) async fn on_replica(&self, client: &mut Client) -> Result<bool, Box<dyn Error>> {
        Ok(self.route(client).await?.0 == "replica")
    }

    /// Role and reason of the last statement.
    pub(crate) async fn route(&self, client: &mut Client) -> Result<(String, String), Box<dyn Error>> {
        let route = replicated::route(client).await?;
        Ok((route.role, route.reason))
    }

    /// Reads until a replica answers.
    pub(crate) async fn until_on_replica(&self, client: &mut Client, sql: &str) -> Outcome {
        let mut ask = async || -> Result<bool, String> {
            client.value(sql).await.map_err(|error| error.to_string())?;
            self.on_replica(client).await.map_err(|error| error.to_string())
        };
        eventually("a replica answers", async || ask().await, |on| *on == Ok(true)).await.map(drop)
    }
}
