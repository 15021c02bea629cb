//! sqlx in its default settings (each text is prepared and kept): what a session keeps, by 20 clients. It is given a URL
//! and their number, and tells `ok PHASE` when all clients are through with it, at the same time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgListener, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, Postgres, Row as _};
use tokio::sync::Barrier;
use tokio::time::{sleep, timeout};

const TURNS: i32 = 10;
const SHARED_LOCK: i64 = 77;
const INSERT: &str = "insert into items values ('sqlx', $1, $2, $3)";
const NOTES: &str =
    "select coalesce(string_agg(note, ',' order by n), '') from items where driver = 'sqlx' and client = $1";
const ZONES: [&str; 4] = ["Asia/Tokyo", "America/New_York", "UTC", "Europe/Paris"];

static INSIDE: AtomicUsize = AtomicUsize::new(0);

type Client = PoolConnection<Postgres>;
type Outcome = Result<(), sqlx::Error>;

/// What all clients know.
struct World {
    url: String,
    clients: i32,
    listening: Barrier,
}

/// The SQLSTATE of a failure.
fn code<T>(outcome: Result<T, sqlx::Error>) -> String {
    let error = outcome.err().expect("it is to fail");
    let code = error.as_database_error().and_then(|error| error.code().map(Into::into));
    code.unwrap_or_else(|| panic!("no error of the server: {error}"))
}

fn kept(count: i32) -> String {
    (0..count).map(|n| format!("kept {n}")).collect::<Vec<_>>().join(",")
}

async fn text(conn: &mut PgConnection, sql: &str) -> Result<String, sqlx::Error> {
    sqlx::query_scalar(sql).fetch_one(conn).await
}

async fn notes(conn: &mut PgConnection, number: i32) -> Result<String, sqlx::Error> {
    sqlx::query_scalar(NOTES).bind(number).fetch_one(conn).await
}

async fn insert(conn: &mut PgConnection, number: i32, n: i32, note: &str) -> Outcome {
    sqlx::query(INSERT).bind(number).bind(n).bind(note).execute(conn).await.map(drop)
}

async fn clear(conn: &mut PgConnection, number: i32) -> Outcome {
    let sql = "delete from items where driver = 'sqlx' and client = $1";
    sqlx::query(sql).bind(number).execute(conn).await.map(drop)
}

/// A place among the sessions that are tied to a connection is waited for, as an application would.
async fn patiently(conn: &mut PgConnection, sql: &'static str) -> Outcome {
    loop {
        match sqlx::query(sql).execute(&mut *conn).await {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("53300") => {
                sleep(Duration::from_millis(30)).await;
            }
            outcome => return outcome.map(drop),
        }
    }
}

async fn transactions(_: &World, conn: &mut Client, number: i32) -> Outcome {
    clear(conn, number).await?;
    for turn in 0..TURNS {
        let mut tx = conn.begin().await?;
        insert(&mut tx, number, turn, &format!("kept {turn}")).await?;
        tx.commit().await?;
        let mut tx = conn.begin().await?;
        insert(&mut tx, number, 100 + turn, "undone").await?;
        assert_eq!(code(insert(&mut tx, number, turn, "again").await), "23505");
        drop(tx); // its ROLLBACK goes in front of what is next
        let mut tx = conn.begin().await?;
        assert_eq!(notes(&mut tx, number).await?, kept(turn + 1));
        tx.commit().await?;
    }
    Ok(())
}

async fn savepoints(_: &World, conn: &mut Client, number: i32) -> Outcome {
    let mut tx = conn.begin().await?;
    clear(&mut tx, number).await?;
    for turn in 0..TURNS {
        insert(&mut tx, number, 2 * turn, &format!("kept {turn}")).await?;
        let mut inner = tx.begin().await?;
        insert(&mut inner, number, 2 * turn + 1, "undone").await?;
        assert_eq!(code(insert(&mut inner, number, 2 * turn, "again").await), "23505");
        inner.rollback().await?;
    }
    assert_eq!(notes(&mut tx, number).await?, kept(TURNS));
    tx.commit().await
}

