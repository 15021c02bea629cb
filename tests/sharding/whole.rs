//! What is answered is answered as by one database that has all the rows, and byte by byte as by the shard itself.

use pgweir_tests::Outcome;
use testkit::{Frame, Script, first_error, rows};

use crate::world::{World, ensure};

/// Statements that may be refused; if they are answered, then as one database with all the rows would.
pub(crate) const WHOLE_OR_NOT_AT_ALL: &[&str] = &[
    "SELECT id, name FROM customers WHERE region = 'DE'",
    "SELECT id, name FROM customers WHERE region = 'DE'::text",
    "SELECT id, name FROM customers WHERE region = text 'DE'",
    "SELECT id, name FROM customers WHERE region = $$DE$$",
    "SELECT id, name FROM customers WHERE region = $x$DE$x$ AND true",
    "SELECT id, name FROM customers WHERE region = 'D'\n'E'",
    "SELECT id, name FROM customers WHERE region = U&'D\\0045'",
    "SELECT id, name FROM customers WHERE region = 'DE' COLLATE \"C\"",
    "SELECT id, name FROM customers WHERE region = 'DE' AND true OR false",
    "SELECT id, name FROM customers WHERE region = 'DE' AND false OR true",
    "SELECT id, name FROM customers WHERE (region, id) = ('DE', 1)",
    "SELECT id, name FROM customers WHERE region = 'DE' = true",
    "SELECT id, name FROM customers WHERE region IN ('DE')",
    "SELECT id, name FROM customers WHERE region LIKE 'DE'",
    "SELECT id, name FROM customers WHERE region IS NOT DISTINCT FROM 'DE'",
    "SELECT id, name FROM customers WHERE region = 'DE' AND region = 'US'",
    "SELECT id, name FROM customers WHERE region = 'DE' AND region = 'FR'",
    "SELECT id, name FROM ONLY customers WHERE region = 'DE'",
    "SELECT id, name FROM customers * WHERE region = 'DE'",
    "SELECT count(*) FROM customers c LEFT JOIN orders o ON o.region = 'DE' WHERE c.region = 'DE'",
    "SELECT k.code, c.name FROM countries k LEFT JOIN customers c ON c.region = 'DE'",
    "SELECT k.code, c.name FROM countries k LEFT JOIN customers c ON c.region = k.code AND c.region = 'DE'",
    "SELECT c.name FROM customers c RIGHT JOIN countries k ON c.region = 'DE'",
    "SELECT c.name, o.amount FROM customers c JOIN orders o USING (region, id) WHERE region = 'DE'",
    "SELECT c.name, o.amount FROM customers c NATURAL JOIN orders o WHERE c.region = 'DE'",
    "SELECT c.name, o.amount FROM customers c JOIN orders o ON o.region = c.region AND o.id = c.id WHERE c.region = 'DE'",
    "SELECT name, (SELECT max(amount) FROM orders) FROM customers WHERE region = 'DE'",
    "SELECT name, (SELECT max(amount) FROM orders o WHERE o.region = 'DE') FROM customers WHERE region = 'DE'",
    "SELECT name FROM customers c WHERE region = 'DE' AND EXISTS (SELECT FROM orders o WHERE o.region = c.region)",
    "SELECT name FROM customers c WHERE EXISTS (SELECT FROM orders o WHERE c.region = 'DE' AND o.region = 'DE')",
    "SELECT name FROM customers c WHERE NOT EXISTS (SELECT FROM orders o WHERE c.region = 'DE' AND o.region = 'DE')",
    "SELECT count(*) FROM orders WHERE region = 'DE' AND customer > (SELECT min(id) FROM customers WHERE region = 'US')",
    "WITH c AS (SELECT * FROM customers WHERE region = 'DE') SELECT name FROM c",
    "WITH c AS (SELECT * FROM customers) SELECT name FROM c WHERE region = 'DE'",
    "WITH customers AS (SELECT 'US' AS region, 'Nobody' AS name) SELECT name FROM customers WHERE region = 'DE'",
    "WITH customers AS (SELECT 'US' AS region) SELECT * FROM customers",
    "WITH c AS (SELECT * FROM customers WHERE region = 'DE'), o AS (SELECT * FROM orders WHERE region = 'DE') SELECT c.name, o.amount FROM c, o",
    "SELECT name FROM (SELECT * FROM customers WHERE region = 'DE') x",
    "SELECT name FROM (SELECT * FROM customers) x WHERE region = 'DE'",
    "SELECT name FROM (SELECT name, 'DE' AS region FROM customers) x WHERE x.region = 'DE'",
    "SELECT name FROM customers AS orders WHERE orders.region = 'DE'",
    "SELECT name FROM customers AS c (a, b, c) WHERE b = 'DE'",
    "SELECT c.a FROM customers AS c (region, a, b) WHERE c.region = 1",
    "SELECT c.id FROM customers AS c (region, id, x), LATERAL (SELECT c.id AS key) l WHERE l.key = 'DE'",
    "SELECT name FROM customers, LATERAL (SELECT region = 'DE' AS german) l WHERE german",
    "SELECT region FROM customers ORDER BY region = 'DE', id",
    "SELECT count(*) FILTER (WHERE region = 'DE') FROM customers",
    "SELECT max(name) OVER (PARTITION BY region = 'DE') FROM customers",
    "SELECT code FROM countries",
    "SELECT code, (SELECT count(*) FROM countries) FROM countries WHERE code = 'DE'",
    "SELECT code FROM countries EXCEPT SELECT region FROM customers",
    "SELECT code FROM countries EXCEPT SELECT region FROM customers WHERE region = 'DE'",
    "SELECT name FROM customers WHERE region = 'DE' INTERSECT SELECT name FROM customers WHERE region = 'FR'",
    "SELECT name FROM tenants WHERE id = 3",
    "SELECT name FROM tenants WHERE id = +3",
    "SELECT name FROM tenants WHERE id = - 4",
    "SELECT name FROM tenants WHERE id = 0x3",
    "SELECT name FROM tenants WHERE id = 1 + 2",
    "SELECT name FROM tenants WHERE id = 3::int",
    "SELECT name FROM tenants WHERE id = 3e0",
    "SELECT name FROM tenants WHERE id = ' 3 '",
    "SELECT name FROM tenants WHERE -id = 4",
    "SELECT title FROM documents WHERE owner = '{a0eebc999c0b4ef8bb6d6bb9bd380a11}'",
    "SELECT name, active FROM flags",
    "SELECT f.name, k.code FROM flags f, countries k",
    "SELECT name FROM customers WHERE region = 'DE' AND id IN (SELECT customer FROM orders WHERE region = 'DE')",
    "SELECT ts_stat('SELECT to_tsvector(name) FROM customers')::text",
    "SELECT name FROM tenants WHERE id = -4",
    "TABLE customers",
    "VALUES (1), (2)",
    "SELECT generate_series(1, 3)",
    "SELECT sum(n) FROM generate_series(1, 10) n",
    "SELECT query_to_xml('SELECT count(*) FROM customers', false, false, '')::text",
    "SELECT (xpath('/table/row/count/text()', table_to_xml('customers', false, false, '')))::text",
];

