//! LISTEN and NOTIFY over shared connections: as on a connection of one's own, idle or not, and at no other's cost.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::net::SocketAddr;
use std::time::Duration;

use pgweir_tests::Cases;
use pgweir_tests::program::peak_memory;
use pgweir_tests::talk::without_source;
use pgweir_tests::world::{World, crowd, soon};
use testkit::{
    Client, Cluster, ConnectOptions, FaultProxy, Frame, Pgweir, Script, first_error, normalize, tags,
};

/// The application name of listening connections.
const LISTENING: &str = "application_name = 'pgweir-listen'";
/// For showing that nothing comes.
const QUIET: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_hear_what_they_would_hear_directly() {
    let world = World::start_with(Cluster::builder());
    world.cluster.psql_as(0, "app", "app", SCHEMA).unwrap();
    let pgweir = world.pgweir(world.setup().pool_size(2)).await;
    let ground = Ground { world, pgweir };
    let mut cases = Cases::new();
    for (name, talk) in conversations() {
        cases.run(name, ground.same(&ground.pgweir, &talk)).await;
    }
    let session = ground.world.pgweir(ground.world.setup().pool_size(4).pool_mode("session")).await;
    for (name, talk) in conversations() {
        cases.run(&format!("session mode: {name}"), ground.same(&session, &talk)).await;
    }
    drop(session);
    let statement = ground.world.pgweir(ground.world.setup().pool_mode("statement")).await;
    let talk = each(&[
        "listen a",
        "notify a, '1'",
        "listen b; unlisten a; notify a; notify b",
        "unlisten *",
        "notify b",
    ]);
    cases.run("statement mode", ground.same(&statement, &talk)).await;
    drop(statement);
    cases.run("idle clients hear at once", idle(&ground)).await;
    cases.run("others are known by their pids", known(&ground)).await;
    cases.run("a connection that others use hears nothing", others(&ground)).await;
    cases.run("each notification once, in one order for all", order(&ground)).await;
    cases.run("a session hears its own before it may go on", own_first(&ground)).await;
    cases.run("many sessions, many channels", many(&ground)).await;
    cases.run("nobody is left: the channel is left", released(&ground)).await;
    cases.run("each hears in its own encoding", encodings(&ground)).await;
    cases.run("a lost listening connection ends its sessions", lost(&ground)).await;
    cases.run("unless they are to be kept", kept(&ground)).await;
    cases.run("who doesn't read is sent away", slow(&ground)).await;
    cases.run("the console and a reload", seen(&ground)).await;
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_follow_the_primary() {
    let world = World::start_with(Cluster::builder().replicas(1));
    world.cluster.wait_all_caught_up().unwrap();
    let quick = || world.setup().set("health.interval", "200ms").set("health.timeout", "1s");
    let closes = world.pgweir(quick()).await;
    let keeps = world.pgweir(quick().set("pool.listen_on_loss", "keep")).await;
    let mut closed = of(&closes).connect().await.unwrap();
    let mut kept = of(&keeps).connect().await.unwrap();
    for client in [&mut closed, &mut kept] {
        client.rows("listen a").await.unwrap();
    }
    world.cluster.kill(0).unwrap();
    world.cluster.promote(1).unwrap();
    assert_eq!(first_error(&closed.read_until_closed().await.unwrap()).unwrap().code, "57P01");
    for pgweir in [&closes, &keeps] {
        let mut client = of(pgweir).connect().await.unwrap();
        soon("a LISTEN on the new primary", async || client.rows("listen a").await.is_ok()).await;
        assert_eq!(payloads(&client.query("notify a, 'own'").await.unwrap()), ["own"]);
    }
    // What is heard once it listens again isn't known beforehand.
    let mut teller = of(&keeps).connect().await.unwrap();
    soon("the kept one hears", async || {
        teller.rows("notify a, 'new'").await.unwrap();
        let (frames, closed) = kept.read_while_available(Duration::from_millis(50)).await;
        assert!(!closed, "{frames:?}");
        payloads(&frames).contains(&"new".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_silent_is_a_loss() {
    let world = World::start();
    let proxy = FaultProxy::of(world.cluster.primary()).await.unwrap();
    let node = world.cluster.primary().name().to_owned();
    let setup = world.setup().node(world.cluster.name(), &node, proxy.port());
    let pgweir = world.pgweir(setup).await;
    let mut client = of(&pgweir).connect().await.unwrap();
    client.rows("listen a").await.unwrap();
    proxy.blackhole(true);
    assert_eq!(first_error(&client.read_until_closed().await.unwrap()).unwrap().code, "57P01");
    assert!(pgweir.log().contains("has said nothing"), "{}", pgweir.log());
}

/// 1,000 sessions on 100 channels, ten on each, and 50,000 notifications: each that should gets each one once, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_listen() {
    const CHANNELS: usize = 100;
    const CLIENTS: usize = 1_000;
    const EACH: usize = 500;
    let world = World::start();
    let setup = world.setup().pool_size(4).set("auth.method", "trust");
    let pgweir = world.pgweir(setup).await;
    let mut joining = Vec::new();
    for part in 0..20 {
        let options = of(&pgweir);
        joining.push(tokio::spawn(async move {
            let mut clients = Vec::new();
            for number in 0..CLIENTS / 20 {
                let channel = (part * CLIENTS / 20 + number) % CHANNELS;
                let mut client = options.clone().connect().await.unwrap();
                client.rows(&format!("listen c{channel}")).await.unwrap();
                clients.push((channel, client));
            }
            clients
        }));
    }
    let mut clients = Vec::new();
    for part in joining {
        clients.extend(part.await.unwrap());
    }
    let mut tellers = Vec::new();
    for client in crowd(&pgweir, "app", 4).await {
        // Each tells a quarter of the channels, so that the order in a channel is known.
        let (quarter, mut client) = (tellers.len(), client);
        tellers.push(tokio::spawn(async move {
            for number in 0..EACH {
                let first = quarter * CHANNELS / 4;
                let all = format!("generate_series({first}, {})", first + CHANNELS / 4 - 1);
                client.rows(&format!("select pg_notify('c' || c, '{number}') from {all} c")).await.unwrap();
            }
        }));
    }
    let mut hearing = Vec::new();
    for (channel, client) in clients {
        let mut client = client;
        hearing.push(tokio::spawn(async move {
            let channel = format!("c{channel}");
            for number in 0..EACH {
                let frame = client.read_frame().await.unwrap();
                assert_eq!(said(&frame), (channel.clone(), number.to_string()));
            }
            client
        }));
    }
    for teller in tellers {
        teller.await.unwrap();
    }
    let mut clients = Vec::new();
    for client in hearing {
        clients.push(client.await.unwrap());
    }
    for client in clients.iter_mut().take(3) {
        assert_eq!(tags(&client.read_while_available(QUIET).await.0), "");
    }
    let peak = peak_memory(pgweir.pid());
    assert!(peak < MEMORY, "{} MB", peak >> 20);
}

/// pgweir starts with about 20 MB; a client has a socket, a task and a mailbox, 20 kB at most in all; and of 50,000
/// notifications, 100 bytes each, each is kept once however many wait for it.
const MEMORY: u64 = (20 << 20) + 1_000 * (20 << 10) + 50_000 * 100;

const SCHEMA: &str = "
    create table noisy (n int);
    create function tell() returns trigger language plpgsql as $$
        begin perform pg_notify('rows', new.n::text); return new; end $$;
    create trigger tell after insert on noisy for each row execute function tell();
    create function shout(what text) returns void language plpgsql as $$
        begin execute format('notify a, %L', what); end $$;
    create function ear(channel text) returns void language plpgsql as $$
        begin execute format('listen %I', channel); end $$;
";

/// One Postgres with pgweir in front, which has two connections to it.
struct Ground {
    world: World,
    pgweir: Pgweir,
}

/// What one of two clients does.
enum Turn {
    /// The first, who listens.
    A(Script),
    /// The other.
    B(Script),
    /// The first waits for so many notifications.
    Hear(usize),
}

impl Ground {
    /// A conversation is answered as by Postgres.
    async fn same(&self, pgweir: &Pgweir, talk: &[Turn]) {
        let direct = self.hold(|| self.direct(), talk).await;
        let through = self.hold(|| of(pgweir), talk).await;
        assert!(direct == through, "\ndirect:  {direct:?}\nthrough: {through:?}");
    }

    /// A client of Postgres itself.
    fn direct(&self) -> ConnectOptions {
        let node = SocketAddr::from(([127, 0, 0, 1], self.world.cluster.primary().port()));
        Client::to(node).user("app", "app-secret").database("app")
    }

    async fn hold(&self, options: impl Fn() -> ConnectOptions, talk: &[Turn]) -> Vec<Frame> {
        let mut a = options().connect().await.unwrap();
        let mut b = options().connect().await.unwrap();
        let mut frames = Vec::new();
        for turn in talk {
            match turn {
                Turn::A(script) => frames.extend(a.run(script).await.unwrap()),
                Turn::B(script) => assert!(first_error(&b.run(script).await.unwrap()).is_none()),
                Turn::Hear(count) => frames.extend(hear(&mut a, *count).await),
            }
        }
        let (late, closed) = a.read_while_available(Duration::from_millis(20)).await;
        assert!(late.is_empty() && !closed, "{late:?} came too late, after {frames:?}");
        frames = frames.into_iter().map(|frame| with_known_pid(frame, &a)).collect();
        a.close().await.unwrap();
        b.close().await.unwrap();
        frames.into_iter().map(|frame| without_source(frame, b"E")).collect()
    }

    async fn listener(&self, channels: &[&str]) -> Client {
        let mut client = of(&self.pgweir).connect().await.unwrap();
        for channel in channels {
            client.rows(&format!("listen {channel}")).await.unwrap();
        }
        client
    }
}

/// In a notification the pid becomes 1 if it is the receiver's own, as it was told at login, else 2.
fn with_known_pid(mut frame: Frame, receiver: &Client) -> Frame {
    if frame.tag == b'A' {
        let own = frame.body.starts_with(&receiver.backend_key().unwrap().0.to_be_bytes());
        frame.body[..4].copy_from_slice(&[0, 0, 0, if own { 1 } else { 2 }]);
    }
    frame
}

fn of(pgweir: &Pgweir) -> ConnectOptions {
    pgweir.client("app", "app")
}

/// So many notifications, and nothing else.
async fn hear(client: &mut Client, count: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    for _ in 0..count {
        let frame = client.read_frame().await.unwrap();
        assert_eq!(frame.tag, b'A', "{frame:?} after {frames:?}");
        frames.push(frame);
    }
    frames
}

/// Channel and payload.
fn said(frame: &Frame) -> (String, String) {
    let mut texts = frame.body[4..].split(|byte| *byte == 0).map(|t| String::from_utf8_lossy(t).into_owned());
    (texts.next().unwrap(), texts.next().unwrap())
}

fn payloads(frames: &[Frame]) -> Vec<String> {
    frames.iter().filter(|frame| frame.tag == b'A').map(|frame| said(frame).1).collect()
}

fn s() -> Script {
    Script::new()
}

/// Each text a Query of its own, answered before the next.
fn each(queries: &[&str]) -> Vec<Turn> {
    queries.iter().map(|sql| Turn::A(s().query(sql))).collect()
}

fn then(first: &[&str], rest: impl IntoIterator<Item = Turn>) -> Vec<Turn> {
    each(first).into_iter().chain(rest).collect()
}

fn other(sql: &str) -> Turn {
    Turn::B(s().query(sql))
}

fn conversations() -> Vec<(&'static str, Vec<Turn>)> {
    let long = "x".repeat(80);
    let big = format!("notify a, '{}'", "p".repeat(7999));
    let too_big = format!("notify a, '{}'", "p".repeat(8000));
    let of_long = [format!("listen {long}"), format!("notify {long}"), format!("unlisten {long}")];
    vec![
        ("one's own", each(&["listen a", "notify a, 'one'", "notify a", "notify b", "select 1"])),
        ("another's", then(&["listen a"], [other("notify a, 'two'"), Turn::Hear(1)])),
        ("in a transaction", each(&["begin", "listen a", "notify a, 'in'", "commit", "notify a, 'after'"])),
        ("in one Query", each(&["begin; listen a; notify a, 'in'; commit", "notify a"])),
        ("an implicit transaction", each(&["listen a; notify a, '1'; notify a, '2'", "notify a, '3'"])),
        (
            "one of several fails",
            each(&["listen a; select 1/0", "notify a", "begin; listen b; commit; select 1/0", "notify b"]),
        ),
        (
            "rolled back",
            each(&["begin", "listen a", "rollback", "notify a", "begin; listen a; rollback", "notify a"]),
        ),
        (
            "savepoints",
            each(&[
                "begin",
                "listen a",
                "savepoint s",
                "listen b",
                "rollback to s",
                "savepoint t",
                "listen c",
                "release t",
                "commit",
                "notify a",
                "notify b",
                "notify c",
            ]),
        ),
        (
            "UNLISTEN",
            each(&[
                "listen a",
                "listen b",
                "unlisten a",
                "notify a",
                "notify b",
                "listen a",
                "unlisten *",
                "notify a",
                "unlisten never",
                "listen b",
                "notify b",
            ]),
        ),
        (
            "UNLISTEN in transactions",
            each(&[
                "listen a",
                "listen b",
                "begin",
                "unlisten a",
                "rollback",
                "notify a, '1'",
                "begin",
                "savepoint s",
                "unlisten *",
                "rollback to s",
                "unlisten b",
                "commit",
                "notify a, '2'",
                "notify b, '3'",
                "begin",
                "unlisten a",
                "notify a, '4'",
                "listen c",
                "commit",
                "notify c, '5'",
                "notify a, '6'",
            ]),
        ),
        (
            "UNLISTEN and LISTEN again",
            each(&["listen a", "begin; unlisten *; listen a; notify a; commit", "notify a"]),
        ),
        (
            "pg_listening_channels",
            each(&[
                "select pg_listening_channels()",
                "listen b",
                "listen a",
                "listen c; unlisten b",
                "select * from pg_listening_channels()",
                "select count(*) from pg_listening_channels(); notify a",
                "notify c",
                "unlisten *",
                "select pg_listening_channels()",
            ]),
        ),
        ("DISCARD ALL", each(&["listen a", "discard all", "notify a", "listen a", "notify a"])),
        (
            "in a failed transaction",
            each(&["begin", "select 1/0", "listen a", "unlisten a", "rollback", "notify a"]),
        ),
        (
            "what can't be understood",
            each(&[
                "listen",
                "listen 'a'",
                "listen a b",
                "unlisten",
                "notify",
                "listen user",
                "listen a.b",
                "notify a",
            ]),
        ),
        ("twice", each(&["listen a", "listen a", "begin; listen a; notify a, '1'; commit", "notify a, '2'"])),
        (
            "names",
            each(&[
                "listen \"Quoted \"\"Name\"\"; x\"",
                "notify \"Quoted \"\"Name\"\"; x\", 'q'",
                "listen CamelCase",
                "notify camelcase",
                "notify \"CamelCase\"",
                "listen \"ünïcode\"",
                "notify \"ünïcode\", 'ü'",
                "unlisten \"ünïcode\"",
                "notify \"ünïcode\"",
                &of_long[0],
                &of_long[1],
                &of_long[2],
                &of_long[1],
            ]),
        ),
        ("payloads", each(&["listen a", &big, &too_big, "notify a, ''", "select pg_notify('a', 'f')"])),
        (
            "the same twice in one transaction",
            each(&["listen a", "begin; notify a, 'x'; notify a, 'x'; notify a; commit"]),
        ),
        (
            "functions and triggers",
            each(&[
                "listen a",
                "listen rows",
                "select shout('loud')",
                "insert into noisy values (1), (2)",
                "do $$ begin notify a, 'do'; end $$",
                "begin",
                "insert into noisy values (3)",
                "rollback",
                "with w as (insert into noisy values (4) returning n) select n from w",
            ]),
        ),
        (
            "LISTEN in a function",
            each(&[
                "select ear('hidden')",
                "notify hidden, '1'",
                "select ear('more')",
                "notify more, '2'",
                "begin; notify hidden, '3'; notify more, '4'; commit",
                "do $$ begin execute 'listen done'; end $$",
                "notify done, '5'",
                "unlisten hidden",
                "notify hidden",
                "notify more, '6'",
                "unlisten *",
                "notify more",
            ]),
        ),
        (
            "another's at the end of a transaction",
            then(
                &["listen a", "begin", "insert into t values (1)"],
                [other("notify a, 'while'"), other("notify a, 'open'")].into_iter().chain(each(&[
                    "select 1",
                    "notify a, 'own'",
                    "commit",
                    "select 2",
                ])),
            ),
        ),
        (
            "another's before LISTEN",
            then(
                &["select 1"],
                [other("notify a, 'early'")].into_iter().chain(each(&["listen a", "notify a"])),
            ),
        ),
        (
            "in the extended protocol",
            vec![
                Turn::A(s().run("listen a", &[]).sync()),
                Turn::A(s().run("notify a, 'x'", &[]).run("select pg_notify('a', $1)", &[Some("y")]).sync()),
                Turn::A(s().parse("l", "listen b", &[]).parse("n", "notify b, 'z'", &[]).sync()),
                Turn::A(s().bind("", "l", &[]).execute("", 0).sync()),
                Turn::A(s().bind("", "n", &[]).execute("", 0).sync()),
                Turn::A(s().run("unlisten b", &[]).run("notify b", &[]).sync()),
                Turn::A(s().run("listen c", &[]).run("select 1/0", &[]).sync().query("notify c")),
            ],
        ),
        (
            "pipelines",
            vec![
                Turn::A(
                    s().query("listen a").query("notify a, '1'").query("select 1").query("notify a, '2'"),
                ),
                Turn::A(
                    s().run("listen b", &[]).sync().run("notify b, '3'", &[]).sync().query("notify b, '4'"),
                ),
                Turn::A(s().query("begin").query("listen c").query("commit").query("notify c, '5'")),
                Turn::A(s().query("begin").query("unlisten c").query("commit").query("notify c, '6'")),
            ],
        ),
        (
            "COMMIT AND CHAIN",
            each(&["begin", "listen a", "commit and chain", "notify a, 'x'", "commit", "notify a, 'y'"]),
        ),
        (
            "COPY",
            then(
                &["listen a"],
                [
                    Turn::A(s().query("copy t from stdin").copy_data(b"7\n").copy_done()),
                    other("notify a, 'x'"),
                    Turn::Hear(1),
                    Turn::A(s().query("copy (select 1) to stdout")),
                ],
            ),
        ),
        ("two-phase", each(&["listen a", "begin", "notify a", "prepare transaction 'x'", "notify a, 'y'"])),
        (
            "settings and temporary tables with it",
            each(&[
                "listen a",
                "set application_name = 'ear'",
                "create temp table mine (n int)",
                "insert into mine values (1)",
                "notify a, 'pinned'",
                "listen b",
                "notify b",
                "discard all",
                "notify a",
            ]),
        ),
    ]
}

async fn idle(ground: &Ground) {
    let mut listeners = crowd(&ground.pgweir, "app", 6).await;
    let mut teller = of(&ground.pgweir).connect().await.unwrap();
    for client in &mut listeners {
        client.rows("listen news").await.unwrap();
    }
    for number in 0..3 {
        teller.rows(&format!("notify news, '{number}'")).await.unwrap();
        for client in &mut listeners {
            assert_eq!(payloads(&hear(client, 1).await), [number.to_string()]);
        }
    }
    // One in a transaction that has no server yet hears at its end.
    let first = &mut listeners[0];
    first.rows("begin").await.unwrap();
    teller.rows("notify news, 'x'").await.unwrap();
    hear(&mut listeners[1], 1).await;
    let first = &mut listeners[0];
    let (frames, _) = first.read_while_available(QUIET).await;
    assert_eq!(tags(&frames), "");
    let frames = first.query("commit").await.unwrap();
    assert_eq!(tags(&frames), "CAZ", "{frames:?}");
    let mut direct = ground.world.direct().await;
    direct.rows("notify news, 'from elsewhere'").await;
    assert_eq!(payloads(&hear(first, 1).await), ["from elsewhere"]);
    let count = direct.value(&format!("select count(*) from pg_stat_activity where {LISTENING}")).await;
    assert_eq!(count, "1");
}

/// LISTEN ties nobody to a connection, and leaves nothing on one.
async fn others(ground: &Ground) {
    let pgweir = ground.world.pgweir(ground.world.setup().pool_size(1).set("pool.pinned", "0%")).await;
    let mut clients = crowd(&pgweir, "app", 3).await;
    for (number, client) in clients.iter_mut().enumerate() {
        client.rows(&format!("listen only_{number}; listen all_of_us")).await.unwrap();
    }
    let mut teller = of(&pgweir).connect().await.unwrap();
    for number in [2, 0, 1] {
        let frames = teller.query(&format!("notify only_{number}")).await.unwrap();
        assert_eq!(tags(&frames), "CZ");
    }
    assert_eq!(tags(&teller.query("notify all_of_us").await.unwrap()), "CZ");
    assert_eq!(teller.rows("select pg_listening_channels()").await.unwrap().len(), 0);
    for (number, client) in clients.iter_mut().enumerate() {
        let heard: Vec<_> = hear(client, 2).await.iter().map(|frame| said(frame).0).collect();
        assert_eq!(heard, [format!("only_{number}"), "all_of_us".to_owned()]);
    }
}

async fn order(ground: &Ground) {
    const EACH: usize = 400;
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(ground.listener(&["stream"]).await);
    }
    let mut tellers = Vec::new();
    for (name, client) in crowd(&ground.pgweir, "app", 4).await.into_iter().enumerate() {
        let mut client = client;
        tellers.push(tokio::spawn(async move {
            for number in 0..EACH {
                client.rows(&format!("notify stream, '{name} {number}'")).await.unwrap();
            }
        }));
    }
    // One of them is busy meanwhile.
    let mut busy = listeners.pop().unwrap();
    let mut heard_by_busy = Vec::new();
    while tellers.iter().any(|teller| !teller.is_finished()) {
        heard_by_busy.extend(payloads(&busy.query("begin; select 1; commit").await.unwrap()));
    }
    heard_by_busy.extend(payloads(&hear(&mut busy, 4 * EACH - heard_by_busy.len()).await));
    for client in &mut listeners {
        let heard = payloads(&hear(client, 4 * EACH).await);
        assert!(heard == heard_by_busy, "the order differs");
    }
    for name in 0..4 {
        let expected: Vec<_> = (0..EACH).map(|number| format!("{name} {number}")).collect();
        let prefix = format!("{name} ");
        let of_one: Vec<_> = heard_by_busy.iter().filter(|payload| payload.starts_with(&prefix)).collect();
        assert!(of_one.into_iter().eq(&expected), "what {name} said isn't whole or not in order");
    }
    for mut client in listeners {
        assert_eq!(tags(&client.read_while_available(QUIET).await.0), "");
    }
}

/// While others notify on the same connections, each transaction's own notifications come before its end, with the
/// session's pid, and the others' don't have it.
async fn own_first(ground: &Ground) {
    let mut tellers = Vec::new();
    for client in crowd(&ground.pgweir, "app", 3).await {
        let mut client = client;
        tellers.push(tokio::spawn(async move {
            for _ in 0..150 {
                client.rows("notify mixed, 'other'").await.unwrap();
            }
        }));
    }
    for name in 0..3 {
        let mut client = ground.listener(&["mixed"]).await;
        let pid = client.backend_key().unwrap().0.to_be_bytes();
        tellers.push(tokio::spawn(async move {
            let check = |frames: &[Frame]| {
                for frame in frames.iter().filter(|frame| frame.tag == b'A') {
                    let own = said(frame).1.starts_with(&format!("{name} "));
                    assert_eq!(frame.body.starts_with(&pid), own, "{frame:?}");
                }
            };
            for number in 0..150 {
                let frames = client.query(&format!("notify mixed, '{name} {number}'")).await.unwrap();
                check(&frames);
                let own = format!("{name} {number}");
                let at_end = frames.iter().rev().take_while(|frame| frame.tag != b'C');
                assert!(at_end.into_iter().any(|f| f.tag == b'A' && said(f).1 == own), "{own}: {frames:?}");
            }
        }));
    }
    for teller in tellers {
        teller.await.unwrap();
    }
}

async fn many(ground: &Ground) {
    let mut clients = crowd(&ground.pgweir, "app", 20).await;
    for (number, client) in clients.iter_mut().enumerate() {
        let listens: Vec<_> = (0..50).map(|n| format!("listen many_{}", number * 10 + n)).collect();
        client.rows(&listens.join("; ")).await.unwrap();
    }
    let mut teller = of(&ground.pgweir).connect().await.unwrap();
    let tell = "select pg_notify('many_' || n, 'x') from generate_series(0, 239) n";
    assert_eq!(teller.rows(tell).await.unwrap().len(), 240);
    for (number, client) in clients.iter_mut().enumerate() {
        let expected: Vec<_> = (0..50).map(|n| format!("many_{}", number * 10 + n)).collect();
        let heard: Vec<_> = hear(client, 50).await.iter().map(|frame| said(frame).0).collect();
        assert_eq!(heard, expected);
    }
}

async fn released(ground: &Ground) {
    let mut direct = ground.world.direct().await;
    let mut stays = ground.listener(&["stays"]).await;
    let mut first = ground.listener(&["shared"]).await;
    let second = ground.listener(&["shared"]).await;
    let last = format!("select query from pg_stat_activity where {LISTENING}");
    second.close().await.unwrap();
    first.rows("listen further").await.unwrap();
    soon("a LISTEN for it", async || direct.value(&last).await == "LISTEN \"further\";").await;
    first.reset();
    soon("both are left", async || {
        let query = direct.value(&last).await;
        query == "UNLISTEN \"shared\";UNLISTEN \"further\";"
            || query == "UNLISTEN \"further\";UNLISTEN \"shared\";"
    })
    .await;
    stays.rows("unlisten *").await.unwrap();
    let count = format!("select count(*) from pg_stat_activity where {LISTENING}");
    soon("the connection is closed", async || direct.value(&count).await == "0").await;
}

async fn encodings(ground: &Ground) {
    let mut utf8 = ground.listener(&["\"straße\""]).await;
    let mut latin1 = of(&ground.pgweir).parameter("client_encoding", "LATIN1").connect().await.unwrap();
    latin1.send(s().message(b'Q', b"listen \"stra\xdfe\"\0").bytes()).await.unwrap();
    assert_eq!(tags(&latin1.read_until_ready().await.unwrap()), "CZ");
    utf8.rows("notify \"straße\", 'größer'").await.unwrap();
    let frame = hear(&mut latin1, 1).await.remove(0);
    assert_eq!(frame.body[4..], *b"stra\xdfe\0gr\xf6\xdfer\0");
}

/// The listening connection's process on the server.
const KILL: &str =
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgweir-listen'";

async fn lost(ground: &Ground) {
    let mut direct = ground.world.direct().await;
    let mut idle = ground.listener(&["a"]).await;
    let mut busy = ground.listener(&["a"]).await;
    busy.rows("begin").await.unwrap();
    busy.rows("insert into t values (1)").await.unwrap();
    direct.rows("notify a, 'before'").await;
    let heard = idle.read_frame().await.unwrap();
    assert_eq!(said(&heard).1, "before");
    direct.rows(KILL).await;
    let frames = idle.read_until_closed().await.unwrap();
    let error = first_error(&frames).unwrap();
    assert_eq!((error.severity.as_str(), error.code.as_str()), ("FATAL", "57P01"), "{frames:?}");
    // A transaction may end.
    assert_eq!(tags(&busy.query("commit").await.unwrap()), "CAZ");
    assert_eq!(first_error(&busy.read_until_closed().await.unwrap()).unwrap().code, "57P01");
    let mut next = ground.listener(&["a"]).await;
    assert_eq!(tags(&next.query("notify a").await.unwrap()), "CAZ");
}

async fn kept(ground: &Ground) {
    let mut direct = ground.world.direct().await;
    let pgweir = ground.world.pgweir(ground.world.setup().set("pool.listen_on_loss", "keep")).await;
    let mut client = of(&pgweir).connect().await.unwrap();
    client.rows("listen kept").await.unwrap();
    let before = direct.value(&format!("select pid from pg_stat_activity where {LISTENING} limit 1")).await;
    direct.rows(KILL).await;
    let again = format!(
        "select count(*) from pg_stat_activity where {LISTENING} and pid <> {before} and query like 'LISTEN%'"
    );
    soon("it listens again", async || direct.value(&again).await != "0").await;
    direct.rows("notify kept, 'again'").await;
    assert_eq!(payloads(&hear(&mut client, 1).await), ["again"]);
    assert_eq!(payloads(&client.query("notify kept, 'own'").await.unwrap()), ["own"]);
}

async fn slow(ground: &Ground) {
    let mut deaf = ground.listener(&["flood"]).await;
    let mut attentive = ground.listener(&["flood"]).await;
    let mut teller = of(&ground.pgweir).connect().await.unwrap();
    let flood = "select pg_notify('flood', n || repeat('x', 7900)) from generate_series(1, 200) n";
    let mut heard = 0;
    for _ in 0..20 {
        teller.rows(flood).await.unwrap();
        heard += hear(&mut attentive, 200).await.len();
    }
    assert_eq!(heard, 4000);
    let frames = normalize(deaf.read_until_closed().await.unwrap());
    assert!(frames.len() < 4000);
    let error = first_error(&frames);
    assert!(error.is_none_or(|error| error.code == "53400"), "{:?}", frames.last());
}

/// A sender on a connection that nobody else has had.
async fn known(ground: &Ground) {
    let mut listener = ground.listener(&["who"]).await;
    let mut sender = ground.pgweir.client("other", "app").connect().await.unwrap();
    for sql in ["notify who", "begin; notify who; commit", "do $$ begin notify who; end $$"] {
        sender.rows(sql).await.unwrap();
        let heard = hear(&mut listener, 1).await.remove(0);
        assert_eq!(heard.body[..4], sender.backend_key().unwrap().0.to_be_bytes(), "{sql}");
    }
    // A process that works for nobody here is known by its own.
    let mut direct = ground.world.direct().await;
    let pid: u32 = direct.value("select pg_backend_pid()").await.parse().unwrap();
    direct.rows("notify who").await;
    assert_eq!(hear(&mut listener, 1).await[0].body[..4], pid.to_be_bytes());
}

async fn seen(ground: &Ground) {
    let setup = ground.world.setup();
    let mut pgweir = ground.world.pgweir(setup.clone()).await;
    let mut console = pgweir.client(testkit::ADMIN, "pgweir").connect().await.unwrap();
    assert_eq!(console.rows("SHOW LISTENERS").await.unwrap().len(), 0);
    let mut clients = crowd(&pgweir, "app", 2).await;
    clients[0].rows("listen a; listen b").await.unwrap();
    clients[1].rows("listen b").await.unwrap();
    let mut shown = console.rows("SHOW LISTENERS").await.unwrap().remove(0);
    let pid = shown.remove(4).unwrap();
    assert_eq!(shown.into_iter().flatten().collect::<Vec<_>>(), ["pg", "app", "UTF8", "pg-1", "2", "2"]);
    let mut direct = ground.world.direct().await;
    let sql = format!("select application_name from pg_stat_activity where pid = {pid}");
    assert_eq!(direct.value(&sql).await, "pgweir-listen");
    // A reload that leaves the cluster as it is is not noticed.
    let done = "configuration reloaded";
    pgweir.rewrite(&setup.clone().pool_size(3).to_yaml()).unwrap();
    pgweir.reload();
    soon(done, async || pgweir.log().matches(done).count() == 1).await;
    direct.rows("notify b, 'still'").await;
    for client in &mut clients {
        assert_eq!(payloads(&hear(client, 1).await), ["still"]);
        assert_eq!(
            payloads(&client.query("notify a; notify b, 'own'").await.unwrap()).last().unwrap(),
            "own"
        );
    }
    hear(&mut clients[0], 2).await;
    // One that replaces the cluster is a loss.
    pgweir.rewrite(&setup.set("clusters.pg.server_connections", "39").to_yaml()).unwrap();
    pgweir.reload();
    for client in &mut clients {
        assert_eq!(first_error(&client.read_until_closed().await.unwrap()).unwrap().code, "57P01");
    }
}
