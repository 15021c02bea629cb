//! What is known of a statement: our own types, between the parser and the router.
//!
//! A fact is only written here when it is certain. Whatever could not be decided is `Unknown`, and `Unknown` goes to
//! the primary (and is refused on a sharded database).

mod effect;
mod hint;
mod kind;
mod memo;
mod values;

pub use crate::hidden::Hidden;
pub use crate::tally::Tally;
pub use effect::{Argument, Effect, PinReason};
pub use hint::{Hint, HintConsistency, HintRole};
pub use kind::{Begin, Isolation, Kind};
pub use memo::{Memo, Note};
pub use values::{KeyEquality, Keys, Literal, Value};

/// An identifier as Postgres sees it: folded to lower case unless it was quoted.
pub type Name = Box<str>;

/// Facts of one text, which may hold several statements (simple Query) or none (an empty query).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// One entry for each statement, in order; empty for an empty query.
    pub statements: Vec<Statement>,
    /// `/* pgweir: … */` at the very start of the text.
    pub hint: Hint,
    /// The worst access of all statements (`Read` < `Unknown` < `Write`); `Read` for an empty query.
    pub access: Access,
    /// A statement of it names one that SQL's PREPARE made ([`crate::prepared::places`] tells where), or reads the
    /// list of them.
    pub names_prepared: bool,
    /// How often its texts went where, on the core that has these facts.
    pub routed: Tally,
    /// What somebody has concluded from these facts, so that it needn't be concluded again.
    pub memo: Memo,
    /// Likewise, of the tables that it reads, and of those that it writes.
    pub read: Note,
    /// See there.
    pub wrote: Note,
    /// What it may do to its session without saying so.
    pub hidden: Hidden,
}

/// Facts of one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What kind of statement it is.
    pub kind: Kind,
    /// Whether it may run on a replica.
    pub access: Access,
    /// Why `access` is not `Read`, for `SHOW pgweir.route`; `None` when it reads.
    pub because: Option<Because>,
    /// Tables and views that it names (not CTE names), with their use; an entry for each place where one is named, so
    /// that a self-join has two.
    pub relations: Vec<Relation>,
    /// Whether `relations` is surely complete. False for anything that was not fully understood, for functions that
    /// may read tables of their own, for DO, CALL and the like.
    pub relations_complete: bool,
    /// What it calls: its access may depend on what these are in its database. Empty where it surely writes.
    pub calls: Calls,
    /// What it does to the state of the session that a pool must not lose.
    pub effects: Vec<Effect>,
    /// Key values, for sharding.
    pub keys: Keys,
    /// Columns that an UPDATE, ON CONFLICT DO UPDATE or MERGE assigns: a change of a shard key moves a row.
    pub assigned: Vec<Name>,
    /// Cannot run inside a transaction block nor share a pipeline (VACUUM, CREATE DATABASE, CREATE INDEX CONCURRENTLY …).
    pub alone: bool,
    /// It does nothing but set settings for its transaction, to values that it says: it does the same anywhere.
    pub sets_local: bool,
    /// It runs code of the database's own (a function, a trigger, a procedure), which may change the session unseen.
    pub runs_code: bool,
}

impl Facts {
    /// Gives back what its lists have no use for: facts are kept for long, by the ten thousand.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.statements.shrink_to_fit();
        for statement in &mut self.statements {
            statement.relations.shrink_to_fit();
            statement.calls.functions.shrink_to_fit();
            statement.calls.operators.shrink_to_fit();
            statement.effects.shrink_to_fit();
            statement.assigned.shrink_to_fit();
        }
    }
}

impl Statement {
    /// A statement of this kind that surely reads, names nothing and does nothing to the session.
    #[must_use]
    pub fn read(kind: Kind) -> Self {
        Self {
            kind,
            access: Access::Read,
            because: None,
            relations: Vec::new(),
            relations_complete: true,
            calls: Calls { complete: true, ..Calls::default() },
            effects: Vec::new(),
            keys: Keys::None,
            assigned: Vec::new(),
            alone: false,
            sets_local: false,
            runs_code: false,
        }
    }

    /// A command that must have the primary, and of which the relations are not known.
    #[must_use]
    pub fn command(kind: Kind, name: &'static str) -> Self {
        let mut statement = Self::read(kind);
        statement.worsen(Access::Write, Because::Command(name));
        statement.relations_complete = false;
        statement
    }

    /// A statement that was not understood, and may hide anything.
    #[must_use]
    pub fn unknown(why: &str) -> Self {
        let mut statement = Self::read(Kind::Unknown);
        statement.worsen(Access::Unknown, Because::NotUnderstood(why.into()));
        statement.relations_complete = false;
        statement.calls.complete = false;
        statement.effects.push(Effect::Pin(PinReason::Doubt));
        statement.runs_code = true;
        statement
    }

    /// Raises `access` to at least this; the first reason of the worst access is kept.
    pub fn worsen(&mut self, access: Access, because: Because) {
        if access > self.access {
            self.access = access;
            self.because = Some(because);
        }
    }

    /// The setting that a SHOW asks for, lower case.
    #[must_use]
    pub fn show(&self) -> Option<&str> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Show(name) => Some(&**name),
            _ => None,
        })
    }
}

/// Whether a statement may run on a replica. Ordered: the worst of several decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Access {
    /// Surely only reads, and a replica gives the answer that the primary would.
    #[default]
    Read,
    /// Not understood, or depends on what only the server knows (a user's function).
    Unknown,
    /// Surely writes, locks, or must have the primary.
    Write,
}

/// Why a statement is not a plain read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    /// It is a command that writes (INSERT, DDL, …): its name in upper case.
    Command(&'static str),
    /// FOR UPDATE, FOR SHARE and their kind, or LOCK.
    Locking,
    /// A data-modifying WITH.
    WritingWith,
    /// SELECT INTO.
    Into,
    /// It calls this function, which may write or must have the primary.
    Function(Name),
    /// It calls this function, of which nothing is known.
    UnknownFunction(Name),
    /// It reads this relation, which only the primary has right (statistics, locks, sequences …).
    PrimaryRelation(Name),
    /// It was not understood: what stopped us, in a few words.
    NotUnderstood(Box<str>),
}

/// A relation that a statement names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The schema, if the statement said one.
    pub schema: Option<Name>,
    /// The relation's own name.
    pub name: Name,
    /// Whether the statement changes it.
    pub written: bool,
}

/// What a statement calls, by the names that it gives; a database's catalog knows what they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Calls {
    /// Functions, each name once; built-in ones too, of which a database may have overloads of its own.
    pub functions: Vec<Call>,
    /// Operators, each once. Not those that a keyword stands for (IN, LIKE, USING …).
    pub operators: Vec<Name>,
    /// Whether a value is cast explicitly.
    pub casts: bool,
    /// Nothing else keeps the statement from being a read: if `access` is `Unknown`, only because of functions that
    /// are listed here.
    pub complete: bool,
}

/// A function that a statement calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The schema, if the statement said one.
    pub schema: Option<Name>,
    /// The function's own name.
    pub name: Name,
    /// It is a built-in function that only reads.
    pub reads: bool,
}
