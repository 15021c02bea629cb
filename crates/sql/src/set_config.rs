//! `SELECT set_config(…)`: the settings that a query sets for certain, once each, to values that can be read.

use crate::facts::{Argument, Effect, Literal, PinReason};
use crate::lexer::TokenKind;
use crate::literal;
use crate::tokens::{Cursor, Tok, identifier};

/// Words at the top level of a query behind which it isn't said how often its expressions are run.
const NOT_ONCE: [&str; 15] = [
    "from",
    "where",
    "group",
    "having",
    "window",
    "union",
    "intersect",
    "except",
    "order",
    "limit",
    "offset",
    "fetch",
    "for",
    "into",
    "case",
];

/// What the calls in a query do, each an expression of its SELECT list by itself. `None` if one of them stands where
/// nobody can say whether it is run, or has arguments that are no literals and no parameters.
pub(crate) fn effects(mut text: Cursor<'_>) -> Option<Vec<Effect>> {
    if !text.eat("select") {
        return None;
    }
    let mut effects = Vec::new();
    loop {
        let expression = until_comma(&mut text)?;
        match call(expression) {
            Some(effect) => effects.push(effect),
            None if calls_none(expression) => {}
            None => return None,
        }
        if !text.eat_char(b',') {
            return text.is_empty().then_some(effects);
        }
    }
}

/// Takes what comes before the next comma outside of parentheses, or the end.
fn until_comma<'a>(text: &mut Cursor<'a>) -> Option<Cursor<'a>> {
    let all = text.rest;
    let mut depth = 0_usize;
    while let Some(token) = text.peek() {
        match token.kind {
            TokenKind::Punctuation(b',') if depth == 0 => break,
            TokenKind::Punctuation(b'(' | b'[') => depth += 1,
            TokenKind::Punctuation(b')' | b']') => depth = depth.checked_sub(1)?,
            TokenKind::Word if depth == 0 && NOT_ONCE.iter().any(|word| text.is(word)) => return None,
            _ => {}
        }
        text.next();
    }
    Some(text.with(&all[..all.len() - text.rest.len()]))
}

fn calls_none(expression: Cursor<'_>) -> bool {
    let named = |token: &Tok| identifier(expression.sql, token).is_some_and(|name| &*name == "set_config");
    !expression.rest.iter().any(named)
}

/// `[pg_catalog.]set_config(name, value, is_local) [[AS] alias]`.
fn call(mut expression: Cursor<'_>) -> Option<Effect> {
    let function = expression.dotted()?;
    let parts: Vec<&str> = function.iter().map(|part| &**part).collect();
    if !matches!(parts[..], ["set_config"] | ["pg_catalog", "set_config"]) {
        return None;
    }
    let mut arguments = expression.parenthesised()?;
    expression.eat("as");
    if !expression.is_empty() {
        expression.name()?;
    }
    let mut next = || {
        let argument = until_comma(&mut arguments)?;
        arguments.eat_char(b',');
        Some(argument)
    };
    let (name, value, local) = (read(next()?)?, read(next()?)?, next()?);
    if !expression.is_empty() || !arguments.is_empty() {
        return None;
    }
    if matches!(&name, Argument::Text(name) if name.eq_ignore_ascii_case("seed")) {
        return Some(Effect::Pin(PinReason::Setseed)); // of random(): it can be set, and not read
    }
    let local = match without_cast(local).rest {
        [_] if local.is("true") => {
            return Some(Effect::SetLocal(match name {
                Argument::Text(name) => Some(name.to_ascii_lowercase().into()),
                Argument::Null | Argument::Parameter(_) => None,
            }));
        }
        [_] if local.is("false") => None,
        _ => match read(local)? {
            Argument::Parameter(number) => Some(number),
            Argument::Text(_) | Argument::Null => return None,
        },
    };
    Some(Effect::SetConfig { name, value, local })
}

/// A literal or a parameter, with a cast or without.
fn read(argument: Cursor<'_>) -> Option<Argument> {
    let argument = without_cast(argument);
    let [token] = argument.rest else { return None };
    match token.kind {
        TokenKind::String => {
            let place = Literal { start: token.start, end: token.end, string: true };
            let text = literal::decode(argument.sql, place, argument.conforming)?;
            Some(Argument::Text(String::from_utf8(text.into_owned()).ok()?.into()))
        }
        TokenKind::Param => {
            let digits = std::str::from_utf8(argument.bytes(token).get(1..)?).ok()?;
            Some(Argument::Parameter(digits.parse().ok()?))
        }
        TokenKind::Word if argument.is("null") => Some(Argument::Null),
        _ => None,
    }
}

/// Without a cast to a type that changes nothing.
fn without_cast(argument: Cursor<'_>) -> Cursor<'_> {
    let [token, cast, of_type] = argument.rest else { return argument };
    let kept =
        ["text", "boolean", "bool"].iter().any(|name| argument.with(std::slice::from_ref(of_type)).is(name));
    if cast.kind == TokenKind::Cast && kept { argument.with(std::slice::from_ref(token)) } else { argument }
}
