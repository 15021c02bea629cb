//! Cancelling: what is running and what is queued, by who may, and nobody else's.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgweir_tests::Cases;
use pgweir_tests::world::{Watch, World, soon, until_waiting};
use testkit::{Client, Script, first_error, tags};

/// The code of a CancelRequest.
const CANCEL: u32 = 80_877_102;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancels_hit_what_they_are_meant_for() {
    let world = World::start();
    let mut cases = Cases::new();
    cases.run("a running statement", running(&world)).await;
    cases.run("a running statement of the extended protocol", running_extended(&world)).await;
    cases.run("a statement in a transaction", in_transaction(&world)).await;
    cases.run("a queued statement", queued(&world)).await;
    cases.run("COPY out", copy_out(&world)).await;
    cases.run("a wrong key does nothing", wrong_key(&world)).await;
    cases.run("an idle client is not disturbed", idle(&world)).await;
    cases.run("protocol 3.2 has a longer key", long_key(&world)).await;
    cases.run("races: no other client's statement is cancelled", races(&world)).await;
    cases.finish();
}

async fn until_sleeping(watch: &mut Watch) {
    soon("pg_sleep runs", async || watch.busy().await.iter().any(|sql| sql.contains("pg_sleep"))).await;
}

/// Sends, waits until it sleeps on the server, cancels, and gives the code of the error that comes.
async fn cancelled(client: &mut Client, watch: &mut Watch, script: &Script) -> String {
    client.send(script.bytes()).await.unwrap();
    until_sleeping(watch).await;
    client.cancel().await.unwrap();
    let frames = client.read_until_ready().await.unwrap();
    first_error(&frames).unwrap_or_else(|| panic!("{frames:?}")).code
}

async fn running(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let mut watch = world.direct().await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    let pid = client.value("select pg_backend_pid()").await.unwrap();
    for _ in 0..3 {
        let script = Script::new().query("select pg_sleep(100)");
        assert_eq!(cancelled(&mut client, &mut watch, &script).await, "57014");
        assert_eq!(client.value("select pg_backend_pid()").await.unwrap(), pid);
    }
}

async fn running_extended(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let mut watch = world.direct().await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    let script = Script::new().run("select pg_sleep(100)", &[]).run("select 1", &[]).sync();
    assert_eq!(cancelled(&mut client, &mut watch, &script).await, "57014");
    assert_eq!(client.value("select 1").await.unwrap(), "1");
}

async fn in_transaction(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let mut watch = world.direct().await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    client.rows("begin").await.unwrap();
    client.rows("insert into t values (31)").await.unwrap();
    client.rows("savepoint here").await.unwrap();
    let script = Script::new().query("select pg_sleep(100)");
    assert_eq!(cancelled(&mut client, &mut watch, &script).await, "57014");
    client.rows("rollback to here").await.unwrap();
    client.rows("commit").await.unwrap();
    assert_eq!(client.value("select count(*) from t where n = 31").await.unwrap(), "1");
}

async fn queued(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let mut console = pgweir.console().await.unwrap();
    let mut holder = pgweir.client("app", "app").connect().await.unwrap();
    holder.rows("begin").await.unwrap();
    holder.rows("select 1").await.unwrap();
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    for script in
        [Script::new().query("insert into t values (32)"), Script::new().run("select 1", &[]).sync()]
    {
        client.send(script.bytes()).await.unwrap();
        until_waiting(&mut console, 1).await;
        client.cancel().await.unwrap();
        let frames = client.read_until_ready().await.unwrap();
        let error = first_error(&frames).unwrap();
        assert_eq!((tags(&frames).as_str(), error.code.as_str()), ("EZ", "57014"), "{frames:?}");
    }
    until_waiting(&mut console, 0).await;
    holder.rows("commit").await.unwrap();
    assert_eq!(client.value("select count(*) from t where n = 32").await.unwrap(), "0");
}

async fn copy_out(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    let pid = client.value("select pg_backend_pid()").await.unwrap();
    let copy = "copy (select repeat('x', 1000) from generate_series(1, 10000000)) to stdout";
    client.send(Script::new().query(copy).bytes()).await.unwrap();
    client.read_until("CopyData", |frame| frame.tag == b'd').await.unwrap();
    client.cancel().await.unwrap();
    let frames = client.read_until_ready().await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "57014");
    assert_eq!(client.value("select pg_backend_pid()").await.unwrap(), pid);
}

