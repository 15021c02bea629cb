//! What a comment at the start of a text asks for.

use super::Name;

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
