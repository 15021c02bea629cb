//! The messages of the extended protocol on their way to the server: Parse, Bind, Describe, Execute, Close.

use std::rc::Rc;

use backend::Server;
use sql::facts::Effect;
use wire::backend::TransactionStatus;
use wire::frame::{self, Head};
use wire::frontend::{BindHead, Close, Describe, Execute, Target as Named};
use wire::{ErrorReport, SqlState, encode, tag};

use super::{Admission, drop_message, follow_transaction, pass};
use crate::book::Book;
use crate::expect::{Expect, StatementName};
use crate::named_text::need_target;
use crate::own::{self, OwnAnswer};
use crate::prepared::{
    doubt_deallocated, may_open, need, need_unnamed, no_statement, refuse_unreadable, write_parse,
};
use crate::work::Planned;
use crate::work::Work;

impl Book {
    pub(super) fn admit_parse(
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

    pub(super) fn admit_bind(
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
        self.note_hidden_writes(at.core, at.target, server, &text.facts);
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

    pub(super) fn admit_describe(
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

    pub(super) fn admit_execute(
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

    pub(super) fn admit_close(&mut self, work: &mut Work, head: Head) -> Result<(), ErrorReport> {
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

    /// Makes a message fail that names a statement which the session doesn't have.
    #[cold]
    fn refuse_unknown(&mut self, work: &mut Work, head: Head, name: &[u8]) -> Result<(), ErrorReport> {
        if self.is_unreadable(name) {
            return refuse_unreadable(work, head, name);
        }
        self.refuse_extended(work, head, no_statement(name));
        Ok(())
    }
}
