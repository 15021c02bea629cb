//! What a session carries with it, and hints.

use std::collections::BTreeMap;

use pgweir_tests::Outcome;
use testkit::{Script, first_error, rows};
use tokio::time::sleep;

use crate::spread::PAUSE;
use crate::world::{World, ensure, refused, route};

/// A session that has something on its connection finds it there, though its next statement only reads.
pub(crate) async fn tied_to_the_primary(world: &World) -> Outcome {
    let ask = "SELECT inet_server_port()";
    for (what, tie, sql, expected, free) in [
        (
            "a temporary table",
            "CREATE TEMP TABLE mine AS SELECT 5 AS n",
            "SELECT n FROM mine",
            "5",
            "DISCARD ALL",
        ),
        ("a cursor", "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 7; COMMIT", "FETCH c", "7", "CLOSE ALL"),
        ("an advisory lock", "SELECT pg_advisory_lock(8)", "SELECT pg_advisory_unlock(8)", "t", "SELECT 1"),
    ] {
        let mut client = world.client().await?;
        let tied = client.query(tie).await?;
        ensure(first_error(&tied).is_none(), || format!("{what}: {tied:?}"))?;
        let node = world.answered(&mut client, ask).await?;
        ensure(node == "us-1", || format!("{what}: then on {node}"))?;
        let found = client.value(sql).await.map_err(|error| format!("{what}: {error}"))?;
        ensure(found == expected, || format!("{what}: {found}"))?;
        client.rows(free).await?;
    }
    let mut listener = world.client().await?;
    listener.rows("LISTEN news").await?;
    listener.rows(ask).await?;
    world.client().await?.rows("NOTIFY news, 'fresh'").await?;
    let heard = listener.read_until("NotificationResponse", |frame| frame.tag == b'A').await?;
    let heard = heard.last().map(|frame| String::from_utf8_lossy(&frame.body[4..]).into_owned());
    ensure(heard.as_deref() == Some("news\0fresh\0"), || format!("{heard:?}"))
}

pub(crate) async fn settings_hold_on_each_node(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let mut other = world.client().await?;
    let ask = "SELECT inet_server_port(), current_setting('work_mem'), current_setting('application_name')";
    client.rows("SET work_mem = '5MB'").await?;
    client.rows("SET application_name = 'first'").await?;
    other.rows("SET application_name = 'second'").await?;
    let mut nodes = BTreeMap::<String, u32>::new();
    for _ in 0..20 {
        for (client, memory, name) in [(&mut client, "5MB", "first"), (&mut other, "4MB", "second")] {
            sleep(PAUSE).await;
            for sql in [ask.to_owned(), format!("/* pgweir: role=primary */ {ask}")] {
                let row: Vec<_> = client.rows(&sql).await?.remove(0).into_iter().flatten().collect();
                *nodes.entry(world.node(&row[0])).or_default() += 1;
                ensure(row[1..] == [memory, name], || format!("{name}: {row:?}"))?;
            }
        }
    }
    ensure(nodes.len() == 3, || format!("{nodes:?}"))
}

pub(crate) async fn hints(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let ask = "SELECT inet_server_port()";
    let node = world.answered(&mut client, &format!("/* pgweir: role=primary */ {ask}")).await?;
    ensure(node == "us-1", || format!("role=primary: {node}"))?;
    let said = route(&mut client).await?;
    ensure(said.reason.contains("hint role=primary"), || said.reason.clone())?;
    let node = world.answered(&mut client, &format!("/* pgweir: role=replica */ {ask}, twice(1)")).await?;
    ensure(node != "us-1", || format!("role=replica: {node}"))?;
    let node = world.answered(&mut client, &format!("{ask} /* pgweir: role=primary */")).await?;
    ensure(node != "us-1", || "a comment at the end counts as a hint".into())?;
    // Who says replica gets the replica's answer.
    refused(&mut client, "/* pgweir: role=replica */ INSERT INTO log (what) VALUES ('never')", "25006")
        .await?;
    refused(&mut client, "/* pgweir: role=replica */ SELECT n FROM next_ticket_hinted", "25006").await?;
    // On BEGIN it counts for the transaction.
    client.rows("/* pgweir: role=replica */ BEGIN").await?;
    let first = world.answered(&mut client, ask).await?;
    client.rows("COMMIT").await?;
    ensure(first != "us-1", || format!("hint on BEGIN: {first}"))?;
    for wrong in ["role=standby", "rule=primary", "role=", "primary"] {
        refused(&mut client, &format!("/* pgweir: {wrong} */ SELECT 1"), "22023").await?;
    }
    // A shard's name means nothing here, and does no harm.
    client.rows("/* pgweir: shard=eu */ SELECT 1").await?;
    let hinted = Script::new().run(&format!("/* pgweir: role=primary */ {ask}"), &[]).sync();
    let frames = client.run(&hinted).await?;
    let node = world.node(&rows(&frames)[0][0].clone().unwrap_or_default());
    ensure(node == "us-1", || format!("extended: {node}"))
}
