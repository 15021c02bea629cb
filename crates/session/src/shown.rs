//! A session's statements under its own names on a server, for what looks there itself: `pg_prepared_statements`, and
//! functions that run EXECUTE.
//!
//! All that the connection has is deallocated, and what the session has is prepared in its place, in front of the text
//! that looks; the connection is cleaned before anybody else has it. That is slow, and exact.

use std::collections::HashSet;
use std::rc::Rc;

use backend::Server;
use sql::facts::{Because, Facts, Kind};
use wire::backend::ErrorFields;
use wire::{ErrorReport, SqlState, encode};

use crate::admit::Admission;
use crate::book::Book;
use crate::expect::{Expect, StatementName, Text};
use crate::names::AllNames;
use crate::prepared::write_parse;
use crate::work::Work;

/// What SQL has prepared, as the client wrote it, by name; some names may be gone, or stand for something else since.
pub(crate) type Written = std::collections::HashMap<StatementName, Rc<[u8]>, foldhash::fast::RandomState>;

/// What was shown on a connection.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Which one.
    pub(crate) pid: u32,
    pub(crate) names: HashSet<StatementName>,
    /// Nothing is known to have been left out.
    pub(crate) whole: bool,
}

/// The portal that commands of our own run in: the client's unnamed one stays.
pub(crate) const PORTAL: &[u8] = b"pgweir";

impl Book {
    /// Whether the text that is being sent may look for what SQL has prepared by its name, where nobody sees it: in code
    /// that is watched, in a DO block, or in a function of a session in which one has done so before.
    #[cold]
    pub(crate) fn code_looks(&mut self, facts: &Facts) -> bool {
        let watched = self.watch.as_mut().is_some_and(|watch| watch.names_statements());
        watched || self.looks_inside(facts)
    }

    fn looks_inside(&self, facts: &Facts) -> bool {
        facts.statements.iter().any(|statement| match statement.kind {
            Kind::Procedure => true,
            _ => self.runs_names && calls_unknown(&statement.because),
        })
    }

    /// Whether there is anything to be shown, or left of what was shown.
    #[inline]
    pub(crate) fn has_shown_or_may(&self) -> bool {
        !self.written.is_empty() || (self.shown.is_some() && self.is_tied())
    }

    /// Whether a text that fails because a function in it doesn't find a name may be run again.
    #[cold]
    pub(crate) fn may_look_again(&self, facts: &Facts) -> bool {
        !self.runs_names
            && facts.statements.iter().all(|s| s.kind == Kind::Select)
            && facts.statements.iter().any(|statement| calls_unknown(&statement.because))
    }

    /// Whether an error says that a function didn't find what SQL has prepared in this session.
    #[cold]
    pub(crate) fn missed_by_function(&self, fields: &ErrorFields<'_>) -> bool {
        let message = fields.message();
        let name = message.split('"').nth(1).unwrap_or_default();
        fields.sqlstate() == Some(SqlState::INVALID_SQL_STATEMENT_NAME)
            && fields.get(b'W').is_some()
            && self.written.contains_key(name.as_bytes())
            && self.names.contains_key(name.as_bytes())
    }

    /// Whether the session's connection has what SQL has prepared under the names that it has in the session.
    pub(crate) fn is_native(&self) -> bool {
        self.native && self.is_tied()
    }

    /// Whether the connection has this name as the session has it.
    pub(crate) fn is_native_name(&self, name: &[u8]) -> bool {
        self.is_native() && self.names.get(name).is_some_and(|text| text.statement.prepare_text().is_some())
    }

    /// Has the server have what the session has prepared, under its own names, and nothing else: `all`, or what SQL has
    /// prepared. Of that, what can't be prepared any more is left out: each command is a request of its own.
    #[cold]
    pub(crate) fn show_names(
        &mut self,
        at: &Admission<'_>,
        work: &mut Work,
        server: &mut Server,
        all: bool,
    ) -> Result<(), ErrorReport> {
        if self.is_native() {
            return Ok(());
        }
        server.prepared.doubt_all();
        server.unnamed = None;
        server.doubt = true;
        command(work, server, b"DEALLOCATE ALL")?;
        let in_transaction = *at.in_transaction;
        if in_transaction {
            command(work, server, b"SAVEPOINT pgweir")?;
        }
        let mut names: Vec<_> = AllNames::clone(&self.names).into_iter().collect();
        names.sort_unstable_by(|(name, _), (other, _)| name.cmp(other));
        let shows = |text: &Text| all || text.statement.prepare_text().is_some();
        let shown = names.iter().filter(|(_, text)| shows(text)).map(|(name, _)| name.clone());
        let shown = Shown { pid: server.handle.pid, names: shown.collect(), whole: true };
        self.shown = Some(Box::new(shown)).filter(|_| !names.is_empty());
        let mut parsed = Vec::new();
        for (name, text) in names {
            let text = self.read_now(at.core, work, text);
            if text.statement.prepare_text().is_none() {
                parsed.push((name, text));
                continue;
            }
            command(work, server, &self.as_written(&name, &text))?;
            if in_transaction {
                command(work, server, b"ROLLBACK TO pgweir")?;
            }
        }
        if in_transaction {
            command(work, server, b"RELEASE pgweir")?;
        }
        // No Sync may come between the gate and what it is for: these share the segment of what follows.
        for (name, text) in parsed.into_iter().filter(|_| all) {
            write_parse(work, &name, &text)?;
            work.expects.push(Expect::OwnParse);
        }
        Ok(())
    }

    /// The text of a PREPARE with the name that the session gave it.
    fn as_written(&self, name: &[u8], text: &Text) -> Vec<u8> {
        if let Some(written) = self.written.get(name) {
            return written.to_vec();
        }
        let Some(parts) = text.statement.prepare_text() else { return Vec::new() };
        let quoted = String::from_utf8_lossy(name).replace('"', "\"\"");
        [parts.before, b"\"", quoted.as_bytes(), b"\"", parts.behind].concat()
    }
}

/// Sends a command of our own, of which the client hears nothing.
fn command(work: &mut Work, server: &mut Server, sql: &[u8]) -> Result<(), ErrorReport> {
    encode::query(work.up.inject(), sql)?;
    work.expects.push(Expect::OwnQuery);
    work.owe_ready(server);
    Ok(())
}

fn calls_unknown(because: &Option<Because>) -> bool {
    matches!(because, Some(Because::UnknownFunction(_)))
}
