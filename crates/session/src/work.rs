//! What a session needs while it is busy: buffers and the queue of answers. Lent by its core, given back when idle.

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use backend::Server;
use route::view::NodeIndex;
use sql::facts::{Effect, Facts};

use crate::expect::{Expectations, StatementName, Text};
use crate::loss::MayCommit;
use crate::names::Names;
use crate::park::SMALL;
use crate::pipe::Pipe;
use crate::resolve::Resolve;

/// What a session needs while it is busy.
#[derive(Debug)]
pub(crate) struct Work {
    /// Client to server.
    pub(crate) up: Pipe,
    /// Server to client.
    pub(crate) down: Pipe,
    /// Bytes of a message from the client that pass unseen.
    pub(crate) up_left: Left,
    /// Bytes of a message from the server that pass, or are dropped, unseen.
    pub(crate) down_left: Left,
    /// What the server owes.
    pub(crate) expects: Expectations,
    /// The text that the server is at was sent with names of the server's.
    pub(crate) names: Option<Box<Names>>,
    /// A COPY that is going on.
    pub(crate) copy: Copy,
    /// The server was found silent when its connection was leased, and its next word wakes the session: it need not be
    /// read before.
    pub(crate) server_heard: bool,
    /// Since the last ReadyForQuery the server has reported an error.
    pub(crate) failed: bool,
    /// What of a pipeline it has done since then that no failure undoes.
    pub(crate) discarded: Option<Effect>,
    /// Our own error was told to the client in the extended protocol: its messages are skipped up to its Sync.
    pub(crate) skipping: bool,
    /// What was sent, is not yet settled by a ReadyForQuery, and has effects on the session.
    pub(crate) effects: VecDeque<Sent>,
    /// Messages sent that a ReadyForQuery answers, and ReadyForQuerys that came, on this connection.
    pub(crate) ready_sent: u32,
    pub(crate) ready_seen: u32,
    /// What the client was answered since it was last counted.
    pub(crate) answered: Answered,
    pub(crate) may_commit: MayCommit,
    /// With `failover.resolve_commits`: what is known of the transaction that is open on this connection.
    pub(crate) resolve: Option<Box<Resolve>>,
    /// Something was sent that changes a catalog; the transaction isn't over.
    pub(crate) changes_catalog: bool,
    /// What was found out of the messages that are in hand and not yet sent on.
    pub(crate) planned: VecDeque<Planned>,
    /// Portals of statements that pgweir answers itself.
    pub(crate) own_portals: Vec<(Box<[u8]>, Rc<Text>)>,
    /// Named portals of the open transaction.
    pub(crate) portals: HashSet<Box<[u8]>>,
    /// A read on a replica that can still be run again on the primary.
    pub(crate) retry: Retry,
    /// While it can: it may be run on the primary if a replica refuses it, …
    pub(crate) refusable: bool,
    /// … and elsewhere if the connection is lost, for it surely only reads.
    pub(crate) reads: bool,
    /// While it can: its server may be a standby that is taken for the primary, and refuse it.
    pub(crate) misplaced: bool,
    /// How often the request was run again because its connection was lost.
    pub(crate) runs: u32,
    /// Where it was lost just now.
    pub(crate) lost_at: Option<NodeIndex>,
    /// While it can: what the names that it has changed stood for, in order.
    pub(crate) renamed: Vec<(StatementName, Option<Rc<Text>>)>,
}

/// Answers that may be due at once.
const MAX_EXPECTED: usize = 16 << 10;
/// Bytes of our own answers that may wait for the client to read.
const MAX_UNSENT: usize = 256 << 10;

/// The rest of a message that is longer than what was read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// So many bytes pass.
    Pass(usize),
    /// So many bytes are dropped.
    Drop(usize),
}

impl Left {
    pub(crate) const NONE: Self = Self::Pass(0);

    #[inline]
    pub(crate) fn is_none(self) -> bool {
        matches!(self, Self::Pass(0) | Self::Drop(0))
    }

    /// Lets go what has come of it; false if nothing was left of a message.
    #[inline]
    pub(crate) fn advance(&mut self, pipe: &mut Pipe) -> bool {
        let (Self::Pass(left) | Self::Drop(left)) = *self;
        let here = left.min(pipe.pending().len());
        if here == 0 {
            return false;
        }
        match self {
            Self::Pass(_) => {
                pipe.approve(here);
                *self = Self::Pass(left - here);
            }
            Self::Drop(_) => {
                pipe.skip(here);
                *self = Self::Drop(left - here);
            }
        }
        true
    }
}

