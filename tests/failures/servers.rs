//! Servers that end: what their clients are told, and that they stay.

use pgweir_tests::Cases;
use pgweir_tests::world::{Watch, World, crowd, soon};
use testkit::{Client, Mode, Pgweir, Script, ServerError, first_error, tags};

pub(crate) async fn run(world: &World, cases: &mut Cases) {
    cases.run("a backend killed while idle in the pool", killed_idle(world)).await;
    cases.run("a backend killed while it runs a statement", killed_running(world)).await;
    cases.run("a backend killed in the extended protocol", killed_running_extended(world)).await;
    cases.run("a backend killed while idle in a transaction", killed_in_transaction(world)).await;
    cases.run("a backend killed under a pinned session", killed_pinned(world)).await;
    cases.run("a backend killed in session mode", killed_in_session_mode(world)).await;
    cases.run("the primary is restarted", restarted(world, Mode::Fast)).await;
    cases.run("the primary is killed and started again", restarted(world, Mode::Immediate)).await;
    cases.run("a database that doesn't exist on the server", no_such_database(world)).await;
}

async fn kill(watch: &mut Watch, pid: &str) {
    assert_eq!(watch.value(&format!("select pg_terminate_backend({pid}, 5000)")).await, "t");
}

async fn pid(client: &mut Client) -> String {
    client.value("select pg_backend_pid()").await.unwrap()
}

async fn error(client: &mut Client, sql: &str) -> ServerError {
    let frames = client.query(sql).await.unwrap();
    first_error(&frames).unwrap_or_else(|| panic!("{sql}: {frames:?}"))
}

async fn one(world: &World) -> (Pgweir, Client, Watch) {
    let pgweir = world.pgweir(world.setup().pool_size(1).set("pool.pinned", "1")).await;
    let client = pgweir.client("app", "app").connect().await.unwrap();
    (pgweir, client, world.direct().await)
}

/// How many rows of this number there are.
async fn count(watch: &mut Watch, n: u32) -> String {
    watch.value(&format!("select count(*) from t where n = {n}")).await
}

async fn killed_idle(world: &World) {
    let (_pgweir, mut client, mut watch) = one(world).await;
    for _ in 0..5 {
        let before = pid(&mut client).await;
        kill(&mut watch, &before).await;
        assert_ne!(pid(&mut client).await, before);
    }
    client.rows("set work_mem = '7MB'").await.unwrap();
    let before = pid(&mut client).await;
    kill(&mut watch, &before).await;
    assert_eq!(client.value("show work_mem").await.unwrap(), "7MB");
}

async fn killed_running(world: &World) {
    let (_pgweir, mut client, mut watch) = one(world).await;
    let before = pid(&mut client).await;
    let sql = "with slept as (select pg_sleep(100)) insert into t select 41 from slept";
    client.send(Script::new().query(sql).bytes()).await.unwrap();
    soon("it runs", async || !watch.busy().await.is_empty()).await;
    kill(&mut watch, &before).await;
    let frames = client.read_until_ready().await.unwrap();
    let told = first_error(&frames).unwrap();
    // It stays connected, so for the client it is an ERROR. The server said itself why.
    assert_eq!((told.severity.as_str(), told.code.as_str()), ("ERROR", "57P01"), "{frames:?}");
    assert_eq!(tags(&frames), "EZ");
    assert_ne!(pid(&mut client).await, before);
    assert_eq!(count(&mut watch, 41).await, "0");
}

async fn killed_running_extended(world: &World) {
    let (_pgweir, mut client, mut watch) = one(world).await;
    let before = pid(&mut client).await;
    let script = Script::new().run("insert into t values (42)", &[]).run("select pg_sleep(100)", &[]).sync();
    client.send(script.run("select 'after'", &[]).sync().bytes()).await.unwrap();
    soon("it runs", async || watch.busy().await.iter().any(|sql| sql.contains("pg_sleep"))).await;
    kill(&mut watch, &before).await;
    let first = client.read_until_ready().await.unwrap();
    assert_eq!(first_error(&first).unwrap().code, "57P01", "{first:?}");
    // What followed was lost with it, or was run elsewhere; it is answered.
    let second = client.read_until_ready().await.unwrap();
    let served = testkit::rows(&second) == vec![vec![Some("after".to_owned())]];
    assert!(first_error(&second).is_some() != served, "{second:?}");
    assert_eq!(client.value("select 'alive'").await.unwrap(), "alive");
    assert_eq!(count(&mut watch, 42).await, "0");
}

