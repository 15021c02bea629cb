//! The kinds of statements, and what one that begins a transaction asks for.

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
