//! What a core has learned of the code of its databases: their maps, and what texts have left behind so far.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use backend::{Setting, SharedPool};
use sql::facts::{Facts, PinReason};

use super::Watched;
use super::code::CodeMap;
use crate::witness::{Names, Row};

/// A text whose code may do anything and has left nothing behind so often isn't asked for: its connection is swept
/// afterwards.
const ENOUGH: u8 = 3;
/// Texts, spellings and databases that a core remembers.
const REMEMBERED: usize = 10_000;

/// What is known of a text's code under some circumstances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has left nothing behind so often.
    Trying(u8),
    /// Nothing so far, and it isn't asked for any more.
    Quiet,
    /// All that it may do is to end what ties a session.
    Ends,
    /// It ties its session, for this reason, or changes its settings.
    Hides(Option<PinReason>),
}

/// What a core has learned of the code of its databases.
#[derive(Debug, Default)]
pub(crate) struct LearnedCode {
    verdicts: HashMap<(usize, u64), (Arc<Facts>, Verdict), foldhash::fast::RandomState>,
    pub(super) names: Names,
    /// What the code of each database may do, and at which epoch that was read.
    maps: HashMap<(u64, Box<str>), (u64, CodeMap)>,
    /// How the server says a setting's value that a client said so.
    spelled: HashMap<(Box<str>, Box<str>), Box<str>>,
}

impl LearnedCode {
    pub(super) fn verdict(&self, facts: &Arc<Facts>, circumstances: u64) -> Option<Verdict> {
        self.verdicts.get(&key(facts, circumstances)).map(|(_, verdict)| *verdict)
    }

    /// What the code of a database may do, if that was read at this epoch.
    pub(super) fn map(&self, pool: &SharedPool, epoch: u64) -> Option<&CodeMap> {
        let (known, map) = self.maps.get(&database(pool))?;
        (*known == epoch).then_some(map)
    }

    /// The answer to the question for a database's sources.
    /// True if what only reads has to be judged too.
    pub(super) fn read_map(&mut self, pool: &SharedPool, epoch: u64, rows: &[Row]) -> bool {
        let map = CodeMap::of(rows, &mut self.names);
        let by_reading = map.by_reading();
        if self.maps.len() >= REMEMBERED {
            self.maps.clear();
        }
        self.maps.insert(database(pool), (epoch, map));
        by_reading
    }

    /// A text whose code may do anything has left nothing behind.
    pub(super) fn note_quiet(&mut self, watched: &Watched) {
        let before = match self.verdict(&watched.facts, watched.circumstances) {
            Some(Verdict::Trying(before)) => before,
            Some(Verdict::Quiet) => ENOUGH,
            Some(Verdict::Hides(_) | Verdict::Ends) | None => 0,
        };
        let now = before.saturating_add(1);
        let verdict = if now >= ENOUGH { Verdict::Quiet } else { Verdict::Trying(now) };
        self.remember(&watched.facts, watched.circumstances, verdict);
    }

    pub(super) fn remember(&mut self, facts: &Arc<Facts>, circumstances: u64, verdict: Verdict) {
        if self.verdicts.len() >= REMEMBERED {
            self.verdicts.clear();
        }
        // The facts are kept too: no other text comes to have their address.
        self.verdicts.insert(key(facts, circumstances), (Arc::clone(facts), verdict));
    }

    /// How the server says what was said so, if that was asked.
    pub(super) fn spelling(&self, said: &Setting) -> Option<&str> {
        self.spelled.get(&(said.name.clone(), said.value.clone())).map(|spelled| &**spelled)
    }

    pub(super) fn note_spelling(&mut self, said: Setting, spelled: String) {
        if self.spelled.len() >= REMEMBERED {
            self.spelled.clear();
        }
        self.spelled.insert((said.name, said.value), spelled.into());
    }
}

fn key(facts: &Arc<Facts>, circumstances: u64) -> (usize, u64) {
    (Arc::as_ptr(facts).addr(), circumstances)
}

fn database(pool: &SharedPool) -> (u64, Box<str>) {
    let mut hasher = DefaultHasher::new();
    pool.cluster.config.name.hash(&mut hasher);
    (hasher.finish(), (*pool.login.database).into())
}
