//! Clients that vanish, in every state: what they began is rolled back, the pool is whole, the next client clean.

use pgweir_tests::Cases;
use pgweir_tests::world::{Watch, World, soon};
use testkit::{Client, Pgweir, Script};

/// What a vanished client's connection comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connection {
    /// It serves the next client.
    Kept,
    /// It can't be brought to rest: another one is opened.
    Replaced,
}

pub(crate) async fn run(world: &World, cases: &mut Cases) {
    use Connection::{Kept, Replaced};
    let copy_in = || Script::new().query("copy t from stdin");
    let much = "select repeat('x', 1000) from generate_series(1, 10000000)";
    let insert = |number: u32| format!("insert into t values ({number})");
    let states: Vec<(&str, Connection, Vec<Step>)> = vec![
        ("idle", Kept, vec![Step::done("select 1")]),
        ("in a transaction", Kept, vec![Step::done("begin"), Step::done(&insert(99))]),
        (
            "in a failed transaction",
            Kept,
            vec![Step::done("begin"), Step::done(&insert(99)), Step::fails("select 1/0")],
        ),
        (
            "in COPY IN",
            Kept,
            vec![Step::until(copy_in(), b'G'), Step::only(Script::new().copy_data(b"99\n"))],
        ),
        (
            "in COPY IN of a transaction",
            Kept,
            vec![
                Step::done("begin"),
                Step::done(&insert(99)),
                Step::until(copy_in(), b'G'),
                Step::only(Script::new().copy_data(b"99\n")),
            ],
        ),
        (
            "in the middle of CopyData",
            Replaced,
            vec![
                Step::until(copy_in(), b'G'),
                Step::only(Script::new().raw(b"d\0\0\x10\0" as &[u8]).raw(b"99\n")),
            ],
        ),
        (
            "in COPY IN by the extended protocol",
            Kept,
            vec![
                Step::until(
                    Script::new()
                        .parse("", "copy t from stdin", &[])
                        .bind("", "", &[])
                        .execute("", 0)
                        .flush(),
                    b'G',
                ),
                Step::only(Script::new().copy_data(b"99\n")),
            ],
        ),
        (
            "in COPY OUT",
            Kept,
            vec![Step::until(Script::new().query(&format!("copy ({much}) to stdout")), b'd')],
        ),
        ("in a long result", Kept, vec![Step::until(Script::new().query(much), b'D')]),
        (
            "with a portal open",
            Kept,
            vec![Step::until(
                Script::new().parse("", much, &[]).bind("", "", &[]).execute("", 10).flush(),
                b's',
            )],
        ),
        ("in a pipeline", Kept, vec![Step::until(Script::new().run(&insert(99), &[]).flush(), b'C')]),
        (
            "in a pipeline that failed",
            Kept,
            vec![Step::until(Script::new().run(&insert(99), &[]).run("select 1/0", &[]).flush(), b'E')],
        ),
        ("in pg_sleep", Kept, vec![Step::asleep(Script::new().query("select pg_sleep(1000)"))]),
        (
            "in pg_sleep of a transaction",
            Kept,
            vec![
                Step::done("begin"),
                Step::done(&insert(99)),
                Step::asleep(Script::new().run("select pg_sleep(1000)", &[]).sync()),
            ],
        ),
        ("in the middle of a Query", Kept, vec![Step::only(Script::new().raw(b"Q\0\0\0\x40insert into t"))]),
        (
            "in the middle of a Query of a transaction",
            Kept,
            vec![
                Step::done("begin"),
                Step::done(&insert(99)),
                Step::only(Script::new().raw(b"Q\0\0\0\x40insert into t")),
            ],
        ),
        (
            "with settings, a temporary table, a lock, LISTEN and statements",
            Kept,
            vec![
                Step::done("set work_mem = '7MB'"),
                Step::done("create temp table mine (n int)"),
                Step::done("select pg_advisory_lock(7)"),
                Step::done("listen news"),
                Step::done("prepare s as select 1"),
                Step::done("declare c cursor with hold for select 1"),
                Step::until(Script::new().parse("s2", "select 2", &[]).sync(), b'Z'),
            ],
        ),
    ];
    for (state, connection, steps) in states {
        for resets in [true, false] {
            let how = if resets { "reset" } else { "closed" };
            cases.run(&format!("{state}, {how}"), vanishes(world, &steps, connection, resets)).await;
        }
    }
    cases.run("many at once", many(world)).await;
}

/// What a client does before it vanishes: sends this, and waits for that.
struct Step {
    script: Script,
    wait: Wait,
}

enum Wait {
    /// For a message of this type.
    Tag(u8),
    /// Until the server sleeps.
    Asleep,
    Nothing,
}

impl Step {
    fn done(sql: &str) -> Step {
        Step::until(Script::new().query(sql), b'Z')
    }

