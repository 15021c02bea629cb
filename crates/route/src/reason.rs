//! Why a statement goes where it goes: cheap to make on every statement, put into words only when someone asks.

use std::fmt;
use std::sync::Arc;

use config::RoleSetting;
use sql::facts::{Because, Facts, HintRole, Kind, Statement};

use crate::catalog::Objected;
use crate::decision::{RoleSource, TargetRole};
use crate::why::Why;

/// Why this role, and why this shard.
#[derive(Debug, Clone)]
pub struct Reason {
    /// Why the primary, or a replica.
    pub role: RoleReason,
    /// Why this shard; its words need the map, see [`crate::explain`].
    pub shard: ShardReason,
}

/// Why the primary, or a replica.
#[derive(Debug, Clone)]
pub enum RoleReason {
    /// All statements only read.
    Reads,
    /// It looks like a read, but a replica has refused it.
    Learned,
    /// The text is empty.
    Empty,
    /// This statement doesn't surely read.
    Writes(Culprit),
    /// The database's catalog knows something of what this statement names that keeps it from a replica.
    Catalog(Objected),
    /// This statement speaks to the session or asks the server of itself: the primary's.
    Session(Culprit),
    /// It only reads, and no replica had caught up with what it must see.
    Behind,
    /// The transaction is open there.
    InTransaction(TargetRole),
    /// A transaction begins that may write.
    Transaction,
    /// It reads, in a transaction that may write yet and goes on on the primary then.
    UntilWrite,
    /// So much was set, or saved, in such a transaction that it is time to go to the primary.
    SaidTooMuch,
    /// It opens something that stays where the transaction is: a cursor, a named portal.
    Opens(Opened),
    /// A transaction begins that is READ ONLY.
    ReadOnlyTransaction,
    /// READ ONLY, but SERIALIZABLE, which a standby can't give.
    SerializableTransaction,
    /// The hint at the start of the text.
    Hint(HintRole),
    /// A setting of the session, its listener, user or database.
    Setting(RoleSetting, RoleSource),
    /// Several messages up to a Sync, all of which read.
    PipelineReads,
    /// Several messages up to a Sync, one of which doesn't surely read.
    PipelineWrites(Culprit),
    /// Messages that read, but go on before their Sync: what is still to come may write.
    PipelineGoesOn,
}

/// What can't go on elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// DECLARE.
    Cursor,
    /// Bind with a portal's name.
    Portal,
}

/// One statement of a text, kept with its facts so that nothing is copied until it is shown.
#[derive(Debug, Clone)]
pub struct Culprit {
    facts: Arc<Facts>,
    statement: usize,
}

/// Why this shard. Indexes are those of the map that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardReason {
    /// The database has no shards.
    Unsharded,
    /// It names no relation: any shard would do.
    NoRelation,
    /// It reads only reference tables: any shard would do.
    Reference,
    /// It reads only system catalogs: the first shard's, unless something else decides.
    Catalog,
    /// It works on something that is each shard's own and has no key (notifications, sequences, advisory locks):
    /// always the first shard.
    First,
    /// It is only described: tables look the same on every shard.
    Described,
    /// The transaction is open there.
    InTransaction,
    /// The hint `shard=NAME`.
    Hint,
    /// The hint `key=VALUE`.
    HintKey,
    /// `SET pgweir.shard`.
    Setting,
    /// A sharded table's key has this value: index of the table and of the value in its scheme.
    Key {
        /// Which table.
        table: u16,
        /// Which value of the list; `None`: one that isn't in it, the scheme's default.
        value: Option<u32>,
    },
    /// A table that lives on this shard alone: its index.
    Single {
        /// Which table.
        table: u16,
    },
}

impl Culprit {
    /// The statement of this index in these facts.
    pub(crate) fn new(facts: &Arc<Facts>, statement: usize) -> Culprit {
        Culprit { facts: Arc::clone(facts), statement }
    }

