//! Where the conversations are held: one Postgres with a database for each way to reach it, alike to the last OID.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use testkit::{Auth, Client, Cluster, FaultProxy, Pgweir, Setup};

use crate::POOL;
use crate::case::{Case, Line};

const USER: &str = "app";
/// A wait longer than this is a hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a conversation reaches Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Direct,
    /// Through pgweir in transaction mode.
    Transaction,
    /// Through pgweir in session mode.
    Session,
    /// In transaction mode with `failover.resolve_commits`, each byte its own TCP segment, on both sides of pgweir.
    Fragmented,
}

impl Way {
    fn database(self) -> &'static str {
        match self {
            Way::Direct => "direct",
            Way::Transaction => "transaction",
            Way::Session => "session",
            Way::Fragmented => "fragmented",
        }
    }
}

const WAYS: [Way; 4] = [Way::Direct, Way::Transaction, Way::Session, Way::Fragmented];

/// What the conversations are about. The other databases are copies of one that has it, so that OIDs are the same.
const SCHEMA: &str = "
    CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL, price numeric(10,2) CHECK (price >= 0), note text);
    CREATE TABLE parts (id serial PRIMARY KEY, item int REFERENCES items DEFERRABLE INITIALLY DEFERRED, data bytea);
    CREATE TABLE log (line text);
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
    CREATE FUNCTION shout(t text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN RAISE NOTICE 'shouting %', t USING DETAIL = 'loud', HINT = 'cover your ears'; RETURN upper(t); END $$;
    CREATE FUNCTION fail(t text) RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'failed: %', t USING ERRCODE = 'PW123', DETAIL = 'a detail', HINT = 'a hint',
           COLUMN = 'c', CONSTRAINT = 'k', DATATYPE = 'd', TABLE = 't', SCHEMA = 's'; END $$;
    CREATE PROCEDURE note_twice(t text) LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO log VALUES (t); COMMIT; INSERT INTO log VALUES (t); END $$;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;
    GRANT ALL ON SCHEMA public TO app";

/// Before each conversation. It waits for the locks of a transaction that was left open, and fails then.
const RESET: &str = "
    SET lock_timeout = '5s';
    TRUNCATE items, parts, log RESTART IDENTITY;
    DROP TABLE IF EXISTS made, made_too;
    INSERT INTO items SELECT i, 'item ' || i, i * 1.5, CASE WHEN i % 3 = 0 THEN NULL ELSE 'note' END
        FROM generate_series(1, 10) i";

/// What a session may leave behind; asked by the next client.
const CLEAN: &str = "
    SELECT current_setting('work_mem'), current_setting('search_path'), current_setting('DateStyle'),
        current_setting('application_name'), current_setting('TimeZone'), current_user, session_user,
        (SELECT count(*) FROM pg_prepared_statements WHERE from_sql), (SELECT count(*) FROM pg_cursors),
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database =
            (SELECT oid FROM pg_database WHERE datname = current_database())),
        (SELECT count(*) FROM pg_listening_channels()), to_regclass('pg_temp.scratch'),
        pg_current_xact_id_if_assigned(), now() = statement_timestamp(),
        (SELECT string_agg(l::text, ',' ORDER BY l) FROM log l), (SELECT count(*) FROM items)";

/// The servers and the ways to them.
pub(crate) struct Ground {
    cluster: Cluster,
    transaction: Pgweir,
    session: Pgweir,
    split: Pgweir,
    split_clients: FaultProxy,
    _split_server: FaultProxy,
    sweepers: Vec<Client>,
}

impl Ground {
    pub(crate) async fn prepare() -> Ground {
        let databases = WAYS.map(Way::database);
        let cluster = Cluster::builder()
            .name("us")
            .auth(Auth::Trust)
            .users([(USER, "secret")])
            .databases(databases)
            .settings([("max_prepared_transactions", "5")])
            .start()
            .unwrap();
        cluster.psql(0, databases[0], SCHEMA).unwrap();
        for copy in &databases[1..] {
            let copied = format!(
                "DROP DATABASE {copy}; CREATE DATABASE {copy} OWNER {USER} TEMPLATE {}",
                databases[0]
            );
            for statement in copied.split(';') {
                cluster.psql(0, "postgres", statement).unwrap();
            }
        }
        let setup = |mode| {
            let setup = Setup::new(&cluster).pool_size(POOL).pool_mode(mode).set("auth.method", "trust");
            // All of its databases' pools fit.
            setup.set("clusters.us.server_connections", "80")
        };
        let transaction = Pgweir::start(&setup("transaction")).await.unwrap();
        let session = Pgweir::start(&setup("session")).await.unwrap();
        let split_server = FaultProxy::of(cluster.primary()).await.unwrap();
        split_server.split(true);
        let split = setup("transaction").node("us", "us-1", split_server.port());
        // Its questions and what it holds back change no answer either.
        let split = split.set("failover.resolve_commits", "true");
        let split = Pgweir::start(&split).await.unwrap();
        let split_clients = FaultProxy::start(split.addr()).await.unwrap();
        split_clients.split(true);
        let mut sweepers = Vec::new();
        for way in WAYS {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, cluster.primary().port()));
            let sweeper = Client::to(address).user(testkit::SUPERUSER, "").database(way.database());
            sweepers.push(sweeper.connect().await.unwrap());
        }
        Ground { cluster, transaction, session, split, split_clients, _split_server: split_server, sweepers }
    }

    /// Holds a conversation over fresh data, and has the next client look at what it left behind.
    pub(crate) async fn play(&mut self, case: &Case, way: Way) -> Vec<Line> {
        let sweeper = &mut self.sweepers[WAYS.iter().position(|w| *w == way).unwrap()];
        let swept = sweeper.query(RESET).await.unwrap();
        if let Some(error) = testkit::first_error(&swept) {
            return vec![Line::BrokeOff(format!(
                "something of an earlier conversation is still there: {error}"
            ))];
        }
        let client = match self.client(way).await {
            Ok(client) => client,
            Err(error) => return vec![Line::BrokeOff(format!("no login: {error}"))],
        };
        let mut lines = Line::of(Ok(client.startup().to_vec()));
        lines.extend(case.hold(client).await);
        let next = match self.client(way).await {
            Ok(mut next) => next.query(CLEAN).await,
            Err(error) => Err(error),
        };
        lines.extend(Line::of(next));
        lines
    }

    async fn client(&self, way: Way) -> testkit::Result<Client> {
        let address = match way {
            Way::Direct => SocketAddr::from((Ipv4Addr::LOCALHOST, self.cluster.primary().port())),
            Way::Transaction => self.transaction.addr(),
            Way::Session => self.session.addr(),
            Way::Fragmented => self.split_clients.addr(),
        };
        Client::to(address).user(USER, "secret").database(way.database()).deadline(PATIENCE).connect().await
    }

    pub(crate) fn assert_no_panic(&self) {
        for pgweir in [&self.transaction, &self.session, &self.split] {
            let log = pgweir.log();
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}
