//! The relay between a client and the server connection that it holds: one write for each read, both ways at once.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use backend::{PoolStats, Server};
use config::{Balance, Consistency, PoolMode};
use route::{Target, TargetRole};
use wire::backend::TransactionStatus;
use wire::frame::{self, Head};
use wire::{ErrorReport, SqlState, encode, tag};

use crate::admit::{Admission, drop_message, invalid_message};
use crate::aside::aside;
use crate::cell::{Doing, Kill, Signal};
use crate::core::Core;
use crate::expect::Expect;
use crate::loss::Broken;
use crate::plan::Plan;
use crate::request::{self, Request};
use crate::session::{End, Relayed, Session};
use crate::until_write::Step;
use crate::work::{Copy, Planned, Retry, Work};

/// What one turn of the relay came to.
enum Turn {
    Relayed(Relayed),
    /// The server connection is lost; the client stays.
    Broken(Broken),
}

impl Session {
    /// Sends the messages of a planned request on their way.
    pub(crate) fn send_request(&mut self, work: &mut Work, request: Request) -> Result<(), End> {
        let Some(held) = &mut self.held else { return Ok(()) };
        let (mut left, by_message) = match request {
            Request::Single { total } => (total, false),
            // What ends its transaction may have to wait.
            Request::Pipeline { total, .. } => (total, work.resolve.is_some()),
            _ => (0, false),
        };
        let mut first = true;
        while left > 0 || (first && matches!(request, Request::Long)) {
            first = false;
            let Some(head) = frame::peek(work.up.pending(), self.max_message).map_err(ErrorReport::from)?
            else {
                break;
            };
            let mut admission = admission(&self.core, &self.group, held.target, &mut held.in_transaction);
            self.book.admit(&mut admission, work, &mut held.lease, head)?;
            left = left.saturating_sub(head.total);
            if by_message && held.lease.unsynced {
                work.planned.clear(); // the relay takes the rest
                break;
            }
        }
        let Some(held) = &mut self.held else { return Ok(()) };
        if work.retry == Retry::No {
            self.book.answer(work, &held.lease);
        }
        Ok(())
    }

    /// Relays until the connection is at rest and nothing ties the session to it.
    pub(crate) async fn relay(&mut self, work: &mut Work) -> Result<Relayed, End> {
        if !work.up.pending().is_empty() {
            self.take_more(work)?;
        }
        match poll_fn(|cx| self.poll_relay(cx, work)).await? {
            Turn::Relayed(relayed) => {
                match relayed {
                    Relayed::Again { .. } => self.give_up_replica(work),
                    Relayed::Misplaced => {
                        self.give_up_standby();
                        self.give_up_replica(work);
                    }
                    Relayed::Done | Relayed::Lost | Relayed::Next { .. } => {}
                }
                Ok(relayed)
            }
            Turn::Broken(broken) if self.takes_back(work, &broken) => Ok(Relayed::Lost),
            Turn::Broken(broken) => {
                match self.go_on_without(work, &broken) {
                    Some(again @ Relayed::Again { .. }) => {
                        self.give_up_replica(work);
                        return Ok(again);
                    }
                    Some(relayed) => return Ok(relayed),
                    None => {}
                }
                if work.resolve.is_some() && aside(self.resolve_commit(work, &broken)).await? {
                    return Ok(Relayed::Done);
                }
                self.server_lost(work, broken)?;
                Ok(Relayed::Done)
            }
        }
    }

