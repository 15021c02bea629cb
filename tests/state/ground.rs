//! Where the conversations are held: one Postgres with two databases alike, one reached directly, one through pgweir by a
//! pool of two connections that others use meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pgweir_tests::world::names;
use testkit::{Auth, Client, Cluster, ConnectOptions, Frame, Pgweir, SUPERUSER, Setup, normalize, rows};

use tokio::time::Instant;

use crate::dice::Dice;
use crate::kind::{Kind, User};
use crate::situation::{Talk, Turn, schema_of};

const SCHEMA: &str = "
    CREATE TABLE t (n int);
    CREATE TABLE numbered (id serial, n int);
    CREATE TABLE things (id int PRIMARY KEY);
    CREATE TABLE parts (thing int REFERENCES things DEFERRABLE INITIALLY IMMEDIATE);
    CREATE SEQUENCE tickets;
    CREATE SCHEMA s1; CREATE SCHEMA s2;
    CREATE TABLE s1.here AS SELECT 'one' AS who;
    CREATE TABLE s2.here AS SELECT 'two' AS who;
    CREATE TABLE clerks_only (n int);
    CREATE TABLE by_user (owner text);
    INSERT INTO by_user VALUES ('app'), ('clerk'), ('clerk'), ('boss'), ('boss'), ('boss');
    ALTER TABLE by_user ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON by_user USING (owner = current_user);
    CREATE FUNCTION with_set() RETURNS text LANGUAGE plpgsql SET work_mem = '5MB' AS
        $$ BEGIN RETURN current_setting('work_mem'); END $$;
    CREATE ROLE clerk; GRANT clerk TO app; ALTER ROLE boss SUPERUSER;
    GRANT ALL ON SCHEMA public, s1, s2 TO PUBLIC;";

const GRANTS: &str = "
    GRANT ALL ON ALL TABLES IN SCHEMA public, s1, s2 TO PUBLIC;
    REVOKE ALL ON clerks_only FROM PUBLIC; GRANT ALL ON clerks_only TO clerk;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC;";

/// What a session may leave behind, seen by whoever comes next. (`app.tenant` is there as an empty text for good once it
/// was set on a connection; Postgres has no way to take it back. Prepared statements are shared on purpose.)
const BATTERY: &str = "
    SELECT current_setting('work_mem'), current_setting('search_path'), current_setting('TimeZone'),
        current_setting('DateStyle'), current_setting('application_name'), current_setting('statement_timeout'),
        current_setting('client_encoding'), current_setting('standard_conforming_strings'),
        current_setting('default_transaction_read_only'), current_setting('default_transaction_isolation'),
        current_setting('xmloption'), current_setting('plan_cache_mode'), current_setting('enable_seqscan'),
        current_setting('session_replication_role'), current_setting('log_min_duration_statement'),
        nullif(current_setting('app.tenant', true), ''), current_setting('auto_explain.log_min_duration', true),
        current_user, session_user, current_setting('role'),
        (SELECT count(*) FROM pg_cursors WHERE name <> ''),
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
        (SELECT count(*) FROM pg_listening_channels()),
        to_regclass('pg_temp.mine'), to_regproc('pg_temp.mine'),
        pg_current_xact_id_if_assigned()";

/// Has the replica answer, where nobody would be sent for all of that.
const ON_REPLICA: &str = "/* pgweir: role=replica */";

/// How long anything may take that is sure to come: as long as the slowest machine may need.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a turn was answered, as lines to compare.
pub(crate) type Answer = Vec<String>;

/// Postgres and pgweir.
pub(crate) struct Ground {
    cluster: Cluster,
    pgweir: Pgweir,
    lanes: usize,
    replicas: usize,
}

/// Where one conversation after the other is held: a database that is reached directly and one like it behind pgweir.
pub(crate) struct Lane {
    ground: Arc<Ground>,
    direct: String,
    pooled: String,
    console: Client,
    dice: Dice,
    others: Vec<Others>,
    /// What a fresh session shows, to each user.
    fresh: BTreeMap<(&'static str, &'static str), Answer>,
    /// Sessions that were found pinned, by the kind of their state.
    pub(crate) pinned: BTreeMap<&'static str, usize>,
}

