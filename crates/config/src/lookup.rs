//! What the runtime asks of a configuration.

use std::net::IpAddr;

use crate::model::{
    AuthMethod, AuthRule, Cluster, ClusterId, Config, Database, Node, PoolSettings, RouteSettings,
    ServerLogin, Share, Source, StoredPassword, User,
};

impl Config {
    /// The database of a name: its own entry, else `*`.
    pub fn database(&self, name: &str) -> Option<&Database> {
        let find = |wanted: &str| self.databases.iter().find(|database| database.name == wanted);
        find(name).or_else(|| find("*"))
    }

    /// Settings of a user's pools in a database: the defaults, then the database's, then the user's.
    pub fn pool_settings(&self, database: &Database, user: Option<&User>) -> PoolSettings {
        let settings = self.pool.clone().with(&database.pool);
        user.map(|user| settings.clone().with(&user.pool)).unwrap_or(settings)
    }

    /// Routing of a user in a database: the defaults, then the database's, then the user's.
    pub fn route_settings(&self, database: &Database, user: Option<&User>) -> RouteSettings {
        let settings = self.route.clone().with(&database.route);
        user.map(|user| settings.clone().with(&user.route)).unwrap_or(settings)
    }

    /// The cluster of an id that this configuration gave; an id of another one may be past the end.
    pub fn cluster(&self, id: ClusterId) -> Option<&Cluster> {
        self.clusters.get(usize::from(id.0))
    }

    /// The cluster of a name.
    pub fn cluster_by_name(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// How many server connections this pgweir may have to a node over all pools, at least one.
    pub fn node_budget(&self, cluster: &Cluster, node: &Node) -> usize {
        let fleet = usize::try_from(self.instance.fleet).unwrap_or(usize::MAX).max(1);
        cluster.server_connections.unwrap_or_else(|| node.cores.saturating_mul(2) / fleet).max(1)
    }

    /// Who a client that logged in as `user_name` is on the servers of `database`. Without a password there, only
    /// what the client proved can be passed on.
    pub fn server_login(&self, database: &Database, user_name: &str) -> ServerLogin {
        if let Some(login) = &database.server {
            return login.clone();
        }
        let Some(user) = self.users.get(user_name) else {
            return ServerLogin { user: user_name.to_owned(), password: None };
        };
        let plain = user.passwords.iter().find_map(|stored| match stored {
            StoredPassword::Plain(secret) => Some(secret.clone()),
            StoredPassword::Md5(_) | StoredPassword::Scram(_) => None,
        });
        ServerLogin {
            user: user.server_user.clone().unwrap_or_else(|| user_name.to_owned()),
            password: user.server_password.clone().or(plain),
        }
    }

    /// How a client must prove who it is. `source` is its address; `None` is the Unix socket.
    pub fn auth_method(&self, source: Option<IpAddr>, user: &str, database: &str) -> AuthMethod {
        let named =
            |names: &[String], name: &str| names.is_empty() || names.iter().any(|known| known == name);
        let matches = |rule: &&AuthRule| {
            (rule.from.is_empty() || rule.from.iter().any(|from| from.contains(source)))
                && named(&rule.users, user)
                && named(&rule.databases, database)
        };
        self.auth.rules.iter().find(matches).map_or(self.auth.method, |rule| rule.method)
    }
}

/// How many connections of a pool of `size` may be pinned: a percentage is rounded down, but to one at least if it
/// is not 0 %.
pub fn pinned_limit(share: Share, size: usize) -> usize {
    match share {
        Share::Count(count) => count.min(size),
        Share::Percent(0) => 0,
        Share::Percent(percent) => (size.saturating_mul(usize::from(percent)) / 100).clamp(size.min(1), size),
    }
}

impl Source {
    /// Whether a client of this address (`None`: the Unix socket) comes from here. IPv4 in IPv6 is IPv4.
    pub fn contains(&self, client: Option<IpAddr>) -> bool {
        match (self, client.map(|address| address.to_canonical())) {
            (Source::Unix, None) => true,
            (Source::Unix, Some(_)) | (Source::Network(..), None) => false,
            (Source::Network(IpAddr::V4(network), bits), Some(IpAddr::V4(address))) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(*bits)).unwrap_or(0);
                u32::from(*network) & mask == u32::from(address) & mask
            }
            (Source::Network(IpAddr::V6(network), bits), Some(IpAddr::V6(address))) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(*bits)).unwrap_or(0);
                u128::from(*network) & mask == u128::from(address) & mask
            }
            (Source::Network(..), Some(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        let net = Source::Network([10, 1, 0, 0].into(), 16);
        assert!(net.contains(Some([10, 1, 2, 3].into())));
        assert!(net.contains(Some("::ffff:10.1.2.3".parse().unwrap())));
        assert!(!net.contains(Some([10, 2, 0, 0].into())) && !net.contains(None));
        assert!(Source::Network([0, 0, 0, 0].into(), 0).contains(Some([9, 9, 9, 9].into())));
        assert!(Source::Network("fd00::".parse().unwrap(), 8).contains(Some("fdff::1".parse().unwrap())));
    }

    #[test]
    fn pinned_shares() {
        assert_eq!(pinned_limit(Share::Percent(25), 20), 5);
        assert_eq!(pinned_limit(Share::Percent(25), 2), 1);
        assert_eq!(pinned_limit(Share::Percent(25), 0), 0);
        assert_eq!(pinned_limit(Share::Percent(0), 20), 0);
        assert_eq!(pinned_limit(Share::Count(30), 20), 20);
    }
}