async fn send_cancel(client: &Client, address: std::net::SocketAddr, key: &[u8]) {
    let (pid, _) = client.backend_key().unwrap();
    let length = u32::try_from(12 + key.len()).unwrap();
    let request = [&length.to_be_bytes()[..], &CANCEL.to_be_bytes(), &pid.to_be_bytes(), key].concat();
    let mut sender = Client::open(address).await.unwrap();
    sender.send(&request).await.unwrap();
    sender.read_until_closed().await.unwrap();
}

async fn wrong_key(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let mut watch = world.direct().await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    let (_, key) = client.backend_key().unwrap();
    client.send(Script::new().query("select 'slept' from pg_sleep(1)").bytes()).await.unwrap();
    until_sleeping(&mut watch).await;
    let mut flipped = key.clone();
    flipped[0] ^= 1;
    for wrong in [&flipped[..], &key[..3], &[], &[0; 256], &[&key[..], b"x"].concat()] {
        send_cancel(&client, pgweir.addr(), wrong).await;
    }
    let frames = client.read_until_ready().await.unwrap();
    assert_eq!(testkit::rows(&frames), vec![vec![Some("slept".to_owned())]], "{frames:?}");
}

/// A cancel that comes when nothing runs is forgotten: it doesn't wait for the next statement.
async fn idle(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    for _ in 0..20 {
        client.cancel().await.unwrap();
        assert_eq!(client.value("select 1 from pg_sleep(0.001)").await.unwrap(), "1");
    }
    client.rows("begin").await.unwrap();
    client.rows("select 1").await.unwrap();
    client.cancel().await.unwrap();
    assert_eq!(client.value("select 2 from pg_sleep(0.001)").await.unwrap(), "2");
    client.rows("commit").await.unwrap();
}

async fn long_key(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let mut watch = world.direct().await;
    let mut client = pgweir.client("app", "app").protocol(3, 2).connect().await.unwrap();
    let (_, key) = client.backend_key().unwrap();
    assert!(key.len() > 4 && key.len() <= 256, "{} bytes", key.len());
    let script = Script::new().query("select pg_sleep(100)");
    assert_eq!(cancelled(&mut client, &mut watch, &script).await, "57014");
    client.send(Script::new().query("select 'slept' from pg_sleep(0.5)").bytes()).await.unwrap();
    until_sleeping(&mut watch).await;
    send_cancel(&client, pgweir.addr(), &key[..4]).await;
    let frames = client.read_until_ready().await.unwrap();
    assert_eq!(testkit::rows(&frames), vec![vec![Some("slept".to_owned())]], "{frames:?}");
}

/// One client's short statements are cancelled as they end, while others use the same two connections.
async fn races(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(2)).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut bystanders = Vec::new();
    for number in 0..4 {
        let mut client = pgweir.client("app", "app").connect().await.unwrap();
        let over = Arc::clone(&over);
        bystanders.push(tokio::spawn(async move {
            let mut asked = 0;
            while !over.load(Ordering::Relaxed) {
                let nonce = format!("{number}/{asked}");
                let sql = format!("select '{nonce}' from pg_sleep(0.001)");
                assert_eq!(client.value(&sql).await.unwrap(), nonce);
                asked += 1;
            }
            asked
        }));
    }
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    let (mut hits, mut misses) = (0, 0);
    for round in 0..400_u64 {
        let sql = format!("select {round} from pg_sleep(0.002)");
        client.send(Script::new().query(&sql).bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_micros(round % 8 * 500)).await;
        client.cancel().await.unwrap();
        let frames = client.read_until_ready().await.unwrap();
        match first_error(&frames) {
            Some(error) => {
                assert_eq!(error.code, "57014", "{frames:?}");
                hits += 1;
            }
            None => {
                assert_eq!(testkit::rows(&frames), vec![vec![Some(round.to_string())]]);
                misses += 1;
            }
        }
    }
    over.store(true, Ordering::Relaxed);
    for bystander in bystanders {
        assert!(bystander.await.unwrap() > 0);
    }
    assert!(hits > 0 && misses > 0, "{hits} hits, {misses} misses: nothing was raced");
}
