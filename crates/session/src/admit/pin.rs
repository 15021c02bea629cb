//! A session that is about to be tied to its server connection takes one of the places that its pool has for that.

use std::sync::Arc;

use backend::Server;
use sql::facts::{Facts, PinReason};
use wire::{ErrorReport, SqlState};

use super::Admission;
use crate::book::{Book, PinnedTo};
use crate::pins;

impl Book {
    /// Takes a pin for a session that will need one; an error if its pool has no more.
    pub(crate) fn allow_pin(
        &mut self,
        at: &Admission<'_>,
        facts: &Arc<Facts>,
        sql: &[u8],
        server: &mut Server,
    ) -> Result<(), ErrorReport> {
        self.allow_currval(facts, server)?;
        let hidden = self.known_pin(at, server, facts);
        let Some(mut reason) = Self::pins(facts).next().or(hidden) else { return Ok(()) };
        if self.mode == config::PoolMode::Session {
            return Ok(());
        }
        let mut reasons = Self::pins(facts).chain(hidden);
        if reasons.clone().any(|reason| reason == PinReason::Listen) && !self.note_listen(server) {
            let other = reasons.find(|reason| *reason != PinReason::Listen);
            let Some(other) = other else { return Ok(()) };
            reason = other;
        }
        if reason == PinReason::Setting {
            self.watch_settings(at.core, sql);
        }
        if self.would_tie_to_replica(server) {
            return Err(pins::not_on_a_replica(reason));
        }
        if self.pinned_to.is_some() {
            return Ok(());
        }
        let outline = sql::outline(sql, self.lex.standard_conforming_strings);
        at.core.pins.tell(at.database, at.user, reason, &outline, true);
        match PinnedTo::take(&server.handle.pool) {
            Ok(place) => {
                self.pinned_to = Some(place);
                Ok(())
            }
            Err(limit) => Err(no_more_pins(limit, reason)),
        }
    }
}

/// As many sessions of a pool as may be are tied to connections.
pub(crate) fn no_more_pins(limit: usize, reason: PinReason) -> ErrorReport {
    let tied = pins::in_words(reason);
    ErrorReport::error(
        SqlState::TOO_MANY_CONNECTIONS,
        format!("too many sessions of this pool are tied to a server connection ({limit})"),
    )
    .with_detail(format!("This statement would tie its session to one: it leaves {tied} ({reason:?})."))
    .with_hint("Raise pool.pinned, use pool.mode: session for this user, or avoid state that outlives a transaction.")
}
