//! One core: its clients, its pools, its analyzer, its spare buffers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backend::{CorePools, Lease, PrepareText, Settings, Statement};
use sql::{Analyzer, LexSettings};
use tokio::sync::oneshot;

use crate::cell::{ClientCell, Doing, Kill, Signal};
use crate::context::{Arrival, Context};
use crate::expect::Text;
use crate::learned::Learned;
use crate::park::SMALL;
use crate::pins::Pins;
use crate::reclaim::Unheard;
use crate::routes::Routes;
use crate::watch::LearnedCode;
use crate::work::Work;

/// Texts of prepared statements that a core remembers without anybody using them.
const TEXTS: usize = 10_000;
/// Spare buffers that a core keeps.
const SPARE_WORKS: usize = 64;
/// Spare small ones.
const SPARE_SMALL: usize = 256;

/// One core's state. Sessions on it share it; no other thread sees it.
pub struct Core {
    /// This core's side of the pools.
    pub pools: Rc<CorePools>,
    /// What all cores share.
    pub context: Arc<Context>,
    pub(crate) analyzer: RefCell<Analyzer>,
    clients: RefCell<HashMap<u32, Rc<ClientCell>, foldhash::fast::RandomState>>,
    texts: RefCell<HashMap<u64, Rc<Text>, foldhash::fast::RandomState>>,
    /// How many texts there may be before those that nobody uses are dropped.
    texts_bound: Cell<usize>,
    hasher: foldhash::fast::RandomState,
    /// Shapes that looked like reads and that a replica refused.
    pub(crate) learned: Learned,
    /// What the code of the databases leaves behind in sessions.
    pub(crate) learned_code: RefCell<LearnedCode>,
    /// In some database a view, a policy or an operator runs code that may leave something in its session.
    pub(crate) reads_run_code: Cell<bool>,
    /// How often sessions were pinned.
    pub pins: Pins,
    /// What went where, and why.
    pub routes: Routes,
    #[allow(clippy::vec_box, reason = "a Work is lent and taken back by its pointer")]
    spare: RefCell<Vec<Box<Work>>>,
    /// Small ones.
    #[allow(clippy::vec_box, reason = "as above")]
    spare_small: RefCell<Vec<Box<Work>>>,
}

impl Core {
    /// A core without clients. Its clock begins to tick: must be called inside its runtime.
    pub fn new(pools: Rc<CorePools>, context: Arc<Context>) -> Self {
        let shapes = context.directory.load().config.instance.shapes;
        Self {
            pools,
            context,
            analyzer: RefCell::new(Analyzer::new(shapes)),
            clients: RefCell::default(),
            texts: RefCell::default(),
            texts_bound: Cell::new(TEXTS),
            hasher: foldhash::fast::RandomState::default(),
            learned: Learned::default(),
            learned_code: RefCell::default(),
            reads_run_code: Cell::new(false),
            pins: Pins::default(),
            routes: Routes::default(),
            spare: RefCell::default(),
            spare_small: RefCell::default(),
        }
    }

    /// Begins the session of a client that has proved who it is.
    pub fn welcome(self: &Rc<Self>, arrival: Arrival) {
        // In a box of its own: the state that only the beginning needs isn't kept by an idle session.
        let beginning = Box::pin(crate::welcome::begin(Rc::clone(self), arrival));
        tokio::task::spawn_local(crate::session::run(beginning));
    }

    /// Cancels what the client with this pid does, if it does something. `begun` is dropped when that is over.
    pub fn cancel(self: &Rc<Self>, pid: u32, begun: oneshot::Sender<()>) {
        let Some(cell) = self.clients.borrow().get(&pid).cloned() else { return };
        match cell.doing().0 {
            Doing::Waiting => cell.signal(Signal::Cancel),
            Doing::Active => {
                if let Some(handle) = cell.holds.borrow().clone() {
                    let sent = crate::reclaim::cancel(handle);
                    tokio::task::spawn_local(async move {
                        sent.await;
                        drop(begun);
                    });
                }
            }
            Doing::Idle | Doing::IdleInTransaction => {}
        }
    }

