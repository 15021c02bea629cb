//! The table of statements: each has its expected place, and is run on a primary, on a replica, and through pgweir
//! with the split on, to see that it goes there, and that its place is right.

use std::error::Error;
use std::time::{Duration, Instant};

use pgweir_tests::{Cases, Outcome};
use testkit::{Client, Cluster, ConnectOptions, Frame, Pgweir, Script, Setup, first_error};

const TABLE: &str = include_str!("classification/statements.txt");
const SCHEMA: &str = include_str!("classification/schema.sql");
const CODED_TABLE: &str = include_str!("classification/coded.txt");
const CODED_SCHEMA: &str = include_str!("classification/coded.sql");
/// Of what only reads and may leave the primary, at least so much leaves it, in percent.
const MUST_LEAVE: usize = 95;
/// What says that the catalog is being read again after DDL.
const UNSETTLED: &str = "catalog is being read";
const LEARNED: &str = "a replica has refused it";

/// What the table says of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Reads,
    Missed,
    Doubt,
    Primary,
    Learned,
}

#[derive(Debug)]
struct Line {
    mark: Mark,
    fails: bool,
    reason: &'static str,
    sql: &'static str,
}

/// What running it on the servers themselves has shown.
#[derive(Debug)]
struct Truth {
    /// On the primary it was given a transaction id.
    wrote: bool,
    /// The replica would not run it.
    refused: bool,
}

struct World {
    cluster: Cluster,
    pgweir: Pgweir,
    primary: Client,
    replica: Client,
    primary_name: String,
    database: &'static str,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_of_the_table_is_run_where_it_belongs() {
    let mut world = World::start().await.expect("a cluster and pgweir");
    let lines: Vec<Line> = TABLE.lines().filter_map(line).collect();
    assert!(lines.len() >= 300, "the table has only {} statements", lines.len());
    let mut cases = Cases::new();
    for line in &lines {
        cases.add(line.sql, world.follow(line).await);
    }
    world.turn_to("coded").await.expect("another database");
    for line in CODED_TABLE.lines().filter_map(line) {
        cases.add(line.sql, world.follow(&line).await);
    }
    world.turn_to("app").await.expect("the database");
    cases.add("a change through pgweir", world.changed_here().await);
    cases.add("a change elsewhere", world.changed_elsewhere().await);
    cases.add("a write behind rows that were passed on", world.write_behind_rows().await);
    cases.finish();
    let count = |mark| lines.iter().filter(|line| line.mark == mark && !line.fails).count();
    let (left, missed) = (count(Mark::Reads), count(Mark::Missed));
    assert!(
        100 * left >= MUST_LEAVE * (left + missed),
        "{left} reads have left the primary, {missed} have not"
    );
}

/// A line of the table; `None` for a comment.
fn line(text: &'static str) -> Option<Line> {
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    let (head, sql) = text.split_once(" | ").unwrap_or_else(|| panic!("no statement in {text}"));
    let (mark, reason) = head.split_once(' ').unwrap_or((head, ""));
    // The ! may stand behind the reason's last word too.
    let fails = head.contains('!');
    let mark = match mark.trim_end_matches('!') {
        "R" => Mark::Reads,
        "r" => Mark::Missed,
        "D" => Mark::Doubt,
        "P" => Mark::Primary,
        "L" => Mark::Learned,
        other => panic!("no mark: {other}"),
    };
    Some(Line { mark, fails, reason: reason.trim_end_matches('!').trim(), sql })
}

impl World {
    async fn start() -> Result<World, Box<dyn Error>> {
        let cluster = Cluster::builder()
            .name("us")
            .replicas(1)
            .databases(["app", "coded"])
            .users([("app", "secret")])
            .start()?;
        cluster.psql(0, "app", SCHEMA)?;
        cluster.psql(0, "coded", CODED_SCHEMA)?;
        cluster.wait_all_caught_up()?;
        let health = "{interval: 250ms, timeout: 2s, failures: 2}";
        let setup = Setup::new(&cluster).pool_size(4).set("health", health);
        let pgweir = Pgweir::start(&setup).await?;
        let direct = |node| Client::to(node).user("app", "secret").database("app");
        let primary = direct(cluster.primary()).connect().await?;
        let replica = direct(cluster.replica(0)).connect().await?;
        let primary_name = cluster.primary().name().to_owned();
        Ok(World { cluster, pgweir, primary, replica, primary_name, database: "app" })
    }

