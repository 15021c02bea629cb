//! A process' children, and signals to a postmaster with all of its children.
//!
//! Every process of a Postgres server is a child of the postmaster and the leader of a session of its own,
//! so a signal to the postmaster's process group reaches only the postmaster.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::server::POLL;

/// How long a process may take to obey SIGSTOP; one in the middle of a disk access may take a while.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// SIGSTOP for the postmaster, so that it starts no more, then for all its children. All are halted when
/// this returns: a sleeping process obeys only when it is scheduled next.
pub(crate) fn stop_all(postmaster: Pid) {
    let deadline = Instant::now() + STOP_PATIENCE;
    halt(&[postmaster], deadline);
    halt(&children(postmaster), deadline);
}

fn halt(processes: &[Pid], deadline: Instant) {
    signal(processes, Signal::STOP);
    let runs = |pid: &Pid| state(*pid).is_some_and(|state| !matches!(state, 'T' | 't' | 'Z' | 'X'));
    while processes.iter().any(runs) && Instant::now() < deadline {
        thread::sleep(POLL);
    }
}

/// The state of a process (proc(5)); `None` if it is gone, or there is no /proc.
fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// SIGCONT for all children of the postmaster, then for itself.
pub(crate) fn continue_all(postmaster: Pid) {
    signal(&children(postmaster), Signal::CONT);
    signal(&[postmaster], Signal::CONT);
}

/// SIGKILL for the postmaster and all its children. All have let go of their sockets when this returns: a dying
/// process is still connected until it is scheduled for the last time.
pub(crate) fn kill_all(postmaster: Pid) {
    stop_all(postmaster);
    let children = children(postmaster);
    signal(&children, Signal::KILL);
    signal(&[postmaster], Signal::KILL);
    let deadline = Instant::now() + STOP_PATIENCE;
    let lives = |pid: &Pid| state(*pid).is_some_and(|state| !matches!(state, 'Z' | 'X'));
    while (children.iter().any(lives) || lives(&postmaster)) && Instant::now() < deadline {
        thread::sleep(POLL);
    }
}

fn signal(processes: &[Pid], signal: Signal) {
    for pid in processes {
        // One that has ended meanwhile needs no signal.
        let _ = kill_process(*pid, signal);
    }
}

/// The direct children of a process.
pub(crate) fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_pid();
    let pairs = if Path::new("/proc/self/stat").exists() { from_proc() } else { from_ps() };
    pairs.into_iter().filter(|(_, of)| *of == parent).filter_map(|(pid, _)| Pid::from_raw(pid)).collect()
}

/// (pid, parent's pid) of every process, from /proc.
fn from_proc() -> Vec<(i32, i32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| parse_stat(&fs::read_to_string(entry.path().join("stat")).ok()?)).collect()
}

/// `pid (name) state ppid …`; the name may hold blanks and parentheses (proc(5)).
fn parse_stat(stat: &str) -> Option<(i32, i32)> {
    let (pid, rest) = stat.split_once(' ')?;
    let (_, after_name) = rest.rsplit_once(')')?;
    Some((pid.parse().ok()?, after_name.split_whitespace().nth(1)?.parse().ok()?))
}

/// The same from `ps`, where there is no /proc.
fn from_ps() -> Vec<(i32, i32)> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        assert_eq!(parse_stat("12 (a) S 9 (b)) S 7 12 12"), Some((12, 7)));
        assert_eq!(parse_stat("12 (postgres) R 1 12"), Some((12, 1)));
        assert_eq!(parse_stat("12"), None);
    }

    #[test]
    fn a_child_is_found() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let found = children(rustix::process::getpid());
        let of_ps = from_ps();
        child.kill().unwrap();
        child.wait().unwrap();
        let id = i32::try_from(child.id()).unwrap();
        assert!(found.iter().any(|pid| pid.as_raw_pid() == id));
        assert!(of_ps.is_empty() || of_ps.iter().any(|(pid, _)| *pid == id));
    }
}
