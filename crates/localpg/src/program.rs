//! Runs a program to its end, within a deadline.

use std::io::{Read, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::{Error, Result};

/// Runs `command` with `input` on its stdin and returns its stdout.
///
/// # Errors
/// [`Error::Program`] with its stderr if it fails; [`Error::Timeout`] (it is killed then) after `limit`.
pub(crate) fn run(name: &str, command: Command, input: &str, limit: Duration) -> Result<String> {
    let (status, stdout, stderr) = run_to_any_end(name, command, input, limit)?;
    if status.success() {
        return Ok(stdout);
    }
    Err(Error::Program { program: name.to_owned(), status, stderr: stderr.trim().to_owned() })
}

/// As [`run`], of a program that may fail: how it ended, its stdout and its stderr.
///
/// # Errors
/// [`Error::Timeout`] (it is killed then) after `limit`.
pub(crate) fn run_to_any_end(
    name: &str,
    mut command: Command,
    input: &str,
    limit: Duration,
) -> Result<(ExitStatus, String, String)> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(Error::io(format!("run {name}")))?;
    let (done, outcome) = channel();
    // Each pipe has its own thread: a program that fills one while we wait at another would hang.
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let input = input.to_owned();
    thread::spawn(move || {
        if let Some(mut stdin) = stdin {
            // A program that ends without reading all of it says why on stderr.
            let _ = stdin.write_all(input.as_bytes());
        }
    });
    thread::spawn(move || {
        let errors = thread::spawn(move || text(stderr));
        let output = text(stdout);
        // Nobody listens if the deadline has passed.
        let _ = done.send((output, errors.join().unwrap_or_default()));
    });
    match outcome.recv_timeout(limit) {
        Ok((stdout, stderr)) => {
            let status = child.wait().map_err(Error::io(format!("wait for {name}")))?;
            Ok((status, stdout, stderr))
        }
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            // It may have ended just now; either way it is to be reaped.
            let _ = child.kill();
            let _ = child.wait();
            Err(Error::Timeout { what: name.to_owned(), limit, detail: String::new() })
        }
    }
}

fn text(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // What was read before an error is what there is to show.
        let _ = stream.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn output_status_and_deadline() {
        let big = "x".repeat(1 << 20);
        assert_eq!(run("cat", Command::new("cat"), &big, LONG).unwrap().len(), big.len());
        let mut fails = Command::new("sh");
        fails.args(["-c", "echo why >&2; exit 3"]);
        let error = run("sh", fails, "", LONG).unwrap_err();
        assert!(matches!(&error, Error::Program { stderr, .. } if stderr == "why"), "{error}");
        let mut sleeps = Command::new("sleep");
        sleeps.arg("600");
        let error = run("sleep", sleeps, "", Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
    }
}
