//! Transactions that read on a replica until they write (`route.transactions`): each of their reads has seen what it
//! must, those behind a move to the primary too.

use std::error::Error;

use pgweir_tests::{Outcome, eventually};
use testkit::{Client, Mode, first_error};

use crate::world::{World, ensure};

/// What each kind of consistency must see of what another session was told meanwhile.
const KINDS: [(&str, bool); 3] = [("until", true), ("until_session", false), ("until_strong", true)];

async fn value(client: &mut Client, sql: &str) -> Result<i64, Box<dyn Error>> {
    Ok(client.value(sql).await.map_err(|error| format!("{sql}: {error}"))?.parse()?)
}

async fn run(client: &mut Client, sql: &str) -> Outcome {
    let error = first_error(&client.query(sql).await?);
    ensure(error.is_none(), || format!("{sql}: {error:?}"))
}

impl World {
    /// A client in a transaction that has read this on a replica, and what it has read.
    async fn open(&self, database: &str, read: &str) -> Result<(Client, i64), Box<dyn Error>> {
        let mut client = self.of(database).await?;
        let begin = async || -> Result<(i64, bool), String> {
            let mut begin = async || -> Result<(i64, bool), Box<dyn Error>> {
                run(&mut client, "ROLLBACK").await?;
                run(&mut client, "BEGIN").await?;
                let found = value(&mut client, read).await?;
                Ok((found, self.on_replica(&mut client).await?))
            };
            begin().await.map_err(|error| error.to_string())
        };
        let read =
            eventually("a transaction reads on a replica", begin, |read| matches!(read, Ok((_, true))));
        let (found, _) = read.await??;
        Ok((client, found))
    }
}

/// Another session writes while the transaction is open and no replica replays.
pub(crate) async fn written_meanwhile(world: &World) -> Outcome {
    const READ: &str = "SELECT v FROM t WHERE id = 20";
    for (kind, sees) in KINDS {
        let (mut client, before) = world.open(kind, READ).await?;
        let (mut apart, _) = world.open(kind, "SELECT count(*) FROM fixed").await?;
        world.halt()?;
        let mut writer = world.client().await?;
        run(&mut writer, "UPDATE t SET v = v + 1 WHERE id = 20").await?;
        run(&mut client, "SAVEPOINT a").await?;
        let expected = if sees { before + 1 } else { before };
        let found = value(&mut client, READ).await?;
        ensure(found == expected, || format!("{kind}: {found}, not {expected}"))?;
        let (role, reason) = world.route(&mut client).await?;
        ensure((role == "primary") == sees, || format!("{kind}: {role}: {reason}"))?;
        // What nobody has written is read where it was.
        value(&mut apart, "SELECT count(*) FROM fixed").await?;
        let stays = world.on_replica(&mut apart).await?;
        ensure(stays == (kind != "until_strong"), || format!("{kind}: stays on the replica: {stays}"))?;
        run(&mut client, "ROLLBACK TO a").await?;
        ensure(value(&mut client, READ).await? >= found, || format!("{kind}: behind ROLLBACK TO"))?;
        run(&mut client, "UPDATE t SET v = v + 1 WHERE id = 20").await?;
        let own = value(&mut client, READ).await?;
        ensure(own == before + 2, || format!("{kind}: {own} in it, not {}", before + 2))?;
        run(&mut client, "COMMIT").await?;
        // The next transaction, and a read outside of one.
        run(&mut client, "BEGIN").await?;
        let next = value(&mut client, READ).await?;
        run(&mut client, "COMMIT").await?;
        let alone = value(&mut client, READ).await?;
        ensure((next, alone) == (own, own), || format!("{kind}: then {next} and {alone}, not {own}"))?;
        world.go_on()?;
    }
    Ok(())
}

/// What the next statement must see is there within `replica_wait`: the transaction waits for it where it is.
pub(crate) async fn a_moment_behind(world: &World) -> Outcome {
    const READ: &str = "SELECT v FROM t WHERE id = 21";
    let (mut client, _) = world.open("until_patient", READ).await?;
    let mut writer = world.client().await?;
    for n in 1..=20 {
        run(&mut writer, &format!("UPDATE t SET v = {n} WHERE id = 21")).await?;
        let found = value(&mut client, READ).await?;
        ensure(found == n, || format!("{found}, not {n}"))?;
    }
    ensure(world.on_replica(&mut client).await?, || "it went to the primary".into())?;
    run(&mut client, "COMMIT").await
}

