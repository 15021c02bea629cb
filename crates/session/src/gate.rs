//! The gate: what must hold on a server connection before a request is executed there, sent in front of it in the same
//! packet.
//!
//! It is made of Parse, Bind and Execute without a Sync: the session's settings, where the connection has others, and
//! the deferred BEGIN. If any of it fails, the server skips all up to the next Sync, the request too: a Query as well,
//! which gets its Sync then. Two Query messages don't do that: the second would run after a refused `SET ROLE`, under
//! the wrong role.
//!
//! The settings are a transaction of their own, `BEGIN; SET …; COMMIT`. So they hold whatever becomes of the request,
//! what a transaction takes from them when it begins is right, and the request runs as if nothing had come before it:
//! `VACUUM` and procedures that commit do too.

mod told;
mod verdict;

use std::rc::Rc;

use backend::{Lease, Settings};
use route::TargetRole;
use sql::facts::Effect;
use wire::{ErrorReport, SqlState, encode, tag};

use crate::admit::NO_COMMAND;
use crate::book::Book;
use crate::core::Core;
use crate::expect::Expect;
use crate::loss::MayCommit;
use crate::request::Request;
use crate::session::{End, Session};
use crate::until_write::{Said, UntilWrite};
use crate::work::{Planned, Work};

use verdict::explained;
pub(crate) use verdict::{Outcome, reword};

/// How far the gate of the request in hand is.
#[derive(Debug)]
pub(crate) enum Gate {
    /// There is none, or it is behind us.
    Open,
    /// Settings were sent and are not confirmed: what the connection has once they are.
    Settings(Rc<Settings>),
    /// The deferred BEGIN was sent and is not confirmed. `settings`: they came before it, and hold.
    Begin { settings: bool },
    /// The settings hold. What the server reports of them comes before its next ReadyForQuery.
    Passed,
    /// The settings were refused. `begun`: the client believes itself in a transaction.
    Refused { begun: bool },
    /// The deferred BEGIN was refused.
    BeginRefused,
}

/// One command of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Of the transaction that sets settings, but for its COMMIT.
    Settings,
    /// The COMMIT of the settings.
    Settled,
    /// The deferred BEGIN.
    Begin,
    /// What was said behind it before, on a replica.
    Said,
}

impl Gate {
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// It isn't known yet whether it holds, or it doesn't: what isn't skipped with the request must wait.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        !matches!(self, Self::Open | Self::Passed)
    }
}

impl Session {
    /// Whether the connection in hand has the settings that the session wants, and the client was told what it
    /// reports.
    #[inline]
    pub(crate) fn has_wanted(&self) -> bool {
        self.held.as_ref().is_none_or(|held| {
            !held.discards
                && Rc::ptr_eq(&held.lease.applied, &self.book.wanted)
                && Rc::ptr_eq(&held.lease.parameters, &self.book.told)
        })
    }

    /// Makes the connection in hand as the session wants it for this request: in the same packet, or before it where
    /// that can't be. The inner error is what the server says of a value that it doesn't take; the connection is gone
    /// then, unless the session is tied to it.
    pub(crate) async fn want(
        &mut self,
        work: &mut Work,
        request: Request,
    ) -> Result<Result<(), ErrorReport>, End> {
        let Some(mut held) = self.held.take() else { return Ok(Ok(())) };
        let alone = self.book.is_tied()
            || matches!(request, Request::Long)
            || self.book.begun.as_ref().is_some_and(|begun| begun.failed);
        if !alone {
            self.tell_what_stays(work, &mut held.lease)?;
            if !work.down.is_flushed() {
                // What a replica's answer holds back must be its own alone.
                self.flush_client(work).await?;
            }
            let discards = std::mem::take(&mut held.discards);
            self.send_settings(work, &mut held.lease, discards)?;
            self.held = Some(held);
            return Ok(Ok(()));
        }
        let discards = std::mem::take(&mut held.discards);
        let settled = self.settle_now(work, &mut held.lease, discards).await;
        if settled.is_err() && !(self.book.is_tied() && held.lease.is_at_rest()) {
            self.let_go(held);
        } else {
            self.held = Some(held);
        }
        Ok(settled)
    }

