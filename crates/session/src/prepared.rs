//! A session's prepared statements: what its names stand for, what they are read by, and where on its server they are.
//!
//! Named statements are kept by pgweir and prepared on a server under a name of their content, when they are first
//! needed there. The unnamed statement stays unnamed; where another session has used the connection since, its Parse
//! is sent again in front of the Bind.
//!
//! Content is more than text (see `backend::statement`): a text is read by the settings of its Bind. Where those aren't
//! known, because what sets them isn't settled or isn't reported, it is a statement of the session's own, which nobody
//! else meets on the connection.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::rc::Rc;

use backend::statement::{self, Presence};
use backend::{Parameters, PrepareText, Server, Settings};
use sql::facts::{Effect, Facts, Kind, PinReason, Statement};
use wire::frame::Head;
use wire::frontend::Target as Named;
use wire::{ErrorReport, SqlState, encode};

use crate::book::Book;
use crate::core::Core;
use crate::expect::{Expect, StatementName, Text};
use crate::own;
use crate::shown::PORTAL;
use crate::work::{Retry, Work};

/// Names of statements that one client may have.
pub(crate) const MAX_NAMES: usize = 10_000;

/// What the statements of a session are read by, as long as it wants this and its server reports that.
#[derive(Debug)]
pub(crate) struct Reading {
    wanted: Rc<Settings>,
    told: Rc<Parameters>,
    by: Rc<Settings>,
    /// The same for the same settings, on this core.
    key: u64,
}

impl Reading {
    pub(crate) fn new(core: &Core, wanted: &Rc<Settings>, told: &Rc<Parameters>) -> Self {
        let by = core.pools.intern_settings(statement::reading(wanted, told));
        let key = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one(&*by);
        Self { wanted: Rc::clone(wanted), told: Rc::clone(told), by, key }
    }
}

impl Book {
    /// A text that the client has sent, as it is read now.
    pub(crate) fn read(&mut self, core: &Core, sql: &[u8], types: &[u8]) -> Rc<Text> {
        let lex = self.lex;
        core.text(sql, types, self.read_by(core), lex)
    }

    /// What a PREPARE makes, as it is read now.
    pub(crate) fn read_prepare(&mut self, core: &Core, prepare: PrepareText<'_>) -> Rc<Text> {
        let lex = self.lex;
        core.text_prepared(prepare, self.read_by(core), lex)
    }

    /// The text that a name stands for, as it is read now.
    #[inline]
    pub(crate) fn text_read_now(&mut self, core: &Core, work: &Work, name: &[u8]) -> Option<Rc<Text>> {
        let text = self.text(name)?;
        let now = self.read_now(core, work, Rc::clone(&text));
        if !Rc::ptr_eq(&text, &now) {
            self.set_name(name, Some(Rc::clone(&now)));
        }
        Some(now)
    }

    /// A text as it is read now. A session that is tied to its connection, which nobody has before all is discarded
    /// there, reads it as it did when it was prepared.
    #[inline]
    pub(crate) fn read_now(&mut self, core: &Core, work: &Work, text: Rc<Text>) -> Rc<Text> {
        if self.is_tied() || own::is_own(&text.facts) {
            return if text.named.is_none() { text } else { self.read_named(core, work, text) };
        }
        if self.reads_unsurely(work) {
            return match (&text.named, &text.reading) {
                (Some(_), _) => self.read_named(core, work, text),
                (None, None) => text,
                (None, Some(_)) => core.text_alone(&text),
            };
        }
        let by = self.read_by(core);
        if text.reading.as_ref().is_some_and(|reading| Rc::ptr_eq(reading, by)) {
            return text;
        }
        if text.named.is_some() {
            return self.read_named(core, work, text);
        }
        if let Some(prepare) = text.statement.prepare_text() {
            return self.read_prepare(core, prepare);
        }
        self.read(core, &text.statement.sql, &text.statement.types)
    }

    /// What texts are read by, as far as that is settled.
    #[inline]
    pub(crate) fn read_by(&mut self, core: &Core) -> &Rc<Settings> {
        let wanted = self.open_entries.as_ref().map_or(&self.wanted, |open| &open.now.applied);
        if !Rc::ptr_eq(&self.reading.wanted, wanted) || !Rc::ptr_eq(&self.reading.told, &self.told) {
            self.reading = Reading::new(core, wanted, &self.told);
        }
        &self.reading.by
    }

    /// A number for what texts are read by.
    pub(crate) fn reading_key(&mut self, core: &Core) -> u64 {
        self.read_by(core);
        self.reading.key
    }

