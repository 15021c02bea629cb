//! SQL's PREPARE, EXECUTE and DEALLOCATE: the same statements as those of the protocol, under the same names.
//!
//! What a session prepares has the name of its content on a server. A text that names statements is sent as it came,
//! with these names in place of the client's; what it executes is prepared in front of it where the server doesn't
//! have it yet. PREPARE itself is the server's to judge, each time: its errors are those of Postgres.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use backend::statement::{self, Presence};
use backend::{PrepareText, Server};
use route::{DatabaseMap, Request as RouteRequest, Target};
use sql::facts::{Access, Effect, Facts, Hint, Kind, Name, PinReason, Statement};
use sql::prepared::{Place, Verb, places};
use wire::frame::{self, Head};
use wire::frontend::Query;
use wire::{ErrorReport, encode};

use crate::admit::{Admission, follow_transaction};
use crate::book::Book;
use crate::core::Core;
use crate::expect::{Expect, Text};
use crate::names::{Change, Edit, Names, Step};
use crate::plan::Verdict;
use crate::prepared::{MAX_NAMES, close, need};
use crate::work::{Planned, Work};

/// What statements of the same text have prepared or deallocated before.
type Made = HashMap<Name, Option<Rc<Text>>>;

/// A text on its way.
struct Splicing<'a> {
    sql: &'a [u8],
    /// It has several statements: one may change what the next is read by, or prepare the same.
    several: bool,
    made: Made,
    names: Names,
}

impl Book {
    /// Looks at a Query that names prepared statements: an EXECUTE goes where the statement would go that it executes.
    #[cold]
    #[allow(clippy::too_many_arguments, reason = "one message with all that it is judged by")]
    pub(crate) fn consider_names(
        &mut self,
        core: &Core,
        map: &DatabaseMap,
        work: &mut Work,
        (at, head): (usize, Head),
        facts: &Facts,
        bound: Option<Target>,
        verdict: &mut Verdict,
    ) -> Result<(), ErrorReport> {
        let sql = Query::parse(frame::body(&work.up.pending()[at..at + head.total]))?.sql.to_vec();
        let places = places(&sql, self.lex);
        let routing = self.routing_now(map, bound, verdict.begin);
        let lone = match (&facts.statements[..], &places[..]) {
            ([_], [place]) if facts.hint == Hint::default() => Some(place),
            _ => None,
        };
        let text = match lone {
            Some(place) if place.verb == Verb::Execute && place.plain => {
                self.text_read_now(core, work, place.name.as_bytes())
            }
            Some(place) if place.verb == Verb::Prepare => {
                Some(self.read_prepare(core, prepare_text(&sql, place)))
            }
            _ => None,
        };
        let (decision, facts) = match (lone, text) {
            (Some(Place { verb: Verb::Prepare, .. }), Some(text)) => {
                let decision = route::describe(map, &routing, &text.request(self.lex, None, self.catalogs()));
                let facts = Facts { statements: vec![Statement::read(Kind::Prepare)], ..Facts::default() };
                (self.learned(core, &text.facts, decision, false), Arc::new(facts))
            }
            (_, Some(text)) => {
                let decision = route::decide(map, &routing, &text.request(self.lex, None, self.catalogs()));
                (self.learned(core, &text.facts, decision, true), Arc::clone(&text.facts))
            }
            (_, None) => {
                let mut facts = self.what_is_done(core, work, facts, &sql, &places);
                if places.is_empty() && counts_plans(&sql) {
                    facts
                        .statements
                        .iter_mut()
                        .for_each(|s| s.effects.push(Effect::Pin(PinReason::SqlPrepare)));
                }
                let facts = Arc::new(facts);
                let request = RouteRequest {
                    facts: &facts,
                    sql: &sql,
                    literals: &[],
                    parameters: None,
                    lex: self.lex,
                    catalogs: self.catalogs(),
                };
                (route::decide(map, &routing, &request), facts)
            }
        };
        self.asks_currval |= facts.hidden.currval != sql::hidden::Currval::No;
        verdict.holds |= crate::until_write::says(&facts);
        self.remember(&sql, &decision, bound);
        verdict.add(map, decision);
        work.planned.push_back(Planned::Names(facts));
        Ok(())
    }

