//! One core's side of a pool: its idle connections, its waiters, and what it lends to other cores.
//!
//! Waiters of a core are served first in, first out; a waiter of another core is served before them once it has
//! waited a few milliseconds longer. Connections are taken last in, first out: the warmest first.

mod follow;
pub(crate) mod lending;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use config::Balance;
use route::Latency;

use crate::budget::TURN;
use crate::connect::{ConnectError, connect};
use crate::core::CorePools;
use crate::lease::Lease;
use crate::link::Link;
use crate::local::lending::Lending;
use crate::server::{Handle, Idle, Server};
use crate::settings::{Parameters, Settings};
use crate::shared::{NoRight, Right, SharedPool};
use crate::stats::PoolStats;

/// One core's side of a pool.
#[derive(Debug)]
pub struct LocalPool {
    /// What the cores share.
    pub shared: Arc<SharedPool>,
    /// Counters of this core.
    pub stats: PoolStats,
    core: Weak<CorePools>,
    index: usize,
    idle: RefCell<Vec<Idle>>,
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
    opening: Cell<usize>,
    leased: Cell<u32>,
    /// What reads take on this core, kept with peak_ewma alone.
    latency: Cell<Latency>,
    /// Queries and their microseconds that the node was told of.
    told: Cell<(u64, u64)>,
    /// Until when some idle connection may be kept for a session.
    kept_until: Cell<Option<Instant>>,
    lending: Lending,
    /// Until when no other node is taken to have room for who waits here, unless it has some on this core.
    pub full_beside: Cell<Option<Instant>>,
    fit: Cell<Option<follow::Fit>>,
}

/// A client's place in a queue. One for each client, used again and again.
#[derive(Debug, Default)]
pub struct Waiter {
    outcome: RefCell<Option<Result<Idle, Arc<ConnectError>>>>,
    waker: RefCell<Option<Waker>>,
    since: Cell<Option<Instant>>,
    /// It stands in the queue: nothing was granted to it yet.
    queued: Cell<bool>,
}

impl Waiter {
    /// Since when it waits; `None`: it doesn't.
    pub fn since(&self) -> Option<Instant> {
        self.since.get()
    }

