//! A connection that breaks while a server works: what the client is told of what was under way, and that nothing is
//! done twice.

use pgweir_tests::Cases;
use testkit::history::{History, Outcome};
use testkit::{Client, Cut, Direction, FaultProxy, Pgweir, Script, Trigger};

use crate::world::{World, setup};
use crate::writers::Writers;

const WRITERS: usize = 40;
/// Under load each kind of cut is made so often.
const ROUNDS: usize = 10;

/// pgweir whose way to the primary is a fault proxy.
async fn behind(world: &World) -> (Pgweir, FaultProxy) {
    let node = world.cluster.primary();
    let proxy = FaultProxy::of(node).await.unwrap();
    (Pgweir::start(&setup(&world.cluster).node("pg", node.name(), proxy.port())).await.unwrap(), proxy)
}

/// A statement that is under way, what comes before it in its session, the answer by which the server's end of it is
/// known, and what its client is told when it is lost.
struct UnderWay {
    what: &'static str,
    before: &'static [&'static str],
    sql: &'static str,
    answer: &'static str,
    told: Promise,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// It can't be known.
    Unknown,
    /// Nothing of it is there.
    Nothing,
}

const BEGUN: &[&str] = &["begin", "insert into writes values (:token, 0)"];
const WRITE: &str = "insert into writes values (:token, 0)";

const UNDER_WAY: [UnderWay; 9] = [
    UnderWay {
        what: "a statement alone",
        before: &[],
        sql: WRITE,
        answer: "INSERT 0 1",
        told: Promise::Unknown,
    },
    UnderWay { what: "BEGIN", before: &[], sql: "begin", answer: "BEGIN", told: Promise::Nothing },
    UnderWay {
        what: "the first statement",
        before: &["begin"],
        sql: WRITE,
        answer: "INSERT 0 1",
        told: Promise::Nothing,
    },
    UnderWay {
        what: "a read that follows",
        before: BEGUN,
        // As many rows as no answer to a probe has.
        sql: "select 4711 from generate_series(1, 7)",
        answer: "SELECT 7",
        told: Promise::Nothing,
    },
    UnderWay {
        what: "SAVEPOINT",
        before: BEGUN,
        sql: "savepoint s",
        answer: "SAVEPOINT",
        told: Promise::Nothing,
    },
    UnderWay { what: "COMMIT", before: BEGUN, sql: "commit", answer: "COMMIT", told: Promise::Unknown },
    UnderWay {
        what: "COMMIT AND CHAIN",
        before: BEGUN,
        sql: "commit and chain",
        answer: "COMMIT",
        told: Promise::Unknown,
    },
    UnderWay { what: "ROLLBACK", before: BEGUN, sql: "rollback", answer: "ROLLBACK", told: Promise::Nothing },
    UnderWay {
        what: "PREPARE TRANSACTION",
        before: BEGUN,
        sql: "prepare transaction ':token'",
        answer: "PREPARE TRANSACTION",
        told: Promise::Unknown,
    },
];

/// Each statement, by both protocols, cut off on its way there and on the way of its answer.
pub(crate) async fn each(world: &World, cases: &mut Cases) {
    let (pgweir, proxy) = behind(world).await;
    for under_way in &UNDER_WAY {
        for extended in [false, true] {
            for arrives in [false, true] {
                let how = if extended { "extended" } else { "simple" };
                let where_to = if arrives { "its answer lost" } else { "never arrived" };
                let case = lost(world, &pgweir, &proxy, under_way, extended, arrives);
                cases.run(&format!("{}, {how}, {where_to}", under_way.what), case).await;
            }
        }
    }
}

async fn lost(
    world: &World,
    pgweir: &Pgweir,
    proxy: &FaultProxy,
    under_way: &UnderWay,
    extended: bool,
    arrives: bool,
) {
    // A probe may speak of the same: then it is its connection that was cut, and the statement is tried again.
    for _ in 0..10 {
        if cut_off(world, pgweir, proxy, under_way, extended, arrives).await {
            return;
        }
    }
    panic!("always another connection was cut");
}