    /// Whether it isn't known what a text is read by that is sent now.
    #[inline]
    pub(crate) fn reads_unsurely(&self, work: &Work) -> bool {
        if work.effects.is_empty() && self.open_entries.is_none() {
            return false;
        }
        let open = self.open_entries.as_deref();
        let ends = |kind| matches!(kind, Kind::Commit | Kind::Rollback | Kind::TwoPhase | Kind::EndAndChain);
        let mut sent = work.effects.iter().flat_map(|sent| &sent.facts.statements);
        open.is_some_and(|open| open.now.unsure)
            || sent.any(|s| (open.is_some() && ends(s.kind)) || s.effects.iter().any(changes_reading))
    }

    /// Whether the session may have a statement of this name.
    ///
    /// # Errors
    /// 42P05 if it has one; 54000 if it has as many as it may.
    pub(crate) fn may_name(&self, name: &[u8]) -> Result<(), ErrorReport> {
        if self.names.contains_key(name) {
            let message = format!("prepared statement \"{}\" already exists", lossy(name));
            return Err(ErrorReport::error(SqlState::DUPLICATE_PREPARED_STATEMENT, message));
        }
        if self.names.len() < MAX_NAMES {
            return Ok(());
        }
        Err(too_many_names())
    }

    /// Whether a name is no text in the encoding that the client said it writes.
    pub(crate) fn is_unreadable(&self, name: &[u8]) -> bool {
        str::from_utf8(name).is_err() && self.told.get("client_encoding") == Some("UTF8")
    }

    /// Whether a text is DEALLOCATE of a statement that pgweir keeps for the session.
    pub(crate) fn deallocates_own(&self, facts: &Facts) -> bool {
        let [Statement { kind: Kind::Deallocate, effects, .. }] = &facts.statements[..] else { return false };
        matches!(&effects[..], [Effect::Deallocate(Some(name))] if self.names.contains_key(name.as_bytes()) && !self.is_native_name(name.as_bytes()))
            || names_shared(facts).is_some()
    }

    /// From here on a name stands for this, or for nothing. Gives what it stood for before, and keeps that for as long
    /// as the request may have to be run again from its beginning.
    pub(crate) fn name(&mut self, work: &mut Work, name: &[u8], text: Option<Rc<Text>>) -> Option<Rc<Text>> {
        let was = self.set_name(name, text);
        if work.retry == Retry::Possible {
            work.renamed.push((name.into(), was.clone()));
        }
        was
    }

    /// A name stands for this, or for nothing. Gives what it stood for before.
    pub(crate) fn set_name(&mut self, name: &[u8], text: Option<Rc<Text>>) -> Option<Rc<Text>> {
        match text {
            text if name.is_empty() => std::mem::replace(&mut self.unnamed, text),
            Some(text) => self.names.insert(name.into(), text),
            None => self.names.remove(name),
        }
    }

    /// The request is run again from its beginning: its names stand for what they stood for before.
    pub(crate) fn take_names_back(&mut self, work: &mut Work) {
        while let Some((name, was)) = work.renamed.pop() {
            self.set_name(&name, was);
        }
    }
}

/// Whether a setting of this name, set for a transaction alone, leaves unsure what is read by it. What an application
/// calls its own (`app.tenant`) no text is read by, and the server reports some.
pub(crate) fn is_unsure(name: Option<&str>) -> bool {
    name.is_none_or(|name| {
        !name.contains('.') && statement::is_read_by(name) && !statement::is_reported(name)
    })
}

/// Whether texts may be read otherwise once this is done.
fn changes_reading(effect: &Effect) -> bool {
    match effect {
        Effect::Set { name, .. } | Effect::Reset(name) => statement::is_read_by(name),
        Effect::SetLocal(name) => {
            name.as_deref().is_none_or(|name| is_unsure(Some(name)) || statement::is_reported(name))
        }
        Effect::ResetAll
        | Effect::DiscardAll
        | Effect::RollbackTo(_)
        | Effect::RollbackAndChain
        | Effect::Pin(PinReason::Setting)
        | Effect::Unknown => true,
        _ => false,
    }
}

/// Has the server have a text under the name of its content. `name`: the client asked for it and is answered.
///
/// A Parse that isn't confirmed may turn out to be skipped: what comes behind a later Sync, and so isn't skipped with
/// it, has the statement prepared again.
pub(crate) fn need(
    work: &mut Work,
    server: &mut Server,
    text: Rc<Text>,
    name: Option<StatementName>,
) -> Result<(), ErrorReport> {
    let id = text.statement.id;
    let segment = work.expects.segment();
    match (server.prepared.touch(id, segment), name) {
        (Presence::There, None) => return Ok(()),
        (Presence::There, Some(name)) => {
            work.expects.push(Expect::AnswerParse { name, was: None });
            return Ok(());
        }
        (presence, name) => {
            if presence == Presence::Doubtful {
                close(work, id)?;
            }
            server.prepared.ask(id, segment);
            if text.statement.prepare_text().is_some() {
                write_prepare(work, server, text)?;
            } else {
                write_parse(work, text.statement.server_name.as_bytes(), &text)?;
                work.expects.push(Expect::Parse { text, name, unnamed: false, was: None });
            }
        }
    }
    while let Some(oldest) = server.prepared.evict(server.handle.pool.settings.max_prepared_statements) {
        close(work, oldest)?;
    }
    Ok(())
}

