//! The task behind one listening connection: what sessions ask of it, what the server says, and its loss.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use config::NodeRole;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, interval_at, sleep};
use wire::backend::NotificationResponse;
use wire::{ErrorReport, encode};

use super::connection::{Connection, Said};
use super::table::Table;
use super::{Channel, HubState, Lost, Subscriber};
use crate::cluster::{Cluster, Node};
use crate::connect::connect;

const APPLICATION_NAME: &str = "pgweir-listen";
/// Queries on their way at once; what comes meanwhile goes together in the next.
const MAX_SENT: usize = 4;
/// The server is asked for a sign of life this often, and is lost if it gives none for so long.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Pauses between attempts to connect: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

type Answer = oneshot::Sender<Result<(), Lost>>;

/// What a session asks.
#[derive(Debug)]
pub(super) enum Command {
    Listen {
        who: Arc<Subscriber>,
        channels: Vec<Channel>,
        done: Answer,
    },
    Leave {
        id: u64,
        channels: Vec<Channel>,
        done: Answer,
    },
    /// It is no more.
    Gone {
        id: u64,
    },
    Barrier(Answer),
}

/// The task.
pub(super) struct Task {
    cluster: Arc<Cluster>,
    state: Arc<HubState>,
    inbox: mpsc::UnboundedReceiver<Command>,
    table: Table,
    /// What goes with the next query.
    next: Batch,
    /// Queries that were sent and are not answered.
    sent: VecDeque<Batch>,
}

/// What one query is asked for.
#[derive(Debug, Default)]
struct Batch {
    listens: Vec<Listen>,
    barriers: Vec<Answer>,
    error: Option<ErrorReport>,
    since: Option<Instant>,
}

#[derive(Debug)]
struct Listen {
    who: Arc<Subscriber>,
    channels: Vec<Channel>,
    done: Answer,
    since: Instant,
}

/// How a connection ended.
enum Ended {
    /// Nobody is left.
    Unwanted,
    Lost(String),
}

impl Task {
    pub(super) fn new(
        cluster: Arc<Cluster>,
        state: Arc<HubState>,
        inbox: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self { cluster, state, inbox, table: Table::default(), next: Batch::default(), sent: VecDeque::new() }
    }

    /// Until nobody is left who could listen.
    pub(super) async fn run(mut self) {
        while let Some(command) = self.inbox.recv().await {
            self.note(command);
            let mut pause = PAUSES.0;
            while self.is_wanted() {
                let why = match self.open().await {
                    Ok((node, connection)) => {
                        pause = PAUSES.0;
                        match self.serve(&node, connection).await {
                            Ended::Unwanted => return,
                            Ended::Lost(why) => {
                                tracing::warn!(
                                    cluster = self.cluster.config.name,
                                    node = node.name,
                                    database = &*self.state.database,
                                    why,
                                    "the listening connection was lost"
                                );
                                self.cluster.suspect(node.id.node);
                                why
                            }
                        }
                    }
                    Err(why) => why,
                };
                self.lose(&why);
                if !self.rest(pause).await {
                    return;
                }
                pause = (pause * 2).min(PAUSES.1);
            }
            // Who asked for something else meanwhile needn't wait for anybody to come.
            self.lose("nobody listens");
        }
    }

    fn is_wanted(&self) -> bool {
        self.table.anybody().is_some() || !self.next.listens.is_empty()
    }

    /// Takes what is asked meanwhile. False: nobody is left who could ask.
    async fn rest(&mut self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        loop {
            tokio::select! {
                () = sleep(end - Instant::now()) => return true,
                command = self.inbox.recv() => match command {
                    Some(command) => self.note(command),
                    None => return false,
                },
            }
        }
    }

