//! A server connection: its stream, what is known of its state, and the proof that it is clean.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::ReadBuf;
use wire::backend::{ParameterStatus, TransactionStatus};
use wire::tag;

use crate::fate::Told;
use crate::link::Link;
use crate::listen::Sender;
use crate::sequences::SequenceOwner;
use crate::settings::{Parameters, Settings};
use crate::shared::SharedPool;
use crate::statement::PreparedSet;

/// A logged-in connection to a server. Whoever relays on it keeps the public fields true.
#[derive(Debug)]
pub struct Server {
    /// The socket, with the right to have it.
    pub stream: Link,
    /// As the last ReadyForQuery said.
    pub status: TransactionStatus,
    /// ReadyForQuerys that the server still owes.
    pub owed: u32,
    /// Half a message was written to it or read from it, or a COPY is open: it can't be handed on as it is.
    pub torn: bool,
    /// Extended messages were sent to it, and no Sync behind them.
    pub unsynced: bool,
    /// It waits for CopyData.
    pub copy_in: bool,
    /// Something of a session may be left on it: `DISCARD ALL` before anybody else has it.
    pub doubt: bool,
    /// Code was run on it that could do anything, and never has: all but its prepared statements is swept off before
    /// anybody else has it.
    pub sweep: bool,
    /// Something was committed on it that may have notified, and no listening session has waited for it to be heard.
    pub notified: bool,
    /// Something is on it that no command takes away: it is closed when its session lets it go.
    pub spent: bool,
    /// Whose values of sequences are on it.
    pub sequences: SequenceOwner,
    /// Whether a BEGIN that says no level is READ COMMITTED on it when no session has set anything; `None`: nobody has
    /// asked.
    pub read_committed: Option<bool>,
    /// Which life of which server it is.
    pub lineage: Told,
    /// Settings that were applied to it, and are committed.
    pub applied: Rc<Settings>,
    /// What it has reported by ParameterStatus.
    pub parameters: Rc<Parameters>,
    /// What it had reported when it was opened: what RESET gives back.
    pub at_login: Rc<Parameters>,
    /// Statements that it has prepared.
    pub prepared: PreparedSet,
    /// `Statement::id` of the text that is its unnamed statement, if it has one.
    pub unnamed: Option<u64>,
    /// What others may know of it.
    pub handle: Rc<Handle>,
    /// Who receivers of its notifications know it as.
    pub sender: Sender,
    /// When it is to be closed (`server_lifetime` with jitter).
    pub expires: Option<Instant>,
    /// When it was last handed back.
    pub idle_since: Instant,
}

/// What the console and cancels need to know of a connection while a session holds it.
#[derive(Debug)]
pub struct Handle {
    /// Its pool.
    pub pool: Arc<SharedPool>,
    /// Process id of its backend.
    pub pid: u32,
    /// Its cancel key.
    pub key: Box<[u8]>,
    /// Which of the node's addresses it goes to; `None`: a Unix socket.
    pub address: Option<SocketAddr>,
    /// When it was opened.
    pub opened: Instant,
    /// Cancels under way to it: it isn't handed back before they have arrived.
    pub cancels: Cell<u32>,
    /// Whether the server was a standby at login, as far as it has said (`in_hot_standby`, since Postgres 14).
    pub standby: Cell<Option<bool>>,
}

/// A server that doesn't say what it is may turn out to be a standby for so long after login: later it would have been
/// restarted, and the connection lost.
const UNSAID: Duration = Duration::from_secs(10);

impl Handle {
    /// Whether the server may be a standby though its node is taken for the primary: a name may lead to another server
    /// than before, and a server may have been started again as another thing.
    #[inline]
    pub fn may_be_standby(&self) -> bool {
        match self.standby.get() {
            Some(standby) => standby,
            None => self.is_young(),
        }
    }

    /// Its node is down, or isn't used any more.
    pub fn is_unusable(&self) -> bool {
        !self.pool.cluster.view().is_usable(self.pool.node.id.node)
    }

    #[cold]
    fn is_young(&self) -> bool {
        let young = self.opened.elapsed() < UNSAID;
        if !young {
            self.standby.set(Some(false));
        }
        young
    }
}

/// A connection that may be handed to anybody. Only `Server::prove_clean` makes one.
#[derive(Debug)]
pub struct Idle(Box<Server>);

