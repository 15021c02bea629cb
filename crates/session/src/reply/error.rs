//! A server's error: whether the request can be run again instead, whose it is, and what is skipped behind it.

use backend::Server;
use wire::backend::ErrorFields;
use wire::{Severity, SqlState, encode, frame};

use super::pass::{commit_to_answer, drop_message, end_copy};
use crate::book::Book;
use crate::core::Core;
use crate::expect::Expect;
use crate::gate;
use crate::loss::Broken;
use crate::work::{Retry, Work};

impl Book {
    pub(super) fn hear_error(
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
        if whole {
            self.look_at_error(core, work, server, total)?;
        }
        let extended = work.expects.extended_is_next();
        let at_gate = work.expects.gate_is_first();
        let of_settings = match work.expects.front() {
            Some(Expect::Gate(step)) => self.refuse_gate(*step, server),
            _ => false,
        };
        let parse_failed = matches!(work.expects.front(), Some(Expect::Parse { .. }));
        self.pass_error(work, total, whole && of_settings, extended)?;
        if let Some(names) = work.names.take() {
            self.undo_names(work, server, *names);
        }
        let mut skipped = if extended { skip(work, server) } else { Vec::new() };
        let skipped_query =
            skipped.iter().any(|expect| matches!(expect, Expect::Query | Expect::ProvokedQuery(_)));
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

    /// What an error says of its server, of the statements that are prepared there, and of whether the request is to be
    /// run again.
    fn look_at_error(
        &mut self,
        core: &Core,
        work: &mut Work,
        server: &mut Server,
        total: usize,
    ) -> Result<(), Broken> {
        let body = frame::body(&work.down.pending()[..total]);
        let fields = ErrorFields::parse(body).map_err(|_| Broken::Protocol("ErrorResponse"))?;
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
        Ok(())
    }

    /// The client's error passes; one of our own doing gives way to ours, and what the client has nothing to do with is
    /// dropped.
    fn pass_error(
        &mut self,
        work: &mut Work,
        total: usize,
        of_settings: bool,
        extended: bool,
    ) -> Result<(), Broken> {
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
                crate::resolve::hear_refusal(work, total);
                drop_message(work, total);
            }
            Some(_) => {
                commit_to_answer(work);
                let reworded =
                    if of_settings { gate::reword(frame::body(&work.down.pending()[..total])) } else { None };
                match reworded {
                    Some(error) => {
                        drop_message(work, total);
                        work.down.inject().extend_from_slice(&error);
                    }
                    None => self.pass_words(work, total),
                }
            }
        }
        Ok(())
    }
}

/// In the extended protocol the server skips all up to Sync; what it skips hasn't happened.
fn skip(work: &mut Work, server: &mut Server) -> Vec<Expect> {
    let mut skipped = Vec::new();
    while let Some(expect) = work.expects.pop_skipped() {
        if matches!(expect, Expect::Query | Expect::OwnQuery | Expect::ProvokedQuery(_)) {
            server.owed -= 1;
            work.ready_sent = work.ready_sent.wrapping_sub(1);
        }
        skipped.push(expect);
    }
    skipped
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
