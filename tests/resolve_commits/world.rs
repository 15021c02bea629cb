//! A cluster behind fault proxies, with a table whose commits wait until they are let go.

use std::net::SocketAddr;

use pgweir_tests::world::soon;
use testkit::{Client, Cluster, FaultProxy, Frame, Pgweir, SUPERUSER, Script, Setup, first_error, tags};
use tokio::task::block_in_place;

/// A commit that wrote to `slow` waits for this lock. A negative number fails then.
const TABLES: &str = "
    create table t (n int);
    create table slow (n int);
    create function wait_for_it() returns trigger language plpgsql as $$
        begin
            perform pg_advisory_xact_lock(77);
            if new.n < 0 then raise exception 'too little'; end if;
            return null;
        end $$;
    create constraint trigger waits after insert on slow deferrable initially deferred
        for each row execute function wait_for_it()";

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) proxies: Vec<FaultProxy>,
}

impl World {
    pub(crate) async fn start(replicas: usize) -> World {
        let cluster = Cluster::builder()
            .name("pg")
            .replicas(replicas)
            .settings([("wal_receiver_status_interval", "1s")])
            .databases(["app"])
            .users([("app", "secret")])
            .start()
            .unwrap();
        cluster.psql_as(0, "app", "app", TABLES).unwrap();
        cluster.wait_all_caught_up().unwrap();
        let mut proxies = Vec::new();
        for node in cluster.nodes() {
            proxies.push(FaultProxy::of(node).await.unwrap());
        }
        World { cluster, proxies }
    }

    /// pgweir, which finds out or doesn't.
    pub(crate) async fn pgweir(&self, resolves: bool) -> Pgweir {
        let mut setup = Setup::new(&self.cluster)
            .pool_size(2)
            .set("clusters.pg.server_connections", "20")
            .set("instance.workers", "2")
            .set("health", "{interval: 300ms, timeout: 500ms, failures: 2}")
            .set("failover", &format!("{{wait: 20s, resolve_commits: {resolves}}}"));
        for (node, proxy) in self.cluster.nodes().iter().zip(&self.proxies) {
            setup = setup.node("pg", node.name(), proxy.port());
        }
        let pgweir = Pgweir::start(&setup).await.unwrap();
        // What its triggers may do is known from here on: before, they might have said LISTEN.
        let mut client = pgweir.client("app", "app").connect().await.unwrap();
        for table in ["t", "slow"] {
            client.rows(&format!("insert into {table} values (0)")).await.unwrap();
        }
        pgweir
    }

    pub(crate) fn primary(&self) -> usize {
        self.cluster.primary().index()
    }

    pub(crate) fn proxy(&self) -> &FaultProxy {
        &self.proxies[self.primary()]
    }

    pub(crate) fn psql(&self, node: usize, sql: &str) -> String {
        block_in_place(|| self.cluster.psql(node, "app", sql).unwrap())
    }

    /// How often a number is in a table of the primary.
    pub(crate) fn count(&self, table: &str, n: i32) -> String {
        self.psql(self.primary(), &format!("select count(*) from {table} where n = {n}"))
    }

    pub(crate) async fn direct(&self, node: usize) -> Client {
        let address = SocketAddr::from(([127, 0, 0, 1], self.cluster.node(node).unwrap().port()));
        let client = Client::to(address).user(SUPERUSER, self.cluster.superuser_password()).database("app");
        client.connect().await.unwrap()
    }

    /// Commits of `slow` wait for as long as this isn't dropped.
    pub(crate) async fn hold_commits(&self) -> Client {
        let mut holder = self.direct(self.primary()).await;
        holder.rows("select pg_advisory_lock(77)").await.unwrap();
        holder
    }

    /// Waits until a commit does.
    pub(crate) async fn until_it_waits(&self) {
        let sql = "select count(*) from pg_locks where locktype = 'advisory' and not granted";
        let primary = self.primary();
        soon("a commit waits", async || self.psql(primary, sql) == "1").await;
    }
}

/// What the client was told: the types of the messages, or the code of the error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Done(String),
    Error(String),
}

pub(crate) fn done(tags: &str) -> Told {
    Told::Done(tags.to_owned())
}

pub(crate) fn error(code: &str) -> Told {
    Told::Error(code.to_owned())
}

pub(crate) fn told(frames: &[Frame]) -> Told {
    assert_eq!(frames.last().unwrap().status(), Some('I'), "{frames:?}");
    first_error(frames).map_or_else(|| Told::Done(tags(frames)), |error| Told::Error(error.code))
}

/// COMMIT, by a Query or as JDBC sends it.
pub(crate) fn commit(extended: bool) -> Script {
    if extended {
        Script::new().parse("", "commit", &[]).bind("", "", &[]).describe_portal("").execute("", 0).sync()
    } else {
        Script::new().query("commit")
    }
}

/// The answer to it.
pub(crate) fn committed(extended: bool) -> Told {
    done(if extended { "12nCZ" } else { "CZ" })
}

/// The client goes on with its connection.
pub(crate) async fn goes_on(client: &mut Client) {
    assert_eq!(client.value("select 'goes on' for update").await.unwrap(), "goes on");
    client.rows("begin").await.unwrap();
    client.rows("insert into t values (0)").await.unwrap();
    client.rows("commit").await.unwrap();
}