impl Ground {
    /// With so many lanes; with replicas, reads go there.
    pub(crate) async fn prepare(kinds: &[Kind], replicas: usize, lanes: usize) -> Arc<Ground> {
        let users = User::ALL.map(|user| (user.name(), "secret"));
        let cluster = Cluster::builder().auth(Auth::Trust).replicas(replicas).users(users);
        let databases = (0..lanes).flat_map(|lane| [format!("direct{lane}"), format!("app{lane}")]);
        let cluster = cluster.databases(databases).start().unwrap();
        let hidden: String = kinds.iter().enumerate().map(|(number, kind)| schema_of(number, kind)).collect();
        cluster.psql(0, "direct0", &format!("{SCHEMA}{hidden}{GRANTS}")).unwrap();
        // A copy has the same OIDs.
        for lane in 0..lanes {
            for copy in
                [format!("direct{lane}"), format!("app{lane}")].iter().filter(|name| *name != "direct0")
            {
                cluster.psql(0, "postgres", &format!("DROP DATABASE {copy}")).unwrap();
                let sql = format!("CREATE DATABASE {copy} OWNER app TEMPLATE direct0");
                cluster.psql(0, "postgres", &sql).unwrap();
            }
        }
        cluster.wait_all_caught_up().unwrap();
        let setup = Setup::new(&cluster).pool_size(2).set("pool.pinned", "1").set("instance.workers", "2");
        let setup = setup.set("auth.method", "trust").set("clusters.pg.server_connections", "30");
        let setup = setup.set("pool.query_wait_timeout", "120s");
        let setup = if replicas > 0 { setup.set("route.role", "auto") } else { setup };
        let pgweir = Pgweir::start(&setup).await.unwrap();
        Arc::new(Ground { cluster, pgweir, lanes, replicas })
    }

    /// Its lanes.
    pub(crate) async fn lanes(self: &Arc<Ground>, seed: u64) -> Vec<Lane> {
        let mut lanes = Vec::new();
        for lane in 0..self.lanes {
            let (direct, pooled) = (format!("direct{lane}"), format!("app{lane}"));
            let mut others = Vec::new();
            for user in User::ALL {
                others.push(Others::come(&self.pgweir, user, &pooled).await.unwrap());
            }
            let console = self.pgweir.console().await.unwrap();
            let dice = Dice::new(seed, lane);
            let (fresh, pinned) = Default::default();
            lanes.push(Lane {
                ground: Arc::clone(self),
                direct,
                pooled,
                console,
                dice,
                others,
                fresh,
                pinned,
            });
        }
        lanes
    }

    /// Its log must have no panic in it.
    pub(crate) fn assert_no_panic(&self) {
        assert!(!self.pgweir.log().contains("panicked"), "{}", self.pgweir.log());
    }
}

impl Lane {
    /// Holds a conversation both ways; what is wrong, in words.
    pub(crate) async fn compare(&mut self, kind: &Kind, talk: &Talk) -> Result<(), String> {
        let direct = self.direct(kind, talk).await?;
        let outcome = match self.through(kind, talk, &direct).await {
            Ok(()) => self.after(kind).await,
            wrong => wrong,
        };
        if outcome.is_err() {
            self.begin_anew(kind.user).await?;
        }
        outcome
    }

    /// After something went wrong: with server connections that nobody has used, so that the next case isn't blamed.
    async fn begin_anew(&mut self, user: User) -> Result<(), String> {
        let to = Client::to(self.ground.cluster.primary())
            .user(SUPERUSER, self.ground.cluster.superuser_password());
        let mut judge = connect(to.database(&self.direct)).await?;
        let end = format!(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = '{}' \
             AND usename IN ('app', 'boss')",
            self.pooled
        );
        let _ = said(&mut judge, &end).await?;
        for replica in 0..self.ground.replicas {
            let to = Client::to(self.ground.cluster.replica(replica));
            let to = to.user(SUPERUSER, self.ground.cluster.superuser_password());
            let _ = said(&mut connect(to.database(&self.direct)).await?, &end).await?;
        }
        self.unpinned(user).await?;
        let others = Others::come(&self.ground.pgweir, user, &self.pooled).await?;
        *self.others_of(user) = others;
        Ok(())
    }

    async fn direct(&self, kind: &Kind, talk: &Talk) -> Result<Vec<Answer>, String> {
        let mut client =
            Some(connect(self.to(kind, Client::to(self.ground.cluster.primary()), &self.direct)).await?);
        let (mut answers, mut known) = (Vec::new(), BTreeMap::new());
        for turn in &talk.turns {
            let answer = take(&mut client, turn).await.map_err(|error| format!("direct: {error}"))?;
            answers.push(without_repeats(answer, &mut known));
        }
        Ok(answers)
    }

