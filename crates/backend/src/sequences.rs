//! Whose values of sequences a server connection has: what `currval` and `lastval` would answer there.
//!
//! A value must never be another session's. So where these functions are used, what is left of sequences on a
//! connection is discarded when it changes hands, and a session gets its last connection back for as long as nobody
//! else has used it. Whether they are used is known when they are: until a pool has seen them, or has been used for a
//! while without, it behaves as if they were.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::server::Server;

/// How often connections change hands before a pool is taken for one in which nobody asks for a sequence's last value.
const PROBATION: u32 = 256;
/// Somebody has asked.
const USED: u32 = u32::MAX;
/// Several sessions.
const SEVERAL: u32 = u32::MAX;

/// Whether the sessions of a pool ask for what their sequences have given last.
#[derive(Debug)]
pub struct SequenceUse(AtomicU32);

impl Default for SequenceUse {
    fn default() -> Self {
        Self(AtomicU32::new(PROBATION))
    }
}

impl SequenceUse {
    /// Somebody asks: from here on for good.
    pub fn note(&self) {
        self.0.store(USED, Ordering::Relaxed);
    }

    /// Somebody has asked.
    #[inline]
    pub fn is_known(&self) -> bool {
        self.0.load(Ordering::Relaxed) == USED
    }

    /// Whether what is left of sequences is to be discarded before another session has the connection.
    #[inline]
    pub fn is_kept_apart(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// A connection has changed hands.
    pub fn note_handover(&self) {
        let less = |left: u32| if left == USED { None } else { left.checked_sub(1) };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// Which session may have called nextval on a connection since it was opened, or since that was discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequenceOwner(u32);

impl SequenceOwner {
    /// A session (by the process id that its client was told) runs what may call nextval.
    #[inline]
    pub fn note(&mut self, session: u32) {
        if self.0 != session {
            self.0 = if self.0 == 0 { session } else { SEVERAL };
        }
    }

    /// Nobody.
    #[inline]
    pub fn is_nobody(self) -> bool {
        self.0 == 0
    }

    /// This session and no other.
    #[inline]
    pub fn is_only(self, session: u32) -> bool {
        self.0 == session
    }

    /// What is there is nobody's to be asked for: values of several sessions, or older ones.
    pub fn spoil(&mut self) {
        self.0 = SEVERAL;
    }

    /// DISCARD SEQUENCES was run.
    pub fn discard(&mut self) {
        self.0 = 0;
    }
}

impl Server {
    /// Whether what is left of sequences here is another session's, or an older value of this one's, and somebody
    /// might see it. `is_last`: nowhere else has the session called nextval since.
    #[inline]
    pub fn has_stale_sequences(&self, session: u32, is_last: bool) -> bool {
        let current = self.sequences.is_nobody() || (is_last && self.sequences.is_only(session));
        !current && self.handle.pool.sequences.is_kept_apart()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_knows_its_only_writer() {
        let mut owner = SequenceOwner::default();
        assert!(owner.is_nobody());
        owner.note(7);
        owner.note(7);
        assert!(owner.is_only(7) && !owner.is_only(8) && !owner.is_nobody());
        owner.note(8);
        owner.note(7);
        assert!(!owner.is_only(7) && !owner.is_only(8) && !owner.is_nobody());
        owner.discard();
        assert!(owner.is_nobody());
    }

    #[test]
    fn a_pool_is_on_probation_until_somebody_asks() {
        let uses = SequenceUse::default();
        for _ in 0..PROBATION {
            assert!(uses.is_kept_apart() && !uses.is_known());
            uses.note_handover();
        }
        assert!(!uses.is_kept_apart());
        uses.note_handover();
        uses.note();
        uses.note_handover();
        assert!(uses.is_kept_apart() && uses.is_known());
    }
}
