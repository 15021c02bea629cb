//! What others may know of a client, and how they reach its session: the console, cancels, time-outs, shutdown.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use backend::Waiter;
use backend::server::Handle;
use net::{Peer, TlsInfo};

/// What a client is doing. `SHOW CLIENTS` and the time-outs go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Nothing; no transaction is open.
    Idle,
    /// It waits for a server connection, or for a node to be there.
    Waiting,
    /// A server works for it, or it is being answered.
    Active,
    /// Nothing, in an open transaction.
    IdleInTransaction,
}

/// Why a session is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// pgweir stops: go when idle.
    Stop,
    /// Go now: what is told to the client, and its SQLSTATE, follow from the reason.
    Kill(Kill),
    /// The client asked for its statement to be cancelled while it waits for a connection.
    Cancel,
    /// `query_wait_timeout` has passed.
    WaitedTooLong,
    /// The node of the server connection that it holds is down, or isn't used any more.
    ServerUnusable,
}

/// Why a session is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// An administrator, or the second SIGTERM.
    Shutdown,
    /// `client_idle_timeout`.
    Idle,
    /// `idle_transaction_timeout`.
    IdleInTransaction,
    /// `transaction_timeout`.
    TransactionTooLong,
    /// `query_timeout`.
    QueryTooLong,
}

/// How long a client may take for what; from the settings of its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeLimits {
    /// `query_wait_timeout`.
    pub query_wait: Option<Duration>,
    /// `query_timeout`.
    pub query: Option<Duration>,
    /// `transaction_timeout`.
    pub transaction: Option<Duration>,
    /// `idle_transaction_timeout`.
    pub idle_transaction: Option<Duration>,
}

/// A client as others see it.
#[derive(Debug)]
pub struct ClientCell {
    /// The process id that it was told.
    pub pid: u32,
    /// As whom.
    pub user: Arc<str>,
    /// Where to.
    pub database: Arc<str>,
    /// Where from.
    pub peer: Peer,
    /// Its TLS. In a box, as few have it and all keep the room.
    pub tls: Option<Box<TlsInfo>>,
    /// When it arrived.
    pub connected: Instant,
    /// `application_name`, as it said last.
    pub application: RefCell<Box<str>>,
    /// The server connection that it holds.
    pub holds: RefCell<Option<Rc<Handle>>>,
    /// Why its session is tied to that, by the name of the reason.
    pub pinned: Cell<Option<&'static str>>,
    /// Its place in a queue.
    pub waiter: Rc<Waiter>,
    limits: Cell<TimeLimits>,
    doing: Cell<Doing>,
    since: Cell<Instant>,
    transaction_since: Cell<Option<Instant>>,
    signal: Cell<Option<Signal>>,
    stopping: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl ClientCell {
    pub(crate) fn new(
        pid: u32,
        user: Arc<str>,
        database: Arc<str>,
        peer: Peer,
        tls: Option<TlsInfo>,
        application: &str,
    ) -> Self {
        let now = Instant::now();
        Self {
            pid,
            user,
            database,
            peer,
            tls: tls.map(Box::new),
            connected: now,
            application: RefCell::new(application.into()),
            holds: RefCell::default(),
            pinned: Cell::new(None),
            waiter: Rc::default(),
            limits: Cell::default(),
            doing: Cell::new(Doing::Active),
            since: Cell::new(now),
            transaction_since: Cell::new(None),
            signal: Cell::new(None),
            stopping: Cell::new(false),
            waker: RefCell::default(),
        }
    }

    /// What it is doing, and since when.
    pub fn doing(&self) -> (Doing, Instant) {
        (self.doing.get(), self.since.get())
    }

    /// Since when its transaction is open.
    pub fn transaction_since(&self) -> Option<Instant> {
        self.transaction_since.get()
    }

    /// How long it may take.
    pub fn limits(&self) -> TimeLimits {
        self.limits.get()
    }

    pub(crate) fn set_limits(&self, pool: &config::PoolSettings) {
        self.limits.set(TimeLimits {
            query_wait: pool.query_wait_timeout,
            query: pool.query_timeout,
            transaction: pool.transaction_timeout,
            idle_transaction: pool.idle_transaction_timeout,
        });
    }

    /// The one gate through which `doing` changes.
    #[inline]
    pub(crate) fn set_doing(&self, doing: Doing, now: Instant) {
        self.doing.set(doing);
        self.since.set(now);
        match doing {
            Doing::Idle => self.transaction_since.set(None),
            Doing::Active if self.transaction_since.get().is_none() => self.transaction_since.set(Some(now)),
            Doing::Active | Doing::Waiting | Doing::IdleInTransaction => {}
        }
    }

    /// A transaction is over, and the next is under way already.
    pub(crate) fn next_transaction(&self, now: Instant) {
        self.since.set(now);
        self.transaction_since.set(Some(now));
    }

    /// Disturbs the session. A stronger signal replaces a weaker one.
    pub fn signal(&self, signal: Signal) {
        let keep = matches!(self.signal.get(), Some(Signal::Kill(_)));
        let late = signal == Signal::ServerUnusable && self.signal.get().is_some();
        if !keep && !late {
            self.signal.set(Some(signal));
        }
        self.stopping.set(self.stopping.get() || signal == Signal::Stop);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// The signal that was sent, and a promise to be woken by the next.
    #[inline]
    pub(crate) fn poll_signal(&self, cx: &Context<'_>) -> Option<Signal> {
        // With a signal too: who puts it off (a transaction may end) is to be woken by a stronger one.
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.signal.get()
    }

    /// The signal was obeyed, or doesn't matter now. That pgweir stops matters until the session's end.
    pub(crate) fn clear_signal(&self) {
        self.signal.set(self.stopping.get().then_some(Signal::Stop));
    }
}