    fn fails(sql: &str) -> Step {
        Step::done(sql)
    }

    fn until(script: Script, tag: u8) -> Step {
        Step { script, wait: Wait::Tag(tag) }
    }

    fn asleep(script: Script) -> Step {
        Step { script, wait: Wait::Asleep }
    }

    fn only(script: Script) -> Step {
        Step { script, wait: Wait::Nothing }
    }

    async fn take(&self, client: &mut Client, watch: &mut Watch) {
        client.send(self.script.bytes()).await.unwrap();
        match self.wait {
            Wait::Tag(tag) => {
                client.read_until("answer", |frame| frame.tag == tag).await.unwrap();
            }
            Wait::Asleep => {
                let asleep = async || watch.busy().await.iter().any(|sql| sql.contains("pg_sleep"));
                soon("pg_sleep runs", asleep).await;
            }
            Wait::Nothing => {}
        }
    }
}

async fn vanishes(world: &World, steps: &[Step], connection: Connection, resets: bool) {
    let setup = world.setup().pool_size(1).set("pool.pinned", "1");
    let pgweir = world.pgweir(setup).await;
    let mut watch = world.direct().await;
    watch.rows("truncate t").await;
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    let mut next = pgweir.client("app", "app").connect().await.unwrap();
    let pid = next.value("select pg_backend_pid()").await.unwrap();
    for step in steps {
        step.take(&mut client, &mut watch).await;
    }
    if resets {
        client.reset()
    } else {
        drop(client)
    }

    let now = next.value("select pg_backend_pid()").await.unwrap();
    assert_eq!(now == pid, connection == Connection::Kept, "was {pid}, is {now}");
    is_clean(&mut next).await;
    assert_eq!(watch.backends().await, [now], "the pool isn't whole");
    assert_eq!(watch.busy().await, Vec::<String>::new());
}

/// Nothing of another session is to be seen.
async fn is_clean(client: &mut Client) {
    for (sql, expected) in [
        ("select count(*) from t where n = 99", "0"),
        ("select count(*) from pg_settings where source = 'session'", "0"),
        ("select to_regclass('pg_temp.mine') is null", "t"),
        ("select count(*) from pg_locks where locktype = 'advisory'", "0"),
        ("select count(*) from pg_listening_channels()", "0"),
        ("select count(*) from pg_cursors where name <> ''", "0"),
        ("select count(*) from pg_prepared_statements where name !~ '^pgweir_'", "0"),
    ] {
        assert_eq!(client.value(sql).await.unwrap(), expected, "{sql}");
    }
    for name in ["s", "s2"] {
        let script = Script::new().parse(name, "select 3", &[]).bind("", name, &[]).execute("", 0).sync();
        let frames = client.run(&script).await.unwrap();
        assert_eq!(testkit::rows(&frames), vec![vec![Some("3".to_owned())]], "{frames:?}");
    }
}

/// Clients come, begin something and go, all the time; others work beside them and see nothing of it.
async fn many(world: &World) {
    let pgweir = world.pgweir(world.setup().pool_size(4)).await;
    let mut watch = world.direct().await;
    watch.rows("truncate t").await;
    let mut steady = pgweir.client("app", "app").connect().await.unwrap();
    for round in 0..60 {
        let mut leaving = pgweir.client("app", "app").connect().await.unwrap();
        match round % 4 {
            0 => leaving.send(Script::new().query("select pg_sleep(1000)").bytes()).await.unwrap(),
            1 => leaving
                .send(Script::new().query("begin; insert into t values (99); select 1").bytes())
                .await
                .unwrap(),
            2 => leaving
                .send(Script::new().query("copy t from stdin").copy_data(b"99\n").bytes())
                .await
                .unwrap(),
            _ => leaving
                .send(Script::new().run("insert into t values (99)", &[]).flush().bytes())
                .await
                .unwrap(),
        }
        if round % 2 == 0 {
            leaving.reset()
        } else {
            drop(leaving)
        }
        assert_eq!(steady.value(&format!("select {round}")).await.unwrap(), round.to_string());
    }
    let calm = pgweir_tests::eventually("running", async || watch.busy().await, Vec::is_empty).await;
    calm.unwrap_or_else(|error| panic!("{error}"));
    assert!(watch.count().await <= 4);
    is_clean(&mut steady).await;
    all_work(&pgweir, 8).await;
}

async fn all_work(pgweir: &Pgweir, count: usize) {
    for mut client in pgweir_tests::world::crowd(pgweir, "app", count).await {
        client.rows("begin").await.unwrap();
        is_clean_enough(&mut client).await;
        client.rows("commit").await.unwrap();
    }
}

async fn is_clean_enough(client: &mut Client) {
    assert_eq!(client.value("select count(*) from t where n = 99").await.unwrap(), "0");
}
