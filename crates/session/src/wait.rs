//! From a target to a leased connection: choosing the node, and waiting for it.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use backend::connect::ConnectError;
use backend::local::LocalPool;
use backend::seen::SeenView;
use backend::{Lease, PoolStats};
use config::{NodeRole, ReadsOnPrimary};
use route::view::NodeIndex;
use route::{NoNode, Target, TargetRole};
use wire::{ErrorReport, SqlState};

use crate::aside::aside;
use crate::cell::{Doing, Kill, Signal};
use crate::consistency::Sight;
use crate::session::{End, Session};
use crate::work::Work;

/// A lease, or what the client is told instead.
pub(crate) type Leased = Result<Lease, Box<ErrorReport>>;

/// How long to wait before a node that can't be reached is tried again.
pub(crate) const BREATH: Duration = Duration::from_millis(100);

impl Session {
    /// A connection for this target, with whatever settings it has.
    #[allow(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice, for each client")]
    pub(crate) fn lease<'a>(
        &'a mut self,
        work: &'a mut Box<Work>,
        target: Target,
        now: Instant,
    ) -> impl Future<Output = Result<Leased, End>> + 'a {
        async move {
            let chosen = match poll_fn(|cx| Poll::Ready(self.lease_at_once(cx, work, target, now))).await {
                Chosen::Leased(lease) => return Ok(Ok(lease)),
                chosen => chosen,
            };
            self.core.park(work);
            let leased = match chosen {
                Chosen::Full(pool) => match self.wait_in(work, &pool, target, now).await {
                    Ok(Ok(lease)) if !self.may_use(&lease) => {
                        aside(self.lease_seeing(work, target, now, Some(lease))).await
                    }
                    leased => leased,
                },
                other => aside(self.lease_late(work, target, now, other)).await,
            };
            self.core.unpark(work);
            leased
        }
    }

    /// A connection that is idle now, or what keeps the request from having one.
    fn lease_at_once(
        &mut self,
        cx: &mut Context<'_>,
        work: &mut Work,
        target: Target,
        now: Instant,
    ) -> Chosen {
        self.book.diversion = None;
        self.book.sight = self.find_sight(target);
        let pool = match self.choose(target, &[], now) {
            Ok(pool) if self.would_move(target, &pool, now) => return Chosen::Elsewhere,
            Ok(pool) => pool,
            Err(NoNode::Behind) if self.book.sight.is_some() => return Chosen::Behind(None),
            Err(_) => return Chosen::None,
        };
        if let Some(lease) = self.try_own(work, &pool) {
            if self.may_use(&lease) {
                return Chosen::Leased(lease);
            }
            lease.release();
        }
        match pool.try_lease_heard(cx) {
            Some(lease) if self.may_use(&lease) => {
                work.server_heard = true;
                Chosen::Leased(lease)
            }
            Some(lease) => Chosen::Behind(Some(lease)),
            None => Chosen::Full(pool),
        }
    }

    /// A connection for a request that can't have one where it was to go.
    async fn lease_late(
        &mut self,
        work: &mut Work,
        target: Target,
        now: Instant,
        chosen: Chosen,
    ) -> Result<Leased, End> {
        match chosen {
            Chosen::Elsewhere => self.lease_elsewhere(work, target, now).await,
            Chosen::Behind(lease) => self.lease_seeing(work, target, now, lease).await,
            Chosen::None | Chosen::Full(_) | Chosen::Leased(_) => {
                self.wait(work, target, now, Vec::new()).await
            }
        }
    }

    /// A connection for this target, of another node than one that has just failed if there is one.
    pub(crate) async fn lease_apart_from(
        &mut self,
        work: &mut Box<Work>,
        target: Target,
        failed: NodeIndex,
    ) -> Result<Leased, End> {
        let now = Instant::now();
        self.book.diversion = None;
        self.book.sight = self.find_sight(target);
        match self.wait(work, target, now, vec![failed]).await? {
            Ok(lease) if !self.may_use(&lease) => {
                lease.release();
            }
            leased => return Ok(leased),
        }
        self.lease(work, target, now).await
    }

    /// The pool of the node that this target is to go to now. `avoid`: nodes that have just failed.
    pub(crate) fn choose(
        &self,
        target: Target,
        avoid: &[NodeIndex],
        now: Instant,
    ) -> Result<Rc<LocalPool>, NoNode> {
        self.choose_by(target, avoid, self.book.sight.as_ref(), now)
    }

    /// Likewise, for a read that must have seen what `sight` says.
    pub(crate) fn choose_by(
        &self,
        target: Target,
        avoid: &[NodeIndex],
        sight: Option<&Sight>,
        now: Instant,
    ) -> Result<Rc<LocalPool>, NoNode> {
        let shard = usize::from(target.shard.0);
        let pools = &self.group.pools[shard];
        let cluster = &self.group.shared.clusters[shard];
        let passed_over = Cell::new(false);
        let may = |node| {
            sight.is_none_or(|sight| {
                let may = sight.may(cluster, node);
                if !may {
                    passed_over.set(passed_over.get() || sight.lacks(cluster, node));
                }
                may
            })
        };
        let mut turn = self.group.turn.get();
        let settings = &self.group.shared.route;
        let cost = |node: NodeIndex| pools[usize::from(node.0)].cost(settings.balance, now);
        let chosen = if avoid.is_empty() {
            self.group.views[shard]
                .look(|view| route::choose(view, target.role, settings, may, cost, &mut turn, now))
        } else {
            let without = cluster.view().with(|nodes| {
                for node in avoid {
                    nodes[usize::from(node.0)].up = false;
                }
            });
            route::choose(&without, target.role, settings, may, cost, &mut turn, now)
        };
        self.group.turn.set(turn);
        if passed_over.get() {
            // It may have caught up since it was last asked.
            cluster.positions.suggest();
        }
        chosen.map(|node| Rc::clone(&pools[usize::from(node.0)]))
    }

    /// Waits in the queue of a full pool, and elsewhere if its node turns out to be out of reach.
    #[allow(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice, for each client")]
    pub(crate) fn wait_in<'a>(
        &'a mut self,
        work: &'a mut Work,
        pool: &Rc<LocalPool>,
        target: Target,
        began: Instant,
    ) -> impl Future<Output = Result<Leased, End>> + 'a {
        let pool = self.with_room(target, pool, began);
        self.cell.set_doing(Doing::Waiting, began);
        async move {
            let queued = self.queue(work, &pool).await?;
            let now = Instant::now();
            self.cell.set_doing(Doing::Active, now);
            PoolStats::add_time(&pool.stats.wait_time, now - began);
            match queued {
                Ok(lease) if is_still_right(self.view(target), &pool, target) => Ok(Ok(lease)),
                Ok(lease) => {
                    lease.release();
                    aside(self.wait(work, target, began, Vec::new())).await
                }
                Err(Refused::Told(report)) => Ok(Err(report)),
                Err(Refused::TooLate) => aside(self.too_late(&pool, now - began)).await,
                Err(Refused::Unreachable(_)) => {
                    let avoid = vec![pool.shared.node.id.node];
                    aside(self.wait(work, target, began, avoid)).await
                }
            }
        }
    }

    /// Waits for a connection, or for a node to be there, up to the limits. `avoid`: nodes that have just failed.
    pub(crate) async fn wait(
        &mut self,
        work: &mut Work,
        mut target: Target,
        began: Instant,
        mut avoid: Vec<NodeIndex>,
    ) -> Result<Leased, End> {
        self.cell.set_doing(Doing::Waiting, Instant::now());
        let outcome = loop {
            let pool = match self.choose(target, &avoid, Instant::now()) {
                Ok(pool) => pool,
                Err(NoNode::Behind) if let Some(primary) = self.divert_at_once(target) => {
                    target = primary;
                    continue;
                }
                Err(no_node) => match self.wait_for_node(work, target, no_node, began, &mut avoid).await? {
                    Ok(()) => continue,
                    Err(report) => break Err(report),
                },
            };
            match self.queue(work, &pool).await? {
                Ok(lease) if !is_still_right(self.view(target), &pool, target) => {
                    lease.release();
                }
                Ok(lease) => {
                    PoolStats::add_time(&pool.stats.wait_time, began.elapsed());
                    break Ok(lease);
                }
                Err(Refused::Told(report)) => break Err(report),
                Err(Refused::TooLate) => break self.too_late(&pool, began.elapsed()).await?,
                Err(Refused::Unreachable(report)) => {
                    if began.elapsed() > self.patience(target) {
                        break Err(report);
                    }
                    avoid.push(pool.shared.node.id.node);
                }
            }
        };
        self.cell.set_doing(Doing::Active, Instant::now());
        Ok(outcome)
    }

    fn view(&self, target: Target) -> &SeenView {
        &self.group.views[usize::from(target.shard.0)]
    }

    /// What disturbs a client that waits: not what becomes of a connection that it doesn't hold any more.
    fn disturbance(&self, cx: &Context<'_>) -> Option<Signal> {
        if self.cell.poll_signal(cx) == Some(Signal::ServerUnusable) {
            self.cell.clear_signal();
        }
        self.cell.poll_signal(cx)
    }

    /// How long a request may wait for a node.
    pub(crate) fn patience(&self, target: Target) -> Duration {
        let queue = self.group.shared.pool.query_wait_timeout.unwrap_or(Duration::MAX);
        let never = self.group.shared.route.reads_on_primary == ReadsOnPrimary::Never;
        match target.role {
            TargetRole::Replica if never => queue,
            TargetRole::Primary | TargetRole::Replica => {
                self.core.context.directory.load().config.failover_wait.min(queue)
            }
        }
    }

    /// Waits in a pool's queue. Whatever disturbs the client disturbs this too.
    fn queue<'a>(
        &'a mut self,
        work: &'a mut Work,
        pool: &Rc<LocalPool>,
    ) -> impl Future<Output = Result<Result<Lease, Refused>, End>> + 'a {
        let mut lease = pool.try_lease();
        let mut queued = if lease.is_some() { None } else { Some(pool.queue(&self.cell.waiter)) };
        poll_fn(move |cx| {
            let granted = match &mut queued {
                Some(queued) => queued.poll(cx),
                None => lease.take().map_or(Poll::Pending, |lease| Poll::Ready(Ok(lease))),
            };
            if let Poll::Ready(granted) = granted {
                queued = None;
                return Poll::Ready(Ok(granted.map_err(Refused::by)));
            }
            if let Some(signal) = self.disturbance(cx) {
                queued = None;
                return Poll::Ready(self.leave_queue(signal).map(Err));
            }
            // A client that vanishes leaves the queue; one that goes on talking is listened to as far as there is room.
            if work.up.has_room() {
                match work.up.poll_fill(cx, &mut self.client) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(End::Gone)),
                    Poll::Ready(Ok(_)) => cx.waker().wake_by_ref(),
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
    }

    /// Somebody wants something of a client that waits.
    #[cold]
    fn leave_queue(&self, signal: Signal) -> Result<Refused, End> {
        let refused = match signal {
            Signal::Cancel => Refused::Told(Box::new(canceled())),
            Signal::WaitedTooLong => Refused::TooLate,
            signal => return Err(ended_by(signal)),
        };
        self.cell.clear_signal();
        Ok(refused)
    }

    /// What a client is told that has waited as long as it may.
    async fn too_late(&self, pool: &Rc<LocalPool>, waited: Duration) -> Result<Leased, End> {
        Ok(Err(Box::new(crate::full::report(&self.core, pool, waited).await)))
    }

    /// There is no node for this target now: waits for a change of the cluster, up to the limit.
    async fn wait_for_node(
        &mut self,
        work: &mut Work,
        target: Target,
        no_node: NoNode,
        began: Instant,
        avoid: &mut Vec<NodeIndex>,
    ) -> Result<Result<(), Box<ErrorReport>>, End> {
        let cluster = std::sync::Arc::clone(&self.group.shared.clusters[usize::from(target.shard.0)]);
        let report = refused(no_node, &cluster.config.name);
        // With `reads_on_primary: never` nobody said that reads wait for a replica to come back. Where they may go to
        // the primary, they wait for one as writes do.
        let left = self.patience(target).saturating_sub(began.elapsed());
        if left.is_zero()
            || (matches!(no_node, NoNode::NoReplica | NoNode::Lagging) && avoid.is_empty() && known(&cluster))
        {
            return Ok(Err(Box::new(report)));
        }
        avoid.clear();
        let mut changes = cluster.changes();
        changes.mark_unchanged();
        let change = async {
            let _ = tokio::time::timeout(left.min(BREATH), changes.changed()).await;
        };
        self.undisturbed(work, change, || report).await
    }

    /// Waits for something short. Whatever disturbs the client disturbs this too. `too_late`: what the client is told
    /// if it has waited as long as it may.
    ///
    /// # Errors
    /// The inner one is what the client is told instead.
    pub(crate) async fn undisturbed(
        &mut self,
        work: &mut Work,
        something: impl Future<Output = ()>,
        too_late: impl FnOnce() -> ErrorReport,
    ) -> Result<Result<(), Box<ErrorReport>>, End> {
        let mut something = std::pin::pin!(something);
        let disturbed = poll_fn(|cx| {
            if let Some(signal) = self.disturbance(cx) {
                return Poll::Ready(Ok(Some(signal)));
            }
            if work.up.has_room()
                && let Poll::Ready(read) = work.up.poll_fill(cx, &mut self.client)
            {
                match read {
                    Ok(0) | Err(_) => return Poll::Ready(Err(End::Gone)),
                    Ok(_) => cx.waker().wake_by_ref(),
                }
            }
            something.as_mut().poll(cx).map(|()| Ok(None))
        });
        let told = match disturbed.await? {
            None => return Ok(Ok(())),
            Some(Signal::Cancel) => canceled(),
            Some(Signal::WaitedTooLong) => too_late(),
            Some(signal) => return Err(ended_by(signal)),
        };
        self.cell.clear_signal();
        Ok(Err(Box::new(told)))
    }
}

