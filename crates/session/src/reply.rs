//! What a server says: each message is matched with what is expected, and passes, or doesn't.
//!
//! Rows and COPY data are never looked into: their heads are scanned, the bytes pass in bulk. What is looked at is
//! short, and held until it is whole.

use std::rc::Rc;

use backend::{Parameters, Server};
use route::consistency::Slots;
use sql::facts::Effect;
use wire::backend::{DataRow, ErrorFields, ParameterStatus, ReadyForQuery, TransactionStatus};
use wire::{ErrorReport, Severity, SqlState, encode, frame, tag};

use crate::book::Book;
use crate::core::Core;
use crate::expect::{Expect, StatementName, Text};
use crate::gate::{self, Outcome};
use crate::loss::MayCommit;
use crate::pipe::Pipe;
use crate::work::{Copy, Left, Retry, Work};

/// A message that is looked at is never longer than this; a longer error or notice passes unseen.
const MAX_WHOLE: usize = 64 << 10;

/// The server connection is of no use any more.
#[derive(Debug)]
pub(crate) enum Broken {
    /// It was closed, or the socket failed.
    Lost,
    /// Its node is down, or isn't used any more.
    Unusable,
    /// It said goodbye with this error.
    Fatal(Box<ErrorReport>),
    /// It said something that nobody asked for.
    Protocol(&'static str),
}

impl Broken {
    /// Whether it may be that the server is gone, and not this connection alone.
    pub(crate) fn says_of_the_server(&self) -> bool {
        match self {
            Broken::Lost => true,
            Broken::Fatal(report) => report.code.is_server_going(),
            // That is known.
            Broken::Unusable | Broken::Protocol(_) => false,
        }
    }
}

impl Book {
    /// Goes through what the server has said. True if a ReadyForQuery was among it.
    pub(crate) fn hear(&mut self, core: &Core, work: &mut Work, server: &mut Server) -> Result<bool, Broken> {
        let mut ready = false;
        loop {
            if work.down_left.advance(&mut work.down) {
                continue;
            }
            let pending = work.down.pending();
            let here = pending.len();
            let Some(head) =
                frame::peek(pending, frame::MAX_BODY).map_err(|_| Broken::Protocol("message length"))?
            else {
                return Ok(ready);
            };
            if matches!(head.tag, tag::DATA_ROW | tag::COPY_DATA) {
                if work.expects.own_answer_is_next() {
                    self.answer(work, server);
                    continue;
                }
                bulk(work, head.total, here)?;
                continue;
            }
            if here < head.total {
                if head.total <= MAX_WHOLE {
                    work.down.make_room_for(head.total);
                    return Ok(ready);
                }
                // Only what says something in words may be that long.
                let talk = [
                    tag::ERROR_RESPONSE,
                    tag::NOTICE_RESPONSE,
                    tag::ROW_DESCRIPTION,
                    tag::PARAMETER_DESCRIPTION,
                ];
                if !talk.contains(&head.tag)
                    && head.tag != tag::NOTIFICATION_RESPONSE
                    && head.tag != tag::FUNCTION_CALL_RESPONSE
                {
                    return Err(Broken::Protocol("a short message is too long"));
                }
            }
            ready |= self.hear_one(core, work, server, head.tag, head.total)?;
        }
    }

