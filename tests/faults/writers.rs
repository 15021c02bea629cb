//! Clients that write all the time, and log what they were told.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use testkit::history::{History, Outcome, Place, Token};
use testkit::{Client, ConnectOptions, Error, Frame, Script, ServerError, rows};
use tokio::task::JoinHandle;

/// Between two transactions of a client.
const THINK: Duration = Duration::from_millis(150);
/// Each transaction writes so many rows.
const PARTS: u32 = 2;

/// What all writers were told.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) history: History,
    told: Mutex<Vec<Told>>,
}

/// A statement that failed.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) client: usize,
    /// The first of its transaction that needs a server.
    pub(crate) first: bool,
    /// It was COMMIT, or a statement that commits by itself.
    pub(crate) commits: bool,
    /// When its transaction began.
    pub(crate) began: Instant,
    pub(crate) outcome: Outcome,
    pub(crate) token: Token,
    /// The tags of the answer.
    pub(crate) tags: String,
    /// Its client's connection was lost.
    pub(crate) lost: bool,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told { client, first, commits, lost, .. } = self;
        let place = match (first, commits) {
            (true, true) => "alone",
            (true, false) => "the first",
            (false, true) => "COMMIT",
            (false, false) => "a later one",
        };
        let kind = KINDS[client % KINDS.len()];
        write!(
            f,
            "{place} of client {client} ({kind:?}, token {}, lost: {lost}): {} {:?}",
            self.token.0, self.tags, self.outcome
        )
    }
}

impl Log {
    pub(crate) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// Forgets the errors so far.
    pub(crate) fn forget(&self) {
        self.told.lock().unwrap().clear();
    }
}

/// Clients that write until they are told to stop.
pub(crate) struct Writers {
    pub(crate) log: Arc<Log>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Connects so many, and lets them begin.
    pub(crate) async fn start(connect: ConnectOptions, count: usize) -> Writers {
        let (log, stop) = (Arc::new(Log::default()), Arc::new(AtomicBool::new(false)));
        let mut tasks = Vec::new();
        for number in 0..count {
            let client = connect.clone().connect().await.unwrap();
            let writer = Writer { number, client, connect: connect.clone(), log: Arc::clone(&log) };
            tasks.push(tokio::spawn(writer.write(Arc::clone(&stop), count)));
        }
        Writers { log, stop, tasks }
    }

    /// Waits until so many more transactions were confirmed, by whichever clients.
    pub(crate) async fn confirm(&self, more: usize) {
        let goal = self.log.history.confirmed() + more;
        let confirmed = async || self.log.history.confirmed();
        pgweir_tests::eventually("writes are confirmed", confirmed, |count| *count >= goal).await.unwrap();
    }

    /// Waits until each client has ended a transaction that began from now on.
    pub(crate) async fn all_write(&self) {
        let now = Instant::now();
        let clients = self.tasks.len();
        let left = async || {
            let mut wrote = vec![false; clients];
            let ok = |operation: &testkit::history::Operation| {
                operation.began >= now && matches!(operation.ended, Some((_, Outcome::Ok)))
            };
            for operation in self.log.history.snapshot().iter().filter(|operation| ok(operation)) {
                if let Some(wrote) = wrote.get_mut(operation.client) {
                    *wrote = true;
                }
            }
            wrote.iter().filter(|wrote| !**wrote).count()
        };
        pgweir_tests::eventually("each client writes", left, |left| *left == 0).await.unwrap();
    }

    /// Lets each end what it has begun, and gives back what they were told.
    pub(crate) async fn finish(mut self) -> Arc<Log> {
        self.stop.store(true, Ordering::SeqCst);
        for task in std::mem::take(&mut self.tasks) {
            task.await.unwrap();
        }
        Arc::clone(&self.log)
    }
}

/// A case that fails leaves none to the next.
impl Drop for Writers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// How a client writes its transaction.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// One statement of the simple protocol.
    Statement,
    /// One statement of the extended protocol.
    ExtendedStatement,
    /// BEGIN, two statements, COMMIT.
    Transaction,
    /// The same by the extended protocol.
    ExtendedTransaction,
}

const KINDS: [Kind; 4] =
    [Kind::Statement, Kind::Transaction, Kind::ExtendedStatement, Kind::ExtendedTransaction];

struct Writer {
    number: usize,
    client: Client,
    connect: ConnectOptions,
    log: Arc<Log>,
}

