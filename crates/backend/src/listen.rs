//! LISTEN for many sessions over one connection: who listens to what, and each session's queue of notifications.
//!
//! There is one listening connection for each database of a cluster (and each client encoding in use), at the
//! cluster's primary, for as long as a session listens to something there. Like a probe's connection it counts towards
//! no pool and no budget: a full pool must not keep anybody from listening. LISTEN needs no right but CONNECT, so it
//! logs in as whoever listens.
//!
//! Notifications come in the order of their commits, and leave in it. A session that needs to know that it has all
//! that was committed before asks for a barrier: an empty query on the listening connection, which the server answers
//! after the notifications that were there before it.

mod connection;
mod hub;
mod mailbox;
mod senders;
mod table;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::cluster::Cluster;
use crate::connect::Login;
use hub::{Command, Task};
pub use mailbox::{Closed, MAX_UNREAD, Mailbox};
pub use senders::{Sender, Senders};

/// A channel's name, in the encoding of those who listen.
pub type Channel = Box<[u8]>;

/// By database and client encoding. They live as long as somebody listens.
type Hubs = HashMap<(Arc<str>, Box<str>), Weak<Hub>>;

/// The listening connections of one cluster.
#[derive(Debug)]
pub struct Listeners {
    hubs: Mutex<Hubs>,
    next: AtomicU64,
    /// Notifications handed to sessions, ever.
    delivered: AtomicU64,
    /// Whose server processes are known.
    pub(crate) senders: Arc<Senders>,
    /// Where the connections live: the runtime that made the cluster.
    runtime: Option<Handle>,
}

/// One listening connection, open or to be opened.
#[derive(Debug)]
pub struct Hub {
    commands: mpsc::UnboundedSender<Command>,
    /// What others may know of it.
    pub state: Arc<HubState>,
}

/// What others may know of a listening connection.
#[derive(Debug, Default)]
pub struct HubState {
    /// The cluster's name.
    pub cluster: String,
    /// The database's name on the server.
    pub database: Arc<str>,
    /// `client_encoding`.
    pub encoding: Box<str>,
    /// Channels that somebody listens to.
    pub channels: AtomicUsize,
    /// Sessions that listen.
    pub sessions: AtomicUsize,
    /// Its node and its process there, while it is open.
    pub at: Mutex<Option<(String, u32)>>,
}

/// One session's place at a listening connection; given up when dropped.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    subscriber: Arc<Subscriber>,
}

/// Who listens.
#[derive(Debug)]
pub(crate) struct Subscriber {
    id: u64,
    login: Login,
    /// Whether it goes on after the connection was lost.
    keep: bool,
    gone: AtomicBool,
    mailbox: Arc<Mailbox>,
}

/// The listening connection was lost, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost(pub String);

/// Ready once it is so. An error: it never will be.
pub type Done = oneshot::Receiver<Result<(), Lost>>;

impl Listeners {
    pub(crate) fn new() -> Self {
        let runtime = Handle::try_current().ok();
        let (next, delivered) = (AtomicU64::new(1), AtomicU64::new(0));
        Self { hubs: Mutex::default(), next, delivered, senders: Arc::default(), runtime }
    }

    /// Notifications handed to sessions, ever.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub(crate) fn count_delivered(&self, more: usize) {
        self.delivered.fetch_add(more as u64, Ordering::Relaxed);
    }

    /// The listening connections that there are.
    pub fn hubs(&self) -> Vec<Arc<HubState>> {
        let hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.values().filter_map(Weak::upgrade).map(|hub| Arc::clone(&hub.state)).collect()
    }

    fn hub(&self, cluster: &Arc<Cluster>, database: &Arc<str>, encoding: &str) -> Arc<Hub> {
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Arc::clone(database), Box::from(encoding));
        if let Some(hub) = hubs.get(&key).and_then(Weak::upgrade) {
            return hub;
        }
        hubs.retain(|_, hub| hub.strong_count() > 0);
        let (commands, inbox) = mpsc::unbounded_channel();
        let (database, encoding) = (Arc::clone(database), encoding.into());
        let cluster_name = cluster.config.name.clone();
        let state = HubState { cluster: cluster_name, database, encoding, ..HubState::default() };
        let state = Arc::new(state);
        // Without a runtime (in tests of what has no connections) nobody answers.
        if let Some(runtime) = &self.runtime {
            runtime.spawn(Task::new(Arc::clone(cluster), Arc::clone(&state), inbox).run());
        }
        let hub = Arc::new(Hub { commands, state });
        hubs.insert(key, Arc::downgrade(&hub));
        hub
    }
}

impl Subscription {
    /// A place at the listening connection of this login's database, without any channels yet. `keep`: it stays when
    /// the connection is lost, although notifications may have been missed.
    pub fn new(cluster: &Arc<Cluster>, login: &Login, encoding: &str, keep: bool) -> Self {
        let listeners = &cluster.listeners;
        let id = listeners.next.fetch_add(1, Ordering::Relaxed);
        let (gone, mailbox) = (AtomicBool::new(false), Arc::default());
        let subscriber = Arc::new(Subscriber { id, login: login.clone(), keep, gone, mailbox });
        Self { hub: listeners.hub(cluster, &login.database, encoding), subscriber }
    }

    /// What it was sent.
    pub fn mailbox(&self) -> &Mailbox {
        &self.subscriber.mailbox
    }

    /// Whether it is a place at this cluster's connection for this database and encoding.
    pub fn is_at(&self, cluster: &Cluster, login: &Login, encoding: &str) -> bool {
        let state = &self.hub.state;
        state.cluster == cluster.config.name
            && state.database == login.database
            && *state.encoding == *encoding
    }

    /// Begins to listen to these channels. Once it is done, whatever is committed from then on is delivered, and all
    /// that was committed before and concerned this session is in its mailbox.
    pub fn listen(&self, channels: Vec<Channel>) -> Done {
        self.ask(|done| Command::Listen { who: Arc::clone(&self.subscriber), channels, done })
    }

    /// Ceases to listen to these channels. Once it is done, nothing more of them comes.
    pub fn leave(&self, channels: Vec<Channel>) -> Done {
        self.ask(|done| Command::Leave { id: self.subscriber.id, channels, done })
    }

    /// Once it is done, all that was committed before now is in the mailbox.
    pub fn barrier(&self) -> Done {
        self.ask(Command::Barrier)
    }

    fn ask(&self, command: impl FnOnce(oneshot::Sender<Result<(), Lost>>) -> Command) -> Done {
        let (done, answer) = oneshot::channel();
        // If nobody is there any more, the answer says so.
        let _ = self.hub.commands.send(command(done));
        answer
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.subscriber.gone.store(true, Ordering::Release);
        let _ = self.hub.commands.send(Command::Gone { id: self.subscriber.id });
    }
}

impl Subscriber {
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

/// The SQL that has a connection listen to these.
pub fn to_listen<'a>(channels: impl IntoIterator<Item = &'a Channel>) -> Vec<u8> {
    let mut sql = Vec::new();
    channels.into_iter().for_each(|channel| command(&mut sql, b"LISTEN ", channel));
    sql
}

fn command(sql: &mut Vec<u8>, verb: &[u8], channel: &[u8]) {
    sql.extend_from_slice(verb);
    sql.push(b'"');
    for byte in channel {
        if *byte == b'"' {
            sql.push(b'"');
        }
        sql.push(*byte);
    }
    sql.extend_from_slice(b"\";");
}
