//! Transactions and pipelines: what is sent together stays together.

use pgweir_tests::Outcome;
use testkit::{Frame, Script, first_error, rows, tags};

use crate::world::{World, ensure, refused, route};

pub(crate) async fn pipelines(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let port = "SELECT inet_server_port()";
    let node = |frames: &[Frame], row: usize| {
        let port = rows(frames).get(row).and_then(|row| row.first().cloned().flatten());
        world.node(&port.unwrap_or_default())
    };
    let reads = client.run(&Script::new().run(port, &[]).run(port, &[]).sync()).await?;
    ensure(tags(&reads) == "12TDC12TDCZ", || format!("{reads:?}"))?;
    ensure(node(&reads, 0) != "us-1" && node(&reads, 0) == node(&reads, 1), || format!("reads: {reads:?}"))?;
    let route_of_reads = route(&mut client).await?;
    ensure(route_of_reads.role == "replica", || format!("{route_of_reads:?}"))?;
    let insert = "INSERT INTO log (what) VALUES ('pipeline') RETURNING inet_server_port()";
    for script in [
        Script::new().run(port, &[]).run(insert, &[]).sync(),
        Script::new().run(insert, &[]).run(port, &[]).sync(),
        Script::new().run(port, &[]).run("SELECT inet_server_port() FROM t FOR UPDATE", &[]).sync(),
    ] {
        let frames = client.run(&script).await?;
        ensure(first_error(&frames).is_none(), || format!("{frames:?}"))?;
        ensure(node(&frames, 0) == "us-1" && node(&frames, 1) == "us-1", || format!("mixed: {frames:?}"))?;
    }
    // Each Sync ends what is judged together.
    let apart = Script::new().run(port, &[]).sync().run(insert, &[]).sync().run(port, &[]).sync();
    let frames = client.run(&apart).await?;
    let nodes = [0, 1, 2].map(|row| node(&frames, row));
    ensure(nodes[0] != "us-1" && nodes[1] == "us-1" && nodes[2] != "us-1", || format!("apart: {nodes:?}"))?;
    // So do several Querys.
    let queries = client.run(&Script::new().query(port).query(insert).query(port)).await?;
    let nodes = [0, 1, 2].map(|row| node(&queries, row));
    ensure(nodes[0] != "us-1" && nodes[1] == "us-1" && nodes[2] != "us-1", || format!("queries: {nodes:?}"))?;
    // What isn't whole can't be judged: the primary.
    client.send(Script::new().run(port, &[]).flush().bytes()).await?;
    let first = client.read_until("CommandComplete", |frame| frame.tag == b'C').await?;
    client.send(Script::new().run(insert, &[]).sync().bytes()).await?;
    let rest = client.read_until_ready().await?;
    ensure(first_error(&rest).is_none(), || format!("after Flush: {rest:?}"))?;
    ensure(node(&first, 0) == "us-1" && node(&rest, 0) == "us-1", || format!("Flush: {first:?} {rest:?}"))
}

pub(crate) async fn transactions_stay(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let script = [
        "BEGIN",
        "SELECT inet_server_port()",
        "INSERT INTO log (what) VALUES ('in') RETURNING inet_server_port()",
        "SELECT inet_server_port(), v FROM t",
        "SAVEPOINT a",
        "SELECT inet_server_port(), 1",
        "ROLLBACK TO a",
        "SELECT inet_server_port(), 2",
        "RELEASE a",
    ];
    let mut nodes = Vec::new();
    for sql in script {
        let frames = client.query(sql).await?;
        ensure(frames.last().and_then(Frame::status) == Some('T'), || format!("{sql}: {frames:?}"))?;
        nodes.extend(
            rows(&frames).into_iter().take(1).map(|row| world.node(&row[0].clone().unwrap_or_default())),
        );
    }
    let inside = route(&mut client).await?;
    ensure(inside.reason.contains("in a transaction on the primary"), || inside.reason.clone())?;
    client.rows("COMMIT").await?;
    ensure(nodes.len() == 5 && nodes.iter().all(|node| node == "us-1"), || format!("{nodes:?}"))?;
    let after = world.answered(&mut client, "SELECT inet_server_port()").await?;
    ensure(after != "us-1", || "afterwards it stays on the primary".into())?;
    // AND CHAIN goes on where it was.
    client.rows("BEGIN").await?;
    client.rows("SELECT 1").await?;
    client.rows("COMMIT AND CHAIN").await?;
    let chained = world.answered(&mut client, "SELECT inet_server_port()").await?;
    client.rows("ROLLBACK").await?;
    ensure(chained == "us-1", || format!("AND CHAIN: {chained}"))?;
    // The same by the extended protocol, and BEGIN in the pipeline.
    let begin = Script::new().run("BEGIN", &[]).run("SELECT inet_server_port()", &[]).sync();
    let frames = client.run(&begin).await?;
    let node = world.node(&rows(&frames)[0][0].clone().unwrap_or_default());
    ensure(node == "us-1" && frames.last().and_then(Frame::status) == Some('T'), || format!("{frames:?}"))?;
    let rest = Script::new().run("INSERT INTO log (what) VALUES ('ext')", &[]).run("COMMIT", &[]).sync();
    let frames = client.run(&rest).await?;
    ensure(tags(&frames) == "12nC12nCZ", || format!("{frames:?}"))?;
    ensure(frames.last().and_then(Frame::status) == Some('I'), || format!("{frames:?}"))
}