    /// The facts of a text with those of the statements that it executes.
    fn what_is_done(
        &mut self,
        core: &Core,
        work: &Work,
        facts: &Facts,
        sql: &[u8],
        places: &[Place],
    ) -> Facts {
        let mut made = Made::new();
        let mut done = facts.clone();
        for place in places {
            let Some(outer) = done.statements.get_mut(place.index) else { continue };
            match place.verb {
                Verb::Prepare => {
                    made.insert(place.name.clone(), Some(self.read_prepare(core, prepare_text(sql, place))));
                    *outer = Statement::read(Kind::Prepare);
                }
                Verb::Execute => {
                    let known = made.get(&place.name).cloned();
                    let text = known.unwrap_or_else(|| self.text_read_now(core, work, place.name.as_bytes()));
                    if let Some([inner]) = text.as_deref().map(|text| &text.facts.statements[..]) {
                        *outer = executed(outer, inner, place);
                    }
                }
                Verb::Deallocate | Verb::DeallocateAll => outer.effects.clear(),
            }
        }
        done.hidden = sql::facts::Hidden::of(&done.statements);
        done.access = done.statements.iter().map(|statement| statement.access).max().unwrap_or_default();
        done
    }

    /// Sends a Query that names prepared statements: with the names that they have on the server, and behind what
    /// makes it have them.
    #[cold]
    pub(crate) fn admit_names(
        &mut self,
        at: &mut Admission<'_>,
        work: &mut Work,
        server: &mut Server,
        head: Head,
        facts: &Arc<Facts>,
    ) -> Result<(), ErrorReport> {
        let sql = Query::parse(frame::body(&work.up.pending()[..head.total]))?.sql.to_vec();
        let places = places(&sql, self.lex);
        if let Err(report) =
            self.allow_pin(at, facts, &sql, server).and_then(|()| self.may_name_more(&places))
        {
            self.refuse_query(work, server, head, report);
            return Ok(());
        }
        let before = work.expects.len();
        if places.is_empty() {
            self.show_names(at, work, server, true)?;
            self.native |= pins_names(facts);
        }
        let several = facts.statements.len() > 1;
        let mut splicing = Splicing { sql: &sql, several, made: Made::new(), names: Names::default() };
        let mut spliced = Vec::with_capacity(sql.len());
        let mut copied = 0;
        for place in &places {
            let Some(name) = self.name_on_server(at.core, work, server, place, &mut splicing)? else {
                continue;
            };
            self.splice(
                &mut splicing.names,
                &mut spliced,
                &sql[copied..place.at.start],
                &sql[place.at.clone()],
                &name,
            );
            splicing.names.called.push((name, place.name.as_bytes().into()));
            copied = place.at.end;
        }
        spliced.extend_from_slice(&sql[copied..]);
        let prepares_first = work.expects.len() > before;
        self.watch_code(at, server, facts, &sql);
        self.note_writer(server, facts);
        self.note_sent(work, server, facts, *at.in_transaction);
        self.note_hidden_writes(at.core, at.target, server, facts);
        follow_transaction(facts, at.in_transaction);
        server.unnamed = None;
        work.expects.push(Expect::Names(Box::new(splicing.names)));
        work.expects.push(Expect::Query);
        work.owe_ready(server);
        work.up.rewrite(head.total, |_, out| encode::query(out, &spliced)).map_err(ErrorReport::from)?;
        if prepares_first {
            encode::sync(work.up.inject());
            work.expects.push(Expect::OwnSync);
            work.owe_ready(server);
        }
        Ok(())
    }

    /// What the server is to find in place of a name; `None`: what is there.
    fn name_on_server(
        &mut self,
        core: &Core,
        work: &mut Work,
        server: &mut Server,
        place: &Place,
        splicing: &mut Splicing<'_>,
    ) -> Result<Option<Box<str>>, ErrorReport> {
        let name = place.name.as_bytes();
        if place.verb != Verb::DeallocateAll
            && self.is_native()
            && self.names.get(name).is_none_or(|text| text.statement.prepare_text().is_some())
        {
            self.follow_native(core, work, place, splicing);
            return Ok(None);
        }
        let Splicing { sql, several, made, names } = splicing;
        if place.verb == Verb::DeallocateAll {
            server.prepared.doubt_all();
            made.clear();
            let all = Box::new(std::mem::take(&mut self.names));
            names.steps.push(Step { index: place.index, change: Change::Cleared(all) });
            return Ok(None);
        }
        let known = match made.get(&place.name) {
            Some(text) => text.clone(),
            None => {
                let text = self.text_read_now(core, work, name);
                // What is deallocated is nobody else's.
                let alone = |text: Rc<Text>| core.text_alone(&text);
                let text = if place.verb == Verb::Deallocate { text.map(alone) } else { text };
                if let Some(text) = &text {
                    need(work, server, Rc::clone(text), None)?;
                }
                text
            }
        };
        let (text, stands_for) = match (place.verb, known) {
            // The server says that it exists already, if it finds nothing else wrong with it.
            (Verb::Execute | Verb::Prepare, Some(text)) => {
                return Ok(Some(text.statement.server_name.clone()));
            }
            (Verb::Prepare, None) => {
                let text = self.prepare_now(core, work, prepare_text(sql, place), *several);
                if server.prepared.touch(text.statement.id, work.expects.segment()) != Presence::Absent {
                    close(work, text.statement.id)?;
                }
                server.prepared.assume(text.statement.id);
                // Of several statements only this one's text can be run again.
                let written = if *several { &sql[place.statement.clone()] } else { sql };
                self.written.insert(name.into(), written.into());
                (Rc::clone(&text), Some(text))
            }
            (Verb::Deallocate | Verb::DeallocateAll, Some(text)) => {
                server.prepared.doubt(text.statement.id);
                (text, None)
            }
            // What others have there has such a name too.
            (_, None) if statement::id_of(&place.name).is_some() => {
                names.called.push((NOBODYS.into(), name.into()));
                return Ok(Some(NOBODYS.into()));
            }
            (_, None) => return Ok(None),
        };
        made.insert(place.name.clone(), stands_for.clone());
        let id = stands_for.as_ref().map(|text| text.statement.id);
        let was = self.name(work, name, stands_for);
        let change = Change::Named { name: name.into(), was, made: id };
        names.steps.push(Step { index: place.index, change });
        Ok(Some(text.statement.server_name.clone()))
    }

