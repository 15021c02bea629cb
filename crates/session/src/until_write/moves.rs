//! The next request of such a transaction: there, or on the primary, to which the transaction moves then.

use route::{Target, TargetRole};
use sql::facts::Kind;
use wire::ErrorReport;
use wire::backend::TransactionStatus;

use super::Step;
use crate::cell::Doing;
use crate::request::{self, Request};
use crate::session::{End, Held, Session};
use crate::work::Work;

impl Session {
    /// What the client has sent in a transaction that reads on a replica.
    pub(crate) fn next_until_write(&mut self, work: &mut Work) -> Result<Step, End> {
        let Some(held) = &self.held else { return Ok(Step::Wait) };
        if held.lease.owed > 0 || !work.expects.is_empty() {
            return Ok(Step::Wait);
        }
        let Ok(found) = request::delimit(work.up.pending(), self.max_message) else { return Ok(Step::Bound) };
        let total = match found {
            Request::Incomplete(need) => {
                work.up.make_room_for(need);
                return Ok(Step::Wait);
            }
            Request::Single { total } | Request::Pipeline { total, .. } if total > 0 => total,
            Request::Long => 0,
            _ => return Ok(Step::Bound),
        };
        let failed = held.lease.status == TransactionStatus::Failed;
        let map = &self.group.shared.map;
        work.planned.clear();
        let plan = match found {
            Request::Long => Ok(self.book.plan_unknown(map, work, "a text too long to look at", None)),
            _ => {
                let whole = !matches!(found, Request::Pipeline { synced: false, .. });
                self.book.plan(&self.core, map, work, total, whole)
            }
        };
        let ends = matches!(self.book.seen.first, Some(Kind::RollbackTo | Kind::Commit | Kind::Rollback));
        match plan {
            Ok(crate::plan::Plan::Go(target)) if !failed || (ends && target.role == TargetRole::Primary) => {
                self.book.seen.next = Some((found, target));
                Ok(Step::Next)
            }
            // A failed transaction says so itself; what is refused or can't be read fails there.
            _ => {
                work.planned.clear();
                self.book.seen.reads_at = None;
                self.note_place();
                Ok(Step::Bound)
            }
        }
    }

    /// The next request of such a transaction is run by itself, there or on the primary: where.
    ///
    /// # Errors
    /// The inner one is what the client is told instead.
    pub(crate) async fn go_on(
        &mut self,
        work: &mut Work,
        target: Target,
    ) -> Result<Result<Target, Box<ErrorReport>>, End> {
        self.cell.set_doing(Doing::Active, self.core.pools.now());
        // What a replica's answer holds back must be its own alone.
        self.flush_client(work).await?;
        if target.role == TargetRole::Primary {
            let ends = matches!(self.book.seen.first, Some(Kind::Commit | Kind::Rollback));
            self.leave_replica(work, ends).await?;
        } else if self.has_seen_enough(target) {
            self.note_place();
        } else {
            let to = Box::pin(self.catch_up(work, target)).await?;
            if to.as_ref().is_ok_and(|to| to.role == TargetRole::Replica) {
                self.note_place();
            }
            return Ok(to);
        }
        Ok(Ok(target))
    }

    /// The last statement goes where the session is already.
    fn note_place(&mut self) {
        if let (Some(last), Some(held)) = (&mut self.book.last, &self.held) {
            last.node = Some(std::sync::Arc::clone(&held.lease.handle.pool.node));
        }
    }

    /// The transaction goes on on the primary: that of the replica is rolled back behind our back.
    pub(crate) async fn leave_replica(&mut self, work: &mut Work, ends: bool) -> Result<(), End> {
        let failed = self.held.as_ref().is_some_and(|held| held.lease.status == TransactionStatus::Failed);
        let Some(until) = self.book.until_write.take() else { return Ok(()) };
        self.book.begun = Some(until.into_begun(failed && ends));
        work.portals.clear();
        if self.book.watch.is_some() {
            self.look_behind_on_replica(work).await?;
        }
        let Some(held) = self.held.take() else { return Ok(()) };
        self.note_left(&held);
        self.cell.holds.borrow_mut().take();
        if held.lease.doubt || held.lease.spent || held.lease.handle.cancels.get() > 0 {
            self.let_go(held);
        } else {
            let cleanup = self.core.context.seats.cleanup();
            tokio::task::spawn_local(async move {
                end_on_replica(held).await;
                drop(cleanup);
            });
        }
        Ok(())
    }

    /// Code of the database's own ran there: the connection is asked what it has left, while it is in hand.
    #[cold]
    async fn look_behind_on_replica(&mut self, work: &mut Work) -> Result<(), End> {
        let Some(held) = &mut self.held else { return Ok(()) };
        let limit = held.lease.handle.pool.settings.server_connect_timeout;
        let ended = tokio::time::timeout(limit, crate::reclaim::execute(&mut held.lease, b"ROLLBACK")).await;
        if !matches!(ended, Ok(Ok(Ok(())))) {
            held.lease.torn = true;
            self.book.watch = None;
            return Ok(());
        }
        self.book.note_outcome(true);
        // What the transaction has set is no affair of this connection any more.
        let open = self.book.open_entries.take();
        let looked = Box::pin(self.look_behind(work)).await;
        self.book.open_entries = open;
        looked
    }
}

/// Ends what is left of a transaction that has only read, and hands the connection back.
async fn end_on_replica(held: Held) {
    let mut lease = held.lease;
    let limit = lease.handle.pool.settings.server_connect_timeout;
    let ended = tokio::time::timeout(limit, crate::reclaim::execute(&mut lease, b"ROLLBACK")).await;
    if matches!(ended, Ok(Ok(Ok(())))) {
        lease.unnamed = None;
        lease.release();
    }
}