    fn finish(&self, outcome: Result<Idle, Arc<ConnectError>>) {
        self.queued.set(false);
        *self.outcome.borrow_mut() = Some(outcome);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A place in the queue, left when dropped: a connection that was already granted goes to the next.
#[derive(Debug)]
pub struct Queued {
    pool: Rc<LocalPool>,
    waiter: Rc<Waiter>,
}

impl Queued {
    /// The connection, once it is granted; an error if none can be had for now.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Lease, Arc<ConnectError>>> {
        match self.waiter.outcome.borrow_mut().take() {
            Some(Ok(idle)) => Poll::Ready(Ok(Lease::new(idle, &self.pool))),
            Some(Err(error)) => Poll::Ready(Err(error)),
            None => {
                let mut waker = self.waiter.waker.borrow_mut();
                if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.waiter.since.set(None);
        self.waiter.waker.borrow_mut().take();
        if self.waiter.queued.replace(false) {
            self.pool.waiters.borrow_mut().retain(|waiter| !Rc::ptr_eq(waiter, &self.waiter));
            self.pool.say_waiting();
        }
        let granted = self.waiter.outcome.borrow_mut().take();
        if let Some(Ok(idle)) = granted {
            self.pool.put(idle);
        }
    }
}

impl LocalPool {
    pub(crate) fn new(shared: Arc<SharedPool>, core: &Rc<CorePools>) -> Rc<Self> {
        Rc::new(Self {
            shared,
            stats: PoolStats::default(),
            core: Rc::downgrade(core),
            index: core.core,
            idle: RefCell::default(),
            waiters: RefCell::default(),
            opening: Cell::new(0),
            leased: Cell::new(0),
            latency: Cell::default(),
            told: Cell::default(),
            kept_until: Cell::new(None),
            lending: Lending::default(),
            full_beside: Cell::new(None),
            fit: Cell::new(None),
        })
    }

    /// A connection at once: one that is idle here, if nobody waits before us.
    #[inline]
    pub fn try_lease(self: &Rc<Self>) -> Option<Lease> {
        self.try_lease_heard(&mut Context::from_waker(Waker::noop()))
    }

    /// The same; the task whose context this is will be woken by the server's next word, without having read first.
    #[inline]
    pub fn try_lease_heard(self: &Rc<Self>, cx: &mut Context<'_>) -> Option<Lease> {
        if !self.waiters.borrow().is_empty() {
            return None;
        }
        self.take_quiet(cx).map(|idle| Lease::new(idle, self))
    }

    /// The connection of this backend, if it is idle here and nobody but this session has used its sequences.
    pub fn try_lease_own(self: &Rc<Self>, backend: u32, session: u32) -> Option<Lease> {
        let own =
            |idle: &Idle| idle.server().handle.pid == backend && idle.server().sequences.is_only(session);
        let at = self.idle.borrow().iter().position(own)?;
        let mut idle = self.idle.borrow_mut().remove(at);
        self.say_idle();
        self.is_alive(&mut idle).then(|| Lease::new(idle, self))
    }

    /// The idle connection whose turn it is: the warmest, or with `server_round_robin` the one that has rested longest.
    #[inline]
    fn next_idle(&self) -> Option<Idle> {
        if let Some(until) = self.kept_until.get() {
            return self.next_not_kept(until);
        }
        let mut idle = self.idle.borrow_mut();
        if self.shared.settings.server_round_robin && !idle.is_empty() {
            // What somebody may come back for is the last to be used by others.
            let free = |idle: &Idle| idle.server().sequences.is_nobody();
            let kept = self.shared.sequences.is_known();
            let at = if kept { idle.iter().position(free).unwrap_or(0) } else { 0 };
            return Some(idle.remove(at));
        }
        idle.pop()
    }

    /// The next idle connection that is alive.
    #[inline]
    fn take_quiet(&self, cx: &mut Context<'_>) -> Option<Idle> {
        loop {
            let mut idle = self.next_idle()?;
            self.say_idle();
            if self.is_alive_until(&mut idle, cx) {
                return Some(idle);
            }
            self.stats.lost.set(self.stats.lost.get() + 1);
        }
    }

    /// A place in the queue. What can be done to get a connection is done at once.
    pub fn queue(self: &Rc<Self>, waiter: &Rc<Waiter>) -> Queued {
        waiter.outcome.borrow_mut().take();
        waiter.since.set(Some(Instant::now()));
        waiter.queued.set(true);
        let mut waiters = self.waiters.borrow_mut();
        let first = waiters.is_empty();
        waiters.push_back(Rc::clone(waiter));
        drop(waiters);
        if first {
            self.say_waiting();
        }
        self.pump();
        Queued { pool: Rc::clone(self), waiter: Rc::clone(waiter) }
    }

    /// Connections in use on this core, and clients that wait for one: the load that a choice of node looks at.
    #[inline]
    pub fn load(&self) -> u32 {
        let waiting = u32::try_from(self.waiters.borrow().len()).unwrap_or(u32::MAX);
        self.leased.get().saturating_add(waiting)
    }

    /// Whether a connection can be had without waiting for somebody to give one back. Only an estimate: others take
    /// connections meanwhile.
    pub fn has_room(&self) -> bool {
        self.has_room_here() || self.shared.has_room()
    }

    /// Whether an idle connection of this core can be had.
    #[inline]
    pub fn has_room_here(&self) -> bool {
        self.idle() > 0 && self.waiters.borrow().is_empty()
    }

    /// What a choice of node balances: the load, or with peak_ewma the latency to be expected.
    #[inline]
    pub fn cost(&self, balance: Balance, now: Instant) -> u64 {
        match balance {
            Balance::PeakEwma => self.latency.get().cost(self.load(), now),
            Balance::LeastConnections | Balance::RoundRobin | Balance::Random | Balance::Weighted => {
                u64::from(self.load())
            }
        }
    }

    /// A read of this core was answered after so long.
    pub fn note_answer(&self, took: Duration, now: Instant) {
        let mut latency = self.latency.get();
        latency.observe(took, now);
        self.latency.set(latency);
    }

    /// Connections in use on this core.
    pub fn leased(&self) -> usize {
        usize::try_from(self.leased.get()).unwrap_or(usize::MAX)
    }

    /// Idle connections on this core.
    pub fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Connections being opened by this core.
    pub fn opening(&self) -> usize {
        self.opening.get()
    }

    /// Clients that wait on this core, and since when the first does.
    pub fn waiting(&self) -> (usize, Option<Instant>) {
        let waiters = self.waiters.borrow();
        (waiters.len(), waiters.front().and_then(|w| w.since.get()))
    }

    /// Looks at each idle connection.
    pub fn for_each_idle(&self, mut look: impl FnMut(&Server)) {
        self.idle.borrow().iter().for_each(|idle| look(idle.server()));
    }

    pub(crate) fn note_leased(&self, more: bool) {
        let n = self.leased.get();
        self.leased.set(if more { n + 1 } else { n.saturating_sub(1) });
    }

    /// Takes a clean connection back that was used: for the longest waiting client of any core, or into the idle ones;
    /// closed if it is old, or if another pool needs its place more.
    pub fn put(self: &Rc<Self>, mut idle: Idle) {
        let Some(core) = self.core.upgrade() else { return };
        if let Some(until) = idle.note_let_go() {
            return self.keep(idle, until, core.now());
        }
        let server = idle.server();
        if server.expires.is_some_and(|at| at <= core.now()) {
            return;
        }
        if self.shared.node.budget.should_yield(self.shared.open(), server.handle.opened) {
            idle.yields();
            return;
        }
        match self.wanted_elsewhere() {
            Some(other) => self.lend(&core, idle, other),
            None => self.serve(idle),
        }
    }

    /// Keeps a connection for a moment for the session that let it go, whoever waits.
    #[cold]
    fn keep(self: &Rc<Self>, mut idle: Idle, until: Instant, now: Instant) {
        idle.set_idle_since(now);
        self.idle.borrow_mut().insert(0, idle);
        self.say_idle();
        self.kept_until.set(self.kept_until.get().max(Some(until)));
        let pool = Rc::clone(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep_until(until.into()).await;
            pool.pump();
        });
    }

    /// As `next_idle`, where connections may be kept for sessions.
    #[cold]
    fn next_not_kept(&self, until: Instant) -> Option<Idle> {
        let now = Instant::now();
        if until <= now {
            self.kept_until.set(None);
        }
        let mut idle = self.idle.borrow_mut();
        let free = |idle: &Idle| !idle.server().sequences.is_kept(now);
        let nobodys = |idle: &Idle| free(idle) && idle.server().sequences.is_nobody();
        let at = if self.shared.settings.server_round_robin {
            idle.iter().position(nobodys).or_else(|| idle.iter().position(free))
        } else {
            idle.iter().rposition(free)
        };
        at.map(|at| idle.remove(at))
    }

    /// Hands out a connection that nobody used here yet: to a client of this core, of another, or to the idle ones.
    /// It isn't closed before somebody used it: logins would follow logins.
    fn serve(self: &Rc<Self>, mut idle: Idle) {
        let next = self.waiters.borrow_mut().pop_front();
        if let Some(waiter) = next {
            self.say_waiting();
            waiter.finish(Ok(idle));
            return;
        }
        let Some(core) = self.core.upgrade() else { return };
        if let Some(other) = self.wanted_elsewhere() {
            self.lend(&core, idle, other);
        } else if !self.shared.is_retired() {
            idle.set_idle_since(core.now());
            let mut all = self.idle.borrow_mut();
            // Somebody may come back for what sequences have given on it: it is the last to be used by others.
            let kept = self.shared.sequences.is_known() && !idle.server().sequences.is_nobody();
            let at = if kept && !self.shared.settings.server_round_robin { 0 } else { all.len() };
            all.insert(at, idle);
            drop(all);
            self.say_idle();
        }
    }

    /// Serves waiters as far as possible: idle connections, new ones, other cores' idle ones.
    pub fn pump(self: &Rc<Self>) {
        loop {
            let waiting = self.waiters.borrow().len();
            if waiting == 0 {
                return;
            }
            let idle = self.next_idle();
            if let Some(mut idle) = idle {
                if self.is_alive(&mut idle) {
                    self.serve(idle);
                }
                self.say_idle();
                continue;
            }
            if waiting <= self.opening.get() {
                return;
            }
            match self.shared.take_right(false) {
                Ok(right) => self.open(right),
                Err(NoRight::Budget) => {
                    self.shared.hunger();
                    return self.borrow_from_another();
                }
                Err(NoRight::Pool | NoRight::NotNow) => return self.borrow_from_another(),
            }
        }
    }

    /// A right that another pool gave up for this one: opens a connection, or leaves it to the next in line.
    pub(crate) fn use_right(self: &Rc<Self>, right: Right) {
        if self.waiters.borrow().len() > self.opening.get() {
            self.open(right);
        } else {
            drop(right);
        }
        self.pump();
    }

    /// Opens a connection in the background.
    fn open(self: &Rc<Self>, right: Right) {
        self.opening.set(self.opening.get() + 1);
        let pool = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let outcome = pool.login(right).await;
            pool.opening.set(pool.opening.get() - 1);
            match outcome {
                Ok(idle) => {
                    pool.shared.note_attempt(None);
                    pool.serve(idle);
                    pool.pump();
                }
                Err(error) => return pool.opening_failed(error),
            }
            tokio::time::sleep(TURN).await;
            pool.end_turn();
        });
    }

