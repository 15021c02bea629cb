//! A setting that the server takes no more: its session is told, its statement hasn't run, and nobody else notices.

use testkit::{Client, Script, first_error, tags};

use crate::ground::Ground;

/// A client whose role is gone before the connection comes to it again.
async fn with_lost_role(ground: &Ground) -> Client {
    let mut client = ground.client().connect().await.unwrap();
    client.rows("set role leaver").await.unwrap();
    assert_eq!(client.value("select current_user").await.unwrap(), "leaver");
    ground.intrude().await;
    psql(ground, "drop role leaver; create role leaver");
    client
}

fn psql(ground: &Ground, sql: &str) {
    ground.world.cluster.psql(0, "app", sql).unwrap();
}

fn written(ground: &Ground) -> String {
    ground.world.cluster.psql(0, "app", "select count(*) from written").unwrap().trim().to_owned()
}

/// The role may be had again, for whoever comes next.
fn restore(ground: &Ground) {
    psql(ground, "grant leaver to app; truncate written");
}

pub(crate) async fn dropped_role(ground: &Ground) {
    let mut client = with_lost_role(ground).await;
    for _ in 0..2 {
        let frames = client.query("insert into written values (current_user)").await.unwrap();
        let error = first_error(&frames).unwrap();
        assert_eq!((tags(&frames).as_str(), error.code.as_str()), ("EZ", "42501"), "{error:?}");
        assert_eq!(error.message, "permission denied to set role \"leaver\"");
        assert!(error.detail.unwrap().contains("was not run"));
        assert_eq!(frames[1].status(), Some('I'));
        ground.intrude().await;
    }
    assert_eq!(written(ground), "0");
    // It finds the way out by itself.
    assert_eq!(tags(&client.query("reset role").await.unwrap()), "CZ");
    ground.intrude().await;
    assert_eq!(client.value("select current_user").await.unwrap(), "app");
    restore(ground);
}

pub(crate) async fn revoked_role(ground: &Ground) {
    let mut client = ground.client().connect().await.unwrap();
    client.rows("set role guest").await.unwrap();
    ground.intrude().await;
    assert_eq!(client.value("select secret from owned").await.unwrap(), "of guest");
    ground.intrude().await;
    psql(ground, "revoke guest from app");
    for sql in ["select secret from owned", "vacuum", "call commits()", "select 1; select secret from owned"]
    {
        let frames = client.query(sql).await.unwrap();
        assert_eq!(
            (tags(&frames).as_str(), first_error(&frames).unwrap().code.as_str()),
            ("EZ", "42501"),
            "{sql}"
        );
    }
    ground.intrude().await;
    psql(ground, "grant guest to app");
    assert_eq!(client.value("select secret from owned").await.unwrap(), "of guest");
}

pub(crate) async fn transaction(ground: &Ground) {
    let mut client = with_lost_role(ground).await;
    assert_eq!(tags(&client.query("begin").await.unwrap()), "CZ");
    let frames = client.query("insert into written values ('x')").await.unwrap();
    assert_eq!((tags(&frames).as_str(), frames[1].status()), ("EZ", Some('E')));
    ground.intrude().await;
    let frames = client.query("select 1").await.unwrap();
    assert_eq!(first_error(&frames).unwrap().code, "25P02");
    let frames = client.query("commit").await.unwrap();
    assert_eq!((frames[0].command_tag().as_deref(), frames[1].status()), (Some("ROLLBACK"), Some('I')));
    assert_eq!(written(ground), "0");
    restore(ground);
    assert_eq!(client.value("select current_user").await.unwrap(), "leaver");
}

pub(crate) async fn pipeline(ground: &Ground) {
    let mut client = with_lost_role(ground).await;
    let insert = "insert into written values ($1)";
    let script = Script::new().run(insert, &[Some("a")]).run(insert, &[Some("b")]).sync();
    assert_eq!(tags(&client.run(&script).await.unwrap()), "EZ");
    ground.intrude().await;
    // Its Sync comes late.
    client.send(Script::new().run(insert, &[Some("c")]).flush().bytes()).await.unwrap();
    assert_eq!(client.read_frame().await.unwrap().tag, b'E');
    client.send(Script::new().run(insert, &[Some("d")]).bytes()).await.unwrap();
    assert_eq!(tags(&client.run(&Script::new().sync()).await.unwrap()), "Z");
    ground.intrude().await;
    assert_eq!(written(ground), "0");
    restore(ground);
    let named =
        Script::new().parse("who", "select current_user", &[]).bind("", "who", &[]).execute("", 0).sync();
    assert_eq!(tags(&client.run(&named).await.unwrap()), "12DCZ");
}

/// What is sent before the refusal is known has nobody else's settings either.
pub(crate) async fn behind(ground: &Ground) {
    let mut client = with_lost_role(ground).await;
    let insert = "insert into written values (current_user)";
    let script = Script::new()
        .query("begin")
        .query(insert)
        .query(&format!("rollback; {insert}"))
        .query(insert)
        .run(insert, &[])
        .sync()
        .query(insert);
    let frames = client.run(&script).await.unwrap();
    assert_eq!(tags(&frames), "CZEZEZEZEZEZ", "{frames:?}");
    assert_eq!(written(ground), "0");
    client.rows("rollback").await.unwrap();
    restore(ground);
    ground.intrude().await;
    assert_eq!(client.value("select current_user").await.unwrap(), "leaver");
}

pub(crate) async fn vanished(ground: &Ground) {
    for _ in 0..10 {
        let mut client = ground.client().connect().await.unwrap();
        client.rows("set role guest; set search_path to s1").await.unwrap();
        ground.intrude().await;
        client.send(Script::new().query("select pg_sleep(0.01)").bytes()).await.unwrap();
        client.reset();
        ground.intrude().await;
    }
}