async fn killed_in_transaction(world: &World) {
    let (_pgweir, mut client, mut watch) = one(world).await;
    client.rows("begin").await.unwrap();
    client.rows("insert into t values (43)").await.unwrap();
    let before = pid(&mut client).await;
    kill(&mut watch, &before).await;
    // The next statement learns of it; the transaction has failed, until the client ends it.
    let told = error(&mut client, "insert into t values (43)").await;
    assert!(["57P01", "40001"].contains(&told.code.as_str()) && told.severity == "ERROR", "{told:?}");
    let told = error(&mut client, "select 1").await;
    assert_eq!(told.code, "25P02");
    let frames = client.query("commit").await.unwrap();
    assert_eq!(frames[0].command_tag().as_deref(), Some("ROLLBACK"), "{frames:?}");
    assert_eq!(frames.last().unwrap().status(), Some('I'));
    client.rows("insert into t values (44)").await.unwrap();
    assert_eq!(count(&mut watch, 43).await, "0");
    assert_eq!(count(&mut watch, 44).await, "1");
}

/// What the session had there is lost: it is told, and closed.
async fn killed_pinned(world: &World) {
    let (pgweir, mut client, mut watch) = one(world).await;
    client.rows("create temp table mine (n int)").await.unwrap();
    let before = pid(&mut client).await;
    kill(&mut watch, &before).await;
    let frames = client.read_until_closed().await.unwrap();
    assert!(frames.iter().any(|frame| frame.tag == b'E'), "{frames:?}");
    // Its pin is free.
    let mut next = pgweir.client("app", "app").connect().await.unwrap();
    next.rows("create temp table mine (n int)").await.unwrap();
}

async fn killed_in_session_mode(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_mode("session").pool_size(1)).await;
    let mut watch = world.direct().await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    let before = pid(&mut client).await;
    kill(&mut watch, &before).await;
    let frames = client.read_until_closed().await.unwrap();
    assert!(frames.iter().any(|frame| frame.tag == b'E'), "{frames:?}");
    let mut next = pgweir.client("app", "app").connect().await.unwrap();
    assert_ne!(pid(&mut next).await, before);
}

/// Idle clients see nothing of it: their next transactions wait until it is there again.
async fn restarted(world: &World, mode: Mode) {
    let setup = world.setup().pool_size(3);
    let pgweir = world.pgweir(setup).await;
    world.direct().await.rows("truncate t").await;
    let mut idle = crowd(&pgweir, "app", 10).await;
    for client in &mut idle {
        client.rows("select 1").await.unwrap();
    }
    let mut open = idle.pop().unwrap();
    open.rows("begin").await.unwrap();
    open.rows("insert into t values (45)").await.unwrap();

    if mode == Mode::Immediate {
        world.cluster.kill(0).unwrap();
    } else {
        world.cluster.stop(0, mode).unwrap();
    }
    let waiting = idle.into_iter().map(|mut client| {
        tokio::spawn(async move {
            client.rows("insert into t values (46)").await.unwrap();
            client
        })
    });
    let waiting: Vec<_> = waiting.collect();
    // One that logs in meanwhile waits too.
    let mut late = pgweir.client("app", "app").connect().await.unwrap();
    world.cluster.start(0).unwrap();
    for client in waiting {
        let mut client = client.await.unwrap();
        assert_eq!(client.value("select 2").await.unwrap(), "2");
    }
    assert_eq!(late.value("select 3").await.unwrap(), "3");
    let told = error(&mut open, "select 4").await;
    assert!(["57P01", "40001"].contains(&told.code.as_str()), "{told:?}");
    open.rows("rollback").await.unwrap();
    assert_eq!(open.value("select 5").await.unwrap(), "5");
    let mut watch = world.direct().await;
    assert_eq!(count(&mut watch, 45).await, "0");
    assert_eq!(count(&mut watch, 46).await, "9");
}

/// A refusal that no waiting helps is passed on at once.
async fn no_such_database(world: &World) {
    let setup = world.setup().set("databases.ghost", "{cluster: pg, dbname: no_such_database}");
    let pgweir = world.pgweir(setup).await;
    let refused = pgweir.client("app", "ghost").connect().await.unwrap_err();
    let testkit::Error::Server(error) = refused else { panic!("{refused}") };
    assert_eq!((error.severity.as_str(), error.code.as_str()), ("FATAL", "3D000"), "{error:?}");
}
