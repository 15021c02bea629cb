//! `SHOW pgweir.lsn` and `SET pgweir.lsn`: what one session has seen another sees, through another pgweir too.

use pgweir_tests::Outcome;
use testkit::{Pgweir, Script, first_error, free_port};

use crate::world::{World, ensure};

pub(crate) async fn passed_on(world: &World) -> Outcome {
    const READ: &str = "SELECT v FROM t WHERE id = 13";
    let port = free_port().ok_or("no free port")?;
    let second = Pgweir::start(&world.setup.clone().on_port(port)).await?;
    let mut writer = world.client().await?;
    let (mut with, mut without) =
        (second.client("app", "app").connect().await?, second.client("app", "app").connect().await?);
    let before = without.value(READ).await?;
    world.until_on_replica(&mut with, READ).await?;
    world.halt()?;
    let after = writer.value("UPDATE t SET v = v + 1 WHERE id = 13 RETURNING v").await?;
    let token = writer.value("SHOW pgweir.lsn").await?;
    ensure(token.split('/').count() == 4, || token.clone())?;
    let set = format!("SET pgweir.lsn = '{token}'");
    let error = first_error(&with.query(&set).await?);
    ensure(error.is_none(), || format!("{set}: {error:?}"))?;
    let found = (with.value(READ).await?, without.value(READ).await?);
    ensure(found == (after.clone(), before.clone()), || format!("{found:?}, not {:?}", (after, before)))?;
    world.go_on()?;
    world.until_on_replica(&mut with, READ).await?;
    // By the extended protocol, and inside a BEGIN that no server has seen yet.
    let extended = writer.run(&Script::new().run("SHOW pgweir.lsn", &[]).sync()).await?;
    ensure(testkit::rows(&extended).len() == 1, || format!("{extended:?}"))?;
    writer.query("BEGIN").await?;
    let early = writer.value("SHOW pgweir.lsn").await?;
    writer.query("SELECT txid_current()").await?;
    let late = first_error(&writer.query("SHOW pgweir.lsn").await?);
    ensure(early.contains('/') && late.as_ref().is_some_and(|error| error.code == "55000"), || {
        format!("{late:?}")
    })?;
    writer.query("ROLLBACK").await?;
    Ok(())
}

pub(crate) async fn not_comparable(world: &World) -> Outcome {
    const READ: &str = "SELECT v FROM t WHERE id = 14";
    let mut client = world.of("eventual").await?;
    for (token, expected) in [("1/1/0/0", None), ("9/9/FFFFFFFF/0", None), ("", None), ("x", Some("22023"))] {
        let error = first_error(&client.query(&format!("SET pgweir.lsn = '{token}'")).await?);
        ensure(error.as_ref().map(|error| error.code.as_str()) == expected, || {
            format!("{token}: {error:?}")
        })?;
    }
    // It stands for all that there is when it is first needed.
    let mut client = world.of("session").await?;
    client.value(READ).await?;
    world.halt()?;
    world.cluster.psql(world.cluster.primary().index(), "app", "UPDATE t SET v = 77 WHERE id = 14")?;
    client.query("SET pgweir.lsn = '1/1/0/0'").await?;
    let found = client.value(READ).await?;
    ensure(found == "77", || found.clone())?;
    world.go_on()
}
