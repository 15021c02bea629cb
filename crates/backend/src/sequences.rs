//! Whose values of sequences a server connection has: what `currval` and `lastval` would answer there.
//!
//! A value must never be another session's. So where these functions are used, what is left of sequences on a
//! connection is discarded when it changes hands, and a session gets its last connection back for as long as nobody
//! else has used it. Whether they are used is known when they are: until a pool has seen them, or has been used for a
//! while without, it behaves as if they were.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::server::Server;

/// How often connections change hands before a pool is taken for one in which nobody asks for a sequence's last value.
const PROBATION: u32 = 256;
/// Somebody has asked.
const USED: u32 = u32::MAX;
/// How long a session's connection is kept from those who wait, for its question to follow what it wrote; and what says
/// `nextval` or asks, where that is likely: longer than a program takes to its next statement, on a machine with too much
/// to do.
const AFTER_WRITE: Duration = Duration::from_millis(50);
const AFTER_CALL: Duration = Duration::from_millis(250);
/// A question is worth so many keepings, which are saved up to that many: where none follow, nothing is kept any more.
const WORTH: u32 = 2;
const SAVED: u32 = 16;
/// Several sessions.
const SEVERAL: u32 = u32::MAX;

/// Whether the sessions of a pool ask for what their sequences have given last.
#[derive(Debug)]
pub struct SequenceUse {
    /// Handovers until nobody is taken to ask; or `USED`.
    probation: AtomicU32,
    /// How often a connection may yet be kept for a question that doesn't come. What says `nextval` or asks has accounts
    /// of its own: most of those that write ask nothing, and many sessions ask once for each row that they write.
    after_write: AtomicU32,
    after_call: AtomicU32,
    after_question: AtomicU32,
}

impl Default for SequenceUse {
    fn default() -> Self {
        let (after_write, after_call, after_question) = Default::default();
        Self { probation: AtomicU32::new(PROBATION), after_write, after_call, after_question }
    }
}

impl SequenceUse {
    /// Somebody asks, or may: from here on for good.
    pub fn note(&self) {
        if self.probation.swap(USED, Ordering::Relaxed) != USED {
            for saved in [&self.after_write, &self.after_call, &self.after_question] {
                saved.store(SAVED, Ordering::Relaxed);
            }
        }
    }

    /// A question of this session was asked, on the connection of this owner.
    pub fn note_question(&self, owner: &mut SequenceOwner, session: u32) {
        self.note();
        let follows = match owner.lately {
            _ if !owner.is_only(session) => Lately::Wrote, // it would have been worth it
            Lately::Nothing => owner.before,
            Lately::Wrote | Lately::Called | Lately::CalledByNew | Lately::Asked => Lately::Nothing, // in the same transaction
        };
        self.save(follows);
        owner.lately = Lately::Asked;
        owner.kept = None;
    }

    /// A text says that this session calls nextval or setval, on the connection of this owner. `may_ask`: it hasn't done so
    /// often without asking.
    #[cold]
    pub fn note_call(&self, owner: &mut SequenceOwner, session: u32, may_ask: bool) {
        if owner.is_only(session) && owner.lately == Lately::Nothing && owner.before == Lately::Asked {
            self.save(Lately::Asked); // whoever asks between its calls needs the connection for those too
        }
        owner.note(session, if may_ask { Lately::CalledByNew } else { Lately::Called });
    }

