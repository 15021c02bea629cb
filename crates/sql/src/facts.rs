//! What is known of a statement: our own types, between the parser and the router.
//!
//! A fact is only written here when it is certain. Whatever could not be decided is `Unknown`, and `Unknown` goes to
//! the primary (and is refused on a sharded database).

pub use crate::hidden::Hidden;
pub use crate::tally::Tally;

use std::sync::atomic::{AtomicU64, Ordering};

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

/// The kinds that something above must tell apart. The first keyword decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SELECT, VALUES, TABLE, WITH … SELECT.
    Select,
    /// INSERT, with or without WITH.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// MERGE.
    Merge,
    /// EXPLAIN of anything.
    Explain,
    /// COPY … FROM STDIN.
    CopyIn,
    /// COPY … TO STDOUT.
    CopyOut,
    /// COPY from or to a file or program of the server.
    CopyServer,
    /// BEGIN, START TRANSACTION.
    Begin(Begin),
    /// COMMIT, END (without AND CHAIN).
    Commit,
    /// ROLLBACK, ABORT (without TO, without AND CHAIN).
    Rollback,
    /// COMMIT AND CHAIN, ROLLBACK AND CHAIN.
    EndAndChain,
    /// SAVEPOINT.
    Savepoint,
    /// RELEASE SAVEPOINT.
    Release,
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo,
    /// PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED.
    TwoPhase,
    /// SET (SESSION and LOCAL), SET ROLE, SET TRANSACTION …; the effect says what.
    Set,
    /// RESET.
    Reset,
    /// SHOW of this setting, folded to lower case by the effect-free `Statement::show`.
    Show,
    /// DISCARD.
    Discard,
    /// SQL PREPARE.
    Prepare,
    /// SQL EXECUTE.
    Execute,
    /// SQL DEALLOCATE.
    Deallocate,
    /// DECLARE CURSOR.
    Declare,
    /// FETCH, MOVE, CLOSE.
    Cursor,
    /// LISTEN, UNLISTEN, NOTIFY.
    Notify,
    /// DO, CALL.
    Procedure,
    /// CREATE, ALTER, DROP, TRUNCATE, GRANT, COMMENT … and every other utility command.
    Utility,
    /// Not understood.
    Unknown,
}

/// What a BEGIN asked for, or SET TRANSACTION.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Begin {
    /// READ ONLY or READ WRITE, if said.
    pub read_only: Option<bool>,
    /// The isolation level, if said.
    pub isolation: Option<Isolation>,
}

impl Begin {
    /// What is said here, and of what isn't what `defaults` say.
    #[must_use]
    pub fn or(self, defaults: Self) -> Self {
        Self {
            read_only: self.read_only.or(defaults.read_only),
            isolation: self.isolation.or(defaults.isolation),
        }
    }
}

/// An isolation level, as far as Postgres tells one from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// READ COMMITTED, and READ UNCOMMITTED, which is the same.
    ReadCommitted,
    /// REPEATABLE READ.
    RepeatableRead,
    /// SERIALIZABLE.
    Serializable,
}

impl Isolation {
    /// The level of this name, as the setting `default_transaction_isolation` has it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "read committed" | "read uncommitted" => Some(Self::ReadCommitted),
            "repeatable read" => Some(Self::RepeatableRead),
            "serializable" => Some(Self::Serializable),
            _ => None,
        }
    }
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

/// An effect on session state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// SET [SESSION] name = value, as text exactly as the statement wrote it after TO or =. `SET TIME ZONE` is
    /// `timezone`; `SET NAMES` is `client_encoding`; SET ROLE is `role`; SET SESSION AUTHORIZATION is
    /// `session_authorization`. For a name that begins with `pgweir.` the statement is pgweir's own.
    Set {
        /// Setting name, lower case.
        name: Name,
        /// Its value, unquoted if it was one literal or word; a list keeps the statement's own text.
        value: Box<str>,
        /// The value is a list or an expression: `value` is raw SQL text to be put after `TO`.
        raw: bool,
    },
    /// SET LOCAL, set_config(…, true): ends with the transaction. The setting's name, lower case, if it can be read.
    SetLocal(Option<Name>),
    /// set_config(name, value, false) that surely runs once. `local`: the parameter that says whether it ends with the
    /// transaction.
    SetConfig {
        /// The setting's name.
        name: Argument,
        /// Its value as one text; NULL resets it.
        value: Argument,
        /// A boolean parameter, `$n`.
        local: Option<u16>,
    },
    /// SET TRANSACTION with these modes; ends with the transaction. (Of SET TRANSACTION SNAPSHOT nothing is said.)
    SetTransaction(Begin),
    /// SAVEPOINT name.
    Savepoint(Name),
    /// RELEASE [SAVEPOINT] name.
    ReleaseSavepoint(Name),
    /// ROLLBACK TO [SAVEPOINT] name.
    RollbackTo(Name),
    /// ROLLBACK AND CHAIN (COMMIT AND CHAIN has the kind alone).
    RollbackAndChain,
    /// RESET name, SET name TO DEFAULT.
    Reset(Name),
    /// RESET ALL.
    ResetAll,
    /// DISCARD ALL.
    DiscardAll,
    /// SHOW of this setting (lower case; `all` for SHOW ALL): no effect, but `pgweir.*` is answered by pgweir.
    Show(Name),
    /// LISTEN channel. No `Pin(Listen)` comes with it: whoever can't hold it elsewhere pins.
    Listen(Name),
    /// UNLISTEN channel, or all.
    Unlisten(Option<Name>),
    /// It asks what the session listens to (`pg_listening_channels`).
    Channels,
    /// SQL PREPARE of this name. No `Pin(SqlPrepare)` comes with it: whoever can't replay it elsewhere pins.
    Prepare(Name),
    /// SQL DEALLOCATE of this name, or all.
    Deallocate(Option<Name>),
    /// Ties the session to its server connection.
    Pin(PinReason),
    /// May end what ties the session to its server connection.
    MayUnpin(PinReason),
    /// currval, lastval: reads what this session's nextval left on its server connection.
    Currval,
    /// Changes what code the database runs for other statements: functions, triggers, rules, extensions.
    Redefines,
    /// What it does to the session cannot be known.
    Unknown,
}

