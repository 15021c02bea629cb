//! SHOW POSITIONS: the rounds in which positions are sampled, and what became of reads that needed one.
//!
//! `position` is the primary's in the last round of which it is known. `waits` are the reads that waited for a replica to
//! catch up, `diverted` those that went to the primary because none had. `untold` are the nodes that don't tell their
//! position: time must do for those, or for all if the primary is one of them.

use std::sync::atomic::Ordering;

use crate::snapshot::Snapshot;
use crate::value::{Column, Row, int8, numeric, text};

pub(crate) const POSITIONS: &[Column] = &[
    text("cluster"),
    int8("rounds"),
    int8("age_ms"),
    text("position"),
    numeric("waits"),
    numeric("diverted"),
    text("untold"),
];

/// A row for each cluster that has replicas.
pub(crate) fn positions(snapshot: &Snapshot) -> Vec<Row> {
    let clusters = snapshot.directory.clusters().iter().filter(|cluster| cluster.nodes.len() > 1);
    let row = |cluster: &std::sync::Arc<backend::Cluster>| {
        let positions = &cluster.positions;
        let untold = cluster.nodes.iter().filter(|node| positions.why_untold(node.id.node).is_some());
        let untold: Vec<&str> = untold.map(|node| node.name.as_str()).collect();
        let age = positions.age().map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        vec![
            cluster.config.name.clone().into(),
            (positions.next_round() - 1).into(),
            age.into(),
            positions.latest().map(|(_, token)| token.to_string()).into(),
            positions.counts.waits.load(Ordering::Relaxed).into(),
            positions.counts.diverted.load(Ordering::Relaxed).into(),
            (!untold.is_empty()).then(|| untold.join(" ")).into(),
        ]
    };
    clusters.map(row).collect()
}
