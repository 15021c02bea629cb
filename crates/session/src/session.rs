//! One client's session: read request → sql facts → session ledger → route → lease → relay → release.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use backend::{Lease, LocalGroup, Placement};
use config::PoolMode;
use net::Stream;
use route::{RoleReason, Target, TargetRole};
use wire::{ErrorReport, SqlState, encode};

use crate::book::Book;
use crate::cell::{ClientCell, Doing, Kill, Signal};
use crate::context::Seat;
use crate::core::Core;
use crate::own;
use crate::pins;
use crate::plan::{Malformed, Plan};
use crate::reclaim::Unheard;
use crate::reply::Broken;
use crate::request::{self, Request};
use crate::work::{Left, Planned, Retry, Work};

/// One client's session.
pub(crate) struct Session {
    pub(crate) core: Rc<Core>,
    pub(crate) cell: Rc<ClientCell>,
    pub(crate) client: Stream,
    pub(crate) group: Rc<LocalGroup>,
    pub(crate) book: Book,
    /// The server connection in hand.
    pub(crate) held: Option<Held>,
    pub(crate) max_message: usize,
    /// Keep their places for as long as the session lives.
    pub(crate) seat: Seat,
    pub(crate) placement: Placement,
}

/// A server connection in a session's hand.
pub(crate) struct Held {
    pub(crate) lease: Lease,
    pub(crate) target: Target,
    /// Whether a transaction is open once all that was sent is done.
    pub(crate) in_transaction: bool,
    /// When it was leased, for the statistics.
    pub(crate) since: Instant,
    /// What is left of other sessions' sequences is to be discarded first.
    pub(crate) discards: bool,
}

/// Why a session ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The client said goodbye.
    Terminate,
    /// The client is gone: its socket was closed or failed.
    Gone,
    /// The client is sent away with this error.
    Fatal(Box<ErrorReport>),
}

impl From<ErrorReport> for End {
    fn from(report: ErrorReport) -> Self {
        Self::Fatal(Box::new(report))
    }
}

/// What there is to do next.
enum Next {
    /// A request is in hand.
    Request(Request),
    /// Nothing at all.
    Idle,
}

/// How a relay ended.
pub(crate) enum Relayed {
    /// The connection is at rest, or was given up.
    Done,
    /// The request is to be run again on the primary; `learn`: and always from now on.
    Again { learn: bool },
}

/// A client's life from here on.
pub(crate) async fn run(beginning: impl Future<Output = Option<Session>> + Unpin) {
    let Some(mut session) = beginning.await else { return };
    let end = session.serve().await;
    Box::pin(session.finish(end)).await;
}

impl Session {
    async fn serve(&mut self) -> End {
        let mut listening = false;
        loop {
            let idle = self.idle(listening).await;
            let mut work = self.core.lend_work();
            let outcome = match idle {
                Ok(()) => self.busy(&mut work).await,
                Err(end) => Err(end),
            };
            if let Err(end) = outcome {
                self.leave_server(&mut work);
                Box::pin(self.farewell(&mut work, &end)).await;
                self.core.return_work(work);
                return end;
            }
            self.core.return_work(work);
            listening = true;
        }
    }

    /// Requests one after the other, until there is nothing more to do.
    async fn busy(&mut self, work: &mut Work) -> Result<(), End> {
        loop {
            let mut request = match self.next_request(work).await? {
                Next::Request(request) => request,
                Next::Idle => return Ok(()),
            };
            let now = Instant::now();
            self.cell.set_doing(Doing::Active, now);
            match self.plan_request(work, &mut request)? {
                Some(target) => {
                    self.run_request(work, request, target, now).await?;
                    if self.book.watch.is_some() {
                        Box::pin(self.look_behind(work)).await?;
                    }
                }
                None => self.flush_client(work).await?,
            }
            self.rest(work);
        }
    }

    /// Leases a connection for a request, and relays until it is at rest; once more on the primary if a replica
    /// refused what looked like a read.
    async fn run_request(
        &mut self,
        work: &mut Work,
        mut request: Request,
        mut target: Target,
        now: Instant,
    ) -> Result<(), End> {
        if target.role == TargetRole::Replica && !work.down.is_flushed() {
            // What a replica's answer holds back must be its own alone.
            self.flush_client(work).await?;
        }
        if self.book.asks_currval {
            self.keep_sequences_apart();
        }
        loop {
            if self.held.is_none() {
                match self.lease(work, target, now).await? {
                    Ok(lease) => self.hold(lease, target),
                    Err(report) => return Box::pin(self.refuse(work, request, *report)).await,
                }
            }
            if self.book.listening.is_some() {
                Box::pin(self.begin_as_listener(work)).await?;
            }
            if !self.has_wanted()
                && let Err(report) = Box::pin(self.want(work, request)).await?
            {
                return Box::pin(self.refuse(work, request, report)).await;
            }
            self.send_begin(work, request)?;
            self.prepare_retry(work, request, target);
            self.send_request(work, request)?;
            match self.relay(work).await? {
                Relayed::Done if self.book.listening.is_some() => {
                    return Box::pin(self.settle_listening(work)).await;
                }
                Relayed::Done => return Ok(()),
                Relayed::Again { learn } => {
                    work.up.rewind();
                    self.book.learning = learn;
                    let planned = self.plan_request(work, &mut request);
                    self.book.learning = false;
                    let Some(again) = planned? else { return Ok(()) };
                    target = Target { role: TargetRole::Primary, ..again };
                }
            }
        }
    }

