//! Replicas that don't replay what was written: what was written is read nevertheless, and nobody waits for ever.

use testkit::{Client, Pgweir};
use tokio::task::block_in_place;

use crate::crash::cut_off;
use crate::world::{Ending, World, setup};

/// Databases of pgweir that are one on the servers, each with a promise of its own.
const PROMISES: [&str; 3] = ["session", "database", "strong"];
const TABLE: &str = "create table if not exists notes (n int); truncate notes";

/// pgweir that keeps them, and a client of each.
async fn promising(world: &World) -> (Pgweir, Vec<Client>) {
    block_in_place(|| world.cluster.psql_as(world.cluster.primary().index(), "app", "app", TABLE).unwrap());
    world.cluster.wait_all_caught_up().unwrap();
    let mut setup = setup(&world.cluster);
    for promise in PROMISES {
        let route = format!("{{cluster: pg, dbname: app, route: {{consistency: {promise}}}}}");
        setup = setup.set(&format!("databases.{promise}"), &route);
    }
    let pgweir = Pgweir::start(&setup).await.unwrap();
    let mut clients = Vec::new();
    for promise in PROMISES {
        clients.push(pgweir.client("app", promise).connect().await.unwrap());
    }
    (pgweir, clients)
}

/// The server that answered, and what it knows of this note.
async fn read(client: &mut Client, n: usize) -> (u16, bool) {
    let sql = format!("select inet_server_port(), count(*) from notes where n = {n}");
    let row = client.rows(&sql).await.unwrap().remove(0);
    (row[0].as_ref().unwrap().parse().unwrap(), row[1].as_deref() == Some("1"))
}

async fn write(client: &mut Client, n: usize) {
    client.rows(&format!("insert into notes values ({n})")).await.unwrap();
}

fn replay(world: &World, pause: bool) {
    let does = if pause { "pg_wal_replay_pause" } else { "pg_wal_replay_resume" };
    for replica in [1, 2] {
        let sql = format!("select {does}()");
        block_in_place(|| world.cluster.psql(replica, "postgres", &sql).unwrap());
    }
}

/// Replay is paused on all replicas: who has written reads it, from the primary. Replayed, replicas answer again.
pub(crate) async fn replay_is_paused(world: &World) {
    let (_pgweir, clients) = promising(world).await;
    replay(world, true);
    let (primary, mut number) = (world.port(0), 0);
    let mut clients = clients;
    for (client, promise) in clients.iter_mut().zip(PROMISES) {
        for _ in 0..10 {
            number += 1;
            write(client, number).await;
            assert_eq!(read(client, number).await, (primary, true), "{promise}, note {number}");
        }
    }
    replay(world, false);
    for (client, promise) in clients.iter_mut().zip(PROMISES) {
        let from_replica = async || read(client, number).await;
        let replayed = |(port, there): &(u16, bool)| *port != primary && *there;
        pgweir_tests::eventually(&format!("{promise}: a replica answers"), from_replica, replayed)
            .await
            .unwrap();
    }
}

/// A replica that lacks the last writes becomes the primary: what was promised of those is void, and reads go on, those
/// too that were waiting. What is written from then on is read again, from a replica in the end.
pub(crate) async fn a_lagging_replica_is_promoted(world: &World) {
    let (_pgweir, mut clients) = promising(world).await;
    cut_off(world, &[1, 2]).await;
    // The more, the farther the position that they have been promised lies above that of the promotion.
    for number in 0..200 {
        for (client, own) in clients.iter_mut().zip(0..) {
            write(client, number * PROMISES.len() + own).await;
        }
    }
    let (old, _) = world.end_primary(Ending::Killed);
    let waiting = clients.into_iter().enumerate().map(|(own, mut client)| {
        tokio::spawn(async move {
            let (_, there) = read(&mut client, own).await;
            (client, there)
        })
    });
    let waiting: Vec<_> = waiting.collect();
    let new = world.most_advanced();
    world.promote(old, new);
    let replica = world.port(3 - new - old);
    for (own, (waiting, promise)) in waiting.into_iter().zip(PROMISES).enumerate() {
        let (mut client, there) = waiting.await.unwrap();
        assert!(!there, "{promise}: what was lost was read");
        let number = 1000 + own;
        write(&mut client, number).await;
        assert!(read(&mut client, number).await.1, "{promise}: what was written then wasn't read");
        let from_replica = async || read(&mut client, number).await;
        let replayed = |answer: &(u16, bool)| *answer == (replica, true);
        pgweir_tests::eventually(&format!("{promise}: a replica answers"), from_replica, replayed)
            .await
            .unwrap();
    }
}
