//! SET, RESET, SHOW and DISCARD: names and values exactly as the server would take them.

use crate::facts::{Effect, Kind, Literal, Name, PinReason, Statement};
use crate::lexer::TokenKind;
use crate::literal;
use crate::statement::command;
use crate::tokens::{Cursor, bytes, identifier};
use crate::transaction;

/// A value of these in SET ends with the transaction whatever the statement says.
const OF_TRANSACTION: [&str; 3] =
    ["transaction_isolation", "transaction_read_only", "transaction_deferrable"];

/// What follows SET.
pub(crate) fn set(mut rest: Cursor<'_>) -> Statement {
    let mut statement = command(Kind::Set, "SET");
    if rest.is("constraints") {
        return statement;
    }
    if rest.is("transaction") && !followed_by_value(rest) {
        return of_transaction(statement, rest);
    }
    let local = rest.is("local") && !followed_by_value(rest) && rest.eat("local");
    if !local && rest.is("session") && !followed_by_value(rest) && !session_form(rest) {
        rest.eat("session");
    }
    if rest.is("transaction") && !followed_by_value(rest) {
        return of_transaction(statement, rest);
    }
    if let Some(effects) = characteristics(rest) {
        statement.effects.extend(effects);
        return statement;
    }
    let effect = assignment(rest).unwrap_or(Effect::Pin(PinReason::Setting));
    statement.effects.push(match effect {
        Effect::Pin(PinReason::Setseed) => effect,
        Effect::Set { name, .. } | Effect::Reset(name) if local => Effect::SetLocal(Some(name)),
        Effect::SetLocal(name) => Effect::SetLocal(name),
        _ if local => Effect::SetLocal(None),
        effect => effect,
    });
    statement
}

/// SET TRANSACTION: its modes, if that is what follows.
fn of_transaction(mut statement: Statement, mut rest: Cursor<'_>) -> Statement {
    rest.next();
    statement.effects.extend(transaction::modes(rest).map(Effect::SetTransaction));
    statement
}

/// The word here is a setting's name, not a keyword of SET: TO, `=` or a dot follows.
fn followed_by_value(mut rest: Cursor<'_>) -> bool {
    rest.next();
    rest.is("to")
        || rest
            .peek()
            .is_some_and(|token| token.kind == TokenKind::Punctuation(b'.') || bytes(rest.sql, token) == b"=")
}

/// SESSION AUTHORIZATION or SESSION CHARACTERISTICS: that SESSION says no scope.
fn session_form(mut rest: Cursor<'_>) -> bool {
    rest.eat("session") && (rest.is("authorization") || rest.is("characteristics"))
}

/// SESSION CHARACTERISTICS AS TRANSACTION and its modes: each is a setting, and the last of its sort counts.
fn characteristics(mut rest: Cursor<'_>) -> Option<Vec<Effect>> {
    const MODES: [(&[&str], &str, &str); 8] = [
        (&["isolation", "level", "serializable"], "default_transaction_isolation", "serializable"),
        (&["isolation", "level", "repeatable", "read"], "default_transaction_isolation", "repeatable read"),
        (&["isolation", "level", "read", "committed"], "default_transaction_isolation", "read committed"),
        (&["isolation", "level", "read", "uncommitted"], "default_transaction_isolation", "read uncommitted"),
        (&["read", "only"], "default_transaction_read_only", "on"),
        (&["read", "write"], "default_transaction_read_only", "off"),
        (&["deferrable"], "default_transaction_deferrable", "on"),
        (&["not", "deferrable"], "default_transaction_deferrable", "off"),
    ];
    if !rest.eat_all(&["session", "characteristics", "as", "transaction"]) {
        return None;
    }
    let mut effects = Vec::new();
    while !rest.is_empty() {
        let (_, name, value) = MODES.into_iter().find(|(words, _, _)| rest.eat_all(words))?;
        effects.push(Effect::Set { name: name.into(), value: value.into(), raw: false });
        if rest.peek().is_some_and(|token| token.kind == TokenKind::Punctuation(b',')) {
            rest.next();
        }
    }
    Some(effects)
}

/// `name TO value` and the special spellings of the SQL standard; `None` for what can't be replayed.
fn assignment(mut rest: Cursor<'_>) -> Option<Effect> {
    if !followed_by_value(rest) {
        if rest.eat_all(&["time", "zone"]) {
            let resets = rest.is("local") || rest.is("default");
            if rest.is("interval") {
                return as_written("timezone", rest);
            }
            return if resets { Some(Effect::Reset("timezone".into())) } else { value("timezone", rest) };
        }
        if rest.eat("names") {
            let resets = rest.is_empty() || rest.is("default");
            return if resets {
                Some(Effect::Reset("client_encoding".into()))
            } else {
                value("client_encoding", rest)
            };
        }
        for (words, name) in [
            (&["schema"][..], "search_path"),
            (&["role"], "role"),
            (&["session", "authorization"], "session_authorization"),
            (&["xml", "option"], "xmloption"),
        ] {
            if rest.eat_all(words) {
                let resets = name == "session_authorization" && rest.is("default");
                return if resets { Some(Effect::Reset(name.into())) } else { value(name, rest) };
            }
        }
    }
    let name = setting_name(&mut rest)?;
    let equals = rest.peek().is_some_and(|token| bytes(rest.sql, token) == b"=");
    if equals {
        rest.next();
    } else if !rest.eat("to") {
        return None;
    }
    if rest.is("default") && rest.rest.len() == 1 {
        return Some(Effect::Reset(name));
    }
    if OF_TRANSACTION.contains(&&*name) {
        return Some(Effect::SetLocal(Some(name)));
    }
    if &*name == "seed" {
        // Of random(): it can be set, and not read.
        return Some(Effect::Pin(PinReason::Setseed));
    }
    value(&name, rest)
}

