//! The ledger of a session's settings, exact under transactions and savepoints.
//!
//! A setting is written down once its server has confirmed it. Inside a transaction it is written beside what was
//! there when the transaction began, so that a rollback brings that back, to a savepoint too.

use std::rc::Rc;
use std::sync::Arc;

use backend::{Server, Setting, Settings};
use route::SessionRouting;
use sql::facts::{Effect, Facts, Kind, Name, PinReason};
use wire::backend::TransactionStatus;

use crate::book::Book;
use crate::core::Core;
use crate::prepared;
use crate::set_config;
use crate::work::{Sent, Work};

/// What a session wants, and what its server connection has. They differ after a RESET: the server goes back to its
/// own default, the session to what its startup packet said.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    wanted: Rc<Settings>,
    pub(crate) applied: Rc<Settings>,
    /// Something was set for the transaction alone that its statements may be read by, and no server reports.
    pub(crate) unsure: bool,
    /// How its statements were routed, at a savepoint.
    routing: SessionRouting,
    /// UNLISTENs of the open transaction; `None`: of all channels.
    left: Vec<Option<Name>>,
}

impl Entry {
    /// The commands after which the connection has what is wanted.
    pub(crate) fn restore(&mut self) -> String {
        if Rc::ptr_eq(&self.applied, &self.wanted) {
            return String::new();
        }
        let commands = self.applied.commands_to(&self.wanted).join(";");
        self.applied = Rc::clone(&self.wanted);
        commands
    }
}

/// The settings of an open transaction.
#[derive(Debug)]
pub(crate) struct OpenEntries {
    pub(crate) now: Entry,
    savepoints: Vec<(Name, Entry)>,
}

impl Book {
    /// Notes what a statement that is being sent may do to the session. `seq`: which ReadyForQuery will settle it.
    #[inline]
    pub(crate) fn note_effects(&mut self, work: &mut Work, facts: &Arc<Facts>, in_transaction: bool) {
        let follows = self.has_open() || !work.effects.is_empty() || facts.statements.len() > 1;
        let follows = follows || self.watch.is_some();
        if facts.statements.iter().any(|s| !s.effects.is_empty() || (follows && ends_or_begins(s.kind))) {
            let facts = match set_config::is_called(facts) {
                true => set_config::resolved(work, facts),
                false => Arc::clone(facts),
            };
            if facts.statements.iter().flat_map(|s| &s.effects).any(resets) {
                self.expect_reset();
            }
            work.effects.push_back(Sent { ready: work.ready_sent, in_transaction, facts });
        }
    }

    /// The reasons for which this text would tie the session to its connection.
    pub(crate) fn pins(facts: &Facts) -> impl Iterator<Item = PinReason> + Clone {
        let effects = facts.statements.iter().flat_map(|s| &s.effects);
        effects.filter_map(effect_pins)
    }

    /// A ReadyForQuery came: what was sent up to it has happened, or hasn't. `was` is the status before it.
    #[inline]
    pub(crate) fn settle_effects(
        &mut self,
        core: &Core,
        work: &mut Work,
        server: &mut Server,
        was: TransactionStatus,
    ) {
        self.note_outcome(work.failed || server.status == TransactionStatus::Failed);
        if !work.effects.is_empty() || self.has_open() {
            self.settle_noted(core, work, server, was);
        }
    }