impl Writer {
    async fn write(mut self, stop: Arc<AtomicBool>, of: usize) {
        // They don't all begin at once.
        let offset = THINK.mul_f64(self.number as f64 / of as f64);
        tokio::time::sleep(offset).await;
        while !stop.load(Ordering::SeqCst) {
            let token = self.log.history.begin(self.number, PARTS);
            let outcome = match KINDS[self.number % KINDS.len()] {
                Kind::Statement => self.alone(Script::new().query(&insert(token, 0, PARTS)), token).await,
                Kind::ExtendedStatement => {
                    self.alone(Script::new().run(&insert(token, 0, PARTS), &[]).sync(), token).await
                }
                Kind::Transaction => self.transaction(token, |sql| Script::new().query(sql)).await,
                Kind::ExtendedTransaction => {
                    self.transaction(token, |sql| Script::new().run(sql, &[]).sync()).await
                }
            };
            self.log.history.end(token, outcome);
            tokio::time::sleep(THINK).await;
        }
    }

    /// A statement that is a transaction by itself.
    async fn alone(&mut self, script: Script, token: Token) -> Outcome {
        let began = Instant::now();
        let answer = self.client.run(&script).await;
        self.note_place(token, &answer);
        self.judge(token, &answer, began, true, true).await
    }

    async fn transaction(&mut self, token: Token, script: impl Fn(&str) -> Script) -> Outcome {
        let statements = ["begin".to_owned(), insert(token, 0, 1), insert(token, 1, 2), "commit".to_owned()];
        let (mut outcome, began) = (Outcome::Ok, Instant::now());
        for (i, sql) in statements.iter().enumerate() {
            let answer = self.client.run(&script(sql)).await;
            if i == 1 {
                self.note_place(token, &answer);
            }
            outcome = self.judge(token, &answer, began, i < 2, i == 3).await;
            if outcome != Outcome::Ok {
                break;
            }
        }
        outcome
    }

    /// What an answer means; one that isn't success is logged, and the connection made ready for the next transaction.
    async fn judge(
        &mut self,
        token: Token,
        answer: &Result<Vec<Frame>, Error>,
        began: Instant,
        first: bool,
        commits: bool,
    ) -> Outcome {
        let mut outcome = Outcome::of(answer);
        let tags = answer.iter().flatten().filter_map(Frame::command_tag);
        if tags.into_iter().any(|tag| tag == "ROLLBACK") {
            let message = "COMMIT was answered by ROLLBACK".to_owned();
            outcome = Outcome::Refused(ServerError { message, ..ServerError::default() });
        }
        if outcome == Outcome::Ok {
            return outcome;
        }
        let mut lost = answer.is_err();
        if !lost && answer.iter().flatten().any(|frame| matches!(frame.status(), Some('T' | 'E'))) {
            lost = self.client.query("rollback").await.is_err();
        }
        let tags = answer.as_deref().map(testkit::tags).unwrap_or_default();
        let told =
            Told { client: self.number, first, commits, began, outcome: outcome.clone(), token, tags, lost };
        self.log.told.lock().unwrap().push(told);
        if lost {
            self.reconnect().await;
        }
        outcome
    }

    async fn reconnect(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match self.connect.clone().connect().await {
                Ok(client) => return self.client = client,
                Err(error) => assert!(Instant::now() < deadline, "client {}: {error}", self.number),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn note_place(&self, token: Token, answer: &Result<Vec<Frame>, Error>) {
        if let Some(place) = answer.as_ref().ok().and_then(|frames| place(frames)) {
            self.log.history.wrote(token, place);
        }
    }
}

/// Writes the parts from `from` to before `to`, and asks where.
pub(crate) fn insert(token: Token, from: u32, to: u32) -> String {
    let values: Vec<_> = (from..to).map(|part| format!("({}, {part})", token.0)).collect();
    let values = values.join(", ");
    format!("insert into writes values {values} returning inet_server_port(), pg_current_xact_id()")
}

fn place(frames: &[Frame]) -> Option<Place> {
    let row = rows(frames).into_iter().next()?;
    let [Some(port), Some(xid)] = &row[..] else { return None };
    let xid: u64 = xid.parse().ok()?;
    Some(Place { port: port.parse().ok()?, xid: u32::try_from(xid % (1 << 32)).ok()? })
}
