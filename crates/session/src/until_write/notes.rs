//! What such a transaction is told while its requests are planned and sent: what may have to be said again elsewhere.

use route::{RoleReason, TargetRole};
use sql::facts::{Facts, Kind};
use wire::frontend::{BindHead, Query};
use wire::{frame, tag};

use super::{Said, UntilWrite};
use crate::book::{Begun, Book};
use crate::work::Work;

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
