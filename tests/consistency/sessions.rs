//! The kinds of consistency, where each is said, and what becomes of reads that no replica may have.

use std::collections::BTreeSet;

use pgweir_tests::{Outcome, eventually};
use testkit::{Client, first_error};

use crate::world::{World, ensure};

const BEHIND: &str = "reads only, but no replica has caught up with what it must see";

async fn value(client: &mut Client, sql: &str) -> Result<i64, Box<dyn std::error::Error>> {
    Ok(client.value(sql).await?.parse()?)
}

/// While no replica replays: an eventual read is stale, so there is something to miss.
pub(crate) async fn each_kind(world: &World) -> Outcome {
    const READ: &str = "SELECT v FROM t WHERE id = 1";
    let (mut writer, mut reader) = (world.of("session").await?, world.client().await?);
    let (mut eventual, mut strong) = (world.of("eventual").await?, world.of("strong").await?);
    let mut session = world.of("session").await?;
    world.halt()?;
    let before = value(&mut session, READ).await?;
    writer.query("UPDATE t SET v = v + 1 WHERE id = 1").await?;
    let after = before + 1;
    let found = [
        ("eventual", value(&mut eventual, READ).await?, before),
        ("session, another's", value(&mut session, READ).await?, before),
        ("session, its own", value(&mut writer, READ).await?, after),
        ("database", value(&mut reader, READ).await?, after),
        ("strong", value(&mut strong, READ).await?, after),
    ];
    for (kind, found, expected) in found {
        ensure(found == expected, || format!("{kind}: {found}, not {expected}"))?;
    }
    for (client, kind) in [(&mut writer, "session"), (&mut reader, "database"), (&mut strong, "strong")] {
        let (role, reason) = world.route(client).await?;
        ensure(role == "primary" && reason == BEHIND, || format!("{kind}: {role}: {reason}"))?;
    }
    ensure(world.on_replica(&mut eventual).await?, || "an eventual read went to the primary".into())?;
    // What pgweir didn't acknowledge only a strong read must see.
    let mut other = world.of("patient").await?;
    world.cluster.psql(world.cluster.primary().index(), "app", "UPDATE fixed SET n = n + 100")?;
    let fixed = "SELECT min(n) FROM fixed";
    let found = (value(&mut other, fixed).await?, value(&mut strong, fixed).await?);
    ensure(found == (1, 101), || format!("written directly: {found:?}"))?;
    let mut console = world.pgweir.console().await?;
    let row = console.rows("SHOW POSITIONS").await?.pop().ok_or("no row of SHOW POSITIONS")?;
    let number =
        |column: usize| row[column].as_deref().and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    ensure(number(1) > 0 && number(4) > 0 && number(5) >= 3, || format!("{row:?}"))?;
    world.go_on()?;
    for client in [&mut writer, &mut reader, &mut strong] {
        world.until_on_replica(client, READ).await?;
    }
    world.cluster.psql(world.cluster.primary().index(), "app", "UPDATE fixed SET n = n - 100")?;
    world.cluster.wait_all_caught_up()?;
    Ok(())
}

