use std::sync::Arc;

use sql::{Analyzer, LexSettings};

use super::{CalledRow, Catalog, CatalogRows, FunctionRow, RelationKind, RelationRow};
use crate::decision::{Request, SessionRouting};
use crate::testing::unsharded;

fn function(schema: &str, name: &str, volatile: bool) -> FunctionRow {
    FunctionRow { schema: schema.into(), name: name.into(), volatile, code: schema != "pg_catalog" }
}

fn relation(oid: u32, name: &str, kind: RelationKind) -> RelationRow {
    RelationRow { oid, schema: "public".into(), name: name.into(), kind }
}

fn called(relation: u32, schema: &str, name: &str, volatile: bool) -> CalledRow {
    CalledRow { relation, schema: schema.into(), name: name.into(), volatile }
}

fn rows() -> CatalogRows {
    CatalogRows {
        functions: vec![
            function("public", "twice", false),
            function("public", "note", true),
            function("a", "mixed", false),
            function("b", "mixed", true),
            function("public", "lower", true),
            function("pg_catalog", "nextval", true),
            function("pg_catalog", "abs", false),
            function("pg_catalog", "newer", false),
            function("pg_catalog", "pg_stat_newer", false),
        ],
        relations: vec![
            relation(1, "tickets", RelationKind::Sequence),
            relation(2, "scratch", RelationKind::Unlogged),
            relation(3, "far", RelationKind::Foreign),
            relation(4, "next_ticket", RelationKind::Plain),
            relation(5, "above", RelationKind::Plain),
            relation(6, "parent", RelationKind::Plain),
            relation(7, "activity", RelationKind::Plain),
            RelationRow {
                schema: "pg_catalog".into(),
                ..relation(8, "pg_stat_activity", RelationKind::System)
            },
            relation(9, "steady", RelationKind::Plain),
            relation(10, "locked", RelationKind::Plain),
            relation(11, "secret", RelationKind::Plain),
        ],
        reads: vec![(5, 4), (6, 2), (7, 8), (9, 9)],
        calls: vec![
            called(4, "pg_catalog", "nextval", true),
            called(9, "public", "twice", false),
            called(9, "pg_catalog", "now", false),
            called(11, "public", "note", true),
        ],
        locks: vec![10],
        ..CatalogRows::default()
    }
}

/// The decision for a text with this catalog, in words.
fn words(catalog: Catalog, sql: &str) -> String {
    let mut analyzer = Analyzer::new(10);
    let lex = LexSettings::default();
    let analysis = analyzer.analyze(sql.as_bytes(), lex);
    let (facts, literals) = (analysis.facts, analysis.literals);
    let catalogs = [Arc::new(catalog)];
    let request =
        Request { facts, sql: sql.as_bytes(), literals, parameters: None, lex, catalogs: &catalogs };
    let first =
        crate::explain(&unsharded(), &crate::decide(&unsharded(), &SessionRouting::default(), &request));
    let again =
        crate::explain(&unsharded(), &crate::decide(&unsharded(), &SessionRouting::default(), &request));
    assert_eq!(first, again, "what is remembered is what was concluded");
    first
}

