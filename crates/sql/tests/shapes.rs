//! Shapes: which texts share one, where their literals are, and what those mean.

#![allow(missing_docs, dead_code)]

use pgweir_sql::{Analyzer, LexSettings, literal_text};

const SETTINGS: LexSettings = LexSettings { standard_conforming_strings: true, safe_encoding: true };

/// Whether two texts have one shape.
fn same(one: &str, other: &str) -> bool {
    let mut analyzer = Analyzer::new(8);
    analyzer.analyze(one.as_bytes(), SETTINGS);
    analyzer.analyze(other.as_bytes(), SETTINGS);
    analyzer.hits() == 1
}

#[test]
fn literals_blanks_and_comments_make_no_other_shape() {
    for (one, other) in [
        ("SELECT a FROM t WHERE b = 1", "select A  from\nT where B=22 -- x"),
        ("SELECT a FROM t WHERE b = 'x'", "SELECT a FROM t WHERE b = $$y$$ /* c */"),
        ("SELECT a FROM t WHERE b = 'x'", "SELECT a FROM t WHERE b = E'\\n'"),
        ("SELECT a FROM t LIMIT 1", "SELECT a FROM t LIMIT 2"),
        ("SELECT a FROM t ORDER BY a LIMIT 1", "SELECT a FROM t ORDER BY a LIMIT 2"),
        ("INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (2, 'b')"),
        ("(SELECT 1)", "(SELECT 2)"),
        ("BEGIN; UPDATE t SET a = 1; COMMIT", "BEGIN; UPDATE t SET a = 2; COMMIT"),
        ("EXPLAIN (COSTS off) SELECT 1", "EXPLAIN (COSTS off) SELECT 2"),
        ("SELECT f(ORDER_BY) FROM t WHERE a = 1", "SELECT f(order_by) FROM t WHERE a = 2"),
        ("SELECT sum(a) OVER (ORDER BY b), 1 FROM t", "SELECT sum(a) OVER (ORDER BY b), 2 FROM t"),
    ] {
        assert!(same(one, other), "{one} / {other}");
    }
}

#[test]
fn what_decides_is_in_the_shape() {
    for (one, other) in [
        ("SELECT a FROM t", "SELECT b FROM t"),
        ("SELECT a FROM t", "SELECT a FROM \"t\""),
        ("SELECT a FROM \"t\"", "SELECT a FROM \"T\""),
        ("SELECT 1", "SELECT '1'"),
        ("SELECT $1", "SELECT $2"),
        ("SELECT 1 - 1", "SELECT 1 + 1"),
        ("SELECT a b", "SELECT ab"),
        ("SELECT a FROM t ORDER BY 1", "SELECT a FROM t ORDER BY 2"),
        ("SELECT a, b FROM t GROUP BY 1, 2", "SELECT a, b FROM t GROUP BY 1, 1"),
        ("SELECT set_config('a', 'b', true)", "SELECT set_config('a', 'c', true)"),
        ("SELECT \"set_config\"('a', 'b', true)", "SELECT \"set_config\"('a', 'c', true)"),
        ("SELECT nextval('a')", "SELECT nextval('b')"),
        ("SELECT current_setting('a')", "SELECT current_setting('transaction_read_only')"),
        ("SELECT U&\"f\"('a')", "SELECT U&\"f\"('b')"),
        ("SELECT 'a'x", "SELECT \u{1}x"),
        ("SET a = 1", "SET a = 2"),
        ("SET a = 1; SELECT 1", "SET a = 2; SELECT 1"),
        ("COPY t TO 'a'", "COPY t TO 'b'"),
        (
            "CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; SELECT 1; END",
            "CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; SELECT 2; END",
        ),
        ("DO 'a'", "DO 'b'"),
        ("EXPLAIN (ANALYZE 0) DELETE FROM t", "EXPLAIN (ANALYZE 1) DELETE FROM t"),
        ("/* pgweir: role=primary */ SELECT 1", "/* pgweir: role=replica */ SELECT 1"),
        ("/* pgweir: role=primary */ SELECT 1", "SELECT 1"),
    ] {
        assert!(!same(one, other), "{one} / {other}");
    }
}

#[test]
fn settings_are_part_of_the_shape() {
    let mut analyzer = Analyzer::new(8);
    let sql = b"SET a = 'x\\n'";
    let old = LexSettings { standard_conforming_strings: false, ..SETTINGS };
    analyzer.analyze(sql, SETTINGS);
    analyzer.analyze(sql, old);
    assert_eq!((analyzer.hits(), analyzer.misses(), analyzer.shapes()), (0, 2, 2));
    let unsafe_encoding = LexSettings { safe_encoding: false, ..SETTINGS };
    let analysis = analyzer.analyze(b"SELECT 1", unsafe_encoding);
    assert_eq!(analysis.facts.access, pgweir_sql::facts::Access::Unknown);
    assert_eq!(analyzer.shapes(), 2);
}