    /// Something has followed for which a connection was kept, or would have been better.
    fn save(&self, lately: Lately) {
        if let Some(saved) = self.saved(lately) {
            let more = |saved: u32| (saved < SAVED).then(|| SAVED.min(saved + WORTH));
            let _ = saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }

    fn saved(&self, lately: Lately) -> Option<&AtomicU32> {
        match lately {
            Lately::Nothing => None,
            Lately::Wrote => Some(&self.after_write),
            Lately::Called | Lately::CalledByNew => Some(&self.after_call),
            Lately::Asked => Some(&self.after_question),
        }
    }

    /// Whether a connection is to be kept for its session, after what that did.
    fn keeps(&self, lately: Lately) -> bool {
        let less = |saved: u32| saved.checked_sub(1);
        let pays = |saved: &AtomicU32| saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        self.is_known() && (lately == Lately::CalledByNew || self.saved(lately).is_some_and(pays))
    }

    /// Somebody has asked.
    #[inline]
    pub fn is_known(&self) -> bool {
        self.probation.load(Ordering::Relaxed) == USED
    }

    /// Whether what is left of sequences is to be discarded before another session has the connection.
    #[inline]
    pub fn is_kept_apart(&self) -> bool {
        self.probation.load(Ordering::Relaxed) > 0
    }

    /// A connection has changed hands.
    pub fn note_handover(&self) {
        let less = |left: u32| if left == USED { None } else { left.checked_sub(1) };
        let _ = self.probation.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// Which session may have called nextval on a connection since it was opened, or since that was discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequenceOwner {
    session: u32,
    lately: Lately,
    /// Likewise when it had the connection before.
    before: Lately,
    /// Until when it is kept for that session.
    kept: Option<Instant>,
}

/// What a session did with sequences since it has the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lately {
    /// Nothing that a question follows.
    #[default]
    Nothing,
    /// It may have called nextval.
    Wrote,
    /// It has said so.
    Called,
    /// Likewise, and it hasn't done so often without asking: it may be one that asks, whatever others do.
    CalledByNew,
    /// It has asked for what that gave.
    Asked,
}

impl SequenceOwner {
    /// A session (by the process id that its client was told) runs what may call nextval.
    #[inline]
    pub fn note(&mut self, session: u32, lately: Lately) {
        if lately != Lately::Nothing {
            self.lately = lately;
        }
        if self.session != session {
            self.session = if self.session == 0 { session } else { SEVERAL };
        }
    }

    /// The session lets go: until when the connection is to be kept for it.
    #[inline]
    pub(crate) fn keep(&mut self, uses: &SequenceUse) -> Option<Instant> {
        let lately = std::mem::take(&mut self.lately);
        if lately == Lately::Nothing && self.kept.is_none() {
            return None;
        }
        self.keep_after(lately, uses)
    }

    #[cold]
    fn keep_after(&mut self, lately: Lately, uses: &SequenceUse) -> Option<Instant> {
        let now = Instant::now();
        if self.session != SEVERAL && uses.keeps(lately) {
            let time = if lately == Lately::Wrote { AFTER_WRITE } else { AFTER_CALL };
            (self.before, self.kept) = (lately, self.kept.max(Some(now + time)));
        } else if !self.is_kept(now) || self.session == SEVERAL {
            (self.before, self.kept) = (lately, None);
        }
        // If it is kept for something before that, the question may follow yet.
        self.kept
    }

    /// Whether it is kept for the session that let it go.
    pub(crate) fn is_kept(self, now: Instant) -> bool {
        self.kept.is_some_and(|until| until > now)
    }

    /// Nobody.
    #[inline]
    pub fn is_nobody(self) -> bool {
        self.session == 0
    }

    /// This session and no other.
    #[inline]
    pub fn is_only(self, session: u32) -> bool {
        self.session == session
    }

    /// What is there is nobody's to be asked for: values of several sessions, or older ones.
    pub fn spoil(&mut self) {
        self.session = SEVERAL;
    }

    /// DISCARD SEQUENCES was run.
    pub fn discard(&mut self) {
        *self = Self::default();
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
        owner.note(7, Lately::Wrote);
        owner.note(7, Lately::Nothing);
        assert!(owner.is_only(7) && !owner.is_only(8) && !owner.is_nobody());
        owner.note(8, Lately::Wrote);
        owner.note(7, Lately::Wrote);
        assert!(!owner.is_only(7) && !owner.is_only(8) && !owner.is_nobody());
        owner.discard();
        assert!(owner.is_nobody());
    }

