//! pgweir as a process.

use std::env;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::client::{Client, ConnectOptions};
use crate::setup::{ADMIN, ADMIN_PASSWORD, Setup};
use crate::{DEADLINE, Error, Result};

/// SSLRequest, which any server answers with one byte without a login.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const POLL: Duration = Duration::from_millis(10);

/// A pgweir that runs as `pgweir run -c FILE`. Dropping it kills it; its log is printed if the test panics.
#[derive(Debug)]
pub struct Pgweir {
    child: Child,
    setup: Setup,
    folder: TempDir,
}

impl Pgweir {
    /// Starts the binary of [`Pgweir::binary`] and waits until it answers clients.
    ///
    /// # Errors
    /// [`Error::NoBinary`]; [`Error::Pgweir`] with its log if it ends or isn't there within 30 s.
    pub async fn start(setup: &Setup) -> Result<Pgweir> {
        Pgweir::start_binary(&Pgweir::binary()?, setup).await
    }

    /// The binary to test: `PGWEIR_BIN`, else `CARGO_BIN_EXE_pgweir`, else `pgweir` in the folder above the
    /// running test's own (`target/debug`).
    ///
    /// # Errors
    /// [`Error::NoBinary`].
    pub fn binary() -> Result<PathBuf> {
        let named = env::var_os("PGWEIR_BIN").or_else(|| env::var_os("CARGO_BIN_EXE_pgweir"));
        let path = match named {
            Some(path) => PathBuf::from(path),
            None => {
                let test = env::current_exe().map_err(Error::io("find the running test"))?;
                test.parent().and_then(Path::parent).unwrap_or(Path::new(".")).join("pgweir")
            }
        };
        if path.is_file() { Ok(path) } else { Err(Error::NoBinary { path }) }
    }

    /// Starts that binary.
    ///
    /// # Errors
    /// As [`Pgweir::start`].
    pub async fn start_binary(binary: &Path, setup: &Setup) -> Result<Pgweir> {
        let folder =
            tempfile::Builder::new().prefix("pgweir-run-").tempdir().map_err(Error::io("make a folder"))?;
        let (config, log) = (folder.path().join("pgweir.yaml"), folder.path().join("log"));
        fs::write(&config, setup.to_yaml()).map_err(Error::io("write the configuration"))?;
        let log = File::create(&log).map_err(Error::io("make the log"))?;
        let errors = log.try_clone().map_err(Error::io("make the log"))?;
        let child = localpg::spawn_bound(binary, |command| {
            command.arg("run").arg("-c").arg(&config).stdout(Stdio::from(log)).stderr(Stdio::from(errors));
        });
        let child = child.map_err(Error::io(format!("run {}", binary.display())))?;
        let mut pgweir = Pgweir { child, setup: setup.clone(), folder };
        pgweir.wait_until_it_answers().await?;
        Ok(pgweir)
    }

    async fn wait_until_it_answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !self.answers().await {
            if let Some(status) = self.ended()? {
                return Err(self.complain(format!("ended with {status} before it answered")));
            }
            if Instant::now() >= deadline {
                return Err(self.complain(format!("did not answer within {DEADLINE:?}")));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Whether a client that connects gets a byte.
    async fn answers(&self) -> bool {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let attempt = async {
            let mut stream = tokio::net::TcpStream::connect(self.addr()).await?;
            stream.write_all(&SSL_REQUEST).await?;
            stream.read_u8().await
        };
        matches!(tokio::time::timeout(Duration::from_secs(1), attempt).await, Ok(Ok(_)))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.setup.listen_port()))
    }

    /// `postgres://user:password@127.0.0.1:port/database`.
    pub fn url(&self, user: &str, database: &str) -> String {
        let password = self.setup.password(user).unwrap_or_default();
        let [user, password, database] = [user, password, database].map(localpg::url_part);
        format!("postgres://{user}:{password}@{}/{database}", self.addr())
    }

    /// Begins to connect as a user of the setup.
    pub fn client(&self, user: &str, database: &str) -> ConnectOptions {
        let password = self.setup.password(user).unwrap_or_default();
        Client::to(self.addr()).user(user, password).database(database)
    }

    /// A client on the console, the database `pgweir`.
    ///
    /// # Errors
    /// As [`ConnectOptions::connect`].
    pub async fn console(&self) -> Result<Client> {
        Client::to(self.addr()).user(ADMIN, ADMIN_PASSWORD).database("pgweir").connect().await
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("pgweir.yaml")
    }

    /// Replaces the configuration file, for a [`Pgweir::reload`]. Keep its port.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn rewrite(&self, yaml: &str) -> Result<()> {
        fs::write(self.config_path(), yaml).map_err(Error::io("write the configuration"))
    }

    /// SIGHUP.
    pub fn reload(&mut self) {
        self.signal(Signal::HUP);
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP or SIGCONT and the like.
    pub fn signal(&mut self, signal: Signal) {
        // Once it is reaped its number may be another process'.
        if let (Ok(None), Some(pid)) =
            (self.child.try_wait(), i32::try_from(self.pid()).ok().and_then(Pid::from_raw))
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        // Neither fails on a child that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(Error::io("look at pgweir"))
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// [`Error::Pgweir`] with its log after 30 s.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(self.complain(format!("did not end within {DEADLINE:?}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// All that it has written to stdout and stderr.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Waits until its log has this text.
    ///
    /// # Errors
    /// [`Error::Pgweir`] with its log after 30 s.
    pub async fn wait_for_log(&self, text: &str) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !self.log().contains(text) {
            if Instant::now() >= deadline {
                return Err(self.complain(format!("did not log {text:?} within {DEADLINE:?}")));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn complain(&self, what: String) -> Error {
        Error::Pgweir { what, log: self.log() }
    }
}

impl Drop for Pgweir {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            #[allow(clippy::print_stderr, reason = "the test's reader needs it, and the harness captures it")]
            {
                eprintln!("--- pgweir's log ---\n{}--- end of pgweir's log ---", self.log());
            }
        }
    }
}
