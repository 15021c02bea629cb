//! Postgres and pgweir in front of it, with one connection that two sessions share, of which each has other settings.

use std::net::SocketAddr;

use pgweir_tests::talk::without_source;
use pgweir_tests::world::World;
use testkit::{Client, Cluster, ConnectOptions, Frame, Pgweir, Script, normalize, tags};
use tokio::sync::Mutex;

const SCHEMA: &str = "
    create schema dropped;
    create table owned (owner text, secret text);
    insert into owned values ('app', 'of app'), ('clerk', 'of clerk'), ('guest', 'of guest');
    create policy own on owned using (owner = current_user);
    alter table owned enable row level security, force row level security;
    grant select on owned to public;
    create table written (who text);
    grant all on written, t to public;
    grant usage on schema s1, s2 to public;
    grant select on s1.here, s2.here to public;
    create sequence tickets;
    create schema s3;
    create view s3.ticket as select nextval('tickets') > 0 as taken;
    create procedure commits() language plpgsql as $$ begin insert into t values (1); commit; rollback; end $$;
    create function sets(value text) returns text language plpgsql as
        $$ begin perform set_config('search_path', value, false); return value; end $$;
";

/// What the session in between does before anything else.
const INTRUSION: &str = "set search_path to s2; set timezone to 'Asia/Tokyo'; set datestyle to 'German, YMD'; \
                         set app.tenant to 'intruder'; set default_transaction_isolation to 'repeatable read'; \
                         set default_transaction_read_only to on; set statement_timeout to '33s'; set role clerk";

pub(crate) struct Ground {
    pub(crate) world: World,
    pub(crate) pgweir: Pgweir,
    intruder: Mutex<Client>,
}

impl Ground {
    pub(crate) async fn prepare() -> Ground {
        let world = World::start_with(Cluster::builder().replicas(1));
        for role in ["guest", "leaver"] {
            world.cluster.psql(0, "app", &format!("create role {role}; grant {role} to app")).unwrap();
        }
        world.cluster.psql_as(0, "app", "app", SCHEMA).unwrap();
        world.cluster.wait_all_caught_up().unwrap();
        let pgweir = world.pgweir(world.setup().pool_size(1)).await;
        let intruder = through(&pgweir, "intruder").connect().await.unwrap();
        let ground = Ground { world, pgweir, intruder: Mutex::new(intruder) };
        ground.intruder.lock().await.rows(INTRUSION).await.unwrap();
        ground
    }

    pub(crate) fn direct(&self) -> ConnectOptions {
        let node = SocketAddr::from(([127, 0, 0, 1], self.world.cluster.primary().port()));
        as_app(Client::to(node), "talker")
    }

    pub(crate) fn client(&self) -> ConnectOptions {
        through(&self.pgweir, "talker")
    }

    /// A conversation is answered as by Postgres, though another session has the connection between its turns.
    pub(crate) async fn same(&self, talk: Vec<Script>) {
        let direct = self.hold(self.direct().connect().await.unwrap(), &talk, false).await;
        let through = self.hold(self.client().connect().await.unwrap(), &talk, true).await;
        for (number, (direct, through)) in direct.iter().zip(&through).enumerate() {
            assert!(
                direct == through,
                "turn {number} {:?}\ndirect:  {direct:?}\nthrough: {through:?}",
                String::from_utf8_lossy(talk[number].bytes())
            );
        }
    }

    async fn hold(&self, mut client: Client, talk: &[Script], shared: bool) -> Vec<Vec<Frame>> {
        let mut frames = Vec::new();
        for turn in talk {
            let answer = client.run(turn).await.unwrap();
            let idle = answer.last().and_then(Frame::status) == Some('I');
            let seen = normalize(answer).into_iter().filter(|frame| frame.tag != b'T');
            frames.push(seen.map(|frame| without_source(frame, b"EN")).collect());
            if shared && idle {
                self.intrude().await;
            }
        }
        client.close().await.unwrap();
        frames
    }

    /// The other session has the connection, and finds its own settings.
    pub(crate) async fn intrude(&self) {
        let sql = "select concat_ws(' ', who, current_user, current_setting('app.tenant'), '2000-02-03'::timestamptz, \
                   current_setting('transaction_isolation'), current_setting('statement_timeout')) from here";
        let found = self.intruder.lock().await.value(sql).await.unwrap();
        assert_eq!(found, "two clerk intruder 03.02.2000 00:00:00 JST repeatable read 33s");
    }
}

fn as_app(options: ConnectOptions, name: &str) -> ConnectOptions {
    let options = options.user("app", "app-secret").database("app");
    options.parameter("application_name", name).parameter("options", "-c app.start=up -c work_mem=5MB")
}

