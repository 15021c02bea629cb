//! Whether such a transaction may begin on a connection: it is one to a replica, and begins at READ COMMITTED there.

use backend::Lease;
use route::{RoleReason, Target, TargetRole};
use sql::facts::Isolation;

use crate::session::Session;
use crate::work::Work;

/// Whether a BEGIN that says no level is READ COMMITTED on this connection, whatever was set since: roles and databases
/// may have defaults of their own.
const DEFAULT_ISOLATION: &str = "SELECT reset_val, NULL, NULL FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'default_transaction_isolation'";

impl Session {
    /// Whether such a transaction may begin on the connection that was just leased. If not, the connection may be given
    /// back, and the request is the primary's.
    pub(crate) async fn check_until_write(&mut self, work: &mut Work, mut target: Target) -> Target {
        let Some(held) = &mut self.held else { return target };
        let asked = match &self.book.begun {
            Some(begun) => begun.begin.isolation,
            None => self.book.routing.defaults.isolation,
        };
        let at_primary = !is_replica(&held.lease);
        if !at_primary {
            if asked.is_some() {
                return target;
            }
            if held.lease.read_committed.is_none() {
                let limit = held.lease.handle.pool.settings.server_connect_timeout;
                let isolation =
                    crate::witness::ask(&mut held.lease, DEFAULT_ISOLATION, work.down.inject(), false);
                let isolation = tokio::time::timeout(limit, isolation).await;
                match isolation {
                    Ok(Ok(Ok(rows))) => {
                        let level = rows.into_iter().flatten().flatten().next();
                        let level = level.and_then(|level| Isolation::named(&level));
                        held.lease.read_committed = Some(level == Some(Isolation::ReadCommitted));
                    }
                    _ => held.lease.torn = true,
                }
            }
            if held.lease.read_committed == Some(true) {
                return target;
            }
        }
        target.role = TargetRole::Primary;
        self.book.seen.reads_at = None;
        if let Some(last) = &mut self.book.last {
            (last.target, last.reason.role) = (target, RoleReason::Transaction);
            if !at_primary {
                last.node = None;
            }
        }
        if at_primary {
            held.target = target;
        } else if let Some(held) = self.held.take() {
            self.let_go(held);
        }
        target
    }
}

fn is_replica(lease: &Lease) -> bool {
    let pool = &lease.handle.pool;
    let view = pool.cluster.view();
    let role = view.nodes().get(usize::from(pool.node.id.node.0)).and_then(|node| node.role);
    role == Some(config::NodeRole::Replica)
}