/// A token that is taken in it counts from there on.
pub(crate) async fn a_token_within(world: &World) -> Outcome {
    const READ: &str = "SELECT v FROM t WHERE id = 22";
    let (mut client, before) = world.open("until_session", READ).await?;
    world.halt()?;
    let mut writer = world.client().await?;
    run(&mut writer, "UPDATE t SET v = v + 1 WHERE id = 22").await?;
    let token = writer.value("SHOW pgweir.lsn").await?;
    run(&mut client, "COMMIT").await?;
    run(&mut client, "BEGIN").await?;
    run(&mut client, &format!("SET pgweir.lsn = '{token}'")).await?;
    let found = value(&mut client, READ).await?;
    ensure(found == before + 1, || format!("{found}, not {}", before + 1))?;
    run(&mut client, "COMMIT").await?;
    world.go_on()
}

/// Of two replicas one is behind. Who has read on the other in a transaction doesn't go back when that is lost.
pub(crate) async fn the_one_ahead_is_lost(world: &World) -> Outcome {
    const READ: &str = "SELECT v FROM t WHERE id = 23";
    let [ahead, behind] = world.replicas();
    let port = world.cluster.node(ahead)?.port().to_string();
    for (number, (database, begin)) in
        [("until", "BEGIN"), ("in_turn", "BEGIN READ ONLY"), ("until_session", "BEGIN")]
            .into_iter()
            .enumerate()
    {
        world.halt_one(behind)?;
        // Not through pgweir, which so knows of no write.
        let seen = i64::try_from(number)? + 1;
        let sql = format!("UPDATE t SET v = {seen} WHERE id = 23");
        world.cluster.psql(world.cluster.primary().index(), "app", &sql)?;
        world.cluster.wait_caught_up(ahead)?;
        let mut client = world.client().await?;
        let on_it = async || -> Result<(String, Client), String> {
            let open = async || -> Result<(String, Client), Box<dyn Error>> {
                let mut client = world.of(database).await?;
                run(&mut client, begin).await?;
                let where_is = client.value("SELECT inet_server_port()").await?;
                Ok((where_is, client))
            };
            open().await.map_err(|error| error.to_string())
        };
        let opened = eventually("a transaction on the replica that is ahead", on_it, |opened| {
            opened.as_ref().is_ok_and(|(found, _)| *found == port)
        });
        let (_, mut open) = opened.await??;
        let found = value(&mut open, READ).await?;
        ensure(found == seen, || format!("{begin}: {found} in it, not {seen}"))?;
        world.cluster.stop(ahead, Mode::Immediate)?;
        if begin == "BEGIN" {
            let found = value(&mut open, READ).await?;
            ensure(found == seen, || format!("{database}: {found} behind the loss, not {seen}"))?;
            run(&mut open, "COMMIT").await?;
        } else {
            let lost = first_error(&open.query(READ).await?);
            ensure(lost.as_ref().is_some_and(|error| error.code == "40001"), || format!("{lost:?}"))?;
            run(&mut open, "ROLLBACK").await?;
        }
        let found = value(&mut open, READ).await?;
        ensure(found == seen, || format!("{database}: {found} after it, not {seen}"))?;
        world.cluster.start(ahead)?;
        world.go_on()?;
        world.until_on_replica(&mut client, READ).await?;
    }
    Ok(())
}

/// Both replicas go down under it, and come back.
pub(crate) async fn both_are_lost(world: &World) -> Outcome {
    const READ: &str = "SELECT v FROM t WHERE id = 24";
    let (mut client, _) = world.open("until", READ).await?;
    let mut writer = world.client().await?;
    for replica in world.replicas() {
        world.cluster.stop(replica, Mode::Immediate)?;
    }
    run(&mut writer, "UPDATE t SET v = 7 WHERE id = 24").await?;
    let found = value(&mut client, READ).await?;
    ensure(found == 7, || format!("{found} in it, not 7"))?;
    run(&mut client, "COMMIT").await?;
    run(&mut client, "BEGIN").await?;
    let found = value(&mut client, READ).await?;
    ensure(found == 7, || format!("{found} in the next, not 7"))?;
    run(&mut client, "UPDATE t SET v = 8 WHERE id = 24").await?;
    run(&mut client, "COMMIT").await?;
    // They begin where they had got to, and are read from once they have what was written.
    for replica in world.replicas() {
        world.cluster.start(replica)?;
    }
    let again = async || -> Result<bool, String> {
        let mut again = async || -> Result<bool, Box<dyn Error>> {
            run(&mut client, "BEGIN").await?;
            let found = value(&mut client, READ).await?;
            ensure(found == 8, || format!("{found} once they are back, not 8"))?;
            let on_replica = world.on_replica(&mut client).await?;
            run(&mut client, "COMMIT").await?;
            Ok(on_replica)
        };
        again().await.map_err(|error| error.to_string())
    };
    let seen = eventually("a replica is read from again", again, |on| !matches!(on, Ok(false))).await?;
    seen.map(drop).map_err(Into::into)
}