    /// Sends the settings in front of what is pending.
    fn send_settings(&mut self, work: &mut Work, lease: &mut Lease, discards: bool) -> Result<(), End> {
        let target = self.book.wanted_before(&self.core, work);
        let mut commands = lease.applied.commands_to(&target);
        if discards {
            // If it fails, so does the gate, and the connection is cleaned of everything.
            commands.push(discard_sequences(lease));
        }
        if commands.is_empty() {
            lease.applied = target;
            if self.book.gate.is_open() && !Rc::ptr_eq(&lease.parameters, &self.book.told) {
                // The request resets what this connection doesn't have: it reports nothing then, and the client is to
                // be told all the same.
                self.book.gate = Gate::Passed;
            }
            return Ok(());
        }
        push(work, b"BEGIN", Step::Settings)?;
        for command in &commands {
            push(work, command.as_bytes(), Step::Settings)?;
        }
        push(work, b"COMMIT", Step::Settled)?;
        self.book.gate = Gate::Settings(target);
        lease.unnamed = None;
        lease.unsynced = true;
        lease.doubt = true; // until it is known which settings it has
        Ok(())
    }

    /// Makes a connection as the session wants it, in a round trip of its own, and tells the client what has changed
    /// by that.
    ///
    /// # Errors
    /// What the server says of a value that it doesn't take.
    pub(crate) async fn settle_now(
        &mut self,
        work: &mut Work,
        lease: &mut Lease,
        discards: bool,
    ) -> Result<(), ErrorReport> {
        let mut commands = lease.applied.commands_to(&self.book.wanted);
        let doubted = lease.doubt;
        if discards {
            commands.push(discard_sequences(lease));
            lease.doubt = true; // until it is done
        }
        let commands = commands.join(";");
        if !commands.is_empty() {
            let limit = lease.handle.pool.settings.server_connect_timeout;
            let done = tokio::time::timeout(limit, crate::reclaim::execute(lease, commands.as_bytes())).await;
            match done.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
                Ok(done) => done.map_err(explained)?,
                Err(error) => {
                    lease.torn = true;
                    let message =
                        format!("the connection to server {} was lost", lease.handle.pool.node.name);
                    return Err(ErrorReport::error(SqlState::CONNECTION_FAILURE, message)
                        .with_detail(error.to_string()));
                }
            }
        }
        lease.doubt = doubted;
        lease.applied = Rc::clone(&self.book.wanted);
        lease.parameters = self.core.pools.intern_parameters(lease.parameters.as_ref().clone());
        self.book.tell(&self.core, work, lease, |_, value| Some(value))
    }

    /// Sends the deferred BEGIN in front of a request.
    pub(crate) fn send_begin(&mut self, work: &mut Work, request: Request) -> Result<(), End> {
        let (Some(held), Some(begun)) = (&mut self.held, self.book.begun.take()) else { return Ok(()) };
        held.in_transaction = true;
        work.may_commit = MayCommit::No;
        if !begun.failed && !matches!(request, Request::Long) {
            push(work, &begun.sql, Step::Begin)?;
            for said in begun.said.iter().flatten() {
                push_said(work, said)?;
            }
            if self.book.gate.is_open() {
                self.book.gate = Gate::Begin { settings: false };
            }
            held.lease.unnamed = None;
            held.lease.unsynced = true;
            if self.book.seen.reads_at.is_some() && held.target.role == TargetRole::Replica {
                self.book.until_write = Some(UntilWrite::new(held.target, begun));
            } else {
                self.book.sent_begin = held.lease.handle.may_be_standby().then_some(begun);
            }
            return Ok(());
        }
        // Of a transaction that was lost there is no text.
        let sql = if begun.sql.is_empty() { b"BEGIN" } else { &*begun.sql };
        let failing = begun.failed.then_some(NO_COMMAND);
        for sql in [sql].into_iter().chain(failing) {
            encode::query(work.up.inject(), sql).map_err(ErrorReport::from)?;
            work.expects.push(Expect::OwnQuery);
            work.owe_ready(&mut held.lease);
        }
        if let Some(said) = begun.said.filter(|said| !said.is_empty() && !begun.failed) {
            for said in &said {
                push_said(work, said)?;
            }
            encode::sync(work.up.inject());
            work.expects.push(Expect::OwnSync);
            work.owe_ready(&mut held.lease);
        }
        Ok(())
    }

    /// The settings were refused and the client has been told: the connection is rolled back by somebody else.
    #[cold]
    pub(crate) fn leave_at_gate(&mut self, work: &mut Work) {
        work.reset_request();
        if let Some(held) = self.held.take() {
            self.let_go(held);
        }
    }
}

