//! `clusters`, checked.

use std::time::Duration;

use crate::check::{Context, owned};
use crate::choices::SaidRole;
use crate::error::Place;
use crate::model::{Cluster, Keepalive, Node, NodeRole, ServerTls, TlsMode};
use crate::raw;
use crate::said::{Named, NamedEntry, Said};
use crate::scalar::word;
use crate::users::control;

/// `ClusterId` is a u16.
const MOST_CLUSTERS: usize = 1000;

pub(crate) fn clusters(raw: Option<&Named<raw::Cluster>>, fleet: u32, context: &Context<'_>) -> Vec<Cluster> {
    let entries = raw.map(|named| named.0.as_slice()).unwrap_or_default();
    if let Some(entry) = entries.get(MOST_CLUSTERS) {
        context.sink.error(entry.place, format!("too many clusters; expected at most {MOST_CLUSTERS}"));
    }
    entries.iter().map(|entry| cluster(entry, fleet, context)).collect()
}

fn cluster(entry: &NamedEntry<raw::Cluster>, fleet: u32, context: &Context<'_>) -> Cluster {
    let raw = entry.value.clone_or_default();
    if entry.name.is_empty() {
        context.sink.error(entry.place, "an empty name; expected a cluster's name");
    }
    let nodes: Vec<Node> = raw
        .nodes
        .get()
        .map(|named| named.0.iter().filter_map(|node| self::node(node, context)).collect())
        .unwrap_or_default();
    let said_none = raw.nodes.get().is_none_or(|named| named.0.is_empty());
    if said_none && entry.value.get().is_some() && (raw.nodes.get().is_some() || !raw.nodes.is_said()) {
        context
            .sink
            .error(entry.place, "has no `nodes`; expected at least one, such as {db1: {host: 10.0.0.1}}");
    }
    check_nodes(&raw, &nodes, context);
    Cluster {
        name: entry.name.clone(),
        region: owned(&raw.region),
        dbname: owned(&raw.dbname),
        control: control(&raw.control, context),
        tls: tls(&raw.tls, context),
        keepalive: keepalive(&raw.tcp_keepalive.clone_or_default(), TO_SERVERS),
        server_connections: budget(&raw, fleet, context),
        patroni: crate::patroni::patroni(&raw, context),
        nodes,
    }
}

fn budget(raw: &raw::Cluster, fleet: u32, context: &Context<'_>) -> Option<usize> {
    let (place, count) = raw.server_connections.with_place()?;
    let total = count.0?;
    let share = total / usize::try_from(fleet).unwrap_or(usize::MAX).max(1);
    if share == 0 {
        context
            .sink
            .error(place, format!("{total} over a fleet of {fleet} is none; expected at least {fleet}"));
    }
    Some(share.max(1))
}

fn node(entry: &NamedEntry<raw::Node>, context: &Context<'_>) -> Option<Node> {
    let raw = entry.value.get()?;
    if !raw.host.is_said() {
        context
            .sink
            .error(entry.place, "has no `host`; expected a name, an address, or the folder of a Unix socket");
    }
    if let Some((place, host)) = raw.host.with_place()
        && let Some(wrong) = wrong_host(&host.0)
    {
        context.sink.error(place, wrong);
    }
    Some(Node {
        name: entry.name.clone(),
        host: raw.host.get()?.0.clone(),
        port: raw.port.get().map_or(5432, |port| port.0),
        role: raw.role.get().and_then(|role| match role.0 {
            SaidRole::Auto => None,
            SaidRole::Primary => Some(NodeRole::Primary),
            SaidRole::Replica => Some(NodeRole::Replica),
        }),
        cores: raw.cores.get().map_or(context.cores, |cores| cores.0),
        zone: owned(&raw.zone),
        weight: raw.weight.get().and_then(|weight| u32::try_from(weight.0).ok()).unwrap_or(1),
    })
}

/// What is wrong with a host, if anything is.
pub(crate) fn wrong_host(host: &str) -> Option<&'static str> {
    if host.starts_with('/') || host.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    if host.contains([',', ' ', '/', '@']) {
        return Some("not a host; expected one name, one address, or the folder of a Unix socket");
    }
    if host.contains(':') {
        return Some("a host with a port; expected the host alone, and the port in `port`");
    }
    None
}

fn check_nodes(raw: &raw::Cluster, nodes: &[Node], context: &Context<'_>) {
    let place_of = |node: &Node| -> Option<Place> {
        raw.nodes.get()?.0.iter().find(|entry| entry.name == node.name).map(|entry| entry.place)
    };
    let mut primary: Option<&Node> = None;
    for (index, node) in nodes.iter().enumerate() {
        let Some(place) = place_of(node) else { continue };
        if let Some(twin) =
            nodes[..index].iter().find(|other| other.host == node.host && other.port == node.port)
        {
            let message = format!("the same host and port as `{}`; expected each server once", twin.name);
            context.sink.error(place, message);
        }
        if node.role == Some(NodeRole::Primary) {
            if let Some(first) = primary {
                let message = format!("`{}` is the primary already; expected one at most", first.name);
                context.sink.error(place, message);
            }
            primary = Some(node);
        }
    }
    if let (true, Some(place)) = (
        !nodes.is_empty() && nodes.iter().all(|node| node.role == Some(NodeRole::Replica)),
        raw.nodes.place(),
    ) {
        context.sink.warn(place, "all nodes are replicas, so nothing can be written");
    }
}

fn tls(said: &Said<raw::ServerTls>, context: &Context<'_>) -> ServerTls {
    let raw = said.clone_or_default();
    let mode = raw.mode.get().map_or(TlsMode::Prefer, |mode| mode.0);
    let ca = context.path(&raw.ca);
    if let (Some(place), true) = (raw.mode.place(), mode >= TlsMode::VerifyCa && !raw.ca.is_said()) {
        context
            .sink
            .error(place, format!("{} without `ca`; expected the authorities to verify with", word(mode)));
    }
    if let (Some(place), true) = (raw.ca.place(), ca.is_some() && mode < TlsMode::VerifyCa) {
        context.sink.warn(place, "is used only with mode verify-ca or verify-full");
    }
    ServerTls { mode, ca }
}

/// Connections to servers, and those of clients: one that takes its time to read is alive.
pub(crate) const TO_SERVERS: Keepalive = Keepalive {
    idle: Duration::from_secs(30),
    interval: Duration::from_secs(10),
    count: 3,
    user_timeout: Duration::from_secs(30),
};
pub(crate) const TO_CLIENTS: Keepalive =
    Keepalive { idle: Duration::from_secs(60), user_timeout: Duration::ZERO, ..TO_SERVERS };

pub(crate) fn keepalive(raw: &raw::Keepalive, default: Keepalive) -> Keepalive {
    let span = |said: &Said<crate::scalar::Span>, default| said.get().map_or(default, |span| span.0);
    Keepalive {
        idle: span(&raw.idle, default.idle),
        interval: span(&raw.interval, default.interval),
        count: raw.count.get().and_then(|count| u32::try_from(count.0).ok()).unwrap_or(default.count),
        user_timeout: raw.user_timeout.get().map_or(default.user_timeout, |wait| wait.0),
    }
}
