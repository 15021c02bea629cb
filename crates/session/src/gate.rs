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

use std::rc::Rc;

use backend::{Lease, Server, Settings};
use route::TargetRole;
use sql::facts::Effect;
use wire::backend::{ErrorFields, TransactionStatus};
use wire::{ErrorReport, SqlState, encode, tag};

use crate::admit::NO_COMMAND;
use crate::book::{Begun, Book};
use crate::core::Core;
use crate::expect::Expect;
use crate::loss::MayCommit;
use crate::request::Request;
use crate::session::{End, Session};
use crate::until_write::{Said, UntilWrite};
use crate::work::{Copy, Planned, Retry, Work};

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

    /// Tells the client what the connection reports otherwise than it was told, but for what the gate changes.
    fn tell_what_stays(&mut self, work: &mut Work, lease: &mut Lease) -> Result<(), End> {
        let (applied, wanted) = (Rc::clone(&lease.applied), Rc::clone(&self.book.wanted));
        let changes = |name: &str| applied.find(name) != wanted.find(name);
        let user_changes = changes("role") || changes("session_authorization");
        lease.parameters = self.core.pools.intern_parameters(lease.parameters.as_ref().clone());
        self.book
            .tell(&self.core, work, lease, |name, value| {
                let of_user = matches!(name, "is_superuser" | "session_authorization");
                let changed = changes(&name.to_ascii_lowercase()) || (of_user && user_changes);
                (!changed).then_some(value)
            })
            .map_err(End::from)
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

/// Sets what a startup packet said again where code has reset it: of that the server doesn't say `session` any more.
#[cold]
fn restore_startup(startup: &Settings) -> String {
    let mut values = String::new();
    for setting in startup.iter() {
        values.push_str(if values.is_empty() { "(" } else { ",(" });
        backend::settings::write_literal(&mut values, &setting.name);
        values.push(',');
        backend::settings::write_literal(&mut values, &setting.value);
        values.push(')');
    }
    format!(
        "SELECT pg_catalog.set_config(s.name, v.value, false) FROM (VALUES {values}) v (name, value) \
         JOIN pg_catalog.pg_settings s ON pg_catalog.lower(s.name) = v.name WHERE s.source <> 'session'"
    )
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

    /// Tells the client what the server reports otherwise than it was told. `truth`: what a value is to the client;
    /// `None`: not to be told now.
    fn tell<'a>(
        &mut self,
        core: &Core,
        work: &mut Work,
        server: &'a Server,
        truth: impl Fn(&str, &'a str) -> Option<&'a str>,
    ) -> Result<(), ErrorReport> {
        if Rc::ptr_eq(&server.parameters, &self.told) {
            return Ok(());
        }
        let mut told = self.told.as_ref().clone();
        for (name, value) in server.parameters.iter() {
            if let Some(value) = truth(name, value)
                && self.told.get(name) != Some(value)
            {
                encode::parameter_status(work.down.inject(), name, value)?;
                told = told.with(name, value);
            }
        }
        self.told = core.pools.intern_parameters(told);
        self.lex = crate::book::lex_settings(&self.told);
        Ok(())
    }

    /// A statement is sent that gives the server's defaults back: the session's are those of its startup packet, where
    /// that says something. So what the server reports is looked at first.
    #[cold]
    pub(crate) fn expect_reset(&mut self) {
        match &mut self.gate {
            Gate::Open if !self.startup.is_empty() => self.gate = Gate::Passed,
            Gate::Begin { settings } => *settings = true,
            Gate::Open | Gate::Settings(_) | Gate::Passed | Gate::Refused { .. } | Gate::BeginRefused => {}
        }
    }

    /// Tells the client what was held back, once it is known what the request has done to the session.
    #[cold]
    pub(crate) fn tell_held_back(&mut self, core: &Core, work: &mut Work, server: &Server) {
        let (wanted, applied) = self.settings_now(server);
        let (welcome, startup) = (Rc::clone(&self.welcome), Rc::clone(&self.startup));
        // Code may have done so unseen: that is known once the connection was asked.
        let watched = self.watch.is_some();
        let truth = |name: &str, value| {
            let setting = name.to_ascii_lowercase();
            let kept = wanted.find(&setting) == applied.find(&setting);
            let reset =
                watched && startup.find(&setting).is_some() && server.at_login.get(name) == Some(value);
            Some(if kept && !reset { value } else { welcome.get(name).unwrap_or(value) })
        };
        // What is too long to be told was too long to be set.
        self.tell(core, work, server, truth).unwrap_or_default();
    }

    /// A RESET in the open transaction has given the server's own defaults back: those of the startup packet are set
    /// in front of the next message, in the same transaction, which undoes both.
    pub(crate) fn set_behind_reset(&mut self, work: &mut Work, server: &mut Server) {
        let settled = server.owed == 0 && !server.unsynced && work.expects.is_empty();
        let goes_on = work.up.pending().first().is_some_and(|tag| *tag != tag::TERMINATE);
        if !settled || !goes_on || server.status != TransactionStatus::InTransaction || work.copy != Copy::No
        {
            return;
        }
        let known = self.open_entries.as_deref_mut().map(|open| open.now.restore());
        let resets = self.watch.as_mut().is_some_and(|watch| watch.may_reset());
        let hidden = resets.then(|| restore_startup(&self.startup));
        for commands in [known, hidden].into_iter().flatten().filter(|commands| !commands.is_empty()) {
            if encode::query(work.up.inject(), commands.as_bytes()).is_ok() {
                work.expects.push(Expect::OwnQuery);
                work.owe_ready(server);
            }
        }
    }

    /// A command of the gate is done.
    pub(crate) fn pass_gate(&mut self, work: &mut Work, server: &mut Server, step: Step) {
        work.expects.pop();
        match (step, &mut self.gate) {
            (Step::Settled, Gate::Settings(target)) => {
                server.applied = Rc::clone(target);
                server.doubt = work.expects.shows_names();
                let begins = work.expects.gate_is_first();
                self.gate = if begins { Gate::Begin { settings: true } } else { Gate::Passed };
            }
            (Step::Begin, gate) => {
                let settings = matches!(gate, Gate::Begin { settings: true });
                *gate = if settings { Gate::Passed } else { Gate::Open };
                // What follows it in its segment happens inside.
                server.status = TransactionStatus::InTransaction;
            }
            (Step::Settings | Step::Settled | Step::Said, _) => {}
        }
    }

    /// A command of the gate failed. True if it was one of ours, of which the client knows nothing.
    pub(crate) fn refuse_gate(&mut self, step: Step, server: &mut Server) -> bool {
        match step {
            Step::Begin => {
                self.gate = Gate::BeginRefused;
                return false;
            }
            // The transaction is open, and has failed.
            Step::Said => return false,
            Step::Settings | Step::Settled => {}
        }
        // Its transaction is rolled back before anybody has the connection.
        self.gate = Gate::Refused { begun: false };
        server.doubt = false;
        true
    }

    /// What was sent behind a refused gate is skipped up to a Sync: a Query brings none of its own.
    #[cold]
    pub(crate) fn skip_behind_gate(&mut self, work: &mut Work, server: &mut Server, skipped: &[Expect]) {
        let begins = skipped.iter().any(|expect| matches!(expect, Expect::Gate(Step::Begin)));
        if let Gate::Refused { begun } = &mut self.gate {
            *begun = begins;
        }
        let query = skipped.iter().any(|expect| matches!(expect, Expect::Query | Expect::ProvokedQuery(_)));
        if query && work.expects.is_empty() {
            encode::sync(work.up.inject());
            work.expects.push(if self.gate.is_pending() { Expect::OwnSync } else { Expect::Sync });
            work.owe_ready(server);
        }
    }

    /// The ReadyForQuery of the request came.
    #[cold]
    pub(crate) fn leave_gate(&mut self, work: &mut Work) -> Outcome {
        let again = matches!(work.retry, Retry::Wanted { .. });
        let begun = match std::mem::replace(&mut self.gate, Gate::Open) {
            _ if again => return Outcome::Held { tell: false },
            Gate::Refused { begun } => {
                work.retry = Retry::Refused;
                begun
            }
            Gate::BeginRefused => true,
            Gate::Open | Gate::Settings(_) | Gate::Begin { .. } | Gate::Passed => {
                return Outcome::Held { tell: !work.failed };
            }
        };
        if !begun {
            return Outcome::Refused(TransactionStatus::Idle);
        }
        // The client's transaction never began; it believes itself in one, and now in a failed one.
        self.begun = Some(Box::new(Begun::lost(None)));
        Outcome::Refused(TransactionStatus::Failed)
    }
}

/// What became of a gate.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// It held. `tell`: the client is to be told what the server reports.
    Held { tell: bool },
    /// It was refused: the status that the client is told.
    Refused(TransactionStatus),
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

/// The server's error with a word on what it is about: the client's statement says nothing of settings.
pub(crate) fn reword(error: &[u8]) -> Option<Vec<u8>> {
    let report = explained(ErrorFields::parse(error).ok()?.to_report());
    let mut bytes = Vec::new();
    encode::error_response(&mut bytes, &report);
    Some(bytes)
}

fn explained(report: ErrorReport) -> ErrorReport {
    if report.detail.is_some() || report.code == SqlState::QUERY_CANCELED {
        return report;
    }
    report
        .with_detail("A setting of this session was refused when it was restored on a server connection; the statement was not run.")
        .with_hint("Set or reset it.")
}
