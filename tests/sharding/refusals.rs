//! Statements whose shard cannot be proved: refused, with a reason.

use pgweir_tests::Outcome;
use testkit::{Script, tags};

use crate::world::{MARK, World, ensure, is_refused};

/// Statements that are refused, and a part of the DETAIL.
pub(crate) const REFUSED: &[(&str, &str)] = &[
    ("SELECT * FROM customers", "doesn't say its value"),
    ("SELECT count(*) FROM customers", "doesn't say its value"),
    ("SELECT * FROM customers WHERE id = 1", "doesn't say its value"),
    ("SELECT * FROM customers WHERE region = 'DE' OR id = 1", "doesn't say its value"),
    ("SELECT * FROM customers WHERE region IN ('DE', 'US')", "doesn't say its value"),
    ("SELECT * FROM customers WHERE region = ANY ('{DE,US}')", "doesn't say its value"),
    ("SELECT * FROM customers WHERE region <> 'DE'", "doesn't say its value"),
    ("SELECT * FROM customers WHERE NOT region = 'DE'", "doesn't say its value"),
    ("SELECT * FROM customers WHERE NOT (region = 'DE' AND true)", "doesn't say its value"),
    ("SELECT * FROM customers WHERE (region = 'DE') IS FALSE", ""),
    ("SELECT * FROM customers WHERE (region = 'DE') = (id = 5)", ""),
    ("SELECT * FROM customers WHERE lower(region) = 'DE'", "doesn't say its value"),
    ("SELECT * FROM customers WHERE region >= 'DE'", "doesn't say its value"),
    ("SELECT * FROM customers WHERE CASE WHEN region = 'DE' THEN id = 1 ELSE true END", ""),
    ("SELECT region = 'DE' FROM customers", "doesn't say its value"),
    ("SELECT region FROM customers GROUP BY region HAVING region = 'DE'", ""),
    ("SELECT * FROM customers c LEFT JOIN countries k ON c.region = 'DE'", ""),
    ("SELECT * FROM countries k RIGHT JOIN customers c ON c.region = 'DE'", ""),
    ("SELECT * FROM customers c FULL JOIN countries k ON c.region = 'DE'", ""),
    ("SELECT * FROM customers c JOIN orders o ON o.customer = c.id WHERE c.region = 'DE'", "\"orders\""),
    ("SELECT * FROM customers a, customers b WHERE a.region = 'DE'", "doesn't say its value"),
    ("SELECT * FROM customers a, customers b WHERE a.region = 'DE' AND b.region = 'US'", "shard"),
    (
        "SELECT * FROM customers WHERE region = 'DE' AND id IN (SELECT customer FROM orders)",
        "doesn't say its value",
    ),
    (
        "SELECT id FROM customers WHERE region = 'DE' UNION ALL SELECT id FROM customers",
        "doesn't say its value",
    ),
    (
        "SELECT id FROM customers WHERE region = 'DE' UNION SELECT id FROM customers WHERE region = 'US'",
        "shard",
    ),
    (
        "SELECT * FROM customers WHERE region = 'DE'; SELECT * FROM customers WHERE region = 'US'",
        "shard \"eu\", another to shard \"us\"",
    ),
    ("SELECT * FROM customers, flags WHERE region = 'US'", "shard"),
    ("SELECT * FROM customers WHERE region = 'XX'", "'XX' belongs to no shard"),
    ("SELECT * FROM customers WHERE region = 'de'", "'de' belongs to no shard"),
    ("SELECT * FROM customers WHERE region = 'DE '", "'DE ' belongs to no shard"),
    ("SELECT * FROM customers WHERE region = NULL", ""),
    ("SELECT * FROM customers WHERE region IS NULL", ""),
    ("SELECT * FROM customers WHERE region = 'D' || 'E'", ""),
    ("SELECT * FROM customers WHERE region = upper('de')", ""),
    ("SELECT * FROM tenants WHERE id = 3.0", ""),
    ("SELECT * FROM tenants WHERE id = 99", "99"),
    ("SELECT * FROM tenants WHERE id BETWEEN 3 AND 3", ""),
    ("SELECT * FROM unlisted WHERE region = 'DE'", "\"unlisted\" is not listed"),
    ("SELECT * FROM german_customers", "\"german_customers\" is not listed"),
    ("SELECT * FROM german_customers WHERE region = 'DE'", "\"german_customers\" is not listed"),
    ("SELECT count_customers()", "count_customers()"),
    ("SELECT count_customers() FROM customers WHERE region = 'DE'", "count_customers()"),
    ("INSERT INTO customers VALUES (20, 'DE')", "doesn't name its columns"),
    ("INSERT INTO customers (id) VALUES (20)", "gives no value for customers.region"),
    (
        "INSERT INTO customers (id, region) VALUES (20, 'DE'), (21, 'US')",
        "shard \"eu\", another to shard \"us\"",
    ),
    ("INSERT INTO customers (id, region) VALUES (20, NULL)", ""),
    ("INSERT INTO customers (id, region) VALUES (20, DEFAULT)", "expression or DEFAULT"),
    ("INSERT INTO customers (id, region) VALUES (20, upper('de'))", ""),
    ("INSERT INTO customers (id, region) VALUES (20, 'XX')", "'XX' belongs to no shard"),
    ("INSERT INTO customers (id, region) SELECT 20, 'DE'", "come from a query"),
    (
        "INSERT INTO customers (id, region) SELECT id + 20, 'DE' FROM orders WHERE region = 'DE'",
        "come from a query",
    ),
    ("INSERT INTO customers DEFAULT VALUES", ""),
    (
        "INSERT INTO customers (id, region) VALUES (1, 'DE') ON CONFLICT (region, id) DO UPDATE SET region = 'US'",
        "assigns customers.region",
    ),
    ("UPDATE customers SET region = 'US' WHERE region = 'DE'", "assigns customers.region"),
    ("UPDATE customers SET (name, region) = ('x', 'US') WHERE region = 'DE'", "assigns customers.region"),
    ("UPDATE customers SET name = 'x'", "doesn't say its value"),
    (
        "UPDATE customers SET name = 'x' FROM orders WHERE customers.region = 'DE' AND orders.customer = customers.id",
        "\"orders\"",
    ),
    ("DELETE FROM customers", "doesn't say its value"),
    ("DELETE FROM customers USING orders WHERE customers.region = 'DE' AND orders.id = 1", "\"orders\""),
    (
        "WITH d AS (DELETE FROM customers RETURNING *) SELECT * FROM orders WHERE region = 'DE'",
        "doesn't say its value",
    ),
    ("MERGE INTO customers c USING (VALUES (1)) s (n) ON c.id = n WHEN MATCHED THEN DELETE", "MERGE"),
    ("INSERT INTO countries VALUES ('ES', 'Spain')", "reference table"),
    ("UPDATE countries SET name = 'x'", "reference table"),
    ("CREATE TABLE made (n int)", "every shard"),
    ("ALTER TABLE customers ADD COLUMN more int", "every shard"),
    ("DROP TABLE customers", "every shard"),
    ("TRUNCATE customers", "every shard"),
    ("CREATE INDEX ON customers (name)", "every shard"),
    ("COPY customers FROM STDIN", "COPY of \"customers\""),
    ("COPY customers TO STDOUT", "COPY of \"customers\""),
    ("DO $$ BEGIN DELETE FROM customers; END $$", "DO block"),
    ("CALL anything()", "DO block or procedure"),
    ("PREPARE p AS SELECT 1 FROM customers WHERE region = $1; EXECUTE p('DE')", "PREPARE"),
    ("this is no SQL", "not understood"),
    ("VACUUM customers", "every shard"),
    ("LOCK TABLE customers", ""),
    ("SELECT * INTO copied FROM customers WHERE region = 'DE'", ""),
    ("CREATE TABLE copied AS SELECT * FROM customers WHERE region = 'DE'", ""),
    ("EXPLAIN ANALYZE DELETE FROM customers", "doesn't say its value"),
    ("DECLARE c CURSOR FOR SELECT * FROM customers", ""),
    ("INSERT INTO customers (id, region) VALUES ((SELECT max(id) FROM customers), 'DE')", ""),
    ("INSERT INTO customers (id, region) VALUES (90, 'DE') RETURNING (SELECT count(*) FROM orders)", ""),
    (
        "INSERT INTO customers (id, region) VALUES (1, 'DE') ON CONFLICT (region, id) DO UPDATE SET name = (SELECT max(name) FROM customers)",
        "",
    ),
    ("WITH o AS (SELECT * FROM orders) INSERT INTO customers (id, region) VALUES (91, 'DE')", "\"orders\""),
    (
        "BEGIN; INSERT INTO customers (id, region) VALUES (92, 'DE'); INSERT INTO customers (id, region) VALUES (92, 'US'); COMMIT",
        "shard",
    ),
    ("SELECT * FROM other.customers WHERE region = 'DE'", ""),
];

pub(crate) async fn refused_and_alive(world: &World, sql: &str, detail: &str) -> Outcome {
    let mut client = world.client().await?;
    let frames = client.query(&format!("{sql}{MARK}")).await?;
    ensure(tags(&frames) == "EZ" && frames[1].status() == Some('I'), || format!("{frames:?}"))?;
    is_refused(&frames, "0A000", detail)?;
    // The extended protocol says the same, and the session goes on.
    let frames = client.run(&Script::new().run(&format!("{sql}{MARK}"), &[]).sync()).await?;
    ensure(frames.last().is_some_and(|last| last.tag == b'Z'), || format!("{frames:?}"))?;
    is_refused(&frames, "0A000", detail)?;
    let after = client.value("SELECT name FROM customers WHERE region = 'DE' AND id = 1").await?;
    ensure(after == "Dora", || format!("afterwards {after}"))
}
