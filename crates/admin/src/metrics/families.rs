//! The families: what is measured, in seconds and bytes, and by which labels.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backend::StatsSum;
use route::{TargetRole, Why};
use session::Stop;

use super::{Family, Labels, Samples};
use crate::show::nodes::percent;
use crate::show::role;
use crate::snapshot::{ClientCounts, PoolName, PoolState, Snapshot};

/// All families of a scrape.
pub(super) fn all(snapshot: &Snapshot) -> Vec<Family> {
    let mut families = process(snapshot);
    families.extend(clients(snapshot));
    families.extend(pools(snapshot));
    families.extend(pins(snapshot));
    families.push(routed(snapshot));
    families.extend(counters(snapshot));
    families.extend(nodes(snapshot));
    families.extend(listeners(snapshot));
    families.extend(positions(snapshot));
    families.extend(cores(snapshot));
    families
}

fn process(snapshot: &Snapshot) -> Vec<Family> {
    let limits = &snapshot.directory.config.limits;
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    vec![
        gauge("build_info", "Always 1; the version is a label", vec![(version, 1.0)]),
        single("uptime_seconds", "For how long this process has served", seconds(snapshot.uptime)),
        single("stopping", "1 once no new clients are taken", flag(snapshot.stop > Stop::No)),
        single(
            "clients_connected",
            "Clients that are logged in, those at the console too",
            count(snapshot.seated),
        ),
        single(
            "clients_logging_in",
            "Clients that have not proved yet who they are",
            count(snapshot.logging_in),
        ),
        single("clients_max", "limits.max_client_conn", count(limits.max_client_conn)),
    ]
}

fn clients(snapshot: &Snapshot) -> Vec<Family> {
    let mut states = Vec::new();
    let mut waits = Vec::new();
    for ((database, user), counts) in &snapshot.clients {
        let labels = vec![("database", database.to_string()), ("user", user.to_string())];
        let ClientCounts { idle, active, idle_in_transaction, waiting, longest_wait } = *counts;
        let by_state = [
            ("idle", idle),
            ("active", active),
            ("idle_in_transaction", idle_in_transaction),
            ("waiting", waiting),
        ];
        for (state, clients) in by_state {
            states.push((with(&labels, "state", state), count(clients)));
        }
        waits.push((labels, seconds(longest_wait)));
    }
    vec![
        gauge("clients", "Clients by what they do", states),
        gauge("client_wait_longest_seconds", "How long the first of those that wait has waited", waits),
    ]
}

fn pools(snapshot: &Snapshot) -> Vec<Family> {
    let mut states = Vec::new();
    let labelled: Vec<(Labels, &PoolState)> = snapshot
        .pools
        .iter()
        .filter(|pool| !pool.shared.is_retired())
        .map(|pool| (pool_labels(&PoolName::of(&pool.shared)), pool))
        .collect();
    for (labels, pool) in &labelled {
        let by_state = [
            ("idle", pool.idle),
            ("active", pool.leased - pool.cleaned()),
            ("reset", pool.cleaned()),
            ("login", pool.opening),
        ];
        for (state, servers) in by_state {
            states.push((with(labels, "state", state), count(servers)));
        }
    }
    let of = |value: fn(&PoolState) -> f64| {
        labelled.iter().map(|(labels, pool)| (labels.clone(), value(pool))).collect()
    };
    vec![
        gauge("servers", "Server connections by what they do", states),
        gauge("pool_size", "Server connections that a pool may have", of(|pool| count(pool.shared.size))),
        gauge("pool_open", "Server connections open or being opened", of(|pool| count(pool.shared.open()))),
        gauge(
            "pool_pinned",
            "Sessions that are pinned to a connection",
            of(|pool| count(pool.shared.pinned())),
        ),
        gauge("pool_waiting", "Clients in the queue for a connection", of(|pool| count(pool.waiting))),
        gauge(
            "pool_wait_longest_seconds",
            "How long the first in the queue has waited",
            of(|pool| seconds(pool.longest_wait)),
        ),
        gauge("pool_cancels", "Cancel requests under way to servers", of(|pool| count(pool.cancels))),
    ]
}

fn pins(snapshot: &Snapshot) -> Vec<Family> {
    let now = snapshot.pinned.iter().map(|((database, user, reason), sessions)| {
        let labels = vec![("database", database.to_string()), ("user", user.to_string())];
        (with(&labels, "reason", reason), count(*sessions))
    });
    let of = |value: fn(&(u64, u64)) -> u64| {
        let sample = |(reason, counts): (&&'static str, &(u64, u64))| {
            (vec![("reason", (*reason).to_owned())], number(value(counts)))
        };
        snapshot.pins.iter().map(sample).collect()
    };
    vec![
        gauge("pinned", "Sessions that are pinned to a connection, by what pins them", now.collect()),
        counter("pins", "How often a session was pinned", of(|counts| counts.0)),
        counter("pinned_transactions", "Transactions of pinned sessions", of(|counts| counts.1)),
    ]
}

