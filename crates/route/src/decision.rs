//! What goes into a decision and what comes out of it.

use std::fmt;
use std::sync::Arc;

use config::{Consistency, RoleSetting, Transactions};
use sql::LexSettings;
use sql::facts::{Begin, Facts, Hint, HintRole, Literal};

use crate::catalog::Catalog;
use crate::map::DatabaseMap;
use crate::reason::Reason;

/// Index of a shard in its database's map; 0 for an unsharded database. Only meaningful with the [`DatabaseMap`]
/// that it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ShardIndex(pub u16);

/// The role of the node that a statement goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetRole {
    /// The node that takes writes.
    Primary,
    /// Any node that may read: `reads_on_primary` says whether the primary is one of them.
    Replica,
}

/// Where a statement goes, short of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// The shard.
    pub shard: ShardIndex,
    /// The role there.
    pub role: TargetRole,
}

/// What a session has said that routes its statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRouting {
    /// The effective role: `SET pgweir.role`, else `options`, else the listener, else the user, else the database.
    pub role: RoleSetting,
    /// Which of them said so.
    pub role_from: RoleSource,
    /// What its reads must have seen.
    pub consistency: Consistency,
    /// Who said so.
    pub consistency_from: RoleSource,
    /// `SET pgweir.shard`.
    pub shard: Option<ShardIndex>,
    /// The open transaction is bound here.
    pub transaction: Option<Target>,
    /// A BEGIN that was answered without a server, or that came before this statement in the same pipeline, and is
    /// not yet bound to a target; with the session's defaults.
    pub begin: Option<Begin>,
    /// Where the reads of a transaction go that may write.
    pub transactions: Transactions,
    /// What a BEGIN means that doesn't say it, and a statement outside of a transaction block. Never READ WRITE: that
    /// is said, or goes without saying.
    pub defaults: Begin,
    /// The open transaction has only read so far, on a replica, and goes on on the primary from its first statement
    /// that doesn't; `begin` is how it was begun then.
    pub until_write: Option<UntilWrite>,
}

/// What a transaction has done on a replica that may go on on the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UntilWrite {
    /// It has run no query: it has no snapshot yet.
    Fresh,
    /// It has read.
    HasRead,
}

/// Who said the effective role, or consistency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoleSource {
    /// The defaults of the database or of the whole file.
    #[default]
    Database,
    /// The user's settings.
    User,
    /// The listener at which the client arrived.
    Listener,
    /// `options` or a parameter of the startup packet.
    Options,
    /// `SET pgweir.role`.
    Set,
    /// The hint in front of the transaction's BEGIN.
    BeginHint,
}

impl Default for SessionRouting {
    /// A session that has said nothing, on a database that says nothing.
    fn default() -> SessionRouting {
        SessionRouting {
            role: RoleSetting::Auto,
            role_from: RoleSource::Database,
            consistency: Consistency::Database,
            consistency_from: RoleSource::Database,
            shard: None,
            transaction: None,
            begin: None,
            transactions: Transactions::Primary,
            defaults: Begin::default(),
            until_write: None,
        }
    }
}

impl SessionRouting {
    /// The same with the hint that stood before BEGIN: until the transaction is bound it counts as
    /// `SET pgweir.role` and `SET pgweir.shard` would. Shard names that aren't known were refused by [`decide`]
    /// when it saw the BEGIN, and change nothing here.
    ///
    /// [`decide`]: crate::decide
    pub fn with_begin_hint(mut self, map: &DatabaseMap, hint: &Hint) -> SessionRouting {
        if let Some(role) = hint.role {
            self.role = match role {
                HintRole::Primary => RoleSetting::Primary,
                HintRole::Replica => RoleSetting::Replica,
            };
            self.role_from = RoleSource::BeginHint;
        }
        if let Ok(Some((shard, _))) = crate::shard::told_by_hint(map, hint) {
            self.shard = Some(shard);
        }
        self
    }
}

/// One text with what it was bound to.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// What is known of the text.
    pub facts: &'a Arc<Facts>,
    /// The text, as the client sent it.
    pub sql: &'a [u8],
    /// The literals that the facts' values point to, as found in this text.
    pub literals: &'a [Literal],
    /// Bind's values; `None` for a simple Query, which has none.
    pub parameters: Option<&'a dyn Parameters>,
    /// The settings that the text was lexed under.
    pub lex: LexSettings,
    /// The catalog of each shard's database, in the order of the map; where there is none the facts count alone.
    pub catalogs: &'a [Arc<Catalog>],
}

/// The values of one Bind message.
pub trait Parameters {
    /// The value of `$number` (1-based); `None`: Bind has no such parameter, or it is malformed.
    fn value(&self, number: u16) -> Option<ParameterValue<'_>>;
}

/// One value of a Bind message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterValue<'a> {
    /// The bytes; `None` for NULL.
    pub bytes: Option<&'a [u8]>,
    /// Its format code: 1, binary, rather than 0, text.
    pub binary: bool,
    /// The type's oid as Parse gave it; 0: left to the server.
    pub type_oid: u32,
}

/// Where a request goes, or why it goes nowhere.
#[derive(Debug, Clone)]
pub enum Decision {
    /// It goes there.
    Go {
        /// Where.
        target: Target,
        /// Why.
        reason: Reason,
        /// With `route.role: observe`: the role that would have been decided.
        would: Option<TargetRole>,
    },
    /// It goes nowhere: the client gets this error.
    Refuse(Box<Refusal>),
}

impl Decision {
    /// The target; `None` if refused.
    pub fn target(&self) -> Option<Target> {
        match self {
            Decision::Go { target, .. } => Some(*target),
            Decision::Refuse(_) => None,
        }
    }
}

/// An error for the client, raised instead of routing. It is the client's statement that is at fault; the same
/// statement will be refused again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// SQLSTATE.
    pub sqlstate: &'static str,
    /// The error's message.
    pub message: String,
    /// DETAIL: why.
    pub detail: Option<String>,
    /// HINT: what to change.
    pub hint: Option<String>,
}

impl fmt::Display for TargetRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TargetRole::Primary => "primary",
            TargetRole::Replica => "replica",
        })
    }
}
