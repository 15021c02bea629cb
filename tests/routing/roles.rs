//! Roles that somebody has said: a session, its startup packet, a listener, a database.

use pgweir_tests::Outcome;
use testkit::{Client, Script, first_error, rows, tags};

use crate::world::{World, ensure, refused, route};

pub(crate) async fn set_role(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let ask = "SELECT inet_server_port()";
    let shown = client.value("SHOW pgweir.role").await?;
    ensure(shown == "auto", || shown.clone())?;
    let set = client.query("SET pgweir.role = primary").await?;
    ensure(tags(&set) == "CZ" && set[0].command_tag().as_deref() == Some("SET"), || format!("{set:?}"))?;
    let (shown, node) = (client.value("SHOW pgweir.role").await?, world.answered(&mut client, ask).await?);
    ensure(shown == "primary" && node == "us-1", || format!("primary: {shown}, {node}"))?;
    let said = route(&mut client).await?;
    ensure(said.reason.contains("pgweir.role is primary"), || said.reason.clone())?;
    client.rows("SET SESSION pgweir.role TO 'replica'").await?;
    let node = world.answered(&mut client, &format!("{ask}, twice(1)")).await?;
    ensure(node != "us-1", || format!("replica: {node}"))?;
    refused(&mut client, "INSERT INTO log (what) VALUES ('never')", "25006").await?;
    let node = world.answered(&mut client, &format!("/* pgweir: role=primary */ {ask}")).await?;
    ensure(node == "us-1", || "a hint is stronger than SET".into())?;
    for (reset, set) in [
        ("RESET pgweir.role", "replica"),
        ("SET pgweir.role TO DEFAULT", "primary"),
        ("SET pgweir.role = auto", "primary"),
        ("DISCARD ALL", "primary"),
        ("RESET ALL", "primary"),
    ] {
        client.rows(&format!("SET pgweir.role = {set}")).await?;
        client.rows(reset).await?;
        let shown = client.value("SHOW pgweir.role").await?;
        ensure(shown == "auto", || format!("{reset}: {shown}"))?;
    }
    let (read, write) = (world.answered(&mut client, ask).await?, format!("{ask} FROM t FOR UPDATE"));
    let write = world.answered(&mut client, &write).await?;
    ensure(read != "us-1" && write == "us-1", || format!("auto again: {read}, {write}"))?;
    // It is the session's alone.
    client.rows("SET pgweir.role = primary").await?;
    let other = world.client().await?.value("SHOW pgweir.role").await?;
    ensure(other == "auto", || format!("another session has {other}"))
}

pub(crate) async fn set_role_extended(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let set = Script::new().run("SET pgweir.role = primary", &[]).sync();
    let frames = client.run(&set).await?;
    ensure(tags(&frames) == "12nCZ", || format!("{frames:?}"))?;
    let show = Script::new()
        .parse("s", "SHOW pgweir.role", &[])
        .describe_statement("s")
        .bind("", "s", &[])
        .execute("", 0)
        .sync();
    let frames = client.run(&show).await?;
    ensure(tags(&frames) == "1tT2DCZ", || format!("{frames:?}"))?;
    ensure(rows(&frames) == [[Some("primary".to_owned())]], || format!("{frames:?}"))?;
    let wrong = Script::new().run("SET pgweir.role = moon", &[]).run("SELECT 1", &[]).sync();
    let frames = client.run(&wrong).await?;
    ensure(
        tags(&frames).ends_with("EZ") && first_error(&frames).is_some_and(|error| error.code == "22023"),
        || format!("{frames:?}"),
    )?;
    let value = client.value("SHOW pgweir.role").await?;
    ensure(value == "primary", || value.clone())
}

pub(crate) async fn set_wrongly(world: &World) -> Outcome {
    let mut client = world.client().await?;
    refused(&mut client, "SET pgweir.role = moon", "22023").await?;
    refused(&mut client, "SET pgweir.shard = eu", "22023").await?;
    refused(&mut client, "SET pgweir.colour = red", "42704").await?;
    refused(&mut client, "SHOW pgweir.colour", "42704").await?;
    let shown = client.value("SHOW pgweir.role").await?;
    ensure(shown == "auto", || shown.clone())?;
    // In a transaction it fails the transaction.
    for first in ["", "SELECT 1", "SELECT 1 FROM t FOR UPDATE"] {
        client.rows("BEGIN").await?;
        client.rows(first).await?;
        refused(&mut client, "SET pgweir.role = moon", "22023").await?;
        refused(&mut client, "SELECT 1", "25P02").await?;
        client.rows("ROLLBACK").await?;
    }
    client.rows("SELECT 1").await.map(drop).map_err(Into::into)
}

