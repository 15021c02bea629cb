//! One client's session: read request → sql facts → session ledger → route → lease → relay → release.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use backend::shared::Diverted;
use backend::{Lease, LocalGroup, Placement};
use config::PoolMode;
use net::Stream;
use route::{RoleReason, Target, TargetRole};
use wire::{ErrorReport, SqlState, encode};

use crate::aside::aside;
use crate::book::Book;
use crate::cell::{ClientCell, Doing, Signal};
use crate::context::Seat;
use crate::core::Core;
use crate::incoming::Next;
use crate::leave::shutdown;
use crate::own;
use crate::plan::{Malformed, Plan};
use crate::request::Request;
use crate::work::{Planned, Retry, Work};

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
    /// `failover.resolve_commits`.
    pub(crate) resolves: bool,
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
    /// Its place among the reads that the primary serves for replicas.
    pub(crate) _diverted: Option<Diverted>,
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

/// How a relay ended.
pub(crate) enum Relayed {
    /// The connection is at rest, or was given up.
    Done,
    /// The request is to be run again on the primary; `learn`: and always from now on.
    Again { learn: bool },
    /// The request is to be run again: its server connection was lost.
    Lost,
    /// The next request of a transaction that reads until it writes is pending, and planned.
    Next { request: Request, target: Target },
    /// The request is to be run again: what was taken for the primary is a standby.
    Misplaced,
}

