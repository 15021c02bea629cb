//! What is known and warm costs no memory: in the steady state a transaction allocates nothing on its core.

#![allow(clippy::unwrap_used, reason = "a test may fail so")]

use pgweir_tests::Cases;
use testkit::{Client, Cluster, Pgweir, Script, Setup, free_port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

/// Transactions before it counts, so that buffers and caches have their size.
const WARM: usize = 100;
/// Transactions that count.
const COUNTED: usize = 250;
/// Looks at most: what is done now and then (a clock's turn, a connection that is replaced) may fall into one.
const LOOKS: usize = 5;

struct World {
    cluster: Cluster,
    pgweir: Pgweir,
    http: u16,
}

impl World {
    /// One core in front of a primary and a replica.
    async fn start(pool: usize) -> World {
        let users = [("app", "secret")];
        let builder = Cluster::builder().name("us").replicas(1).databases(["app"]).users(users);
        let cluster = builder.start().expect("Postgres starts");
        let table = "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, i FROM generate_series(1, 100) i; \
                     GRANT ALL ON t TO app";
        cluster.psql(0, "app", table).expect("a table");
        cluster.wait_all_caught_up().expect("a replica");
        let http = free_port().expect("a free port");
        let setup = Setup::new(&cluster)
            .pool_size(pool)
            .set("instance.workers", "1")
            .set("listen.http", &format!("\"127.0.0.1:{http}\""));
        let pgweir = Pgweir::start(&setup).await.expect("pgweir starts");
        World { cluster, pgweir, http }
    }

    async fn client(&self) -> Client {
        self.pgweir.client("app", "app").connect().await.expect("a login")
    }

    /// Bytes that the core has asked for since it began.
    async fn allocated(&self) -> u64 {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.http)).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let sample = answer
            .lines()
            .find_map(|line| line.strip_prefix("pgweir_core_allocated_bytes_total{core=\"0\"} "));
        let bytes: f64 = sample.expect("a sample").parse().unwrap();
        format!("{bytes:.0}").parse().unwrap()
    }

    /// What `COUNTED` runs of a script allocate for each of them, in bytes, at best; what a look costs isn't counted.
    async fn each(&self, client: &mut Client, script: &Script) -> f64 {
        for _ in 0..WARM {
            client.run(script).await.unwrap();
        }
        let mut least = u64::MAX;
        for _ in 0..LOOKS {
            let (first, before) = (self.allocated().await, self.allocated().await);
            for _ in 0..COUNTED {
                client.run(script).await.unwrap();
            }
            let after = self.allocated().await;
            assert!(first > 0 && before > first, "what a look costs is counted");
            least = least.min((after - before).saturating_sub(before - first));
        }
        let least = u32::try_from(least).expect("no more than that");
        f64::from(least) / COUNTED as f64
    }
}

fn simple() -> Script {
    Script::new().query("SELECT n FROM t WHERE id = 7")
}

fn extended() -> Script {
    Script::new()
        .parse("", "SELECT n FROM t WHERE id = $1", &[])
        .bind("", "", &[Some("7")])
        .describe_portal("")
        .execute("", 0)
        .sync()
}

fn prepared() -> Script {
    Script::new().bind("", "by_id", &[Some("7")]).describe_portal("").execute("", 0).sync()
}

#[tokio::test]
async fn the_steady_state_allocates_nothing() {
    let world = World::start(2).await;
    let mut cases = Cases::new();
    let mut client = world.client().await;
    client.run(&Script::new().parse("by_id", "SELECT n FROM t WHERE id = $1", &[]).sync()).await.unwrap();
    for (name, script) in [
        ("a simple read", simple()),
        ("a simple write", Script::new().query("UPDATE t SET n = n WHERE id = 7")),
        ("an extended read", extended()),
        ("a prepared read", prepared()),
        ("two prepared reads in a pipeline", Script::new().raw(prepared().bytes()).raw(prepared().bytes())),
    ] {
        cases
            .run(name, async {
                let bytes = world.each(&mut client, &script).await;
                assert!(bytes < 1.0, "{bytes} bytes for each transaction");
            })
            .await;
    }
    cases
        .run("a statement that is prepared and closed again is seen", async {
            let sql = "SELECT n FROM t WHERE id = $1";
            let script = Script::new().parse("again", sql, &[]).close_statement("again").sync();
            let bytes = world.each(&mut client, &script).await;
            assert!(bytes >= 1.0, "its name is kept, so it must be allocated");
        })
        .await;
    cases.run("clients that wait for a connection", waiting(&world)).await;
    drop(world.cluster);
    cases.finish();
}

/// More clients than connections, so that most wait.
async fn waiting(world: &World) {
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(world.client().await);
    }
    let mut least = u64::MAX;
    for _ in 0..=LOOKS {
        let (first, before) = (world.allocated().await, world.allocated().await);
        let mut all = JoinSet::new();
        for mut client in clients.drain(..) {
            all.spawn(async move {
                for _ in 0..COUNTED / 4 {
                    client.run(&simple()).await.unwrap();
                }
                client
            });
        }
        clients = all.join_all().await;
        let after = world.allocated().await;
        least = least.min((after - before).saturating_sub(before - first));
    }
    assert!(least < 700, "{least} bytes for 744 transactions");
}
