//! What statements do to the state of a session.

#![allow(missing_docs, dead_code)]

mod common;

use common::{effects, one};

#[test]
fn each_statement_has_its_effects() {
    let cases: &[(&str, &str)] = &[
        ("SET work_mem = '64MB'", "work_mem=<64MB>"),
        ("SET SESSION work_mem TO 64", "work_mem=<64>"),
        ("SET work_mem = -5", "work_mem=<-5>"),
        ("SET x.y TO Foo", "x.y=<foo>"),
        ("SET \"X\".Y TO \"Foo\"", "x.y=<Foo>"),
        ("SET a = E'it\\'s'", "a=<it's>"),
        ("SET a = 'it''s'", "a=<it's>"),
        ("SET a = $$x$$", "a=<x>"),
        ("SET a = on", "a=<on>"),
        ("SET a = ''", "a=<>"),
        ("SET search_path TO \"$user\", public", "search_path=raw<\"$user\", public>"),
        ("SET search_path = a, 'B',  c", "search_path=raw<a, 'B',  c>"),
        ("SET LOCAL a = 1", "local a"),
        ("SET LOCAL a TO DEFAULT", "local a"),
        ("SET LOCAL a FROM CURRENT", "local ?"),
        ("SET LOCAL TIME ZONE 'UTC'", "local timezone"),
        ("SET local = 1", "local=<1>"),
        ("SET session.x = 1", "session.x=<1>"),
        ("SET a TO DEFAULT", "reset a"),
        ("SET TIME ZONE 'Europe/Rome'", "timezone=<Europe/Rome>"),
        ("SET TIME ZONE -7", "timezone=<-7>"),
        ("SET TIME ZONE LOCAL", "reset timezone"),
        ("SET TIME ZONE INTERVAL '1' HOUR", "pin Setting"),
        ("SET NAMES 'LATIN1'", "client_encoding=<LATIN1>"),
        ("SET NAMES", "reset client_encoding"),
        ("SET SCHEMA 'app'", "search_path=<app>"),
        ("SET ROLE bob", "role=<bob>"),
        ("SET ROLE \"Bob\"", "role=<Bob>"),
        ("SET ROLE NONE", "role=<none>"),
        ("SET SESSION AUTHORIZATION bob", "session_authorization=<bob>"),
        ("SET SESSION AUTHORIZATION DEFAULT", "reset session_authorization"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "pin Setting"),
        ("SET TRANSACTION READ ONLY", ""),
        ("SET transaction_isolation = 'serializable'", "local transaction_isolation"),
        ("SET CONSTRAINTS ALL DEFERRED", ""),
        ("SET XML OPTION DOCUMENT", "xmloption=<document>"),
        ("SET a FROM CURRENT", "pin Setting"),
        ("SET a", "pin Setting"),
        ("SET pgweir.role = replica", "pgweir.role=<replica>"),
        ("RESET a", "reset a"),
        ("RESET ALL", "ResetAll"),
        ("RESET TIME ZONE", "reset timezone"),
        ("RESET SESSION AUTHORIZATION", "reset session_authorization"),
        ("RESET ROLE", "reset role"),
        ("RESET TRANSACTION ISOLATION LEVEL", ""),
        ("SHOW all", "show all"),
        ("SHOW TRANSACTION ISOLATION LEVEL", "show transaction_isolation"),
        ("SHOW pgweir.Route", "show pgweir.route"),
        ("DISCARD ALL", "DiscardAll"),
        ("DISCARD PLANS", ""),
        ("LISTEN c", "listen c"),
        ("LISTEN \"C\"", "listen C"),
        ("UNLISTEN c", "unlisten c"),
        ("UNLISTEN *", "unlisten *"),
        ("NOTIFY c", ""),
        ("PREPARE p (int) AS SELECT $1", "prepare p"),
        ("EXECUTE p(1)", ""),
        ("DEALLOCATE p", "deallocate p"),
        ("DEALLOCATE PREPARE p", "deallocate p"),
        ("DEALLOCATE ALL", "deallocate *"),
        ("DEALLOCATE PREPARE ALL", "deallocate *"),
        ("DEALLOCATE prepare", "deallocate prepare"),
        ("CREATE TEMP TABLE t (a int)", "pin TemporaryTable"),
        ("CREATE LOCAL TEMPORARY TABLE t (a int)", "pin TemporaryTable"),
        ("CREATE TEMP TABLE t (a int) ON COMMIT DROP", ""),
        ("CREATE TEMP TABLE t (a int) ON COMMIT DELETE ROWS", "pin TemporaryTable"),
        ("CREATE TABLE pg_temp.t (a int)", "pin TemporaryTable"),
        ("CREATE OR REPLACE TEMP VIEW v AS SELECT 1", "pin TemporaryTable"),
        ("CREATE TEMP SEQUENCE s", "pin TemporaryTable"),
        (
            "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "Redefines, pin TemporaryTable",
        ),
        ("CREATE TABLE t (a int)", ""),
        ("CREATE TABLE t AS SELECT pg_advisory_lock(1)", "pin AdvisoryLock"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "Redefines"),
        ("CREATE OR REPLACE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION f()", "Redefines"),
        ("ALTER TABLE t ENABLE TRIGGER g", "Redefines"),
        ("ALTER INDEX i RENAME TO j", ""),
        ("DROP TABLE t", "MayUnpin(TemporaryTable)"),
        ("DROP FUNCTION f", "Redefines, MayUnpin(TemporaryTable)"),
        ("DISCARD TEMP", "MayUnpin(TemporaryTable)"),
        ("CLOSE c", "MayUnpin(HoldCursor)"),
        ("FETCH c", ""),
        ("SELECT pg_advisory_unlock(1)", "MayUnpin(AdvisoryLock)"),
        ("SELECT pg_advisory_unlock_all()", "MayUnpin(AdvisoryLock)"),
        ("SELECT currval('s')", "Currval"),
        ("INSERT INTO t VALUES (1) RETURNING lastval()", "Currval"),
        ("SELECT 1 INTO TEMP x", "pin TemporaryTable"),
        ("INSERT INTO temp VALUES (1)", ""),
        ("DECLARE c CURSOR FOR SELECT 1", ""),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "pin HoldCursor"),
        ("SELECT pg_advisory_lock(1)", "pin AdvisoryLock"),
        ("SELECT pg_try_advisory_lock_shared(1, 2)", "pin AdvisoryLock"),
        ("SELECT pg_advisory_xact_lock(1)", ""),
        ("SELECT \"pg_advisory_lock\"(1)", "pin AdvisoryLock"),
        ("INSERT INTO t SELECT pg_advisory_lock(1)", "pin AdvisoryLock"),
        ("SELECT setseed(0.5)", "pin Setseed"),
        ("SELECT set_config('a', 'b', false)", "config a=<b>"),
        (
            "SELECT 1, set_config('A', null, false) AS x, pg_catalog.set_config($1::text, $2, $3) y",
            "config A=null, config $1=$2 if $3",
        ),
        ("SELECT set_config('a', E'b\\'', false) FROM t", "pin Setting"),
        ("SELECT set_config('a', 'b', false) WHERE true", "pin Setting"),
        ("SELECT set_config('a', 'b', false) UNION ALL SELECT 'x'", "pin Setting"),
        ("SELECT CASE WHEN true THEN set_config('a', 'b', false) END", "pin Setting"),
        ("SELECT coalesce(set_config('a', 'b', false))", "pin Setting"),
        ("SELECT set_config('a', 'b', false) || 'x'", "pin Setting"),
        ("SELECT set_config('a', 'b', false), set_config('a', x, false)", "pin Setting"),
        ("SELECT mine.set_config('a', 'b', false)", "pin Setting"),
        ("SELECT set_config('a', 'b', 'f')", "pin Setting"),
        ("SELECT set_config('a', 'b', true)", "local a"),
        ("SELECT set_config('X.y', $1, true), set_config($2, '', true)", "local x.y, local ?"),
        ("SELECT set_config('a' || 'b', 'c', true)", "local ?"),
        ("SELECT set_config('a', 'b', $1)", "config a=<b> if $1"),
        ("SELECT set_config('a', 'b', true), set_config('a', 'b', false)", "local a, config a=<b>"),
        ("EXPLAIN SELECT set_config('a', 'b', false)", ""),
        ("EXPLAIN ANALYZE SELECT set_config('a', 'b', false)", "config a=<b>"),
        ("LOAD 'x'", "pin Load"),
        ("DO $$BEGIN END$$", "pin Doubt"),
        ("CALL p()", "pin Doubt"),
        ("SELECT mine()", ""),
        ("SELECT * FROM ROWS FROM (a(1)) x", ""),
        ("SELECT * FROM ROWS FROM (a(pg_advisory_lock(1))) x", "pin AdvisoryLock"),
        ("SELECT U&\"set\\005fconfig\"('a', 'b', false)", "pin Doubt"),
        ("FOO BAR", "pin Doubt"),
        ("SELECT 'open", ""),
        ("SELECT 1abc", "pin Doubt"),
    ];
    let wrong: Vec<String> = cases
        .iter()
        .map(|(sql, expected)| (sql, expected, effects(&one(sql))))
        .filter(|(_, expected, found)| found != **expected)
        .map(|(sql, expected, found)| format!("{sql}: {found}, not {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn code_that_may_hide_state_is_told() {
    let hides = [
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET a = 1",
        "WITH w AS (DELETE FROM t RETURNING a) SELECT a FROM w",
        "SELECT mine(a) FROM t",
        "SELECT nextval('s'), mine()",
        "SELECT * FROM mine()",
        "EXPLAIN ANALYZE UPDATE t SET a = 1",
        "DECLARE c CURSOR FOR SELECT mine()",
        "COPY t FROM STDIN",
        "EXECUTE p",
        "DO $$BEGIN END$$",
        "CALL p()",
        "CREATE EXTENSION x",
        "CREATE TABLE c AS SELECT mine()",
        "REFRESH MATERIALIZED VIEW v",
        "FOO BAR",
    ];
    let doesnt = [
        "SELECT a, lower(b) FROM t WHERE c = 1",
        "SELECT pg_advisory_lock(1)",
        "SELECT nextval('s')",
        "EXPLAIN UPDATE t SET a = 1",
        "COPY t TO STDOUT",
        "FETCH c",
        "CREATE TABLE t (a int)",
        "SET a = 1",
        "COMMIT",
    ];
    let told = |sql: &str| one(sql).runs_code;
    let wrong: Vec<&str> = hides
        .into_iter()
        .filter(|sql| !told(sql))
        .chain(doesnt.into_iter().filter(|sql| told(sql)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
