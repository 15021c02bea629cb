//! What code of the database's own may have left in a session: asked of the connection when it is at rest, and learned
//! for the text, so that in the long run nothing is asked.
//!
//! The same question tells whether what ties a session to its connection is still there.

mod behind;
mod code;
mod examine;
mod learned;
mod statements;

use std::sync::Arc;
use std::time::{Duration, Instant};

use backend::Server;
use config::PoolMode;
use sql::facts::{Facts, Kind, PinReason};

use crate::admit::Admission;
use crate::book::{Book, PinnedTo};
use crate::core::Core;
use crate::work::{Planned, Work};

pub(crate) use behind::ANSWERED;
use code::{CodeMap, Traits};
use examine::Answer;
pub(crate) use learned::LearnedCode;
use learned::Verdict;

/// What was found out is asked again after this long, and whenever the code in a database was changed through pgweir.
pub(crate) const ERA: Duration = Duration::from_secs(600);
/// A session that is tied isn't asked about the same functions more often than this.
const TIED_AGAIN: Duration = Duration::from_secs(1);
/// Texts of one transaction of which something is learned.
const TEXTS: usize = 32;

/// What is to be asked once the connection is at rest.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    texts: Vec<Watched>,
    ask: bool,
    /// A text says that it ends what ties the session.
    pub(crate) may_end: bool,
    /// Something failed, or was rolled back.
    in_part: bool,
    /// What the texts may do.
    traits: Traits,
    /// There were more texts.
    more: bool,
    /// Of those, some couldn't be judged when they were sent.
    unread: bool,
    /// What is being sent may name statements that SQL has prepared.
    names: bool,
    /// What was sent last may have reset what the startup packet said.
    resets: bool,
    /// The code of the database was changed.
    pub(crate) redefines: bool,
}

#[derive(Debug)]
struct Watched {
    facts: Arc<Facts>,
    circumstances: u64,
    traits: Traits,
    outline: String,
    /// What it creates may be temporary.
    temporary: bool,
    /// The text, if it couldn't be judged when it was sent.
    unjudged: Option<Box<[u8]>>,
}

impl Watch {
    /// Whether the code that is being sent may name statements which SQL has prepared. Asked once.
    pub(crate) fn names_statements(&mut self) -> bool {
        std::mem::take(&mut self.names)
    }

    /// Whether code that was run since this was asked last may have reset what the startup packet said.
    pub(crate) fn may_reset(&mut self) -> bool {
        std::mem::take(&mut self.resets)
    }

    /// Whether its texts may have left something that is gone with the connection.
    fn may_have_left(&self) -> bool {
        !self.traits.without(Traits::ENDS).is_none()
    }

    /// What the code of its database may do is known now.
    fn judge(&mut self, map: &CodeMap) {
        for watched in &mut self.texts {
            if let Some(sql) = watched.unjudged.take() {
                watched.traits = map.of_text(&watched.facts, &sql, watched.temporary);
                self.redefines |= map.changes_by(&watched.facts, &sql);
            }
        }
        let judged = self.texts.iter().fold(Traits::NONE, |all, watched| all.and(watched.traits));
        self.traits = if self.more { self.traits.and(judged) } else { judged };
        if self.unread {
            self.traits = self.traits.and(map.any().without(Traits::ALL));
        }
    }
}

impl Book {
    /// Notes a text that is being sent, if its code isn't known to leave nothing behind.
    #[inline]
    pub(crate) fn watch_code(
        &mut self,
        at: &Admission<'_>,
        server: &mut Server,
        facts: &Arc<Facts>,
        sql: &[u8],
    ) {
        if (facts.hidden.runs_code || at.core.reads_run_code.get()) && self.mode != PoolMode::Session {
            let circumstances = self.circumstances(at.core, at.group, server);
            let redefined = self.watch.as_ref().is_some_and(|watch| watch.redefines);
            if redefined || !facts.hidden.is_quiet(circumstances) {
                self.watch_unknown(at.core, server, facts, sql, circumstances);
            }
        }
    }