    /// One wake-up: all that can be done without waiting.
    fn poll_relay(&mut self, cx: &mut TaskContext<'_>, work: &mut Work) -> Poll<Result<Turn, End>> {
        loop {
            match self.cell.poll_signal(cx) {
                None => {}
                Some(Signal::ServerUnusable) => {
                    self.cell.clear_signal();
                    if self.server_is_unusable() {
                        return Poll::Ready(Ok(Turn::Broken(Broken::Unusable)));
                    }
                }
                Some(signal) => self.obey(signal)?,
            }
            if let Some((request, target)) = self.book.seen.next.take() {
                return Poll::Ready(Ok(Turn::Relayed(Relayed::Next { request, target })));
            }
            let Some(held) = &mut self.held else { return Poll::Ready(Ok(Turn::Relayed(Relayed::Done))) };
            let (mut progress, mut full) = (false, false);

            // Client to server: what may be sent.
            if let Poll::Ready(Err(_)) = work.up.poll_flush(cx, &mut held.lease.stream) {
                // Its last words may still be there to be read.
                held.lease.torn = true;
            }

            // Server to client.
            if std::mem::take(&mut work.server_heard) {
                // It has said nothing yet.
            } else if work.down.has_room() {
                match work.down.poll_fill(cx, &mut held.lease.stream) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ok(Turn::Broken(Broken::Lost))),
                    Poll::Ready(Ok(_)) => {
                        progress = true;
                        match self.book.hear(&self.core, work, &mut held.lease) {
                            Ok(true) => {
                                if let Some(relayed) = self.at_ready(work) {
                                    return Poll::Ready(Ok(Turn::Relayed(relayed)));
                                }
                            }
                            Ok(false) => {}
                            Err(broken) => return Poll::Ready(Ok(Turn::Broken(broken))),
                        }
                        // What the client has sent may have waited for this answer.
                        if !work.up.pending().is_empty() {
                            self.take_more(work)?;
                        }
                    }
                    Poll::Pending => {}
                }
            } else {
                full = true;
            }
            if work.retry == Retry::No {
                match work.down.poll_flush(cx, &mut self.client) {
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Gone)),
                    // There is room now: the server is to be read again.
                    Poll::Ready(Ok(())) => progress |= full,
                    Poll::Pending => {}
                }
            }

            // Client to server: what comes next.
            if work.up.has_room() && !work.is_swamped() {
                match work.up.poll_fill(cx, &mut self.client) {
                    // It said goodbye behind what is still being done.
                    Poll::Ready(Ok(0)) if work.up.pending().first() == Some(&tag::TERMINATE) => {}
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(End::Gone)),
                    Poll::Ready(Ok(_)) => {
                        progress = true;
                        self.take_more(work)?;
                    }
                    Poll::Pending => {}
                }
            }
            if !progress {
                // The last that was sent may be what the server had no use for any more, or what nothing answers.
                let over = self.is_over(work);
                return if over { Poll::Ready(Ok(Turn::Relayed(Relayed::Done))) } else { Poll::Pending };
            }
        }
    }

    /// A ReadyForQuery came. `Some`: the relay is over.
    pub(crate) fn at_ready(&mut self, work: &mut Work) -> Option<Relayed> {
        let held = self.held.as_mut()?;
        let stats = &held.lease.pool().stats;
        let answered = std::mem::take(&mut work.answered);
        PoolStats::add(&stats.queries, answered.queries.into());
        if held.target.role == TargetRole::Replica {
            PoolStats::add(&stats.reads, answered.queries.into());
        }
        PoolStats::add(&stats.transactions, answered.transactions.into());
        if held.lease.owed > 0 {
            if held.lease.status == TransactionStatus::Idle {
                self.cell.next_transaction(Instant::now());
            }
            return None;
        }
        match work.retry {
            Retry::No | Retry::Possible => {}
            Retry::Wanted { .. } if work.misplaced => return Some(Relayed::Misplaced),
            Retry::Wanted { learn } => return Some(Relayed::Again { learn }),
            Retry::Refused => {
                self.leave_at_gate(work);
                return Some(Relayed::Done);
            }
        }
        let now = Instant::now();
        held.in_transaction = held.lease.status != TransactionStatus::Idle;
        if !held.in_transaction {
            self.book.until_write = None;
        }
        PoolStats::add(&stats.received, work.up.take_read());
        PoolStats::add(&stats.sent, work.down.take_read());
        let took = now - self.cell.doing().1;
        PoolStats::add_time(&stats.query_time, took);
        if held.target.role == TargetRole::Replica && self.group.shared.route.balance == Balance::PeakEwma {
            held.lease.pool().note_answer(took, now);
        }
        if held.in_transaction {
            self.cell.set_doing(Doing::IdleInTransaction, now);
            if work.resolve.is_some() {
                self.ask_at_rest(work);
            }
            return None;
        }
        PoolStats::add_time(&stats.transaction_time, now - held.since);
        if self.book.routing.consistency != Consistency::Eventual {
            self.book.note_seen(&held.lease, held.target, now);
        }
        if work.changes_catalog {
            work.changes_catalog = false;
            self.group.shared.mark_catalogs_changed();
        }
        self.is_over(work).then_some(Relayed::Done)
    }

    /// Nothing is due and nothing is left half sent.
    fn is_over(&self, work: &Work) -> bool {
        let at_rest = self.held.as_ref().is_some_and(|held| held.lease.is_at_rest() && !held.in_transaction);
        at_rest
            && work.expects.is_empty()
            && work.up_left.is_none()
            && work.up.is_flushed()
            && work.copy == Copy::No
            && work.down.pending().is_empty()
            && work.down_left.is_none()
    }

    /// More of the client is in hand: inside a transaction each message goes on its way as it comes; outside of one a
    /// request that would go to the same primary does too, so that a pipeline is never held up.
    fn take_more(&mut self, work: &mut Work) -> Result<(), End> {
        self.give_own_answers(work);
        loop {
            if work.up_left.advance(&mut work.up) {
                continue;
            }
            if !work.up_left.is_none() {
                return Ok(());
            }
            let Some(held) = &self.held else { return Ok(()) };
            if self.book.gate.is_pending() && !held.lease.unsynced {
                break; // what comes behind another Sync would not be skipped
            }
            let bound = held.in_transaction || held.lease.unsynced || work.copy == Copy::In;
            let went_on = if !bound {
                self.take_request(work)?
            } else if self.book.until_write.is_some() && !held.lease.unsynced && work.copy != Copy::In {
                match self.next_until_write(work)? {
                    Step::Bound => self.take_message(work)?,
                    Step::Wait | Step::Next => false,
                }
            } else {
                self.take_message(work)?
            };
            if !went_on {
                break;
            }
        }
        self.give_own_answers(work);
        Ok(())
    }

    /// Gives the answers of our own that nothing of the server's comes before.
    fn give_own_answers(&mut self, work: &mut Work) {
        if let Some(held) = &self.held
            && work.retry == Retry::No
        {
            self.book.answer(work, &held.lease);
            if held.in_transaction && held.lease.owed == 0 && !held.lease.unsynced && work.expects.is_empty()
            {
                self.cell.set_doing(Doing::IdleInTransaction, self.cell.doing().1);
            }
        }
    }

    /// One message inside a transaction or a pipeline.
    fn take_message(&mut self, work: &mut Work) -> Result<bool, End> {
        let Some(held) = &mut self.held else { return Ok(false) };
        let in_copy = work.copy == Copy::In;
        if self.book.open_entries.is_some() || self.book.watch.is_some() {
            self.book.set_behind_reset(work, &mut held.lease);
        }
        let pending = work.up.pending();
        let here = pending.len();
        let head = match frame::peek(pending, self.max_message) {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(false),
            Err(_) if !in_copy && wait_for_answers(work, &held.lease) => return Ok(false),
            Err(error) => return Err(ErrorReport::from(error).into()),
        };
        let mut plan = Ok(Plan::Go(held.target));
        match head.tag {
            // What was sent before it is done first, as a server would.
            tag::TERMINATE if held.lease.owed > 0 && !in_copy => return Ok(false),
            tag::TERMINATE => return Err(End::Terminate),
            other if !in_copy && !tag::is_frontend(other) => {
                return if wait_for_answers(work, &held.lease) {
                    Ok(false)
                } else {
                    Err(invalid_message(other).into())
                };
            }
            other if other != tag::SYNC && work.failed && held.lease.unsynced && work.expects.is_empty() => {
                // The server has reported an error and skips all up to Sync.
                drop_message(work, head);
                return Ok(true);
            }
            tag::COPY_DATA if in_copy => {}
            // Whether it is COPY data is known when the statement before it is answered.
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL if !in_copy && work.expects.may_copy() => {
                wait_for_answers(work, &held.lease);
                return Ok(false);
            }
            tag::QUERY | tag::FUNCTION_CALL if head.total > request::MAX_TEXT => {
                let map = &self.group.shared.map;
                plan = Ok(self.book.plan_unknown(map, work, "a text too long to look at", Some(held.target)));
            }
            tag::BIND if here < head.total && names_are_here(pending, head)? => {}
            _ if here < head.total => {
                if head.total > request::MAX_TEXT && !in_copy {
                    return Err(ErrorReport::fatal(
                        SqlState::PROGRAM_LIMIT_EXCEEDED,
                        "a message is too long",
                    )
                    .into());
                }
                work.up.make_room_for(head.total);
                return Ok(false);
            }
            _ if in_copy => {}
            _ => {
                let map = &self.group.shared.map;
                plan = self.book.plan_bound(&self.core, map, work, head, held.target);
            }
        }
        if self.cell.doing().0 != Doing::Active {
            self.cell.set_doing(Doing::Active, Instant::now());
        }
        if work.resolve.is_some() {
            if matches!(plan, Ok(Plan::Go(_))) && !in_copy && self.holds_back(work, head) {
                work.planned.clear();
                return Ok(false);
            }
            if head.tag == tag::QUERY
                && let Some(report) = Self::refused_id(work)
            {
                plan = Err(report);
            }
        }
        let Some(held) = &mut self.held else { return Ok(false) };
        let refused = match plan {
            Ok(Plan::Refuse(report)) => Some(*report),
            Err(report) => Some(report),
            Ok(Plan::Go(_) | Plan::Own) => None,
        };
        match refused {
            Some(report) => {
                work.planned.clear();
                if head.tag == tag::QUERY || head.tag == tag::FUNCTION_CALL {
                    self.book.refuse_query(work, &mut held.lease, head, report);
                } else {
                    self.book.refuse_extended(work, head, report);
                    held.lease.unsynced = head.tag != tag::SYNC;
                    if head.tag == tag::SYNC {
                        encode::sync(work.up.inject());
                        work.expects.push(Expect::Sync);
                        work.owe_ready(&mut held.lease);
                    }
                }
            }
            None => {
                let mut admission = admission(&self.core, &self.group, held.target, &mut held.in_transaction);
                self.book.admit(&mut admission, work, &mut held.lease, head)?;
            }
        }
        Ok(true)
    }

    /// A request behind one that is not yet answered, outside of a transaction. It goes on if it goes to the same
    /// place anyway; otherwise it waits until the connection is at rest.
    fn take_request(&mut self, work: &mut Work) -> Result<bool, End> {
        let Some(held) = &self.held else { return Ok(false) };
        if self.book.listening.is_some() {
            return Ok(false); // each of its transactions is settled before the next
        }
        let tied = self.book.pin.is_some() || self.book.mode == PoolMode::Session;
        let Ok(found) = request::delimit(work.up.pending(), self.max_message) else {
            return Ok(false); // the client is told once what came before is answered
        };
        let total = match found {
            Request::Terminate if held.lease.owed == 0 => return Err(End::Terminate),
            Request::Incomplete(need) => {
                work.up.make_room_for(need);
                return Ok(false);
            }
            Request::Single { total } | Request::Pipeline { total, .. } if total > 0 => total,
            _ => return Ok(false),
        };
        let settled = self.book.gate.is_open() && Rc::ptr_eq(&held.lease.applied, &self.book.wanted);
        if held.target.role != TargetRole::Primary || tied || work.retry != Retry::No || !settled {
            return Ok(false);
        }
        work.planned.clear();
        let whole = !matches!(found, Request::Pipeline { synced: false, .. });
        let plan = self.book.plan(&self.core, &self.group.shared.map, work, total, whole);
        let same = matches!(plan, Ok(Plan::Go(target)) if target == held.target);
        let plain = work.planned.iter().all(|planned| match planned {
            Planned::Query(facts) => is_plain(facts),
            Planned::Parse { text, .. } => is_plain(&text.facts),
            Planned::Names(_) => false,
        });
        if !same || !plain {
            work.planned.clear();
            return Ok(false);
        }
        if let Some(last) = &mut self.book.last {
            last.node = Some(std::sync::Arc::clone(&held.lease.handle.pool.node));
        }
        if let Some(resolve) = &mut work.resolve {
            resolve.begin_anew();
        }
        self.send_request(work, found)?;
        Ok(true)
    }

    /// Somebody wants something of a session that is busy.
    #[cold]
    fn obey(&mut self, signal: Signal) -> Result<(), End> {
        let at_rest = self.held.as_ref().is_none_or(|held| held.lease.is_at_rest());
        let kill = |code, message: &'static str| Err(End::from(ErrorReport::fatal(code, message)));
        match signal {
            Signal::Stop if at_rest => {
                kill(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
            }
            Signal::Stop => Ok(()), // once its transaction is over
            Signal::Cancel | Signal::WaitedTooLong | Signal::ServerUnusable | Signal::Kill(Kill::Idle) => {
                self.cell.clear_signal(); // it came too late
                Ok(())
            }
            Signal::Kill(Kill::Shutdown) => {
                kill(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
            }
            Signal::Kill(Kill::IdleInTransaction) => {
                kill(SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT, "idle_transaction_timeout")
            }
            Signal::Kill(Kill::TransactionTooLong) => kill(SqlState::QUERY_CANCELED, "transaction_timeout"),
            Signal::Kill(Kill::QueryTooLong) => kill(SqlState::QUERY_CANCELED, "query_timeout"),
        }
    }

    /// A replica refused the request, say: its connection goes back, and the request is pending again.
    #[cold]
    fn give_up_replica(&mut self, work: &mut Work) {
        self.book.take_names_back(work);
        self.take_back();
        self.book.watch = None;
        work.reset_request();
        if let Some(held) = self.held.take_if(|_| !self.book.is_tied()) {
            if held.in_transaction {
                self.note_left(&held);
            }
            self.let_go(held);
        }
    }
}

/// Whether something is still to be answered, which goes before what is in hand. The server is asked for it.
#[cold]
pub(crate) fn wait_for_answers(work: &mut Work, server: &Server) -> bool {
    let due = server.owed > 0 || !work.expects.is_empty();
    if due && server.unsynced && !work.expects.ends_with_flush() {
        encode::flush(work.up.inject());
        work.expects.push(Expect::OwnFlush);
    }
    due
}

/// Whether a text has nothing that the session would have to take note of, so that it may follow unanswered ones.
fn is_plain(facts: &sql::facts::Facts) -> bool {
    let nothing = facts.statements.iter().all(|s| s.effects.is_empty() && !s.alone);
    nothing && !facts.names_prepared && !crate::own::is_own(facts)
}

/// Whether the names of a Bind are in hand.
fn names_are_here(pending: &[u8], head: Head) -> Result<bool, End> {
    let body = pending.get(frame::HEADER..).unwrap_or_default();
    let names = wire::frontend::BindHead::parse(body, head.body()).map_err(ErrorReport::from)?;
    Ok(names.is_some())
}

fn admission<'a>(
    core: &'a Core,
    group: &'a backend::LocalGroup,
    target: Target,
    in_transaction: &'a mut bool,
) -> Admission<'a> {
    let shared = &group.shared;
    Admission {
        core,
        target,
        map: &shared.map,
        database: &shared.database,
        user: &shared.user,
        group: shared.id,
        in_transaction,
    }
}