    #[test]
    fn a_connection_is_kept_for_as_long_as_questions_follow() {
        let uses = SequenceUse::default();
        let mut owner = SequenceOwner::default();
        owner.note(7, Lately::Wrote);
        assert!(owner.keep(&uses).is_none(), "nobody has asked");
        uses.note();
        assert!(owner.keep(&uses).is_none(), "nothing was done since");
        owner.note(7, Lately::Nothing);
        assert!(owner.keep(&uses).is_none(), "no question will follow");
        owner.note(7, Lately::Wrote);
        let until = owner.keep(&uses);
        assert!(until.is_some_and(|until| until > Instant::now()) && owner.is_kept(Instant::now()));
        owner.note(7, Lately::Nothing);
        assert_eq!(owner.keep(&uses), until, "the question may follow yet");
        for _ in 1..SAVED {
            owner = SequenceOwner::default();
            owner.note(7, Lately::Wrote);
            assert!(owner.keep(&uses).is_some());
        }
        owner = SequenceOwner::default();
        owner.note(7, Lately::Wrote);
        assert!(owner.keep(&uses).is_none() && !owner.is_kept(Instant::now()), "no question followed");
        uses.note_question(&mut owner, 7);
        assert!(owner.keep(&uses).is_some(), "another may follow");
        for _ in 0..100 {
            owner.note(7, Lately::Wrote);
            assert!(owner.keep(&uses).is_some());
            uses.note_question(&mut owner, 7);
            owner.keep(&uses);
        }
        owner.note(7, Lately::Wrote);
        owner.note(8, Lately::Wrote);
        assert!(owner.keep(&uses).is_none(), "it is nobody's");
    }

    #[test]
    fn what_says_nextval_is_kept_whatever_others_write() {
        let uses = SequenceUse::default();
        let mut owner = SequenceOwner::default();
        uses.note();
        owner.note(7, Lately::Wrote);
        while owner.keep(&uses).is_some() {
            owner = SequenceOwner::default();
            owner.note(7, Lately::Wrote);
        }
        uses.note_call(&mut owner, 7, false);
        let until = owner.keep(&uses);
        assert!(until.is_some());
        owner.note(7, Lately::Wrote);
        assert_eq!(owner.keep(&uses), until, "the question may follow yet");
        for _ in 0..100 {
            uses.note_question(&mut owner, 7);
            assert!(owner.keep(&uses).is_some());
            uses.note_call(&mut owner, 7, false);
            assert!(owner.keep(&uses).is_some());
        }
    }

    #[test]
    fn who_has_called_a_few_times_is_kept_whatever_others_call() {
        let uses = SequenceUse::default();
        let mut owner = SequenceOwner::default();
        uses.note_call(&mut owner, 7, true);
        assert!(owner.keep(&uses).is_none(), "nobody has asked");
        uses.note();
        loop {
            let mut other = SequenceOwner::default();
            uses.note_call(&mut other, 8, false);
            if other.keep(&uses).is_none() {
                break;
            }
        }
        uses.note_call(&mut owner, 7, true);
        assert!(owner.keep(&uses).is_some());
    }

    #[test]
    fn one_question_for_each_write_keeps_nothing_behind_it() {
        let uses = SequenceUse::default();
        let mut owner = SequenceOwner::default();
        uses.note();
        let mut kept = 0;
        for _ in 0..100 {
            owner.note(7, Lately::Wrote);
            assert!(owner.keep(&uses).is_some());
            uses.note_question(&mut owner, 7);
            kept += u32::from(owner.keep(&uses).is_some());
        }
        assert_eq!(kept, SAVED);
        // Written and asked in one transaction: nothing follows.
        for _ in 0..SAVED + 1 {
            owner.note(7, Lately::Wrote);
            uses.note_question(&mut owner, 7);
            owner.keep(&uses);
        }
        assert!(owner.keep(&uses).is_none());
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
