//! How nodes that return come back to their share of reads: evenly over `health.slow_start`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use route::view::{ClusterView, FULL_EASE, NodeIndex};

use crate::cluster::Cluster;

/// Between steps at least, and at most.
const STEPS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Raises the parts of nodes that start slowly, for as long as it is polled. `whole`: how long it takes in all.
pub(super) async fn keep(cluster: Arc<Cluster>, whole: Duration) {
    cluster.slow_start.store(!whole.is_zero(), Ordering::Relaxed);
    let mut changes = cluster.changes();
    loop {
        changes.mark_unchanged();
        let since = Instant::now();
        if easing(&cluster.view()).is_empty() {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        tokio::time::sleep((whole / 20).clamp(STEPS.0, STEPS.1).min(whole)).await;
        let gained = gain(since.elapsed(), whole);
        for node in easing(&cluster.view()) {
            cluster.measure(node, |view| view.ease = view.ease.saturating_add(gained).min(FULL_EASE));
        }
    }
}

fn easing(view: &ClusterView) -> Vec<NodeIndex> {
    let nodes = (0u16..).map(NodeIndex).zip(view.nodes());
    nodes.filter(|(_, node)| node.up && node.ease < FULL_EASE).map(|(node, _)| node).collect()
}

/// What is gained in so much of the whole time.
fn gain(elapsed: Duration, whole: Duration) -> u16 {
    let gained = (elapsed.as_nanos() * u128::from(FULL_EASE)).checked_div(whole.as_nanos());
    gained.and_then(|gained| u16::try_from(gained).ok()).unwrap_or(FULL_EASE).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_rise_evenly() {
        let s = Duration::from_secs(1);
        assert_eq!((gain(s, 30 * s), gain(15 * s, 30 * s), gain(90 * s, 30 * s)), (33, 500, 3000));
        assert_eq!((gain(s, Duration::ZERO), gain(Duration::ZERO, s)), (FULL_EASE, 1));
    }
}
