//! One core's side of all pools.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::local::LocalPool;
use crate::local::lending::Impatient;
use crate::seen::SeenView;
use crate::settings::{Interned, Parameters, Settings};
use crate::shared::{Group, SharedPool};
use crate::statement::{Proven, Statements};
use crate::stats::{PoolName, StatsSum};

/// What is run on another core.
pub type Task = Box<dyn FnOnce(&Rc<CorePools>) + Send>;

/// Runs closures on the cores, in order, each on its own thread and inside its runtime.
#[derive(Clone)]
pub struct Remote(Arc<dyn Fn(usize, Task) + Send + Sync>);

impl Remote {
    /// From what delivers a closure to a core. A core that is gone drops it.
    pub fn new(deliver: impl Fn(usize, Task) + Send + Sync + 'static) -> Self {
        Self(Arc::new(deliver))
    }

    /// Runs `task` on `core`.
    pub fn run(&self, core: usize, task: impl FnOnce(&Rc<CorePools>) + Send + 'static) {
        (self.0)(core, Box::new(task));
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Remote")
    }
}

/// One core's side of all pools, its tables of settings, and its coarse clock.
#[derive(Debug)]
pub struct CorePools {
    /// Which core.
    pub core: usize,
    /// Reaches the others.
    pub remote: Remote,
    /// All statements of the process.
    pub statements: Arc<Statements>,
    settings: RefCell<Interned<Settings>>,
    parameters: RefCell<Interned<Parameters>>,
    pools: RefCell<HashMap<u64, Rc<LocalPool>>>,
    groups: RefCell<HashMap<u64, Rc<LocalGroup>>>,
    /// What pools counted that are gone: a reload must not turn counters back.
    past: RefCell<HashMap<PoolName, StatsSum>>,
    now: Cell<Instant>,
    pub(crate) impatient: Impatient,
}

/// A group as one core sees it.
#[derive(Debug)]
pub struct LocalGroup {
    /// What the cores share.
    pub shared: Arc<Group>,
    /// `pools[shard][node]`.
    pub pools: Vec<Vec<Rc<LocalPool>>>,
    /// The view of each shard's cluster.
    pub views: Vec<SeenView>,
    /// What servers report of themselves once these settings are applied, for logins to come.
    pub welcomes: RefCell<HashMap<Rc<Settings>, Rc<Parameters>>>,
    /// Statements that servers of this group are known to take.
    pub proven: Rc<Proven>,
    /// `round_robin`'s turn, and the breaker of ties.
    pub turn: Cell<route::Turn>,
    /// When a session may next ask to move to a node that has less to do; `None`: at once.
    pub moves: Cell<Option<Instant>>,
}

impl CorePools {
    /// A core without pools.
    pub fn new(core: usize, remote: Remote, statements: Arc<Statements>) -> Self {
        Self {
            core,
            remote,
            statements,
            settings: RefCell::default(),
            parameters: RefCell::default(),
            pools: RefCell::default(),
            groups: RefCell::default(),
            past: RefCell::default(),
            now: Cell::new(Instant::now()),
            impatient: Impatient::default(),
        }
    }

    /// The time at the last turn of the clock: at most a tenth of a second ago.
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// This core's side of a pool.
    pub fn pool(self: &Rc<Self>, shared: &Arc<SharedPool>) -> Rc<LocalPool> {
        let mut pools = self.pools.borrow_mut();
        let pool = pools.entry(shared.id).or_insert_with(|| LocalPool::new(Arc::clone(shared), self));
        Rc::clone(pool)
    }

    /// This core's side of a group.
    pub fn group(self: &Rc<Self>, shared: &Arc<Group>) -> Rc<LocalGroup> {
        if let Some(group) = self.groups.borrow().get(&shared.id) {
            return Rc::clone(group);
        }
        let pools = shared.pools.iter().map(|nodes| nodes.iter().map(|pool| self.pool(pool)).collect());
        let group = Rc::new(LocalGroup {
            shared: Arc::clone(shared),
            pools: pools.collect(),
            views: shared.clusters.iter().map(SeenView::new).collect(),
            welcomes: RefCell::default(),
            proven: Rc::default(),
            turn: Cell::default(),
            moves: Cell::default(),
        });
        self.groups.borrow_mut().insert(shared.id, Rc::clone(&group));
        group
    }

    /// The one list of this core.
    pub fn intern_settings(&self, settings: Settings) -> Rc<Settings> {
        self.settings.borrow_mut().intern(settings)
    }

    /// The one list of this core.
    pub fn intern_parameters(&self, parameters: Parameters) -> Rc<Parameters> {
        self.parameters.borrow_mut().intern(parameters)
    }

    /// All pools that this core knows.
    pub fn pools(&self) -> Vec<Rc<LocalPool>> {
        self.pools.borrow().values().cloned().collect()
    }

    /// What pools counted on this core that are gone, by whose they were.
    pub fn past_stats(&self) -> Vec<(PoolName, StatsSum)> {
        self.past.borrow().iter().map(|(name, sum)| (name.clone(), *sum)).collect()
    }

    /// Closes a connection of another pool to the same node that has been idle for so long, if there is one.
    pub(crate) fn close_unused_of_others(&self, hungry: &SharedPool, idle_for: Duration) {
        let now = self.now();
        let _closed = self.others(hungry).iter().any(|pool| pool.close_oldest_idle(now, idle_for));
    }

    /// Closes idle connections of other pools to the same node as long as pools in line need them.
    pub(crate) fn close_idle_for_hungry(&self, hungry: &SharedPool) {
        for pool in self.others(hungry) {
            while pool.yield_idle() {}
        }
    }

    fn others(&self, hungry: &SharedPool) -> Vec<Rc<LocalPool>> {
        let other = |p: &Rc<LocalPool>| p.shared.node.id == hungry.node.id && p.shared.id != hungry.id;
        self.pools.borrow().values().filter(|pool| other(pool)).cloned().collect()
    }

    /// A node isn't to be used any more: nothing idle is kept there, and nobody waits for it.
    pub fn follow_views(&self) {
        self.pools().iter().for_each(LocalPool::follow_view);
    }

    /// One turn of the clock (ten a second): closes what is too old or idle for too long, keeps the minimum, opens
    /// from the reserve, tries again what failed.
    pub fn tick(self: &Rc<Self>) {
        let now = Instant::now();
        self.now.set(now);
        for pool in self.pools() {
            pool.tick(now);
        }
        self.groups.borrow_mut().retain(|_, group| !group.shared.is_retired() || Rc::strong_count(group) > 1);
        self.pools.borrow_mut().retain(|_, pool| {
            let stays = !pool.shared.is_retired() || Rc::strong_count(pool) > 1;
            if !stays {
                *self.past.borrow_mut().entry(PoolName::of(&pool.shared)).or_default() += pool.stats.sum();
            }
            stays
        });
    }
}
