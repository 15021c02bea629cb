//! The replica of such a transaction is given up, or lost: the transaction goes on on the primary.

use wire::backend::TransactionStatus;

use crate::loss::Broken;
use crate::session::{Relayed, Session};
use crate::work::{Copy, Retry, Work};

impl Session {
    /// The replica of such a transaction is given up: it is begun again on the primary, unless its BEGIN is part of the
    /// request that is run again there.
    pub(crate) fn take_back(&mut self) {
        let Some(until) = self.book.until_write.take() else { return };
        if let Some(held) = &mut self.held {
            held.lease.doubt |= self.book.watch.is_some();
        }
        if until.fresh.is_none() {
            self.book.begun = Some(until.into_begun(false));
        }
    }

    /// The replica of such a transaction is lost. As long as the client has nothing of the answer that is due, the
    /// transaction goes on on the primary.
    #[cold]
    pub(crate) fn go_on_without(&mut self, work: &mut Work, broken: &Broken) -> Option<Relayed> {
        let until = self.book.until_write.as_ref()?;
        let held = self.held.as_mut()?;
        let gone = broken.says_of_the_server()
            || match broken {
                Broken::Lost | Broken::Unusable => true,
                // The client's own limits end it otherwise.
                Broken::Fatal(report) => matches!(report.code.as_str(), "57P04" | "40001"),
                Broken::Protocol(_) => false,
            };
        let idle = held.lease.owed == 0
            && work.expects.is_empty()
            && !held.lease.unsynced
            && work.copy == Copy::No
            && work.down_left.is_none()
            && held.lease.status == TransactionStatus::InTransaction
            && until.fresh.is_none();
        let in_hand = work.retry == Retry::Possible;
        if !gone || !(idle || in_hand) {
            return None;
        }
        tracing::info!(
            user = %self.cell.user, database = %self.cell.database, node = %held.lease.handle.pool.node.name, ?broken,
            "a replica was lost; its transaction goes on on the primary"
        );
        held.lease.torn = true;
        if broken.says_of_the_server() {
            let shared = &held.lease.pool().shared;
            shared.cluster.suspect(shared.node.id.node);
        }
        work.down.drop_pending();
        if in_hand {
            work.down.drop_unsent();
            return Some(Relayed::Again { learn: false });
        }
        self.take_back();
        self.book.watch = None;
        work.reset_request();
        if let Some(held) = self.held.take() {
            self.note_left(&held);
            self.let_go(held);
        }
        Some(Relayed::Done)
    }
}