    /// One message, which is whole unless it is longer than `MAX_WHOLE`.
    fn hear_one(
        &mut self,
        core: &Core,
        work: &mut Work,
        server: &mut Server,
        tag: u8,
        total: usize,
    ) -> Result<bool, Broken> {
        match tag {
            tag::READY_FOR_QUERY => return self.hear_ready(core, work, server, total),
            tag::PARAMETER_STATUS => return self.hear_parameter(core, work, server, total).map(|()| false),
            tag::NOTIFICATION_RESPONSE => {
                self.hear_notification(work, server, total);
                return Ok(false);
            }
            tag::NOTICE_RESPONSE => {
                if let Some(resolve) = &mut work.resolve
                    && is_farewell(&work.down, total)
                {
                    resolve.note_farewell();
                }
                if matches!(
                    work.expects.front(),
                    Some(
                        Expect::OwnQuery
                            | Expect::Gate(_)
                            | Expect::OwnPrepare(_)
                            | Expect::OwnParse
                            | Expect::Id
                    )
                ) || matches!(work.retry, Retry::Wanted { .. })
                {
                    drop_message(work, total);
                } else {
                    if work.retry != Retry::Possible || !is_farewell(&work.down, total) {
                        commit_to_answer(work);
                    }
                    self.pass_words(work, total);
                }
                return Ok(false);
            }
            tag::ERROR_RESPONSE => return self.hear_error(core, work, server, total).map(|()| false),
            _ => {}
        }
        self.answer(work, server);
        if matches!(work.retry, Retry::Wanted { .. })
            || matches!(work.expects.front(), Some(Expect::OwnQuery))
        {
            drop_message(work, total);
            return Ok(false);
        }
        let keep = match (tag, work.expects.front()) {
            (tag::PARSE_COMPLETE | tag::BIND_COMPLETE, Some(Expect::Gate(_))) => false,
            (tag::COMMAND_COMPLETE, Some(Expect::Gate(step))) => {
                let step = *step;
                self.pass_gate(work, server, step);
                false
            }
            (tag::PARSE_COMPLETE, Some(Expect::OwnParse)) => {
                work.expects.pop();
                false
            }
            (tag::PARSE_COMPLETE | tag::BIND_COMPLETE, Some(Expect::OwnPrepare(_) | Expect::Id)) => false,
            (tag::COMMAND_COMPLETE, Some(Expect::Id)) => false,
            (tag::COMMAND_COMPLETE, Some(Expect::OwnPrepare(text))) => {
                server.prepared.confirm(text.statement.id);
                false
            }
            (tag::CLOSE_COMPLETE, Some(Expect::OwnPrepare(_) | Expect::Id)) => {
                work.expects.pop();
                false
            }
            (tag::PARSE_COMPLETE, Some(Expect::Parse { name, text, unnamed, .. })) => {
                let visible = name.is_some();
                if !unnamed {
                    server.prepared.confirm(text.statement.id);
                }
                if !unnamed && text.reading.is_some() && server.status == TransactionStatus::Idle {
                    self.proven.note(text.statement.id, &self.wanted);
                }
                work.expects.pop();
                visible
            }
            (tag::BIND_COMPLETE, Some(Expect::Bind)) | (tag::CLOSE_COMPLETE, Some(Expect::Close)) => {
                work.expects.pop();
                true
            }
            (tag::CLOSE_COMPLETE, Some(Expect::OwnClose(_))) => {
                work.expects.pop();
                false
            }
            (tag::PARAMETER_DESCRIPTION, Some(Expect::DescribeStatement)) => {
                work.expects.replace_front(Expect::DescribePortal);
                true
            }
            (tag::ROW_DESCRIPTION | tag::NO_DATA, Some(Expect::DescribePortal)) => {
                work.expects.pop();
                true
            }
            (
                tag::COMMAND_COMPLETE | tag::PORTAL_SUSPENDED | tag::EMPTY_QUERY_RESPONSE,
                Some(Expect::Execute),
            ) => {
                let begins = self.until_write.as_mut().is_some_and(|until| until.note_done());
                if !begins {
                    commit_to_answer(work);
                }
                end_copy(work, server);
                work.expects.pop();
                work.names = None;
                if !work.effects.is_empty() {
                    note_discarded(work, total);
                }
                true
            }
            (
                tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE | tag::FUNCTION_CALL_RESPONSE,
                Some(Expect::Query),
            ) => {
                commit_to_answer(work);
                if let Some(until) = &mut self.until_write {
                    until.note_done();
                }
                end_copy(work, server);
                if let Some(names) = &mut work.names {
                    names.done += 1;
                }
                true
            }
            (tag::ROW_DESCRIPTION, Some(Expect::Query)) => true,
            (tag::COPY_IN_RESPONSE, Some(Expect::Query | Expect::Execute)) => {
                begin_copy_in(work, server);
                let ignored = work.expects.drop_syncs_sent_before_copy();
                server.owed -= ignored;
                work.ready_sent = work.ready_sent.wrapping_sub(ignored);
                true
            }
            (tag::COPY_OUT_RESPONSE, Some(Expect::Query | Expect::Execute)) => {
                commit_to_answer(work);
                work.copy = Copy::Out;
                true
            }
            (tag::COPY_DONE, Some(Expect::Query | Expect::Execute)) => true,
            _ => return Err(Broken::Protocol("an answer that nobody asked for")),
        };
        if keep {
            pass_message(work, total);
        } else {
            drop_message(work, total);
        }
        Ok(false)
    }