/// By hint, by SET, by the startup packet, by the user.
pub(crate) async fn where_it_is_said(world: &World) -> Outcome {
    const READ: &str = "SELECT v FROM t WHERE id = 2";
    let mut writer = world.client().await?;
    let options = world.pgweir.client("app", "eventual").parameter("pgweir.consistency", "database");
    let mut by_packet = options.connect().await?;
    let mut by_user = world.pgweir.client("other", "app").connect().await?;
    let mut client = world.of("eventual").await?;
    world.halt()?;
    let before = value(&mut client, READ).await?;
    writer.query("UPDATE t SET v = v + 1 WHERE id = 2").await?;
    let after = before + 1;
    let shown = client.value("SHOW pgweir.consistency").await?;
    ensure(shown == "eventual", || format!("shown {shown}"))?;
    for (say, sql, expected) in [
        ("", READ.to_owned(), before),
        ("", format!("/* pgweir: consistency=database */ {READ}"), after),
        ("", READ.to_owned(), before),
        ("", format!("/* pgweir: consistency=strong */ {READ}"), after),
        ("SET pgweir.consistency = 'strong'", READ.to_owned(), after),
        ("RESET pgweir.consistency", READ.to_owned(), before),
        ("BEGIN; SET pgweir.consistency = strong; ROLLBACK", READ.to_owned(), before),
        ("SET pgweir.consistency TO database", READ.to_owned(), after),
        ("", format!("/* pgweir: consistency=eventual */ {READ}"), before),
        ("", format!("BEGIN READ ONLY; {READ}; COMMIT"), after),
        // Who asks for a replica gets it as it is, unless it says otherwise itself.
        ("", format!("/* pgweir: role=replica */ {READ}"), after),
        ("RESET pgweir.consistency", format!("/* pgweir: role=replica */ {READ}"), before),
    ] {
        for statement in say.split("; ").filter(|statement| !statement.is_empty()) {
            let error = first_error(&client.query(statement).await?);
            ensure(error.is_none(), || format!("{statement}: {error:?}"))?;
        }
        let found = value(&mut client, &sql).await?;
        ensure(found == expected, || format!("{say} {sql}: {found}, not {expected}"))?;
    }
    let found = (value(&mut by_packet, READ).await?, value(&mut by_user, READ).await?);
    ensure(found == (after, before), || format!("by packet and user: {found:?}"))?;
    let wrong = first_error(&client.query("SET pgweir.consistency = 'weak'").await?);
    ensure(wrong.as_ref().is_some_and(|error| error.code == "22023"), || format!("{wrong:?}"))?;
    world.go_on()
}

/// With `reads_on_primary: never` a read waits as for a connection, and then fails.
pub(crate) async fn never_the_primary(world: &World) -> Outcome {
    const READ: &str = "SELECT v FROM t WHERE id = 3";
    let (mut writer, mut reader) = (world.client().await?, world.of("never").await?);
    world.halt()?;
    writer.query("UPDATE t SET v = v + 1 WHERE id = 3").await?;
    let refused = first_error(&reader.query(READ).await?);
    ensure(refused.as_ref().is_some_and(|error| error.code == "57P03"), || format!("{refused:?}"))?;
    world.go_on()?;
    world.until_on_replica(&mut reader, READ).await
}

/// Half of the primary's pool serves reads for replicas; further ones wait for a replica.
pub(crate) async fn bounded(world: &World) -> Outcome {
    const READ: &str = "SELECT v FROM t WHERE id = 4";
    let mut writer = world.client().await?;
    world.halt()?;
    writer.query("UPDATE t SET v = v + 1 WHERE id = 4").await?;
    let long = "SELECT pg_sleep(60), v FROM t WHERE id = 4";
    let mut long_ones = Vec::new();
    for _ in 0..2 {
        let mut client = world.client().await?;
        client.send(testkit::Script::new().query(long).bytes()).await?;
        long_ones.push(client);
    }
    let primary = world.cluster.primary().index();
    let sleeping =
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(60)%'";
    let count = async || world.cluster.psql(primary, "app", sleeping).map(|count| count.trim().to_owned());
    eventually("two reads on the primary", count, |count| count.as_deref().is_ok_and(|count| count == "2"))
        .await
        .map(drop)?;
    let mut third = world.client().await?;
    third.send(testkit::Script::new().query(READ).bytes()).await?;
    let mut console = world.pgweir.console().await?;
    let waits = async || {
        console.rows("SHOW CLIENTS").await.map(|rows| {
            rows.iter().filter(|row| row.iter().flatten().any(|value| value == "waiting")).count()
        })
    };
    eventually("the third waits", waits, |waits| matches!(waits, Ok(1))).await.map(drop)?;
    let written = writer.value("UPDATE t SET v = v WHERE id = 4 RETURNING v").await?;
    world.go_on()?;
    let frames = third.read_until_ready().await?;
    let found = testkit::rows(&frames);
    ensure(found == [[Some(written)]], || format!("{found:?}"))?;
    ensure(world.on_replica(&mut third).await?, || "the third was not answered by a replica".into())?;
    for client in long_ones {
        client.cancel().await?;
    }
    Ok(())
}