    #[inline(never)]
    fn settle_noted(&mut self, core: &Core, work: &mut Work, server: &mut Server, was: TransactionStatus) {
        let ready = work.ready_seen;
        let had_open = self.has_open();
        let mut aborted = was == TransactionStatus::Failed;
        let mut in_transaction = was != TransactionStatus::Idle;
        let settled =
            || work.effects.iter().filter(|sent| sent.ready <= ready).flat_map(|sent| &sent.facts.statements);
        let of_settings = settled().flat_map(|s| &s.effects).filter(|e| is_of_settings(e)).count();
        let several = of_settings > 1;
        // Several statements of one request are one transaction, whatever else they begin or end.
        let implicit = settled().nth(1).is_some();
        let committed_perhaps = work.failed && settled().any(|s| commits(s.kind));
        if committed_perhaps && (of_settings > 0 || self.open_entries.is_some()) {
            // What came before the statement that failed may be committed, and which that is isn't known.
            self.tie(server, PinReason::Setting);
        }
        while work.effects.front().is_some_and(|sent| sent.ready <= ready) {
            let Some(sent) = work.effects.pop_front() else { break };
            in_transaction |= sent.in_transaction;
            for statement in &sent.facts.statements {
                if work.failed {
                    if let Some(done) =
                        work.discarded.as_ref().filter(|done| statement.effects.contains(done))
                    {
                        self.settle(core, server, done, false);
                        continue;
                    }
                    let open = in_transaction || server.status == TransactionStatus::Failed;
                    self.settle_failed(server, &statement.effects, open && several);
                    continue;
                }
                match statement.kind {
                    Kind::Begin(_) => in_transaction = true,
                    Kind::Commit | Kind::TwoPhase if !aborted => self.commit(server),
                    Kind::Commit | Kind::Rollback => {
                        self.roll_back();
                        self.note_outcome(true);
                    }
                    Kind::EndAndChain if statement.effects.is_empty() && !aborted => self.commit(server),
                    Kind::EndAndChain => self.roll_back(),
                    _ => {}
                }
                in_transaction &= !matches!(statement.kind, Kind::Commit | Kind::Rollback | Kind::TwoPhase);
                for effect in &statement.effects {
                    aborted &= !matches!(effect, Effect::RollbackTo(_));
                    self.note_outcome(matches!(effect, Effect::RollbackTo(_)));
                    self.settle(core, server, effect, in_transaction || implicit);
                }
            }
        }
        match server.status {
            // If nothing was open before, all of it came behind the last COMMIT or ROLLBACK of the request.
            TransactionStatus::Idle if (implicit || !had_open) && !work.failed => self.commit(server),
            TransactionStatus::Idle => self.roll_back(), // what wasn't committed
            TransactionStatus::InTransaction | TransactionStatus::Failed => {}
        }
    }

    /// Of what failed, only what no rollback undoes has happened. Where several statements of one request concern
    /// settings and one of them failed inside a transaction, which of them came before it isn't known: the session
    /// keeps its connection then.
    fn settle_failed(&mut self, server: &mut Server, effects: &[Effect], unsure: bool) {
        for effect in effects {
            if let Some(reason) = effect_pins(effect).filter(|reason| outlives_rollback(*reason)) {
                self.tie(server, reason);
            }
            self.settle_unknown(server, effect);
            if unsure && is_of_settings(effect) {
                self.tie(server, PinReason::Setting);
            }
        }
    }

    /// The session has something on its connection, or may have: it stays there until the connection was asked.
    fn tie(&mut self, server: &mut Server, reason: PinReason) {
        self.pin.get_or_insert(reason);
        if crate::pins::is_for_good(reason) {
            self.for_good.get_or_insert(reason);
            server.spent = true;
        }
        server.doubt = true;
        self.ask();
    }

    /// What may hide anything has run. If it is known to hide nothing, nobody watches.
    fn settle_unknown(&mut self, server: &mut Server, effect: &Effect) {
        server.doubt |=
            self.watch.is_some() && matches!(effect, Effect::Unknown | Effect::Pin(PinReason::Doubt));
    }

    /// The connection was found with another setting than is known of it.
    pub(crate) fn settle_found(&mut self, core: &Core, server: &mut Server, effect: &Effect) {
        self.settle(core, server, effect, false);
    }