async fn prepared(_: &World, conn: &mut Client, number: i32) -> Outcome {
    // The same name on the server in every session, and another text in each.
    let own = format!("select $1::int + {number}");
    for turn in 0..3 * TURNS {
        let sql = "select $1::int * 1000 + n from fixed where n = $2";
        let found: i32 = sqlx::query_scalar(sql).bind(turn).bind(2).fetch_one(&mut **conn).await?;
        assert_eq!(found, turn * 1000 + 2);
        let found: i32 = sqlx::query_scalar(&own).bind(turn).fetch_one(&mut **conn).await?;
        assert_eq!(found, turn + number);
        if turn % 5 == 4 {
            let mut tx = conn.begin().await?;
            let more = "select $1::int + 1";
            let found: i32 = sqlx::query_scalar(more).bind(turn).fetch_one(&mut *tx).await?;
            assert_eq!(found, turn + 1);
            let failed = sqlx::query("select 1 / $1::int").bind(0).fetch_one(&mut *tx).await;
            assert_eq!(code(failed), "22012");
            tx.rollback().await?;
            let found: i32 = sqlx::query_scalar(more).bind(number).fetch_one(&mut **conn).await?;
            assert_eq!(found, number + 1);
        }
    }
    // More texts than the cache keeps: the first ones are closed, and prepared again.
    for n in 0..120 {
        let found: i32 =
            sqlx::query_scalar(&format!("select {n} + $1")).bind(number).fetch_one(&mut **conn).await?;
        assert_eq!(found, n + number);
    }
    conn.clear_cached_statements().await?;
    let found: i32 = sqlx::query_scalar(&own).bind(0).fetch_one(&mut **conn).await?;
    assert_eq!(found, number);
    Ok(())
}

async fn settings(_: &World, conn: &mut Client, number: i32) -> Outcome {
    let client = format!("client {number}");
    let zone = ZONES[usize::try_from(number).expect("small") % ZONES.len()];
    conn.execute(&*format!("set app.client = '{client}'")).await?;
    let set: String = sqlx::query_scalar("select set_config('TimeZone', $1, false)")
        .bind(zone)
        .fetch_one(&mut **conn)
        .await?;
    assert_eq!(set, zone);
    let limit = format!("{}ms", 100_001 + number);
    sqlx::query(&format!("set statement_timeout = '{limit}'")).execute(&mut **conn).await?;
    for _ in 0..TURNS {
        assert_eq!(text(conn, "select current_setting('app.client')").await?, client);
        assert_eq!(text(conn, "show TimeZone").await?, zone);
        let mut tx = conn.begin().await?;
        tx.execute("set app.client = 'undone'").await?;
        tx.execute(sqlx::query("set local statement_timeout = 0")).await?;
        assert_eq!(text(&mut tx, "show app.client").await?, "undone");
        tx.rollback().await?;
        assert_eq!(text(conn, "show statement_timeout").await?, limit);
    }
    sqlx::query("reset all").execute(&mut **conn).await?;
    assert_eq!(text(conn, "select coalesce(current_setting('app.client', true), '')").await?, "");
    // What sqlx itself has said when it logged in.
    assert_eq!(text(conn, "show TimeZone").await?, "UTC");
    Ok(())
}

async fn listen(world: &World, conn: &mut Client, number: i32) -> Outcome {
    let mut listener = PgListener::connect(&world.url).await?;
    let (own, clients) = (format!("sqlx_{number}"), world.clients);
    listener.listen_all([own.as_str(), "sqlx_all"]).await?;
    world.listening.wait().await;
    sqlx::query("select pg_notify('sqlx_' || $1, 'from ' || $2)")
        .bind(((number + 1) % clients).to_string())
        .bind(number.to_string())
        .execute(&mut **conn)
        .await?;
    let mut tx = conn.begin().await?;
    sqlx::query("select pg_notify('sqlx_all', $1)").bind(number.to_string()).execute(&mut *tx).await?;
    tx.commit().await?;
    let (mut mine, mut everyones) = (Vec::new(), BTreeSet::new());
    let heard = async {
        while mine.is_empty() || everyones.len() < usize::try_from(clients).expect("small") {
            let heard = listener.recv().await?;
            match heard.channel() {
                "sqlx_all" => drop(everyones.insert(heard.payload().to_owned())),
                _ => mine.push(heard.payload().to_owned()),
            }
        }
        Ok::<_, sqlx::Error>(())
    };
    timeout(Duration::from_secs(20), heard).await.expect("notified in time")?;
    assert_eq!(mine, [format!("from {}", (number + clients - 1) % clients)]);
    listener.unlisten_all().await
}