    /// Gives the answers of our own that are next.
    pub(crate) fn answer(&mut self, work: &mut Work, server: &Server) {
        while work.expects.own_answer_is_next() {
            match work.expects.pop() {
                Some(Expect::Answer(bytes)) => work.down.inject().extend_from_slice(&bytes),
                Some(Expect::AnswerQuery(bytes)) => {
                    let out = work.down.inject();
                    out.extend_from_slice(&bytes);
                    encode::ready_for_query(out, server.status);
                }
                Some(Expect::AnswerParse { .. }) => encode::parse_complete(work.down.inject()),
                Some(Expect::AnswerClose { tag: None, .. }) => encode::close_complete(work.down.inject()),
                Some(Expect::AnswerClose { tag: Some(tag), .. }) => {
                    encode::command_complete(work.down.inject(), tag);
                }
                Some(Expect::Names(names)) => work.names = Some(names),
                Some(Expect::OwnFlush) => {}
                _ => {}
            }
        }
    }

    fn hear_ready(
        &mut self,
        core: &Core,
        work: &mut Work,
        server: &mut Server,
        total: usize,
    ) -> Result<bool, Broken> {
        self.answer(work, server);
        let body = frame::body(&work.down.pending()[..total]);
        let status = ReadyForQuery::parse(body).map_err(|_| Broken::Protocol("ReadyForQuery"))?.status;
        let was = std::mem::replace(&mut server.status, status);
        work.names = None;
        end_copy(work, server);
        server.owed = server.owed.checked_sub(1).ok_or(Broken::Protocol("a ReadyForQuery too many"))?;
        if self.wrote != Slots::NONE && status == TransactionStatus::Idle {
            self.tell_written(core, server);
        }
        let left = if self.gate.is_open() { None } else { Some(self.leave_gate(work)) };
        match (work.expects.pop(), left) {
            (Some(Expect::Sync | Expect::OwnSync), Some(Outcome::Refused(status))) => {
                let ready = work.ready_seen;
                work.effects.retain(|sent| sent.ready > ready);
                drop_message(work, total);
                work.answered.queries += 1;
                encode::ready_for_query(work.down.inject(), status);
                self.answer(work, server);
            }
            (Some(Expect::OwnQuery | Expect::OwnSync), _) => {
                drop_message(work, total);
                self.answer(work, server);
            }
            (Some(Expect::Query | Expect::Sync), _) if matches!(work.retry, Retry::Wanted { .. }) => {
                drop_message(work, total)
            }
            (Some(Expect::Query | Expect::Sync), _) => {
                commit_to_answer(work);
                self.settle_effects(core, work, server, was);
                if let Some(until) = &mut self.until_write {
                    until.settle();
                }
                if let Some(Outcome::Held { tell: true }) = left {
                    self.tell_held_back(core, work, server);
                }
                work.answered.queries += 1;
                work.answered.transactions += u32::from(status == TransactionStatus::Idle);
                server.notified |= work.may_commit.is_possible();
                // A Sync of our own may still be due.
                let last = self.listening.is_some() && work.expects.count_ready() == 0;
                if last && status == TransactionStatus::Idle {
                    self.hold_ready(work, total);
                } else {
                    pass_message(work, total);
                }
                // A Query that was answered by us may follow.
                self.answer(work, server);
            }
            _ => return Err(Broken::Protocol("a ReadyForQuery that nobody asked for")),
        }
        work.ready_seen = work.ready_seen.wrapping_add(1);
        work.failed = false;
        work.discarded = None;
        if server.owed == 0 {
            work.may_commit = MayCommit::No;
            if status == TransactionStatus::Idle {
                work.own_portals.clear();
                work.portals.clear();
            }
        }
        Ok(true)
    }

