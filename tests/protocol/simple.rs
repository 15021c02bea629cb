//! Simple queries of every kind.

use testkit::Script;

use crate::case::Case;

/// A conversation of one Query.
const QUERIES: &[(&str, &str)] = &[
    ("select", "SELECT 1"),
    (
        "select of several types and NULL",
        "SELECT 1::int8, 'x'::text, NULL::date, 1.5::numeric, true, '{1,2}'::int[]",
    ),
    ("select from a table", "SELECT * FROM items ORDER BY id"),
    ("no rows", "SELECT * FROM items WHERE id < 0"),
    ("no columns", "SELECT FROM items"),
    ("insert", "INSERT INTO items VALUES (11, 'new', 1), (12, 'newer', 2)"),
    ("insert returning", "INSERT INTO items VALUES (11, 'new', 1) RETURNING id, name"),
    ("update", "UPDATE items SET price = 0 WHERE id > 5"),
    ("delete returning", "DELETE FROM items WHERE id > 8 RETURNING *"),
    (
        "merge",
        "MERGE INTO items i USING (VALUES (1, 'a'), (99, 'b')) v(id, name) ON i.id = v.id \
        WHEN MATCHED THEN UPDATE SET name = v.name WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.name)",
    ),
    ("values", "VALUES (1, 'a'), (2, NULL)"),
    ("table", "TABLE items"),
    ("with that writes", "WITH gone AS (DELETE FROM items WHERE id = 1 RETURNING id) SELECT * FROM gone"),
    ("explain", "EXPLAIN (COSTS OFF) SELECT * FROM items WHERE id = 1"),
    ("create and drop", "CREATE TABLE made (n int); INSERT INTO made VALUES (1); DROP TABLE made"),
    ("create table as", "CREATE TABLE made AS SELECT 1 AS n"),
    ("select into", "SELECT 1 AS n INTO made"),
    ("empty", ""),
    ("only a semicolon", ";"),
    ("only white space and a comment", "  -- nothing\n /* at /* all */ */ "),
    ("several statements", "SELECT 1; SELECT 2 AS two; INSERT INTO log VALUES ('x'); SELECT 3"),
    ("several statements, empty ones among them", ";;SELECT 1;;/* */;SELECT 2;"),
    (
        "several statements, an error in the middle",
        "INSERT INTO log VALUES ('a'); SELECT 1/0; INSERT INTO log VALUES ('b')",
    ),
    ("several statements, a syntax error at the end", "INSERT INTO log VALUES ('a'); SELEC 1"),
    (
        "several statements, a transaction among them",
        "INSERT INTO log VALUES ('a'); BEGIN; INSERT INTO log VALUES ('b'); COMMIT; SELECT 1/0",
    ),
    (
        "several statements, a transaction rolled back",
        "INSERT INTO log VALUES ('a'); ROLLBACK; INSERT INTO log VALUES ('b')",
    ),
    ("syntax error", "SELECT FORM items"),
    ("unknown keyword", "SELEC 1"),
    ("unterminated string", "SELECT 'abc"),
    ("unknown table", "SELECT * FROM no_such_table"),
    ("unknown column with a hint", "SELECT nam FROM items"),
    ("unknown function", "SELECT no_such_function(1)"),
    ("error after some rows", "SELECT 1 / (5 - i) FROM generate_series(1, 9) i"),
    ("constraint with all its fields", "INSERT INTO items VALUES (11, 'new', -1)"),
    ("duplicate key", "INSERT INTO items VALUES (1, 'again')"),
    ("error with all fields of its own", "SELECT fail('now')"),
    ("notice", "SELECT shout('hey')"),
    (
        "notices of all levels",
        "DO $$ BEGIN RAISE INFO 'i'; RAISE NOTICE 'n'; RAISE WARNING 'w'; RAISE LOG 'l'; END $$",
    ),
    ("notice then error", "DO $$ BEGIN RAISE NOTICE 'n'; RAISE EXCEPTION 'e'; END $$"),
    ("notice of IF EXISTS", "DROP TABLE IF EXISTS no_such_table"),
    ("procedure that commits", "CALL note_twice('x')"),
    ("procedure that commits, in a transaction", "BEGIN; CALL note_twice('x')"),
    ("umlauts and emoji", "SELECT 'Müller 🐘' AS \"spaltë\", length('🐘')"),
    ("dollar quotes and escapes", "SELECT $a$it's$a$, E'\\t\\'', U&'\\0041', 'a' 'b', 0.5e1"),
    ("vacuum", "VACUUM items"),
    ("vacuum among others", "SELECT 1; VACUUM items"),
    ("create database in a transaction", "BEGIN; CREATE DATABASE nope"),
    ("show", "SHOW work_mem"),
    ("set of a bad value", "SET work_mem = 'much'"),
    ("set of an unknown name", "SET no_such_setting = 1"),
    ("show of an unknown name", "SHOW no_such_setting"),
    ("lock and limit", "SELECT id FROM items WHERE id < 3 ORDER BY id FOR UPDATE"),
    ("cursor outside of a transaction", "DECLARE c CURSOR FOR SELECT 1"),
    ("savepoint outside of a transaction", "SAVEPOINT a"),
    ("release outside of a transaction", "RELEASE SAVEPOINT a"),
    ("lock outside of a transaction", "LOCK TABLE items"),
    ("set local outside of a transaction", "SET LOCAL work_mem = '1MB'"),
    ("execute of an unknown name", "EXECUTE nobody(1)"),
    ("deallocate of an unknown name", "DEALLOCATE nobody"),
    ("permission", "SELECT * FROM pg_authid"),
    ("refused by check of a type", "SELECT 'angry'::mood"),
    ("long text", "SELECT length(repeat('x', 100000)), md5(repeat('y', 100000))"),
    ("function that reads itself", "SELECT current_query()"),
];

