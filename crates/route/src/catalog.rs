//! What a database's catalog says of the functions, relations, operators and casts that a statement names.
//!
//! Immutable and without I/O: `backend` reads the rows, [`Catalog::of`] makes a catalog of them, a change is a new one.

mod build;
mod hidden;
mod objection;
mod rows;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use sql::facts::{Access, Call, Facts, Name, Relation, Statement};

use crate::consistency::Slots;
use crate::reason::is_session_kind;
use hidden::Hidden;
use tables::Tables;

pub use objection::Objected;
pub(crate) use objection::Objection;
pub use rows::{CalledRow, CatalogRows, FunctionRow, OperatorRow, RelationKind, RelationRow, TableRow};

/// What is known of one database's catalog.
#[derive(Debug)]
pub struct Catalog {
    /// Unlike any other catalog's in this process; never 0.
    number: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// It can't be read, or nobody would ask: facts count alone, and what a replica refuses is learned.
    Unavailable,
    /// It is being read: what depends on it is the primary's.
    Unsettled,
    Known(Box<Known>),
}

/// A catalog that was read.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Functions that are not Postgres' own, by name.
    functions: HashMap<Name, Named<bool>>,
    /// Volatile ones among them that bear the name of a built-in function.
    shadows: HashMap<Name, Named<()>>,
    /// Relations that only the primary may read, by name.
    relations: HashMap<Name, Named<Guarded>>,
    /// Operators that call a volatile function.
    operators: HashSet<Name>,
    /// One of them may stand behind a keyword, or a cast that is volatile is applied unasked: any statement may call it.
    anywhere: bool,
    /// A cast, or a domain's check, calls a volatile function.
    casts: bool,
    /// What is touched by way of each table.
    tables: Tables,
    /// Code that may touch any, and that statements run without naming it.
    hidden: Hidden,
}

/// What bears one name, in several schemas.
#[derive(Debug)]
struct Named<T>(Vec<(Name, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Named<T> {
    /// All that the name may mean where it is written with this schema, or without one: what a search_path makes of
    /// it is not known here.
    fn meant<'a, 'b: 'a>(&'b self, schema: Option<&'a str>) -> impl Iterator<Item = &'b T> + 'a {
        let fits = move |(of, _): &&(Name, T)| schema.is_none_or(|schema| **of == *schema);
        self.0.iter().filter(fits).map(|(_, what)| what)
    }
}

/// Why only the primary may read a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Guarded {
    /// A standby has none of its rows.
    Unlogged,
    /// What a standby has of it runs ahead.
    Sequence,
    /// What it reads is elsewhere.
    Foreign,
    /// A view that locks rows.
    LockingView,
    /// A view, or a policy, calls this function.
    Calls(Name),
    /// A view, or a parent, that reads this relation, which is guarded itself.
    Reads(Name),
}

static UNAVAILABLE: LazyLock<Arc<Catalog>> =
    LazyLock::new(|| Arc::new(Catalog::numbered(Content::Unavailable)));