/// The command by which a connection forgets what its sequences have given to others.
#[cold]
fn discard_sequences(lease: &mut Lease) -> String {
    lease.handle.pool.sequences.note_handover();
    lease.sequences.discard();
    "DISCARD SEQUENCES".to_owned()
}

impl Book {
    /// The settings that a connection must have before the request in hand. A statement that sets a setting doesn't
    /// need it to be set before: so a session whose role was dropped can still leave it.
    fn wanted_before(&self, core: &Core, work: &Work) -> Rc<Settings> {
        let facts = match work.planned.front() {
            Some(Planned::Query(facts)) => facts,
            Some(Planned::Parse { text, .. }) => &text.facts,
            Some(Planned::Names(_)) | None => return Rc::clone(&self.wanted),
        };
        let [statement] = &facts.statements[..] else { return Rc::clone(&self.wanted) };
        let [effect] = &statement.effects[..] else { return Rc::clone(&self.wanted) };
        if work.planned.len() > 1 || self.begun.is_some() {
            return Rc::clone(&self.wanted);
        }
        let without = match effect {
            // It may be said in part only.
            Effect::Set { name, .. } if &**name == "datestyle" => return Rc::clone(&self.wanted),
            // The role ends with it.
            Effect::Set { name, .. } | Effect::Reset(name) if &**name == "session_authorization" => {
                self.wanted.without(name).without("role")
            }
            Effect::Set { name, .. } | Effect::Reset(name) => self.wanted.without(name),
            Effect::DiscardAll => Settings::default(),
            _ => return Rc::clone(&self.wanted),
        };
        core.pools.intern_settings(without)
    }
}

/// One command as Parse, Bind and Execute.
fn push(work: &mut Work, sql: &[u8], step: Step) -> Result<(), End> {
    let out = work.up.inject();
    encode::parse(out, b"", sql, &[]).map_err(ErrorReport::from)?;
    encode::bind(out, b"", b"", &[]).map_err(ErrorReport::from)?;
    encode::execute(out, b"", 0).map_err(ErrorReport::from)?;
    work.expects.push(Expect::Gate(step));
    Ok(())
}

/// What was said before, likewise.
fn push_said(work: &mut Work, said: &Said) -> Result<(), End> {
    let out = work.up.inject();
    let types: Vec<u32> = said.types.as_chunks::<4>().0.iter().map(|oid| u32::from_be_bytes(*oid)).collect();
    encode::parse(out, b"", &said.sql, &types).map_err(ErrorReport::from)?;
    // It was a client's Bind, so that its length fits.
    let length = i32::try_from(said.values.len() + 6).unwrap_or(i32::MAX);
    out.push(tag::BIND);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&said.values);
    encode::execute(out, b"", 0).map_err(ErrorReport::from)?;
    work.expects.push(Expect::Gate(Step::Said));
    Ok(())
}