fn s() -> Script {
    Script::new()
}

/// Statements one after the other, each answered before the next.
fn talk(name: &'static str, statements: &[&str]) -> Case {
    statements.iter().fold(Case::new(name), |case, sql| case.query(sql))
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<_> =
        QUERIES.iter().map(|(name, sql)| Case::new(name).query(sql).fragmented()).collect();
    cases.extend([
        Case::new("large row").query("SELECT repeat('x', 1 << 20) AS big, 1 AS small"),
        Case::new("large text from the client").query(&format!("SELECT length('{}')", "y".repeat(1 << 20))),
        Case::new("large error").query("DO $$ BEGIN RAISE EXCEPTION '%', repeat('z', 200000); END $$"),
        Case::new("large notice").query("DO $$ BEGIN RAISE NOTICE '%', repeat('z', 200000); END $$"),
        Case::new("many rows").query("SELECT i, 'row ' || i FROM generate_series(1, 20000) i"),
        Case::new("many columns").query(&format!(
            "SELECT {}",
            (0..1600).map(|i| format!("{i} AS c{i}")).collect::<Vec<_>>().join(",")
        )),
        Case::new("too many columns").query(&format!("SELECT {}", vec!["1"; 1665].join(","))),
        Case::new("several Query in one segment")
            .ask(s().query("SELECT 1").query("INSERT INTO log VALUES ('a')").query("SELECT * FROM log"))
            .fragmented(),
        Case::new("several Query in one segment, an error among them")
            .ask(
                s().query("INSERT INTO log VALUES ('a')")
                    .query("SELECT 1/0")
                    .query("INSERT INTO log VALUES ('b')"),
            )
            .fragmented(),
        Case::new("several Query in one segment that open and end transactions")
            .ask(
                s().query("BEGIN")
                    .query("INSERT INTO log VALUES ('a')")
                    .query("SELECT 1/0")
                    .query("SELECT 1")
                    .query("ROLLBACK")
                    .query("SELECT * FROM log")
                    .query("BEGIN")
                    .query("COMMIT")
                    .query("SELECT 2"),
            )
            .fragmented(),
        talk(
            "settings that are reported",
            &[
                "SET application_name = 'me'",
                "SET DateStyle = 'German, DMY'",
                "SELECT '2026-01-31'::date",
                "SET TimeZone = 'Asia/Tokyo'",
                "SELECT '2026-01-31 00:00+00'::timestamptz",
                "SET IntervalStyle = 'iso_8601'",
                "SELECT '1 day 2 hours'::interval",
                "RESET DateStyle",
                "SELECT '2026-01-31'::date",
                "SHOW application_name",
                "RESET ALL",
                "SHOW application_name",
                "SHOW TimeZone",
            ],
        )
        .fragmented(),
        talk(
            "settings that are not reported",
            &[
                "SET work_mem = '5MB'",
                "SHOW work_mem",
                "SET search_path = pg_catalog, public",
                "SHOW search_path",
                "SET my.setting = 'a''b'",
                "SHOW my.setting",
                "RESET work_mem",
                "SHOW work_mem",
                "SET work_mem TO DEFAULT",
                "SET statement_timeout = 1000",
                "SHOW statement_timeout",
                "RESET ALL",
                "SHOW statement_timeout",
                "SHOW my.setting",
            ],
        ),
        talk(
            "settings of a transaction",
            &[
                "BEGIN",
                "SET application_name = 'me'",
                "SET LOCAL work_mem = '5MB'",
                "SHOW work_mem",
                "ROLLBACK",
                "SHOW application_name",
                "SHOW work_mem",
                "BEGIN",
                "SET application_name = 'you'",
                "SAVEPOINT a",
                "SET application_name = 'they'",
                "ROLLBACK TO a",
                "SHOW application_name",
                "COMMIT",
                "SHOW application_name",
            ],
        )
        .fragmented(),
        talk(
            "set_config",
            &[
                "SELECT set_config('work_mem', '6MB', false)",
                "SHOW work_mem",
                "SELECT set_config('work_mem', '7MB', true)",
                "SHOW work_mem",
                "BEGIN",
                "SELECT set_config('work_mem', '8MB', true)",
                "SHOW work_mem",
                "COMMIT",
                "SHOW work_mem",
            ],
        ),
        talk(
            "settings set in one Query with others",
            &[
                "SET work_mem = '9MB'; SELECT 1; SET application_name = 'x'",
                "SHOW work_mem",
                "SHOW application_name",
                "SET work_mem = '10MB'; SELECT 1/0",
                "SHOW work_mem",
            ],
        ),
        talk(
            "client encoding",
            &[
                "SET client_encoding = 'LATIN1'",
                "SHOW client_encoding",
                "SELECT chr(228)",
                "SET client_encoding = 'UTF8'",
                "SELECT chr(228)",
            ],
        ),
        talk(
            "standard_conforming_strings",
            &[
                "SET escape_string_warning = off",
                "SET standard_conforming_strings = off",
                "SELECT 'a\\'b', 'c\\\\d'",
                "SET standard_conforming_strings = on",
                "SELECT 'a\\b'",
            ],
        ),
        talk(
            "session characteristics",
            &[
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
                "INSERT INTO log VALUES ('a')",
                "SHOW default_transaction_read_only",
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
                "INSERT INTO log VALUES ('b')",
            ],
        ),
        talk(
            "listen and notify to oneself",
            &[
                "LISTEN here",
                "NOTIFY here, 'one'",
                "SELECT pg_notify('here', 'two')",
                "BEGIN",
                "NOTIFY here, 'three'",
                "NOTIFY here, 'three'",
                "SELECT 1",
                "COMMIT",
                "BEGIN",
                "NOTIFY here, 'never'",
                "ROLLBACK",
                "SELECT * FROM pg_listening_channels()",
                "UNLISTEN here",
                "NOTIFY here, 'unheard'",
                "UNLISTEN *",
            ],
        ),
        talk(
            "SQL PREPARE",
            &[
                "PREPARE p (int) AS SELECT name FROM items WHERE id = $1",
                "EXECUTE p(2)",
                "EXECUTE p('x')",
                "PREPARE p AS SELECT 1",
                "EXECUTE p(3)",
                "EXPLAIN (COSTS OFF) EXECUTE p(1)",
                "DEALLOCATE p",
                "EXECUTE p(1)",
                "PREPARE p AS SELECT 1",
                "EXECUTE p",
                "DEALLOCATE ALL",
                "EXECUTE p",
            ],
        ),
        talk(
            "SQL PREPARE in a transaction that is rolled back",
            &["BEGIN", "PREPARE p AS SELECT 1", "ROLLBACK", "EXECUTE p", "DEALLOCATE p", "EXECUTE p"],
        ),
        talk(
            "DISCARD ALL",
            &[
                "SET work_mem = '5MB'",
                "PREPARE p AS SELECT 1",
                "CREATE TEMP TABLE scratch (n int)",
                "LISTEN here",
                "SELECT pg_advisory_lock(1)",
                "DISCARD ALL",
                "SHOW work_mem",
                "EXECUTE p",
                "SELECT * FROM scratch",
                "SELECT count(*) FROM pg_listening_channels()",
                "SELECT pg_advisory_unlock(1)",
                "BEGIN",
                "DISCARD ALL",
                "ROLLBACK",
            ],
        ),
        talk(
            "the other DISCARDs",
            &[
                "DISCARD PLANS",
                "DISCARD SEQUENCES",
                "DISCARD TEMP",
                "CREATE TEMP TABLE scratch (n int)",
                "DISCARD TEMP",
                "SELECT * FROM scratch",
            ],
        ),
        talk(
            "cursors",
            &[
                "BEGIN",
                "DECLARE c SCROLL CURSOR FOR SELECT id, name FROM items ORDER BY id",
                "FETCH 2 FROM c",
                "MOVE 3 FROM c",
                "FETCH NEXT FROM c",
                "FETCH BACKWARD 2 FROM c",
                "FETCH ALL FROM c",
                "FETCH 1 FROM c",
                "CLOSE c",
                "FETCH 1 FROM c",
                "ROLLBACK",
            ],
        )
        .fragmented(),
        talk(
            "a cursor that outlives its transaction",
            &[
                "BEGIN",
                "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM items ORDER BY id",
                "FETCH 2 FROM c",
                "COMMIT",
                "FETCH 2 FROM c",
                "SELECT 1",
                "FETCH 1 FROM c",
                "CLOSE c",
                "FETCH 1 FROM c",
            ],
        ),
        talk(
            "temporary table",
            &[
                "CREATE TEMP TABLE scratch (n int)",
                "INSERT INTO scratch VALUES (1)",
                "SELECT count(*) FROM scratch",
                "BEGIN",
                "CREATE TEMP TABLE scratch_too (n int) ON COMMIT DROP",
                "INSERT INTO scratch_too VALUES (1)",
                "COMMIT",
                "SELECT count(*) FROM scratch_too",
                "SELECT count(*) FROM scratch",
            ],
        ),
        talk(
            "advisory locks",
            &[
                "SELECT pg_advisory_lock(1)",
                "SELECT pg_try_advisory_lock(1)",
                "SELECT pg_advisory_unlock(1)",
                "SELECT pg_advisory_unlock(1)",
                "SELECT pg_advisory_unlock(1)",
                "BEGIN",
                "SELECT pg_advisory_xact_lock(2)",
                "COMMIT",
            ],
        ),
        talk(
            "role",
            &[
                "SET ROLE pg_monitor",
                "SELECT current_user",
                "SET ROLE NONE",
                "SELECT current_user",
                "SET ROLE postgres",
            ],
        ),
        talk(
            "sequence",
            &[
                "INSERT INTO parts (data) VALUES ('a') RETURNING id",
                "INSERT INTO parts (data) VALUES ('b') RETURNING id",
            ],
        ),
        talk(
            "statements after being idle",
            &["SELECT 1", "SELECT 2", "INSERT INTO log VALUES ('a')", "SELECT * FROM log"],
        ),
    ]);
    cases
}
