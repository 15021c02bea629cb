//! A running postmaster: started as our child, watched, signalled, reaped.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::account::Account;
use crate::{Error, Result, launcher, processes};

/// Between two looks at a file or process that has no other way of telling.
pub(crate) const POLL: Duration = Duration::from_millis(5);
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// After which a server that should go away at once is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a server is shut down (`pg_ctl stop -m`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Lets clients finish.
    Smart,
    /// Disconnects clients and writes a last checkpoint, which it sends to its replicas.
    Fast,
    /// Ends at once; the next start recovers.
    Immediate,
}

impl Mode {
    fn signal(self) -> Signal {
        match self {
            Mode::Smart => Signal::TERM,
            Mode::Fast => Signal::INT,
            Mode::Immediate => Signal::QUIT,
        }
    }
}

/// A postmaster that is our child. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pid: Pid,
    paused: bool,
    /// See [`segment`].
    segment: Option<String>,
}

impl Server {
    /// Starts it and waits until it takes connections (also read-only ones).
    pub(crate) fn start(
        account: Account,
        postgres: &Path,
        data: &Path,
        log: &Path,
    ) -> Result<Server, String> {
        let log =
            OpenOptions::new().create(true).append(true).open(log).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let mut command = account.command_that_dies_with_us(postgres);
        command.arg("-D").arg(data).current_dir(data.parent().unwrap_or(data));
        command.stdout(Stdio::from(log)).stderr(Stdio::from(errors));
        let child = launcher::spawn(command).map_err(|error| error.to_string())?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("it has no process id")?;
        let mut server = Server { child, pid, paused: false, segment: None };
        server.wait_until_ready(data)?;
        Ok(server)
    }

    /// The postmaster says how far it is in the last line of its lock file, as `pg_ctl` reads it.
    fn wait_until_ready(&mut self, data: &Path) -> Result<(), String> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("it ended with {status}"));
            }
            let file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            let lines: Vec<&str> = file.lines().map(str::trim).collect();
            if let [pid, _, _, _, _, _, _, "ready", ..] = lines[..]
                && pid == self.pid.as_raw_pid().to_string()
            {
                self.segment = segment(&file).map(str::to_owned);
                return Ok(());
            }
            thread::sleep(POLL);
        }
        Err(format!("it did not take connections within {START_LIMIT:?}"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Re-reads its configuration.
    pub(crate) fn reload(&mut self) {
        self.signal(Signal::HUP);
    }

    /// Asks it to shut down, without waiting.
    pub(crate) fn request_stop(&mut self, mode: Mode) {
        self.signal(mode.signal());
    }

    /// Shuts it down and waits for its end; a paused one is continued first.
    pub(crate) fn stop(&mut self, mode: Mode) -> Result<()> {
        self.resume();
        self.request_stop(mode);
        if self.wait_at_most(STOP_LIMIT) {
            return Ok(());
        }
        let what = format!("a {mode:?} shutdown of process {}", self.pid());
        Err(Error::Timeout { what, limit: STOP_LIMIT, detail: String::new() })
    }

    /// SIGKILL for it and all its processes.
    pub(crate) fn kill(&mut self) {
        if self.ended().is_some() {
            return;
        }
        processes::kill_all(self.pid);
        // It can't refuse; what fails here is that it was reaped already.
        let _ = self.child.wait();
        if let Some(segment) = self.segment.take() {
            remove_segment(&segment);
        }
    }

    /// SIGSTOP for it and all its processes.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
        processes::stop_all(self.pid);
    }

    /// SIGCONT for them, if it is paused.
    pub(crate) fn resume(&mut self) {
        if std::mem::take(&mut self.paused) {
            processes::continue_all(self.pid);
        }
    }

    fn signal(&mut self, signal: Signal) {
        // Once reaped, its number may be another process'; until then the signal can't fail.
        if self.ended().is_none() {
            let _ = kill_process(self.pid, signal);
        }
    }

    fn wait_at_most(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.ended().is_none() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        self.resume();
        self.request_stop(Mode::Immediate);
        if !self.wait_at_most(PATIENCE) {
            self.kill();
        }
    }
}

/// The System V shared memory segment by which Postgres guards a data folder, from the text of its
/// postmaster.pid (key and id in line 7). Only a postmaster that exits by itself removes it.
pub(crate) fn segment(lock_file: &str) -> Option<&str> {
    lock_file.lines().nth(6)?.split_whitespace().nth(1)
}

/// Removes the segment of a server that was killed. Without `ipcrm` 56 bytes stay until the machine restarts.
pub(crate) fn remove_segment(id: &str) {
    let mut remove = Command::new("ipcrm");
    let _ = remove.args(["-m", id]).stdout(Stdio::null()).stderr(Stdio::null()).status();
}