    /// From here on statements are run in this database.
    async fn turn_to(&mut self, database: &'static str) -> Outcome {
        let direct = |node| Client::to(node).user("app", "secret").database(database);
        self.primary = direct(self.cluster.primary()).connect().await?;
        self.replica = direct(self.cluster.replica(0)).connect().await?;
        self.database = database;
        Ok(())
    }

    fn options(&self) -> ConnectOptions {
        self.pgweir.client("app", self.database)
    }

    /// Runs a statement of the table everywhere, and compares.
    async fn follow(&mut self, line: &Line) -> Outcome {
        let truth = self.truth(line.sql).await?;
        if truth.wrote && matches!(line.mark, Mark::Reads | Mark::Missed) {
            return Err("the table is wrong: it writes".into());
        }
        if truth.refused && !matches!(line.mark, Mark::Primary | Mark::Learned | Mark::Doubt) {
            return Err("the table is wrong: a replica refuses it".into());
        }
        if line.mark == Mark::Learned && !truth.refused {
            return Err("the table is wrong: a replica doesn't refuse it".into());
        }
        self.through_pgweir(line, &Script::new().query(line.sql)).await?;
        if may_be_run_twice(line.sql) {
            let script = Script::new().run(line.sql, &[]).sync();
            self.through_pgweir(line, &script).await.map_err(|wrong| format!("extended: {wrong}"))?;
        }
        Ok(())
    }

    /// What the statement does where nobody routes it. It is rolled back.
    async fn truth(&mut self, sql: &str) -> Result<Truth, Box<dyn Error>> {
        // What has a transaction of its own can't be put into another.
        let own = ["BEGIN", "START"].iter().any(|word| sql.starts_with(word));
        let mut wrote = false;
        if !own {
            self.primary.query("BEGIN").await?;
            let frames = self.primary.query(sql).await?;
            if first_error(&frames).is_none() {
                let question = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL";
                wrote = self.primary.value(question).await? == "t";
            }
            self.primary.query("ROLLBACK").await?;
        }
        let frames = self.replica.query(sql).await?;
        let error = first_error(&frames);
        let refused = error.is_some_and(|error| {
            error.code == "25006" || error.message.contains("recovery") || error.message.contains("Recovery")
        });
        if own {
            self.replica.query("ROLLBACK").await?;
        }
        Ok(Truth { wrote, refused })
    }

