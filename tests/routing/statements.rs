//! Statements, and the node that each must go to.

use pgweir_tests::Outcome;
use testkit::{first_error, rows};

use crate::world::{World, ensure, route};

/// Statements, the role that they need, and a part of the reason. Where the first value is a port, it is that of
/// the node that answered.
pub(crate) const STATEMENTS: &[(&str, &str, &str)] = &[
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
    ("SELECT inet_server_port(), twice(2)", "replica", "reads only"),
    ("SELECT inet_server_port(), n FROM known_ticket", "primary", "calls nextval()"),
    ("SELECT inet_server_port(), last_value FROM tickets", "primary", "a sequence"),
    ("SELECT inet_server_port(), count(*) FROM scratch", "primary", "an unlogged table"),
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

pub(crate) async fn statement(world: &World, sql: &str, role: &str, reason: &str) -> Outcome {
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
