//! Transactions and pipelines: on one shard, or refused.

use std::error::Error;

use pgweir_tests::Outcome;
use testkit::{Frame, Script, first_error, rows, tags};

use crate::world::{MARK, World, ensure, is_refused, refused, route};

/// How many transactions are open on the primaries.
pub(crate) fn open_transactions(world: &World) -> Result<[String; 2], Box<dyn Error>> {
    world.on_both(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state LIKE 'idle in transaction%'",
    )
}

pub(crate) async fn transaction(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let frames = client.query("BEGIN").await?;
    ensure(tags(&frames) == "CZ" && frames[1].status() == Some('T'), || format!("{frames:?}"))?;
    let open = open_transactions(world)?;
    ensure(open == ["0", "0"], || format!("before its first statement: {open:?}"))?;
    client.rows("INSERT INTO customers (id, region, name) VALUES (50, 'DE', 'Inside')").await?;
    let open = open_transactions(world)?;
    ensure(open == ["0", "1"], || format!("{open:?}"))?;
    for (sql, expected) in [
        ("SELECT name FROM customers WHERE region = 'DE' AND id = 50", "Inside"),
        ("SELECT name FROM countries WHERE code = 'US'", "United States"),
        ("SELECT active FROM flags", "t"),
        ("SELECT 7", "7"),
        ("SELECT relname FROM pg_class WHERE relname = 'customers'", "customers"),
    ] {
        let found = client.value(sql).await?;
        ensure(found == expected, || format!("{sql}: {found}"))?;
        let went = route(&mut client).await?;
        ensure(went == "eu primary eu-1", || format!("{sql}: {went}"))?;
    }
    client.rows("ROLLBACK").await?;
    let kept = world.eu.psql(0, "saas", "SELECT count(*) FROM customers WHERE id = 50")?;
    ensure(kept == "0", || "ROLLBACK didn't reach the shard".into())?;
    client.rows("BEGIN READ ONLY").await?;
    let node = world.node(&client.value("SELECT inet_server_port() FROM orders WHERE region = 'CA'").await?);
    client.rows("COMMIT").await?;
    ensure(node == "us-2", || format!("READ ONLY: {node}"))?;
    client.rows("/* pgweir: shard=us */ BEGIN").await?;
    let count = client.value("SELECT count(*) FROM countries").await?;
    let went = route(&mut client).await?;
    client.rows("COMMIT").await?;
    ensure(count == "4" && went == "us primary us-1", || format!("hint on BEGIN: {count}, {went}"))
}

pub(crate) async fn second_shard(world: &World) -> Outcome {
    let mut client = world.client().await?;
    for extended in [false, true] {
        client.rows("BEGIN").await?;
        client.rows("INSERT INTO customers (id, region, name) VALUES (60, 'DE', 'Half')").await?;
        let sql = format!("UPDATE customers SET name = 'Half' WHERE region = 'US'{MARK}");
        let frames = match extended {
            false => client.query(&sql).await?,
            true => client.run(&Script::new().run(&sql, &[]).sync()).await?,
        };
        is_refused(&frames, "0A000", "open on shard \"eu\"; this statement belongs to shard \"us\"")?;
        ensure(frames.last().and_then(Frame::status) == Some('E'), || format!("{frames:?}"))?;
        for sql in ["SELECT name FROM customers WHERE region = 'DE'", "SELECT 1"] {
            let frames = client.query(sql).await?;
            ensure(first_error(&frames).is_some_and(|error| error.code == "25P02"), || {
                format!("{frames:?}")
            })?;
        }
        // COMMIT of what has failed is a ROLLBACK.
        let end = if extended { "COMMIT" } else { "ROLLBACK" };
        let frames = client.query(end).await?;
        let tag = frames.first().and_then(Frame::command_tag);
        ensure(tag.as_deref() == Some("ROLLBACK"), || format!("{frames:?}"))?;
        ensure(frames.last().and_then(Frame::status) == Some('I'), || format!("{frames:?}"))?;
    }
    // A savepoint saves it.
    client.rows("BEGIN").await?;
    client.rows("INSERT INTO customers (id, region, name) VALUES (61, 'DE', 'Saved')").await?;
    client.rows("SAVEPOINT a").await?;
    refused(&mut client, "SELECT * FROM customers WHERE region = 'US'", "open on shard").await?;
    client.rows("ROLLBACK TO a").await?;
    client.rows("COMMIT").await?;
    let kept = world.on_both("DELETE FROM customers WHERE id >= 60 RETURNING name")?;
    ensure(kept == ["", "Saved"], || format!("{kept:?}"))?;
    let open = open_transactions(world)?;
    ensure(open == ["0", "0"], || format!("{open:?}"))
}

