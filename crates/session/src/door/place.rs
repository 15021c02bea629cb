//! The home of where a client goes once it has proved who it is: to the console, or to a home core of its pools.

use std::sync::Arc;

use backend::{Group, Placement};
use config::Admin;
use net::CoreHandle;
use wire::scram::ScramKeys;

use super::Refusal;
use crate::context::{Arrival, Context, Full, Seat, Stop};
use crate::core::Core;

/// The databases that are pgweir's console.
const CONSOLES: [&str; 2] = ["pgweir", "pgbouncer"];

/// A client's seat, and its place on a core (`None`: at the console).
#[derive(Debug)]
pub(super) struct Place {
    pub(super) user: Arc<str>,
    pub(super) database: Arc<str>,
    pub(super) seat: Seat,
    pub(super) placement: Option<Placement>,
}

/// Finds a place for an authenticated client that speaks protocol 3.`minor`. `keys`, shown by its login, are passed on
/// to its pools.
pub(super) fn take_place(
    context: &Context,
    user: &str,
    database: &str,
    minor: u16,
    keys: Option<ScramKeys>,
) -> Result<Place, Refusal> {
    if *context.stop.borrow() > Stop::No {
        return Err(Refusal::Stopping);
    }
    // The configuration of now, which may be younger than the login.
    let directory = context.directory.load();
    let (core, placement) = if CONSOLES.contains(&database) {
        may_use_console(&directory.config.admin, user, database)?;
        context.console.get().ok_or(Refusal::NotRunning("console"))?;
        (usize::MAX, None)
    } else {
        let group = directory.group(database, user);
        let group = group.ok_or_else(|| Refusal::NoDatabase(database.to_owned()))?;
        if let Some(keys) = keys {
            pass_on(&group, &keys);
        }
        let placement = group.place();
        core_of(context, &placement).ok_or(Refusal::NotRunning("core"))?;
        (placement.core(), Some(placement))
    };
    let (user, database) = (Arc::from(user), Arc::from(database));
    let limits = &directory.config.limits;
    let seat = context.seats.sit(&user, limits, cancel_key(minor), core).map_err(|full| Refusal::Full {
        full,
        limit: match full {
            Full::Clients => limits.max_client_conn,
            Full::User => limits.max_client_conn_per_user.unwrap_or(usize::MAX),
        },
        user: user.to_string(),
    })?;
    Ok(Place { user, database, seat, placement })
}

/// Hands a client to who serves it from now on. Those at the console stay with the caller's task until they go.
pub(super) async fn send_on(context: &Context, arrival: Arrival) {
    let Some(placement) = &arrival.placement else {
        match context.console.get() {
            Some(console) => console.serve(arrival).await,
            None => tracing::error!("a client of the console was closed: the console is not running"),
        }
        return;
    };
    let core = placement.core();
    let handle = core_of(context, placement);
    let sent = handle.map(|handle| handle.run(move |core| core.welcome(arrival)));
    if !matches!(sent, Some(Ok(()))) {
        tracing::error!(core, "a client was closed: its core is not running");
    }
}

fn core_of<'a>(context: &'a Context, placement: &Placement) -> Option<&'a CoreHandle<Core>> {
    context.cores.get()?.get(placement.core())
}

/// They are for servers where the client's user has the same name: under another one it has another secret.
fn pass_on(group: &Group, keys: &ScramKeys) {
    let logins = group.pools.iter().flatten().map(|pool| &pool.login);
    for login in logins.filter(|login| login.user == group.user) {
        login.learn(keys.clone());
    }
}

fn may_use_console(admin: &Admin, user: &str, database: &str) -> Result<(), Refusal> {
    let listed = admin.users.iter().chain(&admin.stats_users).any(|known| known == user);
    if listed {
        return Ok(());
    }
    Err(Refusal::NotForConsole { user: user.to_owned(), database: database.to_owned() })
}

/// Random: 4 bytes is all that protocol 3.0 has room for; 3.2 takes up to 256.
fn cancel_key(minor: u16) -> Box<[u8]> {
    if minor >= 2 { Box::new(rand::random::<[u8; 32]>()) } else { Box::new(rand::random::<[u8; 4]>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_as_long_as_the_protocol_allows_and_differ() {
        for (minor, length) in [(0, 4), (1, 4), (2, 32)] {
            let key = cancel_key(minor);
            assert_eq!(key.len(), length);
            assert_ne!(key, cancel_key(minor));
        }
    }

    #[test]
    fn only_who_is_listed_may_use_the_console() {
        let admin = Admin { users: vec!["ops".into()], stats_users: vec!["monitor".into()] };
        assert!(may_use_console(&admin, "ops", "pgweir").is_ok());
        assert!(may_use_console(&admin, "monitor", "pgbouncer").is_ok());
        let refusal = may_use_console(&admin, "app", "pgbouncer").unwrap_err();
        let report = refusal.report().unwrap();
        assert_eq!(report.code, wire::SqlState::INSUFFICIENT_PRIVILEGE);
    }
}
