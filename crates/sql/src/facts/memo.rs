//! What somebody has concluded from facts, kept beside them.

use std::sync::atomic::{AtomicU64, Ordering};

/// A conclusion of yes or no, with the number of what it was drawn from besides the facts. It is forgotten when
/// another is drawn, and no part of what the facts say: all are equal.
#[derive(Debug, Default)]
pub struct Memo(AtomicU64);

impl Memo {
    /// What was concluded under this number, if that was the last conclusion. `under`: below 2^62, and never 0.
    #[inline]
    #[must_use]
    pub fn recall(&self, under: u64) -> Option<bool> {
        let kept = self.0.load(Ordering::Relaxed);
        (kept >> 1 == under).then_some(kept & 1 == 1)
    }

    /// Remembers a conclusion.
    pub fn remember(&self, under: u64, concluded: bool) {
        self.0.store(under << 1 | u64::from(concluded), Ordering::Relaxed);
    }
}

impl Clone for Memo {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Memo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Memo {}

/// A conclusion of 64 bits, as [`Memo`] is one of yes or no. Facts belong to one core: nobody else draws conclusions
/// from them at the same time.
#[derive(Debug, Default)]
pub struct Note {
    under: AtomicU64,
    concluded: AtomicU64,
}

impl Note {
    /// What was concluded under this number, if that was the last conclusion. `under`: never 0.
    #[inline]
    #[must_use]
    pub fn recall(&self, under: u64) -> Option<u64> {
        (self.under.load(Ordering::Relaxed) == under).then(|| self.concluded.load(Ordering::Relaxed))
    }

    /// Remembers a conclusion.
    pub fn remember(&self, under: u64, concluded: u64) {
        self.concluded.store(concluded, Ordering::Relaxed);
        self.under.store(under, Ordering::Relaxed);
    }
}

impl Clone for Note {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Note {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Note {}
