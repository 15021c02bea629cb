//! A PREPARE or EXECUTE that comes by Parse: a text of which the name in it is looked up each time that it is used.
//!
//! On a server the text has the other statement's name there, and a name of its own by that content, as any other.

use std::rc::Rc;
use std::sync::Arc;

use backend::Server;
use backend::statement::{Presence, id_of};
use sql::facts::{Facts, Kind, Statement};
use sql::prepared::{Place, Verb, places};
use wire::ErrorReport;
use wire::frame::Head;

use crate::book::Book;
use crate::core::Core;
use crate::expect::{Expect, StatementName, Text};
use crate::names::{Change, Edit, Names, Step};
use crate::prepared::{close, need};
use crate::sql_prepare::{NOBODYS, executed, prepare_text};
use crate::work::Work;

/// What is particular of such a text.
#[derive(Debug)]
pub(crate) struct NamedText {
    /// As the client wrote it, and its parameter types.
    sql: Box<[u8]>,
    types: Box<[u8]>,
    place: Place,
    /// What the name in it stands for, or will stand for once it is executed; `None`: nothing, the server says so.
    target: Option<Rc<Text>>,
    /// It is a PREPARE of a name that is free.
    prepares: bool,
    edit: Edit,
}

impl NamedText {
    /// What is different in the server's text.
    pub(crate) fn edit(&self) -> Edit {
        self.edit
    }
}

impl Book {
    /// A text of a Parse that may name a prepared statement, with the name that it has on a server now.
    #[cold]
    pub(crate) fn read_named(&mut self, core: &Core, work: &Work, text: Rc<Text>) -> Rc<Text> {
        let (sql, types) = match &text.named {
            Some(named) => (named.sql.clone(), named.types.clone()),
            None => (text.statement.sql.clone(), text.statement.types.clone()),
        };
        let mut all = places(&sql, self.lex);
        let (Some(place), true) = (all.pop(), all.is_empty()) else { return text };
        let known = self.text_read_now(core, work, place.name.as_bytes());
        let prepares = place.verb == Verb::Prepare && known.is_none();
        let made = || prepare_text(&sql, &place);
        let target = if prepares { Some(self.prepare_now(core, work, made(), false)) } else { known };
        let written = &sql[place.at.clone()];
        let ours = match &target {
            Some(target) => target.statement.server_name.as_bytes(),
            None if id_of(&place.name).is_some() => NOBODYS.as_bytes(),
            None => written,
        };
        let spliced = [&sql[..place.at.start], ours, &sql[place.at.end..]].concat();
        let edit = Edit {
            at: self.characters(&sql[..place.at.start]),
            ours: self.characters(ours),
            theirs: self.characters(written),
        };
        let statements = &core.pools.statements;
        let statement = if self.reads_unsurely(work) {
            statements.alone(&spliced, &types)
        } else {
            statements.intern(&spliced, &types, self.read_by(core))
        };
        let facts = facts_of(core, self.lex, &sql, &place, target.as_deref());
        let named = Some(Box::new(NamedText { sql, types, place, target, prepares, edit }));
        Rc::new(Text { statement, facts, literals: Box::default(), reading: None, named })
    }

    /// How many characters these bytes are.
    pub(crate) fn characters(&self, bytes: &[u8]) -> usize {
        if self.told.get("client_encoding").is_none_or(|encoding| encoding == "UTF8") {
            bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
        } else {
            bytes.len()
        }
    }

    /// Runs a portal of such a text: PREPARE gives its name, and the server's words are put in the client's.
    #[cold]
    pub(crate) fn execute_named(
        &mut self,
        work: &mut Work,
        server: &mut Server,
        named: &NamedText,
        head: Head,
    ) -> Result<(), ErrorReport> {
        let name: StatementName = named.place.name.as_bytes().into();
        let mut names = Names::default();
        names.edits.push(named.edit);
        let ours = named.target.as_ref().map_or(NOBODYS, |target| &target.statement.server_name);
        names.called.push((ours.into(), name.clone()));
        let made = named.target.as_ref().filter(|_| named.prepares);
        if let Some(made) = made
            && self.may_name(&name).is_ok()
        {
            let id = made.statement.id;
            if server.prepared.touch(id, work.expects.segment()) != Presence::Absent {
                close(work, id)?;
            }
            server.prepared.assume(id);
            self.written.insert(name.clone(), named.sql.as_ref().into());
            let was = self.name(work, &name, Some(Rc::clone(made)));
            names.steps.push(Step { index: 0, change: Change::Named { name, was, made: Some(id) } });
        } else if made.is_some() && !self.names.contains_key(&name) {
            self.refuse_extended(work, head, crate::prepared::too_many_names());
            return Ok(());
        }
        work.expects.push(Expect::Names(Box::new(names)));
        work.expects.push(Expect::Execute);
        work.up.approve(head.total);
        Ok(())
    }
}

/// Has the server have what such a text executes.
#[cold]
pub(crate) fn need_target(
    work: &mut Work,
    server: &mut Server,
    named: &NamedText,
) -> Result<(), ErrorReport> {
    match &named.target {
        Some(target) if !named.prepares => need(work, server, Rc::clone(target), None),
        _ => Ok(()),
    }
}

/// What a text does that prepares or executes another.
fn facts_of(
    core: &Core,
    lex: sql::LexSettings,
    sql: &[u8],
    place: &Place,
    target: Option<&Text>,
) -> Arc<Facts> {
    let mut analyzer = core.analyzer.borrow_mut();
    let mut facts = Facts::clone(analyzer.analyze(sql, lex).facts);
    let inner = target.map(|target| &target.facts.statements[..]);
    match (&mut facts.statements[..], inner) {
        ([outer], Some(_)) if place.verb == Verb::Prepare => *outer = Statement::read(Kind::Prepare),
        ([outer], Some([inner])) => *outer = executed(outer, inner, place),
        _ => {}
    }
    facts.access = facts.statements.iter().map(|statement| statement.access).max().unwrap_or_default();
    Arc::new(facts)
}
