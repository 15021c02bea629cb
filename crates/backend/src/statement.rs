//! Prepared statements by content: one text, prepared once on a server whoever uses it.
//!
//! What a text means depends on settings. Postgres turns literals into values when it parses (`'2024-01-01
//! 00:00'::timestamptz` by TimeZone), finds tables by search_path, and folds functions when it plans (a float's text by
//! extra_float_digits). So a statement's content is its text, its parameter types, and the settings that it is read by:
//! all that the session wants, but for those that are known not to matter. Of those that Postgres reports, what it
//! reports counts, however it came about.
//!
//! Unlike on a connection of its own, where a statement keeps the settings of its Parse until Postgres has to analyze
//! it again, a session's statement is read by the settings of its Bind: it may be prepared anew at any time, wherever
//! the session happens to be, and means the same everywhere. A session that keeps its connection keeps what it
//! prepared there. Not followed is what a function sets of what Postgres doesn't report.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::settings::{Parameters, Setting, Settings};

/// Settings that texts are read by and that a server reports: as named by a session, and by ParameterStatus.
const REPORTED: [(&str, &str); 5] = [
    ("client_encoding", "client_encoding"),
    ("datestyle", "DateStyle"),
    ("intervalstyle", "IntervalStyle"),
    ("standard_conforming_strings", "standard_conforming_strings"),
    ("timezone", "TimeZone"),
];

/// Settings that neither parser nor planner takes a value from.
const NOT_READ_BY: [&str; 19] = [
    "application_name",
    "client_min_messages",
    "deadlock_timeout",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "log_min_duration_statement",
    "maintenance_work_mem",
    "statement_timeout",
    "synchronous_commit",
    "temp_buffers",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
    "transaction_timeout",
    "work_mem",
];

/// A statement as a client's Parse described it.
#[derive(Debug)]
pub struct Statement {
    /// Names it on the servers, and in the set of what a connection has.
    pub id: u64,
    /// `pgweir_<id>`.
    pub server_name: Box<str>,
    /// The text, without the terminating NUL.
    pub sql: Box<[u8]>,
    /// The parameter types of Parse: four bytes each, network order.
    pub types: Box<[u8]>,
    /// SQL's PREPARE made it: `sql` is that command, with `server_name` as the name. Where the name begins there, and
    /// the statement that is prepared.
    by_prepare: Option<(usize, usize)>,
}

/// A text of SQL's PREPARE without its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrepareText<'a> {
    /// What comes before the name.
    pub before: &'a [u8],
    /// What comes behind it.
    pub behind: &'a [u8],
    /// Where in `behind` the statement begins that is prepared.
    pub query: usize,
}

/// Text, types, and what it is read by.
type Content = (Box<[u8]>, Box<[u8]>, Settings);

impl Statement {
    /// The parameter types of Parse.
    pub fn type_oids(&self) -> impl Iterator<Item = u32> + '_ {
        self.types.chunks_exact(4).map(|oid| u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]))
    }

    /// What runs when it is executed.
    pub fn query(&self) -> &[u8] {
        let at = self.by_prepare.map_or(0, |(_, query)| query);
        self.sql.get(at..).unwrap_or_default()
    }

    /// The text of the PREPARE that made it, if one did.
    pub fn prepare_text(&self) -> Option<PrepareText<'_>> {
        let (name, query) = self.by_prepare?;
        let end = name + self.server_name.len();
        Some(PrepareText { before: self.sql.get(..name)?, behind: self.sql.get(end..)?, query: query - end })
    }
}

/// The `Statement::id` of a name that a statement may have on a server.
pub fn id_of(server_name: &str) -> Option<u64> {
    server_name.strip_prefix("pgweir_")?.parse().ok()
}

/// Whether texts may be read by this setting.
pub fn is_read_by(setting: &str) -> bool {
    !NOT_READ_BY.contains(&setting)
}

/// Whether a server reports what it has of this setting, as far as texts are read by it.
pub fn is_reported(setting: &str) -> bool {
    REPORTED.iter().any(|(name, _)| *name == setting)
}

/// What the texts of a session are read by that wants these settings on a server that reports these parameters.
pub fn reading(wanted: &Settings, parameters: &Parameters) -> Settings {
    REPORTED.iter().fold(wanted.filtered(is_read_by), |settings, (name, reported)| {
        match parameters.get(reported) {
            Some(value) => settings.with(Setting::plain(name, value)),
            None => settings,
        }
    })
}

/// All statements of this process by content. Looked into on the first use of a text on a core.
#[derive(Debug, Default)]
pub struct Statements {
    next: AtomicU64,
    known: Mutex<HashMap<Content, Weak<Statement>>>,
}

impl Statements {
    /// The statement of this text and these types, read by these settings.
    pub fn intern(&self, sql: &[u8], types: &[u8], reading: &Settings) -> Arc<Statement> {
        self.known_or((sql.into(), types.into(), reading.clone()), || self.alone(sql, types))
    }

