//! `[databases]` and `[users]` of a pgbouncer.ini. Databases on the same servers share a cluster.

use crate::error::suggestion;
use crate::ini::convert::{Converter, from, split_list, value};
use crate::ini::doc::{Doc, From};
use crate::ini::parse::{Setting, pairs};
use crate::ini::settings::{Kind, POOL};

/// Parameters of a database that are not settings of its pool.
const DATABASE: [&str; 9] = [
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "max_db_connections",
    "load_balance_hosts",
    "application_name",
    "max_db_client_connections",
];
/// Those that would change what a session sees, or who may log in.
const DATABASE_LATER: [&str; 7] =
    ["auth_user", "auth_query", "auth_dbname", "connect_query", "client_encoding", "datestyle", "timezone"];
const USER: [&str; 3] = ["max_user_connections", "max_user_client_connections", "client_idle_timeout"];

/// `[users]`: pools of users.
pub(crate) fn users<'a>(settings: impl Iterator<Item = &'a Setting>, converter: &mut Converter<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    for setting in settings {
        let name = setting.key.text.as_str();
        let at = from("users", setting);
        refuse_twice(&mut seen, setting, &at, converter);
        converter.doc.set(&["users", name], Doc::new(), &at);
        for pair in pairs_of(setting, &at, converter) {
            let at = from(&at.label, &pair);
            let key = pair.key.text.as_str();
            if let Some((_, path, kind)) = POOL.iter().find(|(known, ..)| *known == key) {
                converter.set(&["users", name, "pool", path], *kind, &pair, &at);
            } else if USER.contains(&key) {
                converter.warn(&at, "has no counterpart and is left out");
            } else {
                let near = suggestion(key, POOL.iter().map(|(known, ..)| *known).chain(USER));
                converter.error_at_key(&pair, &at, format!("unknown parameter of a user{near}"));
            }
        }
    }
}

/// `[databases]`: databases, and the clusters that they are on.
pub(crate) fn databases<'a>(settings: impl Iterator<Item = &'a Setting>, converter: &mut Converter<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    let mut budgets: Vec<Budget> = Vec::new();
    for setting in settings {
        let at = from("databases", setting);
        refuse_twice(&mut seen, setting, &at, converter);
        database(&setting.key.text, setting, &at, &mut budgets, converter);
    }
    for budget in budgets {
        converter.doc.set(
            &["clusters", &budget.cluster, "server_connections"],
            Doc::Plain(budget.connections.to_string()),
            &budget.from,
        );
        if budget.guessed {
            let message = format!(
                "no max_db_connections bounds its servers: {} connections to each, the sum of its pools, are assumed",
                budget.connections
            );
            converter.warn(&budget.from, message);
        }
    }
}

/// Connections to the servers of a cluster.
struct Budget {
    cluster: String,
    from: From,
    connections: usize,
    guessed: bool,
}

fn database(
    name: &str,
    setting: &Setting,
    at: &From,
    budgets: &mut Vec<Budget>,
    converter: &mut Converter<'_>,
) {
    let pairs = pairs_of(setting, at, converter);
    let get = |key: &str| pairs.iter().rev().find(|pair| pair.key.text == key);
    converter.doc.set(&["databases", name], Doc::new(), at);
    for pair in &pairs {
        parameter(name, pair, &from(&at.label, pair), converter);
    }
    let host = get("host").map_or("/tmp", |pair| pair.value.text.as_str());
    let mut port = get("port").map_or("5432", |pair| pair.value.text.as_str());
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        let at = get("port").map_or_else(|| at.clone(), |pair| from(&at.label, pair));
        converter.error(&at, format!("found `{port}`; expected a port from 1 to 65535"));
        port = "5432";
    }
    let hosts = split_list(host);
    if hosts.is_empty() {
        converter.error(at, "an empty host; expected a name, an address, or the folder of a Unix socket");
    }
    let cluster = if port == "5432" { hosts.join(",") } else { format!("{}:{port}", hosts.join(",")) };
    if !budgets.iter().any(|budget| budget.cluster == cluster) {
        make_cluster(&cluster, &hosts, port, at, converter);
        budgets.push(Budget { cluster: cluster.clone(), from: at.clone(), connections: 0, guessed: false });
    }
    converter.doc.set(&["databases", name, "cluster"], Doc::Text(cluster.clone()), at);
    let (connections, guessed) = connections(name, get("max_db_connections"), converter);
    if let Some(budget) = budgets.iter_mut().find(|budget| budget.cluster == cluster) {
        budget.connections += connections;
        budget.guessed |= guessed;
    }
    match (get("user"), get("password")) {
        (Some(user), password) => login(name, &cluster, user, password, &at.label, converter),
        (None, Some(password)) => {
            converter
                .error(&from(&at.label, password), "a password without a user; expected `user` beside it");
        }
        (None, None) => {}
    }
}