impl Catalog {
    /// The catalog of which nothing is known and nothing will be.
    pub fn unavailable() -> &'static Arc<Catalog> {
        &UNAVAILABLE
    }

    /// A catalog that is being read: while it lasts, what depends on it goes to the primary.
    pub fn unsettled() -> Catalog {
        Catalog::numbered(Content::Unsettled)
    }

    /// A catalog of these rows.
    pub fn of(rows: CatalogRows) -> Catalog {
        Catalog::numbered(Content::Known(Box::new(build::known(rows))))
    }

    fn numbered(content: Content) -> Catalog {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Catalog { number: NEXT.fetch_add(1, Ordering::Relaxed), content }
    }

    /// How many functions and guarded relations are known; `None`: it isn't known.
    pub fn size(&self) -> Option<(usize, usize)> {
        match &self.content {
            Content::Known(known) => Some((known.functions.len(), known.relations.len())),
            Content::Unavailable | Content::Unsettled => None,
        }
    }

    /// Whether a replica may have a text of which the facts alone say that it reads, or that it does if the functions
    /// do that it calls.
    #[inline]
    pub(crate) fn clears(&self, facts: &Facts) -> bool {
        match facts.memo.recall(self.number) {
            Some(cleared) => cleared,
            None => self.look(facts),
        }
    }

    #[cold]
    fn look(&self, facts: &Facts) -> bool {
        let cleared = self.objection(facts).is_none();
        facts.memo.remember(self.number, cleared);
        cleared
    }

    /// The first that it has against a replica: the statement's place, and what it is.
    pub(crate) fn objection(&self, facts: &Facts) -> Option<(usize, Objection)> {
        let statements = facts.statements.iter().enumerate();
        statements.filter(|(_, statement)| statement.access != Access::Write).find_map(|(at, statement)| {
            let objection = match &self.content {
                Content::Unavailable => (statement.access == Access::Unknown).then_some(Objection::Unknown),
                Content::Unsettled => depends(statement).then_some(Objection::Unsettled),
                Content::Known(known) => known.objection(statement),
            };
            objection.map(|objection| (at, objection))
        })
    }

    /// The tables that a text reads, through views and the like too.
    #[inline]
    pub fn tables_read(&self, facts: &Facts) -> Slots {
        match facts.read.recall(self.number) {
            Some(bits) => Slots::from_bits(bits),
            None => self.find_read(facts),
        }
    }

    #[cold]
    fn find_read(&self, facts: &Facts) -> Slots {
        let hidden = self
            .known()
            .is_some_and(|known| facts.statements.iter().any(|statement| known.hidden.may_read(statement)));
        let slots = if hidden { Slots::ANY } else { self.tables().read_by(facts) };
        facts.read.remember(self.number, slots.to_bits());
        slots
    }

    /// The tables that a text may write, through foreign keys and the like too.
    #[inline]
    pub fn tables_written(&self, facts: &Facts) -> Slots {
        match facts.wrote.recall(self.number) {
            Some(bits) => Slots::from_bits(bits),
            None => self.find_written(facts),
        }
    }

    #[cold]
    fn find_written(&self, facts: &Facts) -> Slots {
        let hidden = match &self.content {
            Content::Known(known) => facts.statements.iter().any(|statement| known.hides_a_write(statement)),
            Content::Unsettled => facts
                .statements
                .iter()
                .any(|statement| statement.access == Access::Read && depends(statement)),
            Content::Unavailable => false,
        };
        let known = matches!(self.content, Content::Known(_));
        let slots =
            if hidden { Slots::ANY } else { self.tables().written_by(facts, known && self.clears(facts)) };
        facts.wrote.remember(self.number, slots.to_bits());
        slots
    }

    /// Where no catalog is known, no table is.
    fn tables(&self) -> &Tables {
        static NONE: LazyLock<Tables> = LazyLock::new(Tables::default);
        self.known().map_or(&NONE, |known| &known.tables)
    }

    fn known(&self) -> Option<&Known> {
        match &self.content {
            Content::Known(known) => Some(known),
            Content::Unavailable | Content::Unsettled => None,
        }
    }
}

/// Whether a statement's access depends on the catalog.
fn depends(statement: &Statement) -> bool {
    let own = |relation: &Relation| match relation.schema.as_deref() {
        Some(schema) => schema != "pg_catalog" && schema != "information_schema",
        None => !relation.name.starts_with("pg_"),
    };
    statement.access == Access::Unknown || statement.relations.iter().any(own)
}

impl Known {
    /// Whether a statement may write what it doesn't name, by what it runs without naming it.
    fn hides_a_write(&self, statement: &Statement) -> bool {
        let code = |objection| {
            matches!(
                objection,
                Objection::Function(_) | Objection::Operator(_) | Objection::Cast | Objection::Anywhere
            )
        };
        match statement.access {
            _ if is_session_kind(statement.kind) => false,
            // What it calls isn't listed.
            Access::Write => self.hidden.writes,
            Access::Read | Access::Unknown => {
                self.objection(statement).is_some_and(code) || self.tables.may_write(statement)
            }
        }
    }

    fn objection(&self, statement: &Statement) -> Option<Objection> {
        if self.anywhere {
            return Some(Objection::Anywhere);
        }
        let place = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
        let relation = statement.relations.iter().position(|relation| self.guards(relation).is_some());
        if let Some(at) = relation {
            return Some(Objection::Relation(place(at)));
        }
        let calls = &statement.calls;
        if let Some(at) = calls.functions.iter().position(|call| !self.reads(call)) {
            return Some(Objection::Function(place(at)));
        }
        if let Some(at) = calls.operators.iter().position(|name| self.operators.contains(name)) {
            return Some(Objection::Operator(place(at)));
        }
        (self.casts && calls.casts).then_some(Objection::Cast)
    }

    fn guards(&self, relation: &Relation) -> Option<&Guarded> {
        self.relations.get(&relation.name)?.meant(relation.schema.as_deref()).next()
    }

    /// Whether all that a call may mean only reads.
    fn reads(&self, call: &Call) -> bool {
        let schema = call.schema.as_deref();
        if call.reads {
            return self.shadows.get(&call.name).is_none_or(|named| named.meant(schema).next().is_none());
        }
        let Some(named) = self.functions.get(&call.name) else { return false };
        let mut meant = named.meant(schema).peekable();
        meant.peek().is_some() && meant.all(|reads| *reads)
    }
}
