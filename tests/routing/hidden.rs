//! Writes that look like reads: a replica refuses them, the primary runs them, and it is remembered.

use std::error::Error;

use pgweir_tests::Outcome;
use testkit::{Script, rows, tags};

use crate::world::{World, ensure, route};

pub(crate) async fn hidden_write(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let sql = "SELECT inet_server_port(), n FROM next_ticket";
    let before = ticket(world)?;
    let frames = client.query(sql).await?;
    ensure(tags(&frames) == "TDCZ", || format!("more than the result is seen: {frames:?}"))?;
    let first = rows(&frames).pop().and_then(|row| row.into_iter().next().flatten()).unwrap_or_default();
    ensure(world.node(&first) == "us-1", || format!("answered by {}", world.node(&first)))?;
    let seen = route(&mut client).await?;
    ensure(seen.reason.contains("a replica has refused it"), || seen.reason.clone())?;
    // From now on it is known, to other clients too.
    let mut other = world.client().await?;
    let answered = world.answered(&mut other, sql).await?;
    ensure(answered == "us-1", || format!("then answered by {answered}"))?;
    ensure(ticket(world)? == before + 2, || "it was not run exactly once each time".into())
}

/// The last number that the sequence has given.
pub(crate) fn ticket(world: &World) -> Result<i64, Box<dyn Error>> {
    let primary = world.cluster.primary().index();
    Ok(world.cluster.psql(primary, "app", "SELECT last_value FROM tickets")?.parse()?)
}

pub(crate) async fn hidden_write_extended(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let before = ticket(world)?;
    let script = Script::new().run("SELECT $1::text, n FROM next_ticket_extended", &[Some("x")]).sync();
    for _ in 0..2 {
        let frames = client.run(&script).await?;
        ensure(tags(&frames) == "12TDCZ", || format!("{frames:?}"))?;
    }
    let route = route(&mut client).await?;
    ensure(route.reason.contains("a replica has refused it"), || route.reason.clone())?;
    ensure(ticket(world)? == before + 2, || "it was not run exactly once each time".into())
}

pub(crate) async fn hidden_write_in_a_pipeline(world: &World) -> Outcome {
    const BESIDE: &str = "SELECT inet_server_port(), 'beside a hidden write'";
    let mut client = world.client().await?;
    let before = ticket(world)?;
    let script = Script::new()
        .run("SELECT n FROM next_ticket_pipelined", &[])
        .run(BESIDE, &[])
        .run("SELECT 3", &[])
        .sync();
    let frames = client.run(&script).await?;
    ensure(tags(&frames) == "12TDC12TDC12TDCZ", || format!("{frames:?}"))?;
    let port = rows(&frames)[1][0].clone().unwrap_or_default();
    ensure(world.node(&port) == "us-1", || format!("the second was answered by {}", world.node(&port)))?;
    ensure(ticket(world)? == before + 1, || "it was not run exactly once".into())?;
    let after = world.answered(&mut client, BESIDE).await?;
    ensure(after != "us-1", || "what was beside it in the pipeline was learned as a write".into())
}

pub(crate) async fn hidden_write_prepared(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let before = ticket(world)?;
    let prepare = Script::new()
        .parse("hidden", "SELECT n FROM next_ticket_prepared", &[])
        .describe_statement("hidden")
        .sync();
    let frames = client.run(&prepare).await?;
    ensure(tags(&frames) == "1tTZ", || format!("{frames:?}"))?;
    let execute = Script::new().bind("", "hidden", &[]).execute("", 0).sync();
    for _ in 0..2 {
        let frames = client.run(&execute).await?;
        ensure(tags(&frames) == "2DCZ", || format!("{frames:?}"))?;
    }
    ensure(ticket(world)? == before + 2, || "it was not run exactly once each time".into())
}

/// A replica has no rows of it: it says so, and the primary is asked.
pub(crate) async fn unlogged_table(world: &World) -> Outcome {
    let mut client = world.client().await?;
    client.rows("INSERT INTO scratch VALUES (7)").await?;
    let value = client.value("SELECT n FROM scratch").await?;
    ensure(value == "7", || value.clone())?;
    let answered = world.answered(&mut client, "SELECT inet_server_port() FROM scratch").await?;
    ensure(answered == "us-1", || answered.clone())
}
