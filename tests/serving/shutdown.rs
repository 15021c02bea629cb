//! SIGTERM: who is idle goes, transactions may end; once more: now.

use pgweir_tests::Cases;
use pgweir_tests::world::{World, crowd, soon};
use testkit::{Client, Pgweir, Script, Signal, first_error};

pub(crate) async fn run(world: &World, cases: &mut Cases) {
    cases.run("SIGTERM lets transactions end", graceful(world)).await;
    cases.run("SIGINT likewise, with nobody there", nobody(world)).await;
    cases.run("a running statement ends first", running(world)).await;
    cases.run("a second SIGTERM ends everything", at_once(world)).await;
    cases.run("who waits for a connection goes", waiting(world)).await;
}

/// It was told why.
async fn sent_away(client: &mut Client) {
    let frames = client.read_until_closed().await.unwrap();
    let error = first_error(&frames).unwrap_or_else(|| panic!("closed without a word: {frames:?}"));
    assert_eq!((error.severity.as_str(), error.code.as_str()), ("FATAL", "57P01"), "{error:?}");
}

async fn ends_well(mut pgweir: Pgweir, world: &World) {
    let status = pgweir.wait().await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", pgweir.log());
    assert!(!pgweir.log().contains("panicked"), "{}", pgweir.log());
    let mut watch = world.direct().await;
    soon("no connection is left", async || watch.count().await == 0).await;
}

async fn begin(client: &mut Client) {
    client.rows("begin").await.unwrap();
    client.rows("insert into t values (71)").await.unwrap();
}

async fn graceful(world: &World) {
    let mut pgweir = world.pgweir(world.setup().pool_size(3)).await;
    let mut watch = world.direct().await;
    watch.rows("truncate t").await;
    let mut clients = crowd(&pgweir, "app", 4).await;
    let mut open = clients.pop().unwrap();
    begin(&mut open).await;
    // Begun, but nothing of it was sent yet.
    let mut begun = clients.pop().unwrap();
    begun.rows("begin").await.unwrap();
    pgweir.terminate();
    for client in &mut clients {
        sent_away(client).await;
    }
    assert!(pgweir.client("app", "app").connect().await.is_err(), "a new client was let in");
    assert_eq!(open.value("select 2").await.unwrap(), "2");
    open.rows("commit").await.unwrap();
    sent_away(&mut open).await;
    drop(begun);
    ends_well(pgweir, world).await;
    assert_eq!(watch.value("select count(*) from t").await, "1");
}

async fn nobody(world: &World) {
    let mut pgweir = world.pgweir(world.setup()).await;
    crowd(&pgweir, "app", 1).await.remove(0).close().await.unwrap();
    pgweir.signal(Signal::INT);
    ends_well(pgweir, world).await;
}

async fn running(world: &World) {
    let mut pgweir = world.pgweir(world.setup()).await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    client.send(Script::new().query("select 'slept' from pg_sleep(0.5)").bytes()).await.unwrap();
    let mut watch = world.direct().await;
    soon("it runs", async || !watch.busy().await.is_empty()).await;
    pgweir.terminate();
    let frames = client.read_until_ready().await.unwrap();
    assert_eq!(testkit::rows(&frames), vec![vec![Some("slept".to_owned())]], "{frames:?}");
    sent_away(&mut client).await;
    ends_well(pgweir, world).await;
}

async fn at_once(world: &World) {
    let mut pgweir = world.pgweir(world.setup()).await;
    let mut watch = world.direct().await;
    watch.rows("truncate t").await;
    let mut clients = crowd(&pgweir, "app", 2).await;
    begin(&mut clients[0]).await;
    clients[1].send(Script::new().query("select pg_sleep(1000)").bytes()).await.unwrap();
    soon("it runs", async || watch.busy().await.iter().any(|sql| sql.contains("pg_sleep"))).await;
    pgweir.terminate();
    pgweir.wait_for_log("once more to stop now").await.unwrap();
    assert_eq!(clients[0].value("select 1").await.unwrap(), "1");
    pgweir.terminate();
    for client in &mut clients {
        sent_away(client).await;
    }
    ends_well(pgweir, world).await;
    assert_eq!(watch.value("select count(*) from t").await, "0");
}

async fn waiting(world: &World) {
    let mut pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let mut console = pgweir.console().await.unwrap();
    let mut clients = crowd(&pgweir, "app", 2).await;
    begin(&mut clients[0]).await;
    clients[1].send(Script::new().query("select 'served'").bytes()).await.unwrap();
    pgweir_tests::world::until_waiting(&mut console, 1).await;
    pgweir.terminate();
    pgweir.wait_for_log("once more to stop now").await.unwrap();
    clients[0].rows("rollback").await.unwrap();
    // It was asked before the end began: it is served, or told that it wasn't.
    let frames = clients[1].read_until_closed().await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "57P01", "{frames:?}");
    sent_away(&mut clients[0]).await;
    drop(console);
    ends_well(pgweir, world).await;
}
