//! What a test is told when something doesn't come as expected.

use std::path::PathBuf;
use std::time::Duration;

use crate::frame::Frame;

/// What this crate's calls return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a test is told when something doesn't come as expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing came within the deadline.
    #[error("no {what} within {limit:?}; came so far: {so_far:?}, and {rest} bytes of an unfinished frame")]
    Deadline {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
        /// The frames that came meanwhile.
        so_far: Vec<Frame>,
        /// Bytes of a frame that isn't whole.
        rest: usize,
    },
    /// The peer closed the connection.
    #[error("the connection was closed before {what}; came so far: {so_far:?}")]
    Closed {
        /// What was waited for.
        what: &'static str,
        /// The frames that came before.
        so_far: Vec<Frame>,
    },
    /// The peer sent something that isn't the protocol.
    #[error("not the protocol: {0}")]
    Protocol(String),
    /// The server refused, at start-up or in a query of which success was expected.
    #[error("{0}")]
    Server(crate::frame::ServerError),
    /// SCRAM failed on our side.
    #[error("authentication: {0}")]
    Scram(#[from] wire::scram::ScramError),
    /// The connection failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The pgweir binary isn't built.
    #[error(
        "no pgweir binary at {path}: `cargo build -p pgweir`, or name one in PGWEIR_BIN",
        path = path.display()
    )]
    NoBinary {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// pgweir ended, or didn't do in time what it should.
    #[error("pgweir {what}; its log:\n{log}")]
    Pgweir {
        /// What it did.
        what: String,
        /// All that it logged.
        log: String,
    },
    /// Postgres.
    #[error(transparent)]
    Cluster(#[from] localpg::Error),
    /// A certificate couldn't be made.
    #[error(transparent)]
    Certificate(#[from] rcgen::Error),
}

impl Error {
    /// For `map_err`: wraps an I/O error with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }
}
