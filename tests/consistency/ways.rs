//! Writes of which the text doesn't name the table, and reads that don't name what they read: while no replica replays,
//! each write is seen by the next read.

use std::error::Error;
use std::net::SocketAddr;

use pgweir_tests::{Outcome, eventually};
use testkit::{Client, SUPERUSER, Script, first_error};
use tokio::sync::Mutex;

use crate::world::{World, ensure};

/// The world, with a client of each of its servers, by which replay is halted in a moment.
pub(crate) struct Ways<'w> {
    world: &'w World,
    primary: Mutex<Client>,
    replicas: Mutex<[Client; 2]>,
}

impl Ways<'_> {
    pub(crate) async fn of(world: &World) -> Result<Ways<'_>, Box<dyn Error>> {
        world.cluster.psql(0, "app", SCHEMA)?;
        world.cluster.wait_all_caught_up()?;
        let direct = async |index: usize, user: &str, password: &str| {
            let address = SocketAddr::from(([127, 0, 0, 1], world.cluster.nodes()[index].port()));
            Client::to(address).user(user, password).database("app").connect().await
        };
        let superuser = world.cluster.superuser_password();
        let [one, other] = world.replicas();
        let replicas = [direct(one, SUPERUSER, superuser).await?, direct(other, SUPERUSER, superuser).await?];
        let primary = direct(world.cluster.primary().index(), "app", "secret").await?;
        Ok(Ways { world, primary: Mutex::new(primary), replicas: Mutex::new(replicas) })
    }

    /// No replica replays from here on.
    async fn halt(&self) -> Outcome {
        for replica in self.replicas.lock().await.iter_mut() {
            replica.query("SELECT pg_wal_replay_pause()").await?;
            let state = async || replica.value("SELECT pg_get_wal_replay_pause_state()").await;
            eventually("replay is paused", state, |state| {
                state.as_deref().is_ok_and(|state| state == "paused")
            })
            .await??;
        }
        Ok(())
    }

    /// All of them do again, and have.
    async fn go_on(&self) -> Outcome {
        let position = self.primary.lock().await.value("SELECT pg_current_wal_flush_lsn()").await?;
        for replica in self.replicas.lock().await.iter_mut() {
            replica.query("SELECT pg_wal_replay_resume()").await?;
            let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
            let has = async || replica.value(&sql).await;
            eventually("replayed", has, |has| has.as_deref().is_ok_and(|has| has == "t")).await??;
        }
        Ok(())
    }

    /// A read through pgweir says what the primary says.
    async fn same(&self, client: &mut Client, read: &str) -> Outcome {
        let (found, direct) = (client.value(read).await?, self.primary.lock().await.value(read).await?);
        let route = self.world.route(client).await?;
        ensure(found == direct, || format!("{read}: {found}, not {direct}; {route:?}"))
    }
}

/// What there is besides the world's own tables. `app` owns none of it.
pub(crate) const SCHEMA: &str = r#"
CREATE TABLE owners (id int PRIMARY KEY, name text);
CREATE TABLE owned (id int, owner int REFERENCES owners ON DELETE SET NULL ON UPDATE CASCADE);
CREATE TABLE deep (owner int REFERENCES owners ON DELETE CASCADE);
INSERT INTO owners SELECT n, 'o' || n FROM generate_series(1, 50) n;
INSERT INTO owned SELECT n, n FROM generate_series(1, 50) n;
INSERT INTO deep SELECT n FROM generate_series(1, 50) n;
CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO log VALUES (''told''); RETURN NULL; END';
CREATE TRIGGER told AFTER DELETE ON deep FOR EACH ROW EXECUTE FUNCTION told();
CREATE TABLE late (n int);
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION told();
CREATE TABLE ruled (n int);
CREATE RULE also AS ON INSERT TO ruled DO ALSO INSERT INTO log VALUES ('ruled');
CREATE VIEW entry AS SELECT what FROM log;
CREATE FUNCTION entered() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO log VALUES (NEW.what); INSERT INTO late VALUES (1); RETURN NEW; END';
CREATE TRIGGER entered INSTEAD OF INSERT ON entry FOR EACH ROW EXECUTE FUNCTION entered();
CREATE FUNCTION noting(int) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES (''noting'') RETURNING $1';
CREATE TABLE defaulting (n int DEFAULT noting(1));
CREATE TABLE noted_ints (n int);
CREATE TABLE audit_parts (n int) PARTITION BY RANGE (n);
CREATE TABLE audit_low PARTITION OF audit_parts FOR VALUES FROM (0) TO (100);
CREATE TRIGGER audit BEFORE INSERT ON audit_low FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TABLE "Mixed Case" ("Value" int);
CREATE SCHEMA other;
GRANT ALL ON SCHEMA other TO app;
CREATE TABLE other.log (what text);
CREATE MATERIALIZED VIEW seen AS SELECT count(*) AS n FROM log;
ALTER MATERIALIZED VIEW seen OWNER TO app;
CREATE TABLE renamed_1 (n int);
ALTER TABLE renamed_1 OWNER TO app;

