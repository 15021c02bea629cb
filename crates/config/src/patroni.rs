//! `clusters.*.discover`, checked.

use std::fmt;

use crate::check::Context;
use crate::error::Place;
use crate::raw;
use crate::said::Said;
use crate::scalar::Text;

/// Where Patroni's REST interface listens unless it is told otherwise.
const PORT: u16 = 8008;

/// Where a Patroni is asked who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatroniAddress {
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for PatroniAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

pub(crate) fn patroni(raw: &raw::Cluster, context: &Context<'_>) -> Vec<PatroniAddress> {
    let Some(discover) = raw.discover.get().and_then(Option::as_ref) else { return Vec::new() };
    let mut addresses = Vec::new();
    for entry in &discover.0 {
        if entry.name != "patroni" {
            context.sink.error(entry.place, "not a source of roles; expected patroni");
            continue;
        }
        let urls = entry.value.get().map(|many| many.0.as_slice()).unwrap_or_default();
        addresses.extend(urls.iter().filter_map(|said| address(said, context)));
        if urls.is_empty() && entry.value.get().is_some() {
            context.sink.error(entry.place, "an empty list; expected http://host:port of each Patroni");
        }
    }
    addresses
}

fn address(said: &Said<Text>, context: &Context<'_>) -> Option<PatroniAddress> {
    let (place, url) = said.with_place()?;
    let found = parse(&url.0);
    if found.is_none() {
        wrong(place, context);
    }
    found
}

fn wrong(place: Place, context: &Context<'_>) {
    context.sink.error(place, "not an address of Patroni; expected http://host:port, without a path");
}

fn parse(url: &str) -> Option<PatroniAddress> {
    let rest = url.strip_prefix("http://")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '@', '?', '#', ' ']) {
        return None;
    }
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(PORT), |port| port.parse().ok().filter(|port| *port > 0))?;
    (!host.is_empty()).then(|| PatroniAddress { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_perhaps_a_port() {
        let parsed = |url| parse(url).map(|address| address.to_string());
        assert_eq!(parsed("http://10.0.0.1:8009"), Some("10.0.0.1:8009".to_owned()));
        assert_eq!(parsed("http://patroni/"), Some("patroni:8008".to_owned()));
        assert_eq!(parsed("http://[::1]:8008"), Some("[::1]:8008".to_owned()));
        for wrong in ["https://10.0.0.1:8008", "10.0.0.1:8008", "http://", "http://a:0", "http://a/cluster"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
