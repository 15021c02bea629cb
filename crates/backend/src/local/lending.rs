//! Between the cores: to which a connection goes that is given back, and when another core is asked for one.
//!
//! A loan costs as much as half a transaction: two registrations with epoll, a wake-up of the other core, a few allocations.
//! Where connections are in use for long, it is worth that at once, and who has waited longest is served first, whichever
//! core it is on. A pool is brisk where they are in use only for a moment: there a waiter waits for a connection of its own
//! core that long, which is sooner given back than lent, and the order over cores is kept no closer than that. Cores that
//! take turns at a processor would send their connections to and fro otherwise.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::LocalPool;
use crate::core::CorePools;
use crate::link::Link;
use crate::listen::Sender;
use crate::sequences::SequenceOwner;
use crate::server::{Handle, Idle, Server};
use crate::settings::{Parameters, Settings};
use crate::shared::Right;
use crate::statement::PreparedSet;
use crate::stats::PoolStats;

/// A waiter of another core must have come this much earlier to be served before one's own.
const FAIRNESS: Duration = Duration::from_millis(2);
/// The same in a brisk pool, and how long a waiter there waits for a connection of its own core.
const PATIENCE: Duration = Duration::from_millis(10);
/// Where many clients wait for each connection, a core lends unasked at most this often.
const LEND_AGAIN: Duration = Duration::from_millis(2);
/// Who waits and may have to ask another core is looked at so often.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// A core that was asked so long ago is gone.
const GONE: Duration = Duration::from_millis(500);
/// A pool is brisk on a core where so many transactions ended within a turn of the clock (a tenth of a second) …
const MANY: u64 = 50;
/// … which had a connection for less than this on average.
const BRIEF: Duration = Duration::from_millis(5);

/// What a core's side of a pool knows of its loans.
#[derive(Debug, Default)]
pub(super) struct Lending {
    /// A request to lend is on its way to this core.
    asked: Cell<Option<Instant>>,
    /// When a connection was last lent to another core unasked.
    lent_at: Cell<Option<Instant>>,
    /// It is among those that are looked at again.
    listed: Cell<bool>,
    brisk: Cell<bool>,
    /// Transactions, and their microseconds, at the last turn of the clock.
    counted: Cell<(u64, u64)>,
}

impl Lending {
    /// Ten times a second.
    pub(super) fn tick(&self, stats: &PoolStats, now: Instant) {
        if self.asked.get().is_some_and(|since| now.saturating_duration_since(since) > GONE) {
            self.asked.set(None);
        }
        let counted = (stats.transactions.get(), stats.transaction_time.get());
        let before = self.counted.replace(counted);
        let (ended, micros) = (counted.0.wrapping_sub(before.0), counted.1.wrapping_sub(before.1));
        self.brisk.set(ended >= MANY && Duration::from_micros(micros / ended) < BRIEF);
    }
}

/// The pools of a core whose waiters may have to ask another core for a connection.
#[derive(Debug, Default)]
pub(crate) struct Impatient {
    pools: RefCell<Vec<Rc<LocalPool>>>,
    /// Its room is used again and again.
    due: RefCell<Vec<Rc<LocalPool>>>,
    some: Notify,
}

impl Impatient {
    fn add(&self, pool: &Rc<LocalPool>) {
        if !pool.lending.listed.replace(true) {
            self.pools.borrow_mut().push(Rc::clone(pool));
            self.some.notify_one();
        }
    }
}

impl CorePools {
    /// Looks after waiters for as long as the core lives. One timer, armed only while somebody waits.
    pub async fn look_after_waiters(self: Rc<Self>) {
        loop {
            self.impatient.some.notified().await;
            tokio::time::sleep(LOOK_AGAIN).await;
            let mut due = self.impatient.due.take();
            due.append(&mut self.impatient.pools.borrow_mut());
            for pool in due.drain(..) {
                pool.lending.listed.set(false);
                pool.pump();
            }
            self.impatient.due.replace(due);
        }
    }
}

impl LocalPool {
    /// The core that a connection is to be lent to that can be handed out now, if a client there is to be served before
    /// those of this core.
    #[inline]
    pub(super) fn wanted_elsewhere(&self) -> Option<usize> {
        if self.shared.is_wanted_elsewhere(self.index) { self.to_lend_to() } else { None }
    }

    fn to_lend_to(&self) -> Option<usize> {
        let oldest = self.waiters.borrow().front().and_then(|waiter| waiter.since.get());
        let brisk = self.lending.brisk.get();
        let (mine, lead) = match oldest {
            Some(_) if brisk => (oldest, PATIENCE),
            Some(_) => (oldest, FAIRNESS),
            None if brisk => (Some(Instant::now()), PATIENCE),
            None => (None, FAIRNESS),
        };
        let core = self.shared.wanted_elsewhere(self.index, mine, lead)?;
        (oldest.is_none() && !brisk || self.may_lend(oldest)).then_some(core)
    }

