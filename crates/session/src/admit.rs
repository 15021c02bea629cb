//! A message of the client on its way to the server: as it came, or with another statement name, or not at all.

use std::rc::Rc;
use std::sync::Arc;

use backend::Server;
use route::{DatabaseMap, Target};
use sql::facts::{Effect, Facts, Kind, PinReason, Statement};
use wire::backend::TransactionStatus;
use wire::frame::{self, Head};
use wire::frontend::{BindHead, Close, Describe, Execute, Target as Named};
use wire::{ErrorReport, SqlState, encode, tag};

use crate::book::{Book, PinnedTo};
use crate::core::Core;
use crate::expect::{Expect, StatementName};
use crate::named_text::need_target;
use crate::own::{self, OwnAnswer};
use crate::pins;
use crate::prepared::{
    doubt_deallocated, may_open, names_shared, need, need_unnamed, no_statement, refuse_unreadable,
    write_parse,
};
use crate::work::{Copy, Left, Planned, Work};

/// A name that no statement on a server has: what refers to it fails.
pub(crate) const NO_STATEMENT: &[u8] = b"pgweir: no such statement";
/// A text that no server understands.
pub(crate) const NO_COMMAND: &[u8] = b"pgweir: refused";

/// Where a message is sent.
pub(crate) struct Admission<'a> {
    pub(crate) core: &'a Core,
    /// The server in hand.
    pub(crate) target: Target,
    pub(crate) map: &'a DatabaseMap,
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
    /// Which group of pools.
    pub(crate) group: u64,
    /// Whether the transaction is open once all that was sent is done.
    pub(crate) in_transaction: &'a mut bool,
}

impl Book {
    /// Sends the message at the front of what is pending on its way. It was planned; it is whole, but for a Bind, a
    /// Query or COPY data too long to hold.
    ///
    /// # Errors
    /// What the client is told before it is sent away: a message that no client may send.
    pub(crate) fn admit(
        &mut self,
        at: &mut Admission<'_>,
        work: &mut Work,
        server: &mut Server,
        head: Head,
    ) -> Result<(), ErrorReport> {
        if work.copy == Copy::In {
            admit_in_copy(work, server, head);
            return Ok(());
        }
        match head.tag {
            tag::SYNC | tag::QUERY | tag::FUNCTION_CALL => server.unsynced = false,
            // These begin nothing that a Sync would have to end.
            tag::FLUSH | tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => {}
            _ => server.unsynced = true,
        }
        match head.tag {
            tag::QUERY if let Some(Planned::Names(facts)) = work.planned.front() => {
                let facts = std::sync::Arc::clone(facts);
                work.planned.pop_front();
                self.count_route(at, &facts);
                self.admit_names(at, work, server, head, &facts)?;
            }
            tag::QUERY | tag::FUNCTION_CALL => self.admit_query(at, work, server, head),
            tag::PARSE => self.admit_parse(at, work, server, head)?,
            tag::BIND => self.admit_bind(at, work, server, head)?,
            tag::DESCRIBE => self.admit_describe(at, work, server, head)?,
            tag::EXECUTE => self.admit_execute(at, work, server, head)?,
            tag::CLOSE => self.admit_close(work, head)?,
            tag::SYNC => {
                work.up.approve(head.total);
                work.expects.push(Expect::Sync);
                work.owe_ready(server);
            }
            tag::FLUSH => work.up.approve(head.total),
            // Outside of a COPY these are ignored, as Postgres does.
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => drop_message(work, head),
            other => return Err(invalid_message(other)),
        }
        Ok(())
    }

