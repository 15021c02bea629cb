//! SHOW LISTS, STATE and VERSION: the process as a whole.

use session::Stop;

use crate::snapshot::Snapshot;
use crate::value::{Column, Row, int4, text};

pub(crate) const LISTS: &[Column] = &[text("list"), int4("items")];
pub(crate) const STATE: &[Column] = &[text("key"), text("value")];
pub(crate) const VERSION: &[Column] = &[text("version")];

/// `free_clients` and `free_servers` are 0: pgweir keeps no memory for connections that are gone.
pub(crate) fn lists(snapshot: &Snapshot) -> Vec<Row> {
    let servers: usize = snapshot.pools.iter().map(|pool| pool.idle + pool.leased + pool.opening).sum();
    let nodes: usize = snapshot.directory.clusters().iter().map(|cluster| cluster.nodes.len()).sum();
    let lists: [(&'static str, usize); 11] = [
        ("databases", snapshot.directory.config.databases.len()),
        ("users", snapshot.directory.config.users.len()),
        ("pools", snapshot.directory.groups().len()),
        ("free_clients", 0),
        ("used_clients", snapshot.seated),
        ("login_clients", snapshot.logging_in),
        ("free_servers", 0),
        ("used_servers", servers),
        ("node_pools", snapshot.pools.len()),
        ("nodes", nodes),
        ("cores", snapshot.cores.len()),
    ];
    lists.into_iter().map(|(list, items)| vec![list.into(), items.into()]).collect()
}

pub(crate) fn state(snapshot: &Snapshot) -> Vec<Row> {
    let stopping = snapshot.stop > Stop::No;
    let states = [("active", !stopping), ("paused", false), ("suspended", false), ("stopping", stopping)];
    let word = |yes: bool| if yes { "yes" } else { "no" };
    states.into_iter().map(|(key, yes)| vec![key.into(), word(yes).into()]).collect()
}

pub(crate) fn version(_: &Snapshot) -> Vec<Row> {
    vec![vec![concat!("pgweir ", env!("CARGO_PKG_VERSION")).into()]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::testing::{pool, snapshot};

    #[test]
    fn lists_count_what_there_is() {
        let mut snapshot = snapshot();
        let mut state = pool(&snapshot, "app", "app", 0);
        (state.idle, state.leased, state.opening) = (2, 3, 1);
        snapshot.pools.push(state);
        snapshot.seated = 9;
        let rows = lists(&snapshot);
        for (list, items) in
            [("databases", 3_u64), ("used_servers", 6), ("used_clients", 9), ("nodes", 2), ("pools", 1)]
        {
            assert!(rows.contains(&vec![list.into(), items.into()]), "{list}: {rows:?}");
        }
    }

    #[test]
    fn a_process_that_stops_says_so() {
        let mut snapshot = snapshot();
        assert_eq!(state(&snapshot)[0], ["active".into(), "yes".into()]);
        snapshot.stop = Stop::Graceful;
        assert_eq!(state(&snapshot)[0], ["active".into(), "no".into()]);
        assert_eq!(state(&snapshot)[3], ["stopping".into(), "yes".into()]);
    }
}
