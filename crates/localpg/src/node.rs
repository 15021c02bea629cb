//! One server of a cluster: its folder, its configuration, and its process while it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::builder::Plan;
use crate::server::{Mode, Server};
use crate::server_config::{Settings, pg_hba_conf, postgresql_conf};
use crate::sql_text::{conninfo, url_part};
use crate::workdir::Workdir;
use crate::{Error, Result, SUPERUSER, account, free_port, program};

/// How long a stopped node's own port may be held by somebody else before its start is given up.
const PORT_PATIENCE: Duration = Duration::from_secs(10);
const NEW_PORTS: usize = 10;
const LOG_TAIL_LINES: usize = 30;
const STOPPED: &str = "does not run";

/// One server of a cluster.
#[derive(Debug)]
pub struct Node {
    plan: Arc<Plan>,
    index: usize,
    name: String,
    folder: PathBuf,
    port: AtomicU16,
    own: Mutex<Settings>,
    server: Mutex<Option<Server>>,
}

impl Node {
    /// Makes its folders. Nothing runs yet.
    pub(crate) fn new(plan: Arc<Plan>, workdir: &Workdir, index: usize) -> Result<Node> {
        let name = format!("{}-{}", plan.name, index + 1);
        let folder = workdir.path().join(format!("n{}", index + 1));
        let node = Node {
            index,
            name,
            port: AtomicU16::new(new_port()?),
            own: Mutex::new(Settings::new()),
            server: Mutex::new(None),
            folder,
            plan,
        };
        workdir.folder(&node.folder, node.plan.account, 0o755)?;
        workdir.folder(&node.socket_dir(), node.plan.account, 0o755)?;
        workdir.folder(&node.data_dir(), node.plan.account, 0o700)?;
        Ok(node)
    }

    /// Its number, which the cluster's methods take: 0 is the one that began as the primary.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The cluster's name and a number from 1, such as `us-1`; also its `cluster_name`, and as a replica its
    /// `application_name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens for TCP.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// Its TCP port, which also names its Unix socket.
    pub fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// The folder of its Unix socket `.s.PGSQL.<port>`; anybody on the machine may enter it.
    pub fn socket_dir(&self) -> PathBuf {
        self.folder.join("s")
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its log, over all its starts.
    pub fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// `postgres://user:password@127.0.0.1:port/database`; without a password for a user that the builder
    /// wasn't told of.
    pub fn url(&self, user: &str, database: &str) -> String {
        let password =
            self.plan.password(user).map(|text| format!(":{}", url_part(text))).unwrap_or_default();
        let (user, database) = (url_part(user), url_part(database));
        format!("postgres://{user}{password}@{}:{}/{database}", self.host(), self.port())
    }

    /// The postmaster's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        running(&mut self.server()).map(|server| server.pid())
    }

    /// Whether its postmaster runs (it may be paused).
    pub fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    /// Whether it is, or will be when started, a standby.
    pub(crate) fn is_standby(&self) -> bool {
        self.data_dir().join("standby.signal").exists()
    }

    /// Starts it on a free port, another one if somebody was faster to take it.
    pub(crate) fn first_start(&self) -> Result<()> {
        for _ in 0..NEW_PORTS {
            match self.try_start() {
                Err(Error::Start { log, .. }) if lost_port(&log) => {
                    self.port.store(new_port()?, Ordering::Relaxed);
                }
                outcome => return outcome,
            }
        }
        self.try_start()
    }

