//! Which relations statements name, and which key values are proved.

#![allow(missing_docs, dead_code)]

mod common;

use common::{keys, one, relations};

fn check(cases: &[(&str, &str)], read: impl Fn(&str) -> String) {
    let wrong: Vec<String> = cases
        .iter()
        .map(|(sql, expected)| (sql, expected, read(sql)))
        .filter(|(_, expected, found)| found != *expected)
        .map(|(sql, expected, found)| format!("{sql}: {found}, not {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn relations_are_named_with_their_use() {
    let cases: &[(&str, &str)] = &[
        ("SELECT 1", ""),
        ("SELECT * FROM T, \"T\", s.t, d.s.t", "t T s.t s.t"),
        ("SELECT * FROM t a JOIN t b ON true", "t t"),
        ("SELECT * FROM ONLY t", "t"),
        ("TABLE s.t", "s.t"),
        ("WITH x AS (SELECT * FROM t) SELECT * FROM x, u", "t u"),
        ("WITH t AS (SELECT * FROM t) SELECT * FROM t", "t"),
        ("WITH a AS (SELECT * FROM b), b AS (SELECT * FROM a) SELECT * FROM b", "b"),
        ("WITH RECURSIVE t AS (SELECT * FROM t) SELECT * FROM t", ""),
        ("WITH x AS (SELECT 1) SELECT * FROM s.x", "s.x"),
        ("SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) q, x", "x"),
        ("WITH x AS (SELECT 1) SELECT (SELECT max(a) FROM x), (SELECT max(b) FROM y)", "y"),
        ("INSERT INTO t SELECT * FROM u", "t! u"),
        ("WITH t AS (SELECT 1) INSERT INTO t SELECT * FROM t", "t!"),
        ("UPDATE t SET a = (SELECT b FROM u) FROM v WHERE true", "t! u v"),
        ("DELETE FROM t USING u WHERE t.a IN (SELECT a FROM v)", "t! u v"),
        ("WITH x AS (DELETE FROM t RETURNING *) INSERT INTO u SELECT * FROM x", "t! u!"),
        ("MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE", "t! s"),
        ("SELECT * FROM generate_series(1, 2) g, t", "t"),
        ("SELECT mine() FROM t", "t …"),
        ("SELECT * FROM t a FOR UPDATE OF a", "t"),
        ("COPY s.t (a) FROM STDIN", "s.t!"),
        ("COPY (SELECT * FROM t) TO STDOUT", "t"),
        ("EXPLAIN DELETE FROM t", "t"),
        ("SELECT table_to_xml('t', true, true, '')", "…"),
        ("SELECT 1 INTO x FROM t", "t …"),
        ("DO ''", "…"),
        ("CREATE TABLE t (a int)", "…"),
        ("SET a = 1", ""),
        ("BEGIN", ""),
        ("SELECT a FROM ROWS FROM (f(1)) x", "…"),
    ];
    check(cases, |sql| relations(&one(sql)));
}

#[test]
fn keys_are_proved_or_not_listed() {
    let long = "x".repeat(70);
    let long_table = format!("SELECT * FROM {long} WHERE a = 1");
    let long_key = format!("{}.a=1", "x".repeat(63));
    let cases: &[(&str, &str)] = &[
        ("SELECT * FROM t WHERE a = 1", "t.a=1"),
        ("SELECT * FROM t WHERE 'x' = a", "t.a=x"),
        ("SELECT * FROM t WHERE A = $2 AND \"B\" = E'\\x41'", "t.B=A t.a=$2"),
        ("SELECT * FROM t WHERE (a = 1 AND (b = 2)) AND c > 3", "t.a=1 t.b=2"),
        ("SELECT * FROM t WHERE a = 1 OR b = 2", ""),
        ("SELECT * FROM t WHERE a = 1 AND (b = 2 OR c = 3)", "t.a=1"),
        ("SELECT * FROM t WHERE NOT a = 1", ""),
        ("SELECT * FROM t WHERE (a = 1) IS NOT TRUE", ""),
        ("SELECT * FROM t WHERE a = 1 IS NOT NULL", ""),
        ("SELECT * FROM t WHERE (a = 1) = false", ""),
        ("SELECT * FROM t WHERE a = 1 = false", ""),
        ("SELECT * FROM t WHERE a BETWEEN 0 AND b = 5", ""),
        ("SELECT * FROM t WHERE a = 1 + 1", ""),
        ("SELECT * FROM t WHERE a = -1", ""),
        ("SELECT * FROM t WHERE a + 1 = 2", ""),
        ("SELECT * FROM t WHERE lower(a) = 'x'", ""),
        ("SELECT * FROM t WHERE a = 'x' || 'y'", ""),
        ("SELECT * FROM t WHERE a = 'x' COLLATE \"C\"", ""),
        ("SELECT * FROM t WHERE a COLLATE \"C\" = 'x'", ""),
        ("SELECT * FROM t WHERE a = 'x' 'y'", ""),
        ("SELECT * FROM t WHERE a = 'x'\n'y'", "t.a=xy"),
        ("SELECT * FROM t WHERE a = $$x$$", "t.a=x"),
        ("SELECT * FROM t WHERE a = U&'\\0041'", "t.a=A"),
        ("SELECT * FROM t WHERE a = N'x'", ""),
        ("SELECT * FROM t WHERE a = B'1'", ""),
        ("SELECT * FROM t WHERE a = 0x1F", "t.a=31"),
        ("SELECT * FROM t WHERE a = 1_000", "t.a=1000"),
        ("SELECT * FROM t WHERE a = '1'::int AND b = $1::text", "t.a=1 t.b=$1"),
        ("SELECT * FROM t WHERE a = '1'::varchar(1)", ""),
        ("SELECT * FROM t WHERE a = '1'::char", ""),
        ("SELECT * FROM t WHERE a = 007::text", ""),
        ("SELECT * FROM t WHERE a::text = '1'", ""),
        ("SELECT * FROM t WHERE a = 'x'::text::citext", ""),
        ("SELECT * FROM t WHERE a = date '2020-01-01'", ""),
        ("SELECT * FROM t WHERE a = NULL AND b = true", ""),
        ("SELECT * FROM t WHERE a IN (1)", ""),
        ("SELECT * FROM t WHERE (a, b) = (1, 2)", ""),
        ("SELECT * FROM t WHERE t.a = 1 AND s.t.b = 2", "t.a=1"),
        ("SELECT * FROM s.t WHERE s.t.a = 1", "t.a=1"),
        ("SELECT * FROM t x WHERE x.a = 1 AND t.b = 2", "t.a=1"),
        ("SELECT * FROM t AS x (a, b) WHERE a = 1", ""),
        ("SELECT * FROM t, u WHERE a = 1 AND t.b = 2 AND u.c = 3", "t.b=2 u.c=3"),
        ("SELECT * FROM t JOIN u ON t.a = 1 AND u.a = t.a WHERE u.b = 2", "t.a=1 u.b=2"),
        ("SELECT * FROM t CROSS JOIN u WHERE t.a = 1", "t.a=1"),
        ("SELECT * FROM t LEFT JOIN u ON t.a = 1 WHERE t.b = 1", ""),
        ("SELECT * FROM (t JOIN u ON true) WHERE t.a = 1", ""),
        ("SELECT * FROM s.t, r.t WHERE t.a = 1", ""),
        ("SELECT * FROM t, generate_series(1, 2) g WHERE a = 1 AND t.b = 2", "t.b=2"),
        ("SELECT * FROM t WHERE a = 1 AND EXISTS (SELECT 1)", ""),
        ("SELECT * FROM t WHERE a = 1 UNION SELECT * FROM t", ""),
        ("WITH x AS (SELECT 1) SELECT * FROM t WHERE a = 1", ""),
        ("SELECT * FROM (SELECT * FROM t WHERE a = 1) q", ""),
        ("SELECT * FROM t WHERE a = 1 GROUP BY a HAVING b = 2 ORDER BY a LIMIT 1 FOR UPDATE", "t.a=1"),
        ("SELECT * FROM ONLY t WHERE a = 1", "t.a=1"),
        ("UPDATE t SET b = 5 WHERE a = 1", "t.a=1"),
        ("UPDATE t SET b = u.b FROM u WHERE t.a = 1 AND u.a = $1", "t.a=1 u.a=$1"),
        ("UPDATE t SET b = (SELECT 1) WHERE a = 1", ""),
        ("DELETE FROM t WHERE a = 1 RETURNING *", "t.a=1"),
        ("DELETE FROM t USING u WHERE u.a = 1", "u.a=1"),
        ("EXPLAIN SELECT * FROM t WHERE a = 1", "t.a=1"),
        ("EXPLAIN (COSTS off) SELECT * FROM t WHERE a = 1", "t.a=1"),
        ("DECLARE c CURSOR FOR SELECT * FROM t WHERE a = 1", ""),
        ("BEGIN; SELECT 'x'; SELECT * FROM t WHERE a = 'y'", "t.a=y"),
        (&long_table, &long_key),
        ("INSERT INTO t (a, b) VALUES (1, 'x')", "(a b) [1 x]"),
        ("INSERT INTO t VALUES ($1, now()), (DEFAULT, 'x'::text)", "(-) [$1 ?] [? x]"),
        ("INSERT INTO t AS q (a) VALUES (-1), (1 + 1)", "(a) [?] [?]"),
        ("INSERT INTO t (a) VALUES ((SELECT 1))", ""),
        ("INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 2 WHERE t.c = 3", "(a) [1]"),
        ("INSERT INTO t SELECT 1", ""),
        ("INSERT INTO t DEFAULT VALUES", ""),
        ("INSERT INTO t (a.b, c[1]) VALUES (1, 2)", ""),
    ];
    check(cases, keys);
}

#[test]
fn assigned_columns_are_named() {
    let cases: &[(&str, &str)] = &[
        ("UPDATE t SET a = 1, \"B\" = 2", "a B"),
        ("UPDATE t SET (a, b) = (1, 2)", "a b"),
        ("INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = excluded.b", "b"),
        ("MERGE INTO t USING s ON true WHEN MATCHED THEN UPDATE SET c = 1", "c"),
        ("DELETE FROM t", ""),
    ];
    check(cases, |sql| one(sql).assigned.join(" "));
}

#[test]
fn many_rows_are_read_without_the_parser() {
    let mut sql = String::from("INSERT INTO t (a, b, c) VALUES ");
    for row in 0..1000 {
        let separator = if row == 0 { "" } else { ", " };
        let last = if row == 700 { "upper('x')" } else { "NULL" };
        sql += &format!("{separator}({row}, 'v{row}', {last})");
    }
    let expected: Vec<String> = (0..1000).map(|row| format!("[{row} v{row} ?]")).collect();
    assert_eq!(keys(&sql), format!("(a b c) {}", expected.join(" ")));
    assert_eq!(relations(&one(&sql)), "t!");
    let calls = sql.replace("upper('x')", "mine('x')");
    assert_eq!(relations(&one(&calls)), "t! …");
    let updates = sql + " ON CONFLICT (a) DO UPDATE SET b = excluded.b RETURNING a";
    assert_eq!(one(&updates).assigned.join(" "), "b");
}
