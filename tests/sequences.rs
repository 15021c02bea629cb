//! currval and lastval over shared connections: this session's value, or 55000, never another session's value.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use pgweir_tests::Cases;
use pgweir_tests::talk::{client, refusal, run, value};
use pgweir_tests::world::World;
use testkit::{Script, first_error, rows};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequences_last_value_is_the_sessions_own() {
    let world = World::start();
    let tables = "create table made (id serial, n int); create sequence s; create sequence other";
    world.cluster.psql_as(0, "app", "app", tables).unwrap();
    let mut cases = Cases::new();
    cases.run("statement by statement, while others work", statement_by_statement(&world)).await;
    cases.run("moved about before anybody asked", moved_about(&world)).await;
    cases.run("in one transaction, in one text, returned", together(&world)).await;
    cases.run("the connection was used by another", used_by_another(&world)).await;
    cases.run("who called no nextval has no value", nothing_yet(&world)).await;
    cases.run("prepared statements", extended(&world)).await;
    cases.run("asked for late, after much else", asked_late(&world)).await;
    cases.run("asked for where no text says so", hidden(&world)).await;
    cases.run("many at once", many_at_once(&world)).await;
    cases.finish();
}

const CURRENT: &str = "select currval('made_id_seq')";

async fn statement_by_statement(world: &World) {
    let setup = world.setup().set("instance.workers", "1").pool_size(2);
    for round_robin in ["false", "true"] {
        let pgweir = world.pgweir(setup.clone().set("pool.server_round_robin", round_robin)).await;
        let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
        // Both connections are there, and values of others are on them.
        run(&mut a, &["begin", "insert into made (n) values (1)"]).await;
        run(&mut b, &["begin", "insert into made (n) values (1)", "commit"]).await;
        run(&mut a, &["commit"]).await;
        // From here on the pool knows that somebody asks.
        a.query(CURRENT).await.unwrap();
        for _ in 0..5 {
            let id = value(&mut a, "insert into made (n) values (2) returning id").await;
            assert_eq!(value(&mut a, CURRENT).await, id);
            run(&mut b, &["select 1", "update made set n = 3 where n = 2", "select 2"]).await;
            assert_eq!(value(&mut a, "select lastval()").await, id);
            assert_eq!(value(&mut a, CURRENT).await, id);
        }
    }
}

/// A session that was on both connections, and comes back to the first, finds no older value of its own there.
async fn moved_about(world: &World) {
    let setup = world.setup().set("instance.workers", "1").pool_size(2);
    let pgweir = world.pgweir(setup.set("pool.server_round_robin", "true")).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    run(&mut a, &["begin", "select 1"]).await;
    run(&mut b, &["begin", "select 1", "commit"]).await;
    run(&mut a, &["commit"]).await;
    for _ in 0..2 {
        value(&mut a, "insert into made (n) values (1) returning id").await;
    }
    let last = value(&mut a, "insert into made (n) values (1) returning id").await;
    run(&mut a, &["update made set n = 4 where n = 1"]).await;
    let found = a.query("select lastval()").await.unwrap();
    match first_error(&found) {
        None => assert_eq!(rows(&found), vec![vec![Some(last)]]),
        Some(error) => assert_eq!(error.code, "55000"),
    }
}

async fn together(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    for _ in 0..3 {
        run(&mut b, &["insert into made (n) values (1)"]).await;
        run(&mut a, &["begin"]).await;
        let id = value(&mut a, "insert into made (n) values (2) returning id").await;
        assert_eq!(value(&mut a, CURRENT).await, id);
        run(&mut a, &["commit"]).await;
        run(&mut b, &["insert into made (n) values (1)"]).await;
        let same = "insert into made (n) values (3) returning id = currval('made_id_seq')";
        assert_eq!(value(&mut a, same).await, "t");
        run(&mut b, &["insert into made (n) values (1)"]).await;
        let frames = a.query("select nextval('s'); select currval('s')").await.unwrap();
        let rows = rows(&frames);
        assert!(rows.len() == 2 && rows[0] == rows[1], "{frames:?}");
        assert_eq!(value(&mut a, "select setval('s', 500); select currval('s')").await, "500");
    }
}

async fn used_by_another(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    for _ in 0..3 {
        run(&mut a, &["insert into made (n) values (1)"]).await;
        let id = value(&mut b, "insert into made (n) values (1) returning id").await;
        for asks in [CURRENT, "select lastval()"] {
            let error = refusal(&mut a, asks).await;
            assert!(error.code == "55000" && error.hint.is_some() && error.detail.is_some(), "{error:?}");
        }
        // The refusal has used the connection for nothing.
        let found = b.query(CURRENT).await.unwrap();
        match first_error(&found) {
            None => assert_eq!(rows(&found), vec![vec![Some(id)]]),
            Some(error) => assert_eq!(error.code, "55000"),
        }
        // In a transaction the error fails it, and it can go on from a savepoint.
        run(&mut a, &["begin", "savepoint p"]).await;
        assert_eq!(refusal(&mut a, CURRENT).await.code, "55000");
        assert_eq!(refusal(&mut a, "select 1").await.code, "25P02");
        run(&mut a, &["rollback to p", "insert into made (n) values (5)", CURRENT, "commit"]).await;
    }
}