impl Server {
    /// A connection at rest that nothing is known to be left on, but what `applied` and `parameters` say.
    pub(crate) fn at_rest(
        stream: Link,
        handle: Handle,
        sender: Sender,
        applied: Rc<Settings>,
        parameters: Rc<Parameters>,
        at_login: Rc<Parameters>,
        expires: Option<Instant>,
    ) -> Self {
        Self {
            stream,
            status: TransactionStatus::Idle,
            owed: 0,
            torn: false,
            unsynced: false,
            copy_in: false,
            read_committed: None,
            lineage: crate::fate::Told::Unasked,
            doubt: false,
            sweep: false,
            notified: false,
            spent: false,
            sender,
            sequences: SequenceOwner::default(),
            applied,
            parameters,
            at_login,
            prepared: PreparedSet::default(),
            unnamed: None,
            handle: Rc::new(handle),
            expires,
            idle_since: Instant::now(),
        }
    }

    /// The proof: no transaction, no answer due, no half message, no COPY, no cancel under way, no state of a session.
    /// On any doubt the connection is given back as it is, and dropping it closes it.
    pub fn prove_clean(self: Box<Self>) -> Result<Idle, Box<Server>> {
        let left = self.doubt || self.sweep || self.spent;
        let clean = self.is_at_rest() && !left && self.handle.cancels.get() == 0;
        if clean { Ok(Idle(self)) } else { Err(self) }
    }

    /// Notes a ParameterStatus message that came outside of a session's relay.
    pub fn note_parameter(&mut self, body: &[u8]) {
        if let Ok(status) = ParameterStatus::parse(body)
            && let (Ok(name), Ok(value)) = (str::from_utf8(status.name), str::from_utf8(status.value))
            && Parameters::concerns_sessions(name)
        {
            self.parameters = Rc::new(self.parameters.with(name, value));
        }
    }

    /// Its session was discarded: it is as it was after login.
    pub fn forget_session(&mut self) {
        self.doubt = false;
        self.sweep = false;
        self.prepared.clear();
        self.unnamed = None;
        self.sequences.discard();
        self.applied = Rc::default();
    }

    /// No transaction, no answer due, no half message, no COPY.
    #[inline]
    pub fn is_at_rest(&self) -> bool {
        self.status == TransactionStatus::Idle
            && self.owed == 0
            && !self.torn
            && !self.copy_in
            && !self.unsynced
    }
}

impl Idle {
    pub(crate) fn into_server(self) -> Box<Server> {
        self.0
    }

    pub(crate) fn server(&self) -> &Server {
        &self.0
    }

    /// Closes it for another pool, which gets its place.
    pub(crate) fn yields(mut self) {
        self.0.stream.yields();
    }

    /// Its session lets it go: until when it is to be kept for that.
    #[inline]
    pub(crate) fn note_let_go(&mut self) -> Option<Instant> {
        let Server { sequences, handle, .. } = &mut *self.0;
        sequences.keep(&handle.pool.sequences)
    }

    pub(crate) fn set_idle_since(&mut self, now: Instant) {
        self.0.idle_since = now;
    }

    /// What the server has said since it was put away. A closed connection, or one that has something to say (it is
    /// being shut down, its configuration was reloaded), is not worth keeping. Costs no system call when nothing
    /// arrived. The task whose context this is will be woken by what it says next.
    #[inline]
    pub(crate) fn rest(&mut self, cx: &mut Context<'_>) -> Rest {
        if self.0.stream.poll_read_ready(cx).is_pending() {
            return Rest::Quiet;
        }
        self.hear(cx)
    }

    #[cold]
    fn hear(&mut self, cx: &mut Context<'_>) -> Rest {
        let mut bytes = [0; 256];
        let mut buf = ReadBuf::new(&mut bytes);
        match self.0.stream.poll_read(cx, &mut buf) {
            Poll::Pending => Rest::Quiet,
            Poll::Ready(Err(_)) => Rest::Ended,
            Poll::Ready(Ok(())) => {
                let said = buf.filled();
                // A connection that was idle for too long says nothing of its server.
                let idle_too_long = said.windows(7).any(|field| field == b"C57P05\0");
                let ended = said.first().is_none_or(|kind| *kind == tag::ERROR_RESPONSE);
                if ended && !idle_too_long { Rest::Ended } else { Rest::Talks }
            }
        }
    }
}

/// What comes of an idle connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing: it may be used.
    Quiet,
    /// Something that nobody asked for.
    Talks,
    /// Its end.
    Ended,
}
