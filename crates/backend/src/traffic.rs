//! What traffic sees of a node, over all cores and pools: added up now and then, never for each request.

use std::sync::atomic::{AtomicU64, Ordering};

/// What traffic has seen of a node since the process began.
#[derive(Debug, Default)]
pub struct Traffic {
    answers: AtomicU64,
    micros: AtomicU64,
    errors: AtomicU64,
}

/// The same as plain numbers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Queries that were answered.
    pub answers: u64,
    /// What they took, in microseconds.
    pub micros: u64,
    /// Connections that couldn't be opened or were lost.
    pub errors: u64,
}

impl Traffic {
    /// So many more answers took so long in all.
    pub(crate) fn add(&self, answers: u64, micros: u64) {
        self.answers.fetch_add(answers, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn note_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// The numbers now.
    pub fn seen(&self) -> Seen {
        Seen {
            answers: self.answers.load(Ordering::Relaxed),
            micros: self.micros.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }
}

impl std::ops::Sub for Seen {
    type Output = Seen;

    fn sub(self, before: Seen) -> Seen {
        Seen {
            answers: self.answers.saturating_sub(before.answers),
            micros: self.micros.saturating_sub(before.micros),
            errors: self.errors.saturating_sub(before.errors),
        }
    }
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, more: Seen) {
        self.answers += more.answers;
        self.micros += more.micros;
        self.errors += more.errors;
    }
}