/// Whether a connection that was waited for is still one for this target: its node may have gone down, or been replaced
/// by another.
fn is_still_right(view: &SeenView, pool: &LocalPool, target: Target) -> bool {
    let node = pool.shared.node.id.node;
    view.look(|view| match target.role {
        TargetRole::Primary => view.primary() == Ok(node),
        TargetRole::Replica => view.is_usable(node),
    })
}

/// What comes of a choice of node.
enum Chosen {
    /// A connection.
    Leased(Lease),
    /// Its pool has none idle.
    Full(Rc<LocalPool>),
    /// The session would rather go on elsewhere.
    Elsewhere,
    /// None is known to have seen enough; this connection may turn out to.
    Behind(Option<Lease>),
    /// There is no node.
    None,
}

/// Why no connection was granted.
enum Refused {
    /// The client is told.
    Told(Box<ErrorReport>),
    /// The node can't be reached: another may.
    Unreachable(Box<ErrorReport>),
    /// It has waited as long as it may.
    TooLate,
}

impl Refused {
    #[cold]
    fn by(error: std::sync::Arc<ConnectError>) -> Self {
        let report = Box::new(as_error(error.report()));
        if error.is_final() { Self::Told(report) } else { Self::Unreachable(report) }
    }
}

/// Whether the role of every node that is up is known: then waiting for the first probe is no use.
fn known(cluster: &backend::Cluster) -> bool {
    let view = cluster.view();
    view.nodes()
        .iter()
        .all(|node| !node.up || matches!(node.role, Some(NodeRole::Primary | NodeRole::Replica)))
}