    fn admit_query(&mut self, at: &mut Admission<'_>, work: &mut Work, server: &mut Server, head: Head) {
        let Some(Planned::Query(facts)) = work.planned.pop_front() else { return };
        let fails = work.failed || server.status == TransactionStatus::Failed;
        if own::is_own(&facts) {
            if fails && *at.in_transaction {
                let report = own::in_failed_transaction(self);
                self.refuse_query(work, server, head, report);
                return;
            }
            let mut bytes = Vec::new();
            match self.run_own(&facts, at.map, at.database, *at.in_transaction) {
                Ok(answer) => {
                    OwnAnswer::describe(&answer.columns, &mut bytes, false);
                    answer.rows(&mut bytes);
                }
                Err(report) if *at.in_transaction => {
                    self.refuse_query(work, server, head, report);
                    return;
                }
                Err(report) => encode::error_response(&mut bytes, &report),
            }
            work.expects.push(Expect::AnswerQuery(bytes));
            drop_message(work, head);
            return;
        }
        if let [Statement { kind: Kind::Deallocate, .. }] = facts.statements[..]
            && !fails
            && let Some(tag) = own::deallocate(self, &facts)
        {
            let mut bytes = Vec::new();
            encode::command_complete(&mut bytes, tag);
            work.expects.push(Expect::AnswerQuery(bytes));
            drop_message(work, head);
            return;
        }
        if let Some(name) = names_shared(&facts)
            && !fails
        {
            self.refuse_query(work, server, head, no_statement(name.as_bytes()));
            return;
        }
        let text = frame::body(&work.up.pending()[..head.total.min(work.up.pending().len())]);
        let text = text.strip_suffix(&[0]).unwrap_or(text);
        if let Err(report) = self.allow_pin(at, &facts, text, server) {
            self.refuse_query(work, server, head, report);
            return;
        }
        self.watch_code(at, server, &facts, text);
        self.note_writer(server, &facts);
        let shows = self.has_shown_or_may() && self.code_looks(&facts);
        if shows && self.show_names(at, work, server, false).is_err() {
            return; // of what the session has sent itself nothing is too long
        }
        doubt_deallocated(server, &facts);
        self.note_sent(work, server, &facts, *at.in_transaction);
        self.count_route(at, &facts);
        if self.until_write.is_some() {
            self.note_query_said(work, &facts);
        }
        follow_transaction(&facts, at.in_transaction);
        server.unnamed = None; // a simple Query drops the unnamed statement
        work.expects.push(Expect::Query);
        work.owe_ready(server);
        pass(work, head);
    }

    /// Makes a Query fail on the server, so that its transaction fails too, and gives the client our error.
    pub(crate) fn refuse_query(
        &mut self,
        work: &mut Work,
        server: &mut Server,
        head: Head,
        report: ErrorReport,
    ) {
        drop_message(work, head);
        // A constant always fits.
        encode::query(work.up.inject(), NO_COMMAND).unwrap_or_default();
        work.expects.push(Expect::ProvokedQuery(Box::new(report)));
        work.owe_ready(server);
    }

    /// Makes an extended message fail on the server, and gives the client our error.
    pub(crate) fn refuse_extended(&mut self, work: &mut Work, head: Head, report: ErrorReport) {
        drop_message(work, head);
        encode::bind(work.up.inject(), b"", NO_STATEMENT, &[]).unwrap_or_default();
        work.expects.push(Expect::Provoked(Box::new(report)));
    }

    /// Makes a message fail that names a statement which the session doesn't have.
    #[cold]
    fn refuse_unknown(&mut self, work: &mut Work, head: Head, name: &[u8]) -> Result<(), ErrorReport> {
        if self.is_unreadable(name) {
            return refuse_unreadable(work, head, name);
        }
        self.refuse_extended(work, head, no_statement(name));
        Ok(())
    }

    fn admit_parse(
        &mut self,
        at: &Admission<'_>,
        work: &mut Work,
        server: &mut Server,
        head: Head,
    ) -> Result<(), ErrorReport> {
        let Some(Planned::Parse { name, text }) = work.planned.pop_front() else { return Ok(()) };
        let text = self.read_now(at.core, work, text);
        if name.is_empty() {
            let was = self.name(work, &name, Some(Rc::clone(&text)));
            if own::is_own(&text.facts) {
                drop_message(work, head);
                work.expects.push(Expect::AnswerParse { name, was });
                return Ok(());
            }
            if let Some(named) = &text.named {
                need_target(work, server, named)?;
                drop_message(work, head);
                write_parse(work, b"", &text)?;
            } else {
                work.up.approve(head.total);
            }
            server.unnamed = Some(text.statement.id);
            work.expects.push(Expect::Parse { text, name: Some(name), unnamed: true, was });
            return Ok(());
        }
        if self.is_unreadable(&name) {
            return refuse_unreadable(work, head, &name);
        }
        if let Err(report) = self.may_name(&name) {
            self.refuse_extended(work, head, report);
            return Ok(());
        }
        self.name(work, &name, Some(Rc::clone(&text)));
        drop_message(work, head);
        if own::is_own(&text.facts) {
            work.expects.push(Expect::AnswerParse { name, was: None });
            return Ok(());
        }
        if let Some(named) = &text.named {
            need_target(work, server, named)?;
        }
        need(work, server, text, Some(name))
    }

