//! A message of the client on its way to the server: as it came, or with another statement name, or not at all.

mod extended;
mod pin;

use std::sync::Arc;

use backend::Server;
use route::{DatabaseMap, Target, TargetRole};
use sql::facts::{Facts, Kind, Statement};
use wire::backend::TransactionStatus;
use wire::frame::{self, Head};
use wire::{ErrorReport, SqlState, encode, tag};

use crate::book::Book;
use crate::core::Core;
use crate::expect::Expect;
use crate::own::{self, OwnAnswer};
use crate::prepared::{doubt_deallocated, names_shared, no_statement};
use crate::work::{Copy, Left, Planned, Work};

pub(crate) use pin::no_more_pins;

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
                let facts = Arc::clone(facts);
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
        // What reads by its text may write by a view's function; on the primary, if there are replicas to miss it.
        let misses_nothing =
            at.target.role == TargetRole::Replica || server.handle.pool.cluster.nodes.len() < 2;
        let unnoted = facts.hidden.plain
            && misses_nothing
            && !at.core.reads_run_code.get()
            && !work.may_commit.is_possible()
            && !self.has_shown_or_may()
            && self.until_write.is_none();
        if unnoted {
            self.send_query(at, work, server, head, &facts);
        } else {
            self.admit_noted_query(at, work, server, head, &facts);
        }
    }

    /// A Query that there is something to note of, or that is answered here.
    #[inline(never)]
    fn admit_noted_query(
        &mut self,
        at: &mut Admission<'_>,
        work: &mut Work,
        server: &mut Server,
        head: Head,
        facts: &Arc<Facts>,
    ) {
        let fails = work.failed || server.status == TransactionStatus::Failed;
        if own::is_own(facts) {
            if fails && *at.in_transaction {
                let report = own::in_failed_transaction(self);
                self.refuse_query(work, server, head, report);
                return;
            }
            let mut bytes = Vec::new();
            match self.run_own(facts, at.map, at.database, *at.in_transaction) {
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
            && let Some(tag) = own::deallocate(self, facts)
        {
            let mut bytes = Vec::new();
            encode::command_complete(&mut bytes, tag);
            work.expects.push(Expect::AnswerQuery(bytes));
            drop_message(work, head);
            return;
        }
        if let Some(name) = names_shared(facts)
            && !fails
        {
            self.refuse_query(work, server, head, no_statement(name.as_bytes()));
            return;
        }
        let text = frame::body(&work.up.pending()[..head.total.min(work.up.pending().len())]);
        let text = text.strip_suffix(&[0]).unwrap_or(text);
        if let Err(report) = self.allow_pin(at, facts, text, server) {
            self.refuse_query(work, server, head, report);
            return;
        }
        self.watch_code(at, server, facts, text);
        self.note_writer(server, facts);
        let shows = self.has_shown_or_may() && self.code_looks(facts);
        if shows && self.show_names(at, work, server, false).is_err() {
            return; // of what the session has sent itself nothing is too long
        }
        doubt_deallocated(server, facts);
        self.note_sent(work, server, facts, *at.in_transaction);
        self.note_hidden_writes(at.core, at.target, server, facts);
        if self.until_write.is_some() {
            self.note_query_said(work, facts);
        }
        follow_transaction(facts, at.in_transaction);
        self.send_query(at, work, server, head, facts);
    }

    fn send_query(
        &self,
        at: &Admission<'_>,
        work: &mut Work,
        server: &mut Server,
        head: Head,
        facts: &Facts,
    ) {
        self.count_route(at, facts);
        server.unnamed = None; // a simple Query drops the unnamed statement
        work.expects.push(Expect::Query);
        work.owe_ready(server);
        pass(work, head);
    }

    /// Makes a Query fail on the server, so that its transaction fails too, and gives the client our error.
    #[cold]
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
    #[cold]
    pub(crate) fn refuse_extended(&mut self, work: &mut Work, head: Head, report: ErrorReport) {
        drop_message(work, head);
        encode::bind(work.up.inject(), b"", NO_STATEMENT, &[]).unwrap_or_default();
        work.expects.push(Expect::Provoked(Box::new(report)));
    }
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
#[cold]
pub(crate) fn drop_message(work: &mut Work, head: Head) {
    let now = head.total.min(work.up.pending().len());
    work.up.skip(now);
    work.up_left = Left::Drop(head.total - now);
}

/// What Postgres says of a message type that it doesn't know.
#[cold]
pub(crate) fn invalid_message(tag: u8) -> ErrorReport {
    ErrorReport::fatal(SqlState::PROTOCOL_VIOLATION, format!("invalid frontend message type {tag}"))
}
