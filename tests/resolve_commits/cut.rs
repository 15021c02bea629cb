//! The connection is cut, and the primary lives.

use pgweir_tests::Cases;
use pgweir_tests::world::soon;
use testkit::{Cut, Direction, Script, Trigger, first_error};

use crate::world::{Told, World, commit, committed, done, error, goes_on, told};

pub(crate) async fn run(world: &World, cases: &mut Cases) {
    for how in [Cut::Reset, Cut::Fin] {
        for extended in [false, true] {
            let by = if extended { "extended" } else { "simple" };
            cases.run(&format!("the answer is lost, {by}, {how:?}"), answer_lost(world, extended, how)).await;
            cases.run(&format!("it never arrives, {by}, {how:?}"), never_arrives(world, extended, how)).await;
        }
    }
    let insert = |n: i32| format!("insert into slow values ({n})");
    let begun = |n: i32| vec![Script::new().query("begin"), Script::new().query(&insert(n))];
    let pipeline = |n: i32| Script::new().run("begin", &[]).run(&insert(n), &[]).run("commit", &[]).sync();
    let alone = |n: i32| Script::new().parse("", &insert(n), &[]).bind("", "", &[]).execute("", 0).sync();
    for (what, n, expected) in [("is done", 1, None), ("fails", -1, Some("40001"))] {
        let expect = |tags: &str| expected.map_or_else(|| done(tags), error);
        for extended in [false, true] {
            let answer = expected.map_or_else(|| committed(extended), error);
            let name = format!("a COMMIT under way {what}, extended: {extended}");
            cases.run(&name, under_way(world, true, begun(n), commit(extended), n, answer)).await;
        }
        let name = format!("a pipeline of a whole transaction {what}");
        cases.run(&name, under_way(world, true, vec![], pipeline(n), n, expect("12nC12nC12nCZ"))).await;
        let name = format!("an INSERT by itself {what}, extended");
        cases.run(&name, under_way(world, true, vec![], alone(n), n, expect("12CZ"))).await;
    }
    // What is not found out.
    let simple = Script::new().query(&insert(2));
    let name = "an INSERT by itself, simple";
    cases.run(name, under_way(world, true, vec![], simple, 2, error("08007"))).await;
    let several = Script::new().query("begin; insert into slow values (2); commit");
    cases.run("several statements", under_way(world, true, vec![], several, 2, error("08007"))).await;
    for extended in [false, true] {
        let name = format!("without the setting, extended: {extended}");
        cases.run(&name, under_way(world, false, begun(2), commit(extended), 2, error("08007"))).await;
    }
    cases.run("an INSERT that was never finished", unfinished(world)).await;
    cases.run("the connection is lost while the id is asked for", lost_at_rest(world)).await;
    cases.run("one of a client's transactions after the other", in_turn(world)).await;
}

/// It took effect: the client sees nothing of all that.
async fn answer_lost(world: &World, extended: bool, how: Cut) {
    let pgweir = world.pgweir(true).await;
    world.psql(0, "truncate t");
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    client.rows("begin").await.unwrap();
    client.rows("insert into t values (51)").await.unwrap();
    world.proxy().cut_when(Direction::ToClient, Trigger::Before(b"COMMIT".to_vec()), how);
    let fired = world.proxy().fired();
    let frames = client.run(&commit(extended)).await.unwrap();
    assert_eq!(world.proxy().fired(), fired + 1, "nothing was cut");
    assert_eq!(told(&frames), committed(extended), "{frames:?}");
    assert_eq!(world.count("t", 51), "1");
    goes_on(&mut client).await;
}

async fn never_arrives(world: &World, extended: bool, how: Cut) {
    let pgweir = world.pgweir(true).await;
    world.psql(0, "truncate t");
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    client.rows("begin").await.unwrap();
    client.rows("insert into t values (52)").await.unwrap();
    let fired = world.proxy().fired();
    world.proxy().cut_when(Direction::ToServer, Trigger::Before(b"commit\0".to_vec()), how);
    let frames = client.run(&commit(extended)).await.unwrap();
    assert_eq!(world.proxy().fired(), fired + 1, "nothing was cut");
    let told = first_error(&frames).unwrap_or_else(|| panic!("{frames:?}"));
    assert_eq!(told.code, "40001", "{told:?}");
    assert_eq!(world.count("t", 52), "0");
    if frames.last().unwrap().status() == Some('E') {
        // It was lost with what goes before the COMMIT.
        assert!(extended, "{frames:?}");
        client.rows("rollback").await.unwrap();
    }
    goes_on(&mut client).await;
}

