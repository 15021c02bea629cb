//! What clients may have and how long they may take.

use std::time::Duration;

use pgweir_tests::Cases;
use pgweir_tests::world::{World, crowd, soon};
use testkit::{Client, Error, Pgweir, Script, ServerError, first_error};

pub(crate) async fn run(world: &World, cases: &mut Cases) {
    cases.run("max_client_conn", max_client_conn(world)).await;
    cases.run("max_client_conn_per_user", max_client_conn_per_user(world)).await;
    cases.run("unauthenticated_connections", unauthenticated(world)).await;
    cases.run("client_login_timeout", login_timeout(world)).await;
    cases.run("client_idle_timeout", idle_timeout(world)).await;
    cases.run("idle_transaction_timeout", idle_transaction(world)).await;
    cases.run("query_timeout", query_timeout(world)).await;
    cases.run("transaction_timeout", transaction_timeout(world)).await;
    cases.run("max_message", max_message(world)).await;
    cases.run("overrides of a user and a database", overrides(world)).await;
    cases.run("ten clients are spread over their cores", spread(world)).await;
}

async fn refused(pgweir: &Pgweir, user: &str) -> ServerError {
    match pgweir.client(user, "app").connect().await {
        Err(Error::Server(error)) => error,
        other => panic!("{other:?}"),
    }
}

async fn told(client: &mut Client) -> ServerError {
    let frames = client.read_until_closed().await.unwrap();
    first_error(&frames).unwrap_or_else(|| panic!("closed without a word: {frames:?}"))
}

async fn max_client_conn(world: &World) {
    let pgweir = world.pgweir(world.setup().set("limits.max_client_conn", "3")).await;
    let mut clients = crowd(&pgweir, "app", 3).await;
    let error = refused(&pgweir, "other").await;
    assert_eq!((error.severity.as_str(), error.code.as_str()), ("FATAL", "53300"), "{error:?}");
    assert!(error.detail.unwrap().contains("max_client_conn is 3"));
    clients.pop().unwrap().close().await.unwrap();
    soon("there is room again", async || pgweir.client("other", "app").connect().await.is_ok()).await;
    assert_eq!(clients[0].value("select 1").await.unwrap(), "1");
}

async fn max_client_conn_per_user(world: &World) {
    let pgweir = world.pgweir(world.setup().set("limits.max_client_conn_per_user", "2")).await;
    let _clients = crowd(&pgweir, "app", 2).await;
    let error = refused(&pgweir, "app").await;
    assert!(error.code == "53300" && error.message.contains("\"app\""), "{error:?}");
    crowd(&pgweir, "other", 2).await;
}

/// Connections that never say who they are keep nobody out for longer than the login time-out.
async fn unauthenticated(world: &World) {
    let setup = world.setup().set("limits.unauthenticated_connections", "5");
    let pgweir = world.pgweir(setup.set("limits.client_login_timeout", "500ms")).await;
    let mut there = pgweir.client("app", "app").connect().await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(Client::open(pgweir.addr()).await.unwrap());
    }
    assert_eq!(there.value("select 1").await.unwrap(), "1");
    for client in &mut silent {
        client.read_until_closed().await.unwrap();
    }
    let mut next = pgweir.client("app", "app").connect().await.unwrap();
    assert_eq!(next.value("select 2").await.unwrap(), "2");
}

/// One byte at a time doesn't prolong it.
async fn login_timeout(world: &World) {
    let pgweir = world.pgweir(world.setup().set("limits.client_login_timeout", "400ms")).await;
    let mut slow = Client::open(pgweir.addr()).await.unwrap();
    let mut startup = b"\0\0\0\x29\0\x03\0\0user\0app\0database\0app\0".to_vec();
    startup.resize(0x28, b'x');
    for byte in startup.chunks(1) {
        if slow.send(byte).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    slow.read_until_closed().await.unwrap();
}

async fn idle_timeout(world: &World) {
    let pgweir = world.pgweir(world.setup().set("limits.client_idle_timeout", "400ms")).await;
    let mut clients = crowd(&pgweir, "app", 2).await;
    clients[0].rows("begin").await.unwrap();
    clients[0].rows("select 1").await.unwrap();
    let error = told(&mut clients[1]).await;
    assert_eq!((error.severity.as_str(), error.code.as_str()), ("FATAL", "57P05"), "{error:?}");
    // In a transaction it isn't idle, nor while it works.
    clients[0].rows("select pg_sleep(1)").await.unwrap();
    clients[0].rows("commit").await.unwrap();
}

async fn idle_transaction(world: &World) {
    let setup = world.setup().pool_size(1).set("pool.idle_transaction_timeout", "400ms");
    let pgweir = world.pgweir(setup).await;
    let mut watch = world.direct().await;
    let mut clients = crowd(&pgweir, "app", 2).await;
    clients[0].rows("begin").await.unwrap();
    clients[0].rows("insert into t values (81)").await.unwrap();
    let pid = watch.backends().await;
    // Who waits for the connection gets it.
    assert_eq!(clients[1].value("select count(*) from t where n = 81").await.unwrap(), "0");
    let error = told(&mut clients[0]).await;
    assert_eq!((error.severity.as_str(), error.code.as_str()), ("FATAL", "25P03"), "{error:?}");
    assert_eq!(watch.backends().await, pid, "the connection was closed");
}

async fn query_timeout(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1).set("pool.query_timeout", "400ms")).await;
    let mut watch = world.direct().await;
    let mut clients = crowd(&pgweir, "app", 2).await;
    clients[0].send(Script::new().query("select pg_sleep(1000)").bytes()).await.unwrap();
    let error = told(&mut clients[0]).await;
    assert_eq!(error.code, "57014", "{error:?}");
    assert_eq!(clients[1].value("select 1").await.unwrap(), "1");
    assert_eq!(watch.busy().await, Vec::<String>::new());
}