-- What writes where nothing says so.
CREATE FUNCTION noting_both(int, int) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES (''op'') RETURNING $1 + $2';
CREATE OPERATOR <+!> (function = noting_both, leftarg = int, rightarg = int);
CREATE FUNCTION noting_ok(int) RETURNS bool LANGUAGE sql AS 'INSERT INTO log VALUES (''domain'') RETURNING true';
CREATE DOMAIN noted AS int CHECK (noting_ok(VALUE));
CREATE TABLE of_noted (n noted);
CREATE TYPE pair AS (a int, b int);
CREATE FUNCTION as_pair(text) RETURNS pair LANGUAGE plpgsql AS
    'BEGIN INSERT INTO log VALUES (''cast''); RETURN (1, 2); END';
CREATE CAST (text AS pair) WITH FUNCTION as_pair(text) AS ASSIGNMENT;
CREATE TABLE pairs (p pair);
CREATE FUNCTION lies(text) RETURNS text LANGUAGE sql STABLE AS 'SELECT note($1)';
CREATE VIEW lying AS SELECT lies('view') AS said;
CREATE FUNCTION jot(t) RETURNS text LANGUAGE sql AS 'INSERT INTO log VALUES (''jot'') RETURNING what';
CREATE FUNCTION upper(t) RETURNS text LANGUAGE sql AS 'INSERT INTO log VALUES (''upper'') RETURNING what';

-- What reads where nothing says so.
CREATE FUNCTION counting(int, int) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM log';
CREATE OPERATOR <?> (function = counting, leftarg = int, rightarg = int);
CREATE FUNCTION entries(fixed) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM log';
CREATE FUNCTION length(fixed) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM log';
CREATE TYPE counted AS (n bigint);
CREATE FUNCTION as_counted(int) RETURNS counted LANGUAGE sql STABLE AS 'SELECT row(count(*))::counted FROM log';
CREATE CAST (int AS counted) WITH FUNCTION as_counted(int);
CREATE VIEW by_operator AS SELECT 1 <?> 1 AS n;
CREATE FUNCTION agg_log(bigint, int) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM log';
CREATE AGGREGATE log_agg(int) (sfunc = agg_log, stype = bigint, initcond = '0');
CREATE TABLE policed (n int);
INSERT INTO policed VALUES (1);
ALTER TABLE policed ENABLE ROW LEVEL SECURITY;
CREATE POLICY even ON policed USING ((SELECT count(*) FROM log) % 2 = 0);
GRANT ALL ON ALL TABLES IN SCHEMA public, other TO app;
GRANT SELECT ON policed TO app;
"#;

const LOG: &str = "SELECT count(*) FROM log";