/// A client's life from here on.
pub(crate) async fn run(beginning: impl Future<Output = Option<Session>> + Unpin) {
    let Some(mut session) = beginning.await else { return };
    let end = session.serve().await;
    aside(session.finish(end)).await;
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
                aside(self.farewell(&mut work, &end)).await;
                self.core.return_work(work);
                return end;
            }
            self.core.return_work(work);
            listening = true;
        }
    }

    /// Requests one after the other, until there is nothing more to do.
    async fn busy(&mut self, work: &mut Box<Work>) -> Result<(), End> {
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
                        aside(self.look_behind(work)).await?;
                    }
                }
                None => {
                    if self.book.asks_position {
                        aside(self.answer_position(work, request)).await?;
                    }
                    self.flush_client(work).await?;
                }
            }
            self.rest(work);
        }
    }

    /// Leases a connection for a request, and relays until it is at rest; once more on the primary if a replica
    /// refused what looked like a read.
    async fn run_request(
        &mut self,
        work: &mut Box<Work>,
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
                let leased = match work.lost_at.take() {
                    None => self.lease(work, target, now).await?,
                    // Other connections to that node may not know of their end yet.
                    Some(node) => aside(self.lease_apart_from(work, target, node)).await?,
                };
                match leased {
                    Ok(lease) => target = self.hold(lease, target),
                    Err(report) => return aside(self.refuse(work, request, *report)).await,
                }
                if self.resolves {
                    aside(self.prepare_resolve(work)).await;
                    work.server_heard = false;
                    if self.held.is_none() {
                        continue;
                    }
                }
                if self.book.seen.reads_at.is_some() {
                    target = aside(self.check_until_write(work, target)).await;
                    work.server_heard = false;
                    if self.held.is_none() {
                        continue;
                    }
                }
            }
            if self.book.listening.is_some() {
                aside(self.begin_as_listener(work)).await?;
                work.server_heard = false;
            }
            if !self.has_wanted() {
                let wanted = aside(self.want(work, request)).await?;
                work.server_heard = false;
                if let Err(report) = wanted {
                    return aside(self.refuse(work, request, report)).await;
                }
            }
            self.send_begin(work, request)?;
            self.prepare_retry(work, request, target);
            self.send_request(work, request)?;
            match self.relay(work).await? {
                Relayed::Done if self.book.listening.is_some() => {
                    return aside(self.settle_listening(work)).await;
                }
                Relayed::Done => return Ok(()),
                Relayed::Again { learn } => {
                    work.up.rewind();
                    self.book.learning = learn;
                    let planned = self.plan_request(work, &mut request);
                    self.book.learning = false;
                    let Some(again) = planned? else { return Ok(()) };
                    self.book.seen.reads_at = None;
                    target = Target { role: TargetRole::Primary, ..again };
                }
                again @ (Relayed::Lost | Relayed::Misplaced) => {
                    if matches!(again, Relayed::Misplaced) {
                        aside(self.wait_for_roles(target)).await;
                    }
                    work.up.rewind();
                    let Some(again) = self.plan_request(work, &mut request)? else { return Ok(()) };
                    target = again;
                }
                Relayed::Next { request: next, target: to } => {
                    (request, target) = match aside(self.go_on(work, to)).await? {
                        Ok(to) => (next, to),
                        Err(report) => return aside(self.refuse(work, next, *report)).await,
                    };
                    if self.book.asks_currval {
                        self.keep_sequences_apart();
                    }
                }
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
            Ok(Plan::Own) if self.book.asks_position => Ok(None), // it is found out first
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
    #[cold]
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

    /// Takes a connection in hand, and says where it is: a read may have gone to the primary instead.
    pub(crate) fn hold(&mut self, mut lease: Lease, mut target: Target) -> Target {
        let diversion = self.book.diversion.take();
        if diversion.is_some() {
            target.role = TargetRole::Primary;
        }
        if self.book.mode == PoolMode::Session {
            lease.doubt = true;
        }
        *self.cell.holds.borrow_mut() = Some(Rc::clone(&lease.handle));
        // A request that decided nothing (closing a statement) doesn't change where the last statement went.
        if let Some(last) = self.book.last.as_mut().filter(|last| last.node.is_none()) {
            last.node = Some(std::sync::Arc::clone(&lease.handle.pool.node));
        }
        let is_last = self.book.wrote_last_on(&lease);
        let discards =
            target.role == TargetRole::Primary && lease.has_stale_sequences(self.book.pid, is_last);
        let since = self.cell.doing().1;
        let diverted = diversion.and_then(|diversion| diversion.0);
        self.held = Some(Held { lease, target, in_transaction: false, since, discards, _diverted: diverted });
        target
    }

    /// A read that was split off by itself may be run again on the primary for as long as nothing was passed on, and
    /// elsewhere if its connection is lost.
    fn prepare_retry(&mut self, work: &mut Work, request: Request, target: Target) {
        let whole = matches!(request, Request::Single { .. } | Request::Pipeline { synced: true, .. });
        let alone = target.role == TargetRole::Replica
            && self.book.begun.is_none()
            && self.held.as_ref().is_some_and(|held| !held.in_transaction);
        // Who asked for a replica gets a replica's answer.
        let split = alone && self.book.routing.role == config::RoleSetting::Auto;
        let reads = self.book.last.as_ref().is_some_and(|last| matches!(last.reason.role, RoleReason::Reads));
        let tied = self.book.pin.is_some() || self.book.mode == PoolMode::Session;
        let names = !self.book.written.is_empty() || matches!(work.planned.front(), Some(Planned::Names(_)));
        let until_write = self.book.seen.reads_at.is_some() && target.role == TargetRole::Replica;
        work.misplaced = target.role == TargetRole::Primary
            && self.held.as_ref().is_some_and(|held| held.lease.handle.may_be_standby())
            && whole
            && self.may_be_misplaced(target);
        work.refusable = !tied && ((split && reads) || until_write);
        work.reads = whole && alone && !tied && !until_write && (work.refusable || self.only_reads(work));
        if work.misplaced
            || whole && (work.refusable || work.reads || (names && self.may_miss_names(work, request, tied)))
        {
            work.retry = Retry::Possible;
            work.up.hold();
        }
    }

    /// Whether a Query may fail for what becomes of names here: a function in it looks for what SQL has prepared, or what
    /// it executes was prepared before a table was changed (which a session that is tied is told). It can be run again
    /// then: it says what its rows are.
    #[cold]
    fn may_miss_names(&self, work: &Work, request: Request, tied: bool) -> bool {
        let alone = matches!(request, Request::Single { .. })
            && self.book.begun.is_none()
            && self.held.as_ref().is_some_and(|held| !held.in_transaction);
        match work.planned.front() {
            Some(Planned::Query(facts)) => alone && self.book.may_look_again(facts),
            Some(Planned::Names(facts)) => alone && !tied && facts.statements.len() == 1,
            _ => false,
        }
    }

    /// The session's configuration may have been replaced: from the next transaction on the new one holds.
    #[inline]
    fn follow_reload(&mut self) -> Result<(), End> {
        if self.group.shared.is_retired() && self.held.is_none() { self.take_new_group() } else { Ok(()) }
    }

    #[cold]
    fn take_new_group(&mut self) -> Result<(), End> {
        let directory = self.core.context.directory.load_full();
        let Some(group) = directory.group(&self.cell.database, &self.cell.user) else {
            let message = format!("database \"{}\" is no longer configured", self.cell.database);
            return Err(ErrorReport::fatal(SqlState::ADMIN_SHUTDOWN, message).into());
        };
        self.group = self.core.pools.group(&group);
        self.resolves = directory.config.resolve_commits;
        self.book.forget_catalogs();
        self.book.read_anew(&self.group.shared.clusters);
        self.placement = group.place_on(self.core.pools.core);
        self.book.mode = group.pool.mode;
        self.book.proven = Rc::clone(&self.group.proven);
        self.cell.set_limits(&group.pool);
        Ok(())
    }
}