async fn advisory_locks(world: &World, conn: &mut Client, number: i32) -> Outcome {
    for _ in 0..2 {
        patiently(conn, "select pg_advisory_lock(77)").await?;
        assert_eq!(INSIDE.fetch_add(1, Ordering::SeqCst), 0);
        for sql in ["select pg_try_advisory_lock($1)", "select pg_advisory_unlock($1)"] {
            let done: bool = sqlx::query_scalar(sql).bind(SHARED_LOCK).fetch_one(&mut **conn).await?;
            assert!(done, "{sql}");
        }
        if number == 0 {
            let mut other = PgConnection::connect(&world.url).await?;
            let sql = "select pg_try_advisory_xact_lock($1)";
            let taken: bool = sqlx::query_scalar(sql).bind(SHARED_LOCK).fetch_one(&mut other).await?;
            assert!(!taken);
            other.close().await?;
        }
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        let sql = "select pg_advisory_unlock($1)";
        let done: bool = sqlx::query_scalar(sql).bind(SHARED_LOCK).fetch_one(&mut **conn).await?;
        assert!(done);
    }
    Ok(())
}

async fn temp_tables(_: &World, conn: &mut Client, number: i32) -> Outcome {
    patiently(conn, "create temp table mine (n int, who text)").await?;
    let who = format!("client {number}");
    for turn in 0..TURNS {
        sqlx::query("insert into mine values ($1, $2)").bind(turn).bind(&who).execute(&mut **conn).await?;
    }
    let row = sqlx::query("select string_agg(distinct who, ',') as who, count(*) as n from mine")
        .fetch_one(&mut **conn)
        .await?;
    assert_eq!((row.get::<String, _>("who"), row.get::<i64, _>("n")), (who, i64::from(TURNS)));
    sqlx::query("drop table mine").execute(&mut **conn).await?;
    let gone: bool = sqlx::query_scalar("select to_regclass('mine') is null").fetch_one(&mut **conn).await?;
    assert!(gone);
    Ok(())
}

async fn server_side_cursors(_: &World, conn: &mut Client, number: i32) -> Outcome {
    let mut tx = conn.begin().await?;
    let declare = format!("declare c cursor for select n + {number} from generate_series(1, 500) n");
    sqlx::query(&declare).execute(&mut *tx).await?;
    let mut sum = 0;
    loop {
        let rows: Vec<i32> = sqlx::query_scalar("fetch 70 from c").fetch_all(&mut *tx).await?;
        if rows.is_empty() {
            break;
        }
        sum += rows.iter().sum::<i32>();
    }
    assert_eq!(sum, 500 * 501 / 2 + 500 * number);
    tx.commit().await
}

/// All clients go through a phase at once; they are there for the next one if it went well.
async fn all(
    world: &Arc<World>,
    clients: Vec<Client>,
    name: &str,
    phase: impl AsyncFn(&World, &mut Client, i32) -> Outcome + Copy + 'static,
) -> Vec<Client> {
    let tasks: Vec<_> = (0..)
        .zip(clients)
        .map(|(number, mut client)| {
            let world = Arc::clone(world);
            tokio::task::spawn_local(async move { phase(&world, &mut client, number).await.map(|()| client) })
        })
        .collect();
    let mut through = Vec::new();
    for task in tasks {
        match task.await {
            Ok(Ok(client)) => through.push(client),
            Ok(Err(error)) => failed(name, &error),
            Err(panic) => failed(name, &panic),
        }
    }
    println!("ok {name}");
    through
}

fn failed(name: &str, why: &dyn std::error::Error) -> ! {
    println!("failed {name}: {why}");
    std::process::exit(1)
}

async fn program(url: String, count: u32) -> Outcome {
    let clients = i32::try_from(count).expect("a small number");
    let pool = PgPoolOptions::new().max_connections(count).connect(&url).await?;
    let listening = Barrier::new(usize::try_from(count).expect("a small number"));
    let world = Arc::new(World { url, clients, listening });
    let mut conns = Vec::new();
    for _ in 0..count {
        conns.push(pool.acquire().await?);
    }
    conns = all(&world, conns, "transactions", transactions).await;
    conns = all(&world, conns, "savepoints", savepoints).await;
    conns = all(&world, conns, "prepared", prepared).await;
    conns = all(&world, conns, "settings", settings).await;
    conns = all(&world, conns, "listen", listen).await;
    conns = all(&world, conns, "advisory_locks", advisory_locks).await;
    conns = all(&world, conns, "temp_tables", temp_tables).await;
    conns = all(&world, conns, "server_side_cursors", server_side_cursors).await;
    drop(conns);
    pool.close().await;
    Ok(())
}

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().expect("a URL");
    let count = arguments.next().and_then(|count| count.parse().ok()).expect("a number of clients");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, program(url, count))
}
