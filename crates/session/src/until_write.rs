//! Transactions that read on a replica until they write, and go on on the primary then (`route.transactions:
//! replica_until_write`).
//!
//! The replica runs a transaction of its own. What the client has said in it besides queries (SET, savepoints) is kept,
//! and said again on the primary behind BEGIN, in front of the request that moves the transaction, in the same packet.

use backend::Lease;
use route::{RoleReason, Target, TargetRole, UntilWrite as Phase};
use sql::facts::{Effect, Facts, Isolation, Kind, Name};
use wire::backend::TransactionStatus;
use wire::frontend::{BindHead, Query};
use wire::{ErrorReport, frame, tag};

use crate::book::{Begun, Book};
use crate::cell::Doing;
use crate::reply::Broken;
use crate::request::{self, Request};
use crate::session::{End, Held, Relayed, Session};
use crate::work::{Copy, Retry, Work};

/// A transaction that has said more than this goes to the primary: statements, and bytes of them.
const MOST_SAID: usize = 64;
const MOST_BYTES: usize = 32 << 10;

/// Whether a BEGIN that says no level is READ COMMITTED on this connection, whatever was set since: roles and databases
/// may have defaults of their own.
const DEFAULT_ISOLATION: &str = "SELECT reset_val, NULL, NULL FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'default_transaction_isolation'";

/// An open transaction that reads on a replica.
#[derive(Debug)]
pub(crate) struct UntilWrite {
    /// Where.
    target: Target,
    /// Its BEGIN.
    begun: Box<Begun>,
    /// It came with the request in hand, as the statement of this number.
    fresh: Option<u32>,
    /// What has been said, in order, without what a rollback or release has undone.
    said: Vec<Said>,
    /// The same of the request in hand, with the number of the statement there: it isn't known yet what is done.
    sent: Vec<(u32, Said)>,
    /// The last Bind of the request in hand, if it is to be noted when it is executed.
    bound: Option<Said>,
    /// Statements of the request in hand that were sent, and that were answered without an error.
    statements: u32,
    done: u32,
    /// A query was run: it has had a snapshot.
    has_read: bool,
}

/// A statement that is to be said again on the primary.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its text, as the client sent it.
    pub(crate) sql: Box<[u8]>,
    /// The parameter types of its Parse.
    pub(crate) types: Box<[u8]>,
    /// What its Bind said behind the names.
    pub(crate) values: Box<[u8]>,
    what: What,
}

/// What is said.
#[derive(Debug)]
enum What {
    Set,
    Savepoint(Name),
    Release(Name),
    RollbackTo(Name),
}

/// What was seen of a request, as far as it concerns such a transaction.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    /// It reads in such a transaction, there.
    pub(crate) reads_at: Option<Target>,
    /// What its first statement is, if such a transaction is open.
    pub(crate) first: Option<Kind>,
    /// It waits for the relay to end: the next request of such a transaction.
    pub(crate) next: Option<(Request, Target)>,
}

/// What becomes of what is pending in such a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It waits for answers, or for the rest of it.
    Wait,
    /// Its messages go where the transaction is, as they come.
    Bound,
    /// The relay ends, and the request is run by itself.
    Next,
}

impl UntilWrite {
    pub(crate) fn new(target: Target, begun: Box<Begun>) -> Box<Self> {
        Box::new(Self {
            target,
            begun,
            fresh: None,
            said: Vec::new(),
            sent: Vec::new(),
            bound: None,
            statements: 0,
            done: 0,
            has_read: false,
        })
    }

    /// Where it is open.
    pub(crate) fn target(&self) -> Target {
        self.target
    }

    /// How it was begun.
    pub(crate) fn begun(&self) -> &Begun {
        &self.begun
    }

    /// How far it is.
    pub(crate) fn phase(&self) -> Phase {
        if self.has_read { Phase::HasRead } else { Phase::Fresh }
    }

    /// It has said as much as may be said again.
    pub(crate) fn is_full(&self) -> bool {
        let bytes: usize = self.said.iter().map(|said| said.sql.len() + said.values.len()).sum();
        self.said.len() >= MOST_SAID || bytes > MOST_BYTES
    }