    fn hear_parameter(
        &mut self,
        core: &Core,
        work: &mut Work,
        server: &mut Server,
        total: usize,
    ) -> Result<(), Broken> {
        let body = frame::body(&work.down.pending()[..total]);
        let status = ParameterStatus::parse(body).map_err(|_| Broken::Protocol("ParameterStatus"))?;
        let named = (str::from_utf8(status.name), str::from_utf8(status.value));
        match named {
            (Ok(name), Ok(value)) if Parameters::concerns_sessions(name) => {
                let own = matches!(work.expects.front(), Some(Expect::OwnQuery));
                if self.gate.is_open() && !(own && self.told.get(name) == Some(value)) {
                    self.note_parameter(core, server, name, value);
                    pass_message(work, total);
                } else {
                    // What the gate changes is no news to the client; what else there is it is told at the end.
                    server.parameters = core.pools.intern_parameters(server.parameters.with(name, value));
                    drop_message(work, total);
                }
            }
            (Ok("in_hot_standby"), Ok(value)) => {
                server.handle.standby.set(Some(value == "on")); // it was promoted
                drop_message(work, total);
            }
            _ => drop_message(work, total),
        }
        Ok(())
    }

    fn hear_error(
        &mut self,
        core: &Core,
        work: &mut Work,
        server: &mut Server,
        total: usize,
    ) -> Result<(), Broken> {
        self.answer(work, server);
        end_copy(work, server);
        work.failed = true;
        let whole = work.down.pending().len() >= total;
        let fields = if whole {
            let body = frame::body(&work.down.pending()[..total]);
            Some(ErrorFields::parse(body).map_err(|_| Broken::Protocol("ErrorResponse"))?)
        } else {
            None
        };
        if let Some(fields) = fields {
            if fields.sqlstate().is_none() {
                return Err(Broken::Protocol("an error without SQLSTATE"));
            }
            if matches!(fields.severity(), Some(Severity::Fatal | Severity::Panic)) {
                return Err(Broken::Fatal(Box::new(fields.to_report())));
            }
            if concerns_shared(&fields) {
                server.prepared.doubt_all();
            }
            let stale = is_stale(&fields);
            // A session on a connection of its own is told so until it prepares anew, or the change is undone.
            if stale && !(work.names.is_some() && self.is_tied()) {
                server.prepared.doubt_all();
            }
            self.native &= self.is_tied() || matches!(work.expects.front(), Some(Expect::OwnQuery));
            if !self.written.is_empty() && self.missed_by_function(&fields) {
                self.runs_names = true;
                want_again(work);
            } else if (stale && work.names.is_some())
                || (work.misplaced && fields.sqlstate() == Some(SqlState::READ_ONLY_SQL_TRANSACTION))
            {
                want_again(work);
            } else if work.retry == Retry::Possible
                && work.refusable
                && let Some(learn) = may_run_elsewhere(&fields)
            {
                work.retry = Retry::Wanted { learn };
                work.down.drop_unsent();
            } else if work.retry == Retry::No {
                self.learn_late(core, &fields);
            }
        }
        let extended = work.expects.extended_is_next();
        let at_gate = work.expects.gate_is_first();
        let of_settings = match work.expects.front() {
            Some(Expect::Gate(step)) => self.refuse_gate(*step, server),
            _ => false,
        };
        let parse_failed = matches!(work.expects.front(), Some(Expect::Parse { .. }));
        match work.expects.front() {
            None => return Err(Broken::Protocol("an error out of nothing")),
            Some(Expect::Provoked(_) | Expect::ProvokedQuery(_)) => {
                commit_to_answer(work);
                drop_message(work, total);
                if let Some(Expect::Provoked(report) | Expect::ProvokedQuery(report)) = work.expects.pop() {
                    encode::error_response(work.down.inject(), &report);
                }
                if !extended {
                    work.expects.push_front(Expect::Query); // its ReadyForQuery
                }
            }
            Some(Expect::OwnQuery) => {
                if let Some(shown) = &mut self.shown {
                    shown.whole = false;
                }
                drop_message(work, total);
            }
            Some(_) if matches!(work.retry, Retry::Wanted { .. }) => drop_message(work, total),
            Some(Expect::Id) if work.expects.asks_for_id_by_itself() => {
                note_refused_id(work, total);
                drop_message(work, total);
            }
            Some(_) => {
                commit_to_answer(work);
                let reworded = if whole && of_settings {
                    gate::reword(frame::body(&work.down.pending()[..total]))
                } else {
                    None
                };
                match reworded {
                    Some(error) => {
                        drop_message(work, total);
                        work.down.inject().extend_from_slice(&error);
                    }
                    None => self.pass_words(work, total),
                }
            }
        }
        if let Some(names) = work.names.take() {
            self.undo_names(work, server, *names);
        }
        // In the extended protocol the server skips all up to Sync; what it skips hasn't happened.
        let mut skipped = Vec::new();
        let mut skipped_query = false;
        while extended && let Some(expect) = work.expects.pop_skipped() {
            if matches!(expect, Expect::Query | Expect::OwnQuery | Expect::ProvokedQuery(_)) {
                server.owed -= 1;
                work.ready_sent = work.ready_sent.wrapping_sub(1);
            }
            skipped_query |= matches!(expect, Expect::Query | Expect::ProvokedQuery(_));
            skipped.push(expect);
        }
        if at_gate {
            self.skip_behind_gate(work, server, &skipped);
        } else if skipped_query && work.expects.ends_own_segment() {
            work.expects.replace_front(Expect::Sync); // it ends what the client's Query would have ended
        }
        // The Parse of an unnamed statement drops the former one even if it fails.
        if parse_failed && let Some(Expect::Parse { was, .. }) = skipped.first_mut() {
            *was = None;
        }
        self.undo(work, server, skipped);
        // Where no Sync was sent yet, the server waits for one, whatever else was sent.
        server.unsynced |= extended && work.expects.is_empty();
        Ok(())
    }