/// A session sees nothing older than what it has seen, on whichever node its next read is.
pub(crate) async fn never_back(world: &World) -> Outcome {
    const READ: &str = "SELECT v, inet_server_port() FROM t WHERE id = 5";
    let [ahead, behind] = world.replicas();
    let primary = world.cluster.primary().index();
    // Both are known to have what was written so far.
    let mut nodes = BTreeSet::new();
    let read = async || -> Result<usize, String> {
        let mut client = world.of("in_turn").await.map_err(|error| error.to_string())?;
        let rows = client.rows(READ).await.map_err(|error| error.to_string())?;
        if world.on_replica(&mut client).await.map_err(|error| error.to_string())? {
            nodes.extend(rows.into_iter().filter_map(|row| row.into_iter().nth(1).flatten()));
        }
        Ok(nodes.len())
    };
    eventually("both replicas are read from", read, |nodes| *nodes == Ok(2)).await.map(drop)?;
    world.cluster.psql(behind, "app", "SELECT pg_wal_replay_pause()")?;
    // Not through pgweir, which so knows of no write.
    let port = world.cluster.node(ahead)?.port().to_string();
    world.cluster.psql(primary, "app", "UPDATE t SET v = 1000 WHERE id = 5")?;
    world.cluster.wait_caught_up(ahead)?;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(world.of("in_turn").await?);
    }
    let (mut seen, mut nodes) = (vec![0_i64; 6], BTreeSet::new());
    for _ in 0..20 {
        for (client, seen) in sessions.iter_mut().zip(&mut seen) {
            let row = client.rows(READ).await?.pop().ok_or("no row")?;
            let value: i64 = row[0].as_deref().unwrap_or_default().parse()?;
            ensure(value >= *seen, || format!("{value} after {seen}"))?;
            *seen = value;
            nodes.insert(row[1].clone().unwrap_or_default());
        }
    }
    ensure(nodes.contains(&port) && nodes.len() > 1, || format!("read from {nodes:?} alone"))?;
    ensure(seen.contains(&1000), || format!("nobody has seen it: {seen:?}"))?;
    world.go_on()
}

#[allow(clippy::print_stdout, reason = "a figure for who looks at it")]
/// Reads wait for what was committed, not for what somebody else has begun.
pub(crate) async fn idle_transaction(world: &World) -> Outcome {
    const READ: &str = "SELECT v FROM t WHERE id = 6";
    let (mut idle, mut writer, mut reader) =
        (world.client().await?, world.client().await?, world.of("patient").await?);
    idle.query("BEGIN; UPDATE t SET v = v + 1 WHERE id = 7; SELECT txid_current()").await?;
    let mut longest = std::time::Duration::ZERO;
    for n in 1..=20 {
        writer.query(&format!("UPDATE t SET v = {n} WHERE id = 6")).await?;
        let began = std::time::Instant::now();
        let found = value(&mut reader, READ).await?;
        longest = longest.max(began.elapsed());
        ensure(found == n, || format!("{found}, not {n}"))?;
        ensure(world.on_replica(&mut reader).await?, || "it went to the primary".into())?;
    }
    println!("beside an idle transaction, the longest of 20 reads behind a write took {longest:?}");
    idle.query("ROLLBACK").await?;
    Ok(())
}

/// With `synchronous_commit = off` a commit is acknowledged before its log is kept.
pub(crate) async fn early_commits(world: &World) -> Outcome {
    const READ: &str = "SELECT v FROM t WHERE id = 8";
    let (mut writer, mut reader) = (world.client().await?, world.client().await?);
    writer.query("SET synchronous_commit = off").await?;
    for n in 1..=200 {
        writer.query(&format!("UPDATE t SET v = {n} WHERE id = 8")).await?;
        let found = value(&mut reader, READ).await?;
        ensure(found == n, || format!("{found}, not {n}"))?;
    }
    Ok(())
}
