//! The home of who pgweir is on its control connections.

use std::time::Duration;

use config::{Cluster, ClusterId, Config, Database, Placement, Secret};

use crate::connect::Login;

const APPLICATION_NAME: &str = "pgweir-control";
/// Where neither the cluster nor a database on it says a name. Every server has it.
const LAST_RESORT: &str = "postgres";

/// The login for a cluster's probes: its `control`, else what a database on it logs in as, else the first user whose
/// password is known. Without any of these a login without a password: it still tells whether the server is up, and
/// succeeds where the server trusts.
pub(super) fn control_login(config: &Config, cluster: &crate::cluster::Cluster) -> Login {
    let mut login = who(config, cluster.id, &cluster.config);
    login.parameters = [("client_encoding", "UTF8"), ("application_name", APPLICATION_NAME)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    login
}

fn who(config: &Config, id: ClusterId, cluster: &Cluster) -> Login {
    let database = database_of(config, id, cluster);
    let limit: Duration = config.health.timeout;
    let as_user = |user: &str, password: Option<&Secret>| {
        Login::new(user, &database, password.map(Secret::reveal), limit)
    };
    if let Some(control) = &cluster.control {
        return as_user(&control.user, control.password.as_ref());
    }
    let of_databases = config.databases.iter().filter(|database| name_on(database, id).is_some());
    let mut of_databases = of_databases.filter_map(|database| database.server.as_ref());
    if let Some(server) = of_databases.find(|server| server.password.is_some()) {
        return as_user(&server.user, server.password.as_ref());
    }
    let mut of_users = config.users.iter().map(|(name, user)| {
        let mut login = Login::of_user(name, Some(user), &database, &config.pool);
        login.connect_timeout = limit;
        login
    });
    let first = of_users.next();
    let known = first.iter().cloned().chain(of_users).find(Login::has_secret);
    known.or(first).unwrap_or_else(|| as_user(LAST_RESORT, None))
}

/// The database to connect to: the cluster's, else that of the first database on it.
fn database_of(config: &Config, id: ClusterId, cluster: &Cluster) -> String {
    let of_databases =
        || config.databases.iter().filter_map(|database| name_on(database, id)).find(|n| *n != "*");
    cluster.dbname.as_deref().or_else(of_databases).unwrap_or(LAST_RESORT).to_owned()
}

/// The names on a cluster of the databases that have one of their own.
pub(super) fn names_on(config: &Config, id: ClusterId) -> impl Iterator<Item = &str> {
    config.databases.iter().filter_map(move |database| name_on(database, id)).filter(|name| *name != "*")
}

/// A database's name on a cluster, if it lives there; `*` if it has the name that its client gives.
fn name_on(database: &Database, id: ClusterId) -> Option<&str> {
    let dbname = match &database.placement {
        Placement::Single { cluster, dbname } => (*cluster == id).then_some(dbname.as_deref()),
        Placement::Sharded(sharding) => {
            sharding.shards.iter().find(|shard| shard.cluster == id).map(|shard| shard.dbname.as_deref())
        }
    };
    dbname.map(|dbname| dbname.unwrap_or(&database.name))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::core::Remote;
    use crate::directory::Directory;

    /// User and database of the login for the first cluster, and whether it has a password or its like.
    fn chosen(yaml: &str) -> (String, String, bool) {
        let config = config::parse_yaml(yaml, "test", &|_| None, Path::new("")).unwrap();
        let directory = Directory::new(Arc::new(config), 1, Remote::new(|_, _| ())).unwrap();
        let login = control_login(&directory.config, &directory.clusters()[0]);
        (login.user.to_string(), login.database.to_string(), login.has_secret())
    }

    fn login(user: &str, database: &str, secret: bool) -> (String, String, bool) {
        (user.to_owned(), database.to_owned(), secret)
    }

    const NODES: &str = "nodes: {a: {host: 127.0.0.1}}";
    const DATABASE: &str = "databases: {\"*\": {cluster: us}}";

    #[test]
    fn control_comes_first() {
        let control = "control: {user: watcher, password: w}, dbname: prod";
        let yaml =
            format!("clusters: {{us: {{{control}, {NODES}}}}}\n{DATABASE}\nusers: {{app: {{password: a}}}}");
        assert_eq!(chosen(&yaml), login("watcher", "prod", true));
    }

    #[test]
    fn then_the_first_user_whose_password_is_known() {
        let users = "users: {adam: {}, bert: {password: b}, carl: {password: c}}";
        let databases = "databases: {\"*\": {cluster: us}, app: {cluster: us}, other: {cluster: us}}";
        let yaml = format!("clusters: {{us: {{{NODES}}}}}\n{users}\n{databases}");
        assert_eq!(chosen(&yaml), login("bert", "app", true));
    }

    #[test]
    fn at_last_nobody_in_particular() {
        let yaml = format!("clusters: {{us: {{{NODES}}}}}\n{DATABASE}");
        assert_eq!(chosen(&yaml), login("postgres", "postgres", false));
        assert_eq!(chosen(&format!("{yaml}\nusers: {{adam: {{}}}}")), login("adam", "postgres", false));
    }

    #[test]
    fn a_url_names_all_of_it() {
        let yaml = "databases: {app: \"postgres://u:p@db1,db2/prod\"}";
        assert_eq!(chosen(yaml), login("u", "prod", true));
    }
}