    /// The statement that this PREPARE makes, read by these settings, whatever name a session gives it.
    pub fn intern_prepare(&self, text: PrepareText<'_>, reading: &Settings) -> Arc<Statement> {
        // No text of a Parse has a NUL.
        let content = [text.before, b"\0", text.behind].concat().into();
        self.known_or((content, Box::default(), reading.clone()), || self.alone_prepare(text))
    }

    fn known_or(&self, content: Content, new: impl FnOnce() -> Arc<Statement>) -> Arc<Statement> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(statement) = known.get(&content).and_then(Weak::upgrade) {
            return statement;
        }
        if known.len() % 1024 == 1023 {
            known.retain(|_, statement| statement.strong_count() > 0);
        }
        let statement = new();
        known.insert(content, Arc::downgrade(&statement));
        statement
    }

    /// A statement that nobody else has: it isn't known what it is read by.
    pub fn alone(&self, sql: &[u8], types: &[u8]) -> Arc<Statement> {
        let (id, server_name) = self.next_name();
        Arc::new(Statement { id, server_name, sql: sql.into(), types: types.into(), by_prepare: None })
    }

    /// As `alone`, of a PREPARE.
    pub fn alone_prepare(&self, text: PrepareText<'_>) -> Arc<Statement> {
        let (id, server_name) = self.next_name();
        let sql = [text.before, server_name.as_bytes(), text.behind].concat().into();
        let name = text.before.len();
        let by_prepare = Some((name, name + server_name.len() + text.query));
        Arc::new(Statement { id, server_name, sql, types: Box::default(), by_prepare })
    }

    fn next_name(&self) -> (u64, Box<str>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        (id, format!("pgweir_{id}").into())
    }
}

/// What one server connection has prepared, by `Statement::id`; the least recently used goes first.
#[derive(Debug, Default)]
pub struct PreparedSet {
    places: HashMap<u64, Place, foldhash::fast::RandomState>,
    turn: u64,
}

#[derive(Debug)]
struct Place {
    used: u64,
    standing: Standing,
}

/// How sure it is that a statement is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Its Parse was sent, in this segment of messages up to a Sync. `first`: it wasn't there before.
    Asked { segment: u32, first: bool },
    /// The server has said so.
    Confirmed,
    /// It may be there, or not.
    Doubtful,
}

/// Whether a server connection has a statement, for who is about to name it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It has; or its Parse was sent, and what is sent behind it is skipped if that fails.
    There,
    /// It may have: closed first, it can be prepared again.
    Doubtful,
    /// It hasn't.
    Absent,
}

impl PreparedSet {
    /// Whether the statement is there for a message of this `segment`: messages up to a Sync are executed up to the
    /// first that fails, those behind the Sync are executed all the same. It counts as used.
    #[inline]
    pub fn touch(&mut self, id: u64, segment: u32) -> Presence {
        self.turn += 1;
        let Some(place) = self.places.get_mut(&id) else { return Presence::Absent };
        place.used = self.turn;
        match place.standing {
            Standing::Confirmed => Presence::There,
            Standing::Asked { segment: asked, .. } if asked == segment => Presence::There,
            Standing::Asked { .. } | Standing::Doubtful => Presence::Doubtful,
        }
    }

    /// Notes a statement that the server is being asked to prepare.
    pub fn ask(&mut self, id: u64, segment: u32) {
        self.turn += 1;
        let first = !self.places.contains_key(&id);
        let standing = Standing::Asked { segment, first };
        self.places.insert(id, Place { used: self.turn, standing });
    }

    /// It is taken for granted: the client itself asks for it, and is told if that fails.
    pub fn assume(&mut self, id: u64) {
        self.turn += 1;
        self.places.insert(id, Place { used: self.turn, standing: Standing::Confirmed });
    }

    /// The server has prepared it. What was sent behind that may leave it in doubt since.
    pub fn confirm(&mut self, id: u64) {
        if let Some(place) = self.places.get_mut(&id)
            && place.standing != Standing::Doubtful
        {
            place.standing = Standing::Confirmed;
        }
    }

    /// The server has refused or skipped a Parse. `again`: another one was sent since.
    pub fn refuse(&mut self, id: u64, again: bool) {
        let Some(place) = self.places.get_mut(&id) else { return };
        match place.standing {
            Standing::Asked { first: true, .. } => {
                self.places.remove(&id);
            }
            Standing::Asked { .. } if again => {}
            Standing::Asked { .. } | Standing::Confirmed | Standing::Doubtful => {
                place.standing = Standing::Doubtful;
            }
        }
    }

    /// A statement may be there or not: somebody else has closed it perhaps, or a Close of it was skipped.
    pub fn doubt(&mut self, id: u64) {
        let used = self.turn;
        let place = self.places.entry(id).or_insert(Place { used, standing: Standing::Doubtful });
        place.standing = Standing::Doubtful;
    }

