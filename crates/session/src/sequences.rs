//! currval and lastval: answered with what this session's nextval gave, or refused; never with another session's value.
//!
//! Who uses them is known when they are used. From then on a connection of that pool that changes hands forgets what
//! its sequences have given, and a session gets its last connection back for as long as nobody else has used it.

use std::rc::Rc;

use backend::sequences::Lately;
use backend::{Lease, LocalPool, Server};
use config::PoolMode;
use sql::facts::{Access, Facts, Kind};
use sql::hidden::{Currval, Nextval};
use wire::{ErrorReport, SqlState};

use crate::book::Book;
use crate::session::Session;
use crate::work::{Planned, Work};

/// Where the session's nextval may have been called last: pool and backend.
pub(crate) type WroteAt = (u64, u32);

/// A session that has said nextval so often without asking what that gave is taken for one that doesn't ask.
const UNASKED: u8 = 16;

impl Book {
    /// A text is being sent that may call nextval.
    #[inline]
    pub(crate) fn note_writer(&mut self, server: &mut Server, facts: &Facts) {
        if facts.hidden.nextval != Nextval::No {
            if !self.wrote_last_on(server) {
                self.move_writer(server);
            }
            let Server { sequences, handle, .. } = server;
            match facts.hidden.nextval {
                Nextval::No | Nextval::Hardly => sequences.note(self.pid, Lately::Nothing),
                Nextval::Likely => sequences.note(self.pid, Lately::Wrote),
                Nextval::Named => {
                    let may_ask = self.calls < UNASKED;
                    self.calls = self.calls.saturating_add(1);
                    handle.pool.sequences.note_call(sequences, self.pid, may_ask);
                }
            }
        }
    }

    /// The session goes on where it has not written last. Older values of its own are discarded before that, unless
    /// nobody has asked in this pool: then what is there is not to be asked for.
    #[cold]
    fn move_writer(&mut self, server: &mut Server) {
        if server.sequences.is_only(self.pid) {
            server.sequences.spoil();
        }
        self.wrote_at = Some(at(server));
    }

    /// Whether the session may have called nextval here, and nowhere else since.
    #[inline]
    pub(crate) fn wrote_last_on(&self, server: &Server) -> bool {
        self.wrote_at == Some(at(server))
    }

    /// Whether a text may be sent that asks for what sequences have given last.
    ///
    /// # Errors
    /// 55000 if that may have been given to another session, or isn't there any more.
    #[inline]
    pub(crate) fn allow_currval(&mut self, facts: &Facts, server: &mut Server) -> Result<(), ErrorReport> {
        match facts.hidden.currval {
            Currval::No => Ok(()),
            currval => self.check_currval(currval, server),
        }
    }

    #[cold]
    fn check_currval(&mut self, currval: Currval, server: &mut Server) -> Result<(), ErrorReport> {
        let Server { sequences, handle, .. } = server;
        handle.pool.sequences.note_question(sequences, self.pid);
        self.calls = 0;
        let is_last = self.wrote_last_on(server);
        if (server.sequences.is_only(self.pid) && is_last) || self.mode == PoolMode::Session {
            return Ok(());
        }
        let lost = currval == Currval::OfBefore && self.wrote_at.is_some();
        if server.sequences.is_nobody() && !lost {
            return Ok(()); // Postgres says itself that nothing is defined yet
        }
        let report = ErrorReport::error(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            "what currval and lastval would say is not known to be of this session",
        );
        let report = if server.sequences.is_only(self.pid) {
            report.with_detail("This session has called nextval on another server connection since.")
        } else if server.sequences.is_nobody() {
            report.with_detail("Another session has used the server connection on which nextval was called.")
        } else {
            report.with_detail("Other sessions have used the server connection before this one.")
        };
        Err(report.with_hint(
            "Call nextval and currval in one transaction, or use INSERT … RETURNING; or use pool.mode: session for this user.",
        ))
    }
}

impl Session {
    /// The connection on which this session called nextval, if it is idle and somebody asks for such values here. A lone
    /// read has no need of it.
    #[inline]
    pub(crate) fn try_own(&self, work: &Work, pool: &Rc<LocalPool>) -> Option<Lease> {
        let (id, backend) = self.book.wrote_at?;
        if id != pool.shared.id || !pool.shared.sequences.is_known() {
            return None;
        }
        if self.book.begun.is_none() && is_lone_read(work) {
            return None;
        }
        pool.try_lease_own(backend, self.book.pid)
    }

    /// The request in hand asks for what sequences have given: the pools are to keep sessions apart from here on.
    #[cold]
    pub(crate) fn keep_sequences_apart(&mut self) {
        self.book.asks_currval = false;
        self.group.shared.pools.iter().flatten().for_each(|pool| pool.sequences.note());
    }
}

/// Whether a request is a Query that neither calls nextval nor asks what that gave.
#[cold]
fn is_lone_read(work: &Work) -> bool {
    let reads = |facts: &Facts| {
        facts.access == Access::Read && !facts.hidden.runs_code && facts.hidden.currval == Currval::No
    };
    let begins = |facts: &Facts| facts.statements.iter().any(|s| matches!(s.kind, Kind::Begin(_)));
    work.planned.len() == 1
        && matches!(work.planned.front(), Some(Planned::Query(facts)) if reads(facts) && !begins(facts))
}

fn at(server: &Server) -> WroteAt {
    (server.handle.pool.id, server.handle.pid)
}