    /// Passes an error or a notice, in the client's words where the server knows its statements by other names.
    fn pass_words(&self, work: &mut Work, total: usize) {
        let other_names = work.names.is_some()
            || matches!(
                work.expects.front(),
                Some(Expect::Bind | Expect::Parse { .. } | Expect::OwnPrepare(_))
            );
        match other_names.then(|| self.in_clients_words(work, total)).flatten() {
            Some(words) => {
                drop_message(work, total);
                work.down.inject().extend_from_slice(&words);
            }
            None => pass_message(work, total),
        }
    }

    /// Messages, the last ones first, were not executed: what was assumed of them is taken back. What was sent behind
    /// them and is still due has been taken for granted since, and stays.
    pub(crate) fn undo(&mut self, work: &Work, server: &mut Server, skipped: Vec<Expect>) {
        for expect in skipped.into_iter().rev() {
            match expect {
                Expect::Parse { text, name, unnamed, was } => {
                    if unnamed {
                        server.unnamed = None;
                    } else {
                        let id = text.statement.id;
                        server.prepared.refuse(id, work.expects.prepare(id));
                    }
                    if let Some(name) = name {
                        self.restore(work, name, was);
                    }
                }
                Expect::OwnPrepare(text) => {
                    let id = text.statement.id;
                    server.prepared.refuse(id, work.expects.prepare(id));
                }
                Expect::Names(names) => self.undo_names(work, server, *names),
                Expect::OwnClose(id) => server.prepared.doubt(id),
                Expect::AnswerParse { name, was, .. } | Expect::AnswerClose { name, was, .. } => {
                    self.restore(work, name, was);
                }
                _ => {}
            }
        }
    }