    /// A statement of the request in hand is being executed. (A Query's are one after the other.)
    pub(crate) fn execute(&mut self, statements: usize) {
        if let Some(said) = self.bound.take() {
            self.sent.push((self.statements, said));
        } else {
            self.has_read = true;
        }
        self.statements += u32::try_from(statements).unwrap_or(u32::MAX);
    }

    /// A statement was answered. Whether it was the BEGIN of a pipeline, which may be run again with the rest.
    pub(crate) fn note_done(&mut self) -> bool {
        self.done += 1;
        self.fresh == Some(self.done - 1)
    }

    /// The request is answered: what was done of it is kept.
    pub(crate) fn settle(&mut self) {
        for (number, said) in std::mem::take(&mut self.sent) {
            if number < self.done {
                self.keep(said);
            }
        }
        (self.bound, self.statements, self.done, self.fresh) = (None, 0, 0, None);
    }

    fn keep(&mut self, said: Said) {
        let savepoint = |name: &Name| {
            self.said.iter().rposition(|said| matches!(&said.what, What::Savepoint(known) if known == name))
        };
        match &said.what {
            What::Set | What::Savepoint(_) => self.said.push(said),
            // What was set since stays; the savepoints within are gone too.
            What::Release(name) => {
                if let Some(at) = savepoint(name) {
                    let within = self.said.split_off(at);
                    self.said.extend(within.into_iter().filter(|said| matches!(said.what, What::Set)));
                }
            }
            What::RollbackTo(name) => {
                if let Some(at) = savepoint(name) {
                    self.said.truncate(at + 1);
                }
            }
        }
    }

    /// The transaction as one that has yet to be begun, on the primary. `ends`: it has failed, and what comes next ends
    /// it.
    fn into_begun(self, ends: bool) -> Box<Begun> {
        let mut begun = self.begun;
        begun.failed = ends;
        begun.said = Some(self.said);
        begun
    }
}

impl Said {
    /// What these facts say, if it has to be said again. `values`: behind the names of Bind; none: a Query.
    fn new(facts: &Facts, sql: &[u8], types: &[u8], values: Option<&[u8]>) -> Option<Said> {
        let what = facts.statements.iter().flat_map(|statement| &statement.effects).find_map(what)?;
        // No formats, no values, no formats of the result.
        let values = values.unwrap_or(&[0; 6]).into();
        Some(Said { sql: sql.into(), types: types.into(), values, what })
    }
}

fn what(effect: &Effect) -> Option<What> {
    match effect {
        Effect::Set { .. } | Effect::SetLocal(_) | Effect::SetTransaction(_) => Some(What::Set),
        Effect::Savepoint(name) => Some(What::Savepoint(name.clone())),
        Effect::ReleaseSavepoint(name) => Some(What::Release(name.clone())),
        Effect::RollbackTo(name) => Some(What::RollbackTo(name.clone())),
        _ => None,
    }
}

/// Whether a text says something that would have to be said again.
pub(crate) fn says(facts: &Facts) -> bool {
    facts.statements.iter().flat_map(|statement| &statement.effects).any(|effect| what(effect).is_some())
}

impl Book {
    /// A pipeline's BEGIN is being sent to a replica, with reads behind it.
    #[cold]
    pub(crate) fn begin_until_write(&mut self, facts: &Facts, sql: &[u8]) {
        let (Some(target), [statement]) = (self.seen.reads_at, &facts.statements[..]) else { return };
        let Kind::Begin(begin) = statement.kind else { return };
        let begin = begin.or(self.routing.defaults);
        let begun = Begun { begin, hint: facts.hint.clone(), sql: sql.into(), ..Begun::lost(None) };
        let mut until = UntilWrite::new(target, Box::new(Begun { failed: false, ..begun }));
        if let Some(before) = &self.until_write {
            (until.statements, until.done) = (before.statements, before.done);
        }
        until.fresh = Some(until.statements);
        self.until_write = Some(until);
    }

