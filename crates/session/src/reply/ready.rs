//! ReadyForQuery: whose it is, and what is settled by it.

use backend::Server;
use route::consistency::Slots;
use wire::backend::{ReadyForQuery, TransactionStatus};
use wire::{encode, frame};

use super::pass::{commit_to_answer, drop_message, end_copy, pass_message};
use crate::book::Book;
use crate::core::Core;
use crate::expect::Expect;
use crate::gate::Outcome;
use crate::loss::{Broken, MayCommit};
use crate::work::{Retry, Work};

impl Book {
    pub(super) fn hear_ready(
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
}