    fn admit_bind(
        &mut self,
        at: &mut Admission<'_>,
        work: &mut Work,
        server: &mut Server,
        head: Head,
    ) -> Result<(), ErrorReport> {
        let pending = work.up.pending();
        let body = frame::body(&pending[..head.total.min(pending.len())]);
        let Some(names) = BindHead::parse(body, head.body())? else {
            return Err(ErrorReport::fatal(
                SqlState::PROTOCOL_VIOLATION,
                "the names of a Bind message are too long",
            ));
        };
        let values_offset = names.values_offset;
        let portal_length = names.portal.len();
        let unnamed = names.statement.is_empty();
        if !names.portal.is_empty()
            && let Err(report) = may_open(&mut work.portals, names.portal)
        {
            self.refuse_extended(work, head, report);
            return Ok(());
        }
        if !work.own_portals.is_empty() {
            let portal = names.portal;
            work.own_portals.retain(|(name, _)| **name != *portal);
        }
        let Some(text) = self.text_read_now(at.core, work, names.statement) else {
            if self.knows_by_sql(work) && !names.statement.is_empty() {
                work.expects.push(Expect::Bind);
                pass(work, head);
                return Ok(());
            }
            let name = StatementName::from(names.statement);
            return self.refuse_unknown(work, head, &name);
        };
        let fails = work.failed || server.status == TransactionStatus::Failed;
        if fails && *at.in_transaction && own::is_own(&text.facts) {
            let report = own::in_failed_transaction(self);
            self.refuse_extended(work, head, report);
            return Ok(());
        }
        if own::is_own(&text.facts) || (!fails && self.deallocates_own(&text.facts)) {
            let portal = StatementName::from(names.portal);
            drop_message(work, head);
            let mut bytes = Vec::new();
            encode::bind_complete(&mut bytes);
            work.expects.push(Expect::Answer(bytes));
            work.own_portals.push((portal, text));
            return Ok(());
        }
        let portal = text.named.as_ref().map(|_| StatementName::from(names.portal));
        if let Err(report) = self.allow_pin(at, &text.facts, &text.statement.sql, server) {
            self.refuse_extended(work, head, report);
            return Ok(());
        }
        let lists = text.facts.names_prepared && text.named.is_none();
        self.watch_code(at, server, &text.facts, &text.statement.sql);
        let looks = lists || (self.has_shown_or_may() && self.code_looks(&text.facts));
        if looks && !work.expects.has_executed() {
            self.show_names(at, work, server, lists)?;
            if lists && !unnamed {
                // It has its own name there now.
                self.note_sent(work, server, &text.facts, *at.in_transaction);
                self.count_route(at, &text.facts);
                if self.until_write.is_some() {
                    self.note_bind_said(work, &text.facts, &text.statement.sql, &text.statement.types);
                }
                work.expects.push(Expect::Bind);
                pass(work, head);
                return Ok(());
            }
        }
        if let (Some(named), Some(portal)) = (&text.named, portal) {
            need_target(work, server, named)?;
            work.own_portals.push((portal, Rc::clone(&text)));
        }
        self.note_writer(server, &text.facts);
        doubt_deallocated(server, &text.facts);
        self.note_sent(work, server, &text.facts, *at.in_transaction);
        self.count_route(at, &text.facts);
        if self.until_write.is_some() {
            self.note_bind_said(work, &text.facts, &text.statement.sql, &text.statement.types);
        }
        if self.seen.reads_at.is_some() && !*at.in_transaction {
            self.begin_until_write(&text.facts, &text.statement.sql);
        }
        follow_transaction(&text.facts, at.in_transaction);
        if unnamed {
            need_unnamed(work, server, text)?;
            work.expects.push(Expect::Bind);
            pass(work, head);
            return Ok(());
        }
        need(work, server, Rc::clone(&text), None)?;
        work.expects.push(Expect::Bind);
        let server_name = text.statement.server_name.as_bytes();
        work.up.rewrite(frame::HEADER + values_offset, |bytes, out| {
            let portal = &frame::body(bytes)[..portal_length];
            encode::bind_head(out, portal, server_name, head.total, values_offset).map_err(ErrorReport::from)
        })?;
        pass(work, Head { tag: head.tag, total: head.total - frame::HEADER - values_offset });
        Ok(())
    }