/// A setting's name; the server doesn't tell upper from lower case, in quotes neither.
fn setting_name(rest: &mut Cursor<'_>) -> Option<Name> {
    let parts = rest.dotted()?;
    Some(parts.join(".").to_ascii_lowercase().into())
}

/// SET name to what follows: one word, string or number, or a list of them.
fn value(name: &str, rest: Cursor<'_>) -> Option<Effect> {
    let set = |value: Box<str>, raw| Some(Effect::Set { name: name.into(), value, raw });
    match rest.rest {
        [] => None,
        [one] => match one.kind {
            TokenKind::String | TokenKind::Number => {
                let place = Literal { start: one.start, end: one.end, string: one.kind == TokenKind::String };
                let decoded = if one.kind == TokenKind::String {
                    let text = literal::decode(rest.sql, place, rest.conforming)?;
                    String::from_utf8(text.into_owned()).ok()?
                } else {
                    String::from_utf8(bytes(rest.sql, one).to_vec()).ok()?
                };
                set(decoded.into(), false)
            }
            _ => set(identifier(rest.sql, one)?, false),
        },
        [sign, number]
            if number.kind == TokenKind::Number && matches!(bytes(rest.sql, sign), b"-" | b"+") =>
        {
            let digits = std::str::from_utf8(bytes(rest.sql, number)).ok()?;
            let sign = if bytes(rest.sql, sign) == b"-" { "-" } else { "" };
            set(format!("{sign}{digits}").into(), false)
        }
        _ => {
            let is_list = rest.rest.iter().any(|token| token.kind == TokenKind::Punctuation(b','));
            let known = rest.rest.iter().all(|token| {
                matches!(
                    token.kind,
                    TokenKind::Word
                        | TokenKind::Quoted
                        | TokenKind::String
                        | TokenKind::Number
                        | TokenKind::Punctuation(b',')
                ) || matches!(bytes(rest.sql, token), b"-" | b"+")
            });
            if !is_list || !known {
                return None;
            }
            as_written(name, rest)
        }
    }
}

/// SET name to a text that only means something as it stands.
fn as_written(name: &str, rest: Cursor<'_>) -> Option<Effect> {
    let place = |at: u32| usize::try_from(at).ok();
    let text = rest.sql.get(place(rest.rest.first()?.start)?..place(rest.rest.last()?.end)?)?;
    let value = std::str::from_utf8(text).ok()?.into();
    Some(Effect::Set { name: name.into(), value, raw: true })
}

/// What follows RESET.
pub(crate) fn reset(mut rest: Cursor<'_>) -> Statement {
    let mut statement = command(Kind::Reset, "RESET");
    if rest.eat("all") {
        statement.effects.push(Effect::ResetAll);
    } else if let Some(name) = named(rest) {
        // The transaction's own settings end with it.
        if !OF_TRANSACTION.contains(&&*name) {
            statement.effects.push(Effect::Reset(name));
        }
    } else {
        statement.effects.push(Effect::Pin(PinReason::Setting));
    }
    statement
}

/// What follows SHOW.
pub(crate) fn show(rest: Cursor<'_>) -> Statement {
    let mut statement = command(Kind::Show, "SHOW");
    if let Some(name) = named(rest) {
        statement.effects.push(Effect::Show(name));
    }
    statement
}

/// The setting that RESET or SHOW names.
fn named(mut rest: Cursor<'_>) -> Option<Name> {
    for (words, name) in [
        (&["time", "zone"][..], "timezone"),
        (&["session", "authorization"], "session_authorization"),
        (&["transaction", "isolation", "level"], "transaction_isolation"),
    ] {
        if rest.eat_all(words) {
            return Some(name.into());
        }
    }
    let name = setting_name(&mut rest)?;
    rest.is_empty().then_some(name)
}

/// What follows DISCARD.
pub(crate) fn discard(rest: Cursor<'_>) -> Statement {
    let mut statement = command(Kind::Discard, "DISCARD");
    if rest.is("all") {
        statement.effects.push(Effect::DiscardAll);
        statement.alone = true;
    } else if rest.is("temp") || rest.is("temporary") {
        statement.effects.push(Effect::MayUnpin(PinReason::TemporaryTable));
    }
    statement
}
