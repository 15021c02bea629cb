//! `users` and `auth.users_file`, checked.

use std::collections::BTreeMap;

use crate::check::Context;
use crate::error::Place;
use crate::model::{Secret, ServerLogin, StoredPassword, User};
use crate::said::Said;
use crate::{pool, raw, userlist};

pub(crate) fn users(raw: &raw::File, context: &Context<'_>) -> BTreeMap<String, User> {
    let mut users = BTreeMap::new();
    for entry in raw.users.get().map(|named| named.0.as_slice()).unwrap_or_default() {
        if entry.name.is_empty() {
            context.sink.error(entry.place, "an empty name; expected a user's name");
        }
        let raw = entry.value.clone_or_default();
        users.insert(entry.name.clone(), user(&entry.name, &raw, context));
    }
    let auth = raw.auth.clone_or_default();
    if let Some((place, Some(path))) = auth.users_file.with_place() {
        for (name, password) in userlist::read(&context.resolve(&path.0), place, context) {
            let user = users.entry(name.clone()).or_insert_with(|| empty(&name));
            // What `users` says of a password is newer than what the file says.
            if user.passwords.is_empty() {
                user.passwords.extend(password);
            }
        }
    }
    users
}

/// A user of whom nothing but the name is known.
pub(crate) fn empty(name: &str) -> User {
    User {
        name: name.to_owned(),
        passwords: Vec::new(),
        pool: Default::default(),
        route: Default::default(),
        server_user: None,
        server_password: None,
    }
}

fn user(name: &str, raw: &raw::User, context: &Context<'_>) -> User {
    let mut passwords = Vec::new();
    let place = raw.password.place().or(raw.password_file.place());
    if let (Some(secret), Some(place)) = (context.secret(&raw.password, &raw.password_file), place) {
        passwords.extend(stored(secret, place, context));
    }
    if let (Some(place), Some(_)) = (place, raw.passwords.get()) {
        context.sink.error(place, "`passwords` is there too; expected one password, or a list of them");
    }
    for said in raw.passwords.get().map(Vec::as_slice).unwrap_or_default() {
        if let Some((place, Some(password))) = said.with_place()
            && !password.0.0.is_empty()
        {
            passwords.extend(stored(password.0.clone(), place, context));
        }
    }
    let server = raw.server.clone_or_default();
    context.refuse_later_unless_null(&server.password_command);
    User {
        name: name.to_owned(),
        passwords,
        pool: pool::pool_overrides(&raw.pool.clone_or_default(), context),
        route: pool::route_overrides(&raw.route.clone_or_default()),
        server_user: server.user.get().map(|user| user.0.clone()),
        server_password: context.secret(&server.password, &server.password_file),
    }
}

/// What kind of secret it is, by its form; a malformed SCRAM secret is an error.
pub(crate) fn stored(secret: Secret, place: Place, context: &Context<'_>) -> Option<StoredPassword> {
    match classify(secret) {
        Ok(stored) => Some(stored),
        Err(message) => {
            context.sink.error(place, message);
            None
        }
    }
}

/// As `stored`, where the place is not one of this file.
pub(crate) fn classify(secret: Secret) -> Result<StoredPassword, &'static str> {
    let text = secret.0.as_str();
    if let Some(rest) = text.strip_prefix("SCRAM-SHA-256$") {
        return if is_scram(rest) {
            Ok(StoredPassword::Scram(secret))
        } else {
            Err(
                "a malformed SCRAM secret; expected SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>",
            )
        };
    }
    let md5 = text
        .strip_prefix("md5")
        .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    Ok(if md5 { StoredPassword::Md5(secret) } else { StoredPassword::Plain(secret) })
}

/// `<iterations>:<salt>$<stored key>:<server key>` with base64 parts; the keys have 32 bytes.
fn is_scram(rest: &str) -> bool {
    let base64 = |text: &str| {
        !text.is_empty()
            && text.len().is_multiple_of(4)
            && text.trim_end_matches('=').bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
    };
    let Some(((iterations, salt), (stored_key, server_key))) =
        rest.split_once('$').and_then(|(a, b)| Some((a.split_once(':')?, b.split_once(':')?)))
    else {
        return false;
    };
    iterations.parse::<u32>().is_ok_and(|n| n > 0)
        && base64(salt)
        && [stored_key, server_key].iter().all(|key| key.len() == 44 && base64(key))
}

/// `databases.*.server`.
pub(crate) fn server_login(said: &Said<raw::ServerLogin>, context: &Context<'_>) -> Option<ServerLogin> {
    let (place, raw) = said.with_place()?;
    context.refuse_later_unless_null(&raw.password_command);
    let Some(user) = raw.user.get() else {
        if !raw.user.is_said() {
            context.sink.error(place, "has no `user`; expected who its clients are on the servers");
        }
        return None;
    };
    Some(ServerLogin { user: user.0.clone(), password: context.secret(&raw.password, &raw.password_file) })
}

/// `clusters.*.control`.
pub(crate) fn control(said: &Said<raw::Control>, context: &Context<'_>) -> Option<crate::model::Control> {
    let (place, raw) = said.with_place()?;
    if !raw.user.is_said() {
        context.sink.error(place, "has no `user`; expected who probes the servers");
    }
    let password = context.secret(&raw.password, &raw.password_file);
    Some(crate::model::Control { user: raw.user.get()?.0.clone(), password })
}