/// Name, what is said to write, and a read that must see it.
pub(crate) const WRITES: [(&str, &[&str], &str); 38] = [
    (
        "a key that is set to null",
        &["DELETE FROM owners WHERE id = 1"],
        "SELECT count(*) FROM owned WHERE owner IS NULL",
    ),
    (
        "a key that is changed",
        &["DELETE FROM deep WHERE owner = 2; UPDATE owners SET id = 1002 WHERE id = 2"],
        "SELECT max(owner) FROM owned",
    ),
    ("a cascade to a table with a trigger", &["DELETE FROM owners WHERE id = 3"], LOG),
    ("a constraint trigger at COMMIT", &["BEGIN", "INSERT INTO late VALUES (1)", "COMMIT"], LOG),
    ("a rule", &["INSERT INTO ruled VALUES (1)"], LOG),
    ("a view with a trigger", &["INSERT INTO entry VALUES ('x')"], "SELECT count(*) FROM late"),
    ("a default", &["INSERT INTO defaulting DEFAULT VALUES"], LOG),
    ("a partition's trigger", &["INSERT INTO audit_parts VALUES (1)"], LOG),
    ("COPY to a partition's parent", &["COPY"], LOG),
    (
        "a row that moves to another partition",
        &["INSERT INTO parts VALUES (3)", "UPDATE parts SET n = 103 WHERE n = 3"],
        "SELECT count(*) FROM parts_high",
    ),
    (
        "MERGE",
        &["MERGE INTO t USING (VALUES (9)) s (i) ON id = i WHEN MATCHED THEN UPDATE SET v = v + 1"],
        "SELECT v FROM t WHERE id = 9",
    ),
    (
        "ON CONFLICT",
        &["INSERT INTO t VALUES (9, 0) ON CONFLICT (id) DO UPDATE SET v = t.v + 1"],
        "TABLE sums",
    ),
    (
        "TRUNCATE CASCADE",
        &["INSERT INTO t VALUES (5000, 1)", "TRUNCATE audited, ruled"],
        "SELECT sum(v) FROM t",
    ),
    (
        "a materialized view",
        &["INSERT INTO log VALUES ('m')", "REFRESH MATERIALIZED VIEW seen"],
        "SELECT n FROM seen",
    ),
    (
        "a name with a capital",
        &["INSERT INTO \"Mixed Case\" VALUES (1)"],
        "SELECT count(*) FROM \"Mixed Case\"",
    ),
    (
        "a name of the search_path",
        &["SET search_path = other", "INSERT INTO log VALUES ('o')", "RESET search_path"],
        "SELECT count(*) FROM other.log",
    ),
    (
        "a table that is renamed",
        &["INSERT INTO renamed_1 VALUES (1)", "ALTER TABLE renamed_1 RENAME TO renamed_2"],
        "SELECT count(*) FROM renamed_2",
    ),
    (
        "several statements with a transaction of their own",
        &["BEGIN; INSERT INTO log VALUES ('1'); COMMIT; SELECT 1"],
        LOG,
    ),
    ("an error behind a COMMIT", &["BEGIN; INSERT INTO log VALUES ('1'); COMMIT; SELECT 1 / 0"], LOG),
    ("a savepoint", &["BEGIN", "SAVEPOINT a", "INSERT INTO log VALUES ('s')", "RELEASE a", "COMMIT"], LOG),
    ("COMMIT AND CHAIN", &["BEGIN", "INSERT INTO log VALUES ('c')", "COMMIT AND CHAIN", "ROLLBACK"], LOG),
    ("a cursor", &["BEGIN", "DECLARE c CURSOR FOR SELECT note('c')", "FETCH 1 FROM c", "COMMIT"], LOG),
    ("EXPLAIN ANALYZE", &["EXPLAIN ANALYZE SELECT note('e')"], LOG),
    ("COPY of what writes", &["COPY (SELECT note('copy')) TO STDOUT"], LOG),
    (
        "a temporary table's rows",
        &[
            "CREATE TEMP TABLE mine (n int)",
            "INSERT INTO mine VALUES (1)",
            "INSERT INTO log SELECT n FROM mine",
            "DROP TABLE mine",
        ],
        LOG,
    ),
    ("an operator", &["SELECT 1 <+!> 2"], LOG),
    ("an operator in a write", &["INSERT INTO noted_ints VALUES (1 <+!> 2)"], LOG),
    ("a domain's check by a cast", &["SELECT 1::noted"], LOG),
    ("a domain's check by a column", &["INSERT INTO of_noted VALUES (1)"], LOG),
    ("a cast that is asked for", &["SELECT 'x'::text::pair"], LOG),
    ("a cast that nobody asks for", &["INSERT INTO pairs SELECT 'x'::text"], LOG),
    ("a function that says it reads", &["SELECT lies('x')"], LOG),
    ("a view of a function that says it reads", &["TABLE lying"], LOG),
    ("the same again", &["TABLE lying"], LOG),
    ("a column that is a function", &["SELECT t.jot FROM t WHERE id = 1"], LOG),
    ("the same in a transaction", &["BEGIN", "SELECT t.jot FROM t WHERE id = 1", "COMMIT"], LOG),
    ("a function of a built-in's name", &["SELECT upper(t) FROM t WHERE id = 1"], LOG),
    ("the same in a write", &["UPDATE fixed SET n = n FROM (SELECT upper(t) FROM t WHERE id = 1) x"], LOG),
];

/// Name, and a read of what this writes: `INSERT INTO log`.
pub(crate) const READS: [(&str, &str); 11] = [
    ("an operator that reads", "SELECT 1 <?> 1"),
    ("an operator that is named", "SELECT 1 OPERATOR(public.<?>) 1"),
    ("a view of one", "TABLE by_operator"),
    ("a column that is a function that reads", "SELECT f.entries FROM fixed f LIMIT 1"),
    ("the same by brackets", "SELECT (f).entries FROM fixed f LIMIT 1"),
    ("a built-in's name", "SELECT length(f) FROM fixed f LIMIT 1"),
    ("a cast that reads", "SELECT (1::counted).n"),
    ("a cast in words", "SELECT (CAST(1 AS counted)).n"),
    ("an aggregate that reads", "SELECT log_agg(n) FROM fixed"),
    ("a policy", "SELECT count(*) FROM policed"),
    ("a table as XML", "SELECT length(table_to_xml('log', true, true, '')::text)"),
];

