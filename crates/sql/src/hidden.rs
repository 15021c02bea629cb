//! What a text may do to its session without saying so, and what was found out about that.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::facts::{Access, Because, Effect, Kind, Statement};

/// What a text may do to its session without saying so.
#[derive(Debug, Default)]
pub struct Hidden {
    /// It is one SELECT that does nothing to its session, by what its text says: nobody has anything to note of it.
    pub plain: bool,
    /// It runs code of the database's own: a function, a trigger, a procedure.
    pub runs_code: bool,
    /// It calls currval or lastval.
    pub currval: Currval,
    /// A sequence may give it a value.
    pub nextval: Nextval,
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

/// Whether a text may call nextval or setval, by itself or by what it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Nextval {
    /// It can't, or only reads.
    #[default]
    No,
    /// It may, by a trigger or what a command runs, but that isn't usual.
    Hardly,
    /// It well may: by a column's default, or in a function.
    Likely,
    /// It says so.
    Named,
}

impl Nextval {
    fn of(statement: &Statement) -> Self {
        let named = matches!(&statement.because, Some(Because::Function(name)) if is_nextval(name));
        match statement.kind {
            _ if named => Self::Named,
            _ if statement.access == Access::Read => Self::No,
            Kind::Set | Kind::Reset | Kind::Show | Kind::Discard => Self::No,
            Kind::Prepare | Kind::Deallocate | Kind::Notify => Self::No,
            Kind::Select if statement.effects.contains(&Effect::Currval) => Self::Hardly,
            Kind::Select | Kind::Insert | Kind::Merge | Kind::CopyIn => Self::Likely,
            Kind::Procedure | Kind::Execute | Kind::Unknown => Self::Likely,
            _ => Self::Hardly,
        }
    }
}

fn is_nextval(name: &str) -> bool {
    matches!(name, "nextval" | "setval")
}

impl Hidden {
    /// Of a text of these statements.
    #[must_use]
    pub fn of(statements: &[Statement]) -> Self {
        let reads = |s: &Statement| s.effects.contains(&Effect::Currval);
        let calls = |s: &Statement| {
            let named = matches!(&s.because, Some(Because::Function(name)) if is_nextval(name));
            named || s.runs_code || matches!(s.kind, Kind::Insert | Kind::Merge)
        };
        let currval = match (statements.iter().any(reads), statements.iter().any(calls)) {
            (false, _) => Currval::No,
            (true, true) => Currval::AfterItsOwn,
            (true, false) => Currval::OfBefore,
        };
        let nextval = statements.iter().map(Nextval::of).max().unwrap_or_default();
        let runs_code = statements.iter().any(|s| s.runs_code);
        let plain = matches!(statements, [s] if s.kind == Kind::Select && s.effects.is_empty() && !s.alone);
        let plain = plain && !runs_code && statements.iter().all(|s| s.access == Access::Read);
        Self { plain, runs_code, currval, nextval, quiet: AtomicU64::new(0) }
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
        Self { quiet: AtomicU64::new(0), ..*self }
    }
}

/// Facts are equal whatever was found out about them since.
impl PartialEq for Hidden {
    fn eq(&self, other: &Self) -> bool {
        (self.plain, self.runs_code, self.currval, self.nextval)
            == (other.plain, other.runs_code, other.currval, other.nextval)
    }
}

impl Eq for Hidden {}