/// What a client is told that is not to wait for a node any longer.
pub(crate) fn refused(no_node: NoNode, cluster: &str) -> ErrorReport {
    let refusal = no_node.refusal(cluster);
    let code = SqlState::from_bytes(refusal.sqlstate.as_bytes()).unwrap_or(SqlState::CANNOT_CONNECT_NOW);
    let mut report = ErrorReport::error(code, refusal.message);
    report.detail = refusal.detail.map(Into::into);
    report.hint = refusal.hint.map(Into::into);
    report
}

pub(crate) fn canceled() -> ErrorReport {
    ErrorReport::error(SqlState::QUERY_CANCELED, "canceling statement due to user request")
        .with_detail("It was waiting for a server connection.")
}

/// The session ends while its client waits.
pub(crate) fn ended_by(signal: Signal) -> End {
    let (code, message) = match signal {
        Signal::Kill(Kill::TransactionTooLong) => (SqlState::QUERY_CANCELED, "transaction_timeout"),
        Signal::Kill(Kill::QueryTooLong) => (SqlState::QUERY_CANCELED, "query_timeout"),
        _ => (SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command"),
    };
    ErrorReport::fatal(code, message).into()
}

/// What a server said at login is an error of the statement, not the end of the client.
fn as_error(mut report: ErrorReport) -> ErrorReport {
    report.severity = wire::Severity::Error;
    report
}
