//! One probe of one node, and what it tells.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use config::{NodeRole, PROBES_BETWEEN_REFUSALS};
use deadpool::managed::{Object, PoolError};
use route::Identity;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::connection::{Connector, ControlPool};
use crate::connect::ConnectError;

/// Schema and all: a search_path of the database must not put another function in its place.
const ROLE: &str = "SELECT pg_catalog.pg_is_in_recovery()";

/// The role and the identity. A primary's timeline is the one that it writes now: the checkpoint's is late after a
/// promotion. A standby's is the one that it receives; where that isn't shown (no connection to its primary, or no
/// pg_monitor) what its control file says is at most too low.
pub const ROLE_AND_IDENTITY: &str = "\
    SELECT recovery,
           CASE WHEN recovery THEN pg_catalog.to_hex(coalesce(
               (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver),
               (SELECT greatest(timeline_id, min_recovery_end_timeline)
                FROM pg_catalog.pg_control_checkpoint(), pg_catalog.pg_control_recovery())))
           ELSE \"left\"(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) END,
           (SELECT system_identifier FROM pg_catalog.pg_control_system()),
           (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8
    FROM (SELECT pg_catalog.pg_is_in_recovery() AS recovery) AS now";

/// So much later than the limit of connecting itself.
const CONNECTING_SAYS: Duration = Duration::from_millis(100);

/// Probes one node.
#[derive(Debug)]
pub(super) struct Prober {
    pool: ControlPool,
    timeout: Duration,
    /// It doesn't say who it is (a managed service, another kind of server, or a login without the right): so many
    /// probes until it is asked again. 0: it says.
    role_only: AtomicU32,
}

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// In recovery or not.
    pub(super) role: NodeRole,
    /// `None`: it doesn't say.
    pub(super) identity: Option<Identity>,
}

/// Why a probe found no role.
#[derive(Debug, Error)]
pub(super) enum ProbeError {
    /// No connection.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// The query failed, or the connection while it ran.
    #[error("{}", in_full(.0))]
    Query(#[from] tokio_postgres::Error),
    /// Connected, and no answer.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// An answer to something else.
    #[error("the answer to {ROLE} is neither t nor f")]
    Answer,
    /// The pool of control connections gave none.
    #[error("no control connection: {0}")]
    Pool(String),
}

impl Prober {
    /// Connects at the first probe. `timeout`: of a probe, connecting included.
    pub(super) fn new(connector: Connector, timeout: Duration) -> Self {
        let builder = ControlPool::builder(connector).max_size(1);
        // A builder fails only where a time limit is set without a runtime.
        let pool = builder.build().unwrap_or_else(|error| unreachable!("{error}"));
        Prober { pool, timeout, role_only: AtomicU32::new(0) }
    }

    /// The control connections, for what else is to be asked.
    pub(super) fn connections(&self) -> ControlPool {
        self.pool.clone()
    }

    /// Asks the node what it is.
    pub(super) async fn probe(&self) -> Result<Found, ProbeError> {
        let end = Instant::now() + self.timeout;
        // Connecting has the same limit of its own, and says what it was about when it is reached. But somebody else
        // may have the connection, and no answer on it.
        let client = timeout_at(end + CONNECTING_SAYS, self.pool.get()).await;
        let client = client.map_err(|_| ProbeError::Timeout(self.timeout))?.map_err(ProbeError::from_pool)?;
        let answer =
            timeout_at(end, self.ask(&client)).await.unwrap_or(Err(ProbeError::Timeout(self.timeout)));
        if answer.is_err() {
            // Its state is in doubt: an answer may still be on its way.
            drop(Object::take(client));
        }
        answer
    }