    /// Waits for the client without holding anything; also for whoever wants the session to end. `listening`: the
    /// sockets were found empty a moment ago, and will wake this task.
    async fn idle(&mut self, mut listening: bool) -> Result<(), End> {
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
    async fn next_request(&mut self, work: &mut Work) -> Result<Next, End> {
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

    pub(crate) fn tied_server_lost(&self, broken: &Broken) -> End {
        let report = match broken {
            Broken::Fatal(report) => ErrorReport::clone(report),
            Broken::Lost | Broken::Protocol(_) => {
                ErrorReport::fatal(SqlState::ADMIN_SHUTDOWN, "the server connection of this session was lost")
            }
        };
        tracing::warn!(user = %self.cell.user, database = %self.cell.database, ?broken, "a session has lost its server");
        report.into()
    }

    /// After an error of our own in the extended protocol: all up to Sync is skipped, as a server would.
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

    /// Where a request goes; `None` if it was answered without a server.
    fn plan_request(&mut self, work: &mut Work, request: &mut Request) -> Result<Option<Target>, End> {
        self.follow_reload()?;
        self.book.follow_catalogs(&self.group.shared);
        let map = &self.group.shared.map;
        work.planned.clear();
        let total = match *request {
            Request::Single { total } | Request::Pipeline { total, .. } => total,
            _ => 0,
        };
        let plan = if matches!(request, Request::Long) {
            Ok(self.book.plan_unknown(map, work, "a text too long to look at", None))
        } else {
            let whole = !matches!(request, Request::Pipeline { synced: false, .. });
            self.book.plan(&self.core, map, work, total, whole)
        };
        match plan {
            Ok(Plan::Go(target)) => {
                let local = own::answer_transaction(self, work, *request);
                Ok(if local { None } else { Some(target) })
            }
            Ok(Plan::Own) => {
                own::answer_request(self, work, *request)?;
                Ok(None)
            }
            Ok(Plan::Refuse(report)) => {
                self.answer_with_error(work, *request, &report);
                Ok(None)
            }
            Err(Malformed { at: 0, report }) => {
                self.answer_with_error(work, *request, &report);
                Ok(None)
            }
            Err(Malformed { at, .. }) => {
                // What comes before it is done first; it is met again then.
                *request = Request::Pipeline { total: at, synced: false };
                self.plan_request(work, request)
            }
        }
    }

    /// Drops a request and answers it with an error, as a server would: Z after a Query, silence up to Sync after an
    /// extended message.
    pub(crate) fn answer_with_error(&mut self, work: &mut Work, request: Request, report: &ErrorReport) {
        if let Some(begun) = &mut self.book.begun {
            begun.failed = true;
        }
        work.planned.clear();
        encode::error_response(work.down.inject(), report);
        match request {
            Request::Single { total } => {
                work.up.skip(total);
                encode::ready_for_query(work.down.inject(), self.book.status_without_server());
            }
            Request::Long => {
                if let Ok(Some(head)) = wire::frame::peek(work.up.pending(), self.max_message) {
                    crate::admit::drop_message(work, head);
                }
                encode::ready_for_query(work.down.inject(), self.book.status_without_server());
            }
            _ => work.skipping = true,
        }
    }

    async fn refuse(&mut self, work: &mut Work, request: Request, report: ErrorReport) -> Result<(), End> {
        self.answer_with_error(work, request, &report);
        self.flush_client(work).await
    }

    /// Writes all that the client is owed. A client that doesn't read can still be sent away.
    pub(crate) async fn flush_client(&mut self, work: &mut Work) -> Result<(), End> {
        poll_fn(|cx| {
            if let Some(Signal::Kill(_)) = self.cell.poll_signal(cx) {
                return Poll::Ready(Err(shutdown().into()));
            }
            work.down.poll_flush(cx, &mut self.client).map_err(|_| End::Gone)
        })
        .await
    }

    fn hold(&mut self, mut lease: Lease, target: Target) {
        if self.book.mode == PoolMode::Session {
            lease.doubt = true;
        }
        *self.cell.holds.borrow_mut() = Some(Rc::clone(&lease.handle));
        // A request that decided nothing (closing a statement) doesn't change where the last statement went.
        if let Some(last) = self.book.last.as_mut().filter(|last| last.node.is_none()) {
            last.node = Some(std::sync::Arc::clone(&lease.handle.pool.node));
        }
        let discards = lease.has_foreign_sequences(self.book.pid) && target.role == TargetRole::Primary;
        let since = self.cell.doing().1;
        self.held = Some(Held { lease, target, in_transaction: false, since, discards });
    }

    /// A read that was split off by itself may be run again on the primary for as long as nothing was passed on.
    fn prepare_retry(&mut self, work: &mut Work, request: Request, target: Target) {
        let whole = matches!(request, Request::Single { .. } | Request::Pipeline { synced: true, .. });
        let split = self.book.routing.role == config::RoleSetting::Auto
            && target.role == TargetRole::Replica
            && self.book.begun.is_none()
            && self.held.as_ref().is_some_and(|held| !held.in_transaction);
        // Who asked for a replica gets a replica's answer.
        let reads = self.book.last.as_ref().is_some_and(|last| matches!(last.reason.role, RoleReason::Reads));
        let tied = self.book.pin.is_some() || self.book.mode == PoolMode::Session;
        let names = !self.book.written.is_empty() || matches!(work.planned.front(), Some(Planned::Names(_)));
        if whole && !tied && ((split && reads) || (names && self.may_miss_names(work, request))) {
            work.retry = Retry::Possible;
            work.up.hold();
        }
    }

    /// Whether a Query may fail for what becomes of names here: a function in it looks for what SQL has prepared, or what
    /// it executes was prepared before a table was changed. It can be run again then: it says what its rows are.
    #[cold]
    fn may_miss_names(&self, work: &Work, request: Request) -> bool {
        let alone = matches!(request, Request::Single { .. })
            && self.book.begun.is_none()
            && self.held.as_ref().is_some_and(|held| !held.in_transaction);
        match work.planned.front() {
            Some(Planned::Query(facts)) => alone && self.book.may_look_again(facts),
            Some(Planned::Names(facts)) => alone && facts.statements.len() == 1,
            _ => false,
        }
    }

    /// The session's configuration may have been replaced: from the next transaction on the new one holds.
    fn follow_reload(&mut self) -> Result<(), End> {
        if !self.group.shared.is_retired() || self.held.is_some() {
            return Ok(());
        }
        let directory = self.core.context.directory.load_full();
        let Some(group) = directory.group(&self.cell.database, &self.cell.user) else {
            let message = format!("database \"{}\" is no longer configured", self.cell.database);
            return Err(ErrorReport::fatal(SqlState::ADMIN_SHUTDOWN, message).into());
        };
        self.group = self.core.pools.group(&group);
        self.book.forget_catalogs();
        self.placement = group.place_on(self.core.pools.core);
        self.book.mode = group.pool.mode;
        self.book.proven = Rc::clone(&self.group.proven);
        self.cell.set_limits(&group.pool);
        Ok(())
    }

    /// The end of a request: the connection goes back, unless the session is tied to it.
    fn rest(&mut self, work: &Work) {
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
        self.remember_writer(&held);
        if self.book.listening.is_some() {
            held.lease.sender.set(None);
        }
        let clean = held.lease.is_at_rest() && !held.lease.doubt && !held.lease.spent && unheard.is_empty();
        if clean && held.lease.handle.cancels.get() == 0 {
            held.lease.release();
        } else {
            self.core.reclaim(held.lease, unheard);
        }
    }

    /// The session ends: what it leaves on a server is cleaned up behind it.
    fn leave_server(&mut self, work: &mut Work) {
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
        }
    }

    async fn farewell(&mut self, work: &mut Work, end: &End) {
        match end {
            End::Fatal(report) => encode::error_response(work.down.inject(), report),
            End::Terminate => {}
            End::Gone => return,
        }
        let flush = poll_fn(|cx| work.down.poll_flush(cx, &mut self.client));
        // A client that doesn't read keeps nobody.
        let _: Result<io::Result<()>, _> =
            tokio::time::timeout(std::time::Duration::from_secs(1), flush).await;
    }

    async fn finish(&mut self, end: End) {
        if let End::Fatal(report) = &end {
            tracing::info!(user = %self.cell.user, database = %self.cell.database, pid = self.cell.pid, %report, "client sent away");
        }
        self.core.leave(self.cell.pid);
        let shutdown = poll_fn(|cx| self.client.poll_shutdown(cx));
        let _: Result<io::Result<()>, _> =
            tokio::time::timeout(std::time::Duration::from_secs(1), shutdown).await;
    }
}

pub(crate) fn shutdown() -> ErrorReport {
    ErrorReport::fatal(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}
