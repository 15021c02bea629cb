//! `databases`, checked; a URL makes a cluster and a user as well.

use crate::check::{Context, owned};
use crate::clusters::{TO_SERVERS, keepalive};
use crate::error::Place;
use crate::model::{
    Cluster, ClusterId, Config, Control, Database, Node, Placement, ServerTls, StoredPassword, TlsMode,
};
use crate::said::Short;
use crate::{pool, raw, sharding, url, users};

/// The console's names.
pub(crate) const CONSOLE: [&str; 2] = ["pgweir", "pgbouncer"];

/// Fills `config.databases`, and adds what URLs say to its clusters and users.
pub(crate) fn databases(raw: &raw::File, config: &mut Config, context: &Context<'_>) {
    let entries = raw.databases.get().map(|named| named.0.as_slice()).unwrap_or_default();
    if entries.is_empty() && (raw.databases.get().is_some() || !raw.databases.is_said()) {
        let message = "has no databases; expected one at least, such as app: \"postgres://app@host/app\"";
        match raw.databases.place() {
            Some(place) => context.sink.error(place, message),
            None => context.sink.error_of_whole("databases", message),
        }
    }
    let mut urls = Vec::new();
    for entry in entries {
        if entry.name.is_empty() {
            context.sink.error(entry.place, "an empty name; expected a database's name, or \"*\"");
        }
        if CONSOLE.contains(&entry.name.as_str()) {
            context.sink.error(entry.place, "this name is the console's; expected another");
        }
        let database = match (entry.value.get(), entry.value.place()) {
            (Some(Short::Short(url)), Some(place)) => {
                from_url(&entry.name, &url.0.0, place, &mut urls, config, context)
            }
            (Some(Short::Long(raw)), _) => from_mapping(&entry.name, entry.place, raw, config, context),
            _ => None,
        };
        config.databases.extend(database);
    }
    warn_of_unprobed(raw, config, context);
}

/// A server is probed with a password that pgweir itself knows; a client's secret cannot stand in for it.
fn warn_of_unprobed(raw: &raw::File, config: &Config, context: &Context<'_>) {
    let is_plain = |stored: &StoredPassword| matches!(stored, StoredPassword::Plain(_));
    if config.users.values().any(|user| user.server_password.is_some() || user.passwords.iter().any(is_plain))
    {
        return;
    }
    let entries = raw.clusters.get().map(|named| named.0.as_slice()).unwrap_or_default();
    for (entry, cluster) in entries.iter().zip(&config.clusters) {
        if cluster.control.is_none() {
            context.sink.warn(
                entry.place,
                "has no `control`, and no user has a password that it could be probed with",
            );
        }
    }
}

fn from_mapping(
    name: &str,
    place: Place,
    raw: &raw::Database,
    config: &Config,
    context: &Context<'_>,
) -> Option<Database> {
    context.refuse_later_unless_null(&raw.coordinator);
    context.warn_no_effect(&raw.max_pools);
    context.warn_no_effect(&raw.two_phase);
    // Made before the placement, so that its errors are told too.
    let pool = pool::pool_overrides(&raw.pool.clone_or_default(), context);
    let route = pool::route_overrides(&raw.route.clone_or_default());
    let server = users::server_login(&raw.server, context);
    let placement = placement(name, place, raw, config, context)?;
    Some(Database { name: name.to_owned(), placement, server, pool, route })
}

fn placement(
    name: &str,
    place: Place,
    raw: &raw::Database,
    config: &Config,
    context: &Context<'_>,
) -> Option<Placement> {
    if raw.shards.is_said() || raw.sharding.is_said() {
        if name == "*" {
            context.sink.error(place, "`*` has shards; expected a cluster");
        }
        if let Some(at) = raw.cluster.place() {
            context.sink.error(at, "`shards` or `sharding` is there too; expected a cluster, or shards");
        }
        if let Some(at) = raw.dbname.place() {
            context.sink.error(at, "a sharded database has a `dbname` for each shard; expected it there");
        }
        return sharding::sharding(place, raw, &config.clusters, context).map(Placement::Sharded);
    }
    if !raw.cluster.is_said() {
        context.sink.error(place, "has no `cluster`; expected the name of one, or `shards`, or a URL");
    }
    let cluster = context.cluster_id(&raw.cluster, &config.clusters)?;
    Some(Placement::Single { cluster, dbname: owned(&raw.dbname).or_else(|| dbname_of(cluster, config)) })
}

