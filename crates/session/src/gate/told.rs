//! What the client is told of its settings, around a gate: what the server reports, as the session sees it.

use std::rc::Rc;

use backend::{Lease, Server, Settings};
use wire::backend::TransactionStatus;
use wire::{ErrorReport, encode, tag};

use super::Gate;
use crate::book::Book;
use crate::core::Core;
use crate::expect::Expect;
use crate::session::{End, Session};
use crate::work::{Copy, Work};

impl Session {
    /// Tells the client what the connection reports otherwise than it was told, but for what the gate changes.
    pub(super) fn tell_what_stays(&mut self, work: &mut Work, lease: &mut Lease) -> Result<(), End> {
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
}

impl Book {
    /// Tells the client what the server reports otherwise than it was told. `truth`: what a value is to the client;
    /// `None`: not to be told now.
    pub(super) fn tell<'a>(
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