pub(crate) async fn startup_role(world: &World) -> Outcome {
    let ask = "SELECT inet_server_port(), twice(1)";
    for (name, value) in [
        ("options", "-c pgweir.role=replica"),
        ("options", "-c work_mem=1MB --pgweir.role=replica"),
        ("pgweir.role", "replica"),
    ] {
        let mut client = world.options("app").parameter(name, value).connect().await?;
        let node = world.answered(&mut client, ask).await?;
        ensure(node != "us-1", || format!("{value}: {node}"))?;
        let said = route(&mut client).await?;
        ensure(said.reason.contains("by the startup packet"), || said.reason.clone())?;
        client.rows("SET pgweir.role = primary").await?;
        client.rows("RESET pgweir.role").await?;
        let shown = client.value("SHOW pgweir.role").await?;
        ensure(shown == "replica", || format!("after RESET: {shown}"))?;
    }
    let refused = world.options("app").parameter("options", "-c pgweir.role=moon").connect().await;
    match refused {
        Err(testkit::Error::Server(error)) if error.code == "22023" && error.severity == "FATAL" => Ok(()),
        other => Err(format!("pgweir.role=moon: {other:?}").into()),
    }
}

pub(crate) async fn listener_role(world: &World) -> Outcome {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], world.replicas_port));
    let mut client = Client::to(address).user("app", "secret").database("app").connect().await?;
    let node = world.answered(&mut client, "SELECT inet_server_port(), twice(1)").await?;
    ensure(node != "us-1", || node.clone())?;
    let said = route(&mut client).await?;
    ensure(said.reason.contains("listener with role replica"), || said.reason.clone())?;
    refused(&mut client, "INSERT INTO log (what) VALUES ('never')", "25006").await?;
    client.rows("SET pgweir.role = auto").await?;
    let node = world
        .answered(&mut client, "INSERT INTO log (what) VALUES ('x') RETURNING inet_server_port()")
        .await?;
    ensure(node == "us-1", || format!("SET is stronger than the listener: {node}"))?;
    client.rows("RESET pgweir.role").await?;
    let shown = client.value("SHOW pgweir.role").await?;
    ensure(shown == "replica", || format!("RESET goes back to the listener's: {shown}"))
}

pub(crate) async fn database_roles(world: &World) -> Outcome {
    let mut primary = world.of("primary_only").await?;
    let node = world.answered(&mut primary, "SELECT inet_server_port()").await?;
    let said = route(&mut primary).await?;
    ensure(node == "us-1" && said.reason.contains("the database's route.role is primary"), || {
        format!("{node}: {said:?}")
    })?;
    let mut replica = world.of("replica_only").await?;
    let node = world.answered(&mut replica, "SELECT inet_server_port(), twice(2)").await?;
    ensure(node != "us-1", || format!("role: replica: {node}"))?;
    refused(&mut replica, "INSERT INTO log (what) VALUES ('never')", "25006").await
}

pub(crate) async fn observing(world: &World) -> Outcome {
    let mut client = world.of("observing").await?;
    let node = world.answered(&mut client, "SELECT inet_server_port()").await?;
    let said = route(&mut client).await?;
    ensure(node == "us-1" && said.reason.contains("would go to the replica"), || {
        format!("{node}: {said:?}")
    })?;
    client.rows("INSERT INTO log (what) VALUES ('observed')").await?;
    let said = route(&mut client).await?;
    ensure(said.role == "primary" && said.reason.contains("would go to the primary"), || {
        format!("{said:?}")
    })?;
    client.rows("BEGIN READ ONLY").await?;
    let node = world.answered(&mut client, "SELECT inet_server_port()").await?;
    client.rows("COMMIT").await?;
    ensure(node == "us-1", || format!("READ ONLY: {node}"))
}