    /// A connection's turn is over: if it is idle, on whichever core it is by now, it may be needed elsewhere.
    fn end_turn(self: &Rc<Self>) {
        let Some(core) = self.core.upgrade() else { return };
        if !self.shared.node.budget.is_short() {
            return;
        }
        for home in self.shared.homes.iter().copied() {
            let shared = Arc::clone(&self.shared);
            core.remote.run(home, move |pools| while pools.pool(&shared).yield_idle() {});
        }
    }

    async fn login(self: &Rc<Self>, right: Right) -> Result<Idle, ConnectError> {
        let connected = connect(&self.shared.node.target, &self.shared.login).await?;
        let Some(core) = self.core.upgrade() else { return Err(ConnectError::closed()) };
        let now = Instant::now();
        let lifetime = self.shared.settings.server_lifetime;
        let node = self.shared.node.id.node;
        let said = connected.parameters.iter().find(|(name, _)| &**name == "in_hot_standby");
        let standby = said.map(|(_, value)| &**value == "on");
        if standby == Some(true) && self.shared.cluster.view().primary() == Ok(node) {
            self.shared.cluster.suspect(node);
        }
        let parameters = core.intern_parameters(Parameters::reported(connected.parameters));
        let handle = Handle {
            pool: Arc::clone(&self.shared),
            pid: connected.pid,
            key: connected.key,
            address: connected.address,
            opened: now,
            cancels: Cell::new(0),
            standby: Cell::new(standby),
        };
        let server = Server::at_rest(
            Link::new(connected.stream, right),
            handle,
            self.shared.cluster.listeners.senders.enter(node, connected.pid),
            core.intern_settings(Settings::default()),
            Rc::clone(&parameters),
            parameters,
            // Up to a tenth earlier, by the backend's pid: connections opened together don't end together.
            lifetime.map(|life| now + life - life / 1000 * (connected.pid % 100)),
        );
        self.stats.opened.set(self.stats.opened.get() + 1);
        Box::new(server).prove_clean().map_err(|_| ConnectError::closed())
    }

