//! Primary or replica, and why: from the transaction, the hint, the session's setting and the facts, in that order.

use std::sync::Arc;

use config::RoleSetting;
use sql::facts::{Access, Begin, Effect, Facts, HintRole, Kind, Statement};

use crate::decision::{SessionRouting, TargetRole};
use crate::reason::{Culprit, RoleReason, is_session_kind};

/// A role with its reason.
pub(crate) struct RoleChoice {
    pub(crate) role: TargetRole,
    pub(crate) reason: RoleReason,
    /// `route.role: observe`: what would have been decided.
    pub(crate) would: Option<TargetRole>,
}

/// Which role these facts want in this session.
pub(crate) fn role_of(session: &SessionRouting, facts: &Arc<Facts>) -> RoleChoice {
    if let Some(transaction) = session.transaction {
        return told(transaction.role, RoleReason::InTransaction(transaction.role));
    }
    match facts.hint.role {
        Some(HintRole::Primary) => {
            return told(TargetRole::Primary, RoleReason::Hint(HintRole::Primary));
        }
        Some(HintRole::Replica) => {
            return told(TargetRole::Replica, RoleReason::Hint(HintRole::Replica));
        }
        None => {}
    }
    let setting = RoleReason::Setting(session.role, session.role_from);
    match session.role {
        RoleSetting::Primary => told(TargetRole::Primary, setting),
        RoleSetting::Replica => told(TargetRole::Replica, setting),
        RoleSetting::Auto => {
            let (role, reason) = split(session.begin, facts);
            told(role, reason)
        }
        RoleSetting::Observe => {
            let (would, reason) = split(session.begin, facts);
            RoleChoice { role: TargetRole::Primary, reason, would: Some(would) }
        }
    }
}

fn told(role: TargetRole, reason: RoleReason) -> RoleChoice {
    RoleChoice { role, reason, would: None }
}

/// The split: what reads goes to a replica, everything else to the primary.
fn split(begin: Option<Begin>, facts: &Arc<Facts>) -> (TargetRole, RoleReason) {
    if let [statement] = facts.statements.as_slice()
        && begin.is_none()
        && statement.kind == Kind::Select
        && statement.access == Access::Read
        && statement.effects.is_empty()
    {
        return (TargetRole::Replica, RoleReason::Reads);
    }
    let mut transaction = begin;
    if let Some(begin) = begin
        && let Err(reason) = replica_may_begin(begin)
    {
        return (TargetRole::Primary, reason);
    }
    let mut reads = false;
    for (index, statement) in facts.statements.iter().enumerate() {
        match demand(statement, transaction.is_some()) {
            Demand::Nothing => {}
            Demand::Read => reads = true,
            Demand::Begin(begin) => match replica_may_begin(begin) {
                Ok(()) => transaction = Some(begin),
                Err(reason) => return (TargetRole::Primary, reason),
            },
            Demand::Primary => {
                return (TargetRole::Primary, RoleReason::Writes(Culprit::new(facts, index)));
            }
            Demand::SessionPrimary => {
                return (TargetRole::Primary, RoleReason::Session(Culprit::new(facts, index)));
            }
        }
    }
    if transaction.is_some() {
        (TargetRole::Replica, RoleReason::ReadOnlyTransaction)
    } else if reads {
        (TargetRole::Replica, RoleReason::Reads)
    } else {
        (TargetRole::Replica, RoleReason::Empty)
    }
}

/// A standby runs READ ONLY transactions, but none that are SERIALIZABLE.
fn replica_may_begin(begin: Begin) -> Result<(), RoleReason> {
    match begin {
        Begin { read_only: Some(true), serializable: false } => Ok(()),
        Begin { read_only: Some(true), serializable: true } => Err(RoleReason::SerializableTransaction),
        Begin { .. } => Err(RoleReason::Transaction),
    }
}

/// What one statement asks of the node that its text goes to.
enum Demand {
    /// It goes along with the rest.
    Nothing,
    Read,
    Begin(Begin),
    Primary,
    /// The primary, though it carries no data.
    SessionPrimary,
}

/// `read_only`: a READ ONLY transaction is open before the statement.
fn demand(statement: &Statement, read_only: bool) -> Demand {
    match statement.kind {
        Kind::Begin(begin) => return Demand::Begin(begin),
        // Inside the transaction these are that transaction's affair; outside they are a warning, or the session's.
        Kind::Commit
        | Kind::Rollback
        | Kind::EndAndChain
        | Kind::Savepoint
        | Kind::Release
        | Kind::RollbackTo
        | Kind::Cursor
            if read_only =>
        {
            return Demand::Nothing;
        }
        Kind::Set if read_only && ends_with_the_transaction(statement) => return Demand::Nothing,
        kind if is_session_kind(kind) => return Demand::SessionPrimary,
        _ => {}
    }
    // What outlives the statement ties the session to the connection that has it, and later statements may write.
    if !statement.effects.iter().all(|effect| matches!(effect, Effect::SetLocal | Effect::Show(_))) {
        return Demand::Primary;
    }
    match statement.access {
        Access::Read => Demand::Read,
        Access::Unknown | Access::Write => Demand::Primary,
    }
}

fn ends_with_the_transaction(statement: &Statement) -> bool {
    !statement.effects.is_empty() && statement.effects.iter().all(|effect| matches!(effect, Effect::SetLocal))
}
