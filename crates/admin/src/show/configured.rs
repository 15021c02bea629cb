//! SHOW DATABASES, USERS and CONFIG: what is configured, and how much of it is in use.

use std::collections::BTreeSet;

use config::{ClusterId, Config, Database, Placement, PoolOverrides};

use super::mode;
use crate::snapshot::Snapshot;
use crate::value::{Column, Row, Value, int4, text};

pub(crate) const DATABASES: &[Column] = &[
    text("name"),
    text("host"),
    int4("port"),
    text("database"),
    text("force_user"),
    int4("pool_size"),
    int4("min_pool_size"),
    int4("reserve_pool_size"),
    int4("server_lifetime"),
    text("pool_mode"),
    text("load_balance_hosts"),
    int4("max_connections"),
    int4("current_connections"),
    int4("max_client_connections"),
    int4("current_client_connections"),
    int4("paused"),
    int4("disabled"),
];

pub(crate) const USERS: &[Column] = &[
    text("name"),
    text("pool_size"),
    text("reserve_pool_size"),
    text("pool_mode"),
    int4("max_user_connections"),
    int4("current_connections"),
    int4("max_user_client_connections"),
    int4("current_client_connections"),
];

pub(crate) const CONFIG: &[Column] = &[text("key"), text("value"), text("default"), text("changeable")];

/// The databases of the configuration, and those of its `*` that clients have named.
pub(crate) fn databases(snapshot: &Snapshot) -> Vec<Row> {
    let config = &snapshot.directory.config;
    let named = snapshot.directory.groups();
    let mut names: Vec<&str> = config.databases.iter().map(|database| &*database.name).collect();
    let others: BTreeSet<&str> =
        named.iter().map(|group| &*group.database).filter(|name| !names.contains(name)).collect();
    names.extend(others);
    let row = |name| config.database(name).map(|database| database_row(snapshot, name, database));
    names.into_iter().filter_map(row).collect()
}

/// `host` names all nodes of all shards, `port` is the first one's. `max_connections` is the budget of these nodes;
/// `max_client_connections` 0, no limit, as in PgBouncer.
fn database_row(snapshot: &Snapshot, name: &str, database: &Database) -> Row {
    let config = &snapshot.directory.config;
    let settings = config.pool_settings(database, None);
    let clusters = clusters_of(database);
    let nodes: Vec<_> = snapshot
        .directory
        .clusters()
        .iter()
        .filter(|cluster| clusters.contains(&cluster.id))
        .flat_map(|cluster| cluster.nodes.iter())
        .collect();
    let hosts: Vec<&str> = nodes.iter().map(|node| &*node.target.host).collect();
    let budget: usize = nodes.iter().map(|node| node.budget.limit).sum();
    let smallest = nodes.iter().map(|node| node.budget.limit).max().unwrap_or(0);
    let own = |pool: &&crate::snapshot::PoolState| *pool.shared.database == *name;
    let open: usize = snapshot.pools.iter().filter(own).map(|pool| pool.shared.open()).sum();
    let of_it = snapshot.clients.iter().filter(|((database, _), _)| **database == *name);
    let clients: usize = of_it.map(|(_, counts)| counts.all()).sum();
    vec![
        name.to_owned().into(),
        hosts.join(",").into(),
        nodes.first().map(|node| u64::from(node.target.port)).into(),
        dbname(config, database, name).into(),
        database.server.as_ref().map(|login| login.user.clone()).into(),
        settings.size.unwrap_or(smallest).into(),
        settings.min_pool_size.into(),
        settings.reserve_pool_size.into(),
        settings.server_lifetime.map_or(0, |lifetime| lifetime.as_secs()).into(),
        mode(settings.mode).into(),
        Value::Null,
        budget.into(),
        open.into(),
        0_u64.into(),
        clients.into(),
        0_u64.into(),
        0_u64.into(),
    ]
}

fn clusters_of(database: &Database) -> Vec<ClusterId> {
    match &database.placement {
        Placement::Single { cluster, .. } => vec![*cluster],
        Placement::Sharded(sharding) => sharding.shards.iter().map(|shard| shard.cluster).collect(),
    }
}