#[test]
fn a_hit_gives_the_same_facts_and_its_own_literals() {
    let mut analyzer = Analyzer::new(8);
    let first = analyzer.analyze(b"SELECT a FROM t WHERE b = 'x' AND c = 1", SETTINGS).facts.clone();
    let sql = b"SELECT a FROM t WHERE b='it''s'   AND c = 12345";
    let second = analyzer.analyze(sql, SETTINGS);
    assert_eq!(first, *second.facts);
    let texts: Vec<_> = second
        .literals
        .iter()
        .map(|literal| (literal_text(sql, *literal, SETTINGS).expect("decodes").into_owned(), literal.string))
        .collect();
    assert_eq!(texts, [(b"it's".to_vec(), true), (b"12345".to_vec(), false)]);
    assert_eq!(analyzer.hits(), 1);
}

#[test]
fn literals_mean_what_they_mean_to_postgres() {
    let cases: &[(&str, Option<&str>)] = &[
        ("'a'", Some("a")),
        ("''", Some("")),
        ("'a''b'", Some("a'b")),
        ("'a\\n'", Some("a\\n")),
        ("'a' \n -- c 'x'\n 'b''c'", Some("ab'c")),
        ("E'a\\tb\\\\\\'c\\q'", Some("a\tb\\'cq")),
        ("E'\\101\\x42\\u0043\\U00000044'", Some("ABCD")),
        ("E'\\xg'", Some("xg")),
        ("E'\\000'", None),
        ("E'\\u00'", None),
        ("E'\\uD83D\\uDE00'", None),
        ("e'\\u00e9'\n'\\u00e9'", Some("éé")),
        ("$$a'b$$", Some("a'b")),
        ("$x$a$$b$x$", Some("a$$b")),
        ("U&'d\\0061t\\+000061'", Some("data")),
        ("U&'d!0061t!!\\' UESCAPE '!'", Some("dat!\\")),
        ("U&'a\\'", None),
        ("U&'it''s'", Some("it's")),
        ("N'x'", Some("x")),
        ("B'01'", None),
        ("X'1F'", None),
        ("12.50", Some("12.50")),
        (".5e-3", Some(".5e-3")),
        ("1_000", Some("1000")),
        ("0x1F", Some("31")),
        ("0b1_01", Some("5")),
        ("0o17", Some("15")),
    ];
    for (text, expected) in cases {
        let sql = format!("SELECT {text}");
        let mut analyzer = Analyzer::new(1);
        let literals = analyzer.analyze(sql.as_bytes(), SETTINGS).literals.to_vec();
        assert_eq!(literals.len(), 1, "{text}");
        let found = literal_text(sql.as_bytes(), literals[0], SETTINGS);
        let found = found.map(|bytes| String::from_utf8(bytes.into_owned()).expect("UTF-8"));
        assert_eq!(found.as_deref(), *expected, "{text}");
    }
    let old = LexSettings { standard_conforming_strings: false, ..SETTINGS };
    let sql = b"SELECT 'a\\'b'";
    let literal = Analyzer::new(1).analyze(sql, old).literals[0];
    assert_eq!(literal_text(sql, literal, old).as_deref(), Some(&b"a'b"[..]));
}

#[test]
fn a_text_that_comes_again_is_answered_as_if_it_were_new() {
    let mut analyzer = Analyzer::new(64);
    for (value, text) in [("1", "'a'"), ("2.5", "'it''s'"), ("33", "''"), ("4", "E'\\n'"), ("5", "'\u{1}'")] {
        for sql in [
            format!("SELECT a FROM t WHERE b = {value} AND c IN ({text}, {text})"),
            format!("INSERT INTO t (a, b) VALUES ({value}, {text})"),
            format!("SELECT set_config('a', {text}, true), {value}"),
            format!("SELECT a FROM t ORDER BY {value}"),
            format!("/* pgweir: shard=s{value} */ UPDATE t SET a = {value}"),
        ] {
            let mut fresh = Analyzer::new(0);
            let fresh = fresh.analyze(sql.as_bytes(), SETTINGS);
            for _ in 0..3 {
                let analysis = analyzer.analyze(sql.as_bytes(), SETTINGS);
                assert_eq!(analysis.facts, fresh.facts, "{sql}");
                assert_eq!(analysis.literals, fresh.literals, "{sql}");
            }
        }
    }
    // A byte that stands for a number in a spelling is none in a text.
    let (sql, forged) = (b"SELECT 1, 2", b"SELECT 1, \x02");
    for _ in 0..3 {
        assert_eq!(analyzer.analyze(sql, SETTINGS).facts.access, pgweir_sql::facts::Access::Read);
    }
    assert_eq!(analyzer.analyze(forged, SETTINGS).facts.access, pgweir_sql::facts::Access::Unknown);
}
