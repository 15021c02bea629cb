//! What a text may do to its session without saying so, and what was found out about that.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::facts::{Because, Effect, Kind, Statement};

/// What a text may do to its session without saying so.
#[derive(Debug, Default)]
pub struct Hidden {
    /// It runs code of the database's own: a function, a trigger, a procedure.
    pub runs_code: bool,
    /// It calls currval or lastval.
    pub currval: Currval,
    /// Under which circumstances its code is known to leave nothing behind; 0: none.
    quiet: AtomicU64,
}

/// Whether a text reads what nextval left behind in the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Currval {
    /// It doesn't.
    #[default]
    No,
    /// It does, and may have called nextval itself by then.
    AfterItsOwn,
    /// It does, of what was there before.
    OfBefore,
}

impl Hidden {
    /// Of a text of these statements.
    #[must_use]
    pub fn of(statements: &[Statement]) -> Self {
        let reads = |s: &Statement| s.effects.contains(&Effect::Currval);
        let calls = |s: &Statement| {
            let named = matches!(&s.because, Some(Because::Function(name)) if **name == *"nextval" || **name == *"setval");
            named || s.runs_code || matches!(s.kind, Kind::Insert | Kind::Merge)
        };
        let currval = match (statements.iter().any(reads), statements.iter().any(calls)) {
            (false, _) => Currval::No,
            (true, true) => Currval::AfterItsOwn,
            (true, false) => Currval::OfBefore,
        };
        Self { runs_code: statements.iter().any(|s| s.runs_code), currval, quiet: AtomicU64::new(0) }
    }

    /// Whether its code is known to leave nothing behind under these circumstances.
    #[inline]
    pub fn is_quiet(&self, circumstances: u64) -> bool {
        self.quiet.load(Ordering::Relaxed) == circumstances
    }

    /// Remembers that it is so. One place: sessions of other circumstances are asked of again.
    pub fn set_quiet(&self, circumstances: u64) {
        self.quiet.store(circumstances, Ordering::Relaxed);
    }
}

/// What was found out about one text's facts isn't known of a copy.
impl Clone for Hidden {
    fn clone(&self) -> Self {
        Self { runs_code: self.runs_code, currval: self.currval, quiet: AtomicU64::new(0) }
    }
}

/// Facts are equal whatever was found out about them since.
impl PartialEq for Hidden {
    fn eq(&self, other: &Self) -> bool {
        (self.runs_code, self.currval) == (other.runs_code, other.currval)
    }
}

impl Eq for Hidden {}
