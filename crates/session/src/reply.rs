//! What a server says: each message is matched with what is expected, and passes, or doesn't.
//!
//! Rows and COPY data are never looked into: their heads are scanned, the bytes pass in bulk. What is looked at is
//! short, and held until it is whole.

mod error;
mod pass;
mod ready;
mod unasked;
mod undo;

use backend::Server;
use wire::backend::TransactionStatus;
use wire::{encode, frame, tag};

pub(crate) use error::may_run_elsewhere;
use pass::{begin_copy_in, bulk, end_copy, note_discarded};
pub(crate) use pass::{commit_to_answer, drop_message, pass_message};

use crate::book::Book;
use crate::core::Core;
use crate::expect::Expect;
use crate::loss::Broken;
use crate::work::{Copy, Retry, Work};

/// A message that is looked at is never longer than this; a longer error or notice passes unseen.
const MAX_WHOLE: usize = 64 << 10;

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
                self.hear_notice(work, total);
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
}
