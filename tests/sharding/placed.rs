//! Statements that name their key, and the node that each must go to.

use pgweir_tests::Outcome;
use testkit::{first_error, rows};

use crate::world::{World, ensure, route};

/// Statements, and the shard, the role and the node that they go to. Those that read tell the node themselves.
pub(crate) const PLACED: &[(&str, &str)] = &[
    ("SELECT inet_server_port() FROM customers WHERE region = 'DE'", "eu replica eu-2"),
    ("SELECT inet_server_port() FROM customers WHERE region = 'US' -- this reaches one", "us replica us-2"),
    ("SELECT inet_server_port() FROM customers WHERE 'FR' = region AND id > 0", "eu replica eu-2"),
    (
        "SELECT inet_server_port() FROM public.customers AS c WHERE c.region = 'CA' ORDER BY id LIMIT 1",
        "us replica us-2",
    ),
    ("SELECT inet_server_port() FROM Customers WHERE REGION = E'D\\x45'", "eu replica eu-2"),
    (
        "SELECT inet_server_port() FROM customers WHERE region = 'DE' AND (id = 1 OR id = 2)",
        "eu replica eu-2",
    ),
    (
        "SELECT inet_server_port() FROM customers c JOIN orders o ON o.customer = c.id WHERE c.region = 'DE' AND o.region = 'DE'",
        "eu replica eu-2",
    ),
    (
        "SELECT inet_server_port() FROM customers c JOIN countries k ON k.code = c.region WHERE c.region = 'US'",
        "us replica us-2",
    ),
    ("SELECT inet_server_port() FROM tenants WHERE id = 3", "eu replica eu-2"),
    ("SELECT inet_server_port() FROM tenants WHERE id = '-4'", "eu replica eu-2"),
    ("SELECT inet_server_port() FROM tenants WHERE id = '2'", "us replica us-2"),
    (
        "SELECT inet_server_port() FROM documents WHERE owner = 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
        "eu replica eu-2",
    ),
    ("SELECT inet_server_port() FROM flags", "eu replica eu-2"),
    ("SELECT inet_server_port() FROM flags, customers AS c WHERE c.region = 'DE'", "eu replica eu-2"),
    ("SELECT inet_server_port() FROM customers WHERE region = 'DE' FOR UPDATE", "eu primary eu-1"),
    ("SELECT inet_server_port() FROM pg_class LIMIT 1", "us replica us-2"),
    (
        "INSERT INTO customers (id, region, name) VALUES (10, 'US', 'New') RETURNING inet_server_port()",
        "us primary us-1",
    ),
    (
        "INSERT INTO customers (region, id) VALUES ('DE', 10), ('FR', 11), ('DE', 12) RETURNING inet_server_port()",
        "eu primary eu-1",
    ),
    (
        "INSERT INTO customers AS c (region, id) VALUES ('DE', 10) ON CONFLICT (region, id) DO UPDATE SET name = 'Again' RETURNING inet_server_port()",
        "eu primary eu-1",
    ),
    (
        "UPDATE customers SET name = 'Other' WHERE region = 'DE' AND id = 10 RETURNING inet_server_port()",
        "eu primary eu-1",
    ),
    ("DELETE FROM customers WHERE region = 'US' AND id = 10 RETURNING inet_server_port()", "us primary us-1"),
    (
        "DELETE FROM customers WHERE id >= 10 AND region = 'DE' RETURNING inet_server_port()",
        "eu primary eu-1",
    ),
    (
        "DELETE FROM customers WHERE id >= 10 AND region = 'FR' RETURNING inet_server_port()",
        "eu primary eu-1",
    ),
    ("UPDATE flags SET active = active RETURNING inet_server_port()", "eu primary eu-1"),
    (
        "SELECT inet_server_port() FROM customers WHERE region = 'DE'; SELECT 1; SELECT 2 FROM orders WHERE region = 'FR'",
        "eu replica eu-2",
    ),
    ("EXPLAIN SELECT * FROM customers WHERE region = 'DE'", "eu replica eu-2"),
    ("/* pgweir: shard=eu */ COPY (SELECT inet_server_port() FROM customers) TO STDOUT", "eu replica eu-2"),
];

pub(crate) async fn placed(world: &World, sql: &str, place: &str) -> Outcome {
    let mut client = world.client().await?;
    let frames = client.query(sql).await?;
    if let Some(error) = first_error(&frames) {
        return Err(format!("{error:?}").into());
    }
    let went = route(&mut client).await?;
    ensure(went == place, || format!("went to {went}, not {place}"))?;
    let copied = frames
        .iter()
        .find(|frame| frame.tag == b'd')
        .map(|frame| String::from_utf8_lossy(&frame.body).trim_end().to_owned());
    if sql.contains("inet_server_port()") {
        let answered = rows(&frames).into_iter().find_map(|row| row.into_iter().next().flatten());
        let node = world.node(&copied.or(answered).ok_or("no row")?);
        ensure(place.ends_with(&node), || format!("answered by {node}, not {place}"))?;
    }
    Ok(())
}