pub(crate) async fn whole_or_not_at_all(world: &World, sql: &str) -> Outcome {
    let mut client = world.client().await?;
    let mut whole = world.direct(world.us.primary(), "whole").await?;
    let (found, expected) = (client.query(sql).await?, whole.query(sql).await?);
    match (first_error(&found), first_error(&expected)) {
        (Some(error), _) if error.code == "0A000" && error.hint.is_some() => return Ok(()),
        (Some(error), Some(same)) if error.code == same.code => return Ok(()),
        (Some(error), _) => return Err(format!("{error:?}").into()),
        (None, Some(error)) => return Err(format!("answered {found:?}, not {error:?}").into()),
        (None, None) => {}
    }
    let sorted = |frames: &[Frame]| {
        let mut rows = rows(frames);
        rows.sort();
        rows
    };
    let (found, expected) = (sorted(&found), sorted(&expected));
    ensure(found == expected, || format!("{found:?}, not {expected:?}"))
}

pub(crate) async fn same_bytes(world: &World) -> Outcome {
    for (sql, node) in [
        ("SELECT * FROM customers WHERE region = 'DE' ORDER BY id", world.eu.replica(0)),
        (
            "SELECT region, sum(amount), avg(amount) FROM orders WHERE region = 'US' GROUP BY region",
            world.us.replica(0),
        ),
        ("SELECT * FROM countries ORDER BY code", world.us.replica(0)),
        ("SELECT nothing FROM customers WHERE region = 'DE'", world.eu.replica(0)),
        ("UPDATE customers SET name = 'Dora' WHERE region = 'DE' AND id = 1 RETURNING *", world.eu.primary()),
        ("INSERT INTO customers (id, region) VALUES (1, 'US')", world.us.primary()),
    ] {
        let (mut client, mut direct) = (world.client().await?, world.direct(node, "saas").await?);
        let (found, expected) = (client.query(sql).await?, direct.query(sql).await?);
        ensure(found == expected, || format!("{sql}: {found:?}, not {expected:?}"))?;
        let script = Script::new().run(sql, &[]).sync();
        let (found, expected) = (client.run(&script).await?, direct.run(&script).await?);
        ensure(found == expected, || format!("{sql}, extended: {found:?}, not {expected:?}"))?;
    }
    Ok(())
}