fn routed(snapshot: &Snapshot) -> Family {
    let sample = |((role, why), statements): (&(TargetRole, Why), &u64)| {
        let labels = vec![
            ("role", crate::show::routes::name(*role).to_owned()),
            ("reason", why.as_label().to_owned()),
        ];
        (labels, number(*statements))
    };
    let samples = snapshot.routed.iter().map(sample).collect();
    counter("routed", "Statements by the role that they went to, and why", samples)
}

/// Name, help, and the number.
type CounterRow = (&'static str, &'static str, fn(&StatsSum) -> f64);

const COUNTERS: &[CounterRow] = &[
    ("transactions", "Transactions", |sum| number(sum.transactions)),
    ("queries", "Queries", |sum| number(sum.queries)),
    ("reads", "Queries that were sent as reads", |sum| number(sum.reads)),
    ("received_bytes", "Bytes from clients", |sum| number(sum.received)),
    ("sent_bytes", "Bytes to clients", |sum| number(sum.sent)),
    ("transaction_seconds", "Time in transactions", |sum| micros(sum.transaction_time)),
    ("query_seconds", "Time in queries", |sum| micros(sum.query_time)),
    ("wait_seconds", "Time that clients have waited for a connection", |sum| micros(sum.wait_time)),
    ("servers_opened", "Server connections that were opened", |sum| number(sum.opened)),
    ("servers_lost", "Server connections found dead, or closed because of what was left on them", |sum| {
        number(sum.lost)
    }),
    ("servers_lent", "Server connections lent to another core", |sum| number(sum.lent)),
];

fn counters(snapshot: &Snapshot) -> Vec<Family> {
    let family = |(name, help, value): &CounterRow| {
        let samples = snapshot.counters.iter().map(|(pool, sum)| (pool_labels(pool), value(sum))).collect();
        counter(name, help, samples)
    };
    COUNTERS.iter().map(family).collect()
}

fn nodes(snapshot: &Snapshot) -> Vec<Family> {
    let (mut up, mut roles, mut budgets, mut open) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut lag_bytes, mut lag_time, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for cluster in snapshot.directory.clusters() {
        for (node, seen) in cluster.nodes.iter().zip(cluster.view().nodes()) {
            let labels = vec![("cluster", cluster.config.name.clone()), ("node", node.name.clone())];
            roles.push((with(&labels, "role", role(seen.role)), 1.0));
            up.push((labels.clone(), flag(seen.up)));
            shares.push((labels.clone(), number(percent(seen)) / 100.0));
            if let Some(lag) = seen.lag.filter(|_| seen.up) {
                lag_bytes.push((labels.clone(), number(lag.bytes)));
                lag_time.push((labels.clone(), seconds(lag.time)));
            }
            budgets.push((labels.clone(), count(node.budget.limit)));
            open.push((labels, count(node.budget.open())));
        }
    }
    vec![
        gauge("node_up", "1 if the node answers its probes", up),
        gauge("node_role", "Always 1; the role is a label", roles),
        gauge("node_share", "How much of its share of reads the node takes; 0: it is down or out", shares),
        gauge(
            "node_lag_bytes",
            "WAL that the primary has flushed and the replica has not replayed",
            lag_bytes,
        ),
        gauge("node_lag_seconds", "How long ago the primary was where the replica is", lag_time),
        gauge("node_budget", "Server connections that all pools together may have", budgets),
        gauge("node_open", "Server connections open or being opened over all pools", open),
    ]
}

fn positions(snapshot: &Snapshot) -> Vec<Family> {
    let (mut ages, mut rounds, mut waits, mut diverted) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for cluster in snapshot.directory.clusters().iter().filter(|cluster| cluster.nodes.len() > 1) {
        let (labels, positions) = (vec![("cluster", cluster.config.name.clone())], &cluster.positions);
        if let Some(age) = positions.age() {
            ages.push((labels.clone(), seconds(age)));
        }
        rounds.push((labels.clone(), number(positions.next_round() - 1)));
        waits.push((labels.clone(), number(positions.counts.waits.load(Ordering::Relaxed))));
        diverted.push((labels, number(positions.counts.diverted.load(Ordering::Relaxed))));
    }
    vec![
        gauge(
            "round_age_seconds",
            "Since positions were last sampled; while no read needs it they aren't",
            ages,
        ),
        counter("rounds", "Rounds in which positions were sampled", rounds),
        counter("replica_waits", "Reads that waited for a replica to catch up", waits),
        counter(
            "reads_diverted",
            "Reads that went to the primary because no replica had caught up",
            diverted,
        ),
    ]
}

fn listeners(snapshot: &Snapshot) -> Vec<Family> {
    let (mut up, mut channels, mut sessions, mut delivered) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for cluster in snapshot.directory.clusters() {
        for hub in cluster.listeners.hubs() {
            let labels = vec![
                ("cluster", hub.cluster.clone()),
                ("database", hub.database.to_string()),
                ("encoding", hub.encoding.to_string()),
            ];
            let connected = hub.at.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            up.push((labels.clone(), flag(connected)));
            channels.push((labels.clone(), count(hub.channels.load(Ordering::Relaxed))));
            sessions.push((labels, count(hub.sessions.load(Ordering::Relaxed))));
        }
        let labels = vec![("cluster", cluster.config.name.clone())];
        delivered.push((labels, number(cluster.listeners.delivered())));
    }
    vec![
        gauge("listening_up", "1 if the connection that listens for sessions is open", up),
        gauge("listening_channels", "Channels that sessions listen to", channels),
        gauge("listening_sessions", "Sessions that listen", sessions),
        counter("notifications", "Notifications handed to sessions that listen", delivered),
    ]
}

