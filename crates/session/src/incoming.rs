//! What comes of the client while nothing of its own is under way: waiting for it, its next request, and what is told it
//! unasked.

use std::future::poll_fn;
use std::task::{Context as TaskContext, Poll};

use wire::{ErrorReport, SqlState, encode};

use crate::cell::{Doing, Kill, Signal};
use crate::leave::shutdown;
use crate::loss::Broken;
use crate::request::{self, Request};
use crate::session::{End, Session};
use crate::work::Work;

/// What there is to do next.
pub(crate) enum Next {
    /// A request is in hand.
    Request(Request),
    /// Nothing at all.
    Idle,
}

impl Session {
    /// Waits for the client without holding anything; also for whoever wants the session to end. `listening`: the
    /// sockets were found empty a moment ago, and will wake this task.
    pub(crate) async fn idle(&mut self, mut listening: bool) -> Result<(), End> {
        self.cell.set_doing(Doing::Idle, self.core.pools.now());
        let mut asleep = false;
        let signal = poll_fn(|cx| {
            if let Some(signal) = self.cell.poll_signal(cx) {
                return Poll::Ready(Some(signal));
            }
            if let Some(listening) = &self.book.listening
                && self.book.begun.is_none()
                && listening.poll(cx).is_ready()
            {
                return Poll::Ready(None);
            }
            if std::mem::take(&mut listening) {
                asleep = true;
                return Poll::Pending;
            }
            if asleep {
                // Whichever it was that woke it is found by reading.
                return Poll::Ready(None);
            }
            if let Some(held) = &mut self.held
                && held.lease.stream.poll_read_ready(cx).is_ready()
            {
                return Poll::Ready(None);
            }
            self.client.poll_read_ready(cx).map(|_| None)
        });
        match signal.await {
            None => Ok(()),
            Some(Signal::ServerUnusable) => {
                self.cell.clear_signal();
                // What a session that is tied has there is lost.
                if self.server_is_unusable() { Err(self.tied_server_lost(&Broken::Unusable)) } else { Ok(()) }
            }
            Some(Signal::Stop | Signal::Kill(Kill::Shutdown)) => Err(shutdown().into()),
            Some(Signal::Kill(Kill::Idle)) => {
                Err(ErrorReport::fatal(SqlState::IDLE_SESSION_TIMEOUT, "client_idle_timeout").into())
            }
            Some(Signal::Cancel | Signal::WaitedTooLong | Signal::Kill(_)) => {
                self.cell.clear_signal(); // it came too late
                Ok(())
            }
        }
    }

    /// The next request, whole as far as it needs to be.
    pub(crate) async fn next_request(&mut self, work: &mut Work) -> Result<Next, End> {
        loop {
            if work.skipping {
                self.skip_to_sync(work)?;
            }
            if work.up_left.advance(&mut work.up) {
                continue;
            }
            let found = if work.up_left.is_none() {
                request::delimit(work.up.pending(), self.max_message).map_err(ErrorReport::from)?
            } else {
                Request::Incomplete(0)
            };
            match found {
                Request::Incomplete(need) => work.up.make_room_for(need),
                Request::Terminate => return Err(End::Terminate),
                Request::Invalid(tag) => return Err(crate::admit::invalid_message(tag).into()),
                Request::Stray { total } => {
                    let head = wire::Head { tag: 0, total };
                    crate::admit::drop_message(work, head);
                    continue;
                }
                request => return Ok(Next::Request(request)),
            }
            match poll_fn(|cx| self.poll_more(cx, work)).await? {
                Some(()) => {}
                None => return Ok(Next::Idle),
            }
        }
    }

    /// Reads more of the client, once what it is owed is written. `None`: nothing is there, and nothing is begun.
    fn poll_more(&mut self, cx: &mut TaskContext<'_>, work: &mut Work) -> Poll<Result<Option<()>, End>> {
        if let Some(Signal::Kill(_)) = self.cell.poll_signal(cx) {
            return Poll::Ready(Err(shutdown().into()));
        }
        if let Poll::Ready(lost) = self.poll_tied_server(cx, work) {
            return Poll::Ready(Err(lost));
        }
        if self.book.listening.is_some()
            && let Poll::Ready(end) = self.poll_mail(cx, work)
        {
            return Poll::Ready(Err(end));
        }
        let flushed = work.down.poll_flush(cx, &mut self.client);
        if let Poll::Ready(Err(_)) = flushed {
            return Poll::Ready(Err(End::Gone));
        }
        match work.up.poll_fill(cx, &mut self.client) {
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Err(End::Gone)),
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(Some(()))),
            Poll::Pending if flushed.is_ready() && work.is_empty() => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Hears what the server of a session that is tied to it says unasked: notifications, notices, its end. Ready when
    /// the session has lost what it had there.
    fn poll_tied_server(&mut self, cx: &mut TaskContext<'_>, work: &mut Work) -> Poll<End> {
        let Some(held) = &mut self.held else { return Poll::Pending };
        while work.down.has_room() {
            let lost = match work.down.poll_fill(cx, &mut held.lease.stream) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => Broken::Lost,
                Poll::Ready(Ok(_)) => match self.book.hear(&self.core, work, &mut held.lease) {
                    Ok(_) => continue,
                    Err(broken) => broken,
                },
            };
            held.lease.torn = true;
            return Poll::Ready(self.tied_server_lost(&lost));
        }
        Poll::Pending
    }

    #[cold]
    pub(crate) fn tied_server_lost(&self, broken: &Broken) -> End {
        let report = match broken {
            Broken::Fatal(report) => ErrorReport::clone(report),
            Broken::Lost | Broken::Unusable | Broken::Protocol(_) => {
                ErrorReport::fatal(SqlState::ADMIN_SHUTDOWN, "the server connection of this session was lost")
            }
        };
        tracing::warn!(user = %self.cell.user, database = %self.cell.database, ?broken, "a session has lost its server");
        report.into()
    }

    /// After an error of our own in the extended protocol: all up to Sync is skipped, as a server would.
    #[cold]
    fn skip_to_sync(&mut self, work: &mut Work) -> Result<(), End> {
        loop {
            if work.up_left.advance(&mut work.up) {
                continue;
            }
            let head = wire::frame::peek(work.up.pending(), self.max_message).map_err(ErrorReport::from)?;
            let Some(head) = head.filter(|_| work.up_left.is_none()) else { return Ok(()) };
            if head.tag == wire::tag::TERMINATE {
                return Err(End::Terminate);
            }
            crate::admit::drop_message(work, head);
            if head.tag == wire::tag::SYNC {
                work.skipping = false;
                encode::ready_for_query(work.down.inject(), self.book.status_without_server());
                return Ok(());
            }
        }
    }
}
