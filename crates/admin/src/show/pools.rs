//! SHOW POOLS, a row for each database and user; SHOW NODE_POOLS, a row for each of their nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::{PoolMode, pinned_limit};

use super::{mode, role_of, split};
use crate::snapshot::{ClientCounts, PoolName, Snapshot};
use crate::value::{Column, Row, Value, int4, text};

pub(crate) const POOLS: &[Column] = &[
    text("database"),
    text("user"),
    int4("cl_active"),
    int4("cl_waiting"),
    int4("cl_active_cancel_req"),
    int4("cl_waiting_cancel_req"),
    int4("sv_active"),
    int4("sv_active_cancel"),
    int4("sv_being_canceled"),
    int4("sv_idle"),
    int4("sv_used"),
    int4("sv_tested"),
    int4("sv_login"),
    int4("maxwait"),
    int4("maxwait_us"),
    text("pool_mode"),
    text("load_balance_hosts"),
];

pub(crate) const NODE_POOLS: &[Column] = &[
    text("database"),
    text("user"),
    text("cluster"),
    text("node"),
    text("role"),
    text("pool_mode"),
    int4("size"),
    int4("open"),
    int4("sv_active"),
    int4("sv_idle"),
    int4("sv_tested"),
    int4("sv_login"),
    int4("cl_waiting"),
    int4("maxwait"),
    int4("maxwait_us"),
    int4("pinned"),
    int4("pinned_limit"),
    int4("budget"),
    int4("budget_open"),
    text("last_error"),
];

/// The pools of a database and a user, added up.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    mode: Option<PoolMode>,
    clients: ClientCounts,
    active: usize,
    idle: usize,
    cleaned: usize,
    opening: usize,
    cancels: usize,
}

/// `cl_waiting_cancel_req`, `sv_being_canceled` and `sv_used` are 0: a cancel is sent on at once, and connections
/// are looked at before each use. `sv_tested` are those that are being cleaned up.
pub(crate) fn pools(snapshot: &Snapshot) -> Vec<Row> {
    let row = |((database, user), sum): (&(Arc<str>, Arc<str>), &Sum)| {
        let (maxwait, maxwait_us) = split(sum.clients.longest_wait);
        vec![
            database.into(),
            user.into(),
            (sum.clients.all() - sum.clients.waiting).into(),
            sum.clients.waiting.into(),
            sum.cancels.into(),
            0_usize.into(),
            sum.active.into(),
            sum.cancels.into(),
            0_usize.into(),
            sum.idle.into(),
            0_usize.into(),
            sum.cleaned.into(),
            sum.opening.into(),
            maxwait.into(),
            maxwait_us.into(),
            sum.mode.map(mode).into(),
            Value::Null,
        ]
    };
    sums(snapshot).iter().map(row).collect()
}

fn sums(snapshot: &Snapshot) -> BTreeMap<(Arc<str>, Arc<str>), Sum> {
    let mut sums: BTreeMap<_, Sum> = BTreeMap::new();
    for group in snapshot.directory.groups() {
        let key = (Arc::clone(&group.database), Arc::clone(&group.user));
        sums.entry(key).or_default().mode = Some(group.pool.mode);
    }
    for pool in &snapshot.pools {
        let key = (Arc::clone(&pool.shared.database), Arc::clone(&pool.shared.user));
        let sum = sums.entry(key).or_default();
        sum.mode = sum.mode.or(Some(pool.shared.settings.mode));
        sum.active += pool.leased - pool.cleaned();
        sum.cleaned += pool.cleaned();
        sum.idle += pool.idle;
        sum.opening += pool.opening;
        sum.cancels += pool.cancels;
    }
    for (key, clients) in &snapshot.clients {
        sums.entry(key.clone()).or_default().clients = *clients;
    }
    sums
}

pub(crate) fn node_pools(snapshot: &Snapshot) -> Vec<Row> {
    let row = |pool: &crate::snapshot::PoolState| {
        let shared = &pool.shared;
        let PoolName { database, user, cluster, node } = PoolName::of(shared);
        let (maxwait, maxwait_us) = split(pool.longest_wait);
        vec![
            (&database).into(),
            (&user).into(),
            cluster.into(),
            node.into(),
            role_of(shared).into(),
            mode(shared.settings.mode).into(),
            shared.size.into(),
            shared.open().into(),
            (pool.leased - pool.cleaned()).into(),
            pool.idle.into(),
            pool.cleaned().into(),
            pool.opening.into(),
            pool.waiting.into(),
            maxwait.into(),
            maxwait_us.into(),
            shared.pinned().into(),
            pinned_limit(shared.settings.pinned, shared.size).into(),
            shared.node.budget.limit.into(),
            shared.node.budget.open().into(),
            shared.last_failure().map(|failure| failure.to_string()).into(),
        ]
    };
    snapshot.pools.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::testing::{counts, named, pool, snapshot};
    use std::time::Duration;

    #[test]
    fn nodes_are_added_up_for_each_database_and_user() {
        let mut snapshot = snapshot();
        for (node, idle, leased, held) in [(0, 3, 2, 1), (1, 1, 0, 0)] {
            let mut state = pool(&snapshot, "app", "app", node);
            (state.idle, state.leased, state.held, state.opening) = (idle, leased, held, 1);
            snapshot.pools.push(state);
        }
        let waited = Duration::from_micros(2_000_003);
        let clients = ClientCounts { waiting: 2, longest_wait: waited, ..counts(4, 1, 1) };
        snapshot.clients.insert(("app".into(), "app".into()), clients);
        snapshot.directory.group("other", "eve").unwrap();

        let rows = pools(&snapshot);
        assert_eq!(rows.len(), 2);
        let app = named(POOLS, &rows[0]);
        assert_eq!((app("database"), app("user"), app("pool_mode")), ("app", "app", "transaction"));
        assert_eq!((app("cl_active"), app("cl_waiting")), ("6", "2"));
        assert_eq!(
            (app("sv_active"), app("sv_tested"), app("sv_idle"), app("sv_login")),
            ("1", "1", "4", "2")
        );
        assert_eq!((app("maxwait"), app("maxwait_us")), ("2", "3"));
        let other = named(POOLS, &rows[1]);
        assert_eq!((other("database"), other("user"), other("cl_active")), ("other", "eve", "0"));
    }

    #[test]
    fn each_node_has_its_size_and_budget() {
        let mut snapshot = snapshot();
        snapshot.pools.push(pool(&snapshot, "app", "app", 1));
        let rows = node_pools(&snapshot);
        let row = named(NODE_POOLS, &rows[0]);
        assert_eq!((row("cluster"), row("node"), row("role")), ("us", "us-2", "replica"));
        assert_eq!(
            (row("size"), row("budget"), row("pinned_limit"), row("last_error")),
            ("8", "20", "2", "NULL")
        );
    }
}