    /// Sends it through pgweir, and looks who has answered. While the catalog is being read, once more.
    async fn through_pgweir(&self, line: &Line, script: &Script) -> Outcome {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut client = self.options().connect().await?;
            let frames = client.run(script).await?;
            let route = client.rows("SHOW pgweir.route").await?.pop().unwrap_or_default();
            let [_, _, role, node, reason, _] =
                <[Option<String>; 6]>::try_from(route).map_err(|row| format!("{row:?}"))?;
            let (role, node, reason) =
                (role.unwrap_or_default(), node.unwrap_or_default(), reason.unwrap_or_default());
            if reason.contains(UNSETTLED) && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            return self.judge(line, &frames, &role, &node, &reason);
        }
    }

    /// What a client changes counts before it is told so: the very next statement is planned by it.
    async fn changed_here(&self) -> Outcome {
        let mut client = self.options().connect().await?;
        client
            .rows("CREATE FUNCTION changing(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'")
            .await?;
        self.settles(&mut client, "SELECT changing(1)", "replica").await?;
        client.rows("BEGIN").await?;
        client.rows("CREATE TABLE beside (n int)").await?;
        client.rows("ALTER FUNCTION changing(int) VOLATILE").await?;
        client.rows("COMMIT").await?;
        client.rows("SELECT changing(1)").await?;
        let (role, reason) = route(&mut client).await?;
        if role != "primary" {
            return Err(format!("it went to the {role} right after the change: {reason}").into());
        }
        self.settles(&mut client, "SELECT changing(2)", "primary").await?;
        // Temporary things are nobody else's: nothing is read again for them.
        client.rows("CREATE TEMP TABLE mine_alone (n int)").await?;
        let mut other = self.options().connect().await?;
        other.rows("SELECT * FROM t").await?;
        let (role, reason) = route(&mut other).await?;
        if role != "replica" {
            return Err(format!("a temporary table sends reads to the {role}: {reason}").into());
        }
        Ok(())
    }

    /// Rows have gone to the client when the replica refuses: it gets the error, but only once.
    async fn write_behind_rows(&self) -> Outcome {
        let mut client = self.options().connect().await?;
        let sql =
            "SELECT n, repeat('x', 1000), CASE WHEN n = 900 THEN sly() END FROM generate_series(1, 1000) n";
        let frames = client.query(sql).await?;
        let error = first_error(&frames).ok_or("the replica has not refused it")?;
        if error.code != "25006" {
            return Err(format!("{error:?}").into());
        }
        client.rows(sql).await?;
        let (role, reason) = route(&mut client).await?;
        if role != "primary" || !reason.contains(LEARNED) {
            return Err(format!("then it went to the {role}: {reason}").into());
        }
        Ok(())
    }

    /// What changes behind pgweir's back is seen by the next look.
    async fn changed_elsewhere(&self) -> Outcome {
        let mut client = self.options().connect().await?;
        self.cluster.psql(
            0,
            "app",
            "CREATE FUNCTION behind(n int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';
             CREATE VIEW behind_v AS SELECT behind(1) AS n; GRANT SELECT ON behind_v TO app",
        )?;
        self.cluster.wait_all_caught_up()?;
        self.settles(&mut client, "SELECT behind(1)", "replica").await?;
        self.settles(&mut client, "SELECT * FROM behind_v", "replica").await?;
        let changes = [
            ("ALTER FUNCTION behind(int) VOLATILE", "primary"),
            ("ALTER FUNCTION behind(int) STABLE", "replica"),
            ("CREATE OR REPLACE VIEW behind_v AS SELECT loose(1) AS n", "primary"),
            ("CREATE OR REPLACE VIEW behind_v AS SELECT 1 AS n", "replica"),
            ("DROP VIEW behind_v; CREATE UNLOGGED TABLE behind_v (n int)", "primary"),
            ("ALTER TABLE behind_v SET LOGGED", "replica"),
            (
                "ALTER TABLE behind_v ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON behind_v USING (loose(n) = n)",
                "primary",
            ),
            ("ALTER TABLE behind_v DISABLE ROW LEVEL SECURITY", "replica"),
        ];
        for (change, role) in changes {
            self.cluster.psql(
                0,
                "app",
                &format!("BEGIN; {change}; GRANT SELECT ON behind_v TO app; COMMIT"),
            )?;
            self.cluster.wait_all_caught_up()?;
            let settled = self.settles(&mut client, "SELECT * FROM behind_v", role).await;
            settled.map_err(|wrong| format!("{change}: {wrong}"))?;
        }
        Ok(())
    }

    /// Waits until a statement goes where it should.
    async fn settles(&self, client: &mut Client, sql: &str, expected: &str) -> Outcome {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            client.rows(sql).await?;
            let (role, reason) = route(client).await?;
            let settled = role == expected && !reason.contains(UNSETTLED);
            if settled {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{sql}: still to the {role}: {reason}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn judge(&self, line: &Line, frames: &[Frame], role: &str, node: &str, reason: &str) -> Outcome {
        match (first_error(frames), line.fails) {
            (Some(error), false) => return Err(format!("{error:?}").into()),
            (None, true) => return Err("it did not fail".into()),
            _ => {}
        }
        let expected = if line.mark == Mark::Reads { "replica" } else { "primary" };
        let ran_on = if node == self.primary_name { "primary" } else { "replica" };
        // Nothing to run needs no node.
        if (role, ran_on) != (expected, expected) && !(node.is_empty() && role == expected) {
            return Err(format!("it went to the {role} {node}: {reason}").into());
        }
        if !reason.contains(line.reason) {
            return Err(format!("not because of {}: {reason}", line.reason).into());
        }
        if reason.contains(LEARNED) != (line.mark == Mark::Learned) {
            return Err(format!("a replica was asked first: {reason}").into());
        }
        Ok(())
    }
}

/// Role and reason of the last statement.
async fn route(client: &mut Client) -> Result<(String, String), Box<dyn Error>> {
    let row = client.rows("SHOW pgweir.route").await?.pop().unwrap_or_default();
    let value = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    Ok((value(2), value(4)))
}

/// Single queries, which leave nothing behind that a second run would meet.
fn may_be_run_twice(sql: &str) -> bool {
    let first = sql.split(|letter: char| !letter.is_ascii_alphabetic()).find(|word| !word.is_empty());
    let first = first.unwrap_or_default().to_ascii_lowercase();
    let query = ["select", "with", "values", "table", "explain", "copy"].contains(&first.as_str());
    query && !sql.contains(';') && !sql.contains("INTO") && !sql.contains("CREATE")
}
