//! `instance`, `listen` and `log`, checked.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::check::{Context, owned};
use crate::choices::{LogFormat, LogLevel};
use crate::clusters::{TO_CLIENTS, keepalive};
use crate::model::{ExtraListener, Instance, Listen, ListenTls, Log, TlsMode};
use crate::raw;
use crate::scalar::word;

/// Where pgweir listens unless told otherwise.
pub(crate) const DEFAULT_TCP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6432);
/// How many shapes of statements a core remembers unless told otherwise.
pub(crate) const DEFAULT_SHAPES: usize = 10_000;
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9632);

pub(crate) fn instance(raw: &raw::Instance, context: &Context<'_>) -> Instance {
    let host =
        || (context.env)("HOSTNAME").filter(|name| !name.is_empty()).unwrap_or_else(|| "pgweir".into());
    Instance {
        name: raw.name.get().map_or_else(host, |name| name.0.clone()),
        region: owned(&raw.region),
        zone: owned(&raw.zone),
        fleet: raw.fleet.get().and_then(|fleet| u32::try_from(fleet.0).ok()).unwrap_or(1),
        workers: raw.workers.get().and_then(|workers| workers.0).unwrap_or(context.cores),
        shapes: raw.shapes.get().map_or(DEFAULT_SHAPES, |shapes| shapes.0),
    }
}

pub(crate) fn listen(raw: &raw::Listen, context: &Context<'_>) -> Listen {
    let tcp = match raw.tcp.with_place() {
        None => vec![DEFAULT_TCP],
        Some((place, addresses)) => {
            if addresses.0.is_empty() {
                context
                    .sink
                    .error(place, "an empty list; expected at least one address such as 127.0.0.1:6432");
            }
            addresses.values().map(|address| address.0).collect()
        }
    };
    let http = match raw.http.get() {
        None => Some(DEFAULT_HTTP),
        Some(address) => address.map(|address| address.0),
    };
    let extra = raw.extra.clone_or_default();
    let listen = Listen {
        tcp,
        unix_dir: if raw.unix_dir.is_said() {
            context.path(&raw.unix_dir)
        } else {
            Some(PathBuf::from("/tmp"))
        },
        http,
        tls: tls(raw, context),
        keepalive: keepalive(&raw.tcp_keepalive.clone_or_default(), TO_CLIENTS),
        extra: extra.iter().filter_map(|said| extra_listener(said, context)).collect(),
    };
    check_distinct(raw, &listen, context);
    listen
}

fn extra_listener(
    said: &crate::said::Said<raw::ExtraListener>,
    context: &Context<'_>,
) -> Option<ExtraListener> {
    let (place, raw) = said.with_place()?;
    context.refuse_later(&raw.proxy_protocol_from);
    if !raw.tcp.is_said() {
        context.sink.error(place, "has no `tcp`; expected an address and port such as 127.0.0.1:6433");
    }
    Some(ExtraListener { tcp: raw.tcp.get()?.0, role: raw.role.get().map(|role| role.0) })
}

fn tls(listen: &raw::Listen, context: &Context<'_>) -> ListenTls {
    let raw = listen.tls.clone_or_default();
    let (certificate, key, client_ca) =
        (context.path(&raw.certificate), context.path(&raw.key), context.path(&raw.client_ca));
    let complete = certificate.is_some() && key.is_some();
    let place = listen.tls.place();
    if certificate.is_some() != key.is_some()
        && let Some(place) = place
    {
        context.sink.error(place, "expected `certificate` and `key` together");
    }
    let mode = match raw.mode.with_place() {
        None if complete => TlsMode::Prefer,
        None => TlsMode::Disable,
        Some((place, mode)) => {
            if mode.0 != TlsMode::Disable && !complete {
                let message =
                    format!("{} without a certificate; expected `certificate` and `key`", word(mode.0));
                context.sink.error(place, message);
            }
            if mode.0 >= TlsMode::VerifyCa && client_ca.is_none() {
                let message =
                    format!("{} without `client_ca`; expected the authorities to verify with", word(mode.0));
                context.sink.error(place, message);
            }
            mode.0
        }
    };
    if let (Some(place), true) = (raw.client_ca.place(), client_ca.is_some() && mode < TlsMode::VerifyCa) {
        context.sink.warn(place, "is used only with mode verify-ca or verify-full");
    }
    ListenTls { mode, certificate, key, client_ca }
}

/// Two listeners on one address cannot both be had.
fn check_distinct(raw: &raw::Listen, listen: &Listen, context: &Context<'_>) {
    let mut seen: Vec<SocketAddr> = Vec::new();
    let tcp = raw.tcp.get().map(|many| many.0.as_slice()).unwrap_or_default();
    let said = tcp.iter().filter_map(|said| said.with_place().map(|(place, address)| (place, address.0)));
    let http = raw.http.with_place().and_then(|(place, address)| address.map(|address| (place, address.0)));
    let extras = raw.extra.clone_or_default();
    let extra = extras
        .iter()
        .filter_map(|said| said.get())
        .filter_map(|extra| extra.tcp.with_place().map(|(place, address)| (place, address.0)));
    if tcp.is_empty() {
        seen.extend(listen.tcp.first());
    }
    if http.is_none() && !raw.http.is_said() {
        seen.push(DEFAULT_HTTP);
    }
    for (place, address) in said.chain(http).chain(extra) {
        if seen.contains(&address) {
            context
                .sink
                .error(place, format!("{address} is listened on twice; expected another address or port"));
        }
        seen.push(address);
    }
}

pub(crate) fn log(raw: &raw::Log) -> Log {
    Log {
        json: raw.format.get().is_some_and(|format| format.0 == LogFormat::Json),
        level: word(raw.level.get().map_or(LogLevel::Info, |level| level.0)).to_owned(),
        slow_statement: raw.slow_statement.get().and_then(|span| span.map(|span| span.0)),
    }
}
