//! From the client's text to the decision in words, with the real analyzer.

use sql::{Analyzer, LexSettings};

use crate::decision::{Request, SessionRouting};
use crate::map::DatabaseMap;
use crate::testing::{Texts, sharded, unsharded};

/// The decision in words, for `$1 = 'DE'`, `$2 = 'US'`, `$3` NULL.
fn words(analyzer: &mut Analyzer, map: &DatabaseMap, sql: &str) -> String {
    let lex = LexSettings::default();
    let analysis = analyzer.analyze(sql.as_bytes(), lex);
    let request = Request {
        facts: analysis.facts,
        sql: sql.as_bytes(),
        literals: analysis.literals,
        parameters: Some(&Texts(&[Some("DE"), Some("US"), None])),
        lex,
        catalogs: &[],
    };
    crate::explain(map, &crate::decide(map, &SessionRouting::default(), &request))
}

/// Every text twice: once as a new shape, once from the cache.
fn check(map: &DatabaseMap, cases: &[(&str, &str)]) {
    let mut analyzer = Analyzer::new(1000);
    for _ in 0..2 {
        let wrong: Vec<String> = cases
            .iter()
            .filter_map(|(sql, expected)| {
                let words = words(&mut analyzer, map, sql);
                let same = match expected.strip_suffix('…') {
                    Some(start) => words.starts_with(start),
                    None => words == *expected,
                };
                (!same).then(|| format!("{sql}\n  is       {words}\n  expected {expected}"))
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn the_split() {
    check(
        &unsharded(),
        &[
            ("", "replica: empty, reads nothing"),
            ("SELECT * FROM t WHERE id = 1", "replica: reads only"),
            ("SELECT 1; SELECT 2", "replica: reads only"),
            ("SELECT * FROM t FOR UPDATE", "primary: locks rows or tables"),
            ("INSERT INTO t VALUES (1)", "primary: INSERT writes"),
            ("SELECT 1; DELETE FROM t", "primary: statement 2 of 2: DELETE writes"),
            ("SELECT nextval('s')", "primary: calls nextval(), which must have the primary"),
            ("SELECT my_own(1)", "primary: calls my_own(), which may write"),
            ("WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d", "primary: its WITH writes"),
            ("SHOW search_path", "primary: SHOW is the primary's"),
            ("SET search_path = a", "primary: SET concerns the session"),
            ("BEGIN", "primary: begins a transaction that may write"),
            ("BEGIN READ ONLY", "replica: begins a READ ONLY transaction"),
            ("BEGIN READ ONLY; SELECT * FROM t; COMMIT", "replica: begins a READ ONLY transaction"),
            ("START TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE", "primary: begins a SERIALIZABLE…"),
            ("/* pgweir: role=primary */ SELECT 1", "primary: hint role=primary"),
            ("/* pgweir: role=replica */ SELECT my_own(1)", "replica: hint role=replica"),
            ("/* pgweir: role=boss */ SELECT 1", "refused: invalid pgweir hint (SQLSTATE 22023)…"),
            ("/* pgweir: shard=eu */ SELECT 1", "replica: reads only"),
        ],
    );
}

#[test]
fn one_shard() {
    check(
        &sharded(),
        &[
            (
                "SELECT * FROM customers WHERE region = 'DE' AND id = 5",
                "shard eu, replica: reads only; customers.region = 'DE'",
            ),
            (
                "SELECT * FROM customers WHERE region = 'US' AND id = 5",
                "shard us, replica: reads only; customers.region = 'US'",
            ),
            (
                "SELECT * FROM public.customers c WHERE c.region = $1",
                "shard eu, replica: reads only; customers…",
            ),
            ("SELECT * FROM customers WHERE 'DE' = region", "shard eu, replica…"),
            ("SELECT * FROM customers WHERE region = E'\\x44E'", "shard eu, replica…"),
            ("SELECT * FROM orders WHERE tenant = 7", "shard us, replica…"),
            ("SELECT * FROM orders WHERE tenant = 8", "shard eu, replica…"),
            ("SELECT * FROM orders WHERE tenant = 0x7", "shard us, replica…"),
            ("SELECT * FROM customers WHERE region = 'D'\n'E'", "shard eu, replica…"),
            ("SELECT * FROM customers WHERE region = $$DE$$", "shard eu, replica…"),
            ("SELECT * FROM customers WHERE region = 'DE'::text", "shard eu, replica…"),
            ("SELECT * FROM Customers WHERE REGION = 'DE' LIMIT 1", "shard eu, replica…"),
            ("SELECT * FROM orders WHERE tenant = '7'", "shard us, replica…"),
            (
                "SELECT * FROM customers c JOIN orders o ON o.c = c.id WHERE c.region = 'DE' AND o.tenant = 8",
                "shard eu, replica…",
            ),
            (
                "SELECT * FROM customers c JOIN countries y ON y.id = c.region WHERE c.region = 'DE'",
                "shard eu, replica…",
            ),
            (
                "UPDATE customers SET name = 'x' WHERE region = 'DE'",
                "shard eu, primary: UPDATE writes; customers…",
            ),
            ("DELETE FROM customers WHERE region = $2", "shard us, primary: DELETE writes; customers…"),
            ("INSERT INTO customers (id, region) VALUES (1, 'DE'), (2, $1)", "shard eu, primary: INSERT…"),
            ("INSERT INTO flags SELECT * FROM countries", "shard eu, primary: INSERT…"),
            ("BEGIN; INSERT INTO customers (region) VALUES ('DE'); COMMIT", "shard eu, primary…"),
            ("SELECT 1", "shard us, replica: reads only; names no table, any shard would do"),
            ("SELECT relname FROM pg_class", "shard us, …"),
            ("SELECT * FROM pg_catalog.pg_attribute", "shard us, …"),
            (
                "/* pgweir: shard=eu */ SELECT count(*) FROM customers",
                "shard eu, replica: reads only; hint shard",
            ),
            ("/* pgweir: shard=eu */ CREATE TABLE t (a int)", "shard eu, primary…"),
        ],
    );
}

#[test]
fn never_a_guess() {
    let undecided = "refused: cannot tell which shard this statement belongs to (SQLSTATE 0A000)…";
    let texts = [
        "SELECT * FROM customers",
        "SELECT * FROM customers WHERE region = 'DE' OR id = 5",
        "SELECT * FROM customers WHERE NOT region = 'DE'",
        "SELECT * FROM customers WHERE NOT (region = 'DE' AND id = 5)",
        "SELECT * FROM customers WHERE region <> 'DE'",
        "SELECT * FROM customers WHERE region = 'D' || 'E'",
        "SELECT * FROM customers WHERE region = 'DEU'::char(2)",
        "SELECT * FROM customers WHERE (region = 'DE') IS NOT TRUE",
        "SELECT * FROM customers WHERE CASE WHEN region = 'DE' THEN true ELSE true END",
        "SELECT * FROM customers WHERE region = 'XX'",
        "SELECT * FROM customers WHERE region = $3",
        "SELECT * FROM customers WHERE region = $9",
        "SELECT * FROM customers WHERE region = NULL",
        "SELECT * FROM customers WHERE lower(region) = 'DE'",
        "SELECT * FROM customers WHERE \"Region\" = 'DE'",
        "SELECT * FROM customers HAVING region = 'DE'",
        "SELECT region = 'DE' FROM customers",
        "SELECT * FROM customers a, customers b WHERE a.region = 'DE'",
        "SELECT * FROM customers a, customers b WHERE region = 'DE'",
        "SELECT * FROM customers a LEFT JOIN countries c ON a.region = 'DE'",
        "SELECT * FROM customers a RIGHT JOIN customers b ON a.region = 'DE' AND b.region = 'DE'",
        "SELECT * FROM customers WHERE region = 'DE' UNION SELECT * FROM customers",
        "SELECT * FROM customers WHERE region = 'DE' AND id IN (SELECT id FROM customers)",
        "SELECT (SELECT count(*) FROM customers) FROM customers WHERE region = 'DE'",
        "WITH c AS (SELECT * FROM customers) SELECT * FROM c WHERE region = 'DE'",
        "SELECT * FROM customers WHERE region = 'DE' AND a_function(id)",
        "SELECT * FROM a_view",
        "SELECT * FROM customers, a_view WHERE region = 'DE'",
        "SELECT * FROM other.customers WHERE region = 'DE'",
        "SELECT * FROM a_function('DE')",
        "TABLE customers",
        "SELECT * FROM ONLY customers",
        "SELECT * FROM customers WHERE region = 'DE' COLLATE \"C\" || 'x'",
        "SELECT * FROM customers WHERE region = 'DE' = true",
        "SELECT * FROM customers WHERE region = 'DE' IS NOT NULL",
        "SELECT * FROM customers WHERE region = 'DE' AND id = 1 OR true",
        "SELECT * FROM customers WHERE (region) = ('DE') OR true",
        "SELECT * FROM customers WHERE region = B'1'",
        "SELECT * FROM customers AS c (id, region, other) WHERE region = 'DE'",
        "SELECT * FROM customers c WHERE customers.region = 'DE'",
        "SELECT * FROM (SELECT 'DE' AS region) s, customers WHERE s.region = 'DE'",
        "SELECT * FROM customers CROSS JOIN LATERAL (SELECT * FROM orders) o WHERE customers.region = 'DE'",
        "SELECT * FROM customers WHERE region = 'DE' AND EXISTS (SELECT FROM orders)",
        "SELECT * FROM customers WHERE EXISTS (SELECT FROM countries WHERE region = 'DE')",
        "VALUES ((SELECT count(*) FROM customers))",
        "COPY (SELECT * FROM customers) TO STDOUT",
        "EXPLAIN SELECT * FROM customers",
        "DECLARE c CURSOR FOR SELECT * FROM customers",
        "INSERT INTO customers (id, region) VALUES (1, 'DE'), (2, $3)",
        "INSERT INTO customers (id, region) VALUES (1, 'DE'), (2, DEFAULT)",
        "INSERT INTO customers (id, region) VALUES (1, 'DE'), (2)",
        "INSERT INTO customers (id, region) VALUES (1, 'DE') RETURNING (SELECT count(*) FROM orders)",
        "WITH d AS (DELETE FROM customers RETURNING *) SELECT * FROM customers WHERE region = 'DE'",
        "SELECT * FROM orders WHERE tenant = 7.0",
        "SELECT * FROM orders WHERE tenant = 7 + 1",
        "SELECT * FROM orders WHERE tenant = - - 7 * 2",
        "UPDATE customers SET region = 'US' WHERE region = 'DE'",
        "UPDATE customers SET (name, region) = ('x', 'US') WHERE region = 'DE'",
        "UPDATE customers SET name = o.name FROM orders o WHERE customers.region = 'DE'",
        "DELETE FROM customers USING orders o WHERE customers.region = 'DE'",
        "DELETE FROM customers WHERE CURRENT OF c",
        "INSERT INTO customers VALUES ('DE')",
        "INSERT INTO customers (id) VALUES (1)",
        "INSERT INTO customers DEFAULT VALUES",
        "INSERT INTO customers (region) VALUES (upper('de'))",
        "INSERT INTO customers (region) VALUES (DEFAULT)",
        "INSERT INTO customers (region) SELECT 'DE'",
        "INSERT INTO customers (region) SELECT region FROM orders WHERE region = 'DE'",
        "INSERT INTO customers (region) VALUES ('DE') ON CONFLICT (id) DO UPDATE SET region = 'US'",
        "INSERT INTO customers (region, n) VALUES ('DE', (SELECT count(*) FROM orders))",
        "INSERT INTO countries VALUES ('DE')",
        "MERGE INTO customers c USING flags f ON c.region = 'DE' WHEN MATCHED THEN DELETE",
        "COPY customers FROM STDIN",
        "COPY customers TO STDOUT",
        "CREATE TABLE t (a int)",
        "TRUNCATE customers",
        "DO $$ BEGIN END $$",
        "CALL p()",
        "PREPARE p AS SELECT * FROM customers WHERE region = 'DE'",
        "SELECT * INTO t FROM customers WHERE region = 'DE'",
        "SELECT from where (",
        "LOCK TABLE customers",
        "VACUUM",
    ];
    let cases: Vec<(&str, &str)> = texts.iter().map(|&text| (text, undecided)).collect();
    check(&sharded(), &cases);
    check(
        &sharded(),
        &[
            (
                "SELECT * FROM customers WHERE region = 'DE'; SELECT * FROM customers WHERE region = 'US'",
                "refused: a request cannot span shards (SQLSTATE 0A000)…",
            ),
            (
                "INSERT INTO customers (region) VALUES ('DE'), ('US')",
                "refused: an INSERT cannot span shards (SQLSTATE 0A000)…",
            ),
            ("/* pgweir: shard=moon */ SELECT 1", "refused: unknown shard \"moon\" (SQLSTATE 22023)…"),
        ],
    );
}

#[test]
fn a_minus_is_never_lost() {
    let refused = "refused: cannot tell which shard this statement belongs to (SQLSTATE 0A000)…";
    check(
        &sharded(),
        &[
            ("SELECT * FROM orders WHERE tenant = -7", refused),
            ("SELECT * FROM orders WHERE tenant = - 7", refused),
            ("SELECT * FROM orders WHERE tenant = -/* */7", refused),
            ("INSERT INTO orders (tenant) VALUES (-7)", refused),
            ("INSERT INTO orders (tenant) VALUES (7), (-7)", refused),
            ("SELECT * FROM orders WHERE tenant = '-7'", "shard eu, replica: reads only; orders.tenant = -7"),
        ],
    );
}
