//! Says in the log what the nodes of a cluster come to together: who is the primary, and who is refused and why.

use std::sync::Arc;

use route::view::NodeIndex;
use route::{NoNode, Standing};

use crate::cluster::Cluster;

/// Logs each change for as long as it is polled.
pub(super) async fn run(cluster: Arc<Cluster>) {
    let mut changes = cluster.changes();
    let mut standings = vec![Standing::Member; cluster.nodes.len()];
    let mut primary: Option<Result<NodeIndex, NoNode>> = None;
    loop {
        let view = cluster.view().clone();
        for (node, was) in cluster.nodes.iter().zip(&mut standings) {
            let is = view.standing(node.id.node);
            if std::mem::replace(was, is) != is {
                say_standing(&cluster, &node.name, is);
            }
        }
        let (is, was) = (view.primary(), primary.replace(view.primary()));
        if was != Some(is) {
            say_primary(&cluster, was, is);
        }
        drop(view);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn say_standing(cluster: &Cluster, node: &str, standing: Standing) {
    let cluster = cluster.config.name.as_str();
    match standing.why_refused() {
        Some(why) => tracing::error!(cluster, node, why, "is not used any more"),
        None => tracing::warn!(cluster, node, "may be used again"),
    }
}

fn say_primary(cluster: &Cluster, was: Option<Result<NodeIndex, NoNode>>, is: Result<NodeIndex, NoNode>) {
    let name = cluster.config.name.as_str();
    match is {
        Ok(node) => {
            let node = cluster.node(node).name.as_str();
            tracing::info!(cluster = name, node, "writes go to it");
        }
        Err(NoNode::Doubted) => {
            tracing::debug!(cluster = name, "all nodes are asked which one is the primary")
        }
        // Nothing was known before the first round either.
        Err(NoNode::NoPrimary) if was.is_none() => {}
        Err(why) => tracing::warn!(cluster = name, %why, "writes wait"),
    }
}