    async fn ask(&self, client: &Client) -> Result<Found, ProbeError> {
        let left = self.role_only.load(Ordering::Relaxed);
        if left <= 1 {
            match client.simple_query(ROLE_AND_IDENTITY).await {
                Ok(messages) => {
                    self.role_only.store(0, Ordering::Relaxed);
                    return found(&messages);
                }
                Err(error) if is_unknown_there(&error) => {
                    if left == 0 {
                        tracing::warn!(
                            %error,
                            "a server doesn't tell its timeline: of two that are out of recovery none can be chosen"
                        );
                    }
                    self.role_only.store(PROBES_BETWEEN_REFUSALS, Ordering::Relaxed);
                }
                Err(error) => return Err(error.into()),
            }
        } else {
            self.role_only.store(left - 1, Ordering::Relaxed);
        }
        found(&client.simple_query(ROLE).await?)
    }
}

/// The server doesn't understand what it was asked, or doesn't say it to this login.
fn is_unknown_there(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("42") || code.code().starts_with("0A"))
}

/// The first row's values.
fn found(messages: &[SimpleQueryMessage]) -> Result<Found, ProbeError> {
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let value = |column| row.and_then(|row| row.try_get(column).ok().flatten());
    let role = match value(0) {
        Some("f") => NodeRole::Primary,
        Some("t") => NodeRole::Replica,
        _ => return Err(ProbeError::Answer),
    };
    Ok(Found { role, identity: identity(value) })
}

/// Who answered [`ROLE_AND_IDENTITY`], from the columns of its row; `None`: it doesn't say.
pub fn identity<'a>(column: impl Fn(usize) -> Option<&'a str>) -> Option<Identity> {
    let timeline = u32::from_str_radix(column(1)?, 16).ok()?;
    // It is unsigned, and shown as a signed number.
    let system = column(2)?.parse::<i64>().ok()?.cast_unsigned();
    Some(Identity { system, timeline, started: column(3)?.parse().ok()? })
}

impl ProbeError {
    pub(super) fn from_pool(error: PoolError<ProbeError>) -> Self {
        match error {
            PoolError::Backend(error) => error,
            other => ProbeError::Pool(other.to_string()),
        }
    }

    /// The server is there and takes part, only not for us: it refuses our login, wants a password that we haven't, or
    /// has all its connections in use. That doesn't make the node a sick one; its role stays unseen.
    pub(super) fn shows_life(&self) -> bool {
        match self {
            ProbeError::Connect(ConnectError::NoCredential { .. }) => true,
            ProbeError::Connect(error) => error.turns_away(),
            ProbeError::Query(_) | ProbeError::Timeout(_) | ProbeError::Answer | ProbeError::Pool(_) => false,
        }
    }

    /// The server is not there, or says that it is about to go: it will be another start of it that answers next.
    pub(super) fn shows_absence(&self) -> bool {
        match self {
            ProbeError::Connect(ConnectError::Unreachable { .. }) => true,
            ProbeError::Connect(ConnectError::Refused(report)) => report.code.is_server_going(),
            _ => false,
        }
    }

    /// Somebody has to change the login.
    pub(super) fn is_about_the_login(&self) -> bool {
        matches!(self, ProbeError::Connect(error) if error.is_final())
    }
}

/// An error and its causes that it doesn't say itself.
fn in_full(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use wire::{ErrorReport, SqlState};

    use super::*;

    fn refused(code: &str) -> ProbeError {
        let report = ErrorReport::fatal(SqlState::from_bytes(code.as_bytes()).unwrap(), "no");
        ConnectError::Refused(Box::new(report)).into()
    }

    #[test]
    fn a_refused_login_is_not_a_sick_node_and_a_server_that_starts_is_not_up() {
        for code in ["28P01", "28000", "3D000", "53300", "42501"] {
            assert!(refused(code).shows_life(), "{code}");
        }
        for code in ["57P03", "57P01", "XX000", "58000"] {
            assert!(!refused(code).shows_life(), "{code}");
        }
        assert!(!ProbeError::Timeout(Duration::from_secs(2)).shows_life());
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let unreachable = ConnectError::Unreachable { address: "x".to_owned(), source: refused };
        assert!(!ProbeError::from(unreachable).shows_life());
    }
}