/// A text that was sent, and the ReadyForQuery that settles it.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) ready: u32,
    /// Whether it was sent into an open transaction.
    pub(crate) in_transaction: bool,
    pub(crate) facts: Arc<Facts>,
}

/// Queries and transactions of the client that ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Answered {
    pub(crate) queries: u32,
    pub(crate) transactions: u32,
}

/// What `plan` found out of a message, for whoever sends it on its way.
#[derive(Debug)]
pub(crate) enum Planned {
    /// A Query.
    Query(Arc<Facts>),
    /// A Parse.
    Parse { name: StatementName, text: Rc<Text> },
    /// A Query that names prepared statements, with the facts of what it does.
    Names(Arc<Facts>),
}

/// A COPY that is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copy {
    /// None.
    No,
    /// From the client: CopyData, CopyDone and CopyFail pass; Sync and Flush don't count.
    In,
    /// To the client.
    Out,
}

/// Whether the request may be run again on the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// No: it is not a read that was split off, or something was passed to the client.
    No,
    /// Yes, as long as nothing was passed on; the request is held.
    Possible,
    /// The replica has refused it (`learn`) or had to cancel it: its answers are dropped up to ReadyForQuery.
    Wanted { learn: bool },
    /// No: its gate was refused, the client has been told, and the connection is to be given up.
    Refused,
}

impl Work {
    pub(crate) fn new() -> Box<Self> {
        Self::with(Pipe::new(), Pipe::new())
    }

    /// One that is only to keep a short request in.
    pub(crate) fn small() -> Box<Self> {
        Self::with(Pipe::with_block(SMALL), Pipe::with_block(0))
    }

    /// Whether replies have no room in it.
    #[inline]
    pub(crate) fn is_small(&self) -> bool {
        self.down.size() == 0
    }

    fn with(up: Pipe, down: Pipe) -> Box<Self> {
        Box::new(Self {
            up,
            down,
            up_left: Left::NONE,
            down_left: Left::NONE,
            expects: Expectations::default(),
            names: None,
            copy: Copy::No,
            server_heard: false,
            failed: false,
            discarded: None,
            skipping: false,
            effects: VecDeque::new(),
            ready_sent: 0,
            ready_seen: 0,
            answered: Answered::default(),
            may_commit: MayCommit::No,
            resolve: None,
            changes_catalog: false,
            planned: VecDeque::new(),
            own_portals: Vec::new(),
            portals: HashSet::new(),
            retry: Retry::No,
            refusable: false,
            reads: false,
            misplaced: false,
            runs: 0,
            lost_at: None,
            renamed: Vec::new(),
        })
    }

    /// Whether the session has nothing in hand at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.up.is_empty()
            && self.down.is_empty()
            && self.expects.is_empty()
            && self.up_left.is_none()
            && !self.skipping
    }

    pub(crate) fn recycle(&mut self) {
        self.up.recycle();
        self.down.recycle();
        self.reset_request();
        self.skipping = false;
    }

    /// More is owed to the client than may pile up: it is not read before it has read some.
    pub(crate) fn is_swamped(&self) -> bool {
        self.expects.len() > MAX_EXPECTED || self.down.unsent_out() > MAX_UNSENT
    }

    /// A message is being sent that a ReadyForQuery will answer.
    #[inline]
    pub(crate) fn owe_ready(&mut self, server: &mut Server) {
        server.owed += 1;
        self.ready_sent = self.ready_sent.wrapping_add(1);
    }

    /// Forgets what belongs to one server connection.
    pub(crate) fn reset_request(&mut self) {
        self.up_left = Left::NONE;
        self.down_left = Left::NONE;
        self.expects.clear();
        self.names = None;
        self.copy = Copy::No;
        self.server_heard = false;
        self.failed = false;
        self.discarded = None;
        self.effects.clear();
        self.ready_sent = 0;
        self.ready_seen = 0;
        self.may_commit = MayCommit::No;
        self.resolve = None;
        self.changes_catalog = false;
        self.planned.clear();
        self.own_portals.clear();
        if self.portals.capacity() > 0 {
            self.portals = HashSet::new();
        }
        self.retry = Retry::No;
        self.refusable = false;
        self.reads = false;
        self.misplaced = false;
        self.lost_at = None;
        self.runs = 0;
        self.renamed.clear();
    }
}