async fn nothing_yet(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let mut a = client(&pgweir).await;
    run(&mut a, &["select nextval('s')", "select nextval('other')", "insert into made (n) values (1)"]).await;
    for asks in ["select currval('s')", "select lastval()", CURRENT] {
        let mut fresh = client(&pgweir).await;
        let error = refusal(&mut fresh, asks).await;
        assert!(error.code == "55000" && error.message.contains("not yet defined"), "{error:?}");
        // Nor does what it writes make another's value its own.
        run(&mut a, &["select nextval('s')"]).await;
        run(&mut fresh, &["begin", "update made set n = 9 where n = 8"]).await;
        assert_eq!(refusal(&mut fresh, asks).await.code, "55000");
    }
    // Before anybody has asked, neither.
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    run(&mut a, &["select nextval('s')"]).await;
    run(&mut b, &["begin", "update made set n = 9 where n = 8"]).await;
    assert_eq!(refusal(&mut b, "select currval('s')").await.code, "55000");
}

/// A default, a check, a view or a function asks for it: made through pgweir, or before it was there.
async fn hidden(world: &World) {
    let made = [
        "create sequence quiet",
        "create table hides (id int default nextval('quiet'), twice int default -currval('quiet'), n int,
            check (id = currval('quiet')))",
    ];
    let asks = "insert into hides (id, n) values (1, 1) returning twice";
    for through in [false, true] {
        let setup = world.setup().set("instance.workers", "1").pool_size(3);
        let pgweir = world.pgweir(setup.set("pool.server_round_robin", "true")).await;
        let (mut a, mut b, mut c) = (client(&pgweir).await, client(&pgweir).await, client(&pgweir).await);
        // All connections are there.
        for client in [&mut a, &mut b, &mut c] {
            run(client, &["begin", "select 1"]).await;
        }
        for client in [&mut a, &mut b, &mut c] {
            run(client, &["commit"]).await;
        }
        if through {
            run(&mut a, &made).await;
        } else {
            world.cluster.psql_as(0, "app", "app", &made.join("; ")).unwrap();
        }
        for round in 0..4 {
            let id = value(&mut a, "insert into hides (n) values (0) returning id").await;
            // The check compares with what the session has had before.
            let again = asks.replace("(1, 1)", &format!("({id}, {round})"));
            assert_eq!(value(&mut a, &again).await, format!("-{id}"), "through: {through}, round {round}");
            run(&mut b, &["select 1", "begin", "select 2", "commit"]).await;
            run(&mut c, &["select 3"]).await;
            assert_eq!(value(&mut a, &again).await, format!("-{id}"), "through: {through}, round {round}");
        }
        run(&mut a, &["drop table hides", "drop sequence quiet"]).await;
    }
}

async fn extended(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    let prepare = Script::new()
        .parse("i", "insert into made (n) values ($1) returning id", &[])
        .parse("c", "select currval('made_id_seq')", &[])
        .sync();
    for client in [&mut a, &mut b] {
        let frames = client.run(&prepare).await.unwrap();
        assert!(first_error(&frames).is_none(), "{frames:?}");
    }
    let insert = Script::new().bind("", "i", &[Some("1")]).execute("", 0).sync();
    let ask = Script::new().bind("", "c", &[]).execute("", 0).sync();
    for _ in 0..3 {
        let made = a.run(&insert).await.unwrap();
        let asked = a.run(&ask).await.unwrap();
        assert_eq!(rows(&made), rows(&asked), "{asked:?}");
        let made = a.run(&insert).await.unwrap();
        let theirs = b.run(&insert).await.unwrap();
        assert_ne!(rows(&made), rows(&theirs));
        let asked = a.run(&ask).await.unwrap();
        assert_eq!(first_error(&asked).unwrap().code, "55000", "{asked:?}");
        // In one pipeline.
        let both =
            Script::new().bind("", "i", &[Some("1")]).execute("", 0).bind("", "c", &[]).execute("", 0).sync();
        let frames = b.run(&both).await.unwrap();
        let found = rows(&frames);
        assert!(found.len() == 2 && found[0] == found[1], "{frames:?}");
    }
}

/// Nobody has asked for so long that connections aren't kept apart any more: the first who asks is refused, if need
/// be, and those who come after are not.
async fn asked_late(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(1)).await;
    let (mut a, mut b) = (client(&pgweir).await, client(&pgweir).await);
    for _ in 0..200 {
        run(&mut a, &["insert into made (n) values (1)"]).await;
        run(&mut b, &["insert into made (n) values (1)"]).await;
    }
    let mut c = client(&pgweir).await;
    run(&mut c, &["begin", "update made set n = 9 where n = 8"]).await;
    let error = refusal(&mut c, CURRENT).await;
    assert!(error.code == "55000" && error.hint.is_some(), "{error:?}");
    run(&mut c, &["rollback"]).await;
    let id = value(&mut a, "insert into made (n) values (1) returning id").await;
    assert_eq!(value(&mut a, CURRENT).await, id);
}

/// Eight clients on two connections and two cores: each answer is one's own value, or 55000.
async fn many_at_once(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(2)).await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let mut client = client(&pgweir).await;
        tasks.push(tokio::spawn(async move {
            let mut own = 0;
            for _ in 0..40 {
                let id = value(&mut client, "insert into made (n) values (1) returning id").await;
                let frames = client.query(CURRENT).await.unwrap();
                match first_error(&frames) {
                    Some(error) => assert_eq!(error.code, "55000", "{error:?}"),
                    None => {
                        assert_eq!(rows(&frames), vec![vec![Some(id)]]);
                        own += 1;
                    }
                }
            }
            own
        }));
    }
    for task in tasks {
        let _own: usize = task.await.unwrap();
    }
    // With nobody else there, it is always one's own.
    let mut alone = client(&pgweir).await;
    for _ in 0..10 {
        let id = value(&mut alone, "insert into made (n) values (1) returning id").await;
        assert_eq!(value(&mut alone, CURRENT).await, id);
    }
}
