//! How a session leaves its server connection, at the end of a request and at its own end, and its client.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use config::PoolMode;
use wire::{ErrorReport, SqlState, encode};

use crate::pins;
use crate::reclaim::Unheard;
use crate::session::{End, Held, Session};
use crate::work::{Left, Work};

impl Session {
    /// The end of a request: the connection goes back, unless the session is tied to it.
    pub(crate) fn rest(&mut self, work: &Work) {
        if self.book.pin.map(pins::name) != self.cell.pinned.get() {
            self.note_pin();
        }
        let Some(held) = &self.held else { return };
        let tied = self.book.pin.is_some() || self.book.mode == PoolMode::Session;
        if tied && held.lease.is_at_rest() {
            if let Some(reason) = self.book.pin {
                self.core.pins.count_transaction(reason);
            }
            return;
        }
        if self.book.pin.is_none() {
            // A place that was taken for a statement that failed.
            self.book.pinned_to = None;
        }
        debug_assert!(work.expects.is_empty() || held.lease.torn);
        if let Some(held) = self.held.take() {
            self.let_go(held);
        }
    }

    /// The session is tied to its connection now, or isn't any more.
    #[cold]
    fn note_pin(&self) {
        if let Some(reason) = self.book.pin
            && self.book.mode != PoolMode::Session
            && self.cell.pinned.get().is_none()
        {
            self.core.pins.count(reason);
        }
        self.cell.pinned.set(self.book.pin.map(pins::name));
    }

    pub(crate) fn let_go(&mut self, held: Held) {
        self.let_go_unheard(held, Unheard::default());
    }

    fn let_go_unheard(&mut self, held: Held, unheard: Unheard) {
        self.cell.holds.borrow_mut().take();
        if self.book.listening.is_some() {
            held.lease.sender.set(None);
        }
        let left = held.lease.doubt || held.lease.sweep || held.lease.spent;
        let clean = held.lease.is_at_rest() && !left && unheard.is_empty();
        if clean && held.lease.handle.cancels.get() == 0 {
            held.lease.release();
        } else {
            self.core.reclaim(held.lease, unheard);
        }
    }

    /// The session ends: what it leaves on a server is cleaned up behind it.
    pub(crate) fn leave_server(&mut self, work: &mut Work) {
        if let Some(mut held) = self.held.take() {
            held.lease.torn |= matches!(work.up_left, Left::Pass(left) if left > 0) || !work.up.is_flushed();
            held.lease.doubt |= self.book.pin.is_some() || self.book.mode == PoolMode::Session;
            // What nobody asked for may be there.
            if let Some(watch) = self.book.watch.take() {
                held.lease.doubt = true;
                if watch.redefines {
                    self.core.context.new_code();
                }
            }
            let skip = match work.down_left {
                Left::Pass(left) | Left::Drop(left) => left,
            };
            self.let_go_unheard(held, Unheard { skip, bytes: work.down.pending().to_vec() });
            // The client has yet to be told goodbye; its place is another's already.
            self.book.pinned_to = None;
        }
    }

    pub(crate) async fn farewell(&mut self, work: &mut Work, end: &End) {
        match end {
            End::Fatal(report) => encode::error_response(work.down.inject(), report),
            End::Terminate => {}
            End::Gone => return,
        }
        let flush = poll_fn(|cx| work.down.poll_flush(cx, &mut self.client));
        // A client that doesn't read keeps nobody.
        let _: Result<io::Result<()>, _> = tokio::time::timeout(Duration::from_secs(1), flush).await;
    }

    pub(crate) async fn finish(&mut self, end: End) {
        if let End::Fatal(report) = &end {
            tracing::info!(user = %self.cell.user, database = %self.cell.database, pid = self.cell.pid, %report, "client sent away");
        }
        self.core.leave(self.cell.pid);
        let shutdown = poll_fn(|cx| self.client.poll_shutdown(cx));
        let _: Result<io::Result<()>, _> = tokio::time::timeout(Duration::from_secs(1), shutdown).await;
    }
}

pub(crate) fn shutdown() -> ErrorReport {
    ErrorReport::fatal(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}
