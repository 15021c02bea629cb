//! Keys that are bound.

use pgweir_tests::Outcome;
use testkit::{Script, rows, tags};

use crate::world::{MARK, World, ensure, is_refused};

/// Text, key type's oid, format and bytes, and the shard.
pub(crate) type Parameter = (&'static str, u32, u16, &'static [u8], &'static str);

pub(crate) async fn key_is_a_parameter(world: &World) -> Outcome {
    const UUID: [u8; 16] =
        [0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0x0a, 0x11];
    let customers = "SELECT inet_server_port(), $1 FROM customers WHERE region = $1 LIMIT 1";
    let tenants = "SELECT inet_server_port() FROM tenants WHERE id = $1";
    let documents = "SELECT inet_server_port() FROM documents WHERE owner = $1";
    let parameters: &[Parameter] = &[
        (customers, 0, 0, b"DE", "eu-2"),
        (customers, 25, 0, b"US", "us-2"),
        (customers, 25, 1, b"FR", "eu-2"),
        (customers, 1043, 0, b"CA", "us-2"),
        (tenants, 0, 0, b"3", "eu-2"),
        (tenants, 20, 0, b"-4", "eu-2"),
        (tenants, 20, 1, &[0, 0, 0, 0, 0, 0, 0, 2], "us-2"),
        (tenants, 20, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc], "eu-2"),
        (tenants, 0, 1, &[0, 0, 0, 0, 0, 0, 0, 3], "eu-2"),
        (tenants, 23, 1, &[0, 0, 0, 3], "eu-2"),
        (tenants, 23, 0, b"1", "us-2"),
        (tenants, 21, 1, &[0, 1], "us-2"),
        (documents, 0, 0, b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "eu-2"),
        (documents, 2950, 1, &UUID, "eu-2"),
        (documents, 2950, 0, b"00000000000000000000000000000001", "us-2"),
    ];
    let mut client = world.client().await?;
    for (sql, oid, format, bytes, expected) in parameters {
        let types: Vec<u32> = Some(*oid).filter(|oid| *oid != 0).into_iter().collect();
        let script = Script::new()
            .parse("", sql, &types)
            .bind_as("", "", &[*format], &[Some(bytes)], &[])
            .execute("", 0)
            .sync();
        let what = format!("{sql} with {bytes:?} of type {oid}");
        let frames = client.run(&script).await?;
        ensure(tags(&frames) == "12DCZ", || format!("{what}: {frames:?}"))?;
        let node = world.node(rows(&frames)[0][0].as_deref().unwrap_or_default());
        ensure(node == *expected, || format!("{what}: {node}"))?;
    }
    // The second of two, and in an INSERT.
    let insert = "INSERT INTO customers (name, region, id) VALUES ($1, $2, 30), ('Hans', 'DE', 31) RETURNING inet_server_port()";
    let frames = client.run(&Script::new().run(insert, &[Some("US"), Some("FR")]).sync()).await?;
    ensure(tags(&frames) == "12TDDCZ", || format!("{frames:?}"))?;
    let kept = world.on_both("DELETE FROM customers WHERE id IN (30, 31) RETURNING region")?;
    ensure(kept[0].is_empty() && kept[1].lines().count() == 2, || format!("{kept:?}"))
}

pub(crate) async fn parameter_says_no_shard(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let customers = format!("SELECT * FROM customers WHERE region = $1{MARK}");
    let insert = format!("INSERT INTO customers (id, region) VALUES (40, $1), (41, $2){MARK}");
    let tenants = format!("SELECT * FROM tenants WHERE id = $1{MARK}");
    for (sql, values, detail) in [
        (&customers, &[None][..], "($1) is NULL"),
        (&customers, &[Some("XX")], "'XX' belongs to no shard"),
        (&tenants, &[Some("three")], "($1) is not surely an integer"),
        (&insert, &[Some("DE"), Some("US")], "shard"),
        (&insert, &[Some("DE"), None], "($2) is NULL"),
    ] {
        let frames = client.run(&Script::new().run(sql, values).run("SELECT 1", &[]).sync()).await?;
        ensure(tags(&frames).ends_with("EZ"), || format!("{sql}: {frames:?}"))?;
        is_refused(&frames, "0A000", detail).map_err(|wrong| format!("{sql}: {wrong}"))?;
    }
    // Text of a type that compares otherwise.
    let bpchar =
        Script::new().parse("", &customers, &[1042]).bind("", "", &[Some("DE")]).execute("", 0).sync();
    is_refused(&client.run(&bpchar).await?, "0A000", "not surely a text")
}

pub(crate) async fn prepared(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let sql = "SELECT inet_server_port(), name FROM customers WHERE region = $1 AND id = $2::int";
    let prepare = Script::new().parse("by_key", sql, &[]).describe_statement("by_key").sync();
    let frames = client.run(&prepare).await?;
    ensure(tags(&frames) == "1tTZ", || format!("{frames:?}"))?;
    for (region, id, node, name) in [
        ("US", "1", "us-2", "Ann"),
        ("DE", "1", "eu-2", "Dora"),
        ("FR", "3", "eu-2", "Fleur"),
        ("CA", "3", "us-2", "Cid"),
    ] {
        let frames = client
            .run(&Script::new().bind("", "by_key", &[Some(region), Some(id)]).execute("", 0).sync())
            .await?;
        ensure(tags(&frames) == "2DCZ", || format!("{region}: {frames:?}"))?;
        let row: Vec<_> = rows(&frames).remove(0).into_iter().flatten().collect();
        ensure(world.node(&row[0]) == node && row[1] == name, || format!("{region}: {row:?}"))?;
    }
    // And by a driver.
    let (client, connection) =
        tokio_postgres::connect(&world.pgweir.url("app", "saas"), tokio_postgres::NoTls).await?;
    let task = tokio::spawn(connection);
    let statement = client.prepare("SELECT name FROM tenants WHERE id = $1").await?;
    for (id, name) in [(1_i64, "one"), (3, "three"), (-4, "minus four"), (2, "two")] {
        let found: String = client.query_one(&statement, &[&id]).await?.get(0);
        ensure(found == name, || format!("{id}: {found}"))?;
    }
    drop(client);
    Ok(task.await??)
}
