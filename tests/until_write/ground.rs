//! A primary and a replica that is never behind, and conversations held with the primary and with pgweir.

use std::net::SocketAddr;

use pgweir_tests::talk::without_source;
use pgweir_tests::world::soon;
use testkit::{Client, Cluster, Frame, Pgweir, Script, Setup, normalize, rows};
use tokio::sync::Mutex;

const SCHEMA: &str = "
    create table items (id int primary key, v text);
    create table log (n serial, what text);
    create sequence tickets;
    create function sly() returns bigint language sql stable as 'select nextval(''tickets'')';
    create view ticket as select sly() > 0 as taken;
    create function note(text) returns text language sql as 'insert into log (what) values ($1) returning what';
    create function twice(n int) returns int language plpgsql stable as 'begin return 2 * n; end';
    create unlogged table scratch (n int);
";

/// What every conversation finds.
const AT_FIRST: &str = "truncate items, log restart identity;
    insert into items select n, 'v' || n from generate_series(1, 5) n;";

/// A turn of a conversation, and the role of the node that answers it: `r`, `p`, or a blank if that doesn't matter.
pub(crate) type Turn = (Script, char);

pub(crate) struct Ground {
    pub(crate) cluster: Cluster,
    pub(crate) pgweir: Pgweir,
    /// A client of the primary that resets and looks.
    watch: Mutex<Client>,
}

impl Ground {
    pub(crate) async fn prepare() -> Ground {
        let builder = Cluster::builder().replicas(1).databases(["app"]).users([("app", "app-secret")]);
        let cluster = builder.start().unwrap();
        cluster.psql_as(0, "app", "app", SCHEMA).unwrap();
        cluster
            .psql(0, "app", "create role clerk; grant clerk to app; grant select on items to clerk")
            .unwrap();
        // What is committed has been replayed.
        cluster.configure(0, "synchronous_standby_names", "*").unwrap();
        cluster.configure(0, "synchronous_commit", "remote_apply").unwrap();
        cluster.wait_all_caught_up().unwrap();
        let pgweir = Pgweir::start(&setup(&cluster)).await.unwrap();
        let watch = Mutex::new(direct(&cluster).await);
        Ground { cluster, pgweir, watch }
    }

    pub(crate) async fn client(&self) -> Client {
        self.pgweir.client("app", "app").connect().await.unwrap()
    }

    /// Whether the last statement was answered by the replica (`r`) or the primary (`p`).
    pub(crate) async fn place(&self, client: &mut Client) -> char {
        let row = client.rows("show pgweir.route").await.unwrap().remove(0);
        match row[3].as_deref() {
            Some(node) if node == self.cluster.primary().name() => 'p',
            Some(_) => 'r',
            None => '-',
        }
    }

    /// What the nodes are doing, for who waits in vain.
    fn activity(&self) -> String {
        let sql = "select pid, usename, state, wait_event, query from pg_stat_activity where backend_type = 'client backend'";
        let of = |node: usize| self.cluster.psql(node, "app", sql).unwrap_or_else(|error| error.to_string());
        format!("primary:\n{}\nreplica:\n{}", of(0), of(1))
    }

    /// Waits until the catalog is read again: what reads a table may leave the primary then.
    pub(crate) async fn settled(&self) {
        let mut client = self.client().await;
        soon("a read of a table is answered by the replica", async || {
            client.rows("select count(*) from items, log").await.unwrap();
            self.place(&mut client).await == 'r'
        })
        .await;
    }

    /// Rows of the primary.
    pub(crate) fn found(&self, sql: &str) -> String {
        self.cluster.psql(0, "app", sql).unwrap().trim().to_owned()
    }

    /// A conversation goes as with the primary, and each turn is answered where it should be.
    pub(crate) async fn same(&self, talk: Vec<Turn>) {
        let direct = self.hold(direct(&self.cluster).await, &talk, false).await;
        for asking in [false, true] {
            let through = self.hold(self.client().await, &talk, asking).await;
            for (number, (direct, through)) in direct.iter().zip(&through).enumerate() {
                let said = talk
                    .get(number)
                    .map_or("the tables".into(), |turn| String::from_utf8_lossy(turn.0.bytes()));
                assert!(
                    direct == through,
                    "turn {number} {said:?}\ndirect:  {direct:?}\nthrough: {through:?} ({asking})"
                );
            }
        }
    }

    /// `asking`: where each turn was answered, between the turns.
    async fn hold(&self, mut client: Client, talk: &[Turn], asking: bool) -> Vec<Vec<Frame>> {
        let mut watch = self.watch.lock().await;
        watch.query(AT_FIRST).await.unwrap();
        let mut frames = Vec::new();
        for (number, (turn, expected)) in talk.iter().enumerate() {
            let answer = client.run(turn).await;
            let answer = answer.unwrap_or_else(|error| panic!("turn {number}: {error}\n{}", self.activity()));
            let status = answer.last().and_then(Frame::status);
            if asking && *expected != ' ' && status != Some('E') {
                let place = self.place(&mut client).await;
                let why = client.rows("show pgweir.route").await.unwrap();
                let said = String::from_utf8_lossy(turn.bytes());
                assert!(
                    place == *expected,
                    "turn {number} {said:?}: answered by {place}, not {expected}: {why:?}"
                );
            }
            // Which columns come from which table differs by oid only; what was said before is said again, maybe.
            let seen = normalize(answer).into_iter().filter(|frame| frame.tag != b'T' && frame.tag != b'S');
            frames.push(seen.map(|frame| without_source(frame, b"EN")).collect());
        }
        client.close().await.unwrap();
        let left = watch.query("select id, v from items order by id").await.unwrap();
        let logged = watch.query("select what from log order by n").await.unwrap();
        frames.push(left.into_iter().chain(logged).filter(|frame| frame.tag == b'D').collect());
        frames
    }
}

/// A client of the primary.
async fn direct(cluster: &Cluster) -> Client {
    let node = SocketAddr::from(([127, 0, 0, 1], cluster.primary().port()));
    Client::to(node).user("app", "app-secret").database("app").connect().await.unwrap()
}

/// Two connections for each node.
pub(crate) fn setup(cluster: &Cluster) -> Setup {
    Setup::new(cluster)
        .pool_size(2)
        .set("route.transactions", "replica_until_write")
        .set("instance.workers", "1")
        .set("health", "{interval: 250ms, timeout: 2s, failures: 2}")
        .set("databases.plain", "{cluster: pg, dbname: app, route: {transactions: primary}}")
}

/// The only value of an answer.
pub(crate) fn value(frames: &[Frame]) -> String {
    rows(frames).into_iter().flatten().flatten().next().unwrap_or_default()
}