    /// What is there isn't known any more.
    pub fn doubt_all(&mut self) {
        for place in self.places.values_mut() {
            place.standing = Standing::Doubtful;
        }
    }

    /// Takes out the least recently used one if there are more than `limit`, so that it can be closed.
    pub fn evict(&mut self, limit: usize) -> Option<u64> {
        if self.places.len() <= limit.max(1) {
            return None;
        }
        let oldest = self.places.iter().min_by_key(|(_, place)| place.used).map(|(id, _)| *id)?;
        self.places.remove(&oldest);
        Some(oldest)
    }

    /// Forgets all (DISCARD ALL, DEALLOCATE ALL).
    pub fn clear(&mut self) {
        self.places.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// Statements (`Statement::id`) that a server has prepared under some settings: a Parse of one needs no server to be
/// answered.
#[derive(Debug, Default)]
pub struct Proven(RefCell<HashSet<(u64, Rc<Settings>)>>);

/// So many are remembered.
const PROVEN: usize = 10_000;

impl Proven {
    /// A server has prepared this statement under these settings.
    pub fn note(&self, statement: u64, settings: &Rc<Settings>) {
        let mut proven = self.0.borrow_mut();
        if proven.len() >= PROVEN {
            proven.clear();
        }
        proven.insert((statement, Rc::clone(settings)));
    }

    /// Whether a server has.
    pub fn contains(&self, statement: u64, settings: &Rc<Settings>) -> bool {
        self.0.borrow().contains(&(statement, Rc::clone(settings)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_names_a_statement() {
        let all = Statements::default();
        let none = Settings::default();
        let a = all.intern(b"SELECT 1", b"", &none);
        assert!(Arc::ptr_eq(&a, &all.intern(b"SELECT 1", b"", &none)));
        assert_ne!(a.id, all.intern(b"SELECT 1", &[0, 0, 0, 23], &none).id);
        assert_ne!(a.id, all.intern(b"SELECT 1", b"", &Settings::from_pairs([("timezone", "UTC")])).id);
        assert_ne!(all.alone(b"SELECT 1", b"").id, all.alone(b"SELECT 1", b"").id);
        drop(a);
        assert_eq!(all.intern(b"SELECT 2", b"", &none).id, 5);
    }

    #[test]
    fn a_prepare_is_the_same_whatever_its_name() {
        let all = Statements::default();
        let none = Settings::default();
        let text = PrepareText { before: b"prepare ", behind: b"(int) as select $1", query: 9 };
        let made = all.intern_prepare(text, &none);
        assert!(Arc::ptr_eq(&made, &all.intern_prepare(text, &none)));
        assert_eq!(*made.sql, *b"prepare pgweir_0(int) as select $1");
        assert_eq!((made.query(), made.prepare_text()), (&b"select $1"[..], Some(text)));
        assert_ne!(made.id, all.intern(&made.sql, b"", &none).id);
        assert_ne!(made.id, all.alone_prepare(text).id);
    }

    #[test]
    fn texts_are_read_by_what_is_wanted_and_what_is_reported() {
        let wanted = [("timezone", "zulu"), ("search_path", "a"), ("work_mem", "1MB"), ("app.tenant", "7")];
        let reported = [("TimeZone", "UTC"), ("application_name", "x"), ("server_version", "18")];
        let reported = Parameters::from_pairs(reported.map(|(name, value)| (name.into(), value.into())));
        let expected = Settings::from_pairs([("timezone", "UTC"), ("search_path", "a"), ("app.tenant", "7")]);
        assert_eq!(reading(&Settings::from_pairs(wanted), &reported), expected);
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut set = PreparedSet::default();
        for id in 0..4 {
            set.ask(id, 0);
        }
        assert_eq!(set.touch(0, 0), Presence::There);
        assert_eq!(set.evict(3), Some(1));
        assert_eq!(set.evict(3), None);
        assert_eq!(set.touch(1, 0), Presence::Absent);
    }

    #[test]
    fn what_isnt_confirmed_holds_up_to_the_sync() {
        let mut set = PreparedSet::default();
        set.ask(7, 1);
        assert_eq!((set.touch(7, 1), set.touch(7, 2)), (Presence::There, Presence::Doubtful));
        set.ask(7, 2);
        set.refuse(7, true);
        assert_eq!(set.touch(7, 2), Presence::There);
        set.confirm(7);
        assert_eq!(set.touch(7, 3), Presence::There);
    }

    #[test]
    fn what_was_refused_is_absent_only_if_it_never_was_there() {
        let mut set = PreparedSet::default();
        set.ask(1, 1);
        set.refuse(1, false);
        assert_eq!(set.touch(1, 1), Presence::Absent);
        set.ask(1, 1);
        set.ask(1, 2);
        set.confirm(1);
        set.refuse(1, false);
        assert_eq!(set.touch(1, 3), Presence::Doubtful);
        set.doubt(2);
        assert_eq!((set.touch(2, 3), set.len()), (Presence::Doubtful, 2));
    }
}
