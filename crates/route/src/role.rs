//! Primary or replica, and why: from the transaction, the hint, the session's setting and the facts, in that order.

use std::sync::Arc;

use config::RoleSetting;
use sql::facts::{Access, Begin, Effect, Facts, HintRole, Kind, PinReason, Statement};

use crate::catalog::{Catalog, Objected, Objection};
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
pub(crate) fn role_of(session: &SessionRouting, facts: &Arc<Facts>, catalog: &Arc<Catalog>) -> RoleChoice {
    if let Some(transaction) = session.transaction {
        return told(transaction.role, RoleReason::InTransaction(transaction.role));
    }
    match facts.hint.role {
        Some(HintRole::Primary) => {
            return told(TargetRole::Primary, RoleReason::Hint(HintRole::Primary));
        }
        // What ties its session to a connection would tie its writes to a replica.
        Some(HintRole::Replica) if ties(facts) => {
            let (role, reason) = split(session.begin, facts, catalog);
            return told(role, reason);
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
            let (role, reason) = split(session.begin, facts, catalog);
            told(role, reason)
        }
        RoleSetting::Observe => {
            let (would, reason) = split(session.begin, facts, catalog);
            RoleChoice { role: TargetRole::Primary, reason, would: Some(would) }
        }
    }
}

fn told(role: TargetRole, reason: RoleReason) -> RoleChoice {
    RoleChoice { role, reason, would: None }
}

/// The split: what reads goes to a replica, everything else to the primary.
fn split(begin: Option<Begin>, facts: &Arc<Facts>, catalog: &Arc<Catalog>) -> (TargetRole, RoleReason) {
    if let [statement] = facts.statements.as_slice()
        && begin.is_none()
        && statement.kind == Kind::Select
        && statement.access == Access::Read
        && statement.effects.is_empty()
        && catalog.clears(facts)
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
    if !catalog.clears(facts) {
        (TargetRole::Primary, objected(facts, catalog))
    } else if transaction.is_some() {
        (TargetRole::Replica, RoleReason::ReadOnlyTransaction)
    } else if reads {
        (TargetRole::Replica, RoleReason::Reads)
    } else {
        (TargetRole::Replica, RoleReason::Empty)
    }
}

/// Why the catalog keeps a text from a replica that reads as far as it shows.
#[cold]
fn objected(facts: &Arc<Facts>, catalog: &Arc<Catalog>) -> RoleReason {
    match catalog.objection(facts) {
        Some((at, Objection::Unknown)) => RoleReason::Writes(Culprit::new(facts, at)),
        Some((at, objection)) => RoleReason::Catalog(Objected::new(facts, catalog, at, objection)),
        None => RoleReason::Reads,
    }
}

/// Whether a text surely leaves something in its session that stays on the server connection.
fn ties(facts: &Facts) -> bool {
    let ties = |effect: &Effect| matches!(effect, Effect::Pin(reason) if !matches!(reason, PinReason::Doubt | PinReason::Setting));
    facts.statements.iter().flat_map(|statement| &statement.effects).any(ties)
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
    if !statement.effects.iter().all(|effect| matches!(effect, Effect::SetLocal(_) | Effect::Show(_))) {
        return Demand::Primary;
    }
    match statement.access {
        Access::Read => Demand::Read,
        // The catalog knows what it calls.
        Access::Unknown if statement.calls.complete => Demand::Read,
        Access::Unknown | Access::Write => Demand::Primary,
    }
}