    fn to(&self, kind: &Kind, to: ConnectOptions, database: &str) -> ConnectOptions {
        let to = to.user(kind.user.name(), "secret").database(database);
        kind.startup.iter().fold(to, |to, (name, value)| to.parameter(name, value))
    }

    /// Holds the conversation through pgweir, while others use the pool.
    async fn through(&mut self, kind: &Kind, talk: &Talk, direct: &[Answer]) -> Result<(), String> {
        let to = self.to(kind, Client::to(self.ground.pgweir.addr()), &self.pooled);
        let mut client = Some(connect(to).await?);
        let mut idle = true;
        let mut ever_pinned = false;
        let (mut said, mut answers, mut known) = (Vec::new(), direct.iter(), BTreeMap::new());
        for turn in &talk.turns {
            if idle {
                ever_pinned |=
                    self.meanwhile(kind).await.map_err(|what| format!("{what}\n    after {said:?}"))?;
            }
            said.push(turn.words());
            let through =
                take(&mut client, turn).await.map_err(|error| format!("{error}\n    after {said:?}"))?;
            let through = without_repeats(through, &mut known);
            let expected = answers.next().cloned().unwrap_or_default();
            let refused =
                kind.instead.is_some_and(|code| through.iter().any(|l| l.starts_with(&format!("E {code} "))));
            let excused = refused && expected.last() == through.last();
            if through != expected && !excused {
                return Err(format!("after {said:?}\n    direct:  {expected:?}\n    through: {through:?}"));
            }
            idle = through.last().is_some_and(|line| line == "Z I");
        }
        ever_pinned |= idle && self.pinned_at_rest(kind).await?;
        if ever_pinned {
            *self.pinned.entry(kind.pin.unwrap_or(kind.name)).or_default() += 1;
            if kind.pin.is_none() {
                return Err(format!("pinned, after {said:?}"));
            }
        }
        if talk.free {
            self.unpinned(kind.user).await.map_err(|what| format!("{what}, after {said:?}"))?;
        }
        match client {
            Some(client) => client.close().await.map_err(|error| format!("goodbye: {error}")),
            None => Ok(()),
        }
    }

    /// While the session is idle others look around and hold one of the two connections, any of them. Says whether the
    /// session is pinned: then one is all that they have.
    async fn meanwhile(&mut self, kind: &Kind) -> Result<bool, String> {
        let pinned = self.pinned_at_rest(kind).await?;
        if pinned && kind.pin.is_none() {
            *self.pinned.entry(kind.name).or_default() += 1;
            return Err("pinned".to_owned());
        }
        let fresh = self.fresh(kind.user, BATTERY).await?;
        let turn = self.dice.below(2) == 0;
        let others = self.others_of(kind.user);
        let found = if pinned { others.look_by_holder().await? } else { others.look(turn).await? };
        if found != fresh {
            return Err(format!("others see {}", differing(&found, &fresh)));
        }
        self.on_replica(kind, &fresh).await?;
        Ok(pinned)
    }

