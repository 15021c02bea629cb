//! What a catalog has against sending a statement to a replica, and how it is said.

use std::fmt;
use std::sync::Arc;

use sql::facts::{Facts, Statement};

use super::{Catalog, Guarded};
use crate::why::Why;

/// What a catalog has against a replica. Places are those in the statement's facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Objection {
    /// There is no catalog, and the facts need one.
    Unknown,
    /// The catalog is being read.
    Unsettled,
    /// It names this relation, which is guarded.
    Relation(u16),
    /// It calls this function, which is VOLATILE, or isn't there.
    Function(u16),
    /// It uses this operator, which may call a volatile function.
    Operator(u16),
    /// It casts, and a cast or a domain of the database calls a volatile function.
    Cast,
    /// Any statement of the database may call a volatile function without a word of it.
    Anywhere,
}

/// A statement that a catalog objects to, kept with all that is needed to say why.
#[derive(Debug, Clone)]
pub struct Objected {
    facts: Arc<Facts>,
    catalog: Arc<Catalog>,
    statement: u16,
    objection: Objection,
}

impl Objected {
    pub(crate) fn new(
        facts: &Arc<Facts>,
        catalog: &Arc<Catalog>,
        statement: usize,
        objection: Objection,
    ) -> Objected {
        let statement = u16::try_from(statement).unwrap_or(u16::MAX);
        Objected { facts: Arc::clone(facts), catalog: Arc::clone(catalog), statement, objection }
    }

    /// What it is, for who counts reasons.
    pub(crate) fn why(&self) -> Why {
        match self.objection {
            Objection::Unknown => Why::UnknownFunction,
            Objection::Unsettled => Why::CatalogUnsettled,
            Objection::Relation(_) => Why::GuardedRelation,
            Objection::Function(_) => Why::VolatileFunction,
            Objection::Operator(_) => Why::VolatileOperator,
            Objection::Cast => Why::VolatileCast,
            Objection::Anywhere => Why::VolatileAnywhere,
        }
    }

    fn relation(&self, f: &mut fmt::Formatter<'_>, statement: &Statement, at: u16) -> fmt::Result {
        let Some(relation) = statement.relations.get(usize::from(at)) else { return Ok(()) };
        let name = &relation.name;
        match self.catalog.known().and_then(|known| known.guards(relation)) {
            Some(Guarded::Unlogged) => write!(f, "reads {name}, an unlogged table"),
            Some(Guarded::Sequence) => write!(f, "reads {name}, a sequence"),
            Some(Guarded::Foreign) => write!(f, "reads {name}, a foreign table"),
            Some(Guarded::LockingView) => write!(f, "reads {name}, a view that locks rows"),
            Some(Guarded::Calls(function)) => {
                write!(f, "reads {name}, of which the view or a policy calls {function}()")
            }
            Some(Guarded::Reads(other)) => write!(f, "reads {name}, and so {other}, which has the primary"),
            None => write!(f, "reads {name}"),
        }
    }

    fn function(&self, f: &mut fmt::Formatter<'_>, statement: &Statement, at: u16) -> fmt::Result {
        let Some(call) = statement.calls.functions.get(usize::from(at)) else { return Ok(()) };
        let name = &call.name;
        let known = self.catalog.known().is_some_and(|known| known.functions.contains_key(name));
        if known {
            write!(f, "calls {name}(), which may write: it is VOLATILE")
        } else {
            write!(f, "calls {name}(), which may write: the catalog hasn't it")
        }
    }
}

impl fmt::Display for Objected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(statement) = self.facts.statements.get(usize::from(self.statement)) else {
            return f.write_str("not understood");
        };
        if self.facts.statements.len() > 1 {
            write!(f, "statement {} of {}: ", self.statement + 1, self.facts.statements.len())?;
        }
        match self.objection {
            Objection::Unknown => f.write_str("calls a function of which nothing is known"),
            Objection::Unsettled => f.write_str("the database's catalog is being read"),
            Objection::Relation(at) => self.relation(f, statement, at),
            Objection::Function(at) => self.function(f, statement, at),
            Objection::Operator(at) => {
                let name = statement.calls.operators.get(usize::from(at)).map_or("?", |name| &**name);
                write!(f, "an operator {name} of the database calls a VOLATILE function")
            }
            Objection::Cast => f.write_str("a cast or domain of the database calls a VOLATILE function"),
            Objection::Anywhere => {
                f.write_str("the database has an operator or cast that calls a VOLATILE function unasked")
            }
        }
    }
}