fn ends_with_the_transaction(statement: &Statement) -> bool {
    !statement.effects.is_empty()
        && statement.effects.iter().all(|effect| matches!(effect, Effect::SetLocal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{RoleSource, ShardIndex, Target};
    use crate::testing::{explained, facts, read, select, unsharded, writes};
    use sql::facts::{Because, Hint};

    fn begin(read_only: Option<bool>, serializable: bool) -> Statement {
        Statement::command(Kind::Begin(Begin { read_only, serializable }), "BEGIN")
    }

    fn words(session: SessionRouting, statements: Vec<Statement>) -> String {
        explained(&unsharded(), session, facts(statements), &[])
    }

    #[test]
    fn what_reads_goes_to_a_replica_and_the_rest_to_the_primary() {
        let plain = || select(vec![read("t")]);
        let update = || writes(Kind::Update, vec![crate::testing::written("t")]);
        let mut locking = plain();
        locking.worsen(Access::Write, Because::Locking);
        let mut function = plain();
        function.worsen(Access::Write, Because::Function("nextval".into()));
        let mut user_function = plain();
        user_function.worsen(Access::Unknown, Because::UnknownFunction("total".into()));
        let mut pinning = plain();
        pinning.effects.push(Effect::Pin(PinReason::Setseed));
        let show = || Statement::command(Kind::Show, "SHOW");
        let set_local =
            || Statement { effects: vec![Effect::SetLocal(None)], ..Statement::command(Kind::Set, "SET") };
        let set = || Statement { effects: vec![Effect::Unknown], ..set_local() };
        let commit = || Statement::command(Kind::Commit, "COMMIT");
        let read_only = || begin(Some(true), false);
        let cases = [
            (vec![], "replica: empty, reads nothing"),
            (vec![plain()], "replica: reads only"),
            (vec![plain(), plain()], "replica: reads only"),
            (vec![update()], "primary: UPDATE writes"),
            (vec![plain(), update()], "primary: statement 2 of 2: UPDATE writes"),
            (vec![locking], "primary: locks rows or tables"),
            (vec![function], "primary: calls nextval(), which must have the primary"),
            (vec![user_function], "primary: calls total(), which may write"),
            (vec![Statement::unknown("odd token")], "primary: not understood: odd token"),
            (vec![pinning], "primary: concerns the session"),
            (vec![show()], "primary: SHOW is the primary's"),
            (vec![set()], "primary: SET concerns the session"),
            (vec![set(), plain()], "primary: statement 1 of 2: SET concerns the session"),
            (vec![commit()], "primary: COMMIT concerns the session"),
            (vec![begin(None, false)], "primary: begins a transaction that may write"),
            (vec![begin(Some(false), false)], "primary: begins a transaction that may write"),
            (vec![plain(), begin(None, false), plain()], "primary: begins a transaction that may write"),
            (vec![read_only()], "replica: begins a READ ONLY transaction"),
            (vec![read_only(), plain(), commit()], "replica: begins a READ ONLY transaction"),
            (vec![read_only(), set_local(), plain()], "replica: begins a READ ONLY transaction"),
            (vec![read_only(), set(), plain()], "primary: statement 2 of 3: SET concerns the session"),
            (vec![read_only(), update()], "primary: statement 2 of 2: UPDATE writes"),
            (
                vec![begin(Some(true), true), plain()],
                "primary: begins a SERIALIZABLE transaction, which a replica can't give",
            ),
        ];
        for (statements, expected) in cases {
            assert_eq!(words(SessionRouting::default(), statements), expected);
        }
    }

    #[test]
    fn a_begin_that_was_answered_before_decides_for_its_first_statement() {
        let after = |read_only, statement| {
            let begin = Some(Begin { read_only, serializable: false });
            words(SessionRouting { begin, ..SessionRouting::default() }, vec![statement])
        };
        let plain = || select(vec![read("t")]);
        assert_eq!(after(None, plain()), "primary: begins a transaction that may write");
        assert_eq!(after(Some(true), plain()), "replica: begins a READ ONLY transaction");
        assert_eq!(
            after(Some(true), writes(Kind::Update, vec![])),
            "primary: UPDATE writes",
            "what must have the primary takes its transaction there"
        );
        assert_eq!(
            after(Some(true), Statement::command(Kind::Savepoint, "SAVEPOINT")),
            "replica: begins a READ ONLY transaction"
        );
    }

    #[test]
    fn transaction_then_hint_then_setting() {
        let bound = Some(Target { shard: ShardIndex(0), role: TargetRole::Replica });
        let hinted = |role| {
            let hint = Hint { role: Some(role), ..Hint::default() };
            Facts { hint, ..facts(vec![select(vec![read("t")])]) }
        };
        let set = |role| SessionRouting { role, role_from: RoleSource::Set, ..SessionRouting::default() };
        let cases = [
            (
                SessionRouting { transaction: bound, ..set(RoleSetting::Primary) },
                hinted(HintRole::Primary),
                "replica: in a transaction on the replica",
            ),
            (set(RoleSetting::Replica), hinted(HintRole::Primary), "primary: hint role=primary"),
            (set(RoleSetting::Primary), hinted(HintRole::Replica), "replica: hint role=replica"),
            (
                set(RoleSetting::Primary),
                facts(vec![select(vec![read("t")])]),
                "primary: pgweir.role is primary",
            ),
            (
                set(RoleSetting::Replica),
                facts(vec![Statement::unknown("odd")]),
                "replica: pgweir.role is replica",
            ),
            (
                SessionRouting { role_from: RoleSource::Listener, ..set(RoleSetting::Replica) },
                facts(vec![]),
                "replica: listener with role replica",
            ),
            (
                set(RoleSetting::Observe),
                facts(vec![select(vec![read("t")])]),
                "primary (observing; a replica otherwise): reads only",
            ),
            (set(RoleSetting::Observe), facts(vec![writes(Kind::Update, vec![])]), "primary: UPDATE writes"),
        ];
        for (session, facts, expected) in cases {
            assert_eq!(explained(&unsharded(), session, facts, &[]), expected);
        }
    }

    #[test]
    fn a_hint_on_begin_counts_for_its_transaction() {
        let hint = Hint { role: Some(HintRole::Replica), ..Hint::default() };
        let session = SessionRouting { begin: Some(Begin::default()), ..SessionRouting::default() }
            .with_begin_hint(&unsharded(), &hint);
        assert_eq!(words(session, vec![select(vec![])]), "replica: hint role=replica on BEGIN");
    }
}
