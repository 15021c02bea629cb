//! Servers that hang (SIGSTOP): their connections stay open, and nothing comes any more.

use pgweir_tests::world::soon;
use testkit::{Client, Script, first_error};
use tokio::task::block_in_place;

use crate::world::{World, client, refusal, write};

/// What reads there is run elsewhere.
pub(crate) async fn replica(world: &World) {
    let pgweir = world.pgweir("300ms").await;
    let replicas: Vec<_> = (0..2).map(|i| world.cluster.replica(i).index()).collect();
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut client = client(&pgweir).await;
        client.send(Script::new().query("select pg_sleep(1), inet_server_port()").bytes()).await.unwrap();
        readers.push(client);
    }
    let running = async || {
        let sql = "select count(*) from pg_stat_activity where query like 'select pg_sleep(1)%' and state = 'active'";
        replicas.iter().all(|node| world.psql(*node, sql) != "0")
    };
    soon("both replicas read", running).await;
    block_in_place(|| world.cluster.pause(replicas[0]).unwrap());
    for mut client in readers {
        let frames = client.read_until_ready().await.unwrap();
        assert!(first_error(&frames).is_none(), "{frames:?}");
        let port = testkit::rows(&frames)[0][1].clone().unwrap();
        assert_ne!(port, world.port(replicas[0]));
    }
    block_in_place(|| world.cluster.resume(replicas[0]).unwrap());
}

/// Each gets a definite answer once the primary is known to hang, and goes on with its successor.
pub(crate) async fn primary(world: &World) {
    let pgweir = world.pgweir("300ms").await;
    let (old, new) = (world.primary(), world.another());
    let connect = async || client(&pgweir).await;
    let (mut idle, mut open, mut writing) = (connect().await, connect().await, connect().await);
    let mut committing = connect().await;
    write(&mut idle, 30).await;
    for client in [&mut open, &mut committing] {
        client.rows("begin").await.unwrap();
        write(client, 31).await;
    }
    let sleep = "insert into t select 32 from pg_sleep(1)";
    writing.send(Script::new().query(sleep).bytes()).await.unwrap();
    let busy = "select count(*) from pg_stat_activity where query like 'insert into t select 32%' and state = 'active'";
    soon("it writes", async || world.psql(old, busy) == "1").await;
    block_in_place(|| world.cluster.pause(old).unwrap());
    committing.send(Script::new().query("commit").bytes()).await.unwrap();
    assert_eq!(answered(&mut writing).await, "08007");
    assert_eq!(answered(&mut committing).await, "08007");
    assert_eq!(refusal(&mut open, "commit").await, "40001");
    let waiting = tokio::spawn(async move { write(&mut idle, 33).await });
    world.promote(new);
    assert_eq!(waiting.await.unwrap(), world.port(new));
    for client in [&mut open, &mut writing, &mut committing] {
        assert_eq!(write(client, 34).await, world.port(new));
    }
    // It wakes up as what it was: nothing goes there.
    block_in_place(|| world.cluster.resume(old).unwrap());
    for _ in 0..10 {
        assert_eq!(write(&mut open, 35).await, world.port(new));
    }
    assert_eq!(world.psql(old, "select count(*) from t where n in (33, 34, 35)"), "0");
}

/// The code of the error that it is told, with the transaction over.
async fn answered(client: &mut Client) -> String {
    let frames = client.read_until_ready().await.unwrap();
    assert_eq!(frames.last().unwrap().status(), Some('I'), "{frames:?}");
    first_error(&frames).unwrap_or_else(|| panic!("{frames:?}")).code
}
