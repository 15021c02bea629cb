//! SHOW NODES: the servers, what is known of them, and their budgets.

use route::view::Proximity;

use super::role;
use crate::snapshot::Snapshot;
use crate::value::{Column, Row, int4, text};

pub(crate) const NODES: &[Column] = &[
    text("cluster"),
    text("node"),
    text("host"),
    int4("port"),
    text("region"),
    text("zone"),
    text("proximity"),
    text("role"),
    text("state"),
    text("why"),
    int4("weight"),
    int4("budget"),
    int4("open"),
];

pub(crate) fn nodes(snapshot: &Snapshot) -> Vec<Row> {
    let mut rows = Vec::new();
    for cluster in snapshot.directory.clusters() {
        let view = cluster.view();
        for ((node, config), seen) in cluster.nodes.iter().zip(&cluster.config.nodes).zip(view.nodes()) {
            rows.push(vec![
                cluster.config.name.clone().into(),
                node.name.clone().into(),
                config.host.clone().into(),
                u64::from(config.port).into(),
                cluster.config.region.clone().into(),
                config.zone.clone().into(),
                proximity(seen.proximity).into(),
                role(seen.role).into(),
                if seen.up { "up" } else { "down" }.into(),
                seen.why_down.clone().into(),
                u64::from(seen.weight).into(),
                node.budget.limit.into(),
                node.budget.open().into(),
            ]);
        }
    }
    rows
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
    use route::view::NodeIndex;

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
    }
}
