//! COPY, and what psql asks of the catalogs.

use pgweir_tests::{Outcome, program};
use testkit::{Script, tags};
use tokio::process::Command;

use crate::world::{World, ensure};

pub(crate) async fn copy(world: &World) -> Outcome {
    let mut client = world.client().await?;
    client
        .send(
            Script::new()
                .query("/* pgweir: shard=us */ COPY customers (id, region, name) FROM STDIN")
                .bytes(),
        )
        .await?;
    client.read_until("CopyInResponse", |frame| frame.tag == b'G').await?;
    client.send(Script::new().copy_data(b"80\tUS\tCopied\n81\tCA\tToo\n").copy_done().bytes()).await?;
    let frames = client.read_until_ready().await?;
    ensure(tags(&frames) == "CZ", || format!("{frames:?}"))?;
    let frames = client.query("/* pgweir: shard=us role=primary */ COPY (SELECT name FROM customers WHERE id >= 80 ORDER BY id) TO STDOUT").await?;
    ensure(tags(&frames) == "HddcCZ", || format!("{frames:?}"))?;
    let kept = world.on_both("DELETE FROM customers WHERE id >= 80 RETURNING id")?;
    ensure(kept == ["80\n81", ""], || format!("{kept:?}"))
}

pub(crate) async fn psql(world: &World) -> Outcome {
    let mut command = Command::new(testkit::Binaries::find()?.psql());
    command.args(["-X", "-w", "-v", "ON_ERROR_STOP=1", "-d", &world.pgweir.url("app", "saas")]);
    for meta in ["\\d", "\\d customers", "\\dt+", "\\di", "\\df", "\\l", "\\du", "\\conninfo"] {
        command.args(["-c", meta]);
    }
    let said = program::run(&mut command, testkit::DEADLINE).await?.quietly()?;
    let expected =
        ["\"customers_pkey\" PRIMARY KEY, btree (region, id)", "german_customers", "count_customers"];
    let missing = expected.iter().find(|text| !said.contains(**text));
    ensure(missing.is_none(), || format!("no {missing:?} in:\n{said}"))
}
