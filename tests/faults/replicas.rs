//! Replicas that end, or cancel what they are asked.

use testkit::{Client, Script, first_error, rows};
use tokio::task::block_in_place;

use crate::readers::Readers;
use crate::world::World;

const READERS: usize = 40;

/// A replica is killed under load, and comes back: no client sees an error, not even of what was under way there, since
/// nothing of it had been passed on.
pub(crate) async fn killed(world: &World) {
    let ports: Vec<_> = [1, 2].map(|replica| world.port(replica)).into();
    let readers = Readers::start(world.pgweir.client("app", "app"), READERS).await;
    readers.answered_by(&ports, READERS).await;
    block_in_place(|| world.cluster.kill(1).unwrap());
    readers.answered_by(&ports[1..], 2 * READERS).await;
    block_in_place(|| world.cluster.start(1).unwrap());
    readers.answered_by(&ports, 10).await;
    let wrong = readers.finish().await;
    assert!(wrong.is_empty(), "{} errors: {wrong:#?}", wrong.len());
}

/// The replicas are killed one after the other: the primary answers.
pub(crate) async fn all_killed(world: &World) {
    let readers = Readers::start(world.pgweir.client("app", "app"), READERS).await;
    let ports: Vec<_> = [1, 2, 0].map(|node| world.port(node)).into();
    readers.answered_by(&ports[..2], 10).await;
    for (replica, next) in [(1, ports[1]), (2, ports[2])] {
        block_in_place(|| world.cluster.kill(replica).unwrap());
        // Each has come through when the next replica is killed.
        readers.answered_by(&[next], 2 * READERS).await;
    }
    for replica in [1, 2] {
        block_in_place(|| world.cluster.start(replica).unwrap());
    }
    readers.answered_by(&ports[..2], 10).await;
    let wrong = readers.finish().await;
    assert!(wrong.is_empty(), "{} errors: {wrong:#?}", wrong.len());
}

/// Rows of a table that a replica reads are removed for good on the primary: the replica cancels the read at once to go
/// on replaying. No row had been passed on: it is read again elsewhere.
pub(crate) async fn conflict_before_a_row(world: &World) {
    for extended in [false, true] {
        let mut conflict = Conflict::prepare(world).await;
        // It doesn't sleep where it is run again: the rows are gone there.
        conflict
            .ask("select inet_server_port(), case when count(*) > 0 then pg_sleep(20) end from old", extended)
            .await;
        conflict.provoke().await;
        let frames = conflict.client.read_until_ready().await.unwrap();
        assert!(first_error(&frames).is_none(), "{frames:?}");
        assert_eq!(rows(&frames)[0][0], Some(world.port(0).to_string()), "{frames:?}");
    }
}

/// The same when rows had been passed on: the client is told.
pub(crate) async fn conflict_behind_a_row(world: &World) {
    for extended in [false, true] {
        let mut conflict = Conflict::prepare(world).await;
        let row = "repeat('x', 20000), case when (select count(*) from old) > 0 then pg_sleep(0.2) end";
        conflict.ask(&format!("select {row} from generate_series(1, 100)"), extended).await;
        let before = conflict.client.read_until("a row", |frame| frame.tag == b'D').await.unwrap();
        conflict.provoke().await;
        let frames = conflict.client.read_until_ready().await.unwrap();
        let error = first_error(&frames).unwrap_or_else(|| panic!("{before:?} {frames:?}"));
        assert_eq!(error.code, "40001", "{error:?}");
        assert!(error.message.contains("conflict with recovery"), "{error:?}");
        assert_eq!(conflict.client.value("select count(*) from old").await.unwrap(), "0");
    }
}

/// A transaction that has read there can't go on.
pub(crate) async fn conflict_in_a_transaction(world: &World) {
    let mut conflict = Conflict::prepare(world).await;
    conflict.client.rows("begin isolation level repeatable read read only").await.unwrap();
    let port = conflict.client.value("select inet_server_port() from old limit 1").await.unwrap();
    assert_ne!(port, world.port(0).to_string());
    conflict.provoke().await;
    let frames = conflict.client.query("select count(*) from old").await.unwrap();
    let error = first_error(&frames).unwrap_or_else(|| panic!("{frames:?}"));
    assert_eq!(error.code, "40001", "{error:?}");
    conflict.client.rows("rollback").await.unwrap();
    assert_eq!(conflict.client.value("select count(*) from old").await.unwrap(), "0");
}

/// A client that reads a table on a replica, and what takes its rows away.
struct Conflict<'a> {
    world: &'a World,
    client: Client,
}

impl Conflict<'_> {
    async fn prepare(world: &World) -> Conflict<'_> {
        block_in_place(|| {
            for replica in [1, 2] {
                world.cluster.configure(replica, "max_standby_streaming_delay", "0").unwrap();
            }
            let sql = "drop table if exists old; create table old as select generate_series(1, 1000) as n";
            world.cluster.psql_as(0, "app", "app", sql).unwrap();
            world.cluster.wait_all_caught_up().unwrap();
        });
        Conflict { world, client: world.pgweir.client("app", "anything").connect().await.unwrap() }
    }

    /// Sends a read, and waits until a replica is at it.
    async fn ask(&mut self, sql: &str, extended: bool) {
        let script = if extended { Script::new().run(sql, &[]).sync() } else { Script::new().query(sql) };
        self.client.send(script.bytes()).await.unwrap();
        let sleeps = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
        let asleep = async || {
            let on = |replica| block_in_place(|| self.world.cluster.psql(replica, "app", sleeps).unwrap());
            [on(1), on(2)].iter().any(|count| count == "1")
        };
        pgweir_tests::eventually("a replica is at it", asleep, |asleep| *asleep).await.unwrap();
    }

    /// Removes the rows, and waits until the replicas have removed them too.
    async fn provoke(&self) {
        let primary = |sql: &str| block_in_place(|| self.world.cluster.psql(0, "app", sql).unwrap());
        primary("delete from old");
        // As long as somebody's snapshot is older than that, they stay.
        let size = async || {
            primary("vacuum old");
            primary("select pg_relation_size('old')")
        };
        pgweir_tests::eventually("the rows are gone", size, |size| size == "0").await.unwrap();
        block_in_place(|| self.world.cluster.wait_all_caught_up().unwrap());
    }
}