pub(crate) async fn read_only_transactions(world: &World) -> Outcome {
    let mut client = world.client().await?;
    for begin in [
        "BEGIN READ ONLY",
        "START TRANSACTION READ ONLY",
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    ] {
        client.rows(begin).await?;
        let first = world.answered(&mut client, "SELECT inet_server_port()").await?;
        let second = world.answered(&mut client, "SELECT inet_server_port(), v FROM t").await?;
        ensure(first != "us-1" && first == second, || format!("{begin}: {first}, then {second}"))?;
        refused(&mut client, "INSERT INTO log (what) VALUES ('never')", "25006").await?;
        refused(&mut client, "SELECT 1", "25P02").await?;
        client.rows("ROLLBACK").await?;
    }
    client.rows("BEGIN READ WRITE").await?;
    let node = world.answered(&mut client, "SELECT inet_server_port()").await?;
    client.rows("COMMIT").await?;
    ensure(node == "us-1", || format!("READ WRITE: {node}"))?;
    // A standby can't be SERIALIZABLE.
    client.rows("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY").await?;
    let node = world.answered(&mut client, "SELECT inet_server_port()").await?;
    client.rows("COMMIT").await?;
    ensure(node == "us-1", || format!("SERIALIZABLE READ ONLY: {node}"))?;
    let once = "BEGIN READ ONLY; SELECT inet_server_port(); COMMIT";
    let node = world.answered(&mut client, once).await?;
    ensure(node != "us-1", || format!("{once}: {node}"))?;
    let never = world.cluster.psql(0, "app", "SELECT count(*) FROM log WHERE what = 'never'")?;
    ensure(never == "0", || "a write in a READ ONLY transaction took place".into())
}

pub(crate) async fn begin_holds_no_server(world: &World) -> Outcome {
    let mut waiting = Vec::new();
    // More than the pool has connections.
    for _ in 0..10 {
        let mut client = world.client().await?;
        let frames = client.query("BEGIN").await?;
        ensure(tags(&frames) == "CZ" && frames[1].status() == Some('T'), || format!("{frames:?}"))?;
        waiting.push(client);
    }
    let idle =
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state = 'idle in transaction'";
    let held = || world.cluster.psql(0, "app", idle);
    ensure(held()? == "0", || "BEGIN alone holds a server connection".into())?;
    // BEGIN alone, ended.
    for (end, tag) in [("COMMIT", "COMMIT"), ("ROLLBACK", "ROLLBACK"), ("END", "COMMIT")] {
        let mut client = waiting.pop().ok_or("no client")?;
        let frames = client.query(end).await?;
        let found = frames.first().and_then(Frame::command_tag).unwrap_or_default();
        ensure(found == tag && frames.last().and_then(Frame::status) == Some('I'), || format!("{frames:?}"))?;
    }
    ensure(held()? == "0", || "an empty transaction reached a server".into())?;
    let client = waiting.last_mut().ok_or("no client")?;
    client.rows("INSERT INTO log (what) VALUES ('late')").await?;
    ensure(held()? == "1", || "its first statement begins it".into())?;
    let visible = || world.cluster.psql(0, "app", "SELECT count(*) FROM log WHERE what = 'late'");
    ensure(visible()? == "0", || "the BEGIN was lost: the INSERT is committed already".into())?;
    client.rows("COMMIT").await?;
    ensure(visible()? == "1" && held()? == "0", || "COMMIT".into())?;
    // BEGIN twice is a warning, as with a server.
    let frames = client.query("BEGIN").await?;
    ensure(tags(&frames) == "CZ", || format!("{frames:?}"))?;
    let frames = client.query("BEGIN").await?;
    let warned = frames.iter().find(|frame| frame.tag == b'N').and_then(Frame::server_error);
    ensure(warned.is_some_and(|warning| warning.code == "25001"), || format!("{frames:?}"))?;
    let frames = client.query("ROLLBACK").await?;
    ensure(frames.last().and_then(Frame::status) == Some('I'), || format!("{frames:?}"))
}

pub(crate) async fn begin_keeps_its_options(world: &World) -> Outcome {
    let mut client = world.client().await?;
    for (begin, isolation, read_only, deferrable) in [
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", "serializable", "off", "off"),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ", "repeatable read", "off", "off"),
        ("START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE", "serializable", "on", "on"),
        ("BEGIN WORK READ ONLY", "read committed", "on", "off"),
        ("/* with a comment */ BEGIN", "read committed", "off", "off"),
    ] {
        client.rows(begin).await?;
        let sql = "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'), current_setting('transaction_deferrable')";
        let found = client.rows(sql).await?.pop().unwrap_or_default();
        let found: Vec<_> = found.into_iter().flatten().collect();
        client.rows("ROLLBACK").await?;
        ensure(found == [isolation, read_only, deferrable], || format!("{begin}: {found:?}"))?;
    }
    client.rows("BEGIN").await?;
    client.rows("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await?;
    let found = client.value("SHOW transaction_isolation").await?;
    client.rows("COMMIT").await?;
    ensure(found == "serializable", || format!("SET TRANSACTION: {found}"))
}

pub(crate) async fn error_after_begin(world: &World) -> Outcome {
    let mut client = world.client().await?;
    for ending in ["ROLLBACK", "COMMIT"] {
        client.rows("BEGIN").await?;
        let frames = client.query("SELECT 1/0").await?;
        ensure(first_error(&frames).is_some_and(|error| error.code == "22012"), || format!("{frames:?}"))?;
        ensure(frames.last().and_then(Frame::status) == Some('E'), || format!("{frames:?}"))?;
        refused(&mut client, "SELECT 1", "25P02").await?;
        let frames = client.query(ending).await?;
        let tag = frames.first().and_then(Frame::command_tag);
        ensure(
            tag.as_deref() == Some("ROLLBACK") && frames.last().and_then(Frame::status) == Some('I'),
            || format!("{frames:?}"),
        )?;
    }
    let value = client.value("SELECT 1").await?;
    ensure(value == "1", || value.clone())
}