    fn admit_describe(
        &mut self,
        at: &Admission<'_>,
        work: &mut Work,
        server: &mut Server,
        head: Head,
    ) -> Result<(), ErrorReport> {
        let body = frame::body(&work.up.pending()[..head.total]);
        let Describe { target, name } = Describe::parse(body)?;
        if target == Named::Portal {
            match work.own_portals.iter().find(|(portal, _)| **portal == *name) {
                Some((_, text)) if text.named.is_none() => {
                    let mut bytes = Vec::new();
                    OwnAnswer::describe(&own::columns(&text.facts), &mut bytes, true);
                    work.expects.push(Expect::Answer(bytes));
                    drop_message(work, head);
                }
                _ => {
                    work.expects.push(Expect::DescribePortal);
                    work.up.approve(head.total);
                }
            }
            return Ok(());
        }
        let Some(text) = self.text_read_now(at.core, work, name) else {
            if self.knows_by_sql(work) && !name.is_empty() {
                work.expects.push(Expect::DescribeStatement);
                work.up.approve(head.total);
                return Ok(());
            }
            let name = StatementName::from(name);
            return self.refuse_unknown(work, head, &name);
        };
        let unnamed = name.is_empty();
        if own::is_own(&text.facts) {
            let mut bytes = vec![tag::PARAMETER_DESCRIPTION, 0, 0, 0, 6, 0, 0];
            OwnAnswer::describe(&own::columns(&text.facts), &mut bytes, true);
            work.expects.push(Expect::Answer(bytes));
            drop_message(work, head);
            return Ok(());
        }
        if let Some(named) = &text.named {
            need_target(work, server, named)?;
        }
        if unnamed {
            need_unnamed(work, server, text)?;
            work.expects.push(Expect::DescribeStatement);
            work.up.approve(head.total);
            return Ok(());
        }
        let server_name = text.statement.server_name.clone();
        need(work, server, text, None)?;
        work.expects.push(Expect::DescribeStatement);
        work.up
            .rewrite(head.total, |frame, out| encode::describe_with_name(out, server_name.as_bytes(), frame))
            .map_err(ErrorReport::from)
    }

    fn admit_execute(
        &mut self,
        at: &mut Admission<'_>,
        work: &mut Work,
        server: &mut Server,
        head: Head,
    ) -> Result<(), ErrorReport> {
        let body = frame::body(&work.up.pending()[..head.total]);
        let portal = Execute::parse(body)?.portal;
        let own =
            work.own_portals.iter().find(|(name, _)| **name == *portal).map(|(_, text)| Rc::clone(text));
        let passes = own.as_ref().is_none_or(|text| text.named.is_some());
        if passes && let Some(until) = &mut self.until_write {
            until.execute(1);
        }
        let Some(text) = own else {
            work.expects.push(Expect::Execute);
            work.up.approve(head.total);
            return Ok(());
        };
        if let Some(named) = &text.named {
            return self.execute_named(work, server, named, head);
        }
        if let [Effect::Deallocate(Some(name))] = &text.facts.statements[0].effects[..] {
            match self.name(work, name.as_bytes(), None) {
                None => self.refuse_extended(work, head, no_statement(name.as_bytes())),
                was => {
                    let (name, tag) = (name.as_bytes().into(), Some("DEALLOCATE"));
                    work.expects.push(Expect::AnswerClose { name, was, tag });
                    drop_message(work, head);
                }
            }
            return Ok(());
        }
        match self.run_own(&text.facts, at.map, at.database, *at.in_transaction) {
            Ok(answer) => {
                let mut bytes = Vec::new();
                answer.rows(&mut bytes);
                work.expects.push(Expect::Answer(bytes));
                drop_message(work, head);
            }
            Err(report) => self.refuse_extended(work, head, report),
        }
        Ok(())
    }

    fn admit_close(&mut self, work: &mut Work, head: Head) -> Result<(), ErrorReport> {
        let body = frame::body(&work.up.pending()[..head.total]);
        let Close { target, name } = Close::parse(body)?;
        if target == Named::Portal {
            work.own_portals.retain(|(portal, _)| **portal != *name);
            work.portals.remove(name);
            work.expects.push(Expect::Close);
            work.up.approve(head.total);
            return Ok(());
        }
        if self.knows_by_sql(work) && !name.is_empty() && !self.names.contains_key(name) {
            work.expects.push(Expect::Close);
            work.up.approve(head.total);
            return Ok(());
        }
        let name = StatementName::from(name);
        if self.is_unreadable(&name) {
            return refuse_unreadable(work, head, &name);
        }
        let was = self.name(work, &name, None);
        work.expects.push(Expect::AnswerClose { name, was, tag: None });
        drop_message(work, head);
        Ok(())
    }