    fn statement(&self) -> Option<&Statement> {
        self.facts.statements.get(self.statement)
    }
}

impl ShardReason {
    /// Whether the shard was a free choice, so that anything else in the same text or pipeline may decide it.
    pub fn is_free(self) -> bool {
        match self {
            ShardReason::Unsharded
            | ShardReason::NoRelation
            | ShardReason::Reference
            | ShardReason::Catalog
            | ShardReason::Described => true,
            ShardReason::First
            | ShardReason::InTransaction
            | ShardReason::Hint
            | ShardReason::HintKey
            | ShardReason::Setting
            | ShardReason::Key { .. }
            | ShardReason::Single { .. } => false,
        }
    }
}

impl Reason {
    /// A short, fixed name for metrics.
    pub fn as_label(&self) -> &'static str {
        self.role.why().as_label()
    }
}

impl RoleReason {
    /// The reason without its particulars.
    pub fn why(&self) -> Why {
        match self {
            RoleReason::Reads => Why::Reads,
            RoleReason::Learned => Why::Learned,
            RoleReason::Empty => Why::Empty,
            RoleReason::Writes(culprit) => culprit.why(),
            RoleReason::Catalog(objected) => objected.why(),
            RoleReason::Session(_) => Why::Session,
            RoleReason::Behind => Why::Behind,
            RoleReason::InTransaction(_) => Why::InTransaction,
            RoleReason::Transaction => Why::Transaction,
            RoleReason::UntilWrite => Why::UntilWrite,
            RoleReason::SaidTooMuch => Why::SaidTooMuch,
            RoleReason::Opens(_) => Why::Opens,
            RoleReason::ReadOnlyTransaction => Why::ReadOnlyTransaction,
            RoleReason::SerializableTransaction => Why::SerializableTransaction,
            RoleReason::Hint(_) => Why::Hint,
            RoleReason::Setting(..) => Why::Setting,
            RoleReason::PipelineReads => Why::PipelineReads,
            RoleReason::PipelineWrites(_) => Why::PipelineWrites,
            RoleReason::PipelineGoesOn => Why::PipelineGoesOn,
        }
    }
}

impl Culprit {
    #[cold]
    fn why(&self) -> Why {
        match self.statement().and_then(|statement| statement.because.as_ref()) {
            Some(Because::NotUnderstood(_)) | None => Why::NotUnderstood,
            Some(Because::UnknownFunction(_)) => Why::UnknownFunction,
            Some(Because::Function(_)) => Why::Function,
            Some(Because::PrimaryRelation(_)) => Why::PrimaryRelation,
            Some(Because::Locking) => Why::Locks,
            Some(Because::Command(_) | Because::WritingWith | Because::Into) => Why::Writes,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.role.fmt(f)
    }
}

impl fmt::Display for RoleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RoleReason::Reads => f.write_str("reads only"),
            RoleReason::Learned => f.write_str("a replica has refused it as a write"),
            RoleReason::Empty => f.write_str("empty, reads nothing"),
            RoleReason::Writes(culprit) | RoleReason::Session(culprit) => culprit.fmt(f),
            RoleReason::Catalog(objected) => objected.fmt(f),
            RoleReason::Behind => {
                f.write_str("reads only, but no replica has caught up with what it must see")
            }
            RoleReason::InTransaction(role) => write!(f, "in a transaction on the {role}"),
            RoleReason::Transaction => f.write_str("begins a transaction that may write"),
            RoleReason::UntilWrite => f.write_str("reads in a transaction that has not written"),
            RoleReason::SaidTooMuch => {
                f.write_str("its transaction has set or saved too much to go on elsewhere later")
            }
            RoleReason::Opens(Opened::Cursor) => f.write_str("opens a cursor, which can't move"),
            RoleReason::Opens(Opened::Portal) => f.write_str("opens a named portal, which can't move"),
            RoleReason::ReadOnlyTransaction => f.write_str("begins a READ ONLY transaction"),
            RoleReason::SerializableTransaction => {
                f.write_str("begins a SERIALIZABLE transaction, which a replica can't give")
            }
            RoleReason::Hint(HintRole::Primary) => f.write_str("hint role=primary"),
            RoleReason::Hint(HintRole::Replica) => f.write_str("hint role=replica"),
            RoleReason::Setting(role, source) => setting_in_words(*role, *source, f),
            RoleReason::PipelineReads => f.write_str("pipeline reads only"),
            RoleReason::PipelineWrites(culprit) => write!(f, "in the pipeline: {culprit}"),
            RoleReason::PipelineGoesOn => f.write_str("the pipeline goes on, and may write yet"),
        }
    }
}