    /// Everybody on this core.
    pub fn clients(&self) -> Vec<Rc<ClientCell>> {
        self.clients.borrow().values().cloned().collect()
    }

    /// How many are on this core.
    pub fn client_count(&self) -> usize {
        self.clients.borrow().len()
    }

    /// Shapes known, and how often a text's shape was known and wasn't.
    pub fn shape_stats(&self) -> (usize, u64, u64) {
        let analyzer = self.analyzer.borrow();
        (analyzer.shapes(), analyzer.hits(), analyzer.misses())
    }

    pub(crate) fn enter(&self, cell: &Rc<ClientCell>) {
        self.clients.borrow_mut().insert(cell.pid, Rc::clone(cell));
    }

    pub(crate) fn leave(&self, pid: u32) {
        self.clients.borrow_mut().remove(&pid);
    }

    /// Lends buffers to a session that becomes busy.
    #[inline]
    pub(crate) fn lend_work(&self) -> Box<Work> {
        self.spare.borrow_mut().pop().unwrap_or_else(Work::new)
    }

    /// Lends small ones, to keep a short request in.
    #[inline]
    pub(crate) fn lend_small(&self) -> Box<Work> {
        self.spare_small.borrow_mut().pop().unwrap_or_else(Work::small)
    }

    /// Takes them back, once the request was taken over from them.
    #[inline]
    pub(crate) fn return_small(&self, work: Box<Work>) {
        let mut spare = self.spare_small.borrow_mut();
        if spare.len() < SPARE_SMALL && work.up.size() == SMALL {
            spare.push(work);
        }
    }

    /// Takes them back.
    #[inline]
    pub(crate) fn return_work(&self, mut work: Box<Work>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_WORKS {
            work.recycle();
            spare.push(work);
        }
    }

    /// The one `Text` of this core for a prepared statement's text and types, read by these settings.
    pub(crate) fn text(
        &self,
        sql: &[u8],
        types: &[u8],
        reading: &Rc<Settings>,
        lex: LexSettings,
    ) -> Rc<Text> {
        let hash = self.hasher.hash_one((sql, types, Rc::as_ptr(reading).addr()));
        if let Some(text) = self.texts.borrow().get(&hash)
            && text.reading.as_ref().is_some_and(|known| Rc::ptr_eq(known, reading))
            && *text.statement.sql == *sql
            && *text.statement.types == *types
        {
            return Rc::clone(text);
        }
        let statement = self.pools.statements.intern(sql, types, reading);
        let text = self.text_of(statement, Some(reading), lex);
        self.keep_text(hash, &text);
        text
    }

    /// The one `Text` of this core for what a PREPARE makes, read by these settings.
    pub(crate) fn text_prepared(
        &self,
        prepare: PrepareText<'_>,
        reading: &Rc<Settings>,
        lex: LexSettings,
    ) -> Rc<Text> {
        let hash =
            self.hasher.hash_one((prepare.before, prepare.behind, Rc::as_ptr(reading).addr(), prepare.query));
        if let Some(text) = self.texts.borrow().get(&hash)
            && text.reading.as_ref().is_some_and(|known| Rc::ptr_eq(known, reading))
            && text.statement.prepare_text() == Some(prepare)
        {
            return Rc::clone(text);
        }
        let statement = self.pools.statements.intern_prepare(prepare, reading);
        let text = self.text_of(statement, Some(reading), lex);
        self.keep_text(hash, &text);
        text
    }

    /// A statement with what is known of what it runs.
    pub(crate) fn text_of(
        &self,
        statement: Arc<Statement>,
        reading: Option<&Rc<Settings>>,
        lex: LexSettings,
    ) -> Rc<Text> {
        let mut analyzer = self.analyzer.borrow_mut();
        let analysis = analyzer.analyze(statement.query(), lex);
        let (facts, literals) = (Arc::clone(analysis.facts), analysis.literals.into());
        Rc::new(Text { statement, facts, literals, reading: reading.cloned(), named: None })
    }

    fn keep_text(&self, hash: u64, text: &Rc<Text>) {
        let mut texts = self.texts.borrow_mut();
        if texts.len() >= self.texts_bound.get() {
            texts.retain(|_, text| Rc::strong_count(text) > 1);
            // In proportion to what is in use: the next look at all of them is as many texts away.
            self.texts_bound.set(TEXTS.max(texts.len() * 2));
        }
        texts.insert(hash, Rc::clone(text));
    }