impl Effect {
    /// The same for whoever doesn't know the parameters.
    #[must_use]
    pub fn without_parameters(&self) -> Self {
        use Argument::Parameter;
        match self {
            Self::SetConfig { name: Parameter(_), .. }
            | Self::SetConfig { value: Parameter(_), .. }
            | Self::SetConfig { local: Some(_), .. } => Self::Pin(PinReason::Setting),
            effect => effect.clone(),
        }
    }
}

/// An argument of a call that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// A literal.
    Text(Box<str>),
    /// NULL.
    Null,
    /// Parameter `$n` of Bind, 1-based.
    Parameter(u16),
}

/// Why a session is tied to its server connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PinReason {
    /// CREATE TEMP TABLE and the like, SELECT INTO TEMP.
    TemporaryTable,
    /// DECLARE … WITH HOLD.
    HoldCursor,
    /// pg_advisory_lock and its kind without `_xact_`.
    AdvisoryLock,
    /// setseed().
    Setseed,
    /// LOAD.
    Load,
    /// SQL PREPARE.
    SqlPrepare,
    /// LISTEN.
    Listen,
    /// A SET, or a set_config(…, false) inside a larger statement.
    Setting,
    /// The text was not understood, or calls code that may hide state.
    Doubt,
}

/// What is known of shard keys: equality that surely holds for every row that the statement touches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Keys {
    /// Nothing known.
    #[default]
    None,
    /// AND-ed at the top level of the only query level: `column = value`. `relation` is an index into
    /// `Statement::relations`; unqualified columns are only listed where a single relation is named.
    Equal(Vec<KeyEquality>),
    /// INSERT … VALUES: the target's columns (`None`: not listed) and, for each row, each column's value.
    Rows {
        /// The column list, if there was one.
        columns: Option<Vec<Name>>,
        /// A value for each column of each row; `None`: an expression, DEFAULT.
        rows: Vec<Vec<Option<Value>>>,
    },
}

/// `relation.column = value`, AND-ed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEquality {
    /// Index into `Statement::relations`.
    pub relation: usize,
    /// Column name.
    pub column: Name,
    /// What it equals.
    pub value: Value,
}

/// Where a value is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// The literal of this index in `Analysis::literals`.
    Literal(u32),
    /// Parameter `$n` of Bind, 1-based.
    Parameter(u16),
}

/// A literal left out of the shape, found in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal {
    /// Byte range in the text, quotes and prefix included, a leading minus not.
    pub start: u32,
    /// End of the range, exclusive.
    pub end: u32,
    /// A string (plain, escape, dollar, U&) or a number.
    pub string: bool,
}

/// Hints of `/* pgweir: role=replica shard=eu */`. Unknown keys or values make the statement an error above.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hint {
    /// `role=primary|replica`.
    pub role: Option<HintRole>,
    /// `shard=NAME`.
    pub shard: Option<Name>,
    /// `key=VALUE`: the shard that this key's value belongs to.
    pub key: Option<Box<str>>,
    /// `consistency=database|session|strong|eventual`.
    pub consistency: Option<HintConsistency>,
    /// A key or value that is not known, for the error message.
    pub invalid: Option<Box<str>>,
}

/// A role that a hint asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HintRole {
    /// The primary.
    Primary,
    /// A replica, even for what is not known to read.
    Replica,
}

/// What a hint says that a read must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HintConsistency {
    /// What was acknowledged to anyone in the database.
    Database,
    /// What was acknowledged to the session.
    Session,
    /// All that was committed.
    Strong,
    /// Nothing in particular.
    Eventual,
}
