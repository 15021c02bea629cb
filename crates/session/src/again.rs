//! Requests that are run again because their server connection was lost.
//!
//! A read of which nothing was passed on to the client is run elsewhere: it did nothing. Each request is given so few
//! times to a server that one which kills its server doesn't kill them all.

use config::{NodeRole, RoleSetting};
use route::{RoleReason, Target};
use sql::facts::Access;

use crate::gate::Gate;
use crate::loss::Broken;
use crate::session::Session;
use crate::wait::BREATH;
use crate::work::{Planned, Retry, Work};

/// So often a request is run again.
const MOST: u32 = 2;

impl Session {
    /// Whether the request in hand surely does nothing but read, so that losing its server halfway is no harm.
    pub(crate) fn only_reads(&self, work: &Work) -> bool {
        match self.book.last.as_ref().map(|last| &last.reason.role) {
            Some(RoleReason::Reads | RoleReason::PipelineReads) => true,
            // Nobody has looked whether it reads. But where it goes nothing can be written.
            Some(RoleReason::Setting(RoleSetting::Replica, _)) => {
                let reads = |planned: &Planned| match planned {
                    Planned::Query(facts) => facts.access == Access::Read,
                    Planned::Parse { text, .. } => text.facts.access == Access::Read,
                    Planned::Names(_) => false,
                };
                self.is_on_standby() && work.planned.iter().all(reads)
            }
            _ => false,
        }
    }

    fn is_on_standby(&self) -> bool {
        let Some(held) = &self.held else { return false };
        let pool = held.lease.pool();
        let view = pool.shared.cluster.view();
        let seen = view.nodes().get(usize::from(pool.shared.node.id.node.0));
        seen.is_some_and(|node| node.role == Some(NodeRole::Replica) && !node.apart)
    }

    /// The server connection was lost. True: the request is pending again, and may be sent elsewhere.
    #[cold]
    pub(crate) fn takes_back(&mut self, work: &mut Work, broken: &Broken) -> bool {
        let wanted = work.retry == Retry::Possible && work.reads && work.runs < MOST;
        let lost = broken.says_of_the_server() || matches!(broken, Broken::Unusable);
        if !wanted || !lost || self.book.is_tied() {
            return false;
        }
        let Some(held) = self.held.take() else { return false };
        self.cell.holds.borrow_mut().take();
        let pool = held.lease.pool();
        tracing::info!(
            user = %self.cell.user, database = %self.cell.database, node = %pool.shared.node.name, ?broken,
            "a server connection was lost; what it ran is run elsewhere"
        );
        if broken.says_of_the_server() {
            pool.shared.cluster.suspect(pool.shared.node.id.node);
        }
        let node = pool.shared.node.id.node;
        drop(held);
        self.book.take_names_back(work);
        self.book.watch = None;
        self.book.gate = Gate::Open;
        work.down.drop_pending();
        work.down.drop_unsent();
        let runs = work.runs + 1;
        work.reset_request();
        work.runs = runs;
        work.lost_at = Some(node);
        true
    }

    /// Whether a request for the primary could be sent elsewhere if its server turns out to be a standby: that has done
    /// nothing of it. Somebody's own `default_transaction_read_only` looks the same, so this ends with `failover.wait`.
    #[cold]
    pub(crate) fn may_be_misplaced(&self, target: Target) -> bool {
        let begun = self.book.sent_begin.is_some();
        !self.book.is_tied()
            && self.held.as_ref().is_some_and(|held| begun || !held.in_transaction)
            && self.cell.transaction_since().is_none_or(|since| since.elapsed() < self.patience(target))
    }

    /// What was taken for the primary is a standby: its connection isn't used any more, and its node is probed.
    #[cold]
    pub(crate) fn give_up_standby(&mut self) {
        self.book.begun = self.book.sent_begin.take();
        let Some(held) = &mut self.held else { return };
        held.lease.spent = true;
        let pool = held.lease.pool();
        tracing::warn!(
            user = %self.cell.user, database = %self.cell.database, node = %pool.shared.node.name,
            "what was taken for the primary is a standby; what it refused is sent to the primary"
        );
        pool.shared.cluster.suspect(pool.shared.node.id.node);
    }

    /// Waits until more is known of who the primary is, for a moment.
    pub(crate) async fn wait_for_roles(&self, target: Target) {
        let mut changes = self.group.shared.clusters[usize::from(target.shard.0)].changes();
        let _ = tokio::time::timeout(BREATH, changes.changed()).await;
    }

    /// Its node is down, or isn't used any more.
    pub(crate) fn server_is_unusable(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.lease.handle.is_unusable())
    }
}