fn cores(snapshot: &Snapshot) -> Vec<Family> {
    let cores: Vec<_> =
        snapshot.cores.iter().enumerate().map(|(index, core)| (index.to_string(), *core)).collect();
    let label = |core: &String| vec![("core", core.clone())];
    let of = |value: fn(&crate::snapshot::CoreState) -> f64| {
        cores.iter().filter_map(|(index, core)| core.map(|core| (label(index), value(&core)))).collect()
    };
    let up = cores.iter().map(|(index, core)| (label(index), flag(core.is_some()))).collect();
    vec![
        gauge("core_up", "1 if the core answered within a second", up),
        gauge("core_clients", "Clients on the core", of(|core| count(core.clients))),
        gauge("shapes", "Statement shapes that the core knows", of(|core| count(core.shapes))),
        counter("shape_hits", "Statements whose shape was known", of(|core| number(core.shape_hits))),
        counter("shape_misses", "Statements whose shape was new", of(|core| number(core.shape_misses))),
        counter(
            "core_allocated_bytes",
            "Memory that the core has asked for",
            of(|core| number(core.allocated)),
        ),
    ]
}

fn pool_labels(name: &PoolName) -> Labels {
    vec![
        ("database", name.database.to_string()),
        ("user", name.user.to_string()),
        ("cluster", name.cluster.clone()),
        ("node", name.node.clone()),
    ]
}

fn with(labels: &Labels, name: &'static str, value: &'static str) -> Labels {
    let mut labels = labels.clone();
    labels.push((name, value.to_owned()));
    labels
}

fn gauge(name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) -> Family {
    Family { name, help, samples: Samples::Gauges(samples) }
}

fn counter(name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) -> Family {
    Family { name, help, samples: Samples::Counters(samples) }
}

fn single(name: &'static str, help: &'static str, value: f64) -> Family {
    gauge(name, help, vec![(Labels::new(), value)])
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn micros(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

fn flag(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

fn count(count: usize) -> f64 {
    number(u64::try_from(count).unwrap_or(u64::MAX))
}

/// Prometheus keeps every number as a float of 53 bits: exact up to 9 × 10^15.
#[expect(clippy::cast_precision_loss, reason = "as Prometheus itself does")]
fn number(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::render;
    use crate::show::testing::{counts, pool, snapshot};
    use crate::snapshot::CoreState;

    fn text() -> String {
        let mut snapshot = snapshot();
        let mut state = pool(&snapshot, "app", "app", 1);
        (state.idle, state.leased, state.held) = (2, 5, 4);
        let name = PoolName::of(&state.shared);
        snapshot.pools.push(state);
        let sum = StatsSum { transactions: 12, wait_time: 1_500_000, lost: 3, ..StatsSum::default() };
        snapshot.counters.insert(name, sum);
        snapshot.clients.insert(("app\"1".into(), "app".into()), counts(3, 1, 0));
        snapshot.cores = vec![
            Some(CoreState { clients: 4, shapes: 9, shape_hits: 8, shape_misses: 7, allocated: 6 }),
            None,
        ];
        render(&snapshot).unwrap()
    }

    #[test]
    fn a_scrape_has_what_a_dashboard_needs() {
        let text = text();
        let pool = "database=\"app\",user=\"app\",cluster=\"us\",node=\"us-2\"";
        for line in [
            "pgweir_clients{database=\"app\\\"1\",user=\"app\",state=\"idle\"} 3.0",
            &format!("pgweir_servers{{{pool},state=\"idle\"}} 2.0"),
            &format!("pgweir_servers{{{pool},state=\"active\"}} 4.0"),
            &format!("pgweir_servers{{{pool},state=\"reset\"}} 1.0"),
            &format!("pgweir_transactions_total{{{pool}}} 12.0"),
            &format!("pgweir_wait_seconds_total{{{pool}}} 1.5"),
            &format!("pgweir_servers_lost_total{{{pool}}} 3.0"),
            "pgweir_node_up{cluster=\"us\",node=\"us-1\"} 1.0",
            "pgweir_node_role{cluster=\"us\",node=\"us-1\",role=\"primary\"} 1.0",
            "pgweir_core_up{core=\"1\"} 0.0",
            "pgweir_shape_misses_total{core=\"0\"} 7.0",
            "pgweir_core_allocated_bytes_total{core=\"0\"} 6.0",
            "pgweir_stopping 0.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn every_family_is_named_once_and_every_series_too() {
        let text = text();
        let types: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let series: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.rsplit_once(' ').unwrap().0)
            .collect();
        for lines in [types, series] {
            let mut once = lines.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), lines.len());
        }
    }
}
