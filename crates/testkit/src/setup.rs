//! pgweir's configuration for a test.

use localpg::{Cluster, SUPERUSER, free_port};

use crate::certificates::Certificates;
use crate::yaml::{Tree, quoted};

/// The user of the console in a [`Setup`].
pub const ADMIN: &str = "admin";
/// Its password.
pub const ADMIN_PASSWORD: &str = "admin-password";

/// pgweir's configuration for a test: a port of its own, the clusters given with all their users and
/// databases, the superuser for probes, and the console's user `admin`.
#[derive(Debug, Clone)]
pub struct Setup {
    tree: Tree,
    port: u16,
    passwords: Vec<(String, String)>,
}

impl Setup {
    /// In front of one cluster.
    pub fn new(cluster: &Cluster) -> Setup {
        Setup::bare().cluster(cluster)
    }

    /// In front of nothing yet.
    ///
    /// # Panics
    /// If no port is free.
    pub fn bare() -> Setup {
        let port = free_port().expect("a free port");
        let setup = Setup { tree: Tree::default(), port, passwords: Vec::new() };
        // A busy machine keeps a read waiting for a replica that has caught up.
        let setup = setup.set("route.replica_wait", "1s");
        let setup = setup.set("listen.unix_dir", "null").set("listen.http", "null").port(port);
        setup.set("admin.users", &format!("[{ADMIN}]")).user(ADMIN, ADMIN_PASSWORD)
    }

    /// The same, listening on another port.
    pub fn on_port(self, port: u16) -> Setup {
        self.port(port)
    }

    /// Listens on that port.
    fn port(mut self, port: u16) -> Setup {
        self.port = port;
        self.set("listen.tcp", &format!("[\"127.0.0.1:{port}\"]"))
    }

    /// Adds a cluster under its name, its users, and its databases where the name is not yet taken.
    pub fn cluster(mut self, cluster: &Cluster) -> Setup {
        let name = cluster.name();
        for node in cluster.nodes() {
            self = self.node(name, node.name(), node.port());
        }
        let control = [("user", SUPERUSER), ("password", cluster.superuser_password())];
        for (key, value) in control {
            self.tree.set(&["clusters", name, "control", key], &quoted(value));
        }
        for (user, password) in cluster.users() {
            self = self.user(user, password);
        }
        for database in cluster.databases() {
            if !self.tree.has(&["databases", database]) {
                self.tree.set(&["databases", database, "cluster"], &quoted(name));
                self.tree.set(&["databases", database, "dbname"], &quoted(database));
            }
        }
        self
    }

    /// Adds a node of 127.0.0.1 or changes its port, for example to that of a `FaultProxy`.
    pub fn node(mut self, cluster: &str, node: &str, port: u16) -> Setup {
        self.tree.set(&["clusters", cluster, "nodes", node, "host"], "127.0.0.1");
        self.tree.set(&["clusters", cluster, "nodes", node, "port"], &port.to_string());
        self
    }

    /// Adds a user or changes its password.
    pub fn user(mut self, user: &str, password: &str) -> Setup {
        self.tree.set(&["users", user, "password"], &quoted(password));
        self.passwords.insert(0, (user.to_owned(), password.to_owned()));
        self
    }

    /// `pool.size`.
    pub fn pool_size(self, size: usize) -> Setup {
        self.set("pool.size", &size.to_string())
    }

    /// `pool.mode`: session, transaction or statement.
    pub fn pool_mode(self, mode: &str) -> Setup {
        self.set("pool.mode", mode)
    }

    /// TLS towards clients, in that mode; verify-ca and verify-full trust these certificates' authority.
    pub fn tls(self, certificates: &Certificates, mode: &str) -> Setup {
        let path = |path: std::path::PathBuf| quoted(&path.to_string_lossy());
        let setup = self
            .set("listen.tls.mode", mode)
            .set("listen.tls.certificate", &path(certificates.server_certificate()))
            .set("listen.tls.key", &path(certificates.server_key()));
        if mode.starts_with("verify-") {
            setup.set("listen.tls.client_ca", &path(certificates.authority()))
        } else {
            setup
        }
    }

    /// Any other setting: its names joined by dots, its value as YAML in flow style. It replaces what is there.
    pub fn set(mut self, path: &str, value: &str) -> Setup {
        self.tree.set(&path.split('.').collect::<Vec<_>>(), value);
        self
    }

    /// The YAML.
    pub fn to_yaml(&self) -> String {
        self.tree.to_text()
    }

    /// The port that clients are to use.
    pub fn listen_port(&self) -> u16 {
        self.port
    }

    /// The password of a user of this setup.
    pub fn password(&self, user: &str) -> Option<&str> {
        self.passwords.iter().find(|(name, _)| name == user).map(|(_, password)| password.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_replaces_what_is_there() {
        let setup = Setup::bare().pool_size(10).pool_size(3).user("app", "a\"b").node("us", "us-1", 5000);
        let yaml = setup.to_yaml();
        assert!(yaml.contains("\"pool\":\n  \"size\": 3\n"), "{yaml}");
        assert!(yaml.contains("\"us-1\":\n        \"host\": 127.0.0.1\n        \"port\": 5000\n"), "{yaml}");
        assert_eq!((setup.password("app"), setup.password("x")), (Some("a\"b"), None));
        assert!(yaml.contains(&format!("\"tcp\": [\"127.0.0.1:{}\"]", setup.listen_port())));
    }
}
