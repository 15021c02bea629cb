//! Primary or replica, and why: from the transaction, the hint, the session's setting and the facts, in that order.

use std::sync::Arc;

use config::{RoleSetting, Transactions};
use sql::facts::{Access, Begin, Effect, Facts, HintRole, Isolation, Kind, PinReason, Statement};

use crate::catalog::{Catalog, Objected, Objection};
use crate::decision::{SessionRouting, TargetRole, UntilWrite};
use crate::reason::{Culprit, Opened, RoleReason, is_session_kind};

/// A role with its reason.
pub(crate) struct RoleChoice {
    pub(crate) role: TargetRole,
    pub(crate) reason: RoleReason,
    /// `route.role: observe`: what would have been decided.
    pub(crate) would: Option<TargetRole>,
}

/// Which role these facts want in this session.
pub(crate) fn role_of(session: &SessionRouting, facts: &Arc<Facts>, catalog: &Arc<Catalog>) -> RoleChoice {
    if let Some(transaction) = session.transaction
        && session.until_write.is_none()
    {
        return told(transaction.role, RoleReason::InTransaction(transaction.role));
    }
    match facts.hint.role {
        Some(HintRole::Primary) => {
            return told(TargetRole::Primary, RoleReason::Hint(HintRole::Primary));
        }
        // What ties its session to a connection would tie its writes to a replica; what an open transaction writes
        // must have the primary.
        Some(HintRole::Replica) if ties(facts) || session.until_write.is_some() => {
            let (role, reason) = split(session, facts, catalog);
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
            let (role, reason) = split(session, facts, catalog);
            told(role, reason)
        }
        RoleSetting::Observe => {
            let (would, reason) = split(session, facts, catalog);
            RoleChoice { role: TargetRole::Primary, reason, would: Some(would) }
        }
    }
}

fn told(role: TargetRole, reason: RoleReason) -> RoleChoice {
    RoleChoice { role, reason, would: None }
}

/// The split: what reads goes to a replica, everything else to the primary.
fn split(session: &SessionRouting, facts: &Arc<Facts>, catalog: &Arc<Catalog>) -> (TargetRole, RoleReason) {
    if let [statement] = facts.statements.as_slice()
        && session.begin.is_none()
        && session.defaults.isolation != Some(Isolation::Serializable)
        && statement.kind == Kind::Select
        && statement.access == Access::Read
        && statement.effects.is_empty()
        && catalog.clears(facts)
    {
        return (TargetRole::Replica, RoleReason::Reads);
    }
    match split_by_statement(session, facts) {
        Ok(_) if !catalog.clears(facts) => (TargetRole::Primary, objected(facts, catalog)),
        Ok(reason) => (TargetRole::Replica, reason),
        Err(reason) => (TargetRole::Primary, reason),
    }
}

