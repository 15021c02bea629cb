//! Transaction control: BEGIN, COMMIT, ROLLBACK, savepoints, two-phase commit.

use crate::facts::{Access, Because, Begin, Effect, Isolation, Kind, Name, Statement};
use crate::statement::command;
use crate::tokens::Cursor;

/// BEGIN or START TRANSACTION, of which the options follow. It reads if it says READ ONLY; otherwise it must have the
/// primary.
pub(crate) fn begin(mut rest: Cursor<'_>) -> Statement {
    rest.eat_any(&["work", "transaction"]);
    let Some(begin) = modes(rest) else { return Statement::unknown("an option of BEGIN") };
    let mut statement = Statement::read(Kind::Begin(begin));
    if begin.read_only != Some(true) {
        statement.worsen(Access::Write, Because::Command("BEGIN"));
    }
    statement
}

/// The modes of BEGIN or SET TRANSACTION: of each sort the last one counts. `None`: it isn't a list of modes.
pub(crate) fn modes(mut rest: Cursor<'_>) -> Option<Begin> {
    let mut begin = Begin::default();
    while !rest.is_empty() {
        rest.eat_char(b',');
        if rest.eat_all(&["read", "only"]) {
            begin.read_only = Some(true);
        } else if rest.eat_all(&["read", "write"]) {
            begin.read_only = Some(false);
        } else if rest.eat_all(&["isolation", "level"]) {
            let levels: [(&[&str], Isolation); 4] = [
                (&["serializable"], Isolation::Serializable),
                (&["repeatable", "read"], Isolation::RepeatableRead),
                (&["read", "committed"], Isolation::ReadCommitted),
                (&["read", "uncommitted"], Isolation::ReadCommitted),
            ];
            let (_, level) = levels.into_iter().find(|(words, _)| rest.eat_all(words))?;
            begin.isolation = Some(level);
        } else if !(rest.eat("deferrable") || rest.eat_all(&["not", "deferrable"])) {
            return None;
        }
    }
    Some(begin)
}

/// COMMIT, END, ROLLBACK or ABORT, of which the rest follows. They go where the transaction is: access says `Read`.
pub(crate) fn end(mut rest: Cursor<'_>, kind: Kind) -> Statement {
    if rest.eat("prepared") {
        return two_phase(if kind == Kind::Commit { "COMMIT PREPARED" } else { "ROLLBACK PREPARED" }, true);
    }
    rest.eat_any(&["work", "transaction"]);
    let kind = if kind == Kind::Rollback && rest.eat("to") {
        return savepoint(rest, Kind::RollbackTo, Effect::RollbackTo);
    } else if rest.eat_all(&["and", "chain"]) {
        let mut statement = Statement::read(Kind::EndAndChain);
        if kind == Kind::Rollback {
            statement.effects.push(Effect::RollbackAndChain);
        }
        return if rest.is_empty() { statement } else { Statement::unknown("the end of COMMIT or ROLLBACK") };
    } else {
        rest.eat_all(&["and", "no", "chain"]);
        kind
    };
    if rest.is_empty() { Statement::read(kind) } else { Statement::unknown("the end of COMMIT or ROLLBACK") }
}

/// SAVEPOINT, RELEASE or ROLLBACK TO, of which the rest follows.
pub(crate) fn savepoint(mut rest: Cursor<'_>, kind: Kind, effect: fn(Name) -> Effect) -> Statement {
    if kind != Kind::Savepoint {
        rest.eat("savepoint");
    }
    let mut statement = within(kind);
    match rest.name() {
        Some(name) if rest.is_empty() => statement.effects.push(effect(name)),
        _ => return Statement::unknown("the name of a savepoint"),
    }
    statement
}

/// What only has a meaning within a transaction and goes where that is: access says `Read`.
pub(crate) fn within(kind: Kind) -> Statement {
    Statement::read(kind)
}

/// PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED; the latter two outside a transaction only.
pub(crate) fn two_phase(name: &'static str, alone: bool) -> Statement {
    Statement { alone, ..command(Kind::TwoPhase, name) }
}