    /// Starts it on the port that it had.
    pub(crate) fn start(&self) -> Result<()> {
        if self.is_running() {
            return Err(self.wrong("already runs"));
        }
        let deadline = Instant::now() + PORT_PATIENCE;
        loop {
            match self.try_start() {
                Err(Error::Start { log, .. }) if lost_port(&log) && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(50));
                }
                outcome => return outcome,
            }
        }
    }

    fn try_start(&self) -> Result<()> {
        self.write_config()?;
        let mut slot = self.server();
        let before = fs::metadata(self.log_path()).map_or(0, |log| log.len());
        let postgres = self.plan.binaries.program("postgres");
        let started = Server::start(self.plan.account, &postgres, &self.data_dir(), &self.log_path());
        *slot = Some(started.map_err(|why| Error::Start {
            node: self.name.clone(),
            why,
            log: if fs::metadata(self.log_path()).map_or(0, |log| log.len()) > before {
                self.log_tail()
            } else {
                "(nothing new)".to_owned()
            },
        })?);
        Ok(())
    }

    /// Shuts it down.
    pub(crate) fn stop(&self, mode: Mode) -> Result<()> {
        self.with_server(|server| server.stop(mode))?
    }

    /// Asks it to end at once, without waiting.
    pub(crate) fn request_end(&self) {
        if let Some(server) = running(&mut self.server()) {
            server.resume();
            server.request_stop(Mode::Immediate);
        }
    }

    /// Calls `act` on the running server.
    pub(crate) fn with_server<T>(&self, act: impl FnOnce(&mut Server) -> T) -> Result<T> {
        running(&mut self.server()).map(act).ok_or_else(|| self.wrong(STOPPED))
    }

    /// Sets one of its own settings, in force at its next start or reload.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), value.to_owned());
    }

    /// Makes it a replica of `primary`, in force at its next start or reload.
    pub(crate) fn set_primary(&self, primary: &Node) -> Result<()> {
        let value = format!(
            "host={} port={} user={} password={} application_name={}",
            conninfo(&primary.socket_dir().to_string_lossy()),
            primary.port(),
            conninfo(SUPERUSER),
            conninfo(&self.plan.superuser_password),
            conninfo(&self.name),
        );
        self.set("primary_conninfo", &value);
        self.write("standby.signal", "")
    }

    /// Writes postgresql.conf and pg_hba.conf.
    pub(crate) fn write_config(&self) -> Result<()> {
        let mut settings = self.plan.settings.clone();
        settings.insert("port".to_owned(), self.port().to_string());
        settings.insert("cluster_name".to_owned(), self.name.clone());
        let sockets = self.socket_dir().to_string_lossy().into_owned();
        settings.insert("unix_socket_directories".to_owned(), sockets);
        settings.extend(self.own.lock().unwrap_or_else(PoisonError::into_inner).clone());
        self.write("postgresql.conf", &postgresql_conf(&settings))?;
        self.write("pg_hba.conf", &pg_hba_conf(&self.plan.hba, self.plan.auth))
    }

    /// Writes a file of the data folder, readable by the server only.
    pub(crate) fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.data_dir().join(file);
        let what = || format!("write {}", path.display());
        fs::write(&path, text).map_err(Error::io(what()))?;
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&path, closed).map_err(Error::io(what()))?;
        self.plan.account.own(&path)
    }

    /// Runs one of the server's programs under the server's account, as the superuser.
    pub(crate) fn run(&self, name: &str, arguments: &[&str], limit: Duration) -> Result<String> {
        program::run(name, self.command(name, arguments), "", limit)
    }

    /// As [`Node::run`], of a program that may fail: its stdout and its stderr.
    pub(crate) fn run_to_any_end(
        &self,
        name: &str,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<(String, String)> {
        let ended = program::run_to_any_end(name, self.command(name, arguments), "", limit)?;
        Ok((ended.1, ended.2))
    }

    fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = self.plan.account.command(self.plan.binaries.program(name));
        command.args(arguments).current_dir(&self.folder).env("PGPASSWORD", &self.plan.superuser_password);
        command
    }

    /// Runs SQL through `psql` over the Unix socket, unaligned and without headers.
    pub(crate) fn psql(&self, user: &str, database: &str, sql: &str, limit: Duration) -> Result<String> {
        let mut command = account::clean(self.plan.binaries.psql());
        command.args(["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
        command.arg("-h").arg(self.socket_dir()).arg("-p").arg(self.port().to_string());
        command.args(["-U", user, "-d", database]);
        if let Some(password) = self.plan.password(user) {
            command.env("PGPASSWORD", password);
        }
        let output = program::run(&format!("psql on {}", self.name), command, sql, limit)?;
        Ok(output.trim_end_matches('\n').to_owned())
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrong(&self, state: &'static str) -> Error {
        Error::State { node: self.name.clone(), state }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The server, if it has not ended; one that has, of itself or by a kill, is reaped by the look.
fn running(slot: &mut Option<Server>) -> Option<&mut Server> {
    let server = slot.as_mut()?;
    if server.ended().is_none() { Some(server) } else { None }
}

fn new_port() -> Result<u16> {
    free_port().ok_or_else(|| Error::io("find a free port")(std::io::Error::other("all are in use")))
}

/// Whether a server's log says that its port was taken.
fn lost_port(log: &str) -> bool {
    log.contains("could not create any TCP/IP sockets") || log.contains("Address already in use")
}