/// A client whose reads go to the primary too, and so needn't wait for what comes before them.
fn through(pgweir: &Pgweir, name: &str) -> ConnectOptions {
    let options = pgweir.client("app", "app").parameter("pgweir.role", "primary");
    options.parameter("application_name", name).parameter("options", "-c app.start=up -c work_mem=5MB")
}

/// A view hides a write: the replica refuses it, and the primary has the settings too.
pub(crate) async fn replayed_on_the_primary(ground: &Ground) {
    let mut client = ground.pgweir.client("app", "app").connect().await.unwrap();
    client.rows("set search_path to s3, public").await.unwrap();
    ground.intrude().await;
    assert_eq!(client.value("select taken from ticket").await.unwrap(), "t");
    ground.intrude().await;
    let frames = client.run(&Script::new().run("select taken, taken from ticket", &[]).sync()).await.unwrap();
    assert_eq!(tags(&frames), "12TDCZ");
    assert_eq!(client.value("show search_path").await.unwrap(), "s3, public");
}

/// Each time the connection changes hands its reported settings change; the clients have been told theirs.
pub(crate) async fn told_nothing(ground: &Ground) {
    let mut client = ground.client().connect().await.unwrap();
    client.rows("set timezone to 'Europe/Paris'").await.unwrap();
    for _ in 0..3 {
        ground.intrude().await;
        assert_eq!(tags(&client.query("select 1").await.unwrap()), "TDCZ");
        ground.intrude().await;
        assert_eq!(tags(&client.run(&Script::new().run("select 1", &[]).sync()).await.unwrap()), "12TDCZ");
        ground.intrude().await;
        for sql in ["begin", "select 1", "commit"] {
            assert!(!tags(&client.query(sql).await.unwrap()).contains('S'), "{sql}");
        }
    }
    ground.intrude().await;
    let frames = client.query("set timezone to 'Europe/Rome'").await.unwrap();
    assert_eq!(tags(&frames), "CSZ");
    assert_eq!(frames[1].parameter(), Some(("TimeZone".into(), "Europe/Rome".into())));
}

/// Sessions that change hands at random never find another's settings.
pub(crate) async fn crowd(ground: &Ground) {
    let pgweir = ground.world.pgweir(ground.world.setup().pool_size(2)).await;
    let mut tasks = Vec::new();
    for number in 0..16 {
        let mut client = through(&pgweir, &format!("crowd {number}")).connect().await.unwrap();
        tasks.push(tokio::spawn(async move {
            client.rows(&format!("set app.number to '{number}'")).await.unwrap();
            let whose = "select current_setting('app.number') || ' ' || current_setting('application_name')";
            for round in 0..60 {
                if round % 7 == 3 {
                    client.rows("select 1/0").await.unwrap_err();
                }
                let statements = if round % 3 == 0 { &["begin", whose, "rollback"][..] } else { &[whose] };
                for sql in statements {
                    let rows = client.rows(sql).await.unwrap();
                    assert!(
                        rows.is_empty() || rows == [[Some(format!("{number} crowd {number}"))]],
                        "{rows:?}"
                    );
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// What pgweir keeps itself is as exact: a rollback undoes it, and a failed transaction hears no more of it.
pub(crate) async fn own_settings(ground: &Ground) {
    let mut client = ground.pgweir.client("app", "app").connect().await.unwrap();
    let show = "show pgweir.role";
    for (first, work) in [("select 1", "select 1"), ("select 1", "insert into t values (9)"), (show, show)] {
        for (end, role) in [("rollback", "auto"), ("commit", "primary"), ("rollback", "primary")] {
            for sql in ["begin", first, "set pgweir.role = 'primary'", work, end] {
                client.rows(sql).await.unwrap();
            }
            assert_eq!(client.value(show).await.unwrap(), role, "{first}, {work}, {end}");
        }
        client.rows("reset pgweir.role").await.unwrap();
    }
    for sql in ["begin", "savepoint s", "set pgweir.role = 'primary'", "select 1", "rollback to s"] {
        client.rows(sql).await.unwrap();
    }
    assert_eq!(client.value(show).await.unwrap(), "auto");
    client.rows("select 1/0").await.unwrap_err();
    for sql in [show, "set pgweir.role = 'primary'"] {
        let error = client.rows(sql).await.unwrap_err().to_string();
        assert!(error.contains("25P02"), "{error}");
        let error = client.run(&Script::new().run(sql, &[]).sync()).await.unwrap();
        assert_eq!(testkit::first_error(&error).unwrap().code, "25P02");
    }
    client.rows("rollback").await.unwrap();
    assert_eq!(client.value(show).await.unwrap(), "auto");
    // Before any server was chosen.
    client.rows("begin").await.unwrap();
    client.rows("set pgweir.role = 'nowhere'").await.unwrap_err();
    assert!(client.rows(show).await.unwrap_err().to_string().contains("25P02"));
    client.rows("rollback").await.unwrap();
}