    fn settle(&mut self, core: &Core, server: &mut Server, effect: &Effect, in_transaction: bool) {
        if let Some(reason) = effect_pins(effect) {
            if self.is_pinned_by(reason) {
                self.tie(server, reason);
            }
            return;
        }
        match effect {
            Effect::Set { .. } | Effect::Reset(_) | Effect::ResetAll => {
                let before = self.entry(server);
                if in_transaction && *effect == Effect::ResetAll {
                    self.keep_routing();
                }
                let after = self.changed(core, server, &before, effect);
                if in_transaction {
                    self.open(server).now = after;
                } else {
                    self.wanted = after.wanted;
                    server.applied = after.applied;
                }
            }
            Effect::Savepoint(name) => {
                let routing = self.routing;
                let open = self.open(server);
                open.now.routing = routing;
                open.savepoints.push((name.clone(), open.now.clone()));
            }
            Effect::ReleaseSavepoint(name) => {
                let open = self.open(server);
                if let Some(at) = open.savepoints.iter().rposition(|(known, _)| known == name) {
                    open.savepoints.truncate(at);
                }
            }
            Effect::RollbackTo(name) => {
                let open = self.open(server);
                if let Some(at) = open.savepoints.iter().rposition(|(known, _)| known == name) {
                    open.savepoints.truncate(at + 1);
                    open.now = open.savepoints[at].1.clone();
                    self.routing = open.now.routing;
                }
            }
            Effect::DiscardAll => {
                server.forget_session();
                self.forget_session();
            }
            Effect::Deallocate(Some(name)) if self.is_native() => {
                self.names.remove(name.as_bytes());
                self.written.remove(name.as_bytes());
                self.may_unpin(PinReason::SqlPrepare);
            }
            Effect::Deallocate(None) => {
                self.names.clear();
                self.written.clear();
                self.may_unpin(PinReason::SqlPrepare);
            }
            Effect::Pin(_) | Effect::Unknown => self.settle_unknown(server, effect),
            Effect::MayUnpin(reason) => self.may_unpin(*reason),
            Effect::Deallocate(Some(_)) => self.may_unpin(PinReason::SqlPrepare),
            Effect::Redefines => self.watch.get_or_insert_default().redefines = true,
            Effect::SetLocal(name) => {
                if in_transaction && prepared::is_unsure(name.as_deref()) {
                    self.open(server).now.unsure = true;
                }
            }
            Effect::Unlisten(name) => {
                self.may_unpin(PinReason::Listen);
                match in_transaction {
                    true => self.open(server).now.left.push(name.clone()),
                    false => self.note_unlisten([name.clone()]),
                }
            }
            Effect::SetConfig { .. } // it was resolved when it was sent
            | Effect::RollbackAndChain
            | Effect::SetTransaction(_)
            | Effect::Show(_)
            | Effect::Listen(_)
            | Effect::Channels
            | Effect::Currval
            | Effect::Prepare(_) => {}
        }
    }

    /// What ties the session may be gone.
    fn may_unpin(&mut self, reason: PinReason) {
        if self.pin == Some(reason) {
            self.ask();
            if let Some(watch) = &mut self.watch {
                watch.may_end = true;
            }
        }
    }

    /// The settings that the session wants now, and those that its connection has.
    pub(crate) fn settings_now(&self, server: &Server) -> (Rc<Settings>, Rc<Settings>) {
        let now = self.entry(server);
        (now.wanted, now.applied)
    }

    /// What holds now, in the open transaction or outside.
    fn entry(&self, server: &Server) -> Entry {
        match &self.open_entries {
            Some(open) => open.now.clone(),
            None => {
                let (wanted, applied) = (Rc::clone(&self.wanted), Rc::clone(&server.applied));
                Entry { wanted, applied, unsure: false, routing: self.routing, left: Vec::new() }
            }
        }
    }

    fn open(&mut self, server: &Server) -> &mut OpenEntries {
        let now = self.entry(server);
        self.open_entries.get_or_insert_with(|| Box::new(OpenEntries { now, savepoints: Vec::new() }))
    }

    /// Whether the open transaction has something that a rollback undoes.
    #[inline]
    fn has_open(&self) -> bool {
        self.open_entries.is_some() || self.routing_before.is_some()
    }

    /// The open transaction is about to change how the session's statements are routed.
    pub(crate) fn keep_routing(&mut self) {
        if self.routing_before.is_none() {
            self.routing_before = Some(Box::new(self.routing));
        }
    }

    /// What the transaction has changed is as it was.
    #[inline]
    pub(crate) fn roll_back(&mut self) {
        self.open_entries = None;
        if let Some(before) = self.routing_before.take() {
            self.routing = *before;
        }
    }

    fn commit(&mut self, server: &mut Server) {
        self.routing_before = None;
        if let Some(open) = self.open_entries.take() {
            self.wanted = open.now.wanted;
            server.applied = open.now.applied;
            self.note_unlisten(open.now.left);
        }
    }