/// The name on the servers; NULL where it is the client's to say, or differs by shard.
fn dbname(config: &Config, database: &Database, name: &str) -> Option<String> {
    let default = |cluster: ClusterId| config.cluster(cluster).and_then(|cluster| cluster.dbname.clone());
    match &database.placement {
        Placement::Single { cluster, dbname } => {
            let said = dbname.clone().or_else(|| default(*cluster));
            said.or_else(|| (name != "*").then(|| name.to_owned()))
        }
        Placement::Sharded(sharding) => {
            let of = |shard: &config::Shard| shard.dbname.clone().or_else(|| default(shard.cluster));
            let names: BTreeSet<_> = sharding.shards.iter().map(of).collect();
            if names.len() == 1 { names.into_iter().next().flatten() } else { None }
        }
    }
}

/// The users of the configuration, and others who have pools. A limit of 0 is none, as in PgBouncer.
pub(crate) fn users(snapshot: &Snapshot) -> Vec<Row> {
    let config = &snapshot.directory.config;
    let pools = snapshot.pools.iter().map(|pool| &*pool.shared.user);
    let clients = snapshot.clients.keys().map(|(_, user)| &**user);
    let names: BTreeSet<&str> = config.users.keys().map(String::as_str).chain(pools).chain(clients).collect();
    let inherited = PoolOverrides::default();
    let row = |name: &str| {
        let pool = config.users.get(name).map_or(&inherited, |user| &user.pool);
        let own = |state: &&crate::snapshot::PoolState| *state.shared.user == *name;
        let open: usize = snapshot.pools.iter().filter(own).map(|state| state.shared.open()).sum();
        let of_it = snapshot.clients.iter().filter(|((_, user), _)| **user == *name);
        vec![
            name.to_owned().into(),
            pool.size.flatten().map_or_else(String::new, |size| size.to_string()).into(),
            pool.reserve_pool_size.map_or_else(String::new, |size| size.to_string()).into(),
            pool.mode.map(mode).into(),
            0_u64.into(),
            open.into(),
            config.limits.max_client_conn_per_user.unwrap_or(0).into(),
            of_it.map(|(_, counts)| counts.all()).sum::<usize>().into(),
        ]
    };
    names.into_iter().map(row).collect()
}

pub(crate) fn config(snapshot: &Snapshot) -> Vec<Row> {
    let row = |(key, value, default, changeable): config::ShownSetting| {
        vec![key.into(), value.into(), default.into(), if changeable { "yes" } else { "no" }.into()]
    };
    snapshot.directory.config.show().into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::testing::{counts, named, pool, snapshot};

    #[test]
    fn databases_show_their_nodes_and_what_is_used_of_them() {
        let mut snapshot = snapshot();
        snapshot.pools.push(pool(&snapshot, "app", "app", 0));
        snapshot.pools.push(pool(&snapshot, "tenant_1", "app", 0));
        snapshot.clients.insert(("app".into(), "app".into()), counts(3, 1, 0));
        let rows = databases(&snapshot);
        let names: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
        assert_eq!(names, ["app", "other", "*", "tenant_1"].map(Value::from));
        let app = named(DATABASES, &rows[0]);
        assert_eq!((app("host"), app("port")), ("10.0.0.1,10.0.0.2", "5432"));
        assert_eq!(
            (app("database"), app("pool_size"), app("max_connections")),
            ("app_production", "8", "40")
        );
        assert_eq!((app("current_client_connections"), app("pool_mode")), ("4", "transaction"));
        let (other, any, tenant) =
            (named(DATABASES, &rows[1]), named(DATABASES, &rows[2]), named(DATABASES, &rows[3]));
        assert_eq!((other("pool_size"), other("pool_mode")), ("3", "session"));
        assert_eq!((any("database"), tenant("database")), ("NULL", "tenant_1"));
    }

    #[test]
    fn users_show_what_they_override() {
        let mut snapshot = snapshot();
        snapshot.clients.insert(("app".into(), "stranger".into()), counts(1, 0, 0));
        let rows = users(&snapshot);
        let (app, stranger) = (named(USERS, &rows[0]), named(USERS, rows.last().unwrap()));
        assert_eq!((app("name"), app("pool_mode"), app("pool_size")), ("app", "transaction", ""));
        assert_eq!((stranger("name"), stranger("current_client_connections")), ("stranger", "1"));
        assert_eq!(stranger("pool_mode"), "NULL");
    }

    #[test]
    fn settings_say_whether_a_reload_changes_them() {
        let rows = config(&snapshot());
        let of = |key: &'static str| rows.iter().find(|row| row[0] == key.into()).unwrap();
        assert_eq!(of("pool.size")[1..], ["8".into(), "auto".into(), "yes".into()]);
        assert_eq!(named(CONFIG, of("listen.tcp"))("changeable"), "no");
    }
}