fn setting_in_words(role: RoleSetting, source: RoleSource, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let role = match role {
        RoleSetting::Auto => "auto",
        RoleSetting::Primary => "primary",
        RoleSetting::Replica => "replica",
        RoleSetting::Observe => "observe",
    };
    match source {
        RoleSource::Set => write!(f, "pgweir.role is {role}"),
        RoleSource::Options => write!(f, "pgweir.role is {role}, by the startup packet"),
        RoleSource::Listener => write!(f, "listener with role {role}"),
        RoleSource::User => write!(f, "the user's route.role is {role}"),
        RoleSource::Database => write!(f, "the database's route.role is {role}"),
        RoleSource::BeginHint => write!(f, "hint role={role} on BEGIN"),
    }
}

impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.facts.statements.len() > 1 {
            write!(f, "statement {} of {}: ", self.statement + 1, self.facts.statements.len())?;
        }
        match self.statement() {
            Some(statement) => statement_in_words(statement, f),
            None => f.write_str("not understood"),
        }
    }
}

fn statement_in_words(statement: &Statement, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match &statement.because {
        Some(Because::Command("SHOW")) => f.write_str("SHOW is the primary's"),
        Some(Because::Command(command)) if is_session_kind(statement.kind) => {
            write!(f, "{command} concerns the session")
        }
        Some(Because::Command(command)) => write!(f, "{command} writes"),
        Some(Because::Locking) => f.write_str("locks rows or tables"),
        Some(Because::WritingWith) => f.write_str("its WITH writes"),
        Some(Because::Into) => f.write_str("SELECT INTO writes"),
        Some(Because::Function(name)) => write!(f, "calls {name}(), which must have the primary"),
        Some(Because::UnknownFunction(name)) => write!(f, "calls {name}(), which may write"),
        Some(Because::PrimaryRelation(name)) => write!(f, "reads {name}, which only the primary has right"),
        Some(Because::NotUnderstood(what)) => write!(f, "not understood: {what}"),
        None if statement.kind == Kind::Show => f.write_str("SHOW is the primary's"),
        None => f.write_str("concerns the session"),
    }
}

/// Kinds that carry no data: they concern the session or its transaction.
pub(crate) fn is_session_kind(kind: Kind) -> bool {
    match kind {
        Kind::Begin(_)
        | Kind::Commit
        | Kind::Rollback
        | Kind::EndAndChain
        | Kind::Savepoint
        | Kind::Release
        | Kind::RollbackTo
        | Kind::Set
        | Kind::Reset
        | Kind::Show
        | Kind::Discard
        | Kind::Deallocate
        | Kind::Cursor
        | Kind::Notify => true,
        Kind::Select
        | Kind::Insert
        | Kind::Update
        | Kind::Delete
        | Kind::Merge
        | Kind::Explain
        | Kind::CopyIn
        | Kind::CopyOut
        | Kind::CopyServer
        | Kind::TwoPhase
        | Kind::Prepare
        | Kind::Execute
        | Kind::Declare
        | Kind::Procedure
        | Kind::Utility
        | Kind::Unknown => false,
    }
}