/// The name that a lone DEALLOCATE gives, if what sessions share on a server may have it: it is nobody's to deallocate.
pub(crate) fn names_shared(facts: &Facts) -> Option<&str> {
    match &facts.statements[..] {
        [Statement { kind: Kind::Deallocate, effects, .. }] => match &effects[..] {
            [Effect::Deallocate(Some(name))] => statement::id_of(name).map(|_| &**name),
            _ => None,
        },
        _ => None,
    }
}

/// Statements that sessions share may be gone once this is run: a client may name them too.
pub(crate) fn doubt_deallocated(server: &mut Server, facts: &Facts) {
    for effect in facts.statements.iter().flat_map(|statement| &statement.effects) {
        match effect {
            Effect::Deallocate(None) => server.prepared.doubt_all(),
            Effect::Deallocate(Some(name)) => {
                if let Some(id) = statement::id_of(name) {
                    server.prepared.doubt(id);
                }
            }
            _ => {}
        }
    }
}

/// Closes a statement on the server; it need not be there.
pub(crate) fn close(work: &mut Work, id: u64) -> Result<(), ErrorReport> {
    let name = format!("pgweir_{id}");
    encode::close(work.up.inject(), Named::Statement, name.as_bytes()).map_err(ErrorReport::from)?;
    work.expects.push(Expect::OwnClose(id));
    Ok(())
}

/// Has the session's unnamed statement be the server's, if another's is.
pub(crate) fn need_unnamed(work: &mut Work, server: &mut Server, text: Rc<Text>) -> Result<(), ErrorReport> {
    if server.unnamed != Some(text.statement.id) {
        server.unnamed = Some(text.statement.id);
        write_parse(work, b"", &text)?;
        work.expects.push(Expect::Parse { text, name: None, unnamed: true, was: None });
    }
    Ok(())
}

/// Sends the PREPARE of a text that SQL has prepared.
#[cold]
fn write_prepare(work: &mut Work, server: &mut Server, text: Rc<Text>) -> Result<(), ErrorReport> {
    let out = work.up.inject();
    encode::parse(out, b"", &text.statement.sql, &[])?;
    encode::bind(out, PORTAL, b"", &[])?;
    encode::execute(out, PORTAL, 0)?;
    encode::close(out, Named::Portal, PORTAL)?;
    server.unnamed = None;
    work.expects.push(Expect::OwnPrepare(text));
    Ok(())
}

pub(crate) fn write_parse(work: &mut Work, name: &[u8], text: &Text) -> Result<(), ErrorReport> {
    let types: Vec<u32> = text.statement.type_oids().collect();
    encode::parse(work.up.inject(), name, &text.statement.sql, &types).map_err(ErrorReport::from)
}

/// Notes a named portal. An error if the client has as many as it may in one transaction.
#[cold]
pub(crate) fn may_open(portals: &mut HashSet<Box<[u8]>>, name: &[u8]) -> Result<(), ErrorReport> {
    if portals.len() >= MAX_NAMES && !portals.contains(name) {
        let message = format!("a client may have at most {MAX_NAMES} portals in a transaction");
        let report = ErrorReport::error(SqlState::PROGRAM_LIMIT_EXCEEDED, message);
        return Err(report.with_hint("Close portals that are not needed any more."));
    }
    portals.insert(name.into());
    Ok(())
}

/// Has the server say what is wrong with a name that isn't in the client's encoding: it reads that first, whatever the
/// message is about.
#[cold]
pub(crate) fn refuse_unreadable(work: &mut Work, head: Head, name: &[u8]) -> Result<(), ErrorReport> {
    crate::admit::drop_message(work, head);
    encode::close(work.up.inject(), Named::Statement, name)?;
    work.expects.push(Expect::Close);
    Ok(())
}

/// A client has as many statements as it may.
pub(crate) fn too_many_names() -> ErrorReport {
    let message = format!("a client may have at most {MAX_NAMES} prepared statements");
    let report = ErrorReport::error(SqlState::PROGRAM_LIMIT_EXCEEDED, message);
    report.with_hint("Close statements that are not needed any more.")
}

pub(crate) fn no_statement(name: &[u8]) -> ErrorReport {
    let message = if name.is_empty() {
        "unnamed prepared statement does not exist".to_owned()
    } else {
        format!("prepared statement \"{}\" does not exist", lossy(name))
    };
    ErrorReport::error(SqlState::INVALID_SQL_STATEMENT_NAME, message)
}

fn lossy(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name)
}
