//! What a statement does to the state of its session.

use super::{Begin, Name};

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
