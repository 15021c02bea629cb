//! Names that live in a session: cursors, SQL-level prepared statements, channels.

use crate::facts::{Access, Because, Effect, Kind, PinReason, Statement};
use crate::query;
use crate::statement::command;
use crate::tokens::Cursor;

/// What follows DECLARE: the facts are those of the query, which runs where the transaction is.
pub(crate) fn declare(mut rest: Cursor<'_>) -> Statement {
    let Some(_name) = rest.name() else { return Statement::unknown("a cursor without a name") };
    let mut hold = false;
    while !rest.eat("for") {
        if rest.eat_all(&["with", "hold"]) {
            hold = true;
        } else if rest.next().is_none() {
            return Statement::unknown("a cursor without a query");
        }
    }
    let mut statement = query::facts(rest);
    statement.kind = Kind::Declare;
    if hold {
        statement.worsen(Access::Write, Because::Command("DECLARE WITH HOLD"));
        statement.effects.push(Effect::Pin(PinReason::HoldCursor));
    }
    statement
}

/// CLOSE: of a cursor that outlives its transaction, perhaps.
pub(crate) fn close() -> Statement {
    let effects = vec![Effect::MayUnpin(PinReason::HoldCursor)];
    Statement { effects, ..crate::transaction::within(Kind::Cursor) }
}

/// What follows PREPARE, EXECUTE or DEALLOCATE.
pub(crate) fn prepared(word: &str, mut rest: Cursor<'_>) -> Statement {
    match word {
        "prepare" => {
            let mut statement = Statement::command(Kind::Prepare, "PREPARE");
            statement.effects.push(rest.name().map_or(Effect::Pin(PinReason::SqlPrepare), Effect::Prepare));
            statement
        }
        "execute" => {
            let mut statement = Statement::command(Kind::Execute, "EXECUTE");
            statement.effects = crate::scan::scan(rest).effects;
            statement.runs_code = true;
            statement
        }
        _ => {
            let mut statement = command(Kind::Deallocate, "DEALLOCATE");
            // PREPARE is noise here, unless it is the name.
            if rest.rest.len() > 1 {
                rest.eat("prepare");
            }
            let name = if rest.is("all") { None } else { rest.name() };
            statement.effects.push(Effect::Deallocate(name));
            statement
        }
    }
}

/// What follows LISTEN, UNLISTEN or NOTIFY.
pub(crate) fn notify(word: &str, mut rest: Cursor<'_>) -> Statement {
    match word {
        "listen" => {
            let mut statement = command(Kind::Notify, "LISTEN");
            statement.effects.push(rest.name().map_or(Effect::Pin(PinReason::Listen), Effect::Listen));
            statement
        }
        "unlisten" => {
            let mut statement = command(Kind::Notify, "UNLISTEN");
            // A name that can't be read is nobody's here: the server has its say.
            match rest.name() {
                None if rest.peek().is_none_or(|token| rest.bytes(token) != b"*") => {}
                name => statement.effects.push(Effect::Unlisten(name)),
            }
            statement
        }
        _ => command(Kind::Notify, "NOTIFY"),
    }
}