#[test]
fn the_catalog_decides_what_the_text_leaves_open() {
    let cases = [
        ("SELECT twice(1)", "replica: reads only"),
        ("SELECT public.twice(1) FROM t", "replica: reads only"),
        ("SELECT other.twice(1)", "primary: calls twice(), which may write: it is VOLATILE"),
        ("SELECT twice(1), note('x')", "primary: calls note(), which may write: it is VOLATILE"),
        ("SELECT twice(1), unheard(2)", "primary: calls unheard(), which may write: the catalog hasn't it"),
        ("SELECT mixed(1)", "primary: calls mixed(), which may write: it is VOLATILE"),
        ("SELECT a.mixed(1)", "replica: reads only"),
        ("SELECT lower('A')", "primary: calls lower(), which may write: it is VOLATILE"),
        ("SELECT pg_catalog.lower('A')", "replica: reads only"),
        ("SELECT upper('A')", "replica: reads only"),
        ("SELECT newer()", "replica: reads only"),
        ("SELECT pg_stat_newer()", "primary: calls pg_stat_newer(), which may write: it is VOLATILE"),
        ("SELECT nextval('tickets')", "primary: calls nextval(), which must have the primary"),
        ("SELECT * FROM t", "replica: reads only"),
        ("SELECT last_value FROM tickets", "primary: reads tickets, a sequence"),
        ("SELECT 1; TABLE public.tickets", "primary: statement 2 of 2: reads tickets, a sequence"),
        ("SELECT * FROM other.tickets", "replica: reads only"),
        ("SELECT * FROM scratch", "primary: reads scratch, an unlogged table"),
        ("COPY scratch TO STDOUT", "primary: reads scratch, an unlogged table"),
        ("SELECT * FROM far", "primary: reads far, a foreign table"),
        (
            "SELECT * FROM next_ticket",
            "primary: reads next_ticket, of which the view or a policy calls nextval()",
        ),
        ("SELECT * FROM above", "primary: reads above, and so next_ticket, which has the primary"),
        ("SELECT * FROM parent", "primary: reads parent, and so scratch, which has the primary"),
        ("SELECT * FROM activity", "primary: reads activity, and so pg_stat_activity, which has the primary"),
        ("SELECT * FROM steady", "replica: reads only"),
        ("SELECT * FROM locked", "primary: reads locked, a view that locks rows"),
        ("SELECT * FROM secret", "primary: reads secret, of which the view or a policy calls note()"),
        ("BEGIN READ ONLY; SELECT twice(1)", "replica: begins a READ ONLY transaction"),
        ("EXPLAIN SELECT note('x')", "replica: reads only"),
        ("EXPLAIN ANALYZE SELECT note('x')", "primary: calls note(), which may write: it is VOLATILE"),
        ("SELECT U&\"tw\\0069ce\"(1)", "primary: not understood: a token that only the server can read"),
        ("SELECT 1 <=> 2, 'x'::mood", "replica: reads only"),
    ];
    for (sql, expected) in cases {
        assert_eq!(words(Catalog::of(rows()), sql), expected, "{sql}");
    }
}

fn volatile(name: &str) -> crate::OperatorRow {
    crate::OperatorRow { name: name.into(), volatile: true, code: true }
}

#[test]
fn operators_and_casts_that_write_are_minded() {
    let with = |change: fn(&mut CatalogRows), sql: &str| {
        let mut rows = rows();
        change(&mut rows);
        words(Catalog::of(rows), sql)
    };
    let operator = |rows: &mut CatalogRows| rows.operators = vec![volatile("<=>")];
    assert!(with(operator, "SELECT 1 <=> 2").starts_with("primary: an operator <=>"));
    assert_eq!(with(operator, "SELECT 1 < 2"), "replica: reads only");
    let common = |rows: &mut CatalogRows| rows.operators = vec![volatile("=")];
    assert!(with(common, "SELECT * FROM a JOIN b USING (c)").starts_with("primary: the database has"));
    let cast = |rows: &mut CatalogRows| rows.volatile_casts = true;
    for sql in ["SELECT 'x'::mood", "SELECT CAST('x' AS mood)", "SELECT mood 'x'"] {
        assert!(with(cast, sql).starts_with("primary: a cast or domain"), "{sql}");
    }
    assert_eq!(with(cast, "SELECT 'x'"), "replica: reads only");
    let implicit = |rows: &mut CatalogRows| rows.volatile_implicit_casts = true;
    assert!(with(implicit, "SELECT 'x'").starts_with("primary: the database has"));
}

#[test]
fn without_a_catalog_the_facts_count_alone_and_while_it_is_read_the_primary() {
    let without = |sql| words(Catalog::numbered(super::Content::Unavailable), sql);
    assert_eq!(without("SELECT * FROM tickets"), "replica: reads only");
    assert_eq!(without("SELECT twice(1)"), "primary: calls twice(), which may write");
    let while_read = |sql| words(Catalog::unsettled(), sql);
    assert_eq!(while_read("SELECT 1"), "replica: reads only");
    assert_eq!(while_read("SELECT * FROM pg_class, information_schema.tables"), "replica: reads only");
    for sql in ["SELECT * FROM t", "SELECT twice(1)", "SELECT 1; TABLE t"] {
        assert!(while_read(sql).ends_with("the database's catalog is being read"), "{sql}");
    }
}
