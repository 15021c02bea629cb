//! What was learned of shapes that look like reads: those that a replica has refused.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use sql::facts::Facts;
use wire::backend::ErrorFields;

use crate::book::Book;
use crate::core::Core;
use route::{RoleReason, TargetRole};

/// Shapes that a core remembers to have been refused.
const MOST: usize = 10_000;
/// Stands for all versions of a catalog.
const ANY: u64 = 0;

/// Shapes that a replica refused, by their facts' address and the version of the catalogs that they were planned by:
/// once these have changed it may be otherwise.
#[derive(Debug, Default)]
pub(crate) struct Learned(RefCell<HashMap<(usize, u64), Arc<Facts>, foldhash::fast::RandomState>>);

/// The texts of a request that are run, as far as one of them can be told to be at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ran {
    /// None so far.
    #[default]
    Nothing,
    /// One, with its facts at this address.
    One(usize),
    /// Several: it can't be told.
    Several,
}

impl Ran {
    #[inline]
    pub(crate) fn add(&mut self, facts: &Arc<Facts>) {
        *self = if *self == Ran::Nothing { Ran::One(Arc::as_ptr(facts).addr()) } else { Ran::Several };
    }
}

impl Learned {
    /// A replica refused what these facts call a read: it isn't sent to one again as long as the catalogs are these.
    pub(crate) fn learn(&self, facts: &Arc<Facts>, version: u64) {
        let mut shapes = self.0.borrow_mut();
        if shapes.len() >= MOST {
            shapes.clear();
        }
        shapes.insert((Arc::as_ptr(facts).addr(), version), Arc::clone(facts));
    }

    /// These facts leave something in their session, which has to be on the primary then, whatever the catalogs say.
    pub(crate) fn learn_tie(&self, facts: &Arc<Facts>) {
        self.learn(facts, ANY);
    }

    /// Whether a replica refused these facts.
    #[inline]
    pub(crate) fn knows(&self, facts: &Arc<Facts>, version: u64) -> bool {
        let shapes = self.0.borrow();
        let at = Arc::as_ptr(facts).addr();
        !shapes.is_empty() && (shapes.contains_key(&(at, version)) || shapes.contains_key(&(at, ANY)))
    }
}

impl Book {
    /// A replica refuses a read of which rows were passed on already: the client has its error, and the next time the
    /// statement goes to the primary, whatever becomes of the catalogs.
    #[cold]
    pub(crate) fn learn_late(&self, core: &Core, fields: &ErrorFields<'_>) {
        let split = self.last.as_ref().is_some_and(|last| {
            last.target.role == TargetRole::Replica
                && matches!(last.reason.role, RoleReason::Reads | RoleReason::UntilWrite)
        });
        if split
            && crate::reply::may_run_elsewhere(fields) == Some(true)
            && let Ran::One(at) = self.ran
            && let Some(facts) = core.analyzer.borrow().facts_at(at)
        {
            core.learned.learn(&facts, ANY);
        }
    }
}
