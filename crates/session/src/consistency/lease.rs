//! A connection for a read that must have seen something: how long it waits for a replica that has, when its session moves
//! to another one, and when it goes to the primary instead.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use backend::shared::Diverted;
use backend::{Cluster, Lease, LocalPool, Positions};
use config::{Balance, ReadsOnPrimary};
use route::view::NodeIndex;
use route::{NoNode, RoleReason, Target, TargetRole};
use tokio::sync::watch;
use wire::ErrorReport;

use super::{Diversion, Sight};
use crate::cell::Doing;
use crate::session::{End, Session};
use crate::wait::{Leased, refused};
use crate::work::Work;

/// How long a read waits so that its session may go on to a node that has less to do.
const MOVE_WAIT: Duration = Duration::from_millis(2);
/// Between two such moves, of all sessions of a core and pool: each costs a round.
const MOVE_AGAIN: Duration = Duration::from_millis(100);
/// Between two looks whether one would like to.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Behind a full share of the primary, how long until the next try.
pub(super) const BREATH: Duration = Duration::from_millis(5);

impl Session {
    /// Whether the session is kept where it is though another node has less to do, and may be let go now.
    #[inline]
    pub(crate) fn would_move(&self, target: Target, pool: &LocalPool, now: Instant) -> bool {
        match &self.book.sight {
            Some(Sight { last: Some((last, _)), .. }) if *last == pool.shared.node.id.node => {
                self.group.moves.get().is_none_or(|next| next <= now)
                    && self.has_a_better_place(target, pool, now)
            }
            _ => false,
        }
    }

    #[cold]
    fn has_a_better_place(&self, target: Target, pool: &LocalPool, now: Instant) -> bool {
        let Some(sight) = &self.book.sight else { return false };
        let free = Sight { elsewhere: 0, by_time: 0, ..*sight };
        let turn = self.group.turn.get();
        let other = self.choose_by(target, &[], Some(&free), now);
        self.group.turn.set(turn);
        let better = other.is_ok_and(|other| {
            let elsewhere = other.shared.node.id.node != pool.shared.node.id.node;
            let balance = self.group.shared.route.balance;
            let by_cost = matches!(balance, Balance::LeastConnections | Balance::PeakEwma);
            elsewhere && (!by_cost || other.cost(balance, now) < pool.cost(balance, now))
        });
        self.group.moves.set(Some(now + if better { MOVE_AGAIN } else { LOOK_AGAIN }));
        better
    }

    /// Waits for a round, so that the session may go on elsewhere.
    pub(crate) async fn lease_elsewhere(
        &mut self,
        work: &mut Work,
        target: Target,
        began: Instant,
    ) -> Result<Leased, End> {
        if let Some(sight) = self.book.sight
            && let Some(cluster) = self.cluster(target)
        {
            let until = began + MOVE_WAIT;
            let positions = &cluster.positions;
            let mut changes = positions.changes();
            let others = |node: &NodeIndex| sight.last.is_some_and(|(last, _)| last != *node);
            let nodes = 0..u16::try_from(cluster.nodes.len()).unwrap_or(u16::MAX);
            while !nodes
                .clone()
                .map(NodeIndex)
                .filter(others)
                .any(|node| positions.covered(node) >= sight.elsewhere)
            {
                changes.mark_unchanged();
                if Instant::now() >= until {
                    break;
                }
                if let Err(report) = self.next_round_of(work, &cluster, &mut changes, until).await? {
                    return Ok(Err(report));
                }
            }
        }
        self.lease_seeing(work, target, began, None).await
    }

    /// A connection for a read that none may have at once. `lease`: one that may do after the next round.
    pub(crate) async fn lease_seeing(
        &mut self,
        work: &mut Work,
        target: Target,
        began: Instant,
        lease: Option<Lease>,
    ) -> Result<Leased, End> {
        self.cell.set_doing(Doing::Waiting, began);
        let leased = self.lease_replica_or_primary(work, target, began, lease).await?;
        self.cell.set_doing(Doing::Active, Instant::now());
        Ok(leased)
    }

    async fn lease_replica_or_primary(
        &mut self,
        work: &mut Work,
        target: Target,
        began: Instant,
        lease: Option<Lease>,
    ) -> Result<Leased, End> {
        let route = &self.group.shared.route;
        let (wait, never) = (route.replica_wait, route.reads_on_primary == ReadsOnPrimary::Never);
        let limit = self.group.shared.pool.query_wait_timeout;
        let Some(positions) = self.positions(target) else {
            return Box::pin(self.wait(work, target, began, Vec::new())).await;
        };
        let worth = never || positions.is_worth_waiting();
        let wait = if worth { wait } else { Duration::ZERO };
        if let Some(leased) = self.lease_replica(work, target, began, wait, lease).await? {
            return Ok(leased);
        }
        if worth {
            positions.note_wait(false);
        }
        loop {
            if !never && let Some(leased) = self.lease_primary(work, target, began).await? {
                positions.counts.diverted.fetch_add(1, Ordering::Relaxed);
                return Ok(leased);
            }
            if limit.is_some_and(|limit| began.elapsed() >= limit) {
                let name = &self.group.shared.clusters[usize::from(target.shard.0)].config.name;
                return Ok(Err(Box::new(refused(NoNode::Behind, name))));
            }
            if let Some(leased) = self.lease_replica(work, target, began, BREATH, None).await? {
                return Ok(leased);
            }
        }
    }

