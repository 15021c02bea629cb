//! What a cluster shall be, and its first start.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::account::Account;
use crate::node::Node;
use crate::server_config::{Settings, defaults};
use crate::sql_text::{identifier, literal};
use crate::workdir::Workdir;
use crate::{Auth, Binaries, Cluster, Error, Result, SUPERUSER};

const INITDB_LIMIT: Duration = Duration::from_secs(120);

/// What a cluster shall be.
#[derive(Debug, Clone)]
pub struct Builder {
    name: String,
    replicas: usize,
    settings: Settings,
    databases: Vec<String>,
    users: Vec<(String, String)>,
    superuser_password: Option<String>,
    auth: Auth,
    hba: Vec<String>,
    tls: Option<(PathBuf, PathBuf)>,
    client_ca: Option<PathBuf>,
    on_disk: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            name: "pg".to_owned(),
            replicas: 0,
            settings: defaults(),
            databases: Vec::new(),
            users: Vec::new(),
            superuser_password: None,
            auth: Auth::default(),
            hba: Vec::new(),
            tls: None,
            client_ca: None,
            on_disk: false,
        }
    }
}

impl Builder {
    /// The cluster's name, from which its nodes get theirs: `us` gives `us-1`, `us-2`. Default: `pg`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many streaming replicas. Default: none.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Settings of postgresql.conf for all nodes, over the defaults (`fsync=off`, `shared_buffers=32MB`,
    /// `max_connections=100` and others).
    pub fn settings<N: Into<String>, V: Into<String>>(
        mut self,
        settings: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.settings.extend(settings.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Databases to create, owned by the first user.
    pub fn databases<D: Into<String>>(mut self, databases: impl IntoIterator<Item = D>) -> Self {
        self.databases.extend(databases.into_iter().map(Into::into));
        self
    }

    /// Users that may log in: (name, password).
    pub fn users<N: Into<String>, P: Into<String>>(
        mut self,
        users: impl IntoIterator<Item = (N, P)>,
    ) -> Self {
        self.users.extend(users.into_iter().map(|(name, password)| (name.into(), password.into())));
        self
    }

    /// The password of the superuser `postgres`. Default: a random one.
    pub fn superuser_password(mut self, password: impl Into<String>) -> Self {
        self.superuser_password = Some(password.into());
        self
    }

    /// How clients prove who they are. Default: SCRAM-SHA-256.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// A line of pg_hba.conf, before ours. Several stay in their order.
    pub fn hba(mut self, line: impl Into<String>) -> Self {
        self.hba.push(line.into());
        self
    }

    /// Turns TLS on, with these PEM files; they are copied.
    pub fn tls(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some((certificate.into(), key.into()));
        self
    }

    /// The authority (a PEM file, which is copied) of client certificates.
    pub fn client_ca(mut self, authority: impl Into<PathBuf>) -> Self {
        self.client_ca = Some(authority.into());
        self
    }

    /// Keeps the data in the temporary folder (`TMPDIR`, /tmp). Default: in memory (/dev/shm) if 4 GB are free
    /// there and `TMPDIR` isn't set.
    pub fn on_disk(mut self) -> Self {
        self.on_disk = true;
        self
    }

    /// Initialises the primary, starts it, copies the replicas from it, starts them, and waits until they
    /// stream. About a second.
    ///
    /// # Errors
    /// [`Error::NotInstalled`] without the server's programs; [`Error::Start`] with the end of the log when a
    /// server doesn't start. What had been started is stopped and removed then.
    pub fn start(self) -> Result<Cluster> {
        let replicas = self.replicas;
        let (on_disk, files) = (self.on_disk, self.files()?);
        let plan = Arc::new(self.plan()?);
        let workdir = Workdir::create(plan.account, on_disk)?;
        let nodes = (0..=replicas).map(|index| Node::new(plan.clone(), &workdir, index));
        let cluster = Cluster::new(plan.clone(), nodes.collect::<Result<_>>()?, workdir);
        initialise(cluster.node(0)?, &plan, &files)?;
        cluster.node(0)?.first_start()?;
        cluster.psql(0, "postgres", &plan.roles_and_databases())?;
        thread::scope(|scope| {
            let copies: Vec<_> = (1..=replicas)
                .map(|index| {
                    let cluster = &cluster;
                    scope.spawn(move || {
                        cluster.rebuild(index, 0)?;
                        cluster.wait_caught_up(index)
                    })
                })
                .collect();
            copies.into_iter().try_for_each(|copy| match copy.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        Ok(cluster)
    }

    /// The TLS files' names in the data folder and their text.
    fn files(&self) -> Result<Vec<(&'static str, String)>> {
        let mut sources = Vec::new();
        if let Some((certificate, key)) = &self.tls {
            sources.extend([("server.crt", certificate), ("server.key", key)]);
        }
        sources.extend(self.client_ca.iter().map(|authority| ("client_ca.crt", authority)));
        let read = |(name, path): (&'static str, &PathBuf)| {
            let text = fs::read_to_string(path).map_err(Error::io(format!("read {}", path.display())))?;
            Ok((name, text))
        };
        sources.into_iter().map(read).collect()
    }

    fn plan(mut self) -> Result<Plan> {
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        if self.tls.is_some() {
            self.settings.extend([setting("ssl", "on")]);
        }
        if self.client_ca.is_some() {
            self.settings.extend([setting("ssl_ca_file", "client_ca.crt")]);
        }
        self.settings.extend([setting("password_encryption", self.auth.storage())]);
        let superuser_password = match self.superuser_password {
            Some(password) => password,
            None => random_password()?,
        };
        Ok(Plan {
            name: self.name,
            binaries: Binaries::find()?,
            account: Account::find()?,
            settings: self.settings,
            auth: self.auth,
            hba: self.hba,
            databases: self.databases,
            users: self.users,
            superuser_password,
        })
    }
}

/// What all nodes of a cluster share.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) binaries: Binaries,
    pub(crate) account: Account,
    pub(crate) settings: Settings,
    pub(crate) auth: Auth,
    pub(crate) hba: Vec<String>,
    pub(crate) databases: Vec<String>,
    pub(crate) users: Vec<(String, String)>,
    pub(crate) superuser_password: String,
}

impl Plan {
    /// The password of a user that is known.
    pub(crate) fn password(&self, user: &str) -> Option<&str> {
        if user == SUPERUSER {
            return Some(&self.superuser_password);
        }
        self.users.iter().find(|(name, _)| name == user).map(|(_, password)| password.as_str())
    }

    fn roles_and_databases(&self) -> String {
        let role = |(name, password): &(String, String)| {
            format!("CREATE ROLE {} LOGIN PASSWORD {};\n", identifier(name), literal(password))
        };
        let owner = self.users.first().map_or(SUPERUSER, |(name, _)| name);
        let database =
            |name: &String| format!("CREATE DATABASE {} OWNER {};\n", identifier(name), identifier(owner));
        // With `synchronous_standby_names` set a commit would wait for replicas that don't exist yet.
        let alone = std::iter::once("SET synchronous_commit TO local;\n".to_owned());
        alone.chain(self.users.iter().map(role)).chain(self.databases.iter().map(database)).collect()
    }
}

/// `initdb` for the primary; its configuration and TLS files go along when replicas are copied.
fn initialise(node: &Node, plan: &Plan, files: &[(&'static str, String)]) -> Result<()> {
    let password = node.folder().join("password");
    fs::write(&password, &plan.superuser_password).map_err(Error::io("write a password file"))?;
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&password, closed).map_err(Error::io("close a password file"))?;
    plan.account.own(&password)?;
    let (data, file) = (node.data_dir(), password.to_string_lossy());
    let arguments = ["--no-sync", "--username", SUPERUSER, "--pwfile", &file, "--auth", "scram-sha-256"];
    let text = ["--encoding", "UTF8", "--no-locale", "--pgdata", &data.to_string_lossy()];
    node.run("initdb", &[&arguments[..], &text[..]].concat(), INITDB_LIMIT)?;
    fs::remove_file(&password).map_err(Error::io("remove a password file"))?;
    files.iter().try_for_each(|(name, text)| node.write(name, text))
}

/// 128 random bits as text.
fn random_password() -> Result<String> {
    let mut bytes = [0; 16];
    let mut source = fs::File::open("/dev/urandom").map_err(Error::io("open /dev/urandom"))?;
    source.read_exact(&mut bytes).map_err(Error::io("read /dev/urandom"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