    /// The same text for one session alone, which doesn't know what it is read by.
    pub(crate) fn text_alone(&self, text: &Text) -> Rc<Text> {
        let statements = &self.pools.statements;
        let Statement { sql, types, .. } = &*text.statement;
        let prepare = text.statement.prepare_text();
        Rc::new(Text {
            statement: prepare
                .map_or_else(|| statements.alone(sql, types), |text| statements.alone_prepare(text)),
            facts: Arc::clone(&text.facts),
            literals: text.literals.clone(),
            reading: None,
            named: None,
        })
    }

    /// The clock of this core: ten turns a second for as long as the core lives.
    pub async fn keep_time(self: Rc<Self>) {
        tokio::task::spawn_local(Rc::clone(&self.pools).look_after_waiters());
        let mut era_began = Instant::now();
        let mut interval = tokio::time::interval(Duration::from_millis(100));
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut alarms = self.context.directory.load().alarms();
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                Ok(()) = alarms.changed() => {
                    self.watch_the_nodes();
                    self.pools.follow_views();
                    continue;
                }
            }
            self.pools.tick();
            self.watch_the_clock();
            if self.pools.core == 0 && era_began.elapsed() >= crate::watch::ERA {
                era_began = Instant::now();
                self.context.new_code();
            }
        }
    }

    /// Disturbs whoever has taken too long. One look at every client, so that no statement arms a timer.
    fn watch_the_clock(&self) {
        let now = self.pools.now();
        let directory = self.context.directory.load();
        if directory.clusters().iter().any(|cluster| cluster.view().has_unusable()) {
            self.watch_the_nodes();
        }
        let config = Arc::clone(&directory.config);
        for cell in self.clients.borrow().values() {
            let (doing, since) = cell.doing();
            let over =
                |limit: Option<Duration>| limit.is_some_and(|l| now.saturating_duration_since(since) > l);
            let kill = match doing {
                Doing::Idle if over(config.limits.client_idle_timeout) => Some(Kill::Idle),
                Doing::Idle => None,
                Doing::Waiting => {
                    let limit = cell.limits().query_wait;
                    let waited = cell.waiter.since().map(|at| now.saturating_duration_since(at));
                    if limit.is_some_and(|limit| waited.is_some_and(|waited| waited > limit)) {
                        cell.signal(Signal::WaitedTooLong);
                    }
                    None
                }
                Doing::Active if over(cell.limits().query) => Some(Kill::QueryTooLong),
                Doing::IdleInTransaction if over(cell.limits().idle_transaction) => {
                    Some(Kill::IdleInTransaction)
                }
                Doing::Active | Doing::IdleInTransaction => {
                    let open = cell.transaction_since().map(|at| now.saturating_duration_since(at));
                    let limit = cell.limits().transaction;
                    let over = limit.is_some_and(|limit| open.is_some_and(|open| open > limit));
                    over.then_some(Kill::TransactionTooLong)
                }
            };
            if let Some(kill) = kill {
                cell.signal(Signal::Kill(kill));
            }
        }
    }

    /// Disturbs whoever holds a connection to a node that is down, or isn't used any more.
    #[cold]
    fn watch_the_nodes(&self) {
        for cell in self.clients.borrow().values() {
            let holds = cell.holds.borrow();
            if let Some(handle) = &*holds
                && !handle.pool.cluster.view().is_usable(handle.pool.node.id.node)
            {
                cell.signal(Signal::ServerUnusable);
            }
        }
    }

    /// Has a connection cleaned up in the background that its session left as it was.
    pub(crate) fn reclaim(&self, mut lease: Lease, unheard: Unheard) {
        // What of it was prepared isn't heard any more.
        lease.prepared.doubt_all();
        lease.unnamed = None;
        lease.notified = true;
        let cleanup = self.context.seats.cleanup();
        tokio::task::spawn_local(async move {
            crate::reclaim::reclaim(lease, unheard).await;
            drop(cleanup);
        });
    }
}
