//! SHOW NODES: the servers, what is known of them, and their budgets.
//!
//! `lag_bytes` and `lag_ms` are a replica's distance from its primary when both were last asked. `share` is how much of its
//! share of reads a node takes, in percent: less than 100 while it starts slowly. `reads` are the queries it answered
//! that were sent as reads.

use route::Standing;
use route::view::{FULL_EASE, NodeView, Proximity};

use super::role;
use crate::snapshot::Snapshot;
use crate::value::{Column, Row, Value, int4, int8, numeric, text};

pub(crate) const NODES: &[Column] = &[
    text("cluster"),
    text("node"),
    text("host"),
    int4("port"),
    text("region"),
    text("zone"),
    text("proximity"),
    text("role"),
    int8("timeline"),
    text("state"),
    text("why"),
    int8("lag_bytes"),
    int8("lag_ms"),
    int4("weight"),
    int4("share"),
    numeric("reads"),
    int4("budget"),
    int4("open"),
];

pub(crate) fn nodes(snapshot: &Snapshot) -> Vec<Row> {
    let mut rows = Vec::new();
    for cluster in snapshot.directory.clusters() {
        let view = cluster.view();
        let reads = snapshot.reads_by_node(&cluster.config.name);
        for ((node, config), seen) in cluster.nodes.iter().zip(&cluster.config.nodes).zip(view.nodes()) {
            // Of one that doesn't answer only the past is known.
            let lag = seen.lag.filter(|_| seen.up);
            rows.push(vec![
                cluster.config.name.clone().into(),
                node.name.clone().into(),
                config.host.clone().into(),
                u64::from(config.port).into(),
                cluster.config.region.clone().into(),
                config.zone.clone().into(),
                proximity(seen.proximity).into(),
                role(seen.role).into(),
                or_null(seen.identity.map(|identity| identity.timeline.into())),
                state(seen, view.standing(node.id.node)).into(),
                why(seen, view.standing(node.id.node))
                    .or_else(|| cluster.positions.why_untold(node.id.node).map(|why| why.to_string()))
                    .into(),
                or_null(lag.map(|lag| lag.bytes)),
                or_null(lag.map(|lag| u64::try_from(lag.time.as_millis()).unwrap_or(u64::MAX))),
                u64::from(seen.weight).into(),
                percent(seen).into(),
                reads.get(node.name.as_str()).copied().unwrap_or(0).into(),
                node.budget.limit.into(),
                node.budget.open().into(),
            ]);
        }
    }
    rows
}

/// up; down: probes fail; out: probes succeed and traffic found it sick; refused: it was replaced as the primary, or is
/// another cluster's; doubted: a primary that was lost and is confirmed by asking all the others.
const fn state(node: &NodeView, standing: Standing) -> &'static str {
    match (node.up, standing, &node.out) {
        (false, ..) => "down",
        (true, Standing::Forked { .. } | Standing::Foreign { .. }, _) => "refused",
        (true, Standing::Member, Some(_)) => "out",
        (true, Standing::Member, None) if node.doubted => "doubted",
        (true, Standing::Member, None) => "up",
    }
}

fn why(node: &NodeView, standing: Standing) -> Option<String> {
    if node.up { standing.why_refused().or_else(|| node.out.clone()) } else { node.why_down.clone() }
}

/// How much of its share of reads it takes.
pub(crate) fn percent(node: &NodeView) -> u64 {
    let reads = node.up && node.out.is_none();
    if reads { u64::from(node.ease) * 100 / u64::from(FULL_EASE) } else { 0 }
}

fn or_null(number: Option<u64>) -> Value {
    number.map_or(Value::Null, Value::Number)
}

const fn proximity(proximity: Proximity) -> &'static str {
    match proximity {
        Proximity::Zone => "zone",
        Proximity::Region => "region",
        Proximity::Far => "far",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::testing::{named, snapshot};
    use std::time::Duration;

    use backend::{PoolName, StatsSum};
    use route::Identity;
    use route::view::{Lag, NodeIndex};

    #[test]
    fn a_node_that_is_down_says_why() {
        let snapshot = snapshot();
        snapshot.directory.clusters()[0].update(NodeIndex(1), |node| {
            (node.up, node.why_down) = (false, Some("connection refused".to_owned()));
        });
        let rows = nodes(&snapshot);
        let (first, second) = (named(NODES, &rows[0]), named(NODES, &rows[1]));
        assert_eq!(
            (first("node"), first("role"), first("state"), first("why")),
            ("us-1", "primary", "up", "NULL")
        );
        assert_eq!((second("state"), second("why"), second("zone")), ("down", "connection refused", "b"));
        assert_eq!((first("region"), first("budget"), first("port")), ("us-east", "20", "5432"));
        assert_eq!((first("lag_bytes"), first("timeline"), first("share")), ("NULL", "NULL", "100"));
    }

    #[test]
    fn lag_part_of_the_share_and_reads_are_told() {
        let mut snapshot = snapshot();
        let lag = Lag { bytes: 4096, time: Duration::from_micros(1_999_999) };
        snapshot.directory.clusters()[0].update(NodeIndex(1), |node| {
            (node.lag, node.ease) = (Some(lag), 235);
            node.identity = Some(Identity { system: 1, timeline: 27, started: 0 });
        });
        for (user, node, reads) in [("app", "us-2", 3), ("eve", "us-2", 4), ("app", "us-1", 5)] {
            let pool = PoolName {
                database: "app".into(),
                user: user.into(),
                cluster: "us".to_owned(),
                node: node.to_owned(),
            };
            snapshot.counters.insert(pool, StatsSum { reads, ..StatsSum::default() });
        }
        let row = |snapshot: &_| nodes(snapshot).remove(1);
        let second = row(&snapshot);
        let second = named(NODES, &second);
        assert_eq!((second("lag_bytes"), second("lag_ms")), ("4096", "1999"));
        assert_eq!((second("share"), second("reads"), second("timeline")), ("23", "7", "27"));
        snapshot.directory.clusters()[0].update(NodeIndex(1), |node| node.out = Some("slow".to_owned()));
        let out = row(&snapshot);
        let out = named(NODES, &out);
        assert_eq!((out("state"), out("why"), out("share")), ("out", "slow", "0"));
        snapshot.directory.clusters()[0].update(NodeIndex(1), |node| node.up = false);
        let down = row(&snapshot);
        let down = named(NODES, &down);
        assert_eq!((down("state"), down("why"), down("lag_ms")), ("down", "NULL", "NULL"));
    }
}