fn dbname_of(cluster: ClusterId, config: &Config) -> Option<String> {
    config.clusters.get(usize::from(cluster.0)).and_then(|cluster| cluster.dbname.clone())
}

/// A database that is a URL: a cluster of its own name, whose user may log in and probes.
fn from_url(
    name: &str,
    url: &str,
    place: Place,
    urls: &mut Vec<String>,
    config: &mut Config,
    context: &Context<'_>,
) -> Option<Database> {
    let target = match url::parse(url) {
        Ok(target) => target,
        Err(message) => {
            context.sink.error(place, message);
            return None;
        }
    };
    for parameter in &target.ignored {
        context.sink.warn(place, format!("the URL's parameter `{parameter}` has no effect"));
    }
    if config.clusters.iter().any(|cluster| cluster.name == name) {
        let message =
            "a cluster of this name exists, and a URL makes its own; expected a mapping, or another name";
        context.sink.error(place, message);
        return None;
    }
    if name == "*" && target.dbname.is_some() {
        context
            .sink
            .error(place, "the URL of `*` names a database; expected a URL without one: any name is kept");
    }
    let cluster = ClusterId(u16::try_from(config.clusters.len()).ok()?);
    config.clusters.push(cluster_of(name, &target, place, context));
    add_user(&target, place, urls, config, context);
    Some(Database {
        name: name.to_owned(),
        placement: Placement::Single { cluster, dbname: target.dbname },
        server: None,
        pool: Default::default(),
        route: Default::default(),
    })
}

fn cluster_of(name: &str, target: &url::Target, place: Place, context: &Context<'_>) -> Cluster {
    let mode = target.sslmode.unwrap_or(TlsMode::Prefer);
    if mode >= TlsMode::VerifyCa && target.sslrootcert.is_none() {
        context
            .sink
            .error(place, "a verifying sslmode without sslrootcert; expected sslrootcert=FILE in the URL");
    }
    let mut nodes: Vec<Node> = Vec::new();
    for (host, port) in &target.hosts {
        if nodes.iter().any(|node| node.host == *host && node.port == *port) {
            context.sink.error(place, "the URL names a host and port twice; expected each server once");
        }
        let alone = target.hosts.iter().filter(|(other, _)| other == host).count() == 1;
        nodes.push(Node {
            name: if alone { host.clone() } else { format!("{host}:{port}") },
            host: host.clone(),
            port: *port,
            role: None,
            cores: context.cores,
            zone: None,
            weight: 1,
        });
    }
    Cluster {
        name: name.to_owned(),
        region: None,
        dbname: target.dbname.clone(),
        control: target.user.clone().map(|user| Control { user, password: target.password.clone() }),
        tls: ServerTls { mode, ca: target.sslrootcert.as_deref().map(|path| context.resolve(path)) },
        keepalive: keepalive(&raw::Keepalive::default(), TO_SERVERS),
        server_connections: None,
        patroni: Vec::new(),
        nodes,
    }
}

/// The URL's user may log in with the URL's password, and has it on the servers.
fn add_user(
    target: &url::Target,
    place: Place,
    urls: &mut Vec<String>,
    config: &mut Config,
    context: &Context<'_>,
) {
    let Some(name) = &target.user else { return };
    let user = config.users.entry(name.clone()).or_insert_with(|| users::empty(name));
    let Some(password) = &target.password else { return };
    if urls.contains(name) && user.server_password.as_ref() != Some(password) {
        let message =
            format!("user `{name}` has another password in another URL; expected one password for a user");
        context.sink.error(place, message);
    }
    urls.push(name.clone());
    if user.passwords.is_empty() {
        user.passwords.push(StoredPassword::Plain(password.clone()));
    }
    user.server_password.get_or_insert_with(|| password.clone());
}
