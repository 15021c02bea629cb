//! set_config in a query: what it sets, once the values of its Bind are in hand.

use std::sync::Arc;

use backend::Setting;
use sql::facts::{Argument, Effect, Facts, PinReason};
use wire::frontend::Bind;
use wire::{frame, tag};

use crate::work::Work;

/// Settings that end with the transaction, whatever the call says.
const OF_TRANSACTION: [&str; 3] =
    ["transaction_isolation", "transaction_read_only", "transaction_deferrable"];

/// Whether a text sets something by set_config.
pub(crate) fn is_called(facts: &Facts) -> bool {
    facts.statements.iter().flat_map(|s| &s.effects).any(|e| matches!(e, Effect::SetConfig { .. }))
}

/// The facts of a text that is being sent, with the settings that it sets. The message that runs it is at the front of
/// what is pending.
#[cold]
pub(crate) fn resolved(work: &Work, facts: &Facts) -> Arc<Facts> {
    let pending = work.up.pending();
    let bind = frame::peek(pending, frame::MAX_BODY).ok().flatten().and_then(|head| {
        let whole = pending.get(..head.total).filter(|_| head.tag == tag::BIND)?;
        Bind::parse(frame::body(whole)).ok()
    });
    let mut facts = facts.clone();
    for effect in facts.statements.iter_mut().flat_map(|statement| &mut statement.effects) {
        if let Effect::SetConfig { name, value, local } = effect {
            *effect = set(bind.as_ref(), name, value, *local).unwrap_or(Effect::Pin(PinReason::Setting));
        }
    }
    Arc::new(facts)
}

/// `None`: it can't be said what it does.
fn set(bind: Option<&Bind<'_>>, name: &Argument, value: &Argument, local: Option<u16>) -> Option<Effect> {
    let name = text(bind, name)??.to_ascii_lowercase();
    if name.starts_with("pgweir.") {
        return None;
    }
    if name == "seed" {
        return Some(Effect::Pin(PinReason::Setseed)); // of random(): it can be set, and not read
    }
    let local = match local {
        Some(number) => truth(bind, number)?,
        None => false,
    };
    if local || OF_TRANSACTION.contains(&&*name) {
        return Some(Effect::SetLocal(Some(name.into())));
    }
    match text(bind, value)? {
        None => Some(Effect::Reset(name.into())),
        Some(value) => {
            let Setting { name, value, raw, .. } = Setting::from_startup(&name, &value);
            Some(Effect::Set { name, value, raw })
        }
    }
}

/// What an argument is; the inner `None` is NULL.
fn text(bind: Option<&Bind<'_>>, argument: &Argument) -> Option<Option<String>> {
    match argument {
        Argument::Text(text) => Some(Some(text.to_string())),
        Argument::Null => Some(None),
        Argument::Parameter(number) => match bind?.parameter(usize::from(number.checked_sub(1)?))?.1 {
            Some(bytes) => Some(Some(String::from_utf8(bytes.to_vec()).ok()?)),
            None => Some(None),
        },
    }
}

/// A boolean parameter, in text or binary; NULL is false to set_config.
fn truth(bind: Option<&Bind<'_>>, number: u16) -> Option<bool> {
    let (format, bytes) = bind?.parameter(usize::from(number.checked_sub(1)?))?;
    let Some(bytes) = bytes else { return Some(false) };
    if format == 1 {
        return Some(bytes != [0]);
    }
    match bytes.trim_ascii().to_ascii_lowercase().as_slice() {
        b"t" | b"true" | b"1" | b"on" | b"y" | b"yes" => Some(true),
        b"f" | b"false" | b"0" | b"off" | b"n" | b"no" => Some(false),
        _ => None,
    }
}