    /// Whose code a text runs: that of a pool on a cluster, as its names are read, by what is defined now.
    fn circumstances(&mut self, core: &Core, group: u64, server: &Server) -> u64 {
        let epoch = core.context.code_epoch();
        let cluster = u64::try_from(Arc::as_ptr(&server.handle.pool.cluster).addr()).unwrap_or_default();
        let place = (group ^ cluster.rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = self.reading_key(core) ^ place;
        (mixed.rotate_left(23) ^ epoch).wrapping_mul(0xff51_afd7_ed55_8ccd) | 1
    }

    #[cold]
    fn watch_unknown(
        &mut self,
        core: &Core,
        server: &mut Server,
        facts: &Arc<Facts>,
        sql: &[u8],
        circumstances: u64,
    ) {
        // What search_path begins with decides whether a table is temporary.
        let unsure = self.open_entries.as_ref().is_some_and(|open| open.now.unsure);
        let temporary =
            unsure || self.read_by(core).get("search_path").is_some_and(|path| path.contains("pg_temp"));
        // What the open transaction has made nobody has read yet.
        let redefined = self.watch.as_ref().is_some_and(|watch| watch.redefines);
        let mut learned = core.learned_code.borrow_mut();
        match (learned.verdict(facts, circumstances), self.pin) {
            _ if redefined => {}
            (Some(Verdict::Ends), None) => return,
            (Some(Verdict::Quiet), None) if self.written.is_empty() => {
                server.sweep = true;
                return;
            }
            _ => {}
        }
        let map = learned.map(&server.handle.pool, core.context.code_epoch()).filter(|_| !redefined);
        if map.is_some_and(CodeMap::calls_currval) {
            server.handle.pool.sequences.note();
        }
        let map_known = map.is_some();
        let traits = map.map_or(Traits::ALL, |map| map.of_text(facts, sql, temporary));
        let redefines = map.is_some_and(|map| map.changes_by(facts, sql));
        if redefines {
            self.watch.get_or_insert_default().redefines = true;
        }
        if traits.is_none() {
            if !redefines {
                facts.hidden.set_quiet(circumstances);
            }
            return;
        }
        if self.pin.is_some() {
            // It lasts longer than what ties the session now.
            if let Some(reason) = traits.keeps() {
                self.for_good.get_or_insert(reason);
                server.spent = true;
            }
            // What its triggers leave stays where it is.
            let calls = !map_known || facts.statements.iter().any(|s| s.runs_code && !changes_rows(s.kind));
            if !calls || self.pinned_to.as_mut().is_some_and(|place| !place.may_ask(facts)) {
                return;
            }
        } else if traits == Traits::ENDS {
            learned.remember(facts, circumstances, Verdict::Ends);
            return;
        }
        learned.names.take_from(sql);
        drop(learned);
        self.expect_reset();
        if traits.has(Traits::LISTENS.and(Traits::DYNAMIC)) {
            // What it listens to then is known before the client has its answer.
            self.note_listen(server);
        }
        let conforming = self.lex.standard_conforming_strings;
        let watch = self.watch.get_or_insert_default();
        watch.ask = true;
        watch.names = traits.has(Traits::DYNAMIC.and(Traits::PREPARES));
        watch.resets = !self.startup.is_empty() && traits.has(Traits::LEAVES.and(Traits::DYNAMIC));
        watch.traits = watch.traits.and(traits);
        if watch.texts.len() == TEXTS {
            watch.more = true;
            watch.unread |= !map_known;
            return;
        }
        let outline = sql::outline(sql, conforming);
        let unjudged = if map_known || redefined { None } else { Some(sql.into()) };
        let facts = Arc::clone(facts);
        watch.texts.push(Watched { facts, circumstances, traits, outline, temporary, unjudged });
    }

    /// Whether code is about to run that may say UNLISTEN. (Of the texts of a Bind nothing is planned.)
    #[cold]
    pub(crate) fn may_unlisten(&mut self, core: &Core, group: u64, server: &Server, work: &Work) -> bool {
        let circumstances = self.circumstances(core, group, server);
        let learned = core.learned_code.borrow();
        let map = learned.map(&server.handle.pool, core.context.code_epoch());
        let any = map.is_none_or(|map| map.any().has(Traits::LISTENS.and(Traits::DYNAMIC)));
        let mut facts = work.planned.iter().map(|planned| match planned {
            Planned::Query(facts) | Planned::Names(facts) => facts,
            Planned::Parse { text, .. } => &text.facts,
        });
        let says = |facts: &Facts| facts.statements.iter().any(|s| s.runs_code && s.kind == Kind::Procedure);
        (any && work.planned.is_empty())
            || facts.any(|facts| {
                facts.hidden.runs_code && !facts.hidden.is_quiet(circumstances) && (any || says(facts))
            })
    }

    /// The reason for which a text is known to tie its session, though it doesn't say so.
    pub(crate) fn known_pin(
        &mut self,
        at: &Admission<'_>,
        server: &Server,
        facts: &Arc<Facts>,
    ) -> Option<PinReason> {
        if !facts.hidden.runs_code || self.mode == PoolMode::Session {
            return None;
        }
        let circumstances = self.circumstances(at.core, at.group, server);
        if facts.hidden.is_quiet(circumstances) {
            return None;
        }
        match at.core.learned_code.borrow().verdict(facts, circumstances) {
            Some(Verdict::Hides(reason)) => reason,
            _ => None,
        }
    }

    /// A text sets settings that it doesn't say at its beginning.
    pub(crate) fn watch_settings(&mut self, core: &Core, sql: &[u8]) {
        if core.learned_code.borrow_mut().names.take_from(sql) {
            // One of them can't be asked for.
            self.for_good.get_or_insert(PinReason::Setting);
        }
    }

    /// What ties the session, or its settings, have to be asked for once the connection is at rest.
    pub(crate) fn ask(&mut self) {
        if self.mode != PoolMode::Session {
            self.watch.get_or_insert_default().ask = true;
        }
    }

    /// Notes what has happened up to a ReadyForQuery.
    #[inline]
    pub(crate) fn note_outcome(&mut self, failed: bool) {
        if let Some(watch) = &mut self.watch {
            watch.in_part |= failed;
        }
    }

    /// The connection says what is on it.
    fn settle_watch(&mut self, core: &Core, server: &mut Server, watch: &Watch, answer: &Answer) {
        let Answer { found, changed, keeps } = answer;
        let settings = !changed.is_empty();
        for effect in changed {
            self.settle_found(core, server, effect);
        }
        let was = self.pin;
        let foreign = self.settle_statements(core, server, found);
        // Who asked how often they are planned keeps them as long as there are any.
        let kept = self.native && was == Some(PinReason::SqlPrepare) && !found.prepared.is_empty();
        let prepared = (foreign || kept).then_some(PinReason::SqlPrepare);
        self.pin = found.pins.first().copied().or(prepared).or(self.for_good);
        self.native &= self.pin.is_some();
        // Statements that were shown under the session's own names: nobody else gets them.
        server.doubt = self.pin.is_some() || !found.prepared.is_empty();
        // Settings of names that nobody knows may be there.
        server.sweep |= watch.traits.has(Traits::DYNAMIC.and(Traits::NAMES_SETTINGS));
        let quiet = !settings && was.is_none() && self.pin.is_none();
        let mut learned = core.learned_code.borrow_mut();
        for watched in &watch.texts {
            if quiet {
                // What was rolled back says nothing of the next time.
                if !watch.in_part && !watched.traits.has(Traits::LEAVES.and(Traits::NAMES_SETTINGS)) {
                    learned.note_quiet(watched);
                }
            } else if watch.texts.len() == 1 && was.is_none() {
                let reason = self.pin.filter(|_| self.for_good.is_none() || keeps.is_some());
                learned.remember(&watched.facts, watched.circumstances, Verdict::Hides(reason));
            }
        }
    }
}

impl PinnedTo {
    /// Whether the connection may be asked after this text, which may have ended what ties its session: not all the
    /// time.
    fn may_ask(&mut self, facts: &Arc<Facts>) -> bool {
        let text = Arc::as_ptr(facts).addr();
        self.asked.retain(|(_, at)| at.elapsed() < TIED_AGAIN);
        let may = self.asked.len() < TEXTS && self.asked.iter().all(|(known, _)| *known != text);
        if may {
            self.asked.push((text, Instant::now()));
        }
        may
    }
}

fn changes_rows(kind: Kind) -> bool {
    matches!(kind, Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge | Kind::CopyIn)
}