async fn transaction_timeout(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1).set("pool.transaction_timeout", "600ms")).await;
    let mut clients = crowd(&pgweir, "app", 2).await;
    clients[0].rows("begin").await.unwrap();
    let mut error = None;
    for _ in 0..40 {
        let Ok(frames) = clients[0].query("select pg_sleep(0.1)").await else { break };
        error = error.or(first_error(&frames));
    }
    if let Ok(frames) = clients[0].read_until_closed().await {
        error = error.or(first_error(&frames));
    }
    assert_eq!(clients[1].value("select 1").await.unwrap(), "1");
    assert!(clients[0].query("select 1").await.is_err(), "it went on: {error:?}");
}

async fn max_message(world: &World) {
    let pgweir = world.pgweir(world.setup().set("limits.max_message", "100kB")).await;
    let mut clients = crowd(&pgweir, "app", 2).await;
    let long = |length: usize| format!("select '{}'", "x".repeat(length));
    assert_eq!(clients[0].value(&long(90_000)).await.unwrap().len(), 90_000);
    clients[0].send(Script::new().raw(b"Q\0\x10\0\0select").bytes()).await.unwrap();
    let error = told(&mut clients[0]).await;
    assert_eq!(error.severity, "FATAL", "{error:?}");
    assert_eq!(clients[1].value("select 1").await.unwrap(), "1");
}

/// A user's settings come before a database's, those before the general ones.
async fn overrides(world: &World) {
    let setup = world.setup().pool_size(4).set("databases.app.pool", "{size: 2}");
    let setup = setup.set("users.other.pool", "{mode: session, size: 1, query_wait_timeout: 300ms}");
    let pgweir = world.pgweir(setup).await;
    let mut other = pgweir.client("other", "app").connect().await.unwrap();
    other.rows("set work_mem = '7MB'").await.unwrap();
    let mut second = pgweir.client("other", "app").connect().await.unwrap();
    let frames = second.query("select 1").await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "53300", "{frames:?}");
    let mut clients = crowd(&pgweir, "app", 2).await;
    for client in &mut clients {
        client.rows("begin").await.unwrap();
        client.rows("select 1").await.unwrap();
    }
    assert_eq!(world.direct().await.count().await, 3);
}

/// How many clients each core has, by the metrics.
async fn per_core(address: &str) -> Vec<u32> {
    let text = get(address, "/metrics").await;
    let lines = text.lines().filter(|line| line.starts_with("pgweir_core_clients{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.strip_suffix(".0")?.parse().ok()).collect()
}

async fn get(address: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn spread(world: &World) {
    for (workers, size) in [(2, 8), (3, 12), (4, 20)] {
        let http = format!("127.0.0.1:{}", testkit::free_port().unwrap());
        let setup = world.setup().pool_size(size).set("instance.workers", &workers.to_string());
        let pgweir = world.pgweir(setup.set("listen.http", &format!("\"{http}\""))).await;
        let mut clients = crowd(&pgweir, "app", 10).await;
        let counts = per_core(&http).await;
        assert_eq!((counts.len(), counts.iter().sum::<u32>()), (workers, 10), "{counts:?}");
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        // One that leaves makes room on its core.
        clients.drain(..5);
        soon("five are left", async || per_core(&http).await.iter().sum::<u32>() == 5).await;
        clients.extend(crowd(&pgweir, "app", 5).await);
        let counts = per_core(&http).await;
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
    }
}
