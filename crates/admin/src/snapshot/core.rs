//! What is read of one core, on its own thread: plain numbers, so that the core is held up as little as can be.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backend::{LocalPool, PoolName, StatsSum};
use route::{TargetRole, Why};
use session::Core;
use session::cell::{ClientCell, Doing};
use session::routes::Routed;

use super::{ClientCounts, ClientState, CoreState, Detail, PoolState, ServerState, SocketState};

/// One core's part of a snapshot.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) core: CoreState,
    pub(super) pools: Vec<(PoolState, StatsSum)>,
    pub(super) past: Vec<(PoolName, StatsSum)>,
    pub(super) clients: HashMap<(Arc<str>, Arc<str>), ClientCounts>,
    pub(super) pinned: HashMap<(Arc<str>, Arc<str>, &'static str), usize>,
    pub(super) pins: Vec<(&'static str, (u64, u64))>,
    pub(super) routed: Vec<(TargetRole, Why, u64)>,
    pub(super) routes: Vec<(Routed, u64)>,
    pub(super) each_client: Vec<ClientState>,
    pub(super) each_server: Vec<ServerState>,
}

/// Reads a core.
pub(super) fn read(core: &Rc<Core>, detail: Detail) -> Part {
    let now = Instant::now();
    let index = core.pools.core;
    // First: what a look at it allocates itself is the next one's.
    let allocated = (core.context.allocated)();
    let (shapes, shape_hits, shape_misses) = core.shape_stats();
    let state = CoreState { clients: core.client_count(), shapes, shape_hits, shape_misses, allocated };
    let local = core.pools.pools();
    let pools = local.iter().map(|pool| (pool_state(pool, now), pool.stats.sum())).collect();
    let mut part = Part {
        core: state,
        pools,
        past: core.pools.past_stats(),
        clients: HashMap::new(),
        pinned: HashMap::new(),
        pins: pins(core),
        routed: core.routes.counts().collect(),
        routes: Vec::new(),
        each_client: Vec::new(),
        each_server: Vec::new(),
    };
    if detail == Detail::Routes {
        part.routes = core.routed(crate::show::routes::MOST);
    }
    if matches!(detail, Detail::Counters | Detail::Routes) {
        return part;
    }
    let cells = core.clients();
    count_clients(&mut part, &cells, now);
    if detail == Detail::Everything {
        part.each_client = cells.iter().map(|cell| client_state(cell, index)).collect();
        part.each_server = cells.iter().filter_map(|cell| held_state(cell, index)).collect();
        for pool in &local {
            pool.for_each_idle(|server| part.each_server.push(idle_state(server, index)));
        }
    }
    part
}

fn pins(core: &Core) -> Vec<(&'static str, (u64, u64))> {
    let both = core.pins.counts().zip(core.pins.transactions());
    both.map(|((reason, began), (_, transactions))| (reason, (began, transactions))).collect()
}

fn pool_state(pool: &LocalPool, now: Instant) -> PoolState {
    let (waiting, oldest) = pool.waiting();
    PoolState {
        shared: Arc::clone(&pool.shared),
        idle: pool.idle(),
        leased: pool.leased(),
        held: 0,
        cancels: 0,
        opening: pool.opening(),
        waiting,
        longest_wait: oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
    }
}

fn count_clients(part: &mut Part, cells: &[Rc<ClientCell>], now: Instant) {
    let mut held: HashMap<u64, (usize, usize)> = HashMap::new();
    for cell in cells {
        let key = (Arc::clone(&cell.database), Arc::clone(&cell.user));
        let counts = part.clients.entry(key).or_default();
        if let Some(reason) = cell.pinned.get() {
            let key = (Arc::clone(&cell.database), Arc::clone(&cell.user), reason);
            *part.pinned.entry(key).or_default() += 1;
        }
        let (doing, since) = cell.doing();
        match doing {
            Doing::Idle => counts.idle += 1,
            Doing::Active => counts.active += 1,
            Doing::IdleInTransaction => counts.idle_in_transaction += 1,
            Doing::Waiting => {
                counts.waiting += 1;
                counts.longest_wait = counts.longest_wait.max(now.saturating_duration_since(since));
            }
        }
        if let Some(handle) = &*cell.holds.borrow() {
            let (count, cancels) = held.entry(handle.pool.id).or_default();
            *count += 1;
            *cancels += usize::try_from(handle.cancels.get()).unwrap_or(usize::MAX);
        }
    }
    for (pool, _) in &mut part.pools {
        (pool.held, pool.cancels) = held.get(&pool.shared.id).copied().unwrap_or_default();
    }
}

fn client_state(cell: &ClientCell, core: usize) -> ClientState {
    let (doing, since) = cell.doing();
    ClientState {
        pid: cell.pid,
        user: Arc::clone(&cell.user),
        database: Arc::clone(&cell.database),
        peer: cell.peer,
        tls: cell.tls.as_deref().cloned(),
        connected: cell.connected,
        doing,
        since,
        transaction_since: cell.transaction_since(),
        application: cell.application.borrow().to_string(),
        core: Some(core),
        holds: cell.holds.borrow().as_ref().map(|handle| (Arc::clone(&handle.pool), handle.pid)),
        pinned: cell.pinned.get(),
    }
}

fn held_state(cell: &ClientCell, core: usize) -> Option<ServerState> {
    let handle = cell.holds.borrow();
    let handle = handle.as_ref()?;
    Some(ServerState {
        pool: Arc::clone(&handle.pool),
        pid: handle.pid,
        opened: handle.opened,
        since: cell.doing().1,
        client: Some((cell.pid, cell.application.borrow().to_string())),
        core,
        socket: None,
    })
}

fn idle_state(server: &backend::Server, core: usize) -> ServerState {
    ServerState {
        pool: Arc::clone(&server.handle.pool),
        pid: server.handle.pid,
        opened: server.handle.opened,
        since: server.idle_since,
        client: None,
        core,
        socket: Some(SocketState {
            local: server.stream.local(),
            tls: server.stream.tls().map(net::TlsStream::info),
            prepared: server.prepared.len(),
        }),
    }
}