    /// Waiters that can't be helped by any other connection are told; those who can wait go on waiting.
    fn opening_failed(self: &Rc<Self>, error: ConnectError) {
        let error = Arc::new(error);
        tracing::warn!(
            pool = %format_args!("{}/{}", self.shared.user, self.shared.database),
            node = %self.shared.node.name, %error, "a server connection could not be opened"
        );
        self.shared.note_attempt(Some(Arc::clone(&error)));
        if error.is_the_servers_fault() {
            self.shared.cluster.suspect(self.shared.node.id.node);
        } else {
            self.shared.node.suspicion.notify_one();
        }
        if self.shared.open() > 0 && !error.is_final() {
            return self.borrow_from_another();
        }
        let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        self.say_waiting();
        for waiter in waiters {
            waiter.finish(Err(Arc::clone(&error)));
        }
    }

    /// Closes the connection that has been idle longest, if that is so long.
    pub(crate) fn close_oldest_idle(&self, now: Instant, idle_for: Duration) -> bool {
        let mut idle = self.idle.borrow_mut();
        let longest = idle.first().map(|idle| now.saturating_duration_since(idle.server().idle_since));
        let found = longest.is_some_and(|longest| longest >= idle_for);
        let oldest = found.then(|| idle.remove(0));
        drop(idle);
        self.say_idle();
        drop(oldest);
        found
    }