    /// A name stands again for what it stood for.
    pub(crate) fn restore(&mut self, work: &Work, name: StatementName, was: Option<Rc<Text>>) {
        if !work.expects.name(&name) {
            self.set_name(&name, was);
        }
    }
}

/// A server that goes down at once says so by a warning. Nobody needs it who has no more of the answer.
#[cold]
fn is_farewell(down: &Pipe, total: usize) -> bool {
    let whole = down.pending().get(..total);
    let fields = whole.and_then(|whole| ErrorFields::parse(frame::body(whole)).ok());
    let code = fields.and_then(|fields| fields.sqlstate());
    code.is_some_and(|code| matches!(code.as_str(), "57P01" | "57P02"))
}

/// A row or a piece of COPY data: passes as far as it is here.
#[inline]
fn bulk(work: &mut Work, total: usize, here: usize) -> Result<(), Broken> {
    match work.expects.front() {
        Some(Expect::Query | Expect::Execute) => {}
        Some(Expect::OwnQuery | Expect::Gate(_)) => {
            drop_message(work, total);
            return Ok(());
        }
        Some(Expect::Id) => {
            note_id(work, total);
            return Ok(());
        }
        _ => return Err(Broken::Protocol("data that nobody asked for")),
    }
    if work.retry != Retry::No {
        if matches!(work.retry, Retry::Wanted { .. }) {
            drop_message(work, total);
            return Ok(());
        }
        commit_to_answer(work);
    }
    let now = total.min(here);
    work.down.approve(now);
    work.down_left = Left::Pass(total - now);
    Ok(())
}

/// The id of the transaction. A row that comes in pieces tells nothing: what it is asked for is an answer the less.
#[cold]
fn note_id(work: &mut Work, total: usize) {
    if let Some(resolve) = &mut work.resolve {
        let row = work.down.pending().get(..total).and_then(|row| DataRow::parse(frame::body(row)).ok());
        let mut values = row.iter().flat_map(DataRow::iter);
        resolve.note_answer(values.next().flatten(), values.next().flatten());
    }
    drop_message(work, total);
}

#[cold]
fn note_refused_id(work: &mut Work, total: usize) {
    let body = work.down.pending().get(..total).map(frame::body);
    let report = body.and_then(|body| ErrorFields::parse(body).ok()).map(|fields| fields.to_report());
    if let (Some(resolve), Some(report)) = (&mut work.resolve, report) {
        resolve.note_refusal(report);
    }
}

pub(crate) fn pass_message(work: &mut Work, total: usize) {
    let now = total.min(work.down.pending().len());
    work.down.approve(now);
    work.down_left = Left::Pass(total - now);
}

pub(crate) fn drop_message(work: &mut Work, total: usize) {
    let now = total.min(work.down.pending().len());
    work.down.skip(now);
    work.down_left = Left::Drop(total - now);
}

/// DISCARD ALL and DEALLOCATE ALL are done for good, whatever fails behind them in their pipeline.
#[cold]
fn note_discarded(work: &mut Work, total: usize) {
    match work.down.pending().get(frame::HEADER..total) {
        Some(b"DISCARD ALL\0") => work.discarded = Some(Effect::DiscardAll),
        Some(b"DEALLOCATE ALL\0") if work.discarded.is_none() => {
            work.discarded = Some(Effect::Deallocate(None));
        }
        _ => {}
    }
}

/// From here on the client sees an answer: the request can't be run again.
#[inline]
pub(crate) fn commit_to_answer(work: &mut Work) {
    if work.retry == Retry::Possible {
        work.retry = Retry::No;
        work.renamed.clear();
        work.up.release();
    }
}

fn begin_copy_in(work: &mut Work, server: &mut Server) {
    commit_to_answer(work);
    work.copy = Copy::In;
    server.copy_in = true;
}

#[inline]
fn end_copy(work: &mut Work, server: &mut Server) {
    work.copy = Copy::No;
    server.copy_in = false;
}

/// A statement that sessions share isn't there, or is, against what is known: a function has deallocated it, say.
fn concerns_shared(fields: &ErrorFields<'_>) -> bool {
    let of_names = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PREPARED_STATEMENT];
    fields.sqlstate().is_some_and(|code| of_names.contains(&code)) && fields.message().contains("\"pgweir_")
}

/// A statement was prepared before something changed that its rows depend on. (The message has a language, the name of
/// the routine hasn't.)
fn is_stale(fields: &ErrorFields<'_>) -> bool {
    fields.sqlstate() == Some(SqlState::FEATURE_NOT_SUPPORTED)
        && fields.get(b'R') == Some(b"RevalidateCachedQuery")
}

/// The request is run again, if it can be.
fn want_again(work: &mut Work) {
    if work.retry == Retry::Possible {
        work.retry = Retry::Wanted { learn: false };
        work.down.drop_unsent();
    }
}

/// A replica refused what looked like a read (true: it always will), or had to cancel it to go on replaying (false).
pub(crate) fn may_run_elsewhere(fields: &ErrorFields<'_>) -> Option<bool> {
    let code = fields.sqlstate()?;
    let says = |words: &str| fields.message().contains(words);
    match code {
        SqlState::READ_ONLY_SQL_TRANSACTION => Some(true),
        // Unlogged tables are empty on a standby, which says so instead of answering.
        SqlState::FEATURE_NOT_SUPPORTED => says("unlogged relations during recovery").then_some(true),
        SqlState::SERIALIZATION_FAILURE | SqlState::DEADLOCK_DETECTED => {
            says("conflict with recovery").then_some(false)
        }
        code => (code.as_str() == "55000" && says("recovery is in progress")).then_some(true),
    }
}

/// The status in which a client is left when its server connection was lost.
pub(crate) const AFTER_LOSS: TransactionStatus = TransactionStatus::Idle;