    /// What the others see on a connection to the replica.
    async fn on_replica(&mut self, kind: &Kind, fresh: &Answer) -> Result<(), String> {
        if self.ground.replicas == 0 {
            return Ok(());
        }
        // What reads goes there of itself, once the catalog was read again that DDL has made void. Until then it goes to
        // the primary, where this user's connections may all be taken: whether it was read the other user finds out.
        let other = if kind.user == User::App { User::Boss } else { User::App };
        let deadline = Instant::now() + PATIENCE;
        while !self.others_of(other).reads_on_replica().await? {
            if Instant::now() > deadline {
                return Err("others don't read on the replica".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if !self.others_of(kind.user).reads_on_replica().await? {
            return Err("others of the same user don't read on the replica".to_owned());
        }
        let mut found =
            self.others_of(kind.user).guest_says(&format!("{ON_REPLICA} {}", BATTERY.trim())).await?;
        found.retain(|line| !line.starts_with("Z "));
        if found == *fresh {
            Ok(())
        } else {
            Err(format!("on the replica others see {}", differing(&found, fresh)))
        }
    }

    /// Once the session is gone: nobody sees anything of it, on either connection.
    async fn after(&mut self, kind: &Kind) -> Result<(), String> {
        self.unpinned(kind.user).await?;
        for _ in 0..2 {
            let fresh = self.fresh(kind.user, BATTERY).await?;
            let found = self.others_of(kind.user).look(true).await?;
            if found != fresh {
                return Err(format!("afterwards others see {}", differing(&found, &fresh)));
            }
            self.on_replica(kind, &fresh).await?;
            let own =
                kind.look.iter().chain(kind.attempt).filter(|sql| !kind.needed && !sql.contains("NOTIFY"));
            for sql in own {
                let fresh = self.fresh(kind.user, sql).await?;
                let found = self.others_of(kind.user).guest_says(sql).await?;
                // A setting of one's own that was once there is an empty text.
                let instead = kind.instead.is_some_and(|code| found[0].starts_with(&format!("E {code} ")));
                let same = found == fresh || instead || without_empty(&found) == without_empty(&fresh);
                if !same {
                    return Err(format!("afterwards to {sql:?} others get {found:?}, not {fresh:?}"));
                }
            }
        }
        Ok(())
    }

    fn others_of(&mut self, user: User) -> &mut Others {
        let place = User::ALL.iter().position(|known| *known == user).unwrap_or_default();
        &mut self.others[place]
    }

    /// What a fresh session of Postgres itself answers.
    async fn fresh(&mut self, user: User, sql: &'static str) -> Result<Answer, String> {
        if let Some(known) = self.fresh.get(&(user.name(), sql)) {
            return Ok(known.clone());
        }
        let to = Client::to(self.ground.cluster.primary()).user(user.name(), "secret").database(&self.direct);
        let mut answer = said(&mut connect(to).await?, sql).await?;
        if sql == BATTERY {
            answer.retain(|line| !line.starts_with("Z "));
        }
        self.fresh.insert((user.name(), sql), answer.clone());
        Ok(answer)
    }

    /// Sessions that hold on to a connection of this user's pool.
    async fn count_pinned(&mut self, user: User) -> Result<usize, String> {
        self.count(user, "pinned").await
    }

    /// Whether the session is pinned, once what it did is looked through: if not, the holder is the only one that has a
    /// connection.
    async fn pinned_at_rest(&mut self, kind: &Kind) -> Result<bool, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pinned = self.count_pinned(kind.user).await? > 0;
            let rests =
                if pinned { kind.pin.is_some() } else { self.count(kind.user, "sv_active").await? <= 1 };
            if rests || (pinned && Instant::now() > deadline) {
                return Ok(pinned);
            }
            if Instant::now() > deadline {
                return Err("it holds its connection, and isn't pinned".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// A number of this user's pool.
    async fn count(&mut self, user: User, name: &str) -> Result<usize, String> {
        let frames = self.console.query("SHOW NODE_POOLS").await.map_err(|error| error.to_string())?;
        let columns = names(&frames);
        let at =
            |name: &str| columns.iter().position(|column| column == name).ok_or(format!("no column {name}"));
        let (of, on, number) = (at("user")?, at("database")?, at(name)?);
        let whose = |row: &Vec<Option<String>>| (row[on].clone(), row[of].clone());
        let ours = (Some(self.pooled.clone()), Some(user.name().to_owned()));
        let ours = rows(&frames).into_iter().filter(|row| whose(row) == ours);
        Ok(ours.filter_map(|row| row[number].as_ref()?.parse::<usize>().ok()).sum())
    }

    async fn unpinned(&mut self, user: User) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while self.count_pinned(user).await? > 0 {
            if Instant::now() > deadline {
                return Err("still pinned".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}

/// Two clients that are always there: one holds a connection of the pool in a transaction, the other comes and goes.
struct Others {
    holder: Client,
    guest: Client,
}

impl Others {
    async fn come(pgweir: &Pgweir, user: User, database: &str) -> Result<Others, String> {
        let to = || connect(Client::to(pgweir.addr()).user(user.name(), "secret").database(database));
        let (mut holder, guest) = (to().await?, to().await?);
        look_and_hold(&mut holder).await?;
        Ok(Others { holder, guest })
    }

    /// The guest looks around, on the connection that isn't held. `turn`: that one is held then, and the other is free.
    async fn look(&mut self, turn: bool) -> Result<Answer, String> {
        let found = look_and_hold(&mut self.guest).await?;
        if turn {
            std::mem::swap(&mut self.holder, &mut self.guest);
        }
        let _ = said(&mut self.guest, "ROLLBACK").await?;
        Ok(found)
    }

    /// The other connection is a session's own: the holder lets go, looks and takes hold again.
    async fn look_by_holder(&mut self) -> Result<Answer, String> {
        let _ = said(&mut self.holder, "ROLLBACK").await?;
        look_and_hold(&mut self.holder).await
    }

    /// Whether what the guest reads goes to the replica.
    async fn reads_on_replica(&mut self) -> Result<bool, String> {
        self.guest_says("SELECT count(*) FROM t").await?;
        let route = self.guest_says("SHOW pgweir.route").await?;
        Ok(route.iter().any(|line| line.contains("\"replica\"")))
    }

    async fn guest_says(&mut self, sql: &str) -> Result<Answer, String> {
        said(&mut self.guest, sql).await
    }
}

/// Looks around in a transaction, and stays in it.
async fn look_and_hold(client: &mut Client) -> Result<Answer, String> {
    let mut answer = said(client, &format!("BEGIN; {BATTERY}")).await?;
    if answer.last().is_none_or(|line| line != "Z T") {
        return Err(format!("others can't begin a transaction: {answer:?}"));
    }
    answer.retain(|line| !line.starts_with("C \"BEGIN") && !line.starts_with("Z "));
    Ok(answer)
}

async fn connect(to: ConnectOptions) -> Result<Client, String> {
    to.deadline(PATIENCE).connect().await.map_err(|error| format!("connect: {error}"))
}

async fn said(client: &mut Client, sql: &str) -> Result<Answer, String> {
    client.query(sql).await.map(lines).map_err(|error| format!("{sql}: {error}"))
}

async fn take(client: &mut Option<Client>, turn: &Turn) -> Result<Answer, String> {
    match turn {
        Turn::Vanish => {
            *client = None;
            Ok(Vec::new())
        }
        Turn::Ask { words, script } => {
            let client = client.as_mut().ok_or("it is gone")?;
            let run = tokio::time::timeout(PATIENCE, client.run(script)).await;
            match run {
                Ok(run) => run.map(lines).map_err(|error| format!("{words}: {error}")),
                Err(_) => Err(format!("{words}: no answer")),
            }
        }
    }
}

impl Turn {
    pub(crate) fn words(&self) -> &str {
        match self {
            Turn::Ask { words, .. } => words,
            Turn::Vanish => "(gone)",
        }
    }
}

/// An answer as it is compared: without what may differ between two databases that are alike.
pub(crate) fn lines(frames: Vec<Frame>) -> Answer {
    let line = |frame: Frame| {
        if let Some(error) = frame.server_error() {
            let rest = [error.detail, error.hint].into_iter().flatten().collect::<Vec<_>>();
            let kind = char::from(frame.tag);
            return format!("{kind} {} {} {}", error.code, error.message, rest.join(" / "));
        }
        if frame.tag == b'T' {
            return format!("T {:?}", names(std::slice::from_ref(&frame)));
        }
        match frame.status() {
            Some(status) => format!("Z {status}"),
            None => format!("{frame:?}"),
        }
    };
    // Whether a connection has ever had a temporary table shows in this alone.
    let skipped =
        |line: &String| !(line.starts_with("N 00000 ") && line.contains("does not exist, skipping"));
    normalize(frames).into_iter().map(line).filter(skipped).collect()
}

/// Without a ParameterStatus that says what the client was told before: it may be told again.
fn without_repeats(mut answer: Answer, known: &mut BTreeMap<String, String>) -> Answer {
    answer.retain(|line| {
        let Some((name, _)) = line.strip_prefix("S \"").and_then(|text| text.split_once("\\x00")) else {
            return true;
        };
        known.insert(name.to_owned(), line.clone()).as_ref() != Some(line)
    });
    answer
}

/// What of an answer isn't as it should be, and that.
fn differing(found: &Answer, fresh: &Answer) -> String {
    let parts = |answer: &Answer| Vec::from_iter(answer.join(", ").split(", ").map(str::to_owned));
    let (found, fresh) = (parts(found), parts(fresh));
    if found.len() != fresh.len() {
        return format!("{found:?}, not {fresh:?}");
    }
    let pairs = found.iter().zip(&fresh).filter(|(a, b)| a != b);
    pairs.map(|(a, b)| format!("{a} instead of {b}")).collect::<Vec<_>>().join(" and ")
}

fn without_empty(answer: &Answer) -> Answer {
    answer.iter().map(|line| line.replace("\"\"", "NULL")).collect()
}
