//! Whatever the bytes are, there is an answer: no panic, no deep recursion, no time without bound.

#![allow(missing_docs, dead_code)]

use pgweir_sql::facts::{Access, Value};
use pgweir_sql::{Analyzer, LexSettings, literal_text};

const STATEMENTS: &[&str] = &[
    "SELECT a, 'it''s', E'\\n', $$x$$, 1.5e3 FROM t WHERE b = $1 AND c IN (1, 2) ORDER BY 1",
    "WITH x AS (DELETE FROM t RETURNING *) INSERT INTO u (a, b) VALUES (1, 'x'), (2, DEFAULT)",
    "/* pgweir: role=primary shard=eu */ UPDATE t SET a = U&'\\0061' UESCAPE '!' WHERE \"b\" = 0x1F",
    "BEGIN; SET x TO 'a', b; COPY (SELECT 1) TO STDOUT; EXPLAIN (ANALYZE) SELECT set_config('a', 'b', true)",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; DECLARE c CURSOR FOR SELECT 1 /* a /* b */ */",
];

/// A generator of the same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % below
    }
}

/// Analyzes, and reads every literal that the facts or the text have.
fn look(analyzer: &mut Analyzer, sql: &[u8], conforming: bool) {
    let settings = LexSettings { standard_conforming_strings: conforming, safe_encoding: true };
    let analysis = analyzer.analyze(sql, settings);
    for literal in analysis.literals {
        let _ = literal_text(sql, *literal, settings);
    }
    for statement in &analysis.facts.statements {
        if let pgweir_sql::facts::Keys::Equal(keys) = &statement.keys {
            for key in keys {
                assert!(key.relation < statement.relations.len());
                if let Value::Literal(index) = key.value {
                    assert!(usize::try_from(index).expect("small") < analysis.literals.len());
                }
            }
        }
    }
}

#[test]
fn truncated_statements_are_answered() {
    let mut analyzer = Analyzer::new(64);
    for sql in STATEMENTS {
        for length in 0..=sql.len() {
            look(&mut analyzer, &sql.as_bytes()[..length], true);
            look(&mut analyzer, &sql.as_bytes()[length..], false);
        }
    }
}

#[test]
fn random_bytes_are_answered() {
    let mut analyzer = Analyzer::new(64);
    let mut numbers = Numbers(7);
    for _ in 0..20_000 {
        let sql: Vec<u8> =
            (0..numbers.next(60)).map(|_| u8::try_from(numbers.next(256)).expect("a byte")).collect();
        look(&mut analyzer, &sql, true);
    }
}

#[test]
fn shuffled_tokens_are_answered() {
    let mut analyzer = Analyzer::new(64);
    let mut numbers = Numbers(11);
    let words: Vec<&str> = STATEMENTS.iter().flat_map(|sql| sql.split(' ')).collect();
    for _ in 0..5_000 {
        let sql: Vec<&str> = (0..numbers.next(14)).map(|_| words[numbers.next(words.len())]).collect();
        look(&mut analyzer, sql.join(" ").as_bytes(), numbers.next(2) == 0);
    }
}

#[test]
fn literals_that_were_left_out_change_no_fact() {
    let settings = LexSettings::default();
    for sql in STATEMENTS {
        let mut analyzer = Analyzer::new(1);
        let analysis = analyzer.analyze(sql.as_bytes(), settings);
        for literal in analysis.literals {
            let place = |at: u32| usize::try_from(at).expect("32 bits");
            let other = if literal.string { "'; DROP'" } else { "77" };
            let text = format!("{}{other}{}", &sql[..place(literal.start)], &sql[place(literal.end)..]);
            let mut fresh = Analyzer::new(1);
            assert_eq!(analysis.facts, fresh.analyze(text.as_bytes(), settings).facts, "{text}");
        }
    }
}

#[test]
fn nesting_that_the_parser_gets_costs_no_exponential_time() {
    let mut analyzer = Analyzer::new(64);
    let deep = 95;
    for (open, close) in [
        ("(", ")"),
        ("(SELECT ", ")"),
        ("f(", ")"),
        ("CASE WHEN ", " END"),
        ("CASE WHEN 1 = (", ") THEN 1 END"),
        ("ARRAY[", "]"),
        ("(a, ", ")"),
        ("NOT (", ")"),
        ("x IN (", ")"),
        ("CAST(", " AS int)"),
        ("EXISTS (SELECT ", ")"),
        ("(VALUES (", "))"),
    ] {
        for lead in ["SELECT ", "SELECT * FROM ", "SELECT * FROM t WHERE ", "INSERT INTO t VALUES ", ""] {
            let sql = format!("{lead}{}1{}", open.repeat(deep), close.repeat(deep));
            look(&mut analyzer, sql.as_bytes(), true);
            let sql = format!("{lead}{}1", open.repeat(deep));
            look(&mut analyzer, sql.as_bytes(), true);
        }
    }
}

#[test]
fn deep_and_long_statements_are_answered() {
    let mut analyzer = Analyzer::new(64);
    let deep = 10_000;
    let cases = [
        format!("SELECT {}1{}", "(".repeat(deep), ")".repeat(deep)),
        format!("{}SELECT 1{}", "(".repeat(deep), ")".repeat(deep)),
        format!("SELECT {}1{}", "(SELECT ".repeat(deep), ")".repeat(deep)),
        format!("SELECT {}1{}", "f(".repeat(deep), ")".repeat(deep)),
        format!("SELECT {} 1", "NOT ".repeat(deep)),
        format!("SELECT {} 1", "- ".repeat(deep)),
        format!("SELECT 1{}", " + 1".repeat(deep)),
        format!("SELECT 1{}", " + 1".repeat(2_900)),
        format!("SELECT 1{}", "::int".repeat(2_900)),
        format!("SELECT 1{}", " IS NULL".repeat(2_900)),
        format!("SELECT a{}", "[1]".repeat(2_900)),
        format!("SELECT 1{}", " UNION SELECT 1".repeat(1_900)),
        format!("SELECT * FROM t{}", " JOIN t ON true".repeat(1_400)),
        format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(1_400), " END".repeat(1_400)),
        format!("{}SELECT 1", "EXPLAIN ".repeat(deep)),
        format!("SELECT 1{}", ";SELECT 1".repeat(deep)),
        format!("SELECT {}", "/*".repeat(deep)),
        format!("SELECT 1{}", " AND a = 1".repeat(1_900)),
        "(".repeat(deep),
        ")".repeat(deep),
        "$".repeat(deep),
    ];
    for sql in &cases {
        look(&mut analyzer, sql.as_bytes(), true);
    }
}

#[test]
fn a_literal_of_100_megabytes_is_answered() {
    let mut sql = b"INSERT INTO t (a, b) VALUES (1, '".to_vec();
    sql.resize(100 << 20, b'x');
    sql.extend_from_slice(b"')");
    let mut analyzer = Analyzer::new(64);
    let analysis = analyzer.analyze(&sql, LexSettings::default());
    assert_eq!(analysis.facts.access, Access::Write);
    assert_eq!(analysis.literals.len(), 2);
    assert_eq!(analyzer.shapes(), 0);
}

#[test]
fn a_list_of_a_million_values_is_answered() {
    let mut analyzer = Analyzer::new(64);
    let sql = format!("SELECT * FROM t WHERE a IN (1{})", ",1".repeat(1_100_000));
    let analysis = analyzer.analyze(sql.as_bytes(), LexSettings::default());
    assert_eq!(analysis.facts.access, Access::Unknown);
}
