//! pgweir as a child process, with a configuration made for the demo.

use std::fmt::Write;
use std::fs::OpenOptions;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::process::{Pid, Signal, kill_process};

use crate::demo::regions::Regions;
use crate::demo::{PASSWORD, USER};

/// How long it may take to let transactions end.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is asked whether it still runs. (tokio's own child processes would make every core look after them
/// whenever it wakes up.)
const GLANCE: Duration = Duration::from_millis(50);
const HTTP_PORT: u16 = 9632;

/// `pgweir run` in front of the regions. Dropping it kills it.
pub(super) struct Proxy {
    child: Child,
    folder: PathBuf,
    port: u16,
    http_port: Option<u16>,
}

impl Proxy {
    /// Writes the configuration and starts this same binary with it, on `wanted_port` if nobody else has it.
    pub(super) fn start(regions: &Regions, wanted_port: u16) -> anyhow::Result<Proxy> {
        // Removed together with the cluster, even if this process is killed: by the next one on this machine.
        let folder = regions.us.folder().to_owned();
        let port = free_port(wanted_port).context("there is no free port")?;
        let http_port = free_port(HTTP_PORT);
        let config = folder.join("pgweir.yaml");
        write_private(&config, &configuration(regions, port, http_port)?)?;
        let log = OpenOptions::new().create(true).append(true).open(log_path(&folder))?;
        let child = this_program()
            .context("where this program is")?
            .args(["run", "-c"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0) // a terminal's Ctrl-C is ours alone
            .spawn()
            .context("pgweir could not be started")?;
        Ok(Proxy { child, folder, port, http_port })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn http_port(&self) -> Option<u16> {
        self.http_port
    }

    pub(super) fn config_path(&self) -> PathBuf {
        self.folder.join("pgweir.yaml")
    }

    /// Completes with the reason when it ends although nobody asked for it.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match self.wait().await {
            Ok(status) => anyhow!("pgweir ended with {status}\n{}", self.log_tail()),
            Err(error) => anyhow!("pgweir cannot be watched: {error}"),
        }
    }

    /// The last lines of its log.
    pub(super) fn log_tail(&self) -> String {
        let log = std::fs::read(log_path(&self.folder)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        format!("pgweir's log ends with:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
    }

    /// SIGTERM, and SIGKILL if that takes too long.
    pub(super) async fn stop(mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Some(pid), Ok(None)) = (pid, self.child.try_wait()) {
            // A child that has not been waited for keeps its number, so this reaches nobody else.
            let _ = kill_process(pid, Signal::TERM);
        }
        let _: Result<_, _> = tokio::time::timeout(PATIENCE, self.wait()).await;
    }

    async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(GLANCE).await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Neither reaches a child that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program, told by the kernel to stop when we are killed (where util-linux' setpriv can arrange that). Call it
/// from the thread that lives as long as the process.
fn this_program() -> std::io::Result<Command> {
    let program = std::env::current_exe()?;
    let death_signal = ["--pdeathsig", "TERM", "--"];
    let mut probe = Command::new("setpriv");
    let probe = probe.args(death_signal).arg("true").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if probe.is_ok_and(|status| status.success()) {
        let mut command = Command::new("setpriv");
        command.args(death_signal).arg(program);
        return Ok(command);
    }
    Ok(Command::new(program))
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("pgweir.log")
}

/// `wanted`, or any other port that nobody listens on.
fn free_port(wanted: u16) -> Option<u16> {
    match TcpListener::bind(("127.0.0.1", wanted)) {
        Ok(_) => Some(wanted),
        Err(_) => localpg::free_port(),
    }
}

/// Readable by us alone: it holds passwords.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
    written.with_context(|| path.display().to_string())
}

fn configuration(regions: &Regions, port: u16, http_port: Option<u16>) -> anyhow::Result<String> {
    let mut yaml = String::new();
    writeln!(yaml, "instance: {{name: demo, region: us}}")?;
    writeln!(yaml, "listen:")?;
    writeln!(yaml, "  tcp: [\"127.0.0.1:{port}\"]")?;
    writeln!(yaml, "  unix_dir: null")?;
    match http_port {
        Some(http) => writeln!(yaml, "  http: \"127.0.0.1:{http}\"")?,
        None => writeln!(yaml, "  http: null")?,
    }
    writeln!(yaml, "admin: {{users: [{USER}]}}")?;
    writeln!(yaml, "auth: {{method: scram-sha-256}}")?;
    writeln!(yaml, "users:")?;
    writeln!(yaml, "  {USER}: {{password: {PASSWORD}}}")?;
    writeln!(yaml, "pool: {{mode: transaction, size: 8}}")?;
    writeln!(yaml, "clusters:")?;
    for (name, cluster) in regions.each() {
        writeln!(yaml, "  {name}:")?;
        writeln!(yaml, "    region: {name}")?;
        writeln!(
            yaml,
            "    control: {{user: {}, password: \"{}\"}}",
            localpg::SUPERUSER,
            cluster.superuser_password()
        )?;
        writeln!(yaml, "    server_connections: 16")?;
        writeln!(yaml, "    nodes:")?;
        for node in cluster.nodes() {
            writeln!(yaml, "      {}: {{host: {}, port: {}}}", node.name(), node.host(), node.port())?;
        }
    }
    yaml.push_str(DATABASES);
    Ok(yaml)
}

const DATABASES: &str = "\
databases:
  shop: {cluster: us, dbname: shop}
  saas:
    shards:
      us: {cluster: us, dbname: saas}
      eu: {cluster: eu, dbname: saas}
    sharding:
      schemes:
        by_region: {type: list, of: text, values: {us: [US, CA, MX], eu: [DE, FR, ES]}}
      tables:
        customers: {key: region, scheme: by_region}
        orders: {key: region, scheme: by_region}
      reference_tables: [plans]
";