pub(crate) async fn refused_first(world: &World) -> Outcome {
    let mut client = world.client().await?;
    client.rows("BEGIN").await?;
    let frames = client.query(&format!("SELECT * FROM customers{MARK}")).await?;
    is_refused(&frames, "0A000", "doesn't say its value")?;
    ensure(frames.last().and_then(Frame::status) == Some('E'), || format!("{frames:?}"))?;
    let frames = client.query("SELECT 1").await?;
    ensure(first_error(&frames).is_some_and(|error| error.code == "25P02"), || format!("{frames:?}"))?;
    let frames = client.query("COMMIT").await?;
    let tag = frames.first().and_then(Frame::command_tag);
    ensure(tag.as_deref() == Some("ROLLBACK") && frames.last().and_then(Frame::status) == Some('I'), || {
        format!("{frames:?}")
    })?;
    let found = client.value("SELECT name FROM customers WHERE region = 'DE' AND id = 1").await?;
    ensure(found == "Dora", || found.clone())
}

pub(crate) async fn pipelines(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let one = Script::new()
        .run("SELECT name FROM customers WHERE region = $1 AND id = 1", &[Some("DE")])
        .run("SELECT sum(amount) FROM orders WHERE region = 'FR'", &[])
        .run("SELECT 1", &[])
        .sync();
    let frames = client.run(&one).await?;
    let found: Vec<_> = rows(&frames).into_iter().flatten().flatten().collect();
    ensure(found == ["Dora", "300", "1"], || format!("{frames:?}"))?;
    let went = route(&mut client).await?;
    ensure(went.starts_with("eu replica"), || went.clone())?;
    let two = Script::new()
        .run(&format!("INSERT INTO customers (id, region) VALUES (70, 'DE'){MARK}"), &[])
        .run(&format!("INSERT INTO customers (id, region) VALUES (70, 'US'){MARK}"), &[])
        .sync();
    is_refused(&client.run(&two).await?, "0A000", "shard \"eu\", another to shard \"us\"")?;
    // Each Sync is a transaction of its own, and may go elsewhere.
    let apart = Script::new()
        .run("SELECT name FROM customers WHERE region = 'DE' AND id = 1", &[])
        .sync()
        .run("SELECT name FROM customers WHERE region = 'US' AND id = 1", &[])
        .sync()
        .run(&format!("SELECT name FROM customers{MARK}"), &[])
        .sync()
        .run("SELECT name FROM customers WHERE region = 'FR'", &[])
        .sync();
    let frames = client.run(&apart).await?;
    let found: Vec<_> = rows(&frames).into_iter().flatten().flatten().collect();
    ensure(found == ["Dora", "Ann", "Fleur"] && tags(&frames).matches('Z').count() == 4, || {
        format!("{frames:?}")
    })?;
    let kept = world.on_both("SELECT count(*) FROM customers WHERE id = 70")?;
    ensure(kept == ["0", "0"], || format!("{kept:?}"))
}

pub(crate) async fn several_statements(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let text = "BEGIN; INSERT INTO customers (id, region) VALUES (95, 'DE'); UPDATE orders SET amount = amount WHERE region = 'FR'; COMMIT";
    let frames = client.query(text).await?;
    ensure(tags(&frames) == "CCCCZ", || format!("{frames:?}"))?;
    let kept = world.on_both("DELETE FROM customers WHERE id = 95 RETURNING region")?;
    ensure(kept == ["", "DE"], || format!("{kept:?}"))?;
    // A function by its oid says nothing of its tables.
    let frames = client.run(&Script::new().function_call(1299, &[])).await?;
    is_refused(&frames, "0A000", "")
}