/// All connections are cut while the server commits. It goes on with that, whatever becomes of it.
async fn under_way(world: &World, resolves: bool, before: Vec<Script>, last: Script, n: i32, expected: Told) {
    let pgweir = world.pgweir(resolves).await;
    world.psql(0, "truncate slow");
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    for script in before {
        client.run(&script).await.unwrap();
    }
    let holder = world.hold_commits().await;
    client.send(last.bytes()).await.unwrap();
    world.until_it_waits().await;
    let before = world.proxy().connections();
    world.proxy().cut_all(Cut::Reset);
    soon("others are opened", async || world.proxy().connections() > before).await;
    drop(holder);
    let frames = client.read_until_ready().await.unwrap();
    assert_eq!(told(&frames), expected, "{frames:?}");
    let there = async || world.count("slow", n);
    let expected = if n > 0 { "1" } else { "0" };
    pgweir_tests::eventually("rows", there, |count| count == expected).await.unwrap();
    goes_on(&mut client).await;
}

/// What no Sync came behind is not there, and never will be.
async fn unfinished(world: &World) {
    let pgweir = world.pgweir(true).await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    world.psql(0, "truncate t");
    let insert = Script::new().run("insert into t values (53)", &[]).flush();
    client.send(insert.bytes()).await.unwrap();
    client.read_until("answer", |frame| frame.tag == b'C').await.unwrap();
    world.proxy().cut_all(Cut::Reset);
    client.read_until("error", |frame| frame.tag == b'E').await.unwrap();
    let frames = client.run(&Script::new().sync()).await.unwrap();
    assert_eq!(told(&frames), done("Z"));
    assert_eq!(world.count("t", 53), "0");
    goes_on(&mut client).await;
}

/// The client is told when it speaks again, and nothing before.
async fn lost_at_rest(world: &World) {
    let pgweir = world.pgweir(true).await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    world.psql(0, "truncate t");
    client.rows("begin").await.unwrap();
    let fired = world.proxy().fired();
    let id = Trigger::Before(b"pg_current_xact_id_if_assigned()::pg_catalog.text".to_vec());
    world.proxy().cut_when(Direction::ToServer, id, Cut::Reset);
    client.rows("insert into t values (54)").await.unwrap();
    world.proxy().wait_fired(fired + 1).await.unwrap();
    let frames = client.query("commit").await.unwrap();
    assert_eq!(told(&frames), error("40001"), "{frames:?}");
    assert_eq!(world.count("t", 54), "0");
    goes_on(&mut client).await;
}

/// Each has its own id, also where they are sent without waiting for an answer.
async fn in_turn(world: &World) {
    let pgweir = world.pgweir(true).await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    world.psql(0, "truncate t");
    let insert = |n: i32| format!("insert into t values ({n})");
    for n in [60, 61] {
        for sql in ["begin", &insert(n), "commit"] {
            client.rows(sql).await.unwrap();
        }
    }
    let mut script = Script::new();
    for n in 62..66 {
        script = script.run(&insert(n), &[]).sync();
        script = script.query("begin").query(&insert(n + 10)).query(&insert(n + 20)).query("commit");
    }
    let frames = client.run(&script).await.unwrap();
    assert_eq!(first_error(&frames), None, "{frames:?}");
    assert_eq!(world.psql(0, "select count(*), count(distinct n) from t"), "14|14");
    // The last of several that are under way is lost: of each is told what is known.
    let fired = world.proxy().fired();
    client.rows("begin").await.unwrap();
    client.rows(&insert(90)).await.unwrap();
    world.proxy().cut_when(Direction::ToClient, Trigger::Before(b"COMMIT".to_vec()), Cut::Reset);
    let frames = client.run(&Script::new().query("commit").query(&insert(91))).await.unwrap();
    assert_eq!(world.proxy().fired(), fired + 1);
    let there = (world.count("t", 90), world.count("t", 91));
    match first_error(&frames) {
        // They were sent together.
        Some(error) => assert_eq!((error.code.as_str(), there.0.as_str()), ("08007", "1"), "{frames:?}"),
        None => assert_eq!((there.0.as_str(), there.1.as_str()), ("1", "1"), "{frames:?}"),
    }
}
