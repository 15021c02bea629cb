//! What the console and the metrics say of clients that work, in front of a real server.

use std::collections::BTreeMap;
use std::sync::Arc;

use testkit::{Client, Cluster, DEADLINE, Script};

use crate::http::get;
use crate::world::{World, config};

/// A row of a SHOW command by the names of its columns; NULL is left out.
type Named = BTreeMap<String, String>;

fn cluster() -> Cluster {
    Cluster::builder().databases(["app"]).users([("app", "app")]).start().unwrap()
}

async fn app(world: &World) -> Client {
    Client::to(world.address).user("app", "app").database("app").connect().await.unwrap()
}

async fn show(console: &mut Client, command: &str) -> Vec<Named> {
    let frames = console.query(command).await.unwrap();
    let description = frames.iter().find(|frame| frame.tag == b'T').expect(command);
    // Each field is a name with its NUL and 18 bytes.
    let mut names = Vec::new();
    let mut rest = &description.body[2..];
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        names.push(String::from_utf8(rest[..end].to_vec()).unwrap());
        rest = &rest[end + 19..];
    }
    let named = |row: Vec<Option<String>>| {
        names.iter().cloned().zip(row).filter_map(|(name, value)| value.map(|value| (name, value))).collect()
    };
    testkit::rows(&frames).into_iter().map(named).collect()
}

async fn pool_of_app(console: &mut Client) -> Named {
    show(console, "SHOW POOLS").await.into_iter().find(|row| row["database"] == "app").unwrap()
}

async fn stats_of_app(console: &mut Client) -> Named {
    show(console, "SHOW STATS").await.into_iter().find(|row| row["database"] == "app").unwrap()
}

/// Looks at the pool until it is as wanted.
async fn until(console: &mut Client, wanted: &[(&str, &str)]) -> Named {
    let looking = async {
        loop {
            let pool = pool_of_app(console).await;
            if wanted.iter().all(|(column, value)| pool[*column] == *value) {
                return pool;
            }
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_what_and_who_waits_is_shown() {
    let cluster = cluster();
    let world = World::before(cluster.primary().port()).await;
    let mut console = world.console("monitor").await;
    let (mut first, mut second) = (app(&world).await, app(&world).await);
    first.query("BEGIN; SELECT 1").await.unwrap();
    until(&mut console, &[("cl_active", "2"), ("cl_waiting", "0"), ("sv_active", "1"), ("sv_idle", "0")])
        .await;

    let (pid, _) = first.backend_key().unwrap();
    let clients = show(&mut console, "SHOW CLIENTS").await;
    let holder = clients.iter().find(|row| row["id"] == pid.to_string()).unwrap();
    assert_eq!((&*holder["state"], &*holder["doing"]), ("active", "idle in transaction"));
    assert!(holder.contains_key("transaction_us"));
    let servers = show(&mut console, "SHOW SERVERS").await;
    assert_eq!(servers.len(), 1);
    assert_eq!((&servers[0]["link"], &servers[0]["ptr"]), (&holder["ptr"], &holder["link"]));
    assert_eq!(servers[0]["remote_pid"], first.value("SELECT pg_backend_pid()").await.unwrap());

    second.send(Script::new().query("SELECT 2").bytes()).await.unwrap();
    until(&mut console, &[("cl_active", "1"), ("cl_waiting", "1"), ("sv_active", "1")]).await;
    let (_, metrics) = get(world.http, "/metrics").await;
    let labels = "database=\"app\",user=\"app\",cluster=\"us\",node=\"us-1\"";
    for line in [
        format!("pgweir_pool_waiting{{{labels}}} 1.0"),
        format!("pgweir_pool_open{{{labels}}} 1.0"),
        format!("pgweir_servers{{{labels},state=\"active\"}} 1.0"),
        "pgweir_clients{database=\"app\",user=\"app\",state=\"idle_in_transaction\"} 1.0".to_owned(),
        "pgweir_clients{database=\"app\",user=\"app\",state=\"waiting\"} 1.0".to_owned(),
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }

    first.query("COMMIT").await.unwrap();
    second.read_until_ready().await.unwrap();
    until(&mut console, &[("cl_active", "2"), ("cl_waiting", "0"), ("sv_active", "0"), ("sv_idle", "1")])
        .await;
    let waited: u64 = stats_of_app(&mut console).await["total_wait_time"].parse().unwrap();
    assert!(waited > 0);
    drop((first, second));
    until(&mut console, &[("cl_active", "0")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_are_counted_and_a_reload_keeps_the_counters() {
    let cluster = cluster();
    let world = World::before(cluster.primary().port()).await;
    let mut console = world.console("monitor").await;
    let mut client = app(&world).await;
    for _ in 0..5 {
        client.value("SELECT 1").await.unwrap();
    }
    for sql in ["BEGIN", "SELECT 1", "SELECT 2", "COMMIT"] {
        client.query(sql).await.unwrap();
    }
    let before = stats_of_app(&mut console).await;
    let number = |row: &Named, column: &str| row[column].parse::<u64>().unwrap();
    assert_eq!(number(&before, "total_xact_count"), 6);
    let queries = number(&before, "total_query_count");
    // The BEGIN went with what came after it.
    assert_eq!(queries, 8, "{before:?}");
    assert!(number(&before, "total_received") > queries * 5);

    // Another pool takes the place of this one.
    let old = world.context.directory.load_full();
    let mut changed = (*config(cluster.primary().port())).clone();
    changed.pool.size = Some(2);
    let next = Arc::new(old.reload(Arc::new(changed)).unwrap());
    world.context.directory.store(Arc::clone(&next));
    old.retire(&next);
    drop(old);
    client.value("SELECT 1").await.unwrap();
    let retired = async {
        while show(&mut console, "SHOW NODE_POOLS").await.len() > 1 {}
        stats_of_app(&mut console).await
    };
    let after = tokio::time::timeout(DEADLINE, retired).await.unwrap();
    assert_eq!(number(&after, "total_xact_count"), 7);
    assert_eq!(number(&after, "total_query_count"), queries + 1);
    for column in before.keys().filter(|column| column.starts_with("total_")) {
        assert!(number(&after, column) >= number(&before, column), "{column}");
    }
}