/// Whether the statement met its cut.
async fn cut_off(
    world: &World,
    pgweir: &Pgweir,
    proxy: &FaultProxy,
    under_way: &UnderWay,
    extended: bool,
    arrives: bool,
) -> bool {
    world.empty();
    let history = History::new();
    let token = history.begin(0, 1);
    let named = |sql: &str| sql.replace(":token", &token.0.to_string());
    let script = |sql: &str| {
        let sql = named(sql);
        if extended { Script::new().run(&sql, &[]).sync() } else { Script::new().query(&sql) }
    };
    let mut client = pgweir.client("app", "app").connect().await.unwrap();
    for sql in under_way.before {
        assert_eq!(Outcome::of(&client.run(&script(sql)).await), Outcome::Ok, "{sql}");
    }
    let fired = proxy.fired();
    if arrives {
        proxy.cut_when(Direction::ToClient, Trigger::Before(under_way.answer.into()), Cut::Reset);
    } else {
        proxy.cut_when(Direction::ToServer, Trigger::Before(named(under_way.sql).into()), Cut::Reset);
    }
    let outcome = Outcome::of(&client.run(&script(under_way.sql)).await);
    if outcome == Outcome::Ok && under_way.what == "BEGIN" && !extended {
        // It was answered without a server, and does nothing.
        proxy.disarm();
        return true;
    }
    if outcome == Outcome::Ok {
        assert_eq!(proxy.fired(), fired + 1, "nothing was cut");
        world.cluster.psql(0, "app", PREPARED).unwrap();
        return false;
    }
    assert_eq!(proxy.fired(), fired + 1, "{outcome:?}");
    match under_way.told {
        Promise::Unknown => assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}"),
        Promise::Nothing => assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}"),
    }
    history.end(token, outcome);
    goes_on(&mut client).await;
    // A prepared transaction that is there counts as committed.
    world.cluster.psql(0, "app", PREPARED).unwrap();
    let report = world.verdict(&history, None);
    assert!(report.is_clean(), "{report}");
    if under_way.told == Promise::Unknown {
        assert_eq!(report.unknown.1 == 1, arrives, "{report}");
    }
    true
}

/// Commits what was prepared.
const PREPARED: &str = "select format('commit prepared %L', gid) from pg_prepared_xacts \\gexec";

/// The client's connection is as after any error.
async fn goes_on(client: &mut Client) {
    let frames = client.query("rollback").await.unwrap();
    assert_eq!(frames.last().unwrap().status(), Some('I'), "{frames:?}");
    assert_eq!(client.value("select 'goes on' for update").await.unwrap(), "goes on");
}

/// Cuts of all kinds while many write: none of what they wrote is there twice, or in part, or in spite of an error.
pub(crate) async fn under_load(world: &World) {
    world.empty();
    let (pgweir, proxy) = behind(world).await;
    let writers = Writers::start(pgweir.client("app", "app"), WRITERS).await;
    writers.confirm(WRITERS).await;
    let (there, back) = (Direction::ToServer, Direction::ToClient);
    for round in 0..ROUNDS {
        let how = if round % 2 == 0 { Cut::Reset } else { Cut::Fin };
        for (direction, trigger) in [
            (there, Trigger::Before(b"commit\0".to_vec())),
            (there, Trigger::After(b"commit\0".to_vec())),
            (back, Trigger::Before(b"COMMIT\0".to_vec())),
            (back, Trigger::Before(b"INSERT 0 2\0".to_vec())),
            (there, Trigger::Before(b"insert into".to_vec())),
        ] {
            let fired = proxy.fired();
            proxy.cut_when(direction, trigger, how);
            proxy.wait_fired(fired + 1).await.unwrap();
        }
    }
    writers.all_write().await;
    let log = writers.finish().await;
    let told = log.told();
    let indefinite: Vec<_> =
        told.iter().filter(|told| matches!(told.outcome, Outcome::Unknown(_)) && !told.commits).collect();
    assert!(indefinite.is_empty(), "{indefinite:#?}");
    assert!(told.iter().all(|told| !told.lost), "{told:#?}");
    let report = world.verdict(&log.history, None);
    assert!(report.is_clean(), "{report}");
    // Each kind of end was among them.
    let (unknown, there) = report.unknown;
    assert!(report.refused > 0 && there > 0 && there < unknown, "{report}");
}
