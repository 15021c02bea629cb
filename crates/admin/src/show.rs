//! The rows of the SHOW commands: each a pure function of a snapshot, beside the columns that it fills.
//!
//! Where PgBouncer has the command, its columns come first, in the order and with the types of PgBouncer 1.24 and
//! later, because exporters and dashboards go by them; what pgweir knows beyond them follows. A column that pgweir
//! has nothing true to say in is left out of the counters and NULL elsewhere.

pub(crate) mod configured;
pub(crate) mod listeners;
pub(crate) mod nodes;
pub(crate) mod pools;
pub(crate) mod positions;
pub(crate) mod process;
pub(crate) mod routes;
pub(crate) mod sockets;
pub(crate) mod stats;

#[cfg(test)]
pub(crate) mod testing;

use backend::SharedPool;
use config::{NodeRole, PoolMode};

/// Microseconds of a duration, split as PgBouncer's columns have it: whole seconds and the rest.
fn split(wait: std::time::Duration) -> (u64, u64) {
    (wait.as_secs(), u64::from(wait.subsec_micros()))
}

pub(crate) const fn mode(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Session => "session",
        PoolMode::Transaction => "transaction",
        PoolMode::Statement => "statement",
    }
}

pub(crate) const fn role(role: Option<NodeRole>) -> &'static str {
    match role {
        Some(NodeRole::Primary) => "primary",
        Some(NodeRole::Replica) => "replica",
        None => "unknown",
    }
}

/// The role of a pool's node, as last seen.
pub(crate) fn role_of(pool: &SharedPool) -> &'static str {
    let view = pool.cluster.view();
    role(view.nodes().get(usize::from(pool.node.id.node.0)).and_then(|node| node.role))
}