    /// Whether a connection may go to another core unasked; `oldest`: since when a client of this one waits. Where many
    /// wait for each connection, it takes about as long as they wait until one more is felt there: to lend on until then
    /// would only send the connections to and fro.
    fn may_lend(&self, oldest: Option<Instant>) -> bool {
        let now = Instant::now();
        let waited = oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let many = self.waiters.borrow().len() > 2 * (self.leased() + 1);
        let pause = match self.lending.brisk.get() {
            true => PATIENCE.max(waited / 2),
            false if many => LEND_AGAIN.max(waited / 2),
            false => return true,
        };
        if self.lending.lent_at.get().is_some_and(|at| now.saturating_duration_since(at) < pause) {
            return false;
        }
        self.lending.lent_at.set(Some(now));
        true
    }

    /// Whether those who wait here go on waiting for a connection that is in use here, or on its way.
    fn is_patient(&self) -> bool {
        self.lending.brisk.get()
            && (self.leased() > 0 || self.opening() > 0)
            && self.waiting().1.is_some_and(|since| since.elapsed() < PATIENCE)
    }

    /// Asks the core with most idle connections for one.
    pub(super) fn borrow_from_another(self: &Rc<Self>) {
        let Some(core) = self.core.upgrade() else { return };
        if self.shared.homes.len() > 1 {
            core.impatient.add(self);
        }
        if self.is_patient() {
            return;
        }
        let Some(lender) = self.shared.lender(self.index) else { return };
        if self.lending.asked.replace(Some(Instant::now())).is_some() {
            return;
        }
        let (shared, me) = (Arc::clone(&self.shared), self.index);
        core.remote.run(lender, move |pools| {
            let pool = pools.pool(&shared);
            let spare = if pool.waiters.borrow().is_empty() {
                pool.take_quiet(&mut Context::from_waker(Waker::noop()))
            } else {
                None
            };
            match spare {
                Some(idle) => pool.lend(pools, idle, me),
                None => pools.remote.run(me, move |pools| pools.pool(&shared).lending.asked.set(None)),
            }
        });
    }

    /// Sends a connection to another core.
    pub(super) fn lend(self: &Rc<Self>, core: &CorePools, idle: Idle, to: usize) {
        self.stats.lent.set(self.stats.lent.get() + 1);
        let Some(loan) = Loan::pack(*idle.into_server()) else { return };
        let shared = Arc::clone(&self.shared);
        core.remote.run(to, move |pools| {
            let pool = pools.pool(&shared);
            pool.lending.asked.set(None);
            if let Some(Ok(idle)) = loan.unpack(pools).map(|server| Box::new(server).prove_clean()) {
                pool.serve(idle);
            }
            pool.pump();
        });
    }
}

/// A connection on its way to another core.
struct Loan {
    stream: net::Detached,
    applied: Settings,
    parameters: Parameters,
    at_login: Parameters,
    prepared: PreparedSet,
    unnamed: Option<u64>,
    notified: bool,
    sender: Sender,
    pid: u32,
    key: Box<[u8]>,
    address: Option<SocketAddr>,
    opened: Instant,
    expires: Option<Instant>,
    sequences: SequenceOwner,
    standby: Option<bool>,
    right: Right,
}

impl Loan {
    fn pack(server: Server) -> Option<Self> {
        let Server {
            stream,
            applied,
            parameters,
            at_login,
            prepared,
            unnamed,
            notified,
            sender,
            handle,
            expires,
            sequences,
            ..
        } = server;
        let (stream, right) = stream.take_apart()?;
        Some(Self {
            stream: stream.detach().ok()?,
            applied: Settings::clone(&applied),
            parameters: Parameters::clone(&parameters),
            at_login: Parameters::clone(&at_login),
            prepared,
            unnamed,
            notified,
            sender,
            pid: handle.pid,
            key: handle.key.clone(),
            address: handle.address,
            opened: handle.opened,
            expires,
            sequences,
            standby: handle.standby.get(),
            right,
        })
    }

    fn unpack(self, core: &CorePools) -> Option<Server> {
        let Self { prepared, unnamed, notified, sequences, right, .. } = self;
        let handle = Handle {
            pool: Arc::clone(right.pool()),
            pid: self.pid,
            key: self.key,
            address: self.address,
            opened: self.opened,
            cancels: Cell::new(0),
            standby: Cell::new(self.standby),
        };
        let server = Server::at_rest(
            Link::new(self.stream.attach().ok()?, right),
            handle,
            self.sender,
            core.intern_settings(self.applied),
            core.intern_parameters(self.parameters),
            core.intern_parameters(self.at_login),
            self.expires,
        );
        Some(Server { notified, sequences, prepared, unnamed, ..server })
    }
}
