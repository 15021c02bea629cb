//! What can go wrong with a cluster on this machine.

use std::path::PathBuf;
use std::time::Duration;

/// What can go wrong with a cluster on this machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server's programs aren't installed, or not where we look.
    #[error(
        "{program} was not found{seen}. Install PostgreSQL's server: `apt-get install postgresql` \
         (Debian, Ubuntu), `dnf install postgresql-server` (Fedora), `brew install postgresql` (macOS); \
         or name the folder of its programs in PG_BIN"
    )]
    NotInstalled {
        /// The first program that is missing.
        program: &'static str,
        /// What was found instead, for the message; empty or starting with a space.
        seen: String,
    },
    /// `PG_BIN` names a folder that hasn't the programs.
    #[error("PG_BIN is {folder}, but there is no {program} in it", folder = folder.display())]
    BadPgBin {
        /// The folder named.
        folder: PathBuf,
        /// The program that is missing in it.
        program: &'static str,
    },
    /// We run as root, Postgres refuses to, and there is nobody else to run it as.
    #[error(
        "Postgres does not run as root, and there is neither a user `postgres` nor `nobody` to run it as"
    )]
    NoAccount,
    /// A file or process operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// One of Postgres' programs failed.
    #[error("{program} failed ({status}): {stderr}")]
    Program {
        /// Its name.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// A server didn't start, or not in time.
    #[error("server {node} did not start: {why}; the end of its log:\n{log}")]
    Start {
        /// The node's name.
        node: String,
        /// It exited, or the deadline passed.
        why: String,
        /// The last lines of its log.
        log: String,
    },
    /// Something didn't happen before its deadline.
    #[error("{what} took longer than {limit:?}{detail}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The deadline.
        limit: Duration,
        /// The last state seen, for the message; empty or starting with a colon.
        detail: String,
    },
    /// There is no node of that number.
    #[error("there is no node {index}: the cluster has {nodes}")]
    NoSuchNode {
        /// The number asked for.
        index: usize,
        /// How many there are.
        nodes: usize,
    },
    /// The call needs a node in another state.
    #[error("node {node} {state}")]
    State {
        /// The node's name.
        node: String,
        /// What is the matter, as the rest of the sentence.
        state: &'static str,
    },
}

impl Error {
    /// For `map_err`: wraps an I/O error with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }
}