    /// What holds after a SET or RESET.
    fn changed(&mut self, core: &Core, server: &Server, before: &Entry, effect: &Effect) -> Entry {
        let intern = |settings| core.pools.intern_settings(settings);
        let (unsure, left, routing) = (before.unsure, before.left.clone(), before.routing);
        let before = &without_role(before, effect);
        match effect {
            Effect::Set { name, value, raw } => {
                let under_role = before.applied.has_identity();
                // What is said of it may be a part of it only (`DMY`); what the server reports is all of it.
                let reported = server.parameters.get("DateStyle").filter(|_| &**name == "datestyle");
                let (value, raw) = reported.map_or((value.clone(), *raw), |whole| (whole.into(), false));
                let setting = Setting { name: name.clone(), value, raw, under_role };
                Entry {
                    applied: intern(before.applied.with(setting.clone())),
                    wanted: intern(before.wanted.with(setting)),
                    unsure,
                    routing,
                    left,
                }
            }
            Effect::Reset(name) => {
                let at_startup = self.startup.find(name).cloned();
                let wanted =
                    at_startup.map_or_else(|| before.wanted.without(name), |s| before.wanted.with(s));
                Entry {
                    applied: intern(before.applied.without(name)),
                    wanted: intern(wanted),
                    unsure,
                    routing,
                    left,
                }
            }
            _ => {
                // RESET ALL leaves the role and the session authorization as they are.
                self.routing = self.routing_at_startup;
                let kept = |from: &Settings, onto: &Settings| {
                    let identity =
                        ["session_authorization", "role"].into_iter().filter_map(|name| from.find(name));
                    identity.fold(onto.clone(), |settings, kept| settings.with(kept.clone()))
                };
                Entry {
                    applied: intern(kept(&before.applied, &Settings::default())),
                    wanted: intern(kept(&before.wanted, &self.startup)),
                    unsure,
                    routing,
                    left,
                }
            }
        }
    }
}

/// Another session authorization has no role until one is set.
fn without_role(before: &Entry, effect: &Effect) -> Entry {
    let mut entry = before.clone();
    if let Effect::Set { name, .. } | Effect::Reset(name) = effect
        && &**name == "session_authorization"
    {
        for settings in [&mut entry.wanted, &mut entry.applied] {
            if settings.find("role").is_some() {
                *settings = Rc::new(settings.without("role"));
            }
        }
    }
    entry
}

fn ends_or_begins(kind: Kind) -> bool {
    matches!(kind, Kind::Begin(_) | Kind::Rollback) || commits(kind)
}

/// What was changed before it may be there to stay.
fn commits(kind: Kind) -> bool {
    matches!(kind, Kind::Commit | Kind::EndAndChain | Kind::TwoPhase | Kind::Procedure)
}

fn resets(effect: &Effect) -> bool {
    matches!(effect, Effect::Reset(_) | Effect::ResetAll | Effect::DiscardAll)
}

fn is_of_settings(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Set { .. }
            | Effect::Reset(_)
            | Effect::ResetAll
            | Effect::Savepoint(_)
            | Effect::ReleaseSavepoint(_)
            | Effect::RollbackTo(_)
    )
}

fn outlives_rollback(reason: PinReason) -> bool {
    matches!(reason, PinReason::AdvisoryLock | PinReason::Setseed | PinReason::Load)
}

fn effect_pins(effect: &Effect) -> Option<PinReason> {
    match effect {
        // What is hidden in a function or a DO block can't be moved: the connection is cleaned afterwards instead.
        Effect::Pin(PinReason::Doubt) => None,
        Effect::Pin(reason) => Some(*reason),
        Effect::Listen(_) => Some(PinReason::Listen),
        Effect::Prepare(_) => Some(PinReason::SqlPrepare),
        Effect::Set { .. }
        | Effect::SetConfig { .. }
        | Effect::SetLocal(_)
        | Effect::Savepoint(_)
        | Effect::ReleaseSavepoint(_)
        | Effect::RollbackTo(_)
        | Effect::RollbackAndChain
        | Effect::SetTransaction(_)
        | Effect::Reset(_)
        | Effect::ResetAll
        | Effect::DiscardAll
        | Effect::Show(_)
        | Effect::Unlisten(_)
        | Effect::Channels
        | Effect::Deallocate(_)
        | Effect::MayUnpin(_)
        | Effect::Currval
        | Effect::Redefines
        | Effect::Unknown => None,
    }
}
