//! What kind each statement is, whether it reads, and why not.

#![allow(missing_docs, dead_code)]

mod common;

use common::{all, one, summary};
use pgweir_sql::facts::Access;
use pgweir_sql::{Analyzer, LexSettings};

#[test]
fn each_statement_has_its_kind_and_access() {
    let cases: &[(&str, &str)] = &[
        // Plain reads.
        ("SELECT 1", "Select read"),
        ("select", "Select unknown ?"),
        ("(SELECT 1)", "Select read"),
        ("((SELECT 1) UNION (SELECT 2)) ORDER BY 1", "Select read"),
        ("VALUES (1), (2)", "Select read"),
        ("TABLE t", "Select read"),
        ("TABLE ONLY t", "Select read"),
        ("TABLE a UNION ALL TABLE b", "Select read"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "Select read"),
        ("WITH x AS MATERIALIZED (SELECT 1) SELECT * FROM x", "Select read"),
        ("WITH RECURSIVE x(n) AS (SELECT 1 UNION SELECT n + 1 FROM x) SELECT n FROM x", "Select read"),
        ("SELECT * FROM t WHERE a IN (1, 2) AND b BETWEEN 1 AND 2", "Select read"),
        ("SELECT * FROM t WHERE a = ANY($1)", "Select read"),
        ("SELECT a FROM t GROUP BY ROLLUP (a) HAVING count(*) > 1 ORDER BY 1", "Select read"),
        ("SELECT a FROM t ORDER BY a LIMIT 5 OFFSET 2", "Select read"),
        ("SELECT a FROM t FETCH FIRST 3 ROWS ONLY", "Select read"),
        ("SELECT a FROM ONLY t", "Select read"),
        ("SELECT a FROM t TABLESAMPLE SYSTEM (1)", "Select read"),
        ("SELECT count(*), sum(a), array_agg(b ORDER BY c) FROM t", "Select read"),
        ("SELECT row_number() OVER (PARTITION BY a ORDER BY b) FROM t", "Select read"),
        ("SELECT coalesce(a, b), nullif(a, 1), greatest(a, b) FROM t", "Select read"),
        ("SELECT now(), current_timestamp, current_user, current_date", "Select read"),
        ("SELECT random(), clock_timestamp(), gen_random_uuid(), timeofday()", "Select read"),
        ("SELECT pg_sleep(0.1)", "Select read"),
        ("SELECT version(), pg_backend_pid(), inet_server_port()", "Select read"),
        ("SELECT pg_catalog.lower('A')", "Select read"),
        ("SELECT \"lower\"('A')", "Select read"),
        ("SELECT 'update t set a = 1'", "Select read"),
        ("SELECT $$delete from t$$", "Select read"),
        ("SELECT E'\\'; DELETE FROM t; --'", "Select read"),
        ("SELECT \"update\", \"for\" FROM \"insert\"", "Select read"),
        ("SELECT 1 /* FOR UPDATE */", "Select read"),
        ("SELECT 1 -- INTO t", "Select read"),
        ("SELECT 'a'\n'b' AS x", "Select read"),
        ("SELECT * FROM a JOIN b USING (id) LEFT JOIN c ON true", "Select read"),
        ("SELECT * FROM a, LATERAL (SELECT * FROM b WHERE b.x = a.x) q", "Select read"),
        ("SELECT * FROM generate_series(1, 3) AS g(n)", "Select read"),
        ("SELECT * FROM unnest(ARRAY[1, 2]) WITH ORDINALITY", "Select read"),
        ("SELECT x -> 'a' ->> 'b', x @> '{}' FROM t", "Select read"),
        ("SELECT x::numeric(10, 2), CAST(y AS int) FROM t", "Select read"),
        ("SELECT interval '1 day', date '2020-01-01'", "Select read"),
        ("SELECT extract(year FROM d), d AT TIME ZONE 'UTC' FROM t", "Select read"),
        ("SELECT CASE WHEN a THEN 1 ELSE 2 END FROM t", "Select read"),
        ("SELECT EXISTS (SELECT 1 FROM t), ARRAY(SELECT 1)", "Select read"),
        ("SELECT current_setting('app.tenant')", "Select read"),
        ("SELECT * FROM pg_class", "Select read"),
        ("SELECT * FROM pg_catalog.pg_statistic", "Select read"),
        ("SELECT * FROM information_schema.columns", "Select read"),
        ("SELECT information_schema._pg_expandarray(indkey) FROM pg_index", "Select read"),
        // Locks.
        ("SELECT * FROM t FOR UPDATE", "Select write Locking"),
        ("SELECT * FROM t FOR NO KEY UPDATE", "Select write Locking"),
        ("SELECT * FROM t FOR SHARE OF t NOWAIT", "Select write Locking"),
        ("SELECT * FROM t FOR KEY SHARE SKIP LOCKED", "Select write Locking"),
        ("SELECT * FROM (SELECT * FROM t FOR UPDATE) q", "Select write Locking"),
        ("SELECT (SELECT a FROM t FOR SHARE)", "Select write Locking"),
        ("WITH x AS (SELECT * FROM t FOR UPDATE) SELECT 1", "Select write Locking"),
        // Writes.
        ("INSERT INTO t VALUES (1)", "Insert write INSERT"),
        ("INSERT INTO t DEFAULT VALUES", "Insert write INSERT"),
        ("INSERT INTO t (a) SELECT a FROM u", "Insert write INSERT"),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING RETURNING *", "Insert write INSERT"),
        ("INSERT INTO t OVERRIDING SYSTEM VALUE VALUES (1)", "Insert write INSERT"),
        ("UPDATE t SET a = 1", "Update write UPDATE"),
        ("UPDATE ONLY t SET a = 1 FROM u WHERE t.id = u.id", "Update write UPDATE"),
        ("DELETE FROM t USING u WHERE t.id = u.id", "Delete write DELETE"),
        ("DELETE FROM t WHERE CURRENT OF c", "Delete write DELETE"),
        ("MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE", "Merge write MERGE"),
        ("MERGE INTO t USING s ON t.a = s.a WHEN NOT MATCHED THEN INSERT VALUES (s.a)", "Merge write MERGE"),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", "Insert write INSERT"),
        ("WITH x AS (SELECT 1) UPDATE t SET a = 1", "Update write UPDATE"),
        ("WITH x AS (SELECT 1) DELETE FROM t", "Delete write DELETE"),
        ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", "Select write WritingWith"),
        ("WITH x AS (INSERT INTO t VALUES (1) RETURNING *) TABLE x", "Select write WritingWith"),
        ("WITH x AS (UPDATE t SET a = 1 RETURNING *) SELECT 1", "Select write WritingWith"),
        ("WITH x AS NOT MATERIALIZED (DELETE FROM t RETURNING 1) SELECT 1", "Select write WritingWith"),
        (
            "SELECT * FROM (WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x) q",
            "Select write WritingWith",
        ),
        ("SELECT * INTO u FROM t", "Select write Into"),
        ("SELECT 1 INTO TEMP u", "Select write Into"),
        ("SELECT 1 INTO UNLOGGED TABLE u", "Select write Into"),
        // Functions.
        ("SELECT nextval('s')", "Select write nextval()"),
        ("SELECT pg_catalog.nextval('s')", "Select write nextval()"),
        ("SELECT \"nextval\"('s')", "Select write nextval()"),
        ("SELECT NEXTVAL ('s')", "Select write nextval()"),
        ("SELECT currval('s'), lastval()", "Select write currval()"),
        ("SELECT setval('s', 1)", "Select write setval()"),
        ("SELECT pg_notify('c', 'x')", "Select write pg_notify()"),
        ("SELECT pg_advisory_lock(1)", "Select write pg_advisory_lock()"),
        ("SELECT pg_try_advisory_xact_lock(1)", "Select write pg_try_advisory_xact_lock()"),
        ("SELECT lo_create(0)", "Select write lo_create()"),
        ("SELECT pg_is_in_recovery()", "Select write pg_is_in_recovery()"),
        ("SELECT pg_current_wal_lsn()", "Select write pg_current_wal_lsn()"),
        ("SELECT txid_current()", "Select write txid_current()"),
        ("SELECT pg_stat_get_numscans(1)", "Select write pg_stat_get_numscans()"),
        ("SELECT pg_export_snapshot()", "Select write pg_export_snapshot()"),
        ("SELECT set_config('a', 'b', true)", "Select write set_config()"),
        ("SELECT query_to_xml('delete', true, true, '')", "Select write query_to_xml()"),
        ("SELECT current_setting('in_hot_standby')", "Select write current_setting()"),
        ("SELECT current_setting($1)", "Select write current_setting()"),
        ("SELECT * FROM t WHERE nextval('s') > a", "Select write nextval()"),
        ("SELECT a FROM t ORDER BY nextval('s')", "Select write nextval()"),
        ("SELECT a FROM t LIMIT nextval('s')", "Select write nextval()"),
        ("SELECT * FROM pg_ls_dir('.')", "Select write pg_ls_dir()"),
        ("SELECT my_function(1)", "Select unknown my_function()?"),
        ("SELECT app.lower('A')", "Select unknown lower()?"),
        ("SELECT * FROM my_rows(1) AS r", "Select unknown my_rows()?"),
        ("SELECT * FROM t, LATERAL my_rows(t.a)", "Select unknown my_rows()?"),
        ("SELECT sum(a) FILTER (WHERE mine(b)) FROM t", "Select unknown mine()?"),
        ("SELECT (mine(a)).b FROM t", "Select unknown mine()?"),
        ("SELECT (mine(a)).* FROM t", "Select unknown ?"),
        ("SELECT \"coalesce\"(1)", "Select unknown coalesce()?"),
        ("SELECT sum(a) OVER (ORDER BY mine(b)) FROM t", "Select unknown mine()?"),
        ("SELECT a FROM t GROUP BY GROUPING SETS ((mine(a)))", "Select unknown mine()?"),
        ("VALUES (mine(1))", "Select unknown mine()?"),
        ("SELECT DISTINCT ON (mine(a)) a FROM t", "Select unknown mine()?"),
        ("SELECT * FROM a JOIN b ON mine(a.x, b.x)", "Select unknown mine()?"),
        ("SELECT x[mine(1)] FROM t", "Select unknown mine()?"),
        ("SELECT a FROM t WINDOW w AS (ORDER BY mine(a))", "Select unknown mine()?"),
        ("SELECT nextval('s'), mine(1)", "Select write nextval()"),
        // Relations that only the primary has right.
        ("SELECT * FROM pg_stat_activity", "Select write pg_stat_activity"),
        ("SELECT * FROM pg_catalog.pg_statio_all_tables", "Select write pg_statio_all_tables"),
        ("SELECT * FROM pg_locks", "Select write pg_locks"),
        ("SELECT name FROM pg_settings", "Select write pg_settings"),
        ("TABLE pg_prepared_statements", "Select write pg_prepared_statements"),
        ("SELECT * FROM app.pg_locks", "Select read"),
        ("SELECT * FROM pg_temp.x", "Select write x"),
        // EXPLAIN.
        ("EXPLAIN SELECT 1", "Explain read"),
        ("EXPLAIN DELETE FROM t", "Explain read"),
        ("EXPLAIN VERBOSE UPDATE t SET a = 1", "Explain read"),
        ("EXPLAIN (FORMAT json, COSTS off) INSERT INTO t VALUES (1)", "Explain read"),
        ("EXPLAIN (ANALYZE off) DELETE FROM t", "Explain read"),
        ("EXPLAIN (ANALYZE true, ANALYZE 'false') DELETE FROM t", "Explain read"),
        ("EXPLAIN (SELECT 1)", "Explain read"),
        ("EXPLAIN CREATE TABLE x AS SELECT 1", "Explain read"),
        ("EXPLAIN ANALYZE SELECT 1", "Explain read"),
        ("EXPLAIN ANALYZE SELECT * FROM t FOR UPDATE", "Explain write Locking"),
        ("EXPLAIN (ANALYZE) DELETE FROM t", "Explain write DELETE"),
        ("EXPLAIN (ANALYZE 1, BUFFERS) DELETE FROM t", "Explain write DELETE"),
        ("EXPLAIN (BUFFERS, ANALYSE) DELETE FROM t", "Explain write DELETE"),
        ("EXPLAIN ANALYZE VERBOSE DELETE FROM t", "Explain write DELETE"),
        ("EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1", "Explain write CREATE"),
        ("EXPLAIN EXECUTE p(1)", "Explain write EXECUTE"),
        // COPY.
        ("COPY t TO STDOUT", "CopyOut read"),
        ("COPY s.t (a, b) TO STDOUT WITH (FORMAT csv)", "CopyOut read"),
        ("COPY (SELECT * FROM t) TO STDOUT", "CopyOut read"),
        ("COPY (SELECT mine(1)) TO STDOUT", "CopyOut unknown mine()?"),
        ("COPY (DELETE FROM t RETURNING *) TO STDOUT", "CopyOut write DELETE"),
        ("COPY t FROM STDIN", "CopyIn write COPY FROM"),
        ("COPY BINARY t FROM STDIN", "CopyIn write COPY FROM"),
        ("COPY binary FROM STDIN", "CopyIn write COPY FROM"),
        ("COPY t FROM '/tmp/x'", "CopyServer write COPY FROM"),
        ("COPY t TO '/tmp/x'", "CopyServer write COPY at the server"),
        ("COPY (SELECT 1) TO PROGRAM 'cat'", "CopyServer write COPY at the server"),
        ("COPY pg_locks TO STDOUT", "CopyOut write pg_locks"),
        // Transactions.
        ("BEGIN", "Begin write BEGIN"),
        ("BEGIN WORK", "Begin write BEGIN"),
        ("START TRANSACTION READ ONLY", "Begin ro read"),
        (
            "BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
            "Begin ro serializable read",
        ),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE", "Begin rw repeatable write BEGIN"),
        ("BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE", "Begin committed write BEGIN"),
        ("BEGIN ISOLATION LEVEL READ UNCOMMITTED", "Begin committed write BEGIN"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE, ISOLATION LEVEL READ COMMITTED", "Begin committed write BEGIN"),
        ("COMMIT", "Commit read"),
        ("END TRANSACTION", "Commit read"),
        ("COMMIT AND NO CHAIN", "Commit read"),
        ("COMMIT AND CHAIN", "EndAndChain read"),
        ("ROLLBACK", "Rollback read"),
        ("ABORT WORK", "Rollback read"),
        ("ROLLBACK AND CHAIN", "EndAndChain read"),
        ("ROLLBACK TO a", "RollbackTo read"),
        ("ROLLBACK WORK TO SAVEPOINT a", "RollbackTo read"),
        ("SAVEPOINT a", "Savepoint read"),
        ("RELEASE SAVEPOINT a", "Release read"),
        ("PREPARE TRANSACTION 'x'", "TwoPhase write PREPARE TRANSACTION"),
        ("COMMIT PREPARED 'x'", "TwoPhase write COMMIT PREPARED"),
        ("ROLLBACK PREPARED 'x'", "TwoPhase write ROLLBACK PREPARED"),
        // The session.
        ("SET a = 1", "Set write SET"),
        ("RESET a", "Reset write RESET"),
        ("SHOW a", "Show write SHOW"),
        ("DISCARD PLANS", "Discard write DISCARD"),
        ("PREPARE p AS SELECT 1", "Prepare write PREPARE"),
        ("EXECUTE p(1)", "Execute write EXECUTE"),
        ("DEALLOCATE p", "Deallocate write DEALLOCATE"),
        ("LISTEN c", "Notify write LISTEN"),
        ("UNLISTEN *", "Notify write UNLISTEN"),
        ("NOTIFY c, 'x'", "Notify write NOTIFY"),
        ("DECLARE c CURSOR FOR SELECT 1", "Declare read"),
        ("DECLARE c CURSOR FOR SELECT * FROM t FOR UPDATE", "Declare write Locking"),
        ("DECLARE c BINARY NO SCROLL CURSOR WITH HOLD FOR SELECT 1", "Declare write DECLARE WITH HOLD"),
        ("FETCH 10 FROM c", "Cursor read"),
        ("MOVE FORWARD ALL IN c", "Cursor read"),
        ("CLOSE ALL", "Cursor read"),
        ("DO $$BEGIN END$$", "Procedure write DO"),
        ("CALL p(1)", "Procedure write CALL"),
        // Everything else.
        ("CREATE TABLE t (a int)", "Utility write CREATE"),
        ("CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM u; DELETE FROM v)", "Utility write CREATE"),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
            "Utility write CREATE",
        ),
        ("ALTER TABLE t ADD b int", "Utility write ALTER"),
        ("DROP TABLE t", "Utility write DROP"),
        ("TRUNCATE t", "Utility write TRUNCATE"),
        ("GRANT SELECT ON t TO u", "Utility write GRANT"),
        ("REVOKE ALL ON t FROM u", "Utility write REVOKE"),
        ("COMMENT ON TABLE t IS 'x'", "Utility write COMMENT"),
        ("LOCK TABLE t", "Utility write Locking"),
        ("LOAD 'x'", "Utility write LOAD"),
        ("VACUUM t", "Utility write VACUUM"),
        ("ANALYZE t", "Utility write ANALYZE"),
        ("CLUSTER t", "Utility write CLUSTER"),
        ("REINDEX TABLE t", "Utility write REINDEX"),
        ("CHECKPOINT", "Utility write CHECKPOINT"),
        ("REFRESH MATERIALIZED VIEW v", "Utility write REFRESH MATERIALIZED VIEW"),
        ("REASSIGN OWNED BY a TO b", "Utility write REASSIGN OWNED"),
        ("SECURITY LABEL ON TABLE t IS 'x'", "Utility write SECURITY LABEL"),
        ("IMPORT FOREIGN SCHEMA s FROM SERVER x INTO y", "Utility write IMPORT FOREIGN SCHEMA"),
        // What is not understood.
        ("SELCT 1", "Unknown unknown ?"),
        ("SELECT a FROM ROWS FROM (generate_series(1, 2))", "Select unknown ?"),
        ("SELECT 'open", "Unknown unknown ?"),
        ("SELECT 123abc", "Unknown unknown ?"),
        ("SELECT U&\"d\\0061t\" FROM t", "Select unknown ?"),
        ("SELECT * FROM ROWS FROM (a(1), b(2)) x WHERE c(3) FOR UPDATE", "Select write Locking"),
        ("SELECT * FROM t QUALIFY a", "Select unknown ?"),
        ("SELECT TOP 5 a FROM t", "Select unknown ?"),
        ("FROM t SELECT a", "Unknown unknown ?"),
        ("COMMIT NOW", "Unknown unknown ?"),
        ("BEGIN NOW", "Unknown unknown ?"),
        ("EXPLAIN EXPLAIN SELECT 1", "Unknown unknown ?"),
    ];
    let wrong: Vec<String> = cases
        .iter()
        .map(|(sql, expected)| (sql, expected, summary(&one(sql))))
        .filter(|(_, expected, found)| found != **expected)
        .map(|(sql, expected, found)| format!("{sql}: {found}, not {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(cases.len() >= 200, "{}", cases.len());
}

#[test]
fn several_statements_are_split_and_the_worst_counts() {
    let split = |sql: &str| all(sql).iter().map(summary).collect::<Vec<_>>();
    assert_eq!(split(""), Vec::<String>::new());
    assert_eq!(split(" ;; -- nothing\n;"), Vec::<String>::new());
    assert_eq!(split("SELECT 1; SELECT ';' ;"), ["Select read", "Select read"]);
    assert_eq!(
        split("BEGIN; DELETE FROM t; COMMIT"),
        ["Begin write BEGIN", "Delete write DELETE", "Commit read"]
    );
    let body = "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC DELETE FROM a; DELETE FROM b; END; SELECT 1";
    assert_eq!(split(body), ["Utility write CREATE", "Select read"]);
    assert_eq!(split("BEGIN; SELECT 1; END; SELECT 2").len(), 4);
    let mut analyzer = Analyzer::new(8);
    let mut access = |sql: &str| analyzer.analyze(sql.as_bytes(), LexSettings::default()).facts.access;
    assert_eq!(access(""), Access::Read);
    assert_eq!(access("SELECT 1; SELECT mine()"), Access::Unknown);
    assert_eq!(access("SELECT mine(); DELETE FROM t; SELECT 1"), Access::Write);
}

#[test]
fn what_needs_to_be_alone_says_so() {
    for sql in [
        "VACUUM",
        "VACUUM (FULL) t",
        "CREATE DATABASE d",
        "DROP DATABASE IF EXISTS d",
        "CREATE TABLESPACE s LOCATION '/x'",
        "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)",
        "DROP INDEX CONCURRENTLY i",
        "REINDEX INDEX CONCURRENTLY i",
        "REINDEX (CONCURRENTLY) TABLE t",
        "REINDEX DATABASE d",
        "ALTER SYSTEM SET a = 1",
        "ALTER DATABASE d SET TABLESPACE s",
        "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p",
        "CLUSTER",
        "CLUSTER (VERBOSE)",
        "DISCARD ALL",
        "COMMIT PREPARED 'x'",
        "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
    ] {
        assert!(one(sql).alone, "{sql}");
    }
    for sql in [
        "CREATE INDEX i ON t (a)",
        "REINDEX TABLE t",
        "CLUSTER t",
        "ANALYZE",
        "CREATE TABLE database (a int)",
        "ALTER DATABASE d SET work_mem = '1MB'",
        "DISCARD TEMP",
        "SELECT 1",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
        "EXPLAIN SELECT 1",
    ] {
        assert!(!one(sql).alone, "{sql}");
    }
}
