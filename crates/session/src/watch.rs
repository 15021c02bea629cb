//! What code of the database's own may have left in a session: asked of the connection when it is at rest, and learned
//! for the text, so that in the long run nothing is asked.
//!
//! The same question tells whether what ties a session to its connection is still there.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::future::poll_fn;
use std::hash::{Hash as _, Hasher as _};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use backend::{Server, Setting, SharedPool};
use config::PoolMode;
use sql::facts::{Effect, Facts, Kind, PinReason};
use wire::ErrorReport;

use crate::admit::Admission;
use crate::book::{Book, PinnedTo};
use crate::cell::Doing;
use crate::core::Core;
use crate::pins;
use crate::reply::Broken;
use crate::session::{End, Session};
use crate::witness::{self, Found, Names, Sources};
use crate::work::Work;

/// What was found out is asked again after this long, and whenever the code in a database was changed through pgweir.
pub(crate) const ERA: Duration = Duration::from_secs(600);
/// A text whose code left nothing behind so often (a run that changed nothing or failed counts half) isn't asked for.
const ENOUGH: u8 = 4;
/// A session that is tied isn't asked about the same functions more often than this.
const TIED_AGAIN: Duration = Duration::from_secs(1);
/// Texts, spellings and databases that a core remembers.
const REMEMBERED: usize = 10_000;
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
    /// A text may set settings whose names it doesn't say.
    unnamed: bool,
    /// The code of the database was changed.
    pub(crate) redefines: bool,
}

#[derive(Debug)]
struct Watched {
    facts: Arc<Facts>,
    circumstances: u64,
    outline: String,
}

/// What is known of a text's code under some circumstances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It has left nothing behind so far: points towards `ENOUGH`.
    Trying(u8),
    /// It leaves nothing behind.
    Quiet,
    /// It ties its session, for this reason, or changes its settings.
    Hides(Option<PinReason>),
}

/// What a core has learned of the code of its databases.
#[derive(Debug, Default)]
pub(crate) struct LearnedCode {
    verdicts: HashMap<(usize, u64), (Arc<Facts>, Verdict), foldhash::fast::RandomState>,
    names: Names,
    /// What databases were asked of their code, at which epoch.
    sources: HashMap<(u64, Box<str>), (u64, Rc<Sources>)>,
    /// How the server says a setting's value that a client said so.
    spelled: HashMap<(Box<str>, Box<str>), Box<str>>,
}

impl Book {
    /// Notes a text that is being sent, if its code isn't known to leave nothing behind.
    #[inline]
    pub(crate) fn watch_code(&mut self, at: &Admission<'_>, facts: &Arc<Facts>, sql: &[u8]) {
        if facts.hidden.runs_code && self.mode != PoolMode::Session {
            let circumstances = self.circumstances(at);
            if !facts.hidden.is_quiet(circumstances) {
                self.watch_unknown(at.core, facts, sql, circumstances);
            }
        }
    }