    /// A Query is being sent.
    #[cold]
    pub(crate) fn note_query_said(&mut self, work: &Work, facts: &Facts) {
        let Some(until) = &mut self.until_write else { return };
        let pending = work.up.pending();
        let head = frame::peek(pending, frame::MAX_BODY).ok().flatten();
        let whole = head.and_then(|head| pending.get(..head.total).filter(|_| head.tag == tag::QUERY));
        until.bound = match whole.map(|whole| Query::parse(frame::body(whole))) {
            Some(Ok(query)) => Said::new(facts, query.sql, &[], None),
            _ => None,
        };
        until.execute(facts.statements.len());
    }

    /// A Bind of this text is being sent; it is at the front of what is pending.
    #[cold]
    pub(crate) fn note_bind_said(&mut self, work: &Work, facts: &Facts, sql: &[u8], types: &[u8]) {
        let Some(until) = &mut self.until_write else { return };
        let pending = work.up.pending();
        let head = frame::peek(pending, frame::MAX_BODY).ok().flatten();
        let values = head.and_then(|head| {
            let whole = pending.get(..head.total)?;
            let names = BindHead::parse(frame::body(whole), head.body()).ok()??;
            whole.get(frame::HEADER + names.values_offset..)
        });
        until.bound = values.and_then(|values| Said::new(facts, sql, types, Some(values)));
    }

    /// The request in hand is planned: whether such a transaction reads there, and may.
    #[cold]
    pub(crate) fn look_at(&mut self, verdict: &mut crate::plan::Verdict) {
        self.seen.first = verdict.first;
        let holds = verdict.holds;
        // Which of several are done when one of them fails, the session's settings aren't told.
        let too_much = verdict.says > 1 || self.until_write.as_ref().is_some_and(|until| until.is_full());
        let Some((target, reason)) = verdict.goes() else { return };
        if !matches!(reason, RoleReason::UntilWrite) {
            return;
        }
        if holds || too_much {
            target.role = TargetRole::Primary;
            *reason =
                if too_much { RoleReason::SaidTooMuch } else { RoleReason::Opens(route::Opened::Portal) };
        } else {
            self.seen.reads_at = Some(*target);
        }
    }
}

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

    /// Whether such a transaction may begin on the connection that was just leased. If not, the connection may be given
    /// back, and the request is the primary's.
    pub(crate) async fn check_until_write(&mut self, work: &mut Work, mut target: Target) -> Target {
        let Some(held) = &mut self.held else { return target };
        let asked = match &self.book.begun {
            Some(begun) => begun.begin.isolation,
            None => self.book.routing.defaults.isolation,
        };
        let at_primary = !is_replica(&held.lease);
        if !at_primary {
            if asked.is_some() {
                return target;
            }
            if held.lease.read_committed.is_none() {
                let limit = held.lease.handle.pool.settings.server_connect_timeout;
                let isolation =
                    crate::witness::ask(&mut held.lease, DEFAULT_ISOLATION, work.down.inject(), false);
                let isolation = tokio::time::timeout(limit, isolation).await;
                match isolation {
                    Ok(Ok(Ok(rows))) => {
                        let level = rows.into_iter().flatten().flatten().next();
                        let level = level.and_then(|level| Isolation::named(&level));
                        held.lease.read_committed = Some(level == Some(Isolation::ReadCommitted));
                    }
                    _ => held.lease.torn = true,
                }
            }
            if held.lease.read_committed == Some(true) {
                return target;
            }
        }
        target.role = TargetRole::Primary;
        self.book.seen.reads_at = None;
        if let Some(last) = &mut self.book.last {
            (last.target, last.reason.role) = (target, RoleReason::Transaction);
            if !at_primary {
                last.node = None;
            }
        }
        if at_primary {
            held.target = target;
        } else if let Some(held) = self.held.take() {
            self.let_go(held);
        }
        target
    }

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

fn is_replica(lease: &Lease) -> bool {
    let pool = &lease.handle.pool;
    let view = pool.cluster.view();
    let role = view.nodes().get(usize::from(pool.node.id.node.0)).and_then(|node| node.role);
    role == Some(config::NodeRole::Replica)
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
