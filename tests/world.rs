//! A cluster with two users and two databases, and what a test asks of it and of pgweir while others work.

use std::time::Duration;

use testkit::{Client, Cluster, Frame, Pgweir, SUPERUSER, Setup, rows};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long [`soon`] waits.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often it looks.
const GLANCE: Duration = Duration::from_millis(5);

/// A server without replicas, users `app` (owner) and `other`, databases `app` and `second`.
#[derive(Debug)]
pub struct World {
    /// The server.
    pub cluster: Cluster,
}

impl World {
    /// Starts it, with a table `t (n int)` in `app` that both users may use.
    ///
    /// # Panics
    /// If Postgres doesn't start.
    pub fn start() -> World {
        World::start_with(Cluster::builder())
    }

    /// As [`World::start`], of a cluster that has settings of its own.
    ///
    /// # Panics
    /// If Postgres doesn't start.
    pub fn start_with(builder: testkit::Builder) -> World {
        let builder = builder.databases(["app", "second"]);
        let builder = builder.users([("app", "app-secret"), ("other", "other-secret")]);
        let cluster = builder.start().expect("Postgres starts");
        let sql = "create table t (n int); grant all on t to other; create schema s1; create schema s2; \
                   create table s1.here as select 'one' as who; create table s2.here as select 'two' as who;";
        cluster.psql_as(0, "app", "app", sql).expect("tables");
        cluster.psql(0, "app", "create role clerk; grant clerk to app").expect("a role");
        World { cluster }
    }

    /// pgweir in front of it, with two workers and a short wait for connections.
    pub fn setup(&self) -> Setup {
        Setup::new(&self.cluster).set("instance.workers", "2").set("clusters.pg.server_connections", "40")
    }

    /// pgweir with this setup.
    ///
    /// # Panics
    /// If it doesn't start.
    pub async fn pgweir(&self, setup: Setup) -> Pgweir {
        Pgweir::start(&setup).await.expect("pgweir starts")
    }

    /// The superuser on the server itself, in the database `app`.
    ///
    /// # Panics
    /// If the server refuses.
    pub async fn direct(&self) -> Watch {
        let node = self.cluster.primary();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], node.port()));
        let client = Client::to(address).user(SUPERUSER, self.cluster.superuser_password()).database("app");
        Watch(client.connect().await.expect("the superuser may log in"))
    }
}

/// A client of the server itself, to watch it by.
#[derive(Debug)]
pub struct Watch(pub Client);

impl Watch {
    /// Process ids of the connections of `app` and `other`, oldest first.
    pub async fn backends(&mut self) -> Vec<String> {
        let sql = "select pid from pg_stat_activity where usename in ('app', 'other') order by backend_start";
        column(&self.rows(sql).await)
    }

    /// How many connections `app` and `other` have.
    pub async fn count(&mut self) -> usize {
        self.backends().await.len()
    }

    /// What those that run something run, or have open a transaction with.
    pub async fn busy(&mut self) -> Vec<String> {
        let sql = "select query from pg_stat_activity where usename in ('app', 'other') and state <> 'idle'";
        column(&self.rows(sql).await)
    }

    /// A single value.
    ///
    /// # Panics
    /// On an error.
    pub async fn value(&mut self, sql: &str) -> String {
        self.0.value(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Rows.
    ///
    /// # Panics
    /// On an error.
    pub async fn rows(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.0.rows(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The most connections that were seen while these tasks ran, which must not panic.
    ///
    /// # Panics
    /// With the first panic of a task.
    pub async fn most_while(&mut self, tasks: Vec<JoinHandle<()>>) -> usize {
        let mut most = 0;
        while tasks.iter().any(|task| !task.is_finished()) {
            most = most.max(self.count().await);
        }
        for task in tasks {
            task.await.unwrap_or_else(|error| panic!("a client failed: {error}"));
        }
        most.max(self.count().await)
    }
}

/// The first column.
pub fn column(rows: &[Vec<Option<String>>]) -> Vec<String> {
    rows.iter().filter_map(|row| row.first().cloned().flatten()).collect()
}

/// Looks until it is so.
///
/// # Panics
/// If it isn't after 15 s.
pub async fn soon(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !look().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(GLANCE).await;
    }
}

/// So many clients of `user` in the database `app`, one connected after the other.
///
/// # Panics
/// If one is refused.
pub async fn crowd(pgweir: &Pgweir, user: &str, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(pgweir.client(user, "app").connect().await.expect("a client is let in"));
    }
    clients
}

/// The sum of a column of the console's `SHOW POOLS`.
///
/// # Panics
/// If there is no such column.
pub async fn pools(console: &mut Client, name: &str) -> usize {
    let frames = console.query("SHOW POOLS").await.expect("the console answers");
    let at = names(&frames).iter().position(|column| column == name);
    let at = at.unwrap_or_else(|| panic!("no column {name} in {frames:?}"));
    let numbers = rows(&frames).into_iter().filter_map(|row| row.get(at)?.as_ref()?.parse::<usize>().ok());
    numbers.sum()
}

/// Waits until so many clients wait for a connection.
pub async fn until_waiting(console: &mut Client, count: usize) {
    soon(&format!("{count} clients wait"), async || pools(console, "cl_waiting").await == count).await;
}

/// The names in a RowDescription.
pub fn names(frames: &[Frame]) -> Vec<String> {
    let Some(frame) = frames.iter().find(|frame| frame.tag == b'T') else { return Vec::new() };
    let mut rest = frame.body.get(2..).unwrap_or_default();
    let mut names = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        rest = rest.get(end + 19..).unwrap_or_default();
    }
    names
}
