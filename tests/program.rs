//! Other people's programs, run to their end: client tools and programs that use a driver.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Ended {
    /// Its stdout, if it succeeded and wrote nothing to stderr.
    ///
    /// # Errors
    /// All that is known, in words.
    pub fn quietly(self) -> Result<String, String> {
        if self.stderr.is_empty() { self.well() } else { Err(self.in_words()) }
    }

    /// Its stdout, if it succeeded.
    ///
    /// # Errors
    /// All that is known, in words.
    pub fn well(self) -> Result<String, String> {
        if self.status.success() { Ok(self.stdout) } else { Err(self.in_words()) }
    }

    /// All that is known of it.
    pub fn in_words(&self) -> String {
        format!("{}\n--- stdout\n{}\n--- stderr\n{}", self.status, self.stdout, self.stderr)
    }
}

/// Runs a program without any input; it is killed when `limit` has passed.
///
/// # Errors
/// If it can't be started or doesn't end in time: in words, with what it had said.
pub async fn run(command: &mut Command, limit: Duration) -> Result<Ended, String> {
    let name = format!("{:?}", command.as_std().get_program());
    let failed = |error: std::io::Error| format!("{name}: {error}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let ended = tokio::time::timeout(limit, async {
        tokio::try_join!(read(out.as_mut(), &mut stdout), read(err.as_mut(), &mut stderr))?;
        child.wait().await
    });
    let ended = ended.await;
    let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match ended {
        Ok(Ok(status)) => Ok(Ended { status, stdout, stderr }),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => {
            Err(format!("{name} did not end within {limit:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"))
        }
    }
}

async fn read(from: Option<&mut (impl AsyncRead + Unpin)>, into: &mut Vec<u8>) -> std::io::Result<()> {
    if let Some(from) = from {
        from.read_to_end(into).await?;
    }
    Ok(())
}

/// The most memory that a process has had so far (`VmHWM`), in bytes.
///
/// # Panics
/// If there is no such process.
pub fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says VmHWM");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    kilobytes * 1024
}