    /// Connects to the primary, as somebody who listens.
    async fn open(&self) -> Result<(Arc<Node>, Connection), String> {
        let who = self.next.listens.last().map(|listen| &listen.who).or(self.table.anybody());
        let mut login = who.ok_or("nobody listens")?.login.clone();
        login.parameters =
            [("client_encoding", &*self.state.encoding), ("application_name", APPLICATION_NAME)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let node = primary(&self.cluster).ok_or("the cluster has no primary")?;
        let connected = connect(&node.target, &login).await.map_err(|error| error.to_string())?;
        let at = Some((node.name.clone(), connected.pid));
        *self.state.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
        Ok((node, Connection::new(connected.stream)))
    }

    async fn serve(&mut self, node: &Arc<Node>, mut connection: Connection) -> Ended {
        let mut changes = self.cluster.changes();
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        let anew = self.table.begin_anew();
        if !anew.is_empty()
            && let Err(error) = self.ask(&mut connection, &anew)
        {
            return Ended::Lost(error.to_string());
        }
        loop {
            match self.ask_next(&mut connection) {
                Ok(false) => {}
                Ok(true) => heartbeat.reset(),
                Err(error) => return Ended::Lost(error.to_string()),
            }
            self.tell_counts();
            tokio::select! {
                read = connection.turn() => {
                    let heard = read.and_then(|()| self.hear(node, &mut connection));
                    if let Err(error) = heard {
                        return Ended::Lost(error.to_string());
                    }
                }
                command = self.inbox.recv() => {
                    let Some(command) = command else {
                        connection.close().await;
                        return Ended::Unwanted;
                    };
                    self.note(command);
                    // Those who ask together are answered together.
                    while let Ok(command) = self.inbox.try_recv() {
                        self.note(command);
                    }
                }
                Ok(()) = changes.changed() => {
                    if self.cluster.is_retired() {
                        return Ended::Lost("the cluster's configuration has changed".to_owned());
                    }
                    if is_replaced(&self.cluster, node) {
                        return Ended::Lost(format!("{} is no longer the primary", node.name));
                    }
                }
                _ = heartbeat.tick() => {
                    let oldest = self.sent.front().and_then(|batch| batch.since);
                    match oldest.map(|since| since.elapsed()) {
                        Some(silent) if silent > HEARTBEAT => {
                            return Ended::Lost(format!("{} has said nothing for {silent:?}", node.name));
                        }
                        Some(_) => {}
                        None => {
                            if let Err(error) = self.ask(&mut connection, b"") {
                                return Ended::Lost(error.to_string());
                            }
                        }
                    }
                }
            }
        }
    }

    fn note(&mut self, command: Command) {
        match command {
            Command::Listen { who, channels, done } => {
                self.next.listens.push(Listen { who, channels, done, since: Instant::now() });
            }
            Command::Leave { id, channels, done } => {
                self.table.leave(id, &channels);
                answer(done, &Ok(()));
            }
            Command::Gone { id } => {
                self.table.remove(id);
                self.next.listens.retain(|listen| !listen.who.is_gone());
            }
            Command::Barrier(done) => self.next.barriers.push(done),
        }
    }

    /// Sends what has come together, unless enough is on its way. Says whether there was something.
    fn ask_next(&mut self, connection: &mut Connection) -> std::io::Result<bool> {
        let something =
            !self.next.listens.is_empty() || !self.next.barriers.is_empty() || self.table.has_left();
        if !something || self.sent.len() >= MAX_SENT {
            return Ok(false);
        }
        let sql = self.table.tell(self.next.listens.iter().flat_map(|listen| &listen.channels));
        self.ask(connection, &sql).map(|()| true)
    }

    fn ask(&mut self, connection: &mut Connection, sql: &[u8]) -> std::io::Result<()> {
        let batch = Batch { since: Some(Instant::now()), ..std::mem::take(&mut self.next) };
        self.sent.push_back(batch);
        connection.ask(sql)
    }

    fn hear(&mut self, node: &Node, connection: &mut Connection) -> std::io::Result<()> {
        let Self { table, sent, cluster, .. } = self;
        let known_as = |process| cluster.listeners.senders.known_as(node.id.node, process);
        let mut unasked = false;
        let mut delivered = 0;
        connection.hear(|said| match said {
            Said::Notification(notification) => delivered += deliver(table, &known_as, &notification),
            Said::Error(report) => match sent.front_mut() {
                Some(batch) => batch.error = Some(report),
                None => unasked = true,
            },
            Said::Ready => match sent.pop_front() {
                Some(batch) => batch.finish(table),
                None => unasked = true,
            },
        })?;
        cluster.listeners.count_delivered(delivered);
        if unasked { Err(std::io::Error::other("an answer that nobody asked for")) } else { Ok(()) }
    }

    /// The connection is lost, or wasn't made. Who bears that, or has just come, waits for the next one.
    fn lose(&mut self, why: &str) {
        *self.state.at.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.table.lose(self.cluster.is_retired());
        let lost = Err(Lost(why.to_owned()));
        let batches = std::mem::take(&mut self.sent).into_iter().chain([std::mem::take(&mut self.next)]);
        for batch in batches {
            batch.barriers.into_iter().for_each(|done| answer(done, &lost));
            for listen in batch.listens {
                if listen.since.elapsed() > listen.who.login.connect_timeout {
                    answer(listen.done, &lost);
                } else if !listen.who.is_gone() {
                    self.next.listens.push(listen);
                }
            }
        }
        self.tell_counts();
    }

    fn tell_counts(&self) {
        let (sessions, channels) = self.table.counts();
        self.state.sessions.store(sessions, Ordering::Relaxed);
        self.state.channels.store(channels, Ordering::Relaxed);
    }
}

impl Batch {
    /// Its query is over: who asked has it, or never will.
    fn finish(self, table: &mut Table) {
        let outcome = match self.error {
            None => Ok(()),
            Some(report) => Err(Lost(report.to_string())),
        };
        for Listen { who, channels, done, .. } in self.listens {
            if outcome.is_ok() {
                table.enter(&who, channels);
            }
            answer(done, &outcome);
        }
        self.barriers.into_iter().for_each(|done| answer(done, &outcome));
    }
}

/// Hands a notification to all who listen; says to how many.
fn deliver(table: &Table, known_as: &dyn Fn(u32) -> u32, said: &NotificationResponse<'_>) -> usize {
    let listeners = table.listeners(said.channel);
    if listeners.is_empty() {
        return 0;
    }
    let mut letter = Vec::with_capacity(said.channel.len() + said.payload.len() + 11);
    let pid = known_as(said.pid);
    if encode::notification_response(&mut letter, pid, said.channel, said.payload).is_err() {
        return 0;
    }
    let letter = letter.into();
    listeners.iter().for_each(|who| who.mailbox.push(&letter));
    listeners.len()
}

/// Who asked may be gone.
fn answer(done: Answer, outcome: &Result<(), Lost>) {
    let _ = done.send(outcome.clone());
}

/// The one node that is up and the primary.
fn primary(cluster: &Cluster) -> Option<Arc<Node>> {
    let primary = cluster.view().primary().ok()?;
    Some(Arc::clone(cluster.node(primary)))
}

/// Another node is the primary now, or this one is a replica.
fn is_replaced(cluster: &Cluster, node: &Arc<Node>) -> bool {
    let demoted = cluster.view().nodes()[usize::from(node.id.node.0)].role == Some(NodeRole::Replica);
    demoted || primary(cluster).is_some_and(|primary| primary.id != node.id)
}