    /// Whose code a text runs: that of the pool's database, as its names are read, by what is defined now.
    fn circumstances(&mut self, at: &Admission<'_>) -> u64 {
        let epoch = at.core.context.code_epoch();
        let mixed = self.reading_key(at.core) ^ at.group.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed.rotate_left(23) ^ epoch).wrapping_mul(0xff51_afd7_ed55_8ccd) | 1
    }

    #[cold]
    fn watch_unknown(&mut self, core: &Core, facts: &Arc<Facts>, sql: &[u8], circumstances: u64) {
        let calls = facts.statements.iter().any(|s| s.runs_code && !changes_rows(s.kind));
        if self.pin.is_some() {
            // What its triggers leave stays where it is.
            if !calls || self.pinned_to.as_mut().is_some_and(|place| !place.may_ask(facts)) {
                return;
            }
        }
        let mut learned = core.learned_code.borrow_mut();
        if let Some((_, Verdict::Quiet)) = learned.verdicts.get(&key(facts, circumstances))
            && self.pin.is_none()
        {
            facts.hidden.set_quiet(circumstances);
            return;
        }
        let own = learned.names.take_from(sql);
        let conforming = self.lex.standard_conforming_strings;
        let watch = self.watch.get_or_insert_default();
        watch.ask = true;
        watch.unnamed |= own && calls;
        if watch.texts.len() < TEXTS {
            let outline = sql::outline(sql, conforming);
            watch.texts.push(Watched { facts: Arc::clone(facts), circumstances, outline });
        }
    }

    /// The reason for which a text is known to tie its session, though it doesn't say so.
    pub(crate) fn known_pin(&mut self, at: &Admission<'_>, facts: &Arc<Facts>) -> Option<PinReason> {
        if !facts.hidden.runs_code || self.mode == PoolMode::Session {
            return None;
        }
        let circumstances = self.circumstances(at);
        if facts.hidden.is_quiet(circumstances) {
            return None;
        }
        match at.core.learned_code.borrow().verdicts.get(&key(facts, circumstances)) {
            Some((_, Verdict::Hides(reason))) => *reason,
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
    fn settle_watch(
        &mut self,
        core: &Core,
        server: &mut Server,
        watch: &Watch,
        found: &Found,
        changed: &[Effect],
    ) {
        let settings = !changed.is_empty();
        for effect in changed {
            self.settle_found(core, server, effect);
        }
        let has_name = |name: &String| {
            self.names.contains_key(name.as_bytes()) || self.written.contains_key(name.as_bytes())
        };
        let was = self.pin;
        let foreign = found.prepared.iter().any(|name| !has_name(name));
        // Who asked how often they are planned keeps them as long as there are any.
        let kept = self.native && was == Some(PinReason::SqlPrepare) && !found.prepared.is_empty();
        let prepared = (foreign || kept).then_some(PinReason::SqlPrepare);
        self.pin = found.pins.first().copied().or(prepared).or(self.for_good);
        self.native &= self.pin.is_some();
        let unnamed = watch.unnamed && !settings && self.pin.is_none();
        // Settings of names that weren't known may be there, or statements that were shown under the session's own
        // names: nobody else gets them.
        server.doubt = self.pin.is_some() || unnamed || !found.prepared.is_empty();
        let quiet = !settings && !unnamed && was.is_none() && self.pin.is_none();
        let points = if watch.in_part { ENOUGH / 4 } else { ENOUGH / 2 };
        let mut learned = core.learned_code.borrow_mut();
        for watched in &watch.texts {
            if quiet {
                learned.note_quiet(watched, points);
            } else if watch.texts.len() == 1 && was.is_none() && !unnamed {
                let reason = self.pin.filter(|_| self.for_good.is_none());
                learned.remember(watched, Verdict::Hides(reason));
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

impl LearnedCode {
    fn note_quiet(&mut self, watched: &Watched, points: u8) {
        let before = match self.verdicts.get(&key(&watched.facts, watched.circumstances)) {
            Some((_, Verdict::Trying(before))) => *before,
            Some((_, Verdict::Quiet)) => ENOUGH,
            Some((_, Verdict::Hides(_))) | None => 0,
        };
        let now = before.saturating_add(points);
        if now >= ENOUGH {
            watched.facts.hidden.set_quiet(watched.circumstances);
            self.remember(watched, Verdict::Quiet);
        } else {
            self.remember(watched, Verdict::Trying(now));
        }
    }

    fn remember(&mut self, watched: &Watched, verdict: Verdict) {
        if self.verdicts.len() >= REMEMBERED {
            self.verdicts.clear();
        }
        // The facts are kept too: no other text comes to have their address.
        let entry = (Arc::clone(&watched.facts), verdict);
        self.verdicts.insert(key(&watched.facts, watched.circumstances), entry);
    }

    /// Whether the functions of a database have yet to be asked for names, at this epoch.
    fn sources_known(&self, pool: &SharedPool, epoch: u64) -> Option<Rc<Sources>> {
        let (known, sources) = self.sources.get(&database(pool))?;
        (*known == epoch).then(|| Rc::clone(sources))
    }

    /// Notes what a database says of its code, at this epoch.
    fn note_sources(&mut self, pool: &SharedPool, epoch: u64, rows: Vec<witness::Row>) -> Rc<Sources> {
        rows.iter()
            .filter(|row| row[0].as_deref() == Some("name"))
            .filter_map(|[_, name, _]| name.as_deref())
            .for_each(|name| self.names.add(name));
        if self.sources.len() >= REMEMBERED {
            self.sources.clear();
        }
        let sources = Rc::new(Sources::from_rows(rows));
        self.sources.insert(database(pool), (epoch, Rc::clone(&sources)));
        sources
    }
}

impl Session {
    /// The connection is at rest, and something may be on it that nobody said: asks it.
    ///
    /// # Errors
    /// What ends the session: a connection that it is tied to is lost; no more sessions may be tied.
    pub(crate) async fn look_behind(&mut self, work: &mut Work) -> Result<(), End> {
        let Some(watch) = self.book.watch.take() else { return Ok(()) };
        if watch.redefines {
            self.core.context.new_code();
        }
        let Some(held) = self.held.as_mut().filter(|_| watch.ask) else { return Ok(()) };
        held.lease.doubt = true;
        if !held.lease.is_at_rest() {
            return Ok(());
        }
        // It may be gone when the client hears that it is: nobody is refused for that moment.
        let _leaving = self.book.pinned_to.as_ref().filter(|_| watch.may_end).map(PinnedTo::leaves);
        // The client has its answer before anything else is done.
        let flushed = poll_fn(|cx| Poll::Ready(work.down.poll_flush(cx, &mut self.client)));
        if let Poll::Ready(Err(_)) = flushed.await {
            return Err(End::Gone);
        }
        self.cell.set_doing(Doing::Idle, Instant::now());
        let limit = held.lease.handle.pool.settings.server_connect_timeout;
        let listens = self.book.pin == Some(PinReason::Listen);
        let asked = examine(&self.core, &mut held.lease, work.down.inject(), listens);
        let asked = tokio::time::timeout(limit, asked).await;
        match asked.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
            Ok(Ok(answer)) => self.learn(*watch, answer),
            Ok(Err(report)) => {
                tracing::debug!(%report, "a server connection could not be asked what is on it");
                Ok(())
            }
            Err(error) => {
                tracing::debug!(%error, "a server connection was lost while it was asked what is on it");
                held.lease.torn = true;
                match self.book.pin {
                    Some(_) => Err(self.tied_server_lost(&Broken::Lost)),
                    None => Ok(()),
                }
            }
        }
    }

    fn learn(&mut self, mut watch: Watch, answer: Answer) -> Result<(), End> {
        let Some(held) = &mut self.held else { return Ok(()) };
        let server = &mut *held.lease;
        let was = self.book.pin;
        let calls = watch.texts.iter().flat_map(|w| &w.facts.statements).any(|s| s.kind == Kind::Procedure);
        watch.unnamed |= answer.sources.makes_names && calls;
        if watch.texts.iter().any(|watched| answer.sources.keeps_something(&watched.facts)) {
            self.book.for_good.get_or_insert(PinReason::Load);
            server.spent = true;
        }
        if !answer.found.pins.is_empty() && self.book.would_tie_to_replica(server) {
            // It stays in doubt: what is there goes, and the next time it is made on the primary.
            watch.texts.iter().for_each(|watched| self.core.learned.learn_tie(&watched.facts));
            return Ok(());
        }
        self.book.settle_watch(&self.core, server, &watch, &answer.found, &answer.changed);
        if !Rc::ptr_eq(&server.parameters, &self.book.told) {
            server.parameters = self.core.pools.intern_parameters(server.parameters.as_ref().clone());
            self.book.told = Rc::clone(&server.parameters);
        }
        let Some(reason) = self.book.pin else {
            self.book.pinned_to = None;
            return Ok(());
        };
        if was.is_none()
            && let [watched] = &watch.texts[..]
        {
            self.core.pins.tell(&self.cell.database, &self.cell.user, reason, &watched.outline, false);
        }
        if self.book.pinned_to.is_none() {
            let place = PinnedTo::take(&server.handle.pool);
            self.book.pinned_to = Some(place.map_err(|limit| no_place(limit, reason))?);
        }
        Ok(())
    }
}

/// What a connection has answered.
struct Answer {
    found: Found,
    /// How its settings differ from what is known of it.
    changed: Vec<Effect>,
    /// What the database says of its code.
    sources: Rc<Sources>,
}

/// Asks a connection for all that is on it. The inner error is the server's.
async fn examine(
    core: &Core,
    server: &mut Server,
    out: &mut Vec<u8>,
    listens: bool,
) -> std::io::Result<Result<Answer, ErrorReport>> {
    let pool = Arc::clone(&server.handle.pool);
    let epoch = core.context.code_epoch();
    let known = core.learned_code.borrow().sources_known(&pool, epoch);
    let sources = match known {
        Some(known) => known,
        None => match witness::ask(server, witness::SOURCES, out, listens).await? {
            Ok(rows) => core.learned_code.borrow_mut().note_sources(&pool, epoch, rows),
            Err(report) => return Ok(Err(report)),
        },
    };
    if sources.calls_currval {
        pool.sequences.note();
    }
    let question = {
        let learned = core.learned_code.borrow();
        witness::question(&learned.names, server.applied.iter().map(|setting| &*setting.name))
    };
    let found = match witness::ask(server, &question, out, listens).await? {
        Ok(rows) => Found::from_rows(rows),
        Err(report) => return Ok(Err(report)),
    };
    learn_spellings(core, server, &found, out, listens).await?;
    let changed = differences(core, server, &found);
    Ok(Ok(Answer { found, changed, sources }))
}

/// How the server spells what clients have said: only it knows that `65536` is `64MB`.
async fn learn_spellings(
    core: &Core,
    server: &mut Server,
    found: &Found,
    out: &mut Vec<u8>,
    listens: bool,
) -> std::io::Result<()> {
    let odd: Vec<Setting> = {
        let learned = core.learned_code.borrow();
        let said = found.settings.iter().filter_map(|(name, now)| {
            let said = server.applied.find(name)?;
            let known =
                same(said, now) || learned.spelled.contains_key(&(name.as_str().into(), said.value.clone()));
            let role = ["role", "session_authorization"].contains(&name.as_str());
            (!known && !said.raw && !role).then(|| said.clone())
        });
        said.collect()
    };
    for said in odd {
        let mut sql = String::from("SELECT 'spelled', NULL, pg_catalog.set_config(");
        backend::settings::write_literal(&mut sql, &said.name);
        sql.push(',');
        backend::settings::write_literal(&mut sql, &said.value);
        sql.push_str(", true)");
        // What the server doesn't take any more is spelled otherwise, whatever it is.
        if let Ok(rows) = witness::ask(server, &sql, out, listens).await?
            && let Some([_, _, Some(spelled)]) = rows.into_iter().next()
        {
            let mut learned = core.learned_code.borrow_mut();
            if learned.spelled.len() >= REMEMBERED {
                learned.spelled.clear();
            }
            learned.spelled.insert((said.name, said.value), spelled.into());
        }
    }
    Ok(())
}

/// The SETs and RESETs that lead from what is known of a connection to what it says.
fn differences(core: &Core, server: &Server, found: &Found) -> Vec<Effect> {
    let learned = core.learned_code.borrow();
    let is = |said: &Setting, now: &str| {
        let spelled = learned.spelled.get(&(said.name.clone(), said.value.clone()));
        same(said, now) || spelled.is_some_and(|spelled| **spelled == *now)
    };
    let set = |name: &str, now: &str| {
        let Setting { name, value, raw, .. } = Setting::from_startup(name, now);
        Effect::Set { name, value, raw }
    };
    let mut changed = Vec::new();
    for (name, now) in &found.settings {
        let said = server.applied.find(name);
        let own = match &**name {
            "role" => "none",
            "session_authorization" => &*server.handle.pool.login.user,
            name if name.starts_with("transaction_") || name == "is_superuser" => continue,
            _ => "",
        };
        match said {
            Some(said) if is(said, now) => {}
            None if !own.is_empty() && own == now => {}
            Some(_) if !own.is_empty() && own == now => changed.push(Effect::Reset(name.as_str().into())),
            _ => changed.push(set(name, now)),
        }
    }
    for (name, now) in &found.named {
        let listed = found.settings.iter().any(|(listed, _)| listed == name);
        let said = server.applied.find(name);
        match (said, now.as_deref()) {
            _ if listed => {}
            (Some(said), Some(now)) if is(said, now) || now == "unavailable" => {}
            // It was there for a transaction that is over.
            (None, None | Some("")) => {}
            (Some(_), Some(now)) if name.contains('.') => changed.push(set(name, now)),
            (Some(_), _) => changed.push(Effect::Reset(name.as_str().into())),
            // What the server's own configuration says of it is asked for as if it was said.
            (None, Some(now)) => changed.push(set(name, now)),
        }
    }
    changed
}

/// Whether a value that was said is what the server says now, as far as that can be told without asking.
fn same(said: &Setting, now: &str) -> bool {
    if !said.raw {
        return *said.value == *now;
    }
    let listed = Setting::from_startup(&said.name, now);
    if listed.raw {
        // A list of names: a quote or a capital may make another one.
        return listed.value == said.value || *said.value == *now;
    }
    let parts = |list: &str| -> Vec<String> {
        list.split(',').map(|part| part.trim().trim_matches('\'').to_ascii_lowercase()).collect()
    };
    parts(&said.value) == parts(now)
}

fn changes_rows(kind: Kind) -> bool {
    matches!(kind, Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge | Kind::CopyIn)
}

fn key(facts: &Arc<Facts>, circumstances: u64) -> (usize, u64) {
    (Arc::as_ptr(facts).addr(), circumstances)
}

fn database(pool: &SharedPool) -> (u64, Box<str>) {
    let mut hasher = DefaultHasher::new();
    pool.cluster.config.name.hash(&mut hasher);
    (hasher.finish(), (*pool.login.database).into())
}

/// A session was found to be tied, and no more of its pool may be.
fn no_place(limit: usize, reason: PinReason) -> ErrorReport {
    crate::admit::no_more_pins(limit, reason).with_severity(wire::Severity::Fatal).with_detail(format!(
        "A function or trigger has left {} in the session, which can't be kept.",
        pins::in_words(reason)
    ))
}
