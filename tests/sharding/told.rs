//! Shards that somebody has said: a hint, a setting, the startup packet, a default.

use pgweir_tests::{Outcome, eventually};
use testkit::{Script, first_error, rows};

use crate::world::{MARK, World, ensure, is_refused, refused, route};

pub(crate) async fn hints(world: &World) -> Outcome {
    let mut client = world.client().await?;
    for (sql, place) in [
        ("/* pgweir: shard=eu */ SELECT count(*) FROM customers", "eu replica eu-2"),
        ("/* pgweir: shard=us role=primary */ SELECT count(*) FROM customers", "us primary us-1"),
        ("/* pgweir: shard=eu */ SELECT * FROM german_customers", "eu replica eu-2"),
        ("/* pgweir: shard=eu role=replica */ SELECT count_customers()", "eu replica eu-2"),
        ("/* pgweir: shard=us */ CREATE TABLE by_hint (n int)", "us primary us-1"),
        ("/* pgweir: shard=us */ DROP TABLE by_hint", "us primary us-1"),
        ("/* pgweir: shard=eu */ UPDATE countries SET name = name", "eu primary eu-1"),
    ] {
        client.rows(sql).await.map_err(|error| format!("{sql}: {error}"))?;
        let went = route(&mut client).await?;
        ensure(went == place, || format!("{sql}: {went}"))?;
    }
    for (hint, detail) in [
        ("shard=moon", "doesn't have"),
        ("key=DE", "exactly one sharding scheme"),
        ("colour=red", "colour=red"),
    ] {
        let frames = client.query(&format!("/* pgweir: {hint} */ SELECT 1{MARK}")).await?;
        is_refused(&frames, "22023", detail).map_err(|wrong| format!("{hint}: {wrong}"))?;
    }
    let frames = client
        .run(&Script::new().run("/* pgweir: shard=eu */ SELECT count(*) FROM orders", &[]).sync())
        .await?;
    ensure(rows(&frames) == [[Some("3".to_owned())]], || format!("{frames:?}"))
}

pub(crate) async fn set_shard(world: &World) -> Outcome {
    let mut client = world.client().await?;
    client.rows("SET pgweir.shard = 'eu'").await?;
    let shown = client.value("SHOW pgweir.shard").await?;
    ensure(shown == "eu", || shown.clone())?;
    let names = client
        .rows("SELECT name FROM customers ORDER BY id")
        .await?
        .into_iter()
        .flatten()
        .flatten()
        .collect::<Vec<_>>();
    ensure(names == ["Dora", "Emil", "Fleur"], || format!("{names:?}"))?;
    client.rows("SET pgweir.shard TO us").await?;
    let count = client.value("/* pgweir: shard=eu */ SELECT sum(amount) FROM orders").await?;
    ensure(count == "600", || format!("the hint is stronger: {count}"))?;
    let count = client.value("SELECT sum(amount) FROM orders").await?;
    ensure(count == "60", || count.clone())?;
    let frames = client.query("SET pgweir.shard = moon").await?;
    ensure(first_error(&frames).is_some_and(|error| error.code == "22023"), || format!("{frames:?}"))?;
    client.rows("RESET pgweir.shard").await?;
    refused(&mut client, "SELECT sum(amount) FROM orders", "doesn't say its value").await?;
    let mut by_options =
        world.pgweir.client("app", "saas").parameter("options", "-c pgweir.shard=eu").connect().await?;
    let count = by_options.value("SELECT sum(amount) FROM orders").await?;
    ensure(count == "600", || format!("by the startup packet: {count}"))
}

pub(crate) async fn defaulted(world: &World) -> Outcome {
    let mut client = world.of("defaulted").await?;
    for (sql, node) in [
        ("SELECT inet_server_port() FROM customers WHERE region = 'FR'", "eu-2"),
        ("SELECT inet_server_port() FROM customers WHERE region = 'CA'", "us-2"),
        ("/* pgweir: key=US */ SELECT inet_server_port() FROM customers", "us-2"),
        ("/* pgweir: key=anything */ SELECT inet_server_port() FROM customers", "eu-2"),
    ] {
        // While the catalog is being read, for the DDL before, reads go to the primary.
        let ask =
            async || client.value(sql).await.map(|port| world.node(&port)).map_err(|error| error.to_string());
        eventually(sql, ask, |answered| answered.as_deref() == Ok(node)).await?.map(drop)?;
    }
    let contradiction = client.query("/* pgweir: key=US shard=eu */ SELECT 1").await?;
    is_refused(&contradiction, "22023", "shard is \"eu\"")
}
