//! Another node is promoted: the old one was stopped, stays up, or comes back.

use testkit::{Script, rows};
use tokio::task::block_in_place;

use crate::world::{World, client, refusal, shown, until_shown, write};

/// Prepared statements, settings and a transaction that has done nothing yet go on; only traffic shows the change.
pub(crate) async fn in_order(world: &World) {
    let pgweir = world.pgweir("1h").await;
    let (old, new) = (world.primary(), world.another());
    let (mut idle, mut begun) = (client(&pgweir).await, client(&pgweir).await);
    idle.rows("set work_mem = '7MB'").await.unwrap();
    let prepare = Script::new().parse("s", "insert into t values ($1) returning port", &[]).sync();
    idle.run(&prepare).await.unwrap();
    let insert = Script::new().bind("", "s", &[Some("1")]).execute("", 0).sync();
    assert_eq!(rows(&idle.run(&insert).await.unwrap()), [[Some(world.port(old))]]);
    begun.rows("begin").await.unwrap();
    world.stop(old);
    let waiting = tokio::spawn(async move {
        let frames = idle.run(&insert).await.unwrap();
        (rows(&frames), idle.value("show work_mem").await.unwrap())
    });
    world.promote(new);
    let (port, setting) = waiting.await.unwrap();
    assert_eq!((port, setting.as_str()), (vec![vec![Some(world.port(new))]], "7MB"));
    assert_eq!(write(&mut begun, 2).await, world.port(new));
    begun.rows("commit").await.unwrap();
    world.rejoin();
}

/// Nothing is written to the old one once it is known, and no transaction that is open there is confirmed.
pub(crate) async fn forked(world: &World) {
    let pgweir = world.pgweir("300ms").await;
    let (old, new) = (world.primary(), world.another());
    let (mut open, mut tied, mut idle) =
        (client(&pgweir).await, client(&pgweir).await, client(&pgweir).await);
    open.rows("begin").await.unwrap();
    assert_eq!(write(&mut open, 10).await, world.port(old));
    tied.rows("create temp table mine (n int)").await.unwrap();
    assert_eq!(write(&mut idle, 11).await, world.port(old));
    world.promote(new);
    let node = world.cluster.node(old).unwrap().name().to_owned();
    until_shown(&pgweir, &node, "state", "refused").await;
    assert!(shown(&pgweir, &node, "why").await.contains("timeline"));
    // The client stays; of its transaction nothing is there, and it knows.
    assert_eq!(refusal(&mut open, "commit").await, "40001");
    assert_eq!(open.query("rollback").await.unwrap().last().unwrap().status(), Some('I'));
    // Who has lost what it had there is sent away.
    let frames = tied.read_until_closed().await.unwrap();
    assert!(frames.iter().any(|frame| frame.tag == b'E'), "{frames:?}");
    for client in [&mut open, &mut idle] {
        assert_eq!(write(client, 12).await, world.port(new));
    }
    let reads = idle.value("select inet_server_port()").await.unwrap();
    assert_ne!(reads, world.port(old), "it isn't read from either");
    assert_eq!(world.psql(old, "select count(*) from t where n in (10, 12)"), "0");
    assert_eq!(world.psql(new, "select count(*) from t where n = 10"), "0");
    // Nor when its successor is gone.
    block_in_place(|| world.cluster.kill(new).unwrap());
    let name = world.cluster.node(new).unwrap().name().to_owned();
    until_shown(&pgweir, &name, "state", "down").await;
    let waiting = tokio::spawn(async move { write(&mut idle, 13).await });
    block_in_place(|| world.cluster.start(new).unwrap());
    assert_eq!(waiting.await.unwrap(), world.port(new));
    assert_eq!(world.psql(old, "select count(*) from t where n = 13"), "0");
    world.rejoin();
    until_shown(&pgweir, &node, "state", "up").await;
}

/// pgweir has seen nothing of it, and its connections are dead: all nodes are asked before anything is written.
pub(crate) async fn back_too_early(world: &World) {
    let pgweir = world.pgweir("1h").await;
    let (old, new) = (world.primary(), world.another());
    let mut client = client(&pgweir).await;
    assert_eq!(write(&mut client, 20).await, world.port(old));
    world.stop(old);
    world.promote(new);
    block_in_place(|| world.cluster.start(old).unwrap());
    assert_eq!(write(&mut client, 21).await, world.port(new));
    assert_eq!(world.psql(old, "select count(*) from t where n = 21"), "0");
    world.rejoin();
}