    /// Whether there may be statements that SQL's PREPARE made, which only the server knows.
    fn knows_by_sql(&self, work: &Work) -> bool {
        let sent = work.effects.iter().flat_map(|sent| &sent.facts.statements).flat_map(|s| &s.effects);
        self.is_tied() || sent.into_iter().any(|effect| matches!(effect, Effect::Prepare(_)))
    }

    /// Takes a pin for a session that will need one; an error if its pool has no more.
    pub(crate) fn allow_pin(
        &mut self,
        at: &Admission<'_>,
        facts: &Arc<Facts>,
        sql: &[u8],
        server: &mut Server,
    ) -> Result<(), ErrorReport> {
        self.allow_currval(facts, server)?;
        let hidden = self.known_pin(at, server, facts);
        let Some(mut reason) = Self::pins(facts).next().or(hidden) else { return Ok(()) };
        if self.mode == config::PoolMode::Session {
            return Ok(());
        }
        let mut reasons = Self::pins(facts).chain(hidden);
        if reasons.clone().any(|reason| reason == PinReason::Listen) && !self.note_listen(server) {
            let other = reasons.find(|reason| *reason != PinReason::Listen);
            let Some(other) = other else { return Ok(()) };
            reason = other;
        }
        if reason == PinReason::Setting {
            self.watch_settings(at.core, sql);
        }
        if self.would_tie_to_replica(server) {
            return Err(pins::not_on_a_replica(reason));
        }
        if self.pinned_to.is_some() {
            return Ok(());
        }
        let outline = sql::outline(sql, self.lex.standard_conforming_strings);
        at.core.pins.tell(at.database, at.user, reason, &outline, true);
        match PinnedTo::take(&server.handle.pool) {
            Ok(place) => {
                self.pinned_to = Some(place);
                Ok(())
            }
            Err(limit) => Err(no_more_pins(limit, reason)),
        }
    }
}

/// As many sessions of a pool as may be are tied to connections.
pub(crate) fn no_more_pins(limit: usize, reason: PinReason) -> ErrorReport {
    let tied = pins::in_words(reason);
    ErrorReport::error(
        SqlState::TOO_MANY_CONNECTIONS,
        format!("too many sessions of this pool are tied to a server connection ({limit})"),
    )
    .with_detail(format!("This statement would tie its session to one: it leaves {tied} ({reason:?})."))
    .with_hint("Raise pool.pinned, use pool.mode: session for this user, or avoid state that outlives a transaction.")
}

/// In COPY from the client the server reads COPY messages only; Sync and Flush it ignores.
fn admit_in_copy(work: &mut Work, server: &mut Server, head: Head) {
    if !matches!(head.tag, tag::COPY_DATA | tag::SYNC | tag::FLUSH) {
        // In the extended protocol a Sync must follow.
        server.unsynced = work.expects.executes();
        // CopyDone and CopyFail end it; anything else fails it.
        work.copy = Copy::No;
        server.copy_in = false;
    }
    pass(work, head);
}

pub(crate) fn follow_transaction(facts: &Facts, in_transaction: &mut bool) {
    for statement in &facts.statements {
        match statement.kind {
            Kind::Begin(_) | Kind::EndAndChain => *in_transaction = true,
            Kind::Commit | Kind::Rollback => *in_transaction = false,
            _ => {}
        }
    }
}

/// Passes a message as far as it is here.
fn pass(work: &mut Work, head: Head) {
    let now = head.total.min(work.up.pending().len());
    work.up.approve(now);
    work.up_left = Left::Pass(head.total - now);
}

/// Drops a message, as far as it is here.
pub(crate) fn drop_message(work: &mut Work, head: Head) {
    let now = head.total.min(work.up.pending().len());
    work.up.skip(now);
    work.up_left = Left::Drop(head.total - now);
}

/// What Postgres says of a message type that it doesn't know.
pub(crate) fn invalid_message(tag: u8) -> ErrorReport {
    ErrorReport::fatal(SqlState::PROTOCOL_VIOLATION, format!("invalid frontend message type {tag}"))
}