    /// Closes an idle connection that a pool in line needs more, if there is one.
    pub(crate) fn yield_idle(&self) -> bool {
        let (budget, open) = (&self.shared.node.budget, self.shared.open());
        let mut idle = self.idle.borrow_mut();
        let at = idle.iter().position(|i| budget.should_yield_idle(open, i.server().handle.opened));
        let found = at.map(|at| idle.remove(at));
        drop(idle);
        self.say_idle();
        found.map(Idle::yields).is_some()
    }

    /// Tells the node what was counted here since the last time.
    fn say_traffic(&self) {
        let now = (self.stats.queries.get(), self.stats.query_time.get());
        let before = self.told.replace(now);
        if now != before {
            self.shared.node.traffic.add(now.0.wrapping_sub(before.0), now.1.wrapping_sub(before.1));
        }
    }

    /// Housekeeping, ten times a second.
    pub(crate) fn tick(self: &Rc<Self>, now: Instant) {
        self.say_traffic();
        self.follow_view();
        self.close_old(now);
        self.lending.tick(&self.stats, now);
        let (waiting, oldest) = self.waiting();
        if waiting > 0 {
            let long = oldest.is_some_and(|since| now - since >= self.shared.settings.reserve_pool_timeout);
            if long
                && self.shared.settings.reserve_pool_size > 0
                && let Ok(right) = self.shared.take_right(true)
            {
                self.open(right);
            }
            self.pump();
        } else if self.shared.homes.first() == Some(&self.index)
            && !self.shared.is_retired()
            && self.shared.open() < self.shared.settings.min_pool_size
            && let Ok(right) = self.shared.take_right(false)
        {
            self.open(right);
        }
    }

    fn close_old(&self, now: Instant) {
        let settings = &self.shared.settings;
        let mut spare = self.shared.open().saturating_sub(settings.min_pool_size);
        let mut closed = Vec::new();
        let mut idle = self.idle.borrow_mut();
        let mut at = 0;
        while at < idle.len() {
            let server = idle[at].server();
            let too_old = server.expires.is_some_and(|expires| expires <= now);
            let too_idle = spare > 0
                && settings
                    .server_idle_timeout
                    .is_some_and(|bound| now.saturating_duration_since(server.idle_since) >= bound);
            let unwanted = self.shared.is_retired() || too_old || too_idle || !self.is_alive(&mut idle[at]);
            if unwanted {
                spare = spare.saturating_sub(1);
                closed.push(idle.remove(at));
            } else {
                at += 1;
            }
        }
        drop(idle);
        if !closed.is_empty() {
            self.say_idle();
        }
    }

    #[inline]
    fn say_idle(&self) {
        if self.shared.homes.len() > 1 {
            self.shared.say_idle(self.index, self.idle.borrow().len());
        }
    }

    fn say_waiting(&self) {
        let oldest = self.waiters.borrow().front().and_then(|w| w.since.get());
        self.shared.say_waiting(self.index, oldest);
    }
}