pub(crate) async fn written(ways: &Ways<'_>, write: &[&str], read: &str) -> Outcome {
    let (mut writer, mut reader) = (ways.world.client().await?, ways.world.client().await?);
    // Its statement is known, and its connection.
    reader.query(read).await?;
    ways.halt().await?;
    for statement in write {
        let script = match *statement {
            "COPY" => Script::new().query("COPY audit_parts FROM STDIN").copy_data(b"7\n").copy_done(),
            statement => Script::new().query(statement),
        };
        let error = first_error(&writer.run(&script).await?).filter(|error| error.code != "22012");
        ensure(error.is_none(), || format!("{statement}: {error:?}"))?;
    }
    let seen = ways.same(&mut reader, read).await;
    ways.go_on().await?;
    seen
}

pub(crate) async fn read(ways: &Ways<'_>, read: &str) -> Outcome {
    let (mut writer, mut reader) = (ways.world.client().await?, ways.world.client().await?);
    reader.query(read).await?;
    ways.halt().await?;
    let error = first_error(&writer.query("INSERT INTO log VALUES ('read')").await?);
    ensure(error.is_none(), || format!("{error:?}"))?;
    let seen = ways.same(&mut reader, read).await;
    ways.go_on().await?;
    seen
}

/// Who is told of a write by a notification has its rows, whoever of the two is faster.
pub(crate) async fn notified(ways: &Ways<'_>) -> Outcome {
    let (mut writer, mut listener) = (ways.world.client().await?, ways.world.client().await?);
    listener.query("LISTEN news").await?;
    ways.halt().await?;
    for n in 1..=3 {
        // The writer isn't told before the listener has read.
        let write =
            format!("BEGIN; UPDATE t SET v = {n} WHERE id = 30; NOTIFY news; COMMIT; SELECT pg_sleep(0.3)");
        writer.send(Script::new().query(&write).bytes()).await?;
        listener.read_until("NotificationResponse", |frame| frame.tag == b'A').await?;
        let found = listener.value("SELECT v FROM t WHERE id = 30").await?;
        ensure(found == n.to_string(), || format!("{found}, not {n}"))?;
        writer.read_until_ready().await?;
    }
    ways.go_on().await
}

/// One session prepares a transaction, another commits it.
pub(crate) async fn two_phases(ways: &Ways<'_>) -> Outcome {
    let (mut first, mut second, mut reader) =
        (ways.world.client().await?, ways.world.client().await?, ways.world.client().await?);
    ways.world.until_on_replica(&mut reader, LOG).await?;
    ways.halt().await?;
    for statement in ["BEGIN", "INSERT INTO log VALUES ('2pc')", "PREPARE TRANSACTION 'ways'"] {
        let error = first_error(&first.query(statement).await?);
        ensure(error.is_none(), || format!("{statement}: {error:?}"))?;
    }
    drop(first);
    let error = first_error(&second.query("COMMIT PREPARED 'ways'").await?);
    ensure(error.is_none(), || format!("{error:?}"))?;
    let seen = ways.same(&mut reader, LOG).await;
    ways.go_on().await?;
    seen
}

/// Writes in a pipeline: behind one another, behind an error, prepared and executed again.
pub(crate) async fn pipelines(ways: &Ways<'_>) -> Outcome {
    let (mut writer, mut reader) = (ways.world.client().await?, ways.world.client().await?);
    let pipelines = [
        Script::new().run("SELECT 1", &[]).run("INSERT INTO log VALUES ($1)", &[Some("a")]).sync(),
        Script::new()
            .run("INSERT INTO log VALUES ($1)", &[Some("b")])
            .sync()
            .run("SELECT 1 / 0", &[])
            .sync()
            .run("SELECT note($1)", &[Some("c")])
            .sync(),
        Script::new().run("BEGIN", &[]).run("SELECT 1 <+!> $1", &[Some("2")]).run("COMMIT", &[]).sync(),
        Script::new()
            .run("BEGIN", &[])
            .sync()
            .run("INSERT INTO ruled VALUES ($1)", &[Some("2")])
            .sync()
            .run("COMMIT", &[])
            .sync(),
        Script::new().run("INSERT INTO log VALUES ($1)", &[Some("d")]).flush().sync(),
    ];
    for pipeline in pipelines {
        ways.world.until_on_replica(&mut reader, LOG).await?;
        ways.halt().await?;
        writer.run(&pipeline).await?;
        let seen = ways.same(&mut reader, LOG).await;
        ways.go_on().await?;
        seen.map_err(|wrong| format!("{:?}: {wrong}", String::from_utf8_lossy(pipeline.bytes())))?;
    }
    Ok(())
}
