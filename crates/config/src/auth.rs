//! `auth` and `admin`, checked.

use std::net::IpAddr;

use crate::check::Context;
use crate::error::Place;
use crate::model::{Admin, Auth, AuthMethod, AuthRule, Config, Source};
use crate::raw;
use crate::said::{Many, Said};
use crate::scalar::Text;

pub(crate) fn admin(raw: &raw::Admin) -> Admin {
    let names = |said: &Said<Many<Text>>| {
        said.get().map(|many| many.values().map(|name| name.0.clone()).collect()).unwrap_or_default()
    };
    Admin { users: names(&raw.users), stats_users: names(&raw.stats_users) }
}

pub(crate) fn auth(raw: &raw::Auth, context: &Context<'_>) -> Auth {
    context.refuse_later_unless_null(&raw.hba_file);
    context.refuse_later_unless_null(&raw.query);
    let rules = raw.rules.clone_or_default();
    let auth = Auth {
        method: raw.method.get().map_or(AuthMethod::ScramSha256, |method| method.0),
        rules: rules.iter().filter_map(|said| rule(said, context)).collect(),
    };
    if let (Some(place), AuthMethod::Trust) = (raw.method.place(), auth.method) {
        context.sink.warn(place, "trust lets every client in as whoever it says it is");
    }
    auth
}

fn rule(said: &Said<raw::AuthRule>, context: &Context<'_>) -> Option<AuthRule> {
    let (place, raw) = said.with_place()?;
    if !raw.method.is_said() {
        context.sink.error(place, "has no `method`; expected trust, md5, scram-sha-256 or reject");
    }
    let sources = raw.from.get().map(|many| many.0.as_slice()).unwrap_or_default();
    let from = if sources.iter().filter_map(Said::get).any(|text| text.0 == "all") {
        Vec::new()
    } else {
        sources.iter().filter_map(|said| source(said, context)).collect()
    };
    no_empty_list(&raw.from, context);
    Some(AuthRule {
        from,
        users: names(&raw.users, context),
        databases: names(&raw.databases, context),
        method: raw.method.get()?.0,
    })
}

/// Names, or nothing for all of them.
fn names(said: &Said<Many<Text>>, context: &Context<'_>) -> Vec<String> {
    no_empty_list(said, context);
    let names: Vec<String> =
        said.get().map(|many| many.values().map(|name| name.0.clone()).collect()).unwrap_or_default();
    if names.iter().any(|name| name == "all") { Vec::new() } else { names }
}

fn no_empty_list(said: &Said<Many<Text>>, context: &Context<'_>) {
    if let Some((place, many)) = said.with_place()
        && many.0.is_empty()
    {
        context.sink.error(place, "an empty list, which would match nobody; expected names, or all");
    }
}

fn source(said: &Said<Text>, context: &Context<'_>) -> Option<Source> {
    let (place, text) = said.with_place()?;
    let source = parse_source(&text.0);
    if source.is_none() {
        let message =
            format!("found `{}`; expected a network such as 10.0.0.0/8, an address, unix or all", text.0);
        context.sink.error(place, message);
    }
    source
}

fn parse_source(text: &str) -> Option<Source> {
    if text == "unix" {
        return Some(Source::Unix);
    }
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address.parse::<IpAddr>().ok()?, Some(bits.parse::<u8>().ok()?)),
        None => (text.parse::<IpAddr>().ok()?, None),
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some(Source::Network(address, bits))
}

/// Users and databases that rules and `admin` name must exist, once all are known.
pub(crate) fn check_names(raw: &raw::File, config: &Config, context: &Context<'_>) {
    let trusts = config.auth.method == AuthMethod::Trust
        || config.auth.rules.iter().any(|rule| rule.method == AuthMethod::Trust);
    // A users file that cannot be read has been noted; its names would all dangle.
    let unreadable =
        raw.auth.get().and_then(|auth| context.path(&auth.users_file)).is_some_and(|path| !path.is_file());
    let trusts = trusts || unreadable;
    let users: Vec<&str> = config.users.keys().map(String::as_str).collect();
    let check_user = |said: &Said<Text>| {
        if let Some((place, name)) = said.with_place()
            && name.0 != "all"
            && !users.contains(&name.0.as_str())
        {
            context.dangling(place, "user", &name.0, &users, "users (or in auth.users_file)");
        }
    };
    let admin = raw.admin.clone_or_default();
    // Who is trusted needs no entry.
    if !trusts {
        each(&admin.users, check_user);
        each(&admin.stats_users, check_user);
    }
    for rule in raw.auth.clone_or_default().rules.clone_or_default().iter().filter_map(Said::get) {
        if !unreadable && rule.method.get().is_none_or(|method| method.0 != AuthMethod::Trust) {
            each(&rule.users, check_user);
        }
        each(&rule.databases, |said| {
            if let Some((place, name)) = said.with_place() {
                check_database(place, &name.0, config, context);
            }
        });
    }
}

fn each(said: &Said<Many<Text>>, check: impl Fn(&Said<Text>)) {
    said.get().map(|many| many.0.as_slice()).unwrap_or_default().iter().for_each(check);
}

fn check_database(place: Place, name: &str, config: &Config, context: &Context<'_>) {
    if matches!(name, "all" | "pgweir" | "pgbouncer") || config.database(name).is_some() {
        return;
    }
    let known: Vec<&str> = config.databases.iter().map(|database| database.name.as_str()).collect();
    context.dangling(place, "database", name, &known, "databases");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        assert_eq!(parse_source("unix"), Some(Source::Unix));
        assert_eq!(parse_source("10.0.0.0/8"), Some(Source::Network([10, 0, 0, 0].into(), 8)));
        assert_eq!(parse_source("::1"), Some(Source::Network(IpAddr::V6(1.into()), 128)));
        for text in ["10.0.0.0/33", "10.0.0/8", "x", "::/129", "10.0.0.0/-1", "10.0.0.0/"] {
            assert_eq!(parse_source(text), None, "{text}");
        }
    }
}