    /// A replica that has seen enough, if one has within `wait`; to be given a connection may take longer.
    async fn lease_replica(
        &mut self,
        work: &mut Work,
        target: Target,
        began: Instant,
        wait: Duration,
        mut lease: Option<Lease>,
    ) -> Result<Option<Leased>, End> {
        let Some(cluster) = self.cluster(target) else { return Ok(None) };
        let positions = &cluster.positions;
        let mut changes = positions.changes();
        let mut waits_until = None;
        loop {
            changes.mark_unchanged();
            if lease.is_none() {
                lease = match self.choose(target, &[], Instant::now()) {
                    Ok(pool) => match self.lease_of(work, &pool, target, began).await? {
                        Ok(lease) => Some(lease),
                        Err(report) => return Ok(Some(Err(report))),
                    },
                    Err(NoNode::Behind) => None,
                    Err(_) => return Box::pin(self.wait(work, target, began, Vec::new())).await.map(Some),
                };
            }
            if let Some(found) = lease.take() {
                if self.may_use(&found) {
                    if waits_until.is_some() {
                        positions.note_wait(true);
                    }
                    return Ok(Some(Ok(found)));
                }
                let node = found.handle.pool.node.id.node;
                if !self.book.sight.is_none_or(|sight| sight.may(&found.handle.pool.cluster, node)) {
                    found.release();
                    continue;
                }
                lease = Some(found); // it is new: the next round tells who is behind it
            }
            let now = Instant::now();
            let until = *waits_until.get_or_insert_with(|| {
                positions.counts.waits.fetch_add(1, Ordering::Relaxed);
                now + wait
            });
            if now >= until {
                lease.map(Lease::release);
                return Ok(None);
            }
            if let Err(report) = self.next_round_of(work, &cluster, &mut changes, until).await? {
                lease.map(Lease::release);
                return Ok(Some(Err(report)));
            }
        }
    }

    /// The primary, if it has a place for one more read that isn't its own.
    pub(super) async fn lease_primary(
        &mut self,
        work: &mut Work,
        target: Target,
        began: Instant,
    ) -> Result<Option<Leased>, End> {
        let target = Target { role: TargetRole::Primary, ..target };
        let chosen = self.choose(target, &[], Instant::now());
        let place = match &chosen {
            Ok(pool) => match pool.shared.divert() {
                Some(place) => Some(place),
                None => return Ok(None),
            },
            Err(_) => None, // whoever comes to be the primary
        };
        self.note_diversion(place);
        let leased = match chosen {
            Ok(pool) => self.lease_of(work, &pool, target, began).await?,
            Err(_) => Box::pin(self.wait(work, target, began, Vec::new())).await?,
        };
        if leased.is_err() {
            self.book.diversion = None;
        }
        Ok(Some(leased))
    }

    /// The primary for a read that nodes can't have which just failed; `None`: it may not go there.
    pub(crate) fn divert_at_once(&mut self, target: Target) -> Option<Target> {
        let positions = self.positions(target)?;
        positions.suggest();
        if self.group.shared.route.reads_on_primary == ReadsOnPrimary::Never {
            return None;
        }
        positions.counts.diverted.fetch_add(1, Ordering::Relaxed);
        self.note_diversion(None);
        Some(Target { role: TargetRole::Primary, ..target })
    }

    fn note_diversion(&mut self, place: Option<Diverted>) {
        self.book.diversion = Some(Diversion(place));
        if let Some(last) = &mut self.book.last {
            last.target.role = TargetRole::Primary;
            last.reason.role = RoleReason::Behind;
        }
    }

    async fn lease_of(
        &mut self,
        work: &mut Work,
        pool: &Rc<LocalPool>,
        target: Target,
        began: Instant,
    ) -> Result<Leased, End> {
        match pool.try_lease() {
            Some(lease) => Ok(Ok(lease)),
            None => self.wait_in(work, pool, target, began).await,
        }
    }

    /// Asks for a round, and waits for whatever is published next.
    pub(super) async fn next_round_of(
        &mut self,
        work: &mut Work,
        cluster: &Cluster,
        changes: &mut watch::Receiver<u64>,
        until: Instant,
    ) -> Result<Result<(), Box<ErrorReport>>, End> {
        cluster.positions.ask(cluster.positions.next_round(), until);
        let change = async {
            let _ = tokio::time::timeout_at(until.into(), changes.changed()).await;
        };
        self.undisturbed(work, change, || refused(NoNode::Behind, &cluster.config.name)).await
    }

    pub(super) fn cluster(&self, target: Target) -> Option<Arc<Cluster>> {
        self.group.shared.clusters.get(usize::from(target.shard.0)).cloned()
    }

    pub(crate) fn positions(&self, target: Target) -> Option<Arc<Positions>> {
        self.cluster(target).map(|cluster| Arc::clone(&cluster.positions))
    }
}
