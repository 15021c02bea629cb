//! A session's statements under its own names on a server, for what looks there itself: `pg_prepared_statements`, and
//! functions that run EXECUTE.
//!
//! All that the connection has is deallocated, and what the session has is prepared in its place, in front of the text
//! that looks; the connection is cleaned before anybody else has it. That is slow, and exact.

use std::rc::Rc;

use backend::Server;
use sql::facts::{Because, Facts, Kind};
use wire::backend::ErrorFields;
use wire::frontend::Target as Named;
use wire::{ErrorReport, SqlState, encode, tag};

use crate::admit::Admission;
use crate::book::Book;
use crate::core::Core;
use crate::expect::{Expect, StatementName, Text};
use crate::names::AllNames;
use crate::prepared::write_parse;
use crate::work::Work;

/// What SQL has prepared, as the client wrote it, by name; some names may be gone, or stand for something else since.
pub(crate) type Written = std::collections::HashMap<StatementName, Rc<[u8]>, foldhash::fast::RandomState>;

/// The portal that commands of our own run in: the client's unnamed one stays.
pub(crate) const PORTAL: &[u8] = b"pgweir";

impl Book {
    /// Whether a text may look for what SQL has prepared by its name, where nobody sees it: in a DO block, or in a
    /// function of a session in which one has done so before.
    pub(crate) fn looks_inside(&self, facts: &Facts) -> bool {
        facts.statements.iter().any(|statement| match statement.kind {
            Kind::Procedure => true,
            _ => self.runs_names && calls_unknown(&statement.because),
        })
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

    /// As `show_names`, for a Query that may look from inside a function or block. A block may end transactions, if it
    /// shares none with anybody: what is prepared for it is so before.
    #[cold]
    pub(crate) fn show_names_inside(
        &mut self,
        at: &Admission<'_>,
        work: &mut Work,
        server: &mut Server,
        facts: &Facts,
    ) -> Result<(), ErrorReport> {
        if *at.in_transaction || facts.statements.iter().all(|statement| statement.kind != Kind::Procedure) {
            return self.show_names(at.core, work, server);
        }
        server.prepared.doubt_all();
        server.doubt = true;
        let prepared = self.names.iter().filter(|(_, text)| text.statement.prepare_text().is_some());
        let texts = prepared.map(|(name, text)| self.as_written(name, text));
        for sql in [b"DEALLOCATE ALL".to_vec()].into_iter().chain(texts) {
            encode::query(work.up.inject(), &sql)?;
            work.expects.push(Expect::OwnQuery);
            work.owe_ready(server);
        }
        Ok(())
    }

    /// Has the server have what the session has prepared, under its own names, and nothing else.
    #[cold]
    pub(crate) fn show_names(
        &mut self,
        core: &Core,
        work: &mut Work,
        server: &mut Server,
    ) -> Result<(), ErrorReport> {
        server.prepared.doubt_all();
        server.unnamed = None;
        server.doubt = true;
        write_command(work, b"DEALLOCATE ALL")?;
        let mut names: Vec<_> = AllNames::clone(&self.names).into_iter().collect();
        names.sort_unstable_by(|(name, _), (other, _)| name.cmp(other));
        for (name, text) in names {
            let text = self.read_now(core, work, text);
            match text.statement.prepare_text() {
                Some(_) => write_command(work, &self.as_written(&name, &text))?,
                None => {
                    write_parse(work, &name, &text)?;
                    work.expects.push(Expect::OwnUpTo(tag::PARSE_COMPLETE));
                }
            }
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

/// Sends a command of our own in front of what follows: should it fail, that is skipped.
fn write_command(work: &mut Work, sql: &[u8]) -> Result<(), ErrorReport> {
    let out = work.up.inject();
    encode::parse(out, b"", sql, &[])?;
    encode::bind(out, PORTAL, b"", &[])?;
    encode::execute(out, PORTAL, 0)?;
    encode::close(out, Named::Portal, PORTAL)?;
    work.expects.push(Expect::OwnUpTo(tag::CLOSE_COMPLETE));
    Ok(())
}

fn calls_unknown(because: &Option<Because>) -> bool {
    matches!(because, Some(Because::UnknownFunction(_)))
}