/// A parameter that stands for itself; those of the cluster and the login are read together.
fn parameter(name: &str, pair: &Setting, at: &From, converter: &mut Converter<'_>) {
    let key = pair.key.text.as_str();
    if let Some((_, path, kind)) = POOL.iter().find(|(known, ..)| *known == key) {
        converter.set(&["databases", name, "pool", path], *kind, pair, at);
    } else if key == "dbname" {
        converter.set(&["databases", name, "dbname"], Kind::Text, pair, at);
    } else if DATABASE_LATER.contains(&key) {
        converter.error(at, "is not supported by this version");
    } else if matches!(key, "load_balance_hosts" | "application_name" | "max_db_client_connections") {
        converter.warn(at, "has no counterpart and is left out");
    } else if !DATABASE.contains(&key) {
        let known = DATABASE.into_iter().chain(DATABASE_LATER).chain(POOL.iter().map(|(known, ..)| *known));
        converter.error_at_key(
            pair,
            at,
            format!("unknown parameter of a database{}", suggestion(key, known)),
        );
    }
}

/// How many connections a database may need, and whether nothing in the file says it.
fn connections(name: &str, own: Option<&Setting>, converter: &Converter<'_>) -> (usize, bool) {
    let said = own.or_else(|| converter.global("max_db_connections"));
    if let Some(setting) = said {
        match setting.value.text.parse::<u32>() {
            Ok(0) => {}
            Ok(most) => return (usize::try_from(most).unwrap_or(usize::MAX), false),
            Err(_) => {
                let section =
                    if own.is_some() { format!("databases.{name}") } else { "pgbouncer".to_owned() };
                let message = format!("found `{}`; expected a whole number", setting.value.text);
                converter.error(&from(&section, setting), message);
            }
        }
    }
    let of = |key: &str| {
        converter
            .doc
            .number(&["databases", name, "pool", key])
            .or_else(|| converter.doc.number(&["pool", key]))
    };
    (of("size").unwrap_or(20).saturating_add(of("reserve_pool_size").unwrap_or(0)), true)
}

fn make_cluster(cluster: &str, hosts: &[String], port: &str, at: &From, converter: &mut Converter<'_>) {
    for host in hosts {
        let path = ["clusters", cluster, "nodes", host];
        converter.doc.set(&[&path[..], &["host"]].concat(), Doc::Text(host.clone()), at);
        if port != "5432" {
            converter.doc.set(&[&path[..], &["port"]].concat(), Doc::Plain(port.to_owned()), at);
        }
    }
    for (name, path, kind) in [
        ("server_tls_sslmode", &["tls", "mode"], Kind::Word),
        ("server_tls_ca_file", &["tls", "ca"], Kind::Text),
        ("tcp_keepidle", &["tcp_keepalive", "idle"], Kind::Seconds),
        ("tcp_keepintvl", &["tcp_keepalive", "interval"], Kind::Seconds),
        ("tcp_keepcnt", &["tcp_keepalive", "count"], Kind::Number),
    ] {
        if let Some(setting) = converter.global(name).cloned() {
            // 0 leaves it to the operating system there, and to the default here.
            if path[0] == "tcp_keepalive" && setting.value.text == "0" {
                continue;
            }
            let path = [&["clusters", cluster], &path[..]].concat();
            converter.set(&path, kind, &setting, &from("pgbouncer", &setting));
        }
    }
}

/// All clients of the database are one user on the servers, who probes them too.
fn login(
    name: &str,
    cluster: &str,
    user: &Setting,
    password: Option<&Setting>,
    label: &str,
    converter: &mut Converter<'_>,
) {
    let mut paths = vec![vec!["databases", name, "server"]];
    if converter.doc.get(&["clusters", cluster, "control"]).is_none() {
        paths.push(vec!["clusters", cluster, "control"]);
    }
    for path in paths {
        for (key, setting) in [("user", Some(user)), ("password", password)] {
            if let Some(setting) = setting
                && let Ok(doc) = value(Kind::Text, &setting.value.text)
            {
                converter.doc.set(&[&path[..], &[key]].concat(), doc, &from(label, setting));
            }
        }
    }
}

fn pairs_of(setting: &Setting, at: &From, converter: &Converter<'_>) -> Vec<Setting> {
    match pairs(&setting.value) {
        Ok(pairs) => pairs,
        Err(spot) => {
            let message = "not a connection string; expected key=value key='value'";
            converter.sink.error_at(spot.line, spot.column, &at.label, message);
            Vec::new()
        }
    }
}

fn refuse_twice<'a>(seen: &mut Vec<&'a str>, setting: &'a Setting, at: &From, converter: &Converter<'_>) {
    if seen.contains(&setting.key.text.as_str()) {
        converter.error_at_key(setting, at, format!("`{}` is here twice", setting.key.text));
    }
    seen.push(&setting.key.text);
}
