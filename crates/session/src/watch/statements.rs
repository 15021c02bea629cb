//! What code has prepared or deallocated: taken into the session's names, or out of them.
//!
//! A connection has the session's statements under their own names only where code might look for them; what is there
//! afterwards and wasn't shown, code has made, and what was shown and isn't there any more, code has deallocated.

use backend::Server;
use sql::prepared::{Verb, places};

use crate::book::Book;
use crate::core::Core;
use crate::prepared::MAX_NAMES;
use crate::sql_prepare::prepare_text;
use crate::witness::Found;

impl Book {
    /// The connection has said which statements are there. True if there is one that can't be the session's own
    /// anywhere else.
    pub(super) fn settle_statements(&mut self, core: &Core, server: &mut Server, found: &Found) -> bool {
        if found.ours < server.prepared.len() {
            server.prepared.doubt_all();
        }
        let mut shown = self.shown.take().filter(|shown| shown.pid == server.handle.pid);
        if let Some(shown) = shown.as_mut().filter(|shown| shown.whole) {
            let is_there = |name: &[u8]| found.prepared.iter().any(|(there, _)| there.as_bytes() == name);
            shown.names.retain(|name| {
                let stays = is_there(name);
                if !stays {
                    self.names.remove(name);
                    self.written.remove(name);
                }
                stays
            });
        }
        let was_shown =
            |name: &str| shown.as_ref().is_some_and(|shown| shown.names.contains(name.as_bytes()));
        let mut foreign = false;
        for (name, text) in &found.prepared {
            if !was_shown(name) && !self.names.contains_key(name.as_bytes()) {
                foreign |= !self.adopt(core, name, text);
            }
        }
        let tied = self.is_tied() || !found.pins.is_empty();
        if let Some(shown) = shown.as_mut().filter(|_| tied) {
            shown.names.extend(found.prepared.iter().map(|(name, _)| name.as_bytes().into()));
        }
        self.shown = shown.filter(|_| tied);
        foreign
    }

    /// What code has prepared is the session's from here on, wherever it is. False if its text can't be read.
    fn adopt(&mut self, core: &Core, name: &str, sql: &str) -> bool {
        let sql = sql.as_bytes();
        let places = places(sql, self.lex);
        let made = places.iter().find(|place| place.verb == Verb::Prepare && *place.name == *name);
        let Some(place) = made.filter(|_| self.names.len() < MAX_NAMES) else { return false };
        let text = self.read_prepare(core, prepare_text(sql, place));
        self.written.insert(name.as_bytes().into(), sql[place.statement.clone()].into());
        self.set_name(name.as_bytes(), Some(text));
        true
    }
}