    /// A name that the connection has as the session has it: it is only written down.
    #[cold]
    fn follow_native(&mut self, core: &Core, work: &mut Work, place: &Place, splicing: &mut Splicing<'_>) {
        let name = place.name.as_bytes();
        let stands_for = match place.verb {
            Verb::Prepare if !self.names.contains_key(name) => {
                self.written.insert(name.into(), splicing.sql[place.statement.clone()].into());
                Some(self.prepare_now(core, work, prepare_text(splicing.sql, place), true))
            }
            Verb::Deallocate if self.names.contains_key(name) => None,
            _ => return,
        };
        let was = self.name(work, name, stands_for);
        let change = Change::Named { name: name.into(), was, made: None };
        splicing.names.steps.push(Step { index: place.index, change });
    }

    /// What a PREPARE makes that is sent now.
    pub(crate) fn prepare_now(
        &mut self,
        core: &Core,
        work: &Work,
        text: PrepareText<'_>,
        several: bool,
    ) -> Rc<Text> {
        if several || (!self.is_tied() && self.reads_unsurely(work)) {
            return core.text_of(core.pools.statements.alone_prepare(text), None, self.lex);
        }
        self.read_prepare(core, text)
    }

    /// Appends what comes before a name, and the name of the server.
    fn splice(&self, names: &mut Names, out: &mut Vec<u8>, before: &[u8], theirs: &[u8], ours: &str) {
        out.extend_from_slice(before);
        names.edits.push(Edit {
            at: self.characters(out),
            ours: ours.len(),
            theirs: self.characters(theirs),
        });
        out.extend_from_slice(ours.as_bytes());
    }

    fn may_name_more(&self, places: &[Place]) -> Result<(), ErrorReport> {
        let more = places.iter().filter(|place| place.verb == Verb::Prepare).count();
        if more > 0 && self.names.len() + more > MAX_NAMES {
            return Err(crate::prepared::too_many_names());
        }
        Ok(())
    }
}

/// A name in SQL that no statement on a server has.
pub(crate) const NOBODYS: &str = "pgweir_none";

/// Whether a text asks how often statements were planned: who asks that wants to know it of his own connection.
fn counts_plans(sql: &[u8]) -> bool {
    sql.to_ascii_lowercase().windows(6).any(|word| word == b"_plans")
}

fn pins_names(facts: &Facts) -> bool {
    facts.statements.iter().any(|s| s.effects.contains(&Effect::Pin(PinReason::SqlPrepare)))
}

/// The text of a PREPARE without its name.
pub(crate) fn prepare_text<'a>(sql: &'a [u8], place: &Place) -> PrepareText<'a> {
    PrepareText {
        before: &sql[place.statement.start..place.at.start],
        behind: &sql[place.at.end..place.statement.end],
        query: place.query - place.at.end,
    }
}

/// What a statement does that executes another one.
pub(crate) fn executed(outer: &Statement, inner: &Statement, place: &Place) -> Statement {
    let of_inner = || {
        let mut statement = inner.clone();
        statement.keys = sql::facts::Keys::None; // its literals are not in this text
        statement
    };
    if place.only_explained {
        let mut statement =
            Statement { kind: Kind::Explain, access: Access::Read, because: None, ..of_inner() };
        statement.effects.clear();
        statement.runs_code = false;
        for relation in &mut statement.relations {
            relation.written = false;
        }
        return statement;
    }
    let mut statement = if place.plain { of_inner() } else { outer.clone() };
    // Its parameters are others than those of this text.
    let of_inner = inner.effects.iter().map(Effect::without_parameters);
    if place.plain {
        statement.effects = of_inner.chain(outer.effects.iter().cloned()).collect();
    } else {
        statement.effects.extend(of_inner);
    }
    statement
}