/// Why a replica, as far as the facts go; the error is why not.
fn split_by_statement(session: &SessionRouting, facts: &Arc<Facts>) -> Result<RoleReason, RoleReason> {
    let alone = facts.statements.len() == 1;
    let mut open = match session.begin {
        Some(begin) => Some(open_on_replica(session, begin)?),
        None => None,
    };
    let mut reads = false;
    for (index, statement) in facts.statements.iter().enumerate() {
        let demand = match open {
            Some(Open::UntilWrite(begin)) => until_write(session, begin, statement, alone),
            Some(Open::ReadOnly(begin)) => read_only(begin, statement),
            None => demand(statement),
        };
        match demand {
            Demand::Nothing => {}
            Demand::Read => reads = true,
            Demand::Begin(begin) => {
                let begun = open_on_replica(session, begin.or(session.defaults))?;
                if !alone && matches!(begun, Open::UntilWrite(_)) {
                    // What its text has done couldn't be done again by itself.
                    return Err(RoleReason::Transaction);
                }
                open = Some(begun);
            }
            Demand::Primary => return Err(RoleReason::Writes(Culprit::new(facts, index))),
            Demand::SessionPrimary => return Err(RoleReason::Session(Culprit::new(facts, index))),
            Demand::Cursor => return Err(RoleReason::Opens(Opened::Cursor)),
        }
    }
    match open {
        Some(Open::ReadOnly(_)) => Ok(RoleReason::ReadOnlyTransaction),
        Some(Open::UntilWrite(_)) => Ok(RoleReason::UntilWrite),
        None if session.defaults.isolation == Some(Isolation::Serializable) => {
            Err(RoleReason::SerializableTransaction)
        }
        None if reads => Ok(RoleReason::Reads),
        None => Ok(RoleReason::Empty),
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

/// A transaction that a replica may run.
#[derive(Debug, Clone, Copy)]
enum Open {
    ReadOnly(Begin),
    /// It may write, on the primary; until then it reads.
    UntilWrite(Begin),
}

/// A standby runs READ ONLY transactions, but none that are SERIALIZABLE. One that sees only what is committed before
/// each of its statements may go on elsewhere; READ WRITE is what a standby doesn't let itself be told.
fn open_on_replica(session: &SessionRouting, begin: Begin) -> Result<Open, RoleReason> {
    match (begin.read_only, begin.isolation) {
        (Some(true), Some(Isolation::Serializable)) => Err(RoleReason::SerializableTransaction),
        (Some(true), _) => Ok(Open::ReadOnly(begin)),
        (None, None | Some(Isolation::ReadCommitted))
            if session.transactions == Transactions::ReplicaUntilWrite =>
        {
            Ok(Open::UntilWrite(begin))
        }
        (None | Some(false), _) => Err(RoleReason::Transaction),
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
    /// The primary, where a cursor can stay.
    Cursor,
}

/// Outside of a transaction.
fn demand(statement: &Statement) -> Demand {
    match statement.kind {
        Kind::Begin(begin) => return Demand::Begin(begin),
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

/// In a READ ONLY transaction that isn't bound yet.
fn read_only(begin: Begin, statement: &Statement) -> Demand {
    match statement.kind {
        // Inside the transaction these are that transaction's affair; outside they are a warning, or the session's.
        Kind::Commit
        | Kind::Rollback
        | Kind::EndAndChain
        | Kind::Savepoint
        | Kind::Release
        | Kind::RollbackTo
        | Kind::Cursor => Demand::Nothing,
        Kind::Set => match modes(statement) {
            Some(modes) => with_modes(begin, modes),
            None if statement.effects.is_empty() => demand(statement),
            None if statement.effects.iter().all(ends_with_the_transaction) => Demand::Nothing,
            None => demand(statement),
        },
        _ => demand(statement),
    }
}

/// In a transaction that may write. Whatever leaves something on the replica that can't be done again on the primary
/// asks for the primary at once. `alone`: the statement is its whole text.
fn until_write(session: &SessionRouting, begin: Begin, statement: &Statement, alone: bool) -> Demand {
    match statement.kind {
        Kind::Commit | Kind::Rollback => Demand::Nothing,
        // A warning; but the modes that it says count.
        Kind::Begin(_) | Kind::EndAndChain => Demand::SessionPrimary,
        // What is done again is done text by text.
        Kind::Savepoint | Kind::Release | Kind::RollbackTo if alone => Demand::Nothing,
        Kind::Savepoint | Kind::Release | Kind::RollbackTo => Demand::SessionPrimary,
        Kind::Declare | Kind::Cursor => Demand::Cursor,
        Kind::Set => match (modes(statement), session.until_write) {
            _ if !alone => Demand::SessionPrimary,
            (Some(modes), None) => with_modes(begin, modes),
            // Too late for all but READ ONLY, and a replica says so like the primary.
            (Some(modes), Some(UntilWrite::HasRead)) if modes.read_only != Some(false) => Demand::Nothing,
            (Some(_), Some(_)) => Demand::SessionPrimary,
            (None, _) if statement.effects.is_empty() => Demand::SessionPrimary,
            (None, _) if statement.effects.iter().all(can_be_set_again) => Demand::Nothing,
            (None, _) => Demand::SessionPrimary,
        },
        _ if alone && statement.sets_local && statement.effects.iter().all(ends_with_the_transaction) => {
            Demand::Read
        }
        _ if !statement.effects.is_empty() => Demand::Primary,
        _ => demand(statement),
    }
}

/// The modes of SET TRANSACTION.
fn modes(statement: &Statement) -> Option<Begin> {
    match statement.effects[..] {
        [Effect::SetTransaction(modes)] => Some(modes),
        _ => None,
    }
}

/// SET TRANSACTION in front of everything else.
fn with_modes(begin: Begin, modes: Begin) -> Demand {
    match modes.read_only {
        Some(false) => Demand::SessionPrimary,
        None | Some(true) => Demand::Begin(modes.or(begin)),
    }
}

/// A setting of the transaction alone. How it is isolated, and whether it writes, is more than a setting.
fn ends_with_the_transaction(effect: &Effect) -> bool {
    matches!(effect, Effect::SetLocal(name) if !name.as_deref().is_some_and(|name| name.starts_with("transaction_")))
}

/// The same text sets the same on another connection. What a RESET goes back to is said by pgweir, not by the text.
fn can_be_set_again(effect: &Effect) -> bool {
    matches!(effect, Effect::Set { .. }) || ends_with_the_transaction(effect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{RoleSource, ShardIndex, Target};
    use crate::testing::{explained, facts, read, select, unsharded, writes};
    use sql::facts::{Because, Hint};

    fn begin(read_only: Option<bool>, serializable: bool) -> Statement {
        let isolation = serializable.then_some(Isolation::Serializable);
        Statement::command(Kind::Begin(Begin { read_only, isolation }), "BEGIN")
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
            let begin = Some(Begin { read_only, isolation: None });
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

    /// A session with `replica_until_write`.
    fn until_write() -> SessionRouting {
        SessionRouting { transactions: Transactions::ReplicaUntilWrite, ..SessionRouting::default() }
    }

    fn command(kind: Kind, effect: Effect) -> Statement {
        Statement { effects: vec![effect], ..Statement::command(kind, "SET") }
    }

    fn set_transaction(read_only: Option<bool>, isolation: Option<Isolation>) -> Statement {
        command(Kind::Set, Effect::SetTransaction(Begin { read_only, isolation }))
    }

    #[test]
    fn a_read_committed_transaction_may_read_until_it_writes() {
        let plain = || select(vec![read("t")]);
        let update = || writes(Kind::Update, vec![]);
        let reads = "replica: reads in a transaction that has not written";
        let begins = "primary: begins a transaction that may write";
        let of_session = "primary: concerns the session";
        let savepoint =
            || Statement { effects: vec![Effect::Savepoint("a".into())], ..Statement::read(Kind::Savepoint) };
        let set = |name: &str| Effect::Set { name: name.into(), value: "x".into(), raw: false };
        let mut sets = writes(Kind::Select, vec![]);
        sets.effects.push(Effect::SetLocal(Some("app.tenant".into())));
        let sets_what_it_reads = sets.clone();
        sets.sets_local = true;
        let level = |isolation| Begin { read_only: None, isolation: Some(isolation) };
        let cases = [
            (Begin::default(), vec![plain()], reads),
            (level(Isolation::ReadCommitted), vec![plain()], reads),
            (level(Isolation::RepeatableRead), vec![plain()], begins),
            (level(Isolation::Serializable), vec![plain()], begins),
            (Begin { read_only: Some(false), isolation: None }, vec![plain()], begins),
            (Begin::default(), vec![plain(), plain()], reads),
            (Begin::default(), vec![update()], "primary: UPDATE writes"),
            (Begin::default(), vec![plain(), update()], "primary: statement 2 of 2: UPDATE writes"),
            (Begin::default(), vec![plain(), Statement::read(Kind::Commit)], reads),
            (Begin::default(), vec![Statement::read(Kind::EndAndChain)], of_session),
            (Begin::default(), vec![savepoint()], reads),
            (Begin::default(), vec![savepoint(), plain()], "primary: statement 1 of 2: concerns the session"),
            (Begin::default(), vec![command(Kind::Set, set("work_mem"))], reads),
            (
                Begin::default(),
                vec![command(Kind::Reset, Effect::Reset("a".into()))],
                "primary: SET concerns the session",
            ),
            (
                Begin::default(),
                vec![command(Kind::Set, Effect::SetLocal(Some("transaction_read_only".into())))],
                "primary: SET concerns the session",
            ),
            (Begin::default(), vec![sets], reads),
            (Begin::default(), vec![sets_what_it_reads], "primary: UPDATE writes"),
            (
                Begin::default(),
                vec![Statement::read(Kind::Declare)],
                "primary: opens a cursor, which can't move",
            ),
            (Begin::default(), vec![begin(None, false)], "primary: BEGIN concerns the session"),
            (
                Begin::default(),
                vec![set_transaction(Some(true), None)],
                "replica: begins a READ ONLY transaction",
            ),
            (Begin::default(), vec![set_transaction(Some(false), None)], "primary: SET concerns the session"),
            (Begin::default(), vec![set_transaction(None, Some(Isolation::RepeatableRead))], begins),
            (Begin::default(), vec![set_transaction(None, Some(Isolation::ReadCommitted))], reads),
        ];
        for (begin, statements, expected) in cases {
            let session = SessionRouting { begin: Some(begin), ..until_write() };
            assert_eq!(words(session, statements), expected);
        }
        assert_eq!(words(until_write(), vec![begin(None, false)]), reads, "in a pipeline");
        assert_eq!(words(until_write(), vec![begin(None, false), plain()]), begins, "of a text");
    }

    #[test]
    fn an_open_transaction_stays_until_it_writes() {
        let open = |phase| SessionRouting {
            transaction: Some(Target { shard: ShardIndex(0), role: TargetRole::Replica }),
            begin: Some(Begin::default()),
            until_write: Some(phase),
            ..until_write()
        };
        let reads = "replica: reads in a transaction that has not written";
        let level = || set_transaction(None, Some(Isolation::Serializable));
        let mut hinted = facts(vec![writes(Kind::Update, vec![])]);
        hinted.hint = Hint { role: Some(HintRole::Replica), ..Hint::default() };
        assert_eq!(words(open(UntilWrite::HasRead), vec![select(vec![read("t")])]), reads);
        assert_eq!(
            words(open(UntilWrite::HasRead), vec![writes(Kind::Update, vec![])]),
            "primary: UPDATE writes"
        );
        assert_eq!(explained(&unsharded(), open(UntilWrite::HasRead), hinted, &[]), "primary: UPDATE writes");
        assert_eq!(words(open(UntilWrite::HasRead), vec![level()]), reads, "too late, as a replica says too");
        assert_eq!(words(open(UntilWrite::Fresh), vec![level()]), "primary: SET concerns the session");
    }

    #[test]
    fn the_sessions_defaults_say_what_a_begin_doesnt() {
        let defaults = |read_only, isolation| SessionRouting {
            defaults: Begin { read_only, isolation },
            ..until_write()
        };
        let plain = || select(vec![read("t")]);
        let serializable = "primary: begins a SERIALIZABLE transaction, which a replica can't give";
        let cases = [
            (
                defaults(Some(true), None),
                vec![begin(None, false), plain()],
                "replica: begins a READ ONLY transaction",
            ),
            (
                defaults(Some(true), None),
                vec![begin(Some(false), false), plain()],
                "primary: begins a transaction that may write",
            ),
            (
                defaults(None, Some(Isolation::RepeatableRead)),
                vec![begin(None, false)],
                "primary: begins a transaction that may write",
            ),
            (defaults(None, Some(Isolation::Serializable)), vec![plain()], serializable),
            (
                defaults(None, Some(Isolation::Serializable)),
                vec![begin(Some(true), false), plain()],
                serializable,
            ),
            (defaults(None, Some(Isolation::RepeatableRead)), vec![plain()], "replica: reads only"),
        ];
        for (session, statements, expected) in cases {
            assert_eq!(words(session, statements), expected);
        }
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
