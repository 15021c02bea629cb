//! The reads of a transaction that reads until it writes: whether its replica has what the next of them must have seen.
//! If not, the transaction waits a moment for it, and then goes on on the primary.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use config::ReadsOnPrimary;
use route::consistency::Slots;
use route::{NoNode, Target};
use sql::facts::Kind;
use wire::ErrorReport;

use super::lease::BREATH;
use crate::cell::Doing;
use crate::session::{End, Session};
use crate::wait::refused;
use crate::work::Work;

impl Session {
    /// Whether the replica in hand has what the request that is planned must have seen.
    pub(crate) fn has_seen_enough(&mut self, target: Target) -> bool {
        let ends_or_says = matches!(
            self.book.seen.first,
            Some(
                Kind::Commit
                    | Kind::Rollback
                    | Kind::RollbackTo
                    | Kind::Savepoint
                    | Kind::Release
                    | Kind::Set
            )
        );
        if ends_or_says && self.book.reads == Slots::NONE {
            return true;
        }
        self.book.sight = self.find_sight(target);
        self.replica_fits()
    }

    fn replica_fits(&self) -> bool {
        self.held.as_ref().is_none_or(|held| self.may_use(&held.lease))
    }

    /// The replica in hand hasn't. Where the request is run: there, once it has within `replica_wait`, or else on the
    /// primary, which is in hand then.
    ///
    /// # Errors
    /// The inner one is what the client is told instead.
    #[cold]
    pub(crate) async fn catch_up(
        &mut self,
        work: &mut Work,
        target: Target,
    ) -> Result<Result<Target, Box<ErrorReport>>, End> {
        let began = Instant::now();
        self.cell.set_doing(Doing::Waiting, began);
        let caught_up = self.wait_for_replica(work, target, began).await?;
        let settled = match caught_up {
            Ok(true) => Ok(target),
            Ok(false) => {
                self.leave_replica(work, false).await?;
                self.go_to_primary(work, target, began).await?
            }
            Err(report) => {
                self.leave_replica(work, false).await?;
                Err(report)
            }
        };
        self.cell.set_doing(Doing::Active, Instant::now());
        Ok(settled)
    }

    async fn wait_for_replica(
        &mut self,
        work: &mut Work,
        target: Target,
        began: Instant,
    ) -> Result<Result<bool, Box<ErrorReport>>, End> {
        let Some(cluster) = self.cluster(target) else { return Ok(Ok(true)) };
        let (route, positions) = (&self.group.shared.route, &cluster.positions);
        let never = route.reads_on_primary == ReadsOnPrimary::Never;
        if !never && !positions.is_worth_waiting() {
            return Ok(Ok(false));
        }
        let wait = if never { self.group.shared.pool.query_wait_timeout } else { Some(route.replica_wait) };
        let until = began + wait.unwrap_or(Duration::from_secs(86_400));
        positions.counts.waits.fetch_add(1, Ordering::Relaxed);
        let mut changes = positions.changes();
        loop {
            changes.mark_unchanged();
            let fits = self.replica_fits();
            if fits || Instant::now() >= until {
                positions.note_wait(fits);
                return Ok(if fits || !never {
                    Ok(fits)
                } else {
                    Err(Box::new(refused(NoNode::Behind, &cluster.config.name)))
                });
            }
            if let Err(report) = self.next_round_of(work, &cluster, &mut changes, until).await? {
                return Ok(Err(report));
            }
        }
    }

    /// Takes the primary in hand, once it has a place for one more such read.
    async fn go_to_primary(
        &mut self,
        work: &mut Work,
        target: Target,
        began: Instant,
    ) -> Result<Result<Target, Box<ErrorReport>>, End> {
        let Some(cluster) = self.cluster(target) else { return Ok(Ok(target)) };
        let limit = self.group.shared.pool.query_wait_timeout;
        loop {
            if let Some(leased) = self.lease_primary(work, target, began).await? {
                cluster.positions.counts.diverted.fetch_add(1, Ordering::Relaxed);
                self.book.seen.reads_at = None;
                return Ok(leased.map(|lease| self.hold(lease, target)));
            }
            if limit.is_some_and(|limit| began.elapsed() >= limit) {
                return Ok(Err(Box::new(refused(NoNode::Behind, &cluster.config.name))));
            }
            let breath = tokio::time::sleep(BREATH);
            let too_late = || refused(NoNode::Behind, &cluster.config.name);
            if let Err(report) = self.undisturbed(work, breath, too_late).await? {
                return Ok(Err(report));
            }
        }
    }
}
